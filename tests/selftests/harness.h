/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small test harness in the manner of the kernel's kselftest_harness.h.
 *
 *	FIXTURE(pages) { char *mem; };
 *	FIXTURE_SETUP(pages) { self->mem = ...; ASSERT_NE(self->mem, NULL); }
 *	FIXTURE_TEARDOWN(pages) { free(self->mem); }
 *	TEST_F(pages, are_zero) { EXPECT_EQ(0, self->mem[0]); }
 *
 * With variants:
 *
 *	FIXTURE(f) { ... };
 *	FIXTURE_VARIANT(f) { size_t size; };
 *	FIXTURE_VARIANT_ADD(f, small) { .size = 4096 };
 *
 * TEST(name) is a test without a fixture.  One source file of the program says
 * HARNESS_MAIN, after its tests; or HARNESS_MAIN_AROUND(begin, end), where begin() and end()
 * run before the first and after the last of them, in the process that starts them all: what
 * tests leave to each other is put back by end(), which returns 0, or the program fails.
 *
 * Every test runs in a child of its own, which leads a process group: after its
 * time limit (five times longer on a kernel with KASAN or lockdep), and when it ends,
 * whatever is left of the group is killed.  EXPECT_*
 * records a failure and goes on, ASSERT_* also ends the test, SKIP(reason) ends it
 * as skipped.  The teardown always runs, also after a setup that stopped half way;
 * self is zero before the setup.  In a process that the test has forked, ASSERT_*
 * and SKIP end that process; its failures count for the test.  Threads other than
 * the one that runs the test may only use EXPECT_*.  What the kernel called an error
 * meanwhile is printed after a test that failed.
 *
 * Output is TAP 13.  Options: --list, --filter SUBSTRING, --timeout-scale N.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Seconds, for a test that does not need more.  It is there to end one that hangs, and says
 * nothing about how long a test may take: a busy host makes a guest ten times slower for a
 * while.
 */
#define HARNESS_TIMEOUT	240

struct harness_variant {
	const char *name;
	const void *data;
	struct harness_variant *next;
};

struct harness_fixture {
	const char *name;
	struct harness_variant *variants, **tail;
	struct harness_test *first;
};

struct harness_test {
	const char *name;
	struct harness_fixture *fixture;
	void (*run)(const void *variant);
	unsigned int timeout;
	struct harness_test *next;
};

/* What a test and the processes that it forks tell the parent. */
struct harness_report {
	int failures;
	bool skipped;
	char reason[200];
};

/* Defined by HARNESS_MAIN. */
extern struct harness_test *harness_tests, **harness_tail;
extern struct harness_report *harness_report;
extern jmp_buf harness_stop;
extern pid_t harness_pid;	/* the process that runs the test */
extern unsigned int harness_timeout_scale;

/* ---- declaring ---- */

#define FIXTURE(f) \
	struct harness_data_##f; \
	struct harness_variant_##f; \
	static struct harness_fixture harness_fixture_##f = { .name = #f }; \
	struct harness_data_##f

#define FIXTURE_SETUP(f) \
	static void harness_setup_##f(struct harness_data_##f *self __attribute__((unused)), \
		const struct harness_variant_##f *variant __attribute__((unused)))

#define FIXTURE_TEARDOWN(f) \
	static void harness_teardown_##f(struct harness_data_##f *self __attribute__((unused)), \
		const struct harness_variant_##f *variant __attribute__((unused)))

#define FIXTURE_VARIANT(f) struct harness_variant_##f

#define FIXTURE_VARIANT_ADD(f, v) \
	extern const struct harness_variant_##f harness_data_##f##_##v; \
	static struct harness_variant harness_variant_##f##_##v = { \
		.name = #v, .data = &harness_data_##f##_##v }; \
	static void __attribute__((constructor)) harness_add_##f##_##v(void) \
	{ \
		harness_add_variant(&harness_fixture_##f, &harness_variant_##f##_##v); \
	} \
	const struct harness_variant_##f harness_data_##f##_##v =

#define TEST_F(f, t) TEST_F_TIMEOUT(f, t, HARNESS_TIMEOUT)

#define TEST_F_TIMEOUT(f, t, seconds) \
	static void harness_body_##f##_##t(struct harness_data_##f *self, \
					   const struct harness_variant_##f *variant); \
	static void harness_run_##f##_##t(const void *variant) \
	{ \
		static struct harness_data_##f self; \
		if (!setjmp(harness_stop)) { \
			harness_setup_##f(&self, variant); \
			harness_body_##f##_##t(&self, variant); \
		} \
		if (!setjmp(harness_stop)) \
			harness_teardown_##f(&self, variant); \
	} \
	static struct harness_test harness_test_##f##_##t = { \
		.name = #t, .fixture = &harness_fixture_##f, \
		.run = harness_run_##f##_##t, .timeout = (seconds) }; \
	static void __attribute__((constructor)) harness_add_test_##f##_##t(void) \
	{ \
		harness_add_test(&harness_test_##f##_##t); \
	} \
	static void harness_body_##f##_##t( \
		struct harness_data_##f *self __attribute__((unused)), \
		const struct harness_variant_##f *variant __attribute__((unused)))

#define TEST(t) TEST_TIMEOUT(t, HARNESS_TIMEOUT)

#define TEST_TIMEOUT(t, seconds) \
	static void harness_body_##t(void); \
	static void harness_run_##t(const void *variant __attribute__((unused))) \
	{ \
		if (!setjmp(harness_stop)) \
			harness_body_##t(); \
	} \
	static struct harness_test harness_test_##t = { \
		.name = #t, .run = harness_run_##t, .timeout = (seconds) }; \
	static void __attribute__((constructor)) harness_add_test_##t(void) \
	{ \
		harness_add_test(&harness_test_##t); \
	} \
	static void harness_body_##t(void)

static inline void harness_add_test(struct harness_test *test)
{
	*harness_tail = test;
	harness_tail = &test->next;
	if (test->fixture && !test->fixture->first)
		test->fixture->first = test;
}

static inline void harness_add_variant(struct harness_fixture *fixture,
				       struct harness_variant *variant)
{
	if (!fixture->tail)
		fixture->tail = &fixture->variants;
	*fixture->tail = variant;
	fixture->tail = &variant->next;
}

/* ---- saying something, stopping ---- */

/* A diagnostic line; one write, so that lines of several processes do not mix. */
static inline void __attribute__((format(printf, 1, 2))) test_log(const char *fmt, ...)
{
	char line[1024] = "# ";
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + 2, sizeof(line) - 3, fmt, ap);
	va_end(ap);
	/* Every line of the output begins with a '#'. */
	for (len = 0; line[len]; len++)
		if (line[len] == '\n')
			line[len] = ';';
	line[len++] = '\n';
	if (write(STDOUT_FILENO, line, len) < 0)
		_exit(1);
}

static inline void __attribute__((noreturn)) harness_end(void)
{
	if (getpid() != harness_pid)
		_exit(harness_report->failures ? 1 : 0);
	longjmp(harness_stop, 1);
}

static inline void harness_fail(void)
{
	__atomic_fetch_add(&harness_report->failures, 1, __ATOMIC_SEQ_CST);
}

static inline void __attribute__((noreturn, format(printf, 1, 2)))
harness_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(harness_report->reason, sizeof(harness_report->reason), fmt, ap);
	va_end(ap);
	harness_report->skipped = true;
	harness_end();
}

#define SKIP(...) harness_skip(__VA_ARGS__)

#define FAIL(fmt, ...) do { \
	test_log("%s:%d: " fmt, __FILE__, __LINE__, ##__VA_ARGS__); \
	harness_fail(); \
} while (0)

/* Integers and pointers of any size; compared as signed 64-bit numbers. */
#define HARNESS_NUM(x) ((long long)(intptr_t)(x))

#define HARNESS_CMP(a, op, b, stop) ({ \
	const long long harness_a = HARNESS_NUM(a), harness_b = HARNESS_NUM(b); \
	const bool harness_ok = harness_a op harness_b; \
	if (!harness_ok) { \
		test_log("%s:%d: expected %s %s %s, but %lld (0x%llx) and %lld (0x%llx)", \
			 __FILE__, __LINE__, #a, #op, #b, harness_a, harness_a, \
			 harness_b, harness_b); \
		harness_fail(); \
		if (stop) \
			harness_end(); \
	} \
	harness_ok; \
})

/* Each has the value true if the expectation was met. */
#define EXPECT_EQ(a, b) HARNESS_CMP(a, ==, b, false)
#define EXPECT_NE(a, b) HARNESS_CMP(a, !=, b, false)
#define EXPECT_LT(a, b) HARNESS_CMP(a, <, b, false)
#define EXPECT_LE(a, b) HARNESS_CMP(a, <=, b, false)
#define EXPECT_GT(a, b) HARNESS_CMP(a, >, b, false)
#define EXPECT_GE(a, b) HARNESS_CMP(a, >=, b, false)
#define EXPECT_TRUE(a) HARNESS_CMP(!!(a), !=, 0, false)
#define EXPECT_FALSE(a) HARNESS_CMP(!!(a), ==, 0, false)
#define ASSERT_EQ(a, b) HARNESS_CMP(a, ==, b, true)
#define ASSERT_NE(a, b) HARNESS_CMP(a, !=, b, true)
#define ASSERT_LT(a, b) HARNESS_CMP(a, <, b, true)
#define ASSERT_LE(a, b) HARNESS_CMP(a, <=, b, true)
#define ASSERT_GT(a, b) HARNESS_CMP(a, >, b, true)
#define ASSERT_GE(a, b) HARNESS_CMP(a, >=, b, true)
#define ASSERT_TRUE(a) HARNESS_CMP(!!(a), !=, 0, true)
#define ASSERT_FALSE(a) HARNESS_CMP(!!(a), ==, 0, true)

/* A system call that returns -1 and errno; has its value. */
#define HARNESS_SYS(call, stop) ({ \
	const __typeof__(call) harness_ret = (call); \
	if (HARNESS_NUM(harness_ret) == -1) { \
		test_log("%s:%d: %s: %s", __FILE__, __LINE__, #call, strerror(errno)); \
		harness_fail(); \
		if (stop) \
			harness_end(); \
	} \
	harness_ret; \
})
#define EXPECT_SYS(call) HARNESS_SYS(call, false)
#define ASSERT_SYS(call) HARNESS_SYS(call, true)

/* ---- running ---- */

static inline void harness_name(const struct harness_test *test,
				const struct harness_variant *variant,
				char *buf, size_t size)
{
	snprintf(buf, size, "%s%s%s%s%s", test->fixture ? test->fixture->name : "",
		 test->fixture ? "." : "", variant ? variant->name : "",
		 variant ? "." : "", test->name);
}

/* Wait for @pid until @deadline (CLOCK_MONOTONIC seconds); reaps strays as well. */
static inline bool harness_wait(pid_t pid, time_t deadline, int *status)
{
	const struct timespec step = { .tv_nsec = 200000000 };
	struct timespec now;
	sigset_t chld;
	pid_t got;
	int st;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		while ((got = waitpid(-1, &st, WNOHANG)) > 0) {
			if (got == pid) {
				*status = st;
				return true;
			}
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec >= deadline)
			return false;
		sigtimedwait(&chld, NULL, &step);
	}
}

/* Where is a test that does not end, and who else is busy?  What is known when it is killed. */
static inline void harness_tell_where(pid_t pid)
{
	char command[600], line[300];
	FILE *out;

	/* To look at a task that hangs in execve() hangs as well. */
	snprintf(command, sizeof(command),
		 "timeout -s KILL 20 sh -c '"
		 "tell() { echo \"$(cat $1/comm) $(grep State: $1/status) $(cat $1/syscall)\";"
		 " head -n 12 $1/stack; }; for t in /proc/%d/task/*; do tell $t; done 2>&1;"
		 " for t in /proc/[0-9]*/task/*; do case $(grep State: $t/status) in"
		 " *R*|*D*) tell $t;; esac; done 2>/dev/null'", pid);
	out = popen(command, "r");
	if (!out)
		return;
	while (fgets(line, sizeof(line), out)) {
		line[strcspn(line, "\n")] = 0;
		test_log("%s", line);
	}
	pclose(out);
}

/*
 * The last errors that the kernel has told of since @kmsg was opened: who was killed for want
 * of memory, or which device failed, is not in the output of the test.
 */
static inline void harness_tell_kernel(int kmsg)
{
	enum { LINES = 6, LENGTH = 300 };
	char record[8192], lines[LINES][LENGTH];
	unsigned int count = 0, level;
	ssize_t length;
	char *text;

	/* One record each time; EPIPE says that some were lost. */
	while ((length = read(kmsg, record, sizeof(record) - 1)) > 0 ||
	       (length < 0 && errno == EPIPE)) {
		if (length < 0)
			continue;
		record[length] = 0;
		text = strchr(record, ';');
		if (!text || sscanf(record, "%u", &level) != 1 || level % 8 > 3)
			continue;
		snprintf(lines[count++ % LINES], LENGTH, "%.*s",
			 (int)strcspn(text + 1, "\n"), text + 1);
	}
	for (unsigned int i = count > LINES ? count - LINES : 0; i < count; i++)
		test_log("kernel: %s", lines[i % LINES]);
}

static inline void harness_run_one(const struct harness_test *test,
				   const struct harness_variant *variant,
				   const char *name, unsigned int number,
				   unsigned int *failed, unsigned int *skipped)
{
	const unsigned int limit = test->timeout * harness_timeout_scale;
	struct timespec start, end;
	bool in_time, bad;
	int kmsg, status = 0;
	sigset_t chld;
	pid_t pid;

	memset(harness_report, 0, sizeof(*harness_report));
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	clock_gettime(CLOCK_MONOTONIC, &start);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg >= 0)
		lseek(kmsg, 0, SEEK_END);
	fflush(NULL);

	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		sigprocmask(SIG_UNBLOCK, &chld, NULL);
		harness_pid = getpid();
		test->run(variant ? variant->data : NULL);
		fflush(NULL);
		_exit(harness_report->failures ? 1 : 0);
	}
	setpgid(pid, pid);
	in_time = harness_wait(pid, start.tv_sec + limit + 1, &status);
	if (!in_time)
		harness_tell_where(pid);
	kill(-pid, SIGKILL);
	if (!in_time) {
		test_log("not finished after %u s: killed", limit);
		if (!harness_wait(pid, start.tv_sec + limit + 30, &status))
			test_log("does not die either");
	}
	/* Strays of the group hold files open: have them gone before the next test. */
	while (waitpid(-1, NULL, WNOHANG) > 0 || !kill(-pid, 0)) {
		const struct timespec step = { .tv_nsec = 10000000 };

		clock_gettime(CLOCK_MONOTONIC, &end);
		if (end.tv_sec >= start.tv_sec + (time_t)limit + 60)
			break;
		nanosleep(&step, NULL);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);

	if (in_time && WIFSIGNALED(status))
		test_log("killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	bad = !in_time || !WIFEXITED(status) || WEXITSTATUS(status) || harness_report->failures;
	if (kmsg >= 0) {
		if (bad)
			harness_tell_kernel(kmsg);
		close(kmsg);
	}
	if (bad) {
		(*failed)++;
		printf("not ok %u %s\n", number, name);
	} else if (harness_report->skipped) {
		(*skipped)++;
		printf("ok %u %s # SKIP %s\n", number, name, harness_report->reason);
	} else {
		printf("ok %u %s\n", number, name);
	}
	printf("# took %.1f s\n", (double)(end.tv_sec - start.tv_sec) +
	       (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	fflush(stdout);
}

/* What harness_each() is to do, and how much of it there was. */
struct harness_run {
	const char *filter;
	enum harness_what { HARNESS_COUNT, HARNESS_LIST, HARNESS_RUN } what;
	unsigned int number, failed, skipped;
};

static inline void harness_one(struct harness_run *run, const struct harness_test *test,
			       const struct harness_variant *variant)
{
	char name[200];

	harness_name(test, variant, name, sizeof(name));
	if (run->filter && !strstr(name, run->filter))
		return;
	run->number++;
	if (run->what == HARNESS_RUN)
		harness_run_one(test, variant, name, run->number, &run->failed, &run->skipped);
	else if (run->what == HARNESS_LIST)
		puts(name);
}

/*
 * Every test and variant that matches: what has a fixture where its first test is, one
 * variant after the other, so that tests can use what others of the same kind have made.
 */
static inline void harness_each(struct harness_run *run)
{
	for (struct harness_test *t = harness_tests; t; t = t->next) {
		const struct harness_variant *v;

		if (!t->fixture) {
			harness_one(run, t, NULL);
			continue;
		}
		if (t != t->fixture->first)
			continue;
		v = t->fixture->variants;
		do {
			for (const struct harness_test *u = t; u; u = u->next)
				if (u->fixture == t->fixture)
					harness_one(run, u, v);
			v = v ? v->next : NULL;
		} while (v);
	}
}

/* KASAN, lockdep and the like make a kernel slower by a factor that tests must know. */
static inline bool harness_slow_kernel(void)
{
	return !access("/proc/lockdep", F_OK) ||
	       !access("/sys/kernel/debug/kmemleak", F_OK);
}

static inline int harness_main(int argc, char **argv, void (*begin)(void), int (*end)(void))
{
	struct harness_run run = { 0 };
	unsigned int total;
	int ret = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (harness_slow_kernel())
		harness_timeout_scale = 5;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--list")) {
			run.what = HARNESS_LIST;
			harness_each(&run);
			return 0;
		} else if (!strcmp(argv[i], "--filter") && i + 1 < argc) {
			run.filter = argv[++i];
		} else if (!strcmp(argv[i], "--timeout-scale") && i + 1 < argc) {
			harness_timeout_scale = (unsigned int)atoi(argv[++i]);
		} else {
			fprintf(stderr,
				"Usage: %s [--filter SUBSTRING] [--timeout-scale N] [--list]\n",
				argv[0]);
			return 2;
		}
	}

	harness_report = mmap(NULL, sizeof(*harness_report), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (harness_report == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	/* Grandchildren that outlive their parent come to us, to be waited for. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);

	run.what = HARNESS_COUNT;
	harness_each(&run);
	total = run.number;
	printf("TAP version 13\n1..%u\n", total);
	if (begin)
		begin();
	run.what = HARNESS_RUN;
	run.number = 0;
	harness_each(&run);
	if (end)
		ret = end();
	if (ret)
		test_log("cannot put back what the tests changed: %s", strerror(-ret));
	printf("# %u passed, %u failed, %u skipped\n", total - run.failed - run.skipped,
	       run.failed, run.skipped);
	return run.failed || ret ? 1 : 0;
}

#define HARNESS_MAIN HARNESS_MAIN_AROUND(NULL, NULL)

/* For a program that has a main() of its own and calls harness_main(). */
#define HARNESS_VARIABLES \
	struct harness_test *harness_tests, **harness_tail = &harness_tests; \
	struct harness_report *harness_report; \
	jmp_buf harness_stop; \
	pid_t harness_pid; \
	unsigned int harness_timeout_scale = 1

#define HARNESS_MAIN_AROUND(begin, end) \
	HARNESS_VARIABLES; \
	int main(int argc, char **argv) \
	{ \
		return harness_main(argc, argv, begin, end); \
	}

#endif /* HARNESS_H */

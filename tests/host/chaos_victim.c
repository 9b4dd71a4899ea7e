// SPDX-License-Identifier: GPL-2.0
/*
 * A program that looks for what a foreign thread in it could disturb: descriptor numbers,
 * pipes, signals, the end of the process, errno, children.
 *
 *	chaos_victim NAME [MILLISECONDS]
 *
 * runs the test NAME over and over for that time (default 300) and exits with 0, or with
 * 1 and the reason on standard error.  The tests "leave" and "raw" have exit statuses of
 * their own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(cond) do {							\
	if (!(cond)) {								\
		fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond,	\
			strerror(errno));					\
		exit(1);							\
	}									\
} while (0)

static struct timespec until;

static bool go_on(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec < until.tv_sec ||
	       (now.tv_sec == until.tv_sec && now.tv_nsec < until.tv_nsec);
}

/* The number of an opened file is the lowest that is free, always. */
static void descriptors(void)
{
	int a, b, i;

	for (i = 0; i < 200; i++) {
		a = open("/dev/null", O_RDONLY);
		CHECK(a == 3);
		b = dup(a);
		CHECK(b == 4);
		close(a);
		CHECK(dup(b) == 3);
		CHECK(close_range(3, ~0u, 0) == 0);
	}
}

static int count_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3;	/* ".", "..", and the directory's own */
}

static void listed(void)
{
	CHECK(count_open() == 3);
}

/* A pipe ends when the last writer has gone. */
static void pipes(void)
{
	char c;
	int p[2];

	CHECK(!pipe(p));
	CHECK(write(p[1], "x", 1) == 1);
	close(p[1]);
	CHECK(read(p[0], &c, 1) == 1);
	CHECK(read(p[0], &c, 1) == 0);
	close(p[0]);
}

static void forks(void)
{
	int p[2], status;
	pid_t pid;
	char c;

	CHECK(!pipe(p));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(p[0]);
		CHECK(count_open() == 4);
		CHECK(write(p[1], "x", 1) == 1);
		_exit(7);
	}
	close(p[1]);
	CHECK(read(p[0], &c, 1) == 1);
	CHECK(read(p[0], &c, 1) == 0);
	close(p[0]);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
	CHECK(system("exit 5") == 5 << 8);
}

/* A child that goes on after it has closed what it inherited. */
static void inherited(void)
{
	int data[2], go[2], status;
	pid_t pid;
	char c;

	CHECK(!pipe(data) && !pipe(go));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(data[0]);
		close(data[1]);
		close(go[1]);
		_exit(read(go[0], &c, 1) == 1 ? 0 : 1);
	}
	close(data[1]);
	close(go[0]);
	CHECK(read(data[0], &c, 1) == 0);
	CHECK(write(go[1], "x", 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	close(data[0]);
	close(go[1]);
}

static volatile sig_atomic_t handled;
static pthread_t only;

static void handler(int sig)
{
	(void)sig;
	/* In a thread of the program, which is the only one. */
	handled += pthread_equal(pthread_self(), only) ? 1 : 1000000;
}

static void signals(void)
{
	const struct timespec none = { 0, 0 };
	struct sigaction sa = { .sa_handler = handler };
	sigset_t set, old;
	int before;

	only = pthread_self();
	sigaction(SIGUSR1, &sa, NULL);
	before = handled;
	CHECK(!kill(getpid(), SIGUSR1));
	CHECK(handled == before + 1);
	/* Blocked by the only thread: nobody takes it. */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &old);
	CHECK(!kill(getpid(), SIGUSR1));
	CHECK(sigtimedwait(&set, NULL, &none) == SIGUSR1);
	CHECK(handled == before + 1);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void errnos(void)
{
	int i;

	for (i = 0; i < 100000; i++) {
		errno = 12345;
		__asm__ volatile("" ::: "memory");
		CHECK(errno == 12345);
	}
}

static void heap(void)
{
	static char *blocks[512];
	size_t i, size;

	for (i = 0; i < 512; i++) {
		size = 1 + (size_t)rand() % (i % 16 ? 2000 : 300000);
		free(blocks[i]);
		blocks[i] = malloc(size + sizeof(size));
		CHECK(blocks[i]);
		memcpy(blocks[i], &size, sizeof(size));
		memset(blocks[i] + sizeof(size), (int)i, size);
	}
	for (i = 0; i < 512; i++) {
		memcpy(&size, blocks[i], sizeof(size));
		while (size--)
			CHECK(blocks[i][sizeof(size) + size] == (char)i);
	}
}

static void *last(void *arg)
{
	(void)arg;
	usleep(50000);
	return NULL;	/* the last thread: the C library ends the process with 0 */
}

/* The first thread leaves, the last one ends the process. */
static void leave(void)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, last, NULL));
	pthread_exit(NULL);
}

/* The only thread leaves by the bare system call: that is the process's status. */
static void raw(void)
{
	syscall(SYS_exit, 9);
}

static void limits(void)
{
	struct rlimit r = { 8, 8 };

	CHECK(!setrlimit(RLIMIT_NOFILE, &r));
	descriptors();
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "descriptors", descriptors }, { "listed", listed }, { "pipes", pipes },
	{ "forks", forks }, { "inherited", inherited }, { "signals", signals }, { "errno", errnos }, { "heap", heap },
	{ "leave", leave }, { "raw", raw }, { "limits", limits },
};

int main(int argc, char **argv)
{
	size_t i;
	long ms;

	CHECK(argc >= 2);
	/* Whatever we have inherited. */
	close_range(3, ~0u, 0);
	ms = argc > 2 ? atol(argv[2]) : 300;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	for (i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		if (strcmp(tests[i].name, argv[1]))
			continue;
		do
			tests[i].run();
		while (go_on());
		return 0;
	}
	fprintf(stderr, "no test '%s'\n", argv[1]);
	return 2;
}

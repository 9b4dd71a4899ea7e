// SPDX-License-Identifier: GPL-2.0
/*
 * The library's functions on a simulated device: jobs and their results, waiting,
 * orphans, counters, event records, texts, pages that move.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "libdgpu.h"
#include "mock_dgpu.h"
#include "tap.h"

#define NR_SUBMIT 1
#define NR_RESULT 2

static struct dgpu_dev *dev;

static struct dgpu_prog *assemble(const char *text)
{
	struct dgpu_prog *prog;
	char *error;

	if (dgpu_assemble(text, &prog, &error)) {
		printf("Bail out! %s\n", error);
		exit(1);
	}
	return prog;
}

/* Run @text with two arguments and one thread; its result. */
static int run(const char *text, uint64_t r1, uint64_t r2, struct dgpu_result *result)
{
	struct dgpu_run job = {
		.prog = assemble(text), .engine = DGPU_ENGINE_ANY, .args = { r1, r2 },
	};
	int ret = dgpu_run(dev, &job, result);

	dgpu_prog_free((struct dgpu_prog *)job.prog);
	return ret;
}

static void test_open(void)
{
	struct dgpu_info info;
	struct dgpu_dev *other;

	tap_begin("open, close, info");
	EXPECT(dgpu_open("/nonexistent", &other) == -ENOENT && !other, "no such file");
	mock_fail(0, -ENOTTY, 1);
	EXPECT(dgpu_open("/dev/other", &other) == -ENOTTY && !other, "another kind of file");
	setenv("DGPU_DEVICE", "/nonexistent", 1);
	EXPECT(dgpu_open(NULL, &other) == -ENOENT, "$DGPU_DEVICE");
	setenv("DGPU_DEVICE", "", 1);
	EXPECT(!dgpu_open(NULL, &other) && other, "empty $DGPU_DEVICE");
	dgpu_close(other);
	unsetenv("DGPU_DEVICE");
	EXPECT(!dgpu_open(NULL, &dev) && dev && dgpu_fd(dev) >= 0, "default");
	EXPECT(!dgpu_get_info(dev, &info) && !strcmp(info.name, "simulated"), "info");
	dgpu_close(NULL);
	tap_end();
}

static void test_programs(void)
{
	uint64_t value = 0, cells[4] = { 0 };
	struct dgpu_result r;

	tap_begin("programs reach this process' memory");
	EXPECT(!run("li r10, 0x123456789abcdef0\nst8 r10, (r1)\nhalt", (uintptr_t)&value, 0, &r),
	       "store");
	EXPECT(value == 0x123456789abcdef0, "%" PRIx64, value);
	EXPECT(!run("ld1s r10, 7(r1)\nld4s r11, 0(r1)\nst8 r10, 0(r2)\nst8 r11, 8(r2)\n"
		    "ld2 r10, 2(r1)\nst8 r10, 16(r2)\nhalt", (uintptr_t)&value, (uintptr_t)cells, &r),
	       "loads");
	EXPECT(cells[0] == 0x12 && (int64_t)cells[1] == (int32_t)0x9abcdef0 && cells[2] == 0x9abc,
	       "%" PRIx64 " %" PRIx64 " %" PRIx64, cells[0], cells[1], cells[2]);
	EXPECT(!run("li r3, 1\nli r5, 7\ncall f\nst8 r5, (r1)\nhalt\nf: mul r5, r5, r5\nret",
		    (uintptr_t)&value, 0, NULL) && value == 49, "call and ret, no result wanted");
	EXPECT(!run("li r3, 49\nli r4, 5\nacas8 r3, r4, (r1)\nst8 r3, (r2)\n"
		    "li r3, 49\nacas8 r3, r4, (r1)\nst8 r3, 8(r2)\naxchg8 r6, r0, (r1)\n"
		    "halt", (uintptr_t)&value, (uintptr_t)cells, &r) &&
	       cells[0] == 49 && cells[1] == 5 && !value, "atomics");
	tap_end();
}

static void test_failures(void)
{
	static const struct {
		const char *text;
		uint64_t r1;
		uint32_t status;
		const char *says;
	} cases[] = {
		{ "nop\nst8 r0, 8(r1)\nhalt", 0x1000, DGPU_ERR_FAULT,
		  "thread 0 at instruction 1: write to 0x1008 failed: no mapping (EFAULT)" },
		{ "ld1 r2, (r1)\nhalt", 0x1000, DGPU_ERR_FAULT,
		  "thread 0 at instruction 0: read of 0x1000 failed: no mapping (EFAULT)" },
		{ "aadd4 r2, r3, (r1)\nhalt", 0x1000, DGPU_ERR_FAULT,
		  "thread 0 at instruction 0: atomic to 0x1000 failed: no mapping (EFAULT)" },
		{ "aadd8 r2, r3, 4(r1)\nhalt", 0x1000, DGPU_ERR_ALIGN,
		  "thread 0 at instruction 0: misaligned atomic at 0x1004" },
		{ "ill", 0, DGPU_ERR_ILLEGAL, "thread 0 at instruction 0: illegal instruction" },
		{ "nop", 0, DGPU_ERR_PC, "thread 0 at instruction 1: ran off the program" },
		{ "jmp -5", 0, DGPU_ERR_PC, NULL },
		{ "divu r1, r2, r0", 0, DGPU_ERR_DIVIDE,
		  "thread 0 at instruction 0: division by zero" },
		{ "trap -3", 0, DGPU_ERR_TRAP, "thread 0 at instruction 0: trap -3" },
	};
	struct dgpu_result r;
	char text[256];
	unsigned int i;
	uint64_t *page;
	int ret;

	tap_begin("failures say what and where");
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		ret = run(cases[i].text, cases[i].r1, 0, &r);
		EXPECT(ret == -EIO && r.status == cases[i].status, "\"%s\": %d, status %u",
		       cases[i].text, ret, r.status);
		EXPECT(dgpu_result_text(&r, text, sizeof(text)) == (int)strlen(text), "length");
		EXPECT(!cases[i].says || !strcmp(text, cases[i].says), "\"%s\"", text);
	}
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ret = run("st1 r0, 5(r1)\nhalt", (uintptr_t)page, 0, &r);
	EXPECT(ret == -EIO && r.error == EACCES && r.fault_addr == (uintptr_t)page + 5 &&
	       r.access == DGPU_ACCESS_WRITE, "%d %d", ret, r.error);
	dgpu_result_text(&r, text, sizeof(text));
	EXPECT(strstr(text, "the protection of the mapping forbids it (EACCES)"), "%s", text);
	munmap(page, 4096);
	tap_end();
}

static void test_texts(void)
{
	struct dgpu_result r = { .status = DGPU_ERR_FAULT, .error = 9999, .access = 77 };
	char text[600], small[10];
	unsigned int i, g;
	int len;

	tap_begin("texts and names, also of numbers from the future");
	for (i = 0; i < 100; i++) {
		r.status = i;
		len = dgpu_result_text(&r, text, sizeof(text));
		EXPECT(len > 0 && len < 256, "status %u: %d", i, len);
		EXPECT(dgpu_result_text(&r, small, sizeof(small)) == len &&
		       !memcmp(small, text, strlen(small)) && strlen(small) < sizeof(small), "cut");
		EXPECT(i > DGPU_ERR_LOST ? !dgpu_status_name(i) : !!dgpu_status_name(i), "%u", i);
	}
	r.status = DGPU_ERR_FAULT;
	dgpu_result_text(&r, text, sizeof(text));
	EXPECT(!strcmp(text, "thread 0 at instruction 0: access to 0x0 failed: errno 9999"), "%s",
	       text);
	EXPECT(dgpu_reasons_text(0, text, sizeof(text)) == 2 && !strcmp(text, "{}"), "%s", text);
	dgpu_reasons_text(1u << HMM_REASON_COW, text, sizeof(text));
	EXPECT(!strcmp(text, "cow"), "%s", text);
	dgpu_reasons_text(1u << HMM_REASON_DONTNEED | 1u << HMM_REASON_MADV_FREE, text,
			  sizeof(text));
	EXPECT(!strcmp(text, "{dontneed, madv_free}"), "%s", text);
	len = dgpu_reasons_text(UINT32_MAX, text, sizeof(text));
	EXPECT(len < 512 && (size_t)len == strlen(text) && strstr(text, ", 31}"), "%s", text);
	for (g = 0; g < 6; g++)
		for (i = 0; i < 64; i++) {
			static const unsigned int counts[] = {
				HMM_STAT_NR, HMM_EVENT_NR, HMM_REASON_NR, DGPU_HW_NR,
				HMM_RMEM_NR, 0
			};

			EXPECT(!!dgpu_stat_name(g, i) == (i < counts[g]), "%u %u", g, i);
		}
	EXPECT(!dgpu_event_type_name(HMM_EVENT_NR) && !dgpu_event_action_name(HMM_ACTION_NR),
	       "outside");
	EXPECT(!strcmp(dgpu_event_type_name(HMM_EVENT_WRPROTECT), "wrprotect") &&
	       !strcmp(dgpu_event_action_name(HMM_ACTION_FREE), "free"), "inside");
	tap_end();
}

static void test_wait(void)
{
	struct dgpu_prog *spin = assemble("x: ld8 r2, (r1)\nbeqz r2, x\nhalt");
	volatile uint64_t go = 0;
	struct dgpu_run job = {
		.prog = spin, .nthreads = 3, .engine = 1, .args = { (uintptr_t)&go },
	};
	struct dgpu_result r;
	struct dgpu_job *j;
	struct pollfd pfd;

	tap_begin("waiting");
	EXPECT(!dgpu_submit(dev, &job, &j), "submit");
	pfd = (struct pollfd){ .fd = dgpu_job_fence(j), .events = POLLIN };
	EXPECT(poll(&pfd, 1, 0) == 0, "not done");
	EXPECT(dgpu_job_wait(j, 0, &r) == -ETIME, "look");
	EXPECT(dgpu_job_wait(j, 20, &r) == -ETIME, "wait a little");
	go = 1;
	EXPECT(poll(&pfd, 1, 10000) == 1, "fence");
	mock_fail(NR_RESULT, -EINTR, 3);
	EXPECT(!dgpu_job_wait(j, -1, &r) && r.status == DGPU_OK && r.insns >= 9, "done");
	r.insns = 0;
	EXPECT(!dgpu_job_wait(j, 0, &r) && r.insns >= 9, "again");
	EXPECT(!dgpu_job_wait(j, 0, NULL), "again, nothing wanted");
	dgpu_job_free(j);
	dgpu_job_free(NULL);

	go = 0;
	job.timeout_ms = 30;
	EXPECT(dgpu_run(dev, &job, &r) == -EIO && r.status == DGPU_ERR_TIMEOUT, "watchdog");
	EXPECT(!mock_results(), "%u results left", mock_results());
	dgpu_prog_free(spin);
	tap_end();
}

static void *wait_thread(void *arg)
{
	struct dgpu_result r = { };

	return (void *)(intptr_t)(dgpu_job_wait(arg, 10000, &r) || r.trap != 42);
}

static void test_two_waiters(void)
{
	struct dgpu_prog *prog = assemble("li r3, 200000\nx: subi r3, r3, 1\nbnez r3, x\ntrap 42");
	struct dgpu_run job = { .prog = prog, .engine = DGPU_ENGINE_ANY };
	struct dgpu_job *j;
	pthread_t t[4];
	unsigned int i;
	void *bad;

	tap_begin("several threads wait for one job");
	EXPECT(!dgpu_submit(dev, &job, &j), "submit");
	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, wait_thread, j);
	for (i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		EXPECT(!bad, "thread %u", i);
	}
	dgpu_job_free(j);
	dgpu_prog_free(prog);
	tap_end();
}

static void test_orphans(void)
{
	struct dgpu_prog *spin = assemble("x: ld8 r2, (r1)\nbeqz r2, x\nhalt");
	volatile uint64_t go = 0;
	struct dgpu_run job = { .prog = spin, .engine = DGPU_ENGINE_ANY,
				.args = { (uintptr_t)&go } };
	struct dgpu_job *j;
	unsigned int i;
	int ret;

	tap_begin("jobs freed before they are done");
	mock_limit(8);
	for (i = 0; i < 8; i++) {
		EXPECT(!dgpu_submit(dev, &job, &j), "submit");
		dgpu_job_free(j);
	}
	EXPECT(mock_results() == 8, "%u", mock_results());
	EXPECT(dgpu_submit(dev, &job, &j) == -EAGAIN && !j, "all of them run: no room");
	go = 1;
	for (i = 0; mock_running() && i < 10000; i++)
		usleep(1000);
	/* Now they are done, and submitting makes room by itself. */
	ret = dgpu_submit(dev, &job, &j);
	if (EXPECT(!ret, "%d", ret)) {
		EXPECT(!dgpu_job_wait(j, -1, NULL), "wait");
		dgpu_job_free(j);
	}
	EXPECT(!mock_results(), "%u results left", mock_results());

	mock_limit(1024);
	for (i = 0; i < 1000; i++) {
		go = i % 100 == 99;
		EXPECT(!dgpu_submit(dev, &job, &j), "submit %u", i);
		dgpu_job_free(j);
	}
	go = 1;
	tap_end();

	tap_begin("errors of submit");
	mock_fail(NR_SUBMIT, -EINTR, 2);
	EXPECT(!dgpu_run(dev, &job, NULL), "EINTR is not an error");
	mock_fail(NR_SUBMIT, -ENODEV, 1);
	EXPECT(dgpu_run(dev, &job, NULL) == -ENODEV, "ENODEV");
	job.engine = 99;
	EXPECT(dgpu_submit(dev, &job, &j) == -EINVAL && !j, "engine");
	job.engine = 0;
	job.nthreads = UINT32_MAX;
	EXPECT(dgpu_submit(dev, &job, &j) == -E2BIG && !j, "threads");
	job.nthreads = 1;
	job.timeout_ms = UINT64_MAX;
	EXPECT(dgpu_submit(dev, &job, &j) == -EINVAL && !j, "timeout");
	mock_fail(NR_RESULT, -ENODEV, 2);
	job.timeout_ms = 0;
	EXPECT(dgpu_run(dev, &job, NULL) == -ENODEV, "ENODEV while waiting");
	dgpu_prog_free(spin);
	tap_end();
}

static void test_counters(void)
{
	uint64_t values[64];
	unsigned int i;

	tap_begin("counters");
	memset(values, 0xa5, sizeof(values));
	EXPECT(dgpu_get_stat(dev, DGPU_STAT_HW, values, 2) == DGPU_HW_NR, "count");
	EXPECT(values[1] != 0xa5a5a5a5a5a5a5a5 && values[2] == 0xa5a5a5a5a5a5a5a5, "room");
	EXPECT(dgpu_get_stat(dev, 77, values, 64) == -EINVAL, "no such group");
	EXPECT(dgpu_stat_mirror(dev, HMM_STAT_FAULTS) > 0, "faults");
	for (i = 0; i < 100; i += 50)
		EXPECT(!dgpu_stat_mirror(dev, HMM_STAT_NR + i), "outside");
	EXPECT(!dgpu_stat_event(dev, HMM_EVENT_COW), "none of these");
	tap_end();
}

static void test_events(void)
{
	struct dgpu_event e = { .type = HMM_EVENT_COW }, got[8];
	unsigned int i;

	tap_begin("event records");
	EXPECT(dgpu_events_enable(dev, 3) == -EINVAL, "not a power of two");
	EXPECT(!dgpu_events_enable(dev, 4), "enable");
	EXPECT(dgpu_events_read(dev, got, 8) == 0, "none");
	for (i = 0; i < 6; i++) {
		e.seq = i;
		mock_event(&e);
	}
	EXPECT(dgpu_events_read(dev, got, 0) == 0, "no room");
	EXPECT(dgpu_events_read(dev, got, 3) == 3 && got[0].seq == 2, "the last four");
	EXPECT(dgpu_events_read(dev, got, SIZE_MAX) == 1 && got[0].seq == 5, "rest");
	EXPECT(!dgpu_events_enable(dev, 0), "disable");
	tap_end();
}

static void test_ranges(void)
{
	uint8_t ptes[4], *mem = mmap(NULL, 16384, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	tap_begin("prefault, page table entries");
	EXPECT(!dgpu_prefault(dev, mem + 5, 4096, true), "rounded to pages");
	munmap(mem + 8192, 8192);
	EXPECT(!dgpu_prefault(dev, mem + 5, 8187, false), "up to the last byte");
	EXPECT(dgpu_prefault(dev, mem + 5, 8188, false) == -EFAULT, "one byte more");
	EXPECT(dgpu_prefault(dev, mem, 0, false) == -EINVAL, "nothing");
	EXPECT(dgpu_prefault(dev, mem, SIZE_MAX, false) == -EINVAL, "wraps");
	EXPECT(dgpu_prefault(dev, (void *)(UINTPTR_MAX - 4095), 4095, false) == -EINVAL, "the end");
	EXPECT(!dgpu_get_ptes(dev, mem, 2, ptes) && !ptes[0], "ptes");
	EXPECT(dgpu_get_ptes(dev, mem + 1, 2, ptes) == -EINVAL, "alignment");
	munmap(mem, 8192);
	tap_end();
}

static unsigned int count(const uint8_t *results, unsigned int n, uint8_t which)
{
	unsigned int found = 0;

	while (n--)
		found += results[n] == which;
	return found;
}

static void test_migrate(void)
{
	const size_t size = 16 * 4096;
	uint8_t *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t results[16];
	uint64_t moved = 77;

	tap_begin("migration");
	madvise(mem, size, MADV_NOHUGEPAGE);
	memset(mem, 1, 8 * 4096);
	EXPECT(!dgpu_migrate(dev, mem, size, 0, results, &moved) && moved == 8, "%" PRIu64, moved);
	EXPECT(count(results, 16, HMM_PAGE_MOVED) == 8 && count(results, 16, HMM_PAGE_EMPTY) == 8,
	       "results");
	EXPECT(!dgpu_migrate(dev, mem + 4095, 2, DGPU_MIGRATE_TO_SYSTEM, NULL, &moved) &&
	       moved == 2, "every page that the range touches: %" PRIu64, moved);
	EXPECT(dgpu_migrate(dev, mem + 1, 4096, 0, results, &moved) == -EINVAL && !moved,
	       "whole pages only for results: start");
	EXPECT(dgpu_migrate(dev, mem, 4097, 0, results, NULL) == -EINVAL, "length");
	EXPECT(dgpu_migrate(dev, mem, 0, 0, NULL, NULL) == -EINVAL, "nothing");
	EXPECT(dgpu_migrate(dev, mem, SIZE_MAX, 0, NULL, NULL) == -EINVAL, "wraps");
	EXPECT(dgpu_migrate(dev, mem, 4096, 4, NULL, NULL) == -EINVAL, "flags");
	EXPECT(!dgpu_migrate(dev, mem, size, DGPU_MIGRATE_POPULATE, results, &moved) &&
	       moved == 10 && count(results, 16, HMM_PAGE_THERE) == 6, "%" PRIu64, moved);
	munmap(mem + 4 * 4096, 4096);
	EXPECT(dgpu_migrate(dev, mem, size, DGPU_MIGRATE_TO_SYSTEM, results, &moved) == -EFAULT &&
	       moved == 15 && results[4] == HMM_PAGE_UNMAPPED && results[15] == HMM_PAGE_MOVED,
	       "the others are moved, and it is told: %" PRIu64, moved);
	mock_fail(_IOC_NR(DGPU_IOCTL_MIGRATE), -EINTR, 1);
	EXPECT(dgpu_migrate(dev, mem, 4096, 0, NULL, &moved) == -EINTR && !moved, "EINTR is told");
	munmap(mem, size);
	tap_end();
}

static void test_memory(void)
{
	const struct dgpu_hint good = {
		.flags = HMM_HINT_READ_MOSTLY, .prefer = HMM_PREFER_DEVICE,
		.device = DGPU_DEVICE_SELF, .granularity = 65536,
		.start = 1, .length = 1, .reserved = { 1, 1 },	/* not looked at */
	}, bad = { .flags = HMM_HINT_IN_PLACE | HMM_HINT_AUTO }, none = { };
	uint8_t *mem = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct dgpu_page_info info[2];
	uint64_t left = 77, stats[64];
	unsigned int i;

	tap_begin("policy, hints, residency, evacuation");
	EXPECT(dgpu_set_policy(dev, HMM_POLICY_NR) == -EINVAL, "no such policy");
	EXPECT(!dgpu_set_policy(dev, HMM_POLICY_NEVER), "never");
	EXPECT(dgpu_migrate(dev, mem, 8192, 0, NULL, NULL) == -EPERM, "not even when asked to");
	EXPECT(!dgpu_set_policy(dev, HMM_POLICY_TOUCH), "touch");
	EXPECT(!run("st8 r1, 4(r1)\nhalt", (uintptr_t)mem, 0, NULL), "run");
	EXPECT(!dgpu_set_policy(dev, HMM_POLICY_REQUEST), "request");
	EXPECT(!dgpu_residency(dev, mem, 2, info) && info[0].place == HMM_PLACE_DEVICE &&
	       info[1].place == HMM_PLACE_NONE, "%u %u", info[0].place, info[1].place);
	EXPECT(dgpu_residency(dev, mem + 1, 1, info) == -EINVAL, "alignment");
	EXPECT(dgpu_residency(dev, mem, 0, info) == -EINVAL, "none");
	EXPECT(!dgpu_set_hint(dev, mem + 4000, 100, &good), "hint");
	EXPECT(!dgpu_set_hint(dev, mem, 8192, &none), "no hint");
	EXPECT(dgpu_set_hint(dev, mem, 4096, &bad) == -EINVAL, "contradiction");
	EXPECT(dgpu_set_hint(dev, mem, 0, &good) == -EINVAL, "nothing");
	EXPECT(dgpu_get_stat(dev, DGPU_STAT_RMEM, stats, 64) == HMM_RMEM_NR &&
	       stats[HMM_RMEM_USED] >= 1, "in use");
	mock_privileged(false);
	EXPECT(dgpu_evacuate(dev, NULL) == -EPERM, "not everybody may");
	mock_privileged(true);
	EXPECT(!dgpu_evacuate(dev, &left) && !left, "%" PRIu64 " left", left);
	EXPECT(!dgpu_residency(dev, mem, 1, info) && info[0].place == HMM_PLACE_SYSTEM, "%u",
	       info[0].place);
	dgpu_get_stat(dev, DGPU_STAT_RMEM, stats, 64);
	EXPECT(!stats[HMM_RMEM_USED], "all went");
	for (i = 0; i < 20; i++) {
		EXPECT(!!dgpu_page_result_name(i) == (i < HMM_PAGE_NR), "result %u", i);
		EXPECT(!!dgpu_page_place_name(i) == (i < HMM_PLACE_NR), "place %u", i);
	}
	EXPECT(!strcmp(dgpu_page_result_name(HMM_PAGE_BUSY), "busy") &&
	       !strcmp(dgpu_page_place_name(HMM_PLACE_DEVICE), "device"), "names");
	munmap(mem, 8192);
	setenv("MOCK_LOCAL_PAGES", "0", 1);
	EXPECT(dgpu_evacuate(dev, NULL) == -EOPNOTSUPP &&
	       dgpu_migrate(dev, &good, 1, 0, NULL, NULL) == -EOPNOTSUPP, "no device memory");
	unsetenv("MOCK_LOCAL_PAGES");
	tap_end();
}

int main(void)
{
	test_open();
	test_programs();
	test_failures();
	test_texts();
	test_wait();
	test_two_waiters();
	test_orphans();
	test_counters();
	test_events();
	test_ranges();
	test_migrate();
	test_memory();
	dgpu_close(dev);
	tap_ok(!mock_results(), "nothing is left behind");
	return tap_done();
}

// SPDX-License-Identifier: GPL-2.0
/*
 * What the thread does: it chooses some of the process's memory and moves it to the
 * device, moves some back, maps some on the device, has some swapped out, for ever.
 *
 * States: STARTING, as a copy of a thread of the program, with its file descriptors;
 * DETACHED, with none of them: the program may go on; RUNNING, after the first sweep.
 * It ends with the process.
 *
 * The one principle: nothing that it does may be seen in what the program computes.
 * Pages that the program has not touched yet stay so, for the sake of its memory use, of
 * limits and of userfaultfd: only what is populated is mapped on the device.
 *
 * All memory that is used here is static, and moves with everything else.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include "dgpu.h"
#include "dgpu_isa.h"
#include "hmm_memory.h"
#include "chaos.h"
#include "sys.h"

#define MAX_PAGES	1024u		/* of one operation */
#define SWEEP_PAGES	8192u		/* that one sweep moves, at most */
#define SWEEP_CHUNKS	16u		/* of MAX_PAGES, in one mapping */
#define FILE_TRIES	16u		/* to find a mapping of a file */
#define JOB_PAGES	32u		/* that one job reads or writes to, at most */
#define SECOND		1000000000ull

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

struct chaos_control chaos_control;

/* Everything of the thread; a child of fork() begins with a new one. */
static struct {
	uint64_t rnd;
	int device;		/* file descriptors; -1: not open */
	int maps;
	int record;
	int64_t record_at;	/* where in the file */
	int pid;
	char comm[16];
	uint64_t counters[CHAOS_COUNTERS];
	uint64_t retry_at;	/* do not try to open the device before */
	uint64_t sweep_moved;
	struct chaos_maps sample;
} me;

static uint8_t results[MAX_PAGES];
static struct dgpu_page_info places[MAX_PAGES];
static uint8_t ptes[MAX_PAGES];
static char text[16384];

/* ---- files, which are this thread's own ---- */

static int open_file(const char *path, int flags)
{
	return chaos_call3(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC);
}

static void read_comm(void)
{
	int fd = open_file("/proc/self/comm", O_RDONLY);

	if (fd < 0)
		return;
	chaos_call3(SYS_read, fd, me.comm, sizeof(me.comm) - 1);
	chaos_call3(SYS_close, fd, 0, 0);
}

/* Claim a line of the file: what is appended in one piece is where the offset is then. */
static void open_record(void)
{
	char line[CHAOS_RECORD];
	long end;
	int fd;

	me.record = -1;
	if (!chaos_config.stat[0])
		return;
	fd = open_file(chaos_config.stat, O_WRONLY | O_APPEND);
	if (fd < 0)
		return;
	chaos_record_format(line, me.pid, me.comm, me.counters);
	if (chaos_call3(SYS_write, fd, line, sizeof(line)) == sizeof(line)) {
		end = chaos_call3(SYS_lseek, fd, 0, 1 /* SEEK_CUR */);
		me.record_at = end - CHAOS_RECORD;
		if (me.record_at >= 0 && me.record_at % CHAOS_RECORD == 0)
			me.record = open_file(chaos_config.stat, O_WRONLY);
	}
	chaos_call3(SYS_close, fd, 0, 0);
}

static void write_record(void)
{
	char line[CHAOS_RECORD];

	if (me.record < 0)
		return;
	chaos_record_format(line, me.pid, me.comm, me.counters);
	chaos_call4(SYS_pwrite64, me.record, line, sizeof(line), me.record_at);
}

static void note_error(long error)
{
	me.counters[CHAOS_ERRORS]++;
	me.counters[CHAOS_ERRNO] = -error;
}

static bool open_device(void)
{
	if (me.device >= 0)
		return true;
	if (chaos_now() < me.retry_at)
		return false;
	me.device = open_file(chaos_config.device, O_RDWR | O_NONBLOCK);
	if (me.device >= 0)
		return true;
	/* All contexts in use, or the device is gone: later, perhaps. */
	note_error(me.device);
	me.retry_at = chaos_now() + SECOND / 10;
	return false;
}

static void close_device(void)
{
	if (me.device >= 0)
		chaos_call3(SYS_close, me.device, 0, 0);
	me.device = -1;
}

static long device(unsigned long request, void *arg)
{
	long ret = chaos_call3(SYS_ioctl, me.device, request, arg);

	/* Nothing moves there during an evacuation; if it is gone, a later open() says so. */
	if (ret == -ENODEV && chaos_config.evacuate)
		return ret;
	if (ret == -ENODEV || ret == -EPERM || ret == -ESRCH) {
		note_error(ret);
		me.retry_at = chaos_now() + SECOND / 10;
		close_device();
	}
	return ret;
}

/* ---- operations ---- */

/* Move pages; how many moved. */
static uint64_t migrate(uint64_t start, uint64_t pages, uint32_t flags)
{
	struct dgpu_migrate arg = {
		.start = start,
		.length = pages * CHAOS_PAGE,
		.results = (uintptr_t)results,
		.flags = flags,
	};
	uint64_t i;
	long ret;

	if (me.device < 0)
		return 0;
	results[0] = HMM_PAGE_NR;
	ret = device(DGPU_IOCTL_MIGRATE, &arg);
	if (ret && results[0] == HMM_PAGE_NR) {
		/* The whole call. */
		if (ret != -EINTR && ret != -EPERM && ret != -ENODEV)
			note_error(ret);
		return 0;
	}
	for (i = 0; i < pages; i++) {
		switch (results[i]) {
		case HMM_PAGE_BUSY:
			me.counters[CHAOS_BUSY]++;
			break;
		case HMM_PAGE_FULL:
			me.counters[CHAOS_FULL]++;
			break;
		case HMM_PAGE_FAILED:
		case HMM_PAGE_LOST:
			me.counters[CHAOS_FAILED]++;
			break;
		}
	}
	me.counters[flags & DGPU_MIGRATE_TO_SYSTEM ? CHAOS_BACK : CHAOS_THERE] += arg.moved;
	return arg.moved;
}

/* The same for pages of the mapping @r. */
static uint64_t migrate_of(const struct chaos_range *r, uint64_t start, uint64_t pages,
			   uint32_t flags)
{
	const uint64_t moved = migrate(start, pages, flags);

	if (r->shared && !(flags & DGPU_MIGRATE_TO_SYSTEM))
		me.counters[CHAOS_FILES] += moved;
	return moved;
}

/* Where are the pages of a range?  false: not known. */
static bool look(uint64_t start, uint64_t pages)
{
	struct dgpu_residency arg = {
		.start = start,
		.npages = pages,
		.out = (uintptr_t)places,
	};

	return me.device >= 0 && !device(DGPU_IOCTL_RESIDENCY, &arg);
}

/* The first run of pages that are there, wherever. */
static uint64_t populated(uint64_t pages, uint64_t *first)
{
	uint64_t n = 0, i;

	for (i = 0; i < pages && places[i].place == HMM_PLACE_NONE; i++)
		;
	*first = i;
	for (; i < pages && places[i].place != HMM_PLACE_NONE; i++)
		n++;
	return n;
}

static void op_there(const struct chaos_range *r, uint64_t pages)
{
	migrate_of(r, r->start, pages, 0);
}

static void op_back(const struct chaos_range *r, uint64_t pages)
{
	migrate(r->start, pages, DGPU_MIGRATE_TO_SYSTEM);
}

/* All of it there, and then single pages of it back. */
static void op_split(const struct chaos_range *r, uint64_t pages)
{
	unsigned int i;

	migrate_of(r, r->start, pages, 0);
	for (i = 0; i < 8; i++)
		migrate(r->start + chaos_random(&me.rnd) % pages * CHAOS_PAGE, 1,
			DGPU_MIGRATE_TO_SYSTEM);
}

static void op_prefault(const struct chaos_range *r, uint64_t pages)
{
	struct dgpu_range arg = { };
	uint64_t first, n;

	if (!look(r->start, pages))
		return;
	n = populated(pages, &first);
	if (!n)
		return;
	arg.start = r->start + first * CHAOS_PAGE;
	arg.length = n * CHAOS_PAGE;
	/* A page of a file that nobody writes to is not made dirty for nothing. */
	if (r->writable && !r->shared && chaos_random(&me.rnd) & 1)
		arg.flags = DGPU_PREFAULT_WRITE;
	if (!device(DGPU_IOCTL_PREFAULT, &arg))
		me.counters[CHAOS_MAPPED] += n;
}

static void op_look(const struct chaos_range *r, uint64_t pages)
{
	struct dgpu_ptes arg = {
		.start = r->start,
		.npages = pages,
		.out = (uintptr_t)ptes,
	};

	if (look(r->start, pages))
		device(DGPU_IOCTL_PTES, &arg);
}

static void op_pageout(const struct chaos_range *r, uint64_t pages)
{
	chaos_call3(SYS_madvise, r->start, pages * CHAOS_PAGE, MADV_PAGEOUT);
}

/* Make a huge page of pages that are all there. */
static void op_collapse(const struct chaos_range *r, uint64_t pages)
{
	const uint64_t huge = 2ul << 20;
	uint64_t start = (r->start + huge - 1) & ~(huge - 1), first;

	if (r->shared || start + huge > r->start + pages * CHAOS_PAGE)
		return;
	if (look(start, huge / CHAOS_PAGE) &&
	    populated(huge / CHAOS_PAGE, &first) == huge / CHAOS_PAGE)
		chaos_call3(SYS_madvise, start, huge, MADV_COLLAPSE);
}

static void op_policy(const struct chaos_range *r, uint64_t pages)
{
	struct dgpu_policy arg = {
		.policy = chaos_random(&me.rnd) & 1 ? HMM_POLICY_TOUCH : HMM_POLICY_REQUEST,
	};

	(void)r;
	(void)pages;
	if (me.device >= 0)
		device(DGPU_IOCTL_POLICY, &arg);
}

static void op_hint(const struct chaos_range *r, uint64_t pages)
{
	static const struct {
		uint32_t flags, prefer, granularity;
	} hints[] = {
		{ 0, HMM_PREFER_NONE, 0 },
		{ HMM_HINT_READ_MOSTLY, HMM_PREFER_DEVICE, 64 << 10 },
		{ HMM_HINT_AUTO, HMM_PREFER_DEVICE, 0 },
		{ HMM_HINT_AUTO, HMM_PREFER_NONE, 2 << 20 },
		{ HMM_HINT_NO_AUTO, HMM_PREFER_NONE, 0 },
		{ HMM_HINT_IN_PLACE, HMM_PREFER_SYSTEM, 0 },
	};
	unsigned int i = chaos_random(&me.rnd) % ARRAY_SIZE(hints);
	struct dgpu_hint arg = {
		.start = r->start,
		.length = pages * CHAOS_PAGE,
		.flags = hints[i].flags,
		.prefer = hints[i].prefer,
		.device = hints[i].prefer == HMM_PREFER_DEVICE ? DGPU_DEVICE_SELF : 0,
		.granularity = hints[i].granularity,
	};

	if (me.device >= 0)
		device(DGPU_IOCTL_HINT, &arg);
}

static void op_reopen(const struct chaos_range *r, uint64_t pages)
{
	(void)r;
	(void)pages;
	close_device();
	if (open_device())
		me.counters[CHAOS_REOPENS]++;
}

static void op_evacuate(const struct chaos_range *r, uint64_t pages)
{
	struct dgpu_evacuate arg = { };

	if (!chaos_config.evacuate || me.device < 0) {
		op_there(r, pages);
		return;
	}
	/* Not device(): without the right to do it, the file is good all the same. */
	if (!chaos_call3(SYS_ioctl, me.device, DGPU_IOCTL_EVACUATE, &arg))
		me.counters[CHAOS_EVACUATIONS]++;
}

/*
 * A program of the device on pages of a file: it reads a byte of each, or adds nothing to a
 * word of each, atomically, so that the page is the device's and yet what it was.
 */
static void job(uint64_t start, uint64_t pages, bool write)
{
	static const struct dgpu_insn code[] = {
		/* r1: page, r2: how many, r3: bytes of one, r4: write */
		{ .op = DGPU_OP_BEQ, .ra = 2, .rb = 0, .imm = 8 },
		{ .op = DGPU_OP_BEQ, .ra = 4, .rb = 0, .imm = 4 },
		{ .op = DGPU_OP_AADD8, .rd = 9, .ra = 1, .rb = 0 },
		{ .op = DGPU_OP_JMP, .imm = 5 },
		{ .op = DGPU_OP_LD1, .rd = 9, .ra = 1 },
		{ .op = DGPU_OP_ADD, .rd = 1, .ra = 1, .rb = 3 },
		{ .op = DGPU_OP_ADDI, .rd = 2, .ra = 2, .imm = -1 },
		{ .op = DGPU_OP_JMP, .imm = 0 },
		{ .op = DGPU_OP_HALT },
	};
	struct dgpu_submit work = {
		.code = (uintptr_t)code,
		.ninsns = ARRAY_SIZE(code),
		.nthreads = 1,
		.engine = DGPU_ENGINE_ANY,
		.timeout_ms = 10000,
	};
	struct dgpu_result result = { .timeout_ns = 20 * SECOND };
	uint64_t first;

	/* Behind the end of the file there is nothing, nor where nobody has been yet. */
	if (!look(start, pages))
		return;
	pages = populated(pages, &first);
	if (!pages)
		return;
	work.args[0] = start + first * CHAOS_PAGE;
	work.args[1] = pages < JOB_PAGES ? pages : JOB_PAGES;
	work.args[2] = CHAOS_PAGE;
	work.args[3] = write;
	if (device(DGPU_IOCTL_SUBMIT, &work))
		return;
	chaos_call3(SYS_close, work.fence_fd, 0, 0);
	result.job = work.job;
	/* A fault is none of ours: the file may have been truncated, the mapping be gone. */
	if (!device(DGPU_IOCTL_RESULT, &result))
		me.counters[CHAOS_JOBS]++;
}

static void op_job(const struct chaos_range *r, uint64_t pages)
{
	if (r->shared)
		job(r->start, pages, r->writable && chaos_random(&me.rnd) & 1);
	else
		op_there(r, pages);
}

static const struct {
	unsigned int percent;
	void (*op)(const struct chaos_range *r, uint64_t pages);
} operations[] = {
	{ 27, op_there },
	{ 10, op_job },
	{ 18, op_back },
	{ 12, op_split },
	{ 14, op_prefault },
	{ 4, op_look },
	{ 5, op_pageout },
	{ 3, op_policy },
	{ 3, op_hint },
	{ 2, op_collapse },
	{ 1, op_reopen },
	{ 1, op_evacuate },
};

/* Files that are mapped are few among all mappings: look for one every other time. */
static bool pick(struct chaos_range *range)
{
	unsigned int tries = chaos_config.files && chaos_random(&me.rnd) & 1 ? FILE_TRIES : 1;

	do {
		if (!chaos_maps_pick(&me.sample, &me.rnd, MAX_PAGES, range))
			return false;
	} while (--tries && !range->shared);
	return true;
}

static void one_operation(void)
{
	unsigned int dice = chaos_random(&me.rnd) % 100, i;
	struct chaos_range range;

	if (!open_device() || !pick(&range))
		return;
	for (i = 0; dice >= operations[i].percent; i++)
		dice -= operations[i].percent;
	me.counters[CHAOS_OPS]++;
	operations[i].op(&range, (range.end - range.start) / CHAOS_PAGE);
}

/* ---- all mappings ---- */

/* Go through the mappings as they are now. */
static void each_mapping(bool (*each)(void *arg, const struct chaos_range *range), void *arg)
{
	size_t have = 0, used;
	long got;

	if (me.maps < 0)
		return;
	chaos_call3(SYS_lseek, me.maps, 0, 0);
	while ((got = chaos_call3(SYS_read, me.maps, text + have, sizeof(text) - have)) > 0) {
		have += got;
		used = chaos_maps_lines(text, have, each, arg);
		/* A line that fills all of the buffer has no end: there is none so long. */
		if (!used && have == sizeof(text))
			break;
		for (size_t i = 0; i < have - used; i++)
			text[i] = text[used + i];
		have -= used;
	}
}

/* With shared mappings of files only if that is wanted. */
static bool sample_one(void *arg, const struct chaos_range *range)
{
	if (range->shared && !chaos_config.files)
		return true;
	return chaos_maps_sample(arg, range);
}

static bool sweep_one(void *arg, const struct chaos_range *range)
{
	uint64_t at = range->start, pages;
	unsigned int chunks;

	(void)arg;
	if (me.sweep_moved >= SWEEP_PAGES)
		return false;
	if (range->shared ? !chaos_config.files : !range->writable)
		return true;
	for (chunks = 0; chunks < SWEEP_CHUNKS && at < range->end; chunks++) {
		pages = (range->end - at) / CHAOS_PAGE;
		if (pages > MAX_PAGES)
			pages = MAX_PAGES;
		me.sweep_moved += migrate_of(range, at, pages, 0);
		/* Some of them become the device's own. */
		if (range->shared)
			job(at, pages, range->writable);
		at += pages * CHAOS_PAGE;
		if (me.sweep_moved >= SWEEP_PAGES)
			return false;
	}
	return true;
}

/* Move everything that is writable to the device, if it is not enormous. */
static void sweep(void)
{
	if (!open_device())
		return;
	me.sweep_moved = 0;
	each_mapping(sweep_one, 0);
	me.counters[CHAOS_SWEEPS]++;
	write_record();
}

static void take_sample(void)
{
	me.sample.n = 0;
	me.sample.seen = 0;
	me.sample.rnd = &me.rnd;
	each_mapping(sample_one, &me.sample);
}

/* ---- the thread ---- */

/*
 * The C library does not know this thread, and counts without it when it decides whether
 * the process ends.  If the last thread that it knows of leaves by the bare system call,
 * this one must not keep the process alive: /proc/self/stat shows a zombie then, with
 * two threads, it and us.  The status of the process is that of the thread that ends
 * last, so this one has to end with that of the zombie, which is the last field.
 */
static void leave_if_alone(void)
{
	int fd = open_file("/proc/self/stat", O_RDONLY), spaces = 0;
	long n, i, threads = 0, status = 0;

	if (fd < 0)
		return;
	n = chaos_call3(SYS_read, fd, text, sizeof(text));
	chaos_call3(SYS_close, fd, 0, 0);
	for (i = n - 1; i >= 0 && text[i] != ')'; i--)
		;
	if (i < 0 || i + 2 >= n || (text[i + 2] != 'Z' && text[i + 2] != 'X'))
		return;
	for (i += 2; i < n && spaces < 17; i++)
		spaces += text[i] == ' ';
	for (; i < n && text[i] >= '0' && text[i] <= '9'; i++)
		threads = threads * 10 + text[i] - '0';
	if (threads > 2)
		return;
	for (i = n - 1; i >= 0 && text[i] != ' '; i--)
		;
	for (i++; i < n && text[i] >= '0' && text[i] <= '9'; i++)
		status = status * 10 + text[i] - '0';
	chaos_call3(SYS_exit, status >> 8, 0, 0);
}

/* Become a thread that has nothing in common with the program but its memory. */
static void detach(void)
{
	unsigned char *p = (unsigned char *)&me;
	size_t i;

	/* Pipes that stay open here would never end for their readers. */
	chaos_call3(SYS_close_range, 0, ~0u, 0);
	chaos_call3(SYS_chdir, "/", 0, 0);
	for (i = 0; i < sizeof(me); i++)
		((volatile unsigned char *)p)[i] = 0;
	me.device = me.maps = me.record = -1;
	me.rnd = chaos_control.seed ? chaos_control.seed : 1;
	me.pid = chaos_call3(SYS_getpid, 0, 0, 0);
	chaos_futex_set(&chaos_control.phase, CHAOS_DETACHED);
}

/**
 * chaos_thread() - what the thread runs
 *
 * Context: a thread made by chaos_clone(), with all signals blocked.  Does not return.
 */
void chaos_thread(void)
{
	uint64_t began, pause, round;

	detach();
	/* A child that is about to run another program ends here: it needs no device. */
	if (!chaos_control.sweep_first)
		chaos_futex_wait(&chaos_control.command, CHAOS_GO, SECOND / 500);
	read_comm();
	me.maps = open_file("/proc/self/maps", O_RDONLY);
	open_record();
	if (chaos_control.sweep_first)
		sweep();
	chaos_futex_set(&chaos_control.phase, CHAOS_RUNNING);

	for (round = 0;; round++) {
		began = chaos_now();
		if (__atomic_load_n(&chaos_control.command, __ATOMIC_ACQUIRE) == CHAOS_SWEEP) {
			sweep();
			chaos_futex_set(&chaos_control.command, CHAOS_GO);
		}
		if (round % 8 == 0)
			take_sample();
		if (round % 64 == 63)
			leave_if_alone();
		one_operation();
		write_record();
		/* Rest for twice as long as it took: the program is to get on, too. */
		pause = 2 * (chaos_now() - began);
		if (pause < SECOND / chaos_config.rate)
			pause = SECOND / chaos_config.rate;
		pause = pause / 2 + chaos_random(&me.rnd) % pause;
		chaos_futex_wait(&chaos_control.command, CHAOS_GO, pause);
	}
}

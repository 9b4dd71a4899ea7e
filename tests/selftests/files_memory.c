// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel does something to the memory that a page of a file has in the page cache while a
 * device owns the page: takes it offline, finds an error in it, compacts it, pins it.
 *
 * Nobody touches these pages on the way: they are dirty, not up to date, mapped by no CPU, and
 * have bytes that are not those of the file (pagecache_verify), and this is how the kernel
 * moves or drops them.  Which memory it is the CPU's page table says before the device owns
 * them, /proc/kpageflags while it does, and the CPU's page table again afterwards.
 *
 * Memory that has been taken offline for its errors stays so: some pages for each run.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include "files_case.h"
#include "sys.h"

#define N		FILES_PAGES
#define PG		((off_t)PAGE_SIZE)

#define MEMORY		"/sys/devices/system/memory"
#define SOFT_OFFLINE	MEMORY "/soft_offline_page"
#define HARD_OFFLINE	MEMORY "/hard_offline_page"
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"

/* For a block of memory to go offline, which takes less than a second. */
#define BLOCK_SECONDS	10

/* What is on disk before the device writes @value + page. */
#define OLD(value)	((value) + 0x800)

/* The block that a test has made movable, as files_program_end() has to know; -1: none. */
static int *memory_block;

FIXTURE(memory) {
	struct files_case c;
	uint64_t pfns[N];
};

FIXTURE_VARIANT(memory) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(memory, delalloc_4k) { 4096, "delalloc" };
FIXTURE_VARIANT_ADD(memory, nodelalloc_1k) { 1024, "nodelalloc,dioread_lock" };

static void memory_setup(struct files_case *c, unsigned int block, const char *options)
{
	files_case_begin(c, block, options);
	if (!c->device)
		SKIP("no page of a file can be on the device");
	/* What nobody touches stays as it is. */
	files_case_hold(c);
}

FIXTURE_SETUP(memory)
{
	memory_setup(&self->c, variant->block, variant->options);
}

FIXTURE_TEARDOWN(memory)
{
	files_case_end(&self->c);
}

/* ---- which memory ---- */

/* Frames of all pages; the CPU maps them then. */
static void memory_frames(struct files_case *c, uint64_t *pfns)
{
	for (size_t i = 0; i < N; i++) {
		(void)*word(c->mem, i);
		pfns[i] = sys_pagemap(word(c->mem, i));
		ASSERT_TRUE(pfns[i] & SYS_PM_PRESENT);
		pfns[i] &= SYS_PM_PFN;
		/* 0: this process is not told. */
		ASSERT_NE(0, pfns[i]);
	}
}

/* 1ull << KPF_* */
static uint64_t memory_flags(uint64_t pfn)
{
	const int fd = ASSERT_SYS(open("/proc/kpageflags", O_RDONLY | O_CLOEXEC));
	uint64_t flags = 0;

	ASSERT_EQ(sizeof(flags), pread(fd, &flags, sizeof(flags), (off_t)(pfn * sizeof(flags))));
	close(fd);
	return flags;
}

/* The frames are as those of owned pages are. */
static void memory_expect_owned(struct files_case *c, const uint64_t *pfns)
{
	const uint64_t want = 1ull << KPF_DIRTY;
	const uint64_t mask = want | 1ull << KPF_UPTODATE | 1ull << KPF_MMAP |
			      1ull << KPF_WRITEBACK | 1ull << KPF_BUDDY | 1ull << KPF_ANON |
			      1ull << KPF_HWPOISON;

	EXPECT_OWNED(c, 0, N, N);
	for (size_t i = 0; i < N; i++)
		ASSERT_EQ(want, memory_flags(pfns[i]) & mask);
}

/* The device owns all pages, and has written to them, and we know what memory they have. */
static void memory_own(struct files_case *c, uint64_t *pfns, uint64_t value)
{
	/* When the first page of a file moves, its file system may drop all of them. */
	files_own(c, 0, N, OLD(value));
	ASSERT_SYS(fsync(c->fd));
	memory_frames(c, pfns);
	EXPECT_TRUE(cpu_check(c->mem, N, OLD(value)));
	files_own(c, 0, N, value);
	memory_expect_owned(c, pfns);
}

static int memory_offline(const char *how, uint64_t pfn)
{
	char text[32];
	int ret = -EBUSY;

	snprintf(text, sizeof(text), "%#jx", (uintmax_t)(pfn * PAGE_SIZE));
	/* The page may be in the list of a CPU for a moment, or looked at by somebody. */
	for (int tries = 0; tries < 50 && (ret == -EBUSY || ret == -EAGAIN); tries++) {
		ret = sys_try_write(how, text);
		if (ret)
			sys_sleep_ms(20);
	}
	if (ret == -ENOENT)
		SKIP("no %s", how);
	return ret;
}

/* Give it back where the kernel can do that. */
static void memory_unpoison(uint64_t pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%#jx", (uintmax_t)pfn);
	sys_try_write(UNPOISON, text);
}

static size_t memory_moved(const uint64_t *from, const uint64_t *to)
{
	size_t moved = 0;

	for (size_t i = 0; i < N; i++)
		moved += from[i] != to[i];
	return moved;
}

/* ---- memory that is about to fail ---- */

/* Some owned pages get other memory; nothing is fetched for that. */
static void soft_offline(struct files_case *c, const uint64_t *pfns)
{
	const uint64_t back = gpu_rmem(&c->gpu, HMM_RMEM_FILE_BACK);

	for (size_t i = 3; i < N; i += 14)
		ASSERT_EQ(0, memory_offline(SOFT_OFFLINE, pfns[i]));
	EXPECT_EQ(back, gpu_rmem(&c->gpu, HMM_RMEM_FILE_BACK));
	EXPECT_OWNED(c, 0, N, N);
	for (size_t i = 3; i < N; i += 14)
		EXPECT_TRUE(memory_flags(pfns[i]) & 1ull << KPF_HWPOISON);
}

static void soft_offline_moved(struct files_case *c, const uint64_t *pfns)
{
	uint64_t now[N];

	memory_frames(c, now);
	for (size_t i = 3; i < N; i += 14) {
		EXPECT_NE(pfns[i], now[i]);
		memory_unpoison(pfns[i]);
	}
	test_log("%zu of %lu pages moved", memory_moved(pfns, now), N);
}

TEST_F(memory, soft_offline_read)
{
	static const enum files_how hows[] = {
		FILES_DEVICE, FILES_READ, FILES_DIRECT, FILES_MAP,
	};
	struct files_case *c = &self->c;

	for (size_t k = 0; k < sizeof(hows) / sizeof(hows[0]); k++) {
		const uint64_t value = (k + 1) << 12;

		memory_own(c, self->pfns, value);
		soft_offline(c, self->pfns);
		files_expect(c, __FILE__, __LINE__, hows[k], 0, N, value);
		EXPECT_FILE(c, MAP, 0, N, value);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, value));
		soft_offline_moved(c, self->pfns);
	}
	/* Nobody has written a page since: what is on disk is what was read. */
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 4ull << 12);
}

/* Nobody reads it before it is written to disk. */
TEST_F(memory, soft_offline_fsync)
{
	struct files_case *c = &self->c;

	memory_own(c, self->pfns, 0x1000);
	soft_offline(c, self->pfns);
	ASSERT_SYS(fsync(c->fd));
	EXPECT_OWNED(c, 0, N, 0);
	soft_offline_moved(c, self->pfns);
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

/* The device goes on writing, in its own memory, and then it leaves. */
TEST_F(memory, soft_offline_evacuate)
{
	struct files_case *c = &self->c;
	const uint64_t times = gpu_rmem(&c->gpu, HMM_RMEM_FILE_OWNED);
	uint64_t left = 1;

	memory_own(c, self->pfns, 0x1000);
	soft_offline(c, self->pfns);
	EXPECT_GE(gpu_rmem(&c->gpu, HMM_RMEM_FILE_OWNED), times + 2 * N);
	files_own(c, 0, N, 0x2000);
	ASSERT_EQ(0, dgpu_evacuate(c->gpu.dev, &left));
	EXPECT_EQ(0, left);
	EXPECT_EQ(0, files_there(c, 0, N));
	EXPECT_FILE(c, READ, 0, N, 0x2000);
	soft_offline_moved(c, self->pfns);
}

/* ---- memory that has failed ---- */

/*
 * Page @page has no memory any more, and the device has not got it either; the others are as
 * they were.  fsync() says so, once.
 */
static void hard_offline(struct files_case *c, const uint64_t *pfns, size_t page, uint64_t value)
{
	const uint64_t dropped = gpu_rmem(&c->gpu, HMM_RMEM_DROPPED);
	const uint64_t back = gpu_rmem(&c->gpu, HMM_RMEM_FILE_BACK);
	const uint64_t used = gpu_rmem(&c->gpu, HMM_RMEM_USED);

	/* 0: the kernel says that it has recovered. */
	ASSERT_EQ(0, memory_offline(HARD_OFFLINE, pfns[page]));
	EXPECT_TRUE(memory_flags(pfns[page]) & 1ull << KPF_HWPOISON);
	EXPECT_EQ(0, files_there(c, page, 1));
	EXPECT_EQ(dropped + 1, gpu_rmem(&c->gpu, HMM_RMEM_DROPPED));
	EXPECT_EQ(used - 1, gpu_rmem(&c->gpu, HMM_RMEM_USED));
	/* Nobody has fetched anything: a neighbour that was read would be the device's no more. */
	EXPECT_EQ(back, gpu_rmem(&c->gpu, HMM_RMEM_FILE_BACK));
	EXPECT_OWNED(c, 0, page, page);
	EXPECT_OWNED(c, page + 1, N - page - 1, N - page - 1);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, page, value));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem + (page + 1) * PAGE_SIZE, N - page - 1,
			       value + page + 1));
	files_expect_journal(c, "before");
	EXPECT_EQ(-1, fsync(c->fd));
	EXPECT_EQ(EIO, errno);
	EXPECT_SYS(fsync(c->fd));
	files_expect_journal(c, "after");
}

/* The others have what the device wrote, and the page can be on the device again. */
static void hard_offline_others(struct files_case *c, const uint64_t *pfns, size_t page,
				uint64_t value)
{
	uint64_t now[N];

	EXPECT_FILE(c, READ, 0, page, value);
	EXPECT_FILE(c, READ, page + 1, N - page - 1, value);
	EXPECT_FILE(c, DIRECT, 0, page, value);
	EXPECT_FILE(c, DIRECT, page + 1, N - page - 1, value);
	memory_frames(c, now);
	EXPECT_NE(pfns[page], now[page]);
	memory_unpoison(pfns[page]);
}

/* What the device wrote is gone with the memory; all see what was synced last, as documented. */
TEST_F(memory, hard_offline)
{
	static const enum files_how hows[] = {
		FILES_DEVICE, FILES_READ, FILES_DIRECT, FILES_MAP,
	};
	struct files_case *c = &self->c;

	for (size_t k = 0; k < sizeof(hows) / sizeof(hows[0]); k++) {
		const uint64_t value = (k + 1) << 12;
		const size_t page = 5 + 3 * k;

		memory_own(c, self->pfns, value);
		hard_offline(c, self->pfns, page, value);
		files_expect(c, __FILE__, __LINE__, hows[k], page, 1, OLD(value));
		EXPECT_FILE(c, READ, page, 1, OLD(value));
		EXPECT_FILE(c, DIRECT, page, 1, OLD(value));
		EXPECT_FILE(c, MAP, page, 1, OLD(value));
		EXPECT_FILE(c, DEVICE, page, 1, OLD(value));
		hard_offline_others(c, self->pfns, page, value);
	}
	files_own(c, 0, N, 0x9000);
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x9000);
}

/* The device writes first: to a page that begins with what was synced, not with its own. */
TEST_F(memory, hard_offline_write)
{
	struct files_case *c = &self->c;

	memory_own(c, self->pfns, 0x1000);
	/* Not in the words that are checked for: what is left of it would show. */
	EXPECT_EQ(0, gpu_write(&c->gpu, c->mem + 7 * PAGE_SIZE + 2048, 0x7777));
	hard_offline(c, self->pfns, 7, 0x1000);
	EXPECT_EQ(0, gpu_write(&c->gpu, c->mem + 7 * PAGE_SIZE, 0x1007));
	EXPECT_FILE(c, DEVICE, 0, N, 0x1000);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	hard_offline_others(c, self->pfns, 7, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

/* It has never been on disk, and so it is a hole again. */
TEST_F(memory, hard_offline_hole)
{
	struct files_case *c = &self->c;
	const size_t page = 9;

	if (!strstr(variant->options, "delalloc") || strstr(variant->options, "nodelalloc"))
		SKIP("blocks are there before the page is, and have what was on the disk");
	memory_own(c, self->pfns, 0x1000);
	ASSERT_SYS(ftruncate(c->fd, 0));
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	ASSERT_SYS(fsync(c->fd));
	memory_frames(c, self->pfns);
	files_own(c, 0, N, 0x2000);
	memory_expect_owned(c, self->pfns);
	hard_offline(c, self->pfns, page, 0x2000);
	EXPECT_BYTE(c, page, 0);
	memory_unpoison(self->pfns[page]);
	files_case_remount(c);
	EXPECT_BYTE(c, page, 0);
	for (size_t i = 0; i < N; i++)
		if (i != page)
			EXPECT_EQ(0x2000 + i, *word(c->mem, i));
}

/* ---- a block of memory that pages can be moved out of ---- */

FIXTURE(movable) {
	struct files_case c;
	uint64_t pfns[N];
	uint64_t first, end;	/* frames of the block */
	int pins;		/* gup_test, or -1 */
};

FIXTURE_VARIANT(movable) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(movable, delalloc_4k) { 4096, "delalloc" };
FIXTURE_VARIANT_ADD(movable, nodelalloc_1k) { 1024, "nodelalloc,dioread_lock" };

static void block_on_alarm(int sig)
{
	(void)sig;
}

/*
 * -EINTR: not in time.  The kernel tries to move a page again until a signal comes, and there
 * are some that it cannot move for hours: metadata that a journal holds on to and that nobody
 * writes to where it belongs.
 */
static int block_state(int block, const char *state)
{
	const struct sigaction act = { .sa_handler = block_on_alarm }, none = { 0 };
	const struct itimerval limit = {
		.it_value.tv_sec = (time_t)BLOCK_SECONDS * harness_timeout_scale,
		.it_interval.tv_sec = 1,
	}, off = { 0 };
	char path[80];
	int ret;

	snprintf(path, sizeof(path), MEMORY "/memory%d/state", block);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &limit, NULL);
	ret = sys_try_write(path, state);
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &none, NULL);
	return ret;
}

/* As it was when the machine came up; also if it is offline, or somebody has put it back. */
static void block_restore(void)
{
	char path[80], *state;

	if (!memory_block || *memory_block < 0)
		return;
	snprintf(path, sizeof(path), MEMORY "/memory%d/state", *memory_block);
	state = sys_text(path);
	if (state && strncmp(state, "offline", 7))
		block_state(*memory_block, "offline");
	free(state);
	if (block_state(*memory_block, "online_kernel"))
		block_state(*memory_block, "online");
	*memory_block = -1;
}

/* The next block below @below that is there; -1: none. */
static int block_below(int below)
{
	DIR *dir = opendir(MEMORY);
	struct dirent *entry;
	int block, found = -1;

	while (dir && (entry = readdir(dir)))
		if (sscanf(entry->d_name, "memory%d", &block) == 1 && block < below &&
		    block > found)
			found = block;
	if (dir)
		closedir(dir);
	return found;
}

/* From the end: there is the least that cannot be moved away. */
static int block_make_movable(void)
{
	int block = INT32_MAX, ret = -ENOENT, tried = 0;

	/* That of a test that was killed. */
	block_restore();
	while ((block = block_below(block)) >= 0) {
		ret = block_state(block, "offline");
		tried++;
		if (ret)
			continue;
		*memory_block = block;
		ret = block_state(block, "online_movable");
		if (!ret)
			return block;
		block_restore();
	}
	SKIP("none of %d blocks of memory can be made movable: %s", tried, strerror(-ret));
}

/* Memory for this process comes from the node of the block; what is movable from the block. */
static void block_prefer(int block)
{
	unsigned long mask;
	char path[80];

	for (unsigned int node = 0; node < 8; node++) {
		snprintf(path, sizeof(path), MEMORY "/memory%d/node%u", block, node);
		if (access(path, F_OK))
			continue;
		mask = 1ul << node;
		ASSERT_SYS(syscall(SYS_set_mempolicy, 1 /* MPOL_PREFERRED */, &mask, 64ul));
	}
}

static bool block_has(const struct harness_data_movable *self, uint64_t pfn)
{
	return pfn >= self->first && pfn < self->end;
}

FIXTURE_SETUP(movable)
{
	uint64_t size = 0;
	char *text;
	int block;

	self->pins = -1;
	text = sys_text(MEMORY "/block_size_bytes");
	if (!text || sscanf(text, "%jx", (uintmax_t *)&size) != 1)
		SKIP("this kernel has no memory hotplug");
	free(text);
	/* Before there is a file system that is journaled: see block_state(). */
	block = block_make_movable();
	self->first = (uint64_t)block * (size / PAGE_SIZE);
	self->end = self->first + size / PAGE_SIZE;
	memory_setup(&self->c, variant->block, variant->options);
	block_prefer(block);
}

FIXTURE_TEARDOWN(movable)
{
	if (self->pins >= 0)
		close(self->pins);
	files_case_end(&self->c);
	block_restore();
}

/* As memory_own(), and all pages are in the block. */
static void movable_own(struct harness_data_movable *self, uint64_t value)
{
	struct files_case *c = &self->c;
	size_t there = 0;

	files_own(c, 0, N, OLD(value));
	for (int tries = 0; tries < 20 && there < N; tries++) {
		/* They are read again, by us. */
		munmap(c->mem, FILES_LENGTH);
		ASSERT_SYS(fsync(c->fd));
		ASSERT_EQ(0, posix_fadvise(c->fd, 0, 0, POSIX_FADV_DONTNEED));
		ASSERT_SYS(mmap(c->mem, FILES_LENGTH, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED, c->fd, 0));
		memory_frames(c, self->pfns);
		there = 0;
		for (size_t i = 0; i < N; i++)
			there += block_has(self, self->pfns[i]);
	}
	ASSERT_EQ(N, there);
	EXPECT_TRUE(cpu_check(c->mem, N, OLD(value)));
	files_own(c, 0, N, value);
	memory_expect_owned(c, self->pfns);
}

/* All pages move, as the memory is to be taken away. */
TEST_F(movable, memory_offline)
{
	static const enum files_how hows[] = { FILES_DEVICE, FILES_READ, FILES_DIRECT };
	struct files_case *c = &self->c;
	uint64_t back, now[N];

	for (size_t k = 0; k < sizeof(hows) / sizeof(hows[0]); k++) {
		const uint64_t value = (k + 1) << 12;

		movable_own(self, value);
		back = gpu_rmem(&c->gpu, HMM_RMEM_FILE_BACK);
		ASSERT_EQ(0, block_state(*memory_block, "offline"));
		EXPECT_EQ(back, gpu_rmem(&c->gpu, HMM_RMEM_FILE_BACK));
		EXPECT_OWNED(c, 0, N, N);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, value));
		files_expect(c, __FILE__, __LINE__, hows[k], 0, N, value);
		EXPECT_FILE(c, MAP, 0, N, value);
		memory_frames(c, now);
		for (size_t i = 0; i < N; i++)
			EXPECT_FALSE(block_has(self, now[i]));
		ASSERT_EQ(0, block_state(*memory_block, "online_movable"));
	}
	movable_own(self, 0x8000);
	ASSERT_EQ(0, block_state(*memory_block, "offline"));
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x8000);
}

/* Memory with holes in it, all of it above what there is of the file. */
static void movable_fragment(char **area, size_t length)
{
	*area = ASSERT_SYS(mmap(NULL, length, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	madvise(*area, length, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < length; at += PAGE_SIZE)
		(*area)[at] = 1;
	for (size_t at = 0; at < length; at += 2 * PAGE_SIZE)
		madvise(*area + at, PAGE_SIZE, MADV_DONTNEED);
}

/* The pages are at the one end of the block, and fill holes at the other. */
TEST_F(movable, compaction)
{
	const size_t length = 32ul << 20;
	struct files_case *c = &self->c;
	uint64_t back, now[N];
	size_t moved;
	char *area;

	movable_own(self, 0x1000);
	movable_fragment(&area, length);
	memory_expect_owned(c, self->pfns);
	back = gpu_rmem(&c->gpu, HMM_RMEM_FILE_BACK);
	sys_write("/proc/sys/vm/compact_memory", "1");
	EXPECT_EQ(back, gpu_rmem(&c->gpu, HMM_RMEM_FILE_BACK));
	EXPECT_OWNED(c, 0, N, N);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	memory_frames(c, now);
	moved = memory_moved(self->pfns, now);
	test_log("%zu of %lu pages moved", moved, N);
	EXPECT_GT(moved, 0);
	EXPECT_FILE(c, DEVICE, 0, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	munmap(area, length);
}

/* ---- pins for long ---- */

#define GUP_TEST	"/sys/kernel/debug/gup_test"

struct memory_pin {
	uint64_t addr, size;
	uint32_t flags;
};

#define PIN_START	_IOW('g', 7, struct memory_pin)
#define PIN_STOP	_IO('g', 8)
#define PIN_READ	_IOW('g', 9, uint64_t)
#define PIN_WRITE	1u
#define PIN_FAST	2u

#define PINNED		8ul	/* the first page, and how many */
#define PINS		4ul

static char pin_buffer[PINS * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

static int pin_open(void)
{
	const int fd = open(GUP_TEST, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIP("this kernel has no gup_test");
	return fd;
}

static int pin_start(int fd, struct files_case *c, uint32_t flags)
{
	struct memory_pin pin = {
		(uintptr_t)c->mem + PINNED * PAGE_SIZE, PINS * PAGE_SIZE, flags,
	};

	return ioctl(fd, PIN_START, &pin) ? -errno : 0;
}

/* What is in the memory that is pinned, wherever the file has its pages. */
static void pin_expect(int fd, uint64_t value)
{
	uint64_t to = (uintptr_t)pin_buffer;

	memset(pin_buffer, 0, sizeof(pin_buffer));
	ASSERT_SYS(ioctl(fd, PIN_READ, &to));
	EXPECT_TRUE(cpu_check(pin_buffer, PINS, value + PINNED));
	for (size_t i = 0; i < PINS; i++)
		for (size_t at = 8; at < PAGE_SIZE; at += 8)
			ASSERT_EQ(files_rest(PINNED + i),
				  (uint8_t)pin_buffer[i * PAGE_SIZE + at]);
}

/* The device does not get what is pinned, and writes to it where it is. */
static void pin_expect_held(struct files_case *c, int fd, uint64_t value)
{
	char *start = c->mem + PINNED * PAGE_SIZE;
	struct gpu_moved moved;

	for (uint64_t round = 0; round < 2; round++, value += 0x100) {
		EXPECT_EQ(0, gpu_fill(&c->gpu, start, PINS, value + PINNED));
		EXPECT_OWNED(c, PINNED, PINS, 0);
		EXPECT_EQ(0, files_there(c, PINNED, PINS));
		pin_expect(fd, value);
		gpu_migrate(&c->gpu, start, PINS, 0, &moved);
		EXPECT_RESULTS(&moved, 0, PINS, BUSY);
		EXPECT_EQ(0, files_there(c, PINNED, PINS));
	}
	value -= 0x100;
	ASSERT_SYS(fsync(c->fd));
	EXPECT_FILE(c, DIRECT, PINNED, PINS, value);
	EXPECT_FILE(c, READ, PINNED, PINS, value);
	EXPECT_FILE(c, DEVICE, PINNED, PINS, value);
	/* And what somebody else writes is seen by both. */
	cpu_fill(start, PINS, value + 0x80 + PINNED);
	pin_expect(fd, value + 0x80);
	EXPECT_EQ(0, gpu_check(&c->gpu, start, PINS, value + 0x80 + PINNED));
}

/* Nobody may write to a file by a pin for long: the page stays where it is. */
TEST_F(memory, pin_write)
{
	struct files_case *c = &self->c;
	const int fd = pin_open();

	memory_own(c, self->pfns, 0x1000);
	EXPECT_EQ(-EFAULT, pin_start(fd, c, PIN_WRITE));
	EXPECT_EQ(-EFAULT, pin_start(fd, c, PIN_WRITE | PIN_FAST));
	memory_expect_owned(c, self->pfns);
	close(fd);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

/* Pages that the device owns, or has a copy of, are pinned to be read. */
TEST_F(memory, pin_read)
{
	struct files_case *c = &self->c;
	const int fd = pin_open();

	for (uint64_t round = 1; round <= 4; round++) {
		const uint64_t value = round << 12;

		memory_own(c, self->pfns, value);
		if (round > 2) {
			ASSERT_SYS(fsync(c->fd));
			files_share(c, 0, N, value);
		}
		ASSERT_EQ(0, pin_start(fd, c, round % 2 ? 0 : PIN_FAST));
		/* What is pinned was fetched, and the others stay where they are. */
		EXPECT_OWNED(c, PINNED, PINS, 0);
		EXPECT_OWNED(c, 0, PINNED, round > 2 ? 0 : PINNED);
		pin_expect(fd, value);
		/* A copy is as good as the page, as long as nobody writes. */
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, value));
		EXPECT_FILE(c, READ, 0, N, value);
		pin_expect_held(c, fd, value + 0x200);
		ASSERT_SYS(ioctl(fd, PIN_STOP));
		EXPECT_FILE(c, READ, 0, PINNED, value);
		EXPECT_FILE(c, READ, PINNED, PINS, value + 0x380);
		files_own(c, PINNED, PINS, value + 0x400);
		EXPECT_FILE(c, MAP, PINNED, PINS, value + 0x400);
	}
	close(fd);
	files_own(c, 0, N, 0x9000);
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x9000);
}

/* The memory may not be pinned for long: pages are fetched, get other memory, and that is. */
TEST_F(movable, pin_read)
{
	struct files_case *c = &self->c;
	uint64_t now[N];

	self->pins = pin_open();
	for (uint64_t round = 1; round <= 2; round++) {
		const uint64_t value = round << 12;

		movable_own(self, value);
		ASSERT_EQ(0, pin_start(self->pins, c, round % 2 ? 0 : PIN_FAST));
		EXPECT_OWNED(c, 0, PINNED, PINNED);
		EXPECT_OWNED(c, PINNED, PINS, 0);
		pin_expect(self->pins, value);
		pin_expect_held(c, self->pins, value + 0x200);
		/* So the block can be taken away, with the owned pages that are left in it. */
		ASSERT_EQ(0, block_state(*memory_block, "offline"));
		pin_expect_held(c, self->pins, value + 0x300);
		memory_frames(c, now);
		for (size_t i = 0; i < N; i++)
			EXPECT_FALSE(block_has(self, now[i]));
		ASSERT_SYS(ioctl(self->pins, PIN_STOP));
		EXPECT_FILE(c, READ, 0, PINNED, value);
		EXPECT_FILE(c, READ, PINNED + PINS, N - PINNED - PINS, value);
		EXPECT_FILE(c, READ, PINNED, PINS, value + 0x480);
		ASSERT_EQ(0, block_state(*memory_block, "online_movable"));
	}
}

/* ---- */

GPU_POOL_TEST

static void memory_program_begin(void)
{
	files_program_begin();
	/* Tests are other processes. */
	memory_block = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory_block == MAP_FAILED)
		exit(1);
	*memory_block = -1;
}

static int memory_program_end(void)
{
	block_restore();
	return files_program_end();
}

HARNESS_MAIN_AROUND(memory_program_begin, memory_program_end)

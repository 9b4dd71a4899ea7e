// SPDX-License-Identifier: GPL-2.0
/*
 * Advice for memory that is on the device: MADV_DONTNEED, FREE, PAGEOUT, COLD, COLLAPSE,
 * HUGEPAGE, POPULATE, WIPEONFORK, DONTFORK, REMOVE; and swap.
 *
 * What frees frees at once, wherever the page is; what reclaims leaves pages on the
 * device alone; what wants a page in memory brings it back.  And what the device wrote
 * survives everything but the first kind.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define LOCAL	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)
#define RW	(DGPU_PTE_VALID | DGPU_PTE_WRITE)

FIXTURE(madvise) {
	struct gpu gpu;
	struct sys_swap swap;
	struct sys_memcg cg;
	char *mem;	/* NPAGES on the device, which wrote 0x1000, ... there */
	uint64_t out, dropped, used;	/* counters at the start */
};

FIXTURE_SETUP(madvise)
{
	gpu_setup_memory(&self->gpu);
	self->mem = gpu_pages_on_device(&self->gpu, NPAGES);
	self->out = gpu_rmem(&self->gpu, HMM_RMEM_OUT);
	self->dropped = gpu_rmem(&self->gpu, HMM_RMEM_DROPPED);
	self->used = gpu_rmem(&self->gpu, HMM_RMEM_USED);
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(madvise)
{
	gpu_teardown(&self->gpu);
	if (*self->cg.path) {
		sys_memcg_leave(&self->cg);
		sys_memcg_destroy(&self->cg);
	}
	sys_swap_off(&self->swap);
}

/* Nothing happened to the pages, neither where they are nor what is in them. */
#define EXPECT_UNTOUCHED(self) do { \
	EXPECT_PLACE(&(self)->gpu, (self)->mem, NPAGES, DEVICE); \
	EXPECT_EQ((self)->out, gpu_rmem(&(self)->gpu, HMM_RMEM_OUT)); \
	EXPECT_EQ((self)->used, gpu_rmem(&(self)->gpu, HMM_RMEM_USED)); \
	EXPECT_EQ(0, gpu_check(&(self)->gpu, (self)->mem, NPAGES, 0x1000)); \
	EXPECT_EQ(NPAGES, gpu_ptes(&(self)->gpu, (self)->mem, NPAGES, LOCAL)); \
	EXPECT_TRUE(cpu_check((self)->mem, NPAGES, 0x1000)); \
} while (0)

/* ---- what frees ---- */

static void expect_freed(struct gpu *gpu, char *mem, uint64_t dropped, uint64_t used)
{
	/* What was locked is held in a batch of the CPU for a while. */
	for (int tries = 0; tries < 100 && gpu_rmem(gpu, HMM_RMEM_USED) != used - NPAGES; tries++) {
		sys_try_write("/proc/sys/vm/compact_memory", "1");
		sys_sleep_ms(10);
	}
	EXPECT_EQ(dropped + NPAGES, gpu_rmem(gpu, HMM_RMEM_DROPPED));
	EXPECT_EQ(used - NPAGES, gpu_rmem(gpu, HMM_RMEM_USED));
	EXPECT_EQ(0, gpu_ptes(gpu, mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_PLACE(gpu, mem, NPAGES, NONE);
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(0, gpu_see(gpu, word(mem, i)));
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(0, *word(mem, i));
	EXPECT_EQ(0, gpu_fill(gpu, mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x2000));
}

TEST_F(madvise, dontneed)
{
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_DONTNEED));
	expect_freed(&self->gpu, self->mem, self->dropped, self->used);
	EXPECT_EQ(self->out, gpu_rmem(&self->gpu, HMM_RMEM_OUT));
}

TEST_F(madvise, dontneed_part)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 4 * PAGE_SIZE;

	ASSERT_SYS(madvise(part, 4 * PAGE_SIZE, MADV_DONTNEED));
	EXPECT_EQ(self->used - 4, gpu_rmem(gpu, HMM_RMEM_USED));
	EXPECT_PLACE(gpu, self->mem, 4, DEVICE);
	EXPECT_PLACE(gpu, part, 4, NONE);
	EXPECT_PLACE(gpu, part + 4 * PAGE_SIZE, NPAGES - 8, DEVICE);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 4, 0x1000));
	EXPECT_EQ(0, gpu_see(gpu, part));
	EXPECT_TRUE(cpu_check(part + 4 * PAGE_SIZE, NPAGES - 8, 0x1008));
	EXPECT_EQ(0, *word(part, 3));
}

TEST_F(madvise, dontneed_locked)
{
	ASSERT_SYS(mlock(self->mem, LENGTH));
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	self->used = gpu_rmem(&self->gpu, HMM_RMEM_USED);
	self->dropped = gpu_rmem(&self->gpu, HMM_RMEM_DROPPED);
	EXPECT_EQ(-EINVAL, madvise(self->mem, LENGTH, MADV_DONTNEED) ? -errno : 0);
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	if (madvise(self->mem, LENGTH, MADV_DONTNEED_LOCKED))
		SKIP("no MADV_DONTNEED_LOCKED: %s", strerror(errno));
	expect_freed(&self->gpu, self->mem, self->dropped, self->used);
}

/* Freed and moved in again and again, at the same time as the device looks. */
TEST_F(madvise, dontneed_storm)
{
	const unsigned long rounds = sys_scale(40);
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	struct dgpu_result result;
	volatile uint64_t *shared;
	struct dgpu_job *job;

	shared = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	job = gpu_start(gpu, GPU_SPIN, 4, (uintptr_t)&shared[0], (uintptr_t)&shared[1],
			(uintptr_t)word(self->mem, 3), 0);
	for (unsigned long i = 1; i <= rounds; i++) {
		const uint64_t value = 0x10000 * i;

		cpu_fill(self->mem, NPAGES, value);
		gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
		/* Not the page of the moment before, which is free by now. */
		ASSERT_EQ(value + 5, gpu_see(gpu, word(self->mem, 5)));
		ASSERT_SYS(madvise(self->mem, LENGTH, MADV_DONTNEED));
		ASSERT_EQ(0, gpu_see(gpu, word(self->mem, 5)));
		gpu_migrate(gpu, self->mem, NPAGES, DGPU_MIGRATE_POPULATE, &moved);
		ASSERT_EQ(0, gpu_see(gpu, word(self->mem, 6)));
		ASSERT_EQ(0, *word(self->mem, 7));
	}
	shared[0] = 1;
	EXPECT_EQ(0, dgpu_job_wait(job, 60000, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(job);
}

/* MADV_REMOVE is for shared memory: refused here, and nothing has happened. */
TEST_F(madvise, remove)
{
	EXPECT_EQ(-EINVAL, madvise(self->mem, LENGTH, MADV_REMOVE) ? -errno : 0);
	EXPECT_UNTOUCHED(self);
}

/* ---- MADV_FREE ---- */

/* The kernel frees nothing of what is on a device; what is there stays. */
TEST_F(madvise, free_on_device)
{
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_FREE));
	EXPECT_UNTOUCHED(self);
}

static size_t swapped(const char *mem, size_t npages)
{
	size_t nr = 0;

	for (size_t i = 0; i < npages; i++)
		nr += !!(sys_pagemap(mem + i * PAGE_SIZE) & SYS_PM_SWAP);
	return nr;
}

/*
 * Reclaim what can be reclaimed: drop what is free, swap out the rest.  What came back from swap
 * before it had been written there stays until it has.
 */
static void reclaim(char *mem, size_t npages)
{
	const uint64_t end = sys_patience_ms();

	while (sys_now_ms() < end) {
		size_t present = 0;

		sys_madvise_everywhere(mem, npages * PAGE_SIZE, MADV_PAGEOUT);
		for (size_t i = 0; i < npages; i++)
			present += !!(sys_pagemap(mem + i * PAGE_SIZE) & SYS_PM_PRESENT);
		if (!present)
			return;
		sys_sleep_ms(1);
	}
}

/*
 * Pages that may be dropped, as long as nobody writes to them, move to the device; it
 * writes there; they come back, and there is a reclaim.
 *
 *	CPU				device
 *	madvise(MADV_FREE)
 *	  folio: clean, not swap backed
 *	move in
 *	  so is the folio there
 *					writes: nobody's bit tells
 *	move out
 *	  the new folio must be dirty
 *	reclaim: would drop a clean one
 */
TEST_F(madvise, free_then_device_write)
{
	struct gpu *gpu = &self->gpu;
	size_t gone = 0;

	sys_swap_on(&self->swap);
	for (uint64_t round = 1; round <= 4; round++) {
		cpu_fill(self->mem, NPAGES, 0xdead0000);
		ASSERT_SYS(madvise(self->mem, LENGTH, MADV_FREE));
		gpu_move_in(gpu, self->mem, NPAGES);
		/* The device writes every other page. */
		ASSERT_EQ(0, gpu_run(gpu, GPU_FILL, 2, (uintptr_t)self->mem, NPAGES / 2,
				     2 * PAGE_SIZE, round << 32));
		EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
		if (round & 1)		/* back by a touch that only reads, or by request */
			EXPECT_EQ(round << 32, *word(self->mem, 0));
		gpu_move_out(gpu, self->mem, NPAGES);
		reclaim(self->mem, NPAGES);
		for (size_t i = 0; i < NPAGES; i += 2) {
			if (!EXPECT_EQ((round << 32) + i / 2, gpu_see(gpu, word(self->mem, i))))
				return;
			EXPECT_EQ((round << 32) + i / 2, *word(self->mem, i));
		}
		for (size_t i = 1; i < NPAGES; i += 2) {
			const uint64_t value = *word(self->mem, i);

			EXPECT_TRUE(!value || value == 0xdead0000 + i);
			gone += !value;
		}
	}
	test_log("%zu of %lu pages that nobody wrote were dropped", gone, 4 * NPAGES / 2);
}

/* The same where the write and the advice come from both sides in turn. */
TEST_F(madvise, free_after_device_write)
{
	struct gpu *gpu = &self->gpu;

	sys_swap_on(&self->swap);
	/* Written on the device, back, and the CPU says that it needs them no more. */
	gpu_move_out(gpu, self->mem, NPAGES);
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_FREE));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES / 2, 0x2000));	/* in place */
	gpu_move_in(gpu, self->mem, NPAGES);
	gpu_move_out(gpu, self->mem, NPAGES);
	reclaim(self->mem, NPAGES);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES / 2, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES / 2, 0x2000));
	for (size_t i = NPAGES / 2; i < NPAGES; i++)
		EXPECT_TRUE(!*word(self->mem, i) || *word(self->mem, i) == 0x1000 + i);
}

/* ---- reclaim and swap ---- */

TEST_F(madvise, pageout)
{
	sys_swap_on(&self->swap);
	sys_madvise_everywhere(self->mem, LENGTH, MADV_PAGEOUT);
	EXPECT_UNTOUCHED(self);
}

TEST_F(madvise, cold)
{
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_COLD));
	EXPECT_UNTOUCHED(self);
}

/* Back from the device a page is swapped out with what the device wrote. */
TEST_F(madvise, pageout_after)
{
	struct gpu *gpu = &self->gpu;

	sys_swap_on(&self->swap);
	for (uint64_t round = 1; round <= sys_scale(10); round++) {
		gpu_move_in(gpu, self->mem, NPAGES);
		ASSERT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, round << 16));
		gpu_move_out(gpu, self->mem, NPAGES);
		reclaim(self->mem, NPAGES);
		ASSERT_EQ(NPAGES, swapped(self->mem, NPAGES));
		EXPECT_PLACE(gpu, self->mem, NPAGES, OTHER);
		if (round & 1)
			ASSERT_EQ(0, gpu_check(gpu, self->mem, NPAGES, round << 16));
		else
			ASSERT_TRUE(cpu_check(self->mem, NPAGES, round << 16));
	}
}

/*
 * Pages that are swapped out: a request brings them to the device.  Those that were only
 * read since they came from swap are in the swap cache, clean: a copy in the swap space
 * must not be taken for what the device writes later.
 */
TEST_F(madvise, swapped_out)
{
	struct gpu *gpu = &self->gpu;

	sys_swap_on(&self->swap);
	for (uint64_t round = 1; round <= sys_scale(10); round++) {
		gpu_move_out(gpu, self->mem, NPAGES);
		cpu_fill(self->mem, NPAGES, round << 16);
		reclaim(self->mem, NPAGES);
		ASSERT_EQ(NPAGES, swapped(self->mem, NPAGES));
		if (round & 1)		/* half of them: read, and so cached */
			ASSERT_TRUE(cpu_check(self->mem, NPAGES / 2, round << 16));
		gpu_move_in(gpu, self->mem, NPAGES);
		ASSERT_EQ(0, gpu_check(gpu, self->mem, NPAGES, round << 16));
		ASSERT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, (round << 16) + 0x8000));
		gpu_move_out(gpu, self->mem, NPAGES);
		if (round & 2) {
			reclaim(self->mem, NPAGES);
			ASSERT_EQ(NPAGES, swapped(self->mem, NPAGES));
		}
		ASSERT_TRUE(cpu_check(self->mem, NPAGES, (round << 16) + 0x8000));
	}
}

/* swapoff brings back what is in swap, next to what is on the device. */
TEST_F(madvise, swapoff)
{
	struct gpu *gpu = &self->gpu;

	sys_swap_on(&self->swap);
	if (!self->swap.ours)
		SKIP("the swap space is not this test's to switch off");
	gpu_move_out(gpu, self->mem, NPAGES / 2);
	reclaim(self->mem, NPAGES / 2);
	EXPECT_GT(swapped(self->mem, NPAGES / 2), 0);
	sys_swap_off(&self->swap);
	EXPECT_PLACE(gpu, self->mem + LENGTH / 2, NPAGES / 2, DEVICE);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* A group at its limit swaps its other pages: those on the device stay, and are right. */
TEST_F(madvise, pressure)
{
	/* 16 MiB, less where that takes minutes. */
	const size_t many = harness_slow_kernel() ? 1024 : 4096;
	struct gpu *gpu = &self->gpu;
	char *mem, *hog;

	sys_swap_on(&self->swap);
	sys_memcg_create(&self->cg, "pressure");
	sys_memcg_enter(&self->cg);
	sys_memcg_press(&self->cg, many * 5 / 4 * PAGE_SIZE);
	mem = sys_pages(many / 4);
	cpu_fill(mem, many / 4, 0x100000);
	gpu_move_in(gpu, mem, many / 4);
	ASSERT_EQ(0, gpu_fill(gpu, mem, many / 4, 0x200000));
	hog = sys_pages(2 * many);
	for (uint64_t round = 1; round <= 2; round++) {
		cpu_fill(hog, 2 * many, round);
		EXPECT_PLACE(gpu, mem, many / 4, DEVICE);
		/* Some of the hog move in, from wherever they are. */
		gpu_move_in(gpu, hog, 64);
		EXPECT_EQ(0, gpu_check(gpu, hog, 64, round));
	}
	/* Pages on the device count as swapped there. */
	EXPECT_GT(swapped(hog, 2 * many), 64);
	EXPECT_EQ(0, gpu_check(gpu, mem, many / 4, 0x200000));
	EXPECT_TRUE(cpu_check(mem, many / 4, 0x200000));
	EXPECT_TRUE(cpu_check(hog, 2 * many, 2));
}

/* ---- what wants pages in memory, or huge ---- */

TEST_F(madvise, populate_read)
{
	if (madvise(self->mem, LENGTH, MADV_POPULATE_READ))
		SKIP("no MADV_POPULATE_READ: %s", strerror(errno));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
}

TEST_F(madvise, populate_write)
{
	if (madvise(self->mem, LENGTH, MADV_POPULATE_WRITE))
		SKIP("no MADV_POPULATE_WRITE: %s", strerror(errno));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 0x1000));
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 0x1000));
}

TEST_F(madvise, willneed_and_hugepage)
{
	EXPECT_SYS(madvise(self->mem, LENGTH, MADV_WILLNEED));
	EXPECT_SYS(madvise(self->mem, LENGTH, MADV_SEQUENTIAL));
	EXPECT_SYS(madvise(self->mem, LENGTH, MADV_DONTDUMP));
	if (!access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK))
		EXPECT_SYS(madvise(self->mem, LENGTH, MADV_HUGEPAGE));
	EXPECT_UNTOUCHED(self);
}

/* ---- fork ---- */

static void expect_in_child(struct gpu *gpu, char *mem, bool (*check)(char *mem))
{
	int status;
	pid_t pid;

	pid = ASSERT_SYS(fork());
	if (!pid)
		_exit(check(mem) ? 0 : 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_PLACE(gpu, mem, NPAGES, DEVICE);
	/* Not shared with anybody: the device goes on writing without a fault. */
	EXPECT_EQ(0, gpu_fill(gpu, mem, NPAGES, 0x2000));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, mem, NPAGES, LOCAL | RW));
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x2000));
}

static bool is_wiped(char *mem)
{
	for (size_t i = 0; i < NPAGES; i++)
		if (*word(mem, i))
			return false;
	cpu_fill(mem, NPAGES, 0x7000);
	return cpu_check(mem, NPAGES, 0x7000);
}

TEST_F(madvise, wipeonfork)
{
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_WIPEONFORK));
	expect_in_child(&self->gpu, self->mem, is_wiped);
}

static bool is_unmapped(char *mem)
{
	unsigned char vec[NPAGES];

	return mincore(mem, LENGTH, vec) && errno == ENOMEM;
}

TEST_F(madvise, dontfork)
{
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_DONTFORK));
	expect_in_child(&self->gpu, self->mem, is_unmapped);
}

/* ---- from another process ---- */

TEST_F(madvise, process_madvise)
{
	const pid_t parent = getpid();
	int status;
	pid_t pid;

	sys_swap_on(&self->swap);
	pid = ASSERT_SYS(vfork());
	if (!pid) {
		const int pidfd = (int)syscall(SYS_pidfd_open, parent, 0);
		struct { void *base; size_t length; } vec = { self->mem, LENGTH };

		if (syscall(SYS_process_madvise, pidfd, &vec, 1, MADV_PAGEOUT, 0) < 0 ||
		    syscall(SYS_process_madvise, pidfd, &vec, 1, MADV_COLD, 0) < 0)
			_exit(errno);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WEXITSTATUS(status) == ENOSYS)
		SKIP("no process_madvise()");
	EXPECT_EQ(0, status);
	EXPECT_UNTOUCHED(self);
}

/* The kernel takes a page of memory out of use, at an address that is on the device. */
TEST_F(madvise, soft_offline)
{
	struct gpu *gpu = &self->gpu;

	/* The page is brought back first, and moved elsewhere. */
	if (madvise(self->mem, PAGE_SIZE, 101 /* MADV_SOFT_OFFLINE */))
		SKIP("no MADV_SOFT_OFFLINE: %s", strerror(errno));
	EXPECT_PLACE(gpu, self->mem, 1, SYSTEM);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
}

GPU_POOL_TEST

HARNESS_MAIN

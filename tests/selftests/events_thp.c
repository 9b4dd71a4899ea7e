// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages: 2 MiB entries on the device where the CPU maps a whole huge page, and
 * every way to break them up or to build them.
 *
 * A huge entry that outlives a part of its range is the classic mistake here, so
 * every test looks at both sides of the cut.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NHUGE	2ul
#define PER_HUGE (HUGE_SIZE / PAGE_SIZE)
#define LENGTH	(NHUGE * HUGE_SIZE)
#define NPAGES	(NHUGE * PER_HUGE)
#define RW	(DGPU_PTE_VALID | DGPU_PTE_WRITE)
#define HUGE	(DGPU_PTE_VALID | DGPU_PTE_HUGE)
#define THP	"/sys/kernel/mm/transparent_hugepage/"

/*
 * Sets that the kernel gives no way to tell apart.  A VMA is split with the lock held
 * for writing, and so is memory collapsed; what is huge already is not collapsed.
 */
#define SPLIT_OF_HUGE	(R(VMA_SPLIT) | R(PMD_SPLIT))
#define SPLIT_OF_SMALL	(R(VMA_SPLIT) | R(COLLAPSE))
#define ZAP_OF_HUGE	(R(PMD_SPLIT) | R(DONTNEED) | R(MADV_FREE) | R(UFFD_MOVE))

FIXTURE(thp) {
	struct gpu gpu;
	struct sys_swap swap;
	char *mem;	/* NHUGE huge pages, mapped huge on the device: 0x1000, ... */
};

FIXTURE_SETUP(thp)
{
	struct dgpu_info info = { 0 };

	gpu_setup(&self->gpu);
	ASSERT_EQ(0, dgpu_get_info(self->gpu.dev, &info));
	ASSERT_TRUE(info.page_sizes & HUGE_SIZE);
	self->mem = sys_huge_area(NHUGE);
	if (sys_make_huge(self->mem, NHUGE) != NHUGE)
		SKIP("no huge pages to be had");
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 0x1000));
	ASSERT_EQ(NPAGES, gpu_ptes(&self->gpu, self->mem, NPAGES, HUGE | RW));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(thp)
{
	gpu_teardown(&self->gpu);
	sys_swap_off(&self->swap);
}

TEST_F(thp, huge_entry)
{
	struct gpu *gpu = &self->gpu;

	EXPECT_GE(dgpu_stat_mirror(gpu->dev, HMM_STAT_HUGE_MAPPED), NHUGE);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
	/* One fault was enough for each of them (8 threads may fault at once). */
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu->result.faults);
}

/* A read of a huge page maps it huge as well, writable or not. */
TEST_F(thp, huge_entry_by_read)
{
	struct gpu *gpu = &self->gpu;
	char *mem = sys_huge_area(1);

	if (sys_make_huge(mem, 1) != 1)
		SKIP("no huge pages to be had");
	cpu_fill(mem, PER_HUGE, 0x7000);
	EXPECT_EQ(0, gpu_check(gpu, mem, PER_HUGE, 0x7000));
	EXPECT_EQ(PER_HUGE, gpu_ptes(gpu, mem, PER_HUGE, HUGE));
	/* Not one for each of them; 8 threads fault at once, and may do so twice. */
	EXPECT_LE(gpu->result.faults, 64);
}

TEST_F(thp, prefault)
{
	struct gpu *gpu = &self->gpu;
	char *mem = sys_huge_area(2);

	if (sys_make_huge(mem, 2) != 2)
		SKIP("no huge pages to be had");
	ASSERT_EQ(0, dgpu_prefault(gpu->dev, mem, 2 * HUGE_SIZE, true));
	EXPECT_EQ(2 * PER_HUGE, gpu_ptes(gpu, mem, 2 * PER_HUGE, HUGE | RW));
	EXPECT_EQ(0, gpu_fill(gpu, mem, 2 * PER_HUGE, 1));
	EXPECT_EQ(0, gpu->result.faults);
}

TEST_F(thp, munmap_part)
{
	struct gpu *gpu = &self->gpu;
	char *hole = self->mem + 16 * PAGE_SIZE;
	uint64_t value;

	ASSERT_SYS(munmap(hole, 16 * PAGE_SIZE));
	/* First the VMA is split, which announces all 2 MiB. */
	EXPECT_EVENT(gpu, self->mem, HUGE_SIZE, SPLIT, DROP, SPLIT_OF_HUGE);
	EXPECT_EVENT(gpu, hole, 16 * PAGE_SIZE, UNMAP, FREE, R(MUNMAP));
	EXPECT_EQ(0, gpu_ptes(gpu, hole, 16, DGPU_PTE_VALID));
	EXPECT_EQ(PER_HUGE, gpu_ptes(gpu, self->mem + HUGE_SIZE, PER_HUGE, HUGE));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, hole, &value));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 16, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + 32 * PAGE_SIZE, NPAGES - 32, 0x1000 + 32));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, hole + 15 * PAGE_SIZE, &value));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, PER_HUGE, DGPU_PTE_HUGE));
}

TEST_F(thp, mprotect_part)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 100 * PAGE_SIZE;

	ASSERT_SYS(mprotect(part, 10 * PAGE_SIZE, PROT_READ));
	/* The split has taken the whole entry: there is nothing left to protect. */
	EXPECT_EVENT(gpu, self->mem, HUGE_SIZE, SPLIT, DROP, SPLIT_OF_HUGE);
	EXPECT_EQ(-EACCES, gpu_write(gpu, part, 1));
	EXPECT_EQ(-EACCES, gpu_write(gpu, part + 9 * PAGE_SIZE, 1));
	EXPECT_EQ(0, gpu_write(gpu, part + 10 * PAGE_SIZE, 0x1000 + 110));
	EXPECT_EQ(0, gpu_write(gpu, part - PAGE_SIZE, 0x1000 + 99));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
}

/* The whole huge page read-only: no split, the entry stays huge and readable. */
TEST_F(thp, mprotect_whole)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ));
	EXPECT_EVENT(gpu, self->mem, LENGTH, PROTECT, WRPROTECT, R(MPROTECT));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, HUGE));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu->result.faults);
	EXPECT_EQ(-EACCES, gpu_write(gpu, self->mem + 7 * PAGE_SIZE, 1));
}

TEST_F(thp, dontneed_part)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 50 * PAGE_SIZE;

	ASSERT_SYS(madvise(part, 4 * PAGE_SIZE, MADV_DONTNEED));
	/*
	 * Inside of this event the huge mapping is broken up, which announces all of it;
	 * the device may have dropped its huge entry as a whole by then.
	 */
	EXPECT_EVENT(gpu, part, 4 * PAGE_SIZE, CLEAR, DROP, R(DONTNEED) | R(MADV_FREE));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, PER_HUGE, DGPU_PTE_VALID));
	for (size_t i = 0; i < 4; i++)
		EXPECT_EQ(0, gpu_see(gpu, part + i * PAGE_SIZE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 50, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, part + 4 * PAGE_SIZE, NPAGES - 54, 0x1000 + 54));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, PER_HUGE, DGPU_PTE_HUGE));
	EXPECT_EQ(PER_HUGE, gpu_ptes(gpu, self->mem + HUGE_SIZE, PER_HUGE, HUGE));
}

TEST_F(thp, dontneed_whole)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(madvise(self->mem, HUGE_SIZE, MADV_DONTNEED));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, PER_HUGE, DGPU_PTE_VALID));
	EXPECT_EVENT(gpu, self->mem, HUGE_SIZE, CLEAR, DROP, ZAP_OF_HUGE);
	for (size_t i = 0; i < PER_HUGE; i += 37)
		EXPECT_EQ(0, gpu_see(gpu, self->mem + i * PAGE_SIZE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + HUGE_SIZE, PER_HUGE, 0x1000 + PER_HUGE));
}

TEST_F(thp, madv_free_part)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 8 * PAGE_SIZE;

	ASSERT_SYS(madvise(part, 8 * PAGE_SIZE, MADV_FREE));
	EXPECT_EVENT(gpu, part, 8 * PAGE_SIZE, CLEAR, DROP, R(DONTNEED) | R(MADV_FREE));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, PER_HUGE, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_fill(gpu, part, 8, 0x2000));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 8, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, part, 8, 0x2000));
	EXPECT_EQ(0, gpu_check(gpu, part + 8 * PAGE_SIZE, NPAGES - 16, 0x1000 + 16));
	EXPECT_TRUE(cpu_check(part, 8, 0x2000));
}

TEST_F(thp, mremap_part)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 32 * PAGE_SIZE;
	char *to = sys_pages(32);
	uint64_t value;

	ASSERT_EQ(to, mremap(part, 32 * PAGE_SIZE, 32 * PAGE_SIZE,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EVENT(gpu, part, 32 * PAGE_SIZE, UNMAP, FREE, R(MREMAP) | R(MAP_FIXED));
	EXPECT_EQ(0, gpu_check(gpu, to, 32, 0x1000 + 32));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 32, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, part + 32 * PAGE_SIZE, NPAGES - 64, 0x1000 + 64));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, part, &value));
}

TEST_F(thp, fork_and_write)
{
	struct gpu *gpu = &self->gpu;
	int status;
	pid_t pid;

	pid = ASSERT_SYS(fork());
	if (!pid) {
		pause();
		_exit(0);
	}
	EXPECT_EVENT(gpu, self->mem, LENGTH, WRPROTECT, WRPROTECT, R(FORK));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu->result.faults);
	gpu_events_start(gpu);
	*(volatile uint64_t *)(self->mem + 9 * PAGE_SIZE) = 0x2222;
	/* Not copied as a whole: the mapping is split, and then one page is copied. */
	EXPECT_EVENT_IN_VMA(gpu, self->mem, HUGE_SIZE, SPLIT, DROP, R(PMD_SPLIT),
			    R(DONTNEED) | R(MADV_FREE));
	EXPECT_EQ(0x2222, gpu_see(gpu, self->mem + 9 * PAGE_SIZE));
	EXPECT_EQ(0, gpu_write(gpu, self->mem + 10 * PAGE_SIZE, 0x3333));
	EXPECT_EQ(0x3333, *(volatile uint64_t *)(self->mem + 10 * PAGE_SIZE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + 11 * PAGE_SIZE, NPAGES - 11, 0x1000 + 11));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* Swap-out of a huge page: whole or in pieces, nothing is lost. */
TEST_F(thp, pageout)
{
	struct gpu *gpu = &self->gpu;
	uint64_t out = 0;

	sys_swap_on(&self->swap);
	for (int tries = 0; tries < 50 && !out; tries++) {
		sys_sleep_ms(tries);
		ASSERT_SYS(madvise(self->mem, LENGTH, MADV_PAGEOUT));
		for (size_t i = 0; i < NPAGES; i++)
			out += !!(sys_pagemap(self->mem + i * PAGE_SIZE) & SYS_PM_SWAP);
	}
	test_log("%ju of %lu pages were swapped out", (uintmax_t)out, NPAGES);
	ASSERT_GT(out, 0);
	EXPECT_EVENT(gpu, self->mem, LENGTH, RECLAIM, DROP, R(RECLAIM));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

TEST_F(thp, move_to_node)
{
	struct gpu *gpu = &self->gpu;
	int to, ret = -1;

	if (sys_nodes() < 2)
		SKIP("one NUMA node only");
	to = sys_node_of(self->mem) ? 0 : 1;
	for (int tries = 0; tries < 50 && ret != to; tries++)
		ret = sys_move_page(0, self->mem, to);
	ASSERT_EQ(to, ret);
	/* Locked and off the LRU lists, it could also be on its way to be split. */
	EXPECT_EVENT(gpu, self->mem, HUGE_SIZE, CLEAR, DROP, R(MIGRATION) | R(FOLIO_SPLIT));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_write(gpu, self->mem, 0x1000));
}

/*
 * The debugfs file splits the folios of a process: folio split, not only pmd split.  It
 * leaves alone what somebody is using at the moment.
 */
TEST_F(thp, split_by_debugfs)
{
	struct gpu *gpu = &self->gpu;
	char text[100];
	int tries = 50;

	snprintf(text, sizeof(text), "%d,%#lx,%#lx,0", getpid(), (unsigned long)self->mem,
		 (unsigned long)self->mem + LENGTH);
	do {
		sys_write("/sys/kernel/debug/split_huge_pages", text);
		if (!sys_smaps(self->mem, "AnonHugePages:"))
			break;
		sys_sleep_ms(10);
	} while (--tries);
	ASSERT_GT(tries, 0);
	EXPECT_REASON(gpu, self->mem, LENGTH, FOLIO_SPLIT);
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_HUGE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_HUGE));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* ---- small pages become a huge one ---- */

FIXTURE(collapse) {
	struct gpu gpu;
	char *mem;	/* PER_HUGE small pages, mapped on the device: 0x1000, ... */
};

FIXTURE_SETUP(collapse)
{
	gpu_setup(&self->gpu);
	self->mem = sys_huge_area(1);
	ASSERT_SYS(madvise(self->mem, HUGE_SIZE, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, PER_HUGE, 0x1000));
	ASSERT_EQ(0, gpu_ptes(&self->gpu, self->mem, PER_HUGE, DGPU_PTE_HUGE));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(collapse)
{
	gpu_teardown(&self->gpu);
}

/*
 * Memory that nobody has given advice on: with it, khugepaged could be first.
 *
 *   test				khugepaged
 *   madvise(MADV_HUGEPAGE)
 *   					collapses; that is COLLAPSE, nothing else
 *   madvise(MADV_COLLAPSE)
 *     huge already: no event
 */
TEST_F(collapse, madv_collapse)
{
	struct gpu *gpu = &self->gpu;
	char *enabled = sys_text(THP "enabled");
	const bool always = enabled && strstr(enabled, "[always]");

	free(enabled);
	if (always)
		SKIP("khugepaged collapses what nobody has given advice on");
	ASSERT_NE(mmap(self->mem, HUGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), MAP_FAILED);
	ASSERT_EQ(0, gpu_fill(gpu, self->mem, PER_HUGE, 0x1000));
	ASSERT_EQ(0, gpu_ptes(gpu, self->mem, PER_HUGE, DGPU_PTE_HUGE));
	gpu_events_start(gpu);
	if (madvise(self->mem, HUGE_SIZE, MADV_COLLAPSE))
		SKIP("MADV_COLLAPSE failed: %s", strerror(errno));
	EXPECT_EVENT(gpu, self->mem, HUGE_SIZE, SPLIT, DROP, SPLIT_OF_SMALL);
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, PER_HUGE, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, PER_HUGE, 0x1000));
	EXPECT_EQ(PER_HUGE, gpu_ptes(gpu, self->mem, PER_HUGE, HUGE));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, PER_HUGE, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, PER_HUGE, 0x2000));
}

#define KHUGEPAGED THP "khugepaged/"

TEST_F(collapse, khugepaged)
{
	const uint64_t end = sys_now_ms() + 40000 * harness_timeout_scale;
	struct gpu *gpu = &self->gpu;
	/* It rests for a minute when it finds no huge page, if it is not told otherwise. */
	static const char * const files[] = {
		KHUGEPAGED "scan_sleep_millisecs", KHUGEPAGED "pages_to_scan",
		KHUGEPAGED "alloc_sleep_millisecs",
	};
	static const char * const values[] = { "10", "100000", "10" };
	char old[3][32];

	for (size_t i = 0; i < 3; i++)
		snprintf(old[i], sizeof(old[i]), "%lld", sys_number(files[i]));
	gpu_events_start(gpu);
	ASSERT_SYS(madvise(self->mem, HUGE_SIZE, MADV_HUGEPAGE));
	for (size_t i = 3; i--;)
		sys_write(files[i], values[i]);
	while (!sys_smaps(self->mem, "AnonHugePages:") && sys_now_ms() < end)
		sys_sleep_ms(20);
	for (size_t i = 0; i < 3; i++)
		sys_write(files[i], old[i]);
	ASSERT_EQ(HUGE_SIZE / 1024, sys_smaps(self->mem, "AnonHugePages:"));
	EXPECT_EVENT(gpu, self->mem, HUGE_SIZE, SPLIT, DROP, R(COLLAPSE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, PER_HUGE, 0x1000));
	EXPECT_EQ(PER_HUGE, gpu_ptes(gpu, self->mem, PER_HUGE, HUGE));
}

/* Collapse and split, over and over, while the device increments in the middle. */
TEST_F(collapse, while_running)
{
	const unsigned long rounds = sys_scale(100);
	volatile uint64_t *word = (volatile uint64_t *)(self->mem + 300 * PAGE_SIZE);
	struct gpu *gpu = &self->gpu;
	const uint64_t end = sys_now_ms() + 15000;
	const uint64_t total = sys_scale(40000);
	struct dgpu_result result;
	unsigned long done = 0;
	struct dgpu_job *job;

	ASSERT_SYS(madvise(self->mem, HUGE_SIZE, MADV_HUGEPAGE));
	*word = 0;
	job = gpu_start(gpu, GPU_INCR, 4, (uintptr_t)word, total, 0, 0);
	for (unsigned long i = 0; i < rounds && sys_now_ms() < end; i++) {
		done += !madvise(self->mem, HUGE_SIZE, MADV_COLLAPSE);
		ASSERT_SYS(madvise(self->mem + (i % 64) * PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED));
	}
	test_log("%lu collapses", done);
	EXPECT_EQ(0, dgpu_job_wait(job, 60000, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	EXPECT_EQ(4 * total, *word);
	dgpu_job_free(job);
}

/* ---- huge pages of shared memory ---- */

FIXTURE(shmem) {
	struct gpu gpu;
	char *mem;
	int fd;
};

FIXTURE_SETUP(shmem)
{
	char *area;

	gpu_setup(&self->gpu);
	self->fd = ASSERT_SYS(memfd_create("huge", MFD_CLOEXEC));
	ASSERT_SYS(ftruncate(self->fd, (off_t)HUGE_SIZE));
	area = sys_huge_area(1);
	self->mem = ASSERT_SYS(mmap(area, HUGE_SIZE, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, self->fd, 0));
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, PER_HUGE, 0x1000));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(shmem)
{
	gpu_teardown(&self->gpu);
}

TEST_F(shmem, collapse_and_punch)
{
	struct gpu *gpu = &self->gpu;

	if (madvise(self->mem, HUGE_SIZE, MADV_COLLAPSE))
		SKIP("MADV_COLLAPSE of shared memory failed: %s", strerror(errno));
	/* 512 pages are migrated one by one, and then the range once more. */
	EXPECT_REASON(gpu, self->mem, HUGE_SIZE, COLLAPSE);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, PER_HUGE, 0x1000));
	EXPECT_EQ(PER_HUGE, gpu_ptes(gpu, self->mem, PER_HUGE, HUGE));
	gpu_events_start(gpu);
	ASSERT_SYS(fallocate(self->fd, 3 /* KEEP_SIZE | PUNCH_HOLE */, 64 * PAGE_SIZE,
			     8 * PAGE_SIZE));
	for (size_t i = 0; i < 8; i++)
		EXPECT_EQ(0, gpu_see(gpu, self->mem + (64 + i) * PAGE_SIZE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 64, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + 72 * PAGE_SIZE, PER_HUGE - 72, 0x1000 + 72));
}

HARNESS_MAIN_AROUND(sys_khugepaged_rest, sys_khugepaged_resume)

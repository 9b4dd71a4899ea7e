// SPDX-License-Identifier: GPL-2.0
/*
 * Invalidations that take memory out of an address space, or its contents: munmap,
 * brk, mremap, MAP_FIXED, shmdt, MADV_DONTNEED, MADV_FREE, UFFDIO_MOVE.
 *
 * Every test maps pages on the device first, has the kernel do the operation, and
 * then checks three things: what the device still maps, what its programs read, and
 * what it was told.
 */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul

#ifndef UFFDIO_MOVE
#define UFFD_FEATURE_MOVE	(1 << 16)
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};
#define UFFDIO_MOVE	_IOWR(0xAA, 0x05, struct uffdio_move)
#endif

FIXTURE(unmap) {
	struct gpu gpu;
	char *mem;	/* NPAGES that the device has written: 0x1000, 0x1001, ... */
};

FIXTURE_SETUP(unmap)
{
	gpu_setup(&self->gpu);
	self->mem = sys_pages(NPAGES);
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 0x1000));
	ASSERT_EQ(NPAGES, gpu_ptes(&self->gpu, self->mem, NPAGES,
				   DGPU_PTE_VALID | DGPU_PTE_WRITE | DGPU_PTE_DIRTY));
	ASSERT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(unmap)
{
	gpu_teardown(&self->gpu);
}

TEST_F(unmap, munmap)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;

	ASSERT_SYS(munmap(self->mem, NPAGES * PAGE_SIZE));
	EXPECT_EVENT(gpu, self->mem, NPAGES * PAGE_SIZE, UNMAP, FREE, R(MUNMAP));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, self->mem, &value));
	EXPECT_EQ((uintptr_t)self->mem, gpu->result.fault_addr);
	EXPECT_EQ(DGPU_ACCESS_READ, gpu->result.access);
}

TEST_F(unmap, munmap_middle)
{
	struct gpu *gpu = &self->gpu;
	char *hole = self->mem + 4 * PAGE_SIZE;

	ASSERT_SYS(munmap(hole, 8 * PAGE_SIZE));
	EXPECT_EVENT(gpu, hole, 8 * PAGE_SIZE, UNMAP, FREE, R(MUNMAP));
	/* The neighbours are untouched: still mapped, no fault to read them. */
	EXPECT_EQ(4, gpu_ptes(gpu, self->mem, 4, DGPU_PTE_VALID | DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_ptes(gpu, hole, 8, DGPU_PTE_VALID));
	EXPECT_EQ(4, gpu_ptes(gpu, hole + 8 * PAGE_SIZE, 4, DGPU_PTE_VALID | DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 4, 0x1000));
	EXPECT_EQ(0, gpu->result.faults);
	EXPECT_EQ(0, gpu_check(gpu, hole + 8 * PAGE_SIZE, 4, 0x100c));
	EXPECT_EQ(0, gpu->result.faults);
	EXPECT_EQ(-EFAULT, gpu_write(gpu, hole + 3 * PAGE_SIZE, 1));
}

/* One munmap() over several mappings is one event. */
TEST_F(unmap, munmap_many)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(mprotect(self->mem + 4 * PAGE_SIZE, PAGE_SIZE, PROT_READ));
	ASSERT_SYS(munmap(self->mem + 8 * PAGE_SIZE, PAGE_SIZE));
	gpu_events_start(gpu);
	ASSERT_SYS(munmap(self->mem, NPAGES * PAGE_SIZE));
	EXPECT_EVENT(gpu, self->mem, NPAGES * PAGE_SIZE, UNMAP, FREE, R(MUNMAP));
	EXPECT_EQ(1, gpu_events_count(gpu, self->mem, NPAGES * PAGE_SIZE, HMM_EVENT_UNMAP));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
}

/* A mapping that the device never used: nothing is mapped, nothing goes wrong. */
TEST_F(unmap, munmap_unused)
{
	struct gpu *gpu = &self->gpu;
	char *other = sys_pages(NPAGES);

	cpu_fill(other, NPAGES, 1);
	gpu_events_start(gpu);
	ASSERT_SYS(munmap(other, NPAGES * PAGE_SIZE));
	gpu_events_collect(gpu);
	for (size_t i = 0; i < gpu->nevents; i++)
		EXPECT_EQ(0, gpu->events[i].pages);
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID | DGPU_PTE_WRITE));
}

/* The record says how much the device mapped there, and how much it had dirtied. */
TEST_F(unmap, record_counts)
{
	struct gpu *gpu = &self->gpu;
	char *mem = sys_pages(NPAGES);
	uint32_t pages = 0, dirty = 0;

	cpu_fill(mem, NPAGES, 0x2000);
	ASSERT_EQ(0, gpu_check(gpu, mem, 12, 0x2000));
	ASSERT_EQ(0, gpu_fill(gpu, mem, 5, 0x3000));
	gpu_events_start(gpu);
	ASSERT_SYS(munmap(mem, NPAGES * PAGE_SIZE));
	gpu_events_collect(gpu);
	for (size_t i = 0; i < gpu->nevents; i++) {
		if (gpu->events[i].type != HMM_EVENT_UNMAP)
			continue;
		pages += gpu->events[i].pages;
		dirty += gpu->events[i].dirty;
	}
	EXPECT_GE(pages, 12);	/* fault-around may map the others too */
	EXPECT_LE(pages, NPAGES);
	EXPECT_EQ(5, dirty);
}

TEST_F(unmap, brk)
{
	struct gpu *gpu = &self->gpu;
	uintptr_t old = (uintptr_t)ASSERT_SYS(sbrk(0));
	const uintptr_t start = (old + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
	uint64_t value;

	ASSERT_SYS(brk((void *)(start + NPAGES * PAGE_SIZE)));
	ASSERT_EQ(0, gpu_fill(gpu, (void *)start, NPAGES, 0x4000));
	EXPECT_TRUE(cpu_check((void *)start, NPAGES, 0x4000));
	gpu_events_start(gpu);
	ASSERT_SYS(brk((void *)(start + 4 * PAGE_SIZE)));
	EXPECT_EVENT(gpu, (void *)(start + 4 * PAGE_SIZE), 12 * PAGE_SIZE, UNMAP, FREE,
		     R(MUNMAP));
	EXPECT_EQ(0, gpu_ptes(gpu, (void *)(start + 4 * PAGE_SIZE), 12, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_check(gpu, (void *)start, 4, 0x4000));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, (void *)(start + 4 * PAGE_SIZE), &value));
	ASSERT_SYS(brk((void *)old));
}

TEST_F(unmap, mremap_shrink)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;

	ASSERT_EQ(mremap(self->mem, NPAGES * PAGE_SIZE, 4 * PAGE_SIZE, 0), self->mem);
	EXPECT_EVENT(gpu, self->mem + 4 * PAGE_SIZE, 12 * PAGE_SIZE, UNMAP, FREE, R(MUNMAP));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 4, 0x1000));
	EXPECT_EQ(0, gpu->result.faults);
	EXPECT_EQ(-EFAULT, gpu_read(gpu, self->mem + 4 * PAGE_SIZE, &value));
}

TEST_F(unmap, mremap_move)
{
	struct gpu *gpu = &self->gpu;
	char *to = sys_pages(NPAGES);
	uint64_t value;

	/* What is at the destination is replaced: the device must not keep it. */
	ASSERT_EQ(0, gpu_fill(gpu, to, NPAGES, 0x5000));
	gpu_events_start(gpu);
	ASSERT_EQ(to, mremap(self->mem, NPAGES * PAGE_SIZE, NPAGES * PAGE_SIZE,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EVENT(gpu, self->mem, NPAGES * PAGE_SIZE, UNMAP, FREE, R(MREMAP) | R(MAP_FIXED));
	EXPECT_GE(gpu_events_count(gpu, to, NPAGES * PAGE_SIZE, HMM_EVENT_UNMAP), 1);
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_ptes(gpu, to, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_check(gpu, to, NPAGES, 0x1000));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, self->mem, &value));
}

TEST_F(unmap, mremap_dontunmap)
{
	struct gpu *gpu = &self->gpu;
	char *to;

	/* Without MREMAP_FIXED the C library does not pass the hint on. */
	to = (char *)ASSERT_SYS(syscall(SYS_mremap, self->mem, NPAGES * PAGE_SIZE,
					NPAGES * PAGE_SIZE,
					MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));
	EXPECT_EVENT(gpu, self->mem, NPAGES * PAGE_SIZE, UNMAP, FREE, R(MREMAP) | R(MAP_FIXED));
	EXPECT_EQ(0, gpu_check(gpu, to, NPAGES, 0x1000));
	/* The source is empty memory now. */
	EXPECT_EQ(0, gpu_see(gpu, self->mem));
	EXPECT_EQ(0, gpu_write(gpu, self->mem, 7));
	EXPECT_EQ(7, *(volatile uint64_t *)self->mem);
	EXPECT_EQ(0x1000, *(volatile uint64_t *)to);
}

TEST_F(unmap, map_fixed)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_EQ(self->mem, mmap(self->mem, NPAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EVENT(gpu, self->mem, NPAGES * PAGE_SIZE, UNMAP, FREE, R(MREMAP) | R(MAP_FIXED));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(0, gpu_see(gpu, self->mem + i * PAGE_SIZE));
}

TEST_F(unmap, shmdt)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;
	char *shm;
	int id;

	id = shmget(IPC_PRIVATE, NPAGES * PAGE_SIZE, IPC_CREAT | 0600);
	if (id < 0)
		SKIP("no System V shared memory: %s", strerror(errno));
	shm = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	ASSERT_NE(shm, (void *)-1);
	ASSERT_EQ(0, gpu_fill(gpu, shm, NPAGES, 0x6000));
	EXPECT_TRUE(cpu_check(shm, NPAGES, 0x6000));
	gpu_events_start(gpu);
	ASSERT_SYS(shmdt(shm));
	/* It keeps the lock for writing, like the second half of an mremap(). */
	EXPECT_EVENT(gpu, shm, NPAGES * PAGE_SIZE, UNMAP, FREE, R(MUNMAP) | R(MREMAP));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, shm, &value));
}

/* ---- contents thrown away, the mapping stays ---- */

TEST_F(unmap, dontneed)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(madvise(self->mem, 8 * PAGE_SIZE, MADV_DONTNEED));
	EXPECT_EVENT_IN_VMA(gpu, self->mem, 8 * PAGE_SIZE, CLEAR, DROP,
			    R(DONTNEED) | R(MADV_FREE), R(UFFD_MOVE));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, 8, DGPU_PTE_VALID));
	for (size_t i = 0; i < 8; i++)
		EXPECT_EQ(0, gpu_see(gpu, self->mem + i * PAGE_SIZE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + 8 * PAGE_SIZE, 8, 0x1008));
	EXPECT_EQ(0, gpu->result.faults);
	/* The other way round: the CPU refills it, the device sees that. */
	cpu_fill(self->mem, 8, 0x7000);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 8, 0x7000));
}

TEST_F(unmap, dontneed_one_page)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(madvise(self->mem, PAGE_SIZE, MADV_DONTNEED));
	EXPECT_EVENT(gpu, self->mem, PAGE_SIZE, CLEAR, DROP,
		     R(DONTNEED) | R(MADV_FREE) | R(UFFD_MOVE));
	EXPECT_EQ(0, gpu_see(gpu, self->mem));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + PAGE_SIZE, 15, 0x1001));
}

/*
 * After MADV_FREE the page is clean and may be dropped.  A device write makes it
 * count again: it must reach the folio's dirty flag, or the data is lost.  Here the
 * event and the rights; events_reclaim has the pressure.
 */
TEST_F(unmap, madv_free)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(madvise(self->mem, NPAGES * PAGE_SIZE, MADV_FREE));
	EXPECT_EVENT_IN_VMA(gpu, self->mem, NPAGES * PAGE_SIZE, CLEAR, DROP,
			    R(DONTNEED) | R(MADV_FREE), R(UFFD_MOVE));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x8000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x8000));
}

/* Shared memory: the file keeps the contents. */
TEST_F(unmap, dontneed_shared)
{
	struct gpu *gpu = &self->gpu;
	char *mem;

	mem = ASSERT_SYS(mmap(NULL, NPAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	ASSERT_EQ(0, gpu_fill(gpu, mem, NPAGES, 0x9000));
	gpu_events_start(gpu);
	ASSERT_SYS(madvise(mem, NPAGES * PAGE_SIZE, MADV_DONTNEED));
	EXPECT_EQ(0, gpu_ptes(gpu, mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EVENT(gpu, mem, NPAGES * PAGE_SIZE, CLEAR, DROP, R(DONTNEED));
	EXPECT_EQ(0, gpu_check(gpu, mem, NPAGES, 0x9000));
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x9000));
}

TEST_F(unmap, uffdio_move)
{
	struct gpu *gpu = &self->gpu;
	struct uffdio_move move;
	char *to;
	int uffd;

	uffd = sys_uffd_open(UFFD_FEATURE_MOVE);
	to = sys_pages(NPAGES);
	sys_uffd_register(uffd, to, NPAGES * PAGE_SIZE, UFFDIO_REGISTER_MODE_MISSING);
	move = (struct uffdio_move) {
		.dst = (uintptr_t)to, .src = (uintptr_t)self->mem, .len = NPAGES * PAGE_SIZE,
	};
	ASSERT_SYS(ioctl(uffd, UFFDIO_MOVE, &move));
	ASSERT_EQ(NPAGES * PAGE_SIZE, move.move);
	EXPECT_EVENT_IN_VMA(gpu, self->mem, NPAGES * PAGE_SIZE, CLEAR, DROP, R(UFFD_MOVE),
			    R(DONTNEED) | R(MADV_FREE));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_check(gpu, to, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_see(gpu, self->mem));
	close(uffd);
}

/* What changes nothing about the mapping sends nothing. */
TEST_F(unmap, no_event)
{
	struct gpu *gpu = &self->gpu;
	unsigned char vec[NPAGES];

	ASSERT_SYS(mincore(self->mem, NPAGES * PAGE_SIZE, vec));
	ASSERT_SYS(mlock(self->mem, NPAGES * PAGE_SIZE));
	ASSERT_SYS(munlock(self->mem, NPAGES * PAGE_SIZE));
	ASSERT_SYS(madvise(self->mem, NPAGES * PAGE_SIZE, MADV_COLD));
	ASSERT_SYS(mprotect(self->mem, NPAGES * PAGE_SIZE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, sys_try_write("/proc/self/clear_refs", "1"));
	EXPECT_NO_EVENT(gpu, self->mem, NPAGES * PAGE_SIZE);
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID | DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu->result.faults);
}

/* The counters agree with the records. */
TEST_F(unmap, counters)
{
	struct gpu *gpu = &self->gpu;
	uint64_t events, unmaps, reasons[HMM_REASON_NR], again[HMM_REASON_NR];

	events = dgpu_stat_mirror(gpu->dev, HMM_STAT_EVENTS);
	unmaps = dgpu_stat_event(gpu->dev, HMM_EVENT_UNMAP);
	ASSERT_EQ(HMM_REASON_NR, dgpu_get_stat(gpu->dev, DGPU_STAT_REASONS, reasons,
					       HMM_REASON_NR));
	ASSERT_SYS(munmap(self->mem, NPAGES * PAGE_SIZE));
	EXPECT_GT(dgpu_stat_mirror(gpu->dev, HMM_STAT_EVENTS), events);
	EXPECT_GT(dgpu_stat_event(gpu->dev, HMM_EVENT_UNMAP), unmaps);
	ASSERT_EQ(HMM_REASON_NR, dgpu_get_stat(gpu->dev, DGPU_STAT_REASONS, again,
					       HMM_REASON_NR));
	EXPECT_GT(again[HMM_REASON_MUNMAP], reasons[HMM_REASON_MUNMAP]);
	EXPECT_EQ(again[HMM_REASON_MREMAP], reasons[HMM_REASON_MREMAP]);
}

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages that are one page on the device, too: what becomes of them in all that a
 * process can do to its memory.
 *
 * What is required: whole as long as nobody asks for a part; contents and accounts right
 * when somebody does; and back in any case, also where no huge page is to be had for them.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include "chip.h"
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#ifndef MADV_FREE
#define MADV_FREE	8
#endif

#define NHUGE	2ul
#define PER_HUGE (HUGE_SIZE / PAGE_SIZE)
#define LENGTH	(NHUGE * HUGE_SIZE)
#define NPAGES	(NHUGE * PER_HUGE)
#define LOCAL	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)
#define SEED	0x1000ul

static volatile uint64_t *at(char *mem, size_t page)
{
	return (volatile uint64_t *)(mem + page * PAGE_SIZE);
}

/* Huge pages of a mapping, wherever they are. */
static size_t nr_huge(const void *mem)
{
	return (size_t)sys_smaps(mem, "AnonHugePages:") * 1024 / HUGE_SIZE;
}

FIXTURE(dthp) {
	struct gpu gpu;
	unsigned int index;
	char *mem;		/* NHUGE huge pages on the device: SEED, ... */
	int64_t out_fault;
};

FIXTURE_SETUP(dthp)
{
	struct dgpu_info info;

	gpu_setup_memory(&self->gpu);
	ASSERT_EQ(0, dgpu_get_info(self->gpu.dev, &info));
	self->index = info.index;
	ASSERT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
	self->mem = sys_huge_area(NHUGE);
	if (sys_make_huge(self->mem, NHUGE) != NHUGE)
		SKIP("no huge pages to be had");
	cpu_fill(self->mem, NPAGES, SEED);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	if (!nr_huge(self->mem))
		SKIP("a kernel without huge pages of devices");
	self->out_fault = chip_rmem(self->gpu.dev, HMM_RMEM_OUT_FAULT);
}

FIXTURE_TEARDOWN(dthp)
{
	gpu_teardown(&self->gpu);
}

static uint64_t used(struct gpu *gpu)
{
	return gpu_rmem(gpu, HMM_RMEM_USED);
}

TEST_F(dthp, whole)
{
	struct gpu *gpu = &self->gpu;

	EXPECT_EQ(NHUGE, nr_huge(self->mem));
	EXPECT_EQ(NPAGES, used(gpu));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL | DGPU_PTE_HUGE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, SEED));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, SEED * 2));
	gpu_move_out(gpu, self->mem, NPAGES);
	EXPECT_EQ(NHUGE, nr_huge(self->mem));
	EXPECT_EQ(0, used(gpu));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED * 2));
}

TEST_F(dthp, one_touch)
{
	struct gpu *gpu = &self->gpu;

	EXPECT_EQ(SEED + 77, *at(self->mem, 77));
	EXPECT_PLACE(gpu, self->mem, PER_HUGE, SYSTEM);
	EXPECT_PLACE(gpu, self->mem + HUGE_SIZE, PER_HUGE, DEVICE);
	EXPECT_EQ(NHUGE, nr_huge(self->mem));
	EXPECT_EQ(NPAGES - PER_HUGE, used(gpu));
	EXPECT_EQ(self->out_fault + (int64_t)PER_HUGE, chip_rmem(gpu->dev, HMM_RMEM_OUT_FAULT));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
}

/* Whole ones as small ones, in and out. */
TEST_F(dthp, asked_to_split)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	gpu_migrate(gpu, self->mem, NPAGES, DGPU_MIGRATE_TO_SYSTEM | DGPU_MIGRATE_SPLIT, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(0, nr_huge(self->mem));
	EXPECT_EQ(0, used(gpu));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
	ASSERT_EQ(NHUGE, sys_make_huge(self->mem, NHUGE));
	gpu_migrate(gpu, self->mem, NPAGES, DGPU_MIGRATE_SPLIT, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(0, nr_huge(self->mem));
	EXPECT_EQ(NPAGES, used(gpu));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
}

/*
 * The device faults in the middle of a huge page of its own, of which it maps nothing: it
 * must not get the first page instead.
 */
TEST_F(dthp, fault_in_the_middle)
{
	struct gpu *gpu = &self->gpu;
	char *to = sys_huge_area(NHUGE);

	ASSERT_EQ(to, mremap(self->mem, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(NHUGE, nr_huge(to));
	EXPECT_EQ(0, gpu_ptes(gpu, to, NPAGES, DGPU_PTE_VALID));
	for (size_t i = 300; i < NPAGES; i += 101) {
		EXPECT_EQ(SEED + i, gpu_see(gpu, at(to, i)));
		EXPECT_EQ(0, gpu_write(gpu, at(to, i), SEED + i));
	}
	EXPECT_EQ(0, gpu_check(gpu, to, NPAGES, SEED));
	EXPECT_PLACE(gpu, to, NPAGES, DEVICE);
	EXPECT_TRUE(cpu_check(to, NPAGES, SEED));
}

/* No huge page is wanted in system memory: one touch, in small pages. */
TEST_F(dthp, touch_splits)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_NOHUGEPAGE));
	EXPECT_EQ(SEED + 77, *at(self->mem, 77));
	EXPECT_PLACE(gpu, self->mem, PER_HUGE, SYSTEM);
	EXPECT_EQ(NPAGES - PER_HUGE, used(gpu));
	EXPECT_EQ(1, nr_huge(self->mem));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
	EXPECT_EQ(0, nr_huge(self->mem));
	EXPECT_EQ(0, used(gpu));
}

/* The same while two processes share it. */
TEST_F(dthp, touch_splits_shared)
{
	struct gpu *gpu = &self->gpu;
	int status;
	pid_t pid;

	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_NOHUGEPAGE));
	pid = ASSERT_SYS(fork());
	if (!pid) {
		if (!cpu_check(self->mem, NPAGES, SEED))
			_exit(1);
		cpu_fill(self->mem, NPAGES, SEED * 2);
		_exit(cpu_check(self->mem, NPAGES, SEED * 2) ? 0 : 2);
	}
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, SEED));
	EXPECT_EQ(0, used(gpu));
}

struct zapper {
	char *mem;
	volatile bool stop;
};

static void *zap(void *arg)
{
	struct zapper *zapper = arg;

	while (!zapper->stop)
		madvise(zapper->mem, HUGE_SIZE, MADV_DONTNEED);
	return NULL;
}

/* A page goes while a touch splits it: what the touch finds is right, or zero. */
TEST_F(dthp, touch_splits_and_unmap)
{
	struct zapper zapper = { .mem = self->mem };
	struct gpu *gpu = &self->gpu;
	pthread_t thread;

	for (unsigned long round = sys_scale(60); round--; ) {
		struct gpu_moved moved;

		ASSERT_SYS(madvise(self->mem, LENGTH, MADV_HUGEPAGE));
		cpu_fill(self->mem, PER_HUGE, SEED);
		gpu_migrate(gpu, self->mem, PER_HUGE, 0, &moved);
		ASSERT_SYS(madvise(self->mem, LENGTH, MADV_NOHUGEPAGE));
		zapper.stop = false;
		ASSERT_EQ(0, pthread_create(&thread, NULL, zap, &zapper));
		for (size_t i = 0; i < 64; i++) {
			const size_t page = (i * 37 + round) % PER_HUGE;
			const uint64_t seen = *at(self->mem, page);

			if (seen)
				ASSERT_EQ(SEED + page, seen);
		}
		zapper.stop = true;
		pthread_join(thread, NULL);
	}
	ASSERT_SYS(munmap(self->mem, LENGTH));
	EXPECT_TRUE(chip_rmem_becomes(gpu->dev, HMM_RMEM_USED, 0));
}

TEST_F(dthp, fork_and_write)
{
	struct gpu *gpu = &self->gpu;
	int status;
	pid_t pid;

	pid = ASSERT_SYS(fork());
	if (!pid) {
		if (!cpu_check(self->mem, NPAGES, SEED))
			_exit(1);
		cpu_fill(self->mem, NPAGES, SEED * 2);
		_exit(cpu_check(self->mem, NPAGES, SEED * 2) ? 0 : 2);
	}
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, SEED));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, SEED * 3));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, SEED * 3));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED * 3));
}

/* Parts are unmapped in the child, and what it still has is there after the parent. */
TEST_F(dthp, fork_and_unmap_parts)
{
	struct gpu *gpu = &self->gpu;
	int status;
	pid_t pid;

	pid = ASSERT_SYS(fork());
	if (!pid) {
		munmap(self->mem + 8 * PAGE_SIZE, 100 * PAGE_SIZE);
		if (!cpu_check(self->mem, 8, SEED) ||
		    !cpu_check(self->mem + 108 * PAGE_SIZE, NPAGES - 108, SEED + 108))
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, SEED));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
}

TEST_F(dthp, dontneed_part)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(madvise(self->mem + 100 * PAGE_SIZE, 50 * PAGE_SIZE, MADV_DONTNEED));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 100, SEED));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + 150 * PAGE_SIZE, NPAGES - 150, SEED + 150));
	for (size_t i = 100; i < 150; i++)
		ASSERT_EQ(0, *at(self->mem, i));
	/* The kernel frees the part when it splits the page: a touch does that. */
	EXPECT_EQ(SEED + 7, *at(self->mem, 7));
	EXPECT_LE(used(gpu), NPAGES - 50);
	EXPECT_TRUE(cpu_check(self->mem, 100, SEED));
	EXPECT_TRUE(cpu_check(self->mem + 150 * PAGE_SIZE, NPAGES - 150, SEED + 150));
	EXPECT_EQ(0, used(gpu));
}

TEST_F(dthp, dontneed_whole)
{
	struct gpu *gpu = &self->gpu;
	uint64_t dropped = gpu_rmem(gpu, HMM_RMEM_DROPPED);

	ASSERT_SYS(madvise(self->mem, HUGE_SIZE, MADV_DONTNEED));
	EXPECT_EQ(NPAGES - PER_HUGE, used(gpu));
	EXPECT_EQ(dropped + PER_HUGE, gpu_rmem(gpu, HMM_RMEM_DROPPED));
	for (size_t i = 0; i < PER_HUGE; i++)
		ASSERT_EQ(0, *at(self->mem, i));
	EXPECT_TRUE(cpu_check(self->mem + HUGE_SIZE, PER_HUGE, SEED + PER_HUGE));
}

/* MADV_FREE finds nothing to be freed lazily on a device: all stays. */
TEST_F(dthp, free_lazily)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(madvise(self->mem, HUGE_SIZE + 10 * PAGE_SIZE, MADV_FREE));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, SEED * 2));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED * 2));
}

TEST_F(dthp, protect_part)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(mprotect(self->mem + 100 * PAGE_SIZE, 10 * PAGE_SIZE, PROT_READ));
	EXPECT_EQ(-EACCES, gpu_write(gpu, at(self->mem, 105), 1));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, SEED));
	EXPECT_EQ(NPAGES, used(gpu));
	/* Mapped in parts, it is still one: whoever touches a part splits it. */
	EXPECT_EQ(SEED + 105, *at(self->mem, 105));
	EXPECT_EQ(SEED + 99, *at(self->mem, 99));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
	EXPECT_EQ(0, used(gpu));
}

TEST_F(dthp, protect_whole)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ));
	EXPECT_EQ(-EACCES, gpu_write(gpu, at(self->mem, 5), 1));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, SEED));
	EXPECT_EQ(NHUGE, nr_huge(self->mem));
	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, SEED * 2));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED * 2));
}

/*
 * Mapped in parts, and touched near the beginning, so that the first page comes along with
 * the one that has faulted: once more for each of some pages, and nothing stays locked.
 */
TEST_F(dthp, touch_parts)
{
	static const size_t touched[] = { 1, 5, 15, 0, 300 };
	struct gpu *gpu = &self->gpu;

	for (size_t i = 0; i < sizeof(touched) / sizeof(touched[0]); i++) {
		ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ | PROT_WRITE));
		ASSERT_EQ(NHUGE, sys_make_huge(self->mem, NHUGE));
		gpu_move_in(gpu, self->mem, NPAGES);
		ASSERT_EQ(NHUGE, nr_huge(self->mem));
		ASSERT_SYS(mprotect(self->mem + 100 * PAGE_SIZE, 10 * PAGE_SIZE, PROT_READ));
		EXPECT_EQ(SEED + touched[i], *at(self->mem, touched[i]));
		gpu_move_in(gpu, self->mem, NPAGES);
		EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, SEED));
		gpu_move_out(gpu, self->mem, NPAGES);
		EXPECT_EQ(0, used(gpu));
		EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
	}
}

/* To where huge pages are not huge: the parts move along. */
TEST_F(dthp, mremap_unaligned)
{
	struct gpu *gpu = &self->gpu;
	char *area = sys_huge_area(NHUGE + 1), *to = area + 5 * PAGE_SIZE;

	ASSERT_EQ(to, mremap(self->mem, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(0, gpu_check(gpu, to, NPAGES, SEED));
	EXPECT_PLACE(gpu, to, NPAGES, DEVICE);
	EXPECT_EQ(0, gpu_fill(gpu, to, NPAGES, SEED * 2));
	EXPECT_TRUE(cpu_check(to, NPAGES, SEED * 2));
	EXPECT_EQ(0, used(gpu));
}

TEST_F(dthp, mlock)
{
	struct gpu *gpu = &self->gpu;
	const long long before = sys_nr_mlock();
	long long after = -1;

	ASSERT_SYS(mlock(self->mem, HUGE_SIZE));
	EXPECT_TRUE(cpu_check(self->mem, PER_HUGE, SEED));
	gpu_move_in(gpu, self->mem, PER_HUGE);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, PER_HUGE, SEED * 2));
	ASSERT_SYS(munlock(self->mem, 10 * PAGE_SIZE));
	EXPECT_TRUE(cpu_check(self->mem, PER_HUGE, SEED * 2));
	gpu_move_in(gpu, self->mem, NPAGES);
	ASSERT_SYS(munmap(self->mem, LENGTH));
	for (int tries = 0; tries < 100 && (after != before || used(gpu)); tries++) {
		after = sys_nr_mlock();
		sys_sleep_ms(20);
	}
	EXPECT_EQ(0, used(gpu));
	EXPECT_EQ(before, after);
}

/* Somebody reads it by its address, and somebody keeps it. */
TEST_F(dthp, held)
{
	struct iovec iov = { self->mem + 300 * PAGE_SIZE, PAGE_SIZE };
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	char buf[PAGE_SIZE];
	int fds[2];

	ASSERT_SYS(pipe(fds));
	ASSERT_EQ(PAGE_SIZE, vmsplice(fds[1], &iov, 1, 0));
	EXPECT_PLACE(gpu, self->mem, PER_HUGE, SYSTEM);
	gpu_migrate(gpu, self->mem, PER_HUGE, 0, &moved);
	EXPECT_EQ(-EBUSY, moved.ret);
	EXPECT_EQ(0, moved.moved);
	EXPECT_EQ(NHUGE, nr_huge(self->mem));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, SEED * 2));
	ASSERT_EQ(PAGE_SIZE, read(fds[0], buf, PAGE_SIZE));
	EXPECT_EQ(SEED * 2 + 300, *(uint64_t *)buf);
	close(fds[0]);
	close(fds[1]);
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(NHUGE, nr_huge(self->mem));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED * 2));
}

TEST_F(dthp, evacuate)
{
	struct gpu *gpu = &self->gpu;

	EXPECT_EQ(0, chip_evacuate(self->index));
	EXPECT_EQ(0, used(gpu));
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_EQ(NHUGE, nr_huge(self->mem));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
}

/* Shared, and with parts that nobody maps any more. */
TEST_F(dthp, evacuate_parts)
{
	struct gpu *gpu = &self->gpu;
	int status, fds[2];
	char c = 0;
	pid_t pid;

	ASSERT_SYS(pipe(fds));
	pid = ASSERT_SYS(fork());
	if (!pid) {
		if (read(fds[0], &c, 1) != 1 || !cpu_check(self->mem, NPAGES, SEED))
			_exit(1);
		_exit(0);
	}
	ASSERT_SYS(munmap(self->mem, 100 * PAGE_SIZE));
	ASSERT_SYS(mprotect(self->mem + HUGE_SIZE, 8 * PAGE_SIZE, PROT_READ));
	ASSERT_SYS(munmap(self->mem + LENGTH - 9 * PAGE_SIZE, 9 * PAGE_SIZE));
	EXPECT_EQ(0, chip_evacuate(self->index));
	EXPECT_EQ(0, used(gpu));
	ASSERT_EQ(1, write(fds[1], &c, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(cpu_check(self->mem + 100 * PAGE_SIZE, NPAGES - 109, SEED + 100));
}

/* Nobody maps parts of it: they become free. */
TEST_F(dthp, evacuate_unmapped_parts)
{
	struct gpu *gpu = &self->gpu;
	int64_t dropped = chip_rmem(gpu->dev, HMM_RMEM_DROPPED);

	ASSERT_SYS(munmap(self->mem, 100 * PAGE_SIZE));
	EXPECT_EQ(0, chip_evacuate(self->index));
	EXPECT_EQ(0, used(gpu));
	EXPECT_EQ(dropped + 100, chip_rmem(gpu->dev, HMM_RMEM_DROPPED));
	EXPECT_TRUE(cpu_check(self->mem + 100 * PAGE_SIZE, NPAGES - 100, SEED + 100));
}

/* No huge page is to be had on the device: all the same, in small ones. */
TEST_F(dthp, no_chunk)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
	if (chip_fail("../hmm/fail_device_alloc", 100))
		SKIP("a kernel without fault injection");
	gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
	EXPECT_EQ(0, chip_fail("../hmm/fail_device_alloc", 0));
	EXPECT_EQ(-ENOSPC, moved.ret);
	EXPECT_EQ(0, moved.moved);
	EXPECT_EQ(0, used(gpu));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, SEED));
	ASSERT_EQ(NHUGE, sys_make_huge(self->mem, NHUGE));
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(NHUGE, nr_huge(self->mem));
}

/* Places without a page get a huge one, where such are wanted. */
TEST_F(dthp, populate)
{
	struct gpu *gpu = &self->gpu;
	char *empty = sys_huge_area(NHUGE);
	struct gpu_moved moved;

	gpu_migrate(gpu, empty, NPAGES, DGPU_MIGRATE_POPULATE, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(NPAGES, moved.moved);
	EXPECT_EQ(NHUGE, nr_huge(empty));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, empty, NPAGES, LOCAL | DGPU_PTE_HUGE));
	for (size_t i = 0; i < LENGTH / 8; i += 64)
		ASSERT_EQ(0, ((volatile uint64_t *)empty)[i]);
	gpu_migrate(gpu, empty, NPAGES, DGPU_MIGRATE_POPULATE | DGPU_MIGRATE_SPLIT, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(0, nr_huge(empty));
}

/* Places for huge pages, with nothing in them, are moved back: there is nothing to do. */
TEST_F(dthp, empty_out)
{
	char *empty = sys_huge_area(NHUGE);
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	gpu_migrate(gpu, empty, NPAGES, DGPU_MIGRATE_TO_SYSTEM, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(0, moved.moved);
	EXPECT_RESULTS(&moved, 0, NPAGES, EMPTY);
	/* Next to one that has something. */
	ASSERT_SYS(madvise(self->mem, HUGE_SIZE, MADV_DONTNEED));
	gpu_migrate(gpu, self->mem, NPAGES, DGPU_MIGRATE_TO_SYSTEM, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(PER_HUGE, moved.moved);
	EXPECT_RESULTS(&moved, 0, PER_HUGE, EMPTY);
	EXPECT_TRUE(cpu_check(self->mem + HUGE_SIZE, PER_HUGE, SEED + PER_HUGE));
}

TEST_F(dthp, exit)
{
	struct gpu *gpu = &self->gpu;
	int status;
	pid_t pid;

	pid = ASSERT_SYS(fork());
	if (!pid)
		_exit(0);
	ASSERT_SYS(munmap(self->mem, LENGTH));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(chip_rmem_becomes(gpu->dev, HMM_RMEM_USED, 0));
	EXPECT_EQ(0, gpu_rmem(gpu, HMM_RMEM_LOST));
}

GPU_POOL_TEST

HARNESS_MAIN_AROUND(sys_khugepaged_rest, sys_khugepaged_resume)

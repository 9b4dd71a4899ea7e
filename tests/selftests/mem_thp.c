// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages to the device and back, in parts, split and collapsed; zero pages and the
 * huge zero page.
 *
 * Whether a huge page is one on the device as well is the kernel's affair; contents,
 * places and counters are the same either way.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NHUGE	2ul
#define PER_HUGE (HUGE_SIZE / PAGE_SIZE)
#define LENGTH	(NHUGE * HUGE_SIZE)
#define NPAGES	(NHUGE * PER_HUGE)
#define LOCAL	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)
#define RW	(DGPU_PTE_VALID | DGPU_PTE_WRITE)

FIXTURE(thp) {
	struct gpu gpu;
	char *mem;	/* NHUGE huge pages: 0x1000, ... */
	uint64_t used;
};

FIXTURE_SETUP(thp)
{
	gpu_setup_memory(&self->gpu);
	self->mem = sys_huge_area(NHUGE);
	if (sys_make_huge(self->mem, NHUGE) != NHUGE)
		SKIP("no huge pages to be had");
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 0x1000));
	self->used = gpu_rmem(&self->gpu, HMM_RMEM_USED);
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(thp)
{
	gpu_teardown(&self->gpu);
}

TEST_F(thp, round_trip)
{
	struct gpu *gpu = &self->gpu;

	for (uint64_t round = 1; round <= 3; round++) {
		gpu_move_in(gpu, self->mem, NPAGES);
		EXPECT_EQ(self->used + NPAGES, gpu_rmem(gpu, HMM_RMEM_USED));
		EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, round << 20));
		EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL | RW));
		gpu_move_out(gpu, self->mem, NPAGES);
		EXPECT_EQ(self->used, gpu_rmem(gpu, HMM_RMEM_USED));
		EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_LOCAL));
		EXPECT_TRUE(cpu_check(self->mem, NPAGES, round << 20));
		sys_make_huge(self->mem, NHUGE);
	}
}

/* Back by touches, from the last page to the first. */
TEST_F(thp, touched_back)
{
	struct gpu *gpu = &self->gpu;

	gpu_move_in(gpu, self->mem, NPAGES);
	for (size_t i = NPAGES; i--;)
		ASSERT_EQ(0x1000 + i, *word(self->mem, i));
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
}

/* A few pages from the middle: the rest stays where it is, and what it is. */
TEST_F(thp, part_in)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 100 * PAGE_SIZE;

	gpu_move_in(gpu, part, 10);
	EXPECT_EQ(self->used + 10, gpu_rmem(gpu, HMM_RMEM_USED));
	EXPECT_PLACE(gpu, self->mem, 100, SYSTEM);
	EXPECT_PLACE(gpu, part + 10 * PAGE_SIZE, NPAGES - 110, SYSTEM);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x20000));
	EXPECT_EQ(10, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, PER_HUGE, DGPU_PTE_HUGE));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x20000));
}

TEST_F(thp, part_out)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 100 * PAGE_SIZE;

	gpu_move_in(gpu, self->mem, NPAGES);
	gpu_move_out(gpu, part, 10);
	EXPECT_EQ(self->used + NPAGES - 10, gpu_rmem(gpu, HMM_RMEM_USED));
	EXPECT_PLACE(gpu, self->mem, 100, DEVICE);
	EXPECT_PLACE(gpu, part + 10 * PAGE_SIZE, NPAGES - 110, DEVICE);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x20000));
	EXPECT_EQ(NPAGES - 10, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x20000));
}

TEST_F(thp, munmap_part)
{
	struct gpu *gpu = &self->gpu;
	char *hole = self->mem + 16 * PAGE_SIZE;
	uint64_t value;

	gpu_move_in(gpu, self->mem, NPAGES);
	ASSERT_SYS(munmap(hole, 16 * PAGE_SIZE));
	/* What is unmapped of a huge page is free when the kernel has split that. */
	EXPECT_LE(self->used + NPAGES - 16, gpu_rmem(gpu, HMM_RMEM_USED));
	EXPECT_EQ(0, gpu_ptes(gpu, hole, 16, DGPU_PTE_VALID));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, hole, &value));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 16, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, hole + 16 * PAGE_SIZE, NPAGES - 32, 0x1000 + 32));
	EXPECT_TRUE(cpu_check(hole + 16 * PAGE_SIZE, NPAGES - 32, 0x1000 + 32));
	EXPECT_TRUE(cpu_check(self->mem, 16, 0x1000));
	EXPECT_EQ(self->used, gpu_rmem(gpu, HMM_RMEM_USED));
}

TEST_F(thp, mprotect_part)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 100 * PAGE_SIZE;

	gpu_move_in(gpu, self->mem, NPAGES);
	ASSERT_SYS(mprotect(part, 10 * PAGE_SIZE, PROT_READ));
	EXPECT_EQ(0, gpu_ptes(gpu, part, 10, DGPU_PTE_WRITE));
	EXPECT_EQ(-EACCES, gpu_write(gpu, part, 1));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, 100, 0x20000));
	EXPECT_EQ(0, gpu_check(gpu, part, 10, 0x1000 + 100));
	EXPECT_TRUE(cpu_check(self->mem, 100, 0x20000));
	EXPECT_TRUE(cpu_check(part, NPAGES - 100, 0x1000 + 100));
}

/* 2 MiB at once, by moving a page table: the device pages go along. */
TEST_F(thp, mremap)
{
	struct gpu *gpu = &self->gpu;
	char *to = sys_huge_area(NHUGE);

	gpu_move_in(gpu, self->mem, NPAGES);
	ASSERT_EQ(to, mremap(self->mem, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_PLACE(gpu, to, NPAGES, DEVICE);
	EXPECT_EQ(0, gpu_check(gpu, to, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(to, NPAGES, 0x1000));
}

TEST_F(thp, fork)
{
	struct gpu *gpu = &self->gpu;
	int status;
	pid_t pid;

	gpu_move_in(gpu, self->mem, NPAGES);
	pid = ASSERT_SYS(fork());
	if (!pid) {
		if (!cpu_check(self->mem, NPAGES, 0x1000))
			_exit(1);
		cpu_fill(self->mem, NPAGES, 0x70000);
		_exit(cpu_check(self->mem, NPAGES, 0x70000) ? 0 : 2);
	}
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, PER_HUGE, 0x1000));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* MADV_COLLAPSE reads in what it collapses, from the device as well. */
TEST_F(thp, collapse)
{
	struct gpu *gpu = &self->gpu;
	int ret = 0;

	for (int tries = 0; tries < 10; tries++) {
		/* A range with nothing in memory may be refused: one in which a few are not. */
		if (tries % 2)
			gpu_move_out(gpu, self->mem, NPAGES);
		gpu_move_in(gpu, self->mem, tries % 2 ? 10 : NPAGES);
		ret = madvise(self->mem, LENGTH, MADV_COLLAPSE) ? -errno : 0;
		ASSERT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
		if (!ret)
			break;
	}
	test_log("MADV_COLLAPSE: %s", ret ? strerror(-ret) : "ok");
	if (!ret) {
		EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
		EXPECT_EQ(LENGTH / 1024, sys_smaps(self->mem, "AnonHugePages:"));
		EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID | DGPU_PTE_HUGE));
	}
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x20000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x20000));
}

/* khugepaged comes across pages on the device, and over ranges that go to and fro. */
TEST_F(thp, khugepaged)
{
	static const char dir[] = "/sys/kernel/mm/transparent_hugepage/khugepaged/";
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	char path[100], old[2][32];
	long long scans;

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s%s", dir,
			 i ? "alloc_sleep_millisecs" : "scan_sleep_millisecs");
		snprintf(old[i], sizeof(old[i]), "%lld", sys_number(path));
		sys_write(path, "1");
	}
	snprintf(path, sizeof(path), "%sfull_scans", dir);
	scans = sys_number(path);
	for (uint64_t round = 1; round <= sys_scale(40); round++) {
		gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
		if (round % 2)
			ASSERT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, round << 20));
		else
			cpu_fill(self->mem, NPAGES, round << 20);
		sys_sleep_ms(5);
		ASSERT_EQ(0, gpu_check(gpu, self->mem, NPAGES, round << 20));
		ASSERT_TRUE(cpu_check(self->mem, NPAGES / 4, round << 20));
	}
	test_log("%lld scans", sys_number(path) - scans);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s%s", dir,
			 i ? "alloc_sleep_millisecs" : "scan_sleep_millisecs");
		sys_write(path, old[i]);
	}
}

/* Some pages of what was a huge page are held: all others move. */
TEST_F(thp, held_part)
{
	char *held = self->mem + 300 * PAGE_SIZE;
	struct iovec iov = { held, 2 * PAGE_SIZE };
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	char buf[PAGE_SIZE];
	int fds[2];

	ASSERT_SYS(pipe(fds));
	ASSERT_EQ(2 * PAGE_SIZE, vmsplice(fds[1], &iov, 1, 0));
	gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
	EXPECT_EQ(-EBUSY, moved.ret);
	/* One that is whole cannot be split while a part is held: then all of it stays. */
	EXPECT_RESULTS(&moved, 300, 2, BUSY);
	EXPECT_GE(moved.count[HMM_PAGE_MOVED], PER_HUGE);
	EXPECT_PLACE(gpu, self->mem + HUGE_SIZE, PER_HUGE, DEVICE);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x20000));
	ASSERT_EQ(PAGE_SIZE, read(fds[0], buf, PAGE_SIZE));
	EXPECT_EQ(0x20000 + 300, *(uint64_t *)buf);
	close(fds[0]);
	close(fds[1]);
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x20000));
}

/* A request that begins and ends in the middle of huge pages. */
TEST_F(thp, unaligned)
{
	struct gpu *gpu = &self->gpu;

	gpu_move_in(gpu, self->mem + 3 * PAGE_SIZE, NPAGES - 7);
	EXPECT_PLACE(gpu, self->mem, 3, SYSTEM);
	EXPECT_PLACE(gpu, self->mem + (NPAGES - 4) * PAGE_SIZE, 4, SYSTEM);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* ---- zero pages ---- */

FIXTURE(zero) {
	struct gpu gpu;
	char *mem;	/* NPAGES that nobody has written, 4 KiB pages */
	char *huge;	/* NHUGE for huge pages, the same */
};

FIXTURE_SETUP(zero)
{
	gpu_setup_memory(&self->gpu);
	self->mem = sys_pages(NPAGES);
	self->huge = sys_huge_area(NHUGE);
}

FIXTURE_TEARDOWN(zero)
{
	gpu_teardown(&self->gpu);
}

static void expect_zeroes(struct gpu *gpu, char *mem)
{
	for (size_t i = 0; i < NPAGES; i += 37)
		EXPECT_EQ(0, gpu_see(gpu, word(mem, i)));
	for (size_t i = 0; i < NPAGES; i++)
		ASSERT_EQ(0, *word(mem, i));
}

static void read_all(char *mem)
{
	for (size_t i = 0; i < NPAGES; i++)
		ASSERT_EQ(0, *word(mem, i));
}

/* What was never written is left alone, unless it is asked for. */
TEST_F(zero, empty)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	uint64_t used = gpu_rmem(gpu, HMM_RMEM_USED), zeroed;

	gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(0, moved.moved);
	EXPECT_RESULTS(&moved, 0, NPAGES, EMPTY);
	EXPECT_EQ(used, gpu_rmem(gpu, HMM_RMEM_USED));
	EXPECT_PLACE(gpu, self->mem, NPAGES, NONE);

	zeroed = gpu_rmem(gpu, HMM_RMEM_IN_ZERO);
	gpu_migrate(gpu, self->mem, NPAGES, DGPU_MIGRATE_POPULATE, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(NPAGES, moved.moved);
	EXPECT_RESULTS(&moved, 0, NPAGES, MOVED);
	EXPECT_EQ(zeroed + NPAGES, gpu_rmem(gpu, HMM_RMEM_IN_ZERO));
	EXPECT_EQ(used + NPAGES, gpu_rmem(gpu, HMM_RMEM_USED));
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	expect_zeroes(gpu, self->mem);
}

/* The memory of the device was somebody's before: none of that shows. */
TEST_F(zero, populate_is_clean)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	char *old = sys_pages(NPAGES);

	memset(old, 0x5a, LENGTH);
	gpu_move_in(gpu, old, NPAGES);
	ASSERT_SYS(munmap(old, LENGTH));
	gpu_migrate(gpu, self->mem, NPAGES, DGPU_MIGRATE_POPULATE, &moved);
	ASSERT_EQ(0, moved.ret);
	EXPECT_EQ(0, gpu_write(gpu, self->mem, 0));
	for (size_t i = 0; i < LENGTH / 8; i++)
		ASSERT_EQ(0, ((volatile uint64_t *)self->mem)[i]);
}

/* Read before: the zero page is mapped, and is not a page that could move. */
TEST_F(zero, zero_page)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	read_all(self->mem);
	gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(NPAGES, moved.count[HMM_PAGE_EMPTY] + moved.count[HMM_PAGE_MOVED]);
	expect_zeroes(gpu, self->mem);
	gpu_migrate(gpu, self->mem, NPAGES, DGPU_MIGRATE_POPULATE, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES / 2, 0x1000));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES / 2, 0x1000));
	for (size_t i = NPAGES / 2; i < NPAGES; i++)
		ASSERT_EQ(0, *word(self->mem, i));
}

/* The zero page itself is never written, whoever breaks it. */
TEST_F(zero, written_by_device)
{
	struct gpu *gpu = &self->gpu;
	char *other = sys_pages(NPAGES);

	read_all(self->mem);
	read_all(other);
	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x1000));
	read_all(other);
	EXPECT_EQ(0, gpu_touch(gpu, other, NPAGES));
	read_all(other);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_fill(gpu, other, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(other, NPAGES, 0x2000));
}

/* The huge zero page is split, and its range filled on the device. */
TEST_F(zero, huge_zero_page)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	read_all(self->huge);
	gpu_migrate(gpu, self->huge, NPAGES, 0, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(NPAGES, moved.count[HMM_PAGE_EMPTY] + moved.count[HMM_PAGE_MOVED]);
	expect_zeroes(gpu, self->huge);
	gpu_migrate(gpu, self->huge, NPAGES, DGPU_MIGRATE_POPULATE, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_PLACE(gpu, self->huge, NPAGES, DEVICE);
	EXPECT_EQ(0, gpu_fill(gpu, self->huge, PER_HUGE, 0x1000));
	EXPECT_TRUE(cpu_check(self->huge, PER_HUGE, 0x1000));
	for (size_t i = PER_HUGE; i < NPAGES; i++)
		ASSERT_EQ(0, *word(self->huge, i));
}

/* By a part of it: 4 KiB of the zeroes become a page on the device. */
TEST_F(zero, huge_zero_part)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	read_all(self->huge);
	gpu_migrate(gpu, word(self->huge, 7), 3, DGPU_MIGRATE_POPULATE, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(3, gpu_pages_at(gpu, self->huge, NPAGES, HMM_PLACE_DEVICE));
	EXPECT_EQ(0, gpu_fill(gpu, word(self->huge, 7), 3, 0x1007));
	EXPECT_EQ(0, *word(self->huge, 6));
	EXPECT_EQ(0, *word(self->huge, 10));
	EXPECT_TRUE(cpu_check(word(self->huge, 7), 3, 0x1007));
}

/* Empty, mapped zero, written and on the device, side by side, in one request. */
TEST_F(zero, mixed)
{
	const uint64_t end = sys_patience_ms();
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	for (size_t i = 0; i < NPAGES; i++) {
		if (i % 4 == 1)
			ASSERT_EQ(0, *word(self->mem, i));
		else if (i % 4 >= 2)
			*word(self->mem, i) = 0x1000 + i;
	}
	for (size_t i = 3; i < NPAGES; i += 64)
		gpu_move_in(gpu, word(self->mem, i), 1);
	gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
	while (moved.ret == -EBUSY && sys_now_ms() < end) {
		sys_sleep_ms(5);
		gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
	}
	EXPECT_EQ(0, moved.ret);
	for (size_t i = 0; i < NPAGES; i++) {
		if (i % 4 == 0)
			EXPECT_RESULTS(&moved, i, 1, EMPTY);
		else if (i % 4 >= 2)
			EXPECT_TRUE(moved.results[i] == HMM_PAGE_MOVED ||
				    moved.results[i] == HMM_PAGE_THERE);
	}
	for (size_t i = 0; i < NPAGES; i++)
		ASSERT_EQ(i % 4 < 2 ? 0 : 0x1000 + i, gpu_see(gpu, word(self->mem, i)));
	for (size_t i = 0; i < NPAGES; i++)
		ASSERT_EQ(i % 4 < 2 ? 0 : 0x1000 + i, *word(self->mem, i));
}

GPU_POOL_TEST

HARNESS_MAIN_AROUND(sys_khugepaged_rest, sys_khugepaged_resume)

// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel moves memory itself: between NUMA nodes, by NUMA balancing, by compaction,
 * with pages on the device among what it looks at and next to what it moves.
 *
 * Pages on the device stay there; when they come back they go where the mapping's
 * memory policy wants its pages.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	64ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define LOCAL	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)

#define BIND	2	/* MPOL_BIND */
#define MOVE	2	/* MPOL_MF_MOVE */

/* How eagerly the kernel samples who touches what, and that as fast as it goes. */
#define NSCAN	2

static const char * const scan_files[NSCAN] = {
	"/sys/kernel/debug/sched/numa_balancing/scan_delay_ms",
	"/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms",
};

static const char * const scan_fast[NSCAN] = { "1", "10" };

FIXTURE(numa) {
	struct gpu gpu;
	char *mem;	/* NPAGES on the device, which wrote 0x1000, ... there */
	uint64_t out;
	char old[32];
	const char *file;	/* to be given its old value back */
	char scan[NSCAN][32];	/* the same, of scan_files */
};

FIXTURE_SETUP(numa)
{
	gpu_setup_memory(&self->gpu);
	self->mem = gpu_pages_on_device(&self->gpu, NPAGES);
	self->out = gpu_rmem(&self->gpu, HMM_RMEM_OUT);
}

FIXTURE_TEARDOWN(numa)
{
	if (self->file)
		sys_try_write(self->file, self->old);
	for (size_t i = 0; i < NSCAN; i++)
		if (*self->scan[i])
			sys_try_write(scan_files[i], self->scan[i]);
	gpu_teardown(&self->gpu);
}

static void need_nodes(void)
{
	if (sys_nodes() < 2)
		SKIP("one NUMA node only");
}

static void bind_to(void *addr, size_t length, int node, unsigned int flags)
{
	unsigned long mask = 1ul << node;

	ASSERT_SYS(syscall(SYS_mbind, addr, length, BIND, &mask, 64ul, flags));
}

/* What is not in memory has no node, and is not moved. */
TEST_F(numa, move_pages)
{
	struct gpu *gpu = &self->gpu;

	need_nodes();
	for (int node = 0; node < 2; node++) {
		EXPECT_LT(sys_node_of(self->mem), 0);
		EXPECT_LT(sys_move_page(0, self->mem, node), 0);
	}
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(self->out, gpu_rmem(gpu, HMM_RMEM_OUT));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* Every other page is on the device; the kernel moves those in between. */
TEST_F(numa, neighbours)
{
	struct gpu *gpu = &self->gpu;

	need_nodes();
	for (size_t i = 0; i < NPAGES; i += 2)
		gpu_move_out(gpu, word(self->mem, i), 1);
	for (int node = 0; node < 2; node++) {
		for (size_t i = 0; i < NPAGES; i += 2) {
			int ret = -1;

			for (int tries = 0; tries < 100 && ret != node; tries++)
				ret = sys_move_page(0, (void *)word(self->mem, i), node);
			EXPECT_EQ(node, ret);
		}
		for (size_t i = 1; i < NPAGES; i += 2)
			EXPECT_PLACE(gpu, word(self->mem, i), 1, DEVICE);
		EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000 + (unsigned int)node));
		EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x1001 + (unsigned int)node));
	}
	EXPECT_EQ(NPAGES / 2, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1002));
}

/* mbind() leaves them where they are; they come back to a node of the policy. */
TEST_F(numa, mbind_then_back)
{
	struct gpu *gpu = &self->gpu;

	need_nodes();
	for (int node = 0; node < 2; node++) {
		bind_to(self->mem, LENGTH, node, MOVE);
		EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
		/* By touches and by request. */
		EXPECT_TRUE(cpu_check(self->mem, NPAGES / 2, 0x1000));
		gpu_move_out(gpu, self->mem, NPAGES);
		for (size_t i = 0; i < NPAGES; i++)
			EXPECT_EQ(node, sys_node_of((void *)word(self->mem, i)));
		gpu_move_in(gpu, self->mem, NPAGES);
		EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	}
}

TEST_F(numa, migrate_pages)
{
	struct gpu *gpu = &self->gpu;
	unsigned long from, to;

	need_nodes();
	for (int node = 0; node < 2; node++) {
		from = 1ul << !node;
		to = 1ul << node;
		ASSERT_SYS(syscall(SYS_migrate_pages, 0, 64ul, &from, &to));
		EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	}
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* The kernel and the device pull at the same pages, and the device counts in one. */
TEST_F(numa, storm)
{
	const uint64_t total = sys_scale(20000);
	volatile uint64_t *count = word(self->mem, 3);
	struct gpu *gpu = &self->gpu;
	uint64_t moved_by_us = 0, moved_by_kernel = 0;
	struct dgpu_result result;
	struct gpu_moved moved;
	struct dgpu_job *job;
	int ret, node = 0;

	need_nodes();
	*count = 0;
	job = gpu_start(gpu, GPU_INCR, 4, (uintptr_t)count, total, 0, 0);
	do {
		gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
		moved_by_us += moved.moved;
		gpu_migrate(gpu, word(self->mem, 2), 4, DGPU_MIGRATE_TO_SYSTEM, &moved);
		for (size_t i = 0; i < 8; i++)
			moved_by_kernel += sys_move_page(0, (void *)word(self->mem, i), node) ==
					   node;
		node = !node;
		ret = dgpu_job_wait(job, 1, &result);
	} while (ret == -ETIME);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(job);
	test_log("%ju pages moved to the device, %ju by the kernel", (uintmax_t)moved_by_us,
		 (uintmax_t)moved_by_kernel);
	EXPECT_EQ(4 * total, *count);
	EXPECT_TRUE(cpu_check(word(self->mem, 4), NPAGES - 4, 0x1004));
}

/* ---- NUMA balancing ---- */

/*
 * The scanner takes rights away from page table entries, to see who touches; it comes
 * across entries of device pages as well.
 */
TEST_F(numa, balancing)
{
	static const char file[] = "/proc/sys/kernel/numa_balancing";
	struct gpu *gpu = &self->gpu;
	const uint64_t end = sys_now_ms() + 60000ull * harness_timeout_scale;
	struct gpu_moved moved;
	long long before;
	uint64_t round;
	char *mem;

	need_nodes();
	if (access(file, F_OK))
		SKIP("this kernel has no NUMA balancing");
	snprintf(self->old, sizeof(self->old), "%lld", sys_number(file));
	self->file = file;
	sys_write(file, "1");
	for (size_t i = 0; i < NSCAN; i++) {
		if (access(scan_files[i], W_OK))
			continue;
		snprintf(self->scan[i], sizeof(self->scan[i]), "%lld", sys_number(scan_files[i]));
		sys_write(scan_files[i], scan_fast[i]);
	}
	ASSERT_SYS(syscall(SYS_set_mempolicy, 0 /* MPOL_DEFAULT */, NULL, 0ul));
	/* Memory of its own, so that there is something to scan that is not small. */
	mem = sys_pages(8 * NPAGES);
	before = sys_number_of("/proc/vmstat", "numa_pte_updates ");
	for (round = 1; round <= sys_scale(400) && sys_now_ms() < end; round++) {
		cpu_fill(mem, 8 * NPAGES, round << 20);
		gpu_migrate(gpu, mem, 4 * NPAGES, 0, &moved);
		ASSERT_EQ(0, gpu_fill(gpu, mem, 8 * NPAGES, (round << 20) + 0x10000));
		ASSERT_TRUE(cpu_check(mem, 8 * NPAGES, (round << 20) + 0x10000));
		gpu_migrate(gpu, round % 2 ? mem : mem + 4 * LENGTH, 4 * NPAGES, 0, &moved);
		ASSERT_EQ(0, gpu_check(gpu, mem, 8 * NPAGES, (round << 20) + 0x10000));
	}
	test_log("%lld entries sampled in %ju rounds",
		 sys_number_of("/proc/vmstat", "numa_pte_updates ") - before, (uintmax_t)round - 1);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
}

/* ---- compaction ---- */

TEST_F(numa, compaction)
{
	struct gpu *gpu = &self->gpu;
	char *mem;

	if (access("/proc/sys/vm/compact_memory", F_OK))
		SKIP("this kernel has no compaction");
	mem = sys_pages(16 * NPAGES);
	for (uint64_t round = 1; round <= sys_scale(10); round++) {
		cpu_fill(mem, 16 * NPAGES, round << 20);
		/* Holes, and pages on the device between them. */
		for (size_t i = 0; i < 16; i += 2)
			gpu_move_in(gpu, mem + i * LENGTH, NPAGES);
		sys_write("/proc/sys/vm/compact_memory", "1");
		for (size_t i = 0; i < 16; i += 2)
			EXPECT_PLACE(gpu, mem + i * LENGTH, NPAGES, DEVICE);
		ASSERT_EQ(0, gpu_check(gpu, mem, 16 * NPAGES, round << 20));
		ASSERT_TRUE(cpu_check(mem, 16 * NPAGES, round << 20));
	}
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

static volatile int stop_compacting;

static void *compact(void *arg)
{
	(void)arg;
	while (!stop_compacting)
		sys_try_write("/proc/sys/vm/compact_memory", "1");
	return NULL;
}

/* Compaction isolates the pages that are about to move: they are busy then, not lost. */
TEST_F(numa, compaction_storm)
{
	const unsigned long rounds = sys_scale(100);
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	uint64_t in = 0, busy = 0;
	pthread_t thread;

	if (access("/proc/sys/vm/compact_memory", F_OK))
		SKIP("this kernel has no compaction");
	ASSERT_EQ(0, pthread_create(&thread, NULL, compact, NULL));
	for (uint64_t round = 1; round <= rounds; round++) {
		cpu_fill(self->mem, NPAGES, round << 20);
		gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
		in += moved.moved;
		busy += moved.count[HMM_PAGE_BUSY];
		if (!EXPECT_TRUE(!moved.ret || moved.ret == -EBUSY) ||
		    !EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, round << 20)) ||
		    !EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, (round << 20) + 0x10000)) ||
		    !EXPECT_TRUE(cpu_check(self->mem, NPAGES, (round << 20) + 0x10000)))
			break;
	}
	stop_compacting = 1;
	pthread_join(thread, NULL);
	test_log("%ju pages moved in, %ju busy", (uintmax_t)in, (uintmax_t)busy);
}

GPU_POOL_TEST

HARNESS_MAIN

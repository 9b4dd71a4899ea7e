// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that leave their place while the process does nothing: swap-out, page
 * replacement, migration, memory errors.
 *
 * Each test compares contents before and after: a device write that was not
 * reported as dirty before the page left is a lost write.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)

/* The working set of the tests with a limit: 16 MiB, less where that takes minutes. */
static size_t many(void)
{
	return harness_slow_kernel() ? 1024 : 4096;
}
#define MANY	many()

/* A limit of that many quarters of the working set. */
static void limit_to(const struct sys_memcg *cg, size_t quarters)
{
	sys_memcg_press(cg, quarters * MANY * PAGE_SIZE / 4);
}

FIXTURE(reclaim) {
	struct gpu gpu;
	struct sys_swap swap;
	struct sys_memcg cg;
	char *mem;	/* NPAGES that the device has written: 0x1000, ... */
};

FIXTURE_SETUP(reclaim)
{
	gpu_setup(&self->gpu);
	sys_swap_on(&self->swap);
	self->mem = sys_pages(NPAGES);
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 0x1000));
	ASSERT_EQ(NPAGES, gpu_ptes(&self->gpu, self->mem, NPAGES,
				   DGPU_PTE_VALID | DGPU_PTE_DIRTY));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(reclaim)
{
	gpu_teardown(&self->gpu);
	if (*self->cg.path) {
		sys_memcg_leave(&self->cg);
		sys_memcg_destroy(&self->cg);
	}
	sys_swap_off(&self->swap);
}

static size_t swapped(const char *mem, size_t npages)
{
	size_t nr = 0;

	for (size_t i = 0; i < npages; i++)
		nr += !!(sys_pagemap(mem + i * PAGE_SIZE) & SYS_PM_SWAP);
	return nr;
}

/*
 * Somebody may hold a page for a moment, and what came back from swap before it had been written
 * there stays until it has: ask until all are out.
 */
static void page_out(char *mem, size_t npages)
{
	const uint64_t end = sys_patience_ms();

	while (swapped(mem, npages) < npages && sys_now_ms() < end) {
		sys_madvise_everywhere(mem, npages * PAGE_SIZE, MADV_PAGEOUT);
		sys_sleep_ms(1);
	}
	ASSERT_EQ(npages, swapped(mem, npages));
}

TEST_F(reclaim, madv_pageout)
{
	struct gpu *gpu = &self->gpu;

	page_out(self->mem, NPAGES);
	EXPECT_EVENT(gpu, self->mem, LENGTH, RECLAIM, DROP, R(RECLAIM));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	/* The device brings them back by its faults, with what it wrote. */
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_GE(gpu->result.faults, 1);
	EXPECT_GE(dgpu_stat_mirror(gpu->dev, HMM_STAT_CPU_FAULTS), NPAGES);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/*
 * A page that came back from swap and is only read stays in the swap cache, clean:
 * the next swap-out need not write it.  Then the device writes.
 */
TEST_F(reclaim, write_after_swap_in)
{
	struct gpu *gpu = &self->gpu;

	for (uint64_t round = 1; round <= sys_scale(20); round++) {
		page_out(self->mem, NPAGES);
		ASSERT_EQ(0, gpu_touch(gpu, self->mem, NPAGES));
		ASSERT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, round << 16));
		page_out(self->mem, NPAGES);
		if (!EXPECT_TRUE(cpu_check(self->mem, NPAGES, round << 16)))
			break;
		if (!EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, round << 16)))
			break;
	}
}

/* Asked for by another process: not current->mm. */
TEST_F(reclaim, process_madvise)
{
	const pid_t parent = getpid();
	struct gpu *gpu = &self->gpu;
	int status;
	pid_t pid;

	pid = ASSERT_SYS(vfork());
	if (!pid) {
		const int pidfd = (int)syscall(SYS_pidfd_open, parent, 0);
		struct { void *base; size_t length; } vec = { self->mem, LENGTH };

		/* Fresh pages sit in a batch of the CPU that made them: be on each. */
		for (int tries = 0; tries < 20; tries++) {
			cpu_set_t one;

			CPU_ZERO(&one);
			CPU_SET(tries % (int)sysconf(_SC_NPROCESSORS_ONLN), &one);
			sched_setaffinity(0, sizeof(one), &one);
			if (syscall(SYS_process_madvise, pidfd, &vec, 1, MADV_PAGEOUT, 0) < 0)
				_exit(errno);
		}
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WEXITSTATUS(status) == ENOSYS)
		SKIP("no process_madvise()");
	ASSERT_EQ(0, status);
	EXPECT_EVENT(gpu, self->mem, LENGTH, RECLAIM, DROP, R(RECLAIM));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
}

/* Pressure in a control group: the process' own allocations push its pages out. */
TEST_F(reclaim, memcg_pressure)
{
	struct gpu *gpu = &self->gpu;
	char *mem, *hog;
	size_t out;

	sys_memcg_create(&self->cg, "pressure");
	limit_to(&self->cg, 8);
	sys_memcg_enter(&self->cg);
	mem = sys_pages(MANY);
	ASSERT_EQ(0, gpu_fill(gpu, mem, MANY, 0x100000));
	gpu_events_start(gpu);
	hog = sys_pages(2 * MANY);
	for (int round = 0; round < 2; round++)
		cpu_fill(hog, 2 * MANY, 1);
	out = swapped(mem, MANY);
	test_log("%zu of %zu pages were swapped out", out, MANY);
	ASSERT_GT(out, 0);
	EXPECT_EVENT(gpu, mem, MANY * PAGE_SIZE, RECLAIM, DROP, R(RECLAIM));
	EXPECT_EQ(0, gpu_check(gpu, mem, MANY, 0x100000));
	EXPECT_TRUE(cpu_check(mem, MANY, 0x100000));
	EXPECT_TRUE(cpu_check(hog, 2 * MANY, 1));
}

/*
 * Thrash: the device's working set is larger than the group may have.  Everything
 * is written by the device, swapped out, and read back, several times.
 */
TEST_F(reclaim, memcg_thrash)
{
	struct gpu *gpu = &self->gpu;
	const size_t npages = 2 * MANY;
	uint64_t end, round = 0;
	char *mem;

	sys_memcg_create(&self->cg, "thrash");
	limit_to(&self->cg, 5);
	sys_memcg_enter(&self->cg);
	mem = sys_pages(npages);
	/* It takes as long as the disk does. */
	end = sys_patience_ms();
	while (round < 2 || (round < sys_scale(6) && sys_now_ms() < end)) {
		round++;
		ASSERT_EQ(0, gpu_fill(gpu, mem, npages, round << 32));
		EXPECT_EQ(0, gpu_check(gpu, mem, npages, round << 32));
	}
	test_log("%ju rounds", (uintmax_t)round);
	EXPECT_TRUE(cpu_check(mem, npages, round << 32));
}

/*
 * MADV_FREE makes pages clean: reclaim may drop them instead of swapping them out.
 * A device write that follows must make them count again.
 *
 *	CPU				device
 *	madvise(MADV_FREE)
 *	  folio: clean, not swap backed
 *	  event CLEAR			drops its entry
 *					write fault: entry is writable again
 *					writes; entry is dirty, the folio is not
 *	reclaim: folio is clean
 *	  event RECLAIM			must report the page dirty here
 *	  folio is dirty: keep it
 */
TEST_F(reclaim, madv_free_gpu_write)
{
	struct gpu *gpu = &self->gpu;
	char *mem, *hog;

	sys_memcg_create(&self->cg, "free");
	limit_to(&self->cg, 6);
	sys_memcg_enter(&self->cg);
	mem = sys_pages(MANY / 4);
	hog = sys_pages(2 * MANY);
	for (uint64_t round = 1; round <= sys_scale(4); round++) {
		cpu_fill(mem, MANY / 4, 0xdead0000);
		ASSERT_SYS(madvise(mem, MANY / 4 * PAGE_SIZE, MADV_FREE));
		/* Every other page is written by the device. */
		ASSERT_EQ(0, gpu_run(gpu, GPU_FILL, 4, (uintptr_t)mem, MANY / 8,
				     2 * PAGE_SIZE, round << 32));
		gpu_events_start(gpu);
		cpu_fill(hog, 2 * MANY, round);
		for (size_t i = 0; i < MANY / 8; i++) {
			const uint64_t seen = *(volatile uint64_t *)(mem + 2 * i * PAGE_SIZE);

			if (!EXPECT_EQ((round << 32) + i, seen))
				return;
		}
		/* Of the others some went: that shows that there was pressure. */
		size_t gone = 0;

		for (size_t i = 0; i < MANY / 8; i++)
			gone += !*(volatile uint64_t *)(mem + (2 * i + 1) * PAGE_SIZE);
		test_log("%zu of %zu freed pages were dropped", gone, MANY / 8);
		EXPECT_GT(gone, 0);
	}
}

/* Locked pages stay, on both sides. */
TEST_F(reclaim, mlock)
{
	struct gpu *gpu = &self->gpu;
	char *hog;

	sys_memcg_create(&self->cg, "mlock");
	limit_to(&self->cg, 6);
	sys_memcg_enter(&self->cg);
	ASSERT_SYS(mlock(self->mem, LENGTH));
	ASSERT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	hog = sys_pages(2 * MANY);
	cpu_fill(hog, 2 * MANY, 1);
	EXPECT_EQ(0, swapped(self->mem, NPAGES));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(-EINVAL, madvise(self->mem, LENGTH, MADV_PAGEOUT) ? -errno : 0);
}

static void fill_node(void *mem, size_t length, int node)
{
	unsigned long mask = 1ul << node;

	syscall(SYS_mbind, mem, length, 2 /* MPOL_BIND */, &mask, 64ul, 0);
	ASSERT_SYS(madvise(mem, length, MADV_POPULATE_WRITE));
}

/*
 * kswapd: a node has less free memory than it wants.  How much it wants is raised, so
 * that most of a node filled is enough.
 */
TEST_F_TIMEOUT(reclaim, kswapd, 300)
{
	static const char factor[] = "/proc/sys/vm/watermark_scale_factor";
	const long long old = sys_number(factor);
	struct gpu *gpu = &self->gpu;
	char text[100], path[100];
	long long total;
	uint64_t end;
	int node;

	if (harness_slow_kernel())
		SKIP("filling most of a node takes too long on this kernel");
	node = sys_node_of(self->mem);
	ASSERT_GE(node, 0);
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
	snprintf(text, sizeof(text), "Node %d MemTotal", node);
	total = sys_number_of(path, text);
	snprintf(text, sizeof(text), "Node %d MemFree", node);
	/* Huge pages fill fast, but do not wake kswapd; small ones do. */
	while (sys_number_of(path, text) > total / 4)
		fill_node(sys_huge_area(16), 16 * HUGE_SIZE, node);
	sys_write(factor, "3000");
	end = sys_now_ms() + 120000;
	while (!gpu_events_count(gpu, self->mem, LENGTH, HMM_EVENT_RECLAIM) &&
	       sys_now_ms() < end) {
		fill_node(sys_pages(64), 64 * PAGE_SIZE, node);
		sys_sleep_ms(10);
	}
	snprintf(text, sizeof(text), "%lld", old);
	sys_write(factor, text);
	EXPECT_EVENT(gpu, self->mem, LENGTH, RECLAIM, DROP, R(RECLAIM));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* ---- to other system memory ---- */

FIXTURE(migrate) {
	struct gpu gpu;
	char *mem;
};

FIXTURE_SETUP(migrate)
{
	gpu_setup(&self->gpu);
	self->mem = sys_pages(MANY);
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, MANY, 0x1000));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(migrate)
{
	gpu_teardown(&self->gpu);
}

TEST_F(migrate, compaction)
{
	struct gpu *gpu = &self->gpu;
	const size_t length = MANY * PAGE_SIZE;
	uint64_t end;

	if (access("/proc/sys/vm/compact_memory", F_OK))
		SKIP("this kernel has no compaction");
	/* Holes for the compactor to move things into, and out of. */
	char *chaff = sys_pages(MANY);

	cpu_fill(chaff, MANY, 1);
	for (size_t i = 0; i < MANY; i += 2)
		madvise(chaff + i * PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED);
	end = sys_now_ms() + 15000;
	do {
		ASSERT_EQ(0, gpu_fill(gpu, self->mem, MANY, 0x1000));
		sys_write("/proc/sys/vm/compact_memory", "1");
		/* Punch more holes: every second page of our own goes and returns. */
		for (size_t i = 0; i < MANY; i += 2)
			madvise(chaff + i * PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED);
		if (gpu_events_count(gpu, self->mem, length, HMM_EVENT_MIGRATE_SYS))
			break;
		munmap(self->mem, length);
		self->mem = sys_pages(MANY);
		gpu_events_start(gpu);
		cpu_fill(chaff, MANY, 2);
	} while (sys_now_ms() < end);
	if (!gpu_events_count(gpu, self->mem, length, HMM_EVENT_MIGRATE_SYS))
		SKIP("compaction found nothing to move");
	EXPECT_EVENT(gpu, self->mem, length, MIGRATE_SYS, DROP, R(MIGRATION));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, MANY, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, MANY, 0x1000));
}

TEST_F(migrate, move_pages)
{
	struct gpu *gpu = &self->gpu;
	int from, to, ret;

	if (sys_nodes() < 2)
		SKIP("one NUMA node only");
	from = sys_node_of(self->mem);
	ASSERT_GE(from, 0);
	to = from ? 0 : 1;
	for (int tries = 0; tries < 50; tries++) {
		ret = sys_move_page(0, self->mem, to);
		if (ret == to)
			break;
		sys_sleep_ms(10);
	}
	ASSERT_EQ(to, ret);
	EXPECT_EVENT(gpu, self->mem, PAGE_SIZE, MIGRATE_SYS, DROP, R(MIGRATION));
	EXPECT_FALSE(gpu_pte(gpu, self->mem) & DGPU_PTE_VALID);
	EXPECT_EQ(0x1000, gpu_see(gpu, self->mem));
	EXPECT_EQ(0, gpu_write(gpu, self->mem, 0x2000));
	EXPECT_EQ(0x2000, *(volatile uint64_t *)self->mem);
	EXPECT_EQ(to, sys_node_of(self->mem));
}

/* The kernel moves the page to and fro while the device increments it. */
TEST_F(migrate, move_while_running)
{
	const unsigned long rounds = sys_scale(200);
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *word = (volatile uint64_t *)self->mem;
	uint64_t end = sys_now_ms() + 20000, moved = 0, total = 20000;
	struct dgpu_result result;
	struct dgpu_job *job;
	int ret;

	if (sys_nodes() < 2)
		SKIP("one NUMA node only");
	total = sys_scale(total);
	*word = 0;
	job = gpu_start(gpu, GPU_INCR, 4, (uintptr_t)word, total, 0, 0);
	for (unsigned long i = 0; i < rounds && sys_now_ms() < end; i++) {
		ret = sys_move_page(0, self->mem, (int)(i & 1));
		moved += ret == (int)(i & 1);
		sched_yield();
	}
	test_log("moved %ju times", (uintmax_t)moved);
	EXPECT_EQ(0, dgpu_job_wait(job, 60000, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	EXPECT_EQ(4 * total, *word);
	dgpu_job_free(job);
}

TEST_F(migrate, mbind)
{
	struct gpu *gpu = &self->gpu;
	unsigned long mask;

	if (sys_nodes() < 2)
		SKIP("one NUMA node only");
	for (int node = 0; node < 2; node++) {
		mask = 1ul << node;
		ASSERT_SYS(syscall(SYS_mbind, self->mem, MANY * PAGE_SIZE, 2 /* MPOL_BIND */,
				   &mask, 64ul, 2 /* MPOL_MF_MOVE */));
		ASSERT_EQ(0, gpu_touch(gpu, self->mem, MANY));
	}
	EXPECT_EVENT(gpu, self->mem, MANY * PAGE_SIZE, MIGRATE_SYS, DROP, R(MIGRATION));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, MANY, 0x1000));
}

TEST_F(migrate, migrate_pages)
{
	struct gpu *gpu = &self->gpu;
	unsigned long from, to;

	if (sys_nodes() < 2)
		SKIP("one NUMA node only");
	for (int node = 0; node < 2; node++) {
		from = 1ul << !node;
		to = 1ul << node;
		ASSERT_SYS(syscall(SYS_migrate_pages, 0, 64ul, &from, &to));
		ASSERT_EQ(0, gpu_touch(gpu, self->mem, MANY));
	}
	EXPECT_EVENT(gpu, self->mem, MANY * PAGE_SIZE, MIGRATE_SYS, DROP, R(MIGRATION));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, MANY, 0x1000));
}

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

TEST_F(migrate, soft_offline)
{
	struct gpu *gpu = &self->gpu;
	uint64_t before = sys_pagemap(self->mem) & SYS_PM_PFN;
	char text[32];

	if (madvise(self->mem, PAGE_SIZE, MADV_SOFT_OFFLINE))
		SKIP("no MADV_SOFT_OFFLINE: %s", strerror(errno));
	EXPECT_EVENT(gpu, self->mem, PAGE_SIZE, MIGRATE_SYS, DROP, R(MIGRATION));
	EXPECT_NE(before, sys_pagemap(self->mem) & SYS_PM_PFN);
	EXPECT_EQ(0x1000, gpu_see(gpu, self->mem));
	/* Give the frame back where the kernel can do that. */
	snprintf(text, sizeof(text), "%#jx", (uintmax_t)before);
	sys_try_write("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

/* ---- memory errors ---- */

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

static volatile sig_atomic_t poisoned;

static void on_sigbus(int sig)
{
	poisoned = sig;
}

TEST_F(migrate, hwpoison)
{
	const struct sigaction action = { .sa_handler = on_sigbus };
	struct gpu *gpu = &self->gpu;
	char *mem = self->mem + 8 * PAGE_SIZE;
	uint64_t value;
	int ret;

	/* Whoever holds dirty data in the page is told, at once. */
	ASSERT_SYS(sigaction(SIGBUS, &action, NULL));
	if (madvise(mem, PAGE_SIZE, MADV_HWPOISON))
		SKIP("no MADV_HWPOISON: %s", strerror(errno));
	EXPECT_EVENT(gpu, mem, PAGE_SIZE, CLEAR, DROP, R(HWPOISON));
	EXPECT_FALSE(gpu_pte(gpu, mem) & DGPU_PTE_VALID);
	/* The device must not get at the bad memory: an error, not data. */
	ret = gpu_read(gpu, mem, &value);
	EXPECT_TRUE(ret == -EFAULT || ret == -EHWPOISON);
	EXPECT_EQ((uintptr_t)mem, gpu->result.fault_addr);
	/* Its neighbours are well. */
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 8, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, mem + PAGE_SIZE, 8, 0x1009));
	/* A fresh page in its place works again. */
	ASSERT_EQ(mem, mmap(mem, PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(0, gpu_write(gpu, mem, 0x5000));
	EXPECT_EQ(0x5000, *(volatile uint64_t *)mem);
}

HARNESS_MAIN

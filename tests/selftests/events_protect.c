// SPDX-License-Identifier: GPL-2.0
/*
 * Invalidations that take rights away: mprotect, protection keys, userfaultfd
 * write-protection, PAGEMAP_SCAN, soft-dirty, NUMA sampling.
 *
 * The point of these events: unless a mapping became unreadable the device goes on
 * reading through the translations that it has.  So the tests insist that entries
 * stay valid, that their write bit is gone, and that reading takes no device fault.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define RW	(DGPU_PTE_VALID | DGPU_PTE_WRITE)

/*
 * What arrives as PROTECTION_VMA without the mmap_lock held for writing; of these
 * userfaultfd can be ruled out where it is not registered.
 */
#define SAMPLED	(R(NUMA_HINT) | R(PAGEMAP_SCAN))

#ifndef PAGEMAP_SCAN
#define PAGE_IS_WRITTEN		(1 << 1)
#define PM_SCAN_WP_MATCHING	(1 << 0)
struct pm_scan_arg {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct page_region {
	__u64 start, end, categories;
};
#define PAGEMAP_SCAN		_IOWR('f', 16, struct pm_scan_arg)
#endif

FIXTURE(protect) {
	struct gpu gpu;
	char *mem;	/* NPAGES that the device has written: 0x1000, ... */
};

FIXTURE_SETUP(protect)
{
	gpu_setup(&self->gpu);
	self->mem = sys_pages(NPAGES);
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 0x1000));
	ASSERT_EQ(NPAGES, gpu_ptes(&self->gpu, self->mem, NPAGES, RW | DGPU_PTE_DIRTY));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(protect)
{
	gpu_teardown(&self->gpu);
}

/* All of the range is mapped for reading, none for writing, and reads do not fault. */
static void expect_reading_goes_on(struct gpu *gpu, char *mem, size_t npages, uint64_t value)
{
	EXPECT_EQ(npages, gpu_ptes(gpu, mem, npages, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_ptes(gpu, mem, npages, DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_check(gpu, mem, npages, value));
	EXPECT_EQ(0, gpu->result.faults);
}

TEST_F(protect, mprotect_read_only)
{
	struct gpu *gpu = &self->gpu;
	uint64_t dirty = dgpu_stat_mirror(gpu->dev, HMM_STAT_DIRTY);

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ));
	EXPECT_EVENT(gpu, self->mem, LENGTH, PROTECT, WRPROTECT, R(MPROTECT));
	expect_reading_goes_on(gpu, self->mem, NPAGES, 0x1000);
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_DIRTY));
	EXPECT_GE(dgpu_stat_mirror(gpu->dev, HMM_STAT_DIRTY), dirty + NPAGES);

	EXPECT_EQ(-EACCES, gpu_write(gpu, self->mem, 1));
	EXPECT_EQ(DGPU_ACCESS_WRITE, gpu->result.access);
	EXPECT_EQ((uintptr_t)self->mem, gpu->result.fault_addr);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));

	/* And back: the next write faults once, and works. */
	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, RW));
}

TEST_F(protect, mprotect_none)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_NONE));
	EXPECT_EVENT(gpu, self->mem, LENGTH, PROTECT, DROP, R(MPROTECT));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(-EACCES, gpu_read(gpu, self->mem, &value));
	EXPECT_EQ(-EACCES, gpu_write(gpu, self->mem, 1));

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
}

TEST_F(protect, mprotect_part)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 4 * PAGE_SIZE;

	ASSERT_SYS(mprotect(part, 4 * PAGE_SIZE, PROT_READ));
	EXPECT_EVENT(gpu, part, 4 * PAGE_SIZE, PROTECT, WRPROTECT, R(MPROTECT));
	EXPECT_EQ(4, gpu_ptes(gpu, self->mem, 4, RW));
	EXPECT_EQ(8, gpu_ptes(gpu, part + 4 * PAGE_SIZE, 8, RW));
	expect_reading_goes_on(gpu, part, 4, 0x1004);
	EXPECT_EQ(0, gpu_write(gpu, self->mem, 5));
	EXPECT_EQ(0, gpu->result.faults);
	EXPECT_EQ(-EACCES, gpu_write(gpu, part, 5));
}

/* A program that is running when the rights go: it reads on, undisturbed. */
TEST_F(protect, mprotect_while_running)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *shared;
	struct dgpu_result result;
	struct dgpu_job *job;
	uint64_t before;

	shared = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	job = gpu_start(gpu, GPU_SPIN, 1, (uintptr_t)&shared[0], (uintptr_t)&shared[1],
			(uintptr_t)self->mem, 0);
	while (!shared[1])
		sys_sleep_ms(1);
	for (int i = 0; i < 20; i++) {
		ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ));
		before = shared[1];
		while (shared[1] < before + 2)
			sys_sleep_ms(1);
		ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ | PROT_WRITE));
	}
	shared[0] = 1;
	EXPECT_EQ(0, dgpu_job_wait(job, 60000, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	/* One for each of the three pages; fault-around does not lose them either. */
	EXPECT_LE(result.faults, 4);
	dgpu_job_free(job);
}

TEST_F(protect, pkey_mprotect)
{
	struct gpu *gpu = &self->gpu;

	/* Key -1 is plain mprotect() by the other system call; no hardware needed. */
	if (syscall(SYS_pkey_mprotect, self->mem, LENGTH, PROT_READ, -1))
		SKIP("no pkey_mprotect: %s", strerror(errno));
	EXPECT_EVENT(gpu, self->mem, LENGTH, PROTECT, WRPROTECT, R(MPROTECT));
	expect_reading_goes_on(gpu, self->mem, NPAGES, 0x1000);
}

/* Memory that was read-only from the start: nothing to take away, nothing breaks. */
TEST_F(protect, read_only_to_none)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ));
	ASSERT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	gpu_events_start(gpu);
	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_NONE));
	EXPECT_EVENT(gpu, self->mem, LENGTH, PROTECT, DROP, R(MPROTECT));
	EXPECT_EQ(-EACCES, gpu_read(gpu, self->mem, &value));
}

/* ---- userfaultfd write-protection ---- */

struct wp_handler {
	int uffd;
	volatile bool got;
	volatile uint64_t addr, flags;
};

/* Serve one write-protection fault. */
static void *wp_serve(void *arg)
{
	struct wp_handler *handler = arg;
	struct uffd_msg msg;

	if (read(handler->uffd, &msg, sizeof(msg)) != sizeof(msg))
		return NULL;
	handler->addr = msg.arg.pagefault.address;
	handler->flags = msg.arg.pagefault.flags;
	handler->got = true;
	sys_uffd_protect(handler->uffd, (void *)(handler->addr & ~(PAGE_SIZE - 1)), PAGE_SIZE,
			 false);
	return NULL;
}

TEST_F(protect, uffd_wp)
{
	struct gpu *gpu = &self->gpu;
	struct wp_handler handler = { 0 };
	pthread_t thread;

	handler.uffd = sys_uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	sys_uffd_register(handler.uffd, self->mem, LENGTH, UFFDIO_REGISTER_MODE_WP);
	gpu_events_start(gpu);
	sys_uffd_protect(handler.uffd, self->mem, LENGTH, true);
	EXPECT_EVENT(gpu, self->mem, LENGTH, PROTECT, WRPROTECT, SAMPLED | R(UFFD_WP));
	expect_reading_goes_on(gpu, self->mem, NPAGES, 0x1000);

	/* A device write is a write: the handler gets it, and then it goes through. */
	ASSERT_EQ(0, pthread_create(&thread, NULL, wp_serve, &handler));
	EXPECT_EQ(0, gpu_write(gpu, self->mem + 3 * PAGE_SIZE, 0x3000));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_TRUE(handler.got);
	EXPECT_EQ((uintptr_t)self->mem + 3 * PAGE_SIZE, handler.addr & ~(PAGE_SIZE - 1));
	EXPECT_TRUE(handler.flags & UFFD_PAGEFAULT_FLAG_WP);
	EXPECT_EQ(0x3000, *(volatile uint64_t *)(self->mem + 3 * PAGE_SIZE));
	EXPECT_EQ(1, gpu_ptes(gpu, self->mem, NPAGES, RW));
	close(handler.uffd);
}

/* Unregistering takes the protection back by PROTECT under the write lock. */
TEST_F(protect, uffd_unregister)
{
	struct gpu *gpu = &self->gpu;
	struct uffdio_range range = { (uintptr_t)self->mem, LENGTH };
	int uffd;

	uffd = sys_uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	sys_uffd_register(uffd, self->mem, LENGTH, UFFDIO_REGISTER_MODE_WP);
	sys_uffd_protect(uffd, self->mem, LENGTH, true);
	ASSERT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	gpu_events_start(gpu);
	ASSERT_SYS(ioctl(uffd, UFFDIO_UNREGISTER, &range));
	EXPECT_GE(gpu_events_count(gpu, self->mem, LENGTH, HMM_EVENT_PROTECT), 1);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x4000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x4000));
	close(uffd);
}

TEST_F(protect, pagemap_scan)
{
	struct gpu *gpu = &self->gpu;
	struct page_region regions[NPAGES];
	struct pm_scan_arg arg;
	int uffd, pagemap, nr;

	/* Asynchronous write protection: faults are resolved by the kernel itself. */
	uffd = sys_uffd_open(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
	sys_uffd_register(uffd, self->mem, LENGTH, UFFDIO_REGISTER_MODE_WP);
	pagemap = ASSERT_SYS(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	arg = (struct pm_scan_arg) {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING,
		.start = (uintptr_t)self->mem,
		.end = (uintptr_t)self->mem + LENGTH,
		.vec = (uintptr_t)regions,
		.vec_len = NPAGES,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	gpu_events_start(gpu);
	nr = ioctl(pagemap, PAGEMAP_SCAN, &arg);
	if (nr < 0)
		SKIP("no PAGEMAP_SCAN: %s", strerror(errno));
	EXPECT_EVENT(gpu, self->mem, LENGTH, PROTECT, WRPROTECT, SAMPLED | R(UFFD_WP));
	expect_reading_goes_on(gpu, self->mem, NPAGES, 0x1000);

	/* Only what the device writes from here on counts as written. */
	EXPECT_EQ(0, gpu_write(gpu, self->mem + 5 * PAGE_SIZE, 0x5000));
	arg.flags = 0;
	nr = ASSERT_SYS(ioctl(pagemap, PAGEMAP_SCAN, &arg));
	if (EXPECT_EQ(1, nr)) {
		EXPECT_EQ((uintptr_t)self->mem + 5 * PAGE_SIZE, regions[0].start);
		EXPECT_EQ((uintptr_t)self->mem + 6 * PAGE_SIZE, regions[0].end);
	}
	close(pagemap);
	close(uffd);
}

/* ---- soft-dirty ---- */

TEST_F(protect, soft_dirty)
{
	struct gpu *gpu = &self->gpu;

	/* Without the option the file accepts the write, and the bit is never set. */
	if (!(sys_pagemap(self->mem) & SYS_PM_SOFT_DIRTY))
		SKIP("this kernel has no soft-dirty bits");
	ASSERT_EQ(0, sys_try_write("/proc/self/clear_refs", "4"));
	EXPECT_EVENT(gpu, self->mem, LENGTH, SOFT_DIRTY, WRPROTECT, R(SOFT_DIRTY));
	expect_reading_goes_on(gpu, self->mem, NPAGES, 0x1000);
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_FALSE(sys_pagemap(self->mem + i * PAGE_SIZE) & SYS_PM_SOFT_DIRTY);

	/* The device writes one page: that one is soft-dirty, no other. */
	EXPECT_EQ(0, gpu_write(gpu, self->mem + 7 * PAGE_SIZE, 0x6000));
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(i == 7, !!(sys_pagemap(self->mem + i * PAGE_SIZE) &
				     SYS_PM_SOFT_DIRTY));
}

/* ---- NUMA balancing ---- */

/* A number that sysctl has; back to what it was at the end. */
static void set_number(const char *path, long long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", value);
	sys_write(path, text);
}

#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define SCHED		"/sys/kernel/debug/sched/numa_balancing/"

FIXTURE(numa) {
	struct gpu gpu;
	char *mem;
	long long balancing, delay, min, size;
	bool changed;
};

#define NUMA_PAGES	1024ul

FIXTURE_SETUP(numa)
{
	if (sys_nodes() < 2)
		SKIP("one NUMA node only");
	if (access(BALANCING, F_OK))
		SKIP("this kernel has no NUMA balancing");
	gpu_setup(&self->gpu);
	/* Here it is wanted. */
	ASSERT_SYS(syscall(SYS_set_mempolicy, 0 /* MPOL_DEFAULT */, NULL, 0ul));
	self->balancing = sys_number(BALANCING);
	self->delay = sys_number(SCHED "scan_delay_ms");
	self->min = sys_number(SCHED "scan_period_min_ms");
	self->size = sys_number(SCHED "scan_size_mb");
	self->changed = true;
	/* Sample as fast as it goes. */
	set_number(SCHED "scan_delay_ms", 1);
	set_number(SCHED "scan_period_min_ms", 10);
	set_number(BALANCING, 1);
	self->mem = sys_pages(NUMA_PAGES);
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NUMA_PAGES, 0x1000));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(numa)
{
	if (self->changed) {
		set_number(BALANCING, self->balancing);
		set_number(SCHED "scan_delay_ms", self->delay);
		set_number(SCHED "scan_period_min_ms", self->min);
	}
	gpu_teardown(&self->gpu);
}

TEST_F(numa, hinting)
{
	const uint64_t end = sys_now_ms() + 30000 * harness_timeout_scale;
	struct gpu *gpu = &self->gpu;
	volatile uint64_t burn = 0;

	/* The scan runs on the scheduler's tick, in a task that uses its CPU. */
	while (!gpu_events_count(gpu, self->mem, NUMA_PAGES * PAGE_SIZE, HMM_EVENT_PROTECT)) {
		if (sys_now_ms() > end)
			break;
		for (int i = 0; i < 1000000; i++)
			burn += (uint64_t)i;
	}
	EXPECT_EVENT(gpu, self->mem, NUMA_PAGES * PAGE_SIZE, PROTECT, WRPROTECT, SAMPLED);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NUMA_PAGES, 0x1000));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NUMA_PAGES, 0x9000));
	EXPECT_TRUE(cpu_check(self->mem, NUMA_PAGES, 0x9000));
}

HARNESS_MAIN

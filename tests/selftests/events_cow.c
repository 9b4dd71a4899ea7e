// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that are replaced by copies, or merged with equal ones: fork and copy on
 * write in all its forms, KSM, breakpoints set by uprobes.
 *
 * After fork() parent and child share pages until one of them writes.  A device
 * that kept a writable translation would write into the child's memory; one that
 * kept a read translation past the parent's copy would go on reading what is now
 * the child's page.  Each test would see that in the values.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include "cow.h"
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define RW	(DGPU_PTE_VALID | DGPU_PTE_WRITE)

FIXTURE(cow) {
	struct gpu gpu;
	char *mem;		/* NPAGES that the device has written: 0x1000, ... */
	volatile uint64_t *shared;	/* words that parent and child share */
};

FIXTURE_SETUP(cow)
{
	gpu_setup(&self->gpu);
	self->mem = sys_pages(NPAGES);
	self->shared = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 0x1000));
	ASSERT_EQ(NPAGES, gpu_ptes(&self->gpu, self->mem, NPAGES, RW));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(cow)
{
	gpu_teardown(&self->gpu);
}

TEST_F(cow, fork_event)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;
	struct sys_child child;

	cow_child_start(&child, &job);
	EXPECT_EVENT(gpu, self->mem, LENGTH, WRPROTECT, WRPROTECT, R(FORK));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu->result.faults);
	kill(child.pid, SIGKILL);
	sys_child_end(&child);
}

/* The parent's CPU writes: the device reads the copy, the child the old page. */
TEST_F(cow, fork_cpu_write)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;
	struct sys_child child;

	cow_child_start(&child, &job);
	ASSERT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	gpu_events_start(gpu);
	cpu_fill(self->mem, NPAGES, 0x2000);
	EXPECT_EVENT_IN_VMA(gpu, self->mem, LENGTH, COW, DROP, R(COW),
			    R(DONTNEED) | R(MADV_FREE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x2000));

	cow_child_reads(&child, &job, 0x1000);
	cow_child_writes(&child);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x2000));
	cow_child_ends(&child);
}

/* The parent's device writes: it breaks the sharing itself, by its fault. */
TEST_F(cow, fork_gpu_write)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;
	struct sys_child child;

	cow_child_start(&child, &job);
	gpu_events_start(gpu);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x3000));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, RW));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x3000));
	/* The device's own fault replaces the page that the device was reading. */
	EXPECT_GE(gpu_events_count(gpu, self->mem, LENGTH, HMM_EVENT_COW), 1);

	cow_child_reads(&child, &job, 0x1000);
	cow_child_writes(&child);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x3000));
	cow_child_ends(&child);
}

/* The child writes first, then the parent's device: nobody sees the other's. */
TEST_F(cow, child_writes_first)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;
	struct sys_child child;

	cow_child_start(&child, &job);
	cow_child_reads(&child, &job, 0x1000);
	cow_child_writes(&child);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x4000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x4000));
	cow_child_ends(&child);
}

/*
 * Fork while a program increments: every increment lands in the parent's page,
 * none in a child's, whoever copies the page when.
 */
TEST_F(cow, fork_storm)
{
	const unsigned long rounds = sys_scale(100);
	struct gpu *gpu = &self->gpu;
	struct dgpu_result result;
	struct dgpu_job *job;
	uint64_t cpu = 0;

	*word(self->mem, 0) = 0;
	self->shared[0] = 0;
	job = gpu_start(gpu, GPU_SPIN, 4, (uintptr_t)&self->shared[0],
			(uintptr_t)word(self->mem, 0), (uintptr_t)word(self->mem, 1), 0);
	for (unsigned long i = 0; i < rounds; i++) {
		const pid_t pid = ASSERT_SYS(fork());

		if (!pid) {
			const uint64_t before = *word(self->mem, 0);

			/* Nothing may move in the child's copy. */
			for (int spin = 0; spin < 200; spin++) {
				if (*word(self->mem, 0) != before)
					_exit(1);
				sched_yield();
			}
			*word(self->mem, 0) = 1ull << 60;
			_exit(0);
		}
		__atomic_fetch_add(word(self->mem, 0), 1ull << 32, __ATOMIC_SEQ_CST);
		cpu++;
		int status;

		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
	self->shared[0] = 1;
	ASSERT_EQ(0, dgpu_job_wait(job, 120000, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(job);
	EXPECT_EQ(cpu, *word(self->mem, 0) >> 32);
	/* The loop's five instructions; the last round of a thread has no branch back. */
	test_log("%ju increments by the device during %ju forks",
		 (uintmax_t)(*word(self->mem, 0) & 0xffffffff), (uintmax_t)cpu);
	EXPECT_GE(*word(self->mem, 0) & 0xffffffff, 4);
	/* Of n rounds in t threads: n * 4 + t * 2 instructions (see GPU_SPIN). */
	EXPECT_EQ(result.insns, (*word(self->mem, 0) & 0xffffffff) * 4 + 4 * 2);
}

TEST_F(cow, private_file)
{
	struct gpu *gpu = &self->gpu;
	char *mem, *text;
	int fd;

	fd = ASSERT_SYS(memfd_create("private", 0));
	ASSERT_SYS(ftruncate(fd, (off_t)LENGTH));
	text = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	cpu_fill(text, NPAGES, 0x5000);
	mem = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	ASSERT_EQ(0, gpu_check(gpu, mem, NPAGES, 0x5000));
	EXPECT_EQ(0, gpu_ptes(gpu, mem, NPAGES, DGPU_PTE_WRITE));
	/* Still the file's pages: a write to the file shows, on the device too. */
	*word(text, 3) = 0x5555;
	EXPECT_EQ(0x5555, gpu_see(gpu, word(mem, 3)));

	gpu_events_start(gpu);
	*word(mem, 0) = 0x6000;
	EXPECT_EVENT_IN_VMA(gpu, mem, PAGE_SIZE, COW, DROP, R(COW), R(DONTNEED));
	EXPECT_EQ(0x6000, gpu_see(gpu, word(mem, 0)));
	/* The device breaks another one. */
	EXPECT_EQ(0, gpu_write(gpu, word(mem, 1), 0x6001));
	EXPECT_EQ(0x6001, *word(mem, 1));
	EXPECT_EQ(0x5000, *word(text, 0));
	EXPECT_EQ(0x5001, *word(text, 1));
	EXPECT_EQ(0x5002, gpu_see(gpu, word(mem, 2)));
	close(fd);
}

/* Reading memory that nobody wrote maps the zero page. */
TEST_F(cow, zero_page)
{
	struct gpu *gpu = &self->gpu;
	char *mem = sys_pages(NPAGES);

	EXPECT_EQ(0, gpu_see(gpu, word(mem, 0)));
	EXPECT_EQ(0, gpu_see(gpu, word(mem, 1)));
	EXPECT_FALSE(gpu_pte(gpu, mem) & DGPU_PTE_WRITE);
	gpu_events_start(gpu);
	*word(mem, 0) = 0x7000;
	EXPECT_EVENT_IN_VMA(gpu, mem, PAGE_SIZE, COW, DROP, R(COW), R(DONTNEED) | R(MADV_FREE));
	EXPECT_EQ(0x7000, gpu_see(gpu, word(mem, 0)));
	EXPECT_EQ(0, gpu_write(gpu, word(mem, 1), 0x7001));
	EXPECT_EQ(0x7001, *word(mem, 1));
	/* The zero page itself is as it was. */
	EXPECT_EQ(0, gpu_see(gpu, word(mem, 2)));
	EXPECT_EQ(0, *word(mem, 3));
}

/* A debugger writes into memory that the process itself may not write. */
TEST_F(cow, proc_mem)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value = 0x8000;
	char path[64];
	int status, fd;
	pid_t pid, other;

	/* Share the pages with a child, so that the write has to copy. */
	pid = ASSERT_SYS(fork());
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ));
	ASSERT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	gpu_events_start(gpu);
	snprintf(path, sizeof(path), "/proc/%d/mem", getpid());
	other = ASSERT_SYS(fork());
	if (!other) {
		/* Some kernels let nobody else do it. */
		ASSERT_SYS(ptrace(PTRACE_SEIZE, getppid(), NULL, NULL));
		fd = ASSERT_SYS(open(path, O_RDWR));
		ASSERT_EQ(sizeof(value), pwrite(fd, &value, sizeof(value),
						(off_t)(uintptr_t)self->mem));
		_exit(0);
	}
	ASSERT_EQ(other, waitpid(other, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_GE(gpu_events_count(gpu, self->mem, PAGE_SIZE, HMM_EVENT_COW), 1);
	EXPECT_EQ(0x8000, gpu_see(gpu, word(self->mem, 0)));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + PAGE_SIZE, NPAGES - 1, 0x1001));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* ---- KSM ---- */

#define KSM	"/sys/kernel/mm/ksm/"

FIXTURE(ksm) {
	struct gpu gpu;
	char *mem;
	bool running;
};

FIXTURE_SETUP(ksm)
{
	if (access(KSM "run", F_OK))
		SKIP("this kernel has no KSM");
	gpu_setup(&self->gpu);
	self->mem = sys_pages(NPAGES);
	/* All equal, so all can be merged; the device wrote them. */
	for (size_t i = 0; i < NPAGES; i++)
		ASSERT_EQ(0, gpu_write(&self->gpu, word(self->mem, i), 0xabcd));
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_MERGEABLE));
	self->running = true;
	sys_write(KSM "sleep_millisecs", "0");
	sys_write(KSM "pages_to_scan", "2000");
	gpu_events_start(&self->gpu);
	sys_write(KSM "run", "1");
	for (uint64_t end = sys_now_ms() + 30000 * harness_timeout_scale;
	     sys_smaps(self->mem, "KSM:") < (long)(LENGTH / 1024) && sys_now_ms() < end;)
		sys_sleep_ms(20);
	ASSERT_EQ(LENGTH / 1024, sys_smaps(self->mem, "KSM:"));
	/* Stop scanning, keep what is merged. */
	sys_write(KSM "run", "0");
}

FIXTURE_TEARDOWN(ksm)
{
	if (self->running) {
		sys_try_write(KSM "run", "2");
		sys_try_write(KSM "run", "0");
	}
	gpu_teardown(&self->gpu);
}

TEST_F(ksm, merge)
{
	struct gpu *gpu = &self->gpu;

	EXPECT_EVENT(gpu, self->mem, LENGTH, KSM, DROP, R(KSM_MERGE));
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(0xabcd, gpu_see(gpu, word(self->mem, i)));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_WRITE));
}

TEST_F(ksm, cpu_write_unmerges)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_EQ(0, gpu_touch(gpu, self->mem, NPAGES));
	gpu_events_start(gpu);
	*word(self->mem, 3) = 0x1234;
	/* A write fault on a merged page: KSM's page is replaced by a private copy. */
	EXPECT_EVENT_IN_VMA(gpu, word(self->mem, 3), PAGE_SIZE, KSM, DROP, R(KSM_UNMERGE),
			    R(DONTNEED) | R(MADV_FREE));
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(i == 3 ? 0x1234 : 0xabcd, gpu_see(gpu, word(self->mem, i)));
}

/* The device's write must not land in the page that all share. */
TEST_F(ksm, gpu_write_unmerges)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_EQ(0, gpu_touch(gpu, self->mem, NPAGES));
	EXPECT_EQ(0, gpu_write(gpu, word(self->mem, 5), 0x4321));
	for (size_t i = 0; i < NPAGES; i++) {
		EXPECT_EQ(i == 5 ? 0x4321 : 0xabcd, *word(self->mem, i));
		EXPECT_EQ(i == 5 ? 0x4321 : 0xabcd, gpu_see(gpu, word(self->mem, i)));
	}
}

TEST_F(ksm, madvise_unmerges)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_EQ(0, gpu_touch(gpu, self->mem, NPAGES));
	gpu_events_start(gpu);
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_UNMERGEABLE));
	EXPECT_EVENT(gpu, self->mem, LENGTH, KSM, DROP, R(KSM_UNMERGE));
	EXPECT_EQ(0, sys_smaps(self->mem, "KSM:"));
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(0xabcd, gpu_see(gpu, word(self->mem, i)));
}

/* ---- uprobes ---- */

#define UPROBES	"/sys/kernel/tracing/uprobe_events"

FIXTURE(uprobe) {
	struct gpu gpu;
	char path[64];
	char *mem;
	bool set;
};

FIXTURE_SETUP(uprobe)
{
	int fd;

	if (access(UPROBES, F_OK))
		SKIP("this kernel has no uprobe events");
	gpu_setup(&self->gpu);
	snprintf(self->path, sizeof(self->path), "/tmp/hmm-uprobe.%d", getpid());
	fd = ASSERT_SYS(open(self->path, O_RDWR | O_CREAT | O_TRUNC, 0700));
	ASSERT_SYS(ftruncate(fd, PAGE_SIZE));
	for (size_t i = 0; i < PAGE_SIZE; i += 8)
		ASSERT_EQ(8, pwrite(fd, "\x90\x90\x90\x90\x90\x90\x90\xc3", 8, (off_t)i));
	self->mem = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
	close(fd);
}

FIXTURE_TEARDOWN(uprobe)
{
	if (self->set) {
		sys_try_write("/sys/kernel/tracing/events/uprobes/hmm_probe/enable", "0");
		sys_try_write(UPROBES, "-:hmm_probe");
	}
	if (*self->path)
		unlink(self->path);
	gpu_teardown(&self->gpu);
}

TEST_F(uprobe, insert_and_remove)
{
	struct gpu *gpu = &self->gpu;
	const uint64_t code = 0xc390909090909090ull;
	char text[128];

	ASSERT_EQ(code, gpu_see(gpu, self->mem));
	snprintf(text, sizeof(text), "p:hmm_probe %s:0x0", self->path);
	sys_write(UPROBES, text);
	self->set = true;
	gpu_events_start(gpu);
	sys_write("/sys/kernel/tracing/events/uprobes/hmm_probe/enable", "1");
	/* The device reads what the CPU would execute: a breakpoint (0xcc). */
	EXPECT_EQ((code & ~0xffull) | 0xcc, gpu_see(gpu, self->mem));
	EXPECT_EQ((code & ~0xffull) | 0xcc, *(volatile uint64_t *)self->mem);
	EXPECT_EVENT(gpu, self->mem, PAGE_SIZE, CLEAR, DROP, R(UPROBE));
	gpu_events_start(gpu);
	sys_write("/sys/kernel/tracing/events/uprobes/hmm_probe/enable", "0");
	EXPECT_EVENT(gpu, self->mem, PAGE_SIZE, CLEAR, DROP, R(UPROBE));
	EXPECT_EQ(code, gpu_see(gpu, self->mem));
}

/* ---- hugetlb ---- */

#define HUGETLB	"/proc/sys/vm/nr_hugepages"

FIXTURE(hugetlb) {
	struct gpu gpu;
	char *mem;
	long long before;
};

FIXTURE_SETUP(hugetlb)
{
	char text[32];
	void *mem;

	if (access(HUGETLB, F_OK))
		SKIP("this kernel has no hugetlb memory");
	self->before = sys_number(HUGETLB);
	snprintf(text, sizeof(text), "%lld", self->before + 8);
	sys_write(HUGETLB, text);
	mem = mmap(NULL, 2 * HUGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (mem == MAP_FAILED)
		SKIP("no huge pages to be had: %s", strerror(errno));
	self->mem = mem;
	gpu_setup(&self->gpu);
	ASSERT_EQ(0, gpu_fill(&self->gpu, mem, 2 * HUGE_SIZE / PAGE_SIZE, 0x1000));
	ASSERT_TRUE(cpu_check(mem, 2 * HUGE_SIZE / PAGE_SIZE, 0x1000));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(hugetlb)
{
	char text[32];

	if (self->mem)
		munmap(self->mem, 2 * HUGE_SIZE);
	snprintf(text, sizeof(text), "%lld", self->before);
	sys_try_write(HUGETLB, text);
	gpu_teardown(&self->gpu);
}

TEST_F(hugetlb, fork_and_write)
{
	struct gpu *gpu = &self->gpu;
	const size_t npages = 2 * HUGE_SIZE / PAGE_SIZE;
	volatile uint64_t *seen;
	int to[2], status;
	char byte;
	pid_t pid;

	/* Without a page for the copy the kernel takes the child's from it. */
	if (sys_number(HUGETLB) < self->before + 4)
		SKIP("memory has no four huge pages");
	seen = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	ASSERT_SYS(pipe(to));
	pid = ASSERT_SYS(fork());
	if (!pid) {
		close(to[1]);
		if (read(to[0], &byte, 1) != 0)
			_exit(1);
		seen[0] = *word(self->mem, 0);
		seen[1] = *word(self->mem, 512);
		_exit(0);
	}
	close(to[0]);
	gpu_events_collect(gpu);
	/* A copy of a hugetlb page table sends CLEAR, not PROTECTION_PAGE. */
	EXPECT_GE(gpu->nevents, 1);
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, npages, DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, npages, 0x1000));

	*word(self->mem, 0) = 0x2000;			/* the CPU copies one */
	EXPECT_EQ(0x2000, gpu_see(gpu, word(self->mem, 0)));
	EXPECT_EQ(0, gpu_write(gpu, word(self->mem, 512), 0x2200));	/* the device the other */
	EXPECT_EQ(0x2200, *word(self->mem, 512));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + PAGE_SIZE, 511, 0x1001));
	close(to[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0x1000, seen[0]);
	EXPECT_EQ(0x1200, seen[1]);
}

TEST_F(hugetlb, munmap)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;

	ASSERT_SYS(munmap(self->mem + HUGE_SIZE, HUGE_SIZE));
	EXPECT_EVENT(gpu, self->mem + HUGE_SIZE, HUGE_SIZE, UNMAP, FREE, R(MUNMAP));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 512, 0x1000));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, self->mem + HUGE_SIZE, &value));
}

HARNESS_MAIN

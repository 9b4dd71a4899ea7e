// SPDX-License-Identifier: GPL-2.0
/*
 * Sharing and copying of pages that are on the device: fork and copy on write, also in
 * the device; KSM; private mappings of files; what is shared and so does not move.
 *
 * Each process has its own copy from the first write on, whoever writes and wherever
 * the page is then.  And a page that several processes map is one page: it comes back
 * once, for all of them, and is freed by the last.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include "cow.h"
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define LOCAL	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)

FIXTURE(cow) {
	struct gpu gpu;
	char *mem;		/* NPAGES on the device, which wrote 0x1000, ... there */
	volatile uint64_t *shared;
	struct sys_child child;
};

FIXTURE_SETUP(cow)
{
	gpu_setup_memory(&self->gpu);
	self->mem = gpu_pages_on_device(&self->gpu, NPAGES);
	self->shared = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(cow)
{
	if (self->child.pid) {
		kill(self->child.pid, SIGKILL);
		sys_child_end(&self->child);
	}
	gpu_teardown(&self->gpu);
}

/* fork() alone moves nothing, and the device goes on reading where the pages are. */
TEST_F(cow, fork_stays)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;
	const uint64_t out = gpu_rmem(gpu, HMM_RMEM_OUT);

	cow_child_start(&self->child, &job);
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	EXPECT_EQ(out, gpu_rmem(gpu, HMM_RMEM_OUT));
	/* The child goes without having touched them: they are the parent's alone. */
	kill(self->child.pid, SIGKILL);
	sys_child_end(&self->child);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
}

TEST_F(cow, child_reads)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;

	cow_child_start(&self->child, &job);
	cow_child_reads(&self->child, &job, 0x1000);
	/* The page is one for both, and came back for both. */
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_LOCAL));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
	cow_child_writes(&self->child);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x2000));
	cow_child_ends(&self->child);
}

TEST_F(cow, child_writes)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;

	cow_child_start(&self->child, &job);
	cow_child_reads(&self->child, &job, 0x1000);
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	/* The child's pages are on the device now, which its process does not use. */
	cow_child_writes(&self->child);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
	cow_child_ends(&self->child);
}

TEST_F(cow, parent_writes)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;

	cow_child_start(&self->child, &job);
	ASSERT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	cpu_fill(self->mem, NPAGES, 0x2000);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x2000));
	/* The parent's copies go to the device, and leave the child's alone. */
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x3000));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	cow_child_reads(&self->child, &job, 0x1000);
	cow_child_writes(&self->child);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x3000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x3000));
	cow_child_ends(&self->child);
}

/* Copy on write by the device's own fault, on pages in its own memory. */
TEST_F(cow, device_writes)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;

	cow_child_start(&self->child, &job);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x2000));
	cow_child_reads(&self->child, &job, 0x1000);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
	cow_child_writes(&self->child);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x2000));
	cow_child_ends(&self->child);
}

/* The same with pages that move by themselves at each fault. */
TEST_F(cow, device_writes_and_moves)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;

	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	cow_child_start(&self->child, &job);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x2000));
	cow_child_reads(&self->child, &job, 0x1000);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x2000));
	cow_child_writes(&self->child);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
	cow_child_ends(&self->child);
}

/* Two owners of the same pages, each with an open device. */
static void both_child(struct sys_child *me, void *arg)
{
	struct cow_job *job = arg;
	struct gpu gpu = { 0 };

	gpu_setup(&gpu);
	gpu_move_in(&gpu, job->mem, NPAGES);
	EXPECT_EQ(0, gpu_check(&gpu, job->mem, NPAGES, 0x1000));
	sys_child_tell(me);
	sys_child_wait(me);
	EXPECT_EQ(0, gpu_fill(&gpu, job->mem, NPAGES, 0xc000));
	gpu_move_in(&gpu, job->mem, NPAGES);
	sys_child_tell(me);
	sys_child_wait(me);
	EXPECT_EQ(0, gpu_check(&gpu, job->mem, NPAGES, 0xc000));
	EXPECT_TRUE(cpu_check(job->mem, NPAGES, 0xc000));
	gpu_teardown(&gpu);
}

TEST_F(cow, two_mirrors)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;

	gpu_move_out(gpu, self->mem, NPAGES);
	sys_child_start(&self->child, both_child, &job);
	sys_child_wait(&self->child);
	/* The child asked for it; one page for both is on the device. */
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	cow_child_writes(&self->child);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	gpu_move_in(gpu, self->mem, NPAGES);
	sys_child_tell(&self->child);
	EXPECT_EQ(0, sys_child_end(&self->child));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
}

/* A page that parent and child share is freed on the device once, by the last of them. */
TEST_F(cow, freed_once)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };
	struct gpu *gpu = &self->gpu;
	const uint64_t dropped = gpu_rmem(gpu, HMM_RMEM_DROPPED);
	const uint64_t used = gpu_rmem(gpu, HMM_RMEM_USED);

	cow_child_start(&self->child, &job);
	ASSERT_SYS(munmap(self->mem, LENGTH));
	EXPECT_EQ(dropped, gpu_rmem(gpu, HMM_RMEM_DROPPED));
	EXPECT_EQ(used, gpu_rmem(gpu, HMM_RMEM_USED));
	kill(self->child.pid, SIGKILL);
	sys_child_end(&self->child);
	EXPECT_EQ(dropped + NPAGES, gpu_rmem(gpu, HMM_RMEM_DROPPED));
	EXPECT_EQ(used - NPAGES, gpu_rmem(gpu, HMM_RMEM_USED));
}

/* Only the child still has them: it gets what the device wrote before the fork. */
TEST_F(cow, child_survives)
{
	struct cow_job job = { self->mem, NPAGES, self->shared };

	cow_child_start(&self->child, &job);
	ASSERT_SYS(munmap(self->mem, LENGTH));
	gpu_teardown(&self->gpu);
	cow_child_reads(&self->child, &job, 0x1000);
	cow_child_writes(&self->child);
	cow_child_ends(&self->child);
}

/*
 * Forks, while the pages move to and fro and a program increments: every increment
 * lands in the parent's page, none in a child's.
 */
TEST_F(cow, storm)
{
	const unsigned long rounds = sys_scale(100);
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	struct dgpu_result result;
	struct dgpu_job *job;
	uint64_t cpu = 0;

	*word(self->mem, 0) = 0;
	self->shared[0] = 0;
	job = gpu_start(gpu, GPU_SPIN, 4, (uintptr_t)&self->shared[0],
			(uintptr_t)word(self->mem, 0), (uintptr_t)word(self->mem, 1), 0);
	for (unsigned long i = 0; i < rounds; i++) {
		pid_t pid;
		int status;

		gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
		pid = ASSERT_SYS(fork());
		if (!pid) {
			const uint64_t before = *word(self->mem, 0);

			for (int spin = 0; spin < 100; spin++) {
				if (*word(self->mem, 0) != before)
					_exit(1);
				sched_yield();
			}
			*word(self->mem, 0) = 1ull << 60;
			_exit(0);
		}
		gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
		__atomic_fetch_add(word(self->mem, 0), 1ull << 32, __ATOMIC_SEQ_CST);
		cpu++;
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
	self->shared[0] = 1;
	ASSERT_EQ(0, dgpu_job_wait(job, 120000, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(job);
	EXPECT_EQ(cpu, *word(self->mem, 0) >> 32);
	/* Of n rounds in t threads: n * 4 + t * 2 instructions (see GPU_SPIN). */
	EXPECT_EQ(result.insns, (*word(self->mem, 0) & 0xffffffff) * 4 + 4 * 2);
}

/* ---- files and shared memory ---- */

FIXTURE(file) {
	struct gpu gpu;
	int fd;
	char *text;	/* NPAGES of the file: 0x5000, ... */
};

FIXTURE_SETUP(file)
{
	gpu_setup_memory(&self->gpu);
	self->fd = ASSERT_SYS(memfd_create("file", MFD_CLOEXEC));
	ASSERT_SYS(ftruncate(self->fd, (off_t)LENGTH));
	self->text = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
				     self->fd, 0));
	cpu_fill(self->text, NPAGES, 0x5000);
}

FIXTURE_TEARDOWN(file)
{
	gpu_teardown(&self->gpu);
}

/* Of a private mapping the pages that were written are the process' own, and move. */
TEST_F(file, private)
{
	struct gpu *gpu = &self->gpu;
	const uint64_t end = sys_patience_ms();
	struct gpu_moved moved;
	char *mem;

	mem = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->fd, 0));
	cpu_fill(mem + 4 * PAGE_SIZE, 4, 0x6004);
	ASSERT_TRUE(cpu_check(mem, 4, 0x5000));		/* of the page cache, mapped */
	gpu_migrate(gpu, mem, NPAGES, 0, &moved);
	while (moved.count[HMM_PAGE_BUSY] && sys_now_ms() < end) {
		sys_sleep_ms(5);
		gpu_migrate(gpu, mem, NPAGES, 0, &moved);
	}
	EXPECT_EQ(-EOPNOTSUPP, moved.ret);
	EXPECT_RESULTS(&moved, 0, 4, UNSUPPORTED);
	EXPECT_EQ(4, moved.count[HMM_PAGE_MOVED] + moved.count[HMM_PAGE_THERE]);
	EXPECT_PLACE(gpu, mem + 4 * PAGE_SIZE, 4, DEVICE);
	EXPECT_EQ(0, gpu_pages_at(gpu, mem, 4, HMM_PLACE_DEVICE));
	EXPECT_EQ(0, gpu_pages_at(gpu, mem + 8 * PAGE_SIZE, 8, HMM_PLACE_DEVICE));

	/* The device has all of it, and the page cache in place: a write shows. */
	EXPECT_EQ(0, gpu_check(gpu, mem, 4, 0x5000));
	EXPECT_EQ(0, gpu_check(gpu, mem + 4 * PAGE_SIZE, 4, 0x6004));
	EXPECT_EQ(0, gpu_check(gpu, mem + 8 * PAGE_SIZE, 8, 0x5008));
	*word(self->text, 1) = 0x5555;
	*word(self->text, 5) = 0x5556;
	EXPECT_EQ(0x5555, gpu_see(gpu, word(mem, 1)));
	EXPECT_EQ(0x6005, gpu_see(gpu, word(mem, 5)));
	*word(self->text, 1) = 0x5001;
	*word(self->text, 5) = 0x5005;

	/* Its own pages, by writes on the device, and back. */
	EXPECT_EQ(0, gpu_fill(gpu, mem, NPAGES, 0x7000));
	EXPECT_PLACE(gpu, mem + 4 * PAGE_SIZE, 4, DEVICE);
	gpu_move_in(gpu, mem, NPAGES);
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x7000));
	EXPECT_TRUE(cpu_check(self->text, NPAGES, 0x5000));
}

/* Truncation takes private copies as well, also those on the device. */
TEST_F(file, truncate)
{
	struct gpu *gpu = &self->gpu;
	const uint64_t used = gpu_rmem(gpu, HMM_RMEM_USED);
	uint64_t value;
	char *mem;

	mem = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->fd, 0));
	cpu_fill(mem, NPAGES, 0x6000);
	gpu_move_in(gpu, mem, NPAGES);
	ASSERT_SYS(ftruncate(self->fd, 8 * (off_t)PAGE_SIZE));
	EXPECT_PLACE(gpu, mem, 8, DEVICE);
	EXPECT_PLACE(gpu, mem + 8 * PAGE_SIZE, 8, NONE);
	EXPECT_EQ(used + 8, gpu_rmem(gpu, HMM_RMEM_USED));
	EXPECT_EQ(0, gpu_check(gpu, mem, 8, 0x6000));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, mem + 8 * PAGE_SIZE, &value));
	/* A hole in the file leaves private copies alone. */
	ASSERT_SYS(fallocate(self->fd, 3 /* PUNCH_HOLE | KEEP_SIZE */, 0, 4 * (off_t)PAGE_SIZE));
	EXPECT_PLACE(gpu, mem, 8, DEVICE);
	EXPECT_TRUE(cpu_check(mem, 8, 0x6000));
}

static void expect_shared_stays(struct gpu *gpu, char *mem)
{
	struct gpu_moved moved;

	cpu_fill(mem, NPAGES, 0x6000);
	gpu_migrate(gpu, mem, NPAGES, 0, &moved);
	EXPECT_EQ(-EOPNOTSUPP, moved.ret);
	EXPECT_EQ(0, moved.moved);
	EXPECT_RESULTS(&moved, 0, NPAGES, UNSUPPORTED);
	EXPECT_PLACE(gpu, mem, NPAGES, SYSTEM);
	EXPECT_EQ(0, gpu_fill(gpu, mem, NPAGES, 0x7000));
	EXPECT_EQ(0, gpu_ptes(gpu, mem, NPAGES, DGPU_PTE_LOCAL));
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x7000));
	/* Nor by itself: the device uses it where it is. */
	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	ASSERT_SYS(madvise(mem, LENGTH, MADV_DONTNEED));
	EXPECT_EQ(0, gpu_fill(gpu, mem, NPAGES, 0x8000));
	EXPECT_PLACE(gpu, mem, NPAGES, SYSTEM);
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x8000));
}

TEST_F(file, shared_file)
{
	expect_shared_stays(&self->gpu, self->text);
}

TEST_F(file, shared_anonymous)
{
	char *mem = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0));

	expect_shared_stays(&self->gpu, mem);
}

TEST_F(file, sysv_shm)
{
	const int id = shmget(IPC_PRIVATE, LENGTH, 0600);
	char *mem;

	if (id < 0)
		SKIP("no SysV shared memory: %s", strerror(errno));
	mem = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	ASSERT_NE(mem, (void *)-1);
	expect_shared_stays(&self->gpu, mem);
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
	gpu_setup_memory(&self->gpu);
	self->mem = sys_pages(NPAGES);
	/* All equal, so all can be merged. */
	for (size_t i = 0; i < NPAGES; i++)
		*word(self->mem, i) = 0xabcd;
	sys_write(KSM "sleep_millisecs", "0");
	sys_write(KSM "pages_to_scan", "2000");
}

FIXTURE_TEARDOWN(ksm)
{
	if (self->running) {
		sys_try_write(KSM "run", "2");
		sys_try_write(KSM "run", "0");
	}
	gpu_teardown(&self->gpu);
}

static bool ksm_scans(unsigned int nr)
{
	const long long end = sys_number(KSM "full_scans") + nr;

	for (unsigned int i = 0; i < 3000 * harness_timeout_scale; i++) {
		if (sys_number(KSM "full_scans") >= end)
			return true;
		sys_sleep_ms(10);
	}
	return false;
}

static bool ksm_merge(char *mem)
{
	ASSERT_SYS(madvise(mem, LENGTH, MADV_MERGEABLE));
	sys_write(KSM "run", "1");
	for (unsigned int i = 0; i < 30; i++) {
		if (sys_smaps(mem, "KSM:") == (long)(LENGTH / 1024))
			return true;
		if (!ksm_scans(1))
			break;
	}
	return false;
}

static void expect_all(struct gpu *gpu, char *mem, uint64_t value)
{
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(value, gpu_see(gpu, word(mem, i)));
}

/* Pages on the device are not looked at, and not merged: ksmd cannot read them. */
TEST_F(ksm, on_device)
{
	struct gpu *gpu = &self->gpu;

	self->running = true;
	gpu_move_in(gpu, self->mem, NPAGES);
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_MERGEABLE));
	sys_write(KSM "run", "1");
	ASSERT_TRUE(ksm_scans(4));
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(0, sys_smaps(self->mem, "KSM:"));
	expect_all(gpu, self->mem, 0xabcd);
	/* Half of them come back, while it scans. */
	gpu_move_out(gpu, self->mem, NPAGES / 2);
	for (int i = 0; i < 10 && sys_smaps(self->mem, "KSM:") < (long)(LENGTH / 2048); i++)
		ASSERT_TRUE(ksm_scans(1));
	EXPECT_EQ(LENGTH / 2048, sys_smaps(self->mem, "KSM:"));
	EXPECT_PLACE(gpu, self->mem + LENGTH / 2, NPAGES / 2, DEVICE);
	expect_all(gpu, self->mem, 0xabcd);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
}

/*
 * A merged page is one for many, and ksmd compares others with it: it must not go where
 * ksmd cannot read.
 */
TEST_F(ksm, merged)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	char *more;

	self->running = true;
	if (!ksm_merge(self->mem))
		SKIP("KSM did not merge the pages");
	gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
	EXPECT_EQ(-EOPNOTSUPP, moved.ret);
	EXPECT_RESULTS(&moved, 0, NPAGES, UNSUPPORTED);
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	expect_all(gpu, self->mem, 0xabcd);
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_WRITE));

	/* More of the same: compared with the merged page. */
	more = sys_pages(NPAGES);
	for (size_t i = 0; i < NPAGES; i++)
		*word(more, i) = 0xabcd;
	EXPECT_TRUE(ksm_merge(more));
	expect_all(gpu, more, 0xabcd);

	/* A write parts a page from the others: still one that KSM may look at. */
	EXPECT_EQ(0, gpu_write(gpu, word(self->mem, 5), 0x4321));
	gpu_migrate(gpu, word(self->mem, 5), 1, 0, &moved);
	EXPECT_EQ(-EOPNOTSUPP, moved.ret);
	/* When KSM has nothing to do with them any more, all can move. */
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_UNMERGEABLE));
	gpu_move_in(gpu, self->mem, NPAGES);
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(i == 5 ? 0x4321 : 0xabcd, gpu_see(gpu, word(self->mem, i)));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	EXPECT_EQ(0x4321, *word(self->mem, 5));
	EXPECT_EQ(0xabcd, *word(more, 0));
}

/*
 * Merging, moving and writing, all at once.  While a page is being merged, it is mapped
 * where the kernel does not find it: who takes it from there then cannot put it back.
 */
TEST_F(ksm, storm)
{
	const unsigned long rounds = sys_scale(200);
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	uint64_t in = 0;

	self->running = true;
	sys_write(KSM "run", "1");
	for (unsigned long i = 1; i <= rounds; i++) {
		const size_t at = i % NPAGES;

		ASSERT_SYS(madvise(self->mem, LENGTH, i % 5 ? MADV_MERGEABLE : MADV_UNMERGEABLE));
		gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
		in += moved.moved;
		if (i % 3 == 0)
			ASSERT_EQ(0, gpu_write(gpu, word(self->mem, at), i));
		else if (i % 3 == 1)
			*word(self->mem, at) = i;
		else if (i % 5)
			ASSERT_TRUE(ksm_scans(1));
		if (i % 3 != 2) {
			ASSERT_EQ(i, gpu_see(gpu, word(self->mem, at)));
			*word(self->mem, at) = 0xabcd;
		}
	}
	test_log("%ju pages moved in", (uintmax_t)in);
	EXPECT_GT(in, 0);
	expect_all(gpu, self->mem, 0xabcd);
}

GPU_POOL_TEST

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * The end of processes that have pages on the device: exit, exec, SIGKILL, the OOM killer
 * of a group, while nothing happens, while a program runs, and while pages move.
 *
 * Each time all that the process had there is free again within a bounded time, and the
 * device works for others.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	512ul
#define LENGTH	(NPAGES * PAGE_SIZE)

/* What parent and child share. */
struct shared {
	volatile int ready;		/* the child has its pages on the device */
	volatile uint64_t stop;		/* its program runs until this is not 0 */
	volatile uint64_t count;	/* and increments this */
	volatile uint64_t moves;	/* pages that it has moved, when it moves */
};

FIXTURE(end) {
	struct shared *shared;
	struct gpu gpu;		/* of the parent, to look at the counters */
	uint64_t used, in;
	struct sys_memcg cg;
	pid_t pid;
};

FIXTURE_SETUP(end)
{
	self->shared = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	gpu_setup_memory(&self->gpu);
	self->used = gpu_rmem(&self->gpu, HMM_RMEM_USED);
	self->in = gpu_rmem(&self->gpu, HMM_RMEM_IN);
}

FIXTURE_TEARDOWN(end)
{
	if (self->pid > 0) {
		kill(self->pid, SIGKILL);
		waitpid(self->pid, NULL, 0);
	}
	gpu_teardown(&self->gpu);
	sys_memcg_destroy(&self->cg);
}

/* Nothing of the child is left on the device, and there was something. */
static void expect_gone(struct gpu *gpu, uint64_t used, uint64_t in)
{
	const uint64_t end = sys_patience_ms();
	struct gpu other = { 0 };
	char *mem;

	EXPECT_GE(gpu_rmem(gpu, HMM_RMEM_IN), in + NPAGES);
	while (gpu_rmem(gpu, HMM_RMEM_USED) != used && sys_now_ms() < end)
		sys_sleep_ms(10);
	EXPECT_EQ(used, gpu_rmem(gpu, HMM_RMEM_USED));
	gpu_setup(&other);
	mem = sys_pages(NPAGES);
	cpu_fill(mem, NPAGES, 0x1000);
	gpu_move_in(&other, mem, NPAGES);
	EXPECT_EQ(0, gpu_fill(&other, mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x2000));
	munmap(mem, LENGTH);
	gpu_teardown(&other);
}

static char *child_memory(struct gpu *gpu)
{
	char *mem;

	gpu_setup(gpu);
	mem = sys_pages(NPAGES);
	cpu_fill(mem, NPAGES, 0x1000);
	gpu_move_in(gpu, mem, NPAGES);
	return mem;
}

/* A child that has pages on the device, and does @fn with them. */
static pid_t child_start(struct shared *shared, void (*fn)(struct gpu *, char *, struct shared *))
{
	const pid_t pid = ASSERT_SYS(fork());

	if (!pid) {
		struct gpu gpu = { 0 };
		char *mem = child_memory(&gpu);

		fn(&gpu, mem, shared);
		_exit(0);
	}
	for (unsigned int i = 0; i < 30000 && !shared->ready; i++)
		sys_sleep_ms(1);
	ASSERT_TRUE(shared->ready);
	return pid;
}

static int child_wait(pid_t *pid)
{
	int status = -1;

	ASSERT_EQ(*pid, waitpid(*pid, &status, 0));
	*pid = 0;
	return status;
}

static void do_exit(struct gpu *gpu, char *mem, struct shared *shared)
{
	(void)gpu;
	(void)mem;
	shared->ready = 1;
	_exit(0);
}

TEST_F(end, exit)
{
	self->pid = child_start(self->shared, do_exit);
	EXPECT_EQ(0, child_wait(&self->pid));
	expect_gone(&self->gpu, self->used, self->in);
}

/* The device is closed first, and the pages are still there then. */
static void do_close(struct gpu *gpu, char *mem, struct shared *shared)
{
	gpu_teardown(gpu);
	if (!cpu_check(mem, NPAGES / 2, 0x1000))
		_exit(1);
	shared->ready = 1;
	_exit(0);
}

TEST_F(end, close_then_exit)
{
	self->pid = child_start(self->shared, do_close);
	EXPECT_EQ(0, child_wait(&self->pid));
	expect_gone(&self->gpu, self->used, self->in);
}

static void do_exec(struct gpu *gpu, char *mem, struct shared *shared)
{
	(void)gpu;
	(void)mem;
	shared->ready = 1;
	execl("/bin/sleep", "sleep", "600", NULL);
	_exit(1);
}

/* exec: the process lives on, its memory does not. */
TEST_F(end, exec)
{
	int status;

	self->pid = child_start(self->shared, do_exec);
	expect_gone(&self->gpu, self->used, self->in);
	EXPECT_EQ(0, waitpid(self->pid, &status, WNOHANG));
}

static void do_pause(struct gpu *gpu, char *mem, struct shared *shared)
{
	(void)gpu;
	(void)mem;
	shared->ready = 1;
	for (;;)
		pause();
}

TEST_F(end, sigkill)
{
	self->pid = child_start(self->shared, do_pause);
	kill(self->pid, SIGKILL);
	EXPECT_EQ(SIGKILL, WTERMSIG(child_wait(&self->pid)));
	expect_gone(&self->gpu, self->used, self->in);
}

/* A program that never ends uses the pages. */
static void do_run(struct gpu *gpu, char *mem, struct shared *shared)
{
	gpu_start(gpu, GPU_SPIN, 8, (uintptr_t)&shared->stop, (uintptr_t)&shared->count,
		  (uintptr_t)mem, 0);
	while (!shared->count)
		sys_sleep_ms(1);
	shared->ready = 1;
	for (;;)
		pause();
}

TEST_F(end, sigkill_while_running)
{
	self->pid = child_start(self->shared, do_run);
	kill(self->pid, SIGKILL);
	EXPECT_EQ(SIGKILL, WTERMSIG(child_wait(&self->pid)));
	expect_gone(&self->gpu, self->used, self->in);
}

/* Threads that move the pages, write them, and let the device write them. */
struct mover {
	struct gpu *gpu;
	char *mem;
	struct shared *shared;
	unsigned int what;
};

static void *move_about(void *arg)
{
	const struct mover *mover = arg;
	uint64_t moved;

	for (;;) {
		switch (mover->what) {
		case 0:
			dgpu_migrate(mover->gpu->dev, mover->mem, LENGTH, 0, NULL, &moved);
			__atomic_fetch_add(&mover->shared->moves, moved, __ATOMIC_RELAXED);
			break;
		case 1:
			cpu_fill(mover->mem, NPAGES, 0x1000);
			break;
		case 2:
			dgpu_migrate(mover->gpu->dev, mover->mem, LENGTH, DGPU_MIGRATE_TO_SYSTEM,
				     NULL, NULL);
			break;
		}
	}
	return NULL;
}

static void do_move(struct gpu *gpu, char *mem, struct shared *shared)
{
	struct mover movers[3];
	pthread_t threads[3];

	for (unsigned int i = 0; i < 3; i++) {
		movers[i] = (struct mover) { gpu, mem, shared, i };
		pthread_create(&threads[i], NULL, move_about, &movers[i]);
	}
	gpu_start(gpu, GPU_SPIN, 4, (uintptr_t)&shared->stop, (uintptr_t)&shared->count,
		  (uintptr_t)mem, 0);
	shared->ready = 1;
	for (;;)
		pause();
}

/* Killed in the middle of moves in both directions, at ever other moments. */
TEST_F(end, sigkill_while_moving)
{
	const unsigned long rounds = sys_scale(10);

	for (unsigned long i = 0; i < rounds; i++) {
		const uint64_t moves = self->shared->moves;

		self->shared->ready = 0;
		self->pid = child_start(self->shared, do_move);
		for (int tries = 0; tries < 500 && self->shared->moves < moves + NPAGES; tries++)
			sys_sleep_ms(1);
		usleep((useconds_t)(i * 317 % 5000));
		kill(self->pid, SIGKILL);
		EXPECT_EQ(SIGKILL, WTERMSIG(child_wait(&self->pid)));
	}
	test_log("%ju pages moved in %lu processes", (uintmax_t)self->shared->moves, rounds);
	expect_gone(&self->gpu, self->used, self->in);
}

static void *exit_soon(void *arg)
{
	const unsigned long *us = arg;

	usleep((useconds_t)*us);
	_exit(0);
}

static unsigned long exit_after;

static void do_move_and_exit(struct gpu *gpu, char *mem, struct shared *shared)
{
	pthread_t thread;

	shared->ready = 1;
	pthread_create(&thread, NULL, exit_soon, &exit_after);
	do_move(gpu, mem, shared);
}

TEST_F(end, exit_while_moving)
{
	const unsigned long rounds = sys_scale(10);

	for (unsigned long i = 0; i < rounds; i++) {
		self->shared->ready = 0;
		exit_after = 1000 + i * 997 % 20000;
		self->pid = child_start(self->shared, do_move_and_exit);
		EXPECT_EQ(0, child_wait(&self->pid));
	}
	expect_gone(&self->gpu, self->used, self->in);
}

/* exec of one thread, while the others move. */
static void *exec_soon(void *arg)
{
	const unsigned long *us = arg;

	usleep((useconds_t)*us);
	execl("/bin/true", "true", NULL);
	_exit(1);
}

static void do_move_and_exec(struct gpu *gpu, char *mem, struct shared *shared)
{
	pthread_t thread;

	shared->ready = 1;
	pthread_create(&thread, NULL, exec_soon, &exit_after);
	do_move(gpu, mem, shared);
}

TEST_F(end, exec_while_moving)
{
	const unsigned long rounds = sys_scale(10);

	for (unsigned long i = 0; i < rounds; i++) {
		self->shared->ready = 0;
		exit_after = 1000 + i * 997 % 20000;
		self->pid = child_start(self->shared, do_move_and_exec);
		EXPECT_EQ(0, child_wait(&self->pid));
	}
	expect_gone(&self->gpu, self->used, self->in);
}

/*
 * What is on the device counts for the limit of the group, and reclaim cannot help: the
 * group runs into its limit, and the OOM killer frees it all, with the reaper in between.
 */
static void do_hog(struct gpu *gpu, char *mem, struct shared *shared)
{
	struct gpu_moved moved;
	char *hog = sys_pages(16 * NPAGES);

	(void)mem;
	shared->ready = 1;
	gpu_start(gpu, GPU_SPIN, 4, (uintptr_t)&shared->stop, (uintptr_t)&shared->count,
		  (uintptr_t)mem, 0);
	/* 32 MiB, of which the group may have 16; each part goes to the device. */
	for (size_t i = 0; i < 16; i++) {
		cpu_fill(hog + i * LENGTH, NPAGES, 0x1000);
		gpu_migrate(gpu, hog + i * LENGTH, NPAGES, 0, &moved);
	}
	_exit(7);
}

TEST_F(end, oom)
{
	char path[200];
	int status;

	sys_memcg_create(&self->cg, "oom");
	sys_memcg_set(&self->cg, "memory.max", "16M");
	snprintf(path, sizeof(path), "%s/memory.swap.max", self->cg.path);
	sys_try_write(path, "0");
	self->pid = ASSERT_SYS(fork());
	if (!self->pid) {
		struct gpu gpu = { 0 };

		sys_memcg_enter(&self->cg);
		do_hog(&gpu, child_memory(&gpu), self->shared);
	}
	status = child_wait(&self->pid);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	snprintf(path, sizeof(path), "%s/memory.events", self->cg.path);
	EXPECT_GE(sys_number_of(path, "oom_kill "), 1);
	expect_gone(&self->gpu, self->used, self->in);
}

/* The memory of a process that is dying is taken from it from outside. */
TEST_F(end, process_mrelease)
{
	int pidfd, status;

	self->pid = child_start(self->shared, do_run);
	pidfd = (int)ASSERT_SYS(syscall(SYS_pidfd_open, self->pid, 0));
	kill(self->pid, SIGKILL);
	/* It may be gone already. */
	if (syscall(SYS_process_mrelease, pidfd, 0) && errno == ENOSYS)
		SKIP("no process_mrelease()");
	status = child_wait(&self->pid);
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	close(pidfd);
	expect_gone(&self->gpu, self->used, self->in);
}

/* Many processes at once, each with its own pages, and all end. */
TEST_F(end, many)
{
	const unsigned long rounds = sys_scale(5);
	pid_t pids[8];
	int status;

	for (unsigned long round = 0; round < rounds; round++) {
		for (size_t i = 0; i < 8; i++) {
			pids[i] = ASSERT_SYS(fork());
			if (!pids[i]) {
				struct gpu gpu = { 0 };
				char *mem = child_memory(&gpu);

				if (gpu_fill(&gpu, mem, NPAGES, i << 16))
					_exit(1);
				if (i & 1)
					_exit(0);
				_exit(cpu_check(mem, NPAGES, i << 16) ? 0 : 2);
			}
		}
		for (size_t i = 0; i < 8; i++) {
			ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
			EXPECT_EQ(0, status);
		}
	}
	expect_gone(&self->gpu, self->used, self->in);
}

GPU_POOL_TEST

HARNESS_MAIN

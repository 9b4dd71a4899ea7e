// SPDX-License-Identifier: GPL-2.0
/*
 * The end of an address space while the device is at work in it: exit, exec, SIGKILL,
 * the OOM killer and its reaper, close().
 *
 * The process that dies cannot look at itself.  Its parent watches the job's fence,
 * which is a file and outlives the process; a word in shared memory that the program
 * increments; and the tracepoint of the core, for the reason.  What is left behind
 * (memory, mirrors, translations) is also seen when the modules are unloaded.
 */
#include <fcntl.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	256ul

/* What parent and child share. */
struct shared {
	volatile uint64_t stop;		/* the program runs until this is not 0 */
	volatile uint64_t count;	/* it increments this */
	volatile int fence;		/* fd of the fence, in the child */
	volatile int device;		/* fd of the device, in the child */
	volatile uintptr_t mem;		/* NPAGES of private memory that it uses */
	volatile int ready;		/* the child has started its program */
	volatile int go;		/* the parent has what it needs of the child */
	volatile int failed;
};

FIXTURE(end) {
	struct shared *shared;
	struct sys_memcg cg;
	bool tracing;
};

FIXTURE_SETUP(end)
{
	self->shared = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

#define TRACING "/sys/kernel/tracing/"

FIXTURE_TEARDOWN(end)
{
	if (self->tracing)
		sys_try_write(TRACING "events/hmm/hmm_event/enable", "0");
	sys_memcg_destroy(&self->cg);
}

/* In the child: map memory on the device and start a program that does not end. */
static void run_program(struct gpu *gpu, struct shared *shared, struct dgpu_job **job)
{
	char *mem;

	gpu_setup(gpu);
	mem = sys_pages(NPAGES);
	if (gpu_fill(gpu, mem, NPAGES, 0x1000))
		shared->failed = 1;
	shared->mem = (uintptr_t)mem;
	*job = gpu_start(gpu, GPU_SPIN, 8, (uintptr_t)&shared->stop, (uintptr_t)&shared->count,
			 (uintptr_t)mem, 0);
	shared->fence = dgpu_job_fence(*job);
	shared->device = dgpu_fd(gpu->dev);
	while (!shared->count)
		sys_sleep_ms(1);
	__atomic_store_n(&shared->ready, 1, __ATOMIC_RELEASE);
}

struct victim {
	pid_t pid;
	int pidfd;
	int fence;	/* ours */
};

/* Get hold of its fence, and let it go on. */
static void victim_watch(struct victim *victim, struct shared *shared)
{
	victim->pidfd = (int)ASSERT_SYS(syscall(SYS_pidfd_open, victim->pid, 0));
	for (int i = 0; i < 60000 && !__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE); i++)
		sys_sleep_ms(1);
	ASSERT_TRUE(shared->ready);
	ASSERT_FALSE(shared->failed);
	victim->fence = (int)ASSERT_SYS(syscall(SYS_pidfd_getfd, victim->pidfd, shared->fence, 0));
	shared->go = 1;
}

/* A child whose device works for ever; @fn is what it does meanwhile. */
static void victim_start(struct victim *victim, struct shared *shared,
			 void (*fn)(struct gpu *gpu, struct shared *shared))
{
	victim->pid = ASSERT_SYS(fork());
	if (!victim->pid) {
		struct dgpu_job *job;
		struct gpu gpu = { 0 };

		run_program(&gpu, shared, &job);
		while (!shared->go)
			sys_sleep_ms(1);
		fn(&gpu, shared);
		_exit(0);
	}
	victim_watch(victim, shared);
}

/* Its fence signals, with an error, and the program does nothing any more. */
static void expect_stopped(struct victim *victim, struct shared *shared)
{
	struct pollfd pfd = { .fd = victim->fence, .events = POLLIN };
	struct sync_file_info info = { 0 };
	uint64_t count;

	EXPECT_EQ(1, poll(&pfd, 1, 60000 * (int)harness_timeout_scale));
	EXPECT_TRUE(pfd.revents & POLLIN);
	EXPECT_SYS(ioctl(victim->fence, SYNC_IOC_FILE_INFO, &info));
	EXPECT_NE(0, info.status);
	count = shared->count;
	sys_sleep_ms(50);
	EXPECT_EQ(count, shared->count);
	close(victim->fence);
	close(victim->pidfd);
}

/* The device is as good as new for others. */
static void expect_device_works(void)
{
	struct gpu gpu = { 0 };
	char *mem;

	gpu_setup(&gpu);
	mem = sys_pages(16);
	EXPECT_EQ(0, gpu_fill(&gpu, mem, 16, 0x1000));
	EXPECT_TRUE(cpu_check(mem, 16, 0x1000));
	gpu_teardown(&gpu);
}

static void do_pause(struct gpu *gpu, struct shared *shared)
{
	(void)gpu;
	(void)shared;
	for (;;)
		pause();
}

static void do_exit(struct gpu *gpu, struct shared *shared)
{
	(void)gpu;
	(void)shared;
	_exit(0);
}

TEST_F(end, sigkill)
{
	struct victim victim;
	int status;

	victim_start(&victim, self->shared, do_pause);
	ASSERT_SYS(kill(victim.pid, SIGKILL));
	ASSERT_EQ(victim.pid, waitpid(victim.pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	expect_stopped(&victim, self->shared);
	expect_device_works();
}

TEST_F(end, exit)
{
	struct victim victim;
	int status;

	victim_start(&victim, self->shared, do_exit);
	ASSERT_EQ(victim.pid, waitpid(victim.pid, &status, 0));
	EXPECT_EQ(0, status);
	expect_stopped(&victim, self->shared);
	expect_device_works();
}

static void do_exec(struct gpu *gpu, struct shared *shared)
{
	(void)gpu;
	(void)shared;
	execl("/bin/sleep", "sleep", "600", NULL);
	_exit(1);
}

/* exec: the process lives on, with another address space. */
TEST_F(end, exec)
{
	struct victim victim;
	int status;

	victim_start(&victim, self->shared, do_exec);
	expect_stopped(&victim, self->shared);
	EXPECT_EQ(0, waitpid(victim.pid, &status, WNOHANG));
	kill(victim.pid, SIGKILL);
	ASSERT_EQ(victim.pid, waitpid(victim.pid, &status, 0));
	expect_device_works();
}

static void do_exec_keep(struct gpu *gpu, struct shared *shared)
{
	fcntl(dgpu_fd(gpu->dev), F_SETFD, 0);
	do_exec(gpu, shared);
}

/* The open file survives the exec; the address space that it is bound to does not. */
TEST_F(end, exec_with_open_file)
{
	struct dgpu_info info = { 0 };
	struct victim victim;
	int status, fd, pidfd;

	victim_start(&victim, self->shared, do_exec_keep);
	pidfd = dup(victim.pidfd);
	expect_stopped(&victim, self->shared);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, self->shared->device, 0);
	if (EXPECT_GE(fd, 0)) {
		EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_INFO, &info));
		EXPECT_TRUE(errno == EPERM || errno == ESRCH);
		close(fd);
	}
	close(pidfd);
	kill(victim.pid, SIGKILL);
	ASSERT_EQ(victim.pid, waitpid(victim.pid, &status, 0));
	expect_device_works();
}

/* A file that the parent holds does not keep the child's memory alive. */
TEST_F(end, exit_with_file_elsewhere)
{
	struct dgpu_info info = { 0 };
	struct victim victim;
	int status, fd;

	victim_start(&victim, self->shared, do_pause);
	fd = (int)ASSERT_SYS(syscall(SYS_pidfd_getfd, victim.pidfd, self->shared->device, 0));
	/* Alive, but not ours. */
	EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_INFO, &info));
	EXPECT_EQ(EPERM, errno);
	kill(victim.pid, SIGKILL);
	ASSERT_EQ(victim.pid, waitpid(victim.pid, &status, 0));
	expect_stopped(&victim, self->shared);
	EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_INFO, &info));
	EXPECT_TRUE(errno == EPERM || errno == ESRCH);
	close(fd);
	expect_device_works();
}

static void do_close(struct gpu *gpu, struct shared *shared)
{
	struct pollfd pfd = { .fd = dup(shared->fence), .events = POLLIN };
	uint64_t count;

	/* The job is not freed: its fence must signal by itself. */
	close(dgpu_fd(gpu->dev));
	if (poll(&pfd, 1, 60000 * (int)harness_timeout_scale) != 1)
		shared->failed = 1;
	count = shared->count;
	sys_sleep_ms(50);
	if (count != shared->count)
		shared->failed = 2;
}

TEST_F(end, close_while_running)
{
	struct victim victim;
	int status;

	victim_start(&victim, self->shared, do_close);
	ASSERT_EQ(victim.pid, waitpid(victim.pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, self->shared->failed);
	expect_stopped(&victim, self->shared);
	expect_device_works();
}

/* Many at once, in all phases of their lives. */
TEST_F(end, kill_storm)
{
	const unsigned long rounds = sys_scale(10);
	struct shared *shared;

	for (unsigned long round = 0; round < rounds; round++) {
		pid_t pids[8];
		int status;

		shared = ASSERT_SYS(mmap(NULL, 8 * PAGE_SIZE, PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0));
		for (size_t i = 0; i < 8; i++) {
			pids[i] = ASSERT_SYS(fork());
			if (!pids[i]) {
				struct dgpu_job *job;
				struct gpu gpu = { 0 };

				run_program(&gpu, (void *)((char *)shared + i * PAGE_SIZE), &job);
				do_pause(&gpu, NULL);
			}
		}
		for (size_t i = 0; i < 8; i++) {
			sys_sleep_ms((unsigned int)(round * 7 + i * 13) % 40);
			kill(pids[i], SIGKILL);
		}
		for (size_t i = 0; i < 8; i++)
			ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		munmap(shared, 8 * PAGE_SIZE);
	}
	expect_device_works();
}

/* ---- out of memory ---- */

/* Look into the trace for an event with a reason; the name is that of the table. */
static void trace_start(struct harness_data_end *self)
{
	if (access(TRACING "events/hmm/hmm_event/enable", F_OK))
		SKIP("no tracepoint hmm:hmm_event in this kernel");
	sys_write(TRACING "trace", "");
	sys_write(TRACING "buffer_size_kb", "8192");
	sys_write(TRACING "events/hmm/hmm_event/enable", "1");
	self->tracing = true;
}

static bool trace_find(const char *what, const char *also)
{
	char *text = sys_text(TRACING "trace"), *line, *rest;
	bool found = false;

	ASSERT_NE(text, NULL);
	for (line = strtok_r(text, "\n", &rest); line && !found;
	     line = strtok_r(NULL, "\n", &rest))
		found = strstr(line, "hmm_event:") && strstr(line, what) && strstr(line, also);
	free(text);
	return found;
}

TEST_F(end, reason_of_exit)
{
	struct victim victim;
	int status;

	trace_start(self);
	victim_start(&victim, self->shared, do_pause);
	ASSERT_SYS(kill(victim.pid, SIGKILL));
	ASSERT_EQ(victim.pid, waitpid(victim.pid, &status, 0));
	expect_stopped(&victim, self->shared);
	EXPECT_TRUE(trace_find("type=release", "reasons=exit"));
}

static void do_hog(struct gpu *gpu, struct shared *shared)
{
	char *mem = sys_pages(64 * NPAGES);

	(void)gpu;
	(void)shared;
	for (uint64_t round = 1;; round++)
		cpu_fill(mem, 64 * NPAGES, round);
}

/* Enter the group first, so that all that follows is charged to it. */
static void memcg_enter_small(struct harness_data_end *self, const char *name)
{
	sys_memcg_create(&self->cg, name);
	sys_memcg_set(&self->cg, "memory.max", "40M");
	sys_memcg_set(&self->cg, "memory.swap.max", "0");
	sys_memcg_enter(&self->cg);
}

static long long oom_kills(const struct sys_memcg *cg)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/memory.events", cg->path);
	return sys_number_of(path, "oom_kill ");
}

TEST_F(end, oom_kill)
{
	struct victim victim;
	int status;

	memcg_enter_small(self, "oom");
	/* We are in the group for a moment; the child is the one to be killed. */
	sys_try_write("/proc/self/oom_score_adj", "-1000");
	victim.pid = ASSERT_SYS(fork());
	if (!victim.pid) {
		struct dgpu_job *job;
		struct gpu gpu = { 0 };

		sys_try_write("/proc/self/oom_score_adj", "1000");
		run_program(&gpu, self->shared, &job);
		while (!self->shared->go)
			sys_sleep_ms(1);
		do_hog(&gpu, self->shared);
	}
	sys_memcg_leave(&self->cg);
	victim_watch(&victim, self->shared);
	ASSERT_EQ(victim.pid, waitpid(victim.pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	EXPECT_GE(oom_kills(&self->cg), 1);
	expect_stopped(&victim, self->shared);
	expect_device_works();
}

/*
 * It is the device that uses more memory than there is.  Its faults are served, and
 * charged, on the process' account: the process is killed, or its program gets an
 * error; in no case does anybody else pay.
 */
TEST_F(end, oom_by_device)
{
	int status;
	pid_t pid;

	memcg_enter_small(self, "oomdev");
	sys_try_write("/proc/self/oom_score_adj", "-1000");
	pid = ASSERT_SYS(fork());
	if (!pid) {
		struct gpu gpu = { 0 };
		int ret;

		sys_try_write("/proc/self/oom_score_adj", "1000");
		gpu_setup(&gpu);
		ret = gpu_fill(&gpu, sys_pages(64 * NPAGES), 64 * NPAGES, 1);
		_exit(ret == -ENOMEM || ret == -EFAULT ? 7 : 8);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	sys_memcg_leave(&self->cg);
	test_log("%s", WIFSIGNALED(status) ? "killed" : "the program failed");
	EXPECT_TRUE((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
		    (WIFEXITED(status) && WEXITSTATUS(status) == 7));
	expect_device_works();
}

#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif

/*
 * What the OOM reaper does, on demand: process_mrelease() takes the memory of a dying
 * process that does not get to its own exit.  Here it is held at the door to exit()
 * by ptrace.  The event must not block; a device that is not done is asked again.
 */
TEST_F(end, process_mrelease)
{
	struct victim victim;
	char path[64];
	int status, ret = -1;

	trace_start(self);
	victim_start(&victim, self->shared, do_pause);
	ASSERT_SYS(ptrace(PTRACE_SEIZE, victim.pid, 0, PTRACE_O_TRACEEXIT));
	ASSERT_SYS(kill(victim.pid, SIGKILL));
	ASSERT_EQ(victim.pid, waitpid(victim.pid, &status, __WALL));
	if (!WIFSTOPPED(status)) {
		expect_stopped(&victim, self->shared);
		SKIP("the process was gone before it could be held");
	}
	for (int tries = 0; tries < 2000 && ret; tries++) {
		ret = (int)syscall(SYS_process_mrelease, victim.pidfd, 0);
		if (ret && errno != EAGAIN)
			break;
		if (ret)
			sys_sleep_ms(1);
	}
	if (ret && errno == ENOSYS)
		SKIP("no process_mrelease()");
	EXPECT_EQ(0, ret);
	EXPECT_TRUE(trace_find("reasons=oom", "nonblock"));
	snprintf(path, sizeof(path), "/proc/%d/status", victim.pid);
	/* The memory that the device was using is free already. */
	EXPECT_LT(sys_number_of(path, "RssAnon:"), (long long)(NPAGES * PAGE_SIZE / 1024));
	ASSERT_SYS(ptrace(PTRACE_DETACH, victim.pid, 0, 0));
	while (waitpid(victim.pid, &status, 0) == victim.pid && !WIFSIGNALED(status))
		continue;
	expect_stopped(&victim, self->shared);
	expect_device_works();
}

HARNESS_MAIN

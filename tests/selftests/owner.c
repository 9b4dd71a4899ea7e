// SPDX-License-Identifier: GPL-2.0
/*
 * Whose file is it?  A file of the device belongs to the address space that opened it:
 * it is of no use to a child, to a process that was given it, or after exec().  The
 * files of one process share an address space on the device, whose life is that of the
 * longest open one.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include "abi.h"

FIXTURE(owner) {
	int fd;
	char *mem;	/* 16 pages of this process, 2 MiB from anything else */
};

FIXTURE_SETUP(owner)
{
	self->fd = ASSERT_SYS(abi_open(O_CLOEXEC));
	self->mem = sys_pages(16);
	memset(self->mem, 0x5a, 16 * PAGE_SIZE);
}

FIXTURE_TEARDOWN(owner)
{
	close(self->fd);
}

/* Every call from another address space fails with EPERM. */
static void owner_expect_stranger(int fd)
{
	struct dgpu_info info = {};
	struct dgpu_submit submit = abi_submit(halt, 1);
	struct dgpu_result result = { .job = 1 };
	struct dgpu_range range = { .start = (uintptr_t)&info & ~(PAGE_SIZE - 1),
				    .length = PAGE_SIZE };
	uint8_t out;
	struct dgpu_ptes ptes = { .npages = 1, .out = (uintptr_t)&out };
	struct dgpu_stat stat = {};
	struct dgpu_events events = { .capacity = 16 };
	struct dgpu_migrate migrate = { .start = range.start, .length = PAGE_SIZE };
	struct dgpu_policy policy = { .policy = HMM_POLICY_NEVER };
	struct dgpu_hint hint = { .start = range.start, .length = PAGE_SIZE };
	struct dgpu_page_info page;
	struct dgpu_residency residency = { .npages = 1, .out = (uintptr_t)&page };
	struct dgpu_evacuate evacuate = {};
	struct dgpu_event event;

	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_INFO, &info));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_SUBMIT, &submit));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_RESULT, &result));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_PREFAULT, &range));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_PTES, &ptes));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_STAT, &stat));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_EVENTS, &events));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_MIGRATE, &migrate));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_POLICY, &policy));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_HINT, &hint));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_RESIDENCY, &residency));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_EVACUATE, &evacuate));
	EXPECT_ERRNO(EPERM, read(fd, &event, sizeof(event)));
}

TEST_F(owner, inherited_by_fork)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		int own;

		owner_expect_stranger(self->fd);
		/* Its own file is another matter. */
		own = abi_open(O_CLOEXEC);
		EXPECT_GE(own, 0);
		EXPECT_EQ(DGPU_OK, abi_run(own, store, 2, (uintptr_t)self->mem, 99).status);
		EXPECT_EQ(99, *(uint64_t *)self->mem);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0x5a, self->mem[0]);
	EXPECT_EQ(DGPU_OK, abi_run(self->fd, store, 2, (uintptr_t)self->mem, 98).status);
	EXPECT_EQ(98, *(uint64_t *)self->mem);
}

TEST_F(owner, shared_by_threads_and_vfork)
{
	/* The same memory, so the same address space: vfork() may use it. */
	pid_t pid = vfork();
	int status;

	if (!pid) {
		struct dgpu_info info = {};

		_exit(ioctl(self->fd, DGPU_IOCTL_INFO, &info) ? errno : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

static void owner_send_fd(int sock, int fd)
{
	char c = 0, control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { .iov_base = &c, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	ASSERT_EQ(1, sendmsg(sock, &msg, 0));
}

static int owner_receive_fd(int sock)
{
	char c, control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { .iov_base = &c, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd = -1;

	ASSERT_EQ(1, recvmsg(sock, &msg, 0));
	ASSERT_NE(CMSG_FIRSTHDR(&msg), NULL);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

TEST_F(owner, passed_over_a_socket)
{
	int socks[2], status, fd;
	pid_t pid;
	char c;

	ASSERT_SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	pid = fork();
	if (!pid) {
		/* The child opens, passes it on, and waits. */
		fd = abi_open(O_CLOEXEC);
		EXPECT_GE(fd, 0);
		EXPECT_EQ(DGPU_OK, abi_run(fd, store, 2, (uintptr_t)self->mem, 1).status);
		owner_send_fd(socks[1], fd);
		EXPECT_EQ(1, read(socks[1], &c, 1));
		EXPECT_EQ(DGPU_OK, abi_run(fd, store, 2, (uintptr_t)self->mem, 2).status);
		_exit(0);
	}
	fd = owner_receive_fd(socks[0]);
	owner_expect_stranger(fd);
	ASSERT_EQ(1, write(socks[0], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* The process that it belongs to is gone. */
	owner_expect_stranger(fd);
	close(fd);
	close(socks[0]);
	close(socks[1]);
}

/* The jobs of a process end with it, also if its file is still open elsewhere. */
TEST_F(owner, exit_with_a_running_job)
{
	int socks[2], status, fd, fence;
	pid_t pid;

	ASSERT_SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	pid = fork();
	if (!pid) {
		struct dgpu_submit args = abi_submit(forever, 1);

		fd = abi_open(O_CLOEXEC);
		args.timeout_ms = 600000;
		ASSERT_SYS(ioctl(fd, DGPU_IOCTL_SUBMIT, &args));
		owner_send_fd(socks[1], fd);
		owner_send_fd(socks[1], args.fence_fd);
		_exit(0);
	}
	fd = owner_receive_fd(socks[0]);
	fence = owner_receive_fd(socks[0]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(abi_fence_wait(fence, 20000));
	EXPECT_EQ(-ECANCELED, abi_fence_status(fence));
	owner_expect_stranger(fd);
	close(fd);
	close(fence);
	close(socks[0]);
	close(socks[1]);
}

/* Threads that touch one fresh page after the other, each in a part of memory of its own. */
static const struct dgpu_insn touch_on[] = {
	{ .op = DGPU_OP_TID, .rd = 9 },
	{ .op = DGPU_OP_MUL, .rd = 9, .ra = 9, .rb = 2 },
	{ .op = DGPU_OP_ADD, .rd = 9, .ra = 9, .rb = 1 },
	{ .op = DGPU_OP_ST8, .rd = 1, .ra = 9 },
	{ .op = DGPU_OP_ADD, .rd = 9, .ra = 9, .rb = 3 },
	{ .op = DGPU_OP_JMP, .imm = 3 },
};

static void owner_exit_while_touching(int sock)
{
	const size_t part = 1ul << 30;
	struct dgpu_submit args = abi_submit(touch_on, 6);
	int fd = abi_open(O_CLOEXEC);
	char *mem;

	mem = ASSERT_SYS(mmap(NULL, 4 * part, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	args.nthreads = 4;
	args.args[0] = (uintptr_t)mem;
	args.args[1] = part;
	args.args[2] = PAGE_SIZE;
	ASSERT_SYS(ioctl(fd, DGPU_IOCTL_SUBMIT, &args));
	owner_send_fd(sock, args.fence_fd);
	/* So that it is not close() that stops the job. */
	owner_send_fd(sock, fd);
	while (!*(volatile uint64_t *)mem)
		;
	_exit(0);
}

/*
 * The same while faults are served: they may be what keeps the address space, and the next
 * ones find that it is gone before anybody has stopped the job.
 */
TEST_F(owner, exit_with_a_faulting_job)
{
	int socks[2], status, fence, fd;
	pid_t pid;

	ASSERT_SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	for (unsigned long i = 0; i < sys_scale(100); i++) {
		pid = fork();
		if (!pid)
			owner_exit_while_touching(socks[1]);
		fence = owner_receive_fd(socks[0]);
		fd = owner_receive_fd(socks[0]);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(abi_fence_wait(fence, 20000));
		EXPECT_EQ(-ECANCELED, abi_fence_status(fence));
		close(fence);
		close(fd);
	}
	close(socks[0]);
	close(socks[1]);
}

/* What exec() has left is not the process that opened the file. */
static void __attribute__((constructor)) owner_after_exec(void)
{
	const char *text = getenv("OWNER_EXEC_FD");
	struct dgpu_info info = {};

	if (!text)
		return;
	_exit(ioctl(atoi(text), DGPU_IOCTL_INFO, &info) ? errno : 0);
}

TEST_F(owner, survives_exec)
{
	int fd = ASSERT_SYS(abi_open(0)), status;
	char env[40], *envp[] = { env, NULL };
	char *argv[] = { (char *)"owner", NULL };
	pid_t pid;

	snprintf(env, sizeof(env), "OWNER_EXEC_FD=%d", fd);
	pid = fork();
	if (!pid) {
		/* A file of the child's own, at the same number. */
		int own = abi_open(0);

		dup2(own, fd);
		execve("/proc/self/exe", argv, envp);
		_exit(255);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(EPERM, WEXITSTATUS(status));
	close(fd);
}

/* ---- several files of one process ---- */

TEST_F(owner, files_share_an_address_space)
{
	struct dgpu_result result = {};
	int other = ASSERT_SYS(abi_open(O_CLOEXEC));
	struct dgpu_submit args;

	EXPECT_EQ(DGPU_OK, abi_run(self->fd, store, 2, (uintptr_t)self->mem, 1).status);
	EXPECT_NE(0, abi_pte(other, self->mem) & DGPU_PTE_VALID);
	/* But jobs are a file's. */
	args = abi_submit(halt, 1);
	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
	close(args.fence_fd);
	result.job = args.job;
	EXPECT_ERRNO(ENOENT, ioctl(other, DGPU_IOCTL_RESULT, &result));
	/* The address space lives as long as one of them. */
	close(self->fd);
	EXPECT_NE(0, abi_pte(other, self->mem) & DGPU_PTE_VALID);
	self->fd = other;
}

TEST_F(owner, close_stops_the_jobs_of_the_file)
{
	int other = ASSERT_SYS(abi_open(O_CLOEXEC));
	struct dgpu_submit mine = abi_submit(forever, 1), others = mine;
	struct dgpu_result result = {};

	mine.timeout_ms = 600000;
	others.timeout_ms = 600000;
	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_SUBMIT, &mine));
	ASSERT_SYS(ioctl(other, DGPU_IOCTL_SUBMIT, &others));
	close(other);
	EXPECT_TRUE(abi_fence_wait(others.fence_fd, 20000));
	EXPECT_EQ(-ECANCELED, abi_fence_status(others.fence_fd));
	/* The other file's job runs on. */
	result.job = mine.job;
	result.timeout_ns = 100000000;
	EXPECT_ERRNO(ETIME, ioctl(self->fd, DGPU_IOCTL_RESULT, &result));
	close(self->fd);
	EXPECT_TRUE(abi_fence_wait(mine.fence_fd, 20000));
	EXPECT_EQ(-ECANCELED, abi_fence_status(mine.fence_fd));
	self->fd = ASSERT_SYS(abi_open(O_CLOEXEC));
	EXPECT_EQ(DGPU_OK, abi_run(self->fd, halt, 1, 0, 0).status);
	close(mine.fence_fd);
	close(others.fence_fd);
}

/* Processes that open and close while others do, as fast as they can. */
TEST_F(owner, open_and_close_in_a_race)
{
	const int rounds = sys_scale(300);
	int status;

	for (int p = 0; p < 4; p++) {
		if (fork())
			continue;
		for (int i = 0; i < rounds; i++) {
			int fd = ASSERT_SYS(abi_open(O_CLOEXEC));
			struct dgpu_submit args = abi_submit(store, 2);

			args.args[0] = (uintptr_t)self->mem;
			args.args[1] = i;
			ASSERT_SYS(ioctl(fd, DGPU_IOCTL_SUBMIT, &args));
			if (i % 3)
				EXPECT_TRUE(abi_fence_wait(args.fence_fd, 20000));
			close(args.fence_fd);
			close(fd);
		}
		_exit(0);
	}
	for (int p = 0; p < 4; p++) {
		ASSERT_GT(wait(&status), 0);
		EXPECT_EQ(0, status);
	}
}

struct owner_opener {
	int rounds;
	char *mem;
};

static void *owner_open_loop(void *data)
{
	const struct owner_opener *o = data;

	for (int i = 0; i < o->rounds; i++) {
		int fd = abi_open(O_CLOEXEC);

		if (!EXPECT_GE(fd, 0))
			break;
		EXPECT_EQ(DGPU_OK, abi_run(fd, load, 2, (uintptr_t)o->mem, 0).status);
		close(fd);
	}
	return NULL;
}

/* The same by threads of one process: the last close and the next open meet. */
TEST_F(owner, threads_open_and_close_in_a_race)
{
	struct owner_opener o = { .rounds = sys_scale(300), .mem = self->mem };
	pthread_t threads[4];

	close(self->fd);
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, owner_open_loop, &o));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	self->fd = ASSERT_SYS(abi_open(O_CLOEXEC));
}

struct owner_submitter {
	int fd;
	unsigned long rounds;
};

static void *owner_submit_loop(void *data)
{
	const struct owner_submitter *s = data;

	for (unsigned long i = 0; i < s->rounds; i++)
		if (!EXPECT_EQ(DGPU_OK, abi_run(s->fd, halt, 1, 0, 0).status))
			break;
	return NULL;
}

/*
 * Jobs that are done before they are quite submitted.  One of very many once kept a
 * reference, and with it its address space and the module.
 */
TEST(short_jobs_leave_nothing_behind)
{
	const char *users = "/sys/module/dummy_gpu/refcnt";
	struct owner_submitter s = { .rounds = sys_scale(4000) };
	const uint64_t begin = sys_now_ms();
	pthread_t threads[4];
	long long before;
	uint64_t end;

	/* What the tests before this one had may be on its way out still. */
	while ((before = sys_number(users)) && sys_now_ms() < begin + 30000)
		sys_sleep_ms(10);
	EXPECT_EQ(0, before);
	s.fd = ASSERT_SYS(abi_open(O_CLOEXEC));
	EXPECT_GT(sys_number(users), before);
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, owner_submit_loop, &s));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	close(s.fd);
	for (end = sys_now_ms() + 30000; sys_number(users) != before && sys_now_ms() < end;)
		sys_sleep_ms(10);
	EXPECT_EQ(before, sys_number(users));
}

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel reaches for pages that are on the device: system calls that copy, direct
 * I/O, vmsplice, registered buffers, long-term pins, futexes.
 *
 * Whoever wants the page itself gets it in system memory, with what the device wrote;
 * as long as it is held it stays there, a request to move it says so, and the device
 * uses it in place: the very page that is held, not a copy.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define LOCAL	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)

FIXTURE(gup) {
	struct gpu gpu;
	struct sys_ext4 fs;
	char *mem;	/* NPAGES on the device, which wrote 0x1000, ... there */
	char *copy;	/* a buffer of the same size in shared memory: it does not move */
	int fd;		/* of a file on the ext4, if that is mounted; or of a pin */
};

FIXTURE_SETUP(gup)
{
	self->fd = -1;
	gpu_setup_memory(&self->gpu);
	self->copy = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	self->mem = gpu_pages_on_device(&self->gpu, NPAGES);
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(gup)
{
	gpu_teardown(&self->gpu);
	if (self->fd >= 0)
		close(self->fd);
	sys_ext4_umount(&self->fs);
}

/* ---- system calls that copy ---- */

TEST_F(gup, write_from_read_to)
{
	struct gpu *gpu = &self->gpu;
	int fds[2];

	ASSERT_SYS(pipe2(fds, O_CLOEXEC));
	ASSERT_EQ(PAGE_SIZE, write(fds[1], self->mem, PAGE_SIZE));
	ASSERT_EQ(PAGE_SIZE, read(fds[0], self->copy, PAGE_SIZE));
	EXPECT_EQ(0x1000, *word(self->copy, 0));
	EXPECT_PLACE(gpu, self->mem, 1, SYSTEM);

	*word(self->copy, 0) = 0x2008;
	ASSERT_EQ(PAGE_SIZE, write(fds[1], self->copy, PAGE_SIZE));
	gpu_move_in(gpu, self->mem, NPAGES);
	ASSERT_EQ(PAGE_SIZE, read(fds[0], self->mem + 8 * PAGE_SIZE, PAGE_SIZE));
	EXPECT_EQ(0x2008, gpu_see(gpu, word(self->mem, 8)));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 8, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + 9 * PAGE_SIZE, 7, 0x1009));
	close(fds[0]);
	close(fds[1]);
}

/* A signal is delivered onto a stack that is on the device. */
static volatile sig_atomic_t delivered;

static void on_signal(int sig)
{
	delivered = sig;
}

TEST_F(gup, signal_stack)
{
	const struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	const stack_t stack = { .ss_sp = self->mem, .ss_size = LENGTH };

	ASSERT_SYS(sigaltstack(&stack, NULL));
	ASSERT_SYS(sigaction(SIGUSR1, &action, NULL));
	for (int i = 0; i < 20; i++) {
		gpu_move_in(&self->gpu, self->mem, NPAGES);
		delivered = 0;
		raise(SIGUSR1);
		ASSERT_EQ(SIGUSR1, delivered);
	}
}

static int futex(volatile void *addr, int op, uint32_t value, unsigned long value2,
		 volatile void *addr2, uint32_t value3)
{
	const long ret = syscall(SYS_futex, addr, op, value, value2, addr2, value3);

	return ret < 0 ? -errno : (int)ret;
}

struct sleeper {
	volatile uint32_t *addr;
	volatile int ready, woken;
};

static void *sleep_on(void *arg)
{
	struct sleeper *sleeper = arg;
	const uint32_t value = *sleeper->addr;

	sleeper->ready = 1;
	/* 0 is a wakeup; not to have slept because of another value is none. */
	sleeper->woken = futex(sleeper->addr, FUTEX_WAIT, value, 0, NULL, 0) == 0 ? 1 : -1;
	return NULL;
}

/* The word that somebody sleeps on goes to the device meanwhile. */
TEST_F(gup, futex)
{
	struct sleeper sleeper = { .addr = (volatile uint32_t *)self->mem };
	struct gpu *gpu = &self->gpu;
	pthread_t thread;
	int woken = 0;

	ASSERT_EQ(0, pthread_create(&thread, NULL, sleep_on, &sleeper));
	while (!sleeper.ready)
		sys_sleep_ms(1);
	sys_sleep_ms(50);
	gpu_move_in(gpu, self->mem, NPAGES);
	/* In the kernel: page 4: 0x1004 + 2; and wake who sleeps on page 0. */
	for (int tries = 0; tries < 1000 && !woken; tries++) {
		woken = futex(self->mem, FUTEX_WAKE_OP, 1, 1, word(self->mem, 4),
			      FUTEX_OP(FUTEX_OP_ADD, 2, FUTEX_OP_CMP_EQ, 0));
		ASSERT_GE(woken, 0);
		*word(self->mem, 5) += 1;
		if (!woken)
			sys_sleep_ms(10);
	}
	EXPECT_EQ(1, woken);
	pthread_join(thread, NULL);
	EXPECT_EQ(1, sleeper.woken);
	/* Page 5 counted the tries. */
	EXPECT_EQ(0x1004 + 2 * (*word(self->mem, 5) - 0x1005), gpu_see(gpu, word(self->mem, 4)));
}

static void *lock_and_die(void *arg)
{
	pthread_mutex_lock(arg);
	return NULL;
}

/* The kernel walks the robust list of a thread that ends. */
TEST_F(gup, robust_futex)
{
	pthread_mutex_t *mutex = (pthread_mutex_t *)(self->mem + 64);
	struct gpu *gpu = &self->gpu;
	pthread_mutexattr_t attr;
	pthread_t thread;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (int i = 0; i < 10; i++) {
		pthread_mutex_init(mutex, &attr);
		gpu_move_in(gpu, self->mem, NPAGES);
		ASSERT_EQ(0, pthread_create(&thread, NULL, lock_and_die, mutex));
		pthread_join(thread, NULL);
		gpu_move_in(gpu, self->mem, NPAGES);
		ASSERT_EQ(EOWNERDEAD, pthread_mutex_lock(mutex));
		pthread_mutex_consistent(mutex);
		pthread_mutex_unlock(mutex);
		pthread_mutex_destroy(mutex);
	}
}

/* ---- direct I/O ---- */

static void open_direct(struct sys_ext4 *fs, int *fd, char *copy, uint64_t value)
{
	char path[100];

	sys_ext4_mount(fs);
	snprintf(path, sizeof(path), "%s/direct", fs->dir);
	*fd = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	cpu_fill(copy, NPAGES, value);
	ASSERT_EQ(LENGTH, pwrite(*fd, copy, LENGTH, 0));
	ASSERT_SYS(fsync(*fd));
	close(*fd);
	*fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (*fd < 0)
		SKIP("no O_DIRECT on this file system: %s", strerror(errno));
}

TEST_F(gup, o_direct_write)
{
	struct gpu *gpu = &self->gpu;
	const uint64_t out = gpu_rmem(gpu, HMM_RMEM_OUT);

	open_direct(&self->fs, &self->fd, self->copy, 0x9000);
	ASSERT_EQ(LENGTH, pwrite(self->fd, self->mem, LENGTH, 0));
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_EQ(out + NPAGES, gpu_rmem(gpu, HMM_RMEM_OUT));
	ASSERT_EQ(LENGTH, pread(self->fd, self->copy, LENGTH, 0));
	EXPECT_TRUE(cpu_check(self->copy, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	/* Nothing is held any more. */
	gpu_move_in(gpu, self->mem, NPAGES);
}

TEST_F(gup, o_direct_read)
{
	struct gpu *gpu = &self->gpu;

	open_direct(&self->fs, &self->fd, self->copy, 0x9000);
	ASSERT_EQ(LENGTH, pread(self->fd, self->mem, LENGTH, 0));
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x9000));
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x9000));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x9000));
}

struct storm {
	int fd;
	char *mem, *copy;
	volatile int stop, failed;
	unsigned long rounds;
};

/* Writes the same pages to the file, and looks at what came there. */
static void *direct_writes(void *arg)
{
	struct storm *storm = arg;
	uint64_t last = 0, now;

	while (!storm->stop) {
		if (pwrite(storm->fd, storm->mem, LENGTH, 0) != (ssize_t)LENGTH ||
		    pread(storm->fd, storm->copy, LENGTH, 0) != (ssize_t)LENGTH)
			storm->failed = 1;
		now = *word(storm->copy, 3);
		if (now < last)		/* the device only counts up */
			storm->failed = 2;
		last = now;
		storm->rounds++;
	}
	return NULL;
}

/*
 * Direct I/O of pages that a program on the device increments, and that move in all the
 * time: an increment that is lost went into a page that was the wrong one then.
 */
TEST_F(gup, o_direct_storm)
{
	const uint64_t total = sys_scale(20000);
	struct storm storm = { .mem = self->mem, .copy = self->copy };
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	struct dgpu_result result;
	struct dgpu_job *job;
	uint64_t in = 0;
	pthread_t thread;
	int ret;

	open_direct(&self->fs, &self->fd, self->copy, 0);
	storm.fd = self->fd;
	*word(self->mem, 3) = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, direct_writes, &storm));
	job = gpu_start(gpu, GPU_INCR, 4, (uintptr_t)word(self->mem, 3), total, 0, 0);
	do {
		gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
		in += moved.moved;
		ret = dgpu_job_wait(job, 1, &result);
	} while (ret == -ETIME);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(job);
	storm.stop = 1;
	pthread_join(thread, NULL);
	test_log("%ju pages moved in, %lu rounds of I/O", (uintmax_t)in, storm.rounds);
	EXPECT_EQ(0, storm.failed);
	EXPECT_EQ(4 * total, *word(self->mem, 3));
}

/* ---- pages that are held ---- */

/* Pages 4 to 7 are held in system memory: what a request and the device make of it. */
static void expect_held(struct gpu *gpu, char *mem, uint64_t value)
{
	const uint64_t busy = gpu_rmem(gpu, HMM_RMEM_BUSY);
	const uint64_t end = sys_patience_ms();
	struct gpu_moved moved;

	gpu_migrate(gpu, mem, NPAGES, 0, &moved);
	/* The others may be in use for a moment, too; not for ever. */
	while (moved.count[HMM_PAGE_BUSY] > 4 && sys_now_ms() < end) {
		sys_sleep_ms(5);
		gpu_migrate(gpu, mem, NPAGES, 0, &moved);
	}
	EXPECT_EQ(-EBUSY, moved.ret);
	EXPECT_RESULTS(&moved, 4, 4, BUSY);
	EXPECT_EQ(NPAGES - 4, moved.count[HMM_PAGE_MOVED] + moved.count[HMM_PAGE_THERE]);
	EXPECT_GE(gpu_rmem(gpu, HMM_RMEM_BUSY), busy + 4);
	EXPECT_PLACE(gpu, mem, 4, DEVICE);
	EXPECT_PLACE(gpu, mem + 4 * PAGE_SIZE, 4, SYSTEM);
	EXPECT_PLACE(gpu, mem + 8 * PAGE_SIZE, NPAGES - 8, DEVICE);
	EXPECT_EQ(0, gpu_fill(gpu, mem, NPAGES, value));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, mem, NPAGES, DGPU_PTE_VALID | DGPU_PTE_WRITE));
	EXPECT_EQ(NPAGES - 4, gpu_ptes(gpu, mem, NPAGES, LOCAL));
	EXPECT_EQ(0, gpu_ptes(gpu, mem + 4 * PAGE_SIZE, 4, DGPU_PTE_LOCAL));
}

static void expect_free(struct gpu *gpu, char *mem, uint64_t value)
{
	gpu_move_in(gpu, mem, NPAGES);
	EXPECT_EQ(0, gpu_check(gpu, mem, NPAGES, value));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, mem, NPAGES, LOCAL));
	EXPECT_TRUE(cpu_check(mem, NPAGES, value));
}

TEST_F(gup, vmsplice)
{
	struct iovec iov = { self->mem + 4 * PAGE_SIZE, 4 * PAGE_SIZE };
	struct gpu *gpu = &self->gpu;
	int fds[2];

	ASSERT_SYS(pipe2(fds, O_CLOEXEC));
	ASSERT_EQ(4 * PAGE_SIZE, vmsplice(fds[1], &iov, 1, 0));
	EXPECT_PLACE(gpu, self->mem + 4 * PAGE_SIZE, 4, SYSTEM);
	expect_held(gpu, self->mem, 0x2000);
	/* What the device wrote in place is what comes out of the pipe. */
	ASSERT_EQ(4 * PAGE_SIZE, read(fds[0], self->copy, 4 * PAGE_SIZE));
	EXPECT_TRUE(cpu_check(self->copy, 4, 0x2004));
	expect_free(gpu, self->mem, 0x2000);
	close(fds[0]);
	close(fds[1]);
}

/* The pipe still holds the pages when their address is unmapped, or used again. */
TEST_F(gup, vmsplice_and_unmap)
{
	struct iovec iov = { self->mem, LENGTH };
	struct gpu *gpu = &self->gpu;
	int fds[2];

	ASSERT_SYS(pipe2(fds, O_CLOEXEC));
	ASSERT_EQ(LENGTH, vmsplice(fds[1], &iov, 1, 0));
	ASSERT_SYS(munmap(self->mem, LENGTH));
	ASSERT_EQ(self->mem, mmap(self->mem, LENGTH, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	cpu_fill(self->mem, NPAGES, 0x3000);
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x4000));
	ASSERT_EQ(LENGTH, read(fds[0], self->copy, LENGTH));
	EXPECT_TRUE(cpu_check(self->copy, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x4000));
	close(fds[0]);
	close(fds[1]);
}

/* ---- io_uring ---- */

struct ring {
	int fd;
	struct io_uring_params params;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static void ring_open(struct ring *ring)
{
	struct io_uring_params *p = &ring->params;

	memset(ring, 0, sizeof(*ring));
	ring->fd = (int)syscall(SYS_io_uring_setup, 4, p);
	if (ring->fd < 0)
		SKIP("no io_uring: %s", strerror(errno));
	ring->sq = ASSERT_SYS(mmap(NULL, p->sq_off.array + p->sq_entries * sizeof(uint32_t),
				   PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
				   IORING_OFF_SQ_RING));
	ring->cq = ASSERT_SYS(mmap(NULL, p->cq_off.cqes + p->cq_entries *
				   sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
				   MAP_SHARED, ring->fd, IORING_OFF_CQ_RING));
	ring->sqes = ASSERT_SYS(mmap(NULL, p->sq_entries * sizeof(struct io_uring_sqe),
				     PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
				     IORING_OFF_SQES));
}

/* One request on the registered buffer; its result. */
static int ring_do(struct ring *ring, uint8_t opcode, int fd, void *addr, size_t length)
{
	struct io_uring_params *p = &ring->params;
	volatile uint32_t *tail = (uint32_t *)(ring->sq + p->sq_off.tail);
	volatile uint32_t *head = (uint32_t *)(ring->cq + p->cq_off.head);
	const uint32_t mask = *(uint32_t *)(ring->cq + p->cq_off.ring_mask);
	const uint32_t at = *tail & *(uint32_t *)(ring->sq + p->sq_off.ring_mask);
	int res;

	ring->sqes[at] = (struct io_uring_sqe) {
		.opcode = opcode,
		.fd = fd,
		.addr = (uintptr_t)addr,
		.len = (uint32_t)length,
	};
	((uint32_t *)(ring->sq + p->sq_off.array))[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	ASSERT_EQ(1, syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	res = ((struct io_uring_cqe *)(ring->cq + p->cq_off.cqes))[*head & mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return res;
}

TEST_F(gup, io_uring_registered)
{
	struct iovec iov = { self->mem + 4 * PAGE_SIZE, 4 * PAGE_SIZE };
	struct gpu *gpu = &self->gpu;
	struct ring ring;
	int fd;

	ring_open(&ring);
	self->fd = ring.fd;
	fd = ASSERT_SYS(memfd_create("file", MFD_CLOEXEC));
	cpu_fill(self->copy, 4, 0x9000);
	ASSERT_EQ(4 * PAGE_SIZE, pwrite(fd, self->copy, 4 * PAGE_SIZE, 0));

	ASSERT_SYS(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &iov, 1));
	EXPECT_PLACE(gpu, self->mem + 4 * PAGE_SIZE, 4, SYSTEM);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
	expect_held(gpu, self->mem, 0x2000);
	/* The kernel's page is the device's page, both ways. */
	ASSERT_EQ(4 * PAGE_SIZE, ring_do(&ring, IORING_OP_WRITE_FIXED, fd, iov.iov_base,
					 4 * PAGE_SIZE));
	ASSERT_EQ(4 * PAGE_SIZE, pread(fd, self->copy, 4 * PAGE_SIZE, 0));
	EXPECT_TRUE(cpu_check(self->copy, 4, 0x2004));
	cpu_fill(self->copy, 4, 0x9000);
	ASSERT_EQ(4 * PAGE_SIZE, pwrite(fd, self->copy, 4 * PAGE_SIZE, 0));
	ASSERT_EQ(4 * PAGE_SIZE, ring_do(&ring, IORING_OP_READ_FIXED, fd, iov.iov_base,
					 4 * PAGE_SIZE));
	EXPECT_EQ(0, gpu_check(gpu, iov.iov_base, 4, 0x9000));

	ASSERT_SYS(syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x5000));
	expect_free(gpu, self->mem, 0x5000);
	close(fd);
}

/* ---- the kernel's own test of pins ---- */

#define GUP_TEST	"/sys/kernel/debug/gup_test"

struct pin_longterm_test {
	uint64_t addr, size;
	uint32_t flags;
};

#define PIN_LONGTERM_TEST_START	_IOW('g', 7, struct pin_longterm_test)
#define PIN_LONGTERM_TEST_STOP	_IO('g', 8)
#define PIN_LONGTERM_TEST_READ	_IOW('g', 9, uint64_t)
#define PIN_WRITE		1u
#define PIN_FAST		2u

static void pin_longterm(struct gpu *gpu, int *fd, char *mem, char *copy, uint32_t flags)
{
	struct pin_longterm_test pin = {
		(uintptr_t)mem + 4 * PAGE_SIZE, 4 * PAGE_SIZE, flags,
	};
	uint64_t to = (uintptr_t)copy;

	*fd = open(GUP_TEST, O_RDWR | O_CLOEXEC);
	if (*fd < 0)
		SKIP("this kernel has no gup_test");
	ASSERT_SYS(ioctl(*fd, PIN_LONGTERM_TEST_START, &pin));
	EXPECT_PLACE(gpu, mem + 4 * PAGE_SIZE, 4, SYSTEM);
	ASSERT_SYS(ioctl(*fd, PIN_LONGTERM_TEST_READ, &to));
	EXPECT_TRUE(cpu_check(copy, 4, 0x1004));
	expect_held(gpu, mem, 0x2000);
	ASSERT_SYS(ioctl(*fd, PIN_LONGTERM_TEST_READ, &to));
	EXPECT_TRUE(cpu_check(copy, 4, 0x2004));
	/* To where they are already, they can go. */
	EXPECT_EQ(0, dgpu_migrate(gpu->dev, mem, LENGTH, DGPU_MIGRATE_TO_SYSTEM, NULL, NULL));
	EXPECT_PLACE(gpu, mem, NPAGES, SYSTEM);
	ASSERT_SYS(ioctl(*fd, PIN_LONGTERM_TEST_STOP));
	expect_free(gpu, mem, 0x2000);
}

TEST_F(gup, pin_longterm)
{
	pin_longterm(&self->gpu, &self->fd, self->mem, self->copy, PIN_WRITE);
}

TEST_F(gup, pin_longterm_fast)
{
	pin_longterm(&self->gpu, &self->fd, self->mem, self->copy, PIN_WRITE | PIN_FAST);
}

TEST_F(gup, pin_longterm_read)
{
	pin_longterm(&self->gpu, &self->fd, self->mem, self->copy, 0);
}

GPU_POOL_TEST

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * The samples.  Of the driver, samples/hmm_sample: what it reads of this process by its mirror
 * is what the process sees, whatever it does to its memory meanwhile.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

FIXTURE(sample) {
	int fd;
	volatile uint64_t *mem;
};

FIXTURE_SETUP(sample)
{
	self->fd = open("/dev/hmm_sample", O_RDONLY | O_CLOEXEC);
	if (self->fd < 0 && errno == ENOENT)
		SKIP("hmm_sample.ko is not inserted");
	ASSERT_GE(self->fd, 0);
	self->mem = sys_pages(64);
	cpu_fill(self->mem, 64, 0x1000);
}

FIXTURE_TEARDOWN(sample)
{
	if (self->fd >= 0)
		close(self->fd);
}

/* What the device reads at an address; -errno in *error. */
static uint64_t sample_see(int fd, const volatile void *addr, int *error)
{
	uint64_t value = 0;
	ssize_t n = pread(fd, &value, sizeof(value), (off_t)(uintptr_t)addr);

	*error = n < 0 ? -errno : n == sizeof(value) ? 0 : -EIO;
	return value;
}

#define EXPECT_SEES(value, addr) do { \
	int error_; \
	EXPECT_EQ(value, sample_see(self->fd, addr, &error_)); \
	EXPECT_EQ(0, error_); \
} while (0)

#define EXPECT_FAILS(error, addr) do { \
	int error_; \
	sample_see(self->fd, addr, &error_); \
	EXPECT_EQ(-(error), error_); \
} while (0)

TEST_F(sample, reads_memory)
{
	char *copy = malloc(64 * PAGE_SIZE);

	ASSERT_NE(copy, NULL);
	/* In one piece, at odd addresses, over page boundaries. */
	ASSERT_EQ(64 * PAGE_SIZE - 13, pread(self->fd, copy, 64 * PAGE_SIZE - 13,
					     (off_t)(uintptr_t)self->mem + 13));
	EXPECT_EQ(0, memcmp(copy, (char *)self->mem + 13, 64 * PAGE_SIZE - 13));
	/* The program itself, a file mapping, and the stack. */
	ASSERT_EQ(32, pread(self->fd, copy, 32, (off_t)(uintptr_t)sample_see));
	EXPECT_EQ(0, memcmp(copy, (void *)(uintptr_t)sample_see, 32));
	EXPECT_SEES((uintptr_t)copy, &copy);
	free(copy);
}

TEST_F(sample, follows_the_process)
{
	volatile uint64_t *mem = self->mem;
	int status;
	pid_t pid;

	EXPECT_SEES(0x1000, mem);
	mem[0] = 0x2000;
	EXPECT_SEES(0x2000, mem);
	ASSERT_SYS(madvise((void *)mem, PAGE_SIZE, MADV_DONTNEED));
	EXPECT_SEES(0, mem);
	mem[0] = 0x3000;
	EXPECT_SEES(0x3000, mem);
	/* After fork() the first write moves us to another page. */
	pid = fork();
	if (!pid)
		_exit(0);
	mem[0] = 0x4000;
	EXPECT_SEES(0x4000, mem);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_NE(MAP_FAILED, mmap((void *)mem, PAGE_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	mem[0] = 0x5000;
	EXPECT_SEES(0x5000, mem);
	ASSERT_SYS(mprotect((void *)mem, PAGE_SIZE, PROT_NONE));
	EXPECT_FAILS(EACCES, mem);
	ASSERT_SYS(mprotect((void *)mem, PAGE_SIZE, PROT_READ));
	EXPECT_SEES(0x5000, mem);
	ASSERT_SYS(munmap((void *)mem, PAGE_SIZE));
	EXPECT_FAILS(EFAULT, mem);
	EXPECT_SEES(0x1001, &mem[PAGE_SIZE / 8]);
}

TEST_F(sample, bad_addresses)
{
	EXPECT_FAILS(EFAULT, (void *)0);
	EXPECT_FAILS(EFAULT, (void *)(1ul << 47));
	EXPECT_FAILS(EFAULT, (void *)((1ul << 57) - PAGE_SIZE));
	EXPECT_FAILS(EFAULT, (void *)(1ul << 57));
	EXPECT_FAILS(EINVAL, (void *)0xffff888000000000ul);
	/* Short before what is not there. */
	EXPECT_FAILS(EIO, (char *)self->mem + 64 * PAGE_SIZE - 3);
}

TEST_F(sample, one_file_a_process)
{
	int status;
	pid_t pid;

	EXPECT_EQ(-1, open("/dev/hmm_sample", O_RDONLY));
	EXPECT_EQ(EEXIST, errno);
	pid = fork();
	if (!pid) {
		EXPECT_FAILS(EPERM, self->mem);
		/* A file of its own. */
		close(self->fd);
		self->fd = open("/dev/hmm_sample", O_RDONLY);
		EXPECT_SEES(0x1000, self->mem);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_SEES(0x1000, self->mem);
}

struct sample_writer {
	volatile uint64_t *mem, done;
	volatile bool stop;
};

/* Generation after generation, each in a fresh page. */
static void *sample_remap(void *data)
{
	struct sample_writer *w = data;
	uint64_t generation = 1;

	while (!w->stop) {
		if (generation % 2)
			madvise((void *)w->mem, PAGE_SIZE, MADV_DONTNEED);
		else if (mmap((void *)w->mem, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			break;
		*w->mem = generation;
		__atomic_store_n(&w->done, generation++, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

TEST_F(sample, never_reads_an_old_page)
{
	struct sample_writer w = { .mem = self->mem };
	const unsigned long wanted = sys_scale(5000);
	const uint64_t end = sys_now_ms() + 20000;
	unsigned long good = 0;
	pthread_t thread;
	uint64_t before, value;
	int error;

	*w.mem = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, sample_remap, &w));
	while (good < wanted && sys_now_ms() < end) {
		before = __atomic_load_n(&w.done, __ATOMIC_SEQ_CST);
		value = sample_see(self->fd, self->mem, &error);
		if (!EXPECT_EQ(0, error))
			break;
		/* Zero: the new page, before the CPU has written. */
		if (value && !EXPECT_GE(value, before))
			break;
		good += !!value;
	}
	w.stop = true;
	pthread_join(thread, NULL);
	EXPECT_GT(good, 0);
}

/* samples/files, which compares for itself. */
TEST_TIMEOUT(files, 300)
{
	if (sys_run("grep -qw ext4_hmm /proc/filesystems"))
		SKIP("ext4_hmm is not loaded");
	if (sys_run("grep -qsx hmm-scratch /sys/block/*/serial"))
		SKIP("no disk");
	EXPECT_EQ(0, sys_run("HMM_DEMO_TIMEOUT=5m ../../samples/files/run >/tmp/files.out 2>&1 || "
			     "{ sed 's/^/# /' /tmp/files.out; false; }"));
	unlink("/tmp/files.out");
}

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * The driver behind the ABI of the kernel's test driver, drivers/dmirror: what the kernel's
 * own suite does not ask.  Bad arguments change nothing; a range that is only in part what it
 * should be; what the device has written is not lost.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "gpu.h"
#include "harness.h"
#include "hmm_dmirror.h"
#include "sys.h"

#define NPAGES	8ul

FIXTURE(dmirror) {
	int fd;
	volatile uint64_t *mem;
	uint64_t *copy;		/* what the device reads, or writes */
};

FIXTURE_VARIANT(dmirror) {
	const char *path;
};

FIXTURE_VARIANT_ADD(dmirror, private) { .path = "/dev/hmm_dmirror0" };
FIXTURE_VARIANT_ADD(dmirror, coherent) { .path = "/dev/hmm_dmirror2" };

FIXTURE_SETUP(dmirror)
{
	self->fd = open(variant->path, O_RDWR | O_CLOEXEC);
	if (self->fd < 0 && errno == ENOENT)
		SKIP("there is no %s", variant->path);
	ASSERT_GE(self->fd, 0);
	self->mem = sys_pages(NPAGES);
	cpu_fill(self->mem, NPAGES, 0x1000);
	self->copy = sys_pages(NPAGES);
}

FIXTURE_TEARDOWN(dmirror)
{
	if (self->fd >= 0)
		close(self->fd);
}

/* The page of that number, of either buffer. */
#define AT(base, n)	(&(base)[(n) * PAGE_SIZE / sizeof(uint64_t)])

/* A command on @npages from page @first on; 0 or -errno, and in *@cmd what came back. */
static int command(int fd, unsigned long op, struct dmirror_cmd *cmd)
{
	cmd->cpages = cmd->faults = 77;
	return ioctl(fd, op, cmd) ? -errno : 0;
}

#define CMD(_addr, _ptr, _npages) (&(struct dmirror_cmd) { \
	.addr = (uintptr_t)(_addr), .ptr = (uintptr_t)(_ptr), .npages = (_npages) })

#define EXPECT_COMMAND(ret, npages, op, cmd) do { \
	struct dmirror_cmd *cmd_ = (cmd); \
	EXPECT_EQ(ret, command(self->fd, op, cmd_)); \
	EXPECT_EQ(npages, cmd_->cpages); \
} while (0)

static const unsigned long ranged[] = {
	DMIRROR_READ, DMIRROR_WRITE, DMIRROR_MIGRATE_TO_DEV, DMIRROR_MIGRATE_TO_SYS,
	DMIRROR_SNAPSHOT, DMIRROR_EXCLUSIVE, DMIRROR_CHECK_EXCLUSIVE,
};

static void need_memory(int fd, const volatile void *mem, void *copy)
{
	if (command(fd, DMIRROR_MIGRATE_TO_DEV, CMD(mem, copy, 1)) == -EOPNOTSUPP)
		SKIP("this kernel has no such device memory");
}

TEST_F(dmirror, bad_arguments)
{
	uint8_t *before = malloc(NPAGES), *after = malloc(NPAGES);
	unsigned int i;

	EXPECT_COMMAND(0, NPAGES, DMIRROR_SNAPSHOT, CMD(self->mem, before, NPAGES));
	for (i = 0; i < sizeof(ranged) / sizeof(ranged[0]); i++) {
		EXPECT_COMMAND(-EINVAL, 0, ranged[i], CMD(self->mem, self->copy, 0));
		EXPECT_COMMAND(-EINVAL, 0, ranged[i], CMD((uintptr_t)self->mem + 8, self->copy, 1));
		EXPECT_COMMAND(-EINVAL, 0, ranged[i], CMD(self->mem, self->copy, 1ull << 52));
		EXPECT_COMMAND(-EINVAL, 0, ranged[i], CMD(self->mem, self->copy, ~0ull));
		EXPECT_COMMAND(-EINVAL, 0, ranged[i], CMD(-PAGE_SIZE, self->copy, 2));
		EXPECT_EQ(-1, ioctl(self->fd, ranged[i], (void *)16));
		EXPECT_EQ(EFAULT, errno);
	}
	EXPECT_COMMAND(-ENOTTY, 0, _IOWR('H', 0x09, struct dmirror_cmd),
		       CMD(self->mem, self->copy, 1));
	EXPECT_COMMAND(-ENOTTY, 0, _IOW('H', 0x00, struct dmirror_cmd),
		       CMD(self->mem, self->copy, 1));
	EXPECT_COMMAND(-EINVAL, 0, DMIRROR_FLAGS, CMD(0, 0, DMIRROR_FLAG_SPLIT << 1));
	EXPECT_COMMAND(-EINVAL, 0, DMIRROR_FLAGS, CMD(0, 0, ~0ull));
	EXPECT_COMMAND(0, 0, DMIRROR_FLAGS, CMD(0, 0, DMIRROR_FLAG_SPLIT));
	EXPECT_COMMAND(0, 0, DMIRROR_FLAGS, CMD(0, 0, 0));

	EXPECT_COMMAND(0, NPAGES, DMIRROR_SNAPSHOT, CMD(self->mem, after, NPAGES));
	EXPECT_EQ(0, memcmp(before, after, NPAGES));
	EXPECT_EQ(0x1000, *self->mem);
	EXPECT_EQ(0, *self->copy);
}

/* Where there is nothing to be had, or nothing to put it. */
TEST_F(dmirror, bad_addresses)
{
	const uint64_t end = 1ull << 47;
	uint8_t prot[2] = { 0 };

	EXPECT_COMMAND(-EFAULT, 0, DMIRROR_READ, CMD(0, self->copy, 1));
	EXPECT_COMMAND(-EFAULT, 0, DMIRROR_READ, CMD(end, self->copy, 1));
	EXPECT_COMMAND(-EFAULT, 0, DMIRROR_WRITE, CMD(1ull << 56, self->copy, 1));
	EXPECT_COMMAND(0, 2, DMIRROR_SNAPSHOT, CMD(end, prot, 2));
	EXPECT_EQ(DMIRROR_PROT_ERROR, prot[0]);
	EXPECT_EQ(DMIRROR_PROT_ERROR, prot[1]);
	EXPECT_COMMAND(-EFAULT, 0, DMIRROR_READ, CMD(self->mem, 16, NPAGES));
	EXPECT_COMMAND(-EFAULT, 0, DMIRROR_WRITE, CMD(self->mem, 16, NPAGES));
	EXPECT_COMMAND(-EFAULT, 0, DMIRROR_READ, CMD(self->mem, 1ull << 63, NPAGES));
	EXPECT_COMMAND(-EFAULT, 0, DMIRROR_SNAPSHOT, CMD(self->mem, 16, NPAGES));
	ASSERT_SYS(mprotect(AT(self->copy, 4), 4 * PAGE_SIZE, PROT_NONE));
	EXPECT_COMMAND(-EFAULT, 4, DMIRROR_READ, CMD(self->mem, self->copy, NPAGES));
	EXPECT_EQ(0x1003, *AT(self->copy, 3));
	EXPECT_EQ(0x1000, *self->mem);
}

TEST_F(dmirror, in_part)
{
	need_memory(self->fd, AT(self->mem, 7), self->copy);
	ASSERT_NE(MAP_FAILED, mmap((void *)AT(self->mem, 3), PAGE_SIZE, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_SYS(munmap((void *)AT(self->mem, 6), PAGE_SIZE));
	/* What can move has moved. */
	EXPECT_COMMAND(-ENOENT, 0, DMIRROR_MIGRATE_TO_DEV, CMD(self->mem, self->copy, 6));
	EXPECT_COMMAND(-EINVAL, 0, DMIRROR_MIGRATE_TO_DEV, CMD(AT(self->mem, 4), self->copy, 4));
	EXPECT_COMMAND(-EFAULT, 2, DMIRROR_READ, CMD(AT(self->mem, 4), self->copy, 3));
	EXPECT_COMMAND(-EOPNOTSUPP, 6, DMIRROR_MIGRATE_TO_SYS, CMD(self->mem, 0, NPAGES));
	EXPECT_COMMAND(-EINVAL, 0, DMIRROR_MIGRATE_TO_SYS, CMD(AT(self->mem, 4), 0, 4));
	EXPECT_COMMAND(-EOPNOTSUPP, 0, DMIRROR_EXCLUSIVE, CMD(AT(self->mem, 2), self->copy, 2));
	EXPECT_EQ(0x1004, *AT(self->mem, 4));
}

/* The device's own end of a copy is in the range that it copies. */
TEST_F(dmirror, onto_itself)
{
	need_memory(self->fd, self->mem, self->copy);
	EXPECT_COMMAND(0, NPAGES, DMIRROR_MIGRATE_TO_DEV, CMD(self->mem, self->mem, NPAGES));
	EXPECT_EQ(0x1000, *self->mem);
	EXPECT_COMMAND(0, 4, DMIRROR_WRITE, CMD(AT(self->mem, 1), self->mem, 4));
	EXPECT_EQ(0x1000, *AT(self->mem, 4));
	EXPECT_EQ(0x1005, *AT(self->mem, 5));
}

TEST_F(dmirror, exclusive)
{
	if (command(self->fd, DMIRROR_EXCLUSIVE, CMD(sys_pages(1), self->copy, 1)) ==
	    -EOPNOTSUPP)
		SKIP("no page can be exclusive in this kernel");
	EXPECT_COMMAND(0, 0, DMIRROR_CHECK_EXCLUSIVE, CMD(self->mem, 0, NPAGES));
	EXPECT_COMMAND(0, NPAGES, DMIRROR_WRITE, CMD(self->mem, self->copy, NPAGES));
	EXPECT_COMMAND(0, 0, DMIRROR_CHECK_EXCLUSIVE, CMD(self->mem, 0, NPAGES));
	EXPECT_COMMAND(0, 4, DMIRROR_EXCLUSIVE, CMD(AT(self->mem, 2), self->copy, 4));
	EXPECT_COMMAND(-EPERM, 4, DMIRROR_CHECK_EXCLUSIVE, CMD(self->mem, 0, NPAGES));
	*AT(self->mem, 3) = 5;
	EXPECT_COMMAND(-EPERM, 3, DMIRROR_CHECK_EXCLUSIVE, CMD(self->mem, 0, NPAGES));
	EXPECT_COMMAND(0, NPAGES, DMIRROR_READ, CMD(self->mem, self->copy, NPAGES));
	EXPECT_EQ(5, *AT(self->copy, 3));
	ASSERT_SYS(munmap((void *)self->mem, NPAGES * PAGE_SIZE));
	EXPECT_COMMAND(0, 0, DMIRROR_CHECK_EXCLUSIVE, CMD(self->mem, 0, NPAGES));
}

/* What the device has written counts, though the CPU's entry does not say so. */
TEST_F(dmirror, dirty)
{
	EXPECT_COMMAND(0, NPAGES, DMIRROR_WRITE, CMD(self->mem, self->copy, NPAGES));
	ASSERT_SYS(madvise((void *)self->mem, NPAGES * PAGE_SIZE, MADV_FREE));
	AT(self->copy, 7)[0] = 7;
	EXPECT_COMMAND(0, NPAGES, DMIRROR_WRITE, CMD(self->mem, self->copy, NPAGES));
	/* To swap, or back: not thrown away. */
	sys_madvise_everywhere((void *)self->mem, NPAGES * PAGE_SIZE, MADV_PAGEOUT);
	EXPECT_EQ(7, *AT(self->mem, 7));
}

/* After fork() the device's writes, too, go to a copy. */
TEST_F(dmirror, fork)
{
	int status;
	pid_t pid;

	EXPECT_COMMAND(0, NPAGES, DMIRROR_READ, CMD(self->mem, self->copy, NPAGES));
	EXPECT_COMMAND(0, NPAGES, DMIRROR_WRITE, CMD(self->mem, self->copy, NPAGES));
	AT(self->copy, 7)[0] = 7;
	pid = fork();
	if (!pid) {
		/* The file is not the child's. */
		EXPECT_EQ(-EPERM, command(self->fd, DMIRROR_READ,
					  CMD(self->mem, self->copy, NPAGES)));
		EXPECT_EQ(-EPERM, command(self->fd, DMIRROR_RELEASE, CMD(0, 0, 0)));
		sys_sleep_ms(100);
		EXPECT_EQ(0x1007, *AT(self->mem, 7));
		_exit(0);
	}
	EXPECT_COMMAND(0, NPAGES, DMIRROR_WRITE, CMD(self->mem, self->copy, NPAGES));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(7, *AT(self->mem, 7));
	/* One file for a process. */
	EXPECT_EQ(-1, open(variant->path, O_RDWR));
	EXPECT_EQ(EEXIST, errno);
}

TEST_F(dmirror, release)
{
	uint8_t prot[NPAGES];

	need_memory(self->fd, self->mem, self->copy);
	EXPECT_COMMAND(0, NPAGES, DMIRROR_MIGRATE_TO_DEV, CMD(self->mem, self->copy, NPAGES));
	EXPECT_COMMAND(0, 0, DMIRROR_RELEASE, CMD(8, 16, 0));
	EXPECT_COMMAND(0, NPAGES, DMIRROR_SNAPSHOT, CMD(self->mem, prot, NPAGES));
	EXPECT_EQ(DMIRROR_PROT_WRITE, prot[0]);
	EXPECT_EQ(DMIRROR_PROT_WRITE, prot[7]);
	EXPECT_EQ(0x1007, *AT(self->mem, 7));
}

/* The driver's own mapping is for looking at. */
TEST_F(dmirror, mapping)
{
	volatile uint64_t *map = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
				      self->fd, 0);
	uint8_t prot[2];

	ASSERT_NE(MAP_FAILED, map);
	*map = 7;
	EXPECT_COMMAND(0, 2, DMIRROR_SNAPSHOT, CMD(map, prot, 2));
	EXPECT_EQ(DMIRROR_PROT_WRITE, prot[0]);
	EXPECT_EQ(DMIRROR_PROT_WRITE, prot[1]);
	EXPECT_COMMAND(-EOPNOTSUPP, 0, DMIRROR_READ, CMD(map, self->copy, 1));
	EXPECT_COMMAND(-EOPNOTSUPP, 0, DMIRROR_WRITE, CMD(map, self->copy, 1));
	EXPECT_EQ(7, *map);
}

HARNESS_MAIN

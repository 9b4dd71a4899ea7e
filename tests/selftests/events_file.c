// SPDX-License-Identifier: GPL-2.0
/*
 * Files: truncate, hole punching, writeback.
 *
 * Writeback is the hard part.  Before a page of a shared file mapping is written to
 * disk it is made read-only everywhere, so that a later write is noticed.  A device
 * that goes on writing without a fault loses that write; one whose dirty bits do not
 * reach the page loses all of them.  So the tests let the device write, sync, and
 * compare with what read(2) sees, also after a fresh mount.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define RW	(DGPU_PTE_VALID | DGPU_PTE_WRITE)

/* Does a file have value, value + 1, ... in its pages?  By read(2), not by mmap. */
static bool file_check(int fd, size_t npages, uint64_t value)
{
	for (size_t i = 0; i < npages; i++) {
		uint64_t seen = 0;

		ASSERT_EQ(sizeof(seen), pread(fd, &seen, sizeof(seen), (off_t)(i * PAGE_SIZE)));
		if (seen != value + i) {
			test_log("page %zu of the file: %#jx, expected %#jx", i, (uintmax_t)seen,
				 (uintmax_t)(value + i));
			return false;
		}
	}
	return true;
}

/* ---- on tmpfs ---- */

FIXTURE(tmpfs) {
	struct gpu gpu;
	char path[64];
	char *mem;	/* MAP_SHARED, written by the device: 0x1000, ... */
	int fd;
};

FIXTURE_SETUP(tmpfs)
{
	gpu_setup(&self->gpu);
	snprintf(self->path, sizeof(self->path), "/tmp/hmm-file.%d", getpid());
	self->fd = ASSERT_SYS(open(self->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	ASSERT_SYS(ftruncate(self->fd, (off_t)LENGTH));
	self->mem = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
				    self->fd, 0));
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 0x1000));
	ASSERT_TRUE(file_check(self->fd, NPAGES, 0x1000));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(tmpfs)
{
	gpu_teardown(&self->gpu);
	if (*self->path)
		unlink(self->path);
}

TEST_F(tmpfs, truncate)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;

	ASSERT_SYS(ftruncate(self->fd, (off_t)(4 * PAGE_SIZE)));
	EXPECT_EVENT(gpu, self->mem + 4 * PAGE_SIZE, 12 * PAGE_SIZE, TRUNCATE, DROP,
		     R(TRUNCATE));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem + 4 * PAGE_SIZE, 12, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 4, 0x1000));
	EXPECT_EQ(0, gpu->result.faults);
	/* Beyond the end of the file: SIGBUS for a CPU, an error for a device. */
	EXPECT_EQ(-EFAULT, gpu_read(gpu, self->mem + 4 * PAGE_SIZE, &value));
	EXPECT_EQ(-EFAULT, gpu_write(gpu, self->mem + 15 * PAGE_SIZE, 1));
	/* The file grows again: zeroes, not what was there. */
	ASSERT_SYS(ftruncate(self->fd, (off_t)LENGTH));
	for (size_t i = 4; i < NPAGES; i++)
		EXPECT_EQ(0, gpu_see(gpu, self->mem + i * PAGE_SIZE));
}

TEST_F(tmpfs, punch_hole)
{
	struct gpu *gpu = &self->gpu;
	char *hole = self->mem + 4 * PAGE_SIZE;

	ASSERT_SYS(fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     4 * PAGE_SIZE, 4 * PAGE_SIZE));
	EXPECT_EVENT(gpu, hole, 4 * PAGE_SIZE, TRUNCATE, DROP, R(TRUNCATE));
	EXPECT_EQ(0, gpu_ptes(gpu, hole, 4, DGPU_PTE_VALID));
	for (size_t i = 0; i < 4; i++)
		EXPECT_EQ(0, gpu_see(gpu, hole + i * PAGE_SIZE));
	EXPECT_EQ(0, gpu_fill(gpu, hole, 4, 0x2000));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 4, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + 8 * PAGE_SIZE, 8, 0x1008));
	EXPECT_TRUE(cpu_check(hole, 4, 0x2000));
}

TEST_F(tmpfs, madv_remove)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(madvise(self->mem, 4 * PAGE_SIZE, MADV_REMOVE));
	EXPECT_EVENT(gpu, self->mem, 4 * PAGE_SIZE, TRUNCATE, DROP, R(TRUNCATE));
	for (size_t i = 0; i < 4; i++)
		EXPECT_EQ(0, gpu_see(gpu, self->mem + i * PAGE_SIZE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + 4 * PAGE_SIZE, 12, 0x1004));
}

/* Another process truncates; the device is this process'. */
TEST_F(tmpfs, truncate_by_another)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;
	int status;
	pid_t pid;

	pid = ASSERT_SYS(vfork());
	if (!pid)
		_exit(truncate(self->path, 0) ? errno : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EVENT(gpu, self->mem, LENGTH, TRUNCATE, DROP, R(TRUNCATE));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, self->mem, &value));
}

/* Private copies behind the end of the file go too, when the file shrinks. */
TEST_F(tmpfs, truncate_private)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;
	char *mem;

	mem = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->fd, 0));
	ASSERT_EQ(0, gpu_fill(gpu, mem, 8, 0x3000));		/* copies */
	ASSERT_EQ(0, gpu_check(gpu, mem + 8 * PAGE_SIZE, 8, 0x1008));	/* the file's */
	gpu_events_start(gpu);
	ASSERT_SYS(ftruncate(self->fd, (off_t)(4 * PAGE_SIZE)));
	EXPECT_REASON(gpu, mem + 4 * PAGE_SIZE, 12 * PAGE_SIZE, TRUNCATE);
	EXPECT_EQ(0, gpu_check(gpu, mem, 4, 0x3000));
	for (size_t i = 4; i < NPAGES; i++)
		EXPECT_EQ(-EFAULT, gpu_read(gpu, mem + i * PAGE_SIZE, &value));
	EXPECT_TRUE(file_check(self->fd, 4, 0x1000));
}

/* Writes by write(2) and by the device meet in one page. */
TEST_F(tmpfs, coherent_with_write)
{
	struct gpu *gpu = &self->gpu;

	for (uint64_t i = 0; i < 50; i++) {
		const uint64_t value = 0x4000 + i;
		uint64_t seen = 0;

		ASSERT_EQ(8, pwrite(self->fd, &value, 8, 8));
		EXPECT_EQ(value, gpu_see(gpu, self->mem + 8));
		EXPECT_EQ(0, gpu_write(gpu, self->mem + 16, ~value));
		ASSERT_EQ(8, pread(self->fd, &seen, 8, 16));
		EXPECT_EQ(~value, seen);
	}
}

/* ---- on ext4: writeback ---- */

FIXTURE(ext4) {
	struct gpu gpu;
	struct sys_ext4 fs;
	char path[100];
	char *mem;	/* MAP_SHARED, written by the device: 0x1000, ... */
	int fd;
};

FIXTURE_SETUP(ext4)
{
	self->fd = -1;
	gpu_setup(&self->gpu);
	sys_ext4_mount(&self->fs);
	snprintf(self->path, sizeof(self->path), "%s/file", self->fs.dir);
	self->fd = ASSERT_SYS(open(self->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	ASSERT_SYS(ftruncate(self->fd, (off_t)LENGTH));
	self->mem = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
				    self->fd, 0));
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 0x1000));
	ASSERT_EQ(NPAGES, gpu_ptes(&self->gpu, self->mem, NPAGES, RW | DGPU_PTE_DIRTY));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(ext4)
{
	if (self->mem)
		munmap(self->mem, LENGTH);
	if (self->fd >= 0)
		close(self->fd);
	gpu_teardown(&self->gpu);
	sys_ext4_umount(&self->fs);
}

/* Unmap, mount anew: what is read now comes from the disk. */
static void from_disk(struct harness_data_ext4 *self)
{
	ASSERT_SYS(munmap(self->mem, LENGTH));
	ASSERT_SYS(close(self->fd));
	self->mem = NULL;
	self->fd = -1;
	sys_ext4_remount(&self->fs);
	self->fd = ASSERT_SYS(open(self->path, O_RDWR | O_CLOEXEC));
}

TEST_F(ext4, fsync_write_protects)
{
	struct gpu *gpu = &self->gpu;
	const uint64_t dirty = dgpu_stat_mirror(gpu->dev, HMM_STAT_DIRTY);

	ASSERT_SYS(fsync(self->fd));
	EXPECT_EVENT(gpu, self->mem, LENGTH, WRPROTECT, WRPROTECT, R(MKCLEAN));
	EXPECT_GE(dgpu_stat_mirror(gpu->dev, HMM_STAT_DIRTY), dirty + NPAGES);
	/* It goes on reading; its next write faults and makes the page dirty again. */
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_DIRTY));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu->result.faults);
	EXPECT_EQ(0, gpu_write(gpu, self->mem, 0x2000));
	EXPECT_GE(gpu->result.faults, 1);
	EXPECT_EQ(0x2000, *(volatile uint64_t *)self->mem);
}

TEST_F(ext4, fsync_reaches_the_disk)
{
	ASSERT_SYS(fsync(self->fd));
	from_disk(self);
	EXPECT_TRUE(file_check(self->fd, NPAGES, 0x1000));
}

TEST_F(ext4, msync_reaches_the_disk)
{
	ASSERT_SYS(msync(self->mem, LENGTH, MS_SYNC));
	from_disk(self);
	EXPECT_TRUE(file_check(self->fd, NPAGES, 0x1000));
}

/*
 * Clean on the CPU's side, written by the device, synced; several times.  Every
 * round is lost if the dirty bit of one round does not arrive.
 */
TEST_F(ext4, write_sync_rounds)
{
	const uint64_t rounds = sys_scale(10);
	struct gpu *gpu = &self->gpu;

	for (uint64_t round = 1; round <= rounds; round++) {
		ASSERT_SYS(fsync(self->fd));
		ASSERT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, round << 32));
	}
	ASSERT_SYS(fsync(self->fd));
	from_disk(self);
	EXPECT_TRUE(file_check(self->fd, NPAGES, rounds << 32));
}

/* No fsync: the mapping goes, and the flusher or umount writes what is dirty. */
TEST_F(ext4, munmap_keeps_dirty)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(fsync(self->fd));
	ASSERT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x3000));
	from_disk(self);
	EXPECT_TRUE(file_check(self->fd, NPAGES, 0x3000));
}

/* The device is closed with dirty pages: they must not stay behind. */
TEST_F(ext4, close_keeps_dirty)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(fsync(self->fd));
	ASSERT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x4000));
	gpu_teardown(gpu);
	from_disk(self);
	EXPECT_TRUE(file_check(self->fd, NPAGES, 0x4000));
}

/*
 * A program writes all the time, fsync runs all the time.  What the last fsync
 * finds is at least what the device had written before it began.
 */
TEST_F(ext4, sync_while_writing)
{
	const unsigned long rounds = sys_scale(40);
	volatile uint64_t *stop;
	struct gpu *gpu = &self->gpu;
	struct dgpu_result result;
	struct dgpu_job *job;
	uint64_t before = 0, after = 0;

	stop = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	*(volatile uint64_t *)self->mem = 0;
	job = gpu_start(gpu, GPU_SPIN, 4, (uintptr_t)stop, (uintptr_t)self->mem,
			(uintptr_t)self->mem + PAGE_SIZE, 0);
	for (unsigned long i = 0; i < rounds; i++) {
		before = *(volatile uint64_t *)self->mem;
		ASSERT_SYS(fsync(self->fd));
		while (*(volatile uint64_t *)self->mem == before)
			sys_sleep_ms(1);
	}
	*stop = 1;
	EXPECT_EQ(0, dgpu_job_wait(job, 60000, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(job);
	test_log("%ju increments, %lu syncs, %zu write protections",
		 (uintmax_t)*(volatile uint64_t *)self->mem, rounds,
		 gpu_events_count(gpu, self->mem, PAGE_SIZE, HMM_EVENT_WRPROTECT));
	EXPECT_GE(gpu_events_count(gpu, self->mem, PAGE_SIZE, HMM_EVENT_WRPROTECT), rounds / 2);
	before = *(volatile uint64_t *)self->mem;
	from_disk(self);
	ASSERT_EQ(8, pread(self->fd, &after, 8, 0));
	EXPECT_EQ(before, after);
}

TEST_F(ext4, truncate)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;

	ASSERT_SYS(ftruncate(self->fd, (off_t)(8 * PAGE_SIZE)));
	EXPECT_EVENT(gpu, self->mem + 8 * PAGE_SIZE, 8 * PAGE_SIZE, TRUNCATE, DROP,
		     R(TRUNCATE));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, self->mem + 8 * PAGE_SIZE, &value));
	from_disk(self);
	EXPECT_TRUE(file_check(self->fd, 8, 0x1000));
}

/* Clean pages are dropped by the kernel; the device reads them from disk again. */
TEST_F(ext4, reclaim_of_clean_pages)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(fsync(self->fd));
	gpu_events_start(gpu);
	for (int tries = 0; tries < 20; tries++) {
		sys_madvise_everywhere(self->mem, LENGTH, MADV_PAGEOUT);
		if (!gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID))
			break;
	}
	EXPECT_EVENT(gpu, self->mem, LENGTH, RECLAIM, DROP, R(RECLAIM));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
}

/* A direct write goes around the page cache, and throws the pages out of it. */
TEST_F(ext4, direct_write)
{
	struct gpu *gpu = &self->gpu;
	uint64_t *buffer;
	int fd;

	ASSERT_SYS(fsync(self->fd));
	buffer = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	ASSERT_NE(buffer, NULL);
	memset(buffer, 0, PAGE_SIZE);
	buffer[0] = 0x5000;
	fd = open(self->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		SKIP("no O_DIRECT here: %s", strerror(errno));
	gpu_events_start(gpu);
	ASSERT_EQ(PAGE_SIZE, pwrite(fd, buffer, PAGE_SIZE, 0));
	EXPECT_EQ(0x5000, gpu_see(gpu, self->mem));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + PAGE_SIZE, NPAGES - 1, 0x1001));
	EXPECT_REASON(gpu, self->mem, PAGE_SIZE, TRUNCATE);
	close(fd);
	free(buffer);
}

HARNESS_MAIN

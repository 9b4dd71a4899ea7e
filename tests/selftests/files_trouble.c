// SPDX-License-Identifier: GPL-2.0
/*
 * Files whose pages are on a device when something goes wrong, or goes away: no room on the
 * disk, a disk with errors, a frozen file system, one that is unmounted or shut down, memory
 * that fails, a device that is lost, unbound, or one of two.
 *
 * What is required: what was synced stays; who asked for something gets an error, and once;
 * the journal goes on; nothing hangs.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include "chip.h"
#include "files_case.h"
#include "sys.h"

#define N		FILES_PAGES
#define PG		((off_t)PAGE_SIZE)
#define SOON		60000	/* ms; for what must not take long, also on a slow kernel */

#define IOC_FREEZE	_IOWR('X', 119, int)
#define IOC_THAW	_IOWR('X', 120, int)
#define IOC_SHUTDOWN	_IOR('X', 125, uint32_t)
#define IOC_BMAP	_IO(0x00, 1)

#define NOBODY		65534
#define PROJECT		77

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON	100
#endif

FIXTURE(trouble) {
	struct files_case c;
	unsigned int index;
	bool frozen;
	int root;		/* the directory, for ioctls */
};

FIXTURE_VARIANT(trouble) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(trouble, delalloc_4k) { 4096, "delalloc" };
FIXTURE_VARIANT_ADD(trouble, nodelalloc_1k) { 1024, "nodelalloc,dioread_lock,data_err=abort" };

static void trouble_setup(struct harness_data_trouble *self, const char *device,
			  unsigned int block, const char *options)
{
	struct dgpu_info info;

	self->root = -1;
	if (device)
		files_case_begin_on(&self->c, device, block, options);
	else
		files_case_begin(&self->c, block, options);
	ASSERT_EQ(0, dgpu_get_info(self->c.gpu.dev, &info));
	self->index = info.index;
}

static void trouble_teardown(struct harness_data_trouble *self)
{
	if (self->frozen)
		ioctl(self->root, IOC_THAW, 0);
	if (self->root >= 0)
		close(self->root);
	files_case_end(&self->c);
}

FIXTURE_SETUP(trouble)
{
	trouble_setup(self, NULL, variant->block, variant->options);
}

FIXTURE_TEARDOWN(trouble)
{
	trouble_teardown(self);
}

/* ---- the file system as a whole ---- */

/* While it is frozen nothing can be written to: a device that wants to has to wait. */
TEST_F(trouble, freeze)
{
	struct files_case *c = &self->c;
	struct dgpu_result result;
	struct dgpu_job *job;
	uint64_t seen;

	self->root = ASSERT_SYS(open(c->fs.dir, O_RDONLY | O_CLOEXEC));
	for (uint64_t round = 1; round <= sys_scale(4); round++) {
		files_own(c, 0, N, round << 12);
		ASSERT_SYS(ioctl(self->root, IOC_FREEZE, 0));
		self->frozen = true;
		EXPECT_OWNED(c, 0, N, 0);
		job = gpu_start(&c->gpu, GPU_FILL, 4, (uintptr_t)c->mem, N, PAGE_SIZE,
				(round << 12) + 0x800);
		EXPECT_EQ(-ETIME, dgpu_job_wait(job, 200, &result));
		/* Readers do not wait, directly from the disk either. */
		EXPECT_FILE(c, READ, 0, N, round << 12);
		EXPECT_FILE(c, DIRECT, 0, N, round << 12);
		EXPECT_OWNED(c, 0, N, 0);
		ASSERT_SYS(ioctl(self->root, IOC_THAW, 0));
		self->frozen = false;
		EXPECT_EQ(0, dgpu_job_wait(job, SOON, &result));
		EXPECT_EQ(DGPU_OK, result.status);
		dgpu_job_free(job);
		ASSERT_EQ(8, pread(c->fd, &seen, 8, 0));
		EXPECT_EQ((round << 12) + 0x800, seen);
		EXPECT_FILE(c, READ, 0, N, (round << 12) + 0x800);
	}
}

TEST_F(trouble, umount_with_pages_on_the_device)
{
	struct files_case *c = &self->c;
	const uint64_t used = gpu_rmem(&c->gpu, HMM_RMEM_USED);

	files_own(c, 0, N / 2, 0x1000);
	cpu_fill(c->mem + FILES_LENGTH / 2, N / 2, 0x1000 + N / 2);
	files_share(c, N / 2, N / 2, 0x1000);
	files_case_remount(c);
	EXPECT_EQ(used, gpu_rmem(&c->gpu, HMM_RMEM_USED));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

TEST_F(trouble, read_only_with_pages_on_the_device)
{
	struct files_case *c = &self->c;
	uint64_t seen;
	int fd;

	files_own(c, 0, N, 0x1000);
	files_case_close(c);
	ASSERT_SYS(mount(NULL, c->fs.dir, NULL, MS_REMOUNT | MS_RDONLY, NULL));
	fd = ASSERT_SYS(open(c->path, O_RDONLY | O_CLOEXEC));
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ(0x1000 + i, seen);
	}
	close(fd);
	ASSERT_SYS(mount(NULL, c->fs.dir, NULL, MS_REMOUNT, c->fs.options));
	files_case_open(c);
	files_own(c, 0, N, 0x2000);
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
}

/* The file system is dead; what was synced before is there afterwards. */
TEST_F(trouble, shutdown)
{
	struct files_case *c = &self->c;
	const uint64_t used = gpu_rmem(&c->gpu, HMM_RMEM_USED);
	const uint32_t flags = 2;	/* the journal is not flushed */

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	files_own(c, 0, N / 2, 0x2000);
	ASSERT_SYS(ioctl(c->fd, IOC_SHUTDOWN, &flags));
	EXPECT_EQ(-1, fsync(c->fd));
	/* Whether page_mkwrite() fails now is up to the file system; nothing may hang. */
	gpu_write(&c->gpu, c->mem + (N - 1) * PAGE_SIZE, 1);
	sync();
	files_case_remount(c);
	EXPECT_EQ(used, gpu_rmem(&c->gpu, HMM_RMEM_USED));
	EXPECT_FILE(c, READ, N / 2, N / 2, 0x1000);
}

/* There are holes only in the file. */
static void trouble_holes(struct files_case *c)
{
	ASSERT_SYS(ftruncate(c->fd, 0));
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	ASSERT_SYS(fsync(c->fd));
}

/* Another file takes all the space that the process can have, but for some pages. */
static int trouble_fill_up(struct files_case *c, char *path, size_t size)
{
	static const off_t sizes[] = { 16 << 20, 4 << 20, 1 << 20, 256 << 10, 64 << 10, 4 << 10 };
	off_t end = 0;
	int filler;

	snprintf(path, size, "%s/filler", c->fs.dir);
	filler = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		while (!fallocate(filler, 0, end, sizes[i]))
			end += sizes[i];
	ASSERT_SYS(fsync(filler));
	ASSERT_SYS(ftruncate(filler, end - 12 * PG));
	ASSERT_SYS(fsync(filler));
	return filler;
}

/* No room: the device is told when it writes, and what it could write is kept. */
TEST_F(trouble, no_space)
{
	struct files_case *c = &self->c;
	uint64_t words[N] = { 0 }, seen;
	char path[120];
	size_t wrote = 0;
	int filler;

	trouble_holes(c);
	filler = trouble_fill_up(c, path, sizeof(path));
	for (size_t i = 0; i < N; i++)
		if (!gpu_write(&c->gpu, c->mem + i * PAGE_SIZE, 0x1000 + i)) {
			words[i] = 0x1000 + i;
			wrote++;
		}
	test_log("%zu of %lu pages had room", wrote, N);
	EXPECT_GT(wrote, 0);
	EXPECT_LT(wrote, N);
	EXPECT_SYS(fsync(c->fd));
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ(words[i], seen);
	}
	close(filler);
	ASSERT_SYS(unlink(path));
	ASSERT_SYS(syncfs(c->fd));
	files_case_crash(c);
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ(words[i], seen);
	}
	/* There is room again. */
	files_own(c, 0, N, 0x2000);
}

/* ---- space that not everybody may use ---- */

/* The device of another user's process writes to holes; how many pages had room. */
static size_t limited_write(struct files_case *c, const char *device, bool fill)
{
	struct gpu gpu = { 0 };
	char path[120];
	uint64_t seen;
	size_t wrote = 0;
	char *mem;
	int fd;

	ASSERT_SYS(setresgid(NOBODY, NOBODY, NOBODY));
	ASSERT_SYS(setresuid(NOBODY, NOBODY, NOBODY));
	if (fill)
		close(trouble_fill_up(c, path, sizeof(path)));
	gpu_setup_path(&gpu, device);
	dgpu_set_policy(gpu.dev, HMM_POLICY_TOUCH);
	fd = ASSERT_SYS(open(c->path, O_RDWR | O_CLOEXEC));
	mem = ASSERT_SYS(mmap(NULL, FILES_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	for (size_t i = 0; i < N; i++)
		if (!gpu_write(&gpu, mem + i * PAGE_SIZE, 0x1000 + i))
			wrote++;
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ(i < wrote ? 0x1000 + i : 0, seen);
	}
	EXPECT_SYS(fsync(fd));
	gpu_teardown(&gpu);
	close(fd);
	return wrote;
}

/*
 * What the process may not have its device may not have either, though it is a thread of the
 * kernel that asks for it.
 */
static void limited_test(struct harness_data_trouble *self, bool fill)
{
	struct files_case *c = &self->c;
	struct stat before;
	char device[32];
	size_t wrote = 0;
	uint64_t seen;
	int ends[2], status;
	pid_t pid;

	snprintf(device, sizeof(device), "/dev/dgpu%u", self->index);
	ASSERT_SYS(stat(device, &before));
	ASSERT_SYS(chmod(device, 0666));
	ASSERT_SYS(chmod(c->fs.dir, 0777));
	ASSERT_SYS(chmod(c->path, 0666));
	ASSERT_SYS(pipe2(ends, O_CLOEXEC));
	pid = ASSERT_SYS(fork());
	if (!pid) {
		wrote = limited_write(c, device, fill);
		ASSERT_EQ(sizeof(wrote), write(ends[1], &wrote, sizeof(wrote)));
		_exit(0);
	}
	close(ends[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	chmod(device, before.st_mode & 0777);
	ASSERT_EQ(sizeof(wrote), read(ends[0], &wrote, sizeof(wrote)));
	close(ends[0]);
	test_log("%zu of %lu pages had room", wrote, N);
	EXPECT_GT(wrote, 0);
	EXPECT_LT(wrote, N);
	files_case_crash(c);
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ(i < wrote ? 0x1000 + i : 0, seen);
	}
}

/* The last blocks are root's (mkfs -m). */
TEST_F(trouble, reserved_blocks)
{
	trouble_holes(&self->c);
	limited_test(self, true);
}

FIXTURE(quota) {
	struct harness_data_trouble t;
};

FIXTURE_VARIANT(quota) {
	unsigned int block;
	const char *options;
	int type;
	int id;
};

#define PRJQUOTA	2

FIXTURE_VARIANT_ADD(quota, user_delalloc_4k) { 4096, "delalloc,usrquota", USRQUOTA, NOBODY };
FIXTURE_VARIANT_ADD(quota, user_nodelalloc_1k) { 1024, "nodelalloc,usrquota", USRQUOTA, NOBODY };
FIXTURE_VARIANT_ADD(quota, project_delalloc_4k) { 4096, "delalloc,prjquota", PRJQUOTA, PROJECT };

FIXTURE_SETUP(quota)
{
	snprintf(self->t.c.fs.features, sizeof(self->t.c.fs.features), "quota,project");
	trouble_setup(&self->t, NULL, variant->block, variant->options);
}

FIXTURE_TEARDOWN(quota)
{
	trouble_teardown(&self->t);
}

/* Pages of its quota are used up: EDQUOT. */
TEST_F(quota, used_up)
{
	struct files_case *c = &self->t.c;
	struct fsxattr attr;
	struct dqblk limit = { 0 };

	trouble_holes(c);
	if (variant->type == PRJQUOTA) {
		ASSERT_SYS(ioctl(c->fd, FS_IOC_FSGETXATTR, &attr));
		attr.fsx_projid = PROJECT;
		ASSERT_SYS(ioctl(c->fd, FS_IOC_FSSETXATTR, &attr));
	} else {
		ASSERT_SYS(fchown(c->fd, NOBODY, NOBODY));
	}
	ASSERT_SYS(quotactl(QCMD(Q_GETQUOTA, variant->type), c->fs.device, variant->id,
			    (void *)&limit));
	limit.dqb_bhardlimit = limit.dqb_curspace / 1024 + 12 * 4;
	limit.dqb_valid = QIF_BLIMITS;
	ASSERT_SYS(quotactl(QCMD(Q_SETQUOTA, variant->type), c->fs.device, variant->id,
			    (void *)&limit));
	limited_test(&self->t, false);
	ASSERT_SYS(quotactl(QCMD(Q_GETQUOTA, variant->type), c->fs.device, variant->id,
			    (void *)&limit));
	EXPECT_LE(limit.dqb_curspace, limit.dqb_bhardlimit * 1024);
}

/* ---- memory ---- */

/* Memory of the page cache fails; the device's copy is dropped, the disk has the page. */
TEST_F(trouble, memory_failure)
{
	struct files_case *c = &self->c;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	EXPECT_TRUE(cpu_check(c->mem, N, 0x1000));
	if (madvise(c->mem + 4 * PAGE_SIZE, PAGE_SIZE, MADV_HWPOISON))
		SKIP("no MADV_HWPOISON: %s", strerror(errno));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, 4, 0x1000));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem + 5 * PAGE_SIZE, N - 5, 0x1005));
	files_own(c, 5, N - 5, 0x2000);
	EXPECT_FILE(c, READ, 5, N - 5, 0x2000);
}

/* It is about to fail: the page moves to other memory, which is nothing to the device. */
TEST_F(trouble, soft_offline)
{
	struct files_case *c = &self->c;

	for (uint64_t round = 1; round <= 2; round++) {
		files_own(c, 0, N / 2, round << 12);
		cpu_fill(c->mem + FILES_LENGTH / 2, N / 2, (round << 12) + N / 2);
		files_share(c, N / 2, N / 2, round << 12);
		if (round == 1)
			ASSERT_SYS(fsync(c->fd));
		/* Mapped by this process: only so can it be said which page is meant. */
		for (size_t i = 0; i < N; i += 4) {
			EXPECT_EQ((round << 12) + i, *word(c->mem, i));
			if (madvise(c->mem + i * PAGE_SIZE, PAGE_SIZE, MADV_SOFT_OFFLINE))
				SKIP("no MADV_SOFT_OFFLINE: %s", strerror(errno));
		}
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 12));
		EXPECT_FILE(c, READ, 0, N, round << 12);
	}
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 2u << 12);
}

/*
 * A cgroup whose memory is less than the file: what the device has written cannot be reclaimed
 * until it has been written back, and that has to happen.
 */
TEST_F(trouble, memory_limit)
{
	const size_t npages = 2304, length = npages * PAGE_SIZE;
	struct files_case *c = &self->c;
	const size_t limit = 7 << 20;
	struct sys_memcg cg = { 0 };
	char *mem, path[200];
	uint64_t seen, end;

	if (variant->block == PAGE_SIZE)
		SKIP("tried with small blocks, which need more memory");
	ASSERT_SYS(ftruncate(c->fd, (off_t)length));
	sys_memcg_create(&cg, "files");
	snprintf(path, sizeof(path), "%s/memory.current", cg.path);
	sys_memcg_press(&cg, limit);
	sys_memcg_enter(&cg);
	mem = ASSERT_SYS(mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0));
	EXPECT_EQ(0, gpu_fill(&c->gpu, mem, npages, 0x1000));
	EXPECT_EQ(0, gpu_check(&c->gpu, mem, npages, 0x1000));
	/* Nobody asks for it to be written: that the group has too much has to be enough. */
	end = sys_patience_ms();
	while (sys_number(path) > (long long)limit && sys_now_ms() < end) {
		sys_sleep_ms(100);
		sys_memcg_press(&cg, limit);
	}
	EXPECT_LE(sys_number(path), (long long)limit);
	ASSERT_SYS(munmap(mem, length));
	sys_memcg_leave(&cg);
	EXPECT_SYS(fsync(c->fd));
	files_case_crash(c);
	for (size_t i = 0; i < npages; i++) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		ASSERT_EQ(0x1000 + i, seen);
	}
	files_case_close(c);
	sys_memcg_destroy(&cg);
}

/* ---- the device ---- */

FIXTURE(device) {
	struct harness_data_trouble t;
	bool gone, lost;	/* the device is to be bound again; and before that unbound */
};

FIXTURE_VARIANT(device) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(device, delalloc_4k) { 4096, "delalloc,data_err=abort" };
/* New blocks are written when the journal commits: at no other time than a test wants. */
FIXTURE_VARIANT_ADD(device, nodelalloc_1k) {
	1024, "nodelalloc,dioread_lock,data_err=abort,commit=600"
};

FIXTURE_SETUP(device)
{
	trouble_setup(&self->t, NULL, variant->block, variant->options);
	files_case_hold(&self->t.c);
}

static void device_back(struct harness_data_device *self)
{
	gpu_teardown(&self->t.c.gpu);
	if (self->lost)
		EXPECT_EQ(0, chip_unbind(self->t.index));
	if (self->lost || self->gone)
		EXPECT_EQ(0, chip_bind(self->t.index));
	self->lost = false;
	self->gone = false;
}

FIXTURE_TEARDOWN(device)
{
	if (self->t.c.gpu.dev)
		chip_knobs_reset(self->t.index);
	device_back(self);
	trouble_teardown(&self->t);
}

static void device_knob(struct harness_data_device *self, const char *knob, uint64_t value)
{
	const int ret = chip_knob(self->t.index, knob, value);

	if (ret)
		SKIP("cannot turn the knob %s: %s", knob, strerror(-ret));
}

static void device_lose(struct harness_data_device *self)
{
	self->lost = true;
	device_knob(self, "lost", 1);
	for (int i = 0; i < 1500; i++) {
		if (dgpu_get_info(self->t.c.gpu.dev, &(struct dgpu_info) {}) == -ENODEV)
			return;
		sys_sleep_ms(20);
	}
	FAIL("the driver does not notice that the device is lost");
}

/* The driver goes with pages of a file on the device: they come home first. */
TEST_F(device, unbind)
{
	struct files_case *c = &self->t.c;

	files_own(c, 0, N, 0x1000);
	self->gone = true;
	ASSERT_EQ(0, chip_unbind(self->t.index));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	EXPECT_FILE(c, MAP, 0, N, 0x1000);
	EXPECT_SYS(fsync(c->fd));
	device_back(self);
	gpu_setup(&c->gpu);
	ASSERT_EQ(0, dgpu_set_policy(c->gpu.dev, HMM_POLICY_TOUCH));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	files_own(c, 0, N, 0x2000);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
}

static void *umount_thread(void *arg)
{
	return (void *)(intptr_t)files_try_umount(arg);
}

/*
 * umount() writes back, one after the other, what the device has, and takes longer than a driver
 * that leaves has patience: that one fetches what it can have meanwhile.
 */
TEST_F(device, unbind_during_umount)
{
	struct files_case *c = &self->t.c;
	pthread_t thread;
	void *error;

	if (variant->block < PAGE_SIZE)
		SKIP("it is the same with blocks of any size");
	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	files_own(c, 0, N, 0x2000);
	device_knob(self, "copy_delay_us", 500000);
	files_case_close(c);
	ASSERT_EQ(0, pthread_create(&thread, NULL, umount_thread, &c->fs));
	sys_sleep_ms(1000);
	self->gone = true;
	EXPECT_EQ(0, chip_unbind(self->t.index));
	ASSERT_EQ(0, pthread_join(thread, &error));
	ASSERT_EQ(NULL, error);
	device_back(self);
	gpu_setup(&c->gpu);
	ASSERT_EQ(0, dgpu_set_policy(c->gpu.dev, HMM_POLICY_TOUCH));
	ASSERT_EQ(0, files_mount_again(&c->fs));
	files_case_open(c);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
}

/* The process has gone, and the driver goes, and what the device has written is there. */
TEST_F(device, remove_module)
{
	struct files_case *c = &self->t.c;
	struct chip_module module;

	if (!chip_module_find(&module))
		SKIP("where dummy_gpu.ko is cannot be told: set DGPU_MODULE");
	files_own(c, 0, N, 0x1000);
	gpu_teardown(&c->gpu);
	ASSERT_EQ(0, chip_module_reload(&module, ""));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	EXPECT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	gpu_setup(&c->gpu);
	ASSERT_EQ(0, dgpu_set_policy(c->gpu.dev, HMM_POLICY_TOUCH));
	files_own(c, 0, N, 0x2000);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
}

/* Each page is as it was synced last, or as the device left it. */
static size_t device_words(struct files_case *c, uint64_t old, uint64_t new)
{
	size_t nr = 0;
	uint64_t seen;

	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		if (seen == new + i)
			nr++;
		else
			EXPECT_EQ(old + i, seen);
	}
	return nr;
}

/* What nobody has synced is lost, fsync() says so, once, and the file system goes on. */
TEST_F(device, lost_before_fsync)
{
	struct files_case *c = &self->t.c;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	files_own(c, 0, N / 2, 0x2000);
	device_lose(self);
	if (c->device) {
		EXPECT_EQ(-1, fsync(c->fd));
		EXPECT_EQ(EIO, errno);
	}
	EXPECT_EQ(0, fsync(c->fd));
	EXPECT_FILE(c, READ, c->device ? 0 : N / 2, c->device ? N : N / 2, 0x1000);
	files_expect_journal(c, "other");
	device_back(self);
	gpu_setup(&c->gpu);
	ASSERT_EQ(0, dgpu_set_policy(c->gpu.dev, HMM_POLICY_TOUCH));
	files_own(c, 0, N, 0x3000);
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x3000);
}

static void *fsync_thread(void *arg)
{
	struct files_case *c = arg;

	return (void *)(intptr_t)(fsync(c->fd) ? errno : 0);
}

/*
 * An evacuation cannot copy, and leaves anything where it tried to.  Then the device is lost: what
 * was synced last is still there.
 */
TEST_F(device, lost_after_copies_that_failed)
{
	struct files_case *c = &self->t.c;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	files_own(c, 0, N, 0x2000);
	device_knob(self, "copy_fail", CHIP_ALL);
	if (c->device)
		EXPECT_EQ(-EIO, chip_evacuate(self->t.index));
	device_lose(self);
	if (c->device) {
		EXPECT_EQ(-1, fsync(c->fd));
		EXPECT_EQ(EIO, errno);
	}
	EXPECT_FILE(c, READ, 0, N, c->device ? 0x1000 : 0x2000);
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, c->device ? 0x1000 : 0x2000);
}

/* In the middle of it: some pages have been fetched, others are lost. */
TEST_F(device, lost_during_fsync)
{
	struct files_case *c = &self->t.c;
	const uint64_t lost = gpu_rmem(&c->gpu, HMM_RMEM_LOST);
	pthread_t thread;
	size_t saved;
	void *error;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	files_own(c, 0, N, 0x2000);
	device_knob(self, "copy_delay_us", 5000);
	ASSERT_EQ(0, pthread_create(&thread, NULL, fsync_thread, c));
	sys_sleep_ms(30);
	device_lose(self);
	ASSERT_EQ(0, pthread_join(thread, &error));
	saved = device_words(c, 0x1000, 0x2000);
	test_log("%zu of %lu pages had been fetched, fsync: %s", saved, N,
		 strerror((int)(intptr_t)error));
	(void)lost;
	if (c->device && saved < N && !error)
		EXPECT_EQ(-1, fsync(c->fd));
	files_expect_journal(c, "other");
	EXPECT_EQ(0, fsync(c->fd));
}

/* A commit of the journal needs what is lost: it goes on, with data_err=abort, too. */
TEST_F(device, lost_before_commit)
{
	struct files_case *c = &self->t.c;

	ASSERT_SYS(ftruncate(c->fd, 0));
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	ASSERT_SYS(fsync(c->fd));
	files_own(c, 0, N, 0x1000);
	device_lose(self);
	files_expect_journal(c, "one");
	sync();
	files_expect_journal(c, "two");
	if (c->device)
		EXPECT_EQ(-1, fsync(c->fd));
	EXPECT_EQ(0, fsync(c->fd));
}

/* A copy that fails now and works a little later is nothing that anybody notices. */
TEST_F(device, copies_that_fail)
{
	struct files_case *c = &self->t.c;

	for (uint64_t round = 1; round <= 3; round++) {
		files_own(c, 0, N, round << 12);
		device_knob(self, "copy_fail", 2);
		if (round == 1)
			EXPECT_SYS(fsync(c->fd));
		EXPECT_FILE(c, READ, 0, N, round << 12);
		device_knob(self, "copy_fail", 0);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 12));
	}
}

static void *evacuate_thread(void *arg)
{
	const struct harness_data_device *self = arg;

	return (void *)(intptr_t)chip_evacuate(self->t.index);
}

/*
 * Unwritten blocks with pages that come home: SEEK_DATA sees that they are not up to date, waits
 * for the one that it looks at, and then it is.
 */
TEST_F(device, seek_while_copied)
{
	struct files_case *c = &self->t.c;
	pthread_t thread;
	void *error;

	ASSERT_SYS(ftruncate(c->fd, 0));
	ASSERT_SYS(fallocate(c->fd, 0, 0, (off_t)FILES_LENGTH));
	ASSERT_SYS(fsync(c->fd));
	for (unsigned int round = 0; round < 3; round++) {
		files_own(c, 0, N, 0x1000);
		device_knob(self, "copy_delay_us", 300000);
		ASSERT_EQ(0, pthread_create(&thread, NULL, evacuate_thread, self));
		sys_sleep_ms(100);
		EXPECT_EQ(4 * PG, lseek(c->fd, 4 * PG, SEEK_DATA));
		EXPECT_GE(lseek(c->fd, 0, SEEK_HOLE), N * PG);
		ASSERT_EQ(0, pthread_join(thread, &error));
		EXPECT_EQ(NULL, error);
		device_knob(self, "copy_delay_us", 0);
	}
}

/* They fail for long: who reads has an error, not old bytes, and the new ones after that. */
TEST_F(device, copies_that_go_on_failing)
{
	struct files_case *c = &self->t.c;
	char *source = ASSERT_SYS(mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
	uint64_t seen;
	int pipes[2];

	ASSERT_SYS(munmap(source + PAGE_SIZE, PAGE_SIZE));
	ASSERT_SYS(ftruncate(c->fd, 0));
	ASSERT_SYS(fallocate(c->fd, 0, 0, (off_t)FILES_LENGTH));
	ASSERT_SYS(fsync(c->fd));
	ASSERT_SYS(pipe(pipes));
	files_own(c, 0, N, 0x1000);
	device_knob(self, "copy_fail", CHIP_ALL);
	if (c->device) {
		EXPECT_EQ(-1, pread(c->fd, &seen, 8, 1 * PG));
		EXPECT_EQ(EIO, errno);
		EXPECT_EQ(-1, pwrite(c->fd, "x", 1, 5 * PG + 100));
		EXPECT_EQ(EIO, errno);
		/* A whole page, of which one half is not there. */
		EXPECT_EQ(-1, pwrite(c->fd, source + PAGE_SIZE / 2, PAGE_SIZE, 6 * PG));
		EXPECT_EQ(EIO, errno);
		EXPECT_EQ(-1, splice(c->fd, &(off64_t) { 2 * PG }, pipes[1], NULL, PAGE_SIZE, 0));
		EXPECT_EQ(EIO, errno);
		/* What would be a SIGBUS in user mode. */
		EXPECT_EQ(-1, write(pipes[1], c->mem + 3 * PAGE_SIZE, 8));
		EXPECT_EQ(EFAULT, errno);
		if (variant->block == PAGE_SIZE)
			EXPECT_EQ(4 * PG, lseek(c->fd, 4 * PG, SEEK_DATA));
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	}
	device_knob(self, "copy_fail", 0);
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ(0x1000 + i, seen);
	}
	EXPECT_SYS(fsync(c->fd));
	close(pipes[0]);
	close(pipes[1]);
}

/* Copies that never end by themselves: the driver sees to that, and fsync() ends. */
TEST_F(device, copies_that_hang)
{
	struct files_case *c = &self->t.c;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	files_own(c, 0, N / 2, 0x2000);
	device_knob(self, "hang_copy", 1);
	fsync(c->fd);
	files_expect_journal(c, "other");
	device_knob(self, "hang_copy", 0);
	device_words(c, 0x1000, 0x2000);
	EXPECT_FILE(c, READ, N / 2, N / 2, 0x1000);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem + FILES_LENGTH / 2, N / 2, 0x1000 + N / 2));
}

/* ---- two devices ---- */

TEST_F(device, two_devices)
{
	struct files_case *c = &self->t.c;
	struct gpu other = { 0 };
	char path[32];

	snprintf(path, sizeof(path), "/dev/dgpu%u", self->t.index ? 0 : 1);
	if (access(path, R_OK))
		SKIP("there is one device only");
	gpu_setup_path(&other, path);
	for (uint64_t round = 1; round <= sys_scale(4); round++) {
		files_own(c, 0, N, round << 12);
		EXPECT_EQ(0, gpu_check(&other, c->mem, N, round << 12));
		EXPECT_EQ(0, gpu_fill(&other, c->mem, N, (round << 12) + 0x400));
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, (round << 12) + 0x400));
		EXPECT_FILE(c, READ, 0, N, (round << 12) + 0x400);
		EXPECT_EQ(0, gpu_fill(&other, c->mem, N / 2, (round << 12) + 0x800));
		EXPECT_EQ(0, gpu_fill(&c->gpu, c->mem + FILES_LENGTH / 2, N / 2,
				      (round << 12) + 0x800 + N / 2));
		EXPECT_TRUE(cpu_check(c->mem, N, (round << 12) + 0x800));
	}
	gpu_teardown(&other);
}

/* ---- the disk ---- */

FIXTURE(disk) {
	struct harness_data_trouble t;
	char backing[64], below[64];
	uint64_t sectors;
	bool mapped;
};

static void dm_table(const char *verb, const char *table)
{
	const int ret = sys_run("PATH=$PATH:/usr/sbin:/sbin; printf '%%b' '%s' | dmsetup %s --noudevsync --noudevrules hmm-files",
				table, verb);

	if (ret)
		SKIP("dmsetup %s: status %d", verb, ret);
}

FIXTURE_SETUP(disk)
{
	char table[200];

	self->t.root = -1;
	if (access("/usr/sbin/dmsetup", X_OK) && access("/sbin/dmsetup", X_OK))
		SKIP("dmsetup is not installed");
	if (access("/dev/mapper/control", F_OK) && sys_run("modprobe dm_mod"))
		SKIP("this kernel has no device mapper");
	if (!sys_disk("hmm-scratch", self->below, sizeof(self->below)) &&
	    !sys_loop("hmm-disk", 64, self->backing, sizeof(self->backing), self->below,
		      sizeof(self->below)))
		SKIP("no disk and no loop device for a file system");
	ASSERT_TRUE(files_check_left());
	self->sectors = 64 << 11;
	snprintf(table, sizeof(table), "0 %ju linear %s 0", (uintmax_t)self->sectors, self->below);
	dm_table("create", table);
	self->mapped = true;
	/* There is no udev to do it. */
	sys_run("PATH=$PATH:/usr/sbin:/sbin dmsetup mknodes hmm-files");
	/* Nobody reads the bitmaps before they are needed. */
	trouble_setup(&self->t, "/dev/mapper/hmm-files", 4096,
		      "delalloc,no_prefetch_block_bitmaps");
	files_case_hold(&self->t.c);
}

FIXTURE_TEARDOWN(disk)
{
	trouble_teardown(&self->t);
	if (self->mapped)
		sys_run("PATH=$PATH:/usr/sbin:/sbin dmsetup remove --noudevsync --noudevrules hmm-files");
	if (*self->backing)
		sys_loop_end(self->below, self->backing);
}

/* The table as it is, with an error in [@first, @first + @nr) sectors; 0: none. */
static void disk_errors(struct harness_data_disk *self, uint64_t first, uint64_t nr)
{
	char table[400];

	if (nr)
		snprintf(table, sizeof(table), "0 %ju linear %s 0\\n%ju %ju error\\n%ju %ju linear %s %ju",
			 (uintmax_t)first, self->below, (uintmax_t)first, (uintmax_t)nr,
			 (uintmax_t)(first + nr), (uintmax_t)(self->sectors - first - nr),
			 self->below, (uintmax_t)(first + nr));
	else
		snprintf(table, sizeof(table), "0 %ju linear %s 0", (uintmax_t)self->sectors,
			 self->below);
	dm_table("load", table);
	ASSERT_EQ(0, sys_run("PATH=$PATH:/usr/sbin:/sbin; dmsetup suspend --nolockfs --noudevsync hmm-files && dmsetup resume --noudevsync --noudevrules hmm-files"));
}

/* A block of the file cannot be written: fsync() says so, and other pages are safe. */
TEST_F(disk, write_error)
{
	struct files_case *c = &self->t.c;
	int block = 3;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	ASSERT_SYS(ioctl(c->fd, IOC_BMAP, &block));
	ASSERT_GT(block, 0);
	files_own(c, 0, N, 0x2000);
	disk_errors(self, (uint64_t)block * 8, 8);
	EXPECT_EQ(-1, fsync(c->fd));
	EXPECT_EQ(EIO, errno);
	EXPECT_SYS(fsync(c->fd));
	files_expect_journal(c, "other");
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, 3, 0x2000));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem + 4 * PAGE_SIZE, N - 4, 0x2004));
	disk_errors(self, 0, 0);
	files_own(c, 0, N, 0x3000);
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x3000);
}

/* A page that cannot be read: the device gets the error that a CPU gets. */
TEST_F(disk, read_error)
{
	struct files_case *c = &self->t.c;
	uint64_t value;
	int block = 3;

	cpu_fill(c->mem, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	ASSERT_SYS(ioctl(c->fd, IOC_BMAP, &block));
	files_case_remount(c);
	disk_errors(self, (uint64_t)block * 8, 8);
	EXPECT_EQ(-EFAULT, gpu_read(&c->gpu, c->mem + 3 * PAGE_SIZE, &value));
	EXPECT_EQ(-EFAULT, gpu_write(&c->gpu, c->mem + 3 * PAGE_SIZE, 1));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, 3, 0x1000));
	disk_errors(self, 0, 0);
	files_share(c, 0, N, 0x1000);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

/* Where the first block bitmap is. */
static uint64_t disk_bitmap(const struct files_case *c)
{
	unsigned long long block = 0;
	char command[200];
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "PATH=$PATH:/usr/sbin:/sbin dumpe2fs %s 2>/dev/null | sed -n 's/.*Block bitmap at \\([0-9]*\\).*/\\1/p' | head -n 1",
		 c->fs.device);
	pipe = popen(command, "re");
	ASSERT_NE(pipe, NULL);
	if (fscanf(pipe, "%llu", &block) != 1)
		block = 0;
	pclose(pipe);
	if (!block)
		SKIP("dumpe2fs does not say where the block bitmap is");
	return block;
}

/*
 * Writeback finds no blocks for pages that were promised some, as the bitmap cannot be read:
 * it gives the pages up.  What the device has of them is gone with them.
 */
TEST_F(disk, discard)
{
	struct files_case *c = &self->t.c;
	const uint64_t bitmap = disk_bitmap(c);
	uint64_t seen;

	ASSERT_SYS(ftruncate(c->fd, 0));
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	/* What has been read of the bitmap is forgotten. */
	files_case_remount(c);
	files_own(c, 0, N, 0x1000);
	disk_errors(self, bitmap * 8, 8);
	EXPECT_EQ(-1, fsync(c->fd));
	disk_errors(self, 0, 0);
	/* Nobody has it any more, and all see the same. */
	EXPECT_OWNED(c, 0, N, 0);
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ(0, seen);
		EXPECT_EQ(0, gpu_see(&c->gpu, c->mem + i * PAGE_SIZE));
		EXPECT_EQ(0, *word(c->mem, i));
	}
	/* The file system remembers that there was an error, and is mended. */
	files_case_close(c);
	ASSERT_EQ(0, files_try_umount(&c->fs));
	sys_run("PATH=$PATH:/usr/sbin:/sbin e2fsck -f -y %s >/dev/null", c->fs.device);
	ASSERT_EQ(0, files_mount_again(&c->fs));
	files_case_open(c);
	ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, 0x2000));
	ASSERT_SYS(fsync(c->fd));
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ(0x2000 + i, seen);
	}
}

GPU_POOL_TEST

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

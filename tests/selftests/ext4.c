// SPDX-License-Identifier: GPL-2.0
/*
 * ext4_hmm against the kernel's own ext4, with no device: the same disks, side by side,
 * and what it must not do as the other does.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include "files.h"
#include "sys.h"

#define LENGTH		(1u << 20)
#define KPF_COMPOUND	(3ull << 15)	/* head or tail */

FIXTURE(ext4) {
	struct files_fs ours, other;
	uint8_t *model, *buf;
};

FIXTURE_VARIANT(ext4) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(ext4, delalloc_4k) { 4096, "delalloc" };
FIXTURE_VARIANT_ADD(ext4, delalloc_1k) { 1024, "delalloc" };
FIXTURE_VARIANT_ADD(ext4, nodelalloc_1k) { 1024, "nodelalloc,dioread_lock" };
FIXTURE_VARIANT_ADD(ext4, journalled_4k) { 4096, "data=journal" };

/* Mounted as what, of the two? */
static void as_type(struct files_fs *fs, const char *type)
{
	snprintf(fs->type, sizeof(fs->type), "%s", type);
}

static void need_ours(void)
{
	char *text = sys_text("/proc/filesystems");

	if (!text || !strstr(text, "\text4_hmm\n"))
		SKIP("ext4_hmm is not loaded");
	free(text);
	if (sys_run("grep -qw ext4 /proc/filesystems || modprobe ext4"))
		SKIP("this kernel has no ext4");
}

FIXTURE_SETUP(ext4)
{
	need_ours();
	self->model = calloc(1, LENGTH);
	self->buf = aligned_alloc(4096, LENGTH);
	ASSERT_NE(NULL, self->model);
	ASSERT_NE(NULL, self->buf);
	setenv("HMM_TEST_FS", "ext4_hmm", 1);
	files_mount(&self->ours, variant->block, variant->options);
}

FIXTURE_TEARDOWN(ext4)
{
	files_end(&self->ours);
	files_end(&self->other);
	free(self->model);
	free(self->buf);
}

static int open_file(struct files_fs *fs, int flags)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/file", fs->dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
	ASSERT_GE(fd, 0);
	return fd;
}

/* What is in the file, in all ways to read it. */
static void compare(struct harness_data_ext4 *self, struct files_fs *fs, size_t size)
{
	int fd = open_file(fs, 0), direct = open_file(fs, O_DIRECT);
	struct stat st;
	uint8_t *map;

	ASSERT_SYS(fstat(fd, &st));
	ASSERT_EQ(size, st.st_size);
	ASSERT_EQ(size, pread(fd, self->buf, LENGTH, 0));
	EXPECT_EQ(0, memcmp(self->model, self->buf, size));
	ASSERT_EQ(size, pread(direct, self->buf, LENGTH, 0));
	EXPECT_EQ(0, memcmp(self->model, self->buf, size));
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(self->model, map, size));
	munmap(map, size);
	close(fd);
	close(direct);
}

/* Every way to change a file, at odd places; the seed makes the rounds differ. */
static size_t change(struct harness_data_ext4 *self, struct files_fs *fs, unsigned int seed)
{
	const off_t hole = 123456, cut = LENGTH - 5000 - seed;
	int fd = open_file(fs, 0), direct = open_file(fs, O_DIRECT);
	uint8_t *map;

	for (size_t i = 0; i < LENGTH; i++)
		self->model[i] = self->buf[i] = i * 7 + i / 4096 + seed;
	ASSERT_EQ(LENGTH, pwrite(fd, self->buf, LENGTH, 0));
	ASSERT_SYS(fsync(fd));

	/* By a mapping, over a border of pages. */
	map = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	memset(map + 70000, 0xa0 + seed, 9000);
	memset(self->model + 70000, 0xa0 + seed, 9000);

	/* Around the page cache, where it is clean and where it is dirty. */
	memset(self->buf, 0xb0 + seed, 32768);
	ASSERT_EQ(32768, pwrite(direct, self->buf, 32768, 65536));
	memcpy(self->model + 65536, self->buf, 32768);
	EXPECT_EQ(0, memcmp(self->model, map, LENGTH));

	ASSERT_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, hole, 50000));
	memset(self->model + hole, 0, 50000);
	ASSERT_EQ(100, pwrite(fd, self->buf, 100, hole + 20000));
	memcpy(self->model + hole + 20000, self->buf, 100);

	/* What was behind the end does not come back. */
	ASSERT_SYS(ftruncate(fd, cut));
	ASSERT_SYS(ftruncate(fd, LENGTH));
	memset(self->model + cut, 0, LENGTH - cut);
	EXPECT_EQ(0, memcmp(self->model, map, LENGTH));
	ASSERT_SYS(msync(map, LENGTH, MS_SYNC));
	ASSERT_SYS(ftruncate(fd, cut));
	munmap(map, LENGTH);
	close(fd);
	close(direct);
	return cut;
}

/* A disk goes from one to the other and back. */
TEST_F_TIMEOUT(ext4, same_disk, 120)
{
	size_t size;

	size = change(self, &self->ours, 1);
	compare(self, &self->ours, size);
	files_remount(&self->ours);
	compare(self, &self->ours, size);
	for (unsigned int round = 0; round < 2; round++) {
		ASSERT_EQ(0, files_try_umount(&self->ours));
		files_fsck(&self->ours);
		as_type(&self->ours, round ? "ext4_hmm" : "ext4");
		ASSERT_EQ(0, files_mount_again(&self->ours));
		compare(self, &self->ours, size);
		size = change(self, &self->ours, 2 + round);
	}
	compare(self, &self->ours, size);
}

/* Each has its own place in sysfs and proc. */
static void expect_names(const struct files_fs *ours, const struct files_fs *other)
{
	const char *disk = strrchr(ours->device, '/') + 1;
	const char *others = strrchr(other->device, '/') + 1;

	EXPECT_EQ(0, sys_run("cd /sys/fs && test -d ext4_hmm/%s -a -d ext4/%s -a ! -e ext4/%s -a ! -e ext4_hmm/%s",
			     disk, others, disk, others));
	EXPECT_EQ(0, sys_run("cd /proc/fs && test -d ext4_hmm/%s -a -d ext4/%s -a ! -e ext4/%s -a ! -e ext4_hmm/%s",
			     disk, others, disk, others));
	EXPECT_EQ(0, sys_run("test -d /sys/fs/ext4_hmm/features -a -d /sys/fs/ext4/features"));
	if (!access("/sys/kernel/tracing/events", F_OK))
		EXPECT_EQ(0, sys_run("ls /sys/kernel/tracing/events/ext4_hmm >/dev/null"));
}

/* The same on the kernel's own. */
static void mount_other(struct harness_data_ext4 *self,
			const struct harness_variant_ext4 *variant)
{
	struct files_fs *other = &self->other;

	if (!sys_loop("hmm-other", 64, other->backing, sizeof(other->backing), other->device,
		      sizeof(other->device)))
		SKIP("no loop device");
	ASSERT_EQ(0, sys_run("PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F -b %u %s",
			     variant->block, other->device));
	as_type(other, "ext4");
	snprintf(other->options, sizeof(other->options), "%s", variant->options);
	snprintf(other->dir, sizeof(other->dir), "/tmp/hmm-other-dir.%d", getpid());
	ASSERT_SYS(mkdir(other->dir, 0700));
	ASSERT_EQ(0, files_mount_again(other));
}

/* Both at once, and neither takes the other's disk. */
TEST_F_TIMEOUT(ext4, side_by_side, 120)
{
	struct files_fs *other = &self->other;
	size_t size;

	mount_other(self, variant);
	expect_names(&self->ours, other);

	size = change(self, &self->ours, 5);
	compare(self, &self->ours, size);
	EXPECT_EQ(size, change(self, other, 5));
	compare(self, other, size);
	EXPECT_EQ(0, sys_run("cmp %s/file %s/file", self->ours.dir, other->dir));

	EXPECT_EQ(-1, mount(self->ours.device, other->dir, "ext4", 0, NULL));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(-1, mount(other->device, self->ours.dir, "ext4_hmm", 0, NULL));
	EXPECT_EQ(EBUSY, errno);
}

/* How many pages of a file are parts of larger folios, as it was written, or read ahead? */
static size_t count_compound(struct harness_data_ext4 *self, struct files_fs *fs, bool again)
{
	const int flags = ASSERT_SYS(open("/proc/kpageflags", O_RDONLY | O_CLOEXEC));
	volatile uint8_t *map;
	size_t compound = 0;
	uint64_t word;
	int fd;

	if (again)
		files_remount(fs);
	fd = open_file(fs, 0);
	memset(self->buf, 1, LENGTH);
	if (again)
		ASSERT_EQ(LENGTH, pread(fd, self->buf, LENGTH, 0));
	else
		ASSERT_EQ(LENGTH, pwrite(fd, self->buf, LENGTH, 0));
	map = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);
	for (size_t i = 0; i < LENGTH; i += 4096) {
		EXPECT_EQ(1, map[i]);
		word = sys_pagemap(&map[i]);
		ASSERT_EQ(8, pread(flags, &word, 8, (word & SYS_PM_PFN) * 8));
		compound += !!(word & KPF_COMPOUND);
	}
	munmap((void *)map, LENGTH);
	close(fd);
	close(flags);
	return compound;
}

/* Where ext4 likes folios that are larger than a page, so do we, as long as no page moves. */
TEST_F_TIMEOUT(ext4, large_folios, 120)
{
	if (access("/proc/kpageflags", R_OK))
		SKIP("no /proc/kpageflags");
	mount_other(self, variant);
	for (int again = 0; again < 2; again++)
		EXPECT_EQ(count_compound(self, &self->other, again),
			  count_compound(self, &self->ours, again));
}

/* But a block may not be larger than a page. */
TEST(large_blocks)
{
	char backing[64], device[64], dir[64];

	need_ours();
	if (!sys_loop("hmm-large", 64, backing, sizeof(backing), device, sizeof(device)))
		SKIP("no loop device");
	snprintf(dir, sizeof(dir), "/tmp/hmm-large-dir.%d", getpid());
	ASSERT_SYS(mkdir(dir, 0700));
	EXPECT_EQ(0, sys_run("PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F -b 65536 %s",
			     device));
	EXPECT_EQ(-1, mount(device, dir, "ext4_hmm", 0, NULL));
	EXPECT_EQ(EINVAL, errno);
	umount(dir);
	rmdir(dir);
	sys_loop_end(device, backing);
}

/* Insert ext4_hmm, from where it is; its exit status. */
static int insert_ours(const char *args)
{
	return sys_run("PATH=$PATH:/sbin; "
		       "insmod $(grep -o '[^ ]*/ext4_hmm.ko' /run/hmm/insert | head -n 1) %s",
		       args);
}

/*
 * As ext4, where there is no other: it refuses to be that while the kernel's own is there, and
 * a disk is mounted by that name then.  At the end everything is as it was.
 */
TEST(as_ext4)
{
	struct files_fs fs = { 0 };

	need_ours();
	if (sys_run("grep -q /ext4_hmm.ko /run/hmm/insert"))
		SKIP("nobody knows where ext4_hmm.ko is");
	if (sys_run("PATH=$PATH:/sbin; rmmod ext4_hmm"))
		SKIP("ext4_hmm is in use");
	EXPECT_NE(0, insert_ours("as_ext4=1 2>/dev/null"));
	EXPECT_EQ(0, sys_run("test -d /sys/fs/ext4/features"));
	if (sys_run("PATH=$PATH:/sbin; rmmod ext4")) {
		EXPECT_EQ(0, insert_ours(""));
		SKIP("the kernel's own ext4 is in use");
	}
	EXPECT_EQ(0, insert_ours("as_ext4=1"));
	EXPECT_EQ(0, sys_run("test -d /sys/fs/ext4/features -a -d /proc/fs/ext4 -a "
			     "! -e /sys/module/ext4"));
	setenv("HMM_TEST_FS", "ext4", 1);
	files_mount(&fs, 4096, "delalloc");
	EXPECT_TRUE(fs.taught);
	EXPECT_NE(0, sys_run("PATH=$PATH:/sbin; rmmod ext4_hmm 2>/dev/null"));
	files_end(&fs);
	EXPECT_EQ(0, sys_run("PATH=$PATH:/sbin; rmmod ext4_hmm"));
	EXPECT_NE(0, sys_run("test -e /sys/fs/ext4 -o -e /proc/fs/ext4"));
	EXPECT_EQ(0, insert_ours(""));
	EXPECT_EQ(0, sys_run("modprobe ext4"));
}

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

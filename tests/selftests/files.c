// SPDX-License-Identifier: GPL-2.0
/* File systems for the tests of files whose pages are on a device. */
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include "files.h"
#include "sys.h"

/* What a test has left to the next one, if the program has called files_program_begin(). */
struct files_left {
	bool there;
	char device[64], features[40];
	unsigned int block, inodes;
};

static struct files_left *files_left;

/*
 * Where umount() was not the last to let go of a file system, it is written a moment later;
 * the device is claimed until then.
 */
static int files_check(const char *device)
{
	const uint64_t end = sys_now_ms() + 60000;
	int fd;

	while ((fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC)) < 0 && errno == EBUSY &&
	       sys_now_ms() < end)
		sys_sleep_ms(50);
	if (fd >= 0)
		close(fd);
	return sys_spawn("e2fsck -f -n %s", device);
}

bool files_check_left(void)
{
	const bool was = files_left && files_left->there;

	if (was)
		files_left->there = false;
	return !was || !files_check(files_left->device);
}

void files_program_begin(void)
{
	const char *alone = getenv("HMM_TEST_FSCK");

	if (alone && *alone)
		return;
	files_left = mmap(NULL, sizeof(*files_left), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (files_left == MAP_FAILED)
		files_left = NULL;
}

int files_program_end(void)
{
	if (files_check_left())
		return 0;
	test_log("e2fsck does not like what the tests have left: see HMM_TEST_FSCK in files.h");
	return -EUCLEAN;
}

/* Is what @fs wants to be there already?  Whoever mounts it, it is not left any more. */
static bool files_take_left(const struct files_fs *fs)
{
	struct files_left *left = files_left;

	if (!left || !left->there || !fs->scratch || strcmp(left->device, fs->device) ||
	    strcmp(left->features, fs->features) || left->block != fs->block ||
	    left->inodes != fs->inodes)
		return false;
	left->there = false;
	return true;
}

static int files_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *name = path + ftw->base;

	(void)st;
	(void)type;
	return ftw->level && strcmp(name, "lost+found") ? remove(path) : 0;
}

/* @fs was mounted, and is good, as far as anybody knows: let the next test have it. */
static bool files_leave(const struct files_fs *fs, bool empty)
{
	struct files_left *left = files_left;

	if (!left || !fs->scratch || !empty || harness_report->failures)
		return false;
	snprintf(left->device, sizeof(left->device), "%s", fs->device);
	snprintf(left->features, sizeof(left->features), "%s", fs->features);
	left->block = fs->block;
	left->inodes = fs->inodes;
	left->there = true;
	return true;
}

static bool files_has_type(const char *type)
{
	char line[64], *text = sys_text("/proc/filesystems");
	bool has;

	snprintf(line, sizeof(line), "\t%s\n", type);
	has = text && strstr(text, line);
	free(text);
	return has;
}

static void files_choose_type(struct files_fs *fs)
{
	const char *env = getenv("HMM_TEST_FS"), *verify = getenv("HMM_TEST_VERIFY");

	if (env && *env)
		snprintf(fs->type, sizeof(fs->type), "%s", env);
	else
		snprintf(fs->type, sizeof(fs->type), "%s",
			 files_has_type("ext4_hmm") ? "ext4_hmm" : "ext4");
	if (!files_has_type(fs->type) && sys_run("modprobe %s", fs->type))
		SKIP("this kernel has no %s", fs->type);
	/* The taught one may have been built to be mounted as plain ext4. */
	fs->taught = !access("/sys/module/ext4_hmm", F_OK) &&
		     (!strcmp(fs->type, "ext4_hmm") || access("/sys/module/ext4", F_OK));
	/* What is in memory of a page that the device has is not what it was: see who looks. */
	if (fs->taught)
		sys_try_write("/sys/kernel/debug/hmm/pagecache_verify",
			      verify && *verify ? verify : "1");
}

int files_mount_again(struct files_fs *fs)
{
	if (mount(fs->device, fs->dir, fs->type, 0, fs->options))
		return -errno;
	fs->mounted = true;
	return 0;
}

/*
 * Only this test sees it: if the test is killed, the last of its processes takes the file
 * system with it.
 */
static void files_mount_first(struct files_fs *fs, const char *options, bool left)
{
	int ret;

	snprintf(fs->options, sizeof(fs->options), "%s", options ? options : "");
	ASSERT_SYS(unshare(CLONE_NEWNS));
	ASSERT_SYS(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	snprintf(fs->dir, sizeof(fs->dir), "/tmp/hmm-files.%d", getpid());
	ASSERT_SYS(mkdir(fs->dir, 0700));
	ret = files_mount_again(fs);
	if (ret && left)
		files_fsck(fs);
	if (ret)
		SKIP("cannot mount %s with options '%s': %s", fs->type, fs->options,
		     strerror(-ret));
}

void files_mount_on(struct files_fs *fs, const char *device, unsigned int block,
		    const char *options)
{
	files_choose_type(fs);
	fs->block = block;
	if (device != fs->device)
		snprintf(fs->device, sizeof(fs->device), "%s", device);
	if (files_take_left(fs)) {
		files_mount_first(fs, options, true);
		return;
	}
	EXPECT_TRUE(files_check_left());
	/*
	 * Everything is there from the start: no thread that initialises it later.  And few
	 * inodes, for they have to be written first.
	 *
	 * An area for fast commits that is never full: after a failure of power at such a
	 * moment no kernel mounts the file system.  fc_do_one_pass() of jbd2 reads one block
	 * more than there are, up to j_fc_last, and gets -EFSCORRUPTED (6.12.117, 7.2.13).
	 * With a journal of this size there would be 16.
	 */
	if (sys_spawn("mkfs.ext4 -q -F -b %u -J size=4%s -N %u "
		      "-E lazy_itable_init=0,lazy_journal_init=0,nodiscard %s%s %s", block,
		      strstr(fs->features, "fast_commit") ? ",fast_commit_size=1024" : "",
		      fs->inodes ?: 4096, *fs->features ? "-O " : "", fs->features, fs->device))
		SKIP("cannot make an ext4 on %s", fs->device);
	files_mount_first(fs, options, false);
}

void files_mount_old(struct files_fs *fs, const char *device, const char *options)
{
	files_choose_type(fs);
	snprintf(fs->device, sizeof(fs->device), "%s", device);
	files_mount_first(fs, options, false);
}

void files_mount(struct files_fs *fs, unsigned int block, const char *options)
{
	fs->scratch = sys_disk("hmm-scratch", fs->device, sizeof(fs->device));
	if (!fs->scratch &&
	    !sys_loop("hmm-files", 128, fs->backing, sizeof(fs->backing), fs->device,
		      sizeof(fs->device)))
		SKIP("no disk and no loop device for a file system");
	files_mount_on(fs, fs->device, block, options);
}

int files_try_umount(struct files_fs *fs)
{
	if (umount(fs->dir))
		return -errno;
	fs->mounted = false;
	return 0;
}

void files_remount(struct files_fs *fs)
{
	ASSERT_EQ(0, files_try_umount(fs));
	ASSERT_EQ(0, files_mount_again(fs));
}

void files_fsck(struct files_fs *fs)
{
	EXPECT_EQ(0, files_check(fs->device));
}

void files_end(struct files_fs *fs)
{
	if (fs->mounted) {
		const bool empty = files_left && fs->scratch &&
				   !nftw(fs->dir, files_remove_one, 16, FTW_DEPTH | FTW_PHYS);

		EXPECT_EQ(0, files_try_umount(fs));
		if (!fs->mounted && !files_leave(fs, empty))
			files_fsck(fs);
	}
	if (*fs->dir)
		rmdir(fs->dir);
	if (*fs->backing)
		sys_loop_end(fs->device, fs->backing);
	memset(fs, 0, sizeof(*fs));
}

void files_need_taught(const struct files_fs *fs, struct gpu *gpu)
{
	struct dgpu_info info = { 0 };

	if (!fs->taught)
		SKIP("pages of %s stay in system memory (ext4_hmm is not loaded)", fs->type);
	ASSERT_EQ(0, dgpu_get_info(gpu->dev, &info));
	if (!info.local_bytes)
		SKIP("the device has no memory");
}

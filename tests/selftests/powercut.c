// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's side of scripts/powercut: what a file contains after power has failed, and a
 * device that writes to a new one until it fails again.
 *
 *	powercut --points N --disk BYTES --block BYTES --mount OPTIONS --features LIST --seed N
 *
 * First it looks at N disks of that size, which are one behind the other on the disk
 * hmm-points; then it makes a file system on hmm-scratch.  What is said, a line each:
 *
 *	point N		this disk
 *	page P SEQ...	the page has words of these writes; 0 is zeroes
 *	checked		that is all, and the file system is good
 *	file		a new file system, and an empty file on it
 *	write P SEQ	the device is about to fill a page; or the CPU is, in its mapping, by
 *			write(2), or directly
 *	punch P SEQ	a hole is about to be punched
 *	synced SEQ	all until this one has been synced
 *	owned N		so many pages had newer bytes on the device than in memory until now
 *
 * Lines are said before the deed, but for "synced" and "owned", which are said after it: what
 * the reader has got is what holds.
 */
#include <fcntl.h>
#include <getopt.h>
#include <linux/blkpg.h>
#include <linux/falloc.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "files.h"
#include "sys.h"

#define NPAGES	64ul
#define WORDS	(PAGE_SIZE / 8)

static unsigned int points;
static long long disk_bytes;
static unsigned int block = 4096;
static const char *options = "", *features = "";
static uint64_t rnd = 1;

HARNESS_VARIABLES;

static uint64_t some(uint64_t below)
{
	rnd ^= rnd >> 12;
	rnd ^= rnd << 25;
	rnd ^= rnd >> 27;
	return (rnd * 0x2545f4914f6cdd1dull >> 16) % below;
}

/* Which writes are the words of a page of? */
static void say_page(const uint64_t *words, size_t page)
{
	uint64_t last = ~0ull;

	printf("page %zu", page);
	for (size_t i = 0; i < WORDS; i++) {
		const uint64_t seq = words[i] >> 16;

		if (words[i] && (words[i] & 0xffff) != i) {
			printf(" bad:%zu:%#jx", i, (uintmax_t)words[i]);
			break;
		}
		if (!words[i] != !last || seq != last)
			printf(" %ju", (uintmax_t)(words[i] ? seq : 0));
		last = words[i] ? seq : 0;
	}
	printf("\n");
}

static void look(const struct files_fs *fs)
{
	static uint64_t words[WORDS];
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "%s/file", fs->dir);
	fd = ASSERT_SYS(open(path, O_RDONLY | O_CLOEXEC));
	for (size_t page = 0; page < NPAGES; page++) {
		ASSERT_EQ(PAGE_SIZE, pread(fd, words, PAGE_SIZE, (off_t)(page * PAGE_SIZE)));
		say_page(words, page);
	}
	close(fd);
}

/* A part of a disk as a device of its own. */
static void point_device(int fd, int op, unsigned int number)
{
	struct blkpg_partition part = {
		.start = number * disk_bytes, .length = disk_bytes, .pno = (int)number + 1,
	};
	struct blkpg_ioctl_arg arg = { .op = op, .datalen = sizeof(part), .data = &part };

	ASSERT_SYS(ioctl(fd, BLKPG, &arg));
}

static void look_at_points(void)
{
	char disk[40], device[64];
	int fd;

	ASSERT_TRUE(sys_disk("hmm-points", disk, sizeof(disk)));
	fd = ASSERT_SYS(open(disk, O_RDWR | O_CLOEXEC));
	for (unsigned int i = 0; i < points; i++) {
		struct files_fs fs = { 0 };

		point_device(fd, BLKPG_ADD_PARTITION, i);
		snprintf(device, sizeof(device), "%s%u", disk, i + 1);
		printf("point %u\n", i);
		files_mount_old(&fs, device, options);
		look(&fs);
		ASSERT_EQ(0, files_try_umount(&fs));
		files_fsck(&fs);
		files_end(&fs);
		point_device(fd, BLKPG_DEL_PARTITION, i);
		if (harness_report->failures)
			harness_end();
		printf("checked\n");
	}
	close(fd);
}

/* The file, open in two ways, and another one. */
struct powercut_file {
	int fd, direct, other;
	char *mem;
};

/* Without such pages the page cache has it all, and nothing is tested. */
static void say_owned(struct gpu *gpu)
{
	static uint64_t said;
	const uint64_t owned = gpu_rmem(gpu, HMM_RMEM_FILE_OWNED);

	if (owned != said)
		printf("owned %ju\n", (uintmax_t)owned);
	said = owned;
}

static void write_page(struct gpu *gpu, struct powercut_file *file, size_t page, uint64_t seq)
{
	static uint64_t buffer[WORDS] __attribute__((aligned(4096)));
	volatile uint64_t *words = word(file->mem, page);
	const uint64_t how = some(12);

	printf("write %zu %ju\n", page, (uintmax_t)seq);
	if (how > 2) {
		ASSERT_EQ(0, gpu_run(gpu, GPU_FILL, 1 + (uint32_t)some(4), (uintptr_t)words,
				     WORDS, 8, seq << 16));
		return;
	}
	for (size_t i = 0; i < WORDS; i++)
		(how ? buffer : words)[i] = (seq << 16) + i;
	if (how)
		ASSERT_EQ(PAGE_SIZE, pwrite(how == 1 ? file->fd : file->direct, buffer, PAGE_SIZE,
					    (off_t)(page * PAGE_SIZE)));
}

static void sync_all(const struct powercut_file *file, uint64_t seq)
{
	switch (some(8)) {
	case 0:
		ASSERT_SYS(fdatasync(file->fd));
		break;
	case 1:
		ASSERT_SYS(msync(file->mem, NPAGES * PAGE_SIZE, MS_SYNC));
		break;
	case 2:	/* says nothing of our file, but makes the journal commit */
	case 3:
		ASSERT_EQ(8, pwrite(file->other, &seq, 8, (off_t)some(1000) * 8));
		ASSERT_SYS(fsync(file->other));
		return;
	case 4:	/* writes, and promises nothing */
		ASSERT_SYS(sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WRITE));
		return;
	case 5:
		ASSERT_SYS(syncfs(file->fd));
		break;
	default:
		ASSERT_SYS(fsync(file->fd));
	}
	printf("synced %ju\n", (uintmax_t)seq);
}

static void work(struct files_fs *fs, struct gpu *gpu)
{
	struct powercut_file file;
	char path[100];

	snprintf(path, sizeof(path), "%s/other", fs->dir);
	file.other = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	snprintf(path, sizeof(path), "%s/file", fs->dir);
	file.fd = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	file.direct = ASSERT_SYS(open(path, O_RDWR | O_DIRECT | O_CLOEXEC));
	ASSERT_SYS(ftruncate(file.fd, NPAGES * PAGE_SIZE));
	ASSERT_SYS(fsync(file.fd));
	ASSERT_SYS(fsync(file.other));
	file.mem = ASSERT_SYS(mmap(NULL, NPAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
				   file.fd, 0));
	printf("file\n");
	for (uint64_t seq = 1;; seq++) {
		const size_t page = some(NPAGES);

		if (!some(12)) {
			printf("punch %zu %ju\n", page, (uintmax_t)seq);
			ASSERT_SYS(fallocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					     (off_t)(page * PAGE_SIZE), PAGE_SIZE));
		} else {
			write_page(gpu, &file, page, seq);
			say_owned(gpu);
		}
		if (!some(8))
			sync_all(&file, seq);
		if (!some(40))
			dgpu_migrate(gpu->dev, file.mem, NPAGES * PAGE_SIZE, 0, NULL, NULL);
	}
}

TEST_TIMEOUT(powercut, 3600)
{
	struct files_fs fs = { 0 };
	struct gpu gpu = { 0 };

	gpu_setup(&gpu);
	dgpu_set_policy(gpu.dev, HMM_POLICY_TOUCH);
	if (points)
		look_at_points();
	snprintf(fs.features, sizeof(fs.features), "%s", features);
	files_mount(&fs, block, options);
	work(&fs, &gpu);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "points", 1, NULL, 'n' }, { "disk", 1, NULL, 'd' }, { "block", 1, NULL, 'b' }, { "mount", 1, NULL, 'o' },
		{ "features", 1, NULL, 'f' }, { "seed", 1, NULL, 's' }, { }
	};
	char *none[] = { argv[0], NULL };
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'n': points = (unsigned int)atoi(optarg); break;
		case 'd': disk_bytes = atoll(optarg); break;
		case 'b': block = (unsigned int)atoi(optarg); break;
		case 'o': options = optarg; break;
		case 'f': features = optarg; break;
		case 's': rnd = strtoull(optarg, NULL, 0) * 0x9e3779b97f4a7c15ull | 1; break;
		default: return 2;
		}
	}
	return harness_main(1, none, NULL, NULL);
}

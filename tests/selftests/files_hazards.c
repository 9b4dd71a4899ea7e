// SPDX-License-Identifier: GPL-2.0
/*
 * What everybody else does with a file while pages of it are on the device: system calls,
 * mappings, direct I/O, pins, the edges of truncate and fallocate, writeback.
 *
 * In every test the device has the pages first (files_own() fails if it has not), then the
 * kernel does the one thing that the test is about.  Errors, lost devices and everything
 * that takes the whole file system are in files_trouble.c.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/uio.h>
#include "chip.h"
#include "files_case.h"
#include "sys.h"

#define N	FILES_PAGES
#define PG	((off_t)PAGE_SIZE)

struct move_extent {
	uint32_t reserved, donor_fd;
	uint64_t orig_start, donor_start, len, moved_len;
};
#define IOC_SWAP_BOOT	_IO('f', 17)
#define IOC_MOVE_EXT	_IOWR('f', 15, struct move_extent)
#define JOURNAL_DATA	0x4000
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif

FIXTURE(file) {
	struct files_case c;
};

FIXTURE_VARIANT(file) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(file, delalloc_4k) { 4096, "delalloc" };
/* New blocks are written when the journal commits: at no other time than a test wants. */
FIXTURE_VARIANT_ADD(file, nodelalloc_1k) { 1024, "nodelalloc,dioread_lock,commit=600" };

FIXTURE_SETUP(file)
{
	files_case_begin(&self->c, variant->block, variant->options);
	files_case_hold(&self->c);
}

FIXTURE_TEARDOWN(file)
{
	files_case_end(&self->c);
}

/* ---- reading ---- */

/* Each way to read sees what the device has written, and the device goes on. */
static void read_test(struct files_case *c, enum files_how how)
{
	for (uint64_t round = 1; round <= 3; round++) {
		files_own(c, 0, N, round << 32);
		EXPECT_OWNED(c, 0, N, N);
		files_expect(c, __FILE__, __LINE__, how, 0, N, round << 32);
		EXPECT_FILE(c, DEVICE, 0, 2, round << 32);
	}
}

TEST_F(file, read) { read_test(&self->c, FILES_READ); }
TEST_F(file, read_direct) { read_test(&self->c, FILES_DIRECT); }
TEST_F(file, read_mapped) { read_test(&self->c, FILES_MAP); }
TEST_F(file, read_splice) { read_test(&self->c, FILES_SPLICE); }
TEST_F(file, read_child) { read_test(&self->c, FILES_CHILD); }

/* Without leave to wait: not now, or what is right. */
TEST_F(file, read_nowait)
{
	struct files_case *c = &self->c;
	uint64_t word = 0;
	struct iovec iov = { &word, sizeof(word) };
	ssize_t got;

	files_own(c, 0, N, 0x1000);
	for (size_t i = 0; i < N; i++) {
		got = preadv2(c->fd, &iov, 1, (off_t)i * PG, RWF_NOWAIT);
		if (got < 0)
			EXPECT_EQ(EAGAIN, errno);
		else
			EXPECT_EQ(0x1000 + i, word);
	}
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

/* ---- writing ---- */

/* Some bytes of a page that the device has: all others are the device's. */
TEST_F(file, write_part)
{
	struct files_case *c = &self->c;
	const uint64_t mine = 0xabcdef;
	uint64_t seen;

	for (uint64_t round = 1; round <= 3; round++) {
		files_own(c, 0, N, round << 32);
		for (size_t i = 0; i < N; i++)
			ASSERT_EQ(8, pwrite(c->fd, &mine, 8, (off_t)i * PG + 512));
		for (size_t i = 0; i < N; i++) {
			EXPECT_EQ((round << 32) + i, *word(c->mem, i));
			EXPECT_EQ(mine, gpu_see(&c->gpu, c->mem + i * PAGE_SIZE + 512));
			ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG + 520));
			EXPECT_EQ(0x0101010101010101ull * files_rest(i), seen);
		}
	}
}

TEST_F(file, write_whole)
{
	struct files_case *c = &self->c;
	static char buffer[PAGE_SIZE];

	files_own(c, 0, N, 0x1000);
	for (size_t i = 0; i < N; i += 2) {
		memset(buffer, 0x77, PAGE_SIZE);
		ASSERT_EQ(PAGE_SIZE, pwrite(c->fd, buffer, PAGE_SIZE, (off_t)i * PG));
	}
	for (size_t i = 0; i < N; i++) {
		if (i % 2)
			EXPECT_FILE(c, READ, i, 1, 0x1000);
		else
			EXPECT_BYTE(c, i, 0x77);
	}
}

/* Through a mapping, page by page; also of pages that the device only reads. */
TEST_F(file, write_mapped)
{
	struct files_case *c = &self->c;

	for (uint64_t round = 1; round <= 3; round++) {
		files_own(c, 0, N / 2, round << 32);
		cpu_fill(c->mem + FILES_LENGTH / 2, N / 2, (round << 32) + N / 2);
		files_share(c, N / 2, N / 2, round << 32);
		cpu_fill(c->mem, N, round << 16);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 16));
		EXPECT_FILE(c, READ, 0, N, round << 16);
	}
}

/* The buffer of write(2) is the file itself, the same page even. */
TEST_F(file, write_from_its_own_mapping)
{
	struct files_case *c = &self->c;
	uint64_t seen;

	files_own(c, 0, N, 0x1000);
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pwrite(c->fd, c->mem + i * PAGE_SIZE, 8, (off_t)i * PG + 256));
		ASSERT_EQ(8, pwrite(c->fd, c->mem + i * PAGE_SIZE, 8,
				    (off_t)((i + 1) % N) * PG + 1024));
	}
	for (size_t i = 0; i < N; i++) {
		EXPECT_EQ(0x1000 + i, gpu_see(&c->gpu, c->mem + i * PAGE_SIZE + 256));
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG + 1024));
		EXPECT_EQ(0x1000 + (i + N - 1) % N, seen);
	}
}

TEST_F(file, write_direct)
{
	struct files_case *c = &self->c;
	static char buffer[PAGE_SIZE] __attribute__((aligned(4096)));

	for (int round = 1; round <= 3; round++) {
		files_own(c, 0, N, 0x1000);
		memset(buffer, round, PAGE_SIZE);
		for (size_t i = 0; i < N; i += 2)
			ASSERT_EQ(PAGE_SIZE, pwrite(c->direct, buffer, PAGE_SIZE, (off_t)i * PG));
		for (size_t i = 0; i < N; i++) {
			if (i % 2)
				EXPECT_FILE(c, READ, i, 1, 0x1000);
			else
				EXPECT_BYTE(c, i, (uint8_t)round);
		}
		/* As it was, for the next round. */
		for (size_t i = 0; i < N; i += 2) {
			memset(buffer, files_rest(i), PAGE_SIZE);
			ASSERT_EQ(PAGE_SIZE, pwrite(c->fd, buffer, PAGE_SIZE, (off_t)i * PG));
		}
	}
}

/* Direct I/O whose memory is pages of this file that the device has. */
TEST_F(file, direct_with_its_own_mapping)
{
	struct files_case *c = &self->c;

	files_own(c, 0, N, 0x1000);
	/* Page 1 to the disk, as page 2; page 3 from the disk, into page 4. */
	ASSERT_EQ(PAGE_SIZE, pwrite(c->direct, c->mem + PAGE_SIZE, PAGE_SIZE, 2 * PG));
	ASSERT_EQ(PAGE_SIZE, pread(c->direct, c->mem + 4 * PAGE_SIZE, PAGE_SIZE, 3 * PG));
	EXPECT_EQ(0x1001, gpu_see(&c->gpu, c->mem + 2 * PAGE_SIZE));
	EXPECT_EQ(0x1003, gpu_see(&c->gpu, c->mem + 4 * PAGE_SIZE));
	EXPECT_FILE(c, READ, 5, N - 5, 0x1000);
	files_case_remount(c);
	EXPECT_EQ(0x1001, *word(c->mem, 2));
	EXPECT_EQ(0x1003, *word(c->mem, 4));
}

/* process_vm_writev() has a reference to a page, and no page table entry. */
TEST_F(file, write_remote)
{
	struct files_case *c = &self->c;
	uint64_t mine = 0x5eed;

	files_own(c, 0, N, 0x1000);
	for (size_t i = 0; i < N; i++) {
		const struct iovec here = { &mine, 8 }, there = { c->mem + i * PAGE_SIZE + 64, 8 };

		ASSERT_EQ(8, process_vm_writev(getpid(), &here, 1, &there, 1, 0));
	}
	for (size_t i = 0; i < N; i++) {
		EXPECT_EQ(mine, gpu_see(&c->gpu, c->mem + i * PAGE_SIZE + 64));
		EXPECT_EQ(0x1000 + i, gpu_see(&c->gpu, c->mem + i * PAGE_SIZE));
	}
}

/* ---- pages that somebody holds ---- */

/* While a pipe has a page, the device can use it, but in place. */
static void held_test(struct files_case *c, bool vmsplice_it)
{
	static char buffer[PAGE_SIZE];
	const struct iovec iov = { c->mem, PAGE_SIZE };
	loff_t at = 0;
	int fds[2];

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(pipe2(fds, O_CLOEXEC));
	if (vmsplice_it)
		ASSERT_EQ(PAGE_SIZE, vmsplice(fds[1], &iov, 1, 0));
	else
		ASSERT_EQ(PAGE_SIZE, splice(c->fd, &at, fds[1], NULL, PAGE_SIZE, 0));
	for (uint64_t round = 2; round <= 4; round++) {
		ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, round << 12));
		dgpu_migrate(c->gpu.dev, c->mem, FILES_LENGTH, 0, NULL, NULL);
		EXPECT_OWNED(c, 0, 1, 0);
		EXPECT_EQ(round << 12, *word(c->mem, 0));
		EXPECT_FILE(c, READ, 0, N, round << 12);
	}
	/* The pipe has the page itself, not a copy. */
	ASSERT_EQ(PAGE_SIZE, read(fds[0], buffer, PAGE_SIZE));
	EXPECT_EQ(4u << 12, *(uint64_t *)(void *)buffer);
	close(fds[0]);
	close(fds[1]);
	files_own(c, 0, N, 0x9000);
	EXPECT_FILE(c, READ, 0, N, 0x9000);
}

TEST_F(file, held_by_splice) { held_test(&self->c, false); }
TEST_F(file, held_by_vmsplice) { held_test(&self->c, true); }

struct pinner {
	struct files_case *c;
	char *source;		/* not there until somebody puts it there */
	sem_t ready, move, write;
	bool moved;		/* the mover is done */
};

static void *pinner_write(void *arg)
{
	struct pinner *p = arg;
	const struct iovec here = { p->source, 8 }, there = { p->c->mem, 8 };

	sem_wait(&p->write);
	EXPECT_EQ(8, process_vm_writev(getpid(), &here, 1, &there, 1, 0));
	return NULL;
}

static void *pinner_move(void *arg)
{
	struct pinner *p = arg;

	/* What a thread allocates when it first needs memory must not wait for the device. */
	dgpu_migrate(p->c->gpu.dev, p->c->mem, PAGE_SIZE, DGPU_MIGRATE_TO_SYSTEM, NULL, NULL);
	sem_post(&p->ready);
	sem_wait(&p->move);
	dgpu_migrate(p->c->gpu.dev, p->c->mem, PAGE_SIZE, 0, NULL, NULL);
	__atomic_store_n(&p->moved, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Wait until the mover has locked the page, and a little longer; or is done. */
static void pinner_wait_locked(struct pinner *p, int flags, uint64_t pfn)
{
	uint64_t word = 0;

	while (!(word & 1) && !__atomic_load_n(&p->moved, __ATOMIC_SEQ_CST)) {
		sys_sleep_ms(1);
		ASSERT_EQ(8, pread(flags, &word, 8, (off_t)pfn * 8));
	}
	sys_sleep_ms(50);
}

/*
 * The page moves to the device, and the device takes a second to let go of its translation
 * of it.  Meanwhile somebody takes a reference, by the CPU's translation, which is still
 * there, to write by.  He writes when the move is over.  True if it came like that.
 *
 *	mover				writer
 *	locks the page, nobody has it
 *	unmaps: the device ...
 *					has the page, by its page table entry
 *	... and the CPU
 *	somebody has it: it stays
 *					writes
 */
static bool pinner_round(struct pinner *p, int uffd, int flags, unsigned int device,
			 uint64_t value)
{
	struct files_case *c = p->c;
	struct uffdio_copy copy = { .dst = (uintptr_t)p->source, .len = PAGE_SIZE };
	struct pollfd poll_it = { .fd = uffd, .events = POLLIN };
	static char page[PAGE_SIZE] __attribute__((aligned(4096)));
	pthread_t writer, mover;
	uint64_t pfn;
	bool in_time;

	memcpy(page, &value, sizeof(value));
	copy.src = (uintptr_t)page;
	p->moved = false;
	ASSERT_SYS(madvise(p->source, PAGE_SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, pthread_create(&mover, NULL, pinner_move, p));
	ASSERT_EQ(0, pthread_create(&writer, NULL, pinner_write, p));
	sem_wait(&p->ready);
	*word(c->mem, 0) = value - 1;
	EXPECT_EQ(value - 1, gpu_see(&c->gpu, c->mem));
	pfn = sys_pagemap(c->mem) & SYS_PM_PFN;
	ASSERT_NE(0, pfn);
	ASSERT_EQ(0, chip_knob(device, "tlb_delay_us", 1000000));
	sem_post(&p->move);
	pinner_wait_locked(p, flags, pfn);
	ASSERT_EQ(0, chip_knob(device, "tlb_delay_us", 0));
	sem_post(&p->write);
	ASSERT_EQ(1, poll(&poll_it, 1, 100000));
	in_time = !__atomic_load_n(&p->moved, __ATOMIC_SEQ_CST);
	ASSERT_EQ(0, pthread_join(mover, NULL));
	ASSERT_SYS(ioctl(uffd, UFFDIO_COPY, &copy));
	ASSERT_EQ(0, pthread_join(writer, NULL));
	EXPECT_EQ(value, gpu_see(&c->gpu, c->mem));
	EXPECT_EQ(value, *word(c->mem, 0));
	return in_time;
}

TEST_F(file, pinned_while_it_moves)
{
	struct pinner p = { .c = &self->c };
	struct dgpu_info info;
	const int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	const int uffd = sys_uffd_open(0);
	uint64_t round = 0;

	if (flags < 0)
		SKIP("no /proc/kpageflags: %s", strerror(errno));
	sem_init(&p.ready, 0, 0);
	sem_init(&p.move, 0, 0);
	sem_init(&p.write, 0, 0);
	p.source = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	sys_uffd_register(uffd, p.source, PAGE_SIZE, UFFDIO_REGISTER_MODE_MISSING);
	ASSERT_EQ(0, dgpu_get_info(p.c->gpu.dev, &info));
	/* Whatever has to be done once for a file has been; from now on it is used in place. */
	files_own(p.c, 0, 1, 0x100);
	ASSERT_EQ(0, dgpu_set_policy(p.c->gpu.dev, HMM_POLICY_REQUEST));
	/* Who is too late has had no chance to go wrong. */
	while (!pinner_round(&p, uffd, flags, info.index, 0x1000 + 2 * round) && ++round < 5)
		;
	test_log("%ju rounds were too late", (uintmax_t)round);
	close(uffd);
	close(flags);
	munmap(p.source, PAGE_SIZE);
}

/* ---- edges ---- */

TEST_F(file, truncate_and_extend)
{
	struct files_case *c = &self->c;
	uint64_t value;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(ftruncate(c->fd, 4 * PG + 100));
	EXPECT_EQ(-EFAULT, gpu_read(&c->gpu, c->mem + 8 * PAGE_SIZE, &value));
	EXPECT_EQ(0, files_owned(c, 4, 1) && c->device);
	EXPECT_FILE(c, READ, 0, 4, 0x1000);
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	EXPECT_EQ(0x1004, gpu_see(&c->gpu, c->mem + 4 * PAGE_SIZE));
	/* What was cut off is zero, in the page at the edge as well. */
	EXPECT_EQ(0, gpu_see(&c->gpu, c->mem + 4 * PAGE_SIZE + 104));
	EXPECT_EQ(0, *(uint64_t *)(void *)(c->mem + 4 * PAGE_SIZE + 4088));
	for (size_t i = 5; i < N; i++)
		EXPECT_BYTE(c, i, 0);
	files_case_remount(c);
	EXPECT_FILE(c, READ, 0, 4, 0x1000);
	EXPECT_EQ(0, *(uint64_t *)(void *)(c->mem + 4 * PAGE_SIZE + 104));
}

static void hole_test(struct files_case *c, int mode)
{
	files_own(c, 0, N, 0x1000);
	/* From the middle of page 4 to the middle of page 8. */
	ASSERT_SYS(fallocate(c->fd, mode, 4 * PG + 2048, 4 * PG));
	for (size_t i = 5; i < 8; i++)
		EXPECT_BYTE(c, i, 0);
	EXPECT_EQ(0x1004, gpu_see(&c->gpu, c->mem + 4 * PAGE_SIZE));
	EXPECT_EQ(0, gpu_see(&c->gpu, c->mem + 4 * PAGE_SIZE + 2048));
	EXPECT_EQ(0, gpu_see(&c->gpu, c->mem + 8 * PAGE_SIZE));
	EXPECT_EQ(0x0101010101010101ull * files_rest(8),
		  gpu_see(&c->gpu, c->mem + 8 * PAGE_SIZE + 2048));
	EXPECT_FILE(c, READ, 0, 4, 0x1000);
	EXPECT_FILE(c, READ, 9, N - 9, 0x1000);
	files_case_remount(c);
	EXPECT_FILE(c, READ, 9, N - 9, 0x1000);
	EXPECT_EQ(0x1004, *word(c->mem, 4));
	EXPECT_EQ(0, *word(c->mem, 8));
}

TEST_F(file, punch_hole) { hole_test(&self->c, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE); }
TEST_F(file, zero_range) { hole_test(&self->c, FALLOC_FL_ZERO_RANGE); }

TEST_F(file, collapse_range)
{
	struct files_case *c = &self->c;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fallocate(c->fd, FALLOC_FL_COLLAPSE_RANGE, 4 * PG, 4 * PG));
	EXPECT_FILE(c, READ, 0, 4, 0x1000);
	for (size_t i = 4; i < N - 4; i++)
		EXPECT_EQ(0x1004 + i, gpu_see(&c->gpu, c->mem + i * PAGE_SIZE));
	files_case_remount(c);
	for (size_t i = 4; i < N - 4; i++)
		EXPECT_EQ(0x1004 + i, *word(c->mem, i));
}

TEST_F(file, insert_range)
{
	struct files_case *c = &self->c;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fallocate(c->fd, FALLOC_FL_INSERT_RANGE, 4 * PG, 4 * PG));
	for (size_t i = 4; i < 8; i++)
		EXPECT_BYTE(c, i, 0);
	for (size_t i = 8; i < N; i++)
		EXPECT_EQ(0x1000 + i - 4, gpu_see(&c->gpu, c->mem + i * PAGE_SIZE));
	files_case_remount(c);
	for (size_t i = 8; i < N; i++)
		EXPECT_EQ(0x1000 + i - 4, *word(c->mem, i));
}

/* The page over the end of the file is never the device's, and its rest is never seen. */
TEST_F(file, end_of_file)
{
	struct files_case *c = &self->c;
	static const char zeros[2] = { };

	ASSERT_SYS(ftruncate(c->fd, 8 * PG + 100));
	files_own(c, 0, 8, 0x1000);
	for (int round = 0; round < 4; round++) {
		ASSERT_EQ(0, gpu_write(&c->gpu, c->mem + 8 * PAGE_SIZE, 0x2000 + (uint64_t)round));
		if (variant->block == PAGE_SIZE)
			ASSERT_EQ(0, gpu_write(&c->gpu, c->mem + 8 * PAGE_SIZE + 1024, 0xbad));
		EXPECT_OWNED(c, 8, 1, 0);
		EXPECT_EQ(0x2000 + round, *word(c->mem, 8));
		ASSERT_SYS(fsync(c->fd));
	}
	/*
	 * The file grows, over what was written behind its end.  With smaller blocks than pages
	 * ext4 itself lets that be seen (6.12: what processes write there as well).
	 */
	if (variant->block == PAGE_SIZE)
		ASSERT_EQ(0, gpu_write(&c->gpu, c->mem + 8 * PAGE_SIZE + 2048, 0xbad));
	ASSERT_EQ(2, pwrite(c->fd, zeros, 2, 9 * PG));
	EXPECT_EQ(0x2003, gpu_see(&c->gpu, c->mem + 8 * PAGE_SIZE));
	EXPECT_EQ(0, gpu_see(&c->gpu, c->mem + 8 * PAGE_SIZE + 2048));
	EXPECT_EQ(0, gpu_see(&c->gpu, c->mem + 8 * PAGE_SIZE + 1024));
	/* Now it is a page as others are. */
	files_own(c, 0, 8, 0x3000);
	EXPECT_FILE(c, READ, 0, 8, 0x3000);
}

/*
 * The file ends in page 8.  A process writes behind the end, and the device has a copy of that.
 * To write the page to the disk makes zeroes of what is there.  So what would write it comes
 * before: the next commit of the journal, and that a device uses the file for the first time,
 * for then the file system may give up large folios.
 */
static volatile uint64_t *share_end(struct files_case *c)
{
	volatile uint64_t *behind = (volatile uint64_t *)(void *)(c->mem + 8 * PAGE_SIZE + 2048);

	ASSERT_SYS(ftruncate(c->fd, 8 * PG + 100));
	*word(c->mem, 0) = 0x1000;
	files_share(c, 0, 1, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	*word(c->mem, 8) = 0x1008;
	*behind = 0xbad;
	files_share(c, 8, 1, 0x1000);
	EXPECT_EQ(0xbad, gpu_see(&c->gpu, behind));
	return behind;
}

/* When the file grows, there are zeroes in the page and in the device's copy of it. */
TEST_F(file, end_of_file_grows)
{
	struct files_case *c = &self->c;
	static const char zeros[2] = { };
	volatile uint64_t *behind;

	if (variant->block != PAGE_SIZE)
		SKIP("where blocks are smaller than pages no device has the last page");
	for (int round = 0; round < 3; round++) {
		behind = share_end(c);
		if (round == 0)
			ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
		else if (round == 1)
			ASSERT_EQ(2, pwrite(c->fd, zeros, 2, 9 * PG));
		else
			ASSERT_SYS(fallocate(c->fd, 0, 9 * PG, PG));
		EXPECT_EQ(0, gpu_see(&c->gpu, behind));
		EXPECT_EQ(0, *behind);
		EXPECT_EQ(0x1008, gpu_see(&c->gpu, c->mem + 8 * PAGE_SIZE));
	}
}

/*
 * When it is written to disk, too; then it grows by direct I/O, which does not look at that
 * page.
 */
TEST_F(file, end_of_file_shared)
{
	struct files_case *c = &self->c;
	static char buffer[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
	volatile uint64_t *behind;

	if (variant->block != PAGE_SIZE)
		SKIP("where blocks are smaller than pages no device has the last page");
	behind = share_end(c);
	ASSERT_SYS(fsync(c->fd));
	EXPECT_EQ(0, *behind);
	EXPECT_EQ(0, gpu_see(&c->gpu, behind));
	ASSERT_EQ(PAGE_SIZE, pwrite(c->direct, buffer, PAGE_SIZE, 9 * PG));
	EXPECT_EQ(0, gpu_see(&c->gpu, behind));
	EXPECT_EQ(0x1008, gpu_see(&c->gpu, c->mem + 8 * PAGE_SIZE));
}

/* What the device writes to space that is only reserved is data. */
TEST_F(file, seek_hole)
{
	struct files_case *c = &self->c;

	ASSERT_SYS(ftruncate(c->fd, 0));
	ASSERT_SYS(fallocate(c->fd, 0, 0, (off_t)FILES_LENGTH));
	ASSERT_SYS(fsync(c->fd));
	files_own(c, 8, 4, 0x1000);
	EXPECT_LE(lseek(c->fd, 0, SEEK_DATA), 8 * PG);
	for (off_t i = 8; i < 12; i++)
		EXPECT_EQ(i * PG, lseek(c->fd, i * PG, SEEK_DATA));
	EXPECT_GE(lseek(c->fd, 8 * PG, SEEK_HOLE), 12 * PG);
	EXPECT_EQ(0x1008, *word(c->mem, 8));
}

/* ---- writeback ---- */

enum synced { SYNC_FSYNC, SYNC_FDATASYNC, SYNC_MSYNC, SYNC_SYNC, SYNC_SYNCFS, SYNC_RANGE };

/* After it, what the device wrote before it is on the disk, also if power fails. */
static void sync_test(struct files_case *c, enum synced how)
{
	files_own(c, 0, N, 0x1000);
	switch (how) {
	case SYNC_FSYNC:
		ASSERT_SYS(fsync(c->fd));
		break;
	case SYNC_FDATASYNC:
		ASSERT_SYS(fdatasync(c->fd));
		break;
	case SYNC_MSYNC:
		ASSERT_SYS(msync(c->mem, FILES_LENGTH, MS_SYNC));
		break;
	case SYNC_SYNC:
		sync();
		break;
	case SYNC_SYNCFS:
		ASSERT_SYS(syncfs(c->fd));
		break;
	case SYNC_RANGE:	/* of blocks that are there already */
		ASSERT_SYS(sync_file_range(c->fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE |
					   SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
		break;
	}
	/* The device reads on, and its next write asks again. */
	EXPECT_OWNED(c, 0, N, 0);
	if (c->device)
		EXPECT_PLACE(&c->gpu, c->mem, N, DEVICE);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	if (c->device)
		EXPECT_EQ(N, files_there(c, 0, N));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

TEST_F(file, fsync) { sync_test(&self->c, SYNC_FSYNC); }
TEST_F(file, fdatasync) { sync_test(&self->c, SYNC_FDATASYNC); }
TEST_F(file, msync) { sync_test(&self->c, SYNC_MSYNC); }
TEST_F(file, sync) { sync_test(&self->c, SYNC_SYNC); }
TEST_F(file, syncfs) { sync_test(&self->c, SYNC_SYNCFS); }
TEST_F(file, sync_file_range) { sync_test(&self->c, SYNC_RANGE); }

/* Several rounds: each would be lost if one write did not make the page dirty again. */
TEST_F(file, write_and_sync)
{
	struct files_case *c = &self->c;
	const uint64_t rounds = sys_scale(10);

	for (uint64_t round = 1; round <= rounds; round++) {
		files_own(c, 0, N, round << 32);
		ASSERT_SYS(fsync(c->fd));
	}
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, rounds << 32);
}

/* A program writes all the time while fsync() runs all the time. */
TEST_F(file, sync_while_writing)
{
	struct files_case *c = &self->c;
	volatile uint64_t *stop = c->gpu.scratch;
	const unsigned long rounds = sys_scale(20);
	struct dgpu_result result;
	struct dgpu_job *job;
	uint64_t last = 0, now = 0, disk = 0;

	*word(c->mem, 0) = 0;
	*stop = 0;
	job = gpu_start(&c->gpu, GPU_SPIN, 4, (uintptr_t)stop, (uintptr_t)c->mem,
			(uintptr_t)c->mem + PAGE_SIZE, 0);
	for (unsigned long i = 0; i < rounds; i++) {
		ASSERT_EQ(8, pread(c->fd, &now, 8, 0));
		EXPECT_GE(now, last);
		last = now;
		ASSERT_SYS(fsync(c->fd));
		sys_sleep_ms(2);
	}
	*stop = 1;
	EXPECT_EQ(0, dgpu_job_wait(job, 60000, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(job);
	ASSERT_EQ(8, pread(c->fd, &now, 8, 0));
	EXPECT_EQ(now, gpu_see(&c->gpu, c->mem));
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	ASSERT_EQ(8, pread(c->fd, &disk, 8, 0));
	EXPECT_EQ(now, disk);
}

/*
 * Another file is synced: with ordered data, what the device has written to new blocks of
 * this one has to be on the disk before the transaction that allocates them.
 */
TEST_F(file, ordered_commit)
{
	struct files_case *c = &self->c;
	char other[120];
	uint64_t seen;
	int fd;

	if (!strstr(variant->options, "nodelalloc"))
		SKIP("with delayed allocation no block is allocated before writeback");
	snprintf(other, sizeof(other), "%s/other", c->fs.dir);
	ASSERT_SYS(ftruncate(c->fd, 0));
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	ASSERT_SYS(fsync(c->fd));
	files_own(c, 0, N, 0x1000);
	fd = ASSERT_SYS(open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	ASSERT_SYS(fsync(fd));
	close(fd);
	files_case_crash(c);
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ(0x1000 + i, seen);
	}
}

/* ---- mappings ---- */

/* A private copy is made of what the device has; it is not the file. */
TEST_F(file, private_copy)
{
	struct files_case *c = &self->c;
	char *mem;

	mem = ASSERT_SYS(mmap(NULL, FILES_LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, c->fd, 0));
	files_own(c, 0, N, 0x1000);
	EXPECT_TRUE(cpu_check(mem, N / 2, 0x1000));
	files_own(c, 0, N, 0x2000);
	EXPECT_EQ(0, gpu_check(&c->gpu, mem, N / 2, 0x2000));
	cpu_fill(mem, N / 2, 0x7000);
	ASSERT_EQ(0, gpu_fill(&c->gpu, mem + FILES_LENGTH / 2, N / 2, 0x7000 + N / 2));
	EXPECT_TRUE(cpu_check(mem, N, 0x7000));
	EXPECT_FILE(c, READ, 0, N, 0x2000);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x2000));
	files_own(c, 0, N, 0x3000);
	EXPECT_TRUE(cpu_check(mem, N, 0x7000));
	munmap(mem, FILES_LENGTH);
}

TEST_F(file, protect)
{
	struct files_case *c = &self->c;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(mprotect(c->mem, FILES_LENGTH, PROT_READ));
	EXPECT_NE(0, gpu_write(&c->gpu, c->mem, 1));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	EXPECT_TRUE(cpu_check(c->mem, N, 0x1000));
	ASSERT_SYS(mprotect(c->mem, FILES_LENGTH, PROT_READ | PROT_WRITE));
	files_own(c, 0, N, 0x2000);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
}

/*
 * The same where the CPU has never been, nor anybody near: there is no page table, of which
 * the kernel would tell that it changes.
 */
TEST_F(file, protect_untouched)
{
	struct files_case *c = &self->c;
	char *usual = c->mem, *mem;

	mem = ASSERT_SYS(mmap((void *)(1ul << 45), FILES_LENGTH, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED_NOREPLACE, c->fd, 0));
	c->mem = mem;
	files_own(c, 0, N, 0x1000);
	c->mem = usual;
	ASSERT_SYS(mprotect(mem, FILES_LENGTH, PROT_READ));
	EXPECT_NE(0, gpu_write(&c->gpu, mem, 1));
	EXPECT_EQ(0, gpu_check(&c->gpu, mem, N, 0x1000));
	ASSERT_SYS(mprotect(mem, FILES_LENGTH, PROT_NONE));
	EXPECT_NE(0, gpu_check(&c->gpu, mem, N, 0x1000));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	munmap(mem, FILES_LENGTH);
}

/* The mapping goes, and the file has it all. */
TEST_F(file, unmap)
{
	struct files_case *c = &self->c;
	uint64_t seen;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(munmap(c->mem, FILES_LENGTH));
	for (size_t i = 0; i < N; i += 2) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ(0x1000 + i, seen);
	}
	files_case_remount(c);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

TEST_F(file, madvise_dontneed)
{
	struct files_case *c = &self->c;

	for (uint64_t round = 1; round <= 3; round++) {
		files_own(c, 0, N, round << 12);
		ASSERT_SYS(madvise(c->mem, FILES_LENGTH, MADV_DONTNEED));
		EXPECT_TRUE(cpu_check(c->mem, N, round << 12));
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 12));
	}
}

/* A guard page is one for the device, too. */
TEST_F(file, guard)
{
	struct files_case *c = &self->c;

	files_own(c, 0, N, 0x1000);
	if (madvise(c->mem + 4 * PAGE_SIZE, PAGE_SIZE, MADV_GUARD_INSTALL))
		SKIP("this kernel has no guard pages in files");
	/* Of a guard where the CPU maps nothing the kernel tells nobody. */
	ASSERT_SYS(madvise(c->mem, FILES_LENGTH, MADV_DONTNEED));
	EXPECT_NE(0, gpu_write(&c->gpu, c->mem + 4 * PAGE_SIZE, 1));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, 4, 0x1000));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

/* A child inherits the mapping, and not the device. */
TEST_F(file, fork)
{
	struct files_case *c = &self->c;
	int status;
	pid_t pid;

	files_own(c, 0, N, 0x1000);
	pid = ASSERT_SYS(fork());
	if (!pid) {
		const bool good = cpu_check(c->mem, N, 0x1000);

		cpu_fill(c->mem, N / 2, 0x2000);
		_exit(!good);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N / 2, 0x2000));
	EXPECT_FILE(c, DEVICE, N / 2, N / 2, 0x1000);
}

/* Two processes, each with the device, and writes in turn. */
TEST_F(file, two_processes)
{
	struct files_case *c = &self->c;
	const uint64_t rounds = sys_scale(10);
	int to[2], from[2], status;
	uint64_t round;
	pid_t pid;

	ASSERT_SYS(pipe2(to, O_CLOEXEC));
	ASSERT_SYS(pipe2(from, O_CLOEXEC));
	pid = ASSERT_SYS(fork());
	if (!pid) {
		struct gpu gpu = { 0 };
		char *mem;

		close(to[1]);
		gpu_setup(&gpu);
		dgpu_set_policy(gpu.dev, HMM_POLICY_TOUCH);
		mem = ASSERT_SYS(mmap(NULL, FILES_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
				      c->fd, 0));
		while (read(to[0], &round, sizeof(round)) == sizeof(round)) {
			EXPECT_EQ(0, gpu_check(&gpu, mem, N, round));
			EXPECT_EQ(0, gpu_fill(&gpu, mem, N, round + 0x800));
			ASSERT_EQ(sizeof(round), write(from[1], &round, sizeof(round)));
		}
		gpu_teardown(&gpu);
		_exit(harness_report->failures ? 1 : 0);
	}
	close(to[0]);
	close(from[1]);
	for (uint64_t i = 1; i <= rounds; i++) {
		round = i << 12;
		ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, round));
		ASSERT_EQ(sizeof(round), write(to[1], &round, sizeof(round)));
		ASSERT_EQ(sizeof(round), read(from[0], &round, sizeof(round)));
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, (i << 12) + 0x800));
	}
	close(to[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_FILE(c, READ, 0, N, (rounds << 12) + 0x800);
}

/* ---- who watches for writes ---- */

/*
 * @bit of pagemap is @before of all pages of the file now, and not any more of one that the
 * device writes to, as it would be if a process did.
 */
static void watch_test(struct files_case *c, uint64_t bit, bool before)
{
	for (size_t i = 0; i < N; i++)
		EXPECT_EQ(before, !!(sys_pagemap(word(c->mem, i)) & bit));
	for (size_t i = 1; i < N; i += 4)
		ASSERT_EQ(0, gpu_write(&c->gpu, word(c->mem, i), 0x2000 + i));
	for (size_t i = 0; i < N; i++) {
		EXPECT_EQ(before != (i % 4 == 1), !!(sys_pagemap(word(c->mem, i)) & bit));
		EXPECT_EQ((i % 4 == 1 ? 0x2000u : 0x1000u) + i,
			  gpu_see(&c->gpu, word(c->mem, i)));
	}
	dgpu_migrate(c->gpu.dev, c->mem, FILES_LENGTH, DGPU_MIGRATE_TO_SYSTEM, NULL, NULL);
	EXPECT_EQ(0, files_there(c, 0, N));
}

TEST_F(file, soft_dirty)
{
	struct files_case *c = &self->c;

	char *mem = sys_pages(1);

	*mem = 1;
	if (!(sys_pagemap(mem) & SYS_PM_SOFT_DIRTY))
		SKIP("this kernel has no soft-dirty bits");
	munmap(mem, PAGE_SIZE);
	files_own(c, 0, N / 2, 0x1000);
	cpu_fill(c->mem + FILES_LENGTH / 2, N / 2, 0x1000 + N / 2);
	files_share(c, N / 2, N / 2, 0x1000);
	sys_write("/proc/self/clear_refs", "4");
	watch_test(c, SYS_PM_SOFT_DIRTY, false);
}

TEST_F(file, write_protection)
{
	const int uffd = sys_uffd_open(UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC);
	struct files_case *c = &self->c;

	files_own(c, 0, N, 0x1000);
	sys_uffd_register(uffd, c->mem, FILES_LENGTH, UFFDIO_REGISTER_MODE_WP);
	sys_uffd_protect(uffd, c->mem, FILES_LENGTH, true);
	watch_test(c, SYS_PM_UFFD_WP, true);
	close(uffd);
	files_own(c, 0, N, 0x3000);
	EXPECT_FILE(c, READ, 0, N, 0x3000);
}

/* ---- what looks at the whole file, or the whole memory ---- */

TEST_F(file, move_extent)
{
	struct files_case *c = &self->c;
	struct move_extent move = { .len = FILES_LENGTH / variant->block };
	char path[120];
	int donor;

	snprintf(path, sizeof(path), "%s/donor", c->fs.dir);
	donor = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	ASSERT_SYS(fallocate(donor, 0, 0, (off_t)FILES_LENGTH));
	ASSERT_SYS(fsync(donor));
	move.donor_fd = (uint32_t)donor;
	for (uint64_t round = 1; round <= 5; round++) {
		files_own(c, 0, N, round << 12);
		/*
		 * First pages that nobody is about to write to the disk, while the file is moved or
		 * before (EBUSY is allowed there); then shared ones.
		 */
		if (round % 2 == 0)
			ASSERT_SYS(fsync(c->fd));
		move.moved_len = 0;
		if (ioctl(c->fd, IOC_MOVE_EXT, &move))
			EXPECT_EQ(EBUSY, errno);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 12));
		EXPECT_FILE(c, READ, 0, N, round << 12);
	}
	close(donor);
	ASSERT_SYS(fsync(c->fd));
	files_case_remount(c);
	EXPECT_FILE(c, READ, 0, N, 5u << 12);
}

/* The file gets what the boot loader has, and the other way round; and back. */
TEST_F(file, swap_boot)
{
	struct files_case *c = &self->c;

	files_own(c, 0, N, 0x1000);
	if (ioctl(c->fd, IOC_SWAP_BOOT))
		SKIP("no EXT4_IOC_SWAP_BOOT here: %s", strerror(errno));
	EXPECT_EQ(0, files_owned(c, 0, N));
	EXPECT_SYS(ioctl(c->fd, IOC_SWAP_BOOT));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	files_own(c, 0, N, 0x2000);
	ASSERT_SYS(fsync(c->fd));
	files_case_remount(c);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
}

/* Where the blocks are: those of what has not been written back yet are found first. */
TEST_F(file, fiemap)
{
	struct files_case *c = &self->c;
	struct fiemap *map = calloc(1, sizeof(*map) + N * sizeof(struct fiemap_extent));
	uint64_t mapped = 0;

	ASSERT_SYS(ftruncate(c->fd, 0));
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	files_own(c, 0, N, 0x1000);
	map->fm_length = FILES_LENGTH;
	map->fm_flags = FIEMAP_FLAG_SYNC;
	map->fm_extent_count = N;
	ASSERT_SYS(ioctl(c->fd, FS_IOC_FIEMAP, map));
	for (unsigned int i = 0; i < map->fm_mapped_extents; i++) {
		EXPECT_EQ(0, map->fm_extents[i].fe_flags &
			  (FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNWRITTEN));
		mapped += map->fm_extents[i].fe_length;
	}
	EXPECT_EQ(FILES_LENGTH, mapped);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	free(map);
}

/* A file that is swapped to: no page of it can be on the device. */
TEST_F(file, swapon)
{
	struct files_case *c = &self->c;
	static const char magic[] = "SWAPSPACE2";
	static char header[PAGE_SIZE];
	uint32_t *words = (uint32_t *)(void *)(header + 1024);

	files_own(c, 0, N, 0x1000);
	words[0] = 1;
	words[1] = N - 1;
	memcpy(header + PAGE_SIZE - 10, magic, 10);
	ASSERT_EQ(PAGE_SIZE, pwrite(c->fd, header, PAGE_SIZE, 0));
	files_own(c, 1, N - 1, 0x2000);
	/* What nobody has to write to the disk any more is there as well. */
	ASSERT_SYS(fsync(c->fd));
	files_share(c, 1, N - 1, 0x2000);
	if (swapon(c->path, 0))
		SKIP("cannot swap to a file here: %s", strerror(errno));
	EXPECT_EQ(0, files_there(c, 0, N));
	EXPECT_NE(0, gpu_write(&c->gpu, c->mem + 8 * PAGE_SIZE, 1));
	dgpu_migrate(c->gpu.dev, c->mem, FILES_LENGTH, 0, NULL, NULL);
	EXPECT_EQ(0, files_there(c, 0, N));
	EXPECT_SYS(swapoff(c->path));
	files_own(c, 0, N, 0x3000);
}

/* From now on its data go through the journal: pages stay in system memory. */
TEST_F(file, journal_flag)
{
	struct files_case *c = &self->c;
	int flags;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(ioctl(c->fd, FS_IOC_GETFLAGS, &flags));
	flags |= JOURNAL_DATA;
	if (ioctl(c->fd, FS_IOC_SETFLAGS, &flags))
		SKIP("no chattr +j here: %s", strerror(errno));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, 0x2000));
	if (strstr(variant->options, "nodelalloc"))
		EXPECT_OWNED(c, 0, N, 0);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
	flags &= ~JOURNAL_DATA;
	ASSERT_SYS(ioctl(c->fd, FS_IOC_SETFLAGS, &flags));
	EXPECT_FILE(c, READ, 0, N, 0x2000);
	files_own(c, 0, N, 0x3000);
	files_case_remount(c);
	EXPECT_FILE(c, READ, 0, N, 0x3000);
}

/*
 * What truncates a file whose data go through the journal does not tell us: there must be no
 * copy left of what was written back long before.
 */
TEST_F(file, journal_flag_and_truncate)
{
	struct files_case *c = &self->c;
	int flags;

	files_own(c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c->fd));
	files_share(c, 0, N, 0x1000);
	ASSERT_SYS(ioctl(c->fd, FS_IOC_GETFLAGS, &flags));
	flags |= JOURNAL_DATA;
	if (ioctl(c->fd, FS_IOC_SETFLAGS, &flags))
		SKIP("no chattr +j here: %s", strerror(errno));
	ASSERT_SYS(ftruncate(c->fd, 4 * PG));
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	for (size_t i = 4; i < N; i++)
		EXPECT_BYTE(c, i, 0);
	EXPECT_FILE(c, READ, 0, 4, 0x1000);
	flags &= ~JOURNAL_DATA;
	ASSERT_SYS(ioctl(c->fd, FS_IOC_SETFLAGS, &flags));
	files_own(c, 0, 4, 0x3000);
	EXPECT_FILE(c, READ, 0, 4, 0x3000);
}

TEST_F(file, unlink)
{
	static const char inodes[] = "/sys/kernel/debug/hmm/pagecache_inodes";
	struct files_case *c = &self->c;
	const long long known = sys_number(inodes);
	uint64_t used;

	files_own(c, 0, N, 0x1000);
	if (c->device)
		EXPECT_EQ(known + 1, sys_number(inodes));
	used = gpu_rmem(&c->gpu, HMM_RMEM_USED);
	ASSERT_SYS(unlink(c->path));
	EXPECT_FILE(c, READ, 0, N / 2, 0x1000);
	files_own(c, 0, N, 0x2000);
	EXPECT_TRUE(cpu_check(c->mem, N / 2, 0x2000));
	files_own(c, 0, N, 0x3000);
	files_case_close(c);
	if (c->device)
		EXPECT_EQ(used - N, gpu_rmem(&c->gpu, HMM_RMEM_USED));
	/* And nothing is kept of a file that is no more. */
	EXPECT_EQ(known, sys_number(inodes));
}

TEST_F(file, drop_caches)
{
	struct files_case *c = &self->c;

	for (uint64_t round = 1; round <= 3; round++) {
		files_own(c, 0, N / 2, round << 12);
		cpu_fill(c->mem + FILES_LENGTH / 2, N / 2, (round << 12) + N / 2);
		ASSERT_SYS(msync(c->mem + FILES_LENGTH / 2, FILES_LENGTH / 2, MS_SYNC));
		files_share(c, N / 2, N / 2, round << 12);
		sys_write("/proc/sys/vm/drop_caches", "3");
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 12));
		EXPECT_FILE(c, READ, 0, N, round << 12);
		files_own(c, 0, N, (round << 12) + 0x800);
		ASSERT_SYS(fsync(c->fd));	/* all shared: they can be dropped */
		sys_write("/proc/sys/vm/drop_caches", "3");
		EXPECT_FILE(c, READ, 0, N, (round << 12) + 0x800);
	}
}

/* Of all memory: that takes a while. */
TEST_F_TIMEOUT(file, compaction, 180)
{
	struct files_case *c = &self->c;

	for (uint64_t round = 1; round <= 2; round++) {
		files_own(c, 0, N / 2, round << 12);
		cpu_fill(c->mem + FILES_LENGTH / 2, N / 2, (round << 12) + N / 2);
		files_share(c, N / 2, N / 2, round << 12);
		sys_write("/proc/sys/vm/compact_memory", "1");
		EXPECT_FILE(c, READ, 0, N, round << 12);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 12));
	}
}

TEST_F(file, memcg_reclaim)
{
	struct files_case *c = &self->c;
	struct sys_memcg cg = { 0 };
	char path[200];

	sys_memcg_create(&cg, "files");
	sys_memcg_enter(&cg);
	for (uint64_t round = 1; round <= 3; round++) {
		files_own(c, 0, N, round << 12);
		if (round % 2)
			ASSERT_SYS(fsync(c->fd));
		snprintf(path, sizeof(path), "%s/memory.reclaim", cg.path);
		sys_try_write(path, "64M");
		EXPECT_FILE(c, READ, 0, N, round << 12);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 12));
	}
	sys_memcg_leave(&cg);
	files_case_close(c);
	sys_memcg_destroy(&cg);
}

/* Everything leaves the device. */
TEST_F(file, evacuate)
{
	struct files_case *c = &self->c;
	uint64_t left = 1;

	files_own(c, 0, N, 0x1000);
	ASSERT_EQ(0, dgpu_evacuate(c->gpu.dev, &left));
	EXPECT_EQ(0, left);
	EXPECT_EQ(0, files_there(c, 0, N));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	files_own(c, 0, N, 0x2000);
	ASSERT_SYS(fsync(c->fd));
	ASSERT_EQ(0, dgpu_evacuate(c->gpu.dev, &left));
	EXPECT_EQ(0, left);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
}

/* By the calls that move pages. */
TEST_F(file, migrate)
{
	struct files_case *c = &self->c;
	struct gpu_moved moved;

	cpu_fill(c->mem, N, 0x1000);
	ASSERT_EQ(0, dgpu_set_policy(c->gpu.dev, HMM_POLICY_REQUEST));
	if (c->device) {
		gpu_move_in(&c->gpu, c->mem, N);
		EXPECT_OWNED(c, 0, N, 0);	/* nobody has written */
	}
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	EXPECT_TRUE(cpu_check(c->mem, N, 0x1000));
	if (c->device) {
		EXPECT_PLACE(&c->gpu, c->mem, N, DEVICE);	/* the CPU reads its copy */
		gpu_migrate(&c->gpu, c->mem, N, DGPU_MIGRATE_TO_SYSTEM, &moved);
		EXPECT_EQ(N, moved.moved);
		EXPECT_EQ(0, gpu_pages_at(&c->gpu, c->mem, N, HMM_PLACE_DEVICE));
		gpu_migrate(&c->gpu, c->mem, N, DGPU_MIGRATE_TO_SYSTEM, &moved);
		EXPECT_EQ(0, moved.moved);
	}
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	ASSERT_EQ(0, dgpu_set_policy(c->gpu.dev, HMM_POLICY_TOUCH));
	files_own(c, 0, N, 0x2000);
	gpu_migrate(&c->gpu, c->mem, N, DGPU_MIGRATE_TO_SYSTEM, &moved);
	if (c->device)
		EXPECT_EQ(N, moved.moved);
	EXPECT_OWNED(c, 0, N, 0);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
}

GPU_POOL_TEST

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

// SPDX-License-Identifier: GPL-2.0
/*
 * What a commit of the journal does with pages of files that a device owns.
 *
 * data=ordered without delayed allocation: page_mkwrite() gives a page its blocks in the
 * transaction that runs.  Whoever commits that, for whatever file, has to write these pages
 * first, or the file has blocks on disk with anything in them.  That way does not go through
 * writepages(), and must not fail, whatever the device does.
 *
 * A full commit is the journal's thread's, for inodes of the transaction.  A fast commit is
 * done by who calls fsync(), for all inodes that have changed since the last one.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/statvfs.h>
#include "chip.h"
#include "files_case.h"
#include "sys.h"

#define N		FILES_PAGES
#define PG		((off_t)PAGE_SIZE)
#define WORDS		(PAGE_SIZE / 8)
#define SOON		60000		/* ms */
#define OPTIONS		"nodelalloc,dioread_lock,data=ordered,data_err=abort,commit=600"

#define VALUE		0x1000000ull

FIXTURE(commit) {
	struct files_case c;
	unsigned int index;
	bool lost;		/* the device is to be bound again */
	int other;		/* another file, which is synced */
};

FIXTURE_VARIANT(commit) {
	unsigned int block;
	bool fast;
};

FIXTURE_VARIANT_ADD(commit, full_4k) { 4096, false };
FIXTURE_VARIANT_ADD(commit, full_1k) { 1024, false };
FIXTURE_VARIANT_ADD(commit, fast_4k) { 4096, true };
FIXTURE_VARIANT_ADD(commit, fast_1k) { 1024, true };

static void commit_open_other(struct harness_data_commit *self)
{
	char path[120];

	snprintf(path, sizeof(path), "%s/other", self->c.fs.dir);
	self->other = ASSERT_SYS(open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
}

FIXTURE_SETUP(commit)
{
	struct files_case *c = &self->c;
	struct dgpu_info info;

	self->other = -1;
	snprintf(c->fs.features, sizeof(c->fs.features), "%s", variant->fast ? "fast_commit" : "");
	files_case_begin(c, variant->block, OPTIONS);
	files_case_hold(c);
	ASSERT_EQ(0, dgpu_get_info(c->gpu.dev, &info));
	self->index = info.index;
	commit_open_other(self);
}

static void commit_device_back(struct harness_data_commit *self)
{
	gpu_teardown(&self->c.gpu);
	if (self->lost) {
		EXPECT_EQ(0, chip_unbind(self->index));
		EXPECT_EQ(0, chip_bind(self->index));
	}
	self->lost = false;
}

FIXTURE_TEARDOWN(commit)
{
	if (self->c.gpu.dev)
		chip_knobs_reset(self->index);
	commit_device_back(self);
	if (self->other >= 0)
		close(self->other);
	files_case_end(&self->c);
}

/* Power fails. */
static void commit_crash(struct harness_data_commit *self)
{
	close(self->other);
	self->other = -1;
	files_case_crash(&self->c);
	commit_open_other(self);
}

static void commit_knob(struct harness_data_commit *self, const char *knob, uint64_t value)
{
	const int ret = chip_knob(self->index, knob, value);

	if (ret)
		SKIP("cannot turn the knob %s: %s", knob, strerror(-ret));
}

static void commit_lose(struct harness_data_commit *self)
{
	self->lost = true;
	commit_knob(self, "lost", 1);
	for (int i = 0; i < 1500; i++) {
		if (dgpu_get_info(self->c.gpu.dev, &(struct dgpu_info) {}) == -ENODEV)
			return;
		sys_sleep_ms(20);
	}
	FAIL("the driver does not notice that the device is lost");
}

/* ---- fast commits ---- */

/*
 * Both are counted before fsync() returns.  Where there are no fast ones each is a full one; how
 * many there were of these is told a moment too late, after those who wait have been woken.
 */
struct commits {
	long fast;
	long given_up;		/* and a full one instead */
};

static struct commits commits_now(struct harness_data_commit *self, bool fast)
{
	struct commits nr = { 0 };
	char path[160], *text;

	if (!fast)
		return nr;
	snprintf(path, sizeof(path), "/proc/fs/%s/%s/fc_info", self->c.fs.type,
		 strrchr(self->c.fs.device, '/') + 1);
	text = sys_text(path);
	if (!text)
		SKIP("there is no %s", path);
	EXPECT_EQ(2, sscanf(text, "fc stats: %ld commits %ld ineligible", &nr.fast, &nr.given_up));
	free(text);
	return nr;
}

/* There was one of the kind that was to be tested. */
static void commits_expect(struct harness_data_commit *self, const struct commits *before,
			   bool fast)
{
	const struct commits now = commits_now(self, fast);

	EXPECT_EQ(fast, now.fast - before->fast);
	EXPECT_EQ(0, now.given_up - before->given_up);
}

/* ---- pages ---- */

/* From page @first on there are holes, of which the journal has nothing left to commit. */
static void commit_holes(struct harness_data_commit *self, size_t first)
{
	struct files_case *c = &self->c;

	ASSERT_SYS(ftruncate(c->fd, (off_t)first * PG));
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	ASSERT_EQ(4, write(self->other, "some", 4));
	/* A full one; before the first there are no fast ones. */
	ASSERT_SYS(syncfs(c->fd));
}

/*
 * The device writes every byte of the pages, which are its own before that: a thread of it that
 * is late writes to system memory otherwise, and what it wrote is not lost with the device.
 */
static void commit_write(struct harness_data_commit *self, size_t first, size_t n)
{
	struct files_case *c = &self->c;

	for (size_t i = first; i < first + n; i++)
		ASSERT_EQ(0, gpu_write(&c->gpu, c->mem + i * PAGE_SIZE, 0));
	EXPECT_OWNED(c, first, n, n);
	ASSERT_EQ(0, gpu_run(&c->gpu, GPU_FILL, 4, (uintptr_t)c->mem + first * PAGE_SIZE,
			     n * WORDS, 8, VALUE + first * WORDS));
	EXPECT_OWNED(c, first, n, n);
}

/* Has a page what the device wrote?  Otherwise it is the hole that it was, as a whole. */
static bool commit_page_is_new(struct harness_data_commit *self, size_t page)
{
	uint64_t words[WORDS];
	bool new;

	ASSERT_EQ(PAGE_SIZE, pread(self->c.fd, words, PAGE_SIZE, (off_t)page * PG));
	new = words[0];
	for (size_t i = 0; i < WORDS; i++)
		if (words[i] != (new ? VALUE + page * WORDS + i : 0)) {
			FAIL("page %zu word %zu: %#jx, and word 0 is %#jx", page, i,
			     (uintmax_t)words[i], (uintmax_t)words[0]);
			break;
		}
	return new;
}

static void commit_expect_new(struct harness_data_commit *self, size_t first, size_t n)
{
	size_t nr = 0;

	for (size_t i = first; i < first + n; i++)
		nr += commit_page_is_new(self, i);
	EXPECT_EQ(n, nr);
}

/* A commit, for the sake of the other file. */
static void commit_other(struct harness_data_commit *self)
{
	ASSERT_EQ(4, write(self->other, "more", 4));
	EXPECT_SYS(fsync(self->other));
}

/* ---- a device that works ---- */

/* Who syncs one file commits what the device wrote to new blocks of another. */
TEST_F(commit, new_blocks)
{
	struct files_case *c = &self->c;
	struct commits before;

	commit_holes(self, 0);
	commit_write(self, 0, N);
	before = commits_now(self, variant->fast);
	commit_other(self);
	commits_expect(self, &before, variant->fast);
	EXPECT_OWNED(c, 0, N, 0);
	commit_crash(self);
	commit_expect_new(self, 0, N);
}

/* Once more in the same transaction, if the commit was a fast one. */
TEST_F(commit, new_blocks_again)
{
	struct files_case *c = &self->c;
	struct commits before;

	commit_holes(self, 0);
	for (size_t first = 0; first < N; first += N / 4) {
		commit_write(self, first, N / 4);
		before = commits_now(self, variant->fast);
		commit_other(self);
		commits_expect(self, &before, variant->fast);
		EXPECT_OWNED(c, first, N / 4, 0);
	}
	commit_crash(self);
	commit_expect_new(self, 0, N);
}

/* Pages that have had their blocks before are none of its business: the device keeps them. */
TEST_F(commit, old_blocks)
{
	struct files_case *c = &self->c;
	struct commits before;

	commit_holes(self, N / 2);
	files_own(c, 0, N / 2, 0x1000);
	commit_write(self, N / 2, N / 2);
	before = commits_now(self, variant->fast);
	commit_other(self);
	commits_expect(self, &before, variant->fast);
	EXPECT_OWNED(c, N / 2, N / 2, 0);
	EXPECT_OWNED(c, 0, N / 2, N / 2);
	commit_crash(self);
	commit_expect_new(self, N / 2, N / 2);
	for (size_t i = 0; i < N / 2 && c->device; i++)
		EXPECT_BYTE(c, i, files_rest(i));
}

/* ---- a device that does not ---- */

struct commit_thread {
	struct harness_data_commit *self;
	pthread_t thread;
	bool done;
};

static void *commit_run(void *arg)
{
	struct commit_thread *thread = arg;
	const int error = fsync(thread->self->other) ? errno : 0;

	__atomic_store_n(&thread->done, true, __ATOMIC_SEQ_CST);
	return (void *)(intptr_t)error;
}

/* A commit begins; when this returns it has fetched some pages, and is at the next. */
static void commit_begin(struct commit_thread *thread)
{
	struct harness_data_commit *self = thread->self;
	struct gpu *gpu = &self->c.gpu;
	const uint64_t end = sys_now_ms() + SOON;
	const uint64_t back = gpu_rmem(gpu, HMM_RMEM_FILE_BACK);

	/* The others take long enough to see that some are done. */
	commit_knob(self, "copy_delay_us", 100000);
	ASSERT_EQ(4, write(self->other, "more", 4));
	ASSERT_EQ(0, pthread_create(&thread->thread, NULL, commit_run, thread));
	while (self->c.device && gpu_rmem(gpu, HMM_RMEM_FILE_BACK) < back + 3 &&
	       !__atomic_load_n(&thread->done, __ATOMIC_SEQ_CST) && sys_now_ms() < end)
		sys_sleep_ms(1);
	EXPECT_FALSE(self->c.device && __atomic_load_n(&thread->done, __ATOMIC_SEQ_CST));
}

/* It ends, and nobody who waits for it hears of the device. */
static void commit_end(struct commit_thread *thread)
{
	void *error;

	ASSERT_EQ(0, pthread_join(thread->thread, &error));
	EXPECT_EQ(NULL, error);
}

/* The journal works, for small commits and for whole ones, and the file system can be written. */
static void commit_expect_journal(struct harness_data_commit *self)
{
	struct statvfs st;

	commit_other(self);
	sync();
	commit_other(self);
	ASSERT_SYS(fstatvfs(self->other, &st));
	EXPECT_FALSE(st.f_flag & ST_RDONLY);
}

/* Each page is new or old as a whole, and stays so; who asks for the lost ones hears of it once. */
static void commit_settle(struct harness_data_commit *self, bool crash, size_t first, size_t least,
			  size_t most)
{
	struct files_case *c = &self->c;
	bool new[N];
	size_t saved = 0;

	if (!crash)
		commit_expect_journal(self);
	for (size_t i = first; i < N; i++) {
		new[i] = commit_page_is_new(self, i);
		saved += new[i];
	}
	test_log("%zu of %lu pages had been fetched", saved, N - first);
	if (c->device) {
		EXPECT_GE(saved, least);
		EXPECT_LE(saved, most);
	}
	if (!crash) {
		if (saved < N - first) {
			EXPECT_EQ(-1, fsync(c->fd));
			EXPECT_EQ(EIO, errno);
		}
		EXPECT_EQ(0, fsync(c->fd));
		commit_expect_journal(self);
	}
	commit_crash(self);
	for (size_t i = first; i < N; i++)
		EXPECT_EQ(new[i], commit_page_is_new(self, i));
	commit_expect_journal(self);
}

/* With @crash power fails right after it: all that is on disk then is the commit's. */
static void commit_lost(struct harness_data_commit *self, bool fast, bool crash)
{
	struct commit_thread thread = { .self = self };
	struct commits before;

	commit_holes(self, 0);
	commit_write(self, 0, N);
	before = commits_now(self, fast);
	commit_begin(&thread);
	commit_lose(self);
	commit_end(&thread);
	commits_expect(self, &before, fast);
	commit_settle(self, crash, 0, 3, N - 1);
}

TEST_F(commit, device_lost)
{
	commit_lost(self, variant->fast, false);
}

TEST_F(commit, device_lost_and_power_too)
{
	commit_lost(self, variant->fast, true);
}

/* All copy engines stop, in the middle of what they copy.  0 or -errno. */
static int commit_hang(struct harness_data_commit *self)
{
	int ret = -EINVAL;

	for (uint64_t engines = 0xf; engines && ret == -EINVAL; engines >>= 1)
		ret = chip_knob(self->index, "hang_copy", engines);
	return ret;
}

/* The driver sees to that: whatever it takes, the commit ends, and has it all. */
TEST_F(commit, copies_hang)
{
	struct commit_thread thread = { .self = self };
	struct commits before;

	commit_holes(self, 0);
	commit_write(self, 0, N);
	before = commits_now(self, variant->fast);
	commit_begin(&thread);
	ASSERT_EQ(0, commit_hang(self));
	commit_end(&thread);
	commits_expect(self, &before, variant->fast);
	chip_knobs_reset(self->index);
	commit_settle(self, false, 0, N, N);
}

/*
 * They hang again each time: the commit does without what it cannot have.  Each page takes as
 * long as the driver needs to see that an engine hangs, so there are few.
 */
TEST_F(commit, copies_hang_again_and_again)
{
	struct commit_thread thread = { .self = self };
	const size_t first = N - 6;
	struct commits before;

	commit_holes(self, 0);
	commit_write(self, first, N - first);
	before = commits_now(self, variant->fast);
	commit_begin(&thread);
	while (!__atomic_load_n(&thread.done, __ATOMIC_SEQ_CST)) {
		EXPECT_EQ(0, commit_hang(self));
		sys_sleep_ms(5);
	}
	commit_end(&thread);
	commits_expect(self, &before, variant->fast);
	chip_knobs_reset(self->index);
	commit_settle(self, false, first, 3, N - first - 1);
}

GPU_POOL_TEST

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

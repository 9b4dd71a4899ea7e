// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations that fail while pages of a file come to the device and go back: each one that the
 * core makes, or has the file system make, in turn, in every operation of a process that meets
 * such a page; and at random in what the driver's workers do.
 *
 * What is required: the operation fails with an error that its description has, or works all
 * the same.  Whatever happened, all see one file, in which each page is what was last written
 * to it with success.  Nothing is lost, and the file system finds nothing wrong with itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "files_case.h"
#include "inject.h"
#include "sys.h"

/* Of the file: there are a hundred tries in a test, and each moves these two times. */
#define N	4ul
#define LENGTH	(N * PAGE_SIZE)

/* Pages go to and fro here all the time: none is left in place for that. */
#define THRASH	"/sys/module/hmm_core/parameters/thrash"

FIXTURE(inject_files) {
	struct files_case c;
	long long thrash;
	int file;			/* to write to what is somewhere in memory */
	uint64_t value;			/* of the last try: words begin with it */
	uint64_t words[N];		/* what has to be in the file */
	int64_t lost;
};

FIXTURE_VARIANT(inject_files) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(inject_files, delalloc_4k) { 4096, "delalloc" };
FIXTURE_VARIANT_ADD(inject_files, nodelalloc_1k) { 1024, "nodelalloc,dioread_lock" };

static char inject_buffer[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

FIXTURE_SETUP(inject_files)
{
	inject_begin();
	files_case_begin(&self->c, variant->block, variant->options);
	if (!self->c.device)
		SKIP("no page of a file can be on the device");
	self->lost = (int64_t)gpu_rmem(&self->c.gpu, HMM_RMEM_LOST);
	self->file = ASSERT_SYS(memfd_create("inject", MFD_CLOEXEC));
	self->thrash = sys_number(THRASH);
	sys_write(THRASH, "0");
	inject_in("hmm_core");
}

/* What there is in the end is on the disk, too. */
FIXTURE_TEARDOWN(inject_files)
{
	char text[32];

	inject_end();
	if (self->thrash > 0) {
		snprintf(text, sizeof(text), "%lld", self->thrash);
		sys_write(THRASH, text);
	}
	if (self->value) {
		EXPECT_EQ(self->lost, (int64_t)gpu_rmem(&self->c.gpu, HMM_RMEM_LOST));
		EXPECT_SYS(fsync(self->c.fd));
		files_expect_journal(&self->c, "after");
		files_case_crash(&self->c);
		for (size_t i = 0; i < N; i++)
			EXPECT_FILE(&self->c, READ, i, 1, self->words[i] - i);
	}
	close(self->file);
	files_case_end(&self->c);
}

/* ---- before, and after ---- */

static void inject_expect(struct harness_data_inject_files *self, uint64_t value)
{
	self->value = value;
	for (size_t i = 0; i < N; i++)
		self->words[i] = value + i;
}

/* The device owns all pages, with bytes that are in no other place. */
static void inject_own(void *data)
{
	struct harness_data_inject_files *self = data;

	inject_expect(self, self->value + 0x100);
	files_own(&self->c, 0, N, self->value);
}

/* It has a copy of each; they are not dirty. */
static void inject_share(void *data)
{
	struct harness_data_inject_files *self = data;

	inject_own(self);
	ASSERT_SYS(fsync(self->c.fd));
	files_share(&self->c, 0, N, self->value);
}

/* All pages are in system memory only, and are not dirty. */
static void inject_home(void *data)
{
	struct harness_data_inject_files *self = data;

	inject_expect(self, self->value + 0x100);
	files_fill(&self->c, self->value);
	ASSERT_SYS(fsync(self->c.fd));
	ASSERT_EQ(0, dgpu_migrate(self->c.gpu.dev, self->c.mem, LENGTH, DGPU_MIGRATE_TO_SYSTEM,
				  NULL, NULL));
	EXPECT_EQ(0, files_there(&self->c, 0, N));
}

/* All of the file is as it was in the beginning: what was cut off is there again. */
static void inject_fill_and_own(void *data)
{
	struct harness_data_inject_files *self = data;

	files_fill(&self->c, self->value);
	inject_own(self);
}

static bool inject_check(void *data)
{
	struct harness_data_inject_files *self = data;
	bool ok = true;

	for (size_t i = 0; i < N; i++)
		ok &= EXPECT_FILE(&self->c, READ, i, 1, self->words[i] - i);
	return ok;
}

/* ---- each one in turn ---- */

static int inject_pread(struct harness_data_inject_files *self, int fd)
{
	uint64_t word;

	for (size_t i = 0; i < N; i++) {
		if (pread(fd, inject_buffer, PAGE_SIZE, (off_t)(i * PAGE_SIZE)) != PAGE_SIZE)
			return -errno;
		memcpy(&word, inject_buffer, sizeof(word));
		EXPECT_EQ(self->words[i], word);
		EXPECT_EQ(files_rest(i), (uint8_t)inject_buffer[PAGE_SIZE - 1]);
	}
	return 0;
}

static int inject_read(void *data)
{
	struct harness_data_inject_files *self = data;

	return inject_pread(self, self->c.fd);
}

TEST_F(inject_files, read)
{
	inject_each(&(const struct inject_operation) {
		.name = "read", .prepare = inject_own, .run = inject_read, .check = inject_check,
	}, self);
}

static int inject_read_direct(void *data)
{
	struct harness_data_inject_files *self = data;

	return inject_pread(self, self->c.direct);
}

TEST_F(inject_files, read_direct)
{
	inject_each(&(const struct inject_operation) {
		.name = "direct read", .prepare = inject_own, .run = inject_read_direct,
		.check = inject_check,
	}, self);
}

/* The CPU reads by its mapping: in a system call, that gets an error and not a signal. */
static int inject_touch(void *data)
{
	struct harness_data_inject_files *self = data;

	for (size_t i = 0; i < N; i++)
		if (pwrite(self->file, self->c.mem + i * PAGE_SIZE, PAGE_SIZE, 0) != PAGE_SIZE)
			return -errno;
	return 0;
}

TEST_F(inject_files, touch_of_the_cpu)
{
	inject_each(&(const struct inject_operation) {
		.name = "CPU fault", .prepare = inject_own, .run = inject_touch,
		.check = inject_check,
	}, self);
}

/* Whole pages, or a word of each: then the rest of the page has to come from the device. */
static int inject_pwrite(struct harness_data_inject_files *self, int fd, size_t length)
{
	for (size_t i = 0; i < N; i++) {
		const uint64_t word = self->words[i] + 0x80;

		memset(inject_buffer, files_rest(i), PAGE_SIZE);
		memcpy(inject_buffer, &word, sizeof(word));
		if (pwrite(fd, inject_buffer, length, (off_t)(i * PAGE_SIZE)) != (ssize_t)length)
			return -errno;
		self->words[i] = word;
	}
	return 0;
}

static int inject_write(void *data)
{
	struct harness_data_inject_files *self = data;

	return inject_pwrite(self, self->c.fd, PAGE_SIZE);
}

TEST_F(inject_files, write)
{
	inject_each(&(const struct inject_operation) {
		.name = "write", .prepare = inject_own, .run = inject_write,
		.check = inject_check,
	}, self);
}

static int inject_write_words(void *data)
{
	struct harness_data_inject_files *self = data;

	return inject_pwrite(self, self->c.fd, sizeof(uint64_t));
}

TEST_F(inject_files, write_part)
{
	inject_each(&(const struct inject_operation) {
		.name = "write of a part", .prepare = inject_own, .run = inject_write_words,
		.check = inject_check,
	}, self);
}

static int inject_write_direct(void *data)
{
	struct harness_data_inject_files *self = data;

	return inject_pwrite(self, self->c.direct, PAGE_SIZE);
}

TEST_F(inject_files, write_direct)
{
	inject_each(&(const struct inject_operation) {
		.name = "direct write", .prepare = inject_own, .run = inject_write_direct,
		.check = inject_check,
	}, self);
}

static int inject_fsync(void *data)
{
	struct harness_data_inject_files *self = data;

	return fsync(self->c.fd) ? -errno : 0;
}

TEST_F(inject_files, fsync)
{
	inject_each(&(const struct inject_operation) {
		.name = "fsync", .prepare = inject_own, .run = inject_fsync,
		.check = inject_check,
	}, self);
}

/* The last page loses all but its word, and so it has to come back first. */
static int inject_truncate(void *data)
{
	struct harness_data_inject_files *self = data;

	return ftruncate(self->c.fd, (off_t)((N - 1) * PAGE_SIZE + 8)) ? -errno : 0;
}

static bool inject_check_truncated(void *data)
{
	struct harness_data_inject_files *self = data;
	uint64_t word;
	bool ok = true;

	for (size_t i = 0; i < N - 1; i++)
		ok &= EXPECT_FILE(&self->c, READ, i, 1, self->words[i] - i);
	ASSERT_EQ(sizeof(word), pread(self->c.fd, &word, sizeof(word), (N - 1) * PAGE_SIZE));
	return EXPECT_EQ(self->words[N - 1], word) && ok;
}

TEST_F(inject_files, truncate)
{
	inject_each(&(const struct inject_operation) {
		.name = "truncate", .prepare = inject_fill_and_own, .run = inject_truncate,
		.check = inject_check_truncated,
	}, self);
	files_fill(&self->c, self->value);
}

static int inject_migrate_out(void *data)
{
	struct harness_data_inject_files *self = data;

	return dgpu_migrate(self->c.gpu.dev, self->c.mem, LENGTH, DGPU_MIGRATE_TO_SYSTEM, NULL,
			    NULL);
}

TEST_F(inject_files, migration_to_the_system)
{
	inject_each(&(const struct inject_operation) {
		.name = "to the system", .prepare = inject_own, .run = inject_migrate_out,
		.check = inject_check,
	}, self);
}

static int inject_evacuate(void *data)
{
	struct harness_data_inject_files *self = data;

	return dgpu_evacuate(self->c.gpu.dev, NULL);
}

TEST_F(inject_files, evacuation)
{
	inject_each(&(const struct inject_operation) {
		.name = "evacuation", .prepare = inject_own, .run = inject_evacuate,
		.check = inject_check,
	}, self);
}

/* Copies, to be read. */
static int inject_migrate_in(void *data)
{
	struct harness_data_inject_files *self = data;
	uint8_t results[N] = {};
	uint64_t moved = 0;
	size_t said = 0;
	int ret;

	ret = dgpu_migrate(self->c.gpu.dev, self->c.mem, LENGTH, 0, results, &moved);
	for (size_t i = 0; i < N; i++)
		said += results[i] == HMM_PAGE_MOVED;
	if (!ret)
		EXPECT_EQ(said, moved);
	return ret;
}

TEST_F(inject_files, migration_to_the_device)
{
	inject_each(&(const struct inject_operation) {
		.name = "to the device", .prepare = inject_home, .run = inject_migrate_in,
		.check = inject_check, .also = -ENOSPC,
	}, self);
}

/* To be written to: of what the device has copies of, and of what it does not have. */
static int inject_prefault(void *data)
{
	struct harness_data_inject_files *self = data;

	return dgpu_prefault(self->c.gpu.dev, self->c.mem, LENGTH, true);
}

TEST_F(inject_files, prefault)
{
	inject_each(&(const struct inject_operation) {
		.name = "prefault", .prepare = inject_home, .run = inject_prefault,
		.check = inject_check,
	}, self);
}

TEST_F(inject_files, prefault_of_copies)
{
	inject_each(&(const struct inject_operation) {
		.name = "prefault of copies", .prepare = inject_share, .run = inject_prefault,
		.check = inject_check,
	}, self);
}

/* ---- at random, where workers serve the device ---- */

/* What a program that failed has left: of each page what was there, or what it was to write. */
static void inject_learn(struct harness_data_inject_files *self, uint64_t value)
{
	for (size_t i = 0; i < N; i++) {
		const uint64_t seen = *word(self->c.mem, i);

		if (seen == value + i)
			self->words[i] = seen;
	}
}

TEST_F(inject_files, device_faults)
{
	struct files_case *c = &self->c;
	unsigned int failed = 0, owned = 0;
	uint64_t value;
	int ret;

	inject_own(self);
	for (unsigned long i = 0; i < sys_scale(100); i++) {
		if (i % 3 == 0)
			ASSERT_EQ(0, inject_migrate_out(self));
		value = self->value + 0x100;
		inject_random("hmm_core", i % 4 * 10);
		ret = gpu_fill(&c->gpu, c->mem, N, value);
		inject_off();
		failed += ret != 0;
		if (!EXPECT_TRUE(ret == 0 || ret == -ENOMEM || ret == -EIO))
			test_log("device fault: %s", strerror(-ret));
		owned += files_owned(c, 0, N) > 0;
		if (ret)
			inject_learn(self, value);
		else
			inject_expect(self, value);
		self->value = value;
		if (!EXPECT_TRUE(inject_check(self)))
			break;
	}
	test_log("%u programs failed, %u rounds with pages that the device owns", failed, owned);
	EXPECT_GT(failed, 0);
	EXPECT_GT(owned, 0);
}

/* ---- */

GPU_POOL_TEST

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

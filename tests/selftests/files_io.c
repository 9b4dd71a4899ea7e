// SPDX-License-Identifier: GPL-2.0
/*
 * I/O that goes on while a device uses the pages of a file: asynchronous direct I/O, bytes
 * that the kernel moves from file to file by itself, writeback that nobody has asked for,
 * and a second device.
 *
 * Unlike in files_hazards.c there is always somebody else at the same time.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include "async.h"
#include "files_case.h"
#include "sys.h"

#define N	FILES_PAGES
#define PG	((off_t)PAGE_SIZE)
#define SOON	60000	/* ms; for what must not take long, also on a slow kernel */
#define MANY	3ul	/* rounds */

static char *io_buffer(size_t npages)
{
	return ASSERT_SYS(mmap(NULL, npages * PAGE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
}

/* Pages as files_case.h has them. */
static void io_fill(char *buffer, size_t first, size_t n, uint64_t value)
{
	for (size_t i = 0; i < n; i++) {
		memset(buffer + i * PAGE_SIZE, files_rest(first + i), PAGE_SIZE);
		*word(buffer, i) = value + first + i;
	}
}

static bool io_check(const char *buffer, size_t first, size_t n, uint64_t value)
{
	for (size_t i = 0; i < n; i++) {
		if (!EXPECT_EQ(value + first + i, *word((void *)(uintptr_t)buffer, i)))
			return false;
		for (size_t b = 8; b < PAGE_SIZE; b++)
			if ((uint8_t)buffer[i * PAGE_SIZE + b] != files_rest(first + i))
				return EXPECT_EQ(files_rest(first + i),
						 (uint8_t)buffer[i * PAGE_SIZE + b]);
	}
	return true;
}

/* ---- asynchronous I/O ---- */

FIXTURE(async) {
	struct files_case c;
	struct async io;
	char *buffer;		/* N pages */
};

FIXTURE_VARIANT(async) {
	unsigned int block;
	const char *options;
	bool uring;
};

FIXTURE_VARIANT_ADD(async, aio_1k) { 1024, "nodelalloc,dioread_lock", false };
FIXTURE_VARIANT_ADD(async, uring_4k) { 4096, "delalloc", true };

FIXTURE_SETUP(async)
{
	files_case_begin(&self->c, variant->block, variant->options);
	async_begin(&self->io, variant->uring);
	self->buffer = io_buffer(N);
}

FIXTURE_TEARDOWN(async)
{
	async_end(&self->io);
	files_case_end(&self->c);
}

static void async_expect(struct harness_data_async *self, size_t n)
{
	async_wait(&self->io);
	for (size_t i = 0; i < n; i++)
		EXPECT_EQ(PAGE_SIZE, self->io.results[i]);
}

/* What the device has written is what is read, and the device goes on reading. */
TEST_F(async, direct_read)
{
	struct files_case *c = &self->c;

	for (uint64_t round = 1; round <= sys_scale(MANY); round++) {
		files_own(c, 0, N, round << 12);
		for (unsigned int i = 0; i < N; i++)
			async_read(&self->io, i, c->direct, self->buffer + i * PAGE_SIZE,
				   PAGE_SIZE, i * PG);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 12));
		async_expect(self, N);
		io_check(self->buffer, 0, N, round << 12);
	}
}

/* By way of the page cache: tried without waiting, and then by a thread of the kernel. */
TEST_F(async, read)
{
	struct files_case *c = &self->c;

	for (uint64_t round = 1; round <= sys_scale(MANY); round++) {
		files_own(c, 0, N, round << 12);
		for (unsigned int i = 0; i < N; i++)
			async_read(&self->io, i, c->fd, self->buffer + i * PAGE_SIZE,
				   PAGE_SIZE, i * PG);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 12));
		async_expect(self, N);
		io_check(self->buffer, 0, N, round << 12);
	}
}

/* The device reads while the disk is written to: afterwards it sees what is there. */
TEST_F(async, direct_write)
{
	struct files_case *c = &self->c;
	const uint64_t rounds = sys_scale(MANY);

	for (uint64_t round = 1; round <= rounds; round++) {
		files_own(c, 0, N, round << 12);
		io_fill(self->buffer, 0, N, (round << 12) + 0x800);
		for (unsigned int i = 0; i < N; i++)
			async_write(&self->io, i, c->direct, self->buffer + i * PAGE_SIZE,
				    PAGE_SIZE, i * PG);
		EXPECT_EQ(0, gpu_touch(&c->gpu, c->mem, N));
		async_expect(self, N);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, (round << 12) + 0x800));
		EXPECT_FILE(c, READ, 0, N, (round << 12) + 0x800);
		EXPECT_FILE(c, DIRECT, 0, N, (round << 12) + 0x800);
	}
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, (rounds << 12) + 0x800);
}

/*
 * Every other page is written directly to the disk, and the device writes to those between.
 * If it were made to own a page that it does not write to, that would be written back
 * over what has come to the disk directly.
 */
TEST_F(async, direct_write_between)
{
	struct files_case *c = &self->c;
	const uint64_t rounds = sys_scale(MANY);
	struct dgpu_result result;
	struct dgpu_job *job;

	for (uint64_t round = 1; round <= rounds; round++) {
		const uint64_t device = round << 12, disk = (round << 12) + 0x800;

		files_own(c, 0, N, device + 0x400);
		io_fill(self->buffer, 0, N, disk);
		job = gpu_start(&c->gpu, GPU_FILL, 4, (uintptr_t)c->mem, N / 2, 2 * PAGE_SIZE,
				device);
		for (unsigned int i = 1; i < N; i += 2)
			async_write(&self->io, i, c->direct, self->buffer + i * PAGE_SIZE,
				    PAGE_SIZE, i * PG);
		async_wait(&self->io);
		for (size_t i = 1; i < N; i += 2)
			EXPECT_EQ(PAGE_SIZE, self->io.results[i]);
		EXPECT_EQ(0, dgpu_job_wait(job, SOON, &result));
		EXPECT_EQ(DGPU_OK, result.status);
		dgpu_job_free(job);
		EXPECT_SYS(fsync(c->fd));
		for (size_t i = 0; i < N; i++) {
			const uint64_t want = i % 2 ? disk + i : device + i / 2;
			uint64_t seen;

			EXPECT_EQ(want, gpu_see(&c->gpu, c->mem + i * PAGE_SIZE));
			ASSERT_EQ(PAGE_SIZE, pread(c->direct, self->buffer, PAGE_SIZE,
						   (off_t)i * PG));
			memcpy(&seen, self->buffer, sizeof(seen));
			EXPECT_EQ(want, seen);
		}
	}
}

/*
 * Direct I/O reads into pages of the file: it has them pinned, and the device writes to other
 * bytes of the same pages meanwhile.
 */
TEST_F(async, direct_into_the_mapping)
{
	struct files_case *c = &self->c;
	const unsigned int sector = 512;
	char path[120];
	uint64_t seen;
	int other;

	snprintf(path, sizeof(path), "%s/source", c->fs.dir);
	other = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
	for (uint64_t round = 1; round <= sys_scale(MANY); round++) {
		for (size_t i = 0; i < N; i++)
			memset(self->buffer + i * PAGE_SIZE, (int)(round + i) & 0x7f, PAGE_SIZE);
		ASSERT_EQ(FILES_LENGTH, pwrite(other, self->buffer, FILES_LENGTH, 0));
		files_own(c, 0, N, round << 12);
		for (unsigned int i = 0; i < N; i++)
			async_read(&self->io, i, other, c->mem + i * PAGE_SIZE + 1024, sector,
				   i * PG);
		ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, (round << 12) + 0x800));
		async_wait(&self->io);
		for (size_t i = 0; i < N; i++) {
			const uint64_t want = 0x0101010101010101ull * ((round + i) & 0x7f);

			EXPECT_EQ(sector, self->io.results[i]);
			EXPECT_EQ((round << 12) + 0x800 + i, gpu_see(&c->gpu, c->mem + i * PAGE_SIZE));
			EXPECT_EQ(want, gpu_see(&c->gpu, c->mem + i * PAGE_SIZE + 1024));
			ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG + 1024 + sector - 8));
			EXPECT_EQ(want, seen);
			ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
			EXPECT_EQ((round << 12) + 0x800 + i, seen);
		}
	}
	close(other);
}

/* Direct I/O writes what the device has, to another file. */
TEST_F(async, direct_out_of_the_mapping)
{
	struct files_case *c = &self->c;
	char path[120];
	int other;

	snprintf(path, sizeof(path), "%s/target", c->fs.dir);
	other = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
	for (uint64_t round = 1; round <= sys_scale(MANY); round++) {
		files_own(c, 0, N, round << 12);
		for (unsigned int i = 0; i < N; i++)
			async_write(&self->io, i, other, c->mem + i * PAGE_SIZE, PAGE_SIZE, i * PG);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, round << 12));
		async_expect(self, N);
		ASSERT_EQ(FILES_LENGTH, pread(other, self->buffer, FILES_LENGTH, 0));
		io_check(self->buffer, 0, N, round << 12);
	}
	close(other);
}

/* Memory that an io_uring keeps: of a file that must be written back it may refuse to. */
TEST_F(async, registered)
{
	struct files_case *c = &self->c;
	char path[120];
	int other, ret;

	if (!variant->uring)
		SKIP("only io_uring has buffers that are registered");
	files_own(c, 0, N, 0x1000);
	ret = async_register(&self->io, c->mem, FILES_LENGTH);
	if (ret) {
		EXPECT_FILE(c, READ, 0, N, 0x1000);
		files_own(c, 0, N, 0x2000);
		EXPECT_FILE(c, READ, 0, N, 0x2000);
		SKIP("no pages of a file can be registered here: %s", strerror(-ret));
	}
	snprintf(path, sizeof(path), "%s/source", c->fs.dir);
	other = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
	for (uint64_t round = 1; round <= 3; round++) {
		ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, round << 12));
		EXPECT_OWNED(c, 0, N, 0);
		io_fill(self->buffer, 0, N, (round << 12) + 0x800);
		ASSERT_EQ(FILES_LENGTH, pwrite(other, self->buffer, FILES_LENGTH, 0));
		for (unsigned int i = 0; i < N; i++)
			async_read_fixed(&self->io, i, other, c->mem + i * PAGE_SIZE, PAGE_SIZE,
					 i * PG);
		async_expect(self, N);
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, (round << 12) + 0x800));
	}
	async_unregister(&self->io);
	close(other);
	files_own(c, 0, N, 0x9000);
}

/* ---- from file to file, in the kernel ---- */

/* How often writeback comes by itself, and for what, in hundredths of a second. */
static const char *const io_writeback[] = {
	"/proc/sys/vm/dirty_writeback_centisecs", "/proc/sys/vm/dirty_expire_centisecs",
};

static void io_sysctl(const char *path, long long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", value);
	sys_write(path, text);
}

FIXTURE(io) {
	struct files_case c;
	char path[120];
	int other;
	long long writeback[2];
};

FIXTURE_VARIANT(io) {
	unsigned int block;
	const char *options, *features;
};

FIXTURE_VARIANT_ADD(io, fast_commit_4k) { 4096, "delalloc", "fast_commit" };
FIXTURE_VARIANT_ADD(io, nodelalloc_1k) { 1024, "nodelalloc,dioread_lock", "" };

FIXTURE_SETUP(io)
{
	self->other = -1;
	for (int i = 0; i < 2; i++)
		self->writeback[i] = sys_number(io_writeback[i]);
	snprintf(self->c.fs.features, sizeof(self->c.fs.features), "%s", variant->features);
	files_case_begin(&self->c, variant->block, variant->options);
	snprintf(self->path, sizeof(self->path), "%s/other", self->c.fs.dir);
	self->other = ASSERT_SYS(open(self->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

FIXTURE_TEARDOWN(io)
{
	for (int i = 0; i < 2 && self->writeback[i]; i++)
		io_sysctl(io_writeback[i], self->writeback[i]);
	if (self->other >= 0)
		close(self->other);
	files_case_end(&self->c);
}

/* Power fails. */
static void io_crash(struct harness_data_io *self)
{
	close(self->other);
	self->other = -1;
	files_case_crash(&self->c);
}

/* The device writes all the time; it stops when told to. */
struct io_writer {
	struct dgpu_job *job;
	volatile uint64_t *stop;
};

static void writer_start(struct io_writer *writer, struct files_case *c, size_t page)
{
	writer->stop = c->gpu.scratch;
	*writer->stop = 0;
	writer->job = gpu_start(&c->gpu, GPU_SPIN, 4, (uintptr_t)writer->stop,
				(uintptr_t)c->mem + page * PAGE_SIZE,
				(uintptr_t)c->mem + (page + 1) * PAGE_SIZE, 0);
}

static void writer_stop(struct io_writer *writer)
{
	struct dgpu_result result;

	*writer->stop = 1;
	EXPECT_EQ(0, dgpu_job_wait(writer->job, SOON, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(writer->job);
}

static void io_expect_other(struct harness_data_io *self, uint64_t value)
{
	char *buffer = io_buffer(N);

	ASSERT_EQ(FILES_LENGTH, pread(self->other, buffer, FILES_LENGTH, 0));
	io_check(buffer, 0, N, value);
	munmap(buffer, FILES_LENGTH);
}

TEST_F(io, sendfile)
{
	struct files_case *c = &self->c;
	off_t at;

	for (uint64_t round = 1; round <= sys_scale(MANY); round++) {
		files_own(c, 0, N, round << 12);
		at = 0;
		ASSERT_EQ(0, lseek(self->other, 0, SEEK_SET));
		ASSERT_EQ(FILES_LENGTH, sendfile(self->other, c->fd, &at, FILES_LENGTH));
		io_expect_other(self, round << 12);
	}
}

/* Into a file whose pages the device has. */
TEST_F(io, sendfile_back)
{
	struct files_case *c = &self->c;
	char *buffer = io_buffer(N);
	off_t at;

	for (uint64_t round = 1; round <= sys_scale(MANY); round++) {
		io_fill(buffer, 0, N, (round << 12) + 0x800);
		ASSERT_EQ(FILES_LENGTH, pwrite(self->other, buffer, FILES_LENGTH, 0));
		files_own(c, 0, N, round << 12);
		at = 0;
		ASSERT_EQ(0, lseek(c->fd, 0, SEEK_SET));
		ASSERT_EQ(FILES_LENGTH, sendfile(c->fd, self->other, &at, FILES_LENGTH));
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, (round << 12) + 0x800));
		EXPECT_FILE(c, READ, 0, N, (round << 12) + 0x800);
	}
}

/* What a socket has is the page itself: the device may write to it, in place. */
TEST_F(io, sendfile_to_a_socket)
{
	struct files_case *c = &self->c;
	char *buffer = io_buffer(4);
	off_t at = 0;
	int ends[2];
	uint64_t seen;

	ASSERT_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	files_own(c, 0, N, 0x1000);
	ASSERT_EQ(4 * PG, sendfile(ends[0], c->fd, &at, 4 * PAGE_SIZE));
	ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, 0x2000));
	EXPECT_FILE(c, READ, 0, N, 0x2000);
	for (size_t got = 0; got < 4 * PAGE_SIZE;) {
		const ssize_t ret = read(ends[1], buffer + got, 4 * PAGE_SIZE - got);

		ASSERT_GT(ret, 0);
		got += (size_t)ret;
	}
	for (size_t i = 0; i < 4; i++) {
		seen = *word(buffer, i);
		EXPECT_TRUE(seen == 0x1000 + i || seen == 0x2000 + i);
	}
	close(ends[0]);
	close(ends[1]);
	files_own(c, 0, N, 0x3000);
	EXPECT_FILE(c, READ, 0, N, 0x3000);
}

TEST_F(io, copy_file_range)
{
	struct files_case *c = &self->c;
	loff_t from, to;

	for (uint64_t round = 1; round <= sys_scale(MANY); round++) {
		files_own(c, 0, N, round << 12);
		from = 0;
		to = 0;
		ASSERT_EQ(FILES_LENGTH, copy_file_range(c->fd, &from, self->other, &to,
							FILES_LENGTH, 0));
		io_expect_other(self, round << 12);
		/* Within the file, from one half to the other. */
		files_own(c, 0, N, (round << 12) + 0x800);
		from = 0;
		to = (loff_t)FILES_LENGTH / 2;
		ASSERT_EQ(FILES_LENGTH / 2, copy_file_range(c->fd, &from, c->fd, &to,
							    FILES_LENGTH / 2, 0));
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N / 2, (round << 12) + 0x800));
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem + FILES_LENGTH / 2, N / 2,
				       (round << 12) + 0x800));
		/* As it was. */
		for (size_t i = N / 2; i < N; i++) {
			memset(c->mem + i * PAGE_SIZE, files_rest(i), PAGE_SIZE);
			*word(c->mem, i) = (round << 12) + i;
		}
	}
}

/* There are no clones on ext4: an error, and nothing has changed. */
TEST_F(io, clone)
{
	struct files_case *c = &self->c;

	files_case_hold(c);
	files_own(c, 0, N, 0x1000);
	EXPECT_EQ(-1, ioctl(self->other, FICLONE, c->fd));
	EXPECT_OWNED(c, 0, N, N);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

/* ---- writeback that nobody has asked for ---- */

/*
 * The kernel's own writeback comes for pages that a program of the device keeps writing to.
 * Nothing of that is lost, and neither waits for the other for ever.
 */
TEST_F(io, background)
{
	struct files_case *c = &self->c;
	struct io_writer writer;
	uint64_t last = 0, now;
	size_t left = N;

	*word(c->mem, 0) = 0;
	writer_start(&writer, c, 0);
	files_own(c, 2, N - 2, 0x1000);
	for (int i = 0; i < 2; i++)
		io_sysctl(io_writeback[i], 5);
	for (int i = 0; i < SOON / 20 && left; i++) {
		sys_sleep_ms(20);
		ASSERT_EQ(8, pread(c->fd, &now, 8, 0));
		EXPECT_GE(now, last);
		last = now;
		left = files_owned(c, 2, N - 2);
	}
	if (c->device)
		EXPECT_EQ(0, left);	/* written back, and so read-only */
	writer_stop(&writer);
	ASSERT_EQ(8, pread(c->fd, &now, 8, 0));
	EXPECT_EQ(now, gpu_see(&c->gpu, c->mem));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem + 2 * PAGE_SIZE, N - 2, 0x1002));
	ASSERT_SYS(fsync(c->fd));
	io_crash(self);
	EXPECT_FILE(c, READ, 2, N - 2, 0x1000);
	ASSERT_EQ(8, pread(c->fd, &last, 8, 0));
	EXPECT_EQ(now, last);
}

/* sync() of everything, again and again, while a program of the device writes. */
TEST_F(io, sync_while_writing)
{
	struct files_case *c = &self->c;
	struct io_writer writer;
	uint64_t seen, disk;

	*word(c->mem, 0) = 0;
	writer_start(&writer, c, 0);
	for (unsigned long i = 0; i < sys_scale(6); i++) {
		files_own(c, 2, N - 2, (i + 1) << 12);
		if (i % 2)
			sync();
		else
			ASSERT_SYS(syncfs(c->fd));
		EXPECT_FILE(c, DIRECT, 2, N - 2, (i + 1) << 12);
	}
	writer_stop(&writer);
	sync();
	ASSERT_EQ(8, pread(c->fd, &seen, 8, 0));
	EXPECT_EQ(seen, gpu_see(&c->gpu, c->mem));
	io_crash(self);
	ASSERT_EQ(8, pread(c->fd, &disk, 8, 0));
	EXPECT_EQ(seen, disk);
	EXPECT_FILE(c, READ, 2, N - 2, sys_scale(6) << 12);
}

/*
 * A small commit of the journal (fast_commit), or a whole one, of another file, and of this
 * one, with what the device has written in between.
 */
TEST_F(io, commits)
{
	struct files_case *c = &self->c;
	const uint64_t rounds = sys_scale(MANY);
	uint64_t seen;

	for (uint64_t round = 1; round <= rounds; round++) {
		/* New blocks, which the commit is about. */
		ASSERT_SYS(fallocate(c->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				     (off_t)FILES_LENGTH));
		ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, round << 12));
		ASSERT_EQ(8, pwrite(self->other, &round, 8, (off_t)(round * 8)));
		ASSERT_SYS(fsync(self->other));
		ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N / 2, (round << 12) + 0x800));
		ASSERT_SYS(fsync(c->fd));
		EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N / 2, (round << 12) + 0x800));
	}
	io_crash(self);
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
		EXPECT_EQ((rounds << 12) + i + (i < N / 2 ? 0x800 : 0), seen);
	}
}

/* ---- a second device ---- */

struct io_noise {
	struct files_case *c;
	volatile uint64_t *at;
	uint64_t times;
	volatile bool stop;
};

static void *noise_sync(void *arg)
{
	struct io_noise *noise = arg;

	while (!noise->stop) {
		EXPECT_EQ(0, fsync(noise->c->fd));
		sys_sleep_ms(1);
	}
	return NULL;
}

static void *noise_count(void *arg)
{
	struct io_noise *noise = arg;

	for (uint64_t i = 0; i < noise->times; i++)
		__atomic_fetch_add((uint64_t *)(uintptr_t)noise->at, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/*
 * Two devices and a processor count in the same page of a file that is synced all the time,
 * each in words of its own: no count is lost.
 */
TEST_F(io, two_devices_count)
{
	struct files_case *c = &self->c;
	const uint64_t times = sys_scale(4000);
	struct io_noise noise = { .c = c, .at = word(c->mem, 0) + 2, .times = times };
	struct gpu other = { 0 };
	struct dgpu_result result;
	struct dgpu_job *jobs[2];
	pthread_t threads[2];
	uint64_t seen[3];

	if (access("/dev/dgpu1", R_OK))
		SKIP("there is one device only");
	gpu_setup_path(&other, "/dev/dgpu1");
	ASSERT_EQ(0, dgpu_set_policy(other.dev, HMM_POLICY_TOUCH));
	for (int i = 0; i < 3; i++)
		word(c->mem, 0)[i] = 0;
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, noise_sync, &noise));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, noise_count, &noise));
	jobs[0] = gpu_start(&c->gpu, GPU_INCR, 2, (uintptr_t)c->mem, times, 0, 0);
	jobs[1] = gpu_start(&other, GPU_INCR, 2, (uintptr_t)c->mem + 8, times, 0, 0);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, dgpu_job_wait(jobs[i], -1, &result));
		EXPECT_EQ(DGPU_OK, result.status);
		dgpu_job_free(jobs[i]);
	}
	pthread_join(threads[1], NULL);
	noise.stop = true;
	pthread_join(threads[0], NULL);
	EXPECT_EQ(2 * times, word(c->mem, 0)[0]);
	EXPECT_EQ(2 * times, word(c->mem, 0)[1]);
	EXPECT_EQ(times, word(c->mem, 0)[2]);
	ASSERT_SYS(fsync(c->fd));
	gpu_teardown(&other);
	io_crash(self);
	ASSERT_EQ(sizeof(seen), pread(c->fd, seen, sizeof(seen), 0));
	EXPECT_EQ(2 * times, seen[0]);
	EXPECT_EQ(2 * times, seen[1]);
	EXPECT_EQ(times, seen[2]);
}

GPU_POOL_TEST

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

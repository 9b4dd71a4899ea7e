// SPDX-License-Identifier: GPL-2.0
/*
 * Files that must not be on a device, or not be written to by it; and who pays for what it
 * writes.
 *
 * A device is refused what a CPU is refused: what is immutable, or has verity.  Files whose
 * bytes are not in pages, or change on their way there, are used in place, with the right bytes.
 * And what the device writes is written to disk on the account of the cgroup that had it do so.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fscrypt.h>
#include <linux/fsverity.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "files_case.h"
#include "sys.h"

#define N		FILES_PAGES
#define PG		((off_t)PAGE_SIZE)
#define SOON		60000	/* ms; for what must not take long, also on a slow kernel */

#ifndef FS_INLINE_DATA_FL
#define FS_INLINE_DATA_FL 0x10000000
#endif

static void refused_case(struct files_case *c, const char *features, unsigned int block,
			 const char *options)
{
	snprintf(c->fs.features, sizeof(c->fs.features), "%s", features);
	files_case_begin(c, block, options);
	files_case_hold(c);
}

/* The pages as files_case_begin() leaves them, and the words as if the device had written. */
static void refused_fill(struct files_case *c, uint64_t value)
{
	static char buffer[PAGE_SIZE];

	for (size_t i = 0; i < N; i++) {
		const uint64_t first = value + i;

		memset(buffer, files_rest(i), PAGE_SIZE);
		memcpy(buffer, &first, sizeof(first));
		ASSERT_EQ(PAGE_SIZE, pwrite(c->fd, buffer, PAGE_SIZE, (off_t)i * PG));
	}
}

/* Another file than the one that is open. */
static void refused_open(struct files_case *c, const char *name)
{
	files_case_close(c);
	snprintf(c->path, sizeof(c->path), "%s/%s", c->fs.dir, name);
	files_case_open(c);
}

/* The device uses it, and is asked to have it: it never does. */
static void expect_in_place(struct files_case *c, size_t n)
{
	EXPECT_EQ(0, gpu_touch(&c->gpu, c->mem, n));
	EXPECT_EQ(0, files_there(c, 0, n));
	for (int tries = 0; tries < 3; tries++) {
		dgpu_migrate(c->gpu.dev, c->mem, n * PAGE_SIZE, 0, NULL, NULL);
		EXPECT_EQ(0, gpu_touch(&c->gpu, c->mem, n));
		EXPECT_EQ(0, files_there(c, 0, n));
	}
}

static int flags_of(const struct files_case *c)
{
	int flags, fd = ASSERT_SYS(open(c->path, O_RDONLY | O_CLOEXEC));

	ASSERT_SYS(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	close(fd);
	return flags;
}

static void flags_change(const struct files_case *c, int on, int off)
{
	int flags = (flags_of(c) & ~off) | on;
	int fd = ASSERT_SYS(open(c->path, O_RDONLY | O_CLOEXEC));

	ASSERT_SYS(ioctl(fd, FS_IOC_SETFLAGS, &flags));
	close(fd);
}

/* ---- immutable, append-only ---- */

FIXTURE(flags) {
	struct files_case c;
};

FIXTURE_VARIANT(flags) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(flags, delalloc_4k) { 4096, "delalloc" };
FIXTURE_VARIANT_ADD(flags, nodelalloc_1k) { 1024, "nodelalloc,dioread_lock,commit=600" };

FIXTURE_SETUP(flags)
{
	refused_case(&self->c, "", variant->block, variant->options);
}

FIXTURE_TEARDOWN(flags)
{
	/* Nobody could remove it. */
	if (self->c.fs.mounted && *self->c.path && !access(self->c.path, F_OK))
		flags_change(&self->c, 0, FS_IMMUTABLE_FL | FS_APPEND_FL);
	files_case_end(&self->c);
}

/* What a CPU gets that writes there. */
static int cpu_write_signal(volatile void *addr)
{
	pid_t pid = ASSERT_SYS(fork());
	int status;

	if (!pid) {
		*(volatile uint64_t *)addr = 0xbad;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Nobody writes to any page, whether he had it before or not, and all can read. */
static void expect_immutable(struct files_case *c, uint64_t value)
{
	EXPECT_OWNED(c, 0, N, 0);
	for (size_t i = 0; i < N; i++)
		EXPECT_EQ(-EFAULT, gpu_write(&c->gpu, c->mem + i * PAGE_SIZE, 0xbad));
	for (size_t i = 0; i < N; i += N / 4)
		EXPECT_EQ(SIGBUS, cpu_write_signal(c->mem + i * PAGE_SIZE));
	EXPECT_EQ(-1, pwrite(c->fd, "x", 1, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_OWNED(c, 0, N, 0);
	EXPECT_FILE(c, READ, 0, N, value);
	EXPECT_FILE(c, DEVICE, 0, N, value);
	EXPECT_FILE(c, MAP, 0, N, value);
	EXPECT_FILE(c, DIRECT, 0, N, value);
}

/* The file is open and mapped, so it is page_mkwrite() that says no. */
TEST_F(flags, immutable)
{
	struct files_case *c = &self->c;

	for (uint64_t round = 1; round <= sys_scale(2); round++) {
		const uint64_t value = round << 12;

		/* Some are the device's, some it has copies of, some a CPU has written to. */
		files_own(c, 0, N, value);
		cpu_fill(c->mem + FILES_LENGTH / 2, N / 4, value + N / 2);
		EXPECT_EQ(value + 3 * N / 4, *word(c->mem, 3 * N / 4));
		files_share(c, 3 * N / 4, N / 4, value);
		EXPECT_OWNED(c, 0, N / 2, N / 2);
		flags_change(c, FS_IMMUTABLE_FL, 0);
		expect_immutable(c, value);
		/* There can be copies, which can still not be written to. */
		files_share(c, 0, N, value);
		expect_immutable(c, value);
		flags_change(c, 0, FS_IMMUTABLE_FL);
		files_own(c, 0, N, value + 0x800);
		EXPECT_FILE(c, READ, 0, N, value + 0x800);
	}
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, (sys_scale(2) << 12) + 0x800);
}

/* The device is writing all the time: it is stopped as soon as its page has been cleaned. */
TEST_F(flags, immutable_while_it_writes)
{
	struct files_case *c = &self->c;
	struct dgpu_result result = { 0 };
	uint64_t seen, before = 0;
	struct dgpu_job *job;

	files_own(c, 0, 1, 0);
	job = gpu_start(&c->gpu, GPU_INCR, 1, (uintptr_t)c->mem, 1ul << 40, 0, 0);
	for (int tries = 0; !before && tries < 3000; tries++) {
		ASSERT_EQ(8, pread(c->fd, &before, 8, 0));
		sys_sleep_ms(10);
	}
	EXPECT_GT(before, 0);
	flags_change(c, FS_IMMUTABLE_FL, 0);
	/* Setting it cleans the pages a moment before they are forbidden: as with a CPU. */
	ASSERT_SYS(fsync(c->fd));
	EXPECT_EQ(0, dgpu_job_wait(job, SOON, &result));
	EXPECT_EQ(DGPU_ERR_FAULT, result.status);
	EXPECT_EQ(EFAULT, result.error);
	dgpu_job_free(job);
	ASSERT_EQ(8, pread(c->fd, &seen, 8, 0));
	EXPECT_GE(seen, before);
	EXPECT_OWNED(c, 0, 1, 0);
	EXPECT_FILE(c, DIRECT, 0, 1, seen);
	EXPECT_FILE(c, DEVICE, 0, 1, seen);
	/* The engine goes on. */
	flags_change(c, 0, FS_IMMUTABLE_FL);
	files_own(c, 0, N, 0x2000);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
}

/*
 * Only who opens or maps it is told that it can be appended to only: what is mapped already can
 * be written to, by a device too.
 */
TEST_F(flags, append_only)
{
	struct files_case *c = &self->c;
	uint64_t word = 0x1234;
	char *mem;
	int fd;

	files_own(c, 0, N / 2, 0x1000);
	flags_change(c, FS_APPEND_FL, 0);
	EXPECT_FILE(c, READ, 0, N / 2, 0x1000);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, open(c->path, O_RDWR | O_CLOEXEC));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, ftruncate(c->fd, 0));
	EXPECT_EQ(EPERM, errno);
	cpu_fill(c->mem, N, 0x2000);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
	files_own(c, 0, N, 0x3000);
	EXPECT_FILE(c, READ, 0, N, 0x3000);
	/* Who may only read it cannot have his device write. */
	fd = ASSERT_SYS(open(c->path, O_RDONLY | O_CLOEXEC));
	mem = ASSERT_SYS(mmap(NULL, FILES_LENGTH, PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(0, gpu_check(&c->gpu, mem, N, 0x3000));
	EXPECT_EQ(-EACCES, gpu_write(&c->gpu, mem, 0xbad));
	ASSERT_SYS(munmap(mem, FILES_LENGTH));
	close(fd);
	files_own(c, 0, N, 0x4000);
	fd = ASSERT_SYS(open(c->path, O_WRONLY | O_APPEND | O_CLOEXEC));
	ASSERT_EQ(8, write(fd, &word, 8));
	close(fd);
	EXPECT_FILE(c, READ, 0, N, 0x4000);
	ASSERT_EQ(8, pread(c->fd, &word, 8, (off_t)FILES_LENGTH));
	EXPECT_EQ(0x1234, word);
	flags_change(c, 0, FS_APPEND_FL);
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	files_case_remount(c);
	EXPECT_FILE(c, READ, 0, N, 0x4000);
}

/* ---- data in the inode ---- */

FIXTURE(inline_data) {
	struct files_case c;
};

FIXTURE_VARIANT(inline_data) {
	unsigned int block;
	const char *options;
	size_t length;		/* of the file: in i_block, or in the rest of the inode too */
};

FIXTURE_VARIANT_ADD(inline_data, i_block_delalloc_4k) { 4096, "delalloc", 56 };
FIXTURE_VARIANT_ADD(inline_data, xattr_delalloc_4k) { 4096, "delalloc", 120 };
FIXTURE_VARIANT_ADD(inline_data, xattr_nodelalloc_1k) { 1024, "nodelalloc", 120 };

static void inline_write(struct files_case *c, size_t length, uint64_t value)
{
	uint64_t words[32];

	for (size_t i = 0; i < length / 8; i++)
		words[i] = value + i;
	ASSERT_EQ((ssize_t)length, pwrite(c->fd, words, length, 0));
}

FIXTURE_SETUP(inline_data)
{
	struct files_case *c = &self->c;

	refused_case(c, "inline_data", variant->block, variant->options);
	refused_open(c, "small");
	inline_write(c, variant->length, 0x1000);
	if (!(flags_of(c) & FS_INLINE_DATA_FL))
		SKIP("%zu bytes do not fit into an inode here", variant->length);
}

FIXTURE_TEARDOWN(inline_data)
{
	files_case_end(&self->c);
}

/* The words at the begin, by everybody; and zeroes from @length on. */
static void expect_inline(struct files_case *c, size_t length, uint64_t value)
{
	uint64_t words[32] __attribute__((aligned(4096)));
	const size_t nr = length / 8;

	for (size_t i = 0; i < nr; i++)
		EXPECT_EQ(value + i, gpu_see(&c->gpu, c->mem + i * 8));
	EXPECT_EQ(0, gpu_see(&c->gpu, c->mem + length));
	EXPECT_EQ(0, gpu_see(&c->gpu, c->mem + PAGE_SIZE - 8));
	EXPECT_EQ((ssize_t)length, pread(c->fd, words, sizeof(words), 0));
	for (size_t i = 0; i < nr; i++)
		EXPECT_EQ(value + i, words[i]);
	for (size_t i = 0; i < nr; i++)
		EXPECT_EQ(value + i, *(volatile uint64_t *)(c->mem + i * 8));
	EXPECT_EQ(0, *(volatile uint64_t *)(c->mem + length));
}

TEST_F(inline_data, is_read_in_place)
{
	struct files_case *c = &self->c;

	for (int round = 0; round < 2; round++) {
		expect_in_place(c, 1);
		expect_inline(c, variant->length, 0x1000);
		/* Behind the end there is nothing. */
		EXPECT_EQ(-EFAULT, gpu_touch(&c->gpu, c->mem + PAGE_SIZE, 1));
		EXPECT_TRUE(flags_of(c) & FS_INLINE_DATA_FL);
		/* From the disk, the next time. */
		files_case_remount(c);
	}
	/* What is written to the inode is what a device sees that has the page mapped. */
	expect_in_place(c, 1);
	inline_write(c, variant->length, 0x2000);
	EXPECT_TRUE(flags_of(c) & FS_INLINE_DATA_FL);
	expect_inline(c, variant->length, 0x2000);
	EXPECT_EQ(0, files_there(c, 0, 1));
	files_case_remount(c);
	expect_inline(c, variant->length, 0x2000);
}

/* It becomes a file like all others: pages may move then. */
static void inline_grow(struct files_case *c)
{
	EXPECT_FALSE(flags_of(c) & FS_INLINE_DATA_FL);
	refused_fill(c, 0x3000);
	EXPECT_FILE(c, DEVICE, 0, N, 0x3000);
	files_own(c, 0, N, 0x4000);
	EXPECT_FILE(c, READ, 0, N, 0x4000);
	files_own(c, 0, N, 0x5000);
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_FILE(c, DEVICE, 0, N, 0x5000);
	EXPECT_FILE(c, READ, 0, N, 0x5000);
}

/* Another file, of the same bytes, which a CPU writes to in memory. */
static void inline_twin(const struct files_case *c, size_t length)
{
	struct files_case twin = { .fs = c->fs, .fd = -1, .direct = -1 };

	refused_open(&twin, "twin");
	inline_write(&twin, length, 0x1000);
	for (size_t i = 0; i < length / 8; i++)
		*(volatile uint64_t *)(twin.mem + i * 8) = 0x2000 + i;
	ASSERT_SYS(fsync(twin.fd));
	files_case_close(&twin);
}

/*
 * Only what is in a block can be written to in memory.  ext4_convert_inline_data_nolock() gives
 * the file that block by way of the journal, as if it were metadata, and does not revoke it: after
 * a failure of power the block is as it was then, whoever has written to it, and called fsync()
 * (6.12.117, 7.2.13).  So what is required of the device is what is true of a CPU.
 */
TEST_F(inline_data, device_writes)
{
	struct files_case *c = &self->c;
	uint64_t seen, kept;

	expect_in_place(c, 1);
	for (size_t i = 0; i < variant->length / 8; i++)
		ASSERT_EQ(0, gpu_write(&c->gpu, c->mem + i * 8, 0x2000 + i));
	expect_inline(c, variant->length, 0x2000);
	EXPECT_FALSE(flags_of(c) & FS_INLINE_DATA_FL);
	inline_twin(c, variant->length);
	ASSERT_SYS(fsync(c->fd));
	expect_inline(c, variant->length, 0x2000);
	files_case_crash(c);
	refused_open(c, "twin");
	kept = *word(c->mem, 0);
	if (kept != 0x2000)
		test_log("this kernel forgets what a CPU has written: %#jx", (uintmax_t)kept);
	refused_open(c, "small");
	expect_inline(c, variant->length, kept);
	/* What it writes behind the end is nothing. */
	ASSERT_EQ(0, gpu_write(&c->gpu, c->mem + variant->length, 0xbad));
	ASSERT_SYS(ftruncate(c->fd, PG));
	ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)variant->length));
	EXPECT_EQ(0, seen);
	inline_grow(c);
}

TEST_F(inline_data, grows_by_write)
{
	struct files_case *c = &self->c;
	uint64_t seen = 0x77;

	expect_in_place(c, 1);
	ASSERT_EQ(8, pwrite(c->fd, &seen, 8, PG - 8));
	EXPECT_EQ(0x77, gpu_see(&c->gpu, c->mem + PAGE_SIZE - 8));
	EXPECT_EQ(0x1000, gpu_see(&c->gpu, c->mem));
	EXPECT_EQ(0, gpu_see(&c->gpu, c->mem + variant->length));
	ASSERT_EQ(0, gpu_write(&c->gpu, c->mem, 0x2000));
	ASSERT_EQ(8, pread(c->fd, &seen, 8, 0));
	EXPECT_EQ(0x2000, seen);
	EXPECT_EQ(0x2000, *word(c->mem, 0));
	ASSERT_EQ(8, pread(c->fd, &seen, 8, PG - 8));
	EXPECT_EQ(0x77, seen);
	inline_grow(c);
}

/* A new file, which could become one of those, of holes that a device writes to. */
TEST_F(inline_data, new_file_of_holes)
{
	struct files_case *c = &self->c;
	uint64_t seen;

	refused_open(c, "new");
	ASSERT_SYS(ftruncate(c->fd, (off_t)FILES_LENGTH));
	for (uint64_t round = 1; round <= 3; round++) {
		ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, round << 12));
		for (size_t i = 0; i < N; i++) {
			ASSERT_EQ(8, pread(c->fd, &seen, 8, (off_t)i * PG));
			EXPECT_EQ((round << 12) + i, seen);
			EXPECT_EQ((round << 12) + i, *word(c->mem, i));
		}
	}
	files_own(c, 0, N, 0x4000);
	ASSERT_SYS(fsync(c->fd));
	files_case_crash(c);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x4000));
	inline_grow(c);
}

/* ---- encryption ---- */

FIXTURE(encrypted) {
	struct files_case c;
	char dir[100];
};

FIXTURE_VARIANT(encrypted) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(encrypted, delalloc_4k) { 4096, "delalloc" };
FIXTURE_VARIANT_ADD(encrypted, nodelalloc_1k) { 1024, "nodelalloc" };

/* Give the file system the key, which it forgets when it is unmounted. */
static void encrypted_key(struct files_case *c, struct fscrypt_key_specifier *spec)
{
	static const size_t size = 64;
	struct fscrypt_add_key_arg *arg = calloc(1, sizeof(*arg) + size);
	int root = ASSERT_SYS(open(c->fs.dir, O_RDONLY | O_CLOEXEC)), ret;

	ASSERT_NE(arg, NULL);
	arg->key_spec.type = FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER;
	arg->raw_size = size;
	for (size_t i = 0; i < size; i++)
		arg->raw[i] = (uint8_t)(i * 7 + 1);
	ret = ioctl(root, FS_IOC_ADD_ENCRYPTION_KEY, arg) ? -errno : 0;
	*spec = arg->key_spec;
	free(arg);
	close(root);
	if (ret)
		SKIP("no encryption: %s", strerror(-ret));
}

FIXTURE_SETUP(encrypted)
{
	struct fscrypt_policy_v2 policy = {
		.version = FSCRYPT_POLICY_V2,
		.contents_encryption_mode = FSCRYPT_MODE_AES_256_XTS,
		.filenames_encryption_mode = FSCRYPT_MODE_AES_256_CTS,
		.flags = FSCRYPT_POLICY_FLAGS_PAD_32,
	};
	struct files_case *c = &self->c;
	struct fscrypt_key_specifier spec;
	int dir, ret;

	refused_case(c, "encrypt", variant->block, variant->options);
	encrypted_key(c, &spec);
	memcpy(policy.master_key_identifier, spec.u.identifier,
	       sizeof(policy.master_key_identifier));
	snprintf(self->dir, sizeof(self->dir), "%s/secret", c->fs.dir);
	ASSERT_SYS(mkdir(self->dir, 0700));
	dir = ASSERT_SYS(open(self->dir, O_RDONLY | O_CLOEXEC));
	ret = ioctl(dir, FS_IOC_SET_ENCRYPTION_POLICY, &policy) ? -errno : 0;
	close(dir);
	if (ret)
		SKIP("no encryption: %s", strerror(-ret));
	refused_open(c, "secret/file");
	refused_fill(c, 0x1000);
	ASSERT_TRUE(flags_of(c) & FS_ENCRYPT_FL);
}

FIXTURE_TEARDOWN(encrypted)
{
	files_case_end(&self->c);
}

static void encrypted_remount(struct files_case *c)
{
	struct fscrypt_key_specifier spec;

	files_case_close(c);
	files_remount(&c->fs);
	encrypted_key(c, &spec);
	files_case_open(c);
}

/* The device reads and writes what the CPU does, where that is. */
TEST_F(encrypted, is_used_in_place)
{
	struct files_case *c = &self->c;
	const uint64_t owned = gpu_rmem(&c->gpu, HMM_RMEM_FILE_OWNED);

	for (uint64_t round = 1; round <= sys_scale(3); round++) {
		const uint64_t value = round << 12;

		expect_in_place(c, N);
		EXPECT_FILE(c, DEVICE, 0, N, value);
		EXPECT_FILE(c, READ, 0, N, value);
		ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, value + 0x800));
		EXPECT_EQ(0, files_there(c, 0, N));
		EXPECT_FILE(c, READ, 0, N, value + 0x800);
		EXPECT_FILE(c, MAP, 0, N, value + 0x800);
		ASSERT_SYS(fsync(c->fd));
		encrypted_remount(c);
		EXPECT_FILE(c, DEVICE, 0, N, value + 0x800);
		EXPECT_FILE(c, DIRECT, 0, N, value + 0x800);
		ASSERT_EQ(0, gpu_fill(&c->gpu, c->mem, N, value + 0x1000));
		EXPECT_FILE(c, READ, 0, N, value + 0x1000);
	}
	EXPECT_EQ(owned, gpu_rmem(&c->gpu, HMM_RMEM_FILE_OWNED));
	/* Others of the same file system move as ever. */
	refused_open(c, "file");
	files_own(c, 0, N, 0x1000);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

/* ---- verity ---- */

FIXTURE(verity) {
	struct files_case c;
};

FIXTURE_VARIANT(verity) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(verity, delalloc_4k) { 4096, "delalloc" };
FIXTURE_VARIANT_ADD(verity, nodelalloc_1k) { 1024, "nodelalloc" };

FIXTURE_SETUP(verity)
{
	refused_case(&self->c, "verity", variant->block, variant->options);
}

static void verity_close(struct files_case *c)
{
	if (!c->around && c->mem)
		munmap(c->mem, FILES_LENGTH);
	files_case_close(c);
}

FIXTURE_TEARDOWN(verity)
{
	verity_close(&self->c);
	files_case_end(&self->c);
}

/* As files_case_open(), but nobody can write to it. */
static void verity_open(struct files_case *c)
{
	verity_close(c);
	c->fd = ASSERT_SYS(open(c->path, O_RDONLY | O_CLOEXEC));
	c->direct = ASSERT_SYS(open(c->path, O_RDONLY | O_DIRECT | O_CLOEXEC));
	c->mem = ASSERT_SYS(mmap(NULL, FILES_LENGTH, PROT_READ, MAP_SHARED, c->fd, 0));
}

static void verity_remount(struct files_case *c)
{
	verity_close(c);
	files_remount(&c->fs);
	verity_open(c);
}

/* Who had it open for writing lets go of it a moment later, maybe. */
static void verity_enable(struct files_case *c)
{
	struct fsverity_enable_arg arg = {
		.version = 1,
		.hash_algorithm = FS_VERITY_HASH_ALG_SHA256,
		.block_size = c->fs.block,
	};
	const uint64_t end = sys_now_ms() + SOON;
	int ret;

	do {
		ret = ioctl(c->fd, FS_IOC_ENABLE_VERITY, &arg) ? -errno : 0;
	} while (ret == -ETXTBSY && sys_now_ms() < end);
	if (ret == -ENOTTY || ret == -EOPNOTSUPP)
		SKIP("no verity: %s", strerror(-ret));
	ASSERT_EQ(0, ret);
	ASSERT_TRUE(flags_of(c) & FS_VERITY_FL);
}

struct verity_digest {
	struct fsverity_digest head;
	uint8_t bytes[64];
};

static void verity_measure(const struct files_case *c, struct verity_digest *digest)
{
	memset(digest, 0, sizeof(*digest));
	digest->head.digest_size = sizeof(digest->bytes);
	ASSERT_SYS(ioctl(c->fd, FS_IOC_MEASURE_VERITY, digest));
}

/* The digest of a file with the same bytes that no device has seen. */
static void verity_expect_digest(struct files_case *c, uint64_t value)
{
	struct files_case twin = { .fs = c->fs, .fd = -1, .direct = -1 };
	struct verity_digest digest, other;

	verity_measure(c, &digest);
	refused_open(&twin, "twin");
	refused_fill(&twin, value);
	verity_open(&twin);
	verity_enable(&twin);
	verity_measure(&twin, &other);
	verity_close(&twin);
	EXPECT_EQ(32, digest.head.digest_size);
	EXPECT_EQ(0, memcmp(&digest, &other, sizeof(digest)));
}

static void verity_expect(struct files_case *c, uint64_t value)
{
	EXPECT_FILE(c, DEVICE, 0, N, value);
	EXPECT_FILE(c, READ, 0, N, value);
	EXPECT_FILE(c, DIRECT, 0, N, value);
	EXPECT_FILE(c, SPLICE, 0, N, value);
	EXPECT_FILE(c, MAP, 0, N, value);
}

/* What the device wrote a moment ago is what is measured. */
TEST_F(verity, after_the_device_wrote)
{
	struct files_case *c = &self->c;

	files_own(c, 0, N, 0x1000);
	cpu_fill(c->mem + FILES_LENGTH / 2, N / 4, 0x1000 + N / 2);
	EXPECT_EQ(0x1000 + 3 * N / 4, *word(c->mem, 3 * N / 4));
	files_share(c, 3 * N / 4, N / 4, 0x1000);
	EXPECT_OWNED(c, 0, N / 2, N / 2);
	/* It can be mapped while it gets verity, by those who only read. */
	verity_open(c);
	if (c->device)
		EXPECT_GE(gpu_rmem(&c->gpu, HMM_RMEM_FILE), N / 2);
	verity_enable(c);
	EXPECT_OWNED(c, 0, N, 0);
	verity_expect(c, 0x1000);
	verity_expect_digest(c, 0x1000);
	/* Who cannot map it for writing cannot have his device write. */
	EXPECT_EQ(-1, open(c->path, O_RDWR | O_CLOEXEC));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, mprotect(c->mem, PAGE_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	for (size_t i = 0; i < N; i++)
		EXPECT_EQ(-EACCES, gpu_write(&c->gpu, c->mem + i * PAGE_SIZE, 0xbad));
	verity_expect(c, 0x1000);
	/* From the disk, and verified: by the device first, and by others first. */
	verity_remount(c);
	expect_in_place(c, N);
	verity_expect(c, 0x1000);
	verity_remount(c);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	expect_in_place(c, N);
	verity_expect(c, 0x1000);
}

/* The device reads it meanwhile, and has copies. */
TEST_F(verity, while_the_device_reads)
{
	struct files_case *c = &self->c;
	struct dgpu_job *jobs[16];
	struct dgpu_result result;

	files_own(c, 0, N, 0x1000);
	verity_open(c);
	files_share(c, 0, N, 0x1000);
	for (size_t i = 0; i < 16; i++)
		jobs[i] = gpu_start(&c->gpu, GPU_CHECK, 4, (uintptr_t)c->mem, N, PAGE_SIZE,
				    0x1000);
	verity_enable(c);
	for (size_t i = 0; i < 16; i++) {
		EXPECT_EQ(0, dgpu_job_wait(jobs[i], SOON, &result));
		EXPECT_EQ(DGPU_OK, result.status);
		dgpu_job_free(jobs[i]);
	}
	EXPECT_OWNED(c, 0, N, 0);
	verity_expect(c, 0x1000);
	verity_expect_digest(c, 0x1000);
	verity_remount(c);
	verity_expect(c, 0x1000);
	EXPECT_EQ(0, files_there(c, 0, N));
}

/* ---- who pays ---- */

#define WRITTEN		((long long)FILES_LENGTH)	/* by a round */
#define SLACK		(WRITTEN / 2)

FIXTURE(payer) {
	struct files_case c;
	struct sys_memcg a, b;
	char root[128];
	bool io;		/* it is we who have enabled the controller */
};

static int payer_controller(const struct harness_data_payer *self, const char *what)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", self->root);
	return sys_try_write(path, what);
}

/* Bytes written to the disk on account of a cgroup. */
static long long payer_wbytes(const struct harness_data_payer *self, const char *cgroup)
{
	char path[160], disk[32], *text, *line, *rest;
	long long bytes = 0;
	struct stat st;

	ASSERT_SYS(stat(self->c.fs.device, &st));
	snprintf(disk, sizeof(disk), "%u:%u ", major(st.st_rdev), minor(st.st_rdev));
	snprintf(path, sizeof(path), "%s/io.stat", cgroup);
	text = sys_text(path);
	if (!text)
		SKIP("cgroups have no io.stat");
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *at = strstr(line, "wbytes=");

		if (!strncmp(line, disk, strlen(disk)) && at)
			bytes = atoll(at + 7);
	}
	free(text);
	return bytes;
}

struct payer_account {
	long long a, b, all;
};

static struct payer_account payer_account(const struct harness_data_payer *self)
{
	return (struct payer_account) {
		.a = payer_wbytes(self, self->a.path),
		.b = payer_wbytes(self, self->b.path),
		.all = payer_wbytes(self, self->root),	/* the root's are those of the disk */
	};
}

/* What has been written since. */
static struct payer_account payer_since(const struct harness_data_payer *self,
					const struct payer_account *before)
{
	struct payer_account now = payer_account(self);

	now.a -= before->a;
	now.b -= before->b;
	now.all -= before->all;
	return now;
}

static void payer_log(const char *what, const struct payer_account *account)
{
	test_log("%s: %lld KiB by A, %lld by B, %lld in all", what, account->a >> 10,
		 account->b >> 10, account->all >> 10);
}

/* Begin anew as a process of a cgroup, with a device and files of its own. */
static void payer_enter(struct files_case *c, const struct sys_memcg *cg, const char *name)
{
	sys_memcg_enter(cg);
	/* The parent's are none of ours. */
	memset(&c->gpu, 0, sizeof(c->gpu));
	gpu_setup(&c->gpu);
	ASSERT_EQ(0, dgpu_set_policy(c->gpu.dev, HMM_POLICY_TOUCH));
	c->around = NULL;
	c->fd = c->direct = -1;
	refused_open(c, name);
}

/* Run a program in a child, and wait. */
#define PAYER_CHILD(program) do { \
	const pid_t payer_pid = ASSERT_SYS(fork()); \
	int payer_status; \
	if (!payer_pid) { \
		program; \
		_exit(0); \
	} \
	ASSERT_EQ(payer_pid, waitpid(payer_pid, &payer_status, 0)); \
	EXPECT_EQ(0, payer_status); \
} while (0)

/* A CPU writes: nothing can be told where that is not on account of its cgroup. */
static void payer_control(struct harness_data_payer *self)
{
	struct files_case c = self->c;
	struct payer_account before, paid;

	payer_enter(&c, &self->a, "control");
	before = payer_account(self);
	refused_fill(&c, 0x1000);
	ASSERT_SYS(fsync(c.fd));
	paid = payer_since(self, &before);
	payer_log("a CPU", &paid);
	if (paid.a < WRITTEN)
		SKIP("what is written back is on nobody's account (no CGROUP_WRITEBACK)");
}

FIXTURE_SETUP(payer)
{
	char path[160], *text;
	int ret;

	refused_case(&self->c, "", 4096, "delalloc,commit=600");
	sys_memcg_create(&self->a, "payer");
	sys_memcg_create(&self->b, "sibling");
	snprintf(self->root, sizeof(self->root), "%.*s",
		 (int)(strrchr(self->a.path, '/') - self->a.path), self->a.path);
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", self->root);
	text = sys_text(path);
	self->io = !text || !strstr(text, "io");
	free(text);
	ret = payer_controller(self, "+io");
	if (ret)
		self->io = false;
	if (ret)
		SKIP("no io controller: %s", strerror(-ret));
	PAYER_CHILD(payer_control(self));
	if (harness_report->skipped)
		harness_end();
}

FIXTURE_TEARDOWN(payer)
{
	files_case_end(&self->c);
	sys_memcg_destroy(&self->a);
	sys_memcg_destroy(&self->b);
	if (self->io)
		EXPECT_EQ(0, payer_controller(self, "-io"));
}

static void payer_sync(const struct sys_memcg *cg, int fd)
{
	sys_memcg_enter(cg);
	EXPECT_SYS(syncfs(fd));
}

/* Whoever syncs it: it is on account of who had it written. */
static void payer_writes(struct harness_data_payer *self)
{
	const unsigned long rounds = sys_scale(6);
	struct files_case c = self->c;
	struct payer_account before, paid;

	payer_enter(&c, &self->a, "mine");
	refused_fill(&c, 0x1000);
	ASSERT_SYS(fsync(c.fd));
	before = payer_account(self);
	for (uint64_t round = 2; round < rounds + 2; round++) {
		files_own(&c, 0, N, round << 12);
		if (round % 2)
			ASSERT_SYS(fsync(c.fd));
		else
			PAYER_CHILD(payer_sync(&self->b, c.fd));
	}
	paid = payer_since(self, &before);
	payer_log("the device", &paid);
	EXPECT_GE(paid.a, (long long)rounds * WRITTEN);
	EXPECT_LE(paid.a, (long long)rounds * WRITTEN + SLACK);
	EXPECT_LE(paid.b, SLACK);
	/* The journal is the root's. */
	EXPECT_LE(paid.all - paid.a, (long long)rounds * SLACK);
	EXPECT_FILE(&c, READ, 0, N, (rounds + 1) << 12);
}

TEST_F(payer, pays_for_what_its_device_writes)
{
	PAYER_CHILD(payer_writes(self));
}

/* Blocks that are new, and pages that nobody had: the device's thread brings them in. */
static void payer_holes(struct harness_data_payer *self)
{
	struct files_case c = self->c;
	struct payer_account before, paid;

	payer_enter(&c, &self->a, "holes");
	ASSERT_SYS(ftruncate(c.fd, (off_t)FILES_LENGTH));
	before = payer_account(self);
	ASSERT_EQ(0, gpu_fill(&c.gpu, c.mem, N, 0x1000));
	EXPECT_OWNED(&c, 0, N, N);
	ASSERT_SYS(fsync(c.fd));
	paid = payer_since(self, &before);
	payer_log("holes", &paid);
	EXPECT_GE(paid.a, WRITTEN);
	EXPECT_LE(paid.a, WRITTEN + SLACK);
	EXPECT_LE(paid.b, SLACK);
}

TEST_F(payer, pays_for_holes)
{
	PAYER_CHILD(payer_holes(self));
}

/* One is the first to write to a file since its inode was read from the disk. */
static void payer_cold(struct harness_data_payer *self, const char *name, bool device)
{
	struct files_case c = self->c;
	struct payer_account before, paid;

	payer_enter(&c, &self->a, name);
	before = payer_account(self);
	if (device)
		ASSERT_EQ(0, gpu_fill(&c.gpu, c.mem, N, 0x1000));
	else
		cpu_fill(c.mem, N, 0x1000);
	ASSERT_SYS(fsync(c.fd));
	paid = payer_since(self, &before);
	payer_log(device ? "the device first" : "a CPU first", &paid);
	EXPECT_GE(paid.a, WRITTEN);
	EXPECT_LE(paid.a, WRITTEN + SLACK);
	EXPECT_LE(paid.b, SLACK);
}

TEST_F(payer, pays_for_a_file_that_nobody_else_wrote)
{
	files_case_close(&self->c);
	files_remount(&self->c.fs);
	PAYER_CHILD(payer_cold(self, "control", false));
	PAYER_CHILD(payer_cold(self, "file", true));
}

static void payer_first(struct harness_data_payer *self)
{
	struct files_case c = self->c;

	payer_enter(&c, &self->a, "shared");
	refused_fill(&c, 0x1000);
	files_own(&c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c.fd));
}

/*
 * Another one writes to it, again and again: after a while the inode is his.  Pages are charged
 * to who brought them in, so they have to go first.
 */
static void payer_second(struct harness_data_payer *self)
{
	struct files_case c = self->c;
	struct payer_account before, paid;
	unsigned int round, his = 0;

	payer_enter(&c, &self->b, "shared");
	ASSERT_EQ(0, posix_fadvise(c.fd, 0, 0, POSIX_FADV_DONTNEED));
	for (round = 0; round < 60 && his < 3; round++) {
		before = payer_account(self);
		files_own(&c, 0, N, (round + 2) << 12);
		ASSERT_SYS(fsync(c.fd));
		paid = payer_since(self, &before);
		/* One of them pays, and not twice. */
		EXPECT_GE(paid.a + paid.b, WRITTEN);
		EXPECT_LE(paid.a + paid.b, WRITTEN + SLACK);
		if (paid.b >= WRITTEN)
			his++;
		else
			EXPECT_EQ(0, his);
		/* It is switched by a work, a grace period later. */
		sys_sleep_ms(100);
	}
	test_log("B pays after %u rounds", round - his);
	payer_log("the last round", &paid);
	EXPECT_EQ(3, his);
	EXPECT_LE(paid.a, SLACK);
	EXPECT_FILE(&c, READ, 0, N, (round + 1) << 12);
}

TEST_F(payer, changes_to_who_writes_most)
{
	PAYER_CHILD(payer_first(self));
	PAYER_CHILD(payer_second(self));
	refused_open(&self->c, "shared");
	EXPECT_TRUE(EXPECT_FILE(&self->c, READ, 0, 1, *word(self->c.mem, 0)));
}

static void payer_leaves(struct harness_data_payer *self)
{
	struct files_case c = self->c;

	payer_enter(&c, &self->a, "left");
	refused_fill(&c, 0x1000);
	ASSERT_SYS(fsync(c.fd));
	files_own(&c, 0, N, 0x2000);
}

/* The cgroup goes before what its device wrote is on the disk: no other one has to pay. */
TEST_F(payer, is_gone)
{
	struct files_case *c = &self->c;
	struct payer_account before = { 0 };

	PAYER_CHILD(payer_leaves(self));
	sys_memcg_destroy(&self->a);
	before.b = payer_wbytes(self, self->b.path);
	PAYER_CHILD(payer_sync(&self->b, self->c.fd));
	EXPECT_LE(payer_wbytes(self, self->b.path) - before.b, SLACK);
	refused_open(c, "left");
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
	files_own(c, 0, N, 0x3000);
	EXPECT_FILE(c, READ, 0, N, 0x3000);
}

GPU_POOL_TEST

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

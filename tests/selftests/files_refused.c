// SPDX-License-Identifier: GPL-2.0
/*
 * Files that must not be on a device, or not be written to by it.
 *
 * A device is refused what a CPU is refused: what is immutable, or has verity.  Files whose
 * bytes are not in pages, or change on their way there, are used in place, with the right bytes.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fscrypt.h>
#include <linux/fsverity.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

/*
 * The device is writing all the time: it is stopped as soon as its page has been cleaned.
 * Setting the flag cleans it a moment before it is forbidden to write, and ext4 asks for the
 * flag early, as for a CPU: who has been let through makes the page writable once more.
 *
 *	fault of the device			here
 *	ext4_page_mkwrite(): not immutable
 *	file_update_time(): waits for
 *	 the journal
 *						the flag is set
 *						fsync(): the page is clean
 *	the page is dirty, and writable
 *						fsync(): the page is protected
 *	ext4_page_mkwrite(): immutable
 */
TEST_F(flags, immutable_while_it_writes)
{
	struct files_case *c = &self->c;
	struct dgpu_result result = { 0 };
	uint64_t seen, end, before = 0;
	struct dgpu_job *job;
	int ret;

	files_own(c, 0, 1, 0);
	job = gpu_start(&c->gpu, GPU_INCR, 1, (uintptr_t)c->mem, 1ul << 40, 0, 0);
	for (int tries = 0; !before && tries < 3000; tries++) {
		ASSERT_EQ(8, pread(c->fd, &before, 8, 0));
		sys_sleep_ms(10);
	}
	EXPECT_GT(before, 0);
	flags_change(c, FS_IMMUTABLE_FL, 0);
	end = sys_now_ms() + SOON;
	do {
		ASSERT_SYS(fsync(c->fd));
		ret = dgpu_job_wait(job, 2000, &result);
	} while (ret == -ETIME && sys_now_ms() < end);
	EXPECT_EQ(0, ret);
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
	files_case_open_other(c, "small");
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
	files_fill(c, 0x3000);
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

	files_case_open_other(&twin, "twin");
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
	files_case_open_other(c, "twin");
	kept = *word(c->mem, 0);
	if (kept != 0x2000)
		test_log("this kernel forgets what a CPU has written: %#jx", (uintmax_t)kept);
	files_case_open_other(c, "small");
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

	files_case_open_other(c, "new");
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
	files_case_open_other(c, "secret/file");
	files_fill(c, 0x1000);
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
	files_case_open_other(c, "file");
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
	files_case_open_other(&twin, "twin");
	files_fill(&twin, value);
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

GPU_POOL_TEST

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

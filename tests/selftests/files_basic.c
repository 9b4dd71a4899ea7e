// SPDX-License-Identifier: GPL-2.0
/*
 * Where pages of a file are when a device uses it: which of them go to the device, with what
 * rights, how often they are copied, and who has them then.
 *
 * What everybody else does with the file meanwhile is in files_hazards.c.  Here it is the
 * device's side: policies and hints, several processes and mappings, files that are larger
 * than the memory.  Counters of the device's memory prove where the pages have been.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include "chip.h"
#include "files_case.h"
#include "sys.h"

#define N	FILES_PAGES

static char basic_local_mb[64];	/* of the driver, before the first test */

static void basic_begin(void)
{
	files_program_begin();
	chip_module_parameter("local_mb", basic_local_mb, sizeof(basic_local_mb));
}

static int basic_end(void)
{
	struct chip_module module;
	const int ret = files_program_end();
	char now[64] = "";

	chip_module_parameter("local_mb", now, sizeof(now));
	if (!strcmp(now, basic_local_mb) || !chip_module_find(&module))
		return ret;
	return chip_module_reload(&module, "") ?: ret;
}

FIXTURE(basic) {
	struct files_case c;
};

FIXTURE_SETUP(basic)
{
	files_case_begin(&self->c, 4096, NULL);
	files_case_hold(&self->c);
	if (!self->c.device)
		SKIP("nothing to be seen of pages that are used in place");
}

FIXTURE_TEARDOWN(basic)
{
	files_case_end(&self->c);
}

/* A file of @npages that begin with @value + page, written, and not in use. */
static int basic_file(struct files_case *c, const char *name, size_t npages, uint64_t value)
{
	static uint64_t page[PAGE_SIZE / 8];
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", c->fs.dir, name);
	fd = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	for (size_t i = 0; i < npages; i++) {
		page[0] = value + i;
		ASSERT_EQ(PAGE_SIZE, write(fd, page, PAGE_SIZE));
	}
	ASSERT_SYS(fsync(fd));
	return fd;
}

/* The words of the pages of the file of the case. */
static void basic_words(struct files_case *c, uint64_t value)
{
	for (size_t i = 0; i < N; i++) {
		const uint64_t one = value + i;

		ASSERT_EQ(8, pwrite(c->fd, &one, 8, (off_t)(i * PAGE_SIZE)));
	}
	ASSERT_SYS(fsync(c->fd));
}

/*
 * Map a file where nothing else is: what is around a page that the device wants comes along,
 * and would be counted.
 */
static char *basic_map(int fd, size_t npages, int prot)
{
	const size_t length = npages * PAGE_SIZE;
	char *room = ASSERT_SYS(mmap(NULL, length + 3 * HUGE_SIZE, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	room = (char *)(((uintptr_t)room + 2 * HUGE_SIZE) & ~(HUGE_SIZE - 1));
	return ASSERT_SYS(mmap(room, length, prot, MAP_SHARED | MAP_FIXED, fd, 0));
}

/* As munmap(), but nothing else gets there. */
static void basic_unmap(char *mem, size_t npages)
{
	ASSERT_SYS(mmap(mem, npages * PAGE_SIZE, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

/* To read makes a copy of each page, once, and everybody reads on. */
TEST_F(basic, read_shares)
{
	struct files_case *c = &self->c;
	uint64_t in, owned = gpu_rmem(&c->gpu, HMM_RMEM_FILE_OWNED);

	basic_words(c, 0x1000);
	files_share(c, 0, N, 0x1000);
	EXPECT_OWNED(c, 0, N, 0);
	EXPECT_GE(gpu_rmem(&c->gpu, HMM_RMEM_FILE), N);
	EXPECT_EQ(owned, gpu_rmem(&c->gpu, HMM_RMEM_FILE_OWNED));
	in = gpu_rmem(&c->gpu, HMM_RMEM_IN);
	EXPECT_FILE(c, READ, 0, N, 0x1000);
	EXPECT_FILE(c, MAP, 0, N, 0x1000);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	EXPECT_EQ(N, files_there(c, 0, N));
	EXPECT_PLACE(&c->gpu, c->mem, N, DEVICE);
	EXPECT_EQ(in, gpu_rmem(&c->gpu, HMM_RMEM_IN));
}

/* To write makes this page the device's own, and no other. */
TEST_F(basic, write_owns_one)
{
	struct files_case *c = &self->c;
	uint64_t owned;

	basic_words(c, 0x1000);
	files_share(c, 0, N, 0x1000);
	owned = gpu_rmem(&c->gpu, HMM_RMEM_FILE_OWNED);
	ASSERT_EQ(0, gpu_write(&c->gpu, word(c->mem, 7), 0x7777));
	EXPECT_EQ(owned + 1, gpu_rmem(&c->gpu, HMM_RMEM_FILE_OWNED));
	EXPECT_OWNED(c, 7, 1, 1);
	EXPECT_OWNED(c, 0, N, 1);
	EXPECT_EQ(N, files_there(c, 0, N));
	/* Writeback takes the right to write away, and not the page. */
	ASSERT_SYS(fsync(c->fd));
	EXPECT_OWNED(c, 0, N, 0);
	EXPECT_EQ(0x7777, gpu_see(&c->gpu, word(c->mem, 7)));
	EXPECT_EQ(0x1008, gpu_see(&c->gpu, word(c->mem, 8)));
	EXPECT_PLACE(&c->gpu, c->mem, N, DEVICE);
	EXPECT_EQ(0x7777, *word(c->mem, 7));
}

/* A file that nobody may write to, read by several processes: it is there once. */
TEST_F(basic, weights)
{
	struct files_case *c = &self->c;
	const size_t npages = harness_slow_kernel() ? 512 : 2048;
	uint64_t in, file = gpu_rmem(&c->gpu, HMM_RMEM_FILE);
	char path[200];
	char *mem;
	int fd;

	close(basic_file(c, "weights", npages, 0x100000));
	snprintf(path, sizeof(path), "%s/weights", c->fs.dir);
	fd = ASSERT_SYS(open(path, O_RDONLY | O_CLOEXEC));
	mem = basic_map(fd, npages, PROT_READ);
	gpu_move_in(&c->gpu, mem, npages);
	EXPECT_EQ(0, gpu_check(&c->gpu, mem, npages, 0x100000));
	EXPECT_EQ(npages, gpu_rmem(&c->gpu, HMM_RMEM_FILE) - file);
	in = gpu_rmem(&c->gpu, HMM_RMEM_IN);
	for (int i = 0; i < 3; i++) {
		pid_t pid = ASSERT_SYS(fork());
		int status;

		if (!pid) {
			struct gpu gpu = { 0 };

			gpu_setup(&gpu);
			EXPECT_EQ(0, gpu_check(&gpu, mem, npages, 0x100000));
			EXPECT_EQ(npages, gpu_ptes(&gpu, mem, npages,
						   DGPU_PTE_VALID | DGPU_PTE_LOCAL));
			EXPECT_PLACE(&gpu, mem, npages, DEVICE);
			EXPECT_EQ(-EACCES, gpu_write(&gpu, word(mem, 3), 1));
			gpu_teardown(&gpu);
			_exit(harness_report->failures ? 1 : 0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(in, gpu_rmem(&c->gpu, HMM_RMEM_IN));
	EXPECT_EQ(npages, gpu_rmem(&c->gpu, HMM_RMEM_FILE) - file);
	EXPECT_TRUE(cpu_check(mem, npages, 0x100000));
	EXPECT_PLACE(&c->gpu, mem, npages, DEVICE);
	basic_unmap(mem, npages);
	close(fd);
}

/* Two mappings of one file in a process have one page, and lose it together. */
TEST_F(basic, two_mappings)
{
	struct files_case *c = &self->c;
	const uint64_t one = 0x1234;
	char *again = basic_map(c->fd, N, PROT_READ | PROT_WRITE);
	uint64_t in;

	files_own(c, 0, N, 0x1000);
	in = gpu_rmem(&c->gpu, HMM_RMEM_IN);
	EXPECT_EQ(0, gpu_check(&c->gpu, again, N, 0x1000));
	EXPECT_EQ(N, gpu_ptes(&c->gpu, again, N, DGPU_PTE_VALID | DGPU_PTE_LOCAL));
	ASSERT_EQ(0, gpu_fill(&c->gpu, again, N, 0x2000));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x2000));
	EXPECT_EQ(in, gpu_rmem(&c->gpu, HMM_RMEM_IN));
	ASSERT_EQ(8, pwrite(c->fd, &one, 8, 5 * PAGE_SIZE));
	EXPECT_EQ(0, gpu_pte(&c->gpu, word(c->mem, 5)) & DGPU_PTE_VALID);
	EXPECT_EQ(0, gpu_pte(&c->gpu, word(again, 5)) & DGPU_PTE_VALID);
	EXPECT_EQ(one, gpu_see(&c->gpu, word(again, 5)));
	basic_unmap(again, N);
	EXPECT_EQ(0x2006, gpu_see(&c->gpu, word(c->mem, 6)));
}

/* A mapping that moves, or goes and comes back, leaves the pages where they are. */
TEST_F(basic, mapping_moves)
{
	struct files_case *c = &self->c;
	/* There, too, nothing is near it. */
	char *from = c->mem, *to = from + HUGE_SIZE;
	uint64_t in, out;

	files_own(c, 0, N, 0x1000);
	in = gpu_rmem(&c->gpu, HMM_RMEM_IN);
	out = gpu_rmem(&c->gpu, HMM_RMEM_OUT);
	c->mem = ASSERT_SYS(mremap(from, FILES_LENGTH, FILES_LENGTH,
				   MREMAP_MAYMOVE | MREMAP_FIXED, to));
	basic_unmap(from, N);
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	basic_unmap(c->mem, N);
	c->mem = ASSERT_SYS(mmap(from, FILES_LENGTH, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, c->fd, 0));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	EXPECT_EQ(N, files_there(c, 0, N));
	EXPECT_EQ(in, gpu_rmem(&c->gpu, HMM_RMEM_IN));
	EXPECT_EQ(out, gpu_rmem(&c->gpu, HMM_RMEM_OUT));
	EXPECT_FILE(c, READ, 0, N, 0x1000);
}

/* What the program says of a range goes for files, too. */
TEST_F(basic, hints)
{
	struct files_case *c = &self->c;
	struct dgpu_hint in_place = { .flags = HMM_HINT_IN_PLACE };
	struct dgpu_hint read_mostly = { .flags = HMM_HINT_READ_MOSTLY };
	char *half = c->mem + N / 2 * PAGE_SIZE;
	uint64_t in = gpu_rmem(&c->gpu, HMM_RMEM_IN);

	basic_words(c, 0x1000);
	ASSERT_EQ(0, dgpu_set_hint(c->gpu.dev, c->mem, N / 2 * PAGE_SIZE, &in_place));
	ASSERT_EQ(0, dgpu_set_hint(c->gpu.dev, half, N / 2 * PAGE_SIZE, &read_mostly));
	EXPECT_EQ(0, gpu_check(&c->gpu, c->mem, N, 0x1000));
	EXPECT_EQ(0, gpu_fill(&c->gpu, c->mem, N / 2, 0x2000));
	EXPECT_EQ(0, files_there(c, 0, N));
	EXPECT_EQ(in, gpu_rmem(&c->gpu, HMM_RMEM_IN));
	EXPECT_TRUE(cpu_check(c->mem, N / 2, 0x2000));
	files_own(c, N / 2, N / 2, 0x2000);
	EXPECT_EQ(0, files_there(c, 0, N / 2));
	EXPECT_FILE(c, READ, 0, N, 0x2000);
}

/* Files of a file system that has not been taught are used where they are. */
TEST_F(basic, not_taught)
{
	struct files_case *c = &self->c;
	uint64_t file = gpu_rmem(&c->gpu, HMM_RMEM_FILE);
	struct gpu_moved moved;
	char *mem;
	int fd;

	fd = ASSERT_SYS(memfd_create("files_basic", MFD_CLOEXEC));
	ASSERT_SYS(ftruncate(fd, FILES_LENGTH));
	mem = ASSERT_SYS(mmap(NULL, FILES_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	ASSERT_EQ(0, gpu_fill(&c->gpu, mem, N, 0x1000));
	EXPECT_TRUE(cpu_check(mem, N, 0x1000));
	gpu_migrate(&c->gpu, mem, N, 0, &moved);
	EXPECT_EQ(-EOPNOTSUPP, moved.ret);
	EXPECT_RESULTS(&moved, 0, N, UNSUPPORTED);
	EXPECT_EQ(0, gpu_ptes(&c->gpu, mem, N, DGPU_PTE_VALID | DGPU_PTE_LOCAL));
	EXPECT_EQ(file, gpu_rmem(&c->gpu, HMM_RMEM_FILE));
	close(fd);
}

/* A migration of a range of mappings of all kinds: each page has its own result. */
TEST_F(basic, migrate_mixture)
{
	struct files_case *c = &self->c;
	const bool files_only = chip_no_memory(c->gpu.dev);
	struct gpu_moved moved;
	char *mem;

	basic_words(c, 0x1000);
	mem = ASSERT_SYS(mmap(NULL, 40 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			      0));
	/* File, anonymous, file, hole, private file, file beyond its end. */
	ASSERT_SYS(mmap(mem, 8 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			c->fd, 0));
	ASSERT_SYS(mmap(mem + 8 * PAGE_SIZE, 8 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	cpu_fill(mem + 8 * PAGE_SIZE, 8, 0x2000);
	ASSERT_SYS(mmap(mem + 16 * PAGE_SIZE, 8 * PAGE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED,
			c->fd, 8 * PAGE_SIZE));
	ASSERT_SYS(munmap(mem + 24 * PAGE_SIZE, 4 * PAGE_SIZE));
	ASSERT_SYS(mmap(mem + 28 * PAGE_SIZE, 4 * PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED,
			c->fd, 0));
	ASSERT_SYS(mmap(mem + 32 * PAGE_SIZE, 8 * PAGE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED,
			c->fd, FILES_LENGTH - 4 * PAGE_SIZE));
	gpu_move_in(&c->gpu, mem, 8);
	if (!files_only)
		gpu_move_in(&c->gpu, mem + 8 * PAGE_SIZE, 8);
	gpu_move_in(&c->gpu, mem + 16 * PAGE_SIZE, 8);
	gpu_move_in(&c->gpu, mem + 32 * PAGE_SIZE, 4);
	gpu_migrate(&c->gpu, mem, 40, 0, &moved);
	EXPECT_EQ(files_only ? -EOPNOTSUPP : -EFAULT, moved.ret);
	EXPECT_RESULTS(&moved, 0, 8, THERE);
	if (files_only)
		EXPECT_RESULTS(&moved, 8, 8, UNSUPPORTED);
	else
		EXPECT_RESULTS(&moved, 8, 8, THERE);
	EXPECT_RESULTS(&moved, 16, 8, THERE);
	EXPECT_RESULTS(&moved, 24, 4, UNMAPPED);
	EXPECT_RESULTS(&moved, 28, 4, UNSUPPORTED);
	EXPECT_RESULTS(&moved, 32, 4, THERE);
	EXPECT_RESULTS(&moved, 36, 4, UNMAPPED);
	EXPECT_EQ(0, gpu_check(&c->gpu, mem, 8, 0x1000));
	EXPECT_EQ(0, gpu_check(&c->gpu, mem + 8 * PAGE_SIZE, 8, 0x2000));
	EXPECT_EQ(0, gpu_check(&c->gpu, mem + 16 * PAGE_SIZE, 8, 0x1008));
	ASSERT_SYS(munmap(mem, 40 * PAGE_SIZE));
}

/* Into a hole of a file: blocks come into being, and what nobody wrote is zero. */
TEST_F(basic, sparse)
{
	struct files_case *c = &self->c;
	uint64_t seen;
	char path[200];
	char *mem;
	int fd;

	snprintf(path, sizeof(path), "%s/sparse", c->fs.dir);
	fd = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	ASSERT_SYS(ftruncate(fd, FILES_LENGTH));
	mem = ASSERT_SYS(mmap(NULL, FILES_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	for (size_t i = 0; i < N; i += 2)
		ASSERT_EQ(0, gpu_write(&c->gpu, word(mem, i), 0x1000 + i));
	for (size_t i = 0; i < N; i++)
		EXPECT_EQ(i % 2 ? 0 : 0x1000 + i, gpu_see(&c->gpu, word(mem, i)));
	ASSERT_SYS(fsync(fd));
	for (size_t i = 0; i < N; i++) {
		ASSERT_EQ(8, pread(fd, &seen, 8, (off_t)(i * PAGE_SIZE)));
		EXPECT_EQ(i % 2 ? 0 : 0x1000 + i, seen);
	}
	ASSERT_SYS(munmap(mem, FILES_LENGTH));
	close(fd);
}

/* ---- a file that is larger than the memory ---- */

/* ---- folios larger than a page ---- */

#define KPF_COMPOUND	(3ull << 15)	/* head and tail */

/* How many pages, which the CPU maps from here on, are parts of larger folios. */
static size_t basic_large(const char *mem, size_t npages)
{
	const int fd = ASSERT_SYS(open("/proc/kpageflags", O_RDONLY | O_CLOEXEC));
	uint64_t flags;
	size_t n = 0;

	for (size_t i = 0; i < npages; i++) {
		const volatile char *at = mem + i * PAGE_SIZE;

		(void)*at;
		ASSERT_EQ(8, pread(fd, &flags, 8, (off_t)((sys_pagemap(at) & SYS_PM_PFN) * 8)));
		n += !!(flags & KPF_COMPOUND);
	}
	close(fd);
	return n;
}

/*
 * Where the kernel's ext4 has folios larger than a page, so have files that no device moves
 * pages of.  They are gone when the first page moves.  If somebody uses one of them it stays,
 * and the device uses the file in place.
 */
TEST_F(basic, large_folios)
{
	struct files_case *c = &self->c;
	const size_t npages = 128, bytes = npages * PAGE_SIZE;
	uint64_t *words = ASSERT_SYS(mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	struct iovec iov = { .iov_len = PAGE_SIZE };
	const uint64_t end = sys_now_ms() + 100000;
	char path[200], *mem;
	int fd, fds[2];
	uint64_t moved;

	for (size_t i = 0; i < npages; i++)
		words[i * PAGE_SIZE / 8] = 0x1000 + i;
	snprintf(path, sizeof(path), "%s/large", c->fs.dir);
	fd = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	ASSERT_EQ((ssize_t)bytes, write(fd, words, bytes));
	mem = basic_map(fd, npages, PROT_READ | PROT_WRITE);
	/* The page that is kept has to be in one. */
	if (!basic_large(mem + 5 * PAGE_SIZE, 1)) {
		basic_unmap(mem, npages);
		close(fd);
		SKIP("no file on %s has folios larger than a page", c->fs.type);
	}
	ASSERT_SYS(pipe2(fds, O_CLOEXEC));
	iov.iov_base = mem + 5 * PAGE_SIZE;
	ASSERT_EQ(PAGE_SIZE, vmsplice(fds[1], &iov, 1, 0));
	EXPECT_EQ(-EBUSY, dgpu_migrate(c->gpu.dev, mem, bytes, 0, NULL, &moved));
	EXPECT_EQ(0, moved);
	EXPECT_EQ(0, gpu_fill(&c->gpu, mem, npages, 0x2000));
	/* Tried again meanwhile, which takes what is mapped away, but not what is kept. */
	EXPECT_TRUE(cpu_check(mem, npages, 0x2000));
	EXPECT_PLACE(&c->gpu, mem, npages, SYSTEM);
	EXPECT_GT(basic_large(mem, npages), 0);
	close(fds[0]);
	close(fds[1]);

	/* After a failure there is a pause, and each is twice as long. */
	while (dgpu_migrate(c->gpu.dev, mem, bytes, 0, NULL, NULL) && sys_now_ms() < end)
		sys_sleep_ms(50);
	EXPECT_EQ(0, gpu_check(&c->gpu, mem, npages, 0x2000));
	EXPECT_PLACE(&c->gpu, mem, npages, DEVICE);
	EXPECT_EQ(0, gpu_fill(&c->gpu, mem, npages, 0x3000));
	EXPECT_TRUE(cpu_check(mem, npages, 0x3000));
	EXPECT_EQ(0, basic_large(mem, npages));
	/* Nor do new ones come. */
	ASSERT_EQ((ssize_t)bytes, pwrite(fd, words, bytes, 0));
	EXPECT_EQ(0, basic_large(mem, npages));
	EXPECT_EQ(0, gpu_check(&c->gpu, mem, npages, 0x1000));
	basic_unmap(mem, npages);
	close(fd);
	munmap(words, bytes);
}

FIXTURE(large) {
	struct files_case c;
};

FIXTURE_SETUP(large)
{
	struct chip_module module;
	char now[64];

	if (!chip_module_find(&module))
		SKIP("where dummy_gpu.ko is cannot be told: set DGPU_MODULE");
	if (!chip_module_parameter("local_mb", now, sizeof(now)) || strcmp(now, "4"))
		ASSERT_EQ(0, chip_module_reload(&module, "local_mb=4"));
	files_case_begin(&self->c, 4096, NULL);
	files_case_hold(&self->c);
	if (!self->c.device)
		SKIP("nothing to be seen of pages that are used in place");
}

FIXTURE_TEARDOWN(large)
{
	files_case_end(&self->c);
}

TEST_F(large, is_evicted)
{
	struct files_case *c = &self->c;
	const size_t npages = 1024 + sys_scale(1024);
	const uint64_t last = 1 + sys_scale(2);
	uint64_t evicted = gpu_rmem(&c->gpu, HMM_RMEM_OUT_EVICT);
	int fd = basic_file(c, "large", npages, 0x100000);
	static uint64_t page[PAGE_SIZE / 8];
	char *mem;

	mem = ASSERT_SYS(mmap(NULL, npages * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			      0));
	ASSERT_EQ(0, gpu_check(&c->gpu, mem, npages, 0x100000));
	for (uint64_t round = 2; round <= last; round++) {
		ASSERT_EQ(0, gpu_fill(&c->gpu, mem, npages, round << 20));
		ASSERT_EQ(0, gpu_check(&c->gpu, mem, npages, round << 20));
	}
	EXPECT_GE(gpu_rmem(&c->gpu, HMM_RMEM_OUT_EVICT), evicted + npages - 1024);
	EXPECT_LE(gpu_rmem(&c->gpu, HMM_RMEM_USED), gpu_rmem(&c->gpu, HMM_RMEM_TOTAL));
	EXPECT_GT(gpu_rmem(&c->gpu, HMM_RMEM_FILE), 0);
	EXPECT_EQ(0, gpu_rmem(&c->gpu, HMM_RMEM_LOST));
	for (size_t i = 0; i < npages; i++) {
		ASSERT_EQ(PAGE_SIZE, pread(fd, page, PAGE_SIZE, (off_t)(i * PAGE_SIZE)));
		if (!EXPECT_EQ((last << 20) + i, page[0]))
			break;
	}
	ASSERT_SYS(munmap(mem, npages * PAGE_SIZE));
	close(fd);
}

/* Anonymous memory and pages of files make room for each other. */
TEST_F(large, beside_anonymous_memory)
{
	struct files_case *c = &self->c;
	const size_t npages = 540 + sys_scale(228);
	const uint64_t last = 3 + sys_scale(2);
	int fd = basic_file(c, "beside", npages, 0x100000);
	volatile void *anon = sys_pages(npages);
	char *mem;

	mem = ASSERT_SYS(mmap(NULL, npages * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			      0));
	cpu_fill(anon, npages, 0x200000);
	for (uint64_t round = 3; round <= last; round++) {
		ASSERT_EQ(0, gpu_fill(&c->gpu, mem, npages, round << 20));
		ASSERT_EQ(0, gpu_fill(&c->gpu, anon, npages, round << 24));
		ASSERT_EQ(0, gpu_check(&c->gpu, mem, npages, round << 20));
		ASSERT_EQ(0, gpu_check(&c->gpu, anon, npages, round << 24));
	}
	EXPECT_GT(gpu_rmem(&c->gpu, HMM_RMEM_OUT_EVICT), 0);
	EXPECT_EQ(0, gpu_rmem(&c->gpu, HMM_RMEM_LOST));
	EXPECT_TRUE(cpu_check(mem, npages, last << 20));
	EXPECT_TRUE(cpu_check(anon, npages, last << 24));
	ASSERT_SYS(munmap(mem, npages * PAGE_SIZE));
	close(fd);
}

GPU_POOL_TEST

HARNESS_MAIN_AROUND(basic_begin, basic_end)

// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges that cannot move, or not all of them: holes, hugetlb, special mappings, pieces
 * of all kinds in one request; and requests that are wrong in themselves.
 *
 * Of every request the pages that can move do, each page has its result, and the error
 * is that of the first that did not.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define LOCAL	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)

FIXTURE(bad) {
	struct gpu gpu;
	char *mem;	/* NPAGES in system memory: 0x1000, ... */
	uint64_t used;
};

FIXTURE_SETUP(bad)
{
	gpu_setup_memory(&self->gpu);
	self->mem = sys_pages(NPAGES);
	cpu_fill(self->mem, NPAGES, 0x1000);
	/* Pages that are fresh are in use for a moment: not any more. */
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	gpu_move_out(&self->gpu, self->mem, NPAGES);
	self->used = gpu_rmem(&self->gpu, HMM_RMEM_USED);
}

FIXTURE_TEARDOWN(bad)
{
	gpu_teardown(&self->gpu);
}

/* One request, tried again while a page that should move is in use for a moment. */
static void migrate(struct gpu *gpu, const void *addr, size_t npages, size_t movable,
		    struct gpu_moved *moved)
{
	const uint64_t end = sys_patience_ms();

	for (;;) {
		gpu_migrate(gpu, addr, npages, 0, moved);
		if (moved->count[HMM_PAGE_MOVED] + moved->count[HMM_PAGE_THERE] >= movable ||
		    sys_now_ms() > end)
			break;
		sys_sleep_ms(10);
	}
}

/* ---- holes ---- */

TEST_F(bad, hole)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	ASSERT_SYS(munmap(self->mem + 4 * PAGE_SIZE, 4 * PAGE_SIZE));
	migrate(gpu, self->mem, NPAGES, NPAGES - 4, &moved);
	EXPECT_EQ(-EFAULT, moved.ret);
	EXPECT_EQ(NPAGES - 4, moved.count[HMM_PAGE_MOVED] + moved.count[HMM_PAGE_THERE]);
	EXPECT_RESULTS(&moved, 4, 4, UNMAPPED);
	EXPECT_PLACE(gpu, self->mem, 4, DEVICE);
	EXPECT_PLACE(gpu, self->mem + 4 * PAGE_SIZE, 4, NONE);
	EXPECT_PLACE(gpu, self->mem + 8 * PAGE_SIZE, 8, DEVICE);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 4, 0x1000));
	/* And back, over the hole. */
	gpu_migrate(gpu, self->mem, NPAGES, DGPU_MIGRATE_TO_SYSTEM, &moved);
	EXPECT_EQ(-EFAULT, moved.ret);
	EXPECT_EQ(NPAGES - 4, moved.moved);
	EXPECT_RESULTS(&moved, 0, 4, MOVED);
	EXPECT_RESULTS(&moved, 4, 4, UNMAPPED);
	EXPECT_RESULTS(&moved, 8, 8, MOVED);
	EXPECT_TRUE(cpu_check(self->mem + 8 * PAGE_SIZE, 8, 0x1008));
}

TEST_F(bad, holes_at_the_ends)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	ASSERT_SYS(munmap(self->mem, 2 * PAGE_SIZE));
	ASSERT_SYS(munmap(self->mem + (NPAGES - 2) * PAGE_SIZE, 2 * PAGE_SIZE));
	migrate(gpu, self->mem, NPAGES, NPAGES - 4, &moved);
	EXPECT_EQ(-EFAULT, moved.ret);
	EXPECT_RESULTS(&moved, 0, 2, UNMAPPED);
	EXPECT_RESULTS(&moved, NPAGES - 2, 2, UNMAPPED);
	EXPECT_PLACE(gpu, self->mem + 2 * PAGE_SIZE, NPAGES - 4, DEVICE);
}

TEST_F(bad, nothing_but_a_hole)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	ASSERT_SYS(munmap(self->mem, LENGTH));
	for (uint32_t flags = 0; flags <= DGPU_MIGRATE_POPULATE; flags++) {
		gpu_migrate(gpu, self->mem, NPAGES, flags, &moved);
		EXPECT_EQ(-EFAULT, moved.ret);
		EXPECT_EQ(0, moved.moved);
		EXPECT_RESULTS(&moved, 0, NPAGES, UNMAPPED);
	}
}

/* A range that is much larger than what is mapped in it. */
TEST_F(bad, mostly_hole)
{
	const size_t npages = 1ul << 18;	/* 1 GiB */
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	char *area;

	/* Far from where the kernel puts what malloc() asks for: it would fill the holes. */
	area = ASSERT_SYS(mmap((void *)(1ul << 44), npages * PAGE_SIZE, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			       MAP_FIXED_NOREPLACE, -1, 0));
	ASSERT_SYS(munmap(area, npages * PAGE_SIZE));
	for (size_t i = 0; i < 4; i++) {
		char *page = area + (i * (npages / 4) + i) * PAGE_SIZE;

		ASSERT_EQ(page, mmap(page, PAGE_SIZE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
		*word(page, 0) = 0x1000 + i;
	}
	migrate(gpu, area, npages, 4, &moved);
	EXPECT_EQ(4, moved.count[HMM_PAGE_MOVED] + moved.count[HMM_PAGE_THERE]);
	EXPECT_EQ(npages - 4, moved.count[HMM_PAGE_UNMAPPED]);
	EXPECT_EQ(-EFAULT, moved.ret);
	for (size_t i = 0; i < 4; i++) {
		char *page = area + (i * (npages / 4) + i) * PAGE_SIZE;

		EXPECT_PLACE(gpu, page, 1, DEVICE);
		EXPECT_EQ(0x1000 + i, gpu_see(gpu, page));
		munmap(page, PAGE_SIZE);
	}
}

/* ---- what cannot move ---- */

/* It stays, nothing is charged, and the device's use of it is as before. */
static void expect_unsupported(struct gpu *gpu, const void *addr, size_t npages, uint64_t used)
{
	struct gpu_moved moved;

	gpu_migrate(gpu, addr, npages, 0, &moved);
	EXPECT_EQ(-EOPNOTSUPP, moved.ret);
	EXPECT_EQ(0, moved.moved);
	EXPECT_RESULTS(&moved, 0, npages, UNSUPPORTED);
	gpu_migrate(gpu, addr, npages, DGPU_MIGRATE_POPULATE, &moved);
	EXPECT_EQ(-EOPNOTSUPP, moved.ret);
	EXPECT_RESULTS(&moved, 0, npages, UNSUPPORTED);
	EXPECT_EQ(0, gpu_pages_at(gpu, addr, npages, HMM_PLACE_DEVICE));
	EXPECT_EQ(used, gpu_rmem(gpu, HMM_RMEM_USED));
}

TEST_F(bad, hugetlb)
{
	static const char file[] = "/proc/sys/vm/nr_hugepages";
	struct gpu *gpu = &self->gpu;
	char text[32];
	long long before;
	char *mem;

	if (access(file, F_OK))
		SKIP("this kernel has no hugetlb memory");
	before = sys_number(file);
	snprintf(text, sizeof(text), "%lld", before + 4);
	sys_write(file, text);
	mem = mmap(NULL, 2 * HUGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	snprintf(text, sizeof(text), "%lld", before);
	if (mem == MAP_FAILED) {
		sys_try_write(file, text);
		SKIP("no huge pages to be had: %s", strerror(errno));
	}
	cpu_fill(mem, 512, 0x1000);
	EXPECT_PLACE(gpu, mem, 512, SYSTEM);
	EXPECT_PLACE(gpu, mem + HUGE_SIZE, 512, NONE);
	/* Also a part of a huge page. */
	expect_unsupported(gpu, mem, 512, self->used);
	expect_unsupported(gpu, mem + 3 * PAGE_SIZE, 5, self->used);
	EXPECT_EQ(0, gpu_fill(gpu, mem, 512, 0x2000));
	EXPECT_TRUE(cpu_check(mem, 512, 0x2000));
	/* Not by itself, either. */
	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	EXPECT_EQ(0, gpu_fill(gpu, mem + HUGE_SIZE, 512, 0x3000));
	EXPECT_TRUE(cpu_check(mem + HUGE_SIZE, 512, 0x3000));
	EXPECT_EQ(self->used, gpu_rmem(gpu, HMM_RMEM_USED));
	munmap(mem, 2 * HUGE_SIZE);
	sys_try_write(file, text);
}

/* The address of a mapping in /proc/self/maps. */
static uintptr_t mapping(const char *name, size_t *npages)
{
	uintptr_t start = 0, end;
	char line[400];
	FILE *maps;

	maps = fopen("/proc/self/maps", "re");
	ASSERT_NE(maps, NULL);
	while (!start && fgets(line, sizeof(line), maps)) {
		if (!strstr(line, name) || sscanf(line, "%lx-%lx", &start, &end) != 2)
			start = 0;
		else
			*npages = (end - start) / PAGE_SIZE;
	}
	fclose(maps);
	return start;
}

TEST_F(bad, vvar_and_vdso)
{
	size_t npages = 0;
	uintptr_t addr;

	addr = mapping("[vvar]", &npages);
	if (addr)
		expect_unsupported(&self->gpu, (void *)addr, npages, self->used);
	addr = mapping("[vdso]", &npages);
	if (!addr)
		SKIP("no vdso");
	expect_unsupported(&self->gpu, (void *)addr, npages, self->used);
}

/* Memory of the firmware, mapped by its frame numbers. */
TEST_F(bad, dev_mem)
{
	const int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	void *mem;

	if (fd < 0)
		SKIP("no /dev/mem: %s", strerror(errno));
	mem = mmap(NULL, 4 * PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0xf0000);
	close(fd);
	if (mem == MAP_FAILED)
		SKIP("/dev/mem cannot be mapped: %s", strerror(errno));
	expect_unsupported(&self->gpu, mem, 4, self->used);
}

TEST_F(bad, text_of_the_program)
{
	struct gpu_moved moved;
	const uintptr_t text = (uintptr_t)mapping & ~(PAGE_SIZE - 1);

	gpu_migrate(&self->gpu, (void *)text, 1, 0, &moved);
	EXPECT_EQ(-EOPNOTSUPP, moved.ret);
	EXPECT_RESULTS(&moved, 0, 1, UNSUPPORTED);
}

TEST_F(bad, secret)
{
	const int fd = (int)syscall(447 /* memfd_secret */, O_CLOEXEC);
	char *mem;

	if (fd < 0)
		SKIP("no memfd_secret(): %s", strerror(errno));
	ASSERT_SYS(ftruncate(fd, (off_t)LENGTH));
	mem = ASSERT_SYS(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	cpu_fill(mem, NPAGES, 0x1000);
	expect_unsupported(&self->gpu, mem, NPAGES, self->used);
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x1000));
	close(fd);
}

/* ---- everything in one request ---- */

/*
 * Pages 0-1 can move, 2-3 are shared, 4-5 are not mapped, 6-7 can move, 8 is held,
 * 9 was never written, 10-11 may not be touched, the rest can move.
 */
static void mixture(char *mem, int *pipe_fd)
{
	struct iovec iov = { mem + 8 * PAGE_SIZE, PAGE_SIZE };
	int fds[2];

	ASSERT_SYS(munmap(mem + 2 * PAGE_SIZE, 4 * PAGE_SIZE));
	ASSERT_EQ(mem + 2 * PAGE_SIZE,
		  mmap(mem + 2 * PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	cpu_fill(mem + 2 * PAGE_SIZE, 2, 0x1002);
	ASSERT_SYS(pipe2(fds, O_CLOEXEC));
	ASSERT_EQ(PAGE_SIZE, vmsplice(fds[1], &iov, 1, 0));
	*pipe_fd = fds[0];
	ASSERT_SYS(madvise(mem + 9 * PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED));
	ASSERT_SYS(mprotect(mem + 10 * PAGE_SIZE, 2 * PAGE_SIZE, PROT_NONE));
}

static void expect_mixture(const struct gpu_moved *moved, size_t shift)
{
	EXPECT_RESULTS(moved, 2 - shift, 2, UNSUPPORTED);
	EXPECT_RESULTS(moved, 4 - shift, 2, UNMAPPED);
	EXPECT_RESULTS(moved, 8 - shift, 1, BUSY);
	EXPECT_RESULTS(moved, 9 - shift, 1, EMPTY);
	EXPECT_EQ(0, moved->count[HMM_PAGE_SKIPPED]);
}

TEST_F(bad, mixture)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	uint64_t value;
	int fd;

	mixture(self->mem, &fd);
	migrate(gpu, self->mem, NPAGES, 8, &moved);
	EXPECT_EQ(-EOPNOTSUPP, moved.ret);
	expect_mixture(&moved, 0);
	EXPECT_PLACE(gpu, self->mem, 2, DEVICE);
	EXPECT_PLACE(gpu, self->mem + 6 * PAGE_SIZE, 2, DEVICE);
	EXPECT_PLACE(gpu, self->mem + 12 * PAGE_SIZE, 4, DEVICE);
	/* The first error of a request that begins later is another one. */
	gpu_migrate(gpu, self->mem + 4 * PAGE_SIZE, NPAGES - 4, 0, &moved);
	EXPECT_EQ(-EFAULT, moved.ret);
	EXPECT_RESULTS(&moved, 0, 2, UNMAPPED);
	EXPECT_RESULTS(&moved, 2, 2, THERE);
	gpu_migrate(gpu, self->mem + 6 * PAGE_SIZE, NPAGES - 6, 0, &moved);
	EXPECT_EQ(-EBUSY, moved.ret);
	EXPECT_RESULTS(&moved, 2, 1, BUSY);
	gpu_migrate(gpu, self->mem + 12 * PAGE_SIZE, 4, 0, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_EQ(0, moved.moved);
	EXPECT_RESULTS(&moved, 0, 4, THERE);

	/* The device has them all, as far as there is something to have. */
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 4, 0x1000));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, word(self->mem, 4), &value));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + 6 * PAGE_SIZE, 3, 0x1006));
	EXPECT_EQ(0, gpu_see(gpu, word(self->mem, 9)));
	EXPECT_EQ(-EACCES, gpu_read(gpu, word(self->mem, 10), &value));
	EXPECT_EQ(0, gpu_check(gpu, self->mem + 12 * PAGE_SIZE, 4, 0x100c));
	ASSERT_SYS(mprotect(self->mem + 10 * PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(cpu_check(self->mem + 10 * PAGE_SIZE, 6, 0x100a));
	close(fd);
}

/* Without room for results the error is the same, and what moves moves. */
TEST_F(bad, mixture_without_results)
{
	struct gpu *gpu = &self->gpu;
	uint64_t moved = 0;
	int fd;

	mixture(self->mem, &fd);
	EXPECT_EQ(-EOPNOTSUPP, dgpu_migrate(gpu->dev, self->mem, LENGTH, 0, NULL, &moved));
	EXPECT_GE(moved, 6);
	EXPECT_EQ(-EOPNOTSUPP, dgpu_migrate(gpu->dev, self->mem, LENGTH, 0, NULL, NULL));
	close(fd);
}

/* One mapping of 4 KiB next to the other, with other rights each. */
TEST_F(bad, many_mappings)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	for (size_t i = 1; i < NPAGES; i += 2)
		ASSERT_SYS(mprotect((void *)word(self->mem, i), PAGE_SIZE, PROT_READ));
	migrate(gpu, self->mem, NPAGES, NPAGES, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_write(gpu, word(self->mem, 2), 0x1002));
	EXPECT_EQ(-EACCES, gpu_write(gpu, word(self->mem, 3), 1));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* ---- requests that are wrong ---- */

/* As the driver sees it: the library rounds to pages. */
static int raw_migrate(struct gpu *gpu, const void *start, size_t length)
{
	struct dgpu_migrate arg = { .start = (uintptr_t)start, .length = length };

	return ioctl(dgpu_fd(gpu->dev), DGPU_IOCTL_MIGRATE, &arg) ? -errno : 0;
}

TEST_F(bad, arguments)
{
	const uint32_t both = DGPU_MIGRATE_TO_SYSTEM | DGPU_MIGRATE_POPULATE;
	struct gpu *gpu = &self->gpu;
	struct dgpu_dev *dev = gpu->dev;
	char *top = (char *)0x7ffffffff000ul;

	EXPECT_EQ(-EINVAL, dgpu_migrate(dev, self->mem, 0, 0, NULL, NULL));
	EXPECT_EQ(-EINVAL, raw_migrate(gpu, self->mem + 1, LENGTH));
	EXPECT_EQ(-EINVAL, raw_migrate(gpu, self->mem, LENGTH + 1));
	EXPECT_EQ(-EINVAL, dgpu_migrate(dev, self->mem, LENGTH, both, NULL, NULL));
	EXPECT_EQ(-EINVAL, dgpu_migrate(dev, self->mem, LENGTH, 1u << 3, NULL, NULL));
	EXPECT_EQ(-EINVAL, dgpu_migrate(dev, self->mem, LENGTH, 1u << 31, NULL, NULL));
	/* Over the end of the numbers, and of what a process can have. */
	EXPECT_EQ(-EINVAL, dgpu_migrate(dev, (void *)-PAGE_SIZE, 2 * PAGE_SIZE, 0, NULL, NULL));
	EXPECT_LT(dgpu_migrate(dev, top, 4 * PAGE_SIZE, 0, NULL, NULL), 0);
	EXPECT_LT(dgpu_migrate(dev, (void *)0xffff800000000000ul, PAGE_SIZE, 0, NULL, NULL), 0);
	EXPECT_EQ(-EFAULT, dgpu_migrate(dev, NULL, PAGE_SIZE, 0, NULL, NULL));
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_EQ(self->used, gpu_rmem(gpu, HMM_RMEM_USED));
	/* Results where nothing can be written: the pages are none the worse for it. */
	EXPECT_EQ(-EFAULT, dgpu_migrate(dev, self->mem, LENGTH, 0, (uint8_t *)8, NULL));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* Results that are written to the very pages that move. */
TEST_F(bad, results_on_the_device)
{
	struct gpu *gpu = &self->gpu;
	uint8_t *results = (uint8_t *)(self->mem + 3 * PAGE_SIZE + 100);
	uint64_t moved = 0;

	gpu_move_in(gpu, self->mem, NPAGES);
	for (int i = 0; i < 4; i++) {
		memset(results, 0xee, NPAGES);
		EXPECT_EQ(0, dgpu_migrate(gpu->dev, self->mem, LENGTH,
					  i & 1 ? DGPU_MIGRATE_TO_SYSTEM : 0, results, &moved));
		for (size_t k = 0; k < NPAGES; k++)
			EXPECT_TRUE(results[k] == HMM_PAGE_MOVED || results[k] == HMM_PAGE_THERE);
	}
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
}

TEST_F(bad, never)
{
	struct gpu *gpu = &self->gpu;

	gpu_move_in(gpu, self->mem, NPAGES / 2);
	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_NEVER));
	EXPECT_EQ(-EPERM, dgpu_migrate(gpu->dev, self->mem, LENGTH, 0, NULL, NULL));
	EXPECT_PLACE(gpu, self->mem + LENGTH / 2, NPAGES / 2, SYSTEM);
	/* What is there can be used there, and can leave. */
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_PLACE(gpu, self->mem + LENGTH / 2, NPAGES / 2, SYSTEM);
	gpu_move_out(gpu, self->mem, NPAGES);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
	EXPECT_EQ(-EINVAL, dgpu_set_policy(gpu->dev, HMM_POLICY_NR));
}

/* Another process with the same file moves nothing, in neither of the two. */
TEST_F(bad, other_process)
{
	struct gpu *gpu = &self->gpu;
	int status;
	pid_t pid;

	gpu_move_in(gpu, self->mem, NPAGES / 2);
	pid = ASSERT_SYS(fork());
	if (!pid) {
		EXPECT_EQ(-EPERM, dgpu_migrate(gpu->dev, self->mem, LENGTH, 0, NULL, NULL));
		EXPECT_EQ(-EPERM, dgpu_migrate(gpu->dev, self->mem, LENGTH,
					       DGPU_MIGRATE_TO_SYSTEM, NULL, NULL));
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_PLACE(gpu, self->mem, NPAGES / 2, DEVICE);
	EXPECT_PLACE(gpu, self->mem + LENGTH / 2, NPAGES / 2, SYSTEM);
}

GPU_POOL_TEST

HARNESS_MAIN

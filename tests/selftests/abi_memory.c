// SPDX-License-Identifier: GPL-2.0
/*
 * The user interface of device memory: what the ioctls MIGRATE, POLICY, HINT, RESIDENCY
 * and EVACUATE, and the file "evacuate", do with bad input.  Each bad value alone must
 * give the errno that uapi/dgpu.h names, and change nothing.
 */
#include <sys/mman.h>
#include "abi.h"

#define NPAGES		16u
#define SYSFS_EVACUATE	"/sys/bus/platform/devices/dummy_gpu.0/evacuate"

FIXTURE(abi_memory) {
	struct gpu gpu;
	int fd;
	char *mem;	/* NPAGES pages of this process, 2 MiB from anything else */
	uint64_t moved;	/* pages that had moved in before the test */
};

FIXTURE_SETUP(abi_memory)
{
	gpu_setup(&self->gpu);
	self->fd = dgpu_fd(self->gpu.dev);
	self->mem = sys_pages(NPAGES);
	cpu_fill(self->mem, NPAGES, 1000);
	self->moved = gpu_rmem(&self->gpu, HMM_RMEM_IN);
}

FIXTURE_TEARDOWN(abi_memory)
{
	gpu_teardown(&self->gpu);
}

static void abi_need_memory(struct harness_data_abi_memory *self)
{
	struct dgpu_info info = {};

	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_INFO, &info));
	if (!info.local_bytes || !gpu_takes_anonymous(&self->gpu))
		SKIP("no page can move to the device (no memory there, or no DEVICE_PRIVATE)");
}

/* No page has moved, and all is as the setup has left it. */
static void abi_expect_nothing_moved(struct harness_data_abi_memory *self)
{
	EXPECT_EQ(self->moved, gpu_rmem(&self->gpu, HMM_RMEM_IN));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_EQ(0, gpu_ptes(&self->gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1000));
}

TEST_F(abi_memory, info_and_stat)
{
	struct dgpu_info info = {};
	uint64_t values[HMM_RMEM_NR + 1];
	struct dgpu_stat stat = {
		.what = DGPU_STAT_RMEM, .count = ~0u, .values = (uintptr_t)values,
	};

	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_INFO, &info));
	EXPECT_EQ(0, info.local_bytes % HUGE_SIZE);
	memset(values, 0xff, sizeof(values));
	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_STAT, &stat));
	EXPECT_EQ(HMM_RMEM_NR, stat.count);
	EXPECT_EQ(~0ull, values[HMM_RMEM_NR]);
	EXPECT_EQ(info.local_bytes / PAGE_SIZE, values[HMM_RMEM_TOTAL]);
	EXPECT_LE(values[HMM_RMEM_USED], values[HMM_RMEM_TOTAL]);
	EXPECT_LE(values[HMM_RMEM_CHUNKS_FREE], info.local_bytes / HUGE_SIZE);
}

/* ---- MIGRATE ---- */

#define EXPECT_MIGRATE(error_, ...) do { \
	struct dgpu_migrate args_ = { .start = (uintptr_t)self->mem, .length = PAGE_SIZE, \
				      .moved = 77, __VA_ARGS__ }; \
	EXPECT_ERRNO(error_, ioctl(self->fd, DGPU_IOCTL_MIGRATE, &args_)); \
} while (0)

/* A later value of a field replaces the one that the macro begins with. */
#pragma GCC diagnostic ignored "-Woverride-init"

TEST_F(abi_memory, migrate_bad_values)
{
	for (int bit = 3; bit < 32; bit++)
		EXPECT_MIGRATE(EINVAL, .flags = 1u << bit);
	EXPECT_MIGRATE(EINVAL, .flags = DGPU_MIGRATE_TO_SYSTEM | DGPU_MIGRATE_POPULATE);
	EXPECT_MIGRATE(EINVAL, .pad = 1);
	EXPECT_MIGRATE(EINVAL, .pad = 0x80000000u);
	EXPECT_MIGRATE(EINVAL, .reserved = { 1 });
	EXPECT_MIGRATE(EINVAL, .reserved = { 0, BIT63 });
	EXPECT_MIGRATE(EINVAL, .length = 0);
	EXPECT_MIGRATE(EINVAL, .start = (uintptr_t)self->mem + 1);
	EXPECT_MIGRATE(EINVAL, .start = (uintptr_t)self->mem + PAGE_SIZE / 2);
	EXPECT_MIGRATE(EINVAL, .length = PAGE_SIZE - 1);
	EXPECT_MIGRATE(EINVAL, .length = PAGE_SIZE + 8);
	EXPECT_MIGRATE(EINVAL, .length = -PAGE_SIZE);
	EXPECT_MIGRATE(EINVAL, .start = BIT63, .length = BIT63);
	EXPECT_MIGRATE(EINVAL, .start = -PAGE_SIZE);
	abi_expect_nothing_moved(self);
}

TEST_F(abi_memory, migrate_bad_results)
{
	const size_t length = NPAGES * PAGE_SIZE;
	char *results = sys_pages(2);

	EXPECT_MIGRATE(EFAULT, .results = 1);
	EXPECT_MIGRATE(EFAULT, .results = KERNEL_ADDR);
	EXPECT_MIGRATE(EFAULT, .results = NON_CANONICAL);
	EXPECT_MIGRATE(EFAULT, .results = ~0ull);
	EXPECT_MIGRATE(EFAULT, .results = ~0ull - 2, .length = length);
	ASSERT_SYS(munmap(results + PAGE_SIZE, PAGE_SIZE));
	/* Room for all but the last. */
	EXPECT_MIGRATE(EFAULT, .results = (uintptr_t)results + PAGE_SIZE - NPAGES + 1,
		       .length = length);
	ASSERT_SYS(mprotect(results, PAGE_SIZE, PROT_READ));
	EXPECT_MIGRATE(EFAULT, .results = (uintptr_t)results, .length = length);
	/* More results than there can be memory for. */
	EXPECT_MIGRATE(EFAULT, .results = (uintptr_t)results, .start = 0, .length = VA_END);
	abi_expect_nothing_moved(self);
}

TEST_F(abi_memory, migrate_with_read_only_arguments)
{
	struct dgpu_migrate *args = (void *)sys_pages(1);

	*args = (struct dgpu_migrate) { .start = (uintptr_t)self->mem, .length = PAGE_SIZE };
	ASSERT_SYS(mprotect(args, PAGE_SIZE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_MIGRATE, args));
	abi_expect_nothing_moved(self);
}

TEST_F(abi_memory, migrate_nothing)
{
	static const uint64_t nowhere[] = {
		0, VA_END, VA_END - PAGE_SIZE, 1ull << 48, NON_CANONICAL, BIT63, KERNEL_ADDR,
		-2 * PAGE_SIZE,
	};
	struct dgpu_migrate args;
	uint8_t result;

	abi_need_memory(self);
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
		for (uint32_t flags = 0; flags < 3; flags++) {
			result = 0xee;
			args = (struct dgpu_migrate) {
				.start = nowhere[i], .length = PAGE_SIZE, .flags = flags,
				.results = (uintptr_t)&result, .moved = 77,
			};
			EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_MIGRATE, &args));
			EXPECT_EQ(HMM_PAGE_UNMAPPED, result);
			EXPECT_EQ(0, args.moved);
		}
	/* All of 64 bits but the last page; and all that is above user space. */
	EXPECT_MIGRATE(EFAULT, .start = BIT63, .length = BIT63 - PAGE_SIZE);
	EXPECT_MIGRATE(EFAULT, .start = VA_END, .length = -VA_END - PAGE_SIZE);
	abi_expect_nothing_moved(self);
}

/* The pages before and after a hole move; which page is which stands in the results. */
TEST_F(abi_memory, migrate_across_a_hole)
{
	struct dgpu_migrate args = {
		.start = (uintptr_t)self->mem, .length = NPAGES * PAGE_SIZE,
	};
	uint8_t results[NPAGES + 2];

	abi_need_memory(self);
	ASSERT_SYS(munmap(self->mem + 5 * PAGE_SIZE, 2 * PAGE_SIZE));
	memset(results, 0xee, sizeof(results));
	args.results = (uintptr_t)results + 1;
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_MIGRATE, &args));
	EXPECT_EQ(NPAGES - 2, args.moved);
	EXPECT_EQ(0xee, results[0]);
	for (unsigned int i = 0; i < NPAGES; i++)
		EXPECT_EQ(i == 5 || i == 6 ? HMM_PAGE_UNMAPPED : HMM_PAGE_MOVED,
			  results[1 + i]);
	EXPECT_EQ(0xee, results[1 + NPAGES]);
	EXPECT_PLACE(&self->gpu, self->mem, 5, DEVICE);
	EXPECT_PLACE(&self->gpu, self->mem + 7 * PAGE_SIZE, NPAGES - 7, DEVICE);
	EXPECT_TRUE(cpu_check(self->mem, 5, 1000));
	EXPECT_TRUE(cpu_check(self->mem + 7 * PAGE_SIZE, NPAGES - 7, 1007));
}

/* A hole that no piece of the work ends in, with the results of each of its pages. */
TEST_F(abi_memory, migrate_across_a_large_hole)
{
	const size_t npages = 20000;
	struct dgpu_migrate args = { .length = npages * PAGE_SIZE };
	uint8_t *results = malloc(npages);
	char *mem = sys_pages(npages);
	size_t unmapped = 0;

	abi_need_memory(self);
	ASSERT_NE(results, NULL);
	memset(results, 0xee, npages);
	cpu_fill(mem, 3, 1);
	cpu_fill(mem + (npages - 3) * PAGE_SIZE, 3, 100);
	ASSERT_SYS(munmap(mem + 3 * PAGE_SIZE, (npages - 6) * PAGE_SIZE));
	args.start = (uintptr_t)mem;
	args.results = (uintptr_t)results;
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_MIGRATE, &args));
	EXPECT_EQ(6, args.moved);
	for (size_t i = 3; i < npages - 3; i++)
		unmapped += results[i] == HMM_PAGE_UNMAPPED;
	EXPECT_EQ(npages - 6, unmapped);
	for (size_t i = 0; i < 3; i++) {
		EXPECT_EQ(HMM_PAGE_MOVED, results[i]);
		EXPECT_EQ(HMM_PAGE_MOVED, results[npages - 1 - i]);
	}
	EXPECT_TRUE(cpu_check(mem, 3, 1));
	EXPECT_TRUE(cpu_check(mem + (npages - 3) * PAGE_SIZE, 3, 100));
	free(results);
}

TEST_F(abi_memory, migrate_without_results)
{
	struct dgpu_migrate args = {
		.start = (uintptr_t)self->mem, .length = NPAGES * PAGE_SIZE, .moved = 77,
	};

	abi_need_memory(self);
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_MIGRATE, &args));
	EXPECT_EQ(NPAGES, args.moved);
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_MIGRATE, &args));
	EXPECT_EQ(0, args.moved);
	args.flags = DGPU_MIGRATE_TO_SYSTEM;
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_MIGRATE, &args));
	EXPECT_EQ(NPAGES, args.moved);
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_MIGRATE, &args));
	EXPECT_EQ(0, args.moved);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1000));
}

TEST_F(abi_memory, without_memory)
{
	struct dgpu_info info = {};
	uint8_t result = 0xee;

	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_INFO, &info));
	if (info.local_bytes)
		SKIP("this device has memory");
	EXPECT_MIGRATE(EOPNOTSUPP, .results = (uintptr_t)&result);
	EXPECT_MIGRATE(EOPNOTSUPP, .results = (uintptr_t)&result,
		       .flags = DGPU_MIGRATE_TO_SYSTEM);
	EXPECT_EQ(0xee, result);
	abi_expect_nothing_moved(self);
}

/* ---- POLICY ---- */

#define EXPECT_POLICY(error_, ...) do { \
	struct dgpu_policy args_ = { __VA_ARGS__ }; \
	EXPECT_ERRNO(error_, ioctl(self->fd, DGPU_IOCTL_POLICY, &args_)); \
} while (0)

TEST_F(abi_memory, policy)
{
	struct dgpu_policy args = {};

	EXPECT_POLICY(EINVAL, .policy = HMM_POLICY_NR);
	EXPECT_POLICY(EINVAL, .policy = ~0u);
	EXPECT_POLICY(EINVAL, .policy = HMM_POLICY_TOUCH, .pad = 1);
	EXPECT_POLICY(EINVAL, .policy = HMM_POLICY_TOUCH, .reserved = { 1 });
	EXPECT_POLICY(EINVAL, .policy = HMM_POLICY_TOUCH, .reserved = { 0, BIT63 });
	/* None of these was it: nothing moves by itself. */
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 1000));
	EXPECT_EQ(self->moved, gpu_rmem(&self->gpu, HMM_RMEM_IN));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
	for (args.policy = 0; args.policy < HMM_POLICY_NR; args.policy++)
		EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_POLICY, &args));
}

TEST_F(abi_memory, policy_never)
{
	struct dgpu_policy args = { .policy = HMM_POLICY_NEVER };
	uint8_t result = 0xee;

	abi_need_memory(self);
	gpu_move_in(&self->gpu, self->mem, 1);
	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_POLICY, &args));
	EXPECT_MIGRATE(EPERM, .start = (uintptr_t)self->mem + PAGE_SIZE,
		       .results = (uintptr_t)&result);
	EXPECT_MIGRATE(EPERM, .start = (uintptr_t)self->mem + PAGE_SIZE,
		       .flags = DGPU_MIGRATE_POPULATE);
	EXPECT_EQ(0xee, result);
	EXPECT_PLACE(&self->gpu, self->mem + PAGE_SIZE, NPAGES - 1, SYSTEM);
	/* Back it can go. */
	gpu_move_out(&self->gpu, self->mem, 1);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1000));
}

/* ---- HINT ---- */

#define EXPECT_HINT(error_, ...) do { \
	struct dgpu_hint args_ = { .start = (uintptr_t)self->mem, \
				   .length = NPAGES * PAGE_SIZE, __VA_ARGS__ }; \
	EXPECT_ERRNO(error_, ioctl(self->fd, DGPU_IOCTL_HINT, &args_)); \
} while (0)

TEST_F(abi_memory, hint_bad_values)
{
	const uint32_t auto_ = HMM_HINT_AUTO;

	for (int bit = 5; bit < 32; bit++)
		EXPECT_HINT(EINVAL, .flags = auto_ | 1u << bit);
	EXPECT_HINT(EINVAL, .flags = auto_, .prefer = 3);
	EXPECT_HINT(EINVAL, .flags = auto_, .prefer = ~0u);
	EXPECT_HINT(EINVAL, .flags = auto_, .device = 1);
	EXPECT_HINT(EINVAL, .flags = auto_, .device = DGPU_DEVICE_SELF);
	EXPECT_HINT(EINVAL, .flags = auto_, .prefer = HMM_PREFER_SYSTEM, .device = 1);
	EXPECT_HINT(ENODEV, .flags = auto_, .prefer = HMM_PREFER_DEVICE, .device = 7);
	EXPECT_HINT(ENODEV, .flags = auto_, .prefer = HMM_PREFER_DEVICE, .device = 8);
	EXPECT_HINT(ENODEV, .flags = auto_, .prefer = HMM_PREFER_DEVICE,
		    .device = DGPU_DEVICE_SELF - 1);
	EXPECT_HINT(EINVAL, .flags = auto_, .granularity = 1);
	EXPECT_HINT(EINVAL, .flags = auto_, .granularity = PAGE_SIZE / 2);
	EXPECT_HINT(EINVAL, .flags = auto_, .granularity = PAGE_SIZE + 1);
	EXPECT_HINT(EINVAL, .flags = auto_, .granularity = 3 * PAGE_SIZE);
	EXPECT_HINT(EINVAL, .flags = auto_, .granularity = 2 * HUGE_SIZE);
	EXPECT_HINT(EINVAL, .flags = auto_, .granularity = ~0u);
	EXPECT_HINT(EINVAL, .flags = auto_, .reserved = { 1 });
	EXPECT_HINT(EINVAL, .flags = auto_, .reserved = { 0, BIT63 });
	EXPECT_HINT(EINVAL, .flags = auto_, .length = 0);
	EXPECT_HINT(EINVAL, .flags = auto_, .length = PAGE_SIZE - 1);
	EXPECT_HINT(EINVAL, .flags = auto_, .start = (uintptr_t)self->mem + 1);
	EXPECT_HINT(EINVAL, .flags = auto_, .length = -PAGE_SIZE);
	EXPECT_HINT(EINVAL, .flags = auto_, .start = BIT63, .length = BIT63);
	/* Not one page of it was told to move when it is touched. */
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 1000));
	EXPECT_EQ(self->moved, gpu_rmem(&self->gpu, HMM_RMEM_IN));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
}

TEST_F(abi_memory, hints_that_contradict_each_other)
{
	EXPECT_HINT(EINVAL, .flags = HMM_HINT_AUTO | HMM_HINT_NO_AUTO);
	EXPECT_HINT(EINVAL, .flags = HMM_HINT_AUTO | HMM_HINT_IN_PLACE);
	EXPECT_HINT(EINVAL, .flags = HMM_HINT_ALL);
	EXPECT_HINT(EINVAL, .flags = HMM_HINT_IN_PLACE, .prefer = HMM_PREFER_DEVICE,
		    .device = DGPU_DEVICE_SELF);
	EXPECT_HINT(EINVAL, .flags = HMM_HINT_IN_PLACE, .granularity = PAGE_SIZE);
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 1000));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
}

TEST_F(abi_memory, hints_where_nothing_is_mapped)
{
	const uint32_t flags = HMM_HINT_AUTO;

	EXPECT_HINT(EFAULT, .flags = flags, .start = 0, .length = PAGE_SIZE);
	EXPECT_HINT(EFAULT, .flags = flags, .start = VA_END);
	EXPECT_HINT(EFAULT, .flags = flags, .start = NON_CANONICAL);
	EXPECT_HINT(EFAULT, .flags = flags, .start = KERNEL_ADDR);
	EXPECT_HINT(EFAULT, .flags = flags, .start = 0, .length = VA_END);
	ASSERT_SYS(munmap(self->mem + 7 * PAGE_SIZE, PAGE_SIZE));
	EXPECT_HINT(EFAULT, .flags = flags);
	EXPECT_HINT(EFAULT, .flags = flags, .length = 8 * PAGE_SIZE);
	/* Nor are there any in front of the hole. */
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, 7, 1000));
	EXPECT_EQ(self->moved, gpu_rmem(&self->gpu, HMM_RMEM_IN));
	EXPECT_PLACE(&self->gpu, self->mem, 7, SYSTEM);
}

TEST_F(abi_memory, hints_that_are_good)
{
	const struct dgpu_hint good[] = {
		{},
		{ .flags = HMM_HINT_AUTO },
		{ .flags = HMM_HINT_NO_AUTO },
		{ .flags = HMM_HINT_IN_PLACE },
		{ .flags = HMM_HINT_IN_PLACE | HMM_HINT_NO_AUTO | HMM_HINT_READ_MOSTLY },
		{ .flags = HMM_HINT_READ_MOSTLY | HMM_HINT_AUTO, .granularity = PAGE_SIZE },
		{ .granularity = HUGE_SIZE },
		{ .prefer = HMM_PREFER_SYSTEM },
		{ .prefer = HMM_PREFER_DEVICE },
		{ .prefer = HMM_PREFER_DEVICE, .device = DGPU_DEVICE_SELF },
		{ .flags = HMM_HINT_EXCLUSIVE },
		{ .flags = HMM_HINT_AUTO, .prefer = HMM_PREFER_DEVICE, .granularity = 65536 },
	};
	struct dgpu_hint args;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		args = good[i];
		args.start = (uintptr_t)self->mem;
		args.length = NPAGES * PAGE_SIZE;
		if (!EXPECT_EQ(0, ioctl(self->fd, DGPU_IOCTL_HINT, &args)))
			test_log("hint %zu", i);
	}
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1000));
}

/* ---- RESIDENCY ---- */

#define EXPECT_RESIDENCY(error_, ...) do { \
	struct dgpu_residency args_ = { .start = (uintptr_t)self->mem, .npages = 1, \
					.out = (uintptr_t)out, __VA_ARGS__ }; \
	EXPECT_ERRNO(error_, ioctl(self->fd, DGPU_IOCTL_RESIDENCY, &args_)); \
} while (0)

TEST_F(abi_memory, residency_bad_values)
{
	struct dgpu_page_info *out = (void *)sys_pages(2);

	out[0].place = 0xee;
	EXPECT_RESIDENCY(EINVAL, .npages = 0);
	EXPECT_RESIDENCY(EINVAL, .npages = (1u << 20) + 1);
	EXPECT_RESIDENCY(EINVAL, .npages = BIT63);
	EXPECT_RESIDENCY(EINVAL, .npages = (1ull << 52) + 1);
	EXPECT_RESIDENCY(EINVAL, .start = (uintptr_t)self->mem + 8);
	EXPECT_RESIDENCY(EINVAL, .start = -PAGE_SIZE, .npages = 2);
	EXPECT_RESIDENCY(EINVAL, .reserved = { 1 });
	EXPECT_RESIDENCY(EINVAL, .reserved = { 0, BIT63 });
	EXPECT_EQ(0xee, out[0].place);
	EXPECT_RESIDENCY(EFAULT, .out = 0);
	EXPECT_RESIDENCY(EFAULT, .out = KERNEL_ADDR);
	EXPECT_RESIDENCY(EFAULT, .out = NON_CANONICAL);
	EXPECT_RESIDENCY(EFAULT, .out = ~0ull);
	ASSERT_SYS(munmap((char *)out + PAGE_SIZE, PAGE_SIZE));
	EXPECT_RESIDENCY(EFAULT, .npages = PAGE_SIZE / sizeof(*out) + 1);
	ASSERT_SYS(mprotect(out, PAGE_SIZE, PROT_READ));
	EXPECT_RESIDENCY(EFAULT);
	abi_expect_nothing_moved(self);
}

TEST_F(abi_memory, residency_of_the_most_pages)
{
	static const uint64_t starts[] = { 0, BIT63, -(1ull << 33) };
	const size_t npages = 1u << 20;
	struct dgpu_residency args = { .npages = npages };
	struct dgpu_page_info *out = malloc(npages * sizeof(*out));

	ASSERT_NE(out, NULL);
	args.out = (uintptr_t)out;
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		out[0].place = 0xee;
		out[npages - 1].place = 0xee;
		args.start = starts[i];
		EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_RESIDENCY, &args));
		EXPECT_EQ(HMM_PLACE_NONE, out[0].place);
		EXPECT_NE(0xee, out[npages - 1].place);
		EXPECT_EQ(0, out[0].moves);
		EXPECT_EQ(0, out[0].age_ms);
		EXPECT_EQ(0, out[0].pad);
	}
	/* In the middle of 4 GiB. */
	args.start = (uintptr_t)self->mem - 700 * PAGE_SIZE;
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_RESIDENCY, &args));
	for (unsigned int i = 0; i < NPAGES; i++)
		EXPECT_EQ(HMM_PLACE_SYSTEM, out[700 + i].place);
	free(out);
}

/* ---- EVACUATE ---- */

#define EXPECT_EVACUATE(error_, ...) do { \
	struct dgpu_evacuate args_ = { __VA_ARGS__ }; \
	EXPECT_ERRNO(error_, ioctl(self->fd, DGPU_IOCTL_EVACUATE, &args_)); \
} while (0)

TEST_F(abi_memory, evacuate_bad_values)
{
	struct dgpu_evacuate *args = (void *)sys_pages(1);

	abi_need_memory(self);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	for (int bit = 0; bit < 32; bit++)
		EXPECT_EVACUATE(EINVAL, .flags = 1u << bit);
	EXPECT_EVACUATE(EINVAL, .pad = 1);
	EXPECT_EVACUATE(EINVAL, .reserved = { 1 });
	EXPECT_EVACUATE(EINVAL, .reserved = { 0, BIT63 });
	memset(args, 0, sizeof(*args));
	ASSERT_SYS(mprotect(args, PAGE_SIZE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_EVACUATE, args));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1000));
}

static void abi_evacuate_as_nobody(void)
{
	struct dgpu_evacuate args = { .left = 77 };
	int fd;

	ASSERT_SYS(setresuid(65534, 65534, 65534));
	fd = ASSERT_SYS(abi_open(O_CLOEXEC));
	EXPECT_ERRNO(EPERM, ioctl(fd, DGPU_IOCTL_EVACUATE, &args));
	EXPECT_EQ(77, args.left);
	EXPECT_ERRNO(EACCES, open(SYSFS_EVACUATE, O_WRONLY));
	close(fd);
}

TEST_F(abi_memory, evacuate_by_whom)
{
	pid_t child;
	int status;

	abi_need_memory(self);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	child = ASSERT_SYS(fork());
	if (!child) {
		abi_evacuate_as_nobody();
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
}

TEST_F(abi_memory, evacuate_without_memory)
{
	struct dgpu_info info = {};

	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_INFO, &info));
	if (info.local_bytes)
		SKIP("this device has memory");
	EXPECT_EVACUATE(EOPNOTSUPP);
	EXPECT_EQ(-EOPNOTSUPP, sys_try_write(SYSFS_EVACUATE, "1"));
}

TEST_F(abi_memory, evacuate_by_sysfs)
{
	static const char * const bad[] = { "0", "2x", "no", "-1", "\n", "all", "off" };

	abi_need_memory(self);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		EXPECT_EQ(-EINVAL, sys_try_write(SYSFS_EVACUATE, bad[i]));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(0, sys_try_write(SYSFS_EVACUATE, "1\n"));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1000));
}

GPU_POOL_TEST

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations that fail while pages move: each one in turn, in every operation that a
 * process can start, and at random in what the driver's workers do.
 *
 * What is required: the operation fails with an error that its description has, or works
 * all the same; contents are right whatever happened; nothing is lost, and nothing leaks:
 * in the end the device's memory is empty and its books balance.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "chip.h"
#include "gpu.h"
#include "harness.h"
#include "inject.h"
#include "load.h"
#include "sys.h"

#define NPAGES	8ul
#define LENGTH	(NPAGES * PAGE_SIZE)

FIXTURE(inject) {
	struct gpu gpu;
	volatile char *mem, *fresh;
	int file;
};

FIXTURE_SETUP(inject)
{
	inject_begin();
	gpu_setup_memory(&self->gpu);
	ASSERT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
	self->file = ASSERT_SYS(memfd_create("inject", MFD_CLOEXEC));
	self->mem = sys_pages(NPAGES);
	load_fill(self->mem, NPAGES, 1);
}

FIXTURE_TEARDOWN(inject)
{
	inject_end();
	if (self->mem) {
		/* What there is left is right, and then there is nothing left. */
		EXPECT_TRUE(load_check(self->mem, NPAGES, 1));
		EXPECT_SYS(munmap((void *)self->mem, LENGTH));
		EXPECT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
		EXPECT_EQ(chip_rmem(self->gpu.dev, HMM_RMEM_IN),
			  chip_rmem(self->gpu.dev, HMM_RMEM_OUT) +
			  chip_rmem(self->gpu.dev, HMM_RMEM_DROPPED));
		EXPECT_EQ(0, chip_rmem(self->gpu.dev, HMM_RMEM_LOST));
	}
	gpu_teardown(&self->gpu);
}

/* ---- each one in turn ---- */

static bool inject_check(void *data)
{
	struct harness_data_inject *self = data;

	return load_check(self->mem, NPAGES, 1);
}

static void inject_to_system(void *data)
{
	struct harness_data_inject *self = data;

	gpu_move_out(&self->gpu, self->mem, NPAGES);
}

static void inject_to_device(void *data)
{
	struct harness_data_inject *self = data;

	gpu_move_in(&self->gpu, self->mem, NPAGES);
}

static int inject_migrate_in(void *data)
{
	struct harness_data_inject *self = data;
	uint8_t results[NPAGES] = {};
	uint64_t moved = 0;
	size_t said = 0;
	int ret;

	ret = dgpu_migrate(self->gpu.dev, (void *)self->mem, LENGTH, 0, results, &moved);
	for (size_t i = 0; i < NPAGES; i++)
		said += results[i] == HMM_PAGE_MOVED;
	if (!ret)
		EXPECT_EQ(said, moved);
	return ret;
}

TEST_F(inject, migration_to_the_device)
{
	inject_each(&(const struct inject_operation) {
		.name = "to the device", .prepare = inject_to_system, .run = inject_migrate_in,
		.check = inject_check,
		/* The chip could not be given the addresses: no room for the page there. */
		.also = -ENOSPC,
	}, self);
}

static int inject_migrate_out(void *data)
{
	struct harness_data_inject *self = data;

	return dgpu_migrate(self->gpu.dev, (void *)self->mem, LENGTH, DGPU_MIGRATE_TO_SYSTEM, NULL,
			    NULL);
}

TEST_F(inject, migration_to_the_system)
{
	inject_each(&(const struct inject_operation) {
		.name = "to the system", .prepare = inject_to_device, .run = inject_migrate_out,
		.check = inject_check,
	}, self);
}

/*
 * The CPU touches pages, by a system call: that gets EFAULT or ENOMEM where a thread would
 * be in the hands of the OOM killer.
 */
static int inject_touch(void *data)
{
	struct harness_data_inject *self = data;

	for (size_t i = 0; i < NPAGES; i++)
		if (pwrite(self->file, (const void *)(self->mem + i * PAGE_SIZE), 1, 0) != 1)
			return -errno;
	return 0;
}

TEST_F(inject, touch_of_the_cpu)
{
	inject_each(&(const struct inject_operation) {
		.name = "CPU fault", .prepare = inject_to_device, .run = inject_touch,
		.check = inject_check,
	}, self);
}

/* What the try before has made is all zeroes; then something new. */
static void inject_populate_prepare(void *data)
{
	struct harness_data_inject *self = data;
	uint64_t dirt = 0;

	for (unsigned int word = 0; self->fresh && word < 512; word += 73)
		dirt += load_sum(self->fresh, NPAGES, word);
	EXPECT_EQ(0, dirt);
	if (self->fresh)
		ASSERT_SYS(munmap((void *)self->fresh, LENGTH));
	self->fresh = sys_pages(NPAGES);
}

static int inject_populate(void *data)
{
	struct harness_data_inject *self = data;

	return dgpu_migrate(self->gpu.dev, (void *)self->fresh, LENGTH, DGPU_MIGRATE_POPULATE,
			    NULL, NULL);
}

TEST_F(inject, populating)
{
	struct dgpu_dev *dev = self->gpu.dev;
	const int64_t before = chip_rmem(dev, HMM_RMEM_IN_ZERO);

	inject_each(&(const struct inject_operation) {
		.name = "populate", .prepare = inject_populate_prepare, .run = inject_populate,
		.also = -ENOSPC,
	}, self);
	inject_populate_prepare(self);
	EXPECT_SYS(munmap((void *)self->fresh, LENGTH));
	EXPECT_GT(chip_rmem(dev, HMM_RMEM_IN_ZERO), before);
}

static int inject_evacuate(void *data)
{
	struct harness_data_inject *self = data;

	return dgpu_evacuate(self->gpu.dev, NULL);
}

TEST_F(inject, evacuation)
{
	inject_each(&(const struct inject_operation) {
		.name = "evacuation", .prepare = inject_to_device, .run = inject_evacuate,
		.check = inject_check,
	}, self);
}

static int inject_hint(void *data)
{
	struct harness_data_inject *self = data;
	static const uint32_t flags[] = {
		HMM_HINT_AUTO, HMM_HINT_READ_MOSTLY, HMM_HINT_IN_PLACE, 0, HMM_HINT_EXCLUSIVE, 0,
	};
	int ret = 0;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && !ret; i++)
		ret = dgpu_set_hint(self->gpu.dev, (const void *)self->mem, LENGTH,
				    &(const struct dgpu_hint) { .flags = flags[i] });
	return ret;
}

static void inject_forget(void *data)
{
	struct harness_data_inject *self = data;

	/* Notes go with the mapping. */
	ASSERT_SYS(munmap((void *)self->mem, LENGTH));
	self->mem = sys_pages(NPAGES);
	load_fill(self->mem, NPAGES, 1);
}

TEST_F(inject, hints)
{
	inject_each(&(const struct inject_operation) {
		.name = "hints", .prepare = inject_forget, .run = inject_hint,
		.check = inject_check,
	}, self);
}

static int inject_residency(void *data)
{
	struct harness_data_inject *self = data;
	struct dgpu_page_info info[NPAGES];
	size_t nr = 0;
	int ret;

	ret = dgpu_residency(self->gpu.dev, (const void *)self->mem, NPAGES, info);
	for (size_t i = 0; i < NPAGES && !ret; i++)
		nr += info[i].place == HMM_PLACE_DEVICE;
	if (!ret)
		EXPECT_EQ(NPAGES, nr);
	return ret;
}

TEST_F(inject, residency)
{
	inject_to_device(self);
	inject_each(&(const struct inject_operation) {
		.name = "residency", .run = inject_residency,
	}, self);
}

static int inject_prefault(void *data)
{
	struct harness_data_inject *self = data;

	return dgpu_prefault(self->gpu.dev, (const void *)self->mem, LENGTH, true);
}

static void inject_prefault_prepare(void *data)
{
	struct harness_data_inject *self = data;

	inject_forget(self);
	inject_to_device(self);
}

TEST_F(inject, prefault_of_device_memory)
{
	inject_each(&(const struct inject_operation) {
		.name = "prefault", .prepare = inject_prefault_prepare, .run = inject_prefault,
		.check = inject_check,
	}, self);
}

/* A file of its own: the first one of an address space, with its mirror. */
static int inject_open(void *data __attribute__((unused)))
{
	struct dgpu_dev *dev = NULL;
	int ret;

	ret = dgpu_open(NULL, &dev);
	if (!ret)
		ret = dgpu_set_policy(dev, HMM_POLICY_TOUCH);
	if (dev)
		dgpu_close(dev);
	return ret;
}

TEST_F(inject, open_and_policy)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		inject_each(&(const struct inject_operation) {
			.name = "open", .run = inject_open,
		}, self);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* ---- at random, where workers serve the device ---- */

FIXTURE(workers) {
	struct harness_data_inject inject;
};

FIXTURE_VARIANT(workers) {
	const char *module;
};

FIXTURE_VARIANT_ADD(workers, of_the_core) { .module = "hmm_core" };
FIXTURE_VARIANT_ADD(workers, of_the_driver) { .module = "dummy_gpu" };

FIXTURE_SETUP(workers)
{
	harness_setup_inject(&self->inject, NULL);
}

FIXTURE_TEARDOWN(workers)
{
	harness_teardown_inject(&self->inject, NULL);
}

/* Faults of the device that move pages, and what the CPU takes back. */
TEST_F(workers, device_faults)
{
	struct harness_data_inject *inject = &self->inject;
	struct gpu *gpu = &inject->gpu;
	volatile char *fresh;
	unsigned int failed = 0, moved = 0;

	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	for (unsigned long i = 0; i < sys_scale(100); i++) {
		int ret;

		inject_random(variant->module, i % 4 * 10);
		ret = gpu_fill(gpu, inject->mem, NPAGES, i << 10);
		failed += ret != 0;
		if (!EXPECT_TRUE(ret == 0 || ret == -ENOMEM))
			test_log("device fault: %s", strerror(-ret));
		fresh = sys_pages(16);
		if (!gpu_fill(gpu, fresh, 16, i << 10))
			EXPECT_TRUE(cpu_check(fresh, 16, i << 10));
		inject_off();
		/* No thread of ours is failed an allocation: it would be killed. */
		moved += gpu_ptes(gpu, inject->mem, NPAGES, DGPU_PTE_LOCAL) > 0;
		if (!EXPECT_TRUE(load_check(inject->mem, NPAGES, 1)))
			break;
		if (!ret)
			EXPECT_TRUE(cpu_check(inject->mem, NPAGES, i << 10));
		EXPECT_SYS(munmap((void *)fresh, 16 * PAGE_SIZE));
	}
	test_log("%u programs failed, %u rounds with pages on the device", failed, moved);
	EXPECT_GT(failed + moved, 0);
}

/* ---- what the device has ---- */

FIXTURE(device_side) {
	struct harness_data_inject inject;
};

FIXTURE_VARIANT(device_side) {
	const char *attribute;
};

FIXTURE_VARIANT_ADD(device_side, room) { .attribute = "hmm/fail_device_alloc" };
FIXTURE_VARIANT_ADD(device_side, copies) { .attribute = "hmm/fail_device_copy" };
FIXTURE_VARIANT_ADD(device_side, addresses) { .attribute = "dgpu/fail_dma" };

FIXTURE_SETUP(device_side)
{
	harness_setup_inject(&self->inject, NULL);
	if (inject_set(variant->attribute, "verbose", "0"))
		SKIP("no %s", variant->attribute);
}

FIXTURE_TEARDOWN(device_side)
{
	inject_set(variant->attribute, "probability", "0");
	harness_teardown_inject(&self->inject, NULL);
}

TEST_F(device_side, fails_now_and_then)
{
	struct harness_data_inject *inject = &self->inject;
	struct gpu *gpu = &inject->gpu;
	unsigned int bad[3] = {};

	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	for (unsigned long i = 0; i < sys_scale(100); i++) {
		uint8_t results[NPAGES] = {};
		size_t said = 0;
		int ret;

		/* Some are tried again and work; all are too many. */
		inject_percent(variant->attribute, i % 3 * 50);
		ret = dgpu_migrate(gpu->dev, (void *)inject->mem, LENGTH, 0, results, NULL);
		bad[0] += ret != 0;
		if (!EXPECT_TRUE(ret == 0 || ret == -EIO || ret == -ENOSPC || ret == -EBUSY))
			test_log("to the device: %s", strerror(-ret));
		for (size_t page = 0; page < NPAGES; page++)
			said += results[page] == HMM_PAGE_MOVED || results[page] == HMM_PAGE_THERE;
		EXPECT_EQ(!ret, said == NPAGES);
		/* The device does without its memory, but not without addresses. */
		ret = gpu_fill(gpu, inject->mem, NPAGES, i << 10);
		bad[1] += ret != 0;
		EXPECT_TRUE(ret == 0 || (ret == -EIO && strstr(variant->attribute, "dma")));
		ret = dgpu_migrate(gpu->dev, (void *)inject->mem, LENGTH, DGPU_MIGRATE_TO_SYSTEM,
				   results, NULL);
		bad[2] += ret != 0;
		if (!EXPECT_TRUE(ret == 0 || ret == -EIO || ret == -EBUSY))
			test_log("to the system: %s", strerror(-ret));
		inject_percent(variant->attribute, 0);
		if (!EXPECT_TRUE(load_check(inject->mem, NPAGES, 1)))
			break;
	}
	test_log("failed: %u moves in, %u programs, %u moves out", bad[0], bad[1], bad[2]);
	EXPECT_GT(bad[0], 0);
}

HARNESS_MAIN

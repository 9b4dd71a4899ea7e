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
#include "load.h"
#include "sys.h"

#define NPAGES	8ul
#define LENGTH	(NPAGES * PAGE_SIZE)

#define DEBUGFS	"/sys/kernel/debug"

/* More allocations than any of the operations makes. */
#define MOST	4000

static const char * const attributes[] = { "failslab", "fail_page_alloc" };

FIXTURE(inject) {
	struct gpu gpu;
	volatile char *mem, *fresh;
	int file;
	bool on;
};

static int inject_set(const char *attribute, const char *name, const char *value)
{
	char path[100];

	snprintf(path, sizeof(path), DEBUGFS "/%s/%s", attribute, name);
	return sys_try_write(path, value);
}

/* Nothing fails by chance. */
static void inject_off(void)
{
	for (size_t i = 0; i < 2; i++) {
		inject_set(attributes[i], "probability", "0");
		inject_set(attributes[i], "times", "1");
		inject_set(attributes[i], "task-filter", "N");
		inject_set(attributes[i], "require-start", "0");
		inject_set(attributes[i], "require-end", "0xffffffffffffffff");
	}
}

FIXTURE_SETUP(inject)
{
	if (access("/proc/self/fail-nth", W_OK))
		SKIP("a kernel without FAULT_INJECTION");
	for (size_t i = 0; i < 2; i++) {
		if (inject_set(attributes[i], "verbose", "0"))
			SKIP("a kernel without %s", attributes[i]);
	}
	gpu_setup_memory(&self->gpu);
	self->on = true;
	inject_off();
	/* Also those that may wait for memory: most of ours do. */
	for (size_t i = 0; i < 2; i++)
		ASSERT_EQ(0, inject_set(attributes[i], "ignore-gfp-wait", "N"));
	inject_set("fail_page_alloc", "min-order", "0");
	ASSERT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
	self->file = ASSERT_SYS(memfd_create("inject", MFD_CLOEXEC));
	self->mem = sys_pages(NPAGES);
	load_fill(self->mem, NPAGES, 1);
}

FIXTURE_TEARDOWN(inject)
{
	if (self->on)
		inject_off();
	for (size_t i = 0; self->on && i < 2; i++)
		inject_set(attributes[i], "ignore-gfp-wait", "Y");
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

/* The n-th allocation of this thread from now on fails; 0: none. */
static void inject_nth(int fd, unsigned int n)
{
	char text[16];
	const int len = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(fd, text, (size_t)len, 0) != len)
		FAIL("fail-nth: %s", strerror(errno));
}

/* Has it failed, or were there fewer? */
static bool inject_happened(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		FAIL("fail-nth: %s", strerror(errno));
	return atoi(text) == 0;
}

struct inject_operation {
	const char *name;
	/* Before each try, with no failures; what is tried: 0 or -errno */
	void (*prepare)(struct harness_data_inject *self);
	int (*run)(struct harness_data_inject *self);
	/* The contents need not be looked at by the CPU, which moves pages. */
	bool keep;
	int also;		/* another error that it may have */
};

static void inject_each(struct harness_data_inject *self, const struct inject_operation *operation)
{
	unsigned int n, failed = 0, errors[2] = {}, busy = 0;
	int fd, ret;
	bool happened;

	fd = ASSERT_SYS(open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC));
	for (n = 1; n < MOST; n++) {
		if (operation->prepare)
			operation->prepare(self);
		inject_nth(fd, n);
		ret = operation->run(self);
		happened = inject_happened(fd);
		inject_nth(fd, 0);
		if (!happened) {
			/* A page may be in use for a moment without any failure. */
			if (ret == -EBUSY && busy++ < 50) {
				sys_sleep_ms(5);
				n--;
				continue;
			}
			if (!EXPECT_EQ(0, ret))
				test_log("%s: %s without a failure", operation->name,
					 strerror(-ret));
			break;
		}
		failed++;
		errors[0] += ret == -ENOMEM;
		errors[1] += ret != 0;
		/* Of a page that stays because memory was short it is said that it is busy. */
		if (!EXPECT_TRUE(ret == 0 || ret == -ENOMEM || ret == -EBUSY || ret == -EIO ||
				 ret == -EFAULT || ret == operation->also))
			test_log("%s: allocation %u failed: %s", operation->name, n,
				 strerror(-ret));
		if (!operation->keep && !EXPECT_TRUE(load_check(self->mem, NPAGES, 1))) {
			test_log("%s: after allocation %u failed", operation->name, n);
			break;
		}
	}
	close(fd);
	EXPECT_LT(n, MOST);
	test_log("%s: %u allocations, %u of them noticed, %u as ENOMEM", operation->name, failed,
		 errors[1], errors[0]);
	EXPECT_GT(failed, 0);
}

static void inject_to_system(struct harness_data_inject *self)
{
	gpu_move_out(&self->gpu, self->mem, NPAGES);
}

static void inject_to_device(struct harness_data_inject *self)
{
	gpu_move_in(&self->gpu, self->mem, NPAGES);
}

static int inject_migrate_in(struct harness_data_inject *self)
{
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
	inject_each(self, &(const struct inject_operation) {
		.name = "to the device", .prepare = inject_to_system, .run = inject_migrate_in,
		/* The chip could not be given the addresses: no room for the page there. */
		.also = -ENOSPC,
	});
}

static int inject_migrate_out(struct harness_data_inject *self)
{
	return dgpu_migrate(self->gpu.dev, (void *)self->mem, LENGTH, DGPU_MIGRATE_TO_SYSTEM, NULL,
			    NULL);
}

TEST_F(inject, migration_to_the_system)
{
	inject_each(self, &(const struct inject_operation) {
		.name = "to the system", .prepare = inject_to_device, .run = inject_migrate_out,
	});
}

/*
 * The CPU touches pages, by a system call: that gets EFAULT or ENOMEM where a thread would
 * be in the hands of the OOM killer.
 */
static int inject_touch(struct harness_data_inject *self)
{
	for (size_t i = 0; i < NPAGES; i++)
		if (pwrite(self->file, (const void *)(self->mem + i * PAGE_SIZE), 1, 0) != 1)
			return -errno;
	return 0;
}

TEST_F(inject, touch_of_the_cpu)
{
	inject_each(self, &(const struct inject_operation) {
		.name = "CPU fault", .prepare = inject_to_device, .run = inject_touch,
	});
}

/* What the try before has made is all zeroes; then something new. */
static void inject_populate_prepare(struct harness_data_inject *self)
{
	uint64_t dirt = 0;

	for (unsigned int word = 0; self->fresh && word < 512; word += 73)
		dirt += load_sum(self->fresh, NPAGES, word);
	EXPECT_EQ(0, dirt);
	if (self->fresh)
		ASSERT_SYS(munmap((void *)self->fresh, LENGTH));
	self->fresh = sys_pages(NPAGES);
}

static int inject_populate(struct harness_data_inject *self)
{
	return dgpu_migrate(self->gpu.dev, (void *)self->fresh, LENGTH, DGPU_MIGRATE_POPULATE,
			    NULL, NULL);
}

TEST_F(inject, populating)
{
	struct dgpu_dev *dev = self->gpu.dev;
	const int64_t before = chip_rmem(dev, HMM_RMEM_IN_ZERO);

	inject_each(self, &(const struct inject_operation) {
		.name = "populate", .prepare = inject_populate_prepare, .run = inject_populate,
		.keep = true, .also = -ENOSPC,
	});
	inject_populate_prepare(self);
	EXPECT_SYS(munmap((void *)self->fresh, LENGTH));
	EXPECT_GT(chip_rmem(dev, HMM_RMEM_IN_ZERO), before);
}

static int inject_evacuate(struct harness_data_inject *self)
{
	return dgpu_evacuate(self->gpu.dev, NULL);
}

TEST_F(inject, evacuation)
{
	inject_each(self, &(const struct inject_operation) {
		.name = "evacuation", .prepare = inject_to_device, .run = inject_evacuate,
	});
}

static int inject_hint(struct harness_data_inject *self)
{
	static const uint32_t flags[] = {
		HMM_HINT_AUTO, HMM_HINT_READ_MOSTLY, HMM_HINT_IN_PLACE, 0, HMM_HINT_EXCLUSIVE, 0,
	};
	int ret = 0;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && !ret; i++)
		ret = dgpu_set_hint(self->gpu.dev, (const void *)self->mem, LENGTH,
				    &(const struct dgpu_hint) { .flags = flags[i] });
	return ret;
}

static void inject_forget(struct harness_data_inject *self)
{
	/* Notes go with the mapping. */
	ASSERT_SYS(munmap((void *)self->mem, LENGTH));
	self->mem = sys_pages(NPAGES);
	load_fill(self->mem, NPAGES, 1);
}

TEST_F(inject, hints)
{
	inject_each(self, &(const struct inject_operation) {
		.name = "hints", .prepare = inject_forget, .run = inject_hint,
	});
}

static int inject_residency(struct harness_data_inject *self)
{
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
	inject_each(self, &(const struct inject_operation) {
		.name = "residency", .run = inject_residency, .keep = true,
	});
}

static int inject_prefault(struct harness_data_inject *self)
{
	return dgpu_prefault(self->gpu.dev, (const void *)self->mem, LENGTH, true);
}

static void inject_prefault_prepare(struct harness_data_inject *self)
{
	inject_forget(self);
	inject_to_device(self);
}

TEST_F(inject, prefault_of_device_memory)
{
	inject_each(self, &(const struct inject_operation) {
		.name = "prefault", .prepare = inject_prefault_prepare, .run = inject_prefault,
	});
}

/* A file of its own: the first one of an address space, with its mirror. */
static int inject_open(struct harness_data_inject *self __attribute__((unused)))
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
		inject_each(self, &(const struct inject_operation) {
			.name = "open", .run = inject_open, .keep = true,
		});
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* ---- at random, where workers serve the device ---- */

/* Where a module's code is: [*start, *start + *size). */
static bool inject_text(const char *module, unsigned long *start, unsigned long *size)
{
	char line[300], name[100], address[40];
	FILE *file = fopen("/proc/modules", "re");
	bool found = false;

	ASSERT_NE(file, NULL);
	while (!found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%99s %lu %*s %*s %*s %39s", name, size, address) == 3 &&
		    !strcmp(name, module)) {
			*start = strtoul(address, NULL, 0);
			found = true;
		}
	}
	fclose(file);
	return found && *start;
}

/* One allocation in so many fails, in percent, if @module is among its callers. */
static void inject_random(const char *module, unsigned int percent)
{
	unsigned long start, size;
	char text[32];

	if (!inject_text(module, &start, &size))
		SKIP("where %s is in memory cannot be told", module);
	for (size_t i = 0; i < 2; i++) {
		if (inject_set(attributes[i], "stacktrace-depth", "32"))
			SKIP("a kernel without FAULT_INJECTION_STACKTRACE_FILTER");
		snprintf(text, sizeof(text), "0x%lx", start);
		ASSERT_EQ(0, inject_set(attributes[i], "require-start", text));
		snprintf(text, sizeof(text), "0x%lx", start + size);
		ASSERT_EQ(0, inject_set(attributes[i], "require-end", text));
		snprintf(text, sizeof(text), "%u", percent);
		ASSERT_EQ(0, inject_set(attributes[i], "times", "-1"));
		ASSERT_EQ(0, inject_set(attributes[i], "probability", text));
	}
}

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

static void device_side_fail(const char *attribute, unsigned int percent)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", percent);
	ASSERT_EQ(0, inject_set(attribute, "times", "-1"));
	ASSERT_EQ(0, inject_set(attribute, "probability", text));
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
		device_side_fail(variant->attribute, i % 3 * 50);
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
		device_side_fail(variant->attribute, 0);
		if (!EXPECT_TRUE(load_check(inject->mem, NPAGES, 1)))
			break;
	}
	test_log("failed: %u moves in, %u programs, %u moves out", bad[0], bad[1], bad[2]);
	EXPECT_GT(bad[0], 0);
}

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Control groups and device memory: a page on the device stays charged to its cgroup
 * exactly as it was before.
 *
 * Moving changes no account.  Limits hold: what is on the device counts, and who touches
 * more than the limit allows is stopped as without a device.  A page that comes back finds
 * its charge waiting, also at the limit.  A cgroup can go while pages that it is charged
 * for are on the device.
 */
#include <dirent.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "chip.h"
#include "gpu.h"
#include "harness.h"
#include "load.h"
#include "sys.h"

#define MIB	(1ull << 20)
#define NPAGES	(8 * MIB / PAGE_SIZE)
#define LENGTH	(NPAGES * PAGE_SIZE)

/*
 * Charges that are not pages of this memory: page tables of both sides, structures of the
 * kernel's that it charges to the process, and what CPUs keep charged ahead (64 pages
 * each).
 */
#define NOISE	(2 * MIB)

FIXTURE(memcg) {
	struct gpu gpu;		/* of the parent; the programs in the cgroup have their own */
	struct sys_memcg cg, other;
};

FIXTURE_SETUP(memcg)
{
	gpu_setup_memory(&self->gpu);
	sys_memcg_create(&self->cg, "device");
	/* What does not fit must not go to swap instead. */
	sys_memcg_set(&self->cg, "memory.swap.max", "0");
}

FIXTURE_TEARDOWN(memcg)
{
	gpu_teardown(&self->gpu);
	sys_memcg_leave(&self->cg);
	sys_memcg_destroy(&self->cg);
	sys_memcg_destroy(&self->other);
}

static long long memcg_number(const struct sys_memcg *cg, const char *file, const char *key)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", cg->path, file);
	return sys_number_of(path, key);
}

static long long memcg_current(const struct sys_memcg *cg)
{
	return memcg_number(cg, "memory.current", "");
}

static void memcg_limit(const struct sys_memcg *cg, const char *file, unsigned long long bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", bytes);
	sys_memcg_set(cg, file, text);
}

static void memcg_expect_near(long long a, long long b)
{
	if (!EXPECT_LE(a > b ? a - b : b - a, (long long)NOISE))
		test_log("%lld and %lld KiB", a >> 10, b >> 10);
}

static void memcg_move(struct gpu *gpu, volatile void *mem, size_t npages, uint32_t flags)
{
	uint64_t moved = 0;

	ASSERT_EQ(0, dgpu_migrate(gpu->dev, (void *)mem, npages * PAGE_SIZE, flags, NULL, &moved));
	ASSERT_EQ(npages, moved);
}

/* A process in the cgroup, with everything warm: what follows is charges of its memory. */
static void memcg_enter(const struct sys_memcg *cg, struct gpu *gpu)
{
	volatile void *mem;

	sys_memcg_enter(cg);
	memset(gpu, 0, sizeof(*gpu));
	gpu_setup_memory(gpu);
	mem = sys_pages(16);
	cpu_fill(mem, 16, 1);
	memcg_move(gpu, mem, 16, 0);
	ASSERT_EQ(0, gpu_fill(gpu, mem, 16, 2));
	ASSERT_TRUE(cpu_check(mem, 16, 2));
	ASSERT_SYS(munmap((void *)mem, 16 * PAGE_SIZE));
}

/* Run a program in a child; its wait status. */
#define MEMCG_CHILD(status, program) do { \
	const pid_t memcg_pid = fork(); \
	if (!memcg_pid) { \
		program; \
		_exit(0); \
	} \
	ASSERT_EQ(memcg_pid, waitpid(memcg_pid, &(status), 0)); \
} while (0)

/* The kernel adds up what CPUs have counted when it is much, or else every two seconds. */
static long long memcg_anon_becomes(const struct sys_memcg *cg, long long least)
{
	const uint64_t end = sys_now_ms() + 30000;
	long long anon;

	while ((anon = memcg_number(cg, "memory.stat", "anon ")) < least && sys_now_ms() < end)
		sys_sleep_ms(100);
	return anon;
}

/* ---- accounts ---- */

static void accounts_program(const struct sys_memcg *cg)
{
	volatile char *mem = sys_pages(NPAGES);
	long long current, anon;
	struct gpu gpu;

	memcg_enter(cg, &gpu);
	load_fill(mem, NPAGES, 1);
	anon = memcg_anon_becomes(cg, (long long)LENGTH);
	current = memcg_current(cg);
	EXPECT_GE(anon, (long long)LENGTH);
	for (int i = 0; i < 3; i++) {
		memcg_move(&gpu, mem, NPAGES, 0);
		memcg_expect_near(current, memcg_current(cg));
		memcg_expect_near(anon, memcg_number(cg, "memory.stat", "anon "));
		EXPECT_EQ(0, gpu_fill(&gpu, mem, NPAGES, i << 20));
		memcg_expect_near(current, memcg_current(cg));
		if (i == 1)
			memcg_move(&gpu, mem, NPAGES, DGPU_MIGRATE_TO_SYSTEM);
		else
			EXPECT_TRUE(cpu_check(mem, NPAGES, i << 20));
		memcg_expect_near(current, memcg_current(cg));
		memcg_expect_near(anon, memcg_number(cg, "memory.stat", "anon "));
	}
	EXPECT_TRUE(load_check(mem, NPAGES, 1));
	/* What is freed while it is on the device is no longer charged. */
	memcg_move(&gpu, mem, NPAGES, 0);
	ASSERT_SYS(munmap((void *)mem, LENGTH));
	memcg_expect_near(current - (long long)LENGTH, memcg_current(cg));
}

TEST_F(memcg, accounts_do_not_move)
{
	int status;

	MEMCG_CHILD(status, accounts_program(&self->cg));
	EXPECT_EQ(0, status);
}

/* Pages that a device's write has made are charged to the process, not to the worker. */
static void populate_program(const struct sys_memcg *cg)
{
	volatile char *mem = sys_pages(NPAGES);
	long long current;
	struct gpu gpu;

	memcg_enter(cg, &gpu);
	ASSERT_EQ(0, dgpu_set_policy(gpu.dev, HMM_POLICY_TOUCH));
	current = memcg_current(cg);
	EXPECT_EQ(0, gpu_fill(&gpu, mem, NPAGES / 2, 0x100));
	EXPECT_GT(gpu_ptes(&gpu, mem, NPAGES / 2, DGPU_PTE_LOCAL), 0);
	memcg_expect_near(current + (long long)LENGTH / 2, memcg_current(cg));
	EXPECT_EQ(0, dgpu_migrate(gpu.dev, (char *)mem + LENGTH / 2, LENGTH / 2,
				  DGPU_MIGRATE_POPULATE, NULL, NULL));
	memcg_expect_near(current + (long long)LENGTH, memcg_current(cg));
	EXPECT_TRUE(cpu_check(mem, NPAGES / 2, 0x100));
	memcg_expect_near(current + (long long)LENGTH, memcg_current(cg));
}

TEST_F(memcg, device_writes_are_charged)
{
	int status;

	MEMCG_CHILD(status, populate_program(&self->cg));
	EXPECT_EQ(0, status);
}

/* ---- limits ---- */

/* Touches more than it may, by the CPU or by the device; does not come back if it is stopped. */
static void limit_program(const struct sys_memcg *cg, bool on_device, bool by_device)
{
	volatile char *mem = sys_pages(4 * NPAGES);
	struct gpu gpu;

	memcg_enter(cg, &gpu);
	cpu_fill(mem, NPAGES, 1);
	if (on_device)
		memcg_move(&gpu, mem, NPAGES, 0);
	if (!by_device) {
		cpu_fill(mem + LENGTH, 3 * NPAGES, 1 + NPAGES);
		return;
	}
	if (on_device)
		ASSERT_EQ(0, dgpu_set_policy(gpu.dev, HMM_POLICY_TOUCH));
	/* It is not given memory: either the job fails, or the process is killed. */
	_exit(gpu_fill(&gpu, mem, 4 * NPAGES, 1) == -ENOMEM ? 3 : 0);
}

FIXTURE(limit) {
	struct harness_data_memcg memcg;
};

FIXTURE_VARIANT(limit) {
	bool on_device;		/* without: the same must happen */
	bool by_device;
};

FIXTURE_VARIANT_ADD(limit, cpu_without) { .on_device = false };
FIXTURE_VARIANT_ADD(limit, cpu) { .on_device = true };
FIXTURE_VARIANT_ADD(limit, gpu_without) { .by_device = true };
FIXTURE_VARIANT_ADD(limit, gpu) { .on_device = true, .by_device = true };

FIXTURE_SETUP(limit)
{
	harness_setup_memcg(&self->memcg, NULL);
}

FIXTURE_TEARDOWN(limit)
{
	harness_teardown_memcg(&self->memcg, NULL);
}

TEST_F(limit, holds)
{
	struct harness_data_memcg *memcg = &self->memcg;
	const struct sys_memcg *cg = &memcg->cg;
	long long peak;
	int status;

	/* Half of what it will want, and some for the rest of the process. */
	memcg_limit(cg, "memory.max", 2 * LENGTH + 4 * MIB);
	MEMCG_CHILD(status, limit_program(cg, variant->on_device, variant->by_device));
	if (!EXPECT_TRUE((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
			 (variant->by_device && WIFEXITED(status) && WEXITSTATUS(status) == 3)))
		test_log("it got what it wanted: status %#x", status);
	peak = memcg_number(cg, "memory.peak", "");
	if (peak >= 0)
		EXPECT_LE(peak, 2 * LENGTH + 4 * MIB + NOISE);
	EXPECT_GT(memcg_number(cg, "memory.events", "max "), 0);
	EXPECT_TRUE(chip_rmem_becomes(memcg->gpu.dev, HMM_RMEM_USED, 0));
}

/* At the limit: nothing new, but what is charged can go and come. */
static void at_limit_program(const struct sys_memcg *cg)
{
	volatile char *mem = sys_pages(NPAGES);
	long long ooms, current;
	struct gpu gpu;

	memcg_enter(cg, &gpu);
	load_fill(mem, NPAGES, 2);
	/* Once around, for all page tables to be there. */
	memcg_move(&gpu, mem, NPAGES, 0);
	EXPECT_TRUE(load_check(mem, NPAGES, 2));
	memcg_move(&gpu, mem, NPAGES, 0);
	ooms = memcg_number(cg, "memory.events", "oom ");
	/* Room for what the walk itself charges (kernel structures), for no page of ours. */
	current = memcg_current(cg);
	memcg_limit(cg, "memory.max", (unsigned long long)current + 256 * 1024);
	for (int i = 0; i < 3; i++) {
		EXPECT_TRUE(load_check(mem, NPAGES, 2));
		memcg_move(&gpu, mem, NPAGES, 0);
		memcg_move(&gpu, mem, NPAGES, DGPU_MIGRATE_TO_SYSTEM);
		memcg_move(&gpu, mem, NPAGES, 0);
		ASSERT_EQ(0, dgpu_evacuate(gpu.dev, NULL));
		memcg_move(&gpu, mem, NPAGES, 0);
	}
	EXPECT_TRUE(load_check(mem, NPAGES, 2));
	EXPECT_EQ(ooms, memcg_number(cg, "memory.events", "oom "));
	EXPECT_EQ(0, memcg_number(cg, "memory.events", "oom_kill "));
}

TEST_F(memcg, moving_back_at_the_limit)
{
	int status;

	MEMCG_CHILD(status, at_limit_program(&self->cg));
	EXPECT_EQ(0, status);
}

/* ---- the cgroup goes ---- */

static long long memcg_dying(const struct sys_memcg *parent)
{
	return memcg_number(parent, "cgroup.stat", "nr_dying_descendants");
}

TEST_F(memcg, removal)
{
	struct sys_memcg parent = self->cg, child = {};
	volatile char *mem = sys_pages(NPAGES);
	long long current;
	struct gpu gpu;

	sys_memcg_create(&self->other, "elsewhere");
	sys_memcg_set(&parent, "cgroup.subtree_control", "+memory");
	snprintf(child.path, sizeof(child.path), "%.100s/child", parent.path);
	ASSERT_SYS(mkdir(child.path, 0700));
	gpu_teardown(&self->gpu);

	memcg_enter(&child, &gpu);
	load_fill(mem, NPAGES, 3);
	memcg_move(&gpu, mem, NPAGES, 0);
	/* The process goes on elsewhere; what it has is charged where it was. */
	sys_memcg_enter(&self->other);
	current = memcg_current(&self->other);
	ASSERT_SYS(rmdir(child.path));
	/* Since 7.x pages go to the parent at once, and keep nothing. */
	if (!sys_kernel_since(7, 0))
		EXPECT_GE(memcg_dying(&parent), 1);
	EXPECT_GE(memcg_current(&parent), (long long)LENGTH);
	EXPECT_EQ(0, gpu_fill(&gpu, mem, NPAGES / 2, 0x100));
	EXPECT_TRUE(cpu_check(mem, NPAGES / 2, 0x100));
	EXPECT_TRUE(load_check(mem, NPAGES, 3));
	memcg_move(&gpu, mem, NPAGES, 0);
	memcg_expect_near(current, memcg_current(&self->other));
	EXPECT_GE(memcg_current(&parent), (long long)LENGTH);
	/* With its last page the cgroup is really gone. */
	ASSERT_SYS(munmap((void *)mem, LENGTH));
	EXPECT_TRUE(chip_rmem_becomes(gpu.dev, HMM_RMEM_USED, 0));
	EXPECT_LE(memcg_current(&parent), (long long)NOISE);
	gpu_teardown(&gpu);
	sys_memcg_leave(&self->other);
}

/* ---- who has how much on the device ---- */

/* Find a file by name below a directory, under one whose name contains @under. */
static bool memcg_find(const char *dir, const char *under, const char *name, bool in, char *path,
		       size_t size)
{
	DIR *list = opendir(dir);
	struct dirent *entry;
	bool found = false;
	char at[400];

	while (list && !found && (entry = readdir(list))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(at, sizeof(at), "%.200s/%.100s", dir, entry->d_name);
		if (in && !strcmp(entry->d_name, name)) {
			snprintf(path, size, "%s", at);
			found = true;
		} else if (entry->d_type == DT_DIR) {
			found = memcg_find(at, under, name, in || strstr(entry->d_name, under),
					   path, size);
		}
	}
	if (list)
		closedir(list);
	return found;
}

/* Pages of a cgroup on the device, as debugfs says; 0 if it is not in the list. */
static long long memcg_device_pages(const struct dgpu_info *info, const struct sys_memcg *cg)
{
	const char *name = strstr(cg->path, "/hmm-");
	char path[400], device[16], *text, *line;
	long long pages = 0, number;

	snprintf(device, sizeof(device), "dgpu%u", info->index);
	if (!memcg_find("/sys/kernel/debug/hmm", device, "cgroups", false, path, sizeof(path)))
		return -1;
	text = sys_text(path);
	ASSERT_NE(text, NULL);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char where[300];

		if (sscanf(line, "%lld %299s", &number, where) == 2 && !strcmp(where, name))
			pages += number;
	}
	free(text);
	return pages;
}

static void usage_program(struct sys_child *me, void *arg)
{
	volatile char *mem = sys_pages(NPAGES);
	struct gpu gpu;
	char c;

	memcg_enter(arg, &gpu);
	load_fill(mem, NPAGES, 4);
	memcg_move(&gpu, mem, NPAGES, 0);
	sys_child_tell(me);
	ASSERT_EQ(1, read(me->from, &c, 1));
	EXPECT_TRUE(load_check(mem, NPAGES / 2, 4));
	sys_child_tell(me);
	ASSERT_EQ(1, read(me->from, &c, 1));
}

TEST_F(memcg, usage_is_shown)
{
	struct sys_child first = {}, second = {};
	struct dgpu_info info;
	long long pages;

	ASSERT_EQ(0, dgpu_get_info(self->gpu.dev, &info));
	sys_memcg_create(&self->other, "other");
	ASSERT_EQ(0, memcg_device_pages(&info, &self->cg));
	sys_child_start(&first, usage_program, &self->cg);
	sys_child_wait(&first);
	EXPECT_EQ(NPAGES, memcg_device_pages(&info, &self->cg));
	EXPECT_EQ(0, memcg_device_pages(&info, &self->other));
	sys_child_start(&second, usage_program, &self->other);
	sys_child_wait(&second);
	EXPECT_EQ(NPAGES, memcg_device_pages(&info, &self->cg));
	EXPECT_EQ(NPAGES, memcg_device_pages(&info, &self->other));
	sys_child_tell(&first);
	sys_child_wait(&first);
	/* What the CPU has read, or was brought along with it. */
	pages = memcg_device_pages(&info, &self->cg);
	EXPECT_LE(pages, NPAGES / 2);
	EXPECT_EQ(pages + (long long)NPAGES, chip_rmem(self->gpu.dev, HMM_RMEM_USED));
	sys_child_tell(&first);
	EXPECT_EQ(0, sys_child_end(&first));
	sys_child_tell(&second);
	sys_child_wait(&second);
	sys_child_tell(&second);
	EXPECT_EQ(0, sys_child_end(&second));
	EXPECT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
	EXPECT_EQ(0, memcg_device_pages(&info, &self->cg));
	EXPECT_EQ(0, memcg_device_pages(&info, &self->other));
}

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that go to the device's memory and come back: by request, on the first touch of
 * the device or of the CPU, by hints and policies; between processes and devices; and
 * with copy engines that fail.  Whatever happens, the contents are right.
 *
 * What memory management does to pages on the device is in mem_*.c.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include "chip.h"
#include "gpu.h"
#include "load.h"
#include "sys.h"

#define NPAGES	64u

FIXTURE(memory) {
	struct gpu gpu;
	char *mem;		/* NPAGES pages that nobody has touched */
};

FIXTURE_SETUP(memory)
{
	gpu_setup_memory(&self->gpu);
	self->mem = sys_pages(NPAGES);
}

FIXTURE_TEARDOWN(memory)
{
	chip_knobs_reset(0);
	chip_fail("fail_copy", 0);
	gpu_teardown(&self->gpu);
}

static void memory_policy(struct harness_data_memory *self, enum hmm_policy policy)
{
	ASSERT_EQ(0, dgpu_set_policy(self->gpu.dev, policy));
}

static void memory_hint(struct harness_data_memory *self, void *addr, size_t npages,
			uint32_t flags, uint32_t prefer)
{
	const struct dgpu_hint hint = {
		.flags = flags, .prefer = prefer,
		.device = prefer == HMM_PREFER_DEVICE ? DGPU_DEVICE_SELF : 0,
	};

	ASSERT_EQ(0, dgpu_set_hint(self->gpu.dev, addr, npages * PAGE_SIZE, &hint));
}

static uint64_t memory_hw(struct harness_data_memory *self, enum dgpu_stat_hw stat)
{
	uint64_t values[DGPU_HW_NR] = { 0 };

	ASSERT_EQ(DGPU_HW_NR, dgpu_get_stat(self->gpu.dev, DGPU_STAT_HW, values, DGPU_HW_NR));
	return values[stat];
}

/*
 * gpu_fill() and gpu_check() of all pages by one thread of the device, for the tests that
 * look where the pages are then.  Moving to where they are touched is an attempt: a page
 * that two threads want to move at once may stay where it is.
 */
static int memory_fill(struct harness_data_memory *self, uint64_t value)
{
	return gpu_run(&self->gpu, GPU_FILL, 1, (uintptr_t)self->mem, NPAGES, PAGE_SIZE, value);
}

static int memory_check(struct harness_data_memory *self, uint64_t value)
{
	return gpu_run(&self->gpu, GPU_CHECK, 1, (uintptr_t)self->mem, NPAGES, PAGE_SIZE, value);
}

/* ---- by request ---- */

TEST_F(memory, there_and_back)
{
	const size_t sizes[] = { 1, 2, 15, 16, 17, NPAGES };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *at = self->mem + (NPAGES - sizes[i]) / 2 * PAGE_SIZE;

		load_fill(self->mem, NPAGES, i);
		gpu_move_in(&self->gpu, at, sizes[i]);
		EXPECT_PLACE(&self->gpu, at, sizes[i], DEVICE);
		gpu_move_out(&self->gpu, at, sizes[i]);
		EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
		EXPECT_EQ(0, gpu_ptes(&self->gpu, self->mem, NPAGES, DGPU_PTE_LOCAL));
		EXPECT_TRUE(load_check(self->mem, NPAGES, i));
	}
}

/* More than one piece of work, at an address that nothing is aligned to. */
TEST_F(memory, there_and_back_in_pieces)
{
	const size_t npages = 5000;
	char *mem = (char *)sys_pages(npages + 1) + PAGE_SIZE;
	const uint64_t copied = memory_hw(self, DGPU_HW_COPIED);

	load_fill(mem, npages, 5);
	gpu_move_in(&self->gpu, mem, npages);
	EXPECT_PLACE(&self->gpu, mem, npages, DEVICE);
	EXPECT_GE(memory_hw(self, DGPU_HW_COPIED) - copied, npages);
	gpu_move_out(&self->gpu, mem, npages);
	EXPECT_PLACE(&self->gpu, mem, npages, SYSTEM);
	EXPECT_GE(memory_hw(self, DGPU_HW_COPIED) - copied, 2 * npages);
	EXPECT_TRUE(load_check(mem, npages, 5));
}

TEST_F(memory, results)
{
	struct gpu_moved moved;

	cpu_fill(self->mem, 8, 1);
	gpu_migrate(&self->gpu, self->mem, 16, 0, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_RESULTS(&moved, 0, 8, MOVED);
	EXPECT_RESULTS(&moved, 8, 8, EMPTY);
	EXPECT_EQ(8, moved.moved);
	EXPECT_PLACE(&self->gpu, self->mem + 8 * PAGE_SIZE, 8, NONE);

	gpu_migrate(&self->gpu, self->mem, 16, DGPU_MIGRATE_POPULATE, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_RESULTS(&moved, 0, 8, THERE);
	EXPECT_RESULTS(&moved, 8, 8, MOVED);
	EXPECT_PLACE(&self->gpu, self->mem, 16, DEVICE);

	gpu_migrate(&self->gpu, self->mem, 32, DGPU_MIGRATE_TO_SYSTEM, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_RESULTS(&moved, 0, 16, MOVED);
	EXPECT_EQ(16, moved.moved);
	EXPECT_TRUE(cpu_check(self->mem, 8, 1));
	for (unsigned int i = 8; i < 16; i++)
		EXPECT_EQ(0, *(uint64_t *)(self->mem + i * PAGE_SIZE));
}

/* Everything that this process has, its stack and the buffers of this very call. */
TEST_F(memory, everything)
{
	struct dgpu_migrate args = { .length = 1ull << 47 };
	int ret;

	load_fill(self->mem, NPAGES, 9);
	for (int round = 0; round < 3; round++) {
		args.moved = 0;
		args.flags = 0;
		ret = ioctl(dgpu_fd(self->gpu.dev), DGPU_IOCTL_MIGRATE, &args);
		EXPECT_TRUE(ret == -1);
		EXPECT_TRUE(errno == EFAULT || errno == EOPNOTSUPP || errno == EBUSY);
		EXPECT_GE(args.moved, NPAGES);
		EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
		EXPECT_TRUE(load_check(self->mem, NPAGES, 9));
	}
}

/* ---- what the device does there ---- */

TEST_F(memory, device_works_on_its_own_memory)
{
	volatile uint64_t *counter = (void *)self->mem;
	uint64_t accesses;

	cpu_fill(self->mem, NPAGES, 100);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	accesses = memory_hw(self, DGPU_HW_LOCAL_ACCESSES);
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 100));
	EXPECT_EQ(NPAGES, gpu_ptes(&self->gpu, self->mem, NPAGES,
				   DGPU_PTE_VALID | DGPU_PTE_LOCAL));
	EXPECT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 1000));
	EXPECT_EQ(NPAGES, gpu_ptes(&self->gpu, self->mem, NPAGES,
				   DGPU_PTE_LOCAL | DGPU_PTE_WRITE | DGPU_PTE_DIRTY));
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 1000));
	EXPECT_GE(memory_hw(self, DGPU_HW_LOCAL_ACCESSES) - accesses, 3 * NPAGES);
	EXPECT_EQ(0, gpu_run(&self->gpu, GPU_INCR, 16, (uintptr_t)self->mem, 100, 0, 0));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);

	EXPECT_EQ(1000 + 1600, *counter);
	*counter = 1000;
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1000));
}

/* What it writes there it reports when the page leaves, as for memory of the system. */
TEST_F(memory, dirty_pages_are_reported)
{
	uint64_t dirty;

	cpu_fill(self->mem, NPAGES, 1);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	ASSERT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 1));
	dirty = dgpu_stat_mirror(self->gpu.dev, HMM_STAT_DIRTY);
	/* Every fourth page. */
	ASSERT_EQ(0, gpu_run(&self->gpu, GPU_FILL, 4, (uintptr_t)self->mem, NPAGES / 4,
			     4 * PAGE_SIZE, 77));
	EXPECT_EQ(dirty, dgpu_stat_mirror(self->gpu.dev, HMM_STAT_DIRTY));
	gpu_move_out(&self->gpu, self->mem, NPAGES);
	EXPECT_EQ(dirty + NPAGES / 4, dgpu_stat_mirror(self->gpu.dev, HMM_STAT_DIRTY));
}

/* A page that the program may only read. */
TEST_F(memory, protected_memory_on_the_device)
{
	cpu_fill(self->mem, NPAGES, 1);
	ASSERT_SYS(mprotect(self->mem, NPAGES * PAGE_SIZE, PROT_READ));
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 1));
	EXPECT_EQ(-EACCES, gpu_write(&self->gpu, self->mem, 7));
	EXPECT_EQ(0, gpu_ptes(&self->gpu, self->mem, NPAGES, DGPU_PTE_WRITE));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	/* To be written to it may have to go through system memory, as for a COW. */
	ASSERT_SYS(mprotect(self->mem, NPAGES * PAGE_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 2));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 2));
}

/* 2 MiB in one piece are one entry; what happens to a part of them, happens to that. */
TEST_F(memory, large_entries)
{
	const size_t npages = 2 * HUGE_SIZE / PAGE_SIZE, half = npages / 2;
	char *mem = sys_pages(npages), *middle = mem + HUGE_SIZE;
	const uint8_t large = DGPU_PTE_LOCAL | DGPU_PTE_HUGE;

	ASSERT_EQ(0, (uintptr_t)mem % HUGE_SIZE);
	load_fill(mem, npages, 3);
	if (gpu_rmem(&self->gpu, HMM_RMEM_CHUNKS_FREE) < 2)
		SKIP("no 2 MiB of device memory are free in one piece");
	gpu_move_in(&self->gpu, mem, npages);
	ASSERT_EQ(0, gpu_touch(&self->gpu, mem, npages));
	EXPECT_EQ(npages, gpu_ptes(&self->gpu, mem, npages, large));

	/* The device writes one word of each; all of them count as written, and come back. */
	EXPECT_EQ(0, gpu_write(&self->gpu, mem + 8 * LOAD_WORDS, 0));
	ASSERT_SYS(munmap(middle, PAGE_SIZE));
	EXPECT_EQ(0, gpu_ptes(&self->gpu, middle, half, DGPU_PTE_HUGE));
	EXPECT_EQ(half, gpu_ptes(&self->gpu, mem, half, large));
	EXPECT_EQ(-EFAULT, gpu_write(&self->gpu, middle, 1));
	EXPECT_EQ(0, gpu_touch(&self->gpu, middle + PAGE_SIZE, half - 1));
	EXPECT_EQ(half - 1, gpu_ptes(&self->gpu, middle + PAGE_SIZE, half - 1,
				     DGPU_PTE_LOCAL));
	/* The CPU takes some out of the middle of the other one. */
	EXPECT_TRUE(load_check_part(mem, 100, 1, 3));
	EXPECT_EQ(0, gpu_pte(&self->gpu, mem + 100 * PAGE_SIZE) & DGPU_PTE_LOCAL);
	EXPECT_EQ(0, gpu_touch(&self->gpu, mem, half));
	EXPECT_TRUE(load_check_part(mem, half + 1, half - 1, 3));
	EXPECT_TRUE(load_check_part(mem, 1, half - 1, 3));
}

/* ---- what the CPU does to it ---- */

TEST_F(memory, touched_by_the_cpu)
{
	volatile uint64_t *word;

	load_fill(self->mem, NPAGES, 11);
	for (unsigned int i = 0; i < NPAGES; i += 7) {
		word = (void *)(self->mem + i * PAGE_SIZE);
		gpu_move_in(&self->gpu, self->mem, NPAGES);
		if (i & 1)
			EXPECT_EQ(0, *word);
		else
			*word = 0;
		EXPECT_PLACE(&self->gpu, (void *)word, 1, SYSTEM);
		EXPECT_EQ(0, gpu_pte(&self->gpu, word) & DGPU_PTE_LOCAL);
	}
	EXPECT_TRUE(load_check(self->mem, NPAGES, 11));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
}

/* The kernel's own touch: system calls read and write the memory. */
TEST_F(memory, touched_by_system_calls)
{
	const size_t size = 16 * PAGE_SIZE;
	int pipes[2], file = ASSERT_SYS(memfd_create("memory", 0));
	char *copy = malloc(size);

	ASSERT_NE(copy, NULL);
	load_fill(self->mem, 16, 4);
	memcpy(copy, self->mem, size);
	gpu_move_in(&self->gpu, self->mem, 16);
	EXPECT_EQ(size, pwrite(file, self->mem, size, 0));
	gpu_move_in(&self->gpu, self->mem, 16);
	memset(copy, 0, size);
	EXPECT_EQ(size, pread(file, copy, size, 0));
	EXPECT_TRUE(load_check(copy, 16, 4));

	ASSERT_SYS(pipe(pipes));
	gpu_move_in(&self->gpu, self->mem, 16);
	EXPECT_EQ(100, write(pipes[1], copy, 100));
	EXPECT_EQ(100, read(pipes[0], self->mem + PAGE_SIZE - 50, 100));
	EXPECT_EQ(0, memcmp(self->mem + PAGE_SIZE - 50, copy, 100));
	close(pipes[0]);
	close(pipes[1]);
	close(file);
	free(copy);
}

/* ---- policy and hints ---- */

TEST_F(memory, policy_request)
{
	cpu_fill(self->mem, NPAGES, 1);
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 1));
	EXPECT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 2));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_EQ(0, gpu_ptes(&self->gpu, self->mem, NPAGES, DGPU_PTE_LOCAL));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 2));
}

TEST_F(memory, policy_touch)
{
	cpu_fill(self->mem, NPAGES, 1);
	memory_policy(self, HMM_POLICY_TOUCH);
	EXPECT_EQ(0, memory_check(self, 1));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(NPAGES, gpu_ptes(&self->gpu, self->mem, NPAGES, DGPU_PTE_LOCAL));
	EXPECT_EQ(0, memory_fill(self, 2));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 2));
	/* And again; what goes to and fro too often may be held where it is. */
	for (int i = 0; i < 10; i++) {
		EXPECT_EQ(0, memory_fill(self, 3 + i));
		EXPECT_TRUE(cpu_check(self->mem, NPAGES, 3 + i));
	}
}

/* Memory that nobody has touched is made on the device. */
TEST_F(memory, policy_touch_of_empty_memory)
{
	const uint64_t zero = gpu_rmem(&self->gpu, HMM_RMEM_IN_ZERO);

	memory_policy(self, HMM_POLICY_TOUCH);
	EXPECT_EQ(0, memory_fill(self, 1));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	EXPECT_GE(gpu_rmem(&self->gpu, HMM_RMEM_IN_ZERO) - zero, NPAGES);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1));
	/* The rest of each page is zero, not what was in that memory before. */
	for (size_t i = 0; i < NPAGES * PAGE_SIZE / 8; i++)
		if (i % 512 && !EXPECT_EQ(0, ((uint64_t *)self->mem)[i]))
			break;
}

TEST_F(memory, policy_never)
{
	struct gpu_moved moved;

	cpu_fill(self->mem, NPAGES, 1);
	memory_policy(self, HMM_POLICY_NEVER);
	memory_hint(self, self->mem, NPAGES, HMM_HINT_AUTO, HMM_PREFER_NONE);
	EXPECT_EQ(0, memory_fill(self, 2));
	gpu_migrate(&self->gpu, self->mem, NPAGES, 0, &moved);
	EXPECT_EQ(-EPERM, moved.ret);
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
	memory_policy(self, HMM_POLICY_REQUEST);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 2));
}

/* What a range does on a touch of the device, under each policy. */
struct memory_hint_case {
	const char *name;
	enum hmm_policy policy;
	uint32_t flags;
	uint32_t prefer;
	bool read_moves;
	bool write_moves;
};

TEST_F(memory, hints)
{
	static const struct memory_hint_case cases[] = {
		{ "auto", HMM_POLICY_REQUEST, HMM_HINT_AUTO, HMM_PREFER_NONE, true, true },
		{ "no auto", HMM_POLICY_TOUCH, HMM_HINT_NO_AUTO, HMM_PREFER_NONE, false, false },
		{ "in place", HMM_POLICY_TOUCH, HMM_HINT_IN_PLACE, HMM_PREFER_NONE, false, false },
		{ "read mostly", HMM_POLICY_TOUCH, HMM_HINT_READ_MOSTLY, HMM_PREFER_NONE,
		  false, true },
		{ "system", HMM_POLICY_TOUCH, 0, HMM_PREFER_SYSTEM, false, false },
		{ "this device", HMM_POLICY_TOUCH, 0, HMM_PREFER_DEVICE, true, true },
		{ "none", HMM_POLICY_TOUCH, 0, HMM_PREFER_NONE, true, true },
		{ "none", HMM_POLICY_REQUEST, 0, HMM_PREFER_NONE, false, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct memory_hint_case *c = &cases[i];

		for (int write = 0; write < 2; write++) {
			const bool moves = write ? c->write_moves : c->read_moves;
			bool good = true;

			/* Pages without a past: some are held in place for theirs. */
			self->mem = sys_pages(NPAGES);
			cpu_fill(self->mem, NPAGES, 1);
			memory_policy(self, c->policy);
			memory_hint(self, self->mem, NPAGES, c->flags, c->prefer);
			good &= EXPECT_EQ(0, write ? memory_fill(self, 1) :
							 memory_check(self, 1));
			good &= EXPECT_EQ(NPAGES, gpu_pages_at(&self->gpu, self->mem, NPAGES,
							       moves ? HMM_PLACE_DEVICE :
							       HMM_PLACE_SYSTEM));
			if (!good)
				test_log("%s, policy %u, %s", c->name, c->policy,
					 write ? "write" : "read");
			EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1));
		}
	}
}

/* A request is a request, whatever was hinted. */
TEST_F(memory, hints_and_requests)
{
	cpu_fill(self->mem, NPAGES, 1);
	memory_hint(self, self->mem, NPAGES, HMM_HINT_IN_PLACE, HMM_PREFER_NONE);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	EXPECT_EQ(0, memory_check(self, 1));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1));
}

/* A hint for a part of a range is for that part. */
TEST_F(memory, hints_for_a_part)
{
	cpu_fill(self->mem, NPAGES, 1);
	memory_policy(self, HMM_POLICY_TOUCH);
	memory_hint(self, self->mem + 16 * PAGE_SIZE, 16, HMM_HINT_NO_AUTO, HMM_PREFER_NONE);
	EXPECT_EQ(0, memory_check(self, 1));
	EXPECT_PLACE(&self->gpu, self->mem, 16, DEVICE);
	EXPECT_PLACE(&self->gpu, self->mem + 16 * PAGE_SIZE, 16, SYSTEM);
	EXPECT_PLACE(&self->gpu, self->mem + 32 * PAGE_SIZE, NPAGES - 32, DEVICE);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 1));
}

/* ---- where things are ---- */

TEST_F(memory, residency)
{
	struct dgpu_page_info info[4];

	cpu_fill(self->mem, 3, 1);
	ASSERT_EQ(0, dgpu_residency(self->gpu.dev, self->mem, 4, info));
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(i < 3 ? HMM_PLACE_SYSTEM : HMM_PLACE_NONE, info[i].place);
		EXPECT_EQ(0, info[i].moves);
		EXPECT_EQ(0, info[i].age_ms);
	}
	gpu_move_in(&self->gpu, self->mem + PAGE_SIZE, 1);
	sys_sleep_ms(20);
	ASSERT_EQ(0, dgpu_residency(self->gpu.dev, self->mem, 4, info));
	EXPECT_EQ(HMM_PLACE_SYSTEM, info[0].place);
	EXPECT_EQ(HMM_PLACE_DEVICE, info[1].place);
	EXPECT_EQ(HMM_PLACE_SYSTEM, info[2].place);
	EXPECT_EQ(1, info[1].moves);
	EXPECT_GE(info[1].age_ms, 19);
	EXPECT_EQ(0, info[0].moves);
	gpu_move_out(&self->gpu, self->mem + PAGE_SIZE, 1);
	ASSERT_EQ(0, dgpu_residency(self->gpu.dev, self->mem, 4, info));
	EXPECT_EQ(HMM_PLACE_SYSTEM, info[1].place);
	EXPECT_EQ(2, info[1].moves);
	/* What comes next at this address has no past. */
	ASSERT_SYS(munmap(self->mem, 4 * PAGE_SIZE));
	ASSERT_NE(MAP_FAILED, mmap(self->mem, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(0, dgpu_residency(self->gpu.dev, self->mem, 4, info));
	EXPECT_EQ(HMM_PLACE_NONE, info[1].place);
	EXPECT_EQ(0, info[1].moves);
}

TEST_F(memory, evacuate)
{
	const uint64_t out = gpu_rmem(&self->gpu, HMM_RMEM_OUT_EVACUATE);
	uint64_t left = 77;

	load_fill(self->mem, NPAGES, 6);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	EXPECT_EQ(0, dgpu_evacuate(self->gpu.dev, &left));
	EXPECT_EQ(0, left);
	EXPECT_EQ(0, gpu_rmem(&self->gpu, HMM_RMEM_USED));
	EXPECT_GE(gpu_rmem(&self->gpu, HMM_RMEM_OUT_EVACUATE) - out, NPAGES);
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_EQ(0, gpu_ptes(&self->gpu, self->mem, NPAGES, DGPU_PTE_LOCAL));
	EXPECT_TRUE(load_check(self->mem, NPAGES, 6));
	/* Twice is once. */
	EXPECT_EQ(0, dgpu_evacuate(self->gpu.dev, &left));
	EXPECT_EQ(0, left);
	/* And it is open again. */
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	EXPECT_TRUE(load_check(self->mem, NPAGES, 6));
}

TEST_F(memory, counters)
{
	uint64_t before[HMM_RMEM_NR], after[HMM_RMEM_NR];
	char *text, line[80];

	cpu_fill(self->mem, NPAGES, 1);
	ASSERT_EQ(HMM_RMEM_NR, dgpu_get_stat(self->gpu.dev, DGPU_STAT_RMEM, before,
					     HMM_RMEM_NR));
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	ASSERT_EQ(HMM_RMEM_NR, dgpu_get_stat(self->gpu.dev, DGPU_STAT_RMEM, after,
					     HMM_RMEM_NR));
	EXPECT_EQ(NPAGES, after[HMM_RMEM_USED] - before[HMM_RMEM_USED]);
	EXPECT_EQ(NPAGES, after[HMM_RMEM_IN] - before[HMM_RMEM_IN]);
	EXPECT_EQ(0, after[HMM_RMEM_OUT] - before[HMM_RMEM_OUT]);

	text = sys_text(CHIP_DEBUGFS "/0/stats");
	ASSERT_NE(text, NULL);
	for (unsigned int i = 0; i < HMM_RMEM_NR; i++) {
		snprintf(line, sizeof(line), "\nrmem.%s ", dgpu_stat_name(DGPU_STAT_RMEM, i));
		if (!EXPECT_NE(NULL, strstr(text, line)))
			test_log("no line %s", line + 1);
	}
	free(text);
}

/* ---- with others ---- */

TEST_F(memory, two_devices)
{
	struct gpu other = { 0 };
	uint64_t value = 100;

	if (access("/dev/dgpu1", F_OK))
		SKIP("there is one device only");
	gpu_setup_path(&other, "/dev/dgpu1");
	if (chip_no_memory(other.dev)) {
		gpu_teardown(&other);
		SKIP("the other device has no memory");
	}
	cpu_fill(self->mem, NPAGES, value);
	for (unsigned long i = 0; i < sys_scale(10); i++) {
		struct gpu *gpu = i % 2 ? &other : &self->gpu;
		struct gpu *not = i % 2 ? &self->gpu : &other;

		gpu_move_in(gpu, self->mem, NPAGES);
		EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
		EXPECT_PLACE(not, self->mem, NPAGES, OTHER);
		EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, value));
		EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, ++value));
		EXPECT_EQ(0, gpu_ptes(not, self->mem, NPAGES, DGPU_PTE_VALID));
	}
	/* The other one just uses it: it comes back for that. */
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, value));
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_check(&other, self->mem, NPAGES, value));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, value));
	gpu_teardown(&other);
}

/* A process of its own with a device address space of its own. */
static void memory_child(struct sys_child *me, void *arg)
{
	struct gpu gpu = { 0 };
	char *mem = sys_pages(NPAGES);

	(void)arg;
	gpu_setup_memory(&gpu);
	load_fill(mem, NPAGES, 200);
	gpu_move_in(&gpu, mem, NPAGES);
	sys_child_tell(me);
	sys_child_wait(me);
	EXPECT_PLACE(&gpu, mem, NPAGES, DEVICE);
	EXPECT_TRUE(load_check(mem, NPAGES, 200));
	gpu_move_in(&gpu, mem, NPAGES);
	/* Its end is with all of it on the device. */
	gpu_teardown(&gpu);
}

TEST_F(memory, two_processes)
{
	const uint64_t used = gpu_rmem(&self->gpu, HMM_RMEM_USED);
	struct sys_child child;

	sys_child_start(&child, memory_child, NULL);
	sys_child_wait(&child);
	load_fill(self->mem, NPAGES, 100);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	EXPECT_GE(gpu_rmem(&self->gpu, HMM_RMEM_USED) - used, 2 * NPAGES);
	EXPECT_TRUE(load_check(self->mem, NPAGES, 100));
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	sys_child_tell(&child);
	EXPECT_EQ(0, sys_child_end(&child));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	EXPECT_TRUE(load_check(self->mem, NPAGES, 100));
}

/* The file goes, the pages stay where they are until somebody wants them. */
TEST_F(memory, close_with_pages_on_the_device)
{
	struct gpu gpu = { 0 };

	gpu_setup(&gpu);
	load_fill(self->mem, NPAGES, 7);
	gpu_move_in(&gpu, self->mem, NPAGES);
	gpu_teardown(&gpu);
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	EXPECT_TRUE(load_check(self->mem, NPAGES, 7));

	/* The last one of this process. */
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	gpu_teardown(&self->gpu);
	EXPECT_TRUE(load_check_part(self->mem, 0, 1, 7));
	gpu_setup(&self->gpu);
	EXPECT_PLACE(&self->gpu, self->mem + (NPAGES - 1) * PAGE_SIZE, 1, DEVICE);
	EXPECT_TRUE(load_check(self->mem, NPAGES, 7));
}

TEST_F(memory, fork)
{
	int status;
	pid_t pid;

	cpu_fill(self->mem, NPAGES, 1);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	ASSERT_EQ(0, gpu_touch(&self->gpu, self->mem, NPAGES));
	pid = ASSERT_SYS(fork());
	if (!pid) {
		EXPECT_TRUE(cpu_check(self->mem, NPAGES / 2, 1));
		cpu_fill(self->mem, NPAGES, 500);
		EXPECT_TRUE(cpu_check(self->mem, NPAGES, 500));
		_exit(0);
	}
	/* At the same time, the device of the parent goes on. */
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 1));
	EXPECT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 2));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, gpu_check(&self->gpu, self->mem, NPAGES, 2));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 2));
}

/* ---- copies that fail ---- */

TEST_F(memory, copies_fail_on_the_way_in)
{
	struct gpu_moved moved;

	load_fill(self->mem, NPAGES, 1);
	ASSERT_EQ(0, chip_knob(0, "copy_fail", CHIP_ALL));
	gpu_migrate(&self->gpu, self->mem, NPAGES, 0, &moved);
	EXPECT_EQ(-EIO, moved.ret);
	EXPECT_RESULTS(&moved, 0, NPAGES, FAILED);
	EXPECT_EQ(0, moved.moved);
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_TRUE(load_check(self->mem, NPAGES, 1));
	ASSERT_EQ(0, chip_knob(0, "copy_fail", 0));
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	EXPECT_TRUE(load_check(self->mem, NPAGES, 1));
}

TEST_F(memory, copies_fail_on_the_way_back)
{
	struct gpu_moved moved;

	load_fill(self->mem, NPAGES, 1);
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	ASSERT_EQ(0, chip_knob(0, "copy_fail", CHIP_ALL));
	gpu_migrate(&self->gpu, self->mem, NPAGES, DGPU_MIGRATE_TO_SYSTEM, &moved);
	EXPECT_EQ(-EIO, moved.ret);
	EXPECT_RESULTS(&moved, 0, NPAGES, FAILED);
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	/* A few: the CPU does not notice. */
	ASSERT_EQ(0, chip_knob(0, "copy_fail", 20));
	EXPECT_TRUE(load_check(self->mem, NPAGES, 1));
}

/* A copy engine that does not answer is reset, and what it had is done again. */
TEST_F(memory, copy_engines_hang)
{
	const uint64_t resets = memory_hw(self, DGPU_HW_RESETS);

	load_fill(self->mem, NPAGES, 2);
	/* The two that a device has if the driver was not told otherwise. */
	ASSERT_EQ(0, chip_knob(0, "hang_copy", 3));
	gpu_move_in(&self->gpu, self->mem, NPAGES);
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	EXPECT_GE(memory_hw(self, DGPU_HW_RESETS) - resets, 1);
	ASSERT_EQ(0, chip_knob(0, "hang_copy", 3));
	EXPECT_TRUE(load_check(self->mem, NPAGES, 2));
}

/*
 * One look of the watchdog that finds no progress is not enough, nor are two; at the third
 * it loses its patience.  On a machine that stalls meanwhile the copy is as slow as that:
 * then once more.
 */
TEST_F(memory, copy_engines_are_slow)
{
	uint64_t resets, begin;
	int tries = 5;
	bool stalled;

	load_fill(self->mem, NPAGES, 2);
	do {
		gpu_move_out(&self->gpu, self->mem, NPAGES);
		resets = memory_hw(self, DGPU_HW_RESETS);
		ASSERT_EQ(0, chip_knob(0, "copy_delay_us", 2300000));
		begin = sys_now_ms();
		gpu_move_in(&self->gpu, self->mem, NPAGES);
		stalled = sys_now_ms() - begin >= 2900;
		ASSERT_EQ(0, chip_knob(0, "copy_delay_us", 0));
		EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	} while (memory_hw(self, DGPU_HW_RESETS) != resets && stalled && --tries);
	EXPECT_EQ(resets, memory_hw(self, DGPU_HW_RESETS));
	EXPECT_TRUE(load_check(self->mem, NPAGES, 2));
}

/* Memory for the copy, and the mapping of pages for DMA. */
TEST_F(memory, submissions_fail)
{
	static const char * const points[] = { "fail_copy", "fail_dma" };
	struct gpu_moved moved;
	size_t there;

	if (access(CHIP_DEBUGFS "/fail_copy/probability", F_OK))
		SKIP("this kernel has no fault injection");
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		load_fill(self->mem, NPAGES, i);
		ASSERT_EQ(0, chip_fail(points[i], 100));
		gpu_migrate(&self->gpu, self->mem, NPAGES, 0, &moved);
		EXPECT_NE(0, moved.ret);
		EXPECT_EQ(0, moved.moved);
		EXPECT_PLACE(&self->gpu, self->mem, NPAGES, SYSTEM);
		ASSERT_EQ(0, chip_fail(points[i], 0));
		gpu_move_in(&self->gpu, self->mem, NPAGES);
		ASSERT_EQ(0, chip_fail(points[i], 100));
		gpu_migrate(&self->gpu, self->mem, NPAGES, DGPU_MIGRATE_TO_SYSTEM, &moved);
		EXPECT_NE(0, moved.ret);
		there = gpu_pages_at(&self->gpu, self->mem, NPAGES, HMM_PLACE_DEVICE);
		EXPECT_EQ(NPAGES, there);
		ASSERT_EQ(0, chip_fail(points[i], 0));
		EXPECT_TRUE(load_check(self->mem, NPAGES, i));
	}
}

GPU_POOL_TEST

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * A device whose memory is full.  The driver is inserted with a small memory for these
 * tests, once for all that want the same, and what the programs work on is several times as
 * large.
 *
 * What is required: programs compute what they would with memory enough, no fault and no
 * migration fails for want of room, what is used stays, and the books balance.
 */
#include "chip.h"
#include "gpu.h"
#include "harness.h"
#include "load.h"
#include "sys.h"

#define CHUNK_PAGES	(HUGE_SIZE / PAGE_SIZE)
/* Working set by memory; less where each page takes a millisecond. */
#define TIMES		(harness_slow_kernel() ? 2ul : 4ul)

static char full_local_mb[64];	/* of the driver, before the first test */

FIXTURE(full) {
	struct gpu gpu;
	size_t room;		/* pages of the device */
	int64_t before;		/* moved out to make room, when the test began */
};

/* The driver, with a memory of that size; it stays so for the next test. */
static void full_setup(struct harness_data_full *self, unsigned int mib)
{
	struct chip_module module;
	char want[32], now[64], args[64];

	gpu_setup_memory(&self->gpu);
	gpu_teardown(&self->gpu);
	if (!chip_module_find(&module))
		SKIP("where dummy_gpu.ko is cannot be told: set DGPU_MODULE");
	snprintf(want, sizeof(want), "%u", mib);
	if (!chip_module_parameter("local_mb", now, sizeof(now)) || strcmp(want, now)) {
		snprintf(args, sizeof(args), "local_mb=%s", want);
		ASSERT_EQ(0, chip_module_reload(&module, args));
	}
	gpu_setup_memory(&self->gpu);
	self->room = (size_t)chip_rmem(self->gpu.dev, HMM_RMEM_TOTAL);
	ASSERT_EQ((size_t)mib << 8, self->room);
	ASSERT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
	self->before = chip_rmem(self->gpu.dev, HMM_RMEM_OUT_EVICT);
}

FIXTURE_SETUP(full)
{
	full_setup(self, harness_slow_kernel() ? 4 : 8);
}

FIXTURE_TEARDOWN(full)
{
	gpu_teardown(&self->gpu);
}

static void full_begin(void)
{
	chip_module_parameter("local_mb", full_local_mb, sizeof(full_local_mb));
}

static int full_end(void)
{
	struct chip_module module;
	char now[64] = "";

	chip_module_parameter("local_mb", now, sizeof(now));
	if (!strcmp(now, full_local_mb) || !chip_module_find(&module))
		return 0;
	return chip_module_reload(&module, "");
}

/* Pages that made room since the test began. */
static size_t full_evicted(struct harness_data_full *self)
{
	return (size_t)(chip_rmem(self->gpu.dev, HMM_RMEM_OUT_EVICT) - self->before);
}

/* What came in is there, or went out, or was freed there; nothing was lost. */
static void full_expect_balance(struct gpu *gpu)
{
	uint64_t hw[DGPU_HW_NR] = { 0 };

	EXPECT_EQ(chip_rmem(gpu->dev, HMM_RMEM_IN),
		  chip_rmem(gpu->dev, HMM_RMEM_OUT) + chip_rmem(gpu->dev, HMM_RMEM_DROPPED) +
		  chip_rmem(gpu->dev, HMM_RMEM_USED));
	EXPECT_LE(chip_rmem(gpu->dev, HMM_RMEM_USED), chip_rmem(gpu->dev, HMM_RMEM_TOTAL));
	EXPECT_EQ(0, chip_rmem(gpu->dev, HMM_RMEM_LOST));
	if (!chip_rmem(gpu->dev, HMM_RMEM_COPY_ERRORS))
		return;
	/*
	 * A copier that gets no time for seconds looks as if it hangs: its engine is reset,
	 * and the copy made again.  Nothing else may go wrong with one.
	 */
	ASSERT_EQ(DGPU_HW_NR, dgpu_get_stat(gpu->dev, DGPU_STAT_HW, hw, DGPU_HW_NR));
	EXPECT_GT(hw[DGPU_HW_RESETS], 0);
	EXPECT_EQ(0, hw[DGPU_HW_BUS_ERRORS]);
	test_log("the chip: %ju errors of copies, %ju of the bus, %ju resets",
		 (uintmax_t)hw[DGPU_HW_COPY_ERRORS], (uintmax_t)hw[DGPU_HW_BUS_ERRORS],
		 (uintmax_t)hw[DGPU_HW_RESETS]);
}

/* Everything is unmapped: nothing is in use. */
static void full_expect_empty(struct gpu *gpu)
{
	EXPECT_TRUE(chip_rmem_becomes(gpu->dev, HMM_RMEM_USED, 0));
	EXPECT_EQ(chip_rmem(gpu->dev, HMM_RMEM_TOTAL) / (int64_t)CHUNK_PAGES,
		  chip_rmem(gpu->dev, HMM_RMEM_CHUNKS_FREE));
	full_expect_balance(gpu);
}

/* How many pages of a range are on the device; their moves are added up in *moves. */
static size_t full_resident(struct gpu *gpu, const volatile void *mem, size_t npages,
			    uint64_t *moves)
{
	struct dgpu_page_info *info = calloc(npages, sizeof(*info));
	size_t nr = 0;

	ASSERT_NE(info, NULL);
	ASSERT_EQ(0, dgpu_residency(gpu->dev, (const void *)mem, npages, info));
	for (size_t i = 0; i < npages; i++) {
		nr += info[i].place == HMM_PLACE_DEVICE;
		if (moves)
			*moves += info[i].moves;
	}
	free(info);
	return nr;
}

/* ---- a working set of four times the memory, or of twice ---- */

FIXTURE(oversubscribed) {
	struct harness_data_full full;
};

FIXTURE_VARIANT(oversubscribed) {
	bool huge;
};

FIXTURE_VARIANT_ADD(oversubscribed, small) { .huge = false };
FIXTURE_VARIANT_ADD(oversubscribed, huge) { .huge = true };

FIXTURE_SETUP(oversubscribed)
{
	harness_setup_full(&self->full, NULL);
}

FIXTURE_TEARDOWN(oversubscribed)
{
	harness_teardown_full(&self->full, NULL);
}

static volatile void *oversubscribed_area(size_t npages, bool huge)
{
	return huge ? sys_huge_area(npages / CHUNK_PAGES) : sys_pages(npages);
}

TEST_F(oversubscribed, in_order)
{
	struct gpu *gpu = &self->full.gpu;
	const size_t npages = TIMES * self->full.room;
	volatile void *mem = oversubscribed_area(npages, variant->huge);
	const uint64_t passes = sys_scale(2);

	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	load_fill(mem, npages, 1);
	for (uint64_t pass = 1; pass <= passes; pass++) {
		ASSERT_EQ(0, gpu_fill(gpu, mem, npages, pass << 32));
		ASSERT_EQ(0, gpu_check(gpu, mem, npages, pass << 32));
		EXPECT_LE(full_resident(gpu, mem, npages, NULL), self->full.room);
		/* Not a device that has given up on its memory. */
		EXPECT_GE(full_resident(gpu, mem, npages, NULL), self->full.room / 4);
		/*
		 * Of huge pages some are in use just when they should move, are mapped where
		 * they are as a whole, and stay.
		 */
		EXPECT_GE(full_evicted(&self->full), variant->huge ? self->full.room :
			  2 * (TIMES - 1) * pass * self->full.room);
	}
	test_log("%zu pages evicted, %ju not moved in %ju tries", full_evicted(&self->full),
		 (uintmax_t)dgpu_stat_mirror(gpu->dev, HMM_STAT_MOVE_FAILED),
		 (uintmax_t)dgpu_stat_mirror(gpu->dev, HMM_STAT_MOVED_IN));
	full_expect_balance(gpu);
	EXPECT_TRUE(cpu_check(mem, npages, passes << 32));
	EXPECT_TRUE(load_check(mem, npages, 1));
	ASSERT_SYS(munmap((void *)mem, npages * PAGE_SIZE));
	full_expect_empty(gpu);
}

TEST_F(oversubscribed, at_random)
{
	struct gpu *gpu = &self->full.gpu;
	const size_t npages = TIMES * self->full.room;
	volatile void *mem = oversubscribed_area(npages, variant->huge);
	uint64_t *counts = calloc(npages, sizeof(*counts));
	const struct load_walk walk = {
		.mem = mem, .npages = npages, .nthreads = 8,
		.rounds = (uint32_t)sys_scale(100), .seed = 77,
	};

	ASSERT_NE(counts, NULL);
	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	load_fill(mem, npages, 2);
	/* Full to begin with, so that every fault has to make room. */
	ASSERT_EQ(0, gpu_touch(gpu, mem, npages));
	for (int pass = 0; pass < 2; pass++) {
		ASSERT_EQ(0, load_run(gpu, &walk));
		load_expect(counts, &walk);
	}
	EXPECT_GE(full_evicted(&self->full), variant->huge ? 1 : (TIMES - 1) * self->full.room);
	full_expect_balance(gpu);
	EXPECT_TRUE(load_counts_are(mem, npages, 0, counts));
	EXPECT_TRUE(load_check(mem, npages, 2));
	free(counts);
	ASSERT_SYS(munmap((void *)mem, npages * PAGE_SIZE));
	full_expect_empty(gpu);
}

/* Memory that nobody has touched before: the device's writes make its pages. */
TEST_F(oversubscribed, from_nothing)
{
	struct gpu *gpu = &self->full.gpu;
	const size_t npages = TIMES * self->full.room;
	volatile uint64_t *mem = oversubscribed_area(npages, variant->huge);
	const int64_t zeroes = chip_rmem(gpu->dev, HMM_RMEM_IN_ZERO);
	const volatile uint64_t *at;
	size_t dirt = 0;

	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	ASSERT_EQ(0, gpu_fill(gpu, mem, npages, 0x100));
	ASSERT_EQ(0, gpu_check(gpu, mem, npages, 0x100));
	EXPECT_GT(chip_rmem(gpu->dev, HMM_RMEM_IN_ZERO), zeroes);
	EXPECT_GE(full_evicted(&self->full), (TIMES - 1) * self->full.room);
	full_expect_balance(gpu);
	EXPECT_TRUE(cpu_check(mem, npages, 0x100));
	/* The rest of each page is zero, and not what was in the device's memory. */
	for (size_t page = 0; page < npages; page++) {
		at = mem + page * PAGE_SIZE / 8;
		for (size_t i = 1; i < PAGE_SIZE / 8; i++)
			dirt += at[i] != 0;
	}
	EXPECT_EQ(0, dirt);
	ASSERT_SYS(munmap((void *)mem, npages * PAGE_SIZE));
	full_expect_empty(gpu);
}

/* ---- on request ---- */

TEST_F(full, explicit_migration)
{
	struct gpu *gpu = &self->gpu;
	const size_t npages = 2 * self->room;
	volatile void *mem = sys_pages(npages);
	uint8_t *results = calloc(npages, 1);
	uint64_t moved = 0;
	size_t wrong = 0;

	ASSERT_NE(results, NULL);
	load_fill(mem, npages, 3);
	/* The first half fits, and nothing has to go for it. */
	ASSERT_EQ(0, dgpu_migrate(gpu->dev, (void *)mem, self->room * PAGE_SIZE, 0, results,
				  &moved));
	EXPECT_EQ(self->room, moved);
	EXPECT_EQ(0, full_evicted(self));
	EXPECT_EQ(self->room, full_resident(gpu, mem, self->room, NULL));
	EXPECT_EQ(self->room, chip_rmem(gpu->dev, HMM_RMEM_USED));
	/* The second half takes its place. */
	ASSERT_EQ(0, dgpu_migrate(gpu->dev, (char *)mem + self->room * PAGE_SIZE,
				  self->room * PAGE_SIZE, 0, results, &moved));
	EXPECT_EQ(self->room, moved);
	EXPECT_EQ(self->room, full_evicted(self));
	EXPECT_EQ(self->room, full_resident(gpu, (char *)mem + self->room * PAGE_SIZE,
					    self->room, NULL));
	EXPECT_EQ(0, full_resident(gpu, mem, self->room, NULL));
	/* And all of it in one call: each page was moved, though the first are out again. */
	ASSERT_EQ(0, dgpu_migrate(gpu->dev, (void *)mem, npages * PAGE_SIZE, 0, results, &moved));
	for (size_t i = 0; i < npages; i++)
		wrong += results[i] != HMM_PAGE_MOVED && results[i] != HMM_PAGE_THERE;
	EXPECT_EQ(0, wrong);
	EXPECT_LE(full_resident(gpu, mem, npages, NULL), self->room);
	full_expect_balance(gpu);
	EXPECT_TRUE(load_check(mem, npages, 3));
	free(results);
	ASSERT_SYS(munmap((void *)mem, npages * PAGE_SIZE));
	full_expect_empty(gpu);
}

/* Holes everywhere: no chunk is free as a whole, but there is room. */
TEST_F(full, fragmented)
{
	struct gpu *gpu = &self->gpu;
	const size_t npages = self->room;
	volatile char *mem = sys_pages(npages), *more = sys_pages(npages / 2);
	uint64_t moved = 0;

	load_fill(mem, npages, 4);
	load_fill(more, npages / 2, 5);
	ASSERT_EQ(0, dgpu_migrate(gpu->dev, (void *)mem, npages * PAGE_SIZE, 0, NULL, &moved));
	ASSERT_EQ(npages, moved);
	for (size_t i = 0; i < npages; i += 2)
		ASSERT_SYS(madvise((void *)(mem + i * PAGE_SIZE), PAGE_SIZE, MADV_DONTNEED));
	EXPECT_TRUE(chip_rmem_becomes(gpu->dev, HMM_RMEM_USED, (int64_t)npages / 2));
	EXPECT_EQ(0, chip_rmem(gpu->dev, HMM_RMEM_CHUNKS_FREE));
	ASSERT_EQ(0, dgpu_migrate(gpu->dev, (void *)more, npages / 2 * PAGE_SIZE, 0, NULL,
				  &moved));
	EXPECT_EQ(npages / 2, moved);
	EXPECT_EQ(0, full_evicted(self));
	EXPECT_EQ(npages, chip_rmem(gpu->dev, HMM_RMEM_USED));
	EXPECT_TRUE(load_check(more, npages / 2, 5));
	for (size_t i = 0; i < npages; i += 2)
		load_fill(mem + i * PAGE_SIZE, 1, 6);
	for (size_t i = 1; i < npages; i += 2)
		ASSERT_SYS(munmap((void *)(mem + i * PAGE_SIZE), PAGE_SIZE));
	/* The pieces become whole chunks again. */
	full_expect_empty(gpu);
	for (size_t i = 0; i < npages; i += 2)
		if (!EXPECT_TRUE(load_check(mem + i * PAGE_SIZE, 1, 6)))
			break;
}

/* ---- others do not stand still meanwhile ---- */

/* Maps, moves, forks and unmaps. */
static void *full_churn(void *arg)
{
	struct load_thread *me = arg;
	struct dgpu_dev *dev = (void *)me->mem;
	const size_t npages = 256;
	int status;
	pid_t pid;

	while (!__atomic_load_n(&me->stop, __ATOMIC_ACQUIRE)) {
		const uint64_t seed = me->seed + me->done;
		volatile char *mem = mmap(NULL, npages * PAGE_SIZE, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		int ret;

		if (!EXPECT_NE(MAP_FAILED, mem))
			break;
		load_fill(mem, npages, seed);
		ret = dgpu_migrate(dev, (void *)mem, npages * PAGE_SIZE, 0, NULL, NULL);
		if (!EXPECT_TRUE(ret == 0 || ret == -EBUSY))
			test_log("migration to a full device: %s", strerror(-ret));
		pid = fork();
		if (!pid)
			_exit(load_check(mem, npages, seed) ? 0 : 1);
		/* It reads, and we go on with what is, or was, on the device. */
		load_fill(mem, npages / 2, seed + 1);
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_TRUE(load_check(mem, npages / 2, seed + 1));
		EXPECT_SYS(munmap((void *)mem, npages * PAGE_SIZE));
		__atomic_fetch_add(&me->done, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

TEST_F(full, while_others_fault)
{
	struct gpu *gpu = &self->gpu;
	const size_t npages = 2 * self->room;
	const unsigned long rounds = sys_scale(10);
	const uint64_t until = sys_now_ms() + 10000;
	volatile void *mem = sys_pages(npages);
	uint64_t *counts = calloc(npages, sizeof(*counts)), done[2];
	struct load_thread cpu[2], churn = { .mem = (volatile void *)gpu->dev, .seed = 1000 };
	uint32_t walks = 0;

	ASSERT_NE(counts, NULL);
	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	load_fill(mem, npages, 8);
	ASSERT_EQ(0, gpu_touch(gpu, mem, npages));
	load_thread_start(&cpu[0], mem, npages, 1, 101);
	load_thread_start(&cpu[1], mem, npages, 2, 102);
	ASSERT_EQ(0, pthread_create(&churn.thread, NULL, full_churn, &churn));
	for (unsigned long i = 0; i < rounds && (!i || sys_now_ms() < until); i++) {
		const struct load_walk walk = {
			.mem = mem, .npages = npages, .nthreads = 8, .rounds = 5, .seed = 300 + i,
		};

		ASSERT_EQ(0, load_run(gpu, &walk));
		load_expect(counts, &walk);
		walks++;
	}
	while (!__atomic_load_n(&churn.done, __ATOMIC_SEQ_CST))
		sys_sleep_ms(10);
	__atomic_store_n(&churn.stop, true, __ATOMIC_RELEASE);
	pthread_join(churn.thread, NULL);
	for (int i = 0; i < 2; i++)
		done[i] = load_thread_stop(&cpu[i]);
	test_log("%u walks of the device, %ju and %ju additions of the CPU, %ju mappings", walks,
		 (uintmax_t)done[0], (uintmax_t)done[1], (uintmax_t)churn.done);
	EXPECT_TRUE(load_counts_are(mem, npages, 0, counts));
	for (unsigned int i = 0; i < 2; i++)
		EXPECT_EQ(done[i], load_sum(mem, npages, 1 + i));
	EXPECT_TRUE(load_check(mem, npages, 8));
	EXPECT_GT(full_evicted(self), 0);
	free(counts);
	ASSERT_SYS(munmap((void *)mem, npages * PAGE_SIZE));
	full_expect_empty(gpu);
}

/* Two processes, each with twice the device's memory. */
TEST_F(full, two_processes)
{
	const size_t npages = 2 * self->room;
	const uint64_t passes = sys_scale(2);
	pid_t pids[2];
	int status;

	for (int i = 0; i < 2; i++) {
		struct gpu gpu = {};
		volatile void *mem;

		pids[i] = fork();
		if (pids[i])
			continue;
		gpu_setup_memory(&gpu);
		ASSERT_EQ(0, dgpu_set_policy(gpu.dev, HMM_POLICY_TOUCH));
		mem = sys_pages(npages);
		load_fill(mem, npages, 20 + i);
		for (uint64_t pass = 1; pass <= passes; pass++) {
			ASSERT_EQ(0, gpu_fill(&gpu, mem, npages, pass << 32 | i << 24));
			ASSERT_EQ(0, gpu_check(&gpu, mem, npages, pass << 32 | i << 24));
		}
		EXPECT_TRUE(cpu_check(mem, npages, passes << 32 | i << 24));
		EXPECT_TRUE(load_check(mem, npages, 20 + i));
		_exit(0);
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_GT(full_evicted(self), 0);
	full_expect_empty(&self->gpu);
}

/* The other device is full of pages; they come to this one through system memory. */
TEST_F(full, from_another_device)
{
	const size_t npages = self->room;
	volatile void *mem = sys_pages(npages);
	struct gpu other = {};
	uint64_t moved;

	if (access("/dev/dgpu1", F_OK))
		SKIP("one device only: insert dummy_gpu with devices=2");
	gpu_setup_path(&other, "/dev/dgpu1");
	load_fill(mem, npages, 9);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, dgpu_migrate(other.dev, (void *)mem, npages * PAGE_SIZE, 0, NULL,
					  &moved));
		EXPECT_EQ(npages, moved);
		EXPECT_EQ(npages, full_resident(&other, mem, npages, NULL));
		EXPECT_EQ(0, full_resident(&self->gpu, mem, npages, NULL));
		ASSERT_EQ(0, dgpu_migrate(self->gpu.dev, (void *)mem, npages * PAGE_SIZE, 0, NULL,
					  &moved));
		EXPECT_EQ(npages, moved);
		EXPECT_EQ(npages, full_resident(&self->gpu, mem, npages, NULL));
		EXPECT_EQ(0, full_resident(&other, mem, npages, NULL));
	}
	EXPECT_EQ(0, gpu_fill(&other, mem, npages, 0x1000));
	EXPECT_EQ(0, gpu_check(&self->gpu, mem, npages, 0x1000));
	EXPECT_TRUE(load_check(mem, npages, 9));
	gpu_teardown(&other);
}

/* ---- what is used stays ---- */

/* Memory enough for a choice. */
FIXTURE(hot) {
	struct harness_data_full full;
};

FIXTURE_SETUP(hot)
{
	full_setup(&self->full, 8);
}

FIXTURE_TEARDOWN(hot)
{
	harness_teardown_full(&self->full, NULL);
}

TEST_F(hot, chunks_stay)
{
	struct gpu *gpu = &self->full.gpu;
	const size_t room = self->full.room, hot_pages = room / 4;
	const size_t cold_pages = (harness_slow_kernel() ? 4 : 8) * room;
	volatile char *hot = sys_pages(hot_pages), *cold = sys_pages(cold_pages);
	uint64_t before = 0, after = 0, moved;

	load_fill(hot, hot_pages, 7);
	for (size_t i = 0; i < cold_pages; i++)
		*(volatile uint64_t *)(cold + i * PAGE_SIZE) = i;
	ASSERT_EQ(0, dgpu_migrate(gpu->dev, (void *)hot, hot_pages * PAGE_SIZE, 0, NULL, &moved));
	ASSERT_EQ(hot_pages, moved);
	ASSERT_EQ(0, gpu_touch(gpu, hot, hot_pages));
	for (size_t at = 0; at < cold_pages; at += CHUNK_PAGES) {
		/* Once around, for the device to learn who is who; then it must know. */
		if (at == cold_pages / 4)
			full_resident(gpu, hot, hot_pages, &before);
		ASSERT_EQ(0, dgpu_migrate(gpu->dev, (void *)(cold + at * PAGE_SIZE), HUGE_SIZE, 0,
					  NULL, &moved));
		EXPECT_EQ(CHUNK_PAGES, moved);
		/* A hot page that had to go comes back: that costs it two moves. */
		ASSERT_EQ(0, dgpu_migrate(gpu->dev, (void *)hot, hot_pages * PAGE_SIZE, 0, NULL,
					  NULL));
		ASSERT_EQ(0, gpu_touch(gpu, hot, hot_pages));
	}
	EXPECT_EQ(hot_pages, full_resident(gpu, hot, hot_pages, &after));
	if (!EXPECT_EQ(before, after))
		test_log("%.2f moves of each hot page in %zu of the device's sizes",
			 (double)(after - before) / (double)hot_pages,
			 cold_pages * 3 / 4 / room);
	EXPECT_GE(full_evicted(&self->full), cold_pages - room);
	full_expect_balance(gpu);
	EXPECT_TRUE(load_check(hot, hot_pages, 7));
	EXPECT_TRUE(cpu_check(cold, cold_pages, 0));
}

HARNESS_MAIN_AROUND(full_begin, full_end)

// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's device memory as programs see it: what is in it after power-on, what
 * the page table can name, atomics of several engines, old translations, access counters,
 * and that it is gone with the device.
 */
#include <kunit/test.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include "dgpu_rig.h"

static void memory_bad_config(struct kunit *test)
{
	static const struct {
		u64 local_bytes;
		unsigned int copy_engines;
		int ret;
	} configs[] = {
		{ DGPU_PAGE_SIZE, 1, -EINVAL },
		{ DGPU_HUGE_SIZE - 1, 1, -EINVAL },
		{ DGPU_HUGE_SIZE + DGPU_PAGE_SIZE, 1, -EINVAL },
		{ ~0ull << DGPU_HUGE_SHIFT, 1, -EINVAL },
		{ DGPU_HUGE_SIZE, 0, -EINVAL },
		{ DGPU_HUGE_SIZE, 5, -EINVAL },
		/* no machine has that */
		{ BIT_ULL(40), 1, -ENOMEM },
		/* no memory: as if nothing were said about copy engines */
		{ 0, 0, 0 },
		{ 0, 1000, 0 },
		{ DGPU_HUGE_SIZE, 4, 0 },
	};
	struct dgpu_hw_config config = {
		.engines = 1,
		.va_bits = 48,
		.tlb_entries = 16,
		.fault_entries = 2,
		.lanes = 1,
		.max_contexts = 1,
	};
	struct dgpu_hw *hw;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(configs); i++) {
		config.local_bytes = configs[i].local_bytes;
		config.copy_engines = configs[i].copy_engines;
		hw = dgpu_hw_create(&config, &rig_ops, NULL);
		KUNIT_EXPECT_EQ_MSG(test, PTR_ERR_OR_ZERO(hw), configs[i].ret, "config %u", i);
		if (!IS_ERR(hw))
			dgpu_hw_destroy(hw);
	}
}

/* No word is 0, and no page is like another. */
static void memory_is_noise_after_power_on(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	const u64 *words = (u64 *)rig->hw->memory.base;
	unsigned int i, zeros = 0, same = 0;

	for (i = 0; i < LOCAL_BYTES / sizeof(*words); i++)
		zeros += !words[i];
	KUNIT_EXPECT_EQ(test, zeros, 0);
	for (i = 1; i < LOCAL_BYTES >> DGPU_PAGE_SHIFT; i++)
		same += words[i * DGPU_TABLE_ENTRIES] == words[(i - 1) * DGPU_TABLE_ENTRIES];
	KUNIT_EXPECT_EQ(test, same, 0);
}

/*
 * The usual size, or a part of it where the kernel takes seconds to look at each page that
 * it allocates.  The time is for who reads the log.
 */
static void memory_of_usual_size(struct kunit *test)
{
	const struct dgpu_hw_config config = {
		.engines = 1,
		.va_bits = 48,
		.fault_entries = 8,
		.lanes = 4,
		.max_contexts = 16,
		.local_bytes = IS_ENABLED(CONFIG_KASAN) ? 32ull << 20 : 256ull << 20,
		.copy_engines = 1,
	};
	u64 last = config.local_bytes - DGPU_PAGE_SIZE;
	u64 start = ktime_get_ns();
	struct rig *rig = rig_on_config(test, &config);
	struct dgpu_hw_job *job = rig_job(rig, prog_store_tid, 10);

	kunit_info(test, "power-on: %llu ms", (ktime_get_ns() - start) / NSEC_PER_MSEC);
	rig_map_local(rig, 0, last, W);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(rig->hw, last), 10);
	KUNIT_EXPECT_NOT_NULL(test, dgpu_memory_page(&rig->hw->memory, last));
	KUNIT_EXPECT_NULL(test, dgpu_memory_page(&rig->hw->memory, last + DGPU_PAGE_SIZE));
}

/* ---- programs on it ---- */

static void memory_loads_and_stores(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	struct dgpu_hw_job *job = rig_job(rig, prog_store_tid, 512);
	u64 *words = dgpu_memory_page(&rig->hw->memory, DGPU_PAGE_SIZE);
	unsigned int i, wrong = 0;

	rig_map_local(rig, 0, DGPU_PAGE_SIZE, W);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	for (i = 0; i < 512; i++)
		wrong += words[i] != i + 100;
	KUNIT_EXPECT_EQ(test, wrong, 0);
	/* the pages around it are as they were */
	KUNIT_EXPECT_NE(test, words[-1], 99);
	KUNIT_EXPECT_NE(test, words[512], 612);
	/* and so is the page of the system with that number */
	KUNIT_EXPECT_EQ(test, rig->mem[0][0], 0);
	KUNIT_EXPECT_TRUE(test, *rig_pte(rig, 0) & DGPU_HW_PTE_DIRTY);
}

/* Engines and lanes add to one word, which is in a page of 2 MiB. */
static void memory_atomics_of_several_engines(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	u64 *word = dgpu_memory_page(&rig->hw->memory, DGPU_HUGE_SIZE);
	struct dgpu_hw_job *job[4];
	unsigned int i;

	/* BASE is in the first 2 MiB of the address space, halfway in its page. */
	*board_slot(rig->board, rig->root, 48, BASE, 1) =
		DGPU_HUGE_SIZE | V | W | AT | LOCAL | DGPU_HW_PTE_HUGE;
	word += BASE / sizeof(*word);
	*word = 0;
	for (i = 0; i < 4; i++) {
		job[i] = rig_job(rig, prog_count, 4);
		job[i]->args[1] = 500;
		rig_submit(rig, i % 2, job[i]);
	}
	for (i = 0; i < 4; i++) {
		struct dgpu_hw_job *done = rig_completed(rig, LONG_MS);

		KUNIT_ASSERT_NOT_NULL(test, done);
		KUNIT_EXPECT_EQ(test, done->result.status, DGPU_OK);
	}
	KUNIT_EXPECT_EQ(test, *word, 4 * 4 * 500);
	KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(rig->hw, DGPU_HUGE_SIZE), 4 * 4 * 500);
	KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(rig->hw, 0), 0);
}

static void memory_beyond_the_end_is_a_bus_error(struct kunit *test)
{
	static const u64 offsets[] = {
		LOCAL_BYTES, LOCAL_BYTES + DGPU_PAGE_SIZE, DGPU_HW_PTE_ADDR,
	};
	struct rig *rig = rig_on_local(test, 1);
	struct dgpu_hw_job *job = rig_job(rig, prog_page_each, 1);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		rig_map_local(rig, 0, offsets[i], 0);
		dgpu_hw_tlb_invalidate(rig->hw, ASID, BASE, BASE + 1);
		rig_submit(rig, 0, job);
		rig_expect(rig, job, DGPU_ERR_BUS);
		KUNIT_EXPECT_EQ(test, job->result.fault_addr, BASE);
	}
	/* A peer's memory, and both bits. */
	for (i = 2; i <= 3; i++) {
		WRITE_ONCE(*rig_pte(rig, 0), V | (u64)i << 6);
		dgpu_hw_tlb_invalidate(rig->hw, ASID, BASE, BASE + 1);
		rig_submit(rig, 0, job);
		rig_expect(rig, job, DGPU_ERR_BUS);
	}
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_BUS_ERRORS), 5);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_LOCAL_ACCESSES), 0);
}

static void memory_chip_without_it(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_page_each, 1);

	rig_map_local(rig, 0, 0, 0);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_ERR_BUS);
	KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(rig->hw, 0), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_LOCAL_ACCESSES), 0);
}

/*
 * A page moves to the device and back.  Without a flush the engine uses the old place,
 * and here nothing catches it: that memory is always there.
 */
static void memory_old_translation_until_flushed(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	struct dgpu_hw_job *job = rig_job(rig, prog_store_tid, 1);
	u64 *local = dgpu_memory_page(&rig->hw->memory, 0);

	*local = 0;
	rig_map_local(rig, 0, 0, W);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_EQ(test, *local, 100);

	*local = 0;
	rig_map(rig, 0, W);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_EQ(test, *local, 100);
	KUNIT_EXPECT_EQ(test, rig->mem[0][0], 0);

	*local = 0;
	dgpu_hw_tlb_invalidate(rig->hw, ASID, BASE, BASE + 1);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_EQ(test, *local, 0);
	KUNIT_EXPECT_EQ(test, rig->mem[0][0], 100);
}

/* ---- access counters ---- */

/* One access to two pages: mem8[BASE + 4092]. */
static const struct dgpu_insn prog_straddle[] = {
	I(LD8, 10, 1, 0, 4092),
	I(HALT, 0, 0, 0, 0),
	{}
};

static void memory_access_counters(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	struct dgpu_hw *hw = rig->hw;
	struct dgpu_hw_job *job = rig_job(rig, prog_page_each, 6);
	struct dgpu_hw_copy_desc desc = { .bus = rig->bus[0], .offset = 0 };
	struct dgpu_hw_copy copy = { .op = DGPU_HW_COPY_OUT, .nr = 1, .descs = &desc };
	struct dgpu_hw_copy *done;
	unsigned int i;

	/* Four pages of the first 2 MiB, one of the second, one of the system. */
	for (i = 0; i < 4; i++)
		rig_map_local(rig, i, i * DGPU_PAGE_SIZE, 0);
	rig_map_local(rig, 4, LOCAL_BYTES - DGPU_PAGE_SIZE, 0);
	rig_map(rig, 5, 0);
	for (i = 1; i <= 3; i++) {
		rig_submit(rig, 0, job);
		rig_expect(rig, job, DGPU_OK);
		KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(hw, 0), 4 * i);
		KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(hw, DGPU_HUGE_SIZE - 1), 4 * i);
		KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(hw, DGPU_HUGE_SIZE), i);
	}
	KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(hw, LOCAL_BYTES), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(hw, ~0ull), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(hw, DGPU_HW_LOCAL_ACCESSES), 15);

	/* Copies are no use of it. */
	KUNIT_ASSERT_EQ(test, dgpu_hw_copy_submit(hw, 0, &copy), 0);
	wait_event_timeout(rig->wait, (done = dgpu_hw_copy_completed(hw)),
			   msecs_to_jiffies(LONG_MS));
	KUNIT_ASSERT_PTR_EQ(test, done, &copy);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(hw, DGPU_HW_LOCAL_ACCESSES), 15);

	/* An access to two pages is one of each; one that faults is none. */
	job = rig_job(rig, prog_straddle, 1);
	rig_map_local(rig, 1, DGPU_HUGE_SIZE, 0);
	dgpu_hw_tlb_invalidate(hw, ASID, 0, ~0ull);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(hw, 0), 13);
	KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(hw, DGPU_HUGE_SIZE), 4);
	WRITE_ONCE(*rig_pte(rig, 1), 0);
	dgpu_hw_tlb_invalidate(hw, ASID, 0, ~0ull);
	rig_submit(rig, 0, job);
	KUNIT_EXPECT_TRUE(test, rig_wait_irq(rig, DGPU_HW_IRQ_FAULT));
	dgpu_hw_context_stop(hw, ASID, DGPU_ERR_STOPPED);
	rig_expect(rig, job, DGPU_ERR_STOPPED);
	KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(hw, 0), 13);
}

static void memory_goes_with_the_device(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	struct dgpu_hw_job *job = rig_job(rig, prog_count, 4);
	u64 count;

	rig_map_local(rig, 0, 0, W | AT);
	job->args[1] = ~0ull;
	rig_submit(rig, 0, job);
	RIG_WAIT(rig, count, dgpu_hw_access_count(rig->hw, 0), count > 100);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_LOST, 1), 0);
	KUNIT_EXPECT_NULL(test, dgpu_memory_page(&rig->hw->memory, 0));
	count = dgpu_hw_access_count(rig->hw, 0);
	rig_expect(rig, job, DGPU_ERR_LOST);
	KUNIT_EXPECT_EQ(test, dgpu_hw_access_count(rig->hw, 0), count);
}

static struct kunit_case dgpu_memory_cases[] = {
	KUNIT_CASE(memory_bad_config),
	KUNIT_CASE(memory_is_noise_after_power_on),
	KUNIT_CASE_SLOW(memory_of_usual_size),
	KUNIT_CASE(memory_loads_and_stores),
	KUNIT_CASE(memory_atomics_of_several_engines),
	KUNIT_CASE(memory_beyond_the_end_is_a_bus_error),
	KUNIT_CASE(memory_chip_without_it),
	KUNIT_CASE(memory_old_translation_until_flushed),
	KUNIT_CASE(memory_access_counters),
	KUNIT_CASE(memory_goes_with_the_device),
	{}
};

static struct kunit_suite dgpu_memory_suite = {
	.name = "dgpu_memory",
	.test_cases = dgpu_memory_cases,
};

kunit_test_suite(dgpu_memory_suite);

MODULE_DESCRIPTION("KUnit tests of the emulated GPU's device memory");
MODULE_LICENSE("GPL");

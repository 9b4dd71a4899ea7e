// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's copy engines: what is copied and what is not, order, errors, and
 * that a copy ends whatever else goes on.
 */
#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include "dgpu_random.h"
#include "dgpu_rig.h"

#define COPY_MAX	PAGES

/**
 * struct copy_job - a copy of the test
 * @hw: what the chip sees
 * @desc: its descriptors
 * @done: the chip has given it back, for tests with several threads
 */
struct copy_job {
	struct dgpu_hw_copy hw;
	struct dgpu_hw_copy_desc desc[COPY_MAX];
	struct completion done;
};

/* Pages [page, page + nr) of the rig, and device memory from @offset on. */
static void copy_set(struct rig *rig, struct copy_job *job, u32 op, unsigned int nr,
		     unsigned int page, u64 offset)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		job->desc[i].bus = rig->bus[page + i];
		job->desc[i].offset = offset + i * DGPU_PAGE_SIZE;
	}
	job->hw.op = op;
	job->hw.nr = nr;
	job->hw.descs = job->desc;
	/* The chip has to say something. */
	job->hw.error = 12345;
}

static struct copy_job *copy_new(struct rig *rig, u32 op, unsigned int nr, unsigned int page,
				 u64 offset)
{
	struct copy_job *job = kunit_kzalloc(rig->test, sizeof(*job), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(rig->test, job);
	init_completion(&job->done);
	copy_set(rig, job, op, nr, page, offset);
	return job;
}

static void copy_submit(struct rig *rig, unsigned int engine, struct copy_job *job)
{
	KUNIT_ASSERT_EQ(rig->test, dgpu_hw_copy_submit(rig->hw, engine, &job->hw), 0);
}

static struct dgpu_hw_copy *copy_completed(struct rig *rig, unsigned int ms)
{
	struct dgpu_hw_copy *copy = NULL;

	wait_event_timeout(rig->wait, (copy = dgpu_hw_copy_completed(rig->hw)),
			   msecs_to_jiffies(ms));
	return copy;
}

static void copy_expect(struct rig *rig, struct copy_job *job, s32 error)
{
	KUNIT_ASSERT_PTR_EQ(rig->test, copy_completed(rig, LONG_MS), &job->hw);
	KUNIT_EXPECT_EQ(rig->test, job->hw.error, error);
}

static void copy_do(struct rig *rig, struct copy_job *job, s32 error)
{
	copy_submit(rig, 0, job);
	copy_expect(rig, job, error);
}

/* Fill pages of the rig with numbers of their own. */
static void copy_fill(struct rig *rig, unsigned int page, unsigned int nr, u64 seed)
{
	unsigned int i, w;

	for (i = 0; i < nr; i++)
		for (w = 0; w < DGPU_PAGE_SIZE / 8; w++)
			rig->mem[page + i][w] = (seed << 32) + (i << 16) + w + 1;
}

/* How many of them are what copy_fill() has made, from the first one on? */
static unsigned int copy_filled(struct rig *rig, unsigned int page, unsigned int nr, u64 seed)
{
	unsigned int i, w;

	for (i = 0; i < nr; i++)
		for (w = 0; w < DGPU_PAGE_SIZE / 8; w++)
			if (READ_ONCE(rig->mem[page + i][w]) !=
			    (seed << 32) + (i << 16) + w + 1)
				return i;
	return nr;
}

static bool copy_is_all(struct rig *rig, unsigned int page, u64 value)
{
	unsigned int w;

	for (w = 0; w < DGPU_PAGE_SIZE / 8; w++)
		if (READ_ONCE(rig->mem[page][w]) != value)
			return false;
	return true;
}

/* ---- what a copy does ---- */

static void copy_in_out_and_clear(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	unsigned int nr, i;

	for (nr = 1; nr <= 8; nr++) {
		u64 offset = DGPU_HUGE_SIZE - 2 * DGPU_PAGE_SIZE;

		copy_fill(rig, 0, nr, nr);
		copy_do(rig, copy_new(rig, DGPU_HW_COPY_IN, nr, 0, offset), 0);
		KUNIT_EXPECT_EQ(test, copy_filled(rig, 0, nr, nr), nr);
		copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, nr, 8, offset), 0);
		KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, nr, nr), nr);
		/* twice: what was taken out is still there */
		copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, nr, 16, offset), 0);
		KUNIT_EXPECT_EQ(test, copy_filled(rig, 16, nr, nr), nr);

		copy_do(rig, copy_new(rig, DGPU_HW_COPY_CLEAR, nr, 0, offset), 0);
		KUNIT_EXPECT_EQ(test, copy_filled(rig, 0, nr, nr), nr);
		copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, nr, 8, offset), 0);
		for (i = 0; i < nr; i++)
			KUNIT_EXPECT_TRUE(test, copy_is_all(rig, 8 + i, 0));
	}
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_COPIED), 5 * 36);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_COPY_ERRORS), 0);
	KUNIT_EXPECT_TRUE(test, atomic_read(&rig->irqs) & DGPU_HW_IRQ_COPY);
	KUNIT_EXPECT_FALSE(test, rig->irq_in_process);
}

/* Descriptors name pages in any order; a page may be named more than once. */
static void copy_scatters_and_gathers(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	struct copy_job *job = copy_new(rig, DGPU_HW_COPY_IN, 8, 0, 0);
	unsigned int i;

	copy_fill(rig, 0, 8, 1);
	for (i = 0; i < 8; i++)
		job->desc[i].offset = (7 - i) * 5 * DGPU_PAGE_SIZE;
	copy_do(rig, job, 0);

	job = copy_new(rig, DGPU_HW_COPY_OUT, 8, 8, 0);
	for (i = 0; i < 8; i++)
		job->desc[i].offset = (7 - i) * 5 * DGPU_PAGE_SIZE;
	copy_do(rig, job, 0);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, 8, 1), 8);

	/* The descriptors are done in order: the last one stays. */
	job = copy_new(rig, DGPU_HW_COPY_IN, 2, 0, 0);
	job->desc[1].offset = job->desc[0].offset;
	copy_do(rig, job, 0);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, 1, 16, 0), 0);
	KUNIT_EXPECT_EQ(test, memcmp(rig->mem[16], rig->mem[1], DGPU_PAGE_SIZE), 0);
}

static void copy_bad_input(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 2);
	struct copy_job *job = copy_new(rig, DGPU_HW_COPY_IN, 1, 0, 0);

	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_submit(rig->hw, 2, &job->hw), -EINVAL);
	job->hw.op = DGPU_HW_COPY_CLEAR + 1;
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_submit(rig->hw, 0, &job->hw), -EINVAL);
	copy_set(rig, job, DGPU_HW_COPY_IN, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_submit(rig->hw, 0, &job->hw), -EINVAL);
	copy_set(rig, job, DGPU_HW_COPY_IN, 1, 0, 0);
	job->hw.descs = NULL;
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_submit(rig->hw, 0, &job->hw), -EINVAL);
	KUNIT_EXPECT_NULL(test, copy_completed(rig, 10));
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_load(rig->hw, 0), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_load(rig->hw, 2), 0);
	dgpu_hw_copy_reset(rig->hw, 2);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_COPY, 4), -EINVAL);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_COPY_DELAY_US, 60000001),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_RESETS), 0);
}

static void copy_chip_without_memory(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct copy_job *job = copy_new(rig, DGPU_HW_COPY_CLEAR, 1, 0, 0);

	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_submit(rig->hw, 0, &job->hw), -EINVAL);
	KUNIT_EXPECT_NULL(test, dgpu_hw_copy_completed(rig->hw));
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_COPY, 1), -EINVAL);
	dgpu_hw_copy_reset(rig->hw, 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_load(rig->hw, 0), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_COPIED), 0);
}

/* Each copy needs what the one before it has done. */
static void copy_order(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 2);
	struct copy_job *jobs[2 * (PAGES - 1)];
	unsigned int i;

	copy_fill(rig, 0, 1, 7);
	for (i = 0; i < PAGES - 1; i++) {
		jobs[2 * i] = copy_new(rig, DGPU_HW_COPY_IN, 1, i, i * DGPU_PAGE_SIZE);
		jobs[2 * i + 1] = copy_new(rig, DGPU_HW_COPY_OUT, 1, i + 1, i * DGPU_PAGE_SIZE);
	}
	for (i = 0; i < ARRAY_SIZE(jobs); i++)
		copy_submit(rig, 1, jobs[i]);
	for (i = 0; i < ARRAY_SIZE(jobs); i++)
		copy_expect(rig, jobs[i], 0);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, PAGES - 1, 1, 7), 1);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_load(rig->hw, 1), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_progress(rig->hw, 0), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_progress(rig->hw, 1), ARRAY_SIZE(jobs));
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_progress(rig->hw, 2), 0);
}

/* ---- errors ---- */

static void copy_bus_error_of_one_page(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	u64 n = rig->bus[8 + 5] >> DGPU_PAGE_SHIFT;
	struct copy_job *job;

	copy_fill(rig, 0, 8, 1);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_IN, 8, 0, 0), 0);

	/* A page that the driver has unmapped: those before it are written, no other. */
	WRITE_ONCE(rig->board->page[n], NULL);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, 8, 8, 0), -EIO);
	WRITE_ONCE(rig->board->page[n], rig->mem[8 + 5]);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, 8, 1), 5);
	KUNIT_EXPECT_TRUE(test, copy_is_all(rig, 8 + 5, 0));
	KUNIT_EXPECT_TRUE(test, copy_is_all(rig, 8 + 6, 0));
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_BUS_ERRORS), 1);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_COPY_ERRORS), 1);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_COPIED), 13);

	/* Not there, or not a page, in device memory. */
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_CLEAR, 1, 0, LOCAL_BYTES), -EIO);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_IN, 2, 0, LOCAL_BYTES - DGPU_PAGE_SIZE), -EIO);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, 1, 0, ~0ull << DGPU_PAGE_SHIFT), -EIO);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_CLEAR, 1, 0, 8), -EIO);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_BUS_ERRORS), 5);

	/* Clearing does not look at the bus, and the engine goes on after all that. */
	job = copy_new(rig, DGPU_HW_COPY_CLEAR, 8, 0, 0);
	job->desc[3].bus = ~0ull;
	copy_do(rig, job, 0);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, 1, 8 + 5, 0), 0);
	KUNIT_EXPECT_TRUE(test, copy_is_all(rig, 8 + 5, 0));
}

static void copy_injected_errors(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	unsigned int i;

	copy_fill(rig, 0, 8, 1);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_IN, 8, 0, 0), 0);

	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_COPY_FAIL, 2);
	for (i = 0; i < 2; i++) {
		memset(rig->mem[8 + 4], 0, DGPU_PAGE_SIZE);
		copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, 8, 8, 0), -EIO);
		/* Halfway, and something there that is neither the old nor the new. */
		KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, 8, 1), 4);
		KUNIT_EXPECT_FALSE(test, copy_is_all(rig, 8 + 4, 0));
		KUNIT_EXPECT_TRUE(test, copy_is_all(rig, 8 + 5, 0));
		KUNIT_EXPECT_EQ(test, dgpu_hw_knob_get(rig->hw, DGPU_KNOB_COPY_FAIL), 1 - i);
	}
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, 8, 8, 0), 0);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, 8, 1), 8);

	/* The only page of a copy is spoiled; its source is not. */
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_COPY_FAIL, ~0ull);
	for (i = 0; i < 20; i++)
		copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, 1, 8, 0), -EIO);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, 1, 1), 0);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_IN, 1, 0, DGPU_PAGE_SIZE), -EIO);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 0, 8, 1), 8);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_CLEAR, 1, 0, 2 * DGPU_PAGE_SIZE), -EIO);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_get(rig->hw, DGPU_KNOB_COPY_FAIL), ~0ull);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_COPY_FAIL, 0);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_OUT, 3, 8, 0), 0);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, 3, 1), 1);
	KUNIT_EXPECT_NE(test, memcmp(rig->mem[9], rig->mem[1], DGPU_PAGE_SIZE), 0);
	KUNIT_EXPECT_FALSE(test, copy_is_all(rig, 10, 0));
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_COPY_ERRORS), 24);
	/* They are not the driver's mistakes. */
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_BUS_ERRORS), 0);
}

static void copy_delayed(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 2);
	struct copy_job *slow, *next, *other;
	unsigned int written;
	u64 now;

	copy_fill(rig, 0, 8, 1);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_IN, 8, 0, 0), 0);
	slow = copy_new(rig, DGPU_HW_COPY_OUT, 8, 8, 0);
	next = copy_new(rig, DGPU_HW_COPY_CLEAR, 1, 0, 0);
	other = copy_new(rig, DGPU_HW_COPY_CLEAR, 1, 0, DGPU_HUGE_SIZE);

	/* Long enough for a machine that is busy with other things to look. */
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_COPY_DELAY_US, 4000000);
	now = ktime_get_ns();
	copy_submit(rig, 0, slow);
	/* It has begun, and who looks now sees half of it. */
	RIG_WAIT(rig, written, copy_filled(rig, 8, 8, 1), written == 4);
	RIG_WAIT(rig, written, READ_ONCE(slow->hw.state), written != DGPU_COPY_FIRST);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_COPY_DELAY_US, 0);
	/* Another engine does not wait, the same one does. */
	copy_submit(rig, 0, next);
	copy_submit(rig, 1, other);
	copy_expect(rig, other, 0);
	copy_expect(rig, slow, 0);
	KUNIT_EXPECT_GE(test, ktime_get_ns() - now, 4000000000ull);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, 8, 1), 8);
	copy_expect(rig, next, 0);
}

static void copy_hang_and_reset(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 2);
	struct copy_job *hung, *queued, *other;
	unsigned int written;

	copy_fill(rig, 0, 8, 1);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_IN, 8, 0, 0), 0);
	hung = copy_new(rig, DGPU_HW_COPY_OUT, 8, 8, 0);
	queued = copy_new(rig, DGPU_HW_COPY_OUT, 8, 16, 0);
	other = copy_new(rig, DGPU_HW_COPY_CLEAR, 1, 0, DGPU_HUGE_SIZE);

	KUNIT_ASSERT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_COPY, 1), 0);
	copy_submit(rig, 0, hung);
	copy_submit(rig, 0, queued);
	RIG_WAIT(rig, written, copy_filled(rig, 8, 8, 1), written == 4);
	KUNIT_EXPECT_NULL(test, copy_completed(rig, 50));
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_load(rig->hw, 0), 2);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_progress(rig->hw, 0), 8 + 4);
	KUNIT_EXPECT_TRUE(test, copy_is_all(rig, 8 + 4, 0));
	/* Neither the other copy engine nor the engines hang. */
	copy_submit(rig, 1, other);
	copy_expect(rig, other, 0);
	rig_map_local(rig, 0, 0, 0);
	rig_submit(rig, 0, rig_job(rig, prog_page_each, 1));
	KUNIT_EXPECT_NOT_NULL(test, rig_completed(rig, LONG_MS));

	dgpu_hw_copy_reset(rig->hw, 0);
	/* From here on the pages are the driver's. */
	copy_fill(rig, 8, 16, 2);
	copy_expect(rig, hung, -ECANCELED);
	copy_expect(rig, queued, -ECANCELED);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_get(rig->hw, DGPU_KNOB_HANG_COPY), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_load(rig->hw, 0), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_RESETS), 1);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_COPY_ERRORS), 2);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_progress(rig->hw, 0), 8 + 4 + 2);
	msleep(20);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, 16, 2), 16);

	/* What was in device memory is still there. */
	copy_submit(rig, 0, hung);
	copy_expect(rig, hung, 0);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, 8, 1), 8);
	/* A reset of an engine with nothing to do changes nothing. */
	dgpu_hw_copy_reset(rig->hw, 0);
	KUNIT_EXPECT_NULL(test, dgpu_hw_copy_completed(rig->hw));
}

static void copy_hang_that_passes(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	struct copy_job *job = copy_new(rig, DGPU_HW_COPY_IN, 8, 0, 0);

	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_COPY, 1);
	copy_submit(rig, 0, job);
	KUNIT_EXPECT_NULL(test, copy_completed(rig, 20));
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_COPY, 0);
	copy_expect(rig, job, 0);
}

/* A reset while pages are copied: not one is written after it has returned. */
static void copy_reset_at_any_time(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	struct copy_job *in = copy_new(rig, DGPU_HW_COPY_IN, 16, 0, 0);
	struct copy_job *out = copy_new(rig, DGPU_HW_COPY_OUT, 16, 16, 0);
	unsigned int i, round, cancelled = 0, late = 0;

	copy_fill(rig, 0, 16, 1);
	copy_do(rig, in, 0);
	for (round = 0; round < 300; round++) {
		copy_submit(rig, 0, out);
		udelay(round % 30);
		dgpu_hw_copy_reset(rig->hw, 0);
		/* At once: the end of a page is what the copy would write to next. */
		for (i = 0; i < 16; i++)
			WRITE_ONCE(rig->mem[16 + i][511], round);
		usleep_range(50, 100);
		for (i = 0; i < 16; i++)
			late += READ_ONCE(rig->mem[16 + i][511]) != round;
		KUNIT_ASSERT_PTR_EQ(test, copy_completed(rig, LONG_MS), &out->hw);
		cancelled += out->hw.error == -ECANCELED;
		if (out->hw.error)
			KUNIT_EXPECT_EQ(test, out->hw.error, -ECANCELED);
	}
	KUNIT_EXPECT_EQ(test, late, 0);
	kunit_info(test, "%u of %u cancelled\n", cancelled, round);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_COPY_ERRORS), cancelled);
}

static void copy_lost(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 3);
	struct copy_job *jobs[6], *late;
	unsigned int i, written;

	copy_fill(rig, 0, 4, 1);
	copy_do(rig, copy_new(rig, DGPU_HW_COPY_IN, 4, 0, 0), 0);
	/* One that hangs, one that waits, and a queue behind each. */
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_COPY, 1);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_COPY_DELAY_US, 60000000);
	for (i = 0; i < 6; i++) {
		jobs[i] = copy_new(rig, DGPU_HW_COPY_OUT, 4, 8 + 4 * i, 0);
		copy_submit(rig, i % 3, jobs[i]);
	}
	for (i = 0; i < 3; i++)
		RIG_WAIT(rig, written, copy_filled(rig, 8 + 4 * i, 4, 1), written == 2);

	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_LOST, 1), 0);
	/* From here on it writes to no page of the system. */
	copy_fill(rig, 8, 24, 2);
	KUNIT_EXPECT_TRUE(test, rig_wait_irq(rig, DGPU_HW_IRQ_LOST));
	for (i = 0; i < 6; i++) {
		struct dgpu_hw_copy *copy = copy_completed(rig, LONG_MS);

		KUNIT_ASSERT_NOT_NULL(test, copy);
		KUNIT_EXPECT_EQ(test, copy->error, -ENODEV);
	}
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 8, 24, 2), 24);
	late = copy_new(rig, DGPU_HW_COPY_OUT, 1, 0, 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_submit(rig->hw, 0, &late->hw), -ENODEV);
	/* The memory is gone. */
	KUNIT_EXPECT_NULL(test, dgpu_memory_page(&rig->hw->memory, 0));
	/* Nothing trips over it. */
	dgpu_hw_copy_reset(rig->hw, 0);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_COPY, 0);
	KUNIT_EXPECT_NULL(test, dgpu_hw_copy_completed(rig->hw));
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_COPY_ERRORS), 6);
	KUNIT_EXPECT_EQ(test, dgpu_hw_copy_load(rig->hw, 1), 0);
}

/* Faults that nobody answers, engines that hang or loop, a full fault buffer. */
static void copy_waits_for_nobody(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 1);
	struct copy_job *in = copy_new(rig, DGPU_HW_COPY_IN, 8, 8, 0);
	struct copy_job *out = copy_new(rig, DGPU_HW_COPY_OUT, 8, 16, 0);
	u64 faults;

	copy_fill(rig, 8, 8, 1);
	rig_submit(rig, 0, rig_job(rig, prog_page_each, 8));
	rig_submit(rig, 1, rig_job(rig, prog_page_each, 8));
	RIG_WAIT(rig, faults, dgpu_hw_stat(rig->hw, DGPU_HW_FAULTS), faults == 8);
	copy_do(rig, in, 0);
	copy_do(rig, out, 0);
	KUNIT_EXPECT_EQ(test, copy_filled(rig, 16, 8, 1), 8);

	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 3);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_TLB_DELAY_US, 60000000);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_DONE_DELAY_US, 60000000);
	dgpu_hw_tlb_invalidate(rig->hw, ASID, 0, ~0ull);
	copy_do(rig, in, 0);
	copy_do(rig, out, 0);

	dgpu_hw_engine_reset(rig->hw, 0);
	dgpu_hw_engine_reset(rig->hw, 1);
	rig_submit(rig, 0, rig_job(rig, prog_loop, 4));
	rig_submit(rig, 1, rig_job(rig, prog_loop, 4));
	copy_do(rig, in, 0);
	copy_do(rig, out, 0);
	/* The jobs that are on it would be freed first. */
	kunit_release_action(test, rig_off, rig);
}

static void copy_power_off_at_any_time(struct kunit *test)
{
	struct rig *rig = rig_on_local(test, 4);
	unsigned int i;

	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_COPY, 2);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_COPY_DELAY_US, 60000000);
	for (i = 0; i < 2; i++)
		copy_submit(rig, i, copy_new(rig, DGPU_HW_COPY_IN, 8, 0, 0));
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_COPY_DELAY_US, 0);
	for (i = 0; i < 8; i++)
		copy_submit(rig, i % 4, copy_new(rig, DGPU_HW_COPY_IN, 8, 0, 0));
	kunit_release_action(test, rig_off, rig);
	KUNIT_EXPECT_NULL(test, rig->hw);
}

/* ---- many of them ---- */

#define CROWD_THREADS	4
#define CROWD_ROUNDS	400
/* Each thread has these pages of the system, and half as many of device memory. */
#define CROWD_PAGES	(PAGES / CROWD_THREADS)

struct crowd {
	struct rig *rig;
	atomic_t wrong;
	atomic_t failed;
	atomic_t submitted;
	atomic_t running;
	struct completion done;
};

struct crowd_thread {
	struct crowd *crowd;
	struct dgpu_random rnd;
	unsigned int index;
	struct copy_job job;
};

/* Whoever comes takes copies out of the ring, those of others, too. */
static void crowd_collect(struct crowd *crowd)
{
	struct dgpu_hw_copy *copy;

	while ((copy = dgpu_hw_copy_completed(crowd->rig->hw))) {
		atomic_dec(&crowd->submitted);
		complete(&container_of(copy, struct copy_job, hw)->done);
	}
}

static s32 crowd_copy(struct crowd_thread *thread, u32 op, unsigned int nr, unsigned int page,
		      u64 offset)
{
	struct crowd *crowd = thread->crowd;
	struct copy_job *job = &thread->job;

	copy_set(crowd->rig, job, op, nr, page, offset);
	reinit_completion(&job->done);
	atomic_inc(&crowd->submitted);
	if (dgpu_hw_copy_submit(crowd->rig->hw, dgpu_random_below(&thread->rnd, 3), &job->hw)) {
		atomic_dec(&crowd->submitted);
		atomic_inc(&crowd->wrong);
		return -EINVAL;
	}
	if (!wait_event_timeout(crowd->rig->wait,
				(crowd_collect(crowd), try_wait_for_completion(&job->done)),
				msecs_to_jiffies(LONG_MS)))
		atomic_inc(&crowd->wrong);
	wake_up_all(&crowd->rig->wait);
	if (job->hw.error && job->hw.error != -EIO && job->hw.error != -ECANCELED)
		atomic_inc(&crowd->wrong);
	return job->hw.error;
}

/* In, out to another place, compare; with errors on the way each is tried again. */
static void crowd_round(struct crowd_thread *thread, u64 seed)
{
	struct rig *rig = thread->crowd->rig;
	unsigned int page = thread->index * CROWD_PAGES;
	unsigned int nr = 1 + dgpu_random_below(&thread->rnd, CROWD_PAGES / 2);
	u64 offset = DGPU_HUGE_SIZE - DGPU_PAGE_SIZE * CROWD_PAGES +
		     thread->index * (CROWD_PAGES / 2) * DGPU_PAGE_SIZE;

	copy_fill(rig, page, nr, seed);
	while (crowd_copy(thread, DGPU_HW_COPY_IN, nr, page, offset))
		atomic_inc(&thread->crowd->failed);
	while (crowd_copy(thread, DGPU_HW_COPY_OUT, nr, page + CROWD_PAGES / 2, offset))
		atomic_inc(&thread->crowd->failed);
	if (copy_filled(rig, page + CROWD_PAGES / 2, nr, seed) != nr)
		atomic_inc(&thread->crowd->wrong);
}

static int crowd_main(void *data)
{
	struct crowd_thread *thread = data;
	struct crowd *crowd = thread->crowd;
	struct dgpu_hw *hw = crowd->rig->hw;
	unsigned int i;

	for (i = 1; i <= CROWD_ROUNDS; i++) {
		crowd_round(thread, i * CROWD_THREADS + thread->index);
		switch (dgpu_random_below(&thread->rnd, 16)) {
		case 0:
			dgpu_hw_knob_set(hw, DGPU_KNOB_COPY_FAIL, 1);
			break;
		case 1:
			dgpu_hw_knob_set(hw, DGPU_KNOB_COPY_DELAY_US,
					 dgpu_random_below(&thread->rnd, 300));
			break;
		case 2:
			dgpu_hw_knob_set(hw, DGPU_KNOB_HANG_COPY, 4);
			/* It may be in the middle of one of another thread, or not. */
			dgpu_hw_copy_reset(hw, 2);
			break;
		case 3:
			dgpu_hw_copy_reset(hw, dgpu_random_below(&thread->rnd, 3));
			break;
		}
	}
	if (atomic_dec_and_test(&crowd->running))
		complete(&crowd->done);
	return 0;
}

static void copy_many_from_several_threads(struct kunit *test)
{
	struct crowd_thread *threads;
	struct crowd crowd = {};
	struct dgpu_random rnd;
	unsigned int i;

	dgpu_random_init(test, &rnd);
	crowd.rig = rig_on_local(test, 3);
	init_completion(&crowd.done);
	threads = kunit_kcalloc(test, CROWD_THREADS, sizeof(*threads), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, threads);
	atomic_set(&crowd.running, 1);
	for (i = 0; i < CROWD_THREADS; i++) {
		struct task_struct *task;

		threads[i].crowd = &crowd;
		threads[i].index = i;
		threads[i].rnd.state = dgpu_random(&rnd);
		init_completion(&threads[i].job.done);
		task = kthread_create(crowd_main, &threads[i], "dgpu-crowd/%u", i);
		if (IS_ERR(task)) {
			KUNIT_FAIL(test, "no thread");
			break;
		}
		atomic_inc(&crowd.running);
		wake_up_process(task);
	}
	if (!atomic_dec_and_test(&crowd.running))
		wait_for_completion(&crowd.done);

	KUNIT_EXPECT_EQ(test, atomic_read(&crowd.wrong), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&crowd.submitted), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(crowd.rig->hw, DGPU_HW_COPY_ERRORS),
			atomic_read(&crowd.failed));
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(crowd.rig->hw, DGPU_HW_BUS_ERRORS), 0);
	kunit_info(test, "%d failed and were done again\n", atomic_read(&crowd.failed));
}

static struct kunit_case dgpu_copy_cases[] = {
	KUNIT_CASE(copy_in_out_and_clear),
	KUNIT_CASE(copy_scatters_and_gathers),
	KUNIT_CASE(copy_bad_input),
	KUNIT_CASE(copy_chip_without_memory),
	KUNIT_CASE(copy_order),
	KUNIT_CASE(copy_bus_error_of_one_page),
	KUNIT_CASE(copy_injected_errors),
	KUNIT_CASE(copy_delayed),
	KUNIT_CASE(copy_hang_and_reset),
	KUNIT_CASE(copy_hang_that_passes),
	KUNIT_CASE(copy_reset_at_any_time),
	KUNIT_CASE(copy_lost),
	KUNIT_CASE(copy_waits_for_nobody),
	KUNIT_CASE(copy_power_off_at_any_time),
	KUNIT_CASE_SLOW(copy_many_from_several_threads),
	{}
};

static struct kunit_suite dgpu_copy_suite = {
	.name = "dgpu_copy",
	.test_cases = dgpu_copy_cases,
};

kunit_test_suite(dgpu_copy_suite);

MODULE_DESCRIPTION("KUnit tests of the emulated GPU's copy engines");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's chip as a driver sees it: invalidations, and injected failure.
 */
#include <kunit/test.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sched.h>
#include "dgpu_rig.h"

/* ---- TLB ---- */

/*
 * Move a page that an engine reads all the time to another place, again and again; the
 * old place is gone after the flush, so one access through an old translation is a bus
 * error.  Returns the number of moves before the job has ended.
 */
static unsigned int inject_move_page(struct rig *rig, struct dgpu_hw_job *job,
				     unsigned int moves)
{
	unsigned int i, now = 0;
	u64 ticket;

	for (i = 0; i < moves; i++) {
		unsigned int next = 2 + (i & 7);
		u64 *count = rig->mem[1];
		u64 reads, before = READ_ONCE(*count);

		rig->mem[next][0] = 1;
		WRITE_ONCE(rig->board->page[rig->bus[next] >> DGPU_PAGE_SHIFT], rig->mem[next]);
		WRITE_ONCE(*rig_pte(rig, 0), rig->bus[next] | V);
		ticket = dgpu_hw_tlb_invalidate(rig->hw, ASID, BASE, BASE + 1);
		KUNIT_EXPECT_TRUE(rig->test, dgpu_hw_tlb_done(rig->hw, ticket));
		if (now && now != next)
			WRITE_ONCE(rig->board->page[rig->bus[now] >> DGPU_PAGE_SHIFT], NULL);
		now = next;
		/* It goes on reading. */
		RIG_WAIT(rig, reads, READ_ONCE(*count), reads >= before + 3 ||
			 READ_ONCE(job->state) == DGPU_JOB_DONE);
		if (READ_ONCE(job->state) == DGPU_JOB_DONE)
			break;
	}
	WRITE_ONCE(rig->mem[now][0], 0);
	return i;
}

static void inject_no_access_after_a_flush(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_poll, 1);

	rig->mem[0][0] = 1;
	rig_map(rig, 0, 0);
	rig_map(rig, 1, W);
	rig_submit(rig, 1, job);
	KUNIT_EXPECT_EQ(test, inject_move_page(rig, job, 2000), 2000);
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_EQ(test, job->result.faults, 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_TLB_FLUSHES), 2000);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_BUS_ERRORS), 0);
}

/* The test above can fail: one flush that does not happen is found out. */
static void inject_forgotten_flush_is_found_out(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_poll, 1);
	u64 reads;

	rig->mem[0][0] = 1;
	rig_map(rig, 0, 0);
	rig_map(rig, 1, W);
	rig_submit(rig, 0, job);
	KUNIT_EXPECT_EQ(test, inject_move_page(rig, job, 3), 3);
	rig_expect(rig, job, DGPU_OK);

	rig->mem[0][0] = 1;
	rig->mem[1][0] = 0;
	rig_map(rig, 0, 0);
	dgpu_hw_tlb_invalidate(rig->hw, ASID, 0, ~0ull);
	rig_submit(rig, 0, job);
	/* It counts before it reads: at 2 the translation is in the TLB. */
	RIG_WAIT(rig, reads, READ_ONCE(rig->mem[1][0]), reads >= 2);
	KUNIT_ASSERT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_DROP_FLUSH, 1), 0);
	WRITE_ONCE(*rig_pte(rig, 0), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_tlb_invalidate(rig->hw, ASID, BASE, BASE + 1), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_get(rig->hw, DGPU_KNOB_DROP_FLUSH), 0);
	WRITE_ONCE(rig->board->page[rig->bus[0] >> DGPU_PAGE_SHIFT], NULL);
	rig_expect(rig, job, DGPU_ERR_BUS);
	KUNIT_EXPECT_EQ(test, job->result.fault_addr, BASE);
}

static void inject_delayed_flush(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_page_each, 1);
	u64 ticket, last = 0, now;
	struct dgpu_hw_fault fault;
	unsigned int i;

	rig_map(rig, 0, 0);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);

	/* Long enough for a machine that is busy with other things to run the program. */
	KUNIT_ASSERT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_TLB_DELAY_US, 4000000), 0);
	now = ktime_get_ns();
	WRITE_ONCE(*rig_pte(rig, 0), 0);
	ticket = dgpu_hw_tlb_invalidate(rig->hw, ASID, BASE, BASE + 4096);
	KUNIT_EXPECT_NE(test, ticket, 0);
	KUNIT_EXPECT_FALSE(test, dgpu_hw_tlb_done(rig->hw, ticket));
	KUNIT_EXPECT_FALSE(test, dgpu_hw_tlb_wait(rig->hw, ticket, 1));
	/* The old translation is still good for an access ... */
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_FALSE(test, atomic_read(&rig->irqs) & DGPU_HW_IRQ_TLB);
	KUNIT_EXPECT_TRUE(test, dgpu_hw_tlb_wait(rig->hw, ticket, LONG_MS));
	KUNIT_EXPECT_GE(test, ktime_get_ns() - now, 4000000000ull);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_TLB_DELAY_US, 300000);
	KUNIT_EXPECT_TRUE(test, rig_wait_irq(rig, DGPU_HW_IRQ_TLB));
	/* ... and then it is not. */
	rig_submit(rig, 0, job);
	KUNIT_ASSERT_EQ(test, rig_faults(rig, &fault, 1), 1);
	rig_map(rig, 0, 0);
	dgpu_hw_fault_answer(rig->hw, &fault, 0);
	rig_expect(rig, job, DGPU_OK);

	/* More than there is room for: all done in the end, in order. */
	WRITE_ONCE(*rig_pte(rig, 0), 0);
	for (i = 0; i < 3 * DGPU_TLB_PENDING; i++) {
		ticket = dgpu_hw_tlb_invalidate(rig->hw, ASID, BASE + i * 4096,
						BASE + i * 4096 + 4096);
		KUNIT_EXPECT_GT(test, ticket, last);
		last = ticket;
	}
	/* One without delay does not wait for them. */
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_TLB_DELAY_US, 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_tlb_invalidate(rig->hw, ASID, 0, 4096), 0);
	KUNIT_EXPECT_TRUE(test, dgpu_hw_tlb_wait(rig->hw, last, LONG_MS));
	rig_submit(rig, 0, job);
	KUNIT_ASSERT_EQ(test, rig_faults(rig, &fault, 1), 1);
	dgpu_hw_fault_answer(rig->hw, &fault, -EFAULT);
	rig_expect(rig, job, DGPU_ERR_FAULT);
}

/* The way out for a driver whose invalidation does not come back. */
static void inject_reset_instead_of_a_flush(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_page_each, 1);
	struct dgpu_hw_fault fault;
	unsigned int i;
	u64 ticket;

	rig_map(rig, 0, 0);
	for (i = 0; i < 2; i++) {
		rig_submit(rig, i, job);
		rig_expect(rig, job, DGPU_OK);
	}
	WRITE_ONCE(*rig_pte(rig, 0), 0);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_TLB_DELAY_US, 60000000);
	ticket = dgpu_hw_tlb_invalidate(rig->hw, ASID, BASE, BASE + 4096);
	dgpu_hw_engine_reset(rig->hw, 0);
	KUNIT_EXPECT_FALSE(test, dgpu_hw_tlb_wait(rig->hw, ticket, 20));
	dgpu_hw_engine_reset(rig->hw, 1);
	KUNIT_EXPECT_TRUE(test, dgpu_hw_tlb_wait(rig->hw, ticket, LONG_MS));
	for (i = 0; i < 2; i++) {
		rig_submit(rig, i, job);
		KUNIT_ASSERT_EQ(test, rig_faults(rig, &fault, 1), 1);
		dgpu_hw_fault_answer(rig->hw, &fault, -EFAULT);
		rig_expect(rig, job, DGPU_ERR_FAULT);
	}
}

/* ---- injected failure ---- */

static void inject_delayed_fault_and_completion(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 2);
	struct dgpu_hw_job *job = rig_job(rig, prog_page_each, 4);
	struct dgpu_hw_job *next = rig_job(rig, prog_halt, 1);
	struct dgpu_hw_fault fault;
	unsigned int i, load;
	u64 now, answered = 0;

	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_FAULT_DELAY_US, 100000);
	now = ktime_get_ns();
	rig_submit(rig, 0, job);
	for (i = 0; i < 4; i++) {
		KUNIT_ASSERT_EQ(test, rig_faults(rig, &fault, 1), 1);
		KUNIT_EXPECT_GE(test, ktime_get_ns() - now, 100000000);
		rig_map(rig, (fault.addr - BASE) >> DGPU_PAGE_SHIFT, 0);
		dgpu_hw_knob_set(rig->hw, DGPU_KNOB_DONE_DELAY_US, 100000);
		/* The program ends after the last of the answers. */
		answered = ktime_get_ns();
		dgpu_hw_fault_answer(rig->hw, &fault, 0);
	}
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_GE(test, ktime_get_ns() - answered, 100000000);

	/* The ring stays in order when the delay goes away. */
	rig_submit(rig, 0, job);
	RIG_WAIT(rig, load, dgpu_hw_engine_load(rig->hw, 0), !load);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_DONE_DELAY_US, 0);
	rig_submit(rig, 0, next);
	rig_expect(rig, job, DGPU_OK);
	rig_expect(rig, next, DGPU_OK);
}

static void inject_hang_and_reset(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_page_each, 1);
	struct dgpu_hw_job *other = rig_job(rig, prog_halt, 1);
	struct dgpu_hw_job *queued = rig_job(rig, prog_halt, 1);
	struct dgpu_hw_fault fault;

	rig_submit(rig, 1, job);
	KUNIT_ASSERT_EQ(test, rig_faults(rig, &fault, 1), 1);
	KUNIT_ASSERT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 2), 0);

	/* It takes jobs, and neither runs nor ends them, nor hears answers. */
	rig_submit(rig, 1, queued);
	dgpu_hw_job_kill(rig->hw, queued, DGPU_ERR_TIMEOUT);
	dgpu_hw_job_kill(rig->hw, job, DGPU_ERR_TIMEOUT);
	dgpu_hw_fault_answer(rig->hw, &fault, -EFAULT);
	KUNIT_EXPECT_NULL(test, rig_completed(rig, 50));
	KUNIT_EXPECT_EQ(test, dgpu_hw_engine_load(rig->hw, 1), 2);
	rig_submit(rig, 0, other);
	rig_expect(rig, other, DGPU_OK);
	/* Its TLB answers. */
	KUNIT_EXPECT_EQ(test, dgpu_hw_tlb_invalidate(rig->hw, ASID, 0, ~0ull), 0);

	dgpu_hw_engine_reset(rig->hw, 1);
	rig_expect(rig, job, DGPU_ERR_RESET);
	rig_expect(rig, queued, DGPU_ERR_RESET);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_get(rig->hw, DGPU_KNOB_HANG_ENGINE), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_RESETS), 1);
	rig_submit(rig, 1, other);
	rig_expect(rig, other, DGPU_OK);

	/* Stopping a context does not need the engine. */
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 1);
	rig_submit(rig, 0, job);
	dgpu_hw_context_stop(rig->hw, ASID, DGPU_ERR_STOPPED);
	KUNIT_EXPECT_PTR_EQ(test, dgpu_hw_completed(rig->hw), job);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 0);
}

static void inject_hang_that_passes(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_halt, 100);

	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 1);
	rig_submit(rig, 0, job);
	KUNIT_EXPECT_NULL(test, rig_completed(rig, 20));
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 0);
	rig_expect(rig, job, DGPU_OK);
}

static void inject_lost(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 2);
	struct dgpu_hw_job *job[4];
	struct dgpu_hw_fault fault;
	unsigned int i;
	u64 ticket;

	job[0] = rig_job(rig, prog_loop, 100);
	job[1] = rig_job(rig, prog_page_each, 4);
	job[2] = rig_job(rig, prog_loop, 1);
	job[3] = rig_job(rig, prog_halt, 1);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_TLB_DELAY_US, 60000000);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_DONE_DELAY_US, 60000000);
	ticket = dgpu_hw_tlb_invalidate(rig->hw, ASID, 0, ~0ull);
	for (i = 0; i < 3; i++)
		rig_submit(rig, i % 2, job[i]);
	KUNIT_EXPECT_FALSE(test, dgpu_hw_tlb_done(rig->hw, ticket));

	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_LOST, 1), 0);
	KUNIT_EXPECT_TRUE(test, rig_wait_irq(rig, DGPU_HW_IRQ_LOST));
	for (i = 0; i < 3; i++) {
		struct dgpu_hw_job *done = rig_completed(rig, LONG_MS);

		KUNIT_ASSERT_NOT_NULL(test, done);
		KUNIT_EXPECT_EQ(test, done->result.status, DGPU_ERR_LOST);
	}
	KUNIT_EXPECT_EQ(test, dgpu_hw_submit(rig->hw, 0, job[3]), -ENODEV);
	KUNIT_EXPECT_TRUE(test, dgpu_hw_tlb_wait(rig->hw, ticket, LONG_MS));
	KUNIT_EXPECT_EQ(test, dgpu_hw_tlb_invalidate(rig->hw, ASID, 0, ~0ull), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_fault_read(rig->hw, &fault, 1), 0);
	/* Nothing brings it back, and nothing trips over it. */
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_LOST, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_LOST, 1), 0);
	dgpu_hw_engine_reset(rig->hw, 0);
	dgpu_hw_context_stop(rig->hw, ASID, DGPU_ERR_STOPPED);
	dgpu_hw_context_unload(rig->hw, ASID);
	KUNIT_EXPECT_NULL(test, dgpu_hw_completed(rig->hw));
}

static void inject_slow(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_store_tid, 20);
	u64 now;

	rig_map(rig, 0, W);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_SLOW_INSNS, 2);
	now = ktime_get_ns();
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	/* 120 instructions, a millisecond for each two of them */
	KUNIT_EXPECT_GE(test, ktime_get_ns() - now, 59 * NSEC_PER_MSEC);
}

static void inject_power_off_at_any_time(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 2);

	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_TLB_DELAY_US, 60000000);
	dgpu_hw_tlb_invalidate(rig->hw, ASID, 0, ~0ull);
	rig_submit(rig, 0, rig_job(rig, prog_loop, 100));
	rig_submit(rig, 0, rig_job(rig, prog_halt, 1));
	rig_submit(rig, 1, rig_job(rig, prog_halt, 1));
	rig_submit(rig, 1, rig_job(rig, prog_page_each, 8));
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_DONE_DELAY_US, 60000000);
	rig_submit(rig, 1, rig_job(rig, prog_halt, 1));
	rig_submit(rig, 0, rig_job(rig, prog_loop, 1));
	kunit_release_action(test, rig_off, rig);
	KUNIT_EXPECT_NULL(test, rig->hw);
}

static struct kunit_case dgpu_inject_cases[] = {
	KUNIT_CASE_SLOW(inject_no_access_after_a_flush),
	KUNIT_CASE(inject_forgotten_flush_is_found_out),
	KUNIT_CASE(inject_delayed_flush),
	KUNIT_CASE(inject_reset_instead_of_a_flush),
	KUNIT_CASE(inject_delayed_fault_and_completion),
	KUNIT_CASE(inject_hang_and_reset),
	KUNIT_CASE(inject_hang_that_passes),
	KUNIT_CASE(inject_lost),
	KUNIT_CASE(inject_slow),
	KUNIT_CASE(inject_power_off_at_any_time),
	{}
};

static struct kunit_suite dgpu_inject_suite = {
	.name = "dgpu_inject",
	.test_cases = dgpu_inject_cases,
};

kunit_test_suite(dgpu_inject_suite);

MODULE_DESCRIPTION("KUnit tests of the emulated GPU's invalidations and injected failure");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's chip under a storm: jobs, kills, stops, resets, faults and their
 * answers, invalidations and injected failure at random from several threads.
 */
#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include "dgpu_random.h"
#include "dgpu_rig.h"

#define STORM_THREADS	3
#define STORM_JOBS	24

/**
 * struct storm - random use of the chip from several threads
 * @rig: the chip
 * @jobs: each of them is on the chip or here, never both
 * @here: 1 while the job may be submitted
 * @unknown: jobs that came out and had not gone in
 * @submitted: jobs that went in
 * @completed: jobs that came out
 * @stop: time to end
 * @running: threads
 * @done: the last thread has ended
 */
struct storm {
	struct rig *rig;
	struct dgpu_hw_job *jobs[STORM_JOBS];
	atomic_t here[STORM_JOBS];
	atomic_t unknown;
	atomic_t submitted;
	atomic_t completed;
	bool stop;
	atomic_t running;
	struct completion done;
};

struct storm_thread {
	struct storm *storm;
	struct dgpu_random rnd;
};

static void storm_collect(struct storm *storm)
{
	struct dgpu_hw_job *job;
	unsigned int i;

	while ((job = dgpu_hw_completed(storm->rig->hw))) {
		for (i = 0; i < STORM_JOBS && storm->jobs[i] != job; i++)
			;
		atomic_inc(&storm->completed);
		if (i == STORM_JOBS || atomic_xchg(&storm->here[i], 1))
			atomic_inc(&storm->unknown);
	}
}

static void storm_submit(struct storm *storm, struct dgpu_random *rnd)
{
	static const struct dgpu_insn * const programs[] = {
		prog_halt, prog_loop, prog_store_tid, prog_page_each, prog_count,
	};
	unsigned int i = dgpu_random_below(rnd, STORM_JOBS);
	unsigned int p = dgpu_random_below(rnd, ARRAY_SIZE(programs));
	struct dgpu_hw_job *job = storm->jobs[i];

	if (!atomic_xchg(&storm->here[i], 0))
		return;
	job->asid = ASID + dgpu_random_below(rnd, 2);
	job->code = programs[p];
	job->ninsns = rig_length(programs[p]);
	job->nthreads = 1 + dgpu_random_below(rnd, PAGES);
	job->args[1] = 1 + dgpu_random_below(rnd, 50);
	atomic_inc(&storm->submitted);
	if (dgpu_hw_submit(storm->rig->hw, dgpu_random_below(rnd, 3), job)) {
		atomic_dec(&storm->submitted);
		atomic_set(&storm->here[i], 1);
	}
}

static void storm_answer(struct storm *storm, struct dgpu_random *rnd)
{
	struct dgpu_hw_fault faults[4];
	unsigned int i, n, page;

	n = dgpu_hw_fault_read(storm->rig->hw, faults, 1 + dgpu_random_below(rnd, 4));
	for (i = 0; i < n; i++) {
		page = (faults[i].addr - BASE) >> DGPU_PAGE_SHIFT;
		if (page < PAGES && dgpu_random_below(rnd, 8)) {
			rig_map(storm->rig, page, W | AT);
			dgpu_hw_fault_answer(storm->rig->hw, &faults[i], 0);
			/* a second answer is no answer */
			dgpu_hw_fault_answer(storm->rig->hw, &faults[i], -EIO);
		} else {
			dgpu_hw_fault_answer(storm->rig->hw, &faults[i], -EFAULT);
		}
	}
}

static void storm_unmap(struct storm *storm, struct dgpu_random *rnd)
{
	unsigned int page = dgpu_random_below(rnd, PAGES);
	u64 ticket;

	xchg(rig_pte(storm->rig, page), 0);
	ticket = dgpu_hw_tlb_invalidate(storm->rig->hw, ASID + dgpu_random_below(rnd, 2),
					BASE + page * DGPU_PAGE_SIZE,
					BASE + (page + 1) * DGPU_PAGE_SIZE);
	if (dgpu_random_below(rnd, 2))
		dgpu_hw_tlb_wait(storm->rig->hw, ticket, 1);
}

static void storm_knob(struct storm *storm, struct dgpu_random *rnd)
{
	struct dgpu_hw *hw = storm->rig->hw;
	u64 value = dgpu_random_below(rnd, 2) ? dgpu_random_below(rnd, 3000) : 0;

	switch (dgpu_random_below(rnd, 6)) {
	case 0:
		dgpu_hw_knob_set(hw, DGPU_KNOB_TLB_DELAY_US, value);
		break;
	case 1:
		dgpu_hw_knob_set(hw, DGPU_KNOB_FAULT_DELAY_US, value);
		break;
	case 2:
		dgpu_hw_knob_set(hw, DGPU_KNOB_DONE_DELAY_US, value);
		break;
	case 3:
		dgpu_hw_knob_set(hw, DGPU_KNOB_HANG_ENGINE, value & 7);
		break;
	case 4:
		dgpu_hw_knob_set(hw, DGPU_KNOB_SLOW_INSNS, value);
		break;
	default:
		dgpu_hw_engine_reset(hw, dgpu_random_below(rnd, 3));
		break;
	}
}

static int storm_main(void *data)
{
	struct storm_thread *thread = data;
	struct storm *storm = thread->storm;
	struct dgpu_random *rnd = &thread->rnd;
	struct dgpu_hw *hw = storm->rig->hw;
	unsigned int asid;

	while (!READ_ONCE(storm->stop)) {
		switch (dgpu_random_below(rnd, 64)) {
		case 0:
			storm_knob(storm, rnd);
			break;
		case 1:
			asid = ASID + dgpu_random_below(rnd, 2);
			if (!dgpu_random_below(rnd, 16))
				dgpu_hw_context_stop(hw, asid, DGPU_ERR_STOPPED);
			break;
		case 2 ... 9:
			/* only jobs that were submitted once have an engine */
			dgpu_hw_job_kill(hw, storm->jobs[dgpu_random_below(rnd, STORM_JOBS)],
					 DGPU_ERR_TIMEOUT);
			break;
		case 10 ... 25:
			storm_submit(storm, rnd);
			break;
		case 26 ... 40:
			storm_answer(storm, rnd);
			break;
		case 41 ... 50:
			storm_unmap(storm, rnd);
			break;
		default:
			storm_collect(storm);
			break;
		}
		cond_resched();
	}
	if (atomic_dec_and_test(&storm->running))
		complete(&storm->done);
	return 0;
}

/*
 * Whatever happens in whatever order, a job that goes in comes out, once.  Contexts are
 * loaded anew by this thread when one of the others has stopped them.
 */
static void storm_of_everything(struct kunit *test)
{
	struct rig *rig = rig_on(test, 3, 8, 4);
	struct storm *storm = kunit_kzalloc(test, sizeof(*storm), GFP_KERNEL);
	struct storm_thread threads[STORM_THREADS];
	unsigned int i, asid, resets = 0;
	struct dgpu_random rnd;
	unsigned long end;

	KUNIT_ASSERT_NOT_NULL(test, storm);
	dgpu_random_init(test, &rnd);
	KUNIT_ASSERT_EQ(test, dgpu_hw_context_load(rig->hw, ASID + 1, rig->root), 0);
	storm->rig = rig;
	init_completion(&storm->done);
	for (i = 0; i < STORM_JOBS; i++) {
		storm->jobs[i] = rig_job(rig, prog_halt, 1);
		atomic_set(&storm->here[i], 1);
	}
	atomic_set(&storm->running, 1);
	for (i = 0; i < STORM_THREADS; i++) {
		struct task_struct *task;

		threads[i].storm = storm;
		threads[i].rnd.state = dgpu_random(&rnd);
		atomic_inc(&storm->running);
		task = kthread_run(storm_main, &threads[i], "dgpu-kunit-storm");
		if (IS_ERR(task))
			atomic_dec(&storm->running);
	}
	end = jiffies + msecs_to_jiffies(rounds / 4);
	while (time_before(jiffies, end)) {
		msleep(20);
		asid = ASID + dgpu_random_below(&rnd, 2);
		if (READ_ONCE(rig->hw->contexts[asid].state) == DGPU_CONTEXT_STOPPED) {
			dgpu_hw_context_unload(rig->hw, asid);
			KUNIT_EXPECT_EQ(test, dgpu_hw_context_load(rig->hw, asid, rig->root), 0);
			resets++;
		}
	}
	WRITE_ONCE(storm->stop, true);
	if (!atomic_dec_and_test(&storm->running))
		wait_for_completion(&storm->done);

	/* Calm: everything that is still in comes out. */
	for (i = 0; i < DGPU_KNOB_DROP_FLUSH; i++)
		dgpu_hw_knob_set(rig->hw, i, 0);
	dgpu_hw_context_stop(rig->hw, ASID, DGPU_ERR_STOPPED);
	dgpu_hw_context_stop(rig->hw, ASID + 1, DGPU_ERR_STOPPED);
	for (i = 0; i < 1000 && atomic_read(&storm->completed) !=
				atomic_read(&storm->submitted); i++) {
		storm_collect(storm);
		msleep(20);
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&storm->completed), atomic_read(&storm->submitted));
	KUNIT_EXPECT_EQ(test, atomic_read(&storm->unknown), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&storm->submitted), 0);
	for (i = 0; i < STORM_JOBS; i++)
		KUNIT_EXPECT_EQ(test, atomic_read(&storm->here[i]), 1);
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_EQ(test, dgpu_hw_engine_load(rig->hw, i), 0);
		KUNIT_EXPECT_TRUE(test, list_empty(&rig->hw->engines[i].run));
		KUNIT_EXPECT_TRUE(test, list_empty(&rig->hw->engines[i].waiting));
		KUNIT_EXPECT_TRUE(test, list_empty(&rig->hw->engines[i].parked));
	}
	KUNIT_EXPECT_EQ(test, dgpu_fault_buffer_used(&rig->hw->fault_buffer), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_BUS_ERRORS), 0);
	kunit_info(test, "%d jobs, %llu faults, %llu overflows, %llu replays, %u contexts",
		   atomic_read(&storm->submitted), dgpu_hw_stat(rig->hw, DGPU_HW_FAULTS),
		   dgpu_hw_stat(rig->hw, DGPU_HW_FAULT_OVERFLOWS),
		   dgpu_hw_stat(rig->hw, DGPU_HW_REPLAYS), resets);
}

static struct kunit_case dgpu_storm_cases[] = {
	KUNIT_CASE_SLOW(storm_of_everything),
	{}
};

static struct kunit_suite dgpu_storm_suite = {
	.name = "dgpu_storm",
	.test_cases = dgpu_storm_cases,
};

kunit_test_suite(dgpu_storm_suite);

MODULE_DESCRIPTION("KUnit test of the emulated GPU's chip under a storm");
MODULE_LICENSE("GPL");

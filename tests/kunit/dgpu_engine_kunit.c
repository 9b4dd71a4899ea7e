// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's chip as a driver sees it: jobs, faults and their answers, contexts.
 */
#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include "dgpu_rig.h"

/* ---- power and arguments ---- */

static void engine_bad_config(struct kunit *test)
{
	static const struct dgpu_hw_config good = {
		.engines = 1, .va_bits = 48, .tlb_entries = 0, .fault_entries = 2,
		.lanes = 1, .max_contexts = 1,
	};
	static const struct {
		size_t field;
		unsigned int value;
	} bad[] = {
		{ offsetof(struct dgpu_hw_config, engines), 0 },
		{ offsetof(struct dgpu_hw_config, engines), 17 },
		{ offsetof(struct dgpu_hw_config, va_bits), 0 },
		{ offsetof(struct dgpu_hw_config, va_bits), 47 },
		{ offsetof(struct dgpu_hw_config, va_bits), 64 },
		{ offsetof(struct dgpu_hw_config, tlb_entries), 3 },
		{ offsetof(struct dgpu_hw_config, tlb_entries), 1u << 31 },
		{ offsetof(struct dgpu_hw_config, fault_entries), 0 },
		{ offsetof(struct dgpu_hw_config, fault_entries), 1 },
		{ offsetof(struct dgpu_hw_config, fault_entries), 12 },
		{ offsetof(struct dgpu_hw_config, fault_entries), 1u << 31 },
		{ offsetof(struct dgpu_hw_config, lanes), 0 },
		{ offsetof(struct dgpu_hw_config, lanes), 1025 },
		{ offsetof(struct dgpu_hw_config, max_contexts), 0 },
		{ offsetof(struct dgpu_hw_config, max_contexts), 65537 },
	};
	struct dgpu_hw_config config;
	struct dgpu_hw *hw;
	unsigned int i;

	hw = dgpu_hw_create(&good, &rig_ops, NULL);
	KUNIT_ASSERT_FALSE(test, IS_ERR(hw));
	dgpu_hw_destroy(hw);
	dgpu_hw_destroy(NULL);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		config = good;
		*(unsigned int *)((char *)&config + bad[i].field) = bad[i].value;
		hw = dgpu_hw_create(&config, &rig_ops, NULL);
		KUNIT_EXPECT_EQ_MSG(test, PTR_ERR(hw), -EINVAL, "config %u", i);
	}
}

static void engine_bad_arguments(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 4);
	struct dgpu_hw_fault fault = { .engine = 0xffff, .lane = 0xffffffff };
	struct dgpu_hw_job *job = rig_job(rig, prog_halt, 1);

	KUNIT_EXPECT_EQ(test, dgpu_hw_context_load(rig->hw, 16, rig->root), -EINVAL);
	KUNIT_EXPECT_EQ(test, dgpu_hw_context_load(rig->hw, 1, 0x1001), -EINVAL);
	KUNIT_EXPECT_EQ(test, dgpu_hw_context_load(rig->hw, 1, 1ull << 52), -EINVAL);
	KUNIT_EXPECT_EQ(test, dgpu_hw_context_load(rig->hw, ASID, rig->root), -EBUSY);

	KUNIT_EXPECT_EQ(test, dgpu_hw_submit(rig->hw, 2, job), -EINVAL);
	job->asid = 16;
	KUNIT_EXPECT_EQ(test, dgpu_hw_submit(rig->hw, 0, job), -EINVAL);
	job->asid = 1;	/* not loaded */
	KUNIT_EXPECT_EQ(test, dgpu_hw_submit(rig->hw, 0, job), -EINVAL);
	job->asid = ASID;
	job->ninsns = 0;
	KUNIT_EXPECT_EQ(test, dgpu_hw_submit(rig->hw, 0, job), -EINVAL);
	job->ninsns = 1;
	job->nthreads = 0;
	KUNIT_EXPECT_EQ(test, dgpu_hw_submit(rig->hw, 0, job), -EINVAL);
	job->nthreads = 1;
	job->code = NULL;
	KUNIT_EXPECT_EQ(test, dgpu_hw_submit(rig->hw, 0, job), -EINVAL);
	dgpu_hw_job_kill(rig->hw, job, DGPU_ERR_TIMEOUT);	/* never submitted */

	dgpu_hw_fault_answer(rig->hw, &fault, 0);
	dgpu_hw_context_stop(rig->hw, 16, DGPU_ERR_STOPPED);
	dgpu_hw_context_unload(rig->hw, 16);
	dgpu_hw_engine_reset(rig->hw, 2);
	KUNIT_EXPECT_EQ(test, dgpu_hw_tlb_invalidate(rig->hw, 16, 0, ~0ull), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_engine_load(rig->hw, 2), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_NR), 0);

	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_NR, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 4), -EINVAL);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_LOST, 2), -EINVAL);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_TLB_DELAY_US, ~0ull), -EINVAL);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_get(rig->hw, DGPU_KNOB_NR), 0);
}

/* ---- jobs ---- */

static void engine_runs_all_threads(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 8, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_store_tid, 300);
	unsigned int i;

	rig_map(rig, 0, W);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	for (i = 0; i < 300; i++)
		KUNIT_EXPECT_EQ(test, rig->mem[0][i], i + 100);
	KUNIT_EXPECT_EQ(test, job->result.insns, 300 * rig_length(prog_store_tid));
	KUNIT_EXPECT_EQ(test, job->result.faults, 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_JOBS), 1);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_INSNS), job->result.insns);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_TLB_HITS) +
			dgpu_hw_stat(rig->hw, DGPU_HW_TLB_MISSES), 300);
	KUNIT_EXPECT_EQ(test, dgpu_hw_engine_load(rig->hw, 0), 0);
	KUNIT_EXPECT_TRUE(test, rig_wait_irq(rig, DGPU_HW_IRQ_DONE));
	KUNIT_EXPECT_FALSE(test, rig->irq_in_process);
	KUNIT_EXPECT_NULL(test, dgpu_hw_completed(rig->hw));
}

/* One thread in 50 fails: the job ends, and none of its threads runs on. */
static void engine_first_failure_ends_the_job(struct kunit *test)
{
	static const struct dgpu_insn code[] = {
		I(TID, 10, 0, 0, 0),
		I(LI, 11, 0, 0, 33),
		I(BNE, 0, 10, 11, 0),
		I(TRAP, 0, 0, 0, 42),
		{}
	};
	struct rig *rig = rig_on(test, 1, 64, 8);
	struct dgpu_hw_job *job = rig_job(rig, code, 50);

	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_ERR_TRAP);
	KUNIT_EXPECT_EQ(test, job->result.thread, 33);
	KUNIT_EXPECT_EQ(test, job->result.pc, 3);
	KUNIT_EXPECT_EQ(test, job->result.trap, 42);
	KUNIT_EXPECT_EQ(test, dgpu_hw_engine_load(rig->hw, 0), 0);
	job = rig_job(rig, prog_halt, 1);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
}

static void engine_jobs_share_the_engine(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *endless = rig_job(rig, prog_loop, 1);
	struct dgpu_hw_job *many = rig_job(rig, prog_loop, 1u << 30);
	struct dgpu_hw_job *quick = rig_job(rig, prog_halt, 1);
	struct dgpu_hw_job *crowd = rig_job(rig, prog_halt, 1u << 30);
	u64 insns;

	/* Beside an endless loop, and beside more threads than will ever have run. */
	rig_submit(rig, 0, endless);
	rig_submit(rig, 0, crowd);
	rig_submit(rig, 0, quick);
	rig_expect(rig, quick, DGPU_OK);
	KUNIT_EXPECT_EQ(test, dgpu_hw_engine_load(rig->hw, 0), 2);
	dgpu_hw_job_kill(rig->hw, crowd, DGPU_ERR_TIMEOUT);
	rig_expect(rig, crowd, DGPU_ERR_TIMEOUT);
	dgpu_hw_job_kill(rig->hw, endless, DGPU_ERR_TIMEOUT);
	rig_expect(rig, endless, DGPU_ERR_TIMEOUT);
	KUNIT_EXPECT_LE(test, endless->result.pc, 1);
	KUNIT_EXPECT_GT(test, endless->result.insns, 0);
	/* Done is done. */
	dgpu_hw_job_kill(rig->hw, endless, DGPU_ERR_RESET);
	KUNIT_EXPECT_EQ(test, endless->result.status, DGPU_ERR_TIMEOUT);
	KUNIT_EXPECT_NULL(test, dgpu_hw_completed(rig->hw));

	/* Where endless loops have all lanes, a job waits, and can be killed waiting. */
	rig_submit(rig, 0, many);
	RIG_WAIT(rig, insns, READ_ONCE(many->result.insns), insns >= 1000);
	rig_submit(rig, 0, quick);
	KUNIT_EXPECT_NULL(test, rig_completed(rig, 20));
	dgpu_hw_job_kill(rig->hw, quick, DGPU_ERR_STOPPED);
	rig_expect(rig, quick, DGPU_ERR_STOPPED);
	KUNIT_EXPECT_EQ(test, quick->result.insns, 0);
	dgpu_hw_job_kill(rig->hw, many, DGPU_ERR_STOPPED);
	rig_expect(rig, many, DGPU_ERR_STOPPED);
}

struct counter_thread {
	atomic64_t *value;
	unsigned int times;
	struct completion done;
};

static int count_main(void *data)
{
	struct counter_thread *counter = data;
	unsigned int i;

	for (i = 0; i < counter->times; i++) {
		atomic64_inc(counter->value);
		if (!(i % 64))
			cond_resched();
	}
	complete(&counter->done);
	return 0;
}

static void engine_atomics_against_cpus(struct kunit *test)
{
	struct rig *rig = rig_on(test, 4, 8, 8);
	struct counter_thread counter = { .times = 20000 };
	struct dgpu_hw_job *job;
	struct task_struct *task;
	unsigned int i;

	rig_map(rig, 0, W | AT);
	counter.value = (atomic64_t *)rig->mem[0];
	init_completion(&counter.done);
	for (i = 0; i < 4; i++) {
		job = rig_job(rig, prog_count, 10);
		job->args[1] = 500;
		rig_submit(rig, i, job);
	}
	task = kthread_run(count_main, &counter, "dgpu-kunit-count");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	wait_for_completion(&counter.done);
	for (i = 0; i < 4; i++) {
		job = rig_completed(rig, LONG_MS);
		KUNIT_ASSERT_NOT_NULL(test, job);
		KUNIT_EXPECT_EQ(test, job->result.status, DGPU_OK);
	}
	KUNIT_EXPECT_EQ(test, atomic64_read(counter.value), 4 * 10 * 500 + counter.times);
}

/* ---- faults ---- */

static void engine_fault_and_replay(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 8, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_page_each, 2);
	struct dgpu_hw_job *other = rig_job(rig, prog_halt, 1);
	struct dgpu_hw_fault faults[8], again;

	rig_map(rig, 1, 0);
	rig_submit(rig, 0, job);
	KUNIT_ASSERT_EQ(test, rig_faults(rig, faults, 8), 1);
	KUNIT_EXPECT_EQ(test, faults[0].addr, BASE);
	KUNIT_EXPECT_EQ(test, faults[0].access, DGPU_ACCESS_READ);
	KUNIT_EXPECT_EQ(test, faults[0].asid, ASID);
	KUNIT_EXPECT_EQ(test, faults[0].engine, 0);
	KUNIT_EXPECT_TRUE(test, atomic_read(&rig->irqs) & DGPU_HW_IRQ_FAULT);

	/* Others run on. */
	rig_submit(rig, 0, other);
	rig_expect(rig, other, DGPU_OK);

	/* An answer that did not help: it faults again, with a new number. */
	dgpu_hw_fault_answer(rig->hw, &faults[0], 0);
	KUNIT_ASSERT_EQ(test, rig_faults(rig, &again, 1), 1);
	KUNIT_EXPECT_EQ(test, again.addr, BASE);
	KUNIT_EXPECT_EQ(test, again.lane, faults[0].lane);
	KUNIT_EXPECT_NE(test, again.serial, faults[0].serial);

	/* The old number is worth nothing now. */
	dgpu_hw_fault_answer(rig->hw, &faults[0], -EFAULT);
	KUNIT_EXPECT_NULL(test, rig_completed(rig, 20));

	rig_map(rig, 0, 0);
	dgpu_hw_fault_answer(rig->hw, &again, 0);
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_EQ(test, job->result.faults, 2);
	KUNIT_EXPECT_EQ(test, job->result.insns, 2 * rig_length(prog_page_each));
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_FAULTS), 2);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_REPLAYS), 2);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_FAULT_OVERFLOWS), 0);

	/* Nobody waits for these. */
	dgpu_hw_fault_answer(rig->hw, &again, 0);
	dgpu_hw_fault_answer(rig->hw, &again, -EFAULT);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_REPLAYS), 2);
}

static void engine_fault_refused(struct kunit *test)
{
	static const struct dgpu_insn code[] = {
		I(NOP, 0, 0, 0, 0),
		I(ST4, 10, 1, 0, 4094),		/* both pages */
		I(HALT, 0, 0, 0, 0),
		{}
	};
	struct rig *rig = rig_on(test, 1, 8, 2);
	struct dgpu_hw_job *job = rig_job(rig, code, 5);
	struct dgpu_hw_fault faults[8];

	rig_map(rig, 0, W);
	rig_map(rig, 1, 0);
	rig_submit(rig, 0, job);
	KUNIT_ASSERT_GE(test, rig_faults(rig, faults, 1), 1);
	KUNIT_EXPECT_EQ(test, faults[0].addr, BASE + 4096);
	KUNIT_EXPECT_EQ(test, faults[0].access, DGPU_ACCESS_WRITE);
	dgpu_hw_fault_answer(rig->hw, &faults[0], -EACCES);
	rig_expect(rig, job, DGPU_ERR_FAULT);
	KUNIT_EXPECT_EQ(test, job->result.error, EACCES);
	KUNIT_EXPECT_EQ(test, job->result.fault_addr, BASE + 4096);
	KUNIT_EXPECT_EQ(test, job->result.access, DGPU_ACCESS_WRITE);
	KUNIT_EXPECT_EQ(test, job->result.pc, 1);
	/* The other four threads have ended with it, and their faults are gone. */
	KUNIT_EXPECT_EQ(test, dgpu_hw_fault_read(rig->hw, faults, 8), 0);
}

static void engine_bus_error(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 8, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_page_each, 1);

	rig_map(rig, 0, 0);
	board_unpopulate(rig->board, rig->bus[0]);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_ERR_BUS);
	KUNIT_EXPECT_EQ(test, job->result.fault_addr, BASE);
	KUNIT_EXPECT_EQ(test, job->result.pc, 3);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_BUS_ERRORS), 1);
}

/* 16 threads fault, two at a time fit: all are told in the end, each once. */
static void engine_fault_buffer_overflows(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 16, 2);
	struct dgpu_hw_job *job[2];
	struct dgpu_hw_fault fault;
	unsigned int i, page;
	u32 seen[2] = { 0 };

	for (i = 0; i < 2; i++) {
		job[i] = rig_job(rig, prog_page_each, 16);
		rig_submit(rig, i, job[i]);
	}
	/* Let them all fault before the first is read. */
	for (i = 0; i < 1000 && (READ_ONCE(job[0]->result.faults) < 16 ||
				 READ_ONCE(job[1]->result.faults) < 16); i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_FAULTS), 2);
	KUNIT_EXPECT_GE(test, dgpu_hw_stat(rig->hw, DGPU_HW_FAULT_OVERFLOWS), 1);

	for (i = 0; i < 32; i++) {
		atomic_set(&rig->irqs, 0);
		KUNIT_ASSERT_EQ(test, rig_faults(rig, &fault, 1), 1);
		/* There was another interrupt for what filled the room. */
		if (i < 30)
			KUNIT_EXPECT_TRUE(test, rig_wait_irq(rig, DGPU_HW_IRQ_FAULT));
		page = (fault.addr - BASE) >> DGPU_PAGE_SHIFT;
		KUNIT_ASSERT_LT(test, page, 16);
		KUNIT_EXPECT_FALSE(test, seen[fault.engine] & BIT(page));
		seen[fault.engine] |= BIT(page);
		rig_map(rig, page, 0);
		dgpu_hw_fault_answer(rig->hw, &fault, 0);
	}
	for (i = 0; i < 2; i++) {
		struct dgpu_hw_job *done = rig_completed(rig, LONG_MS);

		KUNIT_ASSERT_NOT_NULL(test, done);
		KUNIT_EXPECT_EQ(test, done->result.status, DGPU_OK);
		KUNIT_EXPECT_EQ(test, done->result.faults, 16);
	}
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_FAULTS), 32);
	KUNIT_EXPECT_EQ(test, dgpu_hw_fault_read(rig->hw, &fault, 1), 0);
}

/* Room that comes from a job's end, not from a reader, is used as well. */
static void engine_purged_faults_make_room(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 16, 2);
	struct dgpu_hw_job *first = rig_job(rig, prog_page_each, 2);
	struct dgpu_hw_job *second = rig_job(rig, prog_page_each, 1);
	struct dgpu_hw_fault fault;
	unsigned int i;

	rig_submit(rig, 0, first);
	for (i = 0; i < 1000 && dgpu_hw_stat(rig->hw, DGPU_HW_FAULTS) < 2; i++)
		msleep(20);
	rig_submit(rig, 1, second);
	for (i = 0; i < 1000 && !dgpu_hw_stat(rig->hw, DGPU_HW_FAULT_OVERFLOWS); i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_FAULT_OVERFLOWS), 1);

	atomic_set(&rig->irqs, 0);
	dgpu_hw_job_kill(rig->hw, first, DGPU_ERR_TIMEOUT);
	rig_expect(rig, first, DGPU_ERR_TIMEOUT);
	KUNIT_EXPECT_EQ(test, first->result.fault_addr, BASE);
	KUNIT_EXPECT_TRUE(test, rig_wait_irq(rig, DGPU_HW_IRQ_FAULT));
	KUNIT_ASSERT_EQ(test, dgpu_hw_fault_read(rig->hw, &fault, 1), 1);
	KUNIT_EXPECT_EQ(test, fault.engine, 1);
	rig_map(rig, 0, 0);
	dgpu_hw_fault_answer(rig->hw, &fault, 0);
	rig_expect(rig, second, DGPU_OK);
}

/* ---- contexts ---- */

static void engine_context_stop(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 8);
	struct dgpu_hw_job *running = rig_job(rig, prog_loop, 2);
	struct dgpu_hw_job *parked = rig_job(rig, prog_page_each, 3);
	struct dgpu_hw_job *queued = rig_job(rig, prog_loop, 100);
	struct dgpu_hw_job *late = rig_job(rig, prog_halt, 1);
	struct dgpu_hw_job *other = rig_job(rig, prog_loop, 1);
	struct dgpu_hw_fault fault;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, dgpu_hw_context_load(rig->hw, 6, rig->root), 0);
	other->asid = 6;
	rig_submit(rig, 0, other);
	rig_submit(rig, 0, running);
	rig_submit(rig, 1, parked);
	rig_submit(rig, 0, queued);
	KUNIT_ASSERT_EQ(test, rig_faults(rig, &fault, 1), 1);

	dgpu_hw_context_stop(rig->hw, ASID, DGPU_ERR_STOPPED);
	/* At once: nothing has to be waited for. */
	for (i = 0; i < 3; i++) {
		struct dgpu_hw_job *job = dgpu_hw_completed(rig->hw);

		KUNIT_ASSERT_NOT_NULL(test, job);
		KUNIT_EXPECT_EQ(test, job->asid, ASID);
		KUNIT_EXPECT_EQ(test, job->result.status, DGPU_ERR_STOPPED);
	}
	KUNIT_EXPECT_EQ(test, dgpu_hw_engine_load(rig->hw, 0), 1);
	KUNIT_EXPECT_EQ(test, dgpu_hw_engine_load(rig->hw, 1), 0);

	/* The faults are gone, and the one that was read before has no effect. */
	dgpu_hw_fault_answer(rig->hw, &fault, 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_fault_read(rig->hw, &fault, 1), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_REPLAYS), 0);

	/* Later ones end the same way; a second stop does not change which. */
	dgpu_hw_context_stop(rig->hw, ASID, DGPU_ERR_RESET);
	rig_submit(rig, 0, late);
	KUNIT_EXPECT_PTR_EQ(test, dgpu_hw_completed(rig->hw), late);
	KUNIT_EXPECT_EQ(test, late->result.status, DGPU_ERR_STOPPED);
	KUNIT_EXPECT_EQ(test, dgpu_hw_context_load(rig->hw, ASID, rig->root), -EBUSY);

	/* Unloaded: free for another, and no translation is left. */
	dgpu_hw_context_unload(rig->hw, ASID);
	KUNIT_EXPECT_EQ(test, dgpu_hw_submit(rig->hw, 0, late), -EINVAL);
	dgpu_hw_context_stop(rig->hw, 6, DGPU_ERR_LOST);
	KUNIT_EXPECT_PTR_EQ(test, dgpu_hw_completed(rig->hw), other);
	dgpu_hw_context_unload(rig->hw, 6);
}

/* More jobs than end under one hold of the lock, between those of another context. */
static void engine_stop_with_many_jobs(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job, *done;
	unsigned int i, n;

	KUNIT_ASSERT_EQ(test, dgpu_hw_context_load(rig->hw, 6, rig->root), 0);
	for (i = 0; i < 300; i++) {
		job = rig_job(rig, prog_loop, 2);
		if (i % 10 == 5)
			job->asid = 6;
		rig_submit(rig, 0, job);
	}
	dgpu_hw_context_stop(rig->hw, ASID, DGPU_ERR_STOPPED);
	for (n = 0; (done = dgpu_hw_completed(rig->hw)); n++) {
		KUNIT_EXPECT_EQ(test, done->asid, ASID);
		KUNIT_EXPECT_EQ(test, done->result.status, DGPU_ERR_STOPPED);
	}
	KUNIT_EXPECT_EQ(test, n, 270);
	KUNIT_EXPECT_EQ(test, dgpu_hw_engine_load(rig->hw, 0), 30);
	dgpu_hw_engine_reset(rig->hw, 0);
	for (n = 0; (done = dgpu_hw_completed(rig->hw)); n++)
		KUNIT_EXPECT_EQ(test, done->result.status, DGPU_ERR_RESET);
	KUNIT_EXPECT_EQ(test, n, 30);
}

/* A context with many jobs keeps none of another's waiting longer than one would. */
static void engine_contexts_share_the_engine(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *quick = rig_job(rig, prog_halt, 1), *done;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, dgpu_hw_context_load(rig->hw, 6, rig->root), 0);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 1);
	for (i = 0; i < 100; i++)
		rig_submit(rig, 0, rig_job(rig, prog_store_tid, 10));
	quick->asid = 6;
	rig_submit(rig, 0, quick);
	rig_map(rig, 0, W);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 0);
	/* It came last, and is the first that is done. */
	rig_expect(rig, quick, DGPU_OK);
	for (i = 0; i < 100; i++) {
		done = rig_completed(rig, LONG_MS);
		KUNIT_ASSERT_NOT_NULL(test, done);
		KUNIT_EXPECT_EQ(test, done->result.status, DGPU_OK);
	}
}

static void engine_asid_can_be_used_again(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = rig_job(rig, prog_page_each, 1);
	struct dgpu_hw_fault fault;
	u64 root = board_page(rig->board);

	rig_map(rig, 0, 0);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	dgpu_hw_context_stop(rig->hw, ASID, DGPU_ERR_STOPPED);
	dgpu_hw_context_unload(rig->hw, ASID);

	/* The new context maps nothing there. */
	KUNIT_ASSERT_EQ(test, dgpu_hw_context_load(rig->hw, ASID, root), 0);
	rig_submit(rig, 0, job);
	KUNIT_EXPECT_EQ(test, rig_faults(rig, &fault, 1), 1);
	dgpu_hw_fault_answer(rig->hw, &fault, -EFAULT);
	rig_expect(rig, job, DGPU_ERR_FAULT);
}

static struct kunit_case dgpu_engine_cases[] = {
	KUNIT_CASE(engine_bad_config),
	KUNIT_CASE(engine_bad_arguments),
	KUNIT_CASE(engine_runs_all_threads),
	KUNIT_CASE(engine_first_failure_ends_the_job),
	KUNIT_CASE(engine_jobs_share_the_engine),
	KUNIT_CASE(engine_atomics_against_cpus),
	KUNIT_CASE(engine_fault_and_replay),
	KUNIT_CASE(engine_fault_refused),
	KUNIT_CASE(engine_bus_error),
	KUNIT_CASE(engine_fault_buffer_overflows),
	KUNIT_CASE(engine_purged_faults_make_room),
	KUNIT_CASE(engine_context_stop),
	KUNIT_CASE(engine_stop_with_many_jobs),
	KUNIT_CASE(engine_contexts_share_the_engine),
	KUNIT_CASE(engine_asid_can_be_used_again),
	{}
};

static struct kunit_suite dgpu_engine_suite = {
	.name = "dgpu_engine",
	.test_cases = dgpu_engine_cases,
};

kunit_test_suite(dgpu_engine_suite);

MODULE_DESCRIPTION("KUnit tests of the emulated GPU's engines");
MODULE_LICENSE("GPL");

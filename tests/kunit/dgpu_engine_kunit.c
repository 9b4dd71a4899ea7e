// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's chip as a driver sees it: jobs, faults and their answers, stopping,
 * invalidations, injected failure, and a storm of all of them.  The suite is a driver in
 * miniature: it has a page table, an interrupt handler and system memory (dgpu_board.h).
 */
#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include "../../drivers/dummy_gpu/hw/engine.c"
#include "../../drivers/dummy_gpu/hw/fault_buffer.c"
#include "../../drivers/dummy_gpu/hw/hw.c"
#include "../../drivers/dummy_gpu/hw/isa.c"
#include "../../drivers/dummy_gpu/hw/lsu.c"
#include "../../drivers/dummy_gpu/hw/mmu.c"
#include "../../drivers/dummy_gpu/hw/sequencer.c"
#include "../../drivers/dummy_gpu/hw/tlb.c"
#include "dgpu_board.h"
#include "dgpu_random.h"

#define I(o, d, a, b, i) \
	{ .op = DGPU_OP_##o, .rd = (d), .ra = (a), .rb = (b), .imm = (i) }

#define V	DGPU_HW_PTE_VALID
#define W	DGPU_HW_PTE_WRITE
#define AT	DGPU_HW_PTE_ATOMIC

#define ASID	5
#define BASE	0x100000ull
#define PAGES	32
/* Nothing here takes longer on the slowest machine. */
#define LONG_MS	20000

/**
 * struct rig - a chip, its board, and one context
 * @test: the test
 * @board: memory
 * @hw: the chip
 * @root: root of the context ASID
 * @bus: pages for the addresses from BASE on
 * @mem: the same, as the CPU sees them
 * @irqs: interrupts that have come
 * @irq_in_process: one came outside of interrupt context
 * @wait: woken by each interrupt
 */
struct rig {
	struct kunit *test;
	struct board *board;
	struct dgpu_hw *hw;
	u64 root;
	u64 bus[PAGES];
	u64 *mem[PAGES];
	atomic_t irqs;
	bool irq_in_process;
	wait_queue_head_t wait;
};

static void *rig_bus_map(void *data, u64 bus)
{
	struct rig *rig = data;

	/* Several engines at once: the counters of the board are not for this. */
	return READ_ONCE(rig->board->page[(bus >> DGPU_PAGE_SHIFT) % BOARD_PAGES]);
}

static void rig_bus_unmap(void *data, u64 bus, void *va)
{
}

static void rig_irq(void *data, u32 pending)
{
	struct rig *rig = data;

	if (!IS_ENABLED(CONFIG_PREEMPT_RT) && !in_hardirq())
		rig->irq_in_process = true;
	atomic_or(pending, &rig->irqs);
	wake_up_all(&rig->wait);
}

static const struct dgpu_board_ops rig_ops = {
	.bus_map = rig_bus_map,
	.bus_unmap = rig_bus_unmap,
	.irq = rig_irq,
};

static void rig_off(void *data)
{
	struct rig *rig = data;

	dgpu_hw_destroy(rig->hw);
	rig->hw = NULL;
}

static u64 *rig_pte(struct rig *rig, unsigned int page)
{
	return board_slot(rig->board, rig->root, 48, BASE + page * DGPU_PAGE_SIZE, 0);
}

static void rig_map(struct rig *rig, unsigned int page, u64 bits)
{
	WRITE_ONCE(*rig_pte(rig, page), rig->bus[page] | V | bits);
}

/* A chip with @engines, @lanes each, and a fault buffer of @faults; nothing is mapped. */
static struct rig *rig_on(struct kunit *test, unsigned int engines, unsigned int lanes,
			  unsigned int faults)
{
	struct dgpu_hw_config config = {
		.engines = engines,
		.va_bits = 48,
		.tlb_entries = 64,
		.fault_entries = faults,
		.lanes = lanes,
		.max_contexts = 16,
	};
	struct rig *rig = kunit_kzalloc(test, sizeof(*rig), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, rig);
	rig->test = test;
	init_waitqueue_head(&rig->wait);
	rig->board = board_create(test);
	KUNIT_ASSERT_NOT_NULL(test, rig->board);
	rig->root = board_page(rig->board);
	for (i = 0; i < PAGES; i++) {
		rig->bus[i] = board_page(rig->board);
		rig->mem[i] = board_va(rig->board, rig->bus[i]);
		rig_pte(rig, i);
	}
	rig->hw = dgpu_hw_create(&config, &rig_ops, rig);
	KUNIT_ASSERT_FALSE(test, IS_ERR(rig->hw));
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, rig_off, rig), 0);
	KUNIT_ASSERT_EQ(test, dgpu_hw_context_load(rig->hw, ASID, rig->root), 0);
	return rig;
}

static struct dgpu_hw_job *rig_job(struct rig *rig, const struct dgpu_insn *code, u32 ninsns,
				   u32 nthreads)
{
	struct dgpu_hw_job *job = kunit_kzalloc(rig->test, sizeof(*job), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(rig->test, job);
	job->asid = ASID;
	job->code = code;
	job->ninsns = ninsns;
	job->nthreads = nthreads;
	job->args[0] = BASE;
	return job;
}

#define RIG_JOB(rig, code, nthreads)	rig_job(rig, code, ARRAY_SIZE(code), nthreads)

static void rig_submit(struct rig *rig, unsigned int engine, struct dgpu_hw_job *job)
{
	KUNIT_ASSERT_EQ(rig->test, dgpu_hw_submit(rig->hw, engine, job), 0);
}

/* The next completed job, or NULL after @ms. */
static struct dgpu_hw_job *rig_completed(struct rig *rig, unsigned int ms)
{
	struct dgpu_hw_job *job = NULL;

	wait_event_timeout(rig->wait, (job = dgpu_hw_completed(rig->hw)),
			   msecs_to_jiffies(ms));
	return job;
}

static void rig_expect(struct rig *rig, struct dgpu_hw_job *job, u32 status)
{
	KUNIT_ASSERT_PTR_EQ(rig->test, rig_completed(rig, LONG_MS), job);
	KUNIT_EXPECT_EQ(rig->test, job->result.status, status);
}

static unsigned int rig_faults(struct rig *rig, struct dgpu_hw_fault *faults,
			       unsigned int max)
{
	unsigned int n = 0;

	wait_event_timeout(rig->wait, (n = dgpu_hw_fault_read(rig->hw, faults, max)),
			   msecs_to_jiffies(LONG_MS));
	return n;
}

static bool rig_wait_irq(struct rig *rig, u32 bit)
{
	return wait_event_timeout(rig->wait, atomic_read(&rig->irqs) & bit,
				  msecs_to_jiffies(LONG_MS));
}

/* ---- programs; r1 is BASE ---- */

static const struct dgpu_insn prog_halt[] = {
	I(HALT, 0, 0, 0, 0),
};

static const struct dgpu_insn prog_loop[] = {
	I(NOP, 0, 0, 0, 0),
	I(JMP, 0, 0, 0, 0),
};

/* mem[BASE + 8 * tid] = tid + 100 */
static const struct dgpu_insn prog_store_tid[] = {
	I(TID, 10, 0, 0, 0),
	I(SHLI, 11, 10, 0, 3),
	I(ADD, 11, 11, 1, 0),
	I(ADDI, 10, 10, 0, 100),
	I(ST8, 10, 11, 0, 0),
	I(HALT, 0, 0, 0, 0),
};

/* each thread reads a page of its own */
static const struct dgpu_insn prog_page_each[] = {
	I(TID, 10, 0, 0, 0),
	I(SHLI, 10, 10, 0, 12),
	I(ADD, 10, 10, 1, 0),
	I(LD8, 11, 10, 0, 0),
	I(HALT, 0, 0, 0, 0),
};

/* r2 times: mem[BASE] += 1 */
static const struct dgpu_insn prog_count[] = {
	I(LI, 10, 0, 0, 1),
	I(AADD8, 11, 1, 10, 0),
	I(ADDI, 2, 2, 0, -1),
	I(BNE, 0, 2, 0, 0),
	I(HALT, 0, 0, 0, 0),
};

/* read mem[BASE] until it is 0; count in mem[BASE + 4096] */
static const struct dgpu_insn prog_poll[] = {
	I(ADDI, 12, 12, 0, 1),
	I(ST8, 12, 1, 0, 4096),
	I(LD8, 10, 1, 0, 0),
	I(BNE, 0, 10, 0, 0),
	I(HALT, 0, 0, 0, 0),
};

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
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_halt, 1);

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
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_store_tid, 300);
	unsigned int i;

	rig_map(rig, 0, W);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	for (i = 0; i < 300; i++)
		KUNIT_EXPECT_EQ(test, rig->mem[0][i], i + 100);
	KUNIT_EXPECT_EQ(test, job->result.insns, 300 * ARRAY_SIZE(prog_store_tid));
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
	};
	struct rig *rig = rig_on(test, 1, 64, 8);
	struct dgpu_hw_job *job = RIG_JOB(rig, code, 50);

	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_ERR_TRAP);
	KUNIT_EXPECT_EQ(test, job->result.thread, 33);
	KUNIT_EXPECT_EQ(test, job->result.pc, 3);
	KUNIT_EXPECT_EQ(test, job->result.trap, 42);
	KUNIT_EXPECT_EQ(test, dgpu_hw_engine_load(rig->hw, 0), 0);
	job = RIG_JOB(rig, prog_halt, 1);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
}

static void engine_jobs_share_the_engine(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *endless = RIG_JOB(rig, prog_loop, 1);
	struct dgpu_hw_job *many = RIG_JOB(rig, prog_loop, 1u << 30);
	struct dgpu_hw_job *quick = RIG_JOB(rig, prog_halt, 1);
	struct dgpu_hw_job *crowd = RIG_JOB(rig, prog_halt, 1u << 30);

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
	while (READ_ONCE(many->result.insns) < 1000)
		cond_resched();
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
		job = RIG_JOB(rig, prog_count, 10);
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
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_page_each, 2);
	struct dgpu_hw_job *other = RIG_JOB(rig, prog_halt, 1);
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
	KUNIT_EXPECT_EQ(test, job->result.insns, 2 * ARRAY_SIZE(prog_page_each));
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
	};
	struct rig *rig = rig_on(test, 1, 8, 2);
	struct dgpu_hw_job *job = RIG_JOB(rig, code, 5);
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
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_page_each, 1);

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
		job[i] = RIG_JOB(rig, prog_page_each, 16);
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
	struct dgpu_hw_job *first = RIG_JOB(rig, prog_page_each, 2);
	struct dgpu_hw_job *second = RIG_JOB(rig, prog_page_each, 1);
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
	struct dgpu_hw_job *running = RIG_JOB(rig, prog_loop, 2);
	struct dgpu_hw_job *parked = RIG_JOB(rig, prog_page_each, 3);
	struct dgpu_hw_job *queued = RIG_JOB(rig, prog_loop, 100);
	struct dgpu_hw_job *late = RIG_JOB(rig, prog_halt, 1);
	struct dgpu_hw_job *other = RIG_JOB(rig, prog_loop, 1);
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

static void engine_asid_can_be_used_again(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_page_each, 1);
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

/* ---- TLB ---- */

/*
 * Move a page that an engine reads all the time to another place, again and again; the
 * old place is gone after the flush, so one access through an old translation is a bus
 * error.  Returns the number of moves before the job has ended.
 */
static unsigned int engine_move_page(struct rig *rig, struct dgpu_hw_job *job,
				     unsigned int moves)
{
	unsigned int i, now = 0;
	u64 ticket;

	for (i = 0; i < moves; i++) {
		unsigned int next = 2 + (i & 7);
		u64 *count = rig->mem[1];
		u64 before = READ_ONCE(*count);

		rig->mem[next][0] = 1;
		WRITE_ONCE(rig->board->page[rig->bus[next] >> DGPU_PAGE_SHIFT], rig->mem[next]);
		WRITE_ONCE(*rig_pte(rig, 0), rig->bus[next] | V);
		ticket = dgpu_hw_tlb_invalidate(rig->hw, ASID, BASE, BASE + 1);
		KUNIT_EXPECT_TRUE(rig->test, dgpu_hw_tlb_done(rig->hw, ticket));
		if (now && now != next)
			WRITE_ONCE(rig->board->page[rig->bus[now] >> DGPU_PAGE_SHIFT], NULL);
		now = next;
		/* It goes on reading. */
		while (READ_ONCE(*count) < before + 3 && READ_ONCE(job->state) != DGPU_JOB_DONE)
			cond_resched();
		if (READ_ONCE(job->state) == DGPU_JOB_DONE)
			break;
	}
	WRITE_ONCE(rig->mem[now][0], 0);
	return i;
}

static void engine_no_access_after_a_flush(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 8);
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_poll, 1);

	rig->mem[0][0] = 1;
	rig_map(rig, 0, 0);
	rig_map(rig, 1, W);
	rig_submit(rig, 1, job);
	KUNIT_EXPECT_EQ(test, engine_move_page(rig, job, 2000), 2000);
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_EQ(test, job->result.faults, 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_TLB_FLUSHES), 2000);
	KUNIT_EXPECT_EQ(test, dgpu_hw_stat(rig->hw, DGPU_HW_BUS_ERRORS), 0);
}

/* The test above can fail: one flush that does not happen is found out. */
static void engine_forgotten_flush_is_found_out(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_poll, 1);

	rig->mem[0][0] = 1;
	rig_map(rig, 0, 0);
	rig_map(rig, 1, W);
	rig_submit(rig, 0, job);
	KUNIT_EXPECT_EQ(test, engine_move_page(rig, job, 3), 3);
	rig_expect(rig, job, DGPU_OK);

	rig->mem[0][0] = 1;
	rig->mem[1][0] = 0;
	rig_map(rig, 0, 0);
	dgpu_hw_tlb_invalidate(rig->hw, ASID, 0, ~0ull);
	rig_submit(rig, 0, job);
	/* It counts before it reads: at 2 the translation is in the TLB. */
	while (READ_ONCE(rig->mem[1][0]) < 2)
		cond_resched();
	KUNIT_ASSERT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_DROP_FLUSH, 1), 0);
	WRITE_ONCE(*rig_pte(rig, 0), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_tlb_invalidate(rig->hw, ASID, BASE, BASE + 1), 0);
	KUNIT_EXPECT_EQ(test, dgpu_hw_knob_get(rig->hw, DGPU_KNOB_DROP_FLUSH), 0);
	WRITE_ONCE(rig->board->page[rig->bus[0] >> DGPU_PAGE_SHIFT], NULL);
	rig_expect(rig, job, DGPU_ERR_BUS);
	KUNIT_EXPECT_EQ(test, job->result.fault_addr, BASE);
}

static void engine_delayed_flush(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_page_each, 1);
	u64 ticket, last = 0, now;
	struct dgpu_hw_fault fault;
	unsigned int i;

	rig_map(rig, 0, 0);
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);

	KUNIT_ASSERT_EQ(test, dgpu_hw_knob_set(rig->hw, DGPU_KNOB_TLB_DELAY_US, 300000), 0);
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
	KUNIT_EXPECT_GE(test, ktime_get_ns() - now, 300000000);
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

/* ---- injected failure ---- */

static void engine_delayed_fault_and_completion(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 2);
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_page_each, 4);
	struct dgpu_hw_job *next = RIG_JOB(rig, prog_halt, 1);
	struct dgpu_hw_fault fault;
	unsigned int i;
	u64 now;

	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_FAULT_DELAY_US, 100000);
	now = ktime_get_ns();
	rig_submit(rig, 0, job);
	for (i = 0; i < 4; i++) {
		KUNIT_ASSERT_EQ(test, rig_faults(rig, &fault, 1), 1);
		KUNIT_EXPECT_GE(test, ktime_get_ns() - now, 100000000);
		rig_map(rig, (fault.addr - BASE) >> DGPU_PAGE_SHIFT, 0);
		dgpu_hw_knob_set(rig->hw, DGPU_KNOB_DONE_DELAY_US, 100000);
		dgpu_hw_fault_answer(rig->hw, &fault, 0);
	}
	now = ktime_get_ns();
	rig_expect(rig, job, DGPU_OK);
	KUNIT_EXPECT_GE(test, ktime_get_ns() - now, 50000000);

	/* The ring stays in order when the delay goes away. */
	rig_submit(rig, 0, job);
	while (dgpu_hw_engine_load(rig->hw, 0))
		cond_resched();
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_DONE_DELAY_US, 0);
	rig_submit(rig, 0, next);
	rig_expect(rig, job, DGPU_OK);
	rig_expect(rig, next, DGPU_OK);
}

static void engine_hang_and_reset(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 8);
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_page_each, 1);
	struct dgpu_hw_job *other = RIG_JOB(rig, prog_halt, 1);
	struct dgpu_hw_job *queued = RIG_JOB(rig, prog_halt, 1);
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

static void engine_hang_that_passes(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_halt, 100);

	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 1);
	rig_submit(rig, 0, job);
	KUNIT_EXPECT_NULL(test, rig_completed(rig, 20));
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_HANG_ENGINE, 0);
	rig_expect(rig, job, DGPU_OK);
}

static void engine_lost(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 2);
	struct dgpu_hw_job *job[4];
	struct dgpu_hw_fault fault;
	unsigned int i;
	u64 ticket;

	job[0] = RIG_JOB(rig, prog_loop, 100);
	job[1] = RIG_JOB(rig, prog_page_each, 4);
	job[2] = RIG_JOB(rig, prog_loop, 1);
	job[3] = RIG_JOB(rig, prog_halt, 1);
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

static void engine_slow(struct kunit *test)
{
	struct rig *rig = rig_on(test, 1, 4, 8);
	struct dgpu_hw_job *job = RIG_JOB(rig, prog_store_tid, 20);
	u64 now;

	rig_map(rig, 0, W);
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_SLOW_INSNS, 2);
	now = ktime_get_ns();
	rig_submit(rig, 0, job);
	rig_expect(rig, job, DGPU_OK);
	/* 120 instructions, a millisecond for each two of them */
	KUNIT_EXPECT_GE(test, ktime_get_ns() - now, 59 * NSEC_PER_MSEC);
}

static void engine_power_off_at_any_time(struct kunit *test)
{
	struct rig *rig = rig_on(test, 2, 4, 2);

	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_TLB_DELAY_US, 60000000);
	dgpu_hw_tlb_invalidate(rig->hw, ASID, 0, ~0ull);
	rig_submit(rig, 0, RIG_JOB(rig, prog_loop, 100));
	rig_submit(rig, 0, RIG_JOB(rig, prog_halt, 1));
	rig_submit(rig, 1, RIG_JOB(rig, prog_halt, 1));
	rig_submit(rig, 1, RIG_JOB(rig, prog_page_each, 8));
	dgpu_hw_knob_set(rig->hw, DGPU_KNOB_DONE_DELAY_US, 60000000);
	rig_submit(rig, 1, RIG_JOB(rig, prog_halt, 1));
	rig_submit(rig, 0, RIG_JOB(rig, prog_loop, 1));
	kunit_release_action(test, rig_off, rig);
	KUNIT_EXPECT_NULL(test, rig->hw);
}

/* ---- storm ---- */

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
	static const struct {
		const struct dgpu_insn *code;
		u32 ninsns;
	} programs[] = {
		{ prog_halt, ARRAY_SIZE(prog_halt) },
		{ prog_loop, ARRAY_SIZE(prog_loop) },
		{ prog_store_tid, ARRAY_SIZE(prog_store_tid) },
		{ prog_page_each, ARRAY_SIZE(prog_page_each) },
		{ prog_count, ARRAY_SIZE(prog_count) },
	};
	unsigned int i = dgpu_random_below(rnd, STORM_JOBS);
	unsigned int p = dgpu_random_below(rnd, ARRAY_SIZE(programs));
	struct dgpu_hw_job *job = storm->jobs[i];

	if (!atomic_xchg(&storm->here[i], 0))
		return;
	job->asid = ASID + dgpu_random_below(rnd, 2);
	job->code = programs[p].code;
	job->ninsns = programs[p].ninsns;
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
static void engine_storm(struct kunit *test)
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
		storm->jobs[i] = RIG_JOB(rig, prog_halt, 1);
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
	KUNIT_CASE(engine_asid_can_be_used_again),
	KUNIT_CASE_SLOW(engine_no_access_after_a_flush),
	KUNIT_CASE(engine_forgotten_flush_is_found_out),
	KUNIT_CASE(engine_delayed_flush),
	KUNIT_CASE(engine_delayed_fault_and_completion),
	KUNIT_CASE(engine_hang_and_reset),
	KUNIT_CASE(engine_hang_that_passes),
	KUNIT_CASE(engine_lost),
	KUNIT_CASE(engine_slow),
	KUNIT_CASE(engine_power_off_at_any_time),
	KUNIT_CASE_SLOW(engine_storm),
	{}
};

static struct kunit_suite dgpu_engine_suite = {
	.name = "dgpu_engine",
	.test_cases = dgpu_engine_cases,
};

kunit_test_suite(dgpu_engine_suite);

MODULE_DESCRIPTION("KUnit tests of the emulated GPU's engines");
MODULE_LICENSE("GPL");

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A rig for tests of the emulated GPU's chip as a driver sees it: a driver in miniature,
 * with a page table, an interrupt handler, and system memory (dgpu_board.h).
 *
 * The chip's sources are part of the test module, so that a test may look inside.
 */
#ifndef _DGPU_RIG_H
#define _DGPU_RIG_H

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/iopoll.h>
#include <linux/jiffies.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include "../../drivers/dummy_gpu/hw/copy.c"
#include "../../drivers/dummy_gpu/hw/engine.c"
#include "../../drivers/dummy_gpu/hw/fault_buffer.c"
#include "../../drivers/dummy_gpu/hw/hw.c"
#include "../../drivers/dummy_gpu/hw/isa.c"
#include "../../drivers/dummy_gpu/hw/lsu.c"
#include "../../drivers/dummy_gpu/hw/memory.c"
#include "../../drivers/dummy_gpu/hw/mmu.c"
#include "../../drivers/dummy_gpu/hw/sequencer.c"
#include "../../drivers/dummy_gpu/hw/tlb.c"
#include "dgpu_board.h"

#define I(o, d, a, b, i) \
	{ .op = DGPU_OP_##o, .rd = (d), .ra = (a), .rb = (b), .imm = (i) }

#define V	DGPU_HW_PTE_VALID
#define W	DGPU_HW_PTE_WRITE
#define AT	DGPU_HW_PTE_ATOMIC
#define LOCAL	DGPU_HW_APERTURE_LOCAL

#define ASID	5
#define BASE	0x100000ull
#define PAGES	32
#define LOCAL_BYTES	(2 * DGPU_HUGE_SIZE)
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

static inline void *rig_bus_map(void *data, u64 bus)
{
	struct rig *rig = data;

	/* Several engines at once: the counters of the board are not for this. */
	return READ_ONCE(rig->board->page[(bus >> DGPU_PAGE_SHIFT) % BOARD_PAGES]);
}

static inline void rig_bus_unmap(void *data, u64 bus, void *va)
{
}

static inline void rig_irq(void *data, u32 pending)
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

static inline void rig_off(void *data)
{
	struct rig *rig = data;

	dgpu_hw_destroy(rig->hw);
	rig->hw = NULL;
}

static inline u64 *rig_pte(struct rig *rig, unsigned int page)
{
	return board_slot(rig->board, rig->root, 48, BASE + page * DGPU_PAGE_SIZE, 0);
}

static inline void rig_map(struct rig *rig, unsigned int page, u64 bits)
{
	WRITE_ONCE(*rig_pte(rig, page), rig->bus[page] | V | bits);
}

static inline void rig_map_local(struct rig *rig, unsigned int page, u64 offset, u64 bits)
{
	WRITE_ONCE(*rig_pte(rig, page), offset | V | LOCAL | bits);
}

static inline struct rig *rig_on_config(struct kunit *test, const struct dgpu_hw_config *config)
{
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
	rig->hw = dgpu_hw_create(config, &rig_ops, rig);
	KUNIT_ASSERT_FALSE(test, IS_ERR(rig->hw));
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, rig_off, rig), 0);
	KUNIT_ASSERT_EQ(test, dgpu_hw_context_load(rig->hw, ASID, rig->root), 0);
	return rig;
}

/* A chip with @engines, @lanes each, and a fault buffer of @faults; nothing is mapped. */
static inline struct rig *rig_on(struct kunit *test, unsigned int engines,
				 unsigned int lanes, unsigned int faults)
{
	const struct dgpu_hw_config config = {
		.engines = engines,
		.va_bits = 48,
		.tlb_entries = 64,
		.fault_entries = faults,
		.lanes = lanes,
		.max_contexts = 16,
	};

	return rig_on_config(test, &config);
}

/* One with 4 MiB of memory and @copy_engines, and two engines of four lanes. */
static inline struct rig *rig_on_local(struct kunit *test, unsigned int copy_engines)
{
	const struct dgpu_hw_config config = {
		.engines = 2,
		.va_bits = 48,
		.tlb_entries = 64,
		.fault_entries = 8,
		.lanes = 4,
		.max_contexts = 16,
		.local_bytes = LOCAL_BYTES,
		.copy_engines = copy_engines,
	};

	return rig_on_config(test, &config);
}

/* Programs here end where the first illegal instruction is. */
static inline u32 rig_length(const struct dgpu_insn *code)
{
	u32 ninsns = 0;

	while (code[ninsns].op != DGPU_OP_ILL)
		ninsns++;
	return ninsns;
}

static inline struct dgpu_hw_job *rig_job(struct rig *rig, const struct dgpu_insn *code,
					  u32 nthreads)
{
	struct dgpu_hw_job *job = kunit_kzalloc(rig->test, sizeof(*job), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(rig->test, job);
	job->asid = ASID;
	job->code = code;
	job->ninsns = rig_length(code);
	job->nthreads = nthreads;
	job->args[0] = BASE;
	return job;
}

static inline void rig_submit(struct rig *rig, unsigned int engine, struct dgpu_hw_job *job)
{
	KUNIT_ASSERT_EQ(rig->test, dgpu_hw_submit(rig->hw, engine, job), 0);
}

/* The next completed job, or NULL after @ms. */
static inline struct dgpu_hw_job *rig_completed(struct rig *rig, unsigned int ms)
{
	struct dgpu_hw_job *job = NULL;

	wait_event_timeout(rig->wait, (job = dgpu_hw_completed(rig->hw)),
			   msecs_to_jiffies(ms));
	return job;
}

static inline void rig_expect(struct rig *rig, struct dgpu_hw_job *job, u32 status)
{
	KUNIT_ASSERT_PTR_EQ(rig->test, rig_completed(rig, LONG_MS), job);
	KUNIT_EXPECT_EQ(rig->test, job->result.status, status);
}

static inline unsigned int rig_faults(struct rig *rig, struct dgpu_hw_fault *faults,
				      unsigned int max)
{
	unsigned int n = 0;

	wait_event_timeout(rig->wait, (n = dgpu_hw_fault_read(rig->hw, faults, max)),
			   msecs_to_jiffies(LONG_MS));
	return n;
}

static inline bool rig_wait_irq(struct rig *rig, u32 bit)
{
	return wait_event_timeout(rig->wait, atomic_read(&rig->irqs) & bit,
				  msecs_to_jiffies(LONG_MS));
}

static inline u64 rig_value(u64 value)
{
	return value;
}

/* Look at @expr, into @value, until @cond is true of it; fail if it never is. */
#define RIG_WAIT(rig, value, expr, cond)						\
	KUNIT_ASSERT_EQ((rig)->test, 0,							\
			read_poll_timeout(rig_value, value, cond, 10, LONG_MS * 1000,	\
					  false, expr))

/* ---- programs; r1 is BASE ---- */

static const struct dgpu_insn prog_halt[] __maybe_unused = {
	I(HALT, 0, 0, 0, 0),
	{}
};

static const struct dgpu_insn prog_loop[] __maybe_unused = {
	I(NOP, 0, 0, 0, 0),
	I(JMP, 0, 0, 0, 0),
	{}
};

/* mem[BASE + 8 * tid] = tid + 100 */
static const struct dgpu_insn prog_store_tid[] __maybe_unused = {
	I(TID, 10, 0, 0, 0),
	I(SHLI, 11, 10, 0, 3),
	I(ADD, 11, 11, 1, 0),
	I(ADDI, 10, 10, 0, 100),
	I(ST8, 10, 11, 0, 0),
	I(HALT, 0, 0, 0, 0),
	{}
};

/* each thread reads a page of its own */
static const struct dgpu_insn prog_page_each[] __maybe_unused = {
	I(TID, 10, 0, 0, 0),
	I(SHLI, 10, 10, 0, 12),
	I(ADD, 10, 10, 1, 0),
	I(LD8, 11, 10, 0, 0),
	I(HALT, 0, 0, 0, 0),
	{}
};

/* r2 times: mem[BASE] += 1 */
static const struct dgpu_insn prog_count[] __maybe_unused = {
	I(LI, 10, 0, 0, 1),
	I(AADD8, 11, 1, 10, 0),
	I(ADDI, 2, 2, 0, -1),
	I(BNE, 0, 2, 0, 0),
	I(HALT, 0, 0, 0, 0),
	{}
};

/* read mem[BASE] until it is 0; count in mem[BASE + 4096] */
static const struct dgpu_insn prog_poll[] __maybe_unused = {
	I(ADDI, 12, 12, 0, 1),
	I(ST8, 12, 1, 0, 4096),
	I(LD8, 10, 1, 0, 0),
	I(BNE, 0, 10, 0, 0),
	I(HALT, 0, 0, 0, 0),
	{}
};

#endif /* _DGPU_RIG_H */

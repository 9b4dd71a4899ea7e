/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The chip as a whole: engines, copy engines, sequencer, registers.  Private to this
 * directory.
 *
 * Locks, outermost first.  All are spinlocks taken with interrupts off, so that the
 * driver may use the chip from any context:
 *
 *	engine->lock	what one engine executes, and its TLB.  Engines' locks are never
 *			nested.  Held for at most DGPU_ENGINE_BATCH instructions, or the end of
 *			DGPU_ENGINE_END_BATCH jobs, at a time; bus_map and bus_unmap are called
 *			under it.
 *	copier->lock	what one copy engine does.  Never nested, neither with each other nor with
 *			an engine's: no copy waits for an engine.  Held for one page at a time;
 *			bus_map and bus_unmap are called under it.
 *	hw->ctx_lock	moves of a context from one state to another
 *	hw->tlb_lock	invalidations that wait for their time, and knobs
 *	hw->fault_lock	the fault buffer
 *	hw->done_lock	the completion ring
 *	hw->copied_lock	the ring of completed copies
 *
 * The last five are leaves: nothing but the scheduler's locks is taken under them.
 */
#ifndef _DGPU_HW_PRIVATE_H
#define _DGPU_HW_PRIVATE_H

#include <linux/irq_work.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include "units.h"

struct task_struct;

/* Instructions that an engine executes before others may have its lock. */
#define DGPU_ENGINE_BATCH	64
/* Instructions of one thread before the next one has its turn. */
#define DGPU_ENGINE_QUANTUM	16

/* Jobs that are ended before others may have an engine's lock. */
#define DGPU_ENGINE_END_BATCH	64

#define DGPU_MAX_ENGINES	16
#define DGPU_MAX_LANES		1024
#define DGPU_MAX_CONTEXTS	65536
#define DGPU_MAX_TLB_ENTRIES	65536
#define DGPU_MAX_FAULT_ENTRIES	65536
#define DGPU_MAX_COPY_ENGINES	4
#define DGPU_MAX_LOCAL_BYTES	BIT_ULL(40)
/* Longest injected delay. */
#define DGPU_MAX_DELAY_US	60000000ull
/* Invalidations that wait for their time; more are merged. */
#define DGPU_TLB_PENDING	64

/* every context */
#define DGPU_ASID_ALL		(~0u)

/**
 * enum dgpu_lane_state - what a lane is doing, and the list that it is on
 * @DGPU_LANE_FREE: nothing; engine->free
 * @DGPU_LANE_RUN: executing; engine->run
 * @DGPU_LANE_WAITING: has faulted, its entry is not in the fault buffer yet, because
 *	of an injected delay or for lack of room; engine->waiting
 * @DGPU_LANE_PARKED: has faulted and waits for the answer; engine->parked
 */
enum dgpu_lane_state {
	DGPU_LANE_FREE,
	DGPU_LANE_RUN,
	DGPU_LANE_WAITING,
	DGPU_LANE_PARKED,
};

/**
 * struct dgpu_lane - a hardware thread slot of an engine; guarded by the engine's lock
 * @node: on one of the engine's four lists, by @state
 * @job_node: on job->lanes, unless free
 * @job: whose thread it is, NULL when free
 * @thread: architectural state
 * @state: what it is doing
 * @serial: counts the faults of this lane over its life; names one of them
 * @overflowed: the present fault found the buffer full before
 * @fault_addr: of the present or last fault
 * @fault_access: likewise
 * @due: when a waiting lane's entry may be written
 */
struct dgpu_lane {
	struct list_head node;
	struct list_head job_node;
	struct dgpu_hw_job *job;
	struct dgpu_isa_thread thread;
	enum dgpu_lane_state state;
	u32 serial;
	bool overflowed;
	u32 fault_access;
	u64 fault_addr;
	ktime_t due;
};

/**
 * enum dgpu_job_state - dgpu_hw_job.state; guarded by the engine's lock
 * @DGPU_JOB_IDLE: the driver's
 * @DGPU_JOB_QUEUED: threads are left to start; queue->ready
 * @DGPU_JOB_ISSUED: all threads have been started; queue->issued
 * @DGPU_JOB_DONE: on its way through the completion ring, or out of it
 */
enum dgpu_job_state {
	DGPU_JOB_IDLE,
	DGPU_JOB_QUEUED,
	DGPU_JOB_ISSUED,
	DGPU_JOB_DONE,
};

/**
 * struct dgpu_queue - the jobs of one context on one engine; guarded by its lock
 * @node: on engine->active while @ready is not empty
 * @ready: jobs with threads to start, next one first
 * @issued: jobs whose threads have all been started
 */
struct dgpu_queue {
	struct list_head node;
	struct list_head ready;
	struct list_head issued;
};

/**
 * struct dgpu_engine - executes jobs
 * @hw: the chip
 * @index: of this engine
 * @task: its thread
 * @wait: where it sleeps when it has nothing to execute
 * @lock: guards all that follows
 * @tlb: the engine's TLB
 * @lanes: config.lanes of them
 * @free: lanes without a thread
 * @run: lanes that can execute, next one first
 * @waiting: lanes whose fault is not in the buffer yet, oldest first
 * @parked: lanes that wait for an answer
 * @queues: config.max_contexts of them
 * @active: queues with threads to start, next one first
 * @nr_jobs: jobs in all queues; may be read without the lock
 * @stale_faults: a parked lane was freed: its entry may be in the fault buffer still
 * @stats: this engine's share of the counters
 */
struct dgpu_engine {
	struct dgpu_hw *hw;
	unsigned int index;
	struct task_struct *task;
	wait_queue_head_t wait;

	spinlock_t lock;	/* all that follows */
	struct dgpu_tlb tlb;
	struct dgpu_lane *lanes;
	struct list_head free;
	struct list_head run;
	struct list_head waiting;
	struct list_head parked;
	struct dgpu_queue *queues;
	struct list_head active;
	unsigned int nr_jobs;
	bool stale_faults;
	u64 stats[DGPU_HW_NR];
};

/**
 * enum dgpu_copy_state - dgpu_hw_copy.state; guarded by the copy engine's lock
 * @DGPU_COPY_IDLE: the driver's
 * @DGPU_COPY_QUEUED: no page has been looked at
 * @DGPU_COPY_FIRST: copying, up to the middle; or stopped there by a hang
 * @DGPU_COPY_DELAYED: in the middle, waits until it is due
 * @DGPU_COPY_SECOND: copying, from the middle to the end
 * @DGPU_COPY_DONE: on its way through the completion ring, or out of it
 */
enum dgpu_copy_state {
	DGPU_COPY_IDLE,
	DGPU_COPY_QUEUED,
	DGPU_COPY_FIRST,
	DGPU_COPY_DELAYED,
	DGPU_COPY_SECOND,
	DGPU_COPY_DONE,
};

/**
 * struct dgpu_copier - copies pages between system memory and device memory
 * @hw: the chip
 * @index: of this copy engine
 * @task: its thread
 * @kicked: the thread has to look
 * @lock: guards all that follows
 * @queue: copies to do, oldest first; the first one is under way
 * @nr: number there; may be read without the lock
 * @pos: descriptors of the first one that are done
 * @pages: pages copied or cleared since power-on
 * @errors: copies that did not end well
 * @bus_errors: pages that were not there
 * @resets: times that it was reset
 */
struct dgpu_copier {
	struct dgpu_hw *hw;
	unsigned int index;
	struct task_struct *task;
	bool kicked;

	spinlock_t lock;	/* all that follows */
	struct list_head queue;
	unsigned int nr;
	u32 pos;
	u64 pages;
	u64 errors;
	u64 bus_errors;
	u64 resets;
};

/**
 * enum dgpu_context_state - life of a context
 * @DGPU_CONTEXT_FREE: not loaded
 * @DGPU_CONTEXT_LOADED: jobs may run
 * @DGPU_CONTEXT_STOPPED: no job runs, new ones end at once
 */
enum dgpu_context_state {
	DGPU_CONTEXT_FREE,
	DGPU_CONTEXT_LOADED,
	DGPU_CONTEXT_STOPPED,
};

/**
 * struct dgpu_context - an address space
 * @root: bus address of the root table; constant unless free
 * @state: written under hw->ctx_lock.  Read under an engine's lock; who stops the
 *	context writes it first and takes each engine's lock after, so a job is either
 *	refused or found.
 * @status: why it was stopped; written before @state says so
 */
struct dgpu_context {
	u64 root;
	u32 state;
	u32 status;
};

/**
 * struct dgpu_tlb_command - an invalidation
 * @ticket: its number
 * @due: when it takes effect
 * @start: first byte
 * @end: first byte after the range
 * @asid: context, or DGPU_ASID_ALL for everything
 * @reset: mask of engines that were reset while it waited, and so have no translations
 *	from before it
 */
struct dgpu_tlb_command {
	u64 ticket;
	ktime_t due;
	u64 start;
	u64 end;
	unsigned int asid;
	u32 reset;
};

/**
 * struct dgpu_hw - the chip
 * @config: strapping; constant
 * @ops: pins; constant
 * @board: their first argument; constant
 * @mmu: the walker that the engines share; constant
 * @memory: device memory; of no bytes if there is none
 * @copiers: config.copy_engines of them
 * @contexts: config.max_contexts of them
 * @ctx_lock: guards the states of @contexts
 * @fault_lock: guards @fault_buffer and @fault_waiters
 * @fault_buffer: faults that the driver has not read
 * @fault_waiters: mask of engines that found the buffer full since there was room
 * @done_lock: guards @done and @delayed
 * @done: jobs that the driver can take, oldest first
 * @delayed: jobs that get there later, oldest first
 * @copied_lock: guards @copied
 * @copied: copies that the driver can take, oldest first
 * @tlb_lock: guards the following down to @tlb_finished, and writes to @knobs
 * @tlb_pending: ring of invalidations that wait for their time
 * @tlb_first: oldest in @tlb_pending
 * @tlb_count: number there
 * @tlb_ticket: last ticket given out
 * @tlb_finished: last ticket whose invalidation has taken effect
 * @tlb_wait: who waits for that
 * @tlb_flushes: counts invalidate commands
 * @irq_pending: interrupts that were raised and not delivered
 * @irq_work: delivers them
 * @sequencer: thread that makes delayed things happen
 * @sequencer_kicked: it has to look
 * @lost: off the bus; never false again
 * @knobs: injected failure
 * @engines: config.engines of them
 */
struct dgpu_hw {
	struct dgpu_hw_config config;
	const struct dgpu_board_ops *ops;
	void *board;
	struct dgpu_mmu mmu;
	struct dgpu_memory memory;
	struct dgpu_copier *copiers;

	struct dgpu_context *contexts;
	spinlock_t ctx_lock;	/* contexts[].state, .status */

	spinlock_t fault_lock;	/* down to fault_waiters */
	struct dgpu_fault_buffer fault_buffer;
	u32 fault_waiters;

	spinlock_t done_lock;	/* down to delayed */
	struct list_head done;
	struct list_head delayed;

	spinlock_t copied_lock;	/* copied */
	struct list_head copied;

	spinlock_t tlb_lock;	/* down to tlb_finished; writes to knobs */
	struct dgpu_tlb_command tlb_pending[DGPU_TLB_PENDING];
	unsigned int tlb_first;
	unsigned int tlb_count;
	u64 tlb_ticket;
	u64 tlb_finished;
	wait_queue_head_t tlb_wait;
	atomic64_t tlb_flushes;

	atomic_t irq_pending;
	struct irq_work irq_work;

	struct task_struct *sequencer;
	bool sequencer_kicked;

	bool lost;
	u64 knobs[DGPU_KNOB_NR];

	struct dgpu_engine engines[];
};

/* engine.c */
int dgpu_engine_init(struct dgpu_engine *engine, struct dgpu_hw *hw, unsigned int index);
int dgpu_engine_start(struct dgpu_engine *engine);
void dgpu_engine_halt(struct dgpu_engine *engine);
void dgpu_engine_fini(struct dgpu_engine *engine);
int dgpu_engine_submit(struct dgpu_engine *engine, struct dgpu_hw_job *job);
bool dgpu_engine_kill(struct dgpu_engine *engine, struct dgpu_hw_job *job, u32 status);
void dgpu_engine_end_jobs(struct dgpu_engine *engine, unsigned int asid, u32 status);
void dgpu_engine_reset(struct dgpu_engine *engine);
void dgpu_engine_resume(struct dgpu_engine *engine);
void dgpu_engine_raise_faults(struct dgpu_engine *engine);
ktime_t dgpu_engine_next_fault(struct dgpu_engine *engine);
void dgpu_engine_answer(struct dgpu_engine *engine, const struct dgpu_hw_fault *fault,
			int error);
void dgpu_engine_tlb_drop(struct dgpu_engine *engine, const struct dgpu_tlb_command *cmd);
u64 dgpu_engine_stat(struct dgpu_engine *engine, enum dgpu_stat_hw stat);

/* copy.c */
void dgpu_copier_init(struct dgpu_copier *copier, struct dgpu_hw *hw, unsigned int index);
int dgpu_copier_start(struct dgpu_copier *copier);
void dgpu_copier_halt(struct dgpu_copier *copier);
void dgpu_copier_kick(struct dgpu_copier *copier);
int dgpu_copier_submit(struct dgpu_copier *copier, struct dgpu_hw_copy *copy);
void dgpu_copier_end_all(struct dgpu_copier *copier, s32 error);
u64 dgpu_copier_stat(struct dgpu_copier *copier, enum dgpu_stat_hw stat);

/* sequencer.c */
int dgpu_sequencer_start(struct dgpu_hw *hw);
void dgpu_sequencer_halt(struct dgpu_hw *hw);
void dgpu_sequencer_kick(struct dgpu_hw *hw);
void dgpu_sequencer_complete(struct dgpu_hw *hw, struct dgpu_hw_job *job);
u64 dgpu_sequencer_tlb(struct dgpu_hw *hw, struct dgpu_tlb_command *cmd, u64 delay_us);
void dgpu_sequencer_tlb_reset(struct dgpu_hw *hw, unsigned int engine);
void dgpu_sequencer_fault_room(struct dgpu_hw *hw);

/* hw.c */
void dgpu_hw_raise_irq(struct dgpu_hw *hw, u32 bits);
void dgpu_hw_tlb_drop(struct dgpu_hw *hw, const struct dgpu_tlb_command *cmd);
u64 dgpu_hw_knob(const struct dgpu_hw *hw, enum dgpu_hw_knob knob);
bool dgpu_hw_knob_take(struct dgpu_hw *hw, enum dgpu_hw_knob knob);
ktime_t dgpu_hw_due(u64 delay_us);
bool dgpu_hw_is_lost(const struct dgpu_hw *hw);

#endif /* _DGPU_HW_PRIVATE_H */

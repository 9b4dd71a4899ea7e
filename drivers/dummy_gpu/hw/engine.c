// SPDX-License-Identifier: GPL-2.0
/*
 * Engine: takes jobs from its queues, runs their threads on its lanes.
 *
 * It owns its lanes, its TLB and its queues, one for each context, all guarded by one lock.  A
 * kernel thread stands for the clock: it takes the lock, executes a batch of
 * instructions, drops the lock, and sleeps when no lane can execute.  Everyone else
 * (doorbell, kill, answers to faults, invalidations) takes the same lock and so comes
 * between two instructions, never into one.
 *
 * A job moves QUEUED -> ISSUED -> DONE and may be done from either state; a lane moves
 * FREE -> RUN -> WAITING -> PARKED -> RUN and may be freed from each.  A free lane goes to
 * the contexts in turn, and within a context to its jobs in turn.
 *
 * The principle: the lock is held for a bounded number of steps that neither sleep nor
 * allocate, because an invalidation from a notifier waits for it with reclaim behind it.
 */
#include <linux/bits.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/slab.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include "hw_private.h"

/* Engines emulate a device; what they serve comes first on a small machine. */
#define DGPU_ENGINE_NICE	5

static bool dgpu_engine_is_hung(const struct dgpu_engine *engine)
{
	return dgpu_hw_knob(engine->hw, DGPU_KNOB_HANG_ENGINE) & BIT_ULL(engine->index);
}

static bool dgpu_engine_can_issue(const struct dgpu_engine *engine)
{
	return !list_empty(&engine->active) && !list_empty(&engine->free);
}

static bool dgpu_engine_can_run(const struct dgpu_engine *engine)
{
	lockdep_assert_held(&engine->lock);

	if (dgpu_hw_is_lost(engine->hw) || dgpu_engine_is_hung(engine))
		return false;
	return !list_empty(&engine->run) || dgpu_engine_can_issue(engine);
}

static void dgpu_engine_move(struct dgpu_engine *engine, struct dgpu_lane *lane,
			     enum dgpu_lane_state state)
{
	struct list_head *list = &engine->free;

	lockdep_assert_held(&engine->lock);

	if (state == DGPU_LANE_RUN)
		list = &engine->run;
	else if (state == DGPU_LANE_WAITING)
		list = &engine->waiting;
	else if (state == DGPU_LANE_PARKED)
		list = &engine->parked;
	lane->state = state;
	list_move_tail(&lane->node, list);
}

static void dgpu_engine_free_lane(struct dgpu_engine *engine, struct dgpu_lane *lane)
{
	if (lane->state == DGPU_LANE_PARKED)
		engine->stale_faults = true;
	list_del(&lane->job_node);
	lane->job = NULL;
	dgpu_engine_move(engine, lane, DGPU_LANE_FREE);
}

static struct dgpu_queue *dgpu_engine_queue(struct dgpu_engine *engine,
					    const struct dgpu_hw_job *job)
{
	return &engine->queues[job->asid];
}

/* After the jobs in a queue have changed: does it want lanes? */
static void dgpu_engine_schedule(struct dgpu_engine *engine, struct dgpu_queue *queue)
{
	if (list_empty(&queue->ready))
		list_del_init(&queue->node);
	else
		list_move_tail(&queue->node, &engine->active);
}

/* An entry of the fault buffer whose thread no longer waits. */
static bool dgpu_engine_fault_is_stale(const struct dgpu_hw_fault *fault, void *data)
{
	struct dgpu_engine *engine = data;
	struct dgpu_lane *lane = &engine->lanes[fault->lane];

	return fault->engine == engine->index &&
	       (lane->state != DGPU_LANE_PARKED || lane->serial != fault->serial);
}

/* After parked lanes were freed: their faults leave the buffer. */
static void dgpu_engine_purge_faults(struct dgpu_engine *engine)
{
	struct dgpu_hw *hw = engine->hw;
	bool room = false;

	lockdep_assert_held(&engine->lock);

	if (!engine->stale_faults)
		return;
	engine->stale_faults = false;

	spin_lock(&hw->fault_lock);
	if (dgpu_fault_buffer_purge(&hw->fault_buffer, dgpu_engine_fault_is_stale, engine))
		room = hw->fault_waiters;
	spin_unlock(&hw->fault_lock);
	/* Other engines wait for the room: their locks cannot be taken in here. */
	if (room)
		dgpu_sequencer_kick(hw);
}

/*
 * End a job: all its threads with it.  @lane is the one that the result speaks of, or
 * NULL; for a job that is stopped from outside it is its oldest thread, so that the
 * result shows where an endless loop was.
 */
static void dgpu_engine_end_job(struct dgpu_engine *engine, struct dgpu_hw_job *job,
				struct dgpu_lane *lane, u32 status)
{
	struct dgpu_result *result = &job->result;
	struct dgpu_lane *tmp;

	lockdep_assert_held(&engine->lock);

	if (!lane && status != DGPU_OK)
		lane = list_first_entry_or_null(&job->lanes, struct dgpu_lane, job_node);
	result->status = status;
	if (lane) {
		result->thread = lane->thread.tid;
		result->pc = lane->thread.pc;
		if (lane->state != DGPU_LANE_RUN) {
			result->fault_addr = lane->fault_addr;
			result->access = lane->fault_access;
		}
	}

	list_for_each_entry_safe(lane, tmp, &job->lanes, job_node)
		dgpu_engine_free_lane(engine, lane);
	list_del_init(&job->node);
	if (list_empty(&dgpu_engine_queue(engine, job)->ready))
		list_del_init(&dgpu_engine_queue(engine, job)->node);
	WRITE_ONCE(engine->nr_jobs, engine->nr_jobs - 1);
	job->state = DGPU_JOB_DONE;
	engine->stats[DGPU_HW_JOBS]++;
	dgpu_sequencer_complete(engine->hw, job);
}

/* ---- faults ---- */

static bool dgpu_engine_push_fault(struct dgpu_engine *engine, struct dgpu_lane *lane)
{
	struct dgpu_hw *hw = engine->hw;
	struct dgpu_hw_fault fault = {
		.addr = lane->fault_addr,
		.access = lane->fault_access,
		.asid = lane->job->asid,
		.engine = engine->index,
		.lane = lane - engine->lanes,
		.serial = lane->serial,
	};
	bool written;

	spin_lock(&hw->fault_lock);
	written = dgpu_fault_buffer_push(&hw->fault_buffer, &fault);
	/*
	 * Under the same lock as the look at the buffer, or who makes room could do so
	 * in between and not know of us.
	 */
	if (!written)
		hw->fault_waiters |= BIT(engine->index);
	spin_unlock(&hw->fault_lock);
	return written;
}

static void dgpu_engine_write_faults(struct dgpu_engine *engine)
{
	struct dgpu_lane *lane, *tmp;
	bool written = false;

	lockdep_assert_held(&engine->lock);

	if (dgpu_engine_is_hung(engine))
		return;
	list_for_each_entry_safe(lane, tmp, &engine->waiting, node) {
		if (lane->due && ktime_before(ktime_get(), lane->due)) {
			dgpu_sequencer_kick(engine->hw);
			break;
		}
		if (!dgpu_engine_push_fault(engine, lane)) {
			if (!lane->overflowed)
				engine->stats[DGPU_HW_FAULT_OVERFLOWS]++;
			lane->overflowed = true;
			break;
		}
		engine->stats[DGPU_HW_FAULTS]++;
		dgpu_engine_move(engine, lane, DGPU_LANE_PARKED);
		written = true;
	}
	if (written)
		dgpu_hw_raise_irq(engine->hw, DGPU_HW_IRQ_FAULT);
}

static void dgpu_engine_park(struct dgpu_engine *engine, struct dgpu_lane *lane,
			     const struct dgpu_lsu *lsu)
{
	u64 delay = dgpu_hw_knob(engine->hw, DGPU_KNOB_FAULT_DELAY_US);

	lane->fault_addr = lsu->fault_addr;
	lane->fault_access = lsu->fault_access;
	lane->serial++;
	lane->overflowed = false;
	lane->due = delay ? dgpu_hw_due(delay) : 0;
	lane->job->result.faults++;
	dgpu_engine_move(engine, lane, DGPU_LANE_WAITING);
	dgpu_engine_write_faults(engine);
}

/**
 * dgpu_engine_raise_faults - write the faults that had to wait, as far as they can be
 * @engine: the engine
 *
 * Context: Any. Takes the engine's lock.
 */
void dgpu_engine_raise_faults(struct dgpu_engine *engine)
{
	unsigned long flags;

	spin_lock_irqsave(&engine->lock, flags);
	dgpu_engine_write_faults(engine);
	spin_unlock_irqrestore(&engine->lock, flags);
}

/**
 * dgpu_engine_next_fault - when a delayed fault shows up
 * @engine: the engine
 *
 * Context: Any. Takes the engine's lock.
 * Return: the time, or KTIME_MAX if no fault waits for its time.
 */
ktime_t dgpu_engine_next_fault(struct dgpu_engine *engine)
{
	ktime_t next = KTIME_MAX;
	struct dgpu_lane *lane;
	unsigned long flags;

	spin_lock_irqsave(&engine->lock, flags);
	lane = list_first_entry_or_null(&engine->waiting, struct dgpu_lane, node);
	/* One that waits for room, or a hung engine's, is not the clock's to wake. */
	if (lane && lane->due && !lane->overflowed && !dgpu_engine_is_hung(engine))
		next = lane->due;
	spin_unlock_irqrestore(&engine->lock, flags);
	return next;
}

/**
 * dgpu_engine_answer - answer a fault
 * @engine: the engine
 * @fault: the fault
 * @error: 0, or a negative errno
 *
 * Without effect if the thread has ended, if this fault of it was answered before, or if
 * the engine hangs.  An error that comes when the device is lost is one of its loss: who
 * has lost it ends all jobs.
 *
 * Context: Any. Takes the engine's lock.
 */
void dgpu_engine_answer(struct dgpu_engine *engine, const struct dgpu_hw_fault *fault,
			int error)
{
	struct dgpu_lane *lane;
	unsigned long flags;

	spin_lock_irqsave(&engine->lock, flags);
	lane = &engine->lanes[fault->lane];
	if (lane->state != DGPU_LANE_PARKED || lane->serial != fault->serial ||
	    lane->job->asid != fault->asid || dgpu_engine_is_hung(engine))
		goto out_unlock;
	if (error && dgpu_hw_is_lost(engine->hw))
		goto out_unlock;

	if (error) {
		lane->job->result.error = abs(error);
		dgpu_engine_end_job(engine, lane->job, lane, DGPU_ERR_FAULT);
		dgpu_engine_purge_faults(engine);
	} else {
		engine->stats[DGPU_HW_REPLAYS]++;
		dgpu_engine_move(engine, lane, DGPU_LANE_RUN);
	}
	wake_up(&engine->wait);
out_unlock:
	spin_unlock_irqrestore(&engine->lock, flags);
}

/* ---- execution ---- */

static enum dgpu_mem dgpu_engine_load(void *ctx, u64 addr, unsigned int size, u64 *value)
{
	return dgpu_lsu_load(ctx, addr, size, value);
}

static enum dgpu_mem dgpu_engine_store(void *ctx, u64 addr, unsigned int size, u64 value)
{
	return dgpu_lsu_store(ctx, addr, size, value);
}

static enum dgpu_mem dgpu_engine_atomic(void *ctx, enum dgpu_atomic op, u64 addr,
					unsigned int size, u64 operand, u64 compare, u64 *old)
{
	return dgpu_lsu_atomic(ctx, op, addr, size, operand, compare, old);
}

static const struct dgpu_isa_mem dgpu_engine_mem = {
	.load = dgpu_engine_load,
	.store = dgpu_engine_store,
	.atomic = dgpu_engine_atomic,
};

/* Start one thread.  Its job goes to the end of its queue, and the queue to the end. */
static void dgpu_engine_issue(struct dgpu_engine *engine)
{
	struct dgpu_queue *queue = list_first_entry(&engine->active, struct dgpu_queue, node);
	struct dgpu_hw_job *job = list_first_entry(&queue->ready, struct dgpu_hw_job, node);
	struct dgpu_lane *lane = list_first_entry(&engine->free, struct dgpu_lane, node);

	lane->job = job;
	list_add_tail(&lane->job_node, &job->lanes);
	dgpu_isa_start(&lane->thread, job->next_thread++, job->args);
	dgpu_engine_move(engine, lane, DGPU_LANE_RUN);
	if (job->next_thread == job->nthreads) {
		job->state = DGPU_JOB_ISSUED;
		list_move_tail(&job->node, &queue->issued);
	} else {
		list_move_tail(&job->node, &queue->ready);
	}
	dgpu_engine_schedule(engine, queue);
}

static void dgpu_engine_fail(struct dgpu_engine *engine, struct dgpu_lane *lane,
			     const struct dgpu_isa_error *error, const struct dgpu_lsu *lsu)
{
	struct dgpu_hw_job *job = lane->job;

	job->result.trap = error->trap;
	job->result.access = error->access;
	job->result.fault_addr = error->addr;
	if (error->status == DGPU_ERR_BUS) {
		engine->stats[DGPU_HW_BUS_ERRORS]++;
		/* of an access to two pages, the byte that failed */
		job->result.fault_addr = lsu->fault_addr;
	}
	dgpu_engine_end_job(engine, job, lane, error->status);
	dgpu_engine_purge_faults(engine);
}

static void dgpu_engine_thread_ends(struct dgpu_engine *engine, struct dgpu_lane *lane)
{
	struct dgpu_hw_job *job = lane->job;

	dgpu_engine_free_lane(engine, lane);
	if (job->state == DGPU_JOB_ISSUED && list_empty(&job->lanes))
		dgpu_engine_end_job(engine, job, NULL, DGPU_OK);
}

/* Up to @max instructions of one thread. Returns how many, and counts a fault as one. */
static unsigned int dgpu_engine_run_lane(struct dgpu_engine *engine, struct dgpu_lane *lane,
					 unsigned int max)
{
	struct dgpu_hw *hw = engine->hw;
	struct dgpu_hw_job *job = lane->job;
	struct dgpu_isa_program program = {
		.code = job->code,
		.ninsns = job->ninsns,
		.nthreads = job->nthreads,
	};
	struct dgpu_lsu lsu = {
		.mmu = &hw->mmu,
		.tlb = &engine->tlb,
		.asid = job->asid,
		.root = hw->contexts[job->asid].root,
	};
	struct dgpu_isa_error error;
	enum dgpu_isa_step step;
	unsigned int n = 0;

	do {
		step = dgpu_isa_step(&lane->thread, &program, &dgpu_engine_mem, &lsu, &error);
		n++;
		if (step != DGPU_STEP_FAULT) {
			job->result.insns++;
			engine->stats[DGPU_HW_INSNS]++;
		}
	} while (step == DGPU_STEP_NEXT && n < max);

	switch (step) {
	case DGPU_STEP_NEXT:
		dgpu_engine_move(engine, lane, DGPU_LANE_RUN);
		break;
	case DGPU_STEP_HALT:
		dgpu_engine_thread_ends(engine, lane);
		break;
	case DGPU_STEP_FAULT:
		dgpu_engine_park(engine, lane, &lsu);
		break;
	case DGPU_STEP_ERROR:
		dgpu_engine_fail(engine, lane, &error, &lsu);
		break;
	}
	return n;
}

/* Returns the number of instructions, 0 if there was nothing to execute. */
static unsigned int dgpu_engine_batch(struct dgpu_engine *engine, unsigned int max)
{
	struct dgpu_lane *lane;
	unsigned int n = 0;
	unsigned long flags;

	spin_lock_irqsave(&engine->lock, flags);
	while (n < max && dgpu_engine_can_run(engine)) {
		if (dgpu_engine_can_issue(engine))
			dgpu_engine_issue(engine);
		lane = list_first_entry(&engine->run, struct dgpu_lane, node);
		n += dgpu_engine_run_lane(engine, lane,
					  min_t(unsigned int, max - n, DGPU_ENGINE_QUANTUM));
	}
	spin_unlock_irqrestore(&engine->lock, flags);
	return n;
}

static bool dgpu_engine_has_work(struct dgpu_engine *engine)
{
	unsigned long flags;
	bool work;

	spin_lock_irqsave(&engine->lock, flags);
	work = dgpu_engine_can_run(engine);
	spin_unlock_irqrestore(&engine->lock, flags);
	return work;
}

static int dgpu_engine_main(void *data)
{
	struct dgpu_engine *engine = data;
	u64 since_sleep = 0;

	set_user_nice(current, DGPU_ENGINE_NICE);
	while (!kthread_should_stop()) {
		u64 slow = dgpu_hw_knob(engine->hw, DGPU_KNOB_SLOW_INSNS);
		unsigned int max = DGPU_ENGINE_BATCH;
		unsigned int n;

		if (slow)
			max = clamp_t(s64, slow - since_sleep, 1, DGPU_ENGINE_BATCH);
		n = dgpu_engine_batch(engine, max);
		if (!n) {
			wait_event_idle(engine->wait, kthread_should_stop() ||
					dgpu_engine_has_work(engine));
			continue;
		}
		since_sleep += n;
		if (slow && since_sleep >= slow) {
			usleep_range(1000, 1100);
			since_sleep = 0;
		}
		/* An endless loop on the GPU is no voluntary sleep. */
		cond_resched_tasks_rcu_qs();
	}
	return 0;
}

/* ---- jobs ---- */

/**
 * dgpu_engine_submit - put a job in the queue
 * @engine: the engine
 * @job: the job, checked by the caller as far as no lock is needed
 *
 * Context: Any. Takes the engine's lock.
 * Return: 0; -ENODEV the device is lost; -EINVAL the context is not loaded.
 */
int dgpu_engine_submit(struct dgpu_engine *engine, struct dgpu_hw_job *job)
{
	struct dgpu_hw *hw = engine->hw;
	struct dgpu_context *context = &hw->contexts[job->asid];
	struct dgpu_result *result = &job->result;
	struct dgpu_queue *queue;
	unsigned long flags;
	int ret = 0;
	u32 state;

	spin_lock_irqsave(&engine->lock, flags);
	if (dgpu_hw_is_lost(hw)) {
		ret = -ENODEV;
		goto out_unlock;
	}
	/* Pairs with the release in dgpu_hw_context_load() and _stop(). */
	state = smp_load_acquire(&context->state);
	if (state == DGPU_CONTEXT_FREE) {
		ret = -EINVAL;
		goto out_unlock;
	}

	result->status = DGPU_OK;
	result->thread = 0;
	result->pc = 0;
	result->access = 0;
	result->fault_addr = 0;
	result->error = 0;
	result->trap = 0;
	result->insns = 0;
	result->faults = 0;
	INIT_LIST_HEAD(&job->lanes);
	job->next_thread = 0;
	WRITE_ONCE(job->hw_private, engine);
	/* Pairs with the acquire in dgpu_engine_kill(). */
	smp_store_release(&job->state, DGPU_JOB_QUEUED);
	queue = dgpu_engine_queue(engine, job);
	list_add_tail(&job->node, &queue->ready);
	if (list_empty(&queue->node))
		list_add_tail(&queue->node, &engine->active);
	WRITE_ONCE(engine->nr_jobs, engine->nr_jobs + 1);
	if (state == DGPU_CONTEXT_STOPPED)
		dgpu_engine_end_job(engine, job, NULL, context->status);
	else
		wake_up(&engine->wait);
out_unlock:
	spin_unlock_irqrestore(&engine->lock, flags);
	return ret;
}

/**
 * dgpu_engine_kill - end one job
 * @engine: the engine that it was submitted to
 * @job: the job
 * @status: DGPU_ERR_* that it ends with
 *
 * Without effect if the job is done or the engine hangs.
 *
 * Context: Any. Takes the engine's lock.
 * Return: false if the engine hangs and has the job.
 */
bool dgpu_engine_kill(struct dgpu_engine *engine, struct dgpu_hw_job *job, u32 status)
{
	unsigned long flags;
	bool is_ours;
	u32 state;

	spin_lock_irqsave(&engine->lock, flags);
	/*
	 * The job may have ended meanwhile, and gone to another engine: then its state is
	 * none of ours.  Pairs with the release in dgpu_engine_submit().
	 */
	state = smp_load_acquire(&job->state);
	is_ours = (state == DGPU_JOB_QUEUED || state == DGPU_JOB_ISSUED) &&
		  READ_ONCE(job->hw_private) == engine;
	if (is_ours && !dgpu_engine_is_hung(engine)) {
		dgpu_engine_end_job(engine, job, NULL, status);
		dgpu_engine_purge_faults(engine);
		wake_up(&engine->wait);
		is_ours = false;
	}
	spin_unlock_irqrestore(&engine->lock, flags);
	return !is_ours;
}

/* End some jobs of one context. Returns true if there may be more. */
static bool dgpu_engine_end_some(struct dgpu_engine *engine, unsigned int asid, u32 status)
{
	struct dgpu_queue *queue = &engine->queues[asid];
	struct dgpu_hw_job *job;
	unsigned int n;

	lockdep_assert_held(&engine->lock);

	for (n = 0; n < DGPU_ENGINE_END_BATCH; n++) {
		job = list_first_entry_or_null(&queue->issued, struct dgpu_hw_job, node);
		if (!job)
			job = list_first_entry_or_null(&queue->ready, struct dgpu_hw_job, node);
		if (!job)
			break;
		dgpu_engine_end_job(engine, job, NULL, status);
	}
	dgpu_engine_purge_faults(engine);
	return n == DGPU_ENGINE_END_BATCH;
}

/**
 * dgpu_engine_end_jobs - end the jobs of a context, or all
 * @engine: the engine; may hang
 * @asid: context, or DGPU_ASID_ALL
 * @status: DGPU_ERR_* that they end with
 *
 * After this returns the engine makes no access for those that were there when it was
 * called, and none of their faults is in the fault buffer.  Jobs that are submitted
 * meanwhile may end, too: who wants them to sees to it that they are refused first.
 *
 * Context: Any. Takes the engine's lock, for a number of jobs at a time.
 */
void dgpu_engine_end_jobs(struct dgpu_engine *engine, unsigned int asid, u32 status)
{
	unsigned int first = asid, last = asid;
	unsigned long flags;
	bool more;

	if (asid == DGPU_ASID_ALL) {
		first = 0;
		last = engine->hw->config.max_contexts - 1;
	}
	for (asid = first; asid <= last; asid++) {
		do {
			spin_lock_irqsave(&engine->lock, flags);
			more = dgpu_engine_end_some(engine, asid, status);
			wake_up(&engine->wait);
			spin_unlock_irqrestore(&engine->lock, flags);
		} while (more);
	}
}

/**
 * dgpu_engine_reset - end all jobs with DGPU_ERR_RESET and empty the TLB
 * @engine: the engine; may hang
 *
 * Context: Any. Takes the engine's lock, for a number of jobs at a time.
 */
void dgpu_engine_reset(struct dgpu_engine *engine)
{
	unsigned long flags;

	/* Counted before anybody can see a job that it ended. */
	spin_lock_irqsave(&engine->lock, flags);
	engine->stats[DGPU_HW_RESETS]++;
	spin_unlock_irqrestore(&engine->lock, flags);
	dgpu_engine_end_jobs(engine, DGPU_ASID_ALL, DGPU_ERR_RESET);
	spin_lock_irqsave(&engine->lock, flags);
	dgpu_tlb_flush(&engine->tlb);
	spin_unlock_irqrestore(&engine->lock, flags);
}

/**
 * dgpu_engine_resume - notice that the engine does not hang any more, or does
 * @engine: the engine
 *
 * Context: Any. Takes the engine's lock: after a hang was injected and this has
 * returned, the engine executes nothing.
 */
void dgpu_engine_resume(struct dgpu_engine *engine)
{
	unsigned long flags;

	spin_lock_irqsave(&engine->lock, flags);
	dgpu_engine_write_faults(engine);
	wake_up(&engine->wait);
	spin_unlock_irqrestore(&engine->lock, flags);
}

/**
 * dgpu_engine_tlb_drop - make an invalidation take effect
 * @engine: the engine
 * @cmd: the invalidation
 *
 * Context: Any. Takes the engine's lock: when this returns no access through a
 * translation that was dropped is under way.
 */
void dgpu_engine_tlb_drop(struct dgpu_engine *engine, const struct dgpu_tlb_command *cmd)
{
	unsigned long flags;

	spin_lock_irqsave(&engine->lock, flags);
	if (cmd->asid == DGPU_ASID_ALL)
		dgpu_tlb_flush(&engine->tlb);
	else
		dgpu_tlb_invalidate(&engine->tlb, cmd->asid, cmd->start, cmd->end);
	spin_unlock_irqrestore(&engine->lock, flags);
}

/**
 * dgpu_engine_stat - an engine's share of a counter
 * @engine: the engine
 * @stat: the counter
 *
 * Context: Any. Takes the engine's lock.
 * Return: the value.
 */
u64 dgpu_engine_stat(struct dgpu_engine *engine, enum dgpu_stat_hw stat)
{
	unsigned long flags;
	u64 value;

	spin_lock_irqsave(&engine->lock, flags);
	if (stat == DGPU_HW_TLB_HITS)
		value = engine->tlb.hits;
	else if (stat == DGPU_HW_TLB_MISSES)
		value = engine->tlb.misses;
	else
		value = engine->stats[stat];
	spin_unlock_irqrestore(&engine->lock, flags);
	return value;
}

/* ---- birth and end ---- */

/**
 * dgpu_engine_init - set up an engine that does not run yet
 * @engine: zeroed memory
 * @hw: the chip
 * @index: of this engine
 *
 * Context: May sleep.
 * Return: 0 or -ENOMEM; dgpu_engine_fini() is right after either.
 */
int dgpu_engine_init(struct dgpu_engine *engine, struct dgpu_hw *hw, unsigned int index)
{
	const struct dgpu_hw_config *config = &hw->config;
	struct dgpu_tlb_entry *entries = NULL;
	unsigned int i;

	engine->hw = hw;
	engine->index = index;
	spin_lock_init(&engine->lock);
	init_waitqueue_head(&engine->wait);
	INIT_LIST_HEAD(&engine->free);
	INIT_LIST_HEAD(&engine->run);
	INIT_LIST_HEAD(&engine->waiting);
	INIT_LIST_HEAD(&engine->parked);
	INIT_LIST_HEAD(&engine->active);

	if (config->tlb_entries) {
		entries = kvcalloc(config->tlb_entries, sizeof(*entries), GFP_KERNEL);
		if (!entries)
			return -ENOMEM;
	}
	dgpu_tlb_init(&engine->tlb, entries, config->tlb_entries);

	engine->lanes = kvcalloc(config->lanes, sizeof(*engine->lanes), GFP_KERNEL);
	if (!engine->lanes)
		return -ENOMEM;
	for (i = 0; i < config->lanes; i++)
		list_add_tail(&engine->lanes[i].node, &engine->free);

	engine->queues = kvcalloc(config->max_contexts, sizeof(*engine->queues), GFP_KERNEL);
	if (!engine->queues)
		return -ENOMEM;
	for (i = 0; i < config->max_contexts; i++) {
		INIT_LIST_HEAD(&engine->queues[i].node);
		INIT_LIST_HEAD(&engine->queues[i].ready);
		INIT_LIST_HEAD(&engine->queues[i].issued);
	}
	return 0;
}

/**
 * dgpu_engine_start - let an engine run
 * @engine: the engine
 *
 * Context: May sleep.
 * Return: 0, or the errno of creating a kernel thread.
 */
int dgpu_engine_start(struct dgpu_engine *engine)
{
	struct task_struct *task;

	task = kthread_run(dgpu_engine_main, engine, "dgpu-engine/%u", engine->index);
	if (IS_ERR(task))
		return PTR_ERR(task);
	engine->task = task;
	return 0;
}

/**
 * dgpu_engine_halt - stop an engine for good, wherever it is in a job
 * @engine: the engine
 *
 * Context: May sleep; bounded by a batch. After this returns it makes no access.
 */
void dgpu_engine_halt(struct dgpu_engine *engine)
{
	if (engine->task)
		kthread_stop(engine->task);
	engine->task = NULL;
}

/**
 * dgpu_engine_fini - free what dgpu_engine_init() has allocated
 * @engine: the engine, halted
 *
 * Jobs that are still on it are dropped: they are the driver's again.
 */
void dgpu_engine_fini(struct dgpu_engine *engine)
{
	kvfree(engine->queues);
	kvfree(engine->lanes);
	kvfree(engine->tlb.entries);
}

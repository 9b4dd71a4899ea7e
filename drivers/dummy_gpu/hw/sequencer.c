// SPDX-License-Identifier: GPL-2.0
/*
 * Sequencer: makes things happen later.
 *
 * It owns what was told to wait by an injected delay: invalidations (hw->tlb_pending,
 * guarded by hw->tlb_lock) and completions (hw->delayed, guarded by hw->done_lock);
 * delayed faults stay on their engine.  It also writes the faults that had found the
 * buffer full, when room comes up where the engine's lock cannot be taken.  On a chip
 * with all knobs at 0 its thread sleeps.
 *
 * The principle: each kind of thing happens in the order in which it was asked for, and
 * for each the sequencer's thread is the only one that makes it happen.  So one number,
 * the last ticket, says which invalidations are done.
 */
#include <linux/bits.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include "hw_private.h"

/**
 * dgpu_sequencer_kick - there is something to do, now or at some time
 * @hw: the chip
 *
 * Context: Any.
 */
void dgpu_sequencer_kick(struct dgpu_hw *hw)
{
	/* What was put on a list before must be seen by who sees this. */
	smp_store_release(&hw->sequencer_kicked, true);
	wake_up_process(hw->sequencer);
}

/* ---- completions ---- */

/**
 * dgpu_sequencer_complete - put a job in the completion ring
 * @hw: the chip
 * @job: the job; the driver may have it, and free it, before this returns
 *
 * Context: Any.
 */
void dgpu_sequencer_complete(struct dgpu_hw *hw, struct dgpu_hw_job *job)
{
	u64 delay = dgpu_hw_knob(hw, DGPU_KNOB_DONE_DELAY_US);
	unsigned long flags;
	bool later;

	spin_lock_irqsave(&hw->done_lock, flags);
	/* The ring is in order: none overtakes one that waits. */
	later = (delay || !list_empty(&hw->delayed)) && !dgpu_hw_is_lost(hw);
	job->due = dgpu_hw_due(delay);
	list_add_tail(&job->node, later ? &hw->delayed : &hw->done);
	spin_unlock_irqrestore(&hw->done_lock, flags);

	if (later)
		dgpu_sequencer_kick(hw);
	else
		dgpu_hw_raise_irq(hw, DGPU_HW_IRQ_DONE);
}

static ktime_t dgpu_sequencer_run_done(struct dgpu_hw *hw)
{
	struct dgpu_hw_job *job, *tmp;
	ktime_t next = KTIME_MAX;
	ktime_t now = ktime_get();
	bool moved = false;

	spin_lock_irq(&hw->done_lock);
	list_for_each_entry_safe(job, tmp, &hw->delayed, node) {
		if (!dgpu_hw_is_lost(hw) && ktime_before(now, job->due)) {
			next = job->due;
			break;
		}
		list_move_tail(&job->node, &hw->done);
		moved = true;
	}
	spin_unlock_irq(&hw->done_lock);

	if (moved)
		dgpu_hw_raise_irq(hw, DGPU_HW_IRQ_DONE);
	return next;
}

/* ---- invalidations ---- */

/**
 * dgpu_sequencer_tlb - make an invalidation take effect later
 * @hw: the chip
 * @cmd: the invalidation; ticket and time are filled in
 * @delay_us: how much later
 *
 * There is no memory to be had here.  When too many wait, the youngest becomes one that
 * drops everything: more than was asked for, and a little early, but never too little.
 *
 * Context: Any. Called under hw->tlb_lock.
 * Return: the ticket.
 */
u64 dgpu_sequencer_tlb(struct dgpu_hw *hw, struct dgpu_tlb_command *cmd, u64 delay_us)
{
	struct dgpu_tlb_command *last;

	lockdep_assert_held(&hw->tlb_lock);

	cmd->ticket = ++hw->tlb_ticket;
	cmd->due = dgpu_hw_due(delay_us);
	if (hw->tlb_count < DGPU_TLB_PENDING) {
		hw->tlb_pending[(hw->tlb_first + hw->tlb_count++) % DGPU_TLB_PENDING] = *cmd;
	} else {
		last = &hw->tlb_pending[(hw->tlb_first + DGPU_TLB_PENDING - 1) %
					DGPU_TLB_PENDING];
		last->ticket = cmd->ticket;
		last->asid = DGPU_ASID_ALL;
		last->reset = 0;
	}
	dgpu_sequencer_kick(hw);
	return cmd->ticket;
}

/**
 * dgpu_sequencer_tlb_reset - the TLB of an engine was emptied
 * @hw: the chip
 * @engine: index of the engine
 *
 * An invalidation that waits has nothing left to do once that is so for all engines.
 *
 * Context: Any. Called under hw->tlb_lock.
 */
void dgpu_sequencer_tlb_reset(struct dgpu_hw *hw, unsigned int engine)
{
	unsigned int i;

	lockdep_assert_held(&hw->tlb_lock);

	if (!hw->tlb_count)
		return;
	for (i = 0; i < hw->tlb_count; i++)
		hw->tlb_pending[(hw->tlb_first + i) % DGPU_TLB_PENDING].reset |= BIT(engine);
	dgpu_sequencer_kick(hw);
}

static bool dgpu_sequencer_tlb_is_due(const struct dgpu_hw *hw,
				      const struct dgpu_tlb_command *cmd)
{
	return dgpu_hw_is_lost(hw) || cmd->reset == BIT(hw->config.engines) - 1 ||
	       !ktime_before(ktime_get(), cmd->due);
}

static ktime_t dgpu_sequencer_run_tlb(struct dgpu_hw *hw)
{
	struct dgpu_tlb_command cmd;
	ktime_t next = KTIME_MAX;
	bool finished = false;

	spin_lock_irq(&hw->tlb_lock);
	while (hw->tlb_count) {
		cmd = hw->tlb_pending[hw->tlb_first];
		if (!dgpu_sequencer_tlb_is_due(hw, &cmd)) {
			next = cmd.due;
			break;
		}
		hw->tlb_first = (hw->tlb_first + 1) % DGPU_TLB_PENDING;
		hw->tlb_count--;
		spin_unlock_irq(&hw->tlb_lock);

		dgpu_hw_tlb_drop(hw, &cmd);

		spin_lock_irq(&hw->tlb_lock);
		hw->tlb_finished = cmd.ticket;
		finished = true;
	}
	spin_unlock_irq(&hw->tlb_lock);

	if (finished) {
		wake_up_all(&hw->tlb_wait);
		dgpu_hw_raise_irq(hw, DGPU_HW_IRQ_TLB);
	}
	return next;
}

/* ---- faults ---- */

/**
 * dgpu_sequencer_fault_room - there is room in the fault buffer: let engines use it
 * @hw: the chip
 *
 *	engine					reader of the buffer
 *	finds it full
 *						takes entries
 *	notes that it waits
 *						nobody waits: goes away
 *
 * would leave the thread parked for ever.  Both sides do their two steps under
 * fault_lock, so the reader sees the note or the engine sees the room.
 *
 * Context: Any. Takes fault_lock, then locks of engines one by one.
 */
void dgpu_sequencer_fault_room(struct dgpu_hw *hw)
{
	unsigned long flags, waiters = 0;
	unsigned int i;

	spin_lock_irqsave(&hw->fault_lock, flags);
	if (dgpu_fault_buffer_used(&hw->fault_buffer) < hw->fault_buffer.size) {
		waiters = hw->fault_waiters;
		hw->fault_waiters = 0;
	}
	spin_unlock_irqrestore(&hw->fault_lock, flags);

	for_each_set_bit(i, &waiters, DGPU_MAX_ENGINES)
		dgpu_engine_raise_faults(&hw->engines[i]);
}

static ktime_t dgpu_sequencer_run_faults(struct dgpu_hw *hw)
{
	ktime_t next = KTIME_MAX;
	unsigned int i;

	dgpu_sequencer_fault_room(hw);
	for (i = 0; i < hw->config.engines; i++) {
		struct dgpu_engine *engine = &hw->engines[i];

		if (ktime_before(ktime_get(), dgpu_engine_next_fault(engine)))
			continue;
		dgpu_engine_raise_faults(engine);
	}
	for (i = 0; i < hw->config.engines; i++)
		next = min(next, dgpu_engine_next_fault(&hw->engines[i]));
	return next;
}

/* ---- the thread ---- */

static int dgpu_sequencer_main(void *data)
{
	struct dgpu_hw *hw = data;
	ktime_t next;

	for (;;) {
		/*
		 * A kick from here on is either seen below, before sleeping, or its cause
		 * is seen by the look at the lists that follows.
		 */
		smp_store_mb(hw->sequencer_kicked, false);
		next = dgpu_sequencer_run_tlb(hw);
		next = min(next, dgpu_sequencer_run_done(hw));
		next = min(next, dgpu_sequencer_run_faults(hw));

		set_current_state(TASK_IDLE);
		if (kthread_should_stop())
			break;
		if (!READ_ONCE(hw->sequencer_kicked))
			schedule_hrtimeout(next == KTIME_MAX ? NULL : &next, HRTIMER_MODE_ABS);
		__set_current_state(TASK_RUNNING);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/**
 * dgpu_sequencer_start - let the sequencer run
 * @hw: the chip; its engines are set up and do not run yet
 *
 * Context: May sleep.
 * Return: 0, or the errno of creating a kernel thread.
 */
int dgpu_sequencer_start(struct dgpu_hw *hw)
{
	struct task_struct *task;

	/* Not run but created: it can be kicked before it has started. */
	task = kthread_create(dgpu_sequencer_main, hw, "dgpu-sequencer");
	if (IS_ERR(task))
		return PTR_ERR(task);
	hw->sequencer = task;
	wake_up_process(task);
	return 0;
}

/**
 * dgpu_sequencer_halt - stop the sequencer for good
 * @hw: the chip; its engines have been halted
 *
 * What waits for its time stays where it is.
 *
 * Context: May sleep; bounded.
 */
void dgpu_sequencer_halt(struct dgpu_hw *hw)
{
	if (hw->sequencer)
		kthread_stop(hw->sequencer);
	hw->sequencer = NULL;
}

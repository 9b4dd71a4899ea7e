// SPDX-License-Identifier: GPL-2.0
/*
 * Copy engine, "copier" in the code: moves pages between system memory and device memory,
 * or clears them.
 *
 * It owns its queue, guarded by one lock.  A kernel thread of its own takes the lock for
 * one page at a time; everyone else (doorbell, reset, loss) takes the same lock and so
 * comes between two pages.  Nothing here knows of page tables, faults or the engines that
 * execute programs: a copy always ends, whatever those are waiting for.
 *
 * A copy moves QUEUED -> FIRST -> [DELAYED ->] SECOND -> DONE, and may be done from any of
 * them.  What is injected (delay, failure, hang) happens in the middle, when half of its
 * pages are written and half are not, because that is where a driver that looks at them
 * too early, or after an error, is seen.
 *
 * The principle: when a copy is completed, in whatever way, the engine has finished with
 * its pages.  It is taken off the queue under the lock that each page is copied under.
 */
#include <linux/bits.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/string.h>
#include "hw_private.h"

static bool dgpu_copier_is_hung(const struct dgpu_copier *copier)
{
	return dgpu_hw_knob(copier->hw, DGPU_KNOB_HANG_COPY) & BIT_ULL(copier->index);
}

/* ---- the end of a copy ---- */

static void dgpu_copier_end(struct dgpu_copier *copier, struct dgpu_hw_copy *copy, s32 error)
{
	struct dgpu_hw *hw = copier->hw;

	lockdep_assert_held(&copier->lock);

	list_del(&copy->node);
	WRITE_ONCE(copier->nr, copier->nr - 1);
	if (error)
		copier->errors++;
	copy->error = error;
	copy->state = DGPU_COPY_DONE;

	/* The driver may have it, and free it, from here on. */
	spin_lock(&hw->copied_lock);
	list_add_tail(&copy->node, &hw->copied);
	spin_unlock(&hw->copied_lock);
	dgpu_hw_raise_irq(hw, DGPU_HW_IRQ_COPY);
}

/**
 * dgpu_copier_end_all - end all copies that an engine has
 * @copier: the copy engine; may hang
 * @error: -ENODEV, or -ECANCELED, which counts as a reset
 *
 * When this returns the engine touches none of their pages any more.  Copies that are
 * submitted meanwhile may end, too.
 *
 * Context: Any. Takes the copy engine's lock.
 */
void dgpu_copier_end_all(struct dgpu_copier *copier, s32 error)
{
	struct dgpu_hw_copy *copy, *tmp;
	unsigned long flags;

	spin_lock_irqsave(&copier->lock, flags);
	/* Counted before anybody can see a copy that it ended. */
	if (error == -ECANCELED)
		copier->resets++;
	list_for_each_entry_safe(copy, tmp, &copier->queue, node)
		dgpu_copier_end(copier, copy, error);
	spin_unlock_irqrestore(&copier->lock, flags);
}

/* ---- copying ---- */

/*
 * One page.  A copy that is @spoiled leaves noise in the destination, which is what the
 * driver deserves that uses it after an error.
 */
static int dgpu_copier_page(struct dgpu_copier *copier, u32 op,
			    const struct dgpu_hw_copy_desc *desc, bool spoiled)
{
	struct dgpu_hw *hw = copier->hw;
	void *local, *system, *to;

	local = dgpu_memory_page(&hw->memory, desc->offset);
	if (!local)
		return -EIO;
	if (op == DGPU_HW_COPY_CLEAR) {
		if (spoiled)
			dgpu_memory_noise(local, desc->offset);
		else
			memset(local, 0, DGPU_PAGE_SIZE);
		return 0;
	}

	system = hw->ops->bus_map(hw->board, desc->bus);
	if (!system)
		return -EIO;
	to = op == DGPU_HW_COPY_IN ? local : system;
	if (spoiled)
		dgpu_memory_noise(to, desc->offset);
	else
		memcpy(to, to == local ? system : local, DGPU_PAGE_SIZE);
	hw->ops->bus_unmap(hw->board, desc->bus, system);
	return 0;
}

/* Returns false if the copy must stay where it is: in the middle. */
static bool dgpu_copier_passes_middle(struct dgpu_copier *copier, struct dgpu_hw_copy *copy,
				      ktime_t *next)
{
	u64 delay;

	if (copy->state == DGPU_COPY_FIRST) {
		delay = dgpu_hw_knob(copier->hw, DGPU_KNOB_COPY_DELAY_US);
		copy->due = delay ? dgpu_hw_due(delay) : 0;
		copy->state = DGPU_COPY_DELAYED;
	}
	if (copy->due && ktime_before(ktime_get(), copy->due)) {
		*next = copy->due;
		return false;
	}
	copy->state = DGPU_COPY_SECOND;
	return true;
}

/* One step of the oldest copy.  Returns false if there is nothing to do before @next. */
static bool dgpu_copier_step(struct dgpu_copier *copier, ktime_t *next)
{
	const struct dgpu_hw_copy_desc *desc;
	struct dgpu_hw_copy *copy;
	int error;

	lockdep_assert_held(&copier->lock);

	copy = list_first_entry_or_null(&copier->queue, struct dgpu_hw_copy, node);
	/* On a lost device the queue is emptied by who has lost it. */
	if (!copy || dgpu_hw_is_lost(copier->hw))
		return false;
	if (copy->state == DGPU_COPY_QUEUED) {
		copy->state = DGPU_COPY_FIRST;
		copier->pos = 0;
	}
	desc = &copy->descs[copier->pos];

	if (copier->pos >= copy->nr / 2) {
		if (dgpu_copier_is_hung(copier))
			return false;
		if (copy->state != DGPU_COPY_SECOND) {
			if (!dgpu_copier_passes_middle(copier, copy, next))
				return false;
			if (dgpu_hw_knob_take(copier->hw, DGPU_KNOB_COPY_FAIL)) {
				dgpu_copier_page(copier, copy->op, desc, true);
				dgpu_copier_end(copier, copy, -EIO);
				return true;
			}
		}
	}

	error = dgpu_copier_page(copier, copy->op, desc, false);
	if (error) {
		copier->bus_errors++;
		dgpu_copier_end(copier, copy, error);
		return true;
	}
	copier->pages++;
	copier->pos++;
	if (copier->pos == copy->nr)
		dgpu_copier_end(copier, copy, 0);
	return true;
}

/* All that can be done now.  Returns when there may be more to do. */
static ktime_t dgpu_copier_run(struct dgpu_copier *copier)
{
	ktime_t next = KTIME_MAX;
	bool more = true;

	while (more && !kthread_should_stop()) {
		spin_lock_irq(&copier->lock);
		more = dgpu_copier_step(copier, &next);
		spin_unlock_irq(&copier->lock);
		cond_resched();
	}
	return next;
}

static int dgpu_copier_main(void *data)
{
	struct dgpu_copier *copier = data;
	ktime_t next;

	for (;;) {
		/*
		 * A kick from here on is either seen below, before sleeping, or its cause
		 * is seen by the look at the queue that follows.
		 */
		smp_store_mb(copier->kicked, false);
		next = dgpu_copier_run(copier);

		set_current_state(TASK_IDLE);
		if (kthread_should_stop())
			break;
		if (!READ_ONCE(copier->kicked))
			schedule_hrtimeout(next == KTIME_MAX ? NULL : &next, HRTIMER_MODE_ABS);
		__set_current_state(TASK_RUNNING);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/* ---- registers ---- */

/**
 * dgpu_copier_kick - there may be something to do
 * @copier: the copy engine
 *
 * Context: Any.
 */
void dgpu_copier_kick(struct dgpu_copier *copier)
{
	/* What was changed before must be seen by who sees this. */
	smp_store_release(&copier->kicked, true);
	wake_up_process(copier->task);
}

/**
 * dgpu_copier_submit - put a copy in the queue
 * @copier: the copy engine
 * @copy: the copy, checked by the caller as far as no lock is needed
 *
 * Context: Any. Takes the copy engine's lock.
 * Return: 0; -ENODEV the device is lost.
 */
int dgpu_copier_submit(struct dgpu_copier *copier, struct dgpu_hw_copy *copy)
{
	unsigned long flags;

	spin_lock_irqsave(&copier->lock, flags);
	if (dgpu_hw_is_lost(copier->hw)) {
		spin_unlock_irqrestore(&copier->lock, flags);
		return -ENODEV;
	}
	copy->error = 0;
	copy->due = 0;
	copy->state = DGPU_COPY_QUEUED;
	list_add_tail(&copy->node, &copier->queue);
	WRITE_ONCE(copier->nr, copier->nr + 1);
	spin_unlock_irqrestore(&copier->lock, flags);

	dgpu_copier_kick(copier);
	return 0;
}

/**
 * dgpu_copier_stat - a copy engine's share of a counter
 * @copier: the copy engine
 * @stat: the counter
 *
 * Context: Any. Takes the copy engine's lock.
 * Return: the value; 0 for one that copy engines have no share in.
 */
u64 dgpu_copier_stat(struct dgpu_copier *copier, enum dgpu_stat_hw stat)
{
	unsigned long flags;
	u64 value = 0;

	spin_lock_irqsave(&copier->lock, flags);
	if (stat == DGPU_HW_COPIED)
		value = copier->pages;
	else if (stat == DGPU_HW_COPY_ERRORS)
		value = copier->errors;
	else if (stat == DGPU_HW_BUS_ERRORS)
		value = copier->bus_errors;
	else if (stat == DGPU_HW_RESETS)
		value = copier->resets;
	spin_unlock_irqrestore(&copier->lock, flags);
	return value;
}

/* ---- birth and end ---- */

/**
 * dgpu_copier_init - set up a copy engine that does not run yet
 * @copier: zeroed memory
 * @hw: the chip
 * @index: of this copy engine
 */
void dgpu_copier_init(struct dgpu_copier *copier, struct dgpu_hw *hw, unsigned int index)
{
	copier->hw = hw;
	copier->index = index;
	spin_lock_init(&copier->lock);
	INIT_LIST_HEAD(&copier->queue);
}

/**
 * dgpu_copier_start - let a copy engine run
 * @copier: the copy engine
 *
 * Context: May sleep.
 * Return: 0, or the errno of creating a kernel thread.
 */
int dgpu_copier_start(struct dgpu_copier *copier)
{
	struct task_struct *task;

	/* Not run but created: it can be kicked before it has started. */
	task = kthread_create(dgpu_copier_main, copier, "dgpu-copy/%u", copier->index);
	if (IS_ERR(task))
		return PTR_ERR(task);
	copier->task = task;
	wake_up_process(task);
	return 0;
}

/**
 * dgpu_copier_halt - stop a copy engine for good, wherever it is in a copy
 * @copier: the copy engine
 *
 * Copies that it still has are dropped: they are the driver's again.
 *
 * Context: May sleep; bounded by a page. After this returns it makes no access.
 */
void dgpu_copier_halt(struct dgpu_copier *copier)
{
	if (copier->task)
		kthread_stop(copier->task);
	copier->task = NULL;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks: the unit in which an address space is watched and locked.
 *
 * A block is a power of two of address space, made when the first device fault hits
 * it.  It has one interval notifier and one lock, the update lock.  The collision
 * count of the notifier is the block's own, so a fault in one block never has to be
 * repeated because of an munmap() in another.
 *
 *   made (first fault) -> in use -> dead (no VMA is left in it, or the last mirror
 *   of the mm has gone) -> freed
 *
 * How an invalidation and a fault meet (the kernel's collision-retry scheme):
 *
 *	fault path				notifier callback
 *	seq = mmu_interval_read_begin()
 *	read the CPU's page table
 *						lock
 *						 mmu_interval_set_seq()
 *						 drop translations (there are none)
 *						unlock
 *						the kernel changes its page table
 *	lock
 *	 mmu_interval_read_retry(seq): true
 *	unlock, begin again
 *
 * Required: a translation that was read before the invalidation is never written
 * after it.  The other order, callback after commit, finds the translation and drops
 * it, as both run under the lock.
 *
 * Locks: the update lock is the innermost of the core; see Documentation/locking.rst.
 */
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "../mmu_notifier_ctx/event_private.h"
#include "hmm_private.h"
#include "trace.h"

unsigned int hmm_block_shift = 24;
module_param_named(block_shift, hmm_block_shift, uint, 0444);
MODULE_PARM_DESC(block_shift,
		 "bytes of address space that share a lock and a notifier, as a power of two (21-26, default 24)");

/* How long after an unmap blocks are looked at. */
#define HMM_BLOCK_PRUNE_DELAY	(HZ)

/* One mirror's part in an invalidation. */
struct hmm_block_update {
	struct hmm_mirror *mirror;
	struct hmm_event event;
	u64 token;
};

/*
 * The owner is only set, and only means something, for these.  It is the pool and not
 * the device: pages may outlive the device that they were lost with.
 */
static bool hmm_block_event_is_own(const struct mmu_notifier_range *range,
				   const struct hmm_mirror *mirror)
{
	return (range->event == MMU_NOTIFY_MIGRATE ||
		range->event == MMU_NOTIFY_EXCLUSIVE) &&
	       range->owner == hmm_device_owner(mirror->device);
}

/* Ask the device of one mirror; returns true if it has to be waited for. */
static bool hmm_block_update_start(struct hmm_block *block,
				   struct hmm_block_update *u,
				   struct hmm_mirror *mirror,
				   const struct mmu_notifier_range *range)
{
	unsigned long start = max(range->start, block->start);
	unsigned long end = min(range->end, block->end);
	bool pending = block->pending & BIT(mirror->slot);
	const struct hmm_device_ops *ops = mirror->device->ops;
	enum hmm_event_peek peek = HMM_PEEK_UNKNOWN;
	struct hmm_event_facts facts = {};
	struct page *page = NULL;

	/* What a wait that failed has left behind is not in sight any more. */
	if (ops->peek && !pending) {
		page = ops->peek(mirror, start, end);
		if (!page)
			peek = HMM_PEEK_NONE;
		else if (!hmm_device_has_file(mirror->device, page))
			peek = HMM_PEEK_PAGE;
	}
	facts.own = hmm_block_event_is_own(range, mirror);
	facts.alone = mirror->device->caps.no_atomics ||
		      hmm_notes_any_exclusive(block, start);
	hmm_event_gather(&facts, range, start, end, page, peek);
	hmm_event_classify(&facts, &u->event);

	u->mirror = mirror;
	u->token = 0;
	if (pending)
		u->event.action = max(u->event.action, HMM_ACTION_DROP);
	trace_hmm_event(mirror, &u->event);
	if (u->event.action == HMM_ACTION_NONE) {
		hmm_mirror_count(mirror, HMM_STAT_EVENTS_IGNORED, 1);
		return false;
	}
	hmm_mirror_count(mirror, HMM_STAT_EVENTS, 1);
	atomic64_inc(&mirror->events[u->event.type]);
	u->token = ops->update(mirror, &u->event);
	if (!u->token)
		block->pending &= ~BIT(mirror->slot);
	return u->token;
}

/*
 * Do what the event asks for on every device of the address space: start all, then
 * wait, so that the slowest device sets the time and not their sum.
 */
static bool hmm_block_update(struct hmm_block *block,
			     const struct mmu_notifier_range *range)
{
	struct hmm_block_update updates[HMM_MM_MIRRORS];
	struct hmm_mirror *mirror;
	int i, nr = 0;
	bool done = true;

	lockdep_assert_held(&block->lock);
	for (i = 0; i < HMM_MM_MIRRORS; i++) {
		mirror = srcu_dereference(block->hmm->mirrors[i], &hmm_mirror_srcu);
		if (mirror && hmm_block_update_start(block, &updates[nr], mirror, range))
			nr++;
	}
	for (i = 0; i < nr; i++) {
		mirror = updates[i].mirror;
		if (mirror->device->ops->update_wait(mirror, &updates[i].event,
						     updates[i].token)) {
			block->pending &= ~BIT(mirror->slot);
			continue;
		}
		WARN_ON_ONCE(mmu_notifier_range_blockable(range));
		hmm_mirror_count(mirror, HMM_STAT_WOULD_BLOCK, 1);
		block->pending |= BIT(mirror->slot);
		done = false;
	}
	return done;
}

/* A non-blockable invalidation met a fault that is being committed. */
static void hmm_block_count_would_block(struct hmm_block *block)
{
	struct hmm_mirror *mirror;
	int i;

	for (i = 0; i < HMM_MM_MIRRORS; i++) {
		mirror = srcu_dereference(block->hmm->mirrors[i], &hmm_mirror_srcu);
		if (mirror)
			hmm_mirror_count(mirror, HMM_STAT_WOULD_BLOCK, 1);
	}
}

static bool hmm_block_invalidate(struct mmu_interval_notifier *mni,
				 const struct mmu_notifier_range *range,
				 unsigned long cur_seq)
{
	struct hmm_block *block = container_of(mni, struct hmm_block, notifier);
	bool done = true, dead;
	int idx;

	/* Threads first: a device that faults now would fault in vain. */
	if (range->event == MMU_NOTIFY_RELEASE)
		hmm_mm_stop(block->hmm);

	idx = srcu_read_lock(&hmm_mirror_srcu);
	if (mmu_notifier_range_blockable(range)) {
		mutex_lock(&block->lock);
	} else if (!mutex_trylock(&block->lock)) {
		hmm_block_count_would_block(block);
		srcu_read_unlock(&hmm_mirror_srcu, idx);
		return false;
	}
	mmu_interval_set_seq(mni, cur_seq);
	dead = block->dead;
	if (!dead) {
		hmm_exclusive_event(block, range);
		hmm_notes_event(block, range);
		done = hmm_block_update(block, range);
	}
	mutex_unlock(&block->lock);
	srcu_read_unlock(&hmm_mirror_srcu, idx);

	if (range->event == MMU_NOTIFY_UNMAP && !dead)
		queue_delayed_work(hmm_mm_wq, &block->hmm->prune, HMM_BLOCK_PRUNE_DELAY);
	return done;
}

static const struct mmu_interval_notifier_ops hmm_block_notifier_ops = {
	.invalidate = hmm_block_invalidate,
};

static struct hmm_block *hmm_block_create(struct hmm_mm *hmm, unsigned long addr)
{
	unsigned long size = 1UL << hmm->block_shift;
	struct hmm_block *block;
	int ret;

	block = kzalloc(struct_size(block, areas, size >> HMM_AREA_SHIFT),
			GFP_KERNEL_ACCOUNT);
	if (!block)
		return ERR_PTR(-ENOMEM);
	block->hmm = hmm;
	block->start = addr & ~(size - 1);
	block->end = block->start + size;
	block->users = 1;
	block->dead = true;	/* not yet alive: hmm_block_publish() */
	mutex_init(&block->lock);
	INIT_LIST_HEAD(&block->claims);
	ret = mmu_interval_notifier_insert(&block->notifier, hmm->mm, block->start,
					   size, &hmm_block_notifier_ops);
	if (ret) {
		kfree(block);
		return ERR_PTR(ret);
	}
	return block;
}

static void hmm_block_free(struct hmm_block *block)
{
	mmu_interval_notifier_remove(&block->notifier);
	hmm_notes_free(block);
	mutex_destroy(&block->lock);
	kfree(block);
}

static struct hmm_block *hmm_block_lookup(struct hmm_mm *hmm, unsigned long index)
{
	struct hmm_block *block;

	lockdep_assert_held(&hmm->blocks.xa_lock);
	block = xa_load(&hmm->blocks, index);
	if (block)
		block->users++;
	return block;
}

/*
 * Let a new block stand for its addresses, unless another one does.  Until then it is
 * dead: its notifier may be called already, and must not touch what the other one has
 * the lock of.  Returns the block that stands for them, with a use for the caller, or
 * NULL if the array needs memory.
 */
static struct hmm_block *hmm_block_publish(struct hmm_block *block)
{
	struct hmm_mm *hmm = block->hmm;
	unsigned long index = block->start >> hmm->block_shift;
	struct hmm_block *winner;

	mutex_lock(&block->lock);
	xa_lock(&hmm->blocks);
	winner = hmm_block_lookup(hmm, index);
	if (!winner && !xa_err(__xa_store(&hmm->blocks, index, block, GFP_NOWAIT))) {
		winner = block;
		block->dead = false;
	}
	xa_unlock(&hmm->blocks);
	mutex_unlock(&block->lock);
	return winner;
}

/**
 * hmm_block_find - get the block of an address, if there is one
 * @hmm: address space, alive (mmget())
 * @addr: any address
 *
 * Context: any that may take a spinlock.
 * Return: it, with a use for the caller, or NULL.
 */
struct hmm_block *hmm_block_find(struct hmm_mm *hmm, unsigned long addr)
{
	struct hmm_block *block;

	xa_lock(&hmm->blocks);
	block = hmm_block_lookup(hmm, addr >> hmm->block_shift);
	xa_unlock(&hmm->blocks);
	return block;
}

/**
 * hmm_block_get - get the block of an address, making it if there is none
 * @hmm: address space, alive (mmget())
 * @addr: address, in a mapping: only the end of one frees blocks
 *
 * Context: Process context, may sleep and allocate, no mm lock held.
 * Return: it, with a use for the caller, or ERR_PTR(-ENOMEM).
 */
struct hmm_block *hmm_block_get(struct hmm_mm *hmm, unsigned long addr)
{
	unsigned long index = addr >> hmm->block_shift;
	struct hmm_block *block, *winner;

	winner = hmm_block_find(hmm, addr);
	if (winner)
		return winner;

	block = hmm_block_create(hmm, addr);
	if (IS_ERR(block))
		return block;
	do {
		if (xa_reserve(&hmm->blocks, index, GFP_KERNEL_ACCOUNT)) {
			hmm_block_free(block);
			return ERR_PTR(-ENOMEM);
		}
		winner = hmm_block_publish(block);
	} while (!winner);
	if (winner != block)
		hmm_block_free(block);
	return winner;
}

/**
 * hmm_block_put - done with a block for now
 * @block: block
 *
 * Context: any that may take a spinlock.
 */
void hmm_block_put(struct hmm_block *block)
{
	struct xarray *blocks = &block->hmm->blocks;

	xa_lock(blocks);
	block->users--;
	xa_unlock(blocks);
}

/* Have one device do something for our own reasons. */
static void hmm_block_order(struct hmm_block *block, struct hmm_mirror *mirror,
			    const struct hmm_event *event)
{
	const struct hmm_device_ops *ops = mirror->device->ops;
	u64 token;

	lockdep_assert_held(&block->lock);
	trace_hmm_event(mirror, event);
	hmm_mirror_count(mirror, HMM_STAT_EVENTS, 1);
	atomic64_inc(&mirror->events[event->type]);
	token = ops->update(mirror, event);
	if (token)
		WARN_ON_ONCE(!ops->update_wait(mirror, event, token));
	block->pending &= ~BIT(mirror->slot);
}

/* Take all translations that one mirror has in a block away. */
static void hmm_block_drop(struct hmm_block *block, struct hmm_mirror *mirror,
			   enum hmm_event_type type, enum hmm_event_reason reason)
{
	struct hmm_event event = {
		.start = block->start,
		.end = block->end,
		.type = type,
		.action = HMM_ACTION_FREE,
		.reasons = BIT(reason),
		.flags = HMM_EVENT_BLOCKABLE,
	};

	hmm_block_order(block, mirror, &event);
}

/**
 * hmm_block_forget - have all devices drop what they map of a range
 * @block: block, used by the caller
 * @start: first byte
 * @end: first byte after it, in the block
 *
 * They may map it again at once: what makes them map it differently has been changed
 * under the update lock before.
 *
 * Context: Process context, may sleep, does not allocate.
 */
void hmm_block_forget(struct hmm_block *block, unsigned long start, unsigned long end)
{
	struct hmm_event event = {
		.start = start,
		.end = end,
		.type = HMM_EVENT_EXCLUSIVE,
		.action = HMM_ACTION_DROP,
		.reasons = BIT(HMM_REASON_EXCLUSIVE),
		.flags = HMM_EVENT_BLOCKABLE,
	};
	struct hmm_mirror *mirror;
	int i, idx;

	idx = srcu_read_lock(&hmm_mirror_srcu);
	mutex_lock(&block->lock);
	for (i = 0; i < HMM_MM_MIRRORS; i++) {
		mirror = srcu_dereference(block->hmm->mirrors[i], &hmm_mirror_srcu);
		if (mirror)
			hmm_block_order(block, mirror, &event);
	}
	mutex_unlock(&block->lock);
	srcu_read_unlock(&hmm_mirror_srcu, idx);
}

/**
 * hmm_block_drop_mirror - take all translations of one mirror away
 * @hmm: address space
 * @mirror: mirror that is DYING, so that none are added
 *
 * Context: Process context, may sleep, does not allocate.
 */
void hmm_block_drop_mirror(struct hmm_mm *hmm, struct hmm_mirror *mirror)
{
	struct hmm_block *block;
	unsigned long index;

	xa_lock(&hmm->blocks);
	xa_for_each(&hmm->blocks, index, block) {
		block->users++;
		xa_unlock(&hmm->blocks);

		mutex_lock(&block->lock);
		hmm_block_drop(block, mirror, HMM_EVENT_RELEASE, HMM_REASON_EXIT);
		mutex_unlock(&block->lock);

		xa_lock(&hmm->blocks);
		block->users--;
	}
	xa_unlock(&hmm->blocks);
}

/*
 * Take a block out of service if nobody uses it.  Returns false if somebody does.
 *
 * The devices must forget what they have there, although there is no VMA: an munmap()
 * may have taken the VMA out and not have called us yet.  They do so while the block
 * still stands for its addresses; a fault that takes a use of it meanwhile waits for its
 * lock and finds it empty.  Once the index is free, a fault may make a new block for the
 * same addresses, while the notifier of this one may still be called: dead, it touches
 * nothing that it no longer has the lock of.
 *
 *	munmap			prune			fault
 *	takes the VMA out
 *				lock, no users
 *				 drop; erase, dead
 *				unlock
 *	old block's callback				(a mapping is made again)
 *	 dead: return					makes a new block
 *							commits under its lock
 */
static bool hmm_block_retire(struct hmm_block *block)
{
	struct hmm_mm *hmm = block->hmm;
	struct hmm_mirror *mirror;
	int i, idx;

	idx = srcu_read_lock(&hmm_mirror_srcu);
	mutex_lock(&block->lock);
	for (i = 0; i < HMM_MM_MIRRORS; i++) {
		mirror = srcu_dereference(hmm->mirrors[i], &hmm_mirror_srcu);
		if (mirror)
			hmm_block_drop(block, mirror, HMM_EVENT_UNMAP, HMM_REASON_MUNMAP);
	}
	xa_lock(&hmm->blocks);
	if (!block->users) {
		__xa_erase(&hmm->blocks, block->start >> hmm->block_shift);
		block->dead = true;
	}
	xa_unlock(&hmm->blocks);
	mutex_unlock(&block->lock);
	srcu_read_unlock(&hmm_mirror_srcu, idx);
	return block->dead;
}

/* A hint, with no lock that would keep it true.  -EBUSY: cannot be told now. */
static int hmm_block_is_vacant(const struct hmm_block *block)
{
	struct mm_struct *mm = block->hmm->mm;
	struct vm_area_struct *vma;
	bool vacant;

	if (READ_ONCE(block->users) || !mmap_read_trylock(mm))
		return -EBUSY;
	vma = find_vma(mm, block->start);
	vacant = !vma || vma->vm_start >= block->end;
	mmap_read_unlock(mm);
	return vacant;
}

/**
 * hmm_block_prune - remove blocks of address space that is not in use any more
 * @work: hmm_mm.prune
 *
 * Runs a while after an unmap, so that a process which maps and unmaps all the time is
 * not slowed down.  That a block has no VMA is only a hint; hmm_block_retire() is right
 * whatever the process does meanwhile.
 */
void hmm_block_prune(struct work_struct *work)
{
	struct hmm_mm *hmm = container_of(to_delayed_work(work), struct hmm_mm, prune);
	struct hmm_block *block;
	unsigned long index;
	bool again = false;
	int ret;

	if (!mmget_not_zero(hmm->mm))
		return;
	/* Only this work and the end of @hmm, which waits for it, free blocks. */
	xa_for_each(&hmm->blocks, index, block) {
		ret = hmm_block_is_vacant(block);
		if (ret > 0 && hmm_block_retire(block))
			hmm_block_free(block);
		else if (ret)
			again = true;
	}
	if (again)
		queue_delayed_work(hmm_mm_wq, &hmm->prune, HMM_BLOCK_PRUNE_DELAY);
	mmput_async(hmm->mm);
}

/**
 * hmm_block_remove_all - free all blocks
 * @hmm: address space that no mirror and no fault uses
 *
 * Context: Process context, waits for notifier callbacks that run.
 */
void hmm_block_remove_all(struct hmm_mm *hmm)
{
	struct hmm_block *block;
	unsigned long index;

	xa_for_each(&hmm->blocks, index, block) {
		WARN_ON_ONCE(block->users);
		xa_erase(&hmm->blocks, index);
		hmm_block_free(block);
	}
}

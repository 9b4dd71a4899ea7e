// SPDX-License-Identifier: GPL-2.0
/*
 * What the mirrors of one mm share: struct hmm_mm.
 *
 * It exists as long as a mirror or a fault in flight needs it, which may be longer
 * than the address space (the process has exited, a file is still open) and never
 * keeps the address space alive: it holds the mm_struct only.
 *
 * All devices of a process share its blocks and so its notifiers: an munmap() costs
 * one callback however many devices there are, and that callback can start the
 * work on all of them before it waits for the first.
 *
 * States: none but its references.  Locks: hmm_mm_table_lock guards the table; hmm->lock
 * guards the slots.  No notifier callback takes a reference.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "hmm_private.h"

DEFINE_HASHTABLE(hmm_mm_table, 6);
DEFINE_MUTEX(hmm_mm_table_lock);
DEFINE_SRCU(hmm_mirror_srcu);

static void hmm_mm_notify_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	hmm_mm_stop(container_of(mn, struct hmm_mm, notifier));
}

static const struct mmu_notifier_ops hmm_mm_notifier_ops = {
	.release = hmm_mm_notify_release,
};

static struct hmm_mm *hmm_mm_lookup(struct mm_struct *mm)
{
	struct hmm_mm *hmm;

	lockdep_assert_held(&hmm_mm_table_lock);
	hash_for_each_possible(hmm_mm_table, hmm, node, (unsigned long)mm)
		if (hmm->mm == mm && kref_get_unless_zero(&hmm->ref))
			return hmm;
	return NULL;
}

/*
 * Both kinds of notifier at once, although there is no block yet: the first of a kind
 * takes every lock of the mm, and fails on any signal, which is nothing for a fault.
 */
static int hmm_mm_notify(struct hmm_mm *hmm)
{
	int ret;

	if (mmap_write_lock_killable(hmm->mm))
		return -EINTR;
	ret = __mmu_notifier_register(NULL, hmm->mm);
	if (!ret)
		ret = __mmu_notifier_register(&hmm->notifier, hmm->mm);
	mmap_write_unlock(hmm->mm);
	return ret;
}

static struct hmm_mm *hmm_mm_create(struct mm_struct *mm)
{
	struct hmm_mm *hmm;
	int ret;

	hmm = kzalloc(sizeof(*hmm), GFP_KERNEL_ACCOUNT);
	if (!hmm)
		return ERR_PTR(-ENOMEM);
	hmm->mm = mm;
	kref_init(&hmm->ref);
	mutex_init(&hmm->lock);
	xa_init(&hmm->blocks);
	hmm->block_shift = hmm_block_shift;
	INIT_DELAYED_WORK(&hmm->prune, hmm_block_prune);
	init_waitqueue_head(&hmm->detached);
	hmm->notifier.ops = &hmm_mm_notifier_ops;
	ret = hmm_mm_notify(hmm);
	if (ret) {
		kfree(hmm);
		return ERR_PTR(ret);
	}
	return hmm;
}

/* Nothing uses it any more.  Sleeps for notifiers that are running. */
static void hmm_mm_destroy(struct hmm_mm *hmm)
{
	/* For good: callbacks still run, and queue it, until the blocks have gone. */
	disable_delayed_work_sync(&hmm->prune);
	hmm_block_remove_all(hmm);
	xa_destroy(&hmm->blocks);
	/* Waits for hmm_mm_notify_release(); drops the mm_struct. */
	mmu_notifier_unregister(&hmm->notifier, hmm->mm);
	kfree(hmm);
}

/**
 * hmm_mm_get - get the shared state of an mm, making it if there is none
 * @mm: address space that the caller keeps alive (mmget())
 *
 * Context: Process context.  Takes mmap_lock for writing when it makes one, but
 * not under hmm_mm_table_lock: a process that sits on its mmap_lock (a debugger, a
 * userfaultfd handler) must not stop others from opening a device.
 * Return: it, with a reference for the caller, or ERR_PTR: -ENOMEM, -EINTR a signal.
 */
struct hmm_mm *hmm_mm_get(struct mm_struct *mm)
{
	struct hmm_mm *hmm, *other;

	mutex_lock(&hmm_mm_table_lock);
	hmm = hmm_mm_lookup(mm);
	mutex_unlock(&hmm_mm_table_lock);
	if (hmm)
		return hmm;

	hmm = hmm_mm_create(mm);
	if (IS_ERR(hmm))
		return hmm;

	mutex_lock(&hmm_mm_table_lock);
	other = hmm_mm_lookup(mm);
	if (!other)
		hash_add(hmm_mm_table, &hmm->node, (unsigned long)mm);
	mutex_unlock(&hmm_mm_table_lock);
	if (other) {
		hmm_mm_destroy(hmm);
		return other;
	}
	return hmm;
}

static void hmm_mm_release(struct kref *ref)
{
	struct hmm_mm *hmm = container_of(ref, struct hmm_mm, ref);

	lockdep_assert_held(&hmm_mm_table_lock);
	hash_del(&hmm->node);
	mutex_unlock(&hmm_mm_table_lock);
	hmm_mm_destroy(hmm);
}

/**
 * hmm_mm_put - drop a reference
 * @hmm: shared state
 *
 * Context: Process context, no mm lock held, not in a notifier callback: the last
 * reference removes the notifiers and waits for those that run.
 */
void hmm_mm_put(struct hmm_mm *hmm)
{
	kref_put_mutex(&hmm->ref, hmm_mm_release, &hmm_mm_table_lock);
}

/**
 * hmm_mm_stop - the address space goes away: stop the threads of all devices
 * @hmm: shared state
 *
 * Called before the first translation is taken away for good, by whichever notifier
 * the kernel calls first; the others find nothing left to do.
 *
 * Context: Notifier callback of mm teardown, may sleep.
 */
void hmm_mm_stop(struct hmm_mm *hmm)
{
	struct hmm_mirror *mirror;
	int i, idx;

	idx = srcu_read_lock(&hmm_mirror_srcu);
	for (i = 0; i < HMM_MM_MIRRORS; i++) {
		mirror = srcu_dereference(hmm->mirrors[i], &hmm_mirror_srcu);
		if (mirror)
			hmm_mirror_stop(mirror, -ESRCH);
	}
	srcu_read_unlock(&hmm_mirror_srcu, idx);
}

/**
 * hmm_mm_attach - make a mirror reachable for notifiers
 * @hmm: shared state; the reference that the caller has becomes the mirror's
 * @mirror: new mirror
 *
 * Publishes: from here on the mirror is LIVE and its operations may be called.
 *
 * Return: 0; -EEXIST if @hmm has a mirror on the same device, -EAGAIN if it is about to
 * be gone; -EBUSY if all slots are taken.
 */
int hmm_mm_attach(struct hmm_mm *hmm, struct hmm_mirror *mirror)
{
	struct hmm_mirror *other;
	int i, slot = -1, ret = 0;

	mutex_lock(&hmm->lock);
	for (i = 0; i < HMM_MM_MIRRORS; i++) {
		other = rcu_dereference_protected(hmm->mirrors[i],
						  lockdep_is_held(&hmm->lock));
		if (!other)
			slot = slot < 0 ? i : slot;
		else if (other->device == mirror->device)
			ret = hmm_mirror_is_live(other) ? -EEXIST : -EAGAIN;
	}
	if (!ret && slot < 0)
		ret = -EBUSY;
	if (!ret) {
		mirror->hmm = hmm;
		mirror->slot = slot;
		rcu_assign_pointer(hmm->mirrors[slot], mirror);
		hmm_mirror_set_state(mirror, HMM_MIRROR_LIVE);
	}
	mutex_unlock(&hmm->lock);
	return ret;
}

/**
 * hmm_mm_detach - make a mirror unreachable
 * @hmm: shared state
 * @mirror: mirror that maps nothing any more
 *
 * Context: Process context; waits for every notifier callback and every fault that
 * may be calling an operation of @mirror.
 */
void hmm_mm_detach(struct hmm_mm *hmm, struct hmm_mirror *mirror)
{
	mutex_lock(&hmm->lock);
	RCU_INIT_POINTER(hmm->mirrors[mirror->slot], NULL);
	mutex_unlock(&hmm->lock);
	synchronize_srcu(&hmm_mirror_srcu);
	mutex_lock(&hmm->lock);
	hmm_mirror_set_state(mirror, HMM_MIRROR_DEAD);
	mutex_unlock(&hmm->lock);
	wake_up_all(&hmm->detached);
}

/**
 * hmm_mm_has_device - is there a mirror on a device?
 * @hmm: shared state
 * @device: device
 *
 * Return: true if a slot has one.
 */
bool hmm_mm_has_device(struct hmm_mm *hmm, const struct hmm_device *device)
{
	struct hmm_mirror *mirror;
	bool found = false;
	int i, idx;

	idx = srcu_read_lock(&hmm_mirror_srcu);
	for (i = 0; i < HMM_MM_MIRRORS && !found; i++) {
		mirror = srcu_dereference(hmm->mirrors[i], &hmm_mirror_srcu);
		found = mirror && mirror->device == device;
	}
	srcu_read_unlock(&hmm_mirror_srcu, idx);
	return found;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a mirror.
 *
 *   NEW ------> LIVE ------> DYING ------> DEAD
 *    hmm_mirror_  |  mm exits,    |  hmm_mirror_unregister(),
 *    register()   |  or ->DEAD    |  hmm_device_unregister()
 *
 * Who may enter a state: LIVE only registration, DYING the first of the mm's
 * teardown and the mirror's release (it calls ops->stop(), so that happens once),
 * DEAD only the release.  States change under hmm_mm.lock; anyone may look at them
 * without it, and then knows only that the mirror was at least that far.
 *
 * The principle: a mirror is thin.  The notifier path takes no reference on it; it is
 * in a slot of its hmm_mm, and taking it out is followed by a grace period.
 */
#include <linux/cred.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include "hmm_private.h"
#include "trace.h"

/* Legal moves: bit mask of the states that may follow. */
static const u8 hmm_mirror_moves[HMM_MIRROR_NR_STATES] = {
	[HMM_MIRROR_NEW]	= BIT(HMM_MIRROR_LIVE),
	[HMM_MIRROR_LIVE]	= BIT(HMM_MIRROR_DYING),
	[HMM_MIRROR_DYING]	= BIT(HMM_MIRROR_DEAD),
	[HMM_MIRROR_DEAD]	= 0,
};

static const char * const hmm_mirror_stat_names[] = {
	[HMM_STAT_FAULTS]		= "faults",
	[HMM_STAT_FAULTS_MERGED]	= "faults_merged",
	[HMM_STAT_FAULTS_FAILED]	= "faults_failed",
	[HMM_STAT_PAGES_MAPPED]		= "pages_mapped",
	[HMM_STAT_HUGE_MAPPED]		= "huge_mapped",
	[HMM_STAT_AROUND]		= "around",
	[HMM_STAT_CPU_FAULTS]		= "cpu_faults",
	[HMM_STAT_RETRIES]		= "retries",
	[HMM_STAT_EVENTS]		= "events",
	[HMM_STAT_EVENTS_IGNORED]	= "events_ignored",
	[HMM_STAT_WOULD_BLOCK]		= "would_block",
	[HMM_STAT_DIRTY]		= "dirty",
	[HMM_STAT_MOVED_IN]		= "moved_in",
	[HMM_STAT_MOVED_OUT]		= "moved_out",
	[HMM_STAT_MOVE_FAILED]		= "move_failed",
	[HMM_STAT_EXCLUSIVE]		= "exclusive",
};

static_assert(ARRAY_SIZE(hmm_mirror_stat_names) == HMM_STAT_NR);

/**
 * hmm_mirror_set_state - the one place where a mirror changes its state
 * @mirror: mirror
 * @state: next state
 */
void hmm_mirror_set_state(struct hmm_mirror *mirror, enum hmm_mirror_state state)
{
	enum hmm_mirror_state old = mirror->state;

	lockdep_assert_held(&mirror->hmm->lock);
	WARN_ON_ONCE(!(hmm_mirror_moves[old] & BIT(state)));
	/* Pairs with hmm_mirror_state(): who sees DYING sees stop_error too. */
	smp_store_release(&mirror->state, state);
	trace_hmm_mirror_state(mirror, old, state);
}

/**
 * hmm_mirror_stop - the mirror serves no more faults; stop its device threads
 * @mirror: mirror that has been LIVE
 * @error: what faults get from now on
 *
 * Context: May sleep.  In an SRCU read section of hmm_mirror_srcu, or by who releases the
 * mirror.
 * Return: true if the caller was the first and the threads are stopped; otherwise
 * somebody else has stopped them or is about to.
 */
bool hmm_mirror_stop(struct hmm_mirror *mirror, int error)
{
	bool first;

	mutex_lock(&mirror->hmm->lock);
	first = mirror->state == HMM_MIRROR_LIVE;
	if (first) {
		mirror->stop_error = error;
		hmm_mirror_set_state(mirror, HMM_MIRROR_DYING);
	}
	mutex_unlock(&mirror->hmm->lock);
	/* Outside of the lock, for drivers take locks of their own in it. */
	if (first)
		mirror->device->ops->stop(mirror);
	return first;
}

static int hmm_mirror_attach(struct hmm_mirror *mirror, struct hmm_mm *hmm)
{
	struct hmm_device *device = mirror->device;
	int ret;

	mutex_lock(&device->lock);
	if (device->dying)
		ret = -ENODEV;
	else
		ret = hmm_mm_attach(hmm, mirror);
	if (!ret) {
		refcount_inc(&device->users);
		list_add_tail(&mirror->node, &device->mirrors);
	}
	mutex_unlock(&device->lock);
	return ret;
}

/**
 * hmm_mirror_register - mirror an address space on a device
 * @mirror: zeroed, embedded in the driver's structure
 * @device: registered device
 * @mm: address space; one mirror per device and mm
 *
 * If another mirror of the same device and mm is being unregistered, waits for its end.
 *
 * Context: Process context, may sleep, takes mmap_lock for writing.  Called with no
 * lock that an operation of the driver takes.
 * Return: 0, and operations may be called from before it returns; -EINVAL @mirror is
 * not new; -ESRCH the address space is gone; -EEXIST the device mirrors it already;
 * -EBUSY it is mirrored on 8 devices; -ENODEV the device is being unregistered;
 * -ENOMEM; -EINTR a signal is pending, not only a fatal one: a system call returns
 * -ERESTARTSYS then.  On failure @mirror is as it was.
 */
int hmm_mirror_register(struct hmm_mirror *mirror, struct hmm_device *device,
			struct mm_struct *mm)
{
	struct hmm_mm *hmm;
	int ret;

	if (mirror->state != HMM_MIRROR_NEW || mirror->hmm)
		return -EINVAL;
	if (!mmget_not_zero(mm))
		return -ESRCH;
	hmm = hmm_mm_get(mm);
	if (IS_ERR(hmm)) {
		ret = PTR_ERR(hmm);
		goto out_mm;
	}

	mirror->device = device;
	mirror->mm = mm;
	mirror->cred = get_current_cred();
	init_completion(&mirror->dead);
	while ((ret = hmm_mirror_attach(mirror, hmm)) == -EAGAIN)
		if (wait_event_killable(hmm->detached, !hmm_mm_has_device(hmm, device))) {
			ret = -EINTR;
			break;
		}
	if (ret) {
		mirror->device = NULL;
		mirror->mm = NULL;
		put_cred(mirror->cred);
		mirror->cred = NULL;
		hmm_mm_put(hmm);
	}
out_mm:
	mmput(mm);
	return ret;
}
EXPORT_SYMBOL_NS(hmm_mirror_register, "HMM");

/**
 * hmm_mirror_release - take a mirror to DEAD
 * @mirror: mirror that the caller has taken off its device's list: the list is the
 *	claim, so this happens once
 */
void hmm_mirror_release(struct hmm_mirror *mirror)
{
	struct hmm_device *device = mirror->device;
	struct hmm_mm *hmm = mirror->hmm;

	/* The teardown of the mm may be in ops->stop(), in a read section. */
	if (!hmm_mirror_stop(mirror, -ENODEV))
		synchronize_srcu(&hmm_mirror_srcu);
	/*
	 * While invalidations still arrive, so that the pages which the device maps,
	 * and reports as dirty now, are known to be there.
	 */
	hmm_block_drop_mirror(hmm, mirror);
	hmm_mm_detach(hmm, mirror);
	put_cred(mirror->cred);
	/* The owner may free the mirror as soon as it is told. */
	complete_all(&mirror->dead);
	hmm_mm_put(hmm);
	hmm_device_put(device);
}

/**
 * hmm_mirror_unregister - stop mirroring
 * @mirror: a mirror; one that was never registered is left alone
 *
 * Stops the device threads (unless that has happened), takes all translations away
 * and releases the mirror.  Does not wait for faults in flight, which may sit in a
 * userfaultfd handler for as long as it likes: they fail with -ENODEV and do not
 * touch @mirror any more after this returns, other than to count.  The
 * driver keeps @mirror and its device in memory until its calls of
 * hmm_mirror_fault() are back, and does not wait for them where a file is closed: the
 * exiting task may be the one that would close the userfaultfd afterwards.
 *
 * Context: Process context, may sleep, bounded by the device and by one pass of the
 * mm's running invalidations for each block; no lock held that an operation of the
 * driver takes, no mm lock, not from an operation.  Cannot fail, does not allocate.
 * Return: nothing.  After it the mirror is DEAD, the device maps nothing of it,
 * and no operation on it runs or will run.
 */
void hmm_mirror_unregister(struct hmm_mirror *mirror)
{
	struct hmm_device *device = mirror->device;
	bool claimed;

	if (!device)
		return;
	mutex_lock(&device->lock);
	claimed = !list_empty(&mirror->node);
	list_del_init(&mirror->node);
	mutex_unlock(&device->lock);
	if (claimed)
		hmm_mirror_release(mirror);
	else
		wait_for_completion(&mirror->dead);
}
EXPORT_SYMBOL_NS(hmm_mirror_unregister, "HMM");

/**
 * hmm_mirror_state - look at the state of a mirror
 * @mirror: mirror
 *
 * Context: any.
 * Return: a state that it has reached; it may be further already.
 */
enum hmm_mirror_state hmm_mirror_state(const struct hmm_mirror *mirror)
{
	/* Pairs with hmm_mirror_set_state(). */
	return smp_load_acquire(&mirror->state);
}
EXPORT_SYMBOL_NS(hmm_mirror_state, "HMM");

/**
 * hmm_mirror_dirty_page - the device has written to a page
 * @mirror: mirror whose device it was
 * @page: a page that the mirror maps writable, any subpage of a huge one
 *
 * A page can be clean on the CPU's side although the device may write to it (after
 * MADV_FREE, for one), so a device write that is not reported is a lost write.  The
 * driver of a device that has no dirty bits reports every page that it mapped writable.
 *
 * Context: In ops->update(), ops->update_wait() or ops->map(): while the translation
 * is being taken away, which is what keeps the page in its place.  Does not sleep.
 */
void hmm_mirror_dirty_page(struct hmm_mirror *mirror, struct page *page)
{
	/* A page of a file is dirty where it is in the page cache, or read only here. */
	if (!hmm_device_has_file(mirror->device, page))
		folio_mark_dirty(page_folio(page));
	hmm_mirror_count(mirror, HMM_STAT_DIRTY, 1);
}
EXPORT_SYMBOL_NS(hmm_mirror_dirty_page, "HMM");

/**
 * hmm_mirror_dirty_pages - the device has written to some of these pages
 * @mirror: mirror whose device it was
 * @page: the first of neighbouring pages that the mirror maps by one writable entry
 * @nr: how many
 *
 * For entries that are larger than what is below them.
 *
 * Context: as hmm_mirror_dirty_page().
 */
void hmm_mirror_dirty_pages(struct hmm_mirror *mirror, struct page *page, unsigned long nr)
{
	unsigned long i, step;

	for (i = 0; i < nr; i += step) {
		step = hmm_device_has_file(mirror->device, page + i) ? 1 :
		       folio_nr_pages(page_folio(page + i));
		hmm_mirror_dirty_page(mirror, page + i);
	}
}
EXPORT_SYMBOL_NS(hmm_mirror_dirty_pages, "HMM");

/**
 * hmm_mirror_stat - read a counter
 * @mirror: mirror
 * @stat: counter
 *
 * Context: any.
 * Return: its value; 0 for a counter that does not exist.
 */
u64 hmm_mirror_stat(const struct hmm_mirror *mirror, enum hmm_mirror_stat stat)
{
	if ((unsigned int)stat >= HMM_STAT_NR)
		return 0;
	return atomic64_read(&mirror->stats[stat]);
}
EXPORT_SYMBOL_NS(hmm_mirror_stat, "HMM");

/**
 * hmm_mirror_event_count - how many invalidations of a type were delivered
 * @mirror: mirror
 * @type: type
 *
 * Context: any.
 * Return: their number; 0 for a type that does not exist.
 */
u64 hmm_mirror_event_count(const struct hmm_mirror *mirror, enum hmm_event_type type)
{
	if ((unsigned int)type >= HMM_EVENT_NR)
		return 0;
	return atomic64_read(&mirror->events[type]);
}
EXPORT_SYMBOL_NS(hmm_mirror_event_count, "HMM");

/**
 * hmm_mirror_stat_name - name of a counter
 * @stat: counter
 *
 * Context: any.
 * Return: a constant string, "?" for a counter that does not exist.
 */
const char *hmm_mirror_stat_name(enum hmm_mirror_stat stat)
{
	if ((unsigned int)stat >= HMM_STAT_NR)
		return "?";
	return hmm_mirror_stat_names[stat];
}
EXPORT_SYMBOL_NS(hmm_mirror_stat_name, "HMM");

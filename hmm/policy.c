// SPDX-License-Identifier: GPL-2.0
/*
 * Policy: when do pages that a device faults on move to it?
 *
 * The process has a policy, and a range of addresses may have a hint; from these and the
 * kind of access comes a yes or no for a page: hmm_policy_moves().  With a page that is
 * to move go those near it, if they may move as well: as many as the hint says, or a
 * window that grows while the device goes through memory in order.
 *
 * The principle: a move is an attempt.  Whatever it comes to, the pages are mapped where
 * they are afterwards, and the fault has its result from that.  Nothing is moved that is
 * on the device already: to look first is cheaper than to take the translations of a
 * whole window away.
 *
 * Documentation/policy.rst has the table and the reasons.
 *
 * Locks: the update lock of the block while the notes are read, mmap_lock while the
 * pages are looked at, and none while they move.
 */
#include <kunit/visibility.h>
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include "fault_private.h"

/* How much moves on a fault without a hint: at first, and in the middle of a stream. */
#define HMM_POLICY_WINDOW_MIN	(64UL << 10)
#define HMM_POLICY_WINDOW_MAX	PMD_SIZE

/* Looks that collide with invalidations before nothing is moved. */
#define HMM_POLICY_LOOKS	8

/*
 * Attempts at pages that another fault may be moving, and the pause between the first two,
 * in microseconds; it doubles each time.
 */
#define HMM_POLICY_TRIES	8
#define HMM_POLICY_PAUSE	50

/**
 * hmm_policy_moves - does a page move to a device that faults on it?
 * @policy: policy of the process
 * @hint: hint for the page; all zero: none
 * @device: hmm_device.id of the device
 * @write: the device wants to write
 *
 * Context: any.
 * Return: true if it does.
 */
bool hmm_policy_moves(enum hmm_policy policy, const struct hmm_note_hint *hint,
		      u32 device, bool write)
{
	if (policy == HMM_POLICY_NEVER || hint->prefer == HMM_PREFER_SYSTEM ||
	    hint->flags & (HMM_HINT_IN_PLACE | HMM_HINT_NO_AUTO))
		return false;
	if (hint->flags & HMM_HINT_READ_MOSTLY && !write)
		return false;
	if (hint->prefer == HMM_PREFER_DEVICE)
		return hint->device == device;
	return hint->flags & HMM_HINT_AUTO || policy == HMM_POLICY_TOUCH;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_policy_moves);

/**
 * hmm_policy_page_moves - does a page of a run move now?
 * @run: run, with its block
 * @i: index of the page
 * @hint: hint for it
 * @write: the device wants to write
 *
 * Context: under the update lock.
 * Return: true if it does.
 */
bool hmm_policy_page_moves(const struct hmm_fault_run *run, unsigned long i,
			   const struct hmm_note_hint *hint, bool write)
{
	enum hmm_policy policy = READ_ONCE(run->call.hmm->policy);

	if (run->pages[i].was_local)
		return policy != HMM_POLICY_NEVER &&
		       !(run->pages[i].file &&
			 hmm_notes_is_held(run->block, hmm_fault_run_addr(run, i)));
	return hmm_policy_moves(policy, hint, run->call.mirror->device->id, write) &&
	       !hmm_notes_is_held(run->block, hmm_fault_run_addr(run, i));
}

/*
 * The window of a fault that no hint has a granularity for.  Windows are aligned to
 * their size, so a stream's next fault is where the last window ended.
 */
static unsigned long hmm_policy_window(struct hmm_block *block, unsigned long addr)
{
	unsigned long window = block->stream_window;

	lockdep_assert_held(&block->lock);
	if (addr < block->stream_next && block->stream_next - addr <= window)
		return window;
	if (window && addr - block->stream_next < window)
		window = min(2 * window, HMM_POLICY_WINDOW_MAX);
	else
		window = HMM_POLICY_WINDOW_MIN;
	block->stream_window = window;
	block->stream_next = ALIGN_DOWN(addr, window) + window;
	return window;
}

/* Make the run longer: to [start, end).  Pages that are new in it are not asked for. */
static void hmm_policy_widen(struct hmm_fault_run *run, unsigned long start,
			     unsigned long end)
{
	unsigned long before = (run->start - start) >> PAGE_SHIFT;
	unsigned long nr = (end - start) >> PAGE_SHIFT;
	struct hmm_fault_page *pages = run->pages;

	memmove(&pages[before], pages, run->nr * sizeof(*pages));
	memset(pages, 0, before * sizeof(*pages));
	memset(&pages[before + run->nr], 0, (nr - before - run->nr) * sizeof(*pages));
	run->start = start;
	run->nr = nr;
}

/*
 * Mark what is to move with the pages that are asked for in run->near, and in run->fill
 * if a hint says that it moves, and so comes into being, as one.  The run grows to have
 * all of it; one that is part of two areas stays as it is.
 */
static bool hmm_policy_plan(struct hmm_fault_run *run)
{
	unsigned long base = ALIGN_DOWN(run->start, PMD_SIZE), limit = base + PMD_SIZE;
	unsigned long from = run->start, to = hmm_fault_run_end(run), covered = 0;
	unsigned long i, addr, window, first, last;
	struct hmm_block *block = run->block;
	struct hmm_note_hint hint;
	bool write;

	lockdep_assert_held(&block->lock);
	if (to > limit) {
		base = from;
		limit = to;
	}
	bitmap_zero(run->near, HMM_FAULT_RUN_PAGES);
	bitmap_zero(run->fill, HMM_FAULT_RUN_PAGES);
	for (i = 0; i < run->nr; i++) {
		const struct hmm_fault_page *page = &run->pages[i];

		if (!page->want || page->error || page->done || !page->movable)
			continue;
		addr = hmm_fault_run_addr(run, i);
		hint = hmm_notes_hint(block, addr);
		write = page->want & HMM_FAULT_WANT_WRITE;
		if ((addr < covered && !hint.granularity) ||
		    !hmm_policy_page_moves(run, i, &hint, write))
			continue;
		if (page->was_local)
			window = PAGE_SIZE;
		else if (hint.granularity)
			window = 1UL << hint.granularity;
		else
			window = hmm_policy_window(block, addr);
		first = max(ALIGN_DOWN(addr, window), base);
		last = min(ALIGN_DOWN(addr, window) + window, limit);
		bitmap_set(run->near, (first - base) >> PAGE_SHIFT,
			   (last - first) >> PAGE_SHIFT);
		if (write && hint.granularity)
			bitmap_set(run->fill, (first - base) >> PAGE_SHIFT,
				   (last - first) >> PAGE_SHIFT);
		from = min(from, first);
		to = max(to, last);
		covered = last;
	}
	if (!covered)
		return false;

	bitmap_shift_right(run->near, run->near, (from - base) >> PAGE_SHIFT,
			   HMM_FAULT_RUN_PAGES);
	bitmap_shift_right(run->fill, run->fill, (from - base) >> PAGE_SHIFT,
			   HMM_FAULT_RUN_PAGES);
	hmm_policy_widen(run, from, to);
	return true;
}

/* See where the pages are.  Returns false if that cannot be told now. */
static bool hmm_policy_look(struct hmm_fault_run *run)
{
	unsigned int looks = HMM_POLICY_LOOKS;
	int ret = -EBUSY;

	while (ret == -EBUSY && looks--) {
		run->seq = mmu_interval_read_begin(&run->block->notifier);
		if (mmap_read_lock_killable(run->call.hmm->mm))
			return false;
		ret = hmm_fault_look(run);
		mmap_read_unlock(run->call.hmm->mm);
	}
	return !ret;
}

/*
 * What the device has of a file, to read, and is now to write to, becomes its own, one page
 * for each: what is around it has moved when it was copied there.  To look at all of that
 * again, and to map it, is many times as dear as what is to be done for the page, and there
 * would be a fault like this for each page of it.  So what was asked for is looked at before
 * anything is planned.
 */
static void hmm_policy_find_copies(struct hmm_fault_run *run)
{
	struct hmm_fault_page *page;
	bool any = false;
	unsigned long i;

	for (i = 0; i < run->nr && !any; i++)
		any = run->pages[i].file && run->pages[i].want & HMM_FAULT_WANT_WRITE;
	if (!any || !hmm_policy_look(run))
		return;
	for (i = 0; i < run->nr; i++) {
		page = &run->pages[i];
		if (page->file && page->want & HMM_FAULT_WANT_WRITE && !page->error &&
		    !page->done && hmm_fault_page_is_local(run, i) &&
		    !(run->pfns[i] & HMM_PFN_WRITE))
			page->was_local = true;
	}
}

/*
 * The same for a page of a file.  The device gets it to read, and may write to it only if it
 * is about to: to own a page that nobody writes to would undo what is written to the file
 * meanwhile without the page cache (O_DIRECT).  So a page that it reads from is moved once
 * more for the first write.  Whether it is writable already does not matter: the file system
 * is asked in any case.
 */
static bool hmm_policy_file_fits(const struct hmm_fault_run *run, unsigned long i)
{
	return !hmm_fault_page_is_local(run, i) ||
	       (run->pages[i].want & HMM_FAULT_WANT_WRITE &&
		!(run->pfns[i] & HMM_PFN_WRITE));
}

/*
 * Should a page of the plan move, as it was seen?  One that nobody asked for stays where
 * it is on a disk, or is not there.  A page of zeroes that is only read stays, too: it
 * has no memory yet.  One that the device wants to write to, and may not yet, is made
 * writable first: on the device that cannot be done, it would be fetched for it.
 */
static bool hmm_policy_page_fits(const struct hmm_fault_run *run, unsigned long i)
{
	const struct hmm_fault_page *page = &run->pages[i];
	unsigned long pfn = run->pfns[i];
	bool zero;

	if (page->error || !page->movable || pfn & HMM_PFN_ERROR)
		return false;
	if (page->file)
		return hmm_policy_file_fits(run, i);
	if (!(pfn & HMM_PFN_VALID))
		return page->want || test_bit(i, run->fill);
	if (hmm_fault_page_is_local(run, i))
		return false;
	zero = is_zero_pfn(page_to_pfn(hmm_pfn_to_page(pfn)));
	if (page->want & HMM_FAULT_WANT_WRITE)
		return pfn & HMM_PFN_WRITE || zero;
	return !zero;
}

/* Take out of the plan what has no reason to move. */
static void hmm_policy_pick(struct hmm_fault_run *run)
{
	struct hmm_note_hint hint;
	unsigned long i;
	bool write;

	mutex_lock(&run->block->lock);
	for_each_set_bit(i, run->near, run->nr) {
		hint = hmm_notes_hint(run->block, hmm_fault_run_addr(run, i));
		write = run->pages[i].want & HMM_FAULT_WANT_WRITE;
		if (!hmm_policy_page_fits(run, i) ||
		    !hmm_policy_page_moves(run, i, &hint, write)) {
			clear_bit(i, run->near);
			continue;
		}
		run->pages[i].was_local = false;
		if (write)
			set_bit(i, run->fill);
	}
	mutex_unlock(&run->block->lock);
}

/* What is wanted of [first, last) of the run, and what of that for writing? */
static void hmm_policy_wants(const struct hmm_fault_run *run, unsigned long first,
			     unsigned long last, unsigned long *want, unsigned long *write)
{
	unsigned long i;

	bitmap_zero(want, HMM_FAULT_RUN_PAGES);
	bitmap_zero(write, HMM_FAULT_RUN_PAGES);
	for (i = first; i < last; i++) {
		if (run->pages[i].want)
			__set_bit(i - first, want);
		if (run->pages[i].want & HMM_FAULT_WANT_WRITE)
			__set_bit(i - first, write);
	}
}

/* Move [first, last) of the run.  Sets *@busy if a page that was asked for is in use. */
static int hmm_policy_move_part(struct hmm_fault_run *run, unsigned long first,
				unsigned long last, bool *busy)
{
	struct hmm_rmem_move move = {
		.mm = run->call.hmm->mm,
		.start = hmm_fault_run_addr(run, first),
		.end = hmm_fault_run_addr(run, last),
		.flags = HMM_RMEM_MOVE_FAULT_IN | HMM_RMEM_MOVE_AUTO,
		.results = run->results,
	};
	DECLARE_BITMAP(fill, HMM_FAULT_RUN_PAGES);
	DECLARE_BITMAP(want, HMM_FAULT_RUN_PAGES);
	DECLARE_BITMAP(write, HMM_FAULT_RUN_PAGES);
	unsigned long i, stayed = 0;
	int ret;

	bitmap_shift_right(fill, run->fill, first, HMM_FAULT_RUN_PAGES);
	move.populate = fill;
	if (run->any_file) {
		hmm_policy_wants(run, first, last, want, write);
		move.want = want;
		move.write = write;
	}
	memset(run->results, HMM_PAGE_SKIPPED, last - first);
	ret = hmm_rmem_move_in(run->call.rmem, &move);
	hmm_notes_moved_in(run->block, move.start, run->results, last - first);
	for (i = 0; i < last - first; i++) {
		if (run->results[i] == HMM_PAGE_BUSY && run->pages[first + i].want)
			*busy = true;
		/* If writeback takes the right to write away before it is used: once more. */
		if (run->results[i] == HMM_PAGE_MOVED)
			run->pages[first + i].upgraded = false;
		stayed += run->results[i] == HMM_PAGE_BUSY ||
			  run->results[i] == HMM_PAGE_FULL ||
			  run->results[i] == HMM_PAGE_FAILED;
	}
	hmm_mirror_count(run->call.mirror, HMM_STAT_MOVED_IN, move.moved);
	hmm_mirror_count(run->call.mirror, HMM_STAT_MOVE_FAILED, stayed);
	return ret;
}

/* One attempt.  Returns true if pages that were asked for were in use. */
static bool hmm_policy_try(struct hmm_fault_run *run)
{
	unsigned long first, last;
	bool busy = false;

	if (!hmm_policy_look(run))
		return false;
	hmm_policy_pick(run);
	for_each_set_bitrange(first, last, run->near, run->nr) {
		hmm_notes_expect(run->block, hmm_fault_run_addr(run, first),
				 hmm_fault_run_addr(run, last));
		if (hmm_policy_move_part(run, first, last, &busy))
			return false;
	}
	return busy;
}

/**
 * hmm_policy_move - move what should be on the device
 * @run: run that has been judged, with its block
 *
 * The run may grow, so that what moves with the pages that were asked for is mapped with
 * them.  Pages that do not move are mapped where they are.
 *
 * Two faults that move the same pages at the same time stop each other: each holds a
 * reference that the other takes for a user of the page.  A lock around moves would be
 * held while user space is waited for (userfaultfd), so the loser tries again, if there
 * was another mover at all.
 *
 * Context: as hmm_mirror_fault().
 * Return: false if no page of the run is one that moves, wherever it is now.
 */
bool hmm_policy_move(struct hmm_fault_run *run)
{
	struct hmm_block *block = run->block;
	bool busy, contended, planned;
	unsigned int try, moves;

	if (!run->call.rmem)
		return false;
	hmm_policy_find_copies(run);
	for (try = 0; try < HMM_POLICY_TRIES; try++) {
		if (try)
			fsleep(HMM_POLICY_PAUSE << try);
		mutex_lock(&block->lock);
		planned = hmm_policy_plan(run);
		moves = block->moves;
		contended = planned && block->movers++;
		mutex_unlock(&block->lock);
		if (!planned)
			break;
		busy = hmm_policy_try(run);
		mutex_lock(&block->lock);
		contended |= --block->movers || block->moves != moves;
		block->moves++;
		mutex_unlock(&block->lock);
		if (!busy || !contended || fatal_signal_pending(current))
			return true;
	}
	return try;
}

/**
 * hmm_mirror_set_policy - say when pages of a process move to devices that fault on them
 * @mirror: mirror of the process
 * @policy: enum hmm_policy
 *
 * For all devices of the process; kept as long as one of them mirrors it.  What is on a
 * device stays there.
 *
 * Context: Process context, may sleep.
 * Return: 0; -EINVAL no such policy; -ENODEV @mirror or its device is being unregistered,
 * or it was never registered; -ESRCH the address space is gone.
 */
int hmm_mirror_set_policy(struct hmm_mirror *mirror, enum hmm_policy policy)
{
	struct hmm_call call;
	int ret;

	if ((unsigned int)policy >= HMM_POLICY_NR)
		return -EINVAL;
	ret = hmm_call_begin(&call, mirror);
	if (ret)
		return ret;
	WRITE_ONCE(call.hmm->policy, policy);
	hmm_call_end(&call);
	return 0;
}
EXPORT_SYMBOL_NS(hmm_mirror_set_policy, "HMM");

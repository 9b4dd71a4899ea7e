// SPDX-License-Identifier: GPL-2.0
/*
 * A run of device faults is served: neighbouring pages of one block, at most one PMD's
 * worth, some of which were asked for.
 *
 *   judge     the VMAs, under mmap_lock: what cannot be mapped costs nothing further
 *   move      policy.c: pages that should be on the device are moved there; no lock
 *   prepare   the driver allocates page table pages; no lock
 *   look      the VMAs and the CPU's page table, under mmap_lock, changing nothing
 *   fault in  only the pages that were asked for and are missing; drops mmap_lock
 *             while it waits for a disk or for a userfaultfd handler; then look again
 *   commit    under the block's update lock, if no invalidation came in between
 *   take      exclusive.c: pages for atomic operations are taken away from the CPU
 *
 * The principle: every lock is dropped before anything is tried again, and the time
 * that is spent on collisions is bounded.  A fault that waits for user space waits
 * without any lock and without any reference on the mirror.
 *
 * Write is asked for only on a write fault: a device that reads breaks no COW.
 * Pages around the fault are mapped with the rights that the CPU has right now.
 *
 * Pages in the memory of the mirror's own device are mapped where they are, and so are those
 * of another device that the CPU maps.  Others are missing, and faulting them in brings them
 * to system memory.
 *
 * Pages of files that are on the device are not in the CPU's page table, or not all that is
 * to be known of them is.  So after that the library that moves them is asked, and what it
 * says overrides what was read.  It is kept true by the same count of invalidations: who
 * moves such a page says that it is on its way, then has all mappings of it invalidated, and
 * moves it then.  A page on its way is waited for without a lock.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/magic.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include "../rmem/pagecache_private.h"
#include "../swap_entry/entry.h"
#include "fault_private.h"
#include "trace.h"

/*
 * Collisions with invalidations of one block are tolerated that long; and so many tries there
 * are in any case, for one that took long says nothing of the next.
 */
#define HMM_FAULT_PATIENCE	HZ
#define HMM_FAULT_TRIES		4

/*
 * A run is committed when all its pages are there at once.  After so many rounds of
 * faulting in (somebody throws the pages out as fast as they come) what is there is
 * committed in every other round, so that each round gets somewhere.
 */
#define HMM_FAULT_WHOLE_ROUNDS	4

/*
 * A device uses regular memory only.  Shadow stacks look writable in the page table, but
 * only for the CPU's own pushes.
 */
#define HMM_FAULT_BAD_VMA	(VM_IO | VM_PFNMAP | VM_MIXEDMAP | VM_SHADOW_STACK)

/* Pages that were moved on request are mapped, or left to a fault after so many. */
#define HMM_FAULT_MOVED_TRIES	4

/**
 * hmm_fault_run_init - begin a run
 * @run: run whose call has begun
 * @start: address of the first page
 * @nr: pages, none of which is asked for yet
 */
void hmm_fault_run_init(struct hmm_fault_run *run, unsigned long start, unsigned long nr)
{
	run->start = start;
	run->nr = nr;
	run->retries = 0;
	run->rounds = 0;
	run->fetched_local = false;
	run->any_file = false;
	run->coming = NULL;
	memset(run->pages, 0, nr * sizeof(run->pages[0]));
}

/* Mark the pages of [start, end) that have no error yet. */
static void hmm_fault_set_error(struct hmm_fault_run *run, unsigned long start,
				unsigned long end, int error)
{
	unsigned long i = (start - run->start) >> PAGE_SHIFT;
	unsigned long last = (end - run->start) >> PAGE_SHIFT;

	for (; i < last; i++)
		if (!run->pages[i].error)
			run->pages[i].error = error;
}

static void hmm_fault_deny_page(struct hmm_fault_page *page, int error)
{
	if (page->want & HMM_FAULT_WANT_WRITE) {
		page->want &= ~HMM_FAULT_WANT_WRITE;
		page->write_error = error;
	}
}

static void hmm_fault_deny_write(struct hmm_fault_run *run, unsigned long start,
				 unsigned long end)
{
	unsigned long i = (start - run->start) >> PAGE_SHIFT;
	unsigned long last = (end - run->start) >> PAGE_SHIFT;

	for (; i < last; i++)
		hmm_fault_deny_page(&run->pages[i], -EACCES);
}

/* Memory that is hidden even from the kernel: memfd_secret(). */
static bool hmm_fault_vma_is_secret(const struct vm_area_struct *vma)
{
	return vma->vm_file &&
	       file_inode(vma->vm_file)->i_sb->s_magic == SECRETMEM_MAGIC;
}

/*
 * Pages that only this process uses, and has not asked to keep in memory, may move by
 * themselves.  Of a private mapping of a file, that is what has been written to.  And those
 * of files that know of it, for whoever uses them finds them.
 */
static bool hmm_fault_vma_is_movable(const struct hmm_fault_run *run,
				     struct vm_area_struct *vma)
{
	if (vma->vm_flags & (VM_LOCKED | VM_SPECIAL | VM_HUGETLB))
		return false;
	if (vma->vm_flags & VM_MAYSHARE)
		return hmm_pagecache_maps(vma);
	if (run->call.rmem && run->call.rmem->plain)
		return false;
	return vma_is_anonymous(vma) || vma->anon_vma;
}

/* What kind of mapping are the pages of [start, end) in? */
static void hmm_fault_set_kind(struct hmm_fault_run *run, struct vm_area_struct *vma,
			       unsigned long start, unsigned long end)
{
	unsigned long i = (start - run->start) >> PAGE_SHIFT;
	unsigned long last = (end - run->start) >> PAGE_SHIFT;
	bool movable = hmm_fault_vma_is_movable(run, vma);
	bool file = hmm_pagecache_maps(vma);

	run->any_file |= file;
	for (; i < last; i++) {
		run->pages[i].movable |= movable;
		run->pages[i].file = file;
	}
}

/* What do the VMAs say?  Errors stay: a page is judged when it is looked at first. */
static void hmm_fault_check_vmas(struct hmm_fault_run *run)
{
	unsigned long addr = run->start, end = hmm_fault_run_end(run);
	struct vm_area_struct *vma;
	struct vma_iterator vmi;
	unsigned long from, to;

	vma_iter_init(&vmi, run->call.hmm->mm, addr);
	mmap_assert_locked(run->call.hmm->mm);
	for_each_vma_range(vmi, vma, end) {
		from = max(addr, vma->vm_start);
		to = min(end, vma->vm_end);
		hmm_fault_set_error(run, addr, from, -EFAULT);
		if (vma->vm_flags & HMM_FAULT_BAD_VMA || hmm_fault_vma_is_secret(vma))
			hmm_fault_set_error(run, from, to, -EOPNOTSUPP);
		else if (!(vma->vm_flags & VM_READ))
			hmm_fault_set_error(run, from, to, -EACCES);
		else if (!(vma->vm_flags & VM_WRITE))
			hmm_fault_deny_write(run, from, to);
		hmm_fault_set_kind(run, vma, from, to);
		addr = to;
	}
	hmm_fault_set_error(run, addr, end, -EFAULT);
}

/* Is there a page that was asked for, and may be mapped? */
static bool hmm_fault_any_left(const struct hmm_fault_run *run)
{
	unsigned long i;

	for (i = 0; i < run->nr; i++)
		if (run->pages[i].want && !run->pages[i].error && !run->pages[i].done)
			return true;
	return false;
}

/**
 * hmm_fault_judge - before anything is allocated for a run: is it worth it?
 * @run: run
 *
 * Context: Process context, no lock held; takes mmap_lock for reading.
 * Return: 0, and the pages that cannot be mapped have their error; -EINTR killed.
 */
int hmm_fault_judge(struct hmm_fault_run *run)
{
	if (fatal_signal_pending(current) || mmap_read_lock_killable(run->call.hmm->mm))
		return -EINTR;
	hmm_fault_check_vmas(run);
	mmap_read_unlock(run->call.hmm->mm);
	return 0;
}

/* Does the CPU map what was asked for? */
static bool hmm_fault_page_ready(const struct hmm_fault_run *run, unsigned long i)
{
	const struct hmm_fault_page *page = &run->pages[i];
	unsigned long pfn = run->pfns[i];

	if (!page->want || page->error || page->done)
		return true;
	if (pfn & HMM_PFN_ERROR || !(pfn & HMM_PFN_VALID))
		return false;
	return pfn & HMM_PFN_WRITE || !(page->want & HMM_FAULT_WANT_WRITE);
}

static bool hmm_fault_all_ready(const struct hmm_fault_run *run)
{
	unsigned long i;

	for (i = 0; i < run->nr; i++)
		if (!hmm_fault_page_ready(run, i))
			return false;
	return true;
}

/**
 * hmm_fault_page_is_local - is a page in the memory of the mirror's device?
 * @run: run that has been looked at
 * @i: index of the page
 *
 * Return: true if it is.
 */
bool hmm_fault_page_is_local(const struct hmm_fault_run *run, unsigned long i)
{
	/* Not to look at the page: if it is another device's that may go meanwhile. */
	return run->pfns[i] & HMM_PFN_VALID && run->call.rmem &&
	       hmm_rmem_has_pfn(run->call.rmem, run->pfns[i] & ~HMM_PFN_FLAGS);
}

/*
 * Where the memory of a device is mapped as a huge page, the kernel (7.2) reports the first
 * page of that for the first address of the range, although that may be in the middle, and
 * counts on from there.
 */
static void hmm_fault_align_local(struct hmm_fault_run *run)
{
	unsigned long i, skip = (run->start & ~PMD_MASK) >> PAGE_SHIFT;
	unsigned long huge = PMD_SIZE >> PAGE_SHIFT, pfn;

	if (!skip || !hmm_fault_page_is_local(run, 0) ||
	    hmm_pfn_to_map_order(run->pfns[0]) < PMD_SHIFT - PAGE_SHIFT)
		return;
	/* It is aligned as any huge page. */
	pfn = ALIGN_DOWN(run->pfns[0] & ~HMM_PFN_FLAGS, huge) + skip;
	for (i = 0; i < min(run->nr, huge - skip); i++)
		run->pfns[i] = (run->pfns[i] & HMM_PFN_FLAGS) | (pfn + i);
}

/*
 * Pages of files: what is on the device, or on its way.
 *
 * The device may map these where the CPU has never been.  They are left out where there is
 * no memory for what makes mprotect() tell us: the CPU's side will have none for its page
 * tables, either.
 */
static void hmm_fault_look_at_files(struct hmm_fault_run *run)
{
	unsigned long end = hmm_fault_run_end(run), from, to;
	struct vm_area_struct *vma;
	struct vma_iterator vmi;

	vma_iter_init(&vmi, run->call.hmm->mm, run->start);
	for_each_vma_range(vmi, vma, end) {
		if (!hmm_pagecache_maps(vma))
			continue;
		from = max(run->start, vma->vm_start);
		to = min(end, vma->vm_end);
		/* A run is not longer than what a table is for, so that two are enough. */
		if (!hmm_swp_make_table(vma->vm_mm, from) ||
		    !hmm_swp_make_table(vma->vm_mm, to - PAGE_SIZE))
			continue;
		hmm_pagecache_look(vma, from, (to - from) >> PAGE_SHIFT, run->call.rmem,
				   &run->pfns[(from - run->start) >> PAGE_SHIFT]);
	}
}

/**
 * hmm_fault_look - read the CPU's page table, without changing anything
 * @run: run; @seq has been taken
 *
 * Context: Process context, mmap_lock held for reading.
 * Return: 0, -EBUSY an invalidation collided, or another errno.
 */
int hmm_fault_look(struct hmm_fault_run *run)
{
	struct hmm_range range = {
		.notifier = &run->block->notifier,
		.notifier_seq = run->seq,
		.start = run->start,
		.end = hmm_fault_run_end(run),
		.hmm_pfns = run->pfns,
		.dev_private_owner = run->call.owner,
	};
	int ret;

	hmm_fault_check_vmas(run);
	memset(run->pfns, 0, run->nr * sizeof(run->pfns[0]));
	ret = hmm_range_fault(&range);
	if (ret)
		return ret;
	hmm_fault_align_local(run);
	if (run->any_file)
		hmm_fault_look_at_files(run);
	return 0;
}

/* Huge pages of other devices are reported as errors, other than small ones. */
static bool hmm_fault_page_is_elsewhere(const struct hmm_fault_run *run, unsigned long i)
{
	struct hmm_swp_place place;

	hmm_swp_look(run->call.hmm->mm, hmm_fault_run_addr(run, i), &place);
	return place.huge && hmm_swp_is_private(place.entry);
}

/* Is a page of a file on its way?  Then it is remembered, to be waited for. */
static bool hmm_fault_page_is_coming(struct hmm_fault_run *run, unsigned long i)
{
	unsigned long pfn = 0, addr = hmm_fault_run_addr(run, i);
	struct vm_area_struct *vma = vma_lookup(run->call.hmm->mm, addr);

	if (!vma || !hmm_pagecache_maps(vma) ||
	    !hmm_pagecache_look(vma, addr, 1, run->call.rmem, &pfn))
		return false;
	if (!run->coming) {
		run->coming = get_file(vma->vm_file);
		run->coming_index = linear_page_index(vma, addr);
	}
	return true;
}

/*
 * A page of a file that is missing.  Returns true if it is not for the CPU's side to fault
 * it in: that would fetch it from where the device wants to have it.
 */
static bool hmm_fault_page_in_file(struct hmm_fault_run *run, unsigned long i)
{
	struct hmm_fault_page *page = &run->pages[i];

	if (hmm_fault_page_is_coming(run, i))
		return true;
	if (page->upgraded || !hmm_fault_page_is_local(run, i))
		return false;
	/* Whoever put it there wants it there, for writing now. */
	page->upgraded = true;
	page->was_local = true;
	run->fetched_local = true;
	return true;
}

static int hmm_fault_page_in(struct hmm_fault_run *run, unsigned long i, bool *unlocked)
{
	struct hmm_fault_page *page = &run->pages[i];
	unsigned int flags = FAULT_FLAG_REMOTE;
	int ret;

	if (page->faulted && run->pfns[i] & HMM_PFN_ERROR &&
	    !hmm_fault_page_is_elsewhere(run, i)) {
		/* It faults well and still is no page: a special entry. */
		page->error = -EOPNOTSUPP;
		return 0;
	}
	if (page->file && hmm_fault_page_in_file(run, i))
		return 0;
	if (page->want & HMM_FAULT_WANT_WRITE)
		flags |= FAULT_FLAG_WRITE;
	/* Whoever put it there wants it there: it goes back when it has become writable. */
	if (!page->file && hmm_fault_page_is_local(run, i)) {
		page->was_local = true;
		run->fetched_local = true;
	}
	ret = fixup_user_fault(run->call.hmm->mm, hmm_fault_run_addr(run, i), flags, unlocked);
	if (ret == -EINTR)
		return ret;
	page->faulted = true;
	/* Who wanted to read need not suffer if it is the copy that failed. */
	if (ret && page->want & BIT(HMM_FAULT_READ) && flags & FAULT_FLAG_WRITE)
		hmm_fault_deny_page(page, ret);
	else
		page->error = ret;
	hmm_mirror_count(run->call.mirror, HMM_STAT_CPU_FAULTS, 1);
	return 0;
}

/*
 * Have the CPU's side fault in what is missing.  The mmap_lock, held on entry and on
 * return, may have been dropped meanwhile.
 */
static int hmm_fault_in(struct hmm_fault_run *run)
{
	unsigned long begun = jiffies;
	unsigned long i;
	int ret = 0;

	run->rounds++;
	for (i = 0; i < run->nr && !ret; i++) {
		bool unlocked = false;

		if (hmm_fault_page_ready(run, i))
			continue;
		if (!hmm_mirror_is_live(run->call.mirror))
			return -EINTR;
		ret = hmm_fault_page_in(run, i, &unlocked);
		if (unlocked)
			hmm_fault_check_vmas(run);
	}
	/* Time in which user space or a disk kept us waiting is not ours. */
	run->deadline += jiffies - begun;
	return ret;
}

/* Wait for a page that is on its way, if there is one.  No lock is held. */
static int hmm_fault_wait(struct hmm_fault_run *run)
{
	unsigned long begun = jiffies;
	int ret;

	if (!run->coming)
		return 0;
	ret = hmm_pagecache_wait(run->coming, run->coming_index, 1);
	fput(run->coming);
	run->coming = NULL;
	/* Who moves it has a device to wait for, but not for ever. */
	run->deadline += jiffies - begun;
	return ret;
}

/* If the CPU maps a whole huge page here, put its entry for the device in @pfn. */
static bool hmm_fault_page_huge(const struct hmm_fault_run *run, unsigned long i,
				unsigned long *pfn)
{
	unsigned long entry = run->pfns[i];
	unsigned long skip = (hmm_fault_run_addr(run, i) & ~PMD_MASK) >> PAGE_SHIFT;

	if (!run->call.mirror->device->caps.huge || run->no_huge || !(entry & HMM_PFN_VALID) ||
	    hmm_pfn_to_map_order(entry) < PMD_SHIFT - PAGE_SHIFT)
		return false;
	*pfn = entry - skip;
	return true;
}

/* Account for a mapped run: @huge entries are huge, and have @covered of its pages. */
static void hmm_fault_count(struct hmm_fault_run *run, unsigned long huge,
			    unsigned long covered)
{
	unsigned long i, valid = 0, around = 0;

	for (i = 0; i < run->nr; i++) {
		if (!(run->pfns[i] & HMM_PFN_VALID))
			continue;
		valid++;
		if (!run->pages[i].want)
			around++;
		run->pages[i].done = true;
	}
	hmm_mirror_count(run->call.mirror, HMM_STAT_HUGE_MAPPED, huge);
	hmm_mirror_count(run->call.mirror, HMM_STAT_PAGES_MAPPED, valid - covered);
	hmm_mirror_count(run->call.mirror, HMM_STAT_AROUND, around);
}

/*
 * What is not for the driver becomes a hole: what is not there, not allowed, not yet as
 * asked for, or has to be made exclusive first.  The hints are looked at in here, so that
 * one which came meanwhile is heeded.
 */
static void hmm_fault_sift(struct hmm_fault_run *run)
{
	struct hmm_block *block = run->block;
	struct hmm_note_hint hint;
	unsigned long i;

	lockdep_assert_held(&block->lock);
	run->no_huge = hmm_notes_any_exclusive(block, run->start) ||
		       hmm_notes_any_exclusive(block, hmm_fault_run_end(run) - 1);
	for (i = 0; i < run->nr; i++) {
		struct hmm_fault_page *page = &run->pages[i];

		page->no_atomics = false;
		if (!(run->pfns[i] & HMM_PFN_VALID) || run->pfns[i] & HMM_PFN_ERROR ||
		    page->error || page->done || !hmm_fault_page_ready(run, i)) {
			run->pfns[i] = 0;
			continue;
		}
		page->exclusive = false;
		if (hmm_fault_page_is_local(run, i))
			continue;
		hint = hmm_notes_hint(block, hmm_fault_run_addr(run, i));
		/* A write will move it, so the device has to fault on it. */
		if (hint.flags & HMM_HINT_READ_MOSTLY && page->movable && run->call.rmem &&
		    !(page->want & HMM_FAULT_WANT_WRITE) &&
		    hmm_policy_page_moves(run, i, &hint, true))
			run->pfns[i] &= ~HMM_PFN_WRITE;
		if (!run->call.mirror->device->caps.no_atomics &&
		    !(hint.flags & HMM_HINT_EXCLUSIVE))
			continue;
		page->no_atomics = true;
		if (page->want & BIT(HMM_FAULT_ATOMIC)) {
			page->exclusive = true;
			run->pfns[i] = 0;
		}
	}
}

/* Hand the run to the driver, in pieces of one entry size. */
static int hmm_fault_map(struct hmm_fault_run *run)
{
	const struct hmm_device_ops *ops = run->call.mirror->device->ops;
	unsigned long i, next, pfn, nr_huge = 0, covered = 0;
	int ret;

	lockdep_assert_held(&run->block->lock);
	hmm_fault_sift(run);
	for (i = 0; i < run->nr; i = next) {
		struct hmm_map map = {
			.start = hmm_fault_run_addr(run, i),
			.nr = 1,
			.shift = PAGE_SHIFT,
			.pfns = &run->pfns[i],
			.no_atomics = run->pages[i].no_atomics,
		};
		bool huge = hmm_fault_page_huge(run, i, &pfn);

		if (huge) {
			map.start &= PMD_MASK;
			map.shift = PMD_SHIFT;
			map.pfns = &pfn;
			next = min(run->nr, (map.start + PMD_SIZE - run->start) >> PAGE_SHIFT);
			nr_huge++;
			covered += next - i;
		} else {
			for (next = i + 1; next < run->nr; next++)
				if (run->pages[next].no_atomics != map.no_atomics ||
				    hmm_fault_page_huge(run, next, &pfn))
					break;
			map.nr = next - i;
		}
		ret = ops->map(run->call.mirror, &map);
		if (ret)
			return ret;
	}
	hmm_fault_count(run, nr_huge, covered);
	return 0;
}

/**
 * hmm_fault_collided - an invalidation came while a run was being served
 * @run: run
 */
void hmm_fault_collided(struct hmm_fault_run *run)
{
	run->retries++;
	hmm_mirror_count(run->call.mirror, HMM_STAT_RETRIES, 1);
}

/*
 * Write the translations, unless an invalidation came since @seq was taken.
 * -EAGAIN: it did, or the driver needs to prepare again.
 */
static int hmm_fault_commit(struct hmm_fault_run *run)
{
	struct hmm_block *block = run->block;
	int idx, ret;

	idx = srcu_read_lock(&hmm_mirror_srcu);
	mutex_lock(&block->lock);
	if (!hmm_mirror_is_live(run->call.mirror)) {
		ret = -ENODEV;
	} else if (mmu_interval_read_retry(&block->notifier, run->seq)) {
		hmm_fault_collided(run);
		ret = -EAGAIN;
	} else {
		ret = hmm_fault_map(run);
	}
	mutex_unlock(&block->lock);
	srcu_read_unlock(&hmm_mirror_srcu, idx);
	return ret;
}

static int hmm_fault_prepare(struct hmm_fault_run *run)
{
	int idx, ret = -ENODEV;

	idx = srcu_read_lock(&hmm_mirror_srcu);
	if (hmm_mirror_is_live(run->call.mirror))
		ret = run->call.mirror->device->ops->prepare(run->call.mirror, run->start,
							hmm_fault_run_end(run));
	srcu_read_unlock(&hmm_mirror_srcu, idx);
	return ret;
}

/* What was left out by the commit: pages for atomic operations. */
static int hmm_fault_take(struct hmm_fault_run *run)
{
	unsigned long i;
	int ret = 0;

	for (i = 0; i < run->nr && !ret; i++)
		if (run->pages[i].exclusive && !run->pages[i].done && !run->pages[i].error)
			ret = hmm_exclusive_map(run, i);
	return ret;
}

/* One attempt.  0, -EAGAIN (no lock is held: try again), or what ends the run. */
static int hmm_fault_try(struct hmm_fault_run *run)
{
	struct mm_struct *mm = run->call.hmm->mm;
	int ret, wait;
	bool all;

	ret = hmm_fault_prepare(run);
	if (ret)
		return ret;
	run->seq = mmu_interval_read_begin(&run->block->notifier);
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	ret = hmm_fault_look(run);
	all = hmm_fault_all_ready(run);
	if (!ret && !all && (run->rounds < HMM_FAULT_WHOLE_ROUNDS || run->rounds % 2 == 0)) {
		ret = hmm_fault_in(run);
		mmap_read_unlock(mm);
		wait = hmm_fault_wait(run);
		return ret ?: wait ?: -EAGAIN;
	}
	mmap_read_unlock(mm);
	if (ret == -EBUSY) {
		hmm_fault_collided(run);
		return -EAGAIN;
	}
	if (ret)
		return ret;
	ret = hmm_fault_commit(run);
	if (!ret)
		ret = hmm_fault_take(run);
	if (!ret && !all) {
		run->rounds++;
		ret = -EAGAIN;
	}
	return ret;
}

/* Pages that have just been fetched may be ones that should move. */
static void hmm_fault_move_again(struct hmm_fault_run *run)
{
	unsigned long begun = jiffies;
	unsigned long i;

	hmm_policy_move(run);
	run->deadline += jiffies - begun;
	/* To be fetched and to become writable are two faults. */
	run->fetched_local = false;
	for (i = 0; i < run->nr; i++)
		run->fetched_local |= run->pages[i].was_local;
}

/**
 * hmm_fault_serve - serve a run
 * @run: run, with the pages that are asked for
 *
 * Context: as hmm_mirror_fault().
 * Return: 0, and each page has its own error; or what goes for all of them.  The run may
 * have grown, to both sides.
 */
int hmm_fault_serve(struct hmm_fault_run *run)
{
	unsigned int tries = 0;
	bool again;
	int ret;

	ret = hmm_fault_judge(run);
	if (ret || !hmm_fault_any_left(run))
		goto out;
	run->block = hmm_block_get(run->call.hmm, run->start);
	if (IS_ERR(run->block)) {
		ret = PTR_ERR(run->block);
		goto out;
	}

	again = hmm_policy_move(run);
	run->deadline = jiffies + HMM_FAULT_PATIENCE;
	while ((ret = hmm_fault_try(run)) == -EAGAIN) {
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		/* Every other late round commits a page, or its pages are thrashed. */
		if ((++tries >= HMM_FAULT_TRIES && time_after(jiffies, run->deadline)) ||
		    run->rounds > 2 * (run->nr + HMM_FAULT_WHOLE_ROUNDS)) {
			ret = -EBUSY;
			break;
		}
		if ((again && run->rounds) || run->fetched_local) {
			again = false;
			hmm_fault_move_again(run);
		}
		cond_resched();
	}
	hmm_block_put(run->block);
out:
	if (ret && !hmm_mirror_is_live(run->call.mirror))
		ret = run->call.mirror->stop_error;
	trace_hmm_fault(run->call.mirror, run->start, hmm_fault_run_end(run),
			run->retries, ret);
	return ret;
}

/**
 * hmm_fault_map_moved - map what has been moved to the device, if that is easy
 * @run: run with a block, of which no page is asked for
 * @results: what became of each page
 *
 * Nothing is faulted in; what is not mapped here, a fault will map.
 *
 * Context: as hmm_mirror_fault().
 */
void hmm_fault_map_moved(struct hmm_fault_run *run, const u8 *results)
{
	unsigned int tries = HMM_FAULT_MOVED_TRIES;
	unsigned long i;
	int ret;

	ret = hmm_fault_judge(run);
	for (i = 0; i < run->nr; i++)
		if (results[i] != HMM_PAGE_MOVED && results[i] != HMM_PAGE_THERE)
			run->pages[i].done = true;
	while (!ret && tries--) {
		ret = hmm_fault_try(run);
		if (ret == -EAGAIN)
			ret = 0;
		else
			break;
	}
}

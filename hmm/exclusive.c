// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive pages: atomic operations of a device on system memory.
 *
 * A bus without atomic operations lets a device read, change and write, and the CPU can
 * write in between.  So, where a hint asks for it (HMM_HINT_EXCLUSIVE) or the device needs
 * it (hmm_device_caps.no_atomics), the page is taken away from the CPU: a special entry
 * replaces its translation, and the CPU's next touch is a fault, which sends an event that
 * takes the page away from the device.
 *
 *	CPU's entry	device's entry
 *	present		none, or without atomics
 *	exclusive	with atomics			hmm_exclusive_map()
 *	present		none				CPU fault, EXCLUSIVE event
 *
 * The sequence count of the block cannot tell whether something happened between the
 * exclusive entry and the device's.  The entry sends an event of its own, which moves
 * the count on; and another invalidation that is under way at that time has the same
 * number as our own event:
 *
 *	this thread			another thread
 *					madvise(DONTNEED): invalidation begins, count is 7
 *	seq = read_begin(): not yet
 *	called back, so no wait
 *	exclusive entry; own event:
 *	the block's count is 7
 *					callback of the block: 7; nothing to drop
 *	commits: the count is 7
 *					zaps the entry, frees the page
 *
 * Required: the last commit must not be.  So a claim stands in the block while a page is
 * being made exclusive, and each callback for the page marks it, but for those that the
 * claiming thread itself caused: these are over when make_device_exclusive() returns,
 * and the page is then locked and exclusive.  An invalidation that had called back
 * before the claim was made is waited for by mmu_interval_read_begin().
 *
 * Locks: claims are under the update lock of the block.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/delay.h>
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include "../swap_entry/entry.h"
#include "fault_private.h"

/* Between attempts at a page that somebody else has, in microseconds. */
#define HMM_EXCLUSIVE_PAUSE	50

/**
 * hmm_exclusive_event - an invalidation has come: does it break a claim?
 * @block: block
 * @range: what the kernel says
 *
 * Context: Notifier callback, under the update lock.
 */
void hmm_exclusive_event(struct hmm_block *block, const struct mmu_notifier_range *range)
{
	struct hmm_claim *claim;

	lockdep_assert_held(&block->lock);
	list_for_each_entry(claim, &block->claims, node)
		if (claim->task != current && range->start <= claim->addr &&
		    range->end > claim->addr)
			claim->collided = true;
}

static void hmm_exclusive_claim(struct hmm_block *block, struct hmm_claim *claim)
{
	mutex_lock(&block->lock);
	list_add(&claim->node, &block->claims);
	mutex_unlock(&block->lock);
	/* Whoever has called back before may still be at the page table. */
	mmu_interval_read_begin(&block->notifier);
}

static void hmm_exclusive_unclaim(struct hmm_block *block, struct hmm_claim *claim)
{
	mutex_lock(&block->lock);
	list_del(&claim->node);
	mutex_unlock(&block->lock);
}

/* Shared memory has other ways to reach a page, which its entry here does not close. */
static bool hmm_exclusive_can(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma = vma_lookup(mm, addr);

	return vma && !(vma->vm_flags & (VM_SHARED | VM_HUGETLB | VM_SPECIAL));
}

/*
 * From another device's coherent memory a page is fetched first.  That device could not
 * be rid of it: kernels before 6.15 do not find an exclusive page by its reverse map.
 */
static int hmm_exclusive_fetch(struct mm_struct *mm, unsigned long addr)
{
	struct hmm_swp_place place;

	hmm_swp_look(mm, addr, &place);
	return place.entry.kind == HMM_SWP_COHERENT ? hmm_rmem_fetch_coherent(mm, addr) : 0;
}

/**
 * hmm_exclusive_take - have the CPU's entry replaced
 * @run: run
 * @addr: address of the page
 * @folio: out: what the caller unlocks and puts
 *
 * Context: as hmm_mirror_fault().  Tests put something between this and the commit.
 * Return: the page, locked and referenced, or ERR_PTR.
 */
struct page *hmm_exclusive_take(struct hmm_fault_run *run, unsigned long addr,
				struct folio **folio)
{
	struct mm_struct *mm = run->call.hmm->mm;
	struct page *page;
	int ret;

	KUNIT_STATIC_STUB_REDIRECT(hmm_exclusive_take, run, addr, folio);
	if (mmap_read_lock_killable(mm))
		return ERR_PTR(-EINTR);
	ret = hmm_exclusive_can(mm, addr) ? hmm_exclusive_fetch(mm, addr) : -EOPNOTSUPP;
	page = ret ? ERR_PTR(ret) : make_device_exclusive(mm, addr, run->call.owner, folio);
	mmap_read_unlock(mm);
	return page;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_exclusive_take);

static int hmm_exclusive_commit(struct hmm_fault_run *run, struct hmm_claim *claim,
				struct page *page)
{
	struct hmm_mirror *mirror = run->call.mirror;
	unsigned long pfn = page_to_pfn(page) | HMM_PFN_VALID | HMM_PFN_WRITE;
	struct hmm_map map = {
		.start = claim->addr,
		.nr = 1,
		.shift = PAGE_SHIFT,
		.pfns = &pfn,
	};
	int idx, ret;

	idx = srcu_read_lock(&hmm_mirror_srcu);
	mutex_lock(&run->block->lock);
	if (!hmm_mirror_is_live(mirror))
		ret = -ENODEV;
	else if (claim->collided)
		ret = -EAGAIN;
	else
		ret = mirror->device->ops->map(mirror, &map);
	mutex_unlock(&run->block->lock);
	srcu_read_unlock(&hmm_mirror_srcu, idx);
	return ret;
}

/* No atomic operations here.  Who wants to read, or to write, gets what it wants. */
static int hmm_exclusive_deny(struct hmm_fault_page *page, int error)
{
	page->atomic_error = error;
	page->want &= ~BIT(HMM_FAULT_ATOMIC);
	page->exclusive = false;
	return page->want ? -EAGAIN : 0;
}

/**
 * hmm_exclusive_map - take a page away from the CPU and map it for atomic operations
 * @run: run that has been prepared
 * @i: index of the page
 *
 * Context: as hmm_mirror_fault().
 * Return: 0: it is done, or the page has its error; -EAGAIN somebody else had the page
 * locked, or an invalidation came in between; or what ends the run.
 */
int hmm_exclusive_map(struct hmm_fault_run *run, unsigned long i)
{
	struct hmm_claim claim = {
		.task = current,
		.addr = hmm_fault_run_addr(run, i),
	};
	struct folio *folio = NULL;
	struct page *page;
	int ret;

	hmm_exclusive_claim(run->block, &claim);
	page = hmm_exclusive_take(run, claim.addr, &folio);
	if (IS_ERR(page)) {
		ret = PTR_ERR(page);
	} else {
		ret = hmm_exclusive_commit(run, &claim, page);
		folio_unlock(folio);
		folio_put(folio);
	}
	hmm_exclusive_unclaim(run->block, &claim);

	if (!ret) {
		run->pages[i].done = true;
		hmm_mirror_count(run->call.mirror, HMM_STAT_PAGES_MAPPED, 1);
		hmm_mirror_count(run->call.mirror, HMM_STAT_EXCLUSIVE, 1);
	} else if (ret == -EBUSY) {
		/* Somebody has it locked or pinned, as for I/O. */
		fsleep(HMM_EXCLUSIVE_PAUSE);
		hmm_fault_collided(run);
		ret = -EAGAIN;
	} else if (ret == -EAGAIN || ret == -EFAULT) {
		/* It was there when it was looked at; if it is no more, the next look says why. */
		hmm_fault_collided(run);
		ret = -EAGAIN;
	} else if (ret != -EINTR && ret != -ENODEV) {
		ret = hmm_exclusive_deny(&run->pages[i], ret);
	}
	return ret;
}

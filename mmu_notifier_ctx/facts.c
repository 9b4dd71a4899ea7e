// SPDX-License-Identifier: GPL-2.0
/*
 * Looks around inside a notifier callback and writes down what it sees.
 *
 * Owns nothing and takes no lock.  A callback can be entered with the mmap_lock held
 * for reading, for writing or not at all, with reverse map locks, and from reclaim;
 * so it neither sleeps nor allocates, and what it reads it reads under RCU, as a
 * snapshot that can be out of date when it is used.
 *
 * The one principle: write down what was seen, and nothing that was concluded.  What
 * could not be seen is left unknown.
 */
#include <linux/fs.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/page-flags.h>
#include <linux/rcupdate.h>
#include <linux/rmap.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include "event_private.h"

static void hmm_event_see(struct hmm_event_facts *facts, enum hmm_event_fact fact,
			  bool holds)
{
	facts->known |= BIT_ULL(fact);
	if (holds)
		facts->set |= BIT_ULL(fact);
}

static enum hmm_event_notify hmm_event_notify(const struct mmu_notifier_range *range)
{
	switch (range->event) {
	case MMU_NOTIFY_UNMAP:
		return HMM_NOTIFY_UNMAP;
	case MMU_NOTIFY_PROTECTION_VMA:
		return HMM_NOTIFY_PROTECTION_VMA;
	case MMU_NOTIFY_PROTECTION_PAGE:
		return HMM_NOTIFY_PROTECTION_PAGE;
	case MMU_NOTIFY_SOFT_DIRTY:
		return HMM_NOTIFY_SOFT_DIRTY;
	case MMU_NOTIFY_RELEASE:
		return HMM_NOTIFY_RELEASE;
	case MMU_NOTIFY_MIGRATE:
		return HMM_NOTIFY_MIGRATE;
	case MMU_NOTIFY_EXCLUSIVE:
		return HMM_NOTIFY_EXCLUSIVE;
	case MMU_NOTIFY_CLEAR:
	default:
		/* An event that is not known yet is answered like the strongest. */
		return HMM_NOTIFY_CLEAR;
	}
}

static void hmm_event_see_range(struct hmm_event_facts *facts,
				const struct mmu_notifier_range *range)
{
	hmm_event_see(facts, HMM_FACT_BLOCKABLE, mmu_notifier_range_blockable(range));
	hmm_event_see(facts, HMM_FACT_ONE_PAGE,
		      range->end - range->start == PAGE_SIZE);
	hmm_event_see(facts, HMM_FACT_PMD_RANGE,
		      range->end - range->start == PMD_SIZE &&
		      IS_ALIGNED(range->start, PMD_SIZE));
	hmm_event_see(facts, HMM_FACT_NUMA, IS_ENABLED(CONFIG_NUMA_BALANCING));
}

static void hmm_event_see_task(struct hmm_event_facts *facts, struct mm_struct *mm)
{
	unsigned int flags = READ_ONCE(current->flags);

	hmm_event_see(facts, HMM_FACT_SELF, current->mm == mm);
	hmm_event_see(facts, HMM_FACT_KTHREAD, flags & PF_KTHREAD);
	hmm_event_see(facts, HMM_FACT_KSWAPD, flags & PF_KSWAPD);
	hmm_event_see(facts, HMM_FACT_KCOMPACTD, flags & PF_KCOMPACTD);
	hmm_event_see(facts, HMM_FACT_MEMALLOC, flags & PF_MEMALLOC);
	hmm_event_see(facts, HMM_FACT_RECLAIM, current->reclaim_state);
#ifdef CONFIG_COMPACTION
	hmm_event_see(facts, HMM_FACT_CAPTURE, current->capture_control);
#else
	hmm_event_see(facts, HMM_FACT_CAPTURE, false);
#endif
}

/*
 * Whether current has the lock for writing.  The owner word of the lock holds the
 * writer, or the last reader with a mark; no other task writes current there, so for
 * the question "is it me" no race is possible.  There is no such word in a kernel
 * for real time.
 */
static void hmm_event_see_lock(struct hmm_event_facts *facts, struct mm_struct *mm)
{
	if (!rwsem_is_locked(&mm->mmap_lock)) {
		hmm_event_see(facts, HMM_FACT_LOCK_OWNER, false);
	} else {
#ifndef CONFIG_PREEMPT_RT
		unsigned long owner = atomic_long_read(&mm->mmap_lock.owner);

		hmm_event_see(facts, HMM_FACT_LOCK_OWNER,
			      (owner & ~7ul) == (unsigned long)current && !(owner & 1));
#endif
	}
	hmm_event_see(facts, HMM_FACT_MM_DEAD, !atomic_read(&mm->mm_users));
}

/*
 * Reverse map walks hold the anon_vma's root lock or the mapping's i_mmap lock.
 *
 * Under RCU: the VMA was in the tree after the read side began, so whatever it points
 * to was alive then.  A file and an anon_vma may be given up and used anew meanwhile,
 * but stay what they are (SLAB_TYPESAFE_BY_RCU); the inode is not freed before a
 * grace period.  A lock that is not the right one any more is one that belongs to no
 * walk here.
 */
static bool hmm_event_file_rmap_locked(const struct vm_area_struct *vma)
{
	struct file *file = READ_ONCE(vma->vm_file);
	struct address_space *mapping = file ? READ_ONCE(file->f_mapping) : NULL;

	return mapping && rwsem_is_locked(&mapping->i_mmap_rwsem);
}

static bool hmm_event_anon_rmap_locked(const struct vm_area_struct *vma)
{
	struct anon_vma *anon_vma = READ_ONCE(vma->anon_vma);
	struct anon_vma *root = anon_vma ? READ_ONCE(anon_vma->root) : NULL;

	return root && rwsem_is_locked(&root->rwsem);
}

/*
 * Whether nobody has the VMA locked.  A madvise() that does with that lock has it during
 * its callback; and one is enough, as such a madvise() is about one VMA.
 */
static bool hmm_event_vma_unlocked(const struct vm_area_struct *vma)
{
#if defined(HMM_HAVE_MADVISE_MMAP_LOCK) || !defined(CONFIG_PER_VMA_LOCK)
	return true;
#else
	/* 1: it is in use; more: by readers, too. */
	return refcount_read(&vma->vm_refcnt) <= 1;
#endif
}

static void hmm_event_see_vma(struct hmm_event_facts *facts,
			      const struct mmu_notifier_range *range)
{
	bool file_locked, anon_locked, anon, mm_locked, vma_unlocked;
	unsigned long vm_start, vm_end, vm_flags;
	struct mm_struct *mm = range->mm;
	struct vm_area_struct *vma;

	mm_locked = rwsem_is_locked(&mm->mmap_lock);
	rcu_read_lock();
	vma = mtree_load(&mm->mm_mt, facts->start);
	if (!vma) {
		rcu_read_unlock();
		hmm_event_see(facts, HMM_FACT_NO_MADV, !mm_locked);
		hmm_event_see(facts, HMM_FACT_VMA, false);
		hmm_event_see(facts, HMM_FACT_VMA_COVERS, false);
		return;
	}
	vm_flags = READ_ONCE(vma->vm_flags);
	anon = vma_is_anonymous(vma);
	file_locked = hmm_event_file_rmap_locked(vma);
	anon_locked = hmm_event_anon_rmap_locked(vma);
	vma_unlocked = hmm_event_vma_unlocked(vma);
	/*
	 * Read last: a VMA that has been freed and used for another place, or is being
	 * cut by somebody else, is not believed.
	 */
	smp_rmb();
	vm_start = READ_ONCE(vma->vm_start);
	vm_end = READ_ONCE(vma->vm_end);
	if (READ_ONCE(vma->vm_mm) != mm ||
	    facts->start < vm_start || facts->start >= vm_end) {
		rcu_read_unlock();
		return;
	}
	rcu_read_unlock();

	facts->vm_flags = vm_flags;
	hmm_event_see(facts, HMM_FACT_NO_MADV, !mm_locked && vma_unlocked);
	hmm_event_see(facts, HMM_FACT_VMA, true);
	hmm_event_see(facts, HMM_FACT_VMA_COVERS,
		      vm_start <= range->start && range->end <= vm_end);
	hmm_event_see(facts, HMM_FACT_VMA_READ, vm_flags & VM_READ);
	hmm_event_see(facts, HMM_FACT_VMA_SHARED, vm_flags & VM_SHARED);
	hmm_event_see(facts, HMM_FACT_VMA_ANON, anon);
	hmm_event_see(facts, HMM_FACT_VMA_HUGETLB,
		      IS_ENABLED(CONFIG_HUGETLB_PAGE) && (vm_flags & VM_HUGETLB));
	hmm_event_see(facts, HMM_FACT_VMA_MERGEABLE,
		      IS_ENABLED(CONFIG_KSM) && (vm_flags & VM_MERGEABLE));
	hmm_event_see(facts, HMM_FACT_VMA_UFFD_WP, vm_flags & VM_UFFD_WP);
	hmm_event_see(facts, HMM_FACT_NO_FILE_RMAP, !file_locked);
	hmm_event_see(facts, HMM_FACT_NO_ANON_RMAP, !anon_locked);
	hmm_event_see(facts, HMM_FACT_NO_RMAP, !file_locked && !anon_locked);
}

/*
 * The page is mapped by the process until the callback has returned, so it cannot be
 * freed under our hands; its flags can change at any time.
 */
static void hmm_event_see_page(struct hmm_event_facts *facts, const struct page *page)
{
	const struct folio *folio = page_folio(page);
	unsigned int order = folio_order(folio);
	bool anon = folio_test_anon(folio);
	bool locked = folio_test_locked(folio);
	bool lru = folio_test_lru(folio);

	hmm_event_see(facts, HMM_FACT_PAGE_ANON, anon);
	hmm_event_see(facts, HMM_FACT_PAGE_KSM, folio_test_ksm(folio));
	hmm_event_see(facts, HMM_FACT_PAGE_LARGE, order);
	hmm_event_see(facts, HMM_FACT_PAGE_PMD, order >= PMD_SHIFT - PAGE_SHIFT);
	hmm_event_see(facts, HMM_FACT_PAGE_LOCKED, locked);
	hmm_event_see(facts, HMM_FACT_PAGE_TAKEN, locked && !lru);
	hmm_event_see(facts, HMM_FACT_PAGE_HELD, locked && lru && anon && order);
#ifdef CONFIG_MEMORY_FAILURE
	hmm_event_see(facts, HMM_FACT_PAGE_HWPOISON, PageHWPoison(page));
#else
	hmm_event_see(facts, HMM_FACT_PAGE_HWPOISON, false);
#endif
	/* The bit of a hugetlb page is the one of its head page. */
	if (folio_test_hugetlb(folio))
		page = &folio->page;
	hmm_event_see(facts, HMM_FACT_PAGE_EXCLUSIVE,
		      anon && !folio_test_ksm(folio) && PageAnonExclusive(page));
}

/*
 * UFFDIO_MOVE tells about one page, or a huge one, at a time; on later kernels about as
 * many as it likes, but with the same locks as madvise().
 */
static void hmm_event_see_no_move(struct hmm_event_facts *facts)
{
#ifdef HMM_HAVE_UFFD_MOVE_BY_PAGE
	u64 could = BIT_ULL(HMM_FACT_ONE_PAGE);

	/* Not known to be small. */
	if (!(facts->known & ~facts->set & BIT_ULL(HMM_FACT_PAGE_PMD)))
		could |= BIT_ULL(HMM_FACT_PMD_RANGE);
	hmm_event_see(facts, HMM_FACT_NO_MOVE, !(facts->set & could));
#else
	hmm_event_see(facts, HMM_FACT_NO_MOVE,
		      facts->known & facts->set & BIT_ULL(HMM_FACT_NO_MADV));
#endif
}

/* The kernel says EXCLUSIVE when the CPU takes a page back, or, later kernels, CLEAR. */
static void hmm_event_see_alone(struct hmm_event_facts *facts)
{
#ifdef HMM_HAVE_MAKE_DEVICE_EXCLUSIVE
	hmm_event_see(facts, HMM_FACT_ALONE, facts->alone);
#else
	hmm_event_see(facts, HMM_FACT_ALONE, false);
#endif
}

/**
 * hmm_event_gather() - write down the facts of a notifier callback
 * @facts: filled in, but for @facts->own and @facts->alone, which are the caller's
 * @range: what the kernel says
 * @start: first byte of @range inside the block
 * @end: first byte after it
 * @page: with %HMM_PEEK_PAGE, the page that the device maps at its lowest mapped
 *	address in [@start, @end)
 * @peek: what is known about the device's mapping
 *
 * Context: Inside of mmu_interval_notifier_ops.invalidate for @range, under the update
 * lock of the block, so that the device's mapping of @page stays.  Does not sleep.
 */
void hmm_event_gather(struct hmm_event_facts *facts,
		      const struct mmu_notifier_range *range,
		      unsigned long start, unsigned long end,
		      const struct page *page, enum hmm_event_peek peek)
{
	facts->start = start;
	facts->end = end;
	facts->notify = hmm_event_notify(range);
	facts->peek = peek;
	facts->known = 0;
	facts->set = 0;
	facts->vm_flags = 0;

	hmm_event_see_range(facts, range);
	hmm_event_see_task(facts, range->mm);
	hmm_event_see_lock(facts, range->mm);
	/* The tree of an mm that is torn down is no longer kept for readers. */
	if (!(facts->set & BIT_ULL(HMM_FACT_MM_DEAD)))
		hmm_event_see_vma(facts, range);
	else
		hmm_event_see(facts, HMM_FACT_NO_MADV, true);
	if (peek == HMM_PEEK_PAGE)
		hmm_event_see_page(facts, page);
	hmm_event_see_no_move(facts);
	hmm_event_see_alone(facts);
}

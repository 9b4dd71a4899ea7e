// SPDX-License-Identifier: GPL-2.0
/*
 * What keeps an anonymous page's reverse map while the page moves and no mmap_lock is held.
 *
 * The kernel's migrate_device_range() takes pages out of all page tables, and its
 * counterpart finds the page tables again by the anon_vma that the page names.  In between
 * no page table has the page, and if the process exits then, the anon_vma goes:
 *
 *	eviction				process
 *	migrate_device_range(): unmapped
 *	copies					exits: its VMAs are gone, and
 *						the anon_vma with the last of them
 *	migrate_device_finalize():
 *	 walks the anon_vma: freed memory
 *
 * So it is referenced, as the kernel's own migration of pages does it, before the page is
 * unmapped.  Moves by address need none of this: they hold mmap_lock.
 *
 * Locks: that of the anon_vma while it is walked.  A reference can be taken of a page that
 * is mapped, as its anon_vma is there then; see hmm_rmem_anon_get().
 */
#include <linux/atomic.h>
#include <linux/mm.h>
#include <linux/rbtree.h>
#include <linux/rcupdate.h>
#include <linux/rmap.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "rmem_private.h"

/* No reference is left: as mm/rmap.c does it, which modules cannot call. */
static void hmm_rmem_anon_free(struct anon_vma *anon_vma)
{
	/* Somebody may have found it by a page, and have its lock, though no reference. */
	if (rwsem_is_locked(&anon_vma->root->rwsem)) {
		down_write(&anon_vma->root->rwsem);
		up_write(&anon_vma->root->rwsem);
	}
	/* To its cache, where it stays an anon_vma for an RCU grace period. */
	kfree(anon_vma);
}

/**
 * hmm_rmem_anon_put - done with an anon_vma
 * @anon_vma: from hmm_rmem_anon_get(); NULL is left alone
 *
 * Context: may sleep.
 */
void hmm_rmem_anon_put(struct anon_vma *anon_vma)
{
	struct anon_vma *root;

	if (!anon_vma || !atomic_dec_and_test(&anon_vma->refcount))
		return;
	root = anon_vma->root;
	hmm_rmem_anon_free(anon_vma);
	if (root != anon_vma && atomic_dec_and_test(&root->refcount))
		hmm_rmem_anon_free(root);
}

/**
 * hmm_rmem_anon_get - keep the anon_vma of a page
 * @page: anonymous page; need be neither referenced nor locked
 *
 * Context: may sleep, for what it may have to put.
 * Return: it, referenced; NULL if nothing maps the page any more, or it is not anonymous.
 */
struct anon_vma *hmm_rmem_anon_get(struct page *page)
{
	struct folio *folio = page_folio(page);
	struct anon_vma *anon_vma = NULL;
	unsigned long mapping;
	bool mapped = false;

	rcu_read_lock();
	mapping = (unsigned long)READ_ONCE(folio->mapping);
	if ((mapping & FOLIO_MAPPING_FLAGS) == FOLIO_MAPPING_ANON && folio_mapped(folio)) {
		anon_vma = (void *)(mapping - FOLIO_MAPPING_ANON);
		/* It is one, or has been within the grace period: not other memory. */
		if (!atomic_inc_not_zero(&anon_vma->refcount))
			anon_vma = NULL;
		else
			/* Mapped all the time, so this one has been there all the time. */
			mapped = folio_mapped(folio);
	}
	rcu_read_unlock();
	if (mapped)
		return anon_vma;
	hmm_rmem_anon_put(anon_vma);
	return NULL;
}

/**
 * hmm_rmem_anon_find - find an address space that may map a page
 * @anon_vma: of the page, from hmm_rmem_anon_get()
 * @page: first page of a large one
 * @nr: how many pages that has
 * @place: where to go on; 0 at first
 * @start: out: where the part of it that is in a VMA begins
 * @end: out: and ends
 *
 * It need not be mapped there: after fork() it may have been copied.
 *
 * Context: may sleep; takes the lock of the anon_vma.
 * Return: the address space, alive: mmput(); NULL if there is no other.
 */
struct mm_struct *hmm_rmem_anon_find(struct anon_vma *anon_vma, const struct page *page,
				     unsigned int nr, unsigned int *place,
				     unsigned long *start, unsigned long *end)
{
	pgoff_t first = page_folio(page)->index, last = first + nr;
	struct mm_struct *mm = NULL;
	struct rb_node *node;
	unsigned int i = 0;

	down_read(&anon_vma->root->rwsem);
	for (node = rb_first_cached(&anon_vma->rb_root); node && !mm; node = rb_next(node)) {
		struct vm_area_struct *vma = rb_entry(node, struct anon_vma_chain, rb)->vma;
		pgoff_t from = vma->vm_pgoff, to = from + vma_pages(vma);

		if (i++ < *place || last <= from || to <= first)
			continue;
		*start = vma->vm_start + ((max(first, from) - from) << PAGE_SHIFT);
		*end = vma->vm_start + ((min(last, to) - from) << PAGE_SHIFT);
		if (mmget_not_zero(vma->vm_mm))
			mm = vma->vm_mm;
	}
	up_read(&anon_vma->root->rwsem);
	*place = i;
	return mm;
}

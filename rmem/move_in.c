// SPDX-License-Identifier: GPL-2.0
/*
 * The way in: pages that have been collected, from system memory to a pool.
 *
 * Owns a run of pages between migrate_vma_setup() and migrate_vma_finalize(), and the pages
 * of the pool that they get: numbers until they hold the data, then pages of the kernel's,
 * and given back if the copy fails.
 *
 * The principle: a page that cannot come in stays as it is, where it is.  Only what is known
 * for certain is its result; the rest is looked at afterwards, by migrate.c.
 *
 * Locks: none of its own.  mmap_lock (read) and the locks of the collected pages are held,
 * and what is called under them takes hmm_rmem.device_lock and what is below.
 */
#include <linux/bitmap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include "move.h"

/* Is a place without a page to get one of zeroes? */
static bool hmm_rmem_populates(const struct hmm_rmem_mover *m,
			       struct vm_area_struct *vma, unsigned long i)
{
	unsigned long bit = (hmm_rmem_mover_addr(m, i) - m->move->start) >> PAGE_SHIFT;

	return m->move->populate && test_bit(bit, m->move->populate) &&
	       vma_is_accessible(vma);
}

/* Of what was collected: what gets a page of the pool?  Slots in order; how many. */
static unsigned int hmm_rmem_in_choose(struct hmm_rmem_mover *m, struct migrate_vma *args,
				       unsigned long first)
{
	struct hmm_rmem_work *work = m->work;
	unsigned int nr = 0;
	unsigned long i;

	for (i = 0; i < args->npages; i++) {
		struct page *page = migrate_pfn_to_page(args->src[i]);

		if (!(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		if (page && (!PageAnon(page) || folio_test_ksm(page_folio(page)) ||
			     PageWriteback(page)))
			continue;
		if (!page && !hmm_rmem_populates(m, args->vma, first + i))
			continue;
		work->slots[nr++] = i;
	}
	return nr;
}

/*
 * Fill @nr pages of the pool, and make those pages of the kernel's that were filled.  The
 * others go back to the pool, and what they were for stays where it is.  Returns how many
 * of the copies were copies of pages.
 */
static unsigned int hmm_rmem_in_fill(struct hmm_rmem_mover *m, struct migrate_vma *args,
				     unsigned long first, unsigned int nr)
{
	struct hmm_rmem_work *work = m->work;
	unsigned int k, c, copies = 0, clears = 0;

	for (k = 0; k < nr; k++) {
		struct page *page = migrate_pfn_to_page(args->src[work->slots[k]]);

		c = page ? copies++ : nr - ++clears;
		work->copies[c].system = page;
		work->copies[c].offset = hmm_rmem_page_offset(m->rmem, work->pages[k]);
		work->order[c] = k;
	}
	if (copies)
		hmm_rmem_copy_in(m->rmem, work->copies, copies, work->errors);
	if (clears)
		hmm_rmem_clear(m->rmem, work->copies + copies, clears, work->errors + copies);
	for (c = 0; c < nr; c++) {
		k = work->order[c];
		if (work->errors[c]) {
			hmm_rmem_set(m, first + work->slots[k],
				     hmm_rmem_copy_result(work->errors[c]));
			hmm_rmem_free(m->rmem, &work->pages[k], 1);
			continue;
		}
		hmm_rmem_page_init(work->pages[k]);
		args->dst[work->slots[k]] = migrate_pfn(page_to_pfn(work->pages[k]));
	}
	return copies;
}

/**
 * hmm_rmem_in - move what has been collected to the device
 * @m: the call
 * @args: after migrate_vma_setup(); small pages
 * @first: index of the first of them in the piece
 *
 * To its end.  Sets the results of pages that have moved, or whose copy failed; for those
 * that found no room it is noted that they are short of it.
 *
 * Context: mmap_lock held for reading.  Sleeps.
 */
void hmm_rmem_in(struct hmm_rmem_mover *m, struct migrate_vma *args, unsigned long first)
{
	struct hmm_rmem_work *work = m->work;
	unsigned int wanted, nr, copies, c, k;

	wanted = hmm_rmem_in_choose(m, args, first);
	nr = wanted ? hmm_rmem_alloc(m->rmem, work->pages, wanted) : 0;
	for (k = nr; k < wanted; k++)
		__set_bit(first + work->slots[k], m->short_of);
	copies = nr ? hmm_rmem_in_fill(m, args, first, nr) : 0;
	migrate_vma_pages(args);
	for (c = 0; c < nr; c++) {
		unsigned long i = work->slots[work->order[c]];

		/* What failed only now is looked at like what was not collected. */
		if (work->errors[c] || !(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		/* The device may write to it.  After MADV_FREE clean pages are thrown away. */
		folio_mark_dirty(page_folio(work->pages[work->order[c]]));
		hmm_rmem_page_in(work->pages[work->order[c]], c >= copies);
		m->results[first + i] = HMM_PAGE_MOVED;
		m->move->moved++;
	}
	migrate_vma_finalize(args);
}

/* Does a place for a huge page get one of zeroes?  Sets *@any if some of it does. */
static bool hmm_rmem_populates_huge(const struct hmm_rmem_mover *m,
				    const struct migrate_vma *args, unsigned long first,
				    bool *any)
{
	unsigned long i, nr = 0;

	for (i = 0; i < args->npages; i++)
		nr += hmm_rmem_populates(m, args->vma, first + i);
	*any = nr;
	/* Whether the whole system is set to have huge pages, modules cannot see. */
	return nr == args->npages && args->vma->vm_flags & VM_HUGEPAGE;
}

/**
 * hmm_rmem_in_huge - move a huge page that has been collected to the device
 * @m: the call
 * @args: after migrate_vma_setup(); a huge page, or the place of one, which is filled
 * @first: index of its first page in the piece
 *
 * If no chunk is free, it is split where there is room for its parts: nothing is evicted
 * only for 2 MiB to be in one place.  Otherwise something has to go in any case, and
 * evictions empty whole chunks.
 *
 * Context: mmap_lock held for reading.  Sleeps.
 * Return: false if it has been put back, and is to be tried with small pages.
 */
bool hmm_rmem_in_huge(struct hmm_rmem_mover *m, struct migrate_vma *args,
		      unsigned long first)
{
	struct page *page = migrate_pfn_to_page(args->src[0]), *chunk;
	struct hmm_rmem_work *work = m->work;
	unsigned int i, done, nr = args->npages;
	bool any = false, moved;

	if (page ? !PageAnon(page) || PageWriteback(page) :
		   !hmm_rmem_populates_huge(m, args, first, &any)) {
		hmm_rmem_put_back(args);
		return !any;
	}
	chunk = hmm_rmem_alloc_chunk(m->rmem);
	if (!chunk) {
		hmm_rmem_put_back(args);
		if (hmm_rmem_nr_free(m->rmem) >= nr)
			return false;
		bitmap_set(m->short_of, first, nr);
		return true;
	}
	for (i = 0; i < nr; i++) {
		work->copies[i].system = page ? page + i : NULL;
		work->copies[i].offset = hmm_rmem_page_offset(m->rmem, chunk + i);
	}
	done = page ? hmm_rmem_copy_in(m->rmem, work->copies, nr, work->errors) :
		      hmm_rmem_clear(m->rmem, work->copies, nr, work->errors);
	if (done < nr) {
		hmm_rmem_free_range(m->rmem, chunk, nr);
		hmm_rmem_put_back(args);
		return false;
	}
	hmm_rmem_folio_init(chunk, HPAGE_PMD_ORDER);
	args->dst[0] = migrate_pfn(page_to_pfn(chunk)) | MIGRATE_PFN_COMPOUND;
	migrate_vma_pages(args);
	moved = args->src[0] & MIGRATE_PFN_MIGRATE;
	if (moved) {
		/* As in hmm_rmem_in(). */
		folio_mark_dirty(page_folio(chunk));
		hmm_rmem_page_in(chunk, !page);
		memset(m->results + first, HMM_PAGE_MOVED, nr);
		m->move->moved += nr;
	}
	migrate_vma_finalize(args);
	/* There may be no memory for 2 MiB at once within the limits of a cgroup. */
	return moved || page;
}

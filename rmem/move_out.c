// SPDX-License-Identifier: GPL-2.0
/*
 * The way out: pages that have been collected, from a pool to system memory; and what
 * collects them when the CPU has touched one.
 *
 * Owns a run of pages between migrate_vma_setup() and migrate_vma_finalize(), and the pages
 * of system memory that they get.  It is the way in with the roles exchanged, but that it
 * has two callers: a move by address, and a fault, which has no more than the stack to work
 * with if there is no memory for the arrays.
 *
 * The principle: the page that has faulted comes first.  What is brought along with it, and
 * its huge page staying in one piece, are worth no waiting.
 *
 * Locks: none of its own.  mmap_lock (read) and the locks of the collected pages are held,
 * and what is called under them takes hmm_rmem.device_lock and what is below.
 */
#include <linux/gfp.h>
#include <linux/math.h>
#include <linux/mempolicy.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include "../swap_entry/entry.h"
#include "move.h"

static bool hmm_rmem_is_collected(unsigned long src)
{
	return (src & (MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE)) ==
	       (MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE);
}

/* Is it all the same where in system memory a page of this VMA is? */
static bool hmm_rmem_has_no_policy(const struct vm_area_struct *vma)
{
#ifdef CONFIG_NUMA
	return !vma->vm_policy && !current->mempolicy &&
	       !(vma->vm_ops && vma->vm_ops->get_policy);
#else
	return true;
#endif
}

/*
 * Pages in system memory for those in work->slots, by the NUMA policy of their addresses.
 * Not charged: they take over the charge of the pages that they replace.  Slots for which
 * there is no memory are FULL, and left out.  Returns how many there are.
 */
static unsigned int hmm_rmem_system_pages(const struct migrate_vma *args,
					  struct hmm_rmem_work *work, unsigned int wanted,
					  u8 *results, enum hmm_rmem_stat why)
{
	/* Nobody is killed for room on a device. */
	gfp_t gfp = GFP_HIGHUSER_MOVABLE | __GFP_NOWARN |
		    (why == HMM_RMEM_OUT_EVICT ? __GFP_NORETRY : 0);
	/* Nobody waits for what a fault brings along. */
	gfp_t others = args->fault_page ? gfp | __GFP_NORETRY : gfp;
	unsigned int k, nr = 0;
	struct page *page;

	memset(work->pages, 0, wanted * sizeof(*work->pages));
	if (wanted > 1 && hmm_rmem_has_no_policy(args->vma))
		alloc_pages_bulk(others, wanted, work->pages);
	for (k = 0; k < wanted; k++) {
		unsigned long i = work->slots[k];
		bool fault = migrate_pfn_to_page(args->src[i]) == args->fault_page;

		page = work->pages[k];
		if (!page)
			page = alloc_page_vma(fault ? gfp : others, args->vma,
					      args->start + (i << PAGE_SHIFT));
		if (!page) {
			results[i] = HMM_PAGE_FULL;
			continue;
		}
		work->pages[nr] = page;
		work->slots[nr++] = i;
	}
	return nr;
}

/**
 * hmm_rmem_out - move what has been collected to system memory
 * @rmem: pool that it is in
 * @args: after migrate_vma_setup(); small pages
 * @work: arrays, of which @args has its own
 * @results: of the pages of @args; set for those that were collected
 * @why: how they are counted, one of HMM_RMEM_OUT_*, or HMM_RMEM_OUT
 *
 * To its end.
 *
 * Context: mmap_lock held for reading.  Sleeps.
 * Return: how many were moved.
 */
unsigned long hmm_rmem_out(struct hmm_rmem *rmem, struct migrate_vma *args,
			   struct hmm_rmem_work *work, u8 *results, enum hmm_rmem_stat why)
{
	unsigned long i, moved = 0;
	unsigned int c, nr = 0;
	struct page *page;

	for (i = 0; i < args->npages; i++)
		if (hmm_rmem_is_collected(args->src[i]))
			work->slots[nr++] = i;
	nr = hmm_rmem_system_pages(args, work, nr, results, why);
	for (c = 0; c < nr; c++) {
		lock_page(work->pages[c]);
		page = migrate_pfn_to_page(args->src[work->slots[c]]);
		work->copies[c].system = work->pages[c];
		work->copies[c].offset = hmm_rmem_page_offset(rmem, page);
	}
	if (nr)
		hmm_rmem_copy_out(rmem, work->copies, nr, work->errors);
	for (c = 0; c < nr; c++) {
		if (work->errors[c]) {
			results[work->slots[c]] = work->errors[c] == -ENODEV ?
				HMM_PAGE_LOST : hmm_rmem_copy_result(work->errors[c]);
			unlock_page(work->pages[c]);
			__free_page(work->pages[c]);
			continue;
		}
		args->dst[work->slots[c]] = migrate_pfn(page_to_pfn(work->pages[c]));
	}
	migrate_vma_pages(args);
	for (c = 0; c < nr; c++) {
		i = work->slots[c];
		if (work->errors[c])
			continue;
		if (args->src[i] & MIGRATE_PFN_MIGRATE) {
			hmm_rmem_page_out(migrate_pfn_to_page(args->src[i]), why);
			results[i] = HMM_PAGE_MOVED;
			moved++;
		} else {
			results[i] = HMM_PAGE_BUSY;
		}
	}
	migrate_vma_finalize(args);
	return moved;
}

/* A huge page in system memory, if the process wants such, and it is to be had. */
static struct page *hmm_rmem_system_huge(const struct migrate_vma *args)
{
#ifdef HMM_HAVE_MIGRATE_VMA_COMPOUND
	struct folio *folio;

	if (args->vma->vm_flags & VM_NOHUGEPAGE)
		return NULL;
	folio = vma_alloc_folio(GFP_TRANSHUGE | __GFP_NORETRY | __GFP_NOWARN,
				HPAGE_PMD_ORDER, args->vma, args->start);
	return folio ? folio_page(folio, 0) : NULL;
#else
	return NULL;
#endif
}

/**
 * hmm_rmem_out_huge - move a huge page that has been collected to system memory, as one
 * @rmem: pool that it is in
 * @args: after migrate_vma_setup()
 * @work: arrays, of which @args has its own
 * @results: of the pages of @args; set with a return of true
 * @why: how it is counted, one of HMM_RMEM_OUT_*, or HMM_RMEM_OUT
 * @moved: how many pages were moved
 *
 * Or there is none: the kernel collects a place without a page in either direction.
 *
 * Context: mmap_lock held for reading.  Sleeps.
 * Return: false if it cannot be moved as one: then nothing has been done to it.  Otherwise
 * it is at its end.
 */
bool hmm_rmem_out_huge(struct hmm_rmem *rmem, struct migrate_vma *args,
		       struct hmm_rmem_work *work, u8 *results, enum hmm_rmem_stat why,
		       unsigned long *moved)
{
	struct page *head = migrate_pfn_to_page(args->src[0]);
	enum hmm_page_result result = HMM_PAGE_BUSY;
	unsigned int i, nr = args->npages;
	struct page *page;

	*moved = 0;
	if (!head) {
		hmm_rmem_put_back(args);
		return true;
	}
	page = hmm_rmem_system_huge(args);
	if (!page)
		return false;
	lock_page(page);
	for (i = 0; i < nr; i++) {
		work->copies[i].system = page + i;
		work->copies[i].offset = hmm_rmem_page_offset(rmem, head) + ((u64)i << PAGE_SHIFT);
	}
	if (hmm_rmem_copy_out(rmem, work->copies, nr, work->errors) < nr) {
		unlock_page(page);
		put_page(page);
		return false;
	}
	args->dst[0] = migrate_pfn(page_to_pfn(page)) | MIGRATE_PFN_COMPOUND;
	migrate_vma_pages(args);
	if (args->src[0] & MIGRATE_PFN_MIGRATE) {
		hmm_rmem_page_out(head, why);
		result = HMM_PAGE_MOVED;
		*moved = nr;
	}
	memset(results, result, nr);
	migrate_vma_finalize(args);
	return true;
}

/*
 * A huge page has faulted that cannot come back as one: it is split, as in
 * hmm_rmem_move_run(); but the kernel splits only what nobody uses, and counts the
 * reference of the fault as a use.  So that is given up meanwhile.
 *
 * Returns what came of it for the fault.
 */
static u8 hmm_rmem_pull_parts(struct hmm_rmem *rmem, struct migrate_vma *args,
			      struct hmm_rmem_work *work, unsigned long i)
{
	struct hmm_rmem_hold hold = { .page = args->fault_page };
	int ret;

	if (READ_ONCE(rmem->lost))
		return HMM_PAGE_LOST;
	args->flags &= ~MIGRATE_VMA_SELECT_COMPOUND;
	hmm_rmem_hold(rmem, &hold);
	ret = migrate_vma_setup(args);
	hmm_rmem_unhold(rmem, &hold);
	if (WARN_ON_ONCE(ret) || !args->cpages)
		return HMM_PAGE_BUSY;
	hmm_rmem_out(rmem, args, work, work->results, HMM_RMEM_OUT_FAULT);
	/* The page is a small one now, and to the next fault its neighbours do not matter. */
	return work->results[i] == HMM_PAGE_FULL ? HMM_PAGE_BUSY : work->results[i];
}

/* A huge page has faulted, and was collected. */
static u8 hmm_rmem_pull_huge(struct hmm_rmem *rmem, struct migrate_vma *args,
			     struct hmm_rmem_work *work, unsigned long i)
{
	unsigned long moved;

	if (hmm_rmem_out_huge(rmem, args, work, work->results, HMM_RMEM_OUT_FAULT, &moved))
		return work->results[i];
	hmm_rmem_put_back(args);
	return hmm_rmem_pull_parts(rmem, args, work, i);
}

/**
 * hmm_rmem_pull - bring pages back to system memory, as the CPU has touched one
 * @memory: hmm_rmem.memory of the pool
 * @vmf: the fault
 * @start: first byte of what is brought along, page aligned
 * @end: first byte after it
 *
 * hmm_swp_memory.pull of all pools.  Without memory for the arrays it is the page alone,
 * if that is a small one.  A huge one comes back as a whole, or, if there is no huge page
 * for it in system memory, in pieces.
 *
 * Context: mmap_lock held for reading; vmf->page is referenced.  Sleeps.
 * Return: 0 when vmf->page was moved; -EBUSY it is in use, or not there any more; -ENOMEM
 * no memory for it; -EIO the copy failed, the page is intact; -ENODEV its contents are
 * lost.
 */
int hmm_rmem_pull(struct hmm_swp_memory *memory, struct vm_fault *vmf,
		  unsigned long start, unsigned long end)
{
	struct hmm_rmem *rmem = container_of(memory, struct hmm_rmem, memory);
	u64 room[DIV_ROUND_UP(HMM_RMEM_WORK_PAGE, sizeof(u64))];
	struct hmm_rmem_work *work = NULL, single;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.fault_page = vmf->page,
		.pgmap_owner = rmem,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
	};
	bool huge = hmm_swp_fault_is_huge(vmf);
	unsigned long nr, i;
	u8 result;

	if (READ_ONCE(rmem->lost))
		return -ENODEV;
	/*
	 * Of a large page that is mapped page by page only this one.  The kernel splits it,
	 * and then takes its first page for the one that the fault has locked; and this one,
	 * if it is another, is busy until the next try.
	 */
	if (!huge && folio_test_large(page_folio(vmf->page))) {
		start = vmf->address & PAGE_MASK;
		end = start + PAGE_SIZE;
	}
	nr = (end - start) >> PAGE_SHIFT;
	if (huge) {
		args.flags |= MIGRATE_VMA_SELECT_COMPOUND;
		work = hmm_rmem_work_alloc(nr, GFP_KERNEL);
		if (!work)
			return -ENOMEM;
	} else if (nr > 1) {
		work = hmm_rmem_work_alloc(nr, GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	}
	if (!work) {
		work = &single;
		hmm_rmem_work_init(work, room, 1);
		start = vmf->address & PAGE_MASK;
		nr = 1;
	}
	args.start = start;
	args.end = start + (nr << PAGE_SHIFT);
	args.src = work->src;
	args.dst = work->dst;
	i = (vmf->address - start) >> PAGE_SHIFT;
	memset(work->results, HMM_PAGE_SKIPPED, nr);
	if (huge && !hmm_swp_is_exclusive(vmf->page)) {
		result = hmm_rmem_pull_parts(rmem, &args, work, i);
	} else if (WARN_ON_ONCE(migrate_vma_setup(&args)) || !args.cpages) {
		result = HMM_PAGE_BUSY;
	} else if (hmm_rmem_is_huge(&args)) {
		result = hmm_rmem_pull_huge(rmem, &args, work, i);
	} else {
		hmm_rmem_out(rmem, &args, work, work->results, HMM_RMEM_OUT_FAULT);
		result = work->results[i];
	}
	if (work != &single)
		kvfree(work);

	switch (result) {
	case HMM_PAGE_MOVED:
		return 0;
	case HMM_PAGE_FULL:
		return -ENOMEM;
	case HMM_PAGE_FAILED:
		return -EIO;
	case HMM_PAGE_LOST:
		return -ENODEV;
	default:
		return -EBUSY;
	}
}

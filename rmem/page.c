// SPDX-License-Identifier: GPL-2.0
/*
 * The pages of a pool: what they are to the kernel, and what is in them.
 *
 * Owns the struct pages, and in the chunks the sets of pages that hold something.  A page
 * that is handed out is
 *
 *   a number  nobody's; hmm_rmem_folio_init() makes it one of the kernel's, alone or as a
 *             part of one of 2 MiB, and from then on it is freed by its last put_page(), in
 *             whatever context that happens
 *   in        hmm_rmem_page_in(): it has been moved in, and is somebody's memory
 *   lost      it was in when the device was lost
 *
 * and in or lost until hmm_rmem_page_out() says that it was moved out, or it is freed.
 *
 * There are two kinds of memory, which differ by what is in the page table of the process: a
 * special entry (private), or an ordinary one, as the CPU can reach the page (coherent).
 * Here it is the same but for that the kernel may move a coherent page by itself: see
 * hmm_rmem_page_was_taken().
 *
 * The principle: each page is counted once on its way in and once on its way out, whoever
 * moves it, drops it or loses it meanwhile.
 *
 * Locks: hmm_rmem.lock for the sets, taken anywhere and innermost.
 */
#include <kunit/visibility.h>
#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/percpu-refcount.h>
#include <linux/printk.h>
#include <linux/spinlock.h>
#include <linux/vmstat.h>
#include <linux/wait_bit.h>
#include "rmem_private.h"

/*
 * The kernel moves a page that the CPU can reach to system memory without asking, for who
 * is going to keep it for long (FOLL_LONGTERM).  It comes back with its last reference, as
 * one that was unmapped does.  But what it was has been handed to another page, and with
 * that goes the mark that was left in page->private when it came in: no migration keeps
 * that.
 */
#define HMM_RMEM_MARK	1ul

static bool hmm_rmem_page_was_taken(const struct page *page)
{
	const struct dev_pagemap *pgmap = page_pgmap(page);

	/* There may be none for a moment, when the kernel splits a large (private) page. */
	return pgmap && pgmap->type == MEMORY_DEVICE_COHERENT &&
	       page_private(page) != HMM_RMEM_MARK;
}

/**
 * hmm_rmem_page_in - count a page that was moved in
 * @page: device page, locked: the migration has succeeded and is not finalized; the first
 *	page of a large one, which counts for all of it
 * @zero: it was empty, and cleared instead of copied
 *
 * The device may be lost at any time, also while a page comes in: it is counted as lost
 * then, and once.
 *
 * Context: any.
 */
void hmm_rmem_page_in(struct page *page, bool zero)
{
	unsigned int nr = folio_nr_pages(page_folio(page));
	struct hmm_rmem *rmem = hmm_rmem_of(page);
	struct hmm_rmem_chunk *chunk = hmm_rmem_chunk_of(rmem, page);
	unsigned int slot = hmm_rmem_slot(rmem, page);
	unsigned long flags;

	hmm_rmem_count(rmem, HMM_RMEM_IN, nr);
	if (zero)
		hmm_rmem_count(rmem, HMM_RMEM_IN_ZERO, nr);
	if (is_device_coherent_page(page))
		set_page_private(page, HMM_RMEM_MARK);
	spin_lock_irqsave(&rmem->lock, flags);
	WARN_ON_ONCE(test_bit(slot, chunk->in) || test_bit(slot, chunk->lost));
	if (rmem->lost) {
		bitmap_set(chunk->lost, slot, nr);
		rmem->nr_lost += nr;
		hmm_rmem_count(rmem, HMM_RMEM_LOST, nr);
	} else {
		bitmap_set(chunk->in, slot, nr);
	}
	spin_unlock_irqrestore(&rmem->lock, flags);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_page_in);

/**
 * hmm_rmem_page_out - count a page that was moved out
 * @page: device page, locked: the migration has succeeded and is not finalized; the first
 *	page of a large one, which counts for all of it
 * @why: one of HMM_RMEM_OUT_*; HMM_RMEM_OUT for none of these
 *
 * Context: any.
 */
void hmm_rmem_page_out(struct page *page, enum hmm_rmem_stat why)
{
	unsigned int nr = folio_nr_pages(page_folio(page)), lost;
	struct hmm_rmem *rmem = hmm_rmem_of(page);
	struct hmm_rmem_chunk *chunk = hmm_rmem_chunk_of(rmem, page);
	unsigned int slot = hmm_rmem_slot(rmem, page);
	unsigned long flags;

	spin_lock_irqsave(&rmem->lock, flags);
	/* Copied just before the device was lost. */
	lost = hmm_rmem_clear_bits(chunk->lost, slot, nr);
	rmem->nr_lost -= lost;
	WARN_ON_ONCE(lost + hmm_rmem_clear_bits(chunk->in, slot, nr) != nr);
	spin_unlock_irqrestore(&rmem->lock, flags);
	if (lost)
		hmm_rmem_count(rmem, HMM_RMEM_LOST, -(long)lost);
	hmm_rmem_count(rmem, HMM_RMEM_OUT, nr);
	if (why != HMM_RMEM_OUT)
		hmm_rmem_count(rmem, why, nr);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_page_out);

/**
 * hmm_rmem_page_is_in - is there something in the page that somebody needs?
 * @page: device page, locked
 *
 * Context: any.
 * Return: true if it was moved in and not out again, lost or not.
 */
bool hmm_rmem_page_is_in(const struct page *page)
{
	struct hmm_rmem *rmem = hmm_rmem_of(page);
	struct hmm_rmem_chunk *chunk = hmm_rmem_chunk_of(rmem, page);
	unsigned int slot = hmm_rmem_slot(rmem, page);
	unsigned long flags;
	bool is_in;

	spin_lock_irqsave(&rmem->lock, flags);
	is_in = test_bit(slot, chunk->in) || test_bit(slot, chunk->lost);
	spin_unlock_irqrestore(&rmem->lock, flags);
	return is_in && !hmm_rmem_page_was_taken(page);
}

/* Of a chunk, what was in is lost; returns how much that is. */
static unsigned int hmm_rmem_lose_chunk(struct hmm_rmem *rmem, struct hmm_rmem_chunk *chunk)
{
	unsigned int nr;

	lockdep_assert_held(&rmem->lock);
	bitmap_or(chunk->lost, chunk->lost, chunk->in, HMM_RMEM_CHUNK_PAGES);
	nr = hmm_rmem_clear_bits(chunk->in, 0, HMM_RMEM_CHUNK_PAGES);
	rmem->nr_lost += nr;
	hmm_rmem_count(rmem, HMM_RMEM_LOST, nr);
	return nr;
}

/**
 * hmm_rmem_set_lost - what is in the memory is gone for good
 * @rmem: pool that the caller has a reference on
 *
 * Pages are counted as lost now and CPU faults on them end in SIGBUS; copies fail from
 * now on.  Says so in the log, once.
 *
 * Context: any, but takes its time with interrupts off for each chunk.
 */
void hmm_rmem_set_lost(struct hmm_rmem *rmem)
{
	struct hmm_rmem_chunk *chunk;
	unsigned long flags, nr = 0;

	spin_lock_irqsave(&rmem->lock, flags);
	if (rmem->lost) {
		spin_unlock_irqrestore(&rmem->lock, flags);
		return;
	}
	WRITE_ONCE(rmem->lost, true);
	/* Nothing comes in any more. */
	rmem->closed++;
	spin_unlock_irqrestore(&rmem->lock, flags);
	for (chunk = rmem->chunks; chunk < rmem->chunks + rmem->nr_chunks; chunk++) {
		spin_lock_irqsave(&rmem->lock, flags);
		nr += hmm_rmem_lose_chunk(rmem, chunk);
		spin_unlock_irqrestore(&rmem->lock, flags);
	}
	pr_warn("hmm_core: %s: device memory is lost, with %lu pages in it\n", rmem->name,
		nr);
}

#ifdef CONFIG_ZONE_DEVICE

/*
 * munlock() does not see pages that are not present, nor those of devices.  The kernel's
 * allocator makes up for it when it gets such a page back; ours has to as well, or the count
 * of mlock()ed pages stays too high for ever.
 */
static void hmm_rmem_munlock(struct folio *folio)
{
	if (folio_test_clear_mlocked(folio))
		mod_zone_page_state(folio_zone(folio), NR_MLOCK, -folio_nr_pages(folio));
}

/*
 * The kernel frees a large page and leaves it as it is.  Its struct pages are to be those
 * of free pages, each for itself: whoever looks at one must not be led to the first one,
 * and to the size that all of it had.
 */
static void hmm_rmem_undo_compound(struct folio *folio)
{
#ifdef HMM_HAVE_ZONE_DEVICE_PGMAP
	unsigned int i, nr = folio_nr_pages(folio);
	struct dev_pagemap *pgmap = folio->pgmap;
	struct page *page = folio_page(folio, 0);

	if (nr == 1)
		return;
	for (i = 1; i < nr; i++) {
		page[i].flags.f &= ~(PAGE_FLAGS_CHECK_AT_PREP & ~BIT(PG_reserved));
		page[i].private = 0;
		page[i].mapping = NULL;
#ifdef CONFIG_MEMCG
		/* In one of them it was the size. */
		page[i].memcg_data = 0;
#endif
		/* The same word says that it is part of something: now it is not. */
		smp_store_release(&((struct folio *)(page + i))->pgmap, pgmap);
	}
	ClearPageCompound(page);
#endif
}

/* Is it a page that somebody holds without a reference?  Then it is kept for him. */
static unsigned int hmm_rmem_keep_held(struct hmm_rmem *rmem, const struct page *page)
{
	struct hmm_rmem_hold *hold;

	lockdep_assert_held(&rmem->lock);
	list_for_each_entry(hold, &rmem->holds, node) {
		if (hold->page == page) {
			WRITE_ONCE(hold->freed, true);
			return 1;
		}
	}
	return 0;
}

/**
 * hmm_rmem_hold - give up a reference on a page, and keep the page
 * @rmem: its pool
 * @hold: @page is a page that the caller has locked, and has a reference on
 *
 * What the reference did is done by a note: if the page is freed, the pool does not hand
 * it out.  As it is locked nobody else holds it so.
 *
 *	fault				munmap()
 *	hold: no reference
 *					unmaps the page, drops the last reference
 *					frees it: is held, stays as it is
 *	unhold: a reference, as if
 *	 it had never been freed
 *	unlocks, drops it: is free
 *
 * Context: any.
 */
void hmm_rmem_hold(struct hmm_rmem *rmem, struct hmm_rmem_hold *hold)
{
	unsigned long flags;

	hold->freed = false;
	spin_lock_irqsave(&rmem->lock, flags);
	list_add(&hold->node, &rmem->holds);
	spin_unlock_irqrestore(&rmem->lock, flags);
	put_page(hold->page);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_hold);

/**
 * hmm_rmem_unhold - undo hmm_rmem_hold()
 * @rmem: as there
 * @hold: as there
 *
 * Without a reference to be had, the page was freed, or somebody is on his way from the last
 * reference to the pool; there is no other way to have none, as nobody freezes the count of
 * a page that we have locked.  He is waited for, asleep: he may be a task that does not run
 * because we do, with a higher priority on his CPU.
 *
 *	unhold				put_page()
 *					the count is 0
 *	finds no reference
 *	sleeps
 *					hmm_rmem_free_folio(): notes that it was freed
 *					wakes
 *	takes the page over
 *
 * There is no limit to the wait, and none is needed: he waits for nothing on his way, and
 * has nothing to do there that could fail.
 *
 * Context: may sleep.  Returns with a reference on the page, which may have been freed, and
 * then is a small one that nobody has mapped.
 */
void hmm_rmem_unhold(struct hmm_rmem *rmem, struct hmm_rmem_hold *hold)
{
	bool alive = get_page_unless_zero(hold->page);
	unsigned long flags;

	if (!alive)
		wait_var_event(hold->page, READ_ONCE(hold->freed));
	/* Not before he is done with @hold, and with the page. */
	spin_lock_irqsave(&rmem->lock, flags);
	list_del(&hold->node);
	spin_unlock_irqrestore(&rmem->lock, flags);
	if (alive)
		return;
	/* The kernel gives one back for each page that it frees. */
	percpu_ref_get(&rmem->memory.pgmap.ref);
	set_page_count(hold->page, 1);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_unhold);

/* The kernel calls it for the last reference to a page, in any context. */
static void hmm_rmem_free_folio(struct folio *folio)
{
	struct page *page = folio_page(folio, 0);
	struct hmm_rmem *rmem = hmm_rmem_of(page);
	struct hmm_rmem_chunk *chunk = hmm_rmem_chunk_of(rmem, page);
	unsigned int slot = hmm_rmem_slot(rmem, page);
	unsigned int nr = folio_nr_pages(folio);
	unsigned int dropped, held;
	unsigned long flags;
	bool was_taken;

	hmm_rmem_munlock(folio);
	was_taken = hmm_rmem_page_was_taken(page);
	set_page_private(page, 0);
	hmm_rmem_undo_compound(folio);
	spin_lock_irqsave(&rmem->lock, flags);
	held = hmm_rmem_keep_held(rmem, page);
	rmem->nr_lost -= hmm_rmem_clear_bits(chunk->lost, slot, nr);
	dropped = hmm_rmem_clear_bits(chunk->in, slot, nr);
	if (dropped)
		hmm_rmem_count(rmem, was_taken ? HMM_RMEM_OUT : HMM_RMEM_DROPPED, dropped);
	if (nr > held)
		hmm_rmem_give(rmem, page + held, nr - held);
	spin_unlock_irqrestore(&rmem->lock, flags);
	if (held) {
		/* Pairs with the barrier of wait_var_event(): who does not see it, is woken. */
		smp_mb();
		wake_up_var(page);
	}
	/* The kernel still uses the pagemap; memunmap_pages() waits for it. */
	if (nr > held)
		hmm_rmem_put_many(rmem, nr - held);
}

#ifndef HMM_HAVE_PGMAP_FOLIO_FREE
static void hmm_rmem_page_free(struct page *page)
{
	hmm_rmem_free_folio(page_folio(page));
}
#endif

/* The kernel would look for a mapping of a file that the page is of. */
static int hmm_rmem_memory_failure(struct dev_pagemap *pgmap, unsigned long pfn,
				   unsigned long nr_pages, int mf_flags)
{
	return -ENXIO;
}

/*
 * No folio_split(): without it the kernel makes the pieces of a large page pages of the
 * same pagemap, and that is all that the pool wants of them.
 */
const struct dev_pagemap_ops hmm_rmem_pgmap_ops = {
#ifdef HMM_HAVE_PGMAP_FOLIO_FREE
	.folio_free = hmm_rmem_free_folio,
#else
	.page_free = hmm_rmem_page_free,
#endif
	.migrate_to_ram = hmm_swp_fault,
	.memory_failure = hmm_rmem_memory_failure,
};

/**
 * hmm_rmem_folio_init - make pages a page of the kernel's
 * @page: page out of hmm_rmem_alloc(); or for @order the first of hmm_rmem_alloc_chunk()
 * @order: 0, or HPAGE_PMD_ORDER where the kernel has large pages of devices
 *
 * It is locked and has one reference; dropping that frees it.
 *
 * Context: may sleep: an eviction that is looking at its chunk may have it locked.
 */
void hmm_rmem_folio_init(struct page *page, unsigned int order)
{
	/*
	 * What is left of the page's last life would mix with the flags that it gets
	 * by migration, which are only ever set: a page that was dirty once would
	 * stay so.
	 */
#ifdef HMM_HAVE_ZONE_DEVICE_PGMAP
	unsigned int i;

	for (i = 0; i < 1u << order; i++)
		page[i].flags.f &= ~(PAGE_FLAGS_CHECK_AT_PREP & ~BIT(PG_reserved));
	zone_device_folio_init(page_folio(page), page_pgmap(page), order);
#else
	WARN_ON_ONCE(order);
	page->flags &= ~(PAGE_FLAGS_CHECK_AT_PREP & ~BIT(PG_reserved));
	zone_device_page_init(page);
#endif
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_folio_init);

#else /* CONFIG_ZONE_DEVICE */

void hmm_rmem_folio_init(struct page *page, unsigned int order)
{
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_folio_init);

void hmm_rmem_hold(struct hmm_rmem *rmem, struct hmm_rmem_hold *hold)
{
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_hold);

void hmm_rmem_unhold(struct hmm_rmem *rmem, struct hmm_rmem_hold *hold)
{
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_unhold);

#endif /* CONFIG_ZONE_DEVICE */

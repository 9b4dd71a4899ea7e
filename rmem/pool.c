// SPDX-License-Identifier: GPL-2.0
/*
 * The pool: the pages of a device's memory.
 *
 * Owns the physical addresses, the struct pages, and the chunks.  A page is free, or
 * handed out; hmm_rmem_page_init() makes it one of the kernel's, and from then on it is
 * freed by its last put_page(), in whatever context that happens.  Chunks move between
 * three lists by how much of them is in use: a chunk splits by being handed out in parts
 * and merges by the parts coming back, so there is nothing to be done for either.
 *
 * The principle: the pool belongs to its pages as much as to its device.  A page whose
 * device has gone is still in somebody's page table, and its struct page, the pool and
 * this module stay until it is unmapped.
 *
 * There are two kinds of memory, which differ by what is in the page table of the process: a
 * special entry (private), or an ordinary one, as the CPU can reach the page (coherent).
 * Here it is the same but for where the physical addresses come from, and that the kernel
 * may move a coherent page by itself: see hmm_rmem_page_was_taken().
 *
 * A chunk that is free can be one page of the kernel's, of 2 MiB, for as long as the kernel
 * wants it to be.  What a page is to the pool is kept in the chunk, by page, and not in the
 * struct pages: so it does not matter to the pool when the kernel splits a large page, and
 * there is nothing to be done then.
 *
 * Locks: hmm_rmem.lock for the chunks and the states of pages, taken anywhere and
 * innermost.
 */
#include <kunit/visibility.h>
#include <linux/fault-inject.h>
#include <linux/ioport.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <linux/vmstat.h>
#include "rmem_private.h"

/* Chunks in which a run of pages is looked for before another chunk is broken up. */
#define HMM_RMEM_SCAN	8

/* Ends pools. */
static struct workqueue_struct *hmm_rmem_wq;

DECLARE_FAULT_ATTR(hmm_rmem_fail_alloc);
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_fail_alloc);

static struct hmm_rmem *hmm_rmem_of_pgmap(struct dev_pagemap *pgmap)
{
	return container_of(hmm_swp_memory_of(pgmap), struct hmm_rmem, memory);
}

static unsigned long hmm_rmem_first_pfn(const struct hmm_rmem *rmem)
{
	return PHYS_PFN(rmem->memory.pgmap.range.start);
}

/**
 * hmm_rmem_of - the pool that a page is of
 * @page: a page of a pool, in use
 *
 * Context: any.
 * Return: the pool, which stays as long as the page is in use.
 */
struct hmm_rmem *hmm_rmem_of(const struct page *page)
{
	return hmm_rmem_of_pgmap(page_pgmap(page));
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_of);

static unsigned long hmm_rmem_index(const struct hmm_rmem *rmem, const struct page *page)
{
	return page_to_pfn(page) - hmm_rmem_first_pfn(rmem);
}

static struct hmm_rmem_chunk *hmm_rmem_chunk_of(const struct hmm_rmem *rmem,
						const struct page *page)
{
	return &rmem->chunks[hmm_rmem_index(rmem, page) / HMM_RMEM_CHUNK_PAGES];
}

/* Place of a page in its chunk. */
static unsigned int hmm_rmem_slot(const struct hmm_rmem *rmem, const struct page *page)
{
	return hmm_rmem_index(rmem, page) % HMM_RMEM_CHUNK_PAGES;
}

static struct page *hmm_rmem_chunk_page(const struct hmm_rmem *rmem,
					const struct hmm_rmem_chunk *chunk, unsigned int i)
{
	return pfn_to_page(hmm_rmem_first_pfn(rmem) +
			   (chunk - rmem->chunks) * HMM_RMEM_CHUNK_PAGES + i);
}

/* The use of @chunk has changed from @was: into the list where it belongs. */
static void hmm_rmem_file(struct hmm_rmem *rmem, struct hmm_rmem_chunk *chunk,
			  unsigned int was)
{
	lockdep_assert_held(&rmem->lock);
	if (!was && chunk->nr_used) {
		rmem->nr_free_chunks--;
		chunk->filled = rmem->fill++;
	} else if (was && !chunk->nr_used) {
		rmem->nr_free_chunks++;
	}
	if (chunk == rmem->victim)
		return;
	/*
	 * Parts are taken from the head.  What was full has one page to give, what
	 * was free has nearly all: to use up the former first is what lets chunks
	 * become free again.
	 */
	if (!chunk->nr_used)
		list_move_tail(&chunk->node, &rmem->free);
	else if (chunk->nr_used == HMM_RMEM_CHUNK_PAGES)
		list_move(&chunk->node, &rmem->full);
	else if (was == HMM_RMEM_CHUNK_PAGES)
		list_move(&chunk->node, &rmem->partial);
	else if (!was)
		list_move_tail(&chunk->node, &rmem->partial);
}

static void hmm_rmem_reserve(struct hmm_rmem *rmem, struct hmm_rmem_chunk *chunk,
			     unsigned int at, unsigned int nr)
{
	unsigned int was = chunk->nr_used;

	bitmap_set(chunk->used, at, nr);
	chunk->nr_used += nr;
	rmem->nr_used += nr;
	WRITE_ONCE(chunk->touched, true);
	hmm_rmem_file(rmem, chunk, was);
}

static void hmm_rmem_take(struct hmm_rmem *rmem, struct hmm_rmem_chunk *chunk,
			  unsigned int at, unsigned int nr, struct page **pages)
{
	unsigned int i;

	hmm_rmem_reserve(rmem, chunk, at, nr);
	for (i = 0; i < nr; i++)
		pages[i] = hmm_rmem_chunk_page(rmem, chunk, at + i);
}

/* A run of @nr pages out of a chunk that is broken up already. */
static bool hmm_rmem_take_run(struct hmm_rmem *rmem, unsigned int nr, struct page **pages)
{
	struct hmm_rmem_chunk *chunk;
	unsigned int scan = 0;
	unsigned long at;

	list_for_each_entry(chunk, &rmem->partial, node) {
		if (scan++ == HMM_RMEM_SCAN)
			return false;
		if (HMM_RMEM_CHUNK_PAGES - chunk->nr_used < nr)
			continue;
		at = bitmap_find_next_zero_area(chunk->used, HMM_RMEM_CHUNK_PAGES, 0, nr,
						roundup_pow_of_two(nr) - 1);
		if (at < HMM_RMEM_CHUNK_PAGES) {
			hmm_rmem_take(rmem, chunk, at, nr, pages);
			return true;
		}
	}
	return false;
}

/* The next run of a chunk, however short. */
static unsigned int hmm_rmem_take_rest(struct hmm_rmem *rmem, unsigned int nr,
				       struct page **pages)
{
	struct hmm_rmem_chunk *chunk;
	unsigned long at, end;

	chunk = list_first_entry_or_null(&rmem->partial, struct hmm_rmem_chunk, node);
	if (!chunk)
		return 0;
	at = find_first_zero_bit(chunk->used, HMM_RMEM_CHUNK_PAGES);
	end = find_next_bit(chunk->used, min(HMM_RMEM_CHUNK_PAGES, at + nr), at);
	hmm_rmem_take(rmem, chunk, at, end - at, pages);
	return end - at;
}

static unsigned int hmm_rmem_take_some(struct hmm_rmem *rmem, unsigned long want,
				       struct page **pages)
{
	unsigned int nr = min(want, HMM_RMEM_CHUNK_PAGES);
	struct hmm_rmem_chunk *chunk;

	if (hmm_rmem_take_run(rmem, nr, pages))
		return nr;
	chunk = list_first_entry_or_null(&rmem->free, struct hmm_rmem_chunk, node);
	if (!chunk)
		return hmm_rmem_take_rest(rmem, nr, pages);
	hmm_rmem_take(rmem, chunk, 0, nr, pages);
	return nr;
}

/**
 * hmm_rmem_alloc - take pages
 * @rmem: pool that the caller has a reference on
 * @pages: array for them
 * @nr: how many
 *
 * Contiguous and aligned as far as can be had: a whole chunk for HMM_RMEM_CHUNK_PAGES.
 * They are nobody's yet: the caller gives each to hmm_rmem_page_init(), or all back with
 * hmm_rmem_free().
 *
 * Context: any; never sleeps, never evicts.
 * Return: how many there were; 0 for a pool that is closed.
 */
unsigned long hmm_rmem_alloc(struct hmm_rmem *rmem, struct page **pages, unsigned long nr)
{
	unsigned long flags, got = 0;
	unsigned int some;

	if (should_fail(&hmm_rmem_fail_alloc, nr))
		return 0;
	spin_lock_irqsave(&rmem->lock, flags);
	while (got < nr && !rmem->closed) {
		some = hmm_rmem_take_some(rmem, nr - got, pages + got);
		if (!some)
			break;
		got += some;
	}
	spin_unlock_irqrestore(&rmem->lock, flags);
	if (got)
		refcount_add(got, &rmem->ref);
	return got;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_alloc);

/**
 * hmm_rmem_alloc_chunk - take a whole chunk
 * @rmem: pool that the caller has a reference on
 *
 * For a page of 2 MiB; give it to hmm_rmem_folio_init(), or back with
 * hmm_rmem_free_range().
 *
 * Context: any; never sleeps, never evicts.
 * Return: its first page; NULL if none is free, or the pool is closed.
 */
struct page *hmm_rmem_alloc_chunk(struct hmm_rmem *rmem)
{
	struct hmm_rmem_chunk *chunk = NULL;
	unsigned long flags;

	if (should_fail(&hmm_rmem_fail_alloc, HMM_RMEM_CHUNK_PAGES))
		return NULL;
	spin_lock_irqsave(&rmem->lock, flags);
	if (!rmem->closed)
		chunk = list_first_entry_or_null(&rmem->free, struct hmm_rmem_chunk, node);
	if (chunk)
		hmm_rmem_reserve(rmem, chunk, 0, HMM_RMEM_CHUNK_PAGES);
	spin_unlock_irqrestore(&rmem->lock, flags);
	if (!chunk)
		return NULL;
	refcount_add(HMM_RMEM_CHUNK_PAGES, &rmem->ref);
	return hmm_rmem_chunk_page(rmem, chunk, 0);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_alloc_chunk);

/* Clear bits; returns how many were set. */
static unsigned int hmm_rmem_clear_bits(unsigned long *bits, unsigned int first,
					unsigned int nr)
{
	unsigned int i, was = 0;

	if (nr == HMM_RMEM_CHUNK_PAGES) {
		was = bitmap_weight(bits, nr);
		bitmap_zero(bits, nr);
		return was;
	}
	for (i = first; i < first + nr; i++)
		was += __test_and_clear_bit(i, bits);
	return was;
}

static void hmm_rmem_give(struct hmm_rmem *rmem, struct page *page, unsigned int nr)
{
	struct hmm_rmem_chunk *chunk = hmm_rmem_chunk_of(rmem, page);
	unsigned int was = chunk->nr_used;
	unsigned int given;

	lockdep_assert_held(&rmem->lock);
	given = hmm_rmem_clear_bits(chunk->used, hmm_rmem_slot(rmem, page), nr);
	WARN_ON_ONCE(given != nr);
	rmem->nr_used -= given;
	chunk->nr_used -= given;
	hmm_rmem_file(rmem, chunk, was);
}

static void hmm_rmem_put_many(struct hmm_rmem *rmem, unsigned long nr)
{
	/* Not here: the last reference may be that of a page, dropped in any context. */
	if (refcount_sub_and_test(nr, &rmem->ref))
		queue_work(hmm_rmem_wq, &rmem->release);
}

/**
 * hmm_rmem_free - give pages back that were not given to hmm_rmem_page_init()
 * @rmem: their pool
 * @pages: pages
 * @nr: how many
 *
 * Context: any.
 */
void hmm_rmem_free(struct hmm_rmem *rmem, struct page **pages, unsigned long nr)
{
	unsigned long i, flags;

	if (!nr)
		return;
	spin_lock_irqsave(&rmem->lock, flags);
	for (i = 0; i < nr; i++)
		hmm_rmem_give(rmem, pages[i], 1);
	spin_unlock_irqrestore(&rmem->lock, flags);
	hmm_rmem_put_many(rmem, nr);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_free);

/**
 * hmm_rmem_free_range - give neighbouring pages of a chunk back, as hmm_rmem_free()
 * @rmem: their pool
 * @page: the first
 * @nr: how many
 *
 * Context: any.
 */
void hmm_rmem_free_range(struct hmm_rmem *rmem, struct page *page, unsigned int nr)
{
	unsigned long flags;

	spin_lock_irqsave(&rmem->lock, flags);
	hmm_rmem_give(rmem, page, nr);
	spin_unlock_irqrestore(&rmem->lock, flags);
	hmm_rmem_put_many(rmem, nr);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_free_range);

/**
 * hmm_rmem_nr_free - how many pages hmm_rmem_alloc() would find
 * @rmem: pool
 *
 * Context: any.
 * Return: their number, which may be another one already.
 */
unsigned long hmm_rmem_nr_free(struct hmm_rmem *rmem)
{
	unsigned long flags, nr = 0;

	spin_lock_irqsave(&rmem->lock, flags);
	if (!rmem->closed)
		nr = rmem->nr_chunks * HMM_RMEM_CHUNK_PAGES - rmem->nr_used;
	if (nr && rmem->victim)
		nr -= HMM_RMEM_CHUNK_PAGES - rmem->victim->nr_used;
	spin_unlock_irqrestore(&rmem->lock, flags);
	return nr;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_nr_free);

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

/**
 * hmm_rmem_close - hand out nothing any more
 * @rmem: pool
 *
 * Counts: as many hmm_rmem_reopen() open it again.  Pages that were handed out before
 * may still come in.
 *
 * Context: any.
 */
void hmm_rmem_close(struct hmm_rmem *rmem)
{
	unsigned long flags;

	spin_lock_irqsave(&rmem->lock, flags);
	rmem->closed++;
	spin_unlock_irqrestore(&rmem->lock, flags);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_close);

/**
 * hmm_rmem_reopen - undo hmm_rmem_close()
 * @rmem: pool
 *
 * Context: any.
 */
void hmm_rmem_reopen(struct hmm_rmem *rmem)
{
	unsigned long flags;

	spin_lock_irqsave(&rmem->lock, flags);
	if (!WARN_ON_ONCE(!rmem->closed))
		rmem->closed--;
	spin_unlock_irqrestore(&rmem->lock, flags);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_reopen);

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
			hold->freed = true;
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
 * Context: may sleep.  Returns with a reference on the page, which may have been freed, and
 * then is a small one that nobody has mapped.
 */
void hmm_rmem_unhold(struct hmm_rmem *rmem, struct hmm_rmem_hold *hold)
{
	bool alive = get_page_unless_zero(hold->page);
	unsigned long flags;

	/* Somebody is between his last reference and the pool. */
	while (!alive && !READ_ONCE(hold->freed))
		cond_resched();
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
static const struct dev_pagemap_ops hmm_rmem_pgmap_ops = {
#ifdef HMM_HAVE_PGMAP_FOLIO_FREE
	.folio_free = hmm_rmem_free_folio,
#else
	.page_free = hmm_rmem_page_free,
#endif
	.migrate_to_ram = hmm_swp_fault,
	.memory_failure = hmm_rmem_memory_failure,
};

static struct resource *hmm_rmem_get_region(const struct hmm_device *device)
{
	struct resource *region;

	if (IS_ENABLED(CONFIG_DEVICE_PRIVATE) && !device->rmem_base)
		return request_free_mem_region(&iomem_resource, device->rmem_bytes,
					       "hmm_rmem");
	region = request_mem_region(device->rmem_base, device->rmem_bytes, "hmm_rmem");
	return region ? region : ERR_PTR(-EBUSY);
}

/* Make struct pages. */
static int hmm_rmem_map(struct hmm_rmem *rmem, const struct hmm_device *device)
{
	struct dev_pagemap *pgmap = &rmem->memory.pgmap;
	void *addr;

	rmem->region = hmm_rmem_get_region(device);
	if (IS_ERR(rmem->region))
		return PTR_ERR(rmem->region);
	rmem->select = device->rmem_base ? MIGRATE_VMA_SELECT_DEVICE_COHERENT :
					   MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
	pgmap->type = device->rmem_base ? MEMORY_DEVICE_COHERENT : MEMORY_DEVICE_PRIVATE;
	pgmap->range.start = rmem->region->start;
	pgmap->range.end = rmem->region->end;
	pgmap->nr_range = 1;
	pgmap->ops = &hmm_rmem_pgmap_ops;
	pgmap->owner = rmem;
	addr = memremap_pages(pgmap, NUMA_NO_NODE);
	if (!IS_ERR(addr))
		return 0;
	release_mem_region(rmem->region->start, resource_size(rmem->region));
	return PTR_ERR(addr);
}

static void hmm_rmem_unmap(struct hmm_rmem *rmem)
{
	memunmap_pages(&rmem->memory.pgmap);
	release_mem_region(rmem->region->start, resource_size(rmem->region));
}

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

static int hmm_rmem_map(struct hmm_rmem *rmem, const struct hmm_device *device)
{
	return -EOPNOTSUPP;
}

static void hmm_rmem_unmap(struct hmm_rmem *rmem)
{
}

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

/* What it owns besides its pages. */
static void hmm_rmem_free_parts(struct hmm_rmem *rmem)
{
	hmm_rmem_transit_free(rmem->transit);
	kvfree(rmem->chunks);
	kfree(rmem->name);
}

/* Nothing uses it any more, but hmm_rmem_of_device() may be looking at it. */
static void hmm_rmem_destroy(struct work_struct *work)
{
	struct hmm_rmem *rmem = container_of(work, struct hmm_rmem, release);

	WARN_ON_ONCE(rmem->nr_used || rmem->nr_lost);
	hmm_rmem_unmap(rmem);
	hmm_rmem_free_parts(rmem);
	kvfree_rcu_mightsleep(rmem);
	/* The end of this function is waited for by hmm_exit(). */
	module_put(THIS_MODULE);
}

static void hmm_rmem_init_chunks(struct hmm_rmem *rmem)
{
	struct hmm_rmem_chunk *chunk;

	INIT_LIST_HEAD(&rmem->free);
	INIT_LIST_HEAD(&rmem->partial);
	INIT_LIST_HEAD(&rmem->full);
	INIT_LIST_HEAD(&rmem->holds);
	for (chunk = rmem->chunks; chunk < rmem->chunks + rmem->nr_chunks; chunk++)
		list_add_tail(&chunk->node, &rmem->free);
	rmem->nr_free_chunks = rmem->nr_chunks;
}

static struct hmm_rmem *hmm_rmem_new(struct hmm_device *device)
{
	struct hmm_rmem *rmem = kvzalloc(sizeof(*rmem), GFP_KERNEL);

	if (!rmem)
		return NULL;
	rmem->nr_chunks = device->rmem_bytes >> HMM_RMEM_CHUNK_SHIFT;
	rmem->chunks = kvcalloc(rmem->nr_chunks, sizeof(*rmem->chunks),
				GFP_KERNEL | __GFP_NOWARN);
	rmem->transit = hmm_rmem_transit_new();
	rmem->name = kstrdup(device->name, GFP_KERNEL);
	if (!rmem->chunks || !rmem->transit || !rmem->name) {
		hmm_rmem_free_parts(rmem);
		kvfree(rmem);
		return NULL;
	}
	rmem->memory.pull = hmm_rmem_pull;
	spin_lock_init(&rmem->memory.stream_lock);
	hmm_swp_window_init(&rmem->memory);
	refcount_set(&rmem->ref, 1);
	init_rwsem(&rmem->device_lock);
	rmem->device = device;
	rmem->ops = device->rmem_ops;
	spin_lock_init(&rmem->lock);
	hmm_rmem_init_chunks(rmem);
	mutex_init(&rmem->evict_lock);
	INIT_WORK(&rmem->release, hmm_rmem_destroy);
	return rmem;
}

/* Does the kernel have pages for this kind of memory? */
static bool hmm_rmem_is_possible(const struct hmm_device *device)
{
	return device->rmem_base ? IS_ENABLED(CONFIG_DEVICE_MIGRATION) :
				   IS_ENABLED(CONFIG_DEVICE_PRIVATE);
}

/**
 * hmm_rmem_create - make the pool of a device, if it has memory
 * @device: device that is being registered; gets the pool, or NULL if it has no memory
 *	or the kernel has no such pages
 *
 * Context: Process context, may sleep.
 * Return: 0; -EBUSY the physical addresses are taken; -ENOMEM, or what else kept the
 * kernel from making struct pages.
 */
int hmm_rmem_create(struct hmm_device *device)
{
	struct hmm_rmem *rmem;
	int ret;

	device->rmem = NULL;
	memset(device->rmem_last, 0, sizeof(device->rmem_last));
	if (!device->rmem_ops || !device->rmem_bytes || !hmm_rmem_is_possible(device))
		return 0;
	rmem = hmm_rmem_new(device);
	if (!rmem)
		return -ENOMEM;
	ret = hmm_rmem_map(rmem, device);
	if (ret) {
		hmm_rmem_free_parts(rmem);
		kvfree(rmem);
		return ret;
	}
	/* The driver has a reference on us now, but need not when the pool goes. */
	__module_get(THIS_MODULE);
	WRITE_ONCE(device->rmem, rmem);
	return 0;
}

/**
 * hmm_rmem_get - take another reference
 * @rmem: pool that somebody has a reference on
 *
 * Context: any.
 */
void hmm_rmem_get(struct hmm_rmem *rmem)
{
	refcount_inc(&rmem->ref);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_get);

/**
 * hmm_rmem_of_device - the pool of a device, to stay
 * @device: the device, which may be registered no more
 *
 * Context: any.
 * Return: the pool, with a reference for the caller; NULL if there is none.
 */
struct hmm_rmem *hmm_rmem_of_device(const struct hmm_device *device)
{
	struct hmm_rmem *rmem;

	rcu_read_lock();
	/* Pairs with hmm_rmem_detach(). */
	rmem = smp_load_acquire(&device->rmem);
	if (rmem && !refcount_inc_not_zero(&rmem->ref))
		rmem = NULL;
	rcu_read_unlock();
	return rmem;
}

/**
 * hmm_rmem_put - drop a reference
 * @rmem: pool
 *
 * Context: any.
 */
void hmm_rmem_put(struct hmm_rmem *rmem)
{
	hmm_rmem_put_many(rmem, 1);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_put);

/**
 * hmm_rmem_detach - the device goes
 * @rmem: its pool, closed
 *
 * What is still in its memory is lost.
 *
 * Context: Process context; waits for the copies that are under way.
 * Return: nothing.  No operation of the device is called any more, and the pool is gone
 * unless there are pages that keep it.
 */
void hmm_rmem_detach(struct hmm_rmem *rmem)
{
	struct hmm_device *device = rmem->device;
	unsigned int i;

	hmm_rmem_debugfs_remove(rmem);
	down_write(&rmem->device_lock);
	rmem->device = NULL;
	up_write(&rmem->device_lock);
	if (READ_ONCE(rmem->nr_used))
		hmm_rmem_set_lost(rmem);
	/* The device keeps its counters, and no gauges. */
	for (i = 0; i < HMM_RMEM_NR; i++)
		device->rmem_last[i] = hmm_rmem_read_stat(rmem, i);
	device->rmem_last[HMM_RMEM_TOTAL] = 0;
	device->rmem_last[HMM_RMEM_USED] = 0;
	device->rmem_last[HMM_RMEM_CHUNKS_FREE] = 0;
	/* Pairs with hmm_rmem_of_device(): who finds no pool finds the counters. */
	smp_store_release(&device->rmem, NULL);
	/* Not by the work, so that the module can be unloaded right after. */
	if (refcount_dec_and_test(&rmem->ref))
		hmm_rmem_destroy(&rmem->release);
}

/**
 * hmm_rmem_owns - is it a page of the device's own memory?
 * @device: device
 * @page: any page that the caller keeps in its place
 *
 * Context: any.
 * Return: true if it is.
 */
bool hmm_rmem_owns(const struct hmm_device *device, const struct page *page)
{
	const struct hmm_rmem *rmem = READ_ONCE(device->rmem);

	return rmem && is_zone_device_page(page) && page_pgmap(page)->owner == rmem;
}
EXPORT_SYMBOL_NS(hmm_rmem_owns, "HMM");

/**
 * hmm_rmem_offset - where a page is in the device's memory
 * @page: a page that hmm_rmem_owns()
 *
 * Context: any.
 * Return: offset in bytes.
 */
u64 hmm_rmem_offset(const struct page *page)
{
	return (u64)hmm_rmem_index(hmm_rmem_of(page), page) << PAGE_SHIFT;
}
EXPORT_SYMBOL_NS(hmm_rmem_offset, "HMM");

/**
 * hmm_rmem_page - the page at an offset of the device's memory
 * @device: the device
 * @offset: offset in bytes
 *
 * Context: any, at any time in the life of @device; the page stays as long as the device is
 * registered, or the page in use.
 * Return: the page, which may be in use or not; NULL beyond the end of the memory or if
 * there is none.
 */
struct page *hmm_rmem_page(const struct hmm_device *device, u64 offset)
{
	struct page *page = NULL;
	struct hmm_rmem *rmem;

	rcu_read_lock();
	rmem = READ_ONCE(device->rmem);
	if (rmem && offset < (u64)rmem->nr_chunks << HMM_RMEM_CHUNK_SHIFT)
		page = pfn_to_page(hmm_rmem_first_pfn(rmem) + (offset >> PAGE_SHIFT));
	rcu_read_unlock();
	return page;
}
EXPORT_SYMBOL_NS(hmm_rmem_page, "HMM");

/**
 * hmm_rmem_init - get ready for pools
 *
 * Context: before there is a pool.
 * Return: 0 or -ENOMEM.
 */
int hmm_rmem_init(void)
{
	hmm_rmem_wq = alloc_workqueue("hmm_rmem", WQ_UNBOUND, 0);
	return hmm_rmem_wq ? 0 : -ENOMEM;
}

/**
 * hmm_rmem_exit - undo hmm_rmem_init()
 *
 * Context: when there is no pool any more, but for one that is in the last lines of its
 * work, which is waited for.
 */
void hmm_rmem_exit(void)
{
	destroy_workqueue(hmm_rmem_wq);
}

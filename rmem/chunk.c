// SPDX-License-Identifier: GPL-2.0
/*
 * The chunks of a pool: what of its memory is in use, and handing it out.
 *
 * Owns the chunks, their lists, and in them the sets of pages that are in use.  A page is
 * free, or handed out.  Chunks move between three lists by how much of them is in use: a
 * chunk splits by being handed out in parts and merges by the parts coming back, so there is
 * nothing to be done for either.  A fourth state, to be in no list, is that of the one chunk
 * that an eviction is emptying: see evict.c.
 *
 * The principle: what a page is to the pool is kept in its chunk, by page, and not in the
 * struct pages.  So it does not matter here what the kernel makes of those: a chunk that is
 * free can be one page of the kernel's, of 2 MiB, for as long as the kernel wants it to be,
 * and when that splits it, there is nothing to be done.
 *
 * Each page that is handed out has a reference on the pool: see pool.c.
 *
 * Locks: hmm_rmem.lock for all of it, taken anywhere and innermost.
 */
#include <kunit/visibility.h>
#include <linux/bitmap.h>
#include <linux/fault-inject.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/spinlock.h>
#include "rmem_private.h"

/* Chunks in which a run of pages is looked for before another chunk is broken up. */
#define HMM_RMEM_SCAN	8

DECLARE_FAULT_ATTR(hmm_rmem_fail_alloc);
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_fail_alloc);

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

/**
 * hmm_rmem_clear_bits - take pages out of a set
 * @bits: one of the sets of a chunk
 * @first: the first
 * @nr: how many
 *
 * Context: hmm_rmem.lock is held.
 * Return: how many of them were in it.
 */
unsigned int hmm_rmem_clear_bits(unsigned long *bits, unsigned int first, unsigned int nr)
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

/**
 * hmm_rmem_give - neighbouring pages of a chunk are free
 * @rmem: their pool
 * @page: the first
 * @nr: how many
 *
 * They keep their references on the pool, which the caller drops.
 *
 * Context: hmm_rmem.lock is held.
 */
void hmm_rmem_give(struct hmm_rmem *rmem, struct page *page, unsigned int nr)
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

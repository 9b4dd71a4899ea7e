// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of a pool by their number: frames, for pages of files.
 *
 * Owns the numbers of pools, and of each chunk the array that leads from a frame to the
 * page of a file that is in it.  A frame comes out of the same chunks as a page that
 * becomes one of the kernel's, but it never does: its struct page is as it is while it is
 * free, and nobody looks at it.  It keeps its pool, as any page in use does: so who finds a
 * number in an entry, under the lock of the page, finds the pool.
 *
 *	allocated	its bit in hmm_rmem_chunk.used
 *	bound		and in .file, and its place in .files says of what it is.  Only for
 *			who comes from the device's side; the state of the page decides.
 *
 * The array is allocated when the first frame is taken out of a chunk, before any page is
 * locked, and goes with the pool.
 *
 * The principle: a frame is given back by who has changed the state of its page, after that,
 * and never before all translations are gone.
 *
 * Locks: hmm_rmem.lock, and the spinlock of the array of pools.
 */
#include <kunit/visibility.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include "pagecache_object.h"

/* Pools by number. */
static DEFINE_XARRAY_ALLOC(hmm_rmem_pools);

/**
 * hmm_rmem_number - give a pool a number
 * @rmem: pool that is being made
 *
 * Context: Process context, may sleep.
 * Return: 0, -ENOMEM, -EBUSY there are too many, or -EFBIG it is too large.
 */
int hmm_rmem_number(struct hmm_rmem *rmem)
{
	if (!hmm_swp_file_fits(rmem->nr_chunks * HMM_RMEM_CHUNK_PAGES))
		return -EFBIG;
	return xa_alloc(&hmm_rmem_pools, &rmem->number, rmem,
			XA_LIMIT(0, HMM_SWP_FILE_POOL_MAX), GFP_KERNEL);
}

/**
 * hmm_rmem_unnumber - undo hmm_rmem_number()
 * @rmem: pool of which nothing is in use
 *
 * Context: Process context.
 */
void hmm_rmem_unnumber(struct hmm_rmem *rmem)
{
	xa_erase(&hmm_rmem_pools, rmem->number);
}

/**
 * hmm_rmem_by_number - the pool with a number
 * @number: of a pool that has a frame in use, which the caller keeps in use
 *
 * Context: any.
 * Return: the pool.
 */
struct hmm_rmem *hmm_rmem_by_number(u32 number)
{
	return xa_load(&hmm_rmem_pools, number);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_by_number);

/**
 * hmm_rmem_frame - the number of a page
 * @rmem: its pool
 * @page: page, only taken as a place
 *
 * Return: its number.
 */
unsigned long hmm_rmem_frame(const struct hmm_rmem *rmem, const struct page *page)
{
	return page_to_pfn(page) - PHYS_PFN(rmem->memory.pgmap.range.start);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_frame);

static struct hmm_rmem_chunk *hmm_rmem_chunk_with(struct hmm_rmem *rmem, unsigned long frame)
{
	return &rmem->chunks[frame / HMM_RMEM_CHUNK_PAGES];
}

/* Make sure that the chunk of a frame, which is in use, has its array. */
static bool hmm_rmem_make_files(struct hmm_rmem *rmem, struct hmm_rmem_chunk *chunk)
{
	struct hmm_rmem_file *files;
	unsigned long flags;

	if (READ_ONCE(chunk->files))
		return true;
	files = kvcalloc(HMM_RMEM_CHUNK_PAGES, sizeof(*files), GFP_KERNEL);
	if (!files)
		return false;
	spin_lock_irqsave(&rmem->lock, flags);
	if (!chunk->files) {
		WRITE_ONCE(chunk->files, files);
		files = NULL;
	}
	spin_unlock_irqrestore(&rmem->lock, flags);
	kvfree(files);
	return true;
}

/**
 * hmm_rmem_free_files - free the arrays of a pool
 * @rmem: pool of which nothing is in use
 *
 * Context: may sleep.
 */
void hmm_rmem_free_files(struct hmm_rmem *rmem)
{
	unsigned long i;

	for (i = 0; i < rmem->nr_chunks; i++)
		kvfree(rmem->chunks[i].files);
}

/**
 * hmm_rmem_alloc_frames - take pages for pages of files
 * @rmem: pool that the caller has a reference on
 * @pages: array for them; they only stand for places
 * @nr: how many
 *
 * Each is given to hmm_rmem_bind(), or back with hmm_rmem_free().
 *
 * Context: Process context, may sleep and reclaim; no page is locked.
 * Return: how many there were; 0 for a pool that is closed.
 */
unsigned long hmm_rmem_alloc_frames(struct hmm_rmem *rmem, struct page **pages,
				    unsigned long nr)
{
	unsigned long i, got = hmm_rmem_alloc(rmem, pages, nr);

	for (i = 0; i < got; i++) {
		unsigned long frame = hmm_rmem_frame(rmem, pages[i]);

		if (!hmm_rmem_make_files(rmem, hmm_rmem_chunk_with(rmem, frame)))
			break;
	}
	hmm_rmem_free(rmem, pages + i, got - i);
	return i;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_alloc_frames);

/**
 * hmm_rmem_bind - a page of a file is in a frame now
 * @rmem: pool
 * @frame: out of hmm_rmem_alloc_frames()
 * @cache: of the inode
 * @index: of the page, which is locked
 *
 * Context: any.
 */
void hmm_rmem_bind(struct hmm_rmem *rmem, unsigned long frame, struct hmm_pagecache *cache,
		   pgoff_t index)
{
	struct hmm_rmem_chunk *chunk = hmm_rmem_chunk_with(rmem, frame);
	unsigned int slot = frame % HMM_RMEM_CHUNK_PAGES;
	unsigned long flags;

	spin_lock_irqsave(&rmem->lock, flags);
	WARN_ON_ONCE(!test_bit(slot, chunk->used) || test_bit(slot, chunk->file));
	chunk->files[slot] = (struct hmm_rmem_file) { .cache = cache, .index = index };
	__set_bit(slot, chunk->file);
	rmem->nr_file++;
	spin_unlock_irqrestore(&rmem->lock, flags);
	hmm_rmem_count(rmem, HMM_RMEM_IN, 1);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_bind);

/**
 * hmm_rmem_unbind - the page of a file is no longer in a frame, which is free now
 * @rmem: pool; may be gone afterwards
 * @frame: frame, which nothing uses any more
 * @why: one of HMM_RMEM_OUT_*; HMM_RMEM_OUT for none of these; HMM_RMEM_DROPPED;
 *	HMM_RMEM_LOST it was the only copy, and could not be saved
 *
 * Context: any.
 */
void hmm_rmem_unbind(struct hmm_rmem *rmem, unsigned long frame, enum hmm_rmem_stat why)
{
	struct page *page = pfn_to_page(PHYS_PFN(rmem->memory.pgmap.range.start) + frame);
	struct hmm_rmem_chunk *chunk = hmm_rmem_chunk_with(rmem, frame);
	unsigned int slot = frame % HMM_RMEM_CHUNK_PAGES;
	unsigned long flags;

	spin_lock_irqsave(&rmem->lock, flags);
	if (!WARN_ON_ONCE(!__test_and_clear_bit(slot, chunk->file)))
		rmem->nr_file--;
	chunk->files[slot] = (struct hmm_rmem_file) {};
	spin_unlock_irqrestore(&rmem->lock, flags);
	if (why != HMM_RMEM_DROPPED && why != HMM_RMEM_LOST && why != HMM_RMEM_OUT)
		hmm_rmem_count(rmem, HMM_RMEM_OUT, 1);
	hmm_rmem_count(rmem, why, 1);
	hmm_rmem_free(rmem, &page, 1);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_unbind);

/**
 * hmm_rmem_bound_to - what page of a file is in a frame?
 * @rmem: pool
 * @chunk: index of the chunk
 * @slot: of the frame in it
 * @index: out: of the page in the file
 *
 * Context: RCU read section, for as long as the result is used without a reference on the
 * inode.
 * Return: what is known of the inode; NULL: none is.
 */
struct hmm_pagecache *hmm_rmem_bound_to(struct hmm_rmem *rmem, unsigned long chunk,
					unsigned int slot, pgoff_t *index)
{
	struct hmm_pagecache *cache = NULL;
	unsigned long flags;

	spin_lock_irqsave(&rmem->lock, flags);
	if (test_bit(slot, rmem->chunks[chunk].file)) {
		cache = rmem->chunks[chunk].files[slot].cache;
		*index = rmem->chunks[chunk].files[slot].index;
	}
	spin_unlock_irqrestore(&rmem->lock, flags);
	return cache;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_bound_to);

// SPDX-License-Identifier: GPL-2.0
/*
 * Moving pages out by where they are in the device's memory: to make room, and to leave.
 *
 * Owns no state but the place of the clock's hand.  Works chunk by chunk: system pages
 * are allocated with no lock held, then what can be had of the chunk is taken out of all
 * page tables at once (migrate_device_range()), copied by one batch, and handed over.
 *
 * The principle: nobody is waited for under a page lock but the device's copies.  A page
 * that somebody else has (a CPU fault that fetches it, a migration, a fork) is passed
 * by; who needs all of them comes again.
 *
 * A huge page fills its chunk, and moves as one, to a huge page of system memory.  If there
 * is none, or it is mapped in parts, it is not taken by where it is, but by the address that
 * it is mapped at, where the kernel splits it: by page it does not.  In parts it is mapped
 * after the process has unmapped others, and these become free by the split.
 *
 * Locks: hmm_rmem.evict_lock over all of it, outside of page locks; device_lock and
 * hmm_rmem.lock inside.  Called with none held: mmap_lock is not needed, and must not be
 * held, for the allocations may wait for reclaim, which waits for anything.
 */
#include <kunit/visibility.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "../swap_entry/entry.h"
#include "pagecache_private.h"
#include "rmem_private.h"

/*
 * Rounds without any progress after which an evacuation gives up, and a leaving device;
 * and either, if all that is left is anonymous and cannot be copied.  That is SIGBUS then; who
 * reads a file would have older bytes, so these are tried for as long as pages in use.
 */
#define HMM_RMEM_EVACUATE_IDLE	30
#define HMM_RMEM_LEAVE_IDLE	100
#define HMM_RMEM_BROKEN_IDLE	5

/* The longest pause between two of them. */
#define HMM_RMEM_PAUSE_MS	100u

/**
 * struct hmm_rmem_transit - what is on its way out of a chunk
 * @src: its pages, as migrate_device_range() has them
 * @dst: where they go
 * @copies: the copies to make
 * @index: of the page in @src, by copy
 * @errors: by copy
 * @nr_gone: pages that nobody needs any more
 * @anon_vmas: of the pages, referenced; NULL where there is no page to be moved
 * @system: pages of system memory, to be used
 * @nr_system: how many
 * @results: of pages that are moved by address
 */
struct hmm_rmem_transit {
	unsigned long src[HMM_RMEM_CHUNK_PAGES];
	unsigned long dst[HMM_RMEM_CHUNK_PAGES];
	struct hmm_rmem_copy copies[HMM_RMEM_CHUNK_PAGES];
	unsigned int index[HMM_RMEM_CHUNK_PAGES];
	int errors[HMM_RMEM_CHUNK_PAGES];
	unsigned int nr_gone;
	struct anon_vma *anon_vmas[HMM_RMEM_CHUNK_PAGES];
	struct page *system[HMM_RMEM_CHUNK_PAGES];
	unsigned long nr_system;
	u8 results[HMM_RMEM_CHUNK_PAGES];
};

/**
 * struct hmm_rmem_order - how pages are to be moved out
 * @why: how to count them
 * @gfp: how hard to try to get memory for them
 * @moved: out: pages that were moved
 * @busy: out: pages were in use by others, or are of files, and stayed
 * @error: out: what went wrong else, last: -ENOMEM, -EIO, -ENODEV, or 0
 */
struct hmm_rmem_order {
	enum hmm_rmem_stat why;
	gfp_t gfp;
	unsigned long moved;
	bool busy;
	int error;
};

/**
 * hmm_rmem_transit_new - allocate what evictions need
 *
 * Ahead of time: an eviction must not fail for want of it.
 *
 * Return: it, or NULL.
 */
struct hmm_rmem_transit *hmm_rmem_transit_new(void)
{
	return kvzalloc(sizeof(struct hmm_rmem_transit), GFP_KERNEL);
}

/**
 * hmm_rmem_transit_free - undo hmm_rmem_transit_new()
 * @transit: it, or NULL
 */
void hmm_rmem_transit_free(struct hmm_rmem_transit *transit)
{
	kvfree(transit);
}

/* As many system pages as there are pages in use, or what can be had. */
static void hmm_rmem_get_system(struct hmm_rmem_transit *transit, unsigned int nr,
				gfp_t gfp)
{
	unsigned long had;

	while (transit->nr_system < nr) {
		had = transit->nr_system;
		memset(transit->system + had, 0, (nr - had) * sizeof(*transit->system));
		transit->nr_system = alloc_pages_bulk(gfp, nr, transit->system);
		if (transit->nr_system == had)
			break;
	}
}

static void hmm_rmem_put_system(struct hmm_rmem_transit *transit)
{
	while (transit->nr_system)
		__free_page(transit->system[--transit->nr_system]);
}

/*
 * Give each page that was got hold of a destination.  Returns the number of copies.
 *
 * A page may have moved out already, or never got in, and only be kept for a moment by
 * somebody who has a reference.  Nothing maps it, so the kernel would let it move:
 *
 *	CPU fault			eviction
 *	get_page()
 *	moves the page out
 *					gets a reference, locks
 *	put_page()
 *					"moves" it out once more
 *
 * Its state is stable under its lock, and tells.
 */
static unsigned int hmm_rmem_pair(struct hmm_rmem *rmem, unsigned long chunk,
				  struct hmm_rmem_order *order)
{
	struct hmm_rmem_transit *transit = rmem->transit;
	unsigned int i, nr = 0;
	struct page *page;

	for (i = 0; i < HMM_RMEM_CHUNK_PAGES; i++) {
		transit->dst[i] = 0;
		/* A large one that has not been there before. */
		if (!(transit->src[i] & MIGRATE_PFN_MIGRATE) ||
		    transit->src[i] & MIGRATE_PFN_COMPOUND)
			continue;
		if (!hmm_rmem_page_is_in(migrate_pfn_to_page(transit->src[i]))) {
			transit->nr_gone++;
			continue;
		}
		if (!transit->nr_system) {
			order->error = -ENOMEM;
			continue;
		}
		page = transit->system[--transit->nr_system];
		lock_page(page);
		transit->index[nr] = i;
		transit->copies[nr].system = page;
		transit->copies[nr].offset = ((u64)chunk << HMM_RMEM_CHUNK_SHIFT) +
					     ((u64)i << PAGE_SHIFT);
		nr++;
	}
	return nr;
}

/* Copy.  What could not be copied stays. */
static void hmm_rmem_carry(struct hmm_rmem *rmem, unsigned int nr,
			   struct hmm_rmem_order *order)
{
	struct hmm_rmem_transit *transit = rmem->transit;
	struct page *page;
	unsigned int i;

	hmm_rmem_copy_out(rmem, transit->copies, nr, transit->errors);
	for (i = 0; i < nr; i++) {
		page = transit->copies[i].system;
		if (!transit->errors[i]) {
			transit->dst[transit->index[i]] = migrate_pfn(page_to_pfn(page));
			continue;
		}
		order->error = transit->errors[i];
		unlock_page(page);
		transit->system[transit->nr_system++] = page;
	}
}

/*
 * Keep what a page is mapped by.  One that the CPU can write to may change hands, when it is
 * the last to have it after a fork():
 *
 *	process				eviction
 *					references the anon_vma of its parent
 *	writes: locks the page, it is
 *	the only one: mapping = its own
 *					unmaps the page
 *	exits: its anon_vma is freed
 *					walks it
 *
 * It does not find itself the only one while we have a reference, too, unless it has looked
 * before that: then it has the lock.
 */
static struct anon_vma *hmm_rmem_grip(struct hmm_rmem *rmem, struct page *page)
{
	bool coherent = rmem->select == MIGRATE_VMA_SELECT_DEVICE_COHERENT;
	struct anon_vma *anon_vma = NULL;

	if (coherent && !get_page_unless_zero(page))
		return NULL;
	/* Pairs with the trylock and the look in the kernel's wp_can_reuse_anon_folio(). */
	smp_mb();
	if (!coherent || !PageLocked(page))
		anon_vma = hmm_rmem_anon_get(page);
	if (coherent && !anon_vma)
		put_page(page);
	return anon_vma;
}

/* The pages that could be had are locked now. */
static void hmm_rmem_ungrip(struct hmm_rmem *rmem, struct page *page, unsigned int nr)
{
	if (rmem->select != MIGRATE_VMA_SELECT_DEVICE_COHERENT)
		return;
	while (nr--)
		put_page(page++);
}

/*
 * Have the kernel lock the pages of a chunk and take them out of page tables.
 *
 * Not those that nothing maps.  Their mapping has been unmapped, or is just being, and a
 * reference keeps them for a moment, for one in a batch of pages that are munlock()ed:
 *
 *	munmap()			eviction
 *	unmaps the page
 *	frees the anon_vma
 *					gets a reference, locks
 *					looks for what maps it, in page->mapping: freed
 *	puts the page
 *
 * Those that are mapped may be unmapped by their process right after, or while they are
 * copied: so the anon_vmas stay until all is done.  Nobody gets a page of this chunk
 * meanwhile, for it is the victim, or the pool is closed; so they are the right ones.
 */
static void hmm_rmem_collect(struct hmm_rmem *rmem, unsigned long chunk)
{
	unsigned long first = PHYS_PFN(rmem->memory.pgmap.range.start) +
			      chunk * HMM_RMEM_CHUNK_PAGES;
	struct hmm_rmem_transit *transit = rmem->transit;
	struct page *page = pfn_to_page(first);
	unsigned int i = 0, run;

	transit->nr_gone = 0;
	while (i < HMM_RMEM_CHUNK_PAGES) {
		for (run = 0; i + run < HMM_RMEM_CHUNK_PAGES; run++) {
			transit->anon_vmas[i + run] = hmm_rmem_grip(rmem, page + i + run);
			if (!transit->anon_vmas[i + run])
				break;
		}
		if (run) {
			migrate_device_range(transit->src + i, first + i, run);
			hmm_rmem_ungrip(rmem, page + i, run);
			i += run;
			continue;
		}
		if (page_count(page + i) && !hmm_rmem_page_is_in(page + i))
			transit->nr_gone++;
		transit->src[i++] = 0;
	}
}

static void hmm_rmem_put_anon(struct hmm_rmem_transit *transit)
{
	unsigned int i;

	for (i = 0; i < HMM_RMEM_CHUNK_PAGES; i++)
		hmm_rmem_anon_put(transit->anon_vmas[i]);
}

/*
 * A huge page, mapped as one, to @page of system memory.  Returns false if some of it cannot
 * be copied: the rest of it can.
 */
static bool hmm_rmem_empty_whole(struct hmm_rmem *rmem, struct page *head,
				 struct page *page, struct hmm_rmem_order *order)
{
	struct hmm_rmem_transit *transit = rmem->transit;
	unsigned int i, nr = HMM_RMEM_CHUNK_PAGES, done = 0;
	bool taken, moved;

	memset(transit->dst, 0, sizeof(transit->dst));
	migrate_device_range(transit->src, page_to_pfn(head), nr);
	lock_page(page);
	taken = transit->src[0] & MIGRATE_PFN_MIGRATE &&
		transit->src[0] & MIGRATE_PFN_COMPOUND && hmm_rmem_page_is_in(head);
	if (taken) {
		for (i = 0; i < nr; i++) {
			transit->copies[i].system = page + i;
			transit->copies[i].offset = hmm_rmem_page_offset(rmem, head) +
						    ((u64)i << PAGE_SHIFT);
		}
		done = hmm_rmem_copy_out(rmem, transit->copies, nr, transit->errors);
		for (i = 0; i < nr && done < nr; i++)
			order->error = transit->errors[i] ?: order->error;
	}
	if (done == nr) {
		transit->dst[0] = migrate_pfn(page_to_pfn(page)) | MIGRATE_PFN_COMPOUND;
	} else {
		unlock_page(page);
		put_page(page);
	}
	migrate_device_pages(transit->src, transit->dst, nr);
	moved = done == nr && transit->src[0] & MIGRATE_PFN_MIGRATE;
	if (moved) {
		hmm_rmem_page_out(head, order->why);
	} else if (!taken || done == nr) {
		hmm_rmem_count(rmem, HMM_RMEM_BUSY, nr);
		order->busy = true;
	}
	migrate_device_finalize(transit->src, transit->dst, nr);
	return !taken || done == nr || READ_ONCE(rmem->lost);
}

/* A large page, by the addresses where it is mapped, in small pages. */
static void hmm_rmem_empty_parts(struct hmm_rmem *rmem, struct page *head,
				 struct anon_vma *anon_vma, struct hmm_rmem_order *order)
{
	struct hmm_rmem_transit *transit = rmem->transit;
	unsigned int nr = folio_nr_pages(page_folio(head)), place = 0;
	struct hmm_rmem_move move = {
		.flags = HMM_RMEM_MOVE_SPLIT | (order->why == HMM_RMEM_OUT_EVICT ?
			 HMM_RMEM_MOVE_EVICT : HMM_RMEM_MOVE_EVACUATE),
		.results = transit->results,
	};

	while (folio_test_large(page_folio(head))) {
		move.mm = hmm_rmem_anon_find(anon_vma, head, nr, &place, &move.start,
					     &move.end);
		if (!move.mm)
			break;
		memset(transit->results, HMM_PAGE_SKIPPED, nr);
		hmm_rmem_move_out(rmem, &move);
		/* If it was the last one, not here: its mirrors go with it. */
		mmput_async(move.mm);
		if (memchr(transit->results, HMM_PAGE_FAILED, nr))
			order->error = -EIO;
		if (memchr(transit->results, HMM_PAGE_FULL, nr))
			order->error = -ENOMEM;
	}
	if (folio_test_large(page_folio(head)))
		order->busy = true;
}

/*
 * Move out the large pages of a chunk.  Looks without a lock: what is large only from now
 * on, or no more, is somebody else's doing, and is passed by.  Returns false if there is
 * none.
 */
static bool hmm_rmem_empty_large(struct hmm_rmem *rmem, unsigned long chunk,
				 struct hmm_rmem_order *order)
{
	struct page *page = pfn_to_page(PHYS_PFN(rmem->memory.pgmap.range.start) +
					chunk * HMM_RMEM_CHUNK_PAGES);
	struct page *end = page + HMM_RMEM_CHUNK_PAGES;
	struct anon_vma *anon_vma;
	struct folio *system;
	unsigned int nr;
	bool any = false;

	for (; page < end; page += nr) {
		struct folio *folio = page_folio(page);

		nr = folio_nr_pages(folio);
		/* One that is being made may have any size yet, and begin earlier. */
		if (nr <= 1 || folio_page(folio, 0) != page) {
			nr = 1;
			continue;
		}
		any = true;
		/* As in hmm_rmem_collect(). */
		anon_vma = hmm_rmem_anon_get(page);
		if (!anon_vma)
			continue;
		system = NULL;
		if (nr == HMM_RMEM_CHUNK_PAGES && folio_entire_mapcount(folio) &&
		    hmm_swp_is_exclusive(page))
			system = folio_alloc(order->gfp | __GFP_NORETRY | __GFP_NOWARN |
					     __GFP_COMP, HPAGE_PMD_ORDER);
		if (!system || !hmm_rmem_empty_whole(rmem, page, folio_page(system, 0), order))
			hmm_rmem_empty_parts(rmem, page, anon_vma, order);
		hmm_rmem_anon_put(anon_vma);
	}
	return any;
}

/*
 * Pages of a chunk that are in use, but for those of files.  Both numbers may change
 * meanwhile: it is an estimate then.
 */
static unsigned int hmm_rmem_nr_ours(const struct hmm_rmem_chunk *chunk)
{
	unsigned int used = READ_ONCE(chunk->nr_used), file = hmm_rmem_nr_file(chunk);

	return used - min(used, file);
}

/*
 * Move out what can be had of a chunk.  If the device is lost that is what there is of
 * files: the page cache has something instead.
 */
static void hmm_rmem_empty_chunk(struct hmm_rmem *rmem, unsigned long chunk,
				 struct hmm_rmem_order *order)
{
	struct hmm_rmem_transit *transit = rmem->transit;
	unsigned int used, left, i, nr, busy;

	lockdep_assert_held(&rmem->evict_lock);
	if (!READ_ONCE(rmem->chunks[chunk].nr_used))
		return;
	order->moved += hmm_pagecache_evict(rmem, chunk, order->why, &order->busy,
					    &order->error);
	if (!IS_ENABLED(CONFIG_DEVICE_MIGRATION) || rmem->plain)
		return;
	used = hmm_rmem_nr_ours(&rmem->chunks[chunk]);
	if (!used || READ_ONCE(rmem->lost))
		return;
	if (hmm_rmem_empty_large(rmem, chunk, order)) {
		left = hmm_rmem_nr_ours(&rmem->chunks[chunk]);
		order->moved += used - min(used, left);
		return;
	}
	hmm_rmem_get_system(transit, used, order->gfp);
	if (!transit->nr_system) {
		order->error = -ENOMEM;
		return;
	}
	hmm_rmem_collect(rmem, chunk);
	nr = hmm_rmem_pair(rmem, chunk, order);
	hmm_rmem_carry(rmem, nr, order);
	/* What was not even got hold of, and below, what was not let go in the end. */
	busy = used > nr + transit->nr_gone ? used - nr - transit->nr_gone : 0;
	migrate_device_pages(transit->src, transit->dst, HMM_RMEM_CHUNK_PAGES);
	for (i = 0; i < HMM_RMEM_CHUNK_PAGES; i++) {
		if (!transit->dst[i])
			continue;
		if (transit->src[i] & MIGRATE_PFN_MIGRATE) {
			hmm_rmem_page_out(migrate_pfn_to_page(transit->src[i]), order->why);
			order->moved++;
		} else {
			busy++;
		}
	}
	migrate_device_finalize(transit->src, transit->dst, HMM_RMEM_CHUNK_PAGES);
	hmm_rmem_put_anon(transit);
	if (busy) {
		hmm_rmem_count(rmem, HMM_RMEM_BUSY, busy);
		order->busy = true;
	}
}

/* Has the device used the chunk since it was asked last? */
static bool hmm_rmem_chunk_touched(struct hmm_rmem *rmem, unsigned long i)
{
	struct hmm_rmem_chunk *chunk = &rmem->chunks[i];
	u64 accesses;

	lockdep_assert_held(&rmem->evict_lock);
	lockdep_assert_held_read(&rmem->device_lock);
	accesses = rmem->ops->accesses(rmem->device, (u64)i << HMM_RMEM_CHUNK_SHIFT);
	if (accesses == chunk->accesses && !READ_ONCE(chunk->touched))
		return false;
	chunk->accesses = accesses;
	WRITE_ONCE(chunk->touched, false);
	return true;
}

/*
 * The clock: the first chunk from the hand on that has not been used since the hand came
 * by last.  Two turns at most: after one everything has lost its second chance, and what
 * has been used since then is as good as any other.
 */
static long hmm_rmem_pick_unused(struct hmm_rmem *rmem)
{
	unsigned long i, turn;
	long pick = -1;

	for (turn = 0; turn < 2 * rmem->nr_chunks; turn++) {
		i = rmem->hand;
		rmem->hand = (i + 1) % rmem->nr_chunks;
		if (!READ_ONCE(rmem->chunks[i].nr_used))
			continue;
		pick = i;
		if (!hmm_rmem_chunk_touched(rmem, i))
			break;
	}
	return pick;
}

static long hmm_rmem_pick_oldest(struct hmm_rmem *rmem)
{
	unsigned long i;
	long pick = -1;

	lockdep_assert_held(&rmem->lock);
	for (i = 0; i < rmem->nr_chunks; i++)
		if (rmem->chunks[i].nr_used &&
		    (pick < 0 || rmem->chunks[i].filled < rmem->chunks[pick].filled))
			pick = i;
	return pick;
}

/* Choose a chunk, and keep everybody from taking pages of it.  Negative: none in use. */
static long hmm_rmem_begin_victim(struct hmm_rmem *rmem)
{
	unsigned long flags;
	long pick = -1;

	if (rmem->ops->accesses) {
		down_read(&rmem->device_lock);
		if (rmem->device)
			pick = hmm_rmem_pick_unused(rmem);
		up_read(&rmem->device_lock);
	}
	spin_lock_irqsave(&rmem->lock, flags);
	if (!rmem->ops->accesses)
		pick = hmm_rmem_pick_oldest(rmem);
	if (pick >= 0) {
		rmem->victim = &rmem->chunks[pick];
		list_del_init(&rmem->victim->node);
	}
	spin_unlock_irqrestore(&rmem->lock, flags);
	return pick;
}

static void hmm_rmem_end_victim(struct hmm_rmem *rmem)
{
	struct hmm_rmem_chunk *chunk;
	unsigned long flags;

	spin_lock_irqsave(&rmem->lock, flags);
	chunk = rmem->victim;
	rmem->victim = NULL;
	if (!chunk->nr_used) {
		list_add_tail(&chunk->node, &rmem->free);
	} else {
		/* Not the next one, too, whatever keeps its pages. */
		chunk->filled = rmem->fill++;
		list_add_tail(&chunk->node, chunk->nr_used == HMM_RMEM_CHUNK_PAGES ?
			      &rmem->full : &rmem->partial);
	}
	spin_unlock_irqrestore(&rmem->lock, flags);
}

/**
 * hmm_rmem_evict - make room
 * @rmem: pool that the caller has a reference on
 * @nr: number of pages to be had
 *
 * Moves out the chunks that the device has not used for longest.  Others may take what
 * becomes free before the caller does: who needs it asks again, and each time something
 * was freed that somebody uses.
 *
 * Context: Process context, may sleep and reclaim, no lock held.  Ends early when the
 * caller is killed.
 * Return: how many pages were freed, by this call or while it waited for another; 0: none
 * could be moved, or the pool is closed.
 */
unsigned long hmm_rmem_evict(struct hmm_rmem *rmem, unsigned long nr)
{
	struct hmm_rmem_order order = {
		.why = HMM_RMEM_OUT_EVICT,
		/* Who wants room on the device can do without. */
		.gfp = GFP_HIGHUSER_MOVABLE | __GFP_NORETRY | __GFP_NOWARN,
	};
	unsigned long tries, free;
	long chunk;

	/* Not to wait for the end of an evacuation, either. */
	if (READ_ONCE(rmem->closed) || mutex_lock_killable(&rmem->evict_lock))
		return 0;
	/* Whoever we waited for may have made room for us, too. */
	free = hmm_rmem_nr_free(rmem);
	if (free >= nr) {
		mutex_unlock(&rmem->evict_lock);
		return free;
	}
	for (tries = 0; tries < rmem->nr_chunks && order.moved < nr; tries++) {
		if (fatal_signal_pending(current) || READ_ONCE(rmem->closed))
			break;
		chunk = hmm_rmem_begin_victim(rmem);
		if (chunk < 0)
			break;
		hmm_rmem_empty_chunk(rmem, chunk, &order);
		hmm_rmem_end_victim(rmem);
		cond_resched();
	}
	hmm_rmem_put_system(rmem->transit);
	mutex_unlock(&rmem->evict_lock);
	return order.moved;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_evict);

/*
 * Once over all chunks.  -EINTR, -ENODEV lost, and nothing is left to be done; or 0.
 *
 * What is in use and not lost is a page of a file, or on its way in with a copy that was made
 * before the loss:
 *
 *	move in				loss, and the device goes
 *	the copy has been made
 *					everything is lost that is in
 *					sweeps: nothing to be had
 *	puts the page of the file
 *	where it will be for ever
 */
static int hmm_rmem_sweep(struct hmm_rmem *rmem, struct hmm_rmem_order *order,
			  bool killable)
{
	unsigned long i;

	for (i = 0; i < rmem->nr_chunks; i++) {
		if (killable && fatal_signal_pending(current))
			return -EINTR;
		hmm_rmem_empty_chunk(rmem, i, order);
		cond_resched();
	}
	if (!READ_ONCE(rmem->lost) || !READ_ONCE(rmem->nr_used))
		return 0;
	order->error = -ENODEV;
	if (order->busy || READ_ONCE(rmem->nr_used) > READ_ONCE(rmem->nr_lost))
		return 0;
	return -ENODEV;
}

/*
 * Until nothing is in use, or nothing moves any more.  What is left of a round is with
 * somebody who will let go of it soon, or failed.
 */
static int hmm_rmem_move_all(struct hmm_rmem *rmem, gfp_t gfp, unsigned int patience,
			     bool killable)
{
	struct hmm_rmem_order order = {
		.why = HMM_RMEM_OUT_EVACUATE,
		.gfp = gfp,
	};
	unsigned long before;
	unsigned int idle = 0;
	int ret;

	lockdep_assert_held(&rmem->evict_lock);
	while ((before = READ_ONCE(rmem->nr_used))) {
		order.busy = false;
		order.error = 0;
		ret = hmm_rmem_sweep(rmem, &order, killable);
		if (ret)
			return ret;
		if (READ_ONCE(rmem->nr_used) < before) {
			idle = 0;
			continue;
		}
		idle++;
		if (idle >= HMM_RMEM_BROKEN_IDLE && !order.busy && order.error == -EIO)
			return -EIO;
		if (idle == patience)
			return order.error ?: -EBUSY;
		hmm_swp_drain();
		if (killable)
			schedule_timeout_killable(msecs_to_jiffies(min(1u << min(idle, 10u),
								       HMM_RMEM_PAUSE_MS)));
		else
			msleep(min(1u << min(idle, 10u), HMM_RMEM_PAUSE_MS));
	}
	return 0;
}

/**
 * hmm_rmem_evacuate - move everything out
 * @rmem: pool that the caller has a reference on
 *
 * Nothing comes in while it runs.
 *
 * Context: Process context, may sleep and reclaim, no lock held.  Goes on as long as it
 * gets anywhere, and for seconds if it does not.
 * Return: 0; -EBUSY some pages stayed in use; -ENOMEM no system memory for them; -EIO
 * they cannot be copied; -ENODEV the device is lost; -EINTR killed.
 */
int hmm_rmem_evacuate(struct hmm_rmem *rmem)
{
	int ret = -EINTR;

	hmm_rmem_close(rmem);
	if (!mutex_lock_killable(&rmem->evict_lock)) {
		ret = hmm_rmem_move_all(rmem, GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL |
					__GFP_NOWARN, HMM_RMEM_EVACUATE_IDLE, true);
		hmm_rmem_put_system(rmem->transit);
		mutex_unlock(&rmem->evict_lock);
	}
	hmm_rmem_reopen(rmem);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_evacuate);

/**
 * hmm_rmem_leave - move out what can be, for the device goes
 * @rmem: pool of the device, closed
 *
 * What stays will be lost, so signals do not matter, and system memory is got with all
 * means that the kernel has.
 *
 * Context: Process context, may sleep and reclaim, no lock held.  Goes on as long as it
 * gets anywhere, and for some ten seconds if it does not; after a loss until pages that
 * were on their way in are counted, for as long at most.
 */
void hmm_rmem_leave(struct hmm_rmem *rmem)
{
	mutex_lock(&rmem->evict_lock);
	hmm_rmem_move_all(rmem, GFP_HIGHUSER_MOVABLE, HMM_RMEM_LEAVE_IDLE, false);
	hmm_rmem_put_system(rmem->transit);
	mutex_unlock(&rmem->evict_lock);
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of rmem/ share, and what hmm/ uses of them.  Nobody else includes this,
 * but for the tests.
 *
 * Who owns what:
 *
 *   hmm_rmem        the pool of one device; referenced by its device, and by each page
 *                   that is in use: it outlives the device if pages are lost with that
 *   hmm_rmem_chunk  2 MiB of a pool
 *   hmm_rmem_move   a migration under way; the caller's
 *
 * Lock order: Documentation/locking.rst.
 */
#ifndef _HMM_RMEM_PRIVATE_H
#define _HMM_RMEM_PRIVATE_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/fault-inject.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <hmm/device.h>
#include <hmm/rmem.h>
#include "../swap_entry/swp_private.h"

#define HMM_RMEM_CHUNK_PAGES	(HMM_RMEM_CHUNK_SIZE / PAGE_SIZE)

struct hmm_pagecache;

/**
 * struct hmm_rmem_file - the page of a file that is in a page of a pool
 * @cache: of its inode
 * @index: in the file
 */
struct hmm_rmem_file {
	struct hmm_pagecache *cache;
	pgoff_t index;
};

/**
 * struct hmm_rmem_chunk - 2 MiB of a pool
 * @node: in one of the lists of the pool, by how much of it is in use
 * @used: pages that are handed out
 * @in: of these, those that were moved in: somebody's memory
 * @lost: those that were moved in, and then the device was lost
 * @file: of those that are handed out, those with a page of a file
 * @files: what page that is, by index; NULL: there has never been one
 * @nr_used: how many
 * @filled: when it stopped to be free, as a number that grows
 * @accesses: what ops->accesses() said last; hmm_rmem.evict_lock
 * @touched: it was in use by the device when it was last looked at, or pages came in
 *	since; no lock, for it is a guess
 */
struct hmm_rmem_chunk {
	struct list_head node;
	DECLARE_BITMAP(used, HMM_RMEM_CHUNK_PAGES);
	DECLARE_BITMAP(in, HMM_RMEM_CHUNK_PAGES);
	DECLARE_BITMAP(lost, HMM_RMEM_CHUNK_PAGES);
	DECLARE_BITMAP(file, HMM_RMEM_CHUNK_PAGES);
	struct hmm_rmem_file *files;
	unsigned int nr_used;
	u64 filled;
	u64 accesses;
	bool touched;
};

struct hmm_rmem_transit;

/**
 * struct hmm_rmem_hold - a page that is kept without a reference, for a moment
 * @node: in hmm_rmem.holds
 * @page: locked
 * @freed: the last reference has gone meanwhile
 */
struct hmm_rmem_hold {
	struct list_head node;
	struct page *page;
	bool freed;
};

/**
 * struct hmm_rmem_patience - when it was over with copies of pages of files
 * @engine: that fail, in jiffies; 0: never, or copies from the device have worked since
 * @memory: for which there is no memory
 */
struct hmm_rmem_patience {
	unsigned long engine;
	unsigned long memory;
};

/**
 * struct hmm_rmem - the memory of one device
 * @memory: what a CPU fault on one of its pages needs; has the pagemap, whose owner is
 *	the pool itself
 * @ref: the device's, one for each page in use, and those of hmm_rmem_get()
 * @name: of the device, which the pool may outlive
 * @number: of the pool, as long as it exists; constant
 * @region: the physical addresses: the device's (coherent memory), or some that nothing is
 *	at (private memory)
 * @plain: there are no struct pages, and only pages of files are in it; constant
 * @select: MIGRATE_VMA_SELECT_* of its pages; constant
 * @device_lock: for reading: operations of @device may be called.  Taken inside of page
 *	locks.
 * @device: NULL once it is unregistered; @device_lock
 * @ops: its operations; constant
 * @lost: what is in the memory is gone for good; set once
 * @gave_up: when a page of a file could not be fetched, and was given up
 * @read_failed: the same, but it has stayed, and who read it got an error
 * @lock: protects the chunks and their lists; irq-safe: pages are freed anywhere
 * @free: chunks of which nothing is in use
 * @partial: chunks of which some is
 * @full: chunks of which all is
 * @closed: number of reasons why nothing is handed out now
 * @nr_chunks: constant
 * @nr_used: pages
 * @nr_file: of these, those with pages of files
 * @nr_free_chunks: length of @free
 * @nr_lost: pages that are in use and lost
 * @fill: the next hmm_rmem_chunk.filled
 * @victim: chunk that is being emptied: in no list, so that nothing is handed out of it
 * @hand: where the clock of the eviction stands, a chunk's index; @evict_lock
 * @chunks: array
 * @holds: pages that must not be handed out again when they are freed
 * @evict_lock: one evicts or evacuates at a time
 * @transit: what an eviction needs, so that it allocates nothing but pages; @evict_lock
 * @stats: enum hmm_rmem_stat; the gauges are not kept here
 * @debugfs: its files, which go with the device
 * @release: the end of it, outside of whatever context dropped the last page
 */
struct hmm_rmem {
	struct hmm_swp_memory memory;
	refcount_t ref;
	const char *name;
	u32 number;
	struct resource *region;
	bool plain;
	unsigned long select;
	struct rw_semaphore device_lock;
	struct hmm_device *device;
	const struct hmm_rmem_ops *ops;
	bool lost;
	struct hmm_rmem_patience gave_up;
	struct hmm_rmem_patience read_failed;

	spinlock_t lock;
	struct list_head free;
	struct list_head partial;
	struct list_head full;
	unsigned int closed;
	unsigned long nr_chunks;
	unsigned long nr_used;
	unsigned long nr_file;
	unsigned long nr_free_chunks;
	unsigned long nr_lost;
	u64 fill;
	struct hmm_rmem_chunk *victim;
	unsigned long hand;
	struct hmm_rmem_chunk *chunks;
	struct list_head holds;

	struct mutex evict_lock;
	struct hmm_rmem_transit *transit;
	atomic64_t stats[HMM_RMEM_NR];
	struct dentry *debugfs;
	struct work_struct release;
};

static inline void hmm_rmem_count(struct hmm_rmem *rmem, enum hmm_rmem_stat stat, long n)
{
	atomic64_add(n, &rmem->stats[stat]);
}

static inline bool hmm_rmem_has_pfn(const struct hmm_rmem *rmem, unsigned long pfn)
{
	const struct range *range = &rmem->memory.pgmap.range;

	return pfn >= PHYS_PFN(range->start) && pfn <= PHYS_PFN(range->end);
}

static inline unsigned long hmm_rmem_first_pfn(const struct hmm_rmem *rmem)
{
	return PHYS_PFN(rmem->memory.pgmap.range.start);
}

static inline unsigned long hmm_rmem_index(const struct hmm_rmem *rmem,
					   const struct page *page)
{
	return page_to_pfn(page) - hmm_rmem_first_pfn(rmem);
}

static inline struct hmm_rmem_chunk *
hmm_rmem_chunk_of(const struct hmm_rmem *rmem, const struct page *page)
{
	return &rmem->chunks[hmm_rmem_index(rmem, page) / HMM_RMEM_CHUNK_PAGES];
}

/* Place of a page in its chunk. */
static inline unsigned int hmm_rmem_slot(const struct hmm_rmem *rmem,
					 const struct page *page)
{
	return hmm_rmem_index(rmem, page) % HMM_RMEM_CHUNK_PAGES;
}

/* Where a page of the pool is, in bytes. */
static inline u64 hmm_rmem_page_offset(const struct hmm_rmem *rmem, const struct page *page)
{
	return PFN_PHYS(page_to_pfn(page)) - rmem->memory.pgmap.range.start;
}

/*
 * Is there a page of a file in a page of the pool?  Its struct page means nothing then.
 * Stays as it is as long as a translation of the device names it.
 */
static inline bool hmm_rmem_is_file(const struct hmm_rmem *rmem, unsigned long pfn)
{
	unsigned long frame = pfn - PHYS_PFN(rmem->memory.pgmap.range.start);

	return hmm_rmem_has_pfn(rmem, pfn) &&
	       test_bit(frame % HMM_RMEM_CHUNK_PAGES,
			rmem->chunks[frame / HMM_RMEM_CHUNK_PAGES].file);
}

/* How many there are in a chunk. */
static inline unsigned int hmm_rmem_nr_file(const struct hmm_rmem_chunk *chunk)
{
	return bitmap_weight(chunk->file, HMM_RMEM_CHUNK_PAGES);
}

/* pool.c: the pool itself */
int hmm_rmem_create(struct hmm_device *device);		/* sets device->rmem, maybe to NULL */
/*
 * A call that uses a pool holds a reference: the device may be detached meanwhile.  Get one
 * only where the pool has another (the device's, with a LIVE mirror in an SRCU section).
 * The last put frees the pool, by its work item: any context.
 */
void hmm_rmem_get(struct hmm_rmem *rmem);
/* For who has only the device, registered or not: with a reference, or NULL. */
struct hmm_rmem *hmm_rmem_of_device(const struct hmm_device *device);
void hmm_rmem_put(struct hmm_rmem *rmem);
void hmm_rmem_put_many(struct hmm_rmem *rmem, unsigned long nr);
void hmm_rmem_close(struct hmm_rmem *rmem);
void hmm_rmem_reopen(struct hmm_rmem *rmem);
void hmm_rmem_detach(struct hmm_rmem *rmem);	/* the device goes: drops its reference */
struct hmm_rmem *hmm_rmem_of(const struct page *page);	/* pool of a device page */
int hmm_rmem_init(void);
void hmm_rmem_exit(void);

/* chunk.c: what is in use */
/*
 * Up to @nr pages, as long as there are free ones; contiguous and aligned as far as it can
 * be had, a whole chunk for HMM_RMEM_CHUNK_PAGES.  They are nobody's yet: give each to
 * hmm_rmem_page_init() or all back with hmm_rmem_free().  Never sleeps, never evicts.
 */
unsigned long hmm_rmem_alloc(struct hmm_rmem *rmem, struct page **pages, unsigned long nr);
void hmm_rmem_free(struct hmm_rmem *rmem, struct page **pages, unsigned long nr);
/* A whole chunk, for a page of 2 MiB; NULL: none is free. */
struct page *hmm_rmem_alloc_chunk(struct hmm_rmem *rmem);
void hmm_rmem_free_range(struct hmm_rmem *rmem, struct page *page, unsigned int nr);
unsigned long hmm_rmem_nr_free(struct hmm_rmem *rmem);
/* For page.c, with hmm_rmem.lock held */
unsigned int hmm_rmem_clear_bits(unsigned long *bits, unsigned int first, unsigned int nr);
void hmm_rmem_give(struct hmm_rmem *rmem, struct page *page, unsigned int nr);

/* page.c: the pages */
struct dev_pagemap_ops;
extern const struct dev_pagemap_ops hmm_rmem_pgmap_ops;
/* Make it a page of the kernel's: locked, one reference; dropping that frees it. */
void hmm_rmem_folio_init(struct page *page, unsigned int order);

static inline void hmm_rmem_page_init(struct page *page)
{
	hmm_rmem_folio_init(page, 0);
}

void hmm_rmem_hold(struct hmm_rmem *rmem, struct hmm_rmem_hold *hold);
void hmm_rmem_unhold(struct hmm_rmem *rmem, struct hmm_rmem_hold *hold);
/*
 * The accounts, for each page that has moved, after migrate_vma_pages() or
 * migrate_device_pages() and before the finalize: count HMM_RMEM_IN (and _IN_ZERO), or
 * HMM_RMEM_OUT and @why, one of HMM_RMEM_OUT_* or HMM_RMEM_OUT itself for none of these.
 * A large page is counted by its first page, for all of it.
 */
void hmm_rmem_page_in(struct page *page, bool zero);
void hmm_rmem_page_out(struct page *page, enum hmm_rmem_stat why);
bool hmm_rmem_page_is_in(const struct page *page);
void hmm_rmem_set_lost(struct hmm_rmem *rmem);

/* copy.c: copies, with retries, and what is done when the device is lost */
/*
 * Copy @nr (any number) pages, in batches that are all under way at the same time, and
 * wait.  @errors[i] is 0 or a negative errno for each: -EIO (after retries), -ENOMEM,
 * -ENODEV the device is lost or gone.  Returns how many are 0.
 */
unsigned int hmm_rmem_copy_in(struct hmm_rmem *rmem, const struct hmm_rmem_copy *copies,
			      unsigned int nr, int *errors);
unsigned int hmm_rmem_copy_out(struct hmm_rmem *rmem, const struct hmm_rmem_copy *copies,
			       unsigned int nr, int *errors);
/* One page; not tried again after @patience (jiffies).  Returns its error, or 0. */
int hmm_rmem_copy_page_out(struct hmm_rmem *rmem, const struct hmm_rmem_copy *copy,
			   unsigned long patience);
unsigned int hmm_rmem_clear(struct hmm_rmem *rmem, const struct hmm_rmem_copy *copies,
			    unsigned int nr, int *errors);

/* pagecache_fetch.c: how long to try to have a page of a file */
void hmm_rmem_renew_patience(struct hmm_rmem *rmem);

/* migrate.c: by address; what it shares with move_in.c and move_out.c is in move.h */

#define HMM_RMEM_MOVE_FAULT_IN	BIT(0)	/* what is swapped out, or elsewhere, is fetched first */
#define HMM_RMEM_MOVE_AUTO	BIT(1)	/* nobody asked for it: leave mlock()ed memory alone */
#define HMM_RMEM_MOVE_FAULT	BIT(2)	/* count it as HMM_RMEM_OUT_FAULT */
#define HMM_RMEM_MOVE_EVICT	BIT(3)	/* as HMM_RMEM_OUT_EVICT */
#define HMM_RMEM_MOVE_EVACUATE	BIT(4)	/* as HMM_RMEM_OUT_EVACUATE */
#define HMM_RMEM_MOVE_SPLIT	BIT(5)	/* huge pages as small ones */

/**
 * struct hmm_rmem_move - pages to be moved, by address
 * @mm: address space, alive (mmget())
 * @start: first byte, page aligned
 * @end: first byte after it
 * @flags: HMM_RMEM_MOVE_*
 * @populate: set of pages, by index from @start, that get a page of zeroes on the
 *	device if there is nothing yet; NULL: none
 * @want: of the pages of files, those that a fault waits for, by index from @start;
 *	NULL: all.  The others are near them, and move if that is easy.
 * @write: of these, those that the device is about to write to; NULL: none
 * @results: enum hmm_page_result of each page: zeroed by the caller
 * @moved: out: pages that were moved
 */
struct hmm_rmem_move {
	struct mm_struct *mm;
	unsigned long start;
	unsigned long end;
	u32 flags;
	const unsigned long *populate;
	const unsigned long *want;
	const unsigned long *write;
	u8 *results;
	unsigned long moved;
};

/*
 * Both: any range, any VMAs, in pieces of up to HMM_RMEM_BATCH pages.  Take mmap_lock
 * themselves, no lock held.  0 if each page has a result, whatever that is; -EINTR killed,
 * -ENOMEM no memory for the arrays, -ENODEV the pool is closed or the device gone,
 * -EBUSY (out, to evict or evacuate) somebody held mmap_lock; pages not yet
 * looked at have HMM_PAGE_SKIPPED then.
 */
int hmm_rmem_move_in(struct hmm_rmem *rmem, struct hmm_rmem_move *move);
int hmm_rmem_move_out(struct hmm_rmem *rmem, struct hmm_rmem_move *move);
/* One page of coherent memory of any device, by address; mmap_lock is held */
int hmm_rmem_fetch_coherent(struct mm_struct *mm, unsigned long addr);
/* move_out.c: hmm_swp_memory.pull of all pools: see there */
int hmm_rmem_pull(struct hmm_swp_memory *memory, struct vm_fault *vmf,
		  unsigned long start, unsigned long end);

/* evict.c: by page */
/*
 * Make room for @nr pages by moving out the chunks that the device has not used for
 * longest.  No lock held.  Returns how many were freed; 0: nothing could be moved.
 */
unsigned long hmm_rmem_evict(struct hmm_rmem *rmem, unsigned long nr);
/*
 * Move everything out; nothing comes in meanwhile.  0, -EBUSY some pages stayed in use,
 * -ENOMEM, -EIO copies fail, -ENODEV lost, -EINTR killed.
 */
int hmm_rmem_evacuate(struct hmm_rmem *rmem);
/* The device leaves: move out what can be, whatever signals say.  The pool is closed. */
void hmm_rmem_leave(struct hmm_rmem *rmem);
struct hmm_rmem_transit *hmm_rmem_transit_new(void);
void hmm_rmem_transit_free(struct hmm_rmem_transit *transit);

/* anon.c: what keeps the reverse map of a page that moves without mmap_lock */
struct anon_vma;
struct anon_vma *hmm_rmem_anon_get(struct page *page);
void hmm_rmem_anon_put(struct anon_vma *anon_vma);
struct mm_struct *hmm_rmem_anon_find(struct anon_vma *anon_vma, const struct page *page,
				     unsigned int nr, unsigned int *place,
				     unsigned long *start, unsigned long *end);

/* stat.c: counters, debugfs, use by cgroup */
struct dentry;
u64 hmm_rmem_read_stat(struct hmm_rmem *rmem, enum hmm_rmem_stat stat);
void hmm_rmem_debugfs_add(struct hmm_rmem *rmem);
void hmm_rmem_debugfs_remove(struct hmm_rmem *rmem);
void hmm_rmem_debugfs_init(struct dentry *dir);

/* Failures to be injected: debugfs, see Documentation/device-memory.rst */
extern struct fault_attr hmm_rmem_fail_alloc;
extern struct fault_attr hmm_rmem_fail_copy;

#endif /* _HMM_RMEM_PRIVATE_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files that move pages by address share: migrate.c, move_in.c and move_out.c.
 * Nobody else includes this.
 */
#ifndef _HMM_RMEM_MOVE_H
#define _HMM_RMEM_MOVE_H

#include <linux/bitmap.h>
#include <linux/gfp_types.h>
#include <linux/migrate.h>
#include <linux/mm_types.h>
#include "rmem_private.h"

/**
 * struct hmm_rmem_work - arrays for up to so many pages
 * @src: for migrate_vma_*(), by index of the page
 * @dst: the same
 * @pages: destinations, in the order of the addresses
 * @copies: what is copied from the front, what is cleared from the back
 * @errors: of @copies
 * @slots: page index of each destination
 * @order: destination of each copy
 * @results: of pages whose results are nobody else's
 */
struct hmm_rmem_work {
	unsigned long *src;
	unsigned long *dst;
	struct page **pages;
	struct hmm_rmem_copy *copies;
	int *errors;
	u16 *slots;
	u16 *order;
	u8 *results;
};

/* Bytes of the arrays for one page; the order of the sum is that of their alignment. */
#define HMM_RMEM_WORK_PAGE	(sizeof(struct hmm_rmem_copy) + 2 * sizeof(long) +	\
				 sizeof(struct page *) + sizeof(int) +			\
				 2 * sizeof(u16) + sizeof(u8))

/**
 * struct hmm_rmem_file_run - pages of a file that are next
 * @file: referenced; NULL: none
 * @index: of the first, in @file
 * @first: and in the piece
 * @nr: how many
 * @want: as in struct hmm_pagecache_move
 * @write: as well
 */
struct hmm_rmem_file_run {
	struct file *file;
	pgoff_t index;
	unsigned long first;
	unsigned long nr;
	DECLARE_BITMAP(want, HMM_RMEM_BATCH);
	DECLARE_BITMAP(write, HMM_RMEM_BATCH);
};

/**
 * struct hmm_rmem_mover - a call, and the piece that it is at
 * @rmem: the pool
 * @move: what the caller wants
 * @work: arrays
 * @in: to the device; otherwise to system memory
 * @start: first byte of the piece
 * @end: first byte after it
 * @results: of the pages of the piece
 * @split: huge pages move as small ones, from now on
 * @may_fetch: pages that are elsewhere are fetched in this round
 * @fetch: set of pages that are to be fetched
 * @short_of: set of pages for which there was no room
 * @run: pages of a file
 */
struct hmm_rmem_mover {
	struct hmm_rmem *rmem;
	struct hmm_rmem_move *move;
	struct hmm_rmem_work *work;
	bool in;
	unsigned long start;
	unsigned long end;
	u8 *results;
	bool split;
	bool may_fetch;
	DECLARE_BITMAP(fetch, HMM_RMEM_BATCH);
	DECLARE_BITMAP(short_of, HMM_RMEM_BATCH);
	struct hmm_rmem_file_run run;
};

static inline enum hmm_page_result hmm_rmem_copy_result(int error)
{
	switch (error) {
	case 0:
		return HMM_PAGE_MOVED;
	case -ENOMEM:
		return HMM_PAGE_FULL;
	default:
		return HMM_PAGE_FAILED;
	}
}

/* Has the kernel collected a huge page, or the place of one?  Not before 6.19. */
static inline bool hmm_rmem_is_huge(const struct migrate_vma *args)
{
	return args->src[0] & MIGRATE_PFN_COMPOUND;
}

/* Put back what has been collected, as it was. */
static inline void hmm_rmem_put_back(struct migrate_vma *args)
{
	migrate_vma_pages(args);
	migrate_vma_finalize(args);
}

static inline unsigned long hmm_rmem_mover_addr(const struct hmm_rmem_mover *m,
						unsigned long i)
{
	return m->start + (i << PAGE_SHIFT);
}

static inline void hmm_rmem_set(struct hmm_rmem_mover *m, unsigned long i,
				enum hmm_page_result result)
{
	m->results[i] = result;
	if (result == HMM_PAGE_BUSY)
		hmm_rmem_count(m->rmem, HMM_RMEM_BUSY, 1);
	else if (result == HMM_PAGE_FULL && m->in)
		hmm_rmem_count(m->rmem, HMM_RMEM_FULL, 1);
}

/* migrate.c: the arrays */
void hmm_rmem_work_init(struct hmm_rmem_work *work, void *memory, unsigned int nr);
struct hmm_rmem_work *hmm_rmem_work_alloc(unsigned int nr, gfp_t gfp);

/*
 * What migrate_vma_setup() has collected, to its end: one run of small pages; or one huge
 * page, and then false means that it is to be tried with small pages.
 */
/* move_in.c: to the device */
void hmm_rmem_in(struct hmm_rmem_mover *m, struct migrate_vma *args, unsigned long first);
bool hmm_rmem_in_huge(struct hmm_rmem_mover *m, struct migrate_vma *args,
		      unsigned long first);

/* move_out.c: to system memory */
unsigned long hmm_rmem_out(struct hmm_rmem *rmem, struct migrate_vma *args,
			   struct hmm_rmem_work *work, u8 *results, enum hmm_rmem_stat why);
bool hmm_rmem_out_huge(struct hmm_rmem *rmem, struct migrate_vma *args,
		       struct hmm_rmem_work *work, u8 *results, enum hmm_rmem_stat why,
		       unsigned long *moved);

#endif /* _HMM_RMEM_MOVE_H */

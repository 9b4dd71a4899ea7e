/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the fault path share:
 *
 *   fault.c      a batch of faults is cut into runs
 *   run.c        a run is served: pages are looked at, fetched, mapped
 *   policy.c     do its pages move to the device first?
 *   exclusive.c  a page of it is taken away from the CPU, for atomic operations
 */
#ifndef _HMM_FAULT_PRIVATE_H
#define _HMM_FAULT_PRIVATE_H

#include <linux/bitmap.h>
#include "hmm_private.h"

#define HMM_FAULT_RUN_PAGES	(PMD_SIZE / PAGE_SIZE)

/**
 * struct hmm_fault_page - a page of a run
 * @want: set of BIT(HMM_FAULT_*) that were asked for; 0: mapped if it is there
 * @faulted: the CPU's side has been asked to fault it in
 * @movable: its mapping is of a kind whose pages may move by themselves
 * @file: its mapping is of a file whose pages may be on devices: see hmm/pagecache.h
 * @upgraded: a page of a file that the device has only to read: to have it for writing has
 *	been tried
 * @was_local: it was on the device, and had to be fetched to become writable; or has to
 *	become one for writing, if @file
 * @no_atomics: as in struct hmm_map
 * @exclusive: it has to be made exclusive for the device
 * @done: committed
 * @error: why the page cannot be mapped, 0: it can
 * @write_error: why it cannot be written, although it can be read
 * @atomic_error: why there can be no atomic operations, although it can be written
 */
struct hmm_fault_page {
	u8 want;
	bool faulted : 1;
	bool movable : 1;
	bool file : 1;
	bool upgraded : 1;
	bool was_local : 1;
	bool no_atomics : 1;
	bool exclusive : 1;
	bool done : 1;
	s16 error;
	s16 write_error;
	s16 atomic_error;
};

/**
 * struct hmm_fault_run - a run being served
 * @call: on whose behalf
 * @block: the block that @start is in, and all of the run
 * @start: first byte
 * @nr: pages
 * @seq: of the block's notifier, before anything was looked at
 * @deadline: give up after this, in jiffies
 * @retries: collisions so far
 * @rounds: times that pages were faulted in, or that only some could be committed
 * @fetched_local: a page of it is @was_local
 * @any_file: a page of it is @file
 * @coming: file with a page on its way, which is to be waited for, referenced; or NULL
 * @coming_index: of the page
 * @no_huge: no huge entries here: some of the pages are not for atomics
 * @pfns: what the CPU maps, in the format of linux/hmm.h
 * @pages: what is to become of each
 * @near: to be moved, if it can be
 * @fill: of these, what gets a page on the device if there is none yet
 * @results: of the last move, enum hmm_page_result
 */
struct hmm_fault_run {
	struct hmm_call call;
	struct hmm_block *block;
	unsigned long start;
	unsigned long nr;
	unsigned long seq;
	unsigned long deadline;
	unsigned int retries;
	unsigned int rounds;
	bool fetched_local;
	bool no_huge;
	bool any_file;
	struct file *coming;
	pgoff_t coming_index;
	unsigned long pfns[HMM_FAULT_RUN_PAGES];
	struct hmm_fault_page pages[HMM_FAULT_RUN_PAGES];
	DECLARE_BITMAP(near, HMM_FAULT_RUN_PAGES);
	DECLARE_BITMAP(fill, HMM_FAULT_RUN_PAGES);
	u8 results[HMM_FAULT_RUN_PAGES];
};

#define HMM_FAULT_WANT_WRITE	(BIT(HMM_FAULT_WRITE) | BIT(HMM_FAULT_ATOMIC))

static inline unsigned long hmm_fault_run_end(const struct hmm_fault_run *run)
{
	return run->start + (run->nr << PAGE_SHIFT);
}

static inline unsigned long hmm_fault_run_addr(const struct hmm_fault_run *run,
					       unsigned long i)
{
	return run->start + (i << PAGE_SHIFT);
}

/* fault.c */
unsigned long hmm_fault_limit(const struct hmm_mirror *mirror);

/* run.c */
void hmm_fault_run_init(struct hmm_fault_run *run, unsigned long start, unsigned long nr);
int hmm_fault_judge(struct hmm_fault_run *run);
int hmm_fault_look(struct hmm_fault_run *run);
bool hmm_fault_page_is_local(const struct hmm_fault_run *run, unsigned long i);
void hmm_fault_collided(struct hmm_fault_run *run);
int hmm_fault_serve(struct hmm_fault_run *run);
void hmm_fault_map_moved(struct hmm_fault_run *run, const u8 *results);

/* policy.c */
bool hmm_policy_page_moves(const struct hmm_fault_run *run, unsigned long i,
			   const struct hmm_note_hint *hint, bool write);
bool hmm_policy_move(struct hmm_fault_run *run);

/* exclusive.c */
struct page *hmm_exclusive_take(struct hmm_fault_run *run, unsigned long addr,
				struct folio **folio);
int hmm_exclusive_map(struct hmm_fault_run *run, unsigned long i);

#endif /* _HMM_FAULT_PRIVATE_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages of files on devices: what hmm/ and the rest of rmem/ use of it.
 */
#ifndef _HMM_PAGECACHE_PRIVATE_H
#define _HMM_PAGECACHE_PRIVATE_H

#include <linux/mm_types.h>
#include <linux/types.h>
#include <uapi/hmm_memory.h>

struct file;
struct hmm_rmem;

/**
 * struct hmm_pagecache_move - pages of a file that are to be moved
 * @file: the file, referenced
 * @index: of the first page
 * @nr: pages, at most HMM_RMEM_BATCH
 * @flags: HMM_RMEM_MOVE_*
 * @want: set of pages that somebody waits for, by index from @index; NULL: all.  Others are
 *	moved if that is easy: they are in the page cache, up to date, not locked, and on no
 *	other device.  Those that are not are HMM_PAGE_BUSY.
 * @write: set of pages that the device wants to write to, by index from @index: its fault
 *	is waiting, and the VMA is shared and writable.  They become owned, others shared.
 *	NULL: none.
 * @results: enum hmm_page_result of each page: zeroed by the caller
 * @moved: out: pages that were moved
 */
struct hmm_pagecache_move {
	struct file *file;
	pgoff_t index;
	unsigned long nr;
	u32 flags;
	const unsigned long *want;
	const unsigned long *write;
	u8 *results;
	unsigned long moved;
};

/* May pages of what is mapped be on a device?  Shared, of a file system that was taught. */
bool hmm_pagecache_knows(const struct vm_area_struct *vma);

/* And may a device use them there?  Not if somebody watches who writes. */
bool hmm_pagecache_maps(const struct vm_area_struct *vma);

/*
 * Where are the pages of [@start, @start + @nr pages), all in @vma, that hmm_pagecache_maps()?
 * @pfns[i] of a page in @rmem becomes an entry as of hmm_range_fault(): HMM_PFN_VALID, the
 * page frame of the device's page, HMM_PFN_WRITE if it is owned and @vma is writable.
 * Others are left alone.  Returns true if one is on its way: its entry is 0, wait for it.
 * @rmem is NULL for a device without memory.
 * mmap_lock held; changes nothing, does not sleep.  The answer holds until the next
 * invalidation of the range: whoever changes a state to less rights makes it "on its way",
 * invalidates, and only then goes on.
 */
bool hmm_pagecache_look(const struct vm_area_struct *vma, unsigned long start,
			unsigned long nr, struct hmm_rmem *rmem, unsigned long *pfns);

/*
 * Where is a page, to one that asks only to know?  @vma is one that hmm_pagecache_knows().
 * HMM_PLACE_NONE: no device has anything to do with it.  mmap_lock held.
 */
enum hmm_page_place hmm_pagecache_place(const struct vm_area_struct *vma, unsigned long addr,
					const struct hmm_rmem *rmem, unsigned long *pfn);

/*
 * Wait until no page of [@index, @index + @nr) is on its way, but only so long.  No lock
 * held.  -EINTR killed.
 */
int hmm_pagecache_wait(struct file *file, pgoff_t index, unsigned long nr);

/*
 * Move to the device, and back.  No lock held, not mmap_lock either.  0 if each page has a
 * result; -EINTR killed, -ENOMEM, -ENODEV the pool is closed or the device gone.  In: what
 * is not in the page cache is read first; a page that another device has is fetched from
 * there.  HMM_PAGE_BUSY: somebody uses it; HMM_PAGE_UNSUPPORTED: this page cannot
 * (the end of the file in a page that is written to, or hmm_pagecache_fs.may_move());
 * HMM_PAGE_FULL no room in the pool: the caller evicts, and comes again;
 * HMM_PAGE_UNMAPPED beyond the end of the file; HMM_PAGE_FAILED the read, the copy or
 * page_mkwrite() failed: a fault of the CPU will tell how.
 */
int hmm_pagecache_move_in(struct hmm_rmem *rmem, struct hmm_pagecache_move *move);
int hmm_pagecache_move_out(struct hmm_rmem *rmem, struct hmm_pagecache_move *move);

/*
 * Bring home all pages of files in a chunk.  hmm_rmem.evict_lock held, no other lock.
 * Returns how many were freed; *@busy is set if some stay, and *@error, too, if that is
 * because they cannot be copied.
 */
unsigned long hmm_pagecache_evict(struct hmm_rmem *rmem, unsigned long chunk,
				  enum hmm_rmem_stat why, bool *busy, int *error);

int hmm_pagecache_init(void);
void hmm_pagecache_exit(void);

#endif /* _HMM_PAGECACHE_PRIVATE_H */

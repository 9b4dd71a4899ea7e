/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Special swap entries: what stands in the CPU's page table for a page that the CPU
 * cannot reach, and what happens when it tries to.
 *
 * The lowest layer: it knows entries, pages and faults, and of the memory that the pages
 * are in only struct hmm_swp_memory.  entry.h has the typed entries.
 */
#ifndef _HMM_SWP_PRIVATE_H
#define _HMM_SWP_PRIVATE_H

#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/spinlock.h>
#include <linux/types.h>

/* Bytes that a CPU fault brings back, at least and at most. */
#define HMM_SWP_AROUND_MIN	(64ul << 10)
#define HMM_SWP_AROUND_MAX	(2ul << 20)

/* Streams of faults that one memory keeps in mind. */
#define HMM_SWP_STREAMS		64

/**
 * struct hmm_swp_stream - faults that follow each other
 * @mm: whose; only compared
 * @next: where the next one would be if it goes on as it did
 * @window: bytes that the last one brought back
 */
struct hmm_swp_stream {
	const struct mm_struct *mm;
	unsigned long next;
	unsigned long window;
};

/**
 * struct hmm_swp_memory - memory whose pages the CPU cannot reach
 * @pgmap: its struct pages
 * @pull: Bring the page vmf->page, which is at vmf->address, back to system memory; and
 *	what else is of this memory in [@start, @end), which is within one VMA and
 *	includes it.  If hmm_swp_fault_is_huge(), it is the first page of a huge one, and
 *	that is the range.  Called with mmap_lock held for reading.
 *	Return: 0 when vmf->page was moved; -EBUSY it is in use; -ENOMEM; -EIO the copy
 *	failed, the page is intact; -ENODEV its contents are lost.
 * @stream_lock: protects @streams
 * @streams: by a hash of the address space and the 1 GiB of it
 * @faults: CPU faults on pages of this memory
 * @lost_races: of these, left to another thread that was at the same page
 */
struct hmm_swp_memory {
	struct dev_pagemap pgmap;
	int (*pull)(struct hmm_swp_memory *memory, struct vm_fault *vmf,
		    unsigned long start, unsigned long end);
	spinlock_t stream_lock;
	struct hmm_swp_stream streams[HMM_SWP_STREAMS];
	atomic64_t faults;
	atomic64_t lost_races;
};

static inline struct hmm_swp_memory *hmm_swp_memory_of(struct dev_pagemap *pgmap)
{
	return container_of(pgmap, struct hmm_swp_memory, pgmap);
}

/* Is it about a huge page?  The kernel has not looked for a small entry then. */
static inline bool hmm_swp_fault_is_huge(const struct vm_fault *vmf)
{
	return IS_ENABLED(CONFIG_ARCH_ENABLE_THP_MIGRATION) && !vmf->pte;
}

/* fault.c */
vm_fault_t hmm_swp_fault(struct vm_fault *vmf);		/* dev_pagemap_ops.migrate_to_ram */
void hmm_swp_drain(void);	/* pages that CPUs keep in batches */
int hmm_swp_init(void);
void hmm_swp_exit(void);

/* window.c: how much a fault brings along */
void hmm_swp_window_init(struct hmm_swp_memory *memory);
/* [*start, *end) around @addr, aligned to its own size but cut to [from, to). */
void hmm_swp_window(struct hmm_swp_memory *memory, const struct mm_struct *mm,
		    unsigned long addr, unsigned long from, unsigned long to,
		    unsigned long *start, unsigned long *end);

#endif /* _HMM_SWP_PRIVATE_H */

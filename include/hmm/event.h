/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The context of an invalidation: what happened to a range of a process'
 * address space, why, and what a device that mirrors it has to do.
 *
 * Three layers of knowledge, from certain to informed:
 *
 *  - the action is a command, and is always right;
 *  - the type is the row of the event table that the action was taken from;
 *  - the reasons are the set of kernel operations that can have sent this event.
 *    One bit set means that the reason is known.  Several bits mean that the
 *    kernel gives a callback no way to tell them apart.  Policy may use the
 *    reasons; correctness never depends on them.
 *
 * Intervals are [start, end): start inclusive, end exclusive.
 */
#ifndef _HMM_EVENT_H
#define _HMM_EVENT_H

#ifdef __KERNEL__
#include <linux/bits.h>
#include <linux/types.h>
#endif

/**
 * enum hmm_event_type - rows of the event table
 * @HMM_EVENT_UNMAP: the range leaves the address space (munmap, mremap, exit)
 * @HMM_EVENT_RELEASE: the address space itself goes away
 * @HMM_EVENT_MIGRATE_OWN: pages move to or from a device of this core; the
 *	migration code updates the device that it moves pages for
 * @HMM_EVENT_MIGRATE_DEV: pages move to or from somebody else's device
 * @HMM_EVENT_PROTECT: the protection of a VMA changed, or will be sampled
 * @HMM_EVENT_WRPROTECT: pages become read-only (fork, writeback)
 * @HMM_EVENT_SOFT_DIRTY: the soft-dirty bits are being cleared
 * @HMM_EVENT_EXCLUSIVE_OWN: exclusive device access, for a device of this core
 * @HMM_EVENT_EXCLUSIVE: exclusive access for another device
 * @HMM_EVENT_RECLAIM: the page is being swapped out or dropped
 * @HMM_EVENT_MIGRATE_SYS: the page moves to other system memory
 * @HMM_EVENT_COW: the page is being replaced by a private copy
 * @HMM_EVENT_KSM: the page is being merged with, or split from, an equal one
 * @HMM_EVENT_SPLIT: a huge mapping is being split, or small pages collapsed
 * @HMM_EVENT_TRUNCATE: the page leaves its file
 * @HMM_EVENT_CLEAR: translations are being cleared, for a reason not in this list
 * @HMM_EVENT_NR: number of types
 */
enum hmm_event_type {
	HMM_EVENT_UNMAP,
	HMM_EVENT_RELEASE,
	HMM_EVENT_MIGRATE_OWN,
	HMM_EVENT_MIGRATE_DEV,
	HMM_EVENT_PROTECT,
	HMM_EVENT_WRPROTECT,
	HMM_EVENT_SOFT_DIRTY,
	HMM_EVENT_EXCLUSIVE_OWN,
	HMM_EVENT_EXCLUSIVE,
	HMM_EVENT_RECLAIM,
	HMM_EVENT_MIGRATE_SYS,
	HMM_EVENT_COW,
	HMM_EVENT_KSM,
	HMM_EVENT_SPLIT,
	HMM_EVENT_TRUNCATE,
	HMM_EVENT_CLEAR,
	HMM_EVENT_NR
};

/**
 * enum hmm_event_action - what a device must do before its callback returns
 * @HMM_ACTION_NONE: nothing
 * @HMM_ACTION_WRPROTECT: take away write permission, report dirty pages, go on
 *	reading
 * @HMM_ACTION_DROP: drop the translations, report dirty pages
 * @HMM_ACTION_FREE: drop the translations, report dirty pages; the range is gone,
 *	page table pages that only serve it should be freed
 * @HMM_ACTION_NR: number of actions
 *
 * Ordered by strength: a device may always do more than it was told.
 */
enum hmm_event_action {
	HMM_ACTION_NONE,
	HMM_ACTION_WRPROTECT,
	HMM_ACTION_DROP,
	HMM_ACTION_FREE,
	HMM_ACTION_NR
};

/**
 * enum hmm_event_reason - kernel operations that send invalidations, as bit numbers
 * @HMM_REASON_MUNMAP: munmap(), brk(), shrinking mremap(), shmdt()
 * @HMM_REASON_MREMAP: mremap() moved the range away
 * @HMM_REASON_MAP_FIXED: mmap(MAP_FIXED) over the range
 * @HMM_REASON_EXIT: exit, exec, or kill of the process
 * @HMM_REASON_OOM: OOM reaper or process_mrelease()
 * @HMM_REASON_MPROTECT: mprotect(), pkey_mprotect()
 * @HMM_REASON_NUMA_HINT: NUMA balancing samples accesses
 * @HMM_REASON_UFFD_WP: userfaultfd write-protection
 * @HMM_REASON_PAGEMAP_SCAN: PAGEMAP_SCAN ioctl with write-protection
 * @HMM_REASON_FORK: fork()
 * @HMM_REASON_MKCLEAN: writeback of a shared file mapping begins
 * @HMM_REASON_SOFT_DIRTY: write to /proc/PID/clear_refs
 * @HMM_REASON_MIGRATE_DEV: migration to or from device memory
 * @HMM_REASON_EXCLUSIVE: exclusive device access begins or ends
 * @HMM_REASON_RECLAIM: reclaim by kswapd, by an allocation, by a cgroup limit, or
 *	asked for by MADV_PAGEOUT
 * @HMM_REASON_MIGRATION: compaction, NUMA placement, move_pages(), mbind()
 * @HMM_REASON_COW: copy on write
 * @HMM_REASON_KSM_MERGE: KSM merges equal pages
 * @HMM_REASON_KSM_UNMERGE: KSM breaks a merged page
 * @HMM_REASON_COLLAPSE: khugepaged or MADV_COLLAPSE build a huge page
 * @HMM_REASON_VMA_SPLIT: a VMA was split inside a huge-page-sized block
 * @HMM_REASON_PMD_SPLIT: a huge mapping becomes 4 KiB mappings
 * @HMM_REASON_FOLIO_SPLIT: a huge page becomes small pages
 * @HMM_REASON_TRUNCATE: truncate, hole punch, MADV_REMOVE
 * @HMM_REASON_DONTNEED: MADV_DONTNEED
 * @HMM_REASON_MADV_FREE: MADV_FREE
 * @HMM_REASON_UFFD_MOVE: UFFDIO_MOVE took the page away
 * @HMM_REASON_HWPOISON: the page has a memory error
 * @HMM_REASON_UPROBE: a uprobe is set or removed
 * @HMM_REASON_HUGETLB: an operation on hugetlb memory not told apart further
 * @HMM_REASON_UNMAPPED: the device maps nothing in the range
 * @HMM_REASON_NR: number of reasons
 */
enum hmm_event_reason {
	HMM_REASON_MUNMAP,
	HMM_REASON_MREMAP,
	HMM_REASON_MAP_FIXED,
	HMM_REASON_EXIT,
	HMM_REASON_OOM,
	HMM_REASON_MPROTECT,
	HMM_REASON_NUMA_HINT,
	HMM_REASON_UFFD_WP,
	HMM_REASON_PAGEMAP_SCAN,
	HMM_REASON_FORK,
	HMM_REASON_MKCLEAN,
	HMM_REASON_SOFT_DIRTY,
	HMM_REASON_MIGRATE_DEV,
	HMM_REASON_EXCLUSIVE,
	HMM_REASON_RECLAIM,
	HMM_REASON_MIGRATION,
	HMM_REASON_COW,
	HMM_REASON_KSM_MERGE,
	HMM_REASON_KSM_UNMERGE,
	HMM_REASON_COLLAPSE,
	HMM_REASON_VMA_SPLIT,
	HMM_REASON_PMD_SPLIT,
	HMM_REASON_FOLIO_SPLIT,
	HMM_REASON_TRUNCATE,
	HMM_REASON_DONTNEED,
	HMM_REASON_MADV_FREE,
	HMM_REASON_UFFD_MOVE,
	HMM_REASON_HWPOISON,
	HMM_REASON_UPROBE,
	HMM_REASON_HUGETLB,
	HMM_REASON_UNMAPPED,
	HMM_REASON_NR
};

/* hmm_event.flags */
#define HMM_EVENT_BLOCKABLE	BIT(0)	/* the device may wait */
#define HMM_EVENT_OWN		BIT(1)	/* sent on behalf of this mirror's device */

/**
 * struct hmm_event - one invalidation, as a device sees it
 * @start: first byte, page aligned
 * @end: first byte after the range, page aligned
 * @type: row of the event table
 * @action: what must be done before the callback returns
 * @reasons: set of BIT(enum hmm_event_reason); more than one bit when the kernel
 *	gives no way to tell them apart, and never empty
 * @flags: HMM_EVENT_* flags
 * @vm_flags: flags of the VMA at @start, already the new ones when a protection
 *	changed; 0 when not known
 */
struct hmm_event {
	unsigned long start;
	unsigned long end;
	enum hmm_event_type type;
	enum hmm_event_action action;
	u32 reasons;
	u32 flags;
	unsigned long vm_flags;
};

const char *hmm_event_type_name(enum hmm_event_type type);
const char *hmm_event_action_name(enum hmm_event_action action);
const char *hmm_event_reason_name(enum hmm_event_reason reason);
enum hmm_event_action hmm_event_default_action(enum hmm_event_type type);

#endif /* _HMM_EVENT_H */

/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Numbers that the mirroring core's drivers pass on to user space: kinds of
 * invalidations, what was done about them, why they came, and counters.
 * New ones are added at the end.
 */
#ifndef _UAPI_HMM_EVENT_H
#define _UAPI_HMM_EVENT_H

/**
 * enum hmm_event_type - rows of the event table
 * @HMM_EVENT_UNMAP: the range leaves the address space (munmap, mremap, exit)
 * @HMM_EVENT_RELEASE: the address space itself goes away
 * @HMM_EVENT_MIGRATE_OWN: pages move to or from the memory of this device
 * @HMM_EVENT_MIGRATE_DEV: pages move to or from that of another device
 * @HMM_EVENT_PROTECT: the protection of a VMA changed, or will be sampled
 * @HMM_EVENT_WRPROTECT: pages become read-only (fork, writeback)
 * @HMM_EVENT_SOFT_DIRTY: the soft-dirty bits are being cleared
 * @HMM_EVENT_EXCLUSIVE_OWN: exclusive access for this device
 * @HMM_EVENT_EXCLUSIVE: exclusive access for another device, or the end of one
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
 *	asked for by MADV_PAGEOUT; with what it does on the way, such as splitting
 *	huge pages or demoting to slower memory
 * @HMM_REASON_MIGRATION: compaction, NUMA placement, move_pages(), mbind(), memory
 *	offlining; and a migration to a device that another address space asked for
 * @HMM_REASON_COW: copy on write
 * @HMM_REASON_KSM_MERGE: KSM merges equal pages
 * @HMM_REASON_KSM_UNMERGE: KSM breaks a merged page
 * @HMM_REASON_COLLAPSE: khugepaged or MADV_COLLAPSE build a huge page
 * @HMM_REASON_VMA_SPLIT: a VMA was split inside a huge-page-sized block
 * @HMM_REASON_PMD_SPLIT: a huge mapping becomes 4 KiB mappings
 * @HMM_REASON_FOLIO_SPLIT: a huge page becomes small pages
 * @HMM_REASON_TRUNCATE: truncate, hole punch, MADV_REMOVE
 * @HMM_REASON_DONTNEED: MADV_DONTNEED, MADV_GUARD_INSTALL
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

/* flags of an event */
#define HMM_EVENT_BLOCKABLE	(1u << 0)	/* the device may wait */
#define HMM_EVENT_OWN		(1u << 1)	/* sent on behalf of this mirror's device */

/**
 * enum hmm_mirror_state - life of a mirror
 * @HMM_MIRROR_NEW: not registered; only its owner knows it
 * @HMM_MIRROR_LIVE: faults are served, invalidations are delivered
 * @HMM_MIRROR_DYING: the address space or the device goes away; no new fault is
 *	served, device threads are stopped, invalidations are still delivered
 * @HMM_MIRROR_DEAD: no callback runs or will run; the owner may free it
 * @HMM_MIRROR_NR_STATES: number of states
 */
enum hmm_mirror_state {
	HMM_MIRROR_NEW,
	HMM_MIRROR_LIVE,
	HMM_MIRROR_DYING,
	HMM_MIRROR_DEAD,
	HMM_MIRROR_NR_STATES
};

/**
 * enum hmm_mirror_stat - counters of a mirror, monotonic
 * @HMM_STAT_FAULTS: device faults handed in
 * @HMM_STAT_FAULTS_MERGED: of these, served together with another one
 * @HMM_STAT_FAULTS_FAILED: of these, answered with an error
 * @HMM_STAT_PAGES_MAPPED: 4 KiB translations written
 * @HMM_STAT_HUGE_MAPPED: PMD_SIZE translations written
 * @HMM_STAT_AROUND: of the translations written, not asked for by a fault
 * @HMM_STAT_CPU_FAULTS: pages that the fault path had to fault in on the CPU's side
 * @HMM_STAT_RETRIES: commits that lost against an invalidation in their own block
 * @HMM_STAT_EVENTS: invalidations delivered to the device
 * @HMM_STAT_EVENTS_IGNORED: invalidations of ranges that needed no action
 * @HMM_STAT_WOULD_BLOCK: non-blockable invalidations that had to be put off
 * @HMM_STAT_DIRTY: pages reported dirty by the device
 * @HMM_STAT_MOVED_IN: pages moved to the device's memory for this mirror
 * @HMM_STAT_MOVED_OUT: pages moved back on request
 * @HMM_STAT_MOVE_FAILED: pages that were to move and stayed where they were
 * @HMM_STAT_EXCLUSIVE: pages taken away from the CPU for atomic operations
 * @HMM_STAT_NR: number of counters
 */
enum hmm_mirror_stat {
	HMM_STAT_FAULTS,
	HMM_STAT_FAULTS_MERGED,
	HMM_STAT_FAULTS_FAILED,
	HMM_STAT_PAGES_MAPPED,
	HMM_STAT_HUGE_MAPPED,
	HMM_STAT_AROUND,
	HMM_STAT_CPU_FAULTS,
	HMM_STAT_RETRIES,
	HMM_STAT_EVENTS,
	HMM_STAT_EVENTS_IGNORED,
	HMM_STAT_WOULD_BLOCK,
	HMM_STAT_DIRTY,
	HMM_STAT_MOVED_IN,
	HMM_STAT_MOVED_OUT,
	HMM_STAT_MOVE_FAILED,
	HMM_STAT_EXCLUSIVE,
	HMM_STAT_NR
};

#endif /* _UAPI_HMM_EVENT_H */

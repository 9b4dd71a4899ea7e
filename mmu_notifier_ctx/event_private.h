/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The private face of mmu_notifier_ctx/, for itself and for hmm/: from a notifier
 * callback to a struct hmm_event in two steps.
 *
 *	hmm_event_gather()	looks at the range, the task, the locks, the VMA and
 *				the page, and writes down what it saw: the facts
 *	hmm_event_classify()	draws the conclusions, from the facts alone
 *
 * The second step is a pure function, and is tested without a kernel.  So this
 * header only needs what include/hmm/event.h needs.
 */
#ifndef _HMM_EVENT_PRIVATE_H
#define _HMM_EVENT_PRIVATE_H

#include <hmm/event.h>

struct mmu_notifier_range;
struct page;

/**
 * enum hmm_event_notify - what the kernel says about an event
 * @HMM_NOTIFY_UNMAP: MMU_NOTIFY_UNMAP
 * @HMM_NOTIFY_CLEAR: MMU_NOTIFY_CLEAR, and any event that is newer than this code
 * @HMM_NOTIFY_PROTECTION_VMA: MMU_NOTIFY_PROTECTION_VMA
 * @HMM_NOTIFY_PROTECTION_PAGE: MMU_NOTIFY_PROTECTION_PAGE
 * @HMM_NOTIFY_SOFT_DIRTY: MMU_NOTIFY_SOFT_DIRTY
 * @HMM_NOTIFY_RELEASE: MMU_NOTIFY_RELEASE
 * @HMM_NOTIFY_MIGRATE: MMU_NOTIFY_MIGRATE
 * @HMM_NOTIFY_EXCLUSIVE: MMU_NOTIFY_EXCLUSIVE
 * @HMM_NOTIFY_NR: number of them
 */
enum hmm_event_notify {
	HMM_NOTIFY_UNMAP,
	HMM_NOTIFY_CLEAR,
	HMM_NOTIFY_PROTECTION_VMA,
	HMM_NOTIFY_PROTECTION_PAGE,
	HMM_NOTIFY_SOFT_DIRTY,
	HMM_NOTIFY_RELEASE,
	HMM_NOTIFY_MIGRATE,
	HMM_NOTIFY_EXCLUSIVE,
	HMM_NOTIFY_NR
};

/**
 * enum hmm_event_peek - what is known about the device's own mapping of a range
 * @HMM_PEEK_UNKNOWN: the driver cannot tell
 * @HMM_PEEK_NONE: the device maps nothing there
 * @HMM_PEEK_PAGE: the device maps a page there, and it is known which
 */
enum hmm_event_peek {
	HMM_PEEK_UNKNOWN,
	HMM_PEEK_NONE,
	HMM_PEEK_PAGE,
};

/**
 * enum hmm_event_fact - yes/no observations, as bit numbers
 * @HMM_FACT_BLOCKABLE: the callback may sleep
 * @HMM_FACT_ONE_PAGE: the kernel's range is one page
 * @HMM_FACT_PMD_RANGE: the kernel's range is one aligned PMD_SIZE block
 * @HMM_FACT_SELF: current runs in this address space
 * @HMM_FACT_KTHREAD: current is a kernel thread
 * @HMM_FACT_KSWAPD: current is kswapd
 * @HMM_FACT_KCOMPACTD: current is kcompactd
 * @HMM_FACT_MEMALLOC: current frees memory (PF_MEMALLOC)
 * @HMM_FACT_RECLAIM: current is inside page reclaim proper (reclaim_state)
 * @HMM_FACT_CAPTURE: current is inside direct compaction (capture_control)
 * @HMM_FACT_MM_DEAD: the address space has no user left: exit_mmap() is at work
 * @HMM_FACT_LOCK_OWNER: current holds the mmap_lock for writing
 * @HMM_FACT_NO_MADV: no madvise() that throws pages away can be running: nobody
 *	holds the mmap_lock, nor, where this kernel's madvise() does with it, that of the VMA
 * @HMM_FACT_NO_MOVE: no UFFDIO_MOVE can be about a range like this one
 * @HMM_FACT_ALONE: the device may have pages of the range to itself, and this kernel says
 *	no more than CLEAR when the CPU takes one back
 * @HMM_FACT_NO_FILE_RMAP: no reverse map walk of the file behind the VMA can be
 *	running: nobody holds the lock that it would need
 * @HMM_FACT_NO_ANON_RMAP: the same, for anonymous pages
 * @HMM_FACT_NO_RMAP: both
 * @HMM_FACT_VMA: there is a VMA at the start of the range
 * @HMM_FACT_VMA_COVERS: that VMA covers the whole of the kernel's range
 * @HMM_FACT_VMA_READ: that VMA may be read
 * @HMM_FACT_VMA_SHARED: that VMA is shared and may be written to
 * @HMM_FACT_VMA_ANON: that VMA has no file behind it
 * @HMM_FACT_VMA_HUGETLB: that VMA is hugetlb memory
 * @HMM_FACT_VMA_MERGEABLE: that VMA is registered for KSM
 * @HMM_FACT_VMA_UFFD_WP: that VMA is registered for userfaultfd write-protection
 * @HMM_FACT_PAGE_ANON: the page that the device maps is anonymous
 * @HMM_FACT_PAGE_EXCLUSIVE: it belongs to one process alone (PG_anon_exclusive)
 * @HMM_FACT_PAGE_KSM: it is a KSM page
 * @HMM_FACT_PAGE_LARGE: it is part of a folio of several pages
 * @HMM_FACT_PAGE_PMD: it is part of a folio that is as large as a PMD, or larger
 * @HMM_FACT_PAGE_LOCKED: it is locked, by anybody
 * @HMM_FACT_PAGE_TAKEN: it is locked, and off the LRU lists
 * @HMM_FACT_PAGE_HELD: it is locked, on an LRU list, anonymous and of a large folio
 * @HMM_FACT_PAGE_HWPOISON: it has a memory error
 * @HMM_FACT_NUMA: this kernel can sample accesses for NUMA balancing
 * @HMM_FACT_NR: number of facts
 */
enum hmm_event_fact {
	HMM_FACT_BLOCKABLE,
	HMM_FACT_ONE_PAGE,
	HMM_FACT_PMD_RANGE,
	HMM_FACT_SELF,
	HMM_FACT_KTHREAD,
	HMM_FACT_KSWAPD,
	HMM_FACT_KCOMPACTD,
	HMM_FACT_MEMALLOC,
	HMM_FACT_RECLAIM,
	HMM_FACT_CAPTURE,
	HMM_FACT_MM_DEAD,
	HMM_FACT_LOCK_OWNER,
	HMM_FACT_NO_MADV,
	HMM_FACT_NO_MOVE,
	HMM_FACT_ALONE,
	HMM_FACT_NO_FILE_RMAP,
	HMM_FACT_NO_ANON_RMAP,
	HMM_FACT_NO_RMAP,
	HMM_FACT_VMA,
	HMM_FACT_VMA_COVERS,
	HMM_FACT_VMA_READ,
	HMM_FACT_VMA_SHARED,
	HMM_FACT_VMA_ANON,
	HMM_FACT_VMA_HUGETLB,
	HMM_FACT_VMA_MERGEABLE,
	HMM_FACT_VMA_UFFD_WP,
	HMM_FACT_PAGE_ANON,
	HMM_FACT_PAGE_EXCLUSIVE,
	HMM_FACT_PAGE_KSM,
	HMM_FACT_PAGE_LARGE,
	HMM_FACT_PAGE_PMD,
	HMM_FACT_PAGE_LOCKED,
	HMM_FACT_PAGE_TAKEN,
	HMM_FACT_PAGE_HELD,
	HMM_FACT_PAGE_HWPOISON,
	HMM_FACT_NUMA,
	HMM_FACT_NR
};

/**
 * struct hmm_event_facts - what was seen inside a notifier callback
 * @start: first byte of the kernel's range inside the block
 * @end: first byte after it
 * @notify: what the kernel called it
 * @own: the event carries the owner of the device it is reported to; set by the
 *	caller, before or after hmm_event_gather(), which leaves it alone
 * @alone: the device may have pages of the kernel's range to itself; set by the caller,
 *	before hmm_event_gather()
 * @peek: what is known about the device's mapping
 * @known: the facts that are known, BIT_ULL(enum hmm_event_fact)
 * @set: of these, the ones that hold; a subset of @known
 * @vm_flags: flags of the VMA at @start, 0 if there is none or it is not known
 */
struct hmm_event_facts {
	unsigned long start;
	unsigned long end;
	enum hmm_event_notify notify;
	bool own;
	bool alone;
	enum hmm_event_peek peek;
	u64 known;
	u64 set;
	unsigned long vm_flags;
};

enum hmm_event_type hmm_event_reason_type(enum hmm_event_reason reason);

void hmm_event_gather(struct hmm_event_facts *facts,
		      const struct mmu_notifier_range *range,
		      unsigned long start, unsigned long end,
		      const struct page *page, enum hmm_event_peek peek);
void hmm_event_classify(const struct hmm_event_facts *facts,
			struct hmm_event *event);

#endif /* _HMM_EVENT_PRIVATE_H */

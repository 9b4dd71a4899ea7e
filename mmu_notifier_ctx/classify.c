// SPDX-License-Identifier: GPL-2.0
/*
 * From facts to conclusions: which type an event is, which kernel operations can
 * have sent it, and what a device has to do.
 *
 * Pure functions of their arguments: no state, no locks, any context.  Nothing in
 * here needs a kernel; tests/host compiles this file as it is.
 *
 * The one principle: a reason stays in the set until a fact rules it out.  A fact
 * that is not known rules out nothing, so to know less makes the set larger and the
 * action stronger, never the other way round.
 */
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/kernel.h>
#include "event_private.h"

/**
 * DOC: senders
 *
 * The kernel names few kinds of events, and MMU_NOTIFY_CLEAR is a catch-all.  Every
 * place in the kernel that sends one has a row in hmm_event_senders[]: the facts
 * without which it cannot be that place (needs), and the facts with which it cannot
 * be (bars).  The reasons of an event are those of all the rows that are left.
 *
 * Places that send events, by file, and their rows:
 *
 * ============================== ==================================================
 * mm/memory.c  unmap_vmas()      munmap, exit, MAP_FIXED, second half of mremap
 * mm/mremap.c                    mremap
 * mm/oom_kill.c                  OOM reaper, process_mrelease(); a CLEAR on later
 *                                kernels
 * mm/mprotect.c, mm/hugetlb.c    mprotect, NUMA hinting, userfaultfd-wp
 * fs/proc/task_mmu.c             PAGEMAP_SCAN, soft-dirty
 * mm/memory.c  copy_page_range() fork
 * mm/rmap.c  page_mkclean        writeback; also mm/mapping_dirty_helpers.c, which
 *                                only graphics drivers use, on VMAs we refuse
 * mm/migrate_device.c            MIGRATE_DEV
 * mm/rmap.c, mm/memory.c         EXCLUSIVE (make it, restore it); the latter a CLEAR on
 *                                later kernels
 * mm/rmap.c  try_to_unmap()      reclaim, memory failure, shmem collapse
 * mm/rmap.c  try_to_migrate()    migration, folio split
 * mm/memory.c  wp_page_copy()    COW, KSM unmerge
 * mm/memory.c  zap_page_range..  DONTNEED, truncate
 * mm/madvise.c                   MADV_FREE
 * mm/ksm.c  (two)                KSM merge
 * mm/khugepaged.c  (three)       collapse of anonymous memory, of a huge page mapped
 *                                by PTEs, of a file (page table retracted)
 * mm/huge_memory.c               PMD split (by VMA split, zap, COW), UFFDIO_MOVE of a
 *                                huge page, COW of the huge zero page; PUD split is
 *                                for DAX only, has no row
 * mm/userfaultfd.c               UFFDIO_MOVE
 * mm/hugetlb.c  (five)           fork, COW and the rest of hugetlb
 * kernel/events/uprobes.c        uprobe
 * ============================== ==================================================
 *
 * What the rows rest on:
 *
 * - A reverse map walk tells a mirror before it looks at the page table.  The page
 *   that the device maps at that place need not be the one that is walked: it can be
 *   a private copy in front of the file's page, or in front of a page of a relative
 *   by fork.  So the state of the device's page proves little about the walk; but
 *   every walk holds the lock of the reverse map, and when nobody holds that, there
 *   is no walk.
 * - That current holds the mmap_lock for writing can be seen with certainty.  That it
 *   holds it for reading cannot, only that nobody holds it.
 * - A folio that is locked and off the LRU lists is about to be moved or thrown out
 *   by whoever locked it, a large anonymous folio that is locked is about to be split,
 *   and that is taken for the event at hand.  The two can differ when a second task
 *   sends an event for the page at that very moment.
 * - What the kernel does on the way counts as what it is on the way to: demotion and
 *   splits by reclaim are RECLAIM, splits by kcompactd are MIGRATION.
 *
 * Known limits: an operation that is going to fail without a change (UFFDIO_MOVE of a
 * shared page or of the zero page) is reported as what would have changed that page;
 * a migration to a device is announced as MIGRATE only in the address space it is
 * asked for, other mappings of the page get a CLEAR that is reported as MIGRATION.
 */

#define F(fact)		BIT_ULL(HMM_FACT_##fact)

static_assert(HMM_FACT_NR <= 64);

/**
 * struct hmm_event_sender - a place in the kernel that sends events
 * @notify: the event it sends
 * @reason: why it does
 * @needs: facts that hold whenever it does
 * @bars: facts that never hold when it does
 *
 * That the callback may sleep is needed by all, but for the OOM reaper, which it
 * bars; so the rows do not say it.
 */
struct hmm_event_sender {
	enum hmm_event_notify notify;
	enum hmm_event_reason reason;
	u64 needs;
	u64 bars;
};

/*
 * Kernel work on somebody's memory: it never calls madvise(), takes a page fault or
 * changes a VMA while it is at it.
 */
#define AT_WORK		(F(MEMALLOC) | F(KSWAPD) | F(KCOMPACTD))

/* A page with a memory error, while still mapped, is on its way out for that. */
#define BROKEN		F(PAGE_HWPOISON)

/* What rules out a page fault or a system call on small pages that locks no page. */
#define NO_CALL		(AT_WORK | BROKEN | F(PAGE_TAKEN) | F(PAGE_HELD) | F(VMA_HUGETLB))

/* What rules out a reverse map walk. */
#define NO_WALK		(F(NO_RMAP) | F(VMA_HUGETLB))

static const struct hmm_event_sender hmm_event_senders[] = {
	/* --- UNMAP --- */

	/* exit_mmap() of the last user. */
	{ HMM_NOTIFY_UNMAP, HMM_REASON_EXIT,
	  F(MM_DEAD), 0 },
	/* __oom_reap_task_mm(); its victim may be past the last user already. */
	{ HMM_NOTIFY_UNMAP, HMM_REASON_OOM,
	  0, 0 },
	/* munmap(), brk() and a shrinking mremap() have downgraded their lock ... */
	{ HMM_NOTIFY_UNMAP, HMM_REASON_MUNMAP,
	  0, F(MM_DEAD) | F(LOCK_OWNER) },
	/* ... shmdt() has not; all have taken the VMA out of the tree. */
	{ HMM_NOTIFY_UNMAP, HMM_REASON_MUNMAP,
	  0, F(MM_DEAD) | F(VMA) },
	/* A move tells about the source once with its VMA and once without. */
	{ HMM_NOTIFY_UNMAP, HMM_REASON_MREMAP,
	  F(LOCK_OWNER), F(MM_DEAD) },
	/* The old VMA is still in the tree, the new one not yet. */
	{ HMM_NOTIFY_UNMAP, HMM_REASON_MAP_FIXED,
	  F(LOCK_OWNER) | F(VMA), F(MM_DEAD) },

	/* --- RELEASE, MIGRATE, EXCLUSIVE, SOFT_DIRTY: the kernel says why --- */

	{ HMM_NOTIFY_RELEASE, HMM_REASON_EXIT, 0, 0 },
	{ HMM_NOTIFY_MIGRATE, HMM_REASON_MIGRATE_DEV, 0, 0 },
	{ HMM_NOTIFY_EXCLUSIVE, HMM_REASON_EXCLUSIVE, 0, 0 },
	{ HMM_NOTIFY_SOFT_DIRTY, HMM_REASON_SOFT_DIRTY, 0, 0 },

	/* --- PROTECTION_VMA --- */

	/* The only one that writes vm_flags, so the only one with the write lock ... */
	{ HMM_NOTIFY_PROTECTION_VMA, HMM_REASON_MPROTECT,
	  F(LOCK_OWNER), 0 },
	/*
	 * ... but for the end of a registration with userfaultfd, whose VMA still has
	 * its flag then.  UFFDIO_WRITEPROTECT refuses VMAs without it.
	 */
	{ HMM_NOTIFY_PROTECTION_VMA, HMM_REASON_UFFD_WP,
	  F(VMA_UFFD_WP) | F(VMA_COVERS), 0 },
	/* A task samples its own memory, VMA by VMA, on its way to user space. */
	{ HMM_NOTIFY_PROTECTION_VMA, HMM_REASON_NUMA_HINT,
	  F(NUMA) | F(SELF) | F(VMA_COVERS), F(LOCK_OWNER) | F(KTHREAD) | F(VMA_HUGETLB) },
	/* Tells about the whole range that it was asked for, holes and all. */
	{ HMM_NOTIFY_PROTECTION_VMA, HMM_REASON_PAGEMAP_SCAN,
	  0, F(LOCK_OWNER) | F(KTHREAD) },

	/* --- PROTECTION_PAGE --- */

	/* is_cow_mapping(): a shared VMA stays as it is. */
	{ HMM_NOTIFY_PROTECTION_PAGE, HMM_REASON_FORK,
	  F(LOCK_OWNER) | F(VMA), F(VMA_SHARED) | F(MEMALLOC) },
	/* invalid_mkclean_vma(): a private VMA does not dirty the file. */
	{ HMM_NOTIFY_PROTECTION_PAGE, HMM_REASON_MKCLEAN,
	  F(VMA_SHARED), 0 },
	/* The VMA can be out of the tree and not yet out of the reverse map. */
	{ HMM_NOTIFY_PROTECTION_PAGE, HMM_REASON_MKCLEAN,
	  0, F(VMA) | F(LOCK_OWNER) },

	/* --- CLEAR: reverse map walks --- */

	/*
	 * Reclaim sets PF_MEMALLOC in all its forms: kswapd, direct, by cgroup,
	 * proactive, MADV_PAGEOUT, DAMON.
	 */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_RECLAIM,
	  F(MEMALLOC), NO_WALK | F(CAPTURE) },
	/* Direct compaction is the other user of PF_MEMALLOC, and leaves its mark. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_MIGRATION,
	  F(CAPTURE), NO_WALK },
	/* DAMON migrates with PF_MEMALLOC too, from a thread that is not reclaim's. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_MIGRATION,
	  F(MEMALLOC) | F(KTHREAD), NO_WALK | F(RECLAIM) | F(KSWAPD) },
	/* Everybody else who migrates, with the page that the device maps ... */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_MIGRATION,
	  F(PAGE_TAKEN), NO_WALK | BROKEN | F(MEMALLOC) | F(LOCK_OWNER) },
	/*
	 * ... or with one that hides behind it, so that the page of the device is not
	 * locked for it: the file's page behind a private copy, or what a relative by
	 * fork maps in this place.
	 */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_MIGRATION,
	  F(PAGE_ANON),
	  BROKEN | F(NO_FILE_RMAP) | F(VMA_ANON) | F(VMA_SHARED) | F(VMA_HUGETLB) |
	  F(PAGE_LOCKED) | F(MEMALLOC) | F(LOCK_OWNER) },
	{ HMM_NOTIFY_CLEAR, HMM_REASON_MIGRATION,
	  0,
	  BROKEN | F(NO_ANON_RMAP) | F(VMA_HUGETLB) | F(PAGE_LOCKED) | F(MEMALLOC) |
	  F(LOCK_OWNER) },
	/* The flag is set before the page is unmapped. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_HWPOISON,
	  F(PAGE_HWPOISON), AT_WORK },
	/*
	 * unmap_folio(): the PMD first, then the folio.  It locks the folio, which may
	 * be on the LRU lists (MADV_FREE of a part) or not (split in order to migrate).
	 */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_FOLIO_SPLIT,
	  F(PAGE_LOCKED) | F(PAGE_LARGE),
	  NO_WALK | BROKEN | AT_WORK | F(ONE_PAGE) | F(LOCK_OWNER) },
	/*
	 * Collapse of a file unmaps the small pages one by one, just as migration
	 * would.  khugepaged and MADV_COLLAPSE do not hold the lock for writing.
	 */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_COLLAPSE,
	  F(PAGE_TAKEN),
	  BROKEN | AT_WORK | F(NO_FILE_RMAP) | F(VMA_ANON) | F(VMA_HUGETLB) | F(PAGE_ANON) |
	  F(LOCK_OWNER) },

	/* --- CLEAR: other operations on files --- */

	/*
	 * unmap_mapping_range() for truncate, hole punch, MADV_REMOVE, direct writes;
	 * with private copies included when the file itself shrinks.  The VMA can be out
	 * of the tree and not yet out of the reverse map.
	 */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_TRUNCATE,
	  0, NO_CALL | F(VMA_ANON) | F(NO_FILE_RMAP) | F(LOCK_OWNER) },
	/* A page table that a collapsed file no longer needs. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_COLLAPSE,
	  F(PMD_RANGE), NO_CALL | F(VMA_ANON) | F(NO_FILE_RMAP) | F(LOCK_OWNER) },
	/* A huge page of a file that was mapped by PTEs; it is locked meanwhile. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_COLLAPSE,
	  F(PMD_RANGE) | F(PAGE_LOCKED) | F(PAGE_PMD),
	  AT_WORK | BROKEN | F(VMA_HUGETLB) | F(VMA_ANON) | F(PAGE_ANON) | F(LOCK_OWNER) },

	/* --- CLEAR: page faults --- */

	/*
	 * wp_page_copy().  A page that belongs to one process alone is not copied, a
	 * KSM page leaves KSM by it.  Not only the process itself writes to its memory:
	 * ptrace, /proc/PID/mem and a driver's worker do.
	 */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_COW,
	  F(ONE_PAGE),
	  NO_CALL | F(PAGE_EXCLUSIVE) | F(PAGE_KSM) | F(VMA_SHARED) | F(LOCK_OWNER) },
	/* The huge zero page, on kernels that replace it by a huge page. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_COW,
	  F(PMD_RANGE) | F(VMA_ANON) | F(PAGE_PMD), NO_CALL | F(PAGE_ANON) | F(LOCK_OWNER) },
	/*
	 * A page that a device has to itself is touched: do_swap_page() locks it first.
	 * Whoever touches it may hold the mmap_lock for whatever.
	 */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_EXCLUSIVE,
	  F(ALONE) | F(ONE_PAGE) | F(PAGE_LOCKED) | F(PAGE_EXCLUSIVE),
	  AT_WORK | BROKEN | F(VMA_SHARED) | F(VMA_HUGETLB) },
	/* A write, MADV_UNMERGEABLE (with the write lock), or the end of KSM. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_KSM_UNMERGE,
	  F(ONE_PAGE) | F(PAGE_KSM), NO_CALL },
	/* KSM can merge with the zero page. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_KSM_UNMERGE,
	  F(ONE_PAGE) | F(VMA_MERGEABLE), NO_CALL | F(PAGE_ANON) },

	/* --- CLEAR: madvise() and userfaultfd on small pages --- */

	/* Also MADV_GUARD_INSTALL.  Only a process itself can throw its memory away. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_DONTNEED,
	  F(SELF), NO_CALL | F(KTHREAD) | F(NO_MADV) | F(LOCK_OWNER) },
	{ HMM_NOTIFY_CLEAR, HMM_REASON_MADV_FREE,
	  F(SELF) | F(VMA_ANON), NO_CALL | F(KTHREAD) | F(NO_MADV) | F(LOCK_OWNER) },
	/* Moves anonymous pages that belong to this process alone, within it. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_UFFD_MOVE,
	  F(SELF) | F(VMA_ANON) | F(PAGE_EXCLUSIVE),
	  NO_CALL | F(KTHREAD) | F(NO_MOVE) | F(LOCK_OWNER) },

	/* --- CLEAR: KSM --- */

	/*
	 * ksmd alone merges, with the page locked and the mmap_lock held for reading;
	 * a page that is fresh from the allocator looks as if taken off the LRU lists.
	 */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_KSM_MERGE,
	  F(ONE_PAGE) | F(KTHREAD) | F(VMA_MERGEABLE) | F(PAGE_ANON) | F(PAGE_LOCKED),
	  AT_WORK | BROKEN | F(SELF) | F(NO_MADV) | F(LOCK_OWNER) | F(VMA_HUGETLB) },

	/* --- CLEAR: huge mappings --- */

	/*
	 * vma_adjust_trans_huge(): whenever a VMA gets a boundary inside of a block of
	 * PMD_SIZE, huge page or not.  A system call, never a kernel thread.
	 */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_VMA_SPLIT,
	  F(PMD_RANGE) | F(LOCK_OWNER), AT_WORK | BROKEN | F(KTHREAD) | F(VMA_HUGETLB) },
	/* Part of a huge mapping is thrown away, copied on write or probed. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_PMD_SPLIT,
	  F(PMD_RANGE) | F(PAGE_PMD), NO_CALL },
	/*
	 * collapse_huge_page(): what it replaces is not as large as a PMD yet.  What it
	 * builds can be smaller than that on later kernels.
	 */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_COLLAPSE,
	  F(VMA_ANON) | F(LOCK_OWNER),
	  AT_WORK | BROKEN | F(ONE_PAGE) | F(PAGE_PMD) | F(VMA_HUGETLB) },

	/* --- CLEAR: the rest --- */

	/* __oom_reap_task_mm(), where it does not say UNMAP. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_OOM,
	  0, 0 },

	/* Executable mappings of files, private. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_UPROBE,
	  F(ONE_PAGE) | F(LOCK_OWNER),
	  AT_WORK | BROKEN | F(VMA_ANON) | F(VMA_SHARED) | F(VMA_HUGETLB) },
	/* hugetlb_wp(), on a locked page of a private VMA. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_COW,
	  F(VMA_HUGETLB) | F(PAGE_LOCKED),
	  AT_WORK | BROKEN | F(PAGE_EXCLUSIVE) | F(VMA_SHARED) | F(LOCK_OWNER) },
	/* copy_hugetlb_page_range() clears where the rest of fork protects. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_FORK,
	  F(VMA_HUGETLB) | F(LOCK_OWNER), AT_WORK | F(VMA_SHARED) },
	/* Zap, truncate, migration, mremap and unsharing of page tables. */
	{ HMM_NOTIFY_CLEAR, HMM_REASON_HUGETLB,
	  F(VMA_HUGETLB), BROKEN },
};

static bool hmm_event_fact(const struct hmm_event_facts *facts, enum hmm_event_fact fact)
{
	return facts->known & facts->set & BIT_ULL(fact);
}

static bool hmm_event_fact_not(const struct hmm_event_facts *facts, enum hmm_event_fact fact)
{
	return facts->known & ~facts->set & BIT_ULL(fact);
}

/* Whether no fact speaks against a sender. */
static bool hmm_event_sender_left(const struct hmm_event_sender *sender,
				  const struct hmm_event_facts *facts)
{
	u64 needs = sender->needs, bars = sender->bars;

	if (sender->notify != facts->notify)
		return false;
	if (sender->reason == HMM_REASON_OOM)
		bars |= F(BLOCKABLE);
	else
		needs |= F(BLOCKABLE);
	return !(needs & facts->known & ~facts->set) && !(bars & facts->known & facts->set);
}

/*
 * Never empty: every notification has a row.  Facts that contradict each other, as
 * they can because they were not taken at one instant, leave no row standing; then
 * they are no ground to exclude anything.
 */
static u32 hmm_event_senders_left(const struct hmm_event_facts *facts)
{
	u32 left = 0, all = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hmm_event_senders); i++) {
		const struct hmm_event_sender *sender = &hmm_event_senders[i];

		if (sender->notify == facts->notify)
			all |= BIT(sender->reason);
		if (hmm_event_sender_left(sender, facts))
			left |= BIT(sender->reason);
	}
	return left ? left : all;
}

/* The type that all of the reasons have in common. */
static enum hmm_event_type hmm_event_clear_type(u32 reasons)
{
	enum hmm_event_type type = HMM_EVENT_NR;
	unsigned int reason;

	for (reason = 0; reason < HMM_REASON_NR; reason++) {
		enum hmm_event_type one = hmm_event_reason_type(reason);

		if (!(reasons & BIT(reason)))
			continue;
		if (type != HMM_EVENT_NR && type != one)
			return HMM_EVENT_CLEAR;
		type = one;
	}
	return type == HMM_EVENT_NR ? HMM_EVENT_CLEAR : type;
}

static enum hmm_event_type hmm_event_type(const struct hmm_event_facts *facts, u32 reasons)
{
	switch (facts->notify) {
	case HMM_NOTIFY_UNMAP:
		return HMM_EVENT_UNMAP;
	case HMM_NOTIFY_RELEASE:
		return HMM_EVENT_RELEASE;
	case HMM_NOTIFY_MIGRATE:
		return facts->own ? HMM_EVENT_MIGRATE_OWN : HMM_EVENT_MIGRATE_DEV;
	case HMM_NOTIFY_EXCLUSIVE:
		return facts->own ? HMM_EVENT_EXCLUSIVE_OWN : HMM_EVENT_EXCLUSIVE;
	case HMM_NOTIFY_PROTECTION_VMA:
		return HMM_EVENT_PROTECT;
	case HMM_NOTIFY_PROTECTION_PAGE:
		return HMM_EVENT_WRPROTECT;
	case HMM_NOTIFY_SOFT_DIRTY:
		return HMM_EVENT_SOFT_DIRTY;
	case HMM_NOTIFY_CLEAR:
	case HMM_NOTIFY_NR:
		break;
	}
	return hmm_event_clear_type(reasons);
}

/*
 * Whether a change of protection leaves the whole of the range readable.
 *
 * The flags of the VMA are the new ones.  mprotect() tells about one VMA at a time
 * and holds the lock that keeps it in place, so the VMA at the start speaks for the
 * range if it covers it.  The others, which do not hold that lock for writing, take
 * nothing away but writing, from any number of VMAs.
 */
static bool hmm_event_stays_readable(const struct hmm_event_facts *facts)
{
	return hmm_event_fact(facts, HMM_FACT_VMA) &&
	       hmm_event_fact(facts, HMM_FACT_VMA_READ) &&
	       (hmm_event_fact(facts, HMM_FACT_VMA_COVERS) ||
		hmm_event_fact_not(facts, HMM_FACT_LOCK_OWNER));
}

static enum hmm_event_action hmm_event_action(const struct hmm_event_facts *facts,
					      enum hmm_event_type type)
{
	enum hmm_event_action action = hmm_event_default_action(type);

	/* Page table pages can be left when no entry is. */
	if (action == HMM_ACTION_FREE)
		return action;
	if (facts->peek == HMM_PEEK_NONE)
		return HMM_ACTION_NONE;
	if (type == HMM_EVENT_PROTECT && hmm_event_stays_readable(facts))
		return HMM_ACTION_WRPROTECT;
	return action;
}

/**
 * hmm_event_classify() - conclude from the facts of a notifier callback
 * @facts: what was seen
 * @event: filled in, all of it
 *
 * Of a fact that is not in @facts->known, @facts->set is not looked at.
 *
 * Context: Any; pure.
 */
void hmm_event_classify(const struct hmm_event_facts *facts, struct hmm_event *event)
{
	event->start = facts->start;
	event->end = facts->end;
	event->vm_flags = facts->vm_flags;

	if (facts->notify == HMM_NOTIFY_CLEAR && facts->peek == HMM_PEEK_NONE)
		event->reasons = BIT(HMM_REASON_UNMAPPED);
	else
		event->reasons = hmm_event_senders_left(facts);

	event->type = hmm_event_type(facts, event->reasons);
	event->action = hmm_event_action(facts, event->type);

	event->flags = 0;
	if (hmm_event_fact(facts, HMM_FACT_BLOCKABLE))
		event->flags |= HMM_EVENT_BLOCKABLE;
	if (event->type == HMM_EVENT_MIGRATE_OWN || event->type == HMM_EVENT_EXCLUSIVE_OWN)
		event->flags |= HMM_EVENT_OWN;
}

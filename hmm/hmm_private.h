/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of hmm/ share.  Nobody else includes this, but for the tests.
 *
 * Who owns what:
 *
 *   hmm_device  embedded in the driver's structure; the driver's
 *   hmm_mirror  embedded in the driver's structure; holds a reference on its hmm_mm
 *   hmm_mm      one per mm that has a mirror; shared by the mirrors of all devices
 *   hmm_block   one per block of the address space in use; owned by its hmm_mm
 *
 * Lock order: Documentation/locking.rst.
 */
#ifndef _HMM_PRIVATE_H
#define _HMM_PRIVATE_H

#include <linux/hashtable.h>
#include <linux/kref.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <hmm/mirror.h>
#include "../rmem/rmem_private.h"

/* Mirrors that one mm can have, that is: devices that it can use at once. */
#define HMM_MM_MIRRORS	8

/* Bytes that one block covers, as a power of two. */
#define HMM_BLOCK_SHIFT_MIN	21
#define HMM_BLOCK_SHIFT_MAX	26

/**
 * struct hmm_mm - what the mirrors of one mm share
 * @notifier: tells when the mm is torn down; also keeps its mm_struct
 * @mm: the mm; a reference on the structure, not on the address space
 * @ref: one for each mirror, one for each fault being served
 * @node: in hmm_mm_table
 * @lock: serialises changes of @mirrors and of the mirrors' states
 * @mirrors: mirrors by slot; written under @lock, read under hmm_mirror_srcu
 * @detached: woken when a slot becomes free
 * @blocks: blocks by address >> @block_shift; its own lock also guards
 *	hmm_block.users
 * @block_shift: constant
 * @policy: enum hmm_policy; written and read without a lock
 * @prune: removes blocks of address space that is no longer in use
 */
struct hmm_mm {
	struct mmu_notifier notifier;
	struct mm_struct *mm;
	struct kref ref;
	struct hlist_node node;
	struct mutex lock;
	struct hmm_mirror __rcu *mirrors[HMM_MM_MIRRORS];
	wait_queue_head_t detached;
	struct xarray blocks;
	unsigned int block_shift;
	enum hmm_policy policy;
	struct delayed_work prune;
};

/* Notes are kept for so much of a block at a time. */
#define HMM_AREA_SHIFT	21
#define HMM_AREA_SIZE	BIT(HMM_AREA_SHIFT)
#define HMM_AREA_PAGES	(HMM_AREA_SIZE / PAGE_SIZE)

/**
 * struct hmm_note_hint - struct hmm_hint, to be kept
 * @device: hmm_device.id of the preferred device
 * @flags: HMM_HINT_*
 * @prefer: HMM_PREFER_*
 * @granularity: as a power of two; 0: as the core sees fit
 *
 * All zero: no hint.
 */
struct hmm_note_hint {
	u32 device;
	u8 flags;
	u8 prefer;
	u8 granularity;
};

/**
 * struct hmm_note_page - what is known of the travels of a page
 * @since: when it came to where it is
 * @left: when it last left a device, or may have
 * @moves: times that it has moved to or from a device
 * @bounces: times in a row that it came back to a device right after it had left one
 * @there: it is on a device
 * @maybe_left: it was, and an event came since that can have been its way home, at @left
 *
 * Times are hmm_notes_now(), 0: never.
 */
struct hmm_note_page {
	u32 since;
	u32 left;
	u16 moves;
	u8 bounces;
	bool there : 1;
	bool maybe_left : 1;
};

/**
 * struct hmm_area - notes on HMM_AREA_SIZE of a block
 * @hint: hint of the pages in @hinted, unless @hints
 * @hinted: pages that have a hint
 * @hints: hint of each page; NULL: they are all @hint
 * @pages: history of each page; NULL: none has moved
 * @nr_there: pages that are noted as being on a device
 *
 * All under the update lock of the block.
 */
struct hmm_area {
	struct hmm_note_hint hint;
	DECLARE_BITMAP(hinted, HMM_AREA_PAGES);
	struct hmm_note_hint *hints;
	struct hmm_note_page *pages;
	unsigned int nr_there;
};

/**
 * struct hmm_claim - a page that is being made exclusive for a device
 * @node: in hmm_block.claims
 * @task: who does it
 * @addr: where
 * @collided: something has happened to the page since; both under the block's lock
 */
struct hmm_claim {
	struct list_head node;
	struct task_struct *task;
	unsigned long addr;
	bool collided;
};

/**
 * struct hmm_block - one block of an address space, and the lock of its translations
 * @notifier: the kernel's notifier for [@start, @end)
 * @hmm: the address space
 * @start: first byte
 * @end: first byte after it
 * @lock: the update lock: held while device translations in the block are written
 *	or taken away.  Taken in notifier callbacks, so nothing that can reclaim
 *	memory or wait for a device fault happens under it.
 * @users: fault paths that use the block; xa_lock of hmm->blocks.  Zero and
 *	@dead: being removed.
 * @dead: the block does not stand for its addresses, yet or any more: its notifier only
 *	counts collisions; @lock
 * @pending: set of slots whose device could not be waited for, and may still use
 *	translations that it was told to drop; @lock
 * @claims: pages being made exclusive; @lock
 * @movers: faults that are moving pages of the block to a device now; @lock
 * @moves: such moves that are over; @lock
 * @stream_next: where a device would fault next if it goes through memory in order; @lock
 * @stream_window: bytes that were moved for its last fault; @lock
 * @areas: notes, NULL where there are none; @lock
 */
struct hmm_block {
	struct mmu_interval_notifier notifier;
	struct hmm_mm *hmm;
	unsigned long start;
	unsigned long end;
	struct mutex lock;
	unsigned int users;
	bool dead;
	u8 pending;
	struct list_head claims;
	unsigned int movers;
	unsigned int moves;
	unsigned long stream_next;
	unsigned long stream_window;
	struct hmm_area *areas[];
};

static_assert(HMM_MM_MIRRORS <= 8);

/**
 * struct hmm_call - what a call on a mirror holds, whatever becomes of the mirror
 * @mirror: the mirror, not referenced: to be looked at, and counted on
 * @hmm: its address space, referenced, and alive
 * @rmem: memory of its device, referenced; NULL: none
 * @owner: of what is moved, or made exclusive, for that device
 * @cred: credentials that the thread has, referenced
 * @old_cred: what it had before
 * @memcg: cgroup of @hmm's process, referenced
 * @old_memcg: what the thread charged before
 */
struct hmm_call {
	struct hmm_mirror *mirror;
	struct hmm_mm *hmm;
	struct hmm_rmem *rmem;
	void *owner;
	const struct cred *cred;
	const struct cred *old_cred;
	struct mem_cgroup *memcg;
	struct mem_cgroup *old_memcg;
};

/*
 * Read side: any call of a device operation, and any use of a pointer out of
 * hmm_mm.mirrors.  A mirror that has been taken out of its slot is unused after a
 * grace period.
 */
extern struct srcu_struct hmm_mirror_srcu;

/* main.c: housekeeping; nothing on it waits for a device fault */
extern struct workqueue_struct *hmm_mm_wq;

/* mm.c */
extern DECLARE_HASHTABLE(hmm_mm_table, 6);
extern struct mutex hmm_mm_table_lock;
struct hmm_mm *hmm_mm_get(struct mm_struct *mm);
void hmm_mm_put(struct hmm_mm *hmm);
void hmm_mm_stop(struct hmm_mm *hmm);
bool hmm_mm_has_device(struct hmm_mm *hmm, const struct hmm_device *device);
int hmm_mm_attach(struct hmm_mm *hmm, struct hmm_mirror *mirror);
void hmm_mm_detach(struct hmm_mm *hmm, struct hmm_mirror *mirror);

/* block.c */
extern unsigned int hmm_block_shift;
struct hmm_block *hmm_block_find(struct hmm_mm *hmm, unsigned long addr);
struct hmm_block *hmm_block_get(struct hmm_mm *hmm, unsigned long addr);
void hmm_block_put(struct hmm_block *block);
void hmm_block_forget(struct hmm_block *block, unsigned long start, unsigned long end);
void hmm_block_drop_mirror(struct hmm_mm *hmm, struct hmm_mirror *mirror);
void hmm_block_prune(struct work_struct *work);
void hmm_block_remove_all(struct hmm_mm *hmm);

/* mirror.c */
void hmm_mirror_set_state(struct hmm_mirror *mirror, enum hmm_mirror_state state);
bool hmm_mirror_stop(struct hmm_mirror *mirror, int error);
void hmm_mirror_release(struct hmm_mirror *mirror);

static inline bool hmm_mirror_is_live(const struct hmm_mirror *mirror)
{
	return hmm_mirror_state(mirror) == HMM_MIRROR_LIVE;
}

static inline void hmm_mirror_count(struct hmm_mirror *mirror,
				    enum hmm_mirror_stat stat, long n)
{
	atomic64_add(n, &mirror->stats[stat]);
}

/* exclusive.c */
void hmm_exclusive_event(struct hmm_block *block, const struct mmu_notifier_range *range);

/* call.c */
int hmm_call_begin(struct hmm_call *call, struct hmm_mirror *mirror);
void hmm_call_end(struct hmm_call *call);

/* notes.c */
u32 hmm_notes_now(void);
struct hmm_note_hint hmm_notes_hint(const struct hmm_block *block, unsigned long addr);
bool hmm_notes_any_exclusive(const struct hmm_block *block, unsigned long addr);
int hmm_notes_set_hint(struct hmm_block *block, unsigned long start, unsigned long end,
		       const struct hmm_note_hint *hint);
bool hmm_notes_is_held(const struct hmm_block *block, unsigned long addr);
void hmm_notes_expect(struct hmm_block *block, unsigned long start, unsigned long end);
void hmm_notes_moved_in(struct hmm_block *block, unsigned long start, const u8 *results,
			unsigned long nr);
void hmm_notes_moved_out(struct hmm_block *block, unsigned long start, const u8 *results,
			 unsigned long nr);
void hmm_notes_event(struct hmm_block *block, const struct mmu_notifier_range *range);
void hmm_notes_look(struct hmm_block *block, unsigned long addr,
		    struct hmm_residency *residency);
void hmm_notes_free(struct hmm_block *block);

/* policy.c */
bool hmm_policy_moves(enum hmm_policy policy, const struct hmm_note_hint *hint,
		      u32 device, bool write);

/* device.c */
/* Owner of what is moved, or made exclusive, for a device. */
static inline void *hmm_device_owner(const struct hmm_device *device)
{
	return device->rmem ? (void *)device->rmem : (void *)device;
}

/*
 * Is it a page of a file, in the device's memory?  There is nothing in its struct page.
 * For one that the device maps, under the update lock.
 */
static inline bool hmm_device_has_file(const struct hmm_device *device,
				       const struct page *page)
{
	const struct hmm_rmem *rmem = READ_ONCE(device->rmem);
	unsigned long pfn = page_to_pfn(page);

	return rmem && hmm_rmem_has_pfn(rmem, pfn) && hmm_rmem_is_file(rmem, pfn);
}

extern struct list_head hmm_device_list;
extern struct mutex hmm_device_list_lock;
void hmm_device_put(struct hmm_device *device);

#endif /* _HMM_PRIVATE_H */

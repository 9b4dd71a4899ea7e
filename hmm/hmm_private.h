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
	struct delayed_work prune;
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
};

static_assert(HMM_MM_MIRRORS <= 8);

/**
 * struct hmm_call - what a call on a mirror holds, whatever becomes of the mirror
 * @mirror: the mirror, not referenced: to be looked at, and counted on
 * @hmm: its address space, referenced, and alive
 * @rmem: memory of its device, referenced; NULL: none
 * @memcg: cgroup of @hmm's process, referenced
 * @old_memcg: what the thread charged before
 */
struct hmm_call {
	struct hmm_mirror *mirror;
	struct hmm_mm *hmm;
	struct hmm_rmem *rmem;
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
struct hmm_block *hmm_block_get(struct hmm_mm *hmm, unsigned long addr);
void hmm_block_put(struct hmm_block *block);
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

/* call.c */
int hmm_call_begin(struct hmm_call *call, struct hmm_mirror *mirror);
void hmm_call_end(struct hmm_call *call);

/* device.c */
extern struct list_head hmm_device_list;
extern struct mutex hmm_device_list_lock;
void hmm_device_put(struct hmm_device *device);

#endif /* _HMM_PRIVATE_H */

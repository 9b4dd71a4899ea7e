/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device that can mirror process address spaces, and what its driver has to
 * provide.  The driver owns the device page tables; the core reads the CPU's and
 * tells the driver what to map and what to forget.
 */
#ifndef _HMM_DEVICE_H
#define _HMM_DEVICE_H

#include <linux/completion.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <hmm/event.h>
#include <hmm/rmem.h>

struct dentry;
struct hmm_device;
struct hmm_mirror;
struct hmm_rmem;
struct page;

/**
 * struct hmm_map - translations that a device is asked to write
 * @start: first byte, aligned to 1 << @shift
 * @nr: number of entries in @pfns
 * @shift: bytes that one entry covers, as a power of two: PAGE_SHIFT, or PMD_SHIFT
 *	where the CPU maps a whole huge page and the device has entries of that size
 * @pfns: @nr entries in the format of linux/hmm.h.  An entry without HMM_PFN_VALID
 *	is a hole: leave what is there alone.  HMM_PFN_WRITE: the device may write.
 *	Entries of PMD_SHIFT size are @nr consecutive ones, one an entry.
 * @no_atomics: HMM_PFN_WRITE does not mean that the device may do atomic operations:
 *	these have to fault (HMM_FAULT_ATOMIC) so that the core can take the page away
 *	from the CPU first
 */
struct hmm_map {
	unsigned long start;
	unsigned long nr;
	unsigned int shift;
	const unsigned long *pfns;
	bool no_atomics;
};

/**
 * struct hmm_device_ops - what the driver of a mirroring device provides
 *
 * No operation is called on a mirror before hmm_mirror_register() has begun or
 * after hmm_mirror_unregister() or hmm_device_unregister() has returned.  No operation
 * may call these, or hmm_mirror_fault().
 */
struct hmm_device_ops {
	/**
	 * @prepare: (required) Get ready for @map on [start, end): allocate page
	 * table pages for entries of the smallest size.  The range is within one
	 * block; @map may be asked for the whole of a PMD_SIZE entry that it is part
	 * of.  Allocations are charged to the cgroup of the process.
	 *
	 * Context: Process context, no core lock held, may sleep and allocate with
	 * GFP_KERNEL.  Several calls may run at once on one mirror.
	 * Return: 0, or -ENOMEM, which becomes the result of the fault.
	 */
	int (*prepare)(struct hmm_mirror *mirror, unsigned long start,
		       unsigned long end);

	/**
	 * @map: (required) Write translations into the device page table,
	 * replacing what is there.  An entry that is replaced by one with other
	 * rights or another page must be flushed from the device's TLBs before
	 * the call returns.  Dirty bits of replaced entries must not get lost.
	 *
	 * Context: Under the update lock of the block, which serialises it against
	 * @map, @update, @update_wait and @peek in the same block.  Blocks are aligned
	 * and at least PMD_SIZE large, so what a driver keeps for each PMD_SIZE needs no
	 * other lock.  Must not reclaim memory (no GFP_KERNEL) and
	 * must not wait for a device fault.
	 * Return: 0; -EAGAIN when what @prepare set up was used up or freed since:
	 * the core calls @prepare and tries again; any other error becomes the
	 * result of the fault.
	 */
	int (*map)(struct hmm_mirror *mirror, const struct hmm_map *map);

	/**
	 * @update: (required) Do what event->action says for
	 * [event->start, event->end), and start flushing the device's TLBs.  Pages
	 * that the device has dirtied are reported with hmm_mirror_dirty_page()
	 * before this call, or the @update_wait that follows, returns.  The range may
	 * be part of a huge entry: doing it to all of that is right.
	 *
	 * Context: Under the update lock of the block.  Reclaim may be waiting:
	 * must not allocate memory that can reclaim, must not wait for a device
	 * fault.  May sleep only if event->flags has HMM_EVENT_BLOCKABLE.
	 * Return: 0 when the device is done, or a token for @update_wait.
	 */
	u64 (*update)(struct hmm_mirror *mirror, const struct hmm_event *event);

	/**
	 * @update_wait: (required if @update ever returns a token) Wait until the
	 * device no longer uses the translations that @update took away.  Bounded:
	 * a device that does not answer is reset and then has none.
	 *
	 * The core starts @update on every device of the address space before it
	 * waits for the first.
	 *
	 * Context: As @update.  When event->flags lacks HMM_EVENT_BLOCKABLE, must
	 * not sleep: return false if the device is not done; the kernel comes back,
	 * with an @update for a range that includes this one.  That update, and any
	 * other in the block until then, must again return a token as long as the device
	 * is not done, although it may find nothing left to take away.
	 * Return: true when done.
	 */
	bool (*update_wait)(struct hmm_mirror *mirror,
			    const struct hmm_event *event, u64 token);

	/**
	 * @peek: (optional) The page that the device maps at the lowest mapped
	 * address of [start, end).  It lets the core tell why the kernel sends an
	 * event; without it more events are reported as sets of reasons.
	 *
	 * Context: Under the update lock of the block.  Must not sleep.
	 * Return: the page, or NULL if the device maps nothing in the range.
	 */
	struct page *(*peek)(struct hmm_mirror *mirror, unsigned long start,
			     unsigned long end);

	/**
	 * @stop: (required) The address space or the device goes away, or the mirror
	 * is being unregistered: stop every device thread that uses it, and let none
	 * start again.  Leave the translations alone: an @update that takes them all
	 * away follows, for each block that the mirror may have some in.
	 *
	 * Called exactly once in the life of a mirror that was registered.  May run at
	 * the same time as @update when both the process and the driver end it.
	 *
	 * Context: May sleep; must not allocate; must not wait for a device fault
	 * or for mmap_lock.  Bounded.
	 */
	void (*stop)(struct hmm_mirror *mirror);
};

/**
 * struct hmm_device_caps - what a device can do
 * @va_bits: bits of virtual address that its page tables cover (39 to 57); faults
 *	above are refused with -EFAULT
 * @huge: it has entries of PMD_SIZE
 * @no_atomics: its bus has no atomic operations: as if HMM_HINT_EXCLUSIVE were given
 *	everywhere
 * @fault_around: bytes around a fault that are mapped too, as far as the CPU has
 *	them mapped already: a power of two from PAGE_SIZE (none) to PMD_SIZE
 */
struct hmm_device_caps {
	unsigned int va_bits;
	bool huge;
	bool no_atomics;
	unsigned long fault_around;
};

/**
 * struct hmm_device - a device, embedded in its driver's structure
 * @name: for messages, debugfs and tracepoints; set by the driver, constant
 * @ops: set by the driver, constant
 * @caps: set by the driver, constant
 * @rmem_ops: how it copies; NULL: it has no memory that pages can move to; set by the
 *	driver, constant
 * @rmem_bytes: size of that memory, a multiple of HMM_RMEM_CHUNK_SIZE; set by the driver,
 *	constant
 * @rmem_base: physical address of that memory, a multiple of HMM_RMEM_CHUNK_SIZE, if the CPU
 *	can use it as it uses its own, caches and atomic operations included (coherent
 *	memory); nobody else has claimed it.  0: the CPU cannot reach it (private memory).
 *	Set by the driver, constant.
 * @rmem_plain: only pages of files are to move there: then private memory needs no struct
 *	pages.  On a kernel that has none for it, it is so in any case.  Set by the driver,
 *	constant.
 */
struct hmm_device {
	const char *name;
	const struct hmm_device_ops *ops;
	struct hmm_device_caps caps;
	const struct hmm_rmem_ops *rmem_ops;
	u64 rmem_bytes;
	u64 rmem_base;
	bool rmem_plain;
	/* private: */
	struct hmm_rmem *rmem;		/* NULL: none, or the kernel has no such pages */
	u64 rmem_last[HMM_RMEM_NR];	/* its counters, once it is gone */
	u32 id;				/* never used again for another device */
	struct list_head node;		/* hmm_device_list; hmm_device_list_lock */
	struct mutex lock;		/* protects @mirrors and @dying */
	struct list_head mirrors;
	bool dying;
	refcount_t users;		/* mirrors not yet released, and us */
	struct completion idle;		/* no user is left */
};

int __must_check hmm_device_register(struct hmm_device *device);
void hmm_device_unregister(struct hmm_device *device);
bool hmm_device_has_memory(const struct hmm_device *device);
int hmm_device_evacuate(struct hmm_device *device);
void hmm_device_lost(struct hmm_device *device);

#endif /* _HMM_DEVICE_H */

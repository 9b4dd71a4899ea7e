/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A process address space as seen by one device.
 *
 * Life of a mirror: hmm_mirror_register() -> device faults, invalidations ->
 * hmm_mirror_unregister().  The address space may go away in between (the process
 * exits): then ops->stop() is called and faults fail with -ESRCH, and the driver
 * unregisters when it sees fit.
 */
#ifndef _HMM_MIRROR_H
#define _HMM_MIRROR_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/types.h>
#include <hmm/device.h>
#include <uapi/hmm_event.h>

struct cred;
struct hmm_mm;
struct mm_struct;

/**
 * struct hmm_mirror - one address space on one device, embedded in the driver's
 * @device: the device; constant after hmm_mirror_register()
 * @mm: the address space; constant after hmm_mirror_register(), valid (as memory,
 *	not as an address space) until the mirror is unregistered
 */
struct hmm_mirror {
	struct hmm_device *device;
	struct mm_struct *mm;
	/* private: */
	struct hmm_mm *hmm;
	const struct cred *cred;	/* of who has registered it, referenced */
	struct list_head node;		/* device->mirrors; device->lock */
	enum hmm_mirror_state state;	/* hmm->lock for writing */
	int stop_error;			/* of faults, once DYING; hmm->lock */
	int slot;			/* hmm->mirrors[]; hmm->lock */
	struct completion dead;		/* released: state is DEAD */
	atomic64_t stats[HMM_STAT_NR];
	atomic64_t events[HMM_EVENT_NR];
};

/* hmm_fault.access; a stronger one includes the weaker */
#define HMM_FAULT_READ		0u
#define HMM_FAULT_WRITE		1u
#define HMM_FAULT_ATOMIC	2u	/* read-modify-write; the page must be writable */

/**
 * struct hmm_fault - one device fault, or a range to be mapped ahead of time
 * @addr: faulting address, any alignment
 * @access: HMM_FAULT_READ, HMM_FAULT_WRITE or HMM_FAULT_ATOMIC
 * @error: result: 0, or a negative errno (see hmm_mirror_fault())
 * @cookie: the driver's, not looked at
 */
struct hmm_fault {
	unsigned long addr;
	u32 access;
	int error;
	u64 cookie;
};

int __must_check hmm_mirror_register(struct hmm_mirror *mirror,
				     struct hmm_device *device,
				     struct mm_struct *mm);
void hmm_mirror_unregister(struct hmm_mirror *mirror);
enum hmm_mirror_state hmm_mirror_state(const struct hmm_mirror *mirror);
int hmm_mirror_fault(struct hmm_mirror *mirror, struct hmm_fault *faults,
		     unsigned int nr);
int hmm_mirror_fault_range(struct hmm_mirror *mirror, unsigned long start,
			   unsigned long end, u32 access);

/**
 * struct hmm_hint - how to treat a range of addresses
 * @flags: HMM_HINT_*
 * @prefer: HMM_PREFER_*
 * @device: for HMM_PREFER_DEVICE
 * @granularity: bytes that move together on a fault: a power of two from PAGE_SIZE to
 *	PMD_SIZE; 0: as the core sees fit
 */
struct hmm_hint {
	u32 flags;
	u32 prefer;
	const struct hmm_device *device;
	unsigned long granularity;
};

/**
 * struct hmm_residency - where a page is, and what a device may do with it
 * @since_ns: CLOCK_MONOTONIC when it came there, as far as is known; 0: it never moved
 * @moves: times that it has moved to or from a device, as far as is known
 * @place: enum hmm_page_place
 * @flags: HMM_RESIDENCY_*
 * @order: of the CPU's entry that maps it, in pages: 0, or that of a huge one; 0 without
 *	HMM_RESIDENCY_READ
 */
struct hmm_residency {
	u64 since_ns;
	u32 moves;
	u8 place;
	u8 flags;
	u8 order;
};

/*
 * What the CPU's page table gives a device without a fault.  Without any of these flags a
 * fault is needed, of which nothing can be said ahead.
 */
#define HMM_RESIDENCY_READ	BIT(0)
#define HMM_RESIDENCY_WRITE	BIT(1)
#define HMM_RESIDENCY_ZERO	BIT(2)	/* it is the page of zeroes that all share */
#define HMM_RESIDENCY_DENIED	BIT(3)	/* no mapping, or no access, or no page */

/* of hmm_mirror_migrate() */
#define HMM_MIGRATE_TO_SYSTEM	BIT(0)	/* otherwise to the mirror's device */
#define HMM_MIGRATE_POPULATE	BIT(1)	/* addresses that are empty get a page, too */
#define HMM_MIGRATE_SPLIT	BIT(2)	/* huge pages are moved as small ones */
#define HMM_MIGRATE_NO_FETCH	BIT(3)	/* what is swapped out, or elsewhere, stays */

#define HMM_MIGRATE_ALL		(BIT(4) - 1)

int hmm_mirror_migrate(struct hmm_mirror *mirror, unsigned long start,
		       unsigned long end, u32 flags, u8 *results, unsigned long *moved);
int hmm_mirror_set_policy(struct hmm_mirror *mirror, enum hmm_policy policy);
int hmm_mirror_set_hint(struct hmm_mirror *mirror, unsigned long start,
			unsigned long end, const struct hmm_hint *hint);
int hmm_mirror_residency(struct hmm_mirror *mirror, unsigned long start,
			 struct hmm_residency *out, unsigned long npages);
void hmm_mirror_dirty_page(struct hmm_mirror *mirror, struct page *page);
void hmm_mirror_dirty_pages(struct hmm_mirror *mirror, struct page *page, unsigned long nr);
u64 hmm_mirror_stat(const struct hmm_mirror *mirror, enum hmm_mirror_stat stat);
u64 hmm_mirror_event_count(const struct hmm_mirror *mirror,
			   enum hmm_event_type type);
const char *hmm_mirror_stat_name(enum hmm_mirror_stat stat);

#endif /* _HMM_MIRROR_H */

/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Numbers about device memory that the mirroring core's drivers pass on to user space:
 * what became of each page of a migration, where a page is, hints, counters.
 * New ones are added at the end.
 */
#ifndef _UAPI_HMM_MEMORY_H
#define _UAPI_HMM_MEMORY_H

/**
 * enum hmm_page_result - what became of one page of a migration
 * @HMM_PAGE_SKIPPED: not looked at: the call ended before
 * @HMM_PAGE_MOVED: it was moved
 * @HMM_PAGE_THERE: it was there already
 * @HMM_PAGE_EMPTY: nothing has been written to this address yet, so that there is
 *	nothing to move
 * @HMM_PAGE_BUSY: pinned (direct I/O, vmsplice, RDMA), locked, or otherwise in use
 * @HMM_PAGE_FULL: no memory at the destination
 * @HMM_PAGE_UNSUPPORTED: a page of a file whose file system does not know of devices, or
 *	of shared memory, hugetlb, a mapping of a device, or another one that cannot move
 * @HMM_PAGE_UNMAPPED: there is no mapping at this address
 * @HMM_PAGE_FAILED: the copy failed; the page stays where it is, intact
 * @HMM_PAGE_LOST: its only copy was on a device that is lost
 * @HMM_PAGE_NR: number of results
 */
enum hmm_page_result {
	HMM_PAGE_SKIPPED,
	HMM_PAGE_MOVED,
	HMM_PAGE_THERE,
	HMM_PAGE_EMPTY,
	HMM_PAGE_BUSY,
	HMM_PAGE_FULL,
	HMM_PAGE_UNSUPPORTED,
	HMM_PAGE_UNMAPPED,
	HMM_PAGE_FAILED,
	HMM_PAGE_LOST,
	HMM_PAGE_NR
};

/**
 * enum hmm_page_place - where a page is
 * @HMM_PLACE_NONE: nowhere: no mapping, or nothing written yet, or a page of a file that this
 *	process has not touched
 * @HMM_PLACE_SYSTEM: in system memory
 * @HMM_PLACE_DEVICE: in the memory of the device that was asked
 * @HMM_PLACE_OTHER: swapped out, or in the memory of another device, or on its way.  A page of
 *	a file that another device only reads is where it is for the process
 * @HMM_PLACE_NR: number of places
 */
enum hmm_page_place {
	HMM_PLACE_NONE,
	HMM_PLACE_SYSTEM,
	HMM_PLACE_DEVICE,
	HMM_PLACE_OTHER,
	HMM_PLACE_NR
};

/**
 * enum hmm_policy - when pages that a device faults on move to it: of a process
 * @HMM_POLICY_REQUEST: only when asked to; the default
 * @HMM_POLICY_TOUCH: on the first touch by the device, unless a hint says otherwise
 * @HMM_POLICY_NEVER: never, not even when asked to: such a request fails with EPERM
 * @HMM_POLICY_NR: number of policies
 */
enum hmm_policy {
	HMM_POLICY_REQUEST,
	HMM_POLICY_TOUCH,
	HMM_POLICY_NEVER,
	HMM_POLICY_NR
};

/*
 * Hints for a range of addresses.  They steer the faults of devices; what the program
 * computes does not depend on them.  They stay with the addresses when a mapping is
 * split or its protection changes, and are dropped when it is unmapped.
 *
 * HMM_HINT_READ_MOSTLY: pages do not move when a device reads; they do when it writes.
 * HMM_HINT_IN_PLACE: pages never move on a device fault; the device uses them where
 *	they are.  Contradicts a preferred device and a granularity.
 * HMM_HINT_NO_AUTO: as HMM_POLICY_REQUEST, for this range.  Contradicts
 *	HMM_HINT_AUTO.
 * HMM_HINT_AUTO: as HMM_POLICY_TOUCH, for this range.  Contradicts HMM_HINT_IN_PLACE.
 * HMM_HINT_EXCLUSIVE: an atomic operation of the device on a page in system memory takes
 *	the page away from the CPU until the CPU touches it again, as devices do whose
 *	bus has no atomic operations.  Anonymous private memory only: elsewhere such a
 *	fault fails with EOPNOTSUPP.
 */
#define HMM_HINT_READ_MOSTLY	(1u << 0)
#define HMM_HINT_IN_PLACE	(1u << 1)
#define HMM_HINT_NO_AUTO	(1u << 2)
#define HMM_HINT_AUTO		(1u << 3)
#define HMM_HINT_EXCLUSIVE	(1u << 4)
#define HMM_HINT_ALL		((1u << 5) - 1)

/* Preferred location: of a hint */
#define HMM_PREFER_NONE		0u	/* no preference */
#define HMM_PREFER_SYSTEM	1u	/* pages do not move on faults of any device */
#define HMM_PREFER_DEVICE	2u	/* on a fault of that device they do; of another, not */

/**
 * enum hmm_rmem_stat - counters of a device's memory; pages of 4 KiB
 * @HMM_RMEM_TOTAL: size
 * @HMM_RMEM_USED: in use now
 * @HMM_RMEM_CHUNKS_FREE: blocks of 2 MiB that are free as a whole, now
 * @HMM_RMEM_IN: moved in, since the device is there; so all that follow
 * @HMM_RMEM_IN_ZERO: of these, not copied but cleared, as they were empty
 * @HMM_RMEM_OUT: moved out to system memory
 * @HMM_RMEM_OUT_FAULT: of these, on a touch of the CPU or around one
 * @HMM_RMEM_OUT_EVICT: of these, to make room
 * @HMM_RMEM_OUT_EVACUATE: of these, on an evacuation
 * @HMM_RMEM_DROPPED: freed while on the device (munmap, exit)
 * @HMM_RMEM_BUSY: pages that could not be moved, one way or the other, as they were in use
 * @HMM_RMEM_FULL: pages that could not be moved in for want of room
 * @HMM_RMEM_COPY_ERRORS: pages whose copy failed, each try
 * @HMM_RMEM_LOST: pages whose only copy was lost
 * @HMM_RMEM_CPU_FAULTS: CPU faults on pages of the device
 * @HMM_RMEM_CPU_FAULTS_LOST_RACE: of these, left to another thread that was at it
 * @HMM_RMEM_FILE: pages of files that are in use now: part of USED
 * @HMM_RMEM_FILE_OWNED: times that such a page became the newest, as the device wrote to it
 * @HMM_RMEM_FILE_BACK: times that one which was the newest was copied to the page cache
 * @HMM_RMEM_NR: number of counters
 */
enum hmm_rmem_stat {
	HMM_RMEM_TOTAL,
	HMM_RMEM_USED,
	HMM_RMEM_CHUNKS_FREE,
	HMM_RMEM_IN,
	HMM_RMEM_IN_ZERO,
	HMM_RMEM_OUT,
	HMM_RMEM_OUT_FAULT,
	HMM_RMEM_OUT_EVICT,
	HMM_RMEM_OUT_EVACUATE,
	HMM_RMEM_DROPPED,
	HMM_RMEM_BUSY,
	HMM_RMEM_FULL,
	HMM_RMEM_COPY_ERRORS,
	HMM_RMEM_LOST,
	HMM_RMEM_CPU_FAULTS,
	HMM_RMEM_CPU_FAULTS_LOST_RACE,
	HMM_RMEM_FILE,
	HMM_RMEM_FILE_OWNED,
	HMM_RMEM_FILE_BACK,
	HMM_RMEM_NR
};

#endif /* _UAPI_HMM_MEMORY_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Device memory as a home for pages of processes.
 *
 * A device that has memory of its own sets hmm_device.rmem_ops and rmem_bytes before it
 * registers; and rmem_base, if the CPU can reach it.  The core makes struct pages for it
 * (ZONE_DEVICE, device-private or device-coherent), hands them out, moves pages in and
 * out, evicts and evacuates.  The driver only copies,
 * and writes hmm_rmem_offset() into its page table where ops->map() names a page that
 * hmm_rmem_owns().
 */
#ifndef _HMM_RMEM_H
#define _HMM_RMEM_H

#include <linux/bits.h>
#include <linux/types.h>
#include <uapi/hmm_memory.h>

struct dma_fence;
struct hmm_device;
struct page;

/* Unit of large allocations and of access counting. */
#define HMM_RMEM_CHUNK_SHIFT	21
#define HMM_RMEM_CHUNK_SIZE	BIT(HMM_RMEM_CHUNK_SHIFT)

/* Most pages that one call of a copy operation is given. */
#define HMM_RMEM_BATCH		512

/**
 * struct hmm_rmem_copy - one page of a copy
 * @system: page in system memory; locked and mapped nowhere, so nobody else writes to it;
 *	NULL for @clear
 * @offset: of the page in the device's memory, in bytes
 */
struct hmm_rmem_copy {
	struct page *system;
	u64 offset;
};

/**
 * struct hmm_rmem_ops - how a device copies
 *
 * All operations start something and return a fence, referenced for the caller, or
 * ERR_PTR(): -ENOMEM, -EIO, -ENODEV the device is lost; then nothing was started.
 * @copies is the caller's and stays until the fence has signalled.  The fence signals
 * in bounded time, whatever the device does (a driver resets one that hangs first, and says
 * hmm_device_lost() of one that goes on like that, or each page is waited for), and
 * from then on the device does not touch the pages.  Its status is 0 or a negative errno:
 * then the contents of the destinations mean nothing, and the sources are intact;
 * -ENODEV: and the device is lost.
 *
 * Context of all: process context, may sleep; called with mmap_lock (read) and locks of
 * pages held, so they must not wait for a device fault, nor take anything that is held
 * while somebody does.  May allocate with GFP_KERNEL where that cannot be avoided.
 * Several calls may run at once.  None is called before hmm_device_register() or after
 * hmm_device_unregister() has returned.
 */
struct hmm_rmem_ops {
	/** @copy_to_device: (required) From system memory to the device's. */
	struct dma_fence *(*copy_to_device)(struct hmm_device *device,
					    const struct hmm_rmem_copy *copies,
					    unsigned int nr);
	/** @copy_to_system: (required) From the device's memory to system memory. */
	struct dma_fence *(*copy_to_system)(struct hmm_device *device,
					    const struct hmm_rmem_copy *copies,
					    unsigned int nr);
	/** @clear: (required) Fill pages of the device's memory with zeroes. */
	struct dma_fence *(*clear)(struct hmm_device *device,
				   const struct hmm_rmem_copy *copies, unsigned int nr);
	/**
	 * @accesses: (optional) A number that is another one than before if the device
	 * has used the chunk of memory at @offset since it was asked last.  Without it
	 * chunks are evicted in the order in which they were filled.
	 *
	 * Context: may not sleep.
	 */
	u64 (*accesses)(struct hmm_device *device, u64 offset);
};

bool hmm_rmem_owns(const struct hmm_device *device, const struct page *page);
u64 hmm_rmem_offset(const struct hmm_device *device, const struct page *page);
struct page *hmm_rmem_page(const struct hmm_device *device, u64 offset);
u64 hmm_rmem_stat(const struct hmm_device *device, enum hmm_rmem_stat stat);
const char *hmm_rmem_stat_name(enum hmm_rmem_stat stat);

#endif /* _HMM_RMEM_H */

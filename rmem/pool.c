// SPDX-License-Identifier: GPL-2.0
/*
 * The pool: the memory of a device, from its birth to its end.
 *
 * Owns the physical addresses, the pagemap, and the references.  A pool is open or closed,
 * which counts; its device is there, or has gone; and it ends with its last reference.  How
 * its memory is handed out is in chunk.c, and what the pages are in page.c.
 *
 * The principle: the pool belongs to its pages as much as to its device.  A page whose
 * device has gone is still in somebody's page table, and its struct page, the pool and
 * this module stay until it is unmapped.
 *
 * There are two kinds of memory: that which the CPU cannot reach (private) has physical
 * addresses that nothing is at, the other (coherent) has its own.
 *
 * Locks: hmm_rmem.lock for the count of reasons to be closed; hmm_rmem.device_lock for the
 * way to the device; RCU for who has only the device and looks for the pool.
 */
#include <kunit/visibility.h>
#include <linux/ioport.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "pagecache_object.h"
#include "rmem_private.h"

/* Ends pools. */
static struct workqueue_struct *hmm_rmem_wq;

static struct hmm_rmem *hmm_rmem_of_pgmap(struct dev_pagemap *pgmap)
{
	return container_of(hmm_swp_memory_of(pgmap), struct hmm_rmem, memory);
}

/**
 * hmm_rmem_of - the pool that a page is of
 * @page: a page of a pool, in use
 *
 * Context: any.
 * Return: the pool, which stays as long as the page is in use.
 */
struct hmm_rmem *hmm_rmem_of(const struct page *page)
{
	return hmm_rmem_of_pgmap(page_pgmap(page));
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_of);

/**
 * hmm_rmem_put_many - drop references
 * @rmem: pool
 * @nr: how many
 *
 * Context: any.
 */
void hmm_rmem_put_many(struct hmm_rmem *rmem, unsigned long nr)
{
	/* Not here: the last reference may be that of a page, dropped in any context. */
	if (refcount_sub_and_test(nr, &rmem->ref))
		queue_work(hmm_rmem_wq, &rmem->release);
}

/**
 * hmm_rmem_close - hand out nothing any more
 * @rmem: pool
 *
 * Counts: as many hmm_rmem_reopen() open it again.  Pages that were handed out before
 * may still come in.
 *
 * Context: any.
 */
void hmm_rmem_close(struct hmm_rmem *rmem)
{
	unsigned long flags;

	spin_lock_irqsave(&rmem->lock, flags);
	rmem->closed++;
	spin_unlock_irqrestore(&rmem->lock, flags);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_close);

/**
 * hmm_rmem_reopen - undo hmm_rmem_close()
 * @rmem: pool
 *
 * Context: any.
 */
void hmm_rmem_reopen(struct hmm_rmem *rmem)
{
	unsigned long flags;

	spin_lock_irqsave(&rmem->lock, flags);
	if (!WARN_ON_ONCE(!rmem->closed))
		rmem->closed--;
	spin_unlock_irqrestore(&rmem->lock, flags);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_reopen);

static struct resource *hmm_rmem_get_region(const struct hmm_device *device)
{
	struct resource *region;

	if (IS_ENABLED(CONFIG_GET_FREE_REGION) && !device->rmem_base)
		return request_free_mem_region(&iomem_resource, device->rmem_bytes,
					       "hmm_rmem");
	region = request_mem_region(device->rmem_base, device->rmem_bytes, "hmm_rmem");
	return region ? region : ERR_PTR(-EBUSY);
}

#ifdef CONFIG_ZONE_DEVICE

/* Make struct pages. */
static int hmm_rmem_make_pages(struct hmm_rmem *rmem, const struct hmm_device *device)
{
	struct dev_pagemap *pgmap = &rmem->memory.pgmap;
	void *addr;

	rmem->select = device->rmem_base ? MIGRATE_VMA_SELECT_DEVICE_COHERENT :
					   MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
	pgmap->type = device->rmem_base ? MEMORY_DEVICE_COHERENT : MEMORY_DEVICE_PRIVATE;
	pgmap->nr_range = 1;
	pgmap->ops = &hmm_rmem_pgmap_ops;
	pgmap->owner = rmem;
	addr = memremap_pages(pgmap, NUMA_NO_NODE);
	return PTR_ERR_OR_ZERO(addr);
}

static void hmm_rmem_unmake_pages(struct hmm_rmem *rmem)
{
	memunmap_pages(&rmem->memory.pgmap);
}

#else /* CONFIG_ZONE_DEVICE */

static int hmm_rmem_make_pages(struct hmm_rmem *rmem, const struct hmm_device *device)
{
	return -EOPNOTSUPP;
}

static void hmm_rmem_unmake_pages(struct hmm_rmem *rmem)
{
}

#endif /* CONFIG_ZONE_DEVICE */

static void hmm_rmem_put_region(struct hmm_rmem *rmem)
{
	release_mem_region(rmem->region->start, resource_size(rmem->region));
}

/* Have physical addresses, and struct pages for them where there are any. */
static int hmm_rmem_map(struct hmm_rmem *rmem, const struct hmm_device *device)
{
	int ret = 0;

	rmem->region = hmm_rmem_get_region(device);
	if (IS_ERR(rmem->region))
		return PTR_ERR(rmem->region);
	rmem->memory.pgmap.range.start = rmem->region->start;
	rmem->memory.pgmap.range.end = rmem->region->end;
	if (!rmem->plain)
		ret = hmm_rmem_make_pages(rmem, device);
	if (ret)
		hmm_rmem_put_region(rmem);
	return ret;
}

static void hmm_rmem_unmap(struct hmm_rmem *rmem)
{
	if (!rmem->plain)
		hmm_rmem_unmake_pages(rmem);
	hmm_rmem_put_region(rmem);
}

/* What it owns besides its pages. */
static void hmm_rmem_free_parts(struct hmm_rmem *rmem)
{
	hmm_rmem_transit_free(rmem->transit);
	if (rmem->chunks)
		hmm_rmem_free_files(rmem);
	kvfree(rmem->chunks);
	kfree(rmem->name);
}

/* Nothing uses it any more, but hmm_rmem_of_device() may be looking at it. */
static void hmm_rmem_destroy(struct work_struct *work)
{
	struct hmm_rmem *rmem = container_of(work, struct hmm_rmem, release);

	WARN_ON_ONCE(rmem->nr_used || rmem->nr_lost);
	hmm_rmem_unnumber(rmem);
	hmm_rmem_unmap(rmem);
	hmm_rmem_free_parts(rmem);
	kvfree_rcu_mightsleep(rmem);
	/* The end of this function is waited for by hmm_exit(). */
	module_put(THIS_MODULE);
}

static void hmm_rmem_init_chunks(struct hmm_rmem *rmem)
{
	struct hmm_rmem_chunk *chunk;

	INIT_LIST_HEAD(&rmem->free);
	INIT_LIST_HEAD(&rmem->partial);
	INIT_LIST_HEAD(&rmem->full);
	INIT_LIST_HEAD(&rmem->holds);
	for (chunk = rmem->chunks; chunk < rmem->chunks + rmem->nr_chunks; chunk++)
		list_add_tail(&chunk->node, &rmem->free);
	rmem->nr_free_chunks = rmem->nr_chunks;
}

/* Does the kernel have pages for this kind of memory, or at least addresses? */
static bool hmm_rmem_is_possible(const struct hmm_device *device)
{
	return device->rmem_base ? IS_ENABLED(CONFIG_DEVICE_MIGRATION) :
				   IS_ENABLED(CONFIG_GET_FREE_REGION);
}

/* Is it memory for pages of files only? */
static bool hmm_rmem_is_plain(const struct hmm_device *device)
{
	return !device->rmem_base &&
	       (device->rmem_plain || !IS_ENABLED(CONFIG_DEVICE_PRIVATE));
}

static struct hmm_rmem *hmm_rmem_new(struct hmm_device *device)
{
	struct hmm_rmem *rmem = kvzalloc(sizeof(*rmem), GFP_KERNEL);

	if (!rmem)
		return NULL;
	rmem->nr_chunks = device->rmem_bytes >> HMM_RMEM_CHUNK_SHIFT;
	rmem->chunks = kvcalloc(rmem->nr_chunks, sizeof(*rmem->chunks),
				GFP_KERNEL | __GFP_NOWARN);
	rmem->transit = hmm_rmem_transit_new();
	rmem->name = kstrdup(device->name, GFP_KERNEL);
	if (!rmem->chunks || !rmem->transit || !rmem->name) {
		hmm_rmem_free_parts(rmem);
		kvfree(rmem);
		return NULL;
	}
	rmem->memory.pull = hmm_rmem_pull;
	spin_lock_init(&rmem->memory.stream_lock);
	hmm_swp_window_init(&rmem->memory);
	refcount_set(&rmem->ref, 1);
	init_rwsem(&rmem->device_lock);
	rmem->device = device;
	rmem->plain = hmm_rmem_is_plain(device);
	rmem->ops = device->rmem_ops;
	spin_lock_init(&rmem->lock);
	hmm_rmem_init_chunks(rmem);
	mutex_init(&rmem->evict_lock);
	INIT_WORK(&rmem->release, hmm_rmem_destroy);
	return rmem;
}

/**
 * hmm_rmem_create - make the pool of a device, if it has memory
 * @device: device that is being registered; gets the pool, or NULL if it has no memory
 *	or the kernel has no such pages
 *
 * Context: Process context, may sleep.
 * Return: 0; -EBUSY the physical addresses are taken, or there are too many pools; -EFBIG it
 * is too large; -ENOMEM, or what else kept the kernel from making struct pages.
 */
int hmm_rmem_create(struct hmm_device *device)
{
	struct hmm_rmem *rmem;
	int ret;

	device->rmem = NULL;
	memset(device->rmem_last, 0, sizeof(device->rmem_last));
	if (!device->rmem_ops || !device->rmem_bytes || !hmm_rmem_is_possible(device))
		return 0;
	rmem = hmm_rmem_new(device);
	if (!rmem)
		return -ENOMEM;
	ret = hmm_rmem_number(rmem);
	if (ret)
		goto err_parts;
	ret = hmm_rmem_map(rmem, device);
	if (ret)
		goto err_number;
	/* The driver has a reference on us now, but need not when the pool goes. */
	__module_get(THIS_MODULE);
	WRITE_ONCE(device->rmem, rmem);
	return 0;

err_number:
	hmm_rmem_unnumber(rmem);
err_parts:
	hmm_rmem_free_parts(rmem);
	kvfree(rmem);
	return ret;
}

/**
 * hmm_rmem_get - take another reference
 * @rmem: pool that somebody has a reference on
 *
 * Context: any.
 */
void hmm_rmem_get(struct hmm_rmem *rmem)
{
	refcount_inc(&rmem->ref);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_get);

/**
 * hmm_rmem_of_device - the pool of a device, to stay
 * @device: the device, which may be registered no more
 *
 * Context: any.
 * Return: the pool, with a reference for the caller; NULL if there is none.
 */
struct hmm_rmem *hmm_rmem_of_device(const struct hmm_device *device)
{
	struct hmm_rmem *rmem;

	rcu_read_lock();
	/* Pairs with hmm_rmem_detach(). */
	rmem = smp_load_acquire(&device->rmem);
	if (rmem && !refcount_inc_not_zero(&rmem->ref))
		rmem = NULL;
	rcu_read_unlock();
	return rmem;
}

/**
 * hmm_rmem_put - drop a reference
 * @rmem: pool
 *
 * Context: any.
 */
void hmm_rmem_put(struct hmm_rmem *rmem)
{
	hmm_rmem_put_many(rmem, 1);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_put);

/**
 * hmm_rmem_detach - the device goes
 * @rmem: its pool, closed
 *
 * What is still in its memory is lost.
 *
 * Context: Process context; waits for the copies that are under way.
 * Return: nothing.  No operation of the device is called any more, and the pool is gone
 * unless there are pages that keep it.
 */
void hmm_rmem_detach(struct hmm_rmem *rmem)
{
	struct hmm_device *device = rmem->device;
	unsigned int i;

	hmm_rmem_debugfs_remove(rmem);
	down_write(&rmem->device_lock);
	rmem->device = NULL;
	up_write(&rmem->device_lock);
	if (READ_ONCE(rmem->nr_used))
		hmm_rmem_set_lost(rmem);
	/* The device keeps its counters, and no gauges. */
	for (i = 0; i < HMM_RMEM_NR; i++)
		device->rmem_last[i] = hmm_rmem_read_stat(rmem, i);
	device->rmem_last[HMM_RMEM_TOTAL] = 0;
	device->rmem_last[HMM_RMEM_USED] = 0;
	device->rmem_last[HMM_RMEM_CHUNKS_FREE] = 0;
	device->rmem_last[HMM_RMEM_FILE] = 0;
	/* Pairs with hmm_rmem_of_device(): who finds no pool finds the counters. */
	smp_store_release(&device->rmem, NULL);
	/* Not by the work, so that the module can be unloaded right after. */
	if (refcount_dec_and_test(&rmem->ref))
		hmm_rmem_destroy(&rmem->release);
}

/**
 * hmm_rmem_owns - is it a page of the device's own memory?
 * @device: device
 * @page: any page; only its place is looked at
 *
 * Context: any.
 * Return: true if it is.
 */
bool hmm_rmem_owns(const struct hmm_device *device, const struct page *page)
{
	const struct hmm_rmem *rmem;
	bool owns;

	rcu_read_lock();
	rmem = READ_ONCE(device->rmem);
	owns = rmem && hmm_rmem_has_pfn(rmem, page_to_pfn(page));
	rcu_read_unlock();
	return owns;
}
EXPORT_SYMBOL_NS(hmm_rmem_owns, "HMM");

/**
 * hmm_rmem_offset - where a page is in the device's memory
 * @device: device, registered
 * @page: a page that hmm_rmem_owns(); not looked at
 *
 * Context: any.
 * Return: offset in bytes.
 */
u64 hmm_rmem_offset(const struct hmm_device *device, const struct page *page)
{
	const struct hmm_rmem *rmem;
	u64 offset = 0;

	rcu_read_lock();
	rmem = READ_ONCE(device->rmem);
	if (!WARN_ON_ONCE(!rmem))
		offset = hmm_rmem_page_offset(rmem, page);
	rcu_read_unlock();
	return offset;
}
EXPORT_SYMBOL_NS(hmm_rmem_offset, "HMM");

/**
 * hmm_rmem_page - the page at an offset of the device's memory
 * @device: the device
 * @offset: offset in bytes
 *
 * Context: any, at any time in the life of @device; the page stays as long as the device is
 * registered, or the page in use.
 * Return: the page, which may be in use or not; NULL beyond the end of the memory or if
 * there is none.
 */
struct page *hmm_rmem_page(const struct hmm_device *device, u64 offset)
{
	struct page *page = NULL;
	struct hmm_rmem *rmem;

	rcu_read_lock();
	rmem = READ_ONCE(device->rmem);
	if (rmem && offset < (u64)rmem->nr_chunks << HMM_RMEM_CHUNK_SHIFT)
		page = pfn_to_page(hmm_rmem_first_pfn(rmem) + (offset >> PAGE_SHIFT));
	rcu_read_unlock();
	return page;
}
EXPORT_SYMBOL_NS(hmm_rmem_page, "HMM");

/**
 * hmm_rmem_init - get ready for pools
 *
 * Context: before there is a pool.
 * Return: 0 or -ENOMEM.
 */
int hmm_rmem_init(void)
{
	hmm_rmem_wq = alloc_workqueue("hmm_rmem", WQ_UNBOUND, 0);
	return hmm_rmem_wq ? 0 : -ENOMEM;
}

/**
 * hmm_rmem_exit - undo hmm_rmem_init()
 *
 * Context: when there is no pool any more, but for one that is in the last lines of its
 * work, which is waited for.
 */
void hmm_rmem_exit(void)
{
	destroy_workqueue(hmm_rmem_wq);
}

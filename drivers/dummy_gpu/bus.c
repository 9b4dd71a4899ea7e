// SPDX-License-Identifier: GPL-2.0
/*
 * The bus: which pages of system memory the device can reach, and under which address.
 *
 * Owns the DMA mappings.  A page is mapped once for a device, however many
 * translations of however many processes name it (one read-only page of zeroes can
 * stand behind thousands), and unmapped when the last of them is taken away.  It is
 * not referenced: a device that mirrors pins nothing; what keeps the page in its place
 * is that its translation is taken away before the kernel takes the page away.
 *
 * The principle: the chip finds here what it asks for, or nothing.  A translation that
 * is used after its page was unmapped is a bus error, never an access to what the page
 * is used for by then.
 *
 * Pages that are copied to or from the device's memory are mapped for the time of that, a
 * batch at once, for nobody shares them: they are found by the chip only.
 *
 * Two hash tables over preallocated entries, rather than an xarray, because pages are
 * added where memory must not be waited for: an entry comes out of a small reserve
 * then, and the tables themselves never need memory.
 *
 * Locks: dgpu_bus.lock; look-ups by address run under RCU.
 */
#include <linux/dma-mapping.h>
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include "dgpu_private.h"

/* Entries that one call of ops->map() can use without any memory being free. */
#define DGPU_BUS_RESERVE	512

DECLARE_FAULT_ATTR(dgpu_fail_dma);

static struct hlist_head *dgpu_bus_addr_bucket(struct dgpu_bus *bus, u64 addr)
{
	return &bus->by_addr[hash_64(addr >> PAGE_SHIFT, DGPU_BUS_BITS)];
}

static struct hlist_head *dgpu_bus_page_bucket(struct dgpu_bus *bus, struct page *page)
{
	return &bus->by_page[hash_long(page_to_pfn(page), DGPU_BUS_BITS)];
}

/**
 * dgpu_bus_init - make an empty bus
 * @bus: zeroed
 * @dev: device for the DMA API
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int dgpu_bus_init(struct dgpu_bus *bus, struct device *dev)
{
	bus->dev = dev;
	spin_lock_init(&bus->lock);
	INIT_LIST_HEAD(&bus->reserve);
	bus->by_addr = kvcalloc(1 << DGPU_BUS_BITS, sizeof(*bus->by_addr), GFP_KERNEL);
	bus->by_page = kvcalloc(1 << DGPU_BUS_BITS, sizeof(*bus->by_page), GFP_KERNEL);
	bus->copied = kvcalloc(1 << DGPU_BUS_BITS, sizeof(*bus->copied), GFP_KERNEL);
	if (bus->by_addr && bus->by_page && bus->copied)
		return 0;
	dgpu_bus_fini(bus);
	return -ENOMEM;
}

/**
 * dgpu_bus_fini - free a bus on which nothing is mapped
 * @bus: also one that dgpu_bus_init() has failed for
 *
 * Context: may sleep; the chip does not look anything up any more.
 */
void dgpu_bus_fini(struct dgpu_bus *bus)
{
	struct dgpu_bus_page *bp, *next;

	WARN_ON_ONCE(bus->nr_pages);
	list_for_each_entry_safe(bp, next, &bus->reserve, reserve)
		kfree(bp);
	kvfree(bus->by_addr);
	kvfree(bus->by_page);
	kvfree(bus->copied);
}

/**
 * dgpu_bus_prepare - fill the reserve
 * @bus: the bus
 *
 * Context: may sleep and reclaim memory.
 * Return: 0 or -ENOMEM.
 */
int dgpu_bus_prepare(struct dgpu_bus *bus)
{
	struct dgpu_bus_page *bp;

	while (READ_ONCE(bus->nr_reserve) < DGPU_BUS_RESERVE) {
		bp = kmalloc(sizeof(*bp), GFP_KERNEL);
		if (!bp)
			return -ENOMEM;
		spin_lock(&bus->lock);
		list_add(&bp->reserve, &bus->reserve);
		bus->nr_reserve++;
		spin_unlock(&bus->lock);
	}
	return 0;
}

static struct dgpu_bus_page *dgpu_bus_alloc(struct dgpu_bus *bus)
{
	struct dgpu_bus_page *bp;

	lockdep_assert_held(&bus->lock);
	bp = kmalloc(sizeof(*bp), GFP_NOWAIT | __GFP_NOWARN | __GFP_ACCOUNT);
	if (bp)
		return bp;
	bp = list_first_entry_or_null(&bus->reserve, struct dgpu_bus_page, reserve);
	if (bp) {
		list_del(&bp->reserve);
		bus->nr_reserve--;
	}
	return bp;
}

static struct dgpu_bus_page *dgpu_bus_find_page(struct dgpu_bus *bus, struct page *page,
						unsigned int order)
{
	struct dgpu_bus_page *bp;

	lockdep_assert_held(&bus->lock);
	hlist_for_each_entry(bp, dgpu_bus_page_bucket(bus, page), by_page)
		if (bp->page == page && bp->order == order)
			return bp;
	return NULL;
}

static void dgpu_bus_dma_unmap(struct dgpu_bus *bus, dma_addr_t addr, unsigned int order)
{
	dma_unmap_page_attrs(bus->dev, addr, PAGE_SIZE << order, DMA_BIDIRECTIONAL,
			     DMA_ATTR_SKIP_CPU_SYNC);
}

static int dgpu_bus_dma_map(struct dgpu_bus *bus, struct page *page, unsigned int order,
			    dma_addr_t *addr)
{
	size_t size = PAGE_SIZE << order;

	if (should_fail(&dgpu_fail_dma, size))
		return -EIO;
	*addr = dma_map_page_attrs(bus->dev, page, 0, size, DMA_BIDIRECTIONAL,
				   DMA_ATTR_SKIP_CPU_SYNC);
	if (dma_mapping_error(bus->dev, *addr))
		return -EIO;
	/* An entry of the page table names an aligned page. */
	if (!IS_ALIGNED(*addr, size) || *addr & ~DGPU_HW_PTE_ADDR) {
		dgpu_bus_dma_unmap(bus, *addr, order);
		return -EIO;
	}
	return 0;
}

/**
 * dgpu_bus_get - make a page reachable
 * @bus: the bus
 * @page: first page
 * @order: 0 or HPAGE_PMD_ORDER
 *
 * Each successful call is undone by one of dgpu_bus_put().
 *
 * Context: does not sleep.
 * Return: the page's entry; ERR_PTR(-EAGAIN) if the reserve is used up: call
 * dgpu_bus_prepare(); ERR_PTR(-EIO) if the page cannot be mapped.
 */
struct dgpu_bus_page *dgpu_bus_get(struct dgpu_bus *bus, struct page *page,
				   unsigned int order)
{
	struct dgpu_bus_page *bp;
	int ret;

	spin_lock(&bus->lock);
	bp = dgpu_bus_find_page(bus, page, order);
	if (bp) {
		bp->users++;
		goto out;
	}
	bp = dgpu_bus_alloc(bus);
	if (!bp) {
		bp = ERR_PTR(-EAGAIN);
		goto out;
	}
	bp->page = page;
	bp->order = order;
	bp->users = 1;
	ret = dgpu_bus_dma_map(bus, page, order, &bp->addr);
	if (ret) {
		kfree(bp);
		bp = ERR_PTR(ret);
		goto out;
	}
	hlist_add_head_rcu(&bp->by_addr, dgpu_bus_addr_bucket(bus, bp->addr));
	hlist_add_head(&bp->by_page, dgpu_bus_page_bucket(bus, page));
	bus->nr_pages += 1ul << order;
out:
	spin_unlock(&bus->lock);
	return bp;
}

static struct dgpu_bus_page *dgpu_bus_lookup(struct dgpu_bus *bus, u64 addr,
					     unsigned int order)
{
	struct dgpu_bus_page *bp;

	hlist_for_each_entry_rcu(bp, dgpu_bus_addr_bucket(bus, addr), by_addr)
		if (bp->addr == addr && bp->order == order)
			return bp;
	return NULL;
}

/**
 * dgpu_bus_find - the entry of a page that a translation names
 * @bus: the bus
 * @addr: bus address in the translation
 * @order: 0 or HPAGE_PMD_ORDER
 *
 * Context: any.
 * Return: the entry, which stays as long as the translation that the caller looks at
 * counts as a user.  NULL: there is none; a bug of ours.
 */
struct dgpu_bus_page *dgpu_bus_find(struct dgpu_bus *bus, u64 addr, unsigned int order)
{
	struct dgpu_bus_page *bp;

	rcu_read_lock();
	bp = dgpu_bus_lookup(bus, addr, order);
	rcu_read_unlock();
	WARN_ON_ONCE(!bp);
	return bp;
}

/**
 * dgpu_bus_put - a translation no longer names a page
 * @bus: the bus
 * @bp: its entry
 *
 * Context: does not sleep.  The TLBs have forgotten the translation.
 */
void dgpu_bus_put(struct dgpu_bus *bus, struct dgpu_bus_page *bp)
{
	bool last;

	spin_lock(&bus->lock);
	last = !--bp->users;
	if (last) {
		/* Out of sight of the chip first: from here on it is a bus error. */
		hlist_del_rcu(&bp->by_addr);
		hlist_del(&bp->by_page);
		bus->nr_pages -= 1ul << bp->order;
		dgpu_bus_dma_unmap(bus, bp->addr, bp->order);
	}
	spin_unlock(&bus->lock);
	if (last)
		kfree_rcu(bp, rcu);
}

/* ---- pages that are copied ---- */

static struct hlist_head *dgpu_bus_copied_bucket(struct dgpu_bus *bus, u64 addr)
{
	return &bus->copied[hash_64(addr >> PAGE_SHIFT, DGPU_BUS_BITS)];
}

/**
 * dgpu_bus_batch_map - make pages reachable while they are copied
 * @bus: the bus
 * @copies: has the pages, each in system memory
 * @nr: number of pages
 *
 * Context: may sleep and reclaim memory, which is not charged to anybody.
 * Return: the batch, its pages in the order of @copies; undone by dgpu_bus_batch_unmap().
 * ERR_PTR: -ENOMEM; -EIO a page cannot be mapped.
 */
struct dgpu_bus_batch *dgpu_bus_batch_map(struct dgpu_bus *bus,
					  const struct hmm_rmem_copy *copies, unsigned int nr)
{
	struct dgpu_bus_copied *copied;
	struct dgpu_bus_batch *batch;
	int ret;

	batch = kvmalloc(struct_size(batch, pages, nr), GFP_KERNEL);
	if (!batch)
		return ERR_PTR(-ENOMEM);
	for (batch->nr = 0; batch->nr < nr; batch->nr++) {
		copied = &batch->pages[batch->nr];
		copied->page = copies[batch->nr].system;
		ret = dgpu_bus_dma_map(bus, copied->page, 0, &copied->addr);
		if (ret)
			goto err;
	}

	spin_lock(&bus->lock);
	for (copied = batch->pages; copied < batch->pages + nr; copied++)
		hlist_add_head_rcu(&copied->by_addr,
				   dgpu_bus_copied_bucket(bus, copied->addr));
	bus->nr_batches++;
	bus->nr_pages += nr;
	spin_unlock(&bus->lock);
	return batch;

err:
	while (batch->nr--)
		dgpu_bus_dma_unmap(bus, batch->pages[batch->nr].addr, 0);
	kvfree(batch);
	return ERR_PTR(ret);
}

/**
 * dgpu_bus_batch_unmap - the copy is done
 * @bus: the bus
 * @batch: what dgpu_bus_batch_map() has returned
 *
 * Context: may sleep, but not for memory.
 */
void dgpu_bus_batch_unmap(struct dgpu_bus *bus, struct dgpu_bus_batch *batch)
{
	unsigned int i;

	/* Out of sight of the chip first: from here on it is a bus error. */
	spin_lock(&bus->lock);
	for (i = 0; i < batch->nr; i++)
		hlist_del_rcu(&batch->pages[i].by_addr);
	bus->nr_batches--;
	bus->nr_pages -= batch->nr;
	spin_unlock(&bus->lock);
	for (i = 0; i < batch->nr; i++)
		dgpu_bus_dma_unmap(bus, batch->pages[i].addr, 0);
	kvfree_rcu(batch, rcu);
}

static struct page *dgpu_bus_lookup_copied(struct dgpu_bus *bus, u64 addr)
{
	struct dgpu_bus_copied *copied;

	if (!READ_ONCE(bus->nr_batches))
		return NULL;
	hlist_for_each_entry_rcu(copied, dgpu_bus_copied_bucket(bus, addr), by_addr)
		if (copied->addr == addr)
			return copied->page;
	return NULL;
}

/* ---- the chip ---- */

/**
 * dgpu_bus_map - an access of the chip arrives
 * @bus: the bus
 * @addr: bus address
 *
 * Context: any.
 * Return: the 4 KiB page there, or NULL: nothing answers at this address.
 */
void *dgpu_bus_map(struct dgpu_bus *bus, u64 addr)
{
	struct dgpu_bus_page *bp;
	struct page *copied;
	void *va = NULL;

	rcu_read_lock();
	bp = dgpu_bus_lookup(bus, addr & PAGE_MASK, 0);
	copied = bp ? NULL : dgpu_bus_lookup_copied(bus, addr & PAGE_MASK);
	if (!bp && !copied)
		bp = dgpu_bus_lookup(bus, ALIGN_DOWN(addr, PMD_SIZE), PMD_SHIFT - PAGE_SHIFT);
	if (copied)
		va = page_address(copied);
	else if (bp)
		va = page_address(bp->page) + ((addr & PAGE_MASK) - bp->addr);
	rcu_read_unlock();
	return va;
}

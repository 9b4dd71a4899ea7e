// SPDX-License-Identifier: GPL-2.0
/*
 * The device page table of one address space: looking at it, and changing nothing.
 *
 * What it is like, and the locks of those who change it: see pt.c.
 */
#include <linux/mm.h>
#include "pt.h"

/**
 * dgpu_pt_page - what an entry names
 * @vm: address space
 * @pte: an entry that is not empty
 * @bp: out: its place on the bus; NULL for a page of the device's own memory
 *
 * Context: any; under the update lock, or by who else keeps the entry in its place.
 * Return: the page; NULL for a bug of ours, of which somebody has warned.
 */
struct page *dgpu_pt_page(struct dgpu_vm *vm, u64 pte, struct dgpu_bus_page **bp)
{
	*bp = NULL;
	if (dgpu_pt_is_local(pte))
		return hmm_rmem_page(&vm->dev->hmm, pte & DGPU_HW_PTE_ADDR);
	*bp = dgpu_bus_find(&vm->dev->bus, pte & DGPU_HW_PTE_ADDR, dgpu_pt_order(pte));
	return *bp ? (*bp)->page : NULL;
}

/**
 * dgpu_pt_peek - the page at the lowest mapped address of a range
 * @vm: address space
 * @start: first byte
 * @end: first byte after the range
 *
 * A translation that a TLB may still have counts: it has to be waited for.
 *
 * Context: under the update lock.  Does not sleep.
 * Return: the page, not referenced, or NULL.
 */
struct page *dgpu_pt_peek(struct dgpu_vm *vm, u64 start, u64 end)
{
	struct dgpu_pt_spot spot = { .next = start };
	struct dgpu_bus_page *bp;
	u64 addr, last, pte;
	struct page *page;

	while (dgpu_pt_next(vm, &spot, end)) {
		addr = max(start, spot.base);
		last = min_t(u64, end, spot.base + PMD_SIZE);
		pte = READ_ONCE(*spot.slot);
		if (pte & DGPU_HW_PTE_HUGE) {
			page = dgpu_pt_page(vm, pte, &bp);
			return page ? page + ((addr - spot.base) >> PAGE_SHIFT) : NULL;
		}
		if (!spot.table->nr_valid && !spot.table->nr_leaving)
			continue;
		for (; addr < last; addr += PAGE_SIZE) {
			pte = READ_ONCE(spot.table->entries[dgpu_pt_index(addr, 0)]);
			if (pte)
				return dgpu_pt_page(vm, pte, &bp);
		}
	}
	return NULL;
}

static u8 dgpu_pt_to_user(u64 pte)
{
	u8 bits = 0;

	if (!dgpu_pt_is_valid(pte))
		return 0;
	bits |= DGPU_PTE_VALID;
	if (pte & DGPU_HW_PTE_WRITE)
		bits |= DGPU_PTE_WRITE;
	if (pte & DGPU_HW_PTE_ATOMIC)
		bits |= DGPU_PTE_ATOMIC;
	if (pte & DGPU_HW_PTE_ACCESSED)
		bits |= DGPU_PTE_ACCESSED;
	if (pte & DGPU_HW_PTE_DIRTY)
		bits |= DGPU_PTE_DIRTY;
	if (pte & DGPU_HW_PTE_HUGE)
		bits |= DGPU_PTE_HUGE;
	if (dgpu_pt_is_local(pte))
		bits |= DGPU_PTE_LOCAL;
	return bits;
}

/**
 * dgpu_pt_snapshot - what the device maps, page by page
 * @vm: address space
 * @start: first byte, page aligned
 * @npages: number of pages
 * @out: DGPU_PTE_* of each
 *
 * Context: any; holds RCU throughout, so a few hundred pages at a time, please.  It
 * looks without the update lock: what it sees may be changing.
 */
void dgpu_pt_snapshot(struct dgpu_vm *vm, u64 start, unsigned long npages, u8 *out)
{
	u64 end = start + ((u64)npages << PAGE_SHIFT), addr = start, pte;
	struct dgpu_pt_spot spot;

	memset(out, 0, npages);
	end = min(end, dgpu_pt_limit());
	rcu_read_lock();
	while (dgpu_pt_find(vm, addr, end, &spot)) {
		u64 last = min_t(u64, end, spot.base + PMD_SIZE);
		u64 slot = READ_ONCE(*spot.slot);

		for (addr = max(addr, spot.base); addr < last; addr += PAGE_SIZE) {
			pte = slot;
			if (!(slot & DGPU_HW_PTE_HUGE))
				pte = READ_ONCE(spot.table->entries[dgpu_pt_index(addr, 0)]);
			out[(addr - start) >> PAGE_SHIFT] = dgpu_pt_to_user(pte);
		}
	}
	rcu_read_unlock();
}

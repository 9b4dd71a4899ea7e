// SPDX-License-Identifier: GPL-2.0
/*
 * The device page table of one address space: its entries.  Its tables: pt_table.c; who
 * only looks: pt_look.c.
 *
 * The whole is a radix tree of tables, each a page of system memory that the chip reads
 * over the bus.  Above every table of the last level stands a slot of level 1, which
 * covers the same 2 MiB; it holds a link to the table, or a leaf of 2 MiB.  The table
 * stays in the tree while there is a leaf in its slot, so that the leaf can always give
 * way to small entries without memory being needed.
 *
 *			level 1 table			level 0 table
 *	slot:		0, link, or 2 MiB leaf	->	512 entries of 4 KiB
 *	child pointer:	the table, or NULL
 *
 * An entry or leaf names system memory by its bus address, or memory of the device by
 * its offset (the local aperture), which needs no DMA mapping.  Where 2 MiB of device
 * memory are mapped in one piece, a leaf is written for them, although the CPU's page
 * table has 512 entries there.
 *
 * States of an entry or leaf:
 *
 *	empty ----> valid ----> leaving ----> empty
 *	       map         take         settle
 *
 * A leaving entry keeps its address and its dirty bit, but not the valid bit, so the
 * chip no longer finds it in the table; its TLBs may.  It is settled when they have
 * been told to forget: then its page is reported if it is dirty, and unmapped.  So
 * what has to be remembered across a flush is remembered in place, and taking
 * translations away needs no memory.  An entry that only loses the right to write
 * keeps its dirty bit in the same manner: valid, not writable and dirty means that
 * the page has yet to be reported.
 *
 * Locks.  Everything in the 2 MiB below a slot, and the slot, changes only under the
 * update lock of the mirroring core's block that covers it (blocks are aligned and at
 * least 2 MiB large): dgpu_pt_map(), dgpu_pt_take(), dgpu_pt_settle(), and freeing the
 * table.  Which tables there are changes under dgpu_pt.lock, as their parents are
 * shared by blocks; who only looks walks the child pointers under RCU.  Bits that the
 * chip sets by itself are not lost as valid entries are replaced atomically.
 *
 *	prepare			take and settle (munmap)	map
 *	finds the table
 *				it is empty: frees it
 *								finds no table:
 *								-EAGAIN, and the
 *								core prepares again
 *
 * Where all of the 2 MiB are unmapped for good, the entries are not taken one by one: the
 * slot is emptied, and the table leaves the tree with what is in it, so that unmapping
 * costs a look at each entry's dirty bit.  See pt_table.c for what becomes of it.
 *
 * The principle: a page, and a table, is let go of only after a flush that began when
 * nothing in the tree led to it any more.
 */
#include <linux/hmm.h>
#include <linux/mm.h>
#include "pt.h"

#define DGPU_PT_RIGHTS		(DGPU_HW_PTE_WRITE | DGPU_HW_PTE_ATOMIC)

static bool dgpu_pt_is_leaving(u64 pte)
{
	return pte && !dgpu_pt_is_valid(pte);
}

static bool dgpu_pt_is_unreported(u64 pte)
{
	return (pte & (DGPU_HW_PTE_VALID | DGPU_HW_PTE_WRITE | DGPU_HW_PTE_DIRTY)) ==
	       (DGPU_HW_PTE_VALID | DGPU_HW_PTE_DIRTY);
}

static unsigned long dgpu_pt_pages(u64 pte)
{
	return 1ul << dgpu_pt_order(pte);
}

/* ---- leaving entries ---- */

static void dgpu_pt_count(struct dgpu_vm *vm, u64 pte, long n)
{
	atomic_long_add(n, pte & DGPU_HW_PTE_HUGE ? &vm->pt.nr_huge : &vm->pt.nr_small);
}

/* valid -> leaving; returns the entry as it was. */
static u64 dgpu_pt_leave(struct dgpu_vm *vm, u64 *entry)
{
	/* The chip may be setting bits: what counts is what it had set by now. */
	u64 pte = xchg(entry, 0);

	WRITE_ONCE(*entry, pte & (DGPU_HW_PTE_ADDR | DGPU_HW_PTE_APERTURE |
				  DGPU_HW_PTE_DIRTY | DGPU_HW_PTE_HUGE));
	dgpu_pt_count(vm, pte, -1);
	return pte;
}

/* leaving -> empty, or valid and unreported -> valid.  The TLBs have been flushed. */
static bool dgpu_pt_settle_entry(struct dgpu_vm *vm, u64 *entry)
{
	u64 pte = READ_ONCE(*entry);
	struct dgpu_bus_page *bp;
	struct page *page;

	if (!dgpu_pt_is_leaving(pte) && !dgpu_pt_is_unreported(pte))
		return false;
	page = dgpu_pt_page(vm, pte, &bp);
	/*
	 * What the chip knows of a leaf is one bit for all of it, and the pages of device
	 * memory below it are folios of their own: all count as dirty then.
	 */
	if (page && pte & DGPU_HW_PTE_DIRTY)
		hmm_mirror_dirty_pages(&vm->mirror, page, dgpu_pt_pages(pte));
	if (dgpu_pt_is_valid(pte)) {
		clear_bit(__ffs(DGPU_HW_PTE_DIRTY), (unsigned long *)entry);
		return false;
	}
	WRITE_ONCE(*entry, 0);
	if (bp)
		dgpu_bus_put(&vm->dev->bus, bp);
	return true;
}

/* A table that has left with its entries: report what is dirty; the rest can wait. */
static void dgpu_pt_settle_left(struct dgpu_vm *vm, struct dgpu_pt_table *table)
{
	struct dgpu_bus_page *bp;
	struct page *page;
	unsigned int i;

	for (i = 0; i < DGPU_PT_ENTRIES; i++) {
		u64 pte = READ_ONCE(table->entries[i]);

		if (!(pte & DGPU_HW_PTE_DIRTY))
			continue;
		page = dgpu_pt_page(vm, pte, &bp);
		if (page)
			hmm_mirror_dirty_pages(&vm->mirror, page, dgpu_pt_pages(pte));
	}
}

/* The same for the slot and the small entries of [start, end) below it. */
static void dgpu_pt_settle_spot(struct dgpu_vm *vm, struct dgpu_pt_spot *spot,
				u64 start, u64 end)
{
	struct dgpu_pt_table *table = spot->table;
	u64 addr;

	if (READ_ONCE(*spot->slot) & DGPU_HW_PTE_HUGE)
		dgpu_pt_settle_entry(vm, spot->slot);
	if (table->left)
		dgpu_pt_settle_left(vm, table);
	if (!table->nr_leaving && !table->unreported)
		return;
	for (addr = start; addr < end; addr += PAGE_SIZE)
		if (dgpu_pt_settle_entry(vm, &table->entries[dgpu_pt_index(addr, 0)]))
			table->nr_leaving--;
	if (start == spot->base && end == spot->base + PMD_SIZE)
		table->unreported = false;
}

/* ---- taking translations away ---- */

static void dgpu_pt_taken_add(struct dgpu_pt_taken *taken, u64 start, u64 end)
{
	if (taken->start >= taken->end) {
		taken->start = start;
		taken->end = end;
		return;
	}
	taken->start = min(taken->start, start);
	taken->end = max(taken->end, end);
}

/* Take what the action says from one entry; returns the entry as it was. */
static u64 dgpu_pt_take_entry(struct dgpu_vm *vm, u64 *entry, enum hmm_event_action action)
{
	u64 pte = READ_ONCE(*entry);

	if (!dgpu_pt_is_valid(pte))
		return pte;
	if (action > HMM_ACTION_WRPROTECT)
		return dgpu_pt_leave(vm, entry);
	while (!try_cmpxchg(entry, &pte, pte & ~DGPU_PT_RIGHTS))
		;
	return pte;
}

/*
 * Must the TLBs forget what an entry that was @pte allowed?  Not if it never allowed to
 * write, and only that goes.  Nor if it is leaving, or unreported, as an earlier flush
 * was not waited for: that one is owed (dgpu_vm.owed), and another one each time would
 * never be done for who comes back faster than the TLBs are.
 */
static bool dgpu_pt_needs_flush(u64 pte, enum hmm_event_action action)
{
	return dgpu_pt_is_valid(pte) && (action > HMM_ACTION_WRPROTECT ||
					 pte & DGPU_PT_RIGHTS);
}

/* A leaf of 2 MiB goes as a whole, however little of it was asked for. */
static void dgpu_pt_take_huge(struct dgpu_vm *vm, struct dgpu_pt_spot *spot,
			      u64 start, u64 end, enum hmm_event_action action,
			      struct dgpu_pt_taken *taken)
{
	u64 pte = dgpu_pt_take_entry(vm, spot->slot, action);
	u32 pages = (end - start) >> PAGE_SHIFT;

	if (dgpu_pt_is_valid(pte)) {
		taken->pages += pages;
		if (pte & DGPU_HW_PTE_DIRTY)
			taken->dirty += pages;
	}
	if (dgpu_pt_needs_flush(pte, action))
		dgpu_pt_taken_add(taken, spot->base, spot->base + PMD_SIZE);
}

/* Tables that may wait to be reaped; with more, whoever unmaps does it himself. */
#define DGPU_PT_REAP_MAX	256

/*
 * All of the 2 MiB are unmapped: let the table leave the tree as it is.  Not where a flush
 * may be left to somebody else: what has to be remembered then is remembered in the
 * entries.
 */
static bool dgpu_pt_take_table(struct dgpu_vm *vm, struct dgpu_pt_spot *spot,
			       const struct hmm_event *event, struct dgpu_pt_taken *taken)
{
	struct dgpu_pt_table *table = spot->table;
	unsigned int i, dirty = 0;

	if (event->action != HMM_ACTION_FREE || !(event->flags & HMM_EVENT_BLOCKABLE) ||
	    event->start > spot->base || event->end < spot->base + PMD_SIZE ||
	    !table->nr_valid || table->nr_leaving ||
	    READ_ONCE(vm->pt.nr_reap) >= DGPU_PT_REAP_MAX)
		return false;
	WRITE_ONCE(*spot->slot, 0);
	for (i = 0; i < DGPU_PT_ENTRIES; i++)
		dirty += !!(READ_ONCE(table->entries[i]) & DGPU_HW_PTE_DIRTY);
	taken->pages += table->nr_valid;
	taken->dirty += dirty;
	dgpu_pt_taken_add(taken, spot->base, spot->base + PMD_SIZE);
	atomic_long_sub(table->nr_valid, &vm->pt.nr_small);
	table->nr_valid = 0;
	table->left = true;
	return true;
}

/* As dgpu_pt_take_small(), for what happens most often to what stays mapped. */
static void dgpu_pt_protect_small(struct dgpu_pt_spot *spot, u64 start, u64 end,
				  struct dgpu_pt_taken *taken)
{
	u64 *entry = &spot->table->entries[dgpu_pt_index(start, 0)];
	u64 addr, first = end, until = start, pte;
	u32 pages = 0, dirty = 0;

	for (addr = start; addr < end; addr += PAGE_SIZE, entry++) {
		pte = READ_ONCE(*entry);
		if (!dgpu_pt_is_valid(pte))
			continue;
		if (pte & DGPU_PT_RIGHTS) {
			while (!try_cmpxchg(entry, &pte, pte & ~DGPU_PT_RIGHTS))
				;
			first = min(first, addr);
			until = addr + PAGE_SIZE;
			if (pte & DGPU_HW_PTE_DIRTY)
				spot->table->unreported = true;
		}
		pages++;
		dirty += !!(pte & DGPU_HW_PTE_DIRTY);
	}
	taken->pages += pages;
	taken->dirty += dirty;
	if (first < until)
		dgpu_pt_taken_add(taken, first, until);
}

static void dgpu_pt_take_small(struct dgpu_vm *vm, struct dgpu_pt_spot *spot,
			       u64 start, u64 end, enum hmm_event_action action,
			       struct dgpu_pt_taken *taken)
{
	struct dgpu_pt_table *table = spot->table;
	u64 addr, pte;

	if (!table->nr_valid && !table->nr_leaving)
		return;
	if (action == HMM_ACTION_WRPROTECT) {
		dgpu_pt_protect_small(spot, start, end, taken);
		return;
	}
	for (addr = start; addr < end; addr += PAGE_SIZE) {
		pte = dgpu_pt_take_entry(vm, &table->entries[dgpu_pt_index(addr, 0)], action);
		if (dgpu_pt_needs_flush(pte, action))
			dgpu_pt_taken_add(taken, addr, addr + PAGE_SIZE);
		if (!dgpu_pt_is_valid(pte))
			continue;
		taken->pages++;
		if (pte & DGPU_HW_PTE_DIRTY)
			taken->dirty++;
		table->nr_valid--;
		table->nr_leaving++;
	}
}

/**
 * dgpu_pt_take - take translations away from the chip's page table
 * @vm: address space
 * @event: range and action
 * @taken: zeroed; what was there, and what the TLBs have to forget
 *
 * First half; dgpu_pt_settle() follows when the TLBs have forgotten, also if there is
 * nothing to forget.
 *
 * Context: under the update lock.  Sleeps only if the event is blockable.  Does not
 * allocate.
 */
void dgpu_pt_take(struct dgpu_vm *vm, const struct hmm_event *event,
		  struct dgpu_pt_taken *taken)
{
	struct dgpu_pt_spot spot = { .next = event->start };
	u64 start, end, slot;

	while (dgpu_pt_next(vm, &spot, event->end)) {
		start = max_t(u64, event->start, spot.base);
		end = min_t(u64, event->end, spot.base + PMD_SIZE);
		slot = READ_ONCE(*spot.slot);
		if (slot & DGPU_HW_PTE_HUGE)
			dgpu_pt_take_huge(vm, &spot, start, end, event->action, taken);
		else if (!dgpu_pt_take_table(vm, &spot, event, taken))
			dgpu_pt_take_small(vm, &spot, start, end, event->action, taken);

		/* An empty table that is linked goes by the same flush. */
		if (event->action == HMM_ACTION_FREE && !spot.table->nr_valid &&
		    dgpu_pt_is_valid(slot) && !(slot & DGPU_HW_PTE_HUGE)) {
			WRITE_ONCE(*spot.slot, 0);
			dgpu_pt_taken_add(taken, spot.base, spot.base + PMD_SIZE);
		}
		if (event->flags & HMM_EVENT_BLOCKABLE)
			cond_resched();
	}
}

/**
 * dgpu_pt_settle - let go of what was taken away
 * @vm: address space
 * @event: as for dgpu_pt_take()
 *
 * Reports dirty pages, unmaps pages, and frees tables that nothing needs any more.
 *
 * Context: under the update lock, after a flush of what dgpu_pt_take() said.  Sleeps
 * only if the event is blockable.  Does not allocate.
 */
void dgpu_pt_settle(struct dgpu_vm *vm, const struct hmm_event *event)
{
	struct dgpu_pt_spot spot = { .next = event->start };

	while (dgpu_pt_next(vm, &spot, event->end)) {
		dgpu_pt_settle_spot(vm, &spot, max_t(u64, event->start, spot.base),
				    min_t(u64, event->end, spot.base + PMD_SIZE));
		if (event->action == HMM_ACTION_FREE && !READ_ONCE(*spot.slot) &&
		    !spot.table->nr_valid && !spot.table->nr_leaving)
			dgpu_pt_prune(vm, &spot);
		if (event->flags & HMM_EVENT_BLOCKABLE)
			cond_resched();
	}
	dgpu_pt_limbo_drain(vm, false);
}

/* ---- mapping ---- */

/* Rights of a translation for @pfn; @rights are those that a writable one has. */
static u64 dgpu_pt_rights(unsigned long pfn, u64 rights)
{
	return pfn & HMM_PFN_WRITE ? rights : 0;
}

static bool dgpu_pt_names(struct dgpu_vm *vm, u64 pte, const struct page *page)
{
	struct dgpu_bus_page *bp;

	if (hmm_rmem_owns(&vm->dev->hmm, page))
		return dgpu_pt_is_local(pte) &&
		       (pte & DGPU_HW_PTE_ADDR) == hmm_rmem_offset(&vm->dev->hmm, page);
	return !dgpu_pt_is_local(pte) && dgpu_pt_page(vm, pte, &bp) == page;
}

/* Can @pte become a translation for @pfn by being given more rights, or none? */
static bool dgpu_pt_suits(struct dgpu_vm *vm, u64 pte, unsigned long pfn, u64 rights)
{
	if (!dgpu_pt_is_valid(pte) || pte & DGPU_PT_RIGHTS & ~dgpu_pt_rights(pfn, rights))
		return false;
	return dgpu_pt_names(vm, pte, hmm_pfn_to_page(pfn));
}

/*
 * Where a page is, for an entry: a bus address, or an offset in device memory.  The first
 * is undone by dgpu_bus_put() when the entry is settled.
 */
static int dgpu_pt_place(struct dgpu_vm *vm, struct page *page, u64 size_bit, u64 *place)
{
	struct dgpu_bus_page *bp;

	if (hmm_rmem_owns(&vm->dev->hmm, page)) {
		*place = hmm_rmem_offset(&vm->dev->hmm, page) | DGPU_HW_APERTURE_LOCAL;
		return 0;
	}
	bp = dgpu_bus_get(&vm->dev->bus, page, dgpu_pt_order(size_bit));
	if (IS_ERR(bp))
		return PTR_ERR(bp);
	*place = bp->addr | DGPU_HW_APERTURE_SYSTEM;
	return 0;
}

/* Write an entry that is empty, or suits.  1: the TLBs have to be told; 0, or an errno. */
static int dgpu_pt_write(struct dgpu_vm *vm, u64 *entry, unsigned long pfn, u64 size_bit,
			 u64 rights)
{
	u64 pte = READ_ONCE(*entry), place;
	int ret;

	rights = dgpu_pt_rights(pfn, rights);
	if (pte) {
		if ((pte & DGPU_PT_RIGHTS) == rights)
			return 0;
		while (!try_cmpxchg(entry, &pte, pte | rights))
			;
		return 1;
	}
	ret = dgpu_pt_place(vm, hmm_pfn_to_page(pfn), size_bit, &place);
	if (ret)
		return ret;
	WRITE_ONCE(*entry, place | DGPU_HW_PTE_VALID | size_bit | rights);
	dgpu_pt_count(vm, size_bit, 1);
	return 0;
}

/* Make the small entries leave that have to give way to @pfns (NULL: all of them). */
static bool dgpu_pt_displace(struct dgpu_vm *vm, struct dgpu_pt_spot *spot,
			     unsigned int first, unsigned long nr, const unsigned long *pfns)
{
	struct dgpu_pt_table *table = spot->table;
	bool displaced = false;
	unsigned long i;
	u64 *entry, pte;

	if (!table->nr_valid && !table->nr_leaving)
		return false;
	for (i = 0; i < nr; i++) {
		entry = &table->entries[first + i];
		pte = READ_ONCE(*entry);
		if (!pte || (pfns && (!(pfns[i] & HMM_PFN_VALID) ||
				      dgpu_pt_suits(vm, pte, pfns[i], spot->rights))))
			continue;
		displaced = true;
		if (!dgpu_pt_is_valid(pte))
			continue;
		dgpu_pt_leave(vm, entry);
		table->nr_valid--;
		table->nr_leaving++;
	}
	return displaced;
}

/*
 * Is a leaf in the slot all that @pfns want?  For device memory, where a leaf can be
 * asked for in pieces.
 */
static bool dgpu_pt_leaf_does(struct dgpu_vm *vm, const struct dgpu_pt_spot *spot,
			      unsigned int first, unsigned long nr, const unsigned long *pfns)
{
	u64 slot = READ_ONCE(*spot->slot);
	struct dgpu_bus_page *bp;
	struct page *page;
	unsigned long i;

	if (!dgpu_pt_is_valid(slot) || !dgpu_pt_is_local(slot))
		return false;
	page = dgpu_pt_page(vm, slot, &bp);
	for (i = 0; i < nr; i++) {
		if (!(pfns[i] & HMM_PFN_VALID))
			continue;
		if (hmm_pfn_to_page(pfns[i]) != page + first + i ||
		    (slot & DGPU_PT_RIGHTS) != dgpu_pt_rights(pfns[i], spot->rights))
			return false;
	}
	return true;
}

static bool dgpu_pt_is_hole(unsigned long nr, const unsigned long *pfns)
{
	while (nr--)
		if (*pfns++ & HMM_PFN_VALID)
			return false;
	return true;
}

/* Write small entries within one 2 MiB. */
static int dgpu_pt_map_small(struct dgpu_vm *vm, struct dgpu_pt_spot *spot, u64 start,
			     unsigned long nr, const unsigned long *pfns)
{
	u64 slot = READ_ONCE(*spot->slot), end = start + (nr << PAGE_SHIFT);
	struct dgpu_pt_table *table = spot->table;
	unsigned int first = dgpu_pt_index(start, 0);
	bool was_empty, upgraded = false;
	unsigned long i;
	int ret = 0;

	if (dgpu_pt_is_hole(nr, pfns))
		return 0;
	if (slot & DGPU_HW_PTE_HUGE) {
		if (dgpu_pt_leaf_does(vm, spot, first, nr, pfns))
			return 0;
		if (dgpu_pt_is_valid(slot))
			dgpu_pt_leave(vm, spot->slot);
		dgpu_vm_flush(vm, spot->base, spot->base + PMD_SIZE);
		dgpu_pt_settle_spot(vm, spot, start, end);
	} else if (dgpu_pt_displace(vm, spot, first, nr, pfns)) {
		dgpu_vm_flush(vm, start, end);
		dgpu_pt_settle_spot(vm, spot, start, end);
	}
	if (!READ_ONCE(*spot->slot))
		WRITE_ONCE(*spot->slot, dgpu_pt_link(table));

	for (i = 0; i < nr && ret >= 0; i++) {
		u64 *entry = &table->entries[first + i];

		if (!(pfns[i] & HMM_PFN_VALID))
			continue;
		was_empty = !READ_ONCE(*entry);
		ret = dgpu_pt_write(vm, entry, pfns[i], 0, spot->rights);
		if (ret > 0)
			upgraded = true;
		else if (!ret && was_empty)
			table->nr_valid++;
	}
	if (upgraded)
		dgpu_vm_flush(vm, start, end);
	return min(ret, 0);
}

/* Write a leaf of 2 MiB.  -EIO: not as one piece. */
static int dgpu_pt_map_huge(struct dgpu_vm *vm, struct dgpu_pt_spot *spot,
			    unsigned long pfn)
{
	u64 slot = READ_ONCE(*spot->slot), end = spot->base + PMD_SIZE;
	bool displaced = false;
	int ret;

	if (!(slot & DGPU_HW_PTE_HUGE)) {
		/* First the way to the small entries, then these. */
		if (slot)
			WRITE_ONCE(*spot->slot, 0);
		displaced = dgpu_pt_displace(vm, spot, 0, DGPU_PT_ENTRIES, NULL);
		displaced |= !!slot;
	} else if (!dgpu_pt_suits(vm, slot, pfn, spot->rights)) {
		if (dgpu_pt_is_valid(slot))
			dgpu_pt_leave(vm, spot->slot);
		displaced = true;
	}
	if (displaced) {
		dgpu_vm_flush(vm, spot->base, end);
		dgpu_pt_settle_spot(vm, spot, spot->base, end);
	}
	ret = dgpu_pt_write(vm, spot->slot, pfn, DGPU_HW_PTE_HUGE, spot->rights);
	if (ret > 0) {
		dgpu_vm_flush(vm, spot->base, end);
		ret = 0;
	}
	return ret;
}

/* A 2 MiB page that the bus cannot map in one piece is mapped in small ones. */
static int dgpu_pt_map_pieces(struct dgpu_vm *vm, struct dgpu_pt_spot *spot,
			      unsigned long pfn)
{
	unsigned int i;
	int ret;

	for (i = 0; i < DGPU_PT_ENTRIES; i++) {
		unsigned long piece = pfn + i;

		ret = dgpu_pt_map_small(vm, spot, spot->base + ((u64)i << PAGE_SHIFT), 1,
					&piece);
		if (ret)
			return ret;
	}
	return 0;
}

/* Are these 2 MiB of device memory in one piece, all with the same rights? */
static bool dgpu_pt_is_chunk(struct dgpu_vm *vm, unsigned long nr, const unsigned long *pfns)
{
	struct page *page;
	unsigned long i;

	if (nr != DGPU_PT_ENTRIES || !(pfns[0] & HMM_PFN_VALID))
		return false;
	page = hmm_pfn_to_page(pfns[0]);
	if (!hmm_rmem_owns(&vm->dev->hmm, page) ||
	    !IS_ALIGNED(hmm_rmem_offset(&vm->dev->hmm, page), PMD_SIZE))
		return false;
	for (i = 1; i < nr; i++)
		if (!(pfns[i] & HMM_PFN_VALID) || hmm_pfn_to_page(pfns[i]) != page + i ||
		    (pfns[i] ^ pfns[0]) & HMM_PFN_WRITE)
			return false;
	/* They are of this memory all the same: its end is that of a chunk, too. */
	return true;
}

/**
 * dgpu_pt_map - write translations
 * @vm: address space
 * @map: what to write
 *
 * Context: under the update lock.  Does not reclaim memory; sleeps for a flush when
 * something is replaced.
 * Return: 0; -EAGAIN if dgpu_pt_prepare() has to be called again; -EIO if a page cannot
 * be mapped for DMA.  What was written until then stays, each entry being good by
 * itself.
 */
int dgpu_pt_map(struct dgpu_vm *vm, const struct hmm_map *map)
{
	const unsigned long *pfns = map->pfns;
	u64 start = map->start, end = start + ((u64)map->nr << map->shift), next;
	struct dgpu_pt_spot spot;
	int ret;

	spot.rights = map->no_atomics ? DGPU_HW_PTE_WRITE : DGPU_PT_RIGHTS;
	for (; start < end; start = next) {
		unsigned long nr;

		next = min(end, ALIGN_DOWN(start, PMD_SIZE) + PMD_SIZE);
		spot.next = start;
		if (!dgpu_pt_next(vm, &spot, next))
			return -EAGAIN;
		if (map->shift == PAGE_SHIFT) {
			nr = (next - start) >> PAGE_SHIFT;
			if (dgpu_pt_is_chunk(vm, nr, pfns))
				ret = dgpu_pt_map_huge(vm, &spot, *pfns);
			else
				ret = dgpu_pt_map_small(vm, &spot, start, nr, pfns);
		} else if (*pfns & HMM_PFN_VALID) {
			nr = 1;
			ret = dgpu_pt_map_huge(vm, &spot, *pfns);
			if (ret == -EIO)
				ret = dgpu_pt_map_pieces(vm, &spot, *pfns);
		} else {
			nr = 1;
			ret = 0;
		}
		if (ret)
			return ret;
		pfns += nr;
	}
	return 0;
}

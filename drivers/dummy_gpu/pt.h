/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the device page table share: pt.c, the entries, pt_look.c, looking at
 * them, and pt_table.c, the tables that they are in.  What it is like, and its locks: see pt.c.
 */
#ifndef _DGPU_PT_H
#define _DGPU_PT_H

#include <linux/bits.h>
#include <linux/mm.h>
#include "dgpu_private.h"

#define DGPU_PT_BITS		9
#define DGPU_PT_ENTRIES		BIT(DGPU_PT_BITS)
#define DGPU_PT_HUGE_ORDER	(PMD_SHIFT - PAGE_SHIFT)

/**
 * struct dgpu_pt_table - one table
 * @entries: what the chip reads
 * @bus: its mapping
 * @level: 0 for the last
 * @index: of its entry in @parent
 * @parent: NULL for the root
 * @nr_valid: level 0: valid entries; the block's update lock
 * @nr_leaving: level 0: entries that are to be settled; the block's update lock
 * @nr_children: above level 0: tables below; dgpu_pt.lock
 * @child: above level 0: these; dgpu_pt.lock, read under RCU
 * @unreported: level 0: there may be valid entries that are dirty and not writable any
 *	more; the block's update lock
 * @left: level 0: out of the chip's sight with all its entries, which are to be undone by
 *	dgpu_pt_reap(); the block's update lock, then dgpu_pt.lock
 * @limbo: in dgpu_pt.limbo or .reap, or in a list of tables to be freed
 * @ticket: in limbo: of the flush to wait for
 * @rcu: look-ups may still be in it when it is freed
 */
struct dgpu_pt_table {
	u64 *entries;
	struct dgpu_bus_page *bus;
	unsigned int level;
	unsigned int index;
	struct dgpu_pt_table *parent;
	unsigned int nr_valid;
	unsigned int nr_leaving;
	unsigned int nr_children;
	struct dgpu_pt_table __rcu **child;
	bool unreported;
	bool left;
	struct list_head limbo;
	u64 ticket;
	struct rcu_head rcu;
};

/**
 * struct dgpu_pt_spot - the 2 MiB around an address
 * @table: its level 0 table
 * @slot: the entry above that
 * @base: its first byte
 * @next: where a walk goes on
 * @rights: that a writable translation has, where some are being written
 */
struct dgpu_pt_spot {
	struct dgpu_pt_table *table;
	u64 *slot;
	u64 base;
	u64 next;
	u64 rights;
};

static inline unsigned int dgpu_pt_shift(unsigned int level)
{
	return PAGE_SHIFT + level * DGPU_PT_BITS;
}

static inline unsigned int dgpu_pt_index(u64 addr, unsigned int level)
{
	return (addr >> dgpu_pt_shift(level)) & (DGPU_PT_ENTRIES - 1);
}

static inline u64 dgpu_pt_limit(void)
{
	return 1ull << dgpu_config.hw.va_bits;
}

static inline u64 dgpu_pt_link(const struct dgpu_pt_table *table)
{
	return table->bus->addr | DGPU_HW_PTE_VALID;
}

static inline bool dgpu_pt_is_valid(u64 pte)
{
	return pte & DGPU_HW_PTE_VALID;
}

static inline bool dgpu_pt_is_local(u64 pte)
{
	return (pte & DGPU_HW_PTE_APERTURE) == DGPU_HW_APERTURE_LOCAL;
}

static inline unsigned int dgpu_pt_order(u64 pte)
{
	return pte & DGPU_HW_PTE_HUGE ? DGPU_PT_HUGE_ORDER : 0;
}

bool dgpu_pt_find(struct dgpu_vm *vm, u64 addr, u64 end, struct dgpu_pt_spot *spot);
bool dgpu_pt_next(struct dgpu_vm *vm, struct dgpu_pt_spot *spot, u64 end);
void dgpu_pt_prune(struct dgpu_vm *vm, struct dgpu_pt_spot *spot);
void dgpu_pt_limbo_drain(struct dgpu_vm *vm, bool all);
struct page *dgpu_pt_page(struct dgpu_vm *vm, u64 pte, struct dgpu_bus_page **bp);

#endif /* _DGPU_PT_H */

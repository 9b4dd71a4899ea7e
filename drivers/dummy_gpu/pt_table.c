// SPDX-License-Identifier: GPL-2.0
/*
 * The device page table of one address space: its tables.  Its entries: pt.c, where the
 * whole is described.
 *
 *   allocated ----> in the tree ----> unlinked ----> (limbo, reap) ----> freed
 *	     prepare		 settle		  flush, work		RCU
 *
 * A table is in the tree by a child pointer, which the driver follows, and by an entry
 * with its bus address, which the chip follows.  The entry of a level 0 table is the slot
 * of pt.c; all others are written here.
 *
 * A table whose 2 MiB are unmapped as a whole leaves with its entries: what they name is
 * let go of by a work (dgpu_pt_reap()), for the process that unmaps its memory need not
 * wait for that.
 *
 * Locks: dgpu_pt.lock for child pointers, their number, and limbo.  Look-ups run under RCU;
 * a level 0 table that was found stays as long as its block's update lock is held.
 *
 * The principle: a table is freed when nothing leads to it, the chip has been flushed
 * since, and the look-ups that may have seen it are over.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include "pt.h"

/* Not at once: who unmaps is not done when the table has left. */
#define DGPU_PT_REAP_DELAY	(HZ / 50 + 1)

DECLARE_FAULT_ATTR(dgpu_fail_table);

/* ---- tables ---- */

static struct dgpu_pt_table *dgpu_pt_table_alloc(struct dgpu_vm *vm, unsigned int level)
{
	struct dgpu_bus *bus = &vm->dev->bus;
	struct dgpu_pt_table *table;

	if (should_fail(&dgpu_fail_table, PAGE_SIZE))
		return ERR_PTR(-ENOMEM);
	table = kzalloc(sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		return ERR_PTR(-ENOMEM);
	table->level = level;
	if (level) {
		table->child = kcalloc(DGPU_PT_ENTRIES, sizeof(*table->child),
				       GFP_KERNEL_ACCOUNT);
		if (!table->child)
			goto err_table;
	}
	table->entries = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!table->entries)
		goto err_child;
	do {
		if (dgpu_bus_prepare(bus))
			goto err_entries;
		table->bus = dgpu_bus_get(bus, virt_to_page(table->entries), 0);
	} while (table->bus == ERR_PTR(-EAGAIN));
	if (IS_ERR(table->bus))
		goto err_entries;
	atomic_long_inc(&vm->pt.nr_tables);
	return table;

err_entries:
	free_page((unsigned long)table->entries);
err_child:
	kfree(table->child);
err_table:
	kfree(table);
	return ERR_PTR(-ENOMEM);
}

static void dgpu_pt_table_free_rcu(struct rcu_head *rcu)
{
	struct dgpu_pt_table *table = container_of(rcu, struct dgpu_pt_table, rcu);

	free_page((unsigned long)table->entries);
	kfree(table->child);
	kfree(table);
}

/* The table is out of the tree and the chip does not read it any more. */
static void dgpu_pt_table_free(struct dgpu_vm *vm, struct dgpu_pt_table *table)
{
	atomic_long_dec(&vm->pt.nr_tables);
	dgpu_bus_put(&vm->dev->bus, table->bus);
	call_rcu(&table->rcu, dgpu_pt_table_free_rcu);
}

/**
 * dgpu_pt_find - find the first 2 MiB of a range that have a level 0 table
 * @vm: address space
 * @addr: first byte
 * @end: first byte after the range; not above what the device can reach
 * @spot: what was found
 *
 * Context: in an RCU read section.  What it finds stays there until its end, and as long
 * as the update lock of the block is held.
 * Return: false if there is none.
 */
bool dgpu_pt_find(struct dgpu_vm *vm, u64 addr, u64 end, struct dgpu_pt_spot *spot)
{
	struct dgpu_pt_table *table, *child;
	unsigned int i;

	while (addr < end) {
		table = rcu_dereference(vm->pt.root);
		if (!table)
			return false;
		do {
			i = dgpu_pt_index(addr, table->level);
			child = rcu_dereference(table->child[i]);
			if (!child) {
				addr = ALIGN_DOWN(addr, 1ull << dgpu_pt_shift(table->level)) +
				       (1ull << dgpu_pt_shift(table->level));
				break;
			}
			if (!child->level) {
				spot->table = child;
				spot->slot = &table->entries[i];
				spot->base = ALIGN_DOWN(addr, PMD_SIZE);
				spot->next = spot->base + PMD_SIZE;
				return true;
			}
			table = child;
		} while (true);
	}
	return false;
}

static bool dgpu_pt_find_rcu(struct dgpu_vm *vm, u64 addr, u64 end,
			     struct dgpu_pt_spot *spot)
{
	bool found;

	rcu_read_lock();
	found = dgpu_pt_find(vm, addr, end, spot);
	rcu_read_unlock();
	return found;
}

/**
 * dgpu_pt_next - the next 2 MiB that have a level 0 table
 * @vm: address space
 * @spot: where to go on; what was found
 * @end: first byte after the range; may be more than the device can reach
 *
 * Context: under the update lock.
 * Return: false if there are no more.
 */
bool dgpu_pt_next(struct dgpu_vm *vm, struct dgpu_pt_spot *spot, u64 end)
{
	return dgpu_pt_find_rcu(vm, spot->next, min(end, dgpu_pt_limit()), spot);
}

/* Put @new where the tree ends on the way to @addr, if it fits there. */
static unsigned int dgpu_pt_grow(struct dgpu_vm *vm, u64 addr, struct dgpu_pt_table **new)
{
	struct dgpu_pt *pt = &vm->pt;
	struct dgpu_pt_table *table, *child;
	unsigned int i;

	spin_lock(&pt->lock);
	table = rcu_dereference_protected(pt->root, lockdep_is_held(&pt->lock));
	while (table->level) {
		i = dgpu_pt_index(addr, table->level);
		child = rcu_dereference_protected(table->child[i],
						  lockdep_is_held(&pt->lock));
		if (!child && *new && (*new)->level == table->level - 1) {
			child = *new;
			*new = NULL;
			child->parent = table;
			child->index = i;
			table->nr_children++;
			rcu_assign_pointer(table->child[i], child);
			/* A slot of level 1 is the update lock's: dgpu_pt_map() links it. */
			if (child->level)
				WRITE_ONCE(table->entries[i], dgpu_pt_link(child));
		}
		if (!child)
			break;
		table = child;
	}
	spin_unlock(&pt->lock);
	return table->level;
}

static int dgpu_pt_prepare_one(struct dgpu_vm *vm, u64 addr)
{
	struct dgpu_pt_table *new = NULL;
	unsigned int level;

	while ((level = dgpu_pt_grow(vm, addr, &new))) {
		/* Somebody else was faster. */
		if (new)
			dgpu_pt_table_free(vm, new);
		new = dgpu_pt_table_alloc(vm, level - 1);
		if (IS_ERR(new))
			return PTR_ERR(new);
	}
	if (new)
		dgpu_pt_table_free(vm, new);
	return 0;
}

/**
 * dgpu_pt_prepare - see to it that entries of any size can be written
 * @vm: address space
 * @start: first byte
 * @end: first byte after the range
 *
 * Context: may sleep and reclaim memory; no update lock.
 * Return: 0 or -ENOMEM.
 */
int dgpu_pt_prepare(struct dgpu_vm *vm, u64 start, u64 end)
{
	struct dgpu_pt_spot spot;
	u64 addr;
	int ret;

	if (dgpu_bus_prepare(&vm->dev->bus))
		return -ENOMEM;
	for (addr = ALIGN_DOWN(start, PMD_SIZE); addr < end; addr += PMD_SIZE) {
		if (dgpu_pt_find_rcu(vm, addr, addr + PMD_SIZE, &spot))
			continue;
		ret = dgpu_pt_prepare_one(vm, addr);
		if (ret)
			return ret;
	}
	return 0;
}

/* ---- freeing tables ---- */

static void dgpu_pt_limbo_add(struct dgpu_vm *vm, struct list_head *tables, u64 ticket)
{
	struct dgpu_pt_table *table;

	list_for_each_entry(table, tables, limbo)
		table->ticket = ticket;
	spin_lock(&vm->pt.lock);
	list_splice_tail(tables, &vm->pt.limbo);
	spin_unlock(&vm->pt.lock);
}

/**
 * dgpu_pt_limbo_drain - free the tables that the chip is through with
 * @vm: address space
 * @all: the chip is through with all
 *
 * Context: any that may take a spinlock.
 */
void dgpu_pt_limbo_drain(struct dgpu_vm *vm, bool all)
{
	struct dgpu_pt_table *table, *next;
	LIST_HEAD(done);

	if (list_empty_careful(&vm->pt.limbo))
		return;
	spin_lock(&vm->pt.lock);
	list_for_each_entry_safe(table, next, &vm->pt.limbo, limbo)
		if (all || dgpu_hw_tlb_done(vm->dev->hw, table->ticket))
			list_move(&table->limbo, &done);
	spin_unlock(&vm->pt.lock);
	list_for_each_entry_safe(table, next, &done, limbo)
		dgpu_pt_table_free(vm, table);
}

/* Let go of what the entries of a table name that the chip is through with. */
static void dgpu_pt_reap_table(struct dgpu_vm *vm, struct dgpu_pt_table *table)
{
	struct dgpu_bus *bus = &vm->dev->bus;
	struct dgpu_bus_page *bp;
	unsigned int i;

	for (i = 0; i < DGPU_PT_ENTRIES; i++) {
		u64 pte = table->entries[i];

		if (!pte || (pte & DGPU_HW_PTE_APERTURE) != DGPU_HW_APERTURE_SYSTEM)
			continue;
		bp = dgpu_bus_find(bus, pte & DGPU_HW_PTE_ADDR, 0);
		if (bp)
			dgpu_bus_put(bus, bp);
	}
	dgpu_pt_table_free(vm, table);
}

/**
 * dgpu_pt_reap - undo the entries of tables that are out of the tree
 * @work: dgpu_pt.reap_work
 *
 * Context: may sleep.  Nothing waits for it but the end of the address space.
 */
void dgpu_pt_reap(struct work_struct *work)
{
	struct dgpu_vm *vm = container_of(to_delayed_work(work), struct dgpu_vm, pt.reap_work);
	struct dgpu_pt_table *table;

	for (;;) {
		spin_lock(&vm->pt.lock);
		table = list_first_entry_or_null(&vm->pt.reap, struct dgpu_pt_table, limbo);
		if (table) {
			list_del_init(&table->limbo);
			vm->pt.nr_reap--;
		}
		spin_unlock(&vm->pt.lock);
		if (!table)
			return;
		dgpu_pt_reap_table(vm, table);
		cond_resched();
	}
}

/* The chip is through with a table that the tree does not have any more. */
static void dgpu_pt_retire(struct dgpu_vm *vm, struct dgpu_pt_table *table)
{
	if (!table->left) {
		dgpu_pt_table_free(vm, table);
		return;
	}
	spin_lock(&vm->pt.lock);
	list_add_tail(&table->limbo, &vm->pt.reap);
	vm->pt.nr_reap++;
	spin_unlock(&vm->pt.lock);
	queue_delayed_work(dgpu_wq, &vm->pt.reap_work, DGPU_PT_REAP_DELAY);
}

/**
 * dgpu_pt_prune - take an empty table, and those above that only served it, out of the tree
 * @vm: address space
 * @spot: where; the slot is empty, and the chip has been flushed since it is.  It may be
 *	in one of the tables above.
 *
 * Context: under the update lock.  Does not sleep, does not allocate.
 */
void dgpu_pt_prune(struct dgpu_vm *vm, struct dgpu_pt_spot *spot)
{
	struct dgpu_pt *pt = &vm->pt;
	struct dgpu_pt_table *table = spot->table, *parent;
	LIST_HEAD(above);
	u64 ticket;

	spin_lock(&pt->lock);
	while ((parent = table->parent)) {
		RCU_INIT_POINTER(parent->child[table->index], NULL);
		if (table->level) {
			WRITE_ONCE(parent->entries[table->index], 0);
			list_add_tail(&table->limbo, &above);
		}
		if (--parent->nr_children)
			break;
		table = parent;
	}
	spin_unlock(&pt->lock);

	dgpu_pt_retire(vm, spot->table);
	if (list_empty(&above))
		return;
	ticket = dgpu_hw_tlb_invalidate(vm->dev->hw, vm->asid, spot->base,
					spot->base + PMD_SIZE);
	dgpu_pt_limbo_add(vm, &above, ticket);
}

/* ---- birth and death ---- */

/**
 * dgpu_pt_init - make an empty page table
 * @vm: new address space
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int dgpu_pt_init(struct dgpu_vm *vm)
{
	struct dgpu_pt_table *root;

	root = dgpu_pt_table_alloc(vm, (dgpu_config.hw.va_bits - PAGE_SHIFT) / DGPU_PT_BITS - 1);
	if (IS_ERR(root))
		return PTR_ERR(root);
	rcu_assign_pointer(vm->pt.root, root);
	return 0;
}

/**
 * dgpu_pt_root - what to load into the chip
 * @vm: address space between dgpu_pt_init() and dgpu_pt_destroy()
 *
 * Context: by who does these two.
 * Return: bus address of the root table.
 */
u64 dgpu_pt_root(struct dgpu_vm *vm)
{
	return rcu_dereference_protected(vm->pt.root, true)->bus->addr;
}

/* Recursion is as deep as the tree: at most five. */
static void dgpu_pt_free_tree(struct dgpu_vm *vm, struct dgpu_pt_table *table)
{
	struct dgpu_pt_table *child;
	unsigned int i;

	/* The core has had everything taken away. */
	WARN_ON_ONCE(table->nr_valid || table->nr_leaving);
	for (i = 0; table->level && i < DGPU_PT_ENTRIES; i++) {
		child = rcu_dereference_protected(table->child[i], true);
		if (!child)
			continue;
		WARN_ON_ONCE(table->entries[i] & DGPU_HW_PTE_HUGE);
		dgpu_pt_free_tree(vm, child);
	}
	dgpu_pt_table_free(vm, table);
}

/**
 * dgpu_pt_destroy - free all tables
 * @vm: address space whose mirror is unregistered and whose context is unloaded; also
 *	one that dgpu_pt_init() has failed for
 *
 * Context: may sleep.
 */
void dgpu_pt_destroy(struct dgpu_vm *vm)
{
	struct dgpu_pt_table *root = rcu_dereference_protected(vm->pt.root, true);

	RCU_INIT_POINTER(vm->pt.root, NULL);
	cancel_delayed_work_sync(&vm->pt.reap_work);
	dgpu_pt_reap(&vm->pt.reap_work.work);
	dgpu_pt_limbo_drain(vm, true);
	if (root)
		dgpu_pt_free_tree(vm, root);
	WARN_ON_ONCE(atomic_long_read(&vm->pt.nr_tables));
}

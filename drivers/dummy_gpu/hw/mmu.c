// SPDX-License-Identifier: GPL-2.0
/*
 * MMU: finds the leaf for an address in a context's page table.
 *
 * It owns nothing and caches nothing, not even tables on the way: a walk that begins
 * after an entry was changed sees the change.  What may be old is in the TLB only.
 *
 * The page table is the driver's, and the driver changes it while walks go on.  So
 * each entry is read once, judged as it was read, and written by compare-and-exchange
 * only: accessed and dirty bits never appear in an entry that the driver has replaced
 * meanwhile.
 *
 * The principle: judge strictly.  An entry that is valid and makes no sense is a bus
 * error, never a guess at what the driver may have meant.
 */
#include "units.h"

/* Someone keeps rewriting the entry: report a fault and let the driver say what it is. */
#define DGPU_MMU_TRIES		8

#define DGPU_MMU_TABLE_BITS	(DGPU_HW_PTE_VALID | DGPU_HW_PTE_ADDR)
#define DGPU_MMU_LEAF_BITS	(DGPU_HW_PTE_VALID | DGPU_HW_PTE_WRITE |		\
				 DGPU_HW_PTE_ATOMIC | DGPU_HW_PTE_ACCESSED |	\
				 DGPU_HW_PTE_DIRTY | DGPU_HW_PTE_APERTURE |	\
				 DGPU_HW_PTE_ADDR)
#define DGPU_MMU_HUGE_LOW	((DGPU_HUGE_SIZE - 1) & DGPU_HW_PTE_ADDR)

/**
 * dgpu_translation_allows - may an access go ahead with this translation?
 * @tr: translation
 * @access: DGPU_ACCESS_*
 *
 * A write also needs the leaf to be marked dirty already; without that the walker has
 * to see to it first.
 *
 * Return: true if the access may use @tr as it is.
 */
bool dgpu_translation_allows(const struct dgpu_translation *tr, u32 access)
{
	u32 need = 0;

	if (access != DGPU_ACCESS_READ)
		need |= DGPU_TR_WRITE | DGPU_TR_DIRTY;
	if (access == DGPU_ACCESS_ATOMIC)
		need |= DGPU_TR_ATOMIC;
	return (tr->flags & need) == need;
}

/**
 * dgpu_translation_page - where the 4 KiB page of an address is
 * @tr: translation of the address
 * @va: the address
 *
 * Return: the bus address of the page, for struct dgpu_board_ops.bus_map; with
 * DGPU_TR_LOCAL its offset, for dgpu_memory_page().
 */
u64 dgpu_translation_page(const struct dgpu_translation *tr, u64 va)
{
	if (tr->flags & DGPU_TR_HUGE)
		return tr->frame + (va & (DGPU_HUGE_SIZE - 1) & ~(DGPU_PAGE_SIZE - 1));
	return tr->frame;
}

/* A valid entry on @level that names a page rather than a table? */
static bool dgpu_mmu_is_leaf(u64 pte, unsigned int level)
{
	return !level || (level == 1 && (pte & DGPU_HW_PTE_HUGE));
}

/* Where the offset of a local leaf leads is the memory's to judge. */
static bool dgpu_mmu_has_aperture(const struct dgpu_mmu *mmu, u64 pte)
{
	switch (pte & DGPU_HW_PTE_APERTURE) {
	case DGPU_HW_APERTURE_SYSTEM:
		return true;
	case DGPU_HW_APERTURE_LOCAL:
		return mmu->memory;
	default:
		return false;
	}
}

static bool dgpu_mmu_is_sane(const struct dgpu_mmu *mmu, u64 pte, unsigned int level)
{
	if (!dgpu_mmu_is_leaf(pte, level))
		return !(pte & ~DGPU_MMU_TABLE_BITS);
	if (!dgpu_mmu_has_aperture(mmu, pte))
		return false;
	if (level == 1)
		return !(pte & ~(DGPU_MMU_LEAF_BITS | DGPU_HW_PTE_HUGE)) &&
		       !(pte & DGPU_MMU_HUGE_LOW);
	return !(pte & ~DGPU_MMU_LEAF_BITS);
}

static bool dgpu_mmu_allows(u64 pte, u32 access)
{
	u64 need = DGPU_HW_PTE_VALID;

	if (access != DGPU_ACCESS_READ)
		need |= DGPU_HW_PTE_WRITE;
	if (access == DGPU_ACCESS_ATOMIC)
		need |= DGPU_HW_PTE_ATOMIC;
	return (pte & need) == need;
}

/*
 * Judge one entry and, if it is a leaf that allows the access, mark it.
 *
 *	MMU				driver
 *	reads a valid entry
 *					clears the entry, takes its dirty bit
 *	compares: not what was read
 *	reads again: not valid
 *	reports a fault			unmaps the page
 *
 * The driver's clearing and the MMU's marking are both atomic, so either the driver
 * sees the dirty bit, or the MMU sees that the page is gone and does not write to it.
 */
static enum dgpu_mem dgpu_mmu_visit(const struct dgpu_mmu *mmu, u64 *slot,
				    unsigned int level, u32 access, u64 *out)
{
	u64 mark = DGPU_HW_PTE_ACCESSED;
	unsigned int i;

	if (access != DGPU_ACCESS_READ)
		mark |= DGPU_HW_PTE_DIRTY;

	for (i = 0; i < DGPU_MMU_TRIES; i++) {
		u64 pte = READ_ONCE(*slot);

		if (!(pte & DGPU_HW_PTE_VALID))
			return DGPU_MEM_FAULT;
		if (!dgpu_mmu_is_sane(mmu, pte, level))
			return DGPU_MEM_BUS;

		*out = pte;
		if (!dgpu_mmu_is_leaf(pte, level))
			return DGPU_MEM_OK;
		if (!dgpu_mmu_allows(pte, access))
			return DGPU_MEM_FAULT;
		*out = pte | mark;
		if ((pte & mark) == mark || cmpxchg(slot, pte, pte | mark) == pte)
			return DGPU_MEM_OK;
	}
	return DGPU_MEM_FAULT;
}

static u32 dgpu_mmu_flags(u64 pte, unsigned int level)
{
	u32 flags = 0;

	if (pte & DGPU_HW_PTE_WRITE)
		flags |= DGPU_TR_WRITE;
	if (pte & DGPU_HW_PTE_ATOMIC)
		flags |= DGPU_TR_ATOMIC;
	if (pte & DGPU_HW_PTE_DIRTY)
		flags |= DGPU_TR_DIRTY;
	if (level)
		flags |= DGPU_TR_HUGE;
	if ((pte & DGPU_HW_PTE_APERTURE) == DGPU_HW_APERTURE_LOCAL)
		flags |= DGPU_TR_LOCAL;
	return flags;
}

/**
 * dgpu_mmu_walk - find the leaf for an address and mark it
 * @mmu: the walker
 * @root: bus address of the context's root table
 * @va: address
 * @access: DGPU_ACCESS_*; the leaf becomes accessed, and dirty unless it is a read
 * @tr: the translation, when the result is DGPU_MEM_OK
 *
 * Context: Any. The page table may change meanwhile; table pages may be freed only
 * when no walk can be in one (dgpu_hw_tlb_invalidate()).
 * Return: DGPU_MEM_OK; DGPU_MEM_FAULT: no valid leaf, or one that does not allow the
 * access, or an address of more than va_bits; DGPU_MEM_BUS: a broken entry, or a table
 * that is not there.
 */
enum dgpu_mem dgpu_mmu_walk(const struct dgpu_mmu *mmu, u64 root, u64 va, u32 access,
			    struct dgpu_translation *tr)
{
	unsigned int level = (mmu->va_bits - DGPU_PAGE_SHIFT) / DGPU_TABLE_BITS - 1;
	u64 table = root;

	if (va >> mmu->va_bits)
		return DGPU_MEM_FAULT;

	for (;; level--) {
		unsigned int shift = DGPU_PAGE_SHIFT + level * DGPU_TABLE_BITS;
		enum dgpu_mem status;
		u64 *slots, pte;

		slots = mmu->ops->bus_map(mmu->board, table);
		if (!slots)
			return DGPU_MEM_BUS;
		status = dgpu_mmu_visit(mmu, &slots[(va >> shift) & (DGPU_TABLE_ENTRIES - 1)],
					level, access, &pte);
		mmu->ops->bus_unmap(mmu->board, table, slots);
		if (status != DGPU_MEM_OK)
			return status;

		if (dgpu_mmu_is_leaf(pte, level)) {
			tr->frame = pte & DGPU_HW_PTE_ADDR;
			tr->flags = dgpu_mmu_flags(pte, level);
			return DGPU_MEM_OK;
		}
		table = pte & DGPU_HW_PTE_ADDR;
	}
}

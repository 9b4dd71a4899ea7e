// SPDX-License-Identifier: GPL-2.0
/*
 * Entries: decoding one, and finding it.
 *
 * Owns nothing.  The kernel's page table walkers are not for modules, but for
 * hmm_range_fault(), which does not tell a hole from a page that is swapped out, or on
 * another device.  What is needed here is less than a walker does: one entry, as it was
 * at some moment, to say why a page did not move.
 *
 * The principle: what is read here is a report, and nothing is done to a page because of
 * it.  It may be out of date before it is returned.
 *
 * Locks: mmap_lock keeps the VMA, and with it the page table pages; what khugepaged
 * replaces in spite of that stays readable while interrupts are off, by the rules that
 * the kernel's own lockless walk (get_user_pages_fast()) relies on.
 */
#include <kunit/visibility.h>
#include <linux/irqflags.h>
#include <linux/ksm.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include "entry.h"

/* What is not present. */
static struct hmm_swp_entry hmm_swp_from_leaf(softleaf_t leaf)
{
	struct hmm_swp_entry entry = { .kind = HMM_SWP_NONE };

	if (softleaf_is_swap(leaf)) {
		entry.kind = HMM_SWP_SWAPPED;
	} else if (softleaf_is_migration(leaf)) {
		entry.kind = HMM_SWP_MOVING;
		entry.pfn = softleaf_to_pfn(leaf);
	} else if (softleaf_is_device_private(leaf)) {
		entry.kind = softleaf_is_device_private_write(leaf) ? HMM_SWP_PRIVATE_WRITE :
								      HMM_SWP_PRIVATE_READ;
		entry.pfn = softleaf_to_pfn(leaf);
	} else if (softleaf_is_device_exclusive(leaf)) {
		entry.kind = HMM_SWP_EXCLUSIVE;
		entry.pfn = softleaf_to_pfn(leaf);
	} else if (!softleaf_is_marker(leaf)) {
		entry.kind = HMM_SWP_OTHER;
	}
	return entry;
}

/**
 * hmm_swp_from_pte - decode an entry of the page table
 * @pte: entry
 *
 * Context: any.
 * Return: what it stands for.
 */
struct hmm_swp_entry hmm_swp_from_pte(pte_t pte)
{
	struct hmm_swp_entry entry = { .kind = HMM_SWP_NONE };

	if (pte_none(pte))
		return entry;
	if (pte_present(pte)) {
		if (is_zero_pfn(pte_pfn(pte))) {
			entry.kind = HMM_SWP_ZERO;
		} else if (pte_special(pte)) {
			entry.kind = HMM_SWP_OTHER;
		} else {
			entry.kind = HMM_SWP_PAGE;
			entry.pfn = pte_pfn(pte);
		}
		return entry;
	}

	return hmm_swp_from_leaf(softleaf_from_pte(pte));
}
EXPORT_SYMBOL_IF_KUNIT(hmm_swp_from_pte);

/**
 * hmm_swp_from_pmd - decode an entry for a huge page that is not present
 * @pmd: entry, of the level above
 *
 * Context: any.
 * Return: what it stands for; the page frame is that of the first page.
 */
struct hmm_swp_entry hmm_swp_from_pmd(pmd_t pmd)
{
	return hmm_swp_from_leaf(softleaf_from_pmd(pmd));
}
EXPORT_SYMBOL_IF_KUNIT(hmm_swp_from_pmd);

static struct hmm_swp_entry hmm_swp_walk(struct mm_struct *mm, unsigned long addr,
					 bool *huge)
{
	static const struct hmm_swp_entry none = { .kind = HMM_SWP_NONE };
	pgd_t *pgdp = pgd_offset(mm, addr), pgd = READ_ONCE(*pgdp);
	p4d_t *p4dp, p4d;
	pud_t *pudp, pud;
	pmd_t *pmdp, pmd;

	if (pgd_none(pgd))
		return none;
	p4dp = p4d_offset_lockless(pgdp, pgd, addr);
	p4d = READ_ONCE(*p4dp);
	if (p4d_none(p4d))
		return none;
	pudp = pud_offset_lockless(p4dp, p4d, addr);
	pud = READ_ONCE(*pudp);
	if (pud_none(pud))
		return none;
	if (!pud_present(pud) || pud_leaf(pud))
		return (struct hmm_swp_entry) { .kind = HMM_SWP_OTHER };
	pmdp = pmd_offset_lockless(pudp, pud, addr);
	pmd = pmdp_get_lockless(pmdp);
	if (pmd_none(pmd))
		return none;
	if (!pmd_present(pmd)) {
		struct hmm_swp_entry entry = hmm_swp_from_pmd(pmd);

		*huge = true;
		if (entry.pfn)
			entry.pfn += (addr & ~PMD_MASK) >> PAGE_SHIFT;
		return entry;
	}
	if (pmd_leaf(pmd)) {
		*huge = true;
		return (struct hmm_swp_entry) {
			.kind = HMM_SWP_PAGE,
			.pfn = pmd_pfn(pmd) + ((addr & ~PMD_MASK) >> PAGE_SHIFT),
		};
	}
	return hmm_swp_from_pte(ptep_get_lockless(pte_offset_kernel(&pmd, addr)));
}

/*
 * Is there the table that has the entry of the huge page, or leads to it?  Both do not go as
 * long as a VMA is there.
 */
static bool hmm_swp_has_table(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgdp = pgd_offset(mm, addr), pgd = READ_ONCE(*pgdp);
	p4d_t *p4dp, p4d;
	pud_t *pudp;

	if (pgd_none(pgd))
		return false;
	p4dp = p4d_offset_lockless(pgdp, pgd, addr);
	p4d = READ_ONCE(*p4dp);
	if (p4d_none(p4d))
		return false;
	pudp = pud_offset_lockless(p4dp, p4d, addr);
	return !pud_none(READ_ONCE(*pudp));
}

/**
 * hmm_swp_make_table - see to it that notifiers hear of mprotect()
 * @mm: address space
 * @addr: address in one of its VMAs, but not of hugetlb or of a device
 *
 * Where the CPU has never touched anything there is no page table, and mprotect() tells
 * nobody of what has no entry in the table above that of huge pages.  That is as it should
 * be for who maps what the CPU maps.  Who maps something else has to make the table first.
 * It stays as long as the mapping, or mremap() tells that it is taken away.
 *
 * Context: mmap_lock held, may sleep.
 * Return: true: it is there; false: no memory.
 */
bool hmm_swp_make_table(struct mm_struct *mm, unsigned long addr)
{
	mmap_assert_locked(mm);
	return hmm_swp_has_table(mm, addr) ||
	       !apply_to_page_range(mm, addr & PAGE_MASK, PAGE_SIZE, NULL, NULL);
}

/* The page may be split off a huge one, or freed, just now, and have no pagemap yet. */
static const void *hmm_swp_owner(const struct page *page)
{
	struct dev_pagemap *pgmap = page_pgmap(page);

	return pgmap ? pgmap->owner : NULL;
}

static bool hmm_swp_is_shared(const struct hmm_swp_place *place, unsigned long addr)
{
	unsigned long i = (addr & ~PMD_MASK) >> PAGE_SHIFT;

	return place->huge && !hmm_swp_is_exclusive(pfn_to_page(place->entry.pfn - i));
}

/**
 * hmm_swp_look - see what is at an address
 * @mm: address space
 * @addr: address in one of its VMAs, but not of hugetlb or of a device
 * @place: what is there
 *
 * Context: mmap_lock held.  Does not sleep.
 */
void hmm_swp_look(struct mm_struct *mm, unsigned long addr, struct hmm_swp_place *place)
{
	unsigned long flags;
	struct folio *folio;

	mmap_assert_locked(mm);
	*place = (struct hmm_swp_place) {};
	local_irq_save(flags);
	place->entry = hmm_swp_walk(mm, addr, &place->huge);
	if (place->entry.kind == HMM_SWP_PAGE) {
		folio = page_folio(hmm_swp_to_page(place->entry));
		place->anon = folio_test_anon(folio);
		place->large = folio_test_large(folio);
		place->ksm = folio_test_ksm(folio);
		place->shared = place->anon && hmm_swp_is_shared(place, addr);
		if (folio_is_device_coherent(folio)) {
			place->entry.kind = HMM_SWP_COHERENT;
			place->owner = hmm_swp_owner(&folio->page);
		}
	} else if (hmm_swp_is_private(place->entry)) {
		place->owner = hmm_swp_owner(hmm_swp_to_page(place->entry));
		place->shared = hmm_swp_is_shared(place, addr);
	}
	local_irq_restore(flags);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_swp_look);

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What one entry of the CPU's page table stands for, as a type of its own.
 *
 * An entry is decoded once, into a kind and a page frame; nothing else in the core
 * looks at the bits of a special entry.
 */
#ifndef _HMM_SWP_ENTRY_H
#define _HMM_SWP_ENTRY_H

#include <linux/leafops.h>
#include <linux/mm.h>
#include <linux/pgtable.h>

/**
 * enum hmm_swp_kind - kinds of entries
 * @HMM_SWP_NONE: nothing is there yet; or a marker in its place
 * @HMM_SWP_ZERO: the CPU reads the page of zeroes there; nothing was written yet
 * @HMM_SWP_PAGE: a page that the CPU maps
 * @HMM_SWP_SWAPPED: swapped out
 * @HMM_SWP_MOVING: somebody is moving the page just now
 * @HMM_SWP_COHERENT: a page in memory of a device that the CPU maps
 * @HMM_SWP_PRIVATE_READ: a page in memory of a device that the CPU cannot reach
 * @HMM_SWP_PRIVATE_WRITE: the same, and the process may write to it
 * @HMM_SWP_EXCLUSIVE: a page in system memory that a device has to itself
 * @HMM_SWP_OTHER: a page with a memory error, a page without struct page, or something
 *	that is not known here
 */
enum hmm_swp_kind {
	HMM_SWP_NONE,
	HMM_SWP_ZERO,
	HMM_SWP_PAGE,
	HMM_SWP_SWAPPED,
	HMM_SWP_MOVING,
	HMM_SWP_COHERENT,
	HMM_SWP_PRIVATE_READ,
	HMM_SWP_PRIVATE_WRITE,
	HMM_SWP_EXCLUSIVE,
	HMM_SWP_OTHER,
};

/**
 * struct hmm_swp_entry - a decoded entry
 * @kind: what it is
 * @pfn: of its page; 0 for kinds that have none, and for the page of zeroes
 */
struct hmm_swp_entry {
	enum hmm_swp_kind kind;
	unsigned long pfn;
};

/**
 * hmm_swp_mk_private - entry for a page in memory of a device
 * @page: device-private page
 * @write: the process may write to it
 *
 * Return: the entry.
 */
static inline struct hmm_swp_entry hmm_swp_mk_private(const struct page *page, bool write)
{
	return (struct hmm_swp_entry) {
		.kind = write ? HMM_SWP_PRIVATE_WRITE : HMM_SWP_PRIVATE_READ,
		.pfn = page_to_pfn(page),
	};
}

/**
 * hmm_swp_is_private - is it a page in memory of a device?
 * @entry: entry
 *
 * Return: true if it is.
 */
static inline bool hmm_swp_is_private(struct hmm_swp_entry entry)
{
	return entry.kind == HMM_SWP_PRIVATE_READ || entry.kind == HMM_SWP_PRIVATE_WRITE;
}

/**
 * hmm_swp_to_page - the page of an entry
 * @entry: entry of a kind that has one
 *
 * Return: its page.
 */
static inline struct page *hmm_swp_to_page(struct hmm_swp_entry entry)
{
	return pfn_to_page(entry.pfn);
}

/**
 * hmm_swp_to_pte - encode
 * @entry: entry made by hmm_swp_mk_private()
 *
 * Return: what stands in the page table for it.
 */
static inline pte_t hmm_swp_to_pte(struct hmm_swp_entry entry)
{
	if (entry.kind == HMM_SWP_PRIVATE_WRITE)
		return softleaf_to_pte(make_writable_device_private_entry(entry.pfn));
	return softleaf_to_pte(make_readable_device_private_entry(entry.pfn));
}

struct hmm_swp_entry hmm_swp_from_pte(pte_t pte);
struct hmm_swp_entry hmm_swp_from_pmd(pmd_t pmd);

/**
 * hmm_swp_is_exclusive - is a huge page certainly mapped by one process only?
 * @head: the first page of an anonymous huge page, that may be freed at any time
 *
 * Return: true if it is, or was; true on kernels that do not move huge pages as one.
 */
static inline bool hmm_swp_is_exclusive(const struct page *head)
{
#ifdef HMM_HAVE_MIGRATE_VMA_COMPOUND
	/* PageAnonExclusive() wants it to be anonymous still. */
	return test_bit(PG_anon_exclusive, &head->flags.f);
#else
	return true;
#endif
}

/**
 * struct hmm_swp_place - what is at an address, as seen without a lock
 * @entry: the entry
 * @huge: it is an entry of PMD_SIZE
 * @shared: it is one, of an anonymous page that other processes may map, too
 * @anon: HMM_SWP_PAGE: the page is anonymous, and so the process's own
 * @large: HMM_SWP_PAGE: the page is part of a larger folio
 * @ksm: HMM_SWP_PAGE: it is shared by KSM
 * @owner: of the device's memory, for the private kinds and HMM_SWP_COHERENT
 */
struct hmm_swp_place {
	struct hmm_swp_entry entry;
	bool huge;
	bool shared;
	bool anon;
	bool large;
	bool ksm;
	const void *owner;
};

void hmm_swp_look(struct mm_struct *mm, unsigned long addr, struct hmm_swp_place *place);
bool hmm_swp_make_table(struct mm_struct *mm, unsigned long addr);

#endif /* _HMM_SWP_ENTRY_H */

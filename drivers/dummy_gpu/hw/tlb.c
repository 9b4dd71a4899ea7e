// SPDX-License-Identifier: GPL-2.0
/*
 * TLB: a set-associative cache of translations, one per engine.
 *
 * It owns its entries and is guarded by the engine's lock.  Entries of 4 KiB and
 * 2 MiB pages share the array; a look-up tries the small page first, so where a driver
 * splits a large page the newer, smaller translation is the one found.
 *
 * The principle: an entry lives until it is invalidated or displaced, whatever happens
 * to the page table.  It keeps the rights and the dirty state as they were when it was
 * filled.  An entry that lacks a right is no verdict, though: the walker looks again,
 * so a driver that gives more rights need not flush, and one that takes rights away
 * must.
 */
#include "units.h"

#define DGPU_TLB_MAX_WAYS	4

static struct dgpu_tlb_entry *dgpu_tlb_set(struct dgpu_tlb *tlb, unsigned int asid, u64 page)
{
	/* Contexts tend to use the same addresses: spread them over the sets. */
	u64 hash = page + (u64)asid * 0x9e3779b1u;

	return &tlb->entries[(hash & (tlb->sets - 1)) * tlb->ways];
}

static unsigned int dgpu_tlb_shift(bool huge)
{
	return huge ? DGPU_HUGE_SHIFT : DGPU_PAGE_SHIFT;
}

static bool dgpu_tlb_is_huge(const struct dgpu_tlb_entry *entry)
{
	return entry->flags & DGPU_TR_HUGE;
}

static struct dgpu_tlb_entry *dgpu_tlb_find(struct dgpu_tlb *tlb, unsigned int asid,
					    u64 page, bool huge)
{
	struct dgpu_tlb_entry *set = dgpu_tlb_set(tlb, asid, page);
	unsigned int i;

	for (i = 0; i < tlb->ways; i++) {
		if (set[i].valid && set[i].page == page && set[i].asid == asid &&
		    dgpu_tlb_is_huge(&set[i]) == huge)
			return &set[i];
	}
	return NULL;
}

/**
 * dgpu_tlb_init - make an empty TLB
 * @tlb: the TLB
 * @entries: memory for its entries, or NULL if there are none
 * @nr: number of entries: a power of two, or 0 for no TLB at all
 */
void dgpu_tlb_init(struct dgpu_tlb *tlb, struct dgpu_tlb_entry *entries, unsigned int nr)
{
	memset(tlb, 0, sizeof(*tlb));
	tlb->entries = entries;
	tlb->ways = min_t(unsigned int, nr, DGPU_TLB_MAX_WAYS);
	tlb->sets = nr ? nr / tlb->ways : 0;
	dgpu_tlb_flush(tlb);
}

/**
 * dgpu_tlb_lookup - find a translation that allows an access
 * @tlb: the TLB
 * @asid: context
 * @va: address
 * @access: DGPU_ACCESS_*
 * @tr: the translation, if one was found
 *
 * Counts a hit or a miss.
 *
 * Return: true if there is one.  One that does not allow the access counts as a miss.
 */
bool dgpu_tlb_lookup(struct dgpu_tlb *tlb, unsigned int asid, u64 va, u32 access,
		     struct dgpu_translation *tr)
{
	struct dgpu_tlb_entry *entry = NULL;

	if (tlb->sets) {
		entry = dgpu_tlb_find(tlb, asid, va >> DGPU_PAGE_SHIFT, false);
		if (!entry)
			entry = dgpu_tlb_find(tlb, asid, va >> DGPU_HUGE_SHIFT, true);
	}
	if (entry) {
		tr->frame = entry->frame;
		tr->flags = entry->flags;
		if (dgpu_translation_allows(tr, access)) {
			tlb->hits++;
			return true;
		}
	}
	tlb->misses++;
	return false;
}

/**
 * dgpu_tlb_insert - keep a translation
 * @tlb: the TLB
 * @asid: context
 * @va: an address that it translates
 * @tr: the translation
 *
 * Replaces what the TLB has for @va in either page size; displaces another entry if
 * the set is full.
 */
void dgpu_tlb_insert(struct dgpu_tlb *tlb, unsigned int asid, u64 va,
		     const struct dgpu_translation *tr)
{
	bool huge = tr->flags & DGPU_TR_HUGE;
	u64 page = va >> dgpu_tlb_shift(huge);
	struct dgpu_tlb_entry *entry, *set;
	unsigned int i;

	if (!tlb->sets)
		return;

	/* Two answers for one address would make the older one come back later. */
	entry = dgpu_tlb_find(tlb, asid, va >> dgpu_tlb_shift(!huge), !huge);
	if (entry)
		entry->valid = false;

	entry = dgpu_tlb_find(tlb, asid, page, huge);
	if (!entry) {
		set = dgpu_tlb_set(tlb, asid, page);
		for (i = 0; i < tlb->ways && set[i].valid; i++)
			;
		if (i == tlb->ways)
			i = tlb->clock++ % tlb->ways;
		entry = &set[i];
	}
	entry->page = page;
	entry->frame = tr->frame;
	entry->asid = asid;
	entry->flags = tr->flags;
	entry->valid = true;
}

/* Drop the entries of one page size whose page number is in [first, last]. */
static void dgpu_tlb_drop(struct dgpu_tlb *tlb, unsigned int asid, u64 first, u64 last,
			  bool huge)
{
	struct dgpu_tlb_entry *entry;
	unsigned int i;
	u64 page;

	/* Few pages: probe for each.  Many: go through the entries once. */
	if (last - first < tlb->sets / 2) {
		for (page = first; page <= last; page++) {
			entry = dgpu_tlb_find(tlb, asid, page, huge);
			if (entry)
				entry->valid = false;
		}
		return;
	}
	for (i = 0; i < tlb->sets * tlb->ways; i++) {
		entry = &tlb->entries[i];
		if (entry->asid == asid && dgpu_tlb_is_huge(entry) == huge &&
		    entry->page >= first && entry->page <= last)
			entry->valid = false;
	}
}

/**
 * dgpu_tlb_invalidate - drop translations of a range
 * @tlb: the TLB
 * @asid: context
 * @start: first byte
 * @end: first byte after the range; the last byte of the address space cannot be named
 *	by it and needs dgpu_tlb_flush()
 *
 * Every entry that translates any byte of [@start, @end) goes.  An empty or inverted
 * range drops nothing.
 */
void dgpu_tlb_invalidate(struct dgpu_tlb *tlb, unsigned int asid, u64 start, u64 end)
{
	u64 last = end - 1;

	if (!tlb->sets || start >= end)
		return;
	dgpu_tlb_drop(tlb, asid, start >> DGPU_PAGE_SHIFT, last >> DGPU_PAGE_SHIFT, false);
	dgpu_tlb_drop(tlb, asid, start >> DGPU_HUGE_SHIFT, last >> DGPU_HUGE_SHIFT, true);
}

/**
 * dgpu_tlb_flush - drop every translation of every context
 * @tlb: the TLB
 */
void dgpu_tlb_flush(struct dgpu_tlb *tlb)
{
	unsigned int i;

	for (i = 0; i < tlb->sets * tlb->ways; i++)
		tlb->entries[i].valid = false;
}

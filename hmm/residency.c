// SPDX-License-Identifier: GPL-2.0
/*
 * Residency: where pages are, and what a device may do with them.
 *
 * The CPU's page table says where a page is and what is allowed, the notes say for how long
 * and how often it has moved.  Nothing is faulted in and nothing moves; pages are looked at
 * one after the other, and what was looked at may be elsewhere by now.
 *
 * There are two looks at a page.  hmm_range_fault() knows rights and sizes, and hugetlb; but
 * it does not tell a hole from a page that is swapped out or on another device, which
 * hmm_swp_look() does.  What they see is of two moments.
 *
 * States: none.  Locks: mmap_lock while the page table is read; the update lock of the
 * block while the notes are.
 */
#include <linux/export.h>
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include "../rmem/pagecache_private.h"
#include "../swap_entry/entry.h"
#include "hmm_private.h"

/* Pages that are looked at in one go. */
#define HMM_RESIDENCY_LOOK	64

/* What is mapped, in the format of linux/hmm.h. */
static int hmm_residency_range(const struct hmm_call *call, unsigned long start,
			       unsigned long end, unsigned long *pfns)
{
	/*
	 * Nothing is done because of what is seen, so that nobody needs to know when it has
	 * become wrong: this notifier is told nothing.
	 */
	struct mmu_interval_notifier deaf = { .mm = call->hmm->mm };
	struct hmm_range range = {
		.notifier = &deaf,
		.start = start,
		.end = end,
		.hmm_pfns = pfns,
		.dev_private_owner = call->owner,
	};

	memset(pfns, 0, ((end - start) >> PAGE_SHIFT) * sizeof(*pfns));
	return hmm_range_fault(&range);
}

static void hmm_residency_set_rights(struct hmm_residency *out, unsigned long pfn)
{
	if (pfn & HMM_PFN_ERROR) {
		out->flags = HMM_RESIDENCY_DENIED;
	} else if (pfn & HMM_PFN_VALID) {
		out->flags = HMM_RESIDENCY_READ;
		if (pfn & HMM_PFN_WRITE)
			out->flags |= HMM_RESIDENCY_WRITE;
		out->order = hmm_pfn_to_map_order(pfn);
	}
}

static u8 hmm_residency_entry_place(const struct hmm_call *call,
				    const struct hmm_swp_place *place)
{
	switch (place->entry.kind) {
	case HMM_SWP_NONE:
	case HMM_SWP_ZERO:
		return HMM_PLACE_NONE;
	case HMM_SWP_PAGE:
	case HMM_SWP_EXCLUSIVE:
		return HMM_PLACE_SYSTEM;
	case HMM_SWP_COHERENT:
	case HMM_SWP_PRIVATE_READ:
	case HMM_SWP_PRIVATE_WRITE:
		return place->owner == call->owner ? HMM_PLACE_DEVICE : HMM_PLACE_OTHER;
	default:
		return HMM_PLACE_OTHER;
	}
}

/* A page of an ordinary mapping. */
static void hmm_residency_page(const struct hmm_call *call, struct vm_area_struct *vma,
			       unsigned long addr, struct hmm_residency *out)
{
	struct hmm_swp_place place;
	bool page;

	hmm_swp_look(vma->vm_mm, addr, &place);
	page = place.entry.kind == HMM_SWP_PAGE;
	/* Of huge pages, that one is nobody's. */
	if (page && place.huge && !place.anon && vma_is_anonymous(vma))
		place.entry.kind = HMM_SWP_ZERO;
	if (place.entry.kind == HMM_SWP_ZERO && out->flags & HMM_RESIDENCY_READ)
		out->flags |= HMM_RESIDENCY_ZERO;
	/* Kernels differ in what they say of a huge page that is not there just now. */
	if (!page && place.huge && vma->vm_flags & VM_READ)
		out->flags &= ~HMM_RESIDENCY_DENIED;
	out->place = hmm_residency_entry_place(call, &place);
}

/* Of hugetlb, and where a driver has mapped pages: no look but the first is to be had. */
static u8 hmm_residency_seen_place(const struct hmm_residency *out)
{
	if (out->flags & HMM_RESIDENCY_READ)
		return HMM_PLACE_SYSTEM;
	/* Where nobody may read nobody has looked. */
	return out->flags & HMM_RESIDENCY_DENIED ? HMM_PLACE_OTHER : HMM_PLACE_NONE;
}

/*
 * Of a file whose pages may be on devices: what is on this one, the page table does not say.
 * What is on its way is elsewhere, and so is what another one owns; of what that has only a
 * copy of, the page is where the page table says.
 */
static bool hmm_residency_file(const struct hmm_call *call, struct vm_area_struct *vma,
			       unsigned long addr, struct hmm_residency *out)
{
	enum hmm_page_place place = HMM_PLACE_NONE;
	unsigned long pfn = 0;

	if (hmm_pagecache_knows(vma))
		place = hmm_pagecache_place(vma, addr, call->rmem, &pfn);
	if (place == HMM_PLACE_NONE)
		return false;
	out->place = place;
	if (vma->vm_flags & VM_READ) {
		out->flags = 0;
		out->order = 0;
		hmm_residency_set_rights(out, pfn);
	}
	return true;
}

static void hmm_residency_vma(const struct hmm_call *call, struct vm_area_struct *vma,
			      unsigned long start, unsigned long end,
			      struct hmm_residency *out)
{
	unsigned long addr;

	for (addr = start; addr < end; addr += PAGE_SIZE, out++) {
		if (is_vm_hugetlb_page(vma) || vma->vm_flags & VM_SPECIAL)
			out->place = hmm_residency_seen_place(out);
		else if (!hmm_residency_file(call, vma, addr, out))
			hmm_residency_page(call, vma, addr, out);
	}
}

/* What is outside of any mapping stays HMM_PLACE_NONE. */
static int hmm_residency_look(const struct hmm_call *call, unsigned long start,
			      unsigned long end, struct hmm_residency *out)
{
	unsigned long pfns[HMM_RESIDENCY_LOOK];
	struct mm_struct *mm = call->hmm->mm;
	struct vm_area_struct *vma;
	struct vma_iterator vmi;
	unsigned long from, i;
	int ret;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	ret = hmm_residency_range(call, start, end, pfns);
	if (ret)
		goto out_unlock;
	for (i = 0; i < (end - start) >> PAGE_SHIFT; i++)
		hmm_residency_set_rights(&out[i], pfns[i]);
	vma_iter_init(&vmi, mm, start);
	for_each_vma_range(vmi, vma, end) {
		from = max(vma->vm_start, start);
		hmm_residency_vma(call, vma, from, min(vma->vm_end, end),
				  out + ((from - start) >> PAGE_SHIFT));
	}
out_unlock:
	mmap_read_unlock(mm);
	return ret;
}

/* At most one area. */
static int hmm_residency_area(const struct hmm_call *call, unsigned long start,
			      unsigned long end, struct hmm_residency *out)
{
	struct hmm_block *block;
	unsigned long addr, next;
	int ret;

	memset(out, 0, ((end - start) >> PAGE_SHIFT) * sizeof(*out));
	for (addr = start; addr < end; addr = next) {
		next = min(end, addr + (HMM_RESIDENCY_LOOK << PAGE_SHIFT));
		if (fatal_signal_pending(current))
			return -EINTR;
		ret = hmm_residency_look(call, addr, next,
					 out + ((addr - start) >> PAGE_SHIFT));
		if (ret)
			return ret;
	}
	block = hmm_block_find(call->hmm, start);
	if (!block)
		return 0;
	mutex_lock(&block->lock);
	for (addr = start; addr < end; addr += PAGE_SIZE)
		hmm_notes_look(block, addr, &out[(addr - start) >> PAGE_SHIFT]);
	mutex_unlock(&block->lock);
	hmm_block_put(block);
	return 0;
}

/**
 * hmm_mirror_residency - where are the pages, and what may the device do with them?
 * @mirror: mirror whose device is asked
 * @start: address of the first page
 * @out: what is known of each
 * @npages: their number
 *
 * Pages of hugetlb, and those that a driver has mapped, are HMM_PLACE_SYSTEM, or
 * HMM_PLACE_OTHER where the mapping cannot be read or has something else than pages.
 *
 * The flags say what the page table does: hmm_mirror_fault() refuses some mappings that it
 * lets the CPU read, secret memory for one.
 *
 * Context: Process context, may sleep; no lock held that an operation of the driver
 * takes, no mm lock; not from an operation.
 * Return: 0; -EINVAL a bad range; -ENODEV, -ESRCH as hmm_mirror_fault(); -EINTR killed.
 */
int hmm_mirror_residency(struct hmm_mirror *mirror, unsigned long start,
			 struct hmm_residency *out, unsigned long npages)
{
	unsigned long size, end, next;
	struct hmm_call call;
	int ret;

	if (!PAGE_ALIGNED(start) || !npages ||
	    check_mul_overflow(npages, PAGE_SIZE, &size) ||
	    check_add_overflow(start, size, &end))
		return -EINVAL;
	ret = hmm_call_begin(&call, mirror);
	if (ret)
		return ret;
	for (; start < end && !ret; start = next) {
		next = min(end, ALIGN_DOWN(start, HMM_AREA_SIZE) + HMM_AREA_SIZE);
		ret = hmm_residency_area(&call, start, next, out);
		out += (next - start) >> PAGE_SHIFT;
		cond_resched();
	}
	hmm_call_end(&call);
	return ret;
}
EXPORT_SYMBOL_NS(hmm_mirror_residency, "HMM");

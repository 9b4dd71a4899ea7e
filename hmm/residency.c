// SPDX-License-Identifier: GPL-2.0
/*
 * Residency: where pages are.
 *
 * The CPU's page table says where a page is, the notes say for how long and how often it
 * has moved.  Nothing is faulted in and nothing moves; pages are looked at one after the
 * other, and what was looked at may be elsewhere by now.
 *
 * States: none.  Locks: mmap_lock while the page table is read; the update lock of the
 * block while the notes are.
 */
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include "../swap_entry/entry.h"
#include "hmm_private.h"

static u32 hmm_residency_place(const struct hmm_call *call, unsigned long addr)
{
	struct hmm_swp_place place;

	hmm_swp_look(call->hmm->mm, addr, &place);
	switch (place.entry.kind) {
	case HMM_SWP_NONE:
	case HMM_SWP_ZERO:
		return HMM_PLACE_NONE;
	case HMM_SWP_PAGE:
	case HMM_SWP_EXCLUSIVE:
		return HMM_PLACE_SYSTEM;
	case HMM_SWP_PRIVATE_READ:
	case HMM_SWP_PRIVATE_WRITE:
		return place.owner == call->owner ? HMM_PLACE_DEVICE : HMM_PLACE_OTHER;
	default:
		return HMM_PLACE_OTHER;
	}
}

/* What is outside of any mapping stays HMM_PLACE_NONE. */
static int hmm_residency_look(const struct hmm_call *call, unsigned long start,
			      unsigned long end, struct hmm_residency *out)
{
	struct mm_struct *mm = call->hmm->mm;
	struct vm_area_struct *vma;
	struct vma_iterator vmi;
	unsigned long addr, to;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma_iter_init(&vmi, mm, start);
	for_each_vma_range(vmi, vma, end) {
		to = min(vma->vm_end, end);
		for (addr = max(vma->vm_start, start); addr < to; addr += PAGE_SIZE)
			out[(addr - start) >> PAGE_SHIFT].place =
				vma->vm_flags & (VM_HUGETLB | VM_SPECIAL) ?
				HMM_PLACE_OTHER : hmm_residency_place(call, addr);
	}
	mmap_read_unlock(mm);
	return 0;
}

/* At most one area. */
static int hmm_residency_area(const struct hmm_call *call, unsigned long start,
			      unsigned long end, struct hmm_residency *out)
{
	struct hmm_block *block;
	unsigned long addr;
	int ret;

	memset(out, 0, ((end - start) >> PAGE_SHIFT) * sizeof(*out));
	if (fatal_signal_pending(current))
		return -EINTR;
	ret = hmm_residency_look(call, start, end, out);
	if (ret)
		return ret;
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
 * hmm_mirror_residency - where are the pages?
 * @mirror: mirror whose device is asked
 * @start: address of the first page
 * @out: what is known of each
 * @npages: their number
 *
 * Pages of hugetlb, and of mappings of devices, are HMM_PLACE_OTHER.
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

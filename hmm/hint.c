// SPDX-License-Identifier: GPL-2.0
/*
 * Hints from the program: checked here, kept by notes.c, heeded by policy.c and run.c.
 *
 * A hint is for what is mapped.  That is checked for the whole range before anything is
 * changed, and again for each block, under the mmap_lock that it is noted under:
 *
 *	set_hint			munmap
 *	mmap_lock, it is mapped
 *					mmap_lock for writing: waits
 *	 notes it
 *	unlock
 *					takes the VMA out
 *					UNMAP event: drops the note
 *
 * States: none.  Locks: mmap_lock, and the update lock inside of it.
 */
#include <linux/export.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include "hmm_private.h"

/* Is the whole range mapped? */
static bool hmm_hint_is_mapped(struct mm_struct *mm, unsigned long start,
			       unsigned long end)
{
	struct vm_area_struct *vma;
	struct vma_iterator vmi;

	mmap_assert_locked(mm);
	vma_iter_init(&vmi, mm, start);
	for_each_vma_range(vmi, vma, end) {
		if (vma->vm_start > start)
			return false;
		start = vma->vm_end;
	}
	return start >= end;
}

static int hmm_hint_check(const struct hmm_hint *hint)
{
	unsigned long granularity = hint->granularity;

	if (hint->flags & ~HMM_HINT_ALL || hint->prefer > HMM_PREFER_DEVICE)
		return -EINVAL;
	if (hint->prefer == HMM_PREFER_DEVICE ? !hint->device : !!hint->device)
		return -EINVAL;
	if (granularity && (!is_power_of_2(granularity) || granularity < PAGE_SIZE ||
			    granularity > PMD_SIZE))
		return -EINVAL;
	if (hint->flags & HMM_HINT_AUTO &&
	    (hint->flags & (HMM_HINT_NO_AUTO | HMM_HINT_IN_PLACE)))
		return -EINVAL;
	if (hint->flags & HMM_HINT_IN_PLACE &&
	    (granularity || hint->prefer == HMM_PREFER_DEVICE))
		return -EINVAL;
	return 0;
}

/* Note it for [start, end), all in one area. */
static int hmm_hint_set(struct hmm_mm *hmm, unsigned long start, unsigned long end,
			const struct hmm_note_hint *note)
{
	struct hmm_block *block;
	int ret;

	block = hmm_block_get(hmm, start);
	if (IS_ERR(block))
		return PTR_ERR(block);
	if (mmap_read_lock_killable(hmm->mm)) {
		ret = -EINTR;
	} else {
		ret = -EFAULT;
		if (hmm_hint_is_mapped(hmm->mm, start, end))
			ret = hmm_notes_set_hint(block, start, end, note);
		mmap_read_unlock(hmm->mm);
	}
	/* Devices may have been told that atomic operations are fine here. */
	if (!ret && note->flags & HMM_HINT_EXCLUSIVE)
		hmm_block_forget(block, start, end);
	hmm_block_put(block);
	return ret;
}

/**
 * hmm_mirror_set_hint - say how to treat a range of addresses
 * @mirror: mirror of the process
 * @start: first byte, page aligned
 * @end: first byte after it, page aligned, above @start
 * @hint: the hint; all zero: none
 *
 * Replaces what was said of the range before, for all devices of the process.  Hints stay
 * with the addresses while they are mapped, and as long as the process is mirrored.
 * Pages do not move by this call.
 *
 * Context: Process context, may sleep; no lock held that an operation of the driver
 * takes, no mm lock; not from an operation.
 * Return: 0; -EINVAL a bad range, a bad hint, or one that contradicts itself (see
 * uapi/hmm_memory.h); -EFAULT a part of the range is not mapped; -ENODEV; -ESRCH; then
 * nothing has changed.  -ENOMEM, -EINTR, or -EFAULT after another thread has unmapped a
 * part meanwhile: the hint may have been noted for a part.
 */
int hmm_mirror_set_hint(struct hmm_mirror *mirror, unsigned long start,
			unsigned long end, const struct hmm_hint *hint)
{
	struct hmm_note_hint note = {
		.flags = hint->flags,
		.prefer = hint->prefer,
		.device = hint->device ? hint->device->id : 0,
		.granularity = hint->granularity ? ilog2(hint->granularity) : 0,
	};
	struct hmm_call call;
	unsigned long next;
	int ret;

	if (!PAGE_ALIGNED(start) || !PAGE_ALIGNED(end) || start >= end)
		return -EINVAL;
	ret = hmm_hint_check(hint);
	if (ret)
		return ret;
	ret = hmm_call_begin(&call, mirror);
	if (ret)
		return ret;
	if (mmap_read_lock_killable(call.hmm->mm)) {
		ret = -EINTR;
	} else {
		if (!hmm_hint_is_mapped(call.hmm->mm, start, end))
			ret = -EFAULT;
		mmap_read_unlock(call.hmm->mm);
	}
	for (; start < end && !ret; start = next) {
		next = min(end, ALIGN_DOWN(start, HMM_AREA_SIZE) + HMM_AREA_SIZE);
		ret = hmm_hint_set(call.hmm, start, next, &note);
		cond_resched();
	}
	hmm_call_end(&call);
	return ret;
}
EXPORT_SYMBOL_NS(hmm_mirror_set_hint, "HMM");

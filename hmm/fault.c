// SPDX-License-Identifier: GPL-2.0
/*
 * Device faults: from a batch of addresses to translations in the device.
 *
 * A batch is sorted and cut into runs: neighbouring pages of one block, at most one
 * PMD's worth, which run.c serves one after the other.  Each fault has its own result.
 *
 * States: none.  Locks: none in this file.
 */
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include "fault_private.h"

static int hmm_fault_result(const struct hmm_fault_run *run, unsigned long addr,
			    u32 access)
{
	const struct hmm_fault_page *page = &run->pages[(addr - run->start) >> PAGE_SHIFT];

	if (page->error || access == HMM_FAULT_READ)
		return page->error;
	if (page->write_error || access == HMM_FAULT_WRITE)
		return page->write_error;
	return page->atomic_error;
}

/**
 * hmm_fault_limit - first address that a device cannot reach in an address space
 * @mirror: mirror
 *
 * Return: the address.
 */
unsigned long hmm_fault_limit(const struct hmm_mirror *mirror)
{
	return min(mirror->mm->task_size, 1UL << mirror->device->caps.va_bits);
}

static struct hmm_fault_run *hmm_fault_begin(struct hmm_mirror *mirror)
{
	struct hmm_fault_run *run;
	int ret;

	run = kmalloc(sizeof(*run), GFP_KERNEL);
	if (!run)
		return ERR_PTR(-ENOMEM);
	ret = hmm_call_begin(&run->call, mirror);
	if (ret) {
		kfree(run);
		return ERR_PTR(ret);
	}
	return run;
}

static void hmm_fault_end(struct hmm_fault_run *run)
{
	hmm_call_end(&run->call);
	kfree(run);
}

static int hmm_fault_cmp(const void *a, const void *b)
{
	const struct hmm_fault *fa = a, *fb = b;

	return fa->addr < fb->addr ? -1 : fa->addr > fb->addr;
}

/*
 * Make a run of the first fault and those that follow it closely.  Returns how many
 * it took; run->nr is 0 if the first is out of reach.
 */
static unsigned int hmm_fault_gather(struct hmm_fault_run *run,
				     const struct hmm_fault *faults, unsigned int nr)
{
	unsigned long around = run->call.mirror->device->caps.fault_around;
	unsigned long block = run->call.hmm->block_shift;
	unsigned long start = ALIGN_DOWN(faults[0].addr, around);
	unsigned long end = start + around;
	unsigned int i, taken;

	run->nr = 0;
	if (faults[0].addr >= hmm_fault_limit(run->call.mirror))
		return 1;
	for (taken = 1; taken < nr; taken++) {
		unsigned long next = ALIGN_DOWN(faults[taken].addr, around);

		if (next < end)
			continue;
		if (next > end || next >> block != start >> block ||
		    next + around - start > HMM_FAULT_RUN_PAGES << PAGE_SHIFT ||
		    faults[taken].addr >= hmm_fault_limit(run->call.mirror))
			break;
		end = next + around;
	}
	hmm_fault_run_init(run, start, (end - start) >> PAGE_SHIFT);
	for (i = 0; i < taken; i++) {
		u8 *want = &run->pages[(faults[i].addr - start) >> PAGE_SHIFT].want;

		if (*want)
			hmm_mirror_count(run->call.mirror, HMM_STAT_FAULTS_MERGED, 1);
		if (faults[i].access <= HMM_FAULT_ATOMIC)
			*want |= BIT(faults[i].access);
	}
	return taken;
}

/**
 * hmm_mirror_fault - serve a batch of device faults
 * @mirror: mirror
 * @faults: faults, in any order, any number of them on one page.  They are sorted
 *	by address in place.
 * @nr: their number
 *
 * Each fault gets its own result in hmm_fault.error:
 *
 * * 0: the translation was written.  It may be gone again: run the access again.
 * * -EBUSY: several collisions with invalidations, for a second.  Not the program's fault:
 *   run the access again.
 * * -EFAULT: no mapping there, beyond the end of a mapped file, out of the device's
 *   or the process' reach, or a page with a memory error.  Stacks do not grow by
 *   device faults, and a userfaultfd that was made for user mode faults only
 *   (UFFD_USER_MODE_ONLY) is not asked.
 * * -EACCES: the mapping does not allow it.
 * * -EOPNOTSUPP: a mapping of device memory, secret memory, a shadow stack, or another
 *   special page; or an atomic access that needs a page for itself (HMM_HINT_EXCLUSIVE)
 *   where there can be none: shared memory, hugetlb, or a kernel without such pages.
 * * -ENOMEM: no memory for the page, or for the device's page table.
 * * -EINVAL: unknown access.
 * * -ENODEV: the mirror or the device is being unregistered.
 * * -ESRCH: the address space is gone.
 * * -EINTR: the calling thread was killed.
 * * what ops->prepare() or ops->map() returned.
 *
 * Any number of threads may serve faults on one mirror at once.  As user space can keep
 * one waiting (userfaultfd), a driver serves each mirror from a work item of its own:
 * a worker shared by processes would let one stop the others.
 *
 * Context: Process context (a kernel thread will do), may sleep for as long as user
 * space lets it (userfaultfd); no lock held that an operation of the driver takes, no
 * mm lock; not from an operation.
 * Return: 0 when each fault was looked at, otherwise the error that all of them have.
 */
int hmm_mirror_fault(struct hmm_mirror *mirror, struct hmm_fault *faults,
		     unsigned int nr)
{
	struct hmm_fault_run *run;
	unsigned int i, taken, failed = 0;
	int ret = 0;

	hmm_mirror_count(mirror, HMM_STAT_FAULTS, nr);
	run = hmm_fault_begin(mirror);
	if (IS_ERR(run)) {
		for (i = 0; i < nr; i++)
			faults[i].error = PTR_ERR(run);
		hmm_mirror_count(mirror, HMM_STAT_FAULTS_FAILED, nr);
		return PTR_ERR(run);
	}

	sort(faults, nr, sizeof(*faults), hmm_fault_cmp, NULL);
	for (; nr; faults += taken, nr -= taken) {
		taken = hmm_fault_gather(run, faults, nr);
		/* What ended one run for good ends the batch. */
		if (ret != -EINTR && ret != -ENODEV && ret != -ESRCH)
			ret = run->nr ? hmm_fault_serve(run) : -EFAULT;
		for (i = 0; i < taken; i++) {
			struct hmm_fault *fault = &faults[i];

			if (fault->access > HMM_FAULT_ATOMIC)
				fault->error = -EINVAL;
			else
				fault->error = ret ? ret : hmm_fault_result(run, fault->addr,
									    fault->access);
			failed += !!fault->error;
		}
	}
	hmm_mirror_count(mirror, HMM_STAT_FAULTS_FAILED, failed);
	hmm_fault_end(run);
	return 0;
}
EXPORT_SYMBOL_NS(hmm_mirror_fault, "HMM");

/**
 * hmm_mirror_fault_range - map a range before it is used
 * @mirror: mirror
 * @start: first byte, page aligned
 * @end: first byte after it, page aligned, above @start
 * @access: HMM_FAULT_READ, HMM_FAULT_WRITE or HMM_FAULT_ATOMIC
 *
 * Context: as hmm_mirror_fault().
 * Return: 0 when each page was mapped at some time during the call; -EINVAL for a bad
 * range or access; otherwise the first error, as for hmm_mirror_fault(): pages before
 * that one are mapped, those after it may be.
 */
int hmm_mirror_fault_range(struct hmm_mirror *mirror, unsigned long start,
			   unsigned long end, u32 access)
{
	struct hmm_fault_run *run;
	unsigned long next, i;
	int ret = 0;

	if (!PAGE_ALIGNED(start) || !PAGE_ALIGNED(end) || start >= end ||
	    access > HMM_FAULT_ATOMIC)
		return -EINVAL;
	run = hmm_fault_begin(mirror);
	if (IS_ERR(run))
		return PTR_ERR(run);

	while (start < end && !ret) {
		if (start >= hmm_fault_limit(mirror)) {
			ret = -EFAULT;
			break;
		}
		next = min(end, ALIGN_DOWN(start, PMD_SIZE) + PMD_SIZE);
		hmm_fault_run_init(run, start, (next - start) >> PAGE_SHIFT);
		for (i = 0; i < run->nr; i++)
			run->pages[i].want = BIT(access);
		ret = hmm_fault_serve(run);
		for (; start < next && !ret; start += PAGE_SIZE)
			ret = hmm_fault_result(run, start, access);
	}
	hmm_fault_end(run);
	return ret;
}
EXPORT_SYMBOL_NS(hmm_mirror_fault_range, "HMM");

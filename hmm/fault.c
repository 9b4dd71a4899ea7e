// SPDX-License-Identifier: GPL-2.0
/*
 * Device faults: from a batch of addresses to translations in the device.
 *
 * A batch is sorted and cut into runs: neighbouring pages of one block, at most one
 * PMD's worth.  A run is served so:
 *
 *   prepare   the driver allocates page table pages; no lock
 *   look      the VMAs and the CPU's page table, under mmap_lock, changing nothing
 *   fault in  only the pages that were asked for and are missing; drops mmap_lock
 *             while it waits for a disk or for a userfaultfd handler; then look again
 *   commit    under the block's update lock, if no invalidation came in between
 *
 * The principle: every lock is dropped before anything is tried again, and the time
 * that is spent on collisions is bounded.  A fault that waits for user space waits
 * without any lock and without any reference on the mirror.
 *
 * Write is asked for only on a write fault: a device that reads breaks no COW.
 * Pages around the fault are mapped with the rights that the CPU has right now.
 */
#include <linux/export.h>
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include "hmm_private.h"
#include "trace.h"

#define HMM_FAULT_RUN_PAGES	(PMD_SIZE / PAGE_SIZE)

/* Collisions with invalidations of one block are tolerated that long. */
#define HMM_FAULT_PATIENCE	HZ

#define HMM_FAULT_BAD_VMA	(VM_IO | VM_PFNMAP | VM_MIXEDMAP)

/**
 * struct hmm_fault_run - a run being served
 * @mirror: whose
 * @hmm: its address space, referenced by the run
 * @block: the block that @start is in, and all of the run
 * @start: first byte
 * @nr: pages
 * @seq: of the block's notifier, before anything was looked at
 * @deadline: give up after this, in jiffies
 * @retries: collisions so far
 * @pfns: what the CPU maps, in the format of linux/hmm.h
 * @want: set of BIT(HMM_FAULT_*) that were asked for; 0: mapped if it is there
 * @error: why the page cannot be mapped, 0: it can
 * @denied: it was to be written, but the VMA says no; it can be read
 */
struct hmm_fault_run {
	struct hmm_mirror *mirror;
	struct hmm_mm *hmm;
	struct hmm_block *block;
	unsigned long start;
	unsigned long nr;
	unsigned long seq;
	unsigned long deadline;
	unsigned int retries;
	unsigned long pfns[HMM_FAULT_RUN_PAGES];
	u8 want[HMM_FAULT_RUN_PAGES];
	s16 error[HMM_FAULT_RUN_PAGES];
	bool denied[HMM_FAULT_RUN_PAGES];
};

#define HMM_FAULT_WANT_WRITE	(BIT(HMM_FAULT_WRITE) | BIT(HMM_FAULT_ATOMIC))

static unsigned long hmm_fault_run_end(const struct hmm_fault_run *run)
{
	return run->start + (run->nr << PAGE_SHIFT);
}

static unsigned long hmm_fault_run_addr(const struct hmm_fault_run *run, unsigned long i)
{
	return run->start + (i << PAGE_SHIFT);
}

static void hmm_fault_run_init(struct hmm_fault_run *run, unsigned long start,
			       unsigned long nr)
{
	run->start = start;
	run->nr = nr;
	run->retries = 0;
	memset(run->want, 0, nr * sizeof(run->want[0]));
	memset(run->error, 0, nr * sizeof(run->error[0]));
	memset(run->denied, 0, nr * sizeof(run->denied[0]));
}

/* Mark the pages of [start, end) that have no error yet. */
static void hmm_fault_set_error(struct hmm_fault_run *run, unsigned long start,
				unsigned long end, int error)
{
	unsigned long i = (start - run->start) >> PAGE_SHIFT;
	unsigned long last = (end - run->start) >> PAGE_SHIFT;

	for (; i < last; i++)
		if (!run->error[i])
			run->error[i] = error;
}

static void hmm_fault_deny_write(struct hmm_fault_run *run, unsigned long start,
				 unsigned long end)
{
	unsigned long i = (start - run->start) >> PAGE_SHIFT;
	unsigned long last = (end - run->start) >> PAGE_SHIFT;

	for (; i < last; i++) {
		if (!(run->want[i] & HMM_FAULT_WANT_WRITE))
			continue;
		run->want[i] &= ~HMM_FAULT_WANT_WRITE;
		run->denied[i] = true;
	}
}

/* What do the VMAs say?  Errors stay: a page is judged when it is looked at first. */
static void hmm_fault_check_vmas(struct hmm_fault_run *run)
{
	unsigned long addr = run->start, end = hmm_fault_run_end(run);
	struct vm_area_struct *vma;
	unsigned long from, to;
	VMA_ITERATOR(vmi, run->hmm->mm, addr);

	mmap_assert_locked(run->hmm->mm);
	for_each_vma_range(vmi, vma, end) {
		from = max(addr, vma->vm_start);
		to = min(end, vma->vm_end);
		hmm_fault_set_error(run, addr, from, -EFAULT);
		if (vma->vm_flags & HMM_FAULT_BAD_VMA)
			hmm_fault_set_error(run, from, to, -EOPNOTSUPP);
		else if (!(vma->vm_flags & VM_READ))
			hmm_fault_set_error(run, from, to, -EACCES);
		else if (!(vma->vm_flags & VM_WRITE))
			hmm_fault_deny_write(run, from, to);
		addr = to;
	}
	hmm_fault_set_error(run, addr, end, -EFAULT);
}

/* Does the CPU map what was asked for? */
static bool hmm_fault_page_ready(const struct hmm_fault_run *run, unsigned long i)
{
	unsigned long pfn = run->pfns[i];

	if (!run->want[i] || run->error[i])
		return true;
	if (pfn & HMM_PFN_ERROR || !(pfn & HMM_PFN_VALID))
		return false;
	return pfn & HMM_PFN_WRITE || !(run->want[i] & HMM_FAULT_WANT_WRITE);
}

/* Read the CPU's page table, without changing anything. */
static int hmm_fault_look(struct hmm_fault_run *run)
{
	struct hmm_range range = {
		.notifier = &run->block->notifier,
		.notifier_seq = run->seq,
		.start = run->start,
		.end = hmm_fault_run_end(run),
		.hmm_pfns = run->pfns,
	};

	hmm_fault_check_vmas(run);
	memset(run->pfns, 0, run->nr * sizeof(run->pfns[0]));
	return hmm_range_fault(&range);
}

/*
 * Have the CPU's side fault in what is missing.  Returns how many pages were, or
 * -EINTR.  The mmap_lock, held on entry and on return, may have been dropped.
 */
static int hmm_fault_in(struct hmm_fault_run *run, bool again)
{
	unsigned long begun = jiffies;
	unsigned long i;
	int nr = 0, ret;

	for (i = 0; i < run->nr; i++) {
		unsigned int flags = FAULT_FLAG_REMOTE;
		bool unlocked = false;

		if (hmm_fault_page_ready(run, i))
			continue;
		if (again && run->pfns[i] & HMM_PFN_ERROR) {
			/* It faults well and still is no page: a special entry. */
			run->error[i] = -EOPNOTSUPP;
			continue;
		}
		if (!hmm_mirror_is_live(run->mirror))
			return -EINTR;
		if (run->want[i] & HMM_FAULT_WANT_WRITE)
			flags |= FAULT_FLAG_WRITE;
		ret = fixup_user_fault(run->hmm->mm, hmm_fault_run_addr(run, i), flags,
				       &unlocked);
		if (ret == -EINTR)
			return ret;
		run->error[i] = ret;
		nr++;
	}
	hmm_mirror_count(run->mirror, HMM_STAT_CPU_FAULTS, nr);
	/* Time in which user space or a disk kept us waiting is not ours. */
	run->deadline += jiffies - begun;
	return nr;
}

/* If the CPU maps a whole huge page here, put its entry for the device in @pfn. */
static bool hmm_fault_page_huge(const struct hmm_fault_run *run, unsigned long i,
				unsigned long *pfn)
{
	unsigned long entry = run->pfns[i];
	unsigned long skip = (hmm_fault_run_addr(run, i) & ~PMD_MASK) >> PAGE_SHIFT;

	if (!run->mirror->device->caps.huge ||
	    hmm_pfn_to_map_order(entry) < PMD_SHIFT - PAGE_SHIFT)
		return false;
	*pfn = entry - skip;
	return true;
}

/* Account for a mapped run: @huge entries are huge, and have @covered of its pages. */
static void hmm_fault_count(struct hmm_fault_run *run, unsigned long huge,
			    unsigned long covered)
{
	unsigned long i, valid = 0, around = 0;

	for (i = 0; i < run->nr; i++) {
		if (!(run->pfns[i] & HMM_PFN_VALID))
			continue;
		valid++;
		if (!run->want[i])
			around++;
	}
	hmm_mirror_count(run->mirror, HMM_STAT_HUGE_MAPPED, huge);
	hmm_mirror_count(run->mirror, HMM_STAT_PAGES_MAPPED, valid - covered);
	hmm_mirror_count(run->mirror, HMM_STAT_AROUND, around);
}

/* Hand the run to the driver, in pieces of one entry size. */
static int hmm_fault_map(struct hmm_fault_run *run)
{
	const struct hmm_device_ops *ops = run->mirror->device->ops;
	unsigned long i, next, pfn, nr_huge = 0, covered = 0;
	int ret;

	lockdep_assert_held(&run->block->lock);
	for (i = 0; i < run->nr; i++)
		if (run->error[i] || run->pfns[i] & HMM_PFN_ERROR)
			run->pfns[i] = 0;

	for (i = 0; i < run->nr; i = next) {
		struct hmm_map map = {
			.start = hmm_fault_run_addr(run, i),
			.nr = 1,
			.shift = PAGE_SHIFT,
			.pfns = &run->pfns[i],
		};
		bool huge = hmm_fault_page_huge(run, i, &pfn);

		if (huge) {
			map.start &= PMD_MASK;
			map.shift = PMD_SHIFT;
			map.pfns = &pfn;
			next = min(run->nr, (map.start + PMD_SIZE - run->start) >> PAGE_SHIFT);
			nr_huge++;
			covered += next - i;
		} else {
			for (next = i + 1; next < run->nr; next++)
				if (hmm_fault_page_huge(run, next, &pfn))
					break;
			map.nr = next - i;
		}
		ret = ops->map(run->mirror, &map);
		if (ret)
			return ret;
	}
	hmm_fault_count(run, nr_huge, covered);
	return 0;
}

static void hmm_fault_collided(struct hmm_fault_run *run)
{
	run->retries++;
	hmm_mirror_count(run->mirror, HMM_STAT_RETRIES, 1);
}

/*
 * Write the translations, unless an invalidation came since @seq was taken.
 * -EAGAIN: it did, or the driver needs to prepare again.
 */
static int hmm_fault_commit(struct hmm_fault_run *run)
{
	struct hmm_block *block = run->block;
	int idx, ret;

	idx = srcu_read_lock(&hmm_srcu);
	mutex_lock(&block->lock);
	if (!hmm_mirror_is_live(run->mirror)) {
		ret = -ENODEV;
	} else if (mmu_interval_read_retry(&block->notifier, run->seq)) {
		hmm_fault_collided(run);
		ret = -EAGAIN;
	} else {
		ret = hmm_fault_map(run);
	}
	mutex_unlock(&block->lock);
	srcu_read_unlock(&hmm_srcu, idx);
	return ret;
}

static int hmm_fault_prepare(struct hmm_fault_run *run)
{
	int idx, ret = -ENODEV;

	idx = srcu_read_lock(&hmm_srcu);
	if (hmm_mirror_is_live(run->mirror))
		ret = run->mirror->device->ops->prepare(run->mirror, run->start,
							hmm_fault_run_end(run));
	srcu_read_unlock(&hmm_srcu, idx);
	return ret;
}

/* One attempt.  0, -EAGAIN (no lock is held: try again), or what ends the run. */
static int hmm_fault_try(struct hmm_fault_run *run, bool again)
{
	struct mm_struct *mm = run->hmm->mm;
	int ret;

	ret = hmm_fault_prepare(run);
	if (ret)
		return ret;
	run->seq = mmu_interval_read_begin(&run->block->notifier);
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	ret = hmm_fault_look(run);
	if (!ret)
		ret = hmm_fault_in(run, again);
	mmap_read_unlock(mm);
	if (ret == -EBUSY) {
		hmm_fault_collided(run);
		return -EAGAIN;
	}
	if (ret > 0)
		return -EAGAIN;
	if (ret)
		return ret;
	return hmm_fault_commit(run);
}

/* Serve one run.  Page errors are in the run; what is returned is for all of it. */
static int hmm_fault_serve(struct hmm_fault_run *run)
{
	bool again = false;
	int ret;

	run->block = hmm_block_get(run->hmm, run->start);
	if (IS_ERR(run->block))
		return PTR_ERR(run->block);

	run->deadline = jiffies + HMM_FAULT_PATIENCE;
	while ((ret = hmm_fault_try(run, again)) == -EAGAIN) {
		again = true;
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		if (time_after(jiffies, run->deadline)) {
			ret = -EBUSY;
			break;
		}
		cond_resched();
	}
	if (ret && !hmm_mirror_is_live(run->mirror))
		ret = run->mirror->stop_error;
	hmm_block_put(run->block);
	trace_hmm_fault(run->mirror, run->start, hmm_fault_run_end(run), run->retries, ret);
	return ret;
}

static int hmm_fault_result(const struct hmm_fault_run *run, unsigned long addr,
			    u32 access)
{
	unsigned long i = (addr - run->start) >> PAGE_SHIFT;

	if (run->error[i])
		return run->error[i];
	return run->denied[i] && access != HMM_FAULT_READ ? -EACCES : 0;
}

/* First address that this device cannot reach in this address space. */
static unsigned long hmm_fault_limit(const struct hmm_mirror *mirror)
{
	return min(mirror->mm->task_size, 1UL << mirror->device->caps.va_bits);
}

/*
 * Hold what serving faults needs: the address space and what its mirrors share.  Not
 * the mirror: see hmm_mirror_unregister().
 */
static struct hmm_fault_run *hmm_fault_begin(struct hmm_mirror *mirror)
{
	struct hmm_fault_run *run;
	int idx, ret = 0;

	if (hmm_mirror_state(mirror) == HMM_MIRROR_NEW)
		return ERR_PTR(-ENODEV);
	run = kmalloc(sizeof(*run), GFP_KERNEL);
	if (!run)
		return ERR_PTR(-ENOMEM);
	run->mirror = mirror;

	/*
	 * Who sees LIVE in here has a mirror that holds its hmm_mm until after the
	 * grace period of its release; in any other state it may be gone.
	 */
	idx = srcu_read_lock(&hmm_srcu);
	if (!hmm_mirror_is_live(mirror)) {
		ret = mirror->stop_error;
	} else if (!mmget_not_zero(mirror->mm)) {
		ret = -ESRCH;
	} else {
		run->hmm = mirror->hmm;
		kref_get(&run->hmm->ref);
	}
	srcu_read_unlock(&hmm_srcu, idx);
	if (ret) {
		kfree(run);
		return ERR_PTR(ret);
	}
	return run;
}

static void hmm_fault_end(struct hmm_fault_run *run)
{
	/* If the process is gone by now, its teardown is not for this thread. */
	mmput_async(run->hmm->mm);
	hmm_mm_put(run->hmm);
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
	unsigned long around = run->mirror->device->caps.fault_around;
	unsigned long block = run->hmm->block_shift;
	unsigned long start = ALIGN_DOWN(faults[0].addr, around);
	unsigned long end = start + around;
	unsigned int i, taken;

	run->nr = 0;
	if (faults[0].addr >= hmm_fault_limit(run->mirror))
		return 1;
	for (taken = 1; taken < nr; taken++) {
		unsigned long next = ALIGN_DOWN(faults[taken].addr, around);

		if (next < end)
			continue;
		if (next > end || next >> block != start >> block ||
		    next + around - start > HMM_FAULT_RUN_PAGES << PAGE_SHIFT ||
		    faults[taken].addr >= hmm_fault_limit(run->mirror))
			break;
		end = next + around;
	}
	hmm_fault_run_init(run, start, (end - start) >> PAGE_SHIFT);
	for (i = 0; i < taken; i++) {
		u8 *want = &run->want[(faults[i].addr - start) >> PAGE_SHIFT];

		if (*want)
			hmm_mirror_count(run->mirror, HMM_STAT_FAULTS_MERGED, 1);
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
 * * -EBUSY: collisions with invalidations for a second.  Not the program's fault:
 *   run the access again.
 * * -EFAULT: no mapping there, beyond the end of a mapped file, out of the device's
 *   or the process' reach, or a page with a memory error.  Stacks do not grow by
 *   device faults.
 * * -EACCES: the mapping does not allow it.
 * * -EOPNOTSUPP: a mapping of device memory, or another special page.
 * * -ENOMEM: no memory for the page, or for the device's page table.
 * * -EINVAL: unknown access.
 * * -ENODEV: the mirror or the device is being unregistered.
 * * -ESRCH: the address space is gone.
 * * -EINTR: the calling thread was killed.
 * * what ops->prepare() or ops->map() returned.
 *
 * Any number of threads may serve faults on one mirror at once.
 *
 * Context: Process context (a kernel thread will do), may sleep for as long as user
 * space lets it (userfaultfd); no lock held that an operation of the driver takes, no
 * mm lock.
 * Return: 0 when each fault was looked at, otherwise the error that all of them have.
 */
int hmm_mirror_fault(struct hmm_mirror *mirror, struct hmm_fault *faults,
		     unsigned int nr)
{
	struct hmm_fault_run *run;
	unsigned int i, taken, failed = 0;
	int ret = 0;

	for (i = 0; i < nr; i++)
		if (faults[i].access > HMM_FAULT_ATOMIC)
			ret = -EINVAL;
	hmm_mirror_count(mirror, HMM_STAT_FAULTS, nr);
	run = ret ? ERR_PTR(ret) : hmm_fault_begin(mirror);
	if (IS_ERR(run)) {
		for (i = 0; i < nr; i++)
			faults[i].error = PTR_ERR(run);
		hmm_mirror_count(mirror, HMM_STAT_FAULTS_FAILED, nr);
		return PTR_ERR(run);
	}

	sort(faults, nr, sizeof(*faults), hmm_fault_cmp, NULL);
	for (; nr; faults += taken, nr -= taken) {
		taken = hmm_fault_gather(run, faults, nr);
		ret = run->nr ? hmm_fault_serve(run) : -EFAULT;
		for (i = 0; i < taken; i++) {
			faults[i].error = ret ? ret : hmm_fault_result(run, faults[i].addr,
								       faults[i].access);
			failed += !!faults[i].error;
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

	for (; start < end && !ret; start = next) {
		if (start >= hmm_fault_limit(mirror)) {
			ret = -EFAULT;
			break;
		}
		next = min(end, ALIGN_DOWN(start, PMD_SIZE) + PMD_SIZE);
		hmm_fault_run_init(run, start, (next - start) >> PAGE_SHIFT);
		memset(run->want, BIT(access), run->nr);
		ret = hmm_fault_serve(run);
		for (i = 0; i < run->nr && !ret; i++)
			ret = hmm_fault_result(run, hmm_fault_run_addr(run, i), access);
	}
	hmm_fault_end(run);
	return ret;
}
EXPORT_SYMBOL_NS(hmm_mirror_fault_range, "HMM");

// SPDX-License-Identifier: GPL-2.0
/*
 * Device faults: from a batch of addresses to translations in the device.
 *
 * A batch is sorted and cut into runs: neighbouring pages of one block, at most one
 * PMD's worth.  A run is served so:
 *
 *   judge     the VMAs, under mmap_lock: what cannot be mapped costs nothing further
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
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/magic.h>
#include <linux/memcontrol.h>
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

/*
 * A run is committed when all its pages are there at once.  After so many rounds of
 * faulting in (somebody throws the pages out as fast as they come) what is there is
 * committed in every other round, so that each round gets somewhere.
 */
#define HMM_FAULT_WHOLE_ROUNDS	4

/*
 * A device uses regular memory only.  Shadow stacks look writable in the page table, but
 * only for the CPU's own pushes.
 */
#define HMM_FAULT_BAD_VMA	(VM_IO | VM_PFNMAP | VM_MIXEDMAP | VM_SHADOW_STACK)

/**
 * struct hmm_fault_page - a page of a run
 * @want: set of BIT(HMM_FAULT_*) that were asked for; 0: mapped if it is there
 * @faulted: the CPU's side has been asked to fault it in
 * @done: committed
 * @error: why the page cannot be mapped, 0: it can
 * @write_error: why it cannot be written, although it can be read
 */
struct hmm_fault_page {
	u8 want;
	bool faulted;
	bool done;
	s16 error;
	s16 write_error;
};

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
 * @rounds: times that pages were faulted in, or that only some could be committed
 * @memcg: cgroup of @hmm's process, referenced
 * @old_memcg: what the thread charged before
 * @pfns: what the CPU maps, in the format of linux/hmm.h
 * @pages: what is to become of each
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
	unsigned int rounds;
	struct mem_cgroup *memcg;
	struct mem_cgroup *old_memcg;
	unsigned long pfns[HMM_FAULT_RUN_PAGES];
	struct hmm_fault_page pages[HMM_FAULT_RUN_PAGES];
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
	run->rounds = 0;
	memset(run->pages, 0, nr * sizeof(run->pages[0]));
}

/* Mark the pages of [start, end) that have no error yet. */
static void hmm_fault_set_error(struct hmm_fault_run *run, unsigned long start,
				unsigned long end, int error)
{
	unsigned long i = (start - run->start) >> PAGE_SHIFT;
	unsigned long last = (end - run->start) >> PAGE_SHIFT;

	for (; i < last; i++)
		if (!run->pages[i].error)
			run->pages[i].error = error;
}

static void hmm_fault_deny_page(struct hmm_fault_page *page, int error)
{
	if (page->want & HMM_FAULT_WANT_WRITE) {
		page->want &= ~HMM_FAULT_WANT_WRITE;
		page->write_error = error;
	}
}

static void hmm_fault_deny_write(struct hmm_fault_run *run, unsigned long start,
				 unsigned long end)
{
	unsigned long i = (start - run->start) >> PAGE_SHIFT;
	unsigned long last = (end - run->start) >> PAGE_SHIFT;

	for (; i < last; i++)
		hmm_fault_deny_page(&run->pages[i], -EACCES);
}

/* Memory that is hidden even from the kernel: memfd_secret(). */
static bool hmm_fault_vma_is_secret(const struct vm_area_struct *vma)
{
	return vma->vm_file &&
	       file_inode(vma->vm_file)->i_sb->s_magic == SECRETMEM_MAGIC;
}

/* What do the VMAs say?  Errors stay: a page is judged when it is looked at first. */
static void hmm_fault_check_vmas(struct hmm_fault_run *run)
{
	unsigned long addr = run->start, end = hmm_fault_run_end(run);
	struct vm_area_struct *vma;
	struct vma_iterator vmi;
	unsigned long from, to;

	vma_iter_init(&vmi, run->hmm->mm, addr);
	mmap_assert_locked(run->hmm->mm);
	for_each_vma_range(vmi, vma, end) {
		from = max(addr, vma->vm_start);
		to = min(end, vma->vm_end);
		hmm_fault_set_error(run, addr, from, -EFAULT);
		if (vma->vm_flags & HMM_FAULT_BAD_VMA || hmm_fault_vma_is_secret(vma))
			hmm_fault_set_error(run, from, to, -EOPNOTSUPP);
		else if (!(vma->vm_flags & VM_READ))
			hmm_fault_set_error(run, from, to, -EACCES);
		else if (!(vma->vm_flags & VM_WRITE))
			hmm_fault_deny_write(run, from, to);
		addr = to;
	}
	hmm_fault_set_error(run, addr, end, -EFAULT);
}

/* Is there a page that was asked for, and may be mapped? */
static bool hmm_fault_any_left(const struct hmm_fault_run *run)
{
	unsigned long i;

	for (i = 0; i < run->nr; i++)
		if (run->pages[i].want && !run->pages[i].error && !run->pages[i].done)
			return true;
	return false;
}

/* Before anything is allocated for a run: is it worth it? */
static int hmm_fault_judge(struct hmm_fault_run *run)
{
	if (fatal_signal_pending(current) || mmap_read_lock_killable(run->hmm->mm))
		return -EINTR;
	hmm_fault_check_vmas(run);
	mmap_read_unlock(run->hmm->mm);
	return 0;
}

/* Does the CPU map what was asked for? */
static bool hmm_fault_page_ready(const struct hmm_fault_run *run, unsigned long i)
{
	const struct hmm_fault_page *page = &run->pages[i];
	unsigned long pfn = run->pfns[i];

	if (!page->want || page->error || page->done)
		return true;
	if (pfn & HMM_PFN_ERROR || !(pfn & HMM_PFN_VALID))
		return false;
	return pfn & HMM_PFN_WRITE || !(page->want & HMM_FAULT_WANT_WRITE);
}

static bool hmm_fault_all_ready(const struct hmm_fault_run *run)
{
	unsigned long i;

	for (i = 0; i < run->nr; i++)
		if (!hmm_fault_page_ready(run, i))
			return false;
	return true;
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

static int hmm_fault_page_in(struct hmm_fault_run *run, unsigned long i, bool *unlocked)
{
	struct hmm_fault_page *page = &run->pages[i];
	unsigned int flags = FAULT_FLAG_REMOTE;
	int ret;

	if (page->faulted && run->pfns[i] & HMM_PFN_ERROR) {
		/* It faults well and still is no page: a special entry. */
		page->error = -EOPNOTSUPP;
		return 0;
	}
	if (page->want & HMM_FAULT_WANT_WRITE)
		flags |= FAULT_FLAG_WRITE;
	ret = fixup_user_fault(run->hmm->mm, hmm_fault_run_addr(run, i), flags, unlocked);
	if (ret == -EINTR)
		return ret;
	page->faulted = true;
	/* Who wanted to read need not suffer if it is the copy that failed. */
	if (ret && page->want & BIT(HMM_FAULT_READ) && flags & FAULT_FLAG_WRITE)
		hmm_fault_deny_page(page, ret);
	else
		page->error = ret;
	hmm_mirror_count(run->mirror, HMM_STAT_CPU_FAULTS, 1);
	return 0;
}

/*
 * Have the CPU's side fault in what is missing.  The mmap_lock, held on entry and on
 * return, may have been dropped meanwhile.
 */
static int hmm_fault_in(struct hmm_fault_run *run)
{
	unsigned long begun = jiffies;
	unsigned long i;
	int ret = 0;

	run->rounds++;
	for (i = 0; i < run->nr && !ret; i++) {
		bool unlocked = false;

		if (hmm_fault_page_ready(run, i))
			continue;
		if (!hmm_mirror_is_live(run->mirror))
			return -EINTR;
		ret = hmm_fault_page_in(run, i, &unlocked);
		if (unlocked)
			hmm_fault_check_vmas(run);
	}
	/* Time in which user space or a disk kept us waiting is not ours. */
	run->deadline += jiffies - begun;
	return ret;
}

/* If the CPU maps a whole huge page here, put its entry for the device in @pfn. */
static bool hmm_fault_page_huge(const struct hmm_fault_run *run, unsigned long i,
				unsigned long *pfn)
{
	unsigned long entry = run->pfns[i];
	unsigned long skip = (hmm_fault_run_addr(run, i) & ~PMD_MASK) >> PAGE_SHIFT;

	if (!run->mirror->device->caps.huge || !(entry & HMM_PFN_VALID) ||
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
		if (!run->pages[i].want)
			around++;
		run->pages[i].done = true;
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
	/* Holes, for the driver: what is not there, not allowed, or not yet as asked for. */
	for (i = 0; i < run->nr; i++)
		if (!(run->pfns[i] & HMM_PFN_VALID) || run->pfns[i] & HMM_PFN_ERROR ||
		    run->pages[i].error || run->pages[i].done ||
		    !hmm_fault_page_ready(run, i))
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

	idx = srcu_read_lock(&hmm_mirror_srcu);
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
	srcu_read_unlock(&hmm_mirror_srcu, idx);
	return ret;
}

static int hmm_fault_prepare(struct hmm_fault_run *run)
{
	int idx, ret = -ENODEV;

	idx = srcu_read_lock(&hmm_mirror_srcu);
	if (hmm_mirror_is_live(run->mirror))
		ret = run->mirror->device->ops->prepare(run->mirror, run->start,
							hmm_fault_run_end(run));
	srcu_read_unlock(&hmm_mirror_srcu, idx);
	return ret;
}

/* One attempt.  0, -EAGAIN (no lock is held: try again), or what ends the run. */
static int hmm_fault_try(struct hmm_fault_run *run)
{
	struct mm_struct *mm = run->hmm->mm;
	bool all;
	int ret;

	ret = hmm_fault_prepare(run);
	if (ret)
		return ret;
	run->seq = mmu_interval_read_begin(&run->block->notifier);
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	ret = hmm_fault_look(run);
	all = hmm_fault_all_ready(run);
	if (!ret && !all && (run->rounds < HMM_FAULT_WHOLE_ROUNDS || run->rounds % 2 == 0)) {
		ret = hmm_fault_in(run);
		mmap_read_unlock(mm);
		return ret ? ret : -EAGAIN;
	}
	mmap_read_unlock(mm);
	if (ret == -EBUSY) {
		hmm_fault_collided(run);
		return -EAGAIN;
	}
	if (ret)
		return ret;
	ret = hmm_fault_commit(run);
	if (!ret && !all) {
		run->rounds++;
		ret = -EAGAIN;
	}
	return ret;
}

/* Serve one run.  Page errors are in the run; what is returned is for all of it. */
static int hmm_fault_serve(struct hmm_fault_run *run)
{
	int ret;

	ret = hmm_fault_judge(run);
	if (ret || !hmm_fault_any_left(run))
		goto out;
	run->block = hmm_block_get(run->hmm, run->start);
	if (IS_ERR(run->block)) {
		ret = PTR_ERR(run->block);
		goto out;
	}

	run->deadline = jiffies + HMM_FAULT_PATIENCE;
	while ((ret = hmm_fault_try(run)) == -EAGAIN) {
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		/* Every other late round commits a page, or its pages are thrashed. */
		if (time_after(jiffies, run->deadline) ||
		    run->rounds > 2 * (run->nr + HMM_FAULT_WHOLE_ROUNDS)) {
			ret = -EBUSY;
			break;
		}
		cond_resched();
	}
	hmm_block_put(run->block);
out:
	if (ret && !hmm_mirror_is_live(run->mirror))
		ret = run->mirror->stop_error;
	trace_hmm_fault(run->mirror, run->start, hmm_fault_run_end(run), run->retries, ret);
	return ret;
}

static int hmm_fault_result(const struct hmm_fault_run *run, unsigned long addr,
			    u32 access)
{
	const struct hmm_fault_page *page = &run->pages[(addr - run->start) >> PAGE_SHIFT];

	if (page->error || access == HMM_FAULT_READ)
		return page->error;
	return page->write_error;
}

/* First address that this device cannot reach in this address space. */
static unsigned long hmm_fault_limit(const struct hmm_mirror *mirror)
{
	return min(mirror->mm->task_size, 1UL << mirror->device->caps.va_bits);
}

/*
 * Hold what serving faults needs: the address space and what its mirrors share.  Not
 * the mirror: see hmm_mirror_unregister().  Memory that is allocated on the way is for
 * the process, and its cgroup is charged, whichever thread this is.
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
	idx = srcu_read_lock(&hmm_mirror_srcu);
	if (!hmm_mirror_is_live(mirror)) {
		ret = mirror->stop_error;
	} else if (!mmget_not_zero(mirror->mm)) {
		ret = -ESRCH;
	} else {
		run->hmm = mirror->hmm;
		kref_get(&run->hmm->ref);
	}
	srcu_read_unlock(&hmm_mirror_srcu, idx);
	if (ret) {
		kfree(run);
		return ERR_PTR(ret);
	}
	run->memcg = get_mem_cgroup_from_mm(run->hmm->mm);
	run->old_memcg = set_active_memcg(run->memcg);
	return run;
}

static void hmm_fault_end(struct hmm_fault_run *run)
{
	set_active_memcg(run->old_memcg);
	mem_cgroup_put(run->memcg);
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
		u8 *want = &run->pages[(faults[i].addr - start) >> PAGE_SHIFT].want;

		if (*want)
			hmm_mirror_count(run->mirror, HMM_STAT_FAULTS_MERGED, 1);
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
 * * -EBUSY: collisions with invalidations for a second.  Not the program's fault:
 *   run the access again.
 * * -EFAULT: no mapping there, beyond the end of a mapped file, out of the device's
 *   or the process' reach, or a page with a memory error.  Stacks do not grow by
 *   device faults, and a userfaultfd that was made for user mode faults only
 *   (UFFD_USER_MODE_ONLY) is not asked.
 * * -EACCES: the mapping does not allow it.
 * * -EOPNOTSUPP: a mapping of device memory, secret memory, a shadow stack, or another
 *   special page.
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

	for (; start < end && !ret; start = next) {
		if (start >= hmm_fault_limit(mirror)) {
			ret = -EFAULT;
			break;
		}
		next = min(end, ALIGN_DOWN(start, PMD_SIZE) + PMD_SIZE);
		hmm_fault_run_init(run, start, (next - start) >> PAGE_SHIFT);
		for (i = 0; i < run->nr; i++)
			run->pages[i].want = BIT(access);
		ret = hmm_fault_serve(run);
		for (i = 0; i < run->nr && !ret; i++)
			ret = hmm_fault_result(run, hmm_fault_run_addr(run, i), access);
	}
	hmm_fault_end(run);
	return ret;
}
EXPORT_SYMBOL_NS(hmm_mirror_fault_range, "HMM");

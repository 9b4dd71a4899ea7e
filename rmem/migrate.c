// SPDX-License-Identifier: GPL-2.0
/*
 * Moving pages by address, between system memory and a pool, with migrate_vma_*().
 *
 * Owns the work of a call: arrays for one piece, allocated once.  A range is cut into
 * pieces of HMM_RMEM_BATCH pages, aligned to their size, and mmap_lock is held for one
 * piece at a time.  A piece goes through rounds, until each page has its result:
 *
 *   walk      the VMAs; runs of pages that have no result yet are moved
 *   file      pages of files that may be on devices (hmm_pagecache_maps()) move by where
 *             they are in the file, after the walk, as that wants no lock: a run in each
 *             round
 *   fetch     what is swapped out, on another device, or used by a device alone, if that
 *             is wanted: an ordinary fault
 *   evict     if there was no room; no lock is held
 *
 * One run on its way in, and where a page can fall out:
 *
 *   collect   migrate_vma_setup(): the kernel locks the pages and takes them out of the
 *             page table.  Not those that are pinned, locked, or not in system memory.
 *   allocate  as many pages as there are.  The rest of the run is put back.
 *   copy      and wait.  A page whose copy fails is put back.  Until here the pages of the
 *             pool are numbers; they become pages of the kernel's when they hold the data.
 *   exchange  migrate_vma_pages(): a page that got a reference meanwhile is put back.
 *   finish    migrate_vma_finalize(): the page table has the new pages, or the old ones.
 *             What did not move has been put back by the kernel, and nothing was lost.
 *
 * What comes after collect is in move_in.c.  The way out is the same with the roles exchanged:
 * move_out.c.
 *
 * A piece is no larger than a huge page, and aligned as one.  So there is one huge page in
 * it, or none.  Where the kernel can (since 6.19), it moves as one: one entry of src and dst
 * that stands for all of it.  If there is no huge page to be had on the other side, or one
 * of its pages cannot be copied, all is put back as it was, and tried once more with the
 * huge page split, which the kernel does while it collects.
 *
 * The principle: a page has its result because of what was seen, not because of what was
 * to be expected: pages that were not collected are looked at afterwards, one by one, and
 * only these.  So the usual case costs no second walk.
 *
 * Locks: mmap_lock (read), and the locks of the collected pages; what is called under them
 * takes hmm_rmem.device_lock and what is below.  See Documentation/locking.rst.
 */
#include <kunit/visibility.h>
#include <linux/bitmap.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/hugetlb.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "../swap_entry/entry.h"
#include "move.h"
#include "pagecache_private.h"

#define HMM_RMEM_PIECE		((unsigned long)HMM_RMEM_BATCH << PAGE_SHIFT)

/* Does the kernel take pages out of a larger folio that is mapped page by page? */
#ifdef HMM_HAVE_MIGRATE_VMA_COMPOUND
#define HMM_RMEM_SPLITS		true
#else
#define HMM_RMEM_SPLITS		false
#endif

/* Rounds in which pages are fetched, and rounds at all. */
#define HMM_RMEM_FETCHES	3
#define HMM_RMEM_ROUNDS		16

/**
 * hmm_rmem_work_init - lay the arrays out
 * @work: gets them
 * @memory: HMM_RMEM_WORK_PAGE bytes for each page
 * @nr: for how many pages
 *
 * Context: any.
 */
void hmm_rmem_work_init(struct hmm_rmem_work *work, void *memory, unsigned int nr)
{
	work->copies = memory;
	work->src = (void *)(work->copies + nr);
	work->dst = work->src + nr;
	work->pages = (void *)(work->dst + nr);
	work->errors = (void *)(work->pages + nr);
	work->slots = (void *)(work->errors + nr);
	work->order = work->slots + nr;
	work->results = (void *)(work->order + nr);
}

/**
 * hmm_rmem_work_alloc - get memory for the arrays
 * @nr: for how many pages
 * @gfp: how
 *
 * Context: as @gfp says.
 * Return: arrays, for kvfree(); NULL if there is no memory.
 */
struct hmm_rmem_work *hmm_rmem_work_alloc(unsigned int nr, gfp_t gfp)
{
	struct hmm_rmem_work *work;

	work = kvmalloc(sizeof(*work) + nr * HMM_RMEM_WORK_PAGE, gfp);
	if (work)
		hmm_rmem_work_init(work, work + 1, nr);
	return work;
}

/* All pages of [@start, @end) that have no result yet get this one. */
static void hmm_rmem_set_range(struct hmm_rmem_mover *m, unsigned long start,
			       unsigned long end, enum hmm_page_result result)
{
	unsigned long i;

	for (i = (start - m->start) >> PAGE_SHIFT; i < (end - m->start) >> PAGE_SHIFT; i++)
		if (m->results[i] == HMM_PAGE_SKIPPED)
			hmm_rmem_set(m, i, result);
}

/* It is elsewhere: swapped out, on another device, being moved. */
static void hmm_rmem_fetch_later(struct hmm_rmem_mover *m, unsigned long i)
{
	if (m->may_fetch)
		__set_bit(i, m->fetch);
	else
		hmm_rmem_set(m, i, HMM_PAGE_BUSY);
}

/* A page that the kernel maps: can it move to a device, if nobody is using it? */
static bool hmm_rmem_can_move(const struct hmm_swp_place *place)
{
	/* The page cache's.  And KSM reads its pages with the CPU, wherever they are. */
	if (!place->anon || place->ksm)
		return false;
	return !place->large || place->huge || HMM_RMEM_SPLITS;
}

/*
 * Look at a page that has no result.  @tried: the kernel has not collected it just now.
 * Returns true if it should be tried; otherwise it has its result now, or is to be
 * fetched.
 */
static bool hmm_rmem_judge(struct hmm_rmem_mover *m, struct vm_area_struct *vma,
			   unsigned long i, bool tried)
{
	struct hmm_swp_place place;

	hmm_swp_look(vma->vm_mm, hmm_rmem_mover_addr(m, i), &place);
	switch (place.entry.kind) {
	case HMM_SWP_NONE:
	case HMM_SWP_ZERO:
		/* In a mapping of a file it stands for a page of that. */
		hmm_rmem_set(m, i, vma_is_anonymous(vma) ? HMM_PAGE_EMPTY :
							   HMM_PAGE_UNSUPPORTED);
		return false;
	case HMM_SWP_PAGE:
		/* The huge page of zeroes. */
		if (place.huge && !place.anon && vma_is_anonymous(vma))
			hmm_rmem_set(m, i, HMM_PAGE_EMPTY);
		else if (!m->in)
			hmm_rmem_set(m, i, HMM_PAGE_THERE);
		else if (!hmm_rmem_can_move(&place))
			hmm_rmem_set(m, i, HMM_PAGE_UNSUPPORTED);
		else
			break;
		return false;
	case HMM_SWP_COHERENT:
	case HMM_SWP_PRIVATE_READ:
	case HMM_SWP_PRIVATE_WRITE:
		if (place.owner != m->rmem)
			hmm_rmem_fetch_later(m, i);
		else if (m->in)
			hmm_rmem_set(m, i, HMM_PAGE_THERE);
		else
			break;
		return false;
	case HMM_SWP_SWAPPED:
	case HMM_SWP_EXCLUSIVE:
		/* Not on a device: without a wish to fetch it, system memory is where it is. */
		if (!m->in && !m->may_fetch)
			hmm_rmem_set(m, i, HMM_PAGE_THERE);
		else
			hmm_rmem_fetch_later(m, i);
		return false;
	case HMM_SWP_MOVING:
		hmm_rmem_fetch_later(m, i);
		return false;
	case HMM_SWP_OTHER:
		hmm_rmem_set(m, i, HMM_PAGE_UNSUPPORTED);
		return false;
	}
	if (!tried)
		return true;
	hmm_rmem_set(m, i, HMM_PAGE_BUSY);
	return false;
}

static enum hmm_rmem_stat hmm_rmem_why(const struct hmm_rmem_mover *m)
{
	if (m->move->flags & HMM_RMEM_MOVE_FAULT)
		return HMM_RMEM_OUT_FAULT;
	if (m->move->flags & HMM_RMEM_MOVE_EVICT)
		return HMM_RMEM_OUT_EVICT;
	if (m->move->flags & HMM_RMEM_MOVE_EVACUATE)
		return HMM_RMEM_OUT_EVACUATE;
	return HMM_RMEM_OUT;
}

/*
 * Move what has been collected, to its end.  Returns false if it has been put back, to be
 * tried with small pages.
 */
static bool hmm_rmem_move_collected(struct hmm_rmem_mover *m, struct migrate_vma *args,
				    unsigned long first)
{
	bool huge = hmm_rmem_is_huge(args);
	u8 *results = m->results + first;
	unsigned long i, moved;

	if (m->in) {
		if (huge)
			return hmm_rmem_in_huge(m, args, first);
		hmm_rmem_in(m, args, first);
		return true;
	}
	if (!huge) {
		moved = hmm_rmem_out(m->rmem, args, m->work, results, hmm_rmem_why(m));
	} else if (!hmm_rmem_out_huge(m->rmem, args, m->work, results, hmm_rmem_why(m),
				      &moved)) {
		hmm_rmem_put_back(args);
		return false;
	}
	m->move->moved += moved;
	for (i = 0; i < args->npages; i++)
		if (results[i] == HMM_PAGE_BUSY)
			hmm_rmem_count(m->rmem, HMM_RMEM_BUSY, 1);
	return true;
}

/*
 * Does a huge page move as one, if there is one?
 *
 * Not what other processes may map, too.  Of an entry of a huge page for a device the kernel
 * (7.2) asks whether it is writable, when it puts it into a page table, by the bit that means
 * soft-dirty in an entry like this, as new pages are.  That the page is not exclusive then,
 * is a BUG with DEBUG_VM.  Nor those that the CPU and a device share: there are none.
 */
static bool hmm_rmem_moves_whole(const struct hmm_rmem_mover *m, struct vm_area_struct *vma,
				 unsigned long start, unsigned long end)
{
	struct hmm_swp_place place;

	if (m->split || end - start != PMD_SIZE ||
	    m->rmem->select != MIGRATE_VMA_SELECT_DEVICE_PRIVATE)
		return false;
	hmm_swp_look(vma->vm_mm, start, &place);
	return !place.shared;
}

/* Move the pages of [@start, @end), which is in @vma; none of them has a result yet. */
static void hmm_rmem_move_run(struct hmm_rmem_mover *m, struct vm_area_struct *vma,
			      unsigned long start, unsigned long end)
{
	unsigned long first = (start - m->start) >> PAGE_SHIFT;
	unsigned long last = (end - m->start) >> PAGE_SHIFT;
	struct migrate_vma args = {
		.vma = vma,
		.start = start,
		.end = end,
		.src = m->work->src,
		.dst = m->work->dst,
		.pgmap_owner = m->rmem,
		.flags = m->in ? MIGRATE_VMA_SELECT_SYSTEM : m->rmem->select,
	};
	unsigned long i;

	if (hmm_rmem_moves_whole(m, vma, start, end))
		args.flags |= MIGRATE_VMA_SELECT_COMPOUND;
	if (WARN_ON_ONCE(migrate_vma_setup(&args))) {
		hmm_rmem_set_range(m, start, end, HMM_PAGE_UNSUPPORTED);
		return;
	}
	if (args.cpages && !hmm_rmem_move_collected(m, &args, first)) {
		m->split = true;
		args.flags &= ~MIGRATE_VMA_SELECT_COMPOUND;
		if (!WARN_ON_ONCE(migrate_vma_setup(&args)) && args.cpages)
			hmm_rmem_move_collected(m, &args, first);
	}
	for (i = first; i < last; i++)
		if (m->results[i] == HMM_PAGE_SKIPPED && !test_bit(i, m->short_of))
			hmm_rmem_judge(m, vma, i, true);
}

/*
 * Is there a point in trying this page?  In anonymous memory the kernel knows best.  In
 * mappings of files few pages are anonymous, and to collect the others only to be refused
 * costs as much as to move them.
 */
static bool hmm_rmem_is_candidate(struct hmm_rmem_mover *m, struct vm_area_struct *vma,
				  unsigned long addr)
{
	unsigned long i = (addr - m->start) >> PAGE_SHIFT;

	if (m->results[i] != HMM_PAGE_SKIPPED || test_bit(i, m->fetch))
		return false;
	return vma_is_anonymous(vma) || hmm_rmem_judge(m, vma, i, false);
}

static void hmm_rmem_move_vma(struct hmm_rmem_mover *m, struct vm_area_struct *vma,
			      unsigned long start, unsigned long end)
{
	unsigned long addr = start, run;

	/* Without it there has never been an anonymous page. */
	if (!vma_is_anonymous(vma) && !vma->anon_vma) {
		hmm_rmem_set_range(m, start, end, HMM_PAGE_UNSUPPORTED);
		return;
	}
	while (addr < end) {
		if (!hmm_rmem_is_candidate(m, vma, addr)) {
			addr += PAGE_SIZE;
			continue;
		}
		run = addr;
		do {
			addr += PAGE_SIZE;
		} while (addr < end && hmm_rmem_is_candidate(m, vma, addr));
		hmm_rmem_move_run(m, vma, run, addr);
	}
}

/*
 * Can anything in this VMA move?
 *
 * Not to a device where KSM is at work.  For a moment a merged page is mapped where the
 * kernel's reverse map does not know of it yet:
 *
 *	ksmd				migrate_vma_*()
 *	maps the merged page
 *					locks it, puts a migration entry in its place
 *	waits for the lock
 *					puts it back wherever the reverse map says
 *					that it was mapped: not here
 *	adds it to the reverse map
 *
 * and the migration entry would stay.  To look for merged pages first does not help, as
 * it becomes one after the look.  The flag does not change while mmap_lock is held, and
 * where it is not set there are no merged pages.
 */
static bool hmm_rmem_vma_is_movable(const struct hmm_rmem_mover *m,
				    struct vm_area_struct *vma)
{
	if (m->rmem->plain || is_vm_hugetlb_page(vma) || vma_is_dax(vma) ||
	    vma->vm_flags & (VM_SPECIAL | VM_MAYSHARE))
		return false;
	if (m->in && vma->vm_flags & VM_MERGEABLE)
		return false;
	return !(m->move->flags & HMM_RMEM_MOVE_AUTO && vma->vm_flags & VM_LOCKED);
}

/* Is it of a file whose pages can move?  Back they can always. */
static bool hmm_rmem_vma_has_file(const struct hmm_rmem_mover *m,
				  struct vm_area_struct *vma)
{
	return (m->in ? hmm_pagecache_maps(vma) : hmm_pagecache_knows(vma)) &&
	       !(m->move->flags & HMM_RMEM_MOVE_AUTO && vma->vm_flags & VM_LOCKED);
}

/* The bits of @run->nr pages of a set of the caller's; or @all of them, if there is none. */
static void hmm_rmem_file_bits(const struct hmm_rmem_mover *m, unsigned long *bits,
			       const unsigned long *set, bool all)
{
	unsigned long first = (m->start - m->move->start) / PAGE_SIZE + m->run.first, i;

	bitmap_zero(bits, HMM_RMEM_BATCH);
	for (i = 0; i < m->run.nr; i++)
		if (set ? test_bit(first + i, set) : all)
			__set_bit(i, bits);
}

/*
 * The next run of pages of @vma, which is of a file whose pages may be on devices, is to be
 * moved.  If there is one of another VMA already, it is this one's turn in another round.
 */
static void hmm_rmem_choose_file(struct hmm_rmem_mover *m, struct vm_area_struct *vma,
				 unsigned long start, unsigned long end)
{
	unsigned long i = (start - m->start) >> PAGE_SHIFT, last = (end - m->start) >> PAGE_SHIFT;
	struct hmm_rmem_file_run *run = &m->run;
	bool writable;

	if (run->file)
		return;
	while (i < last && m->results[i] != HMM_PAGE_SKIPPED)
		i++;
	if (i == last)
		return;
	run->first = i;
	while (i < last && m->results[i] == HMM_PAGE_SKIPPED)
		i++;
	run->nr = i - run->first;
	run->file = get_file(vma->vm_file);
	run->index = linear_page_index(vma, hmm_rmem_mover_addr(m, run->first));
	writable = (vma->vm_flags & (VM_SHARED | VM_WRITE)) == (VM_SHARED | VM_WRITE);
	hmm_rmem_file_bits(m, run->want, m->move->want, true);
	hmm_rmem_file_bits(m, run->write, writable ? m->move->write : NULL, false);
}

/* Move the pages that were chosen, unless there is an @error.  No lock is held. */
static int hmm_rmem_move_file(struct hmm_rmem_mover *m, int error)
{
	struct hmm_pagecache_move move = {
		.file = m->run.file,
		.index = m->run.index,
		.nr = m->run.nr,
		.flags = m->move->flags,
		.want = m->run.want,
		.write = m->run.write,
		.results = m->results + m->run.first,
	};

	if (!m->run.file)
		return error;
	if (!error)
		error = m->in ? hmm_pagecache_move_in(m->rmem, &move) :
				hmm_pagecache_move_out(m->rmem, &move);
	m->move->moved += move.moved;
	fput(m->run.file);
	m->run.file = NULL;
	return error;
}

static void hmm_rmem_move_vmas(struct hmm_rmem_mover *m)
{
	unsigned long addr, end;

	for (addr = m->start; addr < m->end; addr = end) {
		struct vm_area_struct *vma = find_vma(m->move->mm, addr);

		if (!vma || vma->vm_start > addr) {
			end = vma ? min(vma->vm_start, m->end) : m->end;
			hmm_rmem_set_range(m, addr, end, HMM_PAGE_UNMAPPED);
			continue;
		}
		end = min(vma->vm_end, m->end);
		if (hmm_rmem_vma_has_file(m, vma))
			hmm_rmem_choose_file(m, vma, addr, end);
		else if (hmm_rmem_vma_is_movable(m, vma))
			hmm_rmem_move_vma(m, vma, addr, end);
		else
			hmm_rmem_set_range(m, addr, end, HMM_PAGE_UNSUPPORTED);
	}
}

/* What is at an address of which nothing is known any more, but that it was mapped? */
static struct hmm_swp_entry hmm_rmem_entry_at(struct hmm_rmem_mover *m, unsigned long addr)
{
	struct vm_area_struct *vma = vma_lookup(m->move->mm, addr);
	struct hmm_swp_place place = {};

	/* Where nobody may read, a fault fails for that. */
	if (vma && vma->vm_flags & VM_READ && hmm_rmem_vma_is_movable(m, vma))
		hmm_swp_look(m->move->mm, addr, &place);
	return place.entry;
}

/**
 * hmm_rmem_fetch_coherent - bring a page in coherent memory to system memory
 * @mm: address space
 * @addr: where HMM_SWP_COHERENT was seen, of whatever device
 *
 * It is there, as far as faults know.  But who is going to keep a page for long gets it in
 * system memory.
 *
 * Context: mmap_lock held for reading, and not dropped.  Sleeps.
 * Return: 0; -EBUSY it is in use; -ENOMEM; -EFAULT it is not there any more.
 */
int hmm_rmem_fetch_coherent(struct mm_struct *mm, unsigned long addr)
{
	struct page *page;
	long ret;

	ret = pin_user_pages_remote(mm, addr, 1, FOLL_LONGTERM, &page, NULL);
	if (ret == 1)
		unpin_user_page(page);
	return min(ret, 0l);
}

/*
 * Have pages fetched by ordinary faults.  mmap_lock, held on entry and on return, may have
 * been dropped.  What cannot be fetched will be found where it was, and be busy.
 */
static int hmm_rmem_fetch(struct hmm_rmem_mover *m)
{
	unsigned long i;
	int ret;

	for_each_set_bit(i, m->fetch, HMM_RMEM_BATCH) {
		unsigned long addr = hmm_rmem_mover_addr(m, i);
		bool unlocked = false;

		if (hmm_rmem_entry_at(m, addr).kind == HMM_SWP_COHERENT)
			ret = hmm_rmem_fetch_coherent(m->move->mm, addr);
		else
			ret = fixup_user_fault(m->move->mm, addr, FAULT_FLAG_REMOTE,
					       &unlocked);
		if (ret == -EINTR || fatal_signal_pending(current))
			return -EINTR;
		if (ret == -ENOMEM)
			hmm_rmem_set(m, i, HMM_PAGE_FULL);
		else if (ret == -EFAULT &&
			 /* On another device, and lost. */
			 hmm_swp_is_private(hmm_rmem_entry_at(m, addr)))
			hmm_rmem_set(m, i, HMM_PAGE_LOST);
	}
	return 0;
}

/* Make room for what there was none for.  What is not helped is FULL. */
static void hmm_rmem_make_room(struct hmm_rmem_mover *m, bool again)
{
	unsigned long i;

	if (again && hmm_rmem_evict(m->rmem, bitmap_weight(m->short_of, HMM_RMEM_BATCH)))
		return;
	/* Some of a huge page may find room yet. */
	if (again && !m->split) {
		m->split = true;
		return;
	}
	for_each_set_bit(i, m->short_of, HMM_RMEM_BATCH)
		hmm_rmem_set(m, i, HMM_PAGE_FULL);
}

/* Can the pool be used?  As of now: whoever copies will see for himself. */
static bool hmm_rmem_is_usable(const struct hmm_rmem_mover *m)
{
	if (!READ_ONCE(m->rmem->device))
		return false;
	return !m->in || (!READ_ONCE(m->rmem->closed) && !READ_ONCE(m->rmem->lost));
}

/*
 * Who makes room has the evict_lock, so he waits for no process, which may sit on its
 * mmap_lock; and signals are looked at by his callers, if they care.
 */
static bool hmm_rmem_makes_room(const struct hmm_rmem_mover *m)
{
	return m->move->flags & (HMM_RMEM_MOVE_EVICT | HMM_RMEM_MOVE_EVACUATE);
}

static int hmm_rmem_lock_mm(const struct hmm_rmem_mover *m)
{
	if (hmm_rmem_makes_room(m))
		return mmap_read_trylock(m->move->mm) ? 0 : -EBUSY;
	return mmap_read_lock_killable(m->move->mm);
}

static int hmm_rmem_move_piece(struct hmm_rmem_mover *m)
{
	struct mm_struct *mm = m->move->mm;
	unsigned long nr = (m->end - m->start) >> PAGE_SHIFT;
	unsigned int round;
	int ret = 0;

	m->results = m->move->results + ((m->start - m->move->start) >> PAGE_SHIFT);
	m->split = m->move->flags & HMM_RMEM_MOVE_SPLIT;
	for (round = 1; memchr(m->results, HMM_PAGE_SKIPPED, nr); round++) {
		if (fatal_signal_pending(current) && !hmm_rmem_makes_room(m))
			return -EINTR;
		if (!hmm_rmem_is_usable(m))
			return -ENODEV;
		bitmap_zero(m->fetch, HMM_RMEM_BATCH);
		bitmap_zero(m->short_of, HMM_RMEM_BATCH);
		m->may_fetch = m->move->flags & HMM_RMEM_MOVE_FAULT_IN &&
			       round <= HMM_RMEM_FETCHES;

		ret = hmm_rmem_lock_mm(m);
		if (ret)
			return ret;
		hmm_rmem_move_vmas(m);
		ret = hmm_rmem_fetch(m);
		mmap_read_unlock(mm);
		ret = hmm_rmem_move_file(m, ret);
		if (ret)
			return ret;

		if (!bitmap_empty(m->short_of, HMM_RMEM_BATCH) && hmm_rmem_is_usable(m))
			hmm_rmem_make_room(m, round < HMM_RMEM_ROUNDS);
		cond_resched();
	}
	return 0;
}

static int hmm_rmem_move(struct hmm_rmem *rmem, struct hmm_rmem_move *move, bool in)
{
	struct hmm_rmem_mover *m;
	unsigned long addr;
	int ret = 0;

	might_sleep();
	move->moved = 0;
	m = kmalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	*m = (struct hmm_rmem_mover) { .rmem = rmem, .move = move, .in = in };
	m->work = hmm_rmem_work_alloc(HMM_RMEM_BATCH, GFP_KERNEL);
	if (!m->work) {
		kfree(m);
		return -ENOMEM;
	}
	for (addr = move->start; addr < move->end && !ret; addr = m->end) {
		m->start = addr;
		m->end = min(move->end, ALIGN_DOWN(addr, HMM_RMEM_PIECE) + HMM_RMEM_PIECE);
		ret = hmm_rmem_move_piece(m);
	}
	kvfree(m->work);
	kfree(m);
	return ret;
}

/**
 * hmm_rmem_move_in - move pages of system memory to a device
 * @rmem: its pool, referenced
 * @move: what; its results and its count are set
 *
 * Pages that find no room have others evicted first, which may be pages that this very
 * call has moved, if the range is larger than the memory.
 *
 * Context: Process context, no lock held.  Sleeps; with HMM_RMEM_MOVE_FAULT_IN as long as
 * user space lets it (userfaultfd).
 * Return: 0 if each page has a result, whatever that is; -EINTR killed; -ENOMEM no memory
 * for the arrays; -ENODEV the pool is closed, or the device lost or gone.  On an error
 * pages that were not looked at have HMM_PAGE_SKIPPED.
 */
int hmm_rmem_move_in(struct hmm_rmem *rmem, struct hmm_rmem_move *move)
{
	return hmm_rmem_move(rmem, move, true);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_move_in);

/**
 * hmm_rmem_move_out - move pages of a device to system memory
 * @rmem: its pool, referenced
 * @move: what; its results and its count are set
 *
 * With HMM_RMEM_MOVE_FAULT_IN pages of other devices come, too, and those that are
 * swapped out; they are not counted, and HMM_PAGE_THERE then.
 *
 * Context: as hmm_rmem_move_in().
 * Return: as hmm_rmem_move_in(), but what a lost device has lost is HMM_PAGE_LOST, and
 * -ENODEV means that the device is gone; with HMM_RMEM_MOVE_EVICT or _EVACUATE also -EBUSY:
 * somebody held mmap_lock.
 */
int hmm_rmem_move_out(struct hmm_rmem *rmem, struct hmm_rmem_move *move)
{
	return hmm_rmem_move(rmem, move, false);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_move_out);

// SPDX-License-Identifier: GPL-2.0
/*
 * Migration by request: pages of a range go to the device, or come back.
 *
 * rmem/ moves them; this file cuts the range into pieces, keeps the results, and maps on
 * the device what has arrived, so that its first use does not fault.  Whatever becomes
 * of one page, the others are tried.
 *
 * States: none.  Locks: none while rmem/ works, which takes mmap_lock itself.
 */
#include <linux/bitmap.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "fault_private.h"

/* A piece: of one block, and what a run of the fault path can map. */
#define HMM_MIGRATE_PAGES	HMM_FAULT_RUN_PAGES

/**
 * struct hmm_migrate - a request being worked on
 * @run: on whose behalf, and to map what has moved
 * @flags: HMM_MIGRATE_*
 * @moved: pages moved so far
 * @error: of the first page that could not
 * @all: a set of all pages of a piece, to populate
 * @results: of a piece, for callers that do not want them
 */
struct hmm_migrate {
	struct hmm_fault_run run;
	u32 flags;
	unsigned long moved;
	int error;
	DECLARE_BITMAP(all, HMM_MIGRATE_PAGES);
	u8 results[HMM_MIGRATE_PAGES];
};

static const s16 hmm_migrate_errors[] = {
	[HMM_PAGE_SKIPPED]	= -EINTR,
	[HMM_PAGE_MOVED]	= 0,
	[HMM_PAGE_THERE]	= 0,
	[HMM_PAGE_EMPTY]	= 0,
	[HMM_PAGE_BUSY]		= -EBUSY,
	[HMM_PAGE_FULL]		= -ENOSPC,
	[HMM_PAGE_UNSUPPORTED]	= -EOPNOTSUPP,
	[HMM_PAGE_UNMAPPED]	= -EFAULT,
	[HMM_PAGE_FAILED]	= -EIO,
	[HMM_PAGE_LOST]		= -EHWPOISON,
};

static_assert(ARRAY_SIZE(hmm_migrate_errors) == HMM_PAGE_NR);

/* A page that did not move: what is that for the caller? */
static int hmm_migrate_error(const struct hmm_migrate *m, u8 result)
{
	if (result == HMM_PAGE_FULL && m->flags & HMM_MIGRATE_TO_SYSTEM)
		return -ENOMEM;
	return hmm_migrate_errors[result];
}

static void hmm_migrate_account(struct hmm_migrate *m, const u8 *results,
				unsigned long nr)
{
	struct hmm_mirror *mirror = m->run.call.mirror;
	unsigned long i, moved = 0, failed = 0;

	for (i = 0; i < nr; i++) {
		int error = hmm_migrate_error(m, results[i]);

		moved += results[i] == HMM_PAGE_MOVED;
		failed += error && results[i] != HMM_PAGE_UNMAPPED &&
			  results[i] != HMM_PAGE_SKIPPED;
		if (error && !m->error)
			m->error = error;
	}
	m->moved += moved;
	hmm_mirror_count(mirror, m->flags & HMM_MIGRATE_TO_SYSTEM ?
			 HMM_STAT_MOVED_OUT : HMM_STAT_MOVED_IN, moved);
	hmm_mirror_count(mirror, HMM_STAT_MOVE_FAILED, failed);
}

static int hmm_migrate_move(struct hmm_migrate *m, unsigned long start,
			    unsigned long end, u8 *results)
{
	struct hmm_rmem_move move = {
		.mm = m->run.call.hmm->mm,
		.start = start,
		.end = end,
		.flags = (m->flags & HMM_MIGRATE_NO_FETCH ? 0 : HMM_RMEM_MOVE_FAULT_IN) |
			 (m->flags & HMM_MIGRATE_SPLIT ? HMM_RMEM_MOVE_SPLIT : 0),
		.populate = m->flags & HMM_MIGRATE_POPULATE ? m->all : NULL,
		.results = results,
	};

	if (m->flags & HMM_MIGRATE_TO_SYSTEM)
		return hmm_rmem_move_out(m->run.call.rmem, &move);
	return hmm_rmem_move_in(m->run.call.rmem, &move);
}

static bool hmm_migrate_any(const u8 *results, unsigned long nr)
{
	return memchr(results, HMM_PAGE_MOVED, nr) || memchr(results, HMM_PAGE_THERE, nr);
}

/*
 * What has arrived is noted, and mapped.  Without memory for a block there are no
 * notes, and a fault will map it.
 */
static void hmm_migrate_arrived(struct hmm_migrate *m, unsigned long start,
				unsigned long end, const u8 *results)
{
	unsigned long nr = (end - start) >> PAGE_SHIFT;
	struct hmm_fault_run *run = &m->run;

	run->block = hmm_block_get(run->call.hmm, start);
	if (IS_ERR(run->block))
		return;
	hmm_notes_expect(run->block, start, end);
	hmm_notes_moved_in(run->block, start, results, nr);
	hmm_fault_run_init(run, start, nr);
	hmm_fault_map_moved(run, results);
	hmm_block_put(run->block);
}

static void hmm_migrate_left(struct hmm_migrate *m, unsigned long start, unsigned long end,
			     const u8 *results)
{
	struct hmm_block *block = hmm_block_find(m->run.call.hmm, start);

	if (!block)
		return;
	hmm_notes_moved_out(block, start, results, (end - start) >> PAGE_SHIFT);
	hmm_block_put(block);
}

/* A piece that is all out of reach: of the process, or of the device. */
static bool hmm_migrate_out_of_reach(const struct hmm_migrate *m, unsigned long start,
				     unsigned long nr, u8 *results)
{
	if (start >= m->run.call.hmm->mm->task_size)
		memset(results, HMM_PAGE_UNMAPPED, nr);
	else if (start >= hmm_fault_limit(m->run.call.mirror))
		memset(results, HMM_PAGE_UNSUPPORTED, nr);
	else
		return false;
	return true;
}

/* At most HMM_MIGRATE_PAGES, in one area. */
static int hmm_migrate_piece(struct hmm_migrate *m, unsigned long start,
			     unsigned long end, u8 *results)
{
	unsigned long nr = (end - start) >> PAGE_SHIFT;
	struct hmm_mirror *mirror = m->run.call.mirror;
	int ret = 0;

	if (!hmm_mirror_is_live(mirror))
		return mirror->stop_error;
	if (fatal_signal_pending(current))
		return -EINTR;
	if (!hmm_migrate_out_of_reach(m, start, nr, results))
		ret = hmm_migrate_move(m, start, end, results);
	hmm_migrate_account(m, results, nr);
	if (!hmm_migrate_any(results, nr))
		return ret;
	if (m->flags & HMM_MIGRATE_TO_SYSTEM)
		hmm_migrate_left(m, start, end, results);
	else
		hmm_migrate_arrived(m, start, end, results);
	return ret;
}

static int hmm_migrate_all(struct hmm_migrate *m, unsigned long start, unsigned long end,
			   u8 *results)
{
	unsigned long next, nr;
	u8 *r;
	int ret;

	if (!m->run.call.rmem)
		return -EOPNOTSUPP;
	if (!(m->flags & HMM_MIGRATE_TO_SYSTEM) &&
	    READ_ONCE(m->run.call.hmm->policy) == HMM_POLICY_NEVER)
		return -EPERM;
	for (; start < end; start = next) {
		next = min(end, ALIGN_DOWN(start, PMD_SIZE) + PMD_SIZE);
		nr = (next - start) >> PAGE_SHIFT;
		r = results ? results : m->results;
		memset(r, HMM_PAGE_SKIPPED, nr);
		ret = hmm_migrate_piece(m, start, next, r);
		if (ret)
			return ret;
		if (results)
			results += nr;
		cond_resched();
	}
	return m->error;
}

/**
 * hmm_mirror_migrate - move the pages of a range, now
 * @mirror: mirror
 * @start: first byte, page aligned
 * @end: first byte after it, page aligned, above @start
 * @flags: HMM_MIGRATE_*
 * @results: out: enum hmm_page_result of each page; or NULL
 * @moved: out: pages that were moved, also on errors; or NULL
 *
 * Each page of the range is tried, whatever becomes of the others and wherever the
 * mappings are.  Pages that are swapped out, or on another device, are fetched first; with
 * HMM_MIGRATE_NO_FETCH they are HMM_PAGE_BUSY.
 * Locked memory (mlock()) moves, too, when it is asked for.  What is on the device when
 * the call returns is mapped there, as far as nothing came in between.
 *
 * Huge pages move as such where the kernel has huge pages of devices, if they are in the
 * range as a whole, if there is room for one on the other side, and without
 * HMM_MIGRATE_SPLIT.  Otherwise they are split.  To populate makes huge pages where the
 * process has asked for them (MADV_HUGEPAGE).
 *
 * Context: Process context, may sleep for as long as user space lets it (userfaultfd);
 * no lock held that an operation of the driver takes, no mm lock; not from an operation.
 * Return: 0 if no page has an error; otherwise the error of the first one that has:
 * -EFAULT no mapping, -EOPNOTSUPP it cannot move, -EBUSY in use, -ENOSPC no room on the
 * device, -ENOMEM no system memory, -EIO the copy failed, -EHWPOISON its contents are
 * lost.  Or an error of the whole call: -EINVAL; -EOPNOTSUPP the device has no memory;
 * -EPERM the process' policy is HMM_POLICY_NEVER and the device is the destination;
 * -ENODEV; -ESRCH; -ENOMEM; -EINTR killed.  Pages not looked at are HMM_PAGE_SKIPPED then.
 */
int hmm_mirror_migrate(struct hmm_mirror *mirror, unsigned long start,
		       unsigned long end, u32 flags, u8 *results, unsigned long *moved)
{
	struct hmm_migrate *m;
	int ret;

	if (moved)
		*moved = 0;
	if (!PAGE_ALIGNED(start) || !PAGE_ALIGNED(end) || start >= end ||
	    flags & ~HMM_MIGRATE_ALL ||
	    (flags & HMM_MIGRATE_TO_SYSTEM && flags & HMM_MIGRATE_POPULATE))
		return -EINVAL;
	if (results)
		memset(results, HMM_PAGE_SKIPPED, (end - start) >> PAGE_SHIFT);
	m = kmalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	m->flags = flags;
	m->moved = 0;
	m->error = 0;
	bitmap_fill(m->all, HMM_MIGRATE_PAGES);
	ret = hmm_call_begin(&m->run.call, mirror);
	if (!ret) {
		ret = hmm_migrate_all(m, start, end, results);
		if (moved)
			*moved = m->moved;
		hmm_call_end(&m->run.call);
	}
	kfree(m);
	return ret;
}
EXPORT_SYMBOL_NS(hmm_mirror_migrate, "HMM");

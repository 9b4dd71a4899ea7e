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
#include "hmm_private.h"

/* What one call of rmem/ is given: large enough to keep several copies under way. */
#define HMM_MIGRATE_PAGES	(4 * HMM_RMEM_BATCH)

/**
 * struct hmm_migrate - a request being worked on
 * @call: on whose behalf
 * @flags: HMM_MIGRATE_*
 * @moved: pages moved so far
 * @error: of the first page that could not
 * @all: a set of all pages of a piece, to populate
 * @results: of a piece, for callers that do not want them
 */
struct hmm_migrate {
	struct hmm_call call;
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
	struct hmm_mirror *mirror = m->call.mirror;
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

/* At most HMM_MIGRATE_PAGES. */
static int hmm_migrate_piece(struct hmm_migrate *m, unsigned long start,
			     unsigned long end, u8 *results)
{
	struct hmm_rmem_move move = {
		.mm = m->call.hmm->mm,
		.start = start,
		.end = end,
		.flags = HMM_RMEM_MOVE_FAULT_IN,
		.populate = m->flags & HMM_MIGRATE_POPULATE ? m->all : NULL,
		.results = results,
	};
	int ret;

	if (!hmm_mirror_is_live(m->call.mirror))
		return m->call.mirror->stop_error;
	if (fatal_signal_pending(current))
		return -EINTR;
	if (m->flags & HMM_MIGRATE_TO_SYSTEM)
		ret = hmm_rmem_move_out(m->call.rmem, &move);
	else
		ret = hmm_rmem_move_in(m->call.rmem, &move);
	hmm_migrate_account(m, results, (end - start) >> PAGE_SHIFT);
	return ret;
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
 * mappings are.  Pages that are swapped out, or on another device, are fetched first.
 * Locked memory (mlock()) moves, too, when it is asked for.  What is on the device when
 * the call returns is mapped there, as far as nothing came in between.
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
	unsigned long nr, size = (end - start) >> PAGE_SHIFT;
	struct hmm_migrate *m;
	int ret = 0;

	if (moved)
		*moved = 0;
	if (!PAGE_ALIGNED(start) || !PAGE_ALIGNED(end) || start >= end ||
	    flags & ~(HMM_MIGRATE_TO_SYSTEM | HMM_MIGRATE_POPULATE) ||
	    flags == (HMM_MIGRATE_TO_SYSTEM | HMM_MIGRATE_POPULATE))
		return -EINVAL;
	if (results)
		memset(results, HMM_PAGE_SKIPPED, size);
	m = kzalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	ret = hmm_call_begin(&m->call, mirror);
	if (ret)
		goto out_free;
	m->flags = flags;
	bitmap_fill(m->all, HMM_MIGRATE_PAGES);
	if (!m->call.rmem)
		ret = -EOPNOTSUPP;
	for (; start < end && !ret; start += nr << PAGE_SHIFT) {
		u8 *r = results ? results : m->results;

		nr = min((end - start) >> PAGE_SHIFT, (unsigned long)HMM_MIGRATE_PAGES);
		memset(r, HMM_PAGE_SKIPPED, nr);
		ret = hmm_migrate_piece(m, start, start + (nr << PAGE_SHIFT), r);
		if (results)
			results += nr;
	}
	if (moved)
		*moved = m->moved;
	if (!ret)
		ret = m->error;
	hmm_call_end(&m->call);
out_free:
	kfree(m);
	return ret;
}
EXPORT_SYMBOL_NS(hmm_mirror_migrate, "HMM");

// SPDX-License-Identifier: GPL-2.0
/*
 * Patience with copies of pages of files.
 *
 * Owns what is noted of a pool about copies that have failed (struct hmm_rmem_patience), and
 * some pages in reserve that copies go by way of.
 *
 * The principle: nobody gives up what he could have had a moment later, and nobody waits
 * forever, or once for each of thousands of pages; but for an engine that hangs each time, of
 * which only the driver can say that it is lost.
 *
 * Locks: the page is locked; none is taken but those of a copy (copy.c).
 */
#include <kunit/visibility.h>
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/mempool.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include "pagecache_object.h"

/*
 * A hook tries to copy so often, and sleeps that long between two tries, at most; and not
 * much longer than this, if each takes its time.
 */
#define HMM_PAGECACHE_TRIES	16
#define HMM_PAGECACHE_SLEEP_MAX	100u
#define HMM_PAGECACHE_FETCH	(5 * HZ)

/*
 * A page that was given up less than this ago, without a copy that has worked since: then
 * others are not waited for any more.  A commit of a journal may be about thousands.  For reads
 * that have failed it is the same, but apart: they must not cost those their patience for whom
 * a copy that fails is a loss.
 */
#define HMM_PAGECACHE_GAVE_UP	(60 * HZ)

/* Then it is tried again only if that takes no time: an engine that hangs takes seconds. */
#define HMM_PAGECACHE_FETCH_MORE	(HZ / 2)

/* That long if the driver has no memory: there will be some, and the device has the page. */
unsigned long hmm_pagecache_nomem = 60 * HZ;
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_nomem);

/*
 * When that was over for one page, another is still tried so often, for that memory is short
 * for a moment should cost no page; but not for longer than this, for all of them together.
 */
#define HMM_PAGECACHE_NOMEM_TRIES	6
#define HMM_PAGECACHE_NOMEM_MORE	(5 * HZ)

/* Pages in reserve that copies go by way of: so many fetches go on if there is no memory. */
#define HMM_PAGECACHE_BOUNCES	4

static mempool_t *hmm_pagecache_bounces;

/**
 * hmm_rmem_renew_patience - a copy from the device has worked
 * @rmem: its pool
 *
 * Pages can be had again: it is worth while to wait for the next one.  That pages get there
 * says nothing of that.
 *
 * Context: any.
 */
void hmm_rmem_renew_patience(struct hmm_rmem *rmem)
{
	struct hmm_rmem_patience *all[] = { &rmem->gave_up, &rmem->read_failed };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(all); i++) {
		if (READ_ONCE(all[i]->engine))
			WRITE_ONCE(all[i]->engine, 0);
		if (READ_ONCE(all[i]->memory))
			WRITE_ONCE(all[i]->memory, 0);
	}
}

/**
 * struct hmm_pagecache_tries - copies of a page that have failed
 * @patience: of the pool, with those for whom this one is
 * @begun: when the first was begun, in jiffies
 * @broken: when the engine failed first
 * @engine: how often it has failed
 * @memory: how often the driver had none
 */
struct hmm_pagecache_tries {
	struct hmm_rmem_patience *patience;
	unsigned long begun;
	unsigned long broken;
	unsigned int engine;
	unsigned int memory;
};

/* Was it over with another page, a while ago? */
static bool hmm_pagecache_is_over(unsigned long over)
{
	return over && time_before(jiffies, over + HMM_PAGECACHE_GAVE_UP);
}

/* So long a copy that has failed may be tried again at once. */
static unsigned long hmm_pagecache_patience(const struct hmm_pagecache_tries *tries)
{
	unsigned long end = tries->broken + HMM_PAGECACHE_FETCH;

	if (hmm_pagecache_is_over(READ_ONCE(tries->patience->engine)))
		return HMM_PAGECACHE_FETCH_MORE;
	if (!tries->engine)
		return HMM_PAGECACHE_FETCH;
	return time_before(jiffies, end) ? end - jiffies : 0;
}

/* The engine has failed once more.  True: it is over. */
static bool hmm_pagecache_ends_engine(struct hmm_pagecache_tries *tries)
{
	if (!tries->engine++)
		tries->broken = jiffies;
	if (tries->engine < HMM_PAGECACHE_TRIES &&
	    (tries->engine == 1 || time_before(jiffies, tries->broken + HMM_PAGECACHE_FETCH)) &&
	    !hmm_pagecache_is_over(READ_ONCE(tries->patience->engine)))
		return false;
	WRITE_ONCE(tries->patience->engine, jiffies | 1);
	return true;
}

/* The driver had no memory once more.  True: it is over. */
static bool hmm_pagecache_ends_memory(struct hmm_pagecache_tries *tries)
{
	unsigned long over = READ_ONCE(tries->patience->memory);

	tries->memory++;
	if (hmm_pagecache_is_over(over))
		return tries->memory >= HMM_PAGECACHE_NOMEM_TRIES ||
		       time_after(jiffies, over + HMM_PAGECACHE_NOMEM_MORE);
	if (time_before(jiffies, tries->begun + hmm_pagecache_nomem))
		return false;
	WRITE_ONCE(tries->patience->memory, jiffies | 1);
	return true;
}

/* A copy has ended with @error.  False: that is the end.  Sleeps if it is not. */
static bool hmm_pagecache_tries_again(struct hmm_pagecache_tries *tries, int error)
{
	switch (error) {
	case 0:
	case -ENODEV:
		return false;
	case -ENOMEM:
		if (hmm_pagecache_ends_memory(tries))
			return false;
		break;
	default:
		if (hmm_pagecache_ends_engine(tries))
			return false;
	}
	msleep(min(1u << min(tries->engine + tries->memory, 10u), HMM_PAGECACHE_SLEEP_MAX));
	return true;
}

/**
 * hmm_pagecache_fetch - copy a page from its device, whatever it takes
 * @folio: the page, locked
 * @was: the state that it has had: owned
 * @may_fail: if it cannot be had it is not given up, but stays on the device
 *
 * By way of another page: a copy that fails leaves anything where it goes to, and the old
 * bytes of the page are what is left then.
 *
 * Context: may sleep.  Waits a second or so if copies fail, a minute if the driver has no memory
 * for them (but not for each page, if it goes on like that).  If the engine hangs, as long as the
 * driver takes to find out: some times, and once for each page if it goes on like that; a driver
 * should not let it, and declare the device lost.  Who may fail, and is killed, waits no longer.
 * Memory that could wait for a file system is not allocated; where there is none, who has one of
 * the pages in reserve is waited for.
 * Return: 0, or a negative errno: it cannot be had, and the page is as it was.
 */
int hmm_pagecache_fetch(struct folio *folio, struct hmm_swp_file was, bool may_fail)
{
	struct hmm_rmem *rmem = hmm_rmem_by_number(was.pool);
	struct hmm_pagecache_tries tries = {
		.patience = may_fail ? &rmem->read_failed : &rmem->gave_up,
		.begun = jiffies,
	};
	struct page *bounce = mempool_alloc(hmm_pagecache_bounces, GFP_NOFS);
	struct hmm_rmem_copy copy = {
		.system = bounce,
		.offset = (u64)was.frame << PAGE_SHIFT,
	};
	int error;

	lock_page(bounce);
	do {
		error = hmm_rmem_copy_page_out(rmem, &copy, hmm_pagecache_patience(&tries));
	} while (!(error && may_fail && fatal_signal_pending(current)) &&
		 hmm_pagecache_tries_again(&tries, error));
	if (!error)
		memcpy_page(folio_page(folio, 0), 0, bounce, 0, PAGE_SIZE);
	unlock_page(bounce);
	mempool_free(bounce, hmm_pagecache_bounces);
	return error;
}

/**
 * hmm_pagecache_fetch_init - get ready
 *
 * Context: Process context, may sleep.
 * Return: 0, or -ENOMEM.
 */
int hmm_pagecache_fetch_init(void)
{
	hmm_pagecache_bounces = mempool_create_page_pool(HMM_PAGECACHE_BOUNCES, 0);
	return hmm_pagecache_bounces ? 0 : -ENOMEM;
}

/**
 * hmm_pagecache_fetch_exit - undo hmm_pagecache_fetch_init()
 *
 * Context: Process context.
 */
void hmm_pagecache_fetch_exit(void)
{
	mempool_destroy(hmm_pagecache_bounces);
	hmm_pagecache_bounces = NULL;
}

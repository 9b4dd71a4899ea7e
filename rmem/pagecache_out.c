// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of files come back from a device, or a device's copies of them are dropped.
 *
 * It is always the same: the page is locked, BUSY is set, all translations are taken away,
 * and now nobody but us uses what the device has.  If that is the newest, it is copied; and
 * then the page has its new state.
 *
 * Two kinds of callers:
 *
 *   hooks	of the file system, for one page that they have locked, with whatever locks
 *		they have.  A copy that fails is tried again for a while.  If it still does,
 *		who reads the page, or calls write(2), gets an error, and it stays owned.  The
 *		others cannot fail: the page has what was written to disk last, as it has for
 *		all if the device is lost, and whoever waits for the file to be written
 *		(fsync()) hears of it.  Not by mapping_set_error(): of AS_EIO a journal can
 *		hear, and end itself.
 *   batches	for an eviction, which waits for no page, or for who asks for it: then the
 *		first page is waited for, and one behind it that is locked begins the next
 *		batch, for we would wait with pages locked for somebody who may wait for
 *		them.  A copy that fails leaves the page owned, and its old bytes, which
 *		are what is left if the device is lost then, as they were.
 *
 * Who evicts has no reference on the inode: its last one might be ours, and its end waits for
 * the file system; and a file system that is being unmounted writes all of it back without
 * giving any.  A page that is locked, and in the file, keeps the inode, for that cannot end
 * before it has locked all its pages:
 *
 *	eviction				end of the inode
 *	rcu_read_lock()
 *	what a frame is bound to: an inode
 *	 that has not been freed
 *	locks the page, finds it in the file
 *	rcu_read_unlock()
 *						truncate_inode_pages_final():
 *						 waits for the page
 *	copies it, changes its state
 *	unlocks it: the inode is not touched
 *	 any more
 *						...
 *						freed, after a grace period
 *
 * The principle: nothing here waits for a file system.  No memory is allocated that could
 * while a page is locked, and no lock or reference of one is taken.
 *
 * Locks: called with the page locked; i_mmap_rwsem and all that invalidations take, and
 * hmm_rmem.device_lock, inside of it.
 */
#include <kunit/visibility.h>
#include <linux/buffer_head.h>
#include <linux/errseq.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "pagecache_object.h"

/**
 * struct hmm_pagecache_batch - pages that come back together
 * @cache: of the inode; while the batch is empty it may be gone
 * @why: how to count them
 * @killable: the first page is waited for; otherwise it is tried only
 * @room: how many pages the batch can have
 * @nr: pages in the batch
 * @folios: locked and referenced
 * @slots: which of the caller's pages each is
 * @was: the states that they had
 * @copies: of those that were owned, to pages of the batch's own, of which there are @room
 * @copied: which of the batch each copy is
 * @errors: of each copy
 * @error: of a copy that has failed, in any of its runs, and may succeed later; or 0
 */
struct hmm_pagecache_batch {
	struct hmm_pagecache *cache;
	enum hmm_rmem_stat why;
	bool killable;
	unsigned int room;
	unsigned int nr;
	struct folio *folios[HMM_PAGECACHE_BATCH];
	unsigned int slots[HMM_PAGECACHE_BATCH];
	struct hmm_swp_file was[HMM_PAGECACHE_BATCH];
	struct hmm_rmem_copy copies[HMM_PAGECACHE_BATCH];
	unsigned int copied[HMM_PAGECACHE_BATCH];
	int errors[HMM_PAGECACHE_BATCH];
	int error;
};

/**
 * hmm_pagecache_straddles_end - is a part of the page beyond the end of the file?
 * @folio: page, locked
 *
 * Context: any.
 * Return: true if it is, or all of it.
 */
bool hmm_pagecache_straddles_end(struct folio *folio)
{
	return folio_pos(folio) + folio_size(folio) > i_size_read(folio->mapping->host);
}

/**
 * hmm_pagecache_set_error - bytes of a file are lost
 * @cache: of the inode
 *
 * The next fsync() of each file that is open says -EIO.
 *
 * Context: any.
 */
void hmm_pagecache_set_error(struct hmm_pagecache *cache)
{
	errseq_set(&cache->mapping->wb_err, -EIO);
	errseq_set(&cache->mapping->host->i_sb->s_wb_err, -EIO);
}

/**
 * hmm_pagecache_unmap - take all translations of pages away
 * @cache: of the inode
 * @index: of the first page, which is locked and BUSY, as are the others
 * @nr: pages
 *
 * Those of CPUs, and by the invalidation that this is those of devices, in system memory or
 * their own.  The kernel sends it to each mapping, also where no CPU has mapped the page.
 *
 * Context: may sleep, but waits for no file system.
 */
void hmm_pagecache_unmap(struct hmm_pagecache *cache, pgoff_t index, unsigned long nr)
{
	if (!hmm_pagecache_skips(HMM_PAGECACHE_SKIP_UNMAP))
		unmap_mapping_pages(cache->mapping, index, nr, false);
}

/**
 * hmm_pagecache_begin_out - a page begins to come back
 * @cache: of the inode
 * @folio: the page, locked
 * @to: the state that it is to have: LOCAL, or SHARED if it is owned
 * @was: out: the state that it has had
 *
 * Context: does not sleep.
 * Return: true: it is BUSY, to hmm_pagecache_unmap() and hmm_pagecache_end_out();
 * false: there is nothing to be done.
 */
bool hmm_pagecache_begin_out(struct hmm_pagecache *cache, struct folio *folio,
			     enum hmm_swp_file_state to, struct hmm_swp_file *was)
{
	*was = hmm_pagecache_state(cache, folio->index);
	if (was->state == HMM_SWP_FILE_LOCAL || was->state == to ||
	    WARN_ON_ONCE(was->state == HMM_SWP_FILE_BUSY))
		return false;
	hmm_pagecache_set(cache, folio, *was, hmm_pagecache_as(*was, HMM_SWP_FILE_BUSY));
	return true;
}

/**
 * hmm_pagecache_end_out - a page has come back, or its copy is dropped
 * @cache: of the inode
 * @folio: the page, locked
 * @was: the state that it has had
 * @to: the state that it gets
 * @why: how to count it if it is LOCAL
 * @error: of the copy, if it was owned.  Then it is LOCAL in any case, with old bytes.
 *
 * Context: does not sleep.
 */
void hmm_pagecache_end_out(struct hmm_pagecache *cache, struct folio *folio,
			   struct hmm_swp_file was, enum hmm_swp_file_state to,
			   enum hmm_rmem_stat why, int error)
{
	struct hmm_rmem *rmem = hmm_rmem_by_number(was.pool);
	struct hmm_swp_file now = was;

	now.state = to;
	now.poisoned = false;
	if (was.state == HMM_SWP_FILE_OWNED) {
		if (error) {
			if (was.poisoned)
				hmm_pagecache_unpoison(folio);
			hmm_pagecache_set_error(cache);
			now.state = HMM_SWP_FILE_LOCAL;
			why = HMM_RMEM_LOST;
		} else {
			hmm_rmem_count(rmem, HMM_RMEM_FILE_BACK, 1);
		}
		flush_dcache_folio(folio);
		/* Before the state says so: who is waiting for that has not locked the page. */
		folio_mark_uptodate(folio);
	}
	hmm_pagecache_set(cache, folio, hmm_pagecache_as(was, HMM_SWP_FILE_BUSY), now);
	if (now.state == HMM_SWP_FILE_LOCAL)
		hmm_rmem_unbind(rmem, was.frame, why);
}

/* Returns false if @may_fail and it has: the page is owned then. */
static bool hmm_pagecache_out(struct hmm_pagecache *cache, struct folio *folio,
			      enum hmm_swp_file_state to, enum hmm_rmem_stat why,
			      bool may_fail)
{
	unsigned int nofs = memalloc_nofs_save();
	struct hmm_swp_file was;
	bool done = true;
	int error = 0;

	if (hmm_pagecache_begin_out(cache, folio, to, &was)) {
		hmm_pagecache_unmap(cache, folio->index, 1);
		if (was.state == HMM_SWP_FILE_OWNED)
			error = hmm_pagecache_fetch(folio, was, may_fail);
		done = !may_fail || !error || error == -ENODEV;
		if (done)
			hmm_pagecache_end_out(cache, folio, was, to, why, error);
		else
			hmm_pagecache_set(cache, folio,
					  hmm_pagecache_as(was, HMM_SWP_FILE_BUSY), was);
	}
	memalloc_nofs_restore(nofs);
	return done;
}

/**
 * hmm_pagecache_bring_out - bring a page back, or drop its copy
 * @cache: of the inode
 * @folio: the page, locked
 * @to: the state that it gets: LOCAL, or SHARED if it is owned.  LOCAL if the device is lost,
 *	or the copy fails.
 * @why: how to count it if it is LOCAL
 *
 * Context: may sleep; waits for the device, which is bounded, and for no file system.
 */
void hmm_pagecache_bring_out(struct hmm_pagecache *cache, struct folio *folio,
			     enum hmm_swp_file_state to, enum hmm_rmem_stat why)
{
	hmm_pagecache_out(cache, folio, to, why, false);
}

/**
 * hmm_pagecache_try_out - bring a page back, unless its copy fails
 * @cache: of the inode
 * @folio: the page, locked
 * @to: the state that it gets: LOCAL, or SHARED if it is owned.  LOCAL if the device is lost.
 * @why: how to count it if it is LOCAL
 *
 * For who can fail: the newest bytes are on the device, and may be had later.
 *
 * Context: may sleep; waits for the device, which is bounded, and for no file system.
 * Return: true; false: the page is owned, as before, and not uptodate.
 */
bool hmm_pagecache_try_out(struct hmm_pagecache *cache, struct folio *folio,
			   enum hmm_swp_file_state to, enum hmm_rmem_stat why)
{
	return hmm_pagecache_out(cache, folio, to, why, true);
}

/**
 * hmm_pagecache_drop - nobody needs the bytes of a page any more
 * @cache: of the inode
 * @folio: the page, locked; LOCAL afterwards.  If it was owned it is not made uptodate.
 *
 * Context: may sleep; waits for the device, which is bounded, and for no file system.
 */
void hmm_pagecache_drop(struct hmm_pagecache *cache, struct folio *folio)
{
	struct hmm_swp_file was;

	if (!hmm_pagecache_begin_out(cache, folio, HMM_SWP_FILE_LOCAL, &was))
		return;
	hmm_pagecache_unmap(cache, folio->index, 1);
	hmm_pagecache_set(cache, folio, hmm_pagecache_as(was, HMM_SWP_FILE_BUSY),
			  (struct hmm_swp_file) { .state = HMM_SWP_FILE_LOCAL });
	hmm_rmem_unbind(hmm_rmem_by_number(was.pool), was.frame, HMM_RMEM_DROPPED);
}

static void hmm_pagecache_batch_free(struct hmm_pagecache_batch *batch)
{
	unsigned int i;

	for (i = 0; i < batch->room; i++) {
		unlock_page(batch->copies[i].system);
		__free_page(batch->copies[i].system);
	}
	kfree(batch);
}

/* For @nr pages, or fewer at a time; NULL: there is no memory. */
static struct hmm_pagecache_batch *hmm_pagecache_batch_new(struct hmm_pagecache *cache,
							   enum hmm_rmem_stat why,
							   bool killable, unsigned long nr)
{
	struct hmm_pagecache_batch *batch = kmalloc(sizeof(*batch), GFP_KERNEL);
	struct page *page;

	if (!batch)
		return NULL;
	batch->cache = cache;
	batch->why = why;
	batch->killable = killable;
	batch->nr = 0;
	batch->error = 0;
	for (batch->room = 0; batch->room < min_t(unsigned long, nr, HMM_PAGECACHE_BATCH);
	     batch->room++) {
		/* One is needed; it is not worth while to reclaim for the others. */
		page = alloc_page(batch->room ? GFP_NOWAIT | __GFP_NOWARN : GFP_KERNEL);
		if (!page)
			break;
		/* As the pages are that other copies go to. */
		lock_page(page);
		batch->copies[batch->room].system = page;
	}
	if (batch->room)
		return batch;
	hmm_pagecache_batch_free(batch);
	return NULL;
}

/* Returns it locked, or -ENOENT it is not there any more; -EBUSY; -EINTR killed. */
static struct folio *hmm_pagecache_batch_lock(struct hmm_pagecache_batch *batch, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(batch->cache->mapping, index);
	int ret = 0;

	if (IS_ERR(folio))
		return ERR_PTR(-ENOENT);
	if (!batch->nr && batch->killable)
		ret = folio_lock_killable(folio);
	else if (!folio_trylock(folio))
		ret = -EBUSY;
	if (!ret)
		return folio;
	folio_put(folio);
	return ERR_PTR(ret);
}

static void hmm_pagecache_batch_unlock(struct folio *folio)
{
	folio_unlock(folio);
	folio_put(folio);
}

/* A page of the file, which is locked, joins the batch; -ENOENT it has nothing on @rmem. */
static int hmm_pagecache_batch_take(struct hmm_pagecache_batch *batch, struct hmm_rmem *rmem,
				    struct folio *folio, unsigned int slot)
{
	struct hmm_swp_file *was = &batch->was[batch->nr];

	*was = hmm_pagecache_state(batch->cache, folio->index);
	if ((rmem && was->pool != rmem->number) ||
	    !hmm_pagecache_begin_out(batch->cache, folio, HMM_SWP_FILE_LOCAL, was))
		return -ENOENT;
	batch->folios[batch->nr] = folio;
	batch->slots[batch->nr++] = slot;
	return 0;
}

/*
 * Lock a page and take it into the batch, if it is on @rmem; NULL: wherever it is.  0; -ENOENT
 * it is not there any more; -EBUSY it is locked; -EINTR killed while waiting for it; -EAGAIN
 * the kernel has moved it meanwhile: it has other memory, and is where it was for us.
 */
static int hmm_pagecache_batch_add(struct hmm_pagecache_batch *batch, struct hmm_rmem *rmem,
				   pgoff_t index, unsigned int slot)
{
	struct folio *folio = hmm_pagecache_batch_lock(batch, index);
	int ret = -EAGAIN;

	if (IS_ERR(folio))
		return PTR_ERR(folio);
	if (folio->mapping == batch->cache->mapping)
		ret = hmm_pagecache_batch_take(batch, rmem, folio, slot);
	if (ret)
		hmm_pagecache_batch_unlock(folio);
	return ret;
}

/*
 * The same for what a frame is bound to, if that is the batch's inode, on which nobody needs to
 * have a reference.  Returns false if it is another's.
 */
static bool hmm_pagecache_batch_add_bound(struct hmm_pagecache_batch *batch,
					  struct hmm_rmem *rmem, unsigned long chunk,
					  unsigned int slot)
{
	struct hmm_pagecache *cache;
	struct folio *folio = ERR_PTR(-ENOENT);
	pgoff_t index;

	rcu_read_lock();
	cache = hmm_rmem_bound_to(rmem, chunk, slot, &index);
	if (cache == batch->cache)
		folio = hmm_pagecache_batch_lock(batch, index);
	if (!IS_ERR(folio) && folio->mapping != cache->mapping) {
		hmm_pagecache_batch_unlock(folio);
		folio = ERR_PTR(-EAGAIN);
	}
	rcu_read_unlock();
	/* From now on the page keeps the inode. */
	if (!IS_ERR(folio) && hmm_pagecache_batch_take(batch, rmem, folio, slot))
		hmm_pagecache_batch_unlock(folio);
	return cache == batch->cache;
}

static void hmm_pagecache_batch_unmap(struct hmm_pagecache_batch *batch)
{
	unsigned int i, run;
	pgoff_t index;

	for (i = 0; i < batch->nr; i += run) {
		index = batch->folios[i]->index;
		for (run = 1; i + run < batch->nr; run++)
			if (batch->folios[i + run]->index != index + run)
				break;
		hmm_pagecache_unmap(batch->cache, index, run);
	}
}

/*
 * Copy what was owned.  All of a batch is in one pool.  By way of other pages: a copy that fails
 * leaves anything where it goes to, and the device may be lost before the next.
 */
static void hmm_pagecache_batch_copy(struct hmm_pagecache_batch *batch)
{
	unsigned int i, nr = 0;

	for (i = 0; i < batch->nr; i++) {
		if (batch->was[i].state != HMM_SWP_FILE_OWNED) {
			hmm_pagecache_check_copy(batch->folios[i], batch->was[i], 0, 0);
			continue;
		}
		hmm_pagecache_check_owned(batch->folios[i], true);
		batch->copies[nr].offset = (u64)batch->was[i].frame << PAGE_SHIFT;
		batch->copied[nr++] = i;
	}
	if (nr)
		hmm_rmem_copy_out(hmm_rmem_by_number(batch->was[0].pool), batch->copies, nr,
				  batch->errors);
	for (i = 0; i < nr; i++)
		if (!batch->errors[i])
			memcpy_page(folio_page(batch->folios[batch->copied[i]], 0), 0,
				    batch->copies[i].system, 0, PAGE_SIZE);
}

static enum hmm_page_result hmm_pagecache_batch_end_page(struct hmm_pagecache_batch *batch,
							 unsigned int i, int error)
{
	struct hmm_swp_file was = batch->was[i];

	if (was.state == HMM_SWP_FILE_OWNED && error && error != -ENODEV) {
		/* As if nothing had happened: it may succeed later. */
		hmm_pagecache_set(batch->cache, batch->folios[i],
				  hmm_pagecache_as(was, HMM_SWP_FILE_BUSY), was);
		batch->error = error;
		return HMM_PAGE_FAILED;
	}
	hmm_pagecache_end_out(batch->cache, batch->folios[i], was, HMM_SWP_FILE_LOCAL,
			      batch->why, error);
	return error ? HMM_PAGE_LOST : HMM_PAGE_MOVED;
}

/*
 * Bring the pages of a batch home, and let go of them.  Sets the caller's @results, unless
 * it is NULL.  Returns how many frames are free now; the batch is empty.
 */
static unsigned int hmm_pagecache_batch_run(struct hmm_pagecache_batch *batch, u8 *results)
{
	unsigned int i, c = 0, freed = 0, nofs = memalloc_nofs_save();
	enum hmm_page_result result;
	int error;

	hmm_pagecache_batch_unmap(batch);
	hmm_pagecache_batch_copy(batch);
	for (i = 0; i < batch->nr; i++) {
		error = 0;
		if (batch->was[i].state == HMM_SWP_FILE_OWNED)
			error = batch->errors[c++];
		result = hmm_pagecache_batch_end_page(batch, i, error);
		if (result != HMM_PAGE_FAILED)
			freed++;
		if (results)
			results[batch->slots[i]] = result;
		hmm_pagecache_batch_unlock(batch->folios[i]);
	}
	batch->nr = 0;
	memalloc_nofs_restore(nofs);
	return freed;
}

static enum hmm_rmem_stat hmm_pagecache_why(u32 flags)
{
	if (flags & HMM_RMEM_MOVE_FAULT)
		return HMM_RMEM_OUT_FAULT;
	if (flags & HMM_RMEM_MOVE_EVICT)
		return HMM_RMEM_OUT_EVICT;
	if (flags & HMM_RMEM_MOVE_EVACUATE)
		return HMM_RMEM_OUT_EVACUATE;
	return HMM_RMEM_OUT;
}

/* Is it to come back?  Otherwise it has its result now. */
static bool hmm_pagecache_comes_out(struct hmm_rmem *rmem, struct hmm_pagecache_move *move,
				    struct hmm_pagecache *cache, unsigned long i,
				    struct hmm_swp_file *file)
{
	if (move->results[i] != HMM_PAGE_SKIPPED)
		return false;
	*file = hmm_pagecache_state(cache, move->index + i);
	if (file->state == HMM_SWP_FILE_LOCAL ||
	    (file->state == HMM_SWP_FILE_SHARED && file->pool != rmem->number)) {
		move->results[i] = HMM_PAGE_THERE;
		return false;
	}
	if (file->pool != rmem->number && !(move->flags & HMM_RMEM_MOVE_FAULT_IN)) {
		hmm_rmem_count(rmem, HMM_RMEM_BUSY, 1);
		move->results[i] = HMM_PAGE_BUSY;
		return false;
	}
	return true;
}

/* Another device's page, alone.  -EAGAIN once more; -EINTR killed. */
static int hmm_pagecache_move_other_out(struct hmm_pagecache_batch *batch,
					struct hmm_pagecache_move *move, unsigned long i)
{
	int ret = hmm_pagecache_batch_add(batch, NULL, move->index + i, i);

	if (ret == -EINTR || ret == -EAGAIN)
		return ret;
	if (!ret)
		hmm_pagecache_batch_run(batch, move->results);
	if (ret || move->results[i] == HMM_PAGE_MOVED)
		move->results[i] = HMM_PAGE_THERE;
	return 0;
}

/*
 * Page @i comes out with the batch, or has come out, or has its result.  -EBUSY, -EAGAIN: once
 * more, after -EBUSY the batch is empty; -EINTR killed.
 */
static int hmm_pagecache_move_one_out(struct hmm_rmem *rmem, struct hmm_pagecache_move *move,
				      struct hmm_pagecache_batch *batch, unsigned long i)
{
	struct hmm_swp_file file;
	int ret;

	if (!hmm_pagecache_comes_out(rmem, move, batch->cache, i, &file))
		return 0;
	if (file.pool != rmem->number) {
		hmm_pagecache_batch_run(batch, move->results);
		return hmm_pagecache_move_other_out(batch, move, i);
	}
	ret = hmm_pagecache_batch_add(batch, rmem, move->index + i, i);
	/* It will be waited for, without the others. */
	if (ret == -EBUSY || (!ret && batch->nr == batch->room))
		hmm_pagecache_batch_run(batch, move->results);
	if (ret == -ENOENT) {
		move->results[i] = HMM_PAGE_THERE;
		ret = 0;
	}
	return ret;
}

/**
 * hmm_pagecache_move_out - bring pages of a file home
 * @rmem: pool, referenced
 * @move: which; its results and its count are set
 *
 * With HMM_RMEM_MOVE_FAULT_IN what other devices own comes, too: it is not counted, and
 * HMM_PAGE_THERE.
 *
 * Context: Process context, no lock held.  Sleeps.
 * Return: 0 if each page has a result; -EINTR killed; -ENOMEM; -ENODEV the device is gone.
 */
int hmm_pagecache_move_out(struct hmm_rmem *rmem, struct hmm_pagecache_move *move)
{
	struct hmm_pagecache *cache = hmm_pagecache_of(move->file);
	struct hmm_pagecache_batch *batch;
	unsigned long i = 0;
	int ret = 0;

	might_sleep();
	move->moved = 0;
	if (!READ_ONCE(rmem->device))
		return -ENODEV;
	if (!cache) {
		for (i = 0; i < move->nr; i++)
			if (move->results[i] == HMM_PAGE_SKIPPED)
				move->results[i] = HMM_PAGE_THERE;
		return 0;
	}
	batch = hmm_pagecache_batch_new(cache, hmm_pagecache_why(move->flags), true, move->nr);
	if (!batch)
		return -ENOMEM;
	while (i < move->nr && ret != -EINTR) {
		ret = fatal_signal_pending(current) ? -EINTR :
		      hmm_pagecache_move_one_out(rmem, move, batch, i);
		if (!ret)
			i++;
		cond_resched();
	}
	hmm_pagecache_batch_run(batch, move->results);
	hmm_pagecache_batch_free(batch);
	for (i = 0; i < move->nr; i++)
		move->moved += move->results[i] == HMM_PAGE_MOVED;
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_move_out);

/*
 * Bring home what can be had of one inode, of the frames of a chunk from @slot on, and put
 * them down in @done.  Returns the number of frames that are free now.
 */
static unsigned long hmm_pagecache_evict_inode(struct hmm_rmem *rmem, unsigned long chunk,
					       unsigned int slot, unsigned long *done,
					       struct hmm_pagecache_batch *batch)
{
	unsigned long freed = 0;

	for (; slot < HMM_RMEM_CHUNK_PAGES; slot++) {
		if (!hmm_pagecache_batch_add_bound(batch, rmem, chunk, slot))
			continue;
		__set_bit(slot, done);
		if (batch->nr == batch->room)
			freed += hmm_pagecache_batch_run(batch, NULL);
	}
	return freed + hmm_pagecache_batch_run(batch, NULL);
}

/**
 * hmm_pagecache_evict - bring home all pages of files in a chunk
 * @rmem: pool
 * @chunk: index of the chunk
 * @why: how to count them
 * @busy: set if some stay
 * @error: set if that is because they cannot be copied: -EIO, or -ENOMEM
 *
 * Nobody is waited for but the device.
 *
 * Context: Process context, sleeps; hmm_rmem.evict_lock is held, and no other lock.
 * Return: how many frames were freed.
 */
unsigned long hmm_pagecache_evict(struct hmm_rmem *rmem, unsigned long chunk,
				  enum hmm_rmem_stat why, bool *busy, int *error)
{
	const unsigned long *files = rmem->chunks[chunk].file;
	DECLARE_BITMAP(done, HMM_RMEM_CHUNK_PAGES) = {};
	unsigned int nr = bitmap_weight(files, HMM_RMEM_CHUNK_PAGES), slot;
	struct hmm_pagecache_batch *batch;
	unsigned long freed = 0;
	pgoff_t index;

	lockdep_assert_held(&rmem->evict_lock);
	if (!nr)
		return 0;
	batch = hmm_pagecache_batch_new(NULL, why, false, nr);
	for (slot = 0; batch && slot < HMM_RMEM_CHUNK_PAGES; slot++) {
		if (test_bit(slot, done))
			continue;
		/* To be compared with; it may be gone, or another's, before it is used. */
		batch->cache = hmm_rmem_bound_to(rmem, chunk, slot, &index);
		if (batch->cache)
			freed += hmm_pagecache_evict_inode(rmem, chunk, slot, done, batch);
	}
	if (!batch)
		*error = -ENOMEM;
	else if (batch->error)
		*error = batch->error;
	if (batch)
		hmm_pagecache_batch_free(batch);
	if (!bitmap_empty(files, HMM_RMEM_CHUNK_PAGES))
		*busy = true;
	return freed;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_evict);

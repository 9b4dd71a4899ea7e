// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of files come back from a device, or a device's copies of them are dropped.
 *
 * Owns the references on inodes that are held while pages are brought home for the device's
 * sake (eviction, evacuation), and the work that drops them.
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
 *		them.  A copy that fails leaves the page owned.
 *
 * The principle: nothing here waits for a file system.  No memory is allocated that could,
 * no lock of one is taken, and the last reference on an inode is dropped elsewhere.
 *
 * Locks: called with the page locked; i_mmap_rwsem and all that invalidations take, and
 * hmm_rmem.device_lock, inside of it.
 */
#include <kunit/visibility.h>
#include <linux/buffer_head.h>
#include <linux/errseq.h>
#include <linux/fs.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "pagecache_object.h"

/**
 * struct hmm_pagecache_grip - a reference on an inode and its file system
 * @node: in hmm_pagecache_grips
 * @inode: the inode; NULL: it was too late for that
 * @sb: the file system
 */
struct hmm_pagecache_grip {
	struct llist_node node;
	struct inode *inode;
	struct super_block *sb;
};

/**
 * struct hmm_pagecache_batch - pages that come back together
 * @cache: of the inode
 * @why: how to count them
 * @killable: the first page is waited for; otherwise it is tried only
 * @nr: pages in the batch
 * @folios: locked and referenced
 * @slots: which of the caller's pages each is
 * @was: the states that they had
 * @copies: of those that were owned
 * @copied: which of the batch each copy is
 * @errors: of each copy
 */
struct hmm_pagecache_batch {
	struct hmm_pagecache *cache;
	enum hmm_rmem_stat why;
	bool killable;
	unsigned int nr;
	struct folio *folios[HMM_PAGECACHE_BATCH];
	unsigned int slots[HMM_PAGECACHE_BATCH];
	struct hmm_swp_file was[HMM_PAGECACHE_BATCH];
	struct hmm_rmem_copy copies[HMM_PAGECACHE_BATCH];
	unsigned int copied[HMM_PAGECACHE_BATCH];
	int errors[HMM_PAGECACHE_BATCH];
};

static struct workqueue_struct *hmm_pagecache_wq;
static LLIST_HEAD(hmm_pagecache_grips);

/* May be the last one, and end the inode, or the file system. */
static void hmm_pagecache_let_go(struct work_struct *work)
{
	struct llist_node *grips = llist_del_all(&hmm_pagecache_grips);
	struct hmm_pagecache_grip *grip, *next;

	llist_for_each_entry_safe(grip, next, grips, node) {
		iput(grip->inode);
		deactivate_super(grip->sb);
		kfree(grip);
	}
}

static DECLARE_WORK(hmm_pagecache_let_go_work, hmm_pagecache_let_go);

/*
 * Keep an inode that a frame was bound to a moment ago.  The caller is in the RCU read
 * section in which it saw that: so it has not been freed, whatever else has become of it.
 * Returns false if not even the file system can be kept.
 */
static bool hmm_pagecache_grab(struct hmm_pagecache *cache, struct hmm_pagecache_grip *grip)
{
	struct inode *inode = cache->mapping->host;

	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "the inode may be gone");
	grip->sb = inode->i_sb;
	if (!atomic_inc_not_zero(&grip->sb->s_active))
		return false;
	/* That it is being evicted must not make ours the last reference on the rest. */
	grip->inode = igrab(inode);
	return true;
}

static void hmm_pagecache_ungrab(struct hmm_pagecache_grip *grip)
{
	llist_add(&grip->node, &hmm_pagecache_grips);
	queue_work(hmm_pagecache_wq, &hmm_pagecache_let_go_work);
}

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

static struct hmm_pagecache_batch *hmm_pagecache_batch_new(struct hmm_pagecache *cache,
							   enum hmm_rmem_stat why,
							   bool killable)
{
	struct hmm_pagecache_batch *batch = kmalloc(sizeof(*batch), GFP_KERNEL);

	if (!batch)
		return NULL;
	batch->cache = cache;
	batch->why = why;
	batch->killable = killable;
	batch->nr = 0;
	return batch;
}

/*
 * Lock a page and take it into the batch, if it is on @rmem; NULL: wherever it is.  0; -ENOENT
 * it is not there any more; -EBUSY it is locked; -EINTR killed while waiting for it; -EAGAIN
 * the kernel has moved it meanwhile: it has other memory, and is where it was for us.
 */
static int hmm_pagecache_batch_add(struct hmm_pagecache_batch *batch, struct hmm_rmem *rmem,
				   pgoff_t index, unsigned int slot)
{
	struct hmm_pagecache *cache = batch->cache;
	struct hmm_swp_file *was = &batch->was[batch->nr];
	struct folio *folio;
	int ret = 0;

	folio = filemap_get_folio(cache->mapping, index);
	if (IS_ERR(folio))
		return -ENOENT;
	if (!batch->nr && batch->killable)
		ret = folio_lock_killable(folio);
	else if (!folio_trylock(folio))
		ret = -EBUSY;
	if (ret) {
		folio_put(folio);
		return ret;
	}
	ret = -EAGAIN;
	if (folio->mapping == cache->mapping) {
		*was = hmm_pagecache_state(cache, index);
		if ((!rmem || was->pool == rmem->number) &&
		    hmm_pagecache_begin_out(cache, folio, HMM_SWP_FILE_LOCAL, was)) {
			batch->folios[batch->nr] = folio;
			batch->slots[batch->nr++] = slot;
			return 0;
		}
		ret = -ENOENT;
	}
	folio_unlock(folio);
	folio_put(folio);
	return ret;
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

/* Copy what was owned.  All of a batch is in one pool. */
static void hmm_pagecache_batch_copy(struct hmm_pagecache_batch *batch)
{
	unsigned int i, nr = 0;

	for (i = 0; i < batch->nr; i++) {
		if (batch->was[i].state != HMM_SWP_FILE_OWNED) {
			hmm_pagecache_check_copy(batch->folios[i], batch->was[i], 0, 0);
			continue;
		}
		hmm_pagecache_check_owned(batch->folios[i], true);
		batch->copies[nr].system = folio_page(batch->folios[i], 0);
		batch->copies[nr].offset = (u64)batch->was[i].frame << PAGE_SHIFT;
		batch->copied[nr++] = i;
	}
	if (nr)
		hmm_rmem_copy_out(hmm_rmem_by_number(batch->was[0].pool), batch->copies, nr,
				  batch->errors);
}

static enum hmm_page_result hmm_pagecache_batch_end_page(struct hmm_pagecache_batch *batch,
							 unsigned int i, int error)
{
	struct hmm_swp_file was = batch->was[i];

	if (was.state == HMM_SWP_FILE_OWNED && error && error != -ENODEV) {
		/*
		 * As if nothing had happened: it may succeed later.  But for the old bytes,
		 * in the place of which there may be anything now.
		 */
		hmm_pagecache_set(batch->cache, batch->folios[i],
				  hmm_pagecache_as(was, HMM_SWP_FILE_BUSY), was);
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
		folio_unlock(batch->folios[i]);
		folio_put(batch->folios[i]);
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
	if (ret == -EBUSY || (!ret && batch->nr == HMM_PAGECACHE_BATCH))
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
	batch = hmm_pagecache_batch_new(cache, hmm_pagecache_why(move->flags), true);
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
	kfree(batch);
	for (i = 0; i < move->nr; i++)
		move->moved += move->results[i] == HMM_PAGE_MOVED;
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_move_out);

/*
 * Bring home what can be had of one inode, of the frames of a chunk from @slot on, and put
 * them down in @done; nothing else if it has not been @kept.  Returns the number of frames that
 * are free now.
 */
static unsigned long hmm_pagecache_evict_inode(struct hmm_rmem *rmem, unsigned long chunk,
					       unsigned int slot, unsigned long *done,
					       struct hmm_pagecache_batch *batch, bool kept)
{
	unsigned long freed = 0;
	pgoff_t index;

	for (; slot < HMM_RMEM_CHUNK_PAGES; slot++) {
		if (hmm_rmem_bound_to(rmem, chunk, slot, &index) != batch->cache)
			continue;
		__set_bit(slot, done);
		if (!kept)
			continue;
		hmm_pagecache_batch_add(batch, rmem, index, slot);
		if (batch->nr == HMM_PAGECACHE_BATCH)
			freed += hmm_pagecache_batch_run(batch, NULL);
	}
	return freed + hmm_pagecache_batch_run(batch, NULL);
}

/**
 * hmm_pagecache_evict - bring home all pages of files in a chunk
 * @rmem: pool
 * @chunk: index of the chunk
 * @why: how to count them
 * @busy: set if some could not be had now
 *
 * Nobody is waited for but the device.
 *
 * Context: Process context, sleeps; hmm_rmem.evict_lock is held, and no other lock.
 * Return: how many frames were freed.
 */
unsigned long hmm_pagecache_evict(struct hmm_rmem *rmem, unsigned long chunk,
				  enum hmm_rmem_stat why, bool *busy)
{
	DECLARE_BITMAP(done, HMM_RMEM_CHUNK_PAGES) = {};
	struct hmm_pagecache_batch *batch;
	struct hmm_pagecache_grip *grip;
	unsigned long freed = 0;
	unsigned int slot;
	pgoff_t index;
	bool kept;

	lockdep_assert_held(&rmem->evict_lock);
	if (bitmap_empty(rmem->chunks[chunk].file, HMM_RMEM_CHUNK_PAGES))
		return 0;
	batch = hmm_pagecache_batch_new(NULL, why, false);
	for (slot = 0; batch && slot < HMM_RMEM_CHUNK_PAGES; slot++) {
		if (test_bit(slot, done) || !test_bit(slot, rmem->chunks[chunk].file))
			continue;
		grip = kmalloc(sizeof(*grip), GFP_KERNEL);
		if (!grip)
			break;
		rcu_read_lock();
		batch->cache = hmm_rmem_bound_to(rmem, chunk, slot, &index);
		kept = batch->cache && hmm_pagecache_grab(batch->cache, grip);
		rcu_read_unlock();
		if (!kept) {
			kfree(grip);
			continue;
		}
		/* An inode that is not kept ends, and with it all that it has here. */
		freed += hmm_pagecache_evict_inode(rmem, chunk, slot, done, batch, grip->inode);
		hmm_pagecache_ungrab(grip);
	}
	kfree(batch);
	if (!bitmap_empty(rmem->chunks[chunk].file, HMM_RMEM_CHUNK_PAGES))
		*busy = true;
	return freed;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_evict);

/**
 * hmm_pagecache_out_init - get ready
 *
 * Return: 0 or -ENOMEM.
 */
int hmm_pagecache_out_init(void)
{
	hmm_pagecache_wq = alloc_workqueue("hmm_pagecache", WQ_UNBOUND, 0);
	return hmm_pagecache_wq ? 0 : -ENOMEM;
}

/**
 * hmm_pagecache_out_flush - wait until no reference on an inode is held any more
 *
 * Context: may sleep; holds nothing that the end of a file system may wait for.
 */
void hmm_pagecache_out_flush(void)
{
	flush_work(&hmm_pagecache_let_go_work);
}

/**
 * hmm_pagecache_out_exit - undo hmm_pagecache_out_init()
 *
 * Context: when there is no pool.
 */
void hmm_pagecache_out_exit(void)
{
	destroy_workqueue(hmm_pagecache_wq);
}

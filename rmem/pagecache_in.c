// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of files move to a device.
 *
 * Owns the work of a call, and what it has locked.  Two ways:
 *
 *   share	A page that the device reads, or may read: it gets a copy.  Many at a time:
 *		read what is not in the page cache, lock, take all translations away, make
 *		sure that nobody else uses the page, copy.  As long as it is locked nobody
 *		writes to it, for all who do lock it, or have a reference.
 *   own	A page that a store of the device is waiting for, and only for that: it is
 *		dirty from now on, and that a page is written to disk which nobody has
 *		written to is not harmless (it could undo direct I/O).  One at a time, by the
 *		file system's own page_mkwrite(), which is what a CPU that stores would go
 *		through: space is reserved, a frozen file system is left alone, the file
 *		has its new time; and it returns with the page locked.
 *
 * That nobody uses a page is said by the count of references.  Who reads it without the
 * lock takes one first, and then looks whether it is uptodate.  To become owned is the
 * other way round, in one moment:
 *
 *	read(2)				owned
 *	takes a reference
 *					freezes the count: fails, the page stays as it is
 *	uptodate: copies
 *
 *					freezes the count
 *	takes a reference: fails
 *					not uptodate
 *					lets the count go
 *	takes a reference
 *	not uptodate: locks the page
 *
 * New pages have references of the batches that CPUs put them into; these are emptied once
 * for all pages that are locked.
 *
 * Who holds the lock of a page may wait for another one's in writeback, with pages under
 * writeback that he has not even submitted.  So of the pages of a batch only the first is
 * waited for, its lock and its writeback, while no other is locked; the rest of them are
 * taken as they are, or are the first of the next batch.
 *
 * The principle: whatever goes wrong, the page is local, and as good as before.
 *
 * Locks, in this order: sb_start_write (own; only tried, so that nobody waits for a frozen
 * file system with an inode locked), i_rwsem for reading (nobody truncates, or writes other
 * than by a mapping), the page.  Called with none, not mmap_lock either.  None is held
 * while others are evicted.
 */
#include <kunit/visibility.h>
#include <linux/buffer_head.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/preempt.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/writeback.h>
#include "pagecache_object.h"

/* How often room is made for the same pages. */
#define HMM_PAGECACHE_EVICTIONS	16

/**
 * struct hmm_pagecache_in - a call
 * @rmem: the pool
 * @move: what the caller wants
 * @cache: of the inode
 * @inode: the inode
 * @evictions: how often room was made for the pages that it is at
 * @nr: pages that it is at
 * @slots: which of the caller's they are, ascending
 * @frames: where they go: places; NULL: it is in use
 * @folios: them, referenced; NULL: it has its result
 * @copies: of those that are copied
 * @copied: which page each copy is
 * @errors: of each copy
 */
struct hmm_pagecache_in {
	struct hmm_rmem *rmem;
	struct hmm_pagecache_move *move;
	struct hmm_pagecache *cache;
	struct inode *inode;
	unsigned int evictions;
	unsigned int nr;
	unsigned int slots[HMM_PAGECACHE_BATCH];
	struct page *frames[HMM_PAGECACHE_BATCH];
	struct folio *folios[HMM_PAGECACHE_BATCH];
	struct hmm_rmem_copy copies[HMM_PAGECACHE_BATCH];
	unsigned int copied[HMM_PAGECACHE_BATCH];
	int errors[HMM_PAGECACHE_BATCH];
};

static void hmm_pagecache_result(struct hmm_pagecache_in *in, unsigned long i,
				 enum hmm_page_result result)
{
	in->move->results[i] = result;
	if (result == HMM_PAGE_BUSY)
		hmm_rmem_count(in->rmem, HMM_RMEM_BUSY, 1);
	else if (result == HMM_PAGE_FULL)
		hmm_rmem_count(in->rmem, HMM_RMEM_FULL, 1);
	else if (result == HMM_PAGE_MOVED)
		in->move->moved++;
}

static bool hmm_pagecache_is_ours(const struct hmm_pagecache_in *in, struct hmm_swp_file file)
{
	return file.state != HMM_SWP_FILE_LOCAL && file.pool == in->rmem->number;
}

/*
 * Has somebody else had it moved since we looked?  To read it would fetch it from our own
 * device.
 */
static bool hmm_pagecache_is_there(const struct hmm_pagecache_in *in, unsigned long i)
{
	struct hmm_swp_file file = hmm_pagecache_state(in->cache, in->move->index + i);

	return file.state == HMM_SWP_FILE_OWNED && hmm_pagecache_is_ours(in, file);
}

static bool hmm_pagecache_wants_write(const struct hmm_pagecache_in *in, unsigned long i)
{
	return in->move->write && test_bit(i, in->move->write);
}

/* Does somebody wait for it?  What nobody does is moved only if it is easy. */
static bool hmm_pagecache_is_wanted(const struct hmm_pagecache_in *in, unsigned long i)
{
	return !in->move->want || test_bit(i, in->move->want);
}

/* The state of page @k, if it is in its frame. */
static struct hmm_swp_file hmm_pagecache_in_frame(const struct hmm_pagecache_in *in,
						  unsigned int k,
						  enum hmm_swp_file_state state)
{
	return (struct hmm_swp_file) {
		.state = state,
		.pool = in->rmem->number,
		.frame = hmm_rmem_frame(in->rmem, in->frames[k]),
	};
}

/* -ENODEV: nothing goes there any more; -EINTR: nobody waits for it. */
static int hmm_pagecache_may_go_on(const struct hmm_pagecache_in *in)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	if (!READ_ONCE(in->rmem->device) || READ_ONCE(in->rmem->closed) ||
	    READ_ONCE(in->rmem->lost))
		return -ENODEV;
	return 0;
}

/* Places for up to @wanted pages, with no lock held.  0: there is no room. */
static unsigned int hmm_pagecache_get_frames(struct hmm_pagecache_in *in, unsigned int wanted)
{
	unsigned int got;

	for (;;) {
		got = hmm_rmem_alloc_frames(in->rmem, in->frames, wanted);
		if (got || in->evictions++ == HMM_PAGECACHE_EVICTIONS ||
		    !hmm_rmem_evict(in->rmem, wanted))
			return got;
	}
}

static void hmm_pagecache_put_frames(struct hmm_pagecache_in *in, unsigned int got)
{
	unsigned int k;

	for (k = 0; k < got; k++)
		if (in->frames[k])
			hmm_rmem_free(in->rmem, &in->frames[k], 1);
}

static bool hmm_pagecache_is_past_end(const struct hmm_pagecache_in *in, unsigned long i)
{
	return in->move->index + i >= DIV_ROUND_UP_ULL(i_size_read(in->inode), PAGE_SIZE);
}

/* What is not in the page cache is read, with what comes after it. */
static struct folio *hmm_pagecache_read_page(struct hmm_pagecache_in *in, unsigned long i)
{
	struct address_space *mapping = in->cache->mapping;
	pgoff_t index = in->move->index + i;
	struct file *file = in->move->file;
	struct folio *folio;

	folio = filemap_get_folio(mapping, index);
	if (!IS_ERR(folio)) {
		if (folio_test_uptodate(folio))
			return folio;
		folio_put(folio);
	} else if (hmm_pagecache_is_wanted(in, i)) {
		page_cache_sync_readahead(mapping, &file->f_ra, file, index, in->move->nr - i);
	}
	if (!hmm_pagecache_is_wanted(in, i))
		return ERR_PTR(-EBUSY);
	return read_mapping_folio(mapping, index, file);
}

static enum hmm_page_result hmm_pagecache_read_result(int error)
{
	switch (error) {
	case -ENOMEM:
		return HMM_PAGE_FULL;
	case -EBUSY:
		return HMM_PAGE_BUSY;
	default:
		return HMM_PAGE_FAILED;
	}
}

/*
 * What speaks against a locked page of which nothing is known yet?  HMM_PAGE_SKIPPED:
 * nothing.
 */
static enum hmm_page_result hmm_pagecache_judge(struct hmm_pagecache_in *in,
						struct folio *folio, bool own)
{
	/* Thrown out, or fetched by another device, since it was read. */
	if (folio->mapping != in->cache->mapping || !folio_test_uptodate(folio))
		return HMM_PAGE_BUSY;
	if (folio_test_large(folio) || folio_test_hwpoison(folio) ||
	    IS_SWAPFILE(in->inode) || !in->cache->fs->may_move(in->inode, folio))
		return HMM_PAGE_UNSUPPORTED;
	/* Somebody has mlock()ed it, if not the one whose fault it is: he keeps his mapping. */
	if (in->move->flags & HMM_RMEM_MOVE_AUTO && folio_test_mlocked(folio))
		return HMM_PAGE_UNSUPPORTED;
	if (folio_pos(folio) >= i_size_read(in->inode))
		return HMM_PAGE_UNMAPPED;
	/* The blocks after the end are not reserved, and the bytes there not ours to write. */
	if (hmm_pagecache_straddles_end(folio) && (own || i_blocksize(in->inode) != PAGE_SIZE))
		return HMM_PAGE_UNSUPPORTED;
	if (folio_maybe_dma_pinned(folio))
		return HMM_PAGE_BUSY;
	return HMM_PAGE_SKIPPED;
}

/* Without buffers the kernel does not ask the file system before it drops a page. */
static void hmm_pagecache_make_buffers(struct hmm_pagecache_in *in, struct folio *folio)
{
	if (!folio_buffers(folio))
		create_empty_buffers(folio, i_blocksize(in->inode), 0);
}

/* Nothing maps the page, and nobody has a reference but the page cache and we. */
static bool hmm_pagecache_is_idle(const struct folio *folio)
{
	return !folio_mapped(folio) &&
	       folio_ref_count(folio) == folio_expected_ref_count(folio) + 1;
}

/*
 * Page @k, that is locked, becomes BUSY.  HMM_PAGE_SKIPPED: it is; otherwise its result.
 */
static enum hmm_page_result hmm_pagecache_begin_share(struct hmm_pagecache_in *in,
						      unsigned int k)
{
	struct folio *folio = in->folios[k];
	enum hmm_page_result result = hmm_pagecache_judge(in, folio, false);
	struct hmm_swp_file was;

	if (result != HMM_PAGE_SKIPPED)
		return result;
	was = hmm_pagecache_state(in->cache, folio->index);
	if (hmm_pagecache_is_ours(in, was))
		return HMM_PAGE_THERE;
	/* Another device has a copy.  One device at a time. */
	if (was.state != HMM_SWP_FILE_LOCAL) {
		if (!hmm_pagecache_is_wanted(in, in->slots[k]))
			return HMM_PAGE_BUSY;
		hmm_pagecache_check_copy(folio, was, 0, 0);
		hmm_pagecache_bring_out(in->cache, folio, HMM_SWP_FILE_LOCAL, HMM_RMEM_OUT);
	}
	hmm_pagecache_make_buffers(in, folio);
	was = (struct hmm_swp_file) { .state = HMM_SWP_FILE_LOCAL };
	if (hmm_pagecache_set(in->cache, folio, was,
			      hmm_pagecache_in_frame(in, k, HMM_SWP_FILE_BUSY)))
		return HMM_PAGE_FULL;
	return HMM_PAGE_SKIPPED;
}

/* Page @k has its result, and we have nothing more to do with it. */
static void hmm_pagecache_leave(struct hmm_pagecache_in *in, unsigned int k,
				enum hmm_page_result result, bool locked)
{
	hmm_pagecache_result(in, in->slots[k], result);
	if (locked)
		folio_unlock(in->folios[k]);
	folio_put(in->folios[k]);
	in->folios[k] = NULL;
}

/* It is BUSY, and stays where it is. */
static void hmm_pagecache_undo_share(struct hmm_pagecache_in *in, unsigned int k,
				     enum hmm_page_result result)
{
	hmm_pagecache_set(in->cache, in->folios[k],
			  hmm_pagecache_in_frame(in, k, HMM_SWP_FILE_BUSY),
			  (struct hmm_swp_file) { .state = HMM_SWP_FILE_LOCAL });
	hmm_pagecache_leave(in, k, result, true);
}

/*
 * Lock pages, from *@k on, and make them BUSY.  The first is waited for; a page that is
 * locked or under writeback ends the batch, and is the first of the next one.  *@k is the
 * end of the batch then.  -EINTR killed: the batch is good nevertheless.
 */
static int hmm_pagecache_lock_share(struct hmm_pagecache_in *in, unsigned int *k)
{
	enum hmm_page_result result;
	bool first = true;

	for (; *k < in->nr; ++*k) {
		struct folio *folio = in->folios[*k];

		if (!folio)
			continue;
		if (!hmm_pagecache_is_wanted(in, in->slots[*k])) {
			if (!folio_trylock(folio)) {
				hmm_pagecache_leave(in, *k, HMM_PAGE_BUSY, false);
				continue;
			}
			if (folio_test_writeback(folio)) {
				hmm_pagecache_leave(in, *k, HMM_PAGE_BUSY, true);
				continue;
			}
		} else if (first) {
			if (folio_lock_killable(folio))
				return -EINTR;
			folio_wait_writeback(folio);
		} else if (!folio_trylock(folio)) {
			return 0;
		} else if (folio_test_writeback(folio)) {
			folio_unlock(folio);
			return 0;
		}
		result = hmm_pagecache_begin_share(in, *k);
		if (result == HMM_PAGE_SKIPPED)
			first = false;
		else
			hmm_pagecache_leave(in, *k, result, true);
	}
	return 0;
}

/* Translations of what is locked of [@k, @end): runs of neighbours at once. */
static void hmm_pagecache_unmap_share(struct hmm_pagecache_in *in, unsigned int k,
				      unsigned int end)
{
	unsigned int run;

	for (; k < end; k += run) {
		run = 1;
		if (!in->folios[k])
			continue;
		while (k + run < end && in->folios[k + run] &&
		       in->slots[k + run] == in->slots[k] + run)
			run++;
		hmm_pagecache_unmap(in->cache, in->folios[k]->index, run);
	}
}

/* Those of [@k, @end) that somebody uses stay where they are. */
static void hmm_pagecache_sift_share(struct hmm_pagecache_in *in, unsigned int k,
				     unsigned int end)
{
	bool drained = false;

	for (; k < end; k++) {
		if (!in->folios[k] || hmm_pagecache_is_idle(in->folios[k]) ||
		    hmm_pagecache_skips(HMM_PAGECACHE_SKIP_COUNT))
			continue;
		if (!drained)
			hmm_swp_drain();
		drained = true;
		if (!hmm_pagecache_is_idle(in->folios[k]))
			hmm_pagecache_undo_share(in, k, HMM_PAGE_BUSY);
	}
}

/* Copy what is left of [@k, @end), and let go of it. */
static void hmm_pagecache_copy_share(struct hmm_pagecache_in *in, unsigned int k,
				     unsigned int end)
{
	unsigned int c, nr = 0;

	for (; k < end; k++) {
		if (!in->folios[k])
			continue;
		in->copies[nr].system = folio_page(in->folios[k], 0);
		in->copies[nr].offset =
			(u64)hmm_rmem_frame(in->rmem, in->frames[k]) << PAGE_SHIFT;
		in->copied[nr++] = k;
	}
	if (nr)
		hmm_rmem_copy_in(in->rmem, in->copies, nr, in->errors);
	for (c = 0; c < nr; c++) {
		struct folio *folio = in->folios[in->copied[c]];

		k = in->copied[c];
		if (in->errors[c]) {
			hmm_pagecache_undo_share(in, k, in->errors[c] == -ENOMEM ?
						 HMM_PAGE_FULL : HMM_PAGE_FAILED);
			continue;
		}
		hmm_rmem_bind(in->rmem, hmm_rmem_frame(in->rmem, in->frames[k]), in->cache,
			      folio->index);
		hmm_pagecache_set(in->cache, folio,
				  hmm_pagecache_in_frame(in, k, HMM_SWP_FILE_BUSY),
				  hmm_pagecache_in_frame(in, k, HMM_SWP_FILE_SHARED));
		in->frames[k] = NULL;
		hmm_pagecache_leave(in, k, HMM_PAGE_MOVED, true);
	}
}

/* The inode is locked; all pages get their results, but if we are killed. */
static int hmm_pagecache_share_locked(struct hmm_pagecache_in *in)
{
	unsigned int k, begin, nofs;
	struct folio *folio;
	int ret = 0;

	for (k = 0; k < in->nr; k++) {
		in->folios[k] = NULL;
		if (ret)
			continue;
		if (hmm_pagecache_is_past_end(in, in->slots[k])) {
			hmm_pagecache_result(in, in->slots[k], HMM_PAGE_UNMAPPED);
			continue;
		}
		if (hmm_pagecache_is_there(in, in->slots[k])) {
			hmm_pagecache_result(in, in->slots[k], HMM_PAGE_THERE);
			continue;
		}
		folio = hmm_pagecache_read_page(in, in->slots[k]);
		if (!IS_ERR(folio))
			in->folios[k] = folio;
		else if (fatal_signal_pending(current))
			ret = -EINTR;
		else
			hmm_pagecache_result(in, in->slots[k],
					     hmm_pagecache_read_result(PTR_ERR(folio)));
	}
	for (k = 0; k < in->nr && !ret;) {
		/* Who reclaims for us with pages locked must not wait for them. */
		nofs = memalloc_nofs_save();
		begin = k;
		ret = hmm_pagecache_lock_share(in, &k);
		hmm_pagecache_unmap_share(in, begin, k);
		hmm_pagecache_sift_share(in, begin, k);
		hmm_pagecache_copy_share(in, begin, k);
		memalloc_nofs_restore(nofs);
	}
	for (k = 0; k < in->nr; k++)
		if (in->folios[k])
			folio_put(in->folios[k]);
	return ret;
}

/* Choose pages to be shared, from *@i on, as many as can be locked at once. */
static void hmm_pagecache_choose_share(struct hmm_pagecache_in *in, unsigned long *i)
{
	in->nr = 0;
	for (; *i < in->move->nr && in->nr < HMM_PAGECACHE_BATCH; ++*i) {
		struct hmm_swp_file file;

		if (in->move->results[*i] != HMM_PAGE_SKIPPED ||
		    hmm_pagecache_wants_write(in, *i))
			continue;
		file = hmm_pagecache_state(in->cache, in->move->index + *i);
		if (file.state != HMM_SWP_FILE_BUSY && hmm_pagecache_is_ours(in, file))
			hmm_pagecache_result(in, *i, HMM_PAGE_THERE);
		else
			in->slots[in->nr++] = *i;
	}
}

static int hmm_pagecache_share(struct hmm_pagecache_in *in)
{
	unsigned long i = 0;
	unsigned int got;
	int ret = 0;

	while (!ret) {
		hmm_pagecache_choose_share(in, &i);
		if (!in->nr)
			break;
		ret = hmm_pagecache_may_go_on(in);
		if (ret)
			break;
		in->evictions = 0;
		got = hmm_pagecache_get_frames(in, in->nr);
		if (!got) {
			while (in->nr)
				hmm_pagecache_result(in, in->slots[--in->nr], HMM_PAGE_FULL);
			continue;
		}
		if (got < in->nr) {
			i = in->slots[got];
			in->nr = got;
		}
		ret = down_read_killable(&in->inode->i_rwsem);
		if (!ret) {
			ret = hmm_pagecache_share_locked(in);
			inode_unlock_shared(in->inode);
		}
		hmm_pagecache_put_frames(in, got);
		cond_resched();
	}
	return ret;
}

/* The file system's own.  It looks at the file of the mapping, and at the page. */
static vm_fault_t hmm_pagecache_mkwrite(struct hmm_pagecache_in *in, struct folio *folio)
{
	struct vm_area_struct vma = { .vm_file = in->move->file };
	struct vm_fault vmf = {
		.vma = &vma,
		.pgoff = folio->index,
		.flags = FAULT_FLAG_WRITE | FAULT_FLAG_MKWRITE,
	};

	vmf.page = folio_page(folio, 0);
	return in->cache->fs->page_mkwrite(&vmf);
}

/* Who had taken a reference before has it, and who takes one later finds it not uptodate. */
static bool hmm_pagecache_freeze(struct folio *folio)
{
	int refs = folio_expected_ref_count(folio) + 1;

	if (folio_mapped(folio))
		return false;
	if (hmm_pagecache_skips(HMM_PAGECACHE_SKIP_FREEZE)) {
		folio_clear_uptodate(folio);
		return true;
	}
	/* Somebody may spin until it is over. */
	preempt_disable();
	if (!folio_ref_freeze(folio, refs)) {
		preempt_enable();
		return false;
	}
	folio_clear_uptodate(folio);
	folio_ref_unfreeze(folio, refs);
	preempt_enable();
	return true;
}

/*
 * The page is locked, dirty, may move, and is local or on our device.  Make it owned.
 */
static enum hmm_page_result hmm_pagecache_own_page(struct hmm_pagecache_in *in,
						   struct folio *folio,
						   struct hmm_swp_file was)
{
	struct hmm_pagecache *cache = in->cache;
	bool copy = was.state == HMM_SWP_FILE_LOCAL;
	struct hmm_swp_file now = copy ?
		hmm_pagecache_in_frame(in, 0, HMM_SWP_FILE_BUSY) :
		hmm_pagecache_as(was, HMM_SWP_FILE_BUSY);
	int error = 0;

	if (hmm_pagecache_set(cache, folio, was, now))
		return HMM_PAGE_FULL;
	hmm_pagecache_unmap(cache, folio->index, 1);
	if (!hmm_pagecache_freeze(folio)) {
		hmm_swp_drain();
		if (!hmm_pagecache_freeze(folio)) {
			hmm_pagecache_set(cache, folio, now, was);
			return HMM_PAGE_BUSY;
		}
	}
	if (copy) {
		in->copies[0].system = folio_page(folio, 0);
		in->copies[0].offset = (u64)now.frame << PAGE_SHIFT;
		hmm_rmem_copy_in(in->rmem, in->copies, 1, &error);
	} else if (READ_ONCE(in->rmem->lost) || !READ_ONCE(in->rmem->device)) {
		/* Lost while we slept.  What it would own would be lost with it, for nothing. */
		error = -ENODEV;
	} else {
		hmm_pagecache_check_copy(folio, was, 0, 0);
	}
	if (error) {
		folio_mark_uptodate(folio);
		hmm_pagecache_set(cache, folio, now, was);
		return error == -ENOMEM ? HMM_PAGE_FULL : HMM_PAGE_FAILED;
	}
	if (copy) {
		hmm_rmem_bind(in->rmem, now.frame, cache, folio->index);
		in->frames[0] = NULL;
	}
	was = now;
	now.state = HMM_SWP_FILE_OWNED;
	now.poisoned = hmm_pagecache_poison(folio);
	hmm_pagecache_check_owned(folio, true);
	/* What a device writes behind the end nobody would make zero again. */
	WARN_ON_ONCE(hmm_pagecache_straddles_end(folio));
	hmm_pagecache_set(cache, folio, was, now);
	hmm_rmem_count(in->rmem, HMM_RMEM_FILE_OWNED, 1);
	return HMM_PAGE_MOVED;
}

/* The page is locked, and page_mkwrite() has been there. */
static enum hmm_page_result hmm_pagecache_own_writable(struct hmm_pagecache_in *in,
						       struct folio *folio)
{
	enum hmm_page_result result = hmm_pagecache_judge(in, folio, true);
	struct hmm_swp_file was;

	if (result != HMM_PAGE_SKIPPED)
		return result;
	/* It may have begun while page_mkwrite() slept. */
	if (atomic_read(&in->inode->i_dio_count))
		return HMM_PAGE_BUSY;
	folio_mark_dirty(folio);
	folio_wait_writeback(folio);
	was = hmm_pagecache_state(in->cache, folio->index);
	if (was.state != HMM_SWP_FILE_LOCAL && !hmm_pagecache_is_ours(in, was)) {
		hmm_pagecache_check_copy(folio, was, 0, 0);
		hmm_pagecache_bring_out(in->cache, folio, HMM_SWP_FILE_LOCAL, HMM_RMEM_OUT);
		was = (struct hmm_swp_file) { .state = HMM_SWP_FILE_LOCAL };
	}
	/* Our copy has been dropped since we thought that we need no room. */
	if (was.state == HMM_SWP_FILE_LOCAL && !in->frames[0])
		return HMM_PAGE_BUSY;
	return hmm_pagecache_own_page(in, folio, was);
}

/* Writes to the file system have begun, and the inode is locked. */
static enum hmm_page_result hmm_pagecache_own_locked(struct hmm_pagecache_in *in,
						     unsigned long i)
{
	enum hmm_page_result result = HMM_PAGE_FAILED;
	struct folio *folio;
	unsigned int nofs;

	if (hmm_pagecache_is_past_end(in, i))
		return HMM_PAGE_UNMAPPED;
	if (hmm_pagecache_is_there(in, i))
		return HMM_PAGE_THERE;
	/* Direct I/O is under way, and may be writing to this page. */
	if (atomic_read(&in->inode->i_dio_count))
		return HMM_PAGE_BUSY;
	folio = hmm_pagecache_read_page(in, i);
	if (IS_ERR(folio))
		return hmm_pagecache_read_result(PTR_ERR(folio));
	switch (hmm_pagecache_mkwrite(in, folio)) {
	case VM_FAULT_LOCKED:
		nofs = memalloc_nofs_save();
		result = hmm_pagecache_own_writable(in, folio);
		memalloc_nofs_restore(nofs);
		folio_unlock(folio);
		break;
	case VM_FAULT_NOPAGE:
		result = HMM_PAGE_BUSY;
		break;
	default:
		break;
	}
	folio_put(folio);
	return result;
}

/* A store of the device is waiting for page @i. */
static int hmm_pagecache_own(struct hmm_pagecache_in *in, unsigned long i)
{
	struct hmm_swp_file file = hmm_pagecache_state(in->cache, in->move->index + i);
	struct super_block *sb = in->inode->i_sb;
	enum hmm_page_result result;
	int ret;

	in->frames[0] = NULL;
	in->evictions = 0;
	ret = hmm_pagecache_may_go_on(in);
	if (ret)
		return ret;
	if (file.state == HMM_SWP_FILE_OWNED && hmm_pagecache_is_ours(in, file)) {
		hmm_pagecache_result(in, i, HMM_PAGE_THERE);
		return 0;
	}
	if (hmm_pagecache_is_resident(in->cache, in->move->index + i)) {
		hmm_pagecache_result(in, i, HMM_PAGE_BUSY);
		return 0;
	}
	if (!hmm_pagecache_is_ours(in, file) && !hmm_pagecache_get_frames(in, 1)) {
		hmm_pagecache_result(in, i, HMM_PAGE_FULL);
		return 0;
	}
	if (!sb_start_write_trylock(sb)) {
		hmm_pagecache_result(in, i, HMM_PAGE_BUSY);
		goto out_frame;
	}
	ret = down_read_killable(&in->inode->i_rwsem);
	if (!ret) {
		result = hmm_pagecache_own_locked(in, i);
		inode_unlock_shared(in->inode);
		hmm_pagecache_result(in, i, result);
	}
	sb_end_write(sb);
	if (!ret)
		balance_dirty_pages_ratelimited(in->cache->mapping);
out_frame:
	hmm_pagecache_put_frames(in, 1);
	return ret;
}

/**
 * hmm_pagecache_move_in - move pages of a file to a device
 * @rmem: its pool, referenced
 * @move: which; its results and its count are set
 *
 * Context: Process context, no lock held.  Sleeps; waits for the inode to be unlocked, and
 * for reads from disk.
 * Return: 0 if each page has a result; -EINTR killed; -ENOMEM; -ENODEV the pool is closed, or
 * the device lost or gone; -EOPNOTSUPP the file system was not taught.
 */
int hmm_pagecache_move_in(struct hmm_rmem *rmem, struct hmm_pagecache_move *move)
{
	struct hmm_pagecache *cache;
	struct hmm_pagecache_in *in;
	unsigned long i;
	int ret;

	might_sleep();
	move->moved = 0;
	cache = hmm_pagecache_get(move->file);
	if (cache == ERR_PTR(-EBUSY)) {
		for (i = 0; i < move->nr; i++) {
			if (move->results[i] != HMM_PAGE_SKIPPED)
				continue;
			move->results[i] = HMM_PAGE_BUSY;
			hmm_rmem_count(rmem, HMM_RMEM_BUSY, 1);
		}
		return 0;
	}
	if (IS_ERR(cache))
		return PTR_ERR(cache);
	in = kmalloc(sizeof(*in), GFP_KERNEL);
	if (!in)
		return -ENOMEM;
	in->rmem = rmem;
	in->move = move;
	in->cache = cache;
	in->inode = cache->mapping->host;
	ret = hmm_pagecache_share(in);
	for (i = 0; i < move->nr && !ret; i++)
		if (move->results[i] == HMM_PAGE_SKIPPED)
			ret = hmm_pagecache_own(in, i);
	kfree(in);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_move_in);

// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of files on devices: what a file system calls.
 *
 * Owns nothing.  include/hmm/pagecache.h says when each is called, and has the test that
 * all of them begin with.  Here the inode is one of which pages have been on a device.
 *
 * The principle: after a hook the file system, and the kernel around it, can go on as if
 * there were no devices.  What cannot be read now is, to them, a page that is not uptodate.
 *
 * Locks: the page is locked by the caller, and whatever else he has: a handle of the journal,
 * i_rwsem, invalidate_lock, mmap_lock, or all of it in reclaim.  So nothing is taken that
 * is outside of page locks, and nothing is allocated that could wait for the file system.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include "pagecache_object.h"

static bool hmm_pagecache_is_owned(struct hmm_pagecache *cache, const struct folio *folio)
{
	return hmm_pagecache_state(cache, folio->index).state == HMM_SWP_FILE_OWNED;
}

/*
 * The page is owned, and somebody wants to read it: let the page cache have its bytes, and the
 * device read on.  At the end of the file the rest of the page may be about to be made zero:
 * there it is local.  If copies fail it stays owned, and not uptodate, for old bytes would pass
 * for new ones.
 */
static void hmm_pagecache_read_owned(struct hmm_pagecache *cache, struct folio *folio)
{
	bool end = hmm_pagecache_straddles_end(folio);

	hmm_pagecache_check_owned(folio, true);
	if (hmm_pagecache_try_out(cache, folio,
				  end ? HMM_SWP_FILE_LOCAL : HMM_SWP_FILE_SHARED,
				  HMM_RMEM_OUT_FAULT))
		hmm_pagecache_note_recall(cache, folio->index);
}

/* Is it as its state says?  In [@offset, @offset + @length) a copy may differ. */
static void hmm_pagecache_check(struct hmm_pagecache *cache, struct folio *folio,
				size_t offset, size_t length)
{
	struct hmm_swp_file file = hmm_pagecache_state(cache, folio->index);

	if (file.state == HMM_SWP_FILE_OWNED)
		hmm_pagecache_check_owned(folio, true);
	else if (file.state == HMM_SWP_FILE_SHARED)
		hmm_pagecache_check_copy(folio, file, offset, length);
}

/* The page is to be local, with the newest bytes; [@offset, @offset + @length) may differ. */
static void hmm_pagecache_make_local(struct hmm_pagecache *cache, struct folio *folio,
				     size_t offset, size_t length, enum hmm_rmem_stat why)
{
	hmm_pagecache_check(cache, folio, offset, length);
	hmm_pagecache_bring_out(cache, folio, HMM_SWP_FILE_LOCAL, why);
}

/**
 * __hmm_pagecache_read - read_folio() begins
 * @cache: of the inode
 * @folio: locked
 *
 * Context: as hmm_pagecache_read().
 * Return: true if @folio is unlocked, and up to date unless copies fail.
 */
bool __hmm_pagecache_read(struct hmm_pagecache *cache, struct folio *folio)
{
	if (hmm_pagecache_skips(HMM_PAGECACHE_SKIP_READ))
		return false;
	if (!hmm_pagecache_is_owned(cache, folio)) {
		/* If something else is wrong with the page, the disk knows best. */
		hmm_pagecache_drop(cache, folio);
		return false;
	}
	hmm_pagecache_read_owned(cache, folio);
	folio_unlock(folio);
	return true;
}
EXPORT_SYMBOL_NS(__hmm_pagecache_read, "HMM");

/**
 * __hmm_pagecache_write - somebody is about to write to a page, or to make it writable
 * @cache: of the inode
 * @folio: locked
 *
 * Context: as hmm_pagecache_write().
 */
void __hmm_pagecache_write(struct hmm_pagecache *cache, struct folio *folio)
{
	if (!hmm_pagecache_skips(HMM_PAGECACHE_SKIP_WRITE))
		hmm_pagecache_make_local(cache, folio, 0, 0, HMM_RMEM_OUT_FAULT);
}
EXPORT_SYMBOL_NS(__hmm_pagecache_write, "HMM");

/**
 * __hmm_pagecache_write_begin - write(2) is about to write to a page
 * @cache: of the inode
 * @folio: locked
 *
 * What it leaves as it is must be the newest bytes.  That may be some of them also if it wants
 * to write all: not all that it writes from may be there.
 *
 * Context: as hmm_pagecache_write_begin().
 * Return: 0: @folio is local; -EIO: it is owned, as before.
 */
int __hmm_pagecache_write_begin(struct hmm_pagecache *cache, struct folio *folio)
{
	if (hmm_pagecache_skips(HMM_PAGECACHE_SKIP_WRITE))
		return 0;
	if (hmm_pagecache_is_owned(cache, folio)) {
		hmm_pagecache_check_owned(folio, true);
		return hmm_pagecache_try_out(cache, folio, HMM_SWP_FILE_LOCAL,
					     HMM_RMEM_OUT_FAULT) ? 0 : -EIO;
	}
	hmm_pagecache_make_local(cache, folio, 0, 0, HMM_RMEM_OUT_FAULT);
	return 0;
}
EXPORT_SYMBOL_NS(__hmm_pagecache_write_begin, "HMM");

/**
 * __hmm_pagecache_writeback - a page is about to be written to disk
 * @cache: of the inode
 * @folio: locked, not dirty any more
 * @length: bytes of it that are in the file, for who writes it
 *
 * What somebody has written to the page behind the end of the file is made zero next: a copy
 * that the device has would keep it.  That is not for us to find out: who truncates sets
 * i_size first, and waits for us later.
 *
 *	writeback			truncate
 *	we: nothing is behind the end
 *					i_size is in this page
 *	zeroes behind i_size
 *					waits for the page
 *	(page and copy differ)
 *
 * Context: as hmm_pagecache_writeback(); also of the thread that commits a journal.
 */
void __hmm_pagecache_writeback(struct hmm_pagecache *cache, struct folio *folio, size_t length)
{
	bool end = length < folio_size(folio);

	if (hmm_pagecache_skips(HMM_PAGECACHE_SKIP_WRITEBACK))
		return;
	if (hmm_pagecache_is_owned(cache, folio)) {
		hmm_pagecache_check_owned(folio, false);
		hmm_pagecache_bring_out(cache, folio,
					end ? HMM_SWP_FILE_LOCAL : HMM_SWP_FILE_SHARED,
					HMM_RMEM_OUT_FAULT);
	} else if (end) {
		hmm_pagecache_make_local(cache, folio, 0, 0, HMM_RMEM_OUT_FAULT);
	}
}
EXPORT_SYMBOL_NS(__hmm_pagecache_writeback, "HMM");

/**
 * __hmm_pagecache_invalidate - invalidate_folio() begins
 * @cache: of the inode
 * @folio: locked
 * @offset: in @folio
 * @length: from there
 *
 * Who truncates a part of a page has written zeroes there, to what the page cache has.  If
 * that was old, they have been overwritten here, and are written once more.
 *
 * Context: as hmm_pagecache_invalidate().
 */
void __hmm_pagecache_invalidate(struct hmm_pagecache *cache, struct folio *folio,
				size_t offset, size_t length)
{
	bool owned = hmm_pagecache_is_owned(cache, folio);

	if (hmm_pagecache_skips(HMM_PAGECACHE_SKIP_INVALIDATE))
		return;
	if (!offset && length == folio_size(folio)) {
		/* Nobody needs it any more, but a missed hook would stay unseen. */
		hmm_pagecache_check(cache, folio, 0, 0);
		hmm_pagecache_drop(cache, folio);
		return;
	}
	hmm_pagecache_make_local(cache, folio, offset, length, HMM_RMEM_OUT_FAULT);
	if (owned && !hmm_pagecache_skips(HMM_PAGECACHE_SKIP_ZERO))
		folio_zero_range(folio, offset, length);
}
EXPORT_SYMBOL_NS(__hmm_pagecache_invalidate, "HMM");

/**
 * __hmm_pagecache_discard - a dirty page is given up
 * @cache: of the inode
 * @folio: locked
 *
 * Context: as hmm_pagecache_discard().
 */
void __hmm_pagecache_discard(struct hmm_pagecache *cache, struct folio *folio)
{
	if (hmm_pagecache_skips(HMM_PAGECACHE_SKIP_DISCARD))
		return;
	if (hmm_pagecache_is_owned(cache, folio))
		hmm_pagecache_set_error(cache);
	hmm_pagecache_drop(cache, folio);
}
EXPORT_SYMBOL_NS(__hmm_pagecache_discard, "HMM");

/**
 * __hmm_pagecache_release - release_folio() begins
 * @cache: of the inode
 * @folio: locked
 * @gfp: as release_folio() has it
 *
 * To drop a copy, translations are taken away, which may wait for devices.  Where the kernel
 * only wants to be rid of buffers (@gfp is 0) while it reclaims memory, that is too much.  No
 * byte depends on that refusal, nor on that of an owned page, as long as its buffers are
 * dirty and who frees buffers looks at that: only the time depends on them that reclaim
 * takes.
 *
 * Otherwise reclaim may do it, also if it must not wait for a file system: so it does with
 * pages that processes map.  Were it refused then, a cgroup could be out of memory with
 * nothing in it but clean pages.
 *
 * Context: as hmm_pagecache_release(); also in reclaim.
 * Return: true: @folio is local; false: it stays as it is.
 */
bool __hmm_pagecache_release(struct hmm_pagecache *cache, struct folio *folio, gfp_t gfp)
{
	struct hmm_swp_file file = hmm_pagecache_state(cache, folio->index);

	if (file.state == HMM_SWP_FILE_LOCAL ||
	    hmm_pagecache_skips(HMM_PAGECACHE_SKIP_RELEASE))
		return true;
	if (file.state == HMM_SWP_FILE_OWNED)
		return false;
	if (!gfp && current->flags & PF_MEMALLOC)
		return false;
	hmm_pagecache_make_local(cache, folio, 0, 0, HMM_RMEM_DROPPED);
	return true;
}
EXPORT_SYMBOL_NS(__hmm_pagecache_release, "HMM");

/**
 * __hmm_pagecache_recall - is_partially_uptodate() begins
 * @cache: of the inode
 * @folio: locked
 *
 * Context: as hmm_pagecache_recall().
 * Return: true if it was owned: @folio is up to date now, unless copies fail.
 */
bool __hmm_pagecache_recall(struct hmm_pagecache *cache, struct folio *folio)
{
	if (!hmm_pagecache_is_owned(cache, folio) ||
	    hmm_pagecache_skips(HMM_PAGECACHE_SKIP_RECALL))
		return false;
	hmm_pagecache_read_owned(cache, folio);
	return true;
}
EXPORT_SYMBOL_NS(__hmm_pagecache_recall, "HMM");

/**
 * __hmm_pagecache_recall_all - no page of the file may be on a device
 * @cache: of the inode
 *
 * Context: as hmm_pagecache_recall_all().
 */
void __hmm_pagecache_recall_all(struct hmm_pagecache *cache)
{
	unsigned long index = 0;
	struct folio *folio;

	if (hmm_pagecache_skips(HMM_PAGECACHE_SKIP_RECALL_ALL))
		return;
	while (xa_find(&cache->pages, &index, ULONG_MAX, XA_PRESENT)) {
		folio = filemap_lock_folio(cache->mapping, index);
		/* Otherwise it has just been invalidated. */
		if (!IS_ERR(folio)) {
			hmm_pagecache_make_local(cache, folio, 0, 0, HMM_RMEM_OUT);
			folio_unlock(folio);
			folio_put(folio);
		}
		if (index++ == ULONG_MAX)
			break;
		cond_resched();
	}
}
EXPORT_SYMBOL_NS(__hmm_pagecache_recall_all, "HMM");

// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of files on devices: what is only there to find mistakes.
 *
 *   hmm/pagecache_verify	Y: old bytes are made unusable when a device gets to own the
 *				page, what must be true of an owned page is looked at when it
 *				comes back, and a copy is compared with the page before it
 *				is dropped.  Y by default where the kernel itself is checked
 *				for mistakes (DEBUG_VM).
 *   hmm/pagecache_skip		parts that are left out: a set of enum hmm_pagecache_skip.  To
 *				see that the tests find it.  Not on kernels without KUnit.
 *   hmm/pagecache_inodes	inodes of which something is known, and that have not ended yet
 *
 * A file system that misses a hook reads or writes the bytes of the page cache while a
 * device has newer ones.  These differ rarely, and only from what was there a moment ago, so
 * that a test may not see it.  So the old ones are exchanged for others, that nobody could
 * take for right; in a way that can be undone, for they are what is left if the device is
 * lost.
 *
 * Owns the switches.
 *
 * Locks: none; the page is locked.
 */
#include <kunit/visibility.h>
#include <linux/buffer_head.h>
#include <linux/debugfs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/string.h>
#include "pagecache_object.h"

#define HMM_PAGECACHE_POISON	0xa5a5a5a5a5a5a5a5ul

bool hmm_pagecache_verify = IS_ENABLED(CONFIG_DEBUG_VM);
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_verify);

static u32 hmm_pagecache_skipped;

/**
 * hmm_pagecache_skips - is a part left out?
 * @part: part
 *
 * Context: any.
 * Return: true if it is.
 */
bool hmm_pagecache_skips(enum hmm_pagecache_skip part)
{
	return IS_ENABLED(CONFIG_KUNIT) &&
	       unlikely(READ_ONCE(hmm_pagecache_skipped) & BIT(part));
}

/* Is everything there that writeback needs? */
static bool hmm_pagecache_buffers_are_dirty(struct folio *folio)
{
	struct buffer_head *head = folio_buffers(folio), *bh = head;

	if (!head)
		return false;
	do {
		if (!buffer_dirty(bh) || !buffer_uptodate(bh) ||
		    (!buffer_mapped(bh) && !buffer_delay(bh)))
			return false;
		bh = bh->b_this_page;
	} while (bh != head);
	return true;
}

/**
 * hmm_pagecache_check_owned - see whether a page is as an owned one has to be
 * @folio: page, locked, owned
 * @dirty: it is still dirty; writeback has not begun
 *
 * Context: any.
 */
void hmm_pagecache_check_owned(struct folio *folio, bool dirty)
{
	if (!READ_ONCE(hmm_pagecache_verify))
		return;
	WARN_ON_ONCE(folio_test_large(folio));
	WARN_ON_ONCE(folio_test_uptodate(folio));
	WARN_ON_ONCE(folio_test_writeback(folio));
	WARN_ON_ONCE(folio_mapped(folio));
	WARN_ON_ONCE(dirty && !folio_test_dirty(folio));
	WARN_ON_ONCE(!hmm_pagecache_buffers_are_dirty(folio));
}

/**
 * hmm_pagecache_check_copy - see whether a device's copy is one
 * @folio: page, locked, shared
 * @file: its state
 * @offset: in the page: from where on it may differ
 * @length: from there; 0: nowhere
 *
 * Context: may sleep.  Not in reclaim: it needs memory.
 */
void hmm_pagecache_check_copy(struct folio *folio, struct hmm_swp_file file, size_t offset,
			      size_t length)
{
	struct hmm_rmem *rmem = hmm_rmem_by_number(file.pool);
	struct hmm_rmem_copy copy = { .offset = (u64)file.frame << PAGE_SHIFT };
	const char *want, *have;
	size_t end = offset + length;
	int error;

	if (!READ_ONCE(hmm_pagecache_verify) || current->flags & PF_MEMALLOC)
		return;
	copy.system = alloc_page(GFP_NOFS | __GFP_NORETRY | __GFP_NOWARN);
	if (!copy.system)
		return;
	lock_page(copy.system);
	if (hmm_rmem_copy_out(rmem, &copy, 1, &error)) {
		want = kmap_local_folio(folio, 0);
		have = kmap_local_page(copy.system);
		WARN_ONCE(memcmp(want, have, offset) ||
			  memcmp(want + end, have + end, PAGE_SIZE - end),
			  "hmm_core: page %lu of inode %lu and its copy differ\n",
			  folio->index, (unsigned long)folio->mapping->host->i_ino);
		kunmap_local(have);
		kunmap_local(want);
	}
	unlock_page(copy.system);
	__free_page(copy.system);
}

static void hmm_pagecache_flip(struct folio *folio)
{
	unsigned long *words = kmap_local_folio(folio, 0);
	unsigned int i;

	for (i = 0; i < PAGE_SIZE / sizeof(*words); i++)
		words[i] ^= HMM_PAGECACHE_POISON;
	kunmap_local(words);
	flush_dcache_folio(folio);
}

/**
 * hmm_pagecache_poison - make old bytes unusable
 * @folio: page, locked, not uptodate any more, to be owned
 *
 * Context: any.
 * Return: true if it was done.
 */
bool hmm_pagecache_poison(struct folio *folio)
{
	if (!READ_ONCE(hmm_pagecache_verify))
		return false;
	hmm_pagecache_flip(folio);
	return true;
}

/**
 * hmm_pagecache_unpoison - undo hmm_pagecache_poison()
 * @folio: as there
 *
 * Context: any.
 */
void hmm_pagecache_unpoison(struct folio *folio)
{
	hmm_pagecache_flip(folio);
}

/**
 * hmm_pagecache_debugfs_init - make the switches
 * @dir: directory of the core, which is removed with all that is in it
 *
 * Context: Process context, may sleep.
 */
void hmm_pagecache_debugfs_init(struct dentry *dir)
{
	debugfs_create_bool("pagecache_verify", 0644, dir, &hmm_pagecache_verify);
	debugfs_create_atomic_t("pagecache_inodes", 0444, dir, &hmm_pagecache_inodes);
	if (IS_ENABLED(CONFIG_KUNIT))
		debugfs_create_x32("pagecache_skip", 0644, dir, &hmm_pagecache_skipped);
}

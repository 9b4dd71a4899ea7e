/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages of files on devices: what the files pagecache*.c share among themselves.
 *
 * Who owns what:
 *
 *   hmm_pagecache	what is known of one inode; the file system's inode owns it, and it
 *			outlives that by a grace period
 *   frame		a page of a pool by its number.  Its struct page is never looked at.
 *			Who has allocated it owns it, until it is bound to a page of a
 *			file; then the entry of that does, and from then on it is the
 *			one who holds the lock of the page that may take it away.
 */
#ifndef _HMM_PAGECACHE_OBJECT_H
#define _HMM_PAGECACHE_OBJECT_H

#include <linux/atomic.h>
#include <linux/rcupdate.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include <hmm/pagecache.h>
#include "../swap_entry/file.h"
#include "pagecache_private.h"
#include "rmem_private.h"

struct address_space;
struct folio;

/* Pages that are locked at the same time, at most. */
#define HMM_PAGECACHE_BATCH	128

/* Pages of one inode of which it is remembered that the CPU has just fetched them. */
#define HMM_PAGECACHE_RECALLS	8

/**
 * struct hmm_pagecache_recall - the CPU has fetched a page
 * @index: of the page
 * @until: it stays until then, in jiffies
 */
struct hmm_pagecache_recall {
	pgoff_t index;
	unsigned long until;
};

/**
 * struct hmm_pagecache - what is known of one inode
 * @mapping: of the inode; constant
 * @fs: its file system; constant
 * @pages: entries, by index in the file: struct hmm_swp_file.  Changed by who has locked
 *	the page, with its spinlock; read by anybody.
 * @preparing: one at a time asks the file system to make the file ready
 * @ready: it has made the file ready for moves
 * @retry: if it could not: it is not asked again before that, in jiffies
 * @pause: how long that was the last time
 * @settled: a page is BUSY no more
 * @recalls: by a hash of the index; no lock, for they are hints
 * @rcu: end of it
 */
struct hmm_pagecache {
	struct address_space *mapping;
	const struct hmm_pagecache_fs *fs;
	struct xarray pages;
	struct mutex preparing;
	bool ready;
	unsigned long retry;
	unsigned int pause;
	wait_queue_head_t settled;
	struct hmm_pagecache_recall recalls[HMM_PAGECACHE_RECALLS];
	struct rcu_head rcu;
};

/* pagecache.c: objects and states */
extern atomic_t hmm_pagecache_inodes;
struct hmm_pagecache *hmm_pagecache_of(const struct file *file);
struct hmm_pagecache *hmm_pagecache_get(const struct file *file);
struct hmm_swp_file hmm_pagecache_state(struct hmm_pagecache *cache, pgoff_t index);
bool hmm_pagecache_is_legal(enum hmm_swp_file_state from, enum hmm_swp_file_state to);
int hmm_pagecache_set(struct hmm_pagecache *cache, const struct folio *folio,
		      struct hmm_swp_file was, struct hmm_swp_file now);
void hmm_pagecache_note_recall(struct hmm_pagecache *cache, pgoff_t index);
bool hmm_pagecache_is_resident(struct hmm_pagecache *cache, pgoff_t index);

/* The same page of the device, in another state. */
static inline struct hmm_swp_file hmm_pagecache_as(struct hmm_swp_file file,
						   enum hmm_swp_file_state state)
{
	file.state = state;
	return file;
}

/* pagecache_fetch.c: how long to try to have a page */
extern unsigned long hmm_pagecache_nomem;
int hmm_pagecache_fetch_init(void);
void hmm_pagecache_fetch_exit(void);
int hmm_pagecache_fetch(struct folio *folio, struct hmm_swp_file was, bool may_fail);

/* pagecache_out.c: back from the device */
bool hmm_pagecache_begin_out(struct hmm_pagecache *cache, struct folio *folio,
			     enum hmm_swp_file_state to, struct hmm_swp_file *was);
void hmm_pagecache_unmap(struct hmm_pagecache *cache, pgoff_t index, unsigned long nr);
void hmm_pagecache_end_out(struct hmm_pagecache *cache, struct folio *folio,
			   struct hmm_swp_file was, enum hmm_swp_file_state to,
			   enum hmm_rmem_stat why, int error);
void hmm_pagecache_bring_out(struct hmm_pagecache *cache, struct folio *folio,
			     enum hmm_swp_file_state to, enum hmm_rmem_stat why);
bool hmm_pagecache_try_out(struct hmm_pagecache *cache, struct folio *folio,
			   enum hmm_swp_file_state to, enum hmm_rmem_stat why);
void hmm_pagecache_drop(struct hmm_pagecache *cache, struct folio *folio);
void hmm_pagecache_set_error(struct hmm_pagecache *cache);
bool hmm_pagecache_straddles_end(struct folio *folio);

/* frame.c: pages of pools by number */
struct hmm_rmem *hmm_rmem_by_number(u32 number);
int hmm_rmem_number(struct hmm_rmem *rmem);
void hmm_rmem_unnumber(struct hmm_rmem *rmem);
unsigned long hmm_rmem_frame(const struct hmm_rmem *rmem, const struct page *page);
unsigned long hmm_rmem_alloc_frames(struct hmm_rmem *rmem, struct page **pages,
				    unsigned long nr);
void hmm_rmem_bind(struct hmm_rmem *rmem, unsigned long frame, struct hmm_pagecache *cache,
		   pgoff_t index);
void hmm_rmem_unbind(struct hmm_rmem *rmem, unsigned long frame, enum hmm_rmem_stat why);
struct hmm_pagecache *hmm_rmem_bound_to(struct hmm_rmem *rmem, unsigned long chunk,
					unsigned int slot, pgoff_t *index);
void hmm_rmem_free_files(struct hmm_rmem *rmem);

/* pagecache_check.c: what is only there to find mistakes */

/**
 * enum hmm_pagecache_skip - parts that can be left out, for tests of the tests
 * @HMM_PAGECACHE_SKIP_READ: hmm_pagecache_read()
 * @HMM_PAGECACHE_SKIP_WRITE: hmm_pagecache_write()
 * @HMM_PAGECACHE_SKIP_WRITEBACK: hmm_pagecache_writeback()
 * @HMM_PAGECACHE_SKIP_INVALIDATE: hmm_pagecache_invalidate()
 * @HMM_PAGECACHE_SKIP_ZERO: the zeroes of a partial hmm_pagecache_invalidate()
 * @HMM_PAGECACHE_SKIP_DISCARD: hmm_pagecache_discard()
 * @HMM_PAGECACHE_SKIP_RELEASE: hmm_pagecache_release()
 * @HMM_PAGECACHE_SKIP_RECALL: hmm_pagecache_recall()
 * @HMM_PAGECACHE_SKIP_RECALL_ALL: hmm_pagecache_recall_all()
 * @HMM_PAGECACHE_SKIP_FREEZE: that nobody uses a page that becomes owned
 * @HMM_PAGECACHE_SKIP_COUNT: that nobody uses a page that becomes shared
 * @HMM_PAGECACHE_SKIP_UNMAP: translations are taken away
 */
enum hmm_pagecache_skip {
	HMM_PAGECACHE_SKIP_READ,
	HMM_PAGECACHE_SKIP_WRITE,
	HMM_PAGECACHE_SKIP_WRITEBACK,
	HMM_PAGECACHE_SKIP_INVALIDATE,
	HMM_PAGECACHE_SKIP_ZERO,
	HMM_PAGECACHE_SKIP_DISCARD,
	HMM_PAGECACHE_SKIP_RELEASE,
	HMM_PAGECACHE_SKIP_RECALL,
	HMM_PAGECACHE_SKIP_RECALL_ALL,
	HMM_PAGECACHE_SKIP_FREEZE,
	HMM_PAGECACHE_SKIP_COUNT,
	HMM_PAGECACHE_SKIP_UNMAP,
};

struct dentry;
extern bool hmm_pagecache_verify;
bool hmm_pagecache_skips(enum hmm_pagecache_skip part);
void hmm_pagecache_check_owned(struct folio *folio, bool dirty);
void hmm_pagecache_check_copy(struct folio *folio, struct hmm_swp_file file, size_t offset,
			      size_t length);
bool hmm_pagecache_poison(struct folio *folio);
void hmm_pagecache_unpoison(struct folio *folio);
void hmm_pagecache_debugfs_init(struct dentry *dir);

#endif /* _HMM_PAGECACHE_OBJECT_H */

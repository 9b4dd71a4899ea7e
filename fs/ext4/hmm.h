/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What ext4 calls where hooks.cocci put a call into it, and names.cocci another name.
 *
 * This header is included in front of each file of ext4 (see Kbuild), with ext4.h in it.
 * Each hook has a function of its own, that says why it is needed, and is hardly more than a
 * call of include/hmm/pagecache.h.  H9 and H10 are operations of ext4's, and are in hmm.c.
 */
#ifndef _EXT4_HMM_H
#define _EXT4_HMM_H

/*
 * Other modules have these names: ext2 and ext3 belong to the kernel's own module, and the
 * symbols for its KUnit tests can be exported only once.
 */
#undef CONFIG_EXT4_USE_FOR_EXT2
#undef CONFIG_EXT4_KUNIT_TESTS
#undef CONFIG_EXT4_KUNIT_TESTS_MODULE

#include <linux/jump_label.h>
#include <linux/pagemap.h>
#include <hmm/pagecache.h>
#include "ext4.h"

/* Names of slab caches, which are global. */
#define EXT4_HMM_NAME(name)	"hmm_" name
#define EXT4_HMM_CACHE_OF(name, type, flags) \
	kmem_cache_create(EXT4_HMM_NAME(name), sizeof(type), __alignof__(type), flags, NULL)
#define EXT4_HMM_CACHE(tag, flags) \
	EXT4_HMM_CACHE_OF(#tag, struct tag, flags)

enum ext4_hmm_hook {
	EXT4_HMM_H1 = 1,
	EXT4_HMM_H2,
	EXT4_HMM_H3,
	EXT4_HMM_H4,
	EXT4_HMM_H5,
	EXT4_HMM_H6,
	EXT4_HMM_H7,
	EXT4_HMM_H8,
	EXT4_HMM_H9,
	EXT4_HMM_H10,
	EXT4_HMM_H11,
	EXT4_HMM_H12,
	EXT4_HMM_H13,
	EXT4_HMM_HOOKS
};

const char *ext4_hmm_name(void);
const char *ext4_hmm_proc_name(void);
int ext4_hmm_begin(void);
int ext4_hmm_register(struct file_system_type *type);
void ext4_hmm_unregister(struct file_system_type *type);
int ext4_hmm_check(struct super_block *sb);
bool ext4_hmm_is_partially_uptodate(struct folio *folio, size_t from, size_t count);
vm_fault_t ext4_hmm_page_mkwrite(struct vm_fault *vmf);

#if IS_ENABLED(CONFIG_KUNIT)
DECLARE_STATIC_KEY_FALSE(ext4_hmm_skipping);
struct hmm_pagecache **ext4_hmm_skip(struct inode *inode, enum ext4_hmm_hook hook);
#endif

/* Tests turn hooks off one by one, to see that each is missed. */
static inline struct hmm_pagecache **ext4_hmm_slot(struct inode *inode,
						   enum ext4_hmm_hook hook)
{
#if IS_ENABLED(CONFIG_KUNIT)
	if (static_branch_unlikely(&ext4_hmm_skipping))
		return ext4_hmm_skip(inode, hook);
#endif
	return &EXT4_I(inode)->i_hmm;
}

static inline struct hmm_pagecache **ext4_hmm_folio_slot(struct folio *folio,
							 enum ext4_hmm_hook hook)
{
	return ext4_hmm_slot(folio->mapping->host, hook);
}

/*
 * H1: read_folio() does not read a page whose buffers are up to date, as those of an owned
 * page are, but calls it up to date.
 */
static inline bool ext4_hmm_read(struct folio *folio)
{
	return hmm_pagecache_read(ext4_hmm_folio_slot(folio, EXT4_HMM_H1), folio);
}

/*
 * H2: write(2) looks at the buffers, not at the page, for what it need not read, and if all
 * of them are up to date in the end, so is the page.
 */
static inline int ext4_hmm_write_begin(struct folio *folio)
{
	return hmm_pagecache_write_begin(ext4_hmm_folio_slot(folio, EXT4_HMM_H2), folio);
}

/* H3: so does what sets a part of a block to zero, by truncation and the like. */
static inline void ext4_hmm_zero(struct folio *folio)
{
	hmm_pagecache_write(ext4_hmm_folio_slot(folio, EXT4_HMM_H3), folio);
}

/* H4: so does EXT4_IOC_MOVE_EXT, which writes old bytes to new blocks. */
static inline void ext4_hmm_move_extent(struct folio *folio)
{
	hmm_pagecache_write(ext4_hmm_folio_slot(folio, EXT4_HMM_H4), folio);
}

/*
 * H5: this is the one place that all writing to disk passes, that of the journal's commit
 * too, which does not call writepages().
 */
static inline void ext4_hmm_writeback(struct folio *folio, size_t length)
{
	hmm_pagecache_writeback(ext4_hmm_folio_slot(folio, EXT4_HMM_H5), folio, length);
}

/*
 * H6: truncation sets the end of a page to zero and then comes here, while the newest bytes
 * are on the device.  (What is left of the block, ext4_truncate() sets to zero once more, by
 * ext4_block_truncate_page() or ext4_block_zero_eof(); not the blocks after it in the page.)
 * Before block_invalidate_folio(): that calls release_folio().
 */
static inline void ext4_hmm_invalidate(struct folio *folio, size_t offset, size_t length)
{
	hmm_pagecache_invalidate(ext4_hmm_folio_slot(folio, EXT4_HMM_H6), folio, offset,
				 length);
}

/* H7: dirty pages for which there is no room are given up without invalidate_folio(). */
static inline void ext4_hmm_discard(struct folio *folio)
{
	hmm_pagecache_discard(ext4_hmm_folio_slot(folio, EXT4_HMM_H7), folio);
}

/*
 * H8: a page that loses its buffers leaves the page cache, or is never heard of again.  The
 * buffers of an owned page are dirty: try_to_free_buffers() would leave them, too.
 */
static inline bool ext4_hmm_release(struct folio *folio, gfp_t gfp)
{
	return hmm_pagecache_release(ext4_hmm_folio_slot(folio, EXT4_HMM_H8), folio, gfp);
}

/*
 * H11: swap writes to the blocks, and reads from there, without the page cache.  To what is
 * in the file this makes no difference: iomap_swapfile_activate() calls vfs_fsync(), so no
 * page is owned after that, and a copy is as good as the page in the page cache, which swap
 * leaves alone as well.  But nobody needs a copy, and it would stay as long as that.
 */
static inline void ext4_hmm_swap_activate(struct file *file)
{
	hmm_pagecache_recall_all(ext4_hmm_slot(file_inode(file), EXT4_HMM_H11));
}

/*
 * H12: pages whose data goes to the journal have operations that know nothing of us:
 * ext4_journalled_invalidate_folio().  In 7.2 that is too late to matter:
 * ext4_change_inode_journal_flag() calls truncate_pagecache() for all of the file before.
 */
static inline void ext4_hmm_journal_data(struct inode *inode)
{
	hmm_pagecache_recall_all(ext4_hmm_slot(inode, EXT4_HMM_H12));
}

/* How large may folios be? */
static inline u16 ext4_hmm_max_order(struct inode *inode, u16 order)
{
	return READ_ONCE(EXT4_I(inode)->i_hmm) ? 0 : order;
}

/* H13: the inode goes away, its page cache is empty. */
static inline void ext4_hmm_clear_inode(struct inode *inode)
{
	hmm_pagecache_end(ext4_hmm_slot(inode, EXT4_HMM_H13));
}

#endif /* _EXT4_HMM_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * ext4 whose pages may be on a device: what is ours in ext4_hmm.ko.
 *
 * The rest of the module is the kernel's own ext4, patched by hooks.cocci and names.cocci;
 * hmm.h has what is called from there.  Here are the operations that stand in front of
 * ext4's, the answer to "may this page be on a device?", and the names under which the
 * module is known, which are not those of the kernel's own: both can be loaded.
 */
#include <linux/buffer_head.h>
#include <linux/module.h>
#include <linux/rcupdate_wait.h>
#include <linux/sysfs.h>
#include "ext4_jbd2.h"
#include "hmm.h"

static bool as_ext4;
module_param(as_ext4, bool, 0444);
MODULE_PARM_DESC(as_ext4, "be the file system ext4, where the kernel's own is not loaded");

/* Name of the file system, and in /sys/fs. */
const char *ext4_hmm_name(void)
{
	return as_ext4 ? "ext4" : "ext4_hmm";
}

/* Name in /proc. */
const char *ext4_hmm_proc_name(void)
{
	return as_ext4 ? "fs/ext4" : "fs/ext4_hmm";
}

/* Nothing has been made yet: is the name free?  Later, sysfs would complain loudly. */
int ext4_hmm_begin(void)
{
	struct kernfs_node *node = sysfs_get_dirent(fs_kobj->sd, ext4_hmm_name());

	if (!node)
		return 0;
	sysfs_put(node);
	pr_err("ext4_hmm: the file system %s is there already\n", ext4_hmm_name());
	return -EBUSY;
}

/*
 * H10: buffers that are up to date are not enough, as in H1.  Where blocks are as large as
 * pages nobody asks but SEEK_HOLE and SEEK_DATA: what cannot be read now is no hole.  And the
 * question may be old, as the kernel asks it without the lock first:
 *
 *	folio_seek_hole_data()			eviction, writeback
 *	folio_test_uptodate(): no
 *						owned -> local, or shared
 *	locks the page
 *	asks us: where blocks are as large
 *	 as pages, buffers say no
 */
bool ext4_hmm_is_partially_uptodate(struct folio *folio, size_t from, size_t count)
{
	if (hmm_pagecache_recall(ext4_hmm_folio_slot(folio, EXT4_HMM_H10), folio))
		return folio_test_uptodate(folio) ||
		       i_blocksize(folio->mapping->host) == PAGE_SIZE;
	return folio_test_uptodate(folio) || block_is_partially_uptodate(folio, from, count);
}

/*
 * H9: the CPU may write when this returns, so the device's copy goes.  If the page is not
 * locked, there will be no writable page table entry.
 */
vm_fault_t ext4_hmm_page_mkwrite(struct vm_fault *vmf)
{
	struct folio *folio = page_folio(vmf->page);
	vm_fault_t ret = ext4_page_mkwrite(vmf);

	if (ret & VM_FAULT_LOCKED)
		hmm_pagecache_write(ext4_hmm_folio_slot(folio, EXT4_HMM_H9), folio);
	return ret;
}

static struct hmm_pagecache **ext4_hmm_inode_slot(struct inode *inode)
{
	return &EXT4_I(inode)->i_hmm;
}

/*
 * Regular files whose operations are those that have been taught, which leaves out DAX and
 * journalled data.  What of a file is inline, or may become so, is not in pages; verity and
 * encryption want to see all bytes on their way.
 */
static bool ext4_hmm_may_move(struct inode *inode, struct folio *folio)
{
	return S_ISREG(inode->i_mode) &&
	       inode->i_mapping->a_ops->is_partially_uptodate ==
	       ext4_hmm_is_partially_uptodate &&
	       !folio_test_large(folio) &&
	       !IS_DAX(inode) && !IS_ENCRYPTED(inode) && !IS_VERITY(inode) &&
	       !ext4_verity_in_progress(inode) && !IS_SWAPFILE(inode) &&
	       !IS_NOQUOTA(inode) && !ext4_should_journal_data(inode) &&
	       !ext4_has_inline_data(inode) &&
	       !ext4_test_inode_state(inode, EXT4_STATE_MAY_INLINE_DATA);
}

/*
 * May say yes if a folio is just going away.  Nobody keeps it meanwhile, so it is the entry
 * that is looked at.
 */
static bool ext4_hmm_has_large(struct address_space *mapping)
{
	XA_STATE(xas, &mapping->i_pages, 0);
	struct folio *folio;
	bool large = false;

	rcu_read_lock();
	xas_for_each(&xas, folio, ULONG_MAX) {
		if (xas_retry(&xas, folio) || xa_is_value(folio))
			continue;
		large = xas_get_order(&xas) > 0;
		if (large)
			break;
		if (need_resched()) {
			xas_pause(&xas);
			cond_resched_rcu();
		}
	}
	rcu_read_unlock();
	return large;
}

/*
 * Folios of up to @order, from now on.  Not by mapping_set_folio_order_range(), which is for
 * new inodes: others change flags of this one meanwhile, as who registers an mmu notifier in a
 * process that maps the file.
 */
static void ext4_hmm_set_max_order(struct address_space *mapping, unsigned long order)
{
	unsigned long flags = READ_ONCE(mapping->flags);

	while (!try_cmpxchg(&mapping->flags, &flags,
			    (flags & ~(unsigned long)AS_FOLIO_ORDER_MASK) |
			    order << AS_FOLIO_ORDER_MAX))
		;
}

/*
 * Newer kernels have folios larger than a page, and pages move one by one.  Such folios are
 * written to disk and dropped when the first page of a file is about to move, and none is
 * made any more: see ext4_hmm_max_order().  With both locks held nobody brings pages in, or
 * makes them dirty.  Who has a reference on one, or maps it again at once, is left alone:
 * then the device uses the file in place for now.  So it does if a reader adds one in the end,
 * who has looked at the order before he waited for the lock:
 *
 *	page_cache_ra_order()		prepare
 *					locks
 *	may be large
 *	waits for the lock
 *					drops what is there; none may be large any more
 *					unlocks
 *	adds large folios
 *					locks again: drops them, or finds them
 */
static int ext4_hmm_prepare(struct inode *inode)
{
	struct address_space *mapping = inode->i_mapping;
	unsigned int order;
	int ret;

	ret = down_write_killable(&inode->i_rwsem);
	if (ret)
		return ret;
	filemap_invalidate_lock(mapping);
	order = mapping_max_folio_order(mapping);
	if (!order)
		goto out;
	/* Errors are for those who call fsync(), not for us. */
	ret = filemap_fdatawrite(mapping) ?: filemap_fdatawait_keep_errors(mapping);
	if (ret)
		goto out;
	unmap_mapping_pages(mapping, 0, 0, false);
	invalidate_mapping_pages(mapping, 0, ULONG_MAX);
	if (ext4_hmm_has_large(mapping)) {
		ret = -EBUSY;
		goto out;
	}
	ext4_hmm_set_max_order(mapping, 0);
	filemap_invalidate_unlock(mapping);
	filemap_invalidate_lock(mapping);
	invalidate_mapping_pages(mapping, 0, ULONG_MAX);
	if (ext4_hmm_has_large(mapping)) {
		ext4_hmm_set_max_order(mapping, order);
		ret = -EBUSY;
	}
out:
	filemap_invalidate_unlock(mapping);
	inode_unlock(inode);
	return ret;
}

static struct hmm_pagecache_fs ext4_hmm_fs = {
	.slot		= ext4_hmm_inode_slot,
	.prepare	= ext4_hmm_prepare,
	.may_move	= ext4_hmm_may_move,
	.page_mkwrite	= ext4_page_mkwrite,
};

/* Instead of register_filesystem(). */
int ext4_hmm_register(struct file_system_type *type)
{
	int ret;

	type->name = ext4_hmm_name();
	ext4_hmm_fs.type = type;
	ret = hmm_pagecache_register(&ext4_hmm_fs);
	if (ret)
		return ret;
	ret = register_filesystem(type);
	if (ret)
		hmm_pagecache_unregister(&ext4_hmm_fs);
	return ret;
}

/* Instead of unregister_filesystem(). */
void ext4_hmm_unregister(struct file_system_type *type)
{
	unregister_filesystem(type);
	hmm_pagecache_unregister(&ext4_hmm_fs);
}

/* A mount begins: blocks larger than a page need folios larger than a page. */
int ext4_hmm_check(struct super_block *sb)
{
	if (sb->s_blocksize <= PAGE_SIZE)
		return 0;
	ext4_msg(sb, KERN_ERR, "ext4_hmm cannot mount blocks larger than a page");
	return -EINVAL;
}

#if IS_ENABLED(CONFIG_KUNIT)
/* Bit n: hook Hn does nothing. */
static ulong skip_hooks;
static struct hmm_pagecache *no_pagecache;
DEFINE_STATIC_KEY_FALSE(ext4_hmm_skipping);

/* A slot with nothing in it for a hook that is turned off. */
struct hmm_pagecache **ext4_hmm_skip(struct inode *inode, enum ext4_hmm_hook hook)
{
	if (READ_ONCE(skip_hooks) & BIT(hook))
		return &no_pagecache;
	return &EXT4_I(inode)->i_hmm;
}

static int skip_hooks_set(const char *text, const struct kernel_param *param)
{
	unsigned long hooks;
	int ret;

	ret = kstrtoul(text, 0, &hooks);
	if (ret)
		return ret;
	if (hooks & ~GENMASK(EXT4_HMM_HOOKS - 1, EXT4_HMM_H1))
		return -EINVAL;
	WRITE_ONCE(skip_hooks, hooks);
	if (hooks)
		static_branch_enable(&ext4_hmm_skipping);
	else
		static_branch_disable(&ext4_hmm_skipping);
	return 0;
}

static const struct kernel_param_ops skip_hooks_ops = {
	.set	= skip_hooks_set,
	.get	= param_get_ulong,
};

module_param_cb(skip_hooks, &skip_hooks_ops, &skip_hooks, 0600);
MODULE_PARM_DESC(skip_hooks, "tests only: a bit for each hook that is to do nothing");
#endif

MODULE_IMPORT_NS("HMM");

// SPDX-License-Identifier: GPL-2.0
/*
 * A file system for tests that calls the hooks of include/hmm/pagecache.h where they have to
 * be, and so is the shortest example of one that does.
 *
 * Owns the mount, the inode and the disk.  The mount goes last of what a test has, when
 * nobody has its file open or mapped any more.
 *
 * Locks: those that the page cache wants: i_rwsem for who writes or truncates, and the lock
 * of the page.
 */
#include <linux/buffer_head.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/slab.h>
#include <linux/writeback.h>
#include "mock_fs.h"
#include "mock_user.h"

#define MOCK_FS_MAGIC	0x6d6f636b

struct mock_fs_inode {
	struct inode vfs;
	struct hmm_pagecache *cache;
};

static struct mock_fs *mock_fs_of(const struct inode *inode)
{
	return inode->i_sb->s_fs_info;
}

static struct hmm_pagecache **mock_fs_slot(struct inode *inode)
{
	return &container_of(inode, struct mock_fs_inode, vfs)->cache;
}

/* ---- pages ---- */

static int mock_fs_read_folio(struct file *file, struct folio *folio)
{
	struct inode *inode = folio->mapping->host;
	struct mock_fs *fs = mock_fs_of(inode);
	u64 *at;

	if (hmm_pagecache_read(mock_fs_slot(inode), folio))
		return 0;
	atomic_inc(&fs->reads);
	folio_zero_segment(folio, 0, folio_size(folio));
	if (folio->index < fs->pages) {
		at = kmap_local_folio(folio, 0);
		*at = READ_ONCE(fs->disk[folio->index]);
		kunmap_local(at);
	}
	folio_end_read(folio, true);
	return 0;
}

static void mock_fs_clean_buffers(struct folio *folio)
{
	struct buffer_head *head = folio_buffers(folio), *bh = head;

	while (bh) {
		clear_buffer_dirty(bh);
		bh = bh->b_this_page;
		if (bh == head)
			break;
	}
}

/* What somebody has written behind that does not get to the disk. */
static size_t mock_fs_in_file(struct folio *folio)
{
	loff_t left = i_size_read(folio->mapping->host) - folio_pos(folio);

	return left > 0 ? min_t(loff_t, left, folio_size(folio)) : folio_size(folio);
}

static int mock_fs_writepages(struct address_space *mapping, struct writeback_control *wbc)
{
	struct mock_fs *fs = mock_fs_of(mapping->host);
	struct folio *folio = NULL;
	int error = 0;
	u64 *at;

	while ((folio = writeback_iter(mapping, wbc, folio, &error))) {
		size_t length = mock_fs_in_file(folio);

		hmm_pagecache_writeback(mock_fs_slot(mapping->host), folio, length);
		folio_zero_segment(folio, length, folio_size(folio));
		if (folio->index < fs->pages) {
			at = kmap_local_folio(folio, 0);
			WRITE_ONCE(fs->disk[folio->index], *at);
			kunmap_local(at);
		}
		atomic_inc(&fs->written);
		mock_fs_clean_buffers(folio);
		folio_start_writeback(folio);
		folio_unlock(folio);
		folio_end_writeback(folio);
	}
	return error;
}

static void mock_fs_invalidate_folio(struct folio *folio, size_t offset, size_t length)
{
	hmm_pagecache_invalidate(mock_fs_slot(folio->mapping->host), folio, offset, length);
	block_invalidate_folio(folio, offset, length);
}

static bool mock_fs_release_folio(struct folio *folio, gfp_t gfp)
{
	if (!hmm_pagecache_release(mock_fs_slot(folio->mapping->host), folio, gfp))
		return false;
	return !folio_buffers(folio) || try_to_free_buffers(folio);
}

static bool mock_fs_is_partially_uptodate(struct folio *folio, size_t from, size_t count)
{
	return hmm_pagecache_recall(mock_fs_slot(folio->mapping->host), folio) &&
	       folio_test_uptodate(folio);
}

static const struct address_space_operations mock_fs_aops = {
	.read_folio		= mock_fs_read_folio,
	.writepages		= mock_fs_writepages,
	.dirty_folio		= block_dirty_folio,
	.invalidate_folio	= mock_fs_invalidate_folio,
	.release_folio		= mock_fs_release_folio,
	.is_partially_uptodate	= mock_fs_is_partially_uptodate,
};

/* A page that is locked, and is to be written: has blocks on disk now. */
static void mock_fs_get_blocks(struct folio *folio)
{
	struct buffer_head *head, *bh;

	head = folio_buffers(folio);
	if (!head)
		head = create_empty_buffers(folio, PAGE_SIZE, 0);
	bh = head;
	do {
		set_buffer_mapped(bh);
		bh = bh->b_this_page;
	} while (bh != head);
}

static vm_fault_t mock_fs_make_writable(struct vm_fault *vmf)
{
	struct inode *inode = vmf->vma->vm_file->f_mapping->host;
	struct mock_fs *fs = mock_fs_of(inode);
	struct folio *folio = page_folio(vmf->page);
	vm_fault_t ret = VM_FAULT_LOCKED;

	if (fs->mkwrite)
		return fs->mkwrite;
	sb_start_pagefault(inode->i_sb);
	folio_lock(folio);
	if (folio->mapping != inode->i_mapping || folio_pos(folio) >= i_size_read(inode)) {
		folio_unlock(folio);
		ret = VM_FAULT_NOPAGE;
	} else {
		mock_fs_get_blocks(folio);
		folio_mark_dirty(folio);
		folio_wait_stable(folio);
	}
	sb_end_pagefault(inode->i_sb);
	return ret;
}

/* For a device. */
static vm_fault_t mock_fs_mkwrite(struct vm_fault *vmf)
{
	struct inode *inode = vmf->vma->vm_file->f_mapping->host;
	struct mock_fs *fs = mock_fs_of(inode);

	atomic_inc(&fs->mkwrites);
	if (fs->dio)
		inode_dio_begin(inode);
	fs->dio = false;
	return mock_fs_make_writable(vmf);
}

/* For the CPU. */
static vm_fault_t mock_fs_page_mkwrite(struct vm_fault *vmf)
{
	struct inode *inode = vmf->vma->vm_file->f_mapping->host;
	vm_fault_t ret = mock_fs_make_writable(vmf);

	atomic_inc(&mock_fs_of(inode)->cpu_mkwrites);
	if (ret & VM_FAULT_LOCKED)
		hmm_pagecache_write(mock_fs_slot(inode), page_folio(vmf->page));
	return ret;
}

static const struct vm_operations_struct mock_fs_vm_ops = {
	.fault		= filemap_fault,
	.map_pages	= filemap_map_pages,
	.page_mkwrite	= mock_fs_page_mkwrite,
};

static int mock_fs_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &mock_fs_vm_ops;
	return 0;
}

static const struct file_operations mock_fs_fops = {
	.read_iter	= generic_file_read_iter,
	.mmap		= mock_fs_mmap,
};

static int mock_fs_prepare(struct inode *inode)
{
	struct mock_fs *fs = mock_fs_of(inode);

	atomic_inc(&fs->prepares);
	return READ_ONCE(fs->prepare);
}

static bool mock_fs_may_move(struct inode *inode, struct folio *folio)
{
	return !READ_ONCE(mock_fs_of(inode)->pinned);
}

/* ---- inodes ---- */

static struct inode *mock_fs_alloc_inode(struct super_block *sb)
{
	struct mock_fs_inode *inode = kzalloc(sizeof(*inode), GFP_KERNEL);

	if (!inode)
		return NULL;
	inode_init_once(&inode->vfs);
	return &inode->vfs;
}

static void mock_fs_free_inode(struct inode *inode)
{
	kfree(container_of(inode, struct mock_fs_inode, vfs));
}

static void mock_fs_evict_inode(struct inode *inode)
{
	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
	hmm_pagecache_end(mock_fs_slot(inode));
}

static const struct super_operations mock_fs_super_ops = {
	.alloc_inode	= mock_fs_alloc_inode,
	.free_inode	= mock_fs_free_inode,
	.evict_inode	= mock_fs_evict_inode,
	.statfs		= simple_statfs,
};

static int mock_fs_init_context(struct fs_context *fc)
{
	struct pseudo_fs_context *ctx = init_pseudo(fc, MOCK_FS_MAGIC);

	if (!ctx)
		return -ENOMEM;
	ctx->ops = &mock_fs_super_ops;
	return 0;
}

/* One for all: lockdep has keys in it. */
static struct file_system_type mock_fs_type = {
	.name = "hmm_mock",
	.owner = THIS_MODULE,
	.init_fs_context = mock_fs_init_context,
	.kill_sb = kill_anon_super,
};

static struct file *mock_fs_open(struct mock_fs *fs)
{
	struct inode *inode = new_inode(fs->mnt->mnt_sb);
	struct file *file;

	if (!inode)
		return ERR_PTR(-ENOMEM);
	inode->i_mode = S_IFREG | 0600;
	inode->i_mapping->a_ops = &mock_fs_aops;
	i_size_write(inode, fs->pages << PAGE_SHIFT);
	file = alloc_file_pseudo(inode, fs->mnt, "file", O_RDWR, &mock_fs_fops);
	if (IS_ERR(file))
		iput(inode);
	else
		file_ra_state_init(&file->f_ra, inode->i_mapping);
	return file;
}

static void mock_fs_end(void *data)
{
	struct mock_fs *fs = data;

	if (!IS_ERR_OR_NULL(fs->file))
		fput(fs->file);
	/* Also those of the address space of the test, which has just gone. */
	flush_delayed_fput();
	kern_unmount(fs->mnt);
	hmm_pagecache_unregister(&fs->teach);
}

/**
 * mock_fs_new - a file system
 * @test: test that owns it, and has no address space yet
 * @pages: size of its file; page n begins with the number n + 1
 *
 * Return: it; the test ends if it cannot be made.
 */
struct mock_fs *mock_fs_new(struct kunit *test, unsigned long pages)
{
	struct mock_fs *fs = kunit_kzalloc(test, sizeof(*fs), GFP_KERNEL);
	unsigned long n;

	KUNIT_ASSERT_NOT_NULL(test, fs);
	fs->test = test;
	fs->pages = pages;
	fs->disk = kunit_kcalloc(test, pages, sizeof(*fs->disk), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fs->disk);
	for (n = 0; n < pages; n++)
		fs->disk[n] = n + 1;
	fs->teach = (struct hmm_pagecache_fs) {
		.type = &mock_fs_type,
		.slot = mock_fs_slot,
		.prepare = mock_fs_prepare,
		.may_move = mock_fs_may_move,
		.page_mkwrite = mock_fs_mkwrite,
	};
	fs->mnt = kern_mount(&mock_fs_type);
	KUNIT_ASSERT_FALSE(test, IS_ERR(fs->mnt));
	fs->mnt->mnt_sb->s_fs_info = fs;
	if (hmm_pagecache_register(&fs->teach)) {
		kern_unmount(fs->mnt);
		KUNIT_FAIL_AND_ABORT(test, "cannot register\n");
	}
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, mock_fs_end, fs));
	/* Without one there is no writeback, and what is written is not protected from it. */
	KUNIT_ASSERT_EQ(test, 0, super_setup_bdi(fs->mnt->mnt_sb));
	fs->file = mock_fs_open(fs);
	KUNIT_ASSERT_FALSE(test, IS_ERR(fs->file));
	return fs;
}

/**
 * mock_fs_map - map the file, from its beginning
 * @fs: the file system
 * @addr: where
 * @pages: how much
 * @prot: PROT_*
 * @flags: MAP_SHARED or MAP_PRIVATE
 */
void mock_fs_map(struct mock_fs *fs, unsigned long addr, unsigned long pages,
		 unsigned long prot, unsigned long flags)
{
	mock_mmap_file(fs->test, fs->file, addr, pages << PAGE_SHIFT, prot, flags);
}

/**
 * mock_fs_try_read - read(2), which may fail
 * @fs: the file system
 * @n: page
 * @value: out: the number it begins with
 *
 * Return: how many bytes were read, or an errno.
 */
ssize_t mock_fs_try_read(struct mock_fs *fs, unsigned long n, u64 *value)
{
	loff_t pos = (loff_t)n << PAGE_SHIFT;

	return kernel_read(fs->file, value, sizeof(*value), &pos);
}

/**
 * mock_fs_read - read(2)
 * @fs: the file system
 * @n: page
 *
 * Return: the number it begins with.
 */
u64 mock_fs_read(struct mock_fs *fs, unsigned long n)
{
	u64 value = 0;

	KUNIT_EXPECT_EQ(fs->test, sizeof(value), mock_fs_try_read(fs, n, &value));
	return value;
}

/* Locked; as write(2) does it, a page that is there is not read before it has to be. */
static struct folio *mock_fs_lock_folio(struct mock_fs *fs, unsigned long n)
{
	struct address_space *mapping = fs->file->f_mapping;
	struct folio *folio = filemap_lock_folio(mapping, n);

	if (!IS_ERR(folio))
		return folio;
	folio = read_mapping_folio(mapping, n, fs->file);
	if (!IS_ERR(folio))
		folio_lock(folio);
	return folio;
}

/**
 * mock_fs_try_write - write(2), which may fail
 * @fs: the file system
 * @n: page
 * @value: the number that it is to begin with
 *
 * Return: 0, or an errno.
 */
int mock_fs_try_write(struct mock_fs *fs, unsigned long n, u64 value)
{
	struct inode *inode = file_inode(fs->file);
	struct folio *folio;
	u64 *at;
	int ret;

	inode_lock(inode);
	folio = mock_fs_lock_folio(fs, n);
	if (IS_ERR(folio)) {
		ret = PTR_ERR(folio);
		goto out;
	}
	ret = hmm_pagecache_write_begin(mock_fs_slot(inode), folio);
	if (!ret) {
		mock_fs_get_blocks(folio);
		at = kmap_local_folio(folio, 0);
		*at = value;
		kunmap_local(at);
		folio_mark_dirty(folio);
	}
	folio_unlock(folio);
	folio_put(folio);
out:
	inode_unlock(inode);
	return ret;
}

/**
 * mock_fs_write - write(2)
 * @fs: the file system
 * @n: page
 * @value: the number that it is to begin with
 */
void mock_fs_write(struct mock_fs *fs, unsigned long n, u64 value)
{
	KUNIT_EXPECT_EQ(fs->test, 0, mock_fs_try_write(fs, n, value));
}

/**
 * mock_fs_truncate - truncate(2)
 * @fs: the file system
 * @size: new size in bytes
 */
void mock_fs_truncate(struct mock_fs *fs, loff_t size)
{
	struct inode *inode = file_inode(fs->file);

	inode_lock(inode);
	truncate_setsize(inode, size);
	inode_unlock(inode);
}

/**
 * mock_fs_sync - fsync(2)
 * @fs: the file system
 *
 * Return: 0, or an errno.
 */
int mock_fs_sync(struct mock_fs *fs)
{
	return filemap_write_and_wait_range(file_inode(fs->file)->i_mapping, 0, LLONG_MAX);
}

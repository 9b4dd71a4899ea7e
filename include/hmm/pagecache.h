/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages of files in the memory of a device: what a file system has to call.
 *
 * A page of a file that is on a device stays in the page cache.  It is in one of three
 * states:
 *
 *   local	the device has no copy; the page is what it is without us
 *   shared	the device has a copy, and reads it; so may everybody else.  Who writes to
 *		the page tells us first (hmm_pagecache_write()), and the copy is dropped
 *   owned	what the device has is the newest; the page has old bytes.  It is dirty, so
 *		that writeback comes for it, and not uptodate, so that readers do
 *
 * To write is allowed to the device as it is to a process that maps the page shared and
 * writable: the file system's own page_mkwrite() runs first, and writeback takes the right
 * away again.  So to the file system an owned page is one that somebody has mapped and
 * written to, but for the places where it looks at the bytes: these are the hooks below.
 *
 * How to teach a file system: Documentation/pagecache.rst.
 */
#ifndef _HMM_PAGECACHE_H
#define _HMM_PAGECACHE_H

#include <linux/compiler.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/types.h>

struct file_system_type;
struct folio;
struct hmm_pagecache;
struct inode;
struct vm_fault;

/**
 * struct hmm_pagecache_fs - a file system that has been taught
 * @type: files on it are the ones meant
 * @slot: Where an inode keeps what we know about it: a pointer that is NULL for a new inode,
 *	and ours from then on until hmm_pagecache_end().  Any context.
 * @prepare: The first page of a file is about to move: see to it that from now on folios of
 *	the file are single pages.  0; -EINTR; another errno: not now, pages are used in
 *	place, and it is called again later, and less and less often.  Process context, may
 *	sleep, no lock held.  May be NULL.
 * @may_move: May pages of the file be on a device?  No for what is encrypted, inline, in
 *	the journal, swapped to, or not in pages of one folio of order 0 with buffer heads.
 *	Called with the inode locked (shared) and the page locked, each time that a page is
 *	about to move; may not sleep.  What it says of a file may change only with the inode
 *	locked (exclusive), and a yes becomes a no with hmm_pagecache_recall_all().
 * @page_mkwrite: The file system's own, without hmm_pagecache_write(): a device is about to
 *	write to a page.  Of the struct vm_fault there are vma, pgoff, flags and page, and of
 *	the VMA there is vm_file only.  Called with the inode locked (shared) and a reference on the
 *	page, in a section of sb_start_write(), without mmap_lock; may sleep, and wait for
 *	the disk.  VM_FAULT_LOCKED: the page is locked, and all of it has a place on disk, or
 *	room reserved for it, so that folio_mark_dirty() is all that is left to do.
 *	VM_FAULT_NOPAGE: the page has been truncated.  Any other: an error, which is then had
 *	once more by a fault of the process, to tell the device.
 * @node: ours
 *
 * Whoever truncates, allocates, or writes other than by a mapping has the inode locked
 * (exclusive), or is direct I/O that is counted (inode_dio_begin()).
 */
struct hmm_pagecache_fs {
	struct file_system_type *type;
	struct hmm_pagecache **(*slot)(struct inode *inode);
	int (*prepare)(struct inode *inode);
	bool (*may_move)(struct inode *inode, struct folio *folio);
	vm_fault_t (*page_mkwrite)(struct vm_fault *vmf);
	struct list_head node;
};

int hmm_pagecache_register(struct hmm_pagecache_fs *fs);
void hmm_pagecache_unregister(struct hmm_pagecache_fs *fs);

bool __hmm_pagecache_read(struct hmm_pagecache *cache, struct folio *folio);
void __hmm_pagecache_write(struct hmm_pagecache *cache, struct folio *folio);
int __hmm_pagecache_write_begin(struct hmm_pagecache *cache, struct folio *folio);
void __hmm_pagecache_writeback(struct hmm_pagecache *cache, struct folio *folio, size_t length);
void __hmm_pagecache_invalidate(struct hmm_pagecache *cache, struct folio *folio,
				size_t offset, size_t length);
void __hmm_pagecache_discard(struct hmm_pagecache *cache, struct folio *folio);
bool __hmm_pagecache_release(struct hmm_pagecache *cache, struct folio *folio, gfp_t gfp);
bool __hmm_pagecache_recall(struct hmm_pagecache *cache, struct folio *folio);
void __hmm_pagecache_recall_all(struct hmm_pagecache *cache);
void __hmm_pagecache_end(struct hmm_pagecache **slot);

/*
 * The hooks.  @slot is what hmm_pagecache_fs.slot() returns.  For a file that no device has
 * used each is one test.  But for the last two, they are called with @folio locked, and
 * may sleep: for as long as it takes to copy a page.  They take no lock of the file system
 * or of memory management, begin no transaction, and allocate nothing that could wait for
 * the file system.
 */

/**
 * hmm_pagecache_read - read_folio() begins
 * @slot: of the inode
 * @folio: locked
 *
 * If copies from the device fail, the page stays owned, and is not up to date: then who has
 * called read_folio() says -EIO, and who reads it later may get its bytes.
 *
 * Return: true if @folio is unlocked: read_folio() returns 0.
 */
static inline bool hmm_pagecache_read(struct hmm_pagecache **slot, struct folio *folio)
{
	struct hmm_pagecache *cache = READ_ONCE(*slot);

	return unlikely(cache) && __hmm_pagecache_read(cache, folio);
}

/**
 * hmm_pagecache_write - somebody is about to write to a page, or to make it writable
 * @slot: of the inode
 * @folio: locked, until the bytes are written, or the page table entry
 *
 * Return: nothing; @folio is local.
 */
static inline void hmm_pagecache_write(struct hmm_pagecache **slot, struct folio *folio)
{
	struct hmm_pagecache *cache = READ_ONCE(*slot);

	if (unlikely(cache))
		__hmm_pagecache_write(cache, folio);
}

/**
 * hmm_pagecache_write_begin - write(2) is about to write to a page
 * @slot: of the inode
 * @folio: locked, until the bytes are written
 *
 * As hmm_pagecache_write(), for who can fail.
 *
 * Return: 0: @folio is local; -EIO: copies from the device fail, and it stays owned.
 */
static inline int hmm_pagecache_write_begin(struct hmm_pagecache **slot, struct folio *folio)
{
	struct hmm_pagecache *cache = READ_ONCE(*slot);

	return unlikely(cache) ? __hmm_pagecache_write_begin(cache, folio) : 0;
}

/**
 * hmm_pagecache_writeback - a page is about to be written to disk
 * @slot: of the inode
 * @folio: locked, after folio_clear_dirty_for_io()
 * @length: bytes of it that are in the file, by the look at i_size that decides what of it is
 *	made zero; i_size itself may be another one by now
 *
 * Never fails: if the device is lost, the page has what was written to disk last, and
 * fsync() will say -EIO.
 *
 * Return: nothing; @folio has the bytes of the device, which reads on; but if the end of the
 * file is in it @folio is local, for what is behind that is about to be made zero.
 */
static inline void hmm_pagecache_writeback(struct hmm_pagecache **slot,
					   struct folio *folio, size_t length)
{
	struct hmm_pagecache *cache = READ_ONCE(*slot);

	if (unlikely(cache))
		__hmm_pagecache_writeback(cache, folio, length);
}

/**
 * hmm_pagecache_invalidate - invalidate_folio() begins
 * @slot: of the inode
 * @folio: locked
 * @offset: in @folio, as invalidate_folio() has it
 * @length: as well
 *
 * Return: nothing; @folio is local.  If it is not all of it, the bytes of the device have
 * been fetched, and those in question are zero.
 */
static inline void hmm_pagecache_invalidate(struct hmm_pagecache **slot,
					    struct folio *folio, size_t offset, size_t length)
{
	struct hmm_pagecache *cache = READ_ONCE(*slot);

	if (unlikely(cache))
		__hmm_pagecache_invalidate(cache, folio, offset, length);
}

/**
 * hmm_pagecache_discard - a dirty page is given up, as it cannot be written to disk
 * @slot: of the inode
 * @folio: locked
 *
 * Return: nothing; @folio is local, the device's bytes are gone.
 */
static inline void hmm_pagecache_discard(struct hmm_pagecache **slot, struct folio *folio)
{
	struct hmm_pagecache *cache = READ_ONCE(*slot);

	if (unlikely(cache))
		__hmm_pagecache_discard(cache, folio);
}

/**
 * hmm_pagecache_release - release_folio() begins
 * @slot: of the inode
 * @folio: locked
 * @gfp: as release_folio() has it
 *
 * Return: true: @folio is local; false: release_folio() returns false.
 */
static inline bool hmm_pagecache_release(struct hmm_pagecache **slot, struct folio *folio,
					 gfp_t gfp)
{
	struct hmm_pagecache *cache = READ_ONCE(*slot);

	return likely(!cache) || __hmm_pagecache_release(cache, folio, gfp);
}

/**
 * hmm_pagecache_recall - is_partially_uptodate() begins
 * @slot: of the inode
 * @folio: locked
 *
 * Return: true if it was owned: @folio is up to date now, unless copies from the device fail.
 * So is_partially_uptodate() returns what folio_test_uptodate() says, and must not look at
 * buffers, which are.
 */
static inline bool hmm_pagecache_recall(struct hmm_pagecache **slot, struct folio *folio)
{
	struct hmm_pagecache *cache = READ_ONCE(*slot);

	return unlikely(cache) && __hmm_pagecache_recall(cache, folio);
}

/**
 * hmm_pagecache_recall_all - no page of the file may be on a device
 * @slot: of the inode, which is locked (exclusive) so that none goes there again
 *
 * Context: may sleep; takes locks of pages, so none is held.
 * Return: nothing; all pages are local.
 */
static inline void hmm_pagecache_recall_all(struct hmm_pagecache **slot)
{
	struct hmm_pagecache *cache = READ_ONCE(*slot);

	if (unlikely(cache))
		__hmm_pagecache_recall_all(cache);
}

/**
 * hmm_pagecache_end - an inode ends
 * @slot: of the inode, whose page cache has been truncated
 *
 * Context: may sleep.
 * Return: nothing; *@slot is NULL.
 */
static inline void hmm_pagecache_end(struct hmm_pagecache **slot)
{
	if (unlikely(READ_ONCE(*slot)))
		__hmm_pagecache_end(slot);
}

#endif /* _HMM_PAGECACHE_H */

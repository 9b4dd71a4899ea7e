// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of files on devices: what is known of an inode, and the states of its pages.
 *
 * Owns the list of file systems that were taught, and struct hmm_pagecache, one for each
 * inode of which a page has ever moved.  It is made when the first one is about to, and
 * ends with the inode.
 *
 * A page is in one of four states (swap_entry/file.h).  A state changes only under the lock
 * of the page, and to less or more rights only by way of BUSY:
 *
 *	          +-------> BUSY <-------+
 *	          |        /    \        |
 *	        LOCAL <---+      +---> SHARED, OWNED
 *
 * Who changes a state sets BUSY, has all translations taken away, and only then copies and
 * sets the next one.  So who looks without the lock of the page (a fault of a device) finds
 * one of these:
 *
 *	looks before BUSY is set	the translations are taken away after that: what he
 *					does with what he has seen, he does again
 *	looks while it is		waits, without any lock
 *	looks after that		sees the new state, and no translation is older
 *
 * The principle: the state decides, and it is a value.  Nobody needs a reference on
 * anything to read it, and who acts on it has locked the page first and read it again.
 *
 * Locks: the spinlock of hmm_pagecache.pages, inside of page locks and i_mmap_rwsem, and
 * hmm_pagecache_lock for the list, which readers go through with RCU.
 */
#include <kunit/visibility.h>
#include <linux/dax.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include "../hmm/trace.h"
#include "pagecache_object.h"

/* How long a page is waited for that is on its way. */
#define HMM_PAGECACHE_PATIENCE	(HZ / 10)

/* How long a page stays that the CPU has fetched. */
#define HMM_PAGECACHE_RESIDENCY	(HZ / 50 + 1)

/*
 * A file that could not be made ready is left alone for so long, and each time for longer: to
 * try is not cheap, for the file system as for who uses the file.
 */
#define HMM_PAGECACHE_RETRY	(HZ / 4)
#define HMM_PAGECACHE_RETRY_MAX	(64 * HZ)

static LIST_HEAD(hmm_pagecache_fs_list);
static DEFINE_MUTEX(hmm_pagecache_lock);

/* How many there are of struct hmm_pagecache. */
atomic_t hmm_pagecache_inodes = ATOMIC_INIT(0);

/* The legal moves: sets of states, by the state before. */
static const u8 hmm_pagecache_moves[HMM_SWP_FILE_NR] = {
	[HMM_SWP_FILE_LOCAL] = BIT(HMM_SWP_FILE_BUSY),
	[HMM_SWP_FILE_BUSY] = BIT(HMM_SWP_FILE_LOCAL) | BIT(HMM_SWP_FILE_SHARED) |
			      BIT(HMM_SWP_FILE_OWNED),
	[HMM_SWP_FILE_SHARED] = BIT(HMM_SWP_FILE_BUSY),
	[HMM_SWP_FILE_OWNED] = BIT(HMM_SWP_FILE_BUSY),
};

/**
 * hmm_pagecache_register - a file system has been taught
 * @fs: it; stays until hmm_pagecache_unregister()
 *
 * Context: Process context, may sleep.
 * Return: 0; -EEXIST its type is there already; -EINVAL something is missing.
 */
int hmm_pagecache_register(struct hmm_pagecache_fs *fs)
{
	struct hmm_pagecache_fs *other;
	int ret = 0;

	if (!fs->type || !fs->slot || !fs->may_move || !fs->page_mkwrite)
		return -EINVAL;
	mutex_lock(&hmm_pagecache_lock);
	list_for_each_entry(other, &hmm_pagecache_fs_list, node)
		if (other->type == fs->type)
			ret = -EEXIST;
	if (!ret)
		list_add_tail_rcu(&fs->node, &hmm_pagecache_fs_list);
	mutex_unlock(&hmm_pagecache_lock);
	return ret;
}
EXPORT_SYMBOL_NS(hmm_pagecache_register, "HMM");

/**
 * hmm_pagecache_unregister - undo hmm_pagecache_register()
 * @fs: as there; nothing of its type is mounted
 *
 * Context: Process context, may sleep.
 * Return: nothing; no operation of @fs is called any more.
 */
void hmm_pagecache_unregister(struct hmm_pagecache_fs *fs)
{
	mutex_lock(&hmm_pagecache_lock);
	list_del_rcu(&fs->node);
	mutex_unlock(&hmm_pagecache_lock);
	synchronize_rcu();
}
EXPORT_SYMBOL_NS(hmm_pagecache_unregister, "HMM");

/* The file system stays as long as somebody has a file on it. */
static const struct hmm_pagecache_fs *hmm_pagecache_fs_of(const struct inode *inode)
{
	const struct hmm_pagecache_fs *fs;

	if (!S_ISREG(inode->i_mode) || IS_DAX(inode))
		return NULL;
	rcu_read_lock();
	list_for_each_entry_rcu(fs, &hmm_pagecache_fs_list, node) {
		if (fs->type == inode->i_sb->s_type) {
			rcu_read_unlock();
			return fs;
		}
	}
	rcu_read_unlock();
	return NULL;
}

/*
 * Does somebody want to know what is written to, or has forbidden to touch some of it?  That
 * is in the CPU's page table, where nothing is to be seen of what a device does with its own
 * memory.
 */
static bool hmm_pagecache_is_watched(const struct vm_area_struct *vma)
{
	return vma->vm_flags & (VM_UFFD_WP | VM_MAYBE_GUARD) ||
	       (VM_SOFTDIRTY && !(vma->vm_flags & VM_SOFTDIRTY));
}

/**
 * hmm_pagecache_knows - may pages of what is mapped be on a device?
 * @vma: mapping
 *
 * Context: mmap_lock held.
 * Return: true for a shared mapping of a file on a file system that was taught.
 */
bool hmm_pagecache_knows(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_MAYSHARE && vma->vm_file &&
	       hmm_pagecache_fs_of(vma->vm_file->f_mapping->host);
}

/**
 * hmm_pagecache_maps - may a device use pages of a mapping in its own memory?
 * @vma: mapping
 *
 * Context: mmap_lock held.
 * Return: true for a mapping that hmm_pagecache_knows(), unless writes to it are watched
 * (PAGEMAP_SCAN, soft-dirty), or there may be guard pages in it.
 */
bool hmm_pagecache_maps(const struct vm_area_struct *vma)
{
	return !hmm_pagecache_is_watched(vma) && hmm_pagecache_knows(vma);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_maps);

/**
 * hmm_pagecache_of - what is known of the inode of a file
 * @file: file, referenced
 *
 * Context: any.
 * Return: it, which stays as long as the file; NULL: no page of it has ever moved.
 */
struct hmm_pagecache *hmm_pagecache_of(const struct file *file)
{
	struct inode *inode = file->f_mapping->host;
	const struct hmm_pagecache_fs *fs = hmm_pagecache_fs_of(inode);

	/* Pairs with hmm_pagecache_make(). */
	return fs ? smp_load_acquire(fs->slot(inode)) : NULL;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_of);

/* What is known of the inode of a file, made if there is nothing yet. */
static struct hmm_pagecache *hmm_pagecache_make(const struct file *file)
{
	struct inode *inode = file->f_mapping->host;
	const struct hmm_pagecache_fs *fs = hmm_pagecache_fs_of(inode);
	struct hmm_pagecache *cache, *other;

	if (!fs)
		return ERR_PTR(-EOPNOTSUPP);
	cache = kzalloc(sizeof(*cache), GFP_KERNEL);
	if (!cache)
		return ERR_PTR(-ENOMEM);
	cache->mapping = inode->i_mapping;
	cache->fs = fs;
	mutex_init(&cache->preparing);
	cache->retry = jiffies;
	xa_init(&cache->pages);
	init_waitqueue_head(&cache->settled);
	atomic_inc(&hmm_pagecache_inodes);
	other = cmpxchg(fs->slot(inode), NULL, cache);
	if (!other)
		return cache;
	atomic_dec(&hmm_pagecache_inodes);
	kfree(cache);
	return other;
}

static int hmm_pagecache_prepare_locked(struct hmm_pagecache *cache)
{
	const struct hmm_pagecache_fs *fs = cache->fs;
	int ret;

	lockdep_assert_held(&cache->preparing);
	/* Somebody else may have tried meanwhile. */
	if (cache->ready)
		return 0;
	if (time_before(jiffies, cache->retry))
		return -EBUSY;
	ret = fs->prepare ? fs->prepare(cache->mapping->host) : 0;
	if (!ret)
		WRITE_ONCE(cache->ready, true);
	if (!ret || ret == -EINTR)
		return ret;
	cache->pause = clamp(2 * cache->pause, HMM_PAGECACHE_RETRY, HMM_PAGECACHE_RETRY_MAX);
	WRITE_ONCE(cache->retry, jiffies + cache->pause);
	return -EBUSY;
}

static int hmm_pagecache_prepare(struct hmm_pagecache *cache)
{
	int ret;

	if (time_before(jiffies, READ_ONCE(cache->retry)))
		return -EBUSY;
	ret = mutex_lock_killable(&cache->preparing);
	if (ret)
		return ret;
	ret = hmm_pagecache_prepare_locked(cache);
	mutex_unlock(&cache->preparing);
	return ret;
}

/**
 * hmm_pagecache_get - what is known of the inode of a file of which pages are to move
 * @file: file, referenced
 *
 * Context: Process context, may sleep, no lock held.
 * Return: it, which stays as long as the file; -EOPNOTSUPP the file system was not taught;
 * -EBUSY no page of the file can move now; -EINTR killed; -ENOMEM.
 */
struct hmm_pagecache *hmm_pagecache_get(const struct file *file)
{
	struct hmm_pagecache *cache = hmm_pagecache_of(file);
	int ret = 0;

	if (!cache)
		cache = hmm_pagecache_make(file);
	if (!IS_ERR(cache) && !READ_ONCE(cache->ready))
		ret = hmm_pagecache_prepare(cache);
	return ret ? ERR_PTR(ret) : cache;
}

/* The inode has gone.  Its pages have been invalidated: that has made them local. */
static void hmm_pagecache_drop_leftovers(struct hmm_pagecache *cache)
{
	struct hmm_swp_file file;
	struct hmm_rmem *rmem;
	unsigned long index;
	void *entry;

	xa_for_each(&cache->pages, index, entry) {
		file = hmm_swp_file_from_entry(entry);
		rmem = hmm_rmem_by_number(file.pool);
		if (!WARN_ON_ONCE(!rmem))
			hmm_rmem_unbind(rmem, file.frame, HMM_RMEM_DROPPED);
	}
}

/**
 * __hmm_pagecache_end - an inode ends
 * @slot: what hmm_pagecache_fs.slot() returns for it
 *
 * Nobody who brings pages home for the device's sake is at it: he would have locked one of
 * them, and the inode not ended.  But he may just be looking for one, and so the memory stays
 * for a grace period.
 *
 * Context: may sleep; nobody else uses the inode.
 */
void __hmm_pagecache_end(struct hmm_pagecache **slot)
{
	struct hmm_pagecache *cache = xchg(slot, NULL);

	if (!cache)
		return;
	if (WARN_ON_ONCE(!xa_empty(&cache->pages)))
		hmm_pagecache_drop_leftovers(cache);
	xa_destroy(&cache->pages);
	kfree_rcu(cache, rcu);
	atomic_dec(&hmm_pagecache_inodes);
}
EXPORT_SYMBOL_NS(__hmm_pagecache_end, "HMM");

/**
 * hmm_pagecache_state - where is a page?
 * @cache: of the inode
 * @index: of the page
 *
 * Context: any.  It stays so only while the page is locked, and is not BUSY then.
 * Return: its state.
 */
struct hmm_swp_file hmm_pagecache_state(struct hmm_pagecache *cache, pgoff_t index)
{
	return hmm_swp_file_from_entry(xa_load(&cache->pages, index));
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_state);

/**
 * hmm_pagecache_is_legal - is it a legal move?
 * @from: state before
 * @to: state after
 *
 * Return: true if it is.
 */
bool hmm_pagecache_is_legal(enum hmm_swp_file_state from, enum hmm_swp_file_state to)
{
	return hmm_pagecache_moves[from] & BIT(to);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_is_legal);

/**
 * hmm_pagecache_set - change the state of a page
 * @cache: of the inode
 * @folio: the page, locked
 * @was: the state that it is in
 * @now: the state that it gets
 *
 * Context: may sleep if @was is LOCAL; reclaims nothing that could wait for a file system.
 * Return: 0; -ENOMEM only if @was is LOCAL.
 */
int hmm_pagecache_set(struct hmm_pagecache *cache, const struct folio *folio,
		      struct hmm_swp_file was, struct hmm_swp_file now)
{
	void *entry = hmm_swp_file_to_entry(was), *old;

	VM_WARN_ON_ONCE(!folio_test_locked(folio));
	WARN_ON_ONCE(!hmm_pagecache_is_legal(was.state, now.state));
	/* Only the first entry needs memory, and none is removed but to be local. */
	old = xa_cmpxchg(&cache->pages, folio->index, entry, hmm_swp_file_to_entry(now),
			 GFP_NOFS | __GFP_NOWARN);
	if (xa_is_err(old))
		return xa_err(old);
	WARN_ON_ONCE(old != entry);
	trace_hmm_pagecache_state(cache->mapping->host, folio->index, &was, &now);
	if (was.state == HMM_SWP_FILE_BUSY)
		wake_up_all(&cache->settled);
	return 0;
}

/**
 * hmm_pagecache_note_recall - the CPU has fetched a page
 * @cache: of the inode
 * @index: of the page
 *
 * Context: any.
 */
void hmm_pagecache_note_recall(struct hmm_pagecache *cache, pgoff_t index)
{
	struct hmm_pagecache_recall *recall =
		&cache->recalls[hash_long(index, ilog2(HMM_PAGECACHE_RECALLS))];

	WRITE_ONCE(recall->until, jiffies + HMM_PAGECACHE_RESIDENCY);
	WRITE_ONCE(recall->index, index);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_note_recall);

/**
 * hmm_pagecache_is_resident - has the CPU fetched a page only just?
 * @cache: of the inode
 * @index: of the page
 *
 * If it has, it gets the time to look at it.
 *
 * Context: any.
 * Return: true if the device should not own the page yet.
 */
bool hmm_pagecache_is_resident(struct hmm_pagecache *cache, pgoff_t index)
{
	const struct hmm_pagecache_recall *recall =
		&cache->recalls[hash_long(index, ilog2(HMM_PAGECACHE_RECALLS))];
	unsigned long until = READ_ONCE(recall->until);

	return until && READ_ONCE(recall->index) == index && time_before(jiffies, until);
}

/* The entry of a page in @rmem, as of hmm_range_fault(). */
static unsigned long hmm_pagecache_pfn(const struct vm_area_struct *vma,
				       const struct hmm_rmem *rmem, struct hmm_swp_file file)
{
	unsigned long pfn = PHYS_PFN(rmem->memory.pgmap.range.start) + file.frame;

	if (file.state == HMM_SWP_FILE_OWNED && vma->vm_flags & VM_WRITE)
		pfn |= HMM_PFN_WRITE;
	return pfn | HMM_PFN_VALID;
}

/**
 * hmm_pagecache_look - where are the pages of a range?
 * @vma: mapping that hmm_pagecache_maps()
 * @start: first byte, page aligned
 * @nr: pages, all in @vma
 * @rmem: pool of the device that asks
 * @pfns: entries as of hmm_range_fault().  Those of pages in @rmem become HMM_PFN_VALID, the
 *	page frame of the device's page, and HMM_PFN_WRITE if it may write; those of pages
 *	that are on their way become 0; others are left alone.
 *
 * The answer holds until the next invalidation of the range.
 *
 * Context: mmap_lock held; does not sleep.
 * Return: true if a page is on its way: hmm_pagecache_wait() for it.
 */
bool hmm_pagecache_look(const struct vm_area_struct *vma, unsigned long start,
			unsigned long nr, struct hmm_rmem *rmem, unsigned long *pfns)
{
	struct hmm_pagecache *cache = hmm_pagecache_of(vma->vm_file);
	pgoff_t first = vma->vm_pgoff + ((start - vma->vm_start) >> PAGE_SHIFT);
	struct hmm_swp_file file;
	unsigned long index;
	bool busy = false;
	void *entry;

	if (!cache)
		return false;
	xa_for_each_range(&cache->pages, index, entry, first, first + nr - 1) {
		file = hmm_swp_file_from_entry(entry);
		if (file.state == HMM_SWP_FILE_BUSY) {
			pfns[index - first] = 0;
			busy = true;
		} else if (rmem && file.pool == rmem->number) {
			pfns[index - first] = hmm_pagecache_pfn(vma, rmem, file);
		}
	}
	return busy;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_look);

/**
 * hmm_pagecache_place - where is a page?
 * @vma: mapping that hmm_pagecache_knows()
 * @addr: address of the page
 * @rmem: pool of the device that asks; NULL: it has none
 * @pfn: out: what hmm_pagecache_look() would say
 *
 * Of a page that another device has a copy of, the page table says where it is.
 *
 * Context: mmap_lock held; does not sleep.
 * Return: HMM_PLACE_DEVICE; HMM_PLACE_OTHER it is on its way, or another device owns it;
 * HMM_PLACE_NONE no device has anything to do with it.
 */
enum hmm_page_place hmm_pagecache_place(const struct vm_area_struct *vma, unsigned long addr,
					const struct hmm_rmem *rmem, unsigned long *pfn)
{
	pgoff_t index = vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);
	struct hmm_pagecache *cache = hmm_pagecache_of(vma->vm_file);
	struct hmm_swp_file file = {};

	*pfn = 0;
	if (cache)
		file = hmm_pagecache_state(cache, index);
	if (file.state == HMM_SWP_FILE_LOCAL)
		return HMM_PLACE_NONE;
	if (file.state == HMM_SWP_FILE_BUSY)
		return HMM_PLACE_OTHER;
	if (rmem && file.pool == rmem->number) {
		*pfn = hmm_pagecache_pfn(vma, rmem, file);
		return HMM_PLACE_DEVICE;
	}
	return file.state == HMM_SWP_FILE_OWNED ? HMM_PLACE_OTHER : HMM_PLACE_NONE;
}

static bool hmm_pagecache_any_busy(struct hmm_pagecache *cache, pgoff_t first,
				   unsigned long nr)
{
	unsigned long index;
	void *entry;

	xa_for_each_range(&cache->pages, index, entry, first, first + nr - 1)
		if (hmm_swp_file_from_entry(entry).state == HMM_SWP_FILE_BUSY)
			return true;
	return false;
}

/**
 * hmm_pagecache_wait - wait until no page of a range is on its way
 * @file: file, referenced
 * @index: of the first page
 * @nr: pages
 *
 * Only so long: who asked looks again in any case.
 *
 * Context: Process context, sleeps, no lock held.
 * Return: 0, or -EINTR killed.
 */
int hmm_pagecache_wait(struct file *file, pgoff_t index, unsigned long nr)
{
	struct hmm_pagecache *cache = hmm_pagecache_of(file);

	if (!cache)
		return 0;
	if (wait_event_killable_timeout(cache->settled,
					!hmm_pagecache_any_busy(cache, index, nr),
					HMM_PAGECACHE_PATIENCE) < 0)
		return -EINTR;
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pagecache_wait);

/**
 * hmm_pagecache_init - get ready for file systems
 *
 * Context: before there is one.
 * Return: 0 or -ENOMEM.
 */
int hmm_pagecache_init(void)
{
	return hmm_pagecache_fetch_init();
}

/**
 * hmm_pagecache_exit - undo hmm_pagecache_init()
 *
 * Context: when no file system is registered, and there is no pool.
 */
void hmm_pagecache_exit(void)
{
	WARN_ON_ONCE(!list_empty(&hmm_pagecache_fs_list));
	/* Of which inode did a file system not say that it ends? */
	WARN_ON_ONCE(atomic_read(&hmm_pagecache_inodes));
	hmm_pagecache_fetch_exit();
}

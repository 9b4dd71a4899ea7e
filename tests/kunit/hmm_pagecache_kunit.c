// SPDX-License-Identifier: GPL-2.0
/*
 * The library of pages of files on devices, without a device that faults: entries, states,
 * frames, moves in both directions, hooks; and what is in the way of them, one by one.
 *
 * A mock file system has the file, a mock device the memory.  Owns nothing that outlives a
 * test.  Old bytes are made unusable in all tests: a page that has come back with the right
 * ones has had them from the device.
 */
#include <kunit/test.h>
#include <linux/buffer_head.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/percpu-rwsem.h>
#include <linux/prandom.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include "../../rmem/pagecache_object.h"
#include "mock_device.h"
#include "mock_fs.h"
#include "mock_memory.h"
#include "mock_user.h"

#define CACHE_CHUNK	HMM_RMEM_CHUNK_PAGES

/* Pages of a file that is more than two batches. */
#define CACHE_PAGES	(2 * HMM_PAGECACHE_BATCH + 44)

/**
 * struct cache_fixture - a file, and a device with memory
 * @test: the test
 * @fs: the file system of the file
 * @memory: the memory
 * @want: for moves; all are wanted unless @some
 * @some: not all are
 * @write: for moves
 * @flags: for moves to the device
 * @results: of the last move
 * @moved: by the last move
 * @evacuation: how long the last one took, in jiffies
 */
struct cache_fixture {
	struct kunit *test;
	struct mock_fs *fs;
	struct mock_memory *memory;
	DECLARE_BITMAP(want, CACHE_PAGES);
	bool some;
	DECLARE_BITMAP(write, CACHE_PAGES);
	u32 flags;
	u8 results[CACHE_PAGES];
	unsigned long moved;
	unsigned long evacuation;
};

static struct cache_fixture *cache_begin(struct kunit *test)
{
	struct cache_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->test = test;
	f->fs = mock_fs_new(test, CACHE_PAGES);
	f->memory = mock_memory_new(test, NULL, 2);
	return f;
}

static struct hmm_rmem *cache_pool(struct mock_memory *memory)
{
	return memory->device->hmm.rmem;
}

static struct hmm_pagecache *cache_of(struct cache_fixture *f)
{
	return hmm_pagecache_of(f->fs->file);
}

static int cache_state(struct cache_fixture *f, unsigned long n)
{
	struct hmm_pagecache *cache = cache_of(f);

	return cache ? hmm_pagecache_state(cache, n).state : HMM_SWP_FILE_LOCAL;
}

/* The number at the beginning of what the device has of a page. */
static u64 *cache_at(struct cache_fixture *f, unsigned long n)
{
	return (u64 *)(f->memory->data +
		       (hmm_pagecache_state(cache_of(f), n).frame << PAGE_SHIFT));
}

static int cache_move_to(struct cache_fixture *f, struct mock_memory *memory,
			 unsigned long first, unsigned long nr)
{
	struct hmm_pagecache_move move = {
		.file = f->fs->file,
		.index = first,
		.nr = nr,
		.flags = f->flags,
		.want = f->some ? f->want : NULL,
		.write = f->write,
		.results = f->results,
	};
	int ret;

	memset(f->results, HMM_PAGE_SKIPPED, sizeof(f->results));
	ret = hmm_pagecache_move_in(cache_pool(memory), &move);
	f->moved = move.moved;
	return ret;
}

static int cache_move_in(struct cache_fixture *f, unsigned long first, unsigned long nr)
{
	return cache_move_to(f, f->memory, first, nr);
}

static int cache_move_out(struct cache_fixture *f, unsigned long first, unsigned long nr,
			  u32 flags)
{
	struct hmm_pagecache_move move = {
		.file = f->fs->file,
		.index = first,
		.nr = nr,
		.flags = flags,
		.results = f->results,
	};
	int ret;

	memset(f->results, HMM_PAGE_SKIPPED, sizeof(f->results));
	ret = hmm_pagecache_move_out(cache_pool(f->memory), &move);
	f->moved = move.moved;
	return ret;
}

static void cache_share(struct cache_fixture *f, unsigned long first, unsigned long nr)
{
	bitmap_zero(f->write, CACHE_PAGES);
	KUNIT_ASSERT_EQ(f->test, 0, cache_move_in(f, first, nr));
	KUNIT_ASSERT_EQ(f->test, nr, f->moved);
}

/* What would it be? */
static int cache_try_own(struct cache_fixture *f, unsigned long n)
{
	bitmap_fill(f->write, CACHE_PAGES);
	KUNIT_ASSERT_EQ(f->test, 0, cache_move_in(f, n, 1));
	return f->results[0];
}

/* The device gets to own a page, and writes to it. */
static void cache_own(struct cache_fixture *f, unsigned long n, u64 value)
{
	KUNIT_ASSERT_EQ(f->test, HMM_PAGE_MOVED, cache_try_own(f, n));
	KUNIT_ASSERT_EQ(f->test, HMM_SWP_FILE_OWNED, cache_state(f, n));
	*cache_at(f, n) = value;
}

static struct folio *cache_lock(struct cache_fixture *f, unsigned long n)
{
	struct folio *folio = filemap_lock_folio(f->fs->file->f_mapping, n);

	KUNIT_ASSERT_FALSE(f->test, IS_ERR(folio));
	return folio;
}

static void cache_unlock(struct folio *folio)
{
	folio_unlock(folio);
	folio_put(folio);
}

static u64 cache_stat(struct cache_fixture *f, enum hmm_rmem_stat stat)
{
	return mock_memory_stat(f->memory, stat);
}

static unsigned long cache_evict_error(struct cache_fixture *f, bool *busy, int *error)
{
	struct hmm_rmem *rmem = cache_pool(f->memory);
	unsigned long chunk, freed = 0;

	mutex_lock(&rmem->evict_lock);
	for (chunk = 0; chunk < rmem->nr_chunks; chunk++)
		freed += hmm_pagecache_evict(rmem, chunk, HMM_RMEM_OUT_EVICT, busy, error);
	mutex_unlock(&rmem->evict_lock);
	return freed;
}

/* Nothing but pages in use may be in the way. */
static unsigned long cache_evict(struct cache_fixture *f, bool *busy)
{
	int error = 0;
	unsigned long freed = cache_evict_error(f, busy, &error);

	KUNIT_EXPECT_EQ(f->test, 0, error);
	return freed;
}

/* ---- entries and states ---- */

static void entry_expect(struct kunit *test, struct hmm_swp_file file)
{
	void *entry = hmm_swp_file_to_entry(file);
	struct hmm_swp_file back = hmm_swp_file_from_entry(entry);

	KUNIT_ASSERT_TRUE(test, xa_is_value(entry));
	KUNIT_EXPECT_EQ(test, (int)file.state, (int)back.state);
	KUNIT_EXPECT_EQ(test, file.poisoned, back.poisoned);
	KUNIT_EXPECT_EQ(test, file.pool, back.pool);
	KUNIT_EXPECT_EQ(test, file.frame, back.frame);
}

static void entry_round_trip(struct kunit *test)
{
	struct hmm_swp_file file = {};
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, 5);
	for (i = 0; i < 10000; i++) {
		file.state = HMM_SWP_FILE_BUSY + prandom_u32_state(&rnd) % 3;
		file.poisoned = prandom_u32_state(&rnd) & 1;
		file.pool = prandom_u32_state(&rnd) & HMM_SWP_FILE_POOL_MAX;
		file.frame = prandom_u32_state(&rnd) | (prandom_u32_state(&rnd) & 0xfful) << 32;
		entry_expect(test, file);
	}
	file = (struct hmm_swp_file) {
		.state = HMM_SWP_FILE_OWNED,
		.poisoned = true,
		.pool = HMM_SWP_FILE_POOL_MAX,
		.frame = BIT(HMM_SWP_FILE_FRAME_BITS) - 1,
	};
	entry_expect(test, file);
	KUNIT_EXPECT_TRUE(test, hmm_swp_file_fits(file.frame + 1));
	KUNIT_EXPECT_FALSE(test, hmm_swp_file_fits(file.frame + 2));
}

static void entry_local(struct kunit *test)
{
	struct hmm_swp_file file = { .state = HMM_SWP_FILE_LOCAL, .pool = 7, .frame = 9 };

	KUNIT_EXPECT_NULL(test, hmm_swp_file_to_entry(file));
	file = hmm_swp_file_from_entry(NULL);
	KUNIT_EXPECT_EQ(test, (int)HMM_SWP_FILE_LOCAL, (int)file.state);
}

/* Every move goes by way of BUSY, and only there. */
static void state_moves(struct kunit *test)
{
	int from, to;

	for (from = 0; from < HMM_SWP_FILE_NR; from++)
		for (to = 0; to < HMM_SWP_FILE_NR; to++)
			KUNIT_EXPECT_EQ_MSG(test, hmm_pagecache_is_legal(from, to),
					    (from == HMM_SWP_FILE_BUSY) !=
					    (to == HMM_SWP_FILE_BUSY), "%d to %d\n", from, to);
}

/* ---- moves ---- */

/* More pages than are locked at once, there and back. */
static void cache_many(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	unsigned long n;

	cache_share(f, 0, CACHE_PAGES);
	KUNIT_EXPECT_EQ(test, CACHE_PAGES, cache_stat(f, HMM_RMEM_FILE));
	for (n = 0; n < CACHE_PAGES; n++) {
		KUNIT_ASSERT_EQ(test, HMM_PAGE_MOVED, f->results[n]);
		KUNIT_ASSERT_EQ(test, HMM_SWP_FILE_SHARED, cache_state(f, n));
		KUNIT_ASSERT_EQ(test, n + 1, *cache_at(f, n));
	}
	KUNIT_EXPECT_EQ(test, 0, cache_move_in(f, 0, CACHE_PAGES));
	KUNIT_EXPECT_EQ(test, 0, f->moved);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_THERE, f->results[CACHE_PAGES - 1]);
	KUNIT_EXPECT_EQ(test, 0, cache_move_out(f, 0, CACHE_PAGES, 0));
	KUNIT_EXPECT_EQ(test, CACHE_PAGES, f->moved);
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 0, cache_move_out(f, 0, CACHE_PAGES, 0));
	KUNIT_EXPECT_EQ(test, 0, f->moved);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_THERE, f->results[0]);
	mock_memory_check_accounts(test, f->memory);
}

/* What nobody waits for moves if it is easy. */
static void cache_want(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct folio *folio;

	f->some = true;
	bitmap_set(f->want, 0, 1);
	/* Brings all of them into the page cache, as far as read ahead goes; not these. */
	KUNIT_EXPECT_EQ(test, 1, mock_fs_read(f->fs, 0));
	KUNIT_EXPECT_EQ(test, 6, mock_fs_read(f->fs, 5));
	folio = cache_lock(f, 5);
	KUNIT_EXPECT_EQ(test, 0, cache_move_in(f, 0, 6));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, f->results[5]);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 5));
	cache_unlock(folio);
	KUNIT_EXPECT_EQ(test, 0, cache_move_in(f, 0, 6));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[5]);
	/* Far away, and not read. */
	bitmap_zero(f->want, CACHE_PAGES);
	KUNIT_EXPECT_EQ(test, 0, cache_move_in(f, CACHE_PAGES - 10, 10));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, f->results[9]);
}

/* Somebody has a reference: the page stays what it was, whatever was tried. */
static void cache_in_use(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 4, mock_fs_read(f->fs, 3));
	folio = cache_lock(f, 3);
	folio_unlock(folio);
	KUNIT_EXPECT_EQ(test, 0, cache_move_in(f, 3, 1));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, cache_try_own(f, 3));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 3));
	KUNIT_EXPECT_TRUE(test, folio_test_uptodate(folio));
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_USED));
	folio_put(folio);
	cache_share(f, 3, 1);
	/* An upgrade that cannot be leaves the copy. */
	folio = cache_lock(f, 3);
	folio_unlock(folio);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, cache_try_own(f, 3));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_SHARED, cache_state(f, 3));
	folio_put(folio);
	cache_own(f, 3, 44);
	KUNIT_EXPECT_EQ(test, 44, mock_fs_read(f->fs, 3));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_SHARED, cache_state(f, 3));
}

/* What somebody has mlock()ed does not move by itself. */
static void cache_mlocked(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct folio *folio;

	KUNIT_ASSERT_EQ(test, 1, mock_fs_read(f->fs, 0));
	folio = cache_lock(f, 0);
	folio_set_mlocked(folio);
	cache_unlock(folio);
	f->flags = HMM_RMEM_MOVE_AUTO;
	KUNIT_EXPECT_EQ(test, 0, cache_move_in(f, 0, 1));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_UNSUPPORTED, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_UNSUPPORTED, cache_try_own(f, 0));
	f->flags = 0;
	cache_share(f, 0, 1);
	folio = cache_lock(f, 0);
	folio_clear_mlocked(folio);
	cache_unlock(folio);
}

/* To own a page is not tried where it would have to wait for a frozen file system. */
static void cache_frozen(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct percpu_rw_semaphore *sem =
		f->fs->mnt->mnt_sb->s_writers.rw_sem + SB_FREEZE_WRITE - 1;

	percpu_down_write(sem);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, cache_try_own(f, 0));
	percpu_up_write(sem);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&f->fs->mkwrites));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, cache_try_own(f, 0));
}

/*
 * The file system is asked once to make the file ready.  Until it has, nothing moves; it is
 * asked again, but not all the time.
 */
static void cache_prepare(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	unsigned long n, begun = jiffies;

	f->fs->prepare = -EINTR;
	bitmap_zero(f->write, CACHE_PAGES);
	KUNIT_EXPECT_EQ(test, -EINTR, cache_move_in(f, 0, 4));
	f->fs->prepare = -EIO;
	KUNIT_EXPECT_EQ(test, 0, cache_move_in(f, 0, 4));
	KUNIT_EXPECT_EQ(test, 0, f->moved);
	for (n = 0; n < 4; n++)
		KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, f->results[n]);
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&f->fs->prepares));
	/* It waits; how long, a machine that stands still must not decide. */
	KUNIT_EXPECT_TRUE(test, time_after(cache_of(f)->retry, begun + HZ / 5));
	KUNIT_EXPECT_TRUE(test, time_before(cache_of(f)->retry, jiffies + HZ / 3));
	cache_of(f)->retry = jiffies + MOCK_PATIENCE;
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, cache_try_own(f, 0));
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&f->fs->prepares));
	begun = jiffies;
	cache_of(f)->retry = begun;
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, cache_try_own(f, 0));
	KUNIT_EXPECT_EQ(test, 3, atomic_read(&f->fs->prepares));
	/* Longer each time. */
	KUNIT_EXPECT_TRUE(test, time_after(cache_of(f)->retry, begun + HZ / 3));
	KUNIT_EXPECT_TRUE(test, time_before(cache_of(f)->retry, jiffies + HZ));
	cache_of(f)->retry = jiffies + MOCK_PATIENCE;
	f->fs->prepare = 0;
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, cache_try_own(f, 0));
	KUNIT_EXPECT_EQ(test, 3, atomic_read(&f->fs->prepares));
	cache_of(f)->retry = jiffies;
	cache_share(f, 0, 4);
	cache_own(f, 5, 55);
	KUNIT_EXPECT_EQ(test, 4, atomic_read(&f->fs->prepares));
}

/* Somebody brings in a folio of several pages after the file was made ready: it stays, alone. */
static void cache_large(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct address_space *mapping = f->fs->file->f_mapping;
	struct folio *folio;

	cache_own(f, 0, 11);
	folio = folio_alloc(GFP_KERNEL, 2);
	KUNIT_ASSERT_NOT_NULL(test, folio);
	folio_zero_range(folio, 0, folio_size(folio));
	KUNIT_ASSERT_EQ(test, 0, filemap_add_folio(mapping, folio, 8, GFP_KERNEL));
	folio_mark_uptodate(folio);
	folio_unlock(folio);
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_UNSUPPORTED, cache_try_own(f, 9));
	cache_own(f, 1, 22);
	truncate_inode_pages_range(mapping, 8 << PAGE_SHIFT, (12 << PAGE_SHIFT) - 1);
	cache_own(f, 9, 99);
	KUNIT_EXPECT_EQ(test, 11, mock_fs_read(f->fs, 0));
	KUNIT_EXPECT_EQ(test, 99, mock_fs_read(f->fs, 9));
}

static void cache_direct_io(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct inode *inode = file_inode(f->fs->file);

	inode_dio_begin(inode);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, cache_try_own(f, 0));
	inode_dio_end(inode);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, cache_try_own(f, 0));
	/* Nothing keeps it from beginning before the page is locked. */
	f->fs->dio = true;
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, cache_try_own(f, 1));
	KUNIT_EXPECT_FALSE(test, f->fs->dio);
	inode_dio_end(inode);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, cache_try_own(f, 1));
}

/* The CPU has fetched it: it has a moment to look at it. */
static void cache_residency(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	int result, i;

	cache_own(f, 2, 33);
	KUNIT_EXPECT_EQ(test, 33, mock_fs_read(f->fs, 2));
	hmm_pagecache_note_recall(cache_of(f), 2);
	result = cache_try_own(f, 2);
	/* A machine that has stood still for so long finds it over. */
	if (result != HMM_PAGE_MOVED)
		KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, result);
	for (i = 0; i < 100 && result == HMM_PAGE_BUSY; i++) {
		msleep(20);
		result = cache_try_own(f, 2);
	}
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, result);
}

/* A page is on one device at a time. */
static void cache_two_devices(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct mock_memory *other = mock_memory_new(test, NULL, 1);

	cache_share(f, 0, 2);
	cache_own(f, 1, 22);
	bitmap_zero(f->write, CACHE_PAGES);
	KUNIT_EXPECT_EQ(test, 0, cache_move_to(f, other, 0, 2));
	KUNIT_EXPECT_EQ(test, 2, f->moved);
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 2, mock_memory_stat(other, HMM_RMEM_FILE));
	KUNIT_EXPECT_EQ(test, 22,
			*(u64 *)(other->data +
				 (hmm_pagecache_state(cache_of(f), 1).frame << PAGE_SHIFT)));
	mock_memory_check_accounts(test, f->memory);
	/* Whose it is matters to who wants it out. */
	KUNIT_EXPECT_EQ(test, 0, cache_move_out(f, 0, 1, 0));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_THERE, f->results[0]);
	bitmap_fill(f->write, CACHE_PAGES);
	KUNIT_EXPECT_EQ(test, 0, cache_move_to(f, other, 0, 1));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_OWNED, cache_state(f, 0));
	KUNIT_EXPECT_EQ(test, 0, cache_move_out(f, 0, 1, 0));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, f->results[0]);
	KUNIT_EXPECT_EQ(test, 0, cache_move_out(f, 0, 1, HMM_RMEM_MOVE_FAULT_IN));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_THERE, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 0));
}

static int cache_move_out_thread(void *data)
{
	return cache_move_out(data, 2, 1, 0);
}

/* What the kernel does with a locked page that it compacts; it is clean. */
static struct folio *cache_replace(struct cache_fixture *f, struct folio *old)
{
	struct folio *new = folio_alloc(GFP_KERNEL, 0);

	KUNIT_ASSERT_NOT_NULL(f->test, new);
	folio_lock(new);
	KUNIT_ASSERT_TRUE(f->test, try_to_free_buffers(old));
	memcpy(folio_address(new), folio_address(old), PAGE_SIZE);
	folio_mark_uptodate(new);
	replace_page_cache_folio(old, new);
	create_empty_buffers(new, PAGE_SIZE, 0);
	return new;
}

/*
 *	move out			compaction
 *					locks the page
 *	finds it, waits for the lock
 *					it has other memory
 *					unlocks
 *	locks what is nobody's: finds
 *	the one that it is now
 */
static void cache_out_while_compacted(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct mock_thread *thread;
	struct folio *old, *new;

	cache_share(f, 2, 1);
	old = cache_lock(f, 2);
	thread = mock_thread_run(test, NULL, cache_move_out_thread, f);
	KUNIT_EXPECT_TRUE(test, mock_thread_blocks(thread));
	new = cache_replace(f, old);
	cache_unlock(old);
	cache_unlock(new);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 2));
	KUNIT_EXPECT_EQ(test, 3, mock_fs_read(f->fs, 2));
}

/*
 * At the end of the file writeback makes zero what is behind it: a copy that the device has
 * goes, and the next one is right.
 */
static void cache_writeback_end(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct folio *folio;

	mock_fs_truncate(f->fs, 2 * PAGE_SIZE + 100);
	mock_fs_write(f->fs, 1, 22);
	mock_fs_write(f->fs, 2, 33);
	/* As by a mapping. */
	folio = cache_lock(f, 2);
	memset_page(folio_page(folio, 0), 2048, 0xff, sizeof(u64));
	cache_unlock(folio);
	cache_share(f, 1, 2);
	KUNIT_EXPECT_EQ(test, ~0ull, cache_at(f, 2)[2048 / sizeof(u64)]);
	KUNIT_ASSERT_EQ(test, 0, mock_fs_sync(f->fs));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_SHARED, cache_state(f, 1));
	KUNIT_ASSERT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 2));
	cache_share(f, 2, 1);
	KUNIT_EXPECT_EQ(test, 33, *cache_at(f, 2));
	KUNIT_EXPECT_EQ(test, 0, cache_at(f, 2)[2048 / sizeof(u64)]);
}

/* The file was longer, or is, than who writes it to disk has seen: he knows what he zeroes. */
static void cache_writeback_truncated(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct folio *folio;

	mock_fs_write(f->fs, 1, 22);
	cache_share(f, 1, 1);
	folio = cache_lock(f, 1);
	__hmm_pagecache_writeback(cache_of(f), folio, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_SHARED, cache_state(f, 1));
	__hmm_pagecache_writeback(cache_of(f), folio, 100);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 1));
	cache_unlock(folio);
	cache_own(f, 1, 44);
	folio = cache_lock(f, 1);
	__hmm_pagecache_writeback(cache_of(f), folio, 100);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 1));
	KUNIT_EXPECT_TRUE(test, folio_test_uptodate(folio));
	cache_unlock(folio);
	KUNIT_EXPECT_EQ(test, 44, mock_fs_read(f->fs, 1));
}

/* ---- hooks ---- */

/* Who truncates a part of an owned page has set the old bytes to zero, not the new ones. */
static void cache_truncate_part(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	const size_t at = 100;
	struct folio *folio;
	u8 *bytes;

	cache_own(f, 4, 55);
	memset((u8 *)cache_at(f, 4) + sizeof(u64), 0x77, PAGE_SIZE - sizeof(u64));
	mock_fs_truncate(f->fs, 4 * PAGE_SIZE + at);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 4));
	folio = cache_lock(f, 4);
	KUNIT_EXPECT_TRUE(test, folio_test_uptodate(folio));
	bytes = kmap_local_folio(folio, 0);
	KUNIT_EXPECT_EQ(test, 55, *(u64 *)bytes);
	KUNIT_EXPECT_EQ(test, 0x77, bytes[at - 1]);
	KUNIT_EXPECT_NULL(test, memchr_inv(bytes + at, 0, PAGE_SIZE - at));
	kunmap_local(bytes);
	cache_unlock(folio);
	/* Nor is the end of a file ever owned. */
	KUNIT_EXPECT_EQ(test, HMM_PAGE_UNSUPPORTED, cache_try_own(f, 4));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_UNMAPPED, cache_try_own(f, 5));
}

static bool cache_release(struct cache_fixture *f, unsigned long n, gfp_t gfp, bool reclaim)
{
	struct folio *folio = cache_lock(f, n);
	unsigned int flags = reclaim ? memalloc_noreclaim_save() : 0;
	bool local = __hmm_pagecache_release(cache_of(f), folio, gfp);

	if (reclaim)
		memalloc_noreclaim_restore(flags);
	cache_unlock(folio);
	return local;
}

static void cache_release_rules(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);

	cache_share(f, 0, 4);
	cache_own(f, 3, 44);
	KUNIT_EXPECT_FALSE(test, cache_release(f, 0, 0, true));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_SHARED, cache_state(f, 0));
	/* Of no use to a file system, and so wanted also if none can be waited for. */
	KUNIT_EXPECT_TRUE(test, cache_release(f, 0, GFP_NOFS, true));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 0));
	KUNIT_EXPECT_TRUE(test, cache_release(f, 1, GFP_KERNEL, false));
	KUNIT_EXPECT_TRUE(test, cache_release(f, 2, 0, false));
	KUNIT_EXPECT_FALSE(test, cache_release(f, 3, GFP_KERNEL, false));
	KUNIT_EXPECT_FALSE(test, cache_release(f, 3, 0, false));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_OWNED, cache_state(f, 3));
	KUNIT_EXPECT_EQ(test, 1, cache_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_TRUE(test, cache_release(f, 0, 0, true));
}

static void cache_recall_all(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);

	cache_share(f, 0, 40);
	cache_own(f, 7, 88);
	inode_lock(file_inode(f->fs->file));
	__hmm_pagecache_recall_all(cache_of(f));
	inode_unlock(file_inode(f->fs->file));
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 88, mock_fs_read(f->fs, 7));
	KUNIT_EXPECT_TRUE(test, xa_empty(&cache_of(f)->pages));
}

/* Given up: what the device had is lost, and who syncs hears of it, once. */
static void cache_discard(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct address_space *mapping = f->fs->file->f_mapping;
	errseq_t since = filemap_sample_wb_err(mapping);
	struct folio *folio;

	cache_own(f, 1, 22);
	folio = cache_lock(f, 1);
	__hmm_pagecache_discard(cache_of(f), folio);
	/* The rest is for the file system to do. */
	folio_mark_uptodate(folio);
	cache_unlock(folio);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 1));
	KUNIT_EXPECT_EQ(test, -EIO, filemap_check_wb_err(mapping, since));
	KUNIT_EXPECT_FALSE(test, test_bit(AS_EIO, &mapping->flags));
}

/* Copies fail for a while: who has to have the page waits. */
static void cache_copy_fails(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);

	cache_own(f, 1, 22);
	mock_memory_fail(f->memory, -EIO, 10);
	KUNIT_EXPECT_EQ(test, 22, mock_fs_read(f->fs, 1));
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_LOST));
}

/* They fail for ever, and leave anything behind: the page has what was on disk. */
static void cache_copy_never_works(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct address_space *mapping = f->fs->file->f_mapping;
	errseq_t since = filemap_sample_wb_err(mapping);

	cache_own(f, 1, 22);
	mock_memory_fail(f->memory, -EIO, -1);
	mock_fs_sync(f->fs);
	mock_memory_fail(f->memory, 0, 0);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 1));
	KUNIT_EXPECT_EQ(test, 2, mock_fs_read(f->fs, 1));
	KUNIT_EXPECT_EQ(test, 2, f->fs->disk[1]);
	KUNIT_EXPECT_EQ(test, -EIO, filemap_check_wb_err(mapping, since));
	KUNIT_EXPECT_EQ(test, 1, cache_stat(f, HMM_RMEM_LOST));
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_USED));
}

/* Reads fail, and nothing is lost by that: @bits are those of the size of a block. */
static void cache_read_fails(struct cache_fixture *f, unsigned int bits)
{
	struct address_space *mapping = f->fs->file->f_mapping;
	errseq_t since = filemap_sample_wb_err(mapping);
	struct inode *inode = mapping->host;
	struct folio *folio;
	u64 value, first, second;

	cache_own(f, 1, 22);
	cache_own(f, 2, 33);
	mock_memory_fail(f->memory, -EIO, -1);
	swap(inode->i_blkbits, bits);
	KUNIT_EXPECT_EQ(f->test, -EIO, mock_fs_try_read(f->fs, 1, &value));
	first = cache_stat(f, HMM_RMEM_COPY_ERRORS);
	KUNIT_EXPECT_EQ(f->test, -EIO, mock_fs_try_read(f->fs, 2, &value));
	second = cache_stat(f, HMM_RMEM_COPY_ERRORS) - first;
	KUNIT_EXPECT_LE(f->test, 2 * second, first);
	swap(inode->i_blkbits, bits);
	KUNIT_EXPECT_EQ(f->test, HMM_SWP_FILE_OWNED, cache_state(f, 1));
	KUNIT_EXPECT_EQ(f->test, HMM_SWP_FILE_OWNED, cache_state(f, 2));
	folio = cache_lock(f, 1);
	KUNIT_EXPECT_FALSE(f->test, folio_test_uptodate(folio));
	KUNIT_EXPECT_TRUE(f->test, folio_test_dirty(folio));
	cache_unlock(folio);
	*cache_at(f, 2) = 34;
	/* That one has failed costs nobody else his patience. */
	mock_memory_fail(f->memory, -EIO, 10);
	KUNIT_EXPECT_EQ(f->test, 0, mock_fs_sync(f->fs));
	KUNIT_EXPECT_EQ(f->test, 22, mock_fs_read(f->fs, 1));
	KUNIT_EXPECT_EQ(f->test, 34, mock_fs_read(f->fs, 2));
	KUNIT_EXPECT_EQ(f->test, 34, f->fs->disk[2]);
	KUNIT_EXPECT_EQ(f->test, 0, cache_stat(f, HMM_RMEM_LOST));
	KUNIT_EXPECT_EQ(f->test, 0, filemap_check_wb_err(mapping, since));
}

static void cache_copy_fails_read(struct kunit *test)
{
	cache_read_fails(cache_begin(test), PAGE_SHIFT);
}

static void cache_copy_fails_read_part(struct kunit *test)
{
	cache_read_fails(cache_begin(test), SECTOR_SHIFT);
}

static void cache_sync_page(struct cache_fixture *f, unsigned long n)
{
	loff_t pos = (loff_t)n << PAGE_SHIFT;

	filemap_write_and_wait_range(f->fs->file->f_mapping, pos, pos + PAGE_SIZE - 1);
}

/* What write(2) leaves of a page is not old: it fails until copies work, or the page is lost. */
static void cache_copy_fails_write(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct address_space *mapping = f->fs->file->f_mapping;
	errseq_t since = filemap_sample_wb_err(mapping);

	cache_own(f, 1, 22);
	cache_own(f, 2, 33);
	mock_memory_fail(f->memory, -EIO, -1);
	KUNIT_EXPECT_EQ(test, -EIO, mock_fs_try_write(f->fs, 1, 77));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_OWNED, cache_state(f, 1));
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_LOST));
	KUNIT_EXPECT_EQ(test, 0, filemap_check_wb_err(mapping, since));
	cache_sync_page(f, 2);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 2));
	KUNIT_EXPECT_EQ(test, 0, mock_fs_try_write(f->fs, 2, 88));
	KUNIT_EXPECT_EQ(test, 88, mock_fs_read(f->fs, 2));
	KUNIT_EXPECT_EQ(test, -EIO, filemap_check_wb_err(mapping, since));
	mock_memory_fail(f->memory, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, mock_fs_try_write(f->fs, 1, 78));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 1));
	KUNIT_EXPECT_EQ(test, 78, mock_fs_read(f->fs, 1));
	KUNIT_EXPECT_EQ(test, 1, cache_stat(f, HMM_RMEM_LOST));
}

static int cache_read_killed(void *arg)
{
	struct cache_fixture *f = arg;
	u64 value;

	allow_signal(SIGKILL);
	return mock_fs_try_read(f->fs, 1, &value);
}

/* A minute is for who lives. */
static void cache_copy_fails_killed(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	unsigned long begun = jiffies;
	struct mock_thread *thread;

	cache_own(f, 1, 22);
	mock_memory_fail(f->memory, -ENOMEM, -1);
	thread = mock_thread_run(test, current->mm, cache_read_killed, f);
	while (!cache_stat(f, HMM_RMEM_COPY_ERRORS) && time_before(jiffies, begun + 20 * HZ))
		usleep_range(1000, 2000);
	send_sig(SIGKILL, thread->task, 1);
	KUNIT_EXPECT_LT(test, mock_thread_join(test, thread), 0);
	KUNIT_EXPECT_TRUE(test, time_before(jiffies, begun + 30 * HZ));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_OWNED, cache_state(f, 1));
	mock_memory_fail(f->memory, 0, 0);
	KUNIT_EXPECT_EQ(test, 22, mock_fs_read(f->fs, 1));
}

/* Another device wants the page: it does not get the old bytes either. */
static void cache_copy_fails_other(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct mock_memory *other = mock_memory_new(test, NULL, 1);

	cache_own(f, 1, 22);
	mock_memory_fail(f->memory, -EIO, -1);
	bitmap_zero(f->write, CACHE_PAGES);
	KUNIT_EXPECT_EQ(test, 0, cache_move_to(f, other, 1, 1));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_FAILED, f->results[0]);
	bitmap_fill(f->write, CACHE_PAGES);
	KUNIT_EXPECT_EQ(test, 0, cache_move_to(f, other, 1, 1));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_FAILED, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_OWNED, cache_state(f, 1));
	mock_memory_fail(f->memory, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, cache_move_to(f, other, 1, 1));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[0]);
	KUNIT_EXPECT_EQ(test, 22, mock_fs_read(f->fs, 1));
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_LOST));
}

/*
 * Who waits for many pages waits for the first only, until a copy works again.  Not if it is for
 * @other reasons that copies fail.
 */
static void cache_gives_up(struct cache_fixture *f, int error, int other)
{
	struct kunit *test = f->test;
	struct folio *folio;
	u64 first, second;

	cache_own(f, 1, 22);
	cache_own(f, 2, 33);
	cache_own(f, 3, 44);
	cache_own(f, 4, 55);
	cache_own(f, 5, 66);
	mock_memory_fail(f->memory, error, -1);
	cache_sync_page(f, 1);
	first = cache_stat(f, HMM_RMEM_COPY_ERRORS);
	folio = cache_lock(f, 2);
	__hmm_pagecache_write(cache_of(f), folio);
	cache_unlock(folio);
	second = cache_stat(f, HMM_RMEM_COPY_ERRORS) - first;
	/* Memory is waited for by the clock: how many tries that is, the machine decides. */
	if (error == -ENOMEM)
		KUNIT_EXPECT_LE(test, second, 6);
	else
		KUNIT_EXPECT_LE(test, 2 * second, first);
	KUNIT_EXPECT_EQ(test, 2, mock_fs_read(f->fs, 1));
	KUNIT_EXPECT_EQ(test, 3, mock_fs_read(f->fs, 2));
	mock_memory_fail(f->memory, other, 6);
	KUNIT_EXPECT_EQ(test, 44, mock_fs_read(f->fs, 3));
	mock_memory_fail(f->memory, error, 6);
	KUNIT_EXPECT_EQ(test, 55, mock_fs_read(f->fs, 4));
	mock_memory_fail(f->memory, error, 6);
	cache_sync_page(f, 5);
	KUNIT_EXPECT_EQ(test, 66, mock_fs_read(f->fs, 5));
	KUNIT_EXPECT_EQ(test, 2, cache_stat(f, HMM_RMEM_LOST));
}

static void cache_copy_gave_up(struct kunit *test)
{
	cache_gives_up(cache_begin(test), -EIO, -ENOMEM);
}

/* Copies that take their time before they fail, as those do that hang. */
static void cache_copy_gave_up_slowly(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	u64 first;

	cache_own(f, 1, 22);
	cache_own(f, 2, 33);
	mock_memory_fail(f->memory, -EIO, -1);
	f->memory->delay_ms = 2000;
	cache_sync_page(f, 1);
	first = cache_stat(f, HMM_RMEM_COPY_ERRORS);
	/* In five seconds, and once more. */
	KUNIT_EXPECT_LE(test, first, 3 + 3);
	cache_sync_page(f, 2);
	KUNIT_EXPECT_EQ(test, first + 1, cache_stat(f, HMM_RMEM_COPY_ERRORS));
	KUNIT_EXPECT_EQ(test, 2, cache_stat(f, HMM_RMEM_LOST));
	f->memory->delay_ms = 0;
}

static void cache_copy_gave_up_nomem(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	unsigned long patience = 2 * HZ, begun = jiffies;

	swap(hmm_pagecache_nomem, patience);
	cache_gives_up(f, -ENOMEM, -EIO);
	KUNIT_EXPECT_TRUE(test, time_after_eq(jiffies, begun + 2 * HZ));
	/* It is over, but that memory is short for a moment costs no page. */
	cache_own(f, 6, 77);
	cache_own(f, 7, 88);
	mock_memory_fail(f->memory, -ENOMEM, -1);
	cache_sync_page(f, 6);
	mock_memory_fail(f->memory, -ENOMEM, 4);
	cache_sync_page(f, 7);
	KUNIT_EXPECT_EQ(test, 7, mock_fs_read(f->fs, 6));
	KUNIT_EXPECT_EQ(test, 88, mock_fs_read(f->fs, 7));
	KUNIT_EXPECT_EQ(test, 3, cache_stat(f, HMM_RMEM_LOST));
	swap(hmm_pagecache_nomem, patience);
}

/*
 * The device is lost while it owns a page: the page has what was on disk, and who syncs
 * hears of it, as of any error; but AS_EIO is not set, which could end a journal.
 */
static void cache_lost(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct address_space *mapping = f->fs->file->f_mapping;
	errseq_t since = filemap_sample_wb_err(mapping);

	cache_share(f, 0, 3);
	cache_own(f, 1, 22);
	cache_own(f, 2, 33);
	f->memory->lost = true;
	mock_fs_sync(f->fs);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 1));
	KUNIT_EXPECT_EQ(test, 2, mock_fs_read(f->fs, 1));
	KUNIT_EXPECT_EQ(test, 2, f->fs->disk[1]);
	KUNIT_EXPECT_EQ(test, 3, mock_fs_read(f->fs, 2));
	KUNIT_EXPECT_EQ(test, -EIO, filemap_check_wb_err(mapping, since));
	KUNIT_EXPECT_FALSE(test, test_bit(AS_EIO, &mapping->flags));
	KUNIT_EXPECT_EQ(test, 2, cache_stat(f, HMM_RMEM_LOST));
	/* A copy is no loss. */
	KUNIT_EXPECT_EQ(test, 1, mock_fs_read(f->fs, 0));
	mock_fs_write(f->fs, 0, 11);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 0));
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, -ENODEV, cache_move_in(f, 0, 1));
	mock_memory_check_accounts(test, f->memory);
}

/* ---- eviction ---- */

static void cache_evict_some(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct folio *folio;
	bool busy = false;

	cache_share(f, 0, 20);
	cache_own(f, 8, 99);
	cache_own(f, 9, 100);
	folio = cache_lock(f, 8);
	KUNIT_EXPECT_EQ(test, 19, cache_evict(f, &busy));
	KUNIT_EXPECT_TRUE(test, busy);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_OWNED, cache_state(f, 8));
	cache_unlock(folio);
	busy = false;
	KUNIT_EXPECT_EQ(test, 1, cache_evict(f, &busy));
	KUNIT_EXPECT_FALSE(test, busy);
	KUNIT_EXPECT_EQ(test, 99, mock_fs_read(f->fs, 8));
	KUNIT_EXPECT_EQ(test, 100, mock_fs_read(f->fs, 9));
	KUNIT_EXPECT_EQ(test, 20, cache_stat(f, HMM_RMEM_OUT_EVICT));
	mock_memory_check_accounts(test, f->memory);
}

/* What cannot be copied is as it was. */
static void cache_evict_copy_fails(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	bool busy = false;
	int error = 0;

	cache_own(f, 0, 11);
	mock_memory_fail(f->memory, -EIO, -1);
	KUNIT_EXPECT_EQ(test, 0, cache_evict_error(f, &busy, &error));
	KUNIT_EXPECT_TRUE(test, busy);
	KUNIT_EXPECT_EQ(test, -EIO, error);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_OWNED, cache_state(f, 0));
	KUNIT_EXPECT_EQ(test, 0, cache_move_out(f, 0, 1, 0));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_FAILED, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_OWNED, cache_state(f, 0));
	*cache_at(f, 0) = 12;
	mock_memory_fail(f->memory, 0, 0);
	KUNIT_EXPECT_EQ(test, 1, cache_evict(f, &busy));
	KUNIT_EXPECT_EQ(test, 12, mock_fs_read(f->fs, 0));
}

/* A copy that fails leaves anything where it goes to: not in the page, the device may be lost. */
static void cache_evict_copy_fails_then_lost(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	bool busy = false;
	int error = 0;

	cache_own(f, 0, 11);
	cache_own(f, 1, 12);
	mock_memory_fail(f->memory, -EIO, -1);
	KUNIT_EXPECT_EQ(test, 0, cache_evict_error(f, &busy, &error));
	KUNIT_EXPECT_EQ(test, -EIO, error);
	KUNIT_EXPECT_EQ(test, 0, cache_move_out(f, 0, 2, 0));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_FAILED, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_FAILED, f->results[1]);
	f->memory->lost = true;
	mock_fs_sync(f->fs);
	KUNIT_EXPECT_EQ(test, 1, mock_fs_read(f->fs, 0));
	KUNIT_EXPECT_EQ(test, 2, mock_fs_read(f->fs, 1));
	KUNIT_EXPECT_EQ(test, 1, f->fs->disk[0]);
	KUNIT_EXPECT_EQ(test, 2, cache_stat(f, HMM_RMEM_LOST));
}

/* As of anonymous pages: they are not in use, they cannot be copied. */
static void cache_evacuate_copy_fails(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);

	cache_own(f, 0, 11);
	mock_memory_fail(f->memory, -EIO, -1);
	KUNIT_EXPECT_EQ(test, -EIO, hmm_rmem_evacuate(cache_pool(f->memory)));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_OWNED, cache_state(f, 0));
	mock_memory_fail(f->memory, -ENOMEM, -1);
	KUNIT_EXPECT_EQ(test, -ENOMEM, hmm_rmem_evacuate(cache_pool(f->memory)));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_OWNED, cache_state(f, 0));
	mock_memory_fail(f->memory, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evacuate(cache_pool(f->memory)));
	KUNIT_EXPECT_EQ(test, 11, mock_fs_read(f->fs, 0));
}

/* umount() has begun: nobody gets a reference on the file system any more. */
static void cache_evict_unmounting(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	atomic_t *active = &file_inode(f->fs->file)->i_sb->s_active;
	bool busy = false;
	int was;

	cache_own(f, 0, 11);
	was = atomic_xchg(active, 0);
	KUNIT_EXPECT_EQ(test, 1, cache_evict(f, &busy));
	atomic_set(active, was);
	KUNIT_EXPECT_FALSE(test, busy);
	KUNIT_EXPECT_EQ(test, 11, mock_fs_read(f->fs, 0));
}

static int cache_close_thread(void *data)
{
	struct cache_fixture *f = data;

	__fput_sync(f->fs->file);
	f->fs->file = NULL;
	return 0;
}

static int cache_evict_thread(void *data)
{
	bool busy;

	return cache_evict(data, &busy);
}

/*
 *	eviction			close
 *	locks the page
 *	copies: held
 *					the last reference: the inode
 *					ends, and waits for the page
 *	goes on, unlocks it
 *					removes it
 */
static void cache_evict_and_close(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct mock_thread *evict, *close;

	cache_own(f, 0, 11);
	mock_memory_arm(f->memory, MOCK_COPY_OUT);
	evict = mock_thread_run(test, NULL, cache_evict_thread, f);
	KUNIT_ASSERT_TRUE(test, mock_memory_wait(f->memory, MOCK_COPY_OUT));
	close = mock_thread_run(test, NULL, cache_close_thread, f);
	KUNIT_EXPECT_TRUE(test, mock_thread_blocks(close));
	mock_memory_open(f->memory, MOCK_COPY_OUT);
	KUNIT_EXPECT_EQ(test, 1, mock_thread_join(test, evict));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, close));
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_USED));
}

static int cache_move_in_thread(void *data)
{
	return cache_move_in(data, 0, 1);
}

static int cache_evacuate_thread(void *data)
{
	struct cache_fixture *f = data;
	unsigned long begun = jiffies;
	int ret;

	ret = hmm_rmem_evacuate(cache_pool(f->memory));
	f->evacuation = jiffies - begun;
	return ret;
}

/*
 *	move in				evacuation
 *	copies: held
 *			the device is lost
 *					finds nothing, and waits
 *	goes on: shared
 *					drops the copy
 */
static void cache_lost_on_its_way(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct mock_thread *in, *out;
	bool blocks;
	int ret;

	mock_memory_arm(f->memory, MOCK_COPY_IN);
	in = mock_thread_run(test, NULL, cache_move_in_thread, f);
	KUNIT_ASSERT_TRUE(test, mock_memory_wait(f->memory, MOCK_COPY_IN));
	hmm_device_lost(&f->memory->device->hmm);
	out = mock_thread_run(test, NULL, cache_evacuate_thread, f);
	blocks = mock_thread_blocks(out);
	mock_memory_open(f->memory, MOCK_COPY_IN);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, in));
	/* Its patience, of seconds, may have been over before we got to run. */
	ret = mock_thread_join(test, out);
	KUNIT_EXPECT_TRUE(test, blocks || (ret && f->evacuation > HZ));
	if (ret)
		KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evacuate(cache_pool(f->memory)));
	KUNIT_EXPECT_EQ(test, HMM_SWP_FILE_LOCAL, cache_state(f, 0));
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_USED));
}

static int cache_own_thread(void *data)
{
	struct cache_fixture *f = data;

	bitmap_fill(f->write, CACHE_PAGES);
	return cache_move_in(f, 0, 1);
}

/*
 *	own				driver
 *	waits for the inode
 *					the device is lost
 *	goes on: the device is not to own
 *	 what it cannot write to
 */
static void cache_lost_before_owned(struct kunit *test)
{
	struct cache_fixture *f = cache_begin(test);
	struct address_space *mapping = f->fs->file->f_mapping;
	errseq_t since = filemap_sample_wb_err(mapping);
	struct mock_thread *thread;

	cache_share(f, 0, 1);
	inode_lock(mapping->host);
	thread = mock_thread_run(test, NULL, cache_own_thread, f);
	KUNIT_EXPECT_TRUE(test, mock_thread_blocks(thread));
	hmm_device_lost(&f->memory->device->hmm);
	inode_unlock(mapping->host);
	mock_thread_join(test, thread);
	KUNIT_EXPECT_NE(test, HMM_PAGE_MOVED, (int)f->results[0]);
	KUNIT_EXPECT_NE(test, HMM_SWP_FILE_OWNED, cache_state(f, 0));
	mock_fs_sync(f->fs);
	KUNIT_EXPECT_EQ(test, 1, mock_fs_read(f->fs, 0));
	KUNIT_EXPECT_EQ(test, 0, filemap_check_wb_err(mapping, since));
	KUNIT_EXPECT_EQ(test, 0, cache_stat(f, HMM_RMEM_LOST));
}

/* ---- frames ---- */

static void frame_bind(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct hmm_rmem *rmem = cache_pool(memory);
	struct page *pages[3];
	unsigned long frame;
	pgoff_t index = 0;

	KUNIT_ASSERT_EQ(test, 3, hmm_rmem_alloc_frames(rmem, pages, 3));
	frame = hmm_rmem_frame(rmem, pages[1]);
	KUNIT_EXPECT_PTR_EQ(test, rmem, hmm_rmem_by_number(rmem->number));
	KUNIT_EXPECT_FALSE(test, hmm_rmem_is_file(rmem, page_to_pfn(pages[1])));
	hmm_rmem_bind(rmem, frame, (void *)memory, 1234);
	KUNIT_EXPECT_TRUE(test, hmm_rmem_is_file(rmem, page_to_pfn(pages[1])));
	KUNIT_EXPECT_PTR_EQ(test, (struct hmm_pagecache *)memory,
			    hmm_rmem_bound_to(rmem, frame / CACHE_CHUNK, frame % CACHE_CHUNK,
					      &index));
	KUNIT_EXPECT_EQ(test, 1234, index);
	KUNIT_EXPECT_EQ(test, 1, mock_memory_stat(memory, HMM_RMEM_FILE));
	/* Not one that the kernel knows anything of. */
	KUNIT_EXPECT_EQ(test, 0, page_count(pages[1]));
	hmm_rmem_unbind(rmem, frame, HMM_RMEM_OUT_EVICT);
	KUNIT_EXPECT_FALSE(test, hmm_rmem_is_file(rmem, page_to_pfn(pages[1])));
	KUNIT_EXPECT_NULL(test, hmm_rmem_bound_to(rmem, frame / CACHE_CHUNK,
						  frame % CACHE_CHUNK, &index));
	hmm_rmem_free(rmem, &pages[0], 1);
	hmm_rmem_free(rmem, &pages[2], 1);
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 1, mock_memory_stat(memory, HMM_RMEM_IN));
	KUNIT_EXPECT_EQ(test, 1, mock_memory_stat(memory, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, 1, mock_memory_stat(memory, HMM_RMEM_OUT_EVICT));
	mock_memory_check_accounts(test, memory);
}

static bool cache_was_verifying;

static int cache_suite_init(struct kunit_suite *suite)
{
	cache_was_verifying = hmm_pagecache_verify;
	hmm_pagecache_verify = true;
	return 0;
}

static void cache_suite_exit(struct kunit_suite *suite)
{
	hmm_pagecache_verify = cache_was_verifying;
}

static struct kunit_case hmm_pagecache_cases[] = {
	KUNIT_CASE(entry_round_trip),
	KUNIT_CASE(entry_local),
	KUNIT_CASE(state_moves),
	KUNIT_CASE(frame_bind),
	KUNIT_CASE(cache_many),
	KUNIT_CASE(cache_want),
	KUNIT_CASE(cache_in_use),
	KUNIT_CASE(cache_mlocked),
	KUNIT_CASE(cache_frozen),
	KUNIT_CASE_SLOW(cache_prepare),
	KUNIT_CASE(cache_large),
	KUNIT_CASE(cache_direct_io),
	KUNIT_CASE_SLOW(cache_residency),
	KUNIT_CASE(cache_two_devices),
	KUNIT_CASE(cache_out_while_compacted),
	KUNIT_CASE(cache_truncate_part),
	KUNIT_CASE(cache_writeback_end),
	KUNIT_CASE(cache_writeback_truncated),
	KUNIT_CASE(cache_release_rules),
	KUNIT_CASE(cache_recall_all),
	KUNIT_CASE(cache_discard),
	KUNIT_CASE(cache_copy_fails),
	KUNIT_CASE_SLOW(cache_copy_never_works),
	KUNIT_CASE_SLOW(cache_copy_fails_read),
	KUNIT_CASE_SLOW(cache_copy_fails_read_part),
	KUNIT_CASE_SLOW(cache_copy_fails_write),
	KUNIT_CASE(cache_copy_fails_killed),
	KUNIT_CASE_SLOW(cache_copy_fails_other),
	KUNIT_CASE_SLOW(cache_copy_gave_up),
	KUNIT_CASE_SLOW(cache_copy_gave_up_slowly),
	KUNIT_CASE_SLOW(cache_copy_gave_up_nomem),
	KUNIT_CASE(cache_lost),
	KUNIT_CASE(cache_evict_some),
	KUNIT_CASE(cache_evict_copy_fails),
	KUNIT_CASE(cache_evict_copy_fails_then_lost),
	KUNIT_CASE_SLOW(cache_evacuate_copy_fails),
	KUNIT_CASE(cache_evict_unmounting),
	KUNIT_CASE(cache_evict_and_close),
	KUNIT_CASE(cache_lost_on_its_way),
	KUNIT_CASE(cache_lost_before_owned),
	{}
};

static struct kunit_suite hmm_pagecache_suite = {
	.name = "hmm_pagecache",
	.suite_init = cache_suite_init,
	.suite_exit = cache_suite_exit,
	.test_cases = hmm_pagecache_cases,
};

kunit_test_suite(hmm_pagecache_suite);

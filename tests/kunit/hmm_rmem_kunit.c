// SPDX-License-Identifier: GPL-2.0
/*
 * Pools of device memory: pages, chunks, copies, eviction, evacuation, and what becomes of
 * a pool whose device goes or is lost.
 *
 * Owns nothing that outlives a test.  Pages come in by real migrations of the test's own
 * address space; what the core promises to a driver's copy operations is checked by the
 * mock memory in every call.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/fault-inject.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/prandom.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>
#include "../../hmm/hmm_private.h"
#include "mock_device.h"
#include "mock_memory.h"
#include "mock_user.h"

#define CHUNK		HMM_RMEM_CHUNK_PAGES

/* So many pages are enough for most. */
#define RMEM_SOME	64u

static struct hmm_rmem *rmem_of(struct mock_memory *memory)
{
	return memory->device->hmm.rmem;
}

static u64 rmem_stat(struct mock_memory *memory, enum hmm_rmem_stat stat)
{
	return mock_memory_stat(memory, stat);
}

static u64 rmem_value(unsigned long addr)
{
	return addr * 0x9e3779b97f4a7c15ull;
}

static void rmem_write(struct kunit *test, unsigned long addr, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr; i++, addr += PAGE_SIZE)
		mock_cpu_store(test, addr, rmem_value(addr));
}

static void rmem_verify(struct kunit *test, unsigned long addr, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr; i++, addr += PAGE_SIZE)
		KUNIT_ASSERT_EQ(test, rmem_value(addr), mock_cpu_load(test, addr));
}

/* The CPU reads.  0, or -EFAULT for what is SIGBUS to a program. */
static int rmem_touch(unsigned long addr)
{
	u64 value;

	return copy_from_user(&value, (u64 __user *)addr, sizeof(value)) ? -EFAULT : 0;
}

/* Move pages of the current address space in.  Returns how many were. */
static unsigned long rmem_move_in(struct kunit *test, struct mock_memory *memory,
				  unsigned long addr, unsigned long nr)
{
	struct hmm_rmem_move move = {
		.mm = current->mm,
		.start = addr,
		.end = addr + nr * PAGE_SIZE,
	};

	move.results = kunit_kzalloc(test, nr, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, move.results);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_move_in(rmem_of(memory), &move));
	kunit_kfree(test, move.results);
	return move.moved;
}

/* Map @nr pages at @addr, write to them, and move them in. */
static void rmem_fill(struct kunit *test, struct mock_memory *memory, unsigned long addr,
		      unsigned long nr)
{
	mock_mmap(test, addr, nr * PAGE_SIZE, PROT_READ | PROT_WRITE);
	rmem_write(test, addr, nr);
	KUNIT_ASSERT_EQ(test, nr, rmem_move_in(test, memory, addr, nr));
}

static void rmem_put_page(void *page)
{
	put_page(page);
}

/* Keep a page of the pool from moving, until the test releases it or ends. */
static struct page *rmem_hold(struct kunit *test, struct mock_memory *memory, u64 offset)
{
	struct page *page = hmm_rmem_page(&memory->device->hmm, offset);

	KUNIT_ASSERT_TRUE(test, get_page_unless_zero(page));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, rmem_put_page, page));
	return page;
}

static void rmem_register(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 4);
	struct hmm_device *device = &memory->device->hmm;
	struct page *page;

	KUNIT_EXPECT_EQ(test, 4 * CHUNK, rmem_stat(memory, HMM_RMEM_TOTAL));
	KUNIT_EXPECT_EQ(test, 4, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_NR));
	KUNIT_EXPECT_EQ(test, 4 * CHUNK, hmm_rmem_nr_free(rmem_of(memory)));
	page = hmm_rmem_page(device, 3 * PAGE_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_TRUE(test, hmm_rmem_owns(device, page));
	KUNIT_EXPECT_EQ(test, 3 * PAGE_SIZE, hmm_rmem_offset(device, page));
	KUNIT_EXPECT_PTR_EQ(test, rmem_of(memory), hmm_rmem_of(page));
	KUNIT_EXPECT_NOT_NULL(test, hmm_rmem_page(device, memory->bytes - PAGE_SIZE));
	KUNIT_EXPECT_NULL(test, hmm_rmem_page(device, memory->bytes));
	KUNIT_EXPECT_FALSE(test, hmm_rmem_owns(device, ZERO_PAGE(0)));

	mock_device_unregister(memory->device);
	KUNIT_EXPECT_FALSE(test, hmm_device_has_memory(device));
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_TOTAL));
	KUNIT_EXPECT_EQ(test, -ENODEV, hmm_device_evacuate(device));
	KUNIT_EXPECT_NULL(test, hmm_rmem_page(device, 0));
	hmm_device_lost(device);
}

static void rmem_two_pools(struct kunit *test)
{
	struct mock_memory *a = mock_memory_new(test, NULL, 1);
	struct mock_memory *b = mock_memory_new(test, NULL, 2);

	KUNIT_EXPECT_NE(test, a->device->hmm.id, b->device->hmm.id);
	KUNIT_EXPECT_FALSE(test, hmm_rmem_owns(&a->device->hmm,
					       hmm_rmem_page(&b->device->hmm, 0)));
	KUNIT_EXPECT_FALSE(test, hmm_rmem_owns(&b->device->hmm,
					       hmm_rmem_page(&a->device->hmm, 0)));
}

static void rmem_no_memory(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);

	KUNIT_EXPECT_FALSE(test, hmm_device_has_memory(&device->hmm));
	KUNIT_EXPECT_FALSE(test, hmm_rmem_owns(&device->hmm, ZERO_PAGE(0)));
	KUNIT_EXPECT_NULL(test, hmm_rmem_page(&device->hmm, 0));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_stat(&device->hmm, HMM_RMEM_TOTAL));
	KUNIT_EXPECT_EQ(test, -ENODEV, hmm_device_evacuate(&device->hmm));
	hmm_device_lost(&device->hmm);
}

static void rmem_stat_names(struct kunit *test)
{
	unsigned int i, j;

	for (i = 0; i < HMM_RMEM_NR; i++) {
		KUNIT_ASSERT_NOT_NULL(test, hmm_rmem_stat_name(i));
		for (j = 0; j < i; j++)
			KUNIT_EXPECT_STRNEQ(test, hmm_rmem_stat_name(i),
					    hmm_rmem_stat_name(j));
	}
	KUNIT_EXPECT_STREQ(test, "?", hmm_rmem_stat_name(HMM_RMEM_NR));
}

/**
 * struct rmem_bad - a device that cannot be registered
 * @desc: what is wrong
 * @bytes: of memory
 * @spoil: offset of the operation that is missing
 * @no_ops: there are none at all
 * @error: what registration says
 */
struct rmem_bad {
	const char *desc;
	u64 bytes;
	size_t spoil;
	bool no_ops;
	int error;
};

static const struct rmem_bad rmem_bads[] = {
	{ "no copy_to_device", HMM_RMEM_CHUNK_SIZE,
	  offsetof(struct hmm_rmem_ops, copy_to_device), false, -EINVAL },
	{ "no copy_to_system", HMM_RMEM_CHUNK_SIZE,
	  offsetof(struct hmm_rmem_ops, copy_to_system), false, -EINVAL },
	{ "no clear", HMM_RMEM_CHUNK_SIZE,
	  offsetof(struct hmm_rmem_ops, clear), false, -EINVAL },
	{ "no operations", HMM_RMEM_CHUNK_SIZE, 0, true, -EINVAL },
	{ "half a chunk", HMM_RMEM_CHUNK_SIZE / 2, SIZE_MAX, false, -EINVAL },
	{ "no room for the list of chunks", 1ull << 56, SIZE_MAX, false, -ENOMEM },
};

KUNIT_ARRAY_PARAM_DESC(rmem_bad, rmem_bads, desc);

static void rmem_register_invalid(struct kunit *test)
{
	const struct rmem_bad *bad = test->param_value;
	struct mock_memory *memory = mock_memory_alloc(test, NULL, 1);
	struct hmm_device *device = &memory->device->hmm;

	device->rmem_bytes = bad->bytes;
	if (bad->no_ops)
		device->rmem_ops = NULL;
	else if (bad->spoil != SIZE_MAX)
		*(void **)((char *)&memory->ops + bad->spoil) = NULL;
	KUNIT_EXPECT_EQ(test, bad->error, hmm_device_register(device));
	/* As one without memory it is welcome. */
	device->rmem_ops = NULL;
	device->rmem_bytes = 0;
	mock_device_register(memory->device);
	KUNIT_EXPECT_FALSE(test, hmm_device_has_memory(device));
}

/* A chunk as a whole, parts of one, and what is left. */
static void rmem_alloc(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 3);
	struct hmm_rmem *rmem = rmem_of(memory);
	struct page **pages, **part;
	unsigned int i;

	pages = kunit_kcalloc(test, 4 * CHUNK, sizeof(*pages), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pages);
	part = pages + CHUNK;

	KUNIT_ASSERT_EQ(test, 1, hmm_rmem_alloc(rmem, part, 1));
	KUNIT_ASSERT_EQ(test, CHUNK, hmm_rmem_alloc(rmem, pages, CHUNK));
	KUNIT_EXPECT_TRUE(test, IS_ALIGNED(hmm_rmem_page_offset(rmem, pages[0]),
					   HMM_RMEM_CHUNK_SIZE));
	for (i = 1; i < CHUNK; i++)
		KUNIT_ASSERT_PTR_EQ(test, pages[0] + i, pages[i]);
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));

	/* A part comes out of the chunk that is broken up, and is aligned to its size. */
	KUNIT_ASSERT_EQ(test, 16, hmm_rmem_alloc(rmem, part + 1, 16));
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));
	KUNIT_EXPECT_TRUE(test, IS_ALIGNED(hmm_rmem_page_offset(rmem, part[1]),
					   16 * PAGE_SIZE));
	for (i = 1; i < 16; i++)
		KUNIT_ASSERT_PTR_EQ(test, part[1] + i, part[1 + i]);

	/* All that is left, in pieces, and no more. */
	KUNIT_EXPECT_EQ(test, 2 * CHUNK - 17, hmm_rmem_nr_free(rmem));
	KUNIT_ASSERT_EQ(test, 2 * CHUNK - 17, hmm_rmem_alloc(rmem, part + 17, 3 * CHUNK - 17));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_nr_free(rmem));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_alloc(rmem, pages + 3 * CHUNK, 1));
	KUNIT_EXPECT_EQ(test, 3 * CHUNK, rmem_stat(memory, HMM_RMEM_USED));

	/* It merges as the parts come back. */
	hmm_rmem_free(rmem, pages, CHUNK);
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));
	hmm_rmem_free(rmem, part + 1, 2 * CHUNK - 1);
	hmm_rmem_free(rmem, part, 0);
	KUNIT_EXPECT_EQ(test, 2, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));
	hmm_rmem_free(rmem, part, 1);
	KUNIT_EXPECT_EQ(test, 3, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));
	mock_memory_check_accounts(test, memory);
}

static void rmem_close(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct hmm_rmem *rmem = rmem_of(memory);
	struct page *page;

	hmm_rmem_close(rmem);
	hmm_rmem_close(rmem);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_alloc(rmem, &page, 1));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_nr_free(rmem));
	hmm_rmem_reopen(rmem);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_alloc(rmem, &page, 1));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evict(rmem, 1));
	hmm_rmem_reopen(rmem);
	KUNIT_ASSERT_EQ(test, 1, hmm_rmem_alloc(rmem, &page, 1));
	hmm_rmem_free(rmem, &page, 1);
}

/* Returns whether it was marked already. */
static bool rmem_mark(const struct hmm_rmem *rmem, unsigned long *map,
		      const struct page *page)
{
	return __test_and_set_bit(hmm_rmem_page_offset(rmem, page) >> PAGE_SHIFT, map);
}

/* Random sizes, against a list of what is handed out. */
static void rmem_alloc_random(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 4);
	unsigned long *map = kunit_kcalloc(test, BITS_TO_LONGS(4 * CHUNK), sizeof(*map),
					   GFP_KERNEL);
	struct hmm_rmem *rmem = rmem_of(memory);
	unsigned long got, want, other, used = 0;
	struct page **pages, **at;
	struct rnd_state rnd;
	unsigned int i, round;

	pages = kunit_kcalloc(test, 5 * CHUNK, sizeof(*pages), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, map);
	KUNIT_ASSERT_NOT_NULL(test, pages);
	prandom_seed_state(&rnd, 3);
	for (round = 0; round < 2000; round++) {
		want = 1 + prandom_u32_state(&rnd) % (prandom_u32_state(&rnd) % 2 ? 8 : CHUNK);
		if (prandom_u32_state(&rnd) % 2) {
			at = pages + used;
			got = hmm_rmem_alloc(rmem, at, want);
			KUNIT_ASSERT_EQ(test, min(want, 4 * CHUNK - used), got);
			for (i = 0; i < got; i++)
				KUNIT_ASSERT_FALSE(test, rmem_mark(rmem, map, at[i]));
			used += got;
		} else {
			/* Not the last ones, but any. */
			got = min(want, used);
			for (i = 0; i < got; i++) {
				other = prandom_u32_state(&rnd) % (used - i);
				swap(pages[used - 1 - i], pages[other]);
			}
			used -= got;
			for (i = 0; i < got; i++)
				__clear_bit(hmm_rmem_page_offset(rmem, pages[used + i]) >>
					    PAGE_SHIFT, map);
			hmm_rmem_free(rmem, pages + used, got);
		}
		KUNIT_ASSERT_EQ(test, used, rmem_stat(memory, HMM_RMEM_USED));
		KUNIT_ASSERT_EQ(test, 4 * CHUNK - used, hmm_rmem_nr_free(rmem));
	}
	hmm_rmem_free(rmem, pages, used);
	KUNIT_EXPECT_EQ(test, 4, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));
}

/* The last reference of a page may be dropped anywhere. */
static void rmem_page_free(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct hmm_rmem *rmem = rmem_of(memory);
	struct page *pages[3];
	unsigned long flags;
	int i;

	KUNIT_ASSERT_EQ(test, 3, hmm_rmem_alloc(rmem, pages, 3));
	for (i = 0; i < 3; i++) {
		hmm_rmem_page_init(pages[i]);
		KUNIT_EXPECT_EQ(test, 1, page_count(pages[i]));
		KUNIT_EXPECT_TRUE(test, PageLocked(pages[i]));
	}
	/* As after a migration that failed in the end. */
	unlock_page(pages[0]);
	put_page(pages[0]);
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_DROPPED));

	/* As in an interrupt, for one that had come in; and it comes as a new one again. */
	hmm_rmem_page_in(pages[1], true);
	SetPageDirty(pages[1]);
	unlock_page(pages[1]);
	local_irq_save(flags);
	put_page(pages[1]);
	local_irq_restore(flags);
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_IN));
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_IN_ZERO));
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_DROPPED));

	hmm_rmem_page_in(pages[2], false);
	hmm_rmem_page_out(pages[2], HMM_RMEM_OUT_FAULT);
	unlock_page(pages[2]);
	put_page(pages[2]);
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_OUT_FAULT));
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_DROPPED));
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_USED));
	mock_memory_check_accounts(test, memory);

	KUNIT_ASSERT_EQ(test, 3, hmm_rmem_alloc(rmem, pages, 3));
	for (i = 0; i < 3; i++) {
		hmm_rmem_page_init(pages[i]);
		KUNIT_EXPECT_FALSE(test, PageDirty(pages[i]));
		unlock_page(pages[i]);
		put_page(pages[i]);
	}
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_DROPPED));
}

/**
 * struct rmem_bench - pages to copy
 * @memory: memory
 * @nr: how many
 * @pages: system pages, locked
 * @copies: for the core
 * @errors: from it
 * @done: copies that it says were made
 */
struct rmem_bench {
	struct mock_memory *memory;
	unsigned int nr;
	struct page **pages;
	struct hmm_rmem_copy *copies;
	int *errors;
	unsigned int done;
};

static void rmem_bench_end(void *data)
{
	struct rmem_bench *bench = data;
	unsigned int i;

	for (i = 0; i < bench->nr; i++)
		if (bench->pages[i]) {
			unlock_page(bench->pages[i]);
			__free_page(bench->pages[i]);
		}
}

/* System pages whose first word is their number, and as many of the device's. */
static struct rmem_bench *rmem_bench_new(struct kunit *test, struct mock_memory *memory,
					 unsigned int nr)
{
	struct rmem_bench *bench = kunit_kzalloc(test, sizeof(*bench), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, bench);
	bench->memory = memory;
	bench->pages = kunit_kcalloc(test, nr, sizeof(*bench->pages), GFP_KERNEL);
	bench->copies = kunit_kcalloc(test, nr, sizeof(*bench->copies), GFP_KERNEL);
	bench->errors = kunit_kcalloc(test, nr, sizeof(*bench->errors), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bench->pages);
	KUNIT_ASSERT_NOT_NULL(test, bench->copies);
	KUNIT_ASSERT_NOT_NULL(test, bench->errors);
	bench->nr = nr;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, rmem_bench_end, bench));
	for (i = 0; i < nr; i++) {
		bench->pages[i] = alloc_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, bench->pages[i]);
		lock_page(bench->pages[i]);
		*(u64 *)page_address(bench->pages[i]) = i + 1;
		bench->copies[i].system = bench->pages[i];
		/* In any order. */
		bench->copies[i].offset = (u64)(nr - 1 - i) << PAGE_SHIFT;
	}
	return bench;
}

static u64 *rmem_bench_device(struct rmem_bench *bench, unsigned int i)
{
	return (u64 *)(bench->memory->data + bench->copies[i].offset);
}

static u64 *rmem_bench_system(struct rmem_bench *bench, unsigned int i)
{
	return page_address(bench->pages[i]);
}

static unsigned int rmem_bench_in(struct rmem_bench *bench)
{
	return hmm_rmem_copy_in(rmem_of(bench->memory), bench->copies, bench->nr,
				bench->errors);
}

/* More than one batch, there and back, and cleared. */
static void rmem_copy(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 3);
	struct rmem_bench *bench = rmem_bench_new(test, memory, 2 * HMM_RMEM_BATCH + 3);
	struct hmm_rmem *rmem = rmem_of(memory);
	unsigned int i;

	KUNIT_EXPECT_EQ(test, bench->nr, rmem_bench_in(bench));
	KUNIT_EXPECT_EQ(test, 3, atomic_read(&memory->calls[MOCK_COPY_IN]));
	KUNIT_EXPECT_EQ(test, bench->nr, atomic_read(&memory->pages[MOCK_COPY_IN]));
	for (i = 0; i < bench->nr; i++) {
		KUNIT_ASSERT_EQ(test, 0, bench->errors[i]);
		KUNIT_ASSERT_EQ(test, i + 1, *rmem_bench_device(bench, i));
		*rmem_bench_device(bench, i) += 7;
	}
	KUNIT_EXPECT_EQ(test, bench->nr,
			hmm_rmem_copy_out(rmem, bench->copies, bench->nr, bench->errors));
	for (i = 0; i < bench->nr; i++)
		KUNIT_ASSERT_EQ(test, i + 8, *rmem_bench_system(bench, i));
	KUNIT_EXPECT_EQ(test, 5, hmm_rmem_clear(rmem, bench->copies, 5, bench->errors));
	for (i = 0; i < 5; i++)
		KUNIT_ASSERT_EQ(test, 0, *rmem_bench_device(bench, i));
	KUNIT_EXPECT_NE(test, 0, *rmem_bench_device(bench, 5));
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_COPY_ERRORS));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_copy_in(rmem, bench->copies, 0, bench->errors));
}

static int rmem_bench_thread(void *data)
{
	struct rmem_bench *bench = data;

	bench->done = rmem_bench_in(bench);
	return 0;
}

/* All batches are under way before the first is waited for. */
static void rmem_copy_overlaps(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 5);
	struct rmem_bench *bench = rmem_bench_new(test, memory, 4 * HMM_RMEM_BATCH);
	unsigned long deadline = jiffies + MOCK_PATIENCE;
	struct mock_thread *thread;

	mock_memory_arm(memory, MOCK_COPY_IN);
	thread = mock_thread_run(test, NULL, rmem_bench_thread, bench);
	KUNIT_EXPECT_TRUE(test, mock_memory_wait(memory, MOCK_COPY_IN));
	while (atomic_read(&memory->calls[MOCK_COPY_IN]) < 4 && time_before(jiffies, deadline))
		msleep(20);
	KUNIT_EXPECT_EQ(test, 4, atomic_read(&memory->calls[MOCK_COPY_IN]));
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(thread));
	mock_memory_open(memory, MOCK_COPY_IN);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
	KUNIT_EXPECT_EQ(test, bench->nr, bench->done);
}

/* More batches than may be under way at once: the device is given them bit by bit. */
static void rmem_copy_many(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct rmem_bench *bench = rmem_bench_new(test, memory, HMM_RMEM_BATCH);

	/* The last try is page by page. */
	mock_memory_fail(memory, -EIO, 1 + 8 + 64);
	KUNIT_EXPECT_EQ(test, bench->nr, rmem_bench_in(bench));
	KUNIT_EXPECT_EQ(test, 1 + 8 + 64 + 512, atomic_read(&memory->calls[MOCK_COPY_IN]));
	KUNIT_EXPECT_LE(test, memory->most_flying, 16);
	KUNIT_EXPECT_EQ(test, 3 * HMM_RMEM_BATCH, rmem_stat(memory, HMM_RMEM_COPY_ERRORS));
}

static void rmem_copy_transient(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct rmem_bench *bench = rmem_bench_new(test, memory, HMM_RMEM_BATCH + RMEM_SOME);
	unsigned int i;

	mock_memory_fail(memory, -EIO, 1);
	KUNIT_EXPECT_EQ(test, bench->nr, rmem_bench_in(bench));
	for (i = 0; i < bench->nr; i++) {
		KUNIT_ASSERT_EQ(test, 0, bench->errors[i]);
		KUNIT_ASSERT_EQ(test, i + 1, *rmem_bench_device(bench, i));
	}
	/* Either of the two batches may have met it. */
	KUNIT_EXPECT_GE(test, rmem_stat(memory, HMM_RMEM_COPY_ERRORS), RMEM_SOME);
	KUNIT_EXPECT_LE(test, rmem_stat(memory, HMM_RMEM_COPY_ERRORS), HMM_RMEM_BATCH);
}

/* A page that cannot be copied does not take its neighbours along. */
static void rmem_copy_bad_page(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct rmem_bench *bench = rmem_bench_new(test, memory, HMM_RMEM_BATCH + RMEM_SOME);
	unsigned int i;

	memory->bad_offset = bench->copies[33].offset;
	KUNIT_EXPECT_EQ(test, bench->nr - 1, rmem_bench_in(bench));
	for (i = 0; i < bench->nr; i++) {
		KUNIT_ASSERT_EQ(test, i == 33 ? -EIO : 0, bench->errors[i]);
		if (i != 33)
			KUNIT_ASSERT_EQ(test, i + 1, *rmem_bench_device(bench, i));
	}
	KUNIT_EXPECT_EQ(test, HMM_RMEM_BATCH + 64 + 8 + 1,
			rmem_stat(memory, HMM_RMEM_COPY_ERRORS));
}

/**
 * struct rmem_failure - a copy that does not work
 * @desc: how
 * @start: it does not even start
 * @error: what the driver says
 * @result: what the core says
 * @tries: how often it is tried
 * @lost: it means that the device is lost
 */
struct rmem_failure {
	const char *desc;
	bool start;
	int error;
	int result;
	int tries;
	bool lost;
};

static const struct rmem_failure rmem_failures[] = {
	{ "EIO at the end", false, -EIO, -EIO, 4, false },
	{ "EIO at the start", true, -EIO, -EIO, 4, false },
	{ "ENOMEM at the start", true, -ENOMEM, -ENOMEM, 1, false },
	{ "ENOMEM at the end", false, -ENOMEM, -ENOMEM, 1, false },
	{ "ENODEV at the start", true, -ENODEV, -ENODEV, 1, true },
	{ "ENODEV at the end", false, -ENODEV, -ENODEV, 1, true },
	{ "what it should not say", false, -ETIMEDOUT, -EIO, 4, false },
};

KUNIT_ARRAY_PARAM_DESC(rmem_failure, rmem_failures, desc);

static void rmem_copy_fails(struct kunit *test)
{
	const struct rmem_failure *failure = test->param_value;
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct rmem_bench *bench = rmem_bench_new(test, memory, 8);
	struct page *page;
	int i, way;

	if (failure->start)
		memory->start_error = failure->error;
	else
		mock_memory_fail(memory, failure->error, -1);
	KUNIT_EXPECT_EQ(test, 0, rmem_bench_in(bench));
	for (i = 0; i < 8; i++)
		KUNIT_EXPECT_EQ(test, failure->result, bench->errors[i]);
	KUNIT_EXPECT_EQ(test, 8 * failure->tries, rmem_stat(memory, HMM_RMEM_COPY_ERRORS));
	KUNIT_EXPECT_EQ(test, 8 * failure->tries, atomic_read(&memory->pages[MOCK_COPY_IN]));
	KUNIT_EXPECT_EQ(test, failure->lost, rmem_of(memory)->lost);
	KUNIT_EXPECT_EQ(test, !failure->lost, hmm_rmem_alloc(rmem_of(memory), &page, 1));
	if (!failure->lost) {
		hmm_rmem_free(rmem_of(memory), &page, 1);
		return;
	}
	/* Nothing is tried any more, whatever the device says now. */
	memory->start_error = 0;
	mock_memory_fail(memory, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_copy_out(rmem_of(memory), bench->copies, 8,
						   bench->errors));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_clear(rmem_of(memory), bench->copies, 8,
						bench->errors));
	KUNIT_EXPECT_EQ(test, -ENODEV, bench->errors[7]);
	for (way = MOCK_COPY_OUT; way < MOCK_NR_COPIES; way++)
		KUNIT_EXPECT_EQ(test, 0, atomic_read(&memory->calls[way]));
	KUNIT_EXPECT_EQ(test, 8 * failure->tries, rmem_stat(memory, HMM_RMEM_COPY_ERRORS));
}

/* There, and back as the CPU touches it; or freed there. */
static void rmem_round_trip(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);

	rmem_fill(test, memory, MOCK_BASE, RMEM_SOME);
	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_stat(memory, HMM_RMEM_IN));
	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_stat(memory, HMM_RMEM_USED));
	mock_memory_check_accounts(test, memory);
	rmem_verify(test, MOCK_BASE, RMEM_SOME / 2);
	KUNIT_EXPECT_GE(test, rmem_stat(memory, HMM_RMEM_OUT_FAULT), RMEM_SOME / 2);
	rmem_verify(test, MOCK_BASE, RMEM_SOME);
	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_stat(memory, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, 2, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));

	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_move_in(test, memory, MOCK_BASE, RMEM_SOME));
	vm_munmap(MOCK_BASE, RMEM_SOME * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_stat(memory, HMM_RMEM_DROPPED));
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_USED));
	mock_memory_check_accounts(test, memory);
}

#ifdef CONFIG_FAULT_INJECTION

static void rmem_inject_end(void *data)
{
	struct fault_attr *attr = data;

	attr->probability = 0;
}

/* Each call fails from now on, for all pools. */
static void rmem_inject_begin(struct kunit *test, struct fault_attr *attr)
{
	attr->verbose = 0;
	atomic_set(&attr->times, -1);
	attr->probability = 100;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, rmem_inject_end, attr));
}

/* The pool's own allocations and copies fail: pages stay where they are. */
static void rmem_inject(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);

	mock_mmap(test, MOCK_BASE, RMEM_SOME * PAGE_SIZE, PROT_READ | PROT_WRITE);
	rmem_write(test, MOCK_BASE, RMEM_SOME);
	rmem_inject_begin(test, &hmm_rmem_fail_alloc);
	KUNIT_EXPECT_EQ(test, 0, rmem_move_in(test, memory, MOCK_BASE, RMEM_SOME));
	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_stat(memory, HMM_RMEM_FULL));
	kunit_release_action(test, rmem_inject_end, &hmm_rmem_fail_alloc);

	rmem_inject_begin(test, &hmm_rmem_fail_copy);
	KUNIT_EXPECT_EQ(test, 0, rmem_move_in(test, memory, MOCK_BASE, RMEM_SOME));
	KUNIT_EXPECT_EQ(test, 4 * RMEM_SOME, rmem_stat(memory, HMM_RMEM_COPY_ERRORS));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&memory->calls[MOCK_COPY_IN]));
	kunit_release_action(test, rmem_inject_end, &hmm_rmem_fail_copy);
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_USED));

	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_move_in(test, memory, MOCK_BASE, RMEM_SOME));
	rmem_inject_begin(test, &hmm_rmem_fail_copy);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evict(rmem_of(memory), CHUNK));
	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_stat(memory, HMM_RMEM_USED));
	kunit_release_action(test, rmem_inject_end, &hmm_rmem_fail_copy);
	rmem_verify(test, MOCK_BASE, RMEM_SOME);
	mock_memory_check_accounts(test, memory);
}

#else /* CONFIG_FAULT_INJECTION */

static void rmem_inject(struct kunit *test)
{
	kunit_skip(test, "the kernel has no fault injection");
}

#endif /* CONFIG_FAULT_INJECTION */

/* Without access bits: in the order in which chunks were filled. */
static void rmem_evict_oldest(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_alloc(test, NULL, 3);
	struct hmm_rmem *rmem;

	memory->ops.accesses = NULL;
	mock_memory_register(memory);
	rmem = rmem_of(memory);
	rmem_fill(test, memory, MOCK_BASE, 3 * CHUNK);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_nr_free(rmem));

	KUNIT_EXPECT_EQ(test, CHUNK, hmm_rmem_evict(rmem, 1));
	KUNIT_EXPECT_EQ(test, CHUNK, rmem_stat(memory, HMM_RMEM_OUT_EVICT));
	KUNIT_EXPECT_EQ(test, 0, rmem->chunks[0].nr_used);
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));
	/* There is room already. */
	KUNIT_EXPECT_EQ(test, CHUNK, hmm_rmem_evict(rmem, CHUNK));
	KUNIT_EXPECT_EQ(test, CHUNK, rmem_stat(memory, HMM_RMEM_OUT_EVICT));

	/* The chunk that is filled again is the youngest now. */
	KUNIT_EXPECT_EQ(test, CHUNK, rmem_move_in(test, memory, MOCK_BASE, CHUNK));
	KUNIT_EXPECT_EQ(test, CHUNK, hmm_rmem_evict(rmem, 1));
	KUNIT_EXPECT_EQ(test, 0, rmem->chunks[1].nr_used);
	KUNIT_EXPECT_EQ(test, 2 * CHUNK, hmm_rmem_evict(rmem, 3 * CHUNK));
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 3 * CHUNK, hmm_rmem_evict(rmem, 1));
	rmem_verify(test, MOCK_BASE, 3 * CHUNK);
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_CPU_FAULTS));
	mock_memory_check_accounts(test, memory);
}

/* With them: what the device has used gets a second chance, and not a third. */
static void rmem_evict_unused(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 4);
	struct hmm_rmem *rmem = rmem_of(memory);
	unsigned int i;

	rmem_fill(test, memory, MOCK_BASE, 4 * CHUNK);
	/* All are new: the second turn takes the first. */
	KUNIT_EXPECT_EQ(test, CHUNK, hmm_rmem_evict(rmem, 1));
	KUNIT_EXPECT_EQ(test, 0, rmem->chunks[0].nr_used);
	KUNIT_EXPECT_EQ(test, CHUNK, rmem_move_in(test, memory, MOCK_BASE, CHUNK));

	mock_memory_touch(memory, 1 * HMM_RMEM_CHUNK_SIZE);
	mock_memory_touch(memory, 3 * HMM_RMEM_CHUNK_SIZE);
	KUNIT_EXPECT_EQ(test, CHUNK, hmm_rmem_evict(rmem, 1));
	KUNIT_EXPECT_EQ(test, 0, rmem->chunks[2].nr_used);
	KUNIT_EXPECT_EQ(test, CHUNK,
			rmem_move_in(test, memory, MOCK_BASE + 2 * HMM_RMEM_CHUNK_SIZE, CHUNK));

	/* All are in use: one of them goes nevertheless, each time. */
	for (i = 0; i < 4; i++)
		mock_memory_touch(memory, i * HMM_RMEM_CHUNK_SIZE);
	KUNIT_EXPECT_EQ(test, CHUNK, hmm_rmem_evict(rmem, 1));
	KUNIT_EXPECT_EQ(test, 4 * CHUNK, hmm_rmem_evict(rmem, 4 * CHUNK) + CHUNK);
	KUNIT_EXPECT_EQ(test, 4 * CHUNK, hmm_rmem_nr_free(rmem));
	rmem_verify(test, MOCK_BASE, 4 * CHUNK);
	mock_memory_check_accounts(test, memory);
}

/* Pages that somebody else has are passed by, and their chunk next time as well. */
static void rmem_evict_busy(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct hmm_rmem *rmem = rmem_of(memory);
	struct page *held, *locked;

	rmem_fill(test, memory, MOCK_BASE, 2 * CHUNK);
	held = rmem_hold(test, memory, 5 * PAGE_SIZE);
	locked = rmem_hold(test, memory, 6 * PAGE_SIZE);
	lock_page(locked);
	KUNIT_EXPECT_EQ(test, 2 * CHUNK - 2, hmm_rmem_evict(rmem, 2 * CHUNK));
	KUNIT_EXPECT_EQ(test, 2, rmem_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_GE(test, rmem_stat(memory, HMM_RMEM_BUSY), 2);
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));
	unlock_page(locked);
	kunit_release_action(test, rmem_put_page, locked);
	kunit_release_action(test, rmem_put_page, held);
	KUNIT_EXPECT_EQ(test, 2, hmm_rmem_evict(rmem, 2 * CHUNK));
	KUNIT_EXPECT_EQ(test, 2, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));
	rmem_verify(test, MOCK_BASE, 2 * CHUNK);
	mock_memory_check_accounts(test, memory);
}

static void rmem_evict_copy_fails(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct hmm_rmem *rmem = rmem_of(memory);

	rmem_fill(test, memory, MOCK_BASE, CHUNK + RMEM_SOME);
	mock_memory_fail(memory, -EIO, -1);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evict(rmem, 2 * CHUNK));
	KUNIT_EXPECT_EQ(test, CHUNK + RMEM_SOME, rmem_stat(memory, HMM_RMEM_USED));
	mock_memory_fail(memory, 0, 0);
	memory->start_error = -ENOMEM;
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evict(rmem, 2 * CHUNK));
	memory->start_error = 0;
	/* All but one, which stays, intact. */
	memory->bad_offset = 17 * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, CHUNK + RMEM_SOME - 1, hmm_rmem_evict(rmem, 2 * CHUNK));
	memory->bad_offset = MOCK_MEMORY_NO_PAGE;
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_USED));
	mock_memory_check_accounts(test, memory);
	rmem_verify(test, MOCK_BASE, CHUNK + RMEM_SOME);
}

/* A page that has moved out, while somebody has not yet dropped it, does not move again. */
static void rmem_evict_gone(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct hmm_rmem *rmem = rmem_of(memory);
	struct page *pages[2];

	KUNIT_ASSERT_EQ(test, 2, hmm_rmem_alloc(rmem, pages, 2));
	hmm_rmem_page_init(pages[0]);
	hmm_rmem_page_in(pages[0], true);
	hmm_rmem_page_out(pages[0], HMM_RMEM_OUT_FAULT);
	unlock_page(pages[0]);
	/* One that never got in. */
	hmm_rmem_page_init(pages[1]);
	unlock_page(pages[1]);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evict(rmem, CHUNK));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&memory->calls[MOCK_COPY_OUT]));
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_BUSY));
	put_page(pages[0]);
	put_page(pages[1]);
	mock_memory_check_accounts(test, memory);
}

/* What the device wrote comes back, dirty. */
static void rmem_evict_written(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct hmm_rmem *rmem = rmem_of(memory);
	struct mock_mirror *mirror;

	rmem_fill(test, memory, MOCK_BASE, RMEM_SOME);
	mirror = mock_mirror_new(test, memory->device, current->mm);
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_EXPECT_TRUE(test, hmm_rmem_owns(&memory->device->hmm,
					      pfn_to_page(mock_mirror_pfn(mirror, MOCK_BASE))));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(mirror, MOCK_BASE, 4711));
	KUNIT_EXPECT_EQ(test, RMEM_SOME, hmm_rmem_evict(rmem, CHUNK));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(mirror, MOCK_BASE));
	KUNIT_EXPECT_TRUE(test, PageDirty(mock_cpu_page(MOCK_BASE)));
	KUNIT_EXPECT_EQ(test, 4711, mock_cpu_load(test, MOCK_BASE));
	rmem_verify(test, MOCK_BASE + PAGE_SIZE, RMEM_SOME - 1);
}

struct rmem_call {
	struct mock_memory *memory;
	unsigned long result;
};

static int rmem_evict_thread(void *data)
{
	struct rmem_call *call = data;

	call->result = hmm_rmem_evict(rmem_of(call->memory), CHUNK);
	return 0;
}

/* A chunk that is being emptied is not filled at the same time. */
static void rmem_evict_keeps_out(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct hmm_rmem *rmem = rmem_of(memory);
	struct rmem_call call = { .memory = memory };
	struct mock_thread *thread;
	struct page *page;

	rmem_fill(test, memory, MOCK_BASE, CHUNK - 8);
	KUNIT_EXPECT_EQ(test, 8, hmm_rmem_nr_free(rmem));
	mock_memory_arm(memory, MOCK_COPY_OUT);
	thread = mock_thread_run(test, NULL, rmem_evict_thread, &call);
	KUNIT_EXPECT_TRUE(test, mock_memory_wait(memory, MOCK_COPY_OUT));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_nr_free(rmem));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_alloc(rmem, &page, 1));
	mock_memory_open(memory, MOCK_COPY_OUT);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
	KUNIT_EXPECT_EQ(test, CHUNK - 8, call.result);
	KUNIT_EXPECT_EQ(test, CHUNK, hmm_rmem_nr_free(rmem));
	rmem_verify(test, MOCK_BASE, CHUNK - 8);
}

/* Everything comes back; then the memory is used as before. */
static void rmem_evacuate(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 3);
	struct hmm_device *device = &memory->device->hmm;

	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(device));
	rmem_fill(test, memory, MOCK_BASE, 2 * CHUNK + RMEM_SOME);
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(device));
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 3, rmem_stat(memory, HMM_RMEM_CHUNKS_FREE));
	KUNIT_EXPECT_EQ(test, 2 * CHUNK + RMEM_SOME, rmem_stat(memory, HMM_RMEM_OUT_EVACUATE));
	rmem_verify(test, MOCK_BASE, 2 * CHUNK + RMEM_SOME);
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_CPU_FAULTS));
	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_move_in(test, memory, MOCK_BASE, RMEM_SOME));
	rmem_verify(test, MOCK_BASE, RMEM_SOME);
	mock_memory_check_accounts(test, memory);
}

static int rmem_evacuate_thread(void *data)
{
	struct rmem_call *call = data;

	allow_signal(SIGKILL);
	return hmm_device_evacuate(&call->memory->device->hmm);
}

/* Nothing comes in meanwhile, and what is being brought in is waited for. */
static void rmem_evacuate_keeps_out(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct hmm_rmem *rmem = rmem_of(memory);
	struct rmem_call call = { .memory = memory };
	struct mock_thread *thread;
	struct page *page, *other;

	rmem_fill(test, memory, MOCK_BASE, RMEM_SOME);
	KUNIT_ASSERT_EQ(test, 1, hmm_rmem_alloc(rmem, &page, 1));
	mock_memory_arm(memory, MOCK_COPY_OUT);
	thread = mock_thread_run(test, NULL, rmem_evacuate_thread, &call);
	KUNIT_EXPECT_TRUE(test, mock_memory_wait(memory, MOCK_COPY_OUT));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_alloc(rmem, &other, 1));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evict(rmem, 1));
	mock_memory_open(memory, MOCK_COPY_OUT);
	/* Somebody had a page before, and is not done with it. */
	while (rmem_stat(memory, HMM_RMEM_USED) > 1)
		cond_resched();
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(thread));
	hmm_rmem_free(rmem, &page, 1);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
	KUNIT_EXPECT_EQ(test, 1, hmm_rmem_alloc(rmem, &page, 1));
	hmm_rmem_free(rmem, &page, 1);
}

static void rmem_evacuate_busy(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct hmm_device *device = &memory->device->hmm;
	struct page *page;

	rmem_fill(test, memory, MOCK_BASE, CHUNK + RMEM_SOME);
	page = rmem_hold(test, memory, 9 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_device_evacuate(device));
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_GE(test, rmem_stat(memory, HMM_RMEM_BUSY), 1);
	kunit_release_action(test, rmem_put_page, page);
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(device));
	rmem_verify(test, MOCK_BASE, CHUNK + RMEM_SOME);
	mock_memory_check_accounts(test, memory);
}

static int rmem_munmap_thread(void *data)
{
	/* Some CPU that the test does not run on, if there is one. */
	set_cpus_allowed_ptr(current, cpumask_of(cpumask_last(cpu_online_mask)));
	return vm_munmap(MOCK_BASE, RMEM_SOME * PAGE_SIZE);
}

/* What munlock() does where no page is present. */
static void rmem_munlock(struct kunit *test, unsigned long addr)
{
	struct vm_area_struct *vma;

	mmap_write_lock(current->mm);
	vma = find_vma(current->mm, addr);
	if (vma)
		vm_flags_clear(vma, VM_LOCKED);
	mmap_write_unlock(current->mm);
	KUNIT_ASSERT_NOT_NULL(test, vma);
}

/*
 * Pages of mlock()ed memory: their count is right again in the end, and references that
 * CPUs keep in batches keep no page on the device.
 */
static void rmem_evacuate_mlocked(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct zone *zone = page_zone(hmm_rmem_page(&memory->device->hmm, 0));
	unsigned long mlocked = zone_page_state(zone, NR_MLOCK);
	struct mock_thread *thread;

	set_cpus_allowed_ptr(current, cpumask_of(cpumask_first(cpu_online_mask)));
	mock_mmap_file(test, NULL, MOCK_BASE, RMEM_SOME * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED);
	rmem_write(test, MOCK_BASE, RMEM_SOME);
	KUNIT_ASSERT_EQ(test, RMEM_SOME, rmem_move_in(test, memory, MOCK_BASE, RMEM_SOME));
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(&memory->device->hmm));
	rmem_verify(test, MOCK_BASE, RMEM_SOME);
	KUNIT_EXPECT_EQ(test, mlocked, zone_page_state(zone, NR_MLOCK));

	KUNIT_ASSERT_EQ(test, RMEM_SOME, rmem_move_in(test, memory, MOCK_BASE, RMEM_SOME));
	KUNIT_EXPECT_EQ(test, mlocked + RMEM_SOME, zone_page_state(zone, NR_MLOCK));
	thread = mock_thread_run(test, current->mm, rmem_munmap_thread, NULL);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(&memory->device->hmm));
	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_stat(memory, HMM_RMEM_DROPPED));
	KUNIT_EXPECT_EQ(test, mlocked, zone_page_state(zone, NR_MLOCK));

	mock_mmap_file(test, NULL, MOCK_BASE, RMEM_SOME * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED);
	rmem_write(test, MOCK_BASE, RMEM_SOME);
	KUNIT_ASSERT_EQ(test, RMEM_SOME, rmem_move_in(test, memory, MOCK_BASE, RMEM_SOME));
	rmem_munlock(test, MOCK_BASE);
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(&memory->device->hmm));
	KUNIT_EXPECT_EQ(test, mlocked, zone_page_state(zone, NR_MLOCK));
	mock_memory_check_accounts(test, memory);
}

static void rmem_evacuate_copy_fails(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct hmm_device *device = &memory->device->hmm;

	rmem_fill(test, memory, MOCK_BASE, RMEM_SOME);
	memory->bad_offset = 3 * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, -EIO, hmm_device_evacuate(device));
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, RMEM_SOME - 1, rmem_stat(memory, HMM_RMEM_OUT));
	memory->bad_offset = MOCK_MEMORY_NO_PAGE;
	memory->start_error = -ENOMEM;
	KUNIT_EXPECT_EQ(test, -ENOMEM, hmm_device_evacuate(device));
	memory->start_error = 0;
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(device));
	rmem_verify(test, MOCK_BASE, RMEM_SOME);
	mock_memory_check_accounts(test, memory);
}

static void rmem_evacuate_killed(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct hmm_rmem *rmem = rmem_of(memory);
	struct rmem_call call = { .memory = memory };
	struct mock_thread *thread;
	struct page *page;

	rmem_fill(test, memory, MOCK_BASE, CHUNK + RMEM_SOME);
	mock_memory_arm(memory, MOCK_COPY_OUT);
	thread = mock_thread_run(test, NULL, rmem_evacuate_thread, &call);
	KUNIT_EXPECT_TRUE(test, mock_memory_wait(memory, MOCK_COPY_OUT));
	send_sig(SIGKILL, thread->task, 1);
	mock_memory_open(memory, MOCK_COPY_OUT);
	KUNIT_EXPECT_EQ(test, -EINTR, mock_thread_join(test, thread));
	/* The chunk that it was at has moved, the other has not, and all goes on. */
	KUNIT_EXPECT_EQ(test, CHUNK, rmem_stat(memory, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 1, hmm_rmem_alloc(rmem, &page, 1));
	hmm_rmem_free(rmem, &page, 1);
	rmem_verify(test, MOCK_BASE, CHUNK + RMEM_SOME);
}

/* The device goes, with pages of a process and with threads of its own at work. */
static void rmem_unregister(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct mock_mirror *mirror;

	rmem_fill(test, memory, MOCK_BASE, CHUNK + RMEM_SOME);
	mirror = mock_mirror_new(test, memory->device, current->mm);
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(mirror, MOCK_BASE, rmem_value(MOCK_BASE)));
	/* What keeps others from moving pages does not last. */
	mock_memory_fail(memory, -EIO, 3);
	mock_device_unregister(memory->device);
	rmem_verify(test, MOCK_BASE, CHUNK + RMEM_SOME);
}

/* References that are not the test's own: of pages, and while they go. */
static unsigned int rmem_wait_refs(struct hmm_rmem *rmem, unsigned int refs)
{
	unsigned long deadline = jiffies + MOCK_PATIENCE;

	while (refcount_read(&rmem->ref) != refs && time_before(jiffies, deadline))
		msleep(20);
	return refcount_read(&rmem->ref);
}

/* What cannot be copied out is lost with the device, and keeps the pool. */
static void rmem_unregister_broken(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct hmm_rmem *rmem = rmem_of(memory);

	hmm_rmem_get(rmem);
	rmem_fill(test, memory, MOCK_BASE, RMEM_SOME);
	memory->bad_offset = 3 * PAGE_SIZE;
	mock_device_unregister(memory->device);
	/* Ours, and that of the page. */
	KUNIT_EXPECT_EQ(test, 2, refcount_read(&rmem->ref));
	KUNIT_EXPECT_EQ(test, 1, atomic64_read(&rmem->stats[HMM_RMEM_LOST]));
	KUNIT_EXPECT_EQ(test, RMEM_SOME - 1, atomic64_read(&rmem->stats[HMM_RMEM_OUT]));
	rmem_verify(test, MOCK_BASE, 3);
	rmem_verify(test, MOCK_BASE + 4 * PAGE_SIZE, RMEM_SOME - 4);
	KUNIT_EXPECT_EQ(test, -EFAULT, rmem_touch(MOCK_BASE + 3 * PAGE_SIZE));
	vm_munmap(MOCK_BASE, RMEM_SOME * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, rmem_wait_refs(rmem, 1));
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&rmem->stats[HMM_RMEM_DROPPED]));
	hmm_rmem_put(rmem);
}

static void rmem_lost(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 2);
	struct hmm_device *device = &memory->device->hmm;
	struct hmm_rmem *rmem = rmem_of(memory);

	hmm_rmem_get(rmem);
	rmem_fill(test, memory, MOCK_BASE, RMEM_SOME);
	/* One comes back before, and one is freed. */
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(device));
	KUNIT_EXPECT_EQ(test, RMEM_SOME / 2,
			rmem_move_in(test, memory, MOCK_BASE, RMEM_SOME / 2));
	mock_cpu_zap(MOCK_BASE, PAGE_SIZE);
	memory->lost = true;
	hmm_device_lost(device);
	hmm_device_lost(device);
	KUNIT_EXPECT_EQ(test, RMEM_SOME / 2 - 1, rmem_stat(memory, HMM_RMEM_LOST));
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_USED));
	mock_memory_check_accounts(test, memory);

	KUNIT_EXPECT_EQ(test, 0, mock_cpu_load(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, -EFAULT, rmem_touch(MOCK_BASE + PAGE_SIZE));
	rmem_verify(test, MOCK_BASE + RMEM_SOME / 2 * PAGE_SIZE, RMEM_SOME / 2);
	KUNIT_EXPECT_EQ(test, -ENODEV, hmm_device_evacuate(device));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evict(rmem, 1));
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_nr_free(rmem));
	mock_memory_check_accounts(test, memory);

	mock_device_unregister(memory->device);
	/* What was counted can still be read. */
	KUNIT_EXPECT_EQ(test, RMEM_SOME / 2 - 1, rmem_stat(memory, HMM_RMEM_LOST));
	mock_memory_check_accounts(test, memory);
	KUNIT_EXPECT_EQ(test, RMEM_SOME / 2, refcount_read(&rmem->ref));
	KUNIT_EXPECT_EQ(test, -EFAULT, rmem_touch(MOCK_BASE + PAGE_SIZE));
	vm_munmap(MOCK_BASE, RMEM_SOME * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, rmem_wait_refs(rmem, 1));
	KUNIT_EXPECT_EQ(test, 0, rmem->nr_lost);
	KUNIT_EXPECT_EQ(test, atomic64_read(&rmem->stats[HMM_RMEM_IN]),
			atomic64_read(&rmem->stats[HMM_RMEM_OUT]) +
			atomic64_read(&rmem->stats[HMM_RMEM_DROPPED]) +
			atomic64_read(&rmem->stats[HMM_RMEM_LOST]));
	hmm_rmem_put(rmem);
}

/* In the middle of a copy that fails for it, or that had just been made. */
static void rmem_lost_in_copy(struct kunit *test)
{
	const bool *made = test->param_value;
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct rmem_call call = { .memory = memory };
	struct mock_thread *thread;

	rmem_fill(test, memory, MOCK_BASE, RMEM_SOME);
	mock_memory_arm(memory, MOCK_COPY_OUT);
	thread = mock_thread_run(test, NULL, rmem_evacuate_thread, &call);
	KUNIT_EXPECT_TRUE(test, mock_memory_wait(memory, MOCK_COPY_OUT));
	memory->lost = !*made;
	hmm_device_lost(&memory->device->hmm);
	KUNIT_EXPECT_EQ(test, RMEM_SOME, rmem_stat(memory, HMM_RMEM_LOST));
	mock_memory_open(memory, MOCK_COPY_OUT);
	KUNIT_EXPECT_EQ(test, *made ? 0 : -ENODEV, mock_thread_join(test, thread));
	KUNIT_EXPECT_EQ(test, *made ? 0 : RMEM_SOME, rmem_stat(memory, HMM_RMEM_LOST));
	KUNIT_EXPECT_EQ(test, *made ? RMEM_SOME : 0, rmem_stat(memory, HMM_RMEM_OUT));
	mock_memory_check_accounts(test, memory);
	if (*made)
		rmem_verify(test, MOCK_BASE, RMEM_SOME);
	vm_munmap(MOCK_BASE, RMEM_SOME * PAGE_SIZE);
}

static const bool rmem_made[] = { false, true };

static void rmem_made_desc(const bool *made, char *desc)
{
	strscpy(desc, *made ? "the copy is made" : "the copy fails", KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(rmem_made, rmem_made, rmem_made_desc);

static int rmem_unregister_thread(void *data)
{
	mock_device_unregister(data);
	return 0;
}

static int rmem_touch_thread(void *data)
{
	u64 value;

	return get_user(value, (u64 __user *)MOCK_BASE) ?: value != rmem_value(MOCK_BASE);
}

/* A copy is under way for a CPU fault: the device does not go before it has ended. */
static void rmem_unregister_waits(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct mock_thread *touch, *unregister;

	rmem_fill(test, memory, MOCK_BASE, 1);
	mock_memory_arm(memory, MOCK_COPY_OUT);
	touch = mock_thread_run(test, current->mm, rmem_touch_thread, NULL);
	KUNIT_EXPECT_TRUE(test, mock_memory_wait(memory, MOCK_COPY_OUT));
	unregister = mock_thread_run(test, NULL, rmem_unregister_thread, memory->device);
	KUNIT_EXPECT_TRUE(test, mock_thread_blocks(unregister));
	mock_memory_open(memory, MOCK_COPY_OUT);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, touch));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, unregister));
}

/*
 * A page is on its way in when the device is lost: its copy is made, and it is not counted
 * yet.  The device does not go before it is, for it takes its counters along.
 */
static void rmem_unregister_counts_arrivals(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct mock_thread *unregister;
	struct page *page;

	KUNIT_ASSERT_EQ(test, 1, hmm_rmem_alloc(rmem_of(memory), &page, 1));
	hmm_rmem_page_init(page);
	memory->lost = true;
	hmm_device_lost(&memory->device->hmm);
	unregister = mock_thread_run(test, NULL, rmem_unregister_thread, memory->device);
	KUNIT_EXPECT_TRUE(test, mock_thread_blocks(unregister));
	hmm_rmem_page_in(page, false);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, unregister));
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_LOST));
	unlock_page(page);
	put_page(page);
}

/*
 * Copies that no page in use tells of: the device does not go before the last of them,
 * not even between a batch that failed and its next try, and afterwards none begins.
 *
 *	copy				unregister
 *	first try is under way
 *					evacuates: nothing is there
 *					must wait here
 *	first try fails
 *	second try: needs the device
 *					is done with: an error
 */
static void rmem_unregister_waits_for_copies(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct rmem_bench *bench = rmem_bench_new(test, memory, 5);
	struct hmm_rmem *rmem = rmem_of(memory);
	struct mock_thread *copy, *unregister;
	int calls;

	hmm_rmem_get(rmem);
	mock_memory_fail(memory, -EIO, 1);
	mock_memory_arm(memory, MOCK_COPY_IN);
	copy = mock_thread_run(test, NULL, rmem_bench_thread, bench);
	KUNIT_EXPECT_TRUE(test, mock_memory_wait(memory, MOCK_COPY_IN));
	unregister = mock_thread_run(test, NULL, rmem_unregister_thread, memory->device);
	KUNIT_EXPECT_TRUE(test, mock_thread_blocks(unregister));
	mock_memory_open(memory, MOCK_COPY_IN);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, copy));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, unregister));
	KUNIT_EXPECT_EQ(test, bench->nr, bench->done);

	calls = atomic_read(&memory->calls[MOCK_COPY_IN]);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_copy_in(rmem, bench->copies, bench->nr,
						  bench->errors));
	KUNIT_EXPECT_EQ(test, -ENODEV, bench->errors[0]);
	KUNIT_EXPECT_EQ(test, calls, atomic_read(&memory->calls[MOCK_COPY_IN]));
	hmm_rmem_put(rmem);
}

/* A page that is held, and who holds it. */
struct rmem_held {
	struct hmm_rmem *rmem;
	struct hmm_rmem_hold hold;
};

static int rmem_unhold_thread(void *data)
{
	struct rmem_held *held = data;

	hmm_rmem_unhold(held->rmem, &held->hold);
	return 0;
}

/*
 * Who wants a held page back sleeps while another is between its last reference and the
 * pool: that may be a task which cannot run before this one does not.
 */
static void rmem_unhold_sleeps(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct rmem_held *held = kunit_kzalloc(test, sizeof(*held), GFP_KERNEL);
	struct mock_thread *thread;
	struct page *page;

	KUNIT_ASSERT_NOT_NULL(test, held);
	held->rmem = rmem_of(memory);
	KUNIT_ASSERT_EQ(test, 1, hmm_rmem_alloc(held->rmem, &page, 1));
	hmm_rmem_page_init(page);
	held->hold.page = page;
	get_page(page);
	hmm_rmem_hold(held->rmem, &held->hold);
	KUNIT_EXPECT_FALSE(test, held->hold.freed);

	/* The two halves of put_page(). */
	KUNIT_EXPECT_TRUE(test, put_page_testzero(page));
	thread = mock_thread_run(test, NULL, rmem_unhold_thread, held);
	KUNIT_EXPECT_TRUE(test, mock_thread_blocks(thread));
	__folio_put(page_folio(page));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));

	KUNIT_EXPECT_TRUE(test, held->hold.freed);
	KUNIT_EXPECT_EQ(test, 1, page_count(page));
	KUNIT_EXPECT_TRUE(test, PageLocked(page));
	KUNIT_EXPECT_EQ(test, 1, rmem_stat(memory, HMM_RMEM_USED));
	unlock_page(page);
	put_page(page);
	KUNIT_EXPECT_EQ(test, 0, rmem_stat(memory, HMM_RMEM_USED));
	mock_memory_check_accounts(test, memory);
}

/**
 * struct rmem_storm - everything at once
 * @test: test
 * @memory: memory
 * @mm: whose memory moves
 * @stop: it is enough: @memory has been emptied often enough
 * @moves: pages moved in
 * @rounds: how often it has been
 * @busy: evacuations that gave up
 */
struct rmem_storm {
	struct kunit *test;
	struct mock_memory *memory;
	struct mm_struct *mm;
	bool stop;
	atomic_t moves;
	unsigned int rounds;
	unsigned int busy;
};

#define RMEM_STORM_PAGES	(3 * CHUNK / 2)
#define RMEM_STORM_TIME		(10 * HZ)

static int rmem_storm_in(void *data)
{
	struct rmem_storm *storm = data;
	struct hmm_rmem_move move;
	unsigned int i;
	u8 *results = kvzalloc(CHUNK, GFP_KERNEL);

	if (!results)
		return -ENOMEM;
	for (i = 0; !READ_ONCE(storm->stop); i++) {
		memset(results, 0, CHUNK);
		move = (struct hmm_rmem_move) {
			.mm = storm->mm,
			.start = MOCK_BASE + i * 96 % RMEM_STORM_PAGES * PAGE_SIZE,
			.results = results,
		};
		move.end = min(move.start + 128 * PAGE_SIZE,
			       MOCK_BASE + RMEM_STORM_PAGES * PAGE_SIZE);
		hmm_rmem_move_in(rmem_of(storm->memory), &move);
		atomic_add(move.moved, &storm->moves);
		usleep_range(100, 200);
	}
	kvfree(results);
	return 0;
}

static int rmem_storm_out(void *data)
{
	unsigned long deadline = jiffies + RMEM_STORM_TIME;
	struct rmem_storm *storm = data;
	unsigned int i;

	for (i = 0; i < 100 && time_before(jiffies, deadline); i++) {
		if (i % 4)
			hmm_rmem_evict(rmem_of(storm->memory), CHUNK);
		else if (hmm_device_evacuate(&storm->memory->device->hmm))
			storm->busy++;
		if (i % 10 == 9)
			mock_memory_fail(storm->memory, -EIO, 2);
		usleep_range(1000, 2000);
	}
	storm->rounds = i;
	WRITE_ONCE(storm->stop, true);
	return 0;
}

static int rmem_storm_touch(void *data)
{
	struct rmem_storm *storm = data;
	unsigned long addr;
	unsigned int i;
	u64 value;

	for (i = 0; !READ_ONCE(storm->stop); i++) {
		addr = MOCK_BASE + i * 7 % RMEM_STORM_PAGES * PAGE_SIZE;
		if (get_user(value, (u64 __user *)addr))
			return -EFAULT;
		if (value != rmem_value(addr))
			return -EIO;
		cond_resched();
	}
	return 0;
}

/*
 * Migrations, evictions, evacuations and CPU faults at once, on a memory that is too
 * small, and with a copy that fails now and then: every page keeps its contents, and the
 * counters add up.
 */
static void rmem_storm(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct rmem_storm storm = { .test = test, .memory = memory };
	struct mock_thread *threads[4];
	unsigned int i;

	mock_mmap(test, MOCK_BASE, RMEM_STORM_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE);
	rmem_write(test, MOCK_BASE, RMEM_STORM_PAGES);
	storm.mm = current->mm;
	threads[0] = mock_thread_run(test, NULL, rmem_storm_in, &storm);
	threads[1] = mock_thread_run(test, NULL, rmem_storm_in, &storm);
	threads[2] = mock_thread_run(test, NULL, rmem_storm_out, &storm);
	threads[3] = mock_thread_run(test, storm.mm, rmem_storm_touch, &storm);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, threads[i]));
	mock_memory_fail(memory, 0, 0);
	mock_memory_check_accounts(test, memory);
	kunit_info(test, "%u rounds (%u gave up), %u pages moved in, %llu evicted, %llu evacuated, %llu by faults\n",
		   storm.rounds, storm.busy, atomic_read(&storm.moves),
		   rmem_stat(memory, HMM_RMEM_OUT_EVICT),
		   rmem_stat(memory, HMM_RMEM_OUT_EVACUATE),
		   rmem_stat(memory, HMM_RMEM_OUT_FAULT));
	KUNIT_EXPECT_EQ(test, atomic_read(&storm.moves), rmem_stat(memory, HMM_RMEM_IN));
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(&memory->device->hmm));
	rmem_verify(test, MOCK_BASE, RMEM_STORM_PAGES);
	KUNIT_EXPECT_EQ(test, rmem_stat(memory, HMM_RMEM_IN), rmem_stat(memory, HMM_RMEM_OUT));
	mock_memory_check_accounts(test, memory);
}

static struct kunit_case hmm_rmem_cases[] = {
	KUNIT_CASE(rmem_register),
	KUNIT_CASE(rmem_two_pools),
	KUNIT_CASE(rmem_no_memory),
	KUNIT_CASE(rmem_stat_names),
	KUNIT_CASE_PARAM(rmem_register_invalid, rmem_bad_gen_params),
	KUNIT_CASE(rmem_alloc),
	KUNIT_CASE(rmem_close),
	KUNIT_CASE_SLOW(rmem_alloc_random),
	KUNIT_CASE(rmem_page_free),
	KUNIT_CASE(rmem_unhold_sleeps),
	KUNIT_CASE(rmem_copy),
	KUNIT_CASE_SLOW(rmem_copy_overlaps),
	KUNIT_CASE_SLOW(rmem_copy_many),
	KUNIT_CASE_SLOW(rmem_copy_transient),
	KUNIT_CASE_SLOW(rmem_copy_bad_page),
	KUNIT_CASE_PARAM(rmem_copy_fails, rmem_failure_gen_params),
	KUNIT_CASE_SLOW(rmem_round_trip),
	KUNIT_CASE(rmem_inject),
	KUNIT_CASE_SLOW(rmem_evict_oldest),
	KUNIT_CASE_SLOW(rmem_evict_unused),
	KUNIT_CASE_SLOW(rmem_evict_busy),
	KUNIT_CASE_SLOW(rmem_evict_copy_fails),
	KUNIT_CASE(rmem_evict_gone),
	KUNIT_CASE(rmem_evict_written),
	KUNIT_CASE(rmem_evict_keeps_out),
	KUNIT_CASE(rmem_evacuate),
	KUNIT_CASE(rmem_evacuate_keeps_out),
	KUNIT_CASE_SLOW(rmem_evacuate_busy),
	KUNIT_CASE(rmem_evacuate_mlocked),
	KUNIT_CASE_SLOW(rmem_evacuate_copy_fails),
	KUNIT_CASE_SLOW(rmem_evacuate_killed),
	KUNIT_CASE_SLOW(rmem_unregister),
	KUNIT_CASE(rmem_unregister_broken),
	KUNIT_CASE(rmem_unregister_waits),
	KUNIT_CASE(rmem_unregister_counts_arrivals),
	KUNIT_CASE(rmem_unregister_waits_for_copies),
	KUNIT_CASE(rmem_lost),
	KUNIT_CASE_PARAM(rmem_lost_in_copy, rmem_made_gen_params),
	KUNIT_CASE_SLOW(rmem_storm),
	{}
};

static struct kunit_suite hmm_rmem_suite = {
	.name = "hmm_rmem",
	.test_cases = hmm_rmem_cases,
};

kunit_test_suite(hmm_rmem_suite);

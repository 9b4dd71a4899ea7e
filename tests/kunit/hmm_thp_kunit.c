// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages that are one page on the device: in and out as one, in parts where that cannot
 * be, and the accounts.
 *
 * Owns nothing that outlives a test.  The memory is that of the test's own address space,
 * each word of it with its address, and has to be that wherever it is found.
 */
#include <kunit/test.h>
#include <kunit/visibility.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>
#include "../../hmm/hmm_private.h"
#include "../../swap_entry/entry.h"
#include "mock_device.h"
#include "mock_memory.h"
#include "mock_user.h"

#define THP_RW		(PROT_READ | PROT_WRITE)
#define THP_PAGES	((unsigned long)HMM_RMEM_CHUNK_PAGES)
#define THP_AT(n)	(MOCK_BASE + (n) * PAGE_SIZE)
#define THP_MAX		2

/**
 * struct thp_fixture - a device with memory, and huge pages
 * @memory: its memory
 * @rmem: the pool
 * @move: of the call that was made last
 * @results: of that
 * @page: for the contents of one page
 */
struct thp_fixture {
	struct mock_memory *memory;
	struct hmm_rmem *rmem;
	struct hmm_rmem_move move;
	u8 results[THP_MAX * HMM_RMEM_CHUNK_PAGES];
	u64 page[PAGE_SIZE / sizeof(u64)];
};

static void thp_look(unsigned long n, struct hmm_swp_place *place)
{
	mmap_read_lock(current->mm);
	hmm_swp_look(current->mm, THP_AT(n), place);
	mmap_read_unlock(current->mm);
}

static bool thp_is_huge(unsigned long n)
{
	struct hmm_swp_place place;

	thp_look(n, &place);
	return place.huge;
}

static struct page *thp_device_page(unsigned long n)
{
	struct hmm_swp_place place;

	thp_look(n, &place);
	return hmm_swp_is_private(place.entry) ? hmm_swp_to_page(place.entry) : NULL;
}

static u64 thp_device_offset(struct thp_fixture *f, unsigned long n)
{
	return hmm_rmem_offset(&f->memory->device->hmm, thp_device_page(n));
}

static void thp_fill(struct kunit *test, struct thp_fixture *f, unsigned long first,
		     unsigned long nr)
{
	unsigned long n, i;

	for (n = first; n < first + nr; n++) {
		for (i = 0; i < ARRAY_SIZE(f->page); i++)
			f->page[i] = THP_AT(n) ^ (i << 48);
		KUNIT_ASSERT_EQ(test, 0, copy_to_user((void __user *)THP_AT(n), f->page,
						      PAGE_SIZE));
	}
}

static bool thp_is_pattern(const u64 *page, unsigned long n)
{
	unsigned long i;

	for (i = 0; i < PAGE_SIZE / sizeof(u64); i++)
		if (page[i] != (THP_AT(n) ^ (i << 48)))
			return false;
	return true;
}

static void thp_expect_data(struct kunit *test, struct thp_fixture *f, unsigned long first,
			    unsigned long nr)
{
	unsigned long n;

	for (n = first; n < first + nr; n++) {
		KUNIT_ASSERT_EQ(test, 0, copy_from_user(f->page, (void __user *)THP_AT(n),
							PAGE_SIZE));
		if (!thp_is_pattern(f->page, n))
			KUNIT_FAIL(test, "page %lu: wrong contents", n);
	}
}

static void thp_expect_on_device(struct kunit *test, struct thp_fixture *f,
				 unsigned long first, unsigned long nr)
{
	struct page *page;
	unsigned long n;

	for (n = first; n < first + nr; n++) {
		page = thp_device_page(n);
		if (!page)
			KUNIT_FAIL(test, "page %lu: not on the device", n);
		else if (!thp_is_pattern(mock_memory_at(f->memory, page), n))
			KUNIT_FAIL(test, "page %lu: wrong contents on the device", n);
	}
}

/* @nr huge pages, filled, and a pool of @chunks. */
static struct thp_fixture *thp_begin(struct kunit *test, unsigned int chunks, unsigned int nr)
{
	struct thp_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	unsigned long n;

#ifndef HMM_HAVE_MIGRATE_VMA_COMPOUND
	kunit_skip(test, "the kernel has no huge pages of devices");
#endif
	KUNIT_ASSERT_NOT_NULL(test, f);
	f->memory = mock_memory_new(test, NULL, chunks);
	f->rmem = f->memory->device->hmm.rmem;
	mock_mmap(test, THP_AT(0), nr * HMM_RMEM_CHUNK_SIZE, THP_RW);
	mock_cpu_advise_huge(test, THP_AT(0));
	thp_fill(test, f, 0, nr * THP_PAGES);
	for (n = 0; n < nr; n++)
		if (!thp_is_huge(n * THP_PAGES))
			kunit_skip(test, "no huge pages to be had");
	return f;
}

static int thp_call(struct thp_fixture *f, unsigned long first, unsigned long nr, u32 flags,
		    const unsigned long *populate, bool in)
{
	memset(f->results, 0, sizeof(f->results));
	f->move = (struct hmm_rmem_move) {
		.mm = current->mm,
		.start = THP_AT(first),
		.end = THP_AT(first + nr),
		.flags = flags | HMM_RMEM_MOVE_FAULT_IN,
		.populate = populate,
		.results = f->results,
	};
	return in ? hmm_rmem_move_in(f->rmem, &f->move) : hmm_rmem_move_out(f->rmem, &f->move);
}

static void thp_in(struct kunit *test, struct thp_fixture *f, unsigned long first,
		   unsigned long nr)
{
	KUNIT_ASSERT_EQ(test, 0, thp_call(f, first, nr, 0, NULL, true));
	KUNIT_ASSERT_EQ(test, nr, f->move.moved);
}

static u64 thp_stat(struct thp_fixture *f, enum hmm_rmem_stat stat)
{
	return mock_memory_stat(f->memory, stat);
}

static unsigned int thp_batches(struct thp_fixture *f, enum mock_copy copy)
{
	return atomic_read(&f->memory->calls[copy]);
}

/* No huge page is wanted there any more. */
static void thp_unwanted(void)
{
	struct vm_area_struct *vma;

	mmap_write_lock(current->mm);
	vma = vma_lookup(current->mm, THP_AT(0));
	vm_flags_mod(vma, VM_NOHUGEPAGE, VM_HUGEPAGE);
	mmap_write_unlock(current->mm);
}

static void thp_round_trip(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 4, 2);
	struct page *page;

	thp_in(test, f, 0, 2 * THP_PAGES);
	KUNIT_EXPECT_TRUE(test, thp_is_huge(0));
	KUNIT_EXPECT_TRUE(test, thp_is_huge(THP_PAGES + 5));
	page = thp_device_page(7);
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_EQ(test, 7, thp_device_offset(f, 7) / PAGE_SIZE % THP_PAGES);
	KUNIT_EXPECT_EQ(test, 2, thp_batches(f, MOCK_COPY_IN));
	KUNIT_EXPECT_EQ(test, 2 * THP_PAGES, thp_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 2 * THP_PAGES, thp_stat(f, HMM_RMEM_IN));
	thp_expect_on_device(test, f, 0, 2 * THP_PAGES);

	KUNIT_ASSERT_EQ(test, 0, thp_call(f, 0, 2 * THP_PAGES, 0, NULL, false));
	KUNIT_EXPECT_EQ(test, 2 * THP_PAGES, f->move.moved);
	KUNIT_EXPECT_TRUE(test, thp_is_huge(0));
	KUNIT_EXPECT_EQ(test, 2, thp_batches(f, MOCK_COPY_OUT));
	KUNIT_EXPECT_EQ(test, 4, thp_stat(f, HMM_RMEM_CHUNKS_FREE));
	thp_expect_data(test, f, 0, 2 * THP_PAGES);
	mock_memory_check_accounts(test, f->memory);
}

static void thp_split(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 2, 1);

	KUNIT_ASSERT_EQ(test, 0, thp_call(f, 0, THP_PAGES, HMM_RMEM_MOVE_SPLIT, NULL, true));
	KUNIT_EXPECT_EQ(test, THP_PAGES, f->move.moved);
	KUNIT_EXPECT_FALSE(test, thp_is_huge(0));
	thp_expect_on_device(test, f, 0, THP_PAGES);
	thp_expect_data(test, f, 0, THP_PAGES);
	mock_memory_check_accounts(test, f->memory);
}

/* A part of one, out and in. */
static void thp_part(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 2, 1);

	thp_in(test, f, 0, THP_PAGES);
	KUNIT_ASSERT_EQ(test, 0, thp_call(f, 10, 20, 0, NULL, false));
	KUNIT_EXPECT_EQ(test, 20, f->move.moved);
	KUNIT_EXPECT_FALSE(test, thp_is_huge(0));
	KUNIT_EXPECT_EQ(test, THP_PAGES - 20, thp_stat(f, HMM_RMEM_USED));
	thp_expect_on_device(test, f, 0, 10);
	thp_expect_on_device(test, f, 30, THP_PAGES - 30);
	thp_in(test, f, 10, 20);
	thp_expect_on_device(test, f, 0, THP_PAGES);
	thp_expect_data(test, f, 0, THP_PAGES);
	mock_memory_check_accounts(test, f->memory);
}

static void thp_fault(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 2, 1);

	thp_in(test, f, 0, THP_PAGES);
	thp_expect_data(test, f, 300, 1);
	KUNIT_EXPECT_TRUE(test, thp_is_huge(0));
	KUNIT_EXPECT_EQ(test, THP_PAGES, thp_stat(f, HMM_RMEM_OUT_FAULT));
	KUNIT_EXPECT_EQ(test, 1, thp_stat(f, HMM_RMEM_CPU_FAULTS));
	KUNIT_EXPECT_EQ(test, 1, thp_batches(f, MOCK_COPY_OUT));
	thp_expect_data(test, f, 0, THP_PAGES);
	mock_memory_check_accounts(test, f->memory);
}

static void thp_fault_splits(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 2, 1);

	thp_in(test, f, 0, THP_PAGES);
	thp_unwanted();
	thp_expect_data(test, f, 300, 1);
	KUNIT_EXPECT_FALSE(test, thp_is_huge(0));
	KUNIT_EXPECT_EQ(test, THP_PAGES, thp_stat(f, HMM_RMEM_OUT_FAULT));
	KUNIT_EXPECT_EQ(test, 0, thp_stat(f, HMM_RMEM_USED));
	thp_expect_data(test, f, 0, THP_PAGES);
	mock_memory_check_accounts(test, f->memory);
}

/* One page cannot be written on the device: it stays, and all others move. */
static void thp_bad_page_in(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 1, 1);

	f->memory->bad_offset = 5 * PAGE_SIZE;
	KUNIT_ASSERT_EQ(test, 0, thp_call(f, 0, THP_PAGES, 0, NULL, true));
	KUNIT_EXPECT_EQ(test, THP_PAGES - 1, f->move.moved);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_FAILED, f->results[5]);
	KUNIT_EXPECT_EQ(test, THP_PAGES - 1, thp_stat(f, HMM_RMEM_USED));
	thp_expect_data(test, f, 0, THP_PAGES);
	mock_memory_check_accounts(test, f->memory);
}

/* One page cannot be read, the first one even: the others come, by request or fault. */
static void thp_bad_page_out(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 2, 2);

	thp_in(test, f, 0, 2 * THP_PAGES);
	f->memory->bad_offset = thp_device_offset(f, 0);
	KUNIT_ASSERT_EQ(test, 0, thp_call(f, 0, THP_PAGES, 0, NULL, false));
	KUNIT_EXPECT_EQ(test, THP_PAGES - 1, f->move.moved);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_FAILED, f->results[0]);
	thp_expect_data(test, f, 1, THP_PAGES - 1);

	f->memory->bad_offset = thp_device_offset(f, THP_PAGES);
	thp_expect_data(test, f, THP_PAGES + 1, THP_PAGES - 1);
	KUNIT_EXPECT_EQ(test, 2, thp_stat(f, HMM_RMEM_USED));
	f->memory->bad_offset = MOCK_MEMORY_NO_PAGE;
	thp_expect_data(test, f, 0, 2 * THP_PAGES);
	KUNIT_EXPECT_EQ(test, 0, thp_stat(f, HMM_RMEM_USED));
	mock_memory_check_accounts(test, f->memory);
}

/* The same when everything has to leave. */
static void thp_bad_page_evacuate(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 1, 1);

	thp_in(test, f, 0, THP_PAGES);
	f->memory->bad_offset = 9 * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, -EIO, hmm_rmem_evacuate(f->rmem));
	KUNIT_EXPECT_EQ(test, 1, thp_stat(f, HMM_RMEM_USED));
	f->memory->bad_offset = MOCK_MEMORY_NO_PAGE;
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evacuate(f->rmem));
	thp_expect_data(test, f, 0, THP_PAGES);
	mock_memory_check_accounts(test, f->memory);
}

/* Places for huge pages with nothing in them. */
static void thp_empty(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 1, 2);
	unsigned long i;

	mock_cpu_zap(THP_AT(0), HMM_RMEM_CHUNK_SIZE);
	KUNIT_EXPECT_EQ(test, 0, thp_call(f, 0, THP_PAGES, 0, NULL, false));
	KUNIT_EXPECT_EQ(test, 0, thp_call(f, 0, THP_PAGES, 0, NULL, true));
	KUNIT_EXPECT_EQ(test, 0, f->move.moved);
	for (i = 0; i < THP_PAGES; i++)
		KUNIT_EXPECT_EQ(test, HMM_PAGE_EMPTY, f->results[i]);
	thp_expect_data(test, f, THP_PAGES, THP_PAGES);
	mock_memory_check_accounts(test, f->memory);
}

/* Room for 512 pages, but not in one place. */
static void thp_no_chunk(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 2, 1);
	struct page *pages[2] = {
		hmm_rmem_alloc_chunk(f->rmem), hmm_rmem_alloc_chunk(f->rmem),
	};
	int i;

	KUNIT_EXPECT_NULL(test, hmm_rmem_alloc_chunk(f->rmem));
	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_NOT_NULL(test, pages[i]);
		hmm_rmem_free_range(f->rmem, pages[i] + 1, THP_PAGES - 1);
	}
	thp_in(test, f, 0, THP_PAGES);
	KUNIT_EXPECT_FALSE(test, thp_is_huge(0));
	KUNIT_EXPECT_EQ(test, 0, thp_stat(f, HMM_RMEM_OUT_EVICT));
	thp_expect_on_device(test, f, 0, THP_PAGES);
	hmm_rmem_free(f->rmem, pages, 2);
	thp_expect_data(test, f, 0, THP_PAGES);
	mock_memory_check_accounts(test, f->memory);
}

/* One makes room for the other, as a whole. */
static void thp_evict(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 1, 2);
	int round;

	for (round = 0; round < 4; round++)
		thp_in(test, f, round % 2 * THP_PAGES, THP_PAGES);
	KUNIT_EXPECT_TRUE(test, thp_is_huge(0));
	KUNIT_EXPECT_TRUE(test, thp_is_huge(THP_PAGES));
	KUNIT_EXPECT_EQ(test, 3 * THP_PAGES, thp_stat(f, HMM_RMEM_OUT_EVICT));
	thp_expect_on_device(test, f, THP_PAGES, THP_PAGES);
	thp_expect_data(test, f, 0, 2 * THP_PAGES);
	mock_memory_check_accounts(test, f->memory);
}

/* Mapped in parts, some of which are gone. */
static void thp_evacuate_parts(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 2, 2);

	thp_in(test, f, 0, 2 * THP_PAGES);
	mock_cpu_zap(THP_AT(0), 30 * PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, thp_is_huge(30));
	mock_memory_check_accounts(test, f->memory);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_evacuate(f->rmem));
	KUNIT_EXPECT_EQ(test, 0, thp_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 30, thp_stat(f, HMM_RMEM_DROPPED));
	KUNIT_EXPECT_EQ(test, 2 * THP_PAGES - 30, thp_stat(f, HMM_RMEM_OUT_EVACUATE));
	KUNIT_EXPECT_EQ(test, 2, thp_stat(f, HMM_RMEM_CHUNKS_FREE));
	KUNIT_EXPECT_TRUE(test, thp_is_huge(THP_PAGES));
	thp_expect_data(test, f, 30, 2 * THP_PAGES - 30);
	mock_memory_check_accounts(test, f->memory);
}

static void thp_unmap(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 1, 1);

	thp_in(test, f, 0, THP_PAGES);
	mock_cpu_zap(THP_AT(0), HMM_RMEM_CHUNK_SIZE);
	KUNIT_EXPECT_EQ(test, THP_PAGES, thp_stat(f, HMM_RMEM_DROPPED));
	KUNIT_EXPECT_EQ(test, 1, thp_stat(f, HMM_RMEM_CHUNKS_FREE));
	/* What was a part of it is a page of its own now. */
	thp_fill(test, f, 0, 8);
	thp_unwanted();
	KUNIT_ASSERT_EQ(test, 0, thp_call(f, 3, 1, 0, NULL, true));
	KUNIT_EXPECT_EQ(test, 1, f->move.moved);
	KUNIT_EXPECT_EQ(test, 1, hmm_rmem_evict(f->rmem, THP_PAGES));
	thp_expect_data(test, f, 0, 8);
	mock_memory_check_accounts(test, f->memory);
}

static void thp_lost(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 2, 2);

	thp_in(test, f, 0, 2 * THP_PAGES);
	KUNIT_ASSERT_EQ(test, 0, thp_call(f, 0, THP_PAGES / 2, 0, NULL, false));
	hmm_device_lost(&f->memory->device->hmm);
	KUNIT_EXPECT_EQ(test, 3 * THP_PAGES / 2, thp_stat(f, HMM_RMEM_LOST));
	KUNIT_EXPECT_EQ(test, 0, thp_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_NE(test, 0, copy_from_user(f->page, (void __user *)THP_AT(THP_PAGES + 9),
						sizeof(f->page)));
	KUNIT_EXPECT_TRUE(test, thp_is_huge(THP_PAGES));
	thp_expect_data(test, f, 0, THP_PAGES / 2);
	mock_memory_check_accounts(test, f->memory);
	mock_cpu_zap(THP_AT(0), 2 * HMM_RMEM_CHUNK_SIZE);
	KUNIT_EXPECT_EQ(test, 0, f->rmem->nr_lost);
	KUNIT_EXPECT_EQ(test, 0, f->rmem->nr_used);
}

static void thp_populate(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 2, 1);
	DECLARE_BITMAP(all, HMM_RMEM_CHUNK_PAGES);
	unsigned long n;

	bitmap_fill(all, HMM_RMEM_CHUNK_PAGES);
	mock_cpu_zap(THP_AT(0), HMM_RMEM_CHUNK_SIZE);
	KUNIT_ASSERT_EQ(test, 0, thp_call(f, 0, THP_PAGES, 0, all, true));
	KUNIT_EXPECT_EQ(test, THP_PAGES, f->move.moved);
	KUNIT_EXPECT_TRUE(test, thp_is_huge(0));
	KUNIT_EXPECT_EQ(test, THP_PAGES, thp_stat(f, HMM_RMEM_IN_ZERO));
	for (n = 0; n < THP_PAGES; n++)
		KUNIT_EXPECT_EQ(test, 0, mock_cpu_load(test, THP_AT(n)));
	/* Of a part, only that. */
	mock_cpu_zap(THP_AT(0), HMM_RMEM_CHUNK_SIZE);
	bitmap_clear(all, 0, 100);
	KUNIT_ASSERT_EQ(test, 0, thp_call(f, 0, THP_PAGES, 0, all, true));
	KUNIT_EXPECT_EQ(test, THP_PAGES - 100, f->move.moved);
	KUNIT_EXPECT_FALSE(test, thp_is_huge(0));
	mock_memory_check_accounts(test, f->memory);
}

/* A page that is freed while it is held is handed out to nobody. */
static void thp_hold(struct kunit *test)
{
	struct thp_fixture *f = thp_begin(test, 1, 1);
	struct hmm_rmem_hold hold;

	hold.page = hmm_rmem_alloc_chunk(f->rmem);
	KUNIT_ASSERT_NOT_NULL(test, hold.page);
	hmm_rmem_folio_init(hold.page, HPAGE_PMD_ORDER);
	KUNIT_EXPECT_EQ(test, THP_PAGES, thp_stat(f, HMM_RMEM_USED));
	hmm_rmem_hold(f->rmem, &hold);
	KUNIT_EXPECT_TRUE(test, hold.freed);
	KUNIT_EXPECT_EQ(test, 1, thp_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_NULL(test, hmm_rmem_alloc_chunk(f->rmem));
	hmm_rmem_unhold(f->rmem, &hold);
	KUNIT_EXPECT_EQ(test, 1, page_count(hold.page));
	KUNIT_EXPECT_TRUE(test, PageLocked(hold.page));
	unlock_page(hold.page);
	put_page(hold.page);
	KUNIT_EXPECT_EQ(test, 0, thp_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 1, thp_stat(f, HMM_RMEM_CHUNKS_FREE));
}

static struct kunit_case thp_cases[] = {
	KUNIT_CASE(thp_round_trip),
	KUNIT_CASE(thp_split),
	KUNIT_CASE(thp_part),
	KUNIT_CASE(thp_fault),
	KUNIT_CASE(thp_fault_splits),
	KUNIT_CASE(thp_bad_page_in),
	KUNIT_CASE(thp_bad_page_out),
	KUNIT_CASE(thp_bad_page_evacuate),
	KUNIT_CASE(thp_empty),
	KUNIT_CASE(thp_no_chunk),
	KUNIT_CASE(thp_evict),
	KUNIT_CASE(thp_evacuate_parts),
	KUNIT_CASE(thp_unmap),
	KUNIT_CASE(thp_lost),
	KUNIT_CASE(thp_populate),
	KUNIT_CASE(thp_hold),
	{}
};

static struct kunit_suite thp_suite = {
	.name = "hmm_thp",
	.test_cases = thp_cases,
};

kunit_test_suite(thp_suite);

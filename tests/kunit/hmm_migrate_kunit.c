// SPDX-License-Identifier: GPL-2.0
/*
 * Moving pages by address: each result, each way to fail, and the contents in each case.
 *
 * Owns nothing that outlives a test.  The memory is real memory of the test's own address
 * space, filled with a pattern that says which page it is; wherever a page is found, on
 * the device, by the CPU, after errors, the pattern has to be there.
 */
#include <kunit/test.h>
#include <kunit/visibility.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/uaccess.h>
#include "../../hmm/hmm_private.h"
#include "../../swap_entry/entry.h"
#include "mock_device.h"
#include "mock_memory.h"
#include "mock_user.h"

#define MIGRATE_RW	(PROT_READ | PROT_WRITE)
#define MIGRATE_AT(n)	(MOCK_BASE + (n) * PAGE_SIZE)
#define MIGRATE_CHUNK	HMM_RMEM_CHUNK_PAGES

/* Most pages that a test moves at once. */
#define MIGRATE_PAGES	2048

/**
 * struct migrate_fixture - a device with memory
 * @memory: its memory
 * @rmem: the pool
 * @move: of the call that was made last
 * @results: of that
 * @page: for the contents of one page
 */
struct migrate_fixture {
	struct mock_memory *memory;
	struct hmm_rmem *rmem;
	struct hmm_rmem_move move;
	u8 results[MIGRATE_PAGES];
	u64 page[PAGE_SIZE / sizeof(u64)];
};

static struct migrate_fixture *migrate_begin(struct kunit *test, unsigned int chunks)
{
	struct migrate_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->memory = mock_memory_new(test, NULL, chunks);
	f->rmem = f->memory->device->hmm.rmem;
	return f;
}

/* The pattern of a page: its address, in each word. */
static void migrate_fill(struct kunit *test, struct migrate_fixture *f,
			 unsigned long first, unsigned long nr)
{
	unsigned long n, i;

	for (n = first; n < first + nr; n++) {
		for (i = 0; i < ARRAY_SIZE(f->page); i++)
			f->page[i] = MIGRATE_AT(n) ^ (i << 48);
		KUNIT_ASSERT_EQ(test, 0, copy_to_user((void __user *)MIGRATE_AT(n), f->page,
						      PAGE_SIZE));
	}
}

static bool migrate_is_pattern(const u64 *page, unsigned long n)
{
	unsigned long i;

	for (i = 0; i < PAGE_SIZE / sizeof(u64); i++)
		if (page[i] != (MIGRATE_AT(n) ^ (i << 48)))
			return false;
	return true;
}

/* The CPU reads, wherever the pages are. */
static void migrate_expect_data(struct kunit *test, struct migrate_fixture *f,
				unsigned long first, unsigned long nr)
{
	unsigned long n;

	for (n = first; n < first + nr; n++) {
		KUNIT_ASSERT_EQ(test, 0, copy_from_user(f->page,
							(void __user *)MIGRATE_AT(n),
							PAGE_SIZE));
		if (!migrate_is_pattern(f->page, n))
			KUNIT_FAIL(test, "page %lu: wrong contents", n);
	}
}

static struct page *migrate_device_page(struct migrate_fixture *f, unsigned long n)
{
	struct hmm_swp_place place;

	mmap_read_lock(current->mm);
	hmm_swp_look(current->mm, MIGRATE_AT(n), &place);
	mmap_read_unlock(current->mm);
	if (!hmm_swp_is_private(place.entry) || place.owner != f->rmem)
		return NULL;
	return hmm_swp_to_page(place.entry);
}

/* They are on the device, and hold what they should. */
static void migrate_expect_on_device(struct kunit *test, struct migrate_fixture *f,
				     unsigned long first, unsigned long nr)
{
	struct page *page;
	unsigned long n;

	for (n = first; n < first + nr; n++) {
		page = migrate_device_page(f, n);
		if (!page)
			KUNIT_FAIL(test, "page %lu: not on the device", n);
		else if (!migrate_is_pattern(mock_memory_at(f->memory, page), n))
			KUNIT_FAIL(test, "page %lu: wrong contents on the device", n);
	}
}

static void migrate_expect_in_system(struct kunit *test, struct migrate_fixture *f,
				     unsigned long first, unsigned long nr)
{
	unsigned long n;

	for (n = first; n < first + nr; n++)
		if (migrate_device_page(f, n))
			KUNIT_FAIL(test, "page %lu: on the device", n);
	migrate_expect_data(test, f, first, nr);
}

static int migrate_call(struct migrate_fixture *f, unsigned long first, unsigned long nr,
			u32 flags, const unsigned long *populate, bool in)
{
	memset(f->results, 0, sizeof(f->results));
	f->move = (struct hmm_rmem_move) {
		.mm = current->mm,
		.start = MIGRATE_AT(first),
		.end = MIGRATE_AT(first + nr),
		.flags = flags,
		.populate = populate,
		.results = f->results,
		.moved = -1,
	};
	return in ? hmm_rmem_move_in(f->rmem, &f->move) : hmm_rmem_move_out(f->rmem, &f->move);
}

static int migrate_in(struct migrate_fixture *f, unsigned long first, unsigned long nr)
{
	return migrate_call(f, first, nr, HMM_RMEM_MOVE_FAULT_IN, NULL, true);
}

static int migrate_out(struct migrate_fixture *f, unsigned long first, unsigned long nr)
{
	return migrate_call(f, first, nr, HMM_RMEM_MOVE_FAULT_IN, NULL, false);
}

/* Of the last call: results of pages counted from its start. */
static void migrate_expect(struct kunit *test, struct migrate_fixture *f,
			   unsigned long first, unsigned long nr, enum hmm_page_result result)
{
	unsigned long i;

	for (i = first; i < first + nr; i++)
		if (f->results[i] != result)
			KUNIT_FAIL(test, "page %lu: result %u, not %u", i, f->results[i],
				   result);
}

/* The count of moved pages is that of the results. */
static void migrate_expect_count(struct kunit *test, struct migrate_fixture *f)
{
	unsigned long i, moved = 0;

	for (i = 0; i < MIGRATE_PAGES; i++)
		moved += f->results[i] == HMM_PAGE_MOVED;
	KUNIT_EXPECT_EQ(test, moved, f->move.moved);
	mock_memory_check_accounts(test, f->memory);
}

static u64 migrate_stat(struct migrate_fixture *f, enum hmm_rmem_stat stat)
{
	return mock_memory_stat(f->memory, stat);
}

/* A page of the CPU's, referenced until the test says put_page(). */
static struct page *migrate_get_page(struct kunit *test, unsigned long n)
{
	struct page *page = NULL;
	long nr;

	mmap_read_lock(current->mm);
	nr = get_user_pages(MIGRATE_AT(n), 1, FOLL_WRITE, &page);
	mmap_read_unlock(current->mm);
	KUNIT_ASSERT_EQ(test, 1, nr);
	return page;
}

/* There and back, over the ends of pieces. */
static void migrate_round_trip(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 4);

	mock_mmap(test, MIGRATE_AT(0), 1200 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 1200);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 100, 1000));
	migrate_expect(test, f, 0, 1000, HMM_PAGE_MOVED);
	KUNIT_EXPECT_EQ(test, 1000, f->move.moved);
	migrate_expect_on_device(test, f, 100, 1000);
	KUNIT_EXPECT_EQ(test, 1000, migrate_stat(f, HMM_RMEM_IN));
	KUNIT_EXPECT_EQ(test, 1000, migrate_stat(f, HMM_RMEM_USED));
	migrate_expect_count(test, f);

	/* They are there. */
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 1200));
	migrate_expect(test, f, 0, 100, HMM_PAGE_MOVED);
	migrate_expect(test, f, 100, 1000, HMM_PAGE_THERE);
	migrate_expect(test, f, 1100, 100, HMM_PAGE_MOVED);
	migrate_expect_count(test, f);

	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 1100));
	migrate_expect(test, f, 0, 1100, HMM_PAGE_MOVED);
	migrate_expect_in_system(test, f, 0, 1100);
	migrate_expect_on_device(test, f, 1100, 100);
	KUNIT_EXPECT_EQ(test, 1100, migrate_stat(f, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, 0, migrate_stat(f, HMM_RMEM_OUT_FAULT));
	migrate_expect_count(test, f);

	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 1200));
	migrate_expect(test, f, 0, 1100, HMM_PAGE_THERE);
	migrate_expect(test, f, 1100, 100, HMM_PAGE_MOVED);
	migrate_expect_in_system(test, f, 0, 1200);
	migrate_expect_count(test, f);
	KUNIT_EXPECT_EQ(test, 0, migrate_stat(f, HMM_RMEM_USED));
}

/* The CPU touches them, in order: windows bring more than it asks for. */
static void migrate_cpu_fault(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 2);

	mock_mmap(test, MIGRATE_AT(0), 700 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 700);
	KUNIT_ASSERT_EQ(test, 0, migrate_in(f, 0, 700));
	KUNIT_ASSERT_EQ(test, 700, f->move.moved);
	migrate_expect_data(test, f, 699, 1);
	KUNIT_EXPECT_EQ(test, 12, migrate_stat(f, HMM_RMEM_OUT_FAULT));
	migrate_expect_data(test, f, 0, 700);
	KUNIT_EXPECT_EQ(test, 700, migrate_stat(f, HMM_RMEM_OUT_FAULT));
	KUNIT_EXPECT_EQ(test, 700, migrate_stat(f, HMM_RMEM_OUT));
	/* 64 KiB, 128, 256, 512 KiB, 1 MiB, 2 MiB, and the rest. */
	KUNIT_EXPECT_LE(test, migrate_stat(f, HMM_RMEM_CPU_FAULTS), 9);
	mock_memory_check_accounts(test, f->memory);

	/* Counted as it was asked for. */
	KUNIT_ASSERT_EQ(test, 0, migrate_in(f, 0, 10));
	KUNIT_EXPECT_EQ(test, 0, migrate_call(f, 0, 10, HMM_RMEM_MOVE_FAULT, NULL, false));
	KUNIT_EXPECT_EQ(test, 710, migrate_stat(f, HMM_RMEM_OUT_FAULT));
}

/* What the CPU writes after the pages are back is there on the next visit. */
static void migrate_cpu_writes(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	int round;

	mock_mmap(test, MIGRATE_AT(0), 64 * PAGE_SIZE, MIGRATE_RW);
	for (round = 0; round < 8; round++) {
		migrate_fill(test, f, 0, 64);
		KUNIT_ASSERT_EQ(test, 0, migrate_in(f, 0, 64));
		migrate_expect_on_device(test, f, 0, 64);
		/* A store is the first touch. */
		mock_cpu_store(test, MIGRATE_AT(round), round);
		KUNIT_EXPECT_EQ(test, round, mock_cpu_load(test, MIGRATE_AT(round)));
		migrate_expect_data(test, f, 8, 56);
	}
	mock_memory_check_accounts(test, f->memory);
}

static void migrate_read_only(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	unsigned long value = 1;

	mock_mmap(test, MIGRATE_AT(0), 4 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 4);
	mock_mmap(test, MIGRATE_AT(8), 4 * PAGE_SIZE, PROT_READ);
	mock_cpu_load(test, MIGRATE_AT(8));
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 12));
	migrate_expect(test, f, 0, 4, HMM_PAGE_MOVED);
	migrate_expect(test, f, 4, 4, HMM_PAGE_UNMAPPED);
	/* One with the page of zeroes, three with nothing. */
	migrate_expect(test, f, 8, 4, HMM_PAGE_EMPTY);
	KUNIT_EXPECT_NE(test, 0, put_user(value, (unsigned long __user *)MIGRATE_AT(8)));
	migrate_expect_count(test, f);
}

static void migrate_empty(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);

	mock_mmap(test, MIGRATE_AT(0), 8 * PAGE_SIZE, MIGRATE_RW);
	mock_cpu_load(test, MIGRATE_AT(1));
	migrate_fill(test, f, 2, 1);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 8));
	migrate_expect(test, f, 0, 2, HMM_PAGE_EMPTY);
	migrate_expect(test, f, 2, 1, HMM_PAGE_MOVED);
	migrate_expect(test, f, 3, 5, HMM_PAGE_EMPTY);
	migrate_expect_count(test, f);
	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 8));
	migrate_expect(test, f, 0, 2, HMM_PAGE_EMPTY);
	migrate_expect(test, f, 2, 1, HMM_PAGE_MOVED);
	migrate_expect(test, f, 3, 5, HMM_PAGE_EMPTY);
	migrate_expect_count(test, f);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&f->memory->calls[MOCK_COPY_CLEAR]));
}

static void migrate_expect_zero(struct kunit *test, struct migrate_fixture *f,
				unsigned long n)
{
	struct page *page = migrate_device_page(f, n);

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_PTR_EQ(test, NULL, memchr_inv(mock_memory_at(f->memory, page), 0,
						   PAGE_SIZE));
}

/* Pages of zeroes, where they are wanted, among others that are copied. */
static void migrate_populate(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	DECLARE_BITMAP(populate, 64) = {};

	mock_mmap(test, MIGRATE_AT(0), 64 * PAGE_SIZE, MIGRATE_RW);
	memset(f->memory->data, 0x55, f->memory->bytes);
	migrate_fill(test, f, 10, 10);
	mock_cpu_load(test, MIGRATE_AT(30));
	bitmap_set(populate, 5, 30);
	KUNIT_EXPECT_EQ(test, 0, migrate_call(f, 0, 64, 0, populate, true));
	migrate_expect(test, f, 0, 5, HMM_PAGE_EMPTY);
	migrate_expect(test, f, 5, 30, HMM_PAGE_MOVED);
	migrate_expect(test, f, 35, 29, HMM_PAGE_EMPTY);
	migrate_expect_on_device(test, f, 10, 10);
	migrate_expect_zero(test, f, 5);
	migrate_expect_zero(test, f, 20);
	migrate_expect_zero(test, f, 30);
	KUNIT_EXPECT_EQ(test, 20, migrate_stat(f, HMM_RMEM_IN_ZERO));
	KUNIT_EXPECT_EQ(test, 30, migrate_stat(f, HMM_RMEM_IN));
	migrate_expect_count(test, f);

	KUNIT_EXPECT_EQ(test, 0, mock_cpu_load(test, MIGRATE_AT(5)));
	mock_cpu_store(test, MIGRATE_AT(6), 6);
	KUNIT_EXPECT_EQ(test, 6, mock_cpu_load(test, MIGRATE_AT(6)));
	migrate_expect_data(test, f, 10, 10);
	mock_memory_check_accounts(test, f->memory);
}

/* Nobody can touch what is there; so nothing is made. */
static void migrate_populate_inaccessible(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	DECLARE_BITMAP(populate, 64);

	bitmap_fill(populate, 64);
	mock_mmap(test, MIGRATE_AT(0), 4 * PAGE_SIZE, PROT_NONE);
	KUNIT_EXPECT_EQ(test, 0, migrate_call(f, 0, 8, 0, populate, true));
	migrate_expect(test, f, 0, 4, HMM_PAGE_EMPTY);
	migrate_expect(test, f, 4, 4, HMM_PAGE_UNMAPPED);
	KUNIT_EXPECT_EQ(test, 0, migrate_stat(f, HMM_RMEM_IN));
}

/* All kinds of mappings in one range: each page gets the result of its own. */
static void migrate_unsupported(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	struct mock_file *device;
	struct file *file;

	device = mock_file_new(test, MOCK_FILE_PFNMAP);
	file = shmem_file_setup("hmm_migrate", 16 * PAGE_SIZE, EMPTY_VMA_FLAGS);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mock_mmap(test, MIGRATE_AT(0), 2 * PAGE_SIZE, MIGRATE_RW);
	mock_mmap_file(test, file, MIGRATE_AT(4), 4 * PAGE_SIZE, MIGRATE_RW, MAP_SHARED);
	mock_mmap_file(test, device->file, MIGRATE_AT(8), PAGE_SIZE, MIGRATE_RW, MAP_SHARED);
	mock_mmap(test, MIGRATE_AT(9), PAGE_SIZE, MIGRATE_RW);
	/* Nothing of it was written to. */
	mock_mmap_file(test, file, MIGRATE_AT(16), 4 * PAGE_SIZE, MIGRATE_RW, MAP_PRIVATE);
	fput(file);
	migrate_fill(test, f, 0, 2);
	migrate_fill(test, f, 4, 2);
	migrate_fill(test, f, 9, 1);
	mock_cpu_load(test, MIGRATE_AT(16));
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 24));
	migrate_expect(test, f, 0, 2, HMM_PAGE_MOVED);
	migrate_expect(test, f, 2, 2, HMM_PAGE_UNMAPPED);
	migrate_expect(test, f, 4, 5, HMM_PAGE_UNSUPPORTED);
	migrate_expect(test, f, 9, 1, HMM_PAGE_MOVED);
	migrate_expect(test, f, 10, 6, HMM_PAGE_UNMAPPED);
	migrate_expect(test, f, 16, 4, HMM_PAGE_UNSUPPORTED);
	migrate_expect(test, f, 20, 4, HMM_PAGE_UNMAPPED);
	migrate_expect_count(test, f);
	migrate_expect_data(test, f, 0, 2);
	migrate_expect_data(test, f, 4, 2);
	migrate_expect_data(test, f, 9, 1);
	KUNIT_EXPECT_EQ(test, 3, atomic_read(&f->memory->pages[MOCK_COPY_IN]));
}

/* A private mapping of a file: the pages that the process has made its own. */
static void migrate_private_file(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	DECLARE_BITMAP(populate, 64);
	struct file *file;

	bitmap_fill(populate, 64);
	file = shmem_file_setup("hmm_migrate", 16 * PAGE_SIZE, EMPTY_VMA_FLAGS);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mock_mmap_file(test, file, MIGRATE_AT(0), 16 * PAGE_SIZE, MIGRATE_RW, MAP_PRIVATE);
	fput(file);
	migrate_fill(test, f, 3, 2);
	migrate_fill(test, f, 7, 1);
	mock_cpu_load(test, MIGRATE_AT(5));
	KUNIT_EXPECT_EQ(test, 0, migrate_call(f, 0, 16, 0, populate, true));
	migrate_expect(test, f, 0, 3, HMM_PAGE_UNSUPPORTED);
	migrate_expect(test, f, 3, 2, HMM_PAGE_MOVED);
	migrate_expect(test, f, 5, 2, HMM_PAGE_UNSUPPORTED);
	migrate_expect(test, f, 7, 1, HMM_PAGE_MOVED);
	migrate_expect(test, f, 8, 8, HMM_PAGE_UNSUPPORTED);
	migrate_expect_on_device(test, f, 3, 2);
	migrate_expect_count(test, f);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 16));
	migrate_expect(test, f, 3, 2, HMM_PAGE_THERE);
	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 16));
	migrate_expect(test, f, 0, 3, HMM_PAGE_UNSUPPORTED);
	migrate_expect(test, f, 3, 2, HMM_PAGE_MOVED);
	migrate_expect(test, f, 5, 1, HMM_PAGE_THERE);
	migrate_expect(test, f, 7, 1, HMM_PAGE_MOVED);
	migrate_expect_in_system(test, f, 3, 2);
	migrate_expect_in_system(test, f, 7, 1);
	migrate_expect_count(test, f);
}

/* What nobody asked for leaves locked memory alone. */
static void migrate_mlocked(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	struct vm_area_struct *vma;

	mock_mmap(test, MIGRATE_AT(0), 4 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 4);
	mmap_write_lock(current->mm);
	vma = find_vma(current->mm, MIGRATE_AT(0));
	if (vma)
		vm_flags_set(vma, VM_LOCKED);
	mmap_write_unlock(current->mm);
	KUNIT_EXPECT_EQ(test, 0, migrate_call(f, 0, 4, HMM_RMEM_MOVE_AUTO, NULL, true));
	migrate_expect(test, f, 0, 4, HMM_PAGE_UNSUPPORTED);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 4));
	migrate_expect(test, f, 0, 4, HMM_PAGE_MOVED);
	migrate_expect_on_device(test, f, 0, 4);
	migrate_expect_data(test, f, 0, 4);

	mmap_write_lock(current->mm);
	vma = find_vma(current->mm, MIGRATE_AT(0));
	if (vma)
		vm_flags_clear(vma, VM_LOCKED);
	mmap_write_unlock(current->mm);
}

/* Referenced, or locked: it stays, and its neighbours move. */
static void migrate_busy(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	struct page *pinned, *locked;

	mock_mmap(test, MIGRATE_AT(0), 16 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 16);
	pinned = migrate_get_page(test, 3);
	locked = migrate_get_page(test, 9);
	lock_page(locked);
	put_page(locked);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 16));
	unlock_page(locked);
	migrate_expect(test, f, 0, 3, HMM_PAGE_MOVED);
	migrate_expect(test, f, 3, 1, HMM_PAGE_BUSY);
	migrate_expect(test, f, 4, 5, HMM_PAGE_MOVED);
	migrate_expect(test, f, 9, 1, HMM_PAGE_BUSY);
	migrate_expect(test, f, 10, 6, HMM_PAGE_MOVED);
	KUNIT_EXPECT_EQ(test, 2, migrate_stat(f, HMM_RMEM_BUSY));
	KUNIT_EXPECT_PTR_EQ(test, pinned, mock_cpu_page(MIGRATE_AT(3)));
	migrate_expect_count(test, f);
	put_page(pinned);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 16));
	migrate_expect(test, f, 3, 1, HMM_PAGE_MOVED);
	migrate_expect(test, f, 9, 1, HMM_PAGE_MOVED);
	migrate_expect_on_device(test, f, 0, 16);

	/* The same on the way out. */
	pinned = migrate_device_page(f, 5);
	KUNIT_ASSERT_NOT_NULL(test, pinned);
	get_page(pinned);
	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 16));
	put_page(pinned);
	migrate_expect(test, f, 0, 5, HMM_PAGE_MOVED);
	migrate_expect(test, f, 5, 1, HMM_PAGE_BUSY);
	migrate_expect(test, f, 6, 10, HMM_PAGE_MOVED);
	KUNIT_EXPECT_EQ(test, 3, migrate_stat(f, HMM_RMEM_BUSY));
	migrate_expect_on_device(test, f, 5, 1);
	migrate_expect_data(test, f, 0, 16);
	migrate_expect_count(test, f);
}

/**
 * struct migrate_call_data - a call that is made by a thread
 * @f: fixture
 * @first: first page
 * @nr: pages
 * @populate: those to be populated
 * @in: which way
 */
struct migrate_call_data {
	struct migrate_fixture *f;
	unsigned long first;
	unsigned long nr;
	const unsigned long *populate;
	bool in;
};

static int migrate_call_thread(void *data)
{
	struct migrate_call_data *call = data;

	return migrate_call(call->f, call->first, call->nr, 0, call->populate, call->in);
}

/* Somebody takes a reference while the copy is under way: it was made in vain. */
static void migrate_busy_in_mid_copy(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	struct migrate_call_data call = { .f = f, .nr = 8, .in = true };
	struct mock_thread *thread;
	struct page *page;

	mock_mmap(test, MIGRATE_AT(0), 8 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 8);
	page = mock_cpu_page(MIGRATE_AT(2));
	mock_memory_arm(f->memory, MOCK_COPY_IN);
	thread = mock_thread_run(test, current->mm, migrate_call_thread, &call);
	KUNIT_ASSERT_TRUE(test, mock_memory_wait(f->memory, MOCK_COPY_IN));
	get_page(page);
	mock_memory_open(f->memory, MOCK_COPY_IN);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
	put_page(page);
	migrate_expect(test, f, 0, 2, HMM_PAGE_MOVED);
	migrate_expect(test, f, 2, 1, HMM_PAGE_BUSY);
	migrate_expect(test, f, 3, 5, HMM_PAGE_MOVED);
	KUNIT_EXPECT_PTR_EQ(test, page, mock_cpu_page(MIGRATE_AT(2)));
	migrate_expect_count(test, f);
	migrate_expect_data(test, f, 0, 8);

	/* And on the way out. */
	KUNIT_ASSERT_EQ(test, 0, migrate_in(f, 0, 8));
	page = migrate_device_page(f, 4);
	KUNIT_ASSERT_NOT_NULL(test, page);
	call.in = false;
	mock_memory_arm(f->memory, MOCK_COPY_OUT);
	thread = mock_thread_run(test, current->mm, migrate_call_thread, &call);
	KUNIT_ASSERT_TRUE(test, mock_memory_wait(f->memory, MOCK_COPY_OUT));
	get_page(page);
	mock_memory_open(f->memory, MOCK_COPY_OUT);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
	put_page(page);
	migrate_expect(test, f, 0, 4, HMM_PAGE_MOVED);
	migrate_expect(test, f, 4, 1, HMM_PAGE_BUSY);
	migrate_expect(test, f, 5, 3, HMM_PAGE_MOVED);
	migrate_expect_on_device(test, f, 4, 1);
	migrate_expect_count(test, f);
	migrate_expect_data(test, f, 0, 8);
}

/* The CPU writes to an empty page while a page of zeroes is made for it. */
static void migrate_populate_raced(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	DECLARE_BITMAP(populate, 64) = { 0xff };
	struct migrate_call_data call = {
		.f = f, .nr = 8, .populate = populate, .in = true,
	};
	struct mock_thread *thread;

	mock_mmap(test, MIGRATE_AT(0), 8 * PAGE_SIZE, MIGRATE_RW);
	mock_memory_arm(f->memory, MOCK_COPY_CLEAR);
	thread = mock_thread_run(test, current->mm, migrate_call_thread, &call);
	KUNIT_ASSERT_TRUE(test, mock_memory_wait(f->memory, MOCK_COPY_CLEAR));
	mock_cpu_store(test, MIGRATE_AT(6), 99);
	mock_memory_open(f->memory, MOCK_COPY_CLEAR);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
	migrate_expect(test, f, 0, 6, HMM_PAGE_MOVED);
	migrate_expect(test, f, 6, 1, HMM_PAGE_BUSY);
	migrate_expect(test, f, 7, 1, HMM_PAGE_MOVED);
	migrate_expect_count(test, f);
	KUNIT_EXPECT_EQ(test, 99, mock_cpu_load(test, MIGRATE_AT(6)));
	KUNIT_EXPECT_EQ(test, 7, migrate_stat(f, HMM_RMEM_IN_ZERO));
}

/* More than there is room for: others go. */
static void migrate_evicts(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 2);
	unsigned long nr = 3 * MIGRATE_CHUNK;

	mock_mmap(test, MIGRATE_AT(0), nr * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, nr);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, nr));
	migrate_expect(test, f, 0, nr, HMM_PAGE_MOVED);
	KUNIT_EXPECT_EQ(test, 2 * MIGRATE_CHUNK, migrate_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, MIGRATE_CHUNK, migrate_stat(f, HMM_RMEM_OUT_EVICT));
	KUNIT_EXPECT_EQ(test, 0, migrate_stat(f, HMM_RMEM_FULL));
	migrate_expect_on_device(test, f, nr - MIGRATE_CHUNK, MIGRATE_CHUNK);
	migrate_expect_data(test, f, 0, nr);
	migrate_expect_count(test, f);
}

/* Somebody has all of it, and nothing of that can be moved. */
static void migrate_full(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	struct page **pages = kunit_kcalloc(test, MIGRATE_CHUNK, sizeof(*pages), GFP_KERNEL);
	unsigned long got;

	KUNIT_ASSERT_NOT_NULL(test, pages);
	mock_mmap(test, MIGRATE_AT(0), 16 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 16);
	got = hmm_rmem_alloc(f->rmem, pages, MIGRATE_CHUNK - 4);
	KUNIT_ASSERT_EQ(test, MIGRATE_CHUNK - 4, got);
	/* Room for just these. */
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 4));
	migrate_expect(test, f, 0, 4, HMM_PAGE_MOVED);
	KUNIT_EXPECT_EQ(test, 0, hmm_rmem_nr_free(f->rmem));
	hmm_rmem_free(f->rmem, pages, got);
	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 4));

	got = hmm_rmem_alloc(f->rmem, pages, MIGRATE_CHUNK);
	KUNIT_ASSERT_EQ(test, MIGRATE_CHUNK, got);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 16));
	migrate_expect(test, f, 0, 16, HMM_PAGE_FULL);
	KUNIT_EXPECT_EQ(test, 16, migrate_stat(f, HMM_RMEM_FULL));
	KUNIT_EXPECT_EQ(test, 0, f->move.moved);
	migrate_expect_in_system(test, f, 0, 16);
	hmm_rmem_free(f->rmem, pages, got);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 16));
	migrate_expect(test, f, 0, 16, HMM_PAGE_MOVED);
	migrate_expect_data(test, f, 0, 16);
}

/* Copies fail for good: nothing moves, and nothing is lost. */
static void migrate_copy_fails(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	DECLARE_BITMAP(populate, 64);
	unsigned long free;

	bitmap_fill(populate, 64);
	mock_mmap(test, MIGRATE_AT(0), 32 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 16);
	free = hmm_rmem_nr_free(f->rmem);
	mock_memory_fail(f->memory, -EIO, -1);
	KUNIT_EXPECT_EQ(test, 0, migrate_call(f, 0, 32, 0, populate, true));
	migrate_expect(test, f, 0, 32, HMM_PAGE_FAILED);
	KUNIT_EXPECT_EQ(test, free, hmm_rmem_nr_free(f->rmem));
	KUNIT_EXPECT_EQ(test, 0, migrate_stat(f, HMM_RMEM_IN));
	KUNIT_EXPECT_GE(test, migrate_stat(f, HMM_RMEM_COPY_ERRORS), 32);
	migrate_expect_in_system(test, f, 0, 16);
	KUNIT_EXPECT_EQ(test, 0, mock_cpu_load(test, MIGRATE_AT(20)));
	migrate_expect_count(test, f);

	mock_memory_fail(f->memory, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 16));
	migrate_expect(test, f, 0, 16, HMM_PAGE_MOVED);
	mock_memory_fail(f->memory, -EIO, -1);
	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 16));
	migrate_expect(test, f, 0, 16, HMM_PAGE_FAILED);
	migrate_expect_on_device(test, f, 0, 16);
	migrate_expect_count(test, f);
	mock_memory_fail(f->memory, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 16));
	migrate_expect(test, f, 0, 16, HMM_PAGE_MOVED);
	migrate_expect_in_system(test, f, 0, 16);
	migrate_expect_count(test, f);
}

/* One page cannot be copied: the others can. */
static void migrate_copy_fails_once(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	struct page *page;

	mock_mmap(test, MIGRATE_AT(0), 16 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 16);
	f->memory->bad_offset = 0;
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 16));
	KUNIT_EXPECT_EQ(test, 15, f->move.moved);
	KUNIT_EXPECT_PTR_NE(test, NULL, memchr(f->results, HMM_PAGE_FAILED, 16));
	f->memory->bad_offset = MOCK_MEMORY_NO_PAGE;
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 16));
	KUNIT_EXPECT_EQ(test, 1, f->move.moved);
	migrate_expect_on_device(test, f, 0, 16);

	page = migrate_device_page(f, 7);
	KUNIT_ASSERT_NOT_NULL(test, page);
	f->memory->bad_offset = hmm_rmem_offset(&f->memory->device->hmm, page);
	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 16));
	migrate_expect(test, f, 0, 7, HMM_PAGE_MOVED);
	migrate_expect(test, f, 7, 1, HMM_PAGE_FAILED);
	migrate_expect(test, f, 8, 8, HMM_PAGE_MOVED);
	f->memory->bad_offset = MOCK_MEMORY_NO_PAGE;
	migrate_expect_data(test, f, 0, 16);
	migrate_expect_count(test, f);
}

static void migrate_copy_no_memory(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);

	mock_mmap(test, MIGRATE_AT(0), 4 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 4);
	f->memory->start_error = -ENOMEM;
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 4));
	migrate_expect(test, f, 0, 4, HMM_PAGE_FULL);
	f->memory->start_error = 0;
	migrate_expect_in_system(test, f, 0, 4);
	migrate_expect_count(test, f);
}

/* A CPU fault whose copy fails is tried until it works. */
static void migrate_fault_copy_fails(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);

	mock_mmap(test, MIGRATE_AT(0), 4 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 4);
	KUNIT_ASSERT_EQ(test, 0, migrate_in(f, 0, 4));
	mock_memory_fail(f->memory, -EIO, 40);
	migrate_expect_data(test, f, 0, 4);
	KUNIT_EXPECT_GE(test, migrate_stat(f, HMM_RMEM_COPY_ERRORS), 40);
	mock_memory_check_accounts(test, f->memory);
}

/* The device is lost while pages move in: they are where they were. */
static void migrate_lost_in(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 2);

	mock_mmap(test, MIGRATE_AT(0), 600 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 600);
	mock_memory_fail(f->memory, -ENODEV, -1);
	KUNIT_EXPECT_EQ(test, -ENODEV, migrate_in(f, 0, 600));
	migrate_expect(test, f, 0, MIGRATE_CHUNK, HMM_PAGE_FAILED);
	migrate_expect(test, f, MIGRATE_CHUNK, 600 - MIGRATE_CHUNK, HMM_PAGE_SKIPPED);
	KUNIT_EXPECT_EQ(test, 0, f->move.moved);
	migrate_expect_in_system(test, f, 0, 600);
	KUNIT_EXPECT_EQ(test, 0, migrate_stat(f, HMM_RMEM_LOST));
	KUNIT_EXPECT_EQ(test, -ENODEV, migrate_in(f, 0, 600));
	migrate_expect(test, f, 0, 600, HMM_PAGE_SKIPPED);
}

/* Pages on the device when it is lost. */
static void migrate_lost_out(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	u64 value;

	mock_mmap(test, MIGRATE_AT(0), 16 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 16);
	KUNIT_ASSERT_EQ(test, 0, migrate_in(f, 4, 8));
	WRITE_ONCE(f->memory->lost, true);
	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 16));
	migrate_expect(test, f, 0, 4, HMM_PAGE_THERE);
	migrate_expect(test, f, 4, 8, HMM_PAGE_LOST);
	migrate_expect(test, f, 12, 4, HMM_PAGE_THERE);
	KUNIT_EXPECT_EQ(test, 8, migrate_stat(f, HMM_RMEM_LOST));
	/* SIGBUS to a process, an error to the kernel. */
	KUNIT_EXPECT_EQ(test, -EFAULT, get_user(value, (u64 __user *)MIGRATE_AT(4)));
	KUNIT_EXPECT_EQ(test, -EFAULT, put_user(value, (u64 __user *)MIGRATE_AT(11)));
	migrate_expect_data(test, f, 0, 4);
	migrate_expect_data(test, f, 12, 4);
	/* The addresses can be used again. */
	mock_cpu_zap(MIGRATE_AT(4), 8 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 0, mock_cpu_load(test, MIGRATE_AT(4)));
	KUNIT_EXPECT_EQ(test, 8, migrate_stat(f, HMM_RMEM_LOST));
}

/* The CPU is the one that finds out. */
static void migrate_lost_fault(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	u64 value = 0;

	mock_mmap(test, MIGRATE_AT(0), 4 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 4);
	KUNIT_ASSERT_EQ(test, 0, migrate_in(f, 0, 4));
	WRITE_ONCE(f->memory->lost, true);
	KUNIT_EXPECT_EQ(test, -EFAULT, get_user(value, (u64 __user *)MIGRATE_AT(1)));
	KUNIT_EXPECT_EQ(test, 0, value);
	KUNIT_EXPECT_EQ(test, 4, migrate_stat(f, HMM_RMEM_LOST));
}

static void migrate_closed(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);

	mock_mmap(test, MIGRATE_AT(0), 8 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 8);
	KUNIT_ASSERT_EQ(test, 0, migrate_in(f, 0, 4));
	hmm_rmem_close(f->rmem);
	KUNIT_EXPECT_EQ(test, -ENODEV, migrate_in(f, 0, 8));
	migrate_expect(test, f, 0, 8, HMM_PAGE_SKIPPED);
	KUNIT_EXPECT_EQ(test, 0, f->move.moved);
	/* Out is what it is closed for. */
	KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 8));
	migrate_expect(test, f, 0, 4, HMM_PAGE_MOVED);
	migrate_expect(test, f, 4, 4, HMM_PAGE_THERE);
	hmm_rmem_reopen(f->rmem);
	migrate_expect_data(test, f, 0, 8);
}

/* The pool outlives its device, but does nothing any more. */
static void migrate_detached(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);

	mock_mmap(test, MIGRATE_AT(0), 4 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 4);
	hmm_rmem_get(f->rmem);
	mock_device_unregister(f->memory->device);
	KUNIT_EXPECT_EQ(test, -ENODEV, migrate_in(f, 0, 4));
	KUNIT_EXPECT_EQ(test, -ENODEV, migrate_out(f, 0, 4));
	migrate_expect(test, f, 0, 4, HMM_PAGE_SKIPPED);
	hmm_rmem_put(f->rmem);
	migrate_expect_data(test, f, 0, 4);
}

/* Another device has them: they come by way of system memory, if that is wanted. */
static void migrate_from_other_device(struct kunit *test)
{
	struct migrate_fixture *a = migrate_begin(test, 1);
	struct migrate_fixture *b = migrate_begin(test, 1);

	mock_mmap(test, MIGRATE_AT(0), 16 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, a, 0, 16);
	KUNIT_ASSERT_EQ(test, 0, migrate_in(a, 4, 8));
	KUNIT_EXPECT_EQ(test, 0, migrate_call(b, 0, 16, 0, NULL, true));
	migrate_expect(test, b, 0, 4, HMM_PAGE_MOVED);
	migrate_expect(test, b, 4, 8, HMM_PAGE_BUSY);
	migrate_expect(test, b, 12, 4, HMM_PAGE_MOVED);
	migrate_expect_on_device(test, a, 4, 8);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(b, 0, 16));
	migrate_expect(test, b, 0, 4, HMM_PAGE_THERE);
	migrate_expect(test, b, 4, 8, HMM_PAGE_MOVED);
	migrate_expect(test, b, 12, 4, HMM_PAGE_THERE);
	migrate_expect_on_device(test, b, 0, 16);
	KUNIT_EXPECT_EQ(test, 0, migrate_stat(a, HMM_RMEM_USED));
	migrate_expect_count(test, b);

	/* Out of the other's memory: only when asked to fetch it. */
	KUNIT_EXPECT_EQ(test, 0, migrate_call(a, 0, 16, 0, NULL, false));
	migrate_expect(test, a, 0, 16, HMM_PAGE_BUSY);
	KUNIT_EXPECT_EQ(test, 0, migrate_out(a, 0, 16));
	migrate_expect(test, a, 0, 16, HMM_PAGE_THERE);
	migrate_expect_in_system(test, b, 0, 16);
	mock_memory_check_accounts(test, a->memory);
	mock_memory_check_accounts(test, b->memory);
}

/* Another device had them, and is lost. */
static void migrate_lost_on_other_device(struct kunit *test)
{
	struct migrate_fixture *a = migrate_begin(test, 1);
	struct migrate_fixture *b = migrate_begin(test, 1);

	mock_mmap(test, MIGRATE_AT(0), 8 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, a, 0, 8);
	KUNIT_ASSERT_EQ(test, 0, migrate_in(a, 2, 3));
	WRITE_ONCE(a->memory->lost, true);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(b, 0, 8));
	migrate_expect(test, b, 0, 2, HMM_PAGE_MOVED);
	migrate_expect(test, b, 2, 3, HMM_PAGE_LOST);
	migrate_expect(test, b, 5, 3, HMM_PAGE_MOVED);
	KUNIT_EXPECT_EQ(test, 0, migrate_out(b, 0, 8));
	migrate_expect(test, b, 0, 2, HMM_PAGE_MOVED);
	migrate_expect(test, b, 2, 3, HMM_PAGE_LOST);
	migrate_expect(test, b, 5, 3, HMM_PAGE_MOVED);
	migrate_expect_data(test, b, 0, 2);
	migrate_expect_data(test, b, 5, 3);
	mock_memory_check_accounts(test, b->memory);
}

#ifndef HMM_HAVE_MAKE_DEVICE_EXCLUSIVE
/* A device has the page to itself, where it is: the CPU's fault ends that first. */
static void migrate_exclusive(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	struct page *page = NULL;
	int nr;

	mock_mmap(test, MIGRATE_AT(0), 4 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 4);
	mmap_read_lock(current->mm);
	nr = make_device_exclusive_range(current->mm, MIGRATE_AT(1), MIGRATE_AT(2), &page,
					 NULL);
	mmap_read_unlock(current->mm);
	KUNIT_ASSERT_EQ(test, 1, nr);
	KUNIT_ASSERT_NOT_NULL(test, page);
	unlock_page(page);
	put_page(page);
	KUNIT_EXPECT_EQ(test, 0, migrate_call(f, 1, 1, 0, NULL, true));
	migrate_expect(test, f, 0, 1, HMM_PAGE_BUSY);
	KUNIT_EXPECT_EQ(test, 0, migrate_call(f, 1, 1, 0, NULL, false));
	migrate_expect(test, f, 0, 1, HMM_PAGE_THERE);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 4));
	migrate_expect(test, f, 0, 4, HMM_PAGE_MOVED);
	migrate_expect_on_device(test, f, 0, 4);
	migrate_expect_data(test, f, 0, 4);
}
#endif

/* A huge page, all of it and then a part. */
static void migrate_huge(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 3);
	struct hmm_swp_place place;

	mock_mmap(test, MIGRATE_AT(0), 2 * PMD_SIZE, MIGRATE_RW);
	mock_cpu_advise_huge(test, MIGRATE_AT(0));
	migrate_fill(test, f, 0, 2 * MIGRATE_CHUNK);
	mmap_read_lock(current->mm);
	hmm_swp_look(current->mm, MIGRATE_AT(0), &place);
	mmap_read_unlock(current->mm);
	if (!place.huge)
		kunit_skip(test, "no huge page to be had");
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, MIGRATE_CHUNK));
	migrate_expect(test, f, 0, MIGRATE_CHUNK, HMM_PAGE_MOVED);
	migrate_expect_on_device(test, f, 0, MIGRATE_CHUNK);
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, MIGRATE_CHUNK + 100, 100));
	migrate_expect(test, f, 0, 100, HMM_PAGE_MOVED);
	migrate_expect_on_device(test, f, MIGRATE_CHUNK + 100, 100);
	migrate_expect_count(test, f);
	migrate_expect_data(test, f, 0, 2 * MIGRATE_CHUNK);
	mock_memory_check_accounts(test, f->memory);
}

/* Freed where it is: munmap(). */
static void migrate_unmap(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);

	mock_mmap(test, MIGRATE_AT(0), 16 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 16);
	KUNIT_ASSERT_EQ(test, 0, migrate_in(f, 0, 16));
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(MIGRATE_AT(4), 8 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 8, migrate_stat(f, HMM_RMEM_DROPPED));
	KUNIT_EXPECT_EQ(test, 8, migrate_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 16));
	migrate_expect(test, f, 0, 4, HMM_PAGE_THERE);
	migrate_expect(test, f, 4, 8, HMM_PAGE_UNMAPPED);
	migrate_expect(test, f, 12, 4, HMM_PAGE_THERE);
	migrate_expect_data(test, f, 0, 4);
	migrate_expect_data(test, f, 12, 4);
	mock_memory_check_accounts(test, f->memory);
}

static int migrate_killed_thread(void *data)
{
	struct migrate_call_data *call = data;

	allow_signal(SIGKILL);
	send_sig(SIGKILL, current, 1);
	return migrate_call(call->f, call->first, call->nr, 0, NULL, call->in);
}

static void migrate_killed(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	struct migrate_call_data call = { .f = f, .nr = 4, .in = true };
	struct mock_thread *thread;

	mock_mmap(test, MIGRATE_AT(0), 4 * PAGE_SIZE, MIGRATE_RW);
	migrate_fill(test, f, 0, 4);
	thread = mock_thread_run(test, current->mm, migrate_killed_thread, &call);
	KUNIT_EXPECT_EQ(test, -EINTR, mock_thread_join(test, thread));
	migrate_expect(test, f, 0, 4, HMM_PAGE_SKIPPED);
	KUNIT_EXPECT_EQ(test, 0, f->move.moved);
}

/**
 * struct migrate_storm - threads that touch pages while these move
 * @f: fixture
 * @next: number of the next thread
 * @stop: come to an end
 */
struct migrate_storm {
	struct migrate_fixture *f;
	atomic_t next;
	bool stop;
};

/* Each has a word of its own in each page, and counts in it. */
static int migrate_storm_thread(void *data)
{
	struct migrate_storm *storm = data;
	unsigned long n, slot = atomic_inc_return(&storm->next);
	u64 __user *word;
	u64 round, value;

	for (round = 0; !READ_ONCE(storm->stop); round++) {
		for (n = 0; n < 16; n++) {
			word = (u64 __user *)(MIGRATE_AT(n) + slot * sizeof(u64));
			if (get_user(value, word) || value != round ||
			    put_user(value + 1, word))
				return -EIO;
		}
		cond_resched();
	}
	return 0;
}

static void migrate_storm(struct kunit *test)
{
	struct migrate_fixture *f = migrate_begin(test, 1);
	struct migrate_storm storm = { .f = f };
	struct mock_thread *threads[4];
	unsigned long deadline;
	int i, round;

	mock_mmap(test, MIGRATE_AT(0), 16 * PAGE_SIZE, MIGRATE_RW);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		threads[i] = mock_thread_run(test, current->mm, migrate_storm_thread, &storm);
	/* The threads may not have run at all yet. */
	deadline = jiffies + MOCK_PATIENCE;
	for (round = 0; round < 60 || (!migrate_stat(f, HMM_RMEM_OUT_FAULT) &&
				       time_before(jiffies, deadline)); round++) {
		KUNIT_EXPECT_EQ(test, 0, migrate_in(f, 0, 16));
		if (round % 4 == 3)
			KUNIT_EXPECT_EQ(test, 0, migrate_out(f, 0, 16));
		cond_resched();
	}
	WRITE_ONCE(storm.stop, true);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, threads[i]));
	kunit_info(test, "%llu pages in, %llu out by %llu CPU faults, %llu busy\n",
		   migrate_stat(f, HMM_RMEM_IN), migrate_stat(f, HMM_RMEM_OUT_FAULT),
		   migrate_stat(f, HMM_RMEM_CPU_FAULTS), migrate_stat(f, HMM_RMEM_BUSY));
	KUNIT_EXPECT_GT(test, migrate_stat(f, HMM_RMEM_OUT_FAULT), 0);
	mock_memory_check_accounts(test, f->memory);
}

static struct kunit_case hmm_migrate_cases[] = {
	KUNIT_CASE(migrate_round_trip),
	KUNIT_CASE(migrate_cpu_fault),
	KUNIT_CASE(migrate_cpu_writes),
	KUNIT_CASE(migrate_read_only),
	KUNIT_CASE(migrate_empty),
	KUNIT_CASE(migrate_populate),
	KUNIT_CASE(migrate_populate_inaccessible),
	KUNIT_CASE(migrate_populate_raced),
	KUNIT_CASE(migrate_unsupported),
	KUNIT_CASE(migrate_private_file),
	KUNIT_CASE(migrate_mlocked),
	KUNIT_CASE(migrate_busy),
	KUNIT_CASE(migrate_busy_in_mid_copy),
	KUNIT_CASE(migrate_evicts),
	KUNIT_CASE(migrate_full),
	KUNIT_CASE(migrate_copy_fails),
	KUNIT_CASE(migrate_copy_fails_once),
	KUNIT_CASE(migrate_copy_no_memory),
	KUNIT_CASE(migrate_fault_copy_fails),
	KUNIT_CASE(migrate_lost_in),
	KUNIT_CASE(migrate_lost_out),
	KUNIT_CASE(migrate_lost_fault),
	KUNIT_CASE(migrate_closed),
	KUNIT_CASE(migrate_detached),
	KUNIT_CASE(migrate_from_other_device),
	KUNIT_CASE(migrate_lost_on_other_device),
#ifndef HMM_HAVE_MAKE_DEVICE_EXCLUSIVE
	KUNIT_CASE(migrate_exclusive),
#endif
	KUNIT_CASE(migrate_huge),
	KUNIT_CASE(migrate_unmap),
	KUNIT_CASE(migrate_killed),
	KUNIT_CASE_SLOW(migrate_storm),
	{}
};

static struct kunit_suite hmm_migrate_suite = {
	.name = "hmm_migrate",
	.test_cases = hmm_migrate_cases,
};

kunit_test_suite(hmm_migrate_suite);

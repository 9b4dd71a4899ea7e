// SPDX-License-Identifier: GPL-2.0
/*
 * Special entries: decoding, against what the kernel's own macros encode; finding one in
 * the page table; windows; and faults of many threads on one page.
 *
 * Owns nothing that outlives a test.  The rule behind the last part: of the threads at one
 * page one works and the others wait, and all of them go on, whatever the work leads to.
 */
#include <kunit/test.h>
#include <kunit/visibility.h>
#include <linux/delay.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/swapops.h>
#include <linux/uaccess.h>
#include "../../hmm/hmm_private.h"
#include "../../swap_entry/entry.h"
#include "mock_device.h"
#include "mock_memory.h"
#include "mock_user.h"

#define SWP_RW		(PROT_READ | PROT_WRITE)
#define SWP_AT(n)	(MOCK_BASE + (n) * PAGE_SIZE)

static struct page *swp_page(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, (kunit_action_t *)put_page,
							   page));
	return page;
}

static void swp_expect(struct kunit *test, pte_t pte, enum hmm_swp_kind kind,
		       unsigned long pfn)
{
	struct hmm_swp_entry entry = hmm_swp_from_pte(pte);

	KUNIT_EXPECT_EQ(test, (int)kind, (int)entry.kind);
	KUNIT_EXPECT_EQ(test, pfn, entry.pfn);
}

/* An entry, and the same with the marks that the kernel leaves in entries. */
static void swp_expect_entry(struct kunit *test, swp_entry_t entry, enum hmm_swp_kind kind,
			     unsigned long pfn)
{
	pte_t pte = swp_entry_to_pte(entry);

	swp_expect(test, pte, kind, pfn);
	swp_expect(test, pte_swp_mksoft_dirty(pte), kind, pfn);
	swp_expect(test, pte_swp_mkuffd_wp(pte), kind, pfn);
	swp_expect(test, pte_swp_mkuffd_wp(pte_swp_mksoft_dirty(pte)), kind, pfn);
}

static void swp_decode_private(struct kunit *test)
{
	unsigned long pfn = page_to_pfn(swp_page(test));

	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		kunit_skip(test, "the kernel has no device-private pages");
	swp_expect_entry(test, make_readable_device_private_entry(pfn),
			 HMM_SWP_PRIVATE_READ, pfn);
	swp_expect_entry(test, make_writable_device_private_entry(pfn),
			 HMM_SWP_PRIVATE_WRITE, pfn);
}

static void swp_decode_exclusive(struct kunit *test)
{
	unsigned long pfn = page_to_pfn(swp_page(test));

	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		kunit_skip(test, "the kernel has no entries for devices");
#ifdef HMM_HAVE_MAKE_DEVICE_EXCLUSIVE
	swp_expect_entry(test, make_device_exclusive_entry(pfn), HMM_SWP_EXCLUSIVE, pfn);
#else
	swp_expect_entry(test, make_readable_device_exclusive_entry(pfn),
			 HMM_SWP_EXCLUSIVE, pfn);
	swp_expect_entry(test, make_writable_device_exclusive_entry(pfn),
			 HMM_SWP_EXCLUSIVE, pfn);
#endif
}

static void swp_decode_migration(struct kunit *test)
{
	unsigned long pfn = page_to_pfn(swp_page(test));
	swp_entry_t entry = make_writable_migration_entry(pfn);

	swp_expect_entry(test, make_readable_migration_entry(pfn), HMM_SWP_MOVING, pfn);
	swp_expect_entry(test, make_readable_exclusive_migration_entry(pfn),
			 HMM_SWP_MOVING, pfn);
	swp_expect_entry(test, entry, HMM_SWP_MOVING, pfn);
	/* The accessed and the dirty bit are kept in the entry, beside the pfn. */
	entry.val |= SWP_MIG_YOUNG | SWP_MIG_DIRTY;
	swp_expect_entry(test, entry, HMM_SWP_MOVING, pfn);
}

static void swp_decode_others(struct kunit *test)
{
	struct page *page = swp_page(test);

	swp_expect(test, __pte(0), HMM_SWP_NONE, 0);
	swp_expect_entry(test, swp_entry(0, 17), HMM_SWP_SWAPPED, 0);
	swp_expect_entry(test, swp_entry(3, 123456789), HMM_SWP_SWAPPED, 0);
	swp_expect(test, make_pte_marker(PTE_MARKER_UFFD_WP), HMM_SWP_NONE, 0);
	swp_expect(test, pfn_pte(page_to_pfn(page), PAGE_READONLY), HMM_SWP_PAGE,
		   page_to_pfn(page));
	swp_expect(test, pfn_pte(page_to_pfn(page), PAGE_NONE), HMM_SWP_PAGE,
		   page_to_pfn(page));
	swp_expect(test, pte_mkspecial(pfn_pte(page_to_pfn(page), PAGE_READONLY)),
		   HMM_SWP_OTHER, 0);
	swp_expect(test, pte_mkspecial(mk_pte(ZERO_PAGE(0), PAGE_READONLY)),
		   HMM_SWP_ZERO, 0);
	if (IS_ENABLED(CONFIG_MEMORY_FAILURE)) {
		lock_page(page);
		swp_expect_entry(test, make_hwpoison_entry(page), HMM_SWP_OTHER, 0);
		unlock_page(page);
	}
}

static void swp_encode(struct kunit *test)
{
	struct page *page = swp_page(test);
	struct hmm_swp_entry entry;
	softleaf_t leaf;
	int write;

	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		kunit_skip(test, "the kernel has no device-private pages");
	for (write = 0; write < 2; write++) {
		entry = hmm_swp_mk_private(page, write);
		KUNIT_EXPECT_TRUE(test, hmm_swp_is_private(entry));
		KUNIT_EXPECT_PTR_EQ(test, page, hmm_swp_to_page(entry));
		leaf = softleaf_from_pte(hmm_swp_to_pte(entry));
		KUNIT_EXPECT_TRUE(test, softleaf_is_device_private(leaf));
		KUNIT_EXPECT_EQ(test, write, softleaf_is_device_private_write(leaf));
		swp_expect(test, hmm_swp_to_pte(entry), entry.kind, page_to_pfn(page));
	}
}

static void swp_look_at(struct kunit *test, unsigned long addr, struct hmm_swp_place *place)
{
	mmap_read_lock(current->mm);
	hmm_swp_look(current->mm, addr, place);
	mmap_read_unlock(current->mm);
}

static void swp_look(struct kunit *test)
{
	struct hmm_swp_place place;
	struct file *file;

	mock_mmap(test, MOCK_BASE, 4 * PAGE_SIZE, SWP_RW);
	swp_look_at(test, SWP_AT(0), &place);
	KUNIT_EXPECT_EQ(test, HMM_SWP_NONE, place.entry.kind);

	mock_cpu_load(test, SWP_AT(0));
	swp_look_at(test, SWP_AT(0), &place);
	KUNIT_EXPECT_EQ(test, HMM_SWP_ZERO, place.entry.kind);
	swp_look_at(test, SWP_AT(1), &place);
	KUNIT_EXPECT_EQ(test, HMM_SWP_NONE, place.entry.kind);

	mock_cpu_store(test, SWP_AT(1), 1);
	swp_look_at(test, SWP_AT(1), &place);
	KUNIT_EXPECT_EQ(test, HMM_SWP_PAGE, place.entry.kind);
	KUNIT_EXPECT_PTR_EQ(test, mock_cpu_page(SWP_AT(1)), hmm_swp_to_page(place.entry));
	KUNIT_EXPECT_TRUE(test, place.anon);
	KUNIT_EXPECT_FALSE(test, place.large);
	KUNIT_EXPECT_FALSE(test, place.huge);
	KUNIT_EXPECT_FALSE(test, place.ksm);

	file = shmem_file_setup("hmm_swp", PAGE_SIZE, EMPTY_VMA_FLAGS);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mock_mmap_file(test, file, SWP_AT(4), PAGE_SIZE, SWP_RW, MAP_SHARED);
	fput(file);
	mock_cpu_store(test, SWP_AT(4), 1);
	swp_look_at(test, SWP_AT(4), &place);
	KUNIT_EXPECT_EQ(test, HMM_SWP_PAGE, place.entry.kind);
	KUNIT_EXPECT_FALSE(test, place.anon);
}

static void swp_look_huge(struct kunit *test)
{
	unsigned long last = MOCK_BASE + PMD_SIZE - PAGE_SIZE;
	struct hmm_swp_place place;

	mock_mmap(test, MOCK_BASE, PMD_SIZE, SWP_RW);
	mock_cpu_advise_huge(test, MOCK_BASE);
	mock_cpu_store(test, MOCK_BASE, 1);
	swp_look_at(test, last, &place);
	if (!place.huge)
		kunit_skip(test, "no huge page to be had");
	KUNIT_EXPECT_EQ(test, HMM_SWP_PAGE, place.entry.kind);
	KUNIT_EXPECT_PTR_EQ(test, mock_cpu_page(last), hmm_swp_to_page(place.entry));
	KUNIT_EXPECT_TRUE(test, place.anon);
	KUNIT_EXPECT_TRUE(test, place.large);
}

/**
 * struct swp_window_case - one fault and its window, all in pages
 * @addr: where
 * @start: first page that it brings
 * @end: page after the last
 */
struct swp_window_case {
	unsigned long addr;
	unsigned long start;
	unsigned long end;
};

#define SWP_WINDOW_BASE	(64ul << 30)

static struct hmm_swp_memory *swp_memory(struct kunit *test)
{
	struct hmm_swp_memory *memory = kunit_kzalloc(test, sizeof(*memory), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, memory);
	hmm_swp_window_init(memory);
	return memory;
}

static void swp_window_from_to(struct kunit *test, struct hmm_swp_memory *memory,
			       const struct mm_struct *mm, const struct swp_window_case *c,
			       unsigned long from, unsigned long to)
{
	unsigned long start = 0, end = 0;

	hmm_swp_window(memory, mm, SWP_WINDOW_BASE + (c->addr << PAGE_SHIFT),
		       SWP_WINDOW_BASE + (from << PAGE_SHIFT),
		       SWP_WINDOW_BASE + (to << PAGE_SHIFT), &start, &end);
	KUNIT_EXPECT_EQ_MSG(test, c->start, (start - SWP_WINDOW_BASE) >> PAGE_SHIFT,
			    "start of %lu", c->addr);
	KUNIT_EXPECT_EQ_MSG(test, c->end, (end - SWP_WINDOW_BASE) >> PAGE_SHIFT,
			    "end of %lu", c->addr);
}

static void swp_windows(struct kunit *test, const struct swp_window_case *cases, int nr)
{
	struct hmm_swp_memory *memory = swp_memory(test);
	int i;

	for (i = 0; i < nr; i++)
		swp_window_from_to(test, memory, current->mm, &cases[i], 0, 1 << 18);
}

/* 64 KiB, and twice as much each time, to 2 MiB and no further. */
static void swp_window_upwards(struct kunit *test)
{
	static const struct swp_window_case cases[] = {
		{ 0, 0, 16 }, { 16, 0, 32 }, { 32, 0, 64 }, { 64, 0, 128 },
		{ 128, 0, 256 }, { 256, 0, 512 }, { 512, 512, 1024 },
		{ 1024, 1024, 1536 }, { 1536, 1536, 2048 },
	};

	swp_windows(test, cases, ARRAY_SIZE(cases));
}

static void swp_window_downwards(struct kunit *test)
{
	static const struct swp_window_case cases[] = {
		{ 4095, 4080, 4096 }, { 4079, 4064, 4096 }, { 4063, 4032, 4096 },
		{ 4031, 3968, 4096 }, { 3967, 3840, 4096 }, { 3839, 3584, 4096 },
		{ 3583, 3072, 3584 }, { 3071, 2560, 3072 },
	};

	swp_windows(test, cases, ARRAY_SIZE(cases));
}

/* What was brought is asked for again: it had gone to the device. */
static void swp_window_ping_pong(struct kunit *test)
{
	static const struct swp_window_case cases[] = {
		{ 0, 0, 16 }, { 16, 0, 32 }, { 32, 0, 64 }, { 64, 0, 128 },
		{ 70, 64, 128 }, { 70, 64, 96 }, { 70, 64, 80 }, { 70, 64, 80 },
	};

	swp_windows(test, cases, ARRAY_SIZE(cases));
}

static void swp_window_random(struct kunit *test)
{
	static const struct swp_window_case cases[] = {
		{ 5, 0, 16 }, { 1000, 992, 1008 }, { 50000, 50000, 50016 }, { 7000, 6992, 7008 },
	};

	swp_windows(test, cases, ARRAY_SIZE(cases));
}

/* Two threads, each with its half of an array. */
static void swp_window_two_streams(struct kunit *test)
{
	static const struct swp_window_case cases[] = {
		{ 0, 0, 16 }, { 8192, 8192, 8208 },
		{ 16, 0, 32 }, { 8208, 8192, 8224 },
		{ 32, 0, 64 }, { 8224, 8192, 8256 },
	};

	swp_windows(test, cases, ARRAY_SIZE(cases));
}

/* Five in one set: the one that was used longest ago is forgotten. */
static void swp_window_forgets(struct kunit *test)
{
	static const struct swp_window_case cases[] = {
		{ 0, 0, 16 }, { 1024, 1024, 1040 }, { 2048, 2048, 2064 },
		{ 3072, 3072, 3088 }, { 4096, 4096, 4112 },
		{ 1040, 1024, 1056 }, { 16, 16, 32 },
	};

	swp_windows(test, cases, ARRAY_SIZE(cases));
}

static void swp_window_vma(struct kunit *test)
{
	static const struct swp_window_case one = { 5, 5, 6 }, left = { 5, 3, 16 };
	static const struct swp_window_case right = { 5, 0, 9 };

	swp_window_from_to(test, swp_memory(test), current->mm, &one, 5, 6);
	swp_window_from_to(test, swp_memory(test), current->mm, &left, 3, 1000);
	swp_window_from_to(test, swp_memory(test), current->mm, &right, 0, 9);
}

/* Address spaces have streams of their own. */
static void swp_window_address_spaces(struct kunit *test)
{
	static const struct swp_window_case first = { 0, 0, 16 }, second = { 16, 0, 32 };
	static const struct swp_window_case fresh = { 16, 16, 32 };
	struct hmm_swp_memory *memory = swp_memory(test);
	/* They are only compared. */
	const struct mm_struct *one = (void *)test, *other = (void *)memory;

	swp_window_from_to(test, memory, one, &first, 0, 1000);
	swp_window_from_to(test, memory, other, &fresh, 0, 1000);
	swp_window_from_to(test, memory, one, &second, 0, 1000);
}

/**
 * struct swp_storm - threads that all touch one page, which only the test can bring back
 * @calls: of our stand-in for what brings it back
 * @entered: the first of them is waiting
 * @open: let it go on
 * @locked: the kernel had locked the page for it
 * @results: what the first ones return; the others are real
 * @nr_results: how many
 */
struct swp_storm {
	atomic_t calls;
	struct completion entered;
	struct completion open;
	bool locked;
	const int *results;
	int nr_results;
};

/* One test at a time.  It lives on the stack of its test. */
static struct swp_storm *swp_storm;

/* What brings it back.  Not on that stack: tests are cleaned up in another thread. */
static typeof_member(struct hmm_swp_memory, pull) swp_storm_real;

static int swp_storm_pull(struct hmm_swp_memory *memory, struct vm_fault *vmf,
			  unsigned long start, unsigned long end)
{
	struct swp_storm *storm = swp_storm;
	int call = atomic_fetch_inc(&storm->calls);

	if (!call) {
		storm->locked = PageLocked(vmf->page);
		complete(&storm->entered);
		wait_for_completion_timeout(&storm->open, MOCK_PATIENCE);
	}
	if (call < storm->nr_results)
		return storm->results[call];
	return swp_storm_real(memory, vmf, start, end);
}

static int swp_storm_read(void *data)
{
	u64 value = 0;

	return get_user(value, (u64 __user *)MOCK_BASE) ?: value;
}

static void swp_storm_end(void *data)
{
	struct mock_memory *memory = data;

	memory->device->hmm.rmem->memory.pull = swp_storm_real;
}

/* A page with 17 in it on the device, and a stand-in for what brings it back. */
static struct mock_memory *swp_storm_begin(struct kunit *test, struct swp_storm *storm)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct hmm_rmem *rmem = memory->device->hmm.rmem;
	u8 result = 0;
	struct hmm_rmem_move move = {
		.start = MOCK_BASE,
		.end = MOCK_BASE + PAGE_SIZE,
		.results = &result,
	};

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, SWP_RW);
	mock_cpu_store(test, MOCK_BASE, 17);
	move.mm = current->mm;
	KUNIT_ASSERT_EQ(test, 0, hmm_rmem_move_in(rmem, &move));
	KUNIT_ASSERT_EQ(test, HMM_PAGE_MOVED, result);

	init_completion(&storm->entered);
	init_completion(&storm->open);
	swp_storm_real = rmem->memory.pull;
	swp_storm = storm;
	rmem->memory.pull = swp_storm_pull;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, swp_storm_end, memory));
	return memory;
}

/*
 * One brings the page back; the others come and go until it is there.  Where the kernel
 * locks the page, they wait for it there.
 */
static void swp_winner(struct kunit *test)
{
	struct swp_storm storm = {};
	struct mock_memory *memory = swp_storm_begin(test, &storm);
	struct mock_thread *threads[16];
	unsigned long deadline;
	u64 faults, lost;
	int i;

	threads[0] = mock_thread_run(test, current->mm, swp_storm_read, NULL);
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&storm.entered, MOCK_PATIENCE));
	for (i = 1; i < ARRAY_SIZE(threads); i++)
		threads[i] = mock_thread_run(test, current->mm, swp_storm_read, NULL);
	deadline = jiffies + MOCK_PATIENCE;
	while (mock_memory_stat(memory, HMM_RMEM_CPU_FAULTS_LOST_RACE) < 100 &&
	       !storm.locked && time_before(jiffies, deadline))
		msleep(20);
	if (storm.locked)
		msleep(100);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&storm.calls));
	complete_all(&storm.open);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		KUNIT_EXPECT_EQ(test, 17, mock_thread_join(test, threads[i]));

	faults = mock_memory_stat(memory, HMM_RMEM_CPU_FAULTS);
	lost = mock_memory_stat(memory, HMM_RMEM_CPU_FAULTS_LOST_RACE);
	kunit_info(test, "%llu faults, %llu left to the winner, %d tries\n", faults, lost,
		   atomic_read(&storm.calls));
	if (storm.locked) {
		KUNIT_EXPECT_EQ(test, lost, 0);
		KUNIT_EXPECT_EQ(test, faults, 1);
	} else {
		KUNIT_EXPECT_GE(test, lost, 100);
		KUNIT_EXPECT_GT(test, faults, lost);
	}
	KUNIT_EXPECT_EQ(test, 1, mock_memory_stat(memory, HMM_RMEM_OUT_FAULT));
}

/* What may be better later is tried again, by the winner or by the next fault. */
static void swp_again(struct kunit *test)
{
	static const int results[] = {
		-EBUSY, -EBUSY, -EIO, -EBUSY, -EIO, -EBUSY, -EBUSY, -EBUSY, -EBUSY, -EBUSY,
		-EBUSY, -EBUSY, -EBUSY, -EBUSY, -EBUSY, -EBUSY, -EBUSY, -EBUSY, -EBUSY,
		-EBUSY, -EBUSY,
	};
	struct swp_storm storm = { .results = results, .nr_results = ARRAY_SIZE(results) };
	struct mock_memory *memory = swp_storm_begin(test, &storm);

	complete_all(&storm.open);
	KUNIT_EXPECT_EQ(test, 17, swp_storm_read(NULL));
	KUNIT_EXPECT_EQ(test, ARRAY_SIZE(results) + 1, atomic_read(&storm.calls));
	/* The winner tries more than once within one fault. */
	KUNIT_EXPECT_LT(test, mock_memory_stat(memory, HMM_RMEM_CPU_FAULTS),
			ARRAY_SIZE(results) / 2);
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(memory, HMM_RMEM_CPU_FAULTS_LOST_RACE));
}

/* What will not: the access fails, and the page is where it was. */
static void swp_fatal(struct kunit *test)
{
	static const int results[] = { -ENODEV, -ENOMEM };
	struct swp_storm storm = { .results = results, .nr_results = ARRAY_SIZE(results) };
	struct mock_memory *memory = swp_storm_begin(test, &storm);

	complete_all(&storm.open);
	KUNIT_EXPECT_EQ(test, -EFAULT, swp_storm_read(NULL));
	KUNIT_EXPECT_EQ(test, -EFAULT, swp_storm_read(NULL));
	KUNIT_EXPECT_EQ(test, 2, mock_memory_stat(memory, HMM_RMEM_CPU_FAULTS));
	KUNIT_EXPECT_EQ(test, 17, swp_storm_read(NULL));
}

/* A winner whose page somebody else has moved does not insist. */
static void swp_moved_by_other(struct kunit *test)
{
	static const int results[] = { -EBUSY };
	struct swp_storm storm = { .results = results, .nr_results = ARRAY_SIZE(results) };
	struct mock_memory *memory = swp_storm_begin(test, &storm);
	struct mock_thread *thread;

	thread = mock_thread_run(test, current->mm, swp_storm_read, NULL);
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&storm.entered, MOCK_PATIENCE));
	mock_cpu_zap(MOCK_BASE, PAGE_SIZE);
	complete_all(&storm.open);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&storm.calls));
	KUNIT_EXPECT_EQ(test, 1, mock_memory_stat(memory, HMM_RMEM_DROPPED));
}

static struct kunit_case hmm_swp_cases[] = {
	KUNIT_CASE(swp_decode_private),
	KUNIT_CASE(swp_decode_exclusive),
	KUNIT_CASE(swp_decode_migration),
	KUNIT_CASE(swp_decode_others),
	KUNIT_CASE(swp_encode),
	KUNIT_CASE(swp_look),
	KUNIT_CASE(swp_look_huge),
	KUNIT_CASE(swp_window_upwards),
	KUNIT_CASE(swp_window_downwards),
	KUNIT_CASE(swp_window_ping_pong),
	KUNIT_CASE(swp_window_random),
	KUNIT_CASE(swp_window_two_streams),
	KUNIT_CASE(swp_window_forgets),
	KUNIT_CASE(swp_window_vma),
	KUNIT_CASE(swp_window_address_spaces),
	KUNIT_CASE(swp_winner),
	KUNIT_CASE(swp_again),
	KUNIT_CASE(swp_fatal),
	KUNIT_CASE(swp_moved_by_other),
	{}
};

static struct kunit_suite hmm_swp_suite = {
	.name = "hmm_swp",
	.test_cases = hmm_swp_cases,
};

kunit_test_suite(hmm_swp_suite);

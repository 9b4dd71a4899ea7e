// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent memory of a device: memory that pages move to, and that the CPU goes on using.
 *
 * What it has in common with private memory is in the other suites; here is what is
 * different: accesses of the CPU and of other devices, and moves that the kernel makes.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/uaccess.h>
#include "../../rmem/rmem_private.h"
#include "mock_device.h"
#include "mock_memory.h"
#include "mock_user.h"

#define COHERENT_RW	(PROT_READ | PROT_WRITE)
#define COHERENT_AT(n)	(MOCK_BASE + (n) * PAGE_SIZE)
#define COHERENT_PAGES	(4 * HMM_RMEM_CHUNK_PAGES)

/* Flags of a page that a device can use without a fault. */
#define COHERENT_MAPPED	(HMM_RESIDENCY_READ | HMM_RESIDENCY_WRITE)

/**
 * struct coherent_fixture - a process on a device with coherent memory
 * @memory: the memory
 * @mirror: on that device
 * @results: of the last move
 */
struct coherent_fixture {
	struct mock_memory *memory;
	struct mock_mirror *mirror;
	u8 results[COHERENT_PAGES];
};

static struct coherent_fixture *coherent_begin(struct kunit *test, unsigned int chunks,
					       unsigned long pages)
{
	struct coherent_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	unsigned long i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	mock_mmap(test, MOCK_BASE, COHERENT_PAGES * PAGE_SIZE, COHERENT_RW);
	f->memory = mock_memory_new_coherent(test, 0, chunks);
	f->mirror = mock_mirror_new(test, f->memory->device, current->mm);
	for (i = 0; i < pages; i++)
		mock_cpu_store(test, COHERENT_AT(i), 1000 + i);
	return f;
}

static int coherent_move(struct coherent_fixture *f, unsigned long first, unsigned long nr,
			 u32 flags)
{
	return hmm_mirror_migrate(&f->mirror->hmm, COHERENT_AT(first),
				  COHERENT_AT(first + nr), flags, f->results, NULL);
}

static void coherent_expect_data(struct kunit *test, unsigned long first, unsigned long nr)
{
	unsigned long i;

	for (i = first; i < first + nr; i++)
		KUNIT_ASSERT_EQ(test, 1000 + i, mock_cpu_load(test, COHERENT_AT(i)));
}

static void coherent_expect_place(struct kunit *test, struct mock_mirror *mirror,
				  unsigned long n, u32 place, u32 flags)
{
	struct hmm_residency where;

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_residency(&mirror->hmm, COHERENT_AT(n), &where, 1));
	KUNIT_EXPECT_EQ_MSG(test, place, where.place, "page %lu", n);
	KUNIT_EXPECT_EQ_MSG(test, flags, where.flags, "page %lu", n);
}

static bool coherent_is_there(struct coherent_fixture *f, unsigned long n)
{
	return hmm_rmem_owns(&f->memory->device->hmm, mock_cpu_page(COHERENT_AT(n)));
}

/* The CPU and the device use the same page, and no access brings it back. */
static void coherent_share(struct kunit *test)
{
	struct coherent_fixture *f = coherent_begin(test, 4, 600);
	struct page *page;
	u64 value = 0;

	KUNIT_EXPECT_EQ(test, 0, coherent_move(f, 0, 600, 0));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[599]);
	KUNIT_EXPECT_EQ(test, 600, mock_memory_stat(f->memory, HMM_RMEM_IN));
	KUNIT_EXPECT_EQ(test, 600, mock_mirror_nr_pages(f->mirror));
	coherent_expect_data(test, 0, 600);
	page = mock_cpu_page(COHERENT_AT(7));
	KUNIT_EXPECT_TRUE(test, hmm_rmem_owns(&f->memory->device->hmm, page));
	KUNIT_EXPECT_PTR_EQ(test, page,
			    hmm_rmem_page(&f->memory->device->hmm,
					  hmm_rmem_offset(&f->memory->device->hmm, page)));
	coherent_expect_place(test, f->mirror, 7, HMM_PLACE_DEVICE, COHERENT_MAPPED);

	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(f->mirror, COHERENT_AT(7), 77));
	KUNIT_EXPECT_EQ(test, 77, mock_cpu_load(test, COHERENT_AT(7)));
	mock_cpu_store(test, COHERENT_AT(7), 78);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(f->mirror, COHERENT_AT(7), &value));
	KUNIT_EXPECT_EQ(test, 78, value);
	KUNIT_EXPECT_TRUE(test, coherent_is_there(f, 7));

	KUNIT_EXPECT_EQ(test, 0, coherent_move(f, 0, 600, 0));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_THERE, f->results[7]);
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(f->memory, HMM_RMEM_CPU_FAULTS));

	KUNIT_EXPECT_EQ(test, 0, coherent_move(f, 0, 600, HMM_MIGRATE_TO_SYSTEM));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[7]);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(f->mirror));
	KUNIT_EXPECT_EQ(test, 600, mock_memory_stat(f->memory, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(f->memory, HMM_RMEM_USED));
	coherent_expect_place(test, f->mirror, 7, HMM_PLACE_SYSTEM, COHERENT_MAPPED);
	KUNIT_EXPECT_EQ(test, 78, mock_cpu_load(test, COHERENT_AT(7)));
	coherent_expect_data(test, 8, 592);
	mock_memory_check_accounts(test, f->memory);
}

/* A fault finds the page where it is; an empty one comes into being there. */
static void coherent_fault(struct kunit *test)
{
	struct coherent_fixture *f = coherent_begin(test, 1, 2);
	const struct hmm_hint hint = { .flags = HMM_HINT_EXCLUSIVE };

	KUNIT_EXPECT_EQ(test, 0, coherent_move(f, 0, 4, HMM_MIGRATE_POPULATE));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[3]);
	KUNIT_EXPECT_EQ(test, 2, mock_memory_stat(f->memory, HMM_RMEM_IN_ZERO));
	KUNIT_EXPECT_EQ(test, 0, mock_cpu_load(test, COHERENT_AT(3)));
	KUNIT_EXPECT_TRUE(test, coherent_is_there(f, 3));
	/* Unmapped: counted as dropped, and what takes its place is not the device's. */
	mock_cpu_zap(COHERENT_AT(3), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, mock_memory_stat(f->memory, HMM_RMEM_DROPPED));
	mock_cpu_store(test, COHERENT_AT(3), 3);
	KUNIT_EXPECT_FALSE(test, coherent_is_there(f, 3));

	mock_mirror_unregister(f->mirror);
	f->mirror = mock_mirror_new(test, f->memory->device, current->mm);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, page_to_pfn(mock_cpu_page(MOCK_BASE)),
			mock_mirror_pfn(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_TRUE(test, coherent_is_there(f, 0));

	/* A device's atomic operations on its own memory need nothing else. */
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_hint(&f->mirror->hmm, MOCK_BASE,
						     COHERENT_AT(4), &hint));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_ATOMIC));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_stat(&f->mirror->hmm, HMM_STAT_EXCLUSIVE));
	mock_memory_check_accounts(test, f->memory);
}

/* Another device maps the page in place, until it asks for it. */
static void coherent_other(struct kunit *test)
{
	struct coherent_fixture *f = coherent_begin(test, 2, 40);
	struct mock_memory *memory = mock_memory_new_coherent(test, 2, 2);
	struct mock_mirror *other = mock_mirror_new(test, memory->device, current->mm);
	struct mock_memory *private = mock_memory_new(test, NULL, 1);
	struct mock_mirror *third = mock_mirror_new(test, private->device, current->mm);
	const struct hmm_hint hint = { .flags = HMM_HINT_EXCLUSIVE };
	u64 value = 0;

	KUNIT_ASSERT_EQ(test, 0, coherent_move(f, 0, 40, 0));
	coherent_expect_place(test, other, 5, HMM_PLACE_OTHER, COHERENT_MAPPED);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(other, COHERENT_AT(5), HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(other, COHERENT_AT(5), 55));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(f->mirror, COHERENT_AT(5), &value));
	KUNIT_EXPECT_EQ(test, 55, value);
	KUNIT_EXPECT_TRUE(test, coherent_is_there(f, 5));

	/* It leaves one and comes to the other, by way of system memory. */
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_migrate(&other->hmm, MOCK_BASE, COHERENT_AT(20), 0,
						    f->results, NULL));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[5]);
	KUNIT_EXPECT_EQ(test, 20, mock_memory_stat(f->memory, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, 20, mock_memory_stat(memory, HMM_RMEM_IN));
	coherent_expect_place(test, other, 5, HMM_PLACE_DEVICE, COHERENT_MAPPED);
	KUNIT_EXPECT_EQ(test, 55, mock_cpu_load(test, COHERENT_AT(5)));

	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_migrate(&third->hmm, COHERENT_AT(10),
						    COHERENT_AT(30), 0, f->results, NULL));
	KUNIT_EXPECT_EQ(test, 10, mock_memory_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 10, mock_memory_stat(f->memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 20, mock_memory_stat(private, HMM_RMEM_USED));
	coherent_expect_place(test, f->mirror, 25, HMM_PLACE_OTHER, 0);
	coherent_expect_data(test, 6, 34);

	/* For atomic operations the page has to be in system memory. */
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_hint(&other->hmm, COHERENT_AT(35),
						     COHERENT_AT(36), &hint));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(other, COHERENT_AT(35), HMM_FAULT_ATOMIC));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(other, COHERENT_AT(35)));
	KUNIT_EXPECT_EQ(test, 9, mock_memory_stat(f->memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(&f->memory->device->hmm));
	coherent_expect_data(test, 30, 10);

	/* And all of it home, whoever had it. */
	KUNIT_EXPECT_EQ(test, 0, coherent_move(f, 0, 40, HMM_MIGRATE_TO_SYSTEM));
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(memory, HMM_RMEM_USED));
	mock_memory_check_accounts(test, f->memory);
	mock_memory_check_accounts(test, memory);
	mock_memory_check_accounts(test, private);
}

/* What does not fit makes others leave; an evacuation makes all of it. */
static void coherent_evict(struct kunit *test)
{
	struct coherent_fixture *f = coherent_begin(test, 2, COHERENT_PAGES);

	KUNIT_EXPECT_EQ(test, 0, coherent_move(f, 0, COHERENT_PAGES, 0));
	KUNIT_EXPECT_EQ(test, COHERENT_PAGES, mock_memory_stat(f->memory, HMM_RMEM_IN));
	KUNIT_EXPECT_LE(test, COHERENT_PAGES / 2,
			mock_memory_stat(f->memory, HMM_RMEM_OUT_EVICT));
	coherent_expect_data(test, 0, COHERENT_PAGES);
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(&f->memory->device->hmm));
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(f->memory, HMM_RMEM_USED));
	coherent_expect_data(test, 0, COHERENT_PAGES);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(f->mirror));
	mock_memory_check_accounts(test, f->memory);
}

static void coherent_pin(struct kunit *test, unsigned long n, unsigned int flags,
			 struct page **page)
{
	KUNIT_ASSERT_EQ(test, 1, pin_user_pages_fast(COHERENT_AT(n), 1, FOLL_WRITE | flags,
						     page));
}

/*
 * For a moment, a page can be pinned where it is; for long, the kernel moves it away, which
 * is no less a move for not being ours.
 */
static void coherent_pins(struct kunit *test)
{
	struct coherent_fixture *f = coherent_begin(test, 1, 8);
	struct page *page;

	KUNIT_ASSERT_EQ(test, 0, coherent_move(f, 0, 8, 0));
	coherent_pin(test, 1, 0, &page);
	KUNIT_EXPECT_TRUE(test, hmm_rmem_owns(&f->memory->device->hmm, page));
	KUNIT_EXPECT_EQ(test, -EBUSY, coherent_move(f, 0, 2, HMM_MIGRATE_TO_SYSTEM));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, f->results[1]);
	KUNIT_EXPECT_TRUE(test, coherent_is_there(f, 1));
	unpin_user_page(page);

	coherent_pin(test, 2, FOLL_LONGTERM, &page);
	KUNIT_EXPECT_FALSE(test, hmm_rmem_owns(&f->memory->device->hmm, page));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, COHERENT_AT(2)));
	coherent_expect_place(test, f->mirror, 2, HMM_PLACE_SYSTEM, COHERENT_MAPPED);
	KUNIT_EXPECT_EQ(test, 2, mock_memory_stat(f->memory, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(f->memory, HMM_RMEM_DROPPED));
	KUNIT_EXPECT_EQ(test, 6, mock_memory_stat(f->memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, -EBUSY, coherent_move(f, 2, 1, 0));
	unpin_user_page(page);
	KUNIT_EXPECT_EQ(test, 0, coherent_move(f, 2, 1, 0));
	coherent_expect_data(test, 0, 8);
	mock_cpu_zap(MOCK_BASE, 8 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 7, mock_memory_stat(f->memory, HMM_RMEM_DROPPED));
	mock_memory_check_accounts(test, f->memory);
}

/* Everything comes home when the device goes, and its addresses are free again. */
static void coherent_leave(struct kunit *test)
{
	struct coherent_fixture *f = coherent_begin(test, 1, 100);

	KUNIT_ASSERT_EQ(test, 0, coherent_move(f, 0, 100, 0));
	mock_device_unregister(f->memory->device);
	coherent_expect_data(test, 0, 100);
	KUNIT_EXPECT_EQ(test, 100, mock_memory_stat(f->memory, HMM_RMEM_OUT_EVACUATE));
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(f->memory, HMM_RMEM_LOST));
	mock_memory_new_coherent(test, 0, 1);
}

/*
 * Of a lost device pages are neither copied nor taken from the process: what it finds there
 * is between it and the bus.  They go when it lets go of them, and with them the pool.
 */
static void coherent_lost(struct kunit *test)
{
	struct coherent_fixture *f = coherent_begin(test, 1, 10);
	struct mock_memory *again;
	int i, ret;

	KUNIT_ASSERT_EQ(test, 0, coherent_move(f, 0, 10, 0));
	hmm_device_lost(&f->memory->device->hmm);
	KUNIT_EXPECT_EQ(test, 10, mock_memory_stat(f->memory, HMM_RMEM_LOST));
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(f->memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, -EHWPOISON, coherent_move(f, 0, 5, HMM_MIGRATE_TO_SYSTEM));
	coherent_expect_data(test, 0, 10);
	mock_device_unregister(f->memory->device);
	coherent_expect_data(test, 0, 10);

	again = mock_memory_alloc_coherent(test, 0, 1);
	ret = hmm_device_register(&again->device->hmm);
	KUNIT_EXPECT_EQ(test, -EBUSY, ret);
	mock_cpu_zap(MOCK_BASE, 10 * PAGE_SIZE);
	/* A work item does the rest. */
	for (i = 0; i < 5000 && ret == -EBUSY; i++) {
		usleep_range(1000, 2000);
		ret = hmm_device_register(&again->device->hmm);
	}
	KUNIT_ASSERT_EQ(test, 0, ret);
	KUNIT_EXPECT_TRUE(test, hmm_device_has_memory(&again->device->hmm));
	hmm_device_unregister(&again->device->hmm);
}

#ifdef CONFIG_MEMORY_FAILURE
/* The kernel is told that the memory has an error. */
static void coherent_memory_failure(struct kunit *test)
{
	struct coherent_fixture *f = coherent_begin(test, 1, 2);
	unsigned long first = PHYS_PFN(f->memory->base);

	KUNIT_ASSERT_EQ(test, 0, coherent_move(f, 0, 2, 0));
	KUNIT_EXPECT_EQ(test, -ENXIO, memory_failure(page_to_pfn(mock_cpu_page(MOCK_BASE)), 0));
	/* A free one. */
	KUNIT_EXPECT_EQ(test, -ENXIO, memory_failure(first + HMM_RMEM_CHUNK_PAGES - 1, 0));
	coherent_expect_data(test, 0, 2);
	KUNIT_EXPECT_EQ(test, 0, coherent_move(f, 0, 2, HMM_MIGRATE_TO_SYSTEM));
}
#endif

static void coherent_bad_base(struct kunit *test)
{
	struct coherent_fixture *f = coherent_begin(test, 2, 0);
	struct mock_memory *memory = mock_memory_alloc_coherent(test, 1, 1);
	struct hmm_device *device = &memory->device->hmm;

	/* Taken by the other, and by the kernel. */
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_device_register(device));
	device->rmem_base = HMM_RMEM_CHUNK_SIZE * 8;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_device_register(device));
	device->rmem_base = f->memory->base + f->memory->bytes + PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_device_register(device));
	KUNIT_EXPECT_FALSE(test, hmm_device_has_memory(device));
}

/**
 * struct coherent_storm - everybody is at the same pages
 * @f: they are its
 * @stop: enough
 */
struct coherent_storm {
	struct coherent_fixture *f;
	bool stop;
};

#define STORM_PAGES	32

static int coherent_storm_pin(void *data)
{
	struct coherent_storm *storm = data;
	unsigned long n = 0;
	struct page *page;

	while (!READ_ONCE(storm->stop)) {
		n = (n + 1) % STORM_PAGES;
		if (pin_user_pages_fast(COHERENT_AT(n), 1,
					FOLL_WRITE | (n % 2 ? FOLL_LONGTERM : 0), &page) == 1)
			unpin_user_page(page);
		cond_resched();
	}
	return 0;
}

/* Each word has one writer, who knows what he wrote. */
static int coherent_storm_count(void *data)
{
	struct coherent_storm *storm = data;
	u64 value, count = 1, n;

	for (; !READ_ONCE(storm->stop); count++) {
		for (n = 0; n < STORM_PAGES; n++) {
			u64 __user *at = (u64 __user *)COHERENT_AT(n) + 1;

			if (get_user(value, at) || value != count - 1 || put_user(count, at))
				return -EIO;
		}
		cond_resched();
	}
	return 0;
}

static int coherent_storm_evacuate(void *data)
{
	struct coherent_storm *storm = data;
	int ret = 0;

	while (!READ_ONCE(storm->stop) && (!ret || ret == -EBUSY)) {
		ret = hmm_device_evacuate(&storm->f->memory->device->hmm);
		usleep_range(500, 1000);
	}
	return ret == -EBUSY ? 0 : ret;
}

#define STORM_ROUNDS	150

static void coherent_storm(struct kunit *test)
{
	struct coherent_fixture *f = coherent_begin(test, 1, STORM_PAGES);
	struct coherent_storm storm = { .f = f };
	struct mock_thread *threads[3];
	int i;

	KUNIT_ASSERT_EQ(test, 0, coherent_move(f, 0, STORM_PAGES, 0));
	threads[0] = mock_thread_run(test, current->mm, coherent_storm_pin, &storm);
	threads[1] = mock_thread_run(test, current->mm, coherent_storm_count, &storm);
	threads[2] = mock_thread_run(test, NULL, coherent_storm_evacuate, &storm);
	for (i = 0; i < STORM_ROUNDS; i++) {
		/* Pinned, or closed for an evacuation, or done. */
		coherent_move(f, 0, STORM_PAGES, 0);
		if (i % 4 == 3)
			coherent_move(f, 0, STORM_PAGES, HMM_MIGRATE_TO_SYSTEM);
	}
	WRITE_ONCE(storm.stop, true);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, threads[i]));
	coherent_expect_data(test, 0, STORM_PAGES);
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(&f->memory->device->hmm));
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(f->memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(f->memory, HMM_RMEM_DROPPED));
	mock_memory_check_accounts(test, f->memory);
}

static struct kunit_case coherent_cases[] = {
	KUNIT_CASE(coherent_share),
	KUNIT_CASE(coherent_fault),
	KUNIT_CASE(coherent_other),
	KUNIT_CASE_SLOW(coherent_evict),
	KUNIT_CASE(coherent_pins),
	KUNIT_CASE(coherent_leave),
	KUNIT_CASE(coherent_lost),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(coherent_memory_failure),
#endif
	KUNIT_CASE(coherent_bad_base),
	KUNIT_CASE_SLOW(coherent_storm),
	{}
};

static struct kunit_suite coherent_suite = {
	.name = "hmm_coherent",
	.test_cases = coherent_cases,
};

kunit_test_suite(coherent_suite);

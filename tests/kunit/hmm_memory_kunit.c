// SPDX-License-Identifier: GPL-2.0
/*
 * The mirror's side of device memory: requests, what the devices map before and after a
 * move, and pages that a device has to itself for atomic operations.
 *
 * How pages move is in hmm_migrate_kunit.c, when they do in hmm_policy_kunit.c.
 */
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <kunit/visibility.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/shmem_fs.h>
#include <linux/uaccess.h>
#include "../../hmm/fault_private.h"
#include "mock_device.h"
#include "mock_memory.h"
#include "mock_user.h"

#define MEMORY_RW	(PROT_READ | PROT_WRITE)
#define MEMORY_AT(n)	(MOCK_BASE + (n) * PAGE_SIZE)
#define MEMORY_PAGES	(2 * HMM_AREA_PAGES)

/**
 * struct memory_fixture - a process on two devices, of which the first has memory
 * @memory: the memory
 * @mirror: on that device
 * @other: on the other one
 * @results: of the last request
 * @where: of the last look
 */
struct memory_fixture {
	struct mock_memory *memory;
	struct mock_mirror *mirror;
	struct mock_mirror *other;
	u8 results[MEMORY_PAGES];
	struct hmm_residency where[MEMORY_PAGES];
};

static struct memory_fixture *memory_begin(struct kunit *test, unsigned long pages)
{
	struct memory_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	unsigned long i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	/* The first mapping makes the address space. */
	mock_mmap(test, MOCK_BASE, MEMORY_PAGES * PAGE_SIZE, MEMORY_RW);
	f->memory = mock_memory_new(test, NULL, 4);
	f->mirror = mock_mirror_new(test, f->memory->device, current->mm);
	f->other = mock_mirror_new(test, mock_device_new(test, NULL), current->mm);
	for (i = 0; i < pages; i++)
		mock_cpu_store(test, MEMORY_AT(i), 1000 + i);
	return f;
}

static int memory_move(struct memory_fixture *f, unsigned long first, unsigned long nr,
		       u32 flags, unsigned long *moved)
{
	return hmm_mirror_migrate(&f->mirror->hmm, MEMORY_AT(first), MEMORY_AT(first + nr),
				  flags, f->results, moved);
}

static u32 memory_place(struct kunit *test, struct memory_fixture *f, unsigned long n)
{
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_residency(&f->mirror->hmm, MEMORY_AT(n),
						      &f->where[n], 1));
	return f->where[n].place;
}

static u64 memory_stat(struct memory_fixture *f, enum hmm_mirror_stat stat)
{
	return hmm_mirror_stat(&f->mirror->hmm, stat);
}

/* --- requests --- */

/* There and back; what has arrived is mapped without a fault. */
static void memory_request(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 600);
	unsigned long moved, i;
	u64 value;

	KUNIT_EXPECT_EQ(test, 0, memory_move(f, 0, 600, 0, &moved));
	KUNIT_EXPECT_EQ(test, 600, moved);
	KUNIT_EXPECT_EQ(test, 600, memory_stat(f, HMM_STAT_MOVED_IN));
	KUNIT_EXPECT_EQ(test, 600, mock_mirror_nr_pages(f->mirror));
	for (i = 0; i < 600; i++) {
		KUNIT_ASSERT_EQ(test, HMM_PAGE_MOVED, f->results[i]);
		KUNIT_ASSERT_EQ(test, 0, mock_mirror_load(f->mirror, MEMORY_AT(i), &value));
		KUNIT_ASSERT_EQ(test, 1000 + i, value);
	}
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(f->mirror, MEMORY_AT(599), 7));
	KUNIT_EXPECT_EQ(test, 0, memory_stat(f, HMM_STAT_FAULTS));

	KUNIT_EXPECT_EQ(test, 0, memory_move(f, 0, 600, 0, &moved));
	KUNIT_EXPECT_EQ(test, 0, moved);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_THERE, f->results[599]);
	KUNIT_EXPECT_EQ(test, HMM_PLACE_DEVICE, memory_place(test, f, 599));
	KUNIT_EXPECT_EQ(test, 1, f->where[599].moves);

	KUNIT_EXPECT_EQ(test, 0, memory_move(f, 0, 600, HMM_MIGRATE_TO_SYSTEM, &moved));
	KUNIT_EXPECT_EQ(test, 600, moved);
	KUNIT_EXPECT_EQ(test, 600, memory_stat(f, HMM_STAT_MOVED_OUT));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(f->mirror));
	KUNIT_EXPECT_EQ(test, 7, mock_cpu_load(test, MEMORY_AT(599)));
	KUNIT_EXPECT_EQ(test, HMM_PLACE_SYSTEM, memory_place(test, f, 599));
	KUNIT_EXPECT_EQ(test, 2, f->where[599].moves);
	mock_memory_check_accounts(test, f->memory);
}

/* The first error is the request's, the other pages have moved all the same. */
static void memory_request_errors(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 32);
	struct hmm_mirror *mirror = &f->mirror->hmm;
	unsigned long moved, size = current->mm->task_size;
	u8 results[2];

	KUNIT_EXPECT_EQ(test, -EINVAL, memory_move(f, 0, 0, 0, &moved));
	KUNIT_EXPECT_EQ(test, -EINVAL, memory_move(f, 0, 1, HMM_MIGRATE_ALL + 1,
						   &moved));
	KUNIT_EXPECT_EQ(test, -EINVAL, memory_move(f, 0, 1, HMM_MIGRATE_TO_SYSTEM |
						   HMM_MIGRATE_POPULATE, &moved));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_migrate(mirror, MOCK_BASE + 1,
							  MEMORY_AT(1), 0, NULL, NULL));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, hmm_mirror_migrate(&f->other->hmm, MOCK_BASE,
							      MEMORY_AT(1), 0, NULL, NULL));

	vm_munmap(MEMORY_AT(8), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, -EFAULT, memory_move(f, 4, 8, 0, &moved));
	KUNIT_EXPECT_EQ(test, 7, moved);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_UNMAPPED, f->results[4]);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[5]);
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_mirror_migrate(mirror, size, size + 2 * PAGE_SIZE,
							  0, results, &moved));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_UNMAPPED, results[1]);

	/* What is empty stays so, unless it is to be filled. */
	KUNIT_EXPECT_EQ(test, 0, memory_move(f, 32, 4, 0, &moved));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_EMPTY, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_PLACE_NONE, memory_place(test, f, 32));
	KUNIT_EXPECT_EQ(test, 0, memory_move(f, 32, 4, HMM_MIGRATE_POPULATE, &moved));
	KUNIT_EXPECT_EQ(test, 4, moved);
	KUNIT_EXPECT_EQ(test, 0, mock_cpu_load(test, MEMORY_AT(33)));
	mock_memory_check_accounts(test, f->memory);
}

/* What is on another device stays there, if that is what is wanted. */
static void memory_request_no_fetch(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 2);
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct mock_mirror *other = mock_mirror_new(test, memory->device, current->mm);
	unsigned long moved;

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_migrate(&other->hmm, MOCK_BASE, MEMORY_AT(1), 0,
						    NULL, NULL));
	KUNIT_EXPECT_EQ(test, -EBUSY, memory_move(f, 0, 2, HMM_MIGRATE_NO_FETCH, &moved));
	KUNIT_EXPECT_EQ(test, 1, moved);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_BUSY, f->results[0]);
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[1]);
	KUNIT_EXPECT_EQ(test, HMM_PLACE_OTHER, memory_place(test, f, 0));
	KUNIT_EXPECT_EQ(test, 0, memory_move(f, 0, 2, 0, &moved));
	KUNIT_EXPECT_EQ(test, 1, moved);
	KUNIT_EXPECT_EQ(test, HMM_PLACE_DEVICE, memory_place(test, f, 0));
	KUNIT_EXPECT_EQ(test, 1000, mock_cpu_load(test, MOCK_BASE));
	mock_memory_check_accounts(test, f->memory);
	mock_memory_check_accounts(test, memory);
}

static void memory_request_full(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 8);
	unsigned long moved;

	mock_memory_fail(f->memory, -EIO, -1);
	KUNIT_EXPECT_EQ(test, -EIO, memory_move(f, 0, 8, 0, &moved));
	KUNIT_EXPECT_EQ(test, 0, moved);
	KUNIT_EXPECT_EQ(test, 8, memory_stat(f, HMM_STAT_MOVE_FAILED));
	KUNIT_EXPECT_EQ(test, HMM_PLACE_SYSTEM, memory_place(test, f, 0));
	KUNIT_EXPECT_EQ(test, 1000, mock_cpu_load(test, MOCK_BASE));
	/* A fault that would move them maps them, though the move fails. */
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_set_policy(&f->mirror->hmm, HMM_POLICY_TOUCH));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_writable(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, HMM_PLACE_SYSTEM, memory_place(test, f, 0));
	mock_memory_fail(f->memory, 0, 0);
	mock_memory_check_accounts(test, f->memory);
}

/* --- what devices map --- */

/* A move takes a page from all devices, by events that say whose move it is. */
static void memory_events(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 1);

	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(f->other, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_store(f->mirror, MOCK_BASE, 11));
	KUNIT_EXPECT_EQ(test, 0, memory_move(f, 0, 1, 0, NULL));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->other, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_event_count(&f->mirror->hmm,
							HMM_EVENT_MIGRATE_OWN));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_event_count(&f->mirror->hmm,
							HMM_EVENT_MIGRATE_DEV));
	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_event_count(&f->other->hmm,
							HMM_EVENT_MIGRATE_DEV));
	KUNIT_EXPECT_EQ(test, 11, mock_cpu_load(test, MOCK_BASE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 2, hmm_mirror_event_count(&f->mirror->hmm,
							HMM_EVENT_MIGRATE_OWN));
}

/* Its own pages a device maps where they are; for another one they come back first. */
static void memory_own_and_other(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 2);
	u64 value = 0;

	KUNIT_ASSERT_EQ(test, 0, memory_move(f, 0, 2, 0, NULL));
	/* Forget it: a fault has to find it again. */
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_hint(&f->mirror->hmm, MOCK_BASE,
						     MEMORY_AT(1), &(struct hmm_hint){
						     .flags = HMM_HINT_EXCLUSIVE }));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_ATOMIC));
	KUNIT_EXPECT_EQ(test, 0, memory_stat(f, HMM_STAT_CPU_FAULTS));
	KUNIT_EXPECT_EQ(test, 0, memory_stat(f, HMM_STAT_EXCLUSIVE));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, HMM_PLACE_DEVICE, memory_place(test, f, 0));

	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->other, MEMORY_AT(1), HMM_FAULT_READ));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(f->other, MEMORY_AT(1), &value));
	KUNIT_EXPECT_EQ(test, 1001, value);
	KUNIT_EXPECT_EQ(test, HMM_PLACE_SYSTEM, memory_place(test, f, 1));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MEMORY_AT(1)));
	mock_memory_check_accounts(test, f->memory);
}

/* --- looks --- */

#define MEMORY_READABLE	HMM_RESIDENCY_READ
#define MEMORY_WRITABLE	(HMM_RESIDENCY_READ | HMM_RESIDENCY_WRITE)

/**
 * struct memory_look_page - what a look should see
 * @what: the page
 * @place: where it is
 * @flags: what a device may do with it
 */
struct memory_look_page {
	const char *what;
	u32 place;
	u32 flags;
};

static void memory_expect_look(struct kunit *test, struct memory_fixture *f,
			       const struct memory_look_page *expect, unsigned long nr)
{
	unsigned long i;

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_residency(&f->mirror->hmm, MOCK_BASE, f->where,
						      nr));
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_EQ_MSG(test, expect[i].place, f->where[i].place, "%s",
				    expect[i].what);
		KUNIT_EXPECT_EQ_MSG(test, expect[i].flags, f->where[i].flags, "%s",
				    expect[i].what);
		KUNIT_EXPECT_EQ_MSG(test, 0, f->where[i].order, "%s", expect[i].what);
	}
}

static void memory_look(struct kunit *test)
{
	static const struct memory_look_page expect[] = {
		{ "no access", HMM_PLACE_NONE, HMM_RESIDENCY_DENIED },
		{ "no mapping", HMM_PLACE_NONE, HMM_RESIDENCY_DENIED },
		{ "zeroes", HMM_PLACE_NONE, HMM_RESIDENCY_READ | HMM_RESIDENCY_ZERO },
		{ "read-only", HMM_PLACE_SYSTEM, MEMORY_READABLE },
		{ "writable", HMM_PLACE_SYSTEM, MEMORY_WRITABLE },
		{ "on the device", HMM_PLACE_DEVICE, MEMORY_WRITABLE },
		{ "on another device", HMM_PLACE_OTHER, 0 },
		{ "nothing yet", HMM_PLACE_NONE, 0 },
		{ "a device's registers", HMM_PLACE_OTHER, HMM_RESIDENCY_DENIED },
	};
	struct memory_fixture *f = memory_begin(test, 7);
	struct mock_memory *memory = mock_memory_new(test, NULL, 1);
	struct mock_mirror *other = mock_mirror_new(test, memory->device, current->mm);
	struct mock_file *registers = mock_file_new(test, MOCK_FILE_PFNMAP);
	struct file *file = shmem_file_setup("hmm", PAGE_SIZE, EMPTY_VMA_FLAGS);

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mock_mmap(test, MEMORY_AT(0), PAGE_SIZE, PROT_NONE);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(MEMORY_AT(1), PAGE_SIZE));
	mock_mmap(test, MEMORY_AT(2), PAGE_SIZE, PROT_READ);
	mock_cpu_load(test, MEMORY_AT(2));
	mock_mmap_file(test, file, MEMORY_AT(3), PAGE_SIZE, PROT_READ, MAP_SHARED);
	fput(file);
	mock_cpu_load(test, MEMORY_AT(3));
	KUNIT_ASSERT_EQ(test, 0, memory_move(f, 5, 1, 0, NULL));
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_migrate(&other->hmm, MEMORY_AT(6), MEMORY_AT(7), 0,
						    f->results, NULL));
	mock_mmap_file(test, registers->file, MEMORY_AT(8), PAGE_SIZE, MEMORY_RW, MAP_SHARED);
	mock_cpu_load(test, MEMORY_AT(8));
	memory_expect_look(test, f, expect, ARRAY_SIZE(expect));
	/* To look changes nothing. */
	memory_expect_look(test, f, expect, ARRAY_SIZE(expect));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MEMORY_AT(4)));
	mock_memory_check_accounts(test, f->memory);
}

/* A page of a huge one says so, wherever the look begins. */
static void memory_look_huge(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 0);

	mock_cpu_advise_huge(test, MOCK_BASE);
	mock_cpu_store(test, MOCK_BASE, 1);
	mock_cpu_load(test, MEMORY_AT(HMM_AREA_PAGES));
	if (!folio_test_large(page_folio(mock_cpu_page(MOCK_BASE))))
		kunit_skip(test, "no huge page to be had");
	KUNIT_EXPECT_EQ(test, HMM_PLACE_SYSTEM, memory_place(test, f, 7));
	KUNIT_EXPECT_EQ(test, MEMORY_WRITABLE, f->where[7].flags);
	KUNIT_EXPECT_EQ(test, PMD_SHIFT - PAGE_SHIFT, f->where[7].order);
	/* The huge page of zeroes, or a small one where the kernel does not like that. */
	KUNIT_EXPECT_EQ(test, HMM_PLACE_NONE, memory_place(test, f, HMM_AREA_PAGES));
	KUNIT_EXPECT_EQ(test, HMM_RESIDENCY_READ | HMM_RESIDENCY_ZERO,
			f->where[HMM_AREA_PAGES].flags);
}

/* --- exclusive pages --- */

static void memory_hint_exclusive(struct kunit *test, struct memory_fixture *f,
				  unsigned long first, unsigned long nr)
{
	const struct hmm_hint hint = { .flags = HMM_HINT_EXCLUSIVE };

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_hint(&f->mirror->hmm, MEMORY_AT(first),
						     MEMORY_AT(first + nr), &hint));
}

static void exclusive_basic(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 4);
	u64 value = 0;

	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MEMORY_AT(3), HMM_FAULT_ATOMIC));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(f->mirror, MEMORY_AT(3)));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_ATOMIC));
	KUNIT_EXPECT_EQ(test, 0, memory_stat(f, HMM_STAT_EXCLUSIVE));

	/* From here on it has to ask. */
	memory_hint_exclusive(test, f, 0, 2);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_writable(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_atomic(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->other, MOCK_BASE, HMM_FAULT_READ));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_ATOMIC));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->other, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 1, memory_stat(f, HMM_STAT_EXCLUSIVE));
	/* One of the hint, and this one. */
	KUNIT_EXPECT_EQ(test, 2, hmm_mirror_event_count(&f->other->hmm, HMM_EVENT_EXCLUSIVE));
	KUNIT_EXPECT_EQ(test, HMM_PLACE_SYSTEM, memory_place(test, f, 0));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(f->mirror, MOCK_BASE, 50));

	/* The CPU takes it back, and so does the other device. */
	KUNIT_EXPECT_EQ(test, 50, mock_cpu_load(test, MOCK_BASE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_ATOMIC));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(f->mirror, MOCK_BASE, 51));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->other, MOCK_BASE, HMM_FAULT_READ));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(f->other, MOCK_BASE, &value));
	KUNIT_EXPECT_EQ(test, 51, value);

	/* Once more, and the mapping goes. */
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_ATOMIC));
	vm_munmap(MOCK_BASE, PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MOCK_BASE));
}

/* A device without atomics has to ask everywhere. */
static void exclusive_device(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 2);

	f->mirror->hmm.device->caps.no_atomics = true;
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_writable(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_atomic(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_ATOMIC));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(f->mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 1, memory_stat(f, HMM_STAT_EXCLUSIVE));
	KUNIT_EXPECT_EQ(test, 1000, mock_cpu_load(test, MOCK_BASE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MOCK_BASE));
	/* In its own memory it is alone anyway. */
	KUNIT_ASSERT_EQ(test, 0, memory_move(f, 1, 1, 0, NULL));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(f->mirror, MEMORY_AT(1)));
}

/* The event by which the CPU takes a page back says so, by whatever name of the kernel's. */
static void exclusive_reason(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 2);
	struct mock_log *log = f->mirror->device->log;
	struct mock_call *call;

	/* Where no page is exclusive, none is taken back. */
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MEMORY_AT(1), HMM_FAULT_WRITE));
	mock_cpu_zap(MEMORY_AT(1), PAGE_SIZE);
	call = &log->calls[log->nr - 1];
	KUNIT_EXPECT_EQ(test, MOCK_UPDATE, call->op);
	KUNIT_EXPECT_FALSE(test, call->event.reasons & BIT(HMM_REASON_EXCLUSIVE));

	memory_hint_exclusive(test, f, 0, 1);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MOCK_BASE, HMM_FAULT_ATOMIC));
	mock_cpu_store(test, MOCK_BASE, 1);
	call = &log->calls[log->nr - 1];
	KUNIT_EXPECT_EQ(test, MOCK_UPDATE, call->op);
	KUNIT_EXPECT_EQ(test, HMM_ACTION_DROP, call->event.action);
	KUNIT_EXPECT_TRUE(test, call->event.reasons & BIT(HMM_REASON_EXCLUSIVE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MOCK_BASE));
}

/* Faults of all kinds on one page, in one batch: each gets its own result. */
static void exclusive_batch(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 4);
	struct file *file = shmem_file_setup("hmm", PAGE_SIZE, EMPTY_VMA_FLAGS);
	struct hmm_fault faults[] = {
		{ .addr = MEMORY_AT(0), .access = HMM_FAULT_READ },
		{ .addr = MEMORY_AT(0), .access = HMM_FAULT_WRITE },
		{ .addr = MEMORY_AT(0), .access = HMM_FAULT_ATOMIC },
		{ .addr = MEMORY_AT(1), .access = HMM_FAULT_WRITE },
		{ .addr = MEMORY_AT(1), .access = HMM_FAULT_ATOMIC },
	};
	int i;

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mock_mmap_file(test, file, MEMORY_AT(1), PAGE_SIZE, MEMORY_RW, MAP_SHARED);
	fput(file);
	memory_hint_exclusive(test, f, 0, 4);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(&f->mirror->hmm, faults,
						  ARRAY_SIZE(faults)));
	for (i = 0; i < ARRAY_SIZE(faults); i++)
		KUNIT_EXPECT_EQ(test, faults[i].addr == MEMORY_AT(1) &&
				faults[i].access == HMM_FAULT_ATOMIC ? -EOPNOTSUPP : 0,
				faults[i].error);
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(f->mirror, MEMORY_AT(0)));
	/* Shared memory can be written to, and that is all. */
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_writable(f->mirror, MEMORY_AT(1)));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_atomic(f->mirror, MEMORY_AT(1)));
}

/* Pages of a huge page are had one by one, and side by side. */
static void exclusive_huge(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 0);
	unsigned long i;

	mock_cpu_advise_huge(test, MOCK_BASE);
	mock_cpu_store(test, MOCK_BASE, 1);
	if (!folio_test_large(page_folio(mock_cpu_page(MOCK_BASE))))
		kunit_skip(test, "no huge page to be had");
	memory_hint_exclusive(test, f, 0, 512);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MEMORY_AT(7), HMM_FAULT_WRITE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_huge(f->mirror, MEMORY_AT(7)));
	for (i = 100; i < 104; i++)
		KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, MEMORY_AT(i),
							   HMM_FAULT_ATOMIC));
	for (i = 100; i < 104; i++)
		KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(f->mirror, MEMORY_AT(i)));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(f->mirror, MEMORY_AT(101), 9));
	KUNIT_EXPECT_EQ(test, 9, mock_cpu_load(test, MEMORY_AT(101)));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(f->mirror, MEMORY_AT(100)));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, MEMORY_AT(101)));
}

/**
 * struct exclusive_race - an unmap that begins before a page is made exclusive
 * @f: fixture
 * @zapper: does it
 * @first: what it begins with, in an earlier block
 * @target: what it ends with: the page
 */
struct exclusive_race {
	struct memory_fixture *f;
	struct mock_thread *zapper;
	unsigned long first;
	unsigned long target;
};

static struct exclusive_race exclusive_race;

static int exclusive_zap(void *data)
{
	struct exclusive_race *race = data;

	mock_cpu_zap(race->first, race->target + PAGE_SIZE - race->first);
	return 0;
}

/*
 * The page has just been made exclusive: now the unmap, which holds an earlier block and
 * so has begun before, comes to this block, and to its end.
 */
static struct page *exclusive_take_and_wait(struct hmm_fault_run *run, unsigned long addr,
					    struct folio **folio)
{
	struct kunit *test = kunit_get_current_test();
	struct page *page;
	int i;

	kunit_deactivate_static_stub(test, hmm_exclusive_take);
	page = hmm_exclusive_take(run, addr, folio);
	KUNIT_EXPECT_FALSE(test, IS_ERR(page));
	mock_gate_open(exclusive_race.f->memory->device, MOCK_UPDATE);
	for (i = 0; i < 20000 && !mock_thread_is_done(exclusive_race.zapper); i++)
		usleep_range(1000, 2000);
	KUNIT_EXPECT_TRUE(test, mock_thread_is_done(exclusive_race.zapper));
	return page;
}

/*
 * See the top of hmm/exclusive.c.  The sequence number of the block is that of our own
 * event, and of the unmap as well.
 */
static void exclusive_late_event(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 0);
	unsigned long first = mock_mirror_block(f->mirror, 1);
	unsigned long target = mock_mirror_block(f->mirror, 2);
	const struct hmm_hint hint = { .flags = HMM_HINT_EXCLUSIVE };
	u64 value = 0;

	mock_mmap(test, first, 2 * mock_mirror_block_size(f->mirror), MEMORY_RW);
	mock_cpu_store(test, first, 1);
	mock_cpu_store(test, target, 2);
	exclusive_race.f = f;
	exclusive_race.first = first;
	exclusive_race.target = target;
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_hint(&f->mirror->hmm, target,
						     target + PAGE_SIZE, &hint));
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(f->mirror, first, HMM_FAULT_WRITE));

	mock_gate_arm(f->memory->device, MOCK_UPDATE);
	exclusive_race.zapper = mock_thread_run(test, current->mm, exclusive_zap,
						&exclusive_race);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(f->memory->device, MOCK_UPDATE));
	kunit_activate_static_stub(test, hmm_exclusive_take, exclusive_take_and_wait);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, target, HMM_FAULT_ATOMIC));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, exclusive_race.zapper));

	/* It has found out, and has begun again, with a new page. */
	KUNIT_EXPECT_LE(test, 1, memory_stat(f, HMM_STAT_RETRIES));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(f->mirror, target, &value));
	KUNIT_EXPECT_EQ(test, 0, value);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(f->mirror, target, 3));
	KUNIT_EXPECT_EQ(test, 3, mock_cpu_load(test, target));
}

/**
 * struct exclusive_storm - a device and CPUs fight for a page
 * @mirror: the device
 * @stop: enough
 */
struct exclusive_storm {
	struct mock_mirror *mirror;
	bool stop;
};

#define STORM_ROUNDS	40

static int exclusive_storm_device(void *data)
{
	struct exclusive_storm *storm = data;
	int ret = 0;

	while (!READ_ONCE(storm->stop) && (!ret || ret == -EBUSY))
		ret = mock_mirror_fault(storm->mirror, MOCK_BASE, HMM_FAULT_ATOMIC);
	return ret == -EBUSY ? 0 : ret;
}

static int exclusive_storm_zap(void *data)
{
	struct exclusive_storm *storm = data;

	while (!READ_ONCE(storm->stop)) {
		mock_cpu_zap(MOCK_BASE, PAGE_SIZE);
		cond_resched();
	}
	return 0;
}

static int exclusive_storm_touch(void *data)
{
	struct exclusive_storm *storm = data;
	u64 value __maybe_unused;

	while (!READ_ONCE(storm->stop)) {
		if (get_user(value, (u64 __user *)MOCK_BASE))
			return -EFAULT;
		cond_resched();
	}
	return 0;
}

static void exclusive_storm(struct kunit *test)
{
	struct memory_fixture *f = memory_begin(test, 2);
	struct exclusive_storm storm = { .mirror = f->mirror };
	/* A page of our own, in a block of its own: there the storm does not reach. */
	unsigned long calm = mock_mirror_block(f->mirror, 1);
	const struct hmm_hint hint = { .flags = HMM_HINT_EXCLUSIVE };
	struct mock_thread *threads[4];
	unsigned long pfn;
	int i;

	mock_mmap(test, calm, PAGE_SIZE, MEMORY_RW);
	memory_hint_exclusive(test, f, 0, 1);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_hint(&f->mirror->hmm, calm, calm + PAGE_SIZE,
						     &hint));
	threads[0] = mock_thread_run(test, current->mm, exclusive_storm_device, &storm);
	threads[1] = mock_thread_run(test, current->mm, exclusive_storm_device, &storm);
	threads[2] = mock_thread_run(test, current->mm, exclusive_storm_zap, &storm);
	threads[3] = mock_thread_run(test, current->mm, exclusive_storm_touch, &storm);
	for (i = 0; i < STORM_ROUNDS; i++) {
		KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, calm, HMM_FAULT_ATOMIC));
		KUNIT_EXPECT_TRUE(test, mock_mirror_is_atomic(f->mirror, calm));
		mock_cpu_zap(calm, PAGE_SIZE);
		if (mock_mirror_is_mapped(f->mirror, calm)) {
			KUNIT_FAIL(test, "round %d: the device has kept a page", i);
			break;
		}
	}
	WRITE_ONCE(storm.stop, true);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, threads[i]));
	/* Now nobody but us is at the page: what is mapped must be it. */
	pfn = mock_mirror_pfn(f->mirror, MOCK_BASE);
	mock_cpu_store(test, MOCK_BASE, 5);
	if (pfn)
		KUNIT_EXPECT_EQ(test, pfn, page_to_pfn(mock_cpu_page(MOCK_BASE)));
}

static struct kunit_case memory_cases[] = {
	KUNIT_CASE(memory_request),
	KUNIT_CASE(memory_request_errors),
	KUNIT_CASE(memory_request_no_fetch),
	KUNIT_CASE(memory_request_full),
	KUNIT_CASE(memory_events),
	KUNIT_CASE(memory_own_and_other),
	KUNIT_CASE(memory_look),
	KUNIT_CASE(memory_look_huge),
	KUNIT_CASE(exclusive_basic),
	KUNIT_CASE(exclusive_device),
	KUNIT_CASE(exclusive_reason),
	KUNIT_CASE(exclusive_batch),
	KUNIT_CASE(exclusive_huge),
	KUNIT_CASE(exclusive_late_event),
	KUNIT_CASE_SLOW(exclusive_storm),
	{}
};

static struct kunit_suite memory_suite = {
	.name = "hmm_memory",
	.test_cases = memory_cases,
};

kunit_test_suite(memory_suite);

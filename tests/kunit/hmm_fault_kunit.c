// SPDX-License-Identifier: GPL-2.0
/*
 * Device faults: results, what gets mapped, and what happens when the address space
 * changes while a fault is being served.
 *
 * Owns nothing that outlives a test.  The rule behind the races tested here: after an
 * invalidation has returned the device maps nothing that the CPU does not, however the
 * two met; and a fault that meets one in another block does not notice.
 */
#include <kunit/test.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include "../../hmm/hmm_private.h"
#include "mock_device.h"
#include "mock_user.h"

#define FAULT_RW	(PROT_READ | PROT_WRITE)
#define FAULT_AT(n)	(MOCK_BASE + (n) * PAGE_SIZE)

/* Device and mirror of the test's own address space. */
struct fault_fixture {
	struct mock_device *device;
	struct mock_mirror *mirror;
};

static struct mock_mirror *fault_mirror(struct kunit *test)
{
	struct fault_fixture *f = test->priv;

	return f->mirror;
}

static struct mock_device *fault_device(struct kunit *test)
{
	struct fault_fixture *f = test->priv;

	return f->device;
}

static u64 fault_stat(struct kunit *test, enum hmm_mirror_stat stat)
{
	return hmm_mirror_stat(&fault_mirror(test)->hmm, stat);
}

static int fault_init(struct kunit *test)
{
	struct fault_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	test->priv = f;
	/* The first mapping makes the address space. */
	mock_mmap(test, MOCK_BASE - PAGE_SIZE, PAGE_SIZE, PROT_READ);
	f->device = mock_device_new(test, NULL);
	f->mirror = mock_mirror_new(test, f->device, current->mm);
	return 0;
}

static int fault_read(struct kunit *test, unsigned long addr)
{
	return mock_mirror_fault(fault_mirror(test), addr, HMM_FAULT_READ);
}

static int fault_write(struct kunit *test, unsigned long addr)
{
	return mock_mirror_fault(fault_mirror(test), addr, HMM_FAULT_WRITE);
}

/* The device maps what the CPU does, or nothing. */
static void fault_expect_same_page(struct kunit *test, unsigned long addr)
{
	unsigned long pfn = mock_mirror_pfn(fault_mirror(test), addr);

	if (pfn)
		KUNIT_EXPECT_PTR_EQ(test, mock_cpu_page(addr), pfn_to_page(pfn));
}

static void fault_expect_mapped(struct kunit *test, unsigned long addr, bool writable)
{
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_mapped(fault_mirror(test), addr));
	KUNIT_EXPECT_EQ(test, writable, mock_mirror_is_writable(fault_mirror(test), addr));
	fault_expect_same_page(test, addr);
}

static int fault_read_thread(void *data)
{
	return mock_mirror_fault(data, MOCK_BASE, HMM_FAULT_READ);
}

static int fault_write_thread(void *data)
{
	return mock_mirror_fault(data, MOCK_BASE, HMM_FAULT_WRITE);
}

static int fault_next_page_thread(void *data)
{
	return mock_mirror_fault(data, FAULT_AT(1), HMM_FAULT_WRITE);
}

static int fault_zap_thread(void *data)
{
	mock_cpu_zap(MOCK_BASE, PAGE_SIZE);
	return 0;
}

static int fault_unmap_thread(void *data)
{
	return vm_munmap(MOCK_BASE, PAGE_SIZE);
}

static void fault_write_one(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	u64 value = 0;

	mock_mmap(test, MOCK_BASE, 4 * PAGE_SIZE, FAULT_RW);
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, FAULT_AT(1) + 1234));
	fault_expect_mapped(test, FAULT_AT(1), true);
	KUNIT_EXPECT_EQ(test, 1, mock_mirror_nr_pages(mirror));

	/* One memory for both. */
	mock_cpu_store(test, FAULT_AT(1), 17);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(mirror, FAULT_AT(1), &value));
	KUNIT_EXPECT_EQ(test, 17, value);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(mirror, FAULT_AT(1), 18));
	KUNIT_EXPECT_EQ(test, 18, mock_cpu_load(test, FAULT_AT(1)));

	KUNIT_EXPECT_EQ(test, 1, fault_stat(test, HMM_STAT_FAULTS));
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_FAULTS_FAILED));
	KUNIT_EXPECT_EQ(test, 1, fault_stat(test, HMM_STAT_PAGES_MAPPED));
	KUNIT_EXPECT_EQ(test, 1, fault_stat(test, HMM_STAT_CPU_FAULTS));
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_RETRIES));
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_AROUND));
}

/* What the CPU has already needs no fault on its side. */
static void fault_present_page(struct kunit *test)
{
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	mock_cpu_store(test, MOCK_BASE, 1);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(fault_mirror(test), MOCK_BASE,
						   HMM_FAULT_ATOMIC));
	fault_expect_mapped(test, MOCK_BASE, true);
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_CPU_FAULTS));
}

/* A read fault breaks no COW: it gets the zero page, and only to read. */
static void fault_zero_page(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	unsigned long zero;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	KUNIT_EXPECT_EQ(test, 0, fault_read(test, MOCK_BASE));
	zero = mock_mirror_pfn(mirror, MOCK_BASE);
	KUNIT_EXPECT_TRUE(test, is_zero_pfn(zero));
	fault_expect_mapped(test, MOCK_BASE, false);
	KUNIT_EXPECT_EQ(test, -EACCES, mock_mirror_store(mirror, MOCK_BASE, 1));

	KUNIT_EXPECT_EQ(test, 0, fault_write(test, MOCK_BASE));
	KUNIT_EXPECT_NE(test, zero, mock_mirror_pfn(mirror, MOCK_BASE));
	fault_expect_mapped(test, MOCK_BASE, true);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(mirror, MOCK_BASE, 5));
	KUNIT_EXPECT_EQ(test, 5, mock_cpu_load(test, MOCK_BASE));
}

/* The CPU breaks COW of a page that the device reads: the device reads the copy. */
static void fault_cpu_breaks_cow(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	u64 value = 0;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	KUNIT_ASSERT_EQ(test, 0, fault_read(test, MOCK_BASE));
	mock_cpu_store(test, MOCK_BASE, 9);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, fault_read(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(mirror, MOCK_BASE, &value));
	KUNIT_EXPECT_EQ(test, 9, value);
}

struct fault_bad_address {
	const char *desc;
	unsigned long addr;
};

static const struct fault_bad_address fault_bad_addresses[] = {
	{ "null", 0 },
	{ "unmapped, in a block with mappings", MOCK_BASE + 8 * PAGE_SIZE },
	{ "unmapped, in a block without", 0x500000000UL },
	{ "last user page", 0x7fffffffefffUL },
	{ "end of the user's half", 0x7ffffffff000UL },
	{ "not canonical", 1UL << 60 },
	{ "kernel's", 0xffff888000000000UL },
	{ "last", ULONG_MAX },
};

KUNIT_ARRAY_PARAM_DESC(fault_bad_address, fault_bad_addresses, desc);

static void fault_hole(struct kunit *test)
{
	const struct fault_bad_address *p = test->param_value;
	struct mock_mirror *mirror = fault_mirror(test);

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	KUNIT_EXPECT_EQ(test, -EFAULT, fault_read(test, p->addr));
	KUNIT_EXPECT_EQ(test, -EFAULT, fault_write(test, p->addr));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(mirror));
	KUNIT_EXPECT_EQ(test, 2, fault_stat(test, HMM_STAT_FAULTS_FAILED));
	/* And with the widest view around it. */
	fault_device(test)->hmm.caps.fault_around = PMD_SIZE;
	KUNIT_EXPECT_EQ(test, -EFAULT, fault_read(test, p->addr));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(mirror));
	/* It cost nobody anything. */
	KUNIT_EXPECT_EQ(test, 0, fault_device(test)->log->nr);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_blocks(mirror));
}

/* A device with fewer address bits than the process. */
static void fault_va_bits(struct kunit *test)
{
	unsigned long limit = 1UL << 39;

	fault_device(test)->hmm.caps.va_bits = 39;
	mock_mmap(test, limit - PAGE_SIZE, 2 * PAGE_SIZE, FAULT_RW);
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, limit - 1));
	KUNIT_EXPECT_EQ(test, -EFAULT, fault_write(test, limit));
	KUNIT_EXPECT_EQ(test, -EFAULT,
			hmm_mirror_fault_range(&fault_mirror(test)->hmm, limit - PAGE_SIZE,
					       limit + PAGE_SIZE, HMM_FAULT_READ));
	fault_expect_mapped(test, limit - PAGE_SIZE, true);
	KUNIT_EXPECT_EQ(test, 1, mock_mirror_nr_pages(fault_mirror(test)));
}

static void fault_read_only(struct kunit *test)
{
	struct hmm_fault faults[] = {
		{ .addr = MOCK_BASE, .access = HMM_FAULT_WRITE, .cookie = 1 },
		{ .addr = MOCK_BASE + 8, .access = HMM_FAULT_READ, .cookie = 2 },
		{ .addr = MOCK_BASE + 16, .access = HMM_FAULT_ATOMIC, .cookie = 3 },
	};
	int i;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, PROT_READ);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(&fault_mirror(test)->hmm, faults, 3));
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_EQ(test, faults[i].cookie == 2 ? 0 : -EACCES, faults[i].error);
	fault_expect_mapped(test, MOCK_BASE, false);
	KUNIT_EXPECT_EQ(test, 2, fault_stat(test, HMM_STAT_FAULTS_FAILED));
	KUNIT_EXPECT_EQ(test, 2, fault_stat(test, HMM_STAT_FAULTS_MERGED));
	KUNIT_EXPECT_EQ(test, -EACCES, fault_write(test, MOCK_BASE));
}

static void fault_no_access(struct kunit *test)
{
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, PROT_NONE);
	KUNIT_EXPECT_EQ(test, -EACCES, fault_read(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, -EACCES, fault_write(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(fault_mirror(test)));
}

static void fault_merged(struct kunit *test)
{
	struct hmm_fault faults[] = {
		{ .addr = MOCK_BASE + 8, .access = HMM_FAULT_READ },
		{ .addr = MOCK_BASE, .access = HMM_FAULT_WRITE },
		{ .addr = MOCK_BASE + 4095, .access = HMM_FAULT_READ },
		{ .addr = MOCK_BASE, .access = HMM_FAULT_ATOMIC },
	};
	int i;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(&fault_mirror(test)->hmm, faults, 4));
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_EQ(test, 0, faults[i].error);
	fault_expect_mapped(test, MOCK_BASE, true);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&fault_device(test)->calls[MOCK_MAP]));
	KUNIT_EXPECT_EQ(test, 4, fault_stat(test, HMM_STAT_FAULTS));
	KUNIT_EXPECT_EQ(test, 3, fault_stat(test, HMM_STAT_FAULTS_MERGED));
	KUNIT_EXPECT_EQ(test, 1, fault_stat(test, HMM_STAT_PAGES_MAPPED));
	KUNIT_EXPECT_EQ(test, 1, fault_stat(test, HMM_STAT_CPU_FAULTS));
}

/* Unsorted, over four blocks, good and bad ones: each has its own result. */
static void fault_batch(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	unsigned long size = mock_mirror_block_size(mirror);
	static const int errors[] = { 0, -EFAULT, -EACCES, 0, 0, -EFAULT, 0 };
	struct hmm_fault faults[] = {
		{ .addr = MOCK_BASE + 3 * size - 1, .access = HMM_FAULT_READ },
		{ .addr = MOCK_BASE + 3 * size, .access = HMM_FAULT_READ },
		{ .addr = MOCK_BASE - 1, .access = HMM_FAULT_WRITE },
		{ .addr = MOCK_BASE, .access = HMM_FAULT_WRITE },
		{ .addr = MOCK_BASE + size, .access = HMM_FAULT_READ },
		{ .addr = ULONG_MAX, .access = HMM_FAULT_READ },
		{ .addr = MOCK_BASE + size - 1, .access = HMM_FAULT_WRITE },
	};
	int i;

	mock_mmap(test, MOCK_BASE, 3 * size, FAULT_RW);
	for (i = 0; i < ARRAY_SIZE(faults); i++)
		faults[i].cookie = i;
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(&mirror->hmm, faults,
						  ARRAY_SIZE(faults)));
	for (i = 0; i < ARRAY_SIZE(faults); i++)
		KUNIT_EXPECT_EQ_MSG(test, errors[faults[i].cookie], faults[i].error,
				    "fault %llu", faults[i].cookie);
	for (i = 1; i < ARRAY_SIZE(faults); i++)
		KUNIT_EXPECT_LE(test, faults[i - 1].addr, faults[i].addr);
	KUNIT_EXPECT_EQ(test, 4, mock_mirror_nr_pages(mirror));
	KUNIT_EXPECT_EQ(test, 3, fault_stat(test, HMM_STAT_FAULTS_FAILED));
	KUNIT_EXPECT_EQ(test, 7, fault_stat(test, HMM_STAT_FAULTS));
}

static void fault_batch_neighbours(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	struct hmm_fault *faults;
	unsigned int i, nr = 700;

	faults = kunit_kcalloc(test, nr, sizeof(*faults), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, faults);
	mock_mmap(test, MOCK_BASE, nr * PAGE_SIZE, FAULT_RW);
	for (i = 0; i < nr; i++) {
		/* 13 and 700 have no common factor: every page once. */
		faults[i].addr = FAULT_AT(i * 13 % nr);
		faults[i].access = HMM_FAULT_WRITE;
	}
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(&mirror->hmm, faults, nr));
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_EQ(test, 0, faults[i].error);
		fault_expect_mapped(test, FAULT_AT(i), true);
	}
	/* They were served together. */
	KUNIT_EXPECT_LE(test, atomic_read(&fault_device(test)->calls[MOCK_MAP]), 3);
	KUNIT_EXPECT_EQ(test, nr, fault_stat(test, HMM_STAT_PAGES_MAPPED));
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_FAULTS_MERGED));
}

/* An access that does not exist is the error of that fault, and of no other. */
static void fault_bad_access(struct kunit *test)
{
	struct hmm_fault faults[] = {
		{ .addr = MOCK_BASE + 8, .access = HMM_FAULT_ATOMIC + 1, .cookie = 1 },
		{ .addr = MOCK_BASE, .access = HMM_FAULT_READ },
		{ .addr = FAULT_AT(1), .access = U32_MAX, .cookie = 1 },
	};
	struct hmm_mirror *mirror = &fault_mirror(test)->hmm;
	int i;

	mock_mmap(test, MOCK_BASE, 2 * PAGE_SIZE, FAULT_RW);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(mirror, faults, 0));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(mirror, faults, 3));
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_EQ(test, faults[i].cookie ? -EINVAL : 0, faults[i].error);
	fault_expect_mapped(test, MOCK_BASE, false);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(fault_mirror(test), FAULT_AT(1)));
	KUNIT_EXPECT_EQ(test, 2, fault_stat(test, HMM_STAT_FAULTS_FAILED));
}

static void fault_range(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	unsigned long size = mock_mirror_block_size(mirror);
	unsigned long start = MOCK_BASE + size - 3 * PAGE_SIZE, addr;

	mock_mmap(test, MOCK_BASE, 2 * size, FAULT_RW);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault_range(&mirror->hmm, start,
							start + 7 * PAGE_SIZE,
							HMM_FAULT_WRITE));
	for (addr = start; addr < start + 7 * PAGE_SIZE; addr += PAGE_SIZE)
		fault_expect_mapped(test, addr, true);
	KUNIT_EXPECT_EQ(test, 7, mock_mirror_nr_pages(mirror));
	KUNIT_EXPECT_EQ(test, 7, fault_stat(test, HMM_STAT_CPU_FAULTS));
}

static void fault_range_hole(struct kunit *test)
{
	struct hmm_mirror *mirror = &fault_mirror(test)->hmm;

	mock_mmap(test, MOCK_BASE, 9 * PAGE_SIZE, FAULT_RW);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(FAULT_AT(4), PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_mirror_fault_range(mirror, MOCK_BASE, FAULT_AT(9),
							      HMM_FAULT_WRITE));
	for (int i = 0; i < 4; i++)
		fault_expect_mapped(test, FAULT_AT(i), true);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(fault_mirror(test), FAULT_AT(4)));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault_range(mirror, FAULT_AT(5), FAULT_AT(9),
							HMM_FAULT_WRITE));
	/* A part that may only be read. */
	mock_mmap(test, FAULT_AT(4), PAGE_SIZE, PROT_READ);
	KUNIT_EXPECT_EQ(test, -EACCES, hmm_mirror_fault_range(mirror, MOCK_BASE, FAULT_AT(9),
							      HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault_range(mirror, MOCK_BASE, FAULT_AT(9),
							HMM_FAULT_READ));
	fault_expect_mapped(test, FAULT_AT(4), false);
	fault_expect_mapped(test, FAULT_AT(8), true);
}

struct fault_bad_range {
	const char *desc;
	unsigned long start, end;
	u32 access;
};

static const struct fault_bad_range fault_bad_ranges[] = {
	{ "start not aligned", MOCK_BASE + 1, MOCK_BASE + PAGE_SIZE, HMM_FAULT_READ },
	{ "end not aligned", MOCK_BASE, MOCK_BASE + 1, HMM_FAULT_READ },
	{ "empty", MOCK_BASE, MOCK_BASE, HMM_FAULT_READ },
	{ "reversed", MOCK_BASE + PAGE_SIZE, MOCK_BASE, HMM_FAULT_READ },
	{ "wrapped", -PAGE_SIZE, PAGE_SIZE, HMM_FAULT_READ },
	{ "unknown access", MOCK_BASE, MOCK_BASE + PAGE_SIZE, HMM_FAULT_ATOMIC + 1 },
};

KUNIT_ARRAY_PARAM_DESC(fault_bad_range, fault_bad_ranges, desc);

static void fault_range_invalid(struct kunit *test)
{
	const struct fault_bad_range *p = test->param_value;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_fault_range(&fault_mirror(test)->hmm,
							      p->start, p->end, p->access));
	KUNIT_EXPECT_EQ(test, 0, fault_device(test)->log->nr);
}

static void fault_range_everything(struct kunit *test)
{
	struct hmm_mirror *mirror = &fault_mirror(test)->hmm;

	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_mirror_fault_range(mirror, 0,
							      ULONG_MAX & PAGE_MASK,
							      HMM_FAULT_READ));
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_mirror_fault_range(mirror,
							      0xffff888000000000UL,
							      ULONG_MAX & PAGE_MASK,
							      HMM_FAULT_READ));
}

static void fault_prepare_fails(struct kunit *test)
{
	struct mock_device *device = fault_device(test);

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	device->prepare_error = -ENOMEM;
	KUNIT_EXPECT_EQ(test, -ENOMEM, fault_write(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&device->calls[MOCK_MAP]));
	device->prepare_error = 0;
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, MOCK_BASE));
}

static void fault_map_fails(struct kunit *test)
{
	struct mock_device *device = fault_device(test);

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	device->map_error = -EIO;
	KUNIT_EXPECT_EQ(test, -EIO, fault_write(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&device->calls[MOCK_MAP]));
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_PAGES_MAPPED));
	device->map_error = 0;
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 1, fault_stat(test, HMM_STAT_PAGES_MAPPED));
}

/* The driver is short of prepared memory: prepared again, and no collision. */
static void fault_map_again(struct kunit *test)
{
	struct mock_device *device = fault_device(test);

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	mock_cpu_store(test, MOCK_BASE, 1);
	atomic_set(&device->map_again, 3);
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 4, atomic_read(&device->calls[MOCK_MAP]));
	KUNIT_EXPECT_EQ(test, 4, atomic_read(&device->calls[MOCK_PREPARE]));
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_RETRIES));
	KUNIT_EXPECT_EQ(test, 1, fault_stat(test, HMM_STAT_PAGES_MAPPED));
}

/* A driver that never manages does not hang the fault path. */
static void fault_map_never(struct kunit *test)
{
	unsigned long begin = jiffies;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	atomic_set(&fault_device(test)->map_again, -1);
	KUNIT_EXPECT_EQ(test, -EBUSY, fault_write(test, MOCK_BASE));
	KUNIT_EXPECT_TRUE(test, time_after(jiffies, begin + HZ / 2));
	KUNIT_EXPECT_TRUE(test, time_before(jiffies, begin + MOCK_PATIENCE));
}

static int fault_killed_thread(void *data)
{
	allow_signal(SIGKILL);
	return mock_mirror_fault(data, MOCK_BASE, HMM_FAULT_WRITE);
}

/* A thread that is killed does not try for ever. */
static void fault_killed(struct kunit *test)
{
	struct mock_device *device = fault_device(test);
	struct mock_thread *thread;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	mock_cpu_store(test, MOCK_BASE, 1);
	atomic_set(&device->map_again, -1);
	mock_gate_arm(device, MOCK_MAP);
	thread = mock_thread_run(test, NULL, fault_killed_thread, fault_mirror(test));
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(device, MOCK_MAP));
	send_sig(SIGKILL, thread->task, 1);
	mock_gate_open(device, MOCK_MAP);
	KUNIT_EXPECT_EQ(test, -EINTR, mock_thread_join(test, thread));
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&device->calls[MOCK_MAP]));
}

static void fault_around(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	int i;

	fault_device(test)->hmm.caps.fault_around = SZ_64K;
	mock_mmap(test, MOCK_BASE, SZ_128K, FAULT_RW);
	for (i = 0; i < 32; i += 2)
		mock_cpu_store(test, FAULT_AT(i), i);
	/* Only the mapped ones around it, with the rights they have. */
	KUNIT_EXPECT_EQ(test, 0, fault_read(test, FAULT_AT(5)));
	for (i = 0; i < 32; i++)
		KUNIT_EXPECT_EQ(test, i == 5 || (i < 16 && i % 2 == 0),
				mock_mirror_is_mapped(mirror, FAULT_AT(i)));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_writable(mirror, FAULT_AT(4)));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_writable(mirror, FAULT_AT(5)));
	KUNIT_EXPECT_EQ(test, 8, fault_stat(test, HMM_STAT_AROUND));
	KUNIT_EXPECT_EQ(test, 9, fault_stat(test, HMM_STAT_PAGES_MAPPED));
	KUNIT_EXPECT_EQ(test, 1, fault_stat(test, HMM_STAT_CPU_FAULTS));
}

/* Neighbours that may not be read, or are not there, are nobody's error. */
static void fault_around_border(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);

	fault_device(test)->hmm.caps.fault_around = SZ_64K;
	mock_mmap(test, FAULT_AT(1), PAGE_SIZE, FAULT_RW);
	mock_mmap(test, FAULT_AT(2), PAGE_SIZE, PROT_READ);
	mock_mmap(test, FAULT_AT(3), PAGE_SIZE, PROT_NONE);
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, FAULT_AT(1)));
	KUNIT_EXPECT_EQ(test, 0, fault_read(test, FAULT_AT(2)));
	KUNIT_EXPECT_EQ(test, -EACCES, fault_read(test, FAULT_AT(3)));
	KUNIT_EXPECT_EQ(test, -EFAULT, fault_read(test, FAULT_AT(4)));
	KUNIT_EXPECT_EQ(test, 2, mock_mirror_nr_pages(mirror));
	fault_expect_mapped(test, FAULT_AT(1), true);
	fault_expect_mapped(test, FAULT_AT(2), false);
}

/* A huge page in the test's address space, or the test is skipped. */
static unsigned long fault_huge_page(struct kunit *test)
{
	unsigned long addr = ALIGN(MOCK_BASE, PMD_SIZE);
	struct page *page;

	mock_mmap(test, addr, 2 * PMD_SIZE, FAULT_RW);
	mock_cpu_advise_huge(test, addr);
	mock_cpu_store(test, addr, 1);
	page = mock_cpu_page(addr + PMD_SIZE - PAGE_SIZE);
	if (!page || folio_order(page_folio(page)) < PMD_SHIFT - PAGE_SHIFT)
		kunit_skip(test, "no huge page to be had");
	return addr;
}

static void fault_huge(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	unsigned long addr = fault_huge_page(test);
	struct mock_call *last;

	KUNIT_EXPECT_EQ(test, 0, fault_write(test, addr + 5 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, PMD_SIZE / PAGE_SIZE, mock_mirror_nr_pages(mirror));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_huge(mirror, addr));
	fault_expect_mapped(test, addr, true);
	fault_expect_mapped(test, addr + PMD_SIZE - PAGE_SIZE, true);
	KUNIT_EXPECT_EQ(test, 1, fault_stat(test, HMM_STAT_HUGE_MAPPED));
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_PAGES_MAPPED));
	last = &fault_device(test)->log->calls[fault_device(test)->log->nr - 1];
	KUNIT_EXPECT_EQ(test, PMD_SHIFT, last->shift);
	KUNIT_EXPECT_EQ(test, addr, last->start);

	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr + PAGE_SIZE, PAGE_SIZE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(mirror, addr + PAGE_SIZE));
	fault_expect_same_page(test, addr);
}

static void fault_huge_on_small_device(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	unsigned long addr = fault_huge_page(test);

	fault_device(test)->hmm.caps.huge = false;
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, addr + 5 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 1, mock_mirror_nr_pages(mirror));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault_range(&mirror->hmm, addr, addr + PMD_SIZE,
							HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, PMD_SIZE / PAGE_SIZE, mock_mirror_nr_pages(mirror));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_huge(mirror, addr));
	fault_expect_mapped(test, addr + PMD_SIZE - PAGE_SIZE, true);
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_HUGE_MAPPED));
}

/* A range with a huge page in its middle is written in three pieces. */
static void fault_huge_in_range(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	unsigned long addr = fault_huge_page(test);
	unsigned long end = addr + 2 * PMD_SIZE;

	mock_cpu_store(test, addr + PMD_SIZE, 1);
	mock_mmap(test, end, PAGE_SIZE, FAULT_RW);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault_range(&mirror->hmm, addr + PAGE_SIZE,
							end + PAGE_SIZE, HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 2 * PMD_SIZE / PAGE_SIZE + 1, mock_mirror_nr_pages(mirror));
	KUNIT_EXPECT_EQ(test, 2, fault_stat(test, HMM_STAT_HUGE_MAPPED));
	KUNIT_EXPECT_EQ(test, 1, fault_stat(test, HMM_STAT_PAGES_MAPPED));
	fault_expect_mapped(test, end, true);
}

static void fault_device_memory(struct kunit *test)
{
	struct mock_file *file = mock_file_new(test, MOCK_FILE_PFNMAP);

	mock_mmap_file(test, file->file, MOCK_BASE, PAGE_SIZE, FAULT_RW, MAP_SHARED);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, fault_read(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, fault_write(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(fault_mirror(test)));
}

static void fault_beyond_file(struct kunit *test)
{
	struct mock_file *file = mock_file_new(test, MOCK_FILE_SIGBUS);

	mock_mmap_file(test, file->file, MOCK_BASE, PAGE_SIZE, FAULT_RW, MAP_SHARED);
	KUNIT_EXPECT_EQ(test, -EFAULT, fault_read(test, MOCK_BASE));
}

static void fault_no_memory(struct kunit *test)
{
	struct mock_file *file = mock_file_new(test, MOCK_FILE_OOM);

	mock_mmap_file(test, file->file, MOCK_BASE, PAGE_SIZE, FAULT_RW, MAP_SHARED);
	KUNIT_EXPECT_EQ(test, -ENOMEM, fault_read(test, MOCK_BASE));
}

/* The copy cannot be had: who wanted to read reads all the same. */
static void fault_no_memory_to_write(struct kunit *test)
{
	struct hmm_fault faults[] = {
		{ .addr = MOCK_BASE, .access = HMM_FAULT_WRITE, .cookie = 1 },
		{ .addr = MOCK_BASE, .access = HMM_FAULT_READ },
	};
	struct mock_file *file = mock_file_new(test, MOCK_FILE_NO_WRITE);
	int i;

	mock_mmap_file(test, file->file, MOCK_BASE, PAGE_SIZE, FAULT_RW, MAP_SHARED);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(&fault_mirror(test)->hmm, faults, 2));
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, faults[i].cookie ? -ENOMEM : 0, faults[i].error);
	fault_expect_mapped(test, MOCK_BASE, false);
}

static void fault_file(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	struct file *file = shmem_file_setup("hmm", 2 * PAGE_SIZE, EMPTY_VMA_FLAGS);

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mock_mmap_file(test, file, MOCK_BASE, 2 * PAGE_SIZE, FAULT_RW, MAP_SHARED);
	mock_mmap_file(test, file, FAULT_AT(2), 2 * PAGE_SIZE, FAULT_RW, MAP_PRIVATE);
	fput(file);
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(mirror, MOCK_BASE, 42));
	KUNIT_EXPECT_EQ(test, 42, mock_cpu_load(test, MOCK_BASE));

	/* The private mapping shows the file until it is written to. */
	KUNIT_EXPECT_EQ(test, 0, fault_read(test, FAULT_AT(2)));
	KUNIT_EXPECT_EQ(test, mock_mirror_pfn(mirror, MOCK_BASE),
			mock_mirror_pfn(mirror, FAULT_AT(2)));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_writable(mirror, FAULT_AT(2)));
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, FAULT_AT(2)));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(mirror, FAULT_AT(2), 43));
	KUNIT_EXPECT_EQ(test, 42, mock_cpu_load(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 43, mock_cpu_load(test, FAULT_AT(2)));
}

/* A fault that waits for user space: without mmap_lock, and out of nobody's time. */
static void fault_slow(struct kunit *test)
{
	struct mock_file *file = mock_file_new(test, MOCK_FILE_SLOW);
	struct mock_mirror *mirror = fault_mirror(test);
	struct mock_thread *slow;

	mock_mmap_file(test, file->file, MOCK_BASE, PAGE_SIZE, FAULT_RW, MAP_SHARED);
	slow = mock_thread_run(test, NULL, fault_write_thread, mirror);
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&file->entered, MOCK_PATIENCE));
	/* In the same block: faults, and changes of the address space. */
	mock_mmap(test, FAULT_AT(1), 2 * PAGE_SIZE, FAULT_RW);
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, FAULT_AT(1)));
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(FAULT_AT(1), PAGE_SIZE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(mirror, FAULT_AT(1)));
	msleep(1500);
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(slow));
	complete_all(&file->open);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, slow));
	KUNIT_EXPECT_FALSE(test, file->stuck);
	fault_expect_mapped(test, MOCK_BASE, true);
}

/* The mapping goes away while the fault waits for its page. */
static void fault_slow_unmapped(struct kunit *test)
{
	struct mock_file *file = mock_file_new(test, MOCK_FILE_SLOW);
	struct mock_mirror *mirror = fault_mirror(test);
	struct mock_thread *slow;

	mock_mmap_file(test, file->file, MOCK_BASE, PAGE_SIZE, FAULT_RW, MAP_SHARED);
	slow = mock_thread_run(test, NULL, fault_read_thread, mirror);
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&file->entered, MOCK_PATIENCE));
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(MOCK_BASE, PAGE_SIZE));
	complete_all(&file->open);
	KUNIT_EXPECT_EQ(test, -EFAULT, mock_thread_join(test, slow));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(mirror));
}

static void fault_unmap_hook(void *data)
{
	struct kunit *test = data;
	struct mock_thread *thread;

	fault_device(test)->hook = NULL;
	thread = mock_thread_run(test, current->mm, fault_unmap_thread, NULL);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
}

/* The mapping goes away while the driver prepares. */
static void fault_unmapped_in_prepare(struct kunit *test)
{
	struct mock_device *device = fault_device(test);

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	mock_cpu_store(test, MOCK_BASE, 1);
	device->hook_data = test;
	device->hook = fault_unmap_hook;
	KUNIT_EXPECT_EQ(test, -EFAULT, fault_read(test, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(fault_mirror(test)));
}

static void fault_credentials_hook(void *data)
{
	*(const struct cred **)data = current_cred();
}

/* Whoever serves a fault is, while he does, who has registered the mirror. */
static void fault_credentials(struct kunit *test)
{
	struct mock_device *device = fault_device(test);
	const struct cred *before = current_cred(), *other, *seen = NULL;
	struct cred *cred = prepare_creds();

	KUNIT_ASSERT_NOT_NULL(test, cred);
	other = override_creds(cred);
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	device->hook_data = &seen;
	device->hook = fault_credentials_hook;
	KUNIT_EXPECT_EQ(test, 0, fault_write(test, MOCK_BASE));
	KUNIT_EXPECT_PTR_EQ(test, seen, before);
	KUNIT_EXPECT_PTR_EQ(test, current_cred(), (const struct cred *)cred);
	revert_creds(other);
	put_cred(cred);
}

/*
 * An invalidation between look and commit, made to happen:
 *
 *	fault A (page 1)	zap (page 0)		fault B (page 0)
 *	lock
 *	 map() is held
 *				waits for the lock
 *							looks: page is there
 *							waits for the lock
 *	 map() goes on
 *	unlock
 *				lock, new sequence,
 *				unlock
 *				frees the page
 *							lock, collision,
 *							unlock, looks again
 *
 * Required: B maps the page that the CPU has after the zap, and never the old one.
 */
static void fault_collision(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	struct mock_device *device = fault_device(test);
	struct mock_thread *a, *zap, *b;

	mock_mmap(test, MOCK_BASE, 2 * PAGE_SIZE, FAULT_RW);
	mock_cpu_store(test, MOCK_BASE, 0x01d);
	mock_gate_arm(device, MOCK_MAP);
	a = mock_thread_run(test, NULL, fault_next_page_thread, mirror);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(device, MOCK_MAP));
	zap = mock_thread_run(test, current->mm, fault_zap_thread, NULL);
	KUNIT_ASSERT_TRUE(test, mock_thread_blocks(zap));
	b = mock_thread_run(test, NULL, fault_write_thread, mirror);
	KUNIT_ASSERT_TRUE(test, mock_thread_blocks(b));

	mock_gate_open(device, MOCK_MAP);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, a));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, zap));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, b));
	fault_expect_same_page(test, MOCK_BASE);
	KUNIT_EXPECT_EQ(test, 0, mock_cpu_load(test, MOCK_BASE));
	KUNIT_EXPECT_GE(test, fault_stat(test, HMM_STAT_RETRIES), 1);
	fault_expect_mapped(test, FAULT_AT(1), true);
}

/* The same with an unmap in another block, which is over before B commits. */
static void fault_no_collision_elsewhere(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	struct mock_device *device = fault_device(test);
	unsigned long other = mock_mirror_block(mirror, 1);
	struct mock_thread *a, *b;

	mock_mmap(test, MOCK_BASE, 2 * PAGE_SIZE, FAULT_RW);
	mock_mmap(test, other, PAGE_SIZE, FAULT_RW);
	mock_cpu_store(test, MOCK_BASE, 1);
	KUNIT_ASSERT_EQ(test, 0, fault_write(test, other));
	mock_gate_arm(device, MOCK_MAP);
	a = mock_thread_run(test, NULL, fault_next_page_thread, mirror);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(device, MOCK_MAP));
	b = mock_thread_run(test, NULL, fault_write_thread, mirror);
	KUNIT_ASSERT_TRUE(test, mock_thread_blocks(b));
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(other, PAGE_SIZE));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(mirror, other));
	/* Nor did the unmap wait for anybody in this block. */
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(a));

	mock_gate_open(device, MOCK_MAP);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, a));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, b));
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_RETRIES));
	fault_expect_mapped(test, MOCK_BASE, true);
}

/* An invalidation that comes during the commit waits, and then drops what was written. */
static void fault_unmap_during_map(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	struct mock_device *device = fault_device(test);
	struct mock_thread *fault, *unmap;
	struct mock_log *log = device->log;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	mock_gate_arm(device, MOCK_MAP);
	fault = mock_thread_run(test, NULL, fault_write_thread, mirror);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(device, MOCK_MAP));
	unmap = mock_thread_run(test, current->mm, fault_unmap_thread, NULL);
	KUNIT_EXPECT_TRUE(test, mock_thread_blocks(unmap));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&device->calls[MOCK_UPDATE]));
	mock_gate_open(device, MOCK_MAP);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, fault));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, unmap));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(mirror));
	KUNIT_EXPECT_EQ(test, MOCK_UPDATE, log->calls[log->nr - 1].op);
}

/**
 * struct fault_storm - a CPU thread that changes memory and a device that reads it
 * @mirror: the device
 * @written: the CPU has written this, or a higher number, or is about to
 * @deadline: when it is to end, in jiffies
 * @loads: reads of the device
 * @stop: the device is to end
 */
struct fault_storm {
	struct mock_mirror *mirror;
	u64 written;
	unsigned long deadline;
	u64 loads;
	bool stop;
};

#define FAULT_STORM_SINK	(MOCK_BASE + SZ_1G)
#define FAULT_STORM_SINK_PAGES	64

/* Take the page that was freed last, or the next round would have it again. */
static int fault_storm_sink(u64 round)
{
	unsigned long n = round % FAULT_STORM_SINK_PAGES;

	if (!n)
		mock_cpu_zap(FAULT_STORM_SINK, FAULT_STORM_SINK_PAGES * PAGE_SIZE);
	/* A number that is always too old. */
	return put_user(1ULL, (u64 __user *)(FAULT_STORM_SINK + n * PAGE_SIZE));
}

/* New memory and a new number in it, at the same address. */
static int fault_storm_cpu(void *data)
{
	struct fault_storm *storm = data;
	u64 round;

	for (round = 2; time_before(jiffies, storm->deadline) ||
	     (!READ_ONCE(storm->loads) && time_before(jiffies, storm->deadline + MOCK_PATIENCE));
	     round++) {
		if (round % 2)
			vm_munmap(MOCK_BASE, PAGE_SIZE);
		else
			mock_cpu_zap(MOCK_BASE, PAGE_SIZE);
		if (fault_storm_sink(round))
			return -EFAULT;
		if (round % 2 && vm_mmap(NULL, MOCK_BASE, PAGE_SIZE, FAULT_RW,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0) != MOCK_BASE)
			return -ENOMEM;
		if (put_user(round, (u64 __user *)MOCK_BASE))
			return -EFAULT;
		/* Pairs with the device's side: who sees this number sees the memory. */
		smp_store_release(&storm->written, round);
		cond_resched();
	}
	return 0;
}

static int fault_storm_device(void *data)
{
	struct fault_storm *storm = data;
	u64 written, value;
	int ret;

	while (!READ_ONCE(storm->stop)) {
		/* Pairs with the CPU's side. */
		written = smp_load_acquire(&storm->written);
		ret = mock_mirror_load(storm->mirror, MOCK_BASE, &value);
		if (!ret) {
			storm->loads++;
			/* Fresh memory is zero until the number is in it. */
			if (value && value < written)
				return -ESTALE;
			cond_resched();
			continue;
		}
		ret = mock_mirror_fault(storm->mirror, MOCK_BASE, HMM_FAULT_READ);
		if (ret && ret != -EFAULT && ret != -EBUSY)
			return ret;
	}
	return 0;
}

/* The device never reads what the CPU has replaced. */
static void fault_never_stale(struct kunit *test)
{
	struct fault_storm storm = {
		.mirror = fault_mirror(test),
		.deadline = jiffies + 4 * HZ,
	};
	struct mock_thread *cpu, *device[2];
	int i;

	fault_device(test)->tokens = true;
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	mock_mmap(test, FAULT_STORM_SINK, FAULT_STORM_SINK_PAGES * PAGE_SIZE, FAULT_RW);
	for (i = 0; i < 2; i++)
		device[i] = mock_thread_run(test, NULL, fault_storm_device, &storm);
	cpu = mock_thread_run(test, current->mm, fault_storm_cpu, &storm);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, cpu));
	WRITE_ONCE(storm.stop, true);
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, device[i]));
	kunit_info(test, "%llu rounds, %llu loads, %llu faults, %llu collisions\n",
		   storm.written, storm.loads, fault_stat(test, HMM_STAT_FAULTS),
		   fault_stat(test, HMM_STAT_RETRIES));
	KUNIT_EXPECT_GT(test, storm.loads, 0);
}

static int fault_elsewhere_thread(void *data)
{
	struct fault_storm *storm = data;
	unsigned long other = mock_mirror_block(storm->mirror, 1);

	while (!READ_ONCE(storm->stop)) {
		if (vm_mmap(NULL, other, PAGE_SIZE, FAULT_RW,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0) != other)
			return -ENOMEM;
		if (mock_mirror_fault(storm->mirror, other, HMM_FAULT_WRITE))
			return -EIO;
		vm_munmap(other, PAGE_SIZE);
		storm->written++;
		cond_resched();
	}
	return 0;
}

/* Whatever happens in another block, faults in this one are never repeated. */
static void fault_never_retries_elsewhere(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	struct fault_storm storm = { .mirror = mirror };
	struct mock_thread *thread;
	u64 failed = 0;
	int i;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, FAULT_RW);
	thread = mock_thread_run(test, current->mm, fault_elsewhere_thread, &storm);
	for (i = 0; i < 1000 || READ_ONCE(storm.written) < 100; i++)
		failed += !!mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_WRITE);
	WRITE_ONCE(storm.stop, true);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, thread));
	kunit_info(test, "%d faults, %llu unmaps elsewhere\n", i, storm.written);
	KUNIT_EXPECT_EQ(test, 0, failed);
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_RETRIES));
}

static int fault_many_thread(void *data)
{
	struct mock_mirror *mirror = data;
	int i, ret;

	for (i = 0; i < 500; i++) {
		ret = mock_mirror_fault(mirror, FAULT_AT(i), HMM_FAULT_WRITE);
		if (ret)
			return ret;
	}
	return 0;
}

/* Many threads of one device fault on the same pages: the counters add up. */
static void fault_many_threads(struct kunit *test)
{
	struct mock_mirror *mirror = fault_mirror(test);
	struct mock_thread *threads[4];
	int i;

	mock_mmap(test, MOCK_BASE, 500 * PAGE_SIZE, FAULT_RW);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		threads[i] = mock_thread_run(test, NULL, fault_many_thread, mirror);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, threads[i]));
	for (i = 0; i < 500; i++)
		fault_expect_mapped(test, FAULT_AT(i), true);
	KUNIT_EXPECT_EQ(test, 2000, fault_stat(test, HMM_STAT_FAULTS));
	KUNIT_EXPECT_EQ(test, 2000, fault_stat(test, HMM_STAT_PAGES_MAPPED));
	KUNIT_EXPECT_EQ(test, 0, fault_stat(test, HMM_STAT_FAULTS_FAILED));
	KUNIT_EXPECT_GE(test, fault_stat(test, HMM_STAT_CPU_FAULTS), 500);
	KUNIT_EXPECT_EQ(test, 1, mock_mirror_nr_blocks(mirror));
}

static struct kunit_case hmm_fault_cases[] = {
	KUNIT_CASE(fault_write_one),
	KUNIT_CASE(fault_present_page),
	KUNIT_CASE(fault_zero_page),
	KUNIT_CASE(fault_cpu_breaks_cow),
	KUNIT_CASE_PARAM(fault_hole, fault_bad_address_gen_params),
	KUNIT_CASE(fault_va_bits),
	KUNIT_CASE(fault_read_only),
	KUNIT_CASE(fault_no_access),
	KUNIT_CASE(fault_merged),
	KUNIT_CASE(fault_batch),
	KUNIT_CASE(fault_batch_neighbours),
	KUNIT_CASE(fault_bad_access),
	KUNIT_CASE(fault_range),
	KUNIT_CASE(fault_range_hole),
	KUNIT_CASE_PARAM(fault_range_invalid, fault_bad_range_gen_params),
	KUNIT_CASE(fault_range_everything),
	KUNIT_CASE(fault_prepare_fails),
	KUNIT_CASE(fault_map_fails),
	KUNIT_CASE(fault_map_again),
	KUNIT_CASE_SLOW(fault_map_never),
	KUNIT_CASE(fault_killed),
	KUNIT_CASE(fault_around),
	KUNIT_CASE(fault_around_border),
	KUNIT_CASE(fault_huge),
	KUNIT_CASE(fault_huge_on_small_device),
	KUNIT_CASE(fault_huge_in_range),
	KUNIT_CASE(fault_device_memory),
	KUNIT_CASE(fault_beyond_file),
	KUNIT_CASE(fault_no_memory),
	KUNIT_CASE(fault_no_memory_to_write),
	KUNIT_CASE(fault_file),
	KUNIT_CASE_SLOW(fault_slow),
	KUNIT_CASE(fault_slow_unmapped),
	KUNIT_CASE(fault_unmapped_in_prepare),
	KUNIT_CASE(fault_credentials),
	KUNIT_CASE(fault_collision),
	KUNIT_CASE(fault_no_collision_elsewhere),
	KUNIT_CASE(fault_unmap_during_map),
	KUNIT_CASE_SLOW(fault_never_stale),
	KUNIT_CASE_SLOW(fault_never_retries_elsewhere),
	KUNIT_CASE(fault_many_threads),
	{}
};

static struct kunit_suite hmm_fault_suite = {
	.name = "hmm_fault",
	.init = fault_init,
	.test_cases = hmm_fault_cases,
};

kunit_test_suite(hmm_fault_suite);

// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of files on a device, as the fault path, policy, migration and eviction see them.
 *
 * A mock device with memory faults on a mapping of a file of a mock file system that was
 * taught.  Where a page is, and what it has cost, is told by the counters of the device's
 * memory and of the file system; what is in it, by all ways to it: the device, the CPU's
 * mapping, read(2), the disk.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/string.h>
#include "../../hmm/hmm_private.h"
#include "../../rmem/pagecache_private.h"
#include "mock_device.h"
#include "mock_fs.h"
#include "mock_memory.h"
#include "mock_user.h"

#define FILE_RW		(PROT_READ | PROT_WRITE)
#define FILE_AT(n)	(MOCK_BASE + (n) * PAGE_SIZE)

/* What the window of a fault is, in pages: at first. */
#define FILE_WINDOW	16

/* Pages of most files. */
#define FILE_PAGES	64

/**
 * struct file_fixture - a process that maps a file, on a device with memory
 * @fs: the file system
 * @memory: the memory
 * @mirror: the process
 * @results: of the last migration
 */
struct file_fixture {
	struct mock_fs *fs;
	struct mock_memory *memory;
	struct mock_mirror *mirror;
	u8 results[1024];
};

/* A device that has memory for all that can move, and one that has it for files only. */
struct file_kind {
	const char *name;
	bool plain;
};

static const struct file_kind file_kinds[] = {
	{ "private" },
	{ "plain", .plain = true },
};

static void file_describe(const struct file_kind *kind, char *text)
{
	strscpy(text, kind->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(file, file_kinds, file_describe);

static bool file_is_plain(struct kunit *test)
{
	const struct file_kind *kind = test->param_value;

	return kind->plain;
}

static struct mock_memory *file_memory(struct kunit *test, unsigned int chunks)
{
	return file_is_plain(test) ? mock_memory_new_plain(test, chunks) :
				     mock_memory_new(test, NULL, chunks);
}

static struct file_fixture *file_begin_as(struct kunit *test, unsigned long pages,
					  unsigned int chunks, unsigned long prot,
					  unsigned long flags)
{
	struct file_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->fs = mock_fs_new(test, pages);
	mock_fs_map(f->fs, MOCK_BASE, pages, prot, flags);
	f->memory = file_memory(test, chunks);
	f->mirror = mock_mirror_new(test, f->memory->device, current->mm);
	return f;
}

/* A shared mapping, of which all pages are in the page cache, and all may move. */
static struct file_fixture *file_begin(struct kunit *test, enum hmm_policy policy)
{
	struct file_fixture *f = file_begin_as(test, FILE_PAGES, 2, FILE_RW, MAP_SHARED);
	unsigned long n;

	for (n = 0; n < FILE_PAGES; n++)
		KUNIT_ASSERT_EQ(test, n + 1, mock_fs_read(f->fs, n));
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_policy(&f->mirror->hmm, policy));
	return f;
}

static u64 file_stat(struct file_fixture *f, enum hmm_rmem_stat stat)
{
	return mock_memory_stat(f->memory, stat);
}

static int file_migrate(struct file_fixture *f, unsigned long first, unsigned long nr,
			u32 flags)
{
	return hmm_mirror_migrate(&f->mirror->hmm, FILE_AT(first), FILE_AT(first + nr), flags,
				  f->results, NULL);
}

/* The device reads, after a fault if need be. */
static u64 file_load(struct kunit *test, struct file_fixture *f, unsigned long n)
{
	u64 value = 0;

	if (mock_mirror_load(f->mirror, FILE_AT(n), &value)) {
		KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, FILE_AT(n),
							   HMM_FAULT_READ));
		KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(f->mirror, FILE_AT(n), &value));
	}
	return value;
}

/* The device writes, after a fault if need be. */
static void file_store(struct kunit *test, struct file_fixture *f, unsigned long n, u64 value)
{
	if (mock_mirror_store(f->mirror, FILE_AT(n), value)) {
		KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(f->mirror, FILE_AT(n),
							   HMM_FAULT_WRITE));
		KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(f->mirror, FILE_AT(n), value));
	}
}

static void file_expect_place(struct kunit *test, struct file_fixture *f, unsigned long n,
			      u8 place, u8 flags)
{
	struct hmm_residency out;

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_residency(&f->mirror->hmm, FILE_AT(n), &out, 1));
	KUNIT_EXPECT_EQ_MSG(test, place, out.place, "page %lu\n", n);
	KUNIT_EXPECT_EQ_MSG(test, flags, out.flags, "page %lu\n", n);
}

static void file_expect_shared(struct kunit *test, struct file_fixture *f, unsigned long n)
{
	file_expect_place(test, f, n, HMM_PLACE_DEVICE, HMM_RESIDENCY_READ);
}

static void file_expect_owned(struct kunit *test, struct file_fixture *f, unsigned long n)
{
	file_expect_place(test, f, n, HMM_PLACE_DEVICE,
			  HMM_RESIDENCY_READ | HMM_RESIDENCY_WRITE);
}

/* A device that reads shares the pages around with the CPU. */
static void file_read_shares(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);
	unsigned long n;

	KUNIT_EXPECT_EQ(test, 21, file_load(test, f, 20));
	for (n = FILE_WINDOW; n < 2 * FILE_WINDOW; n++)
		file_expect_shared(test, f, n);
	KUNIT_EXPECT_EQ(test, FILE_WINDOW, file_stat(f, HMM_RMEM_FILE));
	KUNIT_EXPECT_EQ(test, FILE_WINDOW, file_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_FILE_OWNED));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&f->fs->mkwrites));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_writable(f->mirror, FILE_AT(20)));

	/* It does not matter to who reads with the CPU, one way or the other. */
	KUNIT_EXPECT_EQ(test, 21, mock_cpu_load(test, FILE_AT(20)));
	KUNIT_EXPECT_EQ(test, 21, mock_fs_read(f->fs, 20));
	file_expect_shared(test, f, 20);
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(20)));
}

/* Who writes with the CPU has the page for himself, and the device looks again. */
static void file_cpu_writes(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);

	KUNIT_EXPECT_EQ(test, 1, file_load(test, f, 0));
	KUNIT_EXPECT_EQ(test, 2, file_load(test, f, 1));
	mock_cpu_store(test, FILE_AT(0), 100);
	mock_fs_write(f->fs, 1, 101);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(0)));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(1)));
	KUNIT_EXPECT_EQ(test, FILE_WINDOW - 2, file_stat(f, HMM_RMEM_FILE));
	KUNIT_EXPECT_EQ(test, 100, file_load(test, f, 0));
	KUNIT_EXPECT_EQ(test, 101, file_load(test, f, 1));
}

/* A device that writes owns this page, and those around it are for reading. */
static void file_write_owns(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);
	struct inode *inode = file_inode(f->fs->file);
	unsigned long n;

	file_store(test, f, 5, 500);
	for (n = 0; n < FILE_WINDOW; n++) {
		if (n == 5)
			file_expect_owned(test, f, n);
		else
			file_expect_shared(test, f, n);
	}
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->fs->mkwrites));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&f->fs->cpu_mkwrites));
	KUNIT_EXPECT_EQ(test, 1, file_stat(f, HMM_RMEM_FILE_OWNED));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_writable(f->mirror, FILE_AT(6)));
	KUNIT_EXPECT_TRUE(test, mapping_tagged(inode->i_mapping, PAGECACHE_TAG_DIRTY));
	KUNIT_EXPECT_EQ(test, 6, f->fs->disk[5]);

	/* Writeback has the bytes of the device, which goes on reading. */
	KUNIT_EXPECT_EQ(test, 0, mock_fs_sync(f->fs));
	KUNIT_EXPECT_EQ(test, 500, f->fs->disk[5]);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->fs->written));
	file_expect_shared(test, f, 5);
	KUNIT_EXPECT_EQ(test, 500, file_load(test, f, 5));

	/* And asks again before it writes. */
	file_store(test, f, 5, 501);
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&f->fs->mkwrites));
	KUNIT_EXPECT_EQ(test, 2, file_stat(f, HMM_RMEM_FILE_OWNED));
	KUNIT_EXPECT_EQ(test, 501, mock_fs_read(f->fs, 5));
	file_expect_shared(test, f, 5);
	KUNIT_EXPECT_EQ(test, 501, mock_cpu_load(test, FILE_AT(5)));
}

/* A page that was moved by request becomes one for writing where it is, by any policy. */
static void file_upgrade(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_REQUEST);

	KUNIT_ASSERT_EQ(test, 0, file_migrate(f, 0, FILE_PAGES, 0));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[7]);
	KUNIT_EXPECT_EQ(test, FILE_PAGES, file_stat(f, HMM_RMEM_FILE));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(7)));
	file_expect_shared(test, f, 7);

	file_store(test, f, 7, 700);
	file_expect_owned(test, f, 7);
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, FILE_PAGES, file_stat(f, HMM_RMEM_IN));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&f->fs->cpu_mkwrites));

	/* It is there already. */
	KUNIT_EXPECT_EQ(test, 0, file_migrate(f, 7, 1, 0));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_THERE, f->results[0]);
	file_expect_owned(test, f, 7);

	KUNIT_EXPECT_EQ(test, 0, file_migrate(f, 0, FILE_PAGES, HMM_MIGRATE_TO_SYSTEM));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_MOVED, f->results[7]);
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_FILE));
	KUNIT_EXPECT_EQ(test, FILE_PAGES, file_stat(f, HMM_RMEM_OUT));
	KUNIT_EXPECT_EQ(test, 700, mock_cpu_load(test, FILE_AT(7)));
	KUNIT_EXPECT_EQ(test, 8 + 1, mock_cpu_load(test, FILE_AT(8)));
}

/*
 * What has been copied to the device becomes its own page by page, as it is written to.  What
 * is around it has been there since it was copied, and is left alone.
 */
static void file_upgrade_alone(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);

	KUNIT_EXPECT_EQ(test, 21, file_load(test, f, 20));
	file_expect_shared(test, f, 21);
	mock_cpu_zap(FILE_AT(0), FILE_PAGES * PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(20)));

	file_store(test, f, 20, 2000);
	file_expect_owned(test, f, 20);
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_writable(f->mirror, FILE_AT(20)));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(21)));
	file_expect_shared(test, f, 21);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->fs->mkwrites));
	KUNIT_EXPECT_EQ(test, 22, file_load(test, f, 21));
}

/* Without a wish that they move, pages are mapped where they are. */
static void file_in_place(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_REQUEST);

	KUNIT_EXPECT_EQ(test, 1, file_load(test, f, 0));
	file_store(test, f, 0, 100);
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_IN));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&f->fs->mkwrites));
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->fs->cpu_mkwrites));
	KUNIT_EXPECT_EQ(test, 100, mock_fs_read(f->fs, 0));
	KUNIT_EXPECT_EQ(test, 100, mock_cpu_load(test, FILE_AT(0)));

	/* Nor does a page that is there stay, if it is never to be there. */
	KUNIT_ASSERT_EQ(test, 0, file_migrate(f, 8, 1, 0));
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_policy(&f->mirror->hmm, HMM_POLICY_NEVER));
	KUNIT_EXPECT_EQ(test, 9, file_load(test, f, 8));
	file_store(test, f, 8, 900);
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_FILE));
	KUNIT_EXPECT_EQ(test, 900, mock_fs_read(f->fs, 8));
}

/* What the file system says to a CPU that writes, it says to the device. */
static void file_denied(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);

	f->fs->mkwrite = VM_FAULT_SIGBUS;
	KUNIT_EXPECT_EQ(test, -EFAULT, mock_mirror_fault(f->mirror, FILE_AT(3),
							 HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_FILE_OWNED));
	KUNIT_EXPECT_EQ(test, 4, file_load(test, f, 3));
	f->fs->mkwrite = VM_FAULT_OOM;
	KUNIT_EXPECT_EQ(test, -ENOMEM, mock_mirror_fault(f->mirror, FILE_AT(3),
							 HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 4, file_load(test, f, 3));
	f->fs->mkwrite = 0;
	file_store(test, f, 3, 400);
	KUNIT_EXPECT_EQ(test, 400, mock_fs_read(f->fs, 3));
}

/* A file that can only be read. */
static void file_read_only(struct kunit *test)
{
	struct file_fixture *f = file_begin_as(test, FILE_PAGES, 2, PROT_READ, MAP_SHARED);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_policy(&f->mirror->hmm, HMM_POLICY_TOUCH));
	KUNIT_EXPECT_EQ(test, -EACCES, mock_mirror_fault(f->mirror, FILE_AT(3),
							 HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 4, file_load(test, f, 3));
	file_expect_shared(test, f, 3);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&f->fs->mkwrites));
}

/* A private mapping has the pages of the file in place, and its own ones move. */
static void file_private(struct kunit *test)
{
	struct file_fixture *f = file_begin_as(test, FILE_PAGES, 2, FILE_RW, MAP_PRIVATE);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_policy(&f->mirror->hmm, HMM_POLICY_TOUCH));
	KUNIT_EXPECT_EQ(test, 4, file_load(test, f, 3));
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_IN));
	file_store(test, f, 3, 400);
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_FILE));
	KUNIT_EXPECT_EQ(test, 400, mock_cpu_load(test, FILE_AT(3)));
	KUNIT_EXPECT_EQ(test, 4, mock_fs_read(f->fs, 3));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&f->fs->mkwrites));
}

/* The page with the end of the file is never the device's, but is written to. */
static void file_end(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);

	mock_fs_truncate(f->fs, 10 * PAGE_SIZE + 8);
	KUNIT_EXPECT_EQ(test, 11, file_load(test, f, 10));
	file_expect_shared(test, f, 10);
	file_store(test, f, 10, 1100);
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_FILE_OWNED));
	KUNIT_EXPECT_EQ(test, 1100, mock_fs_read(f->fs, 10));
	KUNIT_EXPECT_EQ(test, -EFAULT, mock_mirror_fault(f->mirror, FILE_AT(11),
							 HMM_FAULT_READ));
	KUNIT_EXPECT_EQ(test, -EFAULT, mock_mirror_fault(f->mirror, FILE_AT(12),
							 HMM_FAULT_WRITE));
}

/* What is truncated is gone, and what is left of a page that was owned is not. */
static void file_truncate(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);

	file_store(test, f, 4, 500);
	file_store(test, f, 6, 700);
	file_store(test, f, 7, 800);
	mock_fs_truncate(f->fs, 6 * PAGE_SIZE + 8);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(7)));
	KUNIT_EXPECT_EQ(test, 700, mock_fs_read(f->fs, 6));
	mock_fs_truncate(f->fs, FILE_PAGES * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 500, file_load(test, f, 4));
	KUNIT_EXPECT_EQ(test, 700, file_load(test, f, 6));
	/* There is something on the disk still. */
	KUNIT_EXPECT_EQ(test, 8, file_load(test, f, 7));
}

/* Pages that may not move are used where they are. */
static void file_pinned(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);

	f->fs->pinned = true;
	KUNIT_EXPECT_EQ(test, 4, file_load(test, f, 3));
	file_store(test, f, 3, 400);
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_IN));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, file_migrate(f, 0, 8, 0));
	KUNIT_EXPECT_EQ(test, HMM_PAGE_UNSUPPORTED, f->results[3]);
	KUNIT_EXPECT_EQ(test, 400, mock_fs_read(f->fs, 3));
}

struct file_faulter {
	struct mock_mirror *mirror;
	unsigned long n;
	u32 access;
};

static int file_fault_thread(void *data)
{
	struct file_faulter *faulter = data;

	return mock_mirror_fault(faulter->mirror, FILE_AT(faulter->n), faulter->access);
}

/* A page on its way is waited for, with no lock held, and is there then. */
static void file_wait(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);
	struct file_faulter faulter = { .mirror = f->mirror, .access = HMM_FAULT_READ };
	struct mock_thread *first, *second;

	mock_memory_arm(f->memory, MOCK_COPY_IN);
	first = mock_thread_run(test, current->mm, file_fault_thread, &faulter);
	KUNIT_ASSERT_TRUE(test, mock_memory_wait(f->memory, MOCK_COPY_IN));
	file_expect_place(test, f, 0, HMM_PLACE_OTHER, 0);
	second = mock_thread_run(test, current->mm, file_fault_thread, &faulter);
	msleep(50);
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(second));
	/* No lock: the address space can be changed. */
	mmap_write_lock(current->mm);
	mmap_write_unlock(current->mm);
	mock_memory_open(f->memory, MOCK_COPY_IN);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, first));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, second));
	file_expect_shared(test, f, 0);
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(0)));
	KUNIT_EXPECT_EQ(test, FILE_WINDOW, file_stat(f, HMM_RMEM_IN));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_stat(&f->mirror->hmm, HMM_STAT_CPU_FAULTS));
}

/* A file that is larger than the memory: what was there first has to go. */
static void file_evict(struct kunit *test)
{
	struct file_fixture *f = file_begin_as(test, 600, 1, FILE_RW, MAP_SHARED);
	unsigned long n;

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_set_policy(&f->mirror->hmm, HMM_POLICY_TOUCH));
	for (n = 0; n < 600; n += 7)
		file_store(test, f, n, 1000 + n);
	for (n = 0; n < 600; n++)
		KUNIT_ASSERT_EQ(test, n % 7 ? n + 1 : 1000 + n, file_load(test, f, n));
	KUNIT_EXPECT_GT(test, file_stat(f, HMM_RMEM_OUT_EVICT), 0);
	for (n = 0; n < 600; n++)
		KUNIT_ASSERT_EQ(test, n % 7 ? n + 1 : 1000 + n, mock_fs_read(f->fs, n));
}

/* Everything comes home when it is wanted back, or the device goes. */
static void file_leave(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);

	file_store(test, f, 3, 400);
	file_load(test, f, 40);
	KUNIT_EXPECT_EQ(test, 0, hmm_device_evacuate(&f->memory->device->hmm));
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, 400, mock_fs_read(f->fs, 3));

	file_store(test, f, 3, 401);
	file_store(test, f, 30, 402);
	mock_mirror_unregister(f->mirror);
	mock_device_unregister(f->memory->device);
	KUNIT_EXPECT_EQ(test, 401, mock_fs_read(f->fs, 3));
	KUNIT_EXPECT_EQ(test, 402, mock_cpu_load(test, FILE_AT(30)));
	KUNIT_EXPECT_EQ(test, 41, mock_fs_read(f->fs, 40));
}

/* One device at a time: another one gets the page from there. */
static void file_two_devices(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH), other = *f;

	other.memory = file_memory(test, 2);
	other.mirror = mock_mirror_new(test, other.memory->device, current->mm);
	file_store(test, f, 3, 400);
	file_store(test, f, 4, 500);
	file_expect_place(test, &other, 3, HMM_PLACE_OTHER, 0);
	KUNIT_EXPECT_EQ(test, 400, file_load(test, &other, 3));
	file_expect_shared(test, &other, 3);
	KUNIT_EXPECT_EQ(test, 400, file_load(test, f, 3));
	file_store(test, &other, 4, 501);
	file_expect_owned(test, &other, 4);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(4)));
	KUNIT_EXPECT_EQ(test, 501, file_load(test, f, 4));
	KUNIT_EXPECT_EQ(test, 501, mock_fs_read(f->fs, 4));
}

/* Two processes map the file: it is on the device once, and dropped for both. */
static int file_other_process(void *data)
{
	struct file_faulter *faulter = data;
	u64 value = 0;
	int ret;

	ret = mock_mirror_fault(faulter->mirror, FILE_AT(faulter->n), faulter->access);
	if (!ret)
		ret = mock_mirror_load(faulter->mirror, FILE_AT(faulter->n), &value);
	return ret ?: value;
}

static void file_two_mappings(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);
	struct file_faulter again = { .mirror = f->mirror, .n = FILE_PAGES + 3 };

	mock_fs_map(f->fs, FILE_AT(FILE_PAGES), FILE_PAGES, FILE_RW, MAP_SHARED);
	file_store(test, f, 3, 400);
	KUNIT_EXPECT_EQ(test, 400, file_other_process(&again));
	KUNIT_EXPECT_EQ(test, mock_mirror_pfn(f->mirror, FILE_AT(3)),
			mock_mirror_pfn(f->mirror, FILE_AT(FILE_PAGES + 3)));
	mock_fs_write(f->fs, 3, 401);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(3)));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(f->mirror, FILE_AT(FILE_PAGES + 3)));
	KUNIT_EXPECT_EQ(test, 401, file_other_process(&again));
}

/* The struct pages of such pages are as they were, if there are any. */
static void file_no_struct_pages(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);
	const struct page *page;

	file_store(test, f, 3, 400);
	page = pfn_to_page(mock_mirror_pfn(f->mirror, FILE_AT(3)));
	KUNIT_ASSERT_TRUE(test, hmm_rmem_owns(&f->memory->device->hmm, page));
	KUNIT_EXPECT_TRUE(test, hmm_device_has_file(&f->memory->device->hmm, page));
	mock_cpu_zap(FILE_AT(0), FILE_PAGES * PAGE_SIZE);
	KUNIT_EXPECT_GT(test, hmm_mirror_stat(&f->mirror->hmm, HMM_STAT_DIRTY), 0);
	if (!file_is_plain(test)) {
		KUNIT_EXPECT_FALSE(test, PageDirty(page));
		KUNIT_EXPECT_EQ(test, 0, page_count(page));
	}
	/* It is still there. */
	KUNIT_EXPECT_EQ(test, 400, file_load(test, f, 3));
	KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_OUT));
}

/* Where there is room for files only, other pages stay where they are. */
static void file_beside(struct kunit *test)
{
	struct file_fixture *f = file_begin(test, HMM_POLICY_TOUCH);
	u8 result = HMM_PAGE_SKIPPED;
	int ret;

	mock_mmap(test, FILE_AT(FILE_PAGES), PAGE_SIZE, FILE_RW);
	mock_cpu_store(test, FILE_AT(FILE_PAGES), 7);
	KUNIT_EXPECT_EQ(test, 7, file_load(test, f, FILE_PAGES));
	file_store(test, f, FILE_PAGES, 8);
	ret = hmm_mirror_migrate(&f->mirror->hmm, FILE_AT(FILE_PAGES), FILE_AT(FILE_PAGES + 1),
				 0, &result, NULL);
	if (file_is_plain(test)) {
		KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, ret);
		KUNIT_EXPECT_EQ(test, HMM_PAGE_UNSUPPORTED, result);
		KUNIT_EXPECT_EQ(test, 0, file_stat(f, HMM_RMEM_USED));
	} else {
		KUNIT_EXPECT_EQ(test, 0, ret);
		KUNIT_EXPECT_EQ(test, HMM_PAGE_THERE, result);
	}
	KUNIT_EXPECT_EQ(test, 8, mock_cpu_load(test, FILE_AT(FILE_PAGES)));
}

static struct kunit_case file_cases[] = {
	KUNIT_CASE_PARAM(file_read_shares, file_gen_params),
	KUNIT_CASE_PARAM(file_cpu_writes, file_gen_params),
	KUNIT_CASE_PARAM(file_write_owns, file_gen_params),
	KUNIT_CASE_PARAM(file_upgrade, file_gen_params),
	KUNIT_CASE_PARAM(file_upgrade_alone, file_gen_params),
	KUNIT_CASE_PARAM(file_in_place, file_gen_params),
	KUNIT_CASE_PARAM(file_denied, file_gen_params),
	KUNIT_CASE_PARAM(file_read_only, file_gen_params),
	KUNIT_CASE_PARAM(file_private, file_gen_params),
	KUNIT_CASE_PARAM(file_end, file_gen_params),
	KUNIT_CASE_PARAM(file_truncate, file_gen_params),
	KUNIT_CASE_PARAM(file_pinned, file_gen_params),
	KUNIT_CASE_PARAM(file_wait, file_gen_params),
	KUNIT_CASE_PARAM(file_evict, file_gen_params),
	KUNIT_CASE_PARAM(file_leave, file_gen_params),
	KUNIT_CASE_PARAM(file_two_devices, file_gen_params),
	KUNIT_CASE_PARAM(file_two_mappings, file_gen_params),
	KUNIT_CASE_PARAM(file_no_struct_pages, file_gen_params),
	KUNIT_CASE_PARAM(file_beside, file_gen_params),
	{}
};

static struct kunit_suite file_suite = {
	.name = "hmm_file",
	.test_cases = file_cases,
};

kunit_test_suite(file_suite);

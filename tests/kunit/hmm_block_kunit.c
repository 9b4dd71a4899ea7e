// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks: how an invalidation reaches the devices of an address space, and how blocks
 * come and go.
 *
 * Owns nothing that outlives a test.  Invalidations are made by the kernel, with one
 * exception: those that must not block come from the OOM reaper alone, so their tests
 * call the notifier of a block by hand.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include "../../hmm/hmm_private.h"
#include "mock_device.h"
#include "mock_user.h"

#define BLOCK_RW	(PROT_READ | PROT_WRITE)
#define BLOCK_DEVICES	3

/* Unmapped blocks are removed about a second later. */
#define BLOCK_PRUNE_TIME	(30 * HZ)

/**
 * struct block_fixture - several devices on the test's own address space
 * @log: common to all
 * @devices: devices
 * @mirrors: their mirrors
 */
struct block_fixture {
	struct mock_log *log;
	struct mock_device *devices[BLOCK_DEVICES];
	struct mock_mirror *mirrors[BLOCK_DEVICES];
};

static int block_init(struct kunit *test)
{
	struct block_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	test->priv = f;
	f->log = mock_log_new(test);
	/* The first mapping makes the address space. */
	mock_mmap(test, MOCK_BASE - PAGE_SIZE, PAGE_SIZE, PROT_READ);
	for (i = 0; i < BLOCK_DEVICES; i++) {
		f->devices[i] = mock_device_new(test, f->log);
		f->mirrors[i] = mock_mirror_new(test, f->devices[i], current->mm);
	}
	return 0;
}

static unsigned long block_at(struct kunit *test, unsigned int n)
{
	struct block_fixture *f = test->priv;

	return mock_mirror_block(f->mirrors[0], n);
}

/* All devices map a page. */
static void block_fault_all(struct kunit *test, unsigned long addr)
{
	struct block_fixture *f = test->priv;
	int i;

	for (i = 0; i < BLOCK_DEVICES; i++)
		KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(f->mirrors[i], addr,
							   HMM_FAULT_WRITE));
}

/* What is empty stays: for tests that count calls, and could take a second for it. */
static void block_prune_never(struct kunit *test)
{
	struct block_fixture *f = test->priv;

	disable_delayed_work_sync(&f->mirrors[0]->hmm.hmm->prune);
}

static void block_expect_mapped(struct kunit *test, unsigned long addr, bool mapped)
{
	struct block_fixture *f = test->priv;
	int i;

	for (i = 0; i < BLOCK_DEVICES; i++)
		KUNIT_EXPECT_EQ(test, mapped, mock_mirror_is_mapped(f->mirrors[i], addr));
}

/* The devices share the blocks, and so the notifiers. */
static void block_shared(struct kunit *test)
{
	struct block_fixture *f = test->priv;

	mock_mmap(test, MOCK_BASE, block_at(test, 2) - MOCK_BASE, BLOCK_RW);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_blocks(f->mirrors[0]));
	block_fault_all(test, MOCK_BASE);
	KUNIT_EXPECT_EQ(test, 1, mock_mirror_nr_blocks(f->mirrors[0]));
	block_fault_all(test, block_at(test, 1) - PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, mock_mirror_nr_blocks(f->mirrors[1]));
	block_fault_all(test, block_at(test, 1));
	KUNIT_EXPECT_EQ(test, 2, mock_mirror_nr_blocks(f->mirrors[2]));
	KUNIT_EXPECT_PTR_EQ(test, f->mirrors[0]->hmm.hmm, f->mirrors[2]->hmm.hmm);
}

/* The work is started on every device before the first is waited for. */
static void block_start_all_then_wait(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	unsigned int begin, i;

	block_prune_never(test);
	for (i = 0; i < BLOCK_DEVICES; i++)
		f->devices[i]->tokens = true;
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	begin = f->log->nr;
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(MOCK_BASE, PAGE_SIZE));

	KUNIT_ASSERT_EQ(test, begin + 2 * BLOCK_DEVICES, f->log->nr);
	for (i = 0; i < BLOCK_DEVICES; i++) {
		KUNIT_EXPECT_EQ(test, MOCK_UPDATE, f->log->calls[begin + i].op);
		KUNIT_EXPECT_EQ(test, MOCK_WAIT,
				f->log->calls[begin + BLOCK_DEVICES + i].op);
		KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->devices[i]->calls[MOCK_UPDATE]));
		KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->devices[i]->calls[MOCK_WAIT]));
	}
	block_expect_mapped(test, MOCK_BASE, false);
}

/* Who is done at once is not waited for. */
static void block_wait_for_tokens_only(struct kunit *test)
{
	struct block_fixture *f = test->priv;

	block_prune_never(test);
	f->devices[1]->tokens = true;
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(MOCK_BASE, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&f->devices[0]->calls[MOCK_WAIT]));
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->devices[1]->calls[MOCK_WAIT]));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&f->devices[2]->calls[MOCK_WAIT]));
	block_expect_mapped(test, MOCK_BASE, false);
}

static int block_unmap_thread(void *data)
{
	return vm_munmap(MOCK_BASE, PAGE_SIZE);
}

/* munmap() does not return before the device is done. */
static void block_unmap_waits(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	struct mock_thread *unmap;

	f->devices[1]->tokens = true;
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	mock_gate_arm(f->devices[1], MOCK_WAIT);
	unmap = mock_thread_run(test, current->mm, block_unmap_thread, NULL);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(f->devices[1], MOCK_WAIT));
	msleep(100);
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(unmap));
	mock_gate_open(f->devices[1], MOCK_WAIT);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, unmap));
	block_expect_mapped(test, MOCK_BASE, false);
}

/* An unmap over three blocks: each is told of its part, once, and of no more. */
static void block_unmap_across(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	/* Unaligned ones would have the kernel look for huge pages to split. */
	unsigned long start = block_at(test, 1) - PMD_SIZE;
	unsigned long end = block_at(test, 3) + PMD_SIZE;
	unsigned long covered = 0, at = start;
	struct hmm_mirror *mirror = &f->mirrors[0]->hmm;
	unsigned int begin, last, i, n;
	u64 events, unmaps;

	block_prune_never(test);
	mock_mmap(test, MOCK_BASE, block_at(test, 4) - MOCK_BASE, BLOCK_RW);
	for (n = 0; n < 4; n++)
		block_fault_all(test, block_at(test, n));
	block_fault_all(test, start);
	begin = f->log->nr;
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(start, end - start));
	last = f->log->nr;
	events = hmm_mirror_stat(mirror, HMM_STAT_EVENTS);
	unmaps = hmm_mirror_event_count(mirror, HMM_EVENT_UNMAP);
	for (i = begin; i < last; i++) {
		struct mock_call *call = &f->log->calls[i];

		KUNIT_EXPECT_EQ(test, MOCK_UPDATE, call->op);
		KUNIT_EXPECT_EQ(test, HMM_EVENT_UNMAP, call->event.type);
		KUNIT_EXPECT_EQ(test, HMM_ACTION_FREE, call->event.action);
		KUNIT_EXPECT_TRUE(test, call->event.flags & HMM_EVENT_BLOCKABLE);
		KUNIT_EXPECT_TRUE(test, call->event.reasons & BIT(HMM_REASON_MUNMAP));
		if (call->device != f->devices[0])
			continue;
		KUNIT_EXPECT_EQ(test, at, call->start);
		at = call->end;
		covered += call->end - call->start;
	}
	KUNIT_EXPECT_EQ(test, end - start, covered);
	block_expect_mapped(test, start, false);
	block_expect_mapped(test, block_at(test, 0), true);
	block_expect_mapped(test, block_at(test, 3), false);
	KUNIT_EXPECT_EQ(test, 4, events);
	KUNIT_EXPECT_EQ(test, 4, unmaps);
}

/* What no device ever asked for costs nothing. */
static void block_unmap_unused(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	unsigned int begin;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	mock_mmap(test, block_at(test, 1), PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	begin = f->log->nr;
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(block_at(test, 1), PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, begin, f->log->nr);
	block_expect_mapped(test, MOCK_BASE, true);
}

/* Pages go, the mapping stays: page table pages need not be freed. */
static void block_zap(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	struct mock_call *call;

	mock_mmap(test, MOCK_BASE, 2 * PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	block_fault_all(test, MOCK_BASE + PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_store(f->mirrors[0], MOCK_BASE, 1));
	mock_cpu_zap(MOCK_BASE, PAGE_SIZE);
	call = &f->log->calls[f->log->nr - 1];
	KUNIT_EXPECT_EQ(test, MOCK_UPDATE, call->op);
	KUNIT_EXPECT_EQ(test, HMM_ACTION_DROP, call->event.action);
	block_expect_mapped(test, MOCK_BASE, false);
	block_expect_mapped(test, MOCK_BASE + PAGE_SIZE, true);
	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_stat(&f->mirrors[0]->hmm, HMM_STAT_DIRTY));
	KUNIT_EXPECT_EQ(test, 0, mock_cpu_load(test, MOCK_BASE));
}

/* Writeback makes a page clean: the device goes on reading, its writes are reported. */
static void block_write_protect(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	struct mock_mirror *mirror = f->mirrors[0];
	struct file *file = shmem_file_setup("hmm", PAGE_SIZE, EMPTY_VMA_FLAGS);
	struct folio *folio;
	u64 value = 0;

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mock_mmap_file(test, file, MOCK_BASE, PAGE_SIZE, BLOCK_RW, MAP_SHARED);
	fput(file);
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_store(mirror, MOCK_BASE, 21));
	folio = page_folio(pfn_to_page(mock_mirror_pfn(mirror, MOCK_BASE)));
	folio_get(folio);
	folio_lock(folio);
	folio_clear_dirty(folio);
	folio_mkclean(folio);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(folio));
	folio_unlock(folio);
	folio_put(folio);

	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_stat(&mirror->hmm, HMM_STAT_DIRTY));
	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_event_count(&mirror->hmm, HMM_EVENT_WRPROTECT));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(mirror, MOCK_BASE, &value));
	KUNIT_EXPECT_EQ(test, 21, value);
	KUNIT_EXPECT_EQ(test, -EACCES, mock_mirror_store(mirror, MOCK_BASE, 22));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(mirror, MOCK_BASE, 22));
}

/* A migration for one device takes the page from all of them, that one too. */
static void block_own_migration(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	unsigned long src = 0, dst = 0;
	struct migrate_vma args = {
		.start = MOCK_BASE,
		.end = MOCK_BASE + PAGE_SIZE,
		.src = &src,
		.dst = &dst,
		.pgmap_owner = hmm_device_owner(&f->devices[1]->hmm),
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
	};
	int i;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	mmap_read_lock(current->mm);
	args.vma = find_vma(current->mm, MOCK_BASE);
	KUNIT_EXPECT_EQ(test, 0, migrate_vma_setup(&args));
	/* No destination: the page stays where it is. */
	migrate_vma_pages(&args);
	migrate_vma_finalize(&args);
	mmap_read_unlock(current->mm);

	for (i = 0; i < BLOCK_DEVICES; i++) {
		struct mock_mirror *mirror = f->mirrors[i];

		KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(mirror, MOCK_BASE));
		KUNIT_EXPECT_EQ(test, i == 1, hmm_mirror_event_count(&mirror->hmm,
								     HMM_EVENT_MIGRATE_OWN));
		KUNIT_EXPECT_EQ(test, i != 1, hmm_mirror_event_count(&mirror->hmm,
								     HMM_EVENT_MIGRATE_DEV));
	}
}

/* Every event is in the total and in its type's count. */
static void block_counters(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	struct hmm_mirror *mirror = &f->mirrors[0]->hmm;
	u64 sum = 0;
	int i;

	mock_mmap(test, MOCK_BASE, 40 * PAGE_SIZE, BLOCK_RW);
	for (i = 0; i < 40; i++) {
		block_fault_all(test, MOCK_BASE + i * PAGE_SIZE);
		if (i % 2)
			mock_cpu_zap(MOCK_BASE + i * PAGE_SIZE, PAGE_SIZE);
		else
			KUNIT_ASSERT_EQ(test, 0, vm_munmap(MOCK_BASE + i * PAGE_SIZE,
							   PAGE_SIZE));
	}
	for (i = 0; i < HMM_EVENT_NR; i++)
		sum += hmm_mirror_event_count(mirror, i);
	KUNIT_EXPECT_EQ(test, sum, hmm_mirror_stat(mirror, HMM_STAT_EVENTS));
	KUNIT_EXPECT_EQ(test, sum, atomic_read(&f->devices[0]->calls[MOCK_UPDATE]));
	KUNIT_EXPECT_EQ(test, 20, hmm_mirror_event_count(mirror, HMM_EVENT_UNMAP));
	KUNIT_EXPECT_GE(test, sum, 40);
	KUNIT_EXPECT_EQ(test, 40, hmm_mirror_stat(mirror, HMM_STAT_FAULTS));
	KUNIT_EXPECT_EQ(test, 40, hmm_mirror_stat(mirror, HMM_STAT_PAGES_MAPPED));
	/* Nobody wrote. */
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_stat(mirror, HMM_STAT_DIRTY));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_stat(mirror, HMM_STAT_WOULD_BLOCK));
}

static bool block_wait_pruned(struct mock_mirror *mirror, unsigned long addr)
{
	unsigned long deadline = jiffies + BLOCK_PRUNE_TIME;

	while (mock_mirror_has_block(mirror, addr)) {
		if (time_after(jiffies, deadline))
			return false;
		msleep(50);
	}
	return true;
}

/* A block without mappings goes about a second later, and comes back when needed. */
static void block_prune(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	struct mock_mirror *mirror = f->mirrors[0];
	unsigned long begin;
	bool there;
	int i;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	mock_mmap(test, block_at(test, 1), 2 * PAGE_SIZE, BLOCK_RW);
	for (i = 0; i < 2; i++)
		block_fault_all(test, block_at(test, i));
	begin = jiffies;
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(MOCK_BASE, PAGE_SIZE));
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(block_at(test, 1) + PAGE_SIZE, PAGE_SIZE));
	there = mock_mirror_has_block(mirror, MOCK_BASE);
	/* A machine that stalls may be there too late. */
	KUNIT_EXPECT_TRUE(test, there || time_after(jiffies, begin + HZ / 2));
	KUNIT_EXPECT_TRUE(test, block_wait_pruned(mirror, MOCK_BASE));
	/* The other one has a mapping left. */
	KUNIT_EXPECT_TRUE(test, mock_mirror_has_block(mirror, block_at(test, 1)));
	block_expect_mapped(test, block_at(test, 1), true);

	KUNIT_EXPECT_EQ(test, -EFAULT, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_READ));
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	KUNIT_EXPECT_TRUE(test, mock_mirror_has_block(mirror, MOCK_BASE));
	/* It is a block like any other. */
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(MOCK_BASE, PAGE_SIZE));
	block_expect_mapped(test, MOCK_BASE, false);
}

/* A process that reuses the addresses at once keeps its blocks. */
static void block_prune_not_in_use(struct kunit *test)
{
	struct block_fixture *f = test->priv;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(MOCK_BASE, PAGE_SIZE));
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	msleep(2500);
	KUNIT_EXPECT_TRUE(test, mock_mirror_has_block(f->mirrors[0], MOCK_BASE));
	block_expect_mapped(test, MOCK_BASE, true);
}

/* Faults at addresses where nothing is leave nothing behind. */
static void block_none_for_holes(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	int i;

	for (i = 0; i < 100; i++)
		KUNIT_EXPECT_EQ(test, -EFAULT, mock_mirror_fault(f->mirrors[0],
								 block_at(test, i),
								 HMM_FAULT_READ));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_blocks(f->mirrors[0]));
}

#ifdef CONFIG_X86_64
/**
 * struct block_syscall - the munmap() system call itself
 * @munmap: it, by the kernel's own symbol table; not exported
 * @start: first byte
 * @len: bytes
 */
struct block_syscall {
	long (*munmap)(const struct pt_regs *regs);
	unsigned long start;
	unsigned long len;
};

static int block_syscall_thread(void *data)
{
	struct block_syscall *call = data;
	struct pt_regs regs = { .di = call->start, .si = call->len };

	return call->munmap(&regs);
}

static void block_syscall_find(struct kunit *test, struct block_syscall *call)
{
	struct kprobe probe = { .symbol_name = "__x64_sys_munmap" };

	if (!IS_ENABLED(CONFIG_KPROBES) || register_kprobe(&probe))
		kunit_skip(test, "the munmap system call cannot be found");
	call->munmap = (void *)probe.addr;
	unregister_kprobe(&probe);
}

/*
 * munmap() takes the VMA out, makes its mmap_lock a read lock, and then calls the
 * notifiers.  In between, a block looks vacant although the device still maps it.
 *
 *	munmap of blocks 0 and 1		prune
 *	VMA is out, lock is shared
 *	block 0: update() is held
 *						block 0 has another VMA
 *						block 1 is vacant: retire it
 *	block 0: update() goes on
 *	block 1: dead, or not there any more
 *
 * Required: no device maps anything of block 1 when munmap() returns.
 */
static void block_prune_during_unmap(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	unsigned long last = block_at(test, 1) - PAGE_SIZE;
	struct block_syscall call = { .start = last, .len = 2 * PAGE_SIZE };
	struct mock_thread *unmap;

	block_syscall_find(test, &call);
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	mock_mmap(test, last, 2 * PAGE_SIZE, BLOCK_RW);
	mock_mmap(test, block_at(test, 3), PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, last);
	block_fault_all(test, block_at(test, 1));
	block_fault_all(test, block_at(test, 3));
	/* Has prune look around in a second. */
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(block_at(test, 3), PAGE_SIZE));

	mock_gate_arm(f->devices[0], MOCK_UPDATE);
	unmap = mock_thread_run(test, current->mm, block_syscall_thread, &call);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(f->devices[0], MOCK_UPDATE));
	block_expect_mapped(test, block_at(test, 1), true);
	/* Whether it takes block 1 or stays away is its own affair. */
	msleep(2500);
	mock_gate_open(f->devices[0], MOCK_UPDATE);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, unmap));
	block_expect_mapped(test, last, false);
	block_expect_mapped(test, block_at(test, 1), false);
}
#else
static void block_prune_during_unmap(struct kunit *test)
{
	kunit_skip(test, "system calls are called differently here");
}
#endif

/* Mappings of a block come and go while prune is at work. */
static int block_prune_storm_thread(void *data)
{
	struct block_fixture *f = data;
	unsigned long deadline = jiffies + 4 * HZ;
	u64 value;
	int ret;

	while (time_before(jiffies, deadline)) {
		if (vm_mmap(NULL, MOCK_BASE, PAGE_SIZE, BLOCK_RW,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0) != MOCK_BASE)
			return -ENOMEM;
		/* A collision in a second in which the machine stalls is one too many. */
		do {
			ret = mock_mirror_fault(f->mirrors[0], MOCK_BASE, HMM_FAULT_WRITE);
		} while (ret == -EBUSY && time_before(jiffies, deadline));
		if (ret && ret != -EBUSY)
			return ret;
		vm_munmap(MOCK_BASE, PAGE_SIZE);
		if (!mock_mirror_load(f->mirrors[0], MOCK_BASE, &value))
			return -ESTALE;
		/* Vacant often enough, and for long enough, to be pruned. */
		usleep_range(100, 200);
	}
	return 0;
}

static int block_prune_now_thread(void *data)
{
	struct block_fixture *f = data;
	unsigned long deadline = jiffies + 4 * HZ;

	while (time_before(jiffies, deadline)) {
		mod_delayed_work(system_wq, &f->mirrors[0]->hmm.hmm->prune, 0);
		usleep_range(50, 100);
	}
	return 0;
}

static void block_prune_storm(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	struct mock_thread *user, *prune;

	f->devices[0]->tokens = true;
	user = mock_thread_run(test, current->mm, block_prune_storm_thread, f);
	prune = mock_thread_run(test, NULL, block_prune_now_thread, f);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, prune));
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, user));
	kunit_info(test, "%d faults, %d updates\n",
		   atomic_read(&f->devices[0]->calls[MOCK_MAP]),
		   atomic_read(&f->devices[0]->calls[MOCK_UPDATE]));
}

/* Call the notifier of the block at @addr as the OOM reaper has it called. */
static bool block_invalidate_nonblock(struct mock_mirror *mirror, unsigned long addr)
{
	struct hmm_mm *hmm = mirror->hmm.hmm;
	struct hmm_block *block = xa_load(&hmm->blocks, addr >> hmm->block_shift);
	struct mmu_notifier_range range = {
		.mm = hmm->mm,
		.start = addr,
		.end = addr + PAGE_SIZE,
		.event = MMU_NOTIFY_UNMAP,
	};

	return block->notifier.ops->invalidate(&block->notifier, &range,
					       block->notifier.invalidate_seq);
}

static void block_nonblock(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	struct mock_call *call;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	KUNIT_EXPECT_TRUE(test, block_invalidate_nonblock(f->mirrors[0], MOCK_BASE));
	call = &f->log->calls[f->log->nr - 1];
	KUNIT_EXPECT_EQ(test, MOCK_UPDATE, call->op);
	KUNIT_EXPECT_FALSE(test, call->event.flags & HMM_EVENT_BLOCKABLE);
	block_expect_mapped(test, MOCK_BASE, false);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_stat(&f->mirrors[0]->hmm, HMM_STAT_WOULD_BLOCK));
}

static int block_fault_thread(void *data)
{
	return mock_mirror_fault(data, MOCK_BASE, HMM_FAULT_WRITE);
}

/* The lock is taken: the kernel is told to come back, and nothing has happened. */
static void block_nonblock_locked(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	struct mock_thread *fault;
	unsigned int updates;
	int i;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	mock_gate_arm(f->devices[1], MOCK_MAP);
	fault = mock_thread_run(test, NULL, block_fault_thread, f->mirrors[1]);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(f->devices[1], MOCK_MAP));

	updates = atomic_read(&f->devices[0]->calls[MOCK_UPDATE]);
	KUNIT_EXPECT_FALSE(test, block_invalidate_nonblock(f->mirrors[0], MOCK_BASE));
	KUNIT_EXPECT_EQ(test, updates, atomic_read(&f->devices[0]->calls[MOCK_UPDATE]));
	block_expect_mapped(test, MOCK_BASE, true);
	for (i = 0; i < BLOCK_DEVICES; i++)
		KUNIT_EXPECT_EQ(test, 1, hmm_mirror_stat(&f->mirrors[i]->hmm,
							 HMM_STAT_WOULD_BLOCK));
	mock_gate_open(f->devices[1], MOCK_MAP);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, fault));
	KUNIT_EXPECT_TRUE(test, block_invalidate_nonblock(f->mirrors[0], MOCK_BASE));
	block_expect_mapped(test, MOCK_BASE, false);
}

/* A device is not done yet: the others are, and the kernel comes back. */
static void block_nonblock_device_busy(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	int i;

	f->devices[1]->tokens = true;
	f->devices[1]->stuck = true;
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	KUNIT_EXPECT_FALSE(test, block_invalidate_nonblock(f->mirrors[0], MOCK_BASE));
	for (i = 0; i < BLOCK_DEVICES; i++) {
		KUNIT_EXPECT_EQ(test, i == 1, mock_mirror_is_mapped(f->mirrors[i], MOCK_BASE));
		KUNIT_EXPECT_EQ(test, i == 1, hmm_mirror_stat(&f->mirrors[i]->hmm,
							      HMM_STAT_WOULD_BLOCK));
	}
	f->devices[1]->stuck = false;
	KUNIT_EXPECT_TRUE(test, block_invalidate_nonblock(f->mirrors[0], MOCK_BASE));
	block_expect_mapped(test, MOCK_BASE, false);
}

/* A fourth device, which can say which page it maps. */
static struct mock_mirror *block_peek_mirror(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	struct mock_device *device = mock_device_alloc(test, f->log);

	mock_device_set_peek(device);
	device->registered = true;
	KUNIT_ASSERT_EQ(test, 0, hmm_device_register(&device->hmm));
	return mock_mirror_new(test, device, current->mm);
}

/* A device that maps nothing there, and says so, is left alone. */
static void block_peek(struct kunit *test)
{
	struct block_fixture *f = test->priv;
	struct mock_mirror *mirror = block_peek_mirror(test);

	mock_mmap(test, MOCK_BASE, 2 * PAGE_SIZE, BLOCK_RW);
	block_fault_all(test, MOCK_BASE);
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(mirror, MOCK_BASE + PAGE_SIZE,
						   HMM_FAULT_WRITE));
	mock_cpu_zap(MOCK_BASE, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&mirror->device->calls[MOCK_UPDATE]));
	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_stat(&mirror->hmm, HMM_STAT_EVENTS_IGNORED));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_stat(&mirror->hmm, HMM_STAT_EVENTS));
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->devices[0]->calls[MOCK_UPDATE]));

	mock_cpu_zap(MOCK_BASE + PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_stat(&mirror->hmm, HMM_STAT_EVENTS));
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(mirror, MOCK_BASE + PAGE_SIZE));
	KUNIT_EXPECT_GE(test, atomic_read(&mirror->device->calls[MOCK_PEEK]), 2);
}

/*
 * A device was not done with an event that could not wait.  What it had to drop is
 * out of sight and may still be in use, so the next event must reach it, whatever it
 * says of what it maps.
 */
static void block_nonblock_pending(struct kunit *test)
{
	struct mock_mirror *mirror = block_peek_mirror(test);

	mirror->device->tokens = true;
	mirror->device->stuck = true;
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, BLOCK_RW);
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_EXPECT_FALSE(test, block_invalidate_nonblock(mirror, MOCK_BASE));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_mapped(mirror, MOCK_BASE));

	mock_cpu_zap(MOCK_BASE, PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(mirror, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_stat(&mirror->hmm, HMM_STAT_EVENTS_IGNORED));
	/* Done: from now on it is believed again. */
	mock_cpu_zap(MOCK_BASE, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_stat(&mirror->hmm, HMM_STAT_EVENTS_IGNORED));
}

static struct kunit_case hmm_block_cases[] = {
	KUNIT_CASE(block_shared),
	KUNIT_CASE(block_start_all_then_wait),
	KUNIT_CASE(block_wait_for_tokens_only),
	KUNIT_CASE(block_unmap_waits),
	KUNIT_CASE(block_unmap_across),
	KUNIT_CASE(block_unmap_unused),
	KUNIT_CASE(block_zap),
	KUNIT_CASE(block_write_protect),
	KUNIT_CASE(block_own_migration),
	KUNIT_CASE(block_counters),
	KUNIT_CASE_SLOW(block_prune),
	KUNIT_CASE_SLOW(block_prune_not_in_use),
	KUNIT_CASE(block_none_for_holes),
	KUNIT_CASE_SLOW(block_prune_during_unmap),
	KUNIT_CASE_SLOW(block_prune_storm),
	KUNIT_CASE(block_nonblock),
	KUNIT_CASE(block_nonblock_locked),
	KUNIT_CASE(block_nonblock_device_busy),
	KUNIT_CASE(block_nonblock_pending),
	KUNIT_CASE(block_peek),
	{}
};

static struct kunit_suite hmm_block_suite = {
	.name = "hmm_block",
	.init = block_init,
	.test_cases = hmm_block_cases,
};

kunit_test_suite(hmm_block_suite);

// SPDX-License-Identifier: GPL-2.0
/*
 * The life of devices, mirrors and what the mirrors of an address space share.
 *
 * Owns nothing that outlives a test.  What the core promises about when it calls a
 * device is checked by the mock device in every call, and reported when the device is
 * taken down; a test here adds what only it can know.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include "../../hmm/hmm_private.h"
#include "mock_device.h"
#include "mock_user.h"

/* How long we wait to see that something does not happen. */
#define MIRROR_SHORT_WHILE	100	/* ms */

#define MIRROR_RW		(PROT_READ | PROT_WRITE)

static enum hmm_mirror_state mirror_state(const struct mock_mirror *mirror)
{
	return hmm_mirror_state(&mirror->hmm);
}

/* A mapping of @nr blocks, and a page that the device maps in each. */
static void mirror_populate(struct kunit *test, struct mock_mirror *mirror,
			    unsigned int nr)
{
	unsigned int i;

	mock_mmap(test, MOCK_BASE, nr * mock_mirror_block_size(mirror), MIRROR_RW);
	for (i = 0; i < nr; i++)
		KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(mirror, mock_mirror_block(mirror, i),
							   HMM_FAULT_WRITE));
}

/* The first mapping makes the test's address space. */
static struct mm_struct *mirror_own_mm(struct kunit *test)
{
	mock_mmap(test, MOCK_BASE - PAGE_SIZE, PAGE_SIZE, PROT_READ);
	return current->mm;
}

static int mirror_unregister_thread(void *data)
{
	hmm_mirror_unregister(data);
	return 0;
}

static int mirror_device_unregister_thread(void *data)
{
	mock_device_unregister(data);
	return 0;
}

static int mirror_read_thread(void *data)
{
	return mock_mirror_fault(data, MOCK_BASE, HMM_FAULT_READ);
}

static void mirror_register_unregister(struct kunit *test)
{
	struct mm_struct *mm = mirror_own_mm(test);
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_alloc(test, device);

	KUNIT_EXPECT_EQ(test, HMM_MIRROR_NEW, mirror_state(mirror));
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_register(mirror, mm));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_LIVE, mirror_state(mirror));
	KUNIT_EXPECT_PTR_EQ(test, mm, mirror->hmm.mm);
	KUNIT_EXPECT_PTR_EQ(test, &device->hmm, mirror->hmm.device);
	KUNIT_EXPECT_EQ(test, 0, device->log->nr);

	mock_mirror_unregister(mirror);
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_DEAD, mirror_state(mirror));
	/* Nothing was mapped: there is only the end to be told. */
	KUNIT_EXPECT_EQ(test, 1, device->log->nr);
	KUNIT_EXPECT_EQ(test, MOCK_STOP, device->log->calls[0].op);
}

struct mirror_bad_device {
	const char *desc;
	void (*spoil)(struct hmm_device *device, struct hmm_device_ops *ops);
};

static void mirror_bad_name(struct hmm_device *device, struct hmm_device_ops *ops)
{
	device->name = NULL;
}

static void mirror_bad_ops(struct hmm_device *device, struct hmm_device_ops *ops)
{
	device->ops = NULL;
}

static void mirror_bad_prepare(struct hmm_device *device, struct hmm_device_ops *ops)
{
	ops->prepare = NULL;
}

static void mirror_bad_map(struct hmm_device *device, struct hmm_device_ops *ops)
{
	ops->map = NULL;
}

static void mirror_bad_update(struct hmm_device *device, struct hmm_device_ops *ops)
{
	ops->update = NULL;
}

static void mirror_bad_stop(struct hmm_device *device, struct hmm_device_ops *ops)
{
	ops->stop = NULL;
}

static void mirror_bad_few_bits(struct hmm_device *device, struct hmm_device_ops *ops)
{
	device->caps.va_bits = 38;
}

static void mirror_bad_many_bits(struct hmm_device *device, struct hmm_device_ops *ops)
{
	device->caps.va_bits = 58;
}

static void mirror_bad_no_around(struct hmm_device *device, struct hmm_device_ops *ops)
{
	device->caps.fault_around = 0;
}

static void mirror_bad_odd_around(struct hmm_device *device, struct hmm_device_ops *ops)
{
	device->caps.fault_around = 3 * PAGE_SIZE;
}

static void mirror_bad_much_around(struct hmm_device *device, struct hmm_device_ops *ops)
{
	device->caps.fault_around = 2 * PMD_SIZE;
}

static const struct mirror_bad_device mirror_bad_devices[] = {
	{ "no name", mirror_bad_name },
	{ "no ops", mirror_bad_ops },
	{ "no prepare", mirror_bad_prepare },
	{ "no map", mirror_bad_map },
	{ "no update", mirror_bad_update },
	{ "no stop", mirror_bad_stop },
	{ "38 address bits", mirror_bad_few_bits },
	{ "58 address bits", mirror_bad_many_bits },
	{ "no fault-around", mirror_bad_no_around },
	{ "odd fault-around", mirror_bad_odd_around },
	{ "too much fault-around", mirror_bad_much_around },
};

KUNIT_ARRAY_PARAM_DESC(mirror_bad_device, mirror_bad_devices, desc);

static void mirror_device_register_invalid(struct kunit *test)
{
	const struct mirror_bad_device *bad = test->param_value;
	struct mock_device *device = mock_device_alloc(test, NULL);
	struct hmm_device_ops ops = *device->hmm.ops;

	device->hmm.ops = &ops;
	bad->spoil(&device->hmm, &ops);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_device_register(&device->hmm));
}

static void mirror_register_not_new(struct kunit *test)
{
	struct mm_struct *mm = mirror_own_mm(test);
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_new(test, device, mm);

	KUNIT_EXPECT_EQ(test, -EINVAL, mock_mirror_register(mirror, mm));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_LIVE, mirror_state(mirror));
	mock_mirror_unregister(mirror);
	KUNIT_EXPECT_EQ(test, -EINVAL, mock_mirror_register(mirror, mm));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_DEAD, mirror_state(mirror));
}

static void mirror_register_duplicate(struct kunit *test)
{
	struct mm_struct *mm = mirror_own_mm(test);
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *first = mock_mirror_new(test, device, mm);
	struct mock_mirror *second = mock_mirror_alloc(test, device);

	KUNIT_EXPECT_EQ(test, -EEXIST, mock_mirror_register(second, mm));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_NEW, mirror_state(second));
	/* It is as it was: unregistering does nothing, and it can be used. */
	hmm_mirror_unregister(&second->hmm);
	mock_mirror_unregister(first);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&second->stops));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_register(second, mm));
}

static int mirror_register_thread(void *data)
{
	struct mock_mirror *mirror = data;

	return mock_mirror_register(mirror, current->mm);
}

/* The old one is on its way out: the new one waits for the end of it. */
static void mirror_register_after_dying(struct kunit *test)
{
	struct mm_struct *mm = mirror_own_mm(test);
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *old = mock_mirror_new(test, device, mm);
	struct mock_mirror *new = mock_mirror_alloc(test, device);
	struct mock_thread *end, *begin;

	mirror_populate(test, old, 1);
	mock_gate_arm(device, MOCK_STOP);
	end = mock_thread_run(test, NULL, mirror_unregister_thread, &old->hmm);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(device, MOCK_STOP));
	begin = mock_thread_run(test, mm, mirror_register_thread, new);
	msleep(MIRROR_SHORT_WHILE);
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(begin));
	mock_gate_open(device, MOCK_STOP);
	mock_thread_join(test, end);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, begin));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_LIVE, mirror_state(new));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(new, MOCK_BASE, HMM_FAULT_WRITE));
}

static void mirror_register_too_many(struct kunit *test)
{
	struct mm_struct *mm = mirror_own_mm(test);
	struct mock_mirror *mirrors[HMM_MM_MIRRORS];
	struct mock_mirror *last;
	int i;

	for (i = 0; i < HMM_MM_MIRRORS; i++)
		mirrors[i] = mock_mirror_new(test, mock_device_new(test, NULL), mm);
	last = mock_mirror_alloc(test, mock_device_new(test, NULL));
	KUNIT_EXPECT_EQ(test, -EBUSY, mock_mirror_register(last, mm));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_NEW, mirror_state(last));

	mirror_populate(test, mirrors[HMM_MM_MIRRORS / 2], 1);
	mock_mirror_unregister(mirrors[HMM_MM_MIRRORS / 2]);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_register(last, mm));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(last, MOCK_BASE, HMM_FAULT_READ));
}

static void mirror_register_on_dying_device(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mm_struct *mm = mirror_own_mm(test);
	struct mock_process *process = mock_process_new(test, PAGE_SIZE);
	struct mock_mirror *late = mock_mirror_alloc(test, device);
	struct mock_thread *thread;

	mock_mirror_new(test, device, process->mm);
	mock_gate_arm(device, MOCK_STOP);
	thread = mock_thread_run(test, NULL, mirror_device_unregister_thread, device);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(device, MOCK_STOP));

	KUNIT_EXPECT_EQ(test, -ENODEV, mock_mirror_register(late, mm));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_NEW, mirror_state(late));
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(thread));
	mock_gate_open(device, MOCK_STOP);
	mock_thread_join(test, thread);
	KUNIT_EXPECT_EQ(test, -ENODEV, mock_mirror_register(late, mm));
}

static void mirror_register_on_dead_mm(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_process *process = mock_process_new(test, PAGE_SIZE);
	struct mock_mirror *mirror = mock_mirror_alloc(test, device);

	mock_process_exit(process);
	mock_process_wait(process);
	KUNIT_EXPECT_EQ(test, -ESRCH, mock_mirror_register(mirror, process->mm));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_NEW, mirror_state(mirror));
}

static void mirror_unregister_never_registered(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_alloc(test, device);

	hmm_mirror_unregister(&mirror->hmm);
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_NEW, mirror_state(mirror));
	KUNIT_EXPECT_EQ(test, 0, device->log->nr);
}

static void mirror_unregister_twice(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_new(test, device, mirror_own_mm(test));
	unsigned int calls;

	mirror_populate(test, mirror, 1);
	mock_mirror_unregister(mirror);
	calls = device->log->nr;
	hmm_mirror_unregister(&mirror->hmm);
	KUNIT_EXPECT_EQ(test, calls, device->log->nr);
}

/* Stop first; then everything is taken away, block by block; then silence. */
static void mirror_unregister_drops_all(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_new(test, device, mirror_own_mm(test));
	unsigned long size = mock_mirror_block_size(mirror);
	unsigned int begin, end, i;
	struct mock_call *call;

	device->tokens = true;
	mirror_populate(test, mirror, 3);
	KUNIT_EXPECT_EQ(test, 3, mock_mirror_nr_pages(mirror));
	begin = device->log->nr;
	mock_mirror_unregister(mirror);
	end = device->log->nr;

	KUNIT_ASSERT_EQ(test, begin + 7, end);
	KUNIT_EXPECT_EQ(test, MOCK_STOP, device->log->calls[begin].op);
	for (i = begin + 1; i < end; i++) {
		call = &device->log->calls[i];
		KUNIT_EXPECT_EQ(test, (i - begin) % 2 ? MOCK_UPDATE : MOCK_WAIT, call->op);
		KUNIT_EXPECT_EQ(test, HMM_ACTION_FREE, call->event.action);
		KUNIT_EXPECT_EQ(test, HMM_EVENT_RELEASE, call->event.type);
		KUNIT_EXPECT_EQ(test, size, call->end - call->start);
	}
	KUNIT_EXPECT_EQ(test, 3 * size, atomic64_read(&mirror->freed));
	vm_munmap(MOCK_BASE, 3 * size);
	KUNIT_EXPECT_EQ(test, end, device->log->nr);
}

/* What the device has written is reported, whoever takes the translation away. */
static void mirror_unregister_reports_dirty(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_new(test, device, mirror_own_mm(test));

	mirror_populate(test, mirror, 2);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(mirror, MOCK_BASE, 4711));
	mock_mirror_unregister(mirror);
	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_stat(&mirror->hmm, HMM_STAT_DIRTY));
	KUNIT_EXPECT_EQ(test, 4711, mock_cpu_load(test, MOCK_BASE));
}

static void mirror_dirty_page(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_new(test, device, mirror_own_mm(test));
	struct file *file = shmem_file_setup("hmm", PAGE_SIZE, EMPTY_VMA_FLAGS);
	struct page *page;

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mock_mmap_file(test, file, MOCK_BASE, PAGE_SIZE, MIRROR_RW, MAP_SHARED);
	fput(file);
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_READ));
	page = pfn_to_page(mock_mirror_pfn(mirror, MOCK_BASE));
	folio_clear_dirty(page_folio(page));

	hmm_mirror_dirty_page(&mirror->hmm, page);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(page_folio(page)));
	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_stat(&mirror->hmm, HMM_STAT_DIRTY));
}

static void mirror_device_unregister_live(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_process *processes[3];
	struct mock_mirror *mirrors[3];
	int i;

	for (i = 0; i < 3; i++) {
		processes[i] = mock_process_new(test, PAGE_SIZE);
		mirrors[i] = mock_mirror_new(test, device, processes[i]->mm);
		KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(mirrors[i], MOCK_BASE,
							   HMM_FAULT_WRITE));
	}
	/* One process is gone already; its mirror is still there. */
	mock_process_exit(processes[1]);
	mock_process_wait(processes[1]);
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_DYING, mirror_state(mirrors[1]));

	mock_device_unregister(device);
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_EQ(test, HMM_MIRROR_DEAD, mirror_state(mirrors[i]));
		KUNIT_EXPECT_EQ(test, 1, atomic_read(&mirrors[i]->stops));
		KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(mirrors[i]));
		KUNIT_EXPECT_EQ(test, i == 1 ? -ESRCH : -ENODEV,
				mock_mirror_fault(mirrors[i], MOCK_BASE, HMM_FAULT_READ));
	}
	/* The processes live on: nothing of the device is left in their way. */
	mock_process_exit(processes[0]);
	mock_process_wait(processes[0]);
}

static void mirror_two_devices_one_goes(struct kunit *test)
{
	struct mock_device *gone = mock_device_new(test, NULL);
	struct mock_device *stays = mock_device_new(test, NULL);
	struct mm_struct *mm = mirror_own_mm(test);
	struct mock_mirror *first = mock_mirror_new(test, gone, mm);
	struct mock_mirror *second = mock_mirror_new(test, stays, mm);

	mirror_populate(test, first, 2);
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(second, MOCK_BASE, HMM_FAULT_READ));
	mock_device_unregister(gone);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(first));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_LIVE, mirror_state(second));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_mapped(second, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(second, mock_mirror_block(second, 1),
						   HMM_FAULT_READ));
	vm_munmap(MOCK_BASE, PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(second, MOCK_BASE));
}

struct mirror_in_flight {
	const char *desc;
	enum mock_op op;
	bool device;
};

static const struct mirror_in_flight mirror_in_flights[] = {
	{ "mirror, in prepare", MOCK_PREPARE, false },
	{ "mirror, in map", MOCK_MAP, false },
	{ "device, in prepare", MOCK_PREPARE, true },
	{ "device, in map", MOCK_MAP, true },
};

KUNIT_ARRAY_PARAM_DESC(mirror_in_flight, mirror_in_flights, desc);

/* Unregistration waits for an operation that runs, and leaves nothing mapped. */
static void mirror_unregister_fault_in_flight(struct kunit *test)
{
	const struct mirror_in_flight *p = test->param_value;
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_new(test, device, mirror_own_mm(test));
	struct mock_thread *fault, *end;
	int ret;

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, MIRROR_RW);
	mock_gate_arm(device, p->op);
	fault = mock_thread_run(test, NULL, mirror_read_thread, mirror);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(device, p->op));
	if (p->device)
		end = mock_thread_run(test, NULL, mirror_device_unregister_thread, device);
	else
		end = mock_thread_run(test, NULL, mirror_unregister_thread, &mirror->hmm);
	msleep(MIRROR_SHORT_WHILE);
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(end));
	KUNIT_EXPECT_NE(test, HMM_MIRROR_DEAD, mirror_state(mirror));

	mock_gate_open(device, p->op);
	mock_thread_join(test, end);
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_DEAD, mirror_state(mirror));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(mirror));
	WRITE_ONCE(mirror->ended, true);
	/* It may have been mapped and taken away again. */
	ret = mock_thread_join(test, fault);
	if (p->op == MOCK_PREPARE || ret)
		KUNIT_EXPECT_EQ(test, -ENODEV, ret);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(mirror));
}

/* The owner and the device let go of a mirror at the same time. */
static void mirror_unregister_from_both_sides(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_new(test, device, mirror_own_mm(test));
	struct mock_thread *owner, *other, *dev;

	mirror_populate(test, mirror, 2);
	mock_gate_arm(device, MOCK_STOP);
	owner = mock_thread_run(test, NULL, mirror_unregister_thread, &mirror->hmm);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(device, MOCK_STOP));
	other = mock_thread_run(test, NULL, mirror_unregister_thread, &mirror->hmm);
	dev = mock_thread_run(test, NULL, mirror_device_unregister_thread, device);
	msleep(MIRROR_SHORT_WHILE);
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(owner));
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(other));
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(dev));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_DYING, mirror_state(mirror));

	mock_gate_open(device, MOCK_STOP);
	mock_thread_join(test, owner);
	mock_thread_join(test, other);
	mock_thread_join(test, dev);
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_DEAD, mirror_state(mirror));
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&mirror->stops));
}

/* An exit stops the device before it takes the first translation away. */
static void mirror_mm_exit(struct kunit *test)
{
	struct mock_log *log = mock_log_new(test);
	struct mock_device *a = mock_device_new(test, log);
	struct mock_device *b = mock_device_new(test, log);
	struct mock_process *process = mock_process_new(test, PAGE_SIZE);
	struct mock_mirror *on_a = mock_mirror_new(test, a, process->mm);
	struct mock_mirror *on_b = mock_mirror_new(test, b, process->mm);
	unsigned int begin, i, stops = 0;

	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(on_a, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(on_b, MOCK_BASE, HMM_FAULT_READ));
	begin = log->nr;
	mock_process_exit(process);
	mock_process_wait(process);

	for (i = begin; i < log->nr; i++) {
		if (log->calls[i].op == MOCK_STOP)
			stops++;
		else
			KUNIT_EXPECT_EQ(test, 2, stops);
	}
	KUNIT_EXPECT_EQ(test, 2, stops);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(on_a));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(on_b));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_DYING, mirror_state(on_a));
	KUNIT_EXPECT_EQ(test, 1, hmm_mirror_event_count(&on_a->hmm, HMM_EVENT_RELEASE));
	KUNIT_EXPECT_EQ(test, -ESRCH, mock_mirror_fault(on_a, MOCK_BASE, HMM_FAULT_READ));
	KUNIT_EXPECT_EQ(test, -ESRCH, hmm_mirror_fault_range(&on_a->hmm, MOCK_BASE,
							     MOCK_BASE + PAGE_SIZE,
							     HMM_FAULT_READ));
	/* That stays the reason. */
	mock_mirror_unregister(on_a);
	KUNIT_EXPECT_EQ(test, -ESRCH, mock_mirror_fault(on_a, MOCK_BASE, HMM_FAULT_READ));
}

/* A process that no block was ever made for is told of by the classic notifier. */
static void mirror_mm_exit_unused(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_process *process = mock_process_new(test, PAGE_SIZE);
	struct mock_mirror *mirror = mock_mirror_new(test, device, process->mm);

	mock_process_exit(process);
	mock_process_wait(process);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&mirror->stops));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_DYING, mirror_state(mirror));
}

/*
 * The process exits, and stopping the device takes its time; the owner unregisters.
 *
 *	exit			owner
 *	DYING
 *	stop() begins
 *				DYING already: nothing to stop
 *				update(RELEASE)
 *	stop() returns
 *
 * Required: the update waits for stop().  (The other way round it need not: the
 * exiting process does not wait for an owner who is in stop().)
 */
static void mirror_unregister_while_exit_stops(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_process *process = mock_process_new(test, PAGE_SIZE);
	struct mock_mirror *mirror = mock_mirror_new(test, device, process->mm);
	struct mock_thread *end;

	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_WRITE));
	mock_gate_arm(device, MOCK_STOP);
	mock_process_exit(process);
	KUNIT_ASSERT_TRUE(test, mock_gate_wait(device, MOCK_STOP));
	end = mock_thread_run(test, NULL, mirror_unregister_thread, &mirror->hmm);
	msleep(MIRROR_SHORT_WHILE);
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(end));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&device->calls[MOCK_UPDATE]));

	mock_gate_open(device, MOCK_STOP);
	mock_thread_join(test, end);
	mock_process_wait(process);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&mirror->stops));
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_DEAD, mirror_state(mirror));
}

static void mirror_fault_not_live(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mm_struct *mm = mirror_own_mm(test);
	struct mock_mirror *mirror = mock_mirror_alloc(test, device);

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, MIRROR_RW);
	KUNIT_EXPECT_EQ(test, -ENODEV, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_READ));
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_register(mirror, mm));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_READ));
	mock_mirror_unregister(mirror);
	KUNIT_EXPECT_EQ(test, -ENODEV, mock_mirror_fault(mirror, MOCK_BASE, HMM_FAULT_READ));
	KUNIT_EXPECT_EQ(test, -ENODEV, hmm_mirror_fault_range(&mirror->hmm, MOCK_BASE,
							      MOCK_BASE + PAGE_SIZE,
							      HMM_FAULT_READ));
}

/* A fault that user space keeps waiting keeps nobody else waiting. */
static void mirror_unregister_slow_fault(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_new(test, device, mirror_own_mm(test));
	struct mock_file *file = mock_file_new(test, MOCK_FILE_SLOW);
	struct mock_thread *fault;

	mock_mmap_file(test, file->file, MOCK_BASE, PAGE_SIZE, MIRROR_RW, MAP_SHARED);
	fault = mock_thread_run(test, NULL, mirror_read_thread, mirror);
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&file->entered, MOCK_PATIENCE));

	mock_mirror_unregister(mirror);
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(fault));
	mock_device_unregister(device);
	KUNIT_EXPECT_FALSE(test, mock_thread_is_done(fault));
	complete_all(&file->open);
	KUNIT_EXPECT_EQ(test, -ENODEV, mock_thread_join(test, fault));
	KUNIT_EXPECT_FALSE(test, file->stuck);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(mirror));
}

/* Two processes on one device know nothing of each other. */
static void mirror_two_processes(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_process *process = mock_process_new(test, PAGE_SIZE);
	struct mock_mirror *other = mock_mirror_new(test, device, process->mm);
	struct mock_mirror *mine = mock_mirror_new(test, device, mirror_own_mm(test));

	mock_mmap(test, MOCK_BASE, PAGE_SIZE, MIRROR_RW);
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(mine, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_ASSERT_EQ(test, 0, mock_mirror_fault(other, MOCK_BASE, HMM_FAULT_WRITE));
	KUNIT_EXPECT_NE(test, mock_mirror_pfn(mine, MOCK_BASE),
			mock_mirror_pfn(other, MOCK_BASE));
	vm_munmap(MOCK_BASE, PAGE_SIZE);
	KUNIT_EXPECT_FALSE(test, mock_mirror_is_mapped(mine, MOCK_BASE));
	KUNIT_EXPECT_TRUE(test, mock_mirror_is_mapped(other, MOCK_BASE));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_stat(&other->hmm, HMM_STAT_EVENTS));
}

static void mirror_numbers(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mock_mirror *mirror = mock_mirror_alloc(test, device);
	int i, j;

	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_stat(&mirror->hmm, HMM_STAT_NR));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_stat(&mirror->hmm, -1));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_event_count(&mirror->hmm, HMM_EVENT_NR));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_event_count(&mirror->hmm, -1));
	KUNIT_EXPECT_STREQ(test, "?", hmm_mirror_stat_name(HMM_STAT_NR));
	for (i = 0; i < HMM_STAT_NR; i++) {
		KUNIT_EXPECT_STRNEQ(test, "?", hmm_mirror_stat_name(i));
		for (j = 0; j < i; j++)
			KUNIT_EXPECT_STRNEQ(test, hmm_mirror_stat_name(i),
					    hmm_mirror_stat_name(j));
	}
}

/**
 * struct mirror_storm - threads that get in each other's way
 * @mirror: mirror of this round
 * @stop: come to an end
 * @mapped: faults that succeeded
 * @unmapped: rounds of the unmapper
 */
struct mirror_storm {
	struct mock_mirror *mirror;
	bool stop;
	unsigned long mapped;
	unsigned long unmapped;
};

static int mirror_storm_fault(void *data)
{
	struct mirror_storm *storm = data;
	int ret;

	do {
		ret = mock_mirror_fault(storm->mirror, MOCK_BASE, HMM_FAULT_WRITE);
		if (!ret)
			storm->mapped++;
		cond_resched();
	} while (!ret || ret == -EFAULT || ret == -EBUSY);
	return ret;
}

static int mirror_storm_unmap(void *data)
{
	struct mirror_storm *storm = data;

	while (!READ_ONCE(storm->stop)) {
		if (vm_mmap(NULL, MOCK_BASE, PAGE_SIZE, MIRROR_RW,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0) != MOCK_BASE)
			return -ENOMEM;
		/* A fault can take longer than we do: at times, until one got through, wait. */
		if (!(storm->unmapped++ % 16) && !READ_ONCE(storm->mapped))
			msleep(50);
		vm_munmap(MOCK_BASE, PAGE_SIZE);
		cond_resched();
	}
	return 0;
}

/*
 * Mirrors come and go while faults and unmaps run: each unregistration takes the last
 * mirror of the address space, so all that the core keeps for it is torn down under
 * notifiers that are running.
 */
static void mirror_unregister_storm(struct kunit *test)
{
	struct mock_device *device = mock_device_new(test, NULL);
	struct mm_struct *mm = mirror_own_mm(test);
	struct mirror_storm storm = {};
	struct mock_thread *unmap, *fault;
	struct mock_mirror *mirror;
	unsigned long deadline;
	int round;

	unmap = mock_thread_run(test, mm, mirror_storm_unmap, &storm);
	for (round = 0; round <= 100; round++) {
		mirror = mock_mirror_new(test, device, mm);
		storm.mirror = mirror;
		fault = mock_thread_run(test, NULL, mirror_storm_fault, &storm);
		usleep_range(500 + 40 * round, 600 + 40 * round);
		/* On a slow machine lives are shorter than faults: the last waits for one. */
		deadline = jiffies + 3 * MOCK_PATIENCE;
		while (round == 100 && !READ_ONCE(storm.mapped) && time_before(jiffies, deadline))
			msleep(20);
		mock_mirror_unregister(mirror);
		KUNIT_EXPECT_EQ(test, -ENODEV, mock_thread_join(test, fault));
	}
	WRITE_ONCE(storm.stop, true);
	KUNIT_EXPECT_EQ(test, 0, mock_thread_join(test, unmap));
	kunit_info(test, "%lu faults served, %lu unmaps\n", storm.mapped, storm.unmapped);
	KUNIT_EXPECT_GT(test, storm.mapped, 0);
	/* Work that was queued in vain would strike now. */
	msleep(1500);
}

static struct kunit_case hmm_mirror_cases[] = {
	KUNIT_CASE(mirror_register_unregister),
	KUNIT_CASE_PARAM(mirror_device_register_invalid, mirror_bad_device_gen_params),
	KUNIT_CASE(mirror_register_not_new),
	KUNIT_CASE(mirror_register_duplicate),
	KUNIT_CASE(mirror_register_after_dying),
	KUNIT_CASE(mirror_register_too_many),
	KUNIT_CASE(mirror_register_on_dying_device),
	KUNIT_CASE(mirror_register_on_dead_mm),
	KUNIT_CASE(mirror_unregister_never_registered),
	KUNIT_CASE(mirror_unregister_twice),
	KUNIT_CASE(mirror_unregister_drops_all),
	KUNIT_CASE(mirror_unregister_reports_dirty),
	KUNIT_CASE(mirror_dirty_page),
	KUNIT_CASE(mirror_device_unregister_live),
	KUNIT_CASE(mirror_two_devices_one_goes),
	KUNIT_CASE_PARAM(mirror_unregister_fault_in_flight, mirror_in_flight_gen_params),
	KUNIT_CASE(mirror_unregister_from_both_sides),
	KUNIT_CASE(mirror_mm_exit),
	KUNIT_CASE(mirror_mm_exit_unused),
	KUNIT_CASE(mirror_unregister_while_exit_stops),
	KUNIT_CASE(mirror_fault_not_live),
	KUNIT_CASE(mirror_unregister_slow_fault),
	KUNIT_CASE(mirror_two_processes),
	KUNIT_CASE(mirror_numbers),
	KUNIT_CASE_SLOW(mirror_unregister_storm),
	{}
};

static struct kunit_suite hmm_mirror_suite = {
	.name = "hmm_mirror",
	.test_cases = hmm_mirror_cases,
};

kunit_test_suite(hmm_mirror_suite);

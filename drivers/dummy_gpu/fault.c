// SPDX-License-Identifier: GPL-2.0
/*
 * Device faults: from the fault buffer to the mirroring core and back.
 *
 *   interrupt -> dgpu_fault_work(): empties the buffer, sorts by context, one batch
 *   for each context -> dgpu_fault_serve(): the core maps, the threads are answered
 *
 * Serving a fault can take as long as user space likes (a userfaultfd handler may even
 * wait for another job of the device), so a batch is a work of its own on a workqueue
 * that nothing else uses, and what empties the buffer never waits for one.  So that a
 * process which lets its faults hang cannot use up the workers of all, an address space
 * has at most DGPU_FAULT_WORKERS batches being served; the others wait in its list.
 *
 * The principle: a fault that was read is answered, unless its context is stopped; then
 * the thread that waited is gone, and the chip knows a late answer by its serial number.
 *
 * Locks: dgpu_vm.fault_lock.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include "dgpu_private.h"
#include "trace.h"

/*
 * So many batches of one process can hang in user space before the next of its own
 * faults has to wait.
 */
#define DGPU_FAULT_WORKERS	32

/**
 * struct dgpu_fault_batch - faults of one address space that were read together
 * @work: serves it
 * @vm: address space, referenced
 * @node: in dgpu_vm.faults while it waits
 * @nr: number of faults
 * @faults: for the core; cookie is the index in @hw
 * @hw: as the chip knows them
 */
struct dgpu_fault_batch {
	struct work_struct work;
	struct dgpu_vm *vm;
	struct list_head node;
	unsigned int nr;
	struct hmm_fault *faults;
	struct dgpu_hw_fault hw[] __counted_by(nr);
};

static_assert(DGPU_ACCESS_READ == HMM_FAULT_READ);
static_assert(DGPU_ACCESS_WRITE == HMM_FAULT_WRITE);
static_assert(DGPU_ACCESS_ATOMIC == HMM_FAULT_ATOMIC);

static void dgpu_fault_batch_free(struct dgpu_fault_batch *batch)
{
	dgpu_vm_put(batch->vm);
	kfree(batch->faults);
	kfree(batch);
}

static void dgpu_fault_answer(struct dgpu_fault_batch *batch)
{
	struct dgpu_device *dev = batch->vm->dev;
	unsigned int i;

	if (!dgpu_device_enter(dev))
		return;
	for (i = 0; i < batch->nr; i++) {
		const struct hmm_fault *fault = &batch->faults[i];
		int error = fault->error;

		/* Lost against invalidations for a long time: not the program's fault. */
		if (error == -EBUSY)
			error = 0;
		/*
		 * Nor are these: the stop, which is about to come, says how its jobs end.  Where
		 * there is no address space any more, its mirror is live until exit_mmap().
		 */
		if (error == -ESRCH ||
		    (error == -ENODEV &&
		     hmm_mirror_state(&batch->vm->mirror) != HMM_MIRROR_LIVE))
			continue;
		dgpu_hw_fault_answer(dev->hw, &batch->hw[fault->cookie], error);
	}
	dgpu_device_exit(dev);
}

/* The next batch of an address space takes the place of one that is through. */
static void dgpu_fault_next(struct dgpu_vm *vm)
{
	struct dgpu_fault_batch *next;

	spin_lock(&vm->fault_lock);
	next = list_first_entry_or_null(&vm->faults, struct dgpu_fault_batch, node);
	if (next)
		list_del_init(&next->node);
	else
		vm->fault_workers--;
	spin_unlock(&vm->fault_lock);
	if (next)
		queue_work(dgpu_fault_wq, &next->work);
}

static void dgpu_fault_serve(struct work_struct *work)
{
	struct dgpu_fault_batch *batch = container_of(work, struct dgpu_fault_batch, work);

	hmm_mirror_fault(&batch->vm->mirror, batch->faults, batch->nr);
	trace_dgpu_fault(batch->vm, batch->faults, batch->nr);
	dgpu_fault_answer(batch);
	dgpu_fault_next(batch->vm);
	dgpu_fault_batch_free(batch);
}

static void dgpu_fault_queue(struct dgpu_fault_batch *batch)
{
	struct dgpu_vm *vm = batch->vm;
	bool stopped, now = false;

	spin_lock(&vm->fault_lock);
	stopped = vm->fault_stopped;
	if (!stopped) {
		now = vm->fault_workers < DGPU_FAULT_WORKERS;
		if (now)
			vm->fault_workers++;
		else
			list_add_tail(&batch->node, &vm->faults);
	}
	spin_unlock(&vm->fault_lock);
	if (now)
		queue_work(dgpu_fault_wq, &batch->work);
	else if (stopped)
		dgpu_fault_batch_free(batch);
}

/* Takes over the reference to @vm.  NULL: no memory. */
static struct dgpu_fault_batch *dgpu_fault_batch_alloc(struct dgpu_vm *vm,
						       const struct dgpu_hw_fault *faults,
						       unsigned int nr)
{
	struct dgpu_fault_batch *batch;
	unsigned int i;

	batch = kzalloc(struct_size(batch, hw, nr), GFP_KERNEL);
	if (!batch)
		return NULL;
	batch->nr = nr;
	batch->faults = kcalloc(nr, sizeof(*batch->faults), GFP_KERNEL);
	if (!batch->faults) {
		kfree(batch);
		return NULL;
	}
	INIT_WORK(&batch->work, dgpu_fault_serve);
	INIT_LIST_HEAD(&batch->node);
	batch->vm = vm;
	for (i = 0; i < nr; i++) {
		batch->hw[i] = faults[i];
		batch->faults[i].addr = faults[i].addr;
		batch->faults[i].access = faults[i].access;
		batch->faults[i].cookie = i;
	}
	return batch;
}

/* There is not even memory to remember them by. */
static void dgpu_fault_refuse(struct dgpu_device *dev, const struct dgpu_hw_fault *faults,
			      unsigned int nr)
{
	if (!dgpu_device_enter(dev))
		return;
	for (; nr; faults++, nr--)
		dgpu_hw_fault_answer(dev->hw, faults, -ENOMEM);
	dgpu_device_exit(dev);
}

/* Pass on faults of one context. */
static void dgpu_fault_dispatch(struct dgpu_device *dev, const struct dgpu_hw_fault *faults,
				unsigned int nr)
{
	struct dgpu_vm *vm = dgpu_vm_by_asid(dev, faults[0].asid);
	struct dgpu_fault_batch *batch;

	/* Gone, and its threads with it. */
	if (!vm)
		return;
	batch = dgpu_fault_batch_alloc(vm, faults, nr);
	if (batch) {
		dgpu_fault_queue(batch);
	} else {
		dgpu_fault_refuse(dev, faults, nr);
		dgpu_vm_put(vm);
	}
}

/* Memory is waited for outside of this: who signals fences enters the device, too. */
static unsigned int dgpu_fault_read(struct dgpu_device *dev)
{
	unsigned int nr;

	if (!dgpu_device_enter(dev))
		return 0;
	nr = dgpu_hw_fault_read(dev->hw, dev->faults, DGPU_FAULT_MAX);
	dgpu_device_exit(dev);
	return nr;
}

static int dgpu_fault_cmp(const void *a, const void *b)
{
	const struct dgpu_hw_fault *fa = a, *fb = b;

	return (int)fa->asid - (int)fb->asid;
}

/**
 * dgpu_fault_work - the fault buffer has entries
 * @work: dgpu_device.fault_work
 *
 * Context: process context; does not wait for any fault to be served.
 */
void dgpu_fault_work(struct work_struct *work)
{
	struct dgpu_device *dev = container_of(work, struct dgpu_device, fault_work);
	unsigned int nr, first, last;

	while ((nr = dgpu_fault_read(dev))) {
		sort(dev->faults, nr, sizeof(*dev->faults), dgpu_fault_cmp, NULL);
		for (first = 0; first < nr; first = last) {
			for (last = first + 1; last < nr; last++)
				if (dev->faults[last].asid != dev->faults[first].asid)
					break;
			dgpu_fault_dispatch(dev, &dev->faults[first], last - first);
		}
		cond_resched();
	}
}

/**
 * dgpu_fault_stop - an address space takes no more faults
 * @vm: address space whose context is stopped
 *
 * Batches that are being served come back when they like.
 *
 * Context: may sleep, does not allocate.
 */
void dgpu_fault_stop(struct dgpu_vm *vm)
{
	struct dgpu_fault_batch *batch, *next;
	LIST_HEAD(waiting);

	spin_lock(&vm->fault_lock);
	vm->fault_stopped = true;
	list_splice_init(&vm->faults, &waiting);
	spin_unlock(&vm->fault_lock);
	list_for_each_entry_safe(batch, next, &waiting, node)
		dgpu_fault_batch_free(batch);
}

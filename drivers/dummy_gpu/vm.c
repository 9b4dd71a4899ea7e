// SPDX-License-Identifier: GPL-2.0
/*
 * The address space of a process on a device: struct dgpu_vm, and the operations that
 * the mirroring core calls on it.
 *
 * The files that a process opens on one device share one.  It is born by the first
 * open(), and dies by the last close() or when the device goes: then its mirror is
 * unregistered, which stops its threads and takes its translations away, its context
 * leaves the chip and its page table is freed.  Its memory stays until the last
 * reference: a fault may be in flight that waits for user space, and nobody waits for
 * that.  It also keeps the module, as such a fault ends in code of it.
 *
 * Openers meet in the list of the device: who comes second waits for dgpu_vm.lock until
 * the first has finished.  One that is dying stays in the list until it is dead, so a
 * process never has two mirrors on one device:
 *
 *	last close()				open()
 *	lock
 *						finds it, waits for the lock
 *	DYING: unregister, free
 *	off the list, DEAD
 *	unlock
 *						sees that it is DEAD
 *						looks again, makes a new one
 *
 * The principle: an operation of the core never allocates but in ->prepare(), waits for
 * nothing but the chip, and for that not longer than it takes to reset it.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "dgpu_private.h"
#include "trace.h"

static struct dgpu_vm *dgpu_vm_of(struct hmm_mirror *mirror)
{
	return container_of(mirror, struct dgpu_vm, mirror);
}

/* ---- the TLBs ---- */

/*
 * The chip has to answer.  If it does not, an engine hangs: a reset empties its TLB and
 * ends what it was doing.
 */
static void dgpu_vm_flush_wait(struct dgpu_vm *vm, u64 ticket)
{
	struct dgpu_device *dev = vm->dev;
	unsigned int engine;

	if (dgpu_hw_tlb_wait(dev->hw, ticket, DGPU_TLB_TIMEOUT_MS))
		return;
	dev_err_ratelimited(&dev->pdev->dev,
			    "TLB invalidation not done after %u ms: resetting the engines\n",
			    DGPU_TLB_TIMEOUT_MS);
	for (engine = 0; engine < dgpu_config.hw.engines; engine++) {
		dgpu_hw_engine_reset(dev->hw, engine);
		if (dgpu_hw_tlb_done(dev->hw, ticket))
			return;
	}
}

/**
 * dgpu_vm_flush - have the TLBs forget a range, and wait
 * @vm: address space
 * @start: first byte
 * @end: first byte after it
 *
 * Context: in an operation that the core calls.  May sleep; bounded.
 */
void dgpu_vm_flush(struct dgpu_vm *vm, u64 start, u64 end)
{
	dgpu_vm_flush_wait(vm, dgpu_hw_tlb_invalidate(vm->dev->hw, vm->asid, start, end));
}

/* ---- operations that the core calls ---- */

static int dgpu_vm_prepare(struct hmm_mirror *mirror, unsigned long start,
			   unsigned long end)
{
	return dgpu_pt_prepare(dgpu_vm_of(mirror), start, end);
}

static int dgpu_vm_map(struct hmm_mirror *mirror, const struct hmm_map *map)
{
	struct dgpu_vm *vm = dgpu_vm_of(mirror);
	int ret;

	ret = dgpu_pt_map(vm, map);
	trace_dgpu_map(vm, map, ret);
	return ret;
}

static u64 dgpu_vm_update(struct hmm_mirror *mirror, const struct hmm_event *event)
{
	struct dgpu_vm *vm = dgpu_vm_of(mirror);
	struct dgpu_pt_taken taken = {};
	u64 ticket = 0;

	dgpu_pt_take(vm, event, &taken);
	dgpu_event_record(vm, event, &taken);
	if (taken.start < taken.end)
		ticket = dgpu_hw_tlb_invalidate(vm->dev->hw, vm->asid, taken.start,
						taken.end);
	/* Our own ticket covers what is owed, as tickets are done in order. */
	if (!ticket)
		ticket = atomic64_read(&vm->owed);
	trace_dgpu_update(vm, event, &taken, ticket);
	if (!dgpu_hw_tlb_done(vm->dev->hw, ticket))
		return ticket;
	dgpu_pt_settle(vm, event);
	return 0;
}

/* A flush that could not be waited for: until it is done no update is. */
static void dgpu_vm_owe(struct dgpu_vm *vm, u64 ticket)
{
	s64 owed = atomic64_read(&vm->owed);

	while ((u64)owed < ticket && !atomic64_try_cmpxchg(&vm->owed, &owed, ticket))
		;
}

static bool dgpu_vm_update_wait(struct hmm_mirror *mirror, const struct hmm_event *event,
				u64 token)
{
	struct dgpu_vm *vm = dgpu_vm_of(mirror);

	if (event->flags & HMM_EVENT_BLOCKABLE) {
		dgpu_vm_flush_wait(vm, token);
	} else if (!dgpu_hw_tlb_done(vm->dev->hw, token)) {
		dgpu_vm_owe(vm, token);
		return false;
	}
	dgpu_pt_settle(vm, event);
	return true;
}

static struct page *dgpu_vm_peek(struct hmm_mirror *mirror, unsigned long start,
				 unsigned long end)
{
	return dgpu_pt_peek(dgpu_vm_of(mirror), start, end);
}

static void dgpu_vm_stop(struct hmm_mirror *mirror)
{
	struct dgpu_vm *vm = dgpu_vm_of(mirror);
	u32 status = READ_ONCE(vm->dev->gone) ? DGPU_ERR_LOST : DGPU_ERR_STOPPED;

	trace_dgpu_stop(vm, status);
	dgpu_hw_context_stop(vm->dev->hw, vm->asid, status);
	dgpu_fault_stop(vm);
}

const struct hmm_device_ops dgpu_vm_ops = {
	.prepare = dgpu_vm_prepare,
	.map = dgpu_vm_map,
	.update = dgpu_vm_update,
	.update_wait = dgpu_vm_update_wait,
	.peek = dgpu_vm_peek,
	.stop = dgpu_vm_stop,
};

/* ---- references ---- */

/**
 * dgpu_vm_get - take a reference
 * @vm: address space that the caller has a reference to
 *
 * Context: any.
 * Return: @vm.
 */
struct dgpu_vm *dgpu_vm_get(struct dgpu_vm *vm)
{
	kref_get(&vm->ref);
	return vm;
}

static void dgpu_vm_free(struct kref *ref)
{
	struct dgpu_vm *vm = container_of(ref, struct dgpu_vm, ref);

	mmdrop(vm->mm);
	dgpu_device_put(vm->dev);
	mutex_destroy(&vm->lock);
	kfree(vm);
	module_put(THIS_MODULE);
}

/**
 * dgpu_vm_put - drop a reference
 * @vm: address space
 *
 * Context: may sleep; from an ioctl, or from a work that the module's exit waits for.
 */
void dgpu_vm_put(struct dgpu_vm *vm)
{
	kref_put(&vm->ref, dgpu_vm_free);
}

/**
 * dgpu_vm_by_asid - whose context is it?
 * @dev: device
 * @asid: number of the context
 *
 * Context: any that may take a spinlock.
 * Return: the address space, with a reference for the caller, or NULL.
 */
struct dgpu_vm *dgpu_vm_by_asid(struct dgpu_device *dev, u32 asid)
{
	struct dgpu_vm *vm;

	xa_lock(&dev->asids);
	/* It is taken out of there before its last reference can go. */
	vm = xa_load(&dev->asids, asid);
	if (vm)
		dgpu_vm_get(vm);
	xa_unlock(&dev->asids);
	return vm;
}

/* ---- birth ---- */

static struct dgpu_vm *dgpu_vm_alloc(struct dgpu_device *dev, struct mm_struct *mm)
{
	struct dgpu_vm *vm;

	vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return NULL;
	__module_get(THIS_MODULE);
	kref_init(&vm->ref);
	vm->dev = dgpu_device_get(dev);
	mmgrab(mm);
	vm->mm = mm;
	INIT_LIST_HEAD(&vm->node);
	mutex_init(&vm->lock);
	spin_lock_init(&vm->pt.lock);
	INIT_LIST_HEAD(&vm->pt.limbo);
	INIT_LIST_HEAD(&vm->pt.reap);
	INIT_DELAYED_WORK(&vm->pt.reap_work, dgpu_pt_reap);
	spin_lock_init(&vm->fault_lock);
	INIT_LIST_HEAD(&vm->faults);
	spin_lock_init(&vm->file_lock);
	INIT_LIST_HEAD(&vm->file_list);
	return vm;
}

static int dgpu_vm_load(struct dgpu_vm *vm)
{
	int ret = -ENODEV;

	if (dgpu_device_enter(vm->dev)) {
		ret = dgpu_hw_context_load(vm->dev->hw, vm->asid, dgpu_pt_root(vm));
		dgpu_device_exit(vm->dev);
	}
	return ret;
}

static void dgpu_vm_unload(struct dgpu_vm *vm)
{
	if (dgpu_device_enter(vm->dev)) {
		dgpu_hw_context_stop(vm->dev->hw, vm->asid, DGPU_ERR_STOPPED);
		dgpu_hw_context_unload(vm->dev->hw, vm->asid);
		dgpu_device_exit(vm->dev);
	}
}

static int dgpu_vm_birth(struct dgpu_vm *vm)
{
	struct dgpu_device *dev = vm->dev;
	int ret;

	lockdep_assert_held(&vm->lock);
	ret = dgpu_pt_init(vm);
	if (ret)
		return ret;
	/*
	 * In a circle: a fault that was read from the buffer just before its context
	 * went away must not be taken for one of the next that has the number.
	 */
	ret = xa_alloc_cyclic(&dev->asids, &vm->asid, vm,
			      XA_LIMIT(0, DGPU_MAX_CONTEXTS - 1), &dev->next_asid,
			      GFP_KERNEL_ACCOUNT);
	if (ret < 0)
		goto err_pt;
	ret = dgpu_vm_load(vm);
	if (ret)
		goto err_asid;
	ret = hmm_mirror_register(&vm->mirror, &dev->hmm, vm->mm);
	if (ret)
		goto err_load;
	vm->state = DGPU_VM_LIVE;
	return 0;

err_load:
	dgpu_vm_unload(vm);
err_asid:
	xa_erase(&dev->asids, vm->asid);
err_pt:
	dgpu_pt_destroy(vm);
	return ret;
}

/* ---- death ---- */

/* LIVE, or NEW, -> DEAD.  From here on nobody finds it. */
static void dgpu_vm_bury(struct dgpu_vm *vm)
{
	struct dgpu_device *dev = vm->dev;

	lockdep_assert_held(&vm->lock);
	vm->state = DGPU_VM_DEAD;
	mutex_lock(&dev->lock);
	list_del_init(&vm->node);
	dgpu_vm_add_counters(vm, dev->past);
	mutex_unlock(&dev->lock);
	dgpu_vm_put(vm);
}

static void dgpu_vm_death(struct dgpu_vm *vm)
{
	lockdep_assert_held(&vm->lock);
	if (vm->state != DGPU_VM_LIVE)
		return;
	hmm_mirror_unregister(&vm->mirror);
	dgpu_vm_unload(vm);
	xa_erase(&vm->dev->asids, vm->asid);
	dgpu_pt_destroy(vm);
	dgpu_vm_bury(vm);
}

/**
 * dgpu_vm_retire_all - the device goes: end all address spaces
 * @dev: device that is marked as gone and unregistered from the core
 *
 * Context: may sleep.
 */
void dgpu_vm_retire_all(struct dgpu_device *dev)
{
	struct dgpu_vm *vm;

	for (;;) {
		mutex_lock(&dev->lock);
		vm = list_first_entry_or_null(&dev->vms, struct dgpu_vm, node);
		if (vm)
			dgpu_vm_get(vm);
		mutex_unlock(&dev->lock);
		if (!vm)
			return;
		mutex_lock(&vm->lock);
		/* One that is NEW belongs to an opener who will see that we are gone. */
		if (vm->state == DGPU_VM_NEW)
			dgpu_vm_bury(vm);
		dgpu_vm_death(vm);
		mutex_unlock(&vm->lock);
		dgpu_vm_put(vm);
	}
}

/* ---- open and close ---- */

/* The entry for @mm in the list of the device, with a reference. */
static struct dgpu_vm *dgpu_vm_lookup(struct dgpu_device *dev, struct mm_struct *mm)
{
	struct dgpu_vm *vm, *new = NULL;

	mutex_lock(&dev->lock);
	for (;;) {
		if (dev->gone) {
			vm = ERR_PTR(-ENODEV);
			break;
		}
		list_for_each_entry(vm, &dev->vms, node)
			if (vm->mm == mm)
				break;
		if (!list_entry_is_head(vm, &dev->vms, node)) {
			dgpu_vm_get(vm);
			break;
		}
		if (new) {
			vm = dgpu_vm_get(new);
			list_add_tail(&vm->node, &dev->vms);
			new = NULL;
			break;
		}
		mutex_unlock(&dev->lock);
		new = dgpu_vm_alloc(dev, mm);
		if (!new)
			return ERR_PTR(-ENOMEM);
		mutex_lock(&dev->lock);
	}
	mutex_unlock(&dev->lock);
	if (new)
		dgpu_vm_put(new);
	return vm;
}

/**
 * dgpu_vm_open - the address space of a process, for one more file
 * @dev: device
 * @mm: the process' address space
 *
 * Context: may sleep; takes mmap_lock.
 * Return: it, with a reference; undone by dgpu_vm_close().  ERR_PTR: -ENODEV the device
 * is gone, -ENOMEM, -EBUSY no context is free or the process uses too many devices,
 * -ERESTARTSYS, -ESRCH.
 */
struct dgpu_vm *dgpu_vm_open(struct dgpu_device *dev, struct mm_struct *mm)
{
	struct dgpu_vm *vm;
	int ret = 0;

	for (;;) {
		vm = dgpu_vm_lookup(dev, mm);
		if (IS_ERR(vm))
			return vm;
		if (mutex_lock_interruptible(&vm->lock)) {
			dgpu_vm_put(vm);
			return ERR_PTR(-ERESTARTSYS);
		}
		if (vm->state != DGPU_VM_DEAD)
			break;
		mutex_unlock(&vm->lock);
		dgpu_vm_put(vm);
	}
	if (vm->state == DGPU_VM_NEW) {
		ret = dgpu_vm_birth(vm);
		if (ret)
			dgpu_vm_bury(vm);
	}
	if (!ret)
		vm->files++;
	mutex_unlock(&vm->lock);
	if (ret) {
		dgpu_vm_put(vm);
		/* The core says so for any signal. */
		return ERR_PTR(ret == -EINTR ? -ERESTARTSYS : ret);
	}
	return vm;
}

/**
 * dgpu_vm_close - a file has gone
 * @vm: its address space
 *
 * Context: may sleep.
 */
void dgpu_vm_close(struct dgpu_vm *vm)
{
	mutex_lock(&vm->lock);
	if (!--vm->files)
		dgpu_vm_death(vm);
	mutex_unlock(&vm->lock);
	dgpu_vm_put(vm);
}

/**
 * dgpu_vm_wake - wake who sleeps in read() or poll()
 * @vm: address space
 *
 * Context: any that may take a spinlock.
 */
void dgpu_vm_wake(struct dgpu_vm *vm)
{
	struct dgpu_file *file;

	spin_lock(&vm->file_lock);
	list_for_each_entry(file, &vm->file_list, node)
		wake_up_all(&file->ring.wait);
	spin_unlock(&vm->file_lock);
}

/**
 * dgpu_vm_add_counters - add the counters of an address space to a sum
 * @vm: address space
 * @sum: what they are added to
 *
 * Context: any.
 */
void dgpu_vm_add_counters(const struct dgpu_vm *vm, struct dgpu_counters *sum)
{
	unsigned int i;

	for (i = 0; i < HMM_STAT_NR; i++)
		sum->mirror[i] += hmm_mirror_stat(&vm->mirror, i);
	for (i = 0; i < HMM_EVENT_NR; i++)
		sum->events[i] += hmm_mirror_event_count(&vm->mirror, i);
	for (i = 0; i < HMM_REASON_NR; i++)
		sum->reasons[i] += atomic64_read(&vm->reasons[i]);
}

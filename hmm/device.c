// SPDX-License-Identifier: GPL-2.0
/*
 * Devices: registration, and taking one out of service.
 *
 * A device is the driver's; this file owns only the list of them and the claim to
 * its mirrors.  The principle: hmm_device_unregister() works at any time, under
 * load, cannot fail, and when it returns the core calls the driver no more.
 */
#include <linux/export.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/module.h>
#include "hmm_private.h"

LIST_HEAD(hmm_device_list);
DEFINE_MUTEX(hmm_device_list_lock);

static bool hmm_device_caps_valid(const struct hmm_device_caps *caps)
{
	return caps->va_bits >= 39 && caps->va_bits <= 57 &&
	       caps->fault_around >= PAGE_SIZE && caps->fault_around <= PMD_SIZE &&
	       is_power_of_2(caps->fault_around);
}

static bool hmm_device_memory_valid(const struct hmm_device *device)
{
	const struct hmm_rmem_ops *ops = device->rmem_ops;

	if (!ops)
		return !device->rmem_bytes && !device->rmem_base && !device->rmem_plain;
	if (device->rmem_plain && device->rmem_base)
		return false;
	return ops->copy_to_device && ops->copy_to_system && ops->clear &&
	       IS_ALIGNED(device->rmem_bytes, HMM_RMEM_CHUNK_SIZE) &&
	       IS_ALIGNED(device->rmem_base, HMM_RMEM_CHUNK_SIZE);
}

/**
 * hmm_device_register - put a device into service
 * @device: its name, ops and caps set by the driver, memory if it has any, the rest zero
 *
 * Where the kernel has no pages for memory of that kind, a device with memory is registered
 * as one without: see hmm_device_has_memory().
 *
 * Context: Process context, may sleep.
 * Return: 0, or -EINVAL if a required operation is missing or a capability is out
 * of range; -EBUSY something else is at the addresses of its memory, or too many devices
 * have some; -EFBIG it is too large; -ENOMEM, or what else kept the kernel from making pages
 * for that: the driver may try again without memory.  Then nothing has changed.
 */
int hmm_device_register(struct hmm_device *device)
{
	static atomic_t ids;
	const struct hmm_device_ops *ops = device->ops;
	int ret;

	if (!device->name || !ops || !ops->prepare || !ops->map || !ops->update ||
	    !ops->stop || !hmm_device_caps_valid(&device->caps) ||
	    !hmm_device_memory_valid(device))
		return -EINVAL;
	ret = hmm_rmem_create(device);
	if (ret)
		return ret;

	mutex_init(&device->lock);
	INIT_LIST_HEAD(&device->mirrors);
	device->dying = false;
	refcount_set(&device->users, 1);
	init_completion(&device->idle);
	device->id = atomic_inc_return(&ids);
	if (device->rmem)
		hmm_rmem_debugfs_add(device->rmem);

	mutex_lock(&hmm_device_list_lock);
	list_add_tail(&device->node, &hmm_device_list);
	mutex_unlock(&hmm_device_list_lock);
	return 0;
}
EXPORT_SYMBOL_NS(hmm_device_register, "HMM");

/**
 * hmm_device_has_memory - can pages move to the device?
 * @device: device
 *
 * Context: any, at any time in the life of @device.
 * Return: true if it is registered, has memory, and the kernel has pages for that.
 */
bool hmm_device_has_memory(const struct hmm_device *device)
{
	return READ_ONCE(device->rmem);
}
EXPORT_SYMBOL_NS(hmm_device_has_memory, "HMM");

/**
 * hmm_device_evacuate - move everything out of the device's memory
 * @device: device
 *
 * Works at any time and under load; nothing comes in while it runs.
 *
 * Context: Process context, may sleep, no lock held; at any time in the life of @device.
 * Return: 0; -EBUSY some pages stayed in use; -ENOMEM no system memory for them; -EIO
 * they cannot be copied; -ENODEV the device is lost, has no memory, or is not registered
 * any more; -EINTR killed.
 */
int hmm_device_evacuate(struct hmm_device *device)
{
	struct hmm_rmem *rmem = hmm_rmem_of_device(device);
	int ret;

	if (!rmem)
		return -ENODEV;
	ret = hmm_rmem_evacuate(rmem);
	hmm_rmem_put(rmem);
	return ret;
}
EXPORT_SYMBOL_NS(hmm_device_evacuate, "HMM");

/**
 * hmm_device_lost - what was in the device's memory is gone
 * @device: device
 *
 * For a driver that learns it from its device.  Copies that fail with -ENODEV say the
 * same.  CPU faults on pages that are there end in SIGBUS from now on; coherent memory has
 * no such faults, so that its pages stay mapped, and the CPU sees what the bus gives.  Pages
 * in system memory and mirrors are not touched.
 *
 * Context: any; at any time in the life of @device.
 */
void hmm_device_lost(struct hmm_device *device)
{
	struct hmm_rmem *rmem = hmm_rmem_of_device(device);

	if (!rmem)
		return;
	hmm_rmem_set_lost(rmem);
	hmm_rmem_put(rmem);
}
EXPORT_SYMBOL_NS(hmm_device_lost, "HMM");

/**
 * hmm_device_put - drop a mirror's, or the registration's, reference
 * @device: the device
 *
 * Context: any.
 */
void hmm_device_put(struct hmm_device *device)
{
	/* The waiter may free the device as soon as it is told. */
	if (refcount_dec_and_test(&device->users))
		complete(&device->idle);
}

/**
 * hmm_device_unregister - take a device out of service
 * @device: a registered device
 *
 * Stops the threads of every mirror, takes away all their translations and releases
 * them as hmm_mirror_unregister() does.  The driver still calls
 * hmm_mirror_unregister() for each when it lets go of it, and keeps @device in
 * memory until it has done so for the last, and no call of hmm_mirror_fault() is left.
 *
 * Works at any time: with faults in flight (they fail with -ENODEV), with
 * invalidations running, with processes exiting.
 *
 * Once no mirror is left, what is in the device's memory is moved out, which takes as
 * long as it takes.  What cannot be copied in the end is lost: processes that touch it get
 * SIGBUS; and so is everything if the device is.  Pages that were on their way in when
 * it was lost are waited for, some ten seconds at most, so that they are counted.
 *
 * Context: Process context, may sleep, no lock held that an operation of the driver
 * takes.  Cannot fail; allocates nothing but the pages that data is moved to.
 * Return: nothing.  After it no operation of @device runs or will run, and no mirror
 * can be registered on it.
 */
void hmm_device_unregister(struct hmm_device *device)
{
	struct hmm_mirror *mirror;

	/* Device faults go on for a while; they map system memory in place. */
	if (device->rmem)
		hmm_rmem_close(device->rmem);
	mutex_lock(&device->lock);
	device->dying = true;
	/*
	 * Who takes a mirror off the list releases it.  One that its owner has taken
	 * off already is being released by its owner, who may be in the middle of
	 * it: its reference on the device is waited for below.
	 */
	while ((mirror = list_first_entry_or_null(&device->mirrors,
						  struct hmm_mirror, node))) {
		list_del_init(&mirror->node);
		mutex_unlock(&device->lock);
		hmm_mirror_release(mirror);
		mutex_lock(&device->lock);
	}
	mutex_unlock(&device->lock);
	hmm_device_put(device);
	wait_for_completion(&device->idle);

	/* The device maps nothing any more, so nobody writes to what is copied. */
	if (device->rmem) {
		hmm_rmem_leave(device->rmem);
		hmm_rmem_detach(device->rmem);
	}
	mutex_lock(&hmm_device_list_lock);
	list_del(&device->node);
	mutex_unlock(&hmm_device_list_lock);
}
EXPORT_SYMBOL_NS(hmm_device_unregister, "HMM");

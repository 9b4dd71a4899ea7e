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

/**
 * hmm_device_register - put a device into service
 * @device: its name, ops and caps set by the driver, the rest zero
 *
 * Context: Process context, may sleep.
 * Return: 0, or -EINVAL if a required operation is missing or a capability is out
 * of range; then nothing has changed.
 */
int hmm_device_register(struct hmm_device *device)
{
	const struct hmm_device_ops *ops = device->ops;

	if (!device->name || !ops || !ops->prepare || !ops->map || !ops->update ||
	    !ops->stop || !hmm_device_caps_valid(&device->caps))
		return -EINVAL;

	mutex_init(&device->lock);
	INIT_LIST_HEAD(&device->mirrors);
	device->dying = false;
	refcount_set(&device->users, 1);
	init_completion(&device->idle);

	mutex_lock(&hmm_device_list_lock);
	list_add_tail(&device->node, &hmm_device_list);
	mutex_unlock(&hmm_device_list_lock);
	return 0;
}
EXPORT_SYMBOL_NS(hmm_device_register, "HMM");

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
 * Context: Process context, may sleep, no lock held that an operation of the driver
 * takes.  Cannot fail, does not allocate.
 * Return: nothing.  After it no operation of @device runs or will run, and no mirror
 * can be registered on it.
 */
void hmm_device_unregister(struct hmm_device *device)
{
	struct hmm_mirror *mirror;

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

	mutex_lock(&hmm_device_list_lock);
	list_del(&device->node);
	mutex_unlock(&hmm_device_list_lock);
}
EXPORT_SYMBOL_NS(hmm_device_unregister, "HMM");

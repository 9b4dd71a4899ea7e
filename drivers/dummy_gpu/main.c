// SPDX-License-Identifier: GPL-2.0
/*
 * The module: parameters, workqueues, coming and going.
 *
 * Parameters are checked before anything is created.  The module cannot be removed while
 * a file is open, a job or a device fault is under way, or user space holds a fence:
 * each has a reference on it.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include "dgpu_private.h"

struct dgpu_config dgpu_config = {
	.devices = 1,
	.fault_around = SZ_64K,
	.watchdog_ms = 10000,
	.local_mb = { 256 },
	.nr_local_mb = 1,
	.hw = {
		.engines = 2,
		.va_bits = 48,
		.tlb_entries = 256,
		.fault_entries = 256,
		.lanes = 64,
		.max_contexts = DGPU_MAX_CONTEXTS,
		.copy_engines = 2,
	},
};

module_param_named(devices, dgpu_config.devices, uint, 0444);
MODULE_PARM_DESC(devices, "devices to create (1-8, default 1)");
module_param_named(engines, dgpu_config.hw.engines, uint, 0444);
MODULE_PARM_DESC(engines, "engines of a device (1-16, default 2)");
module_param_named(va_bits, dgpu_config.hw.va_bits, uint, 0444);
MODULE_PARM_DESC(va_bits, "bits of virtual address (48 or 57, default 48)");
module_param_named(tlb_entries, dgpu_config.hw.tlb_entries, uint, 0444);
MODULE_PARM_DESC(tlb_entries, "entries of an engine's TLB (0, or a power of two up to 65536, default 256)");
module_param_named(fault_entries, dgpu_config.hw.fault_entries, uint, 0444);
MODULE_PARM_DESC(fault_entries, "entries of the fault buffer (power of two, 2-65536, default 256)");
module_param_named(lanes, dgpu_config.hw.lanes, uint, 0444);
MODULE_PARM_DESC(lanes, "hardware threads that an engine keeps in flight (1-1024, default 64)");
module_param_named(fault_around, dgpu_config.fault_around, uint, 0444);
MODULE_PARM_DESC(fault_around, "bytes that are mapped around a fault (power of two, 4096-2097152, default 65536)");
module_param_named(watchdog_ms, dgpu_config.watchdog_ms, uint, 0444);
MODULE_PARM_DESC(watchdog_ms, "time that a job has by default, in milliseconds (1-600000, default 10000)");
module_param_named(copy_engines, dgpu_config.hw.copy_engines, uint, 0444);
MODULE_PARM_DESC(copy_engines, "copy engines of a device (1-4, default 2)");
module_param_array_named(local_mb, dgpu_config.local_mb, uint, &dgpu_config.nr_local_mb, 0444);
MODULE_PARM_DESC(local_mb, "memory of each device, in MiB (0 none, even, up to 65536, default 256); the last counts for the devices after it");

struct workqueue_struct *dgpu_wq;
struct workqueue_struct *dgpu_copy_wq;
struct workqueue_struct *dgpu_fault_wq;

static bool __init dgpu_main_in_range(const char *name, unsigned int value,
				      unsigned int low, unsigned int high)
{
	if (value >= low && value <= high)
		return true;
	pr_err(DGPU_DRIVER_NAME ": %s=%u: must be %u to %u\n", name, value, low, high);
	return false;
}

static bool __init dgpu_main_is_power(const char *name, unsigned int value,
				      unsigned int low, unsigned int high)
{
	if (is_power_of_2(value) && value >= low && value <= high)
		return true;
	pr_err(DGPU_DRIVER_NAME ": %s=%u: must be a power of two, %u to %u\n", name, value,
	       low, high);
	return false;
}

static bool __init dgpu_main_check_local(const struct dgpu_config *config)
{
	unsigned int i;

	for (i = 0; i < config->nr_local_mb; i++)
		if (config->local_mb[i] > DGPU_MAX_LOCAL_MB || config->local_mb[i] % 2) {
			pr_err(DGPU_DRIVER_NAME ": local_mb=%u: must be even, 0 to %u\n",
			       config->local_mb[i], DGPU_MAX_LOCAL_MB);
			return false;
		}
	return true;
}

static bool __init dgpu_main_check_config(const struct dgpu_config *config)
{
	if (config->hw.va_bits != 48 && config->hw.va_bits != 57) {
		pr_err(DGPU_DRIVER_NAME ": va_bits=%u: must be 48 or 57\n",
		       config->hw.va_bits);
		return false;
	}
	return dgpu_main_in_range("devices", config->devices, 1, DGPU_MAX_DEVICES) &&
	       dgpu_main_in_range("engines", config->hw.engines, 1, 16) &&
	       dgpu_main_in_range("lanes", config->hw.lanes, 1, 1024) &&
	       dgpu_main_in_range("copy_engines", config->hw.copy_engines, 1,
				  DGPU_MAX_COPY_ENGINES) &&
	       dgpu_main_check_local(config) &&
	       dgpu_main_in_range("watchdog_ms", config->watchdog_ms, 1,
				  DGPU_MAX_TIMEOUT_MS) &&
	       (!config->hw.tlb_entries ||
		dgpu_main_is_power("tlb_entries", config->hw.tlb_entries, 1, 65536)) &&
	       dgpu_main_is_power("fault_entries", config->hw.fault_entries, 2, 65536) &&
	       dgpu_main_is_power("fault_around", config->fault_around, PAGE_SIZE, PMD_SIZE);
}

static int __init dgpu_main_init(void)
{
	int ret = -ENOMEM;

	if (!dgpu_main_check_config(&dgpu_config))
		return -EINVAL;
	dgpu_wq = alloc_workqueue("dgpu", WQ_UNBOUND | WQ_HIGHPRI, 0);
	if (!dgpu_wq)
		return ret;
	dgpu_fault_wq = alloc_workqueue("dgpu_fault", WQ_UNBOUND, WQ_MAX_ACTIVE);
	if (!dgpu_fault_wq)
		goto err_wq;
	/* With a rescuer: memory may be what somebody waits for with the locks of pages. */
	dgpu_copy_wq = alloc_workqueue("dgpu_copy",
				       WQ_UNBOUND | WQ_HIGHPRI | WQ_MEM_RECLAIM, 0);
	if (!dgpu_copy_wq)
		goto err_fault_wq;
	dgpu_debugfs_init();
	ret = dgpu_device_register_driver();
	if (ret)
		goto err_debugfs;
	return 0;

err_debugfs:
	dgpu_debugfs_exit();
	destroy_workqueue(dgpu_copy_wq);
err_fault_wq:
	destroy_workqueue(dgpu_fault_wq);
err_wq:
	destroy_workqueue(dgpu_wq);
	return ret;
}

static void __exit dgpu_main_exit(void)
{
	dgpu_device_unregister_driver();
	dgpu_debugfs_exit();
	/* The last reference that a work has dropped may have been ours: let it return. */
	destroy_workqueue(dgpu_copy_wq);
	destroy_workqueue(dgpu_fault_wq);
	destroy_workqueue(dgpu_wq);
	/* Page tables, and look-ups in what the bus had, are freed by RCU. */
	rcu_barrier();
}

module_init(dgpu_main_init);
module_exit(dgpu_main_exit);
MODULE_DESCRIPTION("An emulated GPU that mirrors process address spaces");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("HMM");

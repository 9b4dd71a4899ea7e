// SPDX-License-Identifier: GPL-2.0
/*
 * One emulated GPU: from its platform device to /dev/dgpuN.
 *
 *   bound ----> in service ----> retired ----> unbound ----> freed
 *
 * It is retired when the driver is unbound, which root can do at any time by sysfs, or
 * when the chip says that it has fallen off the bus.  Then its mirrors are released, its
 * jobs end with DGPU_ERR_LOST, and its files are good for collecting results only.
 * Unbinding also takes the chip away.  The structure stays until the last file is
 * closed and the last fault in flight is back.
 *
 * The principle: the core is told first.  hmm_device_unregister() ends all use of the
 * device on behalf of the core; what remains are system calls and works, which ask
 * dgpu_device_enter() whether there is a chip.
 *
 * Locks: see dgpu_private.h.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include "dgpu_private.h"

static struct platform_device *dgpu_platform_devices[DGPU_MAX_DEVICES];

/* Devices in service, by index. */
static struct dgpu_device *dgpu_devices[DGPU_MAX_DEVICES];
static DEFINE_SPINLOCK(dgpu_devices_lock);

/* ---- references ---- */

/**
 * dgpu_device_get - take a reference
 * @dev: device that the caller has a reference to, or that is bound
 *
 * Context: any.
 * Return: @dev.
 */
struct dgpu_device *dgpu_device_get(struct dgpu_device *dev)
{
	kref_get(&dev->ref);
	return dev;
}

static void dgpu_device_free(struct kref *ref)
{
	struct dgpu_device *dev = container_of(ref, struct dgpu_device, ref);

	WARN_ON_ONCE(!list_empty(&dev->vms) || !list_empty(&dev->jobs));
	dgpu_bus_fini(&dev->bus);
	xa_destroy(&dev->asids);
	mutex_destroy(&dev->lock);
	mutex_destroy(&dev->retire_lock);
	platform_device_put(dev->pdev);
	kfree(dev->faults);
	kfree(dev->past);
	kfree(dev);
}

/**
 * dgpu_device_put - drop a reference
 * @dev: device
 *
 * Context: may sleep.
 */
void dgpu_device_put(struct dgpu_device *dev)
{
	kref_put(&dev->ref, dgpu_device_free);
}

static void dgpu_device_publish(struct dgpu_device *dev, bool there)
{
	spin_lock(&dgpu_devices_lock);
	dgpu_devices[dev->index] = there ? dev : NULL;
	spin_unlock(&dgpu_devices_lock);
}

/**
 * dgpu_device_find - the device of /dev/dgpuN
 * @index: N
 *
 * Context: any that may take a spinlock.
 * Return: the device, with a reference for the caller, or NULL: there is none.
 */
struct dgpu_device *dgpu_device_find(u32 index)
{
	struct dgpu_device *dev = NULL;

	if (index >= DGPU_MAX_DEVICES)
		return NULL;
	spin_lock(&dgpu_devices_lock);
	/* It is taken out of there before its last reference can go. */
	if (dgpu_devices[index])
		dev = dgpu_device_get(dgpu_devices[index]);
	spin_unlock(&dgpu_devices_lock);
	return dev;
}

/**
 * dgpu_device_enter - begin to use the chip
 * @dev: device
 *
 * Context: may sleep, but not for memory, so it can be used on the way to signalling a
 * fence: nobody allocates between this and dgpu_device_exit().
 * Return: true if there is one; then dev->hw stays until dgpu_device_exit().
 */
bool dgpu_device_enter(struct dgpu_device *dev)
{
	down_read(&dev->hw_lock);
	if (dev->hw)
		return true;
	up_read(&dev->hw_lock);
	return false;
}

/**
 * dgpu_device_exit - done with the chip for now
 * @dev: device that dgpu_device_enter() has returned true for
 *
 * Context: any.
 */
void dgpu_device_exit(struct dgpu_device *dev)
{
	up_read(&dev->hw_lock);
}

/* ---- the pins of the chip ---- */

static void *dgpu_device_bus_map(void *board, u64 bus_addr)
{
	struct dgpu_device *dev = board;

	return dgpu_bus_map(&dev->bus, bus_addr);
}

static void dgpu_device_bus_unmap(void *board, u64 bus_addr, void *va)
{
}

static void dgpu_device_irq(void *board, u32 pending)
{
	struct dgpu_device *dev = board;

	if (pending & DGPU_HW_IRQ_FAULT)
		queue_work(dgpu_wq, &dev->fault_work);
	if (pending & DGPU_HW_IRQ_DONE)
		queue_work(dgpu_wq, &dev->done_work);
	if (pending & DGPU_HW_IRQ_COPY)
		queue_work(dgpu_copy_wq, &dev->copy_work);
	if (pending & DGPU_HW_IRQ_LOST)
		queue_work(dgpu_wq, &dev->lost_work);
	/* Who waits for a TLB invalidation asks the chip. */
}

static const struct dgpu_board_ops dgpu_board_ops = {
	.bus_map = dgpu_device_bus_map,
	.bus_unmap = dgpu_device_bus_unmap,
	.irq = dgpu_device_irq,
};

/* ---- out of service ---- */

static void dgpu_device_mark_gone(struct dgpu_device *dev)
{
	struct dgpu_vm *vm;

	mutex_lock(&dev->lock);
	WRITE_ONCE(dev->gone, true);
	list_for_each_entry(vm, &dev->vms, node)
		dgpu_vm_wake(vm);
	mutex_unlock(&dev->lock);
}

/*
 * When its memory is lost the core is told before it tries to bring the pages back.  One
 * that is lost without our having been told yet shows as soon as a copy fails.
 */
static void dgpu_device_retire(struct dgpu_device *dev, bool lost)
{
	mutex_lock(&dev->retire_lock);
	if (!dev->retired) {
		dgpu_device_publish(dev, false);
		dgpu_device_mark_gone(dev);
		if (lost)
			hmm_device_lost(&dev->hmm);
		hmm_device_unregister(&dev->hmm);
		dgpu_vm_retire_all(dev);
		dev->retired = true;
	}
	mutex_unlock(&dev->retire_lock);
}

static void dgpu_device_lost_work(struct work_struct *work)
{
	struct dgpu_device *dev = container_of(work, struct dgpu_device, lost_work);

	dev_err(&dev->pdev->dev, "fell off the bus\n");
	dgpu_device_retire(dev, true);
}

/* Nobody enters any more when this returns. */
static void dgpu_device_power_off(struct dgpu_device *dev)
{
	struct dgpu_hw *hw;

	down_write(&dev->hw_lock);
	hw = dev->hw;
	dev->hw = NULL;
	up_write(&dev->hw_lock);
	if (hw)
		dgpu_hw_destroy(hw);
	/* There are no more interrupts to queue these. */
	cancel_work_sync(&dev->fault_work);
	cancel_work_sync(&dev->done_work);
	cancel_work_sync(&dev->lost_work);
	dgpu_local_lose_all(dev);
	dgpu_job_lose_all(dev);
}

/* ---- binding ---- */

static struct dgpu_device *dgpu_device_alloc(struct platform_device *pdev)
{
	struct dgpu_device *dev;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return NULL;
	dev->past = kzalloc(sizeof(*dev->past), GFP_KERNEL);
	dev->faults = kcalloc(DGPU_FAULT_MAX, sizeof(*dev->faults), GFP_KERNEL);
	if (!dev->past || !dev->faults || dgpu_bus_init(&dev->bus, &pdev->dev)) {
		kfree(dev->faults);
		kfree(dev->past);
		kfree(dev);
		return NULL;
	}

	kref_init(&dev->ref);
	get_device(&pdev->dev);
	dev->pdev = pdev;
	dev->index = pdev->id;
	snprintf(dev->name, sizeof(dev->name), "dgpu%u", dev->index);
	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->name;
	dev->misc.fops = &dgpu_file_ops;
	dev->misc.parent = &pdev->dev;
	dev->misc.mode = 0666;
	dev->hmm.name = dev->name;
	dev->hmm.ops = &dgpu_vm_ops;
	dev->hmm.caps = (struct hmm_device_caps) {
		.va_bits = dgpu_config.hw.va_bits,
		.huge = true,
		.fault_around = dgpu_config.fault_around,
	};
	init_rwsem(&dev->hw_lock);
	mutex_init(&dev->retire_lock);
	mutex_init(&dev->lock);
	INIT_LIST_HEAD(&dev->vms);
	xa_init_flags(&dev->asids, XA_FLAGS_ALLOC);
	INIT_WORK(&dev->fault_work, dgpu_fault_work);
	INIT_WORK(&dev->done_work, dgpu_job_done_work);
	INIT_WORK(&dev->lost_work, dgpu_device_lost_work);
	spin_lock_init(&dev->job_lock);
	INIT_LIST_HEAD(&dev->jobs);
	dgpu_local_init(dev);
	return dev;
}

/*
 * A machine may be too small for the memory that the device should have: of the machine's
 * when the chip is emulated, and for the struct pages.  A device without memory still does
 * all that one without does, so this is no reason to fail.
 */
static void dgpu_device_give_up_memory(struct dgpu_device *dev, int error)
{
	dev_warn(&dev->pdev->dev,
		 "no %llu MiB of device memory (error %d): going on without; see local_mb=\n",
		 dev->hmm.rmem_bytes >> 20, error);
	dev->hmm.rmem_ops = NULL;
	dev->hmm.rmem_bytes = 0;
}

static u64 dgpu_device_local_bytes(const struct dgpu_device *dev)
{
	unsigned int last = dgpu_config.nr_local_mb - 1;

	/* Where no page can move to it, the machine has better uses for it. */
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE) && !IS_ENABLED(CONFIG_GET_FREE_REGION))
		return 0;
	return (u64)dgpu_config.local_mb[min(dev->index, last)] << 20;
}

static int dgpu_device_power_on(struct dgpu_device *dev)
{
	struct dgpu_hw_config config = dgpu_config.hw;
	struct dgpu_hw *hw;

	config.local_bytes = dgpu_device_local_bytes(dev);
	if (config.local_bytes) {
		dev->hmm.rmem_ops = &dgpu_local_ops;
		dev->hmm.rmem_bytes = config.local_bytes;
	}
	hw = dgpu_hw_create(&config, &dgpu_board_ops, dev);
	if (hw == ERR_PTR(-ENOMEM) && config.local_bytes) {
		dgpu_device_give_up_memory(dev, -ENOMEM);
		config.local_bytes = 0;
		hw = dgpu_hw_create(&config, &dgpu_board_ops, dev);
	}
	if (IS_ERR(hw))
		return PTR_ERR(hw);
	dev->hw = hw;
	return 0;
}

static int dgpu_device_register(struct dgpu_device *dev)
{
	int ret = hmm_device_register(&dev->hmm);

	if (ret && dev->hmm.rmem_bytes) {
		dgpu_device_give_up_memory(dev, ret);
		ret = hmm_device_register(&dev->hmm);
	}
	return ret;
}

static int dgpu_device_probe(struct platform_device *pdev)
{
	struct dgpu_device *dev;
	int ret;

	/* As many bits as an entry of the page table has. */
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(52));
	if (ret)
		return ret;
	dev = dgpu_device_alloc(pdev);
	if (!dev)
		return -ENOMEM;
	platform_set_drvdata(pdev, dev);

	ret = dgpu_device_power_on(dev);
	if (ret)
		goto err_dev;
	ret = dgpu_device_register(dev);
	if (ret)
		goto err_hw;
	dgpu_debugfs_add(dev);
	dgpu_device_publish(dev, true);
	/* Published last: from here on it is used. */
	ret = misc_register(&dev->misc);
	if (ret)
		goto err_hmm;
	return 0;

err_hmm:
	dgpu_debugfs_remove(dev);
	dgpu_device_retire(dev, false);
err_hw:
	dgpu_device_power_off(dev);
err_dev:
	dgpu_device_put(dev);
	return ret;
}

static void dgpu_device_remove(struct platform_device *pdev)
{
	struct dgpu_device *dev = platform_get_drvdata(pdev);

	misc_deregister(&dev->misc);
	dgpu_debugfs_remove(dev);
	dgpu_device_retire(dev, false);
	dgpu_device_power_off(dev);
	dgpu_device_put(dev);
}

static struct platform_driver dgpu_platform_driver = {
	.driver = {
		.name = DGPU_DRIVER_NAME,
		/* Made after probe() and removed before remove(), which waits for users. */
		.dev_groups = dgpu_memory_groups,
	},
	.probe = dgpu_device_probe,
	.remove = dgpu_device_remove,
};

static void dgpu_device_unregister_all(void)
{
	unsigned int i;

	for (i = 0; i < dgpu_config.devices; i++) {
		platform_device_unregister(dgpu_platform_devices[i]);
		dgpu_platform_devices[i] = NULL;
	}
}

/**
 * dgpu_device_register_driver - create the devices, and bind them
 *
 * Context: module initialisation.
 * Return: 0; or an errno, also when a device did not get bound, and nothing is left.
 */
int dgpu_device_register_driver(void)
{
	struct platform_device_info info = {
		.name = DGPU_DRIVER_NAME,
		.dma_mask = DMA_BIT_MASK(52),
	};
	struct platform_device *pdev;
	unsigned int i;
	int ret;

	ret = platform_driver_register(&dgpu_platform_driver);
	if (ret)
		return ret;
	for (i = 0; i < dgpu_config.devices; i++) {
		info.id = i;
		pdev = platform_device_register_full(&info);
		if (IS_ERR(pdev)) {
			ret = PTR_ERR(pdev);
			goto err_devices;
		}
		dgpu_platform_devices[i] = pdev;
		if (!platform_get_drvdata(pdev)) {
			ret = -ENODEV;
			goto err_devices;
		}
	}
	return 0;

err_devices:
	dgpu_device_unregister_all();
	platform_driver_unregister(&dgpu_platform_driver);
	return ret;
}

/**
 * dgpu_device_unregister_driver - remove the devices
 *
 * Context: module exit: no file is open, and nothing that one has left behind.
 */
void dgpu_device_unregister_driver(void)
{
	dgpu_device_unregister_all();
	platform_driver_unregister(&dgpu_platform_driver);
}

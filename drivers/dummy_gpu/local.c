// SPDX-License-Identifier: GPL-2.0
/*
 * The device's own memory: copies to, from and within it, by the copy engines.
 *
 *   prepared ----> the chip's ----> done: fence signalled, freed
 *	     submit	    completion ring, reset, or the chip is destroyed
 *
 * A copy is a list of descriptors, one a page, each with a bus address and an offset.  The
 * pages of system memory are mapped for DMA while the copy exists and not longer: a copy
 * engine that comes late meets a bus error.  They are coherent, as all that this device
 * maps, so there is nothing to sync.
 *
 * Each copy has a fence.  The core waits for it with mmap_lock and locks of pages held, so
 * everything that the fence needs is there before the chip is given the copy: memory is
 * waited for before, and from then on nothing is, nor for a lock that anybody holds who
 * waits for memory, for a device fault or for mmap_lock.  Completions have a workqueue of
 * their own, with a rescuer: no fault, and no page of memory, is needed to get a worker.
 *
 * An engine works through its copies in order.  If it has copies, and several looks at it
 * in a row find that it has not moved a page since the look before, it hangs: it is reset,
 * and what it had fails with -EIO.  So each fence signals in bounded time.  One late look
 * proves nothing: where the whole machine stood still, as a guest does whose host is busy,
 * the engine did, too.  After an error nothing is known of the destinations; the sources
 * are as they were.
 *
 * Locks: dgpu_copy_engine.lock, a spinlock, for the copies that an engine has and their
 * order; outside of the chip's.
 */
#include <linux/dma-fence.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include "dgpu_private.h"
#include "trace.h"

/* An engine that stands still from one look to the next so many times is reset. */
#define DGPU_COPY_LOOK_MS	1000
#define DGPU_COPY_LOOKS		3

DECLARE_FAULT_ATTR(dgpu_fail_copy);

static struct dgpu_device *dgpu_local_device(struct hmm_device *hmm)
{
	return container_of(hmm, struct dgpu_device, hmm);
}

/* ---- a copy ---- */

static void dgpu_copy_unmap(struct dgpu_copy *copy)
{
	if (copy->batch)
		dgpu_bus_batch_unmap(&copy->dev->bus, copy->batch);
	copy->batch = NULL;
}

static void dgpu_copy_free(struct dgpu_copy *copy)
{
	kvfree(copy->descs);
	kfree(copy);
}

/* Map the pages of system memory, and say where everything is. */
static int dgpu_copy_map(struct dgpu_copy *copy, const struct hmm_rmem_copy *copies,
			 unsigned int nr)
{
	unsigned int i;

	if (copy->hw.op != DGPU_HW_COPY_CLEAR) {
		copy->batch = dgpu_bus_batch_map(&copy->dev->bus, copies, nr);
		if (IS_ERR(copy->batch)) {
			int ret = PTR_ERR(copy->batch);

			copy->batch = NULL;
			return ret;
		}
	}
	for (i = 0; i < nr; i++) {
		copy->descs[i].offset = copies[i].offset;
		if (copy->batch)
			copy->descs[i].bus = copy->batch->pages[i].addr;
	}
	return 0;
}

/* Whatever needs memory.  Not charged to anybody: moving a page back must not fail. */
static struct dgpu_copy *dgpu_copy_create(struct dgpu_device *dev, u32 op,
					  const struct hmm_rmem_copy *copies, unsigned int nr)
{
	struct dgpu_copy *copy;
	int ret = -ENOMEM;

	if (should_fail(&dgpu_fail_copy, nr))
		return ERR_PTR(-ENOMEM);
	copy = kzalloc(sizeof(*copy), GFP_KERNEL);
	if (!copy)
		return ERR_PTR(-ENOMEM);
	copy->dev = dev;
	copy->descs = kvcalloc(nr, sizeof(*copy->descs), GFP_KERNEL);
	copy->fence = dgpu_fence_create(dev, GFP_KERNEL);
	if (!copy->descs || !copy->fence)
		goto err;
	copy->hw.op = op;
	copy->hw.nr = nr;
	copy->hw.descs = copy->descs;
	ret = dgpu_copy_map(copy, copies, nr);
	if (ret)
		goto err;
	return copy;

err:
	dgpu_copy_unmap(copy);
	dgpu_fence_discard(copy->fence);
	dgpu_copy_free(copy);
	return ERR_PTR(ret);
}

static void dgpu_copy_finish(struct dgpu_copy *copy, int error)
{
	struct dgpu_copy_engine *engine = copy->engine;

	spin_lock(&engine->lock);
	list_del(&copy->node);
	spin_unlock(&engine->lock);

	trace_dgpu_copy_done(copy, error);
	dgpu_copy_unmap(copy);
	if (error)
		dma_fence_set_error(copy->fence, error);
	dma_fence_signal(copy->fence);
	dma_fence_put(copy->fence);
	dgpu_copy_free(copy);
}

/* ---- the chip ---- */

static struct dgpu_copy_engine *dgpu_copy_choose_engine(struct dgpu_device *dev)
{
	unsigned int i, load, least = UINT_MAX, engine = 0;

	for (i = 0; i < dgpu_config.hw.copy_engines; i++) {
		load = dgpu_hw_copy_load(dev->hw, i);
		if (load < least) {
			least = load;
			engine = i;
		}
	}
	return &dev->copy_engines[engine];
}

/* Give the copy to the chip.  If that takes it, it may be gone when this returns. */
static int dgpu_copy_submit(struct dgpu_copy *copy)
{
	struct dgpu_device *dev = copy->dev;
	struct dgpu_copy_engine *engine;
	bool cookie;
	int ret;

	cookie = dma_fence_begin_signalling();
	engine = dgpu_copy_choose_engine(dev);
	copy->engine = engine;
	trace_dgpu_copy_submit(copy);

	spin_lock(&engine->lock);
	if (list_empty(&engine->copies))
		engine->looks = 0;
	list_add_tail(&copy->node, &engine->copies);
	ret = dgpu_hw_copy_submit(dev->hw, engine->index, &copy->hw);
	if (ret)
		list_del(&copy->node);
	spin_unlock(&engine->lock);
	/* If it is pending, it sees by itself that there is more to be watched. */
	if (!ret)
		queue_delayed_work(dgpu_copy_wq, &engine->watchdog,
				   msecs_to_jiffies(DGPU_COPY_LOOK_MS));
	dma_fence_end_signalling(cookie);
	return ret;
}

static struct dma_fence *dgpu_local_copy(struct hmm_device *hmm, u32 op,
					 const struct hmm_rmem_copy *copies, unsigned int nr)
{
	struct dgpu_device *dev = dgpu_local_device(hmm);
	struct dma_fence *fence;
	struct dgpu_copy *copy;
	int ret;

	copy = dgpu_copy_create(dev, op, copies, nr);
	if (IS_ERR(copy))
		return ERR_CAST(copy);
	fence = dma_fence_get(copy->fence);
	ret = dgpu_copy_submit(copy);
	if (!ret)
		return fence;

	dma_fence_put(fence);
	dgpu_copy_unmap(copy);
	dgpu_fence_discard(copy->fence);
	dgpu_copy_free(copy);
	return ERR_PTR(ret);
}

/* A reset is a failure like another one: the core tries again. */
static int dgpu_copy_error(const struct dgpu_copy *copy)
{
	return copy->hw.error == -ECANCELED ? -EIO : copy->hw.error;
}

/**
 * dgpu_local_done_work - the completion ring has copies
 * @work: dgpu_device.copy_work
 *
 * Context: process context; waits for nothing that waits for a copy.
 */
void dgpu_local_done_work(struct work_struct *work)
{
	struct dgpu_device *dev = container_of(work, struct dgpu_device, copy_work);
	struct dgpu_hw_copy *hw_copy;
	struct dgpu_copy *copy;
	bool cookie;

	cookie = dma_fence_begin_signalling();
	if (dgpu_device_enter(dev)) {
		while ((hw_copy = dgpu_hw_copy_completed(dev->hw))) {
			copy = container_of(hw_copy, struct dgpu_copy, hw);
			dgpu_copy_finish(copy, dgpu_copy_error(copy));
		}
		dgpu_device_exit(dev);
	}
	dma_fence_end_signalling(cookie);
}

/* ---- the watchdog ---- */

/* A look at a busy engine.  The chip is there. */
static void dgpu_local_look(struct dgpu_copy_engine *engine)
{
	struct dgpu_device *dev = engine->dev;
	u64 progress = dgpu_hw_copy_progress(dev->hw, engine->index);
	/* It may be done, and our work that says so be late. */
	bool idle = !dgpu_hw_copy_load(dev->hw, engine->index);
	bool hangs;

	spin_lock(&engine->lock);
	if (idle || progress != engine->progress)
		engine->looks = 0;
	else
		engine->looks++;
	engine->progress = progress;
	hangs = engine->looks >= DGPU_COPY_LOOKS;
	if (hangs)
		engine->looks = 0;
	spin_unlock(&engine->lock);
	if (!hangs)
		return;
	dev_err_ratelimited(&dev->pdev->dev, "copy engine %u hangs: resetting it\n",
			    engine->index);
	dgpu_hw_copy_reset(dev->hw, engine->index);
}

static void dgpu_local_watchdog(struct work_struct *work)
{
	struct dgpu_copy_engine *engine = container_of(to_delayed_work(work),
						       struct dgpu_copy_engine, watchdog);
	bool busy, cookie;

	cookie = dma_fence_begin_signalling();
	spin_lock(&engine->lock);
	busy = !list_empty(&engine->copies);
	spin_unlock(&engine->lock);
	/* What comes from here on queues the watchdog itself. */
	if (busy && dgpu_device_enter(engine->dev)) {
		dgpu_local_look(engine);
		dgpu_device_exit(engine->dev);
		queue_delayed_work(dgpu_copy_wq, &engine->watchdog,
				   msecs_to_jiffies(DGPU_COPY_LOOK_MS));
	}
	dma_fence_end_signalling(cookie);
}

/* ---- operations that the core calls ---- */

static struct dma_fence *dgpu_local_copy_to_device(struct hmm_device *hmm,
						   const struct hmm_rmem_copy *copies,
						   unsigned int nr)
{
	return dgpu_local_copy(hmm, DGPU_HW_COPY_IN, copies, nr);
}

static struct dma_fence *dgpu_local_copy_to_system(struct hmm_device *hmm,
						   const struct hmm_rmem_copy *copies,
						   unsigned int nr)
{
	return dgpu_local_copy(hmm, DGPU_HW_COPY_OUT, copies, nr);
}

static struct dma_fence *dgpu_local_clear(struct hmm_device *hmm,
					  const struct hmm_rmem_copy *copies, unsigned int nr)
{
	return dgpu_local_copy(hmm, DGPU_HW_COPY_CLEAR, copies, nr);
}

static u64 dgpu_local_accesses(struct hmm_device *hmm, u64 offset)
{
	return dgpu_hw_access_count(dgpu_local_device(hmm)->hw, offset);
}

const struct hmm_rmem_ops dgpu_local_ops = {
	.copy_to_device = dgpu_local_copy_to_device,
	.copy_to_system = dgpu_local_copy_to_system,
	.clear = dgpu_local_clear,
	.accesses = dgpu_local_accesses,
};

/* ---- birth and death ---- */

/**
 * dgpu_local_init - get ready for copies
 * @dev: new device
 *
 * Context: any.
 */
void dgpu_local_init(struct dgpu_device *dev)
{
	struct dgpu_copy_engine *engine;
	unsigned int i;

	INIT_WORK(&dev->copy_work, dgpu_local_done_work);
	for (i = 0; i < DGPU_MAX_COPY_ENGINES; i++) {
		engine = &dev->copy_engines[i];
		engine->dev = dev;
		engine->index = i;
		spin_lock_init(&engine->lock);
		INIT_LIST_HEAD(&engine->copies);
		INIT_DELAYED_WORK(&engine->watchdog, dgpu_local_watchdog);
	}
}

/**
 * dgpu_local_lose_all - the chip is gone: finish what it had
 * @dev: device without a chip
 *
 * The core has waited for all its copies before it let go of the device, so there should
 * be none; but a fence is a promise.
 *
 * Context: may sleep.
 */
void dgpu_local_lose_all(struct dgpu_device *dev)
{
	struct dgpu_copy_engine *engine;
	struct dgpu_copy *copy;
	unsigned int i;

	cancel_work_sync(&dev->copy_work);
	for (i = 0; i < DGPU_MAX_COPY_ENGINES; i++) {
		engine = &dev->copy_engines[i];
		cancel_delayed_work_sync(&engine->watchdog);
		while ((copy = list_first_entry_or_null(&engine->copies, struct dgpu_copy,
							node)))
			dgpu_copy_finish(copy, -ENODEV);
	}
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Fences: the promise that a job, or a copy, will be done.
 *
 * A fence may outlive what it was made for, the file and the device: user space holds that
 * of a job in a sync_file.  It has a reference on this module, whose code it calls.  Each
 * has a timeline of its own, for jobs and copies end in any order.
 *
 * The principle: who makes one sees to it that it is signalled in bounded time, whatever
 * the chip does.
 *
 * Locks: each fence has its own.
 */
#include <linux/dma-fence.h>
#include <linux/module.h>
#include <linux/slab.h>
#include "dgpu_private.h"

/**
 * struct dgpu_fence - promise that something will be done
 * @base: for the rest of the kernel
 * @lock: of @base
 * @timeline: name of the device, which may be gone
 */
struct dgpu_fence {
	struct dma_fence base;
	spinlock_t lock;
	char timeline[16];
};

static const char *dgpu_fence_driver_name(struct dma_fence *base)
{
	return DGPU_DRIVER_NAME;
}

static const char *dgpu_fence_timeline_name(struct dma_fence *base)
{
	return container_of(base, struct dgpu_fence, base)->timeline;
}

static void dgpu_fence_release(struct dma_fence *base)
{
	/* The base is the first member, so this frees all, after a grace period. */
	BUILD_BUG_ON(offsetof(struct dgpu_fence, base));
	dma_fence_free(base);
	/*
	 * For our code to go before we have returned, a task would have to be preempted
	 * right here for as long as rmmod takes, grace periods included.
	 */
	module_put(THIS_MODULE);
}

static const struct dma_fence_ops dgpu_fence_ops = {
	.get_driver_name = dgpu_fence_driver_name,
	.get_timeline_name = dgpu_fence_timeline_name,
	.release = dgpu_fence_release,
};

/**
 * dgpu_fence_create - make a fence
 * @dev: device
 * @gfp: how to allocate it
 *
 * Context: as @gfp says.
 * Return: the fence, with a reference for the caller, who signals it; NULL: no memory.
 */
struct dma_fence *dgpu_fence_create(const struct dgpu_device *dev, gfp_t gfp)
{
	struct dgpu_fence *fence;

	fence = kzalloc(sizeof(*fence), gfp);
	if (!fence)
		return NULL;
	__module_get(THIS_MODULE);
	spin_lock_init(&fence->lock);
	strscpy(fence->timeline, dev->name, sizeof(fence->timeline));
	dma_fence_init(&fence->base, &dgpu_fence_ops, &fence->lock,
		       dma_fence_context_alloc(1), 1);
	return &fence->base;
}

/**
 * dgpu_fence_discard - drop a fence that nobody else has ever seen
 * @fence: the fence, or NULL
 *
 * Context: any.
 */
void dgpu_fence_discard(struct dma_fence *fence)
{
	if (!fence)
		return;
	dma_fence_set_error(fence, -ECANCELED);
	dma_fence_signal(fence);
	dma_fence_put(fence);
}

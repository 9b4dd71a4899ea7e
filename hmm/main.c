// SPDX-License-Identifier: GPL-2.0
/*
 * hmm_core: mirrors process address spaces on devices.
 *
 * This file only wires the module up.  Start reading at include/hmm/device.h, then
 * mirror.c (the life of a mirror), block.c (invalidations) and fault.c (faults).
 */
#include <linux/module.h>
#include "debugfs.h"
#include "hmm_private.h"
#include "../rmem/pagecache_private.h"

struct workqueue_struct *hmm_mm_wq;

static int __init hmm_init(void)
{
	int ret;

	/* A run, and a huge entry, must fit in a block. */
	BUILD_BUG_ON(PMD_SHIFT > HMM_BLOCK_SHIFT_MIN);
	if (hmm_block_shift < HMM_BLOCK_SHIFT_MIN ||
	    hmm_block_shift > HMM_BLOCK_SHIFT_MAX) {
		pr_err("hmm_core: block_shift=%u is not between %u and %u\n",
		       hmm_block_shift, HMM_BLOCK_SHIFT_MIN, HMM_BLOCK_SHIFT_MAX);
		return -EINVAL;
	}
	hmm_mm_wq = alloc_workqueue("hmm", WQ_UNBOUND, 0);
	if (!hmm_mm_wq)
		return -ENOMEM;
	ret = hmm_swp_init();
	if (ret)
		goto err_wq;
	ret = hmm_rmem_init();
	if (ret)
		goto err_swp;
	ret = hmm_pagecache_init();
	if (ret)
		goto err_rmem;
	hmm_debugfs_init();
	return 0;

err_rmem:
	hmm_rmem_exit();
err_swp:
	hmm_swp_exit();
err_wq:
	destroy_workqueue(hmm_mm_wq);
	return ret;
}

static void __exit hmm_exit(void)
{
	/* Drivers hold references on this module: no device, no mirror is left. */
	WARN_ON_ONCE(!list_empty(&hmm_device_list));
	WARN_ON_ONCE(!hash_empty(hmm_mm_table));
	hmm_debugfs_exit();
	hmm_pagecache_exit();
	hmm_rmem_exit();
	hmm_swp_exit();
	destroy_workqueue(hmm_mm_wq);
}

module_init(hmm_init);
module_exit(hmm_exit);

MODULE_DESCRIPTION("Mirrors process address spaces on devices");
MODULE_LICENSE("GPL");

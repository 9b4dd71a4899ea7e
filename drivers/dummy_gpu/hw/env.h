/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the functional units (units.h) need of their surroundings.  In the kernel: its
 * headers.  In user space, for the host tests: dgpu_host.h, which the test supplies.
 * The units include nothing else, so the same sources run in both.
 */
#ifndef _DGPU_HW_ENV_H
#define _DGPU_HW_ENV_H

#ifdef __KERNEL__
#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/minmax.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include "dgpu_host.h"
#endif

#endif /* _DGPU_HW_ENV_H */

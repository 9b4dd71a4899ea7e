/* SPDX-License-Identifier: GPL-2.0 */
/* Flags of VMAs are a set of their own type in later kernels, and the empty set has a name. */
#include_next <linux/shmem_fs.h>

#ifndef EMPTY_VMA_FLAGS
#define EMPTY_VMA_FLAGS	0
#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* The user's types of this name, and the kernel's on top. */
#include_next <linux/types.h>

#ifndef DGPU_ENV_TYPES_H
#define DGPU_ENV_TYPES_H

#include <stdbool.h>
#include <stddef.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef unsigned long long u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef long long s64;

struct list_head {
	struct list_head *next, *prev;
};

#endif

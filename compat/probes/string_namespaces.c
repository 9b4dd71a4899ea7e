// SPDX-License-Identifier: GPL-2.0
/*
 * Is a symbol namespace a string (since 6.13) or an identifier? The macro of an
 * identifier puts quotes around what it is given; a string must come out as it
 * went in.
 */
#include <linux/module.h>
#include <linux/stringify.h>

#undef MODULE_INFO
#define MODULE_INFO(import_ns, info) static_assert(sizeof(info) == sizeof("HMM"))

MODULE_IMPORT_NS("HMM");

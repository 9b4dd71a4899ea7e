// SPDX-License-Identifier: GPL-2.0
/*
 * Is a symbol namespace a string (since 6.13) or an identifier? An identifier
 * would end up with the quotes inside, four characters longer.
 */
#include <linux/module.h>
#include <linux/stringify.h>

#define string_of(tag, info) info
#undef MODULE_INFO
#define MODULE_INFO string_of

static_assert(sizeof(MODULE_IMPORT_NS("HMM")) == sizeof("HMM"));

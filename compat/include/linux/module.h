/* SPDX-License-Identifier: GPL-2.0 */
/* The imported namespace is a string, as it has been since 6.13. */
#include_next <linux/module.h>

#if !defined(HMM_HAVE_STRING_NAMESPACES) && !defined(HMM_COMPAT_MODULE_H)
#define HMM_COMPAT_MODULE_H

#undef MODULE_IMPORT_NS
#define MODULE_IMPORT_NS(ns)	MODULE_INFO(import_ns, ns)

#endif

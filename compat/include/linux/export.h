/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Namespaces of exports are strings, as they have been since 6.13.
 *
 * The kernel's header includes itself by way of linux/linkage.h, so this one is
 * entered in the middle of it: wait until the kernel's definition is there.
 */
#include_next <linux/export.h>

#if !defined(HMM_HAVE_STRING_NAMESPACES) && defined(EXPORT_SYMBOL_NS) && \
	!defined(HMM_COMPAT_EXPORT_H)
#define HMM_COMPAT_EXPORT_H

#undef EXPORT_SYMBOL_NS
#define EXPORT_SYMBOL_NS(sym, ns)	__EXPORT_SYMBOL(sym, "", ns)
#undef EXPORT_SYMBOL_NS_GPL
#define EXPORT_SYMBOL_NS_GPL(sym, ns)	__EXPORT_SYMBOL(sym, "GPL", ns)

#endif

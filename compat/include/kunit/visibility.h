/* SPDX-License-Identifier: GPL-2.0 */
/* KUnit's own namespace, given as a string: see linux/export.h beside this. */
#include_next <kunit/visibility.h>

#if !defined(HMM_HAVE_STRING_NAMESPACES) && defined(EXPORT_SYMBOL_IF_KUNIT) && \
	IS_ENABLED(CONFIG_KUNIT) && !defined(HMM_COMPAT_KUNIT_VISIBILITY_H)
#define HMM_COMPAT_KUNIT_VISIBILITY_H

#undef EXPORT_SYMBOL_IF_KUNIT
#define EXPORT_SYMBOL_IF_KUNIT(symbol) \
	EXPORT_SYMBOL_NS(symbol, "EXPORTED_FOR_KUNIT_TESTING")

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* page_pgmap() is there, as it has been since 6.14. */
#include_next <linux/memremap.h>

#if !defined(HMM_HAVE_PAGE_PGMAP) && !defined(HMM_COMPAT_MEMREMAP_H)
#define HMM_COMPAT_MEMREMAP_H

#define page_pgmap(page)	((page)->pgmap)

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* alloc_pages_bulk() fills an array, as it has done since 6.14. */
#include_next <linux/gfp.h>

#if defined(alloc_pages_bulk_array) && !defined(HMM_COMPAT_GFP_H)
#define HMM_COMPAT_GFP_H

#define alloc_pages_bulk(gfp, nr, pages)	alloc_pages_bulk_array(gfp, nr, pages)

#endif

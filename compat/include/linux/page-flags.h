/* SPDX-License-Identifier: GPL-2.0 */
/* The flags of a folio's mapping pointer are called so since 6.17. */
#include_next <linux/page-flags.h>

#if !defined(FOLIO_MAPPING_ANON) && defined(PAGE_MAPPING_ANON)
#define FOLIO_MAPPING_ANON	PAGE_MAPPING_ANON
#define FOLIO_MAPPING_FLAGS	PAGE_MAPPING_FLAGS
#endif

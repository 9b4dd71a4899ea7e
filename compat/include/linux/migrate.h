/* SPDX-License-Identifier: GPL-2.0 */
/* Huge pages move as one since 6.19.  Before, nothing is ever marked as one. */
#include_next <linux/migrate.h>

#if !defined(HMM_HAVE_MIGRATE_VMA_COMPOUND) && !defined(HMM_COMPAT_MIGRATE_H)
#define HMM_COMPAT_MIGRATE_H

#define MIGRATE_PFN_COMPOUND		0ul
#define MIGRATE_VMA_SELECT_COMPOUND	0ul

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Typed entries of page tables, by the names that they have since 6.19. */
#ifndef HMM_COMPAT_LEAFOPS_H
#define HMM_COMPAT_LEAFOPS_H

#include <linux/mm.h>
#include <linux/swap.h>		/* the kernel's header needs it, and does not say so */

#ifdef HMM_HAVE_LEAFOPS
#include_next <linux/leafops.h>
#else
#include <linux/swapops.h>

#define softleaf_t swp_entry_t

/* Stable kernels have some of the names already, as macros. */
#ifndef softleaf_from_pte
static inline softleaf_t softleaf_from_pte(pte_t pte)
{
	softleaf_t none = {};

	return pte_present(pte) || pte_none(pte) ? none : pte_to_swp_entry(pte);
}
#endif

static inline softleaf_t softleaf_from_pmd(pmd_t pmd)
{
	softleaf_t none = {};

	return pmd_present(pmd) || pmd_none(pmd) ? none : pmd_to_swp_entry(pmd);
}

static inline pte_t softleaf_to_pte(softleaf_t entry)
{
	return swp_entry_to_pte(entry);
}

static inline bool softleaf_is_swap(softleaf_t entry)
{
	return entry.val && !non_swap_entry(entry);
}

static inline bool softleaf_is_migration(softleaf_t entry)
{
	return is_migration_entry(entry);
}

static inline bool softleaf_is_device_private(softleaf_t entry)
{
	return is_device_private_entry(entry);
}

static inline bool softleaf_is_device_private_write(softleaf_t entry)
{
	return is_writable_device_private_entry(entry);
}

static inline bool softleaf_is_device_exclusive(softleaf_t entry)
{
	return is_device_exclusive_entry(entry);
}

static inline bool softleaf_is_marker(softleaf_t entry)
{
	return is_pte_marker_entry(entry);
}

#ifndef softleaf_to_pfn
static inline unsigned long softleaf_to_pfn(softleaf_t entry)
{
	return swp_offset_pfn(entry);
}
#endif
#endif

#endif

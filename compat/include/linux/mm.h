/* SPDX-License-Identifier: GPL-2.0 */
/* zap_vma_range() is there, as in later kernels, and VM_MAYBE_GUARD. */
#include_next <linux/mm.h>

#if !defined(HMM_HAVE_ZAP_VMA_RANGE) && !defined(HMM_COMPAT_MM_H)
#define HMM_COMPAT_MM_H

#define zap_vma_range(vma, addr, len)	zap_page_range_single(vma, addr, len, NULL)

#endif

/* Files have no guard pages. */
#if defined(VM_NONE) && !defined(VM_MAYBE_GUARD)
#define VM_MAYBE_GUARD	VM_NONE
#endif

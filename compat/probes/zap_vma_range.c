// SPDX-License-Identifier: GPL-2.0
/* zap_vma_range(): zap_page_range_single() of older kernels, without details. */
#include <linux/mm.h>

void probe(struct vm_area_struct *vma);
void probe(struct vm_area_struct *vma)
{
	zap_vma_range(vma, vma->vm_start, PAGE_SIZE);
}

// SPDX-License-Identifier: GPL-2.0
/* linux/leafops.h: typed entries of page tables (6.19 and later). */
#include <linux/mm.h>
#include <linux/swap.h>
#include <linux/leafops.h>

bool probe(pte_t pte);
bool probe(pte_t pte)
{
	return softleaf_is_device_private(softleaf_from_pte(pte));
}

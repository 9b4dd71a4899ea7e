// SPDX-License-Identifier: GPL-2.0
/* migrate_vma_*() moves whole huge pages (6.19 and later). */
#include <linux/migrate.h>

unsigned long probe(void);
unsigned long probe(void)
{
	return MIGRATE_PFN_COMPOUND | MIGRATE_VMA_SELECT_COMPOUND;
}

// SPDX-License-Identifier: GPL-2.0
/* dev_pagemap_ops.folio_free(), which was page_free() before 6.19. */
#include <linux/memremap.h>

void probe(struct dev_pagemap_ops *ops, void (*folio_free)(struct folio *folio));
void probe(struct dev_pagemap_ops *ops, void (*folio_free)(struct folio *folio))
{
	ops->folio_free = folio_free;
}

// SPDX-License-Identifier: GPL-2.0
/* page_pgmap() (6.14 and later). */
#include <linux/memremap.h>
#include <linux/mmzone.h>

struct dev_pagemap *probe(const struct page *page);
struct dev_pagemap *probe(const struct page *page)
{
	return page_pgmap(page);
}

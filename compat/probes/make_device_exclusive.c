// SPDX-License-Identifier: GPL-2.0
/* make_device_exclusive() for one page; before it there was only _range. */
#include <linux/rmap.h>

struct page *probe(struct mm_struct *mm, struct folio **folio);
struct page *probe(struct mm_struct *mm, struct folio **folio)
{
	return make_device_exclusive(mm, 0, NULL, folio);
}

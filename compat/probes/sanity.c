// SPDX-License-Identifier: GPL-2.0
/* Nothing but a module: if this fails, headers and compiler do not fit. */
#include <linux/mm.h>
#include <linux/module.h>

static int __init sanity_init(void)
{
	return PAGE_SIZE == 4096 ? 0 : -EINVAL;
}
module_init(sanity_init);
MODULE_DESCRIPTION("sanity probe");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0
/*
 * Does UFFDIO_MOVE send an event for each page?  Since 6.18 it sends one for all pages
 * that it can move at once.  Nothing of that is visible in a header.
 */
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#error "UFFDIO_MOVE tells about several pages"
#endif

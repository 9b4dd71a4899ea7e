// SPDX-License-Identifier: GPL-2.0
/*
 * Do MADV_DONTNEED and MADV_FREE hold the mmap_lock?  Since 6.17 and 6.18 the lock of
 * the VMA is enough for them.  Of that, only the last step is visible in a header.
 */
#include <linux/pagewalk.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
#error "MADV_DONTNEED takes the lock of a VMA"
#endif

/* A second declaration, if there is one in the header. */
enum { PGWALK_VMA_RDLOCK_VERIFY };

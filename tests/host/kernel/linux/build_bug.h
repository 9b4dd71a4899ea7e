/* SPDX-License-Identifier: GPL-2.0 */
#ifndef HOST_LINUX_BUILD_BUG_H
#define HOST_LINUX_BUILD_BUG_H

#define static_assert(expr)	_Static_assert(expr, #expr)

#endif /* HOST_LINUX_BUILD_BUG_H */

/* SPDX-License-Identifier: GPL-2.0 */
#ifndef HOST_LINUX_EXPORT_H
#define HOST_LINUX_EXPORT_H

#define EXPORT_SYMBOL_NS(sym, ns)	struct host_export_##sym

#endif /* HOST_LINUX_EXPORT_H */

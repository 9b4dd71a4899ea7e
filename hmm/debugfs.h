/* SPDX-License-Identifier: GPL-2.0 */
/* debugfs: hmm/stats and hmm/mirrors.  Never needed for the core to work. */
#ifndef _HMM_DEBUGFS_H
#define _HMM_DEBUGFS_H

void hmm_debugfs_init(void);
void hmm_debugfs_exit(void);

#endif /* _HMM_DEBUGFS_H */

// SPDX-License-Identifier: GPL-2.0
#include "debugfs.h"

void hmm_debugfs_init(void)
{
}

void hmm_debugfs_exit(void)
{
}

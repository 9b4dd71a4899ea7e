// SPDX-License-Identifier: GPL-2.0
/* When do pages that a device faults on move to it? */
#include <linux/export.h>
#include "hmm_private.h"

int hmm_mirror_set_policy(struct hmm_mirror *mirror, enum hmm_policy policy)
{
	return -EOPNOTSUPP;
}
EXPORT_SYMBOL_NS(hmm_mirror_set_policy, "HMM");

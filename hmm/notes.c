// SPDX-License-Identifier: GPL-2.0
/* What is kept in mind about ranges of addresses: hints, and the history of pages. */
#include <linux/export.h>
#include "hmm_private.h"

int hmm_mirror_set_hint(struct hmm_mirror *mirror, unsigned long start,
			unsigned long end, const struct hmm_hint *hint)
{
	return -EOPNOTSUPP;
}
EXPORT_SYMBOL_NS(hmm_mirror_set_hint, "HMM");

int hmm_mirror_residency(struct hmm_mirror *mirror, unsigned long start,
			 struct hmm_residency *out, unsigned long npages)
{
	return -EOPNOTSUPP;
}
EXPORT_SYMBOL_NS(hmm_mirror_residency, "HMM");

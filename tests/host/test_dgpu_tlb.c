// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of the TLB, on the host. */
#include "../kunit/dgpu_tlb_kunit.c"

// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of the page table walker, on the host. */
#include "../kunit/dgpu_mmu_kunit.c"

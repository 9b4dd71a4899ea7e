// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of the load/store unit, on the host. */
#include "../kunit/dgpu_lsu_kunit.c"

// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of the instruction set, on the host. */
#include "../kunit/dgpu_isa_kunit.c"

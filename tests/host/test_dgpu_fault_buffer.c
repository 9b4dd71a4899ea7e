// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of the fault buffer, on the host. */
#include "../kunit/dgpu_fault_buffer_kunit.c"

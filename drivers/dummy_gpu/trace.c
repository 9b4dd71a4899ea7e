// SPDX-License-Identifier: GPL-2.0
/* The tracepoints of trace.h, in the flesh. */
#define CREATE_TRACE_POINTS
#include "trace.h"

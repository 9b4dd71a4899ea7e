// SPDX-License-Identifier: GPL-2.0
/* The bodies of the core's tracepoints, and a check that none of their names is missing. */
#define CREATE_TRACE_POINTS
#include "trace.h"

#define HMM_TRACE_COUNT(value, name)	+ 1

static_assert(HMM_TRACE_TYPES(HMM_TRACE_COUNT, HMM_TRACE_COUNT) == HMM_EVENT_NR);
static_assert(HMM_TRACE_ACTIONS(HMM_TRACE_COUNT, HMM_TRACE_COUNT) == HMM_ACTION_NR);
static_assert(HMM_TRACE_REASONS(HMM_TRACE_COUNT, HMM_TRACE_COUNT) == HMM_REASON_NR);
static_assert(HMM_TRACE_STATES(HMM_TRACE_COUNT, HMM_TRACE_COUNT) == HMM_MIRROR_NR_STATES);
static_assert(HMM_TRACE_FILE_STATES(HMM_TRACE_COUNT, HMM_TRACE_COUNT) == HMM_SWP_FILE_NR);

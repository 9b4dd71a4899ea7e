/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the core: hmm:hmm_event, hmm:hmm_fault, hmm:hmm_mirror_state.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hmm

#if !defined(_HMM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _HMM_TRACE_H

#include <linux/tracepoint.h>
#include <hmm/event.h>
#include <hmm/mirror.h>

#define HMM_TRACE_STATES \
	{ HMM_MIRROR_NEW, "new" }, \
	{ HMM_MIRROR_LIVE, "live" }, \
	{ HMM_MIRROR_DYING, "dying" }, \
	{ HMM_MIRROR_DEAD, "dead" }

TRACE_EVENT(hmm_event,
	TP_PROTO(const struct hmm_mirror *mirror, const struct hmm_event *event),
	TP_ARGS(mirror, event),
	TP_STRUCT__entry(
		__string(device, mirror->device->name)
		__field(const void *, mm)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(u32, reasons)
		__field(u8, type)
		__field(u8, action)
		__field(u8, flags)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->mm = mirror->mm;
		__entry->start = event->start;
		__entry->end = event->end;
		__entry->reasons = event->reasons;
		__entry->type = event->type;
		__entry->action = event->action;
		__entry->flags = event->flags;
	),
	TP_printk("%s mm=%p %lx-%lx type=%u action=%u reasons=%x%s%s",
		  __get_str(device), __entry->mm, __entry->start, __entry->end,
		  __entry->type, __entry->action, __entry->reasons,
		  __entry->flags & HMM_EVENT_OWN ? " own" : "",
		  __entry->flags & HMM_EVENT_BLOCKABLE ? "" : " nonblock")
);

TRACE_EVENT(hmm_fault,
	TP_PROTO(const struct hmm_mirror *mirror, unsigned long start,
		 unsigned long end, unsigned int retries, int error),
	TP_ARGS(mirror, start, end, retries, error),
	TP_STRUCT__entry(
		__string(device, mirror->device->name)
		__field(const void *, mm)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned int, retries)
		__field(int, error)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->mm = mirror->mm;
		__entry->start = start;
		__entry->end = end;
		__entry->retries = retries;
		__entry->error = error;
	),
	TP_printk("%s mm=%p %lx-%lx retries=%u error=%d",
		  __get_str(device), __entry->mm, __entry->start, __entry->end,
		  __entry->retries, __entry->error)
);

TRACE_EVENT(hmm_mirror_state,
	TP_PROTO(const struct hmm_mirror *mirror, unsigned int from, unsigned int to),
	TP_ARGS(mirror, from, to),
	TP_STRUCT__entry(
		__string(device, mirror->device->name)
		__field(const void *, mm)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->mm = mirror->mm;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("%s mm=%p %s -> %s", __get_str(device), __entry->mm,
		  __print_symbolic(__entry->from, HMM_TRACE_STATES),
		  __print_symbolic(__entry->to, HMM_TRACE_STATES))
);

#endif /* _HMM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>

/* SPDX-License-Identifier: GPL-2.0 */
/* Tracepoints of the emulated GPU's driver. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM dgpu

#if !defined(_DGPU_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _DGPU_TRACE_H

#include <linux/tracepoint.h>
#include "dgpu_private.h"

TRACE_EVENT(dgpu_job_submit,
	TP_PROTO(const struct dgpu_job *job),
	TP_ARGS(job),
	TP_STRUCT__entry(
		__field(const void *, job)
		__field(u32, device)
		__field(u32, asid)
		__field(u32, engine)
		__field(u32, nthreads)
	),
	TP_fast_assign(
		__entry->job = job;
		__entry->device = job->vm->dev->index;
		__entry->asid = job->vm->asid;
		__entry->engine = job->engine;
		__entry->nthreads = job->hw.nthreads;
	),
	TP_printk("dgpu%u asid=%u job=%p engine=%u threads=%u", __entry->device,
		  __entry->asid, __entry->job, __entry->engine, __entry->nthreads)
);

TRACE_EVENT(dgpu_job_done,
	TP_PROTO(const struct dgpu_job *job),
	TP_ARGS(job),
	TP_STRUCT__entry(
		__field(const void *, job)
		__field(u32, device)
		__field(u32, asid)
		__field(u32, status)
		__field(u64, insns)
		__field(u64, faults)
	),
	TP_fast_assign(
		__entry->job = job;
		__entry->device = job->vm->dev->index;
		__entry->asid = job->vm->asid;
		__entry->status = job->hw.result.status;
		__entry->insns = job->hw.result.insns;
		__entry->faults = job->hw.result.faults;
	),
	TP_printk("dgpu%u asid=%u job=%p status=%u insns=%llu faults=%llu", __entry->device,
		  __entry->asid, __entry->job, __entry->status, __entry->insns,
		  __entry->faults)
);

TRACE_EVENT(dgpu_watchdog,
	TP_PROTO(const struct dgpu_job *job, unsigned int step),
	TP_ARGS(job, step),
	TP_STRUCT__entry(
		__field(const void *, job)
		__field(u32, device)
		__field(u32, engine)
		__field(u32, step)
	),
	TP_fast_assign(
		__entry->job = job;
		__entry->device = job->vm->dev->index;
		__entry->engine = job->engine;
		__entry->step = step;
	),
	TP_printk("dgpu%u job=%p engine=%u step=%u", __entry->device, __entry->job,
		  __entry->engine, __entry->step)
);

TRACE_EVENT(dgpu_copy_submit,
	TP_PROTO(const struct dgpu_copy *copy),
	TP_ARGS(copy),
	TP_STRUCT__entry(
		__field(const void *, copy)
		__field(u32, device)
		__field(u32, engine)
		__field(u32, op)
		__field(u32, nr)
	),
	TP_fast_assign(
		__entry->copy = copy;
		__entry->device = copy->dev->index;
		__entry->engine = copy->engine->index;
		__entry->op = copy->hw.op;
		__entry->nr = copy->hw.nr;
	),
	TP_printk("dgpu%u copy=%p engine=%u op=%s nr=%u", __entry->device, __entry->copy,
		  __entry->engine,
		  __print_symbolic(__entry->op,
				   { DGPU_HW_COPY_IN, "in" },
				   { DGPU_HW_COPY_OUT, "out" },
				   { DGPU_HW_COPY_CLEAR, "clear" }),
		  __entry->nr)
);

TRACE_EVENT(dgpu_copy_done,
	TP_PROTO(const struct dgpu_copy *copy, int error),
	TP_ARGS(copy, error),
	TP_STRUCT__entry(
		__field(const void *, copy)
		__field(u32, device)
		__field(u32, engine)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->copy = copy;
		__entry->device = copy->dev->index;
		__entry->engine = copy->engine->index;
		__entry->error = error;
	),
	TP_printk("dgpu%u copy=%p engine=%u error=%d", __entry->device, __entry->copy,
		  __entry->engine, __entry->error)
);

TRACE_EVENT(dgpu_fault,
	TP_PROTO(const struct dgpu_vm *vm, const struct hmm_fault *faults, unsigned int nr),
	TP_ARGS(vm, faults, nr),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(u32, asid)
		__field(u32, nr)
		__field(unsigned long, first)
		__field(unsigned long, last)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->device = vm->dev->index;
		__entry->asid = vm->asid;
		__entry->nr = nr;
		__entry->first = faults[0].addr;
		__entry->last = faults[nr - 1].addr;
		__entry->error = faults[0].error;
	),
	TP_printk("dgpu%u asid=%u nr=%u first=%#lx last=%#lx error=%d", __entry->device,
		  __entry->asid, __entry->nr, __entry->first, __entry->last, __entry->error)
);

TRACE_EVENT(dgpu_map,
	TP_PROTO(const struct dgpu_vm *vm, const struct hmm_map *map, int error),
	TP_ARGS(vm, map, error),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(u32, asid)
		__field(unsigned long, start)
		__field(unsigned long, nr)
		__field(u32, shift)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->device = vm->dev->index;
		__entry->asid = vm->asid;
		__entry->start = map->start;
		__entry->nr = map->nr;
		__entry->shift = map->shift;
		__entry->error = error;
	),
	TP_printk("dgpu%u asid=%u start=%#lx nr=%lu shift=%u error=%d", __entry->device,
		  __entry->asid, __entry->start, __entry->nr, __entry->shift,
		  __entry->error)
);

TRACE_EVENT(dgpu_update,
	TP_PROTO(const struct dgpu_vm *vm, const struct hmm_event *event,
		 const struct dgpu_pt_taken *taken, u64 ticket),
	TP_ARGS(vm, event, taken, ticket),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(u32, asid)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(u32, action)
		__field(u32, pages)
		__field(u32, dirty)
		__field(u64, ticket)
	),
	TP_fast_assign(
		__entry->device = vm->dev->index;
		__entry->asid = vm->asid;
		__entry->start = event->start;
		__entry->end = event->end;
		__entry->action = event->action;
		__entry->pages = taken->pages;
		__entry->dirty = taken->dirty;
		__entry->ticket = ticket;
	),
	TP_printk("dgpu%u asid=%u [%#lx, %#lx) action=%s pages=%u dirty=%u ticket=%llu",
		  __entry->device, __entry->asid, __entry->start, __entry->end,
		  __print_symbolic(__entry->action,
				   { HMM_ACTION_NONE, "none" },
				   { HMM_ACTION_WRPROTECT, "wrprotect" },
				   { HMM_ACTION_DROP, "drop" },
				   { HMM_ACTION_FREE, "free" }),
		  __entry->pages, __entry->dirty, __entry->ticket)
);

TRACE_EVENT(dgpu_stop,
	TP_PROTO(const struct dgpu_vm *vm, u32 status),
	TP_ARGS(vm, status),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(u32, asid)
		__field(u32, status)
	),
	TP_fast_assign(
		__entry->device = vm->dev->index;
		__entry->asid = vm->asid;
		__entry->status = status;
	),
	TP_printk("dgpu%u asid=%u status=%u", __entry->device, __entry->asid,
		  __entry->status)
);

#endif /* _DGPU_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>

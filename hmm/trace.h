/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the core:
 *
 *   hmm:hmm_event		an invalidation is about to be handed to a device
 *   hmm:hmm_fault		a run of device faults has been answered
 *   hmm:hmm_mirror_state	a mirror has changed its state
 *   hmm:hmm_pagecache_state	a page of a file has changed its state
 *
 * The task in front of an hmm_event line is the one that made the kernel change
 * something, which need not be of the process that is mirrored.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hmm

#if !defined(_HMM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _HMM_TRACE_H

#include <linux/fs.h>
#include <linux/tracepoint.h>
#include <hmm/event.h>
#include <hmm/mirror.h>
#include "../swap_entry/file.h"

/*
 * The names are those of hmm_event_type_name() and its like.  E is put around all
 * entries of a list but the last, L around the last.
 */
#define HMM_TRACE_TYPES(E, L)				\
	E(HMM_EVENT_UNMAP,		"unmap")		\
	E(HMM_EVENT_RELEASE,		"release")		\
	E(HMM_EVENT_MIGRATE_OWN,	"migrate_own")		\
	E(HMM_EVENT_MIGRATE_DEV,	"migrate_dev")		\
	E(HMM_EVENT_PROTECT,		"protect")		\
	E(HMM_EVENT_WRPROTECT,		"wrprotect")		\
	E(HMM_EVENT_SOFT_DIRTY,	"soft_dirty")		\
	E(HMM_EVENT_EXCLUSIVE_OWN,	"exclusive_own")	\
	E(HMM_EVENT_EXCLUSIVE,		"exclusive")		\
	E(HMM_EVENT_RECLAIM,		"reclaim")		\
	E(HMM_EVENT_MIGRATE_SYS,	"migrate_sys")		\
	E(HMM_EVENT_COW,		"cow")			\
	E(HMM_EVENT_KSM,		"ksm")			\
	E(HMM_EVENT_SPLIT,		"split")		\
	E(HMM_EVENT_TRUNCATE,		"truncate")		\
	L(HMM_EVENT_CLEAR,		"clear")

#define HMM_TRACE_ACTIONS(E, L)				\
	E(HMM_ACTION_NONE,		"none")			\
	E(HMM_ACTION_WRPROTECT,	"wrprotect")		\
	E(HMM_ACTION_DROP,		"drop")			\
	L(HMM_ACTION_FREE,		"free")

#define HMM_TRACE_REASONS(E, L)				\
	E(HMM_REASON_MUNMAP,		"munmap")		\
	E(HMM_REASON_MREMAP,		"mremap")		\
	E(HMM_REASON_MAP_FIXED,	"map_fixed")		\
	E(HMM_REASON_EXIT,		"exit")			\
	E(HMM_REASON_OOM,		"oom")			\
	E(HMM_REASON_MPROTECT,		"mprotect")		\
	E(HMM_REASON_NUMA_HINT,	"numa_hint")		\
	E(HMM_REASON_UFFD_WP,		"uffd_wp")		\
	E(HMM_REASON_PAGEMAP_SCAN,	"pagemap_scan")		\
	E(HMM_REASON_FORK,		"fork")			\
	E(HMM_REASON_MKCLEAN,		"mkclean")		\
	E(HMM_REASON_SOFT_DIRTY,	"soft_dirty")		\
	E(HMM_REASON_MIGRATE_DEV,	"migrate_dev")		\
	E(HMM_REASON_EXCLUSIVE,	"exclusive")		\
	E(HMM_REASON_RECLAIM,		"reclaim")		\
	E(HMM_REASON_MIGRATION,	"migration")		\
	E(HMM_REASON_COW,		"cow")			\
	E(HMM_REASON_KSM_MERGE,	"ksm_merge")		\
	E(HMM_REASON_KSM_UNMERGE,	"ksm_unmerge")		\
	E(HMM_REASON_COLLAPSE,		"collapse")		\
	E(HMM_REASON_VMA_SPLIT,	"vma_split")		\
	E(HMM_REASON_PMD_SPLIT,	"pmd_split")		\
	E(HMM_REASON_FOLIO_SPLIT,	"folio_split")		\
	E(HMM_REASON_TRUNCATE,		"truncate")		\
	E(HMM_REASON_DONTNEED,		"dontneed")		\
	E(HMM_REASON_MADV_FREE,	"madv_free")		\
	E(HMM_REASON_UFFD_MOVE,	"uffd_move")		\
	E(HMM_REASON_HWPOISON,		"hwpoison")		\
	E(HMM_REASON_UPROBE,		"uprobe")		\
	E(HMM_REASON_HUGETLB,		"hugetlb")		\
	L(HMM_REASON_UNMAPPED,	"unmapped")

#define HMM_TRACE_STATES(E, L)				\
	E(HMM_MIRROR_NEW,		"new")			\
	E(HMM_MIRROR_LIVE,		"live")			\
	E(HMM_MIRROR_DYING,		"dying")		\
	L(HMM_MIRROR_DEAD,		"dead")

#define HMM_TRACE_FILE_STATES(E, L)			\
	E(HMM_SWP_FILE_LOCAL,		"local")		\
	E(HMM_SWP_FILE_BUSY,		"busy")			\
	E(HMM_SWP_FILE_SHARED,		"shared")		\
	L(HMM_SWP_FILE_OWNED,		"owned")

/* Make the values of the enums known to those who read the format. */
#define HMM_TRACE_DEFINE(value, name)	TRACE_DEFINE_ENUM(value);
HMM_TRACE_TYPES(HMM_TRACE_DEFINE, HMM_TRACE_DEFINE)
HMM_TRACE_ACTIONS(HMM_TRACE_DEFINE, HMM_TRACE_DEFINE)
HMM_TRACE_REASONS(HMM_TRACE_DEFINE, HMM_TRACE_DEFINE)
HMM_TRACE_STATES(HMM_TRACE_DEFINE, HMM_TRACE_DEFINE)
HMM_TRACE_FILE_STATES(HMM_TRACE_DEFINE, HMM_TRACE_DEFINE)

#define HMM_TRACE_NUMBER(value, name)		{ value, name },
#define HMM_TRACE_LAST_NUMBER(value, name)	{ value, name }
#define HMM_TRACE_BIT(value, name)		{ 1U << value, name },
#define HMM_TRACE_LAST_BIT(value, name)		{ 1U << value, name }

#define hmm_trace_type(type) \
	__print_symbolic(type, HMM_TRACE_TYPES(HMM_TRACE_NUMBER, HMM_TRACE_LAST_NUMBER))
#define hmm_trace_action(action) \
	__print_symbolic(action, HMM_TRACE_ACTIONS(HMM_TRACE_NUMBER, HMM_TRACE_LAST_NUMBER))
#define hmm_trace_reasons(reasons) \
	__print_flags(reasons, "|", HMM_TRACE_REASONS(HMM_TRACE_BIT, HMM_TRACE_LAST_BIT))
#define hmm_trace_state(state) \
	__print_symbolic(state, HMM_TRACE_STATES(HMM_TRACE_NUMBER, HMM_TRACE_LAST_NUMBER))
#define hmm_trace_file_state(state) \
	__print_symbolic(state, HMM_TRACE_FILE_STATES(HMM_TRACE_NUMBER, HMM_TRACE_LAST_NUMBER))

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
	TP_printk("%s mm=%p range=0x%lx-0x%lx pages=%lu type=%s action=%s reasons=%s%s%s",
		  __get_str(device), __entry->mm, __entry->start, __entry->end,
		  (__entry->end - __entry->start) >> PAGE_SHIFT,
		  hmm_trace_type(__entry->type), hmm_trace_action(__entry->action),
		  hmm_trace_reasons(__entry->reasons),
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
	TP_printk("%s mm=%p range=0x%lx-0x%lx pages=%lu retries=%u error=%d",
		  __get_str(device), __entry->mm, __entry->start, __entry->end,
		  (__entry->end - __entry->start) >> PAGE_SHIFT,
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
	TP_printk("%s mm=%p %s to %s", __get_str(device), __entry->mm,
		  hmm_trace_state(__entry->from), hmm_trace_state(__entry->to))
);

/*
 * The pool, and the page of it, are those of the state that is not local.  Pointers, as BPF
 * has no arguments of more than 8 bytes.
 */
TRACE_EVENT(hmm_pagecache_state,
	TP_PROTO(const struct inode *inode, unsigned long index,
		 const struct hmm_swp_file *was, const struct hmm_swp_file *now),
	TP_ARGS(inode, index, was, now),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, ino)
		__field(unsigned long, index)
		__field(unsigned long, frame)
		__field(u32, pool)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		const struct hmm_swp_file *there =
			was->state == HMM_SWP_FILE_LOCAL ? now : was;

		__entry->dev = inode->i_sb->s_dev;
		__entry->ino = inode->i_ino;
		__entry->index = index;
		__entry->frame = there->frame;
		__entry->pool = there->pool;
		__entry->from = was->state;
		__entry->to = now->state;
	),
	TP_printk("dev=%d:%d ino=%llu page=%lu %s to %s pool=%u frame=%lu",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino, __entry->index,
		  hmm_trace_file_state(__entry->from), hmm_trace_file_state(__entry->to),
		  __entry->pool, __entry->frame)
);

#endif /* _HMM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>

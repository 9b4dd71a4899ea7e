/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The context of an invalidation: what happened to a range of a process'
 * address space, why, and what a device that mirrors it has to do.
 *
 * Three layers of knowledge, from certain to informed:
 *
 *  - the action is a command, and is always right;
 *  - the type is the row of the event table that the action was taken from;
 *  - the reasons are the set of kernel operations that can have sent this event.
 *    One bit set means that the reason is known.  Several bits mean that the
 *    kernel gives a callback no way to tell them apart.  Policy may use the
 *    reasons; correctness never depends on them.
 *
 * Intervals are [start, end): start inclusive, end exclusive.
 */
#ifndef _HMM_EVENT_H
#define _HMM_EVENT_H

#include <linux/bits.h>
#include <linux/types.h>
#include <uapi/hmm_event.h>

/**
 * struct hmm_event - one invalidation, as a device sees it
 * @start: first byte, page aligned
 * @end: first byte after the range, page aligned
 * @type: row of the event table
 * @action: what must be done before the callback returns
 * @reasons: set of BIT(enum hmm_event_reason); more than one bit when the kernel
 *	gives no way to tell them apart, and never empty
 * @flags: HMM_EVENT_* flags
 * @vm_flags: flags of the VMA at @start, already the new ones when a protection
 *	changed; 0 when not known
 */
struct hmm_event {
	unsigned long start;
	unsigned long end;
	enum hmm_event_type type;
	enum hmm_event_action action;
	u32 reasons;
	u32 flags;
	unsigned long vm_flags;
};

const char *hmm_event_type_name(enum hmm_event_type type);
const char *hmm_event_action_name(enum hmm_event_action action);
const char *hmm_event_reason_name(enum hmm_event_reason reason);
enum hmm_event_action hmm_event_default_action(enum hmm_event_type type);

#endif /* _HMM_EVENT_H */

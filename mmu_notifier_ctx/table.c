// SPDX-License-Identifier: GPL-2.0
/*
 * The event table: what a device has to do about each type of event, and the names
 * of types, actions and reasons.
 *
 * Constant data; no state, no locks, any context.
 *
 * The one principle: a row is an order that is right whatever the reason of the
 * event was.  classify.c may lower an action only on proof, never on likelihood.
 */
#include <linux/build_bug.h>
#include <linux/export.h>
#include <linux/kernel.h>
#include "event_private.h"

/**
 * struct hmm_event_row - a row of the event table
 * @name: name of the type
 * @action: what a device has to do when no more is known
 */
struct hmm_event_row {
	const char *name;
	enum hmm_event_action action;
};

static const struct hmm_event_row hmm_event_table[] = {
	/* Nothing will ever be mapped in the range as a sequel of what is there now. */
	[HMM_EVENT_UNMAP]	  = { "unmap", HMM_ACTION_FREE },
	/* The mm is going; device threads have been stopped before this is seen. */
	[HMM_EVENT_RELEASE]	  = { "release", HMM_ACTION_FREE },
	/* Under the block's lock, with its sequence count: here dropping cannot race. */
	[HMM_EVENT_MIGRATE_OWN]	  = { "migrate_own", HMM_ACTION_DROP },
	[HMM_EVENT_MIGRATE_DEV]	  = { "migrate_dev", HMM_ACTION_DROP },
	/* Reading may have been forbidden; lowered when the VMA says otherwise. */
	[HMM_EVENT_PROTECT]	  = { "protect", HMM_ACTION_DROP },
	/* The pages stay where they are; the next write has to fault. */
	[HMM_EVENT_WRPROTECT]	  = { "wrprotect", HMM_ACTION_WRPROTECT },
	[HMM_EVENT_SOFT_DIRTY]	  = { "soft_dirty", HMM_ACTION_WRPROTECT },
	/* The CPU's entry becomes exclusive for the device that asks for it. */
	[HMM_EVENT_EXCLUSIVE_OWN] = { "exclusive_own", HMM_ACTION_NONE },
	[HMM_EVENT_EXCLUSIVE]	  = { "exclusive", HMM_ACTION_DROP },
	/*
	 * All that follow are MMU_NOTIFY_CLEAR: another page, or none, may be there
	 * when the callback has returned.
	 */
	[HMM_EVENT_RECLAIM]	  = { "reclaim", HMM_ACTION_DROP },
	[HMM_EVENT_MIGRATE_SYS]	  = { "migrate_sys", HMM_ACTION_DROP },
	[HMM_EVENT_COW]		  = { "cow", HMM_ACTION_DROP },
	[HMM_EVENT_KSM]		  = { "ksm", HMM_ACTION_DROP },
	[HMM_EVENT_SPLIT]	  = { "split", HMM_ACTION_DROP },
	[HMM_EVENT_TRUNCATE]	  = { "truncate", HMM_ACTION_DROP },
	[HMM_EVENT_CLEAR]	  = { "clear", HMM_ACTION_DROP },
};

static_assert(ARRAY_SIZE(hmm_event_table) == HMM_EVENT_NR);

static const char *const hmm_event_actions[] = {
	[HMM_ACTION_NONE]	= "none",
	[HMM_ACTION_WRPROTECT]	= "wrprotect",
	[HMM_ACTION_DROP]	= "drop",
	[HMM_ACTION_FREE]	= "free",
};

static_assert(ARRAY_SIZE(hmm_event_actions) == HMM_ACTION_NR);

/**
 * struct hmm_event_reason_row - a reason
 * @name: its name
 * @clear: the type of an MMU_NOTIFY_CLEAR that was sent for this reason;
 *	HMM_EVENT_CLEAR when there is no type for it, or the kernel sends other events
 */
struct hmm_event_reason_row {
	const char *name;
	enum hmm_event_type clear;
};

static const struct hmm_event_reason_row hmm_event_reasons[] = {
	[HMM_REASON_MUNMAP]	  = { "munmap", HMM_EVENT_CLEAR },
	[HMM_REASON_MREMAP]	  = { "mremap", HMM_EVENT_CLEAR },
	[HMM_REASON_MAP_FIXED]	  = { "map_fixed", HMM_EVENT_CLEAR },
	[HMM_REASON_EXIT]	  = { "exit", HMM_EVENT_CLEAR },
	[HMM_REASON_OOM]	  = { "oom", HMM_EVENT_CLEAR },
	[HMM_REASON_MPROTECT]	  = { "mprotect", HMM_EVENT_CLEAR },
	[HMM_REASON_NUMA_HINT]	  = { "numa_hint", HMM_EVENT_CLEAR },
	[HMM_REASON_UFFD_WP]	  = { "uffd_wp", HMM_EVENT_CLEAR },
	[HMM_REASON_PAGEMAP_SCAN] = { "pagemap_scan", HMM_EVENT_CLEAR },
	[HMM_REASON_FORK]	  = { "fork", HMM_EVENT_CLEAR },
	[HMM_REASON_MKCLEAN]	  = { "mkclean", HMM_EVENT_CLEAR },
	[HMM_REASON_SOFT_DIRTY]	  = { "soft_dirty", HMM_EVENT_CLEAR },
	[HMM_REASON_MIGRATE_DEV]  = { "migrate_dev", HMM_EVENT_CLEAR },
	[HMM_REASON_EXCLUSIVE]	  = { "exclusive", HMM_EVENT_EXCLUSIVE },
	[HMM_REASON_RECLAIM]	  = { "reclaim", HMM_EVENT_RECLAIM },
	[HMM_REASON_MIGRATION]	  = { "migration", HMM_EVENT_MIGRATE_SYS },
	[HMM_REASON_COW]	  = { "cow", HMM_EVENT_COW },
	[HMM_REASON_KSM_MERGE]	  = { "ksm_merge", HMM_EVENT_KSM },
	[HMM_REASON_KSM_UNMERGE]  = { "ksm_unmerge", HMM_EVENT_KSM },
	[HMM_REASON_COLLAPSE]	  = { "collapse", HMM_EVENT_SPLIT },
	[HMM_REASON_VMA_SPLIT]	  = { "vma_split", HMM_EVENT_SPLIT },
	[HMM_REASON_PMD_SPLIT]	  = { "pmd_split", HMM_EVENT_SPLIT },
	[HMM_REASON_FOLIO_SPLIT]  = { "folio_split", HMM_EVENT_SPLIT },
	[HMM_REASON_TRUNCATE]	  = { "truncate", HMM_EVENT_TRUNCATE },
	[HMM_REASON_DONTNEED]	  = { "dontneed", HMM_EVENT_CLEAR },
	[HMM_REASON_MADV_FREE]	  = { "madv_free", HMM_EVENT_CLEAR },
	[HMM_REASON_UFFD_MOVE]	  = { "uffd_move", HMM_EVENT_CLEAR },
	[HMM_REASON_HWPOISON]	  = { "hwpoison", HMM_EVENT_CLEAR },
	[HMM_REASON_UPROBE]	  = { "uprobe", HMM_EVENT_CLEAR },
	[HMM_REASON_HUGETLB]	  = { "hugetlb", HMM_EVENT_CLEAR },
	[HMM_REASON_UNMAPPED]	  = { "unmapped", HMM_EVENT_CLEAR },
};

static_assert(ARRAY_SIZE(hmm_event_reasons) == HMM_REASON_NR);

/* struct hmm_event.reasons is a set in 32 bits */
static_assert(HMM_REASON_NR <= 32);

/**
 * hmm_event_type_name() - name of a type
 * @type: the type
 *
 * The names are stable: counters and tests of drivers print them.
 *
 * Context: Any.
 * Return: a constant string, "?" for a number that is no type.
 */
const char *hmm_event_type_name(enum hmm_event_type type)
{
	return type < HMM_EVENT_NR ? hmm_event_table[type].name : "?";
}
EXPORT_SYMBOL_NS(hmm_event_type_name, "HMM");

/**
 * hmm_event_action_name() - name of an action
 * @action: the action
 *
 * Context: Any.
 * Return: a constant string, "?" for a number that is no action.
 */
const char *hmm_event_action_name(enum hmm_event_action action)
{
	return action < HMM_ACTION_NR ? hmm_event_actions[action] : "?";
}
EXPORT_SYMBOL_NS(hmm_event_action_name, "HMM");

/**
 * hmm_event_reason_name() - name of a reason
 * @reason: the reason; a bit number, not a mask
 *
 * Context: Any.
 * Return: a constant string, "?" for a number that is no reason.
 */
const char *hmm_event_reason_name(enum hmm_event_reason reason)
{
	return reason < HMM_REASON_NR ? hmm_event_reasons[reason].name : "?";
}
EXPORT_SYMBOL_NS(hmm_event_reason_name, "HMM");

/**
 * hmm_event_default_action() - what a type demands when nothing else is known
 * @type: the type
 *
 * hmm_event.action may be weaker: %HMM_ACTION_WRPROTECT for an HMM_EVENT_PROTECT
 * that leaves the range readable, and %HMM_ACTION_NONE where the device maps
 * nothing.
 *
 * Context: Any.
 * Return: the action, %HMM_ACTION_FREE for a number that is no type.
 */
enum hmm_event_action hmm_event_default_action(enum hmm_event_type type)
{
	return type < HMM_EVENT_NR ? hmm_event_table[type].action : HMM_ACTION_FREE;
}
EXPORT_SYMBOL_NS(hmm_event_default_action, "HMM");

/**
 * hmm_event_reason_type() - type of an MMU_NOTIFY_CLEAR with a known reason
 * @reason: the reason
 *
 * Context: Any.
 * Return: the type, %HMM_EVENT_CLEAR when there is none for this reason.
 */
enum hmm_event_type hmm_event_reason_type(enum hmm_event_reason reason)
{
	return reason < HMM_REASON_NR ? hmm_event_reasons[reason].clear : HMM_EVENT_CLEAR;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Numbers to words: counters, invalidations, pages, what went wrong.
 *
 * Words are those of the headers' enumerators in lower case.  A number from a newer
 * driver that has no word yet is NULL, and shown as a number in texts.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "private.h"

static const char *const mirror_stats[] = {
	[HMM_STAT_FAULTS]		= "faults",
	[HMM_STAT_FAULTS_MERGED]	= "faults_merged",
	[HMM_STAT_FAULTS_FAILED]	= "faults_failed",
	[HMM_STAT_PAGES_MAPPED]		= "pages_mapped",
	[HMM_STAT_HUGE_MAPPED]		= "huge_mapped",
	[HMM_STAT_AROUND]		= "around",
	[HMM_STAT_CPU_FAULTS]		= "cpu_faults",
	[HMM_STAT_RETRIES]		= "retries",
	[HMM_STAT_EVENTS]		= "events",
	[HMM_STAT_EVENTS_IGNORED]	= "events_ignored",
	[HMM_STAT_WOULD_BLOCK]		= "would_block",
	[HMM_STAT_DIRTY]		= "dirty",
	[HMM_STAT_MOVED_IN]		= "moved_in",
	[HMM_STAT_MOVED_OUT]		= "moved_out",
	[HMM_STAT_MOVE_FAILED]		= "move_failed",
	[HMM_STAT_EXCLUSIVE]		= "exclusive",
};

static_assert(ARRAY_SIZE(mirror_stats) == HMM_STAT_NR, "a counter has no name");

static const char *const event_types[] = {
	[HMM_EVENT_UNMAP]		= "unmap",
	[HMM_EVENT_RELEASE]		= "release",
	[HMM_EVENT_MIGRATE_OWN]		= "migrate_own",
	[HMM_EVENT_MIGRATE_DEV]		= "migrate_dev",
	[HMM_EVENT_PROTECT]		= "protect",
	[HMM_EVENT_WRPROTECT]		= "wrprotect",
	[HMM_EVENT_SOFT_DIRTY]		= "soft_dirty",
	[HMM_EVENT_EXCLUSIVE_OWN]	= "exclusive_own",
	[HMM_EVENT_EXCLUSIVE]		= "exclusive",
	[HMM_EVENT_RECLAIM]		= "reclaim",
	[HMM_EVENT_MIGRATE_SYS]		= "migrate_sys",
	[HMM_EVENT_COW]			= "cow",
	[HMM_EVENT_KSM]			= "ksm",
	[HMM_EVENT_SPLIT]		= "split",
	[HMM_EVENT_TRUNCATE]		= "truncate",
	[HMM_EVENT_CLEAR]		= "clear",
};

static_assert(ARRAY_SIZE(event_types) == HMM_EVENT_NR, "a type has no name");

static const char *const event_actions[] = {
	[HMM_ACTION_NONE]		= "none",
	[HMM_ACTION_WRPROTECT]		= "wrprotect",
	[HMM_ACTION_DROP]		= "drop",
	[HMM_ACTION_FREE]		= "free",
};

static_assert(ARRAY_SIZE(event_actions) == HMM_ACTION_NR, "an action has no name");

static const char *const event_reasons[] = {
	[HMM_REASON_MUNMAP]		= "munmap",
	[HMM_REASON_MREMAP]		= "mremap",
	[HMM_REASON_MAP_FIXED]		= "map_fixed",
	[HMM_REASON_EXIT]		= "exit",
	[HMM_REASON_OOM]		= "oom",
	[HMM_REASON_MPROTECT]		= "mprotect",
	[HMM_REASON_NUMA_HINT]		= "numa_hint",
	[HMM_REASON_UFFD_WP]		= "uffd_wp",
	[HMM_REASON_PAGEMAP_SCAN]	= "pagemap_scan",
	[HMM_REASON_FORK]		= "fork",
	[HMM_REASON_MKCLEAN]		= "mkclean",
	[HMM_REASON_SOFT_DIRTY]		= "soft_dirty",
	[HMM_REASON_MIGRATE_DEV]	= "migrate_dev",
	[HMM_REASON_EXCLUSIVE]		= "exclusive",
	[HMM_REASON_RECLAIM]		= "reclaim",
	[HMM_REASON_MIGRATION]		= "migration",
	[HMM_REASON_COW]		= "cow",
	[HMM_REASON_KSM_MERGE]		= "ksm_merge",
	[HMM_REASON_KSM_UNMERGE]	= "ksm_unmerge",
	[HMM_REASON_COLLAPSE]		= "collapse",
	[HMM_REASON_VMA_SPLIT]		= "vma_split",
	[HMM_REASON_PMD_SPLIT]		= "pmd_split",
	[HMM_REASON_FOLIO_SPLIT]	= "folio_split",
	[HMM_REASON_TRUNCATE]		= "truncate",
	[HMM_REASON_DONTNEED]		= "dontneed",
	[HMM_REASON_MADV_FREE]		= "madv_free",
	[HMM_REASON_UFFD_MOVE]		= "uffd_move",
	[HMM_REASON_HWPOISON]		= "hwpoison",
	[HMM_REASON_UPROBE]		= "uprobe",
	[HMM_REASON_HUGETLB]		= "hugetlb",
	[HMM_REASON_UNMAPPED]		= "unmapped",
};

static_assert(ARRAY_SIZE(event_reasons) == HMM_REASON_NR, "a reason has no name");

static const char *const hw_stats[] = {
	[DGPU_HW_JOBS]			= "jobs",
	[DGPU_HW_INSNS]			= "insns",
	[DGPU_HW_FAULTS]		= "hw_faults",
	[DGPU_HW_FAULT_OVERFLOWS]	= "fault_overflows",
	[DGPU_HW_REPLAYS]		= "replays",
	[DGPU_HW_TLB_HITS]		= "tlb_hits",
	[DGPU_HW_TLB_MISSES]		= "tlb_misses",
	[DGPU_HW_TLB_FLUSHES]		= "tlb_flushes",
	[DGPU_HW_BUS_ERRORS]		= "bus_errors",
	[DGPU_HW_RESETS]		= "resets",
	[DGPU_HW_COPIED]		= "copied",
	[DGPU_HW_COPY_ERRORS]		= "copy_errors",
	[DGPU_HW_LOCAL_ACCESSES]	= "local_accesses",
};

static_assert(ARRAY_SIZE(hw_stats) == DGPU_HW_NR, "a counter has no name");

static const char *const rmem_stats[] = {
	[HMM_RMEM_TOTAL]		= "total",
	[HMM_RMEM_USED]			= "used",
	[HMM_RMEM_CHUNKS_FREE]		= "chunks_free",
	[HMM_RMEM_IN]			= "in",
	[HMM_RMEM_IN_ZERO]		= "in_zero",
	[HMM_RMEM_OUT]			= "out",
	[HMM_RMEM_OUT_FAULT]		= "out_fault",
	[HMM_RMEM_OUT_EVICT]		= "out_evict",
	[HMM_RMEM_OUT_EVACUATE]		= "out_evacuate",
	[HMM_RMEM_DROPPED]		= "dropped",
	[HMM_RMEM_BUSY]			= "busy",
	[HMM_RMEM_FULL]			= "full",
	[HMM_RMEM_COPY_ERRORS]		= "copy_errors",
	[HMM_RMEM_LOST]			= "lost",
	[HMM_RMEM_CPU_FAULTS]		= "cpu_faults",
	[HMM_RMEM_CPU_FAULTS_LOST_RACE]	= "cpu_faults_lost_race",
	[HMM_RMEM_FILE]			= "file",
	[HMM_RMEM_FILE_OWNED]		= "file_owned",
	[HMM_RMEM_FILE_BACK]		= "file_back",
};

static_assert(ARRAY_SIZE(rmem_stats) == HMM_RMEM_NR, "a counter has no name");

static const char *const page_results[] = {
	[HMM_PAGE_SKIPPED]		= "skipped",
	[HMM_PAGE_MOVED]		= "moved",
	[HMM_PAGE_THERE]		= "there",
	[HMM_PAGE_EMPTY]		= "empty",
	[HMM_PAGE_BUSY]			= "busy",
	[HMM_PAGE_FULL]			= "full",
	[HMM_PAGE_UNSUPPORTED]		= "unsupported",
	[HMM_PAGE_UNMAPPED]		= "unmapped",
	[HMM_PAGE_FAILED]		= "failed",
	[HMM_PAGE_LOST]			= "lost",
};

static_assert(ARRAY_SIZE(page_results) == HMM_PAGE_NR, "a result has no name");

static const char *const page_places[] = {
	[HMM_PLACE_NONE]		= "none",
	[HMM_PLACE_SYSTEM]		= "system",
	[HMM_PLACE_DEVICE]		= "device",
	[HMM_PLACE_OTHER]		= "other",
};

static_assert(ARRAY_SIZE(page_places) == HMM_PLACE_NR, "a place has no name");

static const char *pick(const char *const *names, size_t count, unsigned int index)
{
	return index < count ? names[index] : NULL;
}

/**
 * dgpu_stat_name() - name of a counter
 * @group: DGPU_STAT_*
 * @index: index in the group
 *
 * Return: a constant text, or NULL if there is no such counter.
 */
const char *dgpu_stat_name(uint32_t group, uint32_t index)
{
	switch (group) {
	case DGPU_STAT_MIRROR:
		return pick(mirror_stats, ARRAY_SIZE(mirror_stats), index);
	case DGPU_STAT_EVENTS:
		return pick(event_types, ARRAY_SIZE(event_types), index);
	case DGPU_STAT_REASONS:
		return pick(event_reasons, ARRAY_SIZE(event_reasons), index);
	case DGPU_STAT_HW:
		return pick(hw_stats, ARRAY_SIZE(hw_stats), index);
	case DGPU_STAT_RMEM:
		return pick(rmem_stats, ARRAY_SIZE(rmem_stats), index);
	}
	return NULL;
}

/**
 * dgpu_event_type_name() - name of an invalidation's type
 * @type: enum hmm_event_type
 *
 * Return: a constant text, or NULL if there is no such type.
 */
const char *dgpu_event_type_name(unsigned int type)
{
	return pick(event_types, ARRAY_SIZE(event_types), type);
}

/**
 * dgpu_event_action_name() - name of an invalidation's action
 * @action: enum hmm_event_action
 *
 * Return: a constant text, or NULL if there is no such action.
 */
const char *dgpu_event_action_name(unsigned int action)
{
	return pick(event_actions, ARRAY_SIZE(event_actions), action);
}

/**
 * dgpu_page_result_name() - name of what became of a page of a migration
 * @result: enum hmm_page_result
 *
 * Return: a constant text, or NULL if there is no such result.
 */
const char *dgpu_page_result_name(unsigned int result)
{
	return pick(page_results, ARRAY_SIZE(page_results), result);
}

/**
 * dgpu_page_place_name() - name of a place where pages are
 * @place: enum hmm_page_place
 *
 * Return: a constant text, or NULL if there is no such place.
 */
const char *dgpu_page_place_name(unsigned int place)
{
	return pick(page_places, ARRAY_SIZE(page_places), place);
}

/**
 * dgpu_reasons_text() - write a set of reasons as text
 * @reasons: set of 1 << enum hmm_event_reason
 * @buf: where the text goes
 * @size: size of @buf; 512 bytes are enough for every set
 *
 * One reason is written as its name, several as "{a, b}", none as "{}".
 *
 * Return: length of the whole text, as snprintf() does.
 */
int dgpu_reasons_text(uint32_t reasons, char *buf, size_t size)
{
	bool braces = !reasons || (reasons & (reasons - 1));
	const char *name, *sep = "";
	char text[512], number[16];
	unsigned int i;
	size_t len = 0;

	for (i = 0; i < 32; i++) {
		if (!(reasons & (1u << i)))
			continue;
		name = pick(event_reasons, ARRAY_SIZE(event_reasons), i);
		if (!name) {
			snprintf(number, sizeof(number), "%u", i);
			name = number;
		}
		len += snprintf(text + len, sizeof(text) - len, "%s%s", sep, name);
		sep = ", ";
	}
	text[len] = '\0';
	return snprintf(buf, size, braces ? "{%s}" : "%s", text);
}

/* What an errno says about a fault of the device. */
static const char *fault_reason(int error)
{
	switch (error) {
	case EFAULT:
		return "no mapping (EFAULT)";
	case EACCES:
		return "the protection of the mapping forbids it (EACCES)";
	case EPERM:
		return "the protection of the mapping forbids it (EPERM)";
	case EOPNOTSUPP:
		return "a device's mapping (EOPNOTSUPP)";
	case ENOMEM:
		return "out of memory (ENOMEM)";
	case EHWPOISON:
		return "the page has a memory error (EHWPOISON)";
	case ESRCH:
		return "the address space is gone (ESRCH)";
	case EBUSY:
	case ETIME:
		return "too many collisions with invalidations";
	}
	return NULL;
}

/**
 * dgpu_status_name() - name of a job's status
 * @status: enum dgpu_status
 *
 * Return: a constant text, or NULL if there is no such status.
 */
const char *dgpu_status_name(unsigned int status)
{
	static const char *const names[] = {
		[DGPU_OK]		= "ok",
		[DGPU_ERR_FAULT]	= "fault",
		[DGPU_ERR_ILLEGAL]	= "illegal",
		[DGPU_ERR_PC]		= "pc",
		[DGPU_ERR_DIVIDE]	= "divide",
		[DGPU_ERR_ALIGN]	= "align",
		[DGPU_ERR_TRAP]		= "trap",
		[DGPU_ERR_TIMEOUT]	= "timeout",
		[DGPU_ERR_BUS]		= "bus",
		[DGPU_ERR_RESET]	= "reset",
		[DGPU_ERR_STOPPED]	= "stopped",
		[DGPU_ERR_LOST]		= "lost",
	};

	return pick(names, ARRAY_SIZE(names), status);
}

/**
 * dgpu_access_name() - name of a kind of access
 * @access: DGPU_ACCESS_*
 *
 * Return: a constant text, or NULL if there is no such kind.
 */
const char *dgpu_access_name(unsigned int access)
{
	static const char *const names[] = {
		[DGPU_ACCESS_READ]	= "read",
		[DGPU_ACCESS_WRITE]	= "write",
		[DGPU_ACCESS_ATOMIC]	= "atomic",
	};

	return pick(names, ARRAY_SIZE(names), access);
}

/**
 * dgpu_result_text() - say what became of a job
 * @result: its result
 * @buf: where the text goes
 * @size: size of @buf; 256 bytes are enough for every result
 *
 * Return: length of the whole text, as snprintf() does.
 */
int dgpu_result_text(const struct dgpu_result *result, char *buf, size_t size)
{
	const char *access = dgpu_access_name(result->access), *why;
	char where[64], number[32];

	snprintf(where, sizeof(where), "thread %" PRIu32 " at instruction %" PRIu32,
		 result->thread, result->pc);
	if (!access)
		access = "access";
	switch (result->status) {
	case DGPU_OK:
		return snprintf(buf, size, "ok");
	case DGPU_ERR_FAULT:
		why = fault_reason(result->error);
		if (!why) {
			snprintf(number, sizeof(number), "errno %" PRId32, result->error);
			why = number;
		}
		return snprintf(buf, size, "%s: %s %s 0x%" PRIx64 " failed: %s", where, access,
				result->access == DGPU_ACCESS_READ ? "of" : "to",
				(uint64_t)result->fault_addr, why);
	case DGPU_ERR_ILLEGAL:
		return snprintf(buf, size, "%s: illegal instruction", where);
	case DGPU_ERR_PC:
		return snprintf(buf, size, "%s: ran off the program", where);
	case DGPU_ERR_DIVIDE:
		return snprintf(buf, size, "%s: division by zero", where);
	case DGPU_ERR_ALIGN:
		return snprintf(buf, size, "%s: misaligned atomic at 0x%" PRIx64, where,
				(uint64_t)result->fault_addr);
	case DGPU_ERR_TRAP:
		return snprintf(buf, size, "%s: trap %" PRId32, where, result->trap);
	case DGPU_ERR_TIMEOUT:
		return snprintf(buf, size, "stopped by the watchdog; %s", where);
	case DGPU_ERR_BUS:
		return snprintf(buf, size, "%s: bus error on %s %s 0x%" PRIx64, where, access,
				result->access == DGPU_ACCESS_READ ? "of" : "to",
				(uint64_t)result->fault_addr);
	case DGPU_ERR_RESET:
		return snprintf(buf, size, "the engine hung and was reset");
	case DGPU_ERR_STOPPED:
		return snprintf(buf, size, "stopped: the address space or the file went away");
	case DGPU_ERR_LOST:
		return snprintf(buf, size, "the device is lost or being removed");
	}
	return snprintf(buf, size, "%s: unknown status %" PRIu32, where, result->status);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Windows: how much a CPU fault brings back along with the page that it is about.
 *
 * Faults that follow each other form a stream.  Each time that one goes on where it
 * stopped, upwards or downwards, it brings twice as much; when it comes back to what it
 * has brought already, device and CPU are fighting about these pages, and it brings half
 * as much.  A fault that belongs to no stream begins one, with the least.
 *
 *	stream:	  [ next - window ............ next )
 *	fault:	^ goes on		^ came back	^ goes on
 *
 * A memory keeps some streams in mind, in sets: the set by address space and the 1 GiB
 * that the fault is in, and within the set the one that was used last comes first.  Two
 * threads that walk through the halves of one array have a stream each.
 *
 * The principle: it is a guess, and a wrong one costs time and nothing else.
 *
 * Locks: hmm_swp_memory.stream_lock, innermost.
 */
#include <kunit/visibility.h>
#include <linux/align.h>
#include <linux/hash.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include "swp_private.h"

/* Streams that are in the same 1 GiB of one address space. */
#define HMM_SWP_WAYS		4
#define HMM_SWP_SET_BITS	4
#define HMM_SWP_SET_SHIFT	30

static_assert(HMM_SWP_WAYS << HMM_SWP_SET_BITS == HMM_SWP_STREAMS);

static struct hmm_swp_stream *hmm_swp_set(struct hmm_swp_memory *memory,
					  const struct mm_struct *mm, unsigned long addr)
{
	unsigned long key = (unsigned long)mm / sizeof(long) + (addr >> HMM_SWP_SET_SHIFT);

	return &memory->streams[hash_long(key, HMM_SWP_SET_BITS) * HMM_SWP_WAYS];
}

static bool hmm_swp_stream_goes_on(const struct hmm_swp_stream *stream, unsigned long addr)
{
	unsigned long first = stream->next - stream->window;

	return (addr >= stream->next && addr - stream->next < stream->window) ||
	       (addr < first && first - addr <= stream->window);
}

static bool hmm_swp_stream_has(const struct hmm_swp_stream *stream, unsigned long addr)
{
	return addr < stream->next && stream->next - addr <= stream->window;
}

/*
 * The stream that a fault belongs to, as the first of its set.  One that the fault goes
 * on is preferred to one that it comes back to: neighbours overlap at the edges.
 */
static struct hmm_swp_stream *hmm_swp_stream_find(struct hmm_swp_stream *set,
						  const struct mm_struct *mm,
						  unsigned long addr)
{
	struct hmm_swp_stream found = { .mm = mm };
	int i, way = -1;

	for (i = 0; i < HMM_SWP_WAYS; i++) {
		if (set[i].mm != mm || !set[i].window)
			continue;
		if (hmm_swp_stream_goes_on(&set[i], addr)) {
			way = i;
			break;
		}
		if (way < 0 && hmm_swp_stream_has(&set[i], addr))
			way = i;
	}
	if (way >= 0)
		found = set[way];
	else
		way = HMM_SWP_WAYS - 1;
	memmove(&set[1], &set[0], way * sizeof(*set));
	set[0] = found;
	return &set[0];
}

/**
 * hmm_swp_window_init - no faults yet
 * @memory: memory
 *
 * Context: any.
 */
void hmm_swp_window_init(struct hmm_swp_memory *memory)
{
	spin_lock_init(&memory->stream_lock);
	memset(memory->streams, 0, sizeof(memory->streams));
}
EXPORT_SYMBOL_IF_KUNIT(hmm_swp_window_init);

/**
 * hmm_swp_window - how much a fault is to bring back
 * @memory: memory of the page
 * @mm: address space; only compared
 * @addr: address of the fault
 * @from: start of the VMA
 * @to: its end
 * @start: out: first byte, page aligned
 * @end: out: first byte after it.  It is an aligned power of two from HMM_SWP_AROUND_MIN
 *	to HMM_SWP_AROUND_MAX, without what is not in [@from, @to).
 *
 * Context: any but interrupts.
 */
void hmm_swp_window(struct hmm_swp_memory *memory, const struct mm_struct *mm,
		    unsigned long addr, unsigned long from, unsigned long to,
		    unsigned long *start, unsigned long *end)
{
	struct hmm_swp_stream *stream;
	unsigned long window, first;

	spin_lock(&memory->stream_lock);
	stream = hmm_swp_stream_find(hmm_swp_set(memory, mm, addr), mm, addr);
	if (!stream->window)
		window = HMM_SWP_AROUND_MIN;
	else if (hmm_swp_stream_goes_on(stream, addr))
		window = min(stream->window * 2, HMM_SWP_AROUND_MAX);
	else
		window = max(stream->window / 2, HMM_SWP_AROUND_MIN);
	first = ALIGN_DOWN(addr, window);
	stream->window = window;
	stream->next = first + window;
	spin_unlock(&memory->stream_lock);

	*start = max(first, from);
	*end = min(first + window, to);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_swp_window);

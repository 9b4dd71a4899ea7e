/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a page of a file is, as a type of its own.
 *
 * A page of a file that is on a device has no special entry in page tables, for the page
 * stays in the page cache, and page tables can be without it at any time.  What stands for
 * it is an entry in an array of ours, by index in the file: a value, not a pointer, so that
 * it can be looked at without any lock.  It is encoded and decoded here, and nowhere else.
 */
#ifndef _HMM_SWP_FILE_H
#define _HMM_SWP_FILE_H

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/types.h>
#include <linux/xarray.h>

/**
 * enum hmm_swp_file_state - who has a page of a file
 * @HMM_SWP_FILE_LOCAL: the page cache alone.  There is no entry.  Anybody may see it; the
 *	way out of it is a move in, that is BUSY.
 * @HMM_SWP_FILE_BUSY: it is on its way, one or the other, and nothing may be concluded from
 *	it.  Only who does not hold the lock of the page sees this, and waits.
 * @HMM_SWP_FILE_SHARED: the page cache and a device, with the same bytes
 * @HMM_SWP_FILE_OWNED: a device; the page cache has old bytes, and the page is dirty and
 *	not uptodate
 * @HMM_SWP_FILE_NR: number of states
 */
enum hmm_swp_file_state {
	HMM_SWP_FILE_LOCAL,
	HMM_SWP_FILE_BUSY,
	HMM_SWP_FILE_SHARED,
	HMM_SWP_FILE_OWNED,
	HMM_SWP_FILE_NR
};

/**
 * struct hmm_swp_file - a decoded entry
 * @state: who has the page
 * @poisoned: the old bytes have been made unusable, see pagecache_check.c
 * @pool: number of the pool that the page of the device is in; 0 if there is no entry
 * @frame: the page of the device, by index in the pool; 0 if there is no entry
 */
struct hmm_swp_file {
	enum hmm_swp_file_state state;
	bool poisoned;
	u32 pool;
	unsigned long frame;
};

#define HMM_SWP_FILE_STATE_BITS		2
#define HMM_SWP_FILE_POISON_BITS	1
#define HMM_SWP_FILE_POOL_BITS		20
#define HMM_SWP_FILE_FRAME_BITS		40

#define HMM_SWP_FILE_POISON_SHIFT	HMM_SWP_FILE_STATE_BITS
#define HMM_SWP_FILE_POOL_SHIFT		(HMM_SWP_FILE_POISON_SHIFT + HMM_SWP_FILE_POISON_BITS)
#define HMM_SWP_FILE_FRAME_SHIFT	(HMM_SWP_FILE_POOL_SHIFT + HMM_SWP_FILE_POOL_BITS)

/* Pools have the numbers from 0 to this one. */
#define HMM_SWP_FILE_POOL_MAX		(BIT(HMM_SWP_FILE_POOL_BITS) - 1)

static_assert(BIT(HMM_SWP_FILE_STATE_BITS) >= HMM_SWP_FILE_NR);
/* What an array can have as a value is one bit less than a word. */
static_assert(HMM_SWP_FILE_FRAME_SHIFT + HMM_SWP_FILE_FRAME_BITS <= BITS_PER_LONG - 1);

/**
 * hmm_swp_file_fits - can pages of a pool be told apart in an entry?
 * @frames: pages of the pool
 *
 * Return: true if they can.
 */
static inline bool hmm_swp_file_fits(unsigned long frames)
{
	return frames <= BIT(HMM_SWP_FILE_FRAME_BITS);
}

/**
 * hmm_swp_file_to_entry - encode
 * @file: what to encode; hmm_swp_file_fits() for its pool
 *
 * Return: the entry of the array; NULL, that is none, for a page that is local.
 */
static inline void *hmm_swp_file_to_entry(struct hmm_swp_file file)
{
	if (file.state == HMM_SWP_FILE_LOCAL)
		return NULL;
	return xa_mk_value((unsigned long)file.state |
			   (unsigned long)file.poisoned << HMM_SWP_FILE_POISON_SHIFT |
			   (unsigned long)file.pool << HMM_SWP_FILE_POOL_SHIFT |
			   file.frame << HMM_SWP_FILE_FRAME_SHIFT);
}

/**
 * hmm_swp_file_from_entry - decode
 * @entry: entry of the array, or NULL
 *
 * Return: what it stands for.
 */
static inline struct hmm_swp_file hmm_swp_file_from_entry(const void *entry)
{
	unsigned long value;

	if (!entry)
		return (struct hmm_swp_file) { .state = HMM_SWP_FILE_LOCAL };
	value = xa_to_value(entry);
	return (struct hmm_swp_file) {
		.state = value & GENMASK(HMM_SWP_FILE_STATE_BITS - 1, 0),
		.poisoned = value & BIT(HMM_SWP_FILE_POISON_SHIFT),
		.pool = value >> HMM_SWP_FILE_POOL_SHIFT &
			GENMASK(HMM_SWP_FILE_POOL_BITS - 1, 0),
		.frame = value >> HMM_SWP_FILE_FRAME_SHIFT,
	};
}

#endif /* _HMM_SWP_FILE_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory: what offsets in it stand for, and how often engines use it.
 *
 * It owns nothing: the memory and the counters are the chip's.  Engines reach it under
 * their own locks and copy engines under theirs, all at once, as they would share
 * memory through its controller; who may use which page when is the driver's to see to.
 *
 * The principle: there is nothing to be had by mistake.  An offset outside, and any
 * offset of a device that is lost, is a bus error; and a page that nobody has written
 * to holds noise, never zeroes that happen to be what the driver hoped for.
 */
#include "units.h"

/* Odd, so that no multiple of it by an odd number is 0. */
#define DGPU_MEMORY_NOISE	0xd6e8feb86659fd93ull

/**
 * dgpu_memory_init - make device memory of a piece of memory
 * @memory: the unit
 * @base: its bytes, @size of them
 * @counts: its counters, one for each 2 MiB; zero
 * @size: a multiple of 2 MiB
 */
void dgpu_memory_init(struct dgpu_memory *memory, void *base, atomic64_t *counts, u64 size)
{
	memory->base = base;
	memory->counts = counts;
	memory->size = size;
	memory->lost = false;
}

/**
 * dgpu_memory_page - look at one page of device memory
 * @memory: the unit
 * @offset: of the page
 *
 * Return: the page; NULL if there is none: bus error.
 */
void *dgpu_memory_page(const struct dgpu_memory *memory, u64 offset)
{
	if (offset >= memory->size || (offset & (DGPU_PAGE_SIZE - 1)))
		return NULL;
	return READ_ONCE(memory->lost) ? NULL : memory->base + offset;
}

/**
 * dgpu_memory_touch - count an access of an engine
 * @memory: the unit
 * @offset: of a page that dgpu_memory_page() has found
 */
void dgpu_memory_touch(struct dgpu_memory *memory, u64 offset)
{
	atomic64_inc(&memory->counts[offset >> DGPU_HUGE_SHIFT]);
}

/**
 * dgpu_memory_count - how often have engines used these 2 MiB?
 * @memory: the unit
 * @offset: any byte of them
 *
 * Return: the number of accesses; 0 beyond the end.
 */
u64 dgpu_memory_count(const struct dgpu_memory *memory, u64 offset)
{
	if (offset >= memory->size)
		return 0;
	return atomic64_read(&memory->counts[offset >> DGPU_HUGE_SHIFT]);
}

/**
 * dgpu_memory_noise - fill a page with what nobody has meant
 * @page: the page
 * @seed: the same noise for the same number
 *
 * No word of it is 0.
 */
void dgpu_memory_noise(void *page, u64 seed)
{
	memset64(page, (2 * seed + 1) * DGPU_MEMORY_NOISE, DGPU_PAGE_SIZE / sizeof(u64));
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Fault buffer: a bounded ring of the faults that the driver has not read yet.
 *
 * It owns its entries and is guarded by the chip's fault lock.  Engines write at the
 * tail, the driver reads at the head.  It never overwrites: a full buffer refuses, and
 * the engine keeps the thread parked and tries again when there is room.
 *
 * The principle: an entry that is in the buffer belongs to a thread that waits for its
 * answer.  When a thread ends, its entry is purged, and the others keep their order.
 */
#include "units.h"

/**
 * dgpu_fault_buffer_init - make an empty fault buffer
 * @fb: the buffer
 * @entries: memory for its entries
 * @size: number of entries, a power of two
 */
void dgpu_fault_buffer_init(struct dgpu_fault_buffer *fb, struct dgpu_hw_fault *entries,
			    u32 size)
{
	fb->entries = entries;
	fb->size = size;
	fb->head = 0;
	fb->tail = 0;
}

static struct dgpu_hw_fault *dgpu_fault_buffer_slot(const struct dgpu_fault_buffer *fb, u32 pos)
{
	return &fb->entries[pos & (fb->size - 1)];
}

/**
 * dgpu_fault_buffer_used - how full is it?
 * @fb: the buffer
 *
 * Return: number of entries that wait to be read.
 */
u32 dgpu_fault_buffer_used(const struct dgpu_fault_buffer *fb)
{
	return fb->tail - fb->head;
}

/**
 * dgpu_fault_buffer_push - write an entry
 * @fb: the buffer
 * @fault: the entry
 *
 * Return: false if there is no room; nothing has changed then.
 */
bool dgpu_fault_buffer_push(struct dgpu_fault_buffer *fb, const struct dgpu_hw_fault *fault)
{
	if (dgpu_fault_buffer_used(fb) == fb->size)
		return false;
	*dgpu_fault_buffer_slot(fb, fb->tail++) = *fault;
	return true;
}

/**
 * dgpu_fault_buffer_pop - read entries, oldest first
 * @fb: the buffer
 * @faults: where they go
 * @max: room there
 *
 * Return: number of entries read, 0 if there is none.
 */
unsigned int dgpu_fault_buffer_pop(struct dgpu_fault_buffer *fb,
				   struct dgpu_hw_fault *faults, unsigned int max)
{
	unsigned int n;

	for (n = 0; n < max && fb->head != fb->tail; n++)
		faults[n] = *dgpu_fault_buffer_slot(fb, fb->head++);
	return n;
}

/**
 * dgpu_fault_buffer_purge - take out entries that nobody waits for any more
 * @fb: the buffer
 * @stale: says of an entry whether it has to go
 * @data: second argument for @stale
 *
 * Return: number of entries taken out.
 */
unsigned int dgpu_fault_buffer_purge(struct dgpu_fault_buffer *fb,
				     bool (*stale)(const struct dgpu_hw_fault *fault,
						   void *data),
				     void *data)
{
	u32 from, to = fb->head;
	unsigned int n;

	for (from = fb->head; from != fb->tail; from++) {
		const struct dgpu_hw_fault *fault = dgpu_fault_buffer_slot(fb, from);

		if (stale(fault, data))
			continue;
		if (from != to)
			*dgpu_fault_buffer_slot(fb, to) = *fault;
		to++;
	}
	n = fb->tail - to;
	fb->tail = to;
	return n;
}

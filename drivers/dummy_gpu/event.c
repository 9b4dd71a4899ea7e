// SPDX-License-Identifier: GPL-2.0
/*
 * Records of invalidations, for read().
 *
 * Each file that asked for it has a ring of the last N records of its address space.
 * Records are written in notifier callbacks, so nothing is allocated there and nothing
 * waited for: a full ring forgets its oldest record, and the reader sees a gap in the
 * numbers.
 *
 * The principle: a reader can be slow, or fault on its buffer, without anybody noticing.
 * It copies records out under the lock, hands them on without it, and counts them as
 * read afterwards.
 *
 * Locks: dgpu_vm.file_lock for the rings; dgpu_ring.lock, a mutex, is outside of it and
 * keeps readers and changes of the size apart.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "dgpu_private.h"

/* Records that are copied at once, on the stack. */
#define DGPU_EVENT_CHUNK	8

static struct dgpu_event *dgpu_event_slot(struct dgpu_ring *ring, u64 seq)
{
	return &ring->records[seq & (ring->size - 1)];
}

static void dgpu_event_append(struct dgpu_ring *ring, const struct dgpu_event *record)
{
	struct dgpu_event *slot = dgpu_event_slot(ring, ring->head);

	*slot = *record;
	slot->seq = ring->head++;
	if (ring->head - ring->tail > ring->size)
		ring->tail = ring->head - ring->size;
	wake_up_all(&ring->wait);
}

/**
 * dgpu_event_record - an invalidation has been carried out
 * @vm: address space
 * @event: the invalidation
 * @taken: what it took away
 *
 * Context: notifier callback; does not sleep, does not allocate.
 */
void dgpu_event_record(struct dgpu_vm *vm, const struct hmm_event *event,
		       const struct dgpu_pt_taken *taken)
{
	const struct dgpu_event record = {
		.start = event->start,
		.end = event->end,
		.reasons = event->reasons,
		.type = event->type,
		.action = event->action,
		.flags = event->flags,
		.pages = taken->pages,
		.dirty = taken->dirty,
	};
	unsigned long reasons = event->reasons;
	struct dgpu_file *file;
	unsigned int i;

	for_each_set_bit(i, &reasons, HMM_REASON_NR)
		atomic64_inc(&vm->reasons[i]);
	spin_lock(&vm->file_lock);
	/* The mirror outlives the device for a while; who reads has been told of the end. */
	if (!READ_ONCE(vm->dev->gone))
		list_for_each_entry(file, &vm->file_list, node)
			if (file->ring.records)
				dgpu_event_append(&file->ring, &record);
	spin_unlock(&vm->file_lock);
}

/**
 * dgpu_event_resize - keep another number of records; forget those there are
 * @file: file
 * @capacity: power of two up to DGPU_MAX_EVENTS, or 0: keep none
 *
 * Numbers go on where they were.
 *
 * Context: may sleep.
 * Return: 0, -EINVAL or -ENOMEM.
 */
int dgpu_event_resize(struct dgpu_file *file, u32 capacity)
{
	struct dgpu_ring *ring = &file->ring;
	struct dgpu_event *records = NULL;

	if (capacity > DGPU_MAX_EVENTS || (capacity && !is_power_of_2(capacity)))
		return -EINVAL;
	if (capacity) {
		records = kvcalloc(capacity, sizeof(*records), GFP_KERNEL_ACCOUNT);
		if (!records)
			return -ENOMEM;
	}

	mutex_lock(&ring->lock);
	spin_lock(&file->vm->file_lock);
	swap(ring->records, records);
	ring->size = capacity;
	ring->tail = ring->head;
	/* A reader may be waiting for what does not come any more. */
	wake_up_all(&ring->wait);
	spin_unlock(&file->vm->file_lock);
	mutex_unlock(&ring->lock);
	kvfree(records);
	return 0;
}

/* Look at up to @max records from the oldest on; returns how many, *@seq is the first. */
static unsigned int dgpu_event_peek(struct dgpu_file *file, struct dgpu_event *records,
				    unsigned int max, u64 *seq)
{
	struct dgpu_ring *ring = &file->ring;
	unsigned int n;

	spin_lock(&file->vm->file_lock);
	*seq = ring->tail;
	for (n = 0; n < max && ring->tail + n != ring->head; n++)
		records[n] = *dgpu_event_slot(ring, ring->tail + n);
	spin_unlock(&file->vm->file_lock);
	return n;
}

/* Everything before @seq was read. */
static void dgpu_event_consume(struct dgpu_file *file, u64 seq)
{
	struct dgpu_ring *ring = &file->ring;

	spin_lock(&file->vm->file_lock);
	/* The ring may have run over meanwhile. */
	ring->tail = max(ring->tail, seq);
	spin_unlock(&file->vm->file_lock);
}

static ssize_t dgpu_event_copy(struct dgpu_file *file, char __user *buf, size_t size)
{
	struct dgpu_event chunk[DGPU_EVENT_CHUNK];
	size_t copied = 0, bytes;
	unsigned int n;
	u64 seq;

	mutex_lock(&file->ring.lock);
	while (size - copied >= sizeof(chunk[0])) {
		n = min_t(size_t, ARRAY_SIZE(chunk), (size - copied) / sizeof(chunk[0]));
		n = dgpu_event_peek(file, chunk, n, &seq);
		if (!n)
			break;
		bytes = n * sizeof(chunk[0]);
		if (copy_to_user(buf + copied, chunk, bytes)) {
			mutex_unlock(&file->ring.lock);
			return copied ? copied : -EFAULT;
		}
		dgpu_event_consume(file, seq + n);
		copied += bytes;
	}
	mutex_unlock(&file->ring.lock);
	return copied;
}

/**
 * dgpu_event_pending - are there records to be read?
 * @file: file
 *
 * Context: any that may take a spinlock.
 * Return: true if there are.
 */
bool dgpu_event_pending(struct dgpu_file *file)
{
	bool pending;

	spin_lock(&file->vm->file_lock);
	pending = file->ring.head != file->ring.tail;
	spin_unlock(&file->vm->file_lock);
	return pending;
}

/*
 * Are there no more records than there are now?  Who then takes the lock sees them all:
 *
 *   notifier callback                   reader
 *   -----------------                   ------
 *   lock; gone is not set
 *                                       gone is set: the end
 *   append; unlock
 *                                       lock; takes the record; unlock
 *   lock; gone is set: no record
 *
 * Asked after the records were taken, it would say that of a record in between, which
 * the next read() then returns behind the end.
 */
static bool dgpu_event_ended(struct dgpu_file *file)
{
	return !READ_ONCE(file->ring.records) || READ_ONCE(file->vm->dev->gone);
}

/**
 * dgpu_event_read - read(): whole records, oldest first
 * @file: file
 * @buf: where to
 * @size: room there
 * @nonblock: do not wait for the first
 *
 * Context: may sleep.
 * Return: bytes; 0 when records are off, or the device is gone and all were read;
 * -EINVAL no room for one record; -EAGAIN; -EFAULT; -ERESTARTSYS.
 */
ssize_t dgpu_event_read(struct dgpu_file *file, char __user *buf, size_t size, bool nonblock)
{
	ssize_t ret;
	bool ended;

	if (size < sizeof(struct dgpu_event))
		return -EINVAL;
	for (;;) {
		ended = dgpu_event_ended(file);
		ret = dgpu_event_copy(file, buf, size);
		if (ret || ended)
			return ret;
		if (nonblock)
			return -EAGAIN;
		ret = wait_event_interruptible(file->ring.wait,
					       dgpu_event_pending(file) ||
					       dgpu_event_ended(file));
		if (ret)
			return ret;
	}
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory for the mock device: an array, copied to and from by work items, with errors
 * and delays at will.  Coherent memory is a piece of the machine's that its kernel was told
 * to leave alone (memmap=64M$0x50000000).  What the core may not do with it is checked in
 * every call.
 *
 * A test whose device has memory begins with mock_memory_new(), or its coherent sibling,
 * which makes the device, too, and skips the test where there are no pages for it.
 */
#ifndef _MOCK_MEMORY_H
#define _MOCK_MEMORY_H

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/workqueue.h>
#include <hmm/rmem.h>
#include "mock_device.h"

enum mock_copy {
	MOCK_COPY_IN,
	MOCK_COPY_OUT,
	MOCK_COPY_CLEAR,
	MOCK_NR_COPIES
};

/* What the core did wrong, as bit numbers. */
enum mock_memory_wrong {
	MOCK_MEMORY_WRONG_NR,		/* no page, or too many */
	MOCK_MEMORY_WRONG_OFFSET,
	MOCK_MEMORY_WRONG_PAGE,		/* not locked, mapped, or missing */
	MOCK_MEMORY_WRONG_AFTER_END,	/* a call after unregistration had returned */
	MOCK_MEMORY_WRONG_NR_WRONGS
};

/* No page is bad. */
#define MOCK_MEMORY_NO_PAGE	U64_MAX

/**
 * struct mock_memory - the memory
 * @device: the device it is of
 * @ops: its operations; a test may take @accesses away before it registers
 * @data: what is in it
 * @bytes: size
 * @base: physical address of coherent memory, or 0
 * @accesses: by chunk: changes with each access of the device
 * @wq: where copies are made
 * @start_error: what operations return instead of starting, unless 0
 * @fence_error: how copies end that are to fail
 * @failures: so many batches are to fail, from now on; negative: all
 * @bad_offset: a page that no batch can be copied with
 * @delay_ms: how long a copy takes
 * @lost: it is: everything fails with -ENODEV
 * @gates: by enum mock_copy: hold a batch before it is copied
 * @calls: by enum mock_copy: batches
 * @pages: by enum mock_copy: pages
 * @flying: batches under way
 * @most_flying: the most that there were
 * @wrong: set of BIT(enum mock_memory_wrong)
 */
struct mock_memory {
	struct mock_device *device;
	struct hmm_rmem_ops ops;
	u8 *data;
	u64 bytes;
	u64 base;
	atomic64_t *accesses;
	struct workqueue_struct *wq;
	int start_error;
	int fence_error;
	atomic_t failures;
	u64 bad_offset;
	unsigned int delay_ms;
	bool lost;
	struct mock_gate gates[MOCK_NR_COPIES];
	atomic_t calls[MOCK_NR_COPIES];
	atomic_t pages[MOCK_NR_COPIES];
	atomic_t flying;
	int most_flying;
	unsigned long wrong;
};

struct mock_memory *mock_memory_alloc(struct kunit *test, struct mock_log *log,
				      unsigned int chunks);
struct mock_memory *mock_memory_new(struct kunit *test, struct mock_log *log,
				    unsigned int chunks);
struct mock_memory *mock_memory_alloc_coherent(struct kunit *test, unsigned int at,
					       unsigned int chunks);
struct mock_memory *mock_memory_new_coherent(struct kunit *test, unsigned int at,
					     unsigned int chunks);
struct mock_memory *mock_memory_new_plain(struct kunit *test, unsigned int chunks);
void mock_memory_register(struct mock_memory *memory);
void mock_memory_fail(struct mock_memory *memory, int error, int times);
void *mock_memory_at(struct mock_memory *memory, const struct page *page);
void mock_memory_touch(struct mock_memory *memory, u64 offset);
u64 mock_memory_stat(struct mock_memory *memory, enum hmm_rmem_stat stat);
void mock_memory_check_accounts(struct kunit *test, struct mock_memory *memory);

void mock_memory_arm(struct mock_memory *memory, enum mock_copy copy);
bool mock_memory_wait(struct mock_memory *memory, enum mock_copy copy);
void mock_memory_open(struct mock_memory *memory, enum mock_copy copy);

#endif /* _MOCK_MEMORY_H */

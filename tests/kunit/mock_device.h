/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device for tests: its page table is an xarray, every call of the core is recorded
 * and checked against the contract in include/hmm/device.h, and a test can make calls
 * fail or hold one of them in the middle.
 */
#ifndef _MOCK_DEVICE_H
#define _MOCK_DEVICE_H

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>
#include <hmm/mirror.h>

/* Waits for things that must happen are given up after this. */
#define MOCK_PATIENCE		(20 * HZ)

/* Where tests map memory: the start of a block, whatever size blocks have. */
#define MOCK_BASE		0x100000000UL

struct mock_memory;

enum mock_op {
	MOCK_PREPARE,
	MOCK_MAP,
	MOCK_UPDATE,
	MOCK_WAIT,
	MOCK_STOP,
	MOCK_PEEK,
	MOCK_NR_OPS
};

/* What the core did wrong, as bit numbers. */
enum mock_wrong {
	MOCK_WRONG_AFTER_END,	/* a call after unregistration had returned */
	MOCK_WRONG_STOP_TWICE,
	MOCK_WRONG_RANGE,	/* empty, unaligned, or not in one block */
	MOCK_WRONG_UNLOCKED,	/* the block's lock is not held */
	MOCK_WRONG_OVERLAP,	/* two calls that the block's lock should serialise */
	MOCK_WRONG_ENTRY,	/* an entry to map that makes no sense */
	MOCK_WRONG_EVENT,	/* an event that makes no sense */
	MOCK_WRONG_TOKEN,	/* waits for what was never started */
};

/**
 * struct mock_call - a recorded call
 * @op: operation
 * @device: on which device
 * @start: first byte of its range, 0 for MOCK_STOP
 * @end: first byte after the range
 * @shift: of a MOCK_MAP
 * @event: of a MOCK_UPDATE or MOCK_WAIT
 */
struct mock_call {
	enum mock_op op;
	struct mock_device *device;
	unsigned long start;
	unsigned long end;
	unsigned int shift;
	struct hmm_event event;
};

#define MOCK_LOG_SIZE	512

/**
 * struct mock_log - calls in the order in which they began
 * @lock: guards the rest
 * @nr: calls made, of which the first MOCK_LOG_SIZE are recorded
 * @calls: the calls
 */
struct mock_log {
	spinlock_t lock;	/* calls come from reclaim, too */
	unsigned int nr;
	struct mock_call calls[MOCK_LOG_SIZE];
};

/**
 * struct mock_gate - holds a call in the middle
 * @armed: the next call is to be held
 * @entered: a call is being held
 * @open: let it go on
 */
struct mock_gate {
	atomic_t armed;
	struct completion entered;
	struct completion open;
};

/**
 * struct mock_device - the device
 * @hmm: what the core knows of it
 * @test: test it belongs to
 * @log: where its calls are recorded, maybe with those of others
 * @calls: number of calls by operation
 * @gates: by operation
 * @prepare_error: what @prepare is to return
 * @map_error: what @map is to return
 * @map_again: so many calls of @map return -EAGAIN before they work; negative: all
 * @tokens: @update starts the work and @update_wait ends it
 * @stuck: @update_wait of an event that is not blockable returns false.  What it has
 *	been told to drop is out of the sight of @peek, and still in use.
 * @hook: called at the begin of @prepare
 * @hook_data: for it
 * @wrong: set of BIT(enum mock_wrong)
 * @registered: with the core
 * @memory: its memory, or NULL
 */
struct mock_device {
	struct hmm_device hmm;
	struct kunit *test;
	struct mock_log *log;
	atomic_t calls[MOCK_NR_OPS];
	struct mock_gate gates[MOCK_NR_OPS];
	int prepare_error;
	int map_error;
	atomic_t map_again;
	bool tokens;
	bool stuck;
	void (*hook)(void *data);
	void *hook_data;
	unsigned long wrong;
	bool registered;
	struct mock_memory *memory;
};

#define MOCK_BUSY	64

/**
 * struct mock_mirror - an address space on the device
 * @hmm: what the core knows of it
 * @device: the device
 * @pages: the device's page table, small entries by page number; a reserved slot is
 *	a prepared one
 * @busy: calls running, by block number modulo MOCK_BUSY
 * @tokens: handed out and not yet waited for
 * @next_token: the one to hand out next
 * @stops: calls of @stop
 * @ended: unregistration has returned; no call may come any more
 * @freed: bytes that updates with HMM_ACTION_FREE took away
 */
struct mock_mirror {
	struct hmm_mirror hmm;
	struct mock_device *device;
	struct xarray pages;
	atomic_t busy[MOCK_BUSY];
	atomic_t tokens;
	atomic64_t next_token;
	atomic_t stops;
	bool ended;
	atomic64_t freed;
};

struct mock_log *mock_log_new(struct kunit *test);
struct mock_device *mock_device_alloc(struct kunit *test, struct mock_log *log);
void mock_device_set_peek(struct mock_device *device);
struct mock_device *mock_device_new(struct kunit *test, struct mock_log *log);
void mock_device_register(struct mock_device *device);
void mock_device_unregister(struct mock_device *device);
void mock_device_check(struct mock_device *device);

struct mock_mirror *mock_mirror_alloc(struct kunit *test, struct mock_device *device);
struct mock_mirror *mock_mirror_new(struct kunit *test, struct mock_device *device,
				    struct mm_struct *mm);
int mock_mirror_register(struct mock_mirror *mirror, struct mm_struct *mm);
void mock_mirror_unregister(struct mock_mirror *mirror);
unsigned long mock_mirror_block_size(const struct mock_mirror *mirror);
unsigned long mock_mirror_block(const struct mock_mirror *mirror, unsigned int n);
unsigned int mock_mirror_nr_blocks(struct mock_mirror *mirror);
bool mock_mirror_has_block(struct mock_mirror *mirror, unsigned long addr);

/* The device's page table, and accesses as the device makes them. */
unsigned long mock_mirror_nr_pages(struct mock_mirror *mirror);
bool mock_mirror_is_mapped(struct mock_mirror *mirror, unsigned long addr);
bool mock_mirror_is_writable(struct mock_mirror *mirror, unsigned long addr);
bool mock_mirror_is_atomic(struct mock_mirror *mirror, unsigned long addr);
bool mock_mirror_is_huge(struct mock_mirror *mirror, unsigned long addr);
unsigned long mock_mirror_pfn(struct mock_mirror *mirror, unsigned long addr);
int mock_mirror_load(struct mock_mirror *mirror, unsigned long addr, u64 *value);
int mock_mirror_store(struct mock_mirror *mirror, unsigned long addr, u64 value);
int mock_mirror_fault(struct mock_mirror *mirror, unsigned long addr, u32 access);

void mock_gate_arm(struct mock_device *device, enum mock_op op);
bool mock_gate_wait(struct mock_device *device, enum mock_op op);
void mock_gate_open(struct mock_device *device, enum mock_op op);

#endif /* _MOCK_DEVICE_H */

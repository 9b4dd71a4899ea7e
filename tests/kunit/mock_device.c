// SPDX-License-Identifier: GPL-2.0
/*
 * The mock device.  It owns its page table (an xarray for each mirror), a record of
 * the calls made, and the list of what was wrong with them.
 *
 * Strict on purpose: with @tokens, translations stay usable until update_wait() has
 * been called, as those of a device with a TLB do, so a core that forgets to wait is
 * caught by whoever looks at the page table after munmap().
 *
 * Locks: the xarray's lock is held over an access of the device, so taking a
 * translation away waits for the accesses that use it.  Nothing else is taken inside.
 * What is checked in a call is only noted there, and reported to KUnit when the device
 * is taken down, for a call may run in reclaim.
 */
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include "../../hmm/hmm_private.h"
#include "mock_device.h"
#include "mock_memory.h"

/* An entry of the page table: these, and the pfn above them. */
#define MOCK_ENTRY_WRITE	BIT(0)
#define MOCK_ENTRY_HUGE		BIT(1)
#define MOCK_ENTRY_DIRTY	BIT(2)
#define MOCK_ENTRY_ATOMIC	BIT(3)
#define MOCK_ENTRY_SHIFT	4

static const char * const mock_wrong_names[] = {
	[MOCK_WRONG_AFTER_END]	= "an operation was called after unregistration",
	[MOCK_WRONG_STOP_TWICE]	= "stop was called more than once",
	[MOCK_WRONG_RANGE]	= "a range is empty, unaligned, or not in one block",
	[MOCK_WRONG_UNLOCKED]	= "the update lock is not held",
	[MOCK_WRONG_OVERLAP]	= "two operations on one block ran at once",
	[MOCK_WRONG_ENTRY]	= "an entry to map is not valid",
	[MOCK_WRONG_EVENT]	= "an event is not valid",
	[MOCK_WRONG_TOKEN]	= "a token that was not handed out",
};

static struct mock_mirror *to_mock_mirror(struct hmm_mirror *mirror)
{
	return container_of(mirror, struct mock_mirror, hmm);
}

static void mock_wrong(struct mock_device *device, enum mock_wrong what)
{
	set_bit(what, &device->wrong);
}

static void mock_record(struct mock_device *device, enum mock_op op, unsigned long start,
			unsigned long end, unsigned int shift,
			const struct hmm_event *event)
{
	struct mock_log *log = device->log;
	struct mock_call *call;
	unsigned long flags;

	atomic_inc(&device->calls[op]);
	spin_lock_irqsave(&log->lock, flags);
	if (log->nr < MOCK_LOG_SIZE) {
		call = &log->calls[log->nr];
		call->op = op;
		call->device = device;
		call->start = start;
		call->end = end;
		call->shift = shift;
		if (event)
			call->event = *event;
	}
	log->nr++;
	spin_unlock_irqrestore(&log->lock, flags);
}

static void mock_gate_pass(struct mock_device *device, enum mock_op op)
{
	struct mock_gate *gate = &device->gates[op];

	if (!atomic_xchg(&gate->armed, 0))
		return;
	complete(&gate->entered);
	wait_for_completion_timeout(&gate->open, MOCK_PATIENCE);
}

/* What is true of every call. */
static struct mock_device *mock_enter(struct hmm_mirror *hmm, enum mock_op op,
				      unsigned long start, unsigned long end,
				      unsigned int shift, const struct hmm_event *event)
{
	struct mock_mirror *mirror = to_mock_mirror(hmm);
	struct mock_device *device = mirror->device;

	mock_record(device, op, start, end, shift, event);
	if (READ_ONCE(mirror->ended) || !READ_ONCE(device->registered))
		mock_wrong(device, MOCK_WRONG_AFTER_END);
	if (op != MOCK_STOP && (start >= end || !PAGE_ALIGNED(start) || !PAGE_ALIGNED(end)))
		mock_wrong(device, MOCK_WRONG_RANGE);
	return device;
}

static atomic_t *mock_busy(struct hmm_mirror *hmm, unsigned long start)
{
	return &to_mock_mirror(hmm)->busy[(start >> hmm->hmm->block_shift) % MOCK_BUSY];
}

/* What is true of a call under the update lock. */
static struct mock_device *mock_enter_locked(struct hmm_mirror *hmm, enum mock_op op,
					     unsigned long start, unsigned long end,
					     unsigned int shift,
					     const struct hmm_event *event)
{
	struct mock_device *device = mock_enter(hmm, op, start, end, shift, event);
	unsigned long index = start >> hmm->hmm->block_shift;
	struct hmm_block *block = xa_load(&hmm->hmm->blocks, index);

	if (index != (end - 1) >> hmm->hmm->block_shift)
		mock_wrong(device, MOCK_WRONG_RANGE);
	if (!block || !mutex_is_locked(&block->lock))
		mock_wrong(device, MOCK_WRONG_UNLOCKED);
	if (atomic_inc_return(mock_busy(hmm, start)) != 1)
		mock_wrong(device, MOCK_WRONG_OVERLAP);
	return device;
}

static void mock_leave_locked(struct hmm_mirror *hmm, unsigned long start)
{
	atomic_dec(mock_busy(hmm, start));
}

static int mock_prepare(struct hmm_mirror *hmm, unsigned long start, unsigned long end)
{
	struct mock_device *device = mock_enter(hmm, MOCK_PREPARE, start, end, 0, NULL);
	unsigned long i;
	int ret;

	might_sleep();
	if (device->hook)
		device->hook(device->hook_data);
	mock_gate_pass(device, MOCK_PREPARE);
	if (device->prepare_error)
		return device->prepare_error;
	/* With GFP_KERNEL: lockdep says so if a lock is held that reclaim takes. */
	for (i = start >> PAGE_SHIFT; i < end >> PAGE_SHIFT; i++) {
		ret = xa_reserve(&to_mock_mirror(hmm)->pages, i, GFP_KERNEL);
		if (ret)
			return ret;
	}
	return 0;
}

/* Write one small entry.  Without memory for it the core has to prepare again. */
static int mock_map_page(struct mock_mirror *mirror, unsigned long index,
			 unsigned long entry)
{
	void *old;

	xa_lock(&mirror->pages);
	old = xa_load(&mirror->pages, index);
	if (old && xa_to_value(old) & MOCK_ENTRY_DIRTY)
		hmm_mirror_dirty_page(&mirror->hmm,
				      pfn_to_page(xa_to_value(old) >> MOCK_ENTRY_SHIFT));
	old = __xa_store(&mirror->pages, index, xa_mk_value(entry),
			 GFP_NOWAIT | __GFP_NOWARN);
	xa_unlock(&mirror->pages);
	return xa_is_err(old) ? -EAGAIN : 0;
}

static bool mock_map_valid(const struct mock_device *device, const struct hmm_map *map,
			   unsigned long i)
{
	unsigned long pfn = map->pfns[i] & ~HMM_PFN_FLAGS;

	if (map->shift != PAGE_SHIFT && map->shift != PMD_SHIFT)
		return false;
	if (map->shift == PMD_SHIFT && !device->hmm.caps.huge)
		return false;
	if (map->pfns[i] & HMM_PFN_ERROR ||
	    (!pfn_valid(pfn) && !hmm_rmem_owns(&device->hmm, pfn_to_page(pfn))))
		return false;
	return IS_ALIGNED(pfn, 1UL << (map->shift - PAGE_SHIFT));
}

static int mock_map_all(struct mock_mirror *mirror, const struct hmm_map *map)
{
	unsigned long per = 1UL << (map->shift - PAGE_SHIFT);
	unsigned long i, j, entry;
	int ret;

	for (i = 0; i < map->nr; i++) {
		if (!(map->pfns[i] & HMM_PFN_VALID))
			continue;
		if (!mock_map_valid(mirror->device, map, i)) {
			mock_wrong(mirror->device, MOCK_WRONG_ENTRY);
			continue;
		}
		for (j = 0; j < per; j++) {
			entry = ((map->pfns[i] & ~HMM_PFN_FLAGS) + j) << MOCK_ENTRY_SHIFT;
			if (map->pfns[i] & HMM_PFN_WRITE)
				entry |= MOCK_ENTRY_WRITE;
			if (map->pfns[i] & HMM_PFN_WRITE && !map->no_atomics)
				entry |= MOCK_ENTRY_ATOMIC;
			if (per > 1)
				entry |= MOCK_ENTRY_HUGE;
			ret = mock_map_page(mirror, (map->start >> PAGE_SHIFT) + i * per + j,
					    entry);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static int mock_map(struct hmm_mirror *hmm, const struct hmm_map *map)
{
	unsigned long end = map->start + (map->nr << map->shift);
	struct mock_device *device;
	int ret;

	device = mock_enter_locked(hmm, MOCK_MAP, map->start, end, map->shift, NULL);
	if (!IS_ALIGNED(map->start, 1UL << map->shift) ||
	    (map->shift == PMD_SHIFT && map->nr != 1))
		mock_wrong(device, MOCK_WRONG_RANGE);
	mock_gate_pass(device, MOCK_MAP);
	if (device->map_error)
		ret = device->map_error;
	else if (atomic_read(&device->map_again) < 0 ||
		 atomic_dec_if_positive(&device->map_again) >= 0)
		ret = -EAGAIN;
	else
		ret = mock_map_all(to_mock_mirror(hmm), map);
	mock_leave_locked(hmm, map->start);
	return ret;
}

/* Do what an event asks for. */
static void mock_apply(struct mock_mirror *mirror, const struct hmm_event *event)
{
	XA_STATE(xas, &mirror->pages, event->start >> PAGE_SHIFT);
	unsigned long value;
	void *entry;

	xas_lock(&xas);
	xas_for_each(&xas, entry, (event->end - 1) >> PAGE_SHIFT) {
		value = xa_is_value(entry) ? xa_to_value(entry) : 0;
		if (value & MOCK_ENTRY_DIRTY)
			hmm_mirror_dirty_page(&mirror->hmm,
					      pfn_to_page(value >> MOCK_ENTRY_SHIFT));
		if (event->action == HMM_ACTION_FREE)
			xas_store(&xas, NULL);
		else if (event->action == HMM_ACTION_DROP)
			xas_store(&xas, XA_ZERO_ENTRY);
		else if (event->action == HMM_ACTION_WRPROTECT && value)
			xas_store(&xas, xa_mk_value(value & ~(MOCK_ENTRY_DIRTY |
							      MOCK_ENTRY_WRITE |
							      MOCK_ENTRY_ATOMIC)));
	}
	xas_unlock(&xas);
	if (event->action == HMM_ACTION_FREE)
		atomic64_add(event->end - event->start, &mirror->freed);
}

static u64 mock_update(struct hmm_mirror *hmm, const struct hmm_event *event)
{
	struct mock_mirror *mirror = to_mock_mirror(hmm);
	struct mock_device *device;
	u64 token = 0;

	device = mock_enter_locked(hmm, MOCK_UPDATE, event->start, event->end, 0, event);
	if (event->action <= HMM_ACTION_NONE || event->action >= HMM_ACTION_NR ||
	    event->type >= HMM_EVENT_NR || !event->reasons ||
	    event->reasons >= BIT(HMM_REASON_NR))
		mock_wrong(device, MOCK_WRONG_EVENT);
	if (event->flags & HMM_EVENT_BLOCKABLE)
		mock_gate_pass(device, MOCK_UPDATE);
	if (device->tokens) {
		atomic_inc(&mirror->tokens);
		token = atomic64_inc_return(&mirror->next_token);
	} else {
		mock_apply(mirror, event);
	}
	mock_leave_locked(hmm, event->start);
	return token;
}

static bool mock_update_wait(struct hmm_mirror *hmm, const struct hmm_event *event,
			     u64 token)
{
	struct mock_mirror *mirror = to_mock_mirror(hmm);
	struct mock_device *device;
	bool done = true;

	device = mock_enter_locked(hmm, MOCK_WAIT, event->start, event->end, 0, event);
	if (!token || token > atomic64_read(&mirror->next_token) ||
	    atomic_dec_return(&mirror->tokens) < 0)
		mock_wrong(device, MOCK_WRONG_TOKEN);
	if (event->flags & HMM_EVENT_BLOCKABLE)
		mock_gate_pass(device, MOCK_WAIT);
	else if (device->stuck)
		done = false;
	if (done)
		mock_apply(mirror, event);
	mock_leave_locked(hmm, event->start);
	return done;
}

static struct page *mock_peek(struct hmm_mirror *hmm, unsigned long start,
			      unsigned long end)
{
	struct mock_mirror *mirror = to_mock_mirror(hmm);
	unsigned long index = start >> PAGE_SHIFT;
	struct mock_device *device;
	void *entry = NULL;

	device = mock_enter_locked(hmm, MOCK_PEEK, start, end, 0, NULL);
	if (!device->stuck)
		entry = xa_find(&mirror->pages, &index, (end - 1) >> PAGE_SHIFT, XA_PRESENT);
	mock_leave_locked(hmm, start);
	return entry ? pfn_to_page(xa_to_value(entry) >> MOCK_ENTRY_SHIFT) : NULL;
}

static void mock_stop(struct hmm_mirror *hmm)
{
	struct mock_mirror *mirror = to_mock_mirror(hmm);
	struct mock_device *device = mock_enter(hmm, MOCK_STOP, 0, 0, 0, NULL);

	might_sleep();
	if (atomic_inc_return(&mirror->stops) != 1)
		mock_wrong(device, MOCK_WRONG_STOP_TWICE);
	mock_gate_pass(device, MOCK_STOP);
}

static const struct hmm_device_ops mock_ops = {
	.prepare = mock_prepare,
	.map = mock_map,
	.update = mock_update,
	.update_wait = mock_update_wait,
	.stop = mock_stop,
};

static const struct hmm_device_ops mock_peek_ops = {
	.prepare = mock_prepare,
	.map = mock_map,
	.update = mock_update,
	.update_wait = mock_update_wait,
	.peek = mock_peek,
	.stop = mock_stop,
};

/**
 * mock_gate_arm - hold the next call of an operation
 * @device: the device
 * @op: the operation; an event that is not blockable passes
 */
void mock_gate_arm(struct mock_device *device, enum mock_op op)
{
	struct mock_gate *gate = &device->gates[op];

	reinit_completion(&gate->entered);
	reinit_completion(&gate->open);
	atomic_set(&gate->armed, 1);
}

/**
 * mock_gate_wait - wait until a call is being held
 * @device: the device
 * @op: the operation, armed
 *
 * Return: false if none came in good time.
 */
bool mock_gate_wait(struct mock_device *device, enum mock_op op)
{
	return wait_for_completion_timeout(&device->gates[op].entered, MOCK_PATIENCE);
}

/**
 * mock_gate_open - let the held call go on; hold none any more
 * @device: the device
 * @op: the operation
 */
void mock_gate_open(struct mock_device *device, enum mock_op op)
{
	atomic_set(&device->gates[op].armed, 0);
	complete_all(&device->gates[op].open);
}

/**
 * mock_log_new - make a record of calls
 * @test: test that owns it
 *
 * Return: it; the test ends if there is no memory.
 */
struct mock_log *mock_log_new(struct kunit *test)
{
	struct mock_log *log = kunit_kzalloc(test, sizeof(*log), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, log);
	spin_lock_init(&log->lock);
	return log;
}

static void mock_device_end(void *data)
{
	struct mock_device *device = data;
	int op;

	for (op = 0; op < MOCK_NR_OPS; op++)
		mock_gate_open(device, op);
	mock_device_unregister(device);
	mock_device_check(device);
}

/**
 * mock_device_alloc - make a device, do not register it
 * @test: test that owns it; at its end the device is unregistered and checked
 * @log: where to record its calls, or NULL for one of its own
 *
 * Return: it; the test ends if there is no memory.
 */
struct mock_device *mock_device_alloc(struct kunit *test, struct mock_log *log)
{
	struct mock_device *device;
	int op;

	if (!log)
		log = mock_log_new(test);
	device = kunit_kzalloc(test, sizeof(*device), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, device);
	device->test = test;
	device->log = log;
	for (op = 0; op < MOCK_NR_OPS; op++) {
		init_completion(&device->gates[op].entered);
		init_completion(&device->gates[op].open);
	}
	device->hmm.name = "mock";
	device->hmm.ops = &mock_ops;
	device->hmm.caps.va_bits = 48;
	device->hmm.caps.huge = true;
	device->hmm.caps.fault_around = PAGE_SIZE;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, mock_device_end, device));
	return device;
}

/**
 * mock_device_set_peek - make a device one that can say which page it maps
 * @device: a device that is not registered
 */
void mock_device_set_peek(struct mock_device *device)
{
	device->hmm.ops = &mock_peek_ops;
}

/**
 * mock_device_new - make a device and register it
 * @test: as mock_device_alloc()
 * @log: as mock_device_alloc()
 *
 * Return: it; the test ends if that fails.
 */
struct mock_device *mock_device_new(struct kunit *test, struct mock_log *log)
{
	struct mock_device *device = mock_device_alloc(test, log);

	mock_device_register(device);
	return device;
}

/**
 * mock_device_register - register a device
 * @device: the device; the test ends if that fails
 */
void mock_device_register(struct mock_device *device)
{
	int ret;

	/* From here on it may be called. */
	device->registered = true;
	ret = hmm_device_register(&device->hmm);
	if (ret)
		device->registered = false;
	KUNIT_ASSERT_EQ(device->test, 0, ret);
}

/**
 * mock_device_unregister - unregister a device, unless that is done
 * @device: the device
 */
void mock_device_unregister(struct mock_device *device)
{
	if (!device->registered)
		return;
	hmm_device_unregister(&device->hmm);
	WRITE_ONCE(device->registered, false);
}

/**
 * mock_device_check - tell the test what was wrong
 * @device: the device
 */
void mock_device_check(struct mock_device *device)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(mock_wrong_names); i++)
		if (test_bit(i, &device->wrong))
			KUNIT_FAIL(device->test, "contract broken: %s\n",
				   mock_wrong_names[i]);
	device->wrong = 0;
}

static void mock_mirror_end(void *data)
{
	struct mock_mirror *mirror = data;

	mock_mirror_unregister(mirror);
	xa_destroy(&mirror->pages);
}

/**
 * mock_mirror_alloc - make a mirror, do not register it
 * @test: test that owns it; at its end the mirror is unregistered
 * @device: its device, of the same test
 *
 * Return: it; the test ends if there is no memory.
 */
struct mock_mirror *mock_mirror_alloc(struct kunit *test, struct mock_device *device)
{
	struct mock_mirror *mirror = kunit_kzalloc(test, sizeof(*mirror), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, mirror);
	mirror->device = device;
	xa_init(&mirror->pages);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, mock_mirror_end, mirror));
	return mirror;
}

/**
 * mock_mirror_new - make a mirror and register it
 * @test: as mock_mirror_alloc()
 * @device: as mock_mirror_alloc()
 * @mm: address space
 *
 * Return: it; the test ends if that fails.
 */
struct mock_mirror *mock_mirror_new(struct kunit *test, struct mock_device *device,
				    struct mm_struct *mm)
{
	struct mock_mirror *mirror = mock_mirror_alloc(test, device);

	KUNIT_ASSERT_EQ(test, 0, mock_mirror_register(mirror, mm));
	return mirror;
}

/**
 * mock_mirror_register - register a mirror
 * @mirror: the mirror
 * @mm: address space
 *
 * Return: what hmm_mirror_register() says.
 */
int mock_mirror_register(struct mock_mirror *mirror, struct mm_struct *mm)
{
	return hmm_mirror_register(&mirror->hmm, &mirror->device->hmm, mm);
}

/**
 * mock_mirror_unregister - unregister a mirror and check that all is gone
 * @mirror: the mirror; one that is not registered is left alone
 */
void mock_mirror_unregister(struct mock_mirror *mirror)
{
	struct kunit *test = mirror->device->test;

	hmm_mirror_unregister(&mirror->hmm);
	if (mirror->ended || hmm_mirror_state(&mirror->hmm) == HMM_MIRROR_NEW)
		return;
	WRITE_ONCE(mirror->ended, true);
	KUNIT_EXPECT_EQ(test, HMM_MIRROR_DEAD, hmm_mirror_state(&mirror->hmm));
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&mirror->stops));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&mirror->tokens));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_nr_pages(mirror));
}

/**
 * mock_mirror_block_size - bytes of a block
 * @mirror: a registered mirror
 *
 * Return: its size.
 */
unsigned long mock_mirror_block_size(const struct mock_mirror *mirror)
{
	return 1UL << mirror->hmm.hmm->block_shift;
}

/**
 * mock_mirror_block - address of a block to test with
 * @mirror: a registered mirror
 * @n: its number
 *
 * Return: its first byte.
 */
unsigned long mock_mirror_block(const struct mock_mirror *mirror, unsigned int n)
{
	return MOCK_BASE + n * mock_mirror_block_size(mirror);
}

/**
 * mock_mirror_nr_blocks - count the blocks of the address space
 * @mirror: a registered mirror
 *
 * Return: their number.
 */
unsigned int mock_mirror_nr_blocks(struct mock_mirror *mirror)
{
	struct xarray *blocks = &mirror->hmm.hmm->blocks;
	struct hmm_block *block;
	unsigned long index;
	unsigned int nr = 0;

	xa_for_each(blocks, index, block)
		nr++;
	return nr;
}

/**
 * mock_mirror_has_block - is there a block?
 * @mirror: a registered mirror
 * @addr: an address in it
 *
 * Return: true if there is.
 */
bool mock_mirror_has_block(struct mock_mirror *mirror, unsigned long addr)
{
	struct hmm_mm *hmm = mirror->hmm.hmm;

	return xa_load(&hmm->blocks, addr >> hmm->block_shift);
}

/* 0 if there is none; a page frame 0 is never mapped. */
static unsigned long mock_mirror_entry(struct mock_mirror *mirror, unsigned long addr)
{
	void *entry = xa_load(&mirror->pages, addr >> PAGE_SHIFT);

	return entry ? xa_to_value(entry) : 0;
}

/**
 * mock_mirror_nr_pages - count the small pages that the device maps
 * @mirror: the mirror
 *
 * Return: their number.
 */
unsigned long mock_mirror_nr_pages(struct mock_mirror *mirror)
{
	unsigned long index, nr = 0;
	void *entry;

	xa_for_each(&mirror->pages, index, entry)
		nr++;
	return nr;
}

/**
 * mock_mirror_is_mapped - does the device map an address?
 * @mirror: the mirror
 * @addr: address
 *
 * Return: true if it does.
 */
bool mock_mirror_is_mapped(struct mock_mirror *mirror, unsigned long addr)
{
	return mock_mirror_entry(mirror, addr);
}

/**
 * mock_mirror_is_writable - may the device write to an address?
 * @mirror: the mirror
 * @addr: address
 *
 * Return: true if it may.
 */
bool mock_mirror_is_writable(struct mock_mirror *mirror, unsigned long addr)
{
	return mock_mirror_entry(mirror, addr) & MOCK_ENTRY_WRITE;
}

/**
 * mock_mirror_is_atomic - may the device do atomic operations at an address?
 * @mirror: the mirror
 * @addr: address
 *
 * Return: true if it may.
 */
bool mock_mirror_is_atomic(struct mock_mirror *mirror, unsigned long addr)
{
	return mock_mirror_entry(mirror, addr) & MOCK_ENTRY_ATOMIC;
}

/**
 * mock_mirror_is_huge - does the device map an address by a huge entry?
 * @mirror: the mirror
 * @addr: address
 *
 * Return: true if it does.
 */
bool mock_mirror_is_huge(struct mock_mirror *mirror, unsigned long addr)
{
	return mock_mirror_entry(mirror, addr) & MOCK_ENTRY_HUGE;
}

/**
 * mock_mirror_pfn - the page that the device maps
 * @mirror: the mirror
 * @addr: address
 *
 * Return: its number, 0 if there is none.
 */
unsigned long mock_mirror_pfn(struct mock_mirror *mirror, unsigned long addr)
{
	return mock_mirror_entry(mirror, addr) >> MOCK_ENTRY_SHIFT;
}

/* The contents of a page that the device maps, to be given to mock_unmap_local(). */
static void *mock_map_local(struct mock_device *device, struct page *page)
{
	if (!hmm_rmem_owns(&device->hmm, page))
		return kmap_local_page(page);
	mock_memory_touch(device->memory, hmm_rmem_offset(&device->hmm, page));
	return mock_memory_at(device->memory, page);
}

static void mock_unmap_local(struct mock_device *device, struct page *page, void *at)
{
	if (!hmm_rmem_owns(&device->hmm, page))
		kunmap_local(at);
}

/* An access by the device, at one page.  Under the lock: see the top. */
static int mock_mirror_access(struct mock_mirror *mirror, unsigned long addr, u64 *value,
			      bool write)
{
	XA_STATE(xas, &mirror->pages, addr >> PAGE_SHIFT);
	struct page *page;
	unsigned long entry;
	void *slot;
	u64 *at;
	int ret = 0;

	if (!IS_ALIGNED(addr, sizeof(*value)))
		return -EINVAL;
	xas_lock(&xas);
	slot = xas_load(&xas);
	entry = xa_is_value(slot) ? xa_to_value(slot) : 0;
	if (!entry) {
		ret = -EFAULT;
	} else if (write && !(entry & MOCK_ENTRY_WRITE)) {
		ret = -EACCES;
	} else {
		page = pfn_to_page(entry >> MOCK_ENTRY_SHIFT);
		at = mock_map_local(mirror->device, page);
		if (write) {
			WRITE_ONCE(at[offset_in_page(addr) / sizeof(*at)], *value);
			xas_store(&xas, xa_mk_value(entry | MOCK_ENTRY_DIRTY));
		} else {
			*value = READ_ONCE(at[offset_in_page(addr) / sizeof(*at)]);
		}
		mock_unmap_local(mirror->device, page, at);
	}
	xas_unlock(&xas);
	return ret;
}

/**
 * mock_mirror_load - the device reads memory
 * @mirror: the mirror
 * @addr: address, aligned
 * @value: what is there
 *
 * Return: 0, -EFAULT if nothing is mapped, -EINVAL.
 */
int mock_mirror_load(struct mock_mirror *mirror, unsigned long addr, u64 *value)
{
	return mock_mirror_access(mirror, addr, value, false);
}

/**
 * mock_mirror_store - the device writes to memory
 * @mirror: the mirror
 * @addr: address, aligned
 * @value: what to write
 *
 * Return: 0, -EFAULT if nothing is mapped, -EACCES if it is read-only, -EINVAL.
 */
int mock_mirror_store(struct mock_mirror *mirror, unsigned long addr, u64 value)
{
	return mock_mirror_access(mirror, addr, &value, true);
}

/**
 * mock_mirror_fault - one device fault
 * @mirror: the mirror
 * @addr: faulting address
 * @access: HMM_FAULT_READ, HMM_FAULT_WRITE or HMM_FAULT_ATOMIC
 *
 * Return: its result.
 */
int mock_mirror_fault(struct mock_mirror *mirror, unsigned long addr, u32 access)
{
	struct hmm_fault fault = { .addr = addr, .access = access, .error = 1 };
	int ret = hmm_mirror_fault(&mirror->hmm, &fault, 1);

	if (ret && ret != fault.error)
		KUNIT_FAIL(mirror->device->test, "result %d of a batch is not its fault's %d\n",
			   ret, fault.error);
	return fault.error;
}

MODULE_DESCRIPTION("KUnit tests of hmm_core, on a mock device");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("HMM");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of the mock device.  It owns the array that stands for it, the work items
 * that copy, and the list of what was wrong with the calls.
 *
 * Strict on purpose: it insists on what include/hmm/rmem.h promises to drivers, that the
 * pages of a copy are locked and nowhere mapped, before the copy and after it.
 *
 * Locks: none; a fence has one of its own.  What is checked in a call is only noted
 * there, and reported to KUnit when the device has been taken down.
 */
#include <linux/dma-fence.h>
#include <linux/highmem.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "../../hmm/hmm_private.h"
#include "mock_memory.h"

static ulong coherent_base = 0x50000000;
module_param(coherent_base, ulong, 0444);
MODULE_PARM_DESC(coherent_base, "physical address of memory that the kernel leaves alone");

static const char * const mock_memory_wrongs[] = {
	[MOCK_MEMORY_WRONG_NR]		= "a copy of no page, or of too many",
	[MOCK_MEMORY_WRONG_OFFSET]	= "an offset that is not in the memory",
	[MOCK_MEMORY_WRONG_PAGE]	= "a system page that is mapped, or not locked",
	[MOCK_MEMORY_WRONG_AFTER_END]	= "a copy after unregistration",
};

static_assert(ARRAY_SIZE(mock_memory_wrongs) == MOCK_MEMORY_WRONG_NR_WRONGS);

/**
 * struct mock_flight - a batch under way
 * @fence: its end; first, so that the kernel frees all of it
 * @lock: of the fence
 * @work: the copy
 * @memory: from or to
 * @copies: the core's
 * @nr: pages
 * @copy: which way
 */
struct mock_flight {
	struct dma_fence fence;
	spinlock_t lock;	/* as the fence needs one */
	struct delayed_work work;
	struct mock_memory *memory;
	const struct hmm_rmem_copy *copies;
	unsigned int nr;
	enum mock_copy copy;
};

static_assert(offsetof(struct mock_flight, fence) == 0);

static const char *mock_memory_fence_name(struct dma_fence *fence)
{
	return "mock";
}

static const struct dma_fence_ops mock_memory_fence_ops = {
	.get_driver_name = mock_memory_fence_name,
	.get_timeline_name = mock_memory_fence_name,
};

static void mock_memory_wrong(struct mock_memory *memory, enum mock_memory_wrong what)
{
	set_bit(what, &memory->wrong);
}

static void mock_memory_check_copy(struct mock_memory *memory, enum mock_copy way,
				   const struct hmm_rmem_copy *copy)
{
	if (!IS_ALIGNED(copy->offset, PAGE_SIZE) || copy->offset >= memory->bytes)
		mock_memory_wrong(memory, MOCK_MEMORY_WRONG_OFFSET);
	if (way == MOCK_COPY_CLEAR)
		return;
	if (!copy->system || !PageLocked(copy->system) ||
	    folio_mapped(page_folio(copy->system)))
		mock_memory_wrong(memory, MOCK_MEMORY_WRONG_PAGE);
}

static void mock_memory_copy_page(struct mock_memory *memory, enum mock_copy way,
				  const struct hmm_rmem_copy *copy)
{
	void *data = memory->data + copy->offset;

	switch (way) {
	case MOCK_COPY_IN:
		memcpy_from_page(data, copy->system, 0, PAGE_SIZE);
		break;
	case MOCK_COPY_OUT:
		memcpy_to_page(copy->system, 0, data, PAGE_SIZE);
		break;
	default:
		memset(data, 0, PAGE_SIZE);
	}
}

/* How a batch is to end that has not been copied yet. */
static int mock_memory_outcome(struct mock_memory *memory, struct mock_flight *flight)
{
	unsigned int i;

	if (READ_ONCE(memory->lost))
		return -ENODEV;
	if (atomic_read(&memory->failures) < 0 ||
	    atomic_dec_if_positive(&memory->failures) >= 0)
		return memory->fence_error;
	for (i = 0; i < flight->nr; i++)
		if (flight->copies[i].offset == memory->bad_offset)
			return -EIO;
	return 0;
}

static void mock_memory_fly(struct work_struct *work)
{
	struct mock_flight *flight = container_of(to_delayed_work(work),
						  struct mock_flight, work);
	struct mock_memory *memory = flight->memory;
	struct mock_gate *gate = &memory->gates[flight->copy];
	unsigned int i;
	int error;

	if (atomic_xchg(&gate->armed, 0)) {
		complete(&gate->entered);
		wait_for_completion_timeout(&gate->open, MOCK_PATIENCE);
	}
	error = mock_memory_outcome(memory, flight);
	for (i = 0; i < flight->nr; i++) {
		mock_memory_check_copy(memory, flight->copy, &flight->copies[i]);
		/* What a failed copy leaves behind means nothing. */
		if (!error)
			mock_memory_copy_page(memory, flight->copy, &flight->copies[i]);
		else if (flight->copy != MOCK_COPY_OUT)
			memset(memory->data + flight->copies[i].offset, 0xee, PAGE_SIZE);
		else
			memset_page(flight->copies[i].system, 0, 0xee, PAGE_SIZE);
	}
	if (error)
		dma_fence_set_error(&flight->fence, error);
	atomic_dec(&memory->flying);
	dma_fence_signal(&flight->fence);
	dma_fence_put(&flight->fence);
}

static struct mock_memory *to_mock_memory(struct hmm_device *device)
{
	return container_of(device, struct mock_device, hmm)->memory;
}

static struct dma_fence *mock_memory_start(struct hmm_device *hmm, enum mock_copy way,
					   const struct hmm_rmem_copy *copies,
					   unsigned int nr)
{
	struct mock_memory *memory = to_mock_memory(hmm);
	struct mock_flight *flight;
	unsigned int i;

	might_sleep();
	atomic_inc(&memory->calls[way]);
	atomic_add(nr, &memory->pages[way]);
	if (!READ_ONCE(memory->device->registered))
		mock_memory_wrong(memory, MOCK_MEMORY_WRONG_AFTER_END);
	if (!nr || nr > HMM_RMEM_BATCH)
		mock_memory_wrong(memory, MOCK_MEMORY_WRONG_NR);
	for (i = 0; i < nr; i++)
		mock_memory_check_copy(memory, way, &copies[i]);
	if (READ_ONCE(memory->lost))
		return ERR_PTR(-ENODEV);
	if (memory->start_error)
		return ERR_PTR(memory->start_error);

	flight = kzalloc(sizeof(*flight), GFP_KERNEL);
	if (!flight)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&flight->lock);
	dma_fence_init(&flight->fence, &mock_memory_fence_ops, &flight->lock,
		       dma_fence_context_alloc(1), 1);
	INIT_DELAYED_WORK(&flight->work, mock_memory_fly);
	flight->memory = memory;
	flight->copies = copies;
	flight->nr = nr;
	flight->copy = way;
	memory->most_flying = max(memory->most_flying,
				  atomic_inc_return(&memory->flying));
	/* One reference for the caller, one for the work. */
	dma_fence_get(&flight->fence);
	queue_delayed_work(memory->wq, &flight->work, msecs_to_jiffies(memory->delay_ms));
	return &flight->fence;
}

static struct dma_fence *mock_memory_copy_in(struct hmm_device *device,
					     const struct hmm_rmem_copy *copies,
					     unsigned int nr)
{
	return mock_memory_start(device, MOCK_COPY_IN, copies, nr);
}

static struct dma_fence *mock_memory_copy_out(struct hmm_device *device,
					      const struct hmm_rmem_copy *copies,
					      unsigned int nr)
{
	return mock_memory_start(device, MOCK_COPY_OUT, copies, nr);
}

static struct dma_fence *mock_memory_clear(struct hmm_device *device,
					   const struct hmm_rmem_copy *copies,
					   unsigned int nr)
{
	return mock_memory_start(device, MOCK_COPY_CLEAR, copies, nr);
}

static u64 mock_memory_accesses(struct hmm_device *device, u64 offset)
{
	struct mock_memory *memory = to_mock_memory(device);

	if (!READ_ONCE(memory->device->registered))
		mock_memory_wrong(memory, MOCK_MEMORY_WRONG_AFTER_END);
	if (!IS_ALIGNED(offset, HMM_RMEM_CHUNK_SIZE) || offset >= memory->bytes)
		mock_memory_wrong(memory, MOCK_MEMORY_WRONG_OFFSET);
	return atomic64_read(&memory->accesses[offset >> HMM_RMEM_CHUNK_SHIFT]);
}

static void *mock_memory_alloc_data(struct mock_memory *memory)
{
	return memory->base ? memremap(memory->base, memory->bytes, MEMREMAP_WB) :
			      vmalloc(memory->bytes);
}

static void mock_memory_free_data(struct mock_memory *memory)
{
	if (memory->base)
		memunmap(memory->data);
	else
		vfree(memory->data);
}

/* After the device has gone, for it was made after the memory. */
static void mock_memory_end(void *data)
{
	struct mock_memory *memory = data;
	int i;

	destroy_workqueue(memory->wq);
	mock_memory_free_data(memory);
	for (i = 0; i < MOCK_MEMORY_WRONG_NR_WRONGS; i++)
		if (test_bit(i, &memory->wrong))
			KUNIT_FAIL(memory->device->test, "contract broken: %s\n",
				   mock_memory_wrongs[i]);
}

static struct mock_memory *mock_memory_make(struct kunit *test, struct mock_log *log,
					    u64 base, unsigned int chunks)
{
	struct mock_memory *memory;
	int i;

	memory = kunit_kzalloc(test, sizeof(*memory), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, memory);
	memory->bytes = chunks * HMM_RMEM_CHUNK_SIZE;
	memory->base = base;
	memory->accesses = kunit_kcalloc(test, chunks, sizeof(*memory->accesses), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, memory->accesses);
	memory->data = mock_memory_alloc_data(memory);
	KUNIT_ASSERT_NOT_NULL(test, memory->data);
	memory->wq = alloc_workqueue("mock_memory", WQ_UNBOUND, 0);
	if (!memory->wq)
		mock_memory_free_data(memory);
	KUNIT_ASSERT_NOT_NULL(test, memory->wq);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, mock_memory_end, memory));
	memory->bad_offset = MOCK_MEMORY_NO_PAGE;
	memory->fence_error = -EIO;
	for (i = 0; i < MOCK_NR_COPIES; i++) {
		init_completion(&memory->gates[i].entered);
		init_completion(&memory->gates[i].open);
	}
	memory->ops.copy_to_device = mock_memory_copy_in;
	memory->ops.copy_to_system = mock_memory_copy_out;
	memory->ops.clear = mock_memory_clear;
	memory->ops.accesses = mock_memory_accesses;

	memory->device = mock_device_alloc(test, log);
	memory->device->memory = memory;
	memory->device->hmm.rmem_ops = &memory->ops;
	memory->device->hmm.rmem_bytes = memory->bytes;
	memory->device->hmm.rmem_base = base;
	return memory;
}

/**
 * mock_memory_alloc - make a device with memory, do not register it
 * @test: test that owns both
 * @log: as mock_device_alloc()
 * @chunks: size
 *
 * Return: the memory, which has the device; the test ends if that fails, and is skipped
 * where the kernel has no device-private pages.
 */
struct mock_memory *mock_memory_alloc(struct kunit *test, struct mock_log *log,
				      unsigned int chunks)
{
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		kunit_skip(test, "the kernel has no device-private pages");
	return mock_memory_make(test, log, 0, chunks);
}

/**
 * mock_memory_new_plain - make a device with memory for pages of files only, and register it
 * @test: test that owns both
 * @chunks: size
 *
 * Return: the memory, which has the device; the test ends if that fails.
 */
struct mock_memory *mock_memory_new_plain(struct kunit *test, unsigned int chunks)
{
	struct mock_memory *memory;

	if (!IS_ENABLED(CONFIG_GET_FREE_REGION))
		kunit_skip(test, "the kernel has no addresses for such memory");
	memory = mock_memory_make(test, NULL, 0, chunks);
	memory->device->hmm.rmem_plain = true;
	mock_memory_register(memory);
	return memory;
}

/**
 * mock_memory_alloc_coherent - make a device with coherent memory, do not register it
 * @test: test that owns both
 * @at: where in the memory that was left for tests, in chunks
 * @chunks: size
 *
 * Return: as mock_memory_alloc(); the test is skipped where the kernel was not told to
 * leave that memory alone.
 */
struct mock_memory *mock_memory_alloc_coherent(struct kunit *test, unsigned int at,
					       unsigned int chunks)
{
	u64 base = coherent_base + at * HMM_RMEM_CHUNK_SIZE;
	u64 bytes = chunks * HMM_RMEM_CHUNK_SIZE;

	if (!IS_ENABLED(CONFIG_DEVICE_MIGRATION))
		kunit_skip(test, "the kernel has no device-coherent pages");
	if (region_intersects(base, bytes, IORESOURCE_MEM, IORES_DESC_RESERVED) !=
	    REGION_INTERSECTS)
		kunit_skip(test, "no memory is left for it: boot with memmap=64M$%#lx",
			   coherent_base);
	return mock_memory_make(test, NULL, base, chunks);
}

/**
 * mock_memory_new_coherent - make a device with coherent memory and register it
 * @test: as mock_memory_alloc_coherent()
 * @at: as mock_memory_alloc_coherent()
 * @chunks: as mock_memory_alloc_coherent()
 *
 * Return: as mock_memory_alloc_coherent()
 */
struct mock_memory *mock_memory_new_coherent(struct kunit *test, unsigned int at,
					     unsigned int chunks)
{
	struct mock_memory *memory = mock_memory_alloc_coherent(test, at, chunks);

	mock_memory_register(memory);
	return memory;
}

/**
 * mock_memory_register - register a device with memory
 * @memory: its memory
 */
void mock_memory_register(struct mock_memory *memory)
{
	mock_device_register(memory->device);
	KUNIT_ASSERT_TRUE(memory->device->test, hmm_device_has_memory(&memory->device->hmm));
}

/**
 * mock_memory_new - make a device with memory and register it
 * @test: as mock_memory_alloc()
 * @log: as mock_memory_alloc()
 * @chunks: as mock_memory_alloc()
 *
 * Return: as mock_memory_alloc()
 */
struct mock_memory *mock_memory_new(struct kunit *test, struct mock_log *log,
				    unsigned int chunks)
{
	struct mock_memory *memory = mock_memory_alloc(test, log, chunks);

	mock_memory_register(memory);
	return memory;
}

/**
 * mock_memory_fail - let copies fail
 * @memory: the memory
 * @error: how
 * @times: so many batches; negative: all; 0: no more
 */
void mock_memory_fail(struct mock_memory *memory, int error, int times)
{
	memory->fence_error = error;
	atomic_set(&memory->failures, times);
}

/**
 * mock_memory_at - what is in a page of the memory
 * @memory: the memory
 * @page: a page of it
 *
 * Return: its bytes.
 */
void *mock_memory_at(struct mock_memory *memory, const struct page *page)
{
	return memory->data + hmm_rmem_offset(&memory->device->hmm, page);
}

/**
 * mock_memory_touch - the device uses a chunk
 * @memory: the memory
 * @offset: in the chunk
 */
void mock_memory_touch(struct mock_memory *memory, u64 offset)
{
	atomic64_inc(&memory->accesses[offset >> HMM_RMEM_CHUNK_SHIFT]);
}

/**
 * mock_memory_stat - read a counter
 * @memory: the memory
 * @stat: counter
 *
 * Return: its value.
 */
u64 mock_memory_stat(struct mock_memory *memory, enum hmm_rmem_stat stat)
{
	return hmm_rmem_stat(&memory->device->hmm, stat);
}

/**
 * mock_memory_check_accounts - do the counters add up?  With nothing under way.
 * @test: test
 * @memory: memory of a registered device
 */
void mock_memory_check_accounts(struct kunit *test, struct mock_memory *memory)
{
	KUNIT_EXPECT_EQ(test, mock_memory_stat(memory, HMM_RMEM_IN),
			mock_memory_stat(memory, HMM_RMEM_OUT) +
			mock_memory_stat(memory, HMM_RMEM_DROPPED) +
			mock_memory_stat(memory, HMM_RMEM_LOST) +
			mock_memory_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_GE(test, mock_memory_stat(memory, HMM_RMEM_OUT),
			mock_memory_stat(memory, HMM_RMEM_OUT_FAULT) +
			mock_memory_stat(memory, HMM_RMEM_OUT_EVICT) +
			mock_memory_stat(memory, HMM_RMEM_OUT_EVACUATE));
	KUNIT_EXPECT_GE(test, mock_memory_stat(memory, HMM_RMEM_IN),
			mock_memory_stat(memory, HMM_RMEM_IN_ZERO));
}

/**
 * mock_memory_arm - hold the next batch
 * @memory: the memory
 * @copy: which way
 */
void mock_memory_arm(struct mock_memory *memory, enum mock_copy copy)
{
	struct mock_gate *gate = &memory->gates[copy];

	reinit_completion(&gate->entered);
	reinit_completion(&gate->open);
	atomic_set(&gate->armed, 1);
}

/**
 * mock_memory_wait - wait until a batch is being held
 * @memory: the memory
 * @copy: which way; armed
 *
 * Return: false if none came in good time.
 */
bool mock_memory_wait(struct mock_memory *memory, enum mock_copy copy)
{
	return wait_for_completion_timeout(&memory->gates[copy].entered, MOCK_PATIENCE);
}

/**
 * mock_memory_open - let the held batch go on; hold none any more
 * @memory: the memory
 * @copy: which way
 */
void mock_memory_open(struct mock_memory *memory, enum mock_copy copy)
{
	atomic_set(&memory->gates[copy].armed, 0);
	complete_all(&memory->gates[copy].open);
}

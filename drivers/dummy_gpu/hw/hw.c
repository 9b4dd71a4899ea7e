// SPDX-License-Identifier: GPL-2.0
/*
 * The chip: power on and off, and the registers that the driver uses.
 *
 * It owns the contexts, the device memory, the interrupt line and the knobs, and hands the
 * rest on: jobs, faults and TLBs to the engines, copies to the copy engines, delays to the
 * sequencer.
 *
 * A context moves FREE -> LOADED -> STOPPED -> FREE.  The chip itself moves once, to
 * lost; a lost chip still answers every call, and has nothing to do.
 *
 * The principle: no call waits for anything but a lock that is held for a short time.
 * dgpu_hw_tlb_wait() is the one exception, and has a timeout.
 */
#include <linux/bits.h>
#include <linux/bug.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kmemleak.h>
#include <linux/log2.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "hw_private.h"

/* ---- inside the chip ---- */

/**
 * dgpu_hw_is_lost - has the device fallen off the bus?
 * @hw: the chip
 *
 * Context: Any. Who must not miss it holds a lock that the loser takes afterwards.
 * Return: true if so.
 */
bool dgpu_hw_is_lost(const struct dgpu_hw *hw)
{
	return READ_ONCE(hw->lost);
}

/**
 * dgpu_hw_knob - read a knob
 * @hw: the chip
 * @knob: which one
 *
 * Context: Any.
 * Return: its value.
 */
u64 dgpu_hw_knob(const struct dgpu_hw *hw, enum dgpu_hw_knob knob)
{
	return READ_ONCE(hw->knobs[knob]);
}

/**
 * dgpu_hw_knob_take - does one of a number of failures happen now?
 * @hw: the chip
 * @knob: one that says how many of them are to come
 *
 * Context: Any. Takes hw->tlb_lock if there are any.
 * Return: true if so; then there is one less to come, unless it was all of them.
 */
bool dgpu_hw_knob_take(struct dgpu_hw *hw, enum dgpu_hw_knob knob)
{
	unsigned long flags;
	u64 left;

	if (!dgpu_hw_knob(hw, knob))
		return false;
	spin_lock_irqsave(&hw->tlb_lock, flags);
	left = hw->knobs[knob];
	if (left && left != U64_MAX)
		WRITE_ONCE(hw->knobs[knob], left - 1);
	spin_unlock_irqrestore(&hw->tlb_lock, flags);
	return left;
}

/**
 * dgpu_hw_due - the time that is a delay away
 * @delay_us: the delay
 *
 * Context: Any.
 * Return: the time.
 */
ktime_t dgpu_hw_due(u64 delay_us)
{
	return ktime_add_us(ktime_get(), delay_us);
}

static void dgpu_hw_irq(struct irq_work *work)
{
	struct dgpu_hw *hw = container_of(work, struct dgpu_hw, irq_work);
	u32 pending = atomic_xchg(&hw->irq_pending, 0);

	if (pending)
		hw->ops->irq(hw->board, pending);
}

/**
 * dgpu_hw_raise_irq - raise the interrupt line
 * @hw: the chip
 * @bits: DGPU_HW_IRQ_*
 *
 * The driver sees it in interrupt context, after this or before it returns; several may
 * arrive as one.
 *
 * Context: Any.
 */
void dgpu_hw_raise_irq(struct dgpu_hw *hw, u32 bits)
{
	atomic_or(bits, &hw->irq_pending);
	irq_work_queue(&hw->irq_work);
}

/**
 * dgpu_hw_tlb_drop - make an invalidation take effect, in all engines
 * @hw: the chip
 * @cmd: the invalidation
 *
 * Context: Any. Takes each engine's lock in turn.
 */
void dgpu_hw_tlb_drop(struct dgpu_hw *hw, const struct dgpu_tlb_command *cmd)
{
	unsigned int i;

	for (i = 0; i < hw->config.engines; i++)
		dgpu_engine_tlb_drop(&hw->engines[i], cmd);
}

/* ---- power ---- */

static bool dgpu_hw_config_is_valid(const struct dgpu_hw_config *config)
{
	if (config->engines < 1 || config->engines > DGPU_MAX_ENGINES)
		return false;
	if (config->va_bits != 48 && config->va_bits != 57)
		return false;
	if (config->tlb_entries > DGPU_MAX_TLB_ENTRIES ||
	    (config->tlb_entries && !is_power_of_2(config->tlb_entries)))
		return false;
	if (config->fault_entries < 2 || config->fault_entries > DGPU_MAX_FAULT_ENTRIES ||
	    !is_power_of_2(config->fault_entries))
		return false;
	if (config->lanes < 1 || config->lanes > DGPU_MAX_LANES)
		return false;
	if (config->local_bytes > DGPU_MAX_LOCAL_BYTES ||
	    !IS_ALIGNED(config->local_bytes, DGPU_HUGE_SIZE))
		return false;
	if (config->local_bytes && (config->copy_engines < 1 ||
				    config->copy_engines > DGPU_MAX_COPY_ENGINES))
		return false;
	return config->max_contexts >= 1 && config->max_contexts <= DGPU_MAX_CONTEXTS;
}

/* What is in memory after power-on is undefined; 0 would be too good a guess. */
static void dgpu_hw_fill_memory(struct dgpu_memory *memory)
{
	u64 offset;

	for (offset = 0; offset < memory->size; offset += DGPU_PAGE_SIZE) {
		dgpu_memory_noise(memory->base + offset, offset >> DGPU_PAGE_SHIFT);
		if (!(offset & (DGPU_HUGE_SIZE - 1)))
			cond_resched();
	}
}

static int dgpu_hw_add_memory(struct dgpu_hw *hw)
{
	u64 bytes = hw->config.local_bytes;
	atomic64_t *counts;
	void *base;

	if (!bytes)
		return 0;
	base = vmalloc_huge(bytes, GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	counts = kvcalloc(bytes >> DGPU_HUGE_SHIFT, sizeof(*counts), GFP_KERNEL);
	if (!base || !counts) {
		kvfree(counts);
		vfree(base);
		return -ENOMEM;
	}
	/* Contents of processes, with nothing in them that keeps memory of the kernel. */
	kmemleak_no_scan(base);
	dgpu_memory_init(&hw->memory, base, counts, bytes);
	dgpu_hw_fill_memory(&hw->memory);
	hw->mmu.memory = &hw->memory;
	return 0;
}

static int dgpu_hw_add_copiers(struct dgpu_hw *hw)
{
	unsigned int i;

	if (!hw->config.copy_engines)
		return 0;
	hw->copiers = kcalloc(hw->config.copy_engines, sizeof(*hw->copiers), GFP_KERNEL);
	if (!hw->copiers)
		return -ENOMEM;
	for (i = 0; i < hw->config.copy_engines; i++)
		dgpu_copier_init(&hw->copiers[i], hw, i);
	return 0;
}

static void dgpu_hw_free(struct dgpu_hw *hw)
{
	unsigned int i;

	for (i = 0; i < hw->config.engines; i++)
		dgpu_engine_fini(&hw->engines[i]);
	kfree(hw->copiers);
	kvfree(hw->memory.counts);
	vfree(hw->memory.base);
	kvfree(hw->fault_buffer.entries);
	kvfree(hw->contexts);
	kfree(hw);
}

static void dgpu_hw_halt(struct dgpu_hw *hw)
{
	unsigned int i;

	for (i = 0; i < hw->config.engines; i++)
		dgpu_engine_halt(&hw->engines[i]);
	for (i = 0; hw->copiers && i < hw->config.copy_engines; i++)
		dgpu_copier_halt(&hw->copiers[i]);
	dgpu_sequencer_halt(hw);
	/* Nobody is left to raise it; one that is under way ends here. */
	irq_work_sync(&hw->irq_work);
}

/**
 * dgpu_hw_create - power on
 * @config: strapping; copied
 * @ops: pins; must stay valid until dgpu_hw_destroy() has returned
 * @board: first argument for @ops
 *
 * Context: May sleep.
 * Return: the chip, or ERR_PTR: -EINVAL a value of @config is out of its range, -ENOMEM,
 * -EINTR killed while creating threads.
 */
struct dgpu_hw *dgpu_hw_create(const struct dgpu_hw_config *config,
			       const struct dgpu_board_ops *ops, void *board)
{
	struct dgpu_hw_fault *faults;
	struct dgpu_hw *hw;
	unsigned int i;
	int ret;

	if (!dgpu_hw_config_is_valid(config))
		return ERR_PTR(-EINVAL);

	hw = kzalloc(struct_size(hw, engines, config->engines), GFP_KERNEL);
	if (!hw)
		return ERR_PTR(-ENOMEM);
	hw->config = *config;
	if (!config->local_bytes)
		hw->config.copy_engines = 0;
	hw->ops = ops;
	hw->board = board;
	hw->mmu.ops = ops;
	hw->mmu.board = board;
	hw->mmu.va_bits = config->va_bits;
	spin_lock_init(&hw->ctx_lock);
	spin_lock_init(&hw->fault_lock);
	spin_lock_init(&hw->done_lock);
	spin_lock_init(&hw->copied_lock);
	spin_lock_init(&hw->tlb_lock);
	INIT_LIST_HEAD(&hw->copied);
	INIT_LIST_HEAD(&hw->done);
	INIT_LIST_HEAD(&hw->delayed);
	init_waitqueue_head(&hw->tlb_wait);
	init_irq_work(&hw->irq_work, dgpu_hw_irq);

	ret = -ENOMEM;
	hw->contexts = kvcalloc(config->max_contexts, sizeof(*hw->contexts), GFP_KERNEL);
	faults = kvcalloc(config->fault_entries, sizeof(*faults), GFP_KERNEL);
	dgpu_fault_buffer_init(&hw->fault_buffer, faults, config->fault_entries);
	if (!hw->contexts || !faults)
		goto err_free;
	ret = dgpu_hw_add_memory(hw);
	if (ret)
		goto err_free;
	ret = dgpu_hw_add_copiers(hw);
	if (ret)
		goto err_free;

	for (i = 0; i < config->engines; i++) {
		ret = dgpu_engine_init(&hw->engines[i], hw, i);
		if (ret)
			goto err_free;
	}
	ret = dgpu_sequencer_start(hw);
	if (ret)
		goto err_free;
	for (i = 0; i < config->engines; i++) {
		ret = dgpu_engine_start(&hw->engines[i]);
		if (ret)
			goto err_halt;
	}
	for (i = 0; i < hw->config.copy_engines; i++) {
		ret = dgpu_copier_start(&hw->copiers[i]);
		if (ret)
			goto err_halt;
	}
	return hw;

err_halt:
	dgpu_hw_halt(hw);
err_free:
	dgpu_hw_free(hw);
	return ERR_PTR(ret);
}

/**
 * dgpu_hw_destroy - power off
 * @hw: the chip, or NULL
 *
 * Stops the engines wherever they are.  Jobs and copies that are queued, running, or in a
 * completion ring are dropped: they are the driver's again, and were not completed.
 * After this returns no pin is used.
 *
 * Context: May sleep; bounded. No other call on @hw may run or follow.
 */
void dgpu_hw_destroy(struct dgpu_hw *hw)
{
	if (!hw)
		return;
	dgpu_hw_halt(hw);
	dgpu_hw_free(hw);
}

/* ---- contexts ---- */

/**
 * dgpu_hw_context_load - make an address space usable
 * @hw: the chip
 * @asid: its number
 * @root: bus address of its root table
 *
 * Context: Any.
 * Return: 0; -EINVAL @asid or @root out of range; -EBUSY @asid is in use.
 */
int dgpu_hw_context_load(struct dgpu_hw *hw, unsigned int asid, u64 root)
{
	struct dgpu_context *context;
	unsigned long flags;
	int ret = -EBUSY;

	if (asid >= hw->config.max_contexts || (root & ~DGPU_HW_PTE_ADDR))
		return -EINVAL;

	context = &hw->contexts[asid];
	spin_lock_irqsave(&hw->ctx_lock, flags);
	if (context->state == DGPU_CONTEXT_FREE) {
		context->root = root;
		/* Pairs with the acquire in dgpu_engine_submit(). */
		smp_store_release(&context->state, DGPU_CONTEXT_LOADED);
		ret = 0;
	}
	spin_unlock_irqrestore(&hw->ctx_lock, flags);
	return ret;
}

/**
 * dgpu_hw_context_stop - end everything that uses an address space
 * @hw: the chip
 * @asid: its number
 * @status: DGPU_ERR_* that its jobs end with, now and until it is unloaded
 *
 * The front end does this, so it works on engines that hang, too.  When this returns no
 * engine accesses memory for the context, its jobs are on their way to the completion
 * ring, and its faults are out of the fault buffer; an answer to one that was read
 * before has no effect.  Stopping twice changes nothing.
 *
 * Context: Any.
 */
void dgpu_hw_context_stop(struct dgpu_hw *hw, unsigned int asid, u32 status)
{
	struct dgpu_context *context;
	unsigned long flags;
	unsigned int i;
	bool loaded;

	if (asid >= hw->config.max_contexts)
		return;

	context = &hw->contexts[asid];
	spin_lock_irqsave(&hw->ctx_lock, flags);
	loaded = context->state != DGPU_CONTEXT_FREE;
	if (context->state == DGPU_CONTEXT_LOADED) {
		context->status = status;
		/* Pairs with the acquire in dgpu_engine_submit(). */
		smp_store_release(&context->state, DGPU_CONTEXT_STOPPED);
	}
	status = context->status;
	spin_unlock_irqrestore(&hw->ctx_lock, flags);
	if (!loaded)
		return;

	for (i = 0; i < hw->config.engines; i++)
		dgpu_engine_end_jobs(&hw->engines[i], asid, status);
}

/**
 * dgpu_hw_context_unload - forget an address space
 * @hw: the chip
 * @asid: its number; stopped
 *
 * Its translations leave the TLBs at once, whatever delay is injected.
 *
 * Context: Any.
 */
void dgpu_hw_context_unload(struct dgpu_hw *hw, unsigned int asid)
{
	struct dgpu_tlb_command cmd = { .asid = asid, .start = 0, .end = U64_MAX };
	struct dgpu_context *context;
	unsigned long flags;

	if (asid >= hw->config.max_contexts)
		return;

	context = &hw->contexts[asid];
	if (WARN_ON_ONCE(READ_ONCE(context->state) != DGPU_CONTEXT_STOPPED))
		return;

	dgpu_hw_tlb_drop(hw, &cmd);
	spin_lock_irqsave(&hw->ctx_lock, flags);
	context->root = 0;
	context->status = DGPU_OK;
	WRITE_ONCE(context->state, DGPU_CONTEXT_FREE);
	spin_unlock_irqrestore(&hw->ctx_lock, flags);
}

/* ---- TLB ---- */

/**
 * dgpu_hw_tlb_invalidate - drop translations
 * @hw: the chip
 * @asid: context
 * @start: first byte
 * @end: first byte after the range
 *
 * Waits for nothing but each engine's lock, which is held for DGPU_ENGINE_BATCH
 * instructions at a time, and does not allocate: a notifier may call it.
 *
 *	driver				engine
 *					looks up the old translation
 *	clears the entry
 *	takes the engine's lock: waits
 *					accesses the page, drops the lock
 *	drops the translation
 *	frees the page
 *					looks up: miss, walks: no entry, faults
 *
 * Context: Any.
 * Return: a ticket for dgpu_hw_tlb_done(); 0 when it is done already.
 */
u64 dgpu_hw_tlb_invalidate(struct dgpu_hw *hw, unsigned int asid, u64 start, u64 end)
{
	struct dgpu_tlb_command cmd = { .asid = asid, .start = start, .end = end };
	unsigned long flags;
	bool dropped = false;
	u64 ticket = 0;
	u64 delay;

	if (asid >= hw->config.max_contexts)
		return 0;
	atomic64_inc(&hw->tlb_flushes);

	spin_lock_irqsave(&hw->tlb_lock, flags);
	delay = dgpu_hw_knob(hw, DGPU_KNOB_TLB_DELAY_US);
	if (hw->knobs[DGPU_KNOB_DROP_FLUSH]) {
		WRITE_ONCE(hw->knobs[DGPU_KNOB_DROP_FLUSH],
			   hw->knobs[DGPU_KNOB_DROP_FLUSH] - 1);
		dropped = true;
	} else if (delay && !dgpu_hw_is_lost(hw)) {
		ticket = dgpu_sequencer_tlb(hw, &cmd, delay);
	}
	spin_unlock_irqrestore(&hw->tlb_lock, flags);

	if (!dropped && !ticket)
		dgpu_hw_tlb_drop(hw, &cmd);
	return ticket;
}

/**
 * dgpu_hw_tlb_done - has an invalidation taken effect?
 * @hw: the chip
 * @ticket: from dgpu_hw_tlb_invalidate()
 *
 * Context: Any.
 * Return: true if so.
 */
bool dgpu_hw_tlb_done(struct dgpu_hw *hw, u64 ticket)
{
	unsigned long flags;
	bool done;

	if (!ticket)
		return true;
	spin_lock_irqsave(&hw->tlb_lock, flags);
	done = ticket <= hw->tlb_finished;
	spin_unlock_irqrestore(&hw->tlb_lock, flags);
	return done;
}

/**
 * dgpu_hw_tlb_wait - wait until an invalidation has taken effect
 * @hw: the chip
 * @ticket: from dgpu_hw_tlb_invalidate()
 * @timeout_ms: how long to wait at most
 *
 * Context: May sleep; not interruptible.
 * Return: true if it has, false after @timeout_ms.
 */
bool dgpu_hw_tlb_wait(struct dgpu_hw *hw, u64 ticket, unsigned int timeout_ms)
{
	return wait_event_timeout(hw->tlb_wait, dgpu_hw_tlb_done(hw, ticket),
				  msecs_to_jiffies(timeout_ms));
}

/* ---- jobs ---- */

/**
 * dgpu_hw_submit - put a job in an engine's queue
 * @hw: the chip
 * @engine: index of the engine
 * @job: the job; the hardware's until it comes out of dgpu_hw_completed()
 *
 * Context: Any.
 * Return: 0; -EINVAL no such engine or context, no code, or no threads; -ENODEV the
 * device is lost. After an error the job is the caller's.
 */
int dgpu_hw_submit(struct dgpu_hw *hw, unsigned int engine, struct dgpu_hw_job *job)
{
	if (engine >= hw->config.engines || job->asid >= hw->config.max_contexts ||
	    !job->code || !job->ninsns || !job->nthreads)
		return -EINVAL;
	return dgpu_engine_submit(&hw->engines[engine], job);
}

/**
 * dgpu_hw_job_kill - end a job
 * @hw: the chip
 * @job: a job that was submitted, and whose memory is still there
 * @status: DGPU_ERR_* that it ends with
 *
 * The result tells where its oldest thread was.  Without effect when the job is done, or
 * when its engine hangs.
 *
 * Context: Any.
 * Return: false if the chip has the job still, as the engine hangs; otherwise it is on its
 * way to dgpu_hw_completed(), if it was not taken out of there.
 */
bool dgpu_hw_job_kill(struct dgpu_hw *hw, struct dgpu_hw_job *job, u32 status)
{
	struct dgpu_engine *engine = READ_ONCE(job->hw_private);

	return !engine || dgpu_engine_kill(engine, job, status);
}

/**
 * dgpu_hw_completed - take a job out of the completion ring
 * @hw: the chip
 *
 * Context: Any.
 * Return: the job that was completed first, the driver's again; NULL if there is none.
 */
struct dgpu_hw_job *dgpu_hw_completed(struct dgpu_hw *hw)
{
	struct dgpu_hw_job *job;
	unsigned long flags;

	spin_lock_irqsave(&hw->done_lock, flags);
	job = list_first_entry_or_null(&hw->done, struct dgpu_hw_job, node);
	if (job)
		list_del_init(&job->node);
	spin_unlock_irqrestore(&hw->done_lock, flags);
	return job;
}

/**
 * dgpu_hw_engine_reset - reset an engine
 * @hw: the chip
 * @engine: index of the engine
 *
 * Its jobs end with DGPU_ERR_RESET, its TLB is empty, and if it was hung it no longer
 * is.  Once all engines were reset, an invalidation from before is soon done.
 *
 * Context: Any.
 */
void dgpu_hw_engine_reset(struct dgpu_hw *hw, unsigned int engine)
{
	unsigned long flags;

	if (engine >= hw->config.engines)
		return;

	/* Before it can execute again, it has nothing left to execute. */
	dgpu_engine_reset(&hw->engines[engine]);
	spin_lock_irqsave(&hw->tlb_lock, flags);
	WRITE_ONCE(hw->knobs[DGPU_KNOB_HANG_ENGINE],
		   hw->knobs[DGPU_KNOB_HANG_ENGINE] & ~BIT_ULL(engine));
	dgpu_sequencer_tlb_reset(hw, engine);
	spin_unlock_irqrestore(&hw->tlb_lock, flags);
	dgpu_engine_resume(&hw->engines[engine]);
}

/**
 * dgpu_hw_engine_load - how busy is an engine?
 * @hw: the chip
 * @engine: index of the engine
 *
 * Context: Any. The answer may be old when it arrives.
 * Return: number of jobs that are queued or running there.
 */
unsigned int dgpu_hw_engine_load(struct dgpu_hw *hw, unsigned int engine)
{
	return engine < hw->config.engines ? READ_ONCE(hw->engines[engine].nr_jobs) : 0;
}

/* ---- faults ---- */

/**
 * dgpu_hw_fault_read - take entries out of the fault buffer
 * @hw: the chip
 * @faults: where they go
 * @max: room there
 *
 * Threads that found the buffer full write their entries now, and raise another
 * interrupt.
 *
 * Context: Any.
 * Return: number of entries, oldest first.
 */
unsigned int dgpu_hw_fault_read(struct dgpu_hw *hw, struct dgpu_hw_fault *faults,
				unsigned int max)
{
	unsigned long flags;
	unsigned int n;

	spin_lock_irqsave(&hw->fault_lock, flags);
	n = dgpu_fault_buffer_pop(&hw->fault_buffer, faults, max);
	spin_unlock_irqrestore(&hw->fault_lock, flags);
	if (n)
		dgpu_sequencer_fault_room(hw);
	return n;
}

/**
 * dgpu_hw_fault_answer - answer a fault
 * @hw: the chip
 * @fault: as it was read
 * @error: 0: run the instruction again; a negative errno: end the job with
 *	DGPU_ERR_FAULT
 *
 * Without effect if the thread does not wait for this answer any more.
 *
 * Context: Any.
 */
void dgpu_hw_fault_answer(struct dgpu_hw *hw, const struct dgpu_hw_fault *fault, int error)
{
	if (fault->engine >= hw->config.engines || fault->lane >= hw->config.lanes)
		return;
	dgpu_engine_answer(&hw->engines[fault->engine], fault, error);
}

/* ---- device memory ---- */

/**
 * dgpu_hw_access_count - how often have engines used these 2 MiB of device memory?
 * @hw: the chip
 * @offset: any byte of them
 *
 * Context: Any.
 * Return: the number of accesses since power-on, copies not among them; 0 beyond the end.
 */
u64 dgpu_hw_access_count(struct dgpu_hw *hw, u64 offset)
{
	return dgpu_memory_count(&hw->memory, offset);
}

/**
 * dgpu_hw_copy_submit - put a copy in a copy engine's queue
 * @hw: the chip
 * @engine: index of the copy engine
 * @copy: the copy; the hardware's until it comes out of dgpu_hw_copy_completed()
 *
 * Context: Any.
 * Return: 0; -EINVAL no such copy engine or operation, or no descriptors; -ENODEV the
 * device is lost. After an error the copy is the caller's.
 */
int dgpu_hw_copy_submit(struct dgpu_hw *hw, unsigned int engine, struct dgpu_hw_copy *copy)
{
	if (engine >= hw->config.copy_engines || copy->op > DGPU_HW_COPY_CLEAR ||
	    !copy->nr || !copy->descs)
		return -EINVAL;
	return dgpu_copier_submit(&hw->copiers[engine], copy);
}

/**
 * dgpu_hw_copy_completed - take a copy out of the ring of completed copies
 * @hw: the chip
 *
 * Context: Any.
 * Return: the copy that was completed first, the driver's again; NULL if there is none.
 */
struct dgpu_hw_copy *dgpu_hw_copy_completed(struct dgpu_hw *hw)
{
	struct dgpu_hw_copy *copy;
	unsigned long flags;

	spin_lock_irqsave(&hw->copied_lock, flags);
	copy = list_first_entry_or_null(&hw->copied, struct dgpu_hw_copy, node);
	if (copy)
		list_del_init(&copy->node);
	spin_unlock_irqrestore(&hw->copied_lock, flags);
	return copy;
}

/**
 * dgpu_hw_copy_reset - reset a copy engine
 * @hw: the chip
 * @engine: index of the copy engine
 *
 * Its copies end with -ECANCELED, and when this returns it touches none of their pages
 * any more.  If it was hung it no longer is.
 *
 * Context: Any.
 */
void dgpu_hw_copy_reset(struct dgpu_hw *hw, unsigned int engine)
{
	unsigned long flags;

	if (engine >= hw->config.copy_engines)
		return;

	/* Before it can go on, it has nothing left to go on with. */
	dgpu_copier_end_all(&hw->copiers[engine], -ECANCELED);
	spin_lock_irqsave(&hw->tlb_lock, flags);
	WRITE_ONCE(hw->knobs[DGPU_KNOB_HANG_COPY],
		   hw->knobs[DGPU_KNOB_HANG_COPY] & ~BIT_ULL(engine));
	spin_unlock_irqrestore(&hw->tlb_lock, flags);
	dgpu_copier_kick(&hw->copiers[engine]);
}

/**
 * dgpu_hw_copy_load - how busy is a copy engine?
 * @hw: the chip
 * @engine: index of the copy engine
 *
 * Context: Any. The answer may be old when it arrives.
 * Return: number of copies that are queued or under way there.
 */
unsigned int dgpu_hw_copy_load(struct dgpu_hw *hw, unsigned int engine)
{
	return engine < hw->config.copy_engines ? READ_ONCE(hw->copiers[engine].nr) : 0;
}

/**
 * dgpu_hw_copy_progress - has a copy engine done anything?
 * @hw: the chip
 * @engine: index of the copy engine
 *
 * Context: Any. Takes the copy engine's lock.
 * Return: a number that grows with each page that it copies and each copy that fails.
 */
u64 dgpu_hw_copy_progress(struct dgpu_hw *hw, unsigned int engine)
{
	struct dgpu_copier *copier;

	if (engine >= hw->config.copy_engines)
		return 0;
	copier = &hw->copiers[engine];
	return dgpu_copier_stat(copier, DGPU_HW_COPIED) +
	       dgpu_copier_stat(copier, DGPU_HW_COPY_ERRORS);
}

/* ---- counters and knobs ---- */

static u64 dgpu_hw_local_accesses(const struct dgpu_hw *hw)
{
	u64 offset, sum = 0;

	for (offset = 0; offset < hw->memory.size; offset += DGPU_HUGE_SIZE)
		sum += dgpu_memory_count(&hw->memory, offset);
	return sum;
}

/**
 * dgpu_hw_stat - read a counter
 * @hw: the chip
 * @stat: which one
 *
 * Context: Any.
 * Return: its value; 0 for one that does not exist.
 */
u64 dgpu_hw_stat(struct dgpu_hw *hw, enum dgpu_stat_hw stat)
{
	unsigned int i;
	u64 sum = 0;

	if (stat >= DGPU_HW_NR)
		return 0;
	if (stat == DGPU_HW_TLB_FLUSHES)
		return atomic64_read(&hw->tlb_flushes);
	if (stat == DGPU_HW_LOCAL_ACCESSES)
		return dgpu_hw_local_accesses(hw);
	for (i = 0; i < hw->config.engines; i++)
		sum += dgpu_engine_stat(&hw->engines[i], stat);
	for (i = 0; i < hw->config.copy_engines; i++)
		sum += dgpu_copier_stat(&hw->copiers[i], stat);
	return sum;
}

static void dgpu_hw_lose(struct dgpu_hw *hw)
{
	unsigned int i;

	/* First say it, then pass through each engine's lock: none misses it. */
	WRITE_ONCE(hw->lost, true);
	for (i = 0; i < hw->config.engines; i++)
		dgpu_engine_end_jobs(&hw->engines[i], DGPU_ASID_ALL, DGPU_ERR_LOST);
	/* Only now: no program is left that could find it gone before it ends as lost. */
	WRITE_ONCE(hw->memory.lost, true);
	for (i = 0; i < hw->config.copy_engines; i++)
		dgpu_copier_end_all(&hw->copiers[i], -ENODEV);
	/* What was delayed is not any more. */
	dgpu_sequencer_kick(hw);
	dgpu_hw_raise_irq(hw, DGPU_HW_IRQ_LOST);
}

static bool dgpu_hw_knob_is_valid(const struct dgpu_hw *hw, enum dgpu_hw_knob knob, u64 value)
{
	switch (knob) {
	case DGPU_KNOB_TLB_DELAY_US:
	case DGPU_KNOB_FAULT_DELAY_US:
	case DGPU_KNOB_DONE_DELAY_US:
	case DGPU_KNOB_COPY_DELAY_US:
		return value <= DGPU_MAX_DELAY_US;
	case DGPU_KNOB_HANG_ENGINE:
		return value < BIT_ULL(hw->config.engines);
	case DGPU_KNOB_HANG_COPY:
		return value < BIT_ULL(hw->config.copy_engines);
	case DGPU_KNOB_DROP_FLUSH:
	case DGPU_KNOB_COPY_FAIL:
		return true;
	case DGPU_KNOB_SLOW_INSNS:
		return value <= U32_MAX;
	case DGPU_KNOB_LOST:
		/* There is no way back. */
		return value <= 1 && value >= hw->knobs[DGPU_KNOB_LOST];
	default:
		return false;
	}
}

/**
 * dgpu_hw_knob_set - inject failure
 * @hw: the chip
 * @knob: enum dgpu_hw_knob
 * @value: its new value
 *
 * Delays apply to what happens from now on.
 *
 * Context: Any.
 * Return: 0; -EINVAL no such knob, or a value out of its range: delays are at most a
 * minute, and a lost device stays lost.
 */
int dgpu_hw_knob_set(struct dgpu_hw *hw, enum dgpu_hw_knob knob, u64 value)
{
	unsigned long flags;
	bool changed;
	unsigned int i;

	spin_lock_irqsave(&hw->tlb_lock, flags);
	if (!dgpu_hw_knob_is_valid(hw, knob, value)) {
		spin_unlock_irqrestore(&hw->tlb_lock, flags);
		return -EINVAL;
	}
	changed = hw->knobs[knob] != value;
	WRITE_ONCE(hw->knobs[knob], value);
	spin_unlock_irqrestore(&hw->tlb_lock, flags);

	if (knob == DGPU_KNOB_LOST && changed)
		dgpu_hw_lose(hw);
	if (knob == DGPU_KNOB_HANG_ENGINE && changed) {
		for (i = 0; i < hw->config.engines; i++)
			dgpu_engine_resume(&hw->engines[i]);
	}
	if (knob == DGPU_KNOB_HANG_COPY && changed) {
		for (i = 0; i < hw->config.copy_engines; i++)
			dgpu_copier_kick(&hw->copiers[i]);
	}
	return 0;
}

/**
 * dgpu_hw_knob_get - what is injected?
 * @hw: the chip
 * @knob: enum dgpu_hw_knob
 *
 * Context: Any.
 * Return: the value of the knob; 0 for one that does not exist.
 */
u64 dgpu_hw_knob_get(struct dgpu_hw *hw, enum dgpu_hw_knob knob)
{
	return knob < DGPU_KNOB_NR ? dgpu_hw_knob(hw, knob) : 0;
}

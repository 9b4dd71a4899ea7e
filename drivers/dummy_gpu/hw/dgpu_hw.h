/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The emulated GPU's silicon: its register-and-memory interface.
 *
 * This directory is hardware.  It knows nothing of the mm subsystem or of the
 * mirroring core, and it is strict: what a real chip would get wrong after a driver
 * bug, it gets wrong too.  TLBs keep stale entries until they are told to drop them;
 * a translation to a system page that the driver has unmapped is a bus error; a
 * broken page table is a bus error.
 *
 * The driver talks to it by the functions below, which stand for registers,
 * doorbells and rings, and it talks to the driver by struct dgpu_board_ops, which
 * stands for the pins.
 */
#ifndef _DGPU_HW_H
#define _DGPU_HW_H

#include <linux/bits.h>
#include <linux/types.h>
#include <uapi/dgpu.h>
#include <uapi/dgpu_isa.h>

struct dgpu_hw;

/* ---- page tables: radix, 512 entries of 8 bytes a table ---- */

/*
 * A table is a system page, named by its bus address.  48-bit devices have four
 * levels (root = level 3), 57-bit ones five (root = level 4).  Level 0 holds leaves
 * of 4 KiB; level 1 holds tables, or leaves of 2 MiB with DGPU_HW_PTE_HUGE.
 * Entries are read and written as aligned 64-bit words.  The MMU sets ACCESSED and
 * DIRTY by an atomic compare-and-exchange, and only in entries that are (still)
 * valid and allow the access, before the access itself takes place.
 */
#define DGPU_HW_PTE_VALID	BIT_ULL(0)
#define DGPU_HW_PTE_WRITE	BIT_ULL(1)	/* leaves only */
#define DGPU_HW_PTE_ATOMIC	BIT_ULL(2)	/* leaves only; needs WRITE too */
#define DGPU_HW_PTE_ACCESSED	BIT_ULL(3)
#define DGPU_HW_PTE_DIRTY	BIT_ULL(4)
#define DGPU_HW_PTE_HUGE	BIT_ULL(5)	/* level 1 only */
#define DGPU_HW_PTE_APERTURE	(3ull << 6)
#define DGPU_HW_APERTURE_SYSTEM	(0ull << 6)	/* bus address */
#define DGPU_HW_APERTURE_LOCAL	BIT_ULL(6)	/* offset in device memory */
#define DGPU_HW_APERTURE_PEER	(2ull << 6)	/* offset in a peer's memory */
#define DGPU_HW_PTE_ADDR	0x000ffffffffff000ull
/*
 * All other bits are reserved: set in a valid entry they are a bus error.  So are, in
 * an entry that names a table, all bits but VALID and ADDR; address bits 12..20 of a
 * 2 MiB leaf; HUGE on any level but 1.  An entry that is not valid is the driver's to
 * use: the MMU does not look at its other bits.
 */

/* ---- what the chip is soldered to ---- */

/**
 * struct dgpu_board_ops - the pins
 * @bus_map: look at one page of system memory by its bus address.  Returns NULL if
 *	nothing is mapped there for this device (bus error).  Called from engine
 *	context; may not sleep.
 * @bus_unmap: done with the page that @bus_map returned for that address.
 * @irq: raise the interrupt line.  Any context, may not sleep; level is
 *	DGPU_HW_IRQ_* bits that became pending.
 */
struct dgpu_board_ops {
	void *(*bus_map)(void *board, u64 bus_addr);
	void (*bus_unmap)(void *board, u64 bus_addr, void *va);
	void (*irq)(void *board, u32 pending);
};

#define DGPU_HW_IRQ_FAULT	BIT(0)	/* the fault buffer has entries */
#define DGPU_HW_IRQ_DONE	BIT(1)	/* jobs are in the completion ring */
#define DGPU_HW_IRQ_TLB		BIT(2)	/* a delayed invalidation finished */
#define DGPU_HW_IRQ_LOST	BIT(3)	/* the device fell off the bus */
#define DGPU_HW_IRQ_COPY	BIT(4)	/* copies are in the copy completion ring */

/**
 * struct dgpu_hw_config - strapping
 * @engines: 1..16
 * @va_bits: 48 or 57
 * @tlb_entries: per engine, power of two, 0: no TLB
 * @fault_entries: size of the fault buffer, power of two, at least 2
 * @lanes: hardware threads that an engine keeps in flight, 1..1024
 * @max_contexts: contexts (address space numbers are 0..max_contexts - 1)
 * @local_bytes: device memory, a multiple of 2 MiB; 0: none
 * @copy_engines: 1..4; ignored without device memory
 */
struct dgpu_hw_config {
	unsigned int engines;
	unsigned int va_bits;
	unsigned int tlb_entries;
	unsigned int fault_entries;
	unsigned int lanes;
	unsigned int max_contexts;
	u64 local_bytes;
	unsigned int copy_engines;
};

/*
 * Power on.  @ops and @board stay valid until dgpu_hw_destroy().  ERR_PTR: -EINVAL a
 * value out of its range, -ENOMEM, -EINTR killed.
 */
struct dgpu_hw *dgpu_hw_create(const struct dgpu_hw_config *config,
			       const struct dgpu_board_ops *ops, void *board);
/* Stops the engines; jobs still queued are dropped, none is completed any more. */
void dgpu_hw_destroy(struct dgpu_hw *hw);

/* ---- contexts ---- */

/* Load a context: @root is the bus address of its root table.  0 or -EINVAL/-EBUSY. */
int dgpu_hw_context_load(struct dgpu_hw *hw, unsigned int asid, u64 root);
/*
 * Stop a context: its running and parked threads end, its jobs complete with
 * @status (DGPU_ERR_*), its queued jobs too; its faults leave the fault buffer; new
 * jobs for it complete at once with the same status.  When this returns no engine
 * accesses memory for it.  Translations are not touched.  Any context; bounded.
 */
void dgpu_hw_context_stop(struct dgpu_hw *hw, unsigned int asid, u32 status);
/* Forget a stopped context and flush its TLB entries; the asid is free then. */
void dgpu_hw_context_unload(struct dgpu_hw *hw, unsigned int asid);

/* ---- TLB ---- */

/*
 * Start dropping the translations of [start, end) of a context in the TLBs of all
 * engines.  Returns a ticket; when dgpu_hw_tlb_done(ticket), no engine uses, or
 * waits for the outcome of an access through, a translation that was in the page
 * table only before this call.  Without injected delay it is done on return, and the
 * ticket is 0: that one is always done.
 * Any context that may take a spinlock, interrupts included.
 */
u64 dgpu_hw_tlb_invalidate(struct dgpu_hw *hw, unsigned int asid, u64 start, u64 end);
bool dgpu_hw_tlb_done(struct dgpu_hw *hw, u64 ticket);
/* Wait for it; false after timeout_ms (a dead device).  May sleep. */
bool dgpu_hw_tlb_wait(struct dgpu_hw *hw, u64 ticket, unsigned int timeout_ms);

/* ---- jobs ---- */

/**
 * struct dgpu_hw_job - one descriptor in an engine's ring; the driver's memory
 * @asid: context
 * @code: instructions; constant until the job is done
 * @ninsns: number of instructions
 * @nthreads: number of hardware threads, 1 or more
 * @args: r1..r8
 * @result: written by the hardware before the job is completed; status, thread, pc,
 *	access, fault_addr, error, trap, insns, faults
 *
 * Owned by the hardware from dgpu_hw_submit() until it comes out of
 * dgpu_hw_completed().
 */
struct dgpu_hw_job {
	unsigned int asid;
	const struct dgpu_insn *code;
	u32 ninsns;
	u32 nthreads;
	u64 args[DGPU_NARGS];
	struct dgpu_result result;
	/* private: the hardware's */
	struct list_head node;
	struct list_head lanes;
	void *hw_private;
	s64 due;
	u32 state;
	u32 next_thread;
};

/* Put a job in an engine's queue. 0, -EINVAL, -ENODEV (lost). Never sleeps. */
int dgpu_hw_submit(struct dgpu_hw *hw, unsigned int engine, struct dgpu_hw_job *job);
/*
 * Stop one job wherever it is; it completes with @status. No effect when done. False: its
 * engine hangs, and has it still.
 */
bool dgpu_hw_job_kill(struct dgpu_hw *hw, struct dgpu_hw_job *job, u32 status);
/* Take the next completed job out of the completion ring, or NULL. Never sleeps. */
struct dgpu_hw_job *dgpu_hw_completed(struct dgpu_hw *hw);
/*
 * Reset an engine that does not answer: everything on it completes with
 * DGPU_ERR_RESET and its TLB is empty.  Any context; bounded.
 */
void dgpu_hw_engine_reset(struct dgpu_hw *hw, unsigned int engine);
/* Jobs queued or running on an engine: for choosing the least loaded one. */
unsigned int dgpu_hw_engine_load(struct dgpu_hw *hw, unsigned int engine);

/* ---- faults ---- */

/**
 * struct dgpu_hw_fault - one entry of the fault buffer
 * @addr: faulting byte
 * @access: DGPU_ACCESS_*
 * @asid: context
 * @engine: engine
 * @lane: lane of that engine that is parked
 * @serial: number of this parking; an answer with another number has no effect,
 *	so a late answer cannot hit a later fault
 */
struct dgpu_hw_fault {
	u64 addr;
	u32 access;
	u16 asid;
	u16 engine;
	u32 lane;
	u32 serial;
};

/*
 * Take up to @max entries out of the fault buffer.  Threads that could not write an
 * entry because it was full are parked too, and write it when there is room: they
 * come with a later call (and another interrupt).  Never sleeps.
 */
unsigned int dgpu_hw_fault_read(struct dgpu_hw *hw, struct dgpu_hw_fault *faults,
				unsigned int max);
/*
 * Answer a fault: @error 0 makes the thread run the instruction again (replay), a
 * negative errno ends its job with DGPU_ERR_FAULT.  Never sleeps.
 */
void dgpu_hw_fault_answer(struct dgpu_hw *hw, const struct dgpu_hw_fault *fault,
			  int error);

/* ---- device memory ---- */

/*
 * Leaves with DGPU_HW_APERTURE_LOCAL name it by offset; an offset beyond its end is a
 * bus error, and so is any use of DGPU_HW_APERTURE_PEER.  Tables are always in system memory.
 * What is in it after power-on is undefined, and not zero.  There is no window
 * through which the CPU could reach it: what goes in or out is copied.
 */

/*
 * Accesses that engines have made to the 2 MiB of device memory around @offset since
 * power-on.  Copies do not count.  Any context.  0 beyond the end.
 */
u64 dgpu_hw_access_count(struct dgpu_hw *hw, u64 offset);

#define DGPU_HW_COPY_IN		0	/* system memory to device memory */
#define DGPU_HW_COPY_OUT	1	/* device memory to system memory */
#define DGPU_HW_COPY_CLEAR	2	/* device memory becomes zero; bus is not looked at */

/**
 * struct dgpu_hw_copy_desc - one page of 4 KiB
 * @bus: bus address of the page in system memory
 * @offset: of the page in device memory
 */
struct dgpu_hw_copy_desc {
	u64 bus;
	u64 offset;
};

/**
 * struct dgpu_hw_copy - one job of a copy engine; the driver's memory
 * @op: DGPU_HW_COPY_*
 * @nr: number of descriptors, 1 or more
 * @descs: descriptors; constant until the copy is done
 * @error: written by the hardware before it is completed: 0; -EIO a copy error (also a bus
 *	error); -ENODEV the device is lost; -ECANCELED a reset.  After an error any of the
 *	destination pages may have been written.
 *
 * Owned by the hardware from dgpu_hw_copy_submit() until it comes out of
 * dgpu_hw_copy_completed().  The copies of one engine are done in order.
 */
struct dgpu_hw_copy {
	u32 op;
	u32 nr;
	const struct dgpu_hw_copy_desc *descs;
	s32 error;
	/* private: the hardware's */
	struct list_head node;
	s64 due;
	u32 state;
};

/* 0, -EINVAL (engine, op, nr), -ENODEV (lost).  Any context that may take a spinlock. */
int dgpu_hw_copy_submit(struct dgpu_hw *hw, unsigned int engine, struct dgpu_hw_copy *copy);
/* Take the next completed copy, or NULL. Never sleeps. */
struct dgpu_hw_copy *dgpu_hw_copy_completed(struct dgpu_hw *hw);
/*
 * Reset a copy engine that does not answer: what it has completes with -ECANCELED, and
 * when this returns it touches none of these pages any more.  Any context; bounded.
 */
void dgpu_hw_copy_reset(struct dgpu_hw *hw, unsigned int engine);
/* Copies queued or running on a copy engine. */
unsigned int dgpu_hw_copy_load(struct dgpu_hw *hw, unsigned int engine);
u64 dgpu_hw_copy_progress(struct dgpu_hw *hw, unsigned int engine);

/* ---- counters and injected failure ---- */

u64 dgpu_hw_stat(struct dgpu_hw *hw, enum dgpu_stat_hw stat);

/**
 * enum dgpu_hw_knob - injected failure; all 0 at power-on
 * @DGPU_KNOB_TLB_DELAY_US: an invalidation takes effect that much later
 * @DGPU_KNOB_FAULT_DELAY_US: a fault shows up in the buffer that much later
 * @DGPU_KNOB_DONE_DELAY_US: a completion shows up that much later
 * @DGPU_KNOB_HANG_ENGINE: bit mask: engines that stop executing and answer
 *	nothing (kill included) until reset, which clears the bit
 * @DGPU_KNOB_DROP_FLUSH: ignore that many invalidations (they report done).  A
 *	driver bug on demand, for the tests of the tests.
 * @DGPU_KNOB_SLOW_INSNS: sleep 1 ms every that many instructions; widens races
 * @DGPU_KNOB_LOST: 1: the device falls off the bus: engines stop, every job
 *	completes with DGPU_ERR_LOST, invalidations are done at once
 * @DGPU_KNOB_COPY_DELAY_US: a copy stops halfway for so long
 * @DGPU_KNOB_COPY_FAIL: that many copies (jobs, not pages) fail with -EIO halfway;
 *	~0: all, until it is set to something else
 * @DGPU_KNOB_HANG_COPY: bit mask: copy engines that stop in the middle of a copy and answer
 *	nothing until reset, which clears the bit
 * @DGPU_KNOB_NR: number of knobs
 */
enum dgpu_hw_knob {
	DGPU_KNOB_TLB_DELAY_US,
	DGPU_KNOB_FAULT_DELAY_US,
	DGPU_KNOB_DONE_DELAY_US,
	DGPU_KNOB_HANG_ENGINE,
	DGPU_KNOB_DROP_FLUSH,
	DGPU_KNOB_SLOW_INSNS,
	DGPU_KNOB_LOST,
	DGPU_KNOB_COPY_DELAY_US,
	DGPU_KNOB_COPY_FAIL,
	DGPU_KNOB_HANG_COPY,
	DGPU_KNOB_NR
};

int dgpu_hw_knob_set(struct dgpu_hw *hw, enum dgpu_hw_knob knob, u64 value);
u64 dgpu_hw_knob_get(struct dgpu_hw *hw, enum dgpu_hw_knob knob);

#endif /* _DGPU_HW_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functional units of the emulated GPU: MMU, TLB, device memory, load/store unit,
 * instruction decoder, fault buffer.
 *
 * They are plain logic: no locks, no allocation, no sleeping, nothing of Linux but
 * its types and atomic operations.  Who calls them holds the lock that guards the
 * unit: the engine's lock for TLB and load/store unit, the fault lock for the fault
 * buffer (hw_private.h).  MMU and decoder have no state; that of the device memory is
 * atomic.
 *
 * Words: "va" is a device virtual address, "bus" a bus address, "offset" an address in
 * device memory, "frame" the bus address or the offset of the page that a leaf names,
 * "access" one of DGPU_ACCESS_*.  Ranges are [start, end).
 */
#ifndef _DGPU_HW_UNITS_H
#define _DGPU_HW_UNITS_H

#include "env.h"
#include "dgpu_hw.h"

#define DGPU_PAGE_SHIFT		12
#define DGPU_PAGE_SIZE		BIT_ULL(DGPU_PAGE_SHIFT)
#define DGPU_HUGE_SHIFT		21
#define DGPU_HUGE_SIZE		BIT_ULL(DGPU_HUGE_SHIFT)
#define DGPU_TABLE_BITS		9
#define DGPU_TABLE_ENTRIES	BIT(DGPU_TABLE_BITS)

/**
 * enum dgpu_mem - how a memory operation ended
 * @DGPU_MEM_OK: done
 * @DGPU_MEM_FAULT: no translation, or one that does not allow the access
 * @DGPU_MEM_BUS: bus error: broken page table, or no such page
 */
enum dgpu_mem {
	DGPU_MEM_OK,
	DGPU_MEM_FAULT,
	DGPU_MEM_BUS,
};

/* ---- a translation, as the MMU finds and the TLB keeps it ---- */

#define DGPU_TR_WRITE	BIT(0)
#define DGPU_TR_ATOMIC	BIT(1)
#define DGPU_TR_DIRTY	BIT(2)	/* the leaf is known to be dirty */
#define DGPU_TR_HUGE	BIT(3)
#define DGPU_TR_LOCAL	BIT(4)	/* in device memory, not on the bus */

/**
 * struct dgpu_translation - what one leaf of a page table says
 * @frame: bus address, or with DGPU_TR_LOCAL offset, of its first byte; aligned to the
 *	size of the leaf
 * @flags: DGPU_TR_*
 */
struct dgpu_translation {
	u64 frame;
	u32 flags;
};

bool dgpu_translation_allows(const struct dgpu_translation *tr, u32 access);
u64 dgpu_translation_page(const struct dgpu_translation *tr, u64 va);

/* ---- device memory ---- */

/**
 * struct dgpu_memory - the device's own memory
 * @base: its bytes; the owner's memory
 * @counts: accesses of engines, one number for each 2 MiB; the owner's memory
 * @size: number of bytes, a multiple of 2 MiB
 * @lost: there is no way to it any more
 */
struct dgpu_memory {
	u8 *base;
	atomic64_t *counts;
	u64 size;
	bool lost;
};

void dgpu_memory_init(struct dgpu_memory *memory, void *base, atomic64_t *counts, u64 size);
void *dgpu_memory_page(const struct dgpu_memory *memory, u64 offset);
void dgpu_memory_touch(struct dgpu_memory *memory, u64 offset);
u64 dgpu_memory_count(const struct dgpu_memory *memory, u64 offset);
void dgpu_memory_noise(void *page, u64 seed);

/* ---- MMU ---- */

/**
 * struct dgpu_mmu - page table walker
 * @ops: the pins; only bus_map and bus_unmap are used
 * @board: their first argument
 * @va_bits: 48 or 57
 * @memory: device memory, or NULL if there is none
 */
struct dgpu_mmu {
	const struct dgpu_board_ops *ops;
	void *board;
	unsigned int va_bits;
	struct dgpu_memory *memory;
};

enum dgpu_mem dgpu_mmu_walk(const struct dgpu_mmu *mmu, u64 root, u64 va, u32 access,
			    struct dgpu_translation *tr);

/* ---- TLB ---- */

/**
 * struct dgpu_tlb_entry - one translation that a TLB keeps
 * @page: address >> shift of the page size
 * @frame: as in struct dgpu_translation
 * @asid: context
 * @flags: DGPU_TR_*
 * @valid: in use
 */
struct dgpu_tlb_entry {
	u64 page;
	u64 frame;
	u16 asid;
	u8 flags;
	bool valid;
};

/**
 * struct dgpu_tlb - set-associative cache of translations
 * @entries: @sets times @ways of them; the owner's memory
 * @sets: power of two; 0: there is no TLB, every look-up misses
 * @ways: entries a set
 * @clock: chooses the entry to replace
 * @hits: look-ups that found an entry which allowed the access
 * @misses: the others
 */
struct dgpu_tlb {
	struct dgpu_tlb_entry *entries;
	unsigned int sets;
	unsigned int ways;
	unsigned int clock;
	u64 hits;
	u64 misses;
};

void dgpu_tlb_init(struct dgpu_tlb *tlb, struct dgpu_tlb_entry *entries, unsigned int nr);
bool dgpu_tlb_lookup(struct dgpu_tlb *tlb, unsigned int asid, u64 va, u32 access,
		     struct dgpu_translation *tr);
void dgpu_tlb_insert(struct dgpu_tlb *tlb, unsigned int asid, u64 va,
		     const struct dgpu_translation *tr);
void dgpu_tlb_invalidate(struct dgpu_tlb *tlb, unsigned int asid, u64 start, u64 end);
void dgpu_tlb_flush(struct dgpu_tlb *tlb);

/* ---- load/store unit ---- */

/**
 * enum dgpu_atomic - operations of the atomic unit
 * @DGPU_ATOMIC_ADD: mem += operand
 * @DGPU_ATOMIC_XCHG: mem = operand
 * @DGPU_ATOMIC_CAS: mem = operand if mem == compare
 */
enum dgpu_atomic {
	DGPU_ATOMIC_ADD,
	DGPU_ATOMIC_XCHG,
	DGPU_ATOMIC_CAS,
};

/**
 * struct dgpu_lsu - load/store unit of an engine, set to one context
 * @mmu: walker
 * @tlb: the engine's TLB
 * @asid: context
 * @root: its root table
 * @fault_addr: after DGPU_MEM_FAULT or DGPU_MEM_BUS: first byte that failed
 * @fault_access: and what was tried, DGPU_ACCESS_*
 */
struct dgpu_lsu {
	const struct dgpu_mmu *mmu;
	struct dgpu_tlb *tlb;
	unsigned int asid;
	u64 root;
	u64 fault_addr;
	u32 fault_access;
};

enum dgpu_mem dgpu_lsu_load(struct dgpu_lsu *lsu, u64 addr, unsigned int size, u64 *value);
enum dgpu_mem dgpu_lsu_store(struct dgpu_lsu *lsu, u64 addr, unsigned int size, u64 value);
enum dgpu_mem dgpu_lsu_atomic(struct dgpu_lsu *lsu, enum dgpu_atomic op, u64 addr,
			      unsigned int size, u64 operand, u64 compare, u64 *old);

/* ---- instruction decoder and execution ---- */

/**
 * struct dgpu_isa_mem - how an instruction reaches memory
 * @load: read @size (1, 2, 4, 8) bytes; zero-extended
 * @store: write @size bytes
 * @atomic: read-modify-write of @size (4, 8) bytes, aligned; the old value, zero-extended
 *
 * An operation that does not return DGPU_MEM_OK has read or written nothing.
 */
struct dgpu_isa_mem {
	enum dgpu_mem (*load)(void *ctx, u64 addr, unsigned int size, u64 *value);
	enum dgpu_mem (*store)(void *ctx, u64 addr, unsigned int size, u64 value);
	enum dgpu_mem (*atomic)(void *ctx, enum dgpu_atomic op, u64 addr,
				unsigned int size, u64 operand, u64 compare, u64 *old);
};

/**
 * struct dgpu_isa_program - what a thread executes
 * @code: instructions
 * @ninsns: number of them
 * @nthreads: NTID
 */
struct dgpu_isa_program {
	const struct dgpu_insn *code;
	u32 ninsns;
	u32 nthreads;
};

/**
 * struct dgpu_isa_thread - architectural state of one thread
 * @reg: registers; reg[0] stays 0
 * @pc: index of the next instruction
 * @tid: TID
 */
struct dgpu_isa_thread {
	u64 reg[DGPU_NREGS];
	u32 pc;
	u32 tid;
};

/**
 * enum dgpu_isa_step - how an instruction ended
 * @DGPU_STEP_NEXT: executed; @pc is at the next one
 * @DGPU_STEP_HALT: executed; the thread ends
 * @DGPU_STEP_FAULT: memory fault; nothing has changed, the same instruction may be
 *	run again
 * @DGPU_STEP_ERROR: the thread has failed; pc is at the culprit
 */
enum dgpu_isa_step {
	DGPU_STEP_NEXT,
	DGPU_STEP_HALT,
	DGPU_STEP_FAULT,
	DGPU_STEP_ERROR,
};

/**
 * struct dgpu_isa_error - why a thread has failed
 * @status: DGPU_ERR_*
 * @access: DGPU_ACCESS_* for DGPU_ERR_ALIGN and DGPU_ERR_BUS
 * @addr: address for the same two
 * @trap: code for DGPU_ERR_TRAP
 */
struct dgpu_isa_error {
	u32 status;
	u32 access;
	u64 addr;
	s32 trap;
};

void dgpu_isa_start(struct dgpu_isa_thread *thread, u32 tid, const u64 *args);
enum dgpu_isa_step dgpu_isa_step(struct dgpu_isa_thread *thread,
				 const struct dgpu_isa_program *program,
				 const struct dgpu_isa_mem *mem, void *ctx,
				 struct dgpu_isa_error *error);

/* ---- fault buffer ---- */

/**
 * struct dgpu_fault_buffer - bounded ring of faults
 * @entries: @size of them; the owner's memory
 * @size: power of two
 * @head: next to read; counts without wrapping at @size
 * @tail: next to write
 */
struct dgpu_fault_buffer {
	struct dgpu_hw_fault *entries;
	u32 size;
	u32 head;
	u32 tail;
};

void dgpu_fault_buffer_init(struct dgpu_fault_buffer *fb, struct dgpu_hw_fault *entries,
			    u32 size);
u32 dgpu_fault_buffer_used(const struct dgpu_fault_buffer *fb);
bool dgpu_fault_buffer_push(struct dgpu_fault_buffer *fb, const struct dgpu_hw_fault *fault);
unsigned int dgpu_fault_buffer_pop(struct dgpu_fault_buffer *fb,
				   struct dgpu_hw_fault *faults, unsigned int max);
unsigned int dgpu_fault_buffer_purge(struct dgpu_fault_buffer *fb,
				     bool (*stale)(const struct dgpu_hw_fault *fault,
						   void *data),
				     void *data);

#endif /* _DGPU_HW_UNITS_H */

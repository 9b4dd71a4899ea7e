// SPDX-License-Identifier: GPL-2.0
/*
 * Load/store unit: one memory access of one thread, from address to bytes.
 *
 * It owns nothing; the engine's lock guards the TLB that it uses and is held from the
 * look-up to the last byte.  That is what makes an invalidation mean something: who
 * takes the lock after it finds no access half done.
 *
 * The order is: TLB; on a miss, or an entry that does not allow the access, the page
 * table, which marks the leaf accessed and dirty; then the page, on the bus or in device
 * memory; then the data.
 * An access that touches two pages has both in hand before it moves a byte.  (The
 * first leaf may get its marks although the second page then faults: marks may come
 * too early or for nothing, never too late.)
 *
 * Aligned accesses are single loads and stores of their size.  Unaligned ones go byte
 * by byte, and another observer may see half of them.  Atomics are the CPU's own, on
 * the same bytes, so they are atomic against CPUs and other engines.
 */
#include "units.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the emulated GPU is little endian and works on the CPU's memory in place"
#endif

/**
 * struct dgpu_lsu_page - a page during an access
 * @addr: its bus address, or its offset in device memory
 * @va: its bytes
 * @local: it is in device memory
 */
struct dgpu_lsu_page {
	u64 addr;
	u8 *va;
	bool local;
};

/**
 * struct dgpu_lsu_span - the bytes of one access
 * @page: the pages that they are in
 * @nr: number of pages, 1 or 2
 * @offset: of the first byte in the first page
 */
struct dgpu_lsu_span {
	struct dgpu_lsu_page page[2];
	unsigned int nr;
	unsigned int offset;
};

static enum dgpu_mem dgpu_lsu_translate(struct dgpu_lsu *lsu, u64 addr, u32 access,
					struct dgpu_lsu_page *page)
{
	struct dgpu_translation tr;
	enum dgpu_mem status;

	if (!dgpu_tlb_lookup(lsu->tlb, lsu->asid, addr, access, &tr)) {
		status = dgpu_mmu_walk(lsu->mmu, lsu->root, addr, access, &tr);
		if (status != DGPU_MEM_OK)
			return status;
		dgpu_tlb_insert(lsu->tlb, lsu->asid, addr, &tr);
	}
	page->addr = dgpu_translation_page(&tr, addr);
	page->local = tr.flags & DGPU_TR_LOCAL;
	return DGPU_MEM_OK;
}

static void *dgpu_lsu_find(const struct dgpu_mmu *mmu, const struct dgpu_lsu_page *page)
{
	if (page->local)
		return dgpu_memory_page(mmu->memory, page->addr);
	return mmu->ops->bus_map(mmu->board, page->addr);
}

static void dgpu_lsu_close(struct dgpu_lsu *lsu, struct dgpu_lsu_span *span)
{
	const struct dgpu_mmu *mmu = lsu->mmu;
	struct dgpu_lsu_page *page;

	while (span->nr) {
		page = &span->page[--span->nr];
		if (!page->local)
			mmu->ops->bus_unmap(mmu->board, page->addr, page->va);
	}
}

static enum dgpu_mem dgpu_lsu_open(struct dgpu_lsu *lsu, u64 addr, unsigned int size,
				   u32 access, struct dgpu_lsu_span *span)
{
	struct dgpu_lsu_page *page = span->page;
	unsigned int i, pages;
	enum dgpu_mem status;

	span->nr = 0;
	span->offset = addr & (DGPU_PAGE_SIZE - 1);
	pages = span->offset + size > DGPU_PAGE_SIZE ? 2 : 1;

	for (i = 0; i < pages; i++) {
		status = dgpu_lsu_translate(lsu, addr, access, &page[i]);
		if (status != DGPU_MEM_OK)
			goto out_fail;
		page[i].va = dgpu_lsu_find(lsu->mmu, &page[i]);
		if (!page[i].va) {
			status = DGPU_MEM_BUS;
			goto out_fail;
		}
		span->nr = i + 1;
		if (i + 1 < pages)
			addr = (addr | (DGPU_PAGE_SIZE - 1)) + 1;
	}
	for (i = 0; i < pages; i++) {
		if (page[i].local)
			dgpu_memory_touch(lsu->mmu->memory, page[i].addr);
	}
	return DGPU_MEM_OK;

out_fail:
	lsu->fault_addr = addr;
	lsu->fault_access = access;
	dgpu_lsu_close(lsu, span);
	return status;
}

/* The byte at @i of the access. */
static u8 *dgpu_lsu_byte(const struct dgpu_lsu_span *span, unsigned int i)
{
	unsigned int offset = span->offset + i;

	if (offset < DGPU_PAGE_SIZE)
		return span->page[0].va + offset;
	return span->page[1].va + (offset - DGPU_PAGE_SIZE);
}

/**
 * dgpu_lsu_load - read memory
 * @lsu: the unit, set to a context
 * @addr: address, of any alignment
 * @size: 1, 2, 4 or 8
 * @value: what was read, zero-extended
 *
 * Return: DGPU_MEM_OK, or another enum dgpu_mem with @lsu->fault_addr and
 * @lsu->fault_access set.
 */
enum dgpu_mem dgpu_lsu_load(struct dgpu_lsu *lsu, u64 addr, unsigned int size, u64 *value)
{
	struct dgpu_lsu_span span;
	enum dgpu_mem status;
	unsigned int i;
	u64 data = 0;
	void *p;

	status = dgpu_lsu_open(lsu, addr, size, DGPU_ACCESS_READ, &span);
	if (status != DGPU_MEM_OK)
		return status;

	p = dgpu_lsu_byte(&span, 0);
	if (addr & (size - 1)) {
		for (i = 0; i < size; i++)
			data |= (u64)READ_ONCE(*dgpu_lsu_byte(&span, i)) << (8 * i);
	} else {
		switch (size) {
		case 1:
			data = READ_ONCE(*(u8 *)p);
			break;
		case 2:
			data = READ_ONCE(*(u16 *)p);
			break;
		case 4:
			data = READ_ONCE(*(u32 *)p);
			break;
		default:
			data = READ_ONCE(*(u64 *)p);
			break;
		}
	}
	dgpu_lsu_close(lsu, &span);
	*value = data;
	return DGPU_MEM_OK;
}

/**
 * dgpu_lsu_store - write memory
 * @lsu: the unit, set to a context
 * @addr: address, of any alignment
 * @size: 1, 2, 4 or 8
 * @value: its low bytes are written
 *
 * Return: DGPU_MEM_OK, or another enum dgpu_mem with @lsu->fault_addr and
 * @lsu->fault_access set and no byte written.
 */
enum dgpu_mem dgpu_lsu_store(struct dgpu_lsu *lsu, u64 addr, unsigned int size, u64 value)
{
	struct dgpu_lsu_span span;
	enum dgpu_mem status;
	unsigned int i;
	void *p;

	status = dgpu_lsu_open(lsu, addr, size, DGPU_ACCESS_WRITE, &span);
	if (status != DGPU_MEM_OK)
		return status;

	p = dgpu_lsu_byte(&span, 0);
	if (addr & (size - 1)) {
		for (i = 0; i < size; i++)
			WRITE_ONCE(*dgpu_lsu_byte(&span, i), (u8)(value >> (8 * i)));
	} else {
		switch (size) {
		case 1:
			WRITE_ONCE(*(u8 *)p, (u8)value);
			break;
		case 2:
			WRITE_ONCE(*(u16 *)p, (u16)value);
			break;
		case 4:
			WRITE_ONCE(*(u32 *)p, (u32)value);
			break;
		default:
			WRITE_ONCE(*(u64 *)p, value);
			break;
		}
	}
	dgpu_lsu_close(lsu, &span);
	return DGPU_MEM_OK;
}

static u64 dgpu_lsu_atomic4(enum dgpu_atomic op, void *p, u32 operand, u32 compare)
{
	switch (op) {
	case DGPU_ATOMIC_ADD:
		return (u32)atomic_fetch_add((int)operand, (atomic_t *)p);
	case DGPU_ATOMIC_XCHG:
		return xchg((u32 *)p, operand);
	default:
		return cmpxchg((u32 *)p, compare, operand);
	}
}

static u64 dgpu_lsu_atomic8(enum dgpu_atomic op, void *p, u64 operand, u64 compare)
{
	switch (op) {
	case DGPU_ATOMIC_ADD:
		return (u64)atomic64_fetch_add((s64)operand, (atomic64_t *)p);
	case DGPU_ATOMIC_XCHG:
		return xchg((u64 *)p, operand);
	default:
		return cmpxchg((u64 *)p, compare, operand);
	}
}

/**
 * dgpu_lsu_atomic - read, modify and write memory in one piece
 * @lsu: the unit, set to a context
 * @op: what to do
 * @addr: address, aligned to @size
 * @size: 4 or 8
 * @operand: second operand
 * @compare: what DGPU_ATOMIC_CAS compares with
 * @old: the value before, zero-extended
 *
 * Needs a leaf with both WRITE and ATOMIC, also where a comparison fails and nothing
 * is written.  Fully ordered.
 *
 * Return: DGPU_MEM_OK, or another enum dgpu_mem with @lsu->fault_addr and
 * @lsu->fault_access set and nothing changed.
 */
enum dgpu_mem dgpu_lsu_atomic(struct dgpu_lsu *lsu, enum dgpu_atomic op, u64 addr,
			      unsigned int size, u64 operand, u64 compare, u64 *old)
{
	struct dgpu_lsu_span span;
	enum dgpu_mem status;
	void *p;

	status = dgpu_lsu_open(lsu, addr, size, DGPU_ACCESS_ATOMIC, &span);
	if (status != DGPU_MEM_OK)
		return status;

	p = dgpu_lsu_byte(&span, 0);
	if (size == 4)
		*old = dgpu_lsu_atomic4(op, p, (u32)operand, (u32)compare);
	else
		*old = dgpu_lsu_atomic8(op, p, operand, compare);
	dgpu_lsu_close(lsu, &span);
	return DGPU_MEM_OK;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's load/store unit: accesses of all sizes at all offsets, accesses to
 * two pages, rights, what old translations in the TLB do and do not do, and device memory.
 */
#include <kunit/test.h>
#include <linux/module.h>
#include "../../drivers/dummy_gpu/hw/lsu.c"
#include "../../drivers/dummy_gpu/hw/memory.c"
#include "../../drivers/dummy_gpu/hw/mmu.c"
#include "../../drivers/dummy_gpu/hw/tlb.c"
#include "dgpu_board.h"

#define V	DGPU_HW_PTE_VALID
#define W	DGPU_HW_PTE_WRITE
#define AT	DGPU_HW_PTE_ATOMIC
#define ACC	DGPU_HW_PTE_ACCESSED
#define DRT	DGPU_HW_PTE_DIRTY
#define HUGE	DGPU_HW_PTE_HUGE
#define LOCAL	DGPU_HW_APERTURE_LOCAL

/* Two pages in a row. */
#define PAGE1	0x7000ull
#define PAGE2	0x8000ull

struct lsu_fixture {
	struct board *board;
	struct dgpu_mmu mmu;
	struct dgpu_tlb tlb;
	struct dgpu_tlb_entry entries[16];
	struct dgpu_lsu lsu;
	u64 bus1, bus2;
	u8 *mem1, *mem2;
	u64 *pte1, *pte2;
};

static u64 *lsu_slot(struct lsu_fixture *f, u64 va, unsigned int level)
{
	return board_slot(f->board, f->lsu.root, f->mmu.va_bits, va, level);
}

static struct lsu_fixture *lsu_fixture(struct kunit *test)
{
	struct lsu_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	if (!f)
		return NULL;
	f->board = board_create(test);
	if (!f->board)
		return NULL;
	f->mmu.ops = &board_ops;
	f->mmu.board = f->board;
	f->mmu.va_bits = 48;
	dgpu_tlb_init(&f->tlb, f->entries, ARRAY_SIZE(f->entries));
	f->lsu.mmu = &f->mmu;
	f->lsu.tlb = &f->tlb;
	f->lsu.asid = 3;
	f->lsu.root = board_page(f->board);
	f->bus2 = board_page(f->board);		/* not next to each other */
	f->bus1 = board_page(f->board);
	f->mem1 = board_va(f->board, f->bus1);
	f->mem2 = board_va(f->board, f->bus2);
	f->pte1 = lsu_slot(f, PAGE1, 0);
	f->pte2 = lsu_slot(f, PAGE2, 0);
	*f->pte1 = f->bus1 | V | W | AT;
	*f->pte2 = f->bus2 | V | W | AT;
	return f;
}

static void lsu_expect_idle(struct kunit *test, struct lsu_fixture *f)
{
	KUNIT_EXPECT_EQ(test, f->board->held, 0);
	KUNIT_EXPECT_EQ(test, f->board->bad_unmaps, 0);
}

static u8 *lsu_byte(struct lsu_fixture *f, u64 va)
{
	return va < PAGE2 ? f->mem1 + (va - PAGE1) : f->mem2 + (va - PAGE2);
}

static void lsu_all_sizes_at_all_offsets(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	unsigned int size, i;
	u64 va, got, want, value = 0x8877665544332211ull;

	KUNIT_ASSERT_NOT_NULL(test, f);
	for (size = 1; size <= 8; size *= 2) {
		for (va = PAGE2 - 17; va < PAGE2 + 17; va++) {
			memset(f->mem1, 0xee, DGPU_PAGE_SIZE);
			memset(f->mem2, 0xee, DGPU_PAGE_SIZE);
			KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, va, size, value),
					DGPU_MEM_OK);
			for (i = 0; i < size; i++)
				KUNIT_EXPECT_EQ_MSG(test, *lsu_byte(f, va + i),
						    (u8)(value >> 8 * i),
						    "size %u va %#llx", size, va);
			KUNIT_EXPECT_EQ(test, *lsu_byte(f, va - 1), 0xee);
			KUNIT_EXPECT_EQ(test, *lsu_byte(f, va + size), 0xee);

			want = size == 8 ? value : value & (BIT_ULL(8 * size) - 1);
			KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, va, size, &got),
					DGPU_MEM_OK);
			KUNIT_EXPECT_EQ_MSG(test, got, want, "size %u va %#llx", size, va);
		}
	}
	lsu_expect_idle(test, f);
}

static void lsu_nothing_moves_unless_both_pages_are_there(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	u64 va, got, pte2;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	pte2 = *f->pte2;
	for (va = PAGE2 - 7; va < PAGE2; va++) {
		memset(f->mem1, 0xee, DGPU_PAGE_SIZE);

		/* no translation of the second page */
		*f->pte2 = 0;
		dgpu_tlb_flush(&f->tlb);
		KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, va, 8, 0), DGPU_MEM_FAULT);
		KUNIT_EXPECT_EQ(test, f->lsu.fault_addr, PAGE2);
		KUNIT_EXPECT_EQ(test, f->lsu.fault_access, DGPU_ACCESS_WRITE);
		KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, va, 8, &got), DGPU_MEM_FAULT);
		KUNIT_EXPECT_EQ(test, f->lsu.fault_access, DGPU_ACCESS_READ);

		/* one that may only be read */
		*f->pte2 = pte2 & ~W;
		KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, va, 8, 0), DGPU_MEM_FAULT);
		KUNIT_EXPECT_EQ(test, f->lsu.fault_addr, PAGE2);
		KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, va, 8, &got), DGPU_MEM_OK);

		/* a page that the driver has unmapped */
		*f->pte2 = pte2;
		board_unpopulate(f->board, f->bus2);
		KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, va, 8, 0), DGPU_MEM_BUS);
		KUNIT_EXPECT_EQ(test, f->lsu.fault_addr, PAGE2);
		f->board->page[f->bus2 >> DGPU_PAGE_SHIFT] = f->mem2;

		for (i = 0; i < 8; i++)
			KUNIT_EXPECT_EQ(test, f->mem1[DGPU_PAGE_SIZE - 8 + i], 0xee);

		/* the first page is told first */
		*f->pte1 &= ~V;
		dgpu_tlb_flush(&f->tlb);
		KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, va, 8, 0), DGPU_MEM_FAULT);
		KUNIT_EXPECT_EQ(test, f->lsu.fault_addr, va);
		*f->pte1 |= V;
	}
	lsu_expect_idle(test, f);
}

static void lsu_end_of_the_address_space(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	u64 last = BIT_ULL(48) - DGPU_PAGE_SIZE, got;

	KUNIT_ASSERT_NOT_NULL(test, f);
	*lsu_slot(f, last, 0) = f->bus1 | V;
	*lsu_slot(f, 0, 0) = f->bus2 | V;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, BIT_ULL(48) - 8, 8, &got), DGPU_MEM_OK);
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, BIT_ULL(48) - 7, 8, &got), DGPU_MEM_FAULT);
	KUNIT_EXPECT_EQ(test, f->lsu.fault_addr, BIT_ULL(48));
	/* Around the end of 64 bits is not around to address 0. */
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, ~0ull - 3, 8, &got), DGPU_MEM_FAULT);
	KUNIT_EXPECT_EQ(test, f->lsu.fault_addr, ~0ull - 3);
	lsu_expect_idle(test, f);
}

static void lsu_atomics(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	u64 *m8, old;
	u32 *m4;

	KUNIT_ASSERT_NOT_NULL(test, f);
	m8 = (u64 *)(f->mem1 + 8);
	m4 = (u32 *)(f->mem1 + 20);

	*m8 = ~0ull;
	dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_ADD, PAGE1 + 8, 8, 2, 0, &old);
	KUNIT_EXPECT_EQ(test, old, ~0ull);
	KUNIT_EXPECT_EQ(test, *m8, 1);
	dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_XCHG, PAGE1 + 8, 8, 0xabcdef0123456789ull, 0, &old);
	KUNIT_EXPECT_EQ(test, old, 1);
	KUNIT_EXPECT_EQ(test, *m8, 0xabcdef0123456789ull);
	dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_CAS, PAGE1 + 8, 8, 5, 6, &old);
	KUNIT_EXPECT_EQ(test, old, 0xabcdef0123456789ull);
	KUNIT_EXPECT_EQ(test, *m8, 0xabcdef0123456789ull);
	dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_CAS, PAGE1 + 8, 8, 5, 0xabcdef0123456789ull, &old);
	KUNIT_EXPECT_EQ(test, *m8, 5);

	/* 4 bytes: operands are cut, neighbours are left alone. */
	memset(f->mem1, 0xee, DGPU_PAGE_SIZE);
	*m4 = 0xffffffff;
	dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_ADD, PAGE1 + 20, 4, 0x700000002ull, 0, &old);
	KUNIT_EXPECT_EQ(test, old, 0xffffffff);
	KUNIT_EXPECT_EQ(test, *m4, 1);
	dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_CAS, PAGE1 + 20, 4, 0x900000007ull, 0x800000001ull,
			&old);
	KUNIT_EXPECT_EQ(test, old, 1);
	KUNIT_EXPECT_EQ(test, *m4, 7);
	dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_XCHG, PAGE1 + 20, 4, 0x80000000ull, 0, &old);
	dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_ADD, PAGE1 + 20, 4, 0, 0, &old);
	KUNIT_EXPECT_EQ(test, old, 0x80000000ull);
	KUNIT_EXPECT_EQ(test, f->mem1[19], 0xee);
	KUNIT_EXPECT_EQ(test, f->mem1[24], 0xee);
	lsu_expect_idle(test, f);
}

static void lsu_atomics_need_both_rights(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	u64 old;

	KUNIT_ASSERT_NOT_NULL(test, f);
	/* A comparison that fails writes nothing, and needs the rights all the same. */
	*f->pte1 = f->bus1 | V | W;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_CAS, PAGE1, 8, 1, 2, &old),
			DGPU_MEM_FAULT);
	KUNIT_EXPECT_EQ(test, f->lsu.fault_access, DGPU_ACCESS_ATOMIC);
	*f->pte1 = f->bus1 | V | AT;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_CAS, PAGE1, 8, 1, 2, &old),
			DGPU_MEM_FAULT);
	KUNIT_EXPECT_EQ(test, *f->pte1, f->bus1 | V | AT);
	*f->pte1 = f->bus1 | V | W | AT;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_CAS, PAGE1, 8, 1, 2, &old),
			DGPU_MEM_OK);
	KUNIT_EXPECT_EQ(test, *f->pte1, f->bus1 | V | W | AT | ACC | DRT);
}

/* What the strict TLB is for: a driver that forgets to flush gets the old page. */
static void lsu_old_translation_until_flushed(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	u64 got;

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->mem1[0] = 1;
	f->mem2[0] = 2;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, PAGE1, 1, &got), DGPU_MEM_OK);
	KUNIT_EXPECT_EQ(test, got, 1);

	*f->pte1 = f->bus2 | V;
	dgpu_lsu_load(&f->lsu, PAGE1, 1, &got);
	KUNIT_EXPECT_EQ(test, got, 1);
	*f->pte1 = 0;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, PAGE1, 1, &got), DGPU_MEM_OK);

	/* The page is unmapped under it: caught, not honoured. */
	board_unpopulate(f->board, f->bus1);
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, PAGE1, 1, &got), DGPU_MEM_BUS);
	KUNIT_EXPECT_EQ(test, f->lsu.fault_addr, PAGE1);

	dgpu_tlb_invalidate(&f->tlb, 3, PAGE1, PAGE2);
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, PAGE1, 1, &got), DGPU_MEM_FAULT);
	*f->pte1 = f->bus2 | V;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, PAGE1, 1, &got), DGPU_MEM_OK);
	KUNIT_EXPECT_EQ(test, got, 2);
	lsu_expect_idle(test, f);
}

static void lsu_marks_through_the_tlb(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	u64 got;

	KUNIT_ASSERT_NOT_NULL(test, f);
	/* The first write after reads still makes the page dirty. */
	dgpu_lsu_load(&f->lsu, PAGE1, 8, &got);
	KUNIT_EXPECT_EQ(test, *f->pte1, f->bus1 | V | W | AT | ACC);
	dgpu_lsu_store(&f->lsu, PAGE1, 8, 1);
	KUNIT_EXPECT_EQ(test, *f->pte1, f->bus1 | V | W | AT | ACC | DRT);

	/* Bits that are cleared without a flush stay clear: the TLB knows them as set. */
	*f->pte1 = f->bus1 | V | W | AT;
	dgpu_lsu_store(&f->lsu, PAGE1, 8, 2);
	KUNIT_EXPECT_EQ(test, *f->pte1, f->bus1 | V | W | AT);
	dgpu_tlb_invalidate(&f->tlb, 3, PAGE1, PAGE1 + 1);
	dgpu_lsu_store(&f->lsu, PAGE1, 8, 3);
	KUNIT_EXPECT_EQ(test, *f->pte1, f->bus1 | V | W | AT | ACC | DRT);

	/* Write-protected without a flush: writes still go through. With one they do not. */
	*f->pte1 = f->bus1 | V;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, PAGE1, 8, 4), DGPU_MEM_OK);
	dgpu_tlb_invalidate(&f->tlb, 3, PAGE1, PAGE1 + 1);
	KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, PAGE1, 8, 5), DGPU_MEM_FAULT);
	KUNIT_EXPECT_EQ(test, *(u64 *)f->mem1, 4);

	/* More rights need no flush. */
	dgpu_lsu_load(&f->lsu, PAGE1, 8, &got);
	*f->pte1 |= W;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, PAGE1, 8, 6), DGPU_MEM_OK);
	KUNIT_EXPECT_EQ(test, *f->pte1, f->bus1 | V | W | ACC | DRT);
}

static void lsu_huge_page(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	u64 va = 5 * DGPU_HUGE_SIZE, got;
	u8 *first, *last;

	KUNIT_ASSERT_NOT_NULL(test, f);
	*lsu_slot(f, va, 1) = BOARD_HUGE_BUS | V | W | HUGE;
	first = board_populate(f->board, BOARD_HUGE_BUS);
	last = board_populate(f->board, BOARD_HUGE_BUS + DGPU_HUGE_SIZE - DGPU_PAGE_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, first);
	KUNIT_ASSERT_NOT_NULL(test, last);

	KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, va + 16, 8, 0x1111), DGPU_MEM_OK);
	KUNIT_EXPECT_EQ(test, *(u64 *)(first + 16), 0x1111);
	KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, va + DGPU_HUGE_SIZE - 8, 8, 0x2222),
			DGPU_MEM_OK);
	KUNIT_EXPECT_EQ(test, *(u64 *)(last + DGPU_PAGE_SIZE - 8), 0x2222);
	/* One walk for all of it. */
	KUNIT_EXPECT_EQ(test, f->tlb.misses, 1);
	/* Each 4 KiB of it is looked up on the bus: part of it may be gone. */
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, va + DGPU_PAGE_SIZE, 8, &got), DGPU_MEM_BUS);
	lsu_expect_idle(test, f);
}

/* ---- device memory ---- */

#define LSU_LOCAL_BYTES	(2 * DGPU_HUGE_SIZE)

/* The fixture's, with device memory of 4 MiB, all of it noise. */
static struct dgpu_memory *lsu_add_memory(struct kunit *test, struct lsu_fixture *f)
{
	struct dgpu_memory *memory = kunit_kzalloc(test, sizeof(*memory), GFP_KERNEL);
	atomic64_t *counts = kunit_kcalloc(test, 2, sizeof(*counts), GFP_KERNEL);
	u8 *base = kunit_kzalloc(test, LSU_LOCAL_BYTES, GFP_KERNEL);
	u64 offset;

	if (!memory || !counts || !base)
		return NULL;
	for (offset = 0; offset < LSU_LOCAL_BYTES; offset += DGPU_PAGE_SIZE)
		dgpu_memory_noise(base + offset, offset >> DGPU_PAGE_SHIFT);
	dgpu_memory_init(memory, base, counts, LSU_LOCAL_BYTES);
	f->mmu.memory = memory;
	return memory;
}

static void lsu_memory_and_its_end(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	struct dgpu_memory *memory;
	u64 offset;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	memory = lsu_add_memory(test, f);
	KUNIT_ASSERT_NOT_NULL(test, memory);
	for (offset = 0; offset < LSU_LOCAL_BYTES; offset += DGPU_PAGE_SIZE)
		KUNIT_EXPECT_PTR_EQ(test, (u8 *)dgpu_memory_page(memory, offset),
				    memory->base + offset);
	KUNIT_EXPECT_NULL(test, dgpu_memory_page(memory, LSU_LOCAL_BYTES));
	KUNIT_EXPECT_NULL(test, dgpu_memory_page(memory, ~0ull));
	KUNIT_EXPECT_NULL(test, dgpu_memory_page(memory, ~0ull << DGPU_PAGE_SHIFT));
	for (i = 0; i < DGPU_PAGE_SHIFT; i++)
		KUNIT_EXPECT_NULL(test, dgpu_memory_page(memory, BIT_ULL(i)));

	dgpu_memory_touch(memory, DGPU_HUGE_SIZE - DGPU_PAGE_SIZE);
	dgpu_memory_touch(memory, DGPU_HUGE_SIZE);
	dgpu_memory_touch(memory, LSU_LOCAL_BYTES - DGPU_PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, dgpu_memory_count(memory, 0), 1);
	KUNIT_EXPECT_EQ(test, dgpu_memory_count(memory, DGPU_HUGE_SIZE - 1), 1);
	KUNIT_EXPECT_EQ(test, dgpu_memory_count(memory, LSU_LOCAL_BYTES - 1), 2);
	KUNIT_EXPECT_EQ(test, dgpu_memory_count(memory, LSU_LOCAL_BYTES), 0);

	memory->lost = true;
	for (offset = 0; offset <= LSU_LOCAL_BYTES; offset += DGPU_HUGE_SIZE)
		KUNIT_EXPECT_NULL(test, dgpu_memory_page(memory, offset));
}

/* Accesses to the end of one page and the beginning of the next, in either memory. */
static void lsu_two_pages_in_two_memories(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	u64 va, got, value = 0x8877665544332211ull, count = 0, old[2];
	struct dgpu_memory *memory;
	unsigned int where, i;
	u8 *mem[2];

	KUNIT_ASSERT_NOT_NULL(test, f);
	memory = lsu_add_memory(test, f);
	KUNIT_ASSERT_NOT_NULL(test, memory);
	old[0] = *f->pte1;
	old[1] = *f->pte2;
	for (where = 0; where < 4; where++) {
		*f->pte1 = where & 1 ? 0x3000 | V | W | LOCAL : old[0];
		*f->pte2 = where & 2 ? DGPU_HUGE_SIZE | V | W | LOCAL : old[1];
		mem[0] = where & 1 ? memory->base + 0x3000 : f->mem1;
		mem[1] = where & 2 ? memory->base + DGPU_HUGE_SIZE : f->mem2;
		dgpu_tlb_flush(&f->tlb);
		f->board->maps = 0;
		for (va = PAGE2 - 8; va <= PAGE2; va++) {
			memset(mem[0], 0xee, DGPU_PAGE_SIZE);
			memset(mem[1], 0xee, DGPU_PAGE_SIZE);
			KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, va, 8, value),
					DGPU_MEM_OK);
			for (i = 0; i < 8; i++)
				KUNIT_EXPECT_EQ_MSG(test, va + i < PAGE2 ?
						    mem[0][va + i - PAGE1] :
						    mem[1][va + i - PAGE2],
						    (u8)(value >> 8 * i), "where %u va %#llx",
						    where, va);
			KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, va, 8, &got), DGPU_MEM_OK);
			KUNIT_EXPECT_EQ(test, got, value);
		}
		/* Two accesses each, eight times one page and eight times the other. */
		count += (where & 1 ? 16 : 0) + (where & 2 ? 16 : 0);
		KUNIT_EXPECT_EQ(test, dgpu_memory_count(memory, 0) +
				dgpu_memory_count(memory, DGPU_HUGE_SIZE), count);
	}
	/* With both pages in device memory the bus saw the walks only. */
	KUNIT_EXPECT_EQ(test, f->board->maps, 2 * 4);
	lsu_expect_idle(test, f);
}

static void lsu_access_that_fails_touches_nothing(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	struct dgpu_memory *memory;
	u64 got, word;

	KUNIT_ASSERT_NOT_NULL(test, f);
	memory = lsu_add_memory(test, f);
	KUNIT_ASSERT_NOT_NULL(test, memory);
	word = *(u64 *)(memory->base + 0x3ff8);
	*f->pte1 = 0x3000 | V | W | LOCAL;

	/* The second page: not mapped, beyond the end, not on the bus. */
	*f->pte2 = 0;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, PAGE2 - 4, 8, 0), DGPU_MEM_FAULT);
	*f->pte2 = LSU_LOCAL_BYTES | V | W | LOCAL;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, PAGE2 - 4, 8, 0), DGPU_MEM_BUS);
	KUNIT_EXPECT_EQ(test, f->lsu.fault_addr, PAGE2);
	dgpu_tlb_flush(&f->tlb);
	*f->pte2 = f->bus2 | V | W;
	board_unpopulate(f->board, f->bus2);
	KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, PAGE2 - 4, 8, 0), DGPU_MEM_BUS);
	KUNIT_EXPECT_EQ(test, *(u64 *)(memory->base + 0x3ff8), word);
	KUNIT_EXPECT_EQ(test, dgpu_memory_count(memory, 0), 0);

	/* Atomics need their right here, too. */
	KUNIT_EXPECT_EQ(test, dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_ADD, PAGE1, 8, 1, 0, &got),
			DGPU_MEM_FAULT);
	*f->pte1 |= AT;
	word = *(u64 *)(memory->base + 0x3000);
	KUNIT_EXPECT_EQ(test, dgpu_lsu_atomic(&f->lsu, DGPU_ATOMIC_ADD, PAGE1, 8, 1, 0, &got),
			DGPU_MEM_OK);
	KUNIT_EXPECT_EQ(test, got, word);
	KUNIT_EXPECT_EQ(test, *(u64 *)(memory->base + 0x3000), word + 1);
	KUNIT_EXPECT_EQ(test, dgpu_memory_count(memory, 0), 1);

	/* The device is lost: the translation is in the TLB, and leads nowhere. */
	memory->lost = true;
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, PAGE1, 8, &got), DGPU_MEM_BUS);
	lsu_expect_idle(test, f);
}

static void lsu_huge_page_of_memory(struct kunit *test)
{
	struct lsu_fixture *f = lsu_fixture(test);
	u64 va = 5 * DGPU_HUGE_SIZE, offset, got;
	struct dgpu_memory *memory;

	KUNIT_ASSERT_NOT_NULL(test, f);
	memory = lsu_add_memory(test, f);
	KUNIT_ASSERT_NOT_NULL(test, memory);
	*lsu_slot(f, va, 1) = DGPU_HUGE_SIZE | V | W | HUGE | LOCAL;
	for (offset = 16; offset < DGPU_HUGE_SIZE; offset += 3 * DGPU_PAGE_SIZE + 8) {
		KUNIT_EXPECT_EQ(test, dgpu_lsu_store(&f->lsu, va + offset, 8, offset),
				DGPU_MEM_OK);
		KUNIT_EXPECT_EQ(test, *(u64 *)(memory->base + DGPU_HUGE_SIZE + offset), offset);
	}
	KUNIT_EXPECT_EQ(test, f->tlb.misses, 1);

	/* One that begins where the memory ends. */
	*lsu_slot(f, va, 1) = LSU_LOCAL_BYTES | V | W | HUGE | LOCAL;
	dgpu_tlb_flush(&f->tlb);
	KUNIT_EXPECT_EQ(test, dgpu_lsu_load(&f->lsu, va, 8, &got), DGPU_MEM_BUS);
	lsu_expect_idle(test, f);
}

static struct kunit_case dgpu_lsu_cases[] = {
	KUNIT_CASE(lsu_all_sizes_at_all_offsets),
	KUNIT_CASE(lsu_nothing_moves_unless_both_pages_are_there),
	KUNIT_CASE(lsu_end_of_the_address_space),
	KUNIT_CASE(lsu_atomics),
	KUNIT_CASE(lsu_atomics_need_both_rights),
	KUNIT_CASE(lsu_old_translation_until_flushed),
	KUNIT_CASE(lsu_marks_through_the_tlb),
	KUNIT_CASE(lsu_huge_page),
	KUNIT_CASE(lsu_memory_and_its_end),
	KUNIT_CASE(lsu_two_pages_in_two_memories),
	KUNIT_CASE(lsu_access_that_fails_touches_nothing),
	KUNIT_CASE(lsu_huge_page_of_memory),
	{}
};

static struct kunit_suite dgpu_lsu_suite = {
	.name = "dgpu_lsu",
	.test_cases = dgpu_lsu_cases,
};

kunit_test_suite(dgpu_lsu_suite);

MODULE_DESCRIPTION("KUnit tests of the emulated GPU's load/store unit");
MODULE_LICENSE("GPL");

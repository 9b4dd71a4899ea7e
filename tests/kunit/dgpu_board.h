/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A board to test the emulated GPU's silicon on: system memory behind bus addresses, and
 * a builder of page tables.  Used by KUnit modules and, with the same sources, by the
 * host tests.
 *
 * Page N of the board has the bus address N << 12.  Page 0 never exists.
 */
#ifndef _DGPU_BOARD_H
#define _DGPU_BOARD_H

#include <kunit/test.h>
#include "../../drivers/dummy_gpu/hw/units.h"

/* Room for one 2 MiB page at bus address 2 MiB, and for tables before and after. */
#define BOARD_PAGES	2048
#define BOARD_HUGE_BUS	DGPU_HUGE_SIZE

/**
 * struct board - the board
 * @test: the test that uses it
 * @page: its memory; NULL: nothing at that bus address
 * @next: where to look for a free page
 * @maps: calls of bus_map so far
 * @held: pages that are mapped now
 * @bad_unmaps: calls of bus_unmap with something else than bus_map had returned
 */
struct board {
	struct kunit *test;
	void *page[BOARD_PAGES];
	unsigned int next;
	unsigned long maps;
	long held;
	unsigned long bad_unmaps;
};

static inline void *board_va(struct board *board, u64 bus)
{
	u64 n = bus >> DGPU_PAGE_SHIFT;

	if (n >= BOARD_PAGES || (bus & (DGPU_PAGE_SIZE - 1)))
		return NULL;
	return board->page[n];
}

static inline void *board_bus_map(void *data, u64 bus)
{
	struct board *board = data;
	void *va = board_va(board, bus);

	board->maps++;
	if (va)
		board->held++;
	return va;
}

static inline void board_bus_unmap(void *data, u64 bus, void *va)
{
	struct board *board = data;

	board->held--;
	if (!va || va != board_va(board, bus))
		board->bad_unmaps++;
}

static const struct dgpu_board_ops board_ops __maybe_unused = {
	.bus_map = board_bus_map,
	.bus_unmap = board_bus_unmap,
};

static inline struct board *board_create(struct kunit *test)
{
	struct board *board = kunit_kzalloc(test, sizeof(*board), GFP_KERNEL);

	if (board) {
		board->test = test;
		board->next = 1;
	}
	return board;
}

/* Put memory at a bus address. */
static inline void *board_populate(struct board *board, u64 bus)
{
	u64 n = bus >> DGPU_PAGE_SHIFT;

	if (!board->page[n])
		board->page[n] = kunit_kzalloc(board->test, DGPU_PAGE_SIZE, GFP_KERNEL);
	return board->page[n];
}

/* Take it away, as a driver that unmaps the page; the memory itself stays allocated. */
static inline void board_unpopulate(struct board *board, u64 bus)
{
	board->page[bus >> DGPU_PAGE_SHIFT] = NULL;
}

/* A new page outside of the huge one. Returns its bus address. */
static inline u64 board_page(struct board *board)
{
	u64 bus = (u64)board->next++ << DGPU_PAGE_SHIFT;

	if (bus == BOARD_HUGE_BUS) {
		bus += DGPU_HUGE_SIZE;
		board->next += DGPU_TABLE_ENTRIES;
	}
	return board_populate(board, bus) ? bus : 0;
}

/* The slot for an address in the table at @level, with tables above it made on the way. */
static inline u64 *board_slot(struct board *board, u64 root, unsigned int va_bits, u64 va,
			      unsigned int level)
{
	unsigned int top = (va_bits - DGPU_PAGE_SHIFT) / DGPU_TABLE_BITS - 1;
	u64 table = root, *slot;

	for (;; top--) {
		slot = board_va(board, table);
		slot += (va >> (DGPU_PAGE_SHIFT + top * DGPU_TABLE_BITS)) &
			(DGPU_TABLE_ENTRIES - 1);
		if (top == level)
			return slot;
		if (!(*slot & DGPU_HW_PTE_VALID))
			*slot = board_page(board) | DGPU_HW_PTE_VALID;
		table = *slot & DGPU_HW_PTE_ADDR;
	}
}

#endif /* _DGPU_BOARD_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's page table walker: every level, every bit of an entry, rights,
 * marks, and random tables against a naive reading of the format.
 */
#include <kunit/test.h>
#include <linux/module.h>
#include "../../drivers/dummy_gpu/hw/mmu.c"
#include "dgpu_board.h"
#include "dgpu_random.h"

#define V	DGPU_HW_PTE_VALID
#define W	DGPU_HW_PTE_WRITE
#define AT	DGPU_HW_PTE_ATOMIC
#define ACC	DGPU_HW_PTE_ACCESSED
#define DRT	DGPU_HW_PTE_DIRTY
#define HUGE	DGPU_HW_PTE_HUGE

struct mmu_param {
	const char *name;
	unsigned int va_bits;
};

static const struct mmu_param mmu_params[] = {
	{ "48 bits", 48 },
	{ "57 bits", 57 },
};

static void mmu_param_desc(const struct mmu_param *param, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s", param->name);
}

KUNIT_ARRAY_PARAM(mmu, mmu_params, mmu_param_desc);

struct mmu_fixture {
	struct board *board;
	struct dgpu_mmu mmu;
	struct dgpu_memory memory;
	unsigned int levels;
	u64 root;
};

static struct mmu_fixture *mmu_fixture(struct kunit *test)
{
	const struct mmu_param *param = test->param_value;
	struct mmu_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	if (!f)
		return NULL;
	f->board = board_create(test);
	if (!f->board)
		return NULL;
	f->mmu.ops = &board_ops;
	f->mmu.board = f->board;
	f->mmu.va_bits = param->va_bits;
	f->levels = (param->va_bits - DGPU_PAGE_SHIFT) / DGPU_TABLE_BITS;
	f->root = board_page(f->board);
	return f;
}

static u64 *mmu_slot(struct mmu_fixture *f, u64 va, unsigned int level)
{
	return board_slot(f->board, f->root, f->mmu.va_bits, va, level);
}

static enum dgpu_mem mmu_walk(struct mmu_fixture *f, u64 va, u32 access,
			      struct dgpu_translation *tr)
{
	return dgpu_mmu_walk(&f->mmu, f->root, va, access, tr);
}

static void mmu_expect_idle(struct kunit *test, struct mmu_fixture *f)
{
	KUNIT_EXPECT_EQ(test, f->board->held, 0);
	KUNIT_EXPECT_EQ(test, f->board->bad_unmaps, 0);
}

/* Addresses whose indexes are 0, 1, the middle and the last on every level. */
static void mmu_walk_finds_every_corner(struct kunit *test)
{
	struct mmu_fixture *f = mmu_fixture(test);
	static const unsigned int indexes[] = { 0, 1, 255, 256, 511 };
	struct dgpu_translation tr;
	unsigned int i, level;
	u64 va, page;

	KUNIT_ASSERT_NOT_NULL(test, f);
	for (i = 0; i < ARRAY_SIZE(indexes); i++) {
		va = 0x123;
		for (level = 0; level < f->levels; level++)
			va |= (u64)indexes[i] << (DGPU_PAGE_SHIFT + level * DGPU_TABLE_BITS);
		KUNIT_EXPECT_EQ(test, mmu_walk(f, va, DGPU_ACCESS_READ, &tr), DGPU_MEM_FAULT);

		page = board_page(f->board);
		*mmu_slot(f, va, 0) = page | V | W;
		KUNIT_EXPECT_EQ(test, mmu_walk(f, va, DGPU_ACCESS_READ, &tr), DGPU_MEM_OK);
		KUNIT_EXPECT_EQ(test, tr.frame, page);
		KUNIT_EXPECT_EQ(test, tr.flags, DGPU_TR_WRITE);
		KUNIT_EXPECT_EQ(test, dgpu_translation_page(&tr, va), page);
		KUNIT_EXPECT_EQ(test, mmu_walk(f, va ^ 0x1000, DGPU_ACCESS_READ, &tr),
				DGPU_MEM_FAULT);
	}
	mmu_expect_idle(test, f);
}

static void mmu_address_beyond_the_space_faults(struct kunit *test)
{
	struct mmu_fixture *f = mmu_fixture(test);
	struct dgpu_translation tr;
	unsigned int bit;

	KUNIT_ASSERT_NOT_NULL(test, f);
	*mmu_slot(f, 0, 0) = board_page(f->board) | V | W | AT;
	KUNIT_EXPECT_EQ(test, mmu_walk(f, 0, DGPU_ACCESS_READ, &tr), DGPU_MEM_OK);

	f->board->maps = 0;
	for (bit = f->mmu.va_bits; bit < 64; bit++)
		KUNIT_EXPECT_EQ(test, mmu_walk(f, BIT_ULL(bit), DGPU_ACCESS_READ, &tr),
				DGPU_MEM_FAULT);
	KUNIT_EXPECT_EQ(test, mmu_walk(f, ~0ull, DGPU_ACCESS_ATOMIC, &tr), DGPU_MEM_FAULT);
	/* They do not alias the low addresses: the table is not even looked at. */
	KUNIT_EXPECT_EQ(test, f->board->maps, 0);
}

static void mmu_missing_table_page_is_a_bus_error(struct kunit *test)
{
	struct mmu_fixture *f = mmu_fixture(test);
	struct dgpu_translation tr;
	unsigned int level;
	u64 va = 0x7654321000, bus;
	void *page;

	KUNIT_ASSERT_NOT_NULL(test, f);
	*mmu_slot(f, va, 0) = board_page(f->board) | V;
	for (level = 1; level < f->levels; level++) {
		bus = *mmu_slot(f, va, level) & DGPU_HW_PTE_ADDR;
		page = board_va(f->board, bus);
		board_unpopulate(f->board, bus);
		KUNIT_EXPECT_EQ(test, mmu_walk(f, va, DGPU_ACCESS_READ, &tr), DGPU_MEM_BUS);
		f->board->page[bus >> DGPU_PAGE_SHIFT] = page;
		KUNIT_EXPECT_EQ(test, mmu_walk(f, va, DGPU_ACCESS_READ, &tr), DGPU_MEM_OK);
	}
	board_unpopulate(f->board, f->root);
	KUNIT_EXPECT_EQ(test, mmu_walk(f, va, DGPU_ACCESS_READ, &tr), DGPU_MEM_BUS);
	mmu_expect_idle(test, f);
}

/* Set each bit in turn in an entry of each kind; what it must do is written down here. */
static void mmu_every_bit_of_every_level(struct kunit *test)
{
	struct mmu_fixture *f = mmu_fixture(test);
	struct dgpu_translation tr;
	u64 va = 0x7654321000, *slot, good;
	unsigned int level, bit;
	enum dgpu_mem want;

	KUNIT_ASSERT_NOT_NULL(test, f);
	*mmu_slot(f, va, 0) = board_page(f->board) | V;

	for (level = 0; level < f->levels; level++) {
		slot = mmu_slot(f, va, level);
		good = *slot;
		for (bit = 0; bit < 64; bit++) {
			/* Address bits name another page, which is another test. */
			if (BIT_ULL(bit) & DGPU_HW_PTE_ADDR)
				continue;
			if (bit == 0)
				want = DGPU_MEM_OK;
			else if (level == 0 && (BIT_ULL(bit) & (W | AT | ACC | DRT)))
				want = DGPU_MEM_OK;
			else
				want = DGPU_MEM_BUS;
			WRITE_ONCE(*slot, good | BIT_ULL(bit));
			/* HUGE on level 1 makes a leaf of a table's address: unaligned. */
			KUNIT_EXPECT_EQ_MSG(test, mmu_walk(f, va, DGPU_ACCESS_READ, &tr), want,
					    "level %u bit %u", level, bit);
			/* Without VALID the driver may use every bit. */
			WRITE_ONCE(*slot, (good | BIT_ULL(bit)) & ~V);
			KUNIT_EXPECT_EQ_MSG(test, mmu_walk(f, va, DGPU_ACCESS_READ, &tr),
					    DGPU_MEM_FAULT, "level %u bit %u", level, bit);
			WRITE_ONCE(*slot, good);
		}
	}
	mmu_expect_idle(test, f);
}

static void mmu_huge_leaf(struct kunit *test)
{
	struct mmu_fixture *f = mmu_fixture(test);
	struct dgpu_translation tr;
	u64 va = 0x7654200000, *slot;
	unsigned int bit;

	KUNIT_ASSERT_NOT_NULL(test, f);
	slot = mmu_slot(f, va, 1);
	*slot = BOARD_HUGE_BUS | V | W | HUGE;
	KUNIT_EXPECT_EQ(test, mmu_walk(f, va + 0x1fffff, DGPU_ACCESS_WRITE, &tr), DGPU_MEM_OK);
	KUNIT_EXPECT_EQ(test, tr.frame, BOARD_HUGE_BUS);
	KUNIT_EXPECT_EQ(test, tr.flags, DGPU_TR_HUGE | DGPU_TR_WRITE | DGPU_TR_DIRTY);
	KUNIT_EXPECT_EQ(test, dgpu_translation_page(&tr, va + 0x1fffff),
			BOARD_HUGE_BUS + 0x1ff000);
	KUNIT_EXPECT_EQ(test, *slot, BOARD_HUGE_BUS | V | W | HUGE | ACC | DRT);

	for (bit = 12; bit <= 20; bit++) {
		*slot = BOARD_HUGE_BUS | V | HUGE | BIT_ULL(bit);
		KUNIT_EXPECT_EQ_MSG(test, mmu_walk(f, va, DGPU_ACCESS_READ, &tr),
				    DGPU_MEM_BUS, "bit %u", bit);
	}
	mmu_expect_idle(test, f);
}

/* Where a page is does not change what a leaf may say, and tables are in the system. */
static void mmu_apertures(struct kunit *test)
{
	struct mmu_fixture *f = mmu_fixture(test);
	u64 va = 0x7654321000, *slots[2], good[2], frame[2] = { 0x5000, DGPU_HUGE_SIZE };
	struct dgpu_translation tr;
	unsigned int aperture, i;
	enum dgpu_mem want;

	KUNIT_ASSERT_NOT_NULL(test, f);
	slots[0] = mmu_slot(f, va, 0);
	slots[1] = mmu_slot(f, va ^ DGPU_HUGE_SIZE, 1);
	good[0] = frame[0] | V | W;
	good[1] = frame[1] | V | W | HUGE;
	for (aperture = 0; aperture < 8; aperture++) {
		f->mmu.memory = aperture & 4 ? &f->memory : NULL;
		want = (aperture & 3) == 0 || aperture == 5 ? DGPU_MEM_OK : DGPU_MEM_BUS;
		for (i = 0; i < 2; i++) {
			*slots[i] = good[i] | (u64)(aperture & 3) << 6;
			KUNIT_EXPECT_EQ_MSG(test, mmu_walk(f, va ^ i * DGPU_HUGE_SIZE,
							   DGPU_ACCESS_WRITE, &tr),
					    want, "aperture %u size %u", aperture, i);
			/* what is refused is not marked */
			KUNIT_EXPECT_EQ(test, *slots[i] & (ACC | DRT),
					want == DGPU_MEM_OK ? ACC | DRT : 0);
			if (want != DGPU_MEM_OK)
				continue;
			KUNIT_EXPECT_EQ(test, tr.frame, frame[i]);
			KUNIT_EXPECT_EQ(test, tr.flags,
					DGPU_TR_WRITE | DGPU_TR_DIRTY |
					(i ? DGPU_TR_HUGE : 0) |
					(aperture & 3 ? DGPU_TR_LOCAL : 0));
		}
		/* An entry that names a table has no aperture. */
		*slots[0] = good[0];
		*mmu_slot(f, va, 1) |= (u64)(aperture & 3) << 6;
		KUNIT_EXPECT_EQ_MSG(test, mmu_walk(f, va, DGPU_ACCESS_READ, &tr),
				    aperture & 3 ? DGPU_MEM_BUS : DGPU_MEM_OK, "aperture %u",
				    aperture);
		*mmu_slot(f, va, 1) &= ~DGPU_HW_PTE_APERTURE;
	}
	mmu_expect_idle(test, f);
}

/* All combinations of rights and marks with all kinds of access. */
static void mmu_rights_and_marks(struct kunit *test)
{
	struct mmu_fixture *f = mmu_fixture(test);
	u64 va = 0x1000, page, *slot, before, after;
	struct dgpu_translation tr;
	unsigned int bits;
	bool may;
	u32 access;

	KUNIT_ASSERT_NOT_NULL(test, f);
	page = board_page(f->board);
	slot = mmu_slot(f, va, 0);

	for (bits = 0; bits < 16; bits++) {
		for (access = DGPU_ACCESS_READ; access <= DGPU_ACCESS_ATOMIC; access++) {
			before = page | V;
			before |= bits & 1 ? W : 0;
			before |= bits & 2 ? AT : 0;
			before |= bits & 4 ? ACC : 0;
			before |= bits & 8 ? DRT : 0;
			may = access == DGPU_ACCESS_READ ||
			      (access == DGPU_ACCESS_WRITE && (before & W)) ||
			      (access == DGPU_ACCESS_ATOMIC && (before & W) && (before & AT));
			after = before;
			if (may)
				after |= ACC | (access == DGPU_ACCESS_READ ? 0 : DRT);

			*slot = before;
			KUNIT_EXPECT_EQ_MSG(test, mmu_walk(f, va, access, &tr),
					    may ? DGPU_MEM_OK : DGPU_MEM_FAULT,
					    "bits %u access %u", bits, access);
			KUNIT_EXPECT_EQ_MSG(test, *slot, after, "bits %u access %u", bits,
					    access);
			if (!may)
				continue;
			KUNIT_EXPECT_EQ(test, tr.flags,
					(before & W ? DGPU_TR_WRITE : 0) |
					(before & AT ? DGPU_TR_ATOMIC : 0) |
					(after & DRT ? DGPU_TR_DIRTY : 0));
			KUNIT_EXPECT_TRUE(test, dgpu_translation_allows(&tr, access));
		}
	}
	mmu_expect_idle(test, f);
}

#ifndef __KERNEL__
static u64 mmu_race_value;
static unsigned int mmu_race_times;

static void mmu_race(void *p)
{
	if (!mmu_race_times)
		return;
	mmu_race_times--;
	WRITE_ONCE(*(u64 *)p, mmu_race_value ^ (mmu_race_times & 1 ? DGPU_HW_PTE_DIRTY : 0));
}

/* The driver replaces the entry after the walker has read it. */
static void mmu_entry_changes_under_the_walker(struct kunit *test)
{
	struct mmu_fixture *f = mmu_fixture(test);
	struct dgpu_translation tr;
	u64 va = 0x1000, one, two, *slot;

	KUNIT_ASSERT_NOT_NULL(test, f);
	one = board_page(f->board);
	two = board_page(f->board);
	slot = mmu_slot(f, va, 0);
	dgpu_host_before_cmpxchg = mmu_race;

	/* taken away: no mark appears in what is not valid */
	*slot = one | V | W;
	mmu_race_value = 0;
	mmu_race_times = 1;
	KUNIT_EXPECT_EQ(test, mmu_walk(f, va, DGPU_ACCESS_WRITE, &tr), DGPU_MEM_FAULT);
	KUNIT_EXPECT_EQ(test, *slot, 0);

	/* made read-only: the write faults and does not make it dirty */
	*slot = one | V | W;
	mmu_race_value = one | V;
	mmu_race_times = 1;
	KUNIT_EXPECT_EQ(test, mmu_walk(f, va, DGPU_ACCESS_WRITE, &tr), DGPU_MEM_FAULT);
	KUNIT_EXPECT_EQ(test, *slot, one | V);

	/* another page: that one is used and marked */
	*slot = one | V | W;
	mmu_race_value = two | V | W;
	mmu_race_times = 1;
	KUNIT_EXPECT_EQ(test, mmu_walk(f, va, DGPU_ACCESS_WRITE, &tr), DGPU_MEM_OK);
	KUNIT_EXPECT_EQ(test, tr.frame, two);
	KUNIT_EXPECT_EQ(test, *slot, two | V | W | ACC | DRT);

	/* it never stops changing: the walk ends all the same */
	*slot = one | V | W;
	mmu_race_value = one | V | W;
	mmu_race_times = 1000000;
	KUNIT_EXPECT_EQ(test, mmu_walk(f, va, DGPU_ACCESS_WRITE, &tr), DGPU_MEM_FAULT);
	KUNIT_EXPECT_TRUE(test, mmu_race_times > 999000);

	mmu_race_times = 0;
	dgpu_host_before_cmpxchg = NULL;
	mmu_expect_idle(test, f);
}
#endif

/* ---- random tables ---- */

/* A reading of the format that shares no code with the walker. */
static enum dgpu_mem mmu_model(struct mmu_fixture *f, u64 va, u32 access, u64 *bus,
			       bool *local)
{
	u64 table = f->root, pte, *page;
	int level;

	if (va >= 1ull << f->mmu.va_bits)
		return DGPU_MEM_FAULT;
	for (level = f->levels - 1; level >= 0; level--) {
		page = board_va(f->board, table);
		if (!page)
			return DGPU_MEM_BUS;
		pte = page[va >> (12 + 9 * level) & 511];
		if (!(pte & 1))
			return DGPU_MEM_FAULT;
		if (pte & 0xfff0000000000000ull || pte & 0xf80)
			return DGPU_MEM_BUS;
		if (level == 0 || (level == 1 && pte & 0x20)) {
			if (pte & 0x40 && !f->mmu.memory)
				return DGPU_MEM_BUS;
			if (level == 0 && pte & 0x20)
				return DGPU_MEM_BUS;
			if (level == 1 && pte & 0x1ff000)
				return DGPU_MEM_BUS;
			if (access != DGPU_ACCESS_READ && !(pte & 2))
				return DGPU_MEM_FAULT;
			if (access == DGPU_ACCESS_ATOMIC && !(pte & 4))
				return DGPU_MEM_FAULT;
			*bus = pte & 0xffffffffff000ull;
			if (level)
				*bus += va & 0x1ff000;
			*local = pte & 0x40;
			return DGPU_MEM_OK;
		}
		if (pte & 0x7e)
			return DGPU_MEM_BUS;
		table = pte & 0xffffffffff000ull;
	}
	return DGPU_MEM_BUS;
}

#define MMU_RANDOM_TABLES	24

static u64 mmu_random_entry(struct dgpu_random *rnd, const u64 *tables)
{
	u64 pte = tables[dgpu_random_below(rnd, MMU_RANDOM_TABLES)];

	switch (dgpu_random_below(rnd, 16)) {
	case 0:
		return dgpu_random(rnd);		/* anything */
	case 1:
		return pte;				/* not valid */
	case 2:
		return BOARD_HUGE_BUS | V | HUGE | (dgpu_random(rnd) & (W | AT | ACC | DRT));
	case 3:
		return pte | V | (dgpu_random(rnd) & 0xfff);
	case 4:
		return (dgpu_random(rnd) & 0xfffff000) | V;	/* a page that is not there */
	case 5 ... 7:
		return pte | V | (dgpu_random(rnd) & (W | AT | ACC | DRT));
	case 8:
		return pte | V | W | DGPU_HW_APERTURE_LOCAL;
	default:
		return pte | V;
	}
}

/* Tables that point anywhere, themselves included: the walk ends, and ends as it must. */
static void mmu_random_tables_against_a_model(struct kunit *test)
{
	struct mmu_fixture *f = mmu_fixture(test);
	unsigned int i, level, seen[3] = { 0 }, seen_local = 0;
	u64 tables[MMU_RANDOM_TABLES];
	struct dgpu_translation tr;
	enum dgpu_mem want, got;
	struct dgpu_random rnd;
	u64 va, bus = 0, *slots;
	bool local = false;
	u32 access;

	KUNIT_ASSERT_NOT_NULL(test, f);
	dgpu_random_init(test, &rnd);
	tables[0] = f->root;
	for (i = 1; i < MMU_RANDOM_TABLES; i++)
		tables[i] = board_page(f->board);

	for (i = 0; i < rounds; i++) {
		/* Few indexes a table, so that walks get far. */
		slots = board_va(f->board, tables[dgpu_random_below(&rnd, MMU_RANDOM_TABLES)]);
		slots[dgpu_random_below(&rnd, 4)] = mmu_random_entry(&rnd, tables);

		va = dgpu_random_below(&rnd, 4096);
		for (level = 0; level < f->levels; level++)
			va |= (u64)dgpu_random_below(&rnd, 4) << (12 + 9 * level);
		if (!dgpu_random_below(&rnd, 64))
			va |= 1ull << (f->mmu.va_bits + dgpu_random_below(&rnd, 7));
		access = dgpu_random_below(&rnd, 3);

		f->mmu.memory = dgpu_random_below(&rnd, 4) ? &f->memory : NULL;

		want = mmu_model(f, va, access, &bus, &local);
		got = mmu_walk(f, va, access, &tr);
		KUNIT_EXPECT_EQ_MSG(test, got, want, "step %u va %#llx access %u", i, va, access);
		if (got != want)
			break;
		seen[got]++;
		if (got != DGPU_MEM_OK)
			continue;
		KUNIT_EXPECT_EQ(test, dgpu_translation_page(&tr, va), bus);
		KUNIT_EXPECT_EQ(test, !!(tr.flags & DGPU_TR_LOCAL), local);
		seen_local += local;
	}
	/* It was a test of something. */
	KUNIT_EXPECT_TRUE(test, seen[DGPU_MEM_OK] > rounds / 100);
	KUNIT_EXPECT_TRUE(test, seen_local > rounds / 10000);
	KUNIT_EXPECT_TRUE(test, seen[DGPU_MEM_FAULT] > rounds / 100);
	KUNIT_EXPECT_TRUE(test, seen[DGPU_MEM_BUS] > rounds / 100);
	mmu_expect_idle(test, f);
}

static struct kunit_case dgpu_mmu_cases[] = {
	KUNIT_CASE_PARAM(mmu_walk_finds_every_corner, mmu_gen_params),
	KUNIT_CASE_PARAM(mmu_address_beyond_the_space_faults, mmu_gen_params),
	KUNIT_CASE_PARAM(mmu_missing_table_page_is_a_bus_error, mmu_gen_params),
	KUNIT_CASE_PARAM(mmu_every_bit_of_every_level, mmu_gen_params),
	KUNIT_CASE_PARAM(mmu_huge_leaf, mmu_gen_params),
	KUNIT_CASE_PARAM(mmu_apertures, mmu_gen_params),
	KUNIT_CASE_PARAM(mmu_rights_and_marks, mmu_gen_params),
#ifndef __KERNEL__
	KUNIT_CASE_PARAM(mmu_entry_changes_under_the_walker, mmu_gen_params),
#endif
	KUNIT_CASE_PARAM(mmu_random_tables_against_a_model, mmu_gen_params),
	{}
};

static struct kunit_suite dgpu_mmu_suite = {
	.name = "dgpu_mmu",
	.test_cases = dgpu_mmu_cases,
};

kunit_test_suite(dgpu_mmu_suite);

MODULE_DESCRIPTION("KUnit tests of the emulated GPU's page table walker");
MODULE_LICENSE("GPL");

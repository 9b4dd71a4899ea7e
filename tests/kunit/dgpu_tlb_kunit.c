// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's TLB: what it keeps, what it drops, and random use of TLBs of all
 * sizes against a naive model that never forgets.
 */
#include <kunit/test.h>
#include <linux/module.h>
#include "../../drivers/dummy_gpu/hw/mmu.c"
#include "../../drivers/dummy_gpu/hw/tlb.c"
#include "dgpu_random.h"

#define WD	(DGPU_TR_WRITE | DGPU_TR_DIRTY)
#define MB2	DGPU_HUGE_SIZE

static struct dgpu_tlb *tlb_create(struct kunit *test, unsigned int nr)
{
	struct dgpu_tlb *tlb = kunit_kzalloc(test, sizeof(*tlb), GFP_KERNEL);
	struct dgpu_tlb_entry *entries = NULL;

	if (nr)
		entries = kunit_kcalloc(test, nr, sizeof(*entries), GFP_KERNEL);
	if (!tlb || (nr && !entries))
		return NULL;
	dgpu_tlb_init(tlb, entries, nr);
	return tlb;
}

static void tlb_put(struct dgpu_tlb *tlb, unsigned int asid, u64 va, u64 frame, u32 flags)
{
	struct dgpu_translation tr = { .frame = frame, .flags = flags };

	dgpu_tlb_insert(tlb, asid, va, &tr);
}

/* The bus address that a read gets, or 0 for a miss. */
static u64 tlb_get(struct dgpu_tlb *tlb, unsigned int asid, u64 va)
{
	struct dgpu_translation tr;

	if (!dgpu_tlb_lookup(tlb, asid, va, DGPU_ACCESS_READ, &tr))
		return 0;
	return dgpu_translation_page(&tr, va);
}

static void tlb_keeps_until_told(struct kunit *test)
{
	struct dgpu_tlb *tlb = tlb_create(test, 64);

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 0x5000), 0);
	tlb_put(tlb, 1, 0x5123, 0xa000, 0);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 0x5000), 0xa000);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 0x5fff), 0xa000);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 0x6000), 0);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 2, 0x5000), 0);
	KUNIT_EXPECT_EQ(test, tlb->hits, 2);
	KUNIT_EXPECT_EQ(test, tlb->misses, 3);

	/* Another context, other addresses, an empty range: not ours. */
	dgpu_tlb_invalidate(tlb, 2, 0, ~0ull);
	dgpu_tlb_invalidate(tlb, 1, 0x6000, 0x7000);
	dgpu_tlb_invalidate(tlb, 1, 0x4000, 0x5000);
	dgpu_tlb_invalidate(tlb, 1, 0x5000, 0x5000);
	dgpu_tlb_invalidate(tlb, 1, 0x6000, 0x5000);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 0x5000), 0xa000);

	dgpu_tlb_invalidate(tlb, 1, 0x5000, 0x6000);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 0x5000), 0);
}

static void tlb_any_byte_of_the_page_drops_it(struct kunit *test)
{
	static const u64 ranges[][2] = {
		{ 0x5fff, 0x6000 }, { 0x5000, 0x5001 }, { 0x5800, 0x5801 },
		{ 0, 0x5001 }, { 0x5fff, ~0ull }, { 0, ~0ull },
	};
	struct dgpu_tlb *tlb = tlb_create(test, 64);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		tlb_put(tlb, 1, 0x5000, 0xa000, 0);
		dgpu_tlb_invalidate(tlb, 1, ranges[i][0], ranges[i][1]);
		KUNIT_EXPECT_EQ_MSG(test, tlb_get(tlb, 1, 0x5000), 0, "range %u", i);
	}
}

/* A TLB goes through large ranges in another way than through small ones. */
static void tlb_ranges_of_all_lengths(struct kunit *test)
{
	struct dgpu_tlb *tlb = tlb_create(test, 32);
	u64 pages, first = 1000, last;

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	for (pages = 1; pages < 100; pages++) {
		last = first + pages - 1;
		tlb_put(tlb, 1, (first - 1) << 12, (first - 1) << 12, 0);
		tlb_put(tlb, 1, first << 12, first << 12, 0);
		tlb_put(tlb, 1, last << 12, last << 12, 0);
		tlb_put(tlb, 1, (last + 1) << 12, (last + 1) << 12, 0);
		dgpu_tlb_invalidate(tlb, 1, first << 12, (last << 12) + 1);
		KUNIT_EXPECT_EQ_MSG(test, tlb_get(tlb, 1, first << 12), 0, "%llu pages", pages);
		KUNIT_EXPECT_EQ_MSG(test, tlb_get(tlb, 1, last << 12), 0, "%llu pages", pages);
		KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, (first - 1) << 12), (first - 1) << 12);
		KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, (last + 1) << 12), (last + 1) << 12);
		dgpu_tlb_flush(tlb);
	}
}

/* A page goes to device memory and back: which memory it is goes with the translation. */
static void tlb_keeps_the_aperture(struct kunit *test)
{
	struct dgpu_tlb *tlb = tlb_create(test, 16);
	struct dgpu_translation tr;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	for (i = 0; i < 4; i++) {
		tlb_put(tlb, 1, 0x5000, 0xa000, i & 1 ? DGPU_TR_LOCAL : 0);
		KUNIT_EXPECT_TRUE(test, dgpu_tlb_lookup(tlb, 1, 0x5000, DGPU_ACCESS_READ, &tr));
		KUNIT_EXPECT_EQ(test, tr.frame, 0xa000);
		KUNIT_EXPECT_EQ(test, tr.flags, i & 1 ? DGPU_TR_LOCAL : 0);
		/* and with a large one */
		tlb_put(tlb, 1, MB2, MB2, DGPU_TR_HUGE | (i & 1 ? DGPU_TR_LOCAL : 0));
		KUNIT_EXPECT_TRUE(test, dgpu_tlb_lookup(tlb, 1, MB2, DGPU_ACCESS_READ, &tr));
		KUNIT_EXPECT_EQ(test, tr.flags,
				DGPU_TR_HUGE | (i & 1 ? DGPU_TR_LOCAL : 0));
	}
}

static void tlb_huge_entries(struct kunit *test)
{
	struct dgpu_tlb *tlb = tlb_create(test, 64);

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	tlb_put(tlb, 1, 3 * MB2 + 0x5000, 8 * MB2, DGPU_TR_HUGE);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 3 * MB2), 8 * MB2);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 4 * MB2 - 1), 9 * MB2 - 0x1000);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 4 * MB2), 0);

	/* One byte of it is enough. */
	dgpu_tlb_invalidate(tlb, 1, 4 * MB2 - 1, 4 * MB2);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 3 * MB2), 0);

	/* A small page in it is found first, the rest stays. */
	tlb_put(tlb, 1, 3 * MB2, 8 * MB2, DGPU_TR_HUGE);
	dgpu_tlb_invalidate(tlb, 1, 4 * MB2, 5 * MB2);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 3 * MB2), 8 * MB2);

	/* Split: the new small one replaces the old large one for good. */
	tlb_put(tlb, 1, 3 * MB2 + 0x1000, 0xb000, 0);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 3 * MB2 + 0x1000), 0xb000);
	dgpu_tlb_invalidate(tlb, 1, 3 * MB2 + 0x1000, 3 * MB2 + 0x2000);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 3 * MB2 + 0x1000), 0);

	/* Merge: the new large one replaces the old small one. */
	tlb_put(tlb, 1, 3 * MB2 + 0x1000, 0xb000, 0);
	tlb_put(tlb, 1, 3 * MB2 + 0x1000, 8 * MB2, DGPU_TR_HUGE);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 3 * MB2 + 0x1000), 8 * MB2 + 0x1000);
}

static void tlb_rights_are_as_they_were(struct kunit *test)
{
	struct dgpu_tlb *tlb = tlb_create(test, 64);
	struct dgpu_translation tr;

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	/* Read-only: a write asks the page table again. */
	tlb_put(tlb, 1, 0x5000, 0xa000, 0);
	KUNIT_EXPECT_TRUE(test, dgpu_tlb_lookup(tlb, 1, 0x5000, DGPU_ACCESS_READ, &tr));
	KUNIT_EXPECT_FALSE(test, dgpu_tlb_lookup(tlb, 1, 0x5000, DGPU_ACCESS_WRITE, &tr));
	/* Writable but clean: the same, or the dirty bit would not be set. */
	tlb_put(tlb, 1, 0x5000, 0xa000, DGPU_TR_WRITE);
	KUNIT_EXPECT_FALSE(test, dgpu_tlb_lookup(tlb, 1, 0x5000, DGPU_ACCESS_WRITE, &tr));
	/* Dirty: writes need no walk any more; atomics do. */
	tlb_put(tlb, 1, 0x5000, 0xa000, WD);
	KUNIT_EXPECT_TRUE(test, dgpu_tlb_lookup(tlb, 1, 0x5000, DGPU_ACCESS_WRITE, &tr));
	KUNIT_EXPECT_FALSE(test, dgpu_tlb_lookup(tlb, 1, 0x5000, DGPU_ACCESS_ATOMIC, &tr));
	tlb_put(tlb, 1, 0x5000, 0xa000, WD | DGPU_TR_ATOMIC);
	KUNIT_EXPECT_TRUE(test, dgpu_tlb_lookup(tlb, 1, 0x5000, DGPU_ACCESS_ATOMIC, &tr));
	KUNIT_EXPECT_EQ(test, tr.flags, WD | DGPU_TR_ATOMIC);
	/* One entry all the time. */
	dgpu_tlb_invalidate(tlb, 1, 0x5000, 0x5001);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 0x5000), 0);
}

static void tlb_none(struct kunit *test)
{
	struct dgpu_tlb *tlb = tlb_create(test, 0);

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	tlb_put(tlb, 1, 0x5000, 0xa000, 0);
	KUNIT_EXPECT_EQ(test, tlb_get(tlb, 1, 0x5000), 0);
	dgpu_tlb_invalidate(tlb, 1, 0, ~0ull);
	dgpu_tlb_flush(tlb);
	KUNIT_EXPECT_EQ(test, tlb->misses, 1);
}

/* As many pages in a row as there are entries fit: the sets are used evenly. */
static void tlb_holds_as_much_as_it_says(struct kunit *test)
{
	struct dgpu_tlb *tlb = tlb_create(test, 256);
	u64 page;

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	for (page = 1000; page < 1256; page++)
		tlb_put(tlb, 7, page << 12, page << 12, 0);
	for (page = 1000; page < 1256; page++)
		KUNIT_EXPECT_EQ(test, tlb_get(tlb, 7, page << 12), page << 12);
	dgpu_tlb_flush(tlb);
	for (page = 1000; page < 1256; page++)
		KUNIT_EXPECT_EQ(test, tlb_get(tlb, 7, page << 12), 0);
}

/* ---- against a model ---- */

#define MODEL_ASIDS	3
#define MODEL_HUGES	4
#define MODEL_PAGES	(MODEL_HUGES * 512)

/* All that was put in and not dropped; frame 0: nothing. */
struct tlb_model {
	struct dgpu_translation small[MODEL_ASIDS][MODEL_PAGES];
	struct dgpu_translation huge[MODEL_ASIDS][MODEL_HUGES];
};

struct tlb_param {
	unsigned int entries;
};

static const struct tlb_param tlb_params[] = {
	{ 0 }, { 1 }, { 2 }, { 4 }, { 8 }, { 64 }, { 1024 },
};

static void tlb_param_desc(const struct tlb_param *param, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u entries", param->entries);
}

KUNIT_ARRAY_PARAM(tlb, tlb_params, tlb_param_desc);

static void model_put(struct tlb_model *model, unsigned int asid, u64 va,
		      const struct dgpu_translation *tr)
{
	if (tr->flags & DGPU_TR_HUGE) {
		model->small[asid][va >> 12].frame = 0;
		model->huge[asid][va >> 21] = *tr;
	} else {
		model->huge[asid][va >> 21].frame = 0;
		model->small[asid][va >> 12] = *tr;
	}
}

static void model_drop(struct tlb_model *model, unsigned int asid, u64 start, u64 end)
{
	u64 i;

	for (i = 0; i < MODEL_PAGES; i++)
		if (i << 12 < end && (i + 1) << 12 > start)
			model->small[asid][i].frame = 0;
	for (i = 0; i < MODEL_HUGES; i++)
		if (i << 21 < end && (i + 1) << 21 > start)
			model->huge[asid][i].frame = 0;
}

static bool model_may_answer(const struct tlb_model *model, unsigned int asid, u64 va,
			     const struct dgpu_translation *tr)
{
	const struct dgpu_translation *small = &model->small[asid][va >> 12];
	const struct dgpu_translation *huge = &model->huge[asid][va >> 21];

	if (tr->flags & DGPU_TR_HUGE)
		return huge->frame == tr->frame && huge->flags == tr->flags;
	return small->frame == tr->frame && small->flags == tr->flags;
}

static void tlb_random_use_against_a_model(struct kunit *test)
{
	const struct tlb_param *param = test->param_value;
	struct dgpu_tlb *tlb = tlb_create(test, param->entries);
	struct tlb_model *model = kunit_kzalloc(test, sizeof(*model), GFP_KERNEL);
	struct dgpu_translation tr = { 0 }, got;
	unsigned int asid, access, hits = 0, full = 0;
	struct dgpu_random rnd;
	u64 i, va, start, end;

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	KUNIT_ASSERT_NOT_NULL(test, model);
	dgpu_random_init(test, &rnd);

	for (i = 1; i <= rounds; i++) {
		asid = dgpu_random_below(&rnd, MODEL_ASIDS);
		/* Mostly a few pages, so that things meet. */
		va = dgpu_random_below(&rnd, MODEL_HUGES) * MB2;
		va += dgpu_random_below(&rnd, dgpu_random_below(&rnd, 4) ? 8 : 512) << 12;
		va += dgpu_random_below(&rnd, 4096);
		access = dgpu_random_below(&rnd, 3);

		switch (dgpu_random_below(&rnd, 8)) {
		case 0:
		case 1:
			tr.flags = dgpu_random(&rnd) & 7;
			tr.frame = i << 12;
			if (!dgpu_random_below(&rnd, 8)) {
				tr.flags |= DGPU_TR_HUGE;
				tr.frame = i << 21;
			}
			dgpu_tlb_insert(tlb, asid, va, &tr);
			model_put(model, asid, va, &tr);
			if (!param->entries)
				break;
			/* What was just put in is what is found. */
			if (dgpu_translation_allows(&tr, access)) {
				KUNIT_EXPECT_TRUE(test, dgpu_tlb_lookup(tlb, asid, va, access,
									&got));
				KUNIT_EXPECT_EQ(test, got.frame, tr.frame);
				KUNIT_EXPECT_EQ(test, got.flags, tr.flags);
			}
			break;
		case 2:
			if (dgpu_random_below(&rnd, 8))
				break;
			start = va;
			end = va + 1 + dgpu_random_below(&rnd, 1u << dgpu_random_below(&rnd, 24));
			if (!dgpu_random_below(&rnd, 16))
				end = ~0ull;
			dgpu_tlb_invalidate(tlb, asid, start, end);
			model_drop(model, asid, start, end);
			break;
		default:
			if (!dgpu_tlb_lookup(tlb, asid, va, access, &got))
				break;
			hits++;
			KUNIT_EXPECT_TRUE(test, dgpu_translation_allows(&got, access));
			KUNIT_EXPECT_TRUE_MSG(test, model_may_answer(model, asid, va, &got),
					      "step %llu asid %u va %#llx: frame %#llx",
					      (unsigned long long)i, asid, va, got.frame);
			break;
		}
	}
	for (i = 0; i < param->entries; i++)
		full += tlb->entries[i].valid;
	kunit_info(test, "%u hits, %u of %u entries in use\n", hits, full, param->entries);
	if (param->entries)
		KUNIT_EXPECT_TRUE(test, hits > 0);
}

static struct kunit_case dgpu_tlb_cases[] = {
	KUNIT_CASE(tlb_keeps_until_told),
	KUNIT_CASE(tlb_any_byte_of_the_page_drops_it),
	KUNIT_CASE(tlb_ranges_of_all_lengths),
	KUNIT_CASE(tlb_keeps_the_aperture),
	KUNIT_CASE(tlb_huge_entries),
	KUNIT_CASE(tlb_rights_are_as_they_were),
	KUNIT_CASE(tlb_none),
	KUNIT_CASE(tlb_holds_as_much_as_it_says),
	KUNIT_CASE_PARAM(tlb_random_use_against_a_model, tlb_gen_params),
	{}
};

static struct kunit_suite dgpu_tlb_suite = {
	.name = "dgpu_tlb",
	.test_cases = dgpu_tlb_cases,
};

kunit_test_suite(dgpu_tlb_suite);

MODULE_DESCRIPTION("KUnit tests of the emulated GPU's TLB");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0
/*
 * Policy and notes: which page moves, what goes with it, and what is kept in mind.
 *
 * The first half tests decisions and notes by themselves; the second has a mock device
 * with memory fault on real memory, and looks where the pages are then.
 */
#include <kunit/test.h>
#include <kunit/visibility.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/prandom.h>
#include <linux/uaccess.h>
#include "../../hmm/hmm_private.h"
#include "../../hmm/notes.h"
#include "mock_device.h"
#include "mock_memory.h"
#include "mock_user.h"

#define POLICY_RW	(PROT_READ | PROT_WRITE)
#define POLICY_AT(n)	(MOCK_BASE + (n) * PAGE_SIZE)
#define POLICY_PAGES	(2 * HMM_AREA_PAGES)

/* What the window of a fault is, in pages: at first. */
#define POLICY_WINDOW	16

/**
 * struct policy_fixture - a process on a device with memory
 * @memory: the memory
 * @mirror: the process
 * @where: of the last look
 */
struct policy_fixture {
	struct mock_memory *memory;
	struct mock_mirror *mirror;
	struct hmm_residency where[POLICY_PAGES];
};

static struct policy_fixture *policy_begin(struct kunit *test, unsigned long pages)
{
	struct policy_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	unsigned long i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	/* The first mapping makes the address space. */
	mock_mmap(test, MOCK_BASE, POLICY_PAGES * PAGE_SIZE, POLICY_RW);
	f->memory = mock_memory_new(test, NULL, 4);
	f->mirror = mock_mirror_new(test, f->memory->device, current->mm);
	for (i = 0; i < pages; i++)
		mock_cpu_store(test, POLICY_AT(i), 1000 + i);
	return f;
}

static void policy_look(struct kunit *test, struct policy_fixture *f)
{
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_residency(&f->mirror->hmm, MOCK_BASE, f->where,
						      POLICY_PAGES));
}

/* Exactly [first, first + nr) are on the device. */
static void policy_expect_there(struct kunit *test, struct policy_fixture *f,
				unsigned long first, unsigned long nr)
{
	unsigned long i;
	bool there;

	policy_look(test, f);
	for (i = 0; i < POLICY_PAGES; i++) {
		there = f->where[i].place == HMM_PLACE_DEVICE;
		if (there != (i >= first && i < first + nr)) {
			KUNIT_FAIL(test, "page %lu is at place %u", i, f->where[i].place);
			return;
		}
	}
}

static int policy_set(struct policy_fixture *f, enum hmm_policy policy)
{
	return hmm_mirror_set_policy(&f->mirror->hmm, policy);
}

static int policy_hint(struct policy_fixture *f, unsigned long first, unsigned long nr,
		       u32 flags, u32 prefer, unsigned long granularity)
{
	struct hmm_hint hint = {
		.flags = flags,
		.prefer = prefer,
		.device = prefer == HMM_PREFER_DEVICE ? &f->memory->device->hmm : NULL,
		.granularity = granularity,
	};

	return hmm_mirror_set_hint(&f->mirror->hmm, POLICY_AT(first), POLICY_AT(first + nr),
				   &hint);
}

static int policy_fault(struct policy_fixture *f, unsigned long n, u32 access)
{
	return mock_mirror_fault(f->mirror, POLICY_AT(n), access);
}

/* --- decisions --- */

#define POLICY_ME	7
#define POLICY_OTHER	8

static void policy_table(struct kunit *test)
{
	static const struct {
		enum hmm_policy policy;
		struct hmm_note_hint hint;
		bool read;
		bool write;
	} rows[] = {
		{ HMM_POLICY_REQUEST, {}, false, false },
		{ HMM_POLICY_TOUCH, {}, true, true },
		{ HMM_POLICY_NEVER, {}, false, false },
		{ HMM_POLICY_REQUEST, { .flags = HMM_HINT_AUTO }, true, true },
		{ HMM_POLICY_NEVER, { .flags = HMM_HINT_AUTO }, false, false },
		{ HMM_POLICY_TOUCH, { .flags = HMM_HINT_NO_AUTO }, false, false },
		{ HMM_POLICY_TOUCH, { .flags = HMM_HINT_IN_PLACE }, false, false },
		{ HMM_POLICY_TOUCH, { .flags = HMM_HINT_READ_MOSTLY }, false, true },
		{ HMM_POLICY_REQUEST, { .flags = HMM_HINT_READ_MOSTLY }, false, false },
		{ HMM_POLICY_REQUEST, { .flags = HMM_HINT_READ_MOSTLY | HMM_HINT_AUTO },
		  false, true },
		{ HMM_POLICY_TOUCH, { .prefer = HMM_PREFER_SYSTEM }, false, false },
		{ HMM_POLICY_REQUEST, { .prefer = HMM_PREFER_DEVICE, .device = POLICY_ME },
		  true, true },
		{ HMM_POLICY_TOUCH, { .prefer = HMM_PREFER_DEVICE, .device = POLICY_OTHER },
		  false, false },
		{ HMM_POLICY_NEVER, { .prefer = HMM_PREFER_DEVICE, .device = POLICY_ME },
		  false, false },
		{ HMM_POLICY_REQUEST, { .prefer = HMM_PREFER_DEVICE, .device = POLICY_ME,
					.flags = HMM_HINT_READ_MOSTLY }, false, true },
		{ HMM_POLICY_TOUCH, { .prefer = HMM_PREFER_DEVICE, .device = POLICY_ME,
				      .flags = HMM_HINT_NO_AUTO }, false, false },
		{ HMM_POLICY_TOUCH, { .granularity = 16 }, true, true },
		{ HMM_POLICY_TOUCH, { .flags = HMM_HINT_EXCLUSIVE }, true, true },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		KUNIT_EXPECT_EQ_MSG(test, rows[i].read,
				    hmm_policy_moves(rows[i].policy, &rows[i].hint,
						     POLICY_ME, false), "row %d", i);
		KUNIT_EXPECT_EQ_MSG(test, rows[i].write,
				    hmm_policy_moves(rows[i].policy, &rows[i].hint,
						     POLICY_ME, true), "row %d", i);
	}
}

/* --- notes, without a device --- */

/**
 * struct notes_fixture - a block that no kernel knows
 * @hmm: its address space
 * @block: the block, of two areas
 */
struct notes_fixture {
	struct hmm_mm hmm;
	struct hmm_block *block;
};

#define NOTES_AT(n)	((n) * PAGE_SIZE)

static struct notes_fixture *notes_begin(struct kunit *test)
{
	struct notes_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	mock_mmap(test, MOCK_BASE, PAGE_SIZE, POLICY_RW);
	f->block = kunit_kzalloc(test, struct_size(f->block, areas, 2), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->block);
	f->hmm.mm = current->mm;
	f->block->hmm = &f->hmm;
	f->block->end = 2 * HMM_AREA_SIZE;
	mutex_init(&f->block->lock);
	return f;
}

static void notes_set(struct kunit *test, struct notes_fixture *f, unsigned long first,
		      unsigned long nr, u8 flags)
{
	struct hmm_note_hint hint = { .flags = flags };

	mmap_read_lock(current->mm);
	KUNIT_EXPECT_EQ(test, 0, hmm_notes_set_hint(f->block, NOTES_AT(first),
						    NOTES_AT(first + nr), &hint));
	mmap_read_unlock(current->mm);
}

static void notes_event(struct notes_fixture *f, enum mmu_notifier_event event,
			unsigned long first, unsigned long nr)
{
	struct mmu_notifier_range range = {
		.mm = current->mm,
		.start = NOTES_AT(first),
		.end = NOTES_AT(first + nr),
		.event = event,
	};

	mutex_lock(&f->block->lock);
	hmm_notes_event(f->block, &range);
	mutex_unlock(&f->block->lock);
}

static u8 notes_flags(struct notes_fixture *f, unsigned long n)
{
	struct hmm_note_hint hint;

	mutex_lock(&f->block->lock);
	hint = hmm_notes_hint(f->block, NOTES_AT(n));
	mutex_unlock(&f->block->lock);
	return hint.flags;
}

/* Hints are set, replaced and dropped at random; a plain array says what is right. */
static void notes_hints(struct kunit *test)
{
	struct notes_fixture *f = notes_begin(test);
	u8 *right = kunit_kzalloc(test, HMM_AREA_PAGES, GFP_KERNEL);
	unsigned int round, i, first, nr, flags;
	struct rnd_state rnd;

	KUNIT_ASSERT_NOT_NULL(test, right);
	prandom_seed_state(&rnd, 3);
	for (round = 0; round < 2000; round++) {
		first = prandom_u32_state(&rnd) % HMM_AREA_PAGES;
		nr = 1 + prandom_u32_state(&rnd) % (HMM_AREA_PAGES - first);
		flags = prandom_u32_state(&rnd) % 4;
		if (round % 7 == 0) {
			first = 0;
			nr = HMM_AREA_PAGES;
		}
		if (round % 3 == 0) {
			notes_event(f, MMU_NOTIFY_UNMAP, first, nr);
			flags = 0;
		} else {
			notes_set(test, f, first, nr, flags);
		}
		memset(&right[first], flags, nr);
		for (i = 0; i < HMM_AREA_PAGES; i++)
			if (right[i] != notes_flags(f, i))
				break;
		if (i < HMM_AREA_PAGES) {
			KUNIT_FAIL(test, "round %u: page %u has %x instead of %x", round, i,
				   notes_flags(f, i), right[i]);
			break;
		}
	}
	hmm_notes_free(f->block);
}

/* One hint for all of an area, or a part, needs no array; a second one does. */
static void notes_small(struct kunit *test)
{
	struct notes_fixture *f = notes_begin(test);

	notes_set(test, f, 0, HMM_AREA_PAGES, HMM_HINT_AUTO);
	KUNIT_EXPECT_NULL(test, f->block->areas[0]->hints);
	KUNIT_EXPECT_NULL(test, f->block->areas[1]);
	notes_event(f, MMU_NOTIFY_UNMAP, 5, 100);
	notes_set(test, f, 300, 10, HMM_HINT_AUTO);
	KUNIT_EXPECT_NULL(test, f->block->areas[0]->hints);
	KUNIT_EXPECT_EQ(test, 0, notes_flags(f, 5));
	KUNIT_EXPECT_EQ(test, HMM_HINT_AUTO, notes_flags(f, 105));
	notes_set(test, f, 20, 1, HMM_HINT_NO_AUTO);
	KUNIT_EXPECT_NOT_NULL(test, f->block->areas[0]->hints);
	KUNIT_EXPECT_EQ(test, HMM_HINT_AUTO, notes_flags(f, 4));
	KUNIT_EXPECT_EQ(test, HMM_HINT_NO_AUTO, notes_flags(f, 20));
	KUNIT_EXPECT_EQ(test, 0, notes_flags(f, 21));
	notes_set(test, f, 0, HMM_AREA_PAGES, HMM_HINT_IN_PLACE);
	KUNIT_EXPECT_NULL(test, f->block->areas[0]->hints);
	notes_event(f, MMU_NOTIFY_UNMAP, 0, HMM_AREA_PAGES);
	KUNIT_EXPECT_NULL(test, f->block->areas[0]);
	/* To say nothing of what there is nothing to say about needs no memory. */
	notes_set(test, f, 0, 10, 0);
	KUNIT_EXPECT_NULL(test, f->block->areas[0]);
	hmm_notes_free(f->block);
}

static void notes_expect(struct kunit *test, struct notes_fixture *f, unsigned long n,
			 u32 place, u32 moves)
{
	struct hmm_residency where = { .place = place };

	mutex_lock(&f->block->lock);
	hmm_notes_look(f->block, NOTES_AT(n), &where);
	mutex_unlock(&f->block->lock);
	KUNIT_EXPECT_EQ(test, moves, where.moves);
	KUNIT_EXPECT_EQ(test, !!moves, !!where.since_ns);
	KUNIT_EXPECT_LE(test, where.since_ns, ktime_get_ns());
}

/* An event may be a page's way home, or not: where it is seen next decides. */
static void notes_history(struct kunit *test)
{
	static const u8 moved[] = { HMM_PAGE_MOVED, HMM_PAGE_BUSY, HMM_PAGE_MOVED };
	static const u8 there[] = { HMM_PAGE_THERE, HMM_PAGE_MOVED, HMM_PAGE_MOVED };
	struct notes_fixture *f = notes_begin(test);

	/* Nobody expects them: no room, no history. */
	hmm_notes_moved_in(f->block, NOTES_AT(0), moved, 3);
	notes_expect(test, f, 0, HMM_PLACE_DEVICE, 0);

	hmm_notes_expect(f->block, NOTES_AT(0), NOTES_AT(3));
	hmm_notes_moved_in(f->block, NOTES_AT(0), moved, 3);
	notes_expect(test, f, 0, HMM_PLACE_DEVICE, 1);
	notes_expect(test, f, 1, HMM_PLACE_SYSTEM, 0);

	/* Page 0 stays, page 1 comes, page 2 has been home in between. */
	notes_event(f, MMU_NOTIFY_MIGRATE, 0, 3);
	hmm_notes_moved_in(f->block, NOTES_AT(0), there, 3);
	notes_expect(test, f, 0, HMM_PLACE_DEVICE, 1);
	notes_expect(test, f, 1, HMM_PLACE_DEVICE, 1);
	notes_expect(test, f, 2, HMM_PLACE_DEVICE, 3);
	KUNIT_EXPECT_EQ(test, 3, f->block->areas[0]->nr_there);

	/* A CPU fault, which is seen by its event only; and a request. */
	notes_event(f, MMU_NOTIFY_MIGRATE, 0, 1);
	notes_expect(test, f, 0, HMM_PLACE_SYSTEM, 2);
	notes_expect(test, f, 0, HMM_PLACE_SYSTEM, 2);
	hmm_notes_moved_out(f->block, NOTES_AT(2), moved, 1);
	notes_expect(test, f, 2, HMM_PLACE_SYSTEM, 4);
	KUNIT_EXPECT_EQ(test, 1, f->block->areas[0]->nr_there);

	notes_event(f, MMU_NOTIFY_UNMAP, 0, 2);
	notes_expect(test, f, 0, HMM_PLACE_NONE, 0);
	notes_expect(test, f, 2, HMM_PLACE_SYSTEM, 4);
	KUNIT_EXPECT_EQ(test, 0, f->block->areas[0]->nr_there);
	hmm_notes_free(f->block);
}

static bool notes_is_held(struct notes_fixture *f, unsigned long n)
{
	bool held;

	mutex_lock(&f->block->lock);
	held = hmm_notes_is_held(f->block, NOTES_AT(n));
	mutex_unlock(&f->block->lock);
	return held;
}

static void notes_bounce(struct notes_fixture *f, unsigned int times)
{
	static const u8 moved = HMM_PAGE_MOVED;

	while (times--) {
		notes_event(f, MMU_NOTIFY_MIGRATE, 0, 1);
		hmm_notes_moved_in(f->block, NOTES_AT(0), &moved, 1);
	}
}

/* The guard, with the times made so long, or so short, that the test's speed is nothing. */
static void notes_thrash(struct kunit *test)
{
	unsigned int lapse = hmm_notes_lapse, hold = hmm_notes_hold;
	unsigned int bounces = hmm_notes_bounces;
	struct notes_fixture *f = notes_begin(test);
	static const u8 moved = HMM_PAGE_MOVED;

	hmm_notes_bounces = 4;
	hmm_notes_lapse = UINT_MAX;
	hmm_notes_hold = UINT_MAX;
	hmm_notes_expect(f->block, NOTES_AT(0), NOTES_AT(1));
	hmm_notes_moved_in(f->block, NOTES_AT(0), &moved, 1);
	notes_bounce(f, 3);
	KUNIT_EXPECT_FALSE(test, notes_is_held(f, 0));
	notes_bounce(f, 1);
	KUNIT_EXPECT_TRUE(test, notes_is_held(f, 0));
	KUNIT_EXPECT_FALSE(test, notes_is_held(f, 1));
	hmm_notes_bounces = 0;
	KUNIT_EXPECT_FALSE(test, notes_is_held(f, 0));
	hmm_notes_bounces = 4;
	hmm_notes_hold = 0;
	KUNIT_EXPECT_FALSE(test, notes_is_held(f, 0));
	/* It stayed away for longer than a moment: it begins anew. */
	hmm_notes_hold = UINT_MAX;
	hmm_notes_lapse = 0;
	notes_bounce(f, 1);
	KUNIT_EXPECT_FALSE(test, notes_is_held(f, 0));

	hmm_notes_free(f->block);
	hmm_notes_bounces = bounces;
	hmm_notes_lapse = lapse;
	hmm_notes_hold = hold;
}

/* --- with a device --- */

/* Nothing moves by itself, unless that is wanted; and never means never. */
static void policy_process(struct kunit *test)
{
	struct policy_fixture *f = policy_begin(test, POLICY_WINDOW);
	unsigned long moved;

	KUNIT_EXPECT_EQ(test, -EINVAL, policy_set(f, HMM_POLICY_NR));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 0, HMM_FAULT_WRITE));
	policy_expect_there(test, f, 0, 0);

	KUNIT_EXPECT_EQ(test, 0, policy_set(f, HMM_POLICY_NEVER));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 1, HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, -EPERM, hmm_mirror_migrate(&f->mirror->hmm, MOCK_BASE,
							 POLICY_AT(4), 0, NULL, &moved));
	KUNIT_EXPECT_EQ(test, 0, moved);
	policy_expect_there(test, f, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_migrate(&f->mirror->hmm, MOCK_BASE, POLICY_AT(4),
						    HMM_MIGRATE_TO_SYSTEM, NULL, &moved));

	KUNIT_EXPECT_EQ(test, 0, policy_set(f, HMM_POLICY_TOUCH));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 2, HMM_FAULT_WRITE));
	policy_expect_there(test, f, 0, POLICY_WINDOW);
}

/* What moved with the page is mapped with it: one fault for all. */
static void policy_window(struct kunit *test)
{
	struct policy_fixture *f = policy_begin(test, POLICY_PAGES);
	u64 value = 0;

	KUNIT_ASSERT_EQ(test, 0, policy_set(f, HMM_POLICY_TOUCH));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 37, HMM_FAULT_READ));
	policy_expect_there(test, f, 32, POLICY_WINDOW);
	KUNIT_EXPECT_EQ(test, POLICY_WINDOW, mock_mirror_nr_pages(f->mirror));
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(f->mirror, POLICY_AT(47), &value));
	KUNIT_EXPECT_EQ(test, 1047, value);
	KUNIT_EXPECT_EQ(test, POLICY_WINDOW, hmm_mirror_stat(&f->mirror->hmm,
							     HMM_STAT_MOVED_IN));

	/* Right behind it: more, aligned to its size; what is there already stays. */
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 48, HMM_FAULT_READ));
	policy_expect_there(test, f, 32, 2 * POLICY_WINDOW);
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 64, HMM_FAULT_READ));
	policy_expect_there(test, f, 32, 96);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(f->mirror, POLICY_AT(33), &value));
	KUNIT_EXPECT_EQ(test, 96, hmm_mirror_stat(&f->mirror->hmm, HMM_STAT_MOVED_IN));
	KUNIT_EXPECT_EQ(test, 1100, mock_cpu_load(test, POLICY_AT(100)));
	mock_memory_check_accounts(test, f->memory);
}

/* Empty addresses: a write brings a page of its own to the device, and no more. */
static void policy_empty(struct kunit *test)
{
	struct policy_fixture *f = policy_begin(test, 0);
	u64 value = 1;

	KUNIT_ASSERT_EQ(test, 0, policy_set(f, HMM_POLICY_TOUCH));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 3, HMM_FAULT_READ));
	policy_expect_there(test, f, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(f->mirror, POLICY_AT(3), &value));
	KUNIT_EXPECT_EQ(test, 0, value);
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 5, HMM_FAULT_WRITE));
	policy_expect_there(test, f, 5, 1);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_store(f->mirror, POLICY_AT(5), 77));
	/* It read zeroes there before: now it has a page. */
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 4, HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 3, HMM_FAULT_WRITE));
	policy_expect_there(test, f, 3, 3);
	KUNIT_EXPECT_EQ(test, 77, mock_cpu_load(test, POLICY_AT(5)));

	/* Unless a hint says what belongs together. */
	KUNIT_EXPECT_EQ(test, 0, policy_hint(f, 64, 64, 0, 0, 32 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 100, HMM_FAULT_WRITE));
	policy_expect_there(test, f, 96, 32);
	mock_memory_check_accounts(test, f->memory);
}

static void policy_hints(struct kunit *test)
{
	struct policy_fixture *f = policy_begin(test, 256);

	KUNIT_EXPECT_EQ(test, 0, policy_hint(f, 0, 8, HMM_HINT_AUTO, 0, 0));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 0, HMM_FAULT_READ));
	policy_expect_there(test, f, 0, 8);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_migrate(&f->mirror->hmm, MOCK_BASE, POLICY_AT(8),
						    HMM_MIGRATE_TO_SYSTEM, NULL, NULL));

	/* Around a page that moves, what has a hint against it stays. */
	KUNIT_EXPECT_EQ(test, 0, policy_set(f, HMM_POLICY_TOUCH));
	KUNIT_EXPECT_EQ(test, 0, policy_hint(f, 0, 4, HMM_HINT_IN_PLACE, 0, 0));
	KUNIT_EXPECT_EQ(test, 0, policy_hint(f, 4, 4, 0, HMM_PREFER_SYSTEM, 0));
	KUNIT_EXPECT_EQ(test, 0, policy_hint(f, 8, 4, HMM_HINT_READ_MOSTLY, 0, 0));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 0, HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 9, HMM_FAULT_READ));
	policy_expect_there(test, f, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 12, HMM_FAULT_WRITE));
	policy_expect_there(test, f, 12, 4);
	KUNIT_EXPECT_EQ(test, 0, policy_hint(f, 0, 12, 0, 0, 0));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 3, HMM_FAULT_WRITE));
	policy_expect_there(test, f, 0, POLICY_WINDOW);

	KUNIT_EXPECT_EQ(test, 0, policy_set(f, HMM_POLICY_REQUEST));
	KUNIT_EXPECT_EQ(test, 0, policy_hint(f, 16, 2, 0, HMM_PREFER_DEVICE, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 16, HMM_FAULT_READ));
	policy_expect_there(test, f, 0, POLICY_WINDOW + 1);
}

/* What contradicts itself changes nothing; nor does what is not mapped. */
static void policy_bad_hints(struct kunit *test)
{
	struct policy_fixture *f = policy_begin(test, 0);
	struct hmm_hint hint = { .prefer = HMM_PREFER_DEVICE };
	struct hmm_hint none = {};
	static const struct {
		u32 flags;
		u32 prefer;
		unsigned long granularity;
	} bad[] = {
		{ HMM_HINT_ALL + 1, 0, 0 },
		{ 0, HMM_PREFER_DEVICE + 1, 0 },
		{ HMM_HINT_IN_PLACE, HMM_PREFER_DEVICE, 0 },
		{ HMM_HINT_IN_PLACE, 0, PAGE_SIZE },
		{ HMM_HINT_IN_PLACE | HMM_HINT_AUTO, 0, 0 },
		{ HMM_HINT_NO_AUTO | HMM_HINT_AUTO, 0, 0 },
		{ 0, 0, PAGE_SIZE / 2 },
		{ 0, 0, 3 * PAGE_SIZE },
		{ 0, 0, 2 * PMD_SIZE },
	};
	int i;

	KUNIT_ASSERT_EQ(test, 0, policy_hint(f, 0, POLICY_PAGES, HMM_HINT_AUTO, 0, 0));
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL, policy_hint(f, 0, 8, bad[i].flags,
							       bad[i].prefer,
							       bad[i].granularity),
				    "row %d", i);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_set_hint(&f->mirror->hmm, MOCK_BASE,
							   POLICY_AT(1), &hint));
	hint.prefer = 0;
	hint.device = &f->memory->device->hmm;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_set_hint(&f->mirror->hmm, MOCK_BASE,
							   POLICY_AT(1), &hint));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_set_hint(&f->mirror->hmm, MOCK_BASE + 1,
							   POLICY_AT(1), &none));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_set_hint(&f->mirror->hmm, MOCK_BASE,
							   MOCK_BASE, &none));
	KUNIT_EXPECT_EQ(test, -EFAULT, policy_hint(f, POLICY_PAGES - 1, 2,
						   HMM_HINT_NO_AUTO, 0, 0));
	/* All of this left the first hint as it was. */
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, POLICY_PAGES - 1, HMM_FAULT_WRITE));
	policy_expect_there(test, f, POLICY_PAGES - 1, 1);
}

/* A hint stays over a change of protection, and goes with the mapping. */
static void policy_hint_life(struct kunit *test)
{
	struct policy_fixture *f = policy_begin(test, 64);

	KUNIT_ASSERT_EQ(test, 0, policy_hint(f, 0, POLICY_PAGES, HMM_HINT_AUTO, 0, PAGE_SIZE));
	vm_munmap(POLICY_AT(8), 8 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 7, HMM_FAULT_WRITE));
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 16, HMM_FAULT_WRITE));
	mock_mmap(test, POLICY_AT(8), 8 * PAGE_SIZE, POLICY_RW);
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 8, HMM_FAULT_WRITE));
	policy_look(test, f);
	KUNIT_EXPECT_EQ(test, HMM_PLACE_DEVICE, f->where[7].place);
	KUNIT_EXPECT_EQ(test, HMM_PLACE_SYSTEM, f->where[8].place);
	KUNIT_EXPECT_EQ(test, HMM_PLACE_DEVICE, f->where[16].place);
	vm_munmap(MOCK_BASE, POLICY_PAGES * PAGE_SIZE);
	mock_mmap(test, MOCK_BASE, POLICY_PAGES * PAGE_SIZE, POLICY_RW);
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 7, HMM_FAULT_WRITE));
	policy_expect_there(test, f, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, f->where[7].moves);
}

/* A page that goes to and fro stays where it is for a while, and is used there. */
static void policy_thrash(struct kunit *test)
{
	unsigned int lapse = hmm_notes_lapse, hold = hmm_notes_hold;
	struct policy_fixture *f = policy_begin(test, 1);
	u64 value = 0;
	int i;

	hmm_notes_lapse = UINT_MAX;
	hmm_notes_hold = UINT_MAX;
	KUNIT_EXPECT_EQ(test, 0, policy_set(f, HMM_POLICY_TOUCH));
	for (i = 0; i <= hmm_notes_bounces; i++) {
		KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 0, HMM_FAULT_WRITE));
		policy_expect_there(test, f, 0, 1);
		KUNIT_EXPECT_EQ(test, 2 * i + 1, f->where[0].moves);
		KUNIT_EXPECT_EQ(test, 1000, mock_cpu_load(test, MOCK_BASE));
	}
	KUNIT_EXPECT_EQ(test, 0, policy_fault(f, 0, HMM_FAULT_WRITE));
	policy_expect_there(test, f, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, mock_mirror_load(f->mirror, MOCK_BASE, &value));
	KUNIT_EXPECT_EQ(test, 1000, value);
	hmm_notes_lapse = lapse;
	hmm_notes_hold = hold;
}

static struct kunit_case policy_cases[] = {
	KUNIT_CASE(policy_table),
	KUNIT_CASE(notes_hints),
	KUNIT_CASE(notes_small),
	KUNIT_CASE(notes_history),
	KUNIT_CASE(notes_thrash),
	KUNIT_CASE(policy_process),
	KUNIT_CASE(policy_window),
	KUNIT_CASE(policy_empty),
	KUNIT_CASE(policy_hints),
	KUNIT_CASE(policy_bad_hints),
	KUNIT_CASE(policy_hint_life),
	KUNIT_CASE(policy_thrash),
	{}
};

static struct kunit_suite policy_suite = {
	.name = "hmm_policy",
	.test_cases = policy_cases,
};

kunit_test_suite(policy_suite);

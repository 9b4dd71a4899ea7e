// SPDX-License-Identifier: GPL-2.0
/*
 * The event table and the classification of invalidations, in the kernel.
 *
 * The module has its own copy of the pure files, so it tests them without the core.
 * What the callbacks of a running kernel really see is the selftests' business.
 */
#define __DISABLE_EXPORTS
#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/prandom.h>

#include "../../mmu_notifier_ctx/table.c"
#include "../../mmu_notifier_ctx/classify.c"
#include "hmm_event_cases.h"

static void hmm_event_case_desc(const struct hmm_event_case *c, char *desc)
{
	strscpy(desc, c->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(hmm_event_case, hmm_event_cases, hmm_event_case_desc);

static void hmm_event_classify_case(struct kunit *test)
{
	const struct hmm_event_case *c = test->param_value;
	struct hmm_event_facts facts;
	struct hmm_event event;

	hmm_event_case_facts(c, &facts);
	hmm_event_classify(&facts, &event);
	KUNIT_EXPECT_EQ(test, event.start, facts.start);
	KUNIT_EXPECT_EQ(test, event.end, facts.end);
	KUNIT_EXPECT_EQ(test, event.vm_flags, facts.vm_flags);
	KUNIT_EXPECT_EQ(test, event.reasons, c->reasons);
	KUNIT_EXPECT_TRUE(test, event.reasons & BIT(c->truth));
	KUNIT_EXPECT_STREQ(test, hmm_event_type_name(event.type),
			   hmm_event_type_name(c->type));
	KUNIT_EXPECT_STREQ(test, hmm_event_action_name(event.action),
			   hmm_event_action_name(c->action));
	KUNIT_EXPECT_EQ(test, event.flags & HMM_EVENT_BLOCKABLE,
			c->set & BIT_ULL(HMM_FACT_BLOCKABLE) ? HMM_EVENT_BLOCKABLE : 0);
}

/* The fewer facts, the more reasons, and the stronger the action. */
static void hmm_event_unknown_facts(struct kunit *test)
{
	const struct hmm_event_case *c = test->param_value;
	struct hmm_event_facts facts;
	struct hmm_event full, part;
	struct rnd_state rnd;
	unsigned int round;

	prandom_seed_state(&rnd, 20261120);
	hmm_event_case_facts(c, &facts);
	hmm_event_classify(&facts, &full);
	for (round = 0; round < HMM_FACT_NR + 500; round++) {
		hmm_event_case_facts(c, &facts);
		if (round < HMM_FACT_NR)
			facts.known &= ~BIT_ULL(round);
		else
			facts.known &= (u64)prandom_u32_state(&rnd) << 32 |
				       prandom_u32_state(&rnd);
		hmm_event_classify(&facts, &part);
		if (!(part.reasons & BIT(c->truth)) || full.reasons & ~part.reasons ||
		    part.action < full.action) {
			KUNIT_FAIL(test, "known %llx: reasons %x action %u, with all: %x %u",
				   facts.known, part.reasons, part.action, full.reasons,
				   full.action);
			return;
		}
	}
}

/* What is demanded when no more is known than the type. */
static void hmm_event_table_actions(struct kunit *test)
{
	static const struct {
		enum hmm_event_type type;
		enum hmm_event_action action;
	} rows[] = {
		{ HMM_EVENT_UNMAP, HMM_ACTION_FREE },
		{ HMM_EVENT_RELEASE, HMM_ACTION_FREE },
		{ HMM_EVENT_MIGRATE_OWN, HMM_ACTION_DROP },
		{ HMM_EVENT_MIGRATE_DEV, HMM_ACTION_DROP },
		{ HMM_EVENT_PROTECT, HMM_ACTION_DROP },
		{ HMM_EVENT_WRPROTECT, HMM_ACTION_WRPROTECT },
		{ HMM_EVENT_SOFT_DIRTY, HMM_ACTION_WRPROTECT },
		{ HMM_EVENT_EXCLUSIVE_OWN, HMM_ACTION_NONE },
		{ HMM_EVENT_EXCLUSIVE, HMM_ACTION_DROP },
		{ HMM_EVENT_RECLAIM, HMM_ACTION_DROP },
		{ HMM_EVENT_MIGRATE_SYS, HMM_ACTION_DROP },
		{ HMM_EVENT_COW, HMM_ACTION_DROP },
		{ HMM_EVENT_KSM, HMM_ACTION_DROP },
		{ HMM_EVENT_SPLIT, HMM_ACTION_DROP },
		{ HMM_EVENT_TRUNCATE, HMM_ACTION_DROP },
		{ HMM_EVENT_CLEAR, HMM_ACTION_DROP },
	};
	unsigned int i;

	KUNIT_EXPECT_EQ(test, ARRAY_SIZE(rows), HMM_EVENT_NR);
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		KUNIT_EXPECT_EQ_MSG(test, hmm_event_default_action(rows[i].type),
				    rows[i].action, "%s", hmm_event_type_name(rows[i].type));
}

static void hmm_event_table_names(struct kunit *test)
{
	unsigned int i, k;

	for (i = 0; i < HMM_EVENT_NR; i++) {
		KUNIT_ASSERT_NOT_NULL(test, hmm_event_type_name(i));
		for (k = 0; k < i; k++)
			KUNIT_EXPECT_STRNEQ(test, hmm_event_type_name(i),
					    hmm_event_type_name(k));
	}
	for (i = 0; i < HMM_REASON_NR; i++) {
		KUNIT_ASSERT_NOT_NULL(test, hmm_event_reason_name(i));
		for (k = 0; k < i; k++)
			KUNIT_EXPECT_STRNEQ(test, hmm_event_reason_name(i),
					    hmm_event_reason_name(k));
	}
	for (i = 0; i < HMM_ACTION_NR; i++)
		KUNIT_ASSERT_NOT_NULL(test, hmm_event_action_name(i));
	KUNIT_EXPECT_STREQ(test, hmm_event_type_name(HMM_EVENT_NR), "?");
	KUNIT_EXPECT_STREQ(test, hmm_event_reason_name(HMM_REASON_NR), "?");
	KUNIT_EXPECT_STREQ(test, hmm_event_action_name(HMM_ACTION_NR), "?");
}

/* No row needs what it bars: it could never be left standing. */
static void hmm_event_rows_possible(struct kunit *test)
{
	u32 seen[HMM_NOTIFY_NR] = {};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hmm_event_senders); i++) {
		const struct hmm_event_sender *sender = &hmm_event_senders[i];

		KUNIT_ASSERT_LT(test, sender->notify, HMM_NOTIFY_NR);
		KUNIT_EXPECT_FALSE_MSG(test, sender->needs & sender->bars, "row %u, %s", i,
				       hmm_event_reason_name(sender->reason));
		seen[sender->notify] |= BIT(sender->reason);
	}
	for (i = 0; i < HMM_NOTIFY_NR; i++)
		KUNIT_EXPECT_NE_MSG(test, seen[i], 0, "no row for notification %u", i);
}

/* Every row is what decides in one of the situations. */
static void hmm_event_rows_used(struct kunit *test)
{
	struct hmm_event_facts facts;
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(hmm_event_senders); i++) {
		const struct hmm_event_sender *sender = &hmm_event_senders[i];
		bool used = false;

		for (k = 0; k < ARRAY_SIZE(hmm_event_cases) && !used; k++) {
			hmm_event_case_facts(&hmm_event_cases[k], &facts);
			used = hmm_event_cases[k].truth == sender->reason &&
			       hmm_event_sender_left(sender, &facts);
		}
		KUNIT_EXPECT_TRUE_MSG(test, used, "row %u, %s, is true in no situation", i,
				      hmm_event_reason_name(sender->reason));
	}
}

static struct kunit_case hmm_event_test_cases[] = {
	KUNIT_CASE(hmm_event_table_actions),
	KUNIT_CASE(hmm_event_table_names),
	KUNIT_CASE(hmm_event_rows_possible),
	KUNIT_CASE(hmm_event_rows_used),
	KUNIT_CASE_PARAM(hmm_event_classify_case, hmm_event_case_gen_params),
	KUNIT_CASE_PARAM(hmm_event_unknown_facts, hmm_event_case_gen_params),
	{}
};

static struct kunit_suite hmm_event_test_suite = {
	.name = "hmm_event",
	.test_cases = hmm_event_test_cases,
};

kunit_test_suite(hmm_event_test_suite);

MODULE_DESCRIPTION("Tests of the classification of invalidations");
MODULE_LICENSE("GPL");

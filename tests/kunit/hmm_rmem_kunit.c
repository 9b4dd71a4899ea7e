// SPDX-License-Identifier: GPL-2.0
/*
 * Pools of device memory: pages, chunks, copies, eviction, evacuation, and what becomes of
 * a pool whose device goes or is lost.
 *
 * Owns nothing that outlives a test.  Pages come in by real migrations of the test's own
 * address space; what the core promises to a driver's copy operations is checked by the
 * mock memory in every call.
 */
#include <kunit/test.h>
#include <linux/mm.h>
#include "../../hmm/hmm_private.h"
#include "mock_device.h"
#include "mock_memory.h"
#include "mock_user.h"

static struct hmm_rmem *rmem_of(struct mock_memory *memory)
{
	return memory->device->hmm.rmem;
}

static void rmem_register(struct kunit *test)
{
	struct mock_memory *memory = mock_memory_new(test, NULL, 4);
	unsigned long flags = HMM_RMEM_CHUNK_PAGES * 4;

	KUNIT_EXPECT_EQ(test, flags, mock_memory_stat(memory, HMM_RMEM_TOTAL));
	KUNIT_EXPECT_EQ(test, 4, mock_memory_stat(memory, HMM_RMEM_CHUNKS_FREE));
	KUNIT_EXPECT_EQ(test, 0, mock_memory_stat(memory, HMM_RMEM_USED));
	KUNIT_EXPECT_EQ(test, flags, hmm_rmem_nr_free(rmem_of(memory)));
	mock_memory_check_accounts(test, memory);
}

static struct kunit_case hmm_rmem_cases[] = {
	KUNIT_CASE(rmem_register),
	{}
};

static struct kunit_suite hmm_rmem_suite = {
	.name = "hmm_rmem",
	.test_cases = hmm_rmem_cases,
};

kunit_test_suite(hmm_rmem_suite);

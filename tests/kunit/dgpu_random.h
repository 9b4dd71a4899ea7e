/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Repeatable randomness for property tests: the seed is a parameter of the module (in
 * the host tests an environment variable) and is printed.
 */
#ifndef _DGPU_RANDOM_H
#define _DGPU_RANDOM_H

#include <kunit/test.h>
#include <linux/module.h>
#include <linux/types.h>

static unsigned long long seed = 0x6d6972726f72;
module_param(seed, ullong, 0444);
MODULE_PARM_DESC(seed, "Seed of the property tests");

static unsigned long long rounds = 20000;
module_param(rounds, ullong, 0444);
MODULE_PARM_DESC(rounds, "Steps of each property test");

struct dgpu_random {
	u64 state;
};

static inline void dgpu_random_init(struct kunit *test, struct dgpu_random *rnd)
{
	rnd->state = seed ? seed : 1;
	kunit_info(test, "seed=%llu rounds=%llu\n", seed, rounds);
}

/* xorshift64* */
static inline u64 dgpu_random(struct dgpu_random *rnd)
{
	rnd->state ^= rnd->state >> 12;
	rnd->state ^= rnd->state << 25;
	rnd->state ^= rnd->state >> 27;
	return rnd->state * 0x2545f4914f6cdd1dull;
}

static inline u32 dgpu_random_below(struct dgpu_random *rnd, u32 limit)
{
	return (u32)(dgpu_random(rnd) >> 32) % limit;
}

#endif /* _DGPU_RANDOM_H */

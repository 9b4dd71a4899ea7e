// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's fault buffer: order, overflow, purging, and random use against a
 * plain list.  What engines make of a full buffer is in dgpu_engine_kunit.c.
 */
#include <kunit/test.h>
#include <linux/module.h>
#include "../../drivers/dummy_gpu/hw/fault_buffer.c"
#include "dgpu_random.h"

static struct dgpu_fault_buffer *fb_create(struct kunit *test, u32 size)
{
	struct dgpu_fault_buffer *fb = kunit_kzalloc(test, sizeof(*fb), GFP_KERNEL);
	struct dgpu_hw_fault *entries = kunit_kcalloc(test, size, sizeof(*entries), GFP_KERNEL);

	if (!fb || !entries)
		return NULL;
	dgpu_fault_buffer_init(fb, entries, size);
	return fb;
}

static bool fb_put(struct dgpu_fault_buffer *fb, u32 serial)
{
	struct dgpu_hw_fault fault = { .serial = serial, .addr = serial * 0x1000ull };

	return dgpu_fault_buffer_push(fb, &fault);
}

/* The serial of the oldest entry, which is taken out; 0 if there is none. */
static u32 fb_get(struct dgpu_fault_buffer *fb)
{
	struct dgpu_hw_fault fault;

	if (!dgpu_fault_buffer_pop(fb, &fault, 1))
		return 0;
	return fault.addr == fault.serial * 0x1000ull ? fault.serial : 0;
}

static void fb_first_in_first_out(struct kunit *test)
{
	struct dgpu_fault_buffer *fb = fb_create(test, 8);
	struct dgpu_hw_fault out[8];
	u32 i;

	KUNIT_ASSERT_NOT_NULL(test, fb);
	KUNIT_EXPECT_EQ(test, dgpu_fault_buffer_pop(fb, out, 8), 0);
	for (i = 1; i <= 5; i++)
		KUNIT_EXPECT_TRUE(test, fb_put(fb, i));
	KUNIT_EXPECT_EQ(test, dgpu_fault_buffer_used(fb), 5);
	KUNIT_EXPECT_EQ(test, dgpu_fault_buffer_pop(fb, out, 0), 0);
	KUNIT_EXPECT_EQ(test, dgpu_fault_buffer_pop(fb, out, 3), 3);
	KUNIT_EXPECT_EQ(test, dgpu_fault_buffer_pop(fb, out + 3, 8), 2);
	for (i = 0; i < 5; i++)
		KUNIT_EXPECT_EQ(test, out[i].serial, i + 1);
}

static void fb_full_refuses_and_keeps(struct kunit *test)
{
	struct dgpu_fault_buffer *fb = fb_create(test, 4);
	u32 i;

	KUNIT_ASSERT_NOT_NULL(test, fb);
	/* The counters wrap around in the middle of it. */
	fb->head = 0xfffffffe;
	fb->tail = fb->head;
	for (i = 1; i <= 4; i++)
		KUNIT_EXPECT_TRUE(test, fb_put(fb, i));
	KUNIT_EXPECT_FALSE(test, fb_put(fb, 5));
	KUNIT_EXPECT_EQ(test, dgpu_fault_buffer_used(fb), 4);
	KUNIT_EXPECT_EQ(test, fb_get(fb), 1);
	KUNIT_EXPECT_TRUE(test, fb_put(fb, 5));
	KUNIT_EXPECT_FALSE(test, fb_put(fb, 6));
	for (i = 2; i <= 5; i++)
		KUNIT_EXPECT_EQ(test, fb_get(fb), i);
	KUNIT_EXPECT_EQ(test, fb_get(fb), 0);
}

static bool fb_serial_in(const struct dgpu_hw_fault *fault, void *mask)
{
	return *(u64 *)mask & BIT_ULL(fault->serial);
}

/* Every way to purge a full ring of 4, at every position of its head. */
static void fb_purge(struct kunit *test)
{
	struct dgpu_fault_buffer *fb = fb_create(test, 4);
	u32 start, i, stale;
	u64 mask;

	KUNIT_ASSERT_NOT_NULL(test, fb);
	for (start = 0xfffffff8; start; start++) {
		for (mask = 0; mask < 32; mask += 2) {
			fb->head = start;
			fb->tail = start;
			for (i = 1, stale = 0; i <= 4; i++) {
				fb_put(fb, i);
				stale += mask >> i & 1;
			}
			KUNIT_EXPECT_EQ(test, dgpu_fault_buffer_purge(fb, fb_serial_in, &mask),
					stale);
			for (i = 1; i <= 4; i++)
				if (!(mask & BIT_ULL(i)))
					KUNIT_EXPECT_EQ(test, fb_get(fb), i);
			KUNIT_EXPECT_EQ(test, dgpu_fault_buffer_used(fb), 0);
		}
	}
}

static bool fb_serial_divides(const struct dgpu_hw_fault *fault, void *by)
{
	return fault->serial % *(u32 *)by == 0;
}

static void fb_random_use_against_a_list(struct kunit *test)
{
	static u32 list[64];
	struct dgpu_fault_buffer *fb = fb_create(test, 64);
	u32 serial = 0, used = 0, n, kept, by, overflows = 0;
	struct dgpu_hw_fault *out = kunit_kcalloc(test, 64, sizeof(*out), GFP_KERNEL);
	struct dgpu_random rnd;
	u64 i;

	KUNIT_ASSERT_NOT_NULL(test, fb);
	KUNIT_ASSERT_NOT_NULL(test, out);
	dgpu_random_init(test, &rnd);
	fb->head = 0xffffff00;
	fb->tail = fb->head;
	for (i = 0; i < rounds; i++) {
		switch (dgpu_random_below(&rnd, 16)) {
		case 0:
			by = 2 + dgpu_random_below(&rnd, 5);
			for (n = 0, kept = 0; n < used; n++)
				if (list[n] % by)
					list[kept++] = list[n];
			KUNIT_EXPECT_EQ(test,
					dgpu_fault_buffer_purge(fb, fb_serial_divides, &by),
					used - kept);
			used = kept;
			break;
		case 1:
			n = dgpu_random_below(&rnd, 65);
			kept = dgpu_fault_buffer_pop(fb, out, n);
			KUNIT_EXPECT_EQ(test, kept, n < used ? n : used);
			for (n = 0; n < kept; n++)
				KUNIT_EXPECT_EQ(test, out[n].serial, list[n]);
			used -= kept;
			memmove(list, list + kept, used * sizeof(*list));
			break;
		default:
			serial++;
			KUNIT_EXPECT_EQ(test, fb_put(fb, serial), used < 64);
			if (used < 64)
				list[used++] = serial;
			else
				overflows++;
			break;
		}
		KUNIT_EXPECT_EQ(test, dgpu_fault_buffer_used(fb), used);
	}
	KUNIT_EXPECT_TRUE(test, overflows > 0);
}

static struct kunit_case dgpu_fault_buffer_cases[] = {
	KUNIT_CASE(fb_first_in_first_out),
	KUNIT_CASE(fb_full_refuses_and_keeps),
	KUNIT_CASE(fb_purge),
	KUNIT_CASE(fb_random_use_against_a_list),
	{}
};

static struct kunit_suite dgpu_fault_buffer_suite = {
	.name = "dgpu_fault_buffer",
	.test_cases = dgpu_fault_buffer_cases,
};

kunit_test_suite(dgpu_fault_buffer_suite);

MODULE_DESCRIPTION("KUnit tests of the emulated GPU's fault buffer");
MODULE_LICENSE("GPL");

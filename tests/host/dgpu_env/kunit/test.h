/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of KUnit as the tests of the emulated GPU's functional units use, on top of
 * tap.h: the same test sources run as modules in a guest, and here under ASan and UBSan.
 * A suite becomes a program.
 */
#ifndef DGPU_ENV_KUNIT_TEST_H
#define DGPU_ENV_KUNIT_TEST_H

#include "dgpu_host.h"
#include "tap.h"

#define GFP_KERNEL	0
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

struct kunit_block {
	struct kunit_block *next;
	u64 data[];
};

struct kunit {
	void *priv;
	const void *param_value;
	struct kunit_block *blocks;
};

struct kunit_case {
	void (*run)(struct kunit *test);
	const char *name;
	const void *(*generate)(const void *prev, char *desc);
};

struct kunit_suite {
	const char *name;
	int (*init)(struct kunit *test);
	void (*exit)(struct kunit *test);
	struct kunit_case *test_cases;
};

#define KUNIT_PARAM_DESC_SIZE	128
#define KUNIT_CASE(f)		{ .run = (f), .name = #f }
#define KUNIT_CASE_PARAM(f, g)	{ .run = (f), .name = #f, .generate = (g) }
#define KUNIT_ARRAY_PARAM(name, array, get_desc)				\
	static const void *name##_gen_params(const void *prev, char *desc)	\
	{									\
		__typeof__((array)[0]) *next =					\
			prev ? (__typeof__(next))prev + 1 : (array);		\
										\
		if ((size_t)(next - (array)) >= ARRAY_SIZE(array))		\
			return NULL;						\
		get_desc(next, desc);						\
		return next;							\
	}

static inline void *kunit_kzalloc(struct kunit *test, size_t size, int gfp)
{
	struct kunit_block *block = calloc(1, sizeof(*block) + size);

	(void)gfp;
	if (!block)
		abort();
	block->next = test->blocks;
	test->blocks = block;
	return block->data;
}

#define kunit_kcalloc(test, n, size, gfp)	kunit_kzalloc(test, (n) * (size), gfp)
#define kunit_info(test, fmt, ...)	((void)(test), (void)printf("# " fmt, ##__VA_ARGS__))

#define KUNIT_EXPECT_TRUE(test, c)	((void)(test), (void)EXPECT(c, ""))
#define KUNIT_EXPECT_FALSE(test, c)	KUNIT_EXPECT_TRUE(test, !(c))
#define KUNIT_EXPECT_TRUE_MSG(test, c, fmt, ...) \
	((void)(test), (void)EXPECT(c, fmt, ##__VA_ARGS__))
#define KUNIT_EXPECT_EQ_MSG(test, a, b, fmt, ...)				\
	do {									\
		s64 __a = (s64)(a), __b = (s64)(b);				\
										\
		(void)(test);							\
		tap_expect(__a == __b, __FILE__, __LINE__,			\
			   "%s == %s: %#llx, %#llx " fmt, #a, #b, __a, __b,	\
			   ##__VA_ARGS__);					\
	} while (0)
#define KUNIT_EXPECT_EQ(test, a, b)	KUNIT_EXPECT_EQ_MSG(test, a, b, "")
#define KUNIT_EXPECT_PTR_EQ(test, a, b)	KUNIT_EXPECT_TRUE(test, (a) == (b))
#define KUNIT_EXPECT_NULL(test, p)	KUNIT_EXPECT_TRUE(test, (p) == NULL)
#define KUNIT_ASSERT_EQ(test, a, b)						\
	do {									\
		KUNIT_EXPECT_EQ(test, a, b);					\
		if ((s64)(a) != (s64)(b))					\
			return;							\
	} while (0)
#define KUNIT_ASSERT_NOT_NULL(test, p)						\
	do {									\
		KUNIT_EXPECT_TRUE(test, (p) != NULL);				\
		if (!(p))							\
			return;							\
	} while (0)

static inline void kunit_run_one(struct kunit_suite *suite, struct kunit_case *c,
				 const void *param, const char *desc)
{
	struct kunit test = { .param_value = param };
	char name[256];

	snprintf(name, sizeof(name), "%s.%s%s%s", suite->name, c->name,
		 *desc ? ": " : "", desc);
	tap_begin(name);
	if (suite->init)
		suite->init(&test);
	c->run(&test);
	if (suite->exit)
		suite->exit(&test);
	while (test.blocks) {
		struct kunit_block *next = test.blocks->next;

		free(test.blocks);
		test.blocks = next;
	}
	tap_end();
}

static inline int kunit_run(struct kunit_suite *suite)
{
	char desc[KUNIT_PARAM_DESC_SIZE] = "";
	const void *param = NULL;
	struct kunit_case *c;

	for (c = suite->test_cases; c->run; c++) {
		if (!c->generate) {
			kunit_run_one(suite, c, NULL, "");
			continue;
		}
		for (param = NULL; (param = c->generate(param, desc));)
			kunit_run_one(suite, c, param, desc);
	}
	return tap_done();
}

#define kunit_test_suite(suite)							\
	void (*dgpu_host_before_cmpxchg)(void *p);				\
	int main(void)								\
	{									\
		return kunit_run(&(suite));					\
	}									\
	struct kunit_suite

#endif /* DGPU_ENV_KUNIT_TEST_H */

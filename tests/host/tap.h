/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest TAP producer that a host test needs.
 *
 *	int main(void)
 *	{
 *		tap_ok(1 + 1 == 2, "sums");
 *		tap_skip("no swap device", "swap");
 *		return tap_done();
 *	}
 *
 * The plan is printed at the end.  Within a test, EXPECT() counts without a line of
 * its own for what goes well, and says where it went wrong for what does not:
 *
 *	tap_begin("many small things");
 *	for (...)
 *		EXPECT(a == b, "a is %d", a);
 *	tap_end();
 */
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef __printf
#define __printf(a, b) __attribute__((__format__(printf, a, b)))
#endif

static int tap_count, tap_failed;
static const char *tap_name;
static unsigned long tap_wrong;

static inline __printf(2, 3)
bool tap_ok(bool good, const char *fmt, ...)
{
	va_list ap;

	if (!tap_count)
		printf("TAP version 13\n");
	printf("%sok %d - ", good ? "" : "not ", ++tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	tap_failed += !good;
	return good;
}

static inline void tap_skip(const char *reason, const char *name)
{
	tap_ok(true, "%s # SKIP %s", name, reason);
}

static inline void tap_begin(const char *name)
{
	tap_name = name;
	tap_wrong = 0;
}

static inline bool tap_end(void)
{
	if (tap_wrong > 10)
		printf("# and %lu more\n", tap_wrong - 10);
	return tap_ok(!tap_wrong, "%s", tap_name);
}

static inline __printf(4, 5)
bool tap_expect(bool good, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (good)
		return true;
	if (tap_wrong++ < 10) {
		printf("# %s:%d: ", file, line);
		va_start(ap, fmt);
		vprintf(fmt, ap);
		va_end(ap);
		printf("\n");
	}
	return false;
}

#define EXPECT(cond, fmt, ...) \
	tap_expect(!!(cond), __FILE__, __LINE__, "%s: " fmt, #cond, ##__VA_ARGS__)

static inline int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed || !tap_count ? 1 : 0;
}

/*
 * xorshift64*; a test prints its seed and takes it from $SEED.
 */
static inline uint64_t tap_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static inline uint64_t tap_seed(uint64_t fallback)
{
	const char *text = getenv("SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : fallback;

	printf("# seed %llu\n", (unsigned long long)seed);
	return seed ? seed : 1;
}

#endif /* TAP_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the benchmarks share: a clock, and what becomes of several times.
 */
#ifndef SELFTEST_MEASURE_H
#define SELFTEST_MEASURE_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void __attribute__((noreturn)) die(const char *what)
{
	perror(what);
	exit(1);
}

/* Seconds of CLOCK_MONOTONIC. */
static inline double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static inline int measure_compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* These sort the values.  Of none they are 0. */
static inline double quantile(double *values, size_t nr, double part)
{
	if (!nr)
		return 0;
	qsort(values, nr, sizeof(*values), measure_compare);
	return values[(size_t)((double)(nr - 1) * part)];
}

static inline double median(double *values, size_t nr)
{
	return quantile(values, nr, 0.5);
}

/* A number of the command line; anything else ends in usage(2). */
static inline unsigned long measure_number(const char *text, unsigned long low,
					   unsigned long high, void (*usage)(int status))
{
	char *end;
	const unsigned long value = text ? strtoul(text, &end, 10) : 0;

	if (!text || !*text || *end || value < low || value > high)
		usage(2);
	return value;
}

#endif /* SELFTEST_MEASURE_H */

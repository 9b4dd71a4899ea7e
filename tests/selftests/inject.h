/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations of the kernel that fail (CONFIG_FAULT_INJECTION: failslab and fail_page_alloc):
 * each that an operation of this thread makes, in turn, or some of all, at random.  In its turn
 * fails also what else can fail by injection: a copy, room on the device, an address.
 *
 * Those that may wait for memory fail as well; those with __GFP_NOFAIL do not.  The settings
 * are the kernel's, for all processes: a fixture says inject_begin() in its setup, and
 * inject_end() in its teardown.
 */
#ifndef SELFTEST_INJECT_H
#define SELFTEST_INJECT_H

#include <stdbool.h>

/* A SKIP where allocations cannot fail, with nothing changed. */
void inject_begin(void);
/* As the kernel came up; also without inject_begin(). */
void inject_end(void);

/* A file in debugfs: 0 or -errno. */
int inject_set(const char *attribute, const char *name, const char *value);
/* Any fault attribute, "hmm/fail_device_copy" for example: so many of 100 times. */
void inject_percent(const char *attribute, unsigned int percent);

/* Only allocations that have a module among their callers fail; a SKIP if it cannot be told. */
void inject_in(const char *module);
/* So many of 100 of those, in all threads. */
void inject_random(const char *module, unsigned int percent);
/* None fails by chance, wherever it is from. */
void inject_off(void);

/**
 * struct inject_operation - what is tried, with a failure that is one allocation later each time
 * @name: for messages
 * @prepare: before each try, with no failures; or NULL
 * @run: what is tried: 0 or -errno
 * @check: after each, with no failures: is all as it has to be?  Or NULL
 * @also: one more error that @run may have, besides those that a lack of memory is known by
 */
struct inject_operation {
	const char *name;
	void (*prepare)(void *data);
	int (*run)(void *data);
	bool (*check)(void *data);
	int also;
};

/* Until it makes no allocation that could fail; then it has to succeed. */
void inject_each(const struct inject_operation *operation, void *data);

#endif /* SELFTEST_INJECT_H */

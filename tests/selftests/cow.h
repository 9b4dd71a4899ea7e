/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A child that shares pages with the test that forks it, reads them when it is told, and
 * writes them when it is told again.  What it finds are failures of the test.
 */
#ifndef SELFTEST_COW_H
#define SELFTEST_COW_H

#include <stddef.h>
#include <stdint.h>
#include "sys.h"

struct cow_job {
	char *mem;			/* the pages */
	size_t npages;
	volatile uint64_t *shared;	/* a page that both see: words 1 on are the child's */
};

/* Fork it; it is there when this returns. */
void cow_child_start(struct sys_child *child, struct cow_job *job);
/* It reads all pages, and finds value, value + 1, ... in their first words. */
void cow_child_reads(struct sys_child *child, const struct cow_job *job, uint64_t value);
/* After that it writes 0xc000, 0xc001, ... */
void cow_child_writes(struct sys_child *child);
/* And after that it still has what it wrote, and ends. */
void cow_child_ends(struct sys_child *child);

#endif /* SELFTEST_COW_H */

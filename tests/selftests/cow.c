// SPDX-License-Identifier: GPL-2.0
/*
 * The child of the tests of copy on write: see cow.h.
 */
#include "cow.h"
#include "gpu.h"
#include "harness.h"

static void cow_child(struct sys_child *me, void *arg)
{
	struct cow_job *job = arg;

	sys_child_tell(me);
	sys_child_wait(me);
	for (size_t i = 0; i < job->npages; i++)
		job->shared[1 + i] = *word(job->mem, i);
	sys_child_tell(me);
	sys_child_wait(me);
	cpu_fill(job->mem, job->npages, 0xc000);
	sys_child_tell(me);
	sys_child_wait(me);
	if (!cpu_check(job->mem, job->npages, 0xc000))
		_exit(1);
}

void cow_child_start(struct sys_child *child, struct cow_job *job)
{
	sys_child_start(child, cow_child, job);
	sys_child_wait(child);
}

void cow_child_reads(struct sys_child *child, const struct cow_job *job, uint64_t value)
{
	sys_child_tell(child);
	sys_child_wait(child);
	for (size_t i = 0; i < job->npages; i++)
		EXPECT_EQ(value + i, job->shared[1 + i]);
}

void cow_child_writes(struct sys_child *child)
{
	sys_child_tell(child);
	sys_child_wait(child);
}

void cow_child_ends(struct sys_child *child)
{
	sys_child_tell(child);
	EXPECT_EQ(0, sys_child_end(child));
}

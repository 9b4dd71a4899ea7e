/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Programs that run as they are and under dgpu chaos, and the records that it leaves.
 *
 * The words of a script are for the shell: $TOP is the project, $N the amount of work.
 */
#ifndef SELFTEST_CHAOS_RUN_H
#define SELFTEST_CHAOS_RUN_H

#include <stdbool.h>
#include <stddef.h>

#define CHAOS_RECORD	256	/* bytes of a record */

/**
 * struct chaos_run - how to run a script
 * @top: of the project
 * @work: $N
 * @dir: working directory, which is made if it is not there
 * @output: file for what it prints, which is appended to
 * @stat: file for the records; NULL: not under dgpu chaos
 * @options: of dgpu chaos, at most
 * @env: more of the environment, NAME=VALUE, or NULL
 */
struct chaos_run {
	const char *top;
	const char *work;
	const char *dir;
	const char *output;
	const char *stat;
	const char *options[4];
	const char *env;
};

/* Where the project is, by where this program is. */
void chaos_top(char *top, size_t size);
/* Become the script: for a child.  Does not return. */
void chaos_become(const struct chaos_run *run, const char *script) __attribute__((noreturn));
/* Run it in a child to its end; the status of waitpid(). */
int chaos_run(const struct chaos_run *run, const char *script);

/* Sum of a counter over the records of programs with a name; NULL: of all. */
unsigned long long chaos_counted(const char *stat, const char *name, const char *counter);
/*
 * Each of up to four programs has moved @pages at least, and nothing went wrong on the way.
 */
void chaos_check_records(const char *stat, const char *const names[4], unsigned int pages);

#endif /* SELFTEST_CHAOS_RUN_H */

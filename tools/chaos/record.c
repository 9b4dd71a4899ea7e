// SPDX-License-Identifier: GPL-2.0
/*
 * The text of a record: what the thread did in one process, one line, always of the same
 * length, so that it can be written over the last one while other processes add theirs.
 */
#include "chaos.h"

static const char *const names[CHAOS_COUNTERS] = {
	[CHAOS_OPS]		= "ops",
	[CHAOS_THERE]		= "there",
	[CHAOS_BACK]		= "back",
	[CHAOS_BUSY]		= "busy",
	[CHAOS_FULL]		= "full",
	[CHAOS_FAILED]		= "failed",
	[CHAOS_MAPPED]		= "mapped",
	[CHAOS_SWEEPS]		= "sweeps",
	[CHAOS_REOPENS]		= "reopens",
	[CHAOS_EVACUATIONS]	= "evacuations",
	[CHAOS_FILES]		= "files",
	[CHAOS_JOBS]		= "jobs",
	[CHAOS_ERRORS]		= "errors",
	[CHAOS_ERRNO]		= "errno",
};

static size_t put_text(char *line, size_t at, const char *text)
{
	while (*text && at < CHAOS_RECORD - 1)
		line[at++] = *text++;
	return at;
}

static size_t put_number(char *line, size_t at, uint64_t value)
{
	char digits[24];
	unsigned int i = sizeof(digits);

	digits[--i] = '\0';
	do {
		digits[--i] = '0' + value % 10;
		value /= 10;
	} while (value);
	return put_text(line, at, digits + i);
}

/**
 * chaos_record_format() - write a record as text
 * @line: where it goes, CHAOS_RECORD bytes; there is no terminating zero
 * @pid: process
 * @comm: name of the program
 * @counters: what was done
 *
 * "pid=12 comm=sort ops=5 there=7 ..." and spaces up to the newline.
 *
 * Return: CHAOS_RECORD.
 */
size_t chaos_record_format(char *line, int pid, const char *comm,
			   const uint64_t counters[CHAOS_COUNTERS])
{
	unsigned int i;
	size_t at;

	at = put_text(line, 0, "pid=");
	at = put_number(line, at, pid);
	at = put_text(line, at, " comm=");
	for (i = 0; comm[i] && comm[i] != '\n' && i < 15; i++)
		line[at++] = comm[i] > ' ' && comm[i] <= '~' ? comm[i] : '_';
	for (i = 0; i < CHAOS_COUNTERS; i++) {
		at = put_text(line, at, " ");
		at = put_text(line, at, names[i]);
		at = put_text(line, at, "=");
		at = put_number(line, at, counters[i]);
	}
	while (at < CHAOS_RECORD - 1)
		line[at++] = ' ';
	line[at++] = '\n';
	return at;
}

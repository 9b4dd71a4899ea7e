// SPDX-License-Identifier: GPL-2.0
/*
 * Which memory of the process can be moved, from the text of /proc/PID/maps, and
 * choosing some of it.
 *
 * Pure functions: they make no system call, and a host test runs them.
 */
#include "chaos.h"

/**
 * chaos_random() - next number of a sequence
 * @state: its state, not 0
 *
 * Return: 64 random bits (xorshift64*).
 */
uint64_t chaos_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static bool take_hex(const char **at, const char *end, uint64_t *value)
{
	const char *start = *at;
	unsigned int digit;

	for (*value = 0; *at < end; (*at)++) {
		if (**at >= '0' && **at <= '9')
			digit = **at - '0';
		else if (**at >= 'a' && **at <= 'f')
			digit = **at - 'a' + 10;
		else
			break;
		*value = *value << 4 | digit;
	}
	return *at != start && *at - start <= 16;
}

static bool take(const char **at, const char *end, char c)
{
	if (*at == end || **at != c)
		return false;
	(*at)++;
	return true;
}

/* Mappings that the kernel makes for itself: [vdso], [vvar], [vsyscall] and their like. */
static bool is_special(const char *at, const char *end)
{
	while (at < end && *at != '[' && *at != '/')
		at++;
	return end - at > 2 && at[0] == '[' && at[1] == 'v';
}

/* A shared mapping of a file that has a name: not memory that looks like one. */
static bool is_file(const char *at, const char *end)
{
	static const char *const others[] = { "/dev/", "/memfd:", "/SYSV", "/anon_hugepage" };
	unsigned int i, n;

	while (at < end && *at != '/' && *at != '[')
		at++;
	if (at == end || *at != '/')
		return false;
	for (i = 0; i < ARRAY_SIZE(others); i++) {
		for (n = 0; others[i][n] && at + n < end && at[n] == others[i][n]; n++)
			;
		if (!others[i][n])
			return false;
	}
	return true;
}

/**
 * chaos_maps_line() - read one line of /proc/PID/maps
 * @line: the line
 * @length: its length, without the newline
 * @range: where it goes
 *
 * Return: true if it is a private mapping that can be read, which therefore can have
 * anonymous pages, or a shared one of a file; false for all others.
 */
bool chaos_maps_line(const char *line, size_t length, struct chaos_range *range)
{
	const char *at = line, *end = line + length;

	if (!take_hex(&at, end, &range->start) || !take(&at, end, '-') ||
	    !take_hex(&at, end, &range->end) || !take(&at, end, ' ') || end - at < 4 ||
	    range->start >= range->end || (range->start | range->end) & (CHAOS_PAGE - 1))
		return false;
	range->writable = at[1] == 'w';
	range->shared = at[3] == 's';
	if (at[0] != 'r')
		return false;
	return range->shared ? is_file(at + 4, end) : !is_special(at + 4, end);
}

/**
 * chaos_maps_lines() - go through the lines of a piece of text
 * @text: text
 * @length: its length
 * @each: called for every mapping that chaos_maps_line() likes; false: stop
 * @arg: for @each
 *
 * Return: how many bytes were used; what is left is a line without its end.
 */
size_t chaos_maps_lines(const char *text, size_t length,
			bool (*each)(void *arg, const struct chaos_range *range), void *arg)
{
	struct chaos_range range;
	size_t line = 0, at;

	for (at = 0; at < length; at++) {
		if (text[at] != '\n')
			continue;
		if (chaos_maps_line(text + line, at - line, &range) && !each(arg, &range))
			return length;
		line = at + 1;
	}
	return line;
}

/**
 * chaos_maps_sample() - put a mapping into a sample, with the chance it must have
 * @arg: struct chaos_maps
 * @range: mapping
 *
 * Each mapping is as likely to be in the sample in the end as any other, but those that
 * cannot be written are taken less often: most of their pages are a file's.
 *
 * Return: true: go on.
 */
bool chaos_maps_sample(void *arg, const struct chaos_range *range)
{
	struct chaos_maps *maps = arg;
	uint64_t slot;

	if (!range->writable && !range->shared && chaos_random(maps->rnd) % 8)
		return true;
	slot = maps->seen++;
	if (slot >= CHAOS_RANGES)
		slot = chaos_random(maps->rnd) % maps->seen;
	if (slot < CHAOS_RANGES)
		maps->range[slot] = *range;
	if (maps->n < CHAOS_RANGES)
		maps->n++;
	return true;
}

/* A number of pages from 1 to max; small ones are as likely as large ones. */
static uint64_t some_pages(uint64_t *rnd, uint64_t max)
{
	unsigned int bits = 1;
	uint64_t pages;

	while (bits < 63 && max >> bits)
		bits++;
	bits = 1 + chaos_random(rnd) % bits;
	pages = (chaos_random(rnd) & ((1ull << bits) - 1)) + 1;
	return pages < max ? pages : max;
}

/**
 * chaos_maps_pick() - choose pages somewhere in a mapping of the sample
 * @maps: sample
 * @rnd: random numbers
 * @max_pages: how many at most
 * @range: where they are
 *
 * Every other time the mapping is chosen by its size, so that a large heap is not as
 * rare as the many small mappings make it.  A range begins and ends anywhere.
 *
 * Return: false if the sample is empty.
 */
bool chaos_maps_pick(const struct chaos_maps *maps, uint64_t *rnd, uint64_t max_pages,
		     struct chaos_range *range)
{
	uint64_t total = 0, at, pages, count;
	unsigned int i;

	if (!maps->n)
		return false;
	if (chaos_random(rnd) & 1) {
		for (i = 0; i < maps->n; i++)
			total += maps->range[i].end - maps->range[i].start;
		at = chaos_random(rnd) % total;
		for (i = 0; at >= maps->range[i].end - maps->range[i].start; i++)
			at -= maps->range[i].end - maps->range[i].start;
	} else {
		i = chaos_random(rnd) % maps->n;
	}
	*range = maps->range[i];
	pages = (range->end - range->start) / CHAOS_PAGE;
	count = some_pages(rnd, pages < max_pages ? pages : max_pages);
	/* A heap is filled from its start: look there more often in a large mapping. */
	if (pages > 16 * max_pages && chaos_random(rnd) & 1)
		pages = 16 * max_pages;
	range->start += chaos_random(rnd) % (pages - count + 1) * CHAOS_PAGE;
	range->end = range->start + count * CHAOS_PAGE;
	return true;
}

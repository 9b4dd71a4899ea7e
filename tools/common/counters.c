// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshots of a device's counters.
 *
 * A group may have more counters than this program knows names for; those are shown
 * by number.  Most counters only grow; a few are levels, which say how it is now, and
 * of which a growth would make no sense.
 */
#include <inttypes.h>
#include <string.h>
#include "counters.h"

static const char *const titles[COUNTER_GROUPS] = {
	[DGPU_STAT_MIRROR]	= "mirror",
	[DGPU_STAT_EVENTS]	= "invalidations by type",
	[DGPU_STAT_REASONS]	= "invalidations by reason (each one of its set)",
	[DGPU_STAT_HW]		= "hardware, all processes",
	[DGPU_STAT_RMEM]	= "device memory, all processes, pages of 4 KiB",
};

static const char *const keys[COUNTER_GROUPS] = {
	[DGPU_STAT_MIRROR]	= "mirror",
	[DGPU_STAT_EVENTS]	= "events",
	[DGPU_STAT_REASONS]	= "reasons",
	[DGPU_STAT_HW]		= "hw",
	[DGPU_STAT_RMEM]	= "rmem",
};

/**
 * counters_read() - take a snapshot
 * @dev: device
 * @c: where it goes
 *
 * Return: 0, or a negative errno.
 */
int counters_read(struct dgpu_dev *dev, struct counters *c)
{
	unsigned int g;
	int n;

	memset(c, 0, sizeof(*c));
	for (g = 0; g < COUNTER_GROUPS; g++) {
		n = dgpu_get_stat(dev, g, c->value[g], COUNTER_ROOM);
		if (n < 0 && g == DGPU_STAT_RMEM)
			continue;	/* a device without memory */
		if (n < 0)
			return n;
		c->count[g] = n < COUNTER_ROOM ? n : COUNTER_ROOM;
	}
	return 0;
}

/**
 * counter_is_level() - does a counter say how it is now?
 * @group: DGPU_STAT_*
 * @index: index in the group
 *
 * Return: true if so; false if it only grows.
 */
bool counter_is_level(unsigned int group, unsigned int index)
{
	return group == DGPU_STAT_RMEM && (index == HMM_RMEM_TOTAL || index == HMM_RMEM_USED ||
					   index == HMM_RMEM_CHUNKS_FREE);
}

/**
 * counters_subtract() - make a snapshot the growth since an earlier one; levels stay
 * @c: snapshot
 * @before: earlier snapshot
 */
void counters_subtract(struct counters *c, const struct counters *before)
{
	unsigned int g, i;

	for (g = 0; g < COUNTER_GROUPS; g++)
		for (i = 0; i < c->count[g]; i++)
			if (!counter_is_level(g, i))
				c->value[g][i] -= before->value[g][i];
}

/**
 * counters_sum() - add up a group
 * @c: snapshot
 * @group: DGPU_STAT_*
 *
 * Return: the sum.
 */
uint64_t counters_sum(const struct counters *c, unsigned int group)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < c->count[group]; i++)
		sum += c->value[group][i];
	return sum;
}

static const char *name_of(unsigned int group, unsigned int i, char *buf, size_t size)
{
	const char *name = dgpu_stat_name(group, i);

	if (name)
		return name;
	snprintf(buf, size, "%u", i);
	return buf;
}

/**
 * counters_print() - write a snapshot for people
 * @c: snapshot
 * @out: where it goes
 *
 * Types and reasons that never occurred are left out.
 */
void counters_print(const struct counters *c, FILE *out)
{
	unsigned int g, i, shown;
	char buf[16];

	for (g = 0; g < COUNTER_GROUPS; g++) {
		bool sparse = g == DGPU_STAT_EVENTS || g == DGPU_STAT_REASONS;

		fprintf(out, "%s%s:\n", g ? "\n" : "", titles[g]);
		for (i = shown = 0; i < c->count[g]; i++) {
			if (sparse && !c->value[g][i])
				continue;
			fprintf(out, "  %-20s %12" PRIu64 "\n", name_of(g, i, buf, sizeof(buf)),
				c->value[g][i]);
			shown++;
		}
		if (!shown)
			fprintf(out, "  none\n");
	}
}

/**
 * counters_json() - write a snapshot as an object
 * @c: snapshot
 * @j: writer
 * @key: name of the object
 */
void counters_json(const struct counters *c, struct json *j, const char *key)
{
	unsigned int g, i;
	char buf[16];

	json_object(j, key);
	for (g = 0; g < COUNTER_GROUPS; g++) {
		json_object(j, keys[g]);
		for (i = 0; i < c->count[g]; i++)
			json_unsigned(j, name_of(g, i, buf, sizeof(buf)), c->value[g][i]);
		json_end_object(j);
	}
	json_end_object(j);
}

/* SPDX-License-Identifier: GPL-2.0 */
/* Snapshots of a device's counters, see counters.c. */
#ifndef TOOLS_COUNTERS_H
#define TOOLS_COUNTERS_H

#include "libdgpu.h"
#include "json.h"

#define COUNTER_GROUPS	5	/* DGPU_STAT_* */
#define COUNTER_ROOM	64	/* of a group */

/**
 * struct counters - all counters at one time, or their growth
 * @count: counters of each group
 * @value: their values
 */
struct counters {
	unsigned int count[COUNTER_GROUPS];
	uint64_t value[COUNTER_GROUPS][COUNTER_ROOM];
};

int counters_read(struct dgpu_dev *dev, struct counters *c);
bool counter_is_level(unsigned int group, unsigned int index);
void counters_subtract(struct counters *c, const struct counters *before);
uint64_t counters_sum(const struct counters *c, unsigned int group);
void counters_print(const struct counters *c, FILE *out);
void counters_json(const struct counters *c, struct json *j, const char *key);

#endif /* TOOLS_COUNTERS_H */

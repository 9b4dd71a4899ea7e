/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers, sizes and times on a command line, see parse.c. */
#ifndef TOOLS_PARSE_H
#define TOOLS_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool parse_number(const char *text, uint64_t *value);
bool parse_u32(const char *text, uint32_t *value);
bool parse_size(const char *text, const char **end, uint64_t *value);
bool parse_ms(const char *text, uint64_t *value);
const char *show_ns(uint64_t ns, char *buf, size_t size);

#endif /* TOOLS_PARSE_H */

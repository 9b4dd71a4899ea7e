/* SPDX-License-Identifier: GPL-2.0 */
/* Memory and files that "dgpu run" gives to a program, see buffer.c. */
#ifndef DGPU_TOOL_BUFFER_H
#define DGPU_TOOL_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MAX_BUFFERS 4	/* each takes two of eight registers */

/**
 * struct buffer - one buffer
 * @data: malloc() memory, or a file
 * @size: its length
 * @mapped: it is a file
 * @writable: the program may write to it
 * @reg: register that has its address; the next one has its length
 */
struct buffer {
	unsigned char *data;
	uint64_t size;
	bool mapped;
	bool writable;
	unsigned int reg;
};

/**
 * struct dump - a request to show a part of a buffer
 * @buffer: its number, from 1 on
 * @offset: first byte
 * @length: bytes, or UINT64_MAX for the rest
 * @file: where the bytes go, or NULL for text on standard output
 */
struct dump {
	unsigned int buffer;
	uint64_t offset;
	uint64_t length;
	const char *file;
};

struct number_format;

int buffer_make(const char *spec, struct buffer *buffer);
int buffer_map(const char *path, struct buffer *buffer);
void buffer_free(struct buffer *buffer);
bool dump_parse(const char *spec, struct dump *dump);
const struct number_format *format_find(const char *name);
void dump_text(FILE *out, const unsigned char *data, uint64_t length, uint64_t offset,
	       const struct number_format *format);
int dump_to_file(const char *path, const unsigned char *data, uint64_t length);

#endif /* DGPU_TOOL_BUFFER_H */

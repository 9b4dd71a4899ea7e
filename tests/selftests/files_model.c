// SPDX-License-Identifier: GPL-2.0
/* What a file should contain: see files_model.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "files_model.h"

#define SHOWN	16u	/* bytes of a difference, and operations */

int files_model_init(struct files_model *model, uint32_t max, uint32_t seed)
{
	*model = (struct files_model) { .max = max, .seed = seed };
	model->data = calloc(1, max);
	model->log = calloc(FILES_MODEL_LOG, sizeof(*model->log));
	if (model->data && model->log)
		return 0;
	files_model_free(model);
	return -ENOMEM;
}

void files_model_free(struct files_model *model)
{
	free(model->data);
	free(model->log);
	memset(model, 0, sizeof(*model));
}

struct files_model_op *files_model_next(struct files_model *model, const char *name,
					uint32_t from, uint32_t length)
{
	struct files_model_op *op = &model->log[++model->nops % FILES_MODEL_LOG];

	*op = (struct files_model_op) {
		.number = model->nops, .name = name, .from = from, .length = length,
		.size = model->size,
	};
	return op;
}

/* 8 bytes that operation @number writes, 4 bits apart. */
static uint64_t files_model_word(const struct files_model *model, uint32_t number, uint32_t at)
{
	uint64_t x = ((uint64_t)number << 32 | at / 8) + model->seed;

	x *= 0x9e3779b97f4a7c15ull;
	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ull;
	return x ^ x >> 32;
}

void files_model_pattern(const struct files_model *model, uint32_t number, uint32_t from,
			 uint32_t length, uint8_t *buffer)
{
	uint64_t word = files_model_word(model, number, from);
	uint8_t byte;

	for (uint32_t i = 0; i < length; i++) {
		if ((from + i) % 8 == 0)
			word = files_model_word(model, number, from + i);
		byte = (uint8_t)(word >> (from + i) % 8 * 4);
		/* Never zero: what was lost, or never arrived, is not mistaken for it. */
		buffer[i] = byte ? byte : 0x5b;
	}
}

void files_model_write(struct files_model *model, uint32_t from, uint32_t length,
		       const uint8_t *buffer)
{
	memmove(model->data + from, buffer, length);
	if (from + length > model->size)
		model->size = from + length;
}

void files_model_truncate(struct files_model *model, uint32_t size)
{
	if (size < model->size)
		memset(model->data + size, 0, model->size - size);
	model->size = size;
}

void files_model_zero(struct files_model *model, uint32_t from, uint32_t length)
{
	memset(model->data + from, 0, length);
}

void files_model_collapse(struct files_model *model, uint32_t from, uint32_t length)
{
	memmove(model->data + from, model->data + from + length, model->size - from - length);
	files_model_truncate(model, model->size - length);
}

void files_model_insert(struct files_model *model, uint32_t from, uint32_t length)
{
	memmove(model->data + from + length, model->data + from, model->size - from);
	memset(model->data + from, 0, length);
	model->size += length;
}

void files_model_add8(struct files_model *model, uint32_t at, uint64_t value)
{
	uint64_t word;

	memcpy(&word, model->data + at, sizeof(word));
	word += value;
	memcpy(model->data + at, &word, sizeof(word));
}

long files_model_compare(const struct files_model *model, uint32_t from, uint32_t length,
			 const uint8_t *buffer, uint32_t *length_bad)
{
	const uint8_t *want = model->data + from;
	uint32_t first, n;

	if (!memcmp(want, buffer, length))
		return -1;
	for (first = 0; want[first] == buffer[first]; first++)
		;
	for (n = 1; first + n < length && want[first + n] != buffer[first + n]; n++)
		;
	*length_bad = n;
	return from + first;
}

static bool files_model_touches(const struct files_model_op *op, uint32_t at)
{
	if (op->moves)
		return at >= op->from;
	return at >= op->from && at < op->from + op->length;
}

static void files_model_hex(char *line, size_t room, const char *what, const uint8_t *bytes,
			    uint32_t length)
{
	size_t used = (size_t)snprintf(line, room, "%s", what);

	for (uint32_t i = 0; i < length && i < SHOWN && used < room; i++)
		used += (size_t)snprintf(line + used, room - used, " %02x", bytes[i]);
}

/* Whose bytes are these?  Two are chance. */
static void files_model_whose(const struct files_model *model, uint32_t at, uint32_t length,
			      const uint8_t *bytes, void (*say)(const char *line))
{
	const uint32_t first = model->nops > FILES_MODEL_LOG ?
			       model->nops - FILES_MODEL_LOG + 1 : 1;
	uint8_t pattern[SHOWN];
	char line[200];
	uint32_t i;

	if (length > SHOWN)
		length = SHOWN;
	for (i = 0; i < length && bytes[i] == bytes[0]; i++)
		;
	if (i == length && (bytes[0] == 0 || length > 3)) {
		snprintf(line, sizeof(line), "  these are all %#04x", bytes[0]);
		say(line);
		return;
	}
	for (uint32_t number = model->nops; length > 2 && number >= first; number--) {
		const struct files_model_op *op = &model->log[number % FILES_MODEL_LOG];

		if (!op->writes)
			continue;
		files_model_pattern(model, number, at, length, pattern);
		if (memcmp(pattern, bytes, length))
			continue;
		snprintf(line, sizeof(line), "  these are what operation %u, %s, writes here",
			 number, op->name);
		say(line);
		return;
	}
}

static void files_model_say_op(const struct files_model_op *op, void (*say)(const char *line))
{
	char line[200];
	int used;

	used = snprintf(line, sizeof(line), "  %7u %-14s %#7x +%#x (page %u)", op->number,
			op->name, op->from, op->length, op->from / 4096);
	if (op->source && used > 0 && (size_t)used < sizeof(line))
		snprintf(line + used, sizeof(line) - (size_t)used, " from %#x", op->source);
	used = (int)strlen(line);
	snprintf(line + used, sizeof(line) - (size_t)used, ", size was %#x", op->size);
	say(line);
}

void files_model_explain(const struct files_model *model, uint32_t at, uint32_t length,
			 const uint8_t *actual, void (*say)(const char *line))
{
	const uint32_t first = model->nops > FILES_MODEL_LOG ?
			       model->nops - FILES_MODEL_LOG + 1 : 1;
	const struct files_model_op *found[SHOWN];
	uint32_t n = 0;
	char line[200];

	snprintf(line, sizeof(line),
		 "operation %u: %u bytes from %#x on differ (page %u, %#x in it), size %#x, seed %u",
		 model->nops, length, at, at / 4096, at % 4096, model->size, model->seed);
	say(line);
	files_model_hex(line, sizeof(line), "expected", model->data + at, length);
	say(line);
	files_model_whose(model, at, length, model->data + at, say);
	files_model_hex(line, sizeof(line), "actual  ", actual, length);
	say(line);
	files_model_whose(model, at, length, actual, say);
	for (uint32_t number = model->nops; number >= first && n < SHOWN; number--) {
		const struct files_model_op *op = &model->log[number % FILES_MODEL_LOG];

		if (files_model_touches(op, at))
			found[n++] = op;
	}
	say("the last operations that touched the first of them:");
	while (n)
		files_model_say_op(found[--n], say);
	say("the last operations:");
	for (uint32_t number = model->nops > 8 ? model->nops - 7 : 1; number <= model->nops;
	     number++)
		files_model_say_op(&model->log[number % FILES_MODEL_LOG], say);
}

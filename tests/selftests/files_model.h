/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a file should contain: its bytes and its size in memory, and which operation did
 * what to which of them.
 *
 * Pure: no file, no device.  Operations are numbered; each is entered in the log before it
 * runs, so that a difference that is found later can be traced back.  The bytes that an
 * operation writes depend on its number and on where they are, so that from a byte that
 * should not be there one can tell whose it is.
 */
#ifndef SELFTEST_FILES_MODEL_H
#define SELFTEST_FILES_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct files_model_op {
	uint32_t number;
	uint32_t from, length;	/* bytes that it touches, or moves and what is behind them */
	uint32_t source;	/* of a copy within the file: from where */
	uint32_t size;		/* of the file before */
	const char *name;
	bool writes;		/* it wrote files_model_pattern() there */
	bool moves;		/* what is behind moved as well: all to the end is touched */
};

struct files_model {
	uint8_t *data;		/* max bytes; zero from size on */
	uint32_t size, max;
	uint32_t seed;
	struct files_model_op *log;	/* a ring */
	uint32_t nops;		/* entered so far; the last has this number */
};

#define FILES_MODEL_LOG	65536u

/* 0 or -ENOMEM */
int files_model_init(struct files_model *model, uint32_t max, uint32_t seed);
void files_model_free(struct files_model *model);

/* The next operation; the caller fills in the rest.  Number 1 is the first. */
struct files_model_op *files_model_next(struct files_model *model, const char *name,
					uint32_t from, uint32_t length);

/* What operation @number writes to [@from, @from + @length). */
void files_model_pattern(const struct files_model *model, uint32_t number, uint32_t from,
			 uint32_t length, uint8_t *buffer);

/* What operations do to a file.  A write beyond its end makes it longer. */
void files_model_write(struct files_model *model, uint32_t from, uint32_t length,
		       const uint8_t *buffer);
void files_model_truncate(struct files_model *model, uint32_t size);
void files_model_zero(struct files_model *model, uint32_t from, uint32_t length);
void files_model_collapse(struct files_model *model, uint32_t from, uint32_t length);
void files_model_insert(struct files_model *model, uint32_t from, uint32_t length);
void files_model_add8(struct files_model *model, uint32_t at, uint64_t value);

/*
 * Compare: the first byte that differs, or -1.  *@length: how many of those that follow
 * it differ as well.
 */
long files_model_compare(const struct files_model *model, uint32_t from, uint32_t length,
			 const uint8_t *buffer, uint32_t *length_bad);

/*
 * Say all that is known about a difference, line by line: the bytes, whose they are, and
 * the last operations that touched them.
 */
void files_model_explain(const struct files_model *model, uint32_t at, uint32_t length,
			 const uint8_t *actual, void (*say)(const char *line));

#endif /* SELFTEST_FILES_MODEL_H */

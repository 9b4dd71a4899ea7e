// SPDX-License-Identifier: GPL-2.0
/*
 * A writer for JSON documents.
 *
 * It keeps track of nothing but the nesting: commas, indentation and quoting are its
 * business, sense is the caller's.
 */
#include <assert.h>
#include <inttypes.h>
#include "json.h"

static void quote(FILE *out, const char *text)
{
	const unsigned char *p;

	fputc('"', out);
	for (p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (*p == '\n')
			fputs("\\n", out);
		else if (*p == '\t')
			fputs("\\t", out);
		else if (*p < 0x20 || *p >= 0x7f)	/* whatever its encoding was */
			fprintf(out, "\\u%04x", *p);
		else
			fputc(*p, out);
	}
	fputc('"', out);
}

static void member(struct json *j, const char *key)
{
	if (j->depth)
		fprintf(j->out, "%s\n%*s", j->filled[j->depth - 1] ? "," : "", 2 * j->depth, "");
	if (j->depth)
		j->filled[j->depth - 1] = true;
	if (key) {
		quote(j->out, key);
		fputs(": ", j->out);
	}
}

static void open_level(struct json *j, const char *key, char bracket)
{
	assert(j->depth < JSON_DEPTH);
	member(j, key);
	fputc(bracket, j->out);
	j->filled[j->depth++] = false;
}

static void close_level(struct json *j, char bracket)
{
	assert(j->depth);
	j->depth--;
	if (j->filled[j->depth])
		fprintf(j->out, "\n%*s", 2 * j->depth, "");
	fputc(bracket, j->out);
}

/**
 * json_begin() - start a document
 * @j: writer
 * @out: where it goes
 */
void json_begin(struct json *j, FILE *out)
{
	*j = (struct json){ .out = out };
}

/**
 * json_object() - open an object
 * @j: writer
 * @key: its name in the object around it, or NULL
 */
void json_object(struct json *j, const char *key)
{
	open_level(j, key, '{');
}

/**
 * json_array() - open an array
 * @j: writer
 * @key: its name in the object around it, or NULL
 */
void json_array(struct json *j, const char *key)
{
	open_level(j, key, '[');
}

/**
 * json_end_object() - close an object
 * @j: writer
 */
void json_end_object(struct json *j)
{
	close_level(j, '}');
}

/**
 * json_end_array() - close an array
 * @j: writer
 */
void json_end_array(struct json *j)
{
	close_level(j, ']');
}

/**
 * json_string() - write a text
 * @j: writer
 * @key: its name, or NULL
 * @value: the text; NULL is written as null
 */
void json_string(struct json *j, const char *key, const char *value)
{
	member(j, key);
	if (value)
		quote(j->out, value);
	else
		fputs("null", j->out);
}

/**
 * json_number() - write a number
 * @j: writer
 * @key: its name, or NULL
 * @value: the number
 */
void json_number(struct json *j, const char *key, int64_t value)
{
	member(j, key);
	fprintf(j->out, "%" PRId64, value);
}

/**
 * json_unsigned() - write a number that is never negative
 * @j: writer
 * @key: its name, or NULL
 * @value: the number
 */
void json_unsigned(struct json *j, const char *key, uint64_t value)
{
	member(j, key);
	fprintf(j->out, "%" PRIu64, value);
}

/**
 * json_bool() - write true or false
 * @j: writer
 * @key: its name, or NULL
 * @value: which
 */
void json_bool(struct json *j, const char *key, bool value)
{
	member(j, key);
	fputs(value ? "true" : "false", j->out);
}

/**
 * json_hex() - write an address
 * @j: writer
 * @key: its name, or NULL
 * @value: the address
 */
void json_hex(struct json *j, const char *key, uint64_t value)
{
	member(j, key);
	fprintf(j->out, "\"0x%" PRIx64 "\"", value);
}

/**
 * json_finish() - end a document
 * @j: writer
 *
 * Return: 0, or EOF if it could not be written.
 */
int json_finish(struct json *j)
{
	assert(!j->depth);
	fputc('\n', j->out);
	return fflush(j->out) || ferror(j->out) ? EOF : 0;
}

/* SPDX-License-Identifier: GPL-2.0 */
/* A writer for JSON documents, see json.c. */
#ifndef TOOLS_JSON_H
#define TOOLS_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH 16

/**
 * struct json - a document that is being written
 * @out: where it goes
 * @depth: open objects and arrays
 * @filled: this level has a member already
 */
struct json {
	FILE *out;
	unsigned int depth;
	bool filled[JSON_DEPTH];
};

/* A member of an object has a key; in an array, and at the top, it is NULL. */
void json_begin(struct json *j, FILE *out);
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_end_object(struct json *j);
void json_end_array(struct json *j);
void json_string(struct json *j, const char *key, const char *value);
void json_number(struct json *j, const char *key, int64_t value);
void json_unsigned(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);
/* An address or other 64-bit pattern: a string, JSON numbers lose its low bits. */
void json_hex(struct json *j, const char *key, uint64_t value);
int json_finish(struct json *j);

#endif /* TOOLS_JSON_H */

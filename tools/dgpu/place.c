// SPDX-License-Identifier: GPL-2.0
/*
 * Where the pages of a buffer are, and moving them to the device on request.
 *
 * A buffer is malloc() memory: its first and its last page may have other users, and
 * are counted and moved with it.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "place.h"

#define CHUNK 2048	/* pages asked for at a time */

/* The pages that a buffer touches. */
static size_t page_range(const struct buffer *b, uintptr_t *start)
{
	*start = (uintptr_t)b->data & ~4095ul;
	return ((uintptr_t)b->data + b->size - *start + 4095) / 4096;
}

/**
 * places_count() - find out where the pages of a buffer are
 * @s: session, with the device open
 * @b: buffer
 * @places: where the answer goes
 *
 * Return: 0, or a negative errno.
 */
int places_count(struct session *s, const struct buffer *b, struct places *places)
{
	struct dgpu_page_info info[CHUNK];
	size_t left, n, i;
	uintptr_t at;
	int ret;

	*places = (struct places){ };
	for (left = page_range(b, &at); left; left -= n, at += n * 4096) {
		n = left < CHUNK ? left : CHUNK;
		ret = dgpu_residency(s->dev, (void *)at, n, info);
		if (ret)
			return ret;
		for (i = 0; i < n; i++)
			if (info[i].place < HMM_PLACE_NR)
				places->pages[info[i].place]++;
	}
	return 0;
}

/**
 * buffer_request() - move a buffer to the device
 * @s: session, with the device open
 * @b: buffer; what has never been touched gets empty pages there
 * @result: what became of its pages
 *
 * Return: 0, also if pages had to stay; or a negative errno: nothing can move.
 */
int buffer_request(struct session *s, const struct buffer *b, struct request_result *result)
{
	uint8_t results[CHUNK];
	size_t left, n, i;
	uintptr_t at;
	int ret;

	*result = (struct request_result){ };
	for (left = page_range(b, &at); left; left -= n, at += n * 4096) {
		n = left < CHUNK ? left : CHUNK;
		memset(results, HMM_PAGE_NR, n);
		ret = dgpu_migrate(s->dev, (void *)at, n * 4096, DGPU_MIGRATE_POPULATE, results,
				   NULL);
		/* Either the call has failed, or it is a page's error and all were tried. */
		if (ret && results[0] == HMM_PAGE_NR)
			return ret;
		for (i = 0; i < n; i++)
			if (results[i] < HMM_PAGE_NR)
				result->pages[results[i]]++;
	}
	return 0;
}

/* "3 moved, 1 busy": those that there are. */
static void list_text(const uint64_t *pages, unsigned int n, const char *(*name)(unsigned int),
		      char *buf, size_t size)
{
	const char *sep = "";
	unsigned int i;
	size_t len = 0;

	*buf = '\0';
	for (i = 0; i < n && len < size; i++) {
		if (!pages[i])
			continue;
		len += snprintf(buf + len, size - len, "%s%" PRIu64 " %s", sep, pages[i], name(i));
		sep = ", ";
	}
}

static void list_json(struct json *j, const char *key, const uint64_t *pages, unsigned int n,
		      const char *(*name)(unsigned int))
{
	unsigned int i;

	json_object(j, key);
	for (i = 0; i < n; i++)
		json_unsigned(j, name(i), pages[i]);
	json_end_object(j);
}

/**
 * places_text() - say where pages are
 * @places: how many are where
 * @buf: where the text goes
 * @size: size of @buf
 */
void places_text(const struct places *places, char *buf, size_t size)
{
	list_text(places->pages, HMM_PLACE_NR, dgpu_page_place_name, buf, size);
}

/**
 * places_json() - write where pages are
 * @j: writer
 * @key: name of the object
 * @places: how many are where
 */
void places_json(struct json *j, const char *key, const struct places *places)
{
	list_json(j, key, places->pages, HMM_PLACE_NR, dgpu_page_place_name);
}

/**
 * request_text() - say what became of the pages of a request
 * @result: how many of which
 * @buf: where the text goes
 * @size: size of @buf
 */
void request_text(const struct request_result *result, char *buf, size_t size)
{
	list_text(result->pages, HMM_PAGE_NR, dgpu_page_result_name, buf, size);
}

/**
 * request_json() - write what became of the pages of a request
 * @j: writer
 * @key: name of the object
 * @result: how many of which
 */
void request_json(struct json *j, const char *key, const struct request_result *result)
{
	list_json(j, key, result->pages, HMM_PAGE_NR, dgpu_page_result_name);
}

/* SPDX-License-Identifier: GPL-2.0 */
/* Where the pages of a buffer are, and moving them, see place.c. */
#ifndef DGPU_TOOL_PLACE_H
#define DGPU_TOOL_PLACE_H

#include "buffer.h"
#include "dgpu.h"

/**
 * struct places - how many pages are where
 * @pages: by enum hmm_page_place
 */
struct places {
	uint64_t pages[HMM_PLACE_NR];
};

/**
 * struct request_result - what became of the pages of a request
 * @pages: by enum hmm_page_result
 */
struct request_result {
	uint64_t pages[HMM_PAGE_NR];
};

int places_count(struct session *s, const struct buffer *b, struct places *places);
void places_text(const struct places *places, char *buf, size_t size);
void places_json(struct json *j, const char *key, const struct places *places);
int buffer_request(struct session *s, const struct buffer *b, struct request_result *result);
void request_text(const struct request_result *result, char *buf, size_t size);
void request_json(struct json *j, const char *key, const struct request_result *result);

#endif /* DGPU_TOOL_PLACE_H */

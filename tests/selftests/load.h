/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Contents that show what happened to them, and something that works on them.
 *
 * Each page of a range has 512 words.  The first LOAD_WORDS are counters, which start at
 * zero: device programs and threads add to them at random, and what must be there in the
 * end can be computed.  The others are a pattern of the range, the page and the word: a
 * page that was lost, mixed up or left half copied shows.
 */
#ifndef SELFTEST_LOAD_H
#define SELFTEST_LOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "gpu.h"

#define LOAD_WORDS	8	/* counters of a page */

/* Write pattern and zero counters; check the pattern (says what is wrong; false). */
void load_fill(volatile void *mem, size_t npages, uint64_t seed);
bool load_check(const volatile void *mem, size_t npages, uint64_t seed);
/* The same for pages of a larger range that was filled: @npages of them from page @first. */
bool load_check_part(const volatile void *mem, size_t first, size_t npages, uint64_t seed);
/* Sum of a counter over all pages. */
uint64_t load_sum(const volatile void *mem, size_t npages, unsigned int word);

/* ---- by the device ---- */

/*
 * @nthreads device threads, each of which adds 1 to counter @word of @rounds pages chosen
 * by @seed, atomically.
 */
struct load_walk {
	volatile void *mem;
	size_t npages;
	unsigned int word;
	uint32_t nthreads;
	uint32_t rounds;
	uint64_t seed;
};

/* Assembled once a process, in the first call. */
const struct dgpu_prog *load_prog(void);
struct dgpu_job *load_start(struct gpu *gpu, const struct load_walk *walk);
/* To its end; 0, -errno of a fault, or -EIO with gpu->result. */
int load_run(struct gpu *gpu, const struct load_walk *walk);
/* Add to counts[npages] what a walk adds to the pages. */
void load_expect(uint64_t *counts, const struct load_walk *walk);
/* The counters are exactly these. */
bool load_counts_are(const volatile void *mem, size_t npages, unsigned int word,
		     const uint64_t *counts);

/* ---- by threads of the CPU ---- */

/* A thread that goes on adding to a counter of pages chosen at random until it is told. */
struct load_thread {
	pthread_t thread;
	volatile void *mem;
	size_t npages;
	unsigned int word;
	uint64_t seed;
	bool stop;		/* atomic */
	uint64_t done;		/* additions; atomic */
};

void load_thread_start(struct load_thread *thread, volatile void *mem, size_t npages,
		       unsigned int word, uint64_t seed);
/* Wait until it has done that many more. */
void load_thread_progress(struct load_thread *thread, uint64_t more);
uint64_t load_thread_stop(struct load_thread *thread);	/* how many it did */

#endif /* SELFTEST_LOAD_H */

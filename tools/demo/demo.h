/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dgpu-demo: GPU programs on plain malloc() memory while the process changes it.
 *
 *	main.c		options, the course of events, the table
 *	gpu.c		the programs, running them
 *	jobs.c		what the GPU computes: list, tree, vectors, histogram
 *	churn.c		threads that disturb the jobs' memory and leave its contents alone
 *	checks.c	threads that disturb memory of their own and see through the GPU that
 *			it has the contents it must have
 */
#ifndef DEMO_H
#define DEMO_H

#include <pthread.h>
#include "libdgpu.h"

#define PAGE 4096ul

enum program {
	PROG_LIST, PROG_WALK, PROG_FIND, PROG_VADD, PROG_HISTOGRAM, PROG_SUM, PROG_FILL,
	PROG_PEEK, PROG_POKE, PROG_NR
};

/**
 * struct tally - what a row of the table counts; written by one thread
 * @rounds: completed
 * @runs: GPU jobs
 * @insns: their instructions
 * @faults: their device faults
 * @wrong: results that were not what they had to be
 */
struct tally {
	uint64_t rounds;
	uint64_t runs;
	uint64_t insns;
	uint64_t faults;
	uint64_t wrong;
};

/**
 * struct region - memory of a job, as the disturbers see it
 * @name: for messages
 * @lock: held by the job while it writes, frees or allocates the memory, and by a
 *	disturber while it is at work; never while the GPU computes
 * @present: there is memory
 * @protect: its protection may be changed: neither the GPU nor malloc() write to it
 * @start: first byte, if @pick is NULL
 * @length: its length, if @pick is NULL
 * @pick: a random word of the memory, where it is not one piece
 * @job: for @pick
 */
struct region {
	const char *name;
	pthread_mutex_t lock;
	bool present;
	bool protect;
	void *start;
	size_t length;
	uint64_t *(*pick)(struct region *region, uint64_t random);
	void *job;
};

#define MAX_REGIONS 8

/**
 * struct demo - everything
 * @dev: the device
 * @local_bytes: its memory; 0: none, nothing moves
 * @programs: enum program
 * @seed: of all randomness
 * @seconds: how long in all
 * @timeout_ms: the watchdog of every GPU job
 * @nodes: of the list and the tree
 * @elements: of the vectors
 * @threads: of the GPU, for vectors and histogram
 * @path: file for the histogram
 * @file_limit: bytes of it to use
 * @regions: memory of the jobs
 * @nregions: how many
 * @stop: disturbers shall end
 * @messages: of wrong results, so far
 */
struct demo {
	struct dgpu_dev *dev;
	uint64_t local_bytes;
	struct dgpu_prog *programs[PROG_NR];
	uint64_t seed;
	unsigned int seconds;
	uint64_t timeout_ms;
	unsigned int nodes;
	unsigned int elements;
	unsigned int threads;
	const char *path;
	size_t file_limit;
	struct region regions[MAX_REGIONS];
	unsigned int nregions;
	bool stop;
	unsigned int messages;
};

/* gpu.c */
int gpu_init(struct demo *demo);
void gpu_exit(struct demo *demo);
__attribute__((format(printf, 2, 3))) void gpu_wrong(struct demo *demo, const char *fmt, ...);
bool gpu_run(struct demo *demo, struct tally *tally, const char *who, enum program program,
	     uint32_t threads, const uint64_t args[4]);
bool gpu_sum_is(struct demo *demo, struct tally *tally, const char *who, const void *start,
		size_t words, size_t step, uint64_t seed);
bool gpu_fill(struct demo *demo, struct tally *tally, const char *who, void *start,
	      size_t words, size_t step, uint64_t seed);
bool gpu_faults(struct demo *demo, struct tally *tally, const char *who, void *addr,
		bool write, int error);
void cpu_fill(void *start, size_t words, size_t step, uint64_t seed);
bool cpu_has(const void *start, size_t words, size_t step, uint64_t seed);
uint64_t random_next(uint64_t *state);

/* jobs.c */

/**
 * struct job - something that the GPU computes
 * @name: in the table
 * @what: in the table
 * @make: allocate its memory and fill it; false if there is none
 * @once: change some of it, compute on the GPU and on the CPU, compare
 * @drop: free its memory
 */
struct job {
	const char *name;
	const char *what;
	bool (*make)(struct demo *demo, uint64_t *rnd);
	void (*once)(struct demo *demo, struct tally *tally, uint64_t *rnd);
	void (*drop)(struct demo *demo);
};

#define NJOBS 4
extern const struct job jobs[NJOBS];
void jobs_init(struct demo *demo);
const char *jobs_size(const struct demo *demo, unsigned int job, char *buf, size_t size);

/* churn.c, checks.c */

/**
 * struct disturber - a thread that changes memory
 * @name: in the table
 * @what: in the table
 * @checks: it sees through the GPU what came out
 * @once: one round
 * @make: allocate what it needs, or NULL; false if it cannot
 * @drop: free it, or NULL
 */
struct disturber {
	const char *name;
	const char *what;
	bool checks;
	void (*once)(struct demo *demo, struct tally *tally, uint64_t *rnd);
	bool (*make)(struct demo *demo);
	void (*drop)(struct demo *demo);
};

#define NCHURN 4
#define NCHECKS 6
extern const struct disturber churns[NCHURN];
extern const struct disturber checks[NCHECKS];

#endif /* DEMO_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dgpu-chaos.so: a thread in somebody else's program that keeps moving the program's
 * memory to the GPU and back.
 *
 *	preload.c	constructor, fork(), exit; starting the thread
 *	loop.c		what the thread does
 *	maps.c		which memory there is, and choosing some of it
 *	record.c	a line for each process that says what was done
 *	sys.h		system calls
 *
 * The program must not notice.  So the thread is one that the C library does not know
 * of, which has no file descriptors in common with the program, blocks all signals, and
 * uses nothing of the C library: no errno, no thread-local storage, no malloc(), no lock
 * that another thread could hold while the program forks.
 */
#ifndef CHAOS_H
#define CHAOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAOS_PAGE	4096ul
#define CHAOS_PATH	4096

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* ---- what dgpu chaos says, in the environment ---- */

#define CHAOS_ENV_DEVICE	"DGPU_CHAOS_DEVICE"	/* absolute; the thread runs if it is set */
#define CHAOS_ENV_SEED		"DGPU_CHAOS_SEED"
#define CHAOS_ENV_RATE		"DGPU_CHAOS_RATE"
#define CHAOS_ENV_EVACUATE	"DGPU_CHAOS_EVACUATE"
#define CHAOS_ENV_FILES		"DGPU_CHAOS_FILES"
#define CHAOS_ENV_STAT		"DGPU_CHAOS_STAT"	/* absolute */

#define CHAOS_RATE	500	/* operations in a second, unless something else is said */

/**
 * struct chaos_config - what to do; does not change once it is read
 * @device: device file
 * @stat: file for the records; "" for none
 * @seed: of the random numbers
 * @rate: operations in a second, at most
 * @evacuate: evacuate the whole device now and then
 * @files: shared mappings of files as well
 */
struct chaos_config {
	char device[CHAOS_PATH];
	char stat[CHAOS_PATH];
	uint64_t seed;
	uint64_t rate;
	bool evacuate;
	bool files;
};

/* ---- maps.c ---- */

/**
 * struct chaos_range - a mapping that can have anonymous pages, or a shared one of a file
 * @start: first byte
 * @end: first byte after it
 * @writable: it may be written
 * @shared: it is shared
 */
struct chaos_range {
	uint64_t start;
	uint64_t end;
	bool writable;
	bool shared;
};

#define CHAOS_RANGES	64

/**
 * struct chaos_maps - a fair sample of the mappings of a process
 * @n: how many are in the sample
 * @seen: how many were looked at for it
 * @rnd: random numbers
 * @range: the sample
 */
struct chaos_maps {
	unsigned int n;
	uint64_t seen;
	uint64_t *rnd;
	struct chaos_range range[CHAOS_RANGES];
};

uint64_t chaos_random(uint64_t *state);
bool chaos_maps_line(const char *line, size_t length, struct chaos_range *range);
size_t chaos_maps_lines(const char *text, size_t length,
			bool (*each)(void *arg, const struct chaos_range *range), void *arg);
bool chaos_maps_sample(void *arg, const struct chaos_range *range);
bool chaos_maps_pick(const struct chaos_maps *maps, uint64_t *rnd, uint64_t max_pages,
		     struct chaos_range *range);

/* ---- record.c ---- */

enum chaos_counter {
	CHAOS_OPS,		/* operations */
	CHAOS_THERE,		/* pages moved to the device */
	CHAOS_BACK,		/* pages moved back */
	CHAOS_BUSY,		/* pages that could not move as they were in use */
	CHAOS_FULL,		/* ... for want of room */
	CHAOS_FAILED,		/* ... as copies failed, or contents were lost */
	CHAOS_MAPPED,		/* pages mapped on the device by prefault */
	CHAOS_SWEEPS,		/* times that all memory was moved */
	CHAOS_REOPENS,		/* times that the device was opened again */
	CHAOS_EVACUATIONS,	/* evacuations of the device */
	CHAOS_FILES,		/* pages of THERE that are of shared mappings of files */
	CHAOS_JOBS,		/* programs that read, or wrote to, such mappings */
	CHAOS_ERRORS,		/* system calls that failed and should not have */
	CHAOS_ERRNO,		/* of the last of these */
	CHAOS_COUNTERS
};

#define CHAOS_RECORD	256	/* bytes of a line; every record of a file has this length */

size_t chaos_record_format(char *line, int pid, const char *comm,
			   const uint64_t counters[CHAOS_COUNTERS]);

/* ---- loop.c ---- */

/* What the program's threads and ours say to each other; futex words. */
enum chaos_command { CHAOS_GO, CHAOS_SWEEP };
enum chaos_phase { CHAOS_STARTING, CHAOS_DETACHED, CHAOS_RUNNING };

/**
 * struct chaos_control - what threads of the program and ours share
 * @command: enum chaos_command, written by the program's thread; the thread sets it
 *	back to CHAOS_GO when it is done
 * @phase: enum chaos_phase, written by the thread
 * @sweep_first: move everything before the program begins
 * @seed: for the thread of this process
 */
struct chaos_control {
	uint32_t command;
	uint32_t phase;
	bool sweep_first;
	uint64_t seed;
};

extern struct chaos_config chaos_config;
extern struct chaos_control chaos_control;

void chaos_thread(void);

#endif /* CHAOS_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Random operations on one file, by system calls, through mappings, and by the device, each
 * compared with a model of the file (files_model.h).
 *
 * The operations depend on the configuration and the seed only, not on time or on where
 * pages are: a run without chaos does the same again.  With chaos, other threads move pages,
 * write back and reclaim meanwhile; none of them changes what the file contains.
 */
#ifndef SELFTEST_FILES_RUN_H
#define SELFTEST_FILES_RUN_H

#include <pthread.h>
#include "files.h"
#include "files_model.h"
#include "sys.h"

/* What other threads do in the meantime. */
enum files_chaos {
	FILES_CHAOS_IN,		/* pages to the device */
	FILES_CHAOS_OUT,	/* and back */
	FILES_CHAOS_FSYNC,
	FILES_CHAOS_SYNC,	/* of everything */
	FILES_CHAOS_COMPACT,
	FILES_CHAOS_RECLAIM,	/* memory.reclaim of the control group */
	FILES_CHAOS_DROP,	/* drop_caches */
	FILES_CHAOS_EVACUATE,
	FILES_CHAOS_READ,	/* read(2) into nowhere, and pages that a pipe holds */
	FILES_CHAOS_FORK,	/* children that touch the mapping */
	FILES_CHAOS_NR
};
#define FILES_CHAOS_ALL	((1u << FILES_CHAOS_NR) - 1)

/* Bugs to plant, to see that they are found: from operation number plant_at on, once. */
enum files_plant {
	FILES_PLANT_NONE,
	FILES_PLANT_MODEL,	/* the model does not hear of a write */
	FILES_PLANT_READ,	/* one bit of what is read is wrong */
	FILES_PLANT_DEVICE,	/* a write of the device that does not happen */
};

struct files_run_config {
	uint32_t seed;
	uint32_t nops;
	uint32_t max;		/* bytes of the file, at most */
	uint32_t verify;	/* all of it is read every so many operations */
	bool pollute;		/* the rest of the last page is written to */
	bool verbose;		/* say every operation */
	unsigned int chaos;	/* 1 << enum files_chaos */
	enum files_plant plant;
	uint32_t plant_at;
	const char *without;	/* ",read,dwrite,": operations not to do */
	unsigned int progress;	/* say how far it is every so many seconds; 0: do not */
	unsigned int slow_ms;	/* say where all are if an operation takes longer; 0: do not */
	bool profile;		/* say how long each kind of operation took */
	struct gpu *other;	/* a second device, which does half of the work; or NULL */
};

/* How long operations take: files_watch.c.  "verify" has the index files_nops. */
struct files_watch {
	pthread_t thread;
	bool running, stop;
	unsigned int op;	/* the one that has begun last */
	uint64_t since;		/* when, in microseconds; 0: it has ended */
	uint32_t done;		/* operations */
	uint64_t *spent, *longest;	/* microseconds, of each kind */
};

struct files_run {
	struct files_run_config config;
	struct files_fs *fs;
	struct gpu *gpu;
	struct files_model model;
	uint64_t rnd;
	char path[100];
	int fd, direct;		/* direct: with O_DIRECT */
	uint8_t *mem;		/* MAP_SHARED, of config.max bytes */
	uint8_t *want, *got;	/* buffers, of config.max bytes */
	struct dgpu_prog *copy, *copy1, *add;
	int pipe[2];
	uint64_t moved_in, moved_out;	/* pages, by our own calls */
	uint32_t *counts;	/* of each operation, and of verify */
	struct files_watch watch;
	bool failed, planted;
	/* This kernel is wrong there: files_probe_zero(), files_probe_longer(). */
	bool zero_stale, longer_loses;
	/* Who changes fd, mem or the mount writes; chaos threads read. */
	pthread_rwlock_t lock;
	bool stop;
	pthread_t threads[FILES_CHAOS_NR];
	struct sys_memcg cg;
};

/* Run; false after a difference or an operation that failed, which has been explained. */
bool files_run(struct files_fs *fs, struct gpu *gpu, const struct files_run_config *config);

/* ---- inside: files_run.c, the operations in files_ops.c, files_chaos.c, files_watch.c ---- */

/**
 * struct files_op - an operation
 * @name: its name
 * @weight: how often, of the sum of all
 * @need: bytes that the file must have for it
 * @fn: do it; false if it failed, which has been explained
 */
struct files_op {
	const char *name;
	unsigned int weight;
	uint32_t need;
	bool (*fn)(struct files_run *run);
};

extern const struct files_op files_ops[];
extern const unsigned int files_nops;

uint64_t files_random(uint64_t *state);
/* 0 .. @below - 1 */
uint32_t files_below(struct files_run *run, uint32_t below);
/* One of @n times. */
bool files_one_in(struct files_run *run, uint32_t n);

/* An operation failed: say why, and all that may help. */
bool files_fail(struct files_run *run, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* run->got has what was read from @from on: compare. */
bool files_compare(struct files_run *run, uint32_t from, uint32_t length);
/* The operation has written run->want at @op->from, and the model is to hear of it. */
void files_wrote(struct files_run *run, const struct files_model_op *op);
/* The whole file, in one of several ways. */
bool files_verify(struct files_run *run, unsigned int how);
/* The device that is to do something; @rnd: of the caller. */
struct gpu *files_gpu(struct files_run *run, uint64_t *rnd);
/* Copy by a device, in pieces of 8 bytes or of 1. */
bool files_device_copy(struct files_run *run, void *to, const void *from, uint32_t length,
		       bool bytes);
bool files_open(struct files_run *run);
void files_close(struct files_run *run);

void files_chaos_start(struct files_run *run);
void files_chaos_stop(struct files_run *run);

/* Between these the operation with index @op of files_ops runs. */
void files_watch_begin(struct files_run *run, unsigned int op);
void files_watch_end(struct files_run *run);
void files_watch_start(struct files_run *run);
void files_watch_stop(struct files_run *run);

#endif /* SELFTEST_FILES_RUN_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libdgpu: a small C library for the emulated GPU.
 *
 * Open a device, assemble a program from text, submit it on memory of this process
 * (plain malloc() will do), wait, and find out what went wrong and where.
 * Functions return 0 or a negative errno, unless they say otherwise.  A dgpu_dev may
 * be used by several threads at once.
 */
#ifndef LIBDGPU_H
#define LIBDGPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "dgpu.h"
#include "dgpu_isa.h"
#include "hmm_event.h"
#include "hmm_memory.h"

#ifdef __cplusplus
extern "C" {
#endif

struct dgpu_dev;	/* an open device */
struct dgpu_prog;	/* an assembled program */
struct dgpu_job;	/* a submitted job */

/* path NULL: $DGPU_DEVICE or /dev/dgpu0. */
int dgpu_open(const char *path, struct dgpu_dev **dev);
void dgpu_close(struct dgpu_dev *dev);
int dgpu_fd(const struct dgpu_dev *dev);
int dgpu_get_info(struct dgpu_dev *dev, struct dgpu_info *info);

/*
 * Assemble text (the language is described in dgpu-asm(7)).  On error returns -EINVAL
 * and, in *error (free() it), a message "line N: ..." for each wrong line; *error is
 * NULL after other errors (a file that cannot be read, no memory).
 */
int dgpu_assemble(const char *text, struct dgpu_prog **prog, char **error);
int dgpu_assemble_file(const char *path, struct dgpu_prog **prog, char **error);
void dgpu_prog_free(struct dgpu_prog *prog);
const struct dgpu_insn *dgpu_prog_code(const struct dgpu_prog *prog, uint32_t *ninsns);
/* Line of the text that an instruction came from; 0: not known. */
uint32_t dgpu_prog_line(const struct dgpu_prog *prog, uint32_t index);
/* A program of instructions that come from elsewhere; they are not checked. */
int dgpu_prog_new(const struct dgpu_insn *code, uint32_t ninsns, struct dgpu_prog **prog);
/* One instruction as text that assembles to it again; returns as snprintf() does. */
int dgpu_disasm(const struct dgpu_insn *insn, char *buf, size_t size);

struct dgpu_run {
	const struct dgpu_prog *prog;
	uint32_t nthreads;	/* 0 is 1 */
	uint32_t engine;	/* DGPU_ENGINE_ANY, or an index */
	uint64_t timeout_ms;	/* watchdog of the device; 0: default */
	uint64_t args[8];	/* r1..r8 */
};

int dgpu_submit(struct dgpu_dev *dev, const struct dgpu_run *run, struct dgpu_job **job);
int dgpu_job_fence(const struct dgpu_job *job);	/* fd for poll(); the job owns it */
/* Wait; timeout_ms < 0: for ever.  -ETIME when not finished.  Result may be NULL. */
int dgpu_job_wait(struct dgpu_job *job, int timeout_ms, struct dgpu_result *result);
void dgpu_job_free(struct dgpu_job *job);	/* does not wait */
/* submit + wait + free.  0 if the program ran to its end, -EIO if not (see result). */
int dgpu_run(struct dgpu_dev *dev, const struct dgpu_run *run, struct dgpu_result *result);
/* "thread 3 at instruction 7: write to 0x7f.. failed: no mapping (EFAULT)" */
int dgpu_result_text(const struct dgpu_result *result, char *buf, size_t size);
const char *dgpu_status_name(unsigned int status);	/* "ok", "fault", ... */
const char *dgpu_access_name(unsigned int access);	/* "read", "write", "atomic" */

int dgpu_prefault(struct dgpu_dev *dev, const void *start, size_t length, bool write);
int dgpu_get_ptes(struct dgpu_dev *dev, const void *start, size_t npages, uint8_t *out);

/*
 * Move pages to the device, or back (flags: DGPU_MIGRATE_*).  results (enum hmm_page_result
 * for each page) and moved may be NULL; they are valid also when the error is that of a
 * page, see dgpu.h.
 */
int dgpu_migrate(struct dgpu_dev *dev, const void *start, size_t length, uint32_t flags,
		 uint8_t *results, uint64_t *moved);
int dgpu_set_policy(struct dgpu_dev *dev, unsigned int policy);	/* HMM_POLICY_* */
/* reserved, start and length of *hint are not looked at */
int dgpu_set_hint(struct dgpu_dev *dev, const void *start, size_t length,
		  const struct dgpu_hint *hint);
int dgpu_residency(struct dgpu_dev *dev, const void *start, size_t npages,
		   struct dgpu_page_info *out);
int dgpu_evacuate(struct dgpu_dev *dev, uint64_t *left);	/* left may be NULL */
const char *dgpu_page_result_name(unsigned int result);		/* "moved", "busy", ... */
const char *dgpu_page_place_name(unsigned int place);		/* "none", "system", ... */

/* Counters: group is DGPU_STAT_*; returns how many the group has, or -errno. */
int dgpu_get_stat(struct dgpu_dev *dev, uint32_t group, uint64_t *values, uint32_t room);
const char *dgpu_stat_name(uint32_t group, uint32_t index);
uint64_t dgpu_stat_mirror(struct dgpu_dev *dev, unsigned int stat);	/* one counter */
uint64_t dgpu_stat_event(struct dgpu_dev *dev, unsigned int type);

/* Invalidation records. */
int dgpu_events_enable(struct dgpu_dev *dev, uint32_t capacity);
/* Up to max records, without waiting; returns how many, or -errno. */
int dgpu_events_read(struct dgpu_dev *dev, struct dgpu_event *events, size_t max);
const char *dgpu_event_type_name(unsigned int type);
const char *dgpu_event_action_name(unsigned int action);
/* The set as text, "cow" or "{dontneed, madv_free}". */
int dgpu_reasons_text(uint32_t reasons, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* LIBDGPU_H */

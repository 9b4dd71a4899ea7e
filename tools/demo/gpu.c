// SPDX-License-Identifier: GPL-2.0
/*
 * The GPU programs, and running them.
 *
 * The programs are files of source text (programs/), taken into this binary as they are
 * and assembled when it starts.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "demo.h"

#define MAX_MESSAGES	20

#define PROGRAM(name)							\
	asm(".section .rodata\n"					\
	    ".global source_" #name "\n"				\
	    "source_" #name ":\n"					\
	    ".incbin \"programs/" #name ".s\"\n"			\
	    ".byte 0\n"							\
	    ".previous\n");						\
	extern const char source_##name[]

PROGRAM(list);
PROGRAM(walk);
PROGRAM(find);
PROGRAM(vadd);
PROGRAM(histogram);
PROGRAM(sum);
PROGRAM(fill);
PROGRAM(peek);
PROGRAM(poke);

static const struct {
	const char *name;
	const char *text;
} sources[PROG_NR] = {
	[PROG_LIST]		= { "list.s", source_list },
	[PROG_WALK]		= { "walk.s", source_walk },
	[PROG_FIND]		= { "find.s", source_find },
	[PROG_VADD]		= { "vadd.s", source_vadd },
	[PROG_HISTOGRAM]	= { "histogram.s", source_histogram },
	[PROG_SUM]		= { "sum.s", source_sum },
	[PROG_FILL]		= { "fill.s", source_fill },
	[PROG_PEEK]		= { "peek.s", source_peek },
	[PROG_POKE]		= { "poke.s", source_poke },
};

/**
 * gpu_init() - assemble the programs
 * @demo: the demo
 *
 * Return: 0, or a negative errno with the reason told.
 */
int gpu_init(struct demo *demo)
{
	unsigned int i;
	char *error;
	int ret;

	for (i = 0; i < PROG_NR; i++) {
		ret = dgpu_assemble(sources[i].text, &demo->programs[i], &error);
		if (ret) {
			fprintf(stderr, "dgpu-demo: %s: %s\n", sources[i].name,
				error ?: strerror(-ret));
			free(error);
			gpu_exit(demo);
			return ret;
		}
	}
	return 0;
}

/**
 * gpu_exit() - free the programs
 * @demo: the demo
 */
void gpu_exit(struct demo *demo)
{
	unsigned int i;

	for (i = 0; i < PROG_NR; i++) {
		dgpu_prog_free(demo->programs[i]);
		demo->programs[i] = NULL;
	}
}

/**
 * gpu_wrong() - tell that a result is wrong
 * @demo: the demo
 * @fmt: what
 */
void gpu_wrong(struct demo *demo, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (__atomic_add_fetch(&demo->messages, 1, __ATOMIC_RELAXED) > MAX_MESSAGES)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "dgpu-demo: NOT EQUAL: %s\n", text);
}

static int run(struct demo *demo, struct tally *tally, enum program program,
	       uint32_t threads, const uint64_t args[4], struct dgpu_result *result)
{
	struct dgpu_run job = {
		.prog = demo->programs[program], .nthreads = threads,
		.engine = DGPU_ENGINE_ANY, .timeout_ms = demo->timeout_ms,
	};
	int ret;

	memcpy(job.args, args, 4 * sizeof(*args));
	ret = dgpu_run(demo->dev, &job, result);
	tally->runs++;
	tally->insns += result->insns;
	tally->faults += result->faults;
	return ret;
}

/**
 * gpu_run() - run a program that must reach its end
 * @demo: the demo
 * @tally: counts it
 * @who: for the message
 * @program: which
 * @threads: of the GPU
 * @args: r1 to r4
 *
 * Return: false if it did not; that is told and counted as a wrong result.
 */
bool gpu_run(struct demo *demo, struct tally *tally, const char *who, enum program program,
	     uint32_t threads, const uint64_t args[4])
{
	struct dgpu_result result;
	char text[256];
	int ret;

	ret = run(demo, tally, program, threads, args, &result);
	if (!ret)
		return true;
	if (ret == -EIO)
		dgpu_result_text(&result, text, sizeof(text));
	else
		snprintf(text, sizeof(text), "%s", strerror(-ret));
	tally->wrong++;
	gpu_wrong(demo, "%s: %s: %s", who, sources[program].name, text);
	return false;
}

/**
 * random_next() - next number of a sequence
 * @state: its state, not 0
 *
 * Return: 64 random bits (xorshift64*).
 */
uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

/**
 * cpu_fill() - store what fill.s stores
 * @start: first word
 * @words: how many
 * @step: distance in bytes
 * @seed: first value
 */
void cpu_fill(void *start, size_t words, size_t step, uint64_t seed)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < words; i++) {
		value += seed;
		memcpy((char *)start + i * step, &value, sizeof(value));
	}
}

/**
 * cpu_has() - are the words those of fill.s?
 * @start: first word
 * @words: how many
 * @step: distance in bytes
 * @seed: first value; 0: all are zero
 *
 * Touches nothing but this memory: a child of fork() may use it.
 *
 * Return: true if so.
 */
bool cpu_has(const void *start, size_t words, size_t step, uint64_t seed)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < words; i++) {
		value += seed;
		if (memcmp((const char *)start + i * step, &value, sizeof(value)))
			return false;
	}
	return true;
}

/**
 * gpu_sum_is() - let the GPU read words that must be those of fill.s
 * @demo: the demo
 * @tally: counts it
 * @who: for the message
 * @start: first word
 * @words: how many
 * @step: distance in bytes
 * @seed: first value; 0: all must be zero
 *
 * Return: false if they are not; that is told and counted.
 */
bool gpu_sum_is(struct demo *demo, struct tally *tally, const char *who, const void *start,
		size_t words, size_t step, uint64_t seed)
{
	uint64_t out[2] = { ~0ull, ~0ull }, sum = 0, hash = 0, value = 0;
	uint64_t args[4] = { (uintptr_t)start, words, step, (uintptr_t)out };
	size_t i;

	if (!gpu_run(demo, tally, who, PROG_SUM, 1, args))
		return false;
	for (i = 0; i < words; i++) {
		value += seed;
		sum += value;
		hash = hash * 31 + value;
	}
	if (sum == out[0] && hash == out[1])
		return true;
	tally->wrong++;
	gpu_wrong(demo, "%s: round %" PRIu64 ": the GPU read sum %" PRIx64 " hash %" PRIx64
		  ", must be %" PRIx64 " %" PRIx64, who, tally->rounds, out[0], out[1], sum, hash);
	return false;
}

/**
 * gpu_fill() - let the GPU write words
 * @demo: the demo
 * @tally: counts it
 * @who: for the message
 * @start: first word
 * @words: how many
 * @step: distance in bytes
 * @seed: first value
 *
 * Return: false if it failed; that is told and counted.
 */
bool gpu_fill(struct demo *demo, struct tally *tally, const char *who, void *start,
	      size_t words, size_t step, uint64_t seed)
{
	uint64_t args[4] = { (uintptr_t)start, words, step, seed };

	return gpu_run(demo, tally, who, PROG_FILL, 1, args);
}

/**
 * gpu_faults() - let the GPU use an address where it must fail
 * @demo: the demo
 * @tally: counts it
 * @who: for the message
 * @addr: address
 * @write: store to it
 * @error: errno that it must fail with
 *
 * Return: false if it did not fail like this; that is told and counted.
 */
bool gpu_faults(struct demo *demo, struct tally *tally, const char *who, void *addr,
		bool write, int error)
{
	uint64_t value = 0, args[4] = { (uintptr_t)addr, write ? 0 : (uintptr_t)&value };
	struct dgpu_result result;
	char text[256];
	int ret;

	ret = run(demo, tally, write ? PROG_POKE : PROG_PEEK, 1, args, &result);
	if (ret == -EIO && result.status == DGPU_ERR_FAULT && result.error == error &&
	    result.fault_addr == (uintptr_t)addr &&
	    result.access == (write ? DGPU_ACCESS_WRITE : DGPU_ACCESS_READ))
		return true;
	if (ret && ret != -EIO)
		snprintf(text, sizeof(text), "%s", strerror(-ret));
	else
		dgpu_result_text(&result, text, sizeof(text));
	tally->wrong++;
	gpu_wrong(demo, "%s: round %" PRIu64 ": %s of %p had to fail with %s, but: %s", who,
		  tally->rounds, write ? "a write" : "a read", addr, strerrorname_np(error), text);
	return false;
}

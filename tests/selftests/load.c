// SPDX-License-Identifier: GPL-2.0
/*
 * Contents and work on them: see load.h.
 */
#include "load.h"
#include "sys.h"

#define WORDS	(PAGE_SIZE / sizeof(uint64_t))

static uint64_t load_mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15ull;
	x ^= x >> 29;
	return x;
}

static volatile uint64_t *load_page(const volatile void *mem, size_t page)
{
	return (volatile uint64_t *)((uintptr_t)mem + page * PAGE_SIZE);
}

void load_fill(volatile void *mem, size_t npages, uint64_t seed)
{
	for (size_t page = 0; page < npages; page++) {
		volatile uint64_t *at = load_page(mem, page);
		const uint64_t first = load_mix(seed << 32 | page);

		for (size_t i = 0; i < LOAD_WORDS; i++)
			at[i] = 0;
		for (size_t i = LOAD_WORDS; i < WORDS; i++)
			at[i] = first + i;
	}
}

bool load_check_part(const volatile void *mem, size_t start, size_t npages, uint64_t seed)
{
	size_t bad = 0;

	for (size_t page = start; page < start + npages; page++) {
		const volatile uint64_t *at = load_page(mem, page);
		const uint64_t first = load_mix(seed << 32 | page);

		for (size_t i = LOAD_WORDS; i < WORDS; i++) {
			const uint64_t seen = at[i];

			if (seen == first + i)
				continue;
			if (bad++ < 5)
				test_log("page %zu, word %zu: %#jx instead of %#jx", page, i,
					 (uintmax_t)seen, (uintmax_t)(first + i));
			break;
		}
	}
	if (bad > 5)
		test_log("%zu pages are wrong in all", bad);
	return !bad;
}

bool load_check(const volatile void *mem, size_t npages, uint64_t seed)
{
	return load_check_part(mem, 0, npages, seed);
}

uint64_t load_sum(const volatile void *mem, size_t npages, unsigned int word)
{
	uint64_t sum = 0;

	for (size_t page = 0; page < npages; page++)
		sum += load_page(mem, page)[word];
	return sum;
}

/* ---- by the device ---- */

/* Constants of a generator that fit into the 32 bits with sign of an instruction. */
#define LOAD_MUL	1664525u
#define LOAD_ADD	1013904223u
#define LOAD_THREAD	1000003u	/* seeds of neighbours */

static const char walk_text[] =
	/* r1 first word, r2 pages, r3 rounds, r4 seed */
	"	tid	r9\n"
	"	li	r10, 1000003\n"
	"	mul	r9, r9, r10\n"
	"	add	r9, r9, r4\n"
	"	li	r10, 1664525\n"
	"	li	r11, 1013904223\n"
	"	li	r12, 1\n"
	"	li	r13, 0\n"
	"loop:	bgeu	r13, r3, done\n"
	"	mul	r9, r9, r10\n"
	"	add	r9, r9, r11\n"
	"	shri	r14, r9, 16\n"
	"	remu	r14, r14, r2\n"
	"	shli	r14, r14, 12\n"
	"	add	r14, r14, r1\n"
	"	aadd8	r15, r12, (r14)\n"
	"	addi	r13, r13, 1\n"
	"	jmp	loop\n"
	"done:	halt\n";

static uint64_t load_next(uint64_t *state, size_t npages)
{
	*state = *state * LOAD_MUL + LOAD_ADD;
	return (*state >> 16) % npages;
}

const struct dgpu_prog *load_prog(void)
{
	static struct dgpu_prog *prog;
	char *error = NULL;

	if (!prog && dgpu_assemble(walk_text, &prog, &error)) {
		FAIL("load program: %s", error ? error : "?");
		ASSERT_TRUE(false);
	}
	return prog;
}

static struct dgpu_run load_prepare(const struct load_walk *walk)
{
	return (struct dgpu_run) {
		.prog = load_prog(),
		.nthreads = walk->nthreads,
		.engine = DGPU_ENGINE_ANY,
		.timeout_ms = 600000,
		.args = { (uintptr_t)&load_page(walk->mem, 0)[walk->word], walk->npages,
			  walk->rounds, walk->seed },
	};
}

struct dgpu_job *load_start(struct gpu *gpu, const struct load_walk *walk)
{
	const struct dgpu_run run = load_prepare(walk);
	struct dgpu_job *job = NULL;

	ASSERT_EQ(0, dgpu_submit(gpu->dev, &run, &job));
	return job;
}

int load_run(struct gpu *gpu, const struct load_walk *walk)
{
	const struct dgpu_run run = load_prepare(walk);
	int ret;

	memset(&gpu->result, 0, sizeof(gpu->result));
	ret = dgpu_run(gpu->dev, &run, &gpu->result);
	if (ret == -EIO && gpu->result.status == DGPU_ERR_FAULT)
		return -gpu->result.error;
	return ret;
}

void load_expect(uint64_t *counts, const struct load_walk *walk)
{
	for (uint32_t thread = 0; thread < walk->nthreads; thread++) {
		uint64_t state = walk->seed + (uint64_t)thread * LOAD_THREAD;

		for (uint32_t round = 0; round < walk->rounds; round++)
			counts[load_next(&state, walk->npages)]++;
	}
}

bool load_counts_are(const volatile void *mem, size_t npages, unsigned int word,
		     const uint64_t *counts)
{
	size_t bad = 0;

	for (size_t page = 0; page < npages; page++) {
		const uint64_t seen = load_page(mem, page)[word];

		if (seen != counts[page] && bad++ < 5)
			test_log("page %zu of %zu: counter %u is %ju instead of %ju", page, npages,
				 word, (uintmax_t)seen, (uintmax_t)counts[page]);
	}
	if (bad > 5)
		test_log("%zu counters are wrong in all", bad);
	return !bad;
}

/* ---- by the CPU ---- */

static void *load_thread_run(void *arg)
{
	struct load_thread *me = arg;
	uint64_t state = me->seed;

	while (!__atomic_load_n(&me->stop, __ATOMIC_ACQUIRE)) {
		uint64_t *at = (uint64_t *)load_page(me->mem, load_next(&state, me->npages));

		__atomic_fetch_add(at + me->word, 1, __ATOMIC_SEQ_CST);
		/* Others are to get somewhere, too, on a machine with few processors. */
		if (!(__atomic_add_fetch(&me->done, 1, __ATOMIC_SEQ_CST) % 16))
			sys_sleep_ms(1);
	}
	return NULL;
}

void load_thread_start(struct load_thread *thread, volatile void *mem, size_t npages,
		       unsigned int word, uint64_t seed)
{
	memset(thread, 0, sizeof(*thread));
	thread->mem = mem;
	thread->npages = npages;
	thread->word = word;
	thread->seed = seed;
	ASSERT_EQ(0, pthread_create(&thread->thread, NULL, load_thread_run, thread));
}

void load_thread_progress(struct load_thread *thread, uint64_t more)
{
	const uint64_t until = __atomic_load_n(&thread->done, __ATOMIC_SEQ_CST) + more;

	while (__atomic_load_n(&thread->done, __ATOMIC_SEQ_CST) < until)
		sys_sleep_ms(1);
}

uint64_t load_thread_stop(struct load_thread *thread)
{
	__atomic_store_n(&thread->stop, true, __ATOMIC_RELEASE);
	pthread_join(thread->thread, NULL);
	return thread->done;
}

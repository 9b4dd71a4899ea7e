/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the selftests do with the device: small programs on it, a look at its page
 * table, and the records of invalidations.
 */
#ifndef SELFTEST_GPU_H
#define SELFTEST_GPU_H

#include <libdgpu.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "harness.h"

#define PAGE_SIZE	4096ul
#define HUGE_SIZE	(2ul << 20)
#define GPU_EVENTS	16384u

enum gpu_program {
	GPU_READ8,	/* mem[r2] = mem[r1] */
	GPU_WRITE8,	/* mem[r1] = r2 */
	GPU_FILL,	/* thread t of n: for i = t, t + n, .. < r2: mem[r1 + i * r3] = r4 + i */
	GPU_CHECK,	/* the same loop: trap 1 if mem[r1 + i * r3] != r4 + i */
	GPU_TOUCH,	/* the same loop, reads only */
	GPU_INCR,	/* r2 times: atomic mem[r1] += 1 */
	GPU_SPIN,	/* until mem[r1] != 0: atomic mem[r2] += 1; mem[r3] is read */
	GPU_PROGRAMS
};

struct gpu {
	struct dgpu_dev *dev;
	struct dgpu_prog *progs[GPU_PROGRAMS];
	volatile uint64_t *scratch;		/* a page for results */
	struct dgpu_result result;		/* of the last program */
	struct dgpu_event *events;		/* collected by gpu_events_collect() */
	size_t nevents;
	uint64_t next_seq;
};

/* Open the device and get everything ready; records of invalidations are on. */
void gpu_setup(struct gpu *gpu);
void gpu_setup_path(struct gpu *gpu, const char *path);
void gpu_teardown(struct gpu *gpu);

/*
 * Run a program to its end.  0, or the errno of the memory fault as a negative
 * number, or -EIO for any other bad end (then gpu->result says which).
 */
int gpu_run(struct gpu *gpu, enum gpu_program prog, uint32_t nthreads,
	    uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4);
/* The same without waiting. */
struct dgpu_job *gpu_start(struct gpu *gpu, enum gpu_program prog, uint32_t nthreads,
			   uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4);

int gpu_read(struct gpu *gpu, const volatile void *addr, uint64_t *value);
int gpu_write(struct gpu *gpu, volatile void *addr, uint64_t value);
/* The first word of every page of a range: value, value + 1, ... */
int gpu_fill(struct gpu *gpu, volatile void *addr, size_t npages, uint64_t value);
int gpu_check(struct gpu *gpu, const volatile void *addr, size_t npages, uint64_t value);
int gpu_touch(struct gpu *gpu, const volatile void *addr, size_t npages);
/* The same by the CPU. */
void cpu_fill(volatile void *addr, size_t npages, uint64_t value);
bool cpu_check(const volatile void *addr, size_t npages, uint64_t value);

/* The first word of a page of a range. */
static inline volatile uint64_t *word(volatile void *mem, size_t page)
{
	return (volatile uint64_t *)((uintptr_t)mem + page * PAGE_SIZE);
}

/* What the device reads at @addr; a failure of the test if it cannot. */
uint64_t gpu_see(struct gpu *gpu, const volatile void *addr);

/* What the device maps: DGPU_PTE_*; how many pages of a range have all of @bits. */
uint8_t gpu_pte(struct gpu *gpu, const volatile void *addr);
size_t gpu_ptes(struct gpu *gpu, const volatile void *addr, size_t npages, uint8_t bits);

/* ---- memory of the device ---- */

/* As gpu_setup(), and a SKIP if no page can move to the device on this kernel. */
void gpu_setup_memory(struct gpu *gpu);
/* Without DEVICE_PRIVATE only pages of files can move. */
bool gpu_takes_anonymous(struct gpu *gpu);
/* A counter of the device's memory: HMM_RMEM_*. */
uint64_t gpu_rmem(struct gpu *gpu, enum hmm_rmem_stat stat);

/*
 * Move all of a range to the device, or back.  A page that is in use for a moment is
 * tried again for a bounded time; the test ends if some did not move.
 */
void gpu_move_in(struct gpu *gpu, const volatile void *addr, size_t npages);
void gpu_move_out(struct gpu *gpu, const volatile void *addr, size_t npages);

/* Fresh pages, on the device, which has written 0x1000, 0x1001, ... to them. */
char *gpu_pages_on_device(struct gpu *gpu, size_t npages);

/* What one try to move a range came to. */
struct gpu_moved {
	int ret;		/* of dgpu_migrate() */
	uint64_t moved;
	uint8_t results[1024];	/* enum hmm_page_result of the first pages */
	size_t count[HMM_PAGE_NR];
};

/* One try, whatever comes of it; flags: DGPU_MIGRATE_*. */
void gpu_migrate(struct gpu *gpu, const volatile void *addr, size_t npages, uint32_t flags,
		 struct gpu_moved *moved);
void gpu_moved_log(const struct gpu_moved *moved);
/* Pages @first to @first + @nr of the last try all have this result. */
bool gpu_expect_results(const char *file, int line, const struct gpu_moved *moved,
			size_t first, size_t nr, enum hmm_page_result result);
#define EXPECT_RESULTS(moved, first, nr, result) \
	gpu_expect_results(__FILE__, __LINE__, moved, first, nr, HMM_PAGE_##result)

/* How many pages of a range are there; nothing is touched. */
size_t gpu_pages_at(struct gpu *gpu, const volatile void *addr, size_t npages,
		    enum hmm_page_place place);
bool gpu_expect_place(struct gpu *gpu, const char *file, int line,
		      const volatile void *addr, size_t npages, enum hmm_page_place place);
/* All pages of a range are there: NONE, SYSTEM, DEVICE, OTHER. */
#define EXPECT_PLACE(gpu, addr, npages, place) \
	gpu_expect_place(gpu, __FILE__, __LINE__, addr, npages, HMM_PLACE_##place)
#define ASSERT_PLACE(gpu, addr, npages, place) do { \
	if (!EXPECT_PLACE(gpu, addr, npages, place)) \
		harness_end(); \
} while (0)

/*
 * What the other tests of the program left behind: within a bounded time there is no
 * page on the device any more, and all that came in went out again or was freed.
 */
void gpu_expect_pool_empty(void);
/* The last test of a program that moves pages. */
#define GPU_POOL_TEST \
	TEST(pool_is_empty) \
	{ \
		gpu_expect_pool_empty(); \
	}

/* ---- invalidations ---- */

#define R(name) (1u << HMM_REASON_##name)

/* Forget the records so far. */
void gpu_events_start(struct gpu *gpu);
/* Add the new records to gpu->events. */
void gpu_events_collect(struct gpu *gpu);
/* Number of collected records of a type that overlap [addr, addr + length). */
size_t gpu_events_count(struct gpu *gpu, const volatile void *addr, size_t length,
			enum hmm_event_type type);
/* The same for records whose set has a reason. */
size_t gpu_reasons_count(struct gpu *gpu, const volatile void *addr, size_t length,
			 enum hmm_event_reason reason);
void gpu_events_log(struct gpu *gpu);

/* One record to expect. */
struct gpu_expect {
	const char *file;
	int line;
	const volatile void *addr;
	size_t length;
	enum hmm_event_type type;
	enum hmm_event_action action;
	uint32_t reasons;	/* the whole set, exactly ... */
	uint32_t others;	/* ... and these, of which see EXPECT_EVENT_IN_VMA() */
};

bool gpu_expect_event(struct gpu *gpu, const struct gpu_expect *expect);
bool gpu_expect_reason(struct gpu *gpu, const char *file, int line,
		       const volatile void *addr, size_t length,
		       enum hmm_event_reason reason);
bool gpu_expect_no_event(struct gpu *gpu, const char *file, int line,
			 const volatile void *addr, size_t length);

/*
 * Since gpu_events_start() the device was told of exactly this: an event of that
 * type, with that action, with that set of reasons, overlapping the range.
 */
#define EXPECT_EVENT(gpu, start, len, event_type, event_action, event_reasons) \
	gpu_expect_event(gpu, &(const struct gpu_expect) { \
		.file = __FILE__, .line = __LINE__, .addr = (start), .length = (len), \
		.type = HMM_EVENT_##event_type, .action = HMM_ACTION_##event_action, \
		.reasons = (event_reasons) })

/*
 * The same for what is done with the lock of the VMA.  Since 6.17 that is all madvise()
 * needs: the set has the other reasons as well then, and the event has no type.
 */
#define EXPECT_EVENT_IN_VMA(gpu, start, len, event_type, event_action, event_reasons, \
			    other_reasons) \
	gpu_expect_event(gpu, &(const struct gpu_expect) { \
		.file = __FILE__, .line = __LINE__, .addr = (start), .length = (len), \
		.type = HMM_EVENT_##event_type, .action = HMM_ACTION_##event_action, \
		.reasons = (event_reasons), .others = (other_reasons) })

/* Among what was reported for the range is one whose set has this reason. */
#define EXPECT_REASON(gpu, start, len, name) \
	gpu_expect_reason(gpu, __FILE__, __LINE__, start, len, HMM_REASON_##name)

/* Nothing that overlaps the range was reported since gpu_events_start(). */
#define EXPECT_NO_EVENT(gpu, start, len) \
	gpu_expect_no_event(gpu, __FILE__, __LINE__, start, len)

#endif /* SELFTEST_GPU_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that disturb memory of their own, which the GPU has in use, and see through
 * the GPU that it has the contents it must have, or fails as it must.
 *
 * Each round knows the contents after every step.  A translation that the device keeps
 * too long shows as old contents or as an access that should have failed; a dirty bit
 * that gets lost shows as a lost write.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "demo.h"

#define PAGES	64ul		/* one word of each is used */
#define SIZE	(PAGES * PAGE)

/*
 * Where munmap() may leave holes: the kernel places other mappings far from here, so no
 * other thread's memory turns up in one.
 */
#define HOLES	((char *)0x200000000000)

static char *dontneed_area, *free_area, *fork_area, *protect_area;

/* Whole pages inside of malloc() memory. */
static char *inner(char *area)
{
	return (char *)(((uintptr_t)area + PAGE - 1) & ~(PAGE - 1));
}

static bool failed(struct demo *demo, struct tally *tally, const char *who, const char *what)
{
	tally->wrong++;
	gpu_wrong(demo, "%s: %s: %s", who, what, strerror(errno));
	return false;
}

static bool cpu_sees(struct demo *demo, struct tally *tally, const char *who, const char *area,
		     uint64_t seed)
{
	if (cpu_has(area, PAGES, PAGE, seed))
		return true;
	tally->wrong++;
	gpu_wrong(demo, "%s: round %" PRIu64 ": the CPU does not see what the GPU wrote", who,
		  tally->rounds);
	return false;
}

/* ---- munmap, and another mapping in its place ---- */

static void munmap_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	const char *who = "munmap";
	uint64_t seed = random_next(rnd);
	char *area = HOLES, *odd = area + PAGE * (random_next(rnd) % PAGES);

	if (mmap(area, SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != area) {
		failed(demo, tally, who, "mmap");
		return;
	}
	cpu_fill(area, PAGES, PAGE, seed);
	if (!gpu_sum_is(demo, tally, who, area, PAGES, PAGE, seed))
		goto unmap;
	/* A new mapping over it: empty. */
	if (mmap(area, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0) != area) {
		failed(demo, tally, who, "mmap");
		goto unmap;
	}
	if (!gpu_sum_is(demo, tally, who, area, PAGES, PAGE, 0) ||
	    !gpu_fill(demo, tally, who, area, PAGES, PAGE, ~seed))
		goto unmap;
	cpu_sees(demo, tally, who, area, ~seed);
unmap:
	if (munmap(area, SIZE))
		failed(demo, tally, who, "munmap");
	else
		gpu_faults(demo, tally, who, odd, random_next(rnd) & 1, EFAULT);
}

/* ---- mremap there and back ---- */

static void mremap_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	const char *who = "mremap";
	uint64_t seed = random_next(rnd);
	char *from = HOLES + (1ul << 30), *to = HOLES + (2ul << 30);

	if (mmap(from, SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != from) {
		failed(demo, tally, who, "mmap");
		return;
	}
	if (!gpu_fill(demo, tally, who, from, PAGES, PAGE, seed))
		goto unmap;
	if (mremap(from, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to) {
		failed(demo, tally, who, "mremap");
		goto unmap;
	}
	if (gpu_sum_is(demo, tally, who, to, PAGES, PAGE, seed) &&
	    gpu_faults(demo, tally, who, from + PAGE, true, EFAULT) &&
	    gpu_fill(demo, tally, who, to, PAGES, PAGE, ~seed))
		cpu_sees(demo, tally, who, to, ~seed);
	if (mremap(to, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, from) != from) {
		failed(demo, tally, who, "mremap");
		munmap(to, SIZE);
		return;
	}
	if (gpu_sum_is(demo, tally, who, from, PAGES, PAGE, ~seed))
		gpu_faults(demo, tally, who, to + PAGE, false, EFAULT);
unmap:
	munmap(from, SIZE);
}

/* ---- mprotect to read-only and to nothing ---- */

static bool protect_make(struct demo *demo)
{
	(void)demo;
	protect_area = malloc(SIZE + PAGE);
	return protect_area;
}

static void protect_drop(struct demo *demo)
{
	(void)demo;
	free(protect_area);
}

static void protect_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	const char *who = "protect";
	uint64_t seed = random_next(rnd);
	char *area = inner(protect_area), *odd = area + PAGE * (random_next(rnd) % PAGES);

	cpu_fill(area, PAGES, PAGE, 1);
	if (!gpu_fill(demo, tally, who, area, PAGES, PAGE, seed))
		return;
	if (mprotect(area, SIZE, PROT_READ)) {
		failed(demo, tally, who, "mprotect");
		return;
	}
	if (gpu_sum_is(demo, tally, who, area, PAGES, PAGE, seed))
		gpu_faults(demo, tally, who, odd, true, EACCES);
	if (mprotect(area, SIZE, PROT_NONE)) {
		failed(demo, tally, who, "mprotect");
		goto restore;
	}
	gpu_faults(demo, tally, who, odd, random_next(rnd) & 1, EACCES);
restore:
	if (mprotect(area, SIZE, PROT_READ | PROT_WRITE)) {
		failed(demo, tally, who, "mprotect");
		return;
	}
	if (gpu_sum_is(demo, tally, who, area, PAGES, PAGE, seed) &&
	    gpu_fill(demo, tally, who, area, PAGES, PAGE, ~seed))
		cpu_sees(demo, tally, who, area, ~seed);
}

/* ---- MADV_DONTNEED ---- */

static bool dontneed_make(struct demo *demo)
{
	(void)demo;
	dontneed_area = malloc(SIZE + PAGE);
	return dontneed_area;
}

static void dontneed_drop(struct demo *demo)
{
	(void)demo;
	free(dontneed_area);
}

static void dontneed_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	const char *who = "dontneed";
	uint64_t seed = random_next(rnd);
	char *area = inner(dontneed_area);

	cpu_fill(area, PAGES, PAGE, seed);
	if (!gpu_sum_is(demo, tally, who, area, PAGES, PAGE, seed))
		return;
	if (madvise(area, SIZE, MADV_DONTNEED)) {
		failed(demo, tally, who, "madvise");
		return;
	}
	if (!gpu_sum_is(demo, tally, who, area, PAGES, PAGE, 0))
		return;
	cpu_fill(area, PAGES, PAGE, ~seed);
	if (!gpu_sum_is(demo, tally, who, area, PAGES, PAGE, ~seed) ||
	    !gpu_fill(demo, tally, who, area, PAGES, PAGE, seed))
		return;
	if (madvise(area, SIZE, MADV_DONTNEED))
		failed(demo, tally, who, "madvise");
	else
		cpu_sees(demo, tally, who, area, 0);
}

/* ---- MADV_FREE, then a write of the GPU, then swap ---- */

static bool free_make(struct demo *demo)
{
	(void)demo;
	free_area = malloc(SIZE + PAGE);
	return free_area;
}

static void free_drop(struct demo *demo)
{
	(void)demo;
	free(free_area);
}

static void free_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	const char *who = "madv_free";
	uint64_t seed = random_next(rnd);
	char *area = inner(free_area);

	cpu_fill(area, PAGES, PAGE, seed);
	if (!gpu_sum_is(demo, tally, who, area, PAGES, PAGE, seed))
		return;
	/* Now the kernel may drop the pages, unless somebody writes to them: the GPU. */
	if (madvise(area, SIZE, MADV_FREE)) {
		failed(demo, tally, who, "madvise");
		return;
	}
	if (!gpu_fill(demo, tally, who, area, PAGES, PAGE, ~seed))
		return;
	if (madvise(area, SIZE, MADV_PAGEOUT))
		failed(demo, tally, who, "madvise");
	if (cpu_sees(demo, tally, who, area, ~seed))
		gpu_sum_is(demo, tally, who, area, PAGES, PAGE, ~seed);
}

/* ---- fork: neither sees what the other writes ---- */

static bool fork_make(struct demo *demo)
{
	(void)demo;
	fork_area = malloc(SIZE + PAGE);
	return fork_area;
}

static void fork_drop(struct demo *demo)
{
	(void)demo;
	free(fork_area);
}

static void fork_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	const char *who = "cow";
	uint64_t seed = random_next(rnd);
	char *area = inner(fork_area), c;
	int go[2], status = 0;
	pid_t pid;

	if (!gpu_fill(demo, tally, who, area, PAGES, PAGE, seed))
		return;
	if (pipe(go)) {
		failed(demo, tally, who, "pipe");
		return;
	}
	pid = fork();
	if (!pid) {
		close(go[1]);
		/* Wait until the parent's GPU has written; these are the old contents. */
		_exit(read(go[0], &c, 1) == 1 && cpu_has(area, PAGES, PAGE, seed) ? 0 : 1);
	}
	close(go[0]);
	if (pid < 0) {
		failed(demo, tally, who, "fork");
		close(go[1]);
		return;
	}
	gpu_fill(demo, tally, who, area, PAGES, PAGE, ~seed);
	if (write(go[1], "", 1) != 1)
		failed(demo, tally, who, "pipe");
	close(go[1]);
	if (waitpid(pid, &status, 0) != pid || status) {
		tally->wrong++;
		gpu_wrong(demo, "%s: round %" PRIu64 ": the child saw what the parent's GPU wrote",
			  who, tally->rounds);
	}
	if (cpu_sees(demo, tally, who, area, ~seed))
		gpu_sum_is(demo, tally, who, area, PAGES, PAGE, ~seed);
}

const struct disturber checks[NCHECKS] = {
	{
		.name = "munmap", .what = "unmap, map over, use after", .checks = true,
		.once = munmap_once,
	}, {
		.name = "mremap", .what = "move there and back", .checks = true,
		.once = mremap_once,
	}, {
		.name = "protect", .what = "read-only, none, and back", .checks = true,
		.once = protect_once, .make = protect_make, .drop = protect_drop,
	}, {
		.name = "dontneed", .what = "MADV_DONTNEED, refill", .checks = true,
		.once = dontneed_once, .make = dontneed_make, .drop = dontneed_drop,
	}, {
		.name = "madv_free", .what = "MADV_FREE, GPU writes, swap out", .checks = true,
		.once = free_once, .make = free_make, .drop = free_drop,
	}, {
		.name = "cow", .what = "fork, then the GPU writes", .checks = true,
		.once = fork_once, .make = fork_make, .drop = fork_drop,
	},
};

// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that disturb the jobs' memory and leave its contents alone.
 *
 * Whatever they do is invisible to a correct program, so the jobs' results must not
 * change: a page is swapped out and comes back, moves to the memory of the device and
 * back, is copied because a child shares it, or cannot be written for a while by somebody
 * who does not want to.  They hold the
 * region's lock, so that its job does not free or write the memory meanwhile; the GPU
 * knows nothing of that lock.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "demo.h"

#define WORDS 16

/* A region that is there, locked; or NULL. */
static struct region *choose(struct demo *demo, uint64_t *rnd, bool protect)
{
	struct region *region;
	unsigned int tries;

	for (tries = 0; tries < 4 * MAX_REGIONS; tries++) {
		region = &demo->regions[random_next(rnd) % demo->nregions];
		if (protect && !region->protect)
			continue;
		pthread_mutex_lock(&region->lock);
		if (region->present)
			return region;
		pthread_mutex_unlock(&region->lock);
	}
	return NULL;
}

static uint64_t *pick(struct region *region, uint64_t random)
{
	uintptr_t first, last;

	if (region->pick)
		return region->pick(region, random);
	first = ((uintptr_t)region->start + 7) & ~7ul;
	last = (uintptr_t)region->start + region->length;
	return (uint64_t *)(first + random % ((last - first) / 8) * 8);
}

static void protect_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	struct region *region = choose(demo, rnd, true);
	uintptr_t start, end, half;

	if (!region)
		return;
	/* Whole pages of it only: the others have neighbours. */
	start = ((uintptr_t)region->start + PAGE - 1) & ~(PAGE - 1);
	end = ((uintptr_t)region->start + region->length) & ~(PAGE - 1);
	if (start < end) {
		half = ((end - start) / 2) & ~(PAGE - 1);
		if (random_next(rnd) & 1)
			start += half;
		else
			end -= half;
		if (mprotect((void *)start, end - start, PROT_READ)) {
			tally->wrong++;
			gpu_wrong(demo, "mprotect: %s", strerror(errno));
		}
		usleep(random_next(rnd) % 2000);
		if (mprotect((void *)start, end - start, PROT_READ | PROT_WRITE)) {
			tally->wrong++;
			gpu_wrong(demo, "mprotect: %s", strerror(errno));
		}
	}
	pthread_mutex_unlock(&region->lock);
}

static void fork_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	struct region *region = choose(demo, rnd, false);
	uint64_t *word[WORDS];
	unsigned int i;
	int status;
	pid_t pid;

	if (!region)
		return;
	for (i = 0; i < WORDS; i++)
		word[i] = pick(region, random_next(rnd));
	pid = fork();
	if (!pid) {
		/* Other threads are not here, nor may their locks be taken. */
		for (i = 0; i < WORDS; i++)
			*word[i] = 0xdeadbeefdeadbeef;
		_exit(0);
	}
	/* A write that changes nothing, not even when it meets one of the GPU's. */
	for (i = 0; i < WORDS; i++)
		__atomic_fetch_add(word[i], 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&region->lock);
	if (pid < 0) {
		tally->wrong++;
		gpu_wrong(demo, "fork: %s", strerror(errno));
		return;
	}
	if (waitpid(pid, &status, 0) != pid || status) {
		tally->wrong++;
		gpu_wrong(demo, "fork: the child ended with status 0x%x", status);
	}
}

static void pageout_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	struct region *region = choose(demo, rnd, false);
	unsigned int i;

	if (!region)
		return;
	/* The end of the range may not be there; what is before it is paged out. */
	for (i = 0; i < WORDS / 4; i++) {
		uintptr_t page = (uintptr_t)pick(region, random_next(rnd)) & ~(PAGE - 1);
		size_t length = PAGE << random_next(rnd) % 4;

		if (madvise((void *)page, length, MADV_PAGEOUT) && errno != ENOMEM) {
			tally->wrong++;
			gpu_wrong(demo, "MADV_PAGEOUT: %s", strerror(errno));
		}
	}
	pthread_mutex_unlock(&region->lock);
}

static void migrate_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	struct region *region;
	unsigned int i;

	if (!demo->local_bytes)
		return;
	region = choose(demo, rnd, false);
	if (!region)
		return;
	/* Some pages go, some come; from the end of the range on it may be somebody else's. */
	for (i = 0; i < WORDS; i++) {
		uintptr_t page = (uintptr_t)pick(region, random_next(rnd)) & ~(PAGE - 1);
		size_t length = PAGE << random_next(rnd) % 5;
		uint32_t flags = i % 3 ? 0 : DGPU_MIGRATE_TO_SYSTEM;
		int ret = dgpu_migrate(demo->dev, (void *)page, length, flags, NULL, NULL);

		if (ret && ret != -EFAULT && ret != -EBUSY && ret != -ENOSPC &&
		    ret != -EOPNOTSUPP) {
			tally->wrong++;
			gpu_wrong(demo, "migrate: %s", strerror(-ret));
		}
	}
	pthread_mutex_unlock(&region->lock);
}

const struct disturber churns[NCHURN] = {
	{ .name = "mprotect", .what = "job input read-only and back", .once = protect_once },
	{ .name = "fork", .what = "both write to job memory (COW)", .once = fork_once },
	{ .name = "migrate", .what = "job memory to the GPU's and back", .once = migrate_once },
	{ .name = "pageout", .what = "swap job memory out", .once = pageout_once },
};

// SPDX-License-Identifier: GPL-2.0
/*
 * Storms: many threads of the CPU touch pages that are on the device, all at once.
 *
 * Each fault takes a reference on the page that it wants back, and a page with references
 * that are not accounted for does not move.  Unless the faults agree who brings the page
 * back, they can keep each other from it for as long as they like.  So the first thing
 * that these tests find out is whether they end.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NTHREADS	16u
#define MAX_PAGES	16ul

struct storm;

/* How a thread touches a page. */
enum touch {
	TOUCH_READ,	/* in user mode */
	TOUCH_WRITE,	/* the same */
	TOUCH_KERNEL,	/* the kernel reads for it, in a system call */
};

struct storm_thread {
	pthread_t thread;
	struct storm *storm;
	unsigned int index;
	int efd;		/* for TOUCH_KERNEL */
	uint64_t count;		/* of what it has done */
	bool wrong;		/* it has seen what it should not have */
};

/*
 * Page @p of @mem has, in word t, a number for thread t; in word NTHREADS one for all.
 * No word is written to by two threads without an atomic operation.
 */
struct storm {
	volatile uint64_t *mem;
	size_t npages;
	enum touch touch;
	unsigned long rounds;
	pthread_barrier_t go, done;
	bool stop;		/* of storms without rounds */
	struct storm_thread threads[NTHREADS];
};

static volatile uint64_t *word_of(struct storm *storm, size_t page, unsigned int index)
{
	return &storm->mem[page * PAGE_SIZE / sizeof(uint64_t) + index];
}

/* Touch a page: it has @value in the word of the thread. */
static void touch(struct storm_thread *me, size_t page, uint64_t value)
{
	volatile uint64_t *word = word_of(me->storm, page, me->index);
	uint64_t seen;

	switch (me->storm->touch) {
	case TOUCH_READ:
		seen = *word;
		break;
	case TOUCH_WRITE:
		/* The store is what faults: the value of the last round is overwritten. */
		*word = value;
		seen = *word;
		break;
	case TOUCH_KERNEL:
		/* The kernel adds what it reads there to the number of the eventfd. */
		if (write(me->efd, (const void *)word, sizeof(*word)) != sizeof(*word) ||
		    read(me->efd, &seen, sizeof(seen)) != sizeof(seen))
			seen = ~value;
		break;
	default:
		seen = ~value;
	}
	if (seen != value)
		me->wrong = true;
}

static void *rounds_thread(void *arg)
{
	struct storm_thread *me = arg;
	struct storm *storm = me->storm;
	const uint64_t base = me->index + 1;

	for (unsigned long round = 0; round < storm->rounds; round++) {
		pthread_barrier_wait(&storm->go);
		for (size_t i = 0; i < storm->npages; i++) {
			/* Each begins with another one. */
			const size_t page = (i + me->index) % storm->npages;

			touch(me, page, storm->touch == TOUCH_WRITE ? base + round : base);
		}
		me->count++;
		pthread_barrier_wait(&storm->done);
	}
	return NULL;
}

/* Without rounds: count in all pages, alone and together with the others. */
static void *free_thread(void *arg)
{
	struct storm_thread *me = arg;
	struct storm *storm = me->storm;

	while (!__atomic_load_n(&storm->stop, __ATOMIC_RELAXED)) {
		for (size_t page = 0; page < storm->npages; page++) {
			volatile uint64_t *mine = word_of(storm, page, me->index);

			if (*mine != me->count)
				me->wrong = true;
			*mine = me->count + 1;
			__atomic_fetch_add(word_of(storm, page, NTHREADS), 1,
					   __ATOMIC_RELAXED);
		}
		me->count++;
	}
	return NULL;
}

FIXTURE(storm) {
	struct gpu gpu;
	struct storm storm;
	uint64_t before[HMM_RMEM_NR];
};

FIXTURE_VARIANT(storm) {
	size_t npages;
	enum touch touch;
	unsigned long rounds;
};

FIXTURE_VARIANT_ADD(storm, page_read) { 1, TOUCH_READ, 800 };
FIXTURE_VARIANT_ADD(storm, page_write) { 1, TOUCH_WRITE, 800 };
FIXTURE_VARIANT_ADD(storm, page_kernel) { 1, TOUCH_KERNEL, 800 };
FIXTURE_VARIANT_ADD(storm, pages_read) { MAX_PAGES, TOUCH_READ, 200 };
FIXTURE_VARIANT_ADD(storm, pages_write) { MAX_PAGES, TOUCH_WRITE, 200 };
FIXTURE_VARIANT_ADD(storm, pages_kernel) { MAX_PAGES, TOUCH_KERNEL, 200 };

static void storm_setup(struct gpu *gpu, struct storm *storm, uint64_t *before)
{
	gpu_setup_memory(gpu);
	storm->mem = sys_pages(MAX_PAGES);
	for (unsigned int t = 0; t < NTHREADS; t++) {
		storm->threads[t].storm = storm;
		storm->threads[t].index = t;
		storm->threads[t].efd = ASSERT_SYS(eventfd(0, EFD_CLOEXEC));
	}
	for (unsigned int stat = 0; stat < HMM_RMEM_NR; stat++)
		before[stat] = gpu_rmem(gpu, stat);
}

FIXTURE_SETUP(storm)
{
	storm_setup(&self->gpu, &self->storm, self->before);
	self->storm.npages = variant->npages;
	self->storm.touch = variant->touch;
	self->storm.rounds = sys_scale(variant->rounds);
}

FIXTURE_TEARDOWN(storm)
{
	gpu_teardown(&self->gpu);
}

static void start_threads(struct storm *storm, void *(*fn)(void *))
{
	for (unsigned int t = 0; t < NTHREADS; t++)
		ASSERT_EQ(0, pthread_create(&storm->threads[t].thread, NULL, fn,
					    &storm->threads[t]));
}

static void join_threads(struct storm *storm)
{
	for (unsigned int t = 0; t < NTHREADS; t++) {
		EXPECT_EQ(0, pthread_join(storm->threads[t].thread, NULL));
		EXPECT_FALSE(storm->threads[t].wrong);
	}
}

static uint64_t counted(struct gpu *gpu, const uint64_t *before, enum hmm_rmem_stat stat)
{
	return gpu_rmem(gpu, stat) - before[stat];
}

static void log_counters(struct gpu *gpu, const uint64_t *before)
{
	test_log("%llu pages in, %llu out by faults; %llu faults, %llu left to the winner",
		 (unsigned long long)counted(gpu, before, HMM_RMEM_IN),
		 (unsigned long long)counted(gpu, before, HMM_RMEM_OUT_FAULT),
		 (unsigned long long)counted(gpu, before, HMM_RMEM_CPU_FAULTS),
		 (unsigned long long)counted(gpu, before, HMM_RMEM_CPU_FAULTS_LOST_RACE));
}

/*
 * In each round the pages are on the device, and all threads touch them at the same time.
 * The round is over when all have got through.
 */
TEST_F(storm, rounds)
{
	struct storm *storm = &self->storm;
	const uint64_t *before = self->before;

	ASSERT_EQ(0, pthread_barrier_init(&storm->go, NULL, NTHREADS + 1));
	ASSERT_EQ(0, pthread_barrier_init(&storm->done, NULL, NTHREADS + 1));
	for (size_t page = 0; page < storm->npages; page++)
		for (unsigned int t = 0; t < NTHREADS; t++)
			*word_of(storm, page, t) = t + 1;
	start_threads(storm, rounds_thread);
	for (unsigned long round = 0; round < storm->rounds; round++) {
		gpu_move_in(&self->gpu, storm->mem, storm->npages);
		pthread_barrier_wait(&storm->go);
		pthread_barrier_wait(&storm->done);
	}
	join_threads(storm);
	log_counters(&self->gpu, before);

	for (unsigned int t = 0; t < NTHREADS; t++)
		EXPECT_EQ(storm->rounds, storm->threads[t].count);
	/* All that went in came out, by faults, and each fault is counted. */
	EXPECT_EQ(storm->rounds * storm->npages, counted(&self->gpu, before, HMM_RMEM_IN));
	EXPECT_EQ(storm->rounds * storm->npages,
		  counted(&self->gpu, before, HMM_RMEM_OUT_FAULT));
	EXPECT_GE(counted(&self->gpu, before, HMM_RMEM_CPU_FAULTS), storm->rounds);
	EXPECT_EQ(0, counted(&self->gpu, before, HMM_RMEM_LOST));
}

FIXTURE(crowd) {
	struct gpu gpu;
	struct storm storm;
	uint64_t before[HMM_RMEM_NR];
};

FIXTURE_VARIANT(crowd) {
	size_t npages;
};

FIXTURE_VARIANT_ADD(crowd, page) { 1 };
FIXTURE_VARIANT_ADD(crowd, pages) { MAX_PAGES };

FIXTURE_SETUP(crowd)
{
	storm_setup(&self->gpu, &self->storm, self->before);
	self->storm.npages = variant->npages;
	for (size_t page = 0; page < variant->npages; page++)
		for (unsigned int t = 0; t < NTHREADS + 2; t++)
			*word_of(&self->storm, page, t) = 0;
}

FIXTURE_TEARDOWN(crowd)
{
	gpu_teardown(&self->gpu);
}

/* The threads never stop, while the pages go there all the time, and sometimes back. */
TEST_F(crowd, all_the_time)
{
	const unsigned long rounds = sys_scale(100);
	struct storm *storm = &self->storm;
	const uint64_t *before = self->before;
	uint64_t moved = 0, sum = 0, got;

	start_threads(storm, free_thread);
	/* It may take more of them until one gets hold of a page. */
	for (unsigned long round = 0; round < rounds || (!moved && round < 1000 * rounds);
	     round++) {
		const uint32_t flags = round % 8 == 7 ? DGPU_MIGRATE_TO_SYSTEM : 0;
		const int ret = dgpu_migrate(self->gpu.dev, (const void *)storm->mem,
					     storm->npages * PAGE_SIZE, flags, NULL, &got);

		if (ret && ret != -EBUSY) {
			FAIL("dgpu_migrate: %s", strerror(-ret));
			break;
		}
		if (!flags)
			moved += got;
	}
	__atomic_store_n(&storm->stop, true, __ATOMIC_RELAXED);
	join_threads(storm);
	log_counters(&self->gpu, before);
	EXPECT_GT(moved, 0);
	EXPECT_EQ(moved, counted(&self->gpu, before, HMM_RMEM_IN));

	for (unsigned int t = 0; t < NTHREADS; t++)
		sum += storm->threads[t].count;
	for (size_t page = 0; page < storm->npages; page++) {
		for (unsigned int t = 0; t < NTHREADS; t++)
			EXPECT_EQ(storm->threads[t].count, *word_of(storm, page, t));
		EXPECT_EQ(sum, *word_of(storm, page, NTHREADS));
	}
}

/* The device counts in the same page, too. */
TEST_F(crowd, with_device)
{
	const unsigned long rounds = sys_scale(25);
	const uint64_t per_round = 64;
	struct storm *storm = &self->storm;
	volatile uint64_t *shared = word_of(storm, 0, NTHREADS + 1);

	start_threads(storm, free_thread);
	for (unsigned long round = 0; round < rounds; round++) {
		dgpu_migrate(self->gpu.dev, (const void *)storm->mem,
			     storm->npages * PAGE_SIZE, 0, NULL, NULL);
		if (!EXPECT_EQ(0, gpu_run(&self->gpu, GPU_INCR, 1, (uintptr_t)shared,
					  per_round, 0, 0)))
			break;
	}
	__atomic_store_n(&storm->stop, true, __ATOMIC_RELAXED);
	join_threads(storm);
	log_counters(&self->gpu, self->before);
	EXPECT_EQ(rounds * per_round, *shared);
}

struct killed {
	struct gpu gpu;
	volatile uint64_t *mem;
};

static void *killed_thread(void *arg)
{
	volatile uint64_t *mem = arg;

	for (;;)
		__atomic_fetch_add(&mem[0], 1, __ATOMIC_RELAXED);
	return NULL;
}

/* A process that is killed in the middle of a storm ends, whoever waits for whom. */
TEST(storm_killed)
{
	const unsigned long rounds = sys_scale(10);
	pthread_t thread;
	int status;

	for (unsigned long round = 0; round < rounds; round++) {
		const pid_t pid = ASSERT_SYS(fork());

		if (!pid) {
			struct killed killed = { 0 };

			gpu_setup_memory(&killed.gpu);
			killed.mem = sys_pages(1);
			killed.mem[0] = 1;
			for (unsigned int t = 0; t < NTHREADS; t++)
				ASSERT_EQ(0, pthread_create(&thread, NULL, killed_thread,
							    (void *)killed.mem));
			for (;;)
				dgpu_migrate(killed.gpu.dev, (const void *)killed.mem,
					     PAGE_SIZE, 0, NULL, NULL);
		}
		sys_sleep_ms(20 + 5 * (unsigned int)round);
		ASSERT_SYS(kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status) || WIFEXITED(status));
	}
}

GPU_POOL_TEST

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Many of everything at once: processes, files, threads, engines, devices, faults;
 * and what must not disturb each other.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	64ul
#define LENGTH	(NPAGES * PAGE_SIZE)

/* Larger than the largest block of a device's address space. */
#define BLOCK_MAX (64ul << 20)

#define NUMA_BALANCING	"/proc/sys/kernel/numa_balancing"

/* For jobs that end by themselves: a machine that is slow, or stalls, is no failure. */
#define PATIENCE_MS	300000

FIXTURE(many) {
	struct gpu gpu;
};

FIXTURE_SETUP(many)
{
	gpu_setup(&self->gpu);
}

FIXTURE_TEARDOWN(many)
{
	gpu_teardown(&self->gpu);
}

/* ---- processes ---- */

/* Each has its own numbers at the same addresses; nobody sees another's. */
TEST_F(many, processes)
{
	const unsigned long rounds = sys_scale(20);
	char *mem = sys_pages(NPAGES);
	pid_t pids[12];
	int status;

	cpu_fill(mem, NPAGES, 0x1000);
	ASSERT_EQ(0, gpu_check(&self->gpu, mem, NPAGES, 0x1000));
	for (size_t p = 0; p < 12; p++) {
		pids[p] = ASSERT_SYS(fork());
		if (pids[p])
			continue;
		for (unsigned long round = 1; round <= rounds; round++) {
			const uint64_t value = ((uint64_t)getpid() << 32) + (round << 16);
			struct gpu gpu = { 0 };

			gpu_setup(&gpu);
			ASSERT_EQ(0, gpu_fill(&gpu, mem, NPAGES, value));
			ASSERT_TRUE(cpu_check(mem, NPAGES, value));
			cpu_fill(mem, NPAGES, value + 1);
			ASSERT_EQ(0, gpu_check(&gpu, mem, NPAGES, value + 1));
			gpu_teardown(&gpu);
		}
		_exit(0);
	}
	for (size_t p = 0; p < 12; p++) {
		ASSERT_EQ(pids[p], waitpid(pids[p], &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(0, gpu_check(&self->gpu, mem, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x1000));
}

/* An open file that a child inherits is not the child's. */
TEST_F(many, inherited_file)
{
	const int fd = dgpu_fd(self->gpu.dev);
	char *mem = sys_pages(1);
	uint8_t pte = 0xff;
	int status;
	pid_t pid;

	*(volatile uint64_t *)mem = 1;
	pid = ASSERT_SYS(fork());
	if (!pid) {
		struct dgpu_insn halt = { .op = DGPU_OP_HALT };
		struct dgpu_info info = { 0 };
		struct dgpu_submit submit = {
			.code = (uintptr_t)&halt, .ninsns = 1, .nthreads = 1,
			.engine = DGPU_ENGINE_ANY,
		};
		struct dgpu_range range = { .start = (uintptr_t)mem, .length = PAGE_SIZE };
		struct dgpu_ptes ptes = {
			.start = (uintptr_t)mem, .npages = 1, .out = (uintptr_t)&pte,
		};
		struct dgpu_event event;

		EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_INFO, &info));
		EXPECT_EQ(EPERM, errno);
		EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_SUBMIT, &submit));
		EXPECT_EQ(EPERM, errno);
		EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_PREFAULT, &range));
		EXPECT_EQ(EPERM, errno);
		EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_PTES, &ptes));
		EXPECT_EQ(EPERM, errno);
		EXPECT_EQ(0xff, pte);
		EXPECT_EQ(-1, read(fd, &event, sizeof(event)));
		/* Closing the inherited one does not close the parent's. */
		close(fd);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, gpu_see(&self->gpu, mem));
}

/* ---- files and threads of one process ---- */

/* Two opens share the address space of the device. */
TEST_F(many, two_files)
{
	struct gpu *one = &self->gpu, two = { 0 };
	char *mem = sys_pages(NPAGES);

	gpu_setup(&two);
	EXPECT_EQ(0, gpu_fill(one, mem, NPAGES, 0x2000));
	/* What one has mapped the other need not fault in. */
	EXPECT_EQ(NPAGES, gpu_ptes(&two, mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(0, gpu_check(&two, mem, NPAGES, 0x2000));
	EXPECT_EQ(0, two.result.faults);
	gpu_events_start(one);
	gpu_events_start(&two);
	ASSERT_SYS(madvise(mem, LENGTH, MADV_DONTNEED));
	/* Both are told. */
	EXPECT_REASON(one, mem, LENGTH, DONTNEED);
	EXPECT_REASON(&two, mem, LENGTH, DONTNEED);
	EXPECT_EQ(0, gpu_fill(&two, mem, NPAGES, 0x3000));
	/* The first one goes, the other one does not notice. */
	gpu_teardown(one);
	EXPECT_EQ(0, gpu_check(&two, mem, NPAGES, 0x3000));
	EXPECT_EQ(0, two.result.faults);
	gpu_teardown(&two);
	gpu_setup(one);
	EXPECT_EQ(0, gpu_check(one, mem, NPAGES, 0x3000));
}

struct submitter {
	struct gpu *gpu;
	char *mem;
	unsigned long rounds;
	uint64_t value;
	int failed;
};

static void *submit_thread(void *arg)
{
	struct submitter *sub = arg;

	for (unsigned long round = 0; round < sub->rounds && !sub->failed; round++) {
		const uint64_t value = sub->value + (round << 16);
		struct dgpu_run run = {
			.prog = sub->gpu->progs[GPU_FILL], .nthreads = 4,
			.engine = DGPU_ENGINE_ANY, .timeout_ms = PATIENCE_MS,
			.args = { (uintptr_t)sub->mem, NPAGES, PAGE_SIZE, value },
		};
		struct dgpu_result result;

		if (dgpu_run(sub->gpu->dev, &run, &result) ||
		    !cpu_check(sub->mem, NPAGES, value))
			sub->failed = 1;
		cpu_fill(sub->mem, NPAGES, ~value);
		run.prog = sub->gpu->progs[GPU_CHECK];
		run.args[3] = ~value;
		if (dgpu_run(sub->gpu->dev, &run, &result))
			sub->failed = 2;
		/* Now and then other pages in the same place. */
		if (round % 4 == 3)
			madvise(sub->mem, LENGTH, MADV_DONTNEED);
	}
	return NULL;
}

TEST_F(many, threads_on_one_file)
{
	struct submitter subs[8];
	pthread_t threads[8];

	for (size_t i = 0; i < 8; i++) {
		subs[i] = (struct submitter) {
			.gpu = &self->gpu, .mem = sys_pages(NPAGES),
			.rounds = sys_scale(60), .value = (i + 1) << 40,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, submit_thread, &subs[i]));
	}
	for (size_t i = 0; i < 8; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
		EXPECT_EQ(0, subs[i].failed);
	}
}

/* ---- engines ---- */

TEST_F(many, every_engine)
{
	struct gpu *gpu = &self->gpu;
	struct dgpu_info info = { 0 };
	volatile uint64_t *words;
	struct dgpu_job *jobs[16];
	struct dgpu_result result;

	ASSERT_EQ(0, dgpu_get_info(gpu->dev, &info));
	ASSERT_GE(info.engines, 1);
	ASSERT_LE(info.engines, 16);
	words = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	/* All work on one word, at the same time; then one engine's TLB is tested. */
	for (uint32_t e = 0; e < info.engines; e++) {
		const struct dgpu_run run = {
			.prog = gpu->progs[GPU_SPIN], .nthreads = 2, .engine = e,
			.timeout_ms = PATIENCE_MS,
			.args = { (uintptr_t)&words[0], (uintptr_t)&words[8 + e],
				  (uintptr_t)&words[1] },
		};

		ASSERT_EQ(0, dgpu_submit(gpu->dev, &run, &jobs[e]));
	}
	for (uint32_t e = 0; e < info.engines; e++)
		while (!words[8 + e])
			sys_sleep_ms(1);
	words[0] = 1;
	for (uint32_t e = 0; e < info.engines; e++) {
		EXPECT_EQ(0, dgpu_job_wait(jobs[e], PATIENCE_MS, &result));
		EXPECT_EQ(DGPU_OK, result.status);
		dgpu_job_free(jobs[e]);
	}
	test_log("%u engines", info.engines);
}

/* Every engine has a TLB of its own; all of them must hear of an invalidation. */
TEST_F(many, every_tlb)
{
	struct gpu *gpu = &self->gpu;
	struct dgpu_info info = { 0 };
	char *mem = sys_pages(1);

	ASSERT_EQ(0, dgpu_get_info(gpu->dev, &info));
	for (uint64_t value = 1; value <= sys_scale(50); value++) {
		ASSERT_EQ(mem, mmap(mem, PAGE_SIZE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		*(volatile uint64_t *)mem = value;
		for (uint32_t e = 0; e < info.engines; e++) {
			const struct dgpu_run run = {
				.prog = gpu->progs[GPU_READ8], .nthreads = 1, .engine = e,
				.timeout_ms = PATIENCE_MS,
				.args = { (uintptr_t)mem, (uintptr_t)gpu->scratch },
			};
			struct dgpu_result result;

			ASSERT_EQ(0, dgpu_run(gpu->dev, &run, &result));
			ASSERT_EQ(value, *gpu->scratch);
		}
	}
}

/* ---- devices ---- */

TEST_F(many, two_devices)
{
	struct gpu *one = &self->gpu, two = { 0 };
	const unsigned long rounds = sys_scale(100);
	char *mem = sys_pages(NPAGES);

	if (access("/dev/dgpu1", F_OK))
		SKIP("one device only: no /dev/dgpu1");
	gpu_setup_path(&two, "/dev/dgpu1");
	/* Each writes, the other reads; invalidations go to both. */
	for (uint64_t round = 1; round <= rounds; round++) {
		ASSERT_EQ(0, gpu_fill(one, mem, NPAGES, round << 32));
		ASSERT_EQ(0, gpu_check(&two, mem, NPAGES, round << 32));
		ASSERT_EQ(0, gpu_fill(&two, mem, NPAGES, ~(round << 32)));
		ASSERT_EQ(0, gpu_check(one, mem, NPAGES, ~(round << 32)));
		if (round % 8 == 0) {
			gpu_events_start(one);
			gpu_events_start(&two);
			ASSERT_SYS(madvise(mem, LENGTH, MADV_DONTNEED));
			EXPECT_REASON(one, mem, LENGTH, DONTNEED);
			EXPECT_REASON(&two, mem, LENGTH, DONTNEED);
			EXPECT_EQ(0, gpu_ptes(one, mem, NPAGES, DGPU_PTE_VALID));
			EXPECT_EQ(0, gpu_ptes(&two, mem, NPAGES, DGPU_PTE_VALID));
		}
	}
	/* Atomics of two devices on one word. */
	*(volatile uint64_t *)mem = 0;
	struct dgpu_job *job = gpu_start(&two, GPU_INCR, 4, (uintptr_t)mem, sys_scale(5000), 0, 0);
	EXPECT_EQ(0, gpu_run(one, GPU_INCR, 4, (uintptr_t)mem, sys_scale(5000), 0, 0));
	EXPECT_EQ(0, dgpu_job_wait(job, PATIENCE_MS, NULL));
	dgpu_job_free(job);
	EXPECT_EQ(8 * sys_scale(5000), *(volatile uint64_t *)mem);
	gpu_teardown(&two);
}

/* ---- retries ---- */

/* Map, touch and unmap memory as fast as it goes, until told to stop. */
struct storm {
	char *place;
	volatile bool stop;
	volatile uint64_t rounds;
};

static void *storm_thread(void *arg)
{
	struct storm *storm = arg;

	while (!storm->stop) {
		void *mem = mmap(storm->place, LENGTH, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

		if (mem == MAP_FAILED)
			break;
		cpu_fill(mem, 4, storm->rounds);
		mprotect(mem, LENGTH / 2, PROT_READ);
		munmap(mem, LENGTH);
		storm->rounds++;
	}
	return NULL;
}

/*
 * munmap elsewhere in the process must not make a device fault start again: each
 * block of the address space has its own collision count.
 */
TEST_F(many, no_retries_elsewhere)
{
	struct gpu *gpu = &self->gpu;
	const uint64_t end = sys_now_ms() + sys_scale(10000);
	struct storm storms[2] = { 0 };
	uint64_t retries, sampled, faults, rounds = 0, storming;
	pthread_t threads[2];
	char *area, *mem;
	const bool numa = !access(NUMA_BALANCING, W_OK) && sys_number(NUMA_BALANCING) > 0;

	/*
	 * Sampling of accesses is an event in our own block, and comes whenever it
	 * likes: what is counted here has to come from elsewhere.
	 */
	if (numa)
		sys_write(NUMA_BALANCING, "0");
	/* The storms have blocks of their own, whatever the size of a block is. */
	area = ASSERT_SYS(mmap(NULL, 6 * BLOCK_MAX, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	area = (char *)(((uintptr_t)area + BLOCK_MAX - 1) & ~(BLOCK_MAX - 1));
	mem = area;
	ASSERT_NE(MAP_FAILED, mmap(mem, LENGTH, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	for (size_t i = 0; i < 2; i++) {
		storms[i].place = area + (2 + 2 * i) * BLOCK_MAX;
		/* The device knows these places too: there is something to be told. */
		ASSERT_NE(MAP_FAILED, mmap(storms[i].place, LENGTH, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		ASSERT_EQ(0, gpu_fill(gpu, storms[i].place, NPAGES, 1));
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, storm_thread, &storms[i]));
	}
	ASSERT_EQ(0, gpu_touch(gpu, mem, NPAGES));
	retries = dgpu_stat_mirror(gpu->dev, HMM_STAT_RETRIES);
	sampled = dgpu_stat_event(gpu->dev, HMM_EVENT_PROTECT);
	faults = dgpu_stat_mirror(gpu->dev, HMM_STAT_FAULTS);
	/* However slow the machine is, there is something to be retried. */
	do {
		/* By this thread, so that no fault is in flight: these do not collide. */
		ASSERT_SYS(madvise(mem, LENGTH, MADV_DONTNEED));
		ASSERT_EQ(0, gpu_fill(gpu, mem, NPAGES, ++rounds << 32));
		storming = storms[0].rounds < storms[1].rounds ? storms[0].rounds :
								 storms[1].rounds;
	} while (sys_now_ms() < end || rounds < 3 || storming <= 10);
	EXPECT_EQ(retries, dgpu_stat_mirror(gpu->dev, HMM_STAT_RETRIES));
	EXPECT_EQ(sampled, dgpu_stat_event(gpu->dev, HMM_EVENT_PROTECT));
	if (numa)
		sys_write(NUMA_BALANCING, "1");
	faults = dgpu_stat_mirror(gpu->dev, HMM_STAT_FAULTS) - faults;
	for (size_t i = 0; i < 2; i++) {
		storms[i].stop = true;
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	}
	test_log("%ju faults, %ju and %ju rounds of mmap and munmap elsewhere",
		 (uintmax_t)faults, (uintmax_t)storms[0].rounds, (uintmax_t)storms[1].rounds);
	EXPECT_GE(faults, rounds);
}

/* In one block with the storm: it retries, and it ends well. */
TEST_F(many, retries_nearby)
{
	struct gpu *gpu = &self->gpu;
	const uint64_t end = sys_now_ms() + sys_scale(5000);
	struct storm storm = { 0 };
	uint64_t rounds = 0;
	pthread_t thread;
	char *mem;

	mem = sys_huge_area(1);
	ASSERT_SYS(madvise(mem, HUGE_SIZE, MADV_NOHUGEPAGE));
	storm.place = mem + HUGE_SIZE / 2;
	ASSERT_EQ(0, pthread_create(&thread, NULL, storm_thread, &storm));
	do {
		ASSERT_SYS(madvise(mem, LENGTH, MADV_DONTNEED));
		rounds++;
		ASSERT_EQ(0, gpu_fill(gpu, mem, NPAGES, rounds << 32));
		ASSERT_TRUE(cpu_check(mem, NPAGES, rounds << 32));
	} while (sys_now_ms() < end);
	storm.stop = true;
	ASSERT_EQ(0, pthread_join(thread, NULL));
	test_log("%ju rounds against %ju, %ju retries", (uintmax_t)rounds,
		 (uintmax_t)storm.rounds,
		 (uintmax_t)dgpu_stat_mirror(gpu->dev, HMM_STAT_RETRIES));
}

/* ---- fault buffer ---- */

/*
 * More threads fault at once than the buffer has room for.  All are served, none
 * twice with an effect: the increments add up.
 */
TEST_F(many, fault_buffer_overflow)
{
	struct gpu *gpu = &self->gpu;
	uint64_t before[DGPU_HW_NR], after[DGPU_HW_NR];
	struct dgpu_info info = { 0 };
	size_t npages;
	char *mem;

	ASSERT_EQ(0, dgpu_get_info(gpu->dev, &info));
	npages = 4096;
	ASSERT_EQ(DGPU_HW_NR, dgpu_get_stat(gpu->dev, DGPU_STAT_HW, before, DGPU_HW_NR));
	for (unsigned long round = 0; round < sys_scale(5); round++) {
		struct dgpu_job *jobs[16];
		struct dgpu_result result;

		/* Far apart, so that no fault is served together with its neighbour. */
		mem = sys_pages(npages);
		for (uint32_t e = 0; e < 16; e++) {
			const struct dgpu_run run = {
				.prog = gpu->progs[GPU_FILL],
				.nthreads = info.max_threads < 256 ? info.max_threads : 256,
				.engine = e % info.engines, .timeout_ms = PATIENCE_MS,
				.args = { (uintptr_t)mem + e * (npages / 16) * PAGE_SIZE,
					  npages / 16, PAGE_SIZE, 0x5000 + e * (npages / 16) },
			};

			ASSERT_EQ(0, dgpu_submit(gpu->dev, &run, &jobs[e]));
		}
		for (uint32_t e = 0; e < 16; e++) {
			EXPECT_EQ(0, dgpu_job_wait(jobs[e], PATIENCE_MS, &result));
			EXPECT_EQ(DGPU_OK, result.status);
			dgpu_job_free(jobs[e]);
		}
		EXPECT_TRUE(cpu_check(mem, npages, 0x5000));
		munmap(mem, npages * PAGE_SIZE);
	}
	ASSERT_EQ(DGPU_HW_NR, dgpu_get_stat(gpu->dev, DGPU_STAT_HW, after, DGPU_HW_NR));
	test_log("%u entries, %ju faults, %ju overflows, %ju replays", info.fault_entries,
		 (uintmax_t)(after[DGPU_HW_FAULTS] - before[DGPU_HW_FAULTS]),
		 (uintmax_t)(after[DGPU_HW_FAULT_OVERFLOWS] - before[DGPU_HW_FAULT_OVERFLOWS]),
		 (uintmax_t)(after[DGPU_HW_REPLAYS] - before[DGPU_HW_REPLAYS]));
	EXPECT_EQ(before[DGPU_HW_BUS_ERRORS], after[DGPU_HW_BUS_ERRORS]);
	if (after[DGPU_HW_FAULT_OVERFLOWS] == before[DGPU_HW_FAULT_OVERFLOWS])
		SKIP("the buffer of %u entries did not overflow: load dummy_gpu with less",
		     info.fault_entries);
}

/* ---- opens and closes ---- */

static void *open_close(void *arg)
{
	volatile int *failed = arg;
	const unsigned long rounds = sys_scale(100);

	for (unsigned long i = 0; i < rounds && !*failed; i++) {
		struct dgpu_dev *dev;

		if (dgpu_open(NULL, &dev)) {
			*failed = 1;
			break;
		}
		if (i % 3)
			sched_yield();
		dgpu_close(dev);
	}
	return NULL;
}

/* The first open makes the mirror, the last close ends it: over and over, at once. */
TEST_F(many, open_close_storm)
{
	volatile int failed = 0;
	pthread_t threads[4];
	char *mem = sys_pages(4);

	gpu_teardown(&self->gpu);
	for (size_t i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, open_close, (void *)&failed));
	for (unsigned long i = 0; i < sys_scale(100); i++) {
		struct gpu gpu = { 0 };

		gpu_setup(&gpu);
		ASSERT_EQ(0, gpu_fill(&gpu, mem, 4, i << 32));
		ASSERT_TRUE(cpu_check(mem, 4, i << 32));
		gpu_teardown(&gpu);
	}
	for (size_t i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_EQ(0, failed);
	gpu_setup(&self->gpu);
}

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Atomic operations of the device on system memory with HMM_HINT_EXCLUSIVE: the page is
 * the device's alone until the CPU touches it again, as for a device whose bus has no
 * atomic operations.
 *
 * Both count in the same words at the same time, and no addition may get lost.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>
#include "chip.h"
#include "gpu.h"
#include "harness.h"
#include "load.h"
#include "sys.h"

FIXTURE(atomics) {
	struct gpu gpu;
};

FIXTURE_SETUP(atomics)
{
	struct dgpu_info info;

	gpu_setup_memory(&self->gpu);
	ASSERT_EQ(0, dgpu_get_info(self->gpu.dev, &info));
}

FIXTURE_TEARDOWN(atomics)
{
	gpu_teardown(&self->gpu);
}

static int atomics_hint(struct gpu *gpu, volatile void *mem, size_t npages, uint32_t flags)
{
	return dgpu_set_hint(gpu->dev, (const void *)mem, npages * PAGE_SIZE,
			     &(const struct dgpu_hint) { .flags = flags });
}

/* Pages that may only be used so. */
static volatile uint64_t *atomics_pages(struct gpu *gpu, size_t npages)
{
	volatile uint64_t *mem = sys_pages(npages);

	load_fill(mem, npages, 1);
	ASSERT_EQ(0, atomics_hint(gpu, mem, npages, HMM_HINT_EXCLUSIVE));
	return mem;
}

static int atomics_add(struct gpu *gpu, volatile void *at, uint32_t nthreads, uint64_t times)
{
	return gpu_run(gpu, GPU_INCR, nthreads, (uintptr_t)at, times, 0, 0);
}

static uint64_t atomics_taken(struct gpu *gpu)
{
	return dgpu_stat_mirror(gpu->dev, HMM_STAT_EXCLUSIVE);
}

TEST_F(atomics, takes_the_page)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *mem = atomics_pages(gpu, 4);
	const uint64_t before = atomics_taken(gpu);

	/* Reads and writes need no exclusive access, and get no atomic entry. */
	ASSERT_EQ(0, gpu_write(gpu, mem, 5));
	EXPECT_EQ(5, gpu_see(gpu, mem));
	EXPECT_EQ(0, gpu_pte(gpu, mem) & DGPU_PTE_ATOMIC);
	EXPECT_EQ(before, atomics_taken(gpu));

	ASSERT_EQ(0, atomics_add(gpu, mem, 1, 10));
	EXPECT_EQ(before + 1, atomics_taken(gpu));
	EXPECT_EQ(DGPU_PTE_ATOMIC, gpu_pte(gpu, mem) & DGPU_PTE_ATOMIC);
	/* It keeps it: more of them cost nothing more. */
	ASSERT_EQ(0, atomics_add(gpu, mem, 4, 10));
	EXPECT_EQ(before + 1, atomics_taken(gpu));
	/* The neighbours are untouched. */
	EXPECT_EQ(0, gpu_pte(gpu, mem + 512) & DGPU_PTE_ATOMIC);

	/* The CPU takes it back, by reading already. */
	gpu_events_start(gpu);
	EXPECT_EQ(55, *mem);
	gpu_events_collect(gpu);
	EXPECT_GT(gpu->nevents, 0);
	EXPECT_EQ(0, gpu_pte(gpu, mem) & DGPU_PTE_ATOMIC);
	*mem += 1;
	ASSERT_EQ(0, atomics_add(gpu, mem, 1, 1));
	EXPECT_EQ(before + 2, atomics_taken(gpu));
	EXPECT_EQ(57, *mem);
	EXPECT_TRUE(load_check(mem, 4, 1));
}

/* Without the hint the bus does it, and the page is everybody's. */
TEST_F(atomics, not_without_the_hint)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *mem = atomics_pages(gpu, 1);
	const uint64_t before = atomics_taken(gpu);

	ASSERT_EQ(0, atomics_add(gpu, mem, 1, 3));
	EXPECT_EQ(before + 1, atomics_taken(gpu));
	EXPECT_EQ(3, *mem);
	ASSERT_EQ(0, atomics_hint(gpu, mem, 1, 0));
	ASSERT_EQ(0, atomics_add(gpu, mem, 1, 3));
	EXPECT_EQ(before + 1, atomics_taken(gpu));
	EXPECT_EQ(6, *mem);
	EXPECT_EQ(DGPU_PTE_ATOMIC, gpu_pte(gpu, mem) & DGPU_PTE_ATOMIC);
}

/* On the device it is the device's already. */
TEST_F(atomics, on_device_memory)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *mem = atomics_pages(gpu, 16);
	const uint64_t before = atomics_taken(gpu);

	gpu_move_in(gpu, mem, 16);
	ASSERT_EQ(0, atomics_add(gpu, mem, 8, 100));
	EXPECT_EQ(before, atomics_taken(gpu));
	EXPECT_EQ(DGPU_PTE_LOCAL | DGPU_PTE_ATOMIC,
		  gpu_pte(gpu, mem) & (DGPU_PTE_LOCAL | DGPU_PTE_ATOMIC));
	EXPECT_EQ(800, *mem);
	/* And a page that is exclusive can move there. */
	ASSERT_EQ(0, atomics_add(gpu, mem, 8, 100));
	EXPECT_EQ(before + 1, atomics_taken(gpu));
	gpu_move_in(gpu, mem, 1);
	ASSERT_EQ(0, atomics_add(gpu, mem, 8, 100));
	EXPECT_EQ(2400, *mem);
	EXPECT_TRUE(load_check(mem, 16, 1));
}

/* ---- both at once ---- */

struct atomics_cpu {
	pthread_t thread;
	uint64_t *word;
	uint64_t done;
	bool stop;		/* atomic */
};

static void *atomics_cpu_run(void *arg)
{
	struct atomics_cpu *cpu = arg;

	while (!__atomic_load_n(&cpu->stop, __ATOMIC_ACQUIRE)) {
		__atomic_fetch_add(cpu->word, 1, __ATOMIC_SEQ_CST);
		/* The device is to have the page now and then. */
		if (!(++cpu->done % 64))
			sys_sleep_ms(1);
	}
	return NULL;
}

/* Word 0 is counted by all, word 1 by the CPU only, word 2 by the device only. */
TEST_F(atomics, both_count)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *mem = atomics_pages(gpu, 1);
	const uint64_t times = sys_scale(20000), before = atomics_taken(gpu);
	struct atomics_cpu cpu[3] = {};
	struct dgpu_job *jobs[2];
	struct dgpu_result result;

	jobs[0] = gpu_start(gpu, GPU_INCR, 4, (uintptr_t)mem, times, 0, 0);
	jobs[1] = gpu_start(gpu, GPU_INCR, 4, (uintptr_t)(mem + 2), times, 0, 0);
	for (int i = 0; i < 3; i++) {
		cpu[i].word = (uint64_t *)mem + (i == 2);
		ASSERT_EQ(0, pthread_create(&cpu[i].thread, NULL, atomics_cpu_run, &cpu[i]));
	}
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, dgpu_job_wait(jobs[i], -1, &result));
		EXPECT_EQ(DGPU_OK, result.status);
		dgpu_job_free(jobs[i]);
	}
	for (int i = 0; i < 3; i++) {
		__atomic_store_n(&cpu[i].stop, true, __ATOMIC_RELEASE);
		pthread_join(cpu[i].thread, NULL);
	}
	EXPECT_EQ(cpu[0].done + cpu[1].done + 4 * times, mem[0]);
	EXPECT_EQ(cpu[2].done, mem[1]);
	EXPECT_EQ(4 * times, mem[2]);
	EXPECT_TRUE(load_check(mem, 1, 1));
	EXPECT_GT(atomics_taken(gpu), before);
	test_log("%ju additions of the CPU, %ju of the device, which took the page %ju times",
		 (uintmax_t)(cpu[0].done + cpu[1].done + cpu[2].done), (uintmax_t)(8 * times),
		 (uintmax_t)(atomics_taken(gpu) - before));
}

/* A lock that both take: what it guards is not atomic. */
static const char lock_text[] =
	/* r1 lock, r2 times, r3 guarded word */
	"	li	r9, 0\n"
	"	li	r10, 1\n"
	"loop:	bgeu	r9, r2, done\n"
	"take:	li	r11, 0\n"
	"	acas8	r11, r10, (r1)\n"
	"	bne	r11, r0, take\n"
	"	ld8	r12, (r3)\n"
	"	addi	r12, r12, 1\n"
	"	st8	r12, (r3)\n"
	"	axchg8	r11, r0, (r1)\n"
	"	addi	r9, r9, 1\n"
	"	jmp	loop\n"
	"done:	halt\n";

TEST_F(atomics, a_lock_of_both)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *mem = atomics_pages(gpu, 2), *guarded = mem + 512;
	const uint64_t times = sys_scale(300);
	struct dgpu_prog *prog = NULL;
	struct dgpu_result result;
	struct dgpu_job *job;
	char *error = NULL;

	if (dgpu_assemble(lock_text, &prog, &error)) {
		FAIL("%s", error ? error : "?");
		return;
	}
	ASSERT_EQ(0, dgpu_submit(gpu->dev, &(const struct dgpu_run) {
		.prog = prog, .nthreads = 2, .engine = DGPU_ENGINE_ANY, .timeout_ms = 300000,
		.args = { (uintptr_t)mem, times, (uintptr_t)guarded },
	}, &job));
	for (uint64_t i = 0; i < times; i++) {
		uint64_t zero = 0;

		while (!__atomic_compare_exchange_n((uint64_t *)mem, &zero, 1, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			zero = 0;
			sched_yield();
		}
		*guarded += 1;
		__atomic_store_n((uint64_t *)mem, 0, __ATOMIC_SEQ_CST);
	}
	EXPECT_EQ(0, dgpu_job_wait(job, -1, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(job);
	EXPECT_EQ(3 * times, *guarded);
	dgpu_prog_free(prog);
}

/* Two devices want the same page. */
TEST_F(atomics, two_devices)
{
	struct gpu *gpu = &self->gpu, other = {};
	volatile uint64_t *mem = atomics_pages(gpu, 1);
	const uint64_t times = sys_scale(5000);
	struct dgpu_job *jobs[2];
	struct dgpu_result result;

	if (access("/dev/dgpu1", F_OK))
		SKIP("one device only: insert dummy_gpu with devices=2");
	gpu_setup_path(&other, "/dev/dgpu1");
	jobs[0] = gpu_start(gpu, GPU_INCR, 4, (uintptr_t)mem, times, 0, 0);
	jobs[1] = gpu_start(&other, GPU_INCR, 4, (uintptr_t)mem, times, 0, 0);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, dgpu_job_wait(jobs[i], -1, &result));
		EXPECT_EQ(DGPU_OK, result.status);
		dgpu_job_free(jobs[i]);
	}
	EXPECT_EQ(8 * times, *mem);
	EXPECT_GT(atomics_taken(gpu), 0);
	EXPECT_GT(atomics_taken(&other), 0);
	gpu_teardown(&other);
}

/* ---- what mm does meanwhile ---- */

TEST_F(atomics, fork_and_copy_on_write)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *mem = atomics_pages(gpu, 8);
	int status, go[2];
	pid_t pid;
	char c;

	for (size_t i = 0; i < 8; i++)
		ASSERT_EQ(0, atomics_add(gpu, mem + i * 512, 1, 10));
	ASSERT_SYS(pipe(go));
	pid = fork();
	if (!pid) {
		close(go[1]);
		EXPECT_EQ(0, read(go[0], &c, 1));
		for (size_t i = 0; i < 8; i++)
			EXPECT_EQ(10, mem[i * 512]);
		EXPECT_TRUE(load_check(mem, 8, 1));
		_exit(0);
	}
	close(go[0]);
	/* Shared with the child: the device gets a copy of its own. */
	for (size_t i = 0; i < 8; i++)
		ASSERT_EQ(0, atomics_add(gpu, mem + i * 512, 2, 10));
	close(go[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	for (size_t i = 0; i < 8; i++)
		EXPECT_EQ(30, mem[i * 512]);
	EXPECT_TRUE(load_check(mem, 8, 1));
}

TEST_F(atomics, mappings_change)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *mem = atomics_pages(gpu, 16), *to = sys_pages(4);

	for (size_t i = 0; i < 16; i++)
		ASSERT_EQ(0, atomics_add(gpu, mem + i * 512, 1, 10));
	/* Read-only: the device gets the error, and what it had stays. */
	ASSERT_SYS(mprotect((void *)mem, 4 * PAGE_SIZE, PROT_READ));
	EXPECT_EQ(-EACCES, atomics_add(gpu, mem, 1, 1));
	EXPECT_EQ(10, mem[0]);
	ASSERT_SYS(mprotect((void *)mem, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, atomics_add(gpu, mem, 1, 1));
	EXPECT_EQ(11, mem[0]);
	/* Emptied, unmapped, moved. */
	ASSERT_SYS(madvise((void *)(mem + 4 * 512), 4 * PAGE_SIZE, MADV_DONTNEED));
	EXPECT_EQ(0, atomics_add(gpu, mem + 4 * 512, 1, 1));
	EXPECT_EQ(1, mem[4 * 512]);
	ASSERT_SYS(munmap((void *)(mem + 8 * 512), 4 * PAGE_SIZE));
	EXPECT_EQ(-EFAULT, atomics_add(gpu, mem + 8 * 512, 1, 1));
	ASSERT_NE(MAP_FAILED, mremap((void *)(mem + 12 * 512), 4 * PAGE_SIZE, 4 * PAGE_SIZE,
				     MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to));
	EXPECT_EQ(0, atomics_add(gpu, to, 1, 5));
	EXPECT_EQ(15, to[0]);
	EXPECT_EQ(10, to[512]);
	EXPECT_TRUE(load_check(mem, 4, 1));
	EXPECT_TRUE(load_check_part(to - 12 * 512, 12, 4, 1));
	/* The process ends with some. */
	EXPECT_EQ(0, atomics_add(gpu, mem, 1, 1));
}

TEST_F(atomics, swapped_out)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *mem = atomics_pages(gpu, 64);
	struct sys_swap swap = {};
	size_t out = 0;

	sys_swap_on(&swap);
	for (size_t i = 0; i < 64; i++)
		ASSERT_EQ(0, atomics_add(gpu, mem + i * 512, 1, 10));
	sys_madvise_everywhere((void *)mem, 64 * PAGE_SIZE, MADV_PAGEOUT);
	for (size_t i = 0; i < 64; i++)
		out += !!(sys_pagemap(mem + i * 512) & SYS_PM_SWAP);
	for (size_t i = 0; i < 64; i++)
		ASSERT_EQ(0, atomics_add(gpu, mem + i * 512, 1, 10));
	for (size_t i = 0; i < 64; i++)
		EXPECT_EQ(20, mem[i * 512]);
	EXPECT_TRUE(load_check(mem, 64, 1));
	test_log("%zu of 64 pages had no page", out);
	sys_swap_off(&swap);
}

TEST_F(atomics, of_huge_pages)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *mem = sys_huge_area(1);

	load_fill(mem, HUGE_SIZE / PAGE_SIZE, 2);
	if (!sys_make_huge((void *)mem, 1))
		SKIP("no huge page to be had");
	ASSERT_EQ(0, atomics_hint(gpu, mem, HUGE_SIZE / PAGE_SIZE, HMM_HINT_EXCLUSIVE));
	for (size_t i = 0; i < HUGE_SIZE / PAGE_SIZE; i += 37)
		ASSERT_EQ(0, atomics_add(gpu, mem + i * 512, 1, 10));
	for (size_t i = 0; i < HUGE_SIZE / PAGE_SIZE; i += 37)
		EXPECT_EQ(10, mem[i * 512]);
	EXPECT_TRUE(load_check(mem, HUGE_SIZE / PAGE_SIZE, 2));
}

/* Nothing there yet: an atomic operation makes the page. */
TEST_F(atomics, of_nothing)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *mem = sys_pages(16);

	ASSERT_EQ(0, atomics_hint(gpu, mem, 16, HMM_HINT_EXCLUSIVE));
	/* The zero page is nobody's alone. */
	EXPECT_EQ(0, mem[0]);
	ASSERT_EQ(0, atomics_add(gpu, mem, 4, 25));
	ASSERT_EQ(0, atomics_add(gpu, mem + 512, 4, 25));
	EXPECT_EQ(100, mem[0]);
	EXPECT_EQ(100, mem[512]);
}

/* ---- where it cannot be ---- */

TEST_F(atomics, only_private_memory)
{
	struct gpu *gpu = &self->gpu;
	const int fd = ASSERT_SYS(memfd_create("atomics", MFD_CLOEXEC));
	volatile uint64_t *mem;

	ASSERT_SYS(ftruncate(fd, 16 * PAGE_SIZE));
	for (int i = 0; i < 3; i++) {
		mem = i == 0 ? mmap(NULL, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0) :
		      mmap(NULL, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			   i == 1 ? MAP_SHARED : MAP_PRIVATE, fd, 0);
		ASSERT_NE(MAP_FAILED, mem);
		ASSERT_EQ(0, atomics_hint(gpu, mem, 4, HMM_HINT_EXCLUSIVE));
		mem[0] = 5;
		if (i < 2)
			EXPECT_EQ(-EOPNOTSUPP, atomics_add(gpu, mem, 1, 1));
		/* Anything but atomic operations works as ever. */
		EXPECT_EQ(5, gpu_see(gpu, mem));
		EXPECT_EQ(0, gpu_write(gpu, mem, 6));
		EXPECT_EQ(6, mem[0]);
		ASSERT_SYS(munmap((void *)mem, 4 * PAGE_SIZE));
	}
	close(fd);
}

/* The COWed pages of a private file mapping are anonymous memory. */
TEST_F(atomics, private_file_pages)
{
	struct gpu *gpu = &self->gpu;
	const int fd = ASSERT_SYS(memfd_create("atomics", MFD_CLOEXEC));
	volatile uint64_t *mem;
	int ret;

	ASSERT_SYS(ftruncate(fd, 4 * PAGE_SIZE));
	mem = mmap(NULL, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, atomics_hint(gpu, mem, 4, HMM_HINT_EXCLUSIVE));
	mem[0] = 5;
	/* Refused or done, but never done wrong. */
	ret = atomics_add(gpu, mem, 4, 10);
	EXPECT_TRUE(ret == 0 || ret == -EOPNOTSUPP);
	EXPECT_EQ(ret ? 5 : 45, mem[0]);
	close(fd);
}

HARNESS_MAIN

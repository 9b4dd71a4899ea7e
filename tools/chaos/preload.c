// SPDX-License-Identifier: GPL-2.0
/*
 * Getting into a program, its children, and the programs that it runs: LD_PRELOAD.
 *
 * The thread is made by clone() itself, and so unknown to the C library: a program with
 * one thread has one for all that the C library does, and ends when its own threads do.
 * It has a file table of its own, as the program must find its descriptors as it left
 * them: an open() here could otherwise take the number that the program has just freed
 * for a reason.
 *
 * A child of fork() has no such thread; it gets one, on the same stack, which is its own
 * copy.  Nothing is allocated, there or anywhere.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "chaos.h"
#include "sys.h"

#define STACK		(64ul << 10)
#define WAIT_NS		1000000000ull	/* for one step of the thread ... */
#define WAIT_TIMES	120		/* ... and how often; it is only slow, not stuck */

struct chaos_config chaos_config;

static char *stack;
static bool running;

static bool wait_for_phase(uint32_t phase)
{
	uint32_t now;
	int i;

	for (i = 0; i < WAIT_TIMES; i++) {
		now = __atomic_load_n(&chaos_control.phase, __ATOMIC_ACQUIRE);
		if (now >= phase)
			return true;
		chaos_futex_wait(&chaos_control.phase, now, WAIT_NS);
	}
	return false;
}

/* Signals that go to the process must not be taken by this thread. */
static void start_thread(void)
{
	/* The kernel's set, with the two signals that the C library keeps to itself. */
	uint64_t all = ~0ull, old = 0;

	chaos_control.command = CHAOS_GO;
	chaos_control.phase = CHAOS_STARTING;
	chaos_call4(SYS_rt_sigprocmask, SIG_BLOCK, &all, &old, sizeof(all));
	running = chaos_clone(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
			      stack + STACK, chaos_thread) > 0;
	/* Until then it has copies of our file descriptors. */
	if (running)
		wait_for_phase(chaos_control.sweep_first ? CHAOS_RUNNING : CHAOS_DETACHED);
	chaos_call4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, sizeof(all));
}

static void in_child(void)
{
	/* The parent's thread is not here; its next number is as good a seed as any. */
	chaos_random(&chaos_control.seed);
	chaos_control.sweep_first = false;
	start_thread();
}

static void in_parent(void)
{
	chaos_random(&chaos_control.seed);
	chaos_random(&chaos_control.seed);
}

static bool copy_path(char *to, const char *name)
{
	const char *value = secure_getenv(name);

	if (!value || strlen(value) >= CHAOS_PATH)
		return false;
	strcpy(to, value);
	return true;
}

static uint64_t number(const char *name, uint64_t fallback)
{
	const char *value = secure_getenv(name);

	return value && *value ? strtoull(value, NULL, 0) : fallback;
}

/* Programs that differ in name shall not do the same in step. */
static uint64_t mix(uint64_t seed)
{
	const char *p = program_invocation_short_name;

	while (*p)
		seed = (seed ^ (unsigned char)*p++) * 0x100000001b3ull;
	seed ^= seed >> 29;
	return seed ? seed : 1;
}

__attribute__((constructor)) static void begin(void)
{
	if (!copy_path(chaos_config.device, CHAOS_ENV_DEVICE))
		return;
	copy_path(chaos_config.stat, CHAOS_ENV_STAT);
	chaos_config.seed = number(CHAOS_ENV_SEED, 1);
	chaos_config.rate = number(CHAOS_ENV_RATE, 0) ?: CHAOS_RATE;
	chaos_config.evacuate = number(CHAOS_ENV_EVACUATE, 0);
	chaos_config.files = number(CHAOS_ENV_FILES, 0);
	stack = mmap(NULL, STACK + CHAOS_PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return;
	/* A page that nobody may touch below it. */
	mprotect(stack, CHAOS_PAGE, PROT_NONE);
	stack += CHAOS_PAGE;
	chaos_control.seed = mix(chaos_config.seed);
	chaos_control.sweep_first = true;
	if (!pthread_atfork(NULL, in_parent, in_child))
		start_thread();
}

/* The program ends, with everything on the device: what it has still to write, too. */
__attribute__((destructor)) static void end(void)
{
	uint32_t command;
	int i;

	if (!running || __atomic_load_n(&chaos_control.phase, __ATOMIC_ACQUIRE) != CHAOS_RUNNING)
		return;
	chaos_futex_set(&chaos_control.command, CHAOS_SWEEP);
	for (i = 0; i < WAIT_TIMES; i++) {
		command = __atomic_load_n(&chaos_control.command, __ATOMIC_ACQUIRE);
		if (command == CHAOS_GO)
			break;
		chaos_futex_wait(&chaos_control.command, command, WAIT_NS);
	}
}

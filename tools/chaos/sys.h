/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System calls without the C library: they return a negative errno and leave the
 * thread-local errno alone, which in our thread would be another thread's.
 */
#ifndef CHAOS_SYS_H
#define CHAOS_SYS_H

#include <linux/futex.h>
#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#ifndef __x86_64__
#error "The system calls are written for x86-64 only."
#endif

static inline long chaos_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d, r8 asm("r8") = e, r9 asm("r9") = f;
	long ret;

	asm volatile("syscall" : "=a"(ret)
		     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return ret;
}

#define chaos_call3(nr, a, b, c) \
	chaos_syscall(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define chaos_call4(nr, a, b, c, d) \
	chaos_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

/*
 * A thread of this process that starts with fn() on a stack of its own.  fn() must not
 * return.
 */
static inline long chaos_clone(unsigned long flags, void *stack_end, void (*fn)(void))
{
	void **sp = (void **)((uintptr_t)stack_end & ~15ul);
	register long r10 asm("r10") = 0, r8 asm("r8") = 0;
	long ret;

	*(sp -= 2) = (void *)fn;
	asm volatile("syscall\n\t"
		     "test %%rax, %%rax\n\t"
		     "jnz 1f\n\t"
		     "xor %%ebp, %%ebp\n\t"	/* the outermost frame */
		     "pop %%rax\n\t"
		     "pop %%rcx\n\t"		/* the stack is aligned again */
		     "call *%%rax\n\t"
		     "ud2\n"
		     "1:"
		     : "=a"(ret)
		     : "0"(SYS_clone), "D"(flags), "S"(sp), "d"(0), "r"(r10), "r"(r8)
		     : "rcx", "r11", "memory");
	return ret;
}

/* Sleep until *word is no longer value, or the time is over. */
static inline void chaos_futex_wait(uint32_t *word, uint32_t value, uint64_t ns)
{
	struct { long long sec, nsec; } time = { ns / 1000000000, ns % 1000000000 };

	chaos_call4(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &time);
}

static inline void chaos_futex_set(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
	chaos_call3(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1 << 20);
}

static inline uint64_t chaos_now(void)
{
	struct { long long sec, nsec; } time = { 0, 0 };

	chaos_call3(SYS_clock_gettime, 1 /* CLOCK_MONOTONIC */, &time, 0);
	return (uint64_t)time.sec * 1000000000 + time.nsec;
}

#endif /* CHAOS_SYS_H */

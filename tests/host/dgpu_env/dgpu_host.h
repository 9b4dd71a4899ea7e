/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The surroundings of the emulated GPU's functional units in user space: what
 * drivers/dummy_gpu/hw/env.h takes from the kernel, by the compiler's own means.
 */
#ifndef DGPU_HOST_H
#define DGPU_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <linux/bits.h>
#include <linux/types.h>

#define __maybe_unused		__attribute__((unused))

#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v)	(*(volatile __typeof__(x) *)&(x) = (v))

#define min_t(type, a, b)	((type)(a) < (type)(b) ? (type)(a) : (type)(b))

typedef struct { int counter; } atomic_t;
typedef struct { s64 counter; } atomic64_t;

static inline int atomic_fetch_add(int i, atomic_t *v)
{
	return __atomic_fetch_add(&v->counter, i, __ATOMIC_SEQ_CST);
}

static inline s64 atomic64_fetch_add(s64 i, atomic64_t *v)
{
	return __atomic_fetch_add(&v->counter, i, __ATOMIC_SEQ_CST);
}

static inline void atomic64_inc(atomic64_t *v)
{
	atomic64_fetch_add(1, v);
}

static inline s64 atomic64_read(const atomic64_t *v)
{
	return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);
}

static inline void memset64(u64 *p, u64 v, size_t n)
{
	while (n--)
		*p++ = v;
}

#define xchg(p, v)		__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)

/*
 * A test may look between the reading of a word and its compare-and-exchange: that is
 * where another agent would change it.
 */
extern void (*dgpu_host_before_cmpxchg)(void *p);

#define cmpxchg(p, old, new) ({						\
	__typeof__(*(p)) __old = (old);					\
									\
	if (dgpu_host_before_cmpxchg)					\
		dgpu_host_before_cmpxchg(p);				\
	__atomic_compare_exchange_n((p), &__old, (new), false,		\
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);	\
	__old;								\
})

#endif /* DGPU_HOST_H */

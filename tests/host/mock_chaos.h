/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device for dgpu-chaos.so on a machine without one: any file will do for it, and
 * nothing moves.  This goes in front of each of its sources.
 */
#ifndef MOCK_CHAOS_H
#define MOCK_CHAOS_H

#include "sys.h"
#include "dgpu.h"
#include "hmm_memory.h"

#undef chaos_call3
#define chaos_call3(nr, a, b, c) \
	mock_call(nr, (long)(a), (long)(b), (long)(c))

static inline _Bool mock_resident(uint64_t addr)
{
	unsigned char vec = 0;

	return !chaos_syscall(SYS_mincore, addr, 1, (long)&vec, 0, 0, 0) && vec & 1;
}

static inline long mock_call(long nr, long a, long b, long c)
{
	uint64_t i;

	if (nr != SYS_ioctl)
		return chaos_syscall(nr, a, b, c, 0, 0, 0);
	switch ((unsigned long)b) {
	case DGPU_IOCTL_MIGRATE: {
		struct dgpu_migrate *m = (struct dgpu_migrate *)c;
		uint8_t *results = (uint8_t *)m->results;

		m->moved = 0;
		for (i = 0; i < m->length / 4096; i++) {
			results[i] = mock_resident(m->start + i * 4096) ? HMM_PAGE_MOVED :
				     HMM_PAGE_EMPTY;
			m->moved += results[i] == HMM_PAGE_MOVED;
		}
		return 0;
	}
	case DGPU_IOCTL_RESIDENCY: {
		struct dgpu_residency *r = (struct dgpu_residency *)c;
		struct dgpu_page_info *info = (struct dgpu_page_info *)r->out;

		for (i = 0; i < r->npages; i++)
			info[i].place = mock_resident(r->start + i * 4096) ? HMM_PLACE_SYSTEM :
					HMM_PLACE_NONE;
		return 0;
	}
	case DGPU_IOCTL_PREFAULT:
	case DGPU_IOCTL_PTES:
	case DGPU_IOCTL_POLICY:
	case DGPU_IOCTL_HINT:
	case DGPU_IOCTL_EVACUATE:
		return 0;
	}
	return -25;	/* ENOTTY */
}

#endif /* MOCK_CHAOS_H */

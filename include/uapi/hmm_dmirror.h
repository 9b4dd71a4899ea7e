/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * ioctls of /dev/hmm_dmirrorN, which are those of the kernel's own test driver for HMM:
 * its test suite runs on them.
 */
#ifndef _UAPI_HMM_DMIRROR_H
#define _UAPI_HMM_DMIRROR_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct dmirror_cmd - argument of all of them
 * @addr: in: first byte of the range that the device is to work on, page aligned
 * @ptr: in: where data goes to or comes from, by the CPU
 * @npages: in: pages of the range, not 0; DMIRROR_FLAGS: DMIRROR_FLAG_*
 * @cpages: out: pages for which it has been done, also on errors
 * @faults: out: device faults that it took, also on errors
 */
struct dmirror_cmd {
	__u64 addr;
	__u64 ptr;
	__u64 npages;
	__u64 cpages;
	__u64 faults;
};

/*
 * READ, WRITE: the device copies the range to @ptr, or from there.  EFAULT: no mapping, or
 *	one that it may not read; EPERM: it may not write.
 * MIGRATE_TO_DEV: move pages to the device, addresses without a page get one of zeroes;
 *	then READ.  EINVAL: not all of it is mapped; ENOENT: not all of it can move, or is
 *	in system memory to begin with.
 * MIGRATE_TO_SYS: move pages back.  EINVAL as above.
 * SNAPSHOT: a byte a page, DMIRROR_PROT_*, of what the CPU's page table allows the
 *	device now; nothing is faulted in.
 * EXCLUSIVE: take pages away from the CPU, until it touches them; then READ.  EOPNOTSUPP:
 *	shared memory, for one.
 * CHECK_EXCLUSIVE: EPERM if pages of the range are away; cpages: their number.
 * RELEASE: move everything out of the device's memory, whosever it is.
 * FLAGS: how this file's next migration is done.
 *
 * All: EINVAL bad arguments; EPERM not by the process that opened the file.  Then nothing
 * has changed.  EFAULT is also for @ptr: what has been done by then stays.
 */
#define DMIRROR_READ		_IOWR('H', 0x00, struct dmirror_cmd)
#define DMIRROR_WRITE		_IOWR('H', 0x01, struct dmirror_cmd)
#define DMIRROR_MIGRATE_TO_DEV	_IOWR('H', 0x02, struct dmirror_cmd)
#define DMIRROR_MIGRATE_TO_SYS	_IOWR('H', 0x03, struct dmirror_cmd)
#define DMIRROR_SNAPSHOT	_IOWR('H', 0x04, struct dmirror_cmd)
#define DMIRROR_EXCLUSIVE	_IOWR('H', 0x05, struct dmirror_cmd)
#define DMIRROR_CHECK_EXCLUSIVE	_IOWR('H', 0x06, struct dmirror_cmd)
#define DMIRROR_RELEASE		_IOWR('H', 0x07, struct dmirror_cmd)
#define DMIRROR_FLAGS		_IOWR('H', 0x08, struct dmirror_cmd)

#define DMIRROR_FLAG_SPLIT	(1ULL << 0)	/* as if there were no huge page for it */

#define DMIRROR_PROT_NONE		0x00	/* no page, or one that is out of reach */
#define DMIRROR_PROT_READ		0x01
#define DMIRROR_PROT_WRITE		0x02	/* which includes reading */
#define DMIRROR_PROT_PMD		0x04	/* mapped by an entry of that size */
#define DMIRROR_PROT_PUD		0x08
#define DMIRROR_PROT_ZERO		0x10	/* the page of zeroes that all share */
#define DMIRROR_PROT_PRIVATE		0x20	/* on this device */
#define DMIRROR_PROT_COHERENT		0x40	/* on this device */
#define DMIRROR_PROT_COHERENT_OTHER	0x50	/* on another device */
#define DMIRROR_PROT_ERROR		0xff	/* no mapping, or one that may not be read */

#endif /* _UAPI_HMM_DMIRROR_H */

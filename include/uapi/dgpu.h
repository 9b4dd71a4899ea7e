/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * User interface of the emulated GPU: /dev/dgpuN.
 *
 * An open file is bound to the address space of the process that opened it.  Every
 * ioctl() from another address space (after fork(), or on a file that was passed
 * to another process) fails with EPERM and changes nothing.  Files of one process
 * on one device share one device address space.
 *
 * All structures: reserved fields and unknown flag bits must be zero (EINVAL).
 * Pointers are user addresses in a __u64.  Ranges are [start, start + length).
 * An ioctl that fails has changed nothing, unless its description says otherwise.
 *
 * Common errors: ENOTTY unknown ioctl, EFAULT bad pointer, EINVAL bad value,
 * EPERM another address space, ENODEV device gone, ESRCH the address space is gone,
 * ENOMEM, EINTR killed.
 *
 * open(): ENODEV, ENOMEM, ESRCH, EINTR, EBUSY when all contexts of the device are in use
 * or the process uses 8 devices already.
 * read(): whole records of DGPU_IOCTL_EVENTS.  0 when they are off, or when the device
 * is gone and all were read (none is made after); EINVAL no room for one, EAGAIN, EPERM,
 * EFAULT, EINTR.
 * poll(): EPOLLIN when read() has event records, EPOLLHUP when the device is gone.
 *
 * When the device goes (lost, or unbound from its driver), every job ends with
 * DGPU_ERR_LOST.  DGPU_IOCTL_RESULT and read() still work then.
 */
#ifndef _UAPI_DGPU_H
#define _UAPI_DGPU_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define DGPU_ABI_VERSION	1

/* ---- DGPU_IOCTL_INFO: what this device is ---- */
struct dgpu_info {
	__u32 abi_version;	/* out */
	__u32 index;		/* out: N of /dev/dgpuN */
	__u32 engines;		/* out: number of engines */
	__u32 va_bits;		/* out: bits of virtual address */
	__u32 max_threads;	/* out: threads in one job */
	__u32 max_insns;	/* out: instructions in one program */
	__u32 fault_entries;	/* out: size of the fault buffer */
	__u32 flags;		/* out: DGPU_INFO_* */
	__u64 local_bytes;	/* out: device memory; 0 if it has none */
	__u64 page_sizes;	/* out: bit N set: entries of 1 << N bytes */
	char name[32];		/* out */
	__u64 reserved[4];	/* in: zero */
};

#define DGPU_INFO_DIRTY		(1u << 0)	/* hardware dirty and access bits */
#define DGPU_INFO_ATOMICS	(1u << 1)	/* atomics on system memory */

/* ---- DGPU_IOCTL_SUBMIT: run a program ---- */
#define DGPU_ENGINE_ANY		0xffffffffu

struct dgpu_submit {
	__u64 code;		/* in: struct dgpu_insn[ninsns], copied */
	__u32 ninsns;		/* in: 1..max_insns */
	__u32 nthreads;		/* in: 1..max_threads */
	__u32 engine;		/* in: index, or DGPU_ENGINE_ANY */
	__u32 flags;		/* in: 0 */
	__u64 timeout_ms;	/* in: watchdog, from now on; 0 is the default, at most 600000 */
	__u64 args[8];		/* in: r1..r8 */
	__u64 job;		/* out: number of the job in this file */
	__s32 fence_fd;		/* out: sync_file; poll() says EPOLLIN when done */
	__u32 pad;		/* in: zero */
	__u64 reserved[2];	/* in: zero */
};

/*
 * Errors: EINVAL; E2BIG too many instructions or threads; EAGAIN too many jobs in
 * flight or not collected (1024 a file); EMFILE.  The out fields mean nothing then.
 * The fence has an error as well when the job ends badly: EFAULT, EINVAL (the program),
 * ETIMEDOUT, ECANCELED (stopped), ENODEV (lost), EIO.
 * The program itself is checked by the hardware when it runs, not here.
 */

/* ---- DGPU_IOCTL_RESULT: collect a finished job ---- */
enum dgpu_status {
	DGPU_OK			= 0,
	DGPU_ERR_FAULT		= 1,	/* memory fault: fault_addr, access, error */
	DGPU_ERR_ILLEGAL	= 2,	/* illegal instruction at pc */
	DGPU_ERR_PC		= 3,	/* ran off the program */
	DGPU_ERR_DIVIDE		= 4,	/* division by zero */
	DGPU_ERR_ALIGN		= 5,	/* misaligned atomic: fault_addr */
	DGPU_ERR_TRAP		= 6,	/* TRAP instruction: code in trap */
	DGPU_ERR_TIMEOUT	= 7,	/* the watchdog stopped it */
	DGPU_ERR_BUS		= 8,	/* page not mapped on the bus, bad page table */
	DGPU_ERR_RESET		= 9,	/* the engine hung and was reset */
	DGPU_ERR_STOPPED	= 10,	/* the address space went away, or close() */
	DGPU_ERR_LOST		= 11,	/* the device is lost or being removed */
};

#define DGPU_ACCESS_READ	0u
#define DGPU_ACCESS_WRITE	1u
#define DGPU_ACCESS_ATOMIC	2u

struct dgpu_result {
	__u64 job;		/* in */
	__u64 timeout_ns;	/* in: how long to wait; 0: do not; ~0: for ever */
	__u32 status;		/* out: enum dgpu_status; of the first thread that failed */
	__u32 thread;		/* out: index of that thread */
	__u32 pc;		/* out: its instruction */
	__u32 access;		/* out: DGPU_ACCESS_* */
	__u64 fault_addr;	/* out */
	__s32 error;		/* out: errno for DGPU_ERR_FAULT, positive */
	__s32 trap;		/* out: code for DGPU_ERR_TRAP */
	__u64 insns;		/* out: instructions executed, all threads */
	__u64 faults;		/* out: device faults, all threads */
	__u64 reserved[4];	/* in: zero */
};

/*
 * Errors: ENOENT no such job, or collected already; ETIME not finished in time
 * (and not collected); EINTR.
 */

/* ---- DGPU_IOCTL_PREFAULT: map a range before it is used ---- */
#define DGPU_PREFAULT_WRITE	(1u << 0)

struct dgpu_range {
	__u64 start;		/* in: page aligned */
	__u64 length;		/* in: page aligned, not zero */
	__u32 flags;		/* in */
	__u32 pad;		/* in: zero */
	__u64 reserved[2];	/* in: zero */
};

/*
 * Errors: EFAULT an address outside any mapping; EACCES protection;
 * EOPNOTSUPP a device mapping; pages before the first bad one are mapped.
 */

/* ---- DGPU_IOCTL_PTES: what the device maps, page by page ---- */
#define DGPU_PTE_VALID		(1u << 0)
#define DGPU_PTE_WRITE		(1u << 1)
#define DGPU_PTE_ATOMIC		(1u << 2)
#define DGPU_PTE_ACCESSED	(1u << 3)
#define DGPU_PTE_DIRTY		(1u << 4)
#define DGPU_PTE_HUGE		(1u << 5)	/* part of a 2 MiB entry */
#define DGPU_PTE_LOCAL		(1u << 6)	/* in device memory */

struct dgpu_ptes {
	__u64 start;		/* in: page aligned */
	__u64 npages;		/* in: 1..1<<20 */
	__u64 out;		/* in: __u8[npages], DGPU_PTE_* each */
	__u64 reserved[2];	/* in: zero */
};

/* ---- DGPU_IOCTL_STAT: counters of this device address space ---- */
struct dgpu_stat {
	__u32 what;		/* in: DGPU_STAT_* group */
	__u32 count;		/* in: room; out: counters the group has */
	__u64 values;		/* in: __u64[count] */
	__u64 reserved[2];	/* in: zero */
};

#define DGPU_STAT_MIRROR	0	/* enum hmm_mirror_stat */
#define DGPU_STAT_EVENTS	1	/* invalidations by enum hmm_event_type */
#define DGPU_STAT_REASONS	2	/* by enum hmm_event_reason; in sets, each */
#define DGPU_STAT_HW		3	/* enum dgpu_stat_hw */
#define DGPU_STAT_RMEM		4	/* enum hmm_rmem_stat, of the whole device */

enum dgpu_stat_hw {
	DGPU_HW_JOBS,			/* jobs finished */
	DGPU_HW_INSNS,			/* instructions executed */
	DGPU_HW_FAULTS,			/* entries that the fault buffer got */
	DGPU_HW_FAULT_OVERFLOWS,	/* times the fault buffer was full */
	DGPU_HW_REPLAYS,		/* threads resumed */
	DGPU_HW_TLB_HITS,
	DGPU_HW_TLB_MISSES,
	DGPU_HW_TLB_FLUSHES,		/* invalidate commands */
	DGPU_HW_BUS_ERRORS,		/* reads and writes that the bus refused, of copies too */
	DGPU_HW_RESETS,			/* engines and copy engines reset */
	DGPU_HW_COPIED,			/* pages copied or cleared by copy engines */
	DGPU_HW_COPY_ERRORS,		/* copies that failed */
	DGPU_HW_LOCAL_ACCESSES,		/* accesses of engines to device memory */
	DGPU_HW_NR
};

/* JOBS and after count the whole device, not one address space. */

/*
 * Names of the counters: debugfs dgpu/N/stats has a line "GROUP.NAME VALUE" for each, in
 * the order of the enums, with the sums of all address spaces; the groups are mirror,
 * event, reason, hw, rmem (libdgpu, which has no groups, calls hw.faults hw_faults).  A
 * last line, bus.pages, is the number of pages that are mapped for DMA now.
 */

/* ---- DGPU_IOCTL_EVENTS: record invalidations; read() returns them ---- */
struct dgpu_events {
	__u32 capacity;		/* in: records kept, power of two up to 65536; 0: off */
	__u32 pad;		/* in: zero */
	__u64 reserved[2];	/* in: zero */
};

/**
 * struct dgpu_event - one record of read()
 * @seq: number of the record; a gap means that records were lost
 * @start: first byte
 * @end: first byte after the range
 * @reasons: set of 1 << enum hmm_event_reason
 * @type: enum hmm_event_type
 * @action: enum hmm_event_action
 * @flags: HMM_EVENT_*
 * @pages: pages that the device mapped there
 * @dirty: of these, dirtied by the device
 */
struct dgpu_event {
	__u64 seq;
	__u64 start;
	__u64 end;
	__u32 reasons;
	__u16 type;
	__u8 action;
	__u8 flags;
	__u32 pages;
	__u32 dirty;
};

/* ---- DGPU_IOCTL_MIGRATE: move pages, now ---- */
#define DGPU_MIGRATE_TO_SYSTEM	(1u << 0)	/* otherwise to this device */
#define DGPU_MIGRATE_POPULATE	(1u << 1)	/* to the device: empty addresses get a page */
#define DGPU_MIGRATE_SPLIT	(1u << 2)	/* huge pages are moved as small ones */

struct dgpu_migrate {
	__u64 start;		/* in: page aligned */
	__u64 length;		/* in: page aligned, not zero */
	__u64 results;		/* in: __u8[length / 4096], enum hmm_page_result each; or 0 */
	__u64 moved;		/* out: pages that were moved */
	__u32 flags;		/* in */
	__u32 pad;		/* in: zero */
	__u64 reserved[2];	/* in: zero */
};

/*
 * Every page of the range is tried, whatever becomes of the others.  The out fields are
 * valid with 0 and with the errors of pages, of which the first in the range is returned:
 * EFAULT no mapping; EOPNOTSUPP a page that cannot move; EBUSY a page in use; ENOSPC no
 * room on the device; ENOMEM no system memory; EIO a copy failed; EHWPOISON its contents are
 * lost.  Errors of the whole call: EINVAL, EPERM (also HMM_POLICY_NEVER), EINTR, ENODEV,
 * EOPNOTSUPP with nothing in @results written: the device has no memory.  When a call ends
 * early, @results has what became of the pages until then.
 */

/* ---- DGPU_IOCTL_POLICY: when do pages of this process move? ---- */
struct dgpu_policy {
	__u32 policy;		/* in: enum hmm_policy */
	__u32 pad;		/* in: zero */
	__u64 reserved[2];	/* in: zero */
};

/* For all devices of the process; kept as long as one of them has an open file of it. */

/* ---- DGPU_IOCTL_HINT: how to treat a range ---- */
#define DGPU_DEVICE_SELF	0xffffffffu

struct dgpu_hint {
	__u64 start;		/* in: page aligned */
	__u64 length;		/* in: page aligned, not zero */
	__u32 flags;		/* in: HMM_HINT_*; with prefer 0 and granularity 0: no hint */
	__u32 prefer;		/* in: HMM_PREFER_* */
	__u32 device;		/* in: N of /dev/dgpuN, or DGPU_DEVICE_SELF; else zero */
	__u32 granularity;	/* in: bytes that move together, a power of two, or 0 */
	__u64 reserved[2];	/* in: zero */
};

/*
 * Replaces what was said of the range before.  Errors: EINVAL, also for hints that
 * contradict each other; EFAULT a part of the range is not mapped; ENODEV no such device;
 * ENOMEM; EINTR.  On an error nothing has changed, but that after ENOMEM, EINTR, and EFAULT
 * where another thread unmapped a part meanwhile, a part of the range may have the hint.
 */

/* ---- DGPU_IOCTL_RESIDENCY: where are the pages? ---- */
struct dgpu_page_info {
	__u8 place;		/* enum hmm_page_place */
	__u8 pad;
	__u16 moves;		/* to or from a device, as far as is known; stops at 65535 */
	__u32 age_ms;		/* since it came there; 0 with moves 0: not known */
};

struct dgpu_residency {
	__u64 start;		/* in: page aligned */
	__u64 npages;		/* in: 1..1<<20 */
	__u64 out;		/* in: struct dgpu_page_info[npages] */
	__u64 reserved[2];	/* in: zero */
};

/* Nothing is faulted in, and nothing moves.  Pages are looked at one after the other. */

/* ---- DGPU_IOCTL_EVACUATE: everything leaves the device, of all processes ---- */
struct dgpu_evacuate {
	__u32 flags;		/* in: 0 */
	__u32 pad;		/* in: zero */
	__u64 left;		/* out: pages that could not leave, also on errors */
	__u64 reserved[2];	/* in: zero */
};

/*
 * Needs CAP_SYS_ADMIN (EPERM).  While it runs nothing comes in.  The same is done by a
 * write of 1 to the file "evacuate" of the platform device in sysfs.  Errors: EBUSY pages
 * stayed in use; ENOMEM; EIO; ENODEV; EINTR; EOPNOTSUPP no memory on this device.
 */

#define DGPU_IOC_MAGIC	0xd6
#define DGPU_IOCTL_INFO		_IOWR(DGPU_IOC_MAGIC, 0x00, struct dgpu_info)
#define DGPU_IOCTL_SUBMIT	_IOWR(DGPU_IOC_MAGIC, 0x01, struct dgpu_submit)
#define DGPU_IOCTL_RESULT	_IOWR(DGPU_IOC_MAGIC, 0x02, struct dgpu_result)
#define DGPU_IOCTL_PREFAULT	_IOW(DGPU_IOC_MAGIC, 0x03, struct dgpu_range)
#define DGPU_IOCTL_PTES		_IOW(DGPU_IOC_MAGIC, 0x04, struct dgpu_ptes)
#define DGPU_IOCTL_STAT		_IOWR(DGPU_IOC_MAGIC, 0x05, struct dgpu_stat)
#define DGPU_IOCTL_EVENTS	_IOW(DGPU_IOC_MAGIC, 0x06, struct dgpu_events)
#define DGPU_IOCTL_MIGRATE	_IOWR(DGPU_IOC_MAGIC, 0x07, struct dgpu_migrate)
#define DGPU_IOCTL_POLICY	_IOW(DGPU_IOC_MAGIC, 0x08, struct dgpu_policy)
#define DGPU_IOCTL_HINT		_IOW(DGPU_IOC_MAGIC, 0x09, struct dgpu_hint)
#define DGPU_IOCTL_RESIDENCY	_IOW(DGPU_IOC_MAGIC, 0x0a, struct dgpu_residency)
#define DGPU_IOCTL_EVACUATE	_IOWR(DGPU_IOC_MAGIC, 0x0b, struct dgpu_evacuate)

#endif /* _UAPI_DGPU_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges of addresses: what the device maps of them, where their pages are, and moving
 * them.
 *
 * Functions that act on a range take any addresses and act on every page that the range
 * touches; functions that fill an array with one element for each page insist on whole
 * pages, so that there is no doubt which element is which page's.  All are single
 * system calls, without any state.
 */
#include <errno.h>
#include "private.h"

#define PAGE_MASK 4095ull

/* The pages that [start, start + length) touches; false if it is empty or wraps. */
static bool whole_pages(const void *start, size_t length, uint64_t *first, uint64_t *bytes)
{
	uint64_t end;

	if (!length || __builtin_add_overflow((uint64_t)(uintptr_t)start, length, &end) ||
	    end > UINT64_MAX - PAGE_MASK)
		return false;
	*first = (uint64_t)(uintptr_t)start & ~PAGE_MASK;
	*bytes = ((end + PAGE_MASK) & ~PAGE_MASK) - *first;
	return true;
}

/**
 * dgpu_prefault() - map a range on the device before it is used
 * @dev: device
 * @start: first byte; rounded down to a page
 * @length: bytes, not 0; the end is rounded up to a page
 * @write: for writing
 *
 * Return: 0; -EFAULT an address outside any mapping, -EACCES its protection,
 * -EOPNOTSUPP a device mapping, -EINVAL, or another negative errno.  What stands
 * before the first bad page is mapped.
 */
int dgpu_prefault(struct dgpu_dev *dev, const void *start, size_t length, bool write)
{
	struct dgpu_range range = { .flags = write ? DGPU_PREFAULT_WRITE : 0 };
	uint64_t first, bytes;

	if (!whole_pages(start, length, &first, &bytes))
		return -EINVAL;
	range.start = first;
	range.length = bytes;
	return dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_PREFAULT, &range);
}

/**
 * dgpu_get_ptes() - ask what the device maps
 * @dev: device
 * @start: page aligned
 * @npages: how many pages of 4 KiB
 * @out: one byte of DGPU_PTE_* bits for each
 *
 * Return: 0, or a negative errno.
 */
int dgpu_get_ptes(struct dgpu_dev *dev, const void *start, size_t npages, uint8_t *out)
{
	struct dgpu_ptes ptes = {
		.start = (uintptr_t)start,
		.npages = npages,
		.out = (uintptr_t)out,
	};

	return dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_PTES, &ptes);
}

/**
 * dgpu_migrate() - move pages to the device, or back to system memory
 * @dev: device
 * @start: first byte; page aligned if @results is not NULL, else rounded down to a page
 * @length: bytes, not 0; the same for the end, which is rounded up
 * @flags: DGPU_MIGRATE_*; 0: to this device
 * @results: enum hmm_page_result for each page, or NULL
 * @moved: how many pages were moved, or NULL
 *
 * Every page is tried, whatever becomes of the others.  If not all of them are where
 * they shall be, the return value is the error of the first one that is not, and
 * @results and @moved are valid all the same; the other pages have moved.  Where nothing
 * has been written yet there is nothing to move, which is no error.
 *
 * Return: 0; of a page: -EFAULT no mapping, -EOPNOTSUPP it cannot move, -EBUSY it is in
 * use, -ENOSPC the device is full, -ENOMEM no system memory, -EIO its copy failed (it
 * is intact), -EHWPOISON its contents are lost; of the call: -EINVAL, -EPERM (also
 * under HMM_POLICY_NEVER), -EINTR, -EOPNOTSUPP the device has no memory.
 */
int dgpu_migrate(struct dgpu_dev *dev, const void *start, size_t length, uint32_t flags,
		 uint8_t *results, uint64_t *moved)
{
	struct dgpu_migrate migrate = {
		.results = (uintptr_t)results,
		.flags = flags,
	};
	uint64_t first, bytes;
	int ret;

	if (moved)
		*moved = 0;
	if (!whole_pages(start, length, &first, &bytes) ||
	    (results && (first != (uintptr_t)start || bytes != length)))
		return -EINVAL;
	migrate.start = first;
	migrate.length = bytes;
	ret = dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_MIGRATE, &migrate);
	if (moved)
		*moved = migrate.moved;
	return ret;
}

/**
 * dgpu_set_policy() - say when pages of this process move
 * @dev: device; the policy is for all devices of the process
 * @policy: HMM_POLICY_*
 *
 * Return: 0; -EINVAL no such policy, or another negative errno.
 */
int dgpu_set_policy(struct dgpu_dev *dev, unsigned int policy)
{
	struct dgpu_policy arg = { .policy = policy };

	return dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_POLICY, &arg);
}

/**
 * dgpu_set_hint() - say how to treat a range
 * @dev: device
 * @start: first byte; rounded down to a page
 * @length: bytes, not 0; the end is rounded up to a page
 * @hint: flags, prefer, device and granularity; all zero: forget what was said
 *
 * It replaces what was said of these pages before, and steers faults of devices from now
 * on; nothing is moved now.
 *
 * Return: 0; -EINVAL, also for hints that contradict each other, -EFAULT a part of the
 * range is not mapped, -ENODEV no such device, -ENOMEM, or another negative errno.
 */
int dgpu_set_hint(struct dgpu_dev *dev, const void *start, size_t length,
		  const struct dgpu_hint *hint)
{
	struct dgpu_hint arg = {
		.flags = hint->flags,
		.prefer = hint->prefer,
		.device = hint->device,
		.granularity = hint->granularity,
	};
	uint64_t first, bytes;

	if (!whole_pages(start, length, &first, &bytes))
		return -EINVAL;
	arg.start = first;
	arg.length = bytes;
	return dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_HINT, &arg);
}

/**
 * dgpu_residency() - ask where pages are
 * @dev: device
 * @start: page aligned
 * @npages: how many pages of 4 KiB
 * @out: what is known about each
 *
 * Nothing moves, and nothing is faulted in.
 *
 * Return: 0, or a negative errno.
 */
int dgpu_residency(struct dgpu_dev *dev, const void *start, size_t npages,
		   struct dgpu_page_info *out)
{
	struct dgpu_residency arg = {
		.start = (uintptr_t)start,
		.npages = npages,
		.out = (uintptr_t)out,
	};

	return dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_RESIDENCY, &arg);
}

/**
 * dgpu_evacuate() - move everything out of the device's memory, of all processes
 * @dev: device
 * @left: how many pages could not leave, also on errors; or NULL
 *
 * Pages may come back as soon as this has returned.
 *
 * Return: 0; -EPERM without CAP_SYS_ADMIN, -EBUSY pages stayed in use, -ENOMEM, -EIO,
 * -EINTR, -EOPNOTSUPP the device has no memory, or another negative errno.
 */
int dgpu_evacuate(struct dgpu_dev *dev, uint64_t *left)
{
	struct dgpu_evacuate arg = { };
	int ret;

	ret = dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_EVACUATE, &arg);
	if (left)
		*left = arg.left;
	return ret;
}

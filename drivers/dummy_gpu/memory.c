// SPDX-License-Identifier: GPL-2.0
/*
 * Where pages are, and where they should be: the ioctls MIGRATE, POLICY, HINT, RESIDENCY
 * and EVACUATE, and the attribute "evacuate" of the platform device.
 *
 * The core does it all; here arguments are checked, completely and before anything is
 * changed, which includes that there is room for the answer.  Long ranges are worked off
 * in pieces, and a signal that kills is looked for in between.
 *
 * Locks: none of its own.
 */
#include <linux/capability.h>
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/platform_device.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "dgpu_private.h"

/* Pages that are moved by one call of the core, and that are looked at. */
#define DGPU_MEMORY_MOVE	(PAGE_SIZE / sizeof(u8))
#define DGPU_MEMORY_LOOK	(PAGE_SIZE / sizeof(struct hmm_residency))

/* There is no memory: was there never, or did it go between a look at the device and this? */
static int dgpu_memory_missing(const struct dgpu_device *dev)
{
	return READ_ONCE(dev->gone) ? -ENODEV : -EOPNOTSUPP;
}

static bool dgpu_memory_is_zero(const void *data, size_t size)
{
	return !memchr_inv(data, 0, size);
}

/* Is [@start, @start + @length) a range of pages, and not empty? */
static bool dgpu_memory_is_range(u64 start, u64 length, u64 *end)
{
	return length && PAGE_ALIGNED(start) && PAGE_ALIGNED(length) &&
	       !check_add_overflow(start, length, end);
}

/* An answer could be written there now: who unmaps it meanwhile gets -EFAULT later. */
static bool dgpu_memory_is_writable(const void __user *out, size_t size)
{
	return access_ok(out, size) && !fault_in_safe_writeable(out, size);
}

/* ---- MIGRATE ---- */

/*
 * The end of what is not mapped from @start on; @start if that is.  Processes may ask for
 * all of their address space, which has much of it.
 */
static int dgpu_memory_hole_end(u64 start, u64 end, u64 *hole_end)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma = find_vma(mm, start);
	if (!vma)
		*hole_end = end;
	else
		*hole_end = clamp_t(u64, vma->vm_start, start, end);
	mmap_read_unlock(mm);
	return 0;
}

/* Say of @nr pages that there is no mapping. */
static int dgpu_memory_put_hole(u8 __user *results, u64 nr, u8 *buf)
{
	u64 n;

	memset(buf, HMM_PAGE_UNMAPPED, DGPU_MEMORY_MOVE);
	for (; nr; nr -= n, results += n) {
		n = min_t(u64, nr, DGPU_MEMORY_MOVE);
		if (copy_to_user(results, buf, n))
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/* *@page_error is that of the first page that has one; the call has none then. */
static int dgpu_memory_move(struct dgpu_file *file, struct dgpu_migrate *args, u64 start,
			    u64 end, u8 *buf, int *page_error)
{
	u8 __user *results = u64_to_user_ptr(args->results);
	unsigned long moved = 0, nr = (end - start) >> PAGE_SHIFT;
	u32 flags = 0;
	bool ends;
	int ret;

	if (args->flags & DGPU_MIGRATE_TO_SYSTEM)
		flags |= HMM_MIGRATE_TO_SYSTEM;
	if (args->flags & DGPU_MIGRATE_POPULATE)
		flags |= HMM_MIGRATE_POPULATE;
	if (args->flags & DGPU_MIGRATE_SPLIT)
		flags |= HMM_MIGRATE_SPLIT;
	memset(buf, HMM_PAGE_SKIPPED, nr);
	ret = hmm_mirror_migrate(&file->vm->mirror, start, end, flags, buf, &moved);
	/* The error of a page, or of the call?  That one leaves pages out. */
	ends = ret && memchr(buf, HMM_PAGE_SKIPPED, nr);
	if (ends && !moved)
		return ret;
	args->moved += moved;
	/* Also if the call ends here: what was moved before that has moved. */
	if (results && copy_to_user(results + ((start - args->start) >> PAGE_SHIFT), buf, nr))
		return -EFAULT;
	if (ends)
		return ret;
	*page_error = ret;
	return 0;
}

/* All of the range; *@page_error is that of the first page that has one. */
static int dgpu_memory_move_all(struct dgpu_file *file, struct dgpu_migrate *args, u64 end,
				u8 *buf, int *page_error)
{
	u8 __user *results = u64_to_user_ptr(args->results);
	u64 start, next;
	int ret, error = 0;

	for (start = args->start; start < end; start = next) {
		ret = dgpu_memory_hole_end(start, end, &next);
		if (ret)
			return ret;
		if (next > start) {
			error = -EFAULT;
			if (results)
				ret = dgpu_memory_put_hole(results + ((start - args->start) >>
								      PAGE_SHIFT),
							   (next - start) >> PAGE_SHIFT, buf);
		} else {
			next = ALIGN_DOWN(start, DGPU_MEMORY_MOVE << PAGE_SHIFT) +
			       (DGPU_MEMORY_MOVE << PAGE_SHIFT);
			/* The address space may end where 64 bits do. */
			if (next > end || next < start)
				next = end;
			ret = dgpu_memory_move(file, args, start, next, buf, &error);
		}
		if (ret)
			return ret;
		*page_error = *page_error ?: error;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/**
 * dgpu_memory_migrate - DGPU_IOCTL_MIGRATE
 * @file: file
 * @uarg: arguments
 *
 * Context: may sleep; takes mmap_lock.
 * Return: 0 or an errno, see uapi/dgpu.h.
 */
int dgpu_memory_migrate(struct dgpu_file *file, void __user *uarg)
{
	struct dgpu_migrate args;
	int ret, page_error = 0;
	u64 end;
	u8 *buf;

	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~(DGPU_MIGRATE_TO_SYSTEM | DGPU_MIGRATE_POPULATE |
			   DGPU_MIGRATE_SPLIT) || args.pad ||
	    !dgpu_memory_is_zero(args.reserved, sizeof(args.reserved)) ||
	    !dgpu_memory_is_range(args.start, args.length, &end))
		return -EINVAL;
	/* On the way to system memory there is nothing to make pages of. */
	if (args.flags & DGPU_MIGRATE_TO_SYSTEM && args.flags & DGPU_MIGRATE_POPULATE)
		return -EINVAL;
	if (!dgpu_memory_is_writable(uarg, sizeof(args)) ||
	    (args.results && !dgpu_memory_is_writable(u64_to_user_ptr(args.results),
						      args.length >> PAGE_SHIFT)))
		return -EFAULT;
	if (!hmm_device_has_memory(&file->vm->dev->hmm))
		return dgpu_memory_missing(file->vm->dev);

	buf = kmalloc(DGPU_MEMORY_MOVE, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	args.moved = 0;
	ret = dgpu_memory_move_all(file, &args, end, buf, &page_error);
	kfree(buf);
	if (ret)
		return ret;
	if (copy_to_user(uarg, &args, sizeof(args)))
		return -EFAULT;
	return page_error;
}

/* ---- POLICY and HINT ---- */

/**
 * dgpu_memory_policy - DGPU_IOCTL_POLICY
 * @file: file
 * @uarg: arguments
 *
 * Context: may sleep.
 * Return: 0 or an errno, see uapi/dgpu.h.
 */
int dgpu_memory_policy(struct dgpu_file *file, void __user *uarg)
{
	struct dgpu_policy args;

	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	if (args.policy >= HMM_POLICY_NR || args.pad ||
	    !dgpu_memory_is_zero(args.reserved, sizeof(args.reserved)))
		return -EINVAL;
	return hmm_mirror_set_policy(&file->vm->mirror, args.policy);
}

static bool dgpu_memory_is_hint(const struct dgpu_hint *args, u64 *end)
{
	if (!dgpu_memory_is_zero(args->reserved, sizeof(args->reserved)) ||
	    !dgpu_memory_is_range(args->start, args->length, end))
		return false;
	if (args->flags & ~HMM_HINT_ALL || args->prefer > HMM_PREFER_DEVICE)
		return false;
	return args->prefer == HMM_PREFER_DEVICE || !args->device;
}

/**
 * dgpu_memory_hint - DGPU_IOCTL_HINT
 * @file: file
 * @uarg: arguments
 *
 * Context: may sleep; takes mmap_lock.
 * Return: 0 or an errno, see uapi/dgpu.h.
 */
int dgpu_memory_hint(struct dgpu_file *file, void __user *uarg)
{
	struct dgpu_device *preferred = NULL;
	struct dgpu_hint args;
	struct hmm_hint hint;
	u64 end;
	int ret;

	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	if (!dgpu_memory_is_hint(&args, &end))
		return -EINVAL;
	hint = (struct hmm_hint) {
		.flags = args.flags,
		.prefer = args.prefer,
		.granularity = args.granularity,
	};
	if (args.prefer == HMM_PREFER_DEVICE) {
		preferred = args.device == DGPU_DEVICE_SELF ?
			    dgpu_device_get(file->vm->dev) : dgpu_device_find(args.device);
		if (!preferred)
			return -ENODEV;
		hint.device = &preferred->hmm;
	}
	ret = hmm_mirror_set_hint(&file->vm->mirror, args.start, end, &hint);
	if (preferred)
		dgpu_device_put(preferred);
	return ret;
}

/* ---- RESIDENCY ---- */

static void dgpu_memory_to_user(const struct hmm_residency *in, struct dgpu_page_info *out)
{
	u64 age_ns = in->since_ns ? ktime_get_ns() - in->since_ns : 0;

	*out = (struct dgpu_page_info) {
		.place = in->place,
		.moves = min_t(u32, in->moves, U16_MAX),
		.age_ms = min_t(u64, div_u64(age_ns, NSEC_PER_MSEC), U32_MAX),
	};
}

/**
 * dgpu_memory_residency - DGPU_IOCTL_RESIDENCY
 * @file: file
 * @uarg: arguments
 *
 * Context: may sleep; takes mmap_lock.
 * Return: 0 or an errno, see uapi/dgpu.h.
 */
int dgpu_memory_residency(struct dgpu_file *file, void __user *uarg)
{
	struct dgpu_page_info __user *out;
	struct dgpu_residency args;
	struct dgpu_page_info info;
	struct hmm_residency *buf;
	u64 done, end, n, i;
	int ret = 0;

	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	if (!dgpu_memory_is_zero(args.reserved, sizeof(args.reserved)) ||
	    args.npages > DGPU_MAX_PTES ||
	    !dgpu_memory_is_range(args.start, args.npages << PAGE_SHIFT, &end))
		return -EINVAL;

	buf = kmalloc_array(DGPU_MEMORY_LOOK, sizeof(*buf), GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	out = u64_to_user_ptr(args.out);
	for (done = 0; done < args.npages && !ret; done += n) {
		n = min_t(u64, args.npages - done, DGPU_MEMORY_LOOK);
		ret = hmm_mirror_residency(&file->vm->mirror,
					   args.start + (done << PAGE_SHIFT), buf, n);
		for (i = 0; i < n && !ret; i++) {
			dgpu_memory_to_user(&buf[i], &info);
			if (copy_to_user(&out[done + i], &info, sizeof(info)))
				ret = -EFAULT;
		}
		if (fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	kfree(buf);
	return ret;
}

/* ---- EVACUATE ---- */

static int dgpu_memory_evacuate_device(struct dgpu_device *dev)
{
	if (READ_ONCE(dev->gone))
		return -ENODEV;
	if (!hmm_device_has_memory(&dev->hmm))
		return dgpu_memory_missing(dev);
	return hmm_device_evacuate(&dev->hmm);
}

/**
 * dgpu_memory_evacuate - DGPU_IOCTL_EVACUATE
 * @file: file
 * @uarg: arguments
 *
 * Context: may sleep.
 * Return: 0 or an errno, see uapi/dgpu.h.
 */
int dgpu_memory_evacuate(struct dgpu_file *file, void __user *uarg)
{
	struct dgpu_device *dev = file->vm->dev;
	struct dgpu_evacuate args;
	int ret;

	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	if (args.flags || args.pad || !dgpu_memory_is_zero(args.reserved, sizeof(args.reserved)))
		return -EINVAL;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (!dgpu_memory_is_writable(uarg, sizeof(args)))
		return -EFAULT;
	ret = dgpu_memory_evacuate_device(dev);
	args.left = hmm_rmem_stat(&dev->hmm, HMM_RMEM_USED);
	return copy_to_user(uarg, &args, sizeof(args)) ? -EFAULT : ret;
}

static ssize_t evacuate_store(struct device *device, struct device_attribute *attr,
			      const char *buf, size_t count)
{
	struct dgpu_device *dev = platform_get_drvdata(to_platform_device(device));
	bool yes;
	int ret;

	ret = kstrtobool(buf, &yes);
	if (ret || !yes)
		return -EINVAL;
	ret = dgpu_memory_evacuate_device(dev);
	return ret ?: count;
}
static DEVICE_ATTR_WO(evacuate);

static struct attribute *dgpu_memory_attrs[] = {
	&dev_attr_evacuate.attr,
	NULL
};

static const struct attribute_group dgpu_memory_group = {
	.attrs = dgpu_memory_attrs,
};

const struct attribute_group *dgpu_memory_groups[] = {
	&dgpu_memory_group,
	NULL
};

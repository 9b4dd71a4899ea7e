// SPDX-License-Identifier: GPL-2.0
/*
 * Open files of /dev/dgpuN: open, ioctl, read, poll, release.
 *
 * A file belongs to the address space that opened it, for good.  A descriptor that
 * another process has, by fork() or over a socket, is of no use there: each call fails
 * with EPERM.  So does one that has survived exec().
 *
 * Arguments are checked here and in what is called from here, completely, before
 * anything is changed.
 *
 * Locks: none of its own.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "dgpu_private.h"

/* What DGPU_IOCTL_PREFAULT does between two looks at pending signals. */
#define DGPU_FILE_PREFAULT	(8 * PMD_SIZE)

static bool dgpu_file_is_zero(const void *data, size_t size)
{
	return !memchr_inv(data, 0, size);
}

/* Is this the process that the file was opened in? */
static int dgpu_file_check_mm(const struct dgpu_file *file)
{
	return current->mm == file->vm->mm ? 0 : -EPERM;
}

/* And can its device address space still be used? */
static int dgpu_file_check(const struct dgpu_file *file)
{
	int ret = dgpu_file_check_mm(file);

	if (ret)
		return ret;
	if (hmm_mirror_state(&file->vm->mirror) == HMM_MIRROR_LIVE &&
	    !READ_ONCE(file->vm->dev->gone))
		return 0;
	/* The device is marked as gone before the mirrors on it are released. */
	return READ_ONCE(file->vm->dev->gone) ? -ENODEV : -ESRCH;
}

/* ---- ioctls ---- */

static int dgpu_file_info(struct dgpu_file *file, void __user *uarg)
{
	struct dgpu_device *dev = file->vm->dev;
	struct dgpu_info info;

	if (copy_from_user(&info, uarg, sizeof(info)))
		return -EFAULT;
	if (!dgpu_file_is_zero(info.reserved, sizeof(info.reserved)))
		return -EINVAL;
	info = (struct dgpu_info) {
		.abi_version = DGPU_ABI_VERSION,
		.index = dev->index,
		.engines = dgpu_config.hw.engines,
		.va_bits = dgpu_config.hw.va_bits,
		.max_threads = DGPU_MAX_THREADS,
		.max_insns = DGPU_MAX_INSNS,
		.fault_entries = dgpu_config.hw.fault_entries,
		.flags = DGPU_INFO_DIRTY | DGPU_INFO_ATOMICS,
		.local_bytes = hmm_device_has_memory(&dev->hmm) ? dev->hmm.rmem_bytes : 0,
		.page_sizes = PAGE_SIZE | PMD_SIZE,
	};
	strscpy(info.name, dev->name, sizeof(info.name));
	return copy_to_user(uarg, &info, sizeof(info)) ? -EFAULT : 0;
}

static int dgpu_file_submit(struct dgpu_file *file, void __user *uarg)
{
	struct dgpu_submit args;

	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	return dgpu_job_submit(file, &args, uarg);
}

static int dgpu_file_result(struct dgpu_file *file, void __user *uarg)
{
	struct dgpu_result args;

	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	return dgpu_job_result(file, &args, uarg);
}

static int dgpu_file_prefault(struct dgpu_file *file, void __user *uarg)
{
	unsigned long start, end, next;
	struct dgpu_range args;
	u64 last;
	u32 access;
	int ret;

	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~DGPU_PREFAULT_WRITE || args.pad ||
	    !dgpu_file_is_zero(args.reserved, sizeof(args.reserved)))
		return -EINVAL;
	if (!args.length || !PAGE_ALIGNED(args.start) || !PAGE_ALIGNED(args.length) ||
	    check_add_overflow(args.start, args.length, &last))
		return -EINVAL;

	access = args.flags & DGPU_PREFAULT_WRITE ? HMM_FAULT_WRITE : HMM_FAULT_READ;
	for (start = args.start, end = last; start < end; start = next) {
		next = end - start > DGPU_FILE_PREFAULT ?
		       ALIGN_DOWN(start, PMD_SIZE) + DGPU_FILE_PREFAULT : end;
		do {
			/* Other threads of the process keep changing it: go on. */
			ret = hmm_mirror_fault_range(&file->vm->mirror, start, next, access);
		} while (ret == -EBUSY && !fatal_signal_pending(current));
		if (ret)
			return ret;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static int dgpu_file_ptes(struct dgpu_file *file, void __user *uarg)
{
	u64 done, bytes, last, n;
	struct dgpu_ptes args;
	u8 __user *out;
	u8 *buf;
	int ret = 0;

	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	if (!dgpu_file_is_zero(args.reserved, sizeof(args.reserved)))
		return -EINVAL;
	if (!args.npages || args.npages > DGPU_MAX_PTES || !PAGE_ALIGNED(args.start) ||
	    check_mul_overflow(args.npages, (u64)PAGE_SIZE, &bytes) ||
	    check_add_overflow(args.start, bytes, &last))
		return -EINVAL;

	buf = kmalloc(PTRS_PER_PTE, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	out = u64_to_user_ptr(args.out);
	for (done = 0; done < args.npages && !ret; done += n) {
		n = min_t(u64, args.npages - done, PTRS_PER_PTE);
		dgpu_pt_snapshot(file->vm, args.start + (done << PAGE_SHIFT), n, buf);
		if (copy_to_user(out + done, buf, n))
			ret = -EFAULT;
		if (fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	kfree(buf);
	return ret;
}

static int dgpu_file_stat_hw(struct dgpu_file *file, u64 *values)
{
	struct dgpu_device *dev = file->vm->dev;
	unsigned int i;

	if (!dgpu_device_enter(dev))
		return -ENODEV;
	for (i = 0; i < DGPU_HW_NR; i++)
		values[i] = dgpu_hw_stat(dev->hw, i);
	dgpu_device_exit(dev);
	return DGPU_HW_NR;
}

/* Copy the counters of a group to @values; returns how many there are. */
static int dgpu_file_stat_group(struct dgpu_file *file, u32 what, u64 *values)
{
	struct dgpu_counters counters = {};
	unsigned int i;

	dgpu_vm_add_counters(file->vm, &counters);
	switch (what) {
	case DGPU_STAT_MIRROR:
		memcpy(values, counters.mirror, sizeof(counters.mirror));
		return HMM_STAT_NR;
	case DGPU_STAT_EVENTS:
		memcpy(values, counters.events, sizeof(counters.events));
		return HMM_EVENT_NR;
	case DGPU_STAT_REASONS:
		memcpy(values, counters.reasons, sizeof(counters.reasons));
		return HMM_REASON_NR;
	case DGPU_STAT_HW:
		return dgpu_file_stat_hw(file, values);
	case DGPU_STAT_RMEM:
		for (i = 0; i < HMM_RMEM_NR; i++)
			values[i] = hmm_rmem_stat(&file->vm->dev->hmm, i);
		return HMM_RMEM_NR;
	default:
		return -EINVAL;
	}
}

static int dgpu_file_stat(struct dgpu_file *file, void __user *uarg)
{
	u64 values[sizeof(struct dgpu_counters) / sizeof(u64)];
	struct dgpu_stat args;
	u32 room;
	int nr;

	BUILD_BUG_ON(ARRAY_SIZE(values) < DGPU_HW_NR);
	BUILD_BUG_ON(ARRAY_SIZE(values) < HMM_RMEM_NR);
	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	if (!dgpu_file_is_zero(args.reserved, sizeof(args.reserved)))
		return -EINVAL;
	nr = dgpu_file_stat_group(file, args.what, values);
	if (nr < 0)
		return nr;
	room = min_t(u32, args.count, nr);
	if (copy_to_user(u64_to_user_ptr(args.values), values, room * sizeof(u64)))
		return -EFAULT;
	args.count = nr;
	return copy_to_user(uarg, &args, sizeof(args)) ? -EFAULT : 0;
}

static int dgpu_file_events(struct dgpu_file *file, void __user *uarg)
{
	struct dgpu_events args;

	if (copy_from_user(&args, uarg, sizeof(args)))
		return -EFAULT;
	if (args.pad || !dgpu_file_is_zero(args.reserved, sizeof(args.reserved)))
		return -EINVAL;
	return dgpu_event_resize(file, args.capacity);
}

/**
 * struct dgpu_file_ioctl - one ioctl
 * @cmd: its whole number, size and direction included
 * @call: does it
 * @any_time: also when the device has gone
 */
struct dgpu_file_ioctl {
	unsigned int cmd;
	int (*call)(struct dgpu_file *file, void __user *uarg);
	bool any_time;
};

static const struct dgpu_file_ioctl dgpu_file_ioctls[] = {
	{ DGPU_IOCTL_INFO, dgpu_file_info },
	{ DGPU_IOCTL_SUBMIT, dgpu_file_submit },
	{ DGPU_IOCTL_RESULT, dgpu_file_result, .any_time = true },
	{ DGPU_IOCTL_PREFAULT, dgpu_file_prefault },
	{ DGPU_IOCTL_PTES, dgpu_file_ptes },
	{ DGPU_IOCTL_STAT, dgpu_file_stat },
	{ DGPU_IOCTL_EVENTS, dgpu_file_events },
	{ DGPU_IOCTL_MIGRATE, dgpu_memory_migrate },
	{ DGPU_IOCTL_POLICY, dgpu_memory_policy },
	{ DGPU_IOCTL_HINT, dgpu_memory_hint },
	{ DGPU_IOCTL_RESIDENCY, dgpu_memory_residency },
	{ DGPU_IOCTL_EVACUATE, dgpu_memory_evacuate },
};

static long dgpu_file_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct dgpu_file *file = filp->private_data;
	const struct dgpu_file_ioctl *ioctl;
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(dgpu_file_ioctls); i++) {
		ioctl = &dgpu_file_ioctls[i];
		if (ioctl->cmd != cmd)
			continue;
		ret = ioctl->any_time ? dgpu_file_check_mm(file) : dgpu_file_check(file);
		return ret ?: ioctl->call(file, (void __user *)arg);
	}
	return -ENOTTY;
}

/* ---- the rest ---- */

static ssize_t dgpu_file_read(struct file *filp, char __user *buf, size_t size, loff_t *pos)
{
	struct dgpu_file *file = filp->private_data;
	int ret = dgpu_file_check_mm(file);

	return ret ?: dgpu_event_read(file, buf, size, filp->f_flags & O_NONBLOCK);
}

static __poll_t dgpu_file_poll(struct file *filp, poll_table *table)
{
	struct dgpu_file *file = filp->private_data;
	__poll_t events = 0;

	poll_wait(filp, &file->ring.wait, table);
	/* In this order: with the end all records are there, see dgpu_event_ended(). */
	if (READ_ONCE(file->vm->dev->gone))
		events |= EPOLLHUP;
	if (dgpu_event_pending(file))
		events |= EPOLLIN | EPOLLRDNORM;
	return events;
}

static int dgpu_file_open(struct inode *inode, struct file *filp)
{
	/* Set by misc_open(), which keeps the device registered while we are here. */
	struct dgpu_device *dev = container_of(filp->private_data, struct dgpu_device, misc);
	struct dgpu_file *file;
	struct dgpu_vm *vm;

	/* A kernel thread has no memory of its own to be mirrored. */
	if (!current->mm)
		return -EPERM;
	file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	if (!file)
		return -ENOMEM;
	xa_init(&file->jobs);
	mutex_init(&file->ring.lock);
	init_waitqueue_head(&file->ring.wait);

	vm = dgpu_vm_open(dev, current->mm);
	if (IS_ERR(vm)) {
		kfree(file);
		return PTR_ERR(vm);
	}
	file->vm = vm;
	spin_lock(&vm->file_lock);
	list_add_tail(&file->node, &vm->file_list);
	spin_unlock(&vm->file_lock);
	filp->private_data = file;
	return stream_open(inode, filp);
}

static int dgpu_file_release(struct inode *inode, struct file *filp)
{
	struct dgpu_file *file = filp->private_data;

	spin_lock(&file->vm->file_lock);
	list_del(&file->node);
	spin_unlock(&file->vm->file_lock);
	dgpu_job_release_all(file);
	dgpu_vm_close(file->vm);
	kvfree(file->ring.records);
	mutex_destroy(&file->ring.lock);
	kfree(file);
	return 0;
}

const struct file_operations dgpu_file_ops = {
	.owner = THIS_MODULE,
	.open = dgpu_file_open,
	.release = dgpu_file_release,
	.unlocked_ioctl = dgpu_file_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.read = dgpu_file_read,
	.poll = dgpu_file_poll,
	.llseek = noop_llseek,
};

// SPDX-License-Identifier: GPL-2.0
/*
 * The smallest driver that mirrors a process: /dev/hmm_sample.
 *
 * Its "device" is a reader.  pread(fd, buf, n, address) reads the memory of the process
 * that opened the file, not as the CPU would, but through a device page table: an
 * xarray of struct page pointers by page number, which the mirroring core has filled
 * and keeps up to date.  What the process does to its memory meanwhile (munmap, fork,
 * being swapped out) is of no concern to the reader: its translation is taken away, and
 * the next access faults it in again.
 *
 * Everything that a driver has to do is here, once:
 *
 *   - a struct hmm_device with its operations, registered while the module is loaded
 *   - a struct hmm_mirror for each address space, registered while a file is open
 *   - a device access that finds no translation calls hmm_mirror_fault() and tries again
 *
 * One lock, the xarray's own, stands for the device's MMU: accesses are made under it,
 * so a translation that was taken away under it is not in use any more.  A driver of
 * real hardware flushes the device's TLBs there.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>
#include <hmm/mirror.h>

/**
 * struct hmm_sample - an open file: the mirror of the process that opened it
 * @mirror: towards the core
 * @pages: the device page table: struct page by page number.  A zero entry is a place
 *	that is reserved and holds no translation.
 */
struct hmm_sample {
	struct hmm_mirror mirror;
	struct xarray pages;
};

static struct hmm_sample *to_sample(struct hmm_mirror *mirror)
{
	return container_of(mirror, struct hmm_sample, mirror);
}

/* ---- operations: what the core asks of the driver ---- */

/* The only operation that may allocate: see to it that map() will not have to. */
static int hmm_sample_prepare(struct hmm_mirror *mirror, unsigned long start,
			      unsigned long end)
{
	struct hmm_sample *sample = to_sample(mirror);
	unsigned long addr;
	int ret;

	for (addr = start; addr < end; addr += PAGE_SIZE) {
		ret = xa_reserve(&sample->pages, addr >> PAGE_SHIFT, GFP_KERNEL_ACCOUNT);
		if (ret)
			return ret;
	}
	return 0;
}

/* Write translations.  This device only reads, so rights to write do not matter to it. */
static int hmm_sample_map(struct hmm_mirror *mirror, const struct hmm_map *map)
{
	XA_STATE(xas, &to_sample(mirror)->pages, map->start >> PAGE_SHIFT);
	unsigned long i;

	xas_lock(&xas);
	for (i = 0; i < map->nr; i++) {
		if (!(map->pfns[i] & HMM_PFN_VALID))
			continue;
		xas_set(&xas, (map->start >> PAGE_SHIFT) + i);
		xas_store(&xas, hmm_pfn_to_page(map->pfns[i]));
	}
	xas_unlock(&xas);
	/*
	 * The reserved place was freed by an unmap after prepare(), and without memory
	 * there is no other: the core prepares again.
	 */
	return xas_error(&xas) ? -EAGAIN : 0;
}

/*
 * Take translations away.  No memory, no waiting: the kernel may be in the middle of
 * reclaim.  Nothing needs to be done to write-protect what is never written, and no page
 * is ever dirty.
 */
static u64 hmm_sample_update(struct hmm_mirror *mirror, const struct hmm_event *event)
{
	XA_STATE(xas, &to_sample(mirror)->pages, event->start >> PAGE_SHIFT);
	void *entry;

	if (event->action < HMM_ACTION_DROP)
		return 0;
	xas_lock(&xas);
	xas_for_each(&xas, entry, (event->end - 1) >> PAGE_SHIFT)
		/* The memory of the table itself is given back where the range is gone. */
		xas_store(&xas, event->action == HMM_ACTION_FREE ? NULL : XA_ZERO_ENTRY);
	xas_unlock(&xas);
	/* Accesses are made under the lock, so none is under way: there is no token. */
	return 0;
}

/* Stop all device threads that use the mirror: here those are callers of read(). */
static void hmm_sample_stop(struct hmm_mirror *mirror)
{
	/* Their next fault fails, and update() is about to take the translations. */
}

static const struct hmm_device_ops hmm_sample_ops = {
	.prepare = hmm_sample_prepare,
	.map = hmm_sample_map,
	.update = hmm_sample_update,
	.stop = hmm_sample_stop,
};

static struct hmm_device hmm_sample_device = {
	.name = "hmm_sample",
	.ops = &hmm_sample_ops,
	.caps = {
		.va_bits = 57,
		.fault_around = 16 * PAGE_SIZE,
	},
};

/* ---- the device at work ---- */

/* One access: copy from one page.  false: a device fault. */
static bool hmm_sample_access(struct hmm_sample *sample, unsigned long addr, void *buf,
			      size_t size)
{
	struct page *page;

	xa_lock(&sample->pages);
	page = xa_load(&sample->pages, addr >> PAGE_SHIFT);
	/* Not referenced: it stays as long as its translation, that is, the lock. */
	if (page)
		memcpy_from_page(buf, page, offset_in_page(addr), size);
	xa_unlock(&sample->pages);
	return page;
}

/* Access; serve the device fault if there is one; access again. */
static int hmm_sample_read_page(struct hmm_sample *sample, unsigned long addr, void *buf,
				size_t size)
{
	struct hmm_fault fault = { .addr = addr, .access = HMM_FAULT_READ };
	int ret;

	while (!hmm_sample_access(sample, addr, buf, size)) {
		ret = hmm_mirror_fault(&sample->mirror, &fault, 1);
		if (ret)
			return ret;
		/* It lost against invalidations for a while; that is no error. */
		if (fault.error && fault.error != -EBUSY)
			return fault.error;
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static ssize_t hmm_sample_read(struct file *file, char __user *to, size_t size,
			       loff_t *pos)
{
	struct hmm_sample *sample = file->private_data;
	size_t done = 0, n;
	void *buf;
	int ret = 0;

	/* Not for who has only been given the descriptor. */
	if (current->mm != sample->mirror.mm)
		return -EPERM;
	buf = kmalloc(PAGE_SIZE, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	while (done < size && !ret) {
		n = min(size - done, PAGE_SIZE - offset_in_page(*pos));
		ret = hmm_sample_read_page(sample, *pos, buf, n);
		if (!ret && copy_to_user(to + done, buf, n))
			ret = -EFAULT;
		if (!ret) {
			*pos += n;
			done += n;
		}
	}
	kfree(buf);
	return done ?: ret;
}

static int hmm_sample_open(struct inode *inode, struct file *file)
{
	struct hmm_sample *sample;
	int ret;

	if (!current->mm)
		return -EINVAL;
	sample = kzalloc(sizeof(*sample), GFP_KERNEL_ACCOUNT);
	if (!sample)
		return -ENOMEM;
	xa_init(&sample->pages);
	/* From here on the operations are called.  A second file gets -EEXIST. */
	ret = hmm_mirror_register(&sample->mirror, &hmm_sample_device, current->mm);
	if (ret) {
		kfree(sample);
		return ret;
	}
	file->private_data = sample;
	return 0;
}

static int hmm_sample_release(struct inode *inode, struct file *file)
{
	struct hmm_sample *sample = file->private_data;

	/*
	 * Takes all translations away; after it no operation is called.  Faults are
	 * served in read(), so none is in flight; a driver that serves them elsewhere
	 * keeps the mirror in memory until the last is back.
	 */
	hmm_mirror_unregister(&sample->mirror);
	xa_destroy(&sample->pages);
	kfree(sample);
	return 0;
}

static const struct file_operations hmm_sample_fops = {
	.owner = THIS_MODULE,
	.open = hmm_sample_open,
	.read = hmm_sample_read,
	.release = hmm_sample_release,
	.llseek = noop_llseek,
};

static struct miscdevice hmm_sample_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_sample",
	.fops = &hmm_sample_fops,
};

static int __init hmm_sample_init(void)
{
	int ret;

	ret = hmm_device_register(&hmm_sample_device);
	if (ret)
		return ret;
	ret = misc_register(&hmm_sample_misc);
	if (ret)
		hmm_device_unregister(&hmm_sample_device);
	return ret;
}

static void __exit hmm_sample_exit(void)
{
	misc_deregister(&hmm_sample_misc);
	hmm_device_unregister(&hmm_sample_device);
}

module_init(hmm_sample_init);
module_exit(hmm_sample_exit);
MODULE_DESCRIPTION("Sample: read process memory through a mirror");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("HMM");

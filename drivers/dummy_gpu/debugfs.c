// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs: dgpu/N/stats (all counters, by name), dgpu/N/vms (address spaces), and
 * dgpu/N/knobs/NAME (failures that the chip injects); dgpu/fail_NAME (failures that the
 * driver injects, as in Documentation/fault-injection).
 *
 * Nothing depends on any of it.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include "dgpu_private.h"

static struct dentry *dgpu_debugfs_root;

static const char * const dgpu_debugfs_hw_names[] = {
	[DGPU_HW_JOBS]			= "jobs",
	[DGPU_HW_INSNS]			= "insns",
	[DGPU_HW_FAULTS]		= "faults",
	[DGPU_HW_FAULT_OVERFLOWS]	= "fault_overflows",
	[DGPU_HW_REPLAYS]		= "replays",
	[DGPU_HW_TLB_HITS]		= "tlb_hits",
	[DGPU_HW_TLB_MISSES]		= "tlb_misses",
	[DGPU_HW_TLB_FLUSHES]		= "tlb_flushes",
	[DGPU_HW_BUS_ERRORS]		= "bus_errors",
	[DGPU_HW_RESETS]		= "resets",
	[DGPU_HW_COPIED]		= "copied",
	[DGPU_HW_COPY_ERRORS]		= "copy_errors",
	[DGPU_HW_LOCAL_ACCESSES]	= "local_accesses",
};

static_assert(ARRAY_SIZE(dgpu_debugfs_hw_names) == DGPU_HW_NR);

static const char * const dgpu_debugfs_knob_names[] = {
	[DGPU_KNOB_TLB_DELAY_US]	= "tlb_delay_us",
	[DGPU_KNOB_FAULT_DELAY_US]	= "fault_delay_us",
	[DGPU_KNOB_DONE_DELAY_US]	= "done_delay_us",
	[DGPU_KNOB_HANG_ENGINE]		= "hang_engine",
	[DGPU_KNOB_DROP_FLUSH]		= "drop_flush",
	[DGPU_KNOB_SLOW_INSNS]		= "slow_insns",
	[DGPU_KNOB_LOST]		= "lost",
	[DGPU_KNOB_COPY_DELAY_US]	= "copy_delay_us",
	[DGPU_KNOB_COPY_FAIL]		= "copy_fail",
	[DGPU_KNOB_HANG_COPY]		= "hang_copy",
};

static_assert(ARRAY_SIZE(dgpu_debugfs_knob_names) == DGPU_KNOB_NR);

/* ---- stats ---- */

/* The address spaces that there are, and all that have been. */
static int dgpu_debugfs_sum(struct dgpu_device *dev, struct dgpu_counters *sum)
{
	struct dgpu_vm *vm;

	mutex_lock(&dev->lock);
	*sum = *dev->past;
	list_for_each_entry(vm, &dev->vms, node)
		dgpu_vm_add_counters(vm, sum);
	mutex_unlock(&dev->lock);
	return 0;
}

static int dgpu_debugfs_stats_show(struct seq_file *seq, void *unused)
{
	struct dgpu_device *dev = seq->private;
	struct dgpu_counters sum;
	unsigned int i;

	dgpu_debugfs_sum(dev, &sum);
	for (i = 0; i < HMM_STAT_NR; i++)
		seq_printf(seq, "mirror.%s %llu\n", hmm_mirror_stat_name(i), sum.mirror[i]);
	for (i = 0; i < HMM_EVENT_NR; i++)
		seq_printf(seq, "event.%s %llu\n", hmm_event_type_name(i), sum.events[i]);
	for (i = 0; i < HMM_REASON_NR; i++)
		seq_printf(seq, "reason.%s %llu\n", hmm_event_reason_name(i), sum.reasons[i]);
	if (!dgpu_device_enter(dev))
		return 0;
	for (i = 0; i < DGPU_HW_NR; i++)
		seq_printf(seq, "hw.%s %llu\n", dgpu_debugfs_hw_names[i],
			   dgpu_hw_stat(dev->hw, i));
	dgpu_device_exit(dev);
	for (i = 0; i < HMM_RMEM_NR; i++)
		seq_printf(seq, "rmem.%s %llu\n", hmm_rmem_stat_name(i),
			   hmm_rmem_stat(&dev->hmm, i));
	seq_printf(seq, "bus.pages %lu\n", READ_ONCE(dev->bus.nr_pages));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(dgpu_debugfs_stats);

/* ---- vms ---- */

static const char *dgpu_debugfs_state(const struct dgpu_vm *vm)
{
	switch (hmm_mirror_state(&vm->mirror)) {
	case HMM_MIRROR_NEW:
		return "new";
	case HMM_MIRROR_LIVE:
		return "live";
	case HMM_MIRROR_DYING:
		return "dying";
	default:
		return "dead";
	}
}

static int dgpu_debugfs_vms_show(struct seq_file *seq, void *unused)
{
	struct dgpu_device *dev = seq->private;
	struct dgpu_vm *vm;

	seq_puts(seq, "asid state files tables small huge serving\n");
	mutex_lock(&dev->lock);
	list_for_each_entry(vm, &dev->vms, node)
		seq_printf(seq, "%u %s %u %lu %lu %lu %u\n", vm->asid,
			   dgpu_debugfs_state(vm), READ_ONCE(vm->files),
			   atomic_long_read(&vm->pt.nr_tables),
			   atomic_long_read(&vm->pt.nr_small),
			   atomic_long_read(&vm->pt.nr_huge),
			   READ_ONCE(vm->fault_workers));
	mutex_unlock(&dev->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(dgpu_debugfs_vms);

/* ---- knobs ---- */

/* A knob's file names the knob; the device is its directory's. */
static enum dgpu_hw_knob dgpu_debugfs_knob(const struct file *filp)
{
	unsigned int i;

	for (i = 0; i < DGPU_KNOB_NR; i++)
		if (!strcmp(filp->f_path.dentry->d_name.name, dgpu_debugfs_knob_names[i]))
			break;
	return i;
}

static ssize_t dgpu_debugfs_knob_read(struct file *filp, char __user *buf, size_t size,
				      loff_t *pos)
{
	struct dgpu_device *dev = file_inode(filp)->i_private;
	char text[24];
	int len;

	if (!dgpu_device_enter(dev))
		return -ENODEV;
	len = scnprintf(text, sizeof(text), "%llu\n",
			dgpu_hw_knob_get(dev->hw, dgpu_debugfs_knob(filp)));
	dgpu_device_exit(dev);
	return simple_read_from_buffer(buf, size, pos, text, len);
}

static ssize_t dgpu_debugfs_knob_write(struct file *filp, const char __user *buf,
				       size_t size, loff_t *pos)
{
	struct dgpu_device *dev = file_inode(filp)->i_private;
	u64 value;
	int ret;

	ret = kstrtou64_from_user(buf, size, 0, &value);
	if (ret)
		return ret;
	if (!dgpu_device_enter(dev))
		return -ENODEV;
	ret = dgpu_hw_knob_set(dev->hw, dgpu_debugfs_knob(filp), value);
	dgpu_device_exit(dev);
	return ret ?: size;
}

static const struct file_operations dgpu_debugfs_knob_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = dgpu_debugfs_knob_read,
	.write = dgpu_debugfs_knob_write,
	.llseek = default_llseek,
};

/* ---- directories ---- */

/**
 * dgpu_debugfs_add - make the directory of a device
 * @dev: device
 *
 * Context: may sleep.
 */
void dgpu_debugfs_add(struct dgpu_device *dev)
{
	struct dentry *knobs;
	char name[12];
	unsigned int i;

	snprintf(name, sizeof(name), "%u", dev->index);
	dev->debugfs = debugfs_create_dir(name, dgpu_debugfs_root);
	debugfs_create_file("stats", 0400, dev->debugfs, dev, &dgpu_debugfs_stats_fops);
	debugfs_create_file("vms", 0400, dev->debugfs, dev, &dgpu_debugfs_vms_fops);
	knobs = debugfs_create_dir("knobs", dev->debugfs);
	for (i = 0; i < DGPU_KNOB_NR; i++)
		debugfs_create_file(dgpu_debugfs_knob_names[i], 0600, knobs, dev,
				    &dgpu_debugfs_knob_fops);
}

/**
 * dgpu_debugfs_remove - remove the directory of a device
 * @dev: device
 *
 * Context: may sleep; waits for who is in one of its files.
 */
void dgpu_debugfs_remove(struct dgpu_device *dev)
{
	debugfs_remove(dev->debugfs);
}

/**
 * dgpu_debugfs_init - make the directory of the driver
 *
 * Context: module initialisation.
 */
void dgpu_debugfs_init(void)
{
	dgpu_debugfs_root = debugfs_create_dir("dgpu", NULL);
	fault_create_debugfs_attr("fail_copy", dgpu_debugfs_root, &dgpu_fail_copy);
	fault_create_debugfs_attr("fail_dma", dgpu_debugfs_root, &dgpu_fail_dma);
	fault_create_debugfs_attr("fail_table", dgpu_debugfs_root, &dgpu_fail_table);
	fault_create_debugfs_attr("fail_submit", dgpu_debugfs_root, &dgpu_fail_submit);
}

/**
 * dgpu_debugfs_exit - remove it
 *
 * Context: module exit.
 */
void dgpu_debugfs_exit(void)
{
	debugfs_remove(dgpu_debugfs_root);
}

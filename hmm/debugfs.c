// SPDX-License-Identifier: GPL-2.0
/*
 * What the core shows in debugfs, for people and for tests:
 *
 *   hmm/stats		per device, the counters of its mirrors, added up
 *   hmm/mirrors	a line for each mirror: state, blocks and counters
 *   hmm/memory/	a directory for each device with memory: see rmem/stat.c
 *
 * Lines are "name value" and "name=value"; counters that are zero are left out of
 * hmm/mirrors.  Nothing depends on the files, and nothing in the core fails because
 * they could not be made.
 *
 * Owns the directory, and no state.  Reads under hmm_device_list_lock and, inside of it,
 * device->lock: a mirror that is on the list of its device has not been released, so
 * its hmm_mm is there.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include "debugfs.h"
#include "hmm_private.h"

static struct dentry *hmm_debugfs_dir;

static const char *const hmm_debugfs_states[] = {
	[HMM_MIRROR_NEW]	= "new",
	[HMM_MIRROR_LIVE]	= "live",
	[HMM_MIRROR_DYING]	= "dying",
	[HMM_MIRROR_DEAD]	= "dead",
};

static_assert(ARRAY_SIZE(hmm_debugfs_states) == HMM_MIRROR_NR_STATES);

/* Blocks that the mirror's address space has, shared by its mirrors. */
static unsigned long hmm_debugfs_count_blocks(struct hmm_mm *hmm)
{
	unsigned long index, nr = 0;
	void *block;

	/* Counted, not looked into. */
	xa_for_each(&hmm->blocks, index, block)
		nr++;
	return nr;
}

static void hmm_debugfs_show_device(struct seq_file *m, struct hmm_device *device)
{
	struct hmm_mirror *mirror;
	unsigned int i;
	u64 sum;

	lockdep_assert_held(&device->lock);
	seq_printf(m, "device %s\n", device->name);
	seq_printf(m, "mirrors %zu\n", list_count_nodes(&device->mirrors));
	for (i = 0; i < HMM_STAT_NR; i++) {
		sum = 0;
		list_for_each_entry(mirror, &device->mirrors, node)
			sum += hmm_mirror_stat(mirror, i);
		seq_printf(m, "%s %llu\n", hmm_mirror_stat_name(i), sum);
	}
	for (i = 0; i < HMM_EVENT_NR; i++) {
		sum = 0;
		list_for_each_entry(mirror, &device->mirrors, node)
			sum += hmm_mirror_event_count(mirror, i);
		seq_printf(m, "event_%s %llu\n", hmm_event_type_name(i), sum);
	}
}

static int hmm_debugfs_stats_show(struct seq_file *m, void *unused)
{
	struct hmm_device *device;

	mutex_lock(&hmm_device_list_lock);
	list_for_each_entry(device, &hmm_device_list, node) {
		mutex_lock(&device->lock);
		hmm_debugfs_show_device(m, device);
		mutex_unlock(&device->lock);
	}
	mutex_unlock(&hmm_device_list_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hmm_debugfs_stats);

static void hmm_debugfs_show_mirror(struct seq_file *m, const struct hmm_mirror *mirror)
{
	unsigned int i;
	u64 value;

	lockdep_assert_held(&mirror->device->lock);
	seq_printf(m, "device=%s mm=%p slot=%d state=%s block_shift=%u blocks=%lu",
		   mirror->device->name, mirror->mm, mirror->slot,
		   hmm_debugfs_states[hmm_mirror_state(mirror)],
		   mirror->hmm->block_shift, hmm_debugfs_count_blocks(mirror->hmm));
	for (i = 0; i < HMM_STAT_NR; i++) {
		value = hmm_mirror_stat(mirror, i);
		if (value)
			seq_printf(m, " %s=%llu", hmm_mirror_stat_name(i), value);
	}
	for (i = 0; i < HMM_EVENT_NR; i++) {
		value = hmm_mirror_event_count(mirror, i);
		if (value)
			seq_printf(m, " event_%s=%llu", hmm_event_type_name(i), value);
	}
	seq_putc(m, '\n');
}

static int hmm_debugfs_mirrors_show(struct seq_file *m, void *unused)
{
	struct hmm_device *device;
	struct hmm_mirror *mirror;

	mutex_lock(&hmm_device_list_lock);
	list_for_each_entry(device, &hmm_device_list, node) {
		mutex_lock(&device->lock);
		list_for_each_entry(mirror, &device->mirrors, node)
			hmm_debugfs_show_mirror(m, mirror);
		mutex_unlock(&device->lock);
	}
	mutex_unlock(&hmm_device_list_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hmm_debugfs_mirrors);

/**
 * hmm_debugfs_init - make the files
 *
 * Context: Process context, may sleep.  Cannot fail in a way that matters: without
 * debugfs there are no files.
 */
void hmm_debugfs_init(void)
{
	hmm_debugfs_dir = debugfs_create_dir("hmm", NULL);
	debugfs_create_file("stats", 0444, hmm_debugfs_dir, NULL, &hmm_debugfs_stats_fops);
	debugfs_create_file("mirrors", 0444, hmm_debugfs_dir, NULL, &hmm_debugfs_mirrors_fops);
	hmm_rmem_debugfs_init(hmm_debugfs_dir);
}

/**
 * hmm_debugfs_exit - remove the files
 *
 * Context: Process context; waits for those who read.
 */
void hmm_debugfs_exit(void)
{
	debugfs_remove(hmm_debugfs_dir);
}

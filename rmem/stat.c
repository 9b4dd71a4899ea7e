// SPDX-License-Identifier: GPL-2.0
/*
 * Counters of a device's memory, what debugfs shows of them, and its use by cgroup.
 *
 *   hmm/memory/NAME/stats	"name value" lines: the counters.  NAME-ID is another device
 *				of the same name.
 *   hmm/memory/NAME/cgroups	"pages path" lines: whose pages are on the device
 *   hmm/fail_device_alloc	failures to be injected, where the kernel's own knobs do
 *   hmm/fail_device_copy	not reach: see the kernel's fault-injection document
 *
 * Owns the files.  A page on the device is charged to its cgroup as any other page is,
 * and the kernel keeps that account; how much of it is on a device nobody writes down,
 * it is counted when somebody reads the file.
 *
 * Locks: hmm_rmem.lock for a moment for each chunk.  The files are removed, and readers
 * waited for, before the device is detached.
 */
#include <linux/cgroup.h>
#include <linux/debugfs.h>
#include <linux/fault-inject.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include "pagecache_object.h"
#include "rmem_private.h"

static struct dentry *hmm_rmem_debugfs_dir;

static const char *const hmm_rmem_stat_names[] = {
	[HMM_RMEM_TOTAL]		= "total",
	[HMM_RMEM_USED]			= "used",
	[HMM_RMEM_CHUNKS_FREE]		= "chunks_free",
	[HMM_RMEM_IN]			= "in",
	[HMM_RMEM_IN_ZERO]		= "in_zero",
	[HMM_RMEM_OUT]			= "out",
	[HMM_RMEM_OUT_FAULT]		= "out_fault",
	[HMM_RMEM_OUT_EVICT]		= "out_evict",
	[HMM_RMEM_OUT_EVACUATE]		= "out_evacuate",
	[HMM_RMEM_DROPPED]		= "dropped",
	[HMM_RMEM_BUSY]			= "busy",
	[HMM_RMEM_FULL]			= "full",
	[HMM_RMEM_COPY_ERRORS]		= "copy_errors",
	[HMM_RMEM_LOST]			= "lost",
	[HMM_RMEM_CPU_FAULTS]		= "cpu_faults",
	[HMM_RMEM_CPU_FAULTS_LOST_RACE]	= "cpu_faults_lost_race",
	[HMM_RMEM_FILE]			= "file",
	[HMM_RMEM_FILE_OWNED]		= "file_owned",
	[HMM_RMEM_FILE_BACK]		= "file_back",
};

static_assert(ARRAY_SIZE(hmm_rmem_stat_names) == HMM_RMEM_NR);

/**
 * hmm_rmem_read_stat - read a counter of a pool
 * @rmem: pool
 * @stat: counter
 *
 * When nothing is on its way: IN = OUT + DROPPED + LOST + USED.  A page that is lost is
 * not in use any more, even while it waits for its process to go.
 *
 * Context: any.
 * Return: its value; 0 for a counter that does not exist.
 */
u64 hmm_rmem_read_stat(struct hmm_rmem *rmem, enum hmm_rmem_stat stat)
{
	long value;

	switch (stat) {
	case HMM_RMEM_TOTAL:
		return rmem->nr_chunks * HMM_RMEM_CHUNK_PAGES;
	case HMM_RMEM_USED:
		value = READ_ONCE(rmem->nr_used) - READ_ONCE(rmem->nr_lost);
		return max(value, 0l);
	case HMM_RMEM_CHUNKS_FREE:
		return READ_ONCE(rmem->nr_free_chunks);
	case HMM_RMEM_FILE:
		return READ_ONCE(rmem->nr_file);
	case HMM_RMEM_CPU_FAULTS:
		return atomic64_read(&rmem->memory.faults);
	case HMM_RMEM_CPU_FAULTS_LOST_RACE:
		return atomic64_read(&rmem->memory.lost_races);
	default:
		if ((unsigned int)stat >= HMM_RMEM_NR)
			return 0;
		return atomic64_read(&rmem->stats[stat]);
	}
}

/**
 * hmm_rmem_stat - read a counter of a device's memory
 * @device: the device
 * @stat: counter
 *
 * Context: any, at any time in the life of @device.
 * Return: its value; 0 for a counter that does not exist, and for a device without
 * memory.  Of a device that is not registered any more what was counted until then, and
 * 0 for what it had and what was in use.
 */
u64 hmm_rmem_stat(const struct hmm_device *device, enum hmm_rmem_stat stat)
{
	struct hmm_rmem *rmem = hmm_rmem_of_device(device);
	u64 value;

	if (!rmem)
		return (unsigned int)stat < HMM_RMEM_NR ? device->rmem_last[stat] : 0;
	value = hmm_rmem_read_stat(rmem, stat);
	hmm_rmem_put(rmem);
	return value;
}
EXPORT_SYMBOL_NS(hmm_rmem_stat, "HMM");

/**
 * hmm_rmem_stat_name - name of a counter
 * @stat: counter
 *
 * Context: any.
 * Return: a constant string, "?" for a counter that does not exist.
 */
const char *hmm_rmem_stat_name(enum hmm_rmem_stat stat)
{
	if ((unsigned int)stat >= HMM_RMEM_NR)
		return "?";
	return hmm_rmem_stat_names[stat];
}
EXPORT_SYMBOL_NS(hmm_rmem_stat_name, "HMM");

static int hmm_rmem_stats_show(struct seq_file *m, void *unused)
{
	struct hmm_rmem *rmem = m->private;
	unsigned int i;

	for (i = 0; i < HMM_RMEM_NR; i++)
		seq_printf(m, "%s %llu\n", hmm_rmem_stat_names[i],
			   hmm_rmem_read_stat(rmem, i));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hmm_rmem_stats);

#ifdef CONFIG_MEMCG

/**
 * struct hmm_rmem_user - a cgroup with pages on the device
 * @node: in the list of those found so far
 * @memcg: the cgroup; referenced
 * @nr: its pages
 */
struct hmm_rmem_user {
	struct list_head node;
	struct mem_cgroup *memcg;
	unsigned long nr;
};

/* Finds the one of the page before at once, as neighbours have the same. */
static struct hmm_rmem_user *hmm_rmem_user_of(struct list_head *users,
					      struct mem_cgroup *memcg)
{
	struct hmm_rmem_user *user;

	list_for_each_entry(user, users, node)
		if (user->memcg == memcg) {
			list_move(&user->node, users);
			return user;
		}
	user = kzalloc(sizeof(*user), GFP_NOWAIT | __GFP_NOWARN);
	if (!user)
		return NULL;
	if (!css_tryget(&memcg->css)) {
		kfree(user);
		return NULL;
	}
	user->memcg = memcg;
	list_add(&user->node, users);
	return user;
}

/*
 * The cgroup of a page.  One without a reference is free, or being made, or being split, and
 * the word may be anything.
 */
static struct mem_cgroup *hmm_rmem_memcg(struct page *page)
{
	struct folio *folio = page_folio(page);
	struct mem_cgroup *memcg = NULL;

	if (!folio_try_get(folio))
		return NULL;
	if (page_folio(page) == folio)
		memcg = folio_memcg_check(folio);
	folio_put(folio);
	return memcg;
}

/* A page of a file is charged where it is: in the page cache. */
static struct mem_cgroup *hmm_rmem_file_memcg(struct hmm_pagecache *cache, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(cache->mapping, index);
	struct mem_cgroup *memcg;

	if (IS_ERR(folio))
		return NULL;
	memcg = folio_memcg_check(folio);
	folio_put(folio);
	return memcg;
}

/* The cgroup of what is in a page of the pool; in an RCU read section, which keeps both. */
static struct mem_cgroup *hmm_rmem_memcg_at(struct hmm_rmem *rmem, unsigned long chunk,
					    unsigned int slot)
{
	struct hmm_pagecache *cache;
	pgoff_t index;

	cache = hmm_rmem_bound_to(rmem, chunk, slot, &index);
	if (cache)
		return hmm_rmem_file_memcg(cache, index);
	if (rmem->plain)
		return NULL;
	return hmm_rmem_memcg(pfn_to_page(PHYS_PFN(rmem->memory.pgmap.range.start) +
					  chunk * HMM_RMEM_CHUNK_PAGES + slot));
}

/* Returns the pages whose cgroup could not be told: on their way, or no memory. */
static unsigned long hmm_rmem_count_chunk(struct hmm_rmem *rmem, unsigned long chunk,
					  struct list_head *users)
{
	DECLARE_BITMAP(used, HMM_RMEM_CHUNK_PAGES);
	unsigned long flags, unknown = 0;
	struct hmm_rmem_user *user;
	struct mem_cgroup *memcg;
	unsigned int i;

	spin_lock_irqsave(&rmem->lock, flags);
	bitmap_copy(used, rmem->chunks[chunk].used, HMM_RMEM_CHUNK_PAGES);
	spin_unlock_irqrestore(&rmem->lock, flags);
	/* Pages may be freed meanwhile; struct pages stay, and cgroups for the section. */
	rcu_read_lock();
	for_each_set_bit(i, used, HMM_RMEM_CHUNK_PAGES) {
		memcg = hmm_rmem_memcg_at(rmem, chunk, i);
		user = memcg ? hmm_rmem_user_of(users, memcg) : NULL;
		if (user)
			user->nr++;
		else
			unknown++;
	}
	rcu_read_unlock();
	return unknown;
}

static void hmm_rmem_show_user(struct seq_file *m, struct hmm_rmem_user *user, char *path)
{
	if (path && cgroup_path(user->memcg->css.cgroup, path, PATH_MAX) >= 0)
		seq_printf(m, "%lu %s\n", user->nr, path);
	else
		seq_printf(m, "%lu ?\n", user->nr);
}

static int hmm_rmem_cgroups_show(struct seq_file *m, void *unused)
{
	char *path = kmalloc(PATH_MAX, GFP_KERNEL);
	struct hmm_rmem_user *user, *next;
	struct hmm_rmem *rmem = m->private;
	unsigned long i, unknown = 0;
	LIST_HEAD(users);

	for (i = 0; i < rmem->nr_chunks; i++) {
		if (READ_ONCE(rmem->chunks[i].nr_used))
			unknown += hmm_rmem_count_chunk(rmem, i, &users);
		cond_resched();
	}
	list_for_each_entry_safe(user, next, &users, node) {
		hmm_rmem_show_user(m, user, path);
		css_put(&user->memcg->css);
		kfree(user);
	}
	if (unknown)
		seq_printf(m, "%lu ?\n", unknown);
	kfree(path);
	return 0;
}

#else /* CONFIG_MEMCG */

static int hmm_rmem_cgroups_show(struct seq_file *m, void *unused)
{
	struct hmm_rmem *rmem = m->private;

	seq_printf(m, "%lu ?\n", READ_ONCE(rmem->nr_used));
	return 0;
}

#endif /* CONFIG_MEMCG */

DEFINE_SHOW_ATTRIBUTE(hmm_rmem_cgroups);

/**
 * hmm_rmem_debugfs_add - make the files of a pool
 * @rmem: pool
 *
 * Context: Process context, may sleep.
 */
void hmm_rmem_debugfs_add(struct hmm_rmem *rmem)
{
	struct dentry *other = debugfs_lookup(rmem->name, hmm_rmem_debugfs_dir);
	char name[64];

	if (IS_ERR_OR_NULL(other)) {
		strscpy(name, rmem->name);
	} else {
		scnprintf(name, sizeof(name), "%s-%u", rmem->name, rmem->device->id);
		dput(other);
	}
	rmem->debugfs = debugfs_create_dir(name, hmm_rmem_debugfs_dir);
	debugfs_create_file("stats", 0444, rmem->debugfs, rmem, &hmm_rmem_stats_fops);
	debugfs_create_file("cgroups", 0444, rmem->debugfs, rmem, &hmm_rmem_cgroups_fops);
}

/**
 * hmm_rmem_debugfs_remove - remove the files of a pool
 * @rmem: pool
 *
 * Context: Process context; waits for those who read.
 */
void hmm_rmem_debugfs_remove(struct hmm_rmem *rmem)
{
	debugfs_remove(rmem->debugfs);
	rmem->debugfs = NULL;
}

/**
 * hmm_rmem_debugfs_init - make the files that all pools share
 * @dir: directory of the core, which is removed with all that is in it
 *
 * Context: Process context, may sleep.
 */
void hmm_rmem_debugfs_init(struct dentry *dir)
{
	hmm_rmem_debugfs_dir = debugfs_create_dir("memory", dir);
	fault_create_debugfs_attr("fail_device_alloc", dir, &hmm_rmem_fail_alloc);
	fault_create_debugfs_attr("fail_device_copy", dir, &hmm_rmem_fail_copy);
	hmm_pagecache_debugfs_init(dir);
}

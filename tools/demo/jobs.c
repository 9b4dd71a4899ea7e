// SPDX-License-Identifier: GPL-2.0
/*
 * What the GPU computes, on structures made by malloc(), checked against the CPU.
 *
 * Each job's memory is a region that disturbers work on.  The job holds the region's
 * lock while it changes contents or allocates, and never while the GPU computes: that is
 * the time that the disturbances are for.  Now and then it frees everything and builds
 * it anew.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "demo.h"

#define NONE		UINT64_MAX	/* what find.s says for no such key */
#define MIN_FILE	64

struct node {
	struct node *next;
	uint64_t value;
	/* and as much unused memory as makes the sizes differ */
};

struct tree {
	struct tree *left, *right;
	uint64_t key, value;
};

static struct {
	struct region *region;
	struct node **nodes;	/* in list order */
	unsigned int n;
	uint64_t *out;
} list;

static struct {
	struct region *region;
	struct tree *root;
	struct tree **nodes;
	unsigned int n;
	uint64_t *out, *stack, *keys, *found;
} tree;

static struct {
	struct region *region[3];	/* of a, b and sum */
	uint64_t *vector[3];
	size_t n;
} vectors;

static struct {
	struct region *in, *out;
	unsigned char *data;
	uint64_t *bins;
	size_t n;
	uint64_t expected[256];
} histogram;

static struct region *add_region(struct demo *demo, const char *name, bool protect)
{
	struct region *region = &demo->regions[demo->nregions++];

	region->name = name;
	region->protect = protect;
	pthread_mutex_init(&region->lock, NULL);
	return region;
}

static void set_region(struct region *region, void *start, size_t length)
{
	region->start = start;
	region->length = length;
	region->present = start;
}

static bool differs(struct demo *demo, struct tally *tally, const char *who,
		    const uint64_t *got, const uint64_t *expected, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (got[i] != expected[i])
			break;
	if (i == n)
		return false;
	tally->wrong++;
	gpu_wrong(demo, "%s: run %" PRIu64 ": word %u is %" PRIx64 ", must be %" PRIx64, who,
		  tally->rounds, i, got[i], expected[i]);
	return true;
}

/* ---- linked list ---- */

static uint64_t *list_pick(struct region *region, uint64_t random)
{
	(void)region;
	return &list.nodes[random % list.n]->value;
}

static void list_free(void)
{
	unsigned int i;

	list.region->present = false;
	for (i = 0; list.nodes && i < list.n; i++)
		free(list.nodes[i]);
	free(list.nodes);
	free(list.out);
	list.nodes = NULL;
	list.out = NULL;
}

static bool list_build(struct demo *demo, uint64_t *rnd)
{
	unsigned int i, k;
	struct node *swap;

	list.n = demo->nodes;
	list.out = malloc(3 * sizeof(*list.out));
	list.nodes = calloc(list.n, sizeof(*list.nodes));
	if (!list.out || !list.nodes)
		return false;
	for (i = 0; i < list.n; i++) {
		list.nodes[i] = malloc(sizeof(struct node) + random_next(rnd) % 512);
		if (!list.nodes[i])
			return false;
		list.nodes[i]->value = random_next(rnd);
	}
	for (i = list.n - 1; i; i--) {		/* memory order is not list order */
		k = random_next(rnd) % (i + 1);
		swap = list.nodes[i];
		list.nodes[i] = list.nodes[k];
		list.nodes[k] = swap;
	}
	for (i = 0; i < list.n; i++)
		list.nodes[i]->next = i + 1 < list.n ? list.nodes[i + 1] : NULL;
	list.region->present = true;
	return true;
}

static bool list_make(struct demo *demo, uint64_t *rnd)
{
	bool good;

	pthread_mutex_lock(&list.region->lock);
	list_free();
	good = list_build(demo, rnd);
	if (!good)
		list_free();
	pthread_mutex_unlock(&list.region->lock);
	return good;
}

static void list_drop(struct demo *demo)
{
	(void)demo;
	pthread_mutex_lock(&list.region->lock);
	list_free();
	pthread_mutex_unlock(&list.region->lock);
}

static void list_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	uint64_t expected[3] = { list.n }, args[4] = { };
	unsigned int i;

	pthread_mutex_lock(&list.region->lock);
	for (i = 0; i < list.n / 16; i++)
		list.nodes[random_next(rnd) % list.n]->value = random_next(rnd);
	pthread_mutex_unlock(&list.region->lock);
	args[0] = (uintptr_t)list.nodes[0];
	args[1] = (uintptr_t)list.out;
	if (!gpu_run(demo, tally, "list", PROG_LIST, 1, args))
		return;
	for (i = 0; i < list.n; i++) {
		expected[1] += list.nodes[i]->value;
		expected[2] = expected[2] * 31 + list.nodes[i]->value;
	}
	differs(demo, tally, "list", list.out, expected, 3);
}

/* ---- binary search tree ---- */

static uint64_t *tree_pick(struct region *region, uint64_t random)
{
	(void)region;
	return &tree.nodes[random % tree.n]->value;
}

static void tree_free(void)
{
	unsigned int i;

	tree.region->present = false;
	for (i = 0; tree.nodes && i < tree.n; i++)
		free(tree.nodes[i]);
	free(tree.nodes);
	free(tree.out);
	free(tree.stack);
	free(tree.keys);
	free(tree.found);
	tree.nodes = NULL;
	tree.out = NULL;
	tree.stack = NULL;
	tree.keys = NULL;
	tree.found = NULL;
	tree.root = NULL;
}

static struct tree *tree_lookup(uint64_t key, struct tree ***link)
{
	struct tree **at = &tree.root;

	while (*at && (*at)->key != key)
		at = key < (*at)->key ? &(*at)->left : &(*at)->right;
	if (link)
		*link = at;
	return *at;
}

static bool tree_build(struct demo *demo, uint64_t *rnd)
{
	struct tree **link, *node;
	unsigned int i;

	tree.n = demo->nodes;
	tree.nodes = calloc(tree.n, sizeof(*tree.nodes));
	tree.out = malloc(3 * sizeof(*tree.out));
	tree.stack = malloc(tree.n * sizeof(*tree.stack));
	tree.keys = malloc(tree.n * sizeof(*tree.keys));
	tree.found = malloc(tree.n * sizeof(*tree.found));
	if (!tree.nodes || !tree.out || !tree.stack || !tree.keys || !tree.found)
		return false;
	for (i = 0; i < tree.n; i++) {
		node = calloc(1, sizeof(*node) + random_next(rnd) % 256);
		if (!node)
			return false;
		tree.nodes[i] = node;
		do {
			node->key = random_next(rnd) % (4ull * tree.n);
		} while (tree_lookup(node->key, &link));
		node->value = random_next(rnd) >> 1;	/* never NONE */
		*link = node;
	}
	tree.region->present = true;
	return true;
}

static bool tree_make(struct demo *demo, uint64_t *rnd)
{
	bool good;

	pthread_mutex_lock(&tree.region->lock);
	tree_free();
	good = tree_build(demo, rnd);
	if (!good)
		tree_free();
	pthread_mutex_unlock(&tree.region->lock);
	return good;
}

static void tree_drop(struct demo *demo)
{
	(void)demo;
	pthread_mutex_lock(&tree.region->lock);
	tree_free();
	pthread_mutex_unlock(&tree.region->lock);
}

static void tree_walk(const struct tree *node, uint64_t *sums)
{
	if (!node)
		return;
	tree_walk(node->left, sums);
	sums[0]++;
	sums[1] += node->value;
	sums[2] = sums[2] * 31 + node->value;
	tree_walk(node->right, sums);
}

static void tree_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	uint64_t expected[3] = { }, *want, args[4] = { };
	struct tree *node;
	unsigned int i;

	pthread_mutex_lock(&tree.region->lock);
	for (i = 0; i < tree.n / 16; i++)
		tree.nodes[random_next(rnd) % tree.n]->value = random_next(rnd) >> 1;
	pthread_mutex_unlock(&tree.region->lock);

	args[0] = (uintptr_t)tree.root;
	args[1] = (uintptr_t)tree.out;
	args[2] = (uintptr_t)tree.stack;
	if (!gpu_run(demo, tally, "tree", PROG_WALK, 1, args))
		return;
	tree_walk(tree.root, expected);
	if (differs(demo, tally, "tree", tree.out, expected, 3))
		return;

	for (i = 0; i < tree.n; i++)
		tree.keys[i] = random_next(rnd) % (4ull * tree.n);
	args[1] = (uintptr_t)tree.keys;
	args[2] = (uintptr_t)tree.found;
	args[3] = tree.n;
	if (!gpu_run(demo, tally, "tree", PROG_FIND, demo->threads, args))
		return;
	want = malloc(tree.n * sizeof(*want));
	if (!want)
		return;
	for (i = 0; i < tree.n; i++) {
		node = tree_lookup(tree.keys[i], NULL);
		want[i] = node ? node->value : NONE;
	}
	differs(demo, tally, "tree, lookup", tree.found, want, tree.n);
	free(want);
}

/* ---- vectors ---- */

enum { A, B, SUM };

/* A vector moves to the device's memory when the device uses it, and is there then. */
static void vector_hint(struct demo *demo, void *vector)
{
	const struct dgpu_hint hint = {
		.flags = HMM_HINT_AUTO, .prefer = HMM_PREFER_DEVICE, .device = DGPU_DEVICE_SELF,
	};
	int ret;

	if (!demo->local_bytes)
		return;
	ret = dgpu_set_hint(demo->dev, vector, vectors.n * sizeof(uint64_t), &hint);
	if (ret)
		fprintf(stderr, "dgpu-demo: hint: %s\n", strerror(-ret));
}

static void vectors_lock(void)
{
	unsigned int i;

	/* Nobody else holds two of them. */
	for (i = A; i <= SUM; i++)
		pthread_mutex_lock(&vectors.region[i]->lock);
}

static void vectors_unlock(void)
{
	unsigned int i;

	for (i = A; i <= SUM; i++)
		pthread_mutex_unlock(&vectors.region[i]->lock);
}

static void vectors_free(void)
{
	unsigned int i;

	for (i = A; i <= SUM; i++) {
		vectors.region[i]->present = false;
		free(vectors.vector[i]);
		vectors.vector[i] = NULL;
	}
}

static bool vectors_make(struct demo *demo, uint64_t *rnd)
{
	bool good = true;
	unsigned int i;
	size_t k;

	vectors_lock();
	vectors_free();
	vectors.n = demo->elements;
	for (i = A; i <= SUM && good; i++) {
		vectors.vector[i] = malloc(vectors.n * sizeof(uint64_t));
		good = vectors.vector[i];
		for (k = 0; good && i != SUM && k < vectors.n; k++)
			vectors.vector[i][k] = random_next(rnd);
	}
	for (i = A; i <= SUM && good; i++)
		vector_hint(demo, vectors.vector[i]);
	for (i = A; i <= SUM && good; i++)
		set_region(vectors.region[i], vectors.vector[i], vectors.n * sizeof(uint64_t));
	if (!good)
		vectors_free();
	vectors_unlock();
	return good;
}

static void vectors_drop(struct demo *demo)
{
	(void)demo;
	vectors_lock();
	vectors_free();
	vectors_unlock();
}

static void vectors_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	uint64_t **v = vectors.vector;
	uint64_t args[4] = { (uintptr_t)v[A], (uintptr_t)v[B], (uintptr_t)v[SUM], vectors.n };
	size_t i;

	pthread_mutex_lock(&vectors.region[A]->lock);
	for (i = random_next(rnd) % 64; i < vectors.n; i += 64)
		v[A][i] = random_next(rnd);
	pthread_mutex_unlock(&vectors.region[A]->lock);
	if (!gpu_run(demo, tally, "vectors", PROG_VADD, demo->threads, args))
		return;
	for (i = 0; i < vectors.n; i++) {
		uint64_t sum = v[A][i] + v[B][i];

		if (differs(demo, tally, "vectors", &v[SUM][i], &sum, 1))
			return;
	}
}

/* ---- histogram of a file ---- */

static void histogram_free(void)
{
	histogram.in->present = false;
	histogram.out->present = false;
	free(histogram.data);
	free(histogram.bins);
	histogram.data = NULL;
	histogram.bins = NULL;
}

/* Read the file, or as much of it as is wanted. */
static bool histogram_read(struct demo *demo)
{
	FILE *f = fopen(demo->path, "re");

	if (!f) {
		fprintf(stderr, "dgpu-demo: %s: %s\n", demo->path, strerror(errno));
		return false;
	}
	histogram.n = fread(histogram.data, 1, demo->file_limit, f);
	fclose(f);
	if (histogram.n < MIN_FILE)
		fprintf(stderr, "dgpu-demo: %s: less than %d bytes\n", demo->path, MIN_FILE);
	return histogram.n >= MIN_FILE;
}

static bool histogram_make(struct demo *demo, uint64_t *rnd)
{
	bool good;
	size_t i;

	(void)rnd;
	pthread_mutex_lock(&histogram.in->lock);
	pthread_mutex_lock(&histogram.out->lock);
	histogram_free();
	histogram.data = malloc(demo->file_limit);
	histogram.bins = malloc(256 * sizeof(*histogram.bins));
	good = histogram.data && histogram.bins && histogram_read(demo);
	if (good) {
		memset(histogram.expected, 0, sizeof(histogram.expected));
		for (i = 0; i < histogram.n; i++)
			histogram.expected[histogram.data[i]]++;
		set_region(histogram.in, histogram.data, histogram.n);
		set_region(histogram.out, histogram.bins, 256 * sizeof(*histogram.bins));
	} else {
		histogram_free();
	}
	pthread_mutex_unlock(&histogram.out->lock);
	pthread_mutex_unlock(&histogram.in->lock);
	return good;
}

static void histogram_drop(struct demo *demo)
{
	(void)demo;
	pthread_mutex_lock(&histogram.in->lock);
	pthread_mutex_lock(&histogram.out->lock);
	histogram_free();
	pthread_mutex_unlock(&histogram.out->lock);
	pthread_mutex_unlock(&histogram.in->lock);
}

static void histogram_once(struct demo *demo, struct tally *tally, uint64_t *rnd)
{
	uint64_t args[4] = { (uintptr_t)histogram.data, (uintptr_t)histogram.bins, histogram.n };

	(void)rnd;
	pthread_mutex_lock(&histogram.out->lock);
	memset(histogram.bins, 0, 256 * sizeof(*histogram.bins));
	pthread_mutex_unlock(&histogram.out->lock);
	if (!gpu_run(demo, tally, "histogram", PROG_HISTOGRAM, demo->threads, args))
		return;
	differs(demo, tally, "histogram", histogram.bins, histogram.expected, 256);
}

const struct job jobs[NJOBS] = {
	{ "list", "count, sum, hash", list_make, list_once, list_drop },
	{ "tree", "walk, look up keys", tree_make, tree_once, tree_drop },
	{ "vectors", "add, in device memory", vectors_make, vectors_once, vectors_drop },
	{ "histogram", "count each value", histogram_make, histogram_once, histogram_drop },
};

/**
 * jobs_init() - register the jobs' memory
 * @demo: the demo
 */
void jobs_init(struct demo *demo)
{
	list.region = add_region(demo, "list", false);
	list.region->pick = list_pick;
	tree.region = add_region(demo, "tree", false);
	tree.region->pick = tree_pick;
	vectors.region[A] = add_region(demo, "vector a", true);
	vectors.region[B] = add_region(demo, "vector b", true);
	vectors.region[SUM] = add_region(demo, "vector sum", false);
	histogram.in = add_region(demo, "file", true);
	histogram.out = add_region(demo, "bins", false);
}

/**
 * jobs_size() - how much a job works on
 * @demo: the demo
 * @job: index in jobs[]
 * @buf: where the text goes
 * @size: size of @buf
 *
 * Return: @buf.
 */
const char *jobs_size(const struct demo *demo, unsigned int job, char *buf, size_t size)
{
	if (jobs[job].once == list_once || jobs[job].once == tree_once)
		snprintf(buf, size, "%u nodes", demo->nodes);
	else if (jobs[job].once == vectors_once)
		snprintf(buf, size, "%u elements", demo->elements);
	else
		snprintf(buf, size, "%zu bytes", histogram.n);
	return buf;
}

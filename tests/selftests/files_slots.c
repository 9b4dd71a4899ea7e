// SPDX-License-Identifier: GPL-2.0
/*
 * Several writers of the same pages of a file, none of which knows of the others: mappings,
 * system calls, the device.  Each has a slot of its own in each page, writes to it, and
 * finds there what it has written, while the page goes from one to the other all the time.
 *
 * Threads use EXPECT_* only.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/uio.h>
#include "files_run.h"

#define PAGES	12u
#define SLOT	512u			/* bytes of each page for each writer */
#define WORDS	(SLOT / 8)
#define ROUNDS	60u

/* The k-th word of the n-th write of a writer to its slot in a page is VALUE() + k. */
#define VALUE(writer, page, n)	((uint64_t)(writer) << 56 | (uint64_t)(page) << 40 | (n) << 8)

enum writer_kind {
	WRITER_MAP,
	WRITER_SYSCALL,
	WRITER_DEVICE,
	WRITER_DEVICE_ATOMIC,	/* each word by an atomic operation of the device */
	WRITER_REMOTE,		/* process_vm_writev() */
	WRITER_ZERO,		/* every other time by fallocate() */
	WRITERS
};

FIXTURE(slots) {
	struct gpu gpu;
	struct files_fs fs;
	struct files_run run;
};

FIXTURE_VARIANT(slots) {
	unsigned int block;
	const char *options;
};

FIXTURE_VARIANT_ADD(slots, delalloc_4k) { 4096, "delalloc" };
FIXTURE_VARIANT_ADD(slots, nodelalloc_4k) { 4096, "nodelalloc" };
FIXTURE_VARIANT_ADD(slots, delalloc_1k) { 1024, "delalloc" };
FIXTURE_VARIANT_ADD(slots, nodelalloc_1k) { 1024, "nodelalloc" };

FIXTURE_SETUP(slots)
{
	struct files_run *run = &self->run;

	run->fd = run->direct = -1;
	gpu_setup(&self->gpu);
	files_mount(&self->fs, variant->block, variant->options);
	dgpu_set_policy(self->gpu.dev, HMM_POLICY_TOUCH);
	run->gpu = &self->gpu;
	run->fs = &self->fs;
	run->config.max = PAGES * PAGE_SIZE;
	run->config.seed = 1;
	snprintf(run->path, sizeof(run->path), "%s/file", self->fs.dir);
	pthread_rwlock_init(&run->lock, NULL);
	ASSERT_TRUE(files_open(run));
	ASSERT_SYS(ftruncate(run->fd, PAGES * PAGE_SIZE));
}

FIXTURE_TEARDOWN(slots)
{
	files_close(&self->run);
	gpu_teardown(&self->gpu);
	files_end(&self->fs);
}

struct writer {
	struct files_run *run;
	struct gpu gpu;			/* the same device, with a result of its own */
	enum writer_kind kind;
	unsigned int number;
	uint64_t rnd;
	uint64_t values[PAGES];		/* 0: the slot is zero */
	bool failed;
	pthread_t thread;
};

static size_t slot_at(const struct writer *w, unsigned int page)
{
	return page * PAGE_SIZE + w->number * SLOT;
}

static void slot_words(uint64_t value, uint64_t *words)
{
	for (unsigned int k = 0; k < WORDS; k++)
		words[k] = value ? value + k : 0;
}

static bool writer_fail(struct writer *w, const char *what, unsigned int page)
{
	if (!w->failed)
		test_log("writer %u, page %u: %s: %s", w->number, page, what, strerror(errno));
	w->failed = true;
	harness_fail();
	return false;
}

static bool slot_write(struct writer *w, unsigned int page, uint64_t value)
{
	const size_t at = slot_at(w, page);
	uint8_t *slot = w->run->mem + at;
	uint64_t words[WORDS];
	const struct iovec here = { words, SLOT }, there = { slot, SLOT };

	slot_words(value, words);
	switch (w->kind) {
	case WRITER_MAP:
		memcpy(slot, words, SLOT);
		return true;
	case WRITER_SYSCALL:
		return pwrite(w->run->fd, words, SLOT, (off_t)at) == SLOT ||
		       writer_fail(w, "pwrite", page);
	case WRITER_REMOTE:
		return process_vm_writev(getpid(), &here, 1, &there, 1, 0) == SLOT ||
		       writer_fail(w, "process_vm_writev", page);
	case WRITER_ZERO:
		if (value)
			return pwrite(w->run->fd, words, SLOT, (off_t)at) == SLOT ||
			       writer_fail(w, "pwrite", page);
		return !fallocate(w->run->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  (off_t)at, SLOT) || writer_fail(w, "fallocate", page);
	case WRITER_DEVICE_ATOMIC:
		if (gpu_run(&w->gpu, GPU_FILL, 1, (uintptr_t)slot, WORDS, 8, value - 1) ||
		    /* Word by word to what it is to be: a second, different way to write. */
		    gpu_run(&w->gpu, GPU_INCR, 1, (uintptr_t)slot, 1, 0, 0))
			return writer_fail(w, "the device", page);
		return !gpu_run(&w->gpu, GPU_FILL, 2, (uintptr_t)slot + 8, WORDS - 1, 8,
				value + 1) || writer_fail(w, "the device", page);
	default:
		return !gpu_run(&w->gpu, GPU_FILL, 2, (uintptr_t)slot, WORDS, 8, value) ||
		       writer_fail(w, "the device", page);
	}
}

static bool slot_read(struct writer *w, unsigned int page, unsigned int how, uint64_t *words)
{
	const size_t at = slot_at(w, page);
	uint8_t *slot = w->run->mem + at;
	const struct iovec here = { words, SLOT }, there = { slot, SLOT };

	switch (how) {
	case 0:
		return pread(w->run->fd, words, SLOT, (off_t)at) == SLOT;
	case 1:
		return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == SLOT;
	default:
		memcpy(words, slot, SLOT);
		return true;
	}
}

/* What is in a slot is not what it should be. */
static bool slot_is_wrong(struct writer *w, unsigned int page, const char *how,
			  const uint64_t *words, const uint64_t *want)
{
	unsigned int k = 0;

	while (k < WORDS - 1 && words[k] == want[k])
		k++;
	test_log("writer %u, page %u, by %s: word %u is %#jx, expected %#jx", w->number, page,
		 how, k, (uintmax_t)words[k], (uintmax_t)want[k]);
	w->failed = true;
	harness_fail();
	return false;
}

static bool slot_check_device(struct writer *w, unsigned int page)
{
	uint64_t words[WORDS], want[WORDS];
	char text[200];

	if (!gpu_run(&w->gpu, GPU_CHECK, 1, (uintptr_t)w->run->mem + slot_at(w, page), WORDS, 8,
		     w->values[page]))
		return true;
	dgpu_result_text(&w->gpu.result, text, sizeof(text));
	test_log("the device: %s; the CPU:", text);
	slot_words(w->values[page], want);
	slot_read(w, page, 2, words);
	return slot_is_wrong(w, page, "device", words, want);
}

static bool slot_check(struct writer *w, unsigned int page, unsigned int how)
{
	static const char *const names[] = { "read", "process_vm_readv", "mapping", "mapping" };
	uint64_t words[WORDS], want[WORDS];

	/* There is no program that looks for zeroes. */
	if (how == 3 && w->values[page])
		return slot_check_device(w, page);
	if (!slot_read(w, page, how, words))
		return writer_fail(w, names[how], page);
	slot_words(w->values[page], want);
	return !memcmp(words, want, SLOT) || slot_is_wrong(w, page, names[how], words, want);
}

static void *writer_loop(void *arg)
{
	struct writer *w = arg;
	const unsigned long rounds = sys_scale(ROUNDS);

	for (unsigned long n = 1; n <= rounds; n++) {
		const unsigned int page = files_random(&w->rnd) % PAGES;
		const bool zero = w->kind == WRITER_ZERO && n % 2;

		if (!slot_write(w, page, zero ? 0 : VALUE(w->number + 1, page, n)))
			break;
		w->values[page] = zero ? 0 : VALUE(w->number + 1, page, n);
		if (!slot_check(w, page, files_random(&w->rnd) % 4) ||
		    !slot_check(w, files_random(&w->rnd) % PAGES, files_random(&w->rnd) % 4))
			break;
	}
	return NULL;
}

static void slots_run(struct files_run *run, unsigned int chaos)
{
	const uint64_t owned = gpu_rmem(run->gpu, HMM_RMEM_FILE_OWNED);
	struct writer writers[WRITERS] = { 0 };

	run->config.chaos = chaos;
	for (unsigned int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer) {
			.run = run, .gpu = *run->gpu, .kind = (enum writer_kind)i, .number = i,
			.rnd = 77 + i,
		};
	}
	files_chaos_start(run);
	for (unsigned int i = 0; i < WRITERS; i++)
		ASSERT_EQ(0, pthread_create(&writers[i].thread, NULL, writer_loop, &writers[i]));
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	files_chaos_stop(run);
	if (run->fs->taught)
		EXPECT_GT(gpu_rmem(run->gpu, HMM_RMEM_FILE_OWNED), owned);
	files_close(run);
	files_remount(run->fs);
	ASSERT_TRUE(files_open(run));
	for (unsigned int i = 0; i < WRITERS; i++)
		for (unsigned int page = 0; page < PAGES && !writers[i].failed; page++)
			slot_check(&writers[i], page, page % 4);
}

TEST_F(slots, alone)
{
	slots_run(&self->run, 0);
}

/* With what moves pages, and what writes them to disk and throws them away. */
TEST_F(slots, disturbed)
{
	slots_run(&self->run, FILES_CHAOS_ALL & ~(1u << FILES_CHAOS_RECLAIM));
}

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

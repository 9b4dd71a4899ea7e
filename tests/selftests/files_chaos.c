// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to a file and its pages while files_run() works on it: one thread for each
 * kind of trouble.  None of it changes what the file contains.
 *
 * Threads here use no ASSERT_*, and leave errors alone: that memory cannot be compacted or a
 * page cannot move now is no failure.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include "files_run.h"

#define CHAOS_PAGES	32u	/* that move at once, at most */

/* Some pages of the mapping, also behind the end of the file. */
static void *chaos_pages(struct files_run *run, uint64_t *rnd, size_t *length)
{
	const size_t npages = run->config.max / PAGE_SIZE;
	const size_t first = files_random(rnd) % npages;
	size_t n = 1 + files_random(rnd) % CHAOS_PAGES;

	if (n > npages - first)
		n = npages - first;
	*length = n * PAGE_SIZE;
	return run->mem + first * PAGE_SIZE;
}

static void chaos_move(struct files_run *run, uint64_t *rnd, uint32_t flags)
{
	size_t length;
	void *start = chaos_pages(run, rnd, &length);
	uint64_t moved = 0;

	dgpu_migrate(files_gpu(run, rnd)->dev, start, length, flags, NULL, &moved);
	__atomic_fetch_add(flags & DGPU_MIGRATE_TO_SYSTEM ? &run->moved_out : &run->moved_in,
			   moved, __ATOMIC_RELAXED);
}

/* read(2), and pages that are in a pipe for a moment: somebody has references. */
static void chaos_read(struct files_run *run, uint64_t *rnd, int pipe[2])
{
	loff_t at = (loff_t)(files_random(rnd) % run->config.max);
	char buffer[8192];
	ssize_t n;

	n = pread(run->fd, buffer, sizeof(buffer), at);
	if (pipe[0] < 0 || n <= 0)
		return;
	n = splice(run->fd, &at, pipe[1], NULL, sizeof(buffer), SPLICE_F_NONBLOCK);
	if (n <= 0)
		return;
	usleep(files_random(rnd) % 3000);
	n = read(pipe[0], buffer, (size_t)n);
	(void)n;
}

/* A child has page table entries of its own, and takes them down when it ends. */
static void chaos_fork(struct files_run *run, uint64_t *rnd)
{
	int fd = run->fd;
	pid_t pid = fork();

	if (!pid) {
		char byte[16];
		const struct iovec to = { byte, sizeof(byte) };

		for (int i = 0; i < 16; i++) {
			const struct iovec from = {
				run->mem + files_random(rnd) % (run->config.max - 16), 16
			};

			/* No SIGBUS behind the end of the file this way. */
			process_vm_readv(getpid(), &to, 1, &from, 1, 0);
		}
		close(fd);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

struct chaos_thread {
	struct files_run *run;
	enum files_chaos kind;
};

static void chaos_once(struct files_run *run, enum files_chaos kind, uint64_t *rnd, int pipe[2])
{
	char path[200];

	switch (kind) {
	case FILES_CHAOS_IN:
		chaos_move(run, rnd, 0);
		break;
	case FILES_CHAOS_OUT:
		chaos_move(run, rnd, DGPU_MIGRATE_TO_SYSTEM);
		break;
	case FILES_CHAOS_FSYNC:
		if (files_random(rnd) & 1)
			fsync(run->fd);
		else
			sync_file_range(run->fd, (off_t)(files_random(rnd) % run->config.max),
					65536, SYNC_FILE_RANGE_WRITE);
		break;
	case FILES_CHAOS_SYNC:
		sync();
		break;
	case FILES_CHAOS_COMPACT:
		sys_try_write("/proc/sys/vm/compact_memory", "1");
		break;
	case FILES_CHAOS_RECLAIM:
		snprintf(path, sizeof(path), "%s/memory.reclaim", run->cg.path);
		sys_try_write(path, "1M");
		break;
	case FILES_CHAOS_DROP:
		sys_try_write("/proc/sys/vm/drop_caches", "1");
		break;
	case FILES_CHAOS_EVACUATE:
		dgpu_evacuate(files_gpu(run, rnd)->dev, NULL);
		break;
	case FILES_CHAOS_READ:
		chaos_read(run, rnd, pipe);
		break;
	case FILES_CHAOS_FORK:
		chaos_fork(run, rnd);
		break;
	case FILES_CHAOS_NR:
		break;
	}
}

/*
 * How long to rest, in milliseconds, on average: what stops everything else is rare, and what
 * is often leaves most of the time to the operations, of which one takes some milliseconds.
 */
static const unsigned int rests[FILES_CHAOS_NR] = {
	[FILES_CHAOS_IN] = 8, [FILES_CHAOS_OUT] = 16, [FILES_CHAOS_FSYNC] = 40,
	[FILES_CHAOS_SYNC] = 200, [FILES_CHAOS_COMPACT] = 2000, [FILES_CHAOS_RECLAIM] = 200,
	[FILES_CHAOS_DROP] = 500, [FILES_CHAOS_EVACUATE] = 400, [FILES_CHAOS_READ] = 8,
	[FILES_CHAOS_FORK] = 100,
};

static void *chaos_loop(void *arg)
{
	struct chaos_thread thread = *(struct chaos_thread *)arg;
	struct files_run *run = thread.run;
	uint64_t rnd = run->config.seed * 1000003ull + thread.kind + 1;
	int pipe[2] = { -1, -1 };

	free(arg);
	if (thread.kind == FILES_CHAOS_READ && pipe2(pipe, O_CLOEXEC))
		pipe[0] = pipe[1] = -1;
	while (!__atomic_load_n(&run->stop, __ATOMIC_ACQUIRE)) {
		pthread_rwlock_rdlock(&run->lock);
		chaos_once(run, thread.kind, &rnd, pipe);
		pthread_rwlock_unlock(&run->lock);
		usleep(1 + files_random(&rnd) % (rests[thread.kind] * 2000));
	}
	if (pipe[0] >= 0) {
		close(pipe[0]);
		close(pipe[1]);
	}
	return NULL;
}

void files_chaos_start(struct files_run *run)
{
	for (unsigned int i = 0; i < FILES_CHAOS_NR; i++) {
		struct chaos_thread *thread;

		if (!(run->config.chaos & 1u << i))
			continue;
		thread = malloc(sizeof(*thread));
		ASSERT_NE(thread, NULL);
		*thread = (struct chaos_thread) { run, i };
		ASSERT_EQ(0, pthread_create(&run->threads[i], NULL, chaos_loop, thread));
	}
}

void files_chaos_stop(struct files_run *run)
{
	__atomic_store_n(&run->stop, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < FILES_CHAOS_NR; i++)
		if (run->threads[i])
			pthread_join(run->threads[i], NULL);
	memset(run->threads, 0, sizeof(run->threads));
	__atomic_store_n(&run->stop, false, __ATOMIC_RELEASE);
}

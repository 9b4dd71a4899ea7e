// SPDX-License-Identifier: GPL-2.0
/*
 * Jobs: submit, wait, collect.
 *
 * The device keeps the result of a finished job until it is collected, and limits
 * how many it keeps.  A job is collected once, by the first thread that waited for it
 * with success; its copy of the result serves every later call.  A job that is freed
 * before it has finished becomes an orphan: its number is kept by the device object,
 * and orphans are collected when there are many of them or when the device has no
 * room for another job.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "private.h"

/* A fence has signalled: its result is there, or almost. */
#define COLLECT_NS	(10ull * 1000 * 1000 * 1000)
#define FEW_ORPHANS	64

/**
 * struct dgpu_job - a submitted job
 * @dev: device
 * @number: its number there
 * @fence: sync_file
 * @lock: protects the fields below
 * @collected: @result is valid
 * @result: the result
 */
struct dgpu_job {
	struct dgpu_dev *dev;
	uint64_t number;
	int fence;
	pthread_mutex_t lock;
	bool collected;
	struct dgpu_result result;
};

static int collect(struct dgpu_dev *dev, uint64_t number, uint64_t timeout_ns,
		   struct dgpu_result *result)
{
	int ret;

	do {
		*result = (struct dgpu_result){ .job = number, .timeout_ns = timeout_ns };
		ret = dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_RESULT, result);
	} while (ret == -EINTR);
	return ret;
}

/* Collect what orphans have finished; dev->lock is held. */
static void sweep_orphans(struct dgpu_dev *dev)
{
	struct dgpu_result result;
	size_t i, kept = 0;

	for (i = 0; i < dev->norphans; i++)
		if (collect(dev, dev->orphans[i], 0, &result) == -ETIME)
			dev->orphans[kept++] = dev->orphans[i];
	dev->norphans = kept;
}

static void add_orphan(struct dgpu_dev *dev, uint64_t number)
{
	pthread_mutex_lock(&dev->lock);
	if (dev->norphans == dev->room) {
		if (dev->norphans >= FEW_ORPHANS)
			sweep_orphans(dev);
		if (dev->norphans == dev->room) {
			size_t room = dev->room ? dev->room * 2 : FEW_ORPHANS;
			uint64_t *grown = reallocarray(dev->orphans, room, sizeof(*grown));

			/* Without memory it is forgotten, and costs one slot of the device. */
			if (!grown)
				goto out;
			dev->orphans = grown;
			dev->room = room;
		}
	}
	dev->orphans[dev->norphans++] = number;
out:
	pthread_mutex_unlock(&dev->lock);
}

/* The device has no room: make some. */
static bool reclaim_orphans(struct dgpu_dev *dev)
{
	size_t before, after;

	pthread_mutex_lock(&dev->lock);
	before = dev->norphans;
	sweep_orphans(dev);
	after = dev->norphans;
	pthread_mutex_unlock(&dev->lock);
	return after < before;
}

/**
 * dgpu_submit() - start a program on the device
 * @dev: device
 * @run: what to run; not used any more when this returns
 * @job: where the job goes, for the caller to dgpu_job_free(); NULL on failure
 *
 * Return: 0; -EINVAL (an engine or timeout that does not exist), -E2BIG too many
 * instructions or threads, -EAGAIN too many jobs in flight or not collected, -EPERM
 * the device was opened by another process, -EMFILE, -ENODEV, -ENOMEM.
 */
int dgpu_submit(struct dgpu_dev *dev, const struct dgpu_run *run, struct dgpu_job **job)
{
	struct dgpu_submit submit;
	struct dgpu_job *new;
	int ret;

	*job = NULL;
	new = calloc(1, sizeof(*new));
	if (!new)
		return -ENOMEM;
	do {
		submit = (struct dgpu_submit){
			.code = (uintptr_t)run->prog->insns,
			.ninsns = run->prog->ninsns,
			.nthreads = run->nthreads ? run->nthreads : 1,
			.engine = run->engine,
			.timeout_ms = run->timeout_ms,
		};
		memcpy(submit.args, run->args, sizeof(submit.args));
		ret = dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_SUBMIT, &submit);
	} while (ret == -EINTR || (ret == -EAGAIN && reclaim_orphans(dev)));
	if (ret < 0) {
		free(new);
		return ret;
	}
	new->dev = dev;
	new->number = submit.job;
	new->fence = submit.fence_fd;
	pthread_mutex_init(&new->lock, NULL);
	*job = new;
	return 0;
}

/**
 * dgpu_job_fence() - the fence of a job
 * @job: job
 *
 * Return: file descriptor of a sync_file; poll() says POLLIN when the job is done.
 * The job owns it.
 */
int dgpu_job_fence(const struct dgpu_job *job)
{
	return job->fence;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Wait for the fence; signals do not shorten the wait. */
static int wait_fence(int fence, int timeout_ms)
{
	int64_t deadline = now_ms() + timeout_ms, left = timeout_ms;
	int ret;

	for (;;) {
		ret = dgpu_sys_poll(fence, timeout_ms < 0 ? -1 : (int)left);
		if (ret > 0)
			return 0;
		if (!ret)
			return -ETIME;
		if (ret != -EINTR)
			return ret;
		left = deadline - now_ms();
		if (left < 0)
			left = 0;
	}
}

/**
 * dgpu_job_wait() - wait until a job is done
 * @job: job
 * @timeout_ms: how long; 0: only look; negative: for ever
 * @result: where its result goes, or NULL
 *
 * May be called again, and by several threads.
 *
 * Return: 0 when the job is done, well or not: that is in @result; -ETIME when it is
 * not; or another negative errno.
 */
int dgpu_job_wait(struct dgpu_job *job, int timeout_ms, struct dgpu_result *result)
{
	int ret;

	ret = wait_fence(job->fence, timeout_ms);
	if (ret)
		return ret;
	pthread_mutex_lock(&job->lock);
	if (!job->collected) {
		ret = collect(job->dev, job->number, COLLECT_NS, &job->result);
		job->collected = !ret;
	}
	if (!ret && result)
		*result = job->result;
	pthread_mutex_unlock(&job->lock);
	return ret;
}

/**
 * dgpu_job_free() - forget a job
 * @job: job, or NULL
 *
 * Does not wait: the job runs on if it is not done.  Its memory must stay in place
 * until it is.
 */
void dgpu_job_free(struct dgpu_job *job)
{
	struct dgpu_result result;

	if (!job)
		return;
	if (!job->collected && collect(job->dev, job->number, 0, &result) == -ETIME)
		add_orphan(job->dev, job->number);
	dgpu_sys_close(job->fence);
	pthread_mutex_destroy(&job->lock);
	free(job);
}

/**
 * dgpu_run() - run a program and wait for it
 * @dev: device
 * @run: what to run
 * @result: where its result goes, or NULL
 *
 * Return: 0 when the program ran to its end, -EIO when it did not: that is in
 * @result; or what dgpu_submit() and dgpu_job_wait() return.
 */
int dgpu_run(struct dgpu_dev *dev, const struct dgpu_run *run,
	     struct dgpu_result *result)
{
	struct dgpu_result local;
	struct dgpu_job *job;
	int ret;

	if (!result)
		result = &local;
	*result = (struct dgpu_result){ };
	ret = dgpu_submit(dev, run, &job);
	if (ret)
		return ret;
	ret = dgpu_job_wait(job, -1, result);
	dgpu_job_free(job);
	if (ret)
		return ret;
	return result->status == DGPU_OK ? 0 : -EIO;
}

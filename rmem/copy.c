// SPDX-License-Identifier: GPL-2.0
/*
 * Copies between system memory and the device's, in batches.
 *
 * Owns the fences while they are waited for, and nothing else.  A batch that fails is
 * tried again, in smaller batches each time and page by page in the end, so that a page
 * which cannot be read does not take its neighbours along.
 *
 * The principle: when a function here returns, the device touches none of the pages any
 * more, whatever happened.  Hence nobody waits for less than all fences, and no wait
 * ends early: that fences signal in bounded time is the driver's promise.
 *
 * Locks: hmm_rmem.device_lock for reading over all of it.  The caller holds page locks
 * and maybe mmap_lock for reading.
 */
#include <kunit/visibility.h>
#include <linux/dma-fence.h>
#include <linux/fault-inject.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include "rmem_private.h"

/* Batches that are under way at the same time, at most: 32 MiB. */
#define HMM_RMEM_FLIGHTS	16

/* A page that could not be copied is tried so many times more. */
#define HMM_RMEM_RETRIES	3

DECLARE_FAULT_ATTR(hmm_rmem_fail_copy);
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_fail_copy);

typedef struct dma_fence *(*hmm_rmem_op)(struct hmm_device *device,
					 const struct hmm_rmem_copy *copies,
					 unsigned int nr);

/**
 * enum hmm_rmem_kind - which operation of the device
 * @HMM_RMEM_COPY_IN: copy_to_device
 * @HMM_RMEM_COPY_OUT: copy_to_system
 * @HMM_RMEM_CLEAR: clear
 */
enum hmm_rmem_kind {
	HMM_RMEM_COPY_IN,
	HMM_RMEM_COPY_OUT,
	HMM_RMEM_CLEAR,
};

/**
 * struct hmm_rmem_flight - a batch that is under way
 * @fence: its end
 * @first: its first page
 * @nr: number of pages
 */
struct hmm_rmem_flight {
	struct dma_fence *fence;
	unsigned int first;
	unsigned int nr;
};

/**
 * struct hmm_rmem_job - copies that somebody waits for
 * @rmem: pool
 * @op: what to do
 * @copies: the pages
 * @nr: how many
 * @errors: of each; -EIO: not done yet
 * @flights: what is under way
 * @nr_flights: how much that is
 */
struct hmm_rmem_job {
	struct hmm_rmem *rmem;
	hmm_rmem_op op;
	const struct hmm_rmem_copy *copies;
	unsigned int nr;
	int *errors;
	struct hmm_rmem_flight flights[HMM_RMEM_FLIGHTS];
	unsigned int nr_flights;
};

static void hmm_rmem_set_errors(struct hmm_rmem_job *job, unsigned int first,
				unsigned int nr, int error)
{
	unsigned int i;

	for (i = first; i < first + nr; i++)
		job->errors[i] = error;
}

/* A batch has been tried, and this is how it ended. */
static void hmm_rmem_end(struct hmm_rmem_job *job, unsigned int first, unsigned int nr,
			 int error)
{
	if (error < 0) {
		hmm_rmem_count(job->rmem, HMM_RMEM_COPY_ERRORS, nr);
		if (error == -ENODEV)
			hmm_rmem_set_lost(job->rmem);
		else if (error != -ENOMEM)
			error = -EIO;
	}
	hmm_rmem_set_errors(job, first, nr, error);
}

/* Wait for all that is under way. */
static void hmm_rmem_land(struct hmm_rmem_job *job)
{
	struct hmm_rmem_flight *flight;
	int status;

	for (flight = job->flights; flight < job->flights + job->nr_flights; flight++) {
		dma_fence_wait(flight->fence, false);
		status = dma_fence_get_status(flight->fence);
		dma_fence_put(flight->fence);
		hmm_rmem_end(job, flight->first, flight->nr, min(status, 0));
	}
	job->nr_flights = 0;
}

static void hmm_rmem_start(struct hmm_rmem_job *job, unsigned int first, unsigned int nr)
{
	struct hmm_rmem *rmem = job->rmem;
	struct dma_fence *fence;

	if (READ_ONCE(rmem->lost)) {
		hmm_rmem_set_errors(job, first, nr, -ENODEV);
		return;
	}
	if (should_fail(&hmm_rmem_fail_copy, nr))
		fence = ERR_PTR(-EIO);
	else
		fence = job->op(rmem->device, job->copies + first, nr);
	if (IS_ERR(fence)) {
		hmm_rmem_end(job, first, nr, PTR_ERR(fence));
		return;
	}
	job->flights[job->nr_flights++] = (struct hmm_rmem_flight) {
		.fence = fence,
		.first = first,
		.nr = nr,
	};
	if (job->nr_flights == HMM_RMEM_FLIGHTS)
		hmm_rmem_land(job);
}

/* Try all that is not done, in batches of up to @size.  False: there was nothing. */
static bool hmm_rmem_round(struct hmm_rmem_job *job, unsigned int size)
{
	unsigned int first = 0, nr;
	bool any = false;

	while (first < job->nr) {
		for (nr = 0; nr < size && first + nr < job->nr; nr++)
			if (job->errors[first + nr] != -EIO)
				break;
		if (nr) {
			hmm_rmem_start(job, first, nr);
			any = true;
		}
		first += max(nr, 1u);
	}
	hmm_rmem_land(job);
	return any;
}

/*
 * The table of operations is the driver's, too.  Without the device there may be no driver
 * any more, and nothing where the table was.
 */
static hmm_rmem_op hmm_rmem_find_op(const struct hmm_rmem *rmem, enum hmm_rmem_kind kind)
{
	lockdep_assert_held_read(&rmem->device_lock);
	if (!rmem->device)
		return NULL;
	switch (kind) {
	case HMM_RMEM_COPY_IN:
		return rmem->ops->copy_to_device;
	case HMM_RMEM_COPY_OUT:
		return rmem->ops->copy_to_system;
	default:
		return rmem->ops->clear;
	}
}

/*
 * What the driver allocates must not wait for a file system, whoever calls: for a file system
 * may be waiting for a copy.
 *
 *	move in				device goes		commit of a journal
 *	device_lock, for reading
 *					device_lock, for
 *					 writing: waits
 *								device_lock, for
 *								 reading: waits
 *	allocates: must not wait
 *	 for the commit
 */
static unsigned int hmm_rmem_run(struct hmm_rmem *rmem, enum hmm_rmem_kind kind,
				 const struct hmm_rmem_copy *copies, unsigned int nr,
				 int *errors, unsigned long patience)
{
	struct hmm_rmem_job job = {
		.rmem = rmem,
		.copies = copies,
		.nr = nr,
		.errors = errors,
	};
	unsigned int tries, i, done = 0, size = HMM_RMEM_BATCH;
	unsigned int nofs = memalloc_nofs_save();
	unsigned long end = jiffies + patience;

	down_read(&rmem->device_lock);
	job.op = hmm_rmem_find_op(rmem, kind);
	for (i = 0; i < nr; i++)
		errors[i] = job.op ? -EIO : -ENODEV;
	for (tries = 0; tries <= HMM_RMEM_RETRIES && hmm_rmem_round(&job, size); tries++) {
		if (time_after_eq(jiffies, end))
			break;
		size = max(size / 8, 1u);
	}
	up_read(&rmem->device_lock);
	memalloc_nofs_restore(nofs);

	for (i = 0; i < nr; i++)
		done += !errors[i];
	if (done && kind == HMM_RMEM_COPY_OUT)
		hmm_rmem_renew_patience(rmem);
	return done;
}

/**
 * hmm_rmem_copy_in - copy pages to the device, and wait
 * @rmem: pool, which may have lost its device
 * @copies: from where to where
 * @nr: how many pages, any number
 * @errors: for each 0, -EIO after several tries, -ENOMEM, or -ENODEV: the device is lost
 *	or has gone.  Sources are intact in any case.
 *
 * Context: Process context, may sleep, takes device_lock; page locks are held.  Bounded
 * by the driver.
 * Return: how many were copied.
 */
unsigned int hmm_rmem_copy_in(struct hmm_rmem *rmem, const struct hmm_rmem_copy *copies,
			      unsigned int nr, int *errors)
{
	return hmm_rmem_run(rmem, HMM_RMEM_COPY_IN, copies, nr, errors, MAX_JIFFY_OFFSET);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_copy_in);

/**
 * hmm_rmem_copy_out - copy pages from the device, and wait
 * @rmem: as hmm_rmem_copy_in()
 * @copies: as hmm_rmem_copy_in()
 * @nr: as hmm_rmem_copy_in()
 * @errors: as hmm_rmem_copy_in(), but for -ENODEV: then the pages are lost
 *
 * Context: as hmm_rmem_copy_in().
 * Return: how many were copied.
 */
unsigned int hmm_rmem_copy_out(struct hmm_rmem *rmem, const struct hmm_rmem_copy *copies,
			       unsigned int nr, int *errors)
{
	return hmm_rmem_run(rmem, HMM_RMEM_COPY_OUT, copies, nr, errors, MAX_JIFFY_OFFSET);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_copy_out);

/**
 * hmm_rmem_copy_page_out - copy a page from the device, and wait, but not for long
 * @rmem: as hmm_rmem_copy_in()
 * @copy: from where to where
 * @patience: jiffies after which it is not tried again.  What has begun ends, as ever: of an
 *	engine that hangs, when the driver finds out.
 *
 * Context: as hmm_rmem_copy_in().
 * Return: as an error of hmm_rmem_copy_out().
 */
int hmm_rmem_copy_page_out(struct hmm_rmem *rmem, const struct hmm_rmem_copy *copy,
			   unsigned long patience)
{
	int error;

	hmm_rmem_run(rmem, HMM_RMEM_COPY_OUT, copy, 1, &error, patience);
	return error;
}

/**
 * hmm_rmem_clear - fill pages of the device with zeroes, and wait
 * @rmem: as hmm_rmem_copy_in()
 * @copies: which; there is no system page
 * @nr: as hmm_rmem_copy_in()
 * @errors: as hmm_rmem_copy_in()
 *
 * Context: as hmm_rmem_copy_in().
 * Return: how many were cleared.
 */
unsigned int hmm_rmem_clear(struct hmm_rmem *rmem, const struct hmm_rmem_copy *copies,
			    unsigned int nr, int *errors)
{
	return hmm_rmem_run(rmem, HMM_RMEM_CLEAR, copies, nr, errors, MAX_JIFFY_OFFSET);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_rmem_clear);

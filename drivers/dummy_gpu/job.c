// SPDX-License-Identifier: GPL-2.0
/*
 * Jobs: submission, completion, collection, and the watchdog.
 *
 *   submitted ----> done ----> collected, or its file is closed
 *
 * A job is done exactly once, whatever ended it: it comes out of the completion ring, or
 * the chip has been destroyed with it inside.  Then its result is final, its waiters are
 * woken and its fence is signalled, in this order, so who polls the fence can collect the
 * result without waiting.
 *
 * The fence is a promise to other drivers that it will be signalled, and a job can wait
 * for a page fault that user space does not serve.  So every job has a watchdog, which
 * counts from submission: first it kills the job, and if that does not help in bounded
 * time, because the engine hangs, it resets the engine.
 *
 * Locks: dgpu_device.job_lock for the list of jobs that the chip has; the xarray's own
 * for the jobs of a file.
 */
#include <linux/dma-fence.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/sync_file.h>
#include <linux/uaccess.h>
#include "dgpu_private.h"
#include "trace.h"

/* How long each step of the watchdog has to take effect. */
#define DGPU_JOB_GRACE_MS	1000

DECLARE_FAULT_ATTR(dgpu_fail_submit);

/* What the fence says of how a job ended. */
static int dgpu_job_fence_error(u32 status)
{
	switch (status) {
	case DGPU_OK:
		return 0;
	case DGPU_ERR_FAULT:
		return -EFAULT;
	case DGPU_ERR_ILLEGAL:
	case DGPU_ERR_PC:
	case DGPU_ERR_DIVIDE:
	case DGPU_ERR_ALIGN:
	case DGPU_ERR_TRAP:
		return -EINVAL;
	case DGPU_ERR_TIMEOUT:
		return -ETIMEDOUT;
	case DGPU_ERR_STOPPED:
		return -ECANCELED;
	case DGPU_ERR_LOST:
		return -ENODEV;
	default:
		return -EIO;
	}
}

/* ---- references ---- */

static void dgpu_job_free(struct kref *ref)
{
	struct dgpu_job *job = container_of(ref, struct dgpu_job, ref);

	dma_fence_put(job->fence);
	dgpu_vm_put(job->vm);
	kvfree(job->hw.code);
	kfree(job);
}

static struct dgpu_job *dgpu_job_get(struct dgpu_job *job)
{
	kref_get(&job->ref);
	return job;
}

static void dgpu_job_put(struct dgpu_job *job)
{
	kref_put(&job->ref, dgpu_job_free);
}

/* Then its result is final. */
static bool dgpu_job_is_done(const struct dgpu_job *job)
{
	/* Pairs with the release in dgpu_job_finish(). */
	return smp_load_acquire(&job->done);
}

/* ---- the watchdog ---- */

/* The caller has a reference of its own. */
static void dgpu_job_watchdog_start(struct dgpu_job *job, u64 ms)
{
	dgpu_job_get(job);
	/* Nothing but its being cancelled keeps it from being queued: the job is done. */
	if (!queue_delayed_work(dgpu_wq, &job->watchdog, msecs_to_jiffies(ms)))
		dgpu_job_put(job);
}

static void dgpu_job_watchdog(struct work_struct *work)
{
	struct dgpu_job *job = container_of(to_delayed_work(work), struct dgpu_job, watchdog);
	struct dgpu_device *dev = job->vm->dev;
	unsigned int step = job->watchdog_step;

	if (dgpu_job_is_done(job))
		goto out;
	if (!dgpu_device_enter(dev))
		goto out;
	trace_dgpu_watchdog(job, step);
	/*
	 * Through with it, the chip may be late to say so, or we to hear it: nothing hangs,
	 * and a reset would end the jobs of others.
	 */
	if (dgpu_hw_job_kill(dev->hw, &job->hw, DGPU_ERR_TIMEOUT)) {
		step = 0;
	} else if (step == 0) {
		job->watchdog_step = 1;
	} else if (step == 1) {
		job->watchdog_step = 2;
		dev_err_ratelimited(&dev->pdev->dev, "engine %u hangs: resetting it\n",
				    job->engine);
		dgpu_hw_engine_reset(dev->hw, job->engine);
	} else {
		/* Nothing that a driver can do: it is done when the chip is taken away. */
		dev_err_ratelimited(&dev->pdev->dev, "engine %u does not give up a job\n",
				    job->engine);
	}
	dgpu_device_exit(dev);
	if (step < 2)
		dgpu_job_watchdog_start(job, DGPU_JOB_GRACE_MS);
out:
	dgpu_job_put(job);
}

/* ---- completion ---- */

static void dgpu_job_finish(struct dgpu_job *job)
{
	struct dgpu_device *dev = job->vm->dev;
	int error = dgpu_job_fence_error(job->hw.result.status);

	spin_lock(&dev->job_lock);
	list_del_init(&job->node);
	spin_unlock(&dev->job_lock);

	trace_dgpu_job_done(job);
	if (error)
		dma_fence_set_error(job->fence, error);
	/* Pairs with the acquire in dgpu_job_is_done(): what the chip has written is seen. */
	smp_store_release(&job->done, true);
	wake_up_all(&job->wait);
	dma_fence_signal(job->fence);
	if (cancel_delayed_work(&job->watchdog))
		dgpu_job_put(job);
	dgpu_job_put(job);
}

/**
 * dgpu_job_done_work - the completion ring has jobs
 * @work: dgpu_device.done_work
 *
 * Context: process context; waits for nothing that a job may wait for.
 */
void dgpu_job_done_work(struct work_struct *work)
{
	struct dgpu_device *dev = container_of(work, struct dgpu_device, done_work);
	struct dgpu_hw_job *hw_job;
	bool cookie;

	cookie = dma_fence_begin_signalling();
	if (dgpu_device_enter(dev)) {
		while ((hw_job = dgpu_hw_completed(dev->hw)))
			dgpu_job_finish(container_of(hw_job, struct dgpu_job, hw));
		dgpu_device_exit(dev);
	}
	dma_fence_end_signalling(cookie);
}

/**
 * dgpu_job_lose_all - finish what a chip had that is no more
 * @dev: device without a chip
 *
 * Context: may sleep.
 */
void dgpu_job_lose_all(struct dgpu_device *dev)
{
	struct dgpu_job *job;

	for (;;) {
		spin_lock(&dev->job_lock);
		job = list_first_entry_or_null(&dev->jobs, struct dgpu_job, node);
		spin_unlock(&dev->job_lock);
		if (!job)
			return;
		job->hw.result.status = DGPU_ERR_LOST;
		dgpu_job_finish(job);
	}
}

/* ---- submission ---- */

static int dgpu_job_check(const struct dgpu_submit *args)
{
	if (args->flags || args->pad || memchr_inv(args->reserved, 0, sizeof(args->reserved)))
		return -EINVAL;
	if (!args->ninsns || !args->nthreads || args->timeout_ms > DGPU_MAX_TIMEOUT_MS)
		return -EINVAL;
	if (args->engine != DGPU_ENGINE_ANY && args->engine >= dgpu_config.hw.engines)
		return -EINVAL;
	if (args->ninsns > DGPU_MAX_INSNS || args->nthreads > DGPU_MAX_THREADS)
		return -E2BIG;
	return 0;
}

static unsigned int dgpu_job_choose_engine(struct dgpu_hw *hw)
{
	unsigned int i, load, least = UINT_MAX, engine = 0;

	for (i = 0; i < dgpu_config.hw.engines; i++) {
		load = dgpu_hw_engine_load(hw, i);
		if (load < least) {
			least = load;
			engine = i;
		}
	}
	return engine;
}

static struct dgpu_job *dgpu_job_create(struct dgpu_vm *vm, const struct dgpu_submit *args)
{
	struct dgpu_insn *code;
	struct dgpu_job *job;

	if (should_fail(&dgpu_fail_submit, sizeof(*job)))
		return ERR_PTR(-ENOMEM);
	job = kzalloc(sizeof(*job), GFP_KERNEL_ACCOUNT);
	if (!job)
		return ERR_PTR(-ENOMEM);
	kref_init(&job->ref);
	job->vm = dgpu_vm_get(vm);
	INIT_LIST_HEAD(&job->node);
	INIT_DELAYED_WORK(&job->watchdog, dgpu_job_watchdog);
	init_waitqueue_head(&job->wait);

	code = kvmalloc_array(args->ninsns, sizeof(*code), GFP_KERNEL_ACCOUNT);
	job->hw.code = code;
	job->fence = dgpu_fence_create(vm->dev, GFP_KERNEL_ACCOUNT);
	if (!code || !job->fence) {
		dgpu_job_put(job);
		return ERR_PTR(-ENOMEM);
	}
	if (copy_from_user(code, u64_to_user_ptr(args->code),
			   array_size(args->ninsns, sizeof(*code)))) {
		dgpu_job_put(job);
		return ERR_PTR(-EFAULT);
	}
	job->hw.asid = vm->asid;
	job->hw.ninsns = args->ninsns;
	job->hw.nthreads = args->nthreads;
	memcpy(job->hw.args, args->args, sizeof(job->hw.args));
	return job;
}

/* Give the job to the chip, with a reference. */
static int dgpu_job_start(struct dgpu_job *job, const struct dgpu_submit *args)
{
	struct dgpu_device *dev = job->vm->dev;
	int ret;

	if (!dgpu_device_enter(dev))
		return -ENODEV;
	job->engine = args->engine;
	if (job->engine == DGPU_ENGINE_ANY)
		job->engine = dgpu_job_choose_engine(dev->hw);
	trace_dgpu_job_submit(job);

	dgpu_job_get(job);
	spin_lock(&dev->job_lock);
	list_add_tail(&job->node, &dev->jobs);
	spin_unlock(&dev->job_lock);
	ret = dgpu_hw_submit(dev->hw, job->engine, &job->hw);
	if (ret) {
		spin_lock(&dev->job_lock);
		list_del_init(&job->node);
		spin_unlock(&dev->job_lock);
		dgpu_job_put(job);
		/* Contexts are taken from a chip that goes before it is switched off. */
		if (READ_ONCE(dev->gone))
			ret = -ENODEV;
		goto out;
	}

	/*
	 * The watchdog bites only what the chip has.  The job may be done before it is
	 * there; whoever comes second sees the other:
	 *
	 *	submit				dgpu_job_finish()
	 *	queue the watchdog		done = true
	 *	done? cancel it			cancel the watchdog
	 *
	 * Queueing fails while the other cancels what is not there yet.  In each case
	 * exactly one drops the watchdog's reference.
	 */
	dgpu_job_watchdog_start(job, args->timeout_ms ?: dgpu_config.watchdog_ms);
	if (dgpu_job_is_done(job) && cancel_delayed_work(&job->watchdog))
		dgpu_job_put(job);
out:
	dgpu_device_exit(dev);
	return ret;
}

/* A number that collection does not know yet; its place is reserved. */
static int dgpu_job_reserve(struct dgpu_file *file, u64 *number)
{
	int ret;

	if (!atomic_add_unless(&file->nr_jobs, 1, DGPU_MAX_JOBS))
		return -EAGAIN;
	xa_lock(&file->jobs);
	*number = ++file->last_job;
	xa_unlock(&file->jobs);
	ret = xa_reserve(&file->jobs, *number, GFP_KERNEL_ACCOUNT);
	if (ret)
		atomic_dec(&file->nr_jobs);
	return ret;
}

static void dgpu_job_unreserve(struct dgpu_file *file, u64 number)
{
	xa_erase(&file->jobs, number);
	atomic_dec(&file->nr_jobs);
}

/**
 * dgpu_job_submit - DGPU_IOCTL_SUBMIT
 * @file: file
 * @args: arguments, copied
 * @uargs: where the number and the fence go
 *
 * Whatever can fail comes before the job is given to the chip, but for the chip being
 * lost; the descriptor is installed after.  User space that reads its arguments after
 * an error may find numbers there that mean nothing.
 *
 * Context: may sleep.
 * Return: 0 or an errno, see uapi/dgpu.h.
 */
int dgpu_job_submit(struct dgpu_file *file, struct dgpu_submit *args,
		    struct dgpu_submit __user *uargs)
{
	struct sync_file *sync_file;
	struct dgpu_job *job;
	int ret, fd;

	ret = dgpu_job_check(args);
	if (ret)
		return ret;
	ret = dgpu_job_reserve(file, &args->job);
	if (ret)
		return ret;
	job = dgpu_job_create(file->vm, args);
	if (IS_ERR(job)) {
		ret = PTR_ERR(job);
		goto err_reserve;
	}
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto err_job;
	}
	sync_file = sync_file_create(job->fence);
	if (!sync_file) {
		ret = -ENOMEM;
		goto err_fd;
	}
	args->fence_fd = fd;
	if (copy_to_user(uargs, args, sizeof(*args))) {
		ret = -EFAULT;
		goto err_sync_file;
	}
	ret = dgpu_job_start(job, args);
	if (ret)
		goto err_sync_file;
	/* Into the reserved place: the file's reference is the one we began with. */
	xa_store(&file->jobs, args->job, job, GFP_NOWAIT);
	fd_install(fd, sync_file->file);
	return 0;

err_sync_file:
	fput(sync_file->file);
err_fd:
	put_unused_fd(fd);
err_job:
	/* A fence that nobody else has ever seen. */
	dma_fence_set_error(job->fence, -ECANCELED);
	dma_fence_signal(job->fence);
	dgpu_job_put(job);
err_reserve:
	dgpu_job_unreserve(file, args->job);
	return ret;
}

/* ---- collection ---- */

static struct dgpu_job *dgpu_job_lookup(struct dgpu_file *file, u64 number)
{
	struct dgpu_job *job;

	xa_lock(&file->jobs);
	job = xa_load(&file->jobs, number);
	if (job)
		dgpu_job_get(job);
	xa_unlock(&file->jobs);
	return job;
}

static int dgpu_job_wait(struct dgpu_job *job, u64 timeout_ns)
{
	ktime_t timeout = min_t(u64, timeout_ns, KTIME_MAX);
	int ret;

	if (dgpu_job_is_done(job))
		return 0;
	if (!timeout)
		return -ETIME;
	ret = wait_event_interruptible_hrtimeout(job->wait, dgpu_job_is_done(job), timeout);
	/* Not restarted: the time that is left would be lost. */
	return ret == -ERESTARTSYS ? -EINTR : ret;
}

/**
 * dgpu_job_result - DGPU_IOCTL_RESULT
 * @file: file
 * @args: arguments, copied
 * @uargs: where the result goes
 *
 * Context: may sleep, for as long as the arguments say.
 * Return: 0 or an errno, see uapi/dgpu.h.
 */
int dgpu_job_result(struct dgpu_file *file, struct dgpu_result *args,
		    struct dgpu_result __user *uargs)
{
	const struct dgpu_result *result;
	struct dgpu_job *job;
	int ret;

	if (memchr_inv(args->reserved, 0, sizeof(args->reserved)))
		return -EINVAL;
	job = dgpu_job_lookup(file, args->job);
	if (!job)
		return -ENOENT;
	ret = dgpu_job_wait(job, args->timeout_ns);
	if (ret)
		goto out;

	result = &job->hw.result;
	args->status = result->status;
	args->thread = result->thread;
	args->pc = result->pc;
	args->access = result->access;
	args->fault_addr = result->fault_addr;
	args->error = result->error;
	args->trap = result->trap;
	args->insns = result->insns;
	args->faults = result->faults;
	if (copy_to_user(uargs, args, sizeof(*args))) {
		ret = -EFAULT;
		goto out;
	}
	/* Of several who wait for it, one collects it. */
	if (xa_cmpxchg(&file->jobs, args->job, job, NULL, 0) != job) {
		ret = -ENOENT;
		goto out;
	}
	atomic_dec(&file->nr_jobs);
	dgpu_job_put(job);
out:
	dgpu_job_put(job);
	return ret;
}

/**
 * dgpu_job_release_all - the file goes: stop its jobs, forget its results
 * @file: file that nobody uses any more
 *
 * Jobs that are stopped are done a little later.
 *
 * Context: may sleep.
 */
void dgpu_job_release_all(struct dgpu_file *file)
{
	struct dgpu_device *dev = file->vm->dev;
	struct dgpu_job *job;
	unsigned long number;

	xa_for_each(&file->jobs, number, job) {
		if (!dgpu_job_is_done(job) && dgpu_device_enter(dev)) {
			dgpu_hw_job_kill(dev->hw, &job->hw, DGPU_ERR_STOPPED);
			dgpu_device_exit(dev);
		}
		xa_erase(&file->jobs, number);
		dgpu_job_put(job);
	}
	xa_destroy(&file->jobs);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The life of the device, and what the driver does when the hardware or the kernel
 * lets it down: hung engines, delays, a device that is lost or taken away under load,
 * faults that user space never serves, no memory, no DMA address.
 *
 * In each case the same is required: every call returns, every job ends, nothing
 * leaks, and the device works again afterwards.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include "chip.h"
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#ifndef SYS_process_mrelease
#define SYS_process_mrelease	448
#endif

#define DEBUGFS	"/sys/kernel/debug/dgpu"
#define SYSFS	"/sys/bus/platform/drivers/dummy_gpu"

/* Time for what must not take long, also on a slow kernel. */
#define SOON	30000

FIXTURE(device) {
	struct gpu gpu;
	unsigned int index;
	bool touched;		/* knobs and attributes are to be reset */
};

static int device_open(unsigned int index)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/dgpu%u", index);
	return open(path, O_RDWR | O_CLOEXEC);
}

static void device_knob(struct harness_data_device *self, const char *knob, uint64_t value)
{
	char path[100], text[32];

	self->touched = true;
	snprintf(path, sizeof(path), DEBUGFS "/%u/knobs/%s", self->index, knob);
	snprintf(text, sizeof(text), "%ju", (uintmax_t)value);
	sys_write(path, text);
}

/* Unbind the driver from the device, or bind it. */
static int device_sysfs(unsigned int index, const char *what)
{
	char path[100], text[32];

	snprintf(path, sizeof(path), SYSFS "/%s", what);
	snprintf(text, sizeof(text), "dummy_gpu.%u", index);
	return sys_try_write(path, text);
}

/* A fail_NAME attribute of the driver; skips if the kernel has none. */
static void device_fail(struct harness_data_device *self, const char *name, int probability)
{
	char path[100], text[16];

	self->touched = true;
	snprintf(path, sizeof(path), DEBUGFS "/%s/verbose", name);
	sys_write(path, "0");
	snprintf(path, sizeof(path), DEBUGFS "/%s/times", name);
	sys_write(path, "-1");
	snprintf(path, sizeof(path), DEBUGFS "/%s/probability", name);
	snprintf(text, sizeof(text), "%d", probability);
	sys_write(path, text);
}

static long long device_stat(unsigned int index, const char *key)
{
	char path[100];

	snprintf(path, sizeof(path), DEBUGFS "/%u/stats", index);
	return sys_number_of(path, key);
}

FIXTURE_SETUP(device)
{
	struct dgpu_info info;

	gpu_setup(&self->gpu);
	ASSERT_EQ(0, dgpu_get_info(self->gpu.dev, &info));
	self->index = info.index;
}

FIXTURE_TEARDOWN(device)
{
	static const char * const fail[] = { "fail_dma", "fail_table", "fail_submit" };
	static const char * const knobs[] = { "tlb_delay_us", "fault_delay_us", "done_delay_us",
					      "hang_engine", "drop_flush", "slow_insns" };
	char path[100];

	if (self->touched) {
		for (size_t i = 0; i < sizeof(fail) / sizeof(fail[0]); i++) {
			snprintf(path, sizeof(path), DEBUGFS "/%s/probability", fail[i]);
			sys_try_write(path, "0");
		}
		for (size_t i = 0; i < sizeof(knobs) / sizeof(knobs[0]); i++) {
			snprintf(path, sizeof(path), DEBUGFS "/%u/knobs/%s", self->index,
				 knobs[i]);
			sys_try_write(path, "0");
		}
	}
	gpu_teardown(&self->gpu);
}

/* It works: a program runs, on memory that it has not seen. */
static void device_expect_works(struct gpu *gpu)
{
	volatile uint64_t *mem = sys_pages(4);

	cpu_fill(mem, 4, 0x77000);
	EXPECT_EQ(0, gpu_check(gpu, mem, 4, 0x77000));
	EXPECT_EQ(0, gpu_fill(gpu, mem, 4, 0x88000));
	EXPECT_TRUE(cpu_check(mem, 4, 0x88000));
	munmap((void *)mem, 4 * PAGE_SIZE);
}

/* A job that runs until mem[0] is set. */
static struct dgpu_job *device_start_spin(struct gpu *gpu, volatile uint64_t *mem,
					  uint64_t timeout_ms, uint32_t engine)
{
	const struct dgpu_run run = {
		.prog = gpu->progs[GPU_SPIN], .nthreads = 4, .engine = engine,
		.timeout_ms = timeout_ms,
		.args = { (uintptr_t)&mem[0], (uintptr_t)&mem[1], (uintptr_t)&mem[2] },
	};
	struct dgpu_job *job = NULL;

	ASSERT_EQ(0, dgpu_submit(gpu->dev, &run, &job));
	return job;
}

static void device_expect_status(struct dgpu_job *job, uint32_t status)
{
	struct dgpu_result result = {};

	EXPECT_EQ(0, dgpu_job_wait(job, SOON, &result));
	EXPECT_EQ(status, result.status);
	dgpu_job_free(job);
}

/* ---- the hardware misbehaves ---- */

/* The chip has ended a job in time, and says so late: that costs nobody else their job. */
TEST_F(device, late_completion_is_no_hang)
{
	const long long resets = device_stat(self->index, "hw.resets");
	volatile uint64_t *mem = sys_pages(1);
	struct dgpu_job *late, *other;

	memset((void *)mem, 0, PAGE_SIZE);
	other = device_start_spin(&self->gpu, mem, 600000, 0);
	while (!mem[1])
		sys_sleep_ms(1);
	/* The watchdog looks every second. */
	device_knob(self, "done_delay_us", 3500000);
	late = device_start_spin(&self->gpu, mem, 100, 0);
	device_expect_status(late, DGPU_ERR_TIMEOUT);
	device_knob(self, "done_delay_us", 0);
	EXPECT_EQ(resets, device_stat(self->index, "hw.resets"));
	EXPECT_EQ(-ETIME, dgpu_job_wait(other, 10, NULL));
	mem[0] = 1;
	device_expect_status(other, DGPU_OK);
}

TEST_F(device, hung_engine_is_reset)
{
	volatile uint64_t *mem = sys_pages(1);
	struct dgpu_result result = {};
	struct dgpu_job *hung, *other;
	struct dgpu_info info;
	long long resets = device_stat(self->index, "hw.resets");
	uint64_t begin, limit_ms = 300;

	ASSERT_EQ(0, dgpu_get_info(self->gpu.dev, &info));
	if (info.engines < 2)
		SKIP("the device has one engine only");
	memset((void *)mem, 0, PAGE_SIZE);
	other = device_start_spin(&self->gpu, mem, 600000, 1);
	/*
	 * The watchdog kills, in vain, and resets; that also ends the hang.  On a machine
	 * that stalls the engine may not hang yet when it kills: then once more.
	 */
	do {
		device_knob(self, "hang_engine", 0);
		hung = device_start_spin(&self->gpu, mem, limit_ms, 0);
		mem[1] = 0;
		while (!mem[1])
			sys_sleep_ms(1);
		device_knob(self, "hang_engine", 1);
		EXPECT_EQ(0, dgpu_job_wait(hung, SOON, &result));
		dgpu_job_free(hung);
		limit_ms *= 4;
	} while (result.status == DGPU_ERR_TIMEOUT && limit_ms < 10000 &&
		 device_stat(self->index, "hw.resets") == resets);
	EXPECT_EQ(DGPU_ERR_RESET, result.status);
	EXPECT_EQ(resets + 1, device_stat(self->index, "hw.resets"));
	/* The other engine did not notice. */
	EXPECT_EQ(-ETIME, dgpu_job_wait(other, 10, NULL));
	mem[0] = 1;
	device_expect_status(other, DGPU_OK);
	device_expect_works(&self->gpu);

	/* Invalidations and close() do not wait for an engine that hangs. */
	mem[0] = 0;
	hung = device_start_spin(&self->gpu, mem, 600000, 0);
	sys_sleep_ms(50);
	device_knob(self, "hang_engine", 3);
	begin = sys_now_ms();
	munmap((void *)mem, PAGE_SIZE);
	EXPECT_LT(sys_now_ms() - begin, SOON);
	dgpu_job_free(hung);
	begin = sys_now_ms();
	gpu_teardown(&self->gpu);
	EXPECT_LT(sys_now_ms() - begin, SOON);
	device_knob(self, "hang_engine", 0);
	gpu_setup(&self->gpu);
	device_expect_works(&self->gpu);
}

/* Invalidations that take effect late: munmap() must wait for them. */
TEST_F(device, delayed_invalidations)
{
	const unsigned long rounds = sys_scale(100);
	volatile uint64_t *mem, *next;
	uint64_t begin;

	device_knob(self, "tlb_delay_us", 3000);
	for (unsigned long i = 0; i < rounds; i++) {
		mem = sys_pages(16);
		cpu_fill(mem, 16, i << 8);
		ASSERT_EQ(0, gpu_fill(&self->gpu, mem, 16, i << 8 | 0x80));
		begin = sys_now_ms();
		switch (i % 4) {
		case 0:
			ASSERT_SYS(munmap((void *)mem, 16 * PAGE_SIZE));
			/* Somebody else's pages now. */
			next = sys_pages(16);
			cpu_fill(next, 16, 0);
			ASSERT_SYS(munmap((void *)next, 16 * PAGE_SIZE));
			break;
		case 1:
			ASSERT_SYS(madvise((void *)mem, 16 * PAGE_SIZE, MADV_DONTNEED));
			EXPECT_EQ(0, gpu_see(&self->gpu, mem));
			break;
		case 2:
			ASSERT_SYS(mprotect((void *)mem, 16 * PAGE_SIZE, PROT_READ));
			EXPECT_EQ(-EACCES, gpu_write(&self->gpu, mem, 1));
			EXPECT_TRUE(cpu_check(mem, 16, i << 8 | 0x80));
			break;
		case 3:
			/* A read-only entry that becomes writable, and the other way. */
			ASSERT_SYS(madvise((void *)mem, 16 * PAGE_SIZE, MADV_DONTNEED));
			ASSERT_EQ(0, gpu_see(&self->gpu, mem));
			ASSERT_EQ(0, gpu_write(&self->gpu, mem, i));
			EXPECT_EQ(i, mem[0]);
			break;
		}
		EXPECT_GE(sys_now_ms() - begin, 2);
		if (i % 4)
			ASSERT_SYS(munmap((void *)mem, 16 * PAGE_SIZE));
	}
	EXPECT_EQ(0, device_stat(self->index, "hw.bus_errors"));
}

/* Longer than the driver has patience: it resets the engines, and munmap() goes on. */
TEST_F(device, invalidation_that_never_comes)
{
	volatile uint64_t *mem = sys_pages(4);
	long long resets = device_stat(self->index, "hw.resets");
	uint64_t begin;

	ASSERT_EQ(0, gpu_fill(&self->gpu, mem, 4, 1));
	device_knob(self, "tlb_delay_us", 60000000);
	begin = sys_now_ms();
	ASSERT_SYS(munmap((void *)mem, 4 * PAGE_SIZE));
	EXPECT_LT(sys_now_ms() - begin, SOON);
	EXPECT_GT(device_stat(self->index, "hw.resets"), resets);
	device_knob(self, "tlb_delay_us", 0);
	device_expect_works(&self->gpu);
	/*
	 * Invalidations are done in order, and nobody waits for those of page tables that
	 * are given back.  Whoever comes behind a late one has it dropped by a reset: let
	 * that not be another test.
	 */
	mem = sys_pages(4);
	ASSERT_EQ(0, gpu_fill(&self->gpu, mem, 4, 1));
	device_knob(self, "tlb_delay_us", 1000);
	begin = sys_now_ms();
	ASSERT_SYS(munmap((void *)mem, 4 * PAGE_SIZE));
	EXPECT_LT(sys_now_ms() - begin, SOON);
}

/*
 * The kernel must not wait here, and comes back faster than the invalidation takes
 * effect: each time the device is asked about the same one.
 */
TEST_F(device, delayed_invalidation_that_must_not_block)
{
	long long blocked;
	int status, ret = -1, pidfd, ready[2];
	uint64_t begin;
	char c, path[64];
	pid_t pid;

	ASSERT_SYS(pipe(ready));
	pid = fork();
	if (!pid) {
		volatile uint64_t *mem = sys_pages(256);
		struct gpu gpu = {};

		gpu_setup(&gpu);
		EXPECT_EQ(0, gpu_fill(&gpu, mem, 256, 1));
		EXPECT_EQ(1, write(ready[1], "x", 1));
		pause();
		_exit(0);
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	pidfd = ASSERT_SYS((int)syscall(SYS_pidfd_open, pid, 0));
	/* A process that dies, and is held before it gives its memory back. */
	ASSERT_SYS(ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXIT));
	ASSERT_SYS(kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	if (!WIFSTOPPED(status))
		SKIP("the process was gone before it could be held");
	blocked = device_stat(self->index, "mirror.would_block");
	/* Longer than a busy machine stands still between a flush and a look at it. */
	device_knob(self, "tlb_delay_us", 500000);
	begin = sys_now_ms();
	while (ret && sys_now_ms() < begin + SOON) {
		ret = (int)syscall(SYS_process_mrelease, pidfd, 0);
		if (ret && errno != EAGAIN)
			break;
	}
	if (ret && errno == ENOSYS)
		SKIP("no process_mrelease()");
	if (!EXPECT_EQ(0, ret))
		test_log("after %ju ms: %s", (uintmax_t)(sys_now_ms() - begin), strerror(errno));
	device_knob(self, "tlb_delay_us", 0);
	EXPECT_GT(device_stat(self->index, "mirror.would_block"), blocked);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	EXPECT_LT(sys_number_of(path, "RssAnon:"), 256 * 4);
	ASSERT_SYS(ptrace(PTRACE_DETACH, pid, 0, 0));
	while (waitpid(pid, &status, 0) == pid && !WIFSIGNALED(status))
		;
	close(pidfd);
	close(ready[0]);
	close(ready[1]);
	device_expect_works(&self->gpu);
	EXPECT_EQ(0, device_stat(self->index, "hw.bus_errors"));
}

TEST_F(device, delayed_faults_and_completions)
{
	device_knob(self, "fault_delay_us", 20000);
	device_knob(self, "done_delay_us", 50000);
	for (int i = 0; i < 5; i++)
		device_expect_works(&self->gpu);
	/* A file that is closed while completions are on their way. */
	for (int i = 0; i < 5; i++) {
		volatile uint64_t *mem = sys_pages(8);
		struct gpu other = {};

		gpu_setup(&other);
		for (int j = 0; j < 8; j++)
			dgpu_job_free(gpu_start(&other, GPU_WRITE8, 1,
						(uintptr_t)&mem[j * PAGE_SIZE / 8], 1, 0, 0));
		gpu_teardown(&other);
		munmap((void *)mem, 8 * PAGE_SIZE);
	}
}

/* ---- lost, unbound ---- */

struct device_load {
	unsigned int index;
	volatile bool stop;
	volatile unsigned long rounds;
};

/* Everything that a process can do, whatever it gets for an answer. */
static void *device_load(void *data)
{
	struct device_load *load = data;
	const size_t npages = 32;

	while (!load->stop) {
		volatile uint64_t *mem = sys_pages(npages);
		uint8_t ptes[32];
		struct dgpu_range range = { .start = (uintptr_t)mem,
					    .length = npages * PAGE_SIZE,
					    .flags = DGPU_PREFAULT_WRITE };
		struct dgpu_ptes args = { .start = (uintptr_t)mem, .npages = npages,
					  .out = (uintptr_t)ptes };
		static const struct dgpu_insn code[] = {
			{ .op = DGPU_OP_TID, .rd = 9 },
			{ .op = DGPU_OP_MUL, .rd = 9, .ra = 9, .rb = 2 },
			{ .op = DGPU_OP_ADD, .rd = 9, .ra = 9, .rb = 1 },
			{ .op = DGPU_OP_ST8, .rd = 1, .ra = 9 },
			{ .op = DGPU_OP_JMP, .imm = 3 },
		};
		struct dgpu_submit submit = {
			.code = (uintptr_t)code, .ninsns = 5, .nthreads = npages,
			.engine = DGPU_ENGINE_ANY, .timeout_ms = 20,
			.args = { (uintptr_t)mem, PAGE_SIZE },
		};
		struct dgpu_result result = { .timeout_ns = ~0ull };
		int fd = device_open(load->index);

		if (fd >= 0) {
			if (!ioctl(fd, DGPU_IOCTL_SUBMIT, &submit)) {
				ioctl(fd, DGPU_IOCTL_PREFAULT, &range);
				ioctl(fd, DGPU_IOCTL_PTES, &args);
				madvise((void *)mem, npages * PAGE_SIZE, MADV_DONTNEED);
				result.job = submit.job;
				/* A job that was accepted has a result, always. */
				EXPECT_EQ(0, ioctl(fd, DGPU_IOCTL_RESULT, &result));
				EXPECT_NE(DGPU_OK, result.status);
				EXPECT_NE(DGPU_ERR_BUS, result.status);
				close(submit.fence_fd);
			}
			close(fd);
		} else {
			EXPECT_TRUE(errno == ENODEV || errno == ENOENT);
			sys_sleep_ms(1);
		}
		munmap((void *)mem, npages * PAGE_SIZE);
		load->rounds++;
	}
	return NULL;
}

/* What is left of a file whose device has gone. */
static void device_expect_gone(struct gpu *gpu)
{
	const int fd = dgpu_fd(gpu->dev);
	struct pollfd p = { .fd = fd };
	struct dgpu_event event;
	struct dgpu_info info = {};
	struct dgpu_submit submit = { .ninsns = 1, .nthreads = 1 };
	struct dgpu_stat stat = { .what = DGPU_STAT_HW };
	struct dgpu_result result = { .job = 1ull << 40 };

	/* A chip that is lost says so by an interrupt: the driver knows a moment later. */
	EXPECT_EQ(1, poll(&p, 1, SOON));
	EXPECT_EQ(POLLHUP, p.revents & POLLHUP);
	EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_INFO, &info));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_SUBMIT, &submit));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_STAT, &stat));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, ioctl(fd, DGPU_IOCTL_RESULT, &result));
	EXPECT_EQ(ENOENT, errno);
	/* The records that there are, and then the end, without waiting. */
	while (read(fd, &event, sizeof(event)) == sizeof(event))
		;
	EXPECT_EQ(0, read(fd, &event, sizeof(event)));
}

FIXTURE(removal) {
	struct gpu gpu;
	unsigned int index;
	bool unbound;
};

FIXTURE_VARIANT(removal) {
	bool lost;	/* by the hardware, before it is unbound */
};

FIXTURE_VARIANT_ADD(removal, unbind) { .lost = false };
FIXTURE_VARIANT_ADD(removal, lost) { .lost = true };

FIXTURE_SETUP(removal)
{
	struct dgpu_info info;

	gpu_setup(&self->gpu);
	ASSERT_EQ(0, dgpu_get_info(self->gpu.dev, &info));
	self->index = info.index;
}

FIXTURE_TEARDOWN(removal)
{
	gpu_teardown(&self->gpu);
	if (self->unbound)
		EXPECT_EQ(0, device_sysfs(self->index, "bind"));
}

static void removal_take_away(struct harness_data_removal *self, bool lost)
{
	char path[100];

	self->unbound = true;
	if (lost) {
		snprintf(path, sizeof(path), DEBUGFS "/%u/knobs/lost", self->index);
		sys_write(path, "1");
		return;
	}
	ASSERT_EQ(0, device_sysfs(self->index, "unbind"));
}

/* Back to a device that works; with open files of the old one, if there are. */
static void removal_bring_back(struct harness_data_removal *self, bool bound)
{
	if (bound)
		ASSERT_EQ(0, device_sysfs(self->index, "unbind"));
	ASSERT_EQ(0, device_sysfs(self->index, "bind"));
	self->unbound = false;
}

TEST_F(removal, with_jobs)
{
	volatile uint64_t *mem = sys_pages(8);
	struct dgpu_job *running[4], *done;
	struct dgpu_result result;
	int fd;

	cpu_fill(mem, 8, 0x100);
	mem[0] = 0;
	done = gpu_start(&self->gpu, GPU_CHECK, 1, (uintptr_t)mem, 8, PAGE_SIZE, 0x100);
	EXPECT_EQ(0, dgpu_job_wait(done, SOON, &result));
	EXPECT_EQ(DGPU_ERR_TRAP, result.status);
	for (int i = 0; i < 4; i++)
		running[i] = device_start_spin(&self->gpu, mem, 600000, DGPU_ENGINE_ANY);
	while (!mem[1])
		sys_sleep_ms(1);

	removal_take_away(self, variant->lost);
	for (int i = 0; i < 4; i++)
		device_expect_status(running[i], DGPU_ERR_LOST);
	device_expect_gone(&self->gpu);
	fd = device_open(self->index);
	EXPECT_EQ(-1, fd);
	EXPECT_TRUE(errno == ENODEV || errno == ENOENT);
	dgpu_job_free(done);
	/* Memory that was written by the device is this process' memory still. */
	EXPECT_NE(0, mem[1]);
	ASSERT_SYS(munmap((void *)mem, 8 * PAGE_SIZE));

	removal_bring_back(self, variant->lost);
	/* The old file is of no more use; a new one is. */
	device_expect_gone(&self->gpu);
	gpu_teardown(&self->gpu);
	gpu_setup(&self->gpu);
	device_expect_works(&self->gpu);
}

/* Jobs that the chip is through with, but has not said so yet. */
TEST_F(removal, with_delayed_completions)
{
	volatile uint64_t *mem = sys_pages(1);
	struct dgpu_job *jobs[8];
	char path[100];
	long long done;

	done = device_stat(self->index, "hw.jobs");
	snprintf(path, sizeof(path), DEBUGFS "/%u/knobs/done_delay_us", self->index);
	sys_write(path, "50000000");
	for (int i = 0; i < 8; i++)
		jobs[i] = gpu_start(&self->gpu, GPU_WRITE8, 1, (uintptr_t)&mem[i], i + 1, 0, 0);
	/* What they write is seen a moment before their last instruction. */
	while (device_stat(self->index, "hw.jobs") < done + 8)
		sys_sleep_ms(1);
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(i + 1, mem[i]);
	removal_take_away(self, variant->lost);
	/* A lost chip lets go of the results it has; one that is switched off has not. */
	for (int i = 0; i < 8; i++)
		device_expect_status(jobs[i], variant->lost ? DGPU_OK : DGPU_ERR_LOST);
	if (variant->lost)
		ASSERT_EQ(0, device_sysfs(self->index, "unbind"));
	removal_bring_back(self, false);
}

static void *removal_unbind(void *data)
{
	const unsigned int *index = data;

	/* Waits until all is back that the memory of the device has. */
	EXPECT_EQ(0, device_sysfs(*index, "unbind"));
	return NULL;
}

/*
 * The end of the records is the end.  Pages that leave the device while it goes, and
 * a process that does not stop, make invalidations until the mirror is taken down.
 */
TEST_F(removal, ends_the_records)
{
	const size_t npages = sys_scale(4096);
	struct pollfd p = { .fd = dgpu_fd(self->gpu.dev) };
	struct dgpu_event event;
	struct gpu_moved moved;
	pthread_t unbind;
	size_t late = 0;
	ssize_t ret;
	char *mem;

	mem = (char *)sys_pages(npages);
	cpu_fill((volatile uint64_t *)mem, npages, 0x300);
	/* Not all kernels can; then it is the process alone. */
	gpu_migrate(&self->gpu, mem, npages, 0, &moved);
	ASSERT_EQ(0, gpu_touch(&self->gpu, mem, npages));
	gpu_events_start(&self->gpu);

	self->unbound = true;
	if (variant->lost)
		removal_take_away(self, true);
	else
		ASSERT_EQ(0, pthread_create(&unbind, NULL, removal_unbind, &self->index));
	for (size_t i = 0; !p.revents; i++) {
		ASSERT_SYS(madvise(mem + i % npages * PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED));
		ASSERT_SYS(poll(&p, 1, 0));
	}
	EXPECT_EQ(POLLHUP, p.revents);
	while ((ret = read(p.fd, &event, sizeof(event))) == sizeof(event))
		;
	EXPECT_EQ(0, ret);
	for (size_t i = 0; i < npages; i++) {
		ASSERT_SYS(madvise(mem + i * PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED));
		late += read(p.fd, &event, sizeof(event)) != 0;
	}
	EXPECT_EQ(0, late);
	if (!variant->lost)
		ASSERT_EQ(0, pthread_join(unbind, NULL));
	EXPECT_EQ(0, read(p.fd, &event, sizeof(event)));
	ASSERT_SYS(munmap(mem, npages * PAGE_SIZE));
	removal_bring_back(self, variant->lost);
}

TEST_F(removal, under_load)
{
	struct device_load load = { .index = self->index };
	const unsigned long rounds = sys_scale(10);
	pthread_t threads[4];
	int pids[3], status;

	/* Threads that share an address space, and processes that do not. */
	for (int i = 0; i < 3; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		device_load(&load);
		_exit(0);
	}
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, device_load, &load));
	for (unsigned long i = 0; i < rounds; i++) {
		const unsigned long before = load.rounds;
		const uint64_t begin = sys_now_ms();

		while (load.rounds < before + 4 && sys_now_ms() < begin + 2000)
			sys_sleep_ms(5);
		removal_take_away(self, variant->lost);
		sys_sleep_ms(5);
		removal_bring_back(self, variant->lost);
	}
	load.stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 3; i++) {
		kill(pids[i], SIGKILL);
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
	}
	gpu_teardown(&self->gpu);
	gpu_setup(&self->gpu);
	device_expect_works(&self->gpu);
}

TEST_F(device, rmmod_is_refused)
{
	volatile uint64_t *mem = sys_pages(1);
	struct dgpu_job *job;
	int fence;

	EXPECT_EQ(-1, syscall(SYS_delete_module, "dummy_gpu", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	EXPECT_EQ(-1, syscall(SYS_delete_module, "hmm_core", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	device_expect_works(&self->gpu);

	/* A fence keeps the code that it calls. */
	job = gpu_start(&self->gpu, GPU_WRITE8, 1, (uintptr_t)mem, 1, 0, 0);
	fence = ASSERT_SYS(dup(dgpu_job_fence(job)));
	device_expect_status(job, DGPU_OK);
	gpu_teardown(&self->gpu);
	EXPECT_EQ(-1, syscall(SYS_delete_module, "dummy_gpu", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	close(fence);
}

/* ---- faults that user space does not serve ---- */

TEST_F(device, fault_that_waits_for_user_space)
{
	struct dgpu_job *stuck, *quick;
	struct uffdio_zeropage zero;
	volatile uint64_t *mem = sys_pages(16), *rest = sys_pages(4);
	int uffd = sys_uffd_open(0);
	uint64_t begin;

	cpu_fill(rest, 4, 0x200);
	sys_uffd_register(uffd, (void *)mem, 16 * PAGE_SIZE, UFFDIO_REGISTER_MODE_MISSING);
	stuck = gpu_start(&self->gpu, GPU_TOUCH, 8, (uintptr_t)mem, 16, PAGE_SIZE, 0);
	EXPECT_EQ(-ETIME, dgpu_job_wait(stuck, 100, NULL));
	/* Others are served meanwhile, on the same engines and in the same process. */
	for (int i = 0; i < 20; i++) {
		quick = gpu_start(&self->gpu, GPU_CHECK, 1, (uintptr_t)rest, 4, PAGE_SIZE, 0x200);
		device_expect_status(quick, DGPU_OK);
		ASSERT_SYS(madvise((void *)rest, 4 * PAGE_SIZE, MADV_DONTNEED));
		cpu_fill(rest, 4, 0x200);
	}
	EXPECT_EQ(-ETIME, dgpu_job_wait(stuck, 0, NULL));

	zero = (struct uffdio_zeropage) {
		.range = { .start = (uintptr_t)mem, .len = 16 * PAGE_SIZE },
	};
	ASSERT_SYS(ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
	device_expect_status(stuck, DGPU_OK);

	/* And close() does not wait for one. */
	ASSERT_SYS(madvise((void *)mem, 16 * PAGE_SIZE, MADV_DONTNEED));
	stuck = gpu_start(&self->gpu, GPU_TOUCH, 8, (uintptr_t)mem, 16, PAGE_SIZE, 0);
	EXPECT_EQ(-ETIME, dgpu_job_wait(stuck, 100, NULL));
	begin = sys_now_ms();
	dgpu_job_free(stuck);
	gpu_teardown(&self->gpu);
	EXPECT_LT(sys_now_ms() - begin, SOON);
	gpu_setup(&self->gpu);
	device_expect_works(&self->gpu);
	close(uffd);
	device_expect_works(&self->gpu);
}

/* A process that lets its faults hang does not stop another one's. */
TEST_F(device, stuck_process_harms_nobody)
{
	int status, ready[2];
	pid_t pid;
	char c;

	ASSERT_SYS(pipe(ready));
	pid = fork();
	if (!pid) {
		volatile uint64_t *mem = sys_pages(512);
		int uffd = sys_uffd_open(0);
		struct gpu gpu = {};

		sys_uffd_register(uffd, (void *)mem, 512 * PAGE_SIZE,
				  UFFDIO_REGISTER_MODE_MISSING);
		gpu_setup(&gpu);
		/* One fault at a time, so that each is a batch of its own. */
		for (int i = 0; i < 32; i++) {
			gpu_start(&gpu, GPU_TOUCH, 1, (uintptr_t)&mem[i * 16 * PAGE_SIZE / 8], 1,
				  PAGE_SIZE, 0);
			sys_sleep_ms(2);
		}
		sys_sleep_ms(100);
		EXPECT_EQ(1, write(ready[1], "x", 1));
		pause();
		_exit(0);
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	for (int i = 0; i < 5; i++)
		device_expect_works(&self->gpu);
	/* It dies with all that hanging. */
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	device_expect_works(&self->gpu);
	close(ready[0]);
	close(ready[1]);
}

/* ---- the kernel has nothing to give ---- */

TEST_F(device, no_memory_for_a_job)
{
	struct dgpu_run run = { .prog = self->gpu.progs[GPU_TOUCH], .nthreads = 1,
				.engine = DGPU_ENGINE_ANY };
	struct dgpu_job *job;

	device_fail(self, "fail_submit", 100);
	for (int i = 0; i < 1100; i++)
		if (!EXPECT_EQ(-ENOMEM, dgpu_submit(self->gpu.dev, &run, &job)))
			break;
	device_fail(self, "fail_submit", 0);
	device_expect_works(&self->gpu);
}

TEST_F(device, no_memory_for_a_page_table)
{
	volatile uint64_t *mem = sys_pages(4);
	int status;
	pid_t pid;

	cpu_fill(mem, 4, 1);
	EXPECT_EQ(0, gpu_check(&self->gpu, mem, 4, 1));
	device_fail(self, "fail_table", 100);
	/* What has tables goes on; what needs new ones fails. */
	EXPECT_EQ(0, gpu_fill(&self->gpu, mem, 4, 2));
	munmap((void *)mem, 4 * PAGE_SIZE);
	mem = (void *)((uintptr_t)sys_huge_area(2) + HUGE_SIZE / 2);
	EXPECT_EQ(-ENOMEM, gpu_write(&self->gpu, mem, 1));
	/* Nor does a process that has no address space on the device get one. */
	pid = fork();
	if (!pid) {
		EXPECT_EQ(-1, device_open(self->index));
		EXPECT_EQ(ENOMEM, errno);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	device_fail(self, "fail_table", 0);
	EXPECT_EQ(0, gpu_write(&self->gpu, mem, 5));
	EXPECT_EQ(5, mem[0]);
	device_expect_works(&self->gpu);

	/* Now and then: any table on the way down may be the one that is missing. */
	device_fail(self, "fail_table", 50);
	for (uint64_t i = 0; i < sys_scale(200); i++) {
		int ret;

		mem = mmap((void *)(0x100000000000ull + (i << 31)), PAGE_SIZE,
			   PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		ASSERT_NE(mem, MAP_FAILED);
		ret = gpu_write(&self->gpu, mem, i);
		EXPECT_TRUE(ret == 0 || ret == -ENOMEM);
		if (!ret)
			EXPECT_EQ(i, mem[0]);
		ASSERT_SYS(munmap((void *)mem, PAGE_SIZE));
	}
	device_fail(self, "fail_table", 0);
	device_expect_works(&self->gpu);
}

TEST_F(device, no_dma_address)
{
	volatile uint64_t *mem = sys_pages(64);

	cpu_fill(mem, 64, 1);
	EXPECT_EQ(0, gpu_check(&self->gpu, mem, 16, 1));
	ASSERT_SYS(madvise((void *)mem, 64 * PAGE_SIZE, MADV_DONTNEED));
	cpu_fill(mem, 64, 1);
	device_fail(self, "fail_dma", 100);
	EXPECT_EQ(-EIO, gpu_write(&self->gpu, mem, 1));
	EXPECT_EQ(0, gpu_ptes(&self->gpu, mem, 64, DGPU_PTE_VALID));
	device_fail(self, "fail_dma", 30);
	for (unsigned long i = 0; i < sys_scale(100); i++) {
		const int ret = gpu_fill(&self->gpu, mem, 64, i);

		EXPECT_TRUE(ret == 0 || ret == -EIO);
		if (!ret)
			EXPECT_TRUE(cpu_check(mem, 64, i));
		ASSERT_SYS(madvise((void *)mem, 64 * PAGE_SIZE, MADV_DONTNEED));
	}
	device_fail(self, "fail_dma", 0);
	device_expect_works(&self->gpu);
}

/* ---- module parameters ---- */

/* Device memory, as /dev/dgpuN says. */
static int64_t module_local_bytes(unsigned int index)
{
	struct dgpu_info info = { 0 };
	struct dgpu_dev *dev;
	char path[32];

	snprintf(path, sizeof(path), "/dev/dgpu%u", index);
	ASSERT_EQ(0, dgpu_open(path, &dev));
	EXPECT_EQ(0, dgpu_get_info(dev, &info));
	dgpu_close(dev);
	return info.local_bytes;
}

/* The last size counts for the devices after it; one that is too large is none. */
static void module_local_mb(const struct chip_module *module)
{
	int64_t unit;

	ASSERT_EQ(0, chip_module_insert(module, "local_mb=2"));
	unit = module_local_bytes(0);
	EXPECT_EQ(0, chip_module_remove());
	/* On a kernel where pages cannot move there it is 0 all the time. */
	EXPECT_TRUE(unit == 0 || unit == 2 << 20);

	ASSERT_EQ(0, chip_module_insert(module, "devices=4 local_mb=8,0,4"));
	EXPECT_EQ(4 * unit, module_local_bytes(0));
	EXPECT_EQ(0, module_local_bytes(1));
	EXPECT_EQ(2 * unit, module_local_bytes(2));
	EXPECT_EQ(2 * unit, module_local_bytes(3));
	EXPECT_EQ(0, chip_module_remove());

	ASSERT_EQ(0, chip_module_insert(module, "devices=2 local_mb=65536,2"));
	EXPECT_EQ(0, module_local_bytes(0));
	EXPECT_EQ(unit, module_local_bytes(1));
	EXPECT_EQ(0, chip_module_remove());
}

TEST(module_parameters)
{
	static const char * const bad[] = {
		"devices=0", "devices=9", "devices=4294967295", "devices=-1", "devices=x",
		"engines=0", "engines=17", "va_bits=0", "va_bits=47", "va_bits=49",
		"va_bits=64", "tlb_entries=3", "tlb_entries=131072", "fault_entries=0",
		"fault_entries=1", "fault_entries=3", "fault_entries=131072", "lanes=0",
		"lanes=1025", "fault_around=0", "fault_around=2048", "fault_around=12288",
		"fault_around=4194304", "watchdog_ms=0", "watchdog_ms=600001",
		"local_mb=1", "local_mb=65538", "local_mb=-2", "local_mb=x", "local_mb=",
		"local_mb=2,3", "local_mb=2,,2", "local_mb=2,2,2,2,2,2,2,2,2", "copy_engines=0",
		"copy_engines=5",
	};
	static const char * const good[] = {
		"devices=8 engines=1 local_mb=4", "va_bits=57", "tlb_entries=0",
		"fault_entries=2 lanes=1", "engines=16 lanes=1024", "fault_around=4096",
		"fault_around=2097152", "tlb_entries=65536 fault_entries=65536",
		"local_mb=0", "local_mb=2 copy_engines=1", "local_mb=16 copy_engines=4",
	};
	struct chip_module module;
	struct gpu gpu = {};
	char args[100];

	if (!chip_module_find(&module))
		SKIP("where dummy_gpu.ko is cannot be told: set DGPU_MODULE");
	ASSERT_EQ(0, chip_module_remove());
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const int ret = chip_module_insert(&module, bad[i]);

		if (!EXPECT_TRUE(ret == -EINVAL || ret == -ERANGE))
			test_log("%s: %d", bad[i], ret);
		EXPECT_NE(0, access("/dev/dgpu0", F_OK));
		EXPECT_NE(0, access(DEBUGFS, F_OK));
		if (!ret)
			EXPECT_EQ(0, chip_module_remove());
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		/* Little memory, where the line does not say: the usual one takes its time. */
		snprintf(args, sizeof(args), "local_mb=2 %s", good[i]);
		if (!EXPECT_EQ(0, chip_module_insert(&module, args))) {
			test_log("%s", good[i]);
			continue;
		}
		gpu_setup_path(&gpu, "/dev/dgpu0");
		device_expect_works(&gpu);
		gpu_teardown(&gpu);
		EXPECT_EQ(0, chip_module_remove());
		EXPECT_NE(0, access("/dev/dgpu0", F_OK));
	}
	module_local_mb(&module);
	ASSERT_EQ(0, chip_module_insert(&module, module.args));
	gpu_setup(&gpu);
	device_expect_works(&gpu);
	gpu_teardown(&gpu);
}

HARNESS_MAIN

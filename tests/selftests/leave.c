// SPDX-License-Identifier: GPL-2.0
/*
 * Everything leaves the device: because it is asked to, by ioctl, by sysfs or because its
 * driver is unbound; or it cannot, because copies fail, hang, or the device falls off the
 * bus in the middle of one.
 *
 * What is required: a page is right or it says that it is lost (SIGBUS), and it is lost
 * only if its only copy was on a device that is.  Nothing waits for ever, and afterwards
 * the device, or the next one in its place, works.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include "chip.h"
#include "gpu.h"
#include "harness.h"
#include "load.h"
#include "sys.h"

#define NPAGES	1024ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define KSEED	0x5eedull

/* Time for what must not take long; kernels that check everything take theirs. */
#define SOON	(60000ull * harness_timeout_scale)

FIXTURE(leave) {
	struct gpu gpu;
	unsigned int index;
	bool gone;		/* the device is to be bound again at the end */
	bool lost;		/* and before that unbound */
};

FIXTURE_SETUP(leave)
{
	struct dgpu_info info;

	gpu_setup_memory(&self->gpu);
	ASSERT_EQ(0, dgpu_get_info(self->gpu.dev, &info));
	self->index = info.index;
	ASSERT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
}

static void leave_bring_back(struct harness_data_leave *self)
{
	gpu_teardown(&self->gpu);
	if (self->lost)
		EXPECT_EQ(0, chip_unbind(self->index));
	if (self->lost || self->gone)
		EXPECT_EQ(0, chip_bind(self->index));
	self->lost = false;
	self->gone = false;
}

FIXTURE_TEARDOWN(leave)
{
	if (self->gpu.dev)
		chip_knobs_reset(self->index);
	leave_bring_back(self);
}

static void leave_knob(struct harness_data_leave *self, const char *knob, uint64_t value)
{
	const int ret = chip_knob(self->index, knob, value);

	if (ret)
		SKIP("cannot turn the knob %s: %s", knob, strerror(-ret));
}

static long long leave_stat(struct harness_data_leave *self, const char *key)
{
	char path[100];

	snprintf(path, sizeof(path), CHIP_DEBUGFS "/%u/stats", self->index);
	return sys_number_of(path, key);
}

/*
 * So many pages are counted as lost.
 *
 *	work of the driver		who wants a page
 *	the memory is lost
 *	counts its pages
 *					copy fails: SIGBUS
 *	says so in the log
 */
static void leave_expect_lost(struct harness_data_leave *self, size_t nr)
{
	for (int i = 0; i < 1500 && leave_stat(self, "rmem.lost") != (long long)nr; i++)
		sys_sleep_ms(20);
	EXPECT_EQ(nr, leave_stat(self, "rmem.lost"));
}

static size_t leave_places(struct gpu *gpu, const volatile void *mem, size_t npages,
			   enum hmm_page_place place)
{
	struct dgpu_page_info *info = calloc(npages, sizeof(*info));
	size_t nr = 0;

	ASSERT_NE(info, NULL);
	ASSERT_EQ(0, dgpu_residency(gpu->dev, (const void *)mem, npages, info));
	for (size_t i = 0; i < npages; i++)
		nr += info[i].place == place;
	free(info);
	return nr;
}

static size_t leave_results(const uint8_t *results, size_t npages, enum hmm_page_result result)
{
	size_t nr = 0;

	for (size_t i = 0; i < npages; i++)
		nr += results[i] == result;
	return nr;
}

/* It works, with its memory. */
static void leave_expect_works(struct gpu *gpu)
{
	volatile uint64_t *mem = sys_pages(64);

	load_fill(mem, 64, 99);
	gpu_move_in(gpu, mem, 64);
	EXPECT_EQ(64, leave_places(gpu, mem, 64, HMM_PLACE_DEVICE));
	EXPECT_EQ(0, gpu_fill(gpu, mem, 64, 0x1234));
	EXPECT_TRUE(cpu_check(mem, 64, 0x1234));
	EXPECT_TRUE(load_check(mem, 64, 99));
	EXPECT_SYS(munmap((void *)mem, 64 * PAGE_SIZE));
}

/* ---- asked to ---- */

enum leave_how { LEAVE_IOCTL, LEAVE_SYSFS, LEAVE_UNBIND };

FIXTURE(evacuate) {
	struct harness_data_leave leave;
};

FIXTURE_VARIANT(evacuate) {
	enum leave_how how;
};

FIXTURE_VARIANT_ADD(evacuate, ioctl) { .how = LEAVE_IOCTL };
FIXTURE_VARIANT_ADD(evacuate, sysfs) { .how = LEAVE_SYSFS };
FIXTURE_VARIANT_ADD(evacuate, unbind) { .how = LEAVE_UNBIND };

FIXTURE_SETUP(evacuate)
{
	harness_setup_leave(&self->leave, NULL);
}

FIXTURE_TEARDOWN(evacuate)
{
	harness_teardown_leave(&self->leave, NULL);
}

/* 0 or a negative errno. */
static int leave_do(struct harness_data_leave *self, enum leave_how how)
{
	uint64_t left = 77;
	int ret;

	switch (how) {
	case LEAVE_IOCTL:
		ret = dgpu_evacuate(self->gpu.dev, &left);
		if (!ret)
			EXPECT_EQ(0, left);
		else if (ret == -EBUSY)
			EXPECT_NE(0, left);
		return ret;
	case LEAVE_SYSFS:
		return chip_evacuate(self->index);
	default:
		self->gone = true;
		return chip_unbind(self->index);
	}
}

/* All kinds of anonymous memory, each in a state of its own. */
TEST_F(evacuate, everything)
{
	struct harness_data_leave *leave = &self->leave;
	struct gpu *gpu = &leave->gpu;
	volatile char *mem = sys_pages(NPAGES), *huge = sys_huge_area(2), *moved;
	int status, go[2];
	int64_t out;
	pid_t pid;
	char c = 0;

	load_fill(mem, NPAGES, 1);
	load_fill(huge, 2 * HUGE_SIZE / PAGE_SIZE, 2);
	gpu_move_in(gpu, mem, NPAGES);
	gpu_move_in(gpu, huge, 2 * HUGE_SIZE / PAGE_SIZE);
	/* Read-only, locked, moved, with holes, shared with a child, changed since. */
	ASSERT_SYS(mprotect((void *)mem, 100 * PAGE_SIZE, PROT_READ));
	ASSERT_SYS(mprotect((void *)(mem + 100 * PAGE_SIZE), 100 * PAGE_SIZE, PROT_NONE));
	ASSERT_SYS(madvise((void *)(mem + 300 * PAGE_SIZE), 100 * PAGE_SIZE, MADV_DONTNEED));
	moved = mremap((void *)huge, HUGE_SIZE, HUGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       (char *)sys_huge_area(2) + HUGE_SIZE / 2);
	ASSERT_NE(MAP_FAILED, moved);
	ASSERT_SYS(pipe(go));
	pid = fork();
	if (!pid) {
		close(go[1]);
		EXPECT_EQ(0, read(go[0], &c, 1));
		ASSERT_SYS(mprotect((void *)mem, 300 * PAGE_SIZE, PROT_READ));
		EXPECT_TRUE(load_check(mem, 300, 1));
		/* What the device wrote after the fork is not seen here. */
		EXPECT_TRUE(load_check_part(mem, 400, NPAGES - 400, 1));
		EXPECT_EQ(0, load_sum(mem + 400 * PAGE_SIZE, NPAGES - 400, 0));
		EXPECT_TRUE(load_check(moved, HUGE_SIZE / PAGE_SIZE, 2));
		_exit(0);
	}
	close(go[0]);
	ASSERT_EQ(0, gpu_fill(gpu, mem + 400 * PAGE_SIZE, NPAGES - 400, 0x700));
	out = chip_rmem(gpu->dev, HMM_RMEM_OUT_EVACUATE);
	EXPECT_GE(chip_rmem(gpu->dev, HMM_RMEM_USED), NPAGES - 100);

	ASSERT_EQ(0, leave_do(leave, variant->how));
	if (variant->how != LEAVE_UNBIND) {
		EXPECT_EQ(0, chip_rmem(gpu->dev, HMM_RMEM_USED));
		EXPECT_GT(chip_rmem(gpu->dev, HMM_RMEM_OUT_EVACUATE), out);
		EXPECT_EQ(0, leave_places(gpu, mem, NPAGES, HMM_PLACE_DEVICE));
		/* Nothing that was there is read by the device from there. */
		EXPECT_EQ(0, gpu_check(gpu, mem + 400 * PAGE_SIZE, NPAGES - 400, 0x700));
	}
	close(go[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_SYS(mprotect((void *)mem, 300 * PAGE_SIZE, PROT_READ));
	EXPECT_TRUE(load_check(mem, 300, 1));
	EXPECT_EQ(0, *(volatile uint64_t *)(mem + 350 * PAGE_SIZE));
	EXPECT_TRUE(cpu_check(mem + 400 * PAGE_SIZE, NPAGES - 400, 0x700));
	EXPECT_TRUE(load_check_part(mem, 400, NPAGES - 400, 1));
	EXPECT_TRUE(load_check(moved, HUGE_SIZE / PAGE_SIZE, 2));
	EXPECT_TRUE(load_check_part(huge, HUGE_SIZE / PAGE_SIZE, HUGE_SIZE / PAGE_SIZE, 2));
	leave_bring_back(leave);
	gpu_setup_memory(gpu);
	leave_expect_works(gpu);
}

/* Nothing there: nothing to do; again and again. */
TEST_F(evacuate, nothing)
{
	struct harness_data_leave *leave = &self->leave;

	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, leave_do(leave, variant->how));
		leave_bring_back(leave);
		gpu_setup_memory(&leave->gpu);
		leave_expect_works(&leave->gpu);
	}
}

/* Pages that are pinned in system memory, or wanted by many, are in nobody's way. */
TEST_F(evacuate, twice_at_once)
{
	struct harness_data_leave *leave = &self->leave;
	volatile char *mem = sys_pages(NPAGES);
	int status;
	pid_t pids[4];

	if (variant->how == LEAVE_UNBIND)
		SKIP("a device can be unbound once");
	load_fill(mem, NPAGES, 3);
	for (unsigned long round = 0; round < sys_scale(10); round++) {
		gpu_move_in(&leave->gpu, mem, NPAGES);
		for (int i = 0; i < 4; i++) {
			pids[i] = fork();
			if (pids[i])
				continue;
			/* The file is the parent's address space's: a file of its own. */
			if (variant->how == LEAVE_IOCTL) {
				struct gpu own = {};

				gpu_setup_memory(&own);
				EXPECT_EQ(0, dgpu_evacuate(own.dev, NULL));
			} else {
				EXPECT_EQ(0, chip_evacuate(leave->index));
			}
			_exit(0);
		}
		for (int i = 0; i < 4; i++) {
			ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
			EXPECT_EQ(0, status);
		}
		EXPECT_EQ(0, chip_rmem(leave->gpu.dev, HMM_RMEM_USED));
		if (!EXPECT_EQ(NPAGES, leave_places(&leave->gpu, mem, NPAGES, HMM_PLACE_SYSTEM)))
			break;
	}
	EXPECT_TRUE(load_check(mem, NPAGES, 3));
}

/* ---- under load ---- */

struct leave_shared {
	bool stop;			/* atomic */
	uint64_t walks, lost, churns;	/* atomic */
};

/* A device address space that does all it can, and opens the device again when it goes. */
static void leave_worker(struct leave_shared *shared, unsigned int number)
{
	const size_t npages = 512, part = 128;
	volatile char *mem = sys_pages(npages);
	uint64_t *sure = calloc(npages, 8), *maybe = calloc(npages, 8), word, seed, before;
	struct load_thread cpu;
	uint32_t turn = 0;

	ASSERT_NE(sure, NULL);
	ASSERT_NE(maybe, NULL);
	load_prog();
	load_fill(mem, npages, KSEED + number);
	load_thread_start(&cpu, mem, npages, 1, number);
	while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
		struct dgpu_dev *dev;

		if (dgpu_open(NULL, &dev)) {
			sys_sleep_ms(1);
			continue;
		}
		dgpu_set_policy(dev, number % 2 ? HMM_POLICY_TOUCH : HMM_POLICY_REQUEST);
		while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
			const struct load_walk walk = {
				.mem = mem, .npages = npages, .nthreads = 8, .rounds = 20,
				.seed = ++turn * 1000ull + number,
			};
			const struct dgpu_run run = {
				.prog = load_prog(), .nthreads = walk.nthreads,
				.engine = DGPU_ENGINE_ANY, .timeout_ms = 600000,
				.args = { (uintptr_t)mem, npages, walk.rounds, walk.seed },
			};
			struct dgpu_result result = {};
			volatile char *piece;
			int ret, status;
			pid_t pid;

			ret = dgpu_run(dev, &run, &result);
			if (!ret) {
				load_expect(sure, &walk);
				__atomic_fetch_add(&shared->walks, 1, __ATOMIC_SEQ_CST);
			} else {
				/* It did some of it, or nothing. */
				load_expect(maybe, &walk);
				__atomic_fetch_add(&shared->lost, 1, __ATOMIC_SEQ_CST);
				if (!EXPECT_TRUE(ret == -ENODEV || (ret == -EIO &&
						 (result.status == DGPU_ERR_LOST ||
						  result.status == DGPU_ERR_STOPPED ||
						  result.error == ENODEV ||
						  result.error == ESRCH))))
					test_log("job: %s, status %s, error %d", strerror(-ret),
						 dgpu_status_name(result.status), result.error);
				break;
			}
			ret = dgpu_migrate(dev, (void *)mem, npages * PAGE_SIZE / 2, 0, NULL, NULL);
			if (!EXPECT_TRUE(ret == 0 || ret == -EBUSY || ret == -ENODEV ||
					 ret == -ENOSPC || ret == -ESRCH))
				test_log("migration: %s", strerror(-ret));
			/* Memory that is mapped, moved, forked and unmapped. */
			seed = turn;
			piece = mmap(NULL, part * PAGE_SIZE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			ASSERT_NE(MAP_FAILED, piece);
			load_fill(piece, part, seed);
			dgpu_migrate(dev, (void *)piece, part * PAGE_SIZE, 0, NULL, NULL);
			pid = fork();
			if (!pid)
				_exit(load_check(piece, part, seed) ? 0 : 1);
			*(volatile uint64_t *)piece = 1;
			ASSERT_SYS(munmap((void *)(piece + part / 2 * PAGE_SIZE),
					  part / 2 * PAGE_SIZE));
			EXPECT_TRUE(load_check(piece, part / 2, seed));
			ASSERT_SYS(munmap((void *)piece, part / 2 * PAGE_SIZE));
			ASSERT_EQ(pid, waitpid(pid, &status, 0));
			EXPECT_EQ(0, status);
			__atomic_fetch_add(&shared->churns, 1, __ATOMIC_SEQ_CST);
		}
		dgpu_close(dev);
	}
	before = load_thread_stop(&cpu);
	EXPECT_EQ(before, load_sum(mem, npages, 1));
	EXPECT_TRUE(load_check(mem, npages, KSEED + number));
	for (size_t i = 0; i < npages; i++) {
		word = *(volatile uint64_t *)(mem + i * PAGE_SIZE);
		if (!EXPECT_TRUE(word >= sure[i] && word <= sure[i] + maybe[i])) {
			test_log("page %zu: the device's counter is %ju, not %ju to %ju", i,
				 (uintmax_t)word, (uintmax_t)sure[i],
				 (uintmax_t)(sure[i] + maybe[i]));
			break;
		}
	}
	_exit(0);
}

TEST_F(evacuate, under_load)
{
	struct harness_data_leave *leave = &self->leave;
	const unsigned long rounds = sys_scale(variant->how == LEAVE_UNBIND ? 6 : 20);
	struct leave_shared *shared;
	unsigned long busy = 0;
	pid_t pids[3];
	int status, ret;

	shared = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	for (unsigned int i = 0; i < 3; i++) {
		pids[i] = fork();
		if (!pids[i])
			leave_worker(shared, i);
	}
	for (unsigned long i = 0; i < rounds; i++) {
		const uint64_t walks = __atomic_load_n(&shared->walks, __ATOMIC_SEQ_CST);
		const uint64_t begin = sys_now_ms();

		/* Something is there, and something happens. */
		while (__atomic_load_n(&shared->walks, __ATOMIC_SEQ_CST) < walks + 3 &&
		       sys_now_ms() < begin + 3000)
			sys_sleep_ms(1);
		ret = leave_do(leave, variant->how);
		busy += ret == -EBUSY;
		if (!EXPECT_TRUE(ret == 0 || ret == -EBUSY))
			test_log("evacuation: %s", strerror(-ret));
		EXPECT_LT(sys_now_ms() - begin, SOON);
		if (variant->how == LEAVE_UNBIND) {
			sys_sleep_ms(5);
			leave_bring_back(leave);
			gpu_setup_memory(&leave->gpu);
		}
	}
	/* On a slow machine nothing may have been done in one piece so far. */
	while (!__atomic_load_n(&shared->walks, __ATOMIC_SEQ_CST))
		sys_sleep_ms(1);
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	test_log("%lu times, %lu of them busy; %ju walks, %ju cut short, %ju mappings", rounds, busy,
		 (uintmax_t)shared->walks, (uintmax_t)shared->lost, (uintmax_t)shared->churns);
	EXPECT_TRUE(chip_rmem_becomes(leave->gpu.dev, HMM_RMEM_USED, 0));
	EXPECT_EQ(0, chip_rmem(leave->gpu.dev, HMM_RMEM_LOST));
	EXPECT_EQ(0, leave_stat(leave, "hw.bus_errors"));
	leave_expect_works(&leave->gpu);
}

/* ---- lost ---- */

static sigjmp_buf leave_jump;

static void leave_sigbus(int sig __attribute__((unused)))
{
	siglongjmp(leave_jump, 1);
}

/* What the CPU finds: true and a value, or false for SIGBUS. */
static bool leave_read(const volatile void *at, uint64_t *value)
{
	struct sigaction action = { .sa_handler = leave_sigbus }, old;
	volatile bool there = false;

	sigaction(SIGBUS, &action, &old);
	if (!sigsetjmp(leave_jump, 1)) {
		*value = *(const volatile uint64_t *)at;
		there = true;
	}
	sigaction(SIGBUS, &old, NULL);
	return there;
}

/* Pages that are lost; those that are not must have word 0 = value + page. */
static size_t leave_lost(const volatile char *mem, size_t npages, uint64_t value, bool *lost)
{
	size_t nr = 0;
	uint64_t seen;

	for (size_t i = 0; i < npages; i++) {
		const bool there = leave_read(mem + i * PAGE_SIZE, &seen);

		if (lost)
			lost[i] = !there;
		nr += !there;
		if (there && !EXPECT_EQ(value + i, seen))
			test_log("page %zu", i);
	}
	return nr;
}

/* A line in the kernel's log that no run before has left there. */
static void leave_log_mark(char mark[32])
{
	snprintf(mark, 32, "leave-mark-%ju-", (uintmax_t)sys_now_ms());
	sys_write("/dev/kmsg", mark);
}

/* Lines since then that have two words. */
static unsigned int leave_log_lines(const char *mark, const char *text, const char *and)
{
	char command[300], number[32] = "";
	FILE *pipe;

	snprintf(command, sizeof(command), "dmesg | sed '1,/%s/d' | grep -i '%s' | grep -ic '%s'",
		 mark, text, and);
	pipe = popen(command, "re");
	ASSERT_NE(pipe, NULL);
	if (!fgets(number, sizeof(number), pipe))
		*number = '\0';
	pclose(pipe);
	return (unsigned int)atoi(number);
}

static void leave_lose(struct harness_data_leave *self)
{
	self->lost = true;
	leave_knob(self, "lost", 1);
	/* The chip says so by an interrupt: its driver knows a moment later. */
	for (int i = 0; i < 1500; i++) {
		if (dgpu_get_info(self->gpu.dev, &(struct dgpu_info) {}) == -ENODEV)
			return;
		sys_sleep_ms(20);
	}
	FAIL("the driver does not notice that the device is lost");
}

TEST_F(leave, lost_pages)
{
	volatile char *mem = sys_pages(NPAGES), *moved;
	struct iovec local, remote;
	char byte, mark[32];
	int status, null;
	uint64_t value;
	pid_t pid;

	cpu_fill(mem, NPAGES, KSEED);
	gpu_move_in(&self->gpu, mem, NPAGES / 2);
	leave_log_mark(mark);
	leave_lose(self);

	/* What was there says so, what was not is right. */
	EXPECT_EQ(NPAGES / 2, leave_lost(mem, NPAGES / 2, KSEED, NULL));
	EXPECT_EQ(0, leave_lost(mem + LENGTH / 2, NPAGES / 2, KSEED + NPAGES / 2, NULL));
	/* So it does to the kernel, in a child, and at another address. */
	local = (struct iovec) { .iov_base = &byte, .iov_len = 1 };
	remote = (struct iovec) { .iov_base = (void *)mem, .iov_len = 1 };
	null = ASSERT_SYS(memfd_create("null", MFD_CLOEXEC));
	EXPECT_EQ(-1, write(null, (void *)mem, 1));
	EXPECT_EQ(EFAULT, errno);
	close(null);
	EXPECT_EQ(-1, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	pid = fork();
	if (!pid) {
		EXPECT_EQ(NPAGES / 2, leave_lost(mem, NPAGES / 2, KSEED, NULL));
		/* And it dies with them mapped. */
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	moved = mremap((void *)mem, 16 * PAGE_SIZE, 16 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       sys_pages(16));
	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_FALSE(leave_read(moved, &value));
	/* Given up, the address is as good as new. */
	ASSERT_SYS(madvise((void *)moved, PAGE_SIZE, MADV_DONTNEED));
	EXPECT_TRUE(leave_read(moved, &value));
	EXPECT_EQ(0, value);

	leave_expect_lost(self, NPAGES / 2);
	for (int i = 0; i < 100 && !leave_log_lines(mark, "lost", "pages"); i++)
		sys_sleep_ms(20);
	EXPECT_EQ(1, leave_log_lines(mark, "lost", "pages"));
	/* The driver can go with pages of its device still mapped. */
	leave_bring_back(self);
	gpu_setup_memory(&self->gpu);
	leave_expect_works(&self->gpu);
	EXPECT_FALSE(leave_read(mem + LENGTH / 4, &value));
	ASSERT_SYS(munmap((void *)(mem + 16 * PAGE_SIZE), LENGTH - 16 * PAGE_SIZE));
	ASSERT_SYS(munmap((void *)moved, 16 * PAGE_SIZE));
	EXPECT_EQ(0, chip_rmem(self->gpu.dev, HMM_RMEM_LOST));
	leave_expect_works(&self->gpu);
}

/* The module goes, the pages stay, and still say so; the core waits for the last of them. */
TEST_F(leave, lost_pages_without_driver)
{
	volatile char *mem = sys_pages(NPAGES);
	struct chip_module module;
	uint64_t value;

	if (!chip_module_find(&module))
		SKIP("where dummy_gpu.ko is cannot be told: set DGPU_MODULE");
	cpu_fill(mem, NPAGES, KSEED);
	gpu_move_in(&self->gpu, mem, NPAGES);
	leave_lose(self);
	gpu_teardown(&self->gpu);
	ASSERT_EQ(0, chip_module_reload(&module, ""));
	self->lost = false;
	EXPECT_FALSE(leave_read(mem, &value));
	gpu_setup_memory(&self->gpu);
	leave_expect_works(&self->gpu);
	EXPECT_EQ(NPAGES, leave_lost(mem, NPAGES, KSEED, NULL));
	/* To the new device they cannot move. */
	EXPECT_EQ(-EHWPOISON, dgpu_migrate(self->gpu.dev, (void *)mem, LENGTH, 0, NULL, NULL));
	EXPECT_EQ(-EFAULT, gpu_read(&self->gpu, mem, &value));
}

/* A move that is under way when the device falls off the bus. */
struct leave_move {
	struct dgpu_dev *dev;
	volatile char *mem;
	size_t npages;
	uint32_t flags;
	uint8_t *results;
	int ret;
	bool done;	/* atomic */
};

static void *leave_move_run(void *arg)
{
	struct leave_move *move = arg;

	move->ret = dgpu_migrate(move->dev, (void *)move->mem, move->npages * PAGE_SIZE,
				 move->flags, move->results, NULL);
	__atomic_store_n(&move->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void *leave_touch_run(void *arg)
{
	struct leave_move *move = arg;

	for (size_t i = 0; i < move->npages; i++)
		*(volatile uint64_t *)(move->mem + i * PAGE_SIZE) += 0;
	__atomic_store_n(&move->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void *leave_evacuate_run(void *arg)
{
	struct leave_move *move = arg;

	move->ret = dgpu_evacuate(move->dev, NULL);
	__atomic_store_n(&move->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

FIXTURE(midcopy) {
	struct harness_data_leave leave;
};

FIXTURE_VARIANT(midcopy) {
	uint32_t flags;
	bool evacuate;
};

FIXTURE_VARIANT_ADD(midcopy, in) { .flags = 0 };
FIXTURE_VARIANT_ADD(midcopy, out) { .flags = DGPU_MIGRATE_TO_SYSTEM };
FIXTURE_VARIANT_ADD(midcopy, evacuate) { .flags = DGPU_MIGRATE_TO_SYSTEM, .evacuate = true };

FIXTURE_SETUP(midcopy)
{
	harness_setup_leave(&self->leave, NULL);
}

FIXTURE_TEARDOWN(midcopy)
{
	harness_teardown_leave(&self->leave, NULL);
}

TEST_F(midcopy, device_is_lost)
{
	struct harness_data_leave *leave = &self->leave;
	volatile char *mem = sys_pages(NPAGES);
	bool lost[NPAGES];
	uint8_t results[NPAGES] = {};
	struct leave_move move = {
		.dev = leave->gpu.dev, .mem = mem, .npages = NPAGES, .flags = variant->flags,
		.results = results,
	};
	pthread_t thread;
	size_t nr;

	cpu_fill(mem, NPAGES, KSEED);
	if (variant->flags & DGPU_MIGRATE_TO_SYSTEM)
		gpu_move_in(&leave->gpu, mem, NPAGES);
	/* The first pieces arrive, and then one takes its time. */
	leave_knob(leave, "copy_delay_us", 200000);
	ASSERT_EQ(0, pthread_create(&thread, NULL,
				    variant->evacuate ? leave_evacuate_run : leave_move_run,
				    &move));
	sys_sleep_ms(300);
	leave_lose(leave);
	pthread_join(thread, NULL);
	nr = leave_lost(mem, NPAGES, KSEED, lost);
	test_log("%s: %zu of %zu pages lost", strerror(-move.ret), nr, NPAGES);
	leave_expect_lost(leave, nr);
	for (size_t i = 0; i < NPAGES && !variant->evacuate; i++) {
		const bool moved = results[i] == HMM_PAGE_MOVED;
		const bool ok = variant->flags ? lost[i] != moved : !lost[i] || moved;

		/* What is said to have come back is there; what did not go, too. */
		if (!EXPECT_TRUE(ok)) {
			test_log("page %zu is %s, and said to be '%s'", i,
				 lost[i] ? "lost" : "there", dgpu_page_result_name(results[i]));
			break;
		}
	}
	ASSERT_SYS(munmap((void *)mem, LENGTH));
	leave_bring_back(leave);
	gpu_setup_memory(&leave->gpu);
	leave_expect_works(&leave->gpu);
}

/* ---- copies that fail ---- */

/* Some: they are done again. */
TEST_F(leave, some_copies_fail)
{
	volatile char *mem = sys_pages(NPAGES);
	uint8_t results[NPAGES];
	int ret;

	load_fill(mem, NPAGES, 11);
	for (unsigned long i = 0; i < sys_scale(30); i++) {
		leave_knob(self, "copy_fail", 1 + i % 3);
		ret = dgpu_migrate(self->gpu.dev, (void *)mem, LENGTH,
				   i % 2 ? DGPU_MIGRATE_TO_SYSTEM : 0, results, NULL);
		EXPECT_TRUE(ret == 0 || ret == -EIO);
		if (!EXPECT_EQ(NPAGES, leave_results(results, NPAGES, HMM_PAGE_MOVED) +
			       leave_results(results, NPAGES, HMM_PAGE_THERE) +
			       leave_results(results, NPAGES, HMM_PAGE_FAILED)))
			break;
		EXPECT_EQ(ret == 0, leave_results(results, NPAGES, HMM_PAGE_FAILED) == 0);
	}
	/* One copy that fails is nothing that anybody notices. */
	leave_knob(self, "copy_fail", 0);
	ASSERT_EQ(0, dgpu_migrate(self->gpu.dev, (void *)mem, LENGTH, 0, NULL, NULL));
	leave_knob(self, "copy_fail", 1);
	EXPECT_EQ(0, dgpu_migrate(self->gpu.dev, (void *)mem, LENGTH, DGPU_MIGRATE_TO_SYSTEM,
				  results, NULL));
	EXPECT_EQ(NPAGES, leave_results(results, NPAGES, HMM_PAGE_MOVED));
	EXPECT_GT(chip_rmem(self->gpu.dev, HMM_RMEM_COPY_ERRORS), 0);
	EXPECT_EQ(0, chip_rmem(self->gpu.dev, HMM_RMEM_LOST));
	EXPECT_EQ(0, chip_rmem(self->gpu.dev, HMM_RMEM_USED));
	EXPECT_TRUE(load_check(mem, NPAGES, 11));
}

/* All on the way in: everything stays, and the device uses it where it is. */
TEST_F(leave, no_copy_in)
{
	const size_t npages = 128;
	volatile char *mem = sys_pages(npages), *fresh = sys_pages(npages);
	uint8_t results[128] = {};
	uint64_t moved = 77;

	load_fill(mem, npages, 12);
	leave_knob(self, "copy_fail", CHIP_ALL);
	EXPECT_EQ(-EIO, dgpu_migrate(self->gpu.dev, (void *)mem, npages * PAGE_SIZE, 0, results, &moved));
	EXPECT_EQ(0, moved);
	EXPECT_EQ(npages, leave_results(results, npages, HMM_PAGE_FAILED));
	EXPECT_EQ(npages, leave_places(&self->gpu, mem, npages, HMM_PLACE_SYSTEM));
	ASSERT_EQ(0, dgpu_set_policy(self->gpu.dev, HMM_POLICY_TOUCH));
	EXPECT_EQ(0, gpu_fill(&self->gpu, mem, npages, 0x500));
	EXPECT_EQ(0, gpu_check(&self->gpu, mem, npages, 0x500));
	EXPECT_TRUE(load_check(mem, npages, 12));
	EXPECT_TRUE(cpu_check(mem, npages, 0x500));
	/* Nor can a page be made there: it is made in system memory. */
	EXPECT_EQ(0, gpu_fill(&self->gpu, fresh, npages, 0x600));
	EXPECT_TRUE(cpu_check(fresh, npages, 0x600));
	EXPECT_EQ(0, *(volatile uint64_t *)(fresh + 8));
	EXPECT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
	leave_knob(self, "copy_fail", 0);
	leave_expect_works(&self->gpu);
}

/* All on the way out: everything stays on the device, and who wants it has to wait. */
TEST_F(leave, no_copy_out)
{
	volatile char *mem = sys_pages(NPAGES);
	struct leave_move touch = { .mem = mem, .npages = NPAGES };
	uint8_t results[NPAGES] = {};
	uint64_t left = 0, errors;
	pthread_t thread;
	int status;
	pid_t pid;

	load_fill(mem, NPAGES, 13);
	gpu_move_in(&self->gpu, mem, NPAGES);
	leave_knob(self, "copy_fail", CHIP_ALL);
	EXPECT_EQ(-EIO, dgpu_migrate(self->gpu.dev, (void *)mem, LENGTH, DGPU_MIGRATE_TO_SYSTEM,
				     results, NULL));
	EXPECT_EQ(NPAGES, leave_results(results, NPAGES, HMM_PAGE_FAILED));
	EXPECT_EQ(-EIO, dgpu_evacuate(self->gpu.dev, &left));
	EXPECT_EQ(NPAGES, left);
	EXPECT_EQ(NPAGES, leave_places(&self->gpu, mem, NPAGES, HMM_PLACE_DEVICE));
	EXPECT_EQ(0, gpu_fill(&self->gpu, mem, NPAGES, 0x800));
	EXPECT_EQ(0, gpu_check(&self->gpu, mem, NPAGES, 0x800));

	/* Who waits for it can be killed, and what it had goes with it. */
	pid = fork();
	if (!pid) {
		leave_touch_run(&touch);
		FAIL("a page was read that cannot be copied");
		_exit(1);
	}
	errors = (uint64_t)chip_rmem(self->gpu.dev, HMM_RMEM_COPY_ERRORS);
	while ((uint64_t)chip_rmem(self->gpu.dev, HMM_RMEM_COPY_ERRORS) == errors)
		sys_sleep_ms(10);
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	/* Who goes on waiting gets it in the end. */
	ASSERT_EQ(0, pthread_create(&thread, NULL, leave_touch_run, &touch));
	errors = (uint64_t)chip_rmem(self->gpu.dev, HMM_RMEM_COPY_ERRORS);
	while ((uint64_t)chip_rmem(self->gpu.dev, HMM_RMEM_COPY_ERRORS) == errors)
		sys_sleep_ms(10);
	EXPECT_FALSE(__atomic_load_n(&touch.done, __ATOMIC_SEQ_CST));
	leave_knob(self, "copy_fail", 0);
	pthread_join(thread, NULL);
	EXPECT_TRUE(load_check(mem, NPAGES, 13));
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x800));
	EXPECT_EQ(0, chip_rmem(self->gpu.dev, HMM_RMEM_LOST));
	EXPECT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
}

/* The driver goes, and nothing can be copied: what was there is lost, and says so. */
TEST_F(leave, unbind_without_copies)
{
	volatile char *mem = sys_pages(NPAGES);
	const uint64_t begin = sys_now_ms();
	char mark[32];

	cpu_fill(mem, NPAGES, KSEED);
	gpu_move_in(&self->gpu, mem, NPAGES / 2);
	leave_log_mark(mark);
	leave_knob(self, "copy_fail", CHIP_ALL);
	self->gone = true;
	ASSERT_EQ(0, chip_unbind(self->index));
	EXPECT_LT(sys_now_ms() - begin, SOON);
	EXPECT_EQ(NPAGES / 2, leave_lost(mem, NPAGES / 2, KSEED, NULL));
	EXPECT_EQ(0, leave_lost(mem + LENGTH / 2, NPAGES / 2, KSEED + NPAGES / 2, NULL));
	EXPECT_EQ(1, leave_log_lines(mark, "lost", "pages"));
	leave_bring_back(self);
	gpu_setup_memory(&self->gpu);
	leave_expect_works(&self->gpu);
	ASSERT_SYS(munmap((void *)mem, LENGTH));
}

/* ---- copies that hang ---- */

TEST_F(leave, hung_copies)
{
	volatile char *mem = sys_pages(NPAGES);
	struct leave_move touch = { .mem = mem, .npages = NPAGES };
	uint8_t results[NPAGES];
	uint64_t begin;
	int ret;

	load_fill(mem, NPAGES, 14);
	for (int i = 0; i < 2; i++) {
		leave_knob(self, "hang_copy", 3);
		begin = sys_now_ms();
		ret = dgpu_migrate(self->gpu.dev, (void *)mem, LENGTH,
				   i % 2 ? DGPU_MIGRATE_TO_SYSTEM : 0, results, NULL);
		EXPECT_LT(sys_now_ms() - begin, SOON);
		EXPECT_TRUE(ret == 0 || ret == -EIO);
		EXPECT_EQ(NPAGES, leave_results(results, NPAGES, HMM_PAGE_MOVED) +
			  leave_results(results, NPAGES, HMM_PAGE_THERE) +
			  leave_results(results, NPAGES, HMM_PAGE_FAILED));
		/* Reset, it copies again. */
		leave_knob(self, "hang_copy", 0);
		ASSERT_EQ(0, dgpu_migrate(self->gpu.dev, (void *)mem, LENGTH,
					  i % 2 ? DGPU_MIGRATE_TO_SYSTEM : 0, NULL, NULL));
	}
	/* A touch of the CPU, an evacuation, and a process that goes. */
	gpu_move_in(&self->gpu, mem, NPAGES);
	leave_knob(self, "hang_copy", 3);
	leave_touch_run(&touch);
	EXPECT_TRUE(load_check(mem, NPAGES, 14));
	ASSERT_EQ(0, dgpu_migrate(self->gpu.dev, (void *)mem, LENGTH, 0, NULL, NULL));
	leave_knob(self, "hang_copy", 3);
	ret = dgpu_evacuate(self->gpu.dev, NULL);
	EXPECT_TRUE(ret == 0 || ret == -EIO);
	leave_knob(self, "hang_copy", 0);
	EXPECT_EQ(0, dgpu_evacuate(self->gpu.dev, NULL));
	EXPECT_TRUE(load_check(mem, NPAGES, 14));
	EXPECT_EQ(0, chip_rmem(self->gpu.dev, HMM_RMEM_LOST));
	leave_expect_works(&self->gpu);
}

/* Killed, or unmapped, in the middle of a copy. */
TEST_F(leave, killed_in_mid_copy)
{
	int status, ready[2];
	char c;

	ASSERT_SYS(pipe(ready));
	for (int i = 0; i < 4; i++) {
		pid_t pid = fork();

		if (!pid) {
			volatile char *mem = sys_pages(NPAGES);
			struct gpu gpu = {};

			gpu_setup_memory(&gpu);
			load_fill(mem, NPAGES, 15);
			if (i % 2)
				gpu_move_in(&gpu, mem, NPAGES);
			leave_knob(self, "copy_delay_us", 300000);
			EXPECT_EQ(1, write(ready[1], "x", 1));
			if (i < 2)
				dgpu_migrate(gpu.dev, (void *)mem, LENGTH,
					     i % 2 ? DGPU_MIGRATE_TO_SYSTEM : 0, NULL, NULL);
			else
				load_check(mem, NPAGES, 15);
			pause();
			_exit(0);
		}
		ASSERT_EQ(1, read(ready[0], &c, 1));
		sys_sleep_ms(100);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		leave_knob(self, "copy_delay_us", 0);
	}
	EXPECT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
	EXPECT_EQ(0, chip_rmem(self->gpu.dev, HMM_RMEM_LOST));
	EXPECT_EQ(0, leave_stat(self, "hw.bus_errors"));
	leave_expect_works(&self->gpu);
	close(ready[0]);
	close(ready[1]);
}

/* Its process is gone by the time that the copies of an evacuation are done. */
TEST_F(leave, exits_while_evacuated)
{
	struct leave_move move = { .dev = self->gpu.dev };
	int status, ready[2];
	pthread_t thread;
	char c;

	ASSERT_SYS(pipe(ready));
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		if (!pid) {
			/* A mapping of its own, whose end is the end of all that names the pages. */
			volatile char *mem = sys_pages(NPAGES);
			struct gpu gpu = {};

			gpu_setup_memory(&gpu);
			load_fill(mem, NPAGES, 16);
			gpu_move_in(&gpu, mem, NPAGES);
			EXPECT_EQ(1, write(ready[1], "x", 1));
			pause();
			_exit(0);
		}
		ASSERT_EQ(1, read(ready[0], &c, 1));
		leave_knob(self, "copy_delay_us", 500000);
		ASSERT_EQ(0, pthread_create(&thread, NULL, leave_evacuate_run, &move));
		sys_sleep_ms(200);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		leave_knob(self, "copy_delay_us", 0);
		pthread_join(thread, NULL);
		EXPECT_EQ(0, move.ret);
		move.done = false;
	}
	EXPECT_TRUE(chip_rmem_becomes(self->gpu.dev, HMM_RMEM_USED, 0));
	EXPECT_EQ(0, chip_rmem(self->gpu.dev, HMM_RMEM_LOST));
	leave_expect_works(&self->gpu);
	close(ready[0]);
	close(ready[1]);
}

HARNESS_MAIN

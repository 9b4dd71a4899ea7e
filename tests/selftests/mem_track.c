// SPDX-License-Identifier: GPL-2.0
/*
 * Those who watch memory: userfaultfd (missing pages, write protection, moving) and
 * soft-dirty bits, on pages that are on the device, come from there or go there.
 *
 * The watcher must hear of everything that it would hear of without a device: a page
 * that goes to the device takes its marks along, and an empty address that a watcher
 * wants to fill is not filled behind its back.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define LOCAL	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)

#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE		(1 << 16)
#define UFFDIO_MOVE			_IOWR(UFFDIO, 0x05, struct uffdio_move)
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};
#endif

/* ---- userfaultfd ---- */

/* A thread that answers: missing pages get 0xf000 + page, protection is lifted. */
struct watcher {
	int uffd;
	char *mem;
	char *page;
	int stop[2];
	pthread_t thread;
	volatile unsigned int missing[NPAGES], wp[NPAGES], other;
	volatile uint64_t at_wp[NPAGES];	/* what was there when a write was announced */
};

static void watcher_answer(struct watcher *w, const struct uffd_msg *msg)
{
	const uintptr_t addr = msg->arg.pagefault.address & ~(PAGE_SIZE - 1);
	const size_t page = (addr - (uintptr_t)w->mem) / PAGE_SIZE;

	if (msg->event != UFFD_EVENT_PAGEFAULT || page >= NPAGES) {
		w->other++;
		return;
	}
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		w->wp[page]++;
		w->at_wp[page] = *word(w->mem, page);
		sys_uffd_protect(w->uffd, (void *)addr, PAGE_SIZE, false);
	} else {
		struct uffdio_copy copy = {
			.dst = addr, .src = (uintptr_t)w->page, .len = PAGE_SIZE,
		};

		w->missing[page]++;
		*(volatile uint64_t *)w->page = 0xf000 + page;
		if (ioctl(w->uffd, UFFDIO_COPY, &copy) && errno != EEXIST)
			w->other++;
	}
}

static void *watcher_run(void *arg)
{
	struct watcher *w = arg;
	struct pollfd fds[2] = {
		{ .fd = w->uffd, .events = POLLIN }, { .fd = w->stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;

	while (poll(fds, 2, -1) > 0 && !fds[1].revents)
		if (fds[0].revents && read(w->uffd, &msg, sizeof(msg)) == sizeof(msg))
			watcher_answer(w, &msg);
	return NULL;
}

static unsigned int sum(const volatile unsigned int *counts)
{
	unsigned int n = 0;

	for (size_t i = 0; i < NPAGES; i++)
		n += counts[i];
	return n;
}

FIXTURE(uffd) {
	struct gpu gpu;
	char *mem;	/* the first half is on the device: 0x1000, ...; the rest is empty */
	struct watcher w;
	bool running;
};

static void watch(struct gpu *gpu, struct watcher *w, char *mem, uint64_t features,
		  uint64_t mode)
{
	(void)gpu;
	w->mem = mem;
	w->page = sys_pages(1);
	w->page[0] = 0;
	ASSERT_SYS(pipe2(w->stop, O_CLOEXEC));
	w->uffd = sys_uffd_open(features);
	/* Without it poll() says nothing of use. */
	ASSERT_SYS(fcntl(w->uffd, F_SETFL, O_NONBLOCK));
	sys_uffd_register(w->uffd, mem, LENGTH, mode);
}

static void watch_start(struct watcher *w)
{
	ASSERT_EQ(0, pthread_create(&w->thread, NULL, watcher_run, w));
}

FIXTURE_SETUP(uffd)
{
	self->w.uffd = -1;
	gpu_setup_memory(&self->gpu);
	self->mem = sys_pages(NPAGES);
	cpu_fill(self->mem, NPAGES / 2, 0xdead);
	gpu_move_in(&self->gpu, self->mem, NPAGES / 2);
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES / 2, 0x1000));
}

FIXTURE_TEARDOWN(uffd)
{
	if (self->running) {
		EXPECT_EQ(1, write(self->w.stop[1], "x", 1));
		pthread_join(self->w.thread, NULL);
		EXPECT_EQ(0, self->w.other);
	}
	gpu_teardown(&self->gpu);
	if (self->w.uffd >= 0)
		close(self->w.uffd);
}

/* What is on the device is not missing. */
TEST_F(uffd, missing_on_device)
{
	struct gpu *gpu = &self->gpu;

	watch(gpu, &self->w, self->mem, 0, UFFDIO_REGISTER_MODE_MISSING);
	watch_start(&self->w);
	self->running = true;
	EXPECT_PLACE(gpu, self->mem, NPAGES / 2, DEVICE);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES / 2, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES / 2, 0x1000));
	gpu_move_in(gpu, self->mem, NPAGES / 2);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES / 2, 0x1000));
	EXPECT_EQ(0, sum(self->w.missing));
	/* What is empty is; for either side. */
	EXPECT_EQ(0xf009, *word(self->mem, 9));
	EXPECT_EQ(0xf00a, gpu_see(gpu, word(self->mem, 10)));
	EXPECT_EQ(0, gpu_write(gpu, (char *)word(self->mem, 11) + 8, 5));
	EXPECT_EQ(0xf00b, *word(self->mem, 11));
	EXPECT_EQ(3, sum(self->w.missing));
	/* And moves like any other then. */
	gpu_move_in(gpu, word(self->mem, 9), 3);
	EXPECT_EQ(0, gpu_check(gpu, word(self->mem, 9), 3, 0xf009));
}

/* An address that the watcher is to fill is not filled by a move. */
TEST_F(uffd, missing_and_populate)
{
	struct gpu *gpu = &self->gpu;
	const uint64_t used = gpu_rmem(gpu, HMM_RMEM_USED);
	struct gpu_moved moved;

	watch(gpu, &self->w, self->mem, 0, UFFDIO_REGISTER_MODE_MISSING);
	gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
	EXPECT_EQ(0, moved.ret);
	EXPECT_RESULTS(&moved, 0, NPAGES / 2, THERE);
	EXPECT_RESULTS(&moved, NPAGES / 2, NPAGES / 2, EMPTY);
	gpu_migrate(gpu, self->mem, NPAGES, DGPU_MIGRATE_POPULATE, &moved);
	EXPECT_EQ(0, moved.moved);
	EXPECT_EQ(0, moved.count[HMM_PAGE_MOVED]);
	EXPECT_PLACE(gpu, self->mem + LENGTH / 2, NPAGES / 2, NONE);
	EXPECT_EQ(used, gpu_rmem(gpu, HMM_RMEM_USED));
	/* Nor by an automatic one: the watcher hears of it. */
	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	watch_start(&self->w);
	self->running = true;
	EXPECT_EQ(0xf008, gpu_see(gpu, word(self->mem, 8)));
	EXPECT_EQ(0, gpu_write(gpu, (char *)word(self->mem, 9) + 8, 5));
	EXPECT_EQ(0xf009, *word(self->mem, 9));
	EXPECT_EQ(1, self->w.missing[8]);
	EXPECT_EQ(1, self->w.missing[9]);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES / 2, 0x1000));
}

/* Pages that are freed on the device are missing from then on. */
TEST_F(uffd, missing_after_dontneed)
{
	struct gpu *gpu = &self->gpu;

	watch(gpu, &self->w, self->mem, 0, UFFDIO_REGISTER_MODE_MISSING);
	watch_start(&self->w);
	self->running = true;
	ASSERT_SYS(madvise(self->mem, LENGTH, MADV_DONTNEED));
	EXPECT_EQ(0xf003, gpu_see(gpu, word(self->mem, 3)));
	EXPECT_EQ(0xf004, *word(self->mem, 4));
	EXPECT_EQ(1, self->w.missing[3]);
	EXPECT_EQ(1, self->w.missing[4]);
}

/* Protected first, then moved: the first write is announced, before it is there. */
static void expect_announced(struct gpu *gpu, struct watcher *w, char *mem)
{
	EXPECT_EQ(0, gpu_check(gpu, mem, NPAGES / 2, 0x1000));
	EXPECT_EQ(0, sum(w->wp));
	EXPECT_EQ(0, gpu_write(gpu, word(mem, 2), 0x2002));
	EXPECT_EQ(1, w->wp[2]);
	EXPECT_EQ(0x1002, w->at_wp[2]);
	EXPECT_EQ(0x2002, gpu_see(gpu, word(mem, 2)));
	*word(mem, 5) = 0x2005;
	EXPECT_EQ(1, w->wp[5]);
	EXPECT_EQ(0x1005, w->at_wp[5]);
	EXPECT_EQ(2, sum(w->wp));
	/* The others are still protected, also after another way to and fro. */
	gpu_move_in(gpu, mem, NPAGES / 2);
	EXPECT_EQ(2, sum(w->wp));
	gpu_move_out(gpu, mem, NPAGES / 2);
	*word(mem, 6) = 0x2006;
	EXPECT_EQ(1, w->wp[6]);
	gpu_move_in(gpu, mem, NPAGES / 2);
	EXPECT_EQ(0, gpu_write(gpu, word(mem, 7), 0x2007));
	EXPECT_EQ(1, w->wp[7]);
	EXPECT_EQ(0x1007, w->at_wp[7]);
	/* Those that were written once are free. */
	EXPECT_EQ(0, gpu_write(gpu, word(mem, 2), 0x3002));
	*word(mem, 5) = 0x3005;
	EXPECT_EQ(4, sum(w->wp));
	EXPECT_EQ(0x3002, *word(mem, 2));
	EXPECT_EQ(0x3005, gpu_see(gpu, word(mem, 5)));
	EXPECT_EQ(0x1000, *word(mem, 0));
}

TEST_F(uffd, protected_then_moved)
{
	struct gpu *gpu = &self->gpu;

	gpu_move_out(gpu, self->mem, NPAGES / 2);
	watch(gpu, &self->w, self->mem, UFFD_FEATURE_PAGEFAULT_FLAG_WP, UFFDIO_REGISTER_MODE_WP);
	sys_uffd_protect(self->w.uffd, self->mem, LENGTH / 2, true);
	gpu_move_in(gpu, self->mem, NPAGES / 2);
	watch_start(&self->w);
	self->running = true;
	expect_announced(gpu, &self->w, self->mem);
}

/* Protected where they are on the device: its translations lose the write bit. */
TEST_F(uffd, protected_on_device)
{
	struct gpu *gpu = &self->gpu;

	watch(gpu, &self->w, self->mem, UFFD_FEATURE_PAGEFAULT_FLAG_WP, UFFDIO_REGISTER_MODE_WP);
	EXPECT_EQ(NPAGES / 2, gpu_ptes(gpu, self->mem, NPAGES / 2, LOCAL | DGPU_PTE_WRITE));
	sys_uffd_protect(self->w.uffd, self->mem, LENGTH / 2, true);
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES / 2, DGPU_PTE_WRITE));
	EXPECT_PLACE(gpu, self->mem, NPAGES / 2, DEVICE);
	watch_start(&self->w);
	self->running = true;
	expect_announced(gpu, &self->w, self->mem);
}

/* Protection of addresses that are empty: a move with populate must not lose the marker. */
TEST_F(uffd, protected_empty)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	watch(gpu, &self->w, self->mem, UFFD_FEATURE_WP_UNPOPULATED, UFFDIO_REGISTER_MODE_WP);
	sys_uffd_protect(self->w.uffd, self->mem, LENGTH, true);
	gpu_migrate(gpu, self->mem + LENGTH / 2, NPAGES / 2, DGPU_MIGRATE_POPULATE, &moved);
	watch_start(&self->w);
	self->running = true;
	for (size_t i = NPAGES / 2; i < NPAGES; i++) {
		if (i & 1)
			EXPECT_EQ(0, gpu_write(gpu, word(self->mem, i), 0x2000 + i));
		else
			*word(self->mem, i) = 0x2000 + i;
		EXPECT_EQ(1, self->w.wp[i]);
		EXPECT_EQ(0, self->w.at_wp[i]);
	}
	EXPECT_EQ(0, gpu_check(gpu, self->mem + LENGTH / 2, NPAGES / 2, 0x2000 + NPAGES / 2));
}

static int uffd_move(int uffd, char *dst, char *src, size_t length)
{
	struct uffdio_move move = { .dst = (uintptr_t)dst, .src = (uintptr_t)src, .len = length };

	return ioctl(uffd, UFFDIO_MOVE, &move) ? -errno : 0;
}

/* UFFDIO_MOVE: a page on the device it does not move (EFAULT), and leaves as it was. */
TEST_F(uffd, move)
{
	struct gpu *gpu = &self->gpu;
	char *to = sys_pages(NPAGES);
	int ret;

	watch(gpu, &self->w, to, UFFD_FEATURE_MOVE, UFFDIO_REGISTER_MODE_MISSING);
	ret = uffd_move(self->w.uffd, to, self->mem, LENGTH / 2);
	if (ret) {
		EXPECT_EQ(-EFAULT, ret);
		EXPECT_PLACE(gpu, self->mem, NPAGES / 2, DEVICE);
		EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES / 2, 0x1000));
		gpu_move_out(gpu, self->mem, NPAGES / 2);
		/* What a move in and out again leaves behind is a page like any. */
		ASSERT_EQ(0, uffd_move(self->w.uffd, to, self->mem, LENGTH / 2));
	}
	EXPECT_PLACE(gpu, self->mem, NPAGES / 2, NONE);
	EXPECT_EQ(0, gpu_check(gpu, to, NPAGES / 2, 0x1000));
	gpu_move_in(gpu, to, NPAGES / 2);
	EXPECT_EQ(0, gpu_fill(gpu, to, NPAGES / 2, 0x2000));
	EXPECT_TRUE(cpu_check(to, NPAGES / 2, 0x2000));
}

/* The watcher goes away with pages on the device. */
TEST_F(uffd, close)
{
	struct gpu *gpu = &self->gpu;

	watch(gpu, &self->w, self->mem, UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	      UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING);
	sys_uffd_protect(self->w.uffd, self->mem, LENGTH / 2, true);
	close(self->w.uffd);
	self->w.uffd = -1;
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x3000));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL | DGPU_PTE_WRITE));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x3000));
}

/* ---- soft-dirty ---- */

FIXTURE(dirty) {
	struct gpu gpu;
	char *mem;	/* NPAGES in system memory; even ones are soft-dirty, odd ones not */
};

static bool is_soft_dirty(char *mem, size_t page)
{
	return sys_pagemap(mem + page * PAGE_SIZE) & SYS_PM_SOFT_DIRTY;
}

FIXTURE_SETUP(dirty)
{
	gpu_setup_memory(&self->gpu);
	self->mem = sys_pages(NPAGES);
	cpu_fill(self->mem, NPAGES, 0x1000);
	sys_write("/proc/self/clear_refs", "4");
	if (is_soft_dirty(self->mem, 0))
		SKIP("this kernel has no soft-dirty bits");
	for (size_t i = 0; i < NPAGES; i += 2)
		*word(self->mem, i) = 0x1000 + i;
	for (size_t i = 0; i < NPAGES; i++)
		ASSERT_EQ(!(i & 1), is_soft_dirty(self->mem, i));
}

FIXTURE_TEARDOWN(dirty)
{
	gpu_teardown(&self->gpu);
}

static void expect_even_dirty(char *mem)
{
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(!(i & 1), is_soft_dirty(mem, i));
}

/* The bits are seen while pages are on the device, and are there when they are back. */
TEST_F(dirty, kept)
{
	struct gpu *gpu = &self->gpu;

	gpu_move_in(gpu, self->mem, NPAGES);
	expect_even_dirty(self->mem);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	expect_even_dirty(self->mem);
	gpu_move_out(gpu, self->mem, NPAGES);
	expect_even_dirty(self->mem);
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	expect_even_dirty(self->mem);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	expect_even_dirty(self->mem);
}

/* A page that was clean and is written, on either side, is dirty. */
TEST_F(dirty, written_after)
{
	struct gpu *gpu = &self->gpu;

	gpu_move_in(gpu, self->mem, NPAGES);
	gpu_move_out(gpu, self->mem, NPAGES);
	*word(self->mem, 1) = 0x2001;
	EXPECT_TRUE(is_soft_dirty(self->mem, 1));
	EXPECT_EQ(0, gpu_write(gpu, word(self->mem, 3), 0x2003));
	EXPECT_TRUE(is_soft_dirty(self->mem, 3));
	EXPECT_FALSE(is_soft_dirty(self->mem, 5));
}

/* Clean, moved, written by the device there: whoever saves what is dirty must see it. */
TEST_F(dirty, written_on_device)
{
	struct gpu *gpu = &self->gpu;

	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_write(gpu, word(self->mem, 1), 0x2001));
	EXPECT_TRUE(is_soft_dirty(self->mem, 1));
	EXPECT_EQ(0, gpu_write(gpu, word(self->mem, 3), 0x2003));
	gpu_move_out(gpu, self->mem, NPAGES);
	EXPECT_TRUE(is_soft_dirty(self->mem, 1));
	EXPECT_TRUE(is_soft_dirty(self->mem, 3));
	EXPECT_FALSE(is_soft_dirty(self->mem, 5));
	EXPECT_EQ(0x2001, *word(self->mem, 1));
}

GPU_POOL_TEST

HARNESS_MAIN

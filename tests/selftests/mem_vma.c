// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings that change while their pages are on the device: munmap, mremap, mprotect,
 * mlock, and pieces of a mapping.
 *
 * The page table carries the entries along, so that most of this moves no page at all;
 * what the device maps at the old address has to go nevertheless, and protection holds
 * for both sides wherever the page is.
 */
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define LOCAL	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)
#define RW	(DGPU_PTE_VALID | DGPU_PTE_WRITE)

FIXTURE(vma) {
	struct gpu gpu;
	char *mem;	/* NPAGES on the device, which wrote 0x1000, ... there */
	uint64_t out, dropped, used;	/* counters at the start */
};

FIXTURE_SETUP(vma)
{
	gpu_setup_memory(&self->gpu);
	self->mem = gpu_pages_on_device(&self->gpu, NPAGES);
	self->out = gpu_rmem(&self->gpu, HMM_RMEM_OUT);
	self->dropped = gpu_rmem(&self->gpu, HMM_RMEM_DROPPED);
	self->used = gpu_rmem(&self->gpu, HMM_RMEM_USED);
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(vma)
{
	gpu_teardown(&self->gpu);
}

static sigjmp_buf bad_access;

static void on_segv(int sig)
{
	siglongjmp(bad_access, sig);
}

/* The signal that an access of the CPU gets, or 0. */
static int cpu_try(volatile uint64_t *addr, bool write)
{
	const struct sigaction action = { .sa_handler = on_segv, .sa_flags = SA_NODEFER };
	struct sigaction segv, bus;
	int sig;

	sigaction(SIGSEGV, &action, &segv);
	sigaction(SIGBUS, &action, &bus);
	sig = sigsetjmp(bad_access, 1);
	if (!sig) {
		if (write)
			*addr = 0xbad;
		else
			(void)*addr;
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig;
}

/* ---- munmap ---- */

TEST_F(vma, munmap)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;

	ASSERT_SYS(munmap(self->mem, LENGTH));
	EXPECT_EVENT(gpu, self->mem, LENGTH, UNMAP, FREE, R(MUNMAP));
	EXPECT_EQ(self->dropped + NPAGES, gpu_rmem(gpu, HMM_RMEM_DROPPED));
	EXPECT_EQ(self->used - NPAGES, gpu_rmem(gpu, HMM_RMEM_USED));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_PLACE(gpu, self->mem, NPAGES, NONE);
	EXPECT_EQ(-EFAULT, gpu_read(gpu, self->mem, &value));
	EXPECT_EQ(self->out, gpu_rmem(gpu, HMM_RMEM_OUT));
}

/* New memory at an address that had pages on the device is new. */
TEST_F(vma, munmap_and_reuse)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 4 * PAGE_SIZE;

	for (uint64_t round = 1; round <= sys_scale(20); round++) {
		ASSERT_SYS(munmap(part, 4 * PAGE_SIZE));
		ASSERT_EQ(part, mmap(part, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		for (size_t i = 0; i < 4; i++)
			ASSERT_EQ(0, gpu_see(gpu, word(part, i)));
		cpu_fill(part, 4, round << 16);
		gpu_move_in(gpu, part, 4);
		ASSERT_EQ(0, gpu_check(gpu, part, 4, round << 16));
	}
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 4, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, part + 4 * PAGE_SIZE, 8, 0x1008));
	EXPECT_EQ(self->used, gpu_rmem(gpu, HMM_RMEM_USED));
}

/* mmap() over it, and every second page away. */
TEST_F(vma, pieces)
{
	struct gpu *gpu = &self->gpu;

	for (size_t i = 1; i < NPAGES; i += 2)
		ASSERT_SYS(munmap((void *)word(self->mem, i), PAGE_SIZE));
	for (size_t i = 0; i < NPAGES; i += 2) {
		EXPECT_PLACE(gpu, word(self->mem, i), 1, DEVICE);
		EXPECT_EQ(0x1000 + i, gpu_see(gpu, word(self->mem, i)));
	}
	EXPECT_EQ(self->used - NPAGES / 2, gpu_rmem(gpu, HMM_RMEM_USED));
	/* A touch brings back what is around, over the holes. */
	for (size_t i = 0; i < NPAGES; i += 2)
		EXPECT_EQ(0x1000 + i, *word(self->mem, i));
	EXPECT_EQ(self->used - NPAGES, gpu_rmem(gpu, HMM_RMEM_USED));
	for (size_t i = 1; i < NPAGES; i += 2)
		EXPECT_EQ(SIGSEGV, cpu_try(word(self->mem, i), false));
}

/* ---- mremap ---- */

static void expect_moved_to(struct gpu *gpu, char *to, size_t npages, uint64_t value, uint64_t out)
{
	/* Still on the device, which reads it there by a new translation. */
	EXPECT_PLACE(gpu, to, npages, DEVICE);
	EXPECT_EQ(0, gpu_check(gpu, to, npages, value));
	EXPECT_EQ(npages, gpu_ptes(gpu, to, npages, LOCAL));
	EXPECT_EQ(out, gpu_rmem(gpu, HMM_RMEM_OUT));
	EXPECT_EQ(0, gpu_fill(gpu, to, npages, value + 0x100));
	EXPECT_TRUE(cpu_check(to, npages, value + 0x100));
	gpu_move_in(gpu, to, npages);
	EXPECT_EQ(0, gpu_check(gpu, to, npages, value + 0x100));
}

TEST_F(vma, mremap_move)
{
	struct gpu *gpu = &self->gpu;
	char *to = sys_pages(NPAGES);
	uint64_t value;

	ASSERT_EQ(to, mremap(self->mem, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, self->mem, &value));
	EXPECT_PLACE(gpu, self->mem, NPAGES, NONE);
	expect_moved_to(gpu, to, NPAGES, 0x1000, self->out);
}

TEST_F(vma, mremap_part)
{
	struct gpu *gpu = &self->gpu;
	char *to = sys_pages(4), *from = self->mem + 4 * PAGE_SIZE;

	ASSERT_EQ(to, mremap(from, 4 * PAGE_SIZE, 4 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	EXPECT_PLACE(gpu, self->mem, 4, DEVICE);
	EXPECT_PLACE(gpu, from, 4, NONE);
	EXPECT_PLACE(gpu, from + 4 * PAGE_SIZE, NPAGES - 8, DEVICE);
	EXPECT_EQ(0, gpu_check(gpu, self->mem, 4, 0x1000));
	EXPECT_EQ(0, gpu_check(gpu, from + 4 * PAGE_SIZE, NPAGES - 8, 0x1008));
	expect_moved_to(gpu, to, 4, 0x1004, self->out);
}

TEST_F(vma, mremap_grow)
{
	struct gpu *gpu = &self->gpu;
	char *to;

	/* A neighbour in the way: it has to move to grow. */
	mmap(self->mem + LENGTH, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
	to = ASSERT_SYS(mremap(self->mem, LENGTH, 2 * LENGTH, MREMAP_MAYMOVE));
	EXPECT_NE(to, self->mem);
	EXPECT_PLACE(gpu, to + LENGTH, NPAGES, NONE);
	EXPECT_EQ(0, gpu_see(gpu, word(to, NPAGES)));
	expect_moved_to(gpu, to, NPAGES, 0x1000, self->out);
}

TEST_F(vma, mremap_shrink)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;

	ASSERT_EQ(self->mem, mremap(self->mem, LENGTH, 4 * PAGE_SIZE, 0));
	EXPECT_EQ(self->used - NPAGES + 4, gpu_rmem(gpu, HMM_RMEM_USED));
	EXPECT_EQ(-EFAULT, gpu_read(gpu, word(self->mem, 4), &value));
	expect_moved_to(gpu, self->mem, 4, 0x1000, self->out);
}

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

TEST_F(vma, mremap_dontunmap)
{
	struct gpu *gpu = &self->gpu;
	char *to;

	to = mremap(self->mem, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (to == MAP_FAILED)
		SKIP("no MREMAP_DONTUNMAP: %s", strerror(errno));
	EXPECT_PLACE(gpu, self->mem, NPAGES, NONE);
	EXPECT_EQ(0, gpu_see(gpu, word(self->mem, 3)));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x9000));
	expect_moved_to(gpu, to, NPAGES, 0x1000, self->out);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x9000));
}

/* A whole page table moves at once, with 512 entries. */
TEST_F(vma, mremap_page_table)
{
	const size_t npages = 2 * HUGE_SIZE / PAGE_SIZE;
	struct gpu *gpu = &self->gpu;
	char *from = sys_pages(npages), *to = sys_pages(npages);
	uint64_t out;

	cpu_fill(from, npages, 0x10000);
	gpu_move_in(gpu, from, npages);
	out = gpu_rmem(gpu, HMM_RMEM_OUT);
	ASSERT_EQ(to, mremap(from, 2 * HUGE_SIZE, 2 * HUGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	EXPECT_EQ(0, gpu_ptes(gpu, from, npages, DGPU_PTE_VALID));
	expect_moved_to(gpu, to, npages, 0x10000, out);
}

/* The mapping moves while a program works in it: it faults, at the old address. */
TEST_F(vma, mremap_to_and_fro)
{
	const unsigned long rounds = sys_scale(50);
	struct gpu *gpu = &self->gpu;
	char *to = sys_pages(NPAGES);

	for (unsigned long i = 0; i < rounds; i++) {
		ASSERT_EQ(to, mremap(self->mem, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED,
				     to));
		ASSERT_EQ(0, gpu_check(gpu, to, NPAGES, 0x1000 + i));
		ASSERT_EQ(self->mem, mremap(to, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED,
					    self->mem));
		ASSERT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x1001 + i));
	}
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(self->out, gpu_rmem(gpu, HMM_RMEM_OUT));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000 + rounds));
}

/* ---- mprotect ---- */

TEST_F(vma, mprotect_read)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ));
	EXPECT_EVENT(gpu, self->mem, LENGTH, PROTECT, WRPROTECT, R(MPROTECT));
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	/* The device reads on, without a fault. */
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_WRITE));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu->result.faults);
	EXPECT_EQ(-EACCES, gpu_write(gpu, self->mem, 1));
	EXPECT_EQ(DGPU_ACCESS_WRITE, gpu->result.access);
	EXPECT_EQ(SIGSEGV, cpu_try(word(self->mem, 1), true));
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	/* It comes back as what may be read, and goes as such. */
	EXPECT_EQ(0, cpu_try(word(self->mem, 2), false));
	EXPECT_PLACE(gpu, word(self->mem, 2), 1, SYSTEM);
	EXPECT_EQ(SIGSEGV, cpu_try(word(self->mem, 2), true));
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(-EACCES, gpu_write(gpu, self->mem, 1));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
	cpu_fill(self->mem, NPAGES, 0x3000);
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x4000));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL | RW));
}

TEST_F(vma, mprotect_none)
{
	struct gpu *gpu = &self->gpu;
	uint64_t value;

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_NONE));
	EXPECT_EVENT(gpu, self->mem, LENGTH, PROTECT, DROP, R(MPROTECT));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	EXPECT_EQ(-EACCES, gpu_read(gpu, self->mem, &value));
	EXPECT_EQ(-EACCES, gpu_write(gpu, self->mem, 1));
	EXPECT_EQ(SIGSEGV, cpu_try(word(self->mem, 0), false));
	EXPECT_EQ(SIGSEGV, cpu_try(word(self->mem, 0), true));
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(self->out, gpu_rmem(gpu, HMM_RMEM_OUT));

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(-EACCES, gpu_write(gpu, self->mem, 1));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, self->mem, NPAGES, LOCAL));
	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
}

/* They can leave a mapping that nobody may touch: evacuation must be able to. */
TEST_F(vma, out_of_prot_none)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_NONE));
	gpu_move_out(gpu, self->mem, NPAGES);
	EXPECT_EQ(SIGSEGV, cpu_try(word(self->mem, 0), false));
	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
}

TEST_F(vma, mprotect_part)
{
	struct gpu *gpu = &self->gpu;
	char *part = self->mem + 4 * PAGE_SIZE;

	ASSERT_SYS(mprotect(part, 4 * PAGE_SIZE, PROT_READ));
	EXPECT_EQ(4, gpu_ptes(gpu, self->mem, 4, LOCAL | RW));
	EXPECT_EQ(0, gpu_ptes(gpu, part, 4, DGPU_PTE_WRITE));
	EXPECT_EQ(8, gpu_ptes(gpu, part + 4 * PAGE_SIZE, 8, LOCAL | RW));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, 4, 0x2000));
	EXPECT_EQ(-EACCES, gpu_write(gpu, part, 5));
	/* A fault of the CPU brings back what is around, each with its rights. */
	EXPECT_EQ(0, cpu_try(word(self->mem, 3), true));
	EXPECT_EQ(0xbad, *word(self->mem, 3));
	EXPECT_EQ(SIGSEGV, cpu_try(word(self->mem, 4), true));
	EXPECT_TRUE(cpu_check(part, 4, 0x1004));
	EXPECT_EQ(0, cpu_try(word(self->mem, 8), true));
	/* One request for three mappings. */
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(-EACCES, gpu_write(gpu, part, 5));
	EXPECT_EQ(0, gpu_check(gpu, part, 4, 0x1004));
	EXPECT_EQ(0, gpu_write(gpu, self->mem, 5));
}

/* ---- mlock ---- */

/* mlock() wants the pages in memory of the CPU: it gets them. */
TEST_F(vma, mlock)
{
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;

	ASSERT_SYS(mlock(self->mem, LENGTH));
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
	EXPECT_EQ(LENGTH / 1024, sys_smaps(self->mem, "Locked:"));
	/* By themselves they stay, by request they move. */
	ASSERT_EQ(0, dgpu_set_policy(gpu->dev, HMM_POLICY_TOUCH));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	gpu_move_in(gpu, self->mem, NPAGES);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x3000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x3000));
	ASSERT_SYS(munlock(self->mem, LENGTH));
	gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x3000));
}

/* The kernel's count of locked pages comes out even, wherever pages are unlocked. */
TEST_F(vma, mlock_count)
{
	struct gpu *gpu = &self->gpu;
	const long long before = sys_nr_mlock();
	long long after = -1;

	ASSERT_SYS(mlock(self->mem, LENGTH));
	gpu_move_in(gpu, self->mem, NPAGES);
	ASSERT_SYS(munlock(self->mem, LENGTH / 4));	/* on the device */
	cpu_fill(self->mem, NPAGES / 2, 0x2000);
	ASSERT_SYS(munlock(self->mem, LENGTH / 2));	/* half of that came back locked */
	gpu_move_in(gpu, self->mem, NPAGES);
	ASSERT_SYS(munmap(self->mem, LENGTH));
	for (int tries = 0; tries < 100 && after != before; tries++) {
		after = sys_nr_mlock();
		sys_sleep_ms(20);
	}
	EXPECT_EQ(before, after);
}

/*
 * The kernel keeps pages that it is about to unlock in batches of each CPU, also those
 * that are gone otherwise: the device can be emptied nevertheless.
 */
TEST_F(vma, mlock_and_unmap)
{
	struct gpu *gpu = &self->gpu;
	uint64_t left = ~0ull;
	int ret = 0;

	ASSERT_SYS(mlock(self->mem, LENGTH));
	gpu_move_in(gpu, self->mem, NPAGES);
	ASSERT_SYS(munmap(self->mem, LENGTH));
	for (int tries = 0; tries < 100; tries++) {
		ret = dgpu_evacuate(gpu->dev, &left);
		if (!left && gpu_rmem(gpu, HMM_RMEM_USED) == self->used - NPAGES)
			break;
		sys_sleep_ms(20);
	}
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, left);
	EXPECT_EQ(self->used - NPAGES, gpu_rmem(gpu, HMM_RMEM_USED));
}

/* mlock2(): on the first touch of the CPU; until then they stay where they are. */
TEST_F(vma, mlock_onfault)
{
	struct gpu *gpu = &self->gpu;

	if (syscall(SYS_mlock2, self->mem, LENGTH, 1 /* MLOCK_ONFAULT */))
		SKIP("no mlock2(): %s", strerror(errno));
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_EQ(self->out, gpu_rmem(gpu, HMM_RMEM_OUT));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	ASSERT_SYS(munlock(self->mem, LENGTH));
	gpu_move_in(gpu, self->mem, NPAGES);
}

TEST_F(vma, mlockall)
{
	struct gpu *gpu = &self->gpu;
	char *mem;

	ASSERT_SYS(mlockall(MCL_CURRENT | MCL_FUTURE));
	EXPECT_PLACE(gpu, self->mem, NPAGES, SYSTEM);
	mem = sys_pages(NPAGES);
	cpu_fill(mem, NPAGES, 0x2000);
	gpu_move_in(gpu, mem, NPAGES);
	EXPECT_EQ(0, gpu_fill(gpu, mem, NPAGES, 0x3000));
	ASSERT_SYS(munlockall());
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x3000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* ---- other ways to change a mapping ---- */

/* A stack that grows down with pages of it on the device. */
TEST_F(vma, grows_down)
{
	struct gpu *gpu = &self->gpu;
	char *top, *mem;

	mem = ASSERT_SYS(mmap(self->mem + HUGE_SIZE, LENGTH, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0));
	/* Room below it, and for the guard gap. */
	ASSERT_SYS(munmap(self->mem + LENGTH, HUGE_SIZE - LENGTH));
	top = mem;
	cpu_fill(mem, NPAGES, 0x2000);
	gpu_move_in(gpu, mem, NPAGES);
	for (size_t i = 1; i <= 4; i++)
		*word(top - i * PAGE_SIZE, 0) = 0x3000 + i;
	EXPECT_EQ(0, gpu_check(gpu, mem, NPAGES, 0x2000));
	gpu_move_in(gpu, top - 4 * PAGE_SIZE, 4);
	for (size_t i = 1; i <= 4; i++)
		EXPECT_EQ(0x3000 + i, gpu_see(gpu, top - i * PAGE_SIZE));
	EXPECT_EQ(0, gpu_fill(gpu, top - 4 * PAGE_SIZE, 4, 0x4000));
	EXPECT_TRUE(cpu_check(top - 4 * PAGE_SIZE, 4, 0x4000));
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x2000));
}

/* The heap: brk() away, and again. */
TEST_F(vma, brk)
{
	struct gpu *gpu = &self->gpu;
	char *end = sbrk(0), *mem;

	ASSERT_NE(sbrk((intptr_t)(3 * LENGTH)), (void *)-1);
	mem = (char *)(((uintptr_t)end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1));
	cpu_fill(mem, NPAGES, 0x2000);
	gpu_move_in(gpu, mem, NPAGES);
	EXPECT_EQ(0, gpu_fill(gpu, mem, NPAGES, 0x3000));
	ASSERT_SYS(brk(mem));
	EXPECT_EQ(self->used, gpu_rmem(gpu, HMM_RMEM_USED));
	ASSERT_SYS(brk(mem + LENGTH));
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(0, gpu_see(gpu, word(mem, i)));
	ASSERT_SYS(brk(end));
}

GPU_POOL_TEST

HARNESS_MAIN

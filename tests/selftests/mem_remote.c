// SPDX-License-Identifier: GPL-2.0
/*
 * Other processes look into memory that is on the device, and write to it:
 * process_vm_readv(), /proc/PID/mem, ptrace(); and what /proc says of such pages.
 *
 * The page comes back by a fault in an address space that is not that of the running
 * task, so nothing here may go by current->mm.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)

/* What both sides share. */
struct remote {
	pid_t owner;
	volatile uintptr_t addr;	/* of NPAGES pages of the owner */
	volatile int error;
	volatile uint64_t seen[NPAGES];
};

FIXTURE(remote) {
	struct gpu gpu;
	char *mem;	/* NPAGES on the device, which wrote 0x1000, ... there */
	struct remote *remote;
	struct sys_child child;
};

/* The child was forked before there was anything to share with it. */
static void remote_start(struct remote *remote, struct sys_child *child, struct gpu *gpu,
			 char **mem, void (*fn)(struct sys_child *me, void *arg))
{
	remote->owner = getpid();
	sys_child_start(child, fn, remote);
	gpu_setup_memory(gpu);
	*mem = sys_pages(NPAGES);
	cpu_fill(*mem, NPAGES, 0xdead);
	gpu_move_in(gpu, *mem, NPAGES);
	ASSERT_EQ(0, gpu_fill(gpu, *mem, NPAGES, 0x1000));
	remote->addr = (uintptr_t)*mem;
	gpu_events_start(gpu);
}

/* Let the child do its work once, and wait. */
static void remote_go(struct remote *remote, struct sys_child *child)
{
	sys_child_tell(child);
	sys_child_wait(child);
	ASSERT_EQ(0, remote->error);
}

FIXTURE_SETUP(remote)
{
	self->remote = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

FIXTURE_TEARDOWN(remote)
{
	if (self->child.pid) {
		kill(self->child.pid, SIGKILL);
		sys_child_end(&self->child);
	}
	gpu_teardown(&self->gpu);
}

/* All pages were seen as they are, and are as they were. */
static void expect_read(struct gpu *gpu, char *mem, struct remote *remote)
{
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(0x1000 + i, remote->seen[i]);
	EXPECT_PLACE(gpu, mem, NPAGES, SYSTEM);
	EXPECT_EQ(0, gpu_check(gpu, mem, NPAGES, 0x1000));
	gpu_move_in(gpu, mem, NPAGES);
	EXPECT_EQ(0, gpu_check(gpu, mem, NPAGES, 0x1000));
}

static void expect_written(struct gpu *gpu, char *mem)
{
	EXPECT_PLACE(gpu, mem, NPAGES, SYSTEM);
	EXPECT_EQ(0, gpu_check(gpu, mem, NPAGES, 0x7000));
	gpu_move_in(gpu, mem, NPAGES);
	EXPECT_EQ(0, gpu_check(gpu, mem, NPAGES, 0x7000));
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x7000));
}

static void note(struct remote *remote, char *copy)
{
	for (size_t i = 0; i < NPAGES; i++)
		remote->seen[i] = *(volatile uint64_t *)(copy + i * PAGE_SIZE);
}

static void vm_readv(struct sys_child *me, void *arg)
{
	struct remote *remote = arg;
	char *copy = sys_pages(NPAGES);
	struct iovec to = { copy, LENGTH }, from;

	sys_child_wait(me);
	from = (struct iovec) { (void *)remote->addr, LENGTH };
	if (process_vm_readv(remote->owner, &to, 1, &from, 1, 0) != (ssize_t)LENGTH)
		remote->error = errno;
	note(remote, copy);
	sys_child_tell(me);
}

TEST_F(remote, process_vm_readv)
{
	remote_start(self->remote, &self->child, &self->gpu, &self->mem, vm_readv);
	remote_go(self->remote, &self->child);
	expect_read(&self->gpu, self->mem, self->remote);
}

static void vm_writev(struct sys_child *me, void *arg)
{
	struct remote *remote = arg;
	char *copy = sys_pages(NPAGES);
	struct iovec from = { copy, LENGTH }, to;

	cpu_fill(copy, NPAGES, 0x7000);
	sys_child_wait(me);
	to = (struct iovec) { (void *)remote->addr, LENGTH };
	if (process_vm_writev(remote->owner, &from, 1, &to, 1, 0) != (ssize_t)LENGTH)
		remote->error = errno;
	sys_child_tell(me);
}

TEST_F(remote, process_vm_writev)
{
	remote_start(self->remote, &self->child, &self->gpu, &self->mem, vm_writev);
	remote_go(self->remote, &self->child);
	expect_written(&self->gpu, self->mem);
}

static int open_mem(struct remote *remote)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", remote->owner);
	return open(path, O_RDWR | O_CLOEXEC);
}

static void mem_read(struct sys_child *me, void *arg)
{
	struct remote *remote = arg;
	char *copy = sys_pages(NPAGES);
	const int fd = open_mem(remote);

	sys_child_wait(me);
	if (pread(fd, copy, LENGTH, (off_t)remote->addr) != (ssize_t)LENGTH)
		remote->error = errno;
	note(remote, copy);
	sys_child_tell(me);
}

TEST_F(remote, proc_mem_read)
{
	remote_start(self->remote, &self->child, &self->gpu, &self->mem, mem_read);
	remote_go(self->remote, &self->child);
	expect_read(&self->gpu, self->mem, self->remote);
}

static void mem_write(struct sys_child *me, void *arg)
{
	struct remote *remote = arg;
	char *copy = sys_pages(NPAGES);
	const int fd = open_mem(remote);

	cpu_fill(copy, NPAGES, 0x7000);
	sys_child_wait(me);
	if (pwrite(fd, copy, LENGTH, (off_t)remote->addr) != (ssize_t)LENGTH)
		remote->error = errno;
	sys_child_tell(me);
}

TEST_F(remote, proc_mem_write)
{
	remote_start(self->remote, &self->child, &self->gpu, &self->mem, mem_write);
	remote_go(self->remote, &self->child);
	expect_written(&self->gpu, self->mem);
}

/* Some kernels let only a tracer write where the owner may not. */
static void traced_mem_write(struct sys_child *me, void *arg)
{
	struct remote *remote = arg;

	if (ptrace(PTRACE_SEIZE, remote->owner, NULL, NULL))
		remote->error = errno;
	mem_write(me, arg);
}

/* The owner may not write there itself; a debugger may. */
TEST_F(remote, proc_mem_write_read_only)
{
	remote_start(self->remote, &self->child, &self->gpu, &self->mem, traced_mem_write);
	ASSERT_SYS(mprotect(self->mem, LENGTH, PROT_READ));
	EXPECT_PLACE(&self->gpu, self->mem, NPAGES, DEVICE);
	remote_go(self->remote, &self->child);
	expect_written(&self->gpu, self->mem);
	EXPECT_EQ(-EACCES, gpu_write(&self->gpu, self->mem, 1));
}

static void poke(struct sys_child *me, void *arg)
{
	struct remote *remote = arg;
	const pid_t owner = remote->owner;

	sys_child_wait(me);
	if (ptrace(PTRACE_SEIZE, owner, NULL, NULL) || ptrace(PTRACE_INTERRUPT, owner, NULL, NULL)
	    || waitpid(owner, NULL, __WALL) != owner) {
		remote->error = errno;
	} else {
		for (size_t i = 0; i < NPAGES; i++) {
			char *addr = (char *)remote->addr + i * PAGE_SIZE;

			remote->seen[i] = (uint64_t)ptrace(PTRACE_PEEKDATA, owner, addr, NULL);
			if (ptrace(PTRACE_POKEDATA, owner, addr, (void *)(0x7000 + i)))
				remote->error = errno;
		}
		ptrace(PTRACE_DETACH, owner, NULL, NULL);
	}
	sys_child_tell(me);
}

TEST_F(remote, ptrace)
{
	remote_start(self->remote, &self->child, &self->gpu, &self->mem, poke);
	remote_go(self->remote, &self->child);
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(0x1000 + i, self->remote->seen[i]);
	expect_written(&self->gpu, self->mem);
}

/* Reading and writing from outside, while pages go to the device and it counts there. */
static void vm_copy_storm(struct sys_child *me, void *arg)
{
	struct remote *remote = arg;
	char *copy = sys_pages(NPAGES);
	struct iovec here = { copy, LENGTH }, there;
	uint64_t last = 0, now;

	sys_child_wait(me);
	there = (struct iovec) { (void *)remote->addr, LENGTH };
	while (remote->addr) {
		if (process_vm_readv(remote->owner, &here, 1, &there, 1, 0) != (ssize_t)LENGTH)
			remote->error = errno;
		now = *(volatile uint64_t *)(copy + 3 * PAGE_SIZE);
		if (now < last)
			remote->error = ESTALE;
		last = now;
		/* Page 4 is the child's to count in. */
		*(volatile uint64_t *)(copy + 4 * PAGE_SIZE) += 1;
		remote->seen[0]++;
		here = (struct iovec) { copy + 4 * PAGE_SIZE, 8 };
		there = (struct iovec) { (char *)there.iov_base + 4 * PAGE_SIZE, 8 };
		if (process_vm_writev(remote->owner, &here, 1, &there, 1, 0) != 8)
			remote->error = errno;
		here = (struct iovec) { copy, LENGTH };
		there = (struct iovec) { (char *)there.iov_base - 4 * PAGE_SIZE, LENGTH };
	}
	sys_child_tell(me);
}

TEST_F(remote, storm)
{
	const uint64_t total = sys_scale(20000);
	volatile uint64_t *count;
	struct gpu *gpu = &self->gpu;
	struct gpu_moved moved;
	struct dgpu_result result;
	struct dgpu_job *job;
	int ret;

	remote_start(self->remote, &self->child, gpu, &self->mem, vm_copy_storm);
	count = (volatile uint64_t *)(self->mem + 3 * PAGE_SIZE);
	*count = 0;
	*(volatile uint64_t *)(self->mem + 4 * PAGE_SIZE) = 0;
	sys_child_tell(&self->child);
	job = gpu_start(gpu, GPU_INCR, 4, (uintptr_t)count, total, 0, 0);
	do {
		gpu_migrate(gpu, self->mem, NPAGES, 0, &moved);
		ret = dgpu_job_wait(job, 1, &result);
	} while (ret == -ETIME);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(job);
	self->remote->addr = 0;
	sys_child_wait(&self->child);
	EXPECT_EQ(0, self->remote->error);
	EXPECT_EQ(4 * total, *count);
	EXPECT_EQ(self->remote->seen[0], *(volatile uint64_t *)(self->mem + 4 * PAGE_SIZE));
	test_log("%ju rounds", (uintmax_t)self->remote->seen[0]);
}

/* ---- /proc ---- */

FIXTURE(proc) {
	struct gpu gpu;
	char *mem;
};

FIXTURE_SETUP(proc)
{
	gpu_setup_memory(&self->gpu);
	self->mem = sys_pages(NPAGES);
	cpu_fill(self->mem, NPAGES, 0x1000);
}

FIXTURE_TEARDOWN(proc)
{
	gpu_teardown(&self->gpu);
}

static long long rss(void)
{
	return sys_number_of("/proc/self/status", "RssAnon");
}

/* Pages on the device are part of the process' size as before: that is what limits are for. */
TEST_F(proc, rss)
{
	struct gpu *gpu = &self->gpu;
	char *mem = sys_pages(1024);
	long long before, after;

	cpu_fill(mem, 1024, 1);
	rss();
	before = rss();
	gpu_move_in(gpu, mem, 1024);
	after = rss();
	/* The counter is kept per CPU and summed up with an error. */
	EXPECT_LE(llabs(after - before), 1024);
	EXPECT_EQ(4096, sys_smaps(mem, "Rss:"));
	EXPECT_EQ(0, sys_smaps(mem, "Swap:"));
	ASSERT_SYS(munmap(mem, 1024 * PAGE_SIZE));
	EXPECT_LE(llabs(rss() - before + 4096), 1024);
}

/* As the kernel shows unaddressable pages: like swapped ones, but not to swap. */
TEST_F(proc, pagemap)
{
	struct gpu *gpu = &self->gpu;
	uint64_t entry;

	ASSERT_TRUE(sys_pagemap(self->mem) & SYS_PM_PRESENT);
	gpu_move_in(gpu, self->mem, NPAGES);
	for (size_t i = 0; i < NPAGES; i++) {
		entry = sys_pagemap(self->mem + i * PAGE_SIZE);
		EXPECT_FALSE(entry & SYS_PM_PRESENT);
		EXPECT_TRUE(entry & SYS_PM_SWAP);
	}
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	gpu_move_out(gpu, self->mem, NPAGES);
	for (size_t i = 0; i < NPAGES; i++) {
		entry = sys_pagemap(self->mem + i * PAGE_SIZE);
		EXPECT_TRUE(entry & SYS_PM_PRESENT);
		EXPECT_FALSE(entry & SYS_PM_SWAP);
	}
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

TEST_F(proc, mincore)
{
	struct gpu *gpu = &self->gpu;
	unsigned char vec[NPAGES];

	gpu_move_in(gpu, self->mem, NPAGES);
	ASSERT_SYS(mincore(self->mem, LENGTH, vec));
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_TRUE(vec[i] & 1);
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
}

/* Nothing that only reports moves a page, or stumbles over one. */
TEST_F(proc, reports)
{
	static const char * const files[] = {
		"maps", "smaps", "smaps_rollup", "numa_maps", "status", "statm", "stat",
		"oom_score", "pagemap", "limits",
	};
	struct gpu *gpu = &self->gpu;
	uint64_t out;

	gpu_move_in(gpu, self->mem, NPAGES);
	out = gpu_rmem(gpu, HMM_RMEM_OUT_FAULT);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[100];

		snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
		if (!strcmp(files[i], "pagemap"))
			sys_pagemap(self->mem);
		else
			free(sys_text(path));
	}
	/* Referenced bits and the peak are cleared, pages are not touched. */
	sys_try_write("/proc/self/clear_refs", "1");
	sys_try_write("/proc/self/clear_refs", "2");
	sys_try_write("/proc/self/clear_refs", "5");
	EXPECT_PLACE(gpu, self->mem, NPAGES, DEVICE);
	EXPECT_EQ(out, gpu_rmem(gpu, HMM_RMEM_OUT_FAULT));
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x1000));
}

/* ---- core dump ---- */

#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"

/* The memory of a process at an address, from its core file. */
static bool core_read(int fd, uintptr_t addr, void *buf, size_t size)
{
	struct {
		unsigned char ident[16];
		uint16_t type, machine;
		uint32_t version;
		uint64_t entry, phoff, shoff;
		uint32_t flags;
		uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
	} elf;
	struct {
		uint32_t type, flags;
		uint64_t offset, vaddr, paddr, filesz, memsz, align;
	} ph;

	if (pread(fd, &elf, sizeof(elf), 0) != sizeof(elf))
		return false;
	for (unsigned int i = 0; i < elf.phnum; i++) {
		if (pread(fd, &ph, sizeof(ph), (off_t)(elf.phoff + i * sizeof(ph))) != sizeof(ph))
			return false;
		if (ph.type == 1 && addr >= ph.vaddr && addr + size <= ph.vaddr + ph.filesz)
			return pread(fd, buf, size, (off_t)(ph.offset + addr - ph.vaddr)) ==
			       (ssize_t)size;
	}
	return false;
}

TEST_F(proc, core_dump)
{
	static char page[PAGE_SIZE];
	char path[64], *before;
	int status, fd;
	pid_t pid;

	before = sys_text(CORE_PATTERN);
	if (!before)
		SKIP("this kernel makes no core dumps");
	sys_write(CORE_PATTERN, "/tmp/hmm-core.%p");
	pid = ASSERT_SYS(fork());
	if (!pid) {
		const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
		struct gpu gpu = { 0 };

		setrlimit(RLIMIT_CORE, &unlimited);
		prctl(PR_SET_DUMPABLE, 1);
		gpu_setup(&gpu);
		cpu_fill(self->mem, NPAGES, 0xdead);	/* no longer shared */
		gpu_move_in(&gpu, self->mem, NPAGES);
		ASSERT_EQ(0, gpu_fill(&gpu, self->mem, NPAGES, 0x4000));
		raise(SIGABRT);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	before[strcspn(before, "\n")] = '\0';
	sys_write(CORE_PATTERN, before);
	free(before);
	ASSERT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGABRT, WTERMSIG(status));
	EXPECT_TRUE(WCOREDUMP(status));
	snprintf(path, sizeof(path), "/tmp/hmm-core.%d", pid);
	fd = ASSERT_SYS(open(path, O_RDONLY | O_CLOEXEC));
	unlink(path);
	for (size_t i = 0; i < NPAGES; i++) {
		ASSERT_TRUE(core_read(fd, (uintptr_t)self->mem + i * PAGE_SIZE, page, PAGE_SIZE));
		EXPECT_EQ(0x4000 + i, *(volatile uint64_t *)page);
	}
	close(fd);
}

GPU_POOL_TEST

HARNESS_MAIN

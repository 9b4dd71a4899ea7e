// SPDX-License-Identifier: GPL-2.0
/*
 * What a device fault means: which accesses work, which end in which error, and what
 * an error does to the rest (nothing).
 *
 * The rules are those of a CPU in the same place, with an errno instead of a signal.
 * The process lives on, other threads of other jobs run on, and the result names the
 * address, the access and the thread.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)

FIXTURE(fault) {
	struct gpu gpu;
};

FIXTURE_SETUP(fault)
{
	gpu_setup(&self->gpu);
}

FIXTURE_TEARDOWN(fault)
{
	gpu_teardown(&self->gpu);
}

/* Both accesses fail with an error that says where; the device works afterwards. */
static void expect_fault(struct gpu *gpu, uint64_t addr, int read_error, int write_error)
{
	uint64_t value = 0;

	EXPECT_EQ(-read_error, gpu_read(gpu, (void *)addr, &value));
	if (read_error) {
		EXPECT_EQ(DGPU_ERR_FAULT, gpu->result.status);
		EXPECT_EQ(addr, gpu->result.fault_addr);
		EXPECT_EQ(DGPU_ACCESS_READ, gpu->result.access);
		EXPECT_EQ(0, gpu->result.pc);
	}
	EXPECT_EQ(-write_error, gpu_write(gpu, (void *)addr, 1));
	if (write_error) {
		EXPECT_EQ(DGPU_ERR_FAULT, gpu->result.status);
		EXPECT_EQ(addr, gpu->result.fault_addr);
		EXPECT_EQ(DGPU_ACCESS_WRITE, gpu->result.access);
	}
	*gpu->scratch = 0x77;
	EXPECT_EQ(0x77, gpu_see(gpu, gpu->scratch));
}

/* ---- addresses ---- */

TEST_F(fault, hole)
{
	char *mem = sys_pages(NPAGES);

	ASSERT_SYS(munmap(mem, LENGTH));
	expect_fault(&self->gpu, (uintptr_t)mem, EFAULT, EFAULT);
	expect_fault(&self->gpu, (uintptr_t)mem + 123, EFAULT, EFAULT);
}

TEST_F(fault, null)
{
	expect_fault(&self->gpu, 0, EFAULT, EFAULT);
	expect_fault(&self->gpu, 8, EFAULT, EFAULT);
}

TEST_F(fault, kernel_and_wild_addresses)
{
	static const uint64_t addrs[] = {
		1ull << 47,			/* first that is not a user's */
		(1ull << 47) - PAGE_SIZE,	/* the guard page below it */
		0x00007ffffffff000ull,
		0x0000800000000000ull,		/* not canonical, from here on */
		0x0000ffffffffffffull,
		0x0001000000000000ull,		/* past the device's 48 bits */
		0x00ff880000000000ull,
		0x8000000000000000ull,
		0xffff7fffffffffffull,		/* not canonical, up to here */
		0xffff888000000000ull,		/* the kernel's memory */
		0xffffffff81000000ull,		/* the kernel's code */
		0xfffffffffffff000ull,
		0xffffffffffffffffull,		/* an access that wraps around */
		0xfffffffffffffff9ull,
	};

	for (size_t i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
		uint64_t value;

		if (!EXPECT_EQ(-EFAULT, gpu_read(&self->gpu, (void *)addrs[i], &value)) ||
		    !EXPECT_EQ(-EFAULT, gpu_write(&self->gpu, (void *)addrs[i], 1)))
			test_log("at %#jx", (uintmax_t)addrs[i]);
		EXPECT_EQ(addrs[i], self->gpu.result.fault_addr);
	}
}

/* The last page that user space can have. */
TEST_F(fault, top_of_user_space)
{
	char *top = (char *)((1ul << 47) - 2 * PAGE_SIZE);
	uint64_t value;
	void *mem;

	mem = mmap(top, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (mem == MAP_FAILED)
		SKIP("the last page is not to be had: %s", strerror(errno));
	EXPECT_EQ(0, gpu_write(&self->gpu, top, 0x1000));
	EXPECT_EQ(0x1000, gpu_see(&self->gpu, top));
	EXPECT_EQ(0, gpu_write(&self->gpu, top + PAGE_SIZE - 8, 0x2000));
	/* Half in, half out: the fault is in the second half. */
	EXPECT_EQ(-EFAULT, gpu_read(&self->gpu, top + PAGE_SIZE - 4, &value));
	EXPECT_EQ(0x2000, *(volatile uint64_t *)(top + PAGE_SIZE - 8));
	munmap(mem, PAGE_SIZE);
}

/* The lowest page that may be mapped, and page zero if we may have it. */
TEST_F(fault, bottom_of_user_space)
{
	const long long min = sys_number("/proc/sys/vm/mmap_min_addr");
	void *low = (void *)(uintptr_t)(min < 4096 ? 4096 : min);

	if (mmap(low, PAGE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		SKIP("no page at %p: %s", low, strerror(errno));
	EXPECT_EQ(0, gpu_write(&self->gpu, low, 0x3000));
	EXPECT_EQ(0x3000, *(volatile uint64_t *)low);
	munmap(low, PAGE_SIZE);
}

/* An access over a page boundary, with every combination of what is there. */
TEST_F(fault, straddle)
{
	struct gpu *gpu = &self->gpu;
	char *mem = sys_pages(3);
	uint64_t value = 0;

	for (unsigned int at = 1; at < 8; at++) {
		char *addr = mem + PAGE_SIZE - at;

		ASSERT_SYS(madvise(mem, 3 * PAGE_SIZE, MADV_DONTNEED));
		EXPECT_EQ(0, gpu_write(gpu, addr, 0x1122334455667788ull + at));
		memcpy(&value, addr, 8);
		EXPECT_EQ(0x1122334455667788ull + at, value);
		EXPECT_EQ(0, gpu_read(gpu, addr, &value));
		EXPECT_EQ(0x1122334455667788ull + at, value);
	}
	/* The second page is missing: nothing of the write may have happened. */
	memset(mem, 0xee, PAGE_SIZE);
	ASSERT_SYS(munmap(mem + PAGE_SIZE, PAGE_SIZE));
	EXPECT_EQ(-EFAULT, gpu_write(gpu, mem + PAGE_SIZE - 3, 0));
	EXPECT_EQ((uintptr_t)mem + PAGE_SIZE, gpu->result.fault_addr & ~7ull);
	for (size_t i = 0; i < PAGE_SIZE; i++)
		if (!EXPECT_EQ(0xee, (unsigned char)mem[i]))
			break;
}

/* ---- rights ---- */

TEST_F(fault, prot_none)
{
	char *mem = sys_pages(NPAGES);

	cpu_fill(mem, NPAGES, 1);
	ASSERT_SYS(mprotect(mem, LENGTH, PROT_NONE));
	expect_fault(&self->gpu, (uintptr_t)mem, EACCES, EACCES);
}

TEST_F(fault, read_only)
{
	char *mem = sys_pages(NPAGES);

	cpu_fill(mem, NPAGES, 0x4000);
	ASSERT_SYS(mprotect(mem, LENGTH, PROT_READ));
	expect_fault(&self->gpu, (uintptr_t)mem, 0, EACCES);
	EXPECT_EQ(0x4000, gpu_see(&self->gpu, mem));
	EXPECT_EQ(-EACCES, gpu_run(&self->gpu, GPU_INCR, 1, (uintptr_t)mem, 1, 0, 0));
	EXPECT_EQ(DGPU_ACCESS_ATOMIC, self->gpu.result.access);
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0x4000));
}

/* The file may not be written, whoever asks. */
TEST_F(fault, read_only_file)
{
	const int fd = ASSERT_SYS(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	uint32_t *mem;

	mem = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
	expect_fault(&self->gpu, (uintptr_t)mem, 0, EACCES);
	EXPECT_EQ(0x464c457f, gpu_see(&self->gpu, mem) & 0xffffffff);	/* ELF */
	close(fd);
}

/* A program's own code and constants. */
TEST_F(fault, text)
{
	const uint64_t *code = (const uint64_t *)(((uintptr_t)gpu_setup + 7) & ~7ul);

	EXPECT_EQ(*code, gpu_see(&self->gpu, code));
	EXPECT_EQ(-EACCES, gpu_write(&self->gpu, (void *)(uintptr_t)code, 1));
}

TEST_F(fault, write_only_mapping)
{
	char *mem;

	/* x86 has no such thing: PROT_WRITE implies reading, but the VMA says no. */
	mem = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	EXPECT_EQ(-EACCES, gpu_write(&self->gpu, mem, 0x5000));
}

/* ---- kinds of memory ---- */

TEST_F(fault, malloc)
{
	uint64_t *mem = malloc(1000000);

	ASSERT_NE(mem, NULL);
	EXPECT_EQ(0, gpu_fill(&self->gpu, mem, 200, 0x6000));
	EXPECT_TRUE(cpu_check(mem, 200, 0x6000));
	free(mem);
}

TEST_F(fault, stack)
{
	volatile uint64_t local = 0x7000;

	EXPECT_EQ(0x7000, gpu_see(&self->gpu, &local));
	EXPECT_EQ(0, gpu_write(&self->gpu, &local, 0x7001));
	EXPECT_EQ(0x7001, local);
}

/*
 * A stack grows by the faults of its own thread.  The device's do not grow it: there
 * is no stack pointer to tell a stack access from a wild one.
 */
TEST_F(fault, below_the_stack)
{
	struct rlimit limit;
	volatile char here;
	uintptr_t below;
	uint64_t value;

	ASSERT_SYS(getrlimit(RLIMIT_STACK, &limit));
	below = ((uintptr_t)&here & ~(PAGE_SIZE - 1)) - 1000 * PAGE_SIZE;
	if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < 1100 * PAGE_SIZE)
		SKIP("the stack may not grow that far");
	EXPECT_EQ(-EFAULT, gpu_read(&self->gpu, (void *)below, &value));
	EXPECT_EQ(-EFAULT, gpu_write(&self->gpu, (void *)below, 1));
}

TEST_F(fault, never_touched)
{
	struct gpu *gpu = &self->gpu;
	char *mem = sys_pages(NPAGES);

	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(0, gpu_see(gpu, mem + i * PAGE_SIZE));
	/* A write to one is not a write to all. */
	EXPECT_EQ(0, gpu_write(gpu, mem, 0x8000));
	EXPECT_EQ(0x8000, *(volatile uint64_t *)mem);
	EXPECT_EQ(0, gpu_see(gpu, mem + PAGE_SIZE));
	EXPECT_EQ(0, *(volatile uint64_t *)(mem + 2 * PAGE_SIZE));
}

TEST_F(fault, shared_memory_of_two_processes)
{
	volatile uint64_t *mem;
	int status;
	pid_t pid;

	mem = ASSERT_SYS(mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	EXPECT_EQ(0, gpu_write(&self->gpu, mem, 1000));
	pid = ASSERT_SYS(fork());
	if (!pid) {
		struct gpu mine = { 0 };

		/* Its own context on the same device, the same page. */
		gpu_setup(&mine);
		ASSERT_GE(gpu_see(&mine, mem), 1000);
		ASSERT_EQ(0, gpu_run(&mine, GPU_INCR, 4, (uintptr_t)mem, 500, 0, 0));
		ASSERT_EQ(0, gpu_write(&mine, mem + 512, 0x9000));
		_exit(0);
	}
	EXPECT_EQ(0, gpu_run(&self->gpu, GPU_INCR, 4, (uintptr_t)mem, 500, 0, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1000 + 2 * 4 * 500, gpu_see(&self->gpu, mem));
	EXPECT_EQ(0x9000, gpu_see(&self->gpu, mem + 512));
}

TEST_F(fault, memfd_twice)
{
	const int fd = ASSERT_SYS(memfd_create("twice", MFD_CLOEXEC));
	volatile uint64_t *one, *two;

	ASSERT_SYS(ftruncate(fd, PAGE_SIZE));
	one = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	two = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0));
	for (uint64_t i = 1; i < 20; i++) {
		EXPECT_EQ(0, gpu_write(&self->gpu, one, i));
		EXPECT_EQ(i, gpu_see(&self->gpu, two));
		EXPECT_EQ(i, *two);
	}
	EXPECT_EQ(-EACCES, gpu_write(&self->gpu, (volatile void *)two, 1));
	close(fd);
}

TEST_F(fault, beyond_end_of_file)
{
	const int fd = ASSERT_SYS(memfd_create("short", MFD_CLOEXEC));
	char *mem;

	ASSERT_SYS(ftruncate(fd, PAGE_SIZE + 100));
	mem = ASSERT_SYS(mmap(NULL, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	expect_fault(&self->gpu, (uintptr_t)mem, 0, 0);
	/* The rest of the last page reads as zero and can be written. */
	expect_fault(&self->gpu, (uintptr_t)mem + PAGE_SIZE + 200, 0, 0);
	expect_fault(&self->gpu, (uintptr_t)mem + 2 * PAGE_SIZE, EFAULT, EFAULT);
	expect_fault(&self->gpu, (uintptr_t)mem + 3 * PAGE_SIZE, EFAULT, EFAULT);
	/* The file grows: what was an error works. */
	ASSERT_SYS(ftruncate(fd, (off_t)(3 * PAGE_SIZE)));
	expect_fault(&self->gpu, (uintptr_t)mem + 2 * PAGE_SIZE, 0, 0);
	close(fd);
}

TEST_F(fault, hugetlb)
{
	const long long before = access("/proc/sys/vm/nr_hugepages", F_OK) ? -1 :
				 sys_number("/proc/sys/vm/nr_hugepages");
	char text[32], *mem;

	if (before < 0)
		SKIP("this kernel has no hugetlb memory");
	snprintf(text, sizeof(text), "%lld", before + 2);
	sys_write("/proc/sys/vm/nr_hugepages", text);
	mem = mmap(NULL, HUGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (mem != MAP_FAILED) {
		EXPECT_EQ(0, gpu_fill(&self->gpu, mem, 512, 0xa000));
		EXPECT_TRUE(cpu_check(mem, 512, 0xa000));
		EXPECT_EQ(0, gpu_check(&self->gpu, mem, 512, 0xa000));
		munmap(mem, HUGE_SIZE);
	}
	snprintf(text, sizeof(text), "%lld", before);
	sys_try_write("/proc/sys/vm/nr_hugepages", text);
	if (mem == MAP_FAILED)
		SKIP("no huge pages to be had");
}

/* Where a special mapping is: "[vdso]" and the like. */
static uintptr_t special_mapping(const char *name)
{
	FILE *file = fopen("/proc/self/maps", "re");
	uintptr_t found = 0;
	char line[400];

	ASSERT_NE(file, NULL);
	while (!found && fgets(line, sizeof(line), file))
		if (strstr(line, name))
			found = strtoul(line, NULL, 16);
	fclose(file);
	return found;
}

/* The vdso is special pages of the kernel, mapped for reading: readable, not writable. */
TEST_F(fault, vdso)
{
	const uintptr_t vdso = special_mapping("[vdso]");
	uint64_t value;
	int ret;

	if (!vdso)
		SKIP("no vdso");
	ret = gpu_read(&self->gpu, (void *)vdso, &value);
	EXPECT_TRUE(ret == 0 || ret == -EOPNOTSUPP);
	if (!ret)
		EXPECT_EQ(*(volatile uint64_t *)vdso, value);
	ret = gpu_write(&self->gpu, (void *)vdso, 1);
	EXPECT_TRUE(ret == -EACCES || ret == -EOPNOTSUPP);
}

/* The vvar pages are PFN mappings. */
TEST_F(fault, vvar)
{
	const uintptr_t vvar = special_mapping("[vvar]");
	uint64_t value;

	if (!vvar)
		SKIP("no vvar");
	EXPECT_EQ(-EOPNOTSUPP, gpu_read(&self->gpu, (void *)vvar, &value));
	EXPECT_EQ(vvar, self->gpu.result.fault_addr);
}

/* Registers of another device: VM_IO | VM_PFNMAP. */
TEST_F(fault, pci_resource)
{
	struct dirent *entry;
	void *mem = MAP_FAILED;
	DIR *dir;

	dir = opendir("/sys/bus/pci/devices");
	if (!dir)
		SKIP("no PCI");
	while (mem == MAP_FAILED && (entry = readdir(dir))) {
		for (int bar = 0; bar < 6 && mem == MAP_FAILED; bar++) {
			char path[400];
			int fd;

			snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource%d",
				 entry->d_name, bar);
			fd = open(path, O_RDWR | O_CLOEXEC);
			if (fd < 0)
				continue;
			mem = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			close(fd);
		}
	}
	closedir(dir);
	if (mem == MAP_FAILED)
		SKIP("no PCI resource that can be mapped");
	expect_fault(&self->gpu, (uintptr_t)mem, EOPNOTSUPP, EOPNOTSUPP);
	EXPECT_EQ(-EOPNOTSUPP, dgpu_prefault(self->gpu.dev, mem, PAGE_SIZE, false));
}

TEST_F(fault, dev_mem)
{
	const int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	uint64_t value;
	void *mem;

	if (fd < 0)
		SKIP("no /dev/mem: %s", strerror(errno));
	mem = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0xf0000);
	close(fd);
	if (mem == MAP_FAILED)
		SKIP("/dev/mem cannot be mapped: %s", strerror(errno));
	EXPECT_EQ(-EOPNOTSUPP, gpu_read(&self->gpu, mem, &value));
}

/* ---- errors and the rest of the world ---- */

/* One job's error is not the other's, at the same time on the same context. */
TEST_F(fault, others_run_on)
{
	struct gpu *gpu = &self->gpu;
	volatile uint64_t *shared;
	struct dgpu_result result;
	struct dgpu_job *job;
	uint64_t count, value;
	char *hole;

	shared = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	hole = sys_pages(1);
	ASSERT_SYS(munmap(hole, PAGE_SIZE));
	job = gpu_start(gpu, GPU_SPIN, 4, (uintptr_t)&shared[0], (uintptr_t)&shared[1],
			(uintptr_t)&shared[2], 0);
	while (!shared[1])
		sys_sleep_ms(1);
	for (int i = 0; i < 50; i++) {
		EXPECT_EQ(-EFAULT, gpu_read(gpu, hole, &value));
		count = shared[1];
		for (int ms = 0; ms < 20000 && shared[1] == count; ms++)
			sys_sleep_ms(1);
		if (!EXPECT_NE(count, shared[1]))
			break;
	}
	shared[0] = 1;
	EXPECT_EQ(0, dgpu_job_wait(job, 60000, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	dgpu_job_free(job);
}

/* Of many threads one fails: the result names it. */
TEST_F(fault, which_thread)
{
	struct gpu *gpu = &self->gpu;
	char *mem = sys_pages(64);

	cpu_fill(mem, 64, 0xb000);
	ASSERT_SYS(munmap(mem + 37 * PAGE_SIZE, PAGE_SIZE));
	EXPECT_EQ(-EFAULT, gpu_run(gpu, GPU_TOUCH, 64, (uintptr_t)mem, 64, PAGE_SIZE, 0));
	EXPECT_EQ(37, gpu->result.thread);
	EXPECT_EQ((uintptr_t)mem + 37 * PAGE_SIZE, gpu->result.fault_addr);
}

TEST_F(fault, prefault_errors)
{
	struct gpu *gpu = &self->gpu;
	char *mem = sys_pages(NPAGES);

	EXPECT_EQ(0, dgpu_prefault(gpu->dev, mem, LENGTH, true));
	EXPECT_EQ(NPAGES, gpu_ptes(gpu, mem, NPAGES, DGPU_PTE_VALID | DGPU_PTE_WRITE));
	ASSERT_SYS(mprotect(mem + 8 * PAGE_SIZE, PAGE_SIZE, PROT_READ));
	EXPECT_EQ(0, dgpu_prefault(gpu->dev, mem, LENGTH, false));
	EXPECT_EQ(-EACCES, dgpu_prefault(gpu->dev, mem, LENGTH, true));
	EXPECT_EQ(8, gpu_ptes(gpu, mem, 8, DGPU_PTE_VALID | DGPU_PTE_WRITE));
	ASSERT_SYS(munmap(mem + 4 * PAGE_SIZE, PAGE_SIZE));
	EXPECT_EQ(-EFAULT, dgpu_prefault(gpu->dev, mem, LENGTH, false));
	EXPECT_EQ(4, gpu_ptes(gpu, mem, 4, DGPU_PTE_VALID));
	EXPECT_EQ(-EFAULT, dgpu_prefault(gpu->dev, (void *)(1ul << 47), LENGTH, false));
}

/* ---- userfaultfd: user space serves the fault, when and if it likes ---- */

struct server {
	int uffd;
	char *page;		/* contents for all pages */
	volatile int served;
};

static void *serve(void *arg)
{
	struct server *server = arg;
	struct uffd_msg msg;

	while (read(server->uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		struct uffdio_copy copy = {
			.dst = msg.arg.pagefault.address & ~(PAGE_SIZE - 1),
			.src = (uintptr_t)server->page,
			.len = PAGE_SIZE,
		};

		sys_sleep_ms(5);
		server->served++;
		ioctl(server->uffd, UFFDIO_COPY, &copy);
	}
	return NULL;
}

TEST_F(fault, uffd_missing)
{
	struct server server = { 0 };
	struct gpu *gpu = &self->gpu;
	char *mem = sys_pages(NPAGES);
	pthread_t thread;

	server.uffd = sys_uffd_open(0);
	server.page = sys_pages(1);
	*(volatile uint64_t *)server.page = 0xc000;
	sys_uffd_register(server.uffd, mem, LENGTH, UFFDIO_REGISTER_MODE_MISSING);
	ASSERT_EQ(0, pthread_create(&thread, NULL, serve, &server));
	for (size_t i = 0; i < NPAGES / 2; i++)
		EXPECT_EQ(0xc000, gpu_see(gpu, mem + i * PAGE_SIZE));
	EXPECT_EQ(NPAGES / 2, server.served);
	/* Several threads at once; pages that the CPU does not have are not invented. */
	EXPECT_EQ(0, gpu_fill(gpu, mem, NPAGES, 0xd000));
	EXPECT_EQ(NPAGES, server.served);
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0xd000));
	/* The thread is killed with the test. */
	close(server.uffd);
}

/*
 * The handler does not answer.  These threads wait, nobody else does: other faults of
 * this process and of others are served, and munmap() and close() are not held up.  They
 * are fewer than the driver has workers for one process, should each fault come alone.
 */
TEST_F(fault, uffd_stalled)
{
	struct gpu *gpu = &self->gpu, other = { 0 };
	char *stalled, *mem;
	struct dgpu_result result;
	struct dgpu_job *jobs[8];
	struct pollfd pfd;
	int uffd;

	uffd = sys_uffd_open(0);
	stalled = sys_pages(NPAGES);
	mem = sys_pages(NPAGES);
	sys_uffd_register(uffd, stalled, LENGTH, UFFDIO_REGISTER_MODE_MISSING);
	for (size_t i = 0; i < 8; i++)
		jobs[i] = gpu_start(gpu, GPU_WRITE8, 1, (uintptr_t)stalled + i * PAGE_SIZE, i + 1,
				    0, 0);
	pfd = (struct pollfd) { .fd = dgpu_job_fence(jobs[0]), .events = POLLIN };
	EXPECT_EQ(0, poll(&pfd, 1, 200));

	EXPECT_EQ(0, gpu_fill(gpu, mem, NPAGES, 0xe000));
	EXPECT_TRUE(cpu_check(mem, NPAGES, 0xe000));
	gpu_setup(&other);
	EXPECT_EQ(0, gpu_fill(&other, mem, NPAGES, 0xf000));
	gpu_teardown(&other);
	ASSERT_SYS(munmap(mem, LENGTH));

	/* The handler goes away: the faults are ordinary ones. */
	close(uffd);
	for (size_t i = 0; i < 8; i++) {
		EXPECT_EQ(0, dgpu_job_wait(jobs[i], 60000, &result));
		EXPECT_EQ(DGPU_OK, result.status);
		EXPECT_EQ(i + 1, *(volatile uint64_t *)(stalled + i * PAGE_SIZE));
		dgpu_job_free(jobs[i]);
	}
}

/* The device is closed while its fault waits for a handler that never answers. */
TEST_F(fault, uffd_stalled_close)
{
	struct gpu other = { 0 };
	struct dgpu_job *job;
	const uint64_t begin = sys_now_ms();
	char *stalled;
	int uffd;

	uffd = sys_uffd_open(0);
	stalled = sys_pages(1);
	sys_uffd_register(uffd, stalled, PAGE_SIZE, UFFDIO_REGISTER_MODE_MISSING);
	gpu_setup(&other);
	job = gpu_start(&other, GPU_WRITE8, 1, (uintptr_t)stalled, 1, 0, 0);
	sys_sleep_ms(100);
	dgpu_job_free(job);
	gpu_teardown(&other);
	EXPECT_LT(sys_now_ms() - begin, 30000 * harness_timeout_scale);
	/* The other file of this process still works. */
	*self->gpu.scratch = 5;
	EXPECT_EQ(5, gpu_see(&self->gpu, self->gpu.scratch));
	close(uffd);
}

HARNESS_MAIN

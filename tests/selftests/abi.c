// SPDX-License-Identifier: GPL-2.0
/*
 * The user interface of the device, row by row: what it says about itself, and what
 * it does with bad input.  Each bad value alone must give the errno that uapi/dgpu.h
 * names, and change nothing.
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "abi.h"

FIXTURE(abi) {
	int fd;
	char *mem;	/* 16 pages of this process, 2 MiB from anything else */
};

FIXTURE_SETUP(abi)
{
	self->fd = ASSERT_SYS(abi_open(O_CLOEXEC));
	self->mem = sys_pages(16);
	memset(self->mem, 0x5a, 16 * PAGE_SIZE);
}

FIXTURE_TEARDOWN(abi)
{
	close(self->fd);
}

/* ---- what every ioctl has in common ---- */

TEST_F(abi, unknown_ioctls)
{
	struct dgpu_info info = {};

	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, _IO(DGPU_IOC_MAGIC, 0x7f), &info));
	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, _IO(DGPU_IOC_MAGIC, 0x00), &info));
	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, _IOW(DGPU_IOC_MAGIC, 0x00, struct dgpu_info),
				   &info));
	/* The right number with another size. */
	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, _IOWR(DGPU_IOC_MAGIC, 0x00, char[64]), &info));
	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, _IOWR('x', 0x00, struct dgpu_info), &info));
	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, 0, NULL));
	EXPECT_ERRNO(ENOTTY, ioctl(self->fd, ~0u, NULL));
}

TEST_F(abi, bad_pointers)
{
	static const unsigned int all[] = {
		DGPU_IOCTL_INFO, DGPU_IOCTL_SUBMIT, DGPU_IOCTL_RESULT, DGPU_IOCTL_PREFAULT,
		DGPU_IOCTL_PTES, DGPU_IOCTL_STAT, DGPU_IOCTL_EVENTS, DGPU_IOCTL_MIGRATE,
		DGPU_IOCTL_POLICY, DGPU_IOCTL_HINT, DGPU_IOCTL_RESIDENCY, DGPU_IOCTL_EVACUATE,
	};
	char *edge = self->mem + 16 * PAGE_SIZE - 4;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		EXPECT_ERRNO(EFAULT, ioctl(self->fd, all[i], NULL));
		EXPECT_ERRNO(EFAULT, ioctl(self->fd, all[i], (void *)KERNEL_ADDR));
		EXPECT_ERRNO(EFAULT, ioctl(self->fd, all[i], (void *)NON_CANONICAL));
		EXPECT_ERRNO(EFAULT, ioctl(self->fd, all[i], (void *)~0ul));
		/* Begins in memory, ends outside. */
		EXPECT_ERRNO(EFAULT, ioctl(self->fd, all[i], edge));
	}
}

TEST_F(abi, file_operations)
{
	char c = 0;

	EXPECT_ERRNO(EINVAL, write(self->fd, &c, 1));
	EXPECT_ERRNO(ENODEV, (intptr_t)mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, self->fd, 0));
	EXPECT_ERRNO(ESPIPE, lseek(self->fd, 0, SEEK_SET));
	EXPECT_ERRNO(EINVAL, ftruncate(self->fd, 0));
	EXPECT_ERRNO(EINVAL, fsync(self->fd));
}

/* ---- INFO ---- */

TEST_F(abi, info)
{
	struct dgpu_info info = { .abi_version = 77, .flags = ~0u, .name = "nonsense" };

	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_INFO, &info));
	EXPECT_EQ(DGPU_ABI_VERSION, info.abi_version);
	EXPECT_TRUE(info.engines >= 1 && info.engines <= 16);
	EXPECT_TRUE(info.va_bits == 48 || info.va_bits == 57);
	EXPECT_GE(info.max_threads, 1);
	EXPECT_GE(info.max_insns, 1);
	EXPECT_GE(info.fault_entries, 2);
	EXPECT_EQ(0, info.flags & ~(DGPU_INFO_DIRTY | DGPU_INFO_ATOMICS));
	EXPECT_EQ(0, info.local_bytes % HUGE_SIZE);
	EXPECT_EQ(PAGE_SIZE | HUGE_SIZE, info.page_sizes);
	EXPECT_EQ(0, strncmp(info.name, "dgpu", 4));
	for (size_t i = 0; i < sizeof(info.reserved) / sizeof(info.reserved[0]); i++)
		EXPECT_EQ(0, info.reserved[i]);
}

TEST_F(abi, info_reserved)
{
	for (size_t i = 0; i < 4; i++) {
		struct dgpu_info info = { .name = "same" };

		info.reserved[i] = BIT63;
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, DGPU_IOCTL_INFO, &info));
		EXPECT_EQ(0, strcmp(info.name, "same"));
	}
}

/* ---- SUBMIT ---- */

/* One field of the arguments is bad; no descriptor and no job is left behind. */
#define EXPECT_SUBMIT(error, field, value) do { \
	struct dgpu_submit bad_ = abi_submit(halt, 1); \
	bad_.field = (value); \
	EXPECT_ERRNO(error, ioctl(self->fd, DGPU_IOCTL_SUBMIT, &bad_)); \
} while (0)

TEST_F(abi, submit_bad_values)
{
	struct dgpu_info info = {};
	const int fds = abi_count_fds();
	struct dgpu_submit args;

	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_INFO, &info));
	for (int bit = 0; bit < 32; bit++)
		EXPECT_SUBMIT(EINVAL, flags, 1u << bit);
	EXPECT_SUBMIT(EINVAL, pad, 1);
	EXPECT_SUBMIT(EINVAL, pad, 0x80000000u);
	EXPECT_SUBMIT(EINVAL, reserved[0], 1);
	EXPECT_SUBMIT(EINVAL, reserved[1], BIT63);
	EXPECT_SUBMIT(EINVAL, ninsns, 0);
	EXPECT_SUBMIT(E2BIG, ninsns, info.max_insns + 1);
	EXPECT_SUBMIT(E2BIG, ninsns, ~0u);
	EXPECT_SUBMIT(E2BIG, ninsns, 0x80000000u);
	EXPECT_SUBMIT(EINVAL, nthreads, 0);
	EXPECT_SUBMIT(E2BIG, nthreads, info.max_threads + 1);
	EXPECT_SUBMIT(E2BIG, nthreads, ~0u);
	EXPECT_SUBMIT(EINVAL, engine, info.engines);
	EXPECT_SUBMIT(EINVAL, engine, DGPU_ENGINE_ANY - 1);
	EXPECT_SUBMIT(EINVAL, timeout_ms, 600001);
	EXPECT_SUBMIT(EINVAL, timeout_ms, BIT63);
	EXPECT_SUBMIT(EINVAL, timeout_ms, ~0ull);
	EXPECT_SUBMIT(EFAULT, code, 0);
	EXPECT_SUBMIT(EFAULT, code, KERNEL_ADDR);
	EXPECT_SUBMIT(EFAULT, code, NON_CANONICAL);
	EXPECT_SUBMIT(EFAULT, code, ~0ull);
	/* The last instruction is outside. */
	args = abi_submit((void *)(self->mem + 16 * PAGE_SIZE - 8), 2);
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
	args = abi_submit((void *)0xfffffffffffffff0ull, info.max_insns);
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));

	EXPECT_EQ(fds, abi_count_fds());
	/* The first job that is accepted is the first, or was none lost on the way? */
	for (unsigned int i = 0; i < info.engines; i++) {
		args = abi_submit(halt, 1);
		args.engine = i;
		args.timeout_ms = 600000;
		EXPECT_EQ(DGPU_OK, abi_run_args(self->fd, args).status);
	}
	EXPECT_EQ(fds, abi_count_fds());
}

TEST_F(abi, submit_to_read_only_arguments)
{
	struct dgpu_submit *args = (void *)self->mem;
	const int fds = abi_count_fds();

	*args = abi_submit(halt, 1);
	ASSERT_SYS(mprotect(self->mem, PAGE_SIZE, PROT_READ));
	for (int i = 0; i < 1100; i++)
		if (!EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_SUBMIT, args)))
			break;
	EXPECT_EQ(fds, abi_count_fds());
	/* No place among the 1024 jobs was lost. */
	EXPECT_EQ(DGPU_OK, abi_run(self->fd, halt, 1, 0, 0).status);
}

TEST_F(abi, submit_without_descriptors)
{
	struct dgpu_submit args = abi_submit(halt, 1);
	struct rlimit limit;

	ASSERT_SYS(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = self->fd + 1;
	ASSERT_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < 1100; i++)
		if (!EXPECT_ERRNO(EMFILE, ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args)))
			break;
	limit.rlim_cur = limit.rlim_max;
	ASSERT_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(DGPU_OK, abi_run_args(self->fd, args).status);
}

TEST_F(abi, submit_largest)
{
	struct dgpu_info info = {};
	struct dgpu_insn *code;
	struct dgpu_submit args;
	struct dgpu_result result;

	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_INFO, &info));
	code = calloc(info.max_insns, sizeof(*code));
	ASSERT_NE(code, NULL);
	for (uint32_t i = 0; i < info.max_insns; i++)
		code[i].op = i + 1 < info.max_insns ? DGPU_OP_NOP : DGPU_OP_HALT;
	result = abi_run(self->fd, code, info.max_insns, 0, 0);
	EXPECT_EQ(DGPU_OK, result.status);
	EXPECT_EQ(info.max_insns, result.insns);
	free(code);

	/* All threads that a job can have; more than there are lanes. */
	args = abi_submit(halt, 1);
	args.nthreads = info.max_threads;
	args.timeout_ms = 300000;
	result = abi_run_args(self->fd, args);
	EXPECT_EQ(DGPU_OK, result.status);
	EXPECT_EQ(info.max_threads, result.insns);
}

TEST_F(abi, job_limit)
{
	struct dgpu_submit args = abi_submit(halt, 1);
	struct dgpu_result result = { .timeout_ns = ~0ull };
	uint64_t jobs[1024];

	args.timeout_ms = 0;		/* the driver's default */
	for (int i = 0; i < 1024; i++) {
		ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
		close(args.fence_fd);
		jobs[i] = args.job;
	}
	EXPECT_ERRNO(EAGAIN, ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
	result.job = jobs[500];
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_RESULT, &result));
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
	EXPECT_ERRNO(EAGAIN, ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
	/* The limit is a file's. */
	close(self->fd);
	self->fd = ASSERT_SYS(abi_open(O_CLOEXEC));
	EXPECT_EQ(DGPU_OK, abi_run(self->fd, halt, 1, 0, 0).status);
}

/* ---- bad programs ---- */

static void abi_expect_end(int fd, const struct dgpu_insn *code, uint32_t ninsns,
			   uint64_t r1, uint32_t status, uint32_t pc)
{
	const struct dgpu_result result = abi_run(fd, code, ninsns, r1, 0);

	EXPECT_EQ(status, result.status);
	EXPECT_EQ(pc, result.pc);
	EXPECT_EQ(0, result.thread);
}

TEST_F(abi, illegal_instructions)
{
	struct dgpu_insn code[3] = { { .op = DGPU_OP_NOP }, {}, { .op = DGPU_OP_HALT } };

	for (unsigned int op = 0; op < 256; op += op < DGPU_OP_MAX ? 1 : 17) {
		const bool gap = op == DGPU_OP_ILL || op >= DGPU_OP_MAX ||
				 (op > DGPU_OP_TRAP && op < DGPU_OP_LI);

		if (!gap)
			continue;
		code[1] = (struct dgpu_insn) { .op = op };
		abi_expect_end(self->fd, code, 3, 0, DGPU_ERR_ILLEGAL, 1);
	}
	/* Registers that do not exist, fields that must be zero. */
	code[1] = (struct dgpu_insn) { .op = DGPU_OP_MOV, .rd = DGPU_NREGS };
	abi_expect_end(self->fd, code, 3, 0, DGPU_ERR_ILLEGAL, 1);
	code[1] = (struct dgpu_insn) { .op = DGPU_OP_MOV, .ra = 255 };
	abi_expect_end(self->fd, code, 3, 0, DGPU_ERR_ILLEGAL, 1);
	code[1] = (struct dgpu_insn) { .op = DGPU_OP_MOV, .rb = 1 };
	abi_expect_end(self->fd, code, 3, 0, DGPU_ERR_ILLEGAL, 1);
	code[1] = (struct dgpu_insn) { .op = DGPU_OP_HALT, .imm = 1 };
	abi_expect_end(self->fd, code, 3, 0, DGPU_ERR_ILLEGAL, 1);
	code[1] = (struct dgpu_insn) { .op = DGPU_OP_ILL, .imm = -1 };
	abi_expect_end(self->fd, code, 3, 0, DGPU_ERR_ILLEGAL, 1);
}

TEST_F(abi, programs_that_fail)
{
	const struct dgpu_insn divide[] = { { .op = DGPU_OP_DIVU, .rd = 9, .ra = 1 } };
	const struct dgpu_insn off_the_end[] = { { .op = DGPU_OP_NOP } };
	const struct dgpu_insn jump_out[] = { { .op = DGPU_OP_JMP, .imm = INT32_MAX } };
	const struct dgpu_insn jump_back[] = { { .op = DGPU_OP_JMP, .imm = -1 } };
	const struct dgpu_insn register_jump[] = { { .op = DGPU_OP_JR, .ra = 1 } };
	const struct dgpu_insn atomic[] = { { .op = DGPU_OP_AADD8, .rd = 9, .ra = 1, .rb = 2 } };
	const struct dgpu_insn trap[] = { { .op = DGPU_OP_TRAP, .imm = -77 } };
	struct dgpu_result result;

	abi_expect_end(self->fd, divide, 1, 5, DGPU_ERR_DIVIDE, 0);
	abi_expect_end(self->fd, off_the_end, 1, 0, DGPU_ERR_PC, 0);
	abi_expect_end(self->fd, jump_out, 1, 0, DGPU_ERR_PC, 0);
	abi_expect_end(self->fd, jump_back, 1, 0, DGPU_ERR_PC, 0);
	abi_expect_end(self->fd, register_jump, 1, BIT63, DGPU_ERR_PC, 0);
	result = abi_run(self->fd, atomic, 1, (uintptr_t)self->mem + 4, 1);
	EXPECT_EQ(DGPU_ERR_ALIGN, result.status);
	EXPECT_EQ((uintptr_t)self->mem + 4, result.fault_addr);
	result = abi_run(self->fd, trap, 1, 0, 0);
	EXPECT_EQ(DGPU_ERR_TRAP, result.status);
	EXPECT_EQ(-77, result.trap);
}

TEST_F(abi, endless_loop)
{
	struct dgpu_submit args = abi_submit(forever, 1);
	struct dgpu_result result = { .timeout_ns = ~0ull };
	const uint64_t begin = sys_now_ms();
	int status;

	args.timeout_ms = 200;
	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
	status = abi_fence_status(args.fence_fd);
	/* If it was us who were slow, it may be over. */
	if (sys_now_ms() - begin < 190)
		EXPECT_EQ(1, status);
	EXPECT_TRUE(abi_fence_wait(args.fence_fd, 20000));
	EXPECT_GE(sys_now_ms() - begin, 190);
	EXPECT_EQ(-ETIMEDOUT, abi_fence_status(args.fence_fd));
	/* Once the fence says so, the result is there. */
	result.job = args.job;
	result.timeout_ns = 0;
	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_RESULT, &result));
	EXPECT_EQ(DGPU_ERR_TIMEOUT, result.status);
	EXPECT_EQ(0, result.pc);
	EXPECT_GE(result.insns, 1);
	close(args.fence_fd);
	/* The engine is free again. */
	EXPECT_EQ(DGPU_OK, abi_run(self->fd, halt, 1, 0, 0).status);
}

/* ---- bad addresses ---- */

static void abi_expect_fault(int fd, bool write, uint64_t addr, int error)
{
	const struct dgpu_result result = abi_run(fd, write ? store : load, 2, addr, 0);

	EXPECT_EQ(DGPU_ERR_FAULT, result.status);
	EXPECT_EQ(error, result.error);
	EXPECT_EQ(addr, result.fault_addr);
	EXPECT_EQ(write ? DGPU_ACCESS_WRITE : DGPU_ACCESS_READ, result.access);
	EXPECT_EQ(0, result.pc);
	EXPECT_GE(result.faults, 1);
}

TEST_F(abi, bad_addresses)
{
	static const uint64_t nowhere[] = {
		0, 8, PAGE_SIZE, VA_END - 8, VA_END, 1ull << 48, (1ull << 48) + PAGE_SIZE,
		1ull << 56, NON_CANONICAL, BIT63, KERNEL_ADDR, 0xffffffff81000000ull, ~7ull,
	};
	struct dgpu_result result;

	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		abi_expect_fault(self->fd, false, nowhere[i], EFAULT);
		abi_expect_fault(self->fd, true, nowhere[i], EFAULT);
	}
	/* Eight bytes of which only the first are there; the first bad byte is named. */
	result = abi_run(self->fd, load, 2, (uintptr_t)self->mem + 16 * PAGE_SIZE - 3, 0);
	EXPECT_EQ(DGPU_ERR_FAULT, result.status);
	EXPECT_EQ((uintptr_t)self->mem + 16 * PAGE_SIZE, result.fault_addr);
	/* The last byte of all, and round the corner. */
	result = abi_run(self->fd, load, 2, ~0ull, 0);
	EXPECT_EQ(DGPU_ERR_FAULT, result.status);

	ASSERT_SYS(munmap(self->mem, PAGE_SIZE));
	abi_expect_fault(self->fd, false, (uintptr_t)self->mem, EFAULT);
}

TEST_F(abi, protected_memory)
{
	const uintptr_t mem = (uintptr_t)self->mem;

	ASSERT_SYS(mprotect(self->mem, PAGE_SIZE, PROT_READ));
	EXPECT_EQ(DGPU_OK, abi_run(self->fd, load, 2, mem, 0).status);
	abi_expect_fault(self->fd, true, mem, EACCES);
	EXPECT_EQ(0x5a, self->mem[0]);
	ASSERT_SYS(mprotect(self->mem, PAGE_SIZE, PROT_NONE));
	abi_expect_fault(self->fd, false, mem, EACCES);
	abi_expect_fault(self->fd, true, mem, EACCES);
	ASSERT_SYS(mprotect(self->mem, PAGE_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(DGPU_OK, abi_run(self->fd, store, 2, mem, 7).status);
	EXPECT_EQ(7, *(uint64_t *)self->mem);
}

/* First address of the first line of /proc/self/maps that contains @what; 0: none. */
static uint64_t abi_find_vma(const char *what)
{
	char *maps = sys_text("/proc/self/maps"), *at, *line;
	uint64_t start = 0;

	ASSERT_NE(maps, NULL);
	at = strstr(maps, what);
	if (at) {
		for (line = at; line > maps && line[-1] != '\n'; line--)
			;
		start = strtoull(line, NULL, 16);
	}
	free(maps);
	return start;
}

TEST_F(abi, special_mappings)
{
	struct dgpu_range range = { .length = PAGE_SIZE };
	uint64_t vvar = abi_find_vma("[vvar]");

	if (!vvar)
		SKIP("this kernel maps no [vvar], a VM_PFNMAP area, here");
	abi_expect_fault(self->fd, false, vvar, EOPNOTSUPP);
	abi_expect_fault(self->fd, true, vvar, EOPNOTSUPP);
	range.start = vvar;
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(self->fd, DGPU_IOCTL_PREFAULT, &range));
}

TEST_F(abi, beyond_end_of_file)
{
	int file = ASSERT_SYS(memfd_create("short", 0));
	char *map;

	ASSERT_SYS(ftruncate(file, PAGE_SIZE));
	map = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(map, MAP_FAILED);
	EXPECT_EQ(DGPU_OK, abi_run(self->fd, store, 2, (uintptr_t)map, 1).status);
	abi_expect_fault(self->fd, false, (uintptr_t)map + PAGE_SIZE, EFAULT);
	abi_expect_fault(self->fd, true, (uintptr_t)map + PAGE_SIZE, EFAULT);
	munmap(map, 2 * PAGE_SIZE);
	close(file);
}

/* ---- RESULT ---- */

TEST_F(abi, result_bad_values)
{
	static const uint64_t none[] = { 0, 1, 2, 1ull << 31, 1ull << 32, BIT63, ~0ull };
	struct dgpu_result result = {};
	struct dgpu_submit args;

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		result.job = none[i];
		EXPECT_ERRNO(ENOENT, ioctl(self->fd, DGPU_IOCTL_RESULT, &result));
	}
	args = abi_submit(halt, 1);
	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
	EXPECT_TRUE(abi_fence_wait(args.fence_fd, 20000));
	EXPECT_EQ(0, abi_fence_status(args.fence_fd));
	for (int i = 0; i < 4; i++) {
		result = (struct dgpu_result) { .job = args.job };
		result.reserved[i] = 1ull << (i * 20);
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, DGPU_IOCTL_RESULT, &result));
	}
	result = (struct dgpu_result) { .job = args.job, .status = 99, .insns = 99 };
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_RESULT, &result));
	EXPECT_EQ(DGPU_OK, result.status);
	EXPECT_EQ(1, result.insns);
	/* Collected. */
	EXPECT_ERRNO(ENOENT, ioctl(self->fd, DGPU_IOCTL_RESULT, &result));
	close(args.fence_fd);
}

TEST_F(abi, result_not_lost_by_a_bad_pointer)
{
	struct dgpu_result *result = (void *)self->mem;
	struct dgpu_submit args = abi_submit(halt, 1);

	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
	*result = (struct dgpu_result) { .job = args.job, .timeout_ns = ~0ull };
	ASSERT_SYS(mprotect(self->mem, PAGE_SIZE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_RESULT, result));
	ASSERT_SYS(mprotect(self->mem, PAGE_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_RESULT, result));
	EXPECT_EQ(DGPU_OK, result->status);
	close(args.fence_fd);
}

static void abi_on_alarm(int sig)
{
	(void)sig;
}

TEST_F(abi, result_waits)
{
	const struct sigaction act = { .sa_handler = abi_on_alarm };
	struct dgpu_submit args = abi_submit(forever, 1);
	struct dgpu_result result = {};
	uint64_t begin;

	args.timeout_ms = 600000;
	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
	result.job = args.job;
	EXPECT_ERRNO(ETIME, ioctl(self->fd, DGPU_IOCTL_RESULT, &result));
	begin = sys_now_ms();
	result.timeout_ns = 50000000;
	EXPECT_ERRNO(ETIME, ioctl(self->fd, DGPU_IOCTL_RESULT, &result));
	EXPECT_GE(sys_now_ms() - begin, 50);
	/* A signal, also when the time is 2^63 and more. */
	ASSERT_SYS(sigaction(SIGALRM, &act, NULL));
	for (int i = 0; i < 3; i++) {
		result.timeout_ns = i == 0 ? BIT63 - 1 : i == 1 ? BIT63 : ~0ull;
		/* More than one: the first may come before the call. */
		ualarm(50000, 50000);
		EXPECT_ERRNO(EINTR, ioctl(self->fd, DGPU_IOCTL_RESULT, &result));
		ualarm(0, 0);
	}
	close(args.fence_fd);
}

struct abi_collector {
	int fd;
	uint64_t job;
	int error;
};

static void *abi_collect(void *data)
{
	struct abi_collector *c = data;
	struct dgpu_result result = { .job = c->job, .timeout_ns = ~0ull };

	c->error = ioctl(c->fd, DGPU_IOCTL_RESULT, &result) ? errno : 0;
	return NULL;
}

TEST_F(abi, one_of_many_collects)
{
	struct dgpu_submit args = abi_submit(forever, 1);
	struct abi_collector c[8];
	pthread_t threads[8];
	int collected = 0;

	args.timeout_ms = 100;
	ASSERT_SYS(ioctl(self->fd, DGPU_IOCTL_SUBMIT, &args));
	for (int i = 0; i < 8; i++) {
		c[i] = (struct abi_collector) { .fd = self->fd, .job = args.job };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, abi_collect, &c[i]));
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		collected += !c[i].error;
		EXPECT_TRUE(c[i].error == 0 || c[i].error == ENOENT);
	}
	EXPECT_EQ(1, collected);
	close(args.fence_fd);
}

/* ---- PREFAULT ---- */

#define EXPECT_PREFAULT(error_, ...) do { \
	struct dgpu_range range_ = { __VA_ARGS__ }; \
	EXPECT_ERRNO(error_, ioctl(self->fd, DGPU_IOCTL_PREFAULT, &range_)); \
} while (0)

TEST_F(abi, prefault_bad_values)
{
	const uint64_t mem = (uintptr_t)self->mem;

	for (int bit = 1; bit < 32; bit++)
		EXPECT_PREFAULT(EINVAL, .start = mem, .length = PAGE_SIZE, .flags = 1u << bit);
	EXPECT_PREFAULT(EINVAL, .start = mem, .length = PAGE_SIZE, .pad = 1);
	EXPECT_PREFAULT(EINVAL, .start = mem, .length = PAGE_SIZE, .reserved = { 1 });
	EXPECT_PREFAULT(EINVAL, .start = mem, .length = PAGE_SIZE, .reserved = { 0, BIT63 });
	EXPECT_PREFAULT(EINVAL, .start = mem, .length = 0);
	EXPECT_PREFAULT(EINVAL, .start = mem + 1, .length = PAGE_SIZE);
	EXPECT_PREFAULT(EINVAL, .start = mem, .length = PAGE_SIZE - 1);
	EXPECT_PREFAULT(EINVAL, .start = mem, .length = PAGE_SIZE + 8);
	EXPECT_PREFAULT(EINVAL, .start = mem, .length = -PAGE_SIZE);
	EXPECT_PREFAULT(EINVAL, .start = BIT63, .length = BIT63);
	EXPECT_PREFAULT(EINVAL, .start = -PAGE_SIZE, .length = PAGE_SIZE);
	EXPECT_PREFAULT(EFAULT, .start = -2 * PAGE_SIZE, .length = PAGE_SIZE);
	EXPECT_PREFAULT(EFAULT, .start = 0, .length = BIT63);
	EXPECT_PREFAULT(EFAULT, .start = BIT63, .length = PAGE_SIZE);
	EXPECT_PREFAULT(EFAULT, .start = KERNEL_ADDR, .length = PAGE_SIZE);
	EXPECT_PREFAULT(EFAULT, .start = VA_END, .length = PAGE_SIZE);
	EXPECT_EQ(0, abi_pte(self->fd, self->mem));
}

TEST_F(abi, prefault_up_to_the_bad_page)
{
	struct dgpu_range range = {
		.start = (uintptr_t)self->mem, .length = 1ull << 40, .flags = DGPU_PREFAULT_WRITE,
	};

	ASSERT_SYS(munmap(self->mem + 8 * PAGE_SIZE, PAGE_SIZE));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_PREFAULT, &range));
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(DGPU_PTE_VALID | DGPU_PTE_WRITE | DGPU_PTE_ATOMIC,
			  abi_pte(self->fd, self->mem + i * PAGE_SIZE));
	EXPECT_EQ(0, abi_pte(self->fd, self->mem + 8 * PAGE_SIZE));

	ASSERT_SYS(mprotect(self->mem + 4 * PAGE_SIZE, PAGE_SIZE, PROT_READ));
	range.length = 8 * PAGE_SIZE;
	EXPECT_ERRNO(EACCES, ioctl(self->fd, DGPU_IOCTL_PREFAULT, &range));
	range.flags = 0;
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_PREFAULT, &range));
	ASSERT_SYS(mprotect(self->mem + 4 * PAGE_SIZE, PAGE_SIZE, PROT_NONE));
	EXPECT_ERRNO(EACCES, ioctl(self->fd, DGPU_IOCTL_PREFAULT, &range));
}

/* ---- PTES ---- */

#define EXPECT_PTES(error_, ...) do { \
	struct dgpu_ptes args_ = { __VA_ARGS__ }; \
	EXPECT_ERRNO(error_, ioctl(self->fd, DGPU_IOCTL_PTES, &args_)); \
} while (0)

TEST_F(abi, ptes_bad_values)
{
	const uint64_t mem = (uintptr_t)self->mem;
	uint8_t out[16];

	EXPECT_PTES(EINVAL, .start = mem, .npages = 0, .out = (uintptr_t)out);
	EXPECT_PTES(EINVAL, .start = mem + 1, .npages = 1, .out = (uintptr_t)out);
	EXPECT_PTES(EINVAL, .start = mem, .npages = (1u << 20) + 1, .out = (uintptr_t)out);
	EXPECT_PTES(EINVAL, .start = mem, .npages = BIT63, .out = (uintptr_t)out);
	EXPECT_PTES(EINVAL, .start = mem, .npages = (1ull << 52) + 1, .out = (uintptr_t)out);
	EXPECT_PTES(EINVAL, .start = -PAGE_SIZE, .npages = 2, .out = (uintptr_t)out);
	EXPECT_PTES(EINVAL, .start = mem, .npages = 1, .out = (uintptr_t)out, .reserved = { 1 });
	EXPECT_PTES(EINVAL, .start = mem, .npages = 1, .out = (uintptr_t)out,
		    .reserved = { 0, BIT63 });
	EXPECT_PTES(EFAULT, .start = mem, .npages = 1, .out = 0);
	EXPECT_PTES(EFAULT, .start = mem, .npages = 1, .out = KERNEL_ADDR);
	EXPECT_PTES(EFAULT, .start = mem, .npages = 1u << 20, .out = ~0ull - 100);
}

TEST_F(abi, ptes)
{
	const size_t npages = 1u << 20;
	struct dgpu_ptes args = { .npages = npages };
	uint8_t *out = malloc(npages);

	ASSERT_NE(out, NULL);
	args.out = (uintptr_t)out;
	memset(out, 0xff, npages);
	/* Where no device address space can be. */
	args.start = BIT63;
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_PTES, &args));
	EXPECT_EQ(0, out[0]);
	EXPECT_EQ(0, out[npages - 1]);

	/* Two pages in the middle of 4 GiB. */
	EXPECT_EQ(DGPU_OK, abi_run(self->fd, store, 2, (uintptr_t)self->mem, 1).status);
	memset(out, 0xff, npages);
	args.start = ((uintptr_t)self->mem & ~(PAGE_SIZE - 1)) - 700 * PAGE_SIZE;
	EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_PTES, &args));
	EXPECT_EQ(DGPU_PTE_VALID | DGPU_PTE_WRITE | DGPU_PTE_ATOMIC | DGPU_PTE_ACCESSED |
		  DGPU_PTE_DIRTY, out[700]);
	EXPECT_EQ(0, out[699]);
	EXPECT_EQ(0, out[700 + 16]);
	free(out);
}

/* ---- STAT ---- */

TEST_F(abi, stat)
{
	static const uint32_t nr[] = {
		HMM_STAT_NR, HMM_EVENT_NR, HMM_REASON_NR, DGPU_HW_NR, HMM_RMEM_NR,
	};
	uint64_t values[64];
	struct dgpu_stat args;

	for (uint32_t what = 0; what < 5; what++) {
		args = (struct dgpu_stat) { .what = what };
		EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_STAT, &args));
		EXPECT_EQ(nr[what], args.count);

		memset(values, 0xff, sizeof(values));
		args = (struct dgpu_stat) { .what = what, .count = 1, .values = (uintptr_t)values };
		EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_STAT, &args));
		EXPECT_EQ(nr[what], args.count);
		EXPECT_NE(~0ull, values[0]);
		EXPECT_EQ(~0ull, values[1]);

		memset(values, 0xff, sizeof(values));
		args = (struct dgpu_stat) { .what = what, .count = ~0u,
					    .values = (uintptr_t)values };
		EXPECT_SYS(ioctl(self->fd, DGPU_IOCTL_STAT, &args));
		EXPECT_NE(~0ull, values[nr[what] - 1]);
		EXPECT_EQ(~0ull, values[nr[what]]);

		args = (struct dgpu_stat) { .what = what, .count = 1 };
		EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_STAT, &args));
		args = (struct dgpu_stat) { .what = what, .count = 1, .values = KERNEL_ADDR };
		EXPECT_ERRNO(EFAULT, ioctl(self->fd, DGPU_IOCTL_STAT, &args));
		args = (struct dgpu_stat) { .what = what, .reserved = { 1 } };
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, DGPU_IOCTL_STAT, &args));
		args = (struct dgpu_stat) { .what = what, .reserved = { 0, BIT63 } };
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, DGPU_IOCTL_STAT, &args));
	}
	args = (struct dgpu_stat) { .what = 5 };
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, DGPU_IOCTL_STAT, &args));
	args = (struct dgpu_stat) { .what = ~0u };
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, DGPU_IOCTL_STAT, &args));
}

/* ---- EVENTS, read, poll ---- */

static void abi_events(int fd, uint32_t capacity)
{
	struct dgpu_events args = { .capacity = capacity };

	ASSERT_SYS(ioctl(fd, DGPU_IOCTL_EVENTS, &args));
}

/* One invalidation of the first page that the device maps. */
static void abi_make_event(int fd, char *mem)
{
	ASSERT_EQ(DGPU_OK, abi_run(fd, store, 2, (uintptr_t)mem, 1).status);
	ASSERT_SYS(madvise(mem, PAGE_SIZE, MADV_DONTNEED));
}

TEST_F(abi, events_bad_values)
{
	static const uint32_t bad[] = { 3, 5, 65535, 65537, 131072, 0x80000000u, ~0u };
	struct dgpu_events args;
	struct dgpu_event event;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		args = (struct dgpu_events) { .capacity = bad[i] };
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, DGPU_IOCTL_EVENTS, &args));
	}
	args = (struct dgpu_events) { .capacity = 1, .pad = 1 };
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, DGPU_IOCTL_EVENTS, &args));
	args = (struct dgpu_events) { .capacity = 1, .reserved = { 1 } };
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, DGPU_IOCTL_EVENTS, &args));
	args = (struct dgpu_events) { .capacity = 1, .reserved = { 0, BIT63 } };
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, DGPU_IOCTL_EVENTS, &args));
	/* Still off, so there is nothing to wait for. */
	EXPECT_EQ(0, read(self->fd, &event, sizeof(event)));
	abi_events(self->fd, 65536);
	abi_events(self->fd, 1);
	abi_events(self->fd, 0);
	EXPECT_EQ(0, read(self->fd, &event, sizeof(event)));
}

TEST_F(abi, read_events)
{
	struct pollfd p = { .fd = self->fd, .events = POLLIN };
	struct dgpu_event events[4];

	ASSERT_SYS(fcntl(self->fd, F_SETFL, O_NONBLOCK));
	abi_events(self->fd, 4);
	EXPECT_ERRNO(EINVAL, read(self->fd, events, 0));
	EXPECT_ERRNO(EINVAL, read(self->fd, events, sizeof(events[0]) - 1));
	EXPECT_ERRNO(EAGAIN, read(self->fd, events, sizeof(events)));
	EXPECT_EQ(0, poll(&p, 1, 0));
	abi_make_event(self->fd, self->mem);
	EXPECT_EQ(1, poll(&p, 1, 0));
	EXPECT_EQ(POLLIN, p.revents);
	EXPECT_ERRNO(EFAULT, read(self->fd, self->mem + 16 * PAGE_SIZE, sizeof(events)));
	EXPECT_ERRNO(EFAULT, syscall(SYS_read, self->fd, KERNEL_ADDR, sizeof(events)));
	/* It was not lost. */
	EXPECT_EQ(sizeof(events[0]), read(self->fd, events, sizeof(events) - 1));
	EXPECT_EQ((uintptr_t)self->mem, events[0].start);
	EXPECT_EQ((uintptr_t)self->mem + PAGE_SIZE, events[0].end);
	EXPECT_EQ(1, events[0].pages);
	EXPECT_EQ(1, events[0].dirty);
	EXPECT_EQ(HMM_ACTION_DROP, events[0].action);
	EXPECT_EQ(HMM_EVENT_BLOCKABLE, events[0].flags);
	EXPECT_NE(0, events[0].reasons);
	EXPECT_ERRNO(EAGAIN, read(self->fd, events, sizeof(events)));
	EXPECT_EQ(0, poll(&p, 1, 0));
}

TEST_F(abi, events_overflow)
{
	struct dgpu_event events[8];
	uint64_t first;

	ASSERT_SYS(fcntl(self->fd, F_SETFL, O_NONBLOCK));
	abi_events(self->fd, 4);
	abi_make_event(self->fd, self->mem);
	ASSERT_EQ(sizeof(events[0]), read(self->fd, events, sizeof(events)));
	first = events[0].seq;
	for (int i = 0; i < 7; i++)
		abi_make_event(self->fd, self->mem);
	/*
	 * The latest four; the gap tells of the three before, and of what the kernel may
	 * have done on its own meanwhile.
	 */
	ASSERT_EQ(4 * sizeof(events[0]), read(self->fd, events, sizeof(events)));
	EXPECT_GE(events[0].seq, first + 4);
	for (int i = 1; i < 4; i++)
		EXPECT_EQ(events[0].seq + i, events[i].seq);
}

static void *abi_read_one(void *data)
{
	struct abi_collector *c = data;
	struct dgpu_event event;
	ssize_t ret = read(c->fd, &event, sizeof(event));

	c->error = ret < 0 ? errno : ret == sizeof(event) ? 0 : ret ? EIO : ENODATA;
	return NULL;
}

TEST_F(abi, read_blocks)
{
	struct abi_collector c = { .fd = self->fd, .error = -1 };
	pthread_t thread;

	abi_events(self->fd, 16);
	ASSERT_EQ(0, pthread_create(&thread, NULL, abi_read_one, &c));
	sys_sleep_ms(50);
	EXPECT_EQ(-1, c.error);
	abi_make_event(self->fd, self->mem);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, c.error);

	/* Switching them off wakes the reader. */
	abi_events(self->fd, 16);
	c.error = -1;
	ASSERT_EQ(0, pthread_create(&thread, NULL, abi_read_one, &c));
	sys_sleep_ms(50);
	abi_events(self->fd, 0);
	pthread_join(thread, NULL);
	EXPECT_EQ(ENODATA, c.error);
}

HARNESS_MAIN

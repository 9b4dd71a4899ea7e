/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Raw ioctls for the tests of the device's interface, without libdgpu: the library
 * would not let most of it through.
 */
#ifndef SELFTEST_ABI_H
#define SELFTEST_ABI_H

#include <dirent.h>
#include <fcntl.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define BIT63		(1ull << 63)
#define KERNEL_ADDR	0xffff888000000000ull
#define NON_CANONICAL	0x1000000000000000ull
#define VA_END		(1ull << 47)

/* An ioctl, or another system call, that must fail with that errno. */
#define EXPECT_ERRNO(error, call) ({ \
	errno = 0; \
	EXPECT_EQ(-1, (call)); \
	EXPECT_EQ(error, errno); \
})

static const struct dgpu_insn halt[] __attribute__((unused)) = { { .op = DGPU_OP_HALT } };
static const struct dgpu_insn forever[] __attribute__((unused)) = { { .op = DGPU_OP_JMP } };
/* mem[r1] = r2 */
static const struct dgpu_insn store[] __attribute__((unused)) = {
	{ .op = DGPU_OP_ST8, .rd = 2, .ra = 1 },
	{ .op = DGPU_OP_HALT },
};
/* r9 = mem[r1] */
static const struct dgpu_insn load[] __attribute__((unused)) = {
	{ .op = DGPU_OP_LD8, .rd = 9, .ra = 1 },
	{ .op = DGPU_OP_HALT },
};

static inline int abi_open(int flags)
{
	const char *path = getenv("DGPU_DEVICE");

	/* As gpu_setup() does: what is sampled by NUMA balancing is invalidated. */
	syscall(SYS_set_mempolicy, 4 /* MPOL_LOCAL */, NULL, 0ul);
	return open(path ? path : "/dev/dgpu0", O_RDWR | flags);
}

static inline struct dgpu_submit abi_submit(const struct dgpu_insn *code, uint32_t ninsns)
{
	return (struct dgpu_submit) {
		.code = (uintptr_t)code,
		.ninsns = ninsns,
		.nthreads = 1,
		.engine = DGPU_ENGINE_ANY,
		/* More than a machine that is slow, or stalls, can need. */
		.timeout_ms = 300000,
	};
}

/* Submit and wait: the result. */
static inline struct dgpu_result abi_run_args(int fd, struct dgpu_submit args)
{
	struct dgpu_result result = { .timeout_ns = ~0ull };

	ASSERT_SYS(ioctl(fd, DGPU_IOCTL_SUBMIT, &args));
	close(args.fence_fd);
	result.job = args.job;
	ASSERT_SYS(ioctl(fd, DGPU_IOCTL_RESULT, &result));
	return result;
}

static inline struct dgpu_result abi_run(int fd, const struct dgpu_insn *code, uint32_t ninsns,
				  uint64_t r1, uint64_t r2)
{
	struct dgpu_submit args = abi_submit(code, ninsns);

	args.args[0] = r1;
	args.args[1] = r2;
	return abi_run_args(fd, args);
}

/* The error that a fence carries: 1 while it is not signalled, 0 or -errno. */
static inline int abi_fence_status(int fence)
{
	struct sync_file_info info = { .name = "" };

	ASSERT_SYS(ioctl(fence, SYNC_IOC_FILE_INFO, &info));
	/* The kernel says 0 for active, 1 for signalled, -errno. */
	return info.status == 0 ? 1 : info.status == 1 ? 0 : info.status;
}

static inline bool abi_fence_wait(int fence, int timeout_ms)
{
	struct pollfd p = { .fd = fence, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1 && p.revents & POLLIN;
}

/* How many descriptors does this process have? */
static inline int abi_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int nr = 0;

	ASSERT_NE(dir, NULL);
	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

/* What the device maps at an address: DGPU_PTE_*. */
static inline uint8_t abi_pte(int fd, const void *addr)
{
	uint8_t bits = 0xff;
	struct dgpu_ptes args = {
		.start = (uintptr_t)addr, .npages = 1, .out = (uintptr_t)&bits,
	};

	ASSERT_SYS(ioctl(fd, DGPU_IOCTL_PTES, &args));
	return bits;
}

#endif /* SELFTEST_ABI_H */

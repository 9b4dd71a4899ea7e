// SPDX-License-Identifier: GPL-2.0
/*
 * Another device of the kernel wants the pages: they migrate to its memory, or it asks
 * for exclusive access.  The other device is the kernel's own HMM test driver, or dmirror
 * where that is inserted, which looks the same.  Its memory is DEVICE_PRIVATE: nobody but
 * its owner can reach it, so an access by our device has to bring the page back.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define NPAGES	16ul
#define LENGTH	(NPAGES * PAGE_SIZE)
#define RW	(DGPU_PTE_VALID | DGPU_PTE_WRITE)
#define PEER	"/dev/hmm_dmirror0"

/* What the test driver's ioctls take; the kernel does not export it to user space. */
struct peer_cmd {
	uint64_t addr;
	uint64_t ptr;
	uint64_t npages;
	uint64_t cpages;
	uint64_t faults;
};

#define PEER_MIGRATE_TO_DEV	_IOWR('H', 0x02, struct peer_cmd)
#define PEER_EXCLUSIVE		_IOWR('H', 0x05, struct peer_cmd)

FIXTURE(peer) {
	struct gpu gpu;
	char *mem;
	int fd;
};

FIXTURE_SETUP(peer)
{
	/* Where no page can move to our device, none can to another. */
	gpu_setup_memory(&self->gpu);
	if (access(PEER, F_OK) && sys_run("modprobe test_hmm"))
		SKIP("no driver test_hmm in this kernel");
	self->fd = open(PEER, O_RDWR);
	if (self->fd < 0)
		SKIP("the driver test_hmm has no device " PEER);
	self->mem = sys_pages(NPAGES);
	ASSERT_EQ(0, gpu_fill(&self->gpu, self->mem, NPAGES, 0x1000));
	ASSERT_EQ(NPAGES, gpu_ptes(&self->gpu, self->mem, NPAGES, RW));
	gpu_events_start(&self->gpu);
}

FIXTURE_TEARDOWN(peer)
{
	close(self->fd);
	gpu_teardown(&self->gpu);
}

/* The ioctl reads what it moved back into a buffer; how many pages it reports. */
static uint64_t peer_do(int fd, unsigned long request, char *mem)
{
	struct peer_cmd cmd = {
		.addr = (uintptr_t)mem,
		.npages = NPAGES,
	};

	cmd.ptr = (uintptr_t)sys_pages(NPAGES);
	ASSERT_SYS(ioctl(fd, request, &cmd));
	return cmd.cpages;
}

TEST_F(peer, migrate)
{
	struct gpu *gpu = &self->gpu;

	ASSERT_EQ(NPAGES, peer_do(self->fd, PEER_MIGRATE_TO_DEV, self->mem));
	EXPECT_EVENT(gpu, self->mem, LENGTH, MIGRATE_DEV, DROP, R(MIGRATE_DEV));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	/* What our device wrote went along, and comes back when it faults. */
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_GE(dgpu_stat_mirror(gpu->dev, HMM_STAT_CPU_FAULTS), NPAGES);
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x2000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x2000));
}

TEST_F(peer, migrate_back_and_forth)
{
	struct gpu *gpu = &self->gpu;

	for (uint64_t round = 1; round <= sys_scale(50); round++) {
		ASSERT_LE(1, peer_do(self->fd, PEER_MIGRATE_TO_DEV, self->mem));
		ASSERT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, round << 16));
		if (!EXPECT_TRUE(cpu_check(self->mem, NPAGES, round << 16)))
			break;
	}
}

TEST_F(peer, exclusive)
{
	struct gpu *gpu = &self->gpu;

	peer_do(self->fd, PEER_EXCLUSIVE, self->mem);
	EXPECT_EVENT(gpu, self->mem, LENGTH, EXCLUSIVE, DROP, R(EXCLUSIVE));
	EXPECT_EQ(0, gpu_ptes(gpu, self->mem, NPAGES, DGPU_PTE_VALID));
	/* Our access takes it back. */
	EXPECT_EQ(0, gpu_check(gpu, self->mem, NPAGES, 0x1000));
	EXPECT_EQ(0, gpu_fill(gpu, self->mem, NPAGES, 0x3000));
	EXPECT_TRUE(cpu_check(self->mem, NPAGES, 0x3000));
}

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* Reads and writes that are not waited for: see async.h. */
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "async.h"
#include "harness.h"

static void uring_map(struct async *async, const struct io_uring_params *params)
{
	const size_t sq = params->sq_off.array + params->sq_entries * sizeof(unsigned int);
	const size_t cq = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	char *rings;

	ASSERT_TRUE(params->features & IORING_FEAT_SINGLE_MMAP);
	async->rings_size = sq > cq ? sq : cq;
	rings = ASSERT_SYS(mmap(NULL, async->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED,
				async->fd, IORING_OFF_SQ_RING));
	async->rings = rings;
	async->sqes = ASSERT_SYS(mmap(NULL, params->sq_entries * sizeof(struct io_uring_sqe),
				      PROT_READ | PROT_WRITE, MAP_SHARED, async->fd,
				      IORING_OFF_SQES));
	async->sq_tail = (void *)(rings + params->sq_off.tail);
	async->sq_mask = (void *)(rings + params->sq_off.ring_mask);
	async->sq_array = (void *)(rings + params->sq_off.array);
	async->cq_head = (void *)(rings + params->cq_off.head);
	async->cq_tail = (void *)(rings + params->cq_off.tail);
	async->cq_mask = (void *)(rings + params->cq_off.ring_mask);
	async->cqes = (void *)(rings + params->cq_off.cqes);
}

void async_begin(struct async *async, bool uring)
{
	struct io_uring_params params = { 0 };

	memset(async, 0, sizeof(*async));
	async->uring = uring;
	async->fd = -1;
	if (!uring) {
		if (syscall(SYS_io_setup, ASYNC_MAX, &async->context))
			SKIP("no io_submit(): %s", strerror(errno));
		return;
	}
	async->fd = (int)syscall(SYS_io_uring_setup, ASYNC_MAX, &params);
	if (async->fd < 0)
		SKIP("no io_uring: %s", strerror(errno));
	uring_map(async, &params);
}

void async_end(struct async *async)
{
	if (async->context)
		syscall(SYS_io_destroy, async->context);
	if (async->rings) {
		munmap(async->rings, async->rings_size);
		munmap(async->sqes, ASYNC_MAX * sizeof(struct io_uring_sqe));
	}
	if (async->uring && async->fd >= 0)
		close(async->fd);
	memset(async, 0, sizeof(*async));
	async->fd = -1;
}

static void aio_begin(struct async *async, uint16_t opcode, unsigned int id, int fd,
		      const void *buffer, size_t length, off_t at)
{
	struct iocb iocb = {
		.aio_data = id, .aio_lio_opcode = opcode, .aio_fildes = (uint32_t)fd,
		.aio_buf = (uintptr_t)buffer, .aio_nbytes = length, .aio_offset = at,
	}, *iocbs = &iocb;

	ASSERT_EQ(1, syscall(SYS_io_submit, async->context, 1, &iocbs));
}

static void uring_begin(struct async *async, uint8_t opcode, unsigned int id, int fd,
			const void *buffer, size_t length, off_t at)
{
	const unsigned int tail = *async->sq_tail, slot = tail & *async->sq_mask;

	async->sqes[slot] = (struct io_uring_sqe) {
		.opcode = opcode, .fd = fd, .off = (uint64_t)at, .addr = (uintptr_t)buffer,
		.len = (uint32_t)length, .user_data = id,
	};
	async->sq_array[slot] = slot;
	__atomic_store_n(async->sq_tail, tail + 1, __ATOMIC_RELEASE);
	ASSERT_EQ(1, syscall(SYS_io_uring_enter, async->fd, 1, 0, 0, NULL, 0));
}

void async_read(struct async *async, unsigned int id, int fd, void *buffer, size_t length,
		off_t at)
{
	if (async->uring)
		uring_begin(async, IORING_OP_READ, id, fd, buffer, length, at);
	else
		aio_begin(async, IOCB_CMD_PREAD, id, fd, buffer, length, at);
	async->pending++;
}

void async_read_fixed(struct async *async, unsigned int id, int fd, void *buffer,
		      size_t length, off_t at)
{
	uring_begin(async, IORING_OP_READ_FIXED, id, fd, buffer, length, at);
	async->pending++;
}

void async_write(struct async *async, unsigned int id, int fd, const void *buffer,
		 size_t length, off_t at)
{
	if (async->uring)
		uring_begin(async, IORING_OP_WRITE, id, fd, buffer, length, at);
	else
		aio_begin(async, IOCB_CMD_PWRITE, id, fd, buffer, length, at);
	async->pending++;
}

static void aio_wait(struct async *async)
{
	struct io_event event;

	ASSERT_EQ(1, syscall(SYS_io_getevents, async->context, 1, 1, &event, NULL));
	async->results[event.data % ASYNC_MAX] = event.res;
}

static void uring_wait(struct async *async)
{
	const unsigned int head = *async->cq_head;
	const struct io_uring_cqe *cqe;

	while (head == __atomic_load_n(async->cq_tail, __ATOMIC_ACQUIRE))
		ASSERT_SYS(syscall(SYS_io_uring_enter, async->fd, 0, 1, IORING_ENTER_GETEVENTS,
				   NULL, 0));
	cqe = &async->cqes[head & *async->cq_mask];
	async->results[cqe->user_data % ASYNC_MAX] = cqe->res;
	__atomic_store_n(async->cq_head, head + 1, __ATOMIC_RELEASE);
}

void async_wait(struct async *async)
{
	for (; async->pending; async->pending--) {
		if (async->uring)
			uring_wait(async);
		else
			aio_wait(async);
	}
}

int async_register(struct async *async, void *memory, size_t length)
{
	const struct iovec iov = { memory, length };

	return syscall(SYS_io_uring_register, async->fd, IORING_REGISTER_BUFFERS, &iov, 1) ?
		-errno : 0;
}

void async_unregister(struct async *async)
{
	EXPECT_SYS(syscall(SYS_io_uring_register, async->fd, IORING_UNREGISTER_BUFFERS, NULL, 0));
}

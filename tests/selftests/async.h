/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads and writes that are not waited for, by the kernel's two interfaces for them, without
 * a library: io_submit() and io_uring.
 */
#ifndef SELFTEST_ASYNC_H
#define SELFTEST_ASYNC_H

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ASYNC_MAX	64u

struct async {
	bool uring;
	aio_context_t context;			/* io_submit() */
	int fd;					/* io_uring */
	void *rings;
	size_t rings_size;
	struct io_uring_sqe *sqes;
	volatile unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_cqe *cqes;
	unsigned int pending;
	int64_t results[ASYNC_MAX];		/* by id: bytes, or a negative errno */
};

/* A SKIP if the kernel has no such interface. */
void async_begin(struct async *async, bool uring);
void async_end(struct async *async);
/* Begin; @id below ASYNC_MAX is free.  The result of the system call that begins it fails
 * the test if it is an error.
 */
void async_read(struct async *async, unsigned int id, int fd, void *buffer, size_t length,
		off_t at);
void async_write(struct async *async, unsigned int id, int fd, const void *buffer,
		 size_t length, off_t at);
/* Wait for all. */
void async_wait(struct async *async);
/* io_uring: the kernel is to keep hold of memory; 0 or a negative errno. */
int async_register(struct async *async, void *memory, size_t length);
void async_unregister(struct async *async);
void async_read_fixed(struct async *async, unsigned int id, int fd, void *buffer,
		      size_t length, off_t at);

#endif /* SELFTEST_ASYNC_H */

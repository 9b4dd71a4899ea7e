// SPDX-License-Identifier: GPL-2.0
/*
 * The system calls that the library makes on a device, and nothing else.
 *
 * Tests on a machine without the device link a simulation instead of this file.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "private.h"

/**
 * dgpu_sys_open() - open a device file
 * @path: its name
 *
 * The file is non-blocking: that matters to read() only, which returns event records.
 *
 * Return: a file descriptor, or a negative errno.
 */
int dgpu_sys_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/**
 * dgpu_sys_close() - close a device file or a fence
 * @fd: file descriptor
 */
void dgpu_sys_close(int fd)
{
	close(fd);
}

/**
 * dgpu_sys_ioctl() - ioctl() on a device
 * @fd: file descriptor
 * @request: DGPU_IOCTL_*
 * @arg: its structure
 *
 * Return: what ioctl() returned, or a negative errno.
 */
int dgpu_sys_ioctl(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

/**
 * dgpu_sys_read() - read() from a device
 * @fd: file descriptor
 * @buf: where the records go
 * @size: room
 *
 * Return: number of bytes, or a negative errno.
 */
ssize_t dgpu_sys_read(int fd, void *buf, size_t size)
{
	ssize_t ret = read(fd, buf, size);

	return ret < 0 ? -errno : ret;
}

/**
 * dgpu_sys_poll() - wait until a fence has signalled
 * @fd: file descriptor
 * @timeout_ms: how long; negative: for ever
 *
 * Return: 1 when it has, 0 when the time is over, or a negative errno.
 */
int dgpu_sys_poll(int fd, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int ret = poll(&pfd, 1, timeout_ms);

	return ret < 0 ? -errno : ret;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * An open device: what it is, its counters, its event records.
 *
 * All functions are single system calls and may be called by several threads at
 * once.  The list of orphans (see job.c) is the only state.
 */
#include <errno.h>
#include <stdlib.h>
#include "private.h"

/**
 * dgpu_open() - open a device
 * @path: its file, or NULL for $DGPU_DEVICE, or /dev/dgpu0 without that
 * @dev: where the device goes; NULL on failure
 *
 * The device is bound to the address space of this process: a child of fork() has
 * to open its own.
 *
 * Return: 0; -ENOENT without such a file, -EACCES, -ENODEV a device that is gone,
 * -ENOTTY another kind of file, -EPROTO a driver with another ABI, -ENOMEM.
 */
int dgpu_open(const char *path, struct dgpu_dev **dev)
{
	struct dgpu_info info;
	struct dgpu_dev *new;
	int ret;

	*dev = NULL;
	if (!path)
		path = getenv("DGPU_DEVICE");
	if (!path || !*path)
		path = "/dev/dgpu0";
	new = calloc(1, sizeof(*new));
	if (!new)
		return -ENOMEM;
	ret = dgpu_sys_open(path);
	if (ret < 0) {
		free(new);
		return ret;
	}
	new->fd = ret;
	pthread_mutex_init(&new->lock, NULL);
	ret = dgpu_get_info(new, &info);
	if (!ret && info.abi_version != DGPU_ABI_VERSION)
		ret = -EPROTO;
	if (ret) {
		dgpu_close(new);
		return ret;
	}
	*dev = new;
	return 0;
}

/**
 * dgpu_close() - close a device
 * @dev: device, or NULL
 *
 * Jobs that still run are stopped.  Free the jobs first, no thread may use @dev any
 * more.
 */
void dgpu_close(struct dgpu_dev *dev)
{
	if (!dev)
		return;
	dgpu_sys_close(dev->fd);
	pthread_mutex_destroy(&dev->lock);
	free(dev->orphans);
	free(dev);
}

/**
 * dgpu_fd() - file descriptor of a device
 * @dev: device
 *
 * Good for poll(): POLLIN when dgpu_events_read() has something, POLLHUP when the
 * device is gone.
 *
 * Return: the descriptor; the device owns it.
 */
int dgpu_fd(const struct dgpu_dev *dev)
{
	return dev->fd;
}

/**
 * dgpu_get_info() - ask what a device is
 * @dev: device
 * @info: where the answer goes
 *
 * Return: 0, or a negative errno.
 */
int dgpu_get_info(struct dgpu_dev *dev, struct dgpu_info *info)
{
	*info = (struct dgpu_info){ };
	return dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_INFO, info);
}

/**
 * dgpu_get_stat() - read a group of counters
 * @dev: device
 * @group: DGPU_STAT_*
 * @values: where they go
 * @room: entries of @values
 *
 * Return: number of counters that the group has (of which at most @room were
 * written), or a negative errno.
 */
int dgpu_get_stat(struct dgpu_dev *dev, uint32_t group, uint64_t *values, uint32_t room)
{
	struct dgpu_stat stat = {
		.what = group,
		.count = room,
		.values = (uintptr_t)values,
	};
	int ret;

	ret = dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_STAT, &stat);
	return ret < 0 ? ret : (int)stat.count;
}

static uint64_t one_counter(struct dgpu_dev *dev, uint32_t group, unsigned int index)
{
	uint64_t values[64];
	int n;

	n = dgpu_get_stat(dev, group, values, ARRAY_SIZE(values));
	return n > 0 && index < (unsigned int)n && index < ARRAY_SIZE(values) ? values[index] : 0;
}

/**
 * dgpu_stat_mirror() - read one counter of this device address space
 * @dev: device
 * @stat: enum hmm_mirror_stat
 *
 * Return: the counter; 0 if it cannot be read.
 */
uint64_t dgpu_stat_mirror(struct dgpu_dev *dev, unsigned int stat)
{
	return one_counter(dev, DGPU_STAT_MIRROR, stat);
}

/**
 * dgpu_stat_event() - read how many invalidations of one type there were
 * @dev: device
 * @type: enum hmm_event_type
 *
 * Return: the counter; 0 if it cannot be read.
 */
uint64_t dgpu_stat_event(struct dgpu_dev *dev, unsigned int type)
{
	return one_counter(dev, DGPU_STAT_EVENTS, type);
}

/**
 * dgpu_events_enable() - start or stop recording invalidations
 * @dev: device
 * @capacity: records to keep, a power of two up to 65536; 0: stop
 *
 * Return: 0, or a negative errno.
 */
int dgpu_events_enable(struct dgpu_dev *dev, uint32_t capacity)
{
	struct dgpu_events events = { .capacity = capacity };

	return dgpu_sys_ioctl(dev->fd, DGPU_IOCTL_EVENTS, &events);
}

/**
 * dgpu_events_read() - take records of invalidations, without waiting
 * @dev: device
 * @events: where they go
 * @max: room
 *
 * Return: how many there were; 0 for none; or a negative errno.
 */
int dgpu_events_read(struct dgpu_dev *dev, struct dgpu_event *events, size_t max)
{
	ssize_t ret;

	if (!max)
		return 0;
	if (max > 65536)
		max = 65536;
	ret = dgpu_sys_read(dev->fd, events, max * sizeof(*events));
	if (ret == -EAGAIN)
		return 0;
	return ret < 0 ? (int)ret : (int)(ret / (ssize_t)sizeof(*events));
}

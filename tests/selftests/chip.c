// SPDX-License-Identifier: GPL-2.0
/*
 * The device as its maker and its administrator see it: see chip.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "chip.h"

#define CHIP_PAGE	4096ul

static void chip_nap(void)
{
	nanosleep(&(const struct timespec) { .tv_nsec = 20000000 }, NULL);
}

static int chip_write(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int chip_knob(unsigned int index, const char *knob, uint64_t value)
{
	char path[100], text[32];

	snprintf(path, sizeof(path), CHIP_DEBUGFS "/%u/knobs/%s", index, knob);
	snprintf(text, sizeof(text), "%ju", (uintmax_t)value);
	return chip_write(path, text);
}

void chip_knobs_reset(unsigned int index)
{
	/* "lost" stays: nothing but a new binding brings such a chip back. */
	static const char * const knobs[] = {
		"tlb_delay_us", "fault_delay_us", "done_delay_us", "hang_engine", "drop_flush",
		"slow_insns", "copy_delay_us", "copy_fail", "hang_copy",
	};

	for (size_t i = 0; i < sizeof(knobs) / sizeof(knobs[0]); i++)
		chip_knob(index, knobs[i], 0);
}

int chip_fail(const char *name, unsigned int probability)
{
	char path[100], text[16];
	int ret;

	snprintf(path, sizeof(path), CHIP_DEBUGFS "/%s/verbose", name);
	ret = chip_write(path, "0");
	snprintf(path, sizeof(path), CHIP_DEBUGFS "/%s/times", name);
	if (!ret)
		ret = chip_write(path, "-1");
	snprintf(path, sizeof(path), CHIP_DEBUGFS "/%s/probability", name);
	snprintf(text, sizeof(text), "%u", probability);
	return ret ? ret : chip_write(path, text);
}

static int chip_sysfs(unsigned int index, const char *what)
{
	char path[100], text[32];

	snprintf(path, sizeof(path), CHIP_DRIVER "/%s", what);
	snprintf(text, sizeof(text), "dummy_gpu.%u", index);
	return chip_write(path, text);
}

int chip_unbind(unsigned int index)
{
	return chip_sysfs(index, "unbind");
}

int chip_bind(unsigned int index)
{
	return chip_sysfs(index, "bind");
}

int chip_evacuate(unsigned int index)
{
	char path[100];

	snprintf(path, sizeof(path), CHIP_DEVICE ".%u/evacuate", index);
	return chip_write(path, "1");
}

/* ---- its memory ---- */

int64_t chip_rmem(struct dgpu_dev *dev, enum hmm_rmem_stat stat)
{
	uint64_t values[HMM_RMEM_NR] = {};
	const int ret = dgpu_get_stat(dev, DGPU_STAT_RMEM, values, HMM_RMEM_NR);

	if (ret < 0)
		return ret;
	return (int64_t)values[stat];
}

bool chip_rmem_becomes(struct dgpu_dev *dev, enum hmm_rmem_stat stat, int64_t value)
{
	for (int tries = 0; tries < 1500; tries++) {
		if (chip_rmem(dev, stat) == value)
			return true;
		/* Pages that were locked may be in a batch of a CPU: that empties them. */
		if (tries % 100 == 99)
			chip_write("/proc/sys/vm/compact_memory", "1");
		chip_nap();
	}
	return false;
}

const char *chip_no_memory(struct dgpu_dev *dev)
{
	uint8_t result = HMM_PAGE_SKIPPED;
	char *page;
	int ret;

	page = mmap(NULL, CHIP_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return "no memory at all";
	*(volatile char *)page = 1;
	ret = dgpu_migrate(dev, page, CHIP_PAGE, 0, &result, NULL);
	munmap(page, CHIP_PAGE);
	/* Nothing was looked at, or no page like this one moves, and there is none better. */
	if (ret == -EOPNOTSUPP && result == HMM_PAGE_SKIPPED)
		return "no device memory: local_mb=0, or a kernel that has no addresses for it";
	if (ret == -EOPNOTSUPP && result == HMM_PAGE_UNSUPPORTED)
		return "only pages of files move: a kernel without DEVICE_PRIVATE";
	return NULL;
}

/* ---- the module ---- */

bool chip_module_find(struct chip_module *module)
{
	const char *given = getenv("DGPU_MODULE");
	char line[1024], *name, *end;
	bool found = false;
	FILE *file;

	memset(module, 0, sizeof(*module));
	if (given) {
		snprintf(module->path, sizeof(module->path), "%s", given);
		return true;
	}
	file = fopen("/run/hmm/insert", "re");
	while (file && !found && fgets(line, sizeof(line), file)) {
		end = strstr(line, "/dummy_gpu.ko");
		if (!end)
			continue;
		end += strlen("/dummy_gpu.ko");
		name = end;
		while (name > line && name[-1] != ' ')
			name--;
		snprintf(module->path, sizeof(module->path), "%.*s", (int)(end - name), name);
		snprintf(module->args, sizeof(module->args), "%.*s", (int)strcspn(end, "\n"), end);
		found = true;
	}
	if (file)
		fclose(file);
	return found;
}

bool chip_module_parameter(const char *name, char *value, size_t size)
{
	char path[100];
	FILE *file;
	bool found;

	snprintf(path, sizeof(path), "/sys/module/dummy_gpu/parameters/%s", name);
	file = fopen(path, "re");
	found = file && fgets(value, (int)size, file);
	if (file)
		fclose(file);
	if (found)
		value[strcspn(value, "\n")] = '\0';
	return found;
}

int chip_module_insert(const struct chip_module *module, const char *args)
{
	const int fd = open(module->path, O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, args, 0) ? -errno : 0;
	close(fd);
	return ret;
}

int chip_module_remove(void)
{
	/* The last file may have been closed a moment ago, and a job may be on its way. */
	for (int tries = 0; tries < 500; tries++) {
		if (!syscall(SYS_delete_module, "dummy_gpu", O_NONBLOCK))
			return 0;
		if (errno != EWOULDBLOCK)
			break;
		chip_nap();
	}
	return -errno;
}

int chip_module_reload(const struct chip_module *module, const char *more)
{
	char args[sizeof(module->args) + 200];
	int ret;

	ret = chip_module_remove();
	if (ret)
		return ret;
	snprintf(args, sizeof(args), "%s %s", module->args, more);
	ret = chip_module_insert(module, args);
	if (ret && *more)
		chip_module_insert(module, module->args);
	return ret;
}

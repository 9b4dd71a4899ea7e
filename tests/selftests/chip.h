/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tests and benchmarks do to the device itself: its knobs and counters, taking it
 * from its driver and giving it back, the driver's parameters.  Nothing here knows of
 * the test harness: functions return 0 or a negative errno, if they do not say otherwise.
 */
#ifndef SELFTEST_CHIP_H
#define SELFTEST_CHIP_H

#include <libdgpu.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHIP_DEBUGFS	"/sys/kernel/debug/dgpu"
#define CHIP_DRIVER	"/sys/bus/platform/drivers/dummy_gpu"
#define CHIP_DEVICE	"/sys/bus/platform/devices/dummy_gpu"
#define CHIP_ALL	0xffffffffffffffffull	/* of copy_fail: until it is set again */

/* debugfs dgpu/N/knobs/NAME */
int chip_knob(unsigned int index, const char *knob, uint64_t value);
/* All that these tests use, back to 0. */
void chip_knobs_reset(unsigned int index);
/* Fault injection of the driver, dgpu/NAME (fail_dma ...), in percent. */
int chip_fail(const char *name, unsigned int probability);

/* Take the device from its driver, or give it back. */
int chip_unbind(unsigned int index);
int chip_bind(unsigned int index);
/* Everything leaves the device, by the file in sysfs. */
int chip_evacuate(unsigned int index);

/* A counter of the device's memory; negative errno if it has none. */
int64_t chip_rmem(struct dgpu_dev *dev, enum hmm_rmem_stat stat);
/* Why pages cannot move to this device, or NULL if they can. */
const char *chip_no_memory(struct dgpu_dev *dev);
/*
 * Wait until @stat is @value: pages that were freed are counted a moment later, when the
 * kernel has dropped its last references.  False after half a minute.
 */
bool chip_rmem_becomes(struct dgpu_dev *dev, enum hmm_rmem_stat stat, int64_t value);

/* The driver as a module, and the parameters that it was inserted with. */
struct chip_module {
	char path[512];
	char args[512];
};

/* From DGPU_MODULE in the environment, or from what the guest notes; false: not known. */
bool chip_module_find(struct chip_module *module);
/* A parameter of the one that is inserted; false: none is, or it has no such parameter. */
bool chip_module_parameter(const char *name, char *value, size_t size);
int chip_module_insert(const struct chip_module *module, const char *args);
/* Waits for its last user, a moment. */
int chip_module_remove(void);
/* Remove it, and insert it with more parameters than it had; on an error, as it was. */
int chip_module_reload(const struct chip_module *module, const char *more);

#endif /* SELFTEST_CHIP_H */

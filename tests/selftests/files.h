/* SPDX-License-Identifier: GPL-2.0 */
/*
 * File systems for the tests of files whose pages are on a device.
 *
 * Type of the file system: $HMM_TEST_FS; otherwise ext4_hmm, the ext4 that has been taught
 * about pages on devices, if it is there; otherwise the kernel's own ext4, where devices
 * use pages of files in place.  Tests of what a page on the device does need the first
 * (files_need_taught()); all others hold on any.
 *
 * To make a file system and to check it takes longer than most tests.  In a program that
 * calls files_program_begin() and files_program_end() around its tests the next one gets what
 * one leaves on the throw-away disk, with its files removed, if that is of the same kind and
 * the test has not failed; e2fsck looks at it when one of another kind is made, and at the
 * end.  To know which test has damaged it, run them with HMM_TEST_FSCK=1: each has its own
 * then, which is checked.
 */
#ifndef SELFTEST_FILES_H
#define SELFTEST_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "gpu.h"

struct files_fs {
	char type[32];
	char options[80];
	char features[40];			/* of mkfs -O; "": as mkfs likes */
	char device[64], dir[64], backing[64];	/* backing: file of a loop device, or "" */
	unsigned int block;			/* bytes */
	unsigned int inodes;			/* may be set before it is made; 0: a few */
	bool scratch;				/* on the throw-away disk */
	bool mounted;
	bool taught;				/* its pages can be on a device */
};

/*
 * Make a file system on the throw-away disk, or on a loop device, and mount it.  A kernel
 * without it is a SKIP.  @options may be NULL.
 */
void files_mount(struct files_fs *fs, unsigned int block, const char *options);
/* The same on a device that is there, which stays the caller's. */
void files_mount_on(struct files_fs *fs, const char *device, unsigned int block,
		    const char *options);
/* Mount what somebody has left on a device. */
void files_mount_old(struct files_fs *fs, const char *device, const char *options);
/* Mount what is on the device; 0 or -errno. */
int files_mount_again(struct files_fs *fs);
int files_try_umount(struct files_fs *fs);
void files_remount(struct files_fs *fs);
/* e2fsck finds nothing; the file system is not mounted. */
void files_fsck(struct files_fs *fs);
/* Unmount, check or leave to the next, and forget it; also after a mount that stopped half way. */
void files_end(struct files_fs *fs);

/* For HARNESS_MAIN_AROUND(): tests of this program use file systems one after the other. */
void files_program_begin(void);
int files_program_end(void);
/* Check what a test has left, now: for those that use the disk in another way. */
bool files_check_left(void);

/* A SKIP unless pages of files of this file system can be on the device. */
void files_need_taught(const struct files_fs *fs, struct gpu *gpu);

#endif /* SELFTEST_FILES_H */

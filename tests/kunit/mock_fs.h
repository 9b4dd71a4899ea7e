/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A file system for tests, with one file, that was taught: its pages may be on devices.
 * What is on its "disk" is an array, and it has the ways that matter: pages with buffer
 * heads, read_folio(), page_mkwrite(), writeback, truncate, and writes by system call.
 *
 * mock_fs_new() comes before the first mapping of a test: so the file system goes after the
 * address space.
 */
#ifndef _MOCK_FS_H
#define _MOCK_FS_H

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/mm_types.h>
#include <hmm/pagecache.h>

/**
 * struct mock_fs - the file system, and its file
 * @test: test it belongs to
 * @teach: what the core knows of it
 * @mnt: where it is mounted
 * @file: open for reading and writing
 * @pages: that the disk has room for
 * @disk: what is on it, the first word of each page; the rest is zeroes
 * @mkwrite: what page_mkwrite() is to return, unless 0
 * @dio: direct I/O begins while page_mkwrite() for a device is at work, once
 * @pinned: no page may move
 * @prepare: what prepare() is to return
 * @prepares: calls of prepare()
 * @reads: pages read from disk
 * @mkwrites: calls of page_mkwrite() for a device
 * @cpu_mkwrites: and for the CPU
 * @written: pages written to disk
 */
struct mock_fs {
	struct kunit *test;
	struct hmm_pagecache_fs teach;
	struct vfsmount *mnt;
	struct file *file;
	unsigned long pages;
	u64 *disk;
	vm_fault_t mkwrite;
	bool dio;
	bool pinned;
	int prepare;
	atomic_t prepares;
	atomic_t reads;
	atomic_t mkwrites;
	atomic_t cpu_mkwrites;
	atomic_t written;
};

struct mock_fs *mock_fs_new(struct kunit *test, unsigned long pages);
void mock_fs_map(struct mock_fs *fs, unsigned long addr, unsigned long pages,
		 unsigned long prot, unsigned long flags);
ssize_t mock_fs_try_read(struct mock_fs *fs, unsigned long n, u64 *value);
u64 mock_fs_read(struct mock_fs *fs, unsigned long n);
int mock_fs_try_write(struct mock_fs *fs, unsigned long n, u64 value);
void mock_fs_write(struct mock_fs *fs, unsigned long n, u64 value);
void mock_fs_truncate(struct mock_fs *fs, loff_t size);
int mock_fs_sync(struct mock_fs *fs);

#endif /* _MOCK_FS_H */

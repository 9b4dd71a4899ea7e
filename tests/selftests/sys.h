/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's side of the selftests: memory, files in /proc and /sys, control
 * groups, swap, file systems, userfaultfd.  What the running kernel lacks is a SKIP
 * with a reason.
 */
#ifndef SELFTEST_SYS_H
#define SELFTEST_SYS_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

/* Fewer rounds on a slow kernel, or as HMM_TEST_SCALE (percent) says; at least 1. */
unsigned long sys_scale(unsigned long rounds);
/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t sys_now_ms(void);
/* Until when to ask again, in these terms: a minute from now, more on slow kernels. */
uint64_t sys_patience_ms(void);
void sys_sleep_ms(unsigned int ms);

/* ---- files ---- */
/* 0 or a negative errno. */
int sys_try_write(const char *path, const char *text);
/* The same, a failure is a SKIP: the kernel does not have it. */
void sys_write(const char *path, const char *text);
/* The number in a file, or in the line of a file that begins with a key. */
long long sys_number(const char *path);
long long sys_number_of(const char *path, const char *key);
/* The text of a file; free() it.  NULL if it cannot be read. */
char *sys_text(const char *path);
bool sys_kernel_since(unsigned int version, unsigned int patchlevel);
/* Run a command of the shell, output as diagnostics; its exit status. */
int sys_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Run a program, its words separated by blanks, output as diagnostics if it fails. */
int sys_spawn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- memory ---- */
/* Private anonymous memory, 4 KiB pages only, 2 MiB aligned with a gap after it. */
void *sys_pages(size_t npages);
/* @nhuge times 2 MiB, aligned, for huge pages. */
void *sys_huge_area(size_t nhuge);
/* Make them, by MADV_COLLAPSE or by touching: how many of the area are huge now. */
size_t sys_make_huge(void *addr, size_t nhuge);
/*
 * khugepaged would make huge again what a test has split.  These are for
 * HARNESS_MAIN_AROUND(): in between it rests, but for tests that wake it.
 */
void sys_khugepaged_rest(void);
int sys_khugepaged_resume(void);
/* The kernel's count of locked pages; batches of the CPUs are emptied first. */
long long sys_nr_mlock(void);
/*
 * madvise() on every CPU in turn: fresh pages sit in lists of the CPU that made them,
 * where MADV_PAGEOUT does not find them.
 */
void sys_madvise_everywhere(void *addr, size_t length, int advice);
/* Physical frame, soft-dirty, swapped, ... : the word in /proc/self/pagemap. */
uint64_t sys_pagemap(const volatile void *addr);
#define SYS_PM_SOFT_DIRTY	(1ull << 55)
#define SYS_PM_UFFD_WP		(1ull << 57)
#define SYS_PM_SWAP		(1ull << 62)
#define SYS_PM_PRESENT		(1ull << 63)
#define SYS_PM_PFN		((1ull << 55) - 1)
/* kB in a line of /proc/self/smaps for the mapping at @addr. */
long sys_smaps(const void *addr, const char *key);
unsigned int sys_nodes(void);
/* NUMA node of a page, or -errno. */
int sys_node_of(void *addr);
int sys_move_page(pid_t pid, void *addr, int node);

/* ---- swap ---- */
/* A swap device is in use when this returns; swapped off at the end if we began it. */
struct sys_swap { char device[64]; bool ours; char file[64]; };
void sys_swap_on(struct sys_swap *swap);
void sys_swap_off(struct sys_swap *swap);

/* ---- control groups ---- */
struct sys_memcg { char path[128]; };
void sys_memcg_create(struct sys_memcg *cg, const char *name);
void sys_memcg_set(const struct sys_memcg *cg, const char *file, const char *text);
/* Let it have that many bytes; what is more is reclaimed, and nobody is killed for it. */
void sys_memcg_press(const struct sys_memcg *cg, size_t bytes);
/* Move this process into it, or out to the root. */
void sys_memcg_enter(const struct sys_memcg *cg);
void sys_memcg_leave(const struct sys_memcg *cg);
void sys_memcg_destroy(struct sys_memcg *cg);

/* ---- children ---- */
/* A child that holds still: it runs @fn(arg) on command and can be told to end. */
struct sys_child { pid_t pid; int to, from; };
void sys_child_start(struct sys_child *child, void (*fn)(struct sys_child *me, void *arg),
		     void *arg);
/* One byte in each direction. */
void sys_child_tell(struct sys_child *child);
void sys_child_wait(struct sys_child *child);
/* Wait for its end; the status of waitpid(). */
int sys_child_end(struct sys_child *child);

/* ---- block devices and file systems ---- */
/* The disk of the guest with this serial number: false if it has none. */
bool sys_disk(const char *serial, char *device, size_t size);
/* A loop device on a file of its own: false if there is no loop device. */
bool sys_loop(const char *name, size_t mib, char *file, size_t file_size, char *device,
	      size_t device_size);
void sys_loop_end(const char *device, const char *file);
/* An ext4 on a throw-away disk or a loop device, mounted. */
struct sys_ext4 { char device[64], dir[64], file[64]; bool mounted; };
void sys_ext4_mount(struct sys_ext4 *fs);
void sys_ext4_remount(struct sys_ext4 *fs);
void sys_ext4_umount(struct sys_ext4 *fs);

/* ---- userfaultfd, with what old headers lack ---- */
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif
int sys_uffd_open(uint64_t features);
void sys_uffd_register(int uffd, void *addr, size_t length, uint64_t mode);
void sys_uffd_protect(int uffd, void *addr, size_t length, bool on);

#endif /* SELFTEST_SYS_H */

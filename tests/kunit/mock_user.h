/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User memory for tests: mappings, processes, threads, and files with special pages.
 * All of it belongs to a test and goes away with it.
 */
#ifndef _MOCK_USER_H
#define _MOCK_USER_H

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/mman.h>
#include <linux/mm_types.h>
#include <linux/sched.h>

void mock_mmap(struct kunit *test, unsigned long addr, unsigned long len,
	       unsigned long prot);
void mock_mmap_file(struct kunit *test, struct file *file, unsigned long addr,
		    unsigned long len, unsigned long prot, unsigned long flags);
struct page *mock_cpu_page(unsigned long addr);
void mock_cpu_store(struct kunit *test, unsigned long addr, u64 value);
u64 mock_cpu_load(struct kunit *test, unsigned long addr);
void mock_cpu_zap(unsigned long addr, unsigned long len);
void mock_cpu_advise_huge(struct kunit *test, unsigned long addr);

/**
 * struct mock_thread - a thread
 * @task: it; referenced
 * @fn: what it runs
 * @data: for @fn
 * @mm: address space to run in, or NULL; referenced until the thread is done
 * @result: of @fn
 * @done: it has ended
 */
struct mock_thread {
	struct task_struct *task;
	int (*fn)(void *data);
	void *data;
	struct mm_struct *mm;
	int result;
	struct completion done;
};

struct mock_thread *mock_thread_run(struct kunit *test, struct mm_struct *mm,
				    int (*fn)(void *data), void *data);
bool mock_thread_is_done(struct mock_thread *thread);
bool mock_thread_blocks(struct mock_thread *thread);
int mock_thread_join(struct kunit *test, struct mock_thread *thread);

/**
 * struct mock_process - an address space that can end in the middle of a test
 * @thread: the thread that owns it
 * @test: for mappings
 * @len: bytes mapped at MOCK_BASE
 * @mm: the address space, valid as memory until the test ends
 * @ready: @mm is there
 * @exit: end it
 */
struct mock_process {
	struct mock_thread *thread;
	struct kunit *test;
	unsigned long len;
	struct mm_struct *mm;
	struct completion ready;
	struct completion exit;
};

struct mock_process *mock_process_new(struct kunit *test, unsigned long len);
void mock_process_exit(struct mock_process *process);
void mock_process_wait(struct mock_process *process);

/**
 * enum mock_file_kind - what is special about the pages of a file
 * @MOCK_FILE_SLOW: the first access waits until the test says so, with the mmap_lock
 *	dropped, as an access to a range with a userfaultfd handler does
 * @MOCK_FILE_SIGBUS: there are none
 * @MOCK_FILE_OOM: there is no memory for them
 * @MOCK_FILE_NO_WRITE: there is no memory for them when they are written to
 * @MOCK_FILE_PFNMAP: device memory
 */
enum mock_file_kind {
	MOCK_FILE_SLOW,
	MOCK_FILE_SIGBUS,
	MOCK_FILE_OOM,
	MOCK_FILE_NO_WRITE,
	MOCK_FILE_PFNMAP,
};

/**
 * struct mock_file - a file
 * @kind: its kind
 * @file: to be mapped
 * @page: its only page, at every offset
 * @waited: somebody was kept waiting
 * @stuck: somebody could not be kept waiting, as he did not allow it
 * @entered: somebody waits
 * @open: let him go on
 */
struct mock_file {
	enum mock_file_kind kind;
	struct file *file;
	struct page *page;
	bool waited;
	bool stuck;
	struct completion entered;
	struct completion open;
};

struct mock_file *mock_file_new(struct kunit *test, enum mock_file_kind kind);

#endif /* _MOCK_USER_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * User memory of tests.  It owns threads, which run in the address space of a test or
 * of a process made here, and files whose page faults the test controls.
 *
 * The principle: everything is real.  Mappings are made and unmapped by the kernel's
 * own functions, which call the notifiers; nothing calls a notifier directly.
 *
 * Locks: none of its own.
 */
#include <linux/anon_inodes.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "mock_device.h"
#include "mock_user.h"

/**
 * mock_mmap - map anonymous memory in the test's address space
 * @test: test; it gets an address space with the first mapping
 * @addr: where
 * @len: how much
 * @prot: PROT_*
 */
void mock_mmap(struct kunit *test, unsigned long addr, unsigned long len,
	       unsigned long prot)
{
	mock_mmap_file(test, NULL, addr, len, prot, MAP_PRIVATE | MAP_ANONYMOUS);
}

/**
 * mock_mmap_file - map a file in the test's address space
 * @test: test
 * @file: file
 * @addr: where
 * @len: how much
 * @prot: PROT_*
 * @flags: MAP_*
 */
void mock_mmap_file(struct kunit *test, struct file *file, unsigned long addr,
		    unsigned long len, unsigned long prot, unsigned long flags)
{
	KUNIT_ASSERT_EQ(test, addr, kunit_vm_mmap(test, file, addr, len, prot,
						  flags | MAP_FIXED, 0));
}

/**
 * mock_cpu_page - the page that the CPU maps, faulted in for reading if need be
 * @addr: address in the current address space
 *
 * Return: it, to be compared only; NULL if there is none.
 */
struct page *mock_cpu_page(unsigned long addr)
{
	struct page *page;
	long nr;

	mmap_read_lock(current->mm);
	nr = get_user_pages(addr, 1, 0, &page);
	mmap_read_unlock(current->mm);
	if (nr != 1)
		return NULL;
	put_page(page);
	return page;
}

/**
 * mock_cpu_store - the CPU writes
 * @test: test, which ends if it cannot
 * @addr: address in the current address space
 * @value: what
 */
void mock_cpu_store(struct kunit *test, unsigned long addr, u64 value)
{
	KUNIT_ASSERT_EQ(test, 0, put_user(value, (u64 __user *)addr));
}

/**
 * mock_cpu_load - the CPU reads
 * @test: test, which ends if it cannot
 * @addr: address in the current address space
 *
 * Return: what is there.
 */
u64 mock_cpu_load(struct kunit *test, unsigned long addr)
{
	u64 value = 0;

	KUNIT_ASSERT_EQ(test, 0, get_user(value, (u64 __user *)addr));
	return value;
}

/**
 * mock_cpu_zap - drop pages, keep the mapping: MADV_DONTNEED
 * @addr: first byte
 * @len: bytes, all in one VMA
 */
void mock_cpu_zap(unsigned long addr, unsigned long len)
{
	struct vm_area_struct *vma;

	mmap_read_lock(current->mm);
	vma = find_vma(current->mm, addr);
	if (!WARN_ON_ONCE(!vma || vma->vm_start > addr))
		zap_vma_range(vma, addr, len);
	mmap_read_unlock(current->mm);
}

/**
 * mock_cpu_advise_huge - huge pages, please: MADV_HUGEPAGE
 * @test: test
 * @addr: address in the VMA
 */
void mock_cpu_advise_huge(struct kunit *test, unsigned long addr)
{
	struct vm_area_struct *vma;

	mmap_write_lock(current->mm);
	vma = find_vma(current->mm, addr);
	if (vma)
		vm_flags_set(vma, VM_HUGEPAGE);
	mmap_write_unlock(current->mm);
	KUNIT_ASSERT_NOT_NULL(test, vma);
}

static int mock_thread_main(void *data)
{
	struct mock_thread *thread = data;

	if (thread->mm)
		kthread_use_mm(thread->mm);
	thread->result = thread->fn(thread->data);
	if (thread->mm) {
		kthread_unuse_mm(thread->mm);
		mmput(thread->mm);
	}
	kthread_complete_and_exit(&thread->done, 0);
}

/* Whatever a thread of a test waits for, it waits for a bounded time. */
static void mock_thread_wait(struct mock_thread *thread)
{
	wait_for_completion(&thread->done);
	/* Others may wait, too. */
	complete_all(&thread->done);
}

static void mock_thread_end(void *data)
{
	struct mock_thread *thread = data;

	mock_thread_wait(thread);
	put_task_struct(thread->task);
}

/**
 * mock_thread_run - start a thread
 * @test: test that owns it, and waits for it at its end
 * @mm: address space to run in, alive, or NULL
 * @fn: what to run; it must not wait for ever
 * @data: for @fn
 *
 * Return: it; the test ends if it cannot be made.
 */
struct mock_thread *mock_thread_run(struct kunit *test, struct mm_struct *mm,
				    int (*fn)(void *data), void *data)
{
	struct mock_thread *thread = kunit_kzalloc(test, sizeof(*thread), GFP_KERNEL);
	struct task_struct *task;

	KUNIT_ASSERT_NOT_NULL(test, thread);
	thread->fn = fn;
	thread->data = data;
	thread->mm = mm;
	init_completion(&thread->done);
	task = kthread_create(mock_thread_main, thread, "hmm_kunit");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	thread->task = get_task_struct(task);
	if (mm)
		mmget(mm);
	wake_up_process(task);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, mock_thread_end, thread));
	return thread;
}

/**
 * mock_thread_is_done - has the thread ended?
 * @thread: thread
 *
 * Return: true if it has.
 */
bool mock_thread_is_done(struct mock_thread *thread)
{
	return completion_done(&thread->done);
}

/**
 * mock_thread_blocks - wait until the thread waits for a lock
 * @thread: thread
 *
 * Return: false if it does not in good time.
 */
bool mock_thread_blocks(struct mock_thread *thread)
{
	unsigned long deadline = jiffies + MOCK_PATIENCE;

	/* Running code may sleep shortly in an allocation: see it asleep three times. */
	for (int seen = 0; seen < 3; ) {
		if (completion_done(&thread->done) || time_after(jiffies, deadline))
			return false;
		if (READ_ONCE(thread->task->__state) & TASK_UNINTERRUPTIBLE)
			seen++;
		else
			seen = 0;
		msleep(20);
	}
	return true;
}

/**
 * mock_thread_join - wait until a thread ends
 * @test: test, which ends if it does not
 * @thread: thread
 *
 * Return: what its function returned.
 */
int mock_thread_join(struct kunit *test, struct mock_thread *thread)
{
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&thread->done,
							     2 * MOCK_PATIENCE));
	complete_all(&thread->done);
	return thread->result;
}

static int mock_process_main(void *data)
{
	struct mock_process *process = data;
	struct mm_struct *mm;
	unsigned long addr;

	addr = kunit_vm_mmap(process->test, NULL, MOCK_BASE, process->len,
			     PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0);
	mm = current->mm;
	if (addr == MOCK_BASE) {
		mmgrab(mm);
		process->mm = mm;
	}
	complete(&process->ready);
	wait_for_completion(&process->exit);
	if (mm) {
		kthread_unuse_mm(mm);
		mmput(mm);
	}
	return addr == MOCK_BASE ? 0 : -ENOMEM;
}

static void mock_process_end(void *data)
{
	struct mock_process *process = data;

	complete_all(&process->exit);
	mock_thread_wait(process->thread);
	if (process->mm)
		mmdrop(process->mm);
}

/**
 * mock_process_new - make a process with some anonymous memory at MOCK_BASE
 * @test: test that owns it
 * @len: bytes
 *
 * Return: it; the test ends if it cannot be made.
 */
struct mock_process *mock_process_new(struct kunit *test, unsigned long len)
{
	struct mock_process *process = kunit_kzalloc(test, sizeof(*process), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, process);
	process->test = test;
	process->len = len;
	init_completion(&process->ready);
	init_completion(&process->exit);
	process->thread = mock_thread_run(test, NULL, mock_process_main, process);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, mock_process_end, process));
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&process->ready,
							     MOCK_PATIENCE));
	KUNIT_ASSERT_NOT_NULL(test, process->mm);
	return process;
}

/**
 * mock_process_exit - let a process exit
 * @process: process
 */
void mock_process_exit(struct mock_process *process)
{
	complete_all(&process->exit);
}

/**
 * mock_process_wait - wait until the address space of a process is gone
 * @process: process that has been told to exit, and whose address space nobody else
 *	keeps alive
 */
void mock_process_wait(struct mock_process *process)
{
	mock_thread_join(process->test, process->thread);
}

static vm_fault_t mock_file_fault(struct vm_fault *vmf)
{
	struct mock_file *file = vmf->vma->vm_private_data;

	if (file->kind == MOCK_FILE_SIGBUS)
		return VM_FAULT_SIGBUS;
	if (file->kind == MOCK_FILE_OOM ||
	    (file->kind == MOCK_FILE_NO_WRITE && vmf->flags & FAULT_FLAG_WRITE))
		return VM_FAULT_OOM;
	if (file->kind == MOCK_FILE_SLOW && !file->waited) {
		if (fault_flag_allow_retry_first(vmf->flags) &&
		    !(vmf->flags & FAULT_FLAG_RETRY_NOWAIT)) {
			file->waited = true;
			release_fault_lock(vmf);
			complete(&file->entered);
			wait_for_completion_timeout(&file->open, MOCK_PATIENCE);
			return VM_FAULT_RETRY;
		}
		file->stuck = true;
	}
	get_page(file->page);
	vmf->page = file->page;
	return 0;
}

/* A page that was mapped for reading is about to be written to. */
static vm_fault_t mock_file_mkwrite(struct vm_fault *vmf)
{
	struct mock_file *file = vmf->vma->vm_private_data;

	if (file->kind == MOCK_FILE_NO_WRITE)
		return VM_FAULT_OOM;
	lock_page(vmf->page);
	return VM_FAULT_LOCKED;
}

static const struct vm_operations_struct mock_file_vm_ops = {
	.fault = mock_file_fault,
	.page_mkwrite = mock_file_mkwrite,
};

static int mock_file_mmap(struct file *f, struct vm_area_struct *vma)
{
	struct mock_file *file = f->private_data;

	vma->vm_private_data = file;
	if (file->kind == MOCK_FILE_PFNMAP)
		return remap_pfn_range(vma, vma->vm_start, page_to_pfn(file->page),
				       PAGE_SIZE, vma->vm_page_prot);
	vma->vm_ops = &mock_file_vm_ops;
	return 0;
}

static const struct file_operations mock_file_fops = {
	.owner = THIS_MODULE,
	.mmap = mock_file_mmap,
};

static void mock_file_end(void *data)
{
	struct mock_file *file = data;

	complete_all(&file->open);
	if (!IS_ERR_OR_NULL(file->file))
		fput(file->file);
	__free_page(file->page);
}

/**
 * mock_file_new - make a file
 * @test: test that owns it
 * @kind: what is special about it
 *
 * Return: it; the test ends if it cannot be made.
 */
struct mock_file *mock_file_new(struct kunit *test, enum mock_file_kind kind)
{
	struct mock_file *file = kunit_kzalloc(test, sizeof(*file), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, file);
	file->kind = kind;
	init_completion(&file->entered);
	init_completion(&file->open);
	file->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, file->page);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, mock_file_end, file));
	file->file = anon_inode_getfile("[mock]", &mock_file_fops, file, O_RDWR);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file->file));
	return file;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The CPU touches a page that it cannot reach: the page comes back.
 *
 * Owns the table of winners: the threads that are bringing a page back just now, by page.
 *
 * Kernels before 6.15 have no lock between threads that fault on one page.  Each takes a
 * reference on it and calls us; and a page with references that are not accounted for
 * does not move.  If all of them tried, all of them could fail, each because of the
 * others, for as long as they like:
 *
 *	thread A				thread B
 *	fault: reference
 *	takes the page out of the page table	fault: reference (was there before)
 *	two references too many: put it back
 *	returns, drops its reference		takes the page out of the page table
 *	fault: reference (of the old entry)	a reference too many: put it back
 *	...					...
 *
 * So one of them wins: the one that is in the table.  The others give the reference back
 * before the kernel does, and wait where they are.
 *
 *	winner					loser
 *	enters the table
 *						finds it there: drops the reference, waits
 *	moves the page
 *	leaves the table, wakes
 *						returns: faults again, or finds the page
 *
 * That they must not return at once has to do with faults from within the kernel
 * (copy_from_user(), get_user_pages()): these would come back at once, and where kernel
 * code is not preempted the winner would not get a CPU to finish on.  And that they cannot
 * wait with the reference is what all of this is about.  The caller drops it by way of
 * vmf->page, so a loser leaves another page there, of which nobody counts references.
 *
 * Later kernels call us with the page locked: there are no losers, and none of this runs.
 *
 * A huge page comes back as a whole, or in small pieces: see hmm_rmem_pull().
 *
 * The principle: what may be better in a moment is no error.  The thread returns as if all
 * were well, and faults again if it is not.  SIGBUS is for what is lost for good.
 *
 * All waits are bounded, and end when the thread is killed.
 *
 * Locks: hmm_swp_bucket.lock, innermost.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/hash.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/wait.h>
#include <linux/wait_bit.h>
#include "entry.h"
#include "swp_private.h"

#define HMM_SWP_BUCKET_BITS	6

/* How often a winner tries, and how long it sleeps at most between two tries, in us. */
#define HMM_SWP_TRIES		10
#define HMM_SWP_SLEEP_MAX	1000

/* The try before which pages are taken out of the batches of all CPUs. */
#define HMM_SWP_DRAIN_TRY	5

/* How long a loser waits for the winner. */
#define HMM_SWP_PATIENCE	(HZ / 10)

/* How long a page is left alone after a copy has failed. */
#define HMM_SWP_COPY_SLEEP	(HZ / 100 + 1)

/**
 * struct hmm_swp_bucket - winners, by a hash of the page
 * @lock: protects @winners
 * @winners: them
 * @left: one has left the table
 */
struct hmm_swp_bucket {
	spinlock_t lock;
	struct hlist_head winners;
	wait_queue_head_t left;
};

/**
 * struct hmm_swp_winner - a thread that brings a page back; on its stack
 * @node: in the bucket
 * @page: the page; the thread has a reference on it
 */
struct hmm_swp_winner {
	struct hlist_node node;
	const struct page *page;
};

static struct hmm_swp_bucket hmm_swp_buckets[1 << HMM_SWP_BUCKET_BITS];

/* What losers leave in vmf->page. */
static struct page *hmm_swp_nobodys;

/* Losers, which hold no memory alive that would keep this module. */
static atomic_t hmm_swp_nr_losers;

static struct hmm_swp_bucket *hmm_swp_bucket(const struct page *page)
{
	return &hmm_swp_buckets[hash_ptr(page, HMM_SWP_BUCKET_BITS)];
}

static bool hmm_swp_has_winner(struct hmm_swp_bucket *bucket, const struct page *page)
{
	const struct hmm_swp_winner *winner;
	bool found = false;

	spin_lock(&bucket->lock);
	hlist_for_each_entry(winner, &bucket->winners, node)
		found |= winner->page == page;
	spin_unlock(&bucket->lock);
	return found;
}

/* Returns false if another thread is at the page. */
static bool hmm_swp_enter(struct hmm_swp_winner *winner, const struct page *page)
{
	struct hmm_swp_bucket *bucket = hmm_swp_bucket(page);
	const struct hmm_swp_winner *other;

	winner->page = page;
	spin_lock(&bucket->lock);
	hlist_for_each_entry(other, &bucket->winners, node) {
		if (other->page == page) {
			spin_unlock(&bucket->lock);
			return false;
		}
	}
	hlist_add_head(&winner->node, &bucket->winners);
	spin_unlock(&bucket->lock);
	return true;
}

static void hmm_swp_leave(struct hmm_swp_winner *winner)
{
	struct hmm_swp_bucket *bucket = hmm_swp_bucket(winner->page);

	spin_lock(&bucket->lock);
	hlist_del(&winner->node);
	spin_unlock(&bucket->lock);
	wake_up_all(&bucket->left);
}

/* Wait until the winner is done, without a reference on the page: it is only compared. */
static void hmm_swp_lose(struct vm_fault *vmf)
{
	const struct page *page = vmf->page;
	struct hmm_swp_bucket *bucket = hmm_swp_bucket(page);

	atomic_inc(&hmm_swp_nr_losers);
	get_page(hmm_swp_nobodys);
	put_page(vmf->page);
	vmf->page = hmm_swp_nobodys;
	/* However it ends, the access is tried again. */
	wait_event_killable_timeout(bucket->left, !hmm_swp_has_winner(bucket, page),
				    HMM_SWP_PATIENCE);
	if (atomic_dec_and_test(&hmm_swp_nr_losers))
		wake_up_var(&hmm_swp_nr_losers);
}

/* What the fault has met; for a huge page it is at the address of that. */
static struct hmm_swp_entry hmm_swp_met(const struct vm_fault *vmf)
{
	return hmm_swp_fault_is_huge(vmf) ? hmm_swp_from_pmd(vmf->orig_pmd) :
					    hmm_swp_from_pte(vmf->orig_pte);
}

/* Is the page still where the fault has met it? */
static bool hmm_swp_still_there(const struct vm_fault *vmf)
{
	unsigned long addr = vmf->address;
	struct hmm_swp_place place;

	if (hmm_swp_fault_is_huge(vmf))
		addr = ALIGN_DOWN(addr, PMD_SIZE);
	hmm_swp_look(vmf->vma->vm_mm, addr, &place);
	return hmm_swp_is_private(place.entry) && hmm_swp_to_page(place.entry) == vmf->page &&
	       place.huge == hmm_swp_fault_is_huge(vmf);
}

/*
 * Bring the page back, and what is around it.  It may be in use for a moment: references
 * of losers that have not returned yet, or of an eviction.  If somebody else moves it, the
 * next fault waits for him in the kernel's own way.
 */
static int hmm_swp_pull(struct hmm_swp_memory *memory, struct vm_fault *vmf)
{
	const struct vm_area_struct *vma = vmf->vma;
	unsigned long addr = vmf->address & PAGE_MASK;
	unsigned long start, end, sleep;
	int ret, i;

	hmm_swp_window(memory, vma->vm_mm, addr, vma->vm_start, vma->vm_end, &start, &end);
	if (hmm_swp_fault_is_huge(vmf)) {
		start = ALIGN_DOWN(addr, PMD_SIZE);
		end = start + PMD_SIZE;
	}
	ret = memory->pull(memory, vmf, start, end);
	for (i = 1; ret == -EBUSY && i < HMM_SWP_TRIES; i++) {
		if (!hmm_swp_still_there(vmf) || fatal_signal_pending(current))
			break;
		if (i == HMM_SWP_DRAIN_TRY)
			hmm_swp_drain();
		sleep = min(10ul << i, (unsigned long)HMM_SWP_SLEEP_MAX);
		usleep_range(sleep, 2 * sleep);
		if (!hmm_swp_fault_is_huge(vmf)) {
			start = addr;
			end = addr + PAGE_SIZE;
		}
		ret = memory->pull(memory, vmf, start, end);
	}
	return ret;
}

/*
 * A thread that is killed in user mode dies before it would come back.  One that is in the
 * kernel would come back for ever: there only an error ends it.
 */
static vm_fault_t hmm_swp_try_again(const struct vm_fault *vmf)
{
	if (!(vmf->flags & FAULT_FLAG_USER) && fatal_signal_pending(current))
		return VM_FAULT_SIGBUS;
	return 0;
}

/**
 * hmm_swp_fault - the CPU faults on a page in memory that it cannot reach
 * @vmf: fault; the page is vmf->page, on which the caller has a reference that it drops
 *	afterwards.  It may be another page then.
 *
 * dev_pagemap_ops.migrate_to_ram of every memory.
 *
 * Context: mmap_lock held for reading.  Sleeps.
 * Return: 0 the page is back, or may be later: the access is tried again;
 * VM_FAULT_SIGBUS its contents are lost, or the thread was killed; VM_FAULT_OOM no memory
 * for it.
 */
vm_fault_t hmm_swp_fault(struct vm_fault *vmf)
{
	struct hmm_swp_memory *memory = hmm_swp_memory_of(page_pgmap(vmf->page));
	struct hmm_swp_entry entry = hmm_swp_met(vmf);
	struct hmm_swp_winner winner;
	vm_fault_t result;

	if (WARN_ON_ONCE(!hmm_swp_is_private(entry) || hmm_swp_to_page(entry) != vmf->page))
		return VM_FAULT_SIGBUS;
	atomic64_inc(&memory->faults);
	if (!hmm_swp_enter(&winner, vmf->page)) {
		atomic64_inc(&memory->lost_races);
		hmm_swp_lose(vmf);
		return hmm_swp_try_again(vmf);
	}
	switch (hmm_swp_pull(memory, vmf)) {
	case 0:
		result = 0;
		break;
	case -EBUSY:
		result = hmm_swp_try_again(vmf);
		break;
	case -ENOMEM:
		result = VM_FAULT_OOM;
		break;
	case -ENODEV:
		result = VM_FAULT_SIGBUS;
		break;
	default:
		/* It may succeed later. */
		schedule_timeout_killable(HMM_SWP_COPY_SLEEP);
		result = hmm_swp_try_again(vmf);
		break;
	}
	hmm_swp_leave(&winner);
	return result;
}

/**
 * hmm_swp_drain - have all CPUs let go of pages that they keep in batches
 *
 * mlock() and munmap() of mlock()ed memory leave pages, with a reference, in a batch of
 * their CPU until that is full; a page with a reference too many does not move.  No
 * function that empties the batches of all CPUs is there for modules; but the kernel does
 * it when a page is to migrate that is on no LRU list.
 *
 * Context: Process context, sleeps.  mmap_lock may be held.
 */
void hmm_swp_drain(void)
{
	struct page *page = alloc_page(GFP_KERNEL);
	unsigned long src;

	if (!page)
		return;
	/* It is not moved: it is locked, looked at, and unlocked. */
	migrate_device_range(&src, page_to_pfn(page), 1);
	__free_page(page);
}

/**
 * hmm_swp_init - get ready for faults
 *
 * Context: before there is a memory.
 * Return: 0 or -ENOMEM.
 */
int hmm_swp_init(void)
{
	int i;

	hmm_swp_nobodys = alloc_page(GFP_KERNEL);
	if (!hmm_swp_nobodys)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(hmm_swp_buckets); i++) {
		spin_lock_init(&hmm_swp_buckets[i].lock);
		INIT_HLIST_HEAD(&hmm_swp_buckets[i].winners);
		init_waitqueue_head(&hmm_swp_buckets[i].left);
	}
	return 0;
}

/**
 * hmm_swp_exit - wait for threads that are still in here
 *
 * Winners hold a reference on their page, and so keep its memory; losers do not.  That the
 * last of them has been counted down does not say that it has left the function: the grace
 * period does.
 *
 * Context: when there is no memory any more.  Sleeps.
 */
void hmm_swp_exit(void)
{
	wait_var_event(&hmm_swp_nr_losers, !atomic_read(&hmm_swp_nr_losers));
	synchronize_rcu_tasks();
	/* The kernel may have a reference of a loser to drop yet. */
	put_page(hmm_swp_nobodys);
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the emulated GPU's driver share.
 *
 * Who owns what, and how long it lives:
 *
 *   dgpu_device  one per platform device; referenced by its driver binding, by each
 *                open file and by each vm.  The chip (@hw) goes with the binding.
 *   dgpu_vm      one per (device, mm); its address space on the device lives from the
 *                first open() to the last close(), its memory until the last job and
 *                the last fault in flight are done with it.
 *   dgpu_file    one per open file: its jobs and its ring of event records.
 *   dgpu_job     one per submission; referenced by its file, by the hardware while it
 *                has it, and by its watchdog.
 *   dgpu_copy    one per call of a copy operation; the chip's, until it is done.
 *
 * Lock order, outermost first:
 *
 *   dgpu_device.retire_lock		taking the device out of service
 *   dgpu_vm.lock			birth and death of a vm
 *   dgpu_device.lock			list of vms
 *   (mmap_lock, the core's locks, the update lock of a block)
 *   dgpu_device.hw_lock		the chip is there; never taken in an operation
 *					that the core calls, which need not ask
 *   dgpu_file.ring.lock		a mutex: readers of event records
 *   dgpu_pt.lock, dgpu_bus.lock, dgpu_vm.fault_lock, dgpu_vm.file_lock,
 *   dgpu_device.job_lock, dgpu_copy_engine.lock: innermost, spinlocks
 *   (hw/ locks)
 */
#ifndef _DGPU_PRIVATE_H
#define _DGPU_PRIVATE_H

#include <linux/atomic.h>
#include <linux/dma-fence.h>
#include <linux/fault-inject.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <hmm/mirror.h>
#include <uapi/dgpu.h>
#include "dgpu_hw.h"

struct attribute_group;
struct platform_device;
struct dgpu_device;
struct dgpu_vm;

#define DGPU_DRIVER_NAME	"dummy_gpu"

#define DGPU_MAX_DEVICES	8
#define DGPU_MAX_CONTEXTS	1024
#define DGPU_MAX_THREADS	0x100000u
#define DGPU_MAX_INSNS		0x4000u
#define DGPU_MAX_JOBS		1024		/* a file */
#define DGPU_MAX_TIMEOUT_MS	600000
#define DGPU_MAX_EVENTS		65536		/* a file */
#define DGPU_MAX_PTES		0x100000u	/* a call */
#define DGPU_MAX_COPY_ENGINES	4
#define DGPU_MAX_LOCAL_MB	65536

/* A chip that has not dropped its translations after that long is reset. */
#define DGPU_TLB_TIMEOUT_MS	2000

/* ---- main.c: module parameters ---- */

/**
 * struct dgpu_config - module parameters, checked before anything is created
 * @devices: devices to create
 * @fault_around: bytes that are mapped around a fault
 * @watchdog_ms: time that a job has if its submission does not say
 * @local_mb: memory of each device, in MiB
 * @nr_local_mb: how many of these were given; the last counts for the devices after it
 * @hw: the chip's strapping, but for the size of its memory
 */
struct dgpu_config {
	unsigned int devices;
	unsigned int fault_around;
	unsigned int watchdog_ms;
	unsigned int local_mb[DGPU_MAX_DEVICES];
	unsigned int nr_local_mb;
	struct dgpu_hw_config hw;
};

extern struct dgpu_config dgpu_config;

/* Short work: interrupts, watchdogs. */
extern struct workqueue_struct *dgpu_wq;
/* Completed copies, and the watchdogs of copy engines: fences depend on it. */
extern struct workqueue_struct *dgpu_copy_wq;
/* Device faults, which may wait for user space as long as it likes. */
extern struct workqueue_struct *dgpu_fault_wq;

extern struct fault_attr dgpu_fail_copy;
extern struct fault_attr dgpu_fail_dma;
extern struct fault_attr dgpu_fail_table;
extern struct fault_attr dgpu_fail_submit;

/* ---- bus.c: system pages that the device can reach ---- */

/**
 * struct dgpu_bus_page - a page, or a 2 MiB page, that is mapped for DMA
 * @page: its first page; not referenced
 * @addr: bus address
 * @order: 0 or HPAGE_PMD_ORDER
 * @users: translations (or page tables) that name it; dgpu_bus.lock
 * @by_addr: in dgpu_bus.by_addr
 * @by_page: in dgpu_bus.by_page
 * @reserve: in dgpu_bus.reserve while it is none of the above
 * @rcu: the chip looks addresses up without a lock
 */
struct dgpu_bus_page {
	struct page *page;
	dma_addr_t addr;
	unsigned int order;
	unsigned int users;
	struct hlist_node by_addr;
	struct hlist_node by_page;
	union {
		struct list_head reserve;
		struct rcu_head rcu;
	};
};

/**
 * struct dgpu_bus_copied - a page that is mapped for DMA while it is copied
 * @page: the page
 * @addr: bus address
 * @by_addr: in dgpu_bus.copied
 */
struct dgpu_bus_copied {
	struct page *page;
	dma_addr_t addr;
	struct hlist_node by_addr;
};

/**
 * struct dgpu_bus_batch - pages that are mapped for one copy
 * @rcu: the chip looks addresses up without a lock
 * @nr: number of pages
 * @pages: the pages
 */
struct dgpu_bus_batch {
	struct rcu_head rcu;
	unsigned int nr;
	struct dgpu_bus_copied pages[];
};

#define DGPU_BUS_BITS		14

/**
 * struct dgpu_bus - the bus of one device
 * @dev: for the DMA API
 * @lock: protects all that follows
 * @by_addr: hash of mapped pages by bus address; read under RCU by the chip
 * @by_page: the same by page
 * @copied: hash of pages that are being copied, by bus address; read under RCU by the
 *	chip
 * @nr_batches: copies that have pages in there
 * @reserve: preallocated, for where memory cannot be waited for
 * @nr_reserve: length of @reserve
 * @nr_pages: pages of system memory that are mapped now, in units of PAGE_SIZE
 */
struct dgpu_bus {
	struct device *dev;
	spinlock_t lock;
	struct hlist_head *by_addr;
	struct hlist_head *by_page;
	struct hlist_head *copied;
	unsigned int nr_batches;
	struct list_head reserve;
	unsigned int nr_reserve;
	unsigned long nr_pages;
};

int dgpu_bus_init(struct dgpu_bus *bus, struct device *dev);
void dgpu_bus_fini(struct dgpu_bus *bus);
int dgpu_bus_prepare(struct dgpu_bus *bus);
struct dgpu_bus_page *dgpu_bus_get(struct dgpu_bus *bus, struct page *page,
				   unsigned int order);
struct dgpu_bus_page *dgpu_bus_find(struct dgpu_bus *bus, u64 addr, unsigned int order);
void dgpu_bus_put(struct dgpu_bus *bus, struct dgpu_bus_page *bp);
struct dgpu_bus_batch *dgpu_bus_batch_map(struct dgpu_bus *bus,
					  const struct hmm_rmem_copy *copies, unsigned int nr);
void dgpu_bus_batch_unmap(struct dgpu_bus *bus, struct dgpu_bus_batch *batch);
void *dgpu_bus_map(struct dgpu_bus *bus, u64 addr);

/* ---- pt.c: the device page table ---- */

struct dgpu_pt_table;

/**
 * struct dgpu_pt - page table of one device address space
 * @lock: protects which tables there are: the child pointers and counts of all
 *	tables above level 0, @limbo, @reap and @nr_reap
 * @root: read under RCU; NULL before birth and after death
 * @limbo: tables that are out of the tree and wait for a TLB invalidation
 * @reap: tables of level 0 that are out of the tree, the chip being through with them,
 *	whose entries still have to be undone
 * @nr_reap: length of @reap
 * @reap_work: does that
 * @nr_tables: table pages
 * @nr_small: valid 4 KiB entries
 * @nr_huge: valid 2 MiB entries
 */
struct dgpu_pt {
	spinlock_t lock;
	struct dgpu_pt_table __rcu *root;
	struct list_head limbo;
	struct list_head reap;
	unsigned int nr_reap;
	struct delayed_work reap_work;
	atomic_long_t nr_tables;
	atomic_long_t nr_small;
	atomic_long_t nr_huge;
};

/**
 * struct dgpu_pt_taken - what dgpu_pt_take() did
 * @start: first byte that the TLBs have to forget
 * @end: first byte after these; nothing to forget if it is not above @start
 * @pages: 4 KiB pages that were mapped in the range asked for
 * @dirty: of these, written by the device
 */
struct dgpu_pt_taken {
	u64 start;
	u64 end;
	u32 pages;
	u32 dirty;
};

int dgpu_pt_init(struct dgpu_vm *vm);
void dgpu_pt_destroy(struct dgpu_vm *vm);
void dgpu_pt_reap(struct work_struct *work);
u64 dgpu_pt_root(struct dgpu_vm *vm);
int dgpu_pt_prepare(struct dgpu_vm *vm, u64 start, u64 end);
int dgpu_pt_map(struct dgpu_vm *vm, const struct hmm_map *map);
void dgpu_pt_take(struct dgpu_vm *vm, const struct hmm_event *event,
		  struct dgpu_pt_taken *taken);
void dgpu_pt_settle(struct dgpu_vm *vm, const struct hmm_event *event);
struct page *dgpu_pt_peek(struct dgpu_vm *vm, u64 start, u64 end);
void dgpu_pt_snapshot(struct dgpu_vm *vm, u64 start, unsigned long npages, u8 *out);

/* ---- fence.c ---- */

struct dma_fence *dgpu_fence_create(const struct dgpu_device *dev, gfp_t gfp);
void dgpu_fence_discard(struct dma_fence *fence);

/* ---- local.c: copies to and from the device's memory ---- */

/**
 * struct dgpu_copy_engine - a copy engine of the chip
 * @dev: its device
 * @index: as the chip knows it
 * @lock: protects all that follows but @watchdog
 * @copies: what the chip has, in the order in which it does it
 * @progress: what the last look read, in the chip's terms
 * @looks: how many in a row have found it where the one before had
 * @watchdog: resets it when there is no progress; queued while it has copies
 */
struct dgpu_copy_engine {
	struct dgpu_device *dev;
	unsigned int index;
	spinlock_t lock;
	struct list_head copies;
	u64 progress;
	unsigned int looks;
	struct delayed_work watchdog;
};

/**
 * struct dgpu_copy - pages that are copied together
 * @hw: what the chip sees
 * @dev: the device; there as long as the core may wait for the copy
 * @engine: where it was submitted
 * @fence: signalled when it is done; referenced until then
 * @node: in dgpu_copy_engine.copies
 * @descs: descriptors
 * @batch: pages of system memory that are mapped for it; NULL: none
 */
struct dgpu_copy {
	struct dgpu_hw_copy hw;
	struct dgpu_device *dev;
	struct dgpu_copy_engine *engine;
	struct dma_fence *fence;
	struct list_head node;
	struct dgpu_hw_copy_desc *descs;
	struct dgpu_bus_batch *batch;
};

extern const struct hmm_rmem_ops dgpu_local_ops;

void dgpu_local_init(struct dgpu_device *dev);
void dgpu_local_done_work(struct work_struct *work);
void dgpu_local_lose_all(struct dgpu_device *dev);

/* ---- device.c ---- */

/**
 * struct dgpu_device - one emulated GPU
 * @hmm: towards the mirroring core
 * @ref: see the head of this file
 * @pdev: platform device, referenced
 * @index: N of /dev/dgpuN
 * @name: "dgpuN"
 * @misc: the char device
 * @bus: system pages that it reaches
 * @hw_lock: for reading: @hw stays
 * @hw: the chip; NULL once the driver is unbound.  Operations that the core calls
 *	need no lock to use it: the core is told first.
 * @retire_lock: one retires the device at a time
 * @retired: it is out of service; @retire_lock
 * @gone: the same for who only wants to look; set before anything is taken down
 * @lock: protects @vms
 * @vms: address spaces
 * @asids: context number to vm
 * @next_asid: numbers are handed out in a circle: @asids' lock
 * @fault_work: reads the fault buffer
 * @faults: what it read
 * @done_work: reads the completion ring
 * @lost_work: the chip has fallen off the bus
 * @job_lock: protects @jobs
 * @jobs: jobs that the chip has
 * @past: counters of vms that are gone; @lock
 * @copy_work: reads the completion ring of the copy engines
 * @copy_engines: these
 * @debugfs: its directory
 */
struct dgpu_device {
	struct hmm_device hmm;
	struct kref ref;
	struct platform_device *pdev;
	unsigned int index;
	char name[16];
	struct miscdevice misc;
	struct dgpu_bus bus;

	struct rw_semaphore hw_lock;
	struct dgpu_hw *hw;
	struct mutex retire_lock;
	bool retired;
	bool gone;

	struct mutex lock;
	struct list_head vms;
	struct xarray asids;
	u32 next_asid;

	struct work_struct fault_work;
	struct dgpu_hw_fault *faults;
	struct work_struct done_work;
	struct work_struct lost_work;

	spinlock_t job_lock;
	struct list_head jobs;

	struct dgpu_counters *past;

	struct work_struct copy_work;
	struct dgpu_copy_engine copy_engines[DGPU_MAX_COPY_ENGINES];

	struct dentry *debugfs;
};

struct dgpu_device *dgpu_device_get(struct dgpu_device *dev);
struct dgpu_device *dgpu_device_find(u32 index);
void dgpu_device_put(struct dgpu_device *dev);
bool dgpu_device_enter(struct dgpu_device *dev);
void dgpu_device_exit(struct dgpu_device *dev);
int dgpu_device_register_driver(void);
void dgpu_device_unregister_driver(void);

/* ---- vm.c ---- */

/**
 * enum dgpu_vm_state - life of a device address space
 * @DGPU_VM_NEW: in the list so that openers meet; nothing is set up
 * @DGPU_VM_LIVE: mirrored, loaded into the chip
 * @DGPU_VM_DEAD: not mirrored, not in the chip, no page table; or never was
 *
 * Changed under dgpu_vm.lock only: NEW -> LIVE -> DEAD, or NEW -> DEAD.
 */
enum dgpu_vm_state {
	DGPU_VM_NEW,
	DGPU_VM_LIVE,
	DGPU_VM_DEAD,
};

/**
 * struct dgpu_vm - the address space of a process on a device
 * @mirror: towards the mirroring core
 * @ref: keeps the memory, not the address space
 * @dev: the device, referenced
 * @mm: the process' address space; its memory is kept
 * @asid: number of its context
 * @node: in dgpu_device.vms
 * @lock: protects @state and @files
 * @state: see there
 * @files: open files
 * @pt: device page table
 * @owed: ticket of the last TLB invalidation that could not be waited for
 * @fault_lock: protects the next three
 * @faults: batches of faults that wait for a worker
 * @fault_workers: batches being served
 * @fault_stopped: no more are taken
 * @file_lock: protects @file_list and their rings being there
 * @file_list: files
 * @reasons: events by reason, as sets: each
 */
struct dgpu_vm {
	struct hmm_mirror mirror;
	struct kref ref;
	struct dgpu_device *dev;
	struct mm_struct *mm;
	u32 asid;
	struct list_head node;

	struct mutex lock;
	enum dgpu_vm_state state;
	unsigned int files;

	struct dgpu_pt pt;
	atomic64_t owed;

	spinlock_t fault_lock;
	struct list_head faults;
	unsigned int fault_workers;
	bool fault_stopped;

	spinlock_t file_lock;
	struct list_head file_list;
	atomic64_t reasons[HMM_REASON_NR];
};

extern const struct hmm_device_ops dgpu_vm_ops;

struct dgpu_vm *dgpu_vm_open(struct dgpu_device *dev, struct mm_struct *mm);
void dgpu_vm_close(struct dgpu_vm *vm);
void dgpu_vm_retire_all(struct dgpu_device *dev);
struct dgpu_vm *dgpu_vm_get(struct dgpu_vm *vm);
void dgpu_vm_put(struct dgpu_vm *vm);
struct dgpu_vm *dgpu_vm_by_asid(struct dgpu_device *dev, u32 asid);
void dgpu_vm_flush(struct dgpu_vm *vm, u64 start, u64 end);
void dgpu_vm_wake(struct dgpu_vm *vm);

/**
 * struct dgpu_counters - the groups of counters that belong to an address space
 * @mirror: DGPU_STAT_MIRROR
 * @events: DGPU_STAT_EVENTS
 * @reasons: DGPU_STAT_REASONS
 */
struct dgpu_counters {
	u64 mirror[HMM_STAT_NR];
	u64 events[HMM_EVENT_NR];
	u64 reasons[HMM_REASON_NR];
};

void dgpu_vm_add_counters(const struct dgpu_vm *vm, struct dgpu_counters *sum);

/* ---- fault.c ---- */

/* Faults that are read from the chip at once. */
#define DGPU_FAULT_MAX		256

void dgpu_fault_work(struct work_struct *work);
void dgpu_fault_stop(struct dgpu_vm *vm);

/* ---- event.c: records of invalidations ---- */

/**
 * struct dgpu_ring - the records of one file
 * @lock: serialises readers and changes of the size
 * @records: the last @size of them, by sequence number; NULL: off.  This and the
 *	following: dgpu_vm.file_lock.
 * @size: power of two
 * @head: number of the next record
 * @tail: number of the oldest that was not read
 * @wait: readers and poll()
 */
struct dgpu_ring {
	struct mutex lock;
	struct dgpu_event *records;
	u32 size;
	u64 head;
	u64 tail;
	wait_queue_head_t wait;
};

struct dgpu_file;

void dgpu_event_record(struct dgpu_vm *vm, const struct hmm_event *event,
		       const struct dgpu_pt_taken *taken);
int dgpu_event_resize(struct dgpu_file *file, u32 capacity);
ssize_t dgpu_event_read(struct dgpu_file *file, char __user *buf, size_t size,
			bool nonblock);
bool dgpu_event_pending(struct dgpu_file *file);

/* ---- job.c ---- */

/**
 * struct dgpu_job - one submission
 * @hw: what the chip sees; first the chip's, then the result
 * @ref: file, hardware, watchdog, and who waits
 * @vm: address space that it runs in, referenced
 * @engine: where it was submitted
 * @fence: signalled when it is done; referenced until then
 * @node: in dgpu_device.jobs
 * @watchdog: stops it when it takes too long
 * @watchdog_step: how often the watchdog has tried in vain: to kill, to reset
 * @done: set once, when @hw.result is final
 * @wait: for @done
 */
struct dgpu_job {
	struct dgpu_hw_job hw;
	struct kref ref;
	struct dgpu_vm *vm;
	unsigned int engine;
	struct dma_fence *fence;
	struct list_head node;
	struct delayed_work watchdog;
	unsigned int watchdog_step;
	bool done;
	wait_queue_head_t wait;
};

int dgpu_job_submit(struct dgpu_file *file, struct dgpu_submit *args,
		    struct dgpu_submit __user *uargs);
int dgpu_job_result(struct dgpu_file *file, struct dgpu_result *args,
		    struct dgpu_result __user *uargs);
void dgpu_job_release_all(struct dgpu_file *file);
void dgpu_job_done_work(struct work_struct *work);
void dgpu_job_lose_all(struct dgpu_device *dev);

/* ---- file.c ---- */

/**
 * struct dgpu_file - an open file
 * @vm: address space of the process that opened it, referenced
 * @node: in dgpu_vm.file_list
 * @jobs: jobs by number that are not collected; its own lock
 * @last_job: number given last; lock of @jobs
 * @nr_jobs: length of @jobs, and submissions on their way in
 * @ring: records of invalidations
 */
struct dgpu_file {
	struct dgpu_vm *vm;
	struct list_head node;
	struct xarray jobs;
	u64 last_job;
	atomic_t nr_jobs;
	struct dgpu_ring ring;
};

extern const struct file_operations dgpu_file_ops;

/* ---- memory.c: where pages are, and where they should be ---- */

extern const struct attribute_group *dgpu_memory_groups[];

int dgpu_memory_migrate(struct dgpu_file *file, void __user *uarg);
int dgpu_memory_policy(struct dgpu_file *file, void __user *uarg);
int dgpu_memory_hint(struct dgpu_file *file, void __user *uarg);
int dgpu_memory_residency(struct dgpu_file *file, void __user *uarg);
int dgpu_memory_evacuate(struct dgpu_file *file, void __user *uarg);

/* ---- debugfs.c ---- */

void dgpu_debugfs_init(void);
void dgpu_debugfs_exit(void);
void dgpu_debugfs_add(struct dgpu_device *dev);
void dgpu_debugfs_remove(struct dgpu_device *dev);

#endif /* _DGPU_PRIVATE_H */

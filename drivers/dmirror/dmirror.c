// SPDX-License-Identifier: GPL-2.0
/*
 * The ABI of the kernel's own test driver for HMM, on the mirroring core: /dev/hmm_dmirror0
 * and 1 with memory that only they reach, 2 and 3 with memory that the CPU reaches, too.
 *
 * Device memory is made of buffers, the copy engine is the CPU, and the device's threads
 * are the callers of ioctl(): several of them may be in here with one file.
 *
 * The device page table has a page of entries for each PMD_SIZE, with the address of a page
 * in the device's memory or the machine's, what the device may do with it, and whether it
 * has written, until the core has been told.
 *
 * Locks: that of the page table's xarray, which is the device's MMU.  Each access is made
 * under it, so an entry that was taken away under it is not in use any more.  No sleeping
 * there, as the core may ask for it without.
 */
#include <linux/dma-fence.h>
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>
#include <hmm/mirror.h>
#include <uapi/hmm_dmirror.h>

#define DMIRROR_PTE_VALID	BIT(0)
#define DMIRROR_PTE_WRITE	BIT(1)
#define DMIRROR_PTE_DIRTY	BIT(2)
#define DMIRROR_PTE_LOCAL	BIT(3)	/* in the device's private memory */
#define DMIRROR_PTE_EXCLUSIVE	BIT(4)	/* in system memory, taken away from the CPU */

/* Pages that are moved by one call of the core, and that are looked at. */
#define DMIRROR_MOVE		PAGE_SIZE
#define DMIRROR_LOOK		(PAGE_SIZE / sizeof(struct hmm_residency))

#define DMIRROR_CHUNKS		160	/* of private memory */
#define DMIRROR_COHERENT_CHUNKS	128

/**
 * struct dmirror_device - a device
 * @hmm: towards the core
 * @misc: towards user space
 * @chunks: private memory, in pieces that are there from their first use on
 */
struct dmirror_device {
	struct hmm_device hmm;
	struct miscdevice misc;
	void *chunks[DMIRROR_CHUNKS];
};

/**
 * struct dmirror - an open file: an address space on a device
 * @mirror: towards the core
 * @dev: the device
 * @tables: the device page table, by address >> PMD_SHIFT
 * @split: the next migration is to split huge pages
 */
struct dmirror {
	struct hmm_mirror mirror;
	struct dmirror_device *dev;
	struct xarray tables;
	bool split;
};

/* Devices 2 and 3; 0: there is none. */
static unsigned long dmirror_coherent[2];
module_param_named(spm_addr_dev0, dmirror_coherent[0], ulong, 0444);
MODULE_PARM_DESC(spm_addr_dev0, "Physical address of device 2's memory, reserved by memmap=");
module_param_named(spm_addr_dev1, dmirror_coherent[1], ulong, 0444);
MODULE_PARM_DESC(spm_addr_dev1, "Physical address of device 3's memory, likewise");

static struct dmirror *to_dmirror(struct hmm_mirror *mirror)
{
	return container_of(mirror, struct dmirror, mirror);
}

/* ---- device memory ---- */

/* There is no highmem where there is HMM. */
static void *dmirror_data(const struct dmirror_device *dev, u64 offset)
{
	if (dev->hmm.rmem_base)
		return page_address(hmm_rmem_page(&dev->hmm, offset));
	return dev->chunks[offset >> HMM_RMEM_CHUNK_SHIFT] + offset % HMM_RMEM_CHUNK_SIZE;
}

/* The first time that something comes here? */
static bool dmirror_get_chunk(struct dmirror_device *dev, u64 offset)
{
	void **chunk = &dev->chunks[offset >> HMM_RMEM_CHUNK_SHIFT];
	void *memory;

	if (dev->hmm.rmem_base || READ_ONCE(*chunk))
		return true;
	memory = vmalloc(HMM_RMEM_CHUNK_SIZE);
	if (memory && cmpxchg(chunk, NULL, memory))
		vfree(memory);
	return memory;
}

static struct dma_fence *dmirror_copy_to_device(struct hmm_device *hmm,
						const struct hmm_rmem_copy *copies,
						unsigned int nr)
{
	struct dmirror_device *dev = container_of(hmm, struct dmirror_device, hmm);

	for (; nr--; copies++) {
		if (!dmirror_get_chunk(dev, copies->offset))
			return ERR_PTR(-ENOMEM);
		if (copies->system)
			copy_page(dmirror_data(dev, copies->offset), page_address(copies->system));
		else
			clear_page(dmirror_data(dev, copies->offset));
	}
	return dma_fence_get_stub();
}

static struct dma_fence *dmirror_copy_to_system(struct hmm_device *hmm,
						const struct hmm_rmem_copy *copies,
						unsigned int nr)
{
	struct dmirror_device *dev = container_of(hmm, struct dmirror_device, hmm);

	for (; nr--; copies++)
		copy_page(page_address(copies->system), dmirror_data(dev, copies->offset));
	return dma_fence_get_stub();
}

static const struct hmm_rmem_ops dmirror_rmem_ops = {
	.copy_to_device = dmirror_copy_to_device,
	.copy_to_system = dmirror_copy_to_system,
	.clear = dmirror_copy_to_device,
};

/* ---- device page table ---- */

static u64 *dmirror_pte(struct dmirror *dm, unsigned long addr)
{
	u64 *table;

	lockdep_assert_held(&dm->tables.xa_lock);
	table = xa_load(&dm->tables, addr >> PMD_SHIFT);
	return table ? &table[(addr & ~PMD_MASK) >> PAGE_SHIFT] : NULL;
}

/* An entry is about to lose its dirty bit, or its page. */
static void dmirror_report(struct dmirror *dm, u64 pte)
{
	if (pte & DMIRROR_PTE_DIRTY && !(pte & DMIRROR_PTE_LOCAL))
		hmm_mirror_dirty_page(&dm->mirror, pfn_to_page(pte >> PAGE_SHIFT));
}

static int dmirror_prepare(struct hmm_mirror *mirror, unsigned long start,
			   unsigned long end)
{
	struct xarray *tables = &to_dmirror(mirror)->tables;
	unsigned long i, table;
	int ret;

	for (i = start >> PMD_SHIFT; i <= (end - 1) >> PMD_SHIFT; i++) {
		if (xa_load(tables, i))
			continue;
		table = get_zeroed_page(GFP_KERNEL_ACCOUNT);
		if (!table)
			return -ENOMEM;
		ret = xa_insert(tables, i, (void *)table, GFP_KERNEL_ACCOUNT);
		if (ret)
			free_page(table);
		if (ret && ret != -EBUSY)
			return ret;
	}
	return 0;
}

static u64 dmirror_make_pte(struct dmirror *dm, unsigned long pfn, bool no_atomics)
{
	const struct page *page = hmm_pfn_to_page(pfn);
	bool own = hmm_rmem_owns(&dm->dev->hmm, page);
	u64 pte = DMIRROR_PTE_VALID;

	if (own && !dm->dev->hmm.rmem_base)
		pte |= DMIRROR_PTE_LOCAL | hmm_rmem_offset(&dm->dev->hmm, page);
	else
		pte |= (u64)page_to_pfn(page) << PAGE_SHIFT;
	if (pfn & HMM_PFN_WRITE)
		pte |= DMIRROR_PTE_WRITE;
	if (pfn & HMM_PFN_WRITE && !no_atomics && !own)
		pte |= DMIRROR_PTE_EXCLUSIVE;
	return pte;
}

static int dmirror_map(struct hmm_mirror *mirror, const struct hmm_map *map)
{
	struct dmirror *dm = to_dmirror(mirror);
	unsigned long i, addr = map->start;
	u64 *pte = NULL;
	int ret = 0;

	xa_lock(&dm->tables);
	for (i = 0; i < map->nr; i++, pte++, addr += PAGE_SIZE) {
		if (!i || !(addr & ~PMD_MASK))
			pte = dmirror_pte(dm, addr);
		if (!pte) {
			/* Freed since prepare(). */
			ret = -EAGAIN;
			break;
		}
		if (!(map->pfns[i] & HMM_PFN_VALID))
			continue;
		dmirror_report(dm, *pte);
		*pte = dmirror_make_pte(dm, map->pfns[i], map->no_atomics);
	}
	xa_unlock(&dm->tables);
	return ret;
}

static u64 dmirror_update(struct hmm_mirror *mirror, const struct hmm_event *event)
{
	u64 keep = event->action >= HMM_ACTION_DROP ? 0 :
		   ~(DMIRROR_PTE_WRITE | DMIRROR_PTE_DIRTY | DMIRROR_PTE_EXCLUSIVE);
	struct dmirror *dm = to_dmirror(mirror);
	unsigned long i, start, end;
	u64 *table, *pte;

	xa_lock(&dm->tables);
	xa_for_each_range(&dm->tables, i, table, event->start >> PMD_SHIFT,
			  (event->end - 1) >> PMD_SHIFT) {
		start = max(event->start, i << PMD_SHIFT);
		end = min(event->end, (i + 1) << PMD_SHIFT);
		pte = &table[(start & ~PMD_MASK) >> PAGE_SHIFT];
		for (; pte < &table[(end - (i << PMD_SHIFT)) >> PAGE_SHIFT]; pte++) {
			dmirror_report(dm, *pte);
			*pte &= keep;
		}
		if (event->action == HMM_ACTION_FREE && end - start == PMD_SIZE) {
			__xa_erase(&dm->tables, i);
			free_page((unsigned long)table);
		}
	}
	xa_unlock(&dm->tables);
	return 0;
}

static void dmirror_stop(struct hmm_mirror *mirror)
{
	/* The next fault of whoever is in an ioctl fails. */
}

static const struct hmm_device_ops dmirror_ops = {
	.prepare = dmirror_prepare,
	.map = dmirror_map,
	.update = dmirror_update,
	.stop = dmirror_stop,
};

/* ---- the device at work ---- */

/* One page.  -ENOENT: a device fault; -EFAULT: the CPU has to fault in its end. */
static int dmirror_access(struct dmirror *dm, unsigned long addr, void __user *ptr,
			  u32 access)
{
	int ret = -ENOENT;
	void *data;
	u64 *pte;

	xa_lock(&dm->tables);
	pte = dmirror_pte(dm, addr);
	if (pte && *pte & (access == HMM_FAULT_READ ? DMIRROR_PTE_VALID : DMIRROR_PTE_WRITE)) {
		data = *pte & DMIRROR_PTE_LOCAL ? dmirror_data(dm->dev, *pte & PAGE_MASK) :
						  page_address(pfn_to_page(*pte >> PAGE_SHIFT));
		if (access == HMM_FAULT_READ) {
			ret = copy_to_user_nofault(ptr, data, PAGE_SIZE);
		} else {
			*pte |= DMIRROR_PTE_DIRTY;
			ret = copy_from_user_nofault(data, ptr, PAGE_SIZE);
		}
	}
	xa_unlock(&dm->tables);
	return ret;
}

/* A device fault, at the first of some pages that all will be wanted. */
static int dmirror_fault(struct dmirror *dm, struct dmirror_cmd *cmd, unsigned long start,
			 unsigned long end, u32 access)
{
	int ret;

	cmd->faults++;
	do
		ret = hmm_mirror_fault_range(&dm->mirror, start, end, access);
	while (ret == -EBUSY && !fatal_signal_pending(current));
	if (ret == -EACCES)
		return access == HMM_FAULT_READ ? -EFAULT : -EPERM;
	return ret;
}

static int dmirror_copy(struct dmirror *dm, struct dmirror_cmd *cmd, unsigned long start,
			unsigned long end, u32 access)
{
	void __user *ptr = u64_to_user_ptr(cmd->ptr + (start - cmd->addr));
	int ret;

	for (; start < end; start += PAGE_SIZE, ptr += PAGE_SIZE) {
		while ((ret = dmirror_access(dm, start, ptr, access))) {
			if (ret == -ENOENT)
				ret = dmirror_fault(dm, cmd, start, end, access);
			else if (access == HMM_FAULT_READ)
				ret = fault_in_safe_writeable(ptr, PAGE_SIZE) ? -EFAULT : 0;
			else
				ret = fault_in_readable(ptr, PAGE_SIZE) ? -EFAULT : 0;
			if (ret)
				return ret;
			if (fatal_signal_pending(current))
				return -EINTR;
		}
		cmd->cpages++;
		cond_resched();
	}
	return 0;
}

static int dmirror_check_exclusive(struct dmirror *dm, struct dmirror_cmd *cmd,
				   unsigned long start, unsigned long end)
{
	u64 *pte;

	for (; start < end && !fatal_signal_pending(current); start += PAGE_SIZE) {
		xa_lock(&dm->tables);
		pte = dmirror_pte(dm, start);
		cmd->cpages += pte && *pte & DMIRROR_PTE_EXCLUSIVE;
		xa_unlock(&dm->tables);
		cond_resched();
	}
	return cmd->cpages ? -EPERM : 0;
}

/* There, with a READ of it, or back. */
static int dmirror_move(struct dmirror *dm, struct dmirror_cmd *cmd, unsigned long start,
			unsigned long end, u32 flags)
{
	unsigned long size = DMIRROR_MOVE << PAGE_SHIFT, next, nr, moved;
	bool in = !(flags & HMM_MIGRATE_TO_SYSTEM);
	u8 *results;
	int ret = 0;

	results = kmalloc(DMIRROR_MOVE, GFP_KERNEL);
	if (!results)
		return -ENOMEM;
	if (xchg(&dm->split, false))
		flags |= HMM_MIGRATE_SPLIT;
	for (; start < end && !ret; start = next) {
		/* Aligned, so that no huge page is cut. */
		next = min(end, ALIGN_DOWN(start, size) + size);
		nr = (next - start) >> PAGE_SHIFT;
		ret = hmm_mirror_migrate(&dm->mirror, start, next, flags, results, &moved);
		/* No mapping; or no access, so that it was not populated. */
		if (ret == -EFAULT || (in && memchr(results, HMM_PAGE_EMPTY, nr)))
			ret = -EINVAL;
		else if (in && ret && !memchr(results, HMM_PAGE_SKIPPED, nr))
			ret = -ENOENT;
		if (!in)
			cmd->cpages += moved;
		else if (!ret)
			ret = dmirror_copy(dm, cmd, start, next, HMM_FAULT_READ);
	}
	kfree(results);
	return ret;
}

static u8 dmirror_prot(const struct dmirror *dm, const struct hmm_residency *page)
{
	u8 prot;

	if (page->flags & HMM_RESIDENCY_DENIED)
		return DMIRROR_PROT_ERROR;
	if (!(page->flags & HMM_RESIDENCY_READ))
		return DMIRROR_PROT_NONE;
	prot = page->flags & HMM_RESIDENCY_WRITE ? DMIRROR_PROT_WRITE : DMIRROR_PROT_READ;
	if (page->flags & HMM_RESIDENCY_ZERO)
		prot |= DMIRROR_PROT_ZERO;
	if (page->order >= PUD_SHIFT - PAGE_SHIFT)
		prot |= DMIRROR_PROT_PUD;
	else if (page->order >= PMD_SHIFT - PAGE_SHIFT)
		prot |= DMIRROR_PROT_PMD;
	if (page->place == HMM_PLACE_DEVICE)
		prot |= dm->dev->hmm.rmem_base ? DMIRROR_PROT_COHERENT : DMIRROR_PROT_PRIVATE;
	else if (page->place == HMM_PLACE_OTHER)
		prot |= DMIRROR_PROT_COHERENT_OTHER;
	return prot;
}

static int dmirror_snapshot(struct dmirror *dm, struct dmirror_cmd *cmd, unsigned long start)
{
	u8 __user *out = u64_to_user_ptr(cmd->ptr);
	struct hmm_residency *pages;
	unsigned long i, nr;
	int ret = 0;

	pages = kmalloc_array(DMIRROR_LOOK, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	while (cmd->cpages < cmd->npages && !ret) {
		nr = min_t(u64, DMIRROR_LOOK, cmd->npages - cmd->cpages);
		ret = hmm_mirror_residency(&dm->mirror, start + (cmd->cpages << PAGE_SHIFT),
					   pages, nr);
		for (i = 0; i < nr && !ret; i++) {
			ret = put_user(dmirror_prot(dm, &pages[i]), out++);
			cmd->cpages += !ret;
		}
	}
	kfree(pages);
	return ret;
}

/* ---- files ---- */

/* Those commands that have a range. */
static int dmirror_command(struct dmirror *dm, unsigned int op, struct dmirror_cmd *cmd)
{
	u64 start = cmd->addr, size, end;

	if (!cmd->npages || !PAGE_ALIGNED(start) ||
	    check_mul_overflow(cmd->npages, (u64)PAGE_SIZE, &size) ||
	    check_add_overflow(start, size, &end))
		return -EINVAL;
	switch (op) {
	case DMIRROR_READ:
		return dmirror_copy(dm, cmd, start, end, HMM_FAULT_READ);
	case DMIRROR_WRITE:
		return dmirror_copy(dm, cmd, start, end, HMM_FAULT_WRITE);
	case DMIRROR_MIGRATE_TO_DEV:
		return dmirror_move(dm, cmd, start, end,
				    HMM_MIGRATE_POPULATE | HMM_MIGRATE_NO_FETCH);
	case DMIRROR_MIGRATE_TO_SYS:
		return dmirror_move(dm, cmd, start, end, HMM_MIGRATE_TO_SYSTEM);
	case DMIRROR_SNAPSHOT:
		return dmirror_snapshot(dm, cmd, start);
	case DMIRROR_EXCLUSIVE:
		return dmirror_fault(dm, cmd, start, end, HMM_FAULT_ATOMIC) ?:
		       dmirror_copy(dm, cmd, start, end, HMM_FAULT_READ);
	case DMIRROR_CHECK_EXCLUSIVE:
		return dmirror_check_exclusive(dm, cmd, start, end);
	default:
		return -ENOTTY;
	}
}

static long dmirror_ioctl(struct file *file, unsigned int op, unsigned long arg)
{
	struct dmirror *dm = file->private_data;
	void __user *uarg = (void __user *)arg;
	struct dmirror_cmd cmd;
	int ret = 0;

	/* Not for who has only been given the descriptor. */
	if (current->mm != dm->mirror.mm)
		return -EPERM;
	if (copy_from_user(&cmd, uarg, sizeof(cmd)))
		return -EFAULT;
	cmd.cpages = 0;
	cmd.faults = 0;
	if (op == DMIRROR_RELEASE)
		ret = hmm_device_evacuate(&dm->dev->hmm);
	else if (op != DMIRROR_FLAGS)
		ret = dmirror_command(dm, op, &cmd);
	else if (cmd.npages & ~DMIRROR_FLAG_SPLIT)
		ret = -EINVAL;
	else
		WRITE_ONCE(dm->split, cmd.npages);
	if (copy_to_user(uarg, &cmd, sizeof(cmd)))
		return -EFAULT;
	return ret;
}

/* A mapping of pages that are there from the beginning, for a snapshot. */
static int dmirror_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long addr;
	struct page *page;
	int ret = 0;

	for (addr = vma->vm_start; addr < vma->vm_end && !ret; addr += PAGE_SIZE) {
		if (fatal_signal_pending(current))
			return -EINTR;
		page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!page)
			return -ENOMEM;
		ret = vm_insert_page(vma, addr, page);
		put_page(page);
	}
	return ret;
}

static int dmirror_open(struct inode *inode, struct file *file)
{
	struct dmirror_device *dev = container_of(file->private_data,
						  struct dmirror_device, misc);
	struct dmirror *dm;
	int ret;

	dm = kzalloc(sizeof(*dm), GFP_KERNEL_ACCOUNT);
	if (!dm)
		return -ENOMEM;
	dm->dev = dev;
	xa_init(&dm->tables);
	ret = hmm_mirror_register(&dm->mirror, &dev->hmm, current->mm);
	if (ret) {
		kfree(dm);
		return ret == -EINTR ? -ERESTARTSYS : ret;
	}
	file->private_data = dm;
	return 0;
}

static int dmirror_release(struct inode *inode, struct file *file)
{
	struct dmirror *dm = file->private_data;
	unsigned long i;
	void *table;

	hmm_mirror_unregister(&dm->mirror);
	xa_for_each(&dm->tables, i, table)
		free_page((unsigned long)table);
	xa_destroy(&dm->tables);
	kfree(dm);
	return 0;
}

static const struct file_operations dmirror_fops = {
	.owner = THIS_MODULE,
	.open = dmirror_open,
	.release = dmirror_release,
	.unlocked_ioctl = dmirror_ioctl,
	.mmap = dmirror_mmap,
	.llseek = noop_llseek,
};

/* ---- devices ---- */

static struct dmirror_device dmirror_devices[] = {
	{ .hmm.name = "hmm_dmirror0" },
	{ .hmm.name = "hmm_dmirror1" },
	{ .hmm.name = "hmm_dmirror2" },
	{ .hmm.name = "hmm_dmirror3" },
};

static int dmirror_add(struct dmirror_device *dev, u64 base)
{
	int ret;

	dev->hmm.ops = &dmirror_ops;
	dev->hmm.caps.va_bits = 57;
	dev->hmm.caps.no_atomics = true;
	/* Faults are counted: map what is asked for. */
	dev->hmm.caps.fault_around = PAGE_SIZE;
	/* Without struct pages for it only pages of files could move, and none does here. */
	if (base || IS_ENABLED(CONFIG_DEVICE_PRIVATE)) {
		dev->hmm.rmem_ops = &dmirror_rmem_ops;
		dev->hmm.rmem_base = base;
		dev->hmm.rmem_bytes = (base ? DMIRROR_COHERENT_CHUNKS : DMIRROR_CHUNKS) *
				      HMM_RMEM_CHUNK_SIZE;
	}
	ret = hmm_device_register(&dev->hmm);
	if (ret)
		return ret;
	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->hmm.name;
	dev->misc.fops = &dmirror_fops;
	ret = misc_register(&dev->misc);
	if (ret)
		hmm_device_unregister(&dev->hmm);
	return ret;
}

/* Those before @dev, as far as they are there. */
static void dmirror_remove(struct dmirror_device *dev)
{
	unsigned int i;

	while (dev-- > dmirror_devices) {
		if (!dev->misc.name)
			continue;
		misc_deregister(&dev->misc);
		hmm_device_unregister(&dev->hmm);
		for (i = 0; i < DMIRROR_CHUNKS; i++)
			vfree(dev->chunks[i]);
	}
}

static int __init dmirror_init(void)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < ARRAY_SIZE(dmirror_devices) && !ret; i++) {
		if (i < 2)
			ret = dmirror_add(&dmirror_devices[i], 0);
		else if (dmirror_coherent[i - 2])
			ret = dmirror_add(&dmirror_devices[i], dmirror_coherent[i - 2]);
	}
	if (ret)
		dmirror_remove(&dmirror_devices[i - 1]);
	return ret;
}

static void __exit dmirror_exit(void)
{
	dmirror_remove(&dmirror_devices[ARRAY_SIZE(dmirror_devices)]);
}

module_init(dmirror_init);
module_exit(dmirror_exit);
MODULE_DESCRIPTION("The ABI of the kernel's test driver for HMM, on the mirroring core");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("HMM");

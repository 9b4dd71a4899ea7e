/* SPDX-License-Identifier: GPL-2.0 */
/*
 * make_device_exclusive() is for one page, and takes any of a large folio, as it has done
 * since 6.15.  Before, only the first page of one would do, and its other pages became
 * exclusive as well: so a huge page is split first, which migrate_vma_setup() does as a
 * side effect.  A large folio that is mapped by small entries cannot be split from a module.
 */
#include_next <linux/rmap.h>

#if !defined(HMM_HAVE_MAKE_DEVICE_EXCLUSIVE) && !defined(HMM_COMPAT_RMAP_H)
#define HMM_COMPAT_RMAP_H

#include <linux/err.h>
#include <linux/huge_mm.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

/* How often a page is looked up again that somebody has had locked. */
#define HMM_COMPAT_EXCLUSIVE_TRIES	4

#if IS_ENABLED(CONFIG_DEVICE_PRIVATE)
/*
 * Bring the page in, writable.  1: it is part of a large folio, 0: it is not, or -errno.
 * Who has it locked is waited for: make_device_exclusive_range() just leaves it out then.
 * Before 6.15 even somebody who came by a stale entry of what the page was before locks it,
 * and calls notifiers meanwhile.
 */
static inline long hmm_compat_exclusive_look(struct mm_struct *mm, unsigned long addr)
{
	struct folio *folio;
	struct page *page;
	long ret;

	ret = get_user_pages_remote(mm, addr, 1, FOLL_GET | FOLL_WRITE, &page, NULL);
	if (ret != 1)
		return ret ? ret : -EFAULT;
	folio = page_folio(page);
	ret = folio_lock_killable(folio);
	if (!ret) {
		ret = folio_test_large(folio);
		folio_unlock(folio);
	}
	folio_put(folio);
	return ret;
}

static inline bool hmm_compat_exclusive_is_huge(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d = pgd_none(*pgd) ? NULL : p4d_offset(pgd, addr);
	pud_t *pud = !p4d || p4d_none(*p4d) ? NULL : pud_offset(p4d, addr);

	return pud && !pud_none(*pud) && pmd_trans_huge(pmdp_get_lockless(pmd_offset(pud, addr)));
}

static inline int hmm_compat_exclusive_split(struct mm_struct *mm, unsigned long addr,
					     void *owner)
{
	unsigned long src = 0, dst = 0;
	struct migrate_vma migrate = {
		.vma = vma_lookup(mm, addr),
		.start = addr,
		.end = addr + PAGE_SIZE,
		.src = &src,
		.dst = &dst,
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
		.pgmap_owner = owner,
	};
	long ret;

	if (!hmm_compat_exclusive_is_huge(mm, addr))
		return -EOPNOTSUPP;
	ret = migrate_vma_setup(&migrate);
	if (ret)
		return ret;
	/* With no destination: the page, of a small folio now, is put back. */
	migrate_vma_pages(&migrate);
	migrate_vma_finalize(&migrate);
	ret = hmm_compat_exclusive_look(mm, addr);
	return ret == 1 ? -EBUSY : ret;
}

static inline struct page *make_device_exclusive(struct mm_struct *mm, unsigned long addr,
						 void *owner, struct folio **foliop)
{
	struct page *page = NULL;
	unsigned int i;
	long ret;

	for (i = 0; i < HMM_COMPAT_EXCLUSIVE_TRIES; i++) {
		ret = hmm_compat_exclusive_look(mm, addr);
		if (ret == 1)
			ret = hmm_compat_exclusive_split(mm, addr, owner);
		if (ret)
			return ERR_PTR(ret);
		ret = make_device_exclusive_range(mm, addr, addr + PAGE_SIZE, &page, owner);
		if (ret < 0)
			return ERR_PTR(ret);
		if (page) {
			*foliop = page_folio(page);
			return page;
		}
	}
	return ERR_PTR(-EBUSY);
}
#else
static inline struct page *make_device_exclusive(struct mm_struct *mm, unsigned long addr,
						 void *owner, struct folio **foliop)
{
	return ERR_PTR(-EOPNOTSUPP);
}
#endif

#endif

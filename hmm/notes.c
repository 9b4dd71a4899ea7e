// SPDX-License-Identifier: GPL-2.0
/*
 * Notes: what is kept in mind about ranges of addresses.
 *
 * For each HMM_AREA_SIZE of a block, if there is something to note: the hints that the
 * program has given, and the history of the pages that have moved.  They belong to the
 * addresses, as long as something is mapped there: a VMA may be split, merged or change
 * its protection.
 *
 * The principle: an unmap drops notes without needing memory.  So a hint that goes for a
 * part of an area is the hint and a set of pages, of which any part can be taken out;
 * an array of hints is only made when two of them meet in an area.  A hint for a huge
 * range costs some 100 bytes for each 2 MiB.
 *
 * The history is made of what the core did itself and of what it saw in passing: pages
 * that go home on a CPU fault, or are evicted, send an event, and so does much else.
 * After such an event a page may have left; where it is found next decides.
 *
 * Locks: everything under the update lock of the block, in notifier callbacks too; what
 * allocates does so before it takes the lock.
 */
#include <kunit/visibility.h>
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include "hmm_private.h"
#include "notes.h"

unsigned int hmm_notes_bounces = 8;
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_bounces);
module_param_named(thrash, hmm_notes_bounces, uint, 0644);
MODULE_PARM_DESC(thrash,
		 "times in a row that a page may come to a device right after it has left one, before it is left in place for a while (default 8; 0: any number)");

unsigned int hmm_notes_lapse = 50;	/* "right after": in hmm_notes_now() */
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_lapse);
unsigned int hmm_notes_hold = 300;	/* "a while": likewise */
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_hold);

static unsigned long hmm_notes_nr_areas(const struct hmm_block *block)
{
	return (block->end - block->start) >> HMM_AREA_SHIFT;
}

static unsigned long hmm_notes_area_index(const struct hmm_block *block,
					  unsigned long addr)
{
	return (addr - block->start) >> HMM_AREA_SHIFT;
}

static struct hmm_area *hmm_notes_area(const struct hmm_block *block, unsigned long addr)
{
	lockdep_assert_held(&block->lock);
	return block->areas[hmm_notes_area_index(block, addr)];
}

static unsigned int hmm_notes_page_index(unsigned long addr)
{
	return (addr & (HMM_AREA_SIZE - 1)) >> PAGE_SHIFT;
}

/**
 * hmm_notes_now - the time, as notes have it
 *
 * Context: any.
 * Return: CLOCK_MONOTONIC in units of about a millisecond (2^20 ns), never 0.
 */
u32 hmm_notes_now(void)
{
	return max(1u, (u32)(ktime_get_ns() >> HMM_NOTES_TIME_SHIFT));
}

static void hmm_notes_area_free(struct hmm_area *area)
{
	if (!area)
		return;
	kvfree(area->pages);
	kfree(area->hints);
	kfree(area);
}

/**
 * hmm_notes_free - forget all notes of a block
 * @block: block that nobody uses any more
 *
 * Context: may sleep.
 */
void hmm_notes_free(struct hmm_block *block)
{
	unsigned long i;

	for (i = 0; i < hmm_notes_nr_areas(block); i++)
		hmm_notes_area_free(block->areas[i]);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_free);

/* Make the area of @addr.  -ENOMEM. */
static int hmm_notes_make_area(struct hmm_block *block, unsigned long addr)
{
	struct hmm_area **slot = &block->areas[hmm_notes_area_index(block, addr)];
	struct hmm_area *area;

	/* An area that is there may go, by an unmap; who needs one looks again. */
	if (READ_ONCE(*slot))
		return 0;
	area = kzalloc(sizeof(*area), GFP_KERNEL_ACCOUNT);
	if (!area)
		return -ENOMEM;
	mutex_lock(&block->lock);
	if (!*slot) {
		WRITE_ONCE(*slot, area);
		area = NULL;
	}
	mutex_unlock(&block->lock);
	kfree(area);
	return 0;
}

/**
 * hmm_notes_hint - the hint for an address
 * @block: block of the address
 * @addr: address
 *
 * Context: under the update lock.
 * Return: it; all zero: none was given.
 */
struct hmm_note_hint hmm_notes_hint(const struct hmm_block *block, unsigned long addr)
{
	const struct hmm_area *area = hmm_notes_area(block, addr);
	unsigned int i = hmm_notes_page_index(addr);

	if (!area || !test_bit(i, area->hinted))
		return (struct hmm_note_hint){};
	return area->hints ? area->hints[i] : area->hint;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_hint);

/**
 * hmm_notes_any_exclusive - is there a page with HMM_HINT_EXCLUSIVE near an address?
 * @block: block of the address
 * @addr: address
 *
 * Context: under the update lock.
 * Return: false if no page that a huge entry at @addr would cover has that hint.
 */
bool hmm_notes_any_exclusive(const struct hmm_block *block, unsigned long addr)
{
	const struct hmm_area *area = hmm_notes_area(block, addr);
	unsigned int i;

	if (!area || bitmap_empty(area->hinted, HMM_AREA_PAGES))
		return false;
	if (!area->hints)
		return area->hint.flags & HMM_HINT_EXCLUSIVE;
	for_each_set_bit(i, area->hinted, HMM_AREA_PAGES)
		if (area->hints[i].flags & HMM_HINT_EXCLUSIVE)
			return true;
	return false;
}

static bool hmm_notes_hint_is_none(const struct hmm_note_hint *hint)
{
	return !hint->flags && !hint->prefer && !hint->granularity;
}

static bool hmm_notes_hint_equal(const struct hmm_note_hint *a,
				 const struct hmm_note_hint *b)
{
	return a->device == b->device && a->flags == b->flags && a->prefer == b->prefer &&
	       a->granularity == b->granularity;
}

/*
 * Note a hint for @nr pages from @first of an area.  Where an array is needed it takes
 * that from *@spare; false if there is none.
 */
static bool hmm_notes_area_set(struct hmm_area *area, unsigned int first, unsigned int nr,
			       const struct hmm_note_hint *hint,
			       struct hmm_note_hint **spare)
{
	unsigned int last = first + nr, i;

	if (hmm_notes_hint_is_none(hint)) {
		bitmap_clear(area->hinted, first, nr);
		return true;
	}
	/* Is it the only one that is left? */
	if (find_first_bit(area->hinted, HMM_AREA_PAGES) >= first &&
	    find_next_bit(area->hinted, HMM_AREA_PAGES, last) >= HMM_AREA_PAGES) {
		kfree(area->hints);
		area->hints = NULL;
		area->hint = *hint;
	} else if (area->hints || !hmm_notes_hint_equal(&area->hint, hint)) {
		if (!area->hints) {
			if (!*spare)
				return false;
			swap(area->hints, *spare);
			for (i = 0; i < HMM_AREA_PAGES; i++)
				area->hints[i] = area->hint;
		}
		for (i = first; i < last; i++)
			area->hints[i] = *hint;
	}
	bitmap_set(area->hinted, first, nr);
	return true;
}

/**
 * hmm_notes_set_hint - note a hint
 * @block: block
 * @start: first byte
 * @end: first byte after it; both in one area
 * @hint: the hint; all zero: none
 *
 * Context: Process context, may sleep and allocate; mmap_lock is held for reading, and
 * the range is mapped: or an unmap that has run already would not drop it.
 * Return: 0 or -ENOMEM.
 */
int hmm_notes_set_hint(struct hmm_block *block, unsigned long start, unsigned long end,
		       const struct hmm_note_hint *hint)
{
	struct hmm_note_hint *spare = NULL;
	struct hmm_area *area;
	bool done = false;
	int ret;

	mmap_assert_locked(block->hmm->mm);
	while (!done) {
		if (!hmm_notes_hint_is_none(hint)) {
			ret = hmm_notes_make_area(block, start);
			if (ret)
				break;
		}
		mutex_lock(&block->lock);
		area = hmm_notes_area(block, start);
		if (area)
			done = hmm_notes_area_set(area, hmm_notes_page_index(start),
						  (end - start) >> PAGE_SHIFT, hint, &spare);
		else
			done = hmm_notes_hint_is_none(hint);
		mutex_unlock(&block->lock);
		if (done || !area)
			continue;
		spare = kmalloc_array(HMM_AREA_PAGES, sizeof(*spare), GFP_KERNEL_ACCOUNT);
		if (!spare)
			break;
	}
	kfree(spare);
	return done ? 0 : -ENOMEM;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_set_hint);

/* History of a page, NULL: none is kept. */
static struct hmm_note_page *hmm_notes_page(const struct hmm_block *block,
					    unsigned long addr)
{
	struct hmm_area *area = hmm_notes_area(block, addr);

	return area && area->pages ? &area->pages[hmm_notes_page_index(addr)] : NULL;
}

/**
 * hmm_notes_is_held - has a page moved so often that it should stay for a while?
 * @block: block of the address
 * @addr: address of the page
 *
 * Context: under the update lock.
 * Return: true if it should not follow a device's fault now.
 */
bool hmm_notes_is_held(const struct hmm_block *block, unsigned long addr)
{
	const struct hmm_note_page *page = hmm_notes_page(block, addr);
	unsigned int bounces = READ_ONCE(hmm_notes_bounces);

	return page && bounces && page->bounces >= bounces &&
	       hmm_notes_now() - page->left < hmm_notes_hold;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_is_held);

/**
 * hmm_notes_expect - pages are about to move to a device: have room for notes on them
 * @block: block
 * @start: first byte
 * @end: first byte after it
 *
 * Without memory the history has a gap, and that is all.
 *
 * Context: Process context, may sleep and allocate.
 */
void hmm_notes_expect(struct hmm_block *block, unsigned long start, unsigned long end)
{
	struct hmm_note_page *pages;
	struct hmm_area *area;
	unsigned long addr;

	for (addr = ALIGN_DOWN(start, HMM_AREA_SIZE); addr < end; addr += HMM_AREA_SIZE) {
		if (hmm_notes_make_area(block, addr))
			return;
		mutex_lock(&block->lock);
		area = hmm_notes_area(block, addr);
		pages = area ? area->pages : NULL;
		mutex_unlock(&block->lock);
		if (!area || pages)
			continue;
		pages = kvcalloc(HMM_AREA_PAGES, sizeof(*pages), GFP_KERNEL_ACCOUNT);
		if (!pages)
			return;
		mutex_lock(&block->lock);
		area = hmm_notes_area(block, addr);
		if (area && !area->pages)
			swap(area->pages, pages);
		mutex_unlock(&block->lock);
		kvfree(pages);
	}
}
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_expect);

static void hmm_notes_count_move(struct hmm_note_page *page, u32 when)
{
	page->moves += page->moves < U16_MAX;
	page->since = when;
}

static void hmm_notes_set_there(struct hmm_area *area, struct hmm_note_page *page,
				bool there)
{
	area->nr_there += there - page->there;
	page->there = there;
	page->maybe_left = false;
}

/* A page is found, or has been put, in system memory. */
static void hmm_notes_is_home(struct hmm_area *area, struct hmm_note_page *page, u32 now)
{
	if (!page->there)
		return;
	if (!page->maybe_left)
		page->left = now;
	hmm_notes_count_move(page, page->left);
	hmm_notes_set_there(area, page, false);
}

/**
 * hmm_notes_moved_in - pages were moved to a device
 * @block: block
 * @start: address of the first
 * @results: what became of each
 * @nr: number of pages
 *
 * Context: takes the update lock.
 */
void hmm_notes_moved_in(struct hmm_block *block, unsigned long start, const u8 *results,
			unsigned long nr)
{
	u32 now = hmm_notes_now();
	struct hmm_note_page *page;
	unsigned long i, addr;

	mutex_lock(&block->lock);
	for (i = 0, addr = start; i < nr; i++, addr += PAGE_SIZE) {
		page = hmm_notes_page(block, addr);
		if (!page)
			continue;
		if (results[i] == HMM_PAGE_THERE) {
			hmm_notes_set_there(hmm_notes_area(block, addr), page, true);
		} else if (results[i] == HMM_PAGE_MOVED) {
			hmm_notes_is_home(hmm_notes_area(block, addr), page, now);
			if (page->left && now - page->left < hmm_notes_lapse)
				page->bounces += page->bounces < U8_MAX;
			else
				page->bounces = 0;
			hmm_notes_count_move(page, now);
			hmm_notes_set_there(hmm_notes_area(block, addr), page, true);
		}
	}
	mutex_unlock(&block->lock);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_moved_in);

/**
 * hmm_notes_moved_out - pages were moved to system memory
 * @block: block
 * @start: address of the first
 * @results: what became of each
 * @nr: number of pages
 *
 * Context: takes the update lock.
 */
void hmm_notes_moved_out(struct hmm_block *block, unsigned long start, const u8 *results,
			 unsigned long nr)
{
	u32 now = hmm_notes_now();
	struct hmm_note_page *page;
	unsigned long i, addr;

	mutex_lock(&block->lock);
	for (i = 0, addr = start; i < nr; i++, addr += PAGE_SIZE) {
		page = hmm_notes_page(block, addr);
		if (page && results[i] == HMM_PAGE_MOVED)
			hmm_notes_is_home(hmm_notes_area(block, addr), page, now);
	}
	mutex_unlock(&block->lock);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_moved_out);

static void hmm_notes_unmap(struct hmm_area *area, unsigned int first, unsigned int nr)
{
	unsigned int i;

	bitmap_clear(area->hinted, first, nr);
	if (!area->pages)
		return;
	for (i = first; i < first + nr; i++)
		area->nr_there -= area->pages[i].there;
	memset(&area->pages[first], 0, nr * sizeof(area->pages[0]));
}

static void hmm_notes_maybe_left(struct hmm_area *area, unsigned int first, unsigned int nr)
{
	struct hmm_note_page *page;
	u32 now;

	if (!area->nr_there)
		return;
	now = hmm_notes_now();
	for (page = &area->pages[first]; page < &area->pages[first + nr]; page++) {
		if (page->there && !page->maybe_left) {
			page->maybe_left = true;
			page->left = now;
		}
	}
}

/**
 * hmm_notes_event - an invalidation has come
 * @block: block
 * @range: what the kernel says
 *
 * Context: Notifier callback, under the update lock.  Does not allocate.
 */
void hmm_notes_event(struct hmm_block *block, const struct mmu_notifier_range *range)
{
	unsigned long start = max(range->start, block->start);
	unsigned long end = min(range->end, block->end);
	unsigned long addr, next;
	struct hmm_area **slot;
	unsigned int first, nr;

	lockdep_assert_held(&block->lock);
	if (range->event != MMU_NOTIFY_UNMAP && range->event != MMU_NOTIFY_CLEAR &&
	    range->event != MMU_NOTIFY_MIGRATE)
		return;
	for (addr = start; addr < end; addr = next) {
		next = min(ALIGN_DOWN(addr, HMM_AREA_SIZE) + HMM_AREA_SIZE, end);
		slot = &block->areas[hmm_notes_area_index(block, addr)];
		if (!*slot)
			continue;
		first = hmm_notes_page_index(addr);
		nr = (next - addr) >> PAGE_SHIFT;
		if (range->event != MMU_NOTIFY_UNMAP) {
			hmm_notes_maybe_left(*slot, first, nr);
		} else if (nr == HMM_AREA_PAGES) {
			hmm_notes_area_free(*slot);
			WRITE_ONCE(*slot, NULL);
		} else {
			hmm_notes_unmap(*slot, first, nr);
		}
	}
}
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_event);

/**
 * hmm_notes_look - complete what was seen of a page by what is noted
 * @block: block of the page
 * @addr: address of the page
 * @residency: @place is where it was seen; the rest is filled in
 *
 * Context: under the update lock.
 */
void hmm_notes_look(struct hmm_block *block, unsigned long addr,
		    struct hmm_residency *residency)
{
	struct hmm_note_page *page = hmm_notes_page(block, addr);
	u64 age;

	if (!page)
		return;
	if (residency->place == HMM_PLACE_DEVICE || residency->place == HMM_PLACE_NONE)
		hmm_notes_set_there(hmm_notes_area(block, addr), page,
				    residency->place == HMM_PLACE_DEVICE);
	else
		hmm_notes_is_home(hmm_notes_area(block, addr), page, hmm_notes_now());
	residency->moves = page->moves;
	if (!page->since)
		return;
	age = (u64)(u32)(hmm_notes_now() - page->since) << HMM_NOTES_TIME_SHIFT;
	residency->since_ns = ktime_get_ns() - min(age, ktime_get_ns());
}
EXPORT_SYMBOL_IF_KUNIT(hmm_notes_look);

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A file of FILES_PAGES pages on an ext4 with nothing else on it, mapped, and pages of it on the
 * device.
 *
 * Each page has a word of its own at its begin, and one byte that is its own in all the
 * rest: what is stale, mixed up, lost or half copied shows.  files_own() has the device
 * write the words, and fails the test unless the pages are on the device then, so that no
 * test passes for want of them.  Where pages cannot be on the device the tests are skipped;
 * with HMM_TEST_IN_PLACE=1 in the environment they run all the same, to try them.
 */
#ifndef SELFTEST_FILES_CASE_H
#define SELFTEST_FILES_CASE_H

#include "files.h"

#define FILES_PAGES	32ul
#define FILES_LENGTH	(FILES_PAGES * PAGE_SIZE)

struct files_case {
	struct gpu gpu;
	struct files_fs fs;
	char path[100];
	int fd, direct;			/* direct: with O_DIRECT */
	char *mem;			/* MAP_SHARED */
	char *around;			/* address space that is kept free around it */
	bool device;			/* pages can be on the device */
	long long expire;		/* what files_case_hold() has changed, or 0 */
};

void files_case_begin(struct files_case *c, unsigned int block, const char *options);
/* The same on a block device of the test's own. */
void files_case_begin_on(struct files_case *c, const char *device, unsigned int block,
			 const char *options);
void files_case_end(struct files_case *c);
/*
 * Until the end no page is written for its age: for tests that do something to dirty pages,
 * and may take half a minute for it on a slow kernel.
 */
void files_case_hold(struct files_case *c);

/* Close and unmap the file; open and map it. */
void files_case_close(struct files_case *c);
void files_case_open(struct files_case *c);
/* Another file of the same file system instead, which is made if there is none. */
void files_case_open_other(struct files_case *c, const char *name);
/* Unmount and mount: what is read then is on the disk. */
void files_case_remount(struct files_case *c);
/*
 * What was not written to the disk until now never will be: as if power failed.  Mounted
 * again, with the journal recovered.
 */
void files_case_crash(struct files_case *c);
/* The journal works: another file of this name can be made, and synced. */
void files_expect_journal(struct files_case *c, const char *name);

/* By write(2): all bytes as files_case_begin() leaves them, the words @value + page. */
void files_fill(struct files_case *c, uint64_t value);
/* The device writes @value + page to the pages' words: they are its own then. */
void files_own(struct files_case *c, size_t first, size_t n, uint64_t value);
/* It reads them: there is a copy of each on the device. */
void files_share(struct files_case *c, size_t first, size_t n, uint64_t value);
/* Pages that the device has, writable and at all. */
size_t files_owned(struct files_case *c, size_t first, size_t n);
size_t files_there(struct files_case *c, size_t first, size_t n);
/* None, or all of them, are the device's; nothing where pages cannot be on it. */
void files_expect_owned(struct files_case *c, const char *file, int line, size_t first,
			size_t n, size_t owned);
#define EXPECT_OWNED(c, first, n, owned) \
	files_expect_owned(c, __FILE__, __LINE__, first, n, owned)

enum files_how {
	FILES_READ, FILES_DIRECT, FILES_MAP, FILES_DEVICE, FILES_SPLICE, FILES_CHILD,
	FILES_HOWS
};

/* What is in a page: the word and the byte of the rest. */
struct files_page {
	uint64_t word;
	uint8_t rest;
};

uint8_t files_rest(size_t page);
/* Read pages, in some way, and compare: words are @value + page, all else is as it was. */
bool files_expect(struct files_case *c, const char *file, int line, enum files_how how,
		  size_t first, size_t n, uint64_t value);
#define EXPECT_FILE(c, how, first, n, value) \
	files_expect(c, __FILE__, __LINE__, FILES_##how, first, n, value)
/* The same for one page that is all of one byte, the word too. */
bool files_expect_byte(struct files_case *c, const char *file, int line, size_t page,
		       uint8_t byte);
#define EXPECT_BYTE(c, page, byte) files_expect_byte(c, __FILE__, __LINE__, page, byte)

#endif /* SELFTEST_FILES_CASE_H */

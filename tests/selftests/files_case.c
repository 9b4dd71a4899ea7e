// SPDX-License-Identifier: GPL-2.0
/* A file with pages on the device: see files_case.h. */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "files_case.h"
#include "sys.h"

#define IOC_SHUTDOWN	_IOR('X', 125, uint32_t)	/* of ext4 */
#define NOLOGFLUSH	2u

#define EXPIRE	"/proc/sys/vm/dirty_expire_centisecs"

#define OWNED	(DGPU_PTE_VALID | DGPU_PTE_LOCAL | DGPU_PTE_WRITE)
#define THERE	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)

#define FILES_AROUND	(4 * HUGE_SIZE)

static char page_buffer[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

uint8_t files_rest(size_t page)
{
	return (uint8_t)(0x40 + page % 0x3f);
}

void files_case_open(struct files_case *c)
{
	c->fd = ASSERT_SYS(open(c->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	c->direct = ASSERT_SYS(open(c->path, O_RDWR | O_DIRECT | O_CLOEXEC));
	/*
	 * Nothing is near it: what is around a page that the device wants comes along, and
	 * private memory that is on a device is lost with it.
	 */
	c->around = ASSERT_SYS(mmap(NULL, FILES_AROUND, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
				    -1, 0));
	c->mem = ASSERT_SYS(mmap((void *)(((uintptr_t)c->around + FILES_AROUND / 2) &
					  ~(HUGE_SIZE - 1)), FILES_LENGTH,
				 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, c->fd, 0));
}

void files_case_close(struct files_case *c)
{
	if (c->around)
		munmap(c->around, FILES_AROUND);
	if (c->fd > 0)
		close(c->fd);
	if (c->direct > 0)
		close(c->direct);
	c->mem = c->around = NULL;
	c->fd = c->direct = -1;
}

static void files_case_fill(struct files_case *c)
{
	const char *in_place = getenv("HMM_TEST_IN_PLACE");

	if (!in_place || !*in_place)
		files_need_taught(&c->fs, &c->gpu);
	c->device = c->fs.taught;
	ASSERT_EQ(0, dgpu_set_policy(c->gpu.dev, HMM_POLICY_TOUCH));
	snprintf(c->path, sizeof(c->path), "%s/file", c->fs.dir);
	files_case_open(c);
	for (size_t i = 0; i < FILES_PAGES; i++) {
		memset(page_buffer, files_rest(i), PAGE_SIZE);
		ASSERT_EQ(PAGE_SIZE, pwrite(c->fd, page_buffer, PAGE_SIZE,
					    (off_t)(i * PAGE_SIZE)));
	}
	ASSERT_SYS(fsync(c->fd));
}

void files_case_begin(struct files_case *c, unsigned int block, const char *options)
{
	c->fd = c->direct = -1;
	gpu_setup(&c->gpu);
	files_mount(&c->fs, block, options);
	files_case_fill(c);
}

void files_case_begin_on(struct files_case *c, const char *device, unsigned int block,
			 const char *options)
{
	c->fd = c->direct = -1;
	gpu_setup(&c->gpu);
	files_mount_on(&c->fs, device, block, options);
	files_case_fill(c);
}

static void files_case_expire(long long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", value);
	sys_write(EXPIRE, text);
}

void files_case_hold(struct files_case *c)
{
	/* A test that was killed has not put it back: no more than what kernels begin with. */
	c->expire = sys_number(EXPIRE);
	if (c->expire > 3000)
		c->expire = 3000;
	files_case_expire(360000);
}

void files_case_end(struct files_case *c)
{
	if (c->expire > 0)
		files_case_expire(c->expire);
	c->expire = 0;
	files_case_close(c);
	gpu_teardown(&c->gpu);
	files_end(&c->fs);
}

void files_case_remount(struct files_case *c)
{
	files_case_close(c);
	files_remount(&c->fs);
	files_case_open(c);
}

void files_case_crash(struct files_case *c)
{
	const uint32_t flags = NOLOGFLUSH;

	ASSERT_SYS(ioctl(c->fd, IOC_SHUTDOWN, &flags));
	files_case_remount(c);
}

/* ---- where the pages are ---- */

size_t files_owned(struct files_case *c, size_t first, size_t n)
{
	return gpu_ptes(&c->gpu, c->mem + first * PAGE_SIZE, n, OWNED);
}

size_t files_there(struct files_case *c, size_t first, size_t n)
{
	return gpu_ptes(&c->gpu, c->mem + first * PAGE_SIZE, n, THERE);
}

void files_expect_owned(struct files_case *c, const char *file, int line, size_t first,
			size_t n, size_t owned)
{
	const size_t nr = files_owned(c, first, n);

	if (!c->device || nr == owned)
		return;
	test_log("%s:%d: %zu of %zu pages are the device's, expected %zu", file, line, nr, n,
		 owned);
	harness_fail();
}

/*
 * A page that was in use for a moment is used in place by the device, and stays so: fetch it
 * back and try again, for a bounded time.
 */
static void files_bring(struct files_case *c, size_t first, size_t n, bool write,
			uint64_t value)
{
	char *start = c->mem + first * PAGE_SIZE;
	struct gpu_moved moved;
	size_t there = 0;

	for (int tries = 0; tries < 40; tries++) {
		ASSERT_EQ(0, write ? gpu_fill(&c->gpu, start, n, value + first) :
				     gpu_check(&c->gpu, start, n, value + first));
		there = write ? files_owned(c, first, n) : files_there(c, first, n);
		if (!c->device || there == n)
			return;
		dgpu_migrate(c->gpu.dev, start, n * PAGE_SIZE, DGPU_MIGRATE_TO_SYSTEM, NULL, NULL);
		/*
		 * What the CPU has fetched stays with it for a moment, and what has come and gone
		 * too often (that is what we do here) for a while: see "thrash" of hmm_core.
		 */
		sys_sleep_ms(tries < 3 ? 30 : 400);
		gpu_migrate(&c->gpu, start, n, 0, &moved);
	}
	gpu_moved_log(&moved);
	FAIL("%zu of %zu pages are on the device%s: nothing can be tested", there, n,
	     write ? ", writable" : "");
	harness_end();
}

void files_case_open_other(struct files_case *c, const char *name)
{
	files_case_close(c);
	snprintf(c->path, sizeof(c->path), "%s/%s", c->fs.dir, name);
	files_case_open(c);
}

void files_fill(struct files_case *c, uint64_t value)
{
	for (size_t i = 0; i < FILES_PAGES; i++) {
		const uint64_t first = value + i;

		memset(page_buffer, files_rest(i), PAGE_SIZE);
		memcpy(page_buffer, &first, sizeof(first));
		ASSERT_EQ(PAGE_SIZE, pwrite(c->fd, page_buffer, PAGE_SIZE,
					    (off_t)(i * PAGE_SIZE)));
	}
}

void files_expect_journal(struct files_case *c, const char *name)
{
	char path[120];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", c->fs.dir, name);
	fd = ASSERT_SYS(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	ASSERT_EQ(5, write(fd, "hello", 5));
	EXPECT_SYS(fsync(fd));
	close(fd);
}

void files_own(struct files_case *c, size_t first, size_t n, uint64_t value)
{
	files_bring(c, first, n, true, value);
}

void files_share(struct files_case *c, size_t first, size_t n, uint64_t value)
{
	files_bring(c, first, n, false, value);
}

/* ---- what is in the file ---- */

/* The device copies 8 bytes at a time, by a job for each: only the words and some bytes. */
static bool files_read_device(struct files_case *c, size_t page, char *buffer)
{
	static const size_t places[] = { 0, 8, 1016, 1024, 2048, 3072, 4088 };
	uint64_t word;

	memset(buffer, files_rest(page), PAGE_SIZE);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (gpu_read(&c->gpu, c->mem + page * PAGE_SIZE + places[i], &word))
			return false;
		memcpy(buffer + places[i], &word, sizeof(word));
	}
	return true;
}

static bool files_read_splice(struct files_case *c, size_t page, char *buffer)
{
	loff_t at = (loff_t)(page * PAGE_SIZE);
	int fds[2];
	bool ok;

	ASSERT_SYS(pipe2(fds, O_CLOEXEC));
	ok = splice(c->fd, &at, fds[1], NULL, PAGE_SIZE, 0) == PAGE_SIZE &&
	     read(fds[0], buffer, PAGE_SIZE) == PAGE_SIZE;
	close(fds[0]);
	close(fds[1]);
	return ok;
}

static bool files_read_page(struct files_case *c, enum files_how how, size_t page, char *buffer)
{
	const off_t at = (off_t)(page * PAGE_SIZE);

	switch (how) {
	case FILES_READ:
		return pread(c->fd, buffer, PAGE_SIZE, at) == PAGE_SIZE;
	case FILES_DIRECT:
		return pread(c->direct, buffer, PAGE_SIZE, at) == PAGE_SIZE;
	case FILES_DEVICE:
		return files_read_device(c, page, buffer);
	case FILES_SPLICE:
		return files_read_splice(c, page, buffer);
	default:
		memcpy(buffer, c->mem + at, PAGE_SIZE);
		return true;
	}
}

static bool files_compare_page(const char *file, int line, enum files_how how, size_t page,
			       const char *buffer, uint64_t word, uint8_t rest)
{
	static const char *const names[FILES_HOWS] = {
		"read", "O_DIRECT", "mapping", "device", "splice", "child",
	};
	uint64_t seen;

	memcpy(&seen, buffer, sizeof(seen));
	if (seen != word) {
		test_log("%s:%d: page %zu by %s: %#jx, expected %#jx", file, line, page,
			 names[how], (uintmax_t)seen, (uintmax_t)word);
		harness_fail();
		return false;
	}
	for (size_t i = sizeof(seen); i < PAGE_SIZE; i++) {
		if ((uint8_t)buffer[i] == rest)
			continue;
		test_log("%s:%d: page %zu byte %zu by %s: %#04x, expected %#04x", file, line, page,
			 i, names[how], (uint8_t)buffer[i], rest);
		harness_fail();
		return false;
	}
	return true;
}

static bool files_expect_here(struct files_case *c, const char *file, int line,
			      enum files_how how, size_t first, size_t n, uint64_t value)
{
	for (size_t page = first; page < first + n; page++) {
		if (!files_read_page(c, how, page, page_buffer)) {
			test_log("%s:%d: page %zu cannot be read: %s", file, line, page,
				 strerror(errno));
			harness_fail();
			return false;
		}
		if (!files_compare_page(file, line, how, page, page_buffer, value + page,
					files_rest(page)))
			return false;
	}
	return true;
}

bool files_expect(struct files_case *c, const char *file, int line, enum files_how how,
		  size_t first, size_t n, uint64_t value)
{
	int status;
	pid_t pid;

	if (how != FILES_CHILD)
		return files_expect_here(c, file, line, how, first, n, value);
	pid = ASSERT_SYS(fork());
	if (!pid)
		_exit(files_expect_here(c, file, line, how, first, n, value) ? 0 : 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	return EXPECT_EQ(0, status);
}

bool files_expect_byte(struct files_case *c, const char *file, int line, size_t page,
		       uint8_t byte)
{
	uint64_t word;

	memset(&word, byte, sizeof(word));
	return files_read_page(c, FILES_READ, page, page_buffer) &&
	       files_compare_page(file, line, FILES_READ, page, page_buffer, word, byte) &&
	       files_read_page(c, FILES_MAP, page, page_buffer) &&
	       files_compare_page(file, line, FILES_MAP, page, page_buffer, word, byte) &&
	       EXPECT_EQ(word, gpu_see(&c->gpu, c->mem + page * PAGE_SIZE));
}

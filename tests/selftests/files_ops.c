// SPDX-License-Identifier: GPL-2.0
/*
 * The operations of files_run(): each chooses its bytes, does its work, and tells the model
 * or asks it.
 *
 * One principle: what an operation does depends on the random numbers and the model only.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include "files_run.h"

#define SECTOR		512u		/* what O_DIRECT is aligned to */
#define MOST		(64u << 10)	/* bytes of an operation */
#define MOST_DEVICE	(16u << 10)	/* ... by the device, which is slow */
#define MOST_PIPE	(32u << 10)

#ifndef RWF_NOWAIT
#define RWF_NOWAIT	0x8
#endif
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE	0x80
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

/* ---- choosing ---- */

/* From 1 to @most; short ones are as likely as long ones. */
static uint32_t some_length(struct files_run *run, uint32_t most)
{
	uint32_t bits = 1, length;

	while (bits < 31 && most >> bits)
		bits++;
	bits = 1 + files_below(run, bits);
	length = 1 + files_below(run, 1u << bits);
	return length < most ? length : most;
}

/* Somewhere in [0, @below]; often at a page, or near @edge. */
static uint32_t some_place(struct files_run *run, uint32_t below, uint32_t edge)
{
	uint32_t at = files_below(run, below + 1);

	switch (files_below(run, 4)) {
	case 0:
		at &= ~(uint32_t)(PAGE_SIZE - 1);
		break;
	case 1:
		at = edge > 2048 ? edge - 2048 + files_below(run, 4096) : edge;
		break;
	}
	return at < below ? at : below;
}

/* Bytes that the file has: there is at least one. */
static void some_bytes(struct files_run *run, uint32_t most, uint32_t *from, uint32_t *length)
{
	const uint32_t size = run->model.size;

	*length = some_length(run, most < size ? most : size);
	*from = some_place(run, size - *length, size - *length);
}

/* Bytes that the file could have. */
static void any_bytes(struct files_run *run, uint32_t most, uint32_t *from, uint32_t *length)
{
	*length = some_length(run, most < run->config.max ? most : run->config.max);
	*from = some_place(run, run->config.max - *length, run->model.size);
}

static const struct files_model_op *begin(struct files_run *run, const char *name,
					  uint32_t from, uint32_t length)
{
	return files_model_next(&run->model, name, from, length);
}

/* The same for an operation that writes: its bytes are in run->want. */
static const struct files_model_op *begin_write(struct files_run *run, const char *name,
						uint32_t from, uint32_t length)
{
	struct files_model_op *op = files_model_next(&run->model, name, from, length);

	op->writes = true;
	files_model_pattern(&run->model, op->number, from, length, run->want);
	return op;
}

static bool failed(struct files_run *run, const char *what)
{
	return files_fail(run, "%s: %s", what, strerror(errno));
}

static bool shorter(struct files_run *run, const char *what, ssize_t got, size_t wanted)
{
	if (got < 0)
		return failed(run, what);
	return files_fail(run, "%s: %zd of %zu bytes", what, got, wanted);
}

/* Write to the rest of the last page, as a process may: it must never be seen again. */
static bool pollute(struct files_run *run)
{
	const uint32_t size = run->model.size;
	const uint32_t rest = -size & (uint32_t)(PAGE_SIZE - 1);

	if (!run->config.pollute || !rest || !files_one_in(run, 2))
		return true;
	if (files_one_in(run, 2)) {
		memset(run->mem + size, 0xee, rest);
		return true;
	}
	memset(run->want, 0xed, rest);
	return files_device_copy(run, run->mem + size, run->want, rest, false);
}

/* ---- system calls ---- */

static bool do_read(struct files_run *run)
{
	static const int flags[] = { 0, 0, 0, RWF_NOWAIT, RWF_DONTCACHE };
	uint32_t from, length;
	struct iovec iov;
	ssize_t got;
	int flag;

	any_bytes(run, MOST, &from, &length);
	flag = flags[files_below(run, 5)];
	begin(run, flag == RWF_NOWAIT ? "read-nowait" : "read", from, length);
	iov = (struct iovec) { run->got, length };
	got = preadv2(run->fd, &iov, 1, from, flag);
	if (got < 0 && flag && (errno == EAGAIN || errno == EOPNOTSUPP))
		return true;
	if (from >= run->model.size)
		length = 0;
	else if (length > run->model.size - from)
		length = run->model.size - from;
	if (got < 0 || got > (ssize_t)length || (!flag && got < (ssize_t)length))
		return shorter(run, "preadv2", got, length);
	return files_compare(run, from, (uint32_t)got);
}

static bool do_write(struct files_run *run)
{
	const struct files_model_op *op;
	uint32_t from, length, part;
	struct iovec iov[2];
	ssize_t got;
	int flag;

	any_bytes(run, MOST, &from, &length);
	flag = files_one_in(run, 8) ? RWF_DONTCACHE : 0;
	part = files_below(run, length + 1);
	if (from + length > run->model.size && !pollute(run))
		return false;
	op = begin_write(run, "write", from, length);
	iov[0] = (struct iovec) { run->want, part };
	iov[1] = (struct iovec) { run->want + part, length - part };
	got = pwritev2(run->fd, iov, 2, from, flag);
	if (got < 0 && flag && errno == EOPNOTSUPP)
		got = pwritev2(run->fd, iov, 2, from, 0);
	if (got != (ssize_t)length)
		return shorter(run, "pwritev2", got, length);
	files_wrote(run, op);
	return true;
}

/* Both sides are the same file: the page that is read may be the one that is written to. */
static bool do_write_own(struct files_run *run)
{
	const uint32_t size = run->model.size, half = size / 2;
	const uint32_t length = some_length(run, half < MOST ? half : MOST);
	const uint32_t first = files_below(run, size - 2 * length + 1);
	const bool up = files_one_in(run, 2);
	const uint32_t from = up ? first : first + length, to = up ? first + length : first;
	struct files_model_op *op;
	ssize_t got;

	op = files_model_next(&run->model, "write-own", to, length);
	op->source = from;
	memcpy(run->want, run->model.data + from, length);
	if (files_one_in(run, 2))
		got = pwrite(run->fd, run->mem + from, length, to);
	else
		got = pread(run->fd, run->mem + to, length, from);
	if (got != (ssize_t)length)
		return shorter(run, "pwrite or pread of its own mapping", got, length);
	files_wrote(run, op);
	return true;
}

static bool do_direct_read(struct files_run *run)
{
	const uint32_t align = files_one_in(run, 3) ? SECTOR : (uint32_t)PAGE_SIZE;
	uint32_t from, length;
	ssize_t got;

	any_bytes(run, MOST, &from, &length);
	from &= ~(align - 1);
	length = (length + align - 1) & ~(align - 1);
	if (length > run->config.max - from)
		length = run->config.max - from;
	begin(run, "dread", from, length);
	got = pread(run->direct, run->got, length, from);
	if (from >= run->model.size)
		length = 0;
	else if (length > run->model.size - from)
		length = run->model.size - from;
	if (got != (ssize_t)length)
		return shorter(run, "direct read", got, length);
	return files_compare(run, from, length);
}

static bool do_direct_write(struct files_run *run)
{
	const uint32_t align = files_one_in(run, 3) ? SECTOR : (uint32_t)PAGE_SIZE;
	const struct files_model_op *op;
	uint32_t from, length;
	ssize_t got;

	any_bytes(run, MOST, &from, &length);
	from &= ~(align - 1);
	length = (length + align - 1) & ~(align - 1);
	if (from == run->config.max)
		from -= align;
	if (length > run->config.max - from)
		length = run->config.max - from;
	/*
	 * Where direct I/O makes the file longer, ext4 leaves the page that was the last one as
	 * it is in memory: the rest of it, so not after pollute(), though that was for an
	 * operation before, and some of it is left (6.12); and writable, see
	 * files_probe_longer(). Writeback does what is missing.
	 */
	if (from + length > run->model.size &&
	    (run->config.pollute || (run->longer_loses && run->model.size % PAGE_SIZE)) &&
	    fsync(run->fd))
		return failed(run, "fsync");
	op = begin_write(run, "dwrite", from, length);
	got = pwrite(run->direct, run->want, length, from);
	if (got != (ssize_t)length)
		return shorter(run, "direct write", got, length);
	files_wrote(run, op);
	return true;
}

/* Direct I/O to and from the file's own mapping: its pages are pinned. */
static bool do_direct_own(struct files_run *run)
{
	const uint32_t pages = run->model.size / (uint32_t)PAGE_SIZE;
	const uint32_t from = files_below(run, pages), to = files_below(run, pages);
	struct files_model_op *op;
	ssize_t got;

	op = files_model_next(&run->model, "direct-own", to * (uint32_t)PAGE_SIZE,
			      from == to ? 0 : PAGE_SIZE);
	op->source = from * (uint32_t)PAGE_SIZE;
	if (from == to)
		return true;
	memcpy(run->want, run->model.data + op->source, PAGE_SIZE);
	if (files_one_in(run, 2))
		got = pwrite(run->direct, run->mem + op->source, PAGE_SIZE, op->from);
	else
		got = pread(run->direct, run->mem + op->from, PAGE_SIZE, op->source);
	if (got != PAGE_SIZE)
		return shorter(run, "direct I/O of its own mapping", got, PAGE_SIZE);
	files_wrote(run, op);
	return true;
}

static bool do_truncate(struct files_run *run)
{
	uint32_t old = run->model.size, size;
	struct files_model_op *op;

	size = some_place(run, run->config.max, old);
	if (files_one_in(run, 20))
		size = 0;
	if (size > old && !pollute(run))
		return false;
	op = files_model_next(&run->model, size < old ? "truncate-down" : "truncate-up",
			      size < old ? size : old, size < old ? old - size : size - old);
	op->moves = size < old;
	if (ftruncate(run->fd, size))
		return failed(run, "ftruncate");
	files_model_truncate(&run->model, size);
	return true;
}

static bool allocate(struct files_run *run, int mode, const struct files_model_op *op)
{
	if (fallocate(run->fd, mode, op->from, op->length))
		return failed(run, "fallocate");
	return true;
}

/* Of [from, from + length) what the file has is zero now. */
static void zeroed(struct files_run *run, uint32_t from, uint32_t length)
{
	const uint32_t size = run->model.size;

	if (from < size)
		files_model_zero(&run->model, from,
				 length < size - from ? length : size - from);
}

/*
 * What was written behind the end is gone when the page has been written to disk, from all
 * copies of it; so it is not there when the file grows.
 */
static bool do_pollute(struct files_run *run)
{
	const uint32_t old = run->model.size, rest = -old & (uint32_t)(PAGE_SIZE - 1);
	uint32_t size = old + 1 + files_below(run, rest + 4096);

	if (size > run->config.max)
		size = run->config.max;
	begin(run, "pollute", old, size - old);
	if (!run->config.pollute || !rest)
		return true;
	if (!pollute(run) ||
	    (files_one_in(run, 2) &&
	     !files_device_copy(run, run->got, run->mem + old - 1, 1, true)))
		return false;
	if (fsync(run->fd))
		return failed(run, "fsync");
	if (ftruncate(run->fd, size))
		return failed(run, "ftruncate");
	files_model_truncate(&run->model, size);
	if (files_one_in(run, 2))
		return true;
	return files_device_copy(run, run->got, run->mem + old, size - old, false) &&
	       files_compare(run, old, size - old);
}

/* Whole blocks, and the file ends within one of them. */
static bool whole_over_end(const struct files_run *run, uint32_t from, uint32_t length)
{
	const uint32_t block = run->fs->block, size = run->model.size;

	return !((from | length) % block) && size % block && from < size && from + length > size;
}

/* With @mode 0 blocks are reserved, with FALLOC_FL_ZERO_RANGE they are zero as well. */
static bool allocate_some(struct files_run *run, int mode, const char *name, const char *kept)
{
	const struct files_model_op *op;
	bool keep = files_one_in(run, 2);
	uint32_t from, length;

	any_bytes(run, MOST, &from, &length);
	if (mode && run->zero_stale && whole_over_end(run, from, length))
		keep = true;
	if (!keep && from + length > run->model.size && !pollute(run))
		return false;
	op = begin(run, keep ? kept : name, from, length);
	if (!allocate(run, mode | (keep ? FALLOC_FL_KEEP_SIZE : 0), op))
		return false;
	if (mode)
		zeroed(run, from, length);
	if (!keep && from + length > run->model.size)
		files_model_truncate(&run->model, from + length);
	return true;
}

static bool do_allocate(struct files_run *run)
{
	return allocate_some(run, 0, "allocate", "allocate-keep");
}

static bool do_zero(struct files_run *run)
{
	return allocate_some(run, FALLOC_FL_ZERO_RANGE, "zero", "zero-keep");
}

static bool do_punch(struct files_run *run)
{
	const struct files_model_op *op;
	uint32_t from, length;

	any_bytes(run, MOST, &from, &length);
	op = begin(run, "punch", from, length);
	if (!allocate(run, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, op))
		return false;
	zeroed(run, from, length);
	return true;
}

/* Whole blocks; not up to the end of the file. */
static bool do_collapse(struct files_run *run)
{
	const uint32_t block = run->fs->block, blocks = run->model.size / block;
	struct files_model_op *op;
	uint32_t n, first;

	n = some_length(run, MOST) / block + 1;
	if (n + 1 >= blocks)
		n = 1;
	first = files_below(run, blocks - n);
	if ((first + n) * block >= run->model.size || !pollute(run))
		return !run->failed;
	op = files_model_next(&run->model, "collapse", first * block, n * block);
	op->moves = true;
	if (!allocate(run, FALLOC_FL_COLLAPSE_RANGE, op))
		return false;
	files_model_collapse(&run->model, op->from, op->length);
	return true;
}

static bool do_insert(struct files_run *run)
{
	const uint32_t block = run->fs->block;
	const uint32_t room = (run->config.max - run->model.size) / block;
	struct files_model_op *op;
	uint32_t n, first;

	n = some_length(run, MOST) / block + 1;
	first = files_below(run, (run->model.size + block - 1) / block);
	if (!room || first * block >= run->model.size || !pollute(run))
		return !run->failed;
	op = files_model_next(&run->model, "insert", first * block,
			      (n < room ? n : room) * block);
	op->moves = true;
	if (!allocate(run, FALLOC_FL_INSERT_RANGE, op))
		return false;
	files_model_insert(&run->model, op->from, op->length);
	return true;
}

static bool do_copy_range(struct files_run *run)
{
	const uint32_t size = run->model.size, max = run->config.max;
	const uint32_t length = some_length(run, size < MOST ? size : MOST);
	const uint32_t from = files_below(run, size - length + 1);
	struct files_model_op *op;
	uint32_t to, done = 0;

	to = some_place(run, max - length, size);
	if (to < from + length && from < to + length)
		return true;		/* the kernel does not do that */
	if (to + length > size && !pollute(run))
		return false;
	op = files_model_next(&run->model, "copy-range", to, length);
	op->source = from;
	memcpy(run->want, run->model.data + from, length);
	while (done < length) {
		off_t in = from + done, out = to + done;
		const ssize_t got = copy_file_range(run->fd, &in, run->fd, &out, length - done, 0);

		if (got <= 0)
			return shorter(run, "copy_file_range", got, length - done);
		done += (uint32_t)got;
	}
	files_wrote(run, op);
	return true;
}

static bool drain(struct files_run *run, uint32_t length)
{
	uint32_t done = 0;

	while (done < length) {
		const ssize_t got = read(run->pipe[0], run->got + done, length - done);

		if (got <= 0)
			return shorter(run, "read of a pipe", got, length - done);
		done += (uint32_t)got;
	}
	return true;
}

/* Out of the file: splice(), sendfile(), vmsplice() of the mapping. */
static bool do_splice_out(struct files_run *run)
{
	const unsigned int how = files_below(run, 3);
	static const char *const names[] = { "splice-out", "sendfile", "vmsplice" };
	uint32_t from, length, done = 0;

	some_bytes(run, MOST_PIPE, &from, &length);
	begin(run, names[how], from, length);
	while (done < length) {
		loff_t at = from + done;
		off_t sent = at;
		const struct iovec iov = { run->mem + at, length - done };
		ssize_t got;

		if (how == 0)
			got = splice(run->fd, &at, run->pipe[1], NULL, length - done, 0);
		else if (how == 1)
			got = sendfile(run->pipe[1], run->fd, &sent, length - done);
		else
			got = vmsplice(run->pipe[1], &iov, 1, 0);
		if (got <= 0)
			return shorter(run, names[how], got, length - done);
		done += (uint32_t)got;
	}
	return drain(run, length) && files_compare(run, from, length);
}

static bool do_splice_in(struct files_run *run)
{
	const struct files_model_op *op;
	uint32_t from, length, done = 0;
	ssize_t got;

	any_bytes(run, MOST_PIPE, &from, &length);
	if (from + length > run->model.size && !pollute(run))
		return false;
	op = begin_write(run, "splice-in", from, length);
	got = write(run->pipe[1], run->want, length);
	if (got != (ssize_t)length)
		return shorter(run, "write to a pipe", got, length);
	while (done < length) {
		loff_t at = from + done;

		got = splice(run->pipe[0], NULL, run->fd, &at, length - done, 0);
		if (got <= 0)
			return shorter(run, "splice", got, length - done);
		done += (uint32_t)got;
	}
	files_wrote(run, op);
	return true;
}

/* Nothing that the file contains is in what is said to be a hole. */
static bool do_seek(struct files_run *run)
{
	const off_t size = run->model.size;
	off_t hole, data = 0;

	begin(run, "seek", 0, 0);
	while (data < size) {
		hole = lseek(run->fd, data, SEEK_HOLE);
		if (hole < 0)
			return failed(run, "SEEK_HOLE");
		data = hole < size ? lseek(run->fd, hole, SEEK_DATA) : size;
		if (data < 0 && errno == ENXIO)
			data = size;
		if (data < 0)
			return failed(run, "SEEK_DATA");
		for (off_t at = hole; at < data && at < size; at++)
			if (run->model.data[at])
				return files_fail(run, "byte %#jx is in a hole, %#jx - %#jx",
						  (intmax_t)at, (intmax_t)hole, (intmax_t)data);
	}
	return true;
}

static bool do_sync(struct files_run *run)
{
	static const char *const names[] = {
		"fsync", "fdatasync", "msync", "msync-async", "sync-range", "syncfs",
	};
	const unsigned int how = files_below(run, 6);
	const uint32_t page = (uint32_t)PAGE_SIZE;
	const uint32_t from = files_below(run, run->config.max / page) * page;
	const uint32_t length = some_length(run, run->config.max - from);
	int ret = 0;

	begin(run, names[how], from, how > 1 && how < 5 ? length : 0);
	switch (how) {
	case 0:
		ret = fsync(run->fd);
		break;
	case 1:
		ret = fdatasync(run->fd);
		break;
	case 2:
		ret = msync(run->mem + from, length, MS_SYNC | MS_INVALIDATE);
		break;
	case 3:
		ret = msync(run->mem + from, length, MS_ASYNC);
		break;
	case 4:
		ret = sync_file_range(run->fd, from, length, SYNC_FILE_RANGE_WAIT_BEFORE |
				      SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
		break;
	case 5:
		ret = syncfs(run->fd);
		break;
	}
	return !ret || failed(run, names[how]);
}

/* The page cache forgets what it can. */
static bool do_forget(struct files_run *run)
{
	static const char *const names[] = { "fadvise", "drop-caches", "readahead" };
	const unsigned int how = files_below(run, 3);
	const uint32_t page = (uint32_t)PAGE_SIZE;
	const uint32_t from = files_below(run, run->config.max / page) * page;
	const uint32_t length = some_length(run, run->config.max - from);

	begin(run, names[how], from, how == 1 ? 0 : length);
	if (how == 0)
		posix_fadvise(run->fd, from, length, POSIX_FADV_DONTNEED);
	else if (how == 1)
		sys_try_write("/proc/sys/vm/drop_caches", "1");
	else
		readahead(run->fd, from, length);
	return true;
}

/* ---- the CPU, through mappings ---- */

static bool do_map_read(struct files_run *run)
{
	const uint32_t size = run->model.size;
	uint32_t from, length, rest;

	some_bytes(run, MOST, &from, &length);
	begin(run, "map-read", from, length);
	memcpy(run->got, run->mem + from, length);
	if (!files_compare(run, from, length))
		return false;
	/* The rest of the last page is zero, unless somebody has just written to it. */
	rest = -size & (uint32_t)(PAGE_SIZE - 1);
	if (run->config.pollute || from + length != size || !rest || rest > run->config.max - size)
		return true;
	memcpy(run->got, run->mem + size, rest);
	return files_compare(run, size, rest);
}

static bool do_map_write(struct files_run *run)
{
	const struct files_model_op *op;
	uint32_t from, length;

	some_bytes(run, MOST, &from, &length);
	op = begin_write(run, "map-write", from, length);
	memcpy(run->mem + from, run->want, length);
	files_wrote(run, op);
	return true;
}

/* A private mapping: reads see the file, writes stay where they are. */
static bool do_private(struct files_run *run)
{
	uint32_t from, length;
	uint8_t *mem;

	some_bytes(run, MOST, &from, &length);
	begin(run, "private", from, length);
	mem = mmap(NULL, run->config.max, PROT_READ | PROT_WRITE, MAP_PRIVATE, run->fd, 0);
	if (mem == MAP_FAILED)
		return failed(run, "mmap");
	if (files_one_in(run, 2)) {
		if (!files_device_copy(run, run->got, mem + from,
				       length < MOST_DEVICE ? length : MOST_DEVICE, false))
			return false;
		if (length > MOST_DEVICE)
			length = MOST_DEVICE;
		mem[from] ^= 0xff;
		if (mem[from] == run->got[0])
			return files_fail(run, "a write to a private mapping is lost");
	} else {
		memcpy(run->got, mem + from, length);
		memset(mem + from, 0xdd, length);
	}
	munmap(mem, run->config.max);
	return files_compare(run, from, length);
}

/* process_vm_writev(): the kernel writes to the mapping, through references to its pages. */
static bool do_remote(struct files_run *run)
{
	const bool write = files_one_in(run, 2);
	const struct files_model_op *op;
	struct iovec here, there;
	uint32_t from, length;
	ssize_t got;

	some_bytes(run, MOST, &from, &length);
	op = write ? begin_write(run, "remote-write", from, length) :
		     begin(run, "remote-read", from, length);
	here = (struct iovec) { write ? run->want : run->got, length };
	there = (struct iovec) { run->mem + from, length };
	got = write ? process_vm_writev(getpid(), &here, 1, &there, 1, 0) :
		      process_vm_readv(getpid(), &here, 1, &there, 1, 0);
	if (got != (ssize_t)length)
		return shorter(run, "process_vm_*", got, length);
	if (!write)
		return files_compare(run, from, length);
	files_wrote(run, op);
	return true;
}

/* Another process, with a mapping of its own. */
static bool do_child(struct files_run *run)
{
	const struct files_model_op *op;
	uint32_t from, length;
	int status;
	pid_t pid;

	some_bytes(run, MOST, &from, &length);
	op = begin_write(run, "child-write", from, length);
	pid = fork();
	if (pid < 0)
		return failed(run, "fork");
	if (!pid) {
		if (memcmp(run->mem + from, run->model.data + from, length))
			_exit(2);
		memcpy(run->mem + from, run->want, length);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return files_fail(run, "the child: status %#x", status);
	if (WEXITSTATUS(status)) {
		memcpy(run->got, run->mem + from, length);
		return files_compare(run, from, length) &&
		       files_fail(run, "a child has read what is wrong, now it is right");
	}
	files_wrote(run, op);
	return true;
}

static bool do_advise(struct files_run *run)
{
	static const struct {
		int advice;
		const char *name;
	} advices[] = {
		{ MADV_DONTNEED, "madv-dontneed" }, { MADV_PAGEOUT, "madv-pageout" },
		{ MADV_COLD, "madv-cold" }, { MADV_WILLNEED, "madv-willneed" },
		{ MADV_POPULATE_READ, "madv-read" }, { MADV_POPULATE_WRITE, "madv-write" },
		{ MADV_DONTNEED, "madv-dontneed" }, { MADV_PAGEOUT, "madv-pageout" },
	};
	const unsigned int i = files_below(run, 8);
	const uint32_t page = (uint32_t)PAGE_SIZE;
	const uint32_t from = files_below(run, run->config.max / page) * page;
	const uint32_t length = some_length(run, run->config.max - from);

	begin(run, advices[i].name, from, length);
	madvise(run->mem + from, (length + page - 1) & ~(page - 1), advices[i].advice);
	return true;
}

/* Read-only for a moment, or unmapped and mapped elsewhere. */
static bool do_map_again(struct files_run *run)
{
	uint32_t from, length;
	bool ok;

	if (files_one_in(run, 2)) {
		begin(run, "map-again", 0, 0);
		pthread_rwlock_wrlock(&run->lock);
		files_close(run);
		ok = files_open(run);
		pthread_rwlock_unlock(&run->lock);
		return ok;
	}
	some_bytes(run, MOST_DEVICE, &from, &length);
	begin(run, "protect", from, length);
	if (mprotect(run->mem, run->config.max, PROT_READ))
		return failed(run, "mprotect");
	ok = files_device_copy(run, run->got, run->mem + from, length, false);
	if (mprotect(run->mem, run->config.max, PROT_READ | PROT_WRITE))
		return failed(run, "mprotect");
	return ok && files_compare(run, from, length);
}

/* All pages of the file are gone, and what is read now comes from the disk. */
static bool do_remount(struct files_run *run)
{
	int ret;
	bool ok;

	begin(run, "remount", 0, 0);
	pthread_rwlock_wrlock(&run->lock);
	files_close(run);
	ret = files_try_umount(run->fs);
	if (!ret)
		ret = files_mount_again(run->fs);
	ok = !ret && files_open(run);
	pthread_rwlock_unlock(&run->lock);
	if (ret)
		return files_fail(run, "umount or mount: %s", strerror(-ret));
	return ok && files_verify(run, files_below(run, 4));
}

/* ---- the device ---- */

static bool do_device_read(struct files_run *run)
{
	const uint32_t size = run->model.size;
	uint32_t from, length, rest;

	some_bytes(run, MOST_DEVICE, &from, &length);
	begin(run, "device-read", from, length);
	memset(run->got, 0xcc, length);
	if (!files_device_copy(run, run->got, run->mem + from, length,
			       length < 256 && files_one_in(run, 2)) ||
	    !files_compare(run, from, length))
		return false;
	rest = -size & (uint32_t)(PAGE_SIZE - 1);
	if (run->config.pollute || from + length != size || !rest || rest > run->config.max - size)
		return true;
	return files_device_copy(run, run->got, run->mem + size, rest, false) &&
	       files_compare(run, size, rest);
}

static bool do_device_write(struct files_run *run)
{
	const struct files_model_op *op;
	uint32_t from, length;
	bool bytes;

	some_bytes(run, MOST_DEVICE, &from, &length);
	bytes = length < 256 && files_one_in(run, 2);
	op = begin_write(run, "device-write", from, length);
	if (run->config.plant == FILES_PLANT_DEVICE && !run->planted &&
	    op->number >= run->config.plant_at)
		run->planted = true;
	else if (!files_device_copy(run, run->mem + from, run->want, length, bytes))
		return false;
	files_wrote(run, op);
	return true;
}

/* From one place of the file to another. */
static bool do_device_copy(struct files_run *run)
{
	const uint32_t half = run->model.size / 2;
	const uint32_t length = some_length(run, half < MOST_DEVICE ? half : MOST_DEVICE);
	const uint32_t first = files_below(run, run->model.size - 2 * length + 1);
	const bool up = files_one_in(run, 2);
	struct files_model_op *op;

	op = files_model_next(&run->model, "device-copy", up ? first + length : first, length);
	op->source = up ? first : first + length;
	memcpy(run->want, run->model.data + op->source, length);
	if (!files_device_copy(run, run->mem + op->from, run->mem + op->source, length, false))
		return false;
	files_wrote(run, op);
	return true;
}

static bool do_device_add(struct files_run *run)
{
	const uint32_t at = files_below(run, run->model.size / 8) * 8;
	const uint64_t value = files_random(&run->rnd);
	const struct dgpu_run job = {
		.prog = run->add, .nthreads = 1, .engine = DGPU_ENGINE_ANY,
		.args = { (uintptr_t)run->mem + at, value },
	};
	struct gpu *gpu = files_gpu(run, &run->rnd);
	int ret;

	begin(run, "device-add", at, 8);
	ret = dgpu_run(gpu->dev, &job, &gpu->result);
	if (ret)
		return files_fail(run, "atomic of the device: %s", strerror(-ret));
	files_model_add8(&run->model, at, value);
	return true;
}

/* What does not change what the file contains: where its pages are. */
static bool do_move(struct files_run *run)
{
	static const char *const names[] = { "move-in", "move-in", "move-out", "prefault" };
	const uint32_t page = (uint32_t)PAGE_SIZE, pages = run->config.max / page;
	const unsigned int how = files_below(run, 4);
	const uint32_t n = some_length(run, 32 < pages ? 32 : pages);
	const uint32_t first = files_below(run, pages - n + 1);
	struct gpu *gpu = files_gpu(run, &run->rnd);
	void *start = run->mem + first * page;
	uint64_t moved = 0;

	begin(run, names[how], first * page, n * page);
	if (how == 3)
		dgpu_prefault(gpu->dev, start, n * page, false);
	else
		dgpu_migrate(gpu->dev, start, n * page,
			     how == 2 ? DGPU_MIGRATE_TO_SYSTEM : 0, NULL, &moved);
	__atomic_fetch_add(how == 2 ? &run->moved_out : &run->moved_in, moved,
			   __ATOMIC_RELAXED);
	return true;
}

static bool do_steer(struct files_run *run)
{
	static const struct dgpu_hint hints[] = {
		{ .flags = 0 },
		{ .flags = HMM_HINT_READ_MOSTLY },
		{ .flags = HMM_HINT_AUTO },
		{ .flags = HMM_HINT_NO_AUTO },
		{ .flags = HMM_HINT_IN_PLACE },
	};
	const unsigned int how = files_below(run, 8);

	if (how < 4) {
		begin(run, "policy", 0, 0);
		/* Mostly that pages come to the device when it touches them. */
		dgpu_set_policy(run->gpu->dev, how ? HMM_POLICY_TOUCH : HMM_POLICY_REQUEST);
	} else if (how < 7) {
		begin(run, "hint", 0, 0);
		dgpu_set_hint(run->gpu->dev, run->mem, run->config.max,
			      &hints[files_below(run, 5)]);
	} else {
		begin(run, "evacuate", 0, 0);
		dgpu_evacuate(files_gpu(run, &run->rnd)->dev, NULL);
	}
	return true;
}

const struct files_op files_ops[] = {
	{ "read",	 8, 0, do_read },
	{ "write",	10, 0, do_write },
	{ "write-own",	 3, 2, do_write_own },
	{ "dread",	 3, 0, do_direct_read },
	{ "dwrite",	 4, 0, do_direct_write },
	{ "direct-own",	 2, 2 * PAGE_SIZE, do_direct_own },
	{ "truncate",	 6, 0, do_truncate },
	{ "allocate",	 3, 0, do_allocate },
	{ "pollute",	 2, 1, do_pollute },
	{ "punch",	 4, 0, do_punch },
	{ "zero",	 4, 0, do_zero },
	{ "collapse",	 2, 4 * PAGE_SIZE, do_collapse },
	{ "insert",	 2, PAGE_SIZE, do_insert },
	{ "copy-range",	 3, 1, do_copy_range },
	{ "splice-out",	 4, 1, do_splice_out },
	{ "splice-in",	 2, 0, do_splice_in },
	{ "seek",	 1, 0, do_seek },
	{ "sync",	 5, 0, do_sync },
	{ "forget",	 2, 0, do_forget },
	{ "map-read",	 7, 1, do_map_read },
	{ "map-write",	 8, 1, do_map_write },
	{ "private",	 2, 1, do_private },
	{ "remote",	 3, 1, do_remote },
	{ "child",	 1, 1, do_child },
	{ "advise",	 4, 0, do_advise },
	{ "map-again",	 1, 1, do_map_again },
	{ "remount",	 1, 0, do_remount },
	{ "device-read", 10, 1, do_device_read },
	{ "device-write", 16, 1, do_device_write },
	{ "device-copy", 4, 2, do_device_copy },
	{ "device-add",	 3, 8, do_device_add },
	{ "move",	10, 0, do_move },
	{ "steer",	 2, 0, do_steer },
};

const unsigned int files_nops = sizeof(files_ops) / sizeof(files_ops[0]);

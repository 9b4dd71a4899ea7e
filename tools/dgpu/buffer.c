// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that "dgpu run" gives to a program: made, filled, shown.
 *
 * It is plain malloc() memory, or a shared mapping of a file, with nothing done to it for the
 * device's sake.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../common/parse.h"
#include "buffer.h"
#include "dgpu.h"

/**
 * struct number_format - a way to show memory
 * @name: its name
 * @bytes: size of one number; 0: bytes in hexadecimal, with characters
 * @is_signed: it has a sign
 */
struct number_format {
	const char *name;
	unsigned int bytes;
	bool is_signed;
};

static const struct number_format formats[] = {
	{ "hex", 0, false },
	{ "u8", 1, false },	{ "u16", 2, false },
	{ "u32", 4, false },	{ "u64", 8, false },
	{ "s8", 1, true },	{ "s16", 2, true },
	{ "s32", 4, true },	{ "s64", 8, true },
};

static int fill(struct buffer *buffer, const char *path, FILE *f)
{
	size_t got;

	got = fread(buffer->data, 1, buffer->size, f);
	if (ferror(f)) {
		complain("%s: %s", path, strerror(errno));
		return EXIT_INPUT;
	}
	memset(buffer->data + got, 0, buffer->size - got);
	return EXIT_OK;
}

/**
 * buffer_make() - allocate a buffer and fill it
 * @spec: SIZE, SIZE=FILE, or =FILE for the size of the file
 * @buffer: where it goes
 *
 * A file that is longer is cut off; what it does not fill is zero.
 *
 * Return: EXIT_OK, or another exit status with the reason told.
 */
int buffer_make(const char *spec, struct buffer *buffer)
{
	const char *rest = spec, *path = NULL;
	bool whole = *spec == '=';
	FILE *f = NULL;
	struct stat st;
	int ret;

	if (!whole && (!parse_size(spec, &rest, &buffer->size) || (*rest && *rest != '=') ||
		       !buffer->size)) {
		complain("--buf takes SIZE, SIZE=FILE or =FILE, not '%s'", spec);
		return EXIT_USAGE;
	}
	if (*rest == '=') {
		path = rest + 1;
		f = fopen(path, "re");
		if (!f || fstat(fileno(f), &st)) {
			complain("%s: %s", path, strerror(errno));
			ret = EXIT_INPUT;
			goto out;
		}
		if (whole)
			buffer->size = st.st_size;
		if (!buffer->size) {
			complain("%s: has no size; give one: SIZE=%s", path, path);
			ret = EXIT_INPUT;
			goto out;
		}
	}
	/* Large blocks come untouched from the kernel: the device is the first to use them. */
	buffer->data = calloc(1, buffer->size);
	if (!buffer->data) {
		complain("no memory for a buffer of %" PRIu64 " bytes", buffer->size);
		ret = EXIT_SYSTEM;
		goto out;
	}
	buffer->writable = true;
	ret = f ? fill(buffer, path, f) : EXIT_OK;
out:
	if (f)
		fclose(f);
	return ret;
}

/**
 * buffer_map() - map a file
 * @path: its name; mapped for reading only if it cannot be opened for writing
 * @buffer: where it goes
 *
 * Return: EXIT_OK, or another exit status with the reason told.
 */
int buffer_map(const char *path, struct buffer *buffer)
{
	int prot = PROT_READ | PROT_WRITE, fd, ret = EXIT_INPUT;
	struct stat st;
	void *data;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS ||
		       errno == ETXTBSY)) {
		prot = PROT_READ;
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0 || fstat(fd, &st)) {
		complain("%s: %s", path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode) || !st.st_size) {
		complain("%s: not a file with something in it", path);
		goto out;
	}
	data = mmap(NULL, st.st_size, prot, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED) {
		complain("%s: %s", path, strerror(errno));
		goto out;
	}
	buffer->data = data;
	buffer->size = st.st_size;
	buffer->mapped = true;
	buffer->writable = prot & PROT_WRITE;
	ret = EXIT_OK;
out:
	if (fd >= 0)
		close(fd);
	return ret;
}

/**
 * buffer_free() - undo buffer_make() or buffer_map()
 * @buffer: buffer, also one that could not be made
 */
void buffer_free(struct buffer *buffer)
{
	if (buffer->mapped)
		munmap(buffer->data, buffer->size);
	else
		free(buffer->data);
}

/**
 * dump_parse() - read the argument of --dump
 * @spec: BUFFER[:OFFSET[:LENGTH]][=FILE]
 * @dump: where it goes
 *
 * Return: false if @spec is something else.
 */
bool dump_parse(const char *spec, struct dump *dump)
{
	const char *rest;
	uint64_t n;

	*dump = (struct dump){ .length = UINT64_MAX };
	if (!parse_size(spec, &rest, &n) || !n || n > MAX_BUFFERS)
		return false;
	dump->buffer = n;
	if (*rest == ':' && !parse_size(rest + 1, &rest, &dump->offset))
		return false;
	if (*rest == ':' && !parse_size(rest + 1, &rest, &dump->length))
		return false;
	if (*rest == '=') {
		dump->file = rest + 1;
		return *dump->file;
	}
	return !*rest;
}

/**
 * format_find() - look up a way to show memory
 * @name: its name
 *
 * Return: the format, or NULL.
 */
const struct number_format *format_find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(formats) / sizeof(*formats); i++)
		if (!strcmp(formats[i].name, name))
			return &formats[i];
	return NULL;
}

static void hex_line(FILE *out, const unsigned char *data, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < 16; i++) {
		if (i < n)
			fprintf(out, " %02x", data[i]);
		else
			fputs("   ", out);
	}
	fputs("  |", out);
	for (i = 0; i < n; i++)
		fputc(data[i] >= ' ' && data[i] <= '~' ? data[i] : '.', out);
	fputs("|\n", out);
}

static void number(FILE *out, const unsigned char *data, const struct number_format *format)
{
	unsigned int shift = 64 - 8 * format->bytes;
	uint64_t value = 0;

	memcpy(&value, data, format->bytes);
	if (format->is_signed)
		fprintf(out, " %" PRId64, (int64_t)(value << shift) >> shift);
	else
		fprintf(out, " %" PRIu64, value);
}

/**
 * dump_text() - show memory for people
 * @out: where the text goes
 * @data: memory
 * @length: its length
 * @offset: offset of its first byte, to be shown
 * @format: how; a rest too short for a number is left out
 */
void dump_text(FILE *out, const unsigned char *data, uint64_t length, uint64_t offset,
	       const struct number_format *format)
{
	unsigned int per_line = format->bytes ? 8 : 16, step = format->bytes ?: 1, i;
	uint64_t at;

	for (at = 0; at + step <= length; at += per_line * step) {
		fprintf(out, "%08" PRIx64 " ", offset + at);
		if (!format->bytes) {
			hex_line(out, data + at, length - at < 16 ? length - at : 16);
			continue;
		}
		for (i = 0; i < per_line && at + (i + 1) * step <= length; i++)
			number(out, data + at + i * step, format);
		fputc('\n', out);
	}
}

/**
 * dump_to_file() - write memory to a file
 * @path: file
 * @data: memory
 * @length: its length
 *
 * Return: EXIT_OK, or EXIT_SYSTEM with the reason told.
 */
int dump_to_file(const char *path, const unsigned char *data, uint64_t length)
{
	bool bad;
	FILE *f;

	f = fopen(path, "we");
	if (!f) {
		complain("%s: %s", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	bad = fwrite(data, 1, length, f) != length;
	if (fclose(f) || bad) {
		complain("%s: cannot be written", path);
		return EXIT_SYSTEM;
	}
	return EXIT_OK;
}

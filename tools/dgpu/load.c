// SPDX-License-Identifier: GPL-2.0
/*
 * Programs in files: source text, or an image.
 *
 * An image is eight bytes of image_magic and then the instructions as they are, eight
 * bytes each, little endian.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "dgpu.h"

#define MAX_IMAGE (64u << 20)

const char image_magic[8] = { '\177', 'd', 'g', 'p', 'u', '\n', 0, DGPU_ABI_VERSION };

static int load_image(const char *path, FILE *f, struct dgpu_prog **prog)
{
	size_t len = 0, room = 65536, got;
	struct dgpu_insn *code = NULL;
	char *data = NULL, *grown;
	int ret;

	do {
		if (!data || len == room) {
			room *= 2;
			grown = room > MAX_IMAGE ? NULL : realloc(data, room);
			if (!grown) {
				complain("%s: too large", path);
				ret = EXIT_INPUT;
				goto out;
			}
			data = grown;
		}
		got = fread(data + len, 1, room - len, f);
		len += got;
	} while (got);
	if (ferror(f)) {
		complain("%s: cannot be read", path);
		ret = EXIT_INPUT;
		goto out;
	}
	if (!len || len % sizeof(*code)) {
		complain("%s: an image of %zu bytes is not a number of instructions", path, len);
		ret = EXIT_INPUT;
		goto out;
	}
	/* malloc() memory is aligned for it, and the layout is the file's. */
	code = (struct dgpu_insn *)data;
	ret = dgpu_prog_new(code, len / sizeof(*code), prog);
	if (ret) {
		complain("%s: %s", path, strerror(-ret));
		ret = EXIT_SYSTEM;
	}
out:
	free(data);
	return ret;
}

/* Write the assembler's messages with the file's name in front of each. */
static void explain(const char *path, char *error)
{
	char *line, *rest = error;

	while ((line = strsep(&rest, "\n")))
		complain("%s: %s", path, line);
	free(error);
}

/**
 * load_program() - read a program, source or image
 * @path: file; "-" is standard input, which is always source
 * @prog: where the program goes
 *
 * Return: 0, or an exit status with the reason told.
 */
int load_program(const char *path, struct dgpu_prog **prog)
{
	char magic[sizeof(image_magic)], *error;
	FILE *f;
	int ret;

	*prog = NULL;
	if (strcmp(path, "-")) {
		f = fopen(path, "re");
		if (!f) {
			complain("%s: %s", path, strerror(errno));
			return EXIT_INPUT;
		}
		if (fread(magic, 1, sizeof(magic), f) == sizeof(magic) &&
		    !memcmp(magic, image_magic, sizeof(magic))) {
			ret = load_image(path, f, prog);
			fclose(f);
			return ret;
		}
		fclose(f);
	}
	ret = dgpu_assemble_file(path, prog, &error);
	if (!ret)
		return 0;
	if (error)
		explain(path, error);
	else
		complain("%s: %s", path, strerror(-ret));
	return ret == -ENOMEM ? EXIT_SYSTEM : EXIT_INPUT;
}

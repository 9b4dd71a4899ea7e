// SPDX-License-Identifier: GPL-2.0
/* dgpu asm: check a program, show what it becomes, or write it as an image. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include "dgpu.h"

static const char help[] =
"usage: dgpu asm [-o FILE] [--json] PROGRAM\n"
"\n"
"Assemble PROGRAM ('-' is standard input) and show a listing: the index of each\n"
"instruction, its eight bytes, the line it came from, and its text.\n"
"dgpu-asm(7) describes the language.\n"
"\n"
"Errors are written as 'PROGRAM: line N: message', one for each wrong line.\n"
"\n"
"options:\n"
"  -o, --output FILE   write an image to FILE instead of the listing; 'dgpu run' and\n"
"                      'dgpu disasm' take it like source text\n"
"      --json          write the listing as JSON: instructions[] with index, line,\n"
"                      bytes, text\n"
"  -h, --help          this text\n";

static void bytes_text(const struct dgpu_insn *insn, char *buf)
{
	const unsigned char *p = (const unsigned char *)insn;
	unsigned int i;

	for (i = 0; i < sizeof(*insn); i++)
		sprintf(buf + 2 * i, "%02x", p[i]);
}

static void listing(const struct dgpu_prog *prog, struct json *j)
{
	char text[64], bytes[2 * sizeof(struct dgpu_insn) + 1];
	const struct dgpu_insn *code;
	uint32_t n, i;

	code = dgpu_prog_code(prog, &n);
	if (j) {
		json_begin(j, stdout);
		json_object(j, NULL);
		json_array(j, "instructions");
	}
	for (i = 0; i < n; i++) {
		dgpu_disasm(&code[i], text, sizeof(text));
		bytes_text(&code[i], bytes);
		if (!j) {
			printf("%5" PRIu32 "  %s  %5" PRIu32 "  %s\n", i, bytes,
			       dgpu_prog_line(prog, i), text);
			continue;
		}
		json_object(j, NULL);
		json_unsigned(j, "index", i);
		json_unsigned(j, "line", dgpu_prog_line(prog, i));
		json_string(j, "bytes", bytes);
		json_string(j, "text", text);
		json_end_object(j);
	}
	if (j) {
		json_end_array(j);
		json_end_object(j);
		json_finish(j);
	}
}

static int write_image(const struct dgpu_prog *prog, const char *path)
{
	const struct dgpu_insn *code;
	bool bad;
	uint32_t n;
	FILE *f;

	code = dgpu_prog_code(prog, &n);
	f = fopen(path, "we");
	if (!f) {
		complain("%s: %s", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	bad = fwrite(image_magic, sizeof(image_magic), 1, f) != 1 ||
	      fwrite(code, sizeof(*code), n, f) != n;
	if (fclose(f) || bad) {
		complain("%s: cannot be written", path);
		return EXIT_SYSTEM;
	}
	return EXIT_OK;
}

static int run_asm(int argc, char **argv)
{
	static const struct option options[] = {
		{ "output",	required_argument,	NULL, 'o' },
		{ "json",	no_argument,		NULL, 'j' },
		{ }
	};
	const char *output = NULL;
	struct dgpu_prog *prog;
	bool json = false;
	struct json j;
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		switch (opt) {
		case 'o':
			output = optarg;
			break;
		case 'j':
			json = true;
			break;
		default:
			return usage_error(&cmd_asm);
		}
	}
	if (argc - optind != 1) {
		complain("asm takes one program");
		return usage_error(&cmd_asm);
	}
	ret = load_program(argv[optind], &prog);
	if (ret)
		return ret;
	if (output)
		ret = write_image(prog, output);
	else
		listing(prog, json ? &j : NULL);
	dgpu_prog_free(prog);
	return ret;
}

const struct command cmd_asm = {
	.name = "asm",
	.summary = "assemble a program: check it, list it, write an image",
	.help = help,
	.run = run_asm,
};

// SPDX-License-Identifier: GPL-2.0
/* dgpu disasm: an image (or source text) as plain source text. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "dgpu.h"

static const char help[] =
"usage: dgpu disasm [--json] PROGRAM\n"
"\n"
"Write a program as source text that assembles to the same program again.  PROGRAM is\n"
"an image made by 'dgpu asm -o', or source text, whose pseudo-instructions and symbols\n"
"are then shown as what they became.  Branch targets get labels Lindex.\n"
"\n"
"options:\n"
"      --json          write JSON: instructions[] with index, op, rd, ra, rb, imm, text,\n"
"                      and target for branches\n"
"  -h, --help          this text\n";

static bool is_branch(const struct dgpu_insn *insn)
{
	return insn->op == DGPU_OP_JMP || insn->op == DGPU_OP_JAL ||
	       (insn->op >= DGPU_OP_BEQ && insn->op <= DGPU_OP_BGEU);
}

/* Replace the index at the end of a branch by its label. */
static void show_branch(const struct dgpu_insn *insn, char *text, size_t size)
{
	char number[16];
	size_t len;

	snprintf(number, sizeof(number), "%" PRId32, insn->imm);
	len = strlen(text) - strlen(number);
	snprintf(text + len, size - len, "L%" PRId32, insn->imm);
}

static void show_text(const struct dgpu_insn *code, uint32_t n, const bool *targets)
{
	char text[64];
	uint32_t i;

	for (i = 0; i < n; i++) {
		dgpu_disasm(&code[i], text, sizeof(text));
		if (text[0] != '.' && is_branch(&code[i]) && code[i].imm >= 0 &&
		    (uint32_t)code[i].imm < n)
			show_branch(&code[i], text, sizeof(text));
		if (targets[i])
			printf("L%" PRIu32 ":\n", i);
		printf("\t%s\n", text);
	}
}

static void show_json(const struct dgpu_insn *code, uint32_t n)
{
	struct json json, *j = &json;
	char text[64];
	uint32_t i;

	json_begin(j, stdout);
	json_object(j, NULL);
	json_array(j, "instructions");
	for (i = 0; i < n; i++) {
		dgpu_disasm(&code[i], text, sizeof(text));
		json_object(j, NULL);
		json_unsigned(j, "index", i);
		json_unsigned(j, "op", code[i].op);
		json_unsigned(j, "rd", code[i].rd);
		json_unsigned(j, "ra", code[i].ra);
		json_unsigned(j, "rb", code[i].rb);
		json_number(j, "imm", code[i].imm);
		json_string(j, "text", text);
		if (text[0] != '.' && is_branch(&code[i]))
			json_number(j, "target", code[i].imm);
		json_end_object(j);
	}
	json_end_array(j);
	json_end_object(j);
	json_finish(j);
}

static int run_disasm(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json",	no_argument,		NULL, 'j' },
		{ }
	};
	const struct dgpu_insn *code;
	struct dgpu_prog *prog;
	bool json = false, *targets;
	uint32_t n, i;
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'j')
			return usage_error(&cmd_disasm);
		json = true;
	}
	if (argc - optind != 1) {
		complain("disasm takes one program");
		return usage_error(&cmd_disasm);
	}
	ret = load_program(argv[optind], &prog);
	if (ret)
		return ret;
	code = dgpu_prog_code(prog, &n);
	targets = calloc(n, sizeof(*targets));
	if (!targets) {
		complain("out of memory");
		dgpu_prog_free(prog);
		return EXIT_SYSTEM;
	}
	for (i = 0; i < n; i++)
		if (is_branch(&code[i]) && code[i].imm >= 0 && (uint32_t)code[i].imm < n)
			targets[code[i].imm] = true;
	if (json)
		show_json(code, n);
	else
		show_text(code, n, targets);
	free(targets);
	dgpu_prog_free(prog);
	return EXIT_OK;
}

const struct command cmd_disasm = {
	.name = "disasm",
	.summary = "write an image as source text",
	.help = help,
	.run = run_disasm,
};

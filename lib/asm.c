// SPDX-License-Identifier: GPL-2.0
/*
 * Text to instructions.
 *
 * Two passes over the text run the same code.  The first counts instructions and
 * defines symbols; a label that is not known yet has no value in it.  The second
 * knows every label and checks and emits.  What a line's size depends on must be
 * known in the first pass: constants are defined before they are used, and a value
 * with a label in it always takes one instruction.
 *
 * The language is described in dgpu-asm(7).
 */
#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "private.h"

#define MAX_INSNS	1048576		/* no device takes more; bounds our memory */
#define MAX_TEXT	(64u << 20)
#define LINK		31		/* call and ret */

/**
 * struct operands - what was read of a statement
 * @insn: fields
 * @imm: value of the immediate
 */
struct operands {
	struct dgpu_insn insn;
	struct dgpu_value imm;
};

static bool reserve(struct dgpu_asm *as)
{
	uint32_t room = as->room ? as->room * 2 : 64;
	struct dgpu_prog *prog = as->prog;
	void *grown;

	if (as->pc < as->room)
		return true;
	grown = reallocarray(prog->insns, room, sizeof(*prog->insns));
	if (!grown)
		goto nomem;
	prog->insns = grown;
	grown = reallocarray(prog->lines, room, sizeof(*prog->lines));
	if (!grown)
		goto nomem;
	prog->lines = grown;
	as->room = room;
	return true;
nomem:
	as->nomem = true;
	return dgpu_asm_error(as, "out of memory");
}

static bool emit(struct dgpu_asm *as, const struct dgpu_insn *insn)
{
	if (as->pc == MAX_INSNS)
		return dgpu_asm_error(as, "program is longer than %d instructions", MAX_INSNS);
	if (as->resolve) {
		if (!reserve(as))
			return false;
		as->prog->insns[as->pc] = *insn;
		as->prog->lines[as->pc] = as->line;
	}
	as->pc++;
	return true;
}

static bool fits(const struct dgpu_asm *as, const struct dgpu_value *v, int64_t low, int64_t high)
{
	return (v->label && !as->resolve) ||
	       ((int64_t)v->value >= low && (int64_t)v->value <= high);
}

static bool read_immediate(struct dgpu_asm *as, const char *what, int64_t low, int64_t high,
			   struct operands *ops)
{
	if (!dgpu_asm_expr(as, &ops->imm))
		return false;
	if (!fits(as, &ops->imm, low, high))
		return dgpu_asm_error(as, "%s %" PRId64 " is not in %" PRId64 "..%" PRId64, what,
				      (int64_t)ops->imm.value, low, high);
	ops->insn.imm = (int32_t)ops->imm.value;
	return true;
}

/* Memory operand: imm(ra), or (ra). */
static bool read_memory(struct dgpu_asm *as, struct operands *ops)
{
	char name[DGPU_SYM_MAX], here[48];
	struct dgpu_sym *sym;
	const char *start;
	bool bare = false;

	dgpu_asm_blank(as);
	start = as->text;
	if (*start == '(') {
		/* The base, or the start of an expression like (4 + 4)(r1)? */
		as->text++;
		if (dgpu_asm_name(as, name)) {
			sym = dgpu_asm_find(as, name);
			bare = dgpu_asm_register_number(name) != -1 ||
			       (sym && sym->kind == DGPU_SYM_REG);
		}
		as->text = start;
	}
	if (!bare && !read_immediate(as, "offset", INT32_MIN, INT32_MAX, ops))
		return false;
	dgpu_asm_blank(as);
	if (*as->text != '(')
		return dgpu_asm_error(as,
				      "expected a memory operand like 16(r1), found %s after the offset",
				      dgpu_asm_here(as, here, sizeof(here)));
	as->text++;
	if (!dgpu_asm_register(as, &ops->insn.ra))
		return false;
	dgpu_asm_blank(as);
	if (*as->text != ')')
		return dgpu_asm_error(as, "expected ')', found %s",
				      dgpu_asm_here(as, here, sizeof(here)));
	as->text++;
	return true;
}

static bool read_target(struct dgpu_asm *as, struct operands *ops)
{
	if (!read_immediate(as, "branch target", INT32_MIN, INT32_MAX, ops))
		return false;
	if (as->resolve && ops->imm.label && ops->imm.value >= as->prog->ninsns)
		return dgpu_asm_error(as, "branch target is past the last instruction");
	return true;
}

/* Read operands as described by struct dgpu_isa; 'v': a 64-bit value. */
static bool read_operands(struct dgpu_asm *as, const char *mnemonic, const char *list,
			  struct operands *ops)
{
	unsigned int n = strlen(list), i;
	char here[48];
	bool good;

	for (i = 0; i < n; i++) {
		dgpu_asm_blank(as);
		if (i) {
			if (*as->text != ',')
				goto missing;
			as->text++;
		}
		if (dgpu_asm_at_end(as))
			goto missing;
		switch (list[i]) {
		case 'd':
			good = dgpu_asm_register(as, &ops->insn.rd);
			break;
		case 'a':
			good = dgpu_asm_register(as, &ops->insn.ra);
			break;
		case 'b':
			good = dgpu_asm_register(as, &ops->insn.rb);
			break;
		case 'h':
			good = read_immediate(as, "upper half", INT32_MIN, UINT32_MAX, ops);
			break;
		case 's':
			good = read_immediate(as, "shift amount", 0, 63, ops);
			break;
		case 't':
			good = read_target(as, ops);
			break;
		case 'm':
			good = read_memory(as, ops);
			break;
		case 'v':
			good = dgpu_asm_expr(as, &ops->imm);
			break;
		default:
			good = read_immediate(as, "immediate", INT32_MIN, INT32_MAX, ops);
		}
		if (!good)
			return false;
	}
	if (!dgpu_asm_at_end(as))
		return dgpu_asm_error(as, "unexpected %s after the operands of '%s'",
				      dgpu_asm_here(as, here, sizeof(here)), mnemonic);
	return true;
missing:
	if (dgpu_asm_at_end(as))
		return dgpu_asm_error(as, "'%s' takes %u operand%s, found %u", mnemonic, n,
				      n == 1 ? "" : "s", i);
	return dgpu_asm_error(as, "expected ',' after operand %u of '%s', found %s", i, mnemonic,
			      dgpu_asm_here(as, here, sizeof(here)));
}

/* ---- instructions that the hardware does not have ---- */

static void swap_sources(struct dgpu_insn *insn)
{
	uint8_t ra = insn->ra;

	insn->ra = insn->rb;
	insn->rb = ra;
}

static bool pseudo_li(struct dgpu_asm *as, struct operands *ops)
{
	int64_t value = ops->imm.value;

	ops->insn.imm = (int32_t)value;
	/* A label is an instruction index and always fits. */
	if (ops->imm.label) {
		if (!fits(as, &ops->imm, INT32_MIN, INT32_MAX))
			return dgpu_asm_error(as, "value %" PRId64
					      " with a label does not fit in 32 bits", value);
		return emit(as, &ops->insn);
	}
	if (!emit(as, &ops->insn) || value == (int32_t)value)
		return !as->failed;
	ops->insn.op = DGPU_OP_LIH;
	ops->insn.imm = (int32_t)(value >> 32);
	return emit(as, &ops->insn);
}

static bool pseudo_call(struct dgpu_asm *as, struct operands *ops)
{
	ops->insn.rd = LINK;
	return emit(as, &ops->insn);
}

static bool pseudo_ret(struct dgpu_asm *as, struct operands *ops)
{
	ops->insn.ra = LINK;
	return emit(as, &ops->insn);
}

static bool pseudo_not(struct dgpu_asm *as, struct operands *ops)
{
	ops->insn.imm = -1;
	return emit(as, &ops->insn);
}

static bool pseudo_subi(struct dgpu_asm *as, struct operands *ops)
{
	if (ops->insn.imm == INT32_MIN)
		return dgpu_asm_error(as, "immediate %" PRId32 " cannot be negated",
				      ops->insn.imm);
	ops->insn.imm = -ops->insn.imm;
	return emit(as, &ops->insn);
}

static bool pseudo_swapped(struct dgpu_asm *as, struct operands *ops)
{
	swap_sources(&ops->insn);
	return emit(as, &ops->insn);
}

static bool pseudo_plain(struct dgpu_asm *as, struct operands *ops)
{
	return emit(as, &ops->insn);
}

static const struct pseudo {
	const char *name;
	const char *operands;
	uint8_t op;
	bool (*emit)(struct dgpu_asm *as, struct operands *ops);
} pseudos[] = {
	{ "li",		"dv",	DGPU_OP_LI,	pseudo_li },
	{ "la",		"dt",	DGPU_OP_LI,	pseudo_plain },
	{ "call",	"t",	DGPU_OP_JAL,	pseudo_call },
	{ "ret",	"",	DGPU_OP_JR,	pseudo_ret },
	{ "not",	"da",	DGPU_OP_XORI,	pseudo_not },
	{ "neg",	"db",	DGPU_OP_SUB,	pseudo_plain },
	{ "subi",	"dai",	DGPU_OP_ADDI,	pseudo_subi },
	{ "beqz",	"at",	DGPU_OP_BEQ,	pseudo_plain },
	{ "bnez",	"at",	DGPU_OP_BNE,	pseudo_plain },
	{ "bgt",	"abt",	DGPU_OP_BLT,	pseudo_swapped },
	{ "ble",	"abt",	DGPU_OP_BGE,	pseudo_swapped },
	{ "bgtu",	"abt",	DGPU_OP_BLTU,	pseudo_swapped },
	{ "bleu",	"abt",	DGPU_OP_BGEU,	pseudo_swapped },
};

/* ---- statements ---- */

static bool read_instruction(struct dgpu_asm *as, const char *name)
{
	struct operands ops = { };
	const struct pseudo *p;
	int op;

	for (p = pseudos; p < pseudos + ARRAY_SIZE(pseudos); p++) {
		if (strcmp(p->name, name))
			continue;
		ops.insn.op = p->op;
		return read_operands(as, name, p->operands, &ops) && p->emit(as, &ops);
	}
	op = dgpu_isa_by_name(name, strlen(name));
	if (op < 0)
		return dgpu_asm_error(as, "unknown instruction '%.32s'", name);
	ops.insn.op = op;
	return read_operands(as, name, dgpu_isa_by_op(op)->operands, &ops) && emit(as, &ops.insn);
}

/* .equ NAME, VALUE and .reg NAME, REGISTER */
static bool read_definition(struct dgpu_asm *as, const char *directive, enum dgpu_sym_kind kind)
{
	char name[DGPU_SYM_MAX], here[48];
	struct operands ops = { };
	uint64_t value;

	if (!dgpu_asm_name(as, name))
		return dgpu_asm_error(as, "expected a name after '%s', found %s", directive,
				      dgpu_asm_here(as, here, sizeof(here)));
	dgpu_asm_blank(as);
	if (*as->text != ',')
		return dgpu_asm_error(as, "expected ',' after the name, found %s",
				      dgpu_asm_here(as, here, sizeof(here)));
	as->text++;
	if (!read_operands(as, directive, kind == DGPU_SYM_REG ? "d" : "v", &ops))
		return false;
	if (kind == DGPU_SYM_CONST && ops.imm.label)
		return dgpu_asm_error(as, "'%s' needs a value that is known here, without labels",
				      directive);
	value = kind == DGPU_SYM_REG ? ops.insn.rd : ops.imm.value;
	return dgpu_asm_define(as, name, kind, value);
}

/* .insn OP, RD, RA, RB, IMM: any bytes, for what has no mnemonic */
static bool read_raw(struct dgpu_asm *as)
{
	struct operands field[5] = { };
	struct dgpu_insn insn;
	char here[48];
	unsigned int i;

	for (i = 0; i < 5; i++) {
		dgpu_asm_blank(as);
		if (i) {
			if (*as->text != ',')
				return dgpu_asm_error(as,
					"expected '.insn op, rd, ra, rb, imm' with 5 numbers, found %s",
					dgpu_asm_here(as, here, sizeof(here)));
			as->text++;
		}
		if (i < 4 ? !read_immediate(as, "field", 0, 255, &field[i]) :
			    !read_immediate(as, "immediate", INT32_MIN, INT32_MAX, &field[i]))
			return false;
	}
	if (!dgpu_asm_at_end(as))
		return dgpu_asm_error(as, "unexpected %s after the operands of '.insn'",
				      dgpu_asm_here(as, here, sizeof(here)));
	insn.op = field[0].insn.imm;
	insn.rd = field[1].insn.imm;
	insn.ra = field[2].insn.imm;
	insn.rb = field[3].insn.imm;
	insn.imm = field[4].insn.imm;
	return emit(as, &insn);
}

static bool read_statement(struct dgpu_asm *as)
{
	char name[DGPU_SYM_MAX], here[48];

	for (;;) {
		if (dgpu_asm_at_end(as))
			return true;
		if (!dgpu_asm_name(as, name))
			return dgpu_asm_error(as, "expected an instruction or a label, found %s",
					      dgpu_asm_here(as, here, sizeof(here)));
		dgpu_asm_blank(as);
		if (*as->text != ':')
			break;
		as->text++;
		if (!dgpu_asm_define(as, name, DGPU_SYM_LABEL, as->pc))
			return false;
	}
	if (!strcmp(name, ".equ"))
		return read_definition(as, name, DGPU_SYM_CONST);
	if (!strcmp(name, ".reg"))
		return read_definition(as, name, DGPU_SYM_REG);
	if (!strcmp(name, ".insn"))
		return read_raw(as);
	if (name[0] == '.')
		return dgpu_asm_error(as, "unknown directive '%.32s'", name);
	return read_instruction(as, name);
}

static void pass(struct dgpu_asm *as, const char *text)
{
	as->text = text;
	as->line = 1;
	as->pc = 0;
	for (;;) {
		as->failed = false;
		read_statement(as);
		if (as->nomem)
			return;
		as->text += strcspn(as->text, "\n");
		if (!*as->text)
			break;
		as->text++;
		as->line++;
	}
	/* An error of the program as a whole is told with its last line. */
	as->failed = false;
	if (!as->pc && !as->errors)
		dgpu_asm_error(as, "program has no instruction");
	as->prog->ninsns = as->pc;
}

/**
 * dgpu_assemble() - assemble a program from text
 * @text: the source, as described in dgpu-asm(7)
 * @prog: where the program goes; NULL on failure
 * @error: where the messages go, for the caller to free(): one line for each wrong
 *	line of the text, "line N: what is wrong", without a newline at the end; NULL on
 *	success and when out of memory.  May be NULL itself.
 *
 * Return: 0, -EINVAL for an error in the text, -EFBIG for a text of more than 64 MiB,
 * or -ENOMEM.
 */
int dgpu_assemble(const char *text, struct dgpu_prog **prog, char **error)
{
	struct dgpu_asm as = { };
	char *messages = NULL;
	size_t size = 0;
	int ret;

	*prog = NULL;
	if (error)
		*error = NULL;
	if (strnlen(text, MAX_TEXT + 1) > MAX_TEXT)
		return -EFBIG;
	as.prog = calloc(1, sizeof(*as.prog));
	if (!as.prog)
		return -ENOMEM;
	as.messages = open_memstream(&messages, &size);
	if (!as.messages) {
		free(as.prog);
		return -ENOMEM;
	}
	pass(&as, text);
	if (!as.errors && !as.nomem) {
		as.resolve = true;
		pass(&as, text);
	}
	tdestroy(as.symbols, free);
	ret = as.nomem ? -ENOMEM : as.errors ? -EINVAL : 0;
	if (fclose(as.messages))
		ret = -ENOMEM;
	if (ret) {
		dgpu_prog_free(as.prog);
		if (ret == -EINVAL && error)
			*error = messages;
		else
			free(messages);
		return ret;
	}
	free(messages);
	*prog = as.prog;
	return 0;
}

/**
 * dgpu_assemble_file() - assemble a program from a file
 * @path: name of the file, "-" for standard input
 * @prog: as for dgpu_assemble()
 * @error: as for dgpu_assemble(); NULL if the file could not be read
 *
 * Return: as for dgpu_assemble(), or the negative errno of reading the file.
 */
int dgpu_assemble_file(const char *path, struct dgpu_prog **prog, char **error)
{
	bool use_stdin = !strcmp(path, "-");
	size_t len = 0, room = 0, got;
	uint32_t line = 1;
	char *text = NULL;
	const char *p;
	FILE *f;
	int ret = 0;

	*prog = NULL;
	if (error)
		*error = NULL;
	f = use_stdin ? stdin : fopen(path, "re");
	if (!f)
		return -errno;
	do {
		if (room - len < 2) {
			char *grown = realloc(text, room ? room * 2 : 4096);

			if (!grown) {
				ret = -ENOMEM;
				goto out;
			}
			text = grown;
			room = room ? room * 2 : 4096;
		}
		errno = 0;
		got = fread(text + len, 1, room - len - 1, f);
		len += got;
		if (len > MAX_TEXT) {
			ret = -EFBIG;
			goto out;
		}
	} while (got);
	if (ferror(f)) {
		ret = errno ? -errno : -EIO;
		goto out;
	}
	text[len] = '\0';
	if (strlen(text) != len) {
		for (p = text; *p; p++)
			line += *p == '\n';
		if (error && asprintf(error, "line %" PRIu32 ": a NUL byte in the text", line) < 0)
			*error = NULL;
		ret = -EINVAL;
		goto out;
	}
	ret = dgpu_assemble(text, prog, error);
out:
	free(text);
	if (!use_stdin)
		fclose(f);
	return ret;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The assembler and the disassembler: every instruction, every error message, and the
 * property that they are each other's inverse.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "libdgpu.h"
#include "tap.h"

struct good {
	const char *text;
	unsigned int n;
	struct dgpu_insn code[4];
};

#define I(op_, rd_, ra_, rb_, imm_) \
	{ .op = DGPU_OP_##op_, .rd = rd_, .ra = ra_, .rb = rb_, .imm = imm_ }

static const struct good goods[] = {
	/* one line for each instruction, as dgpu_isa.h lists them */
	{ "ill", 1, { I(ILL, 0, 0, 0, 0) } },
	{ "nop", 1, { I(NOP, 0, 0, 0, 0) } },
	{ "halt", 1, { I(HALT, 0, 0, 0, 0) } },
	{ "trap -5", 1, { I(TRAP, 0, 0, 0, -5) } },
	{ "li r1, 2147483647", 1, { I(LI, 1, 0, 0, INT32_MAX) } },
	{ "lih r2, -1", 1, { I(LIH, 2, 0, 0, -1) } },
	{ "mov r3, r4", 1, { I(MOV, 3, 4, 0, 0) } },
	{ "tid r5", 1, { I(TID, 5, 0, 0, 0) } },
	{ "ntid r31", 1, { I(NTID, 31, 0, 0, 0) } },
	{ "add r1, r2, r3", 1, { I(ADD, 1, 2, 3, 0) } },
	{ "sub r1, r2, r3", 1, { I(SUB, 1, 2, 3, 0) } },
	{ "mul r1, r2, r3", 1, { I(MUL, 1, 2, 3, 0) } },
	{ "divu r1, r2, r3", 1, { I(DIVU, 1, 2, 3, 0) } },
	{ "remu r1, r2, r3", 1, { I(REMU, 1, 2, 3, 0) } },
	{ "and r1, r2, r3", 1, { I(AND, 1, 2, 3, 0) } },
	{ "or r1, r2, r3", 1, { I(OR, 1, 2, 3, 0) } },
	{ "xor r1, r2, r3", 1, { I(XOR, 1, 2, 3, 0) } },
	{ "shl r1, r2, r3", 1, { I(SHL, 1, 2, 3, 0) } },
	{ "shr r1, r2, r3", 1, { I(SHR, 1, 2, 3, 0) } },
	{ "sar r1, r2, r3", 1, { I(SAR, 1, 2, 3, 0) } },
	{ "slt r1, r2, r3", 1, { I(SLT, 1, 2, 3, 0) } },
	{ "sltu r1, r2, r3", 1, { I(SLTU, 1, 2, 3, 0) } },
	{ "addi r1, r2, -3", 1, { I(ADDI, 1, 2, 0, -3) } },
	{ "muli r1, r2, 3", 1, { I(MULI, 1, 2, 0, 3) } },
	{ "andi r1, r2, 0xff", 1, { I(ANDI, 1, 2, 0, 255) } },
	{ "ori r1, r2, 0b101", 1, { I(ORI, 1, 2, 0, 5) } },
	{ "xori r1, r2, 'A'", 1, { I(XORI, 1, 2, 0, 'A') } },
	{ "shli r1, r2, 63", 1, { I(SHLI, 1, 2, 0, 63) } },
	{ "shri r1, r2, 0", 1, { I(SHRI, 1, 2, 0, 0) } },
	{ "sari r1, r2, 1", 1, { I(SARI, 1, 2, 0, 1) } },
	{ "jmp 0", 1, { I(JMP, 0, 0, 0, 0) } },
	{ "jal r31, 7", 1, { I(JAL, 31, 0, 0, 7) } },
	{ "jr r31", 1, { I(JR, 0, 31, 0, 0) } },
	{ "beq r1, r2, 3", 1, { I(BEQ, 0, 1, 2, 3) } },
	{ "bne r1, r2, 3", 1, { I(BNE, 0, 1, 2, 3) } },
	{ "blt r1, r2, 3", 1, { I(BLT, 0, 1, 2, 3) } },
	{ "bge r1, r2, 3", 1, { I(BGE, 0, 1, 2, 3) } },
	{ "bltu r1, r2, 3", 1, { I(BLTU, 0, 1, 2, 3) } },
	{ "bgeu r1, r2, 3", 1, { I(BGEU, 0, 1, 2, 3) } },
	{ "ld1 r1, 16(r2)", 1, { I(LD1, 1, 2, 0, 16) } },
	{ "ld2 r1, -16(r2)", 1, { I(LD2, 1, 2, 0, -16) } },
	{ "ld4 r1, 0(r2)", 1, { I(LD4, 1, 2, 0, 0) } },
	{ "ld8 r1, (r2)", 1, { I(LD8, 1, 2, 0, 0) } },
	{ "ld1s r1, 8(r2)", 1, { I(LD1S, 1, 2, 0, 8) } },
	{ "ld2s r1, 8(r2)", 1, { I(LD2S, 1, 2, 0, 8) } },
	{ "ld4s r1, 8(r2)", 1, { I(LD4S, 1, 2, 0, 8) } },
	{ "st1 r1, 8(r2)", 1, { I(ST1, 1, 2, 0, 8) } },
	{ "st2 r1, 8(r2)", 1, { I(ST2, 1, 2, 0, 8) } },
	{ "st4 r1, 8(r2)", 1, { I(ST4, 1, 2, 0, 8) } },
	{ "st8 r1, 8(r2)", 1, { I(ST8, 1, 2, 0, 8) } },
	{ "aadd4 r1, r2, 8(r3)", 1, { I(AADD4, 1, 3, 2, 8) } },
	{ "aadd8 r1, r2, 8(r3)", 1, { I(AADD8, 1, 3, 2, 8) } },
	{ "axchg4 r1, r2, 8(r3)", 1, { I(AXCHG4, 1, 3, 2, 8) } },
	{ "axchg8 r1, r2, 8(r3)", 1, { I(AXCHG8, 1, 3, 2, 8) } },
	{ "acas4 r1, r2, 8(r3)", 1, { I(ACAS4, 1, 3, 2, 8) } },
	{ "acas8 r1, r2, 8(r3)", 1, { I(ACAS8, 1, 3, 2, 8) } },

	/* pseudo-instructions */
	{ "li r1, 0x80000000", 2, { I(LI, 1, 0, 0, INT32_MIN), I(LIH, 1, 0, 0, 0) } },
	{ "li r1, -1", 1, { I(LI, 1, 0, 0, -1) } },
	{ "li r1, 0xffffffffffffffff", 1, { I(LI, 1, 0, 0, -1) } },
	{ "li r1, 0x123456789abcdef0", 2,
	  { I(LI, 1, 0, 0, (int32_t)0x9abcdef0), I(LIH, 1, 0, 0, 0x12345678) } },
	{ "li r9, 1 << 63", 2, { I(LI, 9, 0, 0, 0), I(LIH, 9, 0, 0, INT32_MIN) } },
	{ "nop\nla r1, x\nx: halt", 3,
	  { I(NOP, 0, 0, 0, 0), I(LI, 1, 0, 0, 2), I(HALT, 0, 0, 0, 0) } },
	{ "li r1, x + 1\nx: halt", 2, { I(LI, 1, 0, 0, 2), I(HALT, 0, 0, 0, 0) } },
	{ "f: call f\nret", 2, { I(JAL, 31, 0, 0, 0), I(JR, 0, 31, 0, 0) } },
	{ "not r1, r2", 1, { I(XORI, 1, 2, 0, -1) } },
	{ "neg r1, r2", 1, { I(SUB, 1, 0, 2, 0) } },
	{ "subi r1, r2, 8", 1, { I(ADDI, 1, 2, 0, -8) } },
	{ "x: beqz r1, x", 1, { I(BEQ, 0, 1, 0, 0) } },
	{ "x: bnez r1, x", 1, { I(BNE, 0, 1, 0, 0) } },
	{ "x: bgt r1, r2, x", 1, { I(BLT, 0, 2, 1, 0) } },
	{ "x: ble r1, r2, x", 1, { I(BGE, 0, 2, 1, 0) } },
	{ "x: bgtu r1, r2, x", 1, { I(BLTU, 0, 2, 1, 0) } },
	{ "x: bleu r1, r2, x", 1, { I(BGEU, 0, 2, 1, 0) } },

	/* layout: labels, comments, blanks, line ends */
	{ "a: b: c:nop ; x\n\n# y\n  // z\n\tjmp b// w", 2,
	  { I(NOP, 0, 0, 0, 0), I(JMP, 0, 0, 0, 0) } },
	{ "a:\n\njmp a\r\n", 1, { I(JMP, 0, 0, 0, 0) } },
	{ "jmp over\nnop\nover: halt", 3,
	  { I(JMP, 0, 0, 0, 2), I(NOP, 0, 0, 0, 0), I(HALT, 0, 0, 0, 0) } },
	{ "mov\tr1 ,zero", 1, { I(MOV, 1, 0, 0, 0) } },
	{ "add: add r1, r2, r3\njmp add", 2, { I(ADD, 1, 2, 3, 0), I(JMP, 0, 0, 0, 0) } },
	{ "jmp l64\nl32: li r1, 1<<40\nl64: halt", 4,	/* li takes two */
	  { I(JMP, 0, 0, 0, 3), I(LI, 1, 0, 0, 0), I(LIH, 1, 0, 0, 256), I(HALT, 0, 0, 0, 0) } },

	/* symbols and expressions */
	{ ".equ N, 10\n.equ M, N * (2 + 3)\n.reg sum, r7\naddi sum, sum, M - -1", 1,
	  { I(ADDI, 7, 7, 0, 51) } },
	{ ".equ NEXT, 8\n.reg p, r2\nld8 r1, NEXT + 8(p)", 1, { I(LD8, 1, 2, 0, 16) } },
	{ ".reg p, r2\nld8 r1, (p)", 1, { I(LD8, 1, 2, 0, 0) } },
	{ "ld8 r1, (4 + 4)(r2)", 1, { I(LD8, 1, 2, 0, 8) } },
	{ ".equ p, 4\nld8 r1, (p)(r2)", 1, { I(LD8, 1, 2, 0, 4) } },
	{ "li r1, 1 + 2 * 3 << 1 | 1 ^ 3 & 2", 1, { I(LI, 1, 0, 0, 15) } },
	{ "li r1, 100 / 7 % 8 - ~0", 1, { I(LI, 1, 0, 0, 7) } },
	{ "li r1, 10 - 3 - 2", 1, { I(LI, 1, 0, 0, 5) } },
	{ "li r1, '\\n' + '\\x41' + '\\'' + ';' + '#'", 1,
	  { I(LI, 1, 0, 0, '\n' + 'A' + '\'' + ';' + '#') } },
	{ "addi r1, r2, 0xffffffffffffff00", 1, { I(ADDI, 1, 2, 0, -256) } },
	{ "lih r1, 0xffffffff", 1, { I(LIH, 1, 0, 0, -1) } },
	{ "trap b - a\na: nop\nb: nop", 3,
	  { I(TRAP, 0, 0, 0, 1), I(NOP, 0, 0, 0, 0), I(NOP, 0, 0, 0, 0) } },

	/* any bytes */
	{ ".insn 0xff, 1, 2, 255, -7", 1, { { 0xff, 1, 2, 255, -7 } } },
};

static const struct {
	const char *text, *message;
} bads[] = {
	{ "nop\n\n\n\n\n\nadd r99, r1, r2", "line 7: unknown register 'r99'" },
	{ "add r32, r1, r2", "line 1: unknown register 'r32'" },
	{ "add r01, r1, r2", "line 1: unknown register 'r01'" },
	{ "add r1234567890123, r1, r2", "line 1: unknown register 'r1234567890123'" },
	{ "frob r1", "line 1: unknown instruction 'frob'" },
	{ "ADD r1, r2, r3", "line 1: unknown instruction 'ADD'" },
	{ "add r1, r2", "line 1: 'add' takes 3 operands, found 2" },
	{ "add", "line 1: 'add' takes 3 operands, found 0" },
	{ "add r1, r2, ; r3", "line 1: 'add' takes 3 operands, found 2" },
	{ "tid", "line 1: 'tid' takes 1 operand, found 0" },
	{ "add r1 r2, r3", "line 1: expected ',' after operand 1 of 'add', found 'r2'" },
	{ "add r1, r2, r3, r4", "line 1: unexpected ',' after the operands of 'add'" },
	{ "halt 1", "line 1: unexpected '1' after the operands of 'halt'" },
	{ "add r1, r2, 3", "line 1: expected a register, found '3'" },
	{ "add r1, r2, foo", "line 1: expected a register, found 'foo'" },
	{ "addi r1, r2, r3", "line 1: expected a value, found register 'r3'" },
	{ "addi r1, r2, ,", "line 1: expected a value, found ','" },
	{ "addi r1, r2, 1 +", "line 1: expected a value, found the end of the line" },
	{ "addi r1, r2, (1", "line 1: expected ')', found the end of the line" },
	{ "addi r1, r2, 0x80000000",
	  "line 1: immediate 2147483648 is not in -2147483648..2147483647" },
	{ "lih r1, 0x100000000",
	  "line 1: upper half 4294967296 is not in -2147483648..4294967295" },
	{ "subi r1, r2, -0x80000000", "line 1: immediate -2147483648 cannot be negated" },
	{ "shli r1, r2, 64", "line 1: shift amount 64 is not in 0..63" },
	{ "shli r1, r2, -1", "line 1: shift amount -1 is not in 0..63" },
	{ "ld8 r1, 0x80000000(r2)",
	  "line 1: offset 2147483648 is not in -2147483648..2147483647" },
	{ "ld8 r1, 16",
	  "line 1: expected a memory operand like 16(r1), found the end of the line after the offset" },
	{ "ld8 r1, r2", "line 1: expected a value, found register 'r2'" },
	{ "ld8 r1, 16(8)", "line 1: expected a register, found '8'" },
	{ "ld8 r1, 16(r2", "line 1: expected ')', found the end of the line" },
	{ "ld8 r1, 16[r2]",
	  "line 1: expected a memory operand like 16(r1), found '[' after the offset" },
	{ "jmp nowhere", "line 1: unknown symbol 'nowhere'" },
	{ "jmp end\nend:", "line 1: branch target is past the last instruction" },
	{ "x: nop\nx: nop", "line 2: 'x' is already defined on line 1" },
	{ ".equ x, 1\nx: nop", "line 2: 'x' is already defined on line 1" },
	{ "r5: nop", "line 1: 'r5' is the name of a register" },
	{ "r77: nop", "line 1: 'r77' is the name of a register" },
	{ "zero: nop", "line 1: 'zero' is the name of a register" },
	{ "li r1, N\n.equ N, 5", "line 1: 'N' is used before its .equ on line 2" },
	{ "mov x, r1\n.reg x, r5", "line 1: expected a register, found 'x'" },
	{ ".equ N, here\nhere: nop",
	  "line 1: '.equ' needs a value that is known here, without labels" },
	{ ".equ N", "line 1: expected ',' after the name, found the end of the line" },
	{ ".equ", "line 1: expected a name after '.equ', found the end of the line" },
	{ ".reg x, 5", "line 1: expected a register, found '5'" },
	{ ".word 5", "line 1: unknown directive '.word'" },
	{ ".insn 1, 2, 3",
	  "line 1: expected '.insn op, rd, ra, rb, imm' with 5 numbers, found the end of the line" },
	{ ".insn 256, 0, 0, 0, 0", "line 1: field 256 is not in 0..255" },
	{ "li r1, 08", "line 1: bad number '08'" },
	{ "li r1, 12ab", "line 1: bad number '12ab'" },
	{ "li r1, 0x", "line 1: bad number '0x'" },
	{ "li r1, 0b12", "line 1: bad number '0b12'" },
	{ "li r1, 18446744073709551616", "line 1: number does not fit in 64 bits" },
	{ "li r1, 0x10000000000000000", "line 1: number does not fit in 64 bits" },
	{ "li r1, ''", "line 1: bad character constant" },
	{ "li r1, 'ab'", "line 1: bad character constant" },
	{ "li r1, '", "line 1: bad character constant" },
	{ "li r1, '\\", "line 1: bad character constant" },
	{ "li r1, '\\q'", "line 1: bad character constant" },
	{ "li r1, '\\x4'", "line 1: bad character constant" },
	{ "li r1, 1 / 0", "line 1: division by zero" },
	{ "li r1, 5 % (1 - 1)", "line 1: division by zero" },
	{ "li r1, 1 << 64", "line 1: shift by more than 63" },
	{ "li r1, x << 40\nnop\nx: nop",
	  "line 1: value 2199023255552 with a label does not fit in 32 bits" },
	{ "li r1, 1 < 2", "line 1: unexpected '<' after the operands of 'li'" },
	{ "5: nop", "line 1: expected an instruction or a label, found '5'" },
	{ "\x01", "line 1: expected an instruction or a label, found byte 0x01" },
	{ "nop\n\xff\n", "line 2: expected an instruction or a label, found byte 0xff" },
	{ "", "line 1: program has no instruction" },
	{ "; only a comment\nx:\n.equ y, 1", "line 3: program has no instruction" },
	/* one message for each wrong line, and only one */
	{ "frob\nnop\nadd r99, r98, 5\n",
	  "line 1: unknown instruction 'frob'\nline 3: unknown register 'r99'" },
	{ "jmp a\njmp b", "line 1: unknown symbol 'a'\nline 2: unknown symbol 'b'" },
};

static void test_goods(void)
{
	const struct good *g;
	struct dgpu_prog *prog;
	uint32_t n;
	char *error;
	int ret;

	tap_begin("every instruction, pseudo-instruction and directive");
	for (g = goods; g < goods + sizeof(goods) / sizeof(*goods); g++) {
		ret = dgpu_assemble(g->text, &prog, &error);
		if (!EXPECT(!ret && prog && !error, "\"%s\": %d %s", g->text, ret, error ?: "")) {
			free(error);
			continue;
		}
		EXPECT(!memcmp(dgpu_prog_code(prog, &n), g->code,
			       sizeof(g->code[0]) * (g->n < n ? g->n : n)), "\"%s\"", g->text);
		EXPECT(n == g->n, "\"%s\": %u", g->text, n);
		dgpu_prog_free(prog);
	}
	tap_end();
}

static void test_complete(void)
{
	bool seen[256] = { };
	const struct good *g;
	char text[64];
	unsigned int op;

	tap_begin("every number below DGPU_OP_MAX has a mnemonic or is unused");
	for (g = goods; g < goods + sizeof(goods) / sizeof(*goods); g++)
		seen[g->code[0].op] = true;
	for (op = 0; op < DGPU_OP_MAX; op++) {
		dgpu_disasm(&(struct dgpu_insn){ .op = op }, text, sizeof(text));
		EXPECT(seen[op] == !!strncmp(text, ".insn", 5), "0x%02x \"%s\"", op, text);
	}
	tap_end();
}

static void test_bads(void)
{
	struct dgpu_prog *prog;
	unsigned int i;
	char *error;
	int ret;

	tap_begin("every error message");
	for (i = 0; i < sizeof(bads) / sizeof(*bads); i++) {
		prog = (void *)1;
		ret = dgpu_assemble(bads[i].text, &prog, &error);
		EXPECT(ret == -EINVAL && !prog, "\"%s\": %d", bads[i].text, ret);
		EXPECT(error && !strcmp(error, bads[i].message), "\"%s\": \"%s\"", bads[i].text,
		       error ?: "");
		free(error);
	}
	EXPECT(dgpu_assemble("frob", &prog, NULL) == -EINVAL, "without a place for the message");
	tap_end();
}

static void test_limits(void)
{
	const size_t lines = 1048577, deep = 100000;
	struct dgpu_prog *prog;
	char *text, *error;
	unsigned int i, n = 0;
	const char *p;

	tap_begin("limits: program, text, nesting, names, number of messages");
	text = malloc(lines * 4 + deep + 1);
	for (i = 0; i < lines; i++)
		memcpy(text + i * 4, "nop\n", 4);
	text[(lines - 1) * 4] = '\0';
	EXPECT(!dgpu_assemble(text, &prog, &error), "the longest program");
	dgpu_prog_free(prog);
	text[(lines - 1) * 4] = 'n';
	text[lines * 4] = '\0';
	EXPECT(dgpu_assemble(text, &prog, &error) == -EINVAL, "one more");
	EXPECT(!strcmp(error, "line 1048577: program is longer than 1048576 instructions"), "%s",
	       error);
	free(error);

	memcpy(text, "li r1, ", 7);
	memset(text + 7, '(', deep);
	text[7 + deep] = '\0';
	dgpu_assemble(text, &prog, &error);
	EXPECT(!strcmp(error, "line 1: expression is nested too deeply"), "%s", error);
	free(error);
	memset(text + 7, '-', deep);
	dgpu_assemble(text, &prog, &error);
	EXPECT(!strcmp(error, "line 1: expression is nested too deeply"), "%s", error);
	free(error);

	memset(text, 'a', 127);
	memcpy(text + 127, ": nop", 6);
	EXPECT(!dgpu_assemble(text, &prog, &error), "a name of 127");
	dgpu_prog_free(prog);
	memset(text, 'a', 128);
	memcpy(text + 128, ": nop", 6);
	dgpu_assemble(text, &prog, &error);
	EXPECT(!strcmp(error, "line 1: name 'aaaaaaaaaaaaaaaa...' is longer than 127 characters"),
	       "%s", error);
	free(error);

	for (i = 0; i < 100; i++)
		memcpy(text + i * 4, "bad\n", 4);
	text[400] = '\0';
	dgpu_assemble(text, &prog, &error);
	for (p = error; p; p = strchr(p + 1, '\n'))
		n++;
	EXPECT(n == 20, "%u messages", n);
	free(error);
	free(text);
	tap_end();
}

static void test_lines(void)
{
	struct dgpu_prog *prog;
	char *error;

	tap_begin("source lines of instructions");
	EXPECT(!dgpu_assemble("nop\n\nli r1, 1 << 40\n; c\nhalt", &prog, &error), "%s", error);
	EXPECT(dgpu_prog_line(prog, 0) == 1 && dgpu_prog_line(prog, 1) == 3 &&
	       dgpu_prog_line(prog, 2) == 3 && dgpu_prog_line(prog, 3) == 5, "lines");
	EXPECT(!dgpu_prog_line(prog, 4) && !dgpu_prog_line(prog, UINT32_MAX), "outside");
	dgpu_prog_free(prog);

	EXPECT(dgpu_prog_new(NULL, 0, &prog) == -EINVAL && !prog, "empty");
	EXPECT(!dgpu_prog_new(&(struct dgpu_insn){ .op = 0xff }, 1, &prog), "raw");
	EXPECT(!dgpu_prog_line(prog, 0), "raw code has no lines");
	dgpu_prog_free(prog);
	dgpu_prog_free(NULL);
	tap_end();
}

static void test_files(void)
{
	char path[] = "/tmp/test_asm.XXXXXX", *error;
	int fd = mkstemp(path);
	struct dgpu_prog *prog;
	uint32_t n;

	tap_begin("files");
	EXPECT(write(fd, "nop\nhalt", 8) == 8, "write");
	EXPECT(!dgpu_assemble_file(path, &prog, &error) && dgpu_prog_code(prog, &n) && n == 2,
	       "a file without a last newline");
	dgpu_prog_free(prog);
	EXPECT(write(fd, "\n\0nop", 5) == 5, "write");
	EXPECT(dgpu_assemble_file(path, &prog, &error) == -EINVAL && !prog, "NUL");
	EXPECT(error && !strcmp(error, "line 3: a NUL byte in the text"), "%s", error);
	free(error);
	close(fd);
	unlink(path);
	EXPECT(dgpu_assemble_file(path, &prog, &error) == -ENOENT && !prog && !error, "no file");
	EXPECT(dgpu_assemble_file("/", &prog, &error) == -EISDIR && !prog && !error, "directory");
	tap_end();
}

static void round_trip(const struct dgpu_insn *insn)
{
	struct dgpu_prog *prog;
	char text[64], small[8], *error;
	const void *code;
	uint32_t n;
	int len;

	len = dgpu_disasm(insn, text, sizeof(text));
	if (!EXPECT(len > 0 && len < (int)sizeof(text), "length %d", len))
		return;
	EXPECT(dgpu_disasm(insn, small, sizeof(small)) == len && !memcmp(small, text, strlen(small)),
	       "cut off");
	if (!EXPECT(!dgpu_assemble(text, &prog, &error), "\"%s\": %s", text, error)) {
		free(error);
		return;
	}
	code = dgpu_prog_code(prog, &n);
	EXPECT(n == 1 && !memcmp(code, insn, sizeof(*insn)), "\"%s\"", text);
	dgpu_prog_free(prog);
}

static void test_round_trip(uint64_t seed)
{
	static const int32_t edges[] = { 0, 1, -1, 63, 64, INT32_MIN, INT32_MAX, 4096 };
	struct dgpu_insn insn;
	unsigned int i, f;
	uint64_t r;

	tap_begin("disassemble, assemble: the same bytes; all kinds of fields");
	for (i = 0; i < 256; i++)
		for (f = 0; f < 16 * sizeof(edges) / sizeof(*edges); f++) {
			insn.op = i;
			insn.rd = f & 1 ? 31 : 0;
			insn.ra = f & 2 ? 17 : 0;
			insn.rb = f & 4 ? 1 : 0;
			if (f & 8)
				insn.rd += 32;	/* no register */
			insn.imm = edges[f / 16];
			round_trip(&insn);
		}
	tap_end();

	tap_begin("disassemble, assemble: the same bytes; random");
	for (i = 0; i < 100000; i++) {
		r = tap_random(&seed);
		memcpy(&insn, &r, sizeof(insn));
		if (i & 1) {
			insn.op %= DGPU_OP_MAX;
			insn.rd %= DGPU_NREGS;
			insn.ra %= DGPU_NREGS;
			insn.rb = i & 2 ? 0 : insn.rb % DGPU_NREGS;
		}
		if (i & 4)
			insn.imm >>= tap_random(&seed) % 32;
		round_trip(&insn);
	}
	tap_end();
}

int main(void)
{
	uint64_t seed = tap_seed(1);

	test_goods();
	test_complete();
	test_bads();
	test_limits();
	test_lines();
	test_files();
	test_round_trip(seed);
	return tap_done();
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The table of instructions: how each is written.
 *
 * Assembler and disassembler both work from this table, so that they cannot
 * disagree.  An instruction's fields that no operand names must be zero.
 */
#include <string.h>
#include "private.h"

#define LONGEST 8

static const struct dgpu_isa isa[DGPU_OP_MAX] = {
	[DGPU_OP_ILL]	= { "ill",	"" },
	[DGPU_OP_NOP]	= { "nop",	"" },
	[DGPU_OP_HALT]	= { "halt",	"" },
	[DGPU_OP_TRAP]	= { "trap",	"i" },

	[DGPU_OP_LI]	= { "li",	"di" },
	[DGPU_OP_LIH]	= { "lih",	"dh" },
	[DGPU_OP_MOV]	= { "mov",	"da" },
	[DGPU_OP_TID]	= { "tid",	"d" },
	[DGPU_OP_NTID]	= { "ntid",	"d" },

	[DGPU_OP_ADD]	= { "add",	"dab" },
	[DGPU_OP_SUB]	= { "sub",	"dab" },
	[DGPU_OP_MUL]	= { "mul",	"dab" },
	[DGPU_OP_DIVU]	= { "divu",	"dab" },
	[DGPU_OP_REMU]	= { "remu",	"dab" },
	[DGPU_OP_AND]	= { "and",	"dab" },
	[DGPU_OP_OR]	= { "or",	"dab" },
	[DGPU_OP_XOR]	= { "xor",	"dab" },
	[DGPU_OP_SHL]	= { "shl",	"dab" },
	[DGPU_OP_SHR]	= { "shr",	"dab" },
	[DGPU_OP_SAR]	= { "sar",	"dab" },
	[DGPU_OP_SLT]	= { "slt",	"dab" },
	[DGPU_OP_SLTU]	= { "sltu",	"dab" },

	[DGPU_OP_ADDI]	= { "addi",	"dai" },
	[DGPU_OP_MULI]	= { "muli",	"dai" },
	[DGPU_OP_ANDI]	= { "andi",	"dai" },
	[DGPU_OP_ORI]	= { "ori",	"dai" },
	[DGPU_OP_XORI]	= { "xori",	"dai" },
	[DGPU_OP_SHLI]	= { "shli",	"das" },
	[DGPU_OP_SHRI]	= { "shri",	"das" },
	[DGPU_OP_SARI]	= { "sari",	"das" },

	[DGPU_OP_JMP]	= { "jmp",	"t" },
	[DGPU_OP_JAL]	= { "jal",	"dt" },
	[DGPU_OP_JR]	= { "jr",	"a" },
	[DGPU_OP_BEQ]	= { "beq",	"abt" },
	[DGPU_OP_BNE]	= { "bne",	"abt" },
	[DGPU_OP_BLT]	= { "blt",	"abt" },
	[DGPU_OP_BGE]	= { "bge",	"abt" },
	[DGPU_OP_BLTU]	= { "bltu",	"abt" },
	[DGPU_OP_BGEU]	= { "bgeu",	"abt" },

	[DGPU_OP_LD1]	= { "ld1",	"dm" },
	[DGPU_OP_LD2]	= { "ld2",	"dm" },
	[DGPU_OP_LD4]	= { "ld4",	"dm" },
	[DGPU_OP_LD8]	= { "ld8",	"dm" },
	[DGPU_OP_LD1S]	= { "ld1s",	"dm" },
	[DGPU_OP_LD2S]	= { "ld2s",	"dm" },
	[DGPU_OP_LD4S]	= { "ld4s",	"dm" },
	[DGPU_OP_ST1]	= { "st1",	"dm" },
	[DGPU_OP_ST2]	= { "st2",	"dm" },
	[DGPU_OP_ST4]	= { "st4",	"dm" },
	[DGPU_OP_ST8]	= { "st8",	"dm" },

	[DGPU_OP_AADD4]	= { "aadd4",	"dbm" },
	[DGPU_OP_AADD8]	= { "aadd8",	"dbm" },
	[DGPU_OP_AXCHG4] = { "axchg4",	"dbm" },
	[DGPU_OP_AXCHG8] = { "axchg8",	"dbm" },
	[DGPU_OP_ACAS4]	= { "acas4",	"dbm" },
	[DGPU_OP_ACAS8]	= { "acas8",	"dbm" },
};

/**
 * dgpu_isa_by_op() - look up an instruction by its number
 * @op: enum dgpu_op, or any number
 *
 * Return: its entry, or NULL if no instruction has that number.
 */
const struct dgpu_isa *dgpu_isa_by_op(unsigned int op)
{
	return op < DGPU_OP_MAX && isa[op].name ? &isa[op] : NULL;
}

/**
 * dgpu_isa_by_name() - look up an instruction by its mnemonic
 * @name: text, need not end with a NUL
 * @len: its length
 *
 * Return: enum dgpu_op, or -1 if no instruction has that name.
 */
int dgpu_isa_by_name(const char *name, size_t len)
{
	unsigned int op;

	if (len > LONGEST)
		return -1;
	for (op = 0; op < DGPU_OP_MAX; op++)
		if (isa[op].name && strlen(isa[op].name) == len &&
		    !memcmp(isa[op].name, name, len))
			return op;
	return -1;
}

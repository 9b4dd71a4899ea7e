// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions to text.
 *
 * The principle: assembling the text gives the same eight bytes, whatever they are.
 * What has no mnemonic, or has something in a field that must be zero, is written as
 * ".insn op, rd, ra, rb, imm".
 */
#include <inttypes.h>
#include <string.h>
#include "private.h"

/* Can the text that the operands describe say everything that is in the fields? */
static bool expressible(const struct dgpu_isa *isa, const struct dgpu_insn *insn)
{
	bool d = false, a = false, b = false, imm = false;
	const char *op;

	for (op = isa->operands; *op; op++) {
		switch (*op) {
		case 'd':
			d = true;
			break;
		case 'a':
			a = true;
			break;
		case 'b':
			b = true;
			break;
		case 'm':
			a = true;
			imm = true;
			break;
		case 's':
			if (insn->imm < 0 || insn->imm > 63)
				return false;
			imm = true;
			break;
		default:
			imm = true;
		}
	}
	return (d || !insn->rd) && (a || !insn->ra) && (b || !insn->rb) && (imm || !insn->imm) &&
	       insn->rd < DGPU_NREGS && insn->ra < DGPU_NREGS && insn->rb < DGPU_NREGS;
}

/**
 * dgpu_disasm() - write one instruction as text
 * @insn: instruction, any bytes
 * @buf: where the text goes
 * @size: size of @buf; 64 bytes are enough for every instruction
 *
 * Branch targets are written as instruction indexes.
 *
 * Return: length of the whole text, as snprintf() does: it was cut off if this is
 * @size or more.
 */
int dgpu_disasm(const struct dgpu_insn *insn, char *buf, size_t size)
{
	const struct dgpu_isa *isa = dgpu_isa_by_op(insn->op);
	const char *op, *sep = " ";
	char text[64];
	int len;

	if (!isa || !expressible(isa, insn))
		return snprintf(buf, size, ".insn 0x%02x, %u, %u, %u, %" PRId32, insn->op,
				insn->rd, insn->ra, insn->rb, insn->imm);

	len = snprintf(text, sizeof(text), "%s", isa->name);
	for (op = isa->operands; *op; op++, sep = ", ") {
		char *to = text + len;
		size_t room = sizeof(text) - len;

		switch (*op) {
		case 'd':
			len += snprintf(to, room, "%sr%u", sep, insn->rd);
			break;
		case 'a':
			len += snprintf(to, room, "%sr%u", sep, insn->ra);
			break;
		case 'b':
			len += snprintf(to, room, "%sr%u", sep, insn->rb);
			break;
		case 'm':
			len += snprintf(to, room, "%s%" PRId32 "(r%u)", sep, insn->imm, insn->ra);
			break;
		default:
			len += snprintf(to, room, "%s%" PRId32, sep, insn->imm);
		}
	}
	return snprintf(buf, size, "%s", text);
}

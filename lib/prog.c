// SPDX-License-Identifier: GPL-2.0
/*
 * Programs: an array of instructions and the lines they came from.
 *
 * A program never changes once its maker returned it, so threads may share it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "private.h"

/**
 * dgpu_prog_new() - make a program of instructions
 * @code: instructions, copied; they are not checked
 * @ninsns: how many, 1 or more
 * @prog: where the program goes
 *
 * Return: 0, -EINVAL for an empty program, or -ENOMEM.
 */
int dgpu_prog_new(const struct dgpu_insn *code, uint32_t ninsns, struct dgpu_prog **prog)
{
	struct dgpu_prog *new;

	*prog = NULL;
	if (!ninsns)
		return -EINVAL;
	new = calloc(1, sizeof(*new));
	if (!new)
		return -ENOMEM;
	new->insns = calloc(ninsns, sizeof(*new->insns));
	if (!new->insns) {
		free(new);
		return -ENOMEM;
	}
	memcpy(new->insns, code, ninsns * sizeof(*code));
	new->ninsns = ninsns;
	*prog = new;
	return 0;
}

/**
 * dgpu_prog_free() - free a program
 * @prog: program, or NULL
 *
 * Jobs that were submitted with it do not need it any more.
 */
void dgpu_prog_free(struct dgpu_prog *prog)
{
	if (!prog)
		return;
	free(prog->insns);
	free(prog->lines);
	free(prog);
}

/**
 * dgpu_prog_code() - look at the instructions of a program
 * @prog: program
 * @ninsns: where their number goes, or NULL
 *
 * Return: the instructions; they live as long as @prog.
 */
const struct dgpu_insn *dgpu_prog_code(const struct dgpu_prog *prog, uint32_t *ninsns)
{
	if (ninsns)
		*ninsns = prog->ninsns;
	return prog->insns;
}

/**
 * dgpu_prog_line() - find the source line of an instruction
 * @prog: program
 * @index: index of the instruction, any number
 *
 * Return: line of the text, from 1 on; 0 if it is not known.
 */
uint32_t dgpu_prog_line(const struct dgpu_prog *prog, uint32_t index)
{
	return prog->lines && index < prog->ninsns ? prog->lines[index] : 0;
}

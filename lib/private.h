/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of libdgpu share.
 *
 * Layers, each uses only those below it:
 *
 *	job.c			submit, wait, collect
 *	memory.c		ranges of addresses: page tables, migration, hints
 *	dev.c			an open device; counters, events
 *	sys.c			system calls; tests replace this file
 *
 *	asm.c disasm.c		text to instructions and back
 *	expr.c			lexical elements and expressions of the assembler
 *	isa.c			table of instructions
 *	prog.c			an assembled program
 *
 *	names.c			numbers to words
 */
#ifndef DGPU_PRIVATE_H
#define DGPU_PRIVATE_H

#include <pthread.h>
#include "libdgpu.h"

#define __printf(a, b) __attribute__((__format__(printf, a, b)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- sys.c: 0 or more is success, errors are negative errnos ---- */

int dgpu_sys_open(const char *path);
void dgpu_sys_close(int fd);
int dgpu_sys_ioctl(int fd, unsigned long request, void *arg);
ssize_t dgpu_sys_read(int fd, void *buf, size_t size);
int dgpu_sys_poll(int fd, int timeout_ms);

/* ---- dev.c ---- */

/**
 * struct dgpu_dev - an open device
 * @fd: the open file
 * @lock: protects the fields below
 * @orphans: numbers of jobs that were freed before they had finished; the device
 *	keeps their results until somebody collects them
 * @norphans: how many
 * @room: allocated entries of @orphans
 */
struct dgpu_dev {
	int fd;
	pthread_mutex_t lock;
	uint64_t *orphans;
	size_t norphans;
	size_t room;
};

/* ---- prog.c ---- */

/**
 * struct dgpu_prog - an assembled program; does not change once it is made
 * @ninsns: number of instructions
 * @insns: the instructions
 * @lines: line of the source text each came from, or NULL
 */
struct dgpu_prog {
	uint32_t ninsns;
	struct dgpu_insn *insns;
	uint32_t *lines;
};

/* ---- isa.c ---- */

/**
 * struct dgpu_isa - how one instruction is written
 * @name: mnemonic
 * @operands: one letter for each operand, in the order of the text:
 *	d, a, b: register in that field;
 *	i: immediate; h: immediate, upper half of a register; s: shift, 0..63;
 *	t: branch target; m: memory, immediate and register a, written imm(ra)
 */
struct dgpu_isa {
	const char *name;
	const char *operands;
};

const struct dgpu_isa *dgpu_isa_by_op(unsigned int op);
int dgpu_isa_by_name(const char *name, size_t len);

/* ---- expr.c ---- */

#define DGPU_SYM_MAX 128	/* longest name */

enum dgpu_sym_kind {
	DGPU_SYM_LABEL,
	DGPU_SYM_CONST,
	DGPU_SYM_REG,
};

struct dgpu_sym {
	enum dgpu_sym_kind kind;
	uint32_t line;		/* where it is defined */
	uint64_t value;
	char name[];
};

/**
 * struct dgpu_asm - state of one run of the assembler
 * @text: cursor into the source text
 * @line: number of the line that the cursor is in
 * @resolve: the second pass: every label is known
 * @failed: this line has an error already
 * @errors: number of lines with an error
 * @messages: where the messages go
 * @symbols: tree of struct dgpu_sym (tsearch)
 * @pc: index of the next instruction
 * @room: allocated entries of the program's arrays
 * @prog: the program
 * @nomem: an allocation failed; everything stops
 */
struct dgpu_asm {
	const char *text;
	uint32_t line;
	bool resolve;
	bool failed;
	unsigned int errors;
	FILE *messages;
	void *symbols;
	uint32_t pc;
	uint32_t room;
	struct dgpu_prog *prog;
	bool nomem;
};

/**
 * struct dgpu_value - value of an expression
 * @value: 64 bits, all arithmetic wraps
 * @label: it depends on a label; in the first pass @value means nothing then
 */
struct dgpu_value {
	uint64_t value;
	bool label;
};

__printf(2, 3)
bool dgpu_asm_error(struct dgpu_asm *as, const char *fmt, ...);
const char *dgpu_asm_here(const struct dgpu_asm *as, char *buf, size_t size);
void dgpu_asm_blank(struct dgpu_asm *as);
bool dgpu_asm_at_end(struct dgpu_asm *as);
size_t dgpu_asm_name(struct dgpu_asm *as, char *name);
struct dgpu_sym *dgpu_asm_find(struct dgpu_asm *as, const char *name);
bool dgpu_asm_define(struct dgpu_asm *as, const char *name, enum dgpu_sym_kind kind,
		     uint64_t value);
int dgpu_asm_register_number(const char *name);
bool dgpu_asm_register(struct dgpu_asm *as, uint8_t *reg);
bool dgpu_asm_expr(struct dgpu_asm *as, struct dgpu_value *value);

#endif /* DGPU_PRIVATE_H */

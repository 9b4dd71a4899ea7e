// SPDX-License-Identifier: GPL-2.0
/*
 * The examples of Documentation/gpu-isa.rst: each literal block is assembled and run, and
 * what its comments "; NAME == VALUE" say is compared with what has come of it.  The page
 * must have an example of every instruction.
 */
#include "../../drivers/dummy_gpu/hw/isa.c"
#include <ctype.h>
#include <stdio.h>
#include "libdgpu.h"
#include "tap.h"

#define DOC		"../../Documentation/gpu-isa.rst"
#define MEM_BASE	0x10000
#define MEM_SIZE	64
#define BUDGET		1000
#define TID		5
#define NTID		9

void (*dgpu_host_before_cmpxchg)(void *p);

struct example {
	char text[4096];
	unsigned int line;
	struct dgpu_isa_thread thread;
	struct dgpu_isa_error error;
	u32 status;
	u64 insns;
	u8 mem[MEM_SIZE];
};

static bool seen[DGPU_OP_MAX];

static u8 *doc_mem(struct example *e, u64 addr, unsigned int size)
{
	if (addr < MEM_BASE || addr - MEM_BASE > MEM_SIZE - size)
		return NULL;
	return &e->mem[addr - MEM_BASE];
}

static enum dgpu_mem doc_load(void *ctx, u64 addr, unsigned int size, u64 *value)
{
	u8 *p = doc_mem(ctx, addr, size);

	if (!p)
		return DGPU_MEM_FAULT;
	*value = 0;
	memcpy(value, p, size);
	return DGPU_MEM_OK;
}

static enum dgpu_mem doc_store(void *ctx, u64 addr, unsigned int size, u64 value)
{
	u8 *p = doc_mem(ctx, addr, size);

	if (!p)
		return DGPU_MEM_FAULT;
	memcpy(p, &value, size);
	return DGPU_MEM_OK;
}

static enum dgpu_mem doc_atomic(void *ctx, enum dgpu_atomic op, u64 addr, unsigned int size,
				u64 operand, u64 compare, u64 *old)
{
	enum dgpu_mem status = doc_load(ctx, addr, size, old);

	if (size == 4)
		compare = (u32)compare;
	if (status != DGPU_MEM_OK || (op == DGPU_ATOMIC_CAS && *old != compare))
		return status;
	return doc_store(ctx, addr, size, op == DGPU_ATOMIC_ADD ? *old + operand : operand);
}

static const struct dgpu_isa_mem doc_ops = {
	.load = doc_load,
	.store = doc_store,
	.atomic = doc_atomic,
};

static void doc_run(struct example *e, const struct dgpu_insn *code, u32 ninsns)
{
	struct dgpu_isa_program program = {
		.code = code, .ninsns = ninsns, .nthreads = NTID,
	};
	const u64 args[DGPU_NARGS] = { MEM_BASE };
	enum dgpu_isa_step step;
	unsigned int i;

	for (i = 0; i < MEM_SIZE; i++)
		e->mem[i] = i;
	dgpu_isa_start(&e->thread, TID, args);
	for (i = 0; i < ninsns; i++)
		if (code[i].op < DGPU_OP_MAX)
			seen[code[i].op] = true;
	for (e->insns = 0; e->insns < BUDGET;) {
		step = dgpu_isa_step(&e->thread, &program, &doc_ops, e, &e->error);
		e->insns++;
		if (step != DGPU_STEP_NEXT)
			break;
	}
	EXPECT(e->insns < BUDGET, "does not end");
	e->status = step == DGPU_STEP_HALT ? DGPU_OK :
		    step == DGPU_STEP_ERROR ? e->error.status : DGPU_ERR_FAULT;
}

static bool doc_value(struct example *e, const char *name, u64 *value)
{
	unsigned int reg;
	char rest;

	if (sscanf(name, "r%u%c", &reg, &rest) == 1 && reg < DGPU_NREGS)
		*value = e->thread.reg[reg];
	else if (!strcmp(name, "pc"))
		*value = e->thread.pc;
	else if (!strcmp(name, "trap"))
		*value = e->error.trap;
	else if (!strcmp(name, "insns"))
		*value = e->insns;
	else
		return false;
	return true;
}

/* Returns the number of statements that were compared. */
static unsigned int doc_compare(struct example *e)
{
	char want_status[32] = "ok";
	unsigned int n = 0;
	u64 value = 0;
	char *line;

	for (line = strtok(e->text, "\n"); line; line = strtok(NULL, "\n")) {
		char name[32], want[32];

		if (sscanf(line, " ; %31s == %31s", name, want) != 2)
			continue;
		n++;
		if (!strcmp(name, "status")) {
			memcpy(want_status, want, sizeof(want_status));
			continue;
		}
		EXPECT(doc_value(e, name, &value), "line %u: what is %s?", e->line, name);
		EXPECT(value == strtoull(want, NULL, 0), "line %u: %s is %#llx, not %s", e->line,
		       name, value, want);
	}
	EXPECT(!strcmp(dgpu_status_name(e->status), want_status), "line %u: status is %s, not %s",
	       e->line, dgpu_status_name(e->status), want_status);
	return n + (want_status[0] != 'o');
}

static void doc_example(struct example *e)
{
	struct dgpu_prog *prog;
	const struct dgpu_insn *code;
	char *error = NULL;
	char name[64];
	u32 ninsns;

	snprintf(name, sizeof(name), "example on line %u", e->line);
	tap_begin(name);
	if (EXPECT(!dgpu_assemble(e->text, &prog, &error), "%s", error)) {
		code = dgpu_prog_code(prog, &ninsns);
		doc_run(e, code, ninsns);
		EXPECT(doc_compare(e), "nothing is said about it");
		dgpu_prog_free(prog);
	}
	free(error);
	tap_end();
}

int main(void)
{
	static struct example e;
	unsigned int line = 0, op;
	char text[256];
	bool inside = false, after = false;
	FILE *doc;

	doc = fopen(DOC, "r");
	if (!tap_ok(doc, "there is " DOC))
		return tap_done();

	/* A literal block: indented lines after one that ends in "::". */
	while (fgets(text, sizeof(text), doc)) {
		size_t length = strcspn(text, "\n");

		line++;
		if (inside && text[0] != '\t' && length) {
			doc_example(&e);
			inside = false;
		}
		if (after && text[0] == '\t') {
			memset(&e, 0, sizeof(e));
			e.line = line;
			inside = true;
			after = false;
		}
		if (inside && strlen(e.text) + strlen(text) < sizeof(e.text))
			strcat(e.text, text);
		if (length >= 2 && !strncmp(text + length - 2, "::", 2) && !inside)
			after = true;
	}
	if (inside)
		doc_example(&e);
	fclose(doc);

	tap_begin("every instruction has an example");
	for (op = 0; op < DGPU_OP_MAX; op++)
		EXPECT(seen[op] || (op && !dgpu_isa_form[op]), "op %#x", op);
	tap_end();
	return tap_done();
}

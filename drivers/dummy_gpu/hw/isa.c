// SPDX-License-Identifier: GPL-2.0
/*
 * Instruction decoder: executes one instruction of one thread.
 *
 * It owns nothing: the thread's state is its caller's, memory is behind three
 * functions.  Documentation/gpu-isa.rst is the specification.
 *
 * The principle: an instruction happens completely or not at all.  One that ends in a
 * memory fault leaves registers and pc as they were, so that it can be run again when
 * the fault has been answered, and one that is not exactly as documented is illegal.
 */
#include "units.h"

/* Operands that an instruction uses; the others must be zero. */
#define DGPU_USE_RD	BIT(0)
#define DGPU_USE_RA	BIT(1)
#define DGPU_USE_RB	BIT(2)
#define DGPU_USE_IMM	BIT(3)
#define DGPU_USE_OP	BIT(4)	/* there is such an instruction */

#define DGPU_FORM_NONE	DGPU_USE_OP
#define DGPU_FORM_D	(DGPU_USE_OP | DGPU_USE_RD)
#define DGPU_FORM_A	(DGPU_USE_OP | DGPU_USE_RA)
#define DGPU_FORM_I	(DGPU_USE_OP | DGPU_USE_IMM)
#define DGPU_FORM_DI	(DGPU_FORM_D | DGPU_USE_IMM)
#define DGPU_FORM_DA	(DGPU_FORM_D | DGPU_USE_RA)
#define DGPU_FORM_DAB	(DGPU_FORM_DA | DGPU_USE_RB)
#define DGPU_FORM_DAI	(DGPU_FORM_DA | DGPU_USE_IMM)
#define DGPU_FORM_ABI	(DGPU_FORM_A | DGPU_USE_RB | DGPU_USE_IMM)
#define DGPU_FORM_DABI	(DGPU_FORM_DAB | DGPU_USE_IMM)

static const u8 dgpu_isa_form[DGPU_OP_MAX] = {
	[DGPU_OP_NOP]		= DGPU_FORM_NONE,
	[DGPU_OP_HALT]		= DGPU_FORM_NONE,
	[DGPU_OP_TRAP]		= DGPU_FORM_I,
	[DGPU_OP_LI]		= DGPU_FORM_DI,
	[DGPU_OP_LIH]		= DGPU_FORM_DI,
	[DGPU_OP_MOV]		= DGPU_FORM_DA,
	[DGPU_OP_TID]		= DGPU_FORM_D,
	[DGPU_OP_NTID]		= DGPU_FORM_D,
	[DGPU_OP_ADD]		= DGPU_FORM_DAB,
	[DGPU_OP_SUB]		= DGPU_FORM_DAB,
	[DGPU_OP_MUL]		= DGPU_FORM_DAB,
	[DGPU_OP_DIVU]		= DGPU_FORM_DAB,
	[DGPU_OP_REMU]		= DGPU_FORM_DAB,
	[DGPU_OP_AND]		= DGPU_FORM_DAB,
	[DGPU_OP_OR]		= DGPU_FORM_DAB,
	[DGPU_OP_XOR]		= DGPU_FORM_DAB,
	[DGPU_OP_SHL]		= DGPU_FORM_DAB,
	[DGPU_OP_SHR]		= DGPU_FORM_DAB,
	[DGPU_OP_SAR]		= DGPU_FORM_DAB,
	[DGPU_OP_SLT]		= DGPU_FORM_DAB,
	[DGPU_OP_SLTU]		= DGPU_FORM_DAB,
	[DGPU_OP_ADDI]		= DGPU_FORM_DAI,
	[DGPU_OP_MULI]		= DGPU_FORM_DAI,
	[DGPU_OP_ANDI]		= DGPU_FORM_DAI,
	[DGPU_OP_ORI]		= DGPU_FORM_DAI,
	[DGPU_OP_XORI]		= DGPU_FORM_DAI,
	[DGPU_OP_SHLI]		= DGPU_FORM_DAI,
	[DGPU_OP_SHRI]		= DGPU_FORM_DAI,
	[DGPU_OP_SARI]		= DGPU_FORM_DAI,
	[DGPU_OP_JMP]		= DGPU_FORM_I,
	[DGPU_OP_JAL]		= DGPU_FORM_DI,
	[DGPU_OP_JR]		= DGPU_FORM_A,
	[DGPU_OP_BEQ]		= DGPU_FORM_ABI,
	[DGPU_OP_BNE]		= DGPU_FORM_ABI,
	[DGPU_OP_BLT]		= DGPU_FORM_ABI,
	[DGPU_OP_BGE]		= DGPU_FORM_ABI,
	[DGPU_OP_BLTU]		= DGPU_FORM_ABI,
	[DGPU_OP_BGEU]		= DGPU_FORM_ABI,
	[DGPU_OP_LD1]		= DGPU_FORM_DAI,
	[DGPU_OP_LD2]		= DGPU_FORM_DAI,
	[DGPU_OP_LD4]		= DGPU_FORM_DAI,
	[DGPU_OP_LD8]		= DGPU_FORM_DAI,
	[DGPU_OP_LD1S]		= DGPU_FORM_DAI,
	[DGPU_OP_LD2S]		= DGPU_FORM_DAI,
	[DGPU_OP_LD4S]		= DGPU_FORM_DAI,
	[DGPU_OP_ST1]		= DGPU_FORM_DAI,
	[DGPU_OP_ST2]		= DGPU_FORM_DAI,
	[DGPU_OP_ST4]		= DGPU_FORM_DAI,
	[DGPU_OP_ST8]		= DGPU_FORM_DAI,
	[DGPU_OP_AADD4]		= DGPU_FORM_DABI,
	[DGPU_OP_AADD8]		= DGPU_FORM_DABI,
	[DGPU_OP_AXCHG4]	= DGPU_FORM_DABI,
	[DGPU_OP_AXCHG8]	= DGPU_FORM_DABI,
	[DGPU_OP_ACAS4]		= DGPU_FORM_DABI,
	[DGPU_OP_ACAS8]		= DGPU_FORM_DABI,
};

static bool dgpu_isa_is_legal(const struct dgpu_insn *insn)
{
	u8 form;

	if (insn->op >= DGPU_OP_MAX)
		return false;
	form = dgpu_isa_form[insn->op];
	return (form & DGPU_USE_OP) &&
	       insn->rd < ((form & DGPU_USE_RD) ? DGPU_NREGS : 1) &&
	       insn->ra < ((form & DGPU_USE_RA) ? DGPU_NREGS : 1) &&
	       insn->rb < ((form & DGPU_USE_RB) ? DGPU_NREGS : 1) &&
	       ((form & DGPU_USE_IMM) || !insn->imm);
}

static void dgpu_isa_set(struct dgpu_isa_thread *thread, unsigned int reg, u64 value)
{
	if (reg)
		thread->reg[reg] = value;
}

static u64 dgpu_isa_sign_extend(u64 value, unsigned int size)
{
	unsigned int shift = 64 - 8 * size;

	return (u64)((s64)(value << shift) >> shift);
}

/* rd = a OP b, for both forms; the immediate ones map to the others first. */
static bool dgpu_isa_compute(u8 op, u64 a, u64 b, u64 *result)
{
	switch (op) {
	case DGPU_OP_ADD:
	case DGPU_OP_ADDI:
		*result = a + b;
		return true;
	case DGPU_OP_SUB:
		*result = a - b;
		return true;
	case DGPU_OP_MUL:
	case DGPU_OP_MULI:
		*result = a * b;
		return true;
	case DGPU_OP_AND:
	case DGPU_OP_ANDI:
		*result = a & b;
		return true;
	case DGPU_OP_OR:
	case DGPU_OP_ORI:
		*result = a | b;
		return true;
	case DGPU_OP_XOR:
	case DGPU_OP_XORI:
		*result = a ^ b;
		return true;
	case DGPU_OP_SHL:
	case DGPU_OP_SHLI:
		*result = a << (b & 63);
		return true;
	case DGPU_OP_SHR:
	case DGPU_OP_SHRI:
		*result = a >> (b & 63);
		return true;
	case DGPU_OP_SAR:
	case DGPU_OP_SARI:
		*result = (u64)((s64)a >> (b & 63));
		return true;
	case DGPU_OP_SLT:
		*result = (s64)a < (s64)b;
		return true;
	case DGPU_OP_SLTU:
		*result = a < b;
		return true;
	default:
		return false;
	}
}

static bool dgpu_isa_branches(u8 op, u64 a, u64 b)
{
	switch (op) {
	case DGPU_OP_BEQ:
		return a == b;
	case DGPU_OP_BNE:
		return a != b;
	case DGPU_OP_BLT:
		return (s64)a < (s64)b;
	case DGPU_OP_BGE:
		return (s64)a >= (s64)b;
	case DGPU_OP_BLTU:
		return a < b;
	default:
		return a >= b;
	}
}

static enum dgpu_isa_step dgpu_isa_fail(struct dgpu_isa_error *error, u32 status)
{
	error->status = status;
	return DGPU_STEP_ERROR;
}

static enum dgpu_isa_step dgpu_isa_fail_at(struct dgpu_isa_error *error, u32 status,
					   u64 addr, u32 access)
{
	error->addr = addr;
	error->access = access;
	return dgpu_isa_fail(error, status);
}

static enum dgpu_isa_step dgpu_isa_load(struct dgpu_isa_thread *thread,
					const struct dgpu_insn *insn,
					const struct dgpu_isa_mem *mem, void *ctx,
					struct dgpu_isa_error *error)
{
	bool sign = insn->op >= DGPU_OP_LD1S;
	unsigned int size = 1u << (insn->op - (sign ? DGPU_OP_LD1S : DGPU_OP_LD1));
	u64 addr = thread->reg[insn->ra] + (u64)(s64)insn->imm;
	u64 value;

	switch (mem->load(ctx, addr, size, &value)) {
	case DGPU_MEM_OK:
		break;
	case DGPU_MEM_FAULT:
		return DGPU_STEP_FAULT;
	default:
		return dgpu_isa_fail_at(error, DGPU_ERR_BUS, addr, DGPU_ACCESS_READ);
	}
	dgpu_isa_set(thread, insn->rd, sign ? dgpu_isa_sign_extend(value, size) : value);
	return DGPU_STEP_NEXT;
}

static enum dgpu_isa_step dgpu_isa_store(struct dgpu_isa_thread *thread,
					 const struct dgpu_insn *insn,
					 const struct dgpu_isa_mem *mem, void *ctx,
					 struct dgpu_isa_error *error)
{
	unsigned int size = 1u << (insn->op - DGPU_OP_ST1);
	u64 addr = thread->reg[insn->ra] + (u64)(s64)insn->imm;

	switch (mem->store(ctx, addr, size, thread->reg[insn->rd])) {
	case DGPU_MEM_OK:
		return DGPU_STEP_NEXT;
	case DGPU_MEM_FAULT:
		return DGPU_STEP_FAULT;
	default:
		return dgpu_isa_fail_at(error, DGPU_ERR_BUS, addr, DGPU_ACCESS_WRITE);
	}
}

static enum dgpu_isa_step dgpu_isa_atomic(struct dgpu_isa_thread *thread,
					  const struct dgpu_insn *insn,
					  const struct dgpu_isa_mem *mem, void *ctx,
					  struct dgpu_isa_error *error)
{
	/* Pairs of 4 and 8 bytes, in the order of enum dgpu_atomic. */
	enum dgpu_atomic op = (enum dgpu_atomic)((insn->op - DGPU_OP_AADD4) / 2);
	unsigned int size = (insn->op - DGPU_OP_AADD4) % 2 ? 8 : 4;
	u64 addr = thread->reg[insn->ra] + (u64)(s64)insn->imm;
	u64 old;

	if (addr & (size - 1))
		return dgpu_isa_fail_at(error, DGPU_ERR_ALIGN, addr, DGPU_ACCESS_ATOMIC);

	switch (mem->atomic(ctx, op, addr, size, thread->reg[insn->rb],
			    thread->reg[insn->rd], &old)) {
	case DGPU_MEM_OK:
		break;
	case DGPU_MEM_FAULT:
		return DGPU_STEP_FAULT;
	default:
		return dgpu_isa_fail_at(error, DGPU_ERR_BUS, addr, DGPU_ACCESS_ATOMIC);
	}
	dgpu_isa_set(thread, insn->rd, old);
	return DGPU_STEP_NEXT;
}

/**
 * dgpu_isa_start - state of a thread before its first instruction
 * @thread: the thread
 * @tid: its index in the job
 * @args: DGPU_NARGS values for r1 and up
 */
void dgpu_isa_start(struct dgpu_isa_thread *thread, u32 tid, const u64 *args)
{
	memset(thread, 0, sizeof(*thread));
	memcpy(&thread->reg[1], args, DGPU_NARGS * sizeof(*args));
	thread->tid = tid;
}

/**
 * dgpu_isa_step - execute one instruction
 * @thread: the thread
 * @program: its program
 * @mem: memory
 * @ctx: first argument for @mem
 * @error: why it failed, when the result is DGPU_STEP_ERROR; fields that do not belong
 *	to the status are 0
 *
 * A thread whose next instruction would be outside the program fails at the
 * instruction that would lead there, which has been executed.
 *
 * Context: Any; @mem may need more.
 * Return: enum dgpu_isa_step.
 */
enum dgpu_isa_step dgpu_isa_step(struct dgpu_isa_thread *thread,
				 const struct dgpu_isa_program *program,
				 const struct dgpu_isa_mem *mem, void *ctx,
				 struct dgpu_isa_error *error)
{
	enum dgpu_isa_step step = DGPU_STEP_NEXT;
	const struct dgpu_insn *insn;
	u64 a, b, imm, result, next;

	memset(error, 0, sizeof(*error));
	if (thread->pc >= program->ninsns)
		return dgpu_isa_fail(error, DGPU_ERR_PC);
	insn = &program->code[thread->pc];
	if (!dgpu_isa_is_legal(insn))
		return dgpu_isa_fail(error, DGPU_ERR_ILLEGAL);

	a = thread->reg[insn->ra];
	b = thread->reg[insn->rb];
	imm = (u64)(s64)insn->imm;
	next = (u64)thread->pc + 1;

	switch (insn->op) {
	case DGPU_OP_NOP:
		break;
	case DGPU_OP_HALT:
		return DGPU_STEP_HALT;
	case DGPU_OP_TRAP:
		error->trap = insn->imm;
		return dgpu_isa_fail(error, DGPU_ERR_TRAP);

	case DGPU_OP_LI:
		dgpu_isa_set(thread, insn->rd, imm);
		break;
	case DGPU_OP_LIH:
		dgpu_isa_set(thread, insn->rd,
			     (thread->reg[insn->rd] & 0xffffffffu) | imm << 32);
		break;
	case DGPU_OP_MOV:
		dgpu_isa_set(thread, insn->rd, a);
		break;
	case DGPU_OP_TID:
		dgpu_isa_set(thread, insn->rd, thread->tid);
		break;
	case DGPU_OP_NTID:
		dgpu_isa_set(thread, insn->rd, program->nthreads);
		break;

	case DGPU_OP_DIVU:
		if (!b)
			return dgpu_isa_fail(error, DGPU_ERR_DIVIDE);
		dgpu_isa_set(thread, insn->rd, a / b);
		break;
	case DGPU_OP_REMU:
		if (!b)
			return dgpu_isa_fail(error, DGPU_ERR_DIVIDE);
		dgpu_isa_set(thread, insn->rd, a % b);
		break;

	case DGPU_OP_JMP:
		next = imm;
		break;
	case DGPU_OP_JAL:
		dgpu_isa_set(thread, insn->rd, next);
		next = imm;
		break;
	case DGPU_OP_JR:
		next = a;
		break;
	case DGPU_OP_BEQ ... DGPU_OP_BGEU:
		if (dgpu_isa_branches(insn->op, a, b))
			next = imm;
		break;

	case DGPU_OP_LD1 ... DGPU_OP_LD4S:
		step = dgpu_isa_load(thread, insn, mem, ctx, error);
		break;
	case DGPU_OP_ST1 ... DGPU_OP_ST8:
		step = dgpu_isa_store(thread, insn, mem, ctx, error);
		break;
	case DGPU_OP_AADD4 ... DGPU_OP_ACAS8:
		step = dgpu_isa_atomic(thread, insn, mem, ctx, error);
		break;

	default:
		if (dgpu_isa_form[insn->op] & DGPU_USE_IMM)
			b = imm;
		if (!dgpu_isa_compute(insn->op, a, b, &result))
			return dgpu_isa_fail(error, DGPU_ERR_ILLEGAL);
		dgpu_isa_set(thread, insn->rd, result);
		break;
	}

	if (step != DGPU_STEP_NEXT)
		return step;
	if (next >= program->ninsns)
		return dgpu_isa_fail(error, DGPU_ERR_PC);
	thread->pc = (u32)next;
	return DGPU_STEP_NEXT;
}

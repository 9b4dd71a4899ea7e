// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated GPU's instruction set: what each instruction computes, edge cases
 * included, what is illegal, and that a fault changes nothing.
 */
#include <kunit/test.h>
#include <linux/module.h>
#include "../../drivers/dummy_gpu/hw/isa.c"
#include "dgpu_random.h"

#define I(o, d, a, b, i) \
	{ .op = DGPU_OP_##o, .rd = (d), .ra = (a), .rb = (b), .imm = (i) }

#define MIN64	0x8000000000000000ull
#define MAX64	0x7fffffffffffffffull
#define MINUS1	0xffffffffffffffffull

/* ---- a memory of 64 bytes at address 0x1000 ---- */

#define MEM_BASE	0x1000
#define MEM_SIZE	64

struct isa_mem {
	u8 byte[MEM_SIZE];
	enum dgpu_mem answer;	/* of every operation */
	unsigned int calls;
	u64 addr;
	unsigned int size;
	enum dgpu_atomic op;
	u64 operand;
	u64 compare;
};

static bool isa_mem_takes(struct isa_mem *mem, u64 addr, unsigned int size)
{
	mem->calls++;
	mem->addr = addr;
	mem->size = size;
	return mem->answer == DGPU_MEM_OK && addr >= MEM_BASE &&
	       addr - MEM_BASE <= MEM_SIZE - size;
}

static enum dgpu_mem isa_mem_load(void *ctx, u64 addr, unsigned int size, u64 *value)
{
	struct isa_mem *mem = ctx;

	if (!isa_mem_takes(mem, addr, size))
		return mem->answer == DGPU_MEM_OK ? DGPU_MEM_FAULT : mem->answer;
	*value = 0;
	memcpy(value, &mem->byte[addr - MEM_BASE], size);
	return DGPU_MEM_OK;
}

static enum dgpu_mem isa_mem_store(void *ctx, u64 addr, unsigned int size, u64 value)
{
	struct isa_mem *mem = ctx;

	if (!isa_mem_takes(mem, addr, size))
		return mem->answer == DGPU_MEM_OK ? DGPU_MEM_FAULT : mem->answer;
	memcpy(&mem->byte[addr - MEM_BASE], &value, size);
	return DGPU_MEM_OK;
}

static enum dgpu_mem isa_mem_atomic(void *ctx, enum dgpu_atomic op, u64 addr,
				    unsigned int size, u64 operand, u64 compare, u64 *old)
{
	struct isa_mem *mem = ctx;

	mem->op = op;
	mem->operand = operand;
	mem->compare = compare;
	return isa_mem_load(ctx, addr, size, old);
}

static const struct dgpu_isa_mem isa_mem_ops = {
	.load = isa_mem_load,
	.store = isa_mem_store,
	.atomic = isa_mem_atomic,
};

/* ---- one instruction ---- */

struct isa_fixture {
	struct dgpu_isa_thread thread;
	struct dgpu_isa_error error;
	struct isa_mem mem;
};

static struct isa_fixture *isa_fixture(struct kunit *test)
{
	static const u64 args[DGPU_NARGS] = { 0 };
	struct isa_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	if (f)
		dgpu_isa_start(&f->thread, 5, args);
	return f;
}

/* Run @insn as the first of two. */
static enum dgpu_isa_step isa_run(struct isa_fixture *f, const struct dgpu_insn *insn)
{
	struct dgpu_insn code[2] = { *insn, I(NOP, 0, 0, 0, 0) };
	struct dgpu_isa_program program = { .code = code, .ninsns = 2, .nthreads = 9 };

	return dgpu_isa_step(&f->thread, &program, &isa_mem_ops, &f->mem, &f->error);
}

static void isa_thread_starts_clean(struct kunit *test)
{
	static const u64 args[DGPU_NARGS] = { 11, 12, 13, 14, 15, 16, 17, MINUS1 };
	struct isa_fixture *f = isa_fixture(test);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	memset(&f->thread, 0xaa, sizeof(f->thread));
	dgpu_isa_start(&f->thread, 77, args);
	KUNIT_EXPECT_EQ(test, f->thread.reg[0], 0);
	for (i = 0; i < DGPU_NARGS; i++)
		KUNIT_EXPECT_EQ(test, f->thread.reg[1 + i], args[i]);
	for (i = 1 + DGPU_NARGS; i < DGPU_NREGS; i++)
		KUNIT_EXPECT_EQ(test, f->thread.reg[i], 0);
	KUNIT_EXPECT_EQ(test, f->thread.pc, 0);
	KUNIT_EXPECT_EQ(test, f->thread.tid, 77);
}

/* rd = ra OP rb or imm: r3 is the result, r1 and r2 the operands. */
struct isa_value {
	struct dgpu_insn insn;
	u64 a;
	u64 b;
	u64 want;
};

static const struct isa_value isa_values[] = {
	{ I(LI, 3, 0, 0, 5), 0, 0, 5 },
	{ I(LI, 3, 0, 0, -1), 0, 0, MINUS1 },
	{ I(LI, 3, 0, 0, (s32)0x80000000), 0, 0, 0xffffffff80000000ull },
	{ I(LIH, 1, 0, 0, 5), 0x1111111122222222ull, 0, 0x0000000522222222ull },
	{ I(LIH, 1, 0, 0, -1), 0x1111111122222222ull, 0, 0xffffffff22222222ull },
	{ I(MOV, 3, 1, 0, 0), 0x1234, 0, 0x1234 },
	{ I(TID, 3, 0, 0, 0), 0, 0, 5 },
	{ I(NTID, 3, 0, 0, 0), 0, 0, 9 },

	{ I(ADD, 3, 1, 2, 0), 2, 3, 5 },
	{ I(ADD, 3, 1, 2, 0), MINUS1, 1, 0 },
	{ I(ADD, 3, 1, 2, 0), MAX64, 1, MIN64 },
	{ I(SUB, 3, 1, 2, 0), 2, 3, MINUS1 },
	{ I(SUB, 3, 1, 2, 0), MIN64, 1, MAX64 },
	{ I(MUL, 3, 1, 2, 0), 0x100000001ull, 0x100000001ull, 0x200000001ull },
	{ I(MUL, 3, 1, 2, 0), MINUS1, MINUS1, 1 },
	{ I(DIVU, 3, 1, 2, 0), MINUS1, 2, MAX64 },
	{ I(DIVU, 3, 1, 2, 0), 7, 8, 0 },
	{ I(DIVU, 3, 1, 2, 0), MIN64, MINUS1, 0 },
	{ I(REMU, 3, 1, 2, 0), 17, 5, 2 },
	{ I(REMU, 3, 1, 2, 0), MIN64, MINUS1, MIN64 },
	{ I(AND, 3, 1, 2, 0), 0xff00ff00, 0x0ff00ff0, 0x0f000f00 },
	{ I(OR, 3, 1, 2, 0), 0xff00ff00, 0x0ff00ff0, 0xfff0fff0 },
	{ I(XOR, 3, 1, 2, 0), 0xff00ff00, 0x0ff00ff0, 0xf0f0f0f0 },

	{ I(SHL, 3, 1, 2, 0), 1, 63, MIN64 },
	{ I(SHL, 3, 1, 2, 0), 1, 64, 1 },
	{ I(SHL, 3, 1, 2, 0), 3, 65, 6 },
	{ I(SHL, 3, 1, 2, 0), 1, MINUS1, MIN64 },
	{ I(SHR, 3, 1, 2, 0), MIN64, 63, 1 },
	{ I(SHR, 3, 1, 2, 0), MIN64, 64, MIN64 },
	{ I(SAR, 3, 1, 2, 0), MIN64, 63, MINUS1 },
	{ I(SAR, 3, 1, 2, 0), MIN64, 64, MIN64 },
	{ I(SAR, 3, 1, 2, 0), MAX64, 62, 1 },

	{ I(SLT, 3, 1, 2, 0), MINUS1, 0, 1 },
	{ I(SLT, 3, 1, 2, 0), 0, MINUS1, 0 },
	{ I(SLT, 3, 1, 2, 0), MIN64, MAX64, 1 },
	{ I(SLT, 3, 1, 2, 0), 4, 4, 0 },
	{ I(SLTU, 3, 1, 2, 0), MINUS1, 0, 0 },
	{ I(SLTU, 3, 1, 2, 0), 0, MINUS1, 1 },
	{ I(SLTU, 3, 1, 2, 0), 4, 4, 0 },

	{ I(ADDI, 3, 1, 0, -1), 0, 0, MINUS1 },
	{ I(ADDI, 3, 1, 0, 0x7fffffff), 1, 0, 0x80000000 },
	{ I(MULI, 3, 1, 0, -3), 5, 0, (u64)-15ll },
	{ I(ANDI, 3, 1, 0, -16), MINUS1, 0, 0xfffffffffffffff0ull },
	{ I(ANDI, 3, 1, 0, 0xff), MINUS1, 0, 0xff },
	{ I(ORI, 3, 1, 0, -1), 0, 0, MINUS1 },
	{ I(XORI, 3, 1, 0, -1), 0x0f, 0, 0xfffffffffffffff0ull },
	{ I(SHLI, 3, 1, 0, 63), 1, 0, MIN64 },
	{ I(SHLI, 3, 1, 0, 64), 1, 0, 1 },
	{ I(SHLI, 3, 1, 0, -1), 1, 0, MIN64 },
	{ I(SHRI, 3, 1, 0, 4), MINUS1, 0, 0x0fffffffffffffffull },
	{ I(SARI, 3, 1, 0, 4), MIN64, 0, 0xf800000000000000ull },

	/* the destination may be a source */
	{ I(ADD, 1, 1, 1, 0), 21, 0, 42 },
	{ I(SUB, 1, 1, 1, 0), 21, 0, 0 },
};

static void isa_computes(struct kunit *test)
{
	struct isa_fixture *f = isa_fixture(test);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	for (i = 0; i < ARRAY_SIZE(isa_values); i++) {
		const struct isa_value *v = &isa_values[i];

		f->thread.pc = 0;
		f->thread.reg[1] = v->a;
		f->thread.reg[2] = v->b;
		f->thread.reg[3] = 0xdead;
		KUNIT_EXPECT_EQ_MSG(test, isa_run(f, &v->insn), DGPU_STEP_NEXT, "value %u", i);
		KUNIT_EXPECT_EQ_MSG(test, f->thread.reg[v->insn.rd], v->want, "value %u", i);
		KUNIT_EXPECT_EQ(test, f->thread.pc, 1);
	}
	KUNIT_EXPECT_EQ(test, f->mem.calls, 0);
}

static void isa_r0_is_zero(struct kunit *test)
{
	struct isa_fixture *f = isa_fixture(test);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	for (i = 0; i < ARRAY_SIZE(isa_values); i++) {
		struct dgpu_insn insn = isa_values[i].insn;

		f->thread.pc = 0;
		f->thread.reg[1] = 1;
		f->thread.reg[2] = 1;
		insn.rd = 0;
		KUNIT_EXPECT_EQ(test, isa_run(f, &insn), DGPU_STEP_NEXT);
		KUNIT_EXPECT_EQ_MSG(test, f->thread.reg[0], 0, "value %u", i);
	}
	f->thread.reg[2] = MEM_BASE;
	f->mem.byte[0] = 1;
	f->thread.pc = 0;
	isa_run(f, &(struct dgpu_insn)I(LD8, 0, 2, 0, 0));
	KUNIT_EXPECT_EQ(test, f->thread.reg[0], 0);
	f->thread.pc = 0;
	isa_run(f, &(struct dgpu_insn)I(AADD8, 0, 2, 2, 0));
	KUNIT_EXPECT_EQ(test, f->thread.reg[0], 0);
	f->thread.pc = 0;
	isa_run(f, &(struct dgpu_insn)I(JAL, 0, 0, 0, 1));
	KUNIT_EXPECT_EQ(test, f->thread.reg[0], 0);
	KUNIT_EXPECT_EQ(test, f->thread.pc, 1);
}

static void isa_ends(struct kunit *test)
{
	struct isa_fixture *f = isa_fixture(test);

	KUNIT_ASSERT_NOT_NULL(test, f);
	KUNIT_EXPECT_EQ(test, isa_run(f, &(struct dgpu_insn)I(HALT, 0, 0, 0, 0)), DGPU_STEP_HALT);
	KUNIT_EXPECT_EQ(test, f->thread.pc, 0);

	KUNIT_EXPECT_EQ(test, isa_run(f, &(struct dgpu_insn)I(TRAP, 0, 0, 0, -7)),
			DGPU_STEP_ERROR);
	KUNIT_EXPECT_EQ(test, f->error.status, DGPU_ERR_TRAP);
	KUNIT_EXPECT_EQ(test, f->error.trap, -7);

	KUNIT_EXPECT_EQ(test, isa_run(f, &(struct dgpu_insn)I(DIVU, 3, 1, 0, 0)),
			DGPU_STEP_ERROR);
	KUNIT_EXPECT_EQ(test, f->error.status, DGPU_ERR_DIVIDE);
	KUNIT_EXPECT_EQ(test, f->error.trap, 0);
	KUNIT_EXPECT_EQ(test, isa_run(f, &(struct dgpu_insn)I(REMU, 3, 1, 0, 0)),
			DGPU_STEP_ERROR);
	KUNIT_EXPECT_EQ(test, f->error.status, DGPU_ERR_DIVIDE);
	KUNIT_EXPECT_EQ(test, f->thread.pc, 0);
}

/* Branches: r1 OP r2 goes to instruction 0, otherwise to 1. */
struct isa_branch {
	u8 op;
	bool less;		/* -1 OP 1 */
	bool equal;		/* 4 OP 4 */
	bool more;		/* 1 OP -1 */
};

static const struct isa_branch isa_branches[] = {
	{ DGPU_OP_BEQ, false, true, false },
	{ DGPU_OP_BNE, true, false, true },
	{ DGPU_OP_BLT, true, false, false },
	{ DGPU_OP_BGE, false, true, true },
	{ DGPU_OP_BLTU, false, false, true },
	{ DGPU_OP_BGEU, true, true, false },
};

static void isa_branches_right(struct kunit *test)
{
	struct isa_fixture *f = isa_fixture(test);
	unsigned int i, pair;

	KUNIT_ASSERT_NOT_NULL(test, f);
	for (i = 0; i < ARRAY_SIZE(isa_branches); i++) {
		const struct isa_branch *b = &isa_branches[i];
		const u64 values[3][2] = { { MINUS1, 1 }, { 4, 4 }, { 1, MINUS1 } };
		const bool taken[3] = { b->less, b->equal, b->more };
		struct dgpu_insn insn = { .op = b->op, .ra = 1, .rb = 2, .imm = 0 };

		for (pair = 0; pair < 3; pair++) {
			f->thread.pc = 0;
			f->thread.reg[1] = values[pair][0];
			f->thread.reg[2] = values[pair][1];
			KUNIT_EXPECT_EQ(test, isa_run(f, &insn), DGPU_STEP_NEXT);
			KUNIT_EXPECT_EQ_MSG(test, f->thread.pc, taken[pair] ? 0 : 1,
					    "op %#x pair %u", b->op, pair);
		}
	}
}

static void isa_call_and_return(struct kunit *test)
{
	static const struct dgpu_insn code[] = {
		I(JAL, 31, 0, 0, 3),
		I(TRAP, 0, 0, 0, 1),
		I(TRAP, 0, 0, 0, 2),
		I(JR, 0, 31, 0, 0),
	};
	struct dgpu_isa_program program = { .code = code, .ninsns = 4, .nthreads = 1 };
	struct isa_fixture *f = isa_fixture(test);

	KUNIT_ASSERT_NOT_NULL(test, f);
	dgpu_isa_step(&f->thread, &program, &isa_mem_ops, &f->mem, &f->error);
	KUNIT_EXPECT_EQ(test, f->thread.pc, 3);
	KUNIT_EXPECT_EQ(test, f->thread.reg[31], 1);
	dgpu_isa_step(&f->thread, &program, &isa_mem_ops, &f->mem, &f->error);
	KUNIT_EXPECT_EQ(test, f->thread.pc, 1);
}

static void isa_leaves_the_program(struct kunit *test)
{
	static const struct dgpu_insn out[] = {
		I(JMP, 0, 0, 0, 2),
		I(JMP, 0, 0, 0, -1),
		I(JMP, 0, 0, 0, 0x7fffffff),
		I(JAL, 1, 0, 0, 2),
		I(JR, 0, 4, 0, 0),
		I(JR, 0, 5, 0, 0),
		I(BEQ, 0, 0, 0, 2),
		I(BGE, 0, 0, 0, (s32)0x80000000),
	};
	struct dgpu_insn nop = I(NOP, 0, 0, 0, 0);
	struct dgpu_isa_program program = { .code = &nop, .ninsns = 1, .nthreads = 1 };
	struct isa_fixture *f = isa_fixture(test);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->thread.reg[4] = 2;
	/* Its low 32 bits are a good target: not cut off. */
	f->thread.reg[5] = 0x100000001ull;
	for (i = 0; i < ARRAY_SIZE(out); i++) {
		KUNIT_EXPECT_EQ_MSG(test, isa_run(f, &out[i]), DGPU_STEP_ERROR, "insn %u", i);
		KUNIT_EXPECT_EQ_MSG(test, f->error.status, DGPU_ERR_PC, "insn %u", i);
		KUNIT_EXPECT_EQ(test, f->thread.pc, 0);
	}
	/* Off the end, at the last instruction. */
	KUNIT_EXPECT_EQ(test, dgpu_isa_step(&f->thread, &program, &isa_mem_ops, &f->mem,
					    &f->error), DGPU_STEP_ERROR);
	KUNIT_EXPECT_EQ(test, f->error.status, DGPU_ERR_PC);
	KUNIT_EXPECT_EQ(test, f->thread.pc, 0);
	/* A branch that is not taken may name anything. */
	KUNIT_EXPECT_EQ(test, isa_run(f, &(struct dgpu_insn)I(BNE, 0, 0, 0, -1)),
			DGPU_STEP_NEXT);
	/* A pc that is outside already, which no program gets to. */
	f->thread.pc = 2;
	KUNIT_EXPECT_EQ(test, isa_run(f, &nop), DGPU_STEP_ERROR);
	KUNIT_EXPECT_EQ(test, f->error.status, DGPU_ERR_PC);
}

static void isa_loads_and_stores(struct kunit *test)
{
	static const struct {
		u8 op;
		u64 want;
	} loads[] = {
		{ DGPU_OP_LD1, 0x88 }, { DGPU_OP_LD2, 0x9988 }, { DGPU_OP_LD4, 0xbbaa9988 },
		{ DGPU_OP_LD8, 0xffeeddccbbaa9988ull },
		{ DGPU_OP_LD1S, 0xffffffffffffff88ull }, { DGPU_OP_LD2S, 0xffffffffffff9988ull },
		{ DGPU_OP_LD4S, 0xffffffffbbaa9988ull },
	};
	struct isa_fixture *f = isa_fixture(test);
	struct dgpu_insn insn = { .rd = 3, .ra = 1, .imm = -4 };
	unsigned int i, size;

	KUNIT_ASSERT_NOT_NULL(test, f);
	for (i = 0; i < 8; i++)
		f->mem.byte[i] = 0x88 + i * 0x11;
	f->thread.reg[1] = MEM_BASE + 4;
	for (i = 0; i < ARRAY_SIZE(loads); i++) {
		f->thread.pc = 0;
		insn.op = loads[i].op;
		KUNIT_EXPECT_EQ(test, isa_run(f, &insn), DGPU_STEP_NEXT);
		KUNIT_EXPECT_EQ_MSG(test, f->thread.reg[3], loads[i].want, "op %#x", insn.op);
	}
	/* A positive value stays positive. */
	f->mem.byte[0] = 0x7f;
	f->thread.pc = 0;
	insn.op = DGPU_OP_LD1S;
	isa_run(f, &insn);
	KUNIT_EXPECT_EQ(test, f->thread.reg[3], 0x7f);

	f->thread.reg[3] = 0x8877665544332211ull;
	for (i = 0; i < 4; i++) {
		size = 1u << i;
		memset(f->mem.byte, 0xee, MEM_SIZE);
		f->thread.pc = 0;
		insn.op = DGPU_OP_ST1 + i;
		KUNIT_EXPECT_EQ(test, isa_run(f, &insn), DGPU_STEP_NEXT);
		KUNIT_EXPECT_EQ(test, memcmp(f->mem.byte, &f->thread.reg[3], size), 0);
		KUNIT_EXPECT_EQ(test, f->mem.byte[size], 0xee);
	}
	/* Addresses wrap at 64 bits. */
	f->thread.reg[1] = 4;
	f->thread.pc = 0;
	insn.imm = -8;
	KUNIT_EXPECT_EQ(test, isa_run(f, &insn), DGPU_STEP_FAULT);
	KUNIT_EXPECT_EQ(test, f->mem.addr, 0xfffffffffffffffcull);
}

static void isa_atomics(struct kunit *test)
{
	static const struct {
		u8 op;
		unsigned int size;
		enum dgpu_atomic want;
	} atomics[] = {
		{ DGPU_OP_AADD4, 4, DGPU_ATOMIC_ADD }, { DGPU_OP_AADD8, 8, DGPU_ATOMIC_ADD },
		{ DGPU_OP_AXCHG4, 4, DGPU_ATOMIC_XCHG }, { DGPU_OP_AXCHG8, 8, DGPU_ATOMIC_XCHG },
		{ DGPU_OP_ACAS4, 4, DGPU_ATOMIC_CAS }, { DGPU_OP_ACAS8, 8, DGPU_ATOMIC_CAS },
	};
	struct isa_fixture *f = isa_fixture(test);
	struct dgpu_insn insn = { .rd = 3, .ra = 1, .rb = 2, .imm = 8 };
	unsigned int i, shift;

	KUNIT_ASSERT_NOT_NULL(test, f);
	memset(f->mem.byte, 0x81, MEM_SIZE);
	for (i = 0; i < ARRAY_SIZE(atomics); i++) {
		insn.op = atomics[i].op;
		f->thread.pc = 0;
		f->thread.reg[1] = MEM_BASE;
		f->thread.reg[2] = 0x2222;
		f->thread.reg[3] = 0x3333;
		KUNIT_EXPECT_EQ(test, isa_run(f, &insn), DGPU_STEP_NEXT);
		KUNIT_EXPECT_EQ(test, f->mem.op, atomics[i].want);
		KUNIT_EXPECT_EQ(test, f->mem.size, atomics[i].size);
		KUNIT_EXPECT_EQ(test, f->mem.addr, MEM_BASE + 8);
		KUNIT_EXPECT_EQ(test, f->mem.operand, 0x2222);
		KUNIT_EXPECT_EQ(test, f->mem.compare, 0x3333);
		/* The old value is zero-extended. */
		KUNIT_EXPECT_EQ(test, f->thread.reg[3],
				atomics[i].size == 4 ? 0x81818181 : 0x8181818181818181ull);

		for (shift = 1; shift < atomics[i].size; shift++) {
			f->mem.calls = 0;
			f->thread.pc = 0;
			f->thread.reg[1] = MEM_BASE + shift;
			KUNIT_EXPECT_EQ(test, isa_run(f, &insn), DGPU_STEP_ERROR);
			KUNIT_EXPECT_EQ(test, f->error.status, DGPU_ERR_ALIGN);
			KUNIT_EXPECT_EQ(test, f->error.addr, MEM_BASE + shift + 8);
			KUNIT_EXPECT_EQ(test, f->error.access, DGPU_ACCESS_ATOMIC);
			KUNIT_EXPECT_EQ(test, f->mem.calls, 0);
		}
	}
}

/* Every memory instruction, refused: nothing but the outcome shows. */
static void isa_fault_changes_nothing(struct kunit *test)
{
	struct isa_fixture *f = isa_fixture(test);
	struct dgpu_insn insn = { .rd = 3, .ra = 1, .imm = 0 };
	struct dgpu_isa_thread before;
	unsigned int op, seen = 0;

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->thread.reg[1] = MEM_BASE;
	f->thread.reg[3] = 0x3333;
	for (op = DGPU_OP_LD1; op < DGPU_OP_MAX; op++) {
		if (!dgpu_isa_form[op])
			continue;
		seen++;
		insn.op = op;
		before = f->thread;
		f->mem.answer = DGPU_MEM_FAULT;
		KUNIT_EXPECT_EQ_MSG(test, isa_run(f, &insn), DGPU_STEP_FAULT, "op %#x", op);
		KUNIT_EXPECT_EQ(test, memcmp(&before, &f->thread, sizeof(before)), 0);

		f->mem.answer = DGPU_MEM_BUS;
		KUNIT_EXPECT_EQ_MSG(test, isa_run(f, &insn), DGPU_STEP_ERROR, "op %#x", op);
		KUNIT_EXPECT_EQ(test, memcmp(&before, &f->thread, sizeof(before)), 0);
		KUNIT_EXPECT_EQ(test, f->error.status, DGPU_ERR_BUS);
		KUNIT_EXPECT_EQ(test, f->error.addr, MEM_BASE);
		KUNIT_EXPECT_EQ_MSG(test, f->error.access,
				    op < DGPU_OP_ST1 ? DGPU_ACCESS_READ :
				    op < DGPU_OP_AADD4 ? DGPU_ACCESS_WRITE : DGPU_ACCESS_ATOMIC,
				    "op %#x", op);
	}
	KUNIT_EXPECT_EQ(test, seen, 17);
}

/* The numbers of the instruction set, and the operands each has, written down twice. */
#define R_D	1
#define R_A	2
#define R_B	4
#define R_I	8

static int isa_operands(unsigned int op)
{
	switch (op) {
	case 0x01: case 0x02:			/* nop halt */
		return 0;
	case 0x03: case 0x30:			/* trap jmp */
		return R_I;
	case 0x08: case 0x09: case 0x31:	/* li lih jal */
		return R_D | R_I;
	case 0x0a:				/* mov */
		return R_D | R_A;
	case 0x0b: case 0x0c:			/* tid ntid */
		return R_D;
	case 0x10 ... 0x1c:
		return R_D | R_A | R_B;
	case 0x20 ... 0x27: case 0x40 ... 0x46: case 0x48 ... 0x4b:
		return R_D | R_A | R_I;
	case 0x32:				/* jr */
		return R_A;
	case 0x33 ... 0x38:
		return R_A | R_B | R_I;
	case 0x50 ... 0x55:
		return R_D | R_A | R_B | R_I;
	default:
		return -1;
	}
}

static void isa_illegal(struct kunit *test)
{
	struct isa_fixture *f = isa_fixture(test);
	unsigned int op, reg, field;
	int operands;

	KUNIT_ASSERT_NOT_NULL(test, f);
	for (op = 0; op < 256; op++) {
		struct dgpu_insn insn = { .op = op };

		operands = isa_operands(op);
		f->thread.pc = 0;
		isa_run(f, &insn);
		KUNIT_EXPECT_EQ_MSG(test, f->error.status == DGPU_ERR_ILLEGAL, operands < 0,
				    "op %#x", op);
		if (operands < 0) {
			KUNIT_EXPECT_EQ(test, f->thread.pc, 0);
			continue;
		}
		for (field = 0; field < 3; field++) {
			for (reg = 1; reg < 256; reg++) {
				bool legal = (operands & 1 << field) && reg < DGPU_NREGS;

				insn.rd = field == 0 ? reg : 0;
				insn.ra = field == 1 ? reg : 0;
				insn.rb = field == 2 ? reg : 0;
				f->thread.pc = 0;
				isa_run(f, &insn);
				KUNIT_EXPECT_EQ_MSG(test, f->error.status == DGPU_ERR_ILLEGAL,
						    !legal, "op %#x field %u reg %u", op, field,
						    reg);
			}
		}
		insn.rb = 0;
		insn.imm = 1;
		f->thread.pc = 0;
		isa_run(f, &insn);
		KUNIT_EXPECT_EQ_MSG(test, f->error.status == DGPU_ERR_ILLEGAL,
				    !(operands & R_I), "op %#x imm", op);
	}
}

/* Any bytes as a program: it ends or goes on, within its registers and its program. */
static void isa_random_programs(struct kunit *test)
{
	struct isa_fixture *f = isa_fixture(test);
	struct dgpu_insn code[16];
	struct dgpu_isa_program program = {
		.code = code, .ninsns = ARRAY_SIZE(code), .nthreads = 3,
	};
	unsigned int i, j, step, ends[4] = { 0 };
	struct dgpu_random rnd;
	u64 args[DGPU_NARGS];
	u64 bits;

	KUNIT_ASSERT_NOT_NULL(test, f);
	dgpu_random_init(test, &rnd);
	for (i = 0; i < rounds / 16; i++) {
		for (j = 0; j < ARRAY_SIZE(code); j++) {
			bits = dgpu_random(&rnd);
			code[j].op = dgpu_random_below(&rnd, 64) ?
				     bits % DGPU_OP_MAX : bits & 0xff;
			code[j].rd = bits >> 8 & (dgpu_random_below(&rnd, 64) ? 31 : 255);
			code[j].ra = bits >> 16 & 31;
			code[j].rb = bits >> 24 & 31;
			code[j].imm = dgpu_random_below(&rnd, 4) ? bits >> 32 & 15 : bits >> 32;
			if (code[j].op < DGPU_OP_MAX && dgpu_random_below(&rnd, 64)) {
				u8 form = dgpu_isa_form[code[j].op];

				code[j].rd &= form & DGPU_USE_RD ? 0xff : 0;
				code[j].ra &= form & DGPU_USE_RA ? 0xff : 0;
				code[j].rb &= form & DGPU_USE_RB ? 0xff : 0;
				code[j].imm = form & DGPU_USE_IMM ? code[j].imm : 0;
			}
		}
		for (j = 0; j < DGPU_NARGS; j++)
			args[j] = MEM_BASE + dgpu_random_below(&rnd, MEM_SIZE) / 8 * 8;
		dgpu_isa_start(&f->thread, i, args);

		for (j = 0; j < 1000; j++) {
			step = dgpu_isa_step(&f->thread, &program, &isa_mem_ops, &f->mem,
					     &f->error);
			KUNIT_EXPECT_TRUE(test, f->thread.pc < program.ninsns);
			KUNIT_EXPECT_EQ(test, f->thread.reg[0], 0);
			KUNIT_EXPECT_EQ(test, f->error.status != DGPU_OK,
					step == DGPU_STEP_ERROR);
			if (step != DGPU_STEP_NEXT)
				break;
		}
		ends[step]++;
	}
	kunit_info(test, "%u go on, %u halted, %u faulted, %u failed\n", ends[0], ends[1],
		   ends[2], ends[3]);
	for (i = 0; i < ARRAY_SIZE(ends); i++)
		KUNIT_EXPECT_TRUE_MSG(test, ends[i] > 0, "way %u to end", i);
}

static struct kunit_case dgpu_isa_cases[] = {
	KUNIT_CASE(isa_thread_starts_clean),
	KUNIT_CASE(isa_computes),
	KUNIT_CASE(isa_r0_is_zero),
	KUNIT_CASE(isa_ends),
	KUNIT_CASE(isa_branches_right),
	KUNIT_CASE(isa_call_and_return),
	KUNIT_CASE(isa_leaves_the_program),
	KUNIT_CASE(isa_loads_and_stores),
	KUNIT_CASE(isa_atomics),
	KUNIT_CASE(isa_fault_changes_nothing),
	KUNIT_CASE(isa_illegal),
	KUNIT_CASE(isa_random_programs),
	{}
};

static struct kunit_suite dgpu_isa_suite = {
	.name = "dgpu_isa",
	.test_cases = dgpu_isa_cases,
};

kunit_test_suite(dgpu_isa_suite);

MODULE_DESCRIPTION("KUnit tests of the emulated GPU's instruction set");
MODULE_LICENSE("GPL");

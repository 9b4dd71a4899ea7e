// SPDX-License-Identifier: GPL-2.0
/*
 * Random programs on all functional units together, while the page table changes: two
 * threads of the GPU take turns, faults are answered or kill, pages come and go.
 * Whatever the program, every step ends, every pin is released, and memory changes only
 * where the page table allowed it.
 *
 * The programs are half-sensible: legal instructions mostly, memory operands mostly near
 * pages that exist.
 */
#include "../../drivers/dummy_gpu/hw/isa.c"
#include "../../drivers/dummy_gpu/hw/lsu.c"
#include "../../drivers/dummy_gpu/hw/memory.c"
#include "../../drivers/dummy_gpu/hw/mmu.c"
#include "../../drivers/dummy_gpu/hw/tlb.c"
#include "../kunit/dgpu_board.h"
#include "../kunit/dgpu_random.h"

#define FUZZ_PAGES	8
#define FUZZ_BASE	0x10000ull
#define FUZZ_INSNS	32
#define FUZZ_BUDGET	400

struct fuzz {
	struct board *board;
	struct dgpu_mmu mmu;
	struct dgpu_tlb tlb;
	struct dgpu_tlb_entry entries[8];
	struct dgpu_lsu lsu;
	struct dgpu_insn code[FUZZ_INSNS];
	u64 bus[FUZZ_PAGES];
	u8 copy[FUZZ_PAGES][4096];
	bool writable[FUZZ_PAGES];	/* ever, in this run */
};

static enum dgpu_mem fuzz_load(void *ctx, u64 addr, unsigned int size, u64 *value)
{
	return dgpu_lsu_load(ctx, addr, size, value);
}

static enum dgpu_mem fuzz_store(void *ctx, u64 addr, unsigned int size, u64 value)
{
	return dgpu_lsu_store(ctx, addr, size, value);
}

static enum dgpu_mem fuzz_atomic(void *ctx, enum dgpu_atomic op, u64 addr, unsigned int size,
				 u64 operand, u64 compare, u64 *old)
{
	return dgpu_lsu_atomic(ctx, op, addr, size, operand, compare, old);
}

static const struct dgpu_isa_mem fuzz_mem = {
	.load = fuzz_load,
	.store = fuzz_store,
	.atomic = fuzz_atomic,
};

static void fuzz_program(struct fuzz *z, struct dgpu_random *rnd)
{
	unsigned int i;

	for (i = 0; i < FUZZ_INSNS; i++) {
		struct dgpu_insn *insn = &z->code[i];
		u64 bits = dgpu_random(rnd);
		u8 form;

		insn->op = dgpu_random_below(rnd, 4) ? bits % DGPU_OP_MAX :
			   DGPU_OP_LD1 + bits % (DGPU_OP_MAX - DGPU_OP_LD1);
		if (!dgpu_random_below(rnd, 400))
			continue;
		form = dgpu_isa_form[insn->op];
		while (!form || (insn->op == DGPU_OP_TRAP && dgpu_random_below(rnd, 8))) {
			insn->op = dgpu_random_below(rnd, DGPU_OP_MAX);
			form = dgpu_isa_form[insn->op];
		}
		insn->rd = form & DGPU_USE_RD ? 9 + bits % 23 : 0;
		insn->ra = form & DGPU_USE_RA ? bits >> 8 & 15 : 0;
		insn->rb = form & DGPU_USE_RB ? bits >> 16 & 31 : 0;
		insn->imm = bits >> 32;
		if (insn->op >= DGPU_OP_JMP && insn->op <= DGPU_OP_BGEU)
			insn->imm = bits >> 32 & (FUZZ_INSNS - 1);
		else if (insn->op >= DGPU_OP_LD1)
			insn->imm = (s32)(bits >> 32 & 0x1fff) - 0x1000;
		if (insn->op >= DGPU_OP_AADD4 && dgpu_random_below(rnd, 16))
			insn->imm &= ~7;
		if (insn->op >= DGPU_OP_LD1)
			insn->ra = 1 + bits % DGPU_NARGS;
		if (!(form & DGPU_USE_IMM))
			insn->imm = 0;
	}
}

static u64 *fuzz_pte(struct fuzz *z, unsigned int page)
{
	return board_slot(z->board, z->lsu.root, z->mmu.va_bits,
			  FUZZ_BASE + page * DGPU_PAGE_SIZE, 0);
}

/* The driver changes one page's entry, and flushes as it must. */
static void fuzz_change(struct fuzz *z, struct dgpu_random *rnd, unsigned int page)
{
	u64 va = FUZZ_BASE + page * DGPU_PAGE_SIZE, pte = 0;

	if (dgpu_random_below(rnd, 8))
		pte = z->bus[page] | DGPU_HW_PTE_VALID;
	if (pte && dgpu_random_below(rnd, 4)) {
		pte |= DGPU_HW_PTE_WRITE;
		z->writable[page] = true;
		if (dgpu_random_below(rnd, 2))
			pte |= DGPU_HW_PTE_ATOMIC;
	}
	*fuzz_pte(z, page) = pte;
	dgpu_tlb_invalidate(&z->tlb, z->lsu.asid, va, va + DGPU_PAGE_SIZE);
}

/* Returns how it ended. */
static enum dgpu_isa_step fuzz_run(struct fuzz *z, struct dgpu_random *rnd,
				   struct dgpu_isa_error *error)
{
	struct dgpu_isa_program program = {
		.code = z->code, .ninsns = FUZZ_INSNS, .nthreads = 2,
	};
	struct dgpu_isa_thread thread[2], before;
	enum dgpu_isa_step step = DGPU_STEP_NEXT;
	unsigned int i, t, page;
	u64 args[DGPU_NARGS];

	for (i = 0; i < DGPU_NARGS; i++)
		args[i] = FUZZ_BASE + dgpu_random_below(rnd, FUZZ_PAGES * 512) * 8;
	dgpu_isa_start(&thread[0], 0, args);
	dgpu_isa_start(&thread[1], 1, args);

	for (i = 0; i < FUZZ_BUDGET; i++) {
		t = dgpu_random_below(rnd, 2);
		before = thread[t];
		step = dgpu_isa_step(&thread[t], &program, &fuzz_mem, &z->lsu, error);
		EXPECT(!z->board->held, "%ld pages held", z->board->held);
		EXPECT(!thread[t].reg[0], "r0 written");
		EXPECT(thread[t].pc < FUZZ_INSNS, "pc %u", thread[t].pc);
		if (step == DGPU_STEP_FAULT) {
			EXPECT(!memcmp(&before, &thread[t], sizeof(before)), "fault left a trace");
			page = (z->lsu.fault_addr - FUZZ_BASE) / DGPU_PAGE_SIZE;
			if (page >= FUZZ_PAGES)
				break;
			fuzz_change(z, rnd, page);
		} else if (step != DGPU_STEP_NEXT) {
			break;
		}
		if (!dgpu_random_below(rnd, 16))
			fuzz_change(z, rnd, dgpu_random_below(rnd, FUZZ_PAGES));
	}
	return step;
}

static void fuzz_random_programs(struct kunit *test)
{
	struct fuzz *z = kunit_kzalloc(test, sizeof(*z), GFP_KERNEL);
	unsigned int page, ends[4] = { 0 }, errors[DGPU_ERR_LOST + 1] = { 0 };
	struct dgpu_isa_error error = { 0 };
	struct dgpu_random rnd;
	enum dgpu_isa_step step;
	u64 i, pte;

	dgpu_random_init(test, &rnd);
	z->board = board_create(test);
	z->mmu.ops = &board_ops;
	z->mmu.board = z->board;
	z->mmu.va_bits = 57;
	dgpu_tlb_init(&z->tlb, z->entries, ARRAY_SIZE(z->entries));
	z->lsu.mmu = &z->mmu;
	z->lsu.tlb = &z->tlb;
	z->lsu.root = board_page(z->board);
	for (page = 0; page < FUZZ_PAGES; page++)
		z->bus[page] = board_page(z->board);

	for (i = 0; i < rounds; i++) {
		for (page = 0; page < FUZZ_PAGES; page++) {
			memcpy(z->copy[page], board_va(z->board, z->bus[page]), 4096);
			z->writable[page] = false;
			fuzz_change(z, &rnd, page);
		}
		fuzz_program(z, &rnd);
		step = fuzz_run(z, &rnd, &error);
		ends[step]++;
		if (step == DGPU_STEP_ERROR)
			errors[error.status]++;

		for (page = 0; page < FUZZ_PAGES; page++) {
			bool same = !memcmp(z->copy[page], board_va(z->board, z->bus[page]),
					    4096);

			pte = *fuzz_pte(z, page);
			EXPECT(same || z->writable[page], "round %llu: page %u written", i, page);
			EXPECT((pte & DGPU_HW_PTE_VALID) || !pte, "round %llu: marks in %#llx", i,
			       pte);
		}
	}
	EXPECT(!z->board->bad_unmaps, "%lu", z->board->bad_unmaps);
	EXPECT(!errors[DGPU_ERR_BUS], "%u bus errors", errors[DGPU_ERR_BUS]);
	printf("# budget used up %u, halted %u, bad address %u, failed %u\n", ends[0], ends[1],
	       ends[2], ends[3]);
	printf("# illegal %u, pc %u, divide %u, align %u, trap %u\n", errors[DGPU_ERR_ILLEGAL],
	       errors[DGPU_ERR_PC], errors[DGPU_ERR_DIVIDE], errors[DGPU_ERR_ALIGN],
	       errors[DGPU_ERR_TRAP]);
}

static struct kunit_case fuzz_cases[] = {
	KUNIT_CASE(fuzz_random_programs),
	{}
};

static struct kunit_suite fuzz_suite = {
	.name = "dgpu_fuzz",
	.test_cases = fuzz_cases,
};

kunit_test_suite(fuzz_suite);

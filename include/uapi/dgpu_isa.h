/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Instruction set of the emulated GPU.
 *
 * A hardware thread has 32 registers of 64 bits.  r0 reads as zero and ignores
 * writes; r1..r8 hold the job's arguments at the start, the others are zero.
 * Programs are arrays of fixed-size instructions; branch targets are instruction
 * indexes.  Memory operands are the process' own virtual addresses, little endian.
 * Loads and stores need no alignment; atomics must be naturally aligned.
 */
#ifndef _UAPI_DGPU_ISA_H
#define _UAPI_DGPU_ISA_H

#include <linux/types.h>

#define DGPU_NREGS	32
#define DGPU_NARGS	8	/* r1..r8 */

/**
 * struct dgpu_insn - one instruction
 * @op: enum dgpu_op
 * @rd: destination register (source of the data for stores)
 * @ra: first source register (base address for memory operations)
 * @rb: second source register
 * @imm: signed immediate, or branch target as an instruction index
 *
 * Fields that an instruction does not use must be zero.
 */
struct dgpu_insn {
	__u8 op;
	__u8 rd;
	__u8 ra;
	__u8 rb;
	__s32 imm;
};

/*
 * In the comments: mem[a] is memory at address a; (sN) and (uN) are signed and
 * unsigned N-bit views; "imm" is sign-extended to 64 bits.
 */
enum dgpu_op {
	DGPU_OP_ILL	= 0x00,	/* always illegal: a zeroed program stops at once */
	DGPU_OP_NOP	= 0x01,
	DGPU_OP_HALT	= 0x02,	/* thread ends, successfully */
	DGPU_OP_TRAP	= 0x03,	/* job fails with reason TRAP, code imm */

	/* moves and identity */
	DGPU_OP_LI	= 0x08,	/* rd = imm */
	DGPU_OP_LIH	= 0x09,	/* rd = (rd & 0xffffffff) | imm << 32 */
	DGPU_OP_MOV	= 0x0a,	/* rd = ra */
	DGPU_OP_TID	= 0x0b,	/* rd = index of this thread in the job */
	DGPU_OP_NTID	= 0x0c,	/* rd = number of threads in the job */

	/* arithmetic on 64 bits, wrapping; rd = ra OP rb */
	DGPU_OP_ADD	= 0x10,
	DGPU_OP_SUB	= 0x11,
	DGPU_OP_MUL	= 0x12,
	DGPU_OP_DIVU	= 0x13,	/* by zero: job fails with reason DIVIDE */
	DGPU_OP_REMU	= 0x14,
	DGPU_OP_AND	= 0x15,
	DGPU_OP_OR	= 0x16,
	DGPU_OP_XOR	= 0x17,
	DGPU_OP_SHL	= 0x18,	/* by rb & 63 */
	DGPU_OP_SHR	= 0x19,
	DGPU_OP_SAR	= 0x1a,
	DGPU_OP_SLT	= 0x1b,	/* rd = (s64)ra < (s64)rb */
	DGPU_OP_SLTU	= 0x1c,	/* rd = (u64)ra < (u64)rb */

	/* the same with an immediate; rd = ra OP imm */
	DGPU_OP_ADDI	= 0x20,
	DGPU_OP_MULI	= 0x21,
	DGPU_OP_ANDI	= 0x22,
	DGPU_OP_ORI	= 0x23,
	DGPU_OP_XORI	= 0x24,
	DGPU_OP_SHLI	= 0x25,
	DGPU_OP_SHRI	= 0x26,
	DGPU_OP_SARI	= 0x27,

	/* control; target = imm */
	DGPU_OP_JMP	= 0x30,
	DGPU_OP_JAL	= 0x31,	/* rd = index of next instruction; jump to imm */
	DGPU_OP_JR	= 0x32,	/* jump to instruction index ra */
	DGPU_OP_BEQ	= 0x33,	/* if ra == rb */
	DGPU_OP_BNE	= 0x34,
	DGPU_OP_BLT	= 0x35,	/* signed */
	DGPU_OP_BGE	= 0x36,
	DGPU_OP_BLTU	= 0x37,
	DGPU_OP_BGEU	= 0x38,

	/* memory at ra + imm; loads zero-extend, the S ones sign-extend */
	DGPU_OP_LD1	= 0x40,
	DGPU_OP_LD2	= 0x41,
	DGPU_OP_LD4	= 0x42,
	DGPU_OP_LD8	= 0x43,
	DGPU_OP_LD1S	= 0x44,
	DGPU_OP_LD2S	= 0x45,
	DGPU_OP_LD4S	= 0x46,
	DGPU_OP_ST1	= 0x48,	/* mem[ra + imm] = rd */
	DGPU_OP_ST2	= 0x49,
	DGPU_OP_ST4	= 0x4a,
	DGPU_OP_ST8	= 0x4b,

	/* atomics on mem[ra + imm]; rd = the old value */
	DGPU_OP_AADD4	= 0x50,	/* mem += rb */
	DGPU_OP_AADD8	= 0x51,
	DGPU_OP_AXCHG4	= 0x52,	/* mem = rb */
	DGPU_OP_AXCHG8	= 0x53,
	DGPU_OP_ACAS4	= 0x54,	/* if (mem == rd) mem = rb */
	DGPU_OP_ACAS8	= 0x55,

	DGPU_OP_MAX	= 0x56	/* first number that is no instruction */
};

#endif /* _UAPI_DGPU_ISA_H */

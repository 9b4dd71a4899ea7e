; SPDX-License-Identifier: GPL-2.0
; Walk a binary tree in order of its keys: count, sum and hash of the values.
;
; r1 = root, r2 = results: count, sum, hash (8 bytes each), r3 = stack: 8 bytes for
; each level of the tree

.equ LEFT, 0		; struct tree { struct tree *left, *right; u64 key, value; }
.equ RIGHT, 8
.equ VALUE, 24

.reg node, r1
.reg out, r2
.reg sp, r3
.reg base, r9
.reg count, r10
.reg sum, r11
.reg hash, r12
.reg value, r13

	mov	base, sp

down:	beqz	node, up	; as far left as it goes
	st8	node, (sp)
	addi	sp, sp, 8
	ld8	node, LEFT(node)
	jmp	down

up:	beq	sp, base, done
	subi	sp, sp, 8
	ld8	node, (sp)
	ld8	value, VALUE(node)
	addi	count, count, 1
	add	sum, sum, value
	muli	hash, hash, 31
	add	hash, hash, value
	ld8	node, RIGHT(node)
	jmp	down

done:	st8	count, 0(out)
	st8	sum, 8(out)
	st8	hash, 16(out)
	halt

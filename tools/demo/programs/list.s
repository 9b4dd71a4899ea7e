; SPDX-License-Identifier: GPL-2.0
; Walk a linked list: count its nodes, add up their values, and hash them in order.
;
; r1 = first node, r2 = results: count, sum, hash (8 bytes each)

.equ NEXT, 0		; struct node { struct node *next; u64 value; }
.equ VALUE, 8

.reg node, r1
.reg out, r2
.reg count, r10
.reg sum, r11
.reg hash, r12
.reg value, r13

loop:	beqz	node, done
	ld8	value, VALUE(node)
	addi	count, count, 1
	add	sum, sum, value
	muli	hash, hash, 31
	add	hash, hash, value
	ld8	node, NEXT(node)
	jmp	loop

done:	st8	count, 0(out)
	st8	sum, 8(out)
	st8	hash, 16(out)
	halt

; SPDX-License-Identifier: GPL-2.0
; Look up keys in a binary search tree, many threads.
;
; r1 = root, r2 = keys, r3 = values found (all ones: there is no such key), r4 = number
; of keys

.equ LEFT, 0		; struct tree { struct tree *left, *right; u64 key, value; }
.equ RIGHT, 8
.equ KEY, 16
.equ VALUE, 24

.reg root, r1
.reg keys, r2
.reg values, r3
.reg n, r4
.reg i, r10
.reg step, r11
.reg node, r12
.reg key, r13
.reg here, r14
.reg at, r15
.reg value, r16

	tid	i
	ntid	step

next:	bgeu	i, n, done
	shli	at, i, 3
	add	here, keys, at
	ld8	key, (here)
	mov	node, root
	li	value, -1

search:	beqz	node, found
	ld8	here, KEY(node)
	beq	key, here, hit
	bltu	key, here, left
	ld8	node, RIGHT(node)
	jmp	search
left:	ld8	node, LEFT(node)
	jmp	search
hit:	ld8	value, VALUE(node)

found:	add	here, values, at
	st8	value, (here)
	add	i, i, step
	jmp	next

done:	halt

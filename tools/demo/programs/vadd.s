; SPDX-License-Identifier: GPL-2.0
; Add two vectors of 64-bit numbers, many threads.
;
; r1 = a, r2 = b, r3 = sum, r4 = number of elements

.reg i, r10
.reg step, r11
.reg at, r12
.reg x, r13
.reg y, r14

	tid	i
	ntid	step
	shli	i, i, 3		; from here on in bytes
	shli	step, step, 3
	shli	r4, r4, 3

loop:	bgeu	i, r4, done
	add	at, r1, i
	ld8	x, (at)
	add	at, r2, i
	ld8	y, (at)
	add	x, x, y
	add	at, r3, i
	st8	x, (at)
	add	i, i, step
	jmp	loop

done:	halt

; SPDX-License-Identifier: GPL-2.0
; Multiply the 64-bit words of a buffer, many threads.
;
; r1, r2 = the buffer and its length, r3 = factor

.reg end, r2
.reg factor, r3
.reg i, r10
.reg step, r11
.reg at, r12
.reg x, r13

	tid	i
	ntid	step
	shli	i, i, 3		; from here on in bytes
	shli	step, step, 3

loop:	bgeu	i, end, done
	add	at, r1, i
	ld8	x, (at)
	mul	x, x, factor
	st8	x, (at)
	add	i, i, step
	jmp	loop

done:	halt

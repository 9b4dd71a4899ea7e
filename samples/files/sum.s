; SPDX-License-Identifier: GPL-2.0
; Sum of the 64-bit words of a buffer.
;
; r1, r2 = the buffer and its length, r3 = where the sum goes

.reg at, r1
.reg left, r2
.reg out, r3
.reg sum, r10
.reg x, r11

	shri	left, left, 3
loop:	beqz	left, done
	ld8	x, (at)
	add	sum, sum, x
	addi	at, at, 8
	subi	left, left, 1
	jmp	loop

done:	st8	sum, (out)
	halt

; SPDX-License-Identifier: GPL-2.0
; Sum and hash of words at equal distances.
;
; r1 = first word, r2 = number of words, r3 = distance in bytes, r4 = results: sum, hash

.reg at, r1
.reg left, r2
.reg step, r3
.reg out, r4
.reg sum, r11
.reg hash, r12
.reg value, r13

loop:	beqz	left, done
	ld8	value, (at)
	add	sum, sum, value
	muli	hash, hash, 31
	add	hash, hash, value
	add	at, at, step
	subi	left, left, 1
	jmp	loop

done:	st8	sum, 0(out)
	st8	hash, 8(out)
	halt

; SPDX-License-Identifier: GPL-2.0
; Store a sequence at equal distances: seed, 2 * seed, 3 * seed ...
;
; r1 = first word, r2 = number of words, r3 = distance in bytes, r4 = seed

.reg at, r1
.reg left, r2
.reg step, r3
.reg seed, r4
.reg value, r10

loop:	beqz	left, done
	add	value, value, seed
	st8	value, (at)
	add	at, at, step
	subi	left, left, 1
	jmp	loop

done:	halt

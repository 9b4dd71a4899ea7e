; SPDX-License-Identifier: GPL-2.0
; Count how often each byte occurs, many threads with atomics.
;
; r1 = bytes, r2 = 256 counters of 8 bytes, r3 = number of bytes

.reg bytes, r1
.reg bins, r2
.reg n, r3
.reg i, r10
.reg step, r11
.reg at, r12
.reg one, r13

	tid	i
	ntid	step
	li	one, 1

loop:	bgeu	i, n, done
	add	at, bytes, i
	ld1	at, (at)
	shli	at, at, 3
	add	at, bins, at
	aadd8	r0, one, (at)
	add	i, i, step
	jmp	loop

done:	halt

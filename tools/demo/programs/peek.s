; SPDX-License-Identifier: GPL-2.0
; Load one word.  r1 = its address, r2 = where the value goes
	ld8	r10, (r1)
	st8	r10, (r2)
	halt

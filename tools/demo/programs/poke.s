; SPDX-License-Identifier: GPL-2.0
; Store one word.  r1 = its address, r2 = the value
	st8	r2, (r1)
	halt

# SPDX-License-Identifier: GPL-2.0
asm-srcs := $(addprefix $(top)/lib/,asm.c expr.c isa.c disasm.c prog.c)
test_asm-srcs := $(asm-srcs)
test_asm_fuzz-srcs := $(asm-srcs)

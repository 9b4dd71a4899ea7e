# SPDX-License-Identifier: GPL-2.0
#
# The emulated GPU's functional units: the same suites that run as KUnit modules in a
# guest, on top of the few headers in dgpu_env/.
dgpu-cflags := -Idgpu_env -I$(top)/include -I$(top)/drivers/dummy_gpu/hw
dgpu-tests := $(filter test_dgpu_%,$(tests))
$(foreach t,$(dgpu-tests),$(eval $(t)-cflags := $(dgpu-cflags)))

# The examples of the manual go through the assembler.
test_dgpu_isa_doc-srcs := $(addprefix $(top)/lib/,asm.c expr.c isa.c disasm.c prog.c names.c)
test_dgpu_isa_doc-deps := $(top)/Documentation/gpu-isa.rst

# SPDX-License-Identifier: GPL-2.0
#
# The emulated GPU's functional units: the same suites that run as KUnit modules in a
# guest, on top of the few headers in dgpu_env/.
dgpu-cflags := -Idgpu_env -I$(top)/include -I$(top)/drivers/dummy_gpu/hw
dgpu-tests := $(filter test_dgpu_%,$(tests))
$(foreach t,$(dgpu-tests),$(eval $(t)-cflags := $(dgpu-cflags)))

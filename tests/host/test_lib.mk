# SPDX-License-Identifier: GPL-2.0
# The library without its system calls, and the simulated device instead.
lib-srcs := $(filter-out %/sys.c,$(sort $(wildcard $(top)/lib/*.c)))
test_lib-srcs := $(lib-srcs) mock_dgpu.c

# SPDX-License-Identifier: GPL-2.0
# The library without its system calls, and the simulated device instead.
lib-srcs := $(filter-out %/sys.c,$(sort $(wildcard $(top)/lib/*.c)))
test_lib-srcs := $(lib-srcs) mock_dgpu.c

# The programs of tools/ on the simulated device.
tool-srcs := $(addprefix $(top)/tools/common/,counters.c json.c parse.c) $(lib-srcs) mock_dgpu.c

programs += dgpu_mock
dgpu_mock-srcs := $(sort $(wildcard $(top)/tools/dgpu/*.c)) $(tool-srcs)

programs += demo_mock
demo_mock-srcs := $(sort $(wildcard $(top)/tools/demo/*.c)) $(tool-srcs)
demo_mock-cflags := -Wa,-I$(top)/tools/demo
demo_mock-deps := $(wildcard $(top)/tools/demo/programs/*.s)

# test_tools runs them.
test_tools-deps := $(OBJ)/dgpu_mock $(OBJ)/demo_mock

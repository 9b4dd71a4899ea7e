# SPDX-License-Identifier: GPL-2.0
# The parts of dgpu-chaos.so that are plain logic are in the test itself.  The whole of
# it, with a device that only counts, is a library that is put into a program made to
# notice; neither can have a sanitizer, which would want to be first in the process.
test_chaos-srcs := $(addprefix $(top)/tools/chaos/,maps.c record.c)
test_chaos-cflags := -I$(top)/tools/chaos
test_chaos-deps := $(OBJ)/chaos_mock.so $(OBJ)/chaos_victim $(OBJ)/dgpu_mock

chaos-srcs := $(sort $(wildcard $(top)/tools/chaos/*.c))
$(OBJ)/chaos_mock.so: $(chaos-srcs) mock_chaos.h $(wildcard $(top)/tools/chaos/*.h) test_chaos.mk
	@mkdir -p $(OBJ)
	$(call say,CC) $(CC) -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) -fPIC -shared \
		-fvisibility=hidden -fno-stack-protector -U_FORTIFY_SOURCE -Wl,-z,now \
		-I$(top)/include/uapi -I$(top)/tools/chaos -include mock_chaos.h -o $@ \
		$(chaos-srcs)

$(OBJ)/chaos_victim: chaos_victim.c test_chaos.mk
	@mkdir -p $(OBJ)
	$(call say,CC) $(CC) -std=gnu11 -D_GNU_SOURCE -O1 -g $(WARN) -pthread -o $@ $<

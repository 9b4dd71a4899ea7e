# SPDX-License-Identifier: GPL-2.0
#
# How a program in tools/NAME is built: its Makefile sets prog and srcs, and the man
# pages that belong to it in pages1 and pages7, and includes this.

top    := ../..
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
INSTALL ?= install
CC     ?= gcc

CFLAGS ?= -O2 -g
WARN   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	  -Wpointer-arith -Wvla
ifneq ($(WERROR),0)
WARN   += -Werror
endif
TOOLCFLAGS := -std=gnu11 -D_GNU_SOURCE -pthread $(WARN) -I$(top)/include/uapi -I$(top)/lib

objs := $(patsubst %.c,obj/%.o,$(subst ../,,$(srcs)))

all: $(prog)

# Static: it runs in the tree, and in a guest, as it is.
$(prog): $(objs) $(top)/lib/libdgpu.a
	$(CC) -pthread $(CFLAGS) $(LDFLAGS) -o $@ $^

obj/%.o: %.c Makefile ../rules.mk
	@mkdir -p $(@D)
	$(CC) $(TOOLCFLAGS) $(CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

obj/common/%.o: ../common/%.c Makefile ../rules.mk
	@mkdir -p $(@D)
	$(CC) $(TOOLCFLAGS) $(CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

$(top)/lib/libdgpu.a: FORCE
	$(MAKE) -C $(top)/lib libdgpu.a

install: all
	$(INSTALL) -d $(DESTDIR)$(BINDIR)
	$(INSTALL) -m 755 $(prog) $(DESTDIR)$(BINDIR)
ifneq ($(pages1),)
	$(INSTALL) -d $(DESTDIR)$(MANDIR)/man1
	$(INSTALL) -m 644 $(addprefix $(top)/Documentation/man/,$(pages1)) $(DESTDIR)$(MANDIR)/man1
endif
ifneq ($(pages7),)
	$(INSTALL) -d $(DESTDIR)$(MANDIR)/man7
	$(INSTALL) -m 644 $(addprefix $(top)/Documentation/man/,$(pages7)) $(DESTDIR)$(MANDIR)/man7
endif

clean:
	rm -rf obj $(prog)

-include $(objs:.o=.d)

.PHONY: all install clean FORCE
.SUFFIXES:

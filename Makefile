# SPDX-License-Identifier: GPL-2.0
#
# A thin wrapper: the work is done by kbuild (Kbuild) and by scripts/.

MAKEFLAGS += --no-print-directory
KDIR ?= /lib/modules/$(shell uname -r)/build
KSRC ?=
K ?=
F ?=
T ?=
MINUTES ?=
DESTDIR ?=
PREFIX ?= /usr/local
scripts := $(CURDIR)/scripts

# What belongs to kbuild goes through to it.
kbuild-args := $(foreach v,V C CF W WERROR,$(if $($(v)),$(v)='$($(v))'))
select := $(if $(K),--kernel $(K)) $(if $(F),--flavour $(F))
target := $(if $(strip $(select)),$(select),--kdir '$(KDIR)' $(if $(KSRC),--source '$(KSRC)'))
out := $(if $(OUT),--out '$(OUT)')

# Programs that users build upon, in the directories that exist by now.
programs = $(foreach d,$(1),$(if $(wildcard $(d)/Makefile),$(d)))

.PHONY: all modules tools demo demo-files test check setup modules_install \
	headers_install clean distclean help
all: modules

modules:
	@$(scripts)/modules $(target) $(out) $(kbuild-args) >/dev/null

tools:
	@for d in $(call programs,lib tools); do $(MAKE) -C $$d || exit; done

setup:
	@$(scripts)/setup

demo:
	@$(scripts)/demo $(select)

demo-files:
	@$(scripts)/demo $(select) --files

test:
	@$(scripts)/test $(select) $(if $(T),--tests '$(T)') \
		$(if $(MINUTES),--minutes '$(MINUTES)')

check:
	@$(scripts)/check

modules_install:
	@$(scripts)/install modules $(target) $(out) $(kbuild-args)

headers_install:
	@$(scripts)/install headers $(target) $(out) --prefix '$(DESTDIR)$(PREFIX)' $(kbuild-args)

clean:
	@rm -rf build
	@for d in $(call programs,lib tools tests/host tests/selftests); do \
		$(MAKE) -s -C $$d clean || exit; done

# Also the kernels that were fetched and built.
distclean: clean
	@rm -rf "$${HMM_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/hmm-mirror}"

help:
	@echo 'Targets:'
	@echo '  modules          the kernel modules, into build/ (default)'
	@echo '  tools            the user library and the command line tool'
	@echo '  demo             boot a guest and show it all at work (root installs what is missing)'
	@echo '  demo-files       the same with files: in the memory of the device, on ext4'
	@echo '  test             every test on every kernel, in guests'
	@echo '  check            style, static analysis, documentation, names'
	@echo '  setup            install the Debian packages that are missing'
	@echo '  modules_install  install the modules for the running kernel (or KDIR=)'
	@echo '  headers_install  headers and symbol versions for other drivers, to PREFIX='
	@echo '  clean            remove build/;  distclean: and the kernels that were built'
	@echo 'Variables:'
	@echo '  KDIR=DIR         kernel to build for: $(KDIR)'
	@echo '  KSRC=DIR         its source, if KDIR is headers only: ext4_hmm is built from it'
	@echo '  K=6.12 F=debug   a guest kernel and flavour instead: $(shell awk '!/^\#/ && NF && $$2 != "later" { print $$1 }' $(scripts)/kernels.table | xargs)'
	@echo '  T=PATTERN        only the tests whose name matches'
	@echo '  MINUTES=N        begin no test later than this; the rest is skipped, and counted'
	@echo '  OUT=DIR          build there;  V=1, C=1, W=1, WERROR=0: as in the kernel'
	@echo '  HMM_CACHE=DIR    where guest kernels are kept (~/.cache/hmm-mirror)'
	@echo 'Each script has --help: scripts/vm runs a command in a guest.'

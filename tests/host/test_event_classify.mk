# SPDX-License-Identifier: GPL-2.0
test_event_classify-srcs   := ../../mmu_notifier_ctx/classify.c \
			      ../../mmu_notifier_ctx/table.c
test_event_classify-cflags := -Ikernel -I../../include -Wno-sign-compare

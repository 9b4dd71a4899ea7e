// SPDX-License-Identifier: GPL-2.0
/* Allocations of the kernel that fail: see inject.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "harness.h"
#include "inject.h"
#include "sys.h"

#define DEBUGFS	"/sys/kernel/debug"

/* More allocations than any of the operations makes. */
#define MOST	4000

#define NR	2
static const char * const attributes[NR] = { "failslab", "fail_page_alloc" };

/* A thread's n-th failure may be one of these, too. */
static const char * const ours[] = {
	"hmm/fail_device_alloc", "hmm/fail_device_copy", "dgpu/fail_copy", "dgpu/fail_dma",
	"dgpu/fail_table", "dgpu/fail_submit",
};

int inject_set(const char *attribute, const char *name, const char *value)
{
	char path[100];

	snprintf(path, sizeof(path), DEBUGFS "/%s/%s", attribute, name);
	return sys_try_write(path, value);
}

void inject_percent(const char *attribute, unsigned int percent)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", percent);
	ASSERT_EQ(0, inject_set(attribute, "times", "-1"));
	ASSERT_EQ(0, inject_set(attribute, "probability", text));
}

void inject_off(void)
{
	for (size_t i = 0; i < NR; i++) {
		inject_set(attributes[i], "probability", "0");
		inject_set(attributes[i], "times", "1");
		inject_set(attributes[i], "task-filter", "N");
		inject_set(attributes[i], "require-start", "0");
		inject_set(attributes[i], "require-end", "0xffffffffffffffff");
	}
}

void inject_begin(void)
{
	if (access("/proc/self/fail-nth", W_OK))
		SKIP("a kernel without FAULT_INJECTION");
	for (size_t i = 0; i < NR; i++) {
		if (inject_set(attributes[i], "verbose", "0"))
			SKIP("a kernel without %s", attributes[i]);
	}
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		inject_set(ours[i], "verbose", "0");
	inject_off();
	/* Also those that may wait for memory: most of ours do. */
	for (size_t i = 0; i < NR; i++)
		ASSERT_EQ(0, inject_set(attributes[i], "ignore-gfp-wait", "N"));
	inject_set("fail_page_alloc", "min-order", "0");
}

void inject_end(void)
{
	inject_off();
	for (size_t i = 0; i < NR; i++)
		inject_set(attributes[i], "ignore-gfp-wait", "Y");
}

/* Where a module's code is: [*start, *start + *size). */
static bool inject_text(const char *module, unsigned long *start, unsigned long *size)
{
	char line[300], name[100], address[40];
	FILE *file = fopen("/proc/modules", "re");
	bool found = false;

	ASSERT_NE(file, NULL);
	while (!found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%99s %lu %*s %*s %*s %39s", name, size, address) == 3 &&
		    !strcmp(name, module)) {
			*start = strtoul(address, NULL, 0);
			found = true;
		}
	}
	fclose(file);
	return found && *start;
}

void inject_in(const char *module)
{
	unsigned long start, size;
	char text[32];

	if (!inject_text(module, &start, &size))
		SKIP("where %s is in memory cannot be told", module);
	for (size_t i = 0; i < NR; i++) {
		if (inject_set(attributes[i], "stacktrace-depth", "32"))
			SKIP("a kernel without FAULT_INJECTION_STACKTRACE_FILTER");
		snprintf(text, sizeof(text), "0x%lx", start);
		ASSERT_EQ(0, inject_set(attributes[i], "require-start", text));
		snprintf(text, sizeof(text), "0x%lx", start + size);
		ASSERT_EQ(0, inject_set(attributes[i], "require-end", text));
	}
}

void inject_random(const char *module, unsigned int percent)
{
	inject_in(module);
	for (size_t i = 0; i < NR; i++)
		inject_percent(attributes[i], percent);
}

/* The n-th allocation of this thread from now on fails; 0: none. */
static void inject_nth(int fd, unsigned int n)
{
	char text[16];
	const int len = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(fd, text, (size_t)len, 0) != len)
		FAIL("fail-nth: %s", strerror(errno));
}

/* Has it failed, or were there fewer? */
static bool inject_happened(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		FAIL("fail-nth: %s", strerror(errno));
	return atoi(text) == 0;
}

/* Of a page that stays because memory was short it is said that it is busy. */
static bool inject_error_is_fair(const struct inject_operation *operation, int ret)
{
	return ret == 0 || ret == -ENOMEM || ret == -EBUSY || ret == -EIO || ret == -EFAULT ||
	       ret == operation->also;
}

void inject_each(const struct inject_operation *operation, void *data)
{
	unsigned int n, failed = 0, errors[2] = {}, busy = 0;
	int fd, ret;
	bool happened;

	fd = ASSERT_SYS(open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC));
	for (n = 1; n < MOST; n++) {
		if (operation->prepare)
			operation->prepare(data);
		inject_nth(fd, n);
		ret = operation->run(data);
		happened = inject_happened(fd);
		inject_nth(fd, 0);
		if (!happened) {
			/* A page may be in use for a moment without any failure. */
			if (ret == -EBUSY && busy++ < 50) {
				sys_sleep_ms(5);
				n--;
				continue;
			}
			if (!EXPECT_EQ(0, ret))
				test_log("%s: %s without a failure", operation->name,
					 strerror(-ret));
			if (operation->check)
				EXPECT_TRUE(operation->check(data));
			break;
		}
		failed++;
		errors[0] += ret == -ENOMEM;
		errors[1] += ret != 0;
		if (!EXPECT_TRUE(inject_error_is_fair(operation, ret)))
			test_log("%s: failure %u: %s", operation->name, n,
				 strerror(-ret));
		if (operation->check && !EXPECT_TRUE(operation->check(data))) {
			test_log("%s: after failure %u", operation->name, n);
			break;
		}
	}
	close(fd);
	EXPECT_LT(n, MOST);
	test_log("%s: %u failures, %u of them noticed, %u as ENOMEM", operation->name, failed,
		 errors[1], errors[0]);
	EXPECT_GT(failed, 0);
}

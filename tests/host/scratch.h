/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests of programs: an empty directory to be in, shell commands, and what is in the
 * files that they leave there.
 */
#ifndef HOST_SCRATCH_H
#define HOST_SCRATCH_H

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char here[PATH_MAX];	/* where this program is, and others next to it */
static char scratch_dir[] = "/tmp/hmm-host-test.XXXXXX";

/* False, and said so: there is no such directory. */
static inline bool scratch_begin(const char *argv0)
{
	if (!realpath(argv0, here) || !mkdtemp(scratch_dir) || chdir(scratch_dir)) {
		printf("Bail out! %s\n", strerror(errno));
		return false;
	}
	dirname(here);
	return true;
}

/* Run a shell command; its exit status. */
static inline int __attribute__((format(printf, 1, 2))) sh(const char *fmt, ...)
{
	char command[8192];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + status;
}

/* The text of a file, cut to @size; none if there is no such file.  Returns its length. */
static inline size_t slurp_into(const char *name, char *buf, size_t size)
{
	FILE *f = fopen(name, "re");
	size_t n = 0;

	if (f) {
		n = fread(buf, 1, size - 1, f);
		fclose(f);
	}
	buf[n] = '\0';
	return n;
}

static inline void scratch_end(void)
{
	if (chdir("/") || sh("rm -r %s", scratch_dir))
		printf("# %s is left\n", scratch_dir);
}

#endif /* HOST_SCRATCH_H */

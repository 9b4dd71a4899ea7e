// SPDX-License-Identifier: GPL-2.0
/* Programs that run as they are and under dgpu chaos: see chaos_run.h. */
#include <fcntl.h>
#include <sys/stat.h>
#include "chaos_run.h"
#include "harness.h"
#include "sys.h"

void chaos_top(char *top, size_t size)
{
	ssize_t len = ASSERT_SYS(readlink("/proc/self/exe", top, size - 1));
	char *slash;

	top[len] = '\0';
	for (int i = 0; i < 3; i++) {	/* tests/selftests/NAME */
		slash = strrchr(top, '/');
		ASSERT_NE(slash, NULL);
		*slash = '\0';
	}
}

void chaos_become(const struct chaos_run *run, const char *script)
{
	char dgpu[600], env_top[600], env_n[32], env_more[600];
	const char *argv[16] = { "dgpu", "chaos" };
	const char *env[] = {
		"PATH=/usr/bin:/bin:/usr/sbin:/sbin", env_top, env_n, "TMPDIR=.", "LC_ALL=C",
		"HOME=/nonexistent", "TZ=UTC", "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1",
		run->env ? env_more : NULL, NULL
	};
	const int in = open("/dev/null", O_RDONLY);
	const int out = open(run->output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	size_t n = 2;

	snprintf(dgpu, sizeof(dgpu), "%s/tools/dgpu/dgpu", run->top);
	snprintf(env_top, sizeof(env_top), "TOP=%s", run->top);
	snprintf(env_n, sizeof(env_n), "N=%s", run->work);
	snprintf(env_more, sizeof(env_more), "%s", run->env ? run->env : "");
	if ((mkdir(run->dir, 0700) && errno != EEXIST) || chdir(run->dir) ||
	    dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(99);
	if (run->stat) {
		argv[n++] = "--stat";
		argv[n++] = run->stat;
		for (size_t i = 0; i < 4 && run->options[i]; i++)
			argv[n++] = run->options[i];
		argv[n++] = "--";
	}
	argv[n++] = "/bin/sh";
	argv[n++] = "-c";
	argv[n++] = script;
	if (run->stat)
		execve(dgpu, (char *const *)argv, (char *const *)env);
	else
		execve("/bin/sh", (char *const *)argv + 2, (char *const *)env);
	_exit(98);
}

int chaos_run(const struct chaos_run *run, const char *script)
{
	int status;
	pid_t pid;

	pid = ASSERT_SYS(fork());
	if (!pid)
		chaos_become(run, script);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	return status;
}

unsigned long long chaos_counted(const char *stat, const char *name, const char *counter)
{
	char want[32], key[32];
	unsigned long long sum = 0;

	snprintf(want, sizeof(want), " comm=%s ", name ? name : "");
	snprintf(key, sizeof(key), " %s=", counter);
	for (; strlen(stat) >= CHAOS_RECORD; stat += CHAOS_RECORD) {
		const char *end = stat + CHAOS_RECORD, *at = strstr(stat, key);

		if (name && (!strstr(stat, want) || strstr(stat, want) > end))
			continue;
		if (at && at < end)
			sum += strtoull(at + strlen(key), NULL, 10);
	}
	return sum;
}

/* A few of the records with errors, without the spaces behind them. */
static void chaos_log_errors(const char *stat)
{
	for (unsigned int nr = 0; nr < 8 && strlen(stat) >= CHAOS_RECORD; stat += CHAOS_RECORD) {
		int length = CHAOS_RECORD - 1;

		if (!memmem(stat, CHAOS_RECORD, " errno=", 7) ||
		    memmem(stat, CHAOS_RECORD, " errno=0 ", 9))
			continue;
		while (length && stat[length - 1] == ' ')
			length--;
		test_log("%.*s", length, stat);
		nr++;
	}
}

void chaos_check_records(const char *stat, const char *const names[4], unsigned int pages)
{
	EXPECT_EQ(0, strlen(stat) % CHAOS_RECORD);
	for (size_t i = 0; i < 4 && names[i]; i++)
		if (!EXPECT_GE(chaos_counted(stat, names[i], "there"), pages))
			test_log("that is what %s moved", names[i]);
	EXPECT_EQ(0, chaos_counted(stat, NULL, "failed"));
	if (!EXPECT_EQ(0, chaos_counted(stat, NULL, "errors")))
		chaos_log_errors(stat);
	test_log("%zu processes: %llu operations, %llu pages there, %llu back, %llu busy, %llu full, %llu mapped",
		 strlen(stat) / CHAOS_RECORD, chaos_counted(stat, NULL, "ops"),
		 chaos_counted(stat, NULL, "there"), chaos_counted(stat, NULL, "back"),
		 chaos_counted(stat, NULL, "busy"), chaos_counted(stat, NULL, "full"),
		 chaos_counted(stat, NULL, "mapped"));
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Where the time of files_run() goes: how many operations a second, how long each kind of
 * them takes, and where everybody is when one does not end.
 *
 * A thread that only looks.  It starts no process, for that would wait for the address space
 * of a run that hangs.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include "files_run.h"

#define WATCH_TICK_MS	100u
#define WATCH_FRAMES	14u	/* of a stack that are shown */

static uint64_t watch_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

void files_watch_begin(struct files_run *run, unsigned int op)
{
	__atomic_store_n(&run->watch.op, op, __ATOMIC_RELAXED);
	__atomic_store_n(&run->watch.since, watch_now_us(), __ATOMIC_RELEASE);
}

void files_watch_end(struct files_run *run)
{
	struct files_watch *watch = &run->watch;
	const uint64_t us = watch_now_us() - watch->since;

	watch->spent[watch->op] += us;
	if (us > watch->longest[watch->op])
		watch->longest[watch->op] = us;
	__atomic_store_n(&watch->since, 0, __ATOMIC_RELEASE);
	__atomic_fetch_add(&watch->done, 1, __ATOMIC_RELAXED);
}

/* The first bytes of a file of /proc, as text. */
static const char *watch_text(char *text, size_t room, const char *dir, const char *name)
{
	char path[200];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, room - 1);
	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static void watch_say_task(const char *dir, bool always)
{
	char comm[64], status[1000], stack[4000], syscall[200], *line, *rest = stack;
	const char *state;

	watch_text(status, sizeof(status), dir, "status");
	state = strstr(status, "State:");
	if (!state || (!always && !strchr("RD", state[7])))
		return;
	watch_text(comm, sizeof(comm), dir, "comm");
	comm[strcspn(comm, "\n")] = '\0';
	watch_text(syscall, sizeof(syscall), dir, "syscall");
	syscall[strcspn(syscall, "\n")] = '\0';
	test_log("%s %s: %c, %s", dir, comm, state[7], syscall);
	watch_text(stack, sizeof(stack), dir, "stack");
	for (unsigned int i = 0; i < WATCH_FRAMES && (line = strsep(&rest, "\n")) && *line; i++)
		test_log("    %s", line);
}

/* All threads in @dir, a .../task. */
static void watch_say_tasks(const char *dir, bool always)
{
	DIR *tasks = opendir(dir);
	struct dirent *entry;
	char path[400];

	while (tasks && (entry = readdir(tasks))) {
		if (!isdigit((unsigned char)*entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		watch_say_task(path, always);
	}
	if (tasks)
		closedir(tasks);
}

/* Our own threads, and whoever else is at something. */
static void watch_say_stacks(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char path[400];

	watch_say_tasks("/proc/self/task", true);
	while (proc && (entry = readdir(proc))) {
		if (!isdigit((unsigned char)*entry->d_name) || atoi(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task", entry->d_name);
		watch_say_tasks(path, false);
	}
	if (proc)
		closedir(proc);
}

static void watch_say_progress(struct files_run *run, uint64_t began)
{
	const uint64_t ms = (watch_now_us() - began) / 1000 + 1;
	const uint32_t done = __atomic_load_n(&run->watch.done, __ATOMIC_RELAXED);

	test_log("seed %u: %u of %u operations, %ju a second", run->config.seed, done,
		 run->config.nops, (uintmax_t)(done * 1000ull / ms));
}

static void *watch_loop(void *arg)
{
	struct files_run *run = arg;
	struct files_watch *watch = &run->watch;
	const uint64_t began = watch_now_us();
	uint64_t next = began + run->config.progress * 1000000ull, told = 0;

	while (!__atomic_load_n(&watch->stop, __ATOMIC_ACQUIRE)) {
		const uint64_t since = __atomic_load_n(&watch->since, __ATOMIC_ACQUIRE);
		const uint64_t now = watch_now_us();
		const unsigned int op = __atomic_load_n(&watch->op, __ATOMIC_RELAXED);

		if (run->config.progress && now >= next) {
			watch_say_progress(run, began);
			next += run->config.progress * 1000000ull;
		}
		if (run->config.slow_ms && since && since != told &&
		    now > since + run->config.slow_ms * 1000ull) {
			told = since;
			test_log("operation %u, %s, has not ended after %ju ms:",
				 run->model.nops, op < files_nops ? files_ops[op].name : "verify",
				 (uintmax_t)((now - since) / 1000));
			watch_say_stacks();
		}
		sys_sleep_ms(WATCH_TICK_MS);
	}
	return NULL;
}

void files_watch_start(struct files_run *run)
{
	struct files_watch *watch = &run->watch;

	watch->spent = calloc(files_nops + 1, sizeof(*watch->spent));
	watch->longest = calloc(files_nops + 1, sizeof(*watch->longest));
	ASSERT_NE(watch->spent, NULL);
	ASSERT_NE(watch->longest, NULL);
	if (!run->config.progress && !run->config.slow_ms)
		return;
	ASSERT_EQ(0, pthread_create(&watch->thread, NULL, watch_loop, run));
	watch->running = true;
}

void files_watch_stop(struct files_run *run)
{
	struct files_watch *watch = &run->watch;

	__atomic_store_n(&watch->stop, true, __ATOMIC_RELEASE);
	if (watch->running)
		pthread_join(watch->thread, NULL);
	if (run->config.profile)
		for (unsigned int i = 0; i <= files_nops; i++)
			if (watch->spent[i])
				test_log("%-14s %6u times, %8ju us each, %8ju ms in all, %6ju ms the longest",
					 i < files_nops ? files_ops[i].name : "verify",
					 run->counts[i],
					 (uintmax_t)(watch->spent[i] / (run->counts[i] ?: 1)),
					 (uintmax_t)(watch->spent[i] / 1000),
					 (uintmax_t)(watch->longest[i] / 1000));
	free(watch->spent);
	free(watch->longest);
}

// SPDX-License-Identifier: GPL-2.0
/* dgpu stat: counters of a run, or of a whole device. */
#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "dgpu.h"

static const char help[] =
"usage: dgpu stat [-d FILE] [--json] [--] run ...\n"
"       dgpu stat [-d FILE] [--json] [--] PROGRAM [ARG]...\n"
"       dgpu stat [-d FILE] [--json]\n"
"\n"
"The first form runs 'dgpu run ...' and then shows what it did to the device: device\n"
"faults and retries, invalidations by type and by reason, and counters of the\n"
"hardware and of the device's memory, which include other processes'.\n"
"\n"
"The second form runs any other program and shows by how much the counters of the\n"
"whole device grew meanwhile; the third shows them as they are now.  Both need debugfs\n"
"(/sys/kernel/debug/dgpu/N/stats) and the right to read it.\n"
"\n"
"options:\n"
"  -d, --device FILE   device file (default $DGPU_DEVICE, or /dev/dgpu0)\n"
"      --json          write a JSON object: run (what 'dgpu run --json' writes),\n"
"                      counters.mirror, .events, .reasons, .hw, .rmem; second and third\n"
"                      form: device\n"
"  -h, --help          this text\n"
"\n"
"The exit status is that of 'dgpu run', or of the program.\n"
"\n"
"A type says what happened to the address range, a reason which operation of the\n"
"kernel did it; an invalidation whose reason the kernel does not tell counts for each\n"
"one of the reasons that it can have had.\n"
"\n"
"rmem.total, used and chunks_free are how it is at the end, everything else is growth.\n";

#define STATS_PATTERN	"/sys/kernel/debug/dgpu/%u/stats"
#define MAX_LINES	256

/**
 * struct stats_file - counters of a whole device, as debugfs has them
 * @n: number of lines
 * @name: word before each number
 * @value: the numbers
 */
struct stats_file {
	unsigned int n;
	char name[MAX_LINES][48];
	uint64_t value[MAX_LINES];
};

static int take_before(struct session *s)
{
	int ret = counters_read(s->dev, s->arg);

	if (!ret)
		return EXIT_OK;
	complain("%s: counters: %s", s->path, strerror(-ret));
	return EXIT_SYSTEM;
}

static void show(struct session *s, const struct counters *c)
{
	if (s->json) {
		counters_json(c, &s->j, "counters");
	} else {
		putchar('\n');
		counters_print(c, stdout);
	}
}

/* First form: a command of ours, in this process. */
static int stat_nested(struct session *s, int argc, char **argv)
{
	struct counters before = { }, after;
	int status, ret;

	s->opened = take_before;
	s->arg = &before;
	if (s->json) {
		json_begin(&s->j, stdout);
		json_object(&s->j, NULL);
	}
	status = session_nested(s, &cmd_stat, argc, argv);
	if (s->dev && status <= EXIT_JOB) {
		ret = counters_read(s->dev, &after);
		if (ret) {
			complain("%s: counters: %s", s->path, strerror(-ret));
			status = EXIT_SYSTEM;
		} else {
			counters_subtract(&after, &before);
			show(s, &after);
		}
	}
	return session_end(s, status);
}

/* Lines are "name value" or "name: value"; others are titles. */
static int read_stats(const char *path, struct stats_file *stats)
{
	char line[256], name[48];
	uint64_t value;
	FILE *f;

	f = fopen(path, "re");
	if (!f) {
		complain("%s: %s", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	stats->n = 0;
	while (stats->n < MAX_LINES && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " %47[^: \t\n]%*[: \t]%" SCNu64, name, &value) != 2)
			continue;
		memcpy(stats->name[stats->n], name, sizeof(name));
		stats->value[stats->n++] = value;
	}
	fclose(f);
	return EXIT_OK;
}

static int stats_path(struct session *s, char *buf, size_t size)
{
	struct dgpu_info info;
	int ret;

	ret = session_open(s);
	if (ret)
		return ret;
	ret = dgpu_get_info(s->dev, &info);
	if (ret) {
		complain("%s: %s", s->path, strerror(-ret));
		return EXIT_SYSTEM;
	}
	snprintf(buf, size, STATS_PATTERN, info.index);
	return EXIT_OK;
}

/* A line that says how it is now, rather than how often something was. */
static bool is_level(const char *name)
{
	const char *group = "rmem.";
	unsigned int i;

	if (strncmp(name, group, strlen(group)))
		return false;
	for (i = 0; i < HMM_RMEM_NR; i++)
		if (!strcmp(dgpu_stat_name(DGPU_STAT_RMEM, i), name + strlen(group)))
			return counter_is_level(DGPU_STAT_RMEM, i);
	return false;
}

static void show_stats(struct session *s, const struct stats_file *stats)
{
	unsigned int i;

	if (s->json) {
		json_begin(&s->j, stdout);
		json_object(&s->j, NULL);
		json_object(&s->j, "device");
		for (i = 0; i < stats->n; i++)
			json_unsigned(&s->j, stats->name[i], stats->value[i]);
		json_end_object(&s->j);
		return;
	}
	for (i = 0; i < stats->n; i++)
		printf("  %-28s %12" PRIu64 "\n", stats->name[i], stats->value[i]);
}

/* Run another program; its exit status, or 128 + signal. */
static int spawn(char **argv)
{
	int ret, status;
	pid_t pid;

	fflush(stdout);
	ret = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (ret) {
		complain("%s: %s", argv[0], strerror(ret));
		return EXIT_USAGE;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_SYSTEM;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Second and third form: counters of the whole device. */
static int stat_device(struct session *s, char **argv)
{
	struct stats_file *before, *after;
	int status = EXIT_OK, ret;
	unsigned int i;
	char path[64];

	before = calloc(2, sizeof(*before));
	if (!before) {
		complain("out of memory");
		return EXIT_SYSTEM;
	}
	after = before + 1;
	ret = stats_path(s, path, sizeof(path));
	if (!ret && argv[0]) {
		ret = read_stats(path, before);
		if (!ret)
			status = spawn(argv);
	}
	ret = ret ?: read_stats(path, after);
	if (!ret) {
		for (i = 0; i < after->n && i < before->n; i++)
			if (!is_level(after->name[i]))
				after->value[i] -= before->value[i];
		show_stats(s, after);
	}
	free(before);
	return session_end(s, ret ?: status);
}

static int run_stat(int argc, char **argv)
{
	struct session s = { };
	int ret;

	ret = session_options(&s, &cmd_stat, argc, argv);
	if (ret)
		return ret;
	argv += optind;
	argc -= optind;
	if (argc && find_command(argv[0]))
		return stat_nested(&s, argc, argv);
	return stat_device(&s, argv);
}

const struct command cmd_stat = {
	.name = "stat",
	.summary = "count faults, retries and invalidations of a run",
	.help = help,
	.run = run_stat,
};

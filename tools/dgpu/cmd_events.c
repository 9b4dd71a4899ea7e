// SPDX-License-Identifier: GPL-2.0
/* dgpu events: the invalidations of a run, one by one. */
#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include "../common/parse.h"
#include "dgpu.h"

static const char help[] =
"usage: dgpu events [-d FILE] [-c N] [--json] [--] run ...\n"
"\n"
"Run 'dgpu run ...' and then list the invalidations that the device saw meanwhile, in\n"
"their order: the address range, what happened to it (type), what the device had to do\n"
"(action), which operation of the kernel it was (a set where the kernel gives no way to\n"
"tell), how many pages the device mapped there and how many of them it had written.\n"
"\n"
"options:\n"
"  -c, --capacity N    keep the last N records, a power of two up to 65536 (default)\n"
"  -d, --device FILE   device file (default $DGPU_DEVICE, or /dev/dgpu0)\n"
"      --json          write a JSON object: run (what 'dgpu run --json' writes), lost,\n"
"                      events[] with seq, start, end, type, action, reasons[], blockable,\n"
"                      own, pages, dirty\n"
"  -h, --help          this text\n"
"\n"
"The exit status is that of 'dgpu run'.\n";

static int enable(struct session *s)
{
	uint32_t *capacity = s->arg;
	int ret = dgpu_events_enable(s->dev, *capacity);

	if (!ret)
		return EXIT_OK;
	complain("%s: recording events: %s", s->path, strerror(-ret));
	return EXIT_SYSTEM;
}

static const char *word(const char *name)
{
	return name ?: "?";
}

static void show_json(struct json *j, const struct dgpu_event *e)
{
	unsigned int i;

	json_object(j, NULL);
	json_unsigned(j, "seq", e->seq);
	json_hex(j, "start", e->start);
	json_hex(j, "end", e->end);
	json_string(j, "type", dgpu_event_type_name(e->type));
	json_string(j, "action", dgpu_event_action_name(e->action));
	json_array(j, "reasons");
	for (i = 0; i < 32; i++)
		if (e->reasons >> i & 1)
			json_string(j, NULL, dgpu_stat_name(DGPU_STAT_REASONS, i));
	json_end_array(j);
	json_bool(j, "blockable", e->flags & HMM_EVENT_BLOCKABLE);
	json_bool(j, "own", e->flags & HMM_EVENT_OWN);
	json_unsigned(j, "pages", e->pages);
	json_unsigned(j, "dirty", e->dirty);
	json_end_object(j);
}

static void show_text(const struct dgpu_event *e)
{
	char reasons[512];

	dgpu_reasons_text(e->reasons, reasons, sizeof(reasons));
	printf("%6" PRIu64 " %14" PRIx64 "-%-14" PRIx64 " %-11s %-9s %6" PRIu32 " %6" PRIu32
	       "  %s%s\n", (uint64_t)e->seq, (uint64_t)e->start, (uint64_t)e->end,
	       word(dgpu_event_type_name(e->type)), word(dgpu_event_action_name(e->action)),
	       e->pages, e->dirty, reasons, e->flags & HMM_EVENT_BLOCKABLE ? "" : " (atomic)");
}

static int show(struct session *s)
{
	struct dgpu_event events[256];
	uint64_t next = 0, lost = 0;
	bool first = true;
	int n, i;

	if (s->json)
		json_array(&s->j, "events");
	else
		printf("\n%6s %14s-%-14s %-11s %-9s %6s %6s  %s\n", "seq", "start", "end", "type",
		       "action", "pages", "dirty", "reasons");
	while ((n = dgpu_events_read(s->dev, events, 256)) > 0) {
		for (i = 0; i < n; i++) {
			if (!first)
				lost += events[i].seq - next;
			next = events[i].seq + 1;
			first = false;
			if (s->json)
				show_json(&s->j, &events[i]);
			else
				show_text(&events[i]);
		}
	}
	if (s->json) {
		json_end_array(&s->j);
		json_unsigned(&s->j, "lost", lost);
	} else if (lost) {
		printf("%" PRIu64 " records were lost between these\n", lost);
	}
	if (n < 0) {
		complain("%s: events: %s", s->path, strerror(-n));
		return EXIT_SYSTEM;
	}
	return EXIT_OK;
}

static int run_events(int argc, char **argv)
{
	static const struct option options[] = {
		{ "capacity",	required_argument,	NULL, 'c' },
		{ "device",	required_argument,	NULL, 'd' },
		{ "json",	no_argument,		NULL, 'j' },
		{ }
	};
	uint32_t capacity = 65536;
	struct session s = { .opened = enable, .arg = &capacity };
	int opt, status;

	while ((opt = getopt_long(argc, argv, "+c:d:", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			if (parse_u32(optarg, &capacity) && capacity && capacity <= 65536 &&
			    !(capacity & (capacity - 1)))
				break;
			complain("--capacity takes a power of two up to 65536, not '%s'", optarg);
			return usage_error(&cmd_events);
		case 'd':
			s.path = optarg;
			break;
		case 'j':
			s.json = true;
			break;
		default:
			return usage_error(&cmd_events);
		}
	}
	if (optind == argc) {
		complain("events needs something to run");
		return usage_error(&cmd_events);
	}
	if (s.json) {
		json_begin(&s.j, stdout);
		json_object(&s.j, NULL);
	}
	status = session_nested(&s, &cmd_events, argc - optind, argv + optind);
	if (s.dev && status <= EXIT_JOB)
		status = show(&s) ?: status;
	return session_end(&s, status);
}

const struct command cmd_events = {
	.name = "events",
	.summary = "list the invalidations of a run",
	.help = help,
	.run = run_events,
};

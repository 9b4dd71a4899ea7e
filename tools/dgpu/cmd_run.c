// SPDX-License-Identifier: GPL-2.0
/* dgpu run: run a program on values, buffers and files. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "../common/parse.h"
#include "buffer.h"
#include "dgpu.h"
#include "place.h"

static const char help[] =
"usage: dgpu run [OPTIONS] PROGRAM [VALUE]...\n"
"\n"
"Run PROGRAM on the device and wait for it.  PROGRAM is source text (see dgpu-asm(7);\n"
"'-' is standard input) or an image made by 'dgpu asm -o'.\n"
"\n"
"The registers r1 to r8 are filled from VALUEs, --arg, --buf and --map in the order of\n"
"the command line.  A value takes one register; a buffer takes two, its address and its\n"
"length.  Buffers are plain malloc() memory of this process, or files that it maps; the\n"
"device uses them at the process's own addresses.\n"
"\n"
"  -a, --arg VALUE           like VALUE, for negative ones\n"
"  -b, --buf SIZE[=FILE]     a buffer of SIZE bytes (k, M, G: powers of 1024), zero, or\n"
"      --buf =FILE           filled from FILE; without SIZE as large as FILE\n"
"  -f, --map FILE            a buffer that is FILE itself, mapped shared: what the program\n"
"                            writes to it is in the file\n"
"  -n, --threads N           hardware threads to run it with (default 1)\n"
"  -e, --engine N            engine to run it on (default: the least busy one)\n"
"  -t, --timeout TIME        stop it after TIME: 500ms, 10s, 2m (default: the driver's)\n"
"  -p, --prefault            map the buffers on the device first: no faults\n"
"  -m, --migrate WHEN        when pages move to the device's memory: 'touch': on the first\n"
"                            touch by the device; 'request': all buffers are moved before\n"
"                            the run; 'never'; and show where the pages of each buffer\n"
"                            were before and after the run, and how many were moved\n"
"  -D, --dump BUF[:OFF[:LEN]][=FILE]\n"
"                            show buffer BUF (1 is the first) after the run, or the part\n"
"                            of it, or write it to FILE; may be given several times\n"
"      --as FORMAT           show buffers as hex (default), u8, u16, u32, u64, s8, s16,\n"
"                            s32 or s64\n"
"      --ptes                show how many pages of each buffer the device maps then\n"
"  -q, --quiet               no line about success\n"
"  -d, --device FILE         device file (default $DGPU_DEVICE, or /dev/dgpu0)\n"
"      --json                write a JSON object: program, device, status, threads, insns,\n"
"                            faults, wall_ns, error (null, or what, where and why),\n"
"                            buffers[], dumps[];\n"
"                            with --migrate: moved_in (pages of this process), moved_out\n"
"                            (of all processes), and in buffers[] before, request,\n"
"                            after: pages by place\n"
"  -h, --help                this text\n"
"\n"
"If the program fails, the exit status is 1, and standard error says which thread at\n"
"which instruction, and for memory faults the address and the reason.  Buffers are\n"
"shown in that case too.\n"
"\n"
"Examples: sum of the bytes of a file, by one thread; of a copy in memory, and of the file\n"
"where it is, in the memory of the device if it is on a file system that has been taught\n"
"about devices (ext4_hmm)\n"
"  dgpu run sum.s --buf =/etc/passwd --buf 8 --dump 2 --as u64\n"
"  dgpu run sum.s --map weights --buf 8 --dump 2 --as u64 --migrate touch\n";

enum { OPT_JSON = 256, OPT_AS, OPT_PTES };

static const struct option options[] = {
	{ "arg",	required_argument,	NULL, 'a' },
	{ "buf",	required_argument,	NULL, 'b' },
	{ "map",	required_argument,	NULL, 'f' },
	{ "threads",	required_argument,	NULL, 'n' },
	{ "engine",	required_argument,	NULL, 'e' },
	{ "timeout",	required_argument,	NULL, 't' },
	{ "prefault",	no_argument,		NULL, 'p' },
	{ "migrate",	required_argument,	NULL, 'm' },
	{ "dump",	required_argument,	NULL, 'D' },
	{ "as",		required_argument,	NULL, OPT_AS },
	{ "ptes",	no_argument,		NULL, OPT_PTES },
	{ "quiet",	no_argument,		NULL, 'q' },
	{ "device",	required_argument,	NULL, 'd' },
	{ "json",	no_argument,		NULL, OPT_JSON },
	{ }
};

#define MAX_DUMPS 16

/**
 * struct moves - where the pages of a buffer were, and what a request did
 * @before: before the request, or before the run
 * @request: what became of its pages
 * @after: after the run
 */
struct moves {
	struct places before;
	struct request_result request;
	struct places after;
};

/**
 * struct request - what the command line asks for
 * @path: program
 * @run: for the library
 * @nargs: registers filled
 * @buffers: memory
 * @nbuffers: how many
 * @dumps: what to show afterwards
 * @ndumps: how many
 * @format: how to show it
 * @prefault: map the buffers first
 * @migrate: pages shall move as @policy says, and it shall be shown
 * @policy: HMM_POLICY_*
 * @moves: of each buffer
 * @moved_in: pages of this process that moved to the device
 * @moved_out: pages of all processes that came back
 * @ptes: show what is mapped
 * @quiet: no line about success
 */
struct request {
	const char *path;
	struct dgpu_run run;
	unsigned int nargs;
	struct buffer buffers[MAX_BUFFERS];
	unsigned int nbuffers;
	struct dump dumps[MAX_DUMPS];
	unsigned int ndumps;
	const struct number_format *format;
	bool prefault;
	bool migrate;
	unsigned int policy;
	struct moves moves[MAX_BUFFERS];
	uint64_t moved_in;
	uint64_t moved_out;
	bool ptes;
	bool quiet;
};

static int add_value(struct request *rq, const char *text)
{
	if (rq->nargs == DGPU_NARGS) {
		complain("more arguments than registers: r1 to r%d", DGPU_NARGS);
		return EXIT_USAGE;
	}
	if (!parse_number(text, &rq->run.args[rq->nargs])) {
		complain("'%s' is not a number of 64 bits", text);
		return EXIT_USAGE;
	}
	rq->nargs++;
	return EXIT_OK;
}

static int add_buffer(struct request *rq, const char *spec,
		      int (*make)(const char *spec, struct buffer *buffer))
{
	struct buffer *buffer = &rq->buffers[rq->nbuffers];
	int ret;

	if (rq->nargs + 2 > DGPU_NARGS || rq->nbuffers == MAX_BUFFERS) {
		complain("more arguments than registers: r1 to r%d", DGPU_NARGS);
		return EXIT_USAGE;
	}
	ret = make(spec, buffer);
	rq->nbuffers++;		/* also after a failure: its memory is freed */
	if (ret)
		return ret;
	buffer->reg = rq->nargs + 1;
	rq->run.args[rq->nargs++] = (uintptr_t)buffer->data;
	rq->run.args[rq->nargs++] = buffer->size;
	return EXIT_OK;
}

static int add_dump(struct request *rq, const char *spec)
{
	if (rq->ndumps == MAX_DUMPS) {
		complain("more than %d dumps", MAX_DUMPS);
		return EXIT_USAGE;
	}
	if (!dump_parse(spec, &rq->dumps[rq->ndumps])) {
		complain("--dump takes BUFFER[:OFFSET[:LENGTH]][=FILE], not '%s'", spec);
		return EXIT_USAGE;
	}
	rq->ndumps++;
	return EXIT_OK;
}

static int set_migrate(struct request *rq, const char *when)
{
	static const char *const names[HMM_POLICY_NR] = {
		[HMM_POLICY_REQUEST] = "request", [HMM_POLICY_TOUCH] = "touch",
		[HMM_POLICY_NEVER] = "never",
	};

	for (rq->policy = 0; rq->policy < HMM_POLICY_NR; rq->policy++) {
		rq->migrate = !strcmp(when, names[rq->policy]);
		if (rq->migrate)
			return EXIT_OK;
	}
	complain("--migrate takes touch, request or never, not '%s'", when);
	return EXIT_USAGE;
}

static int set_option(struct session *s, struct request *rq, int opt)
{
	switch (opt) {
	case 1:		/* not an option: the program, then values */
		if (rq->path)
			return add_value(rq, optarg);
		rq->path = optarg;
		return EXIT_OK;
	case 'a':
		return add_value(rq, optarg);
	case 'b':
		return add_buffer(rq, optarg, buffer_make);
	case 'f':
		return add_buffer(rq, optarg, buffer_map);
	case 'D':
		return add_dump(rq, optarg);
	case 'n':
		if (parse_u32(optarg, &rq->run.nthreads) && rq->run.nthreads)
			return EXIT_OK;
		complain("--threads takes a number from 1 on, not '%s'", optarg);
		return EXIT_USAGE;
	case 'e':
		if (parse_u32(optarg, &rq->run.engine) && rq->run.engine != DGPU_ENGINE_ANY)
			return EXIT_OK;
		complain("--engine takes a number, not '%s'", optarg);
		return EXIT_USAGE;
	case 't':
		if (parse_ms(optarg, &rq->run.timeout_ms) && rq->run.timeout_ms)
			return EXIT_OK;
		complain("--timeout takes a time like 500ms, 10s or 2m, not '%s'", optarg);
		return EXIT_USAGE;
	case OPT_AS:
		rq->format = format_find(optarg);
		if (rq->format)
			return EXIT_OK;
		complain("--as takes hex, u8, u16, u32, u64, s8, s16, s32 or s64, not '%s'",
			 optarg);
		return EXIT_USAGE;
	case 'p':
		rq->prefault = true;
		return EXIT_OK;
	case 'm':
		return set_migrate(rq, optarg);
	case OPT_PTES:
		rq->ptes = true;
		return EXIT_OK;
	case 'q':
		rq->quiet = true;
		return EXIT_OK;
	case 'd':
		if (s->dev) {
			complain("--device belongs before the '--'");
			return EXIT_USAGE;
		}
		s->path = optarg;
		return EXIT_OK;
	case OPT_JSON:
		if (s->opened && !s->json) {
			complain("--json belongs before the '--'");
			return EXIT_USAGE;
		}
		s->json = true;
		return EXIT_OK;
	}
	return EXIT_USAGE;
}

static int parse(struct session *s, struct request *rq, int argc, char **argv)
{
	unsigned int i;
	int opt, ret;

	rq->run.engine = DGPU_ENGINE_ANY;
	rq->format = format_find("hex");
	optind = 0;	/* start again: an outer command has parsed already */
	while ((opt = getopt_long(argc, argv, "-a:b:f:n:e:t:pm:D:qd:", options, NULL)) != -1) {
		ret = set_option(s, rq, opt);
		if (ret)
			return ret == EXIT_USAGE ? usage_error(&cmd_run) : ret;
	}
	for (; optind < argc; optind++) {	/* after "--" */
		ret = EXIT_OK;
		if (rq->path)
			ret = add_value(rq, argv[optind]);
		else
			rq->path = argv[optind];
		if (ret)
			return usage_error(&cmd_run);
	}
	if (!rq->path) {
		complain("run needs a program");
		return usage_error(&cmd_run);
	}
	for (i = 0; i < rq->ndumps; i++) {
		const struct dump *d = &rq->dumps[i];

		if (d->buffer > rq->nbuffers) {
			complain("--dump: there is no buffer %u", d->buffer);
			return usage_error(&cmd_run);
		}
		if (d->offset > rq->buffers[d->buffer - 1].size ||
		    (d->length != UINT64_MAX &&
		     d->length > rq->buffers[d->buffer - 1].size - d->offset)) {
			complain("--dump: buffer %u has only %" PRIu64 " bytes", d->buffer,
				 rq->buffers[d->buffer - 1].size);
			return usage_error(&cmd_run);
		}
	}
	return EXIT_OK;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Count the pages of a buffer that the device maps, by kind. */
static int count_ptes(struct session *s, const struct buffer *b, size_t *pages, size_t *valid,
		      size_t *writable, size_t *dirty, size_t *huge)
{
	uintptr_t start = (uintptr_t)b->data & ~4095ul;
	size_t n = ((uintptr_t)b->data + b->size - start + 4095) / 4096, i, chunk;
	uint8_t bits[4096];
	int ret;

	*pages = n;
	*valid = *writable = *dirty = *huge = 0;
	while (n) {
		chunk = n < sizeof(bits) ? n : sizeof(bits);
		ret = dgpu_get_ptes(s->dev, (void *)start, chunk, bits);
		if (ret)
			return ret;
		for (i = 0; i < chunk; i++) {
			*valid += !!(bits[i] & DGPU_PTE_VALID);
			*writable += !!(bits[i] & DGPU_PTE_WRITE);
			*dirty += !!(bits[i] & DGPU_PTE_DIRTY);
			*huge += !!(bits[i] & DGPU_PTE_HUGE);
		}
		n -= chunk;
		start += chunk * 4096;
	}
	return 0;
}

static int show_ptes(struct session *s, const struct buffer *b, unsigned int index)
{
	size_t pages, valid, writable, dirty, huge;
	int ret;

	ret = count_ptes(s, b, &pages, &valid, &writable, &dirty, &huge);
	if (ret) {
		complain("page tables: %s", strerror(-ret));
		return EXIT_SYSTEM;
	}
	if (s->json) {
		json_unsigned(&s->j, "pages", pages);
		json_unsigned(&s->j, "mapped", valid);
		json_unsigned(&s->j, "writable", writable);
		json_unsigned(&s->j, "dirty", dirty);
		json_unsigned(&s->j, "huge", huge);
	} else {
		printf("buffer %u: %zu pages, the device maps %zu (%zu writable, %zu dirty, %zu in huge entries)\n",
		       index, pages, valid, writable, dirty, huge);
	}
	return EXIT_OK;
}

/* ---- device memory ---- */

/*
 * How many pages of this process moved to the device so far, and of all processes back:
 * on a touch of the CPU they come back without a word to any device address space.
 */
static void count_moves(struct session *s, uint64_t *in, uint64_t *out)
{
	uint64_t stats[HMM_RMEM_NR] = { };

	dgpu_get_stat(s->dev, DGPU_STAT_RMEM, stats, HMM_RMEM_NR);
	*in = dgpu_stat_mirror(s->dev, HMM_STAT_MOVED_IN);
	*out = stats[HMM_RMEM_OUT];
}

static int migrate_failed(struct session *s, const char *what, int ret)
{
	complain("%s: %s: %s", s->path, what,
		 ret == -EOPNOTSUPP ? "the device has no memory of its own" : strerror(-ret));
	return EXIT_SYSTEM;
}

/* Before the run: the policy, where everything is, and the request. */
static int migrate_before(struct session *s, struct request *rq)
{
	struct dgpu_info info;
	unsigned int i;
	int ret;

	if (!rq->migrate)
		return EXIT_OK;
	ret = dgpu_get_info(s->dev, &info);
	if (!ret && !info.local_bytes && rq->policy != HMM_POLICY_NEVER)
		ret = -EOPNOTSUPP;
	ret = ret ?: dgpu_set_policy(s->dev, rq->policy);
	if (ret)
		return migrate_failed(s, "migration", ret);
	count_moves(s, &rq->moved_in, &rq->moved_out);
	for (i = 0; i < rq->nbuffers; i++) {
		ret = places_count(s, &rq->buffers[i], &rq->moves[i].before);
		if (!ret && rq->policy == HMM_POLICY_REQUEST)
			ret = buffer_request(s, &rq->buffers[i], &rq->moves[i].request);
		if (ret)
			return migrate_failed(s, "migration", ret);
	}
	return EXIT_OK;
}

/* After it, before anybody looks at the contents: that brings pages back. */
static int migrate_after(struct session *s, struct request *rq)
{
	uint64_t in, out;
	unsigned int i;
	int ret;

	if (!rq->migrate)
		return EXIT_OK;
	for (i = 0; i < rq->nbuffers; i++) {
		ret = places_count(s, &rq->buffers[i], &rq->moves[i].after);
		if (ret)
			return migrate_failed(s, "residency", ret);
	}
	count_moves(s, &in, &out);
	rq->moved_in = in - rq->moved_in;
	rq->moved_out = out - rq->moved_out;
	return EXIT_OK;
}

static void show_moves(struct session *s, const struct request *rq, unsigned int i)
{
	const struct moves *m = &rq->moves[i];
	char before[128], request[256], after[128];

	if (s->json) {
		places_json(&s->j, "before", &m->before);
		if (rq->policy == HMM_POLICY_REQUEST)
			request_json(&s->j, "request", &m->request);
		places_json(&s->j, "after", &m->after);
		return;
	}
	places_text(&m->before, before, sizeof(before));
	places_text(&m->after, after, sizeof(after));
	request_text(&m->request, request, sizeof(request));
	printf("%-8u %-28s %-28s %s\n", i + 1, before,
	       rq->policy == HMM_POLICY_REQUEST ? request : "-", after);
}

static void table_of_moves(struct session *s, const struct request *rq)
{
	unsigned int i;

	if (rq->nbuffers)
		printf("%-8s %-28s %-28s %s\n", "buffer", "pages before", "request",
		       "pages after the run");
	for (i = 0; i < rq->nbuffers; i++)
		show_moves(s, rq, i);
	printf("device memory: %" PRIu64 " pages of this process moved in, %" PRIu64
	       " of all processes came back\n", rq->moved_in, rq->moved_out);
}

static int show_dump(struct session *s, const struct request *rq, const struct dump *d)
{
	const struct buffer *b = &rq->buffers[d->buffer - 1];
	uint64_t length = d->length == UINT64_MAX ? b->size - d->offset : d->length, i;
	const unsigned char *data = b->data + d->offset;
	char *hex;

	if (d->file)
		return dump_to_file(d->file, data, length);
	if (!s->json) {
		printf("buffer %u (r%u = %p), %" PRIu64 " bytes:\n", d->buffer, b->reg,
		       (void *)b->data, b->size);
		dump_text(stdout, data, length, d->offset, rq->format);
		return EXIT_OK;
	}
	hex = malloc(2 * length + 1);
	if (!hex) {
		complain("out of memory");
		return EXIT_SYSTEM;
	}
	for (i = 0; i < length; i++)
		sprintf(hex + 2 * i, "%02x", data[i]);
	hex[2 * length] = '\0';
	json_object(&s->j, NULL);
	json_unsigned(&s->j, "buffer", d->buffer);
	json_unsigned(&s->j, "offset", d->offset);
	json_unsigned(&s->j, "length", length);
	json_string(&s->j, "hex", hex);
	json_end_object(&s->j);
	free(hex);
	return EXIT_OK;
}

/* The instruction that failed, as text. */
static bool failed_insn(const struct request *rq, const struct dgpu_result *r, char *buf,
			size_t size)
{
	const struct dgpu_insn *code;
	uint32_t n;

	code = dgpu_prog_code(rq->run.prog, &n);
	if (r->pc >= n || r->status == DGPU_ERR_STOPPED || r->status == DGPU_ERR_LOST ||
	    r->status == DGPU_ERR_RESET)
		return false;
	dgpu_disasm(&code[r->pc], buf, size);
	return true;
}

static void json_failure(struct json *j, const struct request *rq, const struct dgpu_result *r)
{
	char text[256], insn[64];

	if (r->status == DGPU_OK) {
		json_string(j, "error", NULL);
		return;
	}
	dgpu_result_text(r, text, sizeof(text));
	json_object(j, "error");
	json_string(j, "text", text);
	json_unsigned(j, "thread", r->thread);
	json_unsigned(j, "pc", r->pc);
	json_unsigned(j, "line", dgpu_prog_line(rq->run.prog, r->pc));
	json_string(j, "insn", failed_insn(rq, r, insn, sizeof(insn)) ? insn : NULL);
	if (r->status == DGPU_ERR_FAULT || r->status == DGPU_ERR_ALIGN ||
	    r->status == DGPU_ERR_BUS) {
		json_hex(j, "address", r->fault_addr);
		json_string(j, "access", dgpu_access_name(r->access));
		json_number(j, "errno", r->error);
	}
	if (r->status == DGPU_ERR_TRAP)
		json_number(j, "trap", r->trap);
	json_end_object(j);
}

static void complain_failure(const struct request *rq, const struct dgpu_result *r)
{
	uint32_t line = dgpu_prog_line(rq->run.prog, r->pc);
	char text[256], insn[64];

	dgpu_result_text(r, text, sizeof(text));
	if (!failed_insn(rq, r, insn, sizeof(insn)))
		complain("%s: %s", rq->path, text);
	else if (line)
		complain("%s: %s (line %" PRIu32 ": %s)", rq->path, text, line, insn);
	else
		complain("%s: %s (%s)", rq->path, text, insn);
}

/* Everything about the run: members of the open object, or text. */
static int report(struct session *s, const struct request *rq, const struct dgpu_result *r,
		  uint64_t wall_ns)
{
	int status = r->status == DGPU_OK ? EXIT_OK : EXIT_JOB, ret;
	uint32_t threads = rq->run.nthreads ?: 1;
	struct json *j = &s->j;
	unsigned int i;
	char time[32];

	if (s->json) {
		json_string(j, "program", rq->path);
		json_string(j, "device", s->path);
		json_string(j, "status", dgpu_status_name(r->status));
		json_unsigned(j, "threads", threads);
		json_unsigned(j, "insns", r->insns);
		json_unsigned(j, "faults", r->faults);
		json_unsigned(j, "wall_ns", wall_ns);
		json_failure(j, rq, r);
		if (rq->migrate) {
			json_unsigned(j, "moved_in", rq->moved_in);
			json_unsigned(j, "moved_out", rq->moved_out);
		}
		json_array(j, "buffers");
		for (i = 0; i < rq->nbuffers; i++) {
			json_object(j, NULL);
			json_unsigned(j, "register", rq->buffers[i].reg);
			json_hex(j, "address", (uintptr_t)rq->buffers[i].data);
			json_unsigned(j, "size", rq->buffers[i].size);
			if (rq->migrate)
				show_moves(s, rq, i);
			ret = rq->ptes ? show_ptes(s, &rq->buffers[i], i + 1) : EXIT_OK;
			json_end_object(j);
			status = ret ?: status;
		}
		json_end_array(j);
		json_array(j, "dumps");
	} else {
		if (r->status != DGPU_OK)
			complain_failure(rq, r);
		else if (!rq->quiet)
			printf("ok: %" PRIu32 " thread%s, %" PRIu64 " instructions, %" PRIu64
			       " device fault%s, %s\n", threads, threads == 1 ? "" : "s",
			       (uint64_t)r->insns, (uint64_t)r->faults,
			       r->faults == 1 ? "" : "s", show_ns(wall_ns, time, sizeof(time)));
		if (rq->migrate)
			table_of_moves(s, rq);
		for (i = 0; rq->ptes && i < rq->nbuffers; i++)
			status = show_ptes(s, &rq->buffers[i], i + 1) ?: status;
	}
	for (i = 0; i < rq->ndumps; i++)
		status = show_dump(s, rq, &rq->dumps[i]) ?: status;
	if (s->json)
		json_end_array(j);
	return status;
}

static int execute(struct session *s, struct request *rq)
{
	bool nested = s->j.out;
	struct dgpu_result result;
	uint64_t started;
	struct buffer *b;
	unsigned int i;
	int ret;

	ret = migrate_before(s, rq);
	if (ret)
		return ret;
	for (i = 0; rq->prefault && i < rq->nbuffers; i++) {
		b = &rq->buffers[i];
		ret = dgpu_prefault(s->dev, b->data, b->size, b->writable);
		if (ret) {
			complain("prefault of buffer %u: %s", i + 1, strerror(-ret));
			return EXIT_SYSTEM;
		}
	}
	started = now_ns();
	ret = dgpu_run(s->dev, &rq->run, &result);
	if (ret && ret != -EIO) {
		complain("%s: %s%s", rq->path, strerror(-ret),
			 ret == -E2BIG ? " (dgpu info shows the limits)" :
			 ret == -EINVAL ? " (is there such an engine, is the timeout below 10m?)" :
			 "");
		return ret == -E2BIG || ret == -EINVAL ? EXIT_USAGE : EXIT_SYSTEM;
	}
	started = now_ns() - started;
	ret = migrate_after(s, rq);
	if (ret)
		return ret;
	if (s->json) {
		if (!nested)
			json_begin(&s->j, stdout);
		json_object(&s->j, nested ? "run" : NULL);
	}
	ret = report(s, rq, &result, started);
	if (s->json && nested)
		json_end_object(&s->j);
	return ret;
}

static int nested_run(struct session *s, int argc, char **argv)
{
	struct request rq = { };
	struct dgpu_prog *prog;
	unsigned int i;
	int ret;

	ret = parse(s, &rq, argc, argv);
	if (ret)
		goto out;
	ret = load_program(rq.path, &prog);
	if (ret)
		goto out;
	rq.run.prog = prog;
	ret = session_open(s);
	if (!ret)
		ret = execute(s, &rq);
	dgpu_prog_free(prog);
out:
	for (i = 0; i < rq.nbuffers; i++)
		buffer_free(&rq.buffers[i]);
	return ret;
}

static int run_run(int argc, char **argv)
{
	struct session s = { };

	return session_end(&s, nested_run(&s, argc, argv));
}

const struct command cmd_run = {
	.name = "run",
	.summary = "run a program on values, buffers and files",
	.help = help,
	.run = run_run,
	.nested = nested_run,
};

// SPDX-License-Identifier: GPL-2.0
/*
 * dgpu-demo: options, the course of events, the table.
 *
 * The jobs run one after the other, each for its share of the time, and at last all at
 * once; the disturbers run all the while.  What a job counts is its own, except for
 * retries, which the device counts for the address space: a job's row has those of its
 * time.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "../common/counters.h"
#include "../common/parse.h"
#include "demo.h"

static const char help[] =
"usage: dgpu-demo [OPTIONS]\n"
"\n"
"GPU programs walk a linked list and a binary search tree, add vectors, and count the\n"
"bytes of a file, all in plain malloc() memory of this process at its own addresses.\n"
"The vectors move to the GPU's own memory when it uses them, and back when the CPU does.\n"
"Meanwhile other threads unmap, move, protect, discard, share, swap out and migrate\n"
"memory that the GPU uses.  Every result is compared with the CPU's.\n"
"\n"
"options:\n"
"  -s, --seconds N       how long in all (default 20); every part runs at least once\n"
"  -S, --seed N          seed of all random numbers (default: the time; it is shown)\n"
"  -f, --file FILE       file for the histogram (default: this program itself)\n"
"  -l, --limit SIZE      bytes of it to use (default 128k)\n"
"  -N, --nodes N         nodes of the list and of the tree (default 4000)\n"
"  -E, --elements N      elements of the vectors (default 16384)\n"
"  -n, --threads N       threads of the GPU for lookups, vectors, histogram (default 32)\n"
"  -t, --timeout TIME    stop a GPU job after TIME: 500ms, 10s, 2m (default 2m)\n"
"  -d, --device FILE     device file (default $DGPU_DEVICE, or /dev/dgpu0)\n"
"      --json            write a JSON object: jobs[], disturbances[], swap, counters,\n"
"                        wrong, equal\n"
"  -h, --help            this text\n"
"\n"
"exit status:\n"
"  0  every result was equal\n"
"  1  a result was not\n"
"  2  wrong arguments\n"
"  4  no device, no memory, no file\n";

#define REBUILD	6	/* a job frees its memory and starts anew every so many rounds */

/*
 * A disturber rests so many times as long as a round took it.  Without that, slow
 * machines would do nothing but disturb: a page would be swapped out again before the
 * GPU came to use it.
 */
#define PAUSES	2

/**
 * struct worker - a thread
 * @demo: the demo
 * @job: what it computes, or NULL
 * @disturber: what it disturbs, or NULL
 * @until: end of a job's time
 * @rnd: its random numbers
 * @tally: what it counts
 * @thread: the thread
 */
struct worker {
	struct demo *demo;
	const struct job *job;
	const struct disturber *disturber;
	uint64_t until;
	uint64_t rnd;
	struct tally tally;
	pthread_t thread;
};

/**
 * struct row - one line of the table of jobs
 * @name: of the job, or of all
 * @what: it does
 * @tally: counted
 * @retries: of the address space in its time
 */
struct row {
	const char *name;
	char what[64];
	struct tally tally;
	uint64_t retries;
};

/**
 * struct swap - what the kernel says about swap
 * @total_kb: space
 * @in: pages read since boot
 * @out: pages written since boot
 */
struct swap {
	uint64_t total_kb;
	uint64_t in;
	uint64_t out;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* One number of a file of lines "name value". */
static bool number_in(const char *path, const char *name, uint64_t *found)
{
	FILE *f = fopen(path, "re");
	char line[256], word[64];
	bool there = false;
	uint64_t value;

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63[^: ]%*[: ]%" SCNu64, word, &value) != 2 ||
		    strcmp(word, name))
			continue;
		*found = value;
		there = true;
	}
	fclose(f);
	return there;
}

/* Pages that the swap devices read and wrote, as the block layer counts them. */
static void count_blocks(struct swap *swap)
{
	FILE *f = fopen("/proc/swaps", "re"), *stat;
	char line[256], name[64], path[128];
	uint64_t in, out;

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "/dev/%63s", name) != 1)
			continue;
		snprintf(path, sizeof(path), "/sys/class/block/%s/stat", name);
		stat = fopen(path, "re");
		if (!stat)
			continue;
		if (fscanf(stat, "%*u %*u %" SCNu64 " %*u %*u %*u %" SCNu64, &in, &out) == 2) {
			swap->in += in / (PAGE / 512);
			swap->out += out / (PAGE / 512);
		}
		fclose(stat);
	}
	fclose(f);
}

static void read_swap(struct swap *swap)
{
	*swap = (struct swap){ };
	number_in("/proc/meminfo", "SwapTotal", &swap->total_kb);
	/* A kernel without CONFIG_VM_EVENT_COUNTERS does not say. */
	if (!number_in("/proc/vmstat", "pswpin", &swap->in) ||
	    !number_in("/proc/vmstat", "pswpout", &swap->out))
		count_blocks(swap);
}

/* Sleep, but not beyond the end of the demo by much. */
static void pause_ms(const struct worker *w, uint64_t ms)
{
	uint64_t until = now_ms() + ms, now;

	while ((now = now_ms()) < until && !__atomic_load_n(&w->demo->stop, __ATOMIC_RELAXED))
		usleep(1000 * (until - now < 50 ? until - now : 50));
}

static void *work(void *arg)
{
	struct worker *w = arg;

	if (w->job) {
		do {
			if (w->tally.rounds % REBUILD == REBUILD - 1 &&
			    !w->job->make(w->demo, &w->rnd)) {
				w->tally.wrong++;
				gpu_wrong(w->demo, "%s: no memory", w->job->name);
				break;
			}
			w->job->once(w->demo, &w->tally, &w->rnd);
			w->tally.rounds++;
		} while (now_ms() < w->until);
	} else {
		do {
			uint64_t began = now_ms();

			w->disturber->once(w->demo, &w->tally, &w->rnd);
			w->tally.rounds++;
			pause_ms(w, PAUSES * (now_ms() - began) + 2 + random_next(&w->rnd) % 8);
		} while (!__atomic_load_n(&w->demo->stop, __ATOMIC_RELAXED));
	}
	return NULL;
}

static bool start(struct worker *w, struct demo *demo, unsigned int number)
{
	int ret;

	w->demo = demo;
	/* Neighbouring seeds must not give neighbouring sequences. */
	w->rnd = demo->seed + (number + 1) * 0x9e3779b97f4a7c15ull;
	if (!w->rnd)
		w->rnd = 1;
	random_next(&w->rnd);
	ret = pthread_create(&w->thread, NULL, work, w);
	if (ret)
		fprintf(stderr, "dgpu-demo: thread: %s\n", strerror(ret));
	return !ret;
}

static void add(struct tally *to, const struct tally *from)
{
	to->rounds += from->rounds;
	to->runs += from->runs;
	to->insns += from->insns;
	to->faults += from->faults;
	to->wrong += from->wrong;
}

/* Run jobs [first, end) at the same time. */
static bool run_jobs(struct demo *demo, unsigned int first, unsigned int end, uint64_t ms,
		     struct row *row)
{
	uint64_t retries = dgpu_stat_mirror(demo->dev, HMM_STAT_RETRIES);
	struct worker workers[NJOBS] = { };
	unsigned int i, started;
	bool good = true;

	for (i = first; i < end && good; i++) {
		workers[i].job = &jobs[i];
		workers[i].until = now_ms() + ms;
		good = start(&workers[i], demo, 100 + 10 * (end - first) + i);
	}
	started = good ? end : i - 1;
	for (i = first; i < started; i++) {
		pthread_join(workers[i].thread, NULL);
		add(&row->tally, &workers[i].tally);
	}
	row->retries = dgpu_stat_mirror(demo->dev, HMM_STAT_RETRIES) - retries;
	return good;
}

/* ---- the table ---- */

static const char *verdict(const struct tally *tally)
{
	return tally->wrong ? "NOT EQUAL" : "equal";
}

static void print_two_lists(const struct counters *c)
{
	const unsigned int groups[2] = { DGPU_STAT_EVENTS, DGPU_STAT_REASONS };
	unsigned int at[2] = { 0, 0 }, side;
	bool any;

	for (;;) {
		any = false;
		for (side = 0; side < 2; side++) {
			unsigned int g = groups[side];

			while (at[side] < c->count[g] && !c->value[g][at[side]])
				at[side]++;
			if (at[side] < c->count[g])
				any = true;
		}
		if (!any)
			break;
		for (side = 0; side < 2; side++) {
			unsigned int g = groups[side], i = at[side];

			if (i < c->count[g]) {
				printf("  %-14s %12" PRIu64, dgpu_stat_name(g, i) ?: "?",
				       c->value[g][i]);
				at[side]++;
			} else {
				printf("  %-14s %12s", "", "");
			}
			fputs(side ? "\n" : "      ", stdout);
		}
	}
}

static void print_table(const struct demo *demo, const struct row *rows, unsigned int nrows,
			const struct worker *workers, unsigned int nworkers,
			const struct counters *c, const struct swap *swap, uint64_t wrong)
{
	const uint64_t *m = c->value[DGPU_STAT_MIRROR], *hw = c->value[DGPU_STAT_HW];
	const uint64_t *rmem = c->value[DGPU_STAT_RMEM];	/* of all processes */
	unsigned int i;

	printf("\n%-10s %-38s %6s %13s %8s %8s  %s\n", "GPU job", "what", "runs", "instructions",
	       "faults", "retries", "result");
	for (i = 0; i < nrows; i++)
		printf("%-10s %-38s %6" PRIu64 " %13" PRIu64 " %8" PRIu64 " %8" PRIu64 "  %s\n",
		       rows[i].name, rows[i].what, rows[i].tally.runs, rows[i].tally.insns,
		       rows[i].tally.faults, rows[i].retries, verdict(&rows[i].tally));

	printf("\n%-10s %-38s %6s %13s %8s %8s  %s\n", "meanwhile", "what", "rounds", "GPU jobs",
	       "faults", "", "result");
	for (i = 0; i < nworkers; i++) {
		const struct tally *t = &workers[i].tally;
		const struct disturber *d = workers[i].disturber;

		printf("%-10s %-38s %6" PRIu64, d->name, d->what, t->rounds);
		if (d->checks)
			printf(" %13" PRIu64 " %8" PRIu64 " %8s  %s\n", t->runs, t->faults, "",
			       verdict(t));
		else
			printf(" %13s %8s %8s  %s\n", "-", "-", "", t->wrong ? "FAILED" : "-");
	}

	printf("\n%-29s      %s\n", "invalidations by type", "by reason (each one of its set)");
	print_two_lists(c);
	printf("  %-14s %12" PRIu64 "\n", "all", counters_sum(c, DGPU_STAT_EVENTS));

	printf("\ndevice faults  %" PRIu64 ", %" PRIu64 " of them served together with another, %"
	       PRIu64 " refused\n", m[HMM_STAT_FAULTS], m[HMM_STAT_FAULTS_MERGED],
	       m[HMM_STAT_FAULTS_FAILED]);
	printf("mapped         %" PRIu64 " pages (%" PRIu64 " not asked for by a fault) and %" PRIu64
	       " of 2 MiB; %" PRIu64 " the CPU had not\n", m[HMM_STAT_PAGES_MAPPED],
	       m[HMM_STAT_AROUND], m[HMM_STAT_HUGE_MAPPED], m[HMM_STAT_CPU_FAULTS]);
	printf("retries        %" PRIu64 "\n", m[HMM_STAT_RETRIES]);
	printf("written        %" PRIu64 " pages reported dirty by the device\n",
	       m[HMM_STAT_DIRTY]);
	printf("device memory  ");
	if (demo->local_bytes)
		printf("%" PRIu64 " pages went there, %" PRIu64 " came back, %" PRIu64
		       " of them as the CPU touched them\n", rmem[HMM_RMEM_IN],
		       rmem[HMM_RMEM_OUT], rmem[HMM_RMEM_OUT_FAULT]);
	else
		printf("none: nothing could move there\n");
	printf("swap           %" PRIu64 " pages out, %" PRIu64 " in%s\n", swap->out, swap->in,
	       swap->total_kb ? "" : " (no swap space: nothing could be swapped out)");
	printf("hardware       %" PRIu64 " jobs, %" PRIu64 " instructions, TLB %" PRIu64 " hits %"
	       PRIu64 " misses %" PRIu64 " flushes, %" PRIu64 " bus errors\n", hw[DGPU_HW_JOBS],
	       hw[DGPU_HW_INSNS], hw[DGPU_HW_TLB_HITS], hw[DGPU_HW_TLB_MISSES],
	       hw[DGPU_HW_TLB_FLUSHES], hw[DGPU_HW_BUS_ERRORS]);
	printf("\nresult         %s", wrong ? "NOT EQUAL" : "all equal");
	if (wrong)
		printf(": %" PRIu64 " wrong", wrong);
	printf(" (seed %" PRIu64 ")\n", demo->seed);
}

static void tally_json(struct json *j, const struct tally *tally)
{
	json_unsigned(j, "rounds", tally->rounds);
	json_unsigned(j, "runs", tally->runs);
	json_unsigned(j, "insns", tally->insns);
	json_unsigned(j, "faults", tally->faults);
	json_unsigned(j, "wrong", tally->wrong);
	json_bool(j, "equal", !tally->wrong);
}

static void print_json(const struct demo *demo, const struct row *rows, unsigned int nrows,
		       const struct worker *workers, unsigned int nworkers,
		       const struct counters *c, const struct swap *swap, uint64_t wrong)
{
	struct json json, *j = &json;
	unsigned int i;

	json_begin(j, stdout);
	json_object(j, NULL);
	json_unsigned(j, "seed", demo->seed);
	json_unsigned(j, "seconds", demo->seconds);
	json_string(j, "file", demo->path);
	json_array(j, "jobs");
	for (i = 0; i < nrows; i++) {
		json_object(j, NULL);
		json_string(j, "name", rows[i].name);
		json_string(j, "what", rows[i].what);
		tally_json(j, &rows[i].tally);
		json_unsigned(j, "retries", rows[i].retries);
		json_end_object(j);
	}
	json_end_array(j);
	json_array(j, "disturbances");
	for (i = 0; i < nworkers; i++) {
		json_object(j, NULL);
		json_string(j, "name", workers[i].disturber->name);
		json_string(j, "what", workers[i].disturber->what);
		tally_json(j, &workers[i].tally);
		json_end_object(j);
	}
	json_end_array(j);
	json_object(j, "swap");
	json_unsigned(j, "total_kb", swap->total_kb);
	json_unsigned(j, "pages_out", swap->out);
	json_unsigned(j, "pages_in", swap->in);
	json_end_object(j);
	counters_json(c, j, "counters");
	json_unsigned(j, "wrong", wrong);
	json_bool(j, "equal", !wrong);
	json_end_object(j);
	json_finish(j);
}

/* ---- the course of events ---- */

static void introduce(struct demo *demo, FILE *out, const struct swap *swap)
{
	struct dgpu_info info;

	if (dgpu_get_info(demo->dev, &info))
		return;
	fprintf(out, "dgpu-demo: %.*s with %u engines, %u s, seed %" PRIu64 "\n",
		(int)sizeof(info.name), info.name, info.engines, demo->seconds, demo->seed);
	fprintf(out, "file %s, swap space %" PRIu64 " MiB, %u threads disturb\n", demo->path,
		swap->total_kb >> 10, NCHURN + NCHECKS);
	fflush(out);
}

static bool prepare(struct demo *demo)
{
	uint64_t rnd = demo->seed;
	unsigned int i;

	/*
	 * Large blocks are mappings of their own, always: free() unmaps them, and their
	 * inner pages have no other user.
	 */
	mallopt(M_MMAP_THRESHOLD, 64 * 1024);
	jobs_init(demo);
	for (i = 0; i < NCHECKS; i++)
		if (checks[i].make && !checks[i].make(demo))
			goto nomem;
	for (i = 0; i < NJOBS; i++)
		if (!jobs[i].make(demo, &rnd))
			goto nomem;
	return true;
nomem:
	fprintf(stderr, "dgpu-demo: cannot build the data\n");
	return false;
}

static void cleanup(struct demo *demo)
{
	unsigned int i;

	for (i = 0; i < NJOBS; i++)
		jobs[i].drop(demo);
	for (i = 0; i < NCHECKS; i++)
		if (checks[i].drop)
			checks[i].drop(demo);
}

static int run_demo(struct demo *demo, bool json)
{
	struct worker workers[NCHURN + NCHECKS] = { };
	unsigned int i, started = 0, nrows = 0;
	struct row rows[NJOBS + 1] = { };
	struct swap before, swap;
	struct counters c0, c;
	uint64_t wrong = 0;
	bool good = true;
	char size[32];

	read_swap(&before);
	introduce(demo, json ? stderr : stdout, &before);
	if (counters_read(demo->dev, &c0)) {
		fprintf(stderr, "dgpu-demo: the device's counters cannot be read\n");
		return 4;
	}
	for (i = 0; i < NCHURN + NCHECKS && good; i++) {
		workers[i].disturber = i < NCHURN ? &churns[i] : &checks[i - NCHURN];
		good = start(&workers[i], demo, i);
		started += good;
	}
	for (; nrows < NJOBS && good; nrows++) {
		rows[nrows].name = jobs[nrows].name;
		snprintf(rows[nrows].what, sizeof(rows[nrows].what), "%s: %s",
			 jobs_size(demo, nrows, size, sizeof(size)), jobs[nrows].what);
		good = run_jobs(demo, nrows, nrows + 1, demo->seconds * 200, &rows[nrows]);
	}
	if (good) {
		rows[nrows].name = "together";
		snprintf(rows[nrows].what, sizeof(rows[nrows].what), "all of these at once");
		good = run_jobs(demo, 0, NJOBS, demo->seconds * 200, &rows[nrows]);
		nrows++;
	}
	__atomic_store_n(&demo->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < started; i++) {
		pthread_join(workers[i].thread, NULL);
		wrong += workers[i].tally.wrong;
	}
	if (!good)
		return 4;
	for (i = 0; i < nrows; i++)
		wrong += rows[i].tally.wrong;
	if (counters_read(demo->dev, &c)) {
		fprintf(stderr, "dgpu-demo: the device's counters cannot be read\n");
		return 4;
	}
	counters_subtract(&c, &c0);
	read_swap(&swap);
	swap.in -= before.in;
	swap.out -= before.out;
	(json ? print_json : print_table)(demo, rows, nrows, workers, started, &c, &swap, wrong);
	return wrong ? 1 : 0;
}

static int usage(void)
{
	fprintf(stderr, "Try 'dgpu-demo --help'.\n");
	return 2;
}

static bool in_range(const char *option, const char *text, uint32_t low, uint32_t high,
		     unsigned int *value)
{
	uint32_t n;

	if (parse_u32(text, &n) && n >= low && n <= high) {
		*value = n;
		return true;
	}
	fprintf(stderr, "dgpu-demo: --%s takes a number from %u to %u, not '%s'\n", option, low,
		high, text);
	return false;
}

static bool set_option(struct demo *demo, int opt, const char **device, bool *json)
{
	uint64_t size;

	switch (opt) {
	case 's':
		return in_range("seconds", optarg, 1, 86400, &demo->seconds);
	case 'S':
		if (parse_number(optarg, &demo->seed) && demo->seed)
			return true;
		fprintf(stderr, "dgpu-demo: --seed takes a number that is not 0\n");
		return false;
	case 'f':
		demo->path = optarg;
		return true;
	case 'l':
		if (parse_size(optarg, NULL, &size) && size >= 64 && size <= 1u << 30) {
			demo->file_limit = size;
			return true;
		}
		fprintf(stderr, "dgpu-demo: --limit takes a size from 64 to 1G\n");
		return false;
	case 'N':
		return in_range("nodes", optarg, 16, 10000000, &demo->nodes);
	case 'E':
		return in_range("elements", optarg, 16, 100000000, &demo->elements);
	case 'n':
		return in_range("threads", optarg, 1, 65536, &demo->threads);
	case 't':
		if (parse_ms(optarg, &demo->timeout_ms) && demo->timeout_ms)
			return true;
		fprintf(stderr, "dgpu-demo: --timeout takes a time like 500ms, 10s or 2m\n");
		return false;
	case 'd':
		*device = optarg;
		return true;
	case 'j':
		*json = true;
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds",	required_argument,	NULL, 's' },
		{ "seed",	required_argument,	NULL, 'S' },
		{ "file",	required_argument,	NULL, 'f' },
		{ "limit",	required_argument,	NULL, 'l' },
		{ "nodes",	required_argument,	NULL, 'N' },
		{ "elements",	required_argument,	NULL, 'E' },
		{ "threads",	required_argument,	NULL, 'n' },
		{ "timeout",	required_argument,	NULL, 't' },
		{ "device",	required_argument,	NULL, 'd' },
		{ "json",	no_argument,		NULL, 'j' },
		{ "help",	no_argument,		NULL, 'h' },
		{ }
	};
	struct demo demo = {
		/* An emulated device in an emulated machine: be generous. */
		.timeout_ms = 120000,
		.seconds = 20, .nodes = 4000, .elements = 16384, .threads = 32,
		.path = "/proc/self/exe", .file_limit = 128 * 1024,
		.seed = (uint64_t)time(NULL),
	};
	const char *device = NULL;
	struct dgpu_info info;
	bool json = false;
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "s:S:f:l:N:E:n:t:d:h", options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (!set_option(&demo, opt, &device, &json))
			return usage();
	}
	if (optind != argc) {
		fprintf(stderr, "dgpu-demo: unexpected argument '%s'\n", argv[optind]);
		return usage();
	}
	ret = dgpu_open(device, &demo.dev);
	if (ret) {
		fprintf(stderr, "dgpu-demo: %s: %s\n", device ?: "the device", strerror(-ret));
		return 4;
	}
	if (!dgpu_get_info(demo.dev, &info))
		demo.local_bytes = info.local_bytes;
	ret = 4;
	if (!gpu_init(&demo)) {
		if (prepare(&demo))
			ret = run_demo(&demo, json);
		cleanup(&demo);
	}
	gpu_exit(&demo);
	dgpu_close(demo.dev);
	return ret;
}

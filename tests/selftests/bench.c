// SPDX-License-Identifier: GPL-2.0
/*
 * What device faults cost, and what a mirror costs its process.
 *
 *	bench [--json] [--mib N] [--runs N]
 *
 * Times are CLOCK_MONOTONIC of the machine that it runs on; each number is the
 * median of several runs.  Under emulation compare numbers of one run with each
 * other, not with those of another machine.
 *
 * Device faults: pages that the CPU has mapped, 4 KiB each, none huge, so that what
 * is measured is the fault and not the allocation.  "one page": one thread, each
 * access a page far from the last, a fault each.  "bulk": a range in one go, read by
 * 1 or by 4 device threads, and mapped ahead by PREFAULT.
 *
 * Cost of operations: munmap, mprotect, fork and munmap again, of a range that
 *	none	no device has ever been opened
 *	cold	the process has a mirror, but the device maps nothing there
 *	hot	the device maps all of it, writable
 */
#include <fcntl.h>
#include <libdgpu.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "measure.h"

#define PAGE_SIZE	4096ul
#define MAX_RUNS	101
#define BLOCK_MAX	(64ul << 20)

static bool json, json_first = true;
static unsigned int runs = 5;
static size_t mib = 64;

static struct dgpu_prog *touch, *one;
static struct dgpu_dev *dev;

/* Thread t of n reads page t, t + n, ... of r1, r2 pages of r3 bytes. */
static const char touch_text[] =
	"	tid	r9\n"
	"	ntid	r10\n"
	"loop:	bgeu	r9, r2, done\n"
	"	mul	r11, r9, r3\n"
	"	add	r11, r11, r1\n"
	"	ld8	r12, (r11)\n"
	"	add	r9, r9, r10\n"
	"	jmp	loop\n"
	"done:	halt\n";

static const char one_text[] =
	"	ld8	r9, (r1)\n"
	"	halt\n";

/* One line of the table, one member of the JSON object. */
static void report(const char *name, double value, const char *unit, const char *note)
{
	if (json)
		printf("%s\n  \"%s\": { \"value\": %.3f, \"unit\": \"%s\" }",
		       json_first ? "" : ",", name, value, unit);
	else
		printf("  %-36s %12.2f %-12s %s\n", name, value, unit, note);
	json_first = false;
	fflush(stdout);
}

static void title(const char *text)
{
	if (!json)
		printf("\n%s\n", text);
}

static void *map_pages(size_t npages)
{
	char *mem = mmap(NULL, npages * PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		die("mmap");
	madvise(mem, npages * PAGE_SIZE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < npages; i++)
		*(volatile char *)(mem + i * PAGE_SIZE) = 1;
	return mem;
}

static void run_prog(const struct dgpu_prog *prog, uint32_t nthreads, uint64_t r1, uint64_t r2,
		     uint64_t r3)
{
	const struct dgpu_run run = {
		.prog = prog, .nthreads = nthreads, .engine = DGPU_ENGINE_ANY,
		.timeout_ms = 600000, .args = { r1, r2, r3 },
	};
	struct dgpu_result result;
	char text[200];

	if (!dgpu_run(dev, &run, &result))
		return;
	dgpu_result_text(&result, text, sizeof(text));
	fprintf(stderr, "bench: %s\n", text);
	exit(1);
}

static void open_device(void)
{
	char *error;
	int ret;

	ret = dgpu_open(NULL, &dev);
	if (ret) {
		fprintf(stderr, "bench: cannot open the device: %s\n", strerror(-ret));
		exit(1);
	}
	if (dgpu_assemble(touch_text, &touch, &error) || dgpu_assemble(one_text, &one, &error)) {
		fprintf(stderr, "bench: %s\n", error);
		exit(1);
	}
}

/* ---- device faults ---- */

/* What is there already, with no fault: the cost of the programs themselves. */
static double time_touch(char *mem, size_t npages, size_t stride, uint32_t nthreads)
{
	const double begin = now();

	run_prog(touch, nthreads, (uintptr_t)mem, npages, stride);
	return now() - begin;
}

static void bench_one_page(void)
{
	const size_t nr = 512, stride = 16;	/* pages; past any fault-around */
	double cold[MAX_RUNS], warm[MAX_RUNS], single[MAX_RUNS];
	uint64_t before, after;

	before = dgpu_stat_mirror(dev, HMM_STAT_FAULTS);
	for (unsigned int i = 0; i < runs; i++) {
		char *mem = map_pages(nr * stride);

		cold[i] = time_touch(mem, nr, stride * PAGE_SIZE, 1);
		warm[i] = time_touch(mem, nr, stride * PAGE_SIZE, 1);
		munmap(mem, nr * stride * PAGE_SIZE);
	}
	after = dgpu_stat_mirror(dev, HMM_STAT_FAULTS);
	for (unsigned int i = 0; i < runs; i++) {
		char *mem = map_pages(64 * stride);
		const double begin = now();

		for (size_t page = 0; page < 64; page++)
			run_prog(one, 1, (uintptr_t)mem + page * stride * PAGE_SIZE, 0, 0);
		single[i] = (now() - begin) / 64;
		munmap(mem, 64 * stride * PAGE_SIZE);
	}
	const double fault = (median(cold, runs) - median(warm, runs)) / (double)nr;

	report("one_page_fault", fault * 1e6, "us", "a fault, one device thread");
	report("one_page_faults_per_second", 1 / fault, "1/s", "");
	report("one_page_faults_per_access", (double)(after - before) / (double)(nr * runs), "",
	       "should be 1");
	report("one_page_job", median(single, runs) * 1e6, "us", "submit, fault, wait");
}

static void bench_bulk(uint32_t nthreads)
{
	const size_t npages = mib << 8;
	double cold[MAX_RUNS], warm[MAX_RUNS];
	uint64_t faults = 0;
	char name[64], note[64];

	for (unsigned int i = 0; i < runs; i++) {
		char *mem = map_pages(npages);
		const uint64_t before = dgpu_stat_mirror(dev, HMM_STAT_FAULTS);

		cold[i] = time_touch(mem, npages, PAGE_SIZE, nthreads);
		faults += dgpu_stat_mirror(dev, HMM_STAT_FAULTS) - before;
		warm[i] = time_touch(mem, npages, PAGE_SIZE, nthreads);
		munmap(mem, npages * PAGE_SIZE);
	}
	const double all = median(cold, runs) - median(warm, runs);

	snprintf(note, sizeof(note), "%zu MiB, %u device threads", mib, nthreads);
	snprintf(name, sizeof(name), "bulk_%u_page", nthreads);
	report(name, all * 1e6 / (double)npages, "us/page", note);
	snprintf(name, sizeof(name), "bulk_%u_pages_per_second", nthreads);
	report(name, (double)npages / all, "1/s", "");
	snprintf(name, sizeof(name), "bulk_%u_faults_per_second", nthreads);
	report(name, (double)faults / runs / all, "1/s", "");
	snprintf(name, sizeof(name), "bulk_%u_pages_per_fault", nthreads);
	report(name, (double)npages * runs / (double)(faults ? faults : 1), "pages", "");
}

static void bench_prefault(void)
{
	const size_t npages = mib << 8;
	double times[MAX_RUNS];

	for (unsigned int i = 0; i < runs; i++) {
		char *mem = map_pages(npages);
		const double begin = now();

		if (dgpu_prefault(dev, mem, npages * PAGE_SIZE, true)) {
			fprintf(stderr, "bench: prefault failed\n");
			exit(1);
		}
		times[i] = now() - begin;
		munmap(mem, npages * PAGE_SIZE);
	}
	report("prefault_page", median(times, runs) * 1e6 / (double)npages, "us/page",
	       "PREFAULT ioctl, 4 KiB entries");
}

/* ---- what a mirror costs the process ---- */

enum heat { NONE, COLD, HOT };

static const char * const heat_names[] = { "none", "cold", "hot" };

enum operation { MUNMAP, MPROTECT, FORK, OPERATIONS };

static const char * const operation_names[] = { "munmap", "mprotect", "fork" };

static double time_operation(enum operation op, enum heat heat, size_t npages)
{
	char *mem = map_pages(npages);
	double begin, took;
	pid_t pid;

	if (heat == HOT && dgpu_prefault(dev, mem, npages * PAGE_SIZE, true)) {
		fprintf(stderr, "bench: prefault failed\n");
		exit(1);
	}
	begin = now();
	switch (op) {
	case MUNMAP:
		munmap(mem, npages * PAGE_SIZE);
		break;
	case MPROTECT:
		if (mprotect(mem, npages * PAGE_SIZE, PROT_READ))
			die("mprotect");
		break;
	case FORK:
		pid = fork();
		if (pid < 0)
			die("fork");
		if (!pid)
			_exit(0);
		break;
	case OPERATIONS:
		break;
	}
	took = now() - begin;
	if (op == FORK)
		waitpid(pid, NULL, 0);
	munmap(mem, npages * PAGE_SIZE);
	return took / (double)npages;
}

static double operations[OPERATIONS][HOT + 1];

static void bench_operations(enum heat heat)
{
	const size_t npages = 16 << 8;	/* 16 MiB */
	double times[MAX_RUNS];

	for (enum operation op = MUNMAP; op < OPERATIONS; op++) {
		char name[64], note[64] = "";

		time_operation(op, heat, npages);	/* warm up */
		for (unsigned int i = 0; i < runs; i++)
			times[i] = time_operation(op, heat, npages);
		operations[op][heat] = median(times, runs) * 1e6;
		if (heat != NONE)
			snprintf(note, sizeof(note), "%+.3f against none",
				 operations[op][heat] - operations[op][NONE]);
		snprintf(name, sizeof(name), "%s_%s", operation_names[op], heat_names[heat]);
		report(name, operations[op][heat], "us/page", note);
	}
}

/* ---- retries ---- */

static atomic_bool storm_stop;
static atomic_ulong storm_rounds;

static void *storm(void *arg)
{
	while (!atomic_load(&storm_stop)) {
		char *mem = mmap(arg, 64 * PAGE_SIZE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

		if (mem == MAP_FAILED)
			die("mmap");
		for (size_t i = 0; i < 64; i++)
			*(volatile char *)(mem + i * PAGE_SIZE) = 1;
		munmap(mem, 64 * PAGE_SIZE);
		atomic_fetch_add(&storm_rounds, 1);
	}
	return NULL;
}

/* @distance: of the storm from the range that the device faults on. */
static void bench_retries(const char *name, size_t distance)
{
	const size_t npages = 1024;
	uint64_t retries, faults;
	double begin, quiet, busy[MAX_RUNS], base[MAX_RUNS];
	char text[64], *area, *mem;
	pthread_t thread;

	area = mmap(NULL, 4 * BLOCK_MAX, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		die("mmap");
	mem = (char *)(((uintptr_t)area + BLOCK_MAX - 1) & ~(BLOCK_MAX - 1));
	if (mmap(mem, npages * PAGE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		die("mmap");
	madvise(mem, npages * PAGE_SIZE, MADV_NOHUGEPAGE);

	for (int with = 0; with < 2; with++) {
		if (with) {
			atomic_store(&storm_stop, false);
			atomic_store(&storm_rounds, 0);
			if (pthread_create(&thread, NULL, storm, mem + distance))
				die("pthread_create");
			/* The device is to know the place, or there is nothing to tell it. */
			while (atomic_load(&storm_rounds) < 2)
				usleep(1000);
		}
		retries = dgpu_stat_mirror(dev, HMM_STAT_RETRIES);
		faults = dgpu_stat_mirror(dev, HMM_STAT_FAULTS);
		for (unsigned int i = 0; i < runs * 4 && i < MAX_RUNS; i++) {
			for (size_t page = 0; page < npages; page++)
				*(volatile char *)(mem + page * PAGE_SIZE) = 1;
			begin = now();
			run_prog(touch, 4, (uintptr_t)mem, npages, PAGE_SIZE);
			(with ? busy : base)[i] = (now() - begin) / (double)npages;
			madvise(mem, npages * PAGE_SIZE, MADV_DONTNEED);
		}
		retries = dgpu_stat_mirror(dev, HMM_STAT_RETRIES) - retries;
		faults = dgpu_stat_mirror(dev, HMM_STAT_FAULTS) - faults;
	}
	atomic_store(&storm_stop, true);
	pthread_join(thread, NULL);
	quiet = median(base, runs * 4 < MAX_RUNS ? runs * 4 : MAX_RUNS);

	snprintf(text, sizeof(text), "retries_%s", name);
	report(text, (double)retries, "", distance >= BLOCK_MAX ? "must be 0" : "");
	snprintf(text, sizeof(text), "retries_%s_faults", name);
	report(text, (double)faults, "", "device faults meanwhile");
	snprintf(text, sizeof(text), "retries_%s_rounds", name);
	report(text, (double)atomic_load(&storm_rounds), "", "mmap, touch, munmap of 64 pages");
	snprintf(text, sizeof(text), "retries_%s_page", name);
	report(text, median(busy, runs * 4 < MAX_RUNS ? runs * 4 : MAX_RUNS) * 1e6, "us/page", "");
	snprintf(text, sizeof(text), "retries_%s_page_quiet", name);
	report(text, quiet * 1e6, "us/page", "the same without the other thread");
	munmap(area, 4 * BLOCK_MAX);
}

static void usage(int status)
{
	fprintf(status ? stderr : stdout,
		"Usage: bench [--json] [--mib N] [--runs N]\n"
		"Measure device faults and what a mirror costs its process.\n"
		"  --json    print an object instead of a table\n"
		"  --mib N   size of the bulk range (1 to 1024, default 64)\n"
		"  --runs N  runs of which the median is taken (1 to 25, default 5)\n");
	exit(status);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--mib"))
			mib = measure_number(argv[++i], 1, 1024, usage);
		else if (!strcmp(argv[i], "--runs"))
			runs = (unsigned int)measure_number(argv[++i], 1, 25, usage);
		else
			usage(strcmp(argv[i], "--help") ? 2 : 0);
	}
	if (json)
		printf("{");

	title("Cost of operations on 16 MiB, without a mirror");
	bench_operations(NONE);
	open_device();
	title("with a mirror that maps nothing there");
	bench_operations(COLD);
	title("with a mirror that maps all of it");
	bench_operations(HOT);

	title("Device faults in place");
	bench_one_page();
	bench_bulk(1);
	bench_bulk(4);
	bench_prefault();

	title("Retries while another thread maps and unmaps");
	bench_retries("elsewhere", 2 * BLOCK_MAX);
	bench_retries("same_block", 8ul << 20);

	if (json)
		printf("\n}\n");
	dgpu_close(dev);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to move pages to device memory and back, next to the kernel's own HMM
 * test driver in the same guest and to a plain memcpy().
 *
 *	bench_memory [--json] [--max MIB] [--runs N] [--only SECTION]
 *
 * Times are CLOCK_MONOTONIC of the machine that it runs on; each number is the median of
 * several runs, of memory that is fresh each time.  Under emulation compare numbers of
 * one run with each other, not with those of another machine.
 *
 * operations	munmap and mprotect of memory that no device knows, that a device maps in
 *		place, that is in its memory
 * move		migration on request, by size, of 4 KiB pages and of huge ones.  The test
 *		driver's ioctl for "to the device" also reads back all that it moved, through
 *		the device's page table into a buffer of the caller: "published" is the
 *		time of the ioctl, "corrected" is without that, measured by a READ of the
 *		same range when it is resident.
 * fault	touches of the CPU, page by page, of memory on the device: all of them by
 *		time (us a page), and those that took a fault (p50, p99)
 * touch	faults of the device that move pages
 * over		a working set of four times the device's memory, moved on touch; against
 *		the same in place
 */
#include <errno.h>
#include <fcntl.h>
#include <libdgpu.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include "chip.h"
#include "measure.h"

#define PAGE_SIZE	4096ul
#define HUGE_SIZE	(2ul << 20)
#define MAX_RUNS	25
#define PEER		"/dev/hmm_dmirror0"
#define OVER_MIB	32u	/* of the device's memory in the section "over" */

/* What the test driver's ioctls take; the kernel does not export it to user space. */
struct peer_cmd {
	uint64_t addr;
	uint64_t ptr;
	uint64_t npages;
	uint64_t cpages;
	uint64_t faults;
};

#define PEER_READ		_IOWR('H', 0x00, struct peer_cmd)
#define PEER_WRITE		_IOWR('H', 0x01, struct peer_cmd)
#define PEER_MIGRATE_TO_DEV	_IOWR('H', 0x02, struct peer_cmd)
#define PEER_MIGRATE_TO_SYS	_IOWR('H', 0x03, struct peer_cmd)

static bool json, json_first = true;
static unsigned int runs = 5;
static size_t max_mib = 256;
static const char *only;

static struct dgpu_dev *dev;
static struct dgpu_prog *touch_prog;
static int peer = -1;
static char *peer_buffer;		/* what the test driver reads into */

/* Thread t of n writes page t, t + n, ... of r1, r2 pages of r3 bytes. */
static const char touch_text[] =
	"	tid	r9\n"
	"	ntid	r10\n"
	"loop:	bgeu	r9, r2, done\n"
	"	mul	r11, r9, r3\n"
	"	add	r11, r11, r1\n"
	"	st8	r9, (r11)\n"
	"	add	r9, r9, r10\n"
	"	jmp	loop\n"
	"done:	halt\n";

static void check(const char *what, int ret)
{
	if (ret) {
		fprintf(stderr, "bench_memory: %s: %s\n", what, strerror(-ret));
		exit(1);
	}
}

/* ---- output ---- */

static void out(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void out(const char *fmt, ...)
{
	va_list ap;

	if (json)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	fflush(stdout);
}

static void emit(double value, const char *unit, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void emit(double value, const char *unit, const char *fmt, ...)
{
	char name[100];
	va_list ap;

	if (!json)
		return;
	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	printf("%s\n  \"%s\": { \"value\": %.3f, \"unit\": \"%s\" }", json_first ? "" : ",", name,
	       value, unit);
	json_first = false;
	fflush(stdout);
}

static bool section(const char *name)
{
	return !only || !strcmp(only, name);
}

/* ---- memory ---- */

/* Aligned, all of it touched, one page after the other. */
static char *map_fresh(size_t bytes, bool huge)
{
	const size_t room = bytes + 2 * HUGE_SIZE;
	char *at = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem;

	if (at == MAP_FAILED)
		die("mmap");
	mem = (char *)(((uintptr_t)at + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	if (mem > at)
		munmap(at, (size_t)(mem - at));
	munmap(mem + bytes, room - bytes - (size_t)(mem - at));
	madvise(mem, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	/* Nothing that is zero: the kernel drops such pages when it splits huge ones. */
	for (size_t i = 0; i < bytes; i += PAGE_SIZE)
		*(volatile size_t *)(mem + i) = i + 1;
	return mem;
}

static void verify(const char *what, const char *mem, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += PAGE_SIZE) {
		if (*(const volatile size_t *)(mem + i) != i + 1) {
			fprintf(stderr, "bench_memory: %s: page %zu has the wrong contents\n",
				what, i / PAGE_SIZE);
			exit(1);
		}
	}
}

/* ---- the devices ---- */

static void ours_open(void)
{
	char *error = NULL;

	check("cannot open the device", dgpu_open(NULL, &dev));
	if (!touch_prog && dgpu_assemble(touch_text, &touch_prog, &error)) {
		fprintf(stderr, "bench_memory: %s\n", error ? error : "?");
		exit(1);
	}
}

static void ours_close(void)
{
	dgpu_close(dev);
	dev = NULL;
}

static bool peer_there(void)
{
	return !access(PEER, R_OK | W_OK);
}

static void peer_open(void)
{
	peer = open(PEER, O_RDWR | O_CLOEXEC);
	if (peer < 0)
		die(PEER);
}

static void peer_close(void)
{
	close(peer);
	peer = -1;
}

static void peer_do(unsigned long request, const char *mem, size_t bytes)
{
	struct peer_cmd cmd = {
		.addr = (uintptr_t)mem, .ptr = (uintptr_t)peer_buffer, .npages = bytes / PAGE_SIZE,
	};

	while (ioctl(peer, request, &cmd)) {
		if (errno != EINTR && errno != EBUSY)
			die("test driver");
	}
	if (cmd.cpages != bytes / PAGE_SIZE) {
		fprintf(stderr, "bench_memory: the test driver did %ju of %zu pages\n",
			(uintmax_t)cmd.cpages, bytes / PAGE_SIZE);
	}
}

static void ours_move(const char *mem, size_t bytes, uint32_t flags)
{
	uint64_t moved = 0;
	const int ret = dgpu_migrate(dev, mem, bytes, flags, NULL, &moved);

	if (ret || moved != bytes / PAGE_SIZE)
		fprintf(stderr, "bench_memory: moved %ju of %zu pages: %s\n", (uintmax_t)moved,
			bytes / PAGE_SIZE, strerror(-ret));
}

static void run_touch(const char *mem, size_t npages, uint32_t nthreads)
{
	const struct dgpu_run run = {
		.prog = touch_prog, .nthreads = nthreads, .engine = DGPU_ENGINE_ANY,
		.timeout_ms = 600000, .args = { (uintptr_t)mem, npages, PAGE_SIZE },
	};
	struct dgpu_result result;
	char text[200];

	if (!dgpu_run(dev, &run, &result))
		return;
	dgpu_result_text(&result, text, sizeof(text));
	fprintf(stderr, "bench_memory: %s\n", text);
	exit(1);
}

/* ---- operations ---- */

enum where { NOWHERE, IN_PLACE, ON_DEVICE, PEER_IN_PLACE, PEER_ON_DEVICE, WHERES };

static const char * const where_names[] = {
	"no mirror", "ours, hot in place", "ours, on the device", "test_hmm, hot in place",
	"test_hmm, on the device",
};

static const char * const where_keys[] = {
	"none", "ours_hot", "ours_device", "peer_hot", "peer_device",
};

static double time_operation(enum where where, bool protect, size_t bytes)
{
	char *mem = map_fresh(bytes, false);
	double begin, took;

	switch (where) {
	case IN_PLACE:
		check("prefault", dgpu_prefault(dev, mem, bytes, true));
		break;
	case ON_DEVICE:
		ours_move(mem, bytes, 0);
		break;
	case PEER_IN_PLACE:
		peer_do(PEER_WRITE, mem, bytes);
		break;
	case PEER_ON_DEVICE:
		peer_do(PEER_MIGRATE_TO_DEV, mem, bytes);
		break;
	default:
		break;
	}
	begin = now();
	if (protect) {
		if (mprotect(mem, bytes, PROT_READ))
			die("mprotect");
	} else {
		munmap(mem, bytes);
	}
	took = now() - begin;
	if (protect)
		munmap(mem, bytes);
	return took * 1e6 / (double)(bytes / PAGE_SIZE);
}

static void bench_operations(enum where where)
{
	static double base[2];
	const size_t bytes = 16ul << 20;
	double times[MAX_RUNS], us[2];

	for (int protect = 0; protect < 2; protect++) {
		time_operation(where, protect, bytes);	/* warm up */
		for (unsigned int i = 0; i < runs; i++)
			times[i] = time_operation(where, protect, bytes);
		us[protect] = median(times, runs);
		emit(us[protect], "us/page", "%s_%s", protect ? "mprotect" : "munmap",
		     where_keys[where]);
		if (where == NOWHERE)
			base[protect] = us[protect];
	}
	out("  %-26s %8.3f %+8.3f %10.3f %+8.3f\n", where_names[where], us[0], us[0] - base[0],
	    us[1], us[1] - base[1]);
}

static void bench_all_operations(void)
{
	out("\nOperations on 16 MiB, us a page; and more than without a mirror\n");
	out("  %-26s %17s %19s\n", "", "munmap", "mprotect");
	/* Before anything is opened: a mirror may outlive its file for a moment. */
	bench_operations(NOWHERE);
	ours_open();
	bench_operations(IN_PLACE);
	bench_operations(ON_DEVICE);
	ours_close();
	if (!peer_there())
		return;
	peer_open();
	bench_operations(PEER_IN_PLACE);
	bench_operations(PEER_ON_DEVICE);
	peer_close();
}

/* ---- moves ---- */

static double us_memcpy;	/* a page */

static void bench_memcpy(void)
{
	const size_t bytes = 64ul << 20;
	char *from = map_fresh(bytes, false), *to = map_fresh(bytes, false);
	double times[MAX_RUNS];

	for (unsigned int i = 0; i < runs; i++) {
		const double begin = now();

		for (size_t at = 0; at < bytes; at += PAGE_SIZE)
			memcpy(to + at, from + at, PAGE_SIZE);
		times[i] = (now() - begin) * 1e6 / (double)(bytes / PAGE_SIZE);
	}
	us_memcpy = median(times, runs);
	emit(us_memcpy, "us/page", "memcpy");
	out("\nPlain memcpy of 4 KiB: %.2f us, %.2f GiB/s\n", us_memcpy,
	    PAGE_SIZE / us_memcpy * 1e6 / (double)(1ul << 30));
	munmap(from, bytes);
	munmap(to, bytes);
}

struct moves {
	double in, out;		/* us a page */
	double corrected;	/* in, of the test driver */
};

static unsigned int runs_of(size_t bytes)
{
	if (bytes < 64ul << 20)
		return runs;
	return runs < 3 ? runs : 3;
}

static struct moves time_moves(bool theirs, size_t bytes, bool huge)
{
	const unsigned int nr = runs_of(bytes);
	const double scale = 1e6 / (double)(bytes / PAGE_SIZE);
	double in[MAX_RUNS], back[MAX_RUNS], corrected[MAX_RUNS];

	for (unsigned int i = 0; i <= nr; i++) {
		char *mem = map_fresh(bytes, huge);
		double t[4];

		t[0] = now();
		if (theirs)
			peer_do(PEER_MIGRATE_TO_DEV, mem, bytes);
		else
			ours_move(mem, bytes, 0);
		t[1] = now();
		if (theirs)
			peer_do(PEER_READ, mem, bytes);
		t[2] = now();
		if (theirs)
			peer_do(PEER_MIGRATE_TO_SYS, mem, bytes);
		else
			ours_move(mem, bytes, DGPU_MIGRATE_TO_SYSTEM);
		t[3] = now();
		verify(theirs ? "test driver" : "moves", mem, bytes);
		munmap(mem, bytes);
		if (!i)
			continue;	/* warm up */
		in[i - 1] = (t[1] - t[0]) * scale;
		back[i - 1] = (t[3] - t[2]) * scale;
		corrected[i - 1] = in[i - 1] - (t[2] - t[1]) * scale;
	}
	return (struct moves) {
		.in = median(in, nr), .out = median(back, nr), .corrected = median(corrected, nr),
	};
}

static double gib(double us)
{
	return PAGE_SIZE / us * 1e6 / (double)(1ul << 30);
}

static void bench_moves(bool huge)
{
	static const size_t sizes[] = { 512, 1024, 2048, 8192, 16384, 65536, 262144 };	/* KiB */
	const char *kind = huge ? "huge" : "4k";

	out("\nMoves on request, %s, us a page (GiB/s)\n",
	    huge ? "huge pages" : "4 KiB pages");
	out("  %10s | %-44s | %-32s\n", "", "to the device", "to the system");
	out("  %10s | %13s %9s %9s %6s    | %13s %9s %6s\n", "KiB", "ours", "published", "corrected",
	    "ratio", "ours", "test_hmm", "ratio");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const size_t bytes = sizes[i] << 10;
		struct moves ours, theirs = {};

		if (sizes[i] >> 10 > max_mib || (huge && bytes < HUGE_SIZE))
			continue;
		ours_open();
		ours = time_moves(false, bytes, huge);
		ours_close();
		if (peer_there()) {
			peer_open();
			theirs = time_moves(true, bytes, huge);
			peer_close();
		}
		out("  %10zu | %6.2f (%4.2f) %9.2f %9.2f %6.2f    | %6.2f (%4.2f) %9.2f %6.2f\n",
		    sizes[i], ours.in, gib(ours.in), theirs.in, theirs.corrected,
		    theirs.corrected / ours.in, ours.out, gib(ours.out), theirs.out,
		    theirs.out / ours.out);
		emit(ours.in, "us/page", "to_device_%s_%zuk_ours", kind, sizes[i]);
		emit(ours.out, "us/page", "to_system_%s_%zuk_ours", kind, sizes[i]);
		emit(theirs.in, "us/page", "to_device_%s_%zuk_peer_published", kind, sizes[i]);
		emit(theirs.corrected, "us/page", "to_device_%s_%zuk_peer_corrected", kind,
		     sizes[i]);
		emit(theirs.out, "us/page", "to_system_%s_%zuk_peer", kind, sizes[i]);
	}
}

/* ---- faults of the CPU ---- */

struct fault_thread {
	pthread_t thread;
	pthread_barrier_t *barrier;
	char *mem;
	const uint32_t *order;	/* pages to touch */
	size_t nr;
	double *times;		/* of those that took a fault */
	size_t nfaults;
	double begin, end;
};

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/* Twice: without looking at each touch, for the sum, or with. */
static void *fault_run(void *arg)
{
	struct fault_thread *me = arg;
	long before, after;
	double begin;

	before = minor_faults();
	pthread_barrier_wait(me->barrier);
	me->begin = now();
	if (!me->times) {
		for (size_t i = 0; i < me->nr; i++)
			*(volatile char *)(me->mem + me->order[i] * PAGE_SIZE);
		me->end = now();
		return NULL;
	}
	for (size_t i = 0; i < me->nr; i++) {
		begin = now();
		*(volatile char *)(me->mem + me->order[i] * PAGE_SIZE);
		me->times[me->nfaults] = (now() - begin) * 1e6;
		after = minor_faults();
		me->nfaults += after != before;
		before = after;
	}
	me->end = now();
	return NULL;
}

struct faults {
	double us;		/* a page, all touches by the time that all took */
	double p50, p99;
	double per_page;	/* faults */
};

static void shuffle(uint32_t *order, size_t nr)
{
	uint64_t state = 42;

	for (size_t i = nr - 1; i; i--) {
		uint32_t swap = order[i];
		size_t j;

		state = state * 6364136223846793005ull + 1442695040888963407ull;
		j = (state >> 33) % (i + 1);
		order[i] = order[j];
		order[j] = swap;
	}
}

static double fault_round(char *mem, size_t npages, const uint32_t *order, unsigned int nthreads,
			  double *times, size_t *nfaults)
{
	struct fault_thread threads[4] = {};
	pthread_barrier_t barrier;
	double first = 0, last = 0;

	pthread_barrier_init(&barrier, NULL, nthreads);
	for (unsigned int i = 0; i < nthreads; i++) {
		threads[i] = (struct fault_thread) {
			.barrier = &barrier, .mem = mem, .nr = npages / nthreads,
			.order = order + i * (npages / nthreads),
			.times = times ? times + i * (npages / nthreads) : NULL,
		};
		if (pthread_create(&threads[i].thread, NULL, fault_run, &threads[i]))
			die("pthread_create");
	}
	*nfaults = 0;
	for (unsigned int i = 0; i < nthreads; i++) {
		pthread_join(threads[i].thread, NULL);
		if (!i || threads[i].begin < first)
			first = threads[i].begin;
		if (!i || threads[i].end > last)
			last = threads[i].end;
		if (times)
			memmove(times + *nfaults, threads[i].times,
				threads[i].nfaults * sizeof(*times));
		*nfaults += threads[i].nfaults;
	}
	pthread_barrier_destroy(&barrier);
	return (last - first) * 1e6 / (double)npages;
}

static struct faults time_faults(bool theirs, bool random, unsigned int nthreads)
{
	const size_t bytes = 16ul << 20, npages = bytes / PAGE_SIZE;
	uint32_t *order = malloc(npages * sizeof(*order));
	double *times = malloc(npages * sizeof(*times)), us[MAX_RUNS], p50[MAX_RUNS],
	       p99[MAX_RUNS], per_page[MAX_RUNS];
	size_t nfaults;

	if (!order || !times)
		die("malloc");
	for (size_t i = 0; i < npages; i++)
		order[i] = (uint32_t)i;
	if (random)
		shuffle(order, npages);
	for (unsigned int i = 0; i < runs; i++) {
		for (int detail = 0; detail < 2; detail++) {
			char *mem = map_fresh(bytes, false);
			double took;

			if (theirs)
				peer_do(PEER_MIGRATE_TO_DEV, mem, bytes);
			else
				ours_move(mem, bytes, 0);
			took = fault_round(mem, npages, order, nthreads, detail ? times : NULL,
					   &nfaults);
			verify("faults", mem, bytes);
			munmap(mem, bytes);
			if (!detail)
				us[i] = took;
		}
		p50[i] = quantile(times, nfaults, 0.5);
		p99[i] = quantile(times, nfaults, 0.99);
		per_page[i] = (double)nfaults / (double)npages;
	}
	free(order);
	free(times);
	return (struct faults) {
		.us = median(us, runs), .p50 = median(p50, runs), .p99 = median(p99, runs),
		.per_page = median(per_page, runs),
	};
}

static void bench_faults(void)
{
	out("\nTouches of the CPU, 16 MiB on the device, 4 KiB pages; p50 and p99 of faults, us\n");
	out("  %-22s | %8s %8s %8s %8s | %8s %8s %8s %8s | %6s\n", "", "ours", "p50", "p99",
	    "faults", "test_hmm", "p50", "p99", "faults", "ratio");
	for (int random = 0; random < 2; random++) {
		for (unsigned int nthreads = 1; nthreads <= 4; nthreads += 3) {
			const char *kind = random ? "random" : "sequential";
			struct faults ours, theirs = {};
			char name[32];

			ours_open();
			ours = time_faults(false, random, nthreads);
			ours_close();
			if (peer_there()) {
				peer_open();
				theirs = time_faults(true, random, nthreads);
				peer_close();
			}
			snprintf(name, sizeof(name), "%s, %u thread%s", kind, nthreads,
				 nthreads > 1 ? "s" : "");
			out("  %-22s | %8.2f %8.2f %8.2f %8.3f | %8.2f %8.2f %8.2f %8.3f | %6.2f\n",
			    name, ours.us, ours.p50, ours.p99, ours.per_page, theirs.us,
			    theirs.p50, theirs.p99, theirs.per_page, theirs.us / ours.us);
			for (int who = 0; who < 2; who++) {
				const struct faults *f = who ? &theirs : &ours;
				const char *whose = who ? "peer" : "ours";

				emit(f->us, "us/page", "cpu_%s_%u_%s", kind, nthreads, whose);
				emit(f->p50, "us", "cpu_%s_%u_p50_%s", kind, nthreads, whose);
				emit(f->p99, "us", "cpu_%s_%u_p99_%s", kind, nthreads, whose);
				emit(f->per_page, "", "cpu_%s_%u_faults_%s", kind, nthreads, whose);
			}
		}
	}
}

/* ---- faults of the device ---- */

static void bench_touch(void)
{
	const size_t bytes = (max_mib < 64 ? max_mib : 64) << 20, npages = bytes / PAGE_SIZE;
	double cold[MAX_RUNS], warm[MAX_RUNS];

	out("\nFaults of the device on %zu MiB, written page by page, us a page without the program\n",
	    bytes >> 20);
	for (int move = 0; move < 2; move++) {
		for (unsigned int nthreads = 1; nthreads <= 4; nthreads += 3) {
			const unsigned int nr = runs_of(bytes);
			double us;

			ours_open();
			check("policy", dgpu_set_policy(dev, move ? HMM_POLICY_TOUCH :
							HMM_POLICY_REQUEST));
			for (unsigned int i = 0; i < nr; i++) {
				char *mem = map_fresh(bytes, false);
				double t[3];

				t[0] = now();
				run_touch(mem, npages, nthreads);
				t[1] = now();
				run_touch(mem, npages, nthreads);
				t[2] = now();
				cold[i] = t[1] - t[0];
				warm[i] = t[2] - t[1];
				munmap(mem, bytes);
			}
			ours_close();
			us = (median(cold, nr) - median(warm, nr)) * 1e6 / (double)npages;
			out("  %-40s %8.2f\n", move ? nthreads > 1 ? "moved on touch, 4 threads" :
			    "moved on touch, 1 thread" : nthreads > 1 ? "mapped in place, 4 threads" :
			    "mapped in place, 1 thread", us);
			emit(us, "us/page", "device_%s_%u", move ? "moved" : "in_place", nthreads);
		}
	}
}

/* ---- more than fits ---- */

static void bench_over(void)
{
	const size_t bytes = 4ul * OVER_MIB << 20, npages = bytes / PAGE_SIZE;
	struct chip_module module;
	double times[MAX_RUNS];
	uint64_t evicted;
	char args[64];

	if (!chip_module_find(&module)) {
		out("\nNo oversubscription: set DGPU_MODULE to the path of dummy_gpu.ko\n");
		return;
	}
	snprintf(args, sizeof(args), "local_mb=%u,%u", OVER_MIB, OVER_MIB);
	check("cannot insert the driver with a small memory", chip_module_reload(&module, args));
	out("\nThe device writes %zu MiB page by page, again and again, with %u MiB of memory\n",
	    bytes >> 20, OVER_MIB);
	for (int move = 0; move < 2; move++) {
		char *mem = map_fresh(bytes, false);
		double us;

		ours_open();
		check("policy", dgpu_set_policy(dev, move ? HMM_POLICY_TOUCH : HMM_POLICY_REQUEST));
		run_touch(mem, npages, 4);
		evicted = (uint64_t)chip_rmem(dev, HMM_RMEM_OUT_EVICT);
		for (unsigned int i = 0; i < runs_of(bytes); i++) {
			const double begin = now();

			run_touch(mem, npages, 4);
			times[i] = (now() - begin) * 1e6 / (double)npages;
		}
		evicted = (uint64_t)chip_rmem(dev, HMM_RMEM_OUT_EVICT) - evicted;
		us = median(times, runs_of(bytes));
		out("  %-24s %8.2f us a page, %6.3f GiB/s, %.2f evictions a page\n",
		    move ? "moved on touch" : "in place", us, gib(us),
		    (double)evicted / (double)npages / runs_of(bytes));
		emit(us, "us/page", "over_%s", move ? "moved" : "in_place");
		ours_close();
		munmap(mem, bytes);
	}
	check("cannot insert the driver again", chip_module_reload(&module, ""));
}

static void usage(int status)
{
	fprintf(status ? stderr : stdout,
		"Usage: bench_memory [--json] [--max MIB] [--runs N] [--only SECTION]\n"
		"Measure moves of pages to and from device memory.\n"
		"  --json          print an object instead of tables\n"
		"  --max MIB       largest size to move (1 to 256, default 256)\n"
		"  --runs N        runs of which the median is taken (1 to 25, default 5)\n"
		"  --only SECTION  operations, move, fault, touch or over\n");
	exit(status);
}

int main(int argc, char **argv)
{
	const char *why;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--max"))
			max_mib = measure_number(argv[++i], 1, 256, usage);
		else if (!strcmp(argv[i], "--runs"))
			runs = (unsigned int)measure_number(argv[++i], 1, MAX_RUNS, usage);
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			only = argv[++i];
		else
			usage(strcmp(argv[i], "--help") ? 2 : 0);
	}
	if (!peer_there() && (system("modprobe test_hmm 2>/dev/null") || !peer_there()))
		out("No driver test_hmm in this kernel: its columns are empty.\n");
	peer_buffer = mmap(NULL, max_mib < 16 ? 16ul << 20 : max_mib << 20, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (peer_buffer == MAP_FAILED)
		die("mmap");
	if (json)
		printf("{");
	if (section("operations"))
		bench_all_operations();
	ours_open();
	why = chip_no_memory(dev);
	ours_close();
	if (why) {
		fprintf(stderr, "bench_memory: %s\n", why);
		return 4;
	}
	if (section("move")) {
		bench_memcpy();
		bench_moves(false);
		bench_moves(true);
	}
	if (section("fault"))
		bench_faults();
	if (section("touch"))
		bench_touch();
	if (section("over"))
		bench_over();
	if (json)
		printf("\n}\n");
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs that pages of files are on a device.
 *
 *	bench_files [--json] [--mib N] [--runs N] [--only SECTION] DIRECTORY
 *
 * DIRECTORY is on a file system whose pages may be on a device (ext4_hmm).  All that is
 * measured is in the page cache from the start: no time is that of a disk, but for what
 * fsync() writes.  Times are CLOCK_MONOTONIC of the machine that it runs on; each number is
 * the median of several runs.  Under emulation compare numbers of one run with each other.
 *
 * read		the device reads a file that is mapped: its pages in place, or copied to the
 *		device before or on the first touch.  "first touch" is without the program:
 *		less the time of the same again.
 * share	several processes, one after the other, have the device read the same file
 * move		to the device: copies (shared), and pages that it writes to (owned); and back
 * sync		fsync() of pages that somebody has written to: the CPU, the device in place, the
 *		device in its memory
 */
#include <errno.h>
#include <fcntl.h>
#include <libdgpu.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "chip.h"
#include "measure.h"

#define PAGE_SIZE	4096ul
#define MAX_RUNS	25
#define VERIFY		"/sys/kernel/debug/hmm/pagecache_verify"

static bool json, json_first = true;
static unsigned int runs = 3;
static size_t max_mib = 256;
static const char *only;

static struct dgpu_dev *dev;
static struct dgpu_prog *read_prog, *write_prog, *scan_prog;

static char path[4096];
static int file = -1;
static char *mem;		/* the file, mapped shared */
static size_t npages;

/* Thread t of n reads or writes page t, t + n, ... of r1, r2 pages. */
#define EACH_PAGE(body)				\
	"	li	r3, 4096\n"		\
	"	tid	r9\n"			\
	"	ntid	r10\n"			\
	"loop:	bgeu	r9, r2, done\n"		\
	"	mul	r11, r9, r3\n"		\
	"	add	r11, r11, r1\n"		\
	body					\
	"	add	r9, r9, r10\n"		\
	"	jmp	loop\n"			\
	"done:	halt\n"

static const char read_text[] = EACH_PAGE("	ld8	r12, (r11)\n");
static const char write_text[] = EACH_PAGE("	st8	r9, (r11)\n");
/* A word of each 64 bytes. */
static const char scan_text[] = EACH_PAGE(
	"	add	r12, r11, r3\n"
	"line:	ld8	r13, (r11)\n"
	"	addi	r11, r11, 64\n"
	"	bltu	r11, r12, line\n");

static void __attribute__((noreturn)) fail(const char *what, const char *why)
{
	fprintf(stderr, "bench_files: %s: %s\n", what, why);
	exit(1);
}

static void check(const char *what, int ret)
{
	if (ret)
		fail(what, strerror(-ret));
}

/* ---- output ---- */

static void title(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void title(const char *fmt, ...)
{
	va_list ap;

	if (json)
		return;
	va_start(ap, fmt);
	putchar('\n');
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	fflush(stdout);
}

static void emit(const char *name, double value, const char *unit, const char *what)
{
	if (json)
		printf("%s\n  \"%s\": { \"value\": %.3f, \"unit\": \"%s\" }",
		       json_first ? "" : ",", name, value, unit);
	else
		printf("  %-56s %10.2f %s", what, value, unit);
	json_first = false;
	if (!json && !strcmp(unit, "us/page") && value > 0)
		printf(" %8.3f GiB/s", PAGE_SIZE / value * 1e6 / (double)(1ul << 30));
	if (!json)
		putchar('\n');
	fflush(stdout);
}

static double us_a_page(double *times, size_t nr)
{
	return median(times, runs) * 1e6 / (double)nr;
}

static bool section(const char *name)
{
	return !only || !strcmp(only, name);
}

/* ---- the device, and the file ---- */

static struct dgpu_prog *assemble(const char *text)
{
	struct dgpu_prog *prog;
	char *error = NULL;

	if (dgpu_assemble(text, &prog, &error))
		fail("program", error ? error : "?");
	return prog;
}

static void run(const struct dgpu_prog *prog, const char *start, size_t nr, uint32_t nthreads)
{
	const struct dgpu_run job = {
		.prog = prog, .nthreads = nthreads, .engine = DGPU_ENGINE_ANY,
		.timeout_ms = 600000, .args = { (uintptr_t)start, nr },
	};
	struct dgpu_result result;
	char text[200];

	if (!dgpu_run(dev, &job, &result))
		return;
	dgpu_result_text(&result, text, sizeof(text));
	fail("device", text);
}

static double time_run(const struct dgpu_prog *prog, size_t nr, uint32_t nthreads)
{
	const double begin = now();

	run(prog, mem, nr, nthreads);
	return now() - begin;
}

static void policy(unsigned int what)
{
	check("policy", dgpu_set_policy(dev, what));
}

/* The page cache has all of it, and nothing of it is dirty. */
static void make_file(size_t bytes)
{
	char *buffer = malloc(1 << 20);

	file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file < 0 || !buffer)
		die(path);
	for (size_t at = 0; at < bytes; at += 1 << 20) {
		memset(buffer, (int)(at >> 20) + 1, 1 << 20);
		if (write(file, buffer, 1 << 20) != 1 << 20)
			die("write");
	}
	free(buffer);
	if (fsync(file))
		die("fsync");
	npages = bytes / PAGE_SIZE;
}

static void map_file(void)
{
	mem = mmap(NULL, npages * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (mem == MAP_FAILED)
		die("mmap");
}

static void unmap_file(void)
{
	munmap(mem, npages * PAGE_SIZE);
	mem = NULL;
}

/* On request: copies to the device, or home from there. */
static double time_move(size_t nr, uint32_t flags)
{
	uint64_t moved = 0;
	const double begin = now();
	const int ret = dgpu_migrate(dev, mem, nr * PAGE_SIZE, flags, NULL, &moved);
	const double took = now() - begin;

	check("migrate", ret);
	if (moved != nr)
		fprintf(stderr, "bench_files: moved %ju of %zu pages\n", (uintmax_t)moved, nr);
	return took;
}

/*
 * All is local, clean, and no translation of it is left: as make_file() and map_file() leave
 * it.  What the CPU has fetched stays with it for a moment: let that pass.
 */
static void reset(void)
{
	check("migrate", dgpu_migrate(dev, mem, npages * PAGE_SIZE, DGPU_MIGRATE_TO_SYSTEM, NULL,
				      NULL));
	unmap_file();
	if (fsync(file))
		die("fsync");
	usleep(60000);
	map_file();
}

/* How many of the first pages the device maps with all of these bits. */
static size_t mapped(size_t nr, uint8_t bits)
{
	uint8_t *ptes = malloc(nr);
	size_t n = 0;

	if (!ptes)
		die("malloc");
	check("page table", dgpu_get_ptes(dev, mem, nr, ptes));
	for (size_t i = 0; i < nr; i++)
		n += (ptes[i] & bits) == bits;
	free(ptes);
	return n;
}

static void expect(const char *what, size_t nr, uint8_t bits)
{
	const size_t n = mapped(nr, bits);

	if (n != nr)
		fprintf(stderr, "bench_files: %s: so are %zu of %zu pages\n", what, n, nr);
}

#define SHARED	(DGPU_PTE_VALID | DGPU_PTE_LOCAL)
#define OWNED	(SHARED | DGPU_PTE_WRITE)

/* The device owns the first pages.  How long it takes is without the program. */
static double time_own(size_t nr, uint32_t nthreads)
{
	double cold, warm;

	policy(HMM_POLICY_TOUCH);
	cold = time_run(write_prog, nr, nthreads);
	warm = time_run(write_prog, nr, nthreads);
	policy(HMM_POLICY_REQUEST);
	expect("owned", nr, OWNED);
	return cold - warm;
}

/* ---- read ---- */

enum read_how { IN_PLACE, ON_REQUEST, ON_TOUCH, READ_HOWS };

static const char * const read_names[] = { "in place", "copied on request",
					   "copied on the first touch" };
static const char * const read_keys[] = { "in_place", "on_request", "on_touch" };

static void bench_read_how(enum read_how how)
{
	double move[MAX_RUNS], first[MAX_RUNS], warm[MAX_RUNS], scan[MAX_RUNS];
	char key[64], text[80];

	for (unsigned int i = 0; i < runs; i++) {
		policy(how == ON_TOUCH ? HMM_POLICY_TOUCH : HMM_POLICY_REQUEST);
		move[i] = how == ON_REQUEST ? time_move(npages, 0) : 0;
		first[i] = time_run(read_prog, npages, 1);
		warm[i] = time_run(read_prog, npages, 1);
		first[i] -= warm[i];
		scan[i] = time_run(scan_prog, npages, 1);
		if (how != IN_PLACE)
			expect("copied", npages, SHARED);
		reset();
	}
	policy(HMM_POLICY_REQUEST);
	if (how == ON_REQUEST) {
		snprintf(key, sizeof(key), "read_%s_move", read_keys[how]);
		snprintf(text, sizeof(text), "%s: the request", read_names[how]);
		emit(key, us_a_page(move, npages), "us/page", text);
	}
	snprintf(key, sizeof(key), "read_%s_first", read_keys[how]);
	snprintf(text, sizeof(text), "%s: first touch", read_names[how]);
	emit(key, us_a_page(first, npages), "us/page", text);
	snprintf(key, sizeof(key), "read_%s_warm", read_keys[how]);
	snprintf(text, sizeof(text), "%s: a word of each page, again", read_names[how]);
	emit(key, us_a_page(warm, npages), "us/page", text);
	snprintf(key, sizeof(key), "read_%s_scan", read_keys[how]);
	snprintf(text, sizeof(text), "%s: a word of each 64 bytes, again", read_names[how]);
	emit(key, us_a_page(scan, npages), "us/page", text);
}

static void bench_read(void)
{
	title("The device reads a mapped file of %zu MiB, one thread", npages >> 8);
	for (enum read_how how = 0; how < READ_HOWS; how++)
		bench_read_how(how);
}

/* ---- share ---- */

#define PROCESSES	4

/* In a process of its own: maps the file, reads it all, and says how long that took. */
static double share_one(bool move)
{
	double first, warm;

	check("cannot open the device", dgpu_open(NULL, &dev));
	policy(move ? HMM_POLICY_TOUCH : HMM_POLICY_REQUEST);
	map_file();
	first = time_run(read_prog, npages, 1);
	warm = time_run(read_prog, npages, 1);
	if (move)
		expect("copied", npages, SHARED);
	return first - warm;
}

/*
 * Processes that come one after the other, and stay until all have been there.  Says what
 * each has taken, and how much of the device's memory they have in the end.
 */
static void share_all(bool move, double *us, double *held)
{
	int down[2], up[2];
	double took;
	char byte;

	if (pipe(down) || pipe(up))
		die("pipe");
	for (int i = 0; i < PROCESSES; i++) {
		const pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid) {
			close(down[1]);
			took = share_one(move);
			if (write(up[1], &took, sizeof(took)) != sizeof(took))
				die("write");
			/* Ends when the parent has closed its end. */
			if (read(down[0], &byte, 1))
				die("read");
			_exit(0);
		}
		if (read(up[0], &took, sizeof(took)) != sizeof(took))
			fail("share", "a process has ended early");
		us[i] = took * 1e6 / (double)npages;
	}
	*held = (double)chip_rmem(dev, HMM_RMEM_FILE) / 256;
	close(down[1]);
	for (int i = 0; i < PROCESSES; i++)
		wait(NULL);
	close(down[0]);
	close(up[0]);
	close(up[1]);
}

static void bench_share(void)
{
	double us[PROCESSES], held;
	char key[64], text[80];

	title("%u processes have the device read the same file of %zu MiB, first touch",
	      PROCESSES, npages >> 8);
	for (int move = 0; move < 2; move++) {
		unmap_file();
		share_all(move, us, &held);
		map_file();
		reset();
		for (int i = 0; i < PROCESSES; i++) {
			snprintf(key, sizeof(key), "share_%s_%d", move ? "device" : "in_place",
				 i + 1);
			snprintf(text, sizeof(text), "%s, process %d",
				 move ? "copied on the first touch" : "in place", i + 1);
			emit(key, us[i], "us/page", text);
		}
		snprintf(key, sizeof(key), "share_%s_held", move ? "device" : "in_place");
		emit(key, held, "MiB", "device memory that all of them have");
	}
}

/* ---- move ---- */

enum access { LOAD, STORE, READ, WRITE, ACCESSES };

static const char * const access_names[] = { "a load of each page", "a store to each page",
					     "read()", "write()" };
static const char * const access_keys[] = { "load", "store", "read", "write" };

/* The CPU uses each page, by a mapping that it has had no page of, or by a system call. */
static double time_cpu(enum access access, size_t nr)
{
	char *buffer = malloc(PAGE_SIZE);
	double begin;

	if (!buffer)
		die("malloc");
	memset(buffer, 1, PAGE_SIZE);
	begin = now();
	for (size_t i = 0; i < nr; i++) {
		const off_t at = (off_t)(i * PAGE_SIZE);

		switch (access) {
		case LOAD:
			*(volatile char *)(mem + at);
			break;
		case STORE:
			*(volatile char *)(mem + at) = 2;
			break;
		case READ:
			if (pread(file, buffer, PAGE_SIZE, at) != PAGE_SIZE)
				die("read");
			break;
		default:
			if (pwrite(file, buffer, PAGE_SIZE, at) != PAGE_SIZE)
				die("write");
			break;
		}
	}
	begin = now() - begin;
	free(buffer);
	return begin;
}

static void bench_in(size_t nr)
{
	double shared[MAX_RUNS], touched[MAX_RUNS], owned[MAX_RUNS], owned64[MAX_RUNS];
	double upgraded[MAX_RUNS], place[MAX_RUNS], warm;

	for (unsigned int i = 0; i < runs; i++) {
		shared[i] = time_move(nr, 0);
		upgraded[i] = time_own(nr, 1);
		reset();
		policy(HMM_POLICY_TOUCH);
		touched[i] = time_run(read_prog, nr, 1);
		warm = time_run(read_prog, nr, 1);
		touched[i] -= warm;
		expect("copied", nr, SHARED);
		reset();
		owned[i] = time_own(nr, 1);
		reset();
		owned64[i] = time_own(nr, 64);
		reset();
		place[i] = time_run(write_prog, nr, 1);
		place[i] -= time_run(write_prog, nr, 1);
		reset();
	}
	emit("in_shared", us_a_page(shared, nr), "us/page", "copies, on request");
	emit("in_shared_touch", us_a_page(touched, nr), "us/page", "copies, on a load");
	emit("in_owned", us_a_page(owned, nr), "us/page", "owned, on a store");
	emit("in_owned_64", us_a_page(owned64, nr), "us/page", "owned, on stores of 64 threads");
	emit("in_upgraded", us_a_page(upgraded, nr), "us/page",
	     "owned, of which there is a copy, on a store");
	emit("in_place_store", us_a_page(place, nr), "us/page",
	     "none moves: the device's stores map them in place");
}

enum begin_as { LOCAL, COPIED, MINE, BEGINS };

static const char * const begin_names[] = { "local", "shared", "owned" };

static void begin_as(enum begin_as as, size_t nr)
{
	if (as == COPIED)
		time_move(nr, 0);
	else if (as == MINE)
		time_own(nr, 1);
}

static void bench_out(size_t nr)
{
	double times[MAX_RUNS];
	char key[64], text[80];

	for (enum begin_as as = COPIED; as < BEGINS; as++) {
		for (unsigned int i = 0; i < runs; i++) {
			begin_as(as, nr);
			times[i] = time_move(nr, DGPU_MIGRATE_TO_SYSTEM);
			reset();
		}
		snprintf(key, sizeof(key), "out_%s", begin_names[as]);
		snprintf(text, sizeof(text), "%s, on request", begin_names[as]);
		emit(key, us_a_page(times, nr), "us/page", text);
	}
	for (enum access access = 0; access < ACCESSES; access++) {
		for (enum begin_as as = LOCAL; as < BEGINS; as++) {
			for (unsigned int i = 0; i < runs; i++) {
				begin_as(as, nr);
				times[i] = time_cpu(access, nr);
				reset();
			}
			snprintf(key, sizeof(key), "cpu_%s_%s", access_keys[access],
				 begin_names[as]);
			snprintf(text, sizeof(text), "%s, %s", begin_names[as],
				 access_names[access]);
			emit(key, us_a_page(times, nr), "us/page", text);
		}
	}
}

static void bench_move(void)
{
	const size_t nr = npages < 4096 ? npages : 4096;

	title("To the device, %zu MiB; stores and loads without the program", nr >> 8);
	bench_in(nr);
	title("From the device, %zu MiB, by what the CPU does", nr >> 8);
	bench_out(nr);
}

/* ---- sync ---- */

enum writer { CPU_STORE, CPU_WRITE, DEVICE_IN_PLACE, DEVICE_OWNED, WRITERS };

static const char * const writer_names[] = {
	"the CPU, by a mapping", "the CPU, by write()", "the device, in place",
	"the device, in its memory",
};

static const char * const writer_keys[] = { "store", "write", "in_place", "owned" };

static double time_sync(enum writer writer, size_t nr)
{
	double begin;

	switch (writer) {
	case CPU_STORE:
		time_cpu(STORE, nr);
		break;
	case CPU_WRITE:
		time_cpu(WRITE, nr);
		break;
	case DEVICE_IN_PLACE:
		run(write_prog, mem, nr, 1);
		break;
	default:
		time_own(nr, 1);
		break;
	}
	begin = now();
	if (fsync(file))
		die("fsync");
	return now() - begin;
}

static void bench_sync(void)
{
	static const size_t sizes[] = { 1, 16, 256, 4096 };
	double times[MAX_RUNS];
	char key[64], text[80];

	title("fsync() of pages that were written to by");
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]) && sizes[s] <= npages; s++) {
		for (enum writer writer = 0; writer < WRITERS; writer++) {
			for (unsigned int i = 0; i < runs; i++) {
				times[i] = time_sync(writer, sizes[s]);
				reset();
			}
			snprintf(key, sizeof(key), "sync_%s_%zu", writer_keys[writer], sizes[s]);
			snprintf(text, sizeof(text), "%s, %zu page%s", writer_names[writer],
				 sizes[s], sizes[s] == 1 ? "" : "s");
			emit(key, us_a_page(times, sizes[s]), "us/page", text);
		}
	}
}

/* ---- command line ---- */

static void usage(int status)
{
	fprintf(status ? stderr : stdout,
		"Usage: bench_files [--json] [--mib N] [--runs N] [--only SECTION] DIRECTORY\n"
		"Measure what it costs that pages of files are on a device.\n"
		"  --json          print an object instead of tables\n"
		"  --mib N         size of the file that is read (1 to 4096, default 256)\n"
		"  --runs N        runs of which the median is taken (1 to 25, default 3)\n"
		"  --only SECTION  read, share, move or sync\n"
		"DIRECTORY is on a file system whose pages may be on a device (ext4_hmm).\n");
	exit(status);
}

int main(int argc, char **argv)
{
	const char *dir = NULL, *why;
	int verify;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--mib"))
			max_mib = measure_number(argv[++i], 1, 4096, usage);
		else if (!strcmp(argv[i], "--runs"))
			runs = (unsigned int)measure_number(argv[++i], 1, MAX_RUNS, usage);
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			only = argv[++i];
		else if (*argv[i] == '-' || dir)
			usage(strcmp(argv[i], "--help") ? 2 : 0);
		else
			dir = argv[i];
	}
	if (!dir)
		usage(2);
	snprintf(path, sizeof(path), "%s/bench_files", dir);
	check("cannot open the device", dgpu_open(NULL, &dev));
	why = chip_no_memory(dev);
	if (why) {
		fprintf(stderr, "bench_files: %s\n", why);
		return 4;
	}
	/* What is only there to find mistakes costs a lot. */
	verify = open(VERIFY, O_WRONLY | O_CLOEXEC);
	if (verify >= 0 && write(verify, "0", 1) != 1)
		die(VERIFY);
	read_prog = assemble(read_text);
	write_prog = assemble(write_text);
	scan_prog = assemble(scan_text);
	if (json)
		printf("{");
	make_file(max_mib << 20);
	map_file();
	if (section("read"))
		bench_read();
	if (section("share"))
		bench_share();
	if (section("move"))
		bench_move();
	if (section("sync"))
		bench_sync();
	if (json)
		printf("\n}\n");
	unmap_file();
	unlink(path);
	return 0;
}

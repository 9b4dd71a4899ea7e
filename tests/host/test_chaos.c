// SPDX-License-Identifier: GPL-2.0
/*
 * dgpu chaos without a device: reading /proc/PID/maps and choosing from it, the records,
 * and that programs do not notice that they have a thread more.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "chaos.h"
#include "scratch.h"
#include "tap.h"

/* ---- maps ---- */

static void test_lines(void)
{
	static const struct {
		const char *line;
		bool good, writable;
	} cases[] = {
		{ "55d0c8a00000-55d0c8a21000 rw-p 00000000 00:00 0                          [heap]",
		  true, true },
		{ "7f0000000000-7f0000001000 r--p 00000000 08:01 5 /usr/lib/x86_64/libc.so.6",
		  true, false },
		{ "7f0000000000-7f0000001000 rw-s 00000000 00:01 5 /dev/zero (deleted)", false, true },
		{ "7f0000000000-7f0000001000 rw-s 00000000 fe:00 5          /srv/a b", true, true },
		{ "7f0000000000-7f0000001000 r--s 00000000 fe:00 5          /x", true, false },
		{ "7f0000000000-7f0000001000 -w-s 00000000 fe:00 5          /x", false, true },
		{ "7f0000000000-7f0000001000 rw-s 00000000 00:01 5          /memfd:x (deleted)",
		  false, true },
		{ "7f0000000000-7f0000001000 rw-s 00000000 00:01 5          /SYSV00000000 (deleted)",
		  false, true },
		{ "7f0000000000-7f0000001000 rw-s 00000000 00:01 5          [anon_shmem:x]",
		  false, true },
		{ "7f0000000000-7f0000001000 rw-s 00000000 00:01 5          /de", true, true },
		{ "7f0000000000-7f0000001000 ---p 00000000 00:00 0 ", false, false },
		{ "7f0000000000-7f0000001000 rwxp 00000000 00:00 0", true, true },
		{ "7ffd00000000-7ffd00004000 r--p 00000000 00:00 0                          [vvar]",
		  false, false },
		{ "7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]",
		  false, false },
		{ "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0          [vsyscall]",
		  false, false },
		{ "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                      [stack]",
		  true, true },
		{ "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                [anon:glibc: malloc]",
		  true, true },
		{ "7f0000001000-7f0000001000 rw-p 00000000 00:00 0", false, false },
		{ "7f0000000001-7f0000001000 rw-p 00000000 00:00 0", false, false },
		{ "17f0000000000000-27f0000000000000f rw-p 00000000 00:00 0", false, false },
		{ "7f0000000000-7f0000001000 rw", false, false },
		{ "7f0000000000-7f0000001000", false, false },
		{ "7f0000000000", false, false },
		{ "-", false, false },
		{ "", false, false },
	};
	struct chaos_range range;
	unsigned int i;
	size_t length;
	char *copy;
	bool good;

	tap_begin("lines of /proc/PID/maps");
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		/* In a block of just that size, for ASan to see what is read beyond it. */
		length = strlen(cases[i].line);
		copy = malloc(length ?: 1);
		memcpy(copy, cases[i].line, length);
		range = (struct chaos_range){ };
		good = chaos_maps_line(copy, length, &range);
		EXPECT(good == cases[i].good && (!good || range.writable == cases[i].writable),
		       "\"%s\": %d", cases[i].line, good);
		EXPECT(!good || range.shared == !!strstr(cases[i].line, "s 0"), "\"%s\": shared",
		       cases[i].line);
		free(copy);
	}
	chaos_maps_line(cases[0].line, strlen(cases[0].line), &range);
	EXPECT(range.start == 0x55d0c8a00000 && range.end == 0x55d0c8a21000, "addresses");
	tap_end();
}

static bool count_range(void *arg, const struct chaos_range *range)
{
	(void)range;
	return ++*(unsigned int *)arg < 3;
}

static void test_text(void)
{
	const char *text = "1000-2000 rw-p \n3000-4000 rw-s \n5000-6000 rw-p \n7000-8000 rw";
	struct chaos_maps maps = { };
	unsigned int n = 0, i, hits[256] = { 0 };
	struct chaos_range range, r;
	uint64_t rnd = tap_seed(7), before;
	const uint64_t shift = 1ull << 20;

	tap_begin("pieces of text, samples, choices");
	EXPECT(chaos_maps_lines(text, strlen(text), count_range, &n) == strlen(text) - 12 && n == 2,
	       "an unfinished line is left: %u", n);
	EXPECT(chaos_maps_lines(text, 3, count_range, &n) == 0, "nothing but");
	maps.rnd = &rnd;
	EXPECT(!chaos_maps_pick(&maps, &rnd, 10, &range), "nothing to choose from");
	for (n = 0; n < 4000; n++) {
		maps.n = maps.seen = 0;
		for (i = 0; i < 256; i++) {
			range = (struct chaos_range){ (i + 1) * shift, (i + 1) * shift + 4096, true, false };
			chaos_maps_sample(&maps, &range);
		}
		EXPECT(maps.n == CHAOS_RANGES, "%u", maps.n);
		for (i = 0; i < maps.n; i++)
			hits[maps.range[i].start / shift - 1]++;
	}
	/* 1000 each is expected; the standard deviation is 27. */
	for (i = 0; i < 256; i++)
		EXPECT(hits[i] > 800 && hits[i] < 1200, "mapping %u: %u times", i, hits[i]);

	maps.n = 2;
	maps.range[0] = (struct chaos_range){ 0x10000, 0x10000 + 5 * 4096, true, false };
	maps.range[1] = (struct chaos_range){ 1ull << 32, 1ull << 40, false, false };
	memset(hits, 0, sizeof(hits));
	for (n = 0; n < 20000; n++) {
		before = rnd;
		if (!EXPECT(chaos_maps_pick(&maps, &rnd, 64, &range), "picked"))
			break;
		r = maps.range[range.start >= 1ull << 32];
		EXPECT(range.start >= r.start && range.end <= r.end && range.start < range.end &&
		       !((range.start | range.end) & 4095) && range.end - range.start <= 64 * 4096 &&
		       range.writable == r.writable, "%llx-%llx from %llx",
		       (unsigned long long)range.start, (unsigned long long)range.end,
		       (unsigned long long)before);
		hits[(range.end - range.start) / 4096]++;
		if (range.end == r.end)
			hits[100]++;
	}
	EXPECT(hits[1] > 1000 && hits[3] && hits[5] && hits[64] && hits[33], "lengths");
	EXPECT(hits[100], "up to the end");
	tap_end();
}

static void test_record(void)
{
	uint64_t counters[CHAOS_COUNTERS], most[CHAOS_COUNTERS];
	char line[CHAOS_RECORD + 1];
	unsigned int i;

	tap_begin("records");
	for (i = 0; i < CHAOS_COUNTERS; i++) {
		counters[i] = 1000 + i;
		most[i] = UINT64_MAX;
	}
	line[CHAOS_RECORD] = 'x';
	EXPECT(chaos_record_format(line, 12, "a b\tc\n", counters) == CHAOS_RECORD, "length");
	EXPECT(!strncmp(line, "pid=12 comm=a_b_c ops=1000 there=1001 back=1002 ", 48), "%.60s", line);
	EXPECT(line[CHAOS_RECORD - 1] == '\n' && line[CHAOS_RECORD] == 'x', "end");
	EXPECT(memchr(line, '\n', CHAOS_RECORD) == line + CHAOS_RECORD - 1, "one line");
	EXPECT(chaos_record_format(line, 4194304, "0123456789abcdefgh", most) == CHAOS_RECORD &&
	       line[CHAOS_RECORD - 1] == '\n' && line[CHAOS_RECORD] == 'x', "more than fits");
	tap_end();
}

/* ---- programs ---- */

#define chaos(fmt, ...) \
	sh("DGPU_CHAOS_LIB=%s/chaos_mock.so %s/dgpu_mock chaos -d /dev/null " fmt \
	   " >out 2>err", here, here, ##__VA_ARGS__)

static char *slurp(const char *name)
{
	static char text[1 << 16];

	slurp_into(name, text, sizeof(text));
	return text;
}

/* Records of programs with that name, and of these how many moved pages. */
static unsigned int records(const char *comm, unsigned int *moved)
{
	char want[64], *at = slurp("stat");
	unsigned long long there, sweeps;
	unsigned int n = 0;

	*moved = 0;
	snprintf(want, sizeof(want), " comm=%s ", comm);
	for (; strlen(at) >= CHAOS_RECORD; at += CHAOS_RECORD) {
		if (!strstr(at, want) || strstr(at, want) > strchr(at, '\n'))
			continue;
		n++;
		if (sscanf(strstr(at, " there="), " there=%llu", &there) == 1 &&
		    sscanf(strstr(at, " sweeps="), " sweeps=%llu", &sweeps) == 1)
			*moved += there > 20;
	}
	return n;
}

static void test_unnoticed(void)
{
	static const struct {
		const char *name;
		int status;
	} victims[] = {
		{ "descriptors", 0 }, { "listed", 0 }, { "pipes", 0 }, { "forks", 0 },
		{ "inherited", 0 },
		{ "signals", 0 }, { "errno", 0 }, { "heap", 0 }, { "limits", 0 },
		{ "leave", 0 }, { "raw", 9 },
	};
	unsigned int i, n, moved;
	int status;

	for (i = 0; i < sizeof(victims) / sizeof(*victims); i++) {
		char name[64];

		snprintf(name, sizeof(name), "unnoticed: %s", victims[i].name);
		tap_begin(name);
		unlink("stat");
		status = sh("timeout 120 %s/chaos_victim %s 20 >out 2>err", here, victims[i].name);
		EXPECT(status == victims[i].status, "alone: %d %s", status, slurp("err"));
		status = chaos("-r 100000 -E -S stat -s %u -- timeout 120 %s/chaos_victim %s", i, here,
			       victims[i].name);
		EXPECT(status == victims[i].status, "%d %s", status, slurp("err"));
		n = records("chaos_victim", &moved);
		EXPECT(n && moved, "%u records, %u moved", n, moved);
		tap_end();
	}
}

static void test_shell(void)
{
	static const char script[] =
		"trap 'echo usr1' USR1; kill -USR1 $$; echo a | cat; (echo b; exit 4); echo $?\n"
		"for i in 1 2 3 4 5 6 7 8; do x=$(echo $i | sort); echo -n $x; done; echo\n"
		"(kill -9 $BASHPID) 2>/dev/null; echo $?; exec 3>&-; ls /proc/self/fd | wc -l\n"
		"sh -c 'kill -TERM $$'; echo $? >&2; cd /; seq 20000 | sort -R | sort -n | sum; exit 42\n";
	char first[1 << 16];
	unsigned int n, moved;
	int status;

	tap_begin("a shell script, and all that it runs");
	sh("cat >script <<'END'\n%sEND\n", script);
	status = sh("bash script >out 2>err");
	EXPECT(status == 42, "%d", status);
	snprintf(first, sizeof(first), "%s", slurp("out"));
	unlink("stat");
	status = chaos("--stat stat bash script");
	EXPECT(status == 42, "%d", status);
	EXPECT(!strcmp(slurp("out"), first), "\"%s\" instead of \"%s\"", slurp("out"), first);
	EXPECT(strstr(slurp("err"), "143\n"), "%s", slurp("err"));
	n = records("bash", &moved);
	EXPECT(n && moved, "%u records of bash, %u moved", n, moved);
	n = records("sort", &moved);
	EXPECT(n >= 9 && moved >= 2, "%u records of sort, %u moved", n, moved);
	tap_end();
}

static void test_arguments(void)
{
	tap_begin("dgpu chaos: arguments and errors");
	EXPECT(chaos("") == 2 && strstr(slurp("err"), "needs a command"), "%s", slurp("err"));
	EXPECT(chaos("--seed x true") == 2, "seed");
	EXPECT(chaos("--rate 0 true") == 2, "rate");
	EXPECT(chaos("--frob true") == 2, "option");
	EXPECT(chaos("--help") == 0 && strstr(slurp("out"), "usage: dgpu chaos"), "help");
	EXPECT(chaos("sort --help") == 0 && strstr(slurp("out"), "sort"), "another's help");
	EXPECT(chaos("true") == 0 && chaos("-- false") == 1, "status");
	EXPECT(chaos("no-such-program") == 127, "not found");
	EXPECT(chaos("/etc") == 126, "cannot be run");
	EXPECT(chaos("-S /nonexistent/x true") == 4, "stat");
	EXPECT(chaos("-S %s/chaos_victim true", here) == 2, "a file of another kind");
	EXPECT(sh("%s/dgpu_mock chaos -d /nonexistent true 2>err", here) == 4, "device");
	EXPECT(sh("DGPU_CHAOS_LIB=/nonexistent %s/dgpu_mock chaos -d /dev/null true 2>err",
		  here) == 4, "library");
	EXPECT(sh("MOCK_LOCAL_PAGES=0 %s/dgpu_mock chaos -d /dev/null true 2>err", here) == 4 &&
	       strstr(slurp("err"), "no memory of its own"), "%s", slurp("err"));
	sh("printf 'int main(void) { return 0; }' | gcc -static -x c -o static - 2>/dev/null");
	if (!access("static", X_OK))
		EXPECT(chaos("./static") == 126 && strstr(slurp("err"), "linked statically"), "%s",
		       slurp("err"));
	tap_end();
}

int main(int argc, char **argv)
{
	(void)argc;
	if (!scratch_begin(argv[0]))
		return 1;
	test_lines();
	test_text();
	test_record();
	test_arguments();
	test_unnoticed();
	test_shell();
	scratch_end();
	return tap_done();
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The command line of dgpu and dgpu-demo on the simulated device: what each command
 * prints, its exit status, and that everything that --json writes is JSON.
 *
 * The programs are obj/dgpu_mock and obj/demo_mock, next to this one.
 */
#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "scratch.h"
#include "tap.h"

static char out[1 << 16], err[1 << 16];

#define dgpu(fmt, ...) sh("%s/dgpu_mock " fmt " >out 2>err", here, ##__VA_ARGS__)

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "we");

	fputs(text, f);
	fclose(f);
}

/* ---- is it JSON? ---- */

static bool json_value(const char **p);

static void json_blank(const char **p)
{
	while (isspace((unsigned char)**p))
		(*p)++;
}

static bool json_text(const char **p)
{
	unsigned int i;

	if (*(*p)++ != '"')
		return false;
	for (; **p != '"'; (*p)++) {
		if ((unsigned char)**p < ' ' || (unsigned char)**p > '~')
			return false;
		if (**p != '\\')
			continue;
		if (*++*p == 'u') {
			for (i = 0; i < 4; i++)
				if (!isxdigit((unsigned char)*++*p))
					return false;
		} else if (!**p || !strchr("\"\\/bfnrt", **p)) {
			return false;
		}
	}
	(*p)++;
	return true;
}

static bool json_members(const char **p, char end)
{
	(*p)++;
	json_blank(p);
	if (**p == end) {
		(*p)++;
		return true;
	}
	for (;;) {
		json_blank(p);
		if (end == '}') {
			if (!json_text(p))
				return false;
			json_blank(p);
			if (*(*p)++ != ':')
				return false;
		}
		if (!json_value(p))
			return false;
		json_blank(p);
		if (**p == end) {
			(*p)++;
			return true;
		}
		if (*(*p)++ != ',')
			return false;
	}
}

static bool json_value(const char **p)
{
	static const char *const words[] = { "true", "false", "null" };
	unsigned int i;
	char *end;

	json_blank(p);
	if (**p == '{')
		return json_members(p, '}');
	if (**p == '[')
		return json_members(p, ']');
	if (**p == '"')
		return json_text(p);
	for (i = 0; i < 3; i++)
		if (!strncmp(*p, words[i], strlen(words[i]))) {
			*p += strlen(words[i]);
			return true;
		}
	strtod(*p, &end);
	if (end == *p)
		return false;
	*p = end;
	return true;
}

static bool is_json(const char *text)
{
	const char *p = text;

	if (!json_value(&p))
		return false;
	json_blank(&p);
	return !*p;
}

#define STATUS(want, call) do {							\
	int status_ = (call);							\
										\
	slurp_into("out", out, sizeof(out));					\
	slurp_into("err", err, sizeof(err));					\
	EXPECT(status_ == (want), "%d, not %d; %s%s", status_, want, out, err);	\
} while (0)
#define SAYS(buf, text) EXPECT(strstr(buf, text), "no \"%s\" in \"%s\"", text, buf)
#define JSON() EXPECT(is_json(out), "not JSON: %s", out)

static void test_help(void)
{
	static const char *const commands[] = { "info", "run", "stat", "events", "asm", "disasm",
						"evacuate", "chaos" };
	char first[1 << 16];
	unsigned int i;

	tap_begin("help, version, unknown words");
	STATUS(0, dgpu("--help"));
	SAYS(out, "usage: dgpu COMMAND");
	for (i = 0; i < 8; i++) {
		SAYS(out, commands[i]);
		STATUS(0, dgpu("help %s", commands[i]));
		snprintf(first, sizeof(first), "%s", out);
		SAYS(first, "usage: dgpu");
		STATUS(0, dgpu("%s --help", commands[i]));
		EXPECT(!strcmp(first, out), "%s --help differs from help", commands[i]);
		STATUS(2, dgpu("%s --frob", commands[i]));
		SAYS(err, "Try 'dgpu help");
		STATUS(0, dgpu("--help"));
	}
	STATUS(0, dgpu("--version"));
	SAYS(out, "dgpu 1.");
	STATUS(2, dgpu(""));
	STATUS(2, dgpu("frob"));
	SAYS(err, "unknown command 'frob'");
	STATUS(2, dgpu("help frob"));
	STATUS(4, sh("%s/dgpu_mock --help >/dev/full 2>err", here));
	tap_end();
}

static void test_info(void)
{
	tap_begin("info");
	STATUS(0, dgpu("info"));
	SAYS(out, "simulated");
	SAYS(out, "4 KiB, 2 MiB");
	SAYS(out, "own memory     16 MiB; 0 KiB in use, 8 blocks of 2 MiB free as a whole");
	STATUS(0, dgpu("info --json"));
	JSON();
	SAYS(out, "\"engines\": 4");
	SAYS(out, "\"local_bytes\": 16777216");
	SAYS(out, "\"local_used\": 0");
	STATUS(0, sh("MOCK_LOCAL_PAGES=0 %s/dgpu_mock info >out 2>err", here));
	SAYS(out, "own memory     none");
	STATUS(4, dgpu("info -d /nonexistent"));
	SAYS(err, "No such file");
	STATUS(4, dgpu("info --json -d /nonexistent"));
	STATUS(2, dgpu("info more"));
	tap_end();
}

static void test_run(void)
{
	tap_begin("run");
	STATUS(0, dgpu("run double.s --buf 8 --dump 1 --as u64 -a -21"));
	SAYS(out, "ok: 1 thread, 3 instructions, 0 device faults");
	SAYS(out, " 18446744073709551574");
	STATUS(0, dgpu("run double.s --buf 8 --dump 1 --as s64 -a -21 -q"));
	SAYS(out, " -42");
	EXPECT(!strstr(out, "ok:"), "quiet");
	STATUS(0, dgpu("run sum.s --buf =data --buf 8 -D 2 --as u64 -n 1"));
	SAYS(out, " 6\n");
	STATUS(0, dgpu("run - 5 < nothing.s"));
	STATUS(0, dgpu("run sum.s --buf 1k=data --buf 8 -D 2 --as u64 -p --ptes -e 3 -t 5s"));
	SAYS(out, " 6\n");
	SAYS(out, "the device maps 0");
	STATUS(0, dgpu("run sum.s --buf 2=data --buf 8 -D 2:0:8=copy"));
	STATUS(0, sh("od -An -tu8 copy >out"));
	SAYS(out, " 3\n");
	STATUS(0, dgpu("run sum.s --buf 20=data --buf 8 -D 1 -D 1:1:1"));
	SAYS(out, "00000000  01 02 03 00");
	SAYS(out, "00000010  00 00 00 00");
	SAYS(out, "00000001  02   ");
	SAYS(out, "|....|\n");
	STATUS(0, dgpu("run sum.s --buf =data --buf 8 -D 2:0:2 --json"));
	JSON();
	SAYS(out, "\"hex\": \"0600\"");
	SAYS(out, "\"error\": null");
	tap_end();

	tap_begin("run --map");
	STATUS(0, dgpu("run sum.s --map data --buf 8 -D 2 --as u64"));
	SAYS(out, " 6\n");
	STATUS(0, sh("head -c 9000 /dev/zero >mapped && chmod 600 mapped"));
	STATUS(0, dgpu("run double.s --map mapped 21 -p -D 1:0:8 --as u64"));
	SAYS(out, " 42\n");
	STATUS(0, sh("od -An -tu8 -N8 mapped >out && test $(stat -c %%s mapped) = 9000"));
	SAYS(out, " 42\n");
	STATUS(0, dgpu("run double.s --map mapped 21 -m touch"));
	SAYS(out, "1        3 none ");
	SAYS(out, " 1 device\n");
	STATUS(3, dgpu("run nothing.s --map missing"));
	STATUS(3, dgpu("run nothing.s --map /dev/null"));
	SAYS(err, "/dev/null: not a file");
	STATUS(3, dgpu("run nothing.s --map ."));
	STATUS(2, dgpu("run nothing.s 1 2 3 4 5 6 7 --map data"));
	tap_end();

	tap_begin("run: programs that fail");
	STATUS(1, dgpu("run bad.s 0x1000"));
	SAYS(err, "dgpu: bad.s: thread 0 at instruction 1: write to 0x1008 failed: no mapping (EFAULT) (line 3: st8 r2, 8(r1))");
	STATUS(1, dgpu("run bad.s 0x1000 --json"));
	JSON();
	SAYS(out, "\"address\": \"0x1008\"");
	SAYS(out, "\"line\": 3");
	STATUS(1, dgpu("run trap.s --buf 4 -D 1"));
	SAYS(err, "trap 7");
	SAYS(out, "00000000  00 00 00 00");
	STATUS(1, dgpu("run loop.s -t 50ms"));
	SAYS(err, "watchdog");
	tap_end();

	tap_begin("run: wrong arguments");
	STATUS(2, dgpu("run"));
	STATUS(2, dgpu("run nothing.s 1 2 3 4 5 6 7 8 9"));
	SAYS(err, "r1 to r8");
	STATUS(2, dgpu("run nothing.s 1 2 3 4 5 6 7 --buf 8"));
	STATUS(0, dgpu("run nothing.s 1 2 3 4 5 6 --buf 8"));
	STATUS(2, dgpu("run nothing.s 5x"));
	STATUS(2, dgpu("run nothing.s 18446744073709551616"));
	STATUS(2, dgpu("run nothing.s --buf 0"));
	STATUS(2, dgpu("run nothing.s --buf 5q"));
	STATUS(2, dgpu("run nothing.s --buf -5"));
	STATUS(4, dgpu("run nothing.s --buf 8000000T"));
	STATUS(3, dgpu("run nothing.s --buf =missing"));
	STATUS(3, dgpu("run nothing.s --buf =/dev/null"));
	STATUS(2, dgpu("run nothing.s --dump 1"));
	STATUS(2, dgpu("run nothing.s --buf 8 --dump 1:9"));
	STATUS(2, dgpu("run nothing.s --buf 8 --dump 1:4:5"));
	STATUS(2, dgpu("run nothing.s --buf 8 --dump x"));
	STATUS(4, dgpu("run nothing.s --buf 8 --dump 1=/nonexistent/x"));
	STATUS(2, dgpu("run nothing.s --as u128"));
	STATUS(2, dgpu("run nothing.s -n 0"));
	STATUS(2, dgpu("run nothing.s -n 4294967296"));
	STATUS(2, dgpu("run nothing.s -n 1000000"));
	STATUS(2, dgpu("run nothing.s -e 4"));
	STATUS(2, dgpu("run nothing.s -t 5h"));
	STATUS(2, dgpu("run nothing.s -t 11m"));
	STATUS(3, dgpu("run missing.s"));
	STATUS(3, dgpu("run wrong.s"));
	SAYS(err, "dgpu: wrong.s: line 1: unknown instruction 'frob'\n"
		  "dgpu: wrong.s: line 2: unknown register 'r99'\n");
	tap_end();
}

static void test_migrate(void)
{
	tap_begin("run --migrate");
	STATUS(0, dgpu("run double.s --migrate request --buf 40k=data 21 -D 1:0:3"));
	SAYS(out, "buffer   pages before                 request                      pages after the run");
	/* malloc() puts a header in front of it. */
	SAYS(out, "1        11 system ");
	SAYS(out, " 11 moved ");
	SAYS(out, " 11 device\n");
	SAYS(out, "device memory: 11 pages of this process moved in, 0 of all processes came back\n");
	STATUS(0, dgpu("run double.s --migrate=touch --buf 400k 21"));
	SAYS(out, "1        ");
	SAYS(out, " 1 device\n");
	SAYS(out, "device memory: 1 pages of this process moved in");
	STATUS(0, dgpu("run double.s -m never --buf 40k 21 --buf 8"));
	SAYS(out, "\n2 ");
	SAYS(out, "device memory: 0 pages of this process moved in");
	STATUS(0, dgpu("run double.s -m request --buf 40k=data 21 --json"));
	JSON();
	SAYS(out, "\"moved_in\": 11");
	SAYS(out, "\"before\": {");
	SAYS(out, "\"request\": {");
	SAYS(out, "\"after\": {");
	SAYS(out, "\"device\": 11");
	STATUS(0, dgpu("stat --json -- run double.s --migrate touch --buf 40k 21"));
	JSON();
	SAYS(out, "\"rmem\": {");
	STATUS(0, dgpu("stat -- run double.s --migrate touch --buf 40k 21"));
	SAYS(out, "device memory, all processes, pages of 4 KiB:\n  total                        4096\n");
	SAYS(out, "  used                            1\n");
	/* A device that is too small: the rest is used where it is. */
	STATUS(0, sh("MOCK_LOCAL_PAGES=4 %s/dgpu_mock run double.s -m request --buf 40k=data 21 "
		     ">out 2>err", here));
	SAYS(out, " 4 moved, 7 full ");
	STATUS(4, sh("MOCK_LOCAL_PAGES=0 %s/dgpu_mock run double.s -m touch --buf 8 1 >out 2>err",
		     here));
	SAYS(err, "no memory of its own");
	STATUS(0, sh("MOCK_LOCAL_PAGES=0 %s/dgpu_mock run double.s -m never --buf 8 1 >out 2>err",
		     here));
	STATUS(2, dgpu("run double.s --migrate sometimes --buf 8 1"));
	tap_end();

	tap_begin("evacuate");
	STATUS(0, dgpu("evacuate"));
	STATUS(0, dgpu("evacuate --json"));
	JSON();
	SAYS(out, "\"error\": null");
	STATUS(4, sh("MOCK_LOCAL_PAGES=0 %s/dgpu_mock evacuate >out 2>err", here));
	SAYS(err, "no memory of its own");
	STATUS(4, sh("MOCK_LOCAL_PAGES=0 %s/dgpu_mock evacuate --json >out 2>err", here));
	JSON();
	SAYS(out, "\"EOPNOTSUPP\"");
	STATUS(2, dgpu("evacuate more"));
	tap_end();
}

static void test_stat_events(void)
{
	tap_begin("stat and events");
	STATUS(0, dgpu("stat -- run double.s --buf 8 4"));
	SAYS(out, "ok: 1 thread");
	SAYS(out, "invalidations by type:\n  none");
	SAYS(out, "insns                           3");
	STATUS(1, dgpu("stat run bad.s 0"));
	SAYS(out, "hw_faults                       1");
	STATUS(0, dgpu("stat --json -- run double.s --buf 8 4 -D 1"));
	JSON();
	SAYS(out, "\"run\": {");
	SAYS(out, "\"insns\": 3");
	STATUS(3, dgpu("stat --json -- run missing.s"));
	JSON();
	STATUS(2, dgpu("stat -- info"));
	STATUS(2, dgpu("stat -- run double.s --json"));
	STATUS(2, dgpu("stat -- run double.s -d /dev/null --buf 8 4 -n 0"));
	STATUS(0, dgpu("events -c 64 -- run double.s --buf 8 4"));
	SAYS(out, "reasons");
	STATUS(0, dgpu("events --json run double.s --buf 8 4"));
	JSON();
	SAYS(out, "\"events\": []");
	STATUS(2, dgpu("events -c 5 -- run double.s"));
	STATUS(2, dgpu("events"));
	tap_end();
}

static void test_asm_disasm(void)
{
	char first[1 << 16];

	tap_begin("asm and disasm");
	STATUS(0, dgpu("asm sum.s"));
	SAYS(out, "0  1002010200000000      1  add r2, r1, r2");
	STATUS(0, dgpu("asm --json sum.s"));
	JSON();
	STATUS(0, dgpu("asm -o sum.img sum.s"));
	STATUS(0, dgpu("disasm sum.img"));
	SAYS(out, "\tbgeu r1, r2, L6\n");
	SAYS(out, "L6:\n\tst8 r10, 0(r3)\n");
	snprintf(first, sizeof(first), "%s", out);
	put("again.s", out);
	STATUS(0, dgpu("disasm again.s"));
	EXPECT(!strcmp(out, first), "%s", out);
	STATUS(0, dgpu("disasm --json sum.img"));
	JSON();
	STATUS(0, dgpu("run sum.img --buf =data --buf 8 -D 2 --as u64"));
	SAYS(out, " 6\n");
	STATUS(3, dgpu("asm wrong.s"));
	STATUS(4, dgpu("asm -o /nonexistent/x sum.s"));
	STATUS(3, sh("head -c 12 sum.img >cut.img; %s/dgpu_mock disasm cut.img >out 2>err", here));
	SAYS(err, "not a number of instructions");
	STATUS(3, sh("head -c 8 sum.img >cut.img; %s/dgpu_mock disasm cut.img >out 2>err", here));
	STATUS(3, dgpu("run bad.img 1"));
	STATUS(2, dgpu("asm"));
	STATUS(2, dgpu("disasm a b"));
	tap_end();
}

static void test_demo(void)
{
	tap_begin("dgpu-demo on the simulated device");
	STATUS(0, sh("%s/demo_mock --help >out 2>err", here));
	SAYS(out, "usage: dgpu-demo");
	STATUS(0, sh("%s/demo_mock --seconds 1 --seed 5 --nodes 200 --limit 4k >out 2>err", here));
	SAYS(out, "all equal (seed 5)");
	SAYS(out, "device memory  ");
	SAYS(out, "pages went there");
	STATUS(0, sh("MOCK_LOCAL_PAGES=0 %s/demo_mock --seconds 1 --nodes 100 >out 2>err", here));
	SAYS(out, "device memory  none");
	STATUS(0, sh("%s/demo_mock -s 1 -N 50 -E 100 --json -f data64 >out 2>err", here));
	JSON();
	SAYS(out, "\"equal\": true");
	STATUS(2, sh("%s/demo_mock --seconds 0 >out 2>err", here));
	STATUS(2, sh("%s/demo_mock --seed 0 >out 2>err", here));
	STATUS(2, sh("%s/demo_mock --frob >out 2>err", here));
	STATUS(2, sh("%s/demo_mock more >out 2>err", here));
	STATUS(4, sh("%s/demo_mock --file missing >out 2>err", here));
	STATUS(4, sh("%s/demo_mock --file data >out 2>err", here));
	STATUS(4, sh("%s/demo_mock --device /nonexistent >out 2>err", here));
	/* No GPU job gets done in this time: every row must say so. */
	STATUS(1, sh("%s/demo_mock -s 1 -N 100000 -t 1ms >out 2>err", here));
	SAYS(out, "NOT EQUAL:");
	SAYS(err, "stopped by the watchdog");
	tap_end();
}

int main(int argc, char **argv)
{
	(void)argc;
	if (!scratch_begin(argv[0]))
		return 1;
	put("double.s", "muli r3, r3, 2\nst8 r3, (r1)\nhalt\n");
	put("sum.s", "add r2, r1, r2\nx: bgeu r1, r2, y\nld1 r11, (r1)\nadd r10, r10, r11\n"
		     "addi r1, r1, 1\njmp x\ny: st8 r10, (r3)\nhalt\n");
	put("nothing.s", "halt\n");
	put("bad.s", "; bad\nli r2, 5\nst8 r2, 8(r1)\nhalt\n");
	put("trap.s", "trap 7\n");
	put("loop.s", "x: jmp x\n");
	put("wrong.s", "frob\nadd r99, r1, r2\n");
	put("data", "\001\002\003");
	put("data64", "0123456789012345678901234567890123456789012345678901234567890123");
	put("bad.img", "\177dgpu\n");

	test_help();
	test_info();
	test_run();
	test_migrate();
	test_stat_events();
	test_asm_disasm();
	test_demo();

	scratch_end();
	return tap_done();
}

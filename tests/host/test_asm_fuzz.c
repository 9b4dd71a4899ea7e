// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzzing the assembler: whatever the text, it returns, touches only its own memory
 * (the sanitizers see to that), and either explains itself with lines that exist, or
 * makes a program whose disassembly is the same program.
 *
 * $SEED and $FUZZ_ROUNDS choose another walk or a longer one.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "libdgpu.h"
#include "tap.h"

#define ROOM 4096

static const char *const words[] = {
	"add", "addi", "ld8", "st1", "aadd8", "acas4", "li", "lih", "la", "jmp", "jal", "call",
	"ret", "halt", "trap", "beqz", "shli", "tid", "not", "subi", ".equ", ".reg", ".insn",
	".word", "r0", "r1", "r31", "r32", "zero", "a", "b", "a:", "b:", "x.y$", "0", "-1",
	"0x7fffffff", "0x80000000", "0xffffffffffffffff", "18446744073709551616", "0b1", "'a'",
	"'\\n'", "'\\x00'", "'", "(", ")", "(r1)", "16(r2)", "(1+2)(r3)", ",", ", ", ",", "+",
	"-", "*", "/", "%", "<<", ">>", "&", "|", "^", "~", ";", "#", "//", "\n", "\n", "\n",
	"\r\n", "\t", " ", "\xff", "\x01", "((((((((", "--------",
};

static const char *const seeds[] = {
	"; sum of a list\n.equ NEXT, 0\n.equ VALUE, 8\n.reg node, r1\n.reg sum, r10\n"
	"loop:\tbeqz node, done\n\tld8 r11, VALUE(node)\n\tadd sum, sum, r11\n"
	"\tld8 node, NEXT(node)\n\tjmp loop\ndone:\tst8 sum, (r2)\n\thalt\n",
	"\ttid r10\n\tntid r11\nloop:\tbgeu r10, r3, out\n\tadd r12, r1, r10\n"
	"\tld1 r13, (r12)\n\tshli r13, r13, 3\n\tadd r13, r2, r13\n\tli r14, 1\n"
	"\taadd8 r0, r14, (r13)\n\tadd r10, r10, r11\n\tjmp loop\nout:\thalt\n",
	"li r1, 0x123456789abcdef0\nla r2, f\ncall f\nhalt\nf: not r3, r1\nret\n"
	".insn 0x10, 1, 2, 3, 0\ntrap 'x'\n",
};

static char text[ROOM + 1];
static size_t len;

static void splice(size_t at, size_t drop, const char *add, size_t n)
{
	if (drop > len - at)
		drop = len - at;
	if (len - drop + n > ROOM)
		return;
	memmove(text + at + n, text + at + drop, len - at - drop);
	memcpy(text + at, add, n);
	len += n - drop;
	text[len] = '\0';
}

static void mutate(uint64_t *rnd)
{
	uint64_t r = tap_random(rnd);
	size_t at = len ? r % (len + 1) : 0, from, n;
	const char *word;
	char c;

	switch ((r >> 32) % 6) {
	case 0:			/* a byte */
		c = (char)(r >> 40);
		if (c)
			splice(at, 1, &c, 1);
		break;
	case 1:			/* drop some */
		splice(at, (r >> 40) % 8, "", 0);
		break;
	case 2:			/* copy a piece to somewhere else */
		if (len < 2)
			break;
		from = (r >> 20) % len;
		n = (r >> 44) % 64;
		if (n > len - from)
			n = len - from;
		{
			char piece[64];

			memcpy(piece, text + from, n);
			splice(at, 0, piece, n);
		}
		break;
	case 3:			/* cut the end */
		if (!((r >> 40) % 8)) {
			len = at;
			text[len] = '\0';
		}
		break;
	default:		/* a word */
		word = words[(r >> 40) % (sizeof(words) / sizeof(*words))];
		splice(at, r >> 63 ? (r >> 36) % 4 : 0, word, strlen(word));
	}
}

static unsigned long count_lines(void)
{
	unsigned long lines = 1;
	size_t i;

	for (i = 0; i < len; i++)
		lines += text[i] == '\n';
	return lines;
}

static void check_messages(const char *error)
{
	unsigned long line, last = 0, lines = count_lines();
	const char *p = error;
	int used;

	if (!EXPECT(error && *error, "no message"))
		return;
	for (;;) {
		used = 0;
		if (!EXPECT(sscanf(p, "line %lu: %n", &line, &used) == 1 && used && p[used],
			    "\"%s\"", p))
			return;
		EXPECT(line > last && line <= lines, "line %lu after %lu, of %lu", line, last,
		       lines);
		last = line;
		for (p += used; *p && *p != '\n'; p++)
			if (!EXPECT(*p >= ' ' && *p <= '~', "byte 0x%02x in a message",
				    (unsigned char)*p))
				return;
		if (!*p++)
			return;
	}
}

static void check_program(const struct dgpu_prog *prog)
{
	const struct dgpu_insn *code, *again;
	struct dgpu_prog *second;
	uint32_t n, m, i;
	char *out, *error;
	size_t size = 0;

	code = dgpu_prog_code(prog, &n);
	out = malloc((size_t)n * 64 + 1);
	for (i = 0; i < n; i++) {
		size += dgpu_disasm(&code[i], out + size, 64);
		out[size++] = '\n';
		EXPECT(dgpu_prog_line(prog, i) >= 1, "instruction %u has no line", i);
	}
	out[size] = '\0';
	if (EXPECT(!dgpu_assemble(out, &second, &error), "%s", error)) {
		again = dgpu_prog_code(second, &m);
		EXPECT(n == m && !memcmp(code, again, n * sizeof(*code)), "another program");
		dgpu_prog_free(second);
	} else {
		free(error);
	}
	free(out);
}

int main(void)
{
	const char *rounds_text = getenv("FUZZ_ROUNDS");
	unsigned long rounds = rounds_text ? strtoul(rounds_text, NULL, 0) : 60000, i;
	unsigned long good = 0, bad = 0;
	uint64_t rnd = tap_seed(20261120);
	struct dgpu_prog *prog;
	char *error;
	int ret;

	tap_begin("random mutations of programs");
	for (i = 0; i < rounds && tap_wrong < 10; i++) {
		if (!(i % 8)) {
			const char *seed = seeds[(i / 8) % (sizeof(seeds) / sizeof(*seeds))];

			len = strlen(seed);
			memcpy(text, seed, len + 1);
		}
		if (i % 8)
			mutate(&rnd);
		ret = dgpu_assemble(text, &prog, &error);
		if (!ret) {
			good++;
			EXPECT(!error, "a message with success");
			check_program(prog);
			dgpu_prog_free(prog);
		} else {
			bad++;
			EXPECT(ret == -EINVAL && !prog, "%d", ret);
			check_messages(error);
			free(error);
		}
		if (tap_wrong)
			printf("# text:\n# %s\n", text);
	}
	tap_end();
	/* A walk in which everything fails, or nothing, tests half of it. */
	tap_ok(good * 50 > i && bad * 50 > i, "%lu programs, %lu rejected", good, bad);
	return tap_done();
}

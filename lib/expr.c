// SPDX-License-Identifier: GPL-2.0
/*
 * Lexical elements, symbols and expressions of the assembler.
 *
 * There is no token stream: the functions here move one cursor through the text and
 * never past the end of its line.  The first error of a line is reported, and ends
 * the work on that line; other lines go on, up to a limit.
 *
 * Values have 64 bits and wrap.  A label's value is the index of the instruction
 * after it, and is not known before the second pass.
 */
#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "private.h"

#define MAX_ERRORS	20
#define MAX_DEPTH	64	/* nesting of an expression: it lives on the stack */

/* The C library's depend on the locale and are undefined for bytes above 127. */
static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.';
}

static bool is_name(char c)
{
	return is_name_start(c) || is_digit(c) || c == '$';
}

static bool is_line_end(char c)
{
	return c == '\n' || c == '\0';
}

static int digit_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

/**
 * dgpu_asm_error() - report an error in the current line
 * @as: assembler
 * @fmt: what is wrong, without the line number
 *
 * Only the first error of a line is reported.
 *
 * Return: false, for the caller to return.
 */
bool dgpu_asm_error(struct dgpu_asm *as, const char *fmt, ...)
{
	va_list ap;

	if (as->failed)
		return false;
	as->failed = true;
	if (as->errors++ < MAX_ERRORS) {
		fprintf(as->messages, "%sline %" PRIu32 ": ", as->errors > 1 ? "\n" : "",
			as->line);
		va_start(ap, fmt);
		vfprintf(as->messages, fmt, ap);
		va_end(ap);
	}
	return false;
}

/**
 * dgpu_asm_here() - describe what stands at the cursor, for a message
 * @as: assembler
 * @buf: where the description goes
 * @size: size of @buf
 *
 * Return: @buf: the word, number or sign in quotes, or "the end of the line".
 */
const char *dgpu_asm_here(const struct dgpu_asm *as, char *buf, size_t size)
{
	const char *p = as->text;
	size_t len = 0;

	if (is_line_end(*p) || *p == ';' || *p == '#' || *p == '\r') {
		snprintf(buf, size, "the end of the line");
		return buf;
	}
	if (is_name(*p))
		while (is_name(p[len]) && len < 32)
			len++;
	else
		len = 1;
	if (len == 1 && (*p < ' ' || *p > '~'))
		snprintf(buf, size, "byte 0x%02x", (unsigned char)*p);
	else
		snprintf(buf, size, "'%.*s%s'", (int)len, p,
			 is_name(*p) && is_name(p[len]) ? "..." : "");
	return buf;
}

/**
 * dgpu_asm_blank() - skip blanks
 * @as: assembler
 */
void dgpu_asm_blank(struct dgpu_asm *as)
{
	while (*as->text == ' ' || *as->text == '\t' || *as->text == '\r')
		as->text++;
}

/**
 * dgpu_asm_at_end() - skip blanks; is there nothing left in the line but a comment?
 * @as: assembler
 *
 * Return: true if so.
 */
bool dgpu_asm_at_end(struct dgpu_asm *as)
{
	dgpu_asm_blank(as);
	return is_line_end(*as->text) || *as->text == ';' || *as->text == '#' ||
	       (as->text[0] == '/' && as->text[1] == '/');
}

/**
 * dgpu_asm_name() - read a name
 * @as: assembler
 * @name: where it goes; DGPU_SYM_MAX bytes
 *
 * Return: its length; 0 if there is none, or if it is too long, which is reported.
 */
size_t dgpu_asm_name(struct dgpu_asm *as, char *name)
{
	size_t len = 0;

	dgpu_asm_blank(as);
	if (!is_name_start(*as->text))
		return 0;
	while (is_name(as->text[len])) {
		if (len == DGPU_SYM_MAX - 1) {
			dgpu_asm_error(as, "name '%.16s...' is longer than %d characters",
				       as->text, DGPU_SYM_MAX - 1);
			return 0;
		}
		name[len] = as->text[len];
		len++;
	}
	name[len] = '\0';
	as->text += len;
	return len;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct dgpu_sym *)a)->name, ((const struct dgpu_sym *)b)->name);
}

/**
 * dgpu_asm_find() - look up a symbol
 * @as: assembler
 * @name: its name
 *
 * Return: the symbol, or NULL.
 */
struct dgpu_sym *dgpu_asm_find(struct dgpu_asm *as, const char *name)
{
	union {
		struct dgpu_sym sym;
		char room[sizeof(struct dgpu_sym) + DGPU_SYM_MAX];
	} key;
	struct dgpu_sym **found;

	memcpy(key.sym.name, name, strlen(name) + 1);	/* at most DGPU_SYM_MAX */
	found = tfind(&key.sym, &as->symbols, compare);
	return found ? *found : NULL;
}

/**
 * dgpu_asm_define() - define a symbol in the current line
 * @as: assembler
 * @name: its name
 * @kind: label, constant or register
 * @value: its value
 *
 * The second pass finds everything defined and changes nothing.
 *
 * Return: false with an error reported if the name is taken.
 */
bool dgpu_asm_define(struct dgpu_asm *as, const char *name, enum dgpu_sym_kind kind,
		     uint64_t value)
{
	struct dgpu_sym *sym;

	if (as->resolve)
		return true;
	if (dgpu_asm_register_number(name) != -1)
		return dgpu_asm_error(as, "'%s' is the name of a register", name);
	sym = dgpu_asm_find(as, name);
	if (sym)
		return dgpu_asm_error(as, "'%s' is already defined on line %" PRIu32, name,
				      sym->line);
	sym = malloc(sizeof(*sym) + strlen(name) + 1);
	if (!sym)
		goto nomem;
	sym->kind = kind;
	sym->line = as->line;
	sym->value = value;
	memcpy(sym->name, name, strlen(name) + 1);
	if (!tsearch(sym, &as->symbols, compare)) {
		free(sym);
		goto nomem;
	}
	return true;
nomem:
	as->nomem = true;
	return dgpu_asm_error(as, "out of memory");
}

/**
 * dgpu_asm_register_number() - is this the name of a register?
 * @name: "r0" to "r31" or "zero"
 *
 * Every "r" with digits is reserved, so that "r32" is never taken for a label.
 *
 * Return: its number; -1 if it is something else, -2 if there is no such register.
 */
int dgpu_asm_register_number(const char *name)
{
	unsigned int n = 0;
	const char *p;

	if (!strcmp(name, "zero"))
		return 0;
	if (name[0] != 'r' || !name[1])
		return -1;
	for (p = name + 1; *p; p++)
		if (!is_digit(*p))
			return -1;
	if (strlen(name) > 3 || (name[1] == '0' && name[2]))
		return -2;
	for (p = name + 1; *p; p++)
		n = n * 10 + (*p - '0');
	return n < DGPU_NREGS ? (int)n : -2;
}

/**
 * dgpu_asm_register() - read a register
 * @as: assembler
 * @reg: where its number goes
 *
 * Return: false with an error reported if there is none.
 */
bool dgpu_asm_register(struct dgpu_asm *as, uint8_t *reg)
{
	char name[DGPU_SYM_MAX], here[48];
	const char *start;
	struct dgpu_sym *sym;
	int n;

	dgpu_asm_blank(as);
	start = as->text;
	if (!dgpu_asm_name(as, name))
		return dgpu_asm_error(as, "expected a register, found %s",
				      dgpu_asm_here(as, here, sizeof(here)));
	n = dgpu_asm_register_number(name);
	if (n == -1) {
		sym = dgpu_asm_find(as, name);
		if (sym && sym->kind == DGPU_SYM_REG && sym->line <= as->line) {
			n = sym->value;
		} else if (sym && sym->kind == DGPU_SYM_REG) {
			return dgpu_asm_error(as, "'%s' is used before its .reg on line %" PRIu32,
					      name, sym->line);
		} else {
			as->text = start;
			return dgpu_asm_error(as, "expected a register, found %s",
					      dgpu_asm_here(as, here, sizeof(here)));
		}
	}
	if (n < 0)
		return dgpu_asm_error(as, "unknown register '%.32s'", name);
	*reg = n;
	return true;
}

static bool read_number(struct dgpu_asm *as, uint64_t *value)
{
	const char *start = as->text;
	unsigned int base = 10;
	uint64_t n = 0;
	int digit;

	if (start[0] == '0' && (start[1] == 'x' || start[1] == 'X')) {
		base = 16;
		as->text += 2;
	} else if (start[0] == '0' && (start[1] == 'b' || start[1] == 'B')) {
		base = 2;
		as->text += 2;
	}
	if (!is_name(*as->text))
		goto bad;
	for (; is_name(*as->text); as->text++) {
		digit = digit_value(*as->text);
		if (digit >= (int)base)
			goto bad;
		if (__builtin_mul_overflow(n, (uint64_t)base, &n) ||
		    __builtin_add_overflow(n, (uint64_t)digit, &n)) {
			as->text = start;
			return dgpu_asm_error(as, "number does not fit in 64 bits");
		}
	}
	/* C would take it for octal, others for decimal: take it for a mistake. */
	if (base == 10 && start[0] == '0' && as->text - start > 1)
		goto bad;
	*value = n;
	return true;
bad:
	while (is_name(*as->text))
		as->text++;
	return dgpu_asm_error(as, "bad number '%.*s'",
			      as->text - start > 32 ? 32 : (int)(as->text - start), start);
}

static bool read_character(struct dgpu_asm *as, uint64_t *value)
{
	static const char escapes[] = "n\nt\tr\r0\0\\\\'\'\"\"";
	const char *p = as->text + 1;
	unsigned int i;

	if (is_line_end(*p) || *p == '\'')
		goto bad;
	if (*p != '\\') {
		*value = (unsigned char)*p++;
	} else if (p[1] == 'x') {
		if (digit_value(p[2]) > 15 || digit_value(p[3]) > 15)
			goto bad;
		*value = digit_value(p[2]) * 16 + digit_value(p[3]);
		p += 4;
	} else {
		for (i = 0; i + 1 < sizeof(escapes) - 1; i += 2)
			if (p[1] == escapes[i])
				break;
		if (i + 1 >= sizeof(escapes) - 1)
			goto bad;
		*value = (unsigned char)escapes[i + 1];
		p += 2;
	}
	if (*p != '\'')
		goto bad;
	as->text = p + 1;
	return true;
bad:
	return dgpu_asm_error(as, "bad character constant");
}

static bool read_symbol(struct dgpu_asm *as, struct dgpu_value *value)
{
	char name[DGPU_SYM_MAX];
	struct dgpu_sym *sym;

	if (!dgpu_asm_name(as, name))
		return false;	/* reported: the caller saw the start of a name */
	if (dgpu_asm_register_number(name) != -1)
		return dgpu_asm_error(as, "expected a value, found register '%.32s'", name);
	sym = dgpu_asm_find(as, name);
	if (!sym && as->resolve)
		return dgpu_asm_error(as, "unknown symbol '%s'", name);
	if (!sym || sym->kind == DGPU_SYM_LABEL) {
		value->value = sym ? sym->value : 0;
		value->label = true;
		return true;
	}
	if (sym->kind == DGPU_SYM_REG)
		return dgpu_asm_error(as, "expected a value, found register '%s'", name);
	if (sym->line > as->line)
		return dgpu_asm_error(as, "'%s' is used before its .equ on line %" PRIu32, name,
				      sym->line);
	value->value = sym->value;
	return true;
}

static bool read_binary(struct dgpu_asm *as, struct dgpu_value *value, int lowest, int depth);

static bool read_unary(struct dgpu_asm *as, struct dgpu_value *value, int depth)
{
	char here[48], c;

	if (depth > MAX_DEPTH)
		return dgpu_asm_error(as, "expression is nested too deeply");
	value->value = 0;
	value->label = false;
	dgpu_asm_blank(as);
	c = *as->text;
	if (is_digit(c))
		return read_number(as, &value->value);
	if (c == '\'')
		return read_character(as, &value->value);
	if (is_name_start(c))
		return read_symbol(as, value);
	if (c == '-' || c == '~' || c == '+') {
		as->text++;
		if (!read_unary(as, value, depth + 1))
			return false;
		if (c == '-')
			value->value = -value->value;
		else if (c == '~')
			value->value = ~value->value;
		return true;
	}
	if (c == '(') {
		as->text++;
		if (!read_binary(as, value, 0, depth + 1))
			return false;
		dgpu_asm_blank(as);
		if (*as->text != ')')
			return dgpu_asm_error(as, "expected ')', found %s",
					      dgpu_asm_here(as, here, sizeof(here)));
		as->text++;
		return true;
	}
	return dgpu_asm_error(as, "expected a value, found %s",
			      dgpu_asm_here(as, here, sizeof(here)));
}

/* Operator at the cursor: its binding strength and its length; 0 if there is none. */
static int strength(const struct dgpu_asm *as, int *len)
{
	const char *p = as->text;

	*len = 1;
	switch (*p) {
	case '|':
		return 1;
	case '^':
		return 2;
	case '&':
		return 3;
	case '<':
	case '>':
		*len = 2;
		return p[1] == p[0] ? 4 : 0;
	case '+':
	case '-':
		return 5;
	case '/':
		if (p[1] == '/')	/* a comment */
			return 0;
		return 6;
	case '*':
	case '%':
		return 6;
	}
	return 0;
}

static bool apply(struct dgpu_asm *as, char op, struct dgpu_value *left,
		  const struct dgpu_value *right)
{
	/* In the first pass a label may be anything, do not judge it. */
	bool known = as->resolve || !right->label;

	switch (op) {
	case '|':
		left->value |= right->value;
		break;
	case '^':
		left->value ^= right->value;
		break;
	case '&':
		left->value &= right->value;
		break;
	case '<':
	case '>':
		if (known && right->value > 63)
			return dgpu_asm_error(as, "shift by more than 63");
		if (op == '<')
			left->value <<= right->value & 63;
		else
			left->value >>= right->value & 63;
		break;
	case '+':
		left->value += right->value;
		break;
	case '-':
		left->value -= right->value;
		break;
	case '*':
		left->value *= right->value;
		break;
	default:
		if (known && !right->value)
			return dgpu_asm_error(as, "division by zero");
		if (!right->value)
			left->value = 0;
		else if (op == '/')
			left->value /= right->value;
		else
			left->value %= right->value;
	}
	left->label |= right->label;
	return true;
}

/* Operators of at least the strength @lowest, by precedence climbing. */
static bool read_binary(struct dgpu_asm *as, struct dgpu_value *value, int lowest, int depth)
{
	struct dgpu_value right;
	int bind, len;
	char op;

	if (depth > MAX_DEPTH)
		return dgpu_asm_error(as, "expression is nested too deeply");
	if (!read_unary(as, value, depth))
		return false;
	for (;;) {
		dgpu_asm_blank(as);
		bind = strength(as, &len);
		if (!bind || bind <= lowest)
			return true;
		op = *as->text;
		as->text += len;
		if (!read_binary(as, &right, bind, depth + 1) || !apply(as, op, value, &right))
			return false;
	}
}

/**
 * dgpu_asm_expr() - read an expression
 * @as: assembler
 * @value: where its value goes
 *
 * Return: false with an error reported if there is none, or a wrong one.
 */
bool dgpu_asm_expr(struct dgpu_asm *as, struct dgpu_value *value)
{
	return read_binary(as, value, 0, 0);
}

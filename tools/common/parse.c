// SPDX-License-Identifier: GPL-2.0
/*
 * Numbers, sizes and times on a command line.
 *
 * The whole text must be a number: "5x", "" and what does not fit are refused, never
 * cut off.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "parse.h"

static bool digits(const char *text, const char **end, uint64_t *value)
{
	unsigned int base = 10, digit;
	const char *start;
	uint64_t n = 0;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	}
	for (start = text;; text++) {
		if (*text >= '0' && *text <= '9')
			digit = *text - '0';
		else if (base == 16 && *text >= 'a' && *text <= 'f')
			digit = *text - 'a' + 10;
		else if (base == 16 && *text >= 'A' && *text <= 'F')
			digit = *text - 'A' + 10;
		else
			break;
		if (__builtin_mul_overflow(n, (uint64_t)base, &n) ||
		    __builtin_add_overflow(n, (uint64_t)digit, &n))
			return false;
	}
	*end = text;
	*value = n;
	return text != start;
}

/**
 * parse_number() - read a number of 64 bits
 * @text: decimal or 0x hexadecimal, with a minus in front for a negative one
 * @value: where its bits go
 *
 * Return: false if @text is something else.
 */
bool parse_number(const char *text, uint64_t *value)
{
	bool negative = *text == '-';
	const char *end;

	if (!digits(text + negative, &end, value) || *end)
		return false;
	if (negative) {
		if (*value > (uint64_t)INT64_MAX + 1)
			return false;
		*value = -*value;
	}
	return true;
}

/**
 * parse_u32() - read a number of 32 bits
 * @text: decimal or 0x hexadecimal
 * @value: where it goes
 *
 * Return: false if @text is something else.
 */
bool parse_u32(const char *text, uint32_t *value)
{
	const char *end;
	uint64_t n;

	if (!digits(text, &end, &n) || *end || n > UINT32_MAX)
		return false;
	*value = n;
	return true;
}

/**
 * parse_size() - read a number of bytes
 * @text: a number, and k, M, G or T (powers of 1024) or nothing
 * @end: where the first character after it goes; NULL if there must be none
 * @value: where it goes
 *
 * Return: false if @text is something else.
 */
bool parse_size(const char *text, const char **end, uint64_t *value)
{
	static const char units[] = "kMGT";
	const char *stop, *unit;

	if (!digits(text, &stop, value))
		return false;
	unit = *stop ? strchr(units, *stop == 'K' ? 'k' : *stop) : NULL;
	if (unit) {
		if (__builtin_mul_overflow(*value, 1ull << (10 * (unit - units + 1)), value))
			return false;
		stop++;
	}
	if (end)
		*end = stop;
	return end || !*stop;
}

/**
 * parse_ms() - read a time
 * @text: a number, and ms, s, m or nothing for seconds
 * @value: where the milliseconds go
 *
 * Return: false if @text is something else.
 */
bool parse_ms(const char *text, uint64_t *value)
{
	uint64_t factor;
	const char *end;

	if (!digits(text, &end, value))
		return false;
	if (!strcmp(end, "ms"))
		factor = 1;
	else if (!*end || !strcmp(end, "s"))
		factor = 1000;
	else if (!strcmp(end, "m"))
		factor = 60000;
	else
		return false;
	return !__builtin_mul_overflow(*value, factor, value);
}

/**
 * show_ns() - write a time for people
 * @ns: nanoseconds
 * @buf: where the text goes
 * @size: size of @buf
 *
 * Return: @buf.
 */
const char *show_ns(uint64_t ns, char *buf, size_t size)
{
	if (ns < 1000000)
		snprintf(buf, size, "%.1f us", ns / 1e3);
	else if (ns < 1000000000)
		snprintf(buf, size, "%.1f ms", ns / 1e6);
	else
		snprintf(buf, size, "%.2f s", ns / 1e9);
	return buf;
}

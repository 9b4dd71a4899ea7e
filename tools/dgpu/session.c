// SPDX-License-Identifier: GPL-2.0
/*
 * The frame that commands run in: messages, the device, the JSON document.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "dgpu.h"

/**
 * complain() - write a message to standard error
 * @fmt: the message, without a newline
 */
void complain(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("dgpu: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/**
 * usage_error() - end a command after wrong arguments
 * @cmd: command
 *
 * Return: EXIT_USAGE.
 */
int usage_error(const struct command *cmd)
{
	fprintf(stderr, "Try 'dgpu help %s'.\n", cmd->name);
	return EXIT_USAGE;
}

/**
 * session_options() - read --device and --json, the options that most commands have
 * @s: session that they are for
 * @cmd: command; it has no others
 * @argc: number of words
 * @argv: the command and its arguments
 *
 * What follows the options begins at optind.
 *
 * Return: EXIT_OK, or EXIT_USAGE with the reason told.
 */
int session_options(struct session *s, const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		{ "device",	required_argument,	NULL, 'd' },
		{ "json",	no_argument,		NULL, 'j' },
		{ }
	};
	int opt;

	/* "+": what follows the first word belongs to that. */
	while ((opt = getopt_long(argc, argv, "+d:", options, NULL)) != -1) {
		switch (opt) {
		case 'd':
			s->path = optarg;
			break;
		case 'j':
			s->json = true;
			break;
		default:
			return usage_error(cmd);
		}
	}
	return EXIT_OK;
}

/**
 * session_start() - read these options, and open the device
 * @s: session
 * @cmd: command; no words follow its options
 * @argc: number of words
 * @argv: the command and its arguments
 *
 * Return: EXIT_OK, or an exit status with the reason told.
 */
int session_start(struct session *s, const struct command *cmd, int argc, char **argv)
{
	int ret = session_options(s, cmd, argc, argv);

	if (ret)
		return ret;
	if (optind != argc) {
		complain("unexpected argument '%s'", argv[optind]);
		return usage_error(cmd);
	}
	return session_open(s);
}

/**
 * session_open() - open the device, if it is not open yet
 * @s: session
 *
 * Return: 0, or an exit status with the reason told.
 */
int session_open(struct session *s)
{
	const char *path = s->path;
	int ret;

	if (s->dev)
		return 0;
	if (!path)
		path = getenv("DGPU_DEVICE");
	if (!path || !*path)
		path = "/dev/dgpu0";
	s->path = path;
	ret = dgpu_open(path, &s->dev);
	if (ret) {
		complain("%s: %s%s", path,
			 ret == -EPROTO ? "the driver speaks another version of the interface" :
			 ret == -ENOTTY ? "not a device of this kind" : strerror(-ret),
			 ret == -ENOENT ? " (is dummy_gpu.ko loaded?)" : "");
		return EXIT_SYSTEM;
	}
	return s->opened ? s->opened(s) : 0;
}

/**
 * session_nested() - run another command in this session
 * @s: session
 * @outer: the command that runs it
 * @argc: number of words
 * @argv: the other command and its arguments
 *
 * Return: its exit status.
 */
int session_nested(struct session *s, const struct command *outer, int argc, char **argv)
{
	const struct command *cmd = find_command(argv[0]);

	if (!cmd || !cmd->nested) {
		complain("'%s' is not a command that %s can work on; try 'run'", argv[0],
			 outer->name);
		return usage_error(outer);
	}
	return cmd->nested(s, argc, argv);
}

/**
 * session_end() - close the device and end the document
 * @s: session
 * @status: exit status so far
 *
 * Return: @status, or EXIT_SYSTEM if the document could not be written.
 */
int session_end(struct session *s, int status)
{
	dgpu_close(s->dev);
	s->dev = NULL;
	if (s->json && s->j.out) {
		json_end_object(&s->j);
		if (json_finish(&s->j) && status == EXIT_OK) {
			complain("cannot write the output");
			status = EXIT_SYSTEM;
		}
	}
	return status;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * dgpu - run programs on the emulated GPU and look at what it does.
 *
 * This file has the table of commands and nothing else to know about them: one file
 * makes one command, struct command says what it is.
 */
#include <stdio.h>
#include <string.h>
#include "dgpu.h"

static const struct command *const commands[] = {
	&cmd_info,
	&cmd_run,
	&cmd_stat,
	&cmd_events,
	&cmd_evacuate,
	&cmd_chaos,
	&cmd_asm,
	&cmd_disasm,
};

/**
 * find_command() - look up a command
 * @name: its name
 *
 * Return: the command, or NULL.
 */
const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static void overview(FILE *out)
{
	size_t i;

	fputs("usage: dgpu COMMAND [ARGUMENTS]\n"
	      "       dgpu help COMMAND | dgpu --help | dgpu --version\n\n"
	      "Run programs on the emulated GPU, on plain memory of this process, and on files.\n\n"
	      "commands:\n", out);
	for (i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
	fputs("  help     say everything about a command\n\n"
	      "environment:\n"
	      "  DGPU_DEVICE   device file to use instead of /dev/dgpu0\n\n"
	      "exit status:\n"
	      "  0  success\n"
	      "  1  the program failed on the device\n"
	      "  2  wrong arguments\n"
	      "  3  an input file is wrong or cannot be read\n"
	      "  4  no device, no memory, or the output cannot be written\n", out);
}

static int help(int argc, char **argv)
{
	const struct command *cmd;

	if (argc < 2) {
		overview(stdout);
		return EXIT_OK;
	}
	cmd = find_command(argv[1]);
	if (!cmd || argc > 2) {
		complain(cmd ? "help takes one command" : "unknown command '%s'", argv[1]);
		return EXIT_USAGE;
	}
	fputs(cmd->help, stdout);
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	const struct command *cmd;
	int status, i;

	if (argc < 2) {
		overview(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		status = help(argc - 1, argv + 1);
		goto flush;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("dgpu " DGPU_VERSION ", ABI %d\n", DGPU_ABI_VERSION);
		status = EXIT_OK;
		goto flush;
	}
	cmd = find_command(argv[1]);
	if (!cmd) {
		complain("unknown command '%s'; see dgpu --help", argv[1]);
		return EXIT_USAGE;
	}
	/*
	 * --help is the same for all, wherever it stands before "--"; but another program's
	 * belongs to that.
	 */
	for (i = 2; !cmd->wraps && i < argc && strcmp(argv[i], "--"); i++) {
		if (strcmp(argv[i], "--help") && strcmp(argv[i], "-h"))
			continue;
		fputs(cmd->help, stdout);
		status = EXIT_OK;
		goto flush;
	}
	status = cmd->run(argc - 1, argv + 1);
flush:
	if ((fflush(stdout) || ferror(stdout)) && status == EXIT_OK) {
		complain("cannot write the output");
		status = EXIT_SYSTEM;
	}
	return status;
}

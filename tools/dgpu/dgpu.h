/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the commands of dgpu share.
 */
#ifndef DGPU_TOOL_H
#define DGPU_TOOL_H

#include "libdgpu.h"
#include "../common/counters.h"
#include "../common/json.h"

#define DGPU_VERSION "1.1.0"

/* Exit status of every command. */
enum {
	EXIT_OK		= 0,
	EXIT_JOB	= 1,	/* the program failed on the device */
	EXIT_USAGE	= 2,	/* wrong arguments */
	EXIT_INPUT	= 3,	/* an input file is wrong or cannot be read */
	EXIT_SYSTEM	= 4,	/* no device, no memory, cannot write */
};

/**
 * struct session - what a command runs in
 * @path: device file, or NULL for the default
 * @dev: the device, once it is open
 * @json: write JSON
 * @j: the document, if so; a command writes members into the object that is open
 * @opened: called when the device has been opened, or NULL
 * @arg: for @opened
 *
 * A command that works on others (stat, events) gives them its own session and so
 * sees their device.
 */
struct session {
	const char *path;
	struct dgpu_dev *dev;
	bool json;
	struct json j;
	int (*opened)(struct session *s);
	void *arg;
};

/**
 * struct command - one command
 * @name: first word of the command line
 * @summary: what it is for, in a line
 * @help: everything that "dgpu help NAME" says
 * @wraps: what follows its options is another program's, also a --help
 * @run: does it; argv[0] is the name.  Returns an exit status
 * @nested: the same within another command's session, for those that can; it writes
 *	no document of its own and leaves the device open
 */
struct command {
	const char *name;
	const char *summary;
	const char *help;
	bool wraps;
	int (*run)(int argc, char **argv);
	int (*nested)(struct session *s, int argc, char **argv);
};

extern const struct command cmd_asm, cmd_chaos, cmd_disasm, cmd_evacuate, cmd_events, cmd_info,
	cmd_run, cmd_stat;

const struct command *find_command(const char *name);

/* session.c */
__attribute__((format(printf, 1, 2))) void complain(const char *fmt, ...);
int usage_error(const struct command *cmd);
int session_options(struct session *s, const struct command *cmd, int argc, char **argv);
int session_start(struct session *s, const struct command *cmd, int argc, char **argv);
int session_open(struct session *s);
int session_nested(struct session *s, const struct command *outer, int argc, char **argv);
int session_end(struct session *s, int status);

/* load.c */
extern const char image_magic[8];
int load_program(const char *path, struct dgpu_prog **prog);

#endif /* DGPU_TOOL_H */

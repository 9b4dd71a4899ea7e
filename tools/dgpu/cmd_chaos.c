// SPDX-License-Identifier: GPL-2.0
/*
 * dgpu chaos: run any program while its memory moves to the device and back.
 *
 * This command only looks if that can work, and then becomes the program; all the rest
 * is done in the program itself by dgpu-chaos.so (../chaos/).
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../chaos/chaos.h"
#include "../common/parse.h"
#include "dgpu.h"

static const char help[] =
"usage: dgpu chaos [OPTIONS] [--] COMMAND [ARG]...\n"
"\n"
"Run COMMAND, and all programs that it runs, while their anonymous memory is moved to\n"
"the device and back at random: first and last all of it, and all the time in between\n"
"pieces that begin and end anywhere; single pages out of them; pages are mapped on the\n"
"device, swapped out, made into huge pages; policies and hints change; the device is\n"
"closed and opened again.  COMMAND is not changed in any way, and must not notice: its\n"
"output and its exit status are those that it has otherwise.\n"
"\n"
"options:\n"
"  -s, --seed N        seed of the random numbers (default 1)\n"
"  -r, --rate N        operations in a second and process, at most (default 500); it\n"
"                      also rests after each one for twice as long as that took\n"
"  -E, --evacuate      evacuate the whole device now and then; needs CAP_SYS_ADMIN\n"
"  -f, --files         shared mappings of files as well: moved, and read and written to\n"
"                      (nothing is added to a word) by programs of the device, and so\n"
"                      are those that are left when the program ends\n"
"  -S, --stat FILE     add a line to FILE for each process: operations, pages moved\n"
"                      there and back, pages that were busy, found no room, or failed\n"
"                      to be copied, pages of files, and others; kept up to date while\n"
"                      it runs\n"
"  -d, --device FILE   device file (default $DGPU_DEVICE, or /dev/dgpu0)\n"
"  -h, --help          this text\n"
"\n"
"It works by LD_PRELOAD, so it does not reach programs that are linked statically, have\n"
"other privileges than their caller (set-user-ID), are not for the machine's native\n"
"instruction set, or are run without their environment.  A process has one thread more\n"
"than otherwise; where the kernel minds (unshare(2) of a user namespace), it is noticed.\n"
"\n"
"The exit status is COMMAND's; 127 if it is not found, 126 if it cannot be run.\n"
"\n"
"With --files a file that is mapped shared and writable is one that is written to: times of\n"
"its last change move on, and blocks of it that were holes may be allocated.\n"
"\n"
"Examples: compile a file, and see what was moved meanwhile; a database on a file system\n"
"that has been taught to have pages on devices (modprobe ext4_hmm)\n"
"  dgpu chaos --stat /tmp/stat -- gcc -O2 -c hello.c && column -t /tmp/stat\n"
"  mount -t ext4_hmm /dev/vda /mnt && cd /mnt\n"
"  dgpu chaos --files -- sqlite3 db 'pragma journal_mode = wal; create table t(v)'\n";

enum { EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

/**
 * struct chaos - what the command line asks for
 * @device: device file, or NULL
 * @stat: file for the records, or NULL
 * @seed: of the random numbers
 * @rate: operations in a second; 0: default
 * @evacuate: evacuate now and then
 * @files: shared mappings of files as well
 */
struct chaos {
	const char *device;
	const char *stat;
	uint64_t seed;
	uint32_t rate;
	bool evacuate;
	bool files;
};

static bool set(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool set(const char *name, const char *fmt, ...)
{
	char value[2 * PATH_MAX];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= sizeof(value) || setenv(name, value, 1)) {
		complain("the environment is too large");
		return false;
	}
	return true;
}

/* The library is next to this program, in the tree or where both are installed. */
static bool find_library(char *path)
{
	static const char *const places[] = {
		"../chaos/dgpu-chaos.so", "../lib/dgpu/dgpu-chaos.so",
	};
	char self[PATH_MAX], name[PATH_MAX + 64];
	const char *given = getenv("DGPU_CHAOS_LIB");
	ssize_t len;
	size_t i;

	if (given && *given) {
		if (realpath(given, path))
			return true;
		complain("%s: %s", given, strerror(errno));
		return false;
	}
	len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (len > 0) {
		self[len] = '\0';
		*strrchr(self, '/') = '\0';
		for (i = 0; i < ARRAY_SIZE(places); i++) {
			snprintf(name, sizeof(name), "%s/%s", self, places[i]);
			if (realpath(name, path))
				return true;
		}
	}
	complain("dgpu-chaos.so is not installed: neither %s nor %s", places[0], places[1]);
	return false;
}

/* Words of LD_PRELOAD end at blanks and colons. */
static bool preload(const char *library)
{
	const char *old = getenv("LD_PRELOAD");

	if (strpbrk(library, " :")) {
		complain("%s: a path with blanks or colons cannot be preloaded", library);
		return false;
	}
	if (old && *old)
		return set("LD_PRELOAD", "%s:%s", library, old);
	return set("LD_PRELOAD", "%s", library);
}

/* The file of the records has lines of equal length, and nothing else. */
static int prepare_stat(const char *name)
{
	char path[PATH_MAX];
	struct stat st;
	int fd;

	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || fstat(fd, &st) || !realpath(name, path)) {
		complain("%s: %s", name, strerror(errno));
		if (fd >= 0)
			close(fd);
		return EXIT_SYSTEM;
	}
	close(fd);
	if (!S_ISREG(st.st_mode) || st.st_size % CHAOS_RECORD) {
		complain("%s: not a file that --stat has written", name);
		return EXIT_USAGE;
	}
	return set(CHAOS_ENV_STAT, "%s", path) ? EXIT_OK : EXIT_SYSTEM;
}

/* Has the device memory, and may we use it?  Its absolute name. */
static int prepare_device(const char *name)
{
	struct session s = { .path = name };
	struct dgpu_info info;
	char path[PATH_MAX];
	int ret;

	ret = session_open(&s);
	if (ret)
		return ret;
	ret = dgpu_get_info(s.dev, &info);
	if (ret || !info.local_bytes) {
		complain("%s: %s", s.path,
			 ret ? strerror(-ret) : "the device has no memory of its own");
		return session_end(&s, EXIT_SYSTEM);
	}
	if (!realpath(s.path, path)) {
		complain("%s: %s", s.path, strerror(errno));
		return session_end(&s, EXIT_SYSTEM);
	}
	session_end(&s, EXIT_OK);
	return set(CHAOS_ENV_DEVICE, "%s", path) ? EXIT_OK : EXIT_SYSTEM;
}

/* Find a program as execvp() does. */
static bool find_program(const char *name, char *path)
{
	const char *dirs = getenv("PATH") ?: "/bin:/usr/bin", *end;

	if (strchr(name, '/'))
		return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
	for (;; dirs = end + 1) {
		end = strchrnul(dirs, ':');
		if (snprintf(path, PATH_MAX, "%.*s/%s", (int)(end - dirs), end == dirs ? "." : dirs,
			     name) < PATH_MAX && !access(path, X_OK))
			return true;
		if (!*end)
			return false;
	}
}

/* A program that was linked statically has no dynamic linker to load anything into it. */
static bool is_static(const char *name)
{
	char path[PATH_MAX];
	Elf64_Ehdr header;
	Elf64_Phdr ph;
	bool dynamic;
	unsigned int i;
	FILE *f;

	if (!find_program(name, path))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	dynamic = fread(&header, sizeof(header), 1, f) != 1 ||
		  memcmp(header.e_ident, ELFMAG, SELFMAG) ||
		  header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(ph) ||
		  fseek(f, header.e_phoff, SEEK_SET);
	for (i = 0; !dynamic && i < header.e_phnum && fread(&ph, sizeof(ph), 1, f) == 1; i++)
		dynamic = ph.p_type == PT_INTERP;
	fclose(f);
	return !dynamic;
}

static int become(char **argv)
{
	if (is_static(argv[0])) {
		complain("%s: linked statically: its memory cannot be reached", argv[0]);
		return EXIT_CANNOT_RUN;
	}
	execvp(argv[0], argv);
	complain("%s: %s", argv[0], strerror(errno));
	return errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

static int run_chaos(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed",	required_argument,	NULL, 's' },
		{ "rate",	required_argument,	NULL, 'r' },
		{ "evacuate",	no_argument,		NULL, 'E' },
		{ "files",	no_argument,		NULL, 'f' },
		{ "stat",	required_argument,	NULL, 'S' },
		{ "device",	required_argument,	NULL, 'd' },
		{ "help",	no_argument,		NULL, 'h' },
		{ }
	};
	struct chaos c = { .seed = 1 };
	char library[PATH_MAX];
	int opt, ret;

	/* "+": what follows the first word belongs to that. */
	while ((opt = getopt_long(argc, argv, "+s:r:EfS:d:h", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			if (parse_number(optarg, &c.seed))
				break;
			complain("--seed takes a number, not '%s'", optarg);
			return usage_error(&cmd_chaos);
		case 'r':
			if (parse_u32(optarg, &c.rate) && c.rate)
				break;
			complain("--rate takes a number from 1 on, not '%s'", optarg);
			return usage_error(&cmd_chaos);
		case 'E':
			c.evacuate = true;
			break;
		case 'f':
			c.files = true;
			break;
		case 'S':
			c.stat = optarg;
			break;
		case 'd':
			c.device = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return EXIT_OK;
		default:
			return usage_error(&cmd_chaos);
		}
	}
	if (optind == argc) {
		complain("chaos needs a command to run");
		return usage_error(&cmd_chaos);
	}
	ret = prepare_device(c.device);
	if (ret)
		return ret;
	if (c.stat) {
		ret = prepare_stat(c.stat);
		if (ret)
			return ret;
	} else {
		unsetenv(CHAOS_ENV_STAT);
	}
	if (!find_library(library) || !preload(library) ||
	    !set(CHAOS_ENV_SEED, "%" PRIu64, c.seed) ||
	    !set(CHAOS_ENV_RATE, "%" PRIu32, c.rate) ||
	    !set(CHAOS_ENV_EVACUATE, "%d", c.evacuate) ||
	    !set(CHAOS_ENV_FILES, "%d", c.files))
		return EXIT_SYSTEM;
	return become(argv + optind);
}

const struct command cmd_chaos = {
	.name = "chaos",
	.summary = "run any program while its memory moves to the device and back",
	.help = help,
	.wraps = true,
	.run = run_chaos,
};

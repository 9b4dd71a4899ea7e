// SPDX-License-Identifier: GPL-2.0
/* dgpu evacuate: everything leaves the device's memory. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "dgpu.h"

static const char help[] =
"usage: dgpu evacuate [-d FILE] [--json]\n"
"\n"
"Move all pages of all processes out of the device's memory, back to system memory.\n"
"Processes go on meanwhile and notice nothing.  While this is at work nothing comes in;\n"
"afterwards pages may come back, as their programs or the policies want it.\n"
"\n"
"This needs the right to administer the system (CAP_SYS_ADMIN).  Writing 1 to the file\n"
"'evacuate' of the device in sysfs does the same.\n"
"\n"
"options:\n"
"  -d, --device FILE   device file (default $DGPU_DEVICE, or /dev/dgpu0)\n"
"      --json          write a JSON object: device, before (pages in use), moved, left,\n"
"                      error (null, or the name of the errno)\n"
"  -h, --help          this text\n"
"\n"
"The exit status is 0 only if no page is left.\n";

static const char *why(int error)
{
	switch (error) {
	case EPERM:
		return "not permitted (CAP_SYS_ADMIN is needed)";
	case EOPNOTSUPP:
		return "the device has no memory of its own";
	case EBUSY:
		return "pages are in use and cannot move now";
	case EIO:
		return "copies failed";
	}
	return strerror(error);
}

static int evacuate(struct session *s)
{
	uint64_t before[HMM_RMEM_NR] = { }, after[HMM_RMEM_NR] = { }, left = 0, moved;
	int ret;

	/* A device without memory has nothing to say here: the next call tells. */
	dgpu_get_stat(s->dev, DGPU_STAT_RMEM, before, HMM_RMEM_NR);
	ret = dgpu_evacuate(s->dev, &left);
	dgpu_get_stat(s->dev, DGPU_STAT_RMEM, after, HMM_RMEM_NR);
	moved = after[HMM_RMEM_OUT_EVACUATE] - before[HMM_RMEM_OUT_EVACUATE];
	if (s->json) {
		json_begin(&s->j, stdout);
		json_object(&s->j, NULL);
		json_string(&s->j, "device", s->path);
		json_unsigned(&s->j, "before", before[HMM_RMEM_USED]);
		json_unsigned(&s->j, "moved", moved);
		json_unsigned(&s->j, "left", left);
		json_string(&s->j, "error", ret ? strerrorname_np(-ret) : NULL);
	} else if (!ret || left || moved) {
		printf("%s: %" PRIu64 " pages were there, %" PRIu64 " were moved out, %" PRIu64
		       " are left\n", s->path, before[HMM_RMEM_USED], moved, left);
	}
	if (ret) {
		complain("%s: evacuate: %s", s->path, why(-ret));
		return EXIT_SYSTEM;
	}
	return left ? EXIT_SYSTEM : EXIT_OK;
}

static int run_evacuate(int argc, char **argv)
{
	struct session s = { };
	int ret;

	ret = session_start(&s, &cmd_evacuate, argc, argv);
	if (ret)
		return ret;
	return session_end(&s, evacuate(&s));
}

const struct command cmd_evacuate = {
	.name = "evacuate",
	.summary = "move everything out of the device's memory",
	.help = help,
	.run = run_evacuate,
};

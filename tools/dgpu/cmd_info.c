// SPDX-License-Identifier: GPL-2.0
/* dgpu info: what a device is. */
#include <inttypes.h>
#include <string.h>
#include "dgpu.h"

static const char help[] =
"usage: dgpu info [-d FILE] [--json]\n"
"\n"
"Show what the device is and what it can do.\n"
"\n"
"options:\n"
"  -d, --device FILE   device file (default $DGPU_DEVICE, or /dev/dgpu0)\n"
"      --json          write a JSON object: device, name, index, abi, engines, va_bits,\n"
"                      max_threads, max_insns, fault_entries, dirty, atomics,\n"
"                      local_bytes, local_used, local_chunks_free, page_sizes\n"
"  -h, --help          this text\n";

/* Pages of the device's memory; all 0 if it has none, or does not say. */
struct local {
	uint64_t used;
	uint64_t chunks_free;
};

static void read_local(struct session *s, struct local *local)
{
	uint64_t stats[HMM_RMEM_NR] = { };

	*local = (struct local){ };
	if (dgpu_get_stat(s->dev, DGPU_STAT_RMEM, stats, HMM_RMEM_NR) <= HMM_RMEM_CHUNKS_FREE)
		return;
	local->used = stats[HMM_RMEM_USED];
	local->chunks_free = stats[HMM_RMEM_CHUNKS_FREE];
}

static void show_text(const struct session *s, const struct dgpu_info *info,
		      const struct local *local)
{
	const char *sep = "";
	unsigned int bit;

	printf("device         %s (%.*s)\n", s->path, (int)sizeof(info->name), info->name);
	printf("interface      version %u\n", info->abi_version);
	printf("engines        %u\n", info->engines);
	printf("addresses      %u bits, pages of ", info->va_bits);
	for (bit = 0; bit < 64; bit++) {
		if (!(info->page_sizes >> bit & 1))
			continue;
		if (bit < 20)
			printf("%s%llu KiB", sep, 1ull << bit >> 10);
		else
			printf("%s%llu MiB", sep, 1ull << bit >> 20);
		sep = ", ";
	}
	printf("\nlimits         %u instructions, %u threads in a job\n", info->max_insns,
	       info->max_threads);
	printf("fault buffer   %u entries\n", info->fault_entries);
	if (info->local_bytes)
		printf("own memory     %" PRIu64 " MiB; %" PRIu64 " KiB in use, %" PRIu64
		       " blocks of 2 MiB free as a whole\n", (uint64_t)info->local_bytes >> 20,
		       local->used * 4, local->chunks_free);
	else
		printf("own memory     none\n");
	printf("features       %s%s%s\n",
	       info->flags & DGPU_INFO_DIRTY ? "dirty and access bits" : "",
	       info->flags & DGPU_INFO_DIRTY && info->flags & DGPU_INFO_ATOMICS ? ", " : "",
	       info->flags & DGPU_INFO_ATOMICS ? "atomics on system memory" : "");
}

static void show_json(struct session *s, const struct dgpu_info *info,
		      const struct local *local)
{
	struct json *j = &s->j;
	char name[sizeof(info->name) + 1] = "";
	unsigned int bit;

	memcpy(name, info->name, sizeof(info->name));
	json_begin(j, stdout);
	json_object(j, NULL);
	json_string(j, "device", s->path);
	json_string(j, "name", name);
	json_unsigned(j, "index", info->index);
	json_unsigned(j, "abi", info->abi_version);
	json_unsigned(j, "engines", info->engines);
	json_unsigned(j, "va_bits", info->va_bits);
	json_unsigned(j, "max_threads", info->max_threads);
	json_unsigned(j, "max_insns", info->max_insns);
	json_unsigned(j, "fault_entries", info->fault_entries);
	json_bool(j, "dirty", info->flags & DGPU_INFO_DIRTY);
	json_bool(j, "atomics", info->flags & DGPU_INFO_ATOMICS);
	json_unsigned(j, "local_bytes", info->local_bytes);
	json_unsigned(j, "local_used", local->used * 4096);
	json_unsigned(j, "local_chunks_free", local->chunks_free);
	json_array(j, "page_sizes");
	for (bit = 0; bit < 64; bit++)
		if (info->page_sizes >> bit & 1)
			json_unsigned(j, NULL, 1ull << bit);
	json_end_array(j);
}

static int run_info(int argc, char **argv)
{
	struct session s = { };
	struct dgpu_info info;
	struct local local;
	int ret;

	ret = session_start(&s, &cmd_info, argc, argv);
	if (ret)
		return ret;
	ret = dgpu_get_info(s.dev, &info);
	if (ret) {
		complain("%s: %s", s.path, strerror(-ret));
		return session_end(&s, EXIT_SYSTEM);
	}
	read_local(&s, &local);
	if (s.json)
		show_json(&s, &info, &local);
	else
		show_text(&s, &info, &local);
	return session_end(&s, EXIT_OK);
}

const struct command cmd_info = {
	.name = "info",
	.summary = "show what a device is",
	.help = help,
	.run = run_info,
};

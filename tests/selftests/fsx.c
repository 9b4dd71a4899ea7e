// SPDX-License-Identifier: GPL-2.0
/*
 * fsx: long runs of what the selftest files_fsx does, and single runs again.
 *
 *	scripts/vm --disk 256M -- tests/selftests/fsx --seed 7 --ops 100000 --chaos all
 *
 * Options are what a failure prints; see usage().
 */
#include <getopt.h>
#include "files_run.h"

static struct files_run_config config = {
	.seed = 1, .nops = 10000, .max = 256u << 10, .verify = 100,
};
static unsigned int block = 4096, seeds = 1, policy = HMM_POLICY_TOUCH;
static const char *options = "", *on, *second;

HARNESS_VARIABLES;

TEST_TIMEOUT(fsx, 24 * 3600)
{
	struct files_fs fs = { 0 };
	struct gpu gpu = { 0 }, other = { 0 };
	bool good = true;

	gpu_setup(&gpu);
	if (second) {
		gpu_setup_path(&other, second);
		config.other = &other;
	}
	if (on)
		files_mount_on(&fs, on, block, options);
	else
		files_mount(&fs, block, options);
	for (unsigned int i = 0; i < seeds && good; i++, config.seed++) {
		dgpu_set_policy(gpu.dev, policy);
		good = files_run(&fs, &gpu, &config);
	}
	EXPECT_TRUE(good);
	if (second)
		gpu_teardown(&other);
	gpu_teardown(&gpu);
	files_end(&fs);
}

static void usage(void)
{
	fputs("usage: fsx [OPTION]...\n"
	      "Random operations on a file of a new ext4, compared with a model.\n"
	      "  --seed N, --seeds N   first seed (1), and how many of them (1)\n"
	      "  --ops N               operations with each seed (10000)\n"
	      "  --size BYTES          of the file, at most, whole pages (262144)\n"
	      "  --block BYTES         of the file system (4096)\n"
	      "  --mount OPTIONS       of mount(2)\n"
	      "  --on DEVICE           block device (the guest's disk, or a loop device)\n"
	      "  --other PATH          a second device (/dev/dgpu1), for half of the work\n"
	      "  --verify N            read all of the file every N operations (100)\n"
	      "  --pollute             write to the rest of the last page, too\n"
	      "  --chaos SET           threads that disturb: a number, or 'all' (0)\n"
	      "  --without A,B         operations not to do\n"
	      "  --policy N            HMM_POLICY_*, to begin with (1: pages move on touch)\n"
	      "  --plant KIND@N        a bug: 1 in the model, 2 a read, 3 a device write\n"
	      "  --progress S          say how far it is every S seconds\n"
	      "  --slow MS             say who waits where if an operation takes longer\n"
	      "  --profile             say how long each kind of operation took\n"
	      "  --verbose             say every operation\n", stderr);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed", 1, NULL, 's' }, { "seeds", 1, NULL, 'S' }, { "ops", 1, NULL, 'n' },
		{ "size", 1, NULL, 'l' }, { "block", 1, NULL, 'b' }, { "mount", 1, NULL, 'o' },
		{ "on", 1, NULL, 'd' }, { "other", 1, NULL, 'O' }, { "verify", 1, NULL, 'v' },
		{ "pollute", 0, NULL, 'p' }, { "chaos", 1, NULL, 'c' }, { "without", 1, NULL, 'x' },
		{ "policy", 1, NULL, 'P' }, { "plant", 1, NULL, 'B' },
		{ "progress", 1, NULL, 'i' }, { "slow", 1, NULL, 'w' },
		{ "profile", 0, NULL, 't' }, { "verbose", 0, NULL, 'V' }, { }
	};
	static char without[300];
	char *none[] = { argv[0], NULL };
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		const unsigned int number = optarg ? (unsigned int)strtoul(optarg, NULL, 0) : 0;

		switch (opt) {
		case 's': config.seed = number; break;
		case 'S': seeds = number; break;
		case 'n': config.nops = number; break;
		case 'l': config.max = number & ~(uint32_t)(PAGE_SIZE - 1); break;
		case 'b': block = number; break;
		case 'o': options = optarg; break;
		case 'd': on = optarg; break;
		case 'O': second = optarg; break;
		case 'v': config.verify = number; break;
		case 'p': config.pollute = true; break;
		case 'c': config.chaos = strcmp(optarg, "all") ? number : FILES_CHAOS_ALL; break;
		case 'x':
			snprintf(without, sizeof(without), ",%s,", optarg);
			config.without = without;
			break;
		case 'P': policy = number; break;
		case 'B':
			config.plant = number;
			config.plant_at = strchr(optarg, '@') ?
					  (uint32_t)atoi(strchr(optarg, '@') + 1) : 1;
			break;
		case 'i': config.progress = number; break;
		case 'w': config.slow_ms = number; break;
		case 't': config.profile = true; break;
		case 'V': config.verbose = true; break;
		default: usage(); return 2;
		}
	}
	if (optind < argc || config.max < 16 * PAGE_SIZE || !config.verify) {
		usage();
		return 2;
	}
	return harness_main(1, none, NULL, NULL);
}

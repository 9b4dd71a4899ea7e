// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on a file, by system calls, mappings and the device, compared with a
 * model (files_run.h): a moderate number with each kind of ext4.  For long runs there is the
 * program fsx.
 */
#include "files_run.h"

#define SIZE	(256u << 10)

FIXTURE(fsx) {
	struct gpu gpu;
	struct files_fs fs;
};

/**
 * struct fsx - one kind of file system
 * @block: size of its blocks
 * @options: of mount(2)
 * @pollute: write to the rest of the last page, too
 */
FIXTURE_VARIANT(fsx) {
	unsigned int block;
	const char *options;
	bool pollute;
};

FIXTURE_VARIANT_ADD(fsx, delalloc_4k) { .block = 4096, .options = "delalloc" };
FIXTURE_VARIANT_ADD(fsx, nodelalloc_4k) {
	.block = 4096, .options = "nodelalloc,data_err=abort"
};
FIXTURE_VARIANT_ADD(fsx, dioread_lock_4k) { .block = 4096, .options = "dioread_lock" };
FIXTURE_VARIANT_ADD(fsx, pollute_4k) { .block = 4096, .options = "delalloc", .pollute = true };
FIXTURE_VARIANT_ADD(fsx, delalloc_1k) { .block = 1024, .options = "delalloc" };
FIXTURE_VARIANT_ADD(fsx, nodelalloc_1k) {
	.block = 1024, .options = "nodelalloc,data_err=abort"
};
FIXTURE_VARIANT_ADD(fsx, dioread_nolock_1k) { .block = 1024, .options = "dioread_nolock" };

FIXTURE_SETUP(fsx)
{
	gpu_setup(&self->gpu);
	files_mount(&self->fs, variant->block, variant->options);
	dgpu_set_policy(self->gpu.dev, HMM_POLICY_TOUCH);
}

FIXTURE_TEARDOWN(fsx)
{
	gpu_teardown(&self->gpu);
	files_end(&self->fs);
}

static void run_seeds(struct harness_data_fsx *self, const struct harness_variant_fsx *variant,
		      uint32_t first, uint32_t n, unsigned long nops, unsigned int chaos)
{
	const uint64_t owned = gpu_rmem(&self->gpu, HMM_RMEM_FILE_OWNED);
	const uint64_t back = gpu_rmem(&self->gpu, HMM_RMEM_FILE_BACK);
	uint64_t owned_now, back_now;

	for (uint32_t seed = first; seed < first + n; seed++) {
		const struct files_run_config config = {
			.seed = seed, .nops = (uint32_t)sys_scale(nops), .max = SIZE,
			.verify = 100, .pollute = variant->pollute, .chaos = chaos,
		};

		if (!EXPECT_TRUE(files_run(&self->fs, &self->gpu, &config)))
			return;
	}
	if (!self->fs.taught)
		return;
	/* Those of the file: what the program itself has in memory moves, too. */
	owned_now = gpu_rmem(&self->gpu, HMM_RMEM_FILE_OWNED);
	back_now = gpu_rmem(&self->gpu, HMM_RMEM_FILE_BACK);
	test_log("the device owned %ju pages of the file, and %ju were fetched from it",
		 (uintmax_t)(owned_now - owned), (uintmax_t)(back_now - back));
	/* The few that there are on a slow kernel may all be others. */
	if (n * sys_scale(nops) < 50)
		return;
	EXPECT_GT(owned_now, owned);
	EXPECT_GT(back_now, back);
}

TEST_F_TIMEOUT(fsx, alone, 300)
{
	run_seeds(self, variant, 1, 1 + (uint32_t)sys_scale(2), 300, 0);
}

TEST_F_TIMEOUT(fsx, disturbed, 300)
{
	run_seeds(self, variant, 11, (uint32_t)sys_scale(2), 60, FILES_CHAOS_ALL);
}

/* ---- can it fail at all? ---- */

FIXTURE(planted) {
	struct gpu gpu;
	struct files_fs fs;
};

FIXTURE_VARIANT(planted) { enum files_plant plant; };
FIXTURE_VARIANT_ADD(planted, model) { FILES_PLANT_MODEL };
FIXTURE_VARIANT_ADD(planted, read) { FILES_PLANT_READ };
FIXTURE_VARIANT_ADD(planted, device) { FILES_PLANT_DEVICE };

FIXTURE_SETUP(planted)
{
	gpu_setup(&self->gpu);
	files_mount(&self->fs, 4096, "");
}

FIXTURE_TEARDOWN(planted)
{
	gpu_teardown(&self->gpu);
	files_end(&self->fs);
}

/* Looked for after each operation: the next but one may undo it. */
TEST_F(planted, is_found)
{
	const struct files_run_config config = {
		.seed = 5, .nops = 300, .max = SIZE, .verify = 1,
		.plant = variant->plant, .plant_at = 50,
	};

	test_log("a difference is planted, and has to be reported:");
	EXPECT_FALSE(files_run(&self->fs, &self->gpu, &config));
}

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

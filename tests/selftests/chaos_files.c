// SPDX-License-Identifier: GPL-2.0
/*
 * Real programs, unmodified, on a file system whose pages move to the device and back all
 * the time, with their own memory: what they write and how they end is what it is without
 * that, and so is what is on the disk afterwards.
 *
 * Each case is a program of programs/ that has two parts.  "run" works in an empty directory
 * of a fresh file system, once as it is and once under dgpu chaos --files.  "verify" looks
 * at what has come of it with the programs' own means (integrity checks, fsck, sums of all
 * contents): from the page cache, and again when the file system has been unmounted and
 * mounted.  All that both print must be the same with chaos and without, byte for byte, and
 * they fail by themselves if something is wrong with their data.  e2fsck finds nothing.
 *
 * That pages of files have moved, and that some were the device's own, does not depend on
 * luck: each case has a process that ends with a shared mapping, of which dgpu chaos moves
 * pages then and writes to some.  Where the device is evacuated as well that may come to
 * nothing at the end, but these programs run for long enough.
 */
#include <glob.h>
#include <sys/stat.h>
#include "chaos_run.h"
#include "files.h"
#include "sys.h"

/**
 * struct program - a case
 * @need: files that must be there
 * @program: in programs/
 * @work: amount of work, less on slow kernels
 * @source: needs the source of a kernel
 * @block: of the file system, bytes
 * @options: of the file system
 * @inodes: of the file system, if it has many
 * @evacuate: the whole device is evacuated now and then; not so many operations otherwise,
 *	as these programs have many processes
 * @sync: what the device owns in the end is written back before anybody reads it
 * @everywhere: on kernels with checkers, too; the others take ten minutes there
 */
FIXTURE_VARIANT(program) {
	const char *need[4];
	const char *program;
	unsigned int work;
	bool source;
	unsigned int block;
	const char *options;
	unsigned int inodes;
	bool evacuate;
	bool sync;
	bool everywhere;
};

FIXTURE(program) {
	struct gpu gpu;
	struct files_fs fs;
	char dir[64];		/* for what is printed */
	char top[512];		/* of the project */
	char work[16];
	char source[512];	/* SOURCE=... of a kernel */
};

/* A kernel's source that is at hand: the one that the guests' kernels are built from. */
static bool find_source(char *env, size_t size)
{
	const char *cache = getenv("HMM_CACHE"), *home = getenv("HOME");
	char pattern[3][300];
	bool found = false;
	glob_t names;

	snprintf(pattern[0], sizeof(pattern[0]), "%s/sources/*/mm/memory.c", cache ?: "");
	snprintf(pattern[1], sizeof(pattern[1]), "%s/.cache/hmm-mirror/sources/*/mm/memory.c",
		 home ?: "");
	snprintf(pattern[2], sizeof(pattern[2]), "/usr/src/*/mm/memory.c");
	for (size_t i = 0; i < 3 && !found; i++) {
		if (glob(pattern[i], 0, NULL, &names))
			continue;
		found = (size_t)snprintf(env, size, "SOURCE=%s", names.gl_pathv[0]) < size;
		if (found)
			*strstr(env, "/mm/memory.c") = '\0';
		globfree(&names);
	}
	return found;
}

FIXTURE_SETUP(program)
{
	for (size_t i = 0; i < 4 && variant->need[i]; i++)
		if (access(variant->need[i], R_OK))
			SKIP("%s is not installed (scripts/setup)", variant->need[i]);
	if (!variant->everywhere && harness_slow_kernel() && !getenv("HMM_TEST_SCALE"))
		SKIP("takes long on a kernel with checkers, but with HMM_TEST_SCALE=");
	if (variant->source && !find_source(self->source, sizeof(self->source)))
		SKIP("no source of a kernel, neither in the cache nor in /usr/src");
	gpu_setup(&self->gpu);
	chaos_top(self->top, sizeof(self->top));
	snprintf(self->dir, sizeof(self->dir), "/tmp/hmm-chaos-%d", getpid());
	ASSERT_SYS(mkdir(self->dir, 0700));
	snprintf(self->work, sizeof(self->work), "%lu", sys_scale(variant->work));
}

FIXTURE_TEARDOWN(program)
{
	gpu_teardown(&self->gpu);
	files_end(&self->fs);
	if (*self->dir)
		EXPECT_EQ(0, sys_run("rm -rf %s", self->dir));
}

/* One part of the program; the rest of its words are what it prints. */
static void one_part(struct chaos_run *run, const char *program, const char *part)
{
	const uint64_t began = sys_now_ms();
	char script[100];

	snprintf(script, sizeof(script), "exec $TOP/tests/selftests/programs/%s %s", program,
		 part);
	if (!EXPECT_EQ(0, chaos_run(run, script)))
		sys_run("tail -n 20 %s | cut -c -300", run->output);
	test_log("%s%s: %.1f s", run->stat ? "chaos, " : "", part,
		 (double)(sys_now_ms() - began) / 1e3);
}

/* All of it, on a file system of its own. */
static void one_run(struct harness_data_program *self,
		    const struct harness_variant_program *variant, bool chaos)
{
	const int failures = harness_report->failures;
	char dir[100], output[100], stat[100];
	struct chaos_run run = {
		.top = self->top, .work = self->work, .dir = dir, .output = output,
		.options = { "--files", "--seed=1", variant->evacuate ? "--evacuate" : NULL,
			     "--rate=150" },
		.env = *self->source ? self->source : NULL,
	};

	self->fs.inodes = variant->inodes;
	files_mount(&self->fs, variant->block, variant->options);
	files_need_taught(&self->fs, &self->gpu);
	snprintf(dir, sizeof(dir), "%s/work", self->fs.dir);
	snprintf(output, sizeof(output), "%s/%s", self->dir, chaos ? "chaos" : "plain");
	snprintf(stat, sizeof(stat), "%s/stat", self->dir);
	run.stat = chaos ? stat : NULL;
	one_part(&run, variant->program, "run");
	run.stat = NULL;
	if (variant->sync)
		sync();
	one_part(&run, variant->program, "verify");
	files_remount(&self->fs);
	one_part(&run, variant->program, "verify");
	files_end(&self->fs);
	if (harness_report->failures != failures) {
		test_log("that was %s chaos", chaos ? "with" : "without");
		harness_end();
	}
}

TEST_F_TIMEOUT(program, does_not_notice, 1200)
{
	const uint64_t owned = gpu_rmem(&self->gpu, HMM_RMEM_FILE_OWNED);
	const uint64_t back = gpu_rmem(&self->gpu, HMM_RMEM_FILE_BACK);
	const uint64_t lost = gpu_rmem(&self->gpu, HMM_RMEM_LOST);
	static const char *const names[4];
	char path[100], *stat;

	one_run(self, variant, false);
	EXPECT_EQ(owned, gpu_rmem(&self->gpu, HMM_RMEM_FILE_OWNED));
	one_run(self, variant, true);
	EXPECT_EQ(0, sys_run("diff %s/plain %s/chaos | cut -c -300 | head -n 40 >%s/diff; cat %s/diff; test ! -s %s/diff",
			     self->dir, self->dir, self->dir, self->dir, self->dir));
	snprintf(path, sizeof(path), "%s/stat", self->dir);
	stat = sys_text(path);
	ASSERT_NE(stat, NULL);
	chaos_check_records(stat, names, 0);
	EXPECT_GT(chaos_counted(stat, NULL, "files"), 0);
	EXPECT_GT(chaos_counted(stat, NULL, "jobs"), 0);
	EXPECT_GT(gpu_rmem(&self->gpu, HMM_RMEM_FILE_OWNED), owned);
	EXPECT_EQ(lost, gpu_rmem(&self->gpu, HMM_RMEM_LOST));
	test_log("files: %llu pages there, %llu jobs, %llu owned, %llu of these copied back",
		 chaos_counted(stat, NULL, "files"), chaos_counted(stat, NULL, "jobs"),
		 (unsigned long long)(gpu_rmem(&self->gpu, HMM_RMEM_FILE_OWNED) - owned),
		 (unsigned long long)(gpu_rmem(&self->gpu, HMM_RMEM_FILE_BACK) - back));
	free(stat);
}

/* Several processes write at once, and read through mappings; they share an index, mapped. */
FIXTURE_VARIANT_ADD(program, sqlite) {
	.need = { "/usr/bin/sqlite3", "/usr/bin/python3" },
	.program = "sqlite",
	.work = 16,
	.block = 4096,
};

/* Its blocks are smaller than pages. */
FIXTURE_VARIANT_ADD(program, sqlite_1k) {
	.need = { "/usr/bin/sqlite3", "/usr/bin/python3" },
	.program = "sqlite",
	.work = 8,
	.block = 1024,
	.options = "nodelalloc",
	.sync = true,
	.everywhere = true,
};

/* All that it writes goes through one shared mapping, and its locks are in another. */
FIXTURE_VARIANT_ADD(program, lmdb) {
	.need = { "/usr/bin/mdb_stat", "/usr/lib/python3/dist-packages/lmdb/__init__.py" },
	.program = "lmdb",
	.work = 20,
	.block = 4096,
	.sync = true,
	.everywhere = true,
};

/* Packs are mapped, privately by git and shared by somebody who looks at them. */
FIXTURE_VARIANT_ADD(program, git) {
	.need = { "/usr/bin/git", "/usr/bin/python3" },
	.program = "git",
	.work = 1,
	.block = 4096,
	.evacuate = true,
};

/* Thousands of files that are written through mappings and read in all other ways. */
FIXTURE_VARIANT_ADD(program, kernel) {
	.need = { "/usr/bin/python3" },
	.program = "kernel",
	.work = 5,
	.source = true,
	.block = 4096,
	.inodes = 16384,
	.evacuate = true,
	.sync = true,
};

TEST(pool_is_empty)
{
	gpu_expect_pool_empty();
}

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Who pays for what a device writes: it is written to disk on the account of the cgroup that
 * had it do so, whoever syncs it.
 *
 * Bytes are counted by io.stat of the cgroups.  The kernel itself decides for an inode who
 * pays, by who wrote to it first, and changes its mind after a while if others do.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "files_case.h"
#include "sys.h"

#define N		FILES_PAGES

#define WRITTEN		((long long)FILES_LENGTH)	/* by a round */
#define SLACK		(WRITTEN / 2)

FIXTURE(payer) {
	struct files_case c;
	struct sys_memcg a, b;
	char root[128];
	bool io;		/* it is we who have enabled the controller */
};

static int payer_controller(const struct harness_data_payer *self, const char *what)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", self->root);
	return sys_try_write(path, what);
}

/* Bytes written to the disk on account of a cgroup. */
static long long payer_wbytes(const struct harness_data_payer *self, const char *cgroup)
{
	char path[160], disk[32], *text, *line, *rest;
	long long bytes = 0;
	struct stat st;

	ASSERT_SYS(stat(self->c.fs.device, &st));
	snprintf(disk, sizeof(disk), "%u:%u ", major(st.st_rdev), minor(st.st_rdev));
	snprintf(path, sizeof(path), "%s/io.stat", cgroup);
	text = sys_text(path);
	if (!text)
		SKIP("cgroups have no io.stat");
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *at = strstr(line, "wbytes=");

		if (!strncmp(line, disk, strlen(disk)) && at)
			bytes = atoll(at + 7);
	}
	free(text);
	return bytes;
}

struct payer_account {
	long long a, b, all;
};

static struct payer_account payer_account(const struct harness_data_payer *self)
{
	return (struct payer_account) {
		.a = payer_wbytes(self, self->a.path),
		.b = payer_wbytes(self, self->b.path),
		.all = payer_wbytes(self, self->root),	/* the root's are those of the disk */
	};
}

/* What has been written since. */
static struct payer_account payer_since(const struct harness_data_payer *self,
					const struct payer_account *before)
{
	struct payer_account now = payer_account(self);

	now.a -= before->a;
	now.b -= before->b;
	now.all -= before->all;
	return now;
}

static void payer_log(const char *what, const struct payer_account *account)
{
	test_log("%s: %lld KiB by A, %lld by B, %lld in all", what, account->a >> 10,
		 account->b >> 10, account->all >> 10);
}

/* Begin anew as a process of a cgroup, with a device and files of its own. */
static void payer_enter(struct files_case *c, const struct sys_memcg *cg, const char *name)
{
	sys_memcg_enter(cg);
	/* The parent's are none of ours. */
	memset(&c->gpu, 0, sizeof(c->gpu));
	gpu_setup(&c->gpu);
	ASSERT_EQ(0, dgpu_set_policy(c->gpu.dev, HMM_POLICY_TOUCH));
	c->around = NULL;
	c->fd = c->direct = -1;
	files_case_open_other(c, name);
}

/* Run a program in a child, and wait. */
#define PAYER_CHILD(program) do { \
	const pid_t payer_pid = ASSERT_SYS(fork()); \
	int payer_status; \
	if (!payer_pid) { \
		program; \
		_exit(0); \
	} \
	ASSERT_EQ(payer_pid, waitpid(payer_pid, &payer_status, 0)); \
	EXPECT_EQ(0, payer_status); \
} while (0)

/* A CPU writes: nothing can be told where that is not on account of its cgroup. */
static void payer_control(struct harness_data_payer *self)
{
	struct files_case c = self->c;
	struct payer_account before, paid;

	payer_enter(&c, &self->a, "control");
	before = payer_account(self);
	files_fill(&c, 0x1000);
	ASSERT_SYS(fsync(c.fd));
	paid = payer_since(self, &before);
	payer_log("a CPU", &paid);
	if (paid.a < WRITTEN)
		SKIP("what is written back is on nobody's account (no CGROUP_WRITEBACK)");
}

FIXTURE_SETUP(payer)
{
	char path[160], *text;
	int ret;

	files_case_begin(&self->c, 4096, "delalloc,commit=600");
	files_case_hold(&self->c);
	sys_memcg_create(&self->a, "payer");
	sys_memcg_create(&self->b, "sibling");
	snprintf(self->root, sizeof(self->root), "%.*s",
		 (int)(strrchr(self->a.path, '/') - self->a.path), self->a.path);
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", self->root);
	text = sys_text(path);
	self->io = !text || !strstr(text, "io");
	free(text);
	ret = payer_controller(self, "+io");
	if (ret)
		self->io = false;
	if (ret)
		SKIP("no io controller: %s", strerror(-ret));
	PAYER_CHILD(payer_control(self));
	if (harness_report->skipped)
		harness_end();
}

FIXTURE_TEARDOWN(payer)
{
	files_case_end(&self->c);
	sys_memcg_destroy(&self->a);
	sys_memcg_destroy(&self->b);
	if (self->io)
		EXPECT_EQ(0, payer_controller(self, "-io"));
}

static void payer_sync(const struct sys_memcg *cg, int fd)
{
	sys_memcg_enter(cg);
	EXPECT_SYS(syncfs(fd));
}

/* Whoever syncs it: it is on account of who had it written. */
static void payer_writes(struct harness_data_payer *self)
{
	const unsigned long rounds = sys_scale(6);
	struct files_case c = self->c;
	struct payer_account before, paid;

	payer_enter(&c, &self->a, "mine");
	files_fill(&c, 0x1000);
	ASSERT_SYS(fsync(c.fd));
	before = payer_account(self);
	for (uint64_t round = 2; round < rounds + 2; round++) {
		files_own(&c, 0, N, round << 12);
		if (round % 2)
			ASSERT_SYS(fsync(c.fd));
		else
			PAYER_CHILD(payer_sync(&self->b, c.fd));
	}
	paid = payer_since(self, &before);
	payer_log("the device", &paid);
	EXPECT_GE(paid.a, (long long)rounds * WRITTEN);
	EXPECT_LE(paid.a, (long long)rounds * WRITTEN + SLACK);
	EXPECT_LE(paid.b, SLACK);
	/* The journal is the root's. */
	EXPECT_LE(paid.all - paid.a, (long long)rounds * SLACK);
	EXPECT_FILE(&c, READ, 0, N, (rounds + 1) << 12);
}

TEST_F(payer, pays_for_what_its_device_writes)
{
	PAYER_CHILD(payer_writes(self));
}

/* Blocks that are new, and pages that nobody had: the device's thread brings them in. */
static void payer_holes(struct harness_data_payer *self)
{
	struct files_case c = self->c;
	struct payer_account before, paid;

	payer_enter(&c, &self->a, "holes");
	ASSERT_SYS(ftruncate(c.fd, (off_t)FILES_LENGTH));
	before = payer_account(self);
	files_own(&c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c.fd));
	paid = payer_since(self, &before);
	payer_log("holes", &paid);
	EXPECT_GE(paid.a, WRITTEN);
	EXPECT_LE(paid.a, WRITTEN + SLACK);
	EXPECT_LE(paid.b, SLACK);
}

TEST_F(payer, pays_for_holes)
{
	PAYER_CHILD(payer_holes(self));
}

/* One is the first to write to a file since its inode was read from the disk. */
static void payer_cold(struct harness_data_payer *self, const char *name, bool device)
{
	struct files_case c = self->c;
	struct payer_account before, paid;

	payer_enter(&c, &self->a, name);
	before = payer_account(self);
	if (device)
		ASSERT_EQ(0, gpu_fill(&c.gpu, c.mem, N, 0x1000));
	else
		cpu_fill(c.mem, N, 0x1000);
	ASSERT_SYS(fsync(c.fd));
	paid = payer_since(self, &before);
	payer_log(device ? "the device first" : "a CPU first", &paid);
	EXPECT_GE(paid.a, WRITTEN);
	EXPECT_LE(paid.a, WRITTEN + SLACK);
	EXPECT_LE(paid.b, SLACK);
}

TEST_F(payer, pays_for_a_file_that_nobody_else_wrote)
{
	files_case_close(&self->c);
	files_remount(&self->c.fs);
	PAYER_CHILD(payer_cold(self, "control", false));
	PAYER_CHILD(payer_cold(self, "file", true));
}

static void payer_first(struct harness_data_payer *self)
{
	struct files_case c = self->c;

	payer_enter(&c, &self->a, "shared");
	files_fill(&c, 0x1000);
	files_own(&c, 0, N, 0x1000);
	ASSERT_SYS(fsync(c.fd));
}

/*
 * Another one writes to it, again and again: after a while the inode is his.  Pages are charged
 * to who brought them in, so they have to go first.
 */
static void payer_second(struct harness_data_payer *self)
{
	struct files_case c = self->c;
	struct payer_account before, paid;
	unsigned int round, his = 0;

	payer_enter(&c, &self->b, "shared");
	ASSERT_EQ(0, posix_fadvise(c.fd, 0, 0, POSIX_FADV_DONTNEED));
	for (round = 0; round < 60 && his < 3; round++) {
		before = payer_account(self);
		files_own(&c, 0, N, (round + 2) << 12);
		ASSERT_SYS(fsync(c.fd));
		paid = payer_since(self, &before);
		/* One of them pays, and not twice. */
		EXPECT_GE(paid.a + paid.b, WRITTEN);
		EXPECT_LE(paid.a + paid.b, WRITTEN + SLACK);
		if (paid.b >= WRITTEN)
			his++;
		else
			EXPECT_EQ(0, his);
		/* It is switched by a work, a grace period later. */
		sys_sleep_ms(100);
	}
	test_log("B pays after %u rounds", round - his);
	payer_log("the last round", &paid);
	EXPECT_EQ(3, his);
	EXPECT_LE(paid.a, SLACK);
	EXPECT_FILE(&c, READ, 0, N, (round + 1) << 12);
}

TEST_F(payer, changes_to_who_writes_most)
{
	PAYER_CHILD(payer_first(self));
	PAYER_CHILD(payer_second(self));
	files_case_open_other(&self->c, "shared");
	EXPECT_TRUE(EXPECT_FILE(&self->c, READ, 0, 1, *word(self->c.mem, 0)));
}

static void payer_leaves(struct harness_data_payer *self)
{
	struct files_case c = self->c;

	payer_enter(&c, &self->a, "left");
	files_fill(&c, 0x1000);
	ASSERT_SYS(fsync(c.fd));
	files_own(&c, 0, N, 0x2000);
}

/* The cgroup goes before what its device wrote is on the disk: no other one has to pay. */
TEST_F(payer, is_gone)
{
	struct files_case *c = &self->c;
	struct payer_account before = { 0 };

	PAYER_CHILD(payer_leaves(self));
	sys_memcg_destroy(&self->a);
	before.b = payer_wbytes(self, self->b.path);
	PAYER_CHILD(payer_sync(&self->b, self->c.fd));
	EXPECT_LE(payer_wbytes(self, self->b.path) - before.b, SLACK);
	files_case_open_other(c, "left");
	files_case_crash(c);
	EXPECT_FILE(c, READ, 0, N, 0x2000);
	files_own(c, 0, N, 0x3000);
	EXPECT_FILE(c, READ, 0, N, 0x3000);
}

GPU_POOL_TEST

HARNESS_MAIN_AROUND(files_program_begin, files_program_end)

// SPDX-License-Identifier: GPL-2.0
/*
 * Real programs, unmodified, whose memory moves to the device and back all the time: what
 * they write and how they end is what it is without that.
 *
 * Each case is a script of the shell that runs twice in an empty directory of its own,
 * once as it is and once under dgpu chaos.  Everything that it leaves there, with its
 * standard output and standard error, must be the same, byte for byte, and the records
 * of dgpu chaos must show that the memory of the programs in question did move.  How much
 * moves is no matter of luck: all of a program's memory is moved before its first
 * instruction, and again when it ends.
 */
#include <sys/stat.h>
#include "chaos_run.h"
#include "gpu.h"
#include "sys.h"

/**
 * struct program - a case
 * @need: programs that must be installed, by their paths
 * @script: for the shell; $N is the amount of work, $TOP the project
 * @work: amount of work, less on slow kernels
 * @names: programs that must have moved, as the kernel names them
 * @pages: that each of these has moved to the device, at least
 */
FIXTURE_VARIANT(program) {
	const char *need[5];
	const char *script;
	unsigned int work;
	const char *names[4];
	unsigned int pages;
};

FIXTURE(program) {
	struct gpu gpu;
	char dir[64];		/* of this case */
	char top[512];		/* of the project */
	char work[16];
};

FIXTURE_SETUP(program)
{
	for (size_t i = 0; i < 5 && variant->need[i]; i++)
		if (access(variant->need[i], R_OK))
			SKIP("%s is not installed (scripts/setup)", variant->need[i]);
	gpu_setup_memory(&self->gpu);
	chaos_top(self->top, sizeof(self->top));
	snprintf(self->dir, sizeof(self->dir), "/tmp/hmm-chaos-%d", getpid());
	ASSERT_SYS(mkdir(self->dir, 0700));
	snprintf(self->work, sizeof(self->work), "%lu", sys_scale(variant->work));
}

FIXTURE_TEARDOWN(program)
{
	if (*self->dir)
		EXPECT_EQ(0, sys_run("rm -rf %s", self->dir));
	gpu_teardown(&self->gpu);
}

/* What is different is shown, and kept short. */
static void check_same(const char *dir)
{
	EXPECT_EQ(0, sys_run("cd %s && { diff -r plain chaos; diff output.plain output.chaos; } | cut -c -300 | head -n 40 >diff; cat diff; test ! -s diff",
			     dir));
}

static struct chaos_run one_run(const char *top, const char *work, bool chaos,
				const char *options)
{
	/* The output is among what is compared. */
	return (struct chaos_run) {
		.top = top, .work = work, .dir = chaos ? "chaos" : "plain",
		.output = chaos ? "output.chaos" : "output.plain",
		.stat = chaos ? "../stat" : NULL, .options = { options },
	};
}

static int run_one(const char *top, const char *work, const char *script, bool chaos,
		   const char *options)
{
	const struct chaos_run run = one_run(top, work, chaos, options);
	const uint64_t began = sys_now_ms();
	const int status = chaos_run(&run, script);

	test_log("%s: %.1f s", run.dir, (double)(sys_now_ms() - began) / 1e3);
	return status;
}

/* ---- the programs ---- */

FIXTURE_VARIANT_ADD(program, gcc) {
	.need = { "/usr/bin/gcc" },
	.script = "gcc -O2 -Wall -fno-ident -I$TOP/lib -I$TOP/include/uapi "
		  "-c -o out.o $TOP/lib/prog.c; echo $?",
	.names = { "gcc", "cc1", "as" },
	.pages = 100,
};

/* The programs' own tests say how they went; how long they took is cut out. */
FIXTURE_VARIANT_ADD(program, python) {
	.need = { "/usr/bin/python3", "/usr/lib/python3.11/test/test_dict.py",
		  "/usr/lib/python3.11/test/test_list.py" },
	.script = "set -- list.ListTest dict.GeneralMappingTests bytes.BytesTest string "
		  "re.ImplementationTest json.test_decode array.IntTest; t=; "
		  "while [ $N -ge 0 ] && [ $# -gt 0 ]; do "
		  "t=\"$t test.test_$1\"; shift; N=$((N - 5)); done; "
		  "python3 -m unittest -v $t >log 2>&1; echo $?; "
		  "sed 's/ in [0-9.]*s$//' log; rm log",
	.work = 28,
	.names = { "python3" },
	.pages = 1000,
};

FIXTURE_VARIANT_ADD(program, sqlite) {
	.need = { "/usr/bin/sqlite3" },
	.script = "sqlite3 db \""
		  "pragma cache_size = -1000;"
		  "create table t(id integer primary key, k int, v text);"
		  "with recursive c(x) as (select 1 union all select x + 1 from c where x < $N) "
		  "insert into t select x, x * 7919 % 10007, printf('%064d', x * x) from c;"
		  "create index i on t(k, v);"
		  "update t set v = v || k where id % 3 = 0;"
		  "delete from t where k % 5 = 1;"
		  "create table u as select a.k, count(*) n from t a join t b on a.k = b.k group by a.k;"
		  "vacuum; pragma integrity_check;"
		  "select count(*), sum(k), sum(length(v)) from t; select count(*), sum(n) from u;"
		  "\"; echo $?; sqlite3 db 'pragma integrity_check; select * from t order by v' | md5sum",
	.work = 4000,
	.names = { "sqlite3" },
	.pages = 100,
};

FIXTURE_VARIANT_ADD(program, xz) {
	.need = { "/usr/bin/xz" },
	.script = "head -c ${N}k /usr/bin/python3 >in; xz -k -3 in; echo $?; xz -t in.xz; echo $?; "
		  "xz -dc in.xz | cmp - in; echo $?",
	.work = 512,
	.names = { "xz" },
	.pages = 100,
};

/* A server with threads of its own that saves by fork(), with others at it meanwhile. */
FIXTURE_VARIANT_ADD(program, redis) {
	.need = { "/usr/bin/redis-check-rdb", "/usr/bin/redis-benchmark", "/usr/bin/redis-cli" },
	.script = "exec 2>/dev/null; cli='redis-cli -s ./sock'; "
		  "ln -s /usr/bin/redis-check-rdb redis-server; "
		  "./redis-server --port 0 --unixsocket ./sock --save '' --logfile /dev/null & "
		  "until [ \"$($cli ping)\" = PONG ]; do sleep 0.5; done; "
		  "awk \"BEGIN { for (; i < $N; i++) print \\\"SET key\\\" i, i * i; "
		  "print \\\"BGSAVE\\\" }\" | $cli >set; "
		  "redis-benchmark -s ./sock -n $N -c 8 -P 4 -r 1000 -d 300 "
		  "-t set,get,lpush,lrange_100 >/dev/null; echo benchmark $?; "
		  "awk \"BEGIN { for (; i < $N; i++) print \\\"GET key\\\" i }\" | $cli >get; "
		  "$cli -r -1 -i 1 info persistence | grep -m 1 bgsave_in_progress:0; "
		  "$cli shutdown nosave; wait; echo $?; "
		  "redis-check-rdb dump.rdb >/dev/null; echo rdb $?; rm dump.rdb",
	.work = 120,
	.names = { "redis-server", "redis-benchmark", "redis-cli" },
	.pages = 30,
};

FIXTURE_VARIANT_ADD(program, threads) {
	.need = { "/usr/bin/zstd" },
	.script = "head -c ${N}k /usr/bin/python3 >in; zstd -q -T4 -3 -B128K in -o in.zst; echo $?; "
		  "zstd -q -T4 -d -c in.zst | cmp - in; echo $?",
	.work = 1024,
	.names = { "zstd" },
	.pages = 30,
};

FIXTURE_VARIANT_ADD(program, stress) {
	.need = { "/usr/bin/stress-ng" },
	.script = "s='stress-ng --quiet --verify --temp-path . --no-rand-seed'; "
		  "$s --vm 2 --vm-bytes 4M --vm-ops $N; echo vm $?; "
		  "$s --mremap 1 --mremap-bytes 2M --mremap-ops $N --brk 1 --brk-ops $N; echo more $?",
	.work = 20,
	.names = { "stress-ng" },
	.pages = 100,
};

TEST_F(program, does_not_notice)
{
	const uint64_t in = gpu_rmem(&self->gpu, HMM_RMEM_IN);
	const uint64_t lost = gpu_rmem(&self->gpu, HMM_RMEM_LOST);
	char path[100], *stat;
	int plain, chaos;

	ASSERT_SYS(chdir(self->dir));
	plain = run_one(self->top, self->work, variant->script, false, NULL);
	chaos = run_one(self->top, self->work, variant->script, true, "--seed=1");
	EXPECT_EQ(0, plain);
	EXPECT_EQ(plain, chaos);
	check_same(self->dir);
	snprintf(path, sizeof(path), "%s/stat", self->dir);
	stat = sys_text(path);
	ASSERT_NE(stat, NULL);
	chaos_check_records(stat, variant->names, variant->pages);
	/* The device says so, too. */
	EXPECT_GE(gpu_rmem(&self->gpu, HMM_RMEM_IN) - in, chaos_counted(stat, NULL, "there"));
	EXPECT_EQ(lost, gpu_rmem(&self->gpu, HMM_RMEM_LOST));
	free(stat);
	ASSERT_SYS(chdir("/"));
}

/* ---- the same without memory to spare ---- */

FIXTURE(pressure) {
	struct gpu gpu;
	struct sys_swap swap;
	struct sys_memcg cg;
	char dir[64];
	char top[512];
};

FIXTURE_SETUP(pressure)
{
	gpu_setup_memory(&self->gpu);
	sys_swap_on(&self->swap);
	sys_memcg_create(&self->cg, "chaos");
	chaos_top(self->top, sizeof(self->top));
	snprintf(self->dir, sizeof(self->dir), "/tmp/hmm-chaos-%d", getpid());
	ASSERT_SYS(mkdir(self->dir, 0700));
}

FIXTURE_TEARDOWN(pressure)
{
	if (*self->dir)
		EXPECT_EQ(0, sys_run("rm -rf %s", self->dir));
	if (*self->cg.path)
		sys_memcg_destroy(&self->cg);
	sys_swap_off(&self->swap);
	gpu_teardown(&self->gpu);
}

/*
 * Reclaim from the group for as long as the program runs: its memory is swapped out and
 * in, and moves to the device from swap and back.  A limit would not do: pages on the
 * device count against it, and cannot be swapped out, so that the group would be out of
 * memory when too many of them are there.
 */
static void reclaim(const struct sys_memcg *cg, pid_t pid)
{
	siginfo_t ended = { .si_pid = 0 };
	uint64_t began;
	char path[200];

	snprintf(path, sizeof(path), "%s/memory.reclaim", cg->path);
	for (;;) {
		ASSERT_SYS(waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT));
		if (ended.si_pid == pid)
			break;
		began = sys_now_ms();
		/* Not its files, which would come first; old kernels do not know that. */
		if (sys_try_write(path, "4M swappiness=200") == -EINVAL)
			sys_try_write(path, "4M");
		/* It has to get on, too. */
		sys_sleep_ms(20 + 4 * (unsigned int)(sys_now_ms() - began));
	}
}

TEST_F(pressure, sort_while_swapping)
{
	static const char script[] =
		"seq $N | awk '{ printf \"%d %040d\\n\", $1 * 7919 % 1000003, $1 }' >in; "
		"sort -n -S 64M in >sorted; echo $?; sort -c -n sorted; echo $?; "
		"md5sum <sorted; python3 -c '\n"
		"d = {}\n"
		"for line in open(\"sorted\"):\n"
		"    k, v = line.split()\n"
		"    d[v] = (int(k), line)\n"
		"print(len(d), sum(k for k, l in d.values()), hash(frozenset(d)))\n"
		"'; echo $?";
	static const char * const names[4] = { "sort", "python3", "awk" };
	const long long out = sys_number_of("/proc/vmstat", "pswpout");
	const long long in = sys_number_of("/proc/vmstat", "pswpin");
	char work[16], path[200], *stat;
	struct chaos_run run;
	int status;
	pid_t pid;

	if (access("/usr/bin/python3", X_OK))
		SKIP("no python3");
	snprintf(path, sizeof(path), "%s/memory.reclaim", self->cg.path);
	if (access(path, W_OK))
		SKIP("control groups without memory.reclaim");
	snprintf(work, sizeof(work), "%lu", sys_scale(15000));
	ASSERT_SYS(chdir(self->dir));
	EXPECT_EQ(0, run_one(self->top, work, script, false, NULL));
	run = one_run(self->top, work, true, "--seed=2");
	pid = ASSERT_SYS(fork());
	if (!pid) {
		sys_memcg_enter(&self->cg);
		chaos_become(&run, script);
	}
	reclaim(&self->cg, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	check_same(self->dir);
	snprintf(path, sizeof(path), "%s/stat", self->dir);
	stat = sys_text(path);
	ASSERT_NE(stat, NULL);
	chaos_check_records(stat, names, 10);
	free(stat);
	if (out >= 0) {
		test_log("swap: %lld pages out, %lld in",
			 sys_number_of("/proc/vmstat", "pswpout") - out,
			 sys_number_of("/proc/vmstat", "pswpin") - in);
		EXPECT_GT(sys_number_of("/proc/vmstat", "pswpout") - out, 20);
	}
	ASSERT_SYS(chdir("/"));
}

GPU_POOL_TEST

HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on a file, compared with a model: the loop, and how a difference is
 * reported.  See files_run.h; the operations are in files_ops.c.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "files_run.h"

/* 64 bytes at a time: what it costs is the instructions. */
static const char program_copy[] =
	"	tid	r9\n"
	"	shli	r9, r9, 6\n"
	"	ntid	r10\n"
	"	shli	r10, r10, 6\n"
	"	andi	r11, r3, -64\n"
	"loop:	bgeu	r9, r11, tail\n"
	"	add	r12, r2, r9\n"
	"	add	r13, r1, r9\n"
	"	ld8	r16, (r12)\n"
	"	ld8	r17, 8(r12)\n"
	"	ld8	r18, 16(r12)\n"
	"	ld8	r19, 24(r12)\n"
	"	ld8	r20, 32(r12)\n"
	"	ld8	r21, 40(r12)\n"
	"	ld8	r22, 48(r12)\n"
	"	ld8	r23, 56(r12)\n"
	"	st8	r16, (r13)\n"
	"	st8	r17, 8(r13)\n"
	"	st8	r18, 16(r13)\n"
	"	st8	r19, 24(r13)\n"
	"	st8	r20, 32(r13)\n"
	"	st8	r21, 40(r13)\n"
	"	st8	r22, 48(r13)\n"
	"	st8	r23, 56(r13)\n"
	"	add	r9, r9, r10\n"
	"	jmp	loop\n"
	"tail:	tid	r14\n"
	"	bne	r14, r0, done\n"
	"	andi	r15, r3, -8\n"
	"word:	bgeu	r11, r15, byte\n"
	"	add	r12, r2, r11\n"
	"	ld8	r13, (r12)\n"
	"	add	r12, r1, r11\n"
	"	st8	r13, (r12)\n"
	"	addi	r11, r11, 8\n"
	"	jmp	word\n"
	"byte:	bgeu	r11, r3, done\n"
	"	add	r12, r2, r11\n"
	"	ld1	r13, (r12)\n"
	"	add	r12, r1, r11\n"
	"	st1	r13, (r12)\n"
	"	addi	r11, r11, 1\n"
	"	jmp	byte\n"
	"done:	halt\n";

static const char program_copy1[] =
	"	tid	r9\n"
	"	ntid	r10\n"
	"loop:	bgeu	r9, r3, done\n"
	"	add	r12, r2, r9\n"
	"	ld1	r13, (r12)\n"
	"	add	r12, r1, r9\n"
	"	st1	r13, (r12)\n"
	"	add	r9, r9, r10\n"
	"	jmp	loop\n"
	"done:	halt\n";

static const char program_add[] =
	"	aadd8	r9, r2, (r1)\n"
	"	halt\n";

/* For the handler of SIGBUS: which run it is. */
static struct files_run *files_current;

uint64_t files_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull >> 16;
}

uint32_t files_below(struct files_run *run, uint32_t below)
{
	return (uint32_t)(files_random(&run->rnd) % below);
}

bool files_one_in(struct files_run *run, uint32_t n)
{
	return !files_below(run, n);
}

/* ---- failures ---- */

static void files_say(const char *line)
{
	test_log("%s", line);
}

/* What is needed to do it again. */
static void files_say_config(const struct files_run *run)
{
	const struct files_run_config *config = &run->config;

	test_log("again: fsx --seed %u --ops %u --size %u --block %u --mount '%s' --verify %u%s%s --chaos %#x%s%s (on %s)",
		 config->seed, config->nops, config->max, run->fs->block, run->fs->options,
		 config->verify, config->pollute ? " --pollute" : "",
		 config->other ? " --other PATH" : "", config->chaos,
		 config->without ? " --without " : "", config->without ? config->without : "",
		 run->fs->type);
}

static void files_say_counters(struct files_run *run)
{
	uint64_t values[64] = { 0 };
	const int n = dgpu_get_stat(run->gpu->dev, DGPU_STAT_RMEM, values, 64);
	char line[900] = "";

	for (int i = 0; i < n && i < 64; i++)
		if (values[i] && strlen(line) < sizeof(line) - 80)
			snprintf(line + strlen(line), sizeof(line) - strlen(line), " %s %ju",
				 dgpu_stat_name(DGPU_STAT_RMEM, (uint32_t)i),
				 (uintmax_t)values[i]);
	test_log("device memory:%s", line);
}

bool files_fail(struct files_run *run, const char *fmt, ...)
{
	const struct files_model *model = &run->model;
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (run->failed)
		return false;
	run->failed = true;
	if (!model->log) {
		test_log("%s", text);
		return false;
	}
	test_log("operation %u, %s: %s", model->nops,
		 model->nops ? model->log[model->nops % FILES_MODEL_LOG].name : "start", text);
	files_model_explain(model, model->log[model->nops % FILES_MODEL_LOG].from, 0,
			    model->data, files_say);
	files_say_config(run);
	return false;
}

/* What others see of the bytes that are wrong: whose copy is it? */
static void files_other_views(struct files_run *run, uint32_t at)
{
	const uint32_t page = at & ~(uint32_t)(PAGE_SIZE - 1);
	const uint32_t length = run->model.size - page < PAGE_SIZE ? run->model.size - page :
				(uint32_t)PAGE_SIZE;
	static uint8_t direct[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
	struct dgpu_page_info info = { 0 };
	uint8_t views[3];
	uint8_t pte = 0;

	if (at >= run->model.size)
		return;
	dgpu_get_ptes(run->gpu->dev, run->mem + page, 1, &pte);
	dgpu_residency(run->gpu->dev, run->mem + page, 1, &info);
	memset(views, 0, sizeof(views));
	if (files_device_copy(run, run->got, run->mem + page, length, false))
		views[0] = run->got[at - page];
	views[1] = run->mem[at];
	if (pread(run->direct, direct, PAGE_SIZE, page) > 0)
		views[2] = direct[at - page];
	test_log("afterwards: the device reads %02x, the CPU %02x, O_DIRECT %02x; was in '%s', device's entry %#x",
		 views[0], views[1], views[2], dgpu_page_place_name(info.place), pte);
}

bool files_compare(struct files_run *run, uint32_t from, uint32_t length)
{
	uint32_t bad;
	long at;

	if (run->config.plant == FILES_PLANT_READ && !run->planted && length &&
	    run->model.nops >= run->config.plant_at) {
		run->got[length / 2] ^= 0x10;
		run->planted = true;
	}
	at = files_model_compare(&run->model, from, length, run->got, &bad);
	if (at < 0)
		return true;
	if (run->failed)
		return false;
	run->failed = true;
	test_log("what operation %u, %s, has read is wrong", run->model.nops,
		 run->model.log[run->model.nops % FILES_MODEL_LOG].name);
	files_model_explain(&run->model, (uint32_t)at, bad, run->got + (at - from), files_say);
	files_other_views(run, (uint32_t)at);
	files_say_counters(run);
	files_say_config(run);
	return false;
}

void files_wrote(struct files_run *run, const struct files_model_op *op)
{
	if (run->config.plant == FILES_PLANT_MODEL && !run->planted &&
	    op->number >= run->config.plant_at &&
	    memcmp(run->want, run->model.data + op->from, op->length)) {
		run->planted = true;
		if (op->from + op->length > run->model.size)
			files_model_truncate(&run->model, op->from + op->length);
		return;
	}
	files_model_write(&run->model, op->from, op->length, run->want);
}

static void files_sigbus(int sig, siginfo_t *info, void *context)
{
	struct files_run *run = files_current;

	(void)context;
	if (run && getpid() == harness_pid) {
		files_fail(run, "signal %d at %p, byte %#lx of the mapping", sig, info->si_addr,
			   (unsigned long)((uint8_t *)info->si_addr - run->mem));
		harness_fail();
	}
	_exit(1);
}

/* ---- the device ---- */

struct gpu *files_gpu(struct files_run *run, uint64_t *rnd)
{
	return run->config.other && files_random(rnd) & 1 ? run->config.other : run->gpu;
}

bool files_device_copy(struct files_run *run, void *to, const void *from, uint32_t length,
		       bool bytes)
{
	const struct dgpu_run job = {
		.prog = bytes ? run->copy1 : run->copy,
		.nthreads = length > 4096 ? 4 : 1 + length / 1024,
		.engine = DGPU_ENGINE_ANY,
		.timeout_ms = 300000,
		.args = { (uintptr_t)to, (uintptr_t)from, length },
	};
	struct gpu *gpu = files_gpu(run, &run->rnd);
	char text[200];
	int ret;

	ret = dgpu_run(gpu->dev, &job, &gpu->result);
	if (!ret)
		return true;
	dgpu_result_text(&gpu->result, text, sizeof(text));
	return files_fail(run, "the device: %s: %s", strerror(-ret), text);
}

/* ---- looking at all of it ---- */

bool files_verify(struct files_run *run, unsigned int how)
{
	const uint32_t size = run->model.size;
	struct stat st;
	ssize_t got;

	if (fstat(run->fd, &st))
		return files_fail(run, "fstat: %s", strerror(errno));
	if (st.st_size != size)
		return files_fail(run, "the file has %jd bytes and not %u", (intmax_t)st.st_size,
				  size);
	if (!size)
		return true;
	files_model_next(&run->model, how == 0 ? "verify-read" : how == 1 ? "verify-map" :
			 how == 2 ? "verify-device" : "verify-direct", 0, 0);
	memset(run->got, 0xcc, size);
	switch (how) {
	case 0:
	case 3:
		got = pread(how ? run->direct : run->fd, run->got,
			    how ? run->config.max : size, 0);
		if (got != (ssize_t)size)
			return files_fail(run, "read %zd of %u bytes: %s", got, size,
					  got < 0 ? strerror(errno) : "short");
		break;
	case 1:
		memcpy(run->got, run->mem, size);
		break;
	case 2:
		if (!files_device_copy(run, run->got, run->mem, size, false))
			return false;
		break;
	}
	return files_compare(run, 0, size);
}

/* ---- the run ---- */

bool files_open(struct files_run *run)
{
	run->fd = open(run->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	run->direct = open(run->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (run->fd < 0 || run->direct < 0)
		return files_fail(run, "open: %s", strerror(errno));
	run->mem = mmap(NULL, run->config.max, PROT_READ | PROT_WRITE, MAP_SHARED, run->fd, 0);
	if (run->mem == MAP_FAILED)
		return files_fail(run, "mmap: %s", strerror(errno));
	return true;
}

void files_close(struct files_run *run)
{
	if (run->mem && run->mem != MAP_FAILED)
		munmap(run->mem, run->config.max);
	if (run->fd >= 0)
		close(run->fd);
	if (run->direct >= 0)
		close(run->direct);
	run->mem = NULL;
	run->fd = run->direct = -1;
}

static void *files_buffer(struct files_run *run)
{
	void *buffer = mmap(NULL, run->config.max, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(buffer, MAP_FAILED);
	return buffer;
}

static struct dgpu_prog *files_program(const char *text)
{
	struct dgpu_prog *prog = NULL;
	char *error = NULL;

	if (dgpu_assemble(text, &prog, &error)) {
		FAIL("%s", error ? error : "a program does not assemble");
		harness_end();
	}
	return prog;
}

static void files_begin(struct files_run *run)
{
	struct sigaction bus = { .sa_sigaction = files_sigbus, .sa_flags = SA_SIGINFO };
	pthread_rwlockattr_t attr;

	run->fd = run->direct = -1;
	run->rnd = run->config.seed * 0x9e3779b97f4a7c15ull + 1;
	ASSERT_EQ(0, files_model_init(&run->model, run->config.max, run->config.seed));
	run->counts = calloc(files_nops + 1, sizeof(*run->counts));
	ASSERT_NE(run->counts, NULL);
	run->want = files_buffer(run);
	run->got = files_buffer(run);
	run->copy = files_program(program_copy);
	run->copy1 = files_program(program_copy1);
	run->add = files_program(program_add);
	snprintf(run->path, sizeof(run->path), "%s/file", run->fs->dir);
	ASSERT_SYS(pipe2(run->pipe, O_CLOEXEC));
	/* By default who only reads goes first, and there is nearly always one who does. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&run->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	if (run->config.chaos & 1u << FILES_CHAOS_RECLAIM) {
		sys_memcg_create(&run->cg, "fsx");
		sys_memcg_enter(&run->cg);
	}
	files_current = run;
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &bus, NULL);
}

static void files_finish(struct files_run *run)
{
	files_close(run);
	if (*run->cg.path) {
		sys_memcg_leave(&run->cg);
		sys_memcg_destroy(&run->cg);
	}
	files_current = NULL;
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	close(run->pipe[0]);
	close(run->pipe[1]);
	unlink(run->path);
	dgpu_prog_free(run->copy);
	dgpu_prog_free(run->copy1);
	dgpu_prog_free(run->add);
	munmap(run->want, run->config.max);
	munmap(run->got, run->config.max);
	free(run->counts);
	files_model_free(&run->model);
	pthread_rwlock_destroy(&run->lock);
}

static bool files_excluded(const struct files_run *run, const char *name)
{
	char word[32];

	snprintf(word, sizeof(word), ",%s,", name);
	return run->config.without && strstr(run->config.without, word);
}

/* Choose an operation; that depends on the size of the file, which the model knows. */
static unsigned int files_choose(struct files_run *run)
{
	unsigned int total = 0, dice, i;

	for (i = 0; i < files_nops; i++)
		total += files_ops[i].weight;
	do {
		dice = files_below(run, total);
		for (i = 0; dice >= files_ops[i].weight; i++)
			dice -= files_ops[i].weight;
	} while (run->model.size < files_ops[i].need || files_excluded(run, files_ops[i].name));
	return i;
}

/*
 * ext4 of some kernels (7.2) lets old bytes be read after FALLOC_FL_ZERO_RANGE of whole
 * blocks, if it makes the file longer and the file ended within one of them: the page cache
 * gets that block from the disk again, to clear what is behind the end, before the block is
 * marked as unwritten.  So it is without us, and does not depend on devices.  Is this one
 * of them?  A file of its own shows it, on which no other operation depends.
 */
static bool files_probe_zero(struct files_run *run)
{
	const size_t length = run->fs->block > PAGE_SIZE ? run->fs->block : PAGE_SIZE;
	char path[100];
	int fd, ret = 0;

	if (files_excluded(run, "zero"))
		return true;
	snprintf(path, sizeof(path), "%s/probe", run->fs->dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return files_fail(run, "%s: %s", path, strerror(errno));
	memset(run->want, 0xa5, 512);
	errno = 0;
	if (pwrite(fd, run->want, 512, 0) != 512 || fsync(fd) ||
	    fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, (off_t)length) ||
	    pread(fd, run->got, 512, 0) != 512)
		ret = errno ? errno : EIO;
	close(fd);
	unlink(path);
	if (ret)
		return files_fail(run, "zeroes over the end of %s: %s", path, strerror(ret));
	/* Where the kernel does it right that is for the operations to find. */
	run->zero_stale = sys_kernel_since(7, 0) && !memcmp(run->got, run->want, 512);
	if (run->zero_stale)
		test_log("zero: of whole blocks over an unaligned end with KEEP_SIZE only: without, this kernel reads old bytes");
	return true;
}

/*
 * Where blocks are smaller than pages, ext4 (6.12 and 7.2) loses what is stored to a mapping
 * after direct I/O has made the file longer:
 *
 *	store to the page with the end of the file: page_mkwrite() makes the page writable, but
 *		gets blocks only up to the end
 *	direct I/O behind that page: the end moves, and nobody calls
 *		pagecache_isize_extended(), which would make the page read-only again
 *	store behind what was the end: no fault, no block, and writeback has nowhere to write
 *
 * So it is without us; fsync() says nothing.  What is on the disk shows it.
 */
static bool files_probe_longer(struct files_run *run)
{
	const size_t page = (size_t)PAGE_SIZE;
	char path[100], *mem = MAP_FAILED;
	int fd, direct, ret = 0;

	if (run->fs->block >= page || files_excluded(run, "dwrite"))
		return true;
	snprintf(path, sizeof(path), "%s/probe", run->fs->dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd >= 0)
		mem = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(run->want, 0xa5, page);
	errno = 0;
	if (direct < 0 || mem == MAP_FAILED || pwrite(fd, run->want, 512, 0) != 512) {
		ret = errno ? errno : EIO;
	} else {
		mem[0] = 1;
		if (pwrite(direct, run->want, page, (off_t)page) != (ssize_t)page)
			ret = errno ? errno : EIO;
		mem[page - 1] = 2;
		if (!ret && (fsync(fd) || pread(direct, run->got, page, 0) != (ssize_t)page))
			ret = errno ? errno : EIO;
	}
	if (mem != MAP_FAILED)
		munmap(mem, page);
	if (direct >= 0)
		close(direct);
	if (fd >= 0)
		close(fd);
	unlink(path);
	if (ret)
		return files_fail(run, "direct write behind the end of %s: %s", path,
				  strerror(ret));
	run->longer_loses = run->got[page - 1] != 2;
	if (run->longer_loses)
		test_log("dwrite: behind the page of the end after an fsync only: without, this kernel loses later stores to that page");
	return true;
}

static bool files_verify_timed(struct files_run *run, unsigned int how)
{
	bool good;

	files_watch_begin(run, files_nops);
	good = files_verify(run, how);
	files_watch_end(run);
	run->counts[files_nops]++;
	return good;
}

static bool files_loop(struct files_run *run)
{
	for (uint32_t n = 1; n <= run->config.nops; n++) {
		const unsigned int i = files_choose(run);
		const struct files_model_op *op;
		bool good;

		files_watch_begin(run, i);
		good = files_ops[i].fn(run);
		files_watch_end(run);
		if (!good)
			return false;
		run->counts[i]++;
		op = &run->model.log[run->model.nops % FILES_MODEL_LOG];
		if (run->config.verbose)
			test_log("%u %s %#x +%#x size %#x", op->number, op->name, op->from,
				 op->length, run->model.size);
		if (n % run->config.verify == 0 &&
		    !files_verify_timed(run, files_below(run, 4)))
			return false;
	}
	for (unsigned int how = 0; how < 4; how++)
		if (!files_verify_timed(run, how))
			return false;
	return true;
}

/* What is on the disk in the end, by a fresh mount. */
static bool files_after(struct files_run *run)
{
	int ret;

	files_close(run);
	ret = files_try_umount(run->fs);
	if (ret)
		return files_fail(run, "umount: %s", strerror(-ret));
	files_fsck(run->fs);
	ret = files_mount_again(run->fs);
	if (ret)
		return files_fail(run, "mount: %s", strerror(-ret));
	return files_open(run) && files_verify(run, 0);
}

static void files_say_counts(const struct files_run *run, uint64_t ms)
{
	char line[900] = "";

	for (unsigned int i = 0; i < files_nops; i++)
		if (run->counts[i])
			snprintf(line + strlen(line), sizeof(line) - strlen(line), " %s %u",
				 files_ops[i].name, run->counts[i]);
	test_log("seed %u: %u operations in %ju ms:%s", run->config.seed, run->model.nops,
		 (uintmax_t)ms, line);
	test_log("%ju pages to the device by calls, %ju back", (uintmax_t)run->moved_in,
		 (uintmax_t)run->moved_out);
}

bool files_run(struct files_fs *fs, struct gpu *gpu, const struct files_run_config *config)
{
	static struct files_run run;
	const uint64_t began = sys_now_ms();

	memset(&run, 0, sizeof(run));
	run.config = *config;
	run.fs = fs;
	run.gpu = gpu;
	files_begin(&run);
	if (files_probe_zero(&run) && files_probe_longer(&run) && files_open(&run)) {
		files_watch_start(&run);
		files_chaos_start(&run);
		files_loop(&run);
		files_chaos_stop(&run);
		files_watch_stop(&run);
		if (!run.failed)
			files_after(&run);
	}
	files_say_counts(&run, sys_now_ms() - began);
	files_finish(&run);
	return !run.failed;
}

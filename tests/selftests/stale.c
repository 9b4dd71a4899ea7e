// SPDX-License-Identifier: GPL-2.0
/*
 * The device never reads a stale translation, and never writes through one.
 *
 * CPU threads keep replacing the page behind an address, each time writing a new
 * generation number into it; device threads read the address in a tight loop.
 *
 *	CPU thread, generation g		device thread
 *	begin = g				d = done
 *	replace the page			v = page
 *	page = g				b = begin
 *	done = g				v >= d, or (v == 0 and b > d)
 *
 * The page of generation d was complete before the device read, so it must not see
 * an older one.  Zero is what a fresh page contains, until the CPU has written: legal
 * only if a replacement was going on, which "begin" tells.  A page that was freed and
 * given to somebody else shows as a number below "done" or above "begin", as
 * generations are large and close to each other; so do poisoned pages of a debug kernel.
 *
 * The second half is about writes: device threads increment a word atomically while
 * the kernel moves, swaps, copies and re-protects its page.  An increment that goes
 * to a page that was replaced is a missing one at the end.
 *
 * The negative twin makes the hardware ignore TLB invalidations, which is what a
 * driver that forgets them has; the same test must then fail.  It proves that the
 * test can see what it looks for.
 *
 * STALE_SECONDS in the environment is the length of the main test; 120 by default.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "harness.h"
#include "sys.h"

#define WRITERS		2
#define SLOTS		8		/* pages that are being replaced, a 2 MiB block each */
#define READERS		16		/* device threads in a job */
#define LOOPS		4000		/* reads of a device thread in a job */
#define FIRST		0x5afe000000000001ull	/* generation */

/* The part of a slot that everybody sees and nobody replaces. */
struct slot_words {
	volatile uint64_t begin, done;
	volatile uint64_t bad;		/* stale reads, by the device */
	volatile uint64_t bad_value, bad_done, bad_begin;
	volatile uint64_t reads;	/* good reads, by the device */
	volatile uint64_t changes;	/* times that it saw another value than before */
	volatile uint64_t seen;		/* that value */
	uint64_t pad[7];
};

/* Ways to put another page behind an address. */
enum op {
	OP_MAP_FIXED,	/* a fresh mapping over the old one */
	OP_FILE,	/* another page of a file over the old one, filled beforehand */
	OP_MREMAP,	/* an anonymous page moved over the old one, filled beforehand */
	OP_DONTNEED,
	OP_COW,		/* fork, then write: a copy takes the place */
	OP_PAGEOUT,	/* to swap, then write */
	OP_PROTECT,	/* read-only, back, write */
	OP_COLLAPSE,	/* the huge page around is built, then broken up */
	OP_HOLE,	/* munmap, mmap: a device fault in between is an error */
	OP_MOVE,	/* to the other node, then write */
	OPS
};

static const char * const op_names[OPS] = {
	"MAP_FIXED", "file", "mremap", "DONTNEED", "COW", "PAGEOUT", "mprotect", "collapse",
	"hole", "move_pages",
};

struct slot {
	volatile uint64_t *page;
	struct slot_words *words;
	char *stage;		/* a page to fill and move from */
	uint64_t generation;
};

struct stale {
	struct gpu gpu;
	struct sys_swap swap;
	struct dgpu_prog *reader, *adder;
	struct slot slots[SLOTS];
	struct slot_words *words;
	int file;
	unsigned int ops;		/* set of 1 << enum op */
	uint64_t loops;			/* of a device thread in a job */
	volatile bool stop;
	volatile uint64_t count[OPS];
	bool has_nodes;
	bool keep;			/* bus errors are not what is looked for */
};

/*
 * r1: words of the slots, r2: bytes of such, r3: addresses of the pages (u64 each),
 * r4: slots, r5: loops.  Thread t reads slot t modulo r4.
 */
static const char reader_text[] =
	"	tid	r9\n"
	"	remu	r9, r9, r4\n"
	"	mul	r10, r9, r2\n"
	"	add	r10, r10, r1\n"		/* r10: words */
	"	shli	r11, r9, 3\n"
	"	add	r11, r11, r3\n"
	"	ld8	r11, (r11)\n"		/* r11: page */
	"	li	r12, 0\n"		/* r12: loop */
	"	li	r15, 1\n"
	"loop:	bgeu	r12, r5, done\n"
	"	addi	r12, r12, 1\n"
	"	ld8	r16, 8(r10)\n"		/* d = done */
	"	ld8	r17, (r11)\n"		/* v = page */
	"	ld8	r18, (r10)\n"		/* b = begin */
	"	beq	r17, r0, fresh\n"
	"	bltu	r17, r16, bad\n"	/* older than what was complete */
	"	bltu	r18, r17, bad\n"	/* no generation that ever was */
	"	ld8	r13, 64(r10)\n"
	"	beq	r17, r13, loop\n"
	"	st8	r17, 64(r10)\n"	/* counted at once: a hole may end the program */
	"	aadd8	r19, r15, 56(r10)\n"
	"	jmp	loop\n"
	"fresh:	bltu	r16, r18, loop\n"	/* being replaced */
	"bad:	aadd8	r19, r15, 16(r10)\n"
	"	bne	r19, r0, loop\n"	/* the first one is kept */
	"	st8	r17, 24(r10)\n"
	"	st8	r16, 32(r10)\n"
	"	st8	r18, 40(r10)\n"
	"	jmp	loop\n"
	"done:	aadd8	r19, r12, 48(r10)\n"
	"	halt\n";

/* r1: addresses of the pages, r2: how many, r3: increments of each by each thread. */
static const char adder_text[] =
	"	li	r9, 0\n"
	"	li	r15, 1\n"
	"loop:	bgeu	r9, r3, done\n"
	"	addi	r9, r9, 1\n"
	"	li	r10, 0\n"
	"slot:	bgeu	r10, r2, loop\n"
	"	shli	r11, r10, 3\n"
	"	add	r11, r11, r1\n"
	"	ld8	r11, (r11)\n"
	"	aadd8	r12, r15, 64(r11)\n"
	"	addi	r10, r10, 1\n"
	"	jmp	slot\n"
	"done:	halt\n";

static void assemble(const char *text, struct dgpu_prog **prog)
{
	char *error = NULL;

	if (dgpu_assemble(text, prog, &error)) {
		FAIL("%s", error ? error : "assembler");
		ASSERT_TRUE(false);
	}
}

static void stale_setup(struct stale *st, unsigned int ops)
{
	gpu_setup(&st->gpu);
	/* One more that takes translations away: NUMA balancing. */
	syscall(SYS_set_mempolicy, 0 /* MPOL_DEFAULT */, NULL, 0ul);
	dgpu_events_enable(st->gpu.dev, 0);	/* nobody reads them */
	assemble(reader_text, &st->reader);
	assemble(adder_text, &st->adder);
	st->ops = ops;
	st->loops = sys_scale(LOOPS);
	st->has_nodes = sys_nodes() > 1;
	if (!st->has_nodes)
		st->ops &= ~(1u << OP_MOVE);
	if (st->ops & (1u << OP_PAGEOUT))
		sys_swap_on(&st->swap);
	st->words = ASSERT_SYS(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	ASSERT_LE(SLOTS * sizeof(struct slot_words) + SLOTS * 8, PAGE_SIZE);
	st->file = ASSERT_SYS(memfd_create("stale", MFD_CLOEXEC));
	ASSERT_SYS(ftruncate(st->file, SLOTS * 64 * (off_t)PAGE_SIZE));
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &st->slots[i];

		/* A page in the middle of a block that can become huge. */
		slot->page = (void *)((char *)sys_huge_area(1) + 37 * PAGE_SIZE);
		slot->stage = sys_pages(1);
		slot->words = &st->words[i];
		slot->page[0] = FIRST;
		slot->generation = FIRST;
		slot->words->begin = FIRST;
		slot->words->done = FIRST;
		((uint64_t *)(st->words + SLOTS))[i] = (uintptr_t)slot->page;
	}
}

static void stale_teardown(struct stale *st)
{
	dgpu_prog_free(st->reader);
	dgpu_prog_free(st->adder);
	gpu_teardown(&st->gpu);
	sys_swap_off(&st->swap);
}

/* A child that shares the pages until it is told to end. */
static pid_t share_pages(int *to)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		char byte;

		close(fds[1]);
		_exit(read(fds[0], &byte, 1) != 1);
	}
	close(fds[0]);
	*to = fds[1];
	return pid;
}

static void share_end(pid_t pid, int to)
{
	/* Not by closing: the other writer's child has a copy of this end. */
	if (write(to, "x", 1) != 1)
		kill(pid, SIGKILL);
	close(to);
	waitpid(pid, NULL, 0);
}

/*
 * Replace the page of a slot by one with @next in it.  False: it was not possible.
 */
static bool stale_op(struct stale *st, struct slot *slot, enum op op, uint64_t next)
{
	void *page = (void *)slot->page;
	char *area = (char *)((uintptr_t)page & ~(HUGE_SIZE - 1));
	const size_t i = (size_t)(slot - st->slots);
	off_t offset;
	pid_t pid;
	int to;

	switch (op) {
	case OP_MAP_FIXED:
		if (mmap(page, PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			return false;
		break;
	case OP_FILE:
		offset = (off_t)((i * 64 + next % 64) * PAGE_SIZE);
		if (pwrite(st->file, &next, 8, offset) != 8 ||
		    mmap(page, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 st->file, offset) == MAP_FAILED)
			return false;
		return true;
	case OP_MREMAP:
		*(volatile uint64_t *)slot->stage = next;
		/* The place stays ours: another thread's mmap() could get it. */
		return mremap(slot->stage, PAGE_SIZE, PAGE_SIZE,
			      MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, page) != MAP_FAILED;
	case OP_DONTNEED:
		/* Of a file page this would bring the old contents back. */
		if (madvise(page, PAGE_SIZE, MADV_DONTNEED))
			return false;
		break;
	case OP_COW:
		pid = share_pages(&to);
		if (pid < 0)
			return false;
		slot->page[0] = next;
		share_end(pid, to);
		return true;
	case OP_PAGEOUT:
		madvise(page, PAGE_SIZE, MADV_PAGEOUT);
		break;
	case OP_PROTECT:
		if (mprotect(page, PAGE_SIZE, PROT_READ) ||
		    mprotect(page, PAGE_SIZE, PROT_READ | PROT_WRITE))
			return false;
		break;
	case OP_COLLAPSE:
		/* Mappings that are not one VMA any more cannot be collapsed. */
		madvise(area, HUGE_SIZE, MADV_HUGEPAGE);
		madvise(area, HUGE_SIZE, MADV_COLLAPSE);
		slot->page[0] = next;
		madvise(area, PAGE_SIZE, MADV_DONTNEED);
		return true;
	case OP_HOLE:
		if (munmap(page, PAGE_SIZE))
			return false;
		sched_yield();
		if (mmap(page, PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
			return false;
		slot->page[0] = next;
		/* A hole ends a program: let some get to a read. */
		sys_sleep_ms(20);
		return true;
	case OP_MOVE:
		sys_move_page(0, page, (int)(next & 1));
		break;
	case OPS:
		return false;
	}
	slot->page[0] = next;
	return true;
}

struct writer {
	struct stale *st;
	size_t first;
	unsigned int seed;
};

static void *stale_writer(void *arg)
{
	struct writer *writer = arg;
	struct stale *st = writer->st;

	for (size_t i = writer->first; !st->stop; i = (i + WRITERS) % SLOTS) {
		struct slot *slot = &st->slots[i];
		const uint64_t next = slot->generation + 1;
		enum op op;

		do {
			op = (enum op)((unsigned int)rand_r(&writer->seed) % OPS);
		} while (!(st->ops & (1u << op)));
		__atomic_store_n(&slot->words->begin, next, __ATOMIC_SEQ_CST);
		if (!stale_op(st, slot, op, next)) {
			FAIL("%s: %s", op_names[op], strerror(errno));
			st->stop = true;
			break;
		}
		slot->generation = next;
		__atomic_store_n(&slot->words->done, next, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&st->count[op], 1, __ATOMIC_RELAXED);
		/* Let the device read this one now and then. */
		if (!(rand_r(&writer->seed) % 4))
			sys_sleep_ms((unsigned int)rand_r(&writer->seed) % 3);
	}
	return NULL;
}

/* Operations so far, of all kinds. */
static uint64_t stale_count(const struct stale *st)
{
	uint64_t nr = 0;

	for (int op = 0; op < OPS; op++)
		nr += st->count[op];
	return nr;
}

/* New values that the device has seen so far. */
static uint64_t stale_changes(const struct stale *st)
{
	uint64_t nr = 0;

	for (size_t i = 0; i < SLOTS; i++)
		nr += st->words[i].changes;
	return nr;
}

static unsigned int seed_of(void)
{
	const char *env = getenv("HMM_TEST_SEED");
	const unsigned int seed = env ? (unsigned int)strtoul(env, NULL, 0)
				      : (unsigned int)(sys_now_ms() ^ (uint64_t)getpid());

	test_log("seed %u (HMM_TEST_SEED)", seed);
	return seed;
}

static uint64_t stale_bad(const struct stale *st)
{
	uint64_t bad = 0;

	for (size_t i = 0; i < SLOTS; i++)
		bad += st->words[i].bad;
	return bad;
}

/* Fewer rounds than this prove nothing: a slow machine gets more time for them. */
#define ENOUGH		16
#define PATIENCE_MS	60000

/*
 * Replace and read for a while.  Ends early at the first bad read if @until_bad, or, if
 * that counts, bus error.  Returns the number of bad reads; bus errors count as bad.
 */
static uint64_t stale_run(struct stale *st, uint64_t ms, bool until_bad)
{
	const uint64_t end = sys_now_ms() + ms;
	struct dgpu_run run = {
		.prog = st->reader,
		.nthreads = READERS,
		.engine = DGPU_ENGINE_ANY,
		.timeout_ms = 120000,
		.args = { (uintptr_t)st->words, sizeof(struct slot_words),
			  (uintptr_t)(st->words + SLOTS), SLOTS, st->loops },
	};
	struct writer writers[WRITERS];
	pthread_t threads[WRITERS];
	uint64_t jobs = 0, holes = 0, bus = 0, reads = 0;
	unsigned int seed = seed_of();

	for (size_t i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer) { st, i, seed + (unsigned int)i };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, stale_writer, &writers[i]));
	}
	while (!st->stop && !(until_bad && ((bus && !st->keep) || stale_bad(st)))) {
		if (sys_now_ms() >= end && (until_bad || stale_changes(st) >= ENOUGH ||
					    sys_now_ms() >= end + PATIENCE_MS))
			break;
		struct dgpu_result result = { 0 };
		const int ret = dgpu_run(st->gpu.dev, &run, &result);

		jobs++;
		if (!ret)
			continue;
		if (result.status == DGPU_ERR_FAULT && result.error == EFAULT &&
		    st->ops & (1u << OP_HOLE)) {
			holes++;
		} else if (result.status == DGPU_ERR_BUS) {
			bus++;
		} else {
			char text[200];

			dgpu_result_text(&result, text, sizeof(text));
			FAIL("%s (%d)", text, ret);
			break;
		}
	}
	st->stop = true;
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);

	for (size_t i = 0; i < SLOTS; i++) {
		const struct slot_words *words = &st->words[i];

		reads += words->reads;
		if (words->bad)
			test_log("slot %zu: %ju bad reads, first %#jx, done %#jx, begin %#jx", i,
				 (uintmax_t)words->bad, (uintmax_t)words->bad_value,
				 (uintmax_t)words->bad_done, (uintmax_t)words->bad_begin);
	}
	test_log("%ju jobs, %ju reads, %ju new values seen, %ju holes hit, %ju bus errors",
		 (uintmax_t)jobs, (uintmax_t)reads, (uintmax_t)stale_changes(st),
		 (uintmax_t)holes, (uintmax_t)bus);
	for (int op = 0; op < OPS; op++)
		if (st->count[op])
			test_log("  %-10s %8ju", op_names[op], (uintmax_t)st->count[op]);
	test_log("device faults %ju, retries %ju, events %ju",
		 (uintmax_t)dgpu_stat_mirror(st->gpu.dev, HMM_STAT_FAULTS),
		 (uintmax_t)dgpu_stat_mirror(st->gpu.dev, HMM_STAT_RETRIES),
		 (uintmax_t)dgpu_stat_mirror(st->gpu.dev, HMM_STAT_EVENTS));
	return stale_bad(st) + bus;
}

static uint64_t stale_ms(unsigned int seconds)
{
	const char *env = getenv("STALE_SECONDS");

	if (env && *env)
		return strtoull(env, NULL, 10) * 1000;
	return (uint64_t)sys_scale(seconds) * 1000;
}

#define O(name) (1u << OP_##name)

FIXTURE(stale) { struct stale st; };
FIXTURE_VARIANT(stale) { unsigned int ops; unsigned int seconds; };
FIXTURE_VARIANT_ADD(stale, map_fixed) { O(MAP_FIXED), 5 };
FIXTURE_VARIANT_ADD(stale, file) { O(FILE), 5 };
FIXTURE_VARIANT_ADD(stale, mremap) { O(MREMAP), 5 };
FIXTURE_VARIANT_ADD(stale, dontneed) { O(DONTNEED), 5 };
FIXTURE_VARIANT_ADD(stale, cow) { O(COW), 5 };
FIXTURE_VARIANT_ADD(stale, pageout) { O(PAGEOUT), 5 };
FIXTURE_VARIANT_ADD(stale, collapse) { O(COLLAPSE), 5 };
FIXTURE_VARIANT_ADD(stale, hole) { O(HOLE), 5 };
/* Everything but DONTNEED, which undoes "file", and holes, which stop the programs. */
FIXTURE_VARIANT_ADD(stale, mixed) {
	O(MAP_FIXED) | O(FILE) | O(MREMAP) | O(COW) | O(PAGEOUT) | O(PROTECT) | O(COLLAPSE) |
	O(MOVE), 60 };

FIXTURE_SETUP(stale)
{
	stale_setup(&self->st, variant->ops);
}

FIXTURE_TEARDOWN(stale)
{
	stale_teardown(&self->st);
}

TEST_F_TIMEOUT(stale, reads, 500)
{
	EXPECT_EQ(0, stale_run(&self->st, stale_ms(variant->seconds), false));
	/* Otherwise nobody raced with anybody. */
	EXPECT_GE(stale_changes(&self->st), ENOUGH);
}

/* ---- writes ---- */

FIXTURE(lost) { struct stale st; };
FIXTURE_VARIANT(lost) { unsigned int ops; };
FIXTURE_VARIANT_ADD(lost, cow) { O(COW) };
FIXTURE_VARIANT_ADD(lost, pageout) { O(PAGEOUT) };
FIXTURE_VARIANT_ADD(lost, collapse) { O(COLLAPSE) };
FIXTURE_VARIANT_ADD(lost, move) { O(MOVE) };
FIXTURE_VARIANT_ADD(lost, mixed) { O(COW) | O(PAGEOUT) | O(COLLAPSE) | O(MOVE) };

FIXTURE_SETUP(lost)
{
	if (variant->ops == O(MOVE) && sys_nodes() < 2)
		SKIP("one NUMA node only");
	stale_setup(&self->st, variant->ops);
}

FIXTURE_TEARDOWN(lost)
{
	stale_teardown(&self->st);
}

/* None of these operations changes what is in the page, so every increment counts. */
TEST_F(lost, increments)
{
	const uint64_t end = sys_now_ms() + sys_scale(6) * 1000;
	struct stale *st = &self->st;
	struct dgpu_run run = {
		.prog = st->adder,
		.nthreads = 8,
		.engine = DGPU_ENGINE_ANY,
		.timeout_ms = 120000,
		.args = { (uintptr_t)(st->words + SLOTS), SLOTS, st->loops / 8 },
	};
	struct writer writers[WRITERS];
	pthread_t threads[WRITERS];
	unsigned int seed = seed_of();
	uint64_t jobs = 0;

	for (size_t i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer) { st, i, seed + (unsigned int)i };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, stale_writer, &writers[i]));
	}
	while (!st->stop) {
		struct dgpu_result result = { 0 };

		if (sys_now_ms() >= end && (stale_count(st) >= ENOUGH ||
					    sys_now_ms() >= end + PATIENCE_MS))
			break;

		if (!EXPECT_EQ(0, dgpu_run(st->gpu.dev, &run, &result)))
			break;
		jobs++;
	}
	st->stop = true;
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	test_log("%ju jobs, %ju operations", (uintmax_t)jobs, (uintmax_t)stale_count(st));
	for (size_t i = 0; i < SLOTS; i++)
		EXPECT_EQ(jobs * 8 * (st->loops / 8), st->slots[i].page[8]);
	EXPECT_GE(stale_count(st), ENOUGH);
}

/* ---- the negative twin ---- */

/*
 * Two ways in which it shows.  The page is gone: the chip's bus refuses the address,
 * as the driver has unmapped it.  The page is still mapped for the device elsewhere:
 * then only the old number in it tells.
 */
FIXTURE(twin) {
	struct stale st;
	char knob[100];
};
FIXTURE_VARIANT(twin) { unsigned int ops; bool keep; };
FIXTURE_VARIANT_ADD(twin, page_gone) { O(MAP_FIXED) | O(MREMAP), false };
FIXTURE_VARIANT_ADD(twin, page_in_use) { O(FILE), true };

FIXTURE_SETUP(twin)
{
	const size_t length = SLOTS * 64 * PAGE_SIZE;
	struct dgpu_info info = { 0 };
	void *all;

	stale_setup(&self->st, variant->ops);
	self->st.keep = variant->keep;
	if (variant->keep) {
		/*
		 * What the kernel moves on its own would be gone from the bus, and that
		 * nothing is to be: with this policy NUMA balancing lets pages be.
		 */
		syscall(SYS_set_mempolicy, 4 /* MPOL_LOCAL */, NULL, 0ul);
		/* From here on only pages of the file come and go. */
		for (size_t i = 0; i < SLOTS; i++) {
			struct slot *slot = &self->st.slots[i];

			slot->words->begin = ++slot->generation;
			ASSERT_TRUE(stale_op(&self->st, slot, OP_FILE, slot->generation));
			slot->words->done = slot->generation;
		}
		all = ASSERT_SYS(mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED,
				      self->st.file, 0));
		ASSERT_EQ(0, dgpu_prefault(self->st.gpu.dev, all, length, true));
	}
	ASSERT_EQ(0, dgpu_get_info(self->st.gpu.dev, &info));
	snprintf(self->knob, sizeof(self->knob), "/sys/kernel/debug/dgpu/%u/knobs/drop_flush",
		 info.index);
	sys_write(self->knob, "1000000000");
}

FIXTURE_TEARDOWN(twin)
{
	if (*self->knob)
		EXPECT_EQ(0, sys_try_write(self->knob, "0"));
	stale_teardown(&self->st);
}

/* With a TLB that is never invalidated the test has to see it, or it proves nothing. */
TEST_F(twin, forgotten_flush_is_seen)
{
	EXPECT_GT(stale_run(&self->st, 60000, true), 0);
	if (variant->keep)
		EXPECT_GT(stale_bad(&self->st), 0);
}

HARNESS_MAIN

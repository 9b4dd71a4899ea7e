// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers of the selftests around libdgpu.  Everything that a test needs of the
 * device is set up front: programs are assembled and the result page is mapped by
 * gpu_setup(), so that later the device touches only what a test tells it to.
 *
 * The words that programs use as "value" never repeat within a test; a page that
 * was replaced, lost or mixed up therefore shows.
 */
#include <sys/mman.h>
#include <sys/syscall.h>
#include "gpu.h"
#include "sys.h"

static const char * const programs[GPU_PROGRAMS] = {
	[GPU_READ8] =
		"	ld8	r9, (r1)\n"
		"	st8	r9, (r2)\n"
		"	halt\n",
	[GPU_WRITE8] =
		"	st8	r2, (r1)\n"
		"	halt\n",
	[GPU_FILL] =
		"	tid	r9\n"
		"	ntid	r10\n"
		"loop:	bgeu	r9, r2, done\n"
		"	mul	r11, r9, r3\n"
		"	add	r11, r11, r1\n"
		"	add	r12, r9, r4\n"
		"	st8	r12, (r11)\n"
		"	add	r9, r9, r10\n"
		"	jmp	loop\n"
		"done:	halt\n",
	[GPU_CHECK] =
		"	tid	r9\n"
		"	ntid	r10\n"
		"loop:	bgeu	r9, r2, done\n"
		"	mul	r11, r9, r3\n"
		"	add	r11, r11, r1\n"
		"	add	r12, r9, r4\n"
		"	ld8	r13, (r11)\n"
		"	bne	r12, r13, bad\n"
		"	add	r9, r9, r10\n"
		"	jmp	loop\n"
		"done:	halt\n"
		"bad:	trap	1\n",
	[GPU_TOUCH] =
		"	tid	r9\n"
		"	ntid	r10\n"
		"loop:	bgeu	r9, r2, done\n"
		"	mul	r11, r9, r3\n"
		"	add	r11, r11, r1\n"
		"	ld1	r13, (r11)\n"
		"	add	r9, r9, r10\n"
		"	jmp	loop\n"
		"done:	halt\n",
	[GPU_INCR] =
		"	li	r9, 0\n"
		"	li	r10, 1\n"
		"loop:	bgeu	r9, r2, done\n"
		"	aadd8	r11, r10, (r1)\n"
		"	addi	r9, r9, 1\n"
		"	jmp	loop\n"
		"done:	halt\n",
	[GPU_SPIN] =
		"	li	r10, 1\n"
		"loop:	aadd8	r11, r10, (r2)\n"
		"	ld8	r12, (r3)\n"
		"	ld8	r9, (r1)\n"
		"	beq	r9, r0, loop\n"
		"	halt\n",
};

void gpu_setup_path(struct gpu *gpu, const char *path)
{
	char *error = NULL;
	void *page;

	/*
	 * NUMA balancing takes rights from what it samples, which is an event; pages on the
	 * device included, and at its next write there the device has them fetched back.
	 * Tests count on pages to stay and on events to be theirs; with a policy that leaves
	 * no choice of node nothing is sampled.
	 */
	syscall(SYS_set_mempolicy, 4 /* MPOL_LOCAL */, NULL, 0ul);
	ASSERT_EQ(0, dgpu_open(path, &gpu->dev));
	for (int i = 0; i < GPU_PROGRAMS; i++) {
		if (dgpu_assemble(programs[i], &gpu->progs[i], &error)) {
			FAIL("program %d: %s", i, error ? error : "?");
			ASSERT_TRUE(false);
		}
	}
	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(page, MAP_FAILED);
	gpu->scratch = page;
	gpu->scratch[0] = 0;
	gpu->events = calloc(GPU_EVENTS, sizeof(*gpu->events));
	ASSERT_NE(gpu->events, NULL);
	ASSERT_EQ(0, dgpu_events_enable(gpu->dev, GPU_EVENTS));
	gpu_events_start(gpu);
}

void gpu_setup(struct gpu *gpu)
{
	gpu_setup_path(gpu, NULL);
}

void gpu_teardown(struct gpu *gpu)
{
	for (int i = 0; i < GPU_PROGRAMS; i++)
		dgpu_prog_free(gpu->progs[i]);
	if (gpu->dev)
		dgpu_close(gpu->dev);
	if (gpu->scratch)
		munmap((void *)gpu->scratch, PAGE_SIZE);
	free(gpu->events);
	memset(gpu, 0, sizeof(*gpu));
}

/* ---- programs ---- */

static struct dgpu_run gpu_prepare(struct gpu *gpu, enum gpu_program prog, uint32_t nthreads,
				   uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4)
{
	return (struct dgpu_run) {
		.prog = gpu->progs[prog],
		.nthreads = nthreads,
		.engine = DGPU_ENGINE_ANY,
		/* The longest there is, where things take long. */
		.timeout_ms = harness_timeout_scale > 1 ? 600000 : 300000,
		.args = { r1, r2, r3, r4 },
	};
}

int gpu_run(struct gpu *gpu, enum gpu_program prog, uint32_t nthreads,
	    uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4)
{
	const struct dgpu_run run = gpu_prepare(gpu, prog, nthreads, r1, r2, r3, r4);
	int ret;

	memset(&gpu->result, 0, sizeof(gpu->result));
	ret = dgpu_run(gpu->dev, &run, &gpu->result);
	if (ret == -EIO && gpu->result.status == DGPU_ERR_FAULT)
		return -gpu->result.error;
	return ret;
}

struct dgpu_job *gpu_start(struct gpu *gpu, enum gpu_program prog, uint32_t nthreads,
			   uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4)
{
	const struct dgpu_run run = gpu_prepare(gpu, prog, nthreads, r1, r2, r3, r4);
	struct dgpu_job *job = NULL;

	ASSERT_EQ(0, dgpu_submit(gpu->dev, &run, &job));
	return job;
}

int gpu_read(struct gpu *gpu, const volatile void *addr, uint64_t *value)
{
	int ret;

	ret = gpu_run(gpu, GPU_READ8, 1, (uintptr_t)addr, (uintptr_t)gpu->scratch, 0, 0);
	if (!ret)
		*value = gpu->scratch[0];
	return ret;
}

int gpu_write(struct gpu *gpu, volatile void *addr, uint64_t value)
{
	return gpu_run(gpu, GPU_WRITE8, 1, (uintptr_t)addr, value, 0, 0);
}

/* Several threads, so that several faults are in the buffer at once. */
static uint32_t gpu_threads(size_t npages)
{
	return npages < 8 ? 1 : 8;
}

/* A job has its time, however many pages it has: these are several, if they are many. */
static int gpu_run_pages(struct gpu *gpu, enum gpu_program prog, const volatile void *addr,
			 size_t npages, uint64_t value)
{
	const size_t most = 512;
	uint64_t faults = 0, insns = 0;
	int ret = 0;
	size_t nr;

	for (size_t i = 0; i < npages && !ret; i += nr) {
		nr = npages - i < most ? npages - i : most;
		ret = gpu_run(gpu, prog, gpu_threads(nr), (uintptr_t)addr + i * PAGE_SIZE, nr,
			      PAGE_SIZE, value + i);
		faults += gpu->result.faults;
		insns += gpu->result.insns;
	}
	gpu->result.faults = faults;
	gpu->result.insns = insns;
	return ret;
}

int gpu_fill(struct gpu *gpu, volatile void *addr, size_t npages, uint64_t value)
{
	return gpu_run_pages(gpu, GPU_FILL, addr, npages, value);
}

int gpu_check(struct gpu *gpu, const volatile void *addr, size_t npages, uint64_t value)
{
	return gpu_run_pages(gpu, GPU_CHECK, addr, npages, value);
}

int gpu_touch(struct gpu *gpu, const volatile void *addr, size_t npages)
{
	return gpu_run(gpu, GPU_TOUCH, gpu_threads(npages), (uintptr_t)addr, npages,
		       PAGE_SIZE, 0);
}

void cpu_fill(volatile void *addr, size_t npages, uint64_t value)
{
	for (size_t i = 0; i < npages; i++)
		*(volatile uint64_t *)((uintptr_t)addr + i * PAGE_SIZE) = value + i;
}

bool cpu_check(const volatile void *addr, size_t npages, uint64_t value)
{
	for (size_t i = 0; i < npages; i++) {
		const uint64_t seen = *(volatile uint64_t *)((uintptr_t)addr + i * PAGE_SIZE);

		if (seen != value + i) {
			test_log("page %zu: CPU reads %#jx, expected %#jx", i,
				 (uintmax_t)seen, (uintmax_t)(value + i));
			return false;
		}
	}
	return true;
}

uint64_t gpu_see(struct gpu *gpu, const volatile void *addr)
{
	uint64_t value = 0;
	char text[200];

	if (gpu_read(gpu, addr, &value)) {
		dgpu_result_text(&gpu->result, text, sizeof(text));
		FAIL("the device cannot read %p: %s", (const void *)addr, text);
		value = ~0ull;
	}
	return value;
}

/* ---- the device's page table ---- */

uint8_t gpu_pte(struct gpu *gpu, const volatile void *addr)
{
	const uintptr_t page = (uintptr_t)addr & ~(PAGE_SIZE - 1);
	uint8_t pte = 0;

	ASSERT_EQ(0, dgpu_get_ptes(gpu->dev, (const void *)page, 1, &pte));
	return pte;
}

size_t gpu_ptes(struct gpu *gpu, const volatile void *addr, size_t npages, uint8_t bits)
{
	uint8_t *ptes = malloc(npages);
	size_t nr = 0;

	ASSERT_NE(ptes, NULL);
	ASSERT_EQ(0, dgpu_get_ptes(gpu->dev, (const void *)addr, npages, ptes));
	for (size_t i = 0; i < npages; i++)
		nr += (ptes[i] & bits) == bits;
	free(ptes);
	return nr;
}

/* ---- memory of the device ---- */

/* Asked of a page that is not there yet: nothing moves. */
bool gpu_takes_anonymous(struct gpu *gpu)
{
	uint8_t result = HMM_PAGE_UNSUPPORTED;
	char *mem = sys_pages(1);

	dgpu_migrate(gpu->dev, mem, PAGE_SIZE, 0, &result, NULL);
	ASSERT_SYS(munmap(mem, PAGE_SIZE));
	return result != HMM_PAGE_UNSUPPORTED;
}

void gpu_setup_memory(struct gpu *gpu)
{
	struct dgpu_info info = { 0 };

	gpu_setup(gpu);
	ASSERT_EQ(0, dgpu_get_info(gpu->dev, &info));
	if (!info.local_bytes || !gpu_takes_anonymous(gpu))
		SKIP("no page can move to the device (no memory there, or no DEVICE_PRIVATE)");
}

uint64_t gpu_rmem(struct gpu *gpu, enum hmm_rmem_stat stat)
{
	uint64_t values[HMM_RMEM_NR] = { 0 };

	ASSERT_GE(dgpu_get_stat(gpu->dev, DGPU_STAT_RMEM, values, HMM_RMEM_NR), stat + 1);
	return values[stat];
}

char *gpu_pages_on_device(struct gpu *gpu, size_t npages)
{
	char *mem = sys_pages(npages);

	cpu_fill(mem, npages, 0xdead);
	gpu_move_in(gpu, mem, npages);
	ASSERT_EQ(0, gpu_fill(gpu, mem, npages, 0x1000));
	ASSERT_EQ(npages, gpu_ptes(gpu, mem, npages,
				   DGPU_PTE_VALID | DGPU_PTE_LOCAL | DGPU_PTE_WRITE));
	return mem;
}

void gpu_migrate(struct gpu *gpu, const volatile void *addr, size_t npages, uint32_t flags,
		 struct gpu_moved *moved)
{
	uint8_t *results = malloc(npages);

	ASSERT_NE(results, NULL);
	memset(results, 0xee, npages);
	memset(moved, 0, sizeof(*moved));
	moved->ret = dgpu_migrate(gpu->dev, (const void *)addr, npages * PAGE_SIZE, flags,
				  results, &moved->moved);
	for (size_t i = 0; i < npages; i++) {
		if (i < sizeof(moved->results))
			moved->results[i] = results[i];
		if (results[i] < HMM_PAGE_NR)
			moved->count[results[i]]++;
	}
	free(results);
}

void gpu_moved_log(const struct gpu_moved *moved)
{
	test_log("migrate: %s, %ju pages moved", moved->ret ? strerror(-moved->ret) : "ok",
		 (uintmax_t)moved->moved);
	for (unsigned int i = 0; i < HMM_PAGE_NR; i++)
		if (moved->count[i])
			test_log("  %zu %s", moved->count[i], dgpu_page_result_name(i));
}

bool gpu_expect_results(const char *file, int line, const struct gpu_moved *moved,
			size_t first, size_t nr, enum hmm_page_result result)
{
	ASSERT_LE(first + nr, sizeof(moved->results));
	for (size_t i = first; i < first + nr; i++) {
		if (moved->results[i] == result)
			continue;
		test_log("%s:%d: page %zu: result %u (%s), expected %s", file, line, i,
			 moved->results[i], dgpu_page_result_name(moved->results[i]),
			 dgpu_page_result_name(result));
		gpu_moved_log(moved);
		harness_fail();
		return false;
	}
	return true;
}

static void gpu_move(struct gpu *gpu, const volatile void *addr, size_t npages, uint32_t flags)
{
	const uint64_t end = sys_patience_ms();
	struct gpu_moved moved;

	/* A page may be on its way to a disk, too. */
	for (;;) {
		gpu_migrate(gpu, addr, npages, flags, &moved);
		if (moved.ret != -EBUSY || sys_now_ms() > end)
			break;
		usleep(5000);
	}
	if (moved.ret || moved.count[HMM_PAGE_MOVED] + moved.count[HMM_PAGE_THERE] != npages) {
		FAIL("a range of %zu pages at %p did not move", npages, (const void *)addr);
		gpu_moved_log(&moved);
		harness_end();
	}
}

void gpu_move_in(struct gpu *gpu, const volatile void *addr, size_t npages)
{
	gpu_move(gpu, addr, npages, 0);
	ASSERT_PLACE(gpu, addr, npages, DEVICE);
}

void gpu_move_out(struct gpu *gpu, const volatile void *addr, size_t npages)
{
	gpu_move(gpu, addr, npages, DGPU_MIGRATE_TO_SYSTEM);
	ASSERT_PLACE(gpu, addr, npages, SYSTEM);
}

size_t gpu_pages_at(struct gpu *gpu, const volatile void *addr, size_t npages,
		    enum hmm_page_place place)
{
	struct dgpu_page_info *infos = calloc(npages, sizeof(*infos));
	size_t nr = 0;

	ASSERT_NE(infos, NULL);
	ASSERT_EQ(0, dgpu_residency(gpu->dev, (const void *)addr, npages, infos));
	for (size_t i = 0; i < npages; i++)
		nr += infos[i].place == place;
	free(infos);
	return nr;
}

bool gpu_expect_place(struct gpu *gpu, const char *file, int line,
		      const volatile void *addr, size_t npages, enum hmm_page_place place)
{
	const size_t nr = gpu_pages_at(gpu, addr, npages, place);

	if (nr == npages)
		return true;
	test_log("%s:%d: %zu of %zu pages at %p are in '%s'; the others:", file, line, nr,
		 npages, (const void *)addr, dgpu_page_place_name(place));
	for (unsigned int i = 0; i < HMM_PLACE_NR; i++)
		if (i != place && gpu_pages_at(gpu, addr, npages, i))
			test_log("  %zu in '%s'", gpu_pages_at(gpu, addr, npages, i),
				 dgpu_page_place_name(i));
	harness_fail();
	return false;
}

void gpu_expect_pool_empty(void)
{
	const struct timespec step = { .tv_nsec = 20000000 };
	const uint64_t end = sys_patience_ms();
	struct gpu gpu = { 0 };
	struct dgpu_info info = { 0 };
	uint64_t left = 0;

	gpu_setup(&gpu);
	ASSERT_EQ(0, dgpu_get_info(gpu.dev, &info));
	if (!info.local_bytes)
		SKIP("the device has no memory");
	/* A process that was killed frees its memory when nobody uses it any more. */
	for (unsigned int i = 0;; i++) {
		left = gpu_rmem(&gpu, HMM_RMEM_USED);
		if (!left || sys_now_ms() > end)
			break;
		/* Pages that were locked may be in a batch of a CPU: that empties them. */
		if (i % 50 == 49)
			sys_try_write("/proc/sys/vm/compact_memory", "1");
		nanosleep(&step, NULL);
	}
	EXPECT_EQ(0, left);
	if (!left)
		EXPECT_EQ(gpu_rmem(&gpu, HMM_RMEM_IN),
			  gpu_rmem(&gpu, HMM_RMEM_OUT) + gpu_rmem(&gpu, HMM_RMEM_DROPPED) +
			  gpu_rmem(&gpu, HMM_RMEM_LOST));
	gpu_teardown(&gpu);
}

/* ---- invalidations ---- */

void gpu_events_collect(struct gpu *gpu)
{
	int nr;

	while (gpu->nevents < GPU_EVENTS) {
		nr = dgpu_events_read(gpu->dev, gpu->events + gpu->nevents,
				      GPU_EVENTS - gpu->nevents);
		if (nr == -EAGAIN || !nr)
			return;
		ASSERT_GT(nr, 0);
		for (int i = 0; i < nr; i++) {
			const uint64_t seq = gpu->events[gpu->nevents + (size_t)i].seq;

			if (gpu->next_seq && seq != gpu->next_seq)
				test_log("records of invalidations lost: %ju to %ju",
					 (uintmax_t)gpu->next_seq, (uintmax_t)seq);
			gpu->next_seq = seq + 1;
		}
		gpu->nevents += (size_t)nr;
	}
}

void gpu_events_start(struct gpu *gpu)
{
	gpu->nevents = 0;
	gpu_events_collect(gpu);
	gpu->nevents = 0;
}

static bool gpu_event_overlaps(const struct dgpu_event *event, const volatile void *addr,
			       size_t length)
{
	return event->start < (uintptr_t)addr + length && event->end > (uintptr_t)addr;
}

size_t gpu_events_count(struct gpu *gpu, const volatile void *addr, size_t length,
			enum hmm_event_type type)
{
	size_t nr = 0;

	gpu_events_collect(gpu);
	for (size_t i = 0; i < gpu->nevents; i++)
		nr += gpu->events[i].type == type &&
		      gpu_event_overlaps(&gpu->events[i], addr, length);
	return nr;
}

size_t gpu_reasons_count(struct gpu *gpu, const volatile void *addr, size_t length,
			 enum hmm_event_reason reason)
{
	size_t nr = 0;

	gpu_events_collect(gpu);
	for (size_t i = 0; i < gpu->nevents; i++)
		nr += gpu->events[i].reasons & (1u << reason) &&
		      gpu_event_overlaps(&gpu->events[i], addr, length);
	return nr;
}

static void gpu_event_log(const struct dgpu_event *event)
{
	char reasons[400];

	dgpu_reasons_text(event->reasons, reasons, sizeof(reasons));
	test_log("  %ju: [%#jx, %#jx) %s %s %s%s, %u pages, %u dirty", (uintmax_t)event->seq,
		 (uintmax_t)event->start, (uintmax_t)event->end,
		 dgpu_event_type_name(event->type), dgpu_event_action_name(event->action),
		 reasons, event->flags & HMM_EVENT_BLOCKABLE ? "" : " (must not block)",
		 event->pages, event->dirty);
}

void gpu_events_log(struct gpu *gpu)
{
	const size_t first = gpu->nevents > 40 ? gpu->nevents - 40 : 0;

	test_log("invalidations: %zu", gpu->nevents);
	for (size_t i = first; i < gpu->nevents; i++)
		gpu_event_log(&gpu->events[i]);
}

bool gpu_expect_event(struct gpu *gpu, const struct gpu_expect *given)
{
	struct gpu_expect wider = *given, *expect = &wider;
	char reasons[400];

	if (wider.others && sys_kernel_since(6, 17)) {
		wider.type = HMM_EVENT_CLEAR;
		wider.reasons |= wider.others;
	}
	gpu_events_collect(gpu);
	for (size_t i = 0; i < gpu->nevents; i++) {
		const struct dgpu_event *event = &gpu->events[i];

		if (event->type == expect->type && event->action == expect->action &&
		    event->reasons == expect->reasons &&
		    gpu_event_overlaps(event, expect->addr, expect->length))
			return true;
	}
	dgpu_reasons_text(expect->reasons, reasons, sizeof(reasons));
	test_log("%s:%d: no event %s %s %s on [%p, +%#zx)", expect->file, expect->line,
		 dgpu_event_type_name(expect->type), dgpu_event_action_name(expect->action),
		 reasons, (const void *)expect->addr, expect->length);
	gpu_events_log(gpu);
	harness_fail();
	return false;
}

bool gpu_expect_reason(struct gpu *gpu, const char *file, int line,
		       const volatile void *addr, size_t length,
		       enum hmm_event_reason reason)
{
	char text[100];

	if (gpu_reasons_count(gpu, addr, length, reason))
		return true;
	dgpu_reasons_text(1u << reason, text, sizeof(text));
	test_log("%s:%d: no event for the reason %s on [%p, +%#zx)", file, line, text,
		 (const void *)addr, length);
	gpu_events_log(gpu);
	harness_fail();
	return false;
}

bool gpu_expect_no_event(struct gpu *gpu, const char *file, int line,
			 const volatile void *addr, size_t length)
{
	gpu_events_collect(gpu);
	for (size_t i = 0; i < gpu->nevents; i++) {
		if (gpu_event_overlaps(&gpu->events[i], addr, length)) {
			test_log("%s:%d: an event where none was expected:", file, line);
			gpu_event_log(&gpu->events[i]);
			harness_fail();
			return false;
		}
	}
	return true;
}

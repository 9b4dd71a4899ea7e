// SPDX-License-Identifier: GPL-2.0
/*
 * A simulated device behind the library's system calls (lib/sys.c).
 *
 * It runs programs by plain loads and stores in this process, one CPU thread for each
 * job, and turns a SIGSEGV into a device fault.  It checks its input as
 * include/uapi/dgpu.h promises.  There is no MMU and no invalidation in it: it serves
 * tests of the library and of programs that use it, on machines without the device.
 * Its memory is a set of page numbers, which say where a page would be; a page leaves it
 * when it is told to only.  $MOCK_LOCAL_PAGES sets its size; 0 is none.
 *
 * One lock protects everything; a job's thread takes it only to finish.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "private.h"
#include "mock_dgpu.h"

#define MAX_INSNS	65536u
#define MAX_THREADS	65536u
#define MAX_EVENTS	65536u
#define ENGINES		4u
#define LOCAL_MAX	65536u

struct mock_job {
	struct mock_job *next;
	uint64_t number;
	int file;
	int fence;		/* the job's own copy, to signal it */
	bool done;
	struct dgpu_insn *code;
	struct dgpu_submit submit;
	struct dgpu_result result;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t finished = PTHREAD_COND_INITIALIZER;
static struct mock_job *jobs;
static uint64_t numbers;
static unsigned int limit = 1024;
static uint64_t hw_stats[DGPU_HW_NR];
static uint64_t rmem_stats[HMM_RMEM_NR];
static uint64_t moved_in, moved_out;	/* as the mirror counts them */
static unsigned int policy;
static uint64_t local[LOCAL_MAX];	/* numbers of the pages in device memory */
static size_t nlocal;
static bool privileged = true;
static struct dgpu_event ring[MAX_EVENTS];
static uint32_t capacity, head, tail;

static struct {
	unsigned int nr, times;
	int error;
} failure;

static __thread sigjmp_buf *fault_exit;
static __thread siginfo_t fault_info;

/* ---- device memory ---- */

static size_t local_size(void)
{
	const char *text = getenv("MOCK_LOCAL_PAGES");
	size_t pages = text ? strtoul(text, NULL, 10) : 4096;

	return pages < LOCAL_MAX ? pages : LOCAL_MAX;
}

static bool is_local(uint64_t page, size_t *index)
{
	for (*index = 0; *index < nlocal; (*index)++)
		if (local[*index] == page)
			return true;
	return false;
}

/* Nothing is known of a page that was unmapped: look at the process. */
static bool is_mapped(uint64_t page)
{
	unsigned char vec;

	return !mincore((void *)(uintptr_t)(page * 4096), 1, &vec);
}

static bool is_empty(uint64_t page)
{
	uint64_t word = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &word, sizeof(word), page * sizeof(word)) != sizeof(word))
		word = ~0ull;
	if (fd >= 0)
		close(fd);
	return !(word >> 62);	/* neither present nor swapped out */
}

static unsigned int move_in(uint64_t page, bool populate)
{
	size_t i;

	if (!is_mapped(page))
		return HMM_PAGE_UNMAPPED;
	if (is_local(page, &i))
		return HMM_PAGE_THERE;
	if (!populate && is_empty(page))
		return HMM_PAGE_EMPTY;
	if (nlocal == local_size()) {
		rmem_stats[HMM_RMEM_FULL]++;
		return HMM_PAGE_FULL;
	}
	local[nlocal++] = page;
	rmem_stats[HMM_RMEM_IN]++;
	moved_in++;
	return HMM_PAGE_MOVED;
}

static unsigned int move_out(uint64_t page)
{
	size_t i;

	if (!is_mapped(page))
		return HMM_PAGE_UNMAPPED;
	if (!is_local(page, &i))
		return is_empty(page) ? HMM_PAGE_EMPTY : HMM_PAGE_THERE;
	local[i] = local[--nlocal];
	rmem_stats[HMM_RMEM_OUT]++;
	moved_out++;
	return HMM_PAGE_MOVED;
}

static void touch(uint64_t addr)
{
	if (__atomic_load_n(&policy, __ATOMIC_RELAXED) != HMM_POLICY_TOUCH)
		return;
	pthread_mutex_lock(&lock);
	move_in(addr / 4096, true);
	pthread_mutex_unlock(&lock);
}

static bool bad_range(uint64_t start, uint64_t length)
{
	return !length || (start | length) & 4095 || start + length < start;
}

static int mock_migrate(struct dgpu_migrate *m)
{
	static const int errors[HMM_PAGE_NR] = {
		[HMM_PAGE_FULL] = -ENOSPC, [HMM_PAGE_UNMAPPED] = -EFAULT,
	};
	uint8_t *results = (uint8_t *)(uintptr_t)m->results;
	unsigned int result;
	int ret = 0;
	uint64_t i;

	if (bad_range(m->start, m->length) || m->pad || m->reserved[0] || m->reserved[1] ||
	    m->flags & ~(DGPU_MIGRATE_TO_SYSTEM | DGPU_MIGRATE_POPULATE))
		return -EINVAL;
	if (!local_size())
		return -EOPNOTSUPP;
	if (policy == HMM_POLICY_NEVER && !(m->flags & DGPU_MIGRATE_TO_SYSTEM))
		return -EPERM;
	m->moved = 0;
	for (i = 0; i < m->length / 4096; i++) {
		result = m->flags & DGPU_MIGRATE_TO_SYSTEM ? move_out(m->start / 4096 + i) :
			move_in(m->start / 4096 + i, m->flags & DGPU_MIGRATE_POPULATE);
		m->moved += result == HMM_PAGE_MOVED;
		if (results)
			results[i] = result;
		ret = ret ?: errors[result];
	}
	return ret;
}

static int mock_policy(const struct dgpu_policy *p)
{
	if (p->policy >= HMM_POLICY_NR || p->pad || p->reserved[0] || p->reserved[1])
		return -EINVAL;
	__atomic_store_n(&policy, p->policy, __ATOMIC_RELAXED);
	return 0;
}

static int mock_hint(const struct dgpu_hint *h)
{
	const uint32_t both = HMM_HINT_AUTO | HMM_HINT_NO_AUTO;
	uint64_t i;

	if (bad_range(h->start, h->length) || h->reserved[0] || h->reserved[1] ||
	    h->flags & ~HMM_HINT_ALL || (h->flags & both) == both ||
	    h->prefer > HMM_PREFER_DEVICE || h->granularity & (h->granularity - 1) ||
	    (h->device && h->prefer != HMM_PREFER_DEVICE) ||
	    (h->flags & HMM_HINT_IN_PLACE && (h->flags & HMM_HINT_AUTO || h->granularity ||
					      h->prefer == HMM_PREFER_DEVICE)))
		return -EINVAL;
	if (h->prefer == HMM_PREFER_DEVICE && h->device && h->device != DGPU_DEVICE_SELF)
		return -ENODEV;
	for (i = 0; i < h->length / 4096; i++)
		if (!is_mapped(h->start / 4096 + i))
			return -EFAULT;
	return 0;
}

static int mock_residency(const struct dgpu_residency *r)
{
	struct dgpu_page_info *to = (struct dgpu_page_info *)(uintptr_t)r->out;
	uint64_t i, page;
	size_t at;

	if (r->start & 4095 || !r->npages || r->npages > 1 << 20 || r->reserved[0] ||
	    r->reserved[1])
		return -EINVAL;
	for (i = 0; i < r->npages; i++) {
		page = r->start / 4096 + i;
		to[i] = (struct dgpu_page_info){
			.place = !is_mapped(page) ? HMM_PLACE_NONE :
				 is_local(page, &at) ? HMM_PLACE_DEVICE :
				 is_empty(page) ? HMM_PLACE_NONE : HMM_PLACE_SYSTEM,
		};
	}
	return 0;
}

static int mock_evacuate(struct dgpu_evacuate *e)
{
	if (e->flags || e->pad || e->reserved[0] || e->reserved[1])
		return -EINVAL;
	if (!privileged)
		return -EPERM;
	if (!local_size())
		return -EOPNOTSUPP;
	rmem_stats[HMM_RMEM_OUT] += nlocal;
	rmem_stats[HMM_RMEM_OUT_EVACUATE] += nlocal;
	moved_out += nlocal;
	nlocal = 0;
	e->left = 0;
	return 0;
}

/* ---- execution ---- */

static void on_segv(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (fault_exit) {
		fault_info = *info;
		siglongjmp(*fault_exit, 1);
	}
	/* Not ours: let the default action report it. */
	signal(sig, SIG_DFL);
}

#define RAW __attribute__((no_sanitize("address", "undefined"), noinline))

struct __attribute__((packed, may_alias)) raw2 { uint16_t v; };
struct __attribute__((packed, may_alias)) raw4 { uint32_t v; };
struct __attribute__((packed, may_alias)) raw8 { uint64_t v; };

static RAW uint64_t load(uint64_t addr, unsigned int size)
{
	switch (size) {
	case 1:
		return *(volatile uint8_t *)addr;
	case 2:
		return ((volatile struct raw2 *)addr)->v;
	case 4:
		return ((volatile struct raw4 *)addr)->v;
	}
	return ((volatile struct raw8 *)addr)->v;
}

static RAW void store(uint64_t addr, unsigned int size, uint64_t value)
{
	switch (size) {
	case 1:
		*(volatile uint8_t *)addr = value;
		break;
	case 2:
		((volatile struct raw2 *)addr)->v = value;
		break;
	case 4:
		((volatile struct raw4 *)addr)->v = value;
		break;
	default:
		((volatile struct raw8 *)addr)->v = value;
	}
}

static RAW uint64_t atomic(unsigned int op, uint64_t addr, uint64_t expected, uint64_t value)
{
	uint32_t old4 = expected;
	uint64_t old8 = expected;

	switch (op) {
	case DGPU_OP_AADD4:
		return __atomic_fetch_add((uint32_t *)addr, value, __ATOMIC_SEQ_CST);
	case DGPU_OP_AADD8:
		return __atomic_fetch_add((uint64_t *)addr, value, __ATOMIC_SEQ_CST);
	case DGPU_OP_AXCHG4:
		return __atomic_exchange_n((uint32_t *)addr, value, __ATOMIC_SEQ_CST);
	case DGPU_OP_AXCHG8:
		return __atomic_exchange_n((uint64_t *)addr, value, __ATOMIC_SEQ_CST);
	case DGPU_OP_ACAS4:
		__atomic_compare_exchange_n((uint32_t *)addr, &old4, value, 0, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
		return old4;
	}
	__atomic_compare_exchange_n((uint64_t *)addr, &old8, value, 0, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return old8;
}

static uint64_t alu(unsigned int op, uint64_t a, uint64_t b)
{
	switch (op) {
	case DGPU_OP_ADD:
	case DGPU_OP_ADDI:
		return a + b;
	case DGPU_OP_SUB:
		return a - b;
	case DGPU_OP_MUL:
	case DGPU_OP_MULI:
		return a * b;
	case DGPU_OP_DIVU:
		return a / b;
	case DGPU_OP_REMU:
		return a % b;
	case DGPU_OP_AND:
	case DGPU_OP_ANDI:
		return a & b;
	case DGPU_OP_OR:
	case DGPU_OP_ORI:
		return a | b;
	case DGPU_OP_XOR:
	case DGPU_OP_XORI:
		return a ^ b;
	case DGPU_OP_SHL:
	case DGPU_OP_SHLI:
		return a << (b & 63);
	case DGPU_OP_SHR:
	case DGPU_OP_SHRI:
		return a >> (b & 63);
	case DGPU_OP_SAR:
	case DGPU_OP_SARI:
		return (uint64_t)((int64_t)a >> (b & 63));
	case DGPU_OP_SLT:
		return (int64_t)a < (int64_t)b;
	}
	return a < b;
}

static bool taken(unsigned int op, uint64_t a, uint64_t b)
{
	switch (op) {
	case DGPU_OP_BEQ:
		return a == b;
	case DGPU_OP_BNE:
		return a != b;
	case DGPU_OP_BLT:
		return (int64_t)a < (int64_t)b;
	case DGPU_OP_BGE:
		return (int64_t)a >= (int64_t)b;
	case DGPU_OP_BLTU:
		return a < b;
	}
	return a >= b;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Sizes of loads and stores, by op - LD1. */
static const uint8_t sizes[] = { 1, 2, 4, 8, 1, 2, 4, 0, 1, 2, 4, 8 };

/*
 * One hardware thread.  The registers and the program counter are volatile because
 * they must survive the siglongjmp().
 */
static uint32_t run_thread(struct mock_job *job, uint32_t tid, int64_t deadline)
{
	struct dgpu_result *r = &job->result;
	volatile uint64_t reg[DGPU_NREGS] = { 0 };
	volatile uint32_t pc = 0;
	volatile uint32_t access = 0;
	volatile uint64_t touched = 0;
	sigjmp_buf out;
	unsigned int i;

	for (i = 0; i < DGPU_NARGS; i++)
		reg[1 + i] = job->submit.args[i];
	if (sigsetjmp(out, 1)) {
		fault_exit = NULL;
		r->fault_addr = touched;
		r->access = access;
		r->error = fault_info.si_code == SEGV_ACCERR ? EACCES : EFAULT;
		r->faults++;	/* r->pc is the instruction's */
		return DGPU_ERR_FAULT;
	}
	for (;;) {
		const struct dgpu_insn *in;
		uint64_t a, b, imm, value = 0;
		bool writes = true;

		r->pc = pc;
		if (pc >= job->submit.ninsns)
			return DGPU_ERR_PC;
		if (!(r->insns++ & 1023) && now_ms() >= deadline)
			return DGPU_ERR_TIMEOUT;
		in = &job->code[pc++];
		if (in->rd >= DGPU_NREGS || in->ra >= DGPU_NREGS || in->rb >= DGPU_NREGS)
			return DGPU_ERR_ILLEGAL;
		a = reg[in->ra];
		b = reg[in->rb];
		imm = (int64_t)in->imm;
		switch (in->op) {
		case DGPU_OP_NOP:
			continue;
		case DGPU_OP_HALT:
			return DGPU_OK;
		case DGPU_OP_TRAP:
			r->trap = in->imm;
			return DGPU_ERR_TRAP;
		case DGPU_OP_LI:
			value = imm;
			break;
		case DGPU_OP_LIH:
			value = (reg[in->rd] & 0xffffffff) | imm << 32;
			break;
		case DGPU_OP_MOV:
			value = a;
			break;
		case DGPU_OP_TID:
			value = tid;
			break;
		case DGPU_OP_NTID:
			value = job->submit.nthreads;
			break;
		case DGPU_OP_DIVU:
		case DGPU_OP_REMU:
			if (!b)
				return DGPU_ERR_DIVIDE;
			value = alu(in->op, a, b);
			break;
		case DGPU_OP_ADD ... DGPU_OP_MUL:
		case DGPU_OP_AND ... DGPU_OP_SLTU:
			value = alu(in->op, a, b);
			break;
		case DGPU_OP_ADDI ... DGPU_OP_SARI:
			value = alu(in->op, a, imm);
			break;
		case DGPU_OP_JMP:
		case DGPU_OP_JAL:
			value = pc;
			writes = in->op == DGPU_OP_JAL;
			pc = imm;
			break;
		case DGPU_OP_JR:
			/* An index that does not fit is off the program in any case. */
			pc = a > UINT32_MAX ? UINT32_MAX : a;
			writes = false;
			break;
		case DGPU_OP_BEQ ... DGPU_OP_BGEU:
			if (taken(in->op, a, b))
				pc = imm;
			continue;
		case DGPU_OP_LD1 ... DGPU_OP_LD4S:
		case DGPU_OP_ST1 ... DGPU_OP_ST8:
			touched = a + imm;
			writes = in->op < DGPU_OP_ST1;
			access = writes ? DGPU_ACCESS_READ : DGPU_ACCESS_WRITE;
			i = sizes[in->op - DGPU_OP_LD1];
			touch(touched);
			fault_exit = &out;
			if (writes)
				value = load(touched, i);
			else
				store(touched, i, reg[in->rd]);
			fault_exit = NULL;
			if (in->op >= DGPU_OP_LD1S && in->op <= DGPU_OP_LD4S)
				value = (uint64_t)((int64_t)(value << (64 - 8 * i)) >> (64 - 8 * i));
			break;
		case DGPU_OP_AADD4 ... DGPU_OP_ACAS8:
			touched = a + imm;
			access = DGPU_ACCESS_ATOMIC;
			if (touched & (in->op & 1 ? 7 : 3)) {
				r->fault_addr = touched;
				return DGPU_ERR_ALIGN;
			}
			fault_exit = &out;
			value = atomic(in->op, touched, reg[in->rd], b);
			fault_exit = NULL;
			break;
		default:
			return DGPU_ERR_ILLEGAL;
		}
		if (writes && in->rd)
			reg[in->rd] = value;
	}
}

static void *run_job(void *arg)
{
	struct mock_job *job = arg;
	int64_t deadline = now_ms() + (int64_t)(job->submit.timeout_ms ?: 10000);
	uint64_t one = 1;
	uint32_t t;

	for (t = 0; t < job->submit.nthreads; t++) {
		job->result.thread = t;
		job->result.status = run_thread(job, t, deadline);
		if (job->result.status)
			break;
	}
	if (!job->result.status)
		job->result.thread = job->result.pc = 0;
	free(job->code);
	pthread_mutex_lock(&lock);
	hw_stats[DGPU_HW_JOBS]++;
	hw_stats[DGPU_HW_INSNS] += job->result.insns;
	hw_stats[DGPU_HW_FAULTS] += job->result.faults;
	job->done = true;
	pthread_cond_broadcast(&finished);
	if (write(job->fence, &one, sizeof(one)) != sizeof(one))
		abort();
	close(job->fence);
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* ---- ioctls ---- */

static int mock_info(struct dgpu_info *info)
{
	static const uint64_t zero[4];

	if (memcmp(info->reserved, zero, sizeof(zero)))
		return -EINVAL;
	*info = (struct dgpu_info){
		.abi_version = DGPU_ABI_VERSION, .engines = ENGINES, .va_bits = 48,
		.max_threads = MAX_THREADS, .max_insns = MAX_INSNS, .fault_entries = 64,
		.flags = DGPU_INFO_DIRTY | DGPU_INFO_ATOMICS,
		.page_sizes = 1 << 12 | 1 << 21, .name = "simulated",
		.local_bytes = local_size() * 4096,
	};
	return 0;
}

static int mock_submit(int fd, struct dgpu_submit *s)
{
	unsigned int kept = 0;
	struct mock_job *job;
	pthread_attr_t attr;
	pthread_t thread;

	if (!s->code || !s->ninsns || !s->nthreads || s->flags || s->pad || s->reserved[0] ||
	    s->reserved[1] || s->timeout_ms > 600000 ||
	    (s->engine != DGPU_ENGINE_ANY && s->engine >= ENGINES))
		return -EINVAL;
	if (s->ninsns > MAX_INSNS || s->nthreads > MAX_THREADS)
		return -E2BIG;
	for (job = jobs; job; job = job->next)
		kept += job->file == fd;
	if (kept >= limit)
		return -EAGAIN;
	job = calloc(1, sizeof(*job));
	job->code = malloc(s->ninsns * sizeof(*job->code));
	memcpy(job->code, (void *)(uintptr_t)s->code, s->ninsns * sizeof(*job->code));
	s->fence_fd = eventfd(0, EFD_CLOEXEC);
	job->fence = fcntl(s->fence_fd, F_DUPFD_CLOEXEC, 0);
	s->job = ++numbers;
	job->file = fd;
	job->number = s->job;
	job->submit = *s;
	job->result.job = s->job;
	job->next = jobs;
	jobs = job;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, run_job, job))
		abort();
	pthread_attr_destroy(&attr);
	return 0;
}

static int mock_result(int fd, struct dgpu_result *r)
{
	struct timespec until;
	struct mock_job **at;

	clock_gettime(CLOCK_REALTIME, &until);
	if (r->timeout_ns > 3600ull * 1000000000)
		r->timeout_ns = 3600ull * 1000000000;
	until.tv_sec += r->timeout_ns / 1000000000;
	until.tv_nsec += r->timeout_ns % 1000000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	for (;;) {
		for (at = &jobs; *at; at = &(*at)->next)
			if ((*at)->number == r->job && (*at)->file == fd)
				break;
		if (!*at)
			return -ENOENT;
		if ((*at)->done)
			break;
		if (!r->timeout_ns || pthread_cond_timedwait(&finished, &lock, &until))
			return -ETIME;
	}
	{
		struct mock_job *job = *at;

		*r = job->result;
		*at = job->next;
		free(job);
	}
	return 0;
}

static int mock_prefault(const struct dgpu_range *range)
{
	unsigned char vec;
	uint64_t p;

	if (!range->length || (range->start | range->length) & 4095 || range->pad ||
	    range->flags & ~DGPU_PREFAULT_WRITE || range->start + range->length < range->start)
		return -EINVAL;
	for (p = range->start; p < range->start + range->length; p += 4096)
		if (mincore((void *)(uintptr_t)p, 1, &vec))
			return -EFAULT;
	return 0;
}

static int mock_stat(struct dgpu_stat *stat)
{
	static const uint32_t counts[] = {
		[DGPU_STAT_MIRROR] = HMM_STAT_NR, [DGPU_STAT_EVENTS] = HMM_EVENT_NR,
		[DGPU_STAT_REASONS] = HMM_REASON_NR, [DGPU_STAT_HW] = DGPU_HW_NR,
		[DGPU_STAT_RMEM] = HMM_RMEM_NR,
	};
	uint64_t mirror[HMM_STAT_NR] = {
		[HMM_STAT_FAULTS] = hw_stats[DGPU_HW_FAULTS],
		[HMM_STAT_MOVED_IN] = moved_in, [HMM_STAT_MOVED_OUT] = moved_out,
	};
	uint64_t *to = (uint64_t *)(uintptr_t)stat->values;
	uint32_t i;

	if (stat->what >= ARRAY_SIZE(counts))
		return -EINVAL;
	rmem_stats[HMM_RMEM_TOTAL] = local_size();
	rmem_stats[HMM_RMEM_USED] = nlocal;
	rmem_stats[HMM_RMEM_CHUNKS_FREE] = (local_size() - nlocal) / 512;
	for (i = 0; i < stat->count && i < counts[stat->what]; i++)
		to[i] = stat->what == DGPU_STAT_HW ? hw_stats[i] :
			stat->what == DGPU_STAT_MIRROR ? mirror[i] :
			stat->what == DGPU_STAT_RMEM ? rmem_stats[i] : 0;
	stat->count = counts[stat->what];
	return 0;
}

static int mock_events(const struct dgpu_events *e)
{
	if (e->pad || e->capacity > MAX_EVENTS || (e->capacity & (e->capacity - 1)))
		return -EINVAL;
	capacity = e->capacity;
	head = tail = 0;
	return 0;
}

int dgpu_sys_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	pthread_mutex_lock(&lock);
	if (failure.times && failure.nr == _IOC_NR(request)) {
		failure.times--;
		ret = failure.error;
		goto out;
	}
	switch (request) {
	case DGPU_IOCTL_INFO:
		ret = mock_info(arg);
		break;
	case DGPU_IOCTL_SUBMIT:
		ret = mock_submit(fd, arg);
		break;
	case DGPU_IOCTL_RESULT:
		ret = mock_result(fd, arg);
		break;
	case DGPU_IOCTL_PREFAULT:
		ret = mock_prefault(arg);
		break;
	case DGPU_IOCTL_PTES: {
		struct dgpu_ptes *ptes = arg;

		ret = (ptes->start & 4095) || !ptes->npages || ptes->npages > 1 << 20 ?
			-EINVAL : 0;
		if (!ret)
			memset((void *)(uintptr_t)ptes->out, 0, ptes->npages);
		break;
	}
	case DGPU_IOCTL_STAT:
		ret = mock_stat(arg);
		break;
	case DGPU_IOCTL_EVENTS:
		ret = mock_events(arg);
		break;
	case DGPU_IOCTL_MIGRATE:
		ret = mock_migrate(arg);
		break;
	case DGPU_IOCTL_POLICY:
		ret = mock_policy(arg);
		break;
	case DGPU_IOCTL_HINT:
		ret = mock_hint(arg);
		break;
	case DGPU_IOCTL_RESIDENCY:
		ret = mock_residency(arg);
		break;
	case DGPU_IOCTL_EVACUATE:
		ret = mock_evacuate(arg);
		break;
	default:
		ret = -ENOTTY;
	}
out:
	pthread_mutex_unlock(&lock);
	return ret;
}

/* ---- files ---- */

int dgpu_sys_open(const char *path)
{
	static bool handler;
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER };
	int fd;

	if (!strcmp(path, "/nonexistent"))
		return -ENOENT;
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	pthread_mutex_lock(&lock);
	if (!handler) {
		sigaction(SIGSEGV, &sa, NULL);
		sigaction(SIGBUS, &sa, NULL);
		handler = true;
	}
	pthread_mutex_unlock(&lock);
	return fd < 0 ? -errno : fd;
}

/* A device file's jobs end with it; a fence has none. */
void dgpu_sys_close(int fd)
{
	struct mock_job **at, *job;

	pthread_mutex_lock(&lock);
again:
	for (at = &jobs; (job = *at); at = &job->next) {
		if (job->file != fd)
			continue;
		if (!job->done) {
			pthread_cond_wait(&finished, &lock);
			goto again;
		}
		*at = job->next;
		free(job);
		goto again;
	}
	close(fd);
	pthread_mutex_unlock(&lock);
}

ssize_t dgpu_sys_read(int fd, void *buf, size_t size)
{
	struct dgpu_event *to = buf;
	size_t n = 0;

	(void)fd;
	if (size < sizeof(*to))
		return -EINVAL;
	pthread_mutex_lock(&lock);
	while (tail != head && (n + 1) * sizeof(*to) <= size)
		to[n++] = ring[tail++ & (capacity - 1)];
	pthread_mutex_unlock(&lock);
	return n ? (ssize_t)(n * sizeof(*to)) : -EAGAIN;
}

int dgpu_sys_poll(int fd, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int ret = poll(&pfd, 1, timeout_ms);

	return ret < 0 ? -errno : ret;
}

/* ---- controls ---- */

void mock_fail(unsigned int nr, int error, unsigned int times)
{
	failure.nr = nr;
	failure.error = error;
	failure.times = times;
}

unsigned int mock_results(void)
{
	struct mock_job *job;
	unsigned int n = 0;

	pthread_mutex_lock(&lock);
	for (job = jobs; job; job = job->next)
		n++;
	pthread_mutex_unlock(&lock);
	return n;
}

unsigned int mock_running(void)
{
	struct mock_job *job;
	unsigned int n = 0;

	pthread_mutex_lock(&lock);
	for (job = jobs; job; job = job->next)
		n += !job->done;
	pthread_mutex_unlock(&lock);
	return n;
}

void mock_privileged(bool yes)
{
	privileged = yes;
}

void mock_limit(unsigned int results)
{
	limit = results;
}

void mock_event(const struct dgpu_event *event)
{
	pthread_mutex_lock(&lock);
	if (capacity) {
		ring[head & (capacity - 1)] = *event;
		head++;
		if (head - tail > capacity)
			tail = head - capacity;
	}
	pthread_mutex_unlock(&lock);
}

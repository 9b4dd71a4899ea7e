// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's side of the selftests: see sys.h.
 *
 * Nothing here is specific to the device.  Functions that a test cannot do without
 * end it (ASSERT_*); features that a kernel may lack skip it.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include "gpu.h"
#include "sys.h"

unsigned long sys_scale(unsigned long rounds)
{
	const char *env = getenv("HMM_TEST_SCALE");
	unsigned long percent = harness_slow_kernel() ? 15 : 100;

	if (env && *env)
		percent = strtoul(env, NULL, 10);
	rounds = rounds * percent / 100;
	return rounds ? rounds : 1;
}

bool sys_kernel_since(unsigned int version, unsigned int patchlevel)
{
	unsigned int has_version = 0, has_patchlevel = 0;
	struct utsname name;

	ASSERT_SYS(uname(&name));
	ASSERT_EQ(2, sscanf(name.release, "%u.%u", &has_version, &has_patchlevel));
	return has_version > version ||
	       (has_version == version && has_patchlevel >= patchlevel);
}

uint64_t sys_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t sys_patience_ms(void)
{
	return sys_now_ms() + 60000ull * harness_timeout_scale;
}

void sys_sleep_ms(unsigned int ms)
{
	const struct timespec time = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&time, NULL);
}

/* ---- files ---- */

int sys_try_write(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

void sys_write(const char *path, const char *text)
{
	const int ret = sys_try_write(path, text);

	if (ret)
		SKIP("cannot write '%s' to %s: %s", text, path, strerror(-ret));
}

char *sys_text(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size = 0, room = 0;
	char *text = NULL;
	ssize_t nr;

	if (fd < 0)
		return NULL;
	do {
		if (room - size < 4096) {
			room = room * 2 + 8192;
			text = realloc(text, room);
			ASSERT_NE(text, NULL);
		}
		nr = read(fd, text + size, room - size - 1);
		if (nr > 0)
			size += (size_t)nr;
	} while (nr > 0);
	close(fd);
	text[size] = '\0';
	return text;
}

long long sys_number_of(const char *path, const char *key)
{
	char *text = sys_text(path), *at;
	long long number = -1;

	if (!text)
		SKIP("no %s", path);
	at = text;
	while (at && strncmp(at, key, strlen(key))) {
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	if (at)
		number = strtoll(at + strlen(key) + strspn(at + strlen(key), ": \t="), NULL, 0);
	free(text);
	return number;
}

long long sys_number(const char *path)
{
	return sys_number_of(path, "");
}

int sys_run(const char *fmt, ...)
{
	char command[600], line[400];
	FILE *pipe;
	va_list ap;
	int len, status;

	va_start(ap, fmt);
	len = vsnprintf(command, sizeof(command) - 6, fmt, ap);
	va_end(ap);
	ASSERT_LT(len, sizeof(command) - 6);
	strcat(command, " 2>&1");
	pipe = popen(command, "re");
	ASSERT_NE(pipe, NULL);
	while (fgets(line, sizeof(line), pipe)) {
		line[strcspn(line, "\n")] = '\0';
		if (*line)
			test_log("%.40s: %s", command, line);
	}
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Its words, which blanks are between. */
static void sys_words(char *command, char *words[], size_t max)
{
	size_t n = 0;

	for (char *word = strtok(command, " "); word; word = strtok(NULL, " ")) {
		ASSERT_LT(n, max - 1);
		words[n++] = word;
	}
	words[n] = NULL;
}

int sys_spawn(const char *fmt, ...)
{
	char command[600], said[4000], *words[32], *line;
	posix_spawn_file_actions_t actions;
	size_t len = 0;
	int fds[2], status;
	ssize_t got;
	va_list ap;
	pid_t pid;

	va_start(ap, fmt);
	ASSERT_LT(vsnprintf(command, sizeof(command), fmt, ap), sizeof(command));
	va_end(ap);
	sys_words(command, words, sizeof(words) / sizeof(words[0]));
	ASSERT_SYS(setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1));
	ASSERT_SYS(pipe2(fds, O_CLOEXEC));
	ASSERT_EQ(0, posix_spawn_file_actions_init(&actions));
	ASSERT_EQ(0, posix_spawn_file_actions_adddup2(&actions, fds[1], 1));
	ASSERT_EQ(0, posix_spawn_file_actions_adddup2(&actions, fds[1], 2));
	status = posix_spawnp(&pid, words[0], &actions, NULL, words, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	if (status) {
		close(fds[0]);
		test_log("%s: %s", words[0], strerror(status));
		return 127;
	}
	/* What is too much is read all the same, for it to go on. */
	while ((got = read(fds[0], said + len, sizeof(said) - 1 - len)) > 0)
		len = len + got < sizeof(said) - 1 ? len + got : 0;
	close(fds[0]);
	said[len] = '\0';
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	for (line = strtok(said, "\n"); status && line; line = strtok(NULL, "\n"))
		test_log("%s: %s", words[0], line);
	return status;
}

/* ---- memory ---- */

static void *sys_area(size_t length)
{
	/* Aligned, with inaccessible space around: no neighbour to merge with. */
	const size_t room = length + 2 * HUGE_SIZE;
	uintptr_t at;

	at = (uintptr_t)mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			     -1, 0);
	ASSERT_NE(at, MAP_FAILED);
	at = (at + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1);
	ASSERT_NE(mmap((void *)at, length, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), MAP_FAILED);
	return (void *)at;
}

void *sys_pages(size_t npages)
{
	void *addr = sys_area(npages * PAGE_SIZE);

	madvise(addr, npages * PAGE_SIZE, MADV_NOHUGEPAGE);
	return addr;
}

void *sys_huge_area(size_t nhuge)
{
	void *addr = sys_area(nhuge * HUGE_SIZE);

	if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK))
		SKIP("no transparent huge pages");
	ASSERT_SYS(madvise(addr, nhuge * HUGE_SIZE, MADV_HUGEPAGE));
	return addr;
}

size_t sys_make_huge(void *addr, size_t nhuge)
{
	for (size_t i = 0; i < nhuge * HUGE_SIZE; i += PAGE_SIZE)
		((volatile char *)addr)[i] = ((volatile char *)addr)[i];
	/*
	 * Fragmentation may have left small ones.  To compact all of memory takes long, after
	 * tests that have filled it: only if nothing else helps.
	 */
	for (int tries = 0; tries < 5; tries++) {
		if (sys_smaps(addr, "AnonHugePages:") == (long)(nhuge * HUGE_SIZE / 1024))
			break;
		if (tries == 1)
			sys_try_write("/proc/sys/vm/drop_caches", "1");
		else if (tries > 1)
			sys_try_write("/proc/sys/vm/compact_memory", "1");
		madvise(addr, nhuge * HUGE_SIZE, MADV_COLLAPSE);
	}
	return (size_t)sys_smaps(addr, "AnonHugePages:") * 1024 / HUGE_SIZE;
}

#define KHUGEPAGED	"/sys/kernel/mm/transparent_hugepage/khugepaged/"

static struct {
	char sleep[32];		/* its old setting; empty: cannot be set */
	void *area;		/* that has it know this process */
} khugepaged;

/*
 * It looks at once, however long it should sleep, when it comes to know of a first process
 * that has advised huge pages: let that be this one, which has nothing to be seen.
 */
void sys_khugepaged_rest(void)
{
	char *text = sys_text(KHUGEPAGED "scan_sleep_millisecs");
	long long scans;

	if (text)
		snprintf(khugepaged.sleep, sizeof(khugepaged.sleep), "%.30s", text);
	free(text);
	if (!text || sys_try_write(KHUGEPAGED "scan_sleep_millisecs", "86400000")) {
		khugepaged.sleep[0] = '\0';
		return;
	}
	scans = sys_number(KHUGEPAGED "full_scans");
	khugepaged.area = mmap(NULL, 2 * HUGE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (khugepaged.area == MAP_FAILED)
		return;
	madvise(khugepaged.area, 2 * HUGE_SIZE, MADV_DONTFORK);
	madvise(khugepaged.area, 2 * HUGE_SIZE, MADV_HUGEPAGE);
	/* If it never looks, so much the better. */
	for (int tries = 0; tries < 100; tries++) {
		if (sys_number(KHUGEPAGED "full_scans") > scans)
			break;
		sys_sleep_ms(20);
	}
}

int sys_khugepaged_resume(void)
{
	if (!*khugepaged.sleep)
		return 0;
	munmap(khugepaged.area, 2 * HUGE_SIZE);
	return sys_try_write(KHUGEPAGED "scan_sleep_millisecs", khugepaged.sleep);
}

long long sys_nr_mlock(void)
{
	sys_try_write("/proc/sys/vm/compact_memory", "1");
	sys_try_write("/proc/sys/vm/stat_refresh", "1");
	return sys_number_of("/proc/vmstat", "nr_mlock ");
}

void sys_madvise_everywhere(void *addr, size_t length, int advice)
{
	cpu_set_t all, one;

	ASSERT_SYS(sched_getaffinity(0, sizeof(all), &all));
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		ASSERT_SYS(sched_setaffinity(0, sizeof(one), &one));
		madvise(addr, length, advice);
	}
	ASSERT_SYS(sched_setaffinity(0, sizeof(all), &all));
}

uint64_t sys_pagemap(const volatile void *addr)
{
	const int fd = ASSERT_SYS(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	uint64_t word = 0;

	ASSERT_EQ(sizeof(word), pread(fd, &word, sizeof(word),
				      (off_t)((uintptr_t)addr / PAGE_SIZE * sizeof(word))));
	close(fd);
	return word;
}

long sys_smaps(const void *addr, const char *key)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	bool here = false;
	long found = -1;
	char line[400];

	ASSERT_NE(file, NULL);
	while (found < 0 && fgets(line, sizeof(line), file)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (uintptr_t)addr >= start && (uintptr_t)addr < end;
		else if (here && !strncmp(line, key, strlen(key)))
			found = atol(line + strlen(key));
	}
	fclose(file);
	return found;
}

unsigned int sys_nodes(void)
{
	unsigned int nodes = 0;
	struct dirent *entry;
	DIR *dir;

	dir = opendir("/sys/devices/system/node");
	if (!dir)
		return 1;
	while ((entry = readdir(dir)))
		nodes += !strncmp(entry->d_name, "node", 4) &&
			 isdigit((unsigned char)entry->d_name[4]);
	closedir(dir);
	return nodes;
}

static int sys_move_pages(pid_t pid, void *addr, const int *node)
{
	int status = -EINVAL;

	if (syscall(SYS_move_pages, pid, 1ul, &addr, node, &status, 2 /* MPOL_MF_MOVE */) < 0)
		return -errno;
	return status;
}

int sys_node_of(void *addr)
{
	return sys_move_pages(0, addr, NULL);
}

int sys_move_page(pid_t pid, void *addr, int node)
{
	return sys_move_pages(pid, addr, &node);
}

/* ---- block devices ---- */

/* The virtio disk with a serial number, if the guest has one. */
bool sys_disk(const char *serial, char *device, size_t size)
{
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	dir = opendir("/sys/block");
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		char path[300], *text;

		snprintf(path, sizeof(path), "/sys/block/%s/serial", entry->d_name);
		text = sys_text(path);
		if (text && !strncmp(text, serial, strlen(serial))) {
			snprintf(device, size, "/dev/%.50s", entry->d_name);
			found = true;
		}
		free(text);
	}
	closedir(dir);
	return found;
}

/* A loop device on a new file of @mib MiB in /tmp; false if there are none. */
bool sys_loop(const char *name, size_t mib, char *file, size_t file_size,
		     char *device, size_t device_size)
{
	int control, number, fd, loop;

	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0) {
		sys_run("modprobe loop");
		control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	}
	if (control < 0)
		return false;
	number = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	if (number < 0)
		return false;
	snprintf(file, file_size, "/tmp/%s.%d", name, getpid());
	snprintf(device, device_size, "/dev/loop%d", number);
	fd = ASSERT_SYS(open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	ASSERT_SYS(ftruncate(fd, (off_t)(mib << 20)));
	loop = ASSERT_SYS(open(device, O_RDWR | O_CLOEXEC));
	ASSERT_SYS(ioctl(loop, LOOP_SET_FD, fd));
	close(loop);
	close(fd);
	return true;
}

void sys_loop_end(const char *device, const char *file)
{
	const int loop = open(device, O_RDWR | O_CLOEXEC);

	if (loop >= 0) {
		EXPECT_SYS(ioctl(loop, LOOP_CLR_FD, 0));
		close(loop);
	}
	unlink(file);
}

/* ---- swap ---- */

/* The header that swapon() looks for, as mkswap(8) writes it. */
static void sys_mkswap(const char *device)
{
	const int fd = ASSERT_SYS(open(device, O_RDWR | O_CLOEXEC));
	const off_t size = lseek(fd, 0, SEEK_END);
	union {
		char page[4096];
		struct {
			char boot[1024];
			uint32_t version, last_page, nr_badpages;
		} info;
	} header = { .info = { .version = 1, .last_page = (uint32_t)(size / 4096 - 1) } };

	memcpy(header.page + 4086, "SWAPSPACE2", 10);
	ASSERT_GT(size, 1 << 20);
	ASSERT_EQ(4096, pwrite(fd, header.page, 4096, 0));
	ASSERT_SYS(fsync(fd));
	close(fd);
}

void sys_swap_on(struct sys_swap *swap)
{
	char *text = sys_text("/proc/swaps");
	const bool in_use = text && strchr(text, '\n') && strchr(text, '\n')[1];

	free(text);
	if (!text)
		SKIP("this kernel has no swap");
	if (in_use)
		return;
	if (!sys_disk("hmm-swap", swap->device, sizeof(swap->device)) &&
	    !sys_loop("hmm-swap", 128, swap->file, sizeof(swap->file), swap->device,
		      sizeof(swap->device)))
		SKIP("no disk and no loop device to swap to");
	sys_mkswap(swap->device);
	ASSERT_SYS(swapon(swap->device, 0));
	swap->ours = true;
}

void sys_swap_off(struct sys_swap *swap)
{
	if (swap->ours)
		EXPECT_SYS(swapoff(swap->device));
	if (*swap->file)
		sys_loop_end(swap->device, swap->file);
	memset(swap, 0, sizeof(*swap));
}

/* ---- control groups ---- */

static const char *sys_cgroup_root(void)
{
	static const char * const where[] = {
		"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/tmp/hmm-cgroup2",
	};
	static char found[64];

	if (*found)
		return found;
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
			char path[128], *text;
			bool has;

			snprintf(path, sizeof(path), "%s/cgroup.controllers", where[i]);
			text = sys_text(path);
			has = text && strstr(text, "memory");
			free(text);
			if (!has)
				continue;
			snprintf(path, sizeof(path), "%s/cgroup.subtree_control", where[i]);
			if (sys_try_write(path, "+memory"))
				continue;
			strcpy(found, where[i]);
			return found;
		}
		mkdir(where[2], 0700);
		if (mount("none", where[2], "cgroup2", 0, NULL))
			break;
	}
	SKIP("no cgroup2 memory controller");
}

void sys_memcg_create(struct sys_memcg *cg, const char *name)
{
	snprintf(cg->path, sizeof(cg->path), "%s/hmm-%s-%d", sys_cgroup_root(), name, getpid());
	ASSERT_SYS(mkdir(cg->path, 0700));
}

void sys_memcg_set(const struct sys_memcg *cg, const char *file, const char *text)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", cg->path, file);
	ASSERT_EQ(0, sys_try_write(path, text));
}

/*
 * Not memory.max: while all of a group's pages are on their way to a swap device that is
 * slow, reclaim finds nothing that it could free, does not wait, and has the group's
 * program killed.  Kernels without our modules do that, too.
 */
void sys_memcg_press(const struct sys_memcg *cg, size_t bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", bytes);
	sys_memcg_set(cg, "memory.high", text);
}

void sys_memcg_enter(const struct sys_memcg *cg)
{
	sys_memcg_set(cg, "cgroup.procs", "0");
}

void sys_memcg_leave(const struct sys_memcg *cg)
{
	char path[200];

	if (!*cg->path)
		return;
	snprintf(path, sizeof(path), "%s/cgroup.procs", sys_cgroup_root());
	EXPECT_EQ(0, sys_try_write(path, "0"));
}

void sys_memcg_destroy(struct sys_memcg *cg)
{
	/* A process that was just killed is still in it for a moment. */
	for (int tries = 0; *cg->path && rmdir(cg->path); tries++) {
		if (errno != EBUSY || tries == 200) {
			EXPECT_SYS(rmdir(cg->path));
			break;
		}
		sys_sleep_ms(50);
	}
	memset(cg, 0, sizeof(*cg));
}

/* ---- children ---- */

void sys_child_start(struct sys_child *child, void (*fn)(struct sys_child *me, void *arg),
		     void *arg)
{
	int to[2], from[2];

	ASSERT_SYS(pipe2(to, O_CLOEXEC));
	ASSERT_SYS(pipe2(from, O_CLOEXEC));
	child->pid = ASSERT_SYS(fork());
	if (!child->pid) {
		struct sys_child me = { .pid = getpid(), .to = from[1], .from = to[0] };

		close(to[1]);
		close(from[0]);
		fn(&me, arg);
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	child->to = to[1];
	child->from = from[0];
}

void sys_child_tell(struct sys_child *child)
{
	ASSERT_EQ(1, write(child->to, "x", 1));
}

void sys_child_wait(struct sys_child *child)
{
	char byte;

	ASSERT_EQ(1, read(child->from, &byte, 1));
}

int sys_child_end(struct sys_child *child)
{
	int status = -1;

	close(child->to);
	close(child->from);
	ASSERT_EQ(child->pid, waitpid(child->pid, &status, 0));
	child->pid = 0;
	return status;
}

/* ---- file systems ---- */

void sys_ext4_mount(struct sys_ext4 *fs)
{
	char *text;
	bool has;

	text = sys_text("/proc/filesystems");
	has = text && strstr(text, "\text4\n");
	free(text);
	if (!has && sys_run("modprobe ext4"))
		SKIP("this kernel has no ext4");
	if (!sys_disk("hmm-scratch", fs->device, sizeof(fs->device)) &&
	    !sys_loop("hmm-ext4", 128, fs->file, sizeof(fs->file), fs->device,
		      sizeof(fs->device)))
		SKIP("no disk and no loop device for a file system");
	if (sys_run("PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F %s", fs->device))
		SKIP("cannot make an ext4 on %s", fs->device);
	snprintf(fs->dir, sizeof(fs->dir), "/tmp/hmm-ext4-dir.%d", getpid());
	ASSERT_SYS(mkdir(fs->dir, 0700));
	if (mount(fs->device, fs->dir, "ext4", 0, NULL))
		SKIP("cannot mount ext4: %s", strerror(errno));
	fs->mounted = true;
}

void sys_ext4_remount(struct sys_ext4 *fs)
{
	ASSERT_SYS(umount(fs->dir));
	fs->mounted = false;
	ASSERT_SYS(mount(fs->device, fs->dir, "ext4", 0, NULL));
	fs->mounted = true;
}

void sys_ext4_umount(struct sys_ext4 *fs)
{
	if (fs->mounted)
		EXPECT_SYS(umount(fs->dir));
	if (*fs->dir)
		rmdir(fs->dir);
	if (*fs->file)
		sys_loop_end(fs->device, fs->file);
	memset(fs, 0, sizeof(*fs));
}

/* ---- userfaultfd ---- */

int sys_uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		SKIP("no userfaultfd: %s", strerror(errno));
	if (ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		SKIP("userfaultfd lacks features %#jx", (uintmax_t)features);
	}
	return fd;
}

void sys_uffd_register(int uffd, void *addr, size_t length, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)addr, length },
		.mode = mode,
	};

	ASSERT_SYS(ioctl(uffd, UFFDIO_REGISTER, &reg));
}

void sys_uffd_protect(int uffd, void *addr, size_t length, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)addr, length },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	ASSERT_SYS(ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
}

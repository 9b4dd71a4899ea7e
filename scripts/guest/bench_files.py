# SPDX-License-Identifier: GPL-2.0
"""Runs in the guest of scripts/bench-files.

    bench_files.py overhead TYPE TYPE ROUNDS ARCHIVE WORKLOAD...
    bench_files.py device TYPE COMMAND [ARGUMENT...]

"overhead" does the same work on two types of file system, in turns. Nothing there has to do
with devices: what is measured is what a file system of the second type costs those who use
none. Each measurement has a file system that is new, made with the same parameters on the
same loop device, whose file is in memory, so that there is no disk that would be waited for.
On stdout there is one JSON object a line: round, type, workload; operations; ns of all; and
typical, ns of an operation: the mean of the middle half of them. Round -1 warms up.

"device" runs a command, with the directory of a new file system as its last argument.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time

IMAGE = "/dev/shm/bench_files.img"
COPY = "/dev/shm/bench_files.tar"
LOG = "/dev/shm/bench_files"
FOLDER = "/tmp/bench_files"
# The same every time, as places on the disk depend on it.
IDENTITY = "11111111-2222-3333-4444-555555555555"

# What fio is to do with a file: its MiB, bytes of an operation, options, and what is there
# before: nothing, a file that is not in the page cache, or one that is.
JOBS = {
    # buffered, from the begin to the end
    "write_new": (64, 65536, "--rw=write --fsync=256", "new"),
    "read_cold": (64, 65536, "--rw=read", "cold"),
    "read_warm": (64, 65536, "--rw=read", "warm"),
    # buffered, anywhere
    "write_4k": (32, 4096, "--rw=randwrite --fsync=2048", "warm"),
    "read_4k": (32, 4096, "--rw=randread", "warm"),
    "read_4k_cold": (32, 4096, "--rw=randread", "cold"),
    # hardly any bytes, so that it is all about the way there
    "write_64": (1, 64, "--rw=write", "warm"),
    "read_64": (1, 64, "--rw=read", "warm"),
    # to the disk at once
    "write_sync": (4, 4096, "--rw=randwrite --sync=1", "warm"),
    "direct_write": (16, 4096, "--rw=randwrite --direct=1", "cold"),
    "direct_read": (16, 4096, "--rw=randread --direct=1", "cold"),
    # by a mapping
    "mmap_write": (32, 4096, "--rw=randwrite --ioengine=mmap --fsync=2048", "cold"),
    "mmap_read": (32, 4096, "--rw=randread --ioengine=mmap", "cold"),
}
TREE = ("untar", "sync_tree", "read_tree", "remove_tree")


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


class Volume:
    """A new file system, mounted."""

    def __init__(self, device, fs_type):
        run("mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-N", "8192", "-U", IDENTITY,
            "-E", f"nodiscard,lazy_itable_init=0,lazy_journal_init=0,hash_seed={IDENTITY}",
            "-J", "size=16", device)
        self.arguments = ["-t", fs_type, device, FOLDER]
        run("mount", *self.arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run("umount", FOLDER)

    def forget(self):
        """What is in caches of it, and of nothing else: programs would have to wait."""
        run("umount", FOLDER)
        run("mount", *self.arguments)


def loop_device(mib):
    """A disk in memory, all of which is there."""
    run("modprobe", "loop")
    run("fallocate", "-l", f"{mib}M", IMAGE)
    return subprocess.run(["losetup", "-f", "--show", IMAGE], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()


def prepare_file(name, size, state):
    if state == "new":
        return
    with open(name, "wb") as handle:
        for i in range(size >> 20):
            handle.write(bytes([i + 1]) * (1 << 20))
        os.fsync(handle.fileno())
        if state == "cold":
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fio(name):
    """Operations, ns of all of them, ns of a typical one."""
    mib, block, options, state = JOBS[name]
    path = os.path.join(FOLDER, "file")
    prepare_file(path, mib << 20, state)
    engine = [] if "--ioengine" in options else ["--ioengine=psync"]
    result = subprocess.run(
        ["fio", "--name=job", "--thread", f"--filename={path}", f"--size={mib}M",
         f"--bs={block}", "--invalidate=0", "--randrepeat=1", "--norandommap",
         "--fallocate=none", "--clocksource=clock_gettime", "--output-format=json",
         f"--write_lat_log={LOG}", *engine, *options.split()],
        stdout=subprocess.PIPE, check=True)
    job = json.loads(result.stdout[result.stdout.index(b"{"):])["jobs"][0]
    took = sum(job[kind]["lat_ns"]["mean"] * job[kind]["lat_ns"]["N"]
               for kind in ("read", "write", "sync"))
    with open(LOG + "_lat.1.log", encoding="ascii") as log:
        each = sorted(int(line.split(",")[1]) for line in log)
    middle = each[len(each) // 4:len(each) - len(each) // 4]
    return len(each), took, sum(middle) / len(middle)


def run_on_cpu(*argv):
    """Runs a program; ns that it was on a processor: its text comes from elsewhere."""
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    begin = used()
    run(*argv)
    return (used() - begin) * 1e9


def tree(volume, step):
    """A tree of small files; as in fio()."""
    if step == "untar":
        return 1, run_on_cpu("tar", "-C", FOLDER, "-xf", COPY), None
    if step == "read_tree":
        volume.forget()
        return 1, run_on_cpu("tar", "-C", FOLDER, "-cf", COPY + ".new", "tree"), None
    begin = time.monotonic_ns()
    if step == "remove_tree":
        shutil.rmtree(os.path.join(FOLDER, "tree"))
    os.sync()
    return 1, time.monotonic_ns() - begin, None


def measure(types, rounds, workloads, device):
    def emit(number, fs_type, workload, values):
        operations, took, typical = values
        print(json.dumps({"round": number, "type": fs_type, "workload": workload,
                          "operations": operations, "ns": took, "typical": typical}),
              flush=True)

    for name in workloads:
        for number in range(-1, rounds):
            # Who is the first is not always the same.
            for fs_type in types if number % 2 else types[::-1]:
                with Volume(device, fs_type) as volume:
                    if name != "tree":
                        emit(number, fs_type, name, fio(name))
                        continue
                    for step in TREE:
                        emit(number, fs_type, step, tree(volume, step))


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.makedirs(FOLDER, exist_ok=True)
    if sys.argv[1] == "overhead":
        types = sys.argv[2:4]
        for fs_type in types:
            subprocess.run(["modprobe", "-q", fs_type], check=False)
        shutil.copy(sys.argv[5], COPY)
        measure(types, int(sys.argv[4]), sys.argv[6:], loop_device(192))
        return 0
    with Volume(loop_device(640), sys.argv[2]):
        return subprocess.run([*sys.argv[3:], FOLDER], check=False).returncode


sys.exit(main())

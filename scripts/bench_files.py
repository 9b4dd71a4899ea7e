# SPDX-License-Identifier: GPL-2.0
"""Command line of scripts/bench-files."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile

from hmmvm import TOP, kernels

NS_PER_INSTRUCTION = 2      # of a guest with --icount
DIRECTORIES = ["kernel", "lib", "mm"]

# What a guest does before it is left for another one: some minutes.
GUESTS = [["write_64", "read_64", "write_sync"],
          ["write_4k", "read_4k", "read_4k_cold"],
          ["write_new", "read_cold", "read_warm"],
          ["direct_write", "direct_read", "mmap_write", "mmap_read"],
          ["tree"]]
WORKLOADS = [name for guest in GUESTS for name in guest]
SECTIONS = ["read", "share", "move", "sync"]

DESCRIPTION = """\
Measures what it costs that pages of files may be on a device: "overhead", what ext4_hmm
costs those who use no device, next to the kernel's own ext4; "device", what devices take to
use files. In guests that count instructions, so that it matters little what else this
machine does."""

EPILOG = f"""\
workloads of "overhead":
  {', '.join(WORKLOADS[:6])},
  {', '.join(WORKLOADS[6:10])},
  {', '.join(WORKLOADS[10:])}
                  (fio; scripts/guest/bench_files.py has what they are. "tree" is
                  tar of a part of the kernel's source: untar, sync, read, remove)
sections of "device":
  {', '.join(SECTIONS)}    (tests/selftests/bench_files.c)

Columns of "overhead": instructions of a typical operation (the mean of the middle half of
them) on the kernel's own ext4, and how many more it takes on ext4_hmm; all the time that
the work takes, as a ratio: the median of the rounds, the lowest and the highest.

examples:
  scripts/bench-files
  scripts/bench-files --kernel 7.2 --part overhead --rounds 7
  scripts/bench-files --part overhead --only write_64,tree --json
  scripts/bench-files --part device --only move"""


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/bench-files", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--kernel", default="6.12", metavar="NAME", help="a row of scripts/kernels.table (6.12)")
    add("--flavour", default="fast", choices=["fast", "debug"])
    add("--part", choices=["overhead", "device"], help="only this one")
    add("--only", metavar="LIST", default="", help="only these workloads or sections")
    add("--rounds", type=int, default=5, metavar="N",
        help="times that each workload runs on each file system (5)")
    add("--runs", type=int, default=3, metavar="N",
        help="runs that each number about devices is the median of (3)")
    add("--against", default="ext4", metavar="TYPE",
        help="type of the file system that ext4_hmm is compared with (ext4)")
    add("--json", action="store_true", help="print an object instead of tables")
    args = parser.parse_args()
    args.only = [name for name in args.only.split(",") if name]
    for name in args.only:
        if name not in WORKLOADS + SECTIONS:
            parser.error(f"there is no {name}")
    return args


def guest(args, options, command):
    """Starts a guest; its process."""
    return subprocess.Popen(
        [os.path.join(TOP, "scripts/vm"), "--kernel", args.kernel, "--flavour", args.flavour,
         "--icount", "--insmod", "ext4_hmm", "--timeout", "7200", *options, "--",
         "/usr/bin/python3", "-B", os.path.join(TOP, "scripts/guest/bench_files.py"), *command],
        cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def end(process):
    if process.wait():
        sys.exit(f"bench-files: error: the guest has failed: status {process.returncode}")


# Overhead

def archive(args):
    """A part of the source of the guest's kernel, the same bytes every time."""
    result = subprocess.run(
        [os.path.join(TOP, "scripts/kernel"), "--kernel", args.kernel, "--flavour",
         args.flavour, "--print", "source"], stdout=subprocess.PIPE, text=True, check=False)
    source = result.stdout.strip()
    if result.returncode or not source:
        sys.exit(f"bench-files: error: there is no source of {args.kernel}")
    name = os.path.join(TOP, "build", f"bench_files-{args.kernel}.tar")
    if os.path.exists(name):
        return name

    def plain(info):
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    os.makedirs(os.path.dirname(name), exist_ok=True)
    with tarfile.open(name + ".new", "w") as tar:
        for directory in DIRECTORIES:
            tar.add(os.path.join(source, directory), "tree/" + directory, filter=plain)
    os.rename(name + ".new", name)
    return name


def middle(values):
    return statistics.median(values) if values else None


def summary(rounds, types):
    """Of the rounds of a workload."""
    counted = [pair for number, pair in sorted(rounds.items())
               if number >= 0 and len(pair) == 2]
    ratios = [pair[types[1]]["ns"] / pair[types[0]]["ns"] for pair in counted]
    typical = [middle([pair[t]["typical"] / NS_PER_INSTRUCTION for pair in counted
                       if pair[t]["typical"]]) for t in types]
    return {"operations": counted[0][types[0]]["operations"],
            "milliseconds": middle([pair[types[0]]["ns"] for pair in counted]) / 1e6,
            "instructions": typical[0],
            "instructions_more": typical[1] - typical[0] if typical[0] else None,
            "ratio": middle(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}


def number(value, form):
    return "-" if value is None else format(value, form)


def print_overhead(name, row):
    part = row["instructions"] and row["instructions_more"] / row["instructions"] * 100
    print(f"{name:14} {row['operations']:9} {number(row['instructions'], '.0f'):>12}"
          f" {number(row['instructions_more'], '+.1f'):>8} {number(part, '+.2f'):>7}"
          f" {row['milliseconds']:9.1f} {row['ratio']:8.4f}"
          f"  {row['ratio_min']:.4f} to {row['ratio_max']:.4f}", flush=True)


def overhead(args):
    tar = archive(args)
    types = [args.against, "ext4_hmm"]
    result = {}
    if not args.json:
        print(f"{'':14} {'':9} {'instructions of one':>29} {'':9} all of it: ratio\n"
              f"{'workload':14} {'how many':>9} {types[0]:>12} {'more':>8} {'%':>7} {'ms':>9}"
              f" {'median':>8}  range", flush=True)
    for names in GUESTS:
        names = [name for name in names if not args.only or name in args.only]
        if not names:
            continue
        seen = {}
        # One processor: nothing happens at the same time as what is measured.
        process = guest(args, ["--bare", "--cpus", "1"],
                        ["overhead", *types, str(args.rounds), tar, *names])
        for line in process.stdout:
            one = json.loads(line)
            rounds = seen.setdefault(one["workload"], {})
            rounds.setdefault(one["round"], {})[one["type"]] = one
            if len(rounds) == args.rounds + 1 and len(rounds[one["round"]]) == 2:
                row = result[one["workload"]] = summary(rounds, types)
                if not args.json:
                    print_overhead(one["workload"], row)
        end(process)
    return result


# Devices

def device(args):
    program = os.path.join(TOP, "tests/selftests/bench_files")
    if subprocess.run(["make", "-s", "-C", os.path.dirname(program), "bench_files"],
                      check=False).returncode:
        sys.exit("bench-files: error: the program does not build")
    result = {}
    for section in SECTIONS:
        if args.only and section not in args.only:
            continue
        process = guest(args, ["--module-args", "dummy_gpu local_mb=320"],
                        ["device", "ext4_hmm", program, "--runs", str(args.runs),
                         "--only", section] + (["--json"] if args.json else []))
        if args.json:
            text = process.stdout.read()
            end(process)
            result.update(json.loads(text))
        else:
            for line in process.stdout:
                print(line, end="", flush=True)
            end(process)
    return result


def main():
    args = parse()
    result = {}
    for name, part in (("overhead", overhead), ("device", device)):
        known = WORKLOADS if name == "overhead" else SECTIONS
        if args.part in (None, name) and (not args.only or set(args.only) & set(known)):
            result[name] = part(args)
    if args.json:
        print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

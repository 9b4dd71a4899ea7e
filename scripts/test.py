# SPDX-License-Identifier: GPL-2.0
"""Command line of scripts/test: runs every suite on every kernel."""

import argparse
import glob
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from hmmvm import CACHE, TOP, kernels, suite, tap
from hmmvm.report import SPLAT_MARK, Report

LOGS = os.path.join(TOP, "build/logs")

# Kernel, flavour, seconds a program may take there.
TARGETS = [("6.12", "fast", 600),
           ("6.12", "debug", 1800),
           ("7.2", "fast", 600),
           ("7.2", "debug", 1800),
           ("stock-6.12", "fast", 600)]

# Guests at once: programs use half a processor, and wait a lot.
JOBS = 3
GUEST_BYTES = 4 << 30

# When the time of --minutes is over, if there is such.
DEADLINE = []
LATE = "not begun: no time was left (--minutes)"

# What takes many minutes where checkers watch: a run of everything has each of these on one
# of the kernels of that flavour, and on all of the others.  --tests and --kernel run them
# anywhere.
LONG = {"chaos": "7.2", "chaos_files": "6.12", "ext4": "7.2", "files_fsx": "7.2",
        "files_hazards": "6.12", "files_io": "6.12", "files_slots": "6.12",
        "files_trouble": "7.2", "inject_files": "6.12"}

# What it can take to build a kernel, beside guests.
KERNEL_SECONDS = 25 * 60

# A guest that dies takes no other test with it: the rest is run in a new one.
MAX_BOOTS = 6

MAIN_GUEST = ["--mem", "3G", "--cpus", "2", "--numa", "2", "--disk", "256M",
              "--swap", "512M", "--insmod", "hmm_sample", "--insmod", "dmirror",
              "--insmod", "ext4_hmm",
              # For coherent devices: dmirror's, and from 0x50000000 on KUnit's.
              "--append", "memmap=320M$0x40000000",
              "--module-args", "dmirror spm_addr_dev0=0x40000000",
              # A fault buffer that is small enough to overflow.
              "--module-args", "dummy_gpu devices=2 fault_entries=16"]

# Where the tests are tested: what keeps pages of files coherent is turned off, part by
# part.  The core's own checks see that, too, and are to say so.
MUTANTS_TARGETS = [("6.12", "fast"), ("7.2", "fast")]
MUTANTS_SPLATS = [r"^WARNING: .*hmm_pagecache"]
MUTANTS_GUEST = ["--mem", "2G", "--cpus", "2", "--disk", "256M",
                 "--insmod", "ext4_hmm",
                 *(arg for text in MUTANTS_SPLATS for arg in ("--ignore", text))]

# Power that fails in guests with file systems of these kinds: scripts/powercut's arguments,
# by target and name.  Without the hook in writeback data must be lost: that is to be seen.
POWERCUTS = {
    ("6.12", "fast"): {
        "ordered": ["--seed", "1"],
        "small-blocks": ["--seed", "2", "--block", "1024", "--mount", "nodelalloc"],
        "without-writeback": ["--seed", "4", "--cuts", "4", "--lines", "600",
                              "--module-args", "ext4_hmm skip_hooks=0x20",
                              "--expect-loss"]},
    ("7.2", "fast"): {
        "fast-commit": ["--seed", "3", "--features", "fast_commit"]},
}
POWERCUT_SECONDS = 300

# What a target's tests run in, one guest after the other: scripts/vm's
# arguments, by what logs and the results of the guest itself are named after.
GUESTS = {"": MAIN_GUEST,
          "-mutants": MUTANTS_GUEST,
          "-hmm-tests": suite.guest_arguments("dmirror"),
          "-hmm-tests-icount": [*suite.guest_arguments("dmirror"), "--icount"]}


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/test", description=__doc__, epilog=
        "The last line of the output is 'N passed, N failed, N skipped'; the "
        "exit status is 0 only if nothing failed. Results are also in "
        "build/test-results.json, outputs in build/logs/.")
    add = parser.add_argument
    add("--kernel", metavar="NAME", help="only this kernel")
    add("--flavour", choices=["fast", "debug"], help="only this flavour")
    add("--tests", metavar="PATTERN", default="",
        help="only tests whose SUITE/NAME matches (host/..., kunit/..., "
        "selftests/..., mutants/..., hmm-tests/..., powercut/...)")
    add("--jobs", type=int, metavar="N",
        help=f"guests that run at once ({JOBS}, if there is the memory for it)")
    add("--minutes", type=float, metavar="N",
        help="begin nothing later than this; what is left is skipped, and counted")
    add("--disk-rate", type=int, metavar="MB",
        help="selftests have disks that write so many megabytes a second, and no "
        "more: what passes on fast disks only is seen then")
    add("--list", action="store_true", help="list what would run, and stop")
    args = parser.parse_args()
    if args.jobs is None:
        args.jobs = max(1, min(JOBS, 2 * (os.cpu_count() or 1) - 1,
                               free_bytes() // GUEST_BYTES))
    if args.jobs < 1:
        parser.error("--jobs: at least 1")
    if args.disk_rate is not None:
        if args.disk_rate < 1:
            parser.error("--disk-rate: at least 1")
        MAIN_GUEST.extend(["--disk-rate", str(args.disk_rate)])
    if args.minutes is not None:
        DEADLINE.append(time.monotonic() + 60 * args.minutes)
    targets = [t for t in TARGETS if args.kernel in (None, t[0])
               and args.flavour in (None, t[1])]
    if not targets:
        parser.error("nothing is tested on that kernel and flavour; there are: "
                     + ", ".join(f"{k} {f}" for k, f, _ in TARGETS))
    return args, targets


def free_bytes():
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(int(line.split()[1]) << 10 for line in lines
                    if line.startswith("MemAvailable:"))


def seconds_left():
    """Until nothing is begun any more; None if that never comes."""
    return max(0, DEADLINE[0] - time.monotonic()) if DEADLINE else None


def is_late():
    return seconds_left() == 0


def add_late(report, column, suite, name):
    """Something was not begun, as there is no time left."""
    outcome = tap.Outcome()
    outcome.skipped.append((name, LATE))
    report.add(column, suite, name, outcome, 0, "", "")


def say(text):
    print(f"test: {text}\n", end="", flush=True)


def script(name, *args):
    """Runs one of our scripts; its output, or None when it fails."""
    result = subprocess.run([os.path.join(TOP, "scripts", name), *args],
                            stdout=subprocess.PIPE, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else None


def make(directory, *args):
    """Runs make in a directory that has a Makefile; (status, output)."""
    if not os.path.exists(os.path.join(TOP, directory, "Makefile")):
        return 0, ""
    environment = {k: v for k, v in os.environ.items() if k not in
                   ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "T")}
    result = subprocess.run(
        ["make", "--no-print-directory", *args], text=True, check=False,
        cwd=os.path.join(TOP, directory), errors="replace", env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    return result.returncode, result.stdout


def wanted(args, suite, name):
    return re.search(args.tests, f"{suite}/{name}") is not None


def save(name, text):
    os.makedirs(LOGS, exist_ok=True)
    path = os.path.join(LOGS, re.sub(r"[^\w.-]", "-", name) + ".log")
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(text)
    return path


def run_host(args, report):
    """The host tests: one program each, under the sanitizers."""
    if not os.path.exists(os.path.join(TOP, "tests/host/Makefile")) or \
            not wanted(args, "host", "check"):
        return
    say("building and running the host tests")
    begin = time.monotonic()
    status, build = make("tests/host", "-j2", "all")
    if status:
        outcome = tap.Outcome()
        outcome.fail("build")
        output = build
    else:
        status, output = make("tests/host", "-s", "check")
        outcome = tap.parse(output, status)
    report.add(("host", "-"), "host", "check", outcome,
               time.monotonic() - begin, save("test-host", output), output)


def selftests(args):
    """[(name, path, timeout or None)] of what tests/selftests builds."""
    status, text = make("tests/selftests", "-s", "list")
    if status:
        sys.exit("test: error: 'make -C tests/selftests list' failed:\n" + text)
    found = []
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        path = os.path.join(TOP, "tests/selftests", words[0])
        if not os.path.exists(path):
            path = os.path.join(TOP, words[0])
        name = os.path.basename(path)
        timeout = float(words[1]) if len(words) > 1 else None
        if wanted(args, "selftests", name):
            found.append((name, path, timeout))
    # Where allocations fail, checkers of the kernel can switch themselves off: last.
    return sorted(found, key=lambda program: program[0].startswith("inject"))


def kunit_names():
    """Modules with KUnit suites, by what builds them."""
    with open(os.path.join(TOP, "tests/kunit/Kbuild"), encoding="utf-8") as kbuild:
        return re.findall(r"^obj-m \+= (\w+_kunit)\.o", kbuild.read(), re.M)


def powercuts(args, column):
    """[(name, arguments)] of the failures of power that a target has."""
    return [(name, arguments) for name, arguments in POWERCUTS.get(column, {}).items()
            if wanted(args, "powercut", name)]


def any_wanted(args):
    return (wanted(args, "host", "check") or selftests(args) or
            any(powercuts(args, column) for column in POWERCUTS) or
            wanted(args, "hmm-tests", "hmm-tests") or
            wanted(args, "mutants", "mutants") or
            any(wanted(args, "kunit", name) for name in kunit_names()))


# One build at a time: it uses all processors.
BUILDING = threading.Lock()
STOPPED = threading.Event()


def kernels_suite(args, target, report):
    """The kernel's own HMM tests as a plan, empty if its source is not at hand."""
    kernel, flavour, limit = target
    if not wanted(args, "hmm-tests", "hmm-tests"):
        return []
    facts = kernels.facts(kernel, flavour)
    if not facts or facts["kind"] != "source":
        return []
    try:
        with BUILDING:
            if is_late():
                add_late(report, target[:2], "hmm-tests", "hmm-tests")
                return []
            path = suite.build(facts["source"], CACHE)
    except suite.BuildError as error:
        outcome = tap.Outcome()
        outcome.fail("build")
        report.add(target[:2], "hmm-tests", "build", outcome, 0,
                   save("build-hmm-tests", str(error)), str(error))
        return []
    return [{"name": "hmm-tests", "suite": "hmm-tests", "kind": "program",
             "path": path, "arguments": suite.leave_out(flavour),
             "left_out": suite.left_out(path, flavour), "timeout": limit}]


def mutants_suite(args, target):
    """The test of the tests of files as a plan; empty where it does not run."""
    if target[:2] not in MUTANTS_TARGETS or not wanted(args, "mutants", "mutants"):
        return []
    return [{"name": "mutants", "suite": "mutants", "kind": "program",
             "path": os.path.join(TOP, "scripts/guest/mutants"),
             "ignore": MUTANTS_SPLATS, "timeout": 3 * target[2]}]


def read(path):
    """What is in a file, if there is one."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read().strip()
    except FileNotFoundError:
        return ""


def is_too_late(target):
    """Would a target's kernel be built when nothing is begun any more?"""
    kernel, flavour, _ = target
    left = seconds_left()
    if left is None or kernel.startswith("stock-"):
        return left == 0
    # One that was built with another configuration saves most of the work.
    source = read(os.path.join(CACHE, "sources", kernel + ".current"))
    package = read(os.path.join(CACHE, "sources", source, ".package"))
    built = [path for path in
             glob.glob(os.path.join(CACHE, "kernels", f"{kernel}-{flavour}-*", ".ready"))
             if read(os.path.join(os.path.dirname(path), ".package")) == package]
    return left <= (0 if built else KERNEL_SECONDS)


def skip_target(args, target, programs, report):
    """All of a target is left out, as there is no time left."""
    names = [("kunit", name) for name in kunit_names() if wanted(args, "kunit", name)]
    names += [("selftests", name) for name, _, _ in programs]
    names += [("powercut", name) for name, _ in powercuts(args, target[:2])]
    names += [(test["suite"], test["name"]) for test in mutants_suite(args, target)]
    if wanted(args, "hmm-tests", "hmm-tests") and not target[0].startswith("stock-"):
        names.append(("hmm-tests", "hmm-tests"))
    for suite_name, name in names:
        add_late(report, target[:2], suite_name, name)


def is_elsewhere(args, target, name):
    """Is a program too long for this kernel and flavour, and run on another one?"""
    return (target[1] == "debug" and not args.tests and not args.kernel and
            LONG.get(name, target[0]) != target[0])


def make_plan(args, target, programs, build):
    """What runs in a target's first guest, with the modules that were built there."""
    limit = target[2]
    plan = []
    with open(os.path.join(build, "modules.order"), encoding="utf-8") as lines:
        for line in lines:
            path = os.path.join(build, re.sub(r"\.k?o$", ".ko", line.strip()))
            name = os.path.basename(path)[:-3]
            if name.endswith("_kunit") and wanted(args, "kunit", name):
                plan.append({"name": name, "suite": "kunit", "kind": "kunit",
                             "path": path, "timeout": limit})
    slower = limit / TARGETS[0][2]
    for name, path, timeout in programs:
        if is_elsewhere(args, target, name):
            continue
        plan.append({"name": name, "suite": "selftests", "kind": "program",
                     "path": path,
                     "timeout": timeout * slower if timeout else limit})
    return plan


class Boot:
    """One guest that works through a plan."""

    def __init__(self, target, guest, plan, report):
        self.target = target
        self.guest = guest
        self.plan = plan
        self.report = report
        self.current = None
        self.output = ""
        self.begin = 0
        self.done = 0

    def test(self, name):
        return next(t for t in self.plan if t["name"] == name)

    def event(self, event):
        if event["event"] == "begin":
            self.current, self.output = event["name"], ""
            self.begin = time.monotonic()
        elif event["event"] == "out":
            self.output += event["text"]
        elif event["event"] == "end":
            self.finish(event["status"], event["splats"], event["seconds"])
        elif event["event"] == "late":
            add_late(self.report, self.target[:2], self.test(event["name"])["suite"],
                     event["name"])
            self.done += 1

    def finish(self, status, splats, seconds, died=None):
        test = self.test(self.current)
        if status is None and not died:
            died = f"no end within {test['timeout']:.0f} s"
        # A KUnit module's status is that of insmod and rmmod.
        outcome = tap.parse(self.output, status, died)
        for splat in splats:
            outcome.fail(f"kernel splat: {splat[0]}")
            self.output += "".join(f"{SPLAT_MARK}{line}\n" for line in splat)
        outcome.skipped += test.get("left_out", {}).items()
        log = save("test-{}-{}-{}".format(*self.target[:2], test["name"]),
                   self.output)
        self.report.add(self.target[:2], test["suite"], test["name"], outcome,
                        seconds, log, self.output)
        self.done += 1
        self.current = None

    def run(self):
        """Runs the guest; returns (its status, the guest's complaints)."""
        kernel, flavour, _ = self.target
        plan = save_plan(kernel, flavour, self.plan)
        log = os.path.join(LOGS, f"console-{kernel}-{flavour}{self.guest}.log")
        limit = sum(t["timeout"] + 90 for t in self.plan) + 60
        command = [os.path.join(TOP, "scripts/vm"), "--kernel", kernel,
                   "--flavour", flavour, "--log", log, "--timeout", str(limit),
                   *GUESTS[self.guest], "--", "/usr/bin/python3", "-B",
                   os.path.join(TOP, "scripts/guest/tests.py"), plan]
        with open(os.path.join(LOGS, f"vm-{kernel}-{flavour}.err"), "w+",
                  encoding="utf-8", errors="replace") as errors:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=errors,
                                       text=True, errors="replace")
            for line in process.stdout:
                try:
                    self.event(json.loads(line))
                except ValueError:
                    print(f"guest {kernel} {flavour}: {line.rstrip()}\n", end="",
                          flush=True)
            status = process.wait()
            errors.seek(0)
            return status, errors.read()


def save_plan(kernel, flavour, plan):
    path = os.path.join(TOP, "build", f"test-plan-{kernel}-{flavour}.json")
    with open(path, "w", encoding="utf-8") as handle:
        json.dump({"seconds": seconds_left(), "tests": plan}, handle, indent=1)
    return path


def run_guests(target, guest, plan, report):
    """Runs a plan in guests of one kind, in one if that survives."""
    column = target[:2]
    for _ in range(MAX_BOOTS):
        if not plan or STOPPED.is_set():
            return
        if is_late():
            for test in plan:
                add_late(report, column, test["suite"], test["name"])
            return
        boot = Boot(target, guest, plan, report)
        say(f"booting {column[0]} {column[1]}: {len(plan)} programs to run")
        begin = time.monotonic()
        status, complaints = boot.run()
        if boot.current:        # the guest died, or hangs, in this test
            boot.finish(None, [], time.monotonic() - boot.begin,
                        "the guest did not survive it")
        outcome = tap.Outcome()
        if status == 0:
            outcome.passed = 1
        else:
            told = re.findall(r"^vm: FAILED: (.*)$", complaints, re.M)
            outcome.failed = told or [f"status {status}"]
        outcome.skipped += [("kernel", fault) for fault in re.findall(
            r"^vm: note: (the kernel's own fault: .*)$", complaints, re.M)]
        # What the whole run promises: modules unload, nothing leaks, no splat,
        # clean power-off.
        report.add(column, "guest", "health" + guest, outcome,
                   time.monotonic() - begin,
                   save("guest-{}-{}{}".format(*column, guest), complaints),
                   complaints)
        if not boot.done:
            break               # it does not even start: no use in trying again
        plan = plan[boot.done:]
    for test in plan:
        outcome = tap.Outcome()
        outcome.fail("not run: the guest died before it")
        report.add(column, test["suite"], test["name"], outcome, 0, "", "")


def run_powercuts(args, column, report):
    """Guests whose power fails: each of these tests has some of its own."""
    for name, arguments in powercuts(args, column):
        if STOPPED.is_set():
            return
        if is_late():
            add_late(report, column, "powercut", name)
            continue
        begin = time.monotonic()
        command = [os.path.join(TOP, "scripts/powercut"), "--kernel", column[0],
                   "--flavour", column[1], "--cuts", "2", "--timeout",
                   str(POWERCUT_SECONDS), *arguments]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                errors="replace", check=False)
        report.add(column, "powercut", name, tap.parse(result.stdout, result.returncode),
                   time.monotonic() - begin,
                   save("test-{}-{}-powercut-{}".format(*column, name), result.stdout),
                   result.stdout)


def run_target(args, target, programs, report):
    """
    The project's tests on one kernel and flavour, and the kernel's own where they
    do not mind what else runs.  False if nothing could be built.
    """
    column = target[:2]
    with BUILDING:
        if is_too_late(target):
            skip_target(args, target, programs, report)
            return False
        say("building kernel (if it is not cached) and modules for " + " ".join(column))
        build = script("modules", "--quiet", "--kernel", column[0], "--flavour", column[1])
    if build is None:
        outcome = tap.Outcome()
        outcome.fail("the modules do not build")
        report.add(column, "build", "modules", outcome, 0, "", "")
        return False
    for name, _, _ in programs:
        if is_elsewhere(args, target, name):
            outcome = tap.Outcome()
            outcome.skipped.append((name, f"takes long on debug: runs on {LONG[name]} only"))
            report.add(column, "selftests", name, outcome, 0, "", "")
    # First what shows that the others can fail: when time is short, it is not this that is
    # left out.
    run_guests(target, "-mutants", mutants_suite(args, target), report)
    run_powercuts(args, column, report)
    run_guests(target, "", make_plan(args, target, programs, build), report)
    if suite.wants_icount(target[1]):
        run_guests(target, "-hmm-tests-icount", kernels_suite(args, target, report),
                   report)
    return True


def run_all(args, targets, programs, report):
    """
    The host tests and all targets, the slowest of these first, several at once.
    Then the kernel's own tests where their limits of time are real: alone.
    """
    with ThreadPoolExecutor(args.jobs) as pool:
        targets = sorted(targets, key=lambda target: -target[2])
        host = pool.submit(run_host, args, report)
        jobs = [pool.submit(run_target, args, target, programs, report)
                for target in targets]
        try:
            host.result()
            built = [job.result() for job in jobs]
        except BaseException:
            # The guests get the same signal; nothing new is begun.
            STOPPED.set()
            for job in jobs:
                job.cancel()
            raise
    for target, is_built in zip(targets, built):
        if is_built and not suite.wants_icount(target[1]):
            run_guests(target, "-hmm-tests", kernels_suite(args, target, report), report)


def main():
    args, targets = parse()
    if args.list:
        for kernel, flavour, _ in targets:
            print(kernel, flavour)
        print("host/check")
        for name in kunit_names():
            print(f"kunit/{name}")
        for name, path, _ in selftests(args):
            print(f"selftests/{name}", path)
        print("mutants/mutants")
        print("hmm-tests/hmm-tests")
        for name in sorted(name for names in POWERCUTS.values() for name in names):
            print(f"powercut/{name}")
        return 0
    os.makedirs(LOGS, exist_ok=True)
    if not any_wanted(args):
        sys.exit(f"test: error: no test matches '{args.tests}'; "
                 "scripts/test --list names them")
    report = Report(TOP, [("host", "-")] + [target[:2] for target in targets])
    say("building lib, tools and the selftests")
    for directory in ("lib", "tools", "tests/selftests"):
        status, output = make(directory, "-j2")
        if status:
            outcome = tap.Outcome()
            outcome.fail("build")
            report.add(("host", "-"), "build", directory, outcome, 0,
                       save("build-" + directory, output), output)
    run_all(args, targets, selftests(args), report)
    return report.finish()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

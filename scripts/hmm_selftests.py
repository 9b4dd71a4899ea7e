# SPDX-License-Identifier: GPL-2.0
"""Command line of scripts/hmm-selftests."""

import argparse
import getopt
import json
import os
import re
import subprocess
import sys
import tempfile

from hmmvm import CACHE, TOP, kernels, suite, tap

DESCRIPTION = """\
Runs the HMM tests that the kernel brings with it (hmm-tests, in
tools/testing/selftests/mm of its source) against this project. The suite is
taken from the source package of the very kernel that the guest runs, built by
that kernel's own Makefile, and not changed in any way. The guest has what the
suite needs for every test: memory that is reserved for two coherent devices,
hugetlb pages, and the kernel's gup_test.

On the flavour "debug" --icount is the default, as the limits of time that the
tests have are for kernels without checkers. What does not come to its end even
so is left out, counted as skipped, and named with the reason; whoever names
tests gets those.

One line is printed for each test, as it ends; below a failure is what the test
said. The last line is 'N passed, N failed, N skipped'."""

EPILOG = """\
drivers:
  dmirror    the project's: the suite's interface on top of hmm_core (default)
  test_hmm   the kernel's own. What fails here is the kernel's, or the suite's.

environment:
  HMM_CACHE  where kernels, and the suites that were built, are kept
             (~/.cache/hmm-mirror)

files:
  build/logs/hmm-tests-KERNEL-FLAVOUR-DRIVER.log
             all that the suite printed, the benchmark's tables included

exit status:
  0  every test passed, or was skipped with the reason that is shown
  1  a test failed, or the suite did not come to its end, or the kernel did not
     survive it well: a warning, a sanitizer's report, a leak, a module that does
     not unload, no clean power-off
  2  wrong arguments; the kernel, the driver or the suite cannot be built

examples:
  scripts/hmm-selftests
  scripts/hmm-selftests --kernel 7.2 --flavour debug
  scripts/hmm-selftests --driver test_hmm --json
  scripts/hmm-selftests -- -t exclusive -t exclusive_cow
  scripts/hmm-selftests -- -r hmm2.hmm2_device_coherent.double_map
  scripts/hmm-selftests --kernel 7.2 --icount --benchmark"""


class SetupError(Exception):
    """Something that has to be there cannot be made."""


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/hmm-selftests", description=DESCRIPTION, epilog=EPILOG,
        usage="scripts/hmm-selftests [OPTION...] [-- HMM-TESTS-ARG...]",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    kernels.add_options(
        add, "a row of scripts/kernels.table that is built from source")
    add("--no-icount", action="store_false", dest="icount",
        help="debug: let time pass for the guest as it does here, although "
        "each test has 30 seconds only")
    parser.set_defaults(icount=None)
    add("--driver", default="dmirror", choices=suite.DRIVERS,
        help="the module that is tested (dmirror)")
    add("--json", action="store_true",
        help="print one JSON object instead, when all has ended")
    add("--benchmark", action="store_true",
        help="run benchmark_thp_migration only, with both drivers, each in a "
        "guest of its own, and print their times side by side")
    add("--mem", metavar="SIZE", help="memory of the guest (3G)")
    add("--timeout", default=1800, type=float, metavar="S",
        help="seconds that the whole suite may take (1800)")
    add("--print-suite", action="store_true",
        help="build the suite, print the path of the program, and stop")
    add("arguments", nargs=argparse.REMAINDER, metavar="HMM-TESTS-ARG",
        help="for the suite itself: -t TEST, -v VARIANT, -f FIXTURE and "
        "-r FIXTURE.VARIANT.TEST choose tests by their exact names, capital "
        "letters leave them out; -l lists them")
    args = parser.parse_args()
    args.arguments = kernels.after_dashes(args.arguments)
    if args.icount is None:
        args.icount = suite.wants_icount(args.flavour)
    if args.benchmark and args.arguments:
        parser.error("--benchmark says itself which tests to run")
    return args


def kernel_facts(args):
    """What scripts/kernel knows of the kernel, built if need be."""
    facts = kernels.facts(args.kernel, args.flavour)
    if not facts:
        raise SetupError(f"no kernel {args.kernel} {args.flavour}")
    if facts["kind"] != "source":
        raise SetupError(f"{args.kernel} is not built from source: its suite is "
                         "not at hand")
    return facts


def only_tells(arguments):
    """Do these make the suite tell what it has, and run nothing?"""
    try:
        options, _ = getopt.getopt(arguments, suite.OPTIONS)
    except getopt.GetoptError:
        return False
    return any(name in ("-l", "-h") for name, _ in options)


class Run:
    """One run of the suite, in a guest of its own."""

    def __init__(self, args, driver, program, arguments):
        self.args = args
        self.driver = driver
        self.program = program
        self.arguments = arguments
        self.output = ""
        self.pending = []       # lines since the last result
        self.tests = []
        self.guest = []         # complaints about the guest
        self.outcome = None
        name = f"hmm-tests-{args.kernel}-{args.flavour}-{driver}"
        self.log = os.path.join(TOP, "build/logs", name + ".log")
        self.console = os.path.join(TOP, "build/logs", name + "-console.log")

    def command(self):
        args = self.args
        command = [os.path.join(TOP, "scripts/vm"), "--kernel", args.kernel,
                   "--flavour", args.flavour, "--timeout", str(args.timeout),
                   "--log", self.console, *suite.guest_arguments(self.driver)]
        if args.mem:
            command += ["--mem", args.mem]
        if args.icount:
            command += ["--icount"]
        # What is said about a failure goes to stderr; it belongs to its test.
        return [*command, "--", "/bin/sh", "-c", 'exec "$0" "$@" 2>&1',
                self.program, *self.arguments]

    def say(self, text):
        if not self.args.json:
            print(text, flush=True)

    def line(self, text):
        """Takes a line of the suite."""
        self.output += text
        result = tap.result(text)
        if not result:
            self.pending.append(text.rstrip("\n"))
            return
        name, verdict, why = result
        said = [line for line in self.pending if line.startswith("# ")
                and not re.match(r"#\s+(RUN|OK|SKIP|FAIL)\s", line)]
        self.pending = []
        test = {"name": name, "result": verdict}
        mark = {"pass": "ok", "fail": "FAIL", "skip": "skip"}[verdict]
        if verdict == "skip":
            test["reason"] = why or "no reason given"
        if verdict == "fail":
            test["output"] = said
        self.tests.append(test)
        self.say(f"{mark:4} {name}" + (f": {test['reason']}"
                                       if verdict == "skip" else ""))
        for text in test.get("output", []):
            self.say(f"       | {text}")

    def leave_out(self):
        """Counts the tests that are not run as skipped, and says why."""
        for name, why in suite.left_out(self.program, self.args.flavour).items():
            self.tests.append({"name": name, "result": "skip", "reason": why})
            self.outcome.skipped.append((name, why))
            self.say(f"skip {name}: {why}")

    def run(self):
        os.makedirs(os.path.dirname(self.log), exist_ok=True)
        with tempfile.TemporaryFile("w+", errors="replace") as errors:
            with subprocess.Popen(
                    self.command(), stdin=subprocess.DEVNULL, stderr=errors,
                    stdout=subprocess.PIPE, text=True, errors="replace") as process:
                for text in process.stdout:
                    self.line(text)
            status = process.returncode
            errors.seek(0)
            complaints = errors.read()
        with open(self.log, "w", encoding="utf-8") as handle:
            handle.write(self.output + complaints)
        self.guest = re.findall(r"^vm: FAILED: (.*)$", complaints, re.M)
        if status not in (0, 1, tap.SKIPPED) and not self.guest:
            last = complaints.strip().splitlines()[-1:] or ["no output"]
            self.guest = [f"status {status}: {last[0]}"]
        if not self.tests:      # what it does not like
            self.say(self.output.rstrip())
        # The suite's status says no more than its results do.
        self.outcome = tap.parse(self.output, 0 if self.guest else status)
        for text in complaints.splitlines()[:40] if self.guest else []:
            self.say(f"       | {text}")
        # What is no test's own failure: a plan that is not kept, no end.
        named = {test["name"] for test in self.tests if test["result"] == "fail"}
        for text in self.outcome.failed:
            if text not in named:
                self.guest.append(text)

    @property
    def counts(self):
        passed, _, skipped = self.outcome.counts
        failed = sum(test["result"] == "fail" for test in self.tests)
        return passed, failed + len(self.guest), skipped

    def result(self):
        """All of it, for --json."""
        passed, failed, skipped = self.counts
        return {"kernel": self.args.kernel, "flavour": self.args.flavour,
                "driver": self.driver, "passed": passed, "failed": failed,
                "skipped": skipped, "tests": self.tests, "guest": self.guest,
                "log": os.path.relpath(self.log, TOP)}

    def finish(self):
        """Prints the end of it; the exit status."""
        passed, failed, skipped = self.counts
        if self.args.json:
            print(json.dumps(self.result(), indent=1))
        for text in self.guest:
            self.say(f"FAIL guest: {text}")
        if failed:
            self.say(f"whole output: {os.path.relpath(self.log, TOP)}")
        self.say(f"{passed} passed, {failed} failed, {skipped} skipped")
        return 1 if failed or not self.tests else 0


# The benchmark

HEADING = re.compile(r"^=== .* \((?P<size>[\d.]+) MB\) ===$")
ROW = re.compile(r"^(?P<way>Sys->Dev|Dev->Sys) Migration\s*\|\s*(?P<thp>[\d.]+) ms"
                 r"\s*\|\s*(?P<small>[\d.]+) ms")


def benchmark_times(text):
    """{(megabytes, way, pages): milliseconds} of the suite's own tables."""
    times, size = {}, None
    for line in text.splitlines():
        heading, row = HEADING.match(line), ROW.match(line)
        if heading:
            size = float(heading["size"])
        elif row and size is not None:
            times[size, row["way"], "2 MiB"] = float(row["thp"])
            times[size, row["way"], "4 KiB"] = float(row["small"])
    return times


def benchmark(args, program):
    """Both drivers, the same test, equal guests."""
    times, results, status = {}, [], 0
    for driver in suite.DRIVERS:
        run = Run(args, driver, program, [
            "-r", "hmm.hmm_device_private.benchmark_thp_migration"])
        run.say(f"{driver}, on {args.kernel} {args.flavour}"
                + (", in instructions" if args.icount else ""))
        run.run()
        times[driver] = benchmark_times(run.output)
        results.append(run.result())
        if run.counts[1] or not times[driver]:
            status = 1
            if not times[driver] and not run.counts[1]:
                run.guest.append("no times were printed: has this kernel's "
                                 "suite the benchmark?")
            run.finish()
    ours, theirs = (times[driver] for driver in suite.DRIVERS)
    rows = [{"mb": size, "way": way, "pages": pages,
             "dmirror_ms": ours[size, way, pages],
             "test_hmm_ms": theirs[size, way, pages]}
            for size, way, pages in ours if (size, way, pages) in theirs]
    if args.json:
        print(json.dumps({"runs": results, "times": rows}, indent=1))
        return status
    if rows:
        print(f"\n{'buffer':>9}  {'way':9} {'pages':6} {'dmirror':>11} "
              f"{'test_hmm':>11} {'ratio':>7}")
    for row in rows:
        print(f"{row['mb']:6.1f} MB  {row['way']:9} {row['pages']:6} "
              f"{row['dmirror_ms']:8.2f} ms {row['test_hmm_ms']:8.2f} ms "
              f"{row['test_hmm_ms'] / row['dmirror_ms']:6.2f}x")
    return status


def main():
    args = parse()
    try:
        facts = kernel_facts(args)
        program = suite.build(facts["source"], CACHE)
    except (SetupError, suite.BuildError) as error:
        print(f"hmm-selftests: error: {error}", file=sys.stderr)
        return 2
    if args.print_suite:
        print(program)
        return 0
    if only_tells(args.arguments):
        # It takes no guest.  The suite calls that a skip.
        status = subprocess.run([program, *args.arguments], check=False,
                                stderr=subprocess.STDOUT).returncode
        return 0 if status == tap.SKIPPED else 1
    if args.benchmark:
        return benchmark(args, program)
    run = Run(args, args.driver, program,
              args.arguments or suite.leave_out(args.flavour))
    run.run()
    if not args.arguments:      # who names tests gets them
        run.leave_out()
    return run.finish()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

# SPDX-License-Identifier: GPL-2.0
"""Command line of scripts/powercut."""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from hmmvm import TOP
from hmmvm.powerdisk import BLOCK, PowerDisk

DESCRIPTION = """\
Lets a device write to a mapped file in a guest, with fsync() and its like now and then,
and has power fail at a random moment: QEMU is killed, and of what the guest has written
and not flushed since, the disk keeps some blocks and loses others. Each page of the file
must then have what it had at the last sync that had returned, or something that was
written later. The next guest mounts what is on the disk, compares, and goes on with a new
file, until power fails again.

All that a guest has written is kept in order, so that power can fail many times more
(--points): the next guest mounts the disks that there would be then as well.

That this finds what is lost is seen where something must be (--expect-loss), as there is
no hook in the way of writeback: --module-args 'ext4_hmm skip_hooks=0x20'."""

DISK_BYTES = 64 << 20
PAGES = 64

# How long a guest without a disk has to say nothing, and how long that is waited for.
QUIET_SECONDS = 1
QUIET_AT_LAST = 30

# File systems whose pages move to the device, so that there is something to lose.
TAUGHT = ["ext4_hmm"]
# With hooks turned off, the modules' own checks may see more than is lost.
LOSS_SPLAT = r"^WARNING: .*hmm_pagecache"


def parse():
    parser = argparse.ArgumentParser(prog="scripts/powercut", description=DESCRIPTION)
    add = parser.add_argument
    add("--kernel", default="6.12", metavar="NAME")
    add("--flavour", default="fast", choices=["fast", "debug"])
    add("--cuts", type=int, default=5, metavar="N", help="how often (5)")
    add("--points", type=int, default=20, metavar="N",
        help="for each, moments up to it that are looked at (20)")
    add("--seed", type=int, default=1, metavar="N",
        help="of the work, of the moments and of what is lost (1)")
    add("--lines", type=int, default=1500, metavar="N",
        help="a moment is after at most so many writes and syncs (1500)")
    add("--block", type=int, default=4096, choices=[1024, 2048, 4096])
    add("--mount", default="", metavar="OPTIONS", help="of the file system")
    add("--features", default="", metavar="LIST", help="of the file system, as of mkfs -O")
    add("--insmod", default="ext4_hmm", metavar="MOD",
        help="file system to insert (ext4_hmm)")
    add("--module-args", action="append", default=[], metavar="'MOD NAME=VALUE...'",
        help="parameters for a module, as of scripts/vm")
    add("--timeout", type=int, default=600, metavar="S",
        help="seconds until a moment comes (600)")
    add("--expect-loss", action="store_true",
        help="the test is good as soon as a page is wrong, and bad if none is after all cuts")
    args = parser.parse_args()
    # New blocks that were not synced may have whatever was on the disk.
    args.loose = "data=writeback" in args.mount.split(",")
    return args


class Model:
    """What each page may contain, from what the guest has said."""

    def __init__(self):
        self.pages = {}
        self.syncs = []         # (position, number of the last write that is covered)
        self.begin = None       # position
        self.owned = 0          # pages that were newer on the device
        self.lines = 0

    def line(self, words, position):
        if words[0] in ("write", "punch"):
            page, seq = int(words[1]), int(words[2])
            self.pages.setdefault(page, [(0, 0)]).append(
                (seq, seq if words[0] == "write" else 0))
        elif words[0] == "synced":
            self.syncs.append((position, int(words[1])))
        elif words[0] == "file":
            self.begin = position
            return
        elif words[0] == "owned":
            self.owned = int(words[1])
            return
        self.lines += 1

    def synced(self, position):
        """All writes up to this one had been synced."""
        return max((seq for at, seq in self.syncs if at <= position), default=0)

    def check(self, page, contents, synced, loose):
        """Says what is wrong with a page, or None."""
        states = self.pages.get(page, [(0, 0)])
        last = max(i for i, (seq, _) in enumerate(states) if seq <= synced)
        allowed = {content for _, content in states[last:]}
        if all(content in allowed for content in contents):
            return None
        if loose and last + 1 < len(states):
            return None
        return (f"page {page} has {' '.join(map(str, contents))}; allowed: "
                f"{sorted(allowed)}; synced until {synced}")

    def points(self, end, number, rng):
        """Positions: half of them where a sync has just returned."""
        syncs = [at for at, _ in self.syncs]
        some = [end, *rng.sample(syncs, min(len(syncs), number // 2))]
        while len(some) < number:
            some.append(rng.randint(self.begin, end))
        return sorted(some)


class Point:
    """Power that fails at one moment, and what the guest after that has found."""

    def __init__(self, model, position, end, lost):
        self.model = model
        self.synced = model.synced(position)
        self.name = f"at {position} of {end}, {lost} blocks lost"
        self.lost = lost
        self.pages = set()
        self.done = False

    def page(self, words, loose):
        """Pages as the guest tells of them; what is wrong, or None."""
        number = int(words[0])
        self.pages.add(number)
        problem = self.model.check(number, [int(w) if w.isdigit() else w for w in words[1:]],
                                   self.synced, loose)
        return problem and f"{self.name}: {problem}"

    def finish(self):
        """The guest has seen all; what is missing, or None."""
        self.done = True
        return None if len(self.pages) == PAGES else f"{self.name}: pages are missing"


def make_points(args, model, disk, end, rng, path):
    """Power that fails earlier: disks in a file, one behind the other; their Points."""
    points, nothing = [], bytes(BLOCK)
    with open(path, "wb") as handle:
        for position, image, lost in disk.images(model.points(end, args.points, rng), rng):
            begin = len(points) * DISK_BYTES
            for at in range(0, DISK_BYTES, BLOCK):
                block = image[at:at + BLOCK]
                if block != nothing:
                    handle.seek(begin + at)
                    handle.write(block)
            points.append(Point(model, position, end, lost))
        handle.truncate(len(points) * DISK_BYTES)
    return points


def qemu_of(pid):
    """The QEMU that a scripts/vm has started."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        for child in children.read().split():
            with open(f"/proc/{child}/comm", encoding="ascii") as comm:
                if comm.read().startswith("qemu"):
                    return int(child)
    return None


def drive(name, source, serial):
    return ["--qemu-arg=-drive", f"--qemu-arg={source},format=raw,if=none,id={name}",
            "--qemu-arg=-device",
            f"--qemu-arg=virtio-blk-pci,drive={name},serial={serial}"]


def vm_command(args, disk, points, path, rng):
    command = [os.path.join(TOP, "scripts/vm"), "--kernel", args.kernel,
               "--flavour", args.flavour, "--mem", "1G", "--insmod", args.insmod,
               "--timeout", str(args.timeout)]
    for text in args.module_args:
        command += ["--module-args", text]
    if args.expect_loss:
        # What is lost is what was written, not what the checks have spoilt.
        command += ["--ignore", LOSS_SPLAT, "--env", "HMM_TEST_VERIFY=0"]
    command += drive("cut", f"file=nbd+unix:///?socket={disk.path},cache=writeback",
                     "hmm-scratch")
    if points:
        command += drive("points", f"file={path},cache=unsafe", "hmm-points")
    return command + ["--", os.path.join(TOP, "tests/selftests/powercut"),
                      "--block", str(args.block), "--mount", args.mount,
                      "--features", args.features, "--seed", str(rng.randrange(1 << 32)),
                      "--points", str(len(points)), "--disk", str(DISK_BYTES)]


class Run:
    """One guest: looks at what others have left, and works until power fails."""

    def __init__(self, args, disk, points, path, rng, moment):
        self.args = args
        self.disk = disk
        self.points = points
        self.at = None          # the Point that the guest is at
        self.new = Model()
        self.losses = []
        self.wrong = []
        self.other = []
        self.moment = moment    # after so many lines
        self.delay = rng.random() * 0.2
        self.command = vm_command(args, disk, points, path, rng)
        self.timer = None
        self.heard = 0          # the last line, when
        self.end = None         # position where power has failed

    def line(self, words, text, process):
        problem = None
        if words[0] == "point":
            self.at = self.points[int(words[1])]
        elif words[0] == "page" and self.at:
            loss = self.at.page(words[1:], self.args.loose)
            if loss:
                self.losses.append(loss)
        elif words[0] == "checked" and self.at:
            problem = self.at.finish()
        elif words[0] in ("write", "punch", "synced", "file", "owned"):
            # Without a disk no sync returns: what is read after the failure was said
            # before it.
            self.new.line(words, self.disk.position())
        else:
            self.other.append(text.rstrip())
        if problem:
            self.wrong.append(problem)
        self.heard = time.monotonic()
        if self.new.lines == self.moment and not self.timer:
            self.timer = threading.Timer(self.delay, self.cut, [process.pid])
            self.timer.start()

    def cut(self, pid):
        self.disk.cut()
        self.end = self.disk.position()
        # What was said before a write that has just got to the disk may still be on its
        # way: no more is to come when it has been quiet for a while.
        end = time.monotonic() + QUIET_AT_LAST
        while time.monotonic() < min(end, self.heard + QUIET_SECONDS):
            time.sleep(0.1)
        try:
            qemu = qemu_of(pid)
            if qemu:
                os.kill(qemu, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass                # it has given up by itself

    def go(self):
        with subprocess.Popen(self.command, stdin=subprocess.DEVNULL, text=True,
                              errors="replace", stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            pieces = []
            errors = threading.Thread(
                target=lambda: pieces.append(process.stderr.read()))
            errors.start()
            for line in process.stdout:
                words = line.split()
                if line.endswith("\n") and words:
                    self.line(words, line, process)
            process.wait()
            errors.join()
        if self.timer:
            self.timer.join()
        self.wrong += [point.name + ": the guest did not get that far"
                       for point in self.points if not point.done][:1]
        self.wrong += re.findall(r"^vm: FAILED: (.*splat.*)$", pieces[0], re.M)
        if self.end is None:
            self.wrong.append("the guest did not get to the moment")
        if self.wrong or self.losses and not self.args.expect_loss:
            # Not to be taken for results: the guest's program prints TAP, too.
            for line in self.other + pieces[0].splitlines():
                print("# guest: " + line)


def report(args, cut, points, run):
    """Says what has become of a failure of power; 0 or 1: that is the end; None: go on."""
    print(f"# {cut}: at {len(points)} moments {sum(p.lost for p in points)} blocks were lost")
    expected = run.losses if args.expect_loss else []
    for problem in expected[:3]:
        print("# LOST: " + problem)
    if len(expected) > 3:
        print(f"# LOST: and {len(expected) - 3} more")
    for problem in run.wrong if args.expect_loss else run.losses + run.wrong:
        print("# WRONG: " + problem.replace("\n", "\n# "))
    bad = bool(run.wrong or run.losses and not args.expect_loss)
    if not args.expect_loss:
        print(f"{'not ' if bad else ''}ok {cut} - cut {cut}", flush=True)
    elif bad or run.losses or cut == args.cuts:
        bad = bad or not run.losses
        print(f"{'not ' if bad else ''}ok 1 - a loss is found", flush=True)
        return int(bad)
    return 1 if bad else 0 if cut == args.cuts else None


def main():
    args = parse()
    rng = random.Random(args.seed)
    if subprocess.run(["make", "-s", "-C", os.path.join(TOP, "tests/selftests"),
                       "powercut"], check=False).returncode:
        sys.exit("powercut: error: the program does not build")
    print(f"1..{1 if args.expect_loss else args.cuts}", flush=True)
    disk, points, status = PowerDisk(DISK_BYTES), [], None
    disk.start()
    with tempfile.TemporaryDirectory(prefix="hmm-powercut-", dir="/var/tmp") as directory:
        path = os.path.join(directory, "points")
        for cut in range(args.cuts + 1):
            # The last guest is there to look.
            is_last = cut == args.cuts
            moment = 1 if is_last else rng.randrange(20, args.lines)
            run = Run(args, disk, points, path, rng, moment)
            run.go()
            if not is_last and args.insmod in TAUGHT and not run.new.owned:
                run.wrong.append("no page was newer on the device than in memory")
            if cut:
                status = report(args, cut, points, run)
            elif run.wrong:
                status = 1
                print("Bail out! " + run.wrong[0])
            if status is not None:
                break
            points = make_points(args, run.new, disk, run.end, rng, path)
            print(f"# {cut + 1}: after {run.new.lines} lines, {len(run.new.pages)} pages, "
                  f"synced until {run.new.synced(run.end)}, {run.new.owned} pages owned, "
                  f"{run.end - run.new.begin} writes to the disk", flush=True)
            disk.start()
        disk.close()
    return status


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-2.0
"""Runs in the guest: the tests of a plan, one after the other.

The plan is {"seconds", "tests"} in JSON. Each test is {"name", "kind":
"program"|"kunit", "path", "timeout"}, with "arguments" of a program that has some,
and "ignore": splats that it is there to make. After that many seconds, if it is not
null, no test is begun. On stdout there is one JSON object a line: begin, out, end,
which has the lines of each splat; or late, for a test that was not begun.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from hmmvm.splat import Watcher     # noqa: E402


ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def emit(**event):
    print(json.dumps(event), flush=True)


class KernelLog:
    """What the kernel has printed since the last look."""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)

    def read(self):
        lines = []
        while True:
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return lines
            except BrokenPipeError:
                continue        # the ring went past us
            text = record.partition(";")[2].split("\n")[0]
            lines += ESCAPE.sub(lambda m: chr(int(m[1], 16)), text).split("\n")

    def splats(self, ignore=()):
        watcher = Watcher(ignore)
        lines = self.read()
        for line in lines:
            watcher.feed(line)
        return lines, watcher.splats


def run(argv, timeout, cwd=None):
    """Runs a program, passes its output on; its status, or None on timeout."""
    process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    deadline = time.monotonic() + timeout
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    status = None
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        if selector.select(min(left, 0.2)):
            data = os.read(process.stdout.fileno(), 1 << 16)
            if data:
                emit(event="out", text=data.decode(errors="replace"))
                continue
            # Output is closed; the end must be near.
            try:
                status = process.wait(max(0.1, left))
            except subprocess.TimeoutExpired:
                pass
            break
        if process.poll() is not None:
            # It ended, but a child of its holds the pipe.
            status = process.returncode
            break
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if status is None:
        for _ in range(100):
            if process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            emit(event="stuck")
            sys.exit(1)
    # What is left in the pipe, without waiting for who else holds it.
    os.set_blocking(process.stdout.fileno(), False)
    try:
        while data := os.read(process.stdout.fileno(), 1 << 16):
            emit(event="out", text=data.decode(errors="replace"))
    except BlockingIOError:
        pass
    return status


def main():
    with open(sys.argv[1], encoding="utf-8") as handle:
        plan = json.load(handle)
    log = KernelLog()
    start = time.monotonic()
    for test in plan["tests"]:
        begin = time.monotonic()
        if plan["seconds"] is not None and begin - start >= plan["seconds"]:
            emit(event="late", name=test["name"])
            continue
        emit(event="begin", name=test["name"])
        log.read()
        if test["kind"] == "kunit":
            status = run(["/sbin/insmod", test["path"]], test["timeout"])
            lines, splats = log.splats()
            emit(event="out", text="".join(line + "\n" for line in lines))
            if status == 0:
                name = os.path.basename(test["path"])[:-3].replace("-", "_")
                status = run(["/sbin/rmmod", name], 60)
        else:
            status = run([test["path"], *test.get("arguments", [])],
                         test["timeout"], os.path.dirname(test["path"]))
            _, splats = log.splats(test.get("ignore", ()))
        emit(event="end", name=test["name"], status=status, splats=splats,
             seconds=round(time.monotonic() - begin, 1))


main()

# SPDX-License-Identifier: GPL-2.0
"""The kernel's own HMM test suite: builds it, and knows what its guest needs.

The suite is hmm-tests of tools/testing/selftests/mm in the kernel's source. It
is built by that kernel's own Makefile from a copy of the directory, of which
nothing is changed: the Makefile writes where it stands, and the kernel's
source is shared by all builds.
"""

import fcntl
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile

# What the device numbers 2 and 3 of the suite use as their coherent memory.
COHERENT = [0x50000000, 0x60000000]
COHERENT_MB = 256

# Two buffers of 256 MB, as much in a device, and what is reserved above.
GUEST = ["--mem", "3G", "--cpus", "2"]

# Modules that serve the suite's ABI: ours, and the kernel's own.
DRIVERS = ["dmirror", "test_hmm"]

# What the suite takes, as getopt() has it.
OPTIONS = "dhlF:f:V:v:t:T:r:"

# Tests that do not come to their end on a flavour, whoever serves the ABI.
LEFT_OUT = {"debug": {
    "benchmark_thp_migration":
        "moves 6.7 GiB, which takes this kernel longer than the test's own 120 s"}}

# Of the kernel's tree; all else that is in there is only read.
COPIED = "tools/testing/selftests"
LINKED = ["arch", "include", "lib", "mm", "scripts", "tools/arch",
          "tools/include", "tools/lib"]


class BuildError(Exception):
    """The suite cannot be built; the text says why and has the output."""


def wants_icount(flavour):
    """Should guest time count instructions?

    Each test has 30 seconds, and cannot be given more.  That is plenty on an
    idle machine; under the checkers of "debug" a busy one needs longer, unless
    time only passes for the guest while it works.
    """
    return flavour == "debug"


def left_out(program, flavour):
    """{test: reason} of those that make no sense on a flavour, by full names."""
    why = LEFT_OUT.get(flavour, {})
    return {name: why[name.split(".")[-1]] for name in names(program)
            if name.split(".")[-1] in why}


def leave_out(flavour):
    """Arguments for the suite, so that it runs all but these."""
    return [word for name in LEFT_OUT.get(flavour, {}) for word in ("-T", name)]


def names(program):
    """The full names of all tests: FIXTURE.VARIANT.TEST."""
    result = subprocess.run([program, "-l"], stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            check=False)
    # A table for each fixture; its columns are lists of their own.
    found = []
    for table in re.split(r"^-+\n", result.stderr, flags=re.M):
        rows = [(line[:20].strip(), line[21:46].strip(), line[47:].strip())
                for line in table.splitlines() if not line.startswith("#")]
        fixture, variants, tests = ([word for word in column if word]
                                    for column in zip(*rows))
        found += [".".join(filter(None, name)) for name in
                  itertools.product(fixture, variants or [""], tests)]
    return found


def guest_arguments(driver, hugepages=8):
    """Arguments of scripts/vm for a guest that can run every test."""
    size = COHERENT_MB * len(COHERENT)
    parameters = " ".join(f"spm_addr_dev{number}={address:#x}"
                          for number, address in enumerate(COHERENT))
    which = "--no-modules" if driver == "test_hmm" else "--bare"
    return [*GUEST, which, "--insmod", driver,
            "--module-args", f"{driver} {parameters}",
            "--append", f"memmap={size}M${COHERENT[0]:#x}",
            "--append", f"hugepages={hugepages}"]


def _run(log, *argv, **options):
    """Runs a command of the build, its output into the log."""
    unwanted = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARCH",
                "CFLAGS", "LDFLAGS", "KDIR", "O", "V", "C", "K", "F", "T", "OUT")
    environment = {name: value for name, value in os.environ.items()
                   if name not in unwanted}
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            errors="replace", env=environment, check=False,
                            **options)
    log.append(f"$ {' '.join(argv)}\n{result.stdout}")
    if result.returncode:
        raise BuildError(f"'{' '.join(argv)}' failed:\n{result.stdout}")
    return result.stdout


def _build(source, work, log):
    headers, tree, out = (os.path.join(work, name)
                          for name in ("headers", "tree", "out"))
    os.mkdir(out)
    _run(log, "make", "-s", "-C", source, "O=" + os.path.join(work, "objects"),
         "INSTALL_HDR_PATH=" + headers, "headers_install")
    shutil.copytree(os.path.join(source, COPIED), os.path.join(tree, COPIED),
                    symlinks=True)
    for name in LINKED:
        os.symlink(os.path.join(source, name), os.path.join(tree, name))
    program = os.path.join(out, "hmm-tests")
    _run(log, "make", "-C", os.path.join(tree, COPIED, "mm"), "OUTPUT=" + out,
         f"KHDR_INCLUDES=-isystem {headers}/include", "EXTRA_CFLAGS=-static",
         program)
    return program


def build(source, cache):
    """Builds the suite of a kernel's source, once; the path of the program."""
    with open(os.path.join(source, ".package"), encoding="ascii") as handle:
        package = handle.read()
    compiler = subprocess.run(["gcc", "--version"], stdout=subprocess.PIPE,
                              check=True).stdout
    with open(__file__, "rb") as handle:
        recipe = handle.read()
    key = hashlib.sha256(package.encode() + compiler + recipe).hexdigest()[:12]
    place = os.path.join(cache, "hmm-tests")
    final = os.path.join(place, f"{os.path.basename(source)}-{key}")
    program = os.path.join(final, "hmm-tests")
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(program):
            return program
        log = []
        with tempfile.TemporaryDirectory(dir=place) as work:
            built = _build(os.path.realpath(source), work, log)
            ready = os.path.join(work, "ready")
            os.mkdir(ready)
            shutil.move(built, ready)
            with open(os.path.join(ready, "build.log"), "w",
                      encoding="utf-8") as handle:
                handle.write("".join(log))
            os.rename(ready, final)
    return program

# SPDX-License-Identifier: GPL-2.0
"""Command line of scripts/vm."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys

from hmmvm import CACHE, TOP, accel, initramfs, kernels
from hmmvm.machine import Machine, say

# Inserted when they have been built, in this order. Others (tests, a patched
# file system) only by --insmod.
DEFAULT_MODULES = ["hmm_core", "dummy_gpu"]

# What a kernel needs to reach its root and ports, unless it is built in.
EARLY_MODULES = ["virtio_pci", "virtio_console", "virtio_blk", "9pnet_virtio",
                 "9p", "overlay"]

# Memory file systems in the guest; what is below them on the host is hidden.
MASKED = ["/tmp", "/run", "/var/tmp", "/dev", "/proc", "/sys"]

PASSED_ENVIRONMENT = re.compile(
    r"^(PATH|HOME|LANG|LC_\w+|TERM|USER|LOGNAME|PYENV\w*|HMM_\w+|DGPU_\w+)$")

DESCRIPTION = """\
Boots a guest kernel whose root is this machine's file system, read-only (/tmp,
/run, /var/tmp and /dev/shm are memory of the guest), inserts the project's
modules, runs COMMAND there as root in the current directory and exits with its
status. Status 99 means that the kernel did not survive it well: a warning,
oops, sanitizer report, hang, leak, a module that does not unload, or no clean
power-off."""


def size(text):
    if not re.fullmatch(r"\d+[KMG]?", text):
        raise argparse.ArgumentTypeError("a size is like 512M or 4G")
    return text


def rate(text):
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError("a rate is a whole number, from 1")
    return int(text)


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/vm", description=DESCRIPTION,
        usage="scripts/vm [OPTION...] -- COMMAND [ARG...] | --shell")
    add = parser.add_argument
    kernels.add_options(add)
    add("--mem", default="4G", type=size, help="memory of the guest (4G)")
    add("--cpus", default=2, type=int, help="processors of the guest (2)")
    add("--numa", default=1, type=int, metavar="N",
        help="spread memory and processors over N nodes")
    add("--disk", action="append", default=[], type=size, metavar="SIZE",
        help="an empty disk: /dev/vda, the next one /dev/vdb ...")
    add("--swap", type=size, metavar="SIZE", help="a disk with swap on it")
    add("--disk-rate", type=rate, metavar="MB",
        help="slow disks: they write so many megabytes a second, and no more")
    add("--share", action="append", default=[], metavar="DIR",
        help="let the guest write to this directory of the host")
    add("--append", action="append", default=[], metavar="ARGS",
        help="more arguments for the kernel")
    add("--env", action="append", default=[], metavar="NAME=VALUE",
        help="more environment for COMMAND")
    add("--no-modules", action="store_true",
        help="build and insert none of the project's modules")
    add("--bare", action="store_true",
        help="insert those of the project's modules only that --insmod names, "
        "and what they need")
    add("--insmod", action="append", default=[], metavar="MOD",
        help="insert this too: a module of the project, a .ko file, or one of "
        "the kernel's own modules")
    add("--module-args", action="append", default=[], metavar="'MOD NAME=VALUE...'",
        help="parameters for a module")
    add("--no-kmemleak", action="store_true",
        help="debug: skip the scan for leaks at the end (saves seconds)")
    add("--ignore", action="append", default=[], metavar="REGEX",
        help="console lines that are not a failure")
    add("--timeout", default=600, type=float, metavar="S",
        help="seconds COMMAND may take (600)")
    add("--accel", default="auto", choices=["auto", "tcg", "kvm"])
    add("--qemu-arg", action="append", default=[], metavar="ARG",
        help="pass this to QEMU")
    add("--verbose", action="store_true", help="show the console as it comes")
    add("--log", metavar="FILE", help="keep the console log here")
    add("--shell", action="store_true", help="an interactive shell")
    add("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    args = parser.parse_args()
    args.command = kernels.after_dashes(args.command)
    if args.shell:
        args.command = args.command or ["/bin/bash", "-i"]
    elif not args.command:
        parser.error("no COMMAND; give one after --, or --shell")
    return args


def call(*argv):
    result = subprocess.run(argv, stdout=subprocess.PIPE, text=True,
                            check=False)
    if result.returncode:
        sys.exit(result.returncode)
    return result.stdout.strip()


def masked(path):
    return any(path.startswith(prefix + "/") for prefix in MASKED)


def kept_paths(args, facts):
    """Host paths that must be visible although a memory file system hides them."""
    paths = [TOP, os.getcwd(), CACHE, facts["modules"]]
    program = shutil.which(args.command[0])
    if program:
        paths.append(program)
    paths += [entry.split()[1] for entry in args.plan if "/" in entry]
    kept = sorted({os.path.realpath(p) for p in paths if masked(os.path.realpath(p))})
    # A parent shows its children.
    return [p for p in kept if not any(p.startswith(q + "/") for q in kept)]


def module_plan(args):
    if args.no_modules and not args.insmod:
        return []
    modules = initramfs.Modules("")
    if not args.no_modules:
        build = call(os.path.join(TOP, "scripts/modules"), "--quiet",
                     "--kernel", args.kernel, "--flavour", args.flavour)
        modules = initramfs.Modules(build)
    parameters = {}
    if args.flavour == "debug":
        # This kernel looks at each page for traces of use after free when it is
        # allocated: the usual 256 MiB of device memory take as long as a boot.
        parameters["dummy_gpu"] = ["local_mb=32"]
    for text in args.module_args:
        name, *rest = text.split()
        parameters.setdefault(name.replace("-", "_"), []).extend(rest)
    names = [] if args.bare else [
        name for name in DEFAULT_MODULES if name in modules.paths]
    return modules.plan(names + args.insmod, parameters)


def quote(text):
    return "'" + text.replace("'", "'\\''") + "'"


def build_initramfs(args, facts):
    guest = os.path.join(TOP, "scripts/guest")
    archive = initramfs.Cpio()
    archive.file("bin/busybox", initramfs.read("/bin/busybox"), 0o755)
    archive.file("init", initramfs.read(os.path.join(guest, "init")), 0o755)
    archive.file("hmm/main", initramfs.read(os.path.join(guest, "main")), 0o755)

    early = initramfs.early_modules(facts["modules"], facts["release"],
                                    EARLY_MODULES)
    for name, body in early:
        archive.file("modules/" + name, body)

    def text(name, lines):
        archive.file("hmm/" + name, "".join(l + "\n" for l in lines).encode())

    columns, rows = shutil.get_terminal_size()
    text("modules", [name for name, _ in early])
    text("keep", kept_paths(args, facts))
    text("insert", args.plan)
    text("shares", args.share)
    text("settings", [
        "hmm_cwd=" + quote(os.getcwd()),
        "hmm_modules=" + quote(os.path.realpath(facts["modules"])),
        "hmm_shares=" + quote(" ".join(str(i) for i in range(len(args.share)))),
        "hmm_shell=" + ("1" if args.shell else ""),
        "hmm_stty=" + quote(f"rows {rows} cols {columns} sane"),
        "hmm_kmemleak=" + ("" if args.no_kmemleak else "1"),
    ])
    environment = [f"{k}={v}" for k, v in os.environ.items()
                   if PASSED_ENVIRONMENT.match(k)] + args.env
    for name, items in (("command", args.command),
                        ("environment", environment)):
        body = b"".join(os.fsencode(item) + b"\0" for item in items)
        archive.file("hmm/" + name, body)
    return archive.finish()


def main():
    args = parse()
    # Whoever ends us must not leave QEMU behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    if not args.command[0]:
        sys.exit("vm: error: COMMAND is empty")
    args.share = [os.path.realpath(path) for path in args.share]
    facts = kernels.facts(args.kernel, args.flavour)
    if not facts:
        sys.exit(1)
    args.plan = module_plan(args)
    if args.accel == "auto":
        args.accel = accel.choose(CACHE, facts, lambda: build_initramfs(args, facts))
    if args.icount:
        args.accel = "tcg"
    machine = Machine(args, facts, os.path.join(TOP, "build"))
    try:
        status = machine.run(build_initramfs(args, facts))
    except KeyboardInterrupt:
        machine.kill()
        say("interrupted")
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0
"""One run of QEMU: starts it, copies its output, watches over it, judges."""

import json
import os
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from hmmvm.splat import Watcher

QEMU = "qemu-system-x86_64"
FAILED = 99
BOOT_SECONDS = 900
END_SECONDS = 300
POWEROFF_SECONDS = 60
ICOUNT_SLOWER = 3       # as these are real seconds

# A guest that is one of several on a busy host stands still for seconds, and KUnit's own
# thread is waited for without a break: the checkers of that kind look for what is for ever.
SLOW_APPEND = ["watchdog_thresh=30", "sysctl.kernel.hung_task_timeout_secs=240"]
DEBUG_APPEND = ["page_poison=1"]


def say(text):
    print(f"vm: {text}", file=sys.stderr, flush=True)


def megabytes(text):
    factor = {"K": 1 / 1024, "M": 1, "G": 1024}
    if text[-1] in factor:
        return int(int(text[:-1]) * factor[text[-1]])
    return int(text) // (1 << 20)


class Machine:
    """A guest, from its start to the verdict."""

    def __init__(self, args, kernel, build):
        self.args = args
        self.kernel = kernel
        self.watcher = Watcher(args.ignore)
        self.problems = []
        self.leaks = []
        self.strays = []
        self.status = None
        self.state = "boot"
        self.process = None
        self.sockets = {}
        self.pending = {}
        self.work = tempfile.mkdtemp(prefix="hmm-vm-", dir="/var/tmp")
        logs = os.path.join(build, "logs")
        try:
            os.makedirs(logs, exist_ok=True)
        except OSError:
            logs = tempfile.gettempdir()
        self.log_name = args.log or os.path.join(
            logs, f"vm-{args.kernel}-{args.flavour}-{os.getpid()}.log")
        self.log = open(self.log_name, "wb")

    # Command line

    def append_line(self):
        words = ["console=ttyS0", "ignore_loglevel", "printk.devkmsg=on",
                 "panic=-1", "oops=panic", "nokaslr", "mitigations=off",
                 "random.trust_cpu=on", "rcupdate.rcu_cpu_stall_timeout=60"]
        if self.args.accel == "tcg":
            # On a busy host the emulated timer may be late when it is tested; and when
            # the TSC is measured with it, whose seconds were a quarter of one then.
            words += ["tsc=nowatchdog" if self.args.icount else "tsc=unstable",
                      "no_timer_check"]
        if self.is_hurried():
            # Translated code is found by its virtual address, too: libraries that are
            # elsewhere in each process would be translated once more for each, and
            # a store into a page looks at all code that was ever translated from it.
            # That grew to 15 ms for each store, where frames had been libc's.
            words += ["norandmaps"]
        if self.args.flavour == "debug":
            words += DEBUG_APPEND
        if self.args.flavour == "debug" or self.kernel["kind"] == "stock":
            words += SLOW_APPEND
        return " ".join(words + self.args.append)

    def is_hurried(self):
        """Is the guest emulated, and time passes meanwhile?"""
        return self.args.accel == "tcg" and not self.args.icount

    def numa_arguments(self):
        args, nodes = [], self.args.numa
        if nodes < 2:
            return args
        if self.args.cpus % nodes:
            sys.exit(f"vm: error: --numa {nodes} needs --cpus to be a multiple "
                     "of it")
        share = megabytes(self.args.mem) // nodes
        for node in range(nodes):
            cpus = "".join(f",cpus={cpu}" for cpu in range(self.args.cpus)
                           if cpu * nodes // self.args.cpus == node)
            args += ["-object", f"memory-backend-ram,id=m{node},size={share}M",
                     "-numa", f"node,nodeid={node},memdev=m{node}{cpus}"]
        return args

    def disk_arguments(self):
        args = []
        disks = [(size, f"hmm-disk{i}" if i else "hmm-scratch")
                 for i, size in enumerate(self.args.disk)]
        if self.args.swap:
            disks.append((self.args.swap, "hmm-swap"))
        drive = "format=raw,if=none,cache=unsafe,discard=unmap"
        if self.args.disk_rate:
            drive += f",throttling.bps-write={self.args.disk_rate << 20}"
        for index, (size, serial) in enumerate(disks):
            path = os.path.join(self.work, serial)
            with open(path, "wb") as handle:
                handle.truncate(megabytes(size) << 20)
            args += ["-drive", f"{drive},file={path},id=d{index}",
                     "-device", f"virtio-blk-pci,drive=d{index},serial={serial}"]
        return args

    def port(self, name, fds):
        ours, theirs = socket.socketpair()
        self.sockets[name] = ours
        fds.append(theirs)
        return ["-chardev", f"socket,id={name},fd={theirs.fileno()}"]

    def command(self, initrd, fds):
        args = self.args
        machine = "tcg,thread=multi" if args.accel == "tcg" else args.accel
        cpu = "max,la57=off" if args.accel == "tcg" else "max"
        if self.is_hurried():
            # Pages are copied and cleared by words then, and not by bytes: eight times
            # fewer steps for an emulator, which does them one by one.
            cpu += ",erms=off,fsrm=off"
        if args.icount:
            machine = "tcg,thread=single"
        command = [QEMU, "-nodefaults", "-no-user-config", "-machine", "q35",
                   "-accel", machine, "-cpu", cpu, "-smp",
                   f"{args.cpus},sockets={args.numa}",
                   "-m", str(megabytes(args.mem)), "-display", "none",
                   "-no-reboot", "-kernel", self.kernel["image"],
                   "-initrd", initrd, "-append", self.append_line()]
        if args.icount:
            command += ["-icount", "shift=1,sleep=off"]
        command += self.numa_arguments()
        command += self.port("monitor", fds)
        command += ["-mon", "chardev=monitor,mode=control"]
        command += self.port("console", fds) + ["-serial", "chardev:console"]
        command += ["-device", "virtio-serial-pci,max_ports=8"]
        for number, name in ((1, "out"), (2, "err"), (3, "ctl")):
            command += self.port(name, fds)
            command += ["-device", f"virtserialport,nr={number},"
                        f"chardev={name},name=hmm.{name}"]
        if args.shell:
            command += ["-chardev", "stdio,id=tty,signal=off",
                        "-device", "virtconsole,nr=4,chardev=tty"]
        command += ["-fsdev", "local,id=root,path=/,security_model=none,"
                    "readonly=on,multidevs=remap",
                    "-device", "virtio-9p-pci,fsdev=root,mount_tag=hostroot"]
        for index, path in enumerate(args.share):
            command += ["-fsdev", f"local,id=s{index},path={path},"
                        "security_model=none,multidevs=remap", "-device",
                        f"virtio-9p-pci,fsdev=s{index},mount_tag=share{index}"]
        return command + self.disk_arguments() + args.qemu_arg

    # Input from the guest

    def lines(self, name, data):
        """Complete lines that have arrived on a port."""
        whole = self.pending.get(name, b"") + data
        *lines, self.pending[name] = whole.split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def on_console(self, data):
        self.log.write(data)
        self.log.flush()
        for line in self.lines("console", data):
            self.watcher.feed(line)
            if self.args.verbose:
                print(line, file=sys.stderr, flush=True)

    def on_control(self, data):
        for line in self.lines("ctl", data):
            word, _, rest = line.partition(" ")
            if word == "ready":
                self.enter("command", self.args.timeout)
            elif word == "status":
                self.status = int(rest)
                self.enter("clean-up", END_SECONDS)
            elif word == "end":
                self.enter("power-off", POWEROFF_SECONDS)
            elif word == "leak":
                self.leaks.append(rest)
            elif word == "stray":
                self.strays.append(rest)
            elif word == "insert-failed":
                self.problems.append(f"module not inserted: {rest}")
            elif word == "unload-failed":
                self.problems.append(f"module not unloaded: {rest}")

    def enter(self, state, seconds):
        self.state = state
        self.deadline = time.monotonic() + seconds
        if self.args.icount and state != "command":
            self.deadline += seconds * (ICOUNT_SLOWER - 1)

    def on_data(self, name, data):
        if name == "console":
            self.on_console(data)
        elif name == "ctl":
            self.on_control(data)
        elif name in ("out", "err"):
            stream = 1 if name == "out" else 2
            view = memoryview(data)
            while view:
                try:
                    view = view[os.write(stream, view):]
                except BrokenPipeError:
                    break

    # The run

    def sysrq(self, keys):
        """Types magic keys on the guest's console: who is stuck, and where."""
        monitor, console = self.sockets["monitor"], self.sockets["console"]
        try:
            for key in keys:
                monitor.sendall(json.dumps(
                    {"execute": "chardev-send-break",
                     "arguments": {"id": "console"}}).encode() + b"\n")
                time.sleep(0.3)
                console.sendall(key.encode())
                time.sleep(0.3)
        except OSError:
            pass

    def loop(self):
        selector = selectors.DefaultSelector()
        for name, port in self.sockets.items():
            selector.register(port, selectors.EVENT_READ, name)
        asked = False
        while selector.get_map():
            for key, _ in selector.select(timeout=0.5):
                try:
                    data = key.fileobj.recv(1 << 16)
                except OSError:
                    data = b""
                if data:
                    self.on_data(key.data, data)
                else:
                    selector.unregister(key.fileobj)
            if time.monotonic() < self.deadline:
                continue
            if asked:
                break
            # A hang: have the kernel say where, for ten more seconds.
            asked = True
            self.problems.append(f"timeout in state '{self.state}'")
            self.sysrq("lwt" if self.args.verbose else "lw")
            self.deadline = time.monotonic() + 10
        selector.close()

    def run(self, archive):
        initrd = os.path.join(self.work, "initrd")
        with open(initrd, "wb") as handle:
            handle.write(archive)
        theirs = []
        command = self.command(initrd, theirs)
        self.enter("boot", BOOT_SECONDS)
        errors = os.path.join(self.work, "qemu.err")
        try:
            with open(errors, "wb") as handle:
                self.process = subprocess.Popen(
                    command, stderr=handle,
                    stdin=None if self.args.shell else subprocess.DEVNULL,
                    stdout=None if self.args.shell else subprocess.DEVNULL,
                    pass_fds=[port.fileno() for port in theirs])
            for port in theirs:
                port.close()
            self.sockets["monitor"].sendall(b'{"execute":"qmp_capabilities"}\n')
            self.loop()
            self.kill(5)
            with open(errors, errors="replace", encoding="utf-8") as handle:
                text = handle.read().strip()
            if self.process.returncode and text:
                self.problems.append("QEMU: " + text)
            return self.verdict()
        except OSError as error:
            say(f"error: cannot run {QEMU}: {error}")
            return FAILED
        finally:
            self.kill(0)
            self.log.close()
            shutil.rmtree(self.work, ignore_errors=True)

    def kill(self, patience=0):
        if self.process is None:
            return
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def verdict(self):
        splats = self.watcher.splats
        problems = self.problems
        if splats:
            first = re.sub(r"^\[[^]]*\](\[[^]]*\])? ?", "", splats[0][0])
            problems.append(f"{len(splats)} kernel splat(s), first: {first}")
        if self.leaks:
            count = sum("unreferenced object" in l for l in self.leaks)
            problems.append(f"kmemleak found {count} object(s)")
        if self.state != "power-off":
            problems.append(f"no end marker: the guest ended in state '{self.state}'")
        elif not self.watcher.powered_down:
            problems.append("the guest did not power off cleanly")
        if self.status is None and not problems:
            problems.append("the command reported no status")
        for stray in self.strays:
            say(f"note: killed what the command left running: {stray}")
        for line in self.watcher.kernels_own:
            say(f"note: the kernel's own fault: {line}")
        if not problems:
            if not self.args.log:
                os.unlink(self.log_name)
            return self.status
        for splat in splats[:3]:
            print("\n".join(splat), file=sys.stderr)
        if self.leaks:
            print("\n".join(self.leaks[:80]), file=sys.stderr)
        if not splats and not self.leaks:
            with open(self.log_name, "rb") as handle:
                tail = handle.read().decode(errors="replace").splitlines()[-25:]
            print("\n".join(tail), file=sys.stderr)
        for problem in problems:
            say(f"FAILED: {problem}")
        if self.status is not None:
            say(f"the command itself ended with status {self.status}")
        say(f"console log: {self.log_name}")
        return FAILED

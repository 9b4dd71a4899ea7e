# SPDX-License-Identifier: GPL-2.0
"""Decides between KVM and emulation, by trying."""

import os
import subprocess
import tempfile

from hmmvm.machine import QEMU

PROBE_SECONDS = 6


def boots_with_kvm(kernel, archive):
    """True if a guest comes up and powers off within a few seconds."""
    with tempfile.NamedTemporaryFile() as initrd:
        initrd.write(archive)
        initrd.flush()
        command = [
            QEMU, "-nodefaults", "-no-user-config", "-machine", "q35",
            "-accel", "kvm", "-cpu", "max", "-m", "1G", "-display", "none",
            "-no-reboot", "-kernel", kernel["image"], "-initrd", initrd.name,
            "-append", "panic=-1 quiet hmm.probe",
            "-device", "virtio-serial-pci", "-chardev", "stdio,id=ctl",
            "-device", "virtserialport,nr=3,chardev=ctl"]
        try:
            result = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, timeout=PROBE_SECONDS, check=False)
        except (subprocess.TimeoutExpired, OSError):
            return False
        return result.returncode == 0 and b"alive" in result.stdout


def choose(cache, kernel, archive):
    """The accelerator to use; the answer is kept until the next boot."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
        boot = handle.read().strip()
    name = os.path.join(cache, "accel")
    try:
        with open(name, encoding="ascii") as handle:
            known, answer = handle.read().split()
            if known == boot:
                return answer
    except (OSError, ValueError):
        pass
    answer = "kvm" if boots_with_kvm(kernel, archive()) else "tcg"
    with open(name, "w", encoding="ascii") as handle:
        handle.write(f"{boot} {answer}\n")
    return answer

# SPDX-License-Identifier: GPL-2.0
"""Writes the guest's initramfs (cpio, newc) and resolves kernel modules."""

import lzma
import os
import re
import stat


class Cpio:
    """A cpio archive in memory."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0
        self.dirs = set()

    def _entry(self, name, mode, body=b""):
        self.inode += 1
        raw = name.encode() + b"\0"
        fields = [self.inode, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0,
                  len(raw), 0]
        self.data += b"070701" + b"".join(b"%08X" % f for f in fields) + raw
        self.data += b"\0" * (-len(self.data) % 4)
        self.data += body
        self.data += b"\0" * (-len(self.data) % 4)

    def directory(self, name):
        parent = os.path.dirname(name)
        if parent:
            self.directory(parent)
        if name not in self.dirs:
            self.dirs.add(name)
            self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, body, mode=0o644):
        if os.path.dirname(name):
            self.directory(os.path.dirname(name))
        self._entry(name, stat.S_IFREG | mode, body)

    def finish(self):
        self._entry("TRAILER!!!", 0)
        return bytes(self.data)


def read(path):
    with open(path, "rb") as handle:
        return handle.read()


def early_modules(root, release, wanted):
    """Kernel modules, with what they depend on first, as (name, bytes).

    Names that are built into the kernel are left out.
    """
    base = os.path.join(root, "lib/modules", release)
    depends = {}
    with open(os.path.join(base, "modules.dep"), encoding="utf-8") as lines:
        for line in lines:
            path, _, rest = line.partition(":")
            depends[path] = rest.split()

    by_name = {re.sub(r"\.ko.*", "", os.path.basename(path)).replace("-", "_"):
               path for path in depends}
    order = []
    for name in wanted:
        path = by_name.get(name)
        if path is None:
            continue
        for needed in [*reversed(depends[path]), path]:
            if needed not in order:
                order.append(needed)

    result = []
    for path in order:
        body = read(os.path.join(base, path))
        if path.endswith(".xz"):
            body = lzma.decompress(body)
        elif not path.endswith(".ko"):
            raise ValueError(f"cannot decompress {path}")
        result.append((re.sub(r"\.ko.*", ".ko", os.path.basename(path)), body))
    return result


def modinfo(path, field):
    """Values of one field of a module's .modinfo section."""
    pattern = rb"(?:^|\0)" + field.encode() + rb"=([^\0]*)\0"
    return [match.decode() for match in re.findall(pattern, read(path))]


class Modules:
    """The project's modules in a build directory."""

    def __init__(self, build):
        self.paths = {}
        order = os.path.join(build, "modules.order")
        if not os.path.exists(order):
            return
        for line in read(order).decode().split():
            path = os.path.join(build, re.sub(r"\.k?o$", ".ko", line))
            name = os.path.basename(path)[:-3].replace("-", "_")
            if os.path.exists(path):
                self.paths[name] = path

    def plan(self, names, args):
        """Lines for the guest: what to insert, in order, with parameters.

        Project modules are inserted by path after what they depend on; any
        other name is one of the kernel's own, for modprobe, and may stay at
        the end if it is only there because of others ("depend").
        """
        lines, seen = [], set()

        def add(name, how="modprobe"):
            path = None
            if name.endswith(".ko"):
                path = os.path.abspath(name)
                name = os.path.basename(name)[:-3]
            name = name.replace("-", "_")
            if name in seen:
                return
            seen.add(name)
            path = path or self.paths.get(name)
            extra = " ".join(args.get(name, []))
            if path is None:
                lines.append(f"{how} {name} {extra}".rstrip())
                return
            for needed in ",".join(modinfo(path, "depends")).split(","):
                if needed:
                    add(needed, "depend")
            lines.append(f"insmod {path} {extra}".rstrip())

        for name in names:
            add(name)
        return lines

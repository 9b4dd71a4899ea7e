# SPDX-License-Identifier: GPL-2.0
"""A disk with a write cache, which a failure of power empties.

QEMU reaches it by the NBD protocol.  All that is written is kept in the order in which it
came, with the flushes in between.  So what is on the disk after a failure at any moment
can be had later: all that was written before the last flush, all that was written through
the cache (FUA), and of the rest some.  What is lost is lost in blocks of 4 KiB: a block is
the old one or the new one, never half of each.
"""

import os
import socket
import struct
import tempfile
import threading

BLOCK = 4096

INIT_MAGIC = 0x4E42444D41474943
OPTION_MAGIC = 0x49484156454F5054
REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
ANSWER_MAGIC = 0x67446698

FIXED_NEWSTYLE = 1
NO_ZEROES = 2
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO = 1, 2, 6, 7
REP_ACK, REP_INFO, REP_UNSUPPORTED = 1, 3, (1 << 31) | 1
HAS_FLAGS, HAS_FLUSH, HAS_FUA = 1, 4, 8
READ, WRITE, DISCONNECT, FLUSH = range(4)
FUA = 1
EINVAL = 22


class Gone(Exception):
    """The other side has closed the connection."""


class PowerDisk:
    """The disk, and all that has happened to it since start()."""

    def __init__(self, size):
        self.size = size
        self.now = bytearray(size)      # as its user sees it
        self.base = bytes(self.now)
        self.log = []                   # (offset, bytes, through), or None: a flush
        self.powered = False
        self.lock = threading.Lock()
        self.directory = tempfile.mkdtemp(prefix="hmm-power-")
        self.path = os.path.join(self.directory, "disk")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.close()
        os.unlink(self.path)
        os.rmdir(self.directory)

    # Power

    def start(self, image=None):
        """Power is on; @image is what is on the disk, unless it is what was there."""
        with self.lock:
            if image is not None:
                self.now[:] = image
            self.base = bytes(self.now)
            self.log = []
            self.powered = True

    def position(self):
        """So much has happened until now."""
        with self.lock:
            return len(self.log)

    def cut(self):
        """Power fails: nothing that comes now is written."""
        with self.lock:
            self.powered = False

    def images(self, positions, rng):
        """
        (position, image, blocks that are lost) for power that fails at each of @positions,
        which are ascending.  What survives of the cache is up to @rng.
        """
        stable, done = bytearray(self.base), 0
        for position in positions:
            last = max((i for i in range(done, position) if self.log[i] is None),
                       default=None)
            if last is not None:
                for entry in self.log[done:last]:
                    if entry:
                        stable[entry[0]:entry[0] + len(entry[1])] = entry[1]
                done = last + 1
            image, lost = bytearray(stable), 0
            survives = rng.choice([0, 0.1, 0.5, 0.9, 1])
            for offset, data, through in self.log[done:position]:
                for first, piece in blocks(offset, data):
                    if through or rng.random() < survives:
                        image[first:first + len(piece)] = piece
                    else:
                        lost += 1
            yield position, image, lost

    # The protocol

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            with connection:
                if self.greet(connection):
                    while self.answer(connection):
                        pass
        except (Gone, OSError):
            pass

    def greet(self, connection):
        connection.sendall(struct.pack(">QQH", INIT_MAGIC, OPTION_MAGIC,
                                       FIXED_NEWSTYLE | NO_ZEROES))
        receive(connection, 4)
        export = struct.pack(">QH", self.size, HAS_FLAGS | HAS_FLUSH | HAS_FUA)
        while True:
            _, option, length = struct.unpack(">QII", receive(connection, 16))
            receive(connection, length)
            if option == OPT_EXPORT_NAME:
                connection.sendall(export)
                return True
            if option in (OPT_INFO, OPT_GO):
                reply(connection, option, REP_INFO, struct.pack(">H", 0) + export)
                reply(connection, option, REP_ACK)
                if option == OPT_GO:
                    return True
            elif option == OPT_ABORT:
                reply(connection, option, REP_ACK)
                return False
            else:
                reply(connection, option, REP_UNSUPPORTED)

    def answer(self, connection):
        """One request.  False after the last."""
        magic, flags, command, cookie, offset, length = \
            struct.unpack(">IHHQQI", receive(connection, 28))
        if magic != REQUEST_MAGIC or command == DISCONNECT:
            return False
        data = receive(connection, length) if command == WRITE else b""
        error, back = 0, b""
        with self.lock:
            if not self.powered:
                return False
            if command == READ:
                back = bytes(self.now[offset:offset + length])
            elif command == WRITE:
                self.now[offset:offset + length] = data
                self.log.append((offset, data, bool(flags & FUA)))
            elif command == FLUSH:
                self.log.append(None)
            else:
                error = EINVAL
        connection.sendall(struct.pack(">IIQ", ANSWER_MAGIC, error, cookie) + back)
        return True


def blocks(offset, data):
    """Pieces of a write that are on the disk, or are not: (offset, bytes)."""
    at = 0
    while at < len(data):
        length = min(BLOCK - (offset + at) % BLOCK, len(data) - at)
        yield offset + at, data[at:at + length]
        at += length


def receive(connection, length):
    data = bytearray()
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise Gone
        data += piece
    return bytes(data)


def reply(connection, option, kind, data=b""):
    connection.sendall(struct.pack(">QIII", REPLY_MAGIC, option, kind, len(data)) + data)

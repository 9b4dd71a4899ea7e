# SPDX-License-Identifier: GPL-2.0
"""Shared mappings of files for programs/*, which stay for as long as the process does.

Not those of the module mmap: they go away as Python cleans up, before the process ends.
"""

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int,
                      ctypes.c_int, ctypes.c_long)
LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
READ, WRITE, SHARED = 1, 2, 1
FAILED = ctypes.c_void_p(-1).value


class Mapped:
    """All of a file that is not empty."""

    def __init__(self, path):
        fd = os.open(path, os.O_RDWR)
        self.size = os.fstat(fd).st_size
        self.address = LIBC.mmap(None, self.size, READ | WRITE, SHARED, fd, 0)
        error = ctypes.get_errno()
        os.close(fd)
        if self.address == FAILED:
            raise OSError(error, os.strerror(error), path)
        self.bytes = memoryview((ctypes.c_ubyte * self.size).from_address(self.address))

    def unmap(self):
        self.bytes.release()
        LIBC.munmap(self.address, self.size)

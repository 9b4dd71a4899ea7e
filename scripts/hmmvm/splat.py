# SPDX-License-Identifier: GPL-2.0
"""Finds in a console log what no healthy kernel prints."""

import re

PREFIX = re.compile(r"^(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?)")

SPLAT = re.compile("|".join([
    r"^WARNING: ",
    r"\bBUG: ",
    r"^kernel BUG at ",
    r"^Oops\b",
    r"^Kernel panic\b",
    r"\bKASAN: ",
    r"^UBSAN: ",
    r"^Unable to handle ",
    r"\bgeneral protection fault",
    r"^INFO: task .* blocked for more than ",
    r"^INFO: trying to register non-static key",
    r"^INFO: possible ",
    r"\brcu: .*(?:detected stalls|self-detected stall)",
    r"\brcu: .*kthread starved",
    r"^watchdog: ",
    # That the checker found no memory, and gave up, is no finding of its own: tests have
    # allocations fail.
    r"DMA-API: (?!preallocated|debugging|cacheline tracking ENOMEM)",
    r"^kmemleak: \d+ new suspected memory leaks",
    # Without a scan area it scans the whole object.
    r"^kmemleak: .*(?:disabled|Cannot(?! allocate a scan area)|exceeded)",
    r"^ODEBUG: ",
    r"^refcount_t: ",
    r"^list_(?:add|del) corruption",
    r"DEBUG_LOCKS_WARN_ON",
    r"held lock freed!",
    r"still (?:held|has locks)",
    r"^workqueue: .*hogged CPU.*consider",
    r"^Object .*left in .*cache",
    r"Objects remaining in",
]))

# What the kernel finds in itself, and no module of ours can be the cause of: these are told of,
# and are no failure.
KERNELS_OWN = re.compile("|".join([
    # dl_server_timer() has update_curr() account for time, which may start the very timer
    # whose handler this is, and forwards it then (7.2): when a processor has stood still for
    # longer than the server has.  Nothing here forwards an hrtimer.
    r"^WARNING: .* at hrtimer_forward\+",
]))

# Lockdep draws its heading between lines of "=", without a level of its own.
END = re.compile(r"^(?:---\[ end (?:trace|Kernel panic)|={20,}$)")
MAX_LINES = 90


class Watcher:
    """Is fed with console lines; remembers the splats."""

    def __init__(self, ignore=()):
        self.ignore = [re.compile(text) for text in ignore]
        self.splats = []
        self.kernels_own = []
        self.panicked = False
        self.powered_down = False
        self._open = 0

    def feed(self, line):
        text = PREFIX.sub("", line)
        if text.startswith("reboot: Power down"):
            self.powered_down = True
        if text.startswith("Kernel panic"):
            self.panicked = True
        hit = SPLAT.search(text) and not any(r.search(text)
                                            for r in self.ignore)
        if hit and not self._open and KERNELS_OWN.search(text):
            self.kernels_own.append(text)
            hit = False
        if hit and not self._open:
            self.splats.append([])
            self._open = MAX_LINES
        if self._open:
            self.splats[-1].append(line)
            self._open -= 1
            if END.match(text) and len(self.splats[-1]) > 3:
                self._open = 0
        return bool(hit)

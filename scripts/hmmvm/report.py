# SPDX-License-Identifier: GPL-2.0
"""Collects the results of scripts/test; prints them as they come and as a table."""

import json
import os
import threading
import time
from collections import Counter

SUITES = ["build", "host", "kunit", "selftests", "mutants", "powercut", "hmm-tests",
          "guest"]

# Begins the lines of the kernel that follow a program's own output.
SPLAT_MARK = "# kernel: "


def counts(passed, failed, skipped):
    return f"{passed} passed, {failed} failed, {skipped} skipped"


class Report:
    """The results of all test programs on all kernels."""

    def __init__(self, top, columns):
        self.top = top
        self.columns = columns      # (kernel, flavour), in the order to show
        self.rows = []
        self.lock = threading.Lock()
        self.begin = time.monotonic()

    def add(self, *result):
        """Takes the outcome of one program and prints a line about it."""
        with self.lock:
            self._add(*result)

    def _add(self, column, suite, name, outcome, seconds, log, output):
        passed, failed, skipped = outcome.counts
        self.rows.append({
            "kernel": column[0], "flavour": column[1], "suite": suite,
            "name": name, "passed": passed, "failed": outcome.failed,
            "skipped": outcome.skipped, "seconds": round(seconds, 1),
            "log": os.path.relpath(log, self.top) if log else ""})
        where = " ".join(w for w in column if w != "-")
        mark = "FAIL" if failed else "ok"
        print(f"{mark:4} {where:16} {suite + '/' + name:36} "
              f"{counts(passed, failed, skipped)}  ({seconds:.1f} s)",
              flush=True)
        if not failed:
            return
        for text in outcome.failed[:20]:
            print(f"       failed: {text}")
        for line in self.excerpt(output.splitlines()):
            print(f"       | {line}")
        if log:
            print(f"       whole output: {os.path.relpath(log, self.top)}",
                  flush=True)

    @staticmethod
    def excerpt(lines):
        """What led to each failure; the end, if nothing says where it failed."""
        shown = set()
        for number, line in enumerate(lines):
            if line.startswith(SPLAT_MARK):
                shown.add(number)
            elif line.lstrip("# ").startswith("not ok"):
                shown.update(range(max(0, number - 8), number + 1))
        if not shown:
            return lines[-25:]
        return [lines[number] for number in sorted(shown)][:100]

    def table(self):
        """Kernel x flavour x suite."""
        seen = {(r["kernel"], r["flavour"]) for r in self.rows}
        columns = [column for column in self.columns if column in seen]
        suites = [s for s in SUITES if any(r["suite"] == s for r in self.rows)]
        print()
        print(f"{'passed/failed/skipped':24}"
              + "".join(f"{suite:>16}" for suite in suites))
        for column in columns:
            line = f"{' '.join(w for w in column if w != '-'):24}"
            for suite in suites:
                rows = [r for r in self.rows if r["suite"] == suite
                        and (r["kernel"], r["flavour"]) == column]
                if not rows:
                    line += f"{'-':>16}"
                    continue
                cell = "/".join(str(n) for n in self.sum(rows))
                line += f"{cell:>16}"
            print(line)

    @staticmethod
    def sum(rows):
        return (sum(r["passed"] for r in rows),
                sum(len(r["failed"]) for r in rows),
                sum(len(r["skipped"]) for r in rows))

    def skips(self):
        reasons = Counter()
        examples = {}
        for row in self.rows:
            for name, why in row["skipped"]:
                key = (f"{row['kernel']} {row['flavour']}", why)
                reasons[key] += 1
                examples.setdefault(key, f"{row['name']}: {name}")
        if reasons:
            print("\nskipped, and why:")
        for (where, why), count in sorted(reasons.items()):
            print(f"  {count:4} x {where:18} {why}  (e.g. {examples[where, why]})")

    def failures(self):
        failed = [r for r in self.rows if r["failed"]]
        if failed:
            print("\nfailed:")
        for row in failed:
            for text in row["failed"]:
                print(f"  {row['kernel']} {row['flavour']} "
                      f"{row['suite']}/{row['name']}: {text}")

    def finish(self):
        """Prints the summary, writes the file; the exit status."""
        # Guests that ran at once take turns in what was printed, but not here.
        self.rows.sort(key=lambda r: self.columns.index((r["kernel"], r["flavour"])))
        passed, failed, skipped = self.sum(self.rows)
        path = os.path.join(self.top, "build/test-results.json")
        with open(path, "w", encoding="utf-8") as handle:
            json.dump({"passed": passed, "failed": failed, "skipped": skipped,
                       "programs": self.rows}, handle, indent=1)
        self.table()
        self.skips()
        self.failures()
        if not passed and not failed:
            print("\nno test ran")
            failed = 1
        print(f"\nin {(time.monotonic() - self.begin) / 60:.0f} minutes")
        print(f"\n{counts(passed, failed, skipped)}", flush=True)
        return 1 if failed else 0

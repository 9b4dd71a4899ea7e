# SPDX-License-Identifier: GPL-2.0
"""Reads TAP and KTAP, as selftests and KUnit print them."""

import re

# A selftest's status, if it was not for this machine.
SKIPPED = 4

RESULT = re.compile(r"^(?P<indent>\s*)(?P<not>not )?ok\b\s*(?P<number>\d+)?"
                    r"\s*(?:- )?(?P<rest>.*)$")
PLAN = re.compile(r"^(?P<indent>\s*)1\.\.(?P<count>\d+)\s*(?:# ?(?P<skip>.*))?$")
DIRECTIVE = re.compile(r"(?:^|\s)#\s*(?P<kind>SKIP|XFAIL|TODO)\b:?\s*(?P<why>.*)$",
                       re.IGNORECASE)
KERNEL_TIME = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ")


class Outcome:
    """What one test program came to."""

    def __init__(self):
        self.passed = 0
        self.failed = []        # names
        self.skipped = []       # (name, reason)

    def fail(self, name):
        self.failed.append(name)

    @property
    def counts(self):
        return self.passed, len(self.failed), len(self.skipped)


def _verdict(match):
    """(name, "pass", "fail" or "skip", reason) of a match of RESULT."""
    directive = DIRECTIVE.search(match["rest"])
    name = DIRECTIVE.sub("", match["rest"]).strip()
    name = name or f"test {match['number'] or '?'}"
    kind = directive["kind"].upper() if directive else ""
    why = directive["why"].strip() if directive else ""
    if kind == "SKIP":
        return name, "skip", why
    return name, "fail" if match["not"] and not kind else "pass", why


def result(line):
    """(name, verdict, reason) if the line is the result of a test, else None."""
    match = RESULT.match(line.rstrip())
    return _verdict(match) if match else None


class _Group:
    """Results of one level of indentation, while it is open."""

    def __init__(self):
        self.plan = None
        self.count = 0
        self.failed = 0

    def broken(self):
        return self.plan is not None and self.plan != self.count


class _Reader:
    """Collects the results that are not the sum of more indented ones."""

    def __init__(self):
        self.groups = {}        # indent -> _Group
        self.leaves = []        # (name, verdict, reason)
        self.plans = []         # complaints

    def close(self, indent):
        """Closes the groups that are indented deeper; returns them."""
        inner = [self.groups.pop(i) for i in sorted(self.groups) if i > indent]
        for group in inner:
            if group.broken():
                self.plans.append(f"{group.plan} tests planned, "
                                  f"{group.count} reported")
        return inner

    def on_plan(self, plan):
        indent = len(plan["indent"])
        group = self.groups.get(indent)
        # A plan comes first or last; a second one begins another document.
        if group and group.plan is not None:
            self.close(indent - 1)
        group = self.groups.setdefault(indent, _Group())
        group.plan = int(plan["count"])
        if not group.plan and plan["skip"]:
            why = re.sub(r"(?i)^skip:?\s*", "", plan["skip"]).strip()
            self.leaves.append(("all", "skip", why))

    def on_result(self, match):
        indent = len(match["indent"])
        inner = self.close(indent)
        group = self.groups.setdefault(indent, _Group())
        group.count += 1
        name, verdict, why = _verdict(match)
        failed_inside = sum(g.failed for g in inner)
        if verdict == "fail" or failed_inside:
            group.failed += 1
        # A sum tells nothing new, unless it failed for a reason of its own.
        if any(g.count for g in inner):
            if verdict != "fail" or failed_inside:
                return
        self.leaves.append((name, verdict, why))


def parse(text, status=0, cut_short=None):
    """The outcome of a program that printed this and ended with this status.

    cut_short says why it did not come to its end, if that is so.
    """
    outcome = Outcome()
    lines = [KERNEL_TIME.sub("", line.rstrip()) for line in text.splitlines()]
    reader = _Reader()
    for line in lines:
        plan, result = PLAN.match(line), RESULT.match(line)
        if plan:
            reader.on_plan(plan)
        elif result:
            reader.on_result(result)
    reader.close(-1)
    leaves = reader.leaves
    for name, verdict, why in leaves:
        if verdict == "pass":
            outcome.passed += 1
        elif verdict == "skip":
            outcome.skipped.append((name, why or "no reason given"))
        else:
            outcome.fail(name)
    if cut_short:
        outcome.fail(cut_short)
        return outcome
    for complaint in reader.plans:
        outcome.fail(f"plan: {complaint}")
    if any(re.match(r"\s*Bail out!", line) for line in lines):
        outcome.fail("bailed out")
    if not leaves:
        if status == SKIPPED:
            why = next((l.lstrip("# ") for l in reversed(lines) if l.strip()), "")
            outcome.skipped.append(("all", why or "no reason given"))
        else:
            outcome.fail("no TAP results")
    if status not in (0, SKIPPED) and not outcome.failed:
        outcome.fail(f"status {status}")
    return outcome

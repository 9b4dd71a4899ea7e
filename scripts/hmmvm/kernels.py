# SPDX-License-Identifier: GPL-2.0
"""The kernel of a guest: how it is chosen, and what scripts/kernel knows of it."""

import os
import subprocess

from hmmvm import TOP


def add_options(add, what="a row of scripts/kernels.table"):
    """Options that choose a guest's kernel, and the clock that it has."""
    add("--kernel", default="6.12", metavar="NAME", help=f"{what} (6.12)")
    add("--flavour", default="fast", choices=["fast", "debug"])
    add("--icount", action="store_true",
        help="guest time counts instructions: slow, repeatable measurements")


def after_dashes(words):
    """What argparse has left of a command line, from behind a leading '--' on."""
    return words[1:] if words[:1] == ["--"] else words


def facts(kernel, flavour):
    """What 'scripts/kernel --print all' says; None if it cannot be had.

    A kernel that is not in the cache is fetched or built; why that fails is
    said on stderr.
    """
    result = subprocess.run(
        [os.path.join(TOP, "scripts/kernel"), "--kernel", kernel,
         "--flavour", flavour, "--print", "all"],
        stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        return None
    return dict(line.split("=", 1) for line in result.stdout.splitlines())

# SPDX-License-Identifier: GPL-2.0
"""Runs a command in a guest kernel; see scripts/vm --help."""

import os

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Where kernels are kept, and what is built of their sources.
CACHE = os.environ.get("HMM_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
    "hmm-mirror")

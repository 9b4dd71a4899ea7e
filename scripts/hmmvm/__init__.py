# SPDX-License-Identifier: GPL-2.0
"""Runs a command in a guest kernel; see scripts/vm --help."""

"""Where commands print to."""

from __future__ import annotations

import sys

from rich.console import Console

FILE_WIDTH = 120
"""Columns where the output goes to a file or a pipe, which has no width of its own."""


def console() -> Console:
    """Standard output, without colours for numbers that mean nothing."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)

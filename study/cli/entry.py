"""Entry point of every command: opens closed streams and ends quietly on an early Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys


def command(arguments: list[str]) -> int:
    """Run a command and return its exit code; 130 for Ctrl-C, even during imports."""
    _open_streams()
    if sys.flags.optimize > 1:  # libraries need docstrings, and assertions protect results
        sys.stderr.write("error: PYTHONOPTIMIZE=2 (python -OO) is not supported; unset it\n")
        return 2
    try:
        from study.cli.app import main

        return main(arguments)
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # everything is printed and saved


def _open_streams() -> None:
    """Open closed standard streams on /dev/null, lest files opened later get their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))

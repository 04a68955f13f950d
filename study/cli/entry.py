"""Where every command begins: with streams to write to, and with an end for an early Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys


def command(arguments: list[str]) -> int:
    """Run a command; an interrupt while Python still imports it ends it without a traceback."""
    _open_streams()
    if sys.flags.optimize > 1:  # libraries read their own docstrings, and assertions guard figures
        sys.stderr.write("error: PYTHONOPTIMIZE=2 (python -OO) is not supported; unset it\n")
        return 2
    try:
        from study.cli.app import main

        return main(arguments)
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and saved


def _open_streams() -> None:
    """Give streams that are closed a place to write to: files opened later would take theirs."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))

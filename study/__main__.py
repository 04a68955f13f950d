"""Entry point of `python -m study COMMAND`."""

from __future__ import annotations

import sys

from study.cli.entry import command

if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))

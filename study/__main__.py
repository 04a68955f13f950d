"""`python -m study COMMAND`: everything that can be asked of studies."""

from __future__ import annotations

import sys

from study.cli.entry import command

if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))

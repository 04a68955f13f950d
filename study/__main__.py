"""`python -m study COMMAND`: everything that can be asked of studies."""

from __future__ import annotations

import sys

from study.commands.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

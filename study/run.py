"""`python study/run.py --space NAME`: plan a study, run what is left of it, show the answer."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python put this file's folder first, whose modules could shadow packages of the same name
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from study.cli.entry import command

    sys.exit(command(["run", *sys.argv[1:]]))

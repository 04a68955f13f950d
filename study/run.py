"""`python study/run.py --space NAME`: plan a study, run what is left of it, show the answer."""

from __future__ import annotations

import sys

from study.entry import command

if __name__ == "__main__":
    sys.exit(command(["run", *sys.argv[1:]]))

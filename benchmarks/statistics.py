"""Calibration of the statistics by simulated studies, and the cost of an answer.

`python benchmarks/statistics.py` simulates thousands of studies with known truth and measures the
coverage of intervals, the family-wise error after Holm's correction, and the power at the stated
detectable effect; then the cost of the answer to a 15-trial study of 11 x 1,190 questions. The code
is in `simulation.py`, `calibration.py` and `answering.py` beside this file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure, print a table, then one JSON object a figure."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import benchmarks.answering as answering
    import benchmarks.calibration as calibration
    import benchmarks.missing as missing
    from benchmarks.figures import show

    show([*answering.figures(), *missing.figures(), *calibration.figures()])


def _give_way() -> None:
    """Import the standard `statistics`, as a script's folder comes first on sys.path."""
    del sys.modules["statistics"]
    kept = list(sys.path)
    sys.path[:] = [entry for entry in kept if Path(entry).resolve() != ROOT / "benchmarks"]
    __import__("statistics")
    sys.path[:] = kept


if __name__ == "__main__":
    main()
elif __name__ == "statistics":
    _give_way()

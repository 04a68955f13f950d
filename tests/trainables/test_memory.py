from __future__ import annotations

import sys

import numpy as np
import pytest

from trainables.trial.outcome import forget_peak, peak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_the_peak_is_of_what_was_held_since_it_was_forgotten() -> None:
    forget_peak()
    before = peak()["peak_memory_mb"]
    held = np.ones(25_000_000)  # 200 MB
    during = peak()["peak_memory_mb"]
    assert 190 < during - before < 260
    del held
    assert peak()["peak_memory_mb"] == pytest.approx(during, abs=20)
    forget_peak()
    assert peak()["peak_memory_mb"] < during - 100

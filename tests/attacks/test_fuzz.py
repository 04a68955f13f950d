"""A slice of `tests.attacks.fuzz`, and, slow, all of it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "inputs", [400, pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_damaged_files_give_no_traceback(inputs: int) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.attacks.fuzz", str(inputs), "11"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]

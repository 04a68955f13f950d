"""What a failed trial leaves behind: nothing, and it costs its own process only; on real Ray."""

from __future__ import annotations

import pytest

from benchmarks.turnaround import SLOTS, failing


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_failed_trial_costs_its_own_process_and_leaves_no_state() -> None:
    found = {figure["figure"].strip(): figure for figure in failing()}
    processes = found["processes for 40 trials on 2 slots, one failing, one killed"]
    # one process fewer where the other slot took all that was left
    assert SLOTS < processes["ours"] <= SLOTS + 2
    assert found["trials that met another's state"]["ours"] == 0
    assert found["other trials without a record"]["ours"] == 0

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.samples import values
from trainables.spec import Execution, build_spec
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath
from trainables.trial.checkpoint import (
    SAVES_PER_INTERVAL,
    SHORTEST_INTERVAL,
    Clock,
    latest_checkpoint,
    save_checkpoint,
)
from trainables.trial.trial_folder import Attempt, TrialFolder

SPEC = build_spec(values())


def state(step: int, execution: Execution = Execution()) -> dict[str, object]:  # noqa: B008
    return {"step": step, "weights": torch.arange(4.0) + step, "execution": execution.to_json()}


@pytest.fixture
def attempt(place: AnyPath) -> Attempt:
    return TrialFolder.of(place, SPEC.digest).claim(SPEC, {})


def latest(attempt: Attempt, execution: Execution = Execution()) -> int | None:  # noqa: B008
    found = latest_checkpoint(attempt.trial, lambda saved: saved == execution)
    return None if found is None else int(found["step"])


def test_the_highest_step_of_any_attempt_is_found(attempt: Attempt) -> None:
    assert latest(attempt) is None
    save_checkpoint(attempt, state(3))
    save_checkpoint(attempt, state(5))
    later = attempt.trial.claim(SPEC, {})
    save_checkpoint(later, state(4))
    assert latest(attempt) == 5
    assert [path.name for path in (attempt.path / "checkpoint").glob("*.pt")] == ["step-5.pt"]


@pytest.mark.parametrize("name", ["step-5.pt", "manifest.json"])
@pytest.mark.parametrize("how", ["truncate", "flip", "delete"])
def test_a_damaged_checkpoint_is_passed_over(attempt: Attempt, name: str, how: str) -> None:
    save_checkpoint(attempt, state(3))
    later = attempt.trial.claim(SPEC, {})
    save_checkpoint(later, state(5))
    path = later.path / "checkpoint" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    if how == "delete":
        path.unlink()
    else:
        path.write_bytes(bytes(content if how == "flip" else content[: len(content) // 3]))
    assert latest(attempt) == 3


def test_another_layout_starts_from_the_beginning(attempt: Attempt) -> None:
    save_checkpoint(attempt, state(3))
    assert latest(attempt, Execution(micro_batch_tokens=512)) is None


def test_a_full_disk_keeps_the_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = TrialFolder.of(tmp_path, SPEC.digest).claim(SPEC, {})
    save_checkpoint(attempt, state(3))
    monkeypatch.setattr(storage, "SPARE_BYTES", 10**18)
    with pytest.raises(storage.NoRoomError, match="MB needed"):
        save_checkpoint(attempt, state(5))
    assert latest(attempt) == 3


def test_saving_costs_at_most_five_percent() -> None:
    clock = Clock()
    assert clock.interval == SHORTEST_INTERVAL == 30
    clock.saved(0.1)
    assert clock.interval == SHORTEST_INTERVAL
    clock.saved(10.0)
    assert clock.interval == SAVES_PER_INTERVAL * 10.0 == 200
    assert not clock.due()

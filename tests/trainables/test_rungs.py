"""Looking at the validation benchmark on the way: it moves nothing, and is not done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.samples import embedded_spec
from trainables import faults
from trainables import finetune as recipe
from trainables.evaluation.evaluate import evaluate
from trainables.failures import TrialFailedError
from trainables.finetune import finetune
from trainables.spec import Spec
from trainables.trial import loop as training
from trainables.trial.intermediate import intermediate_ranks, milestones
from trainables.trial.loop import Event
from trainables.trial.trial_folder import TrialFolder

SETTINGS: dict[str, Any] = {
    "learning_rate": 5e-3,
    "steps": 6,
    "batch_size": 8,
    "languages": ["qaa", "qad"],
    "eval_languages": ["qaa", "qad"],
    "alpha": 0.5,
    "schedule": "constant",
    "warmup": 0,
}
RUNGS = (12, 32, 48, 96)
"""Examples: after steps 2 and 4; the last two are the end and past it."""

ALIKE = ("result.json", "history.json", "ranks-test.npz", "ranks-validation.npz")


@pytest.fixture(scope="module")
def spec() -> Spec:
    return embedded_spec(**SETTINGS)


def run(spec: Spec, folder: TrialFolder, *rungs: int) -> list[Event]:
    return list(finetune(spec, folder, places={}, rungs=rungs))


def files(folder: TrialFolder) -> dict[str, bytes]:
    return {name: (folder.committed() / name).read_bytes() for name in ALIKE}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, spec: Spec) -> tuple[TrialFolder, list[Event]]:
    folder = TrialFolder.of(tmp_path_factory.mktemp("whole"), spec.digest)
    return folder, run(spec, folder, *RUNGS)


def test_rungs_are_the_first_steps_with_so_many_examples() -> None:
    assert milestones(RUNGS, 8, 6) == {2: 12, 4: 32}
    assert milestones((10, 20, 30), 64, 6) == {1: 30}, "of several at one step the highest"
    assert milestones(RUNGS, 8, 0) == {}


def test_looking_on_the_way_moves_no_number(
    tmp_path: Path, spec: Spec, whole: tuple[TrialFolder, list[Event]]
) -> None:
    without = TrialFolder.of(tmp_path, spec.digest)
    assert all(event.rung is None for event in run(spec, without))
    assert files(without) == files(whole[0])


def test_a_rung_says_what_the_validation_benchmark_says_then(
    tmp_path: Path, spec: Spec, whole: tuple[TrialFolder, list[Event]]
) -> None:
    reached = [event.rung for event in whole[1] if event.rung is not None]
    assert [(rung.examples, rung.step) for rung in reached] == [(12, 2), (32, 4)]
    short = make_short(spec, 2)
    folder = TrialFolder.of(tmp_path, short.digest)
    run(short, folder)
    assert folder.result()["validation"] == reached[0].metrics


def make_short(spec: Spec, steps: int) -> Spec:
    """The same training, ended after `steps`: possible where the rate follows no schedule."""
    return Spec.model_validate(spec.model_dump() | {"steps": steps})


@pytest.mark.parametrize("point", ["rung.ranks", "rung.written", "step"])
def test_an_attempt_takes_along_what_earlier_ones_looked_at(
    tmp_path: Path,
    spec: Spec,
    whole: tuple[TrialFolder, list[Event]],
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    folder = TrialFolder.of(tmp_path, spec.digest)
    monkeypatch.setenv(faults.VARIABLE, f"error point={point} step=4 attempt=1")
    with pytest.raises(TrialFailedError, match="planted"):
        run(spec, folder, *RUNGS)
    monkeypatch.delenv(faults.VARIABLE)
    looked = []

    def looking(*given: Any, **named: Any) -> Any:
        looked.append(0)
        return evaluate(*given, **named)

    for place in (recipe, training):
        monkeypatch.setattr(place, "evaluate", looking)
    events = run(spec, folder, *RUNGS)
    again = {"rung.ranks": 1, "rung.written": 0, "step": 1}[point]
    assert len(looked) == again + 2, "the end is evaluated on two benchmarks"
    assert [e.rung for e in events if e.rung] == [e.rung for e in whole[1] if e.rung]
    assert files(folder) == files(whole[0])
    kept = json.loads((folder.path / "manifest.json").read_bytes())["files"]
    assert {"rung-2.json", "rung-2.npz", "rung-4.json", "rung-4.npz"} <= kept.keys()
    assert [path.parent for path in intermediate_ranks(folder, 2)] == [folder.committed()]


def test_a_trial_closed_at_a_rung_says_it_again(tmp_path: Path, spec: Spec) -> None:
    folder = TrialFolder.of(tmp_path, spec.digest)
    events = finetune(spec, folder, places={}, rungs=RUNGS)
    while (event := next(events)).rung is None or event.step < 4:
        pass
    events.close()  # type: ignore[attr-defined]
    assert list(folder.path.glob("attempts/001/checkpoint/step-4.pt"))
    said = [e.rung.examples for e in run(spec, folder, *RUNGS) if e.rung]
    assert said == [12, 32]


def test_a_damaged_rung_is_looked_at_again(tmp_path: Path, spec: Spec) -> None:
    folder = TrialFolder.of(tmp_path, spec.digest)
    events = finetune(spec, folder, places={}, rungs=RUNGS)
    while next(events).rung is None:
        pass
    file = folder.path / "attempts/001/rung-2.npz"
    file.write_bytes(file.read_bytes()[:-1])
    assert intermediate_ranks(folder, 2) == []
    events.close()  # type: ignore[attr-defined]
    assert [e.rung.examples for e in run(spec, folder, *RUNGS) if e.rung] == [12, 32]
    assert len(intermediate_ranks(folder, 2)) == 1

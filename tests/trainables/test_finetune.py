"""One trial: interrupted anywhere it ends with the same bytes, and it fails with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.samples import embedded_spec
from trainables import faults
from trainables.failures import TrialFailedError
from trainables.finetune import finetune
from trainables.spec import Spec
from trainables.trial.trial_folder import TrialFolder

STEPS = 4
SETTINGS: dict[str, Any] = {
    "learning_rate": 5e-3,
    "steps": STEPS,
    "batch_size": 8,
    "languages": ["qaa", "qad"],
    "eval_languages": ["qaa", "qad"],
    "alpha": 0.5,
}


@pytest.fixture(scope="module")
def spec() -> Spec:
    return embedded_spec(**SETTINGS)


def run(spec: Spec, folder: TrialFolder) -> None:
    for _ in finetune(spec, folder, places={}):
        pass


def files(folder: TrialFolder) -> dict[str, bytes]:
    """Everything of the result but when, where and in which attempt it was made."""
    path = folder.committed()
    names = ["result.json", "history.json", "ranks-test.npz", "ranks-validation.npz"]
    return {name: (path / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, spec: Spec) -> dict[str, bytes]:
    folder = TrialFolder.of(tmp_path_factory.mktemp("whole"), spec.digest)
    run(spec, folder)
    return files(folder)


@pytest.mark.parametrize("steps", [[1], [2, 3], [1, 2, 3, 4]])
def test_a_trial_closed_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, spec: Spec, whole: dict[str, bytes], steps: list[int]
) -> None:
    folder = TrialFolder.of(tmp_path, spec.digest)
    for step in steps:
        events = finetune(spec, folder, places={})
        while (event := next(events)).kind != "stepped" or event.step < step:
            pass
        events.close()  # type: ignore[attr-defined]
    run(spec, folder)
    assert files(folder) == whole
    resumed = json.loads((folder.committed() / "environment.json").read_bytes())["resumed_at"]
    assert resumed == steps[-1]
    assert [path.name for path in folder.path.glob("attempts/*")] == [f"{len(steps) + 1:03d}"]
    assert not list(folder.path.glob("attempts/*/checkpoint"))


def test_a_trial_that_fails_between_saves_goes_back_to_the_last(
    tmp_path: Path, spec: Spec, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TrialFolder.of(tmp_path, spec.digest)
    monkeypatch.setenv(faults.VARIABLE, "save point=step step=2; error point=step step=3")
    with pytest.raises(TrialFailedError, match="planted"):
        run(spec, folder)
    monkeypatch.delenv(faults.VARIABLE)
    run(spec, folder)
    assert files(folder) == whole


@pytest.mark.parametrize("step", [1, STEPS])
def test_a_loss_or_encoder_that_is_not_finite_fails_the_trial(
    tmp_path: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setenv(faults.VARIABLE, f"nan point=step step={step}")
    folder = TrialFolder.of(tmp_path, spec.digest)
    with pytest.raises(TrialFailedError) as caught:
        run(spec, folder)
    assert caught.value.reason == "nan"
    failure = folder.attempts()[0].failure()
    assert failure is not None
    assert failure["reason"] == "nan"
    assert not folder.is_committed


def test_out_of_memory_runs_once_more_with_smaller_micro_batches(
    tmp_path: Path, spec: Spec, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TrialFolder.of(tmp_path, spec.digest)
    monkeypatch.setenv(faults.VARIABLE, "save point=step; oom point=step step=2 attempt=1")
    run(spec, folder)
    result, before = folder.result(), json.loads(whole["result.json"])
    assert result["layout_changed"] is True
    assert before["layout_changed"] is False
    assert result["execution"]["micro_batch_tokens"] == 512
    assert result["metrics"] == pytest.approx(before["metrics"], abs=0.02)
    environment = json.loads((folder.committed() / "environment.json").read_bytes())
    assert environment["resumed_at"] == 0, "one layout from the first step to the last"


def test_out_of_memory_twice_is_a_failure(
    tmp_path: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TrialFolder.of(tmp_path, spec.digest)
    monkeypatch.setenv(faults.VARIABLE, "oom point=step step=1")
    with pytest.raises(TrialFailedError) as caught:
        run(spec, folder)
    assert caught.value.reason == "out of memory"
    assert folder.latest_attempt() == 2


def test_a_trial_that_another_process_commits_first_stops_and_agrees(
    tmp_path: Path, spec: Spec, whole: dict[str, bytes]
) -> None:
    folder = TrialFolder.of(tmp_path, spec.digest)
    slow = finetune(spec, folder, places={})
    while next(slow).kind != "stepped":
        pass
    run(spec, folder)
    assert [event.kind for event in slow][-1] == "committed"
    assert files(folder) == whole
    assert len(list(folder.path.glob("attempts/*"))) == 1


def test_the_fine_tuned_encoder_is_kept_on_request(tmp_path: Path, spec: Spec) -> None:
    from trainables.encoders.text import TextEncoder

    folder = TrialFolder.of(tmp_path, spec.digest)
    for _ in finetune(spec, folder, places={}, keep_weights=True):
        pass
    weights = folder.weights()
    assert isinstance(weights, Path)
    assert TextEncoder.load(weights).encode_queries(["x"], "qaa").shape[0] == 1
    folder.drop_weights()
    assert folder.weights() is None
    assert folder.result()

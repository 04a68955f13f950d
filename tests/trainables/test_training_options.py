"""Options of training, through whole trials: selection, temperature, negatives, rows, volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.samples import embedded_spec
from trainables.data.catalog import load_training
from trainables.finetune import finetune
from trainables.spec import MIN_LEARNT_TEMPERATURE, Spec
from trainables.training.negatives import Candidates
from trainables.trial.trial_folder import TrialFolder

SETTINGS: dict[str, Any] = {
    "learning_rate": 5e-3,
    "steps": 8,
    "batch_size": 8,
    "languages": ["qaa", "qad"],
    "eval_languages": ["qaa", "qad"],
    "alpha": 0.5,
}
BEST: dict[str, Any] = {"evaluate_every": 2, "select": "best", "select_metric": "map/mono"}


def spec_of(**changes: Any) -> Spec:
    return embedded_spec(**SETTINGS | changes)


def trained(spec: Spec, folder: Path, stops: tuple[int, ...] = ()) -> TrialFolder:
    """The trial, closed after each step of `stops` and gone on with."""
    trial = TrialFolder.of(folder, spec.digest)
    for stop in stops:
        events = finetune(spec, trial, places={})
        while (event := next(events)).kind != "stepped" or event.step < stop:
            pass
        events.close()  # type: ignore[attr-defined]
    for _ in finetune(spec, trial, places={}):
        pass
    return trial


def curve(trial: TrialFolder) -> list[dict[str, float]]:
    content = json.loads((trial.committed() / "history.json").read_bytes())
    found: list[dict[str, float]] = content["points"]
    return found


def test_the_best_encoder_on_the_validation_benchmark_is_the_one_that_is_evaluated(
    tmp_path: Path,
) -> None:
    # a rate that destroys what the encoder knew, so that the best is not the last
    spec = spec_of(**BEST, learning_rate=0.2, schedule="constant", warmup=0)
    trial = trained(spec, tmp_path)
    result = trial.result()
    seen = {p["step"]: p["validation/map/mono"] for p in curve(trial) if len(p) and
            "validation/map/mono" in p}  # fmt: skip
    assert sorted(seen) == [2, 4, 6, 8]
    best = max(seen.values())
    training = result["training"]
    assert training["best_value"] == best
    assert training["chosen_step"] == min(step for step, value in seen.items() if value == best)
    assert training["steps"] == 8
    assert result["validation"]["map/mono"] == best
    assert any(value < best for value in seen.values())


def test_without_a_new_best_training_stops_and_says_how_many_steps_it_took(tmp_path: Path) -> None:
    spec = spec_of(**BEST, patience=1, learning_rate=1e-12)
    training = trained(spec, tmp_path).result()["training"]
    assert training["stopped_early"] is True
    assert (training["steps"], training["best_step"], training["chosen_step"]) == (4, 2, 2)
    assert training["examples"] == 4 * 8


def test_selection_reads_nothing_of_the_test_benchmark(tmp_path: Path) -> None:
    one = trained(spec_of(**BEST, eval_languages=["qaa", "qad"]), tmp_path)
    names = {name for point in curve(one) for name in point}
    assert names
    assert all(name == "step" or name.startswith(("train/", "validation/")) for name in names)


@pytest.mark.parametrize(
    "changes",
    [
        BEST | {"learning_rate": 0.2},
        BEST | {"patience": 2, "learning_rate": 1e-12},
        {"learn_temperature": True},
        {"negatives": "both", "hard_negatives": 2},
        {"rows": "in_two"},
        {"max_rows": 10},
        {"sampling": "X-X-mixed", "languages": ["qaa", "qab", "qad"], "languages_per_batch": 2},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_option_goes_on_after_a_stop_as_if_there_had_been_none(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    spec = spec_of(**changes)
    whole, resumed = (
        trained(spec, tmp_path / name, stops) for name, stops in (("a", ()), ("b", (1, 4)))
    )
    for name in ("result.json", "history.json", "ranks-test.npz"):
        assert (whole.committed() / name).read_bytes() == (resumed.committed() / name).read_bytes()


def test_a_learnt_temperature_moves_and_stays_above_its_bound(tmp_path: Path) -> None:
    slow = spec_of(learn_temperature=True, learning_rate=1e-3)
    found = trained(slow, tmp_path / "slow").result()["training"]["temperature"]
    assert found == pytest.approx(0.05, rel=0.02)
    assert found != pytest.approx(0.05, rel=1e-5)
    fast = spec_of(
        learn_temperature=True, learning_rate=3.0, temperature=MIN_LEARNT_TEMPERATURE * 1.01
    )
    found = trained(fast, tmp_path / "fast").result()["training"]["temperature"]
    assert found >= MIN_LEARNT_TEMPERATURE * (1 - 1e-6)
    plain = trained(spec_of(), tmp_path / "plain").result()["training"]
    assert "temperature" not in plain


def test_hard_negatives_are_those_of_the_row_in_the_language_of_its_passage() -> None:
    import numpy as np

    languages = ["qaa", "qad"]
    data = load_training("synthetic", languages=languages, negatives=True)
    seen: list[str] = []

    def tokenize(texts: Any) -> list[Any]:
        start = len(seen)
        seen.extend(texts)
        return [np.array([number], dtype=np.int32) for number in range(start, len(seen))]

    spec = spec_of(negatives="both", hard_negatives=2, languages=languages)
    found: Any = Candidates(spec, data, tokenize, None)
    rows = np.array([5, 0, 3])
    sides = np.array([1, 0, 1])
    chosen = found.of(0, sides, rows)
    numbers = [int(np.asarray(array)[0]) for array in chosen.tokens]
    texts = [seen[number] for number in numbers]
    assert texts[:3] == [
        data.passages[languages[side]][row] for side, row in zip(sides, rows, strict=True)
    ]
    assert chosen.owners.tolist() == [0, 0, 1, 1, 2, 2]
    for owner, text in zip(chosen.owners, texts[3:], strict=True):
        row, language = rows[owner], languages[sides[owner]]
        assert text in {candidate.text for candidate in data.negatives[language][row]}
        assert text != data.passages[language][row]
    assert len(set(texts[3:5])) == 2, "none twice"
    batches = [found.of(t, sides, rows).tokens for t in range(20)]
    drawn = [[int(np.asarray(array)[0]) for array in batch] for batch in batches]
    assert drawn[0] == numbers
    others = {tuple(batch[3:]) for batch in drawn}
    assert len(others) > 1, "other batches draw others"

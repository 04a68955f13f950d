"""Trial folders of every format so far, read by today's code; see fixtures/README.md."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.samples import values
from tests.trainables.evaluation.toys import TableEncoder, parallel
from trainables.errors import UserError
from trainables.evaluation.evaluate import evaluate
from trainables.evaluation.metrics import metrics_from_ranks
from trainables.evaluation.ranks import load_ranks, save_ranks
from trainables.spec import Execution, build_spec
from trainables.storage import atomic as storage
from trainables.trial.trial_folder import (
    FORMAT,
    OLDEST_FORMAT,
    NotCommittedError,
    TrialFolder,
    read_json,
)

FIXTURES = Path(__file__).parent / "fixtures"
READ = range(OLDEST_FORMAT, FORMAT + 1)


def write(root: Path) -> None:
    """Commit a tiny trial under `root`, as today's version writes it."""
    toy = parallel(["de", "en"], 3, 4)
    found = evaluate(toy, TableEncoder.of(toy))
    spec = build_spec(values())
    attempt = TrialFolder.of(root, spec.digest).claim(spec, {"host": "elsewhere", "process": 1})
    save_ranks(found.ranks, root / "trials" / spec.digest / "attempts" / "001" / "ranks-test.npz")
    attempt.write_json(
        "result.json",
        {
            "digest": spec.digest,
            "metrics": found.metrics,
            "validation": {},
            "counts": {"test": found.counts},
            "zero_shot": {"verdict": "not checkable", "same_source": False},
            "training": {},
            "execution": Execution().to_json(),
            "layout_changed": False,
        },
    )
    attempt.write_json("history.json", {"points": [{"step": 10, "train/loss": 1.5}]})
    attempt.write_json("environment.json", {"began": 0.0, "seconds": 1.0, "versions": {}})
    attempt.commit(sorted(path.name for path in attempt.path.iterdir()))


def trial_in(root: Path) -> TrialFolder:
    [path] = (root / "trials").iterdir()
    return TrialFolder(path)


def test_every_format_that_is_read_has_its_fixture() -> None:
    assert {f"format-{number}" for number in READ} <= {path.name for path in FIXTURES.iterdir()}


@pytest.mark.parametrize("number", READ)
def test_a_trial_of_each_format_is_read(number: int) -> None:
    trial = trial_in(FIXTURES / f"format-{number}")
    assert json.loads(trial.manifest_path.read_bytes())["format"] == number
    assert trial.spec().digest == trial.digest
    result = trial.result()
    assert result["metrics"]
    Execution(**result["execution"])
    folder = trial.committed()
    assert isinstance(folder, Path)
    assert metrics_from_ranks(load_ranks(folder / "ranks-test.npz")) == result["metrics"]
    assert read_json(folder / "history.json")["points"][0]["train/loss"] == 1.5


@pytest.mark.parametrize("number", READ)
def test_damage_in_a_trial_of_each_format_is_noticed(number: int, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / f"format-{number}", tmp_path / "root")
    trial = trial_in(tmp_path / "root")
    path = trial.path / "attempts" / "001" / "result.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(NotCommittedError, match="not as it was committed"):
        trial.result()


def test_a_trial_of_the_next_format_is_refused_by_its_number(tmp_path: Path) -> None:
    write(tmp_path)
    trial = trial_in(tmp_path)
    manifest = storage.unseal(trial.manifest_path.read_bytes()) | {"format": FORMAT + 1}
    storage.write(trial.manifest_path, storage.seal(manifest))
    with pytest.raises(UserError, match=f"has format {FORMAT + 1}, this version reads up to"):
        trial.result()


def test_a_format_of_before_is_no_result(tmp_path: Path) -> None:
    write(tmp_path)
    trial = trial_in(tmp_path)
    manifest = storage.unseal(trial.manifest_path.read_bytes()) | {"format": OLDEST_FORMAT - 1}
    storage.write(trial.manifest_path, storage.seal(manifest))
    with pytest.raises(NotCommittedError, match="no known format"):
        trial.result()


if __name__ == "__main__":
    write(Path(sys.argv[1]))

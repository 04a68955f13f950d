"""What MLflow holds of a study that was really run."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from study.report.charts.heatmap import MOST_LANGUAGES, heatmap_page
from study.state.committed import committed_results
from study.state.databases import OPTUNA_FILE, sqlite_url
from study.tracking import default_uri
from study.tracking.mlflow_storage import open_client
from tests.study.inline import study, warm, write_space
from trainables.trial.trial_folder import TrialFolder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    warm()
    folder = tmp_path_factory.mktemp("view")
    assert study(folder, write_space(folder)) == 0
    return folder


def test_trials_and_study_carry_what_they_are_made_of(root: Path) -> None:
    client = open_client(default_uri(root))
    experiments = [e for e in client.search_experiments() if e.name != "Default"]
    assert len(experiments) == 1
    runs = client.search_runs([experiments[0].experiment_id])
    [parent] = [run for run in runs if run.data.tags["kind"] == "study"]
    trials = [run for run in runs if run.data.tags["kind"] == "trial"]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    arms = {(run.data.tags["arm"], run.data.tags.get("seed")) for run in trials}
    assert arms == {("untrained", None), ("alpha=0", "0"), ("alpha=0.5", "0")}
    for run in trials:
        held = root / "mlartifacts" / run.info.run_id / "artifacts"
        names = {"heatmap.html", "ranks-test.npz", "ranks-validation.npz", "spec.json"}
        assert {path.name for path in held.iterdir()} == names
        folder = TrialFolder.of(root, run.data.tags["digest"]).committed()
        assert isinstance(folder, Path)
        ranks = folder / "ranks-test.npz"
        assert (held / ranks.name).read_bytes() == ranks.read_bytes()
        assert run.inputs is not None
        inputs = {i.tags[0].value: i.dataset for i in run.inputs.dataset_inputs}
        trained = {"train"} if "seed" in run.data.tags else set()
        assert inputs.keys() == {"test", "validation"} | trained
        spec = TrialFolder.of(root, run.data.tags["digest"]).spec()
        assert spec.test.digest.startswith(inputs["test"].digest)
    report = root / "mlartifacts" / parent.info.run_id / "artifacts"
    for name in ("answer.md", "answer.json"):
        assert (report / name).read_bytes() == (root / "reports" / "s" / name).read_bytes()


def test_rows_of_optuna_hold_the_objective(root: Path) -> None:
    rows = optuna.load_study(study_name="s", storage=sqlite_url(root / OPTUNA_FILE)).trials
    results = committed_results(root, [row.user_attrs["digest"] for row in rows])
    assert len(results) == len(rows) == 3
    for row in rows:
        assert row.value == results[row.user_attrs["digest"]]["validation"]["map/multi"]
    assert {row.params.get("alpha") for row in rows} == {None, 0.0, 0.5}


def test_a_heatmap_has_a_cell_for_every_pair_that_was_measured() -> None:
    metrics = {"map/mono": 0.5, "map/mono/de": 0.9, "map/mono/th": 0.1, "map/cross/de-th": 0.25}
    page = heatmap_page("<alpha>", metrics)
    assert page is not None
    assert page.count("<rect") == 3
    assert ">.25</text>" in page
    assert "&lt;alpha&gt;" in page
    assert "0.100 to 0.900" in page


def test_without_pairs_there_is_no_heatmap() -> None:
    assert heatmap_page("t", {"map/mono/de": 0.5, "map/mono/th": 0.5}) is None
    assert heatmap_page("t", {}) is None
    many = [f"l{number:02}" for number in range(MOST_LANGUAGES + 1)]
    metrics = {f"map/mono/{name}": 0.5 for name in many} | {"map/cross/l00-l01": 0.5}
    assert heatmap_page("t", metrics) is None

"""A search from its space to its report and to MLflow, trained in small."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from study.state.study_folder import StudyFolder
from study.tracking import default_uri
from study.tracking.mlflow_storage import open_client
from tests.study.inline import study, warm, write_space

SPACE = """
question: Which mixing ratio and rate?
fixed:
  sampling: hybrid
  languages: [qaa, qad]
  eval_languages: [qaa, qad]
  batch_size: 8
  reference_batch_size: 8
  steps: 2
search:
  alpha: {low: 0.1, high: 0.9}
  learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}
optimize:
  sampler: tpe
  trials: 4
  objectives: [map/multi, rank_distance]
  confirm: {top: 1, seeds: 2}
primary: map/multi
tiers: {demo: {}, full: {}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    warm()
    folder = tmp_path_factory.mktemp("searched")
    assert study(folder, write_space(folder, SPACE)) == 0
    return folder


def report(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "reports" / "s" / "report.json").read_bytes()))


def test_the_report_has_the_sections_of_a_search(root: Path) -> None:
    html = (root / "reports" / "s" / "report.html").read_text("utf-8")
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", html)
    assert headings[:4] == [
        *("Search", "Course of the search", "What the settings did", "Pareto front"),
    ]
    assert "Comparison of the cells" not in headings
    assert "the budget of 4 trials is spent" in html
    tables = report(root)["tables"]
    assert [row[1] for row in tables["course/trials"]["rows"]] == [1, 2, 3, 4]
    budget = {row[0]: row[1:] for row in tables["budget"]["rows"]}
    assert budget["trials of the search"] == [4, 4.0]
    assert budget["training examples of the search"][0] == 4 * 2 * 8


def test_only_the_winner_s_fresh_seeds_show_the_test(root: Path) -> None:
    asked = StudyFolder.of(root, "s").record().proposals
    fresh = [trial for trial in asked if trial.phase == "confirm"]
    assert len(fresh) == 2
    assert {trial.seed for trial in fresh}.isdisjoint(t.seed for t in asked if t not in fresh)
    tested = []
    for trial in fresh:
        [file] = root.glob(f"trials/{trial.digest}/attempts/*/result.json")
        tested.append(json.loads(file.read_bytes())["metrics"]["map/multi"])
    winners = report(root)["tables"]["winners"]
    [row] = winners["rows"]
    held = dict(zip(winners["columns"], row, strict=True))
    assert held["test map/multi"]["mean"] == pytest.approx(sum(tested) / 2)
    assert held["test map/multi"]["count"] == 2
    others = {name: table for name, table in report(root)["tables"].items() if name != "winners"}
    assert not any("test " in column for t in others.values() for column in t["columns"])


def test_mlflow_has_the_numbers_of_the_search_and_the_report(root: Path) -> None:
    client = open_client(default_uri(root))
    [experiment] = [e for e in client.search_experiments() if e.name != "Default"]
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in runs if run.data.tags["kind"] == "study"]
    trials = [run for run in runs if run.data.tags["kind"] == "trial"]
    shown = {key for run in trials for key in (*run.data.params, *run.data.metrics)}
    assert {"alpha", "learning_rate", "validation/map/multi", "validation/rank_distance"} <= shown
    best = report(root)["tables"]["course/trials"]["rows"][-1][-1]
    assert parent.data.metrics["search/best"] == best
    assert any(name.startswith("importance/map/multi/") for name in parent.data.metrics)
    kept = root / "mlartifacts" / parent.info.run_id / "artifacts" / "report.html"
    assert kept.read_bytes() == (root / "reports" / "s" / "report.html").read_bytes()

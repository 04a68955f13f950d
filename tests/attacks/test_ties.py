"""A collapsed encoder says so beside its number, with its best and worst value under ties."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from study.cli.app import main
from study.launch import launch as launcher
from tests.study.inline import launch_inline, write_space
from trainables.data.benchmark import Benchmark, Candidate, Query
from trainables.evaluation.evaluate import evaluate_embeddings
from trainables.evaluation.metric_names import reordered
from trainables.evaluation.metrics import MEASURES, retrieval_metrics


def benchmark(gains: dict[str, float], size: int) -> Benchmark:
    queries = {"en": [Query("q", "which", "q", "q")]}
    corpus = {"en": [Candidate(str(i), f"text {i}") for i in range(size)]}
    return Benchmark("own", queries, corpus, {"q": gains}, judged_in_all_languages=True)


@pytest.mark.parametrize("gains", [{"3": 1.0}, {"0": 1.0, "4": 3.0}, {"1": 2.0, "2": 1.0}])
def test_best_and_worst_of_a_constant_encoder(gains: dict[str, float]) -> None:
    size = 6
    data = benchmark(gains, size)
    same = {"en": np.ones((size, 4), np.float32)}
    ranks = evaluate_embeddings(data, {"en": np.ones((1, 4), np.float32)}, same).ranks
    names = sorted(gains, key=lambda name: -gains[name])
    others = [str(i) for i in range(size) if str(i) not in gains]
    for best, order in ((True, [*names, *others]), (False, [*others, *names[::-1]])):
        # the same order, of scores that differ
        falling = np.zeros((size, 4), np.float32)
        for place, name in enumerate(order):
            falling[int(name), 0] = 1.0 - place / 10
            falling[int(name), 1] = 0.5
        asked = {"en": np.array([[1, 0, 0, 0]], np.float32)}
        expected = evaluate_embeddings(data, asked, {"en": falling}).ranks
        found = retrieval_metrics(reordered(ranks, best=best), MEASURES)
        assert found == pytest.approx(retrieval_metrics(expected, MEASURES))


def test_a_collapsed_encoder_is_said_to_be_one_wherever_its_number_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weight decay takes all that training meets to zero: real training, equal vectors."""
    monkeypatch.setattr(launcher, "launch", launch_inline)
    root, at = tmp_path / "root", ["--root", str(tmp_path / "root")]
    words = ["run", "--space", str(write_space(tmp_path)), "--name", "s", *at]
    assert main([*words, "--set", "learning_rate=1", "--set", "weight_decay=1"]) == 0
    ties = json.loads((root / "reports/s/answer.json").read_bytes())["tied"]
    assert len(ties) == 2
    capsys.readouterr()
    assert main(["status", "s", "--json", *at]) == 0
    trials = json.loads(capsys.readouterr().out)["trials"]
    assert [trial["tied"] for trial in trials if trial["tied"]] == ties
    page = (root / "reports/s/report.html").read_text()
    text = (root / "reports/s/report.md").read_text()
    with (root / "reports/s/report.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["statistic"].endswith("of ties")]
    for tie in ties:
        trial = next(trial for trial in trials if trial["digest"] == tie["trial"])
        assert tie["value"] == pytest.approx(trial["metrics"][tie["metric"]])
        assert tie["worst"] < tie["value"] < tie["best"]
        mine = {
            line["statistic"]: line["value"] for line in lines if line["digest"] == tie["trial"]
        }
        for key in ("worst", "best"):
            assert float(mine[f"{key} of ties"]) == tie[key]
            assert f"{tie[key]:.4f}" in page
            assert f"{tie[key]:.4f}" in text

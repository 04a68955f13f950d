"""`compare` on small studies that were really run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from study.cli.app import main
from study.state.committed import committed_results
from study.state.study_folder import StudyFolder
from tests.study.inline import SPACE, study, warm, write_space


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Study `s` with two seeds; `t` with one seed more of twice as many steps."""
    warm()
    folder = tmp_path_factory.mktemp("compare")
    space = write_space(folder)
    assert study(folder, space, "--seeds", "2") == 0
    assert study(folder, space, "--seeds", "3", "--set", "steps=6", "--name", "t") == 0
    write_space(folder, SPACE.replace("eval_languages: [qaa, qad]", "eval_languages: [qaa]"))
    assert study(folder, space, "--name", "one", "--set", "alpha=1") == 0
    return folder


def shown(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], code: int = 0
) -> str:
    capsys.readouterr()
    assert main(["compare", *arguments, "--root", str(root)]) == code
    output = capsys.readouterr()
    text = output.out if code == 0 else output.err
    return text if "--json" in arguments else " ".join(text.split())


def rows(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    found = json.loads(shown(root, capsys, [*arguments, "--json"]))
    assert isinstance(found, dict)
    return found


def reported(root: Path, name: str, label: str, metric: str) -> list[float]:
    """The metric as the trials of a cell report it."""
    plan = StudyFolder.of(root, name).plan()
    assert plan is not None
    [cell] = [one for one in plan.cells if one.label == label]
    results = committed_results(root, [trial.digest for trial in cell.trials])
    return [results[trial.digest]["metrics"][metric] for trial in cell.trials]


def test_two_arms_of_a_study(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(root, capsys, "s:alpha=0.5", "s:alpha=0")
    by_metric = {row["metric"]: row for row in found["rows"]}
    assert {"map/mono", "map/cross", "map/multi", "rank_distance"} <= by_metric.keys()
    for metric, row in by_metric.items():
        values = [reported(root, "s", f"alpha={a}", metric) for a in (0.5, 0)]
        means = [sum(v) / len(v) for v in values]
        assert [row["first"], row["second"]] == pytest.approx(means, abs=1e-9)
        assert row["difference"] == pytest.approx(means[0] - means[1], abs=1e-9)
        assert row["seeds"] == 2
    assert "alpha: 0.5 → 0" in found["differ"]
    assert not any("sampling" in line for line in found["differ"])
    text = shown(root, capsys, ["s:alpha=0.5", "s:alpha=0"])
    assert "exploratory, no verdict" in text
    assert "Holm corrects for the tests shown" in text


def test_two_studies_by_the_arms_that_both_have(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(root, capsys, "s", "t", "--metric", "map/mono")
    assert [row["arm"] for row in found["rows"]] == ["alpha=0", "alpha=0.5", "mean of these 2"]
    assert [row["seeds"] for row in found["rows"]] == [2, 2, 2]
    assert "steps: 3 → 6" in found["differ"]
    one, other, mean = (row["difference"] for row in found["rows"])
    assert mean == pytest.approx((one + other) / 2)


def test_an_arm_named_once_is_meant_twice(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [row] = rows(root, capsys, "s:alpha=0", "t", "--metric", "map/mono")["rows"]
    twice = rows(root, capsys, "s:alpha=0", "t:alpha=0", "--metric", "map/mono")["rows"]
    assert [row] == twice


def test_an_arm_that_only_one_side_has_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(root, capsys, ["one", "s:alpha=0.5", "--metric", "map/mono/qaa"], 2)
    assert "one:alpha=0.5: no such arm" in text


def test_another_pool_is_not_compared(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(root, capsys, ["one:all", "s:alpha=0.5", "--metric", "map/mono/qaa"])
    assert "not asked the same questions" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["s:alpha=0.6", "s:alpha=0"], "s:alpha=0.6: no such arm; did you mean alpha=0"),
        (["s", "s"], "s with itself: name two arms, such as s:alpha=0.5"),
        (["tt", "s"], "no study 'tt'"),
        (["tt", "s"], "did you mean t?"),
        (
            ["s", "t", "--metric", "map/mon"],
            "--metric map/mon: neither has it; did you mean map/mo",
        ),
        (["s", "one"], "no arm in common: s has alpha=0, alpha=0.5; one has all"),
    ],
)
def test_a_mistake_is_named(
    arguments: list[str], said: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in shown(root, capsys, arguments, 2)

"""What changes after results is said in the answer (law 6), in words and in its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study.console import in_markdown
from study.planning.extend import INTERIM_LOOK, POST_HOC, declared_late, mark
from study.state.plan import Plan
from tests.study.analysis.planned import cell, hypothesis, plan_of
from tests.study.inline import SPACE, study, warm, write_space

OTHER = """
  - {name: new, metric: map/mono, better: {alpha: 0}, than: {alpha: 0.5}, margin: 0.01, why: test}
tiers:"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that has been answered once, as it was planned."""
    warm()
    folder = tmp_path_factory.mktemp("marks")
    assert study(folder, write_space(folder)) == 0
    assert told(folder) == ([], [])
    return folder


def kept(root: Path) -> dict[str, Any]:
    found = json.loads((root / "reports" / "s" / "answer.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def told(root: Path) -> tuple[list[str], list[str]]:
    """The marks of the kept answer, and its hypotheses that are post hoc."""
    answer = kept(root)
    page = (root / "reports" / "s" / "answer.md").read_text(encoding="utf-8")
    assert all(in_markdown(mark) in page for mark in answer["marks"])
    return answer["marks"], [one["hypothesis"] for one in answer["findings"] if one["post_hoc"]]


def test_what_was_changed_after_results_is_marked_for_good(root: Path, tmp_path: Path) -> None:
    first = kept(root)["of"]
    more = write_space(tmp_path, SPACE.replace("\ntiers:", OTHER))
    assert study(root, more, "--extend") == 0
    marks, late = told(root)
    assert len(marks) == 1
    assert marks[0].startswith(f"{POST_HOC}: hypotheses, margins or the primary metric")
    assert late == ["new"]
    assert kept(root)["of"] != first

    assert study(root, more, "--seeds", "2", "--extend", output=tmp_path / "shown") == 0
    marks, late = told(root)
    assert marks[1:] == [f"{INTERIM_LOOK}: seeds were added after results"]
    assert late == ["new"]
    page = (root / "reports" / "s" / "report.html").read_text(encoding="utf-8")
    assert f"{INTERIM_LOOK}: seeds were added" in page.partition("Comparison of the cells</h2>")[0]
    assert '<span class="mark6">post hoc</span>' in page
    shown = " ".join((tmp_path / "shown").read_text(encoding="utf-8").split())
    assert f"{INTERIM_LOOK}: seeds were added" in shown
    assert shown.count(f"{POST_HOC}: hypotheses") == 1


def planned(
    *hypotheses: dict[str, Any], seeds: int = 2, alphas: tuple[float, ...] = (0, 1)
) -> Plan:
    return plan_of([cell(seeds, alpha=alpha) for alpha in alphas], hypotheses)


def test_a_hypothesis_is_late_unless_it_stands_word_for_word() -> None:
    before = planned(hypothesis(), hypothesis(name="margin"), hypothesis(name="gone"))
    after = planned(hypothesis(), hypothesis(name="margin", margin=0.02), hypothesis(name="new"))
    assert declared_late(before, after) == ["margin", "new"]
    assert declared_late(None, after) == ["h", "margin", "new"]
    said = mark(before, before.frozen, after, results=True)
    assert "declared or changed: margin, new; no longer declared: gone" in said


def test_every_change_is_named() -> None:
    before = planned(hypothesis())
    after = planned(hypothesis(margin=0.02), seeds=3, alphas=(0, 0.5, 1))
    said = mark(before, before.frozen, after, results=True)
    assert "declared or changed: h" in said
    assert f"{INTERIM_LOOK}: seeds were added" in said
    assert f"{POST_HOC}: cells were added" in said
    swapped = before.model_copy(update={"primary": "map/mono"})
    said = mark(before, before.frozen, swapped, results=True)
    assert "primary metric: map/multi, now map/mono" in said

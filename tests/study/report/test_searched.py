"""The report of a search, from visits made by hand and committed trials that confirm a winner."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from study.analysis.answer import Answer
from study.report.document import Document, Figure, Gallery, Section, Table
from study.report.html import to_html
from study.report.markdown import to_markdown
from study.report.material import Material, gather
from study.report.sections.search_space import pareto, settings
from study.report.sections.searched import Searched, Spending, history, search_result
from study.search.summary import TrialOutcome
from study.spaces.optimize import SearchPlan
from study.state.committed import committed_results
from tests.study.report.studies import noisy, questions_in_two_languages, study

SPENT, EXAMPLES = "trials", "training examples of all trials"

RANGES: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "sampling": ["X-X", "hybrid"],
    "alpha": {"low": 0.0, "high": 1.0, "when": {"sampling": ["hybrid"]}},
}


def plan(**changes: Any) -> SearchPlan:
    values = {"ranges": RANGES, "objectives": ["map/multi"]}
    return SearchPlan.model_validate(values | changes)


def visits(search: SearchPlan, count: int = 24) -> tuple[TrialOutcome, ...]:
    """Trials of random cells, every fifth pruned and one failed."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        rate = float(f"{10 ** rng.uniform(-5, -1):.4g}")
        params: dict[str, Any] = {"learning_rate": rate, "sampling": "X-X"}
        if number % 2:
            params |= {"sampling": "hybrid", "alpha": round(float(rng.random()), 3)}
        value = 0.5 - 0.1 * abs(np.log10(rate) + 3) + 0.05 * (number % 2)
        state = "pruned" if number % 5 == 4 else "failed" if number == 2 else "complete"
        values = (float(value), 10.0 * number)[: len(search.objectives)]
        made.append(
            TrialOutcome(
                digest=f"{number:020d}",
                params=params,
                seed=0,
                state=state,  # type: ignore[arg-type]
                values=values if state == "complete" else (),
                limited=tuple(30.0 + number for _ in search.constraints),
                examples=100.0 if state == "pruned" else 320.0,
                reason="below the best third at 100 examples" if state == "pruned" else "",
            )
        )
    return tuple(made)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Of a study whose trials of alpha 1 will confirm a winner."""
    root = tmp_path_factory.mktemp("root")
    toy = questions_in_two_languages()
    made = study(root, toy, {1: [noisy(toy, seed, 2.0) for seed in range(3)]}, [])
    results = committed_results(root, made.plan.specs)
    return gather(made.plan, root, Answer("s", "Which?", (), 0, 0, {}, ()), results, {})


def confirming(material: Material, params: dict[str, Any]) -> list[TrialOutcome]:
    digests = [trial.digest for trial in material.plan.cells[0].trials]
    return [
        TrialOutcome(digest, params, 100 + n, "complete", (0.4 + 0.01 * n,), phase="confirm")
        for n, digest in enumerate(digests)
    ]


def page(*sections: Section | None) -> str:
    there = tuple(section for section in sections if section is not None)
    document = Document("s", "Which?", "", there)
    for text in (html := to_html(document), to_markdown(document)):
        shown = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
        assert not re.search(r"(?<!\w)(nan|NaN|[Ii]nf|Infinity|None)(?!\w)", shown)
    return html


def figures(section: Section) -> list[Figure]:
    found = []
    for block in section.blocks:
        found += [block] if isinstance(block, Figure) else []
        found += block.figures if isinstance(block, Gallery) else ()
    return found


def table(section: Section, name: str) -> Table:
    [wanted] = [b for b in section.blocks if isinstance(b, Table) and b.id == name]
    return wanted


def test_only_trials_that_confirm_a_winner_show_the_test(material: Material) -> None:
    search = plan()
    held = visits(search)
    winner = max((v for v in held if v.values), key=lambda v: v.values[0])
    fresh = confirming(material, winner.params)
    section = search_result(
        material, Searched(search, (*held, *fresh), over="30 trials were the budget.")
    )
    [row] = table(section, "winners").rows
    titles = [column.title for column in table(section, "winners").columns]
    values = dict(zip(titles, row, strict=True))
    assert values["fresh seeds"] == 3
    assert values["map/multi, when chosen"].mean == winner.values[0]  # type: ignore[union-attr]
    assert values["map/multi, fresh seeds"].mean == pytest.approx(0.41)  # type: ignore[union-attr]
    tested = [material.results[visit.digest]["metrics"]["map/multi"] for visit in fresh]
    assert values["test map/multi"].mean == pytest.approx(np.mean(tested))  # type: ignore[union-attr]
    assert values["test map/multi"].count == 3  # type: ignore[union-attr]
    assert "30 trials were the budget." in page(section)


def test_without_fresh_seeds_no_test_is_shown(material: Material) -> None:
    search = plan()
    html = page(search_result(material, Searched(search, visits(search))))
    assert "the test is not shown" in html
    assert "test map" not in html


def test_course_settings_and_pruned_trials(material: Material) -> None:
    search = plan()
    searched = Searched(search, visits(search), spending=(Spending("trials", 24, 30.0),))
    course, what = history(searched), settings(searched)
    html = page(search_result(material, searched), course, what, pareto(searched))
    assert pareto(searched) is None
    titles = [figure.title for figure in figures(course)]
    assert titles == [
        "Best so far against trials",
        "Best so far against training examples of all trials",
    ]
    assert [row[1] for row in figures(course)[0].table.rows] == list(range(1, 25))
    stopped = table(course, "pruned").rows
    assert len(stopped) == 4
    assert {row[3] for row in stopped} == {100.0}
    shown = {figure.title: figure for figure in figures(what)}
    assert list(shown) == [
        "Importance for map/multi",
        *(f"map/multi against {key}" for key in RANGES),
        "Parallel coordinates of the search",
    ]
    # a pruned or failed trial is in none of them
    drawn = shown["map/multi against learning_rate"]
    assert len(drawn.table.rows) == 19
    assert drawn.drawing.count("<circle") == 19
    assert len(shown["map/multi against alpha"].table.rows) == 10
    for figure in shown.values():
        assert 'role="img"' in figure.drawing
        assert re.search(r'aria-label="[^"]{10,}"', figure.drawing)
    assert "30.0<" in html


def test_pareto_front_with_a_constraint(material: Material) -> None:
    limits = [{"metric": "rank_distance", "at_most": 45}]
    search = plan(objectives=["map/multi", "cost/operations"], constraints=limits)
    searched = Searched(search, visits(search))
    section = pareto(searched)
    assert section is not None
    front = table(section, "front")
    # number n has the constraint's value 30 + n: those above 15 are out
    assert len(front.rows) == len([v for v in searched.visits[:16] if v.values])
    on = [row for row in front.rows if row[-1] == "yes"]
    off = [row for row in front.rows if row[-1] == "no"]
    for row in off:
        better = [o for o in on if o[1].mean >= row[1].mean and o[2].mean <= row[2].mean]  # type: ignore[union-attr]
        assert better, row
    html = page(search_result(material, searched), section, settings(searched))
    assert "miss a constraint" in html
    assert html.count("spot on") == len(on)


def test_nothing_that_counts(material: Material) -> None:
    search = plan()
    failed = tuple(replace(v, state="failed", values=()) for v in visits(search, 3))
    for held in ((), failed):
        searched = Searched(search, held)
        html = page(search_result(material, searched), history(searched), settings(searched))
        assert "no course to draw" in html
        assert "importance needs 2 complete cells" in html


def test_no_cell_keeps_to_the_constraint(material: Material) -> None:
    search = plan(constraints=[{"metric": "rank_distance", "at_most": 1}])
    searched = Searched(search, visits(search))
    html = page(search_result(material, searched), history(searched), settings(searched))
    assert "there is no winner" in html

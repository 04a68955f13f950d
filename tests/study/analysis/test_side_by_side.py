from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from study.analysis.answer import answer
from study.analysis.scores import Scores
from study.analysis.side_by_side import Arm, Measured, common_arms, find_arm, side_by_side
from study.analysis.verdicts import holm
from study.state.plan import Cell, Plan, PlannedTrial
from tests.study.analysis.planned import cell, hypothesis, plan_of, scores_of
from trainables.errors import UserError
from trainables.spec import DataRef, Spec

CLUSTERS = 30
STEADY = np.random.default_rng(7).normal(0.5, 0.1, CLUSTERS)
SAME = {"test": "toy"}


def scored(
    cells: Sequence[tuple[Cell, float]], *metrics: str, noise: float = 0.01
) -> dict[str, dict[str, Scores]]:
    """Scores around a mean for each cell, in each of the metrics."""
    return {
        trial.digest: {
            metric: scores_of(
                STEADY
                + mean
                + noise * np.random.default_rng([place, number, kind]).normal(size=CLUSTERS)
            )
            for kind, metric in enumerate(metrics or ("map/multi",))
        }
        for place, (one, mean) in enumerate(cells)
        for number, trial in enumerate(one.trials)
    }


def arm(one: Cell, asked: Mapping[str, str] = SAME) -> Arm:
    return Arm(one.label, (one,), asked)


def elsewhere(one: Cell, first_seed: int = 0) -> Cell:
    """The cell as another study has it: other trials, with seeds from `first_seed` on."""
    trials = (
        PlannedTrial(digest=f"other {one.label}/{n}", seed=first_seed + n)
        for n in range(len(one.trials))
    )
    return one.model_copy(update={"trials": tuple(trials)})


def compared(first: Arm, second: Arm, scores: Mapping[str, Mapping[str, Scores]]) -> Measured:
    [row] = side_by_side([("", first, second)], ["map/multi"], scores)
    return row


def test_two_arms_have_the_statistics_of_the_answer() -> None:
    one, other = cell(5, alpha=1), cell(5, alpha=0)
    scores = scored([(one, 0.05), (other, 0.0)])
    row = compared(arm(one), arm(other), scores)
    [finding] = answer(plan_of([one, other], [hypothesis()]), scores).findings
    expected = finding.decisive
    assert (row.difference, row.interval, row.bootstrap, row.p) == (
        expected.effect,
        expected.interval,
        expected.bootstrap,
        expected.p,
    )
    assert (row.seeds, row.clusters, row.note) == (5, CLUSTERS, "")
    assert row.first is not None
    assert row.second is not None
    assert row.first - row.second == pytest.approx(row.difference)


def test_p_is_corrected_for_everything_shown() -> None:
    one, other = cell(5, alpha=1), cell(5, alpha=0)
    metrics = ("map/mono", "map/cross", "map/multi")
    scores = scored([(one, 0.002), (other, 0.0)], *metrics)
    rows = side_by_side([("", arm(one), arm(other))], metrics, scores)
    p = [row.p for row in rows if row.p is not None]
    assert [row.corrected for row in rows] == holm(p)
    alone = compared(arm(one), arm(other), scores)
    assert alone.detectable is not None
    assert rows[2].detectable is not None
    assert alone.detectable < rows[2].detectable


def test_trials_of_two_studies_are_paired_by_seed() -> None:
    one, other = cell(5, alpha=1), elsewhere(cell(5, alpha=1), first_seed=2)
    row = compared(arm(one), arm(other), scored([(one, 0.05), (other, 0.0)]))
    assert row.seeds == 3
    assert row.note == ""


def test_without_a_common_seed_trials_are_paired_in_order_and_that_is_said() -> None:
    one, other = cell(5, alpha=1), elsewhere(cell(4, alpha=1), first_seed=10)
    row = compared(arm(one), arm(other), scored([(one, 0.05), (other, 0.0)]))
    assert row.seeds == 4
    assert row.interval is not None
    assert row.interval[0] < 0.05 < row.interval[1]
    assert "no seed in common, so trials were paired in the order of their seeds" in row.note


def test_pairing_in_order_covers_as_often_as_it_says() -> None:
    """Seeds that differ, and none shared: 95 % intervals cover the truth."""
    one, other = cell(4, alpha=1), elsewhere(cell(4, alpha=1), first_seed=10)
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        scores = {
            t.digest: {
                "map/multi": scores_of(STEADY + rng.normal(0, 0.02) + rng.normal(0, 0.02, CLUSTERS))
            }
            for t in (*one.trials, *other.trials)
        }
        row = compared(arm(one), arm(other), scores)
        assert row.interval is not None
        covered += row.interval[0] < 0 < row.interval[1]
    assert 0.91 < covered / 300 < 0.985


def test_an_untrained_encoder_is_paired_with_every_seed() -> None:
    one = cell(3, alpha=1)
    untrained = Cell(params={"steps": 0}, trials=(PlannedTrial(digest="u"),))
    row = compared(arm(one), arm(untrained), scored([(one, 0.3), (untrained, 0.0)]))
    assert row.seeds == 3
    assert row.p is not None


def test_several_cells_are_averaged() -> None:
    cells = [cell(3, alpha=a, batch_size=b) for a in (0, 1) for b in (8, 16)]
    means = [(c, 0.1 * c.params["alpha"] + 0.01 * c.params["batch_size"]) for c in cells]
    first, second = (find_arm(by_name(cells), cells, f"batch_size={b}") for b in (16, 8))
    row = compared(first, second, scored(means, noise=0.0001))
    assert first.name == "by-hand:batch_size=16 (mean of 2 cells)"
    assert row.difference == pytest.approx(0.08, abs=0.001)


def test_other_questions_have_no_difference() -> None:
    one, other = cell(3, alpha=1), cell(3, alpha=0)
    scores = scored([(one, 0.1), (other, 0.0)])
    scores |= {t.digest: {"map/multi": scores_of(np.ones(4))} for t in other.trials}
    row = compared(arm(one), arm(other), scores)
    assert (row.difference, row.p, row.corrected, row.seeds) == (None, None, None, 0)
    assert "not asked the same questions" in row.note
    assert row.second == pytest.approx(1)


def test_the_same_questions_of_another_pool_have_no_difference() -> None:
    one, other = cell(3, alpha=1), cell(3, alpha=0)
    scores = scored([(one, 0.1), (other, 0.0)])
    row = compared(arm(one), arm(other, {"test": "toy, other candidates"}), scores)
    assert row.difference is None


def test_one_seed_has_a_difference_without_uncertainty() -> None:
    one, other = cell(1, alpha=1), cell(1, alpha=0)
    row = compared(arm(one), arm(other), scored([(one, 0.1), (other, 0.0)]))
    assert row.difference == pytest.approx(0.1, abs=0.01)
    assert (row.interval, row.bootstrap, row.p, row.corrected) == (None,) * 4
    assert row.note == "one seed: an effect without uncertainty"


def test_all_equal() -> None:
    one, other = cell(5, alpha=1), cell(5, alpha=0)
    same = {t.digest: {"map/multi": scores_of(STEADY)} for t in (*one.trials, *other.trials)}
    row = compared(arm(one), arm(other), same)
    assert (row.difference, row.p) == (0, None)
    assert "the same in every seed and cluster" in row.note


def test_missing_trials_are_named() -> None:
    one, other = cell(5, alpha=1), cell(5, alpha=0)
    scores = scored([(one, 0.1), (other, 0.0)])
    some = {digest: held for digest, held in scores.items() if digest != "alpha=0/3"}
    row = compared(arm(one), arm(other), some)
    assert (row.seeds, row.note) == (4, "alpha=0 lacks seed 3")
    none = {digest: held for digest, held in scores.items() if "alpha=0/" not in digest}
    row = compared(arm(one), arm(other), none)
    assert (row.difference, row.second) == (None, None)
    assert row.note == "alpha=0 has no trial with this metric in alpha=0"
    assert compared(arm(one), arm(other), {}).first is None


def by_name(cells: list[Cell]) -> Plan:
    """A plan whose trials all have the same spec as far as arms care."""
    spec = Spec.model_construct(test=DataRef(name="toy", digest="t"), also=None)
    specs = {t.digest: spec for one in cells for t in one.trials}
    return plan_of(cells, []).model_copy(update={"specs": specs})


UNTRAINED = Cell(params={"steps": 0}, trials=(PlannedTrial(digest="u"),))
GRID = [UNTRAINED, *(cell(2, alpha=a, batch_size=b) for a in (0, 0.5, 1) for b in (8, 16))]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("alpha=0.5 batch_size=8", ["alpha=0.5 batch_size=8"]),
        ("batch_size=8,alpha=.5", ["alpha=0.5 batch_size=8"]),
        ("alpha=1.0", ["alpha=1 batch_size=8", "alpha=1 batch_size=16"]),
        ("untrained", ["untrained"]),
        ("steps=0", ["untrained"]),
    ],
)
def test_arms_by_name(text: str, labels: list[str]) -> None:
    assert [one.label for one in find_arm(by_name(GRID), GRID, text).cells] == labels


def test_studies_of_one_arm_each_need_no_name() -> None:
    one, other = ([cell(2, **params)] for params in ({"alpha": 1}, {"batch_size": 8}))
    sides = [(by_name(cells), [UNTRAINED, *cells]) for cells in (one, other)]
    [(name, *arms)] = common_arms(*sides)
    assert name == "alpha=1 against batch_size=8"
    assert [arm.cells for arm in arms] == [tuple(one), tuple(other)]


@pytest.mark.parametrize(
    ("text", "near"),
    [("alpha=0.55", "did you mean alpha=0.5"), ("batchsize=8", "did you mean batch_size=8")],
)
def test_an_unknown_arm_names_the_nearest(text: str, near: str) -> None:
    with pytest.raises(UserError, match=near) as found:
        find_arm(by_name(GRID), GRID, text)
    assert "arms are untrained, alpha=0 batch_size=8" in str(found.value)

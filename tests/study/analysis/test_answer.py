from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.analysis.answer import Answer, answer, held_fixed, stored
from study.analysis.comparison import Lacking
from study.analysis.contrasts import Stored
from study.analysis.results import CellResult, answering, waiting
from study.analysis.scores import Scores
from study.analysis.words import words
from study.planning.build import make_plan
from study.spaces.hypothesis import Hypothesis
from study.spaces.schema import load_space
from study.state.plan import Plan
from tests.study.analysis.planned import cell, hypothesis, plan_of, scores_of
from trainables.trial.trial_folder import TrialFolder

FIXTURES = Path(__file__).parents[2] / "trainables" / "fixtures"

CLUSTERS = 30
SIDES = ("better", "than")
RNG = np.random.default_rng(7)
STEADY = RNG.normal(0.5, 0.1, CLUSTERS)
NOISE = RNG.normal(0, 0.01, (3, 10, CLUSTERS))


def two_arms(seeds: int, hypotheses: Sequence[Mapping[str, Any]] = (hypothesis(),)) -> Plan:
    return plan_of([cell(seeds, alpha=0), cell(seeds, alpha=1), cell(seeds, alpha=0.5)], hypotheses)


def simulated(
    plan: Plan, means: Mapping[float, float], keep: Callable[[float, int], bool] = lambda *_: True
) -> dict[str, dict[str, Scores]]:
    """Scores around a mean by alpha, for each trial that is kept."""
    return {
        trial.digest: {
            "map/multi": scores_of(STEADY + means[alpha] + NOISE[int(2 * alpha), trial.seed])
        }
        for one in plan.cells
        for trial in one.trials
        if trial.seed is not None and keep(alpha := one.params["alpha"], trial.seed)
        if alpha in means
    }


def answered(plan: Plan, scores: Stored) -> Answer:
    """The answer, in whose words nothing may be said that was not computed."""
    found = answer(plan, scores, resamples=200)
    text = "\n".join(words(found))
    assert not re.search(r"\b(nan|inf|None)\b", text, re.IGNORECASE), text
    return found


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.05, "supported"), (-0.05, "contradicted"), (0.0, "equivalent"), (0.004, "equivalent")],
)
def test_planted_effects_are_found(gain: float, verdict: str) -> None:
    plan = two_arms(5)
    found = answered(plan, simulated(plan, {0: 0, 1: gain}))
    [finding] = found.findings
    assert finding.verdict == verdict
    one = finding.decisive
    assert one.interval is not None
    assert one.bootstrap is not None
    assert one.interval[0] < gain < one.interval[1]
    assert one.effect == pytest.approx(gain, abs=0.005)
    assert (len(one.by_seed), one.clusters) == (5, CLUSTERS)
    assert (found.fixed["benchmark"], found.fixed["steps"]) == ("toy", 10)


def test_below_five_seeds_nothing_is_decided_and_the_numbers_are_shown() -> None:
    plan = two_arms(4)
    found = answered(plan, simulated(plan, {0: 0, 1: 0.2}))
    assert found.findings[0].verdict == "undecided"
    assert found.findings[0].decisive.p is not None
    assert found.findings[0].decisive.effect == pytest.approx(0.2, abs=0.01)
    assert found.findings[0].judgement.remark == "few seeds"


def test_less_is_better_for_rank_distance() -> None:
    plan = two_arms(5, [hypothesis(metric="rank_distance", margin=0.001)])
    scores = {
        digest: {"rank_distance": one["map/multi"]}
        for digest, one in simulated(plan, {0: 0, 1: -0.1}).items()
    }
    found = answered(plan, scores)
    assert found.findings[0].verdict == "supported"
    effect = found.findings[0].decisive.effect
    assert effect is not None
    assert effect < 0


def test_one_trial() -> None:
    plan = two_arms(1)
    found = answered(plan, simulated(plan, {1: 0}))
    assert found.findings[0].verdict == "undecided"
    assert found.findings[0].decisive.effect is None
    assert (found.trials, found.with_result) == (2, 1)
    assert "no seed has a result" in found.findings[0].decisive.note
    assert found.findings[0].decisive.lacking == (Lacking("alpha=0", (0,)),)


def test_one_seed() -> None:
    plan = two_arms(1)
    found = answered(plan, simulated(plan, {0: 0, 1: 0.05}))
    one = found.findings[0].decisive
    assert one.effect == pytest.approx(0.05, abs=0.01)
    assert (one.interval, one.p, one.detectable, one.seeds_needed) == (None,) * 4
    assert found.findings[0].verdict == "undecided"
    assert one.note.startswith("one seed")


def test_all_failed() -> None:
    found = answered(two_arms(5), {})
    assert found.findings[0].verdict == "undecided"
    assert (found.trials, found.with_result) == (10, 0)


def test_all_equal() -> None:
    plan = two_arms(5)
    same = {"map/multi": scores_of(STEADY)}
    found = answered(plan, {t.digest: same for one in plan.cells for t in one.trials})
    one = found.findings[0].decisive
    assert (one.effect, one.interval, one.p) == (0, None, None)
    assert found.findings[0].verdict == "undecided"
    assert "same in every seed and cluster" in one.note


def test_seeds_missing_in_one_arm_are_left_out_and_named() -> None:
    plan = two_arms(8)
    scores = simulated(plan, {0: 0, 1: 0.05}, lambda alpha, seed: alpha == 0 or seed not in (2, 6))
    found = answered(plan, scores)
    assert list(found.findings[0].decisive.by_seed) == [0, 1, 3, 4, 5, 7]
    assert found.findings[0].verdict == "supported"
    assert found.findings[0].decisive.lacking == (Lacking("alpha=1", (2, 6)),)


def test_a_metric_that_the_evaluation_has_not() -> None:
    plan = two_arms(5, [hypothesis(metric="map/cross")])
    found = answered(plan, simulated(plan, {0: 0, 1: 0.05}))
    assert found.findings[0].verdict == "undecided"
    assert Lacking("alpha=0", (), "map/cross") in found.findings[0].decisive.lacking


def test_a_cell_that_the_study_has_not() -> None:
    plan = two_arms(5, [hypothesis(better={"alpha": 0.7}), hypothesis(name="other")])
    found = answered(plan, simulated(plan, {0: 0, 1: 0.05}))
    assert [finding.verdict for finding in found.findings] == ["undecided", "supported"]
    assert found.findings[0].decisive.note.startswith("alpha=0.7: no cell of this study")


def test_what_follows_from_a_factor_is_not_held_fixed() -> None:
    space = load_space("batch_size")
    fixed = held_fixed(make_plan(space, "batch_size", "demo", {"steps": 40}, seeds=1)[0])
    assert fixed["temperature"] == 0.05
    assert fixed["sampling"] == "hybrid"
    assert "steps" not in fixed, "equal examples take more or fewer"
    alone = held_fixed(make_plan(load_space("mixing_ratio"), "mixing_ratio", "demo", {})[0])
    assert alone["steps"] > 0
    assert "alpha" not in alone
    untrained = held_fixed(make_plan(space, "batch_size", "demo", {"steps": 0})[0])
    assert untrained["steps"] == 0
    assert not {"batch_size", "learning_rate", "temperature", "control"} & untrained.keys()


def test_no_hypothesis() -> None:
    found = answered(two_arms(5, []), {})
    assert found.findings == ()


@pytest.mark.parametrize(
    ("middle", "verdict"), [(0.09, "supported"), (0.05, "undecided"), (0.0, "contradicted")]
)
def test_better_than_both(middle: float, verdict: str) -> None:
    plan = two_arms(5, [hypothesis(better={"alpha": 0.5}, than=[{"alpha": 0}, {"alpha": 1}])])
    found = answered(plan, simulated(plan, {0: 0.0, 0.5: middle, 1: 0.05}))
    [finding] = found.findings
    assert finding.verdict == verdict
    assert [one.what for one in finding.comparisons] == [
        "alpha=0.5 minus alpha=0",
        "alpha=0.5 minus alpha=1",
    ]
    assert found.trials == 15


def grown(plan: Plan, gain: float) -> dict[str, dict[str, Scores]]:
    """Scores of alpha by batch size: hybrid gains so much over X-X at each doubling."""
    shift = {8: 0, 16: 1, 32: 2}
    return {
        trial.digest: {
            "map/multi": scores_of(
                STEADY
                + 0.02 * shift[one.params["batch_size"]]
                + gain * shift[one.params["batch_size"]] * (one.params["alpha"] == 0.5)
                + np.random.default_rng([trial.seed or 0, place]).normal(0, 0.002, CLUSTERS)
            )
        }
        for place, one in enumerate(plan.cells)
        for trial in one.trials
    }


def crossed(**declared: Any) -> Plan:
    """Alpha by batch size, and one hypothesis of it as a space would declare it."""
    cells = [cell(5, alpha=a, batch_size=b) for a in (0.5, 1) for b in (8, 16, 32)]
    usual = {"name": "h", "metric": "map/multi", "margin": 0.005, "why": "test"}
    found = Hypothesis.model_validate(usual | declared)
    return plan_of(cells, [found.declared({"batch_size": [8, 16, 32], "alpha": [0.5, 1]})])


@pytest.mark.parametrize(
    ("gain", "expected", "verdict"),
    [(0.02, "better", "supported"), (0.02, "worse", "contradicted"), (0.0, "better", "equivalent")],
)
def test_a_declared_interaction_is_answered(gain: float, expected: str, verdict: str) -> None:
    plan = crossed(
        better={"alpha": 0.5}, than={"alpha": 1}, slope={"factor": "batch_size"}, expected=expected
    )
    found = answered(plan, grown(plan, gain))
    [finding] = found.findings
    one = finding.decisive
    assert finding.verdict == verdict
    assert one.interval is not None
    assert one.interval[0] < gain < one.interval[1]
    assert one.detectable is not None
    assert one.what == "alpha=0.5 minus alpha=1, change per doubling of batch_size (8 to 32)"
    assert one.per == "doubling"
    assert found.trials == 30


def test_a_declared_slope_is_answered() -> None:
    plan = crossed(slope={"factor": "batch_size", "where": {"alpha": 0.5}})
    found = answered(plan, grown(plan, 0.03))
    assert found.findings[0].verdict == "supported"
    assert found.findings[0].decisive.effect == pytest.approx(0.05, abs=0.002)
    one = found.findings[0].decisive
    assert one.what == "change per doubling of batch_size (8 to 32) at alpha=0.5"
    assert one.per == "doubling"
    assert found.trials == 15


def test_a_slope_that_lacks_a_level_is_not_taken_over_the_others() -> None:
    plan = crossed(slope={"factor": "batch_size"})
    fewer = plan.model_copy(update={"cells": plan.cells[1:]})
    found = answered(fewer, grown(fewer, 0.0))
    assert found.findings[0].decisive.effect is None
    assert found.findings[0].decisive.note.startswith("batch_size: the study lacks cells")


def test_a_slope_leaves_tuned_settings_apart() -> None:
    arms = [cell(5, encoder=e, learning_rate=r) for e, r in (("s", 0.1), ("m", 0.3), ("l", 0.1))]
    slope = {"factor": "encoder", "scale": "order", "levels": ["s", "m", "l"], "where": {}}
    declared = {"name": "h", "metric": "map/multi", "slope": slope, "margin": 0.01, "why": "test"}
    plan = plan_of(arms, [declared]).model_copy(update={"tuned": ("learning_rate",)})
    scores = {
        trial.digest: {"map/multi": scores_of(STEADY + 0.1 * place + NOISE[place, trial.seed])}
        for place, one in enumerate(arms)
        for trial in one.trials
    }
    found = answered(plan, scores)
    assert found.findings[0].verdict == "supported"
    assert found.findings[0].decisive.effect == pytest.approx(0.1, abs=0.01)
    assert found.findings[0].decisive.per == "step"
    untuned = plan.model_copy(update={"tuned": ()})
    assert answered(untuned, scores).findings[0].decisive.note.startswith("encoder: ")


def test_an_arm_whose_tuning_is_incomplete_is_not_left_out_of_a_mean() -> None:
    """One batch size of one side alone would be compared with both of the other."""
    cells = [
        cell(5, alpha=a, batch_size=b, learning_rate=r)
        for a in (0, 1)
        for b in (16, 64)
        for r in (0.1, 0.3)
    ]
    over = {"factor": "batch_size", "scale": "log2", "levels": (16, 64)}
    declared = [
        hypothesis(),
        hypothesis(name="at 16", better={"alpha": 1, "batch_size": 16}, than={"alpha": 0}),
        {k: v for k, v in hypothesis(name="slope", slope=over).items() if k not in SIDES},
        hypothesis(
            name="whole",
            better={"alpha": 1, "batch_size": 16},
            than={"alpha": 0, "batch_size": 16},
        ),
    ]
    plan = plan_of(cells, declared).model_copy(update={"tuned": ("learning_rate",)})
    missing = "alpha=1 batch_size=64 learning_rate=0.3/4"
    results = [
        CellResult(
            one,
            tuple({"validation": {"map/multi": 0.5}} for t in one.trials if t.digest != missing),
            {},
        )
        for one in cells
    ]
    without = waiting(plan, results)
    assert [one.label for one in without] == ["alpha=1 batch_size=64 learning_rate=0.1"]
    asked = plan.model_copy(update={"cells": (*answering(plan, results), *without)})
    scores = {
        trial.digest: {
            "map/multi": scores_of(
                STEADY + 0.1 * one.params["alpha"] + NOISE[place % 3, trial.seed]
            )
        }
        for place, one in enumerate(cells)
        for trial in one.trials
        if trial.digest != missing
    }
    found = answer(asked, scores, resamples=200, waiting=without)
    verdicts = [finding.verdict for finding in found.findings]
    assert verdicts == ["undecided", "supported", "undecided", "supported"]
    notes = [finding.decisive.note for finding in found.findings]
    lacks = "alpha=1 batch_size=64 lacks results on the validation benchmark"
    assert [note.startswith(lacks) for note in notes] == [True, False, True, False]


def test_from_committed_folders() -> None:
    [path] = (FIXTURES / "format-2" / "trials").iterdir()
    arms = [cell(1, alpha=0), cell(1, alpha=1)]
    digests = {"alpha=0": path.name, "alpha=1": "0" * 20}
    arms = [
        one.model_copy(
            update={"trials": (one.trials[0].model_copy(update={"digest": digests[one.label]}),)}
        )
        for one in arms
    ]
    plan = plan_of(arms, [hypothesis()])
    scores = stored(plan, FIXTURES / "format-2")
    assert list(scores) == [path.name]  # the other has no result
    reported = TrialFolder(path).result()["metrics"]["map/multi"]
    assert scores[path.name]["map/multi"].value == pytest.approx(reported, abs=1e-12)
    assert answered(plan, scores).with_result == 1

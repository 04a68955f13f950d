from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.answer.answer import Answer, Stored, answer, stored
from study.answer.scores import Scores
from study.answer.words import words
from study.plan import Plan
from tests.study.answer.planned import cell, hypothesis, plan_of, scores_of
from trainables.trial_folder import TrialFolder

FIXTURES = Path(__file__).parents[2] / "trainables" / "fixtures"

CLUSTERS = 30
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


def told(plan: Plan, scores: Stored) -> tuple[Answer, str]:
    """The answer and its words, in which nothing may be said that was not computed."""
    found = answer(plan, scores, resamples=200)
    text = "\n".join(words(found))
    assert not re.search(r"\b(nan|inf|None)\b", text, re.IGNORECASE), text
    return found, text


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.05, "supported"), (-0.05, "contradicted"), (0.0, "equivalent"), (0.004, "equivalent")],
)
def test_planted_effects_are_found(gain: float, verdict: str) -> None:
    plan = two_arms(5)
    found, text = told(plan, simulated(plan, {0: 0, 1: gain}))
    [finding] = found.findings
    assert finding.verdict == verdict
    one = finding.decisive
    assert one.interval is not None
    assert one.bootstrap is not None
    assert one.interval[0] < gain < one.interval[1]
    assert one.effect == pytest.approx(gain, abs=0.005)
    assert (len(one.by_seed), one.clusters) == (5, CLUSTERS)
    assert f"h: {verdict}" in text
    assert "5 seeds, 30 clusters" in text
    assert "benchmark=toy, steps=10" in text


def test_below_five_seeds_nothing_is_decided_and_the_numbers_are_shown() -> None:
    plan = two_arms(4)
    found, text = told(plan, simulated(plan, {0: 0, 1: 0.2}))
    assert found.findings[0].verdict == "undecided"
    assert found.findings[0].decisive.p is not None
    assert "fewer than 5 decide nothing" in text
    assert "+0.2" in text


def test_less_is_better_for_rank_distance() -> None:
    plan = two_arms(5, [hypothesis(metric="rank_distance", margin=0.001)])
    scores = {
        digest: {"rank_distance": one["map/multi"]}
        for digest, one in simulated(plan, {0: 0, 1: -0.1}).items()
    }
    found, text = told(plan, scores)
    assert found.findings[0].verdict == "supported"
    effect = found.findings[0].decisive.effect
    assert effect is not None
    assert effect < 0
    assert "lower is better" in text


def test_one_trial() -> None:
    plan = two_arms(1)
    found, text = told(plan, simulated(plan, {1: 0}))
    assert found.findings[0].verdict == "undecided"
    assert found.findings[0].decisive.effect is None
    assert (found.trials, found.with_result) == (2, 1)
    assert "no seed has a result in both; alpha=0 lacks seed 0" in text


def test_one_seed() -> None:
    plan = two_arms(1)
    found, text = told(plan, simulated(plan, {0: 0, 1: 0.05}))
    one = found.findings[0].decisive
    assert one.effect == pytest.approx(0.05, abs=0.01)
    assert (one.interval, one.p, one.detectable, one.seeds_needed) == (None,) * 4
    assert found.findings[0].verdict == "undecided"
    assert "one seed: an effect without uncertainty" in text


def test_all_failed() -> None:
    found, text = told(two_arms(5), {})
    assert found.findings[0].verdict == "undecided"
    assert "Trials that the hypotheses need: 10; with a result: 0." in text


def test_all_equal() -> None:
    plan = two_arms(5)
    same = {"map/multi": scores_of(STEADY)}
    found, text = told(plan, {t.digest: same for one in plan.cells for t in one.trials})
    one = found.findings[0].decisive
    assert (one.effect, one.interval, one.p) == (0, None, None)
    assert found.findings[0].verdict == "undecided"
    assert "the difference is the same in every seed and cluster" in text


def test_seeds_missing_in_one_arm_are_left_out_and_named() -> None:
    plan = two_arms(8)
    scores = simulated(plan, {0: 0, 1: 0.05}, lambda alpha, seed: alpha == 0 or seed not in (2, 6))
    found, text = told(plan, scores)
    assert list(found.findings[0].decisive.by_seed) == [0, 1, 3, 4, 5, 7]
    assert found.findings[0].verdict == "supported"
    assert "alpha=1 lacks seeds 2, 6" in text


def test_a_metric_that_the_evaluation_has_not() -> None:
    plan = two_arms(5, [hypothesis(metric="map/cross")])
    found, text = told(plan, simulated(plan, {0: 0, 1: 0.05}))
    assert found.findings[0].verdict == "undecided"
    assert "alpha=0 has no map/cross" in text


def test_a_cell_that_the_study_has_not() -> None:
    plan = two_arms(5, [hypothesis(better={"alpha": 0.7}), hypothesis(name="other")])
    found, text = told(plan, simulated(plan, {0: 0, 1: 0.05}))
    assert [finding.verdict for finding in found.findings] == ["undecided", "supported"]
    assert "alpha=0.7: no cell of this study" in text
    assert "Holm's over 2 hypotheses with two tests each" in text


def test_no_hypothesis() -> None:
    found, text = told(two_arms(5, []), {})
    assert found.findings == ()
    assert "No hypothesis was declared" in text


@pytest.mark.parametrize(
    ("middle", "verdict"), [(0.09, "supported"), (0.05, "undecided"), (0.0, "contradicted")]
)
def test_better_than_both(middle: float, verdict: str) -> None:
    plan = two_arms(5, [hypothesis(better={"alpha": 0.5}, than=[{"alpha": 0}, {"alpha": 1}])])
    found, text = told(plan, simulated(plan, {0: 0.0, 0.5: middle, 1: 0.05}))
    [finding] = found.findings
    assert finding.verdict == verdict
    assert len(finding.comparisons) == 2
    assert "alpha=0.5 minus alpha=1" in text
    assert found.trials == 15


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
    assert told(plan, scores)[0].with_result == 1

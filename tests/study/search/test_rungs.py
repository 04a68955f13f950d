"""Who is stopped at a rung: decided once, the same after a restart, by ASHA, medians, bootstrap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule

from study.analysis.scores import Scores
from study.launch.schedulers import RungScheduler
from study.search.cannot_win import CannotWin, Look, looking
from study.search.pruning import Judge, Pruning, last_rungs, pruned_lines
from study.search.stopping_rules import MedianStopping, SuccessiveHalving, stopping_rule
from study.spaces.fidelity import Fidelity
from study.state.rungs import Rung
from tests.samples import values
from trainables.spec import build_spec

FIRST, FACTOR, EXAMPLES = 10, 3, 300
KINDS = ("asha", "hyperband", "median")


def fidelity(kind: str, **more: object) -> Fidelity:
    return Fidelity.model_validate({"kind": kind, "first": FIRST, "factor": FACTOR} | more)


def curves(trials: int, seed: int = 0) -> dict[str, dict[int, float]]:
    """Trial to its value at each rung, better ones mostly above from the start."""
    rng = np.random.default_rng(seed)
    rungs = fidelity("asha").rungs(EXAMPLES)
    return {
        f"{n:020d}": {
            rung: float(level * (1 - np.exp(-rung / 60)) + rng.normal(0, 0.02)) for rung in rungs
        }
        for n, level in enumerate(rng.uniform(0, 1, trials))
    }


def judge(kind: str, tell: list[Rung], recorded: Sequence[Rung] = (), **more: object) -> Judge:
    chosen = Pruning(fidelity(kind), "map/multi", recorded=tuple(recorded), **more)  # type: ignore[arg-type]
    return Judge(stopping_rule(chosen, Path("/nowhere")), chosen, tell.append)


def walk(judges: Judge, trials: dict[str, dict[int, float]]) -> None:
    """One worker: every trial to its end, or to where it is stopped."""
    for trial, curve in trials.items():
        for step, (rung, value) in enumerate(curve.items()):
            decided = judges.decide(trial, rung, step, value)
            if decided is not None and decided.stop:
                break


def test_rungs_lie_below_the_end_whatever_the_batch() -> None:
    assert fidelity("asha").rungs(EXAMPLES) == (10, 30, 90, 270)
    assert fidelity("asha").rungs(270) == (10, 30, 90)
    spec = build_spec(values(validation={"name": "synthetic", "digest": "d"}))
    assert fidelity("look").rungs_of(spec) == fidelity("look").rungs(320)
    assert Fidelity().rungs_of(spec) == ()
    assert fidelity("look").rungs_of(spec.model_copy(update={"validation": None})) == ()


@pytest.mark.parametrize(("kind", "key"), [("asha", "brackets"), ("median", "level")])
def test_a_key_of_another_rule_is_refused(kind: str, key: str) -> None:
    with pytest.raises(ValueError, match=f"{key} is of kind"):
        fidelity(kind, **{key: 0.5 if key == "level" else 2})


def test_asha_is_successive_halving_as_it_was_published() -> None:
    """A trial goes on unless it is below the best 1/factor of those that came there before."""
    said: list[Rung] = []
    walk(judge("asha", said), curves(81))
    for rung in (10, 30, 90):
        here = [each for each in said if each.examples == rung]
        for place, each in enumerate(here):
            before = [other.value for other in here[:place]]
            cut = np.percentile(before, 100 * (1 - 1 / FACTOR)) if before else -np.inf
            assert each.stop == (each.value < cut)
    first = [each for each in said if each.examples == FIRST]
    assert len(first) == 81
    assert 0.25 < sum(not each.stop for each in first) / 81 < 0.45
    best = max(curves(81).items(), key=lambda pair: pair[1][270])[0]
    assert best not in {rung.trial for rung in said if rung.stop}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ended", range(1, 40, 7))
def test_after_a_restart_the_decisions_go_on_as_if_nothing_had_happened(
    kind: str, ended: int
) -> None:
    trials, whole = curves(20), list[Rung]()
    walk(judge(kind, whole), trials)
    assert any(rung.stop for rung in whole)
    assert not all(rung.stop for rung in whole if rung.examples == FIRST)
    said = whole[:ended]
    again = judge(kind, said, recorded=whole[:ended])
    assert said == whole[:ended], "what was recorded is not recorded again"
    stopped = {rung.trial for rung in said if rung.stop}
    walk(again, {t: v for t, v in trials.items() if t not in stopped})
    assert said == whole


def test_a_rung_said_twice_is_decided_once() -> None:
    said: list[Rung] = []
    judges = judge("asha", said)
    for value, again in itertools.product((0.5, 0.2), (0, 1)):
        decided = judges.decide(f"trial {value}", 10, 2, value)
        assert decided is not None
        assert decided.stop == (value == 0.2), again
    assert len(said) == 2


def test_no_value_is_no_reason_to_stop_and_spoils_nothing() -> None:
    said: list[Rung] = []
    judges = judge("asha", said)
    assert judges.decide("a", 10, 2, None) is None
    assert judges.decide("b", 10, 2, float("nan")) is None
    assert said == []
    judges.decide("c", 10, 2, 0.5)
    stopped = judges.decide("d", 10, 2, 0.1)
    assert stopped is not None
    assert stopped.stop


def test_less_can_be_better() -> None:
    said: list[Rung] = []
    judges = judge("asha", said, maximize=False)
    judges.decide("a", 10, 2, 100.0)
    judges.decide("b", 10, 2, 90.0)
    judges.decide("c", 10, 2, 120.0)
    assert [rung.stop for rung in said] == [False, False, True]
    assert "120.0000" in said[-1].why


def test_an_exempt_trial_is_completed_and_still_counts() -> None:
    said: list[Rung] = []
    judges = judge("asha", said, exempt=frozenset({"b"}))
    judges.decide("a", 10, 2, 0.5)
    assert judges.decide("b", 10, 2, 0.1) is None
    assert [rung.stop for rung in said] == [False, False]


@pytest.mark.parametrize("kind", KINDS)
def test_an_exempt_trial_that_was_stopped_comes_to_its_other_rungs(kind: str) -> None:
    said: list[Rung] = []
    walk(judge(kind, said), curves(12))
    stopped = next(rung for rung in said if rung.stop)
    assert stopped.metric == "map/multi"
    later: list[Rung] = []
    judges = judge(kind, later, said, exempt=frozenset({stopped.trial}))
    for examples in (90, 270):
        assert judges.decide(stopped.trial, examples, 9, 0.1) is None
    assert [rung.stop for rung in later if rung.trial == stopped.trial] in ([False], [False] * 2)


def test_brackets_of_hyperband_are_dealt_by_the_digest_with_rays_chances() -> None:
    rule = SuccessiveHalving(FIRST, FACTOR, brackets=3)
    dealt = np.bincount([rule.bracket(f"{n:020d}") for n in range(3000)]) / 3000
    assert dealt == pytest.approx(np.exp([0, -1, -2]) / np.exp([0, -1, -2]).sum(), abs=0.03)


class Named:
    """All that Ray's schedulers read of a trial."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


class Ray:
    """A scheduler of Ray Tune's, shown the same rungs through its public calls."""

    def __init__(self, scheduler: FIFOScheduler) -> None:
        self.scheduler = scheduler
        self.trials: dict[str, Named] = {}

    def reached(self, rung: Rung, score: float) -> bool:
        if rung.trial not in self.trials:
            self.trials[rung.trial] = trial = Named(rung.trial)
            self.scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
        result = {"examples": rung.examples, "score": score}
        decided = self.scheduler.on_trial_result(None, self.trials[rung.trial], result)  # type: ignore[arg-type]
        return decided in ("STOP", "PAUSE")


def rays(first: int, factor: int) -> Ray:
    furthest = first * factor**30
    return Ray(
        AsyncHyperBandScheduler(
            "examples", "score", "max", furthest, first, factor, stop_last_trials=False
        )
    )


@st.composite
def reports(draw: st.DrawFn) -> list[tuple[str, int, float]]:
    """Trials at rungs, interleaved as workers finish, some gone, with many equal scores."""
    left = {f"{n:020d}": [10, 30, 90, 270] for n in range(draw(st.integers(1, 8)))}
    scores = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1)
    said = []
    for _ in range(draw(st.integers(1, 32))):
        if not any(left.values()):
            break
        trial = draw(st.sampled_from([name for name, rungs in left.items() if rungs]))
        skipped = draw(st.integers(0, 1))
        del left[trial][: skipped if len(left[trial]) > skipped else 0]
        said.append((trial, left[trial].pop(0), draw(scores)))
    return said


@given(reports(), st.sampled_from([2, 3, 4]), st.sampled_from([1, 3]))
def test_successive_halving_decides_as_rays_does(
    said: list[tuple[str, int, float]], factor: int, brackets: int
) -> None:
    ours = SuccessiveHalving(FIRST, factor, brackets)
    theirs = [rays(FIRST * factor**bracket, factor) for bracket in range(brackets)]
    for trial, examples, score in said:
        rung = Rung(trial, examples, 1, score)
        expected = theirs[ours.bracket(trial)].reached(rung, score)
        assert bool(ours.reached(rung, score)) == expected


@given(reports(), st.integers(1, 4), st.sampled_from([10, 30]))
def test_the_median_rule_decides_as_rays_does(
    said: list[tuple[str, int, float]], enough: int, first: int
) -> None:
    ours = MedianStopping(first, enough)
    theirs = Ray(
        MedianStoppingRule(
            "examples",
            "score",
            "max",
            grace_period=first,
            min_samples_required=enough,
            min_time_slice=math.inf,  # type: ignore[arg-type]
            hard_stop=False,
        )
    )
    for trial, examples, score in said:
        rung = Rung(trial, examples, 1, score)
        assert bool(ours.reached(rung, score)) == theirs.reached(rung, score)


def test_the_scheduler_stops_by_digest_and_says_why() -> None:
    class Trial:
        def __init__(self, trial_id: str) -> None:
            self.trial_id = trial_id

    said: list[Rung] = []
    scheduler = RungScheduler(judge("asha", said))
    for digest, value in (("a", 0.5), ("b", 0.1)):
        plain = {"digest": digest, "at": 1}
        assert scheduler.on_trial_result(None, Trial(digest * 2), plain) == "CONTINUE"  # type: ignore[arg-type]
        decided = scheduler.on_trial_result(
            None,
            Trial(digest * 2),  # type: ignore[arg-type]
            plain | {"rung": 10, "value": value},
        )
        assert decided == ("STOP" if digest == "b" else "CONTINUE")
    assert scheduler.stopped == {"bb": said[1].why}
    assert said[1].why.startswith("asha after 10 examples, validation map/multi 0.1000: not among")


def noisy(level: float, seed: int, spread: float = 0.3) -> Scores:
    """60 clusters of 2 questions in 2 settings, the same hard ones for every arm."""
    hard = np.random.default_rng(5).normal(0, spread, (60, 2))
    own = np.random.default_rng((seed, round(1e6 * level))).normal(0, 0.02, (60, 2))
    sums, counts = 2 * np.clip(level + hard + own, 0, 1), np.full((60, 2), 2.0)
    names = tuple(f"c{n:02d}" for n in range(60))
    return Scores("map/multi", ("multi/qaa", "multi/qab"), names, sums, counts)


def cannot_win(slack: float = 0.0, maximize: bool = True) -> tuple[CannotWin, dict[str, Look]]:
    looks: dict[str, Look] = {}
    return CannotWin(lambda rung: looks.get(rung.trial), maximize, 0.05, slack), looks


def test_the_bootstrap_stops_only_what_cannot_win() -> None:
    rule, looks = cannot_win()
    for name, level in (("lead", 0.5), ("close", 0.502), ("far", 0.45), ("ahead", 0.55)):
        looks[name] = Look(name, 0, noisy(level, 0))
    said = {name: rule.reached(Rung(name, 10, 1, 0.0), 0.0) for name in looks}
    assert {name for name, why in said.items() if why} == {"far"}
    assert said["far"].endswith("against close"), "which is ahead by then"
    looks["late"] = Look("late", 0, noisy(0.5, 0))
    assert rule.reached(Rung("late", 10, 1, 0.0), 0.0).endswith("against ahead")


def test_the_bootstrap_pairs_questions_and_draws_clusters() -> None:
    """Means of 0.5 and 0.45 with questions that vary by 0.3: only pairing tells them apart."""
    near, far = noisy(0.5, 0), noisy(0.45, 0)
    assert (near.sums / 2).std() / np.sqrt(120) > 0.02
    rule, looks = cannot_win()
    looks |= {"near": Look("near", 0, near), "far": Look("far", 0, far)}
    assert not rule.reached(Rung("near", 10, 1, 0.0), 0.0)
    assert rule.reached(Rung("far", 10, 1, 0.0), 0.0)


def test_slack_is_what_an_arm_may_make_up() -> None:
    rule, looks = cannot_win(slack=0.2)
    looks |= {"lead": Look("lead", 0, noisy(0.5, 0)), "far": Look("far", 0, noisy(0.45, 0))}
    assert not any(rule.reached(Rung(name, 10, 1, 0.0), 0.0) for name in looks)


def test_the_one_to_beat_is_who_leads_furthest_on() -> None:
    rule, looks = cannot_win()
    looks |= {name: Look(name, 0, noisy(0.5, 0)) for name in ("slow", "arm")}
    rule.reached(Rung("slow", 10, 1, 0.0), 0.0)
    looks["slow"] = Look("slow", 0, noisy(0.9, 0))
    rule.reached(Rung("slow", 30, 3, 0.0), 0.0)
    looks["early"] = Look("early", 0, noisy(0.7, 0))
    assert not rule.reached(Rung("early", 10, 1, 0.0), 0.0)
    assert not rule.reached(Rung("arm", 10, 1, 0.0), 0.0), "behind early, which does not lead"


def test_another_seed_of_the_leader_is_not_stopped_by_it() -> None:
    rule, looks = cannot_win()
    looks |= {"a0": Look("a", 0, noisy(0.6, 0)), "a1": Look("a", 1, noisy(0.5, 1))}
    looks |= {"b1": Look("b", 1, noisy(0.48, 1))}
    assert not rule.reached(Rung("a0", 10, 1, 0.0), 0.0)
    assert not rule.reached(Rung("a1", 10, 1, 0.0), 0.0)
    assert rule.reached(Rung("b1", 10, 1, 0.0), 0.0).endswith("against a0 and a1")


def test_a_distance_is_better_when_less() -> None:
    rule, looks = cannot_win(maximize=False)
    looks |= {"near": Look("near", 0, noisy(0.4, 0)), "far": Look("far", 0, noisy(0.5, 0))}
    assert not rule.reached(Rung("near", 10, 1, 0.0), 0.0)
    assert rule.reached(Rung("far", 10, 1, 0.0), 0.0)


def test_what_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    look = looking(tmp_path, "map/multi")
    rule = CannotWin(look, True, 0.05, 0.0)
    assert [rule.reached(Rung(t, 10, 1, 0.0), 0.0) for t in ("a" * 20, "b" * 20)] == ["", ""]


def test_what_is_said_of_stopped_trials() -> None:
    rungs = [Rung("a", 10, 1, 0.2), Rung("a", 30, 3, 0.3, True, "why"), Rung("b", 10, 1, 0.1)]
    assert {trial: rung.examples for trial, rung in last_rungs(rungs).items()} == {"a": 30, "b": 10}
    lines = pruned_lines([("alpha=0", rungs[1]), ("alpha=1", rungs[2])], "map/multi", shown=1)
    assert lines[0].startswith("2 trials were stopped early")
    assert lines[1:] == [
        "  alpha=0: 0.3000 after 30 examples",
        "  and 1 more: status --json has all",
    ]
    assert pruned_lines([], "map/multi") == []

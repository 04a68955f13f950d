"""Paired bootstrap stopping: a rule for noisy metrics that stops an arm only if it cannot win.

ASHA and the median rule compare means; with few queries, one of two equal arms may be stopped by
chance alone. Here an arm is compared with the leader query by query at the same rung. As
everywhere in this project, the bootstrap resamples whole clusters, the same for both arms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from study.analysis.inference import bootstrap, percentile_interval
from study.analysis.scores import Scores, read_ranks, scores
from study.state.rungs import Rung
from trainables.errors import UserError
from trainables.spec import Spec
from trainables.storage.paths import AnyPath
from trainables.trial.intermediate import intermediate_ranks
from trainables.trial.trial_folder import NotCommittedError, TrialFolder

RESAMPLES = 4_000


@dataclass(frozen=True)
class Look:
    """What a trial's folder holds at a rung.

    Attributes:
        arm: Key of the trial's spec without its seed.
        seed: Seed of the trial.
        scores: Scores of the objective, by cluster and setting.
    """

    arm: str
    seed: int | None
    scores: Scores


class CannotWin:
    """Rule that stops an arm that is significantly behind the leader at the same rung.

    An arm is a set of trials that differ only in their seeds. The leader is the arm with the
    highest mean at the highest rung reached by any, because an arm that is ahead early need not be
    the one to beat. Arms are compared on the seeds that both have at the rung, which share their
    batches; without a common seed, by the means over their seeds. The leader is never stopped.

    With one seed the interval covers the variance of queries but not of seeds: `slack` allows for
    that, and for what an arm may make up by its end.
    """

    def __init__(
        self, look: Callable[[Rung], Look | None], maximize: bool, level: float, slack: float
    ) -> None:
        """Start without any trial.

        Args:
            look: Reads a trial at a rung; returns None if that can no longer be read.
            maximize: Whether more of the metric is better.
            level: As for `Fidelity`.
            slack: As for `Fidelity`, in units of the metric.
        """
        self.look, self.sign = look, 1.0 if maximize else -1.0
        self.level, self.slack = level, slack
        self.looks: dict[int, dict[str, dict[str, Look]]] = {}

    def reached(self, rung: Rung, score: float) -> str:
        """Take in a trial at a rung; return why it stops, or an empty string."""
        current = self.look(rung)
        if current is None:
            return ""
        arms = self.looks.setdefault(rung.examples, {})
        arms.setdefault(current.arm, {})[rung.trial] = current
        leader = self._leader()
        if leader == current.arm or leader not in arms:
            return ""
        gap = contrast(arms[current.arm], arms[leader])
        if gap is None:
            return ""
        sums, counts = gap
        low, high = percentile_interval(self.sign * bootstrap(sums, counts, RESAMPLES), self.level)
        if high >= -self.slack:
            return ""
        against = " and ".join(sorted(arms[leader]))
        return f"{low:+.4f} to {high:+.4f} against {against}"

    def _leader(self) -> str:
        """Find the arm with the best mean at the highest rung reached; the first of equals."""
        arms = self.looks[max(self.looks)]
        means = {
            arm: self.sign * float(np.mean([look.scores.value for look in looks.values()]))
            for arm, looks in arms.items()
        }
        return max(means, key=lambda arm: means[arm])


def contrast(
    arm: Mapping[str, Look], leader: Mapping[str, Look]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Subtract the leader's scores from an arm's, for `bootstrap`.

    Returns:
        Differences (S, G, C) by seed, cluster and setting, and numbers of queries (G, C); None if
        the trials were not asked the same questions.
    """
    arm_scores = {look.seed: look.scores for look in arm.values()}
    leader_scores = {look.seed: look.scores for look in leader.values()}
    first = next(iter(arm_scores.values()))
    if not all(
        first.asks_the_same(scored) for scored in (*arm_scores.values(), *leader_scores.values())
    ):
        return None
    if shared := arm_scores.keys() & leader_scores.keys():
        gaps = [arm_scores[seed].sums - leader_scores[seed].sums for seed in shared]
    else:
        gaps = [
            np.mean([scored.sums for scored in arm_scores.values()], axis=0)
            - np.mean([scored.sums for scored in leader_scores.values()], axis=0)
        ]
    return np.stack(gaps), first.counts


def looking(root: AnyPath, metric: str) -> Callable[[Rung], Look | None]:
    """Return a reader of trials at rungs from the trial folders under a root."""

    def look(rung: Rung) -> Look | None:
        folder = TrialFolder.of(root, rung.trial)
        try:
            spec = folder.spec()
            files = [
                ranks
                for path in intermediate_ranks(folder, rung.step)
                if (ranks := read_ranks(path))
            ]
        except (NotCommittedError, UserError, OSError):
            return None
        for ranks in files:
            try:
                return Look(arm_of(spec), spec.seed, scores(ranks, metric))
            except UserError:
                continue  # of pictures, the other direction has this metric
        return None

    return look


def arm_of(spec: Spec) -> str:
    """Return a key of the spec without its seed."""
    values = json.loads(spec.canonical())
    values.pop("seed", None)
    return json.dumps(values, sort_keys=True)

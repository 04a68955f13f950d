"""Stopping an arm only where its queries say that it cannot win: a rule for noisy metrics.

ASHA and medians compare means; with few queries, two arms that differ by chance alone lose one.
Here an arm is compared with the leader query by query, at the same rung, and its questions are
drawn anew as everywhere in this project: whole clusters, the same for both arms.
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
    """What a trial's folder says of it at a rung.

    Attributes:
        arm: What it is but for its seed; equal for trials that differ in that alone.
        seed: Its seed.
        scores: Of the objective, by cluster and setting.
    """

    arm: str
    seed: int | None
    scores: Scores


class CannotWin:
    """Compares an arm with the leader at the same rung.

    The leader is the arm with the highest mean at the highest rung that any arm came to: whoever is
    ahead early need not be the one to beat. An arm is what trials are that differ in their seed
    alone. Two arms are compared on the seeds that both have at the rung, whose batches were the
    same; where they share none, each by its mean. No arm is stopped by itself.

    With one seed the interval knows how queries vary, not how seeds do: `slack` is for that, and
    for what an arm may make up until its end.
    """

    def __init__(
        self, look: Callable[[Rung], Look | None], maximize: bool, level: float, slack: float
    ) -> None:
        """Start with nobody.

        Args:
            look: Reads a trial at a rung; None where that can no longer be read.
            maximize: Whether more of the metric is better.
            level: As of `Fidelity`, as is `slack`.
            slack: In units of the metric.
        """
        self.look, self.sign = look, 1.0 if maximize else -1.0
        self.level, self.slack = level, slack
        self.looks: dict[int, dict[str, dict[str, Look]]] = {}

    def reached(self, rung: Rung, score: float) -> str:
        """Take in a trial at a rung; why it is stopped, or empty."""
        mine = self.look(rung)
        if mine is None:
            return ""
        arms = self.looks.setdefault(rung.examples, {})
        arms.setdefault(mine.arm, {})[rung.trial] = mine
        leader = self._leader()
        if leader == mine.arm or leader not in arms:
            return ""
        gap = contrast(arms[mine.arm], arms[leader])
        if gap is None:
            return ""
        sums, counts = gap
        low, high = percentile_interval(self.sign * bootstrap(sums, counts, RESAMPLES), self.level)
        if high >= -self.slack:
            return ""
        against = " and ".join(sorted(arms[leader]))
        return f"{low:+.4f} to {high:+.4f} against {against}"

    def _leader(self) -> str:
        """The arm that is ahead at the highest rung reached, the first of equals."""
        arms = self.looks[max(self.looks)]
        means = {
            arm: self.sign * float(np.mean([look.scores.value for look in looks.values()]))
            for arm, looks in arms.items()
        }
        return max(means, key=lambda arm: means[arm])


def contrast(
    mine: Mapping[str, Look], theirs: Mapping[str, Look]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Sums by seed, cluster and setting of one arm minus another's, and counts, for `bootstrap`.

    None where they were not asked the same questions.
    """
    ours = {look.seed: look.scores for look in mine.values()}
    others = {look.seed: look.scores for look in theirs.values()}
    first = next(iter(ours.values()))
    if not all(first.asks_the_same(each) for each in (*ours.values(), *others.values())):
        return None
    if shared := ours.keys() & others.keys():
        gaps = [ours[seed].sums - others[seed].sums for seed in shared]
    else:
        gaps = [
            np.mean([each.sums for each in ours.values()], axis=0)
            - np.mean([each.sums for each in others.values()], axis=0)
        ]
    return np.stack(gaps), first.counts


def looking(root: AnyPath, metric: str) -> Callable[[Rung], Look | None]:
    """Reads trials at rungs from their folders under a root."""

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
                continue  # of pictures, the other direction has it
        return None

    return look


def arm_of(spec: Spec) -> str:
    """What a trial is but for its seed."""
    values = json.loads(spec.canonical())
    values.pop("seed", None)
    return json.dumps(values, sort_keys=True)

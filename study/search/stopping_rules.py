"""Stopping rules at rungs: ASHA, Hyperband, the median rule and the paired bootstrap.

Rules identify trials by digest and rungs by examples. They are deterministic and hold no state but
the rungs they were given: replaying those of earlier launches in order restores it. Tests compare
them with the schedulers of Ray Tune.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Protocol

import numpy as np

from study.search.cannot_win import CannotWin, looking
from study.search.pruning import Pruning
from study.state.rungs import Rung
from trainables.storage.paths import AnyPath


class StoppingRule(Protocol):
    """Protocol of a rule that compares trials at rungs."""

    def reached(self, rung: Rung, score: float) -> str:
        """Take in a trial at a rung; return why it stops, or an empty string.

        Args:
            rung: The trial at the rung; each trial reaches each rung once.
            score: Its value, negated if less is better.
        """


class NeverStop:
    """Rule that stops no trial."""

    def reached(self, rung: Rung, score: float) -> str:
        """Let the trial go on."""
        return ""


class SuccessiveHalving:
    """ASHA (Li et al. 2018, arXiv:1810.05934), in one bracket or in several as in Hyperband.

    A trial goes on unless its score is below the best 1/`factor` of those that reached the rung
    before it. Bracket s begins at rung s; the digest of a trial decides its bracket, with
    probabilities proportional to exp(-s), as in Ray Tune.
    """

    def __init__(self, first: int, factor: int, brackets: int = 1) -> None:
        self.first, self.factor, self.brackets = first, factor, brackets
        self._scores: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)

    def bracket(self, digest: str) -> int:
        """Return the bracket of a trial, from 0."""
        chances = np.exp(-np.arange(self.brackets, dtype=float))
        drawn = int(hashlib.sha256(digest.encode()).hexdigest()[:12], 16) / 16**12
        bracket = int(np.searchsorted(np.cumsum(chances / chances.sum()), drawn, side="right"))
        return min(bracket, self.brackets - 1)

    def reached(self, rung: Rung, score: float) -> str:
        """Take in a trial at a rung; return why it stops, or an empty string."""
        bracket = self.bracket(rung.trial)
        milestone = self.first * self.factor**bracket
        if rung.examples < milestone:
            return ""
        while milestone * self.factor <= rung.examples:
            milestone *= self.factor
        scores = self._scores[bracket, milestone]
        if rung.trial in scores:
            return ""
        before = list(scores.values())
        scores[rung.trial] = score
        if before and score < np.percentile(before, (1 - 1 / self.factor) * 100):
            return f"not among the best 1/{self.factor} so far"
        return ""


class MedianStopping:
    """Rule that stops trials below the median of others' running means (Golovin et al. 2017).

    The best score of a trial so far is compared with the mean score up to this rung of each other
    trial that has reached it.
    """

    def __init__(self, first: int, enough: int) -> None:
        """Set the first rung, and how many others must have reached a rung before it stops any."""
        self.first, self.enough = first, enough
        self._scores: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._stopped: set[str] = set()

    def reached(self, rung: Rung, score: float) -> str:
        """Take in a trial at a rung; return why it stops, or an empty string."""
        if rung.trial in self._stopped:  # an exempt trial goes on, but others ignore its scores
            return ""
        self._scores[rung.trial].append((rung.examples, score))
        others = [
            [value for examples, value in points if self.first <= examples <= rung.examples]
            for trial, points in self._scores.items()
            if trial != rung.trial and points[-1][0] >= rung.examples
        ]
        means = [float(np.mean(values)) for values in others if values]
        if rung.examples < self.first or len(means) < self.enough:
            return ""
        if np.median(means) <= max(value for _, value in self._scores[rung.trial]):
            return ""
        self._stopped.add(rung.trial)
        return "below the median of the others' running means"


def stopping_rule(pruning: Pruning, root: AnyPath) -> StoppingRule:
    """Create the stopping rule of a launch.

    Args:
        pruning: Kind and parameters of the rule.
        root: Root of the trial folders, from which the bootstrap reads ranks.
    """
    fidelity = pruning.fidelity
    match fidelity.kind:
        case "asha":
            return SuccessiveHalving(fidelity.first, fidelity.factor)
        case "hyperband":
            return SuccessiveHalving(fidelity.first, fidelity.factor, fidelity.brackets)
        case "median":
            return MedianStopping(fidelity.first, fidelity.enough)
        case "bootstrap":
            look = looking(root, pruning.metric)
            return CannotWin(look, pruning.maximize, fidelity.level, fidelity.slack)
    return NeverStop()

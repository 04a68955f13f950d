"""Which trials are stopped at a rung: decided once, kept before anybody acts on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from study.rungs import Rung
from study.spaces.fidelity import Fidelity


@dataclass(frozen=True)
class Pruning:
    """What a launch needs to stop trials early.

    Attributes:
        fidelity: How.
        metric: The objective, a metric of the validation benchmark.
        maximize: Whether more of it is better.
        recorded: What earlier launches decided, in their order.
        exempt: Trials that are to be completed whatever their rungs say.
    """

    fidelity: Fidelity
    metric: str
    maximize: bool = True
    recorded: tuple[Rung, ...] = ()
    exempt: frozenset[str] = frozenset()


class Rule(Protocol):
    """Something that compares trials at rungs."""

    def reached(self, rung: Rung, score: float) -> str:
        """Take in a trial at a rung; why it is stopped, or empty.

        Args:
            rung: Where it stands; each trial comes to each rung once.
            score: Its value, so turned that more is better.
        """


class Never:
    """Looks and stops nothing."""

    def reached(self, rung: Rung, score: float) -> str:
        """Go on."""
        return ""


class Judge:
    """Asks the rule at every rung, once a trial and rung, however often the trial says it.

    Made from what was recorded, it goes on as if the launch before had not ended.
    """

    def __init__(self, rule: Rule, pruning: Pruning, tell: Callable[[Rung], None]) -> None:
        """Show the rule what was recorded, in its order.

        Args:
            rule: Decides.
            pruning: What is decided about.
            tell: Keeps a decision; called before it is acted on.
        """
        self.rule, self.pruning, self.tell = rule, pruning, tell
        self.known: dict[tuple[str, int], Rung] = {}
        for rung in pruning.recorded:
            if (rung.trial, rung.examples) not in self.known:
                self.known[rung.trial, rung.examples] = rung
                self.rule.reached(rung, self._score(rung.value))

    def decide(self, trial: str, examples: int, step: int, value: float | None) -> Rung | None:
        """What becomes of a trial at a rung; None, which goes on, where it has no value."""
        if value is None or not math.isfinite(value):
            return None
        if (trial, examples) not in self.known:
            rung = Rung(trial, examples, step, value, metric=self.pruning.metric)
            why = self.rule.reached(rung, self._score(value))
            if why and trial not in self.pruning.exempt:
                rung = replace(rung, stop=True, why=f"{self._place(rung)}: {why}")
            self.tell(rung)
            self.known[trial, examples] = rung
        rung = self.known[trial, examples]
        return None if trial in self.pruning.exempt else rung

    def _score(self, value: float) -> float:
        return value if self.pruning.maximize else -value

    def _place(self, rung: Rung) -> str:
        kind, metric = self.pruning.fidelity.kind, self.pruning.metric
        return f"{kind} after {rung.examples} examples, validation {metric} {rung.value:.4f}"

"""Stop trials early: each decision is made once, and recorded before it is acted on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from study.spaces.fidelity import Fidelity
from study.state.plan import Plan
from study.state.rungs import Rung

if TYPE_CHECKING:
    from study.search.stopping_rules import StoppingRule


@dataclass(frozen=True)
class Pruning:
    """How trials are compared at rungs.

    Attributes:
        fidelity: The rule and its rungs.
        metric: The objective, a metric of the validation benchmark.
        maximize: Whether more of it is better.
        recorded: Decisions of earlier launches, in order.
        exempt: Digests of trials that must be completed whatever the rule decides.
    """

    fidelity: Fidelity
    metric: str
    maximize: bool = True
    recorded: tuple[Rung, ...] = ()
    exempt: frozenset[str] = frozenset()


def pruning_of(plan: Plan) -> Pruning | None:
    """Return how a plan's trials are compared at rungs; None if they are not."""
    search = plan.search
    if search is None or search.fidelity.kind == "none":
        return None
    first = search.objectives[0]
    return Pruning(search.fidelity, first.metric, first.direction == "maximize")


class Judge:
    """Judge that asks the rule once for each trial and rung, however often it is reported.

    Recorded decisions are replayed, so a new launch continues where the last one ended.
    """

    def __init__(
        self, rule: StoppingRule, pruning: Pruning, record: Callable[[Rung], None]
    ) -> None:
        """Replay the recorded decisions in order.

        Args:
            rule: The stopping rule.
            pruning: Metric, exemptions and recorded decisions.
            record: Writes a decision to the journal; called before it is acted on.
        """
        self.rule, self.pruning, self.record = rule, pruning, record
        self.known: dict[tuple[str, int], Rung] = {}
        for rung in pruning.recorded:
            if (rung.trial, rung.examples) not in self.known:
                self.known[rung.trial, rung.examples] = rung
                self.rule.reached(rung, self._score(rung.value))

    def decide(self, trial: str, examples: int, step: int, value: float | None) -> Rung | None:
        """Decide on a trial at a rung; None if it goes on because it is exempt or has no value."""
        if value is None or not math.isfinite(value):
            return None
        if (trial, examples) not in self.known:
            rung = Rung(trial, examples, step, value, metric=self.pruning.metric)
            why = self.rule.reached(rung, self._score(value))
            if why and trial not in self.pruning.exempt:
                rung = replace(rung, stop=True, why=f"{self._describe(rung)}: {why}")
            self.record(rung)
            self.known[trial, examples] = rung
        rung = self.known[trial, examples]
        return None if trial in self.pruning.exempt else rung

    def _score(self, value: float) -> float:
        return value if self.pruning.maximize else -value

    def _describe(self, rung: Rung) -> str:
        kind, metric = self.pruning.fidelity.kind, self.pruning.metric
        return f"{kind} after {rung.examples} examples, validation {metric} {rung.value:.4f}"


def last_rungs(rungs: Iterable[Rung]) -> dict[str, Rung]:
    """Return the furthest rung of each trial, by digest."""
    furthest: dict[str, Rung] = {}
    for rung in rungs:
        if rung.trial not in furthest or furthest[rung.trial].examples < rung.examples:
            furthest[rung.trial] = rung
    return furthest


def pruned_lines(stopped: Sequence[tuple[str, Rung]], metric: str, shown: int = 10) -> list[str]:
    """Describe the trials that were stopped early, furthest first, a line each.

    Args:
        stopped: Label and last rung of each trial.
        metric: The objective.
        shown: Most trials to name.
    """
    if not stopped:
        return []
    furthest = sorted(stopped, key=lambda pair: -pair[1].examples)
    lines = [
        f"{len(stopped)} trials were stopped early: without a result, and in no mean or best. "
        f"Validation {metric} when they were stopped:"
    ]
    for label, rung in furthest[:shown]:
        lines.append(f"  {label}: {rung.value:.4f} after {rung.examples} examples")
    if len(stopped) > shown:
        lines.append(f"  and {len(stopped) - shown} more: status --json has all")
    return lines

"""Whether and how a plan stops trials early, and what is said of those that it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from study.plan import Plan
from study.rungs import Rung
from study.search.judge import Pruning


def pruning_of(plan: Plan) -> Pruning | None:
    """How the trials of a plan are compared on the way; None where they are not."""
    search = plan.search
    if search is None or search.fidelity.kind == "none":
        return None
    first = search.objectives[0]
    return Pruning(search.fidelity, first.metric, first.direction == "maximize")


def last_rungs(rungs: Iterable[Rung]) -> dict[str, Rung]:
    """The furthest rung of each trial, by digest."""
    found: dict[str, Rung] = {}
    for rung in rungs:
        if rung.trial not in found or found[rung.trial].examples < rung.examples:
            found[rung.trial] = rung
    return found


def told(stopped: Sequence[tuple[str, Rung]], metric: str, shown: int = 10) -> list[str]:
    """Lines about trials that were stopped early, those that came furthest first.

    Args:
        stopped: Label and last rung of each.
        metric: The objective.
        shown: Trials named.
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

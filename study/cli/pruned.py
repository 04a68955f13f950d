"""What is said of trials that were stopped early, apart from all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.search.pruning import pruned_lines, pruning_of
from study.state.plan import Plan, trial_label
from study.state.record import Record
from study.state.rungs import Rung


def stopped(
    plan: Plan, record: Record, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Rung]:
    """Trials of a plan that were stopped and have no result from elsewhere, by digest."""
    return {d: rung for d, rung in record.pruned.items() if d in plan.specs and d not in results}


def stopped_lines(plan: Plan, rungs: Mapping[str, Rung]) -> list[str]:
    """Lines for people about such trials."""
    pruning = pruning_of(plan)
    seeds = {t.digest: t.seed for cell in plan.cells for t in cell.trials}
    labels = plan.labels
    pairs = [
        (trial_label(labels[digest], seeds[digest]), rung)
        for digest, rung in rungs.items()
        if digest in labels
    ]
    return pruned_lines(pairs, pruning.metric if pruning else plan.primary)


def where(rung: Rung) -> dict[str, float]:
    """Where a trial was stopped: examples seen, and the objective on the validation benchmark."""
    return {"examples": rung.examples, "value": rung.value}

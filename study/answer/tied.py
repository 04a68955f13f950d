"""Values that the order of equal scores decides, as where an encoder has collapsed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.answer.groups import language_groups
from study.answer.scores import both_directions, scores
from study.plan import Plan, trial_label
from trainables.errors import UserError
from trainables.evaluation.names import DISTANCES
from trainables.evaluation.ties import reordered
from trainables.places import Place
from trainables.trial_folder import TrialFolder

RARE = 1e-3
"""Ties of a smaller share of a trial's queries are not looked into: they move no third decimal."""

LEAST = 5e-4
"""From the worst value to the best; less is not said."""

SHOWN = 5
"""Trials that are named."""


def tied(plan: Plan, root: Place, results: Mapping[str, dict[str, Any]]) -> list[str]:
    """A sentence for each trial whose value of the primary metric hangs on the order of ties.

    Args:
        plan: Of the study.
        root: Of the trial folders.
        results: By digest, of the trials that have one.

    Raises:
        UserError: A committed file of ranks that cannot be read.
    """
    role, _, metric = plan.primary.rpartition(":")
    if metric.partition("/")[0] in DISTANCES:
        return []
    groups, said = language_groups(plan), []
    for cell in plan.cells:
        for trial in cell.trials:
            counts = results.get(trial.digest, {}).get("counts", {}).get(role or "test", {})
            if not _has_ties(counts):
                continue
            folder = TrialFolder.of(root, trial.digest).committed()
            for ranks in both_directions(folder, role or "test"):
                try:
                    worst, value, best = (
                        scores(each, metric, groups).value
                        for each in (
                            reordered(ranks, best=False),
                            ranks,
                            reordered(ranks, best=True),
                        )
                    )
                except UserError:  # this direction of pictures has not that metric
                    continue
                if best - worst >= LEAST:
                    said.append(
                        f"Tied scores: {trial_label(cell.label, trial.seed)} has {plan.primary} "
                        f"{value:.4f} by the order of its candidates; under other orders of equal "
                        f"scores it is from {worst:.4f} to {best:.4f}."
                    )
    more = [f"Tied scores: {len(said) - SHOWN} more trials."] if len(said) > SHOWN else []
    return said[:SHOWN] + more


def _has_ties(counts: Mapping[str, int]) -> bool:
    ties = max((n for key, n in counts.items() if key.startswith("ties/")), default=0)
    queries = max((n for key, n in counts.items() if key.startswith("queries/")), default=0)
    return ties > RARE * queries

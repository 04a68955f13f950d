"""With which libraries and on which devices results were computed, where not all were alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from study.plan import Plan
from trainables.spec import LIBRARIES

Executions = Mapping[str, frozenset[tuple[str, ...]]]
"""Digest to what computed a trial: one entry, or several where others went on with it."""


def executions(results: Mapping[str, Mapping[str, Any]]) -> Executions:
    """What computed each trial, of results by digest; of old ones only the device is known."""
    return {
        digest: frozenset(
            (
                str(result["execution"].get("device", "cpu")),
                *(f"{name} {versions[name]}" for name in LIBRARIES if name in versions),
            )
            for versions in result.get("versions", [{}])
        )
        for digest, result in results.items()
    }


def mixed(computed: Executions) -> list[str]:
    """A sentence where not all trials were computed alike, with what differs; else none."""
    counts = Counter(each for several in computed.values() for each in several)
    if len(counts) < 2:
        return []
    shared = set.intersection(*map(set, counts))
    parts = [
        f"{', '.join(part for part in each if part not in shared) or 'unknown'} ({number})"
        for each, number in sorted(counts.items())
    ]
    resumed = sum(len(several) > 1 for several in computed.values())
    said = f"Libraries or devices are not the same for all trials: {'; '.join(parts)}"
    more = f"; {resumed} began with one and went on with another" if resumed else ""
    return [f"{said}{more}. Last digits may differ for that."]


def coinciding(plan: Plan, coefficients: Mapping[str, float], computed: Executions) -> str:
    """Why a contrast tells nothing of its arms, where no execution is common to both; else empty.

    Args:
        plan: With the cells of the contrast.
        coefficients: Label of a cell to its part in the contrast.
        computed: What computed each trial.
    """
    more, less = (
        {
            each
            for cell in plan.cells
            if sign * coefficients.get(cell.label, 0) > 0
            for trial in cell.trials
            for each in computed.get(trial.digest, ())
            if len(each) > 1
        }
        for sign in (1, -1)
    )
    if not more or not less or more & less:
        return ""
    return "its arms have no library versions and device in common, so the difference may be theirs"

"""Figures of a benchmark: measurement, goal and output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Figure = dict[str, Any]


def figure(
    name: str,
    ours: float,
    peer: float | None = None,
    ratio: float | None = None,
    *,
    unit: str,
    goal: str = "none",
) -> Figure:
    """Build one figure as a JSON object.

    Args:
        name: Quantity measured.
        ours: Value of this project.
        peer: Value of the peer in the same run; None without a peer.
        ratio: Ratio of the two; above 1, ours is better.
        unit: Unit of both values.
        goal: `ratio >= x`, `ours <= x` or `none`.
    """
    return {
        "figure": name,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "unit": unit,
        "goal": goal,
        "holds": _holds(goal, ours, ratio),
    }


def show(figures: Sequence[Figure]) -> None:
    """Print a table, then one JSON object per line."""
    width = max((len(item["figure"]) for item in figures), default=0)
    print(f"{'figure':<{width}} {'ours':>10} {'peer':>10} {'ratio':>7} unit      goal")
    for item in figures:
        numbers = (
            f"{item['figure']:<{width}} {_short(item['ours']):>10} {_short(item['peer']):>10} "
            f"{_short(item['ratio']):>7} {item['unit']:<9} "
        )
        print(f"{numbers}{item['goal']}{'' if item['holds'] else '  MISSED'}")
    for item in figures:
        print(json.dumps(item))


def _holds(goal: str, ours: float, ratio: float | None) -> bool:
    if goal == "none":
        return True
    side, _, bound = goal.split()
    if side == "ours":
        return bool(ours <= float(bound))
    assert ratio is not None
    return bool(ratio >= float(bound))


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}"

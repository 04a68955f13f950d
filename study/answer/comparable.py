"""Which benchmarks were read in a way that makes their numbers unlike the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.plan import Plan
from trainables.data.squad_json import CONVERTED


def converted_offsets(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each benchmark of which answer offsets were converted, by name."""
    numbers: dict[str, int] = {}
    for digest, result in results.items():
        for role, counts in result["counts"].items():
            name = plan.specs[digest].test.name if role == "test" else role
            number = sum(n for key, n in counts.items() if key.startswith(f"source/{CONVERTED}"))
            numbers[name] = max(numbers.get(name, 0), number)
    return [
        f"{name} is not comparable with published numbers: the offsets of {number} of its answers "
        "were converted, as convert_offsets asks."
        for name, number in sorted(numbers.items())
        if number
    ]

"""Decisions at rungs (ASHA, Hyperband, ...): one journal line each, written before acting on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True)
class Rung:
    """A trial at a rung, and whether it was stopped there.

    Attributes:
        trial: Digest of the trial.
        examples: Number of training examples at which the rung is.
        step: Optimizer steps taken.
        value: Objective on the validation benchmark, in the metric's own direction.
        stop: Whether the trial is pruned here.
        why: Reason for pruning, in words; else empty.
        metric: Name of the objective.
    """

    trial: str
    examples: int
    step: int
    value: float
    stop: bool = False
    why: str = ""
    metric: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a line of the journal."""
        return asdict(self)

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Rung | None:
        """Read the output of `to_json`; None if it is not a valid rung."""
        try:
            # in strict mode pydantic builds a dataclass from JSON, not from a dict
            return _RUNG.validate_json(json.dumps(line), strict=True)
        except ValidationError:
            return None


_RUNG = TypeAdapter(Rung)

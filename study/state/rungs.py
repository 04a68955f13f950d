"""Trials at rungs: a line each of the journal, written before anybody acts on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True)
class Rung:
    """A trial at a rung, and what was decided.

    Attributes:
        trial: Its digest.
        examples: The rung.
        step: Optimizer steps taken there.
        value: The objective on the validation benchmark, as the benchmark has it.
        stop: Whether the trial ends here.
        why: In words, where it does.
        metric: What the value is of.
    """

    trial: str
    examples: int
    step: int
    value: float
    stop: bool = False
    why: str = ""
    metric: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, a line of the journal."""
        return asdict(self)

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Rung | None:
        """What `to_json` gave; None of a line that is no rung."""
        try:
            # a strict dataclass takes no table of Python's, but one of JSON
            return _RUNG.validate_json(json.dumps(line), strict=True)
        except ValidationError:
            return None


_RUNG = TypeAdapter(Rung)

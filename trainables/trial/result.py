"""What `result.json` holds, as those who read it take for granted."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from trainables.spec import format_validation_error

Number = int | FiniteFloat


class _Finding(BaseModel):
    """Of one method that looks for the evaluation in what was trained on."""

    model_config = ConfigDict(strict=True)

    method: str
    matches: int = Field(alias="found")
    of: int


class _Claim(BaseModel):
    """Whether the evaluation is new to the encoder (law 8)."""

    model_config = ConfigDict(strict=True)

    verdict: str
    findings: list[_Finding] = []
    blind: list[str] = []
    pretraining: str | None = None
    same_source: bool = False


class _ZeroShot(_Claim):
    """The same, and of further benchmarks."""

    also: dict[str, _Claim] = {}


class _Execution(BaseModel):
    """How it was laid out, as far as numbers are compared; the rest is shown."""

    model_config = ConfigDict(strict=True)

    ranks: int = 1
    nodes: int = 1


class _Result(BaseModel):
    """A result as `outcome.write_result` writes it."""

    model_config = ConfigDict(strict=True)

    digest: str = ""
    metrics: dict[str, Number] = {}
    validation: dict[str, Number] = {}
    counts: dict[str, dict[str, Number]] = {}
    zero_shot: _ZeroShot | None = None
    training: dict[str, Number | str | bool | None] = {}
    execution: dict[str, int | str | bool | None] = {}
    versions: list[dict[str, str]] = []
    layout_changed: bool = False

    @field_validator("execution")
    @classmethod
    def _laid_out(cls, execution: dict[str, Any]) -> dict[str, Any]:
        _Execution.model_validate(execution)
        return execution


NEEDED = _Result.model_fields.keys() - {"layout_changed", "versions"}
"""Keys of every result that a trial wrote."""


def misshapen(result: dict[str, Any], needed: Set[str] = frozenset()) -> str:
    """What is wrong with the shape of a result, in words; empty where nothing is.

    Args:
        result: As it was read.
        needed: Keys that must be there.
    """
    try:
        _Result.model_validate(result)
    except ValidationError as error:
        return format_validation_error(error)
    lacking = sorted(needed - result.keys())
    return f"it lacks {', '.join(lacking)}" if lacking else ""

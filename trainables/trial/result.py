"""Schema of `result.json` on which its readers rely."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from trainables.spec import format_validation_error

Number = int | FiniteFloat


class _Finding(BaseModel):
    """Finding of one method that searches the training data for evaluation data."""

    model_config = ConfigDict(strict=True)

    method: str
    matches: int = Field(alias="found")
    of: int


class _Claim(BaseModel):
    """Zero-shot claim: whether the evaluation is new to the encoder (law 8)."""

    model_config = ConfigDict(strict=True)

    verdict: str
    findings: list[_Finding] = []
    blind: list[str] = []
    pretraining: str | None = None
    same_source: bool = False


class _ZeroShot(_Claim):
    """Zero-shot claims for the test benchmark and for further ones."""

    also: dict[str, _Claim] = {}


class _Execution(BaseModel):
    """Keys of the execution that are compared as numbers; the others are only displayed."""

    model_config = ConfigDict(strict=True)

    ranks: int = 1
    nodes: int = 1


class _Result(BaseModel):
    """Result as written by `outcome.write_result`."""

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
"""Keys that every committed result has."""


def misshapen(result: dict[str, Any], needed: Set[str] = frozenset()) -> str:
    """Describe what is wrong with the shape of a result; empty if nothing is.

    Args:
        result: Parsed content of the file.
        needed: Keys that it must have.
    """
    try:
        _Result.model_validate(result)
    except ValidationError as error:
        return format_validation_error(error)
    lacking = sorted(needed - result.keys())
    return f"it lacks {', '.join(lacking)}" if lacking else ""

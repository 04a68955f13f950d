"""Trials that a search asked for: a line each of the journal, written before anything runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from trainables.spec import Frozen, Spec

STORED_BY_NAME = ConfigDict(populate_by_name=True, serialize_by_alias=True)
"""Files keep the names that fields had when they were first written."""

Phase = Literal["warm", "search", "confirm"]


class Proposal(Frozen):
    """Why a cell is in the plan: a search asked for it.

    Attributes:
        number: Its place among the cells that were asked for, from 0.
        generation: Of a genetic sampler.
        known: What was known before it ran: `cost/operations`, `cost/memory_gb`.
    """

    number: int
    generation: int | None = None
    known: dict[str, float] = Field(default_factory=dict)


class ProposedTrial(Frozen):
    """One trial that was asked for; a line of the journal.

    Attributes:
        number: From 0; a search asks for one trial at a time.
        phase: `search`; `confirm` for a winner's fresh seeds; `warm` for another study's trial
            that is this study's own.
        params: Of the cell.
        proposal: Of the cell; `asked` in files.
        seed: Of the trial.
        digest: Of the spec, which a damaged line does not match.
        spec: Of the trial.
    """

    model_config = STORED_BY_NAME

    number: int
    phase: Phase
    params: dict[str, Any]
    proposal: Proposal = Field(validation_alias="asked", serialization_alias="asked")
    seed: int | None
    digest: str
    spec: Spec

    def line(self) -> dict[str, Any]:
        """Plain values, without any time: the same search leaves the same bytes."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def read(cls, line: dict[str, Any]) -> ProposedTrial | None:
        """What `line` gave; None of a line that cannot be believed."""
        try:
            trial = cls.model_validate({"seed": None} | line)
        except ValueError:
            return None
        return trial if trial.spec.digest == trial.digest else None

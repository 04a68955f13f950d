"""Trials that a search proposed: one journal line each, written before the trial runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from trainables.spec import Frozen, Spec

STORED_BY_NAME = ConfigDict(populate_by_name=True, serialize_by_alias=True)
"""Pydantic config that keeps in files the names that fields first had."""

Phase = Literal["warm", "search", "confirm"]


class Proposal(Frozen):
    """Origin of a cell that a search proposed.

    Attributes:
        number: Index among the proposed cells, from 0.
        generation: Generation in a genetic sampler.
        known: Values known before it ran: `cost/operations`, `cost/memory_gb`.
    """

    number: int
    generation: int | None = None
    known: dict[str, float] = Field(default_factory=dict)


class ProposedTrial(Frozen):
    """One proposed trial, as a line of the journal.

    Attributes:
        number: Index among the proposed trials, from 0.
        phase: `search`; `confirm` for a winner's fresh seeds; `warm` for a trial taken over from
            another study.
        params: Parameters of the cell.
        proposal: Proposal of the cell; `asked` in files.
        seed: Seed of the trial.
        digest: Digest of the spec; a damaged line does not match it.
        spec: Spec of the trial.
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
        """Return plain values without any time, so that equal searches write equal bytes."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def read(cls, line: dict[str, Any]) -> ProposedTrial | None:
        """Read the output of `line`; None if it is damaged."""
        try:
            trial = cls.model_validate({"seed": None} | line)
        except ValueError:
            return None
        return trial if trial.spec.digest == trial.digest else None

"""Relevance judgements as they are read from a file, with one rule for what contradicts itself."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.data.formats.reading import BadRowError, identity_of


@dataclass
class Judgements:
    """What a file of judgements says of queries and candidates that are read already.

    Attributes:
        queries: Ids of the queries; None where they are not at hand.
        candidates: Ids of the candidates; the same.
        keys: What the file calls the ids of query and candidate.
        prefix: What stands before the ids of a row in those here.
        gains: Query id to {candidate id: gain}, zero and less included.
    """

    queries: Container[str] | None
    candidates: Container[str] | None
    keys: tuple[str, str] = ("query-id", "corpus-id")
    prefix: str = ""
    gains: dict[str, dict[str, float]] = field(default_factory=dict)

    def read(self, row: Mapping[str, Any], gain: float) -> None:
        """Note the judgement of a row.

        Raises:
            BadRowError: It is of a query or candidate that no file holds, or of a pair that was
                judged before.
        """
        query, candidate = (f"{self.prefix}{identity_of(row, key)}" for key in self.keys)
        if self.queries is not None and query not in self.queries:
            raise BadRowError(
                f"the judgement is of query {query!r}, which no file holds; mend the ids",
                self.keys[0],
            )
        if self.candidates is not None and candidate not in self.candidates:
            raise BadRowError(
                f"the judgement is of {candidate!r}, which no corpus holds; mend the ids",
                self.keys[1],
            )
        if candidate in self.gains.setdefault(query, {}):
            raise BadRowError(
                f"query {query!r} and candidate {candidate!r} are judged twice", self.keys[1]
            )
        self.gains[query][candidate] = gain

    def relevant(self) -> dict[str, dict[str, float]]:
        """What counts: as in trec_eval, a gain of zero or less is that of an unjudged candidate."""
        return {
            query: chosen
            for query, gains in self.gains.items()
            if (chosen := {candidate: gain for candidate, gain in gains.items() if gain > 0})
        }

"""Relevance judgements read from a file, checked for unknown ids and contradictions."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.data.formats.reading import BadRowError, identity_of


@dataclass
class Judgements:
    """Judgements collected from a file, about queries and candidates that were read before.

    Attributes:
        queries: Ids of the queries; None if they are unknown.
        candidates: Ids of the candidates; None if they are unknown.
        keys: The file's names of the keys of query id and candidate id.
        prefix: Prefix of the ids here that the file's ids lack.
        gains: Query id to {candidate id: gain}, including gains of zero and less.
    """

    queries: Container[str] | None
    candidates: Container[str] | None
    keys: tuple[str, str] = ("query-id", "corpus-id")
    prefix: str = ""
    gains: dict[str, dict[str, float]] = field(default_factory=dict)

    def read(self, row: Mapping[str, Any], gain: float) -> None:
        """Record the judgement of a row.

        Raises:
            BadRowError: Its query or candidate is unknown, or the pair was judged before.
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
        """Return positive gains; as in trec_eval, a gain of zero or less equals no judgement."""
        return {
            query: chosen
            for query, gains in self.gains.items()
            if (chosen := {candidate: gain for candidate, gain in gains.items() if gain > 0})
        }

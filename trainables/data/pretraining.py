"""Overlap of benchmarks with the declared pretraining data of published encoders.

Pretraining texts cannot be inspected, so this relies on what an encoder's makers declare. Raw text
in which the articles occur (every XLM-R has read Wikipedia) is no overlap of questions, but keeps
the verdict at `not checkable`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

from pydantic import BaseModel, ConfigDict

from trainables.data.contamination import Contamination, Verdict
from trainables.data.formats.reading import metadata


@dataclass(frozen=True)
class PretrainedFamily:
    """Checkpoints that were trained on the same data.

    Attributes:
        marks: Lower-case strings that all occur in the encoder's name.
        sets: Declared training sets that matter to a benchmark here.
        raw: Declared unlabelled text, if only this may contain evaluation articles.
        source: Where it is declared.
    """

    marks: tuple[str, ...]
    sets: tuple[str, ...]
    raw: str
    source: str


class _Table(BaseModel):
    """Declarations in `pretraining.yaml`."""

    model_config = ConfigDict(extra="forbid")

    training_sets: Mapping[str, Mapping[str, str]]
    families: tuple[PretrainedFamily, ...]


@cache
def table() -> _Table:
    """Load training sets by name, and families in the order of look-up."""
    return _Table.model_validate(metadata("pretraining.yaml"))


@dataclass(frozen=True)
class Declared:
    """Verdict on an encoder's pretraining with respect to a benchmark.

    Attributes:
        verdict: `overlap` if a declared training set contains evaluation data, `none found by
            these methods` if the encoder starts from random numbers, else `not checkable`.
        reason: A sentence with its source.
    """

    verdict: Verdict
    reason: str


def declared(encoder_name: str, benchmark_name: str) -> Declared:
    """Look up the declared pretraining data of an encoder by its name.

    Args:
        encoder_name: Hub id, folder or `embedded/<size>`, or two of them joined by `+`. A folder
            must have kept the family's name, else nothing is known.
        benchmark_name: As in the catalog.
    """
    declarations = [_declared(part, benchmark_name) for part in encoder_name.split("+")]
    reasons = "; ".join(dict.fromkeys(declaration.reason for declaration in declarations))
    return Declared(_worst({declaration.verdict for declaration in declarations}), reasons)


def _declared(encoder_name: str, benchmark_name: str) -> Declared:
    name = encoder_name.lower().replace("_", "-")
    if name.startswith("embedded/"):
        return Declared("none found by these methods", f"{encoder_name} starts from random numbers")
    families = table().families
    family = next((item for item in families if all(mark in name for mark in item.marks)), None)
    if family is None:
        return Declared(
            "not checkable", f"nothing is known here of what {encoder_name!r} was trained on"
        )
    overlaps = [
        f"{item} ({table().training_sets[item][benchmark_name]})"
        for item in family.sets
        if benchmark_name in table().training_sets[item]
    ]
    if overlaps:
        return Declared(
            "overlap",
            f"{encoder_name} was trained on {'; '.join(overlaps)}. Source: {family.source}",
        )
    return Declared(
        "not checkable",
        f"{encoder_name} declares no training set that holds {benchmark_name}'s questions, but "
        f"nobody can look for its passages in: {family.raw}. Source: {family.source}",
    )


def declared_overlap(encoder_name: str, benchmark_name: str) -> str | None:
    """Return the sentence that explains a declared overlap; None without one."""
    before = declared(encoder_name, benchmark_name)
    return before.reason if before.verdict == "overlap" else None


def _worst(verdicts: Collection[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("overlap", "not checkable", "none found by these methods")
    return next(verdict for verdict in order if verdict in verdicts)


def with_pretraining(
    trained: Contamination | None, encoder_name: str, benchmark_name: str
) -> Contamination:
    """Combine the verdicts on a trial's training data and on its encoder's pretraining.

    `overlap` if either says so; else `not checkable` if either says so.

    Args:
        trained: Contamination of the trial's training data; None if it does not train.
        encoder_name: As for `declared`.
        benchmark_name: As for `declared`.
    """
    pretraining_verdict = declared(encoder_name, benchmark_name)
    verdicts = {pretraining_verdict.verdict} | ({trained.verdict} if trained else set())
    return Contamination(
        verdict=_worst(verdicts),
        findings=trained.findings if trained else (),
        blind=trained.blind if trained else (),
        pretraining=pretraining_verdict.reason,
    )

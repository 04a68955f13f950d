"""What published encoders say that they were trained on, as far as it concerns the benchmarks here.

No text of an encoder's pre-training can be looked at, so this is what its makers declare. Raw text
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
        marks: The encoder's name contains all of these, lower case.
        sets: Training sets that it declares; others are no concern of the benchmarks.
        raw: Unlabelled text declared, where that is all that can hold evaluation articles.
        source: Where it is declared.
    """

    marks: tuple[str, ...]
    sets: tuple[str, ...]
    raw: str
    source: str


class _Table(BaseModel):
    """Declarations as `pretraining.yaml` has them."""

    model_config = ConfigDict(extra="forbid")

    training_sets: Mapping[str, Mapping[str, str]]
    families: tuple[PretrainedFamily, ...]


@cache
def table() -> _Table:
    """Training sets by name, and families in the order in which they are looked up."""
    return _Table.model_validate(metadata("pretraining.yaml"))


@dataclass(frozen=True)
class Declared:
    """What is known of an encoder's pre-training and a benchmark.

    Attributes:
        verdict: `overlap` where a training set that holds evaluation data is declared, `none found
            by these methods` where the encoder starts from random numbers, else `not checkable`.
        reason: In a sentence, with its source.
    """

    verdict: Verdict
    reason: str


def declared(encoder_name: str, benchmark_name: str) -> Declared:
    """Look an encoder up by its name.

    Args:
        encoder_name: Hub id, folder or `embedded/<rung>`, or two of them joined by `+`. A folder
            must have kept the family's name, else nothing is known.
        benchmark_name: As in the catalog.
    """
    both = [_declared(part, benchmark_name) for part in encoder_name.split("+")]
    reasons = "; ".join(dict.fromkeys(each.reason for each in both))
    return Declared(_worst({each.verdict for each in both}), reasons)


def _declared(encoder_name: str, benchmark_name: str) -> Declared:
    """Of one checkpoint."""
    name = encoder_name.lower().replace("_", "-")
    if name.startswith("embedded/"):
        return Declared("none found by these methods", f"{encoder_name} starts from random numbers")
    families = table().families
    family = next((each for each in families if all(mark in name for mark in each.marks)), None)
    if family is None:
        return Declared(
            "not checkable", f"nothing is known here of what {encoder_name!r} was trained on"
        )
    overlaps = [
        f"{each} ({table().training_sets[each][benchmark_name]})"
        for each in family.sets
        if benchmark_name in table().training_sets[each]
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
    """The sentence that says why pre-training overlaps; None where none is declared."""
    before = declared(encoder_name, benchmark_name)
    return before.reason if before.verdict == "overlap" else None


def _worst(verdicts: Collection[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("overlap", "not checkable", "none found by these methods")
    return next(verdict for verdict in order if verdict in verdicts)


def with_pretraining(
    trained: Contamination | None, encoder_name: str, benchmark_name: str
) -> Contamination:
    """One verdict on both: what the trial trains on, and what its encoder saw before.

    `overlap` if either says so; else `not checkable` if either says so.

    Args:
        trained: Of the trial's own training data; None where it trains on nothing.
        encoder_name: As for `declared`.
        benchmark_name: As for `declared`.
    """
    before = declared(encoder_name, benchmark_name)
    verdicts = {before.verdict} | ({trained.verdict} if trained else set())
    return Contamination(
        verdict=_worst(verdicts),
        findings=trained.findings if trained else (),
        blind=trained.blind if trained else (),
        pretraining=before.reason,
    )

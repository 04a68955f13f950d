"""Hypotheses of a space: differences, slopes and interactions, declared before any trial runs."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from trainables.evaluation.metric_names import MEANS
from trainables.evaluation.metrics import PICTURE_MEASURES
from trainables.spec import Frozen

Tier = Literal["demo", "full"]

Scale = Literal["linear", "log2", "order"]

DOUBLED = ("batch_size", "language_count")
"""Factors whose slopes are per doubling unless the space declares another scale."""


class Slope(Frozen):
    """Least squares slope over an ordered factor; factors that are not named are averaged over.

    Attributes:
        factor: The factor, whose levels ascend.
        scale: Unit of the slope: per unit of the factor (`linear`), per doubling (`log2`), or per
            step to the next level (`order`, for levels that are not numbers).
        levels: Levels of the factor; by default all that the tier searches.
        where: Other parameters that the compared cells must have.
    """

    factor: str
    scale: Scale | None = None
    levels: tuple[Any, ...] = ()
    where: dict[str, Any] = Field(default_factory=dict)

    def within(self, factors: dict[str, list[Any]]) -> Slope:
        """Spell out scale and levels, as a plan stores them."""
        scale: Scale = "log2" if self.factor in DOUBLED else "linear"
        levels = self.levels or tuple(factors.get(self.factor, ()))
        return self.model_copy(update={"scale": self.scale or scale, "levels": levels})


class Hypothesis(Frozen):
    """One declared expectation, frozen when a study is first planned.

    `better` and `than` declare a difference, `slope` a slope, and all three an interaction: the
    slope of the difference, which with two levels is the difference of differences.

    Attributes:
        name: Short name, unique in the space.
        metric: Name of a metric in the trials' results.
        better: Some parameters of the cell that is expected ahead.
        than: Some parameters of the cell that is expected behind, or a list of several such cells,
            all of which must be beaten.
        slope: Factor over which the metric or the difference is expected to change.
        expected: Whether the metric or the difference gets better or worse as the factor grows.
        margin: Smallest effect that matters, in units of the metric (per unit of the slope).
        why: Justification of the margin.
        tiers: Tiers that declare it.
    """

    name: str
    metric: str
    better: dict[str, Any] | None = None
    than: dict[str, Any] | list[dict[str, Any]] | None = None
    slope: Slope | None = None
    expected: Literal["better", "worse"] | None = None
    margin: float = Field(gt=0)
    why: str
    tiers: tuple[Tier, ...] = ("demo", "full")

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        measure, _, setting = self.metric.rpartition(":")[2].partition("/")
        kind = setting.partition("/")[0]
        if measure in PICTURE_MEASURES and kind not in MEANS:
            raise ValueError(f"metric {self.metric}: {kind!r} is none of {', '.join(MEANS)}")
        if (self.better is None) != (self.than is None):
            raise ValueError("better and than belong together")
        if self.better is None and self.slope is None:
            raise ValueError("name better and than (a difference), slope, or all three")
        if self.expected and not self.slope:
            raise ValueError("expected is of a slope; a difference expects better ahead of than")
        return self

    def settings(self) -> set[str]:
        """Return names of the settings that the hypothesis refers to."""
        than = self.than if isinstance(self.than, list) else [self.than or {}]
        compared = set().union(self.better or {}, *than)
        return compared | ({self.slope.factor, *self.slope.where} if self.slope else set())

    def declared(self, factors: dict[str, list[Any]]) -> dict[str, Any]:
        """Return plain values as a plan stores them, with every default spelled out."""
        changes: dict[str, Any] = {}
        if self.slope:
            changes = {"slope": self.slope.within(factors), "expected": self.expected or "better"}
        content = self.model_copy(update=changes).model_dump(mode="json", exclude={"tiers"})
        return {key: value for key, value in content.items() if value is not None}

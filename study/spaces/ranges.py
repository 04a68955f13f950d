"""Ranges of a searched setting: a choice among values, or numbers from low to high."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from trainables.errors import UserError
from trainables.spec import Frozen

Point = dict[str, Any]
"""Setting to value, of the settings that have an effect there."""

When = dict[str, tuple[Any, ...]]
"""Earlier setting to the values at which a setting has an effect."""

DIGITS = 4
"""Significant digits of a number drawn from a continuous range: labels stay readable, and nothing
that is trained tells the fifth."""

MOST_STEPS = 1e9
"""From the low to the high end of a range."""

WITHIN = 1e-9
"""Tolerance of a number on a step, in steps."""


class Choice(Frozen):
    """One of several values.

    In YAML a list, `{ordered: [8, 16, 32]}` where the order means something, or
    `{choices: [...], when: {...}}`.

    Attributes:
        choices: The values.
        ordered: Whether a sampler may take neighbours to be alike.
        when: Without effect, and not searched, unless these earlier settings have such values.
    """

    choices: tuple[Any, ...] = Field(min_length=1)
    ordered: bool = False
    when: When | None = None

    @model_validator(mode="before")
    @classmethod
    def _ordered(cls, values: Any) -> Any:
        """`ordered: [...]` holds the values themselves."""
        if isinstance(values, dict) and isinstance(values.get("ordered"), (list, tuple)):
            if "choices" in values:
                raise ValueError("give the values once, in choices or in ordered")
            return values | {"choices": values["ordered"], "ordered": True}
        return values

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({repr(value) for value in self.choices}) < len(self.choices):
            raise ValueError("a value is named twice")
        return self

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self.choices)

    def values(self) -> Iterator[Any]:
        """All of them, in their order."""
        yield from self.choices

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of them; True is not 1."""
        return any(_same(value, one) for one in self.choices)

    def at(self, share: float) -> Any:
        """The value at a share of the way from the first to the last.

        Args:
            share: From 0 (included) to 1 (excluded).
        """
        return self.choices[min(int(share * self.count), self.count - 1)]

    def index(self, value: Any) -> int:
        """Where `value` stands."""
        return next(i for i, one in enumerate(self.choices) if _same(value, one))


class Numbers(Frozen):
    """A range of numbers, its ends included: whole ones if both ends (and the step) are.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Whether ratios count, not differences.
        step: From one number to the next; without it whole numbers go by one, and others have
            four significant digits.
        when: As of `Choice`.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None
    when: When | None = None

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"low {self.low} must be a number not above high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0 (found {self.low})")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; name the values with ordered: [...]")
        if self.step is not None and not 0 < self.step < math.inf:
            raise ValueError(f"step must be above 0 (found {self.step})")
        if self.step is not None and (self.high - self.low) / self.step > MOST_STEPS:
            raise ValueError(f"step {self.step} makes more than {MOST_STEPS:g} values")
        return self

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return all(isinstance(n, int) for n in (self.low, self.high, self.step or 1))

    @property
    def count(self) -> int | None:
        """Number of values; None for a continuous range."""
        if self.low == self.high:
            return 1
        step = self.step or (1 if self.whole else None)
        return None if step is None else math.floor((self.high - self.low) / step + WITHIN) + 1

    def values(self) -> Iterator[Any]:
        """All of them in ascending order; refused for a continuous range."""
        if self.count is None:
            raise ValueError("a continuous range cannot be enumerated")
        for number in range(self.count):
            yield self._numbered(number)

    def contains(self, value: Any) -> bool:
        """Whether `value` lies in the range, and on a step of it."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not self.low <= value <= self.high or (self.whole and value != int(value)):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) <= WITHIN

    def at(self, share: float) -> Any:
        """The number at a share of the way from low to high, by ratios if `log`.

        Args:
            share: From 0 (included) to 1 (excluded).
        """
        if self.count is not None and not self.log:
            return self._numbered(min(int(share * self.count), self.count - 1))
        low, high = float(self.low), float(self.high)
        if self.whole:
            low, high = low - 0.5, high + 0.5
        if self.log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        return self.tidy(value)

    def tidy(self, value: float) -> Any:
        """The number of the range that is nearest to `value`, without needless digits."""
        if self.count is not None and not self.log:
            step = self.step or 1
            return self._numbered(min(max(round((value - self.low) / step), 0), self.count - 1))
        value = round(value) if self.whole else float(f"{value:.{DIGITS}g}")
        return min(max(value, self.low), self.high)

    def _numbered(self, number: int) -> Any:
        value = self.low + number * (self.step or 1)
        return value if self.whole else float(f"{value:.12g}")


Range = Choice | Numbers


def _read(value: Any) -> Any:
    """A list is a choice; a mapping is what its keys say."""
    if isinstance(value, (list, tuple)):
        return Choice(choices=tuple(value))
    if isinstance(value, dict):
        kind = Numbers if {"low", "high"} & value.keys() else Choice
        return kind.model_validate(value)
    if isinstance(value, (Choice, Numbers)):
        return value
    raise ValueError("is neither a list of values nor {low, high} nor {ordered: [...]}")


Searched = Annotated[Range, BeforeValidator(_read)]
"""A range as a space file may write it."""


def active(ranges: Mapping[str, Range], point: Mapping[str, Any], key: str) -> bool:
    """Whether a setting has an effect at a point that has the earlier settings."""
    when = ranges[key].when or {}
    return all(
        earlier in point and any(_same(point[earlier], value) for value in values)
        for earlier, values in when.items()
    )


def strip(ranges: Mapping[str, Range], values: Mapping[str, Any]) -> Point:
    """The settings that have an effect, of values for all of them."""
    point: Point = {}
    for key in ranges:
        if key in values and active(ranges, point, key):
            point[key] = values[key]
    return point


def fits(ranges: Mapping[str, Range], point: Mapping[str, Any]) -> bool:
    """Whether a point has exactly the settings with an effect, each within its range."""
    needed = {key for key in ranges if active(ranges, point, key)}
    return needed == point.keys() and all(ranges[key].contains(point[key]) for key in needed)


def check_ranges(ranges: Mapping[str, Range], where: str) -> None:
    """Refuse conditions on what is not searched earlier, or never has such a value.

    Raises:
        UserError: Such a condition, with the setting it is of.
    """
    earlier: dict[str, Range] = {}
    for key, searched in ranges.items():
        for name, values in (searched.when or {}).items():
            if name not in earlier:
                known = ", ".join(earlier) or "none"
                raise UserError(
                    f"{where}: search.{key}.when: {name} is not searched before {key}; settings "
                    f"before it are {known}"
                )
            if strange := [value for value in values if not earlier[name].contains(value)]:
                raise UserError(
                    f"{where}: search.{key}.when.{name}: {strange[0]!r} is not among what {name} "
                    "is searched over"
                )
        earlier[key] = searched


def _same(one: Any, other: Any) -> bool:
    """Equal, and not by taking a truth value for a number, or a list for a tuple to differ."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(one) == list(other)
    return bool(one == other)

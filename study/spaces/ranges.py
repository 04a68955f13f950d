"""Ranges of a searched setting: a choice among values, or numbers from low to high."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from trainables.errors import UserError
from trainables.spec import Frozen

Point = dict[str, Any]
"""Setting to value, for the searched settings that have an effect at this point."""

When = dict[str, tuple[Any, ...]]
"""Earlier setting to those of its values at which another setting has an effect."""

DIGITS = 4
"""Significant digits of a number drawn from a continuous range: labels stay readable, and training
does not depend on the fifth."""

MOST_STEPS = 1e9
"""Most steps from the low to the high end of a range."""

WITHIN = 1e-9
"""Tolerance, in steps, within which a number counts as lying on a step."""


class Choice(Frozen):
    """One of several values.

    In YAML a list, `{ordered: [8, 16, 32]}` if the order is meaningful, or
    `{choices: [...], when: {...}}`.

    Attributes:
        choices: The values.
        ordered: Whether a sampler may assume that neighbours are similar.
        when: Values that earlier settings must have for this one to be searched and have an effect.
    """

    choices: tuple[Any, ...] = Field(min_length=1)
    ordered: bool = False
    when: When | None = None

    @model_validator(mode="before")
    @classmethod
    def _ordered(cls, values: Any) -> Any:
        """Read `ordered: [...]` as ordered choices."""
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
        """Yield all values in order."""
        yield from self.choices

    def contains(self, value: Any) -> bool:
        """Return whether `value` is one of the choices; True is not 1."""
        return any(_same(value, choice) for choice in self.choices)

    def at(self, share: float) -> Any:
        """Return the value at a fraction of the way from the first to the last.

        Args:
            share: From 0 (included) to 1 (excluded).
        """
        return self.choices[min(int(share * self.count), self.count - 1)]

    def index(self, value: Any) -> int:
        """Return position of `value` among the choices."""
        return next(i for i, choice in enumerate(self.choices) if _same(value, choice))


class Numbers(Frozen):
    """A range of numbers including both ends; integers if the ends and the step are.

    Attributes:
        low: The smallest number.
        high: The largest number.
        log: Whether numbers are spaced by ratio instead of difference.
        step: Distance between numbers; by default 1 for integers, while other numbers are
            continuous, rounded to four significant digits.
        when: As for `Choice`.
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
        """Whether all numbers of the range are integers."""
        return all(isinstance(n, int) for n in (self.low, self.high, self.step or 1))

    @property
    def count(self) -> int | None:
        """Number of values; None for a continuous range."""
        if self.low == self.high:
            return 1
        step = self.step or (1 if self.whole else None)
        return None if step is None else math.floor((self.high - self.low) / step + WITHIN) + 1

    def values(self) -> Iterator[Any]:
        """Yield all numbers in ascending order.

        Raises:
            ValueError: The range is continuous.
        """
        if self.count is None:
            raise ValueError("a continuous range cannot be enumerated")
        for number in range(self.count):
            yield self._numbered(number)

    def contains(self, value: Any) -> bool:
        """Return whether `value` lies in the range, and on one of its steps."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not self.low <= value <= self.high or (self.whole and value != int(value)):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) <= WITHIN

    def at(self, share: float) -> Any:
        """Return the number at a fraction of the way from low to high, by ratio if `log`.

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
        """Round `value` to the nearest number of the range and to its significant digits."""
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
    """Read a range: a list is a choice, and the keys of a mapping tell which kind it is."""
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
    """Return whether a setting has an effect at a point, which must hold the earlier settings."""
    when = ranges[key].when or {}
    return all(
        earlier in point and any(_same(point[earlier], value) for value in values)
        for earlier, values in when.items()
    )


def strip(ranges: Mapping[str, Range], values: Mapping[str, Any]) -> Point:
    """Keep the settings that have an effect, given values for all of them."""
    point: Point = {}
    for key in ranges:
        if key in values and active(ranges, point, key):
            point[key] = values[key]
    return point


def fits(ranges: Mapping[str, Range], point: Mapping[str, Any]) -> bool:
    """Return whether a point holds exactly the settings with an effect, each within its range."""
    needed = {key for key in ranges if active(ranges, point, key)}
    return needed == point.keys() and all(ranges[key].contains(point[key]) for key in needed)


def check_ranges(ranges: Mapping[str, Range], where: str) -> None:
    """Check that conditions refer to settings searched earlier, and to values that these can take.

    Raises:
        UserError: A condition that does not; names the setting that has it.
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


def _same(left: Any, right: Any) -> bool:
    """Compare two values: a bool never equals a number, and a list equals a tuple of its items."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return list(left) == list(right)
    return bool(left == right)

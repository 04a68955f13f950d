from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from study.spaces import grid as finite
from study.spaces.ranges import Numbers, Range, Searched, active, check_ranges, fits, strip
from trainables.errors import UserError

READ: TypeAdapter[Range] = TypeAdapter(Searched)


def ranges(**values: Any) -> dict[str, Range]:
    return {key: READ.validate_python(value) for key, value in values.items()}


MIXED = ranges(
    sampling=["X-X", "hybrid"],
    alpha={"low": 0.1, "high": 0.9, "when": {"sampling": ["hybrid"]}},
    batch_size={"ordered": [8, 16, 32]},
    count={"low": 2, "high": 4},
    rate={"low": 1e-4, "high": 1e-2, "log": True},
)


@pytest.mark.parametrize(
    ("written", "values"),
    [
        (["a", "b"], ["a", "b"]),
        ({"ordered": [8, 16]}, [8, 16]),
        ({"low": 2, "high": 8, "step": 3}, [2, 5, 8]),
        ({"low": 0.1, "high": 0.5, "step": 0.2}, [0.1, 0.3, 0.5]),
        ({"low": 1, "high": 4, "log": True}, [1, 2, 3, 4]),
        ({"low": 0.5, "high": 0.5}, [0.5]),
    ],
)
def test_a_finite_range_lists_its_values_and_draws_only_those(written: Any, values: Any) -> None:
    searched = READ.validate_python(written)
    assert list(searched.values()) == values
    assert [searched.contains(value) for value in values] == [True] * len(values)
    drawn = [searched.at(share / 1000) for share in range(1000)]
    assert sorted(set(drawn), key=drawn.index) == values
    assert READ.validate_python(searched.model_dump(mode="json")) == searched


def test_whole_numbers_stay_whole_and_others_keep_four_digits() -> None:
    assert all(isinstance(MIXED["count"].at(s / 7), int) for s in range(7))
    drawn = [MIXED["rate"].at(share / 100) for share in range(100)]
    assert all(value == float(f"{value:.4g}") for value in drawn)
    assert drawn[0] == 1e-4
    assert drawn[50] == 1e-3
    assert Numbers(low=0.123456, high=0.123457, log=True).at(0.0) == 0.123457


def test_a_value_outside_or_of_another_type_is_not_contained() -> None:
    assert not MIXED["count"].contains(True)
    assert not MIXED["count"].contains(2.5)
    assert not MIXED["rate"].contains(1)
    assert not READ.validate_python([1, 2]).contains(True)


def test_a_condition_decides_what_has_an_effect() -> None:
    assert active(MIXED, {"sampling": "hybrid"}, "alpha")
    assert not active(MIXED, {"sampling": "X-X"}, "alpha")
    full = {"sampling": "X-X", "alpha": 0.5, "batch_size": 8, "count": 2, "rate": 1e-3}
    point = strip(MIXED, full)
    assert "alpha" not in point
    assert fits(MIXED, point)
    assert not fits(MIXED, full)
    assert not fits(MIXED, point | {"batch_size": 9})


def test_a_finite_space_is_counted_with_its_conditions() -> None:
    some = ranges(
        sampling=["X-X", "hybrid"],
        alpha={"choices": [0.25, 0.5, 0.75], "when": {"sampling": ["hybrid"]}},
        batch_size=[8, 16],
    )
    listed = list(finite.points(some))
    assert finite.size(some) == len(listed) == 8
    assert all(fits(some, point) for point in listed)
    assert finite.size(MIXED) == float("inf")
    assert finite.endless(MIXED) == ["alpha", "rate"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"low": 2, "high": 1}, "not above high"),
        ({"low": 0, "high": 1, "log": True}, "above 0"),
        ({"low": 1, "high": 8, "log": True, "step": 2}, "exclude each other"),
        ([], "at least 1"),
        ([1, 1], "named twice"),
        (3, "neither a list"),
        ({"low": 1, "high": 2, "hihg": 3}, "hihg"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(written: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        READ.validate_python(written)


def test_a_condition_on_what_is_not_searched_earlier_is_refused() -> None:
    late = ranges(alpha={"low": 0.1, "high": 0.9, "when": {"sampling": ["hybrid"]}}, sampling=["a"])
    with pytest.raises(UserError, match=r"search\.alpha\.when: sampling is not searched before"):
        check_ranges(late, "space.yaml")
    never = ranges(sampling=["X-X"], alpha={"low": 0.1, "high": 1, "when": {"sampling": ["X-Y"]}})
    with pytest.raises(UserError, match=r"'X-Y' is not among"):
        check_ranges(never, "space.yaml")

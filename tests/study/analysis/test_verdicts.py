from __future__ import annotations

import pytest

from study.analysis.verdicts import Evidence, Judgement, holm, judge

MARGIN = 0.01


def evidence(
    gain: float = 0.02,
    half: float = 0.005,
    p: float = 0.001,
    p_equivalent: float = 0.9,
    seeds: int = 5,
) -> Evidence:
    return Evidence(gain, gain - half, gain + half, p, p_equivalent, seeds)


def verdict(*comparisons: Evidence) -> Judgement:
    [found] = judge([list(comparisons)], [MARGIN])
    return found


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("one", "expected", "remark"),
    [
        (evidence(), "supported", "large"),
        (evidence(gain=0.012), "supported", "maybe small"),
        (evidence(gain=-0.02), "contradicted", "large"),
        (evidence(gain=-0.012), "contradicted", "maybe small"),
        (
            evidence(gain=0.004, half=0.002, p_equivalent=0.001),
            "equivalent",
            "significant",
        ),
        (
            evidence(gain=-0.004, half=0.002, p_equivalent=0.001),
            "equivalent",
            "significant",
        ),
        (evidence(gain=0.001, half=0.002, p=0.4, p_equivalent=0.001), "equivalent", ""),
        (evidence(gain=0.005, half=0.02, p=0.6, p_equivalent=0.3), "undecided", ""),
        (
            evidence(gain=0.02, half=0.019, p=0.04, p_equivalent=0.9),
            "undecided",
            "uncorrected",
        ),
        (evidence(seeds=4), "undecided", "few seeds"),
        (evidence(p=0.4, p_equivalent=0.001, seeds=4), "undecided", "few seeds"),
    ],
)
def test_each_row_of_the_table(one: Evidence, expected: str, remark: str) -> None:
    found = verdict(one)
    assert (found.verdict, found.remark) == (expected, remark)


def test_both_tests_of_all_hypotheses_are_one_family() -> None:
    family = [[evidence(p=0.01)], [evidence(p=0.02)], None]
    first, second, third = judge(family, [MARGIN] * 3)
    assert first.p == pytest.approx(6 * 0.01)
    assert second.p == pytest.approx(5 * 0.02)
    assert (third.verdict, third.p, third.p_equivalent) == ("undecided", None, None)


def test_better_than_both_takes_the_larger_p() -> None:
    both = evidence(p=0.001), evidence(p=0.02)
    found = verdict(*both)
    assert found.p == pytest.approx(2 * 0.02)  # twice for the test of equivalence, not for both
    assert (found.verdict, found.decisive) == ("supported", 1)
    assert verdict(evidence(p=0.001), evidence(p=0.2)).verdict == "undecided"


def test_better_than_both_is_as_large_as_the_less_sure_of_them() -> None:
    """The largest p need not be of the interval that reaches lowest."""
    sure = evidence(gain=0.012, half=0.005, p=0.001)
    large = evidence(gain=0.05, half=0.03, p=0.004)
    for both in ((sure, large), (large, sure)):
        found = verdict(*both)
        assert (found.verdict, both[found.decisive]) == ("supported", large)
        assert found.remark == "maybe small"
    behind = evidence(gain=-0.05, half=0.005, p=0.001)
    assert verdict(sure, behind).remark == "large"


def test_worse_than_one_contradicts_better_than_both() -> None:
    found = verdict(evidence(p=0.001), evidence(gain=-0.02, p=0.004))
    assert (found.verdict, found.decisive) == ("contradicted", 1)
    assert found.p == pytest.approx(2 * 2 * 0.004)


def test_one_comparison_with_few_seeds_leaves_all_undecided() -> None:
    assert verdict(evidence(), evidence(seeds=3)).verdict == "undecided"


def test_equivalent_to_both_takes_the_larger_p() -> None:
    near = evidence(gain=0.001, half=0.002, p=0.5, p_equivalent=0.001)
    far = evidence(gain=0.001, half=0.02, p=0.5, p_equivalent=0.2)
    assert verdict(near, near).verdict == "equivalent"
    assert verdict(near, far).verdict == "undecided"

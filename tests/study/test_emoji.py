"""Real pictures with names in 13 languages: a tiny CLIP from scratch on families it never saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.emoji import DEPTH, GOAL, STEPS, by_language, interval, trained


@pytest.mark.slow
def test_emoji_of_unseen_families_are_found_and_with_shuffled_names_are_not(
    shared: Path, tmp_path: Path
) -> None:
    """By recall@10 of 360 pictures in every language, families resampled."""
    folder = shared / "data" / "emoji-cldr"
    found = {arm: trained(folder, tmp_path, arm, 1, STEPS) for arm in ("mixed", "shuffled")}
    chance = DEPTH / found["mixed"][0].counts[:, 0].sum()
    assert chance == DEPTH / 360
    languages = by_language(found["mixed"])
    assert len(languages) == 13
    for language, (mean, low, _) in languages.items():
        assert low > GOAL * chance, (language, mean, low)
    _, low, high = interval(found["shuffled"])
    assert low <= chance <= high

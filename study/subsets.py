"""Which languages a trial is trained on where their number is what a study is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from study.spaces.settings import Settings
from trainables.errors import UserError


def nested(settings: Settings, languages: Sequence[str]) -> tuple[str, ...]:
    """`language_count` of the languages, in ascending order; all of them where it is None.

    Anchors come first, the rest in an order that `subset_seed` draws: a larger subset of the same
    seed contains a smaller one, and differences between counts are what the added languages do.

    Args:
        settings: Of the cell.
        languages: What can be trained on.

    Raises:
        UserError: A language that is not there or both anchor and unseen, or too few of them.
    """
    anchors, unseen = settings.anchor_languages or (), settings.unseen_languages or ()
    for key, named in (("anchor_languages", anchors), ("unseen_languages", unseen)):
        if key == "anchor_languages" and (lost := sorted(set(named) - set(languages))):
            raise UserError(
                f"{key} {lost[0]}: the training data have {', '.join(languages)}; "
                f"choose among them with --set {key}=..."
            )
    if both := sorted(set(anchors) & set(unseen)):
        raise UserError(
            f"anchor_languages and unseen_languages both name {both[0]}; leave it out of one"
        )
    pool = sorted(set(languages) - set(unseen))
    count = len(pool) if settings.language_count is None else settings.language_count
    if not len(anchors) <= count <= len(pool):
        raise UserError(
            f"language_count {count}: there are {len(anchors)} anchor_languages, and {len(pool)} "
            f"languages to train on ({', '.join(pool)}); choose a number from "
            f"{max(1, len(anchors))} to {len(pool)}, or other languages"
        )
    others = [language for language in pool if language not in anchors]
    drawn = np.random.default_rng((settings.subset_seed, 0x1A)).permutation(len(others))
    chosen = [*sorted(anchors), *(others[number] for number in drawn)][:count]
    return tuple(sorted(chosen))

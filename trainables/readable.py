"""Which rows of the training data a trial reads, checked before anything is run."""

from __future__ import annotations

from trainables.batching import Batches, Laws
from trainables.data.corpus import TrainingSet
from trainables.orders import Indices
from trainables.presence import Presence, limited
from trainables.spec import Spec


def readable(spec: Spec, data: TrainingSet) -> tuple[Indices, Batches]:
    """The rows that a trial keeps, and its batches of places among them.

    Raises:
        UserError: No or too few rows for what the spec asks.
    """
    assert spec.seed is not None
    assert spec.languages is not None
    assert spec.sampling is not None
    assert spec.batch_size is not None
    presence = Presence.of(data, spec.languages)
    kept = limited(presence.follow(spec.rows or "in_all"), spec.max_rows, spec.seed)
    batches = Batches(
        len(kept),
        len(spec.languages),
        sampling=spec.sampling,
        alpha=spec.alpha,
        batch_size=spec.batch_size,
        seed=spec.seed,
        laws=Laws(spec.language_law or 0.0, spec.pair_law or 0.0, spec.languages_per_batch),
        presence=presence.keep(kept),
    )
    return kept, batches

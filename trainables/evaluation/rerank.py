"""The first candidates ranked anew by something that sees a caption and a picture together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from trainables.data.pictures import Kind, Picture, PictureBenchmark
from trainables.encoders.encoder import Embeddings
from trainables.errors import UserError
from trainables.evaluation.ranking import Scorer
from trainables.evaluation.scoring import Indices, score


class Matcher(Protocol):
    """Says how well captions fit pictures, a pair at a time."""

    def match(self, texts: Sequence[str], pictures: Sequence[Picture]) -> Embeddings:
        """Return (n,) float32: the higher, the better text i fits picture i."""


@dataclass(frozen=True)
class Rerank:
    """How many of the first candidates are looked at again, and by what.

    As BLIP-2's authors do (Li et al. 2023, section 4.4; LAVIS adds both scores): the first
    candidates of every corpus are ordered by the sum of the matcher's score and their own, and
    stand before all others, which keep their order.

    Attributes:
        matcher: Such as `encoders.matching.Blip2Matcher`.
        depth: Candidates of each corpus; 128 in BLIP-2's paper.
    """

    matcher: Matcher
    depth: int = 128

    def __post_init__(self) -> None:
        """Check the depth.

        Raises:
            UserError: Less than one candidate.
        """
        if self.depth < 1:
            raise UserError(f"depth {self.depth}: at least 1 candidate is needed; 128 is usual")

    def scorer(self, benchmark: PictureBenchmark, kind: Kind) -> Scorer:
        """`score`, with the first candidates of one direction ordered anew."""
        captions = [caption for held in benchmark.captions.values() for caption in held]
        texts = [caption.text for caption in captions]
        has = {caption.picture for caption in captions}

        def search_pictures(query: int, pool: Indices) -> Embeddings:
            chosen = [benchmark.pictures[index] for index in pool.tolist()]
            return self.matcher.match([texts[query]] * len(chosen), chosen)

        asking = [picture for picture in benchmark.pictures if picture.id in has]

        def search_captions(query: int, pool: Indices) -> Embeddings:
            chosen = [texts[index] for index in pool.tolist()]
            return self.matcher.match(chosen, [asking[query]] * len(chosen))

        match = search_pictures if kind == "t2i" else search_captions
        return partial(score, adjust=partial(self._adjust, match))

    def _adjust(
        self,
        match: Callable[[int, Indices], Embeddings],
        begin: int,
        block: Embeddings,
        bounds: Indices,
    ) -> None:
        """Give the first candidates of each corpus scores above all others."""
        for row, scores in enumerate(block):
            chosen = np.concatenate(
                [
                    low + np.argsort(-scores[low:high], kind="stable")[: self.depth]
                    for low, high in itertools.pairwise(bounds)
                ]
            )
            found = match(begin + row, chosen)
            if found.shape != chosen.shape or not np.isfinite(found).all():
                raise UserError(
                    f"the matcher returned {found.shape} scores for {len(chosen)} pairs, or one "
                    "that is no number; check the checkpoint and precision"
                )
            # places among them instead of scores: exact, and equal where scores are
            places = np.unique(found + scores[chosen], return_inverse=True)[1]
            scores[chosen] = np.ceil(scores.max()) + 1 + places.astype(np.float32)

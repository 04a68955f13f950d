"""Protocol that evaluation requires of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]


class Encoder(Protocol):
    """Encoder of texts as vectors whose dot product is the score."""

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        """Return float32 vectors of shape (len(texts), d), in the order of `texts`."""

    def encode_passages(self, texts: Sequence[str], language: str) -> Embeddings:
        """Return float32 vectors of shape (len(texts), d), in the order of `texts`."""

"""An encoder that is the same everywhere: a text's vector follows from its words and itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIZE = 64


def _draw(text: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(SIZE)


def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """Texts with common words are alike; a share of the whole text's own keeps scores apart."""
    sums = [sum(map(_draw, text.split()), start=0.3 * _draw(f"whole {text}")) for text in texts]
    matrix = np.stack(sums)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix.astype(np.float32)

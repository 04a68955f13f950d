"""Interface of image towers, which turn pictures into vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.data.pictures import Picture

Pixels = Mapping[str, NDArray[Any]]
"""Preprocessed pictures: arrays of n rows by the argument names of the model."""

EMBEDDED = "embedded-cells"
"""Model type under which this project saves the embedded world's image tower (`cells`)."""


class ImageTower(nn.Module, ABC):
    """Image tower: preprocesses pictures into arrays, and embeds these as vectors of length 1.

    Attributes:
        digest: Digest of its weights as they were loaded.
        similarity: `dot`, or `max_dot` where a picture has several vectors: the largest of their
            dot products with a text's vector is the score.
    """

    digest: str
    similarity: Literal["dot", "max_dot"] = "dot"

    @property
    @abstractmethod
    def processor_digest(self) -> str:
        """Digest of all that decides the arrays of a picture."""

    @abstractmethod
    def prepare(self, pictures: Sequence[Picture]) -> Pixels:
        """Decode and preprocess pictures into arrays whose first axis counts them.

        Raises:
            UserError: A picture cannot be decoded.
        """

    @abstractmethod
    def forward(self, pixels: Mapping[str, Tensor]) -> Tensor:
        """Embed the arrays of n pictures as (n, d) or (n, k, d) float32 vectors of length 1."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write a folder that `load_image_tower` reads."""

    @abstractmethod
    def width(self) -> int:
        """Length of a vector."""

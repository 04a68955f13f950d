"""Pictures to vectors: what an image tower is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.data.pictures import Picture

Pixels = Mapping[str, NDArray[Any]]
"""What a processor makes of n pictures: arrays of n rows each, by the name that a model knows."""

EMBEDDED = "embedded-cells"
"""Model type of the embedded world's image tower (`cells`) as this project saves it."""


class ImageTower(nn.Module, ABC):
    """Turns pictures into arrays once, and arrays into vectors of length 1.

    Attributes:
        digest: Of its weights as they were loaded.
        similarity: `dot`, or `max_dot` where a picture has several vectors and the largest of
            their dot products with a text's counts.
    """

    digest: str
    similarity: Literal["dot", "max_dot"] = "dot"

    @property
    @abstractmethod
    def processor_digest(self) -> str:
        """Of everything that decides the arrays of a picture."""

    @abstractmethod
    def prepare(self, pictures: Sequence[Picture]) -> Pixels:
        """Decode and preprocess pictures: arrays whose first axis counts them.

        Raises:
            UserError: A picture that cannot be decoded.
        """

    @abstractmethod
    def forward(self, pixels: Mapping[str, Tensor]) -> Tensor:
        """(n, d) float32 vectors of length 1, or (n, k, d), of the arrays of n pictures."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write a folder that `load_image_tower` reads."""

    @abstractmethod
    def width(self) -> int:
        """Length of a vector."""

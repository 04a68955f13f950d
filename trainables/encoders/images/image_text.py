"""Texts and pictures to vectors of one space: a text encoder that also has an image tower."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from trainables.data.pictures import Picture
from trainables.encoders.encoder import Embeddings
from trainables.encoders.families import IMAGES
from trainables.encoders.files.checkpoints import pair_ref, parts_of
from trainables.encoders.images.image_tower import ImageTower, Pixels
from trainables.encoders.images.vision_tower import load_image_tower
from trainables.encoders.text import TextEncoder
from trainables.encoders.text_tower import drawn_dense
from trainables.errors import UserError
from trainables.spec import EncoderRef

PICTURES_AT_ONCE = 32
"""Pictures in one forward pass of evaluation; fixed, because it can move a last digit."""


class ImageTextEncoder(TextEncoder):
    """A text encoder whose vectors are compared with those of pictures.

    The image tower is frozen unless `train_images` is called. Frozen, it is no module of the
    encoder: optimizers and checkpoints do not see it, and its vectors can be computed once.

    Attributes:
        images: The image tower.
        drawn: Whether the layer after the text tower's pooling is random, not yet trained.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        ref: EncoderRef,
        *,
        images: ImageTower,
        layers: nn.Sequential | None = None,
        dimensions: int | None = None,
        padded: bool = False,
        device: str | torch.device = "cpu",
        encode_tokens: int = 8192,
        precision: str = "float32",
    ) -> None:
        """Put the parts together; `load` reads them from checkpoints.

        Args:
            model: As for `TextEncoder`, like all that follow but `images`.
            tokenizer: A fast tokenizer.
            ref: Prefixes, limits and pooling.
            images: Gives vectors of the same length as the text tower; if that has another length
                and no layer after it, it gets one, drawn from a fixed seed.
            layers: Modules after pooling.
            dimensions: Keep so many numbers of a text's vector, the first ones; None for all.
            padded: Pad every text to its limit.
            device: Where both towers compute.
            encode_tokens: Padded tokens in one forward pass.
            precision: `float32`, or `bfloat16` autocast of both towers.

        Raises:
            UserError: Vectors of different lengths.
        """
        super().__init__(
            model,
            tokenizer,
            ref,
            layers=layers,
            dimensions=dimensions,
            padded=padded,
            device=device,
            encode_tokens=encode_tokens,
            precision=precision,
        )
        width = self._width()
        self.drawn = not self.layers and width != images.width()
        if self.drawn:
            self.layers.append(drawn_dense(width, images.width())).to(device)
        elif width != images.width():
            raise UserError(
                f"encoder {ref.name!r}: texts have vectors of {width} numbers "
                f"and pictures of {images.width()}; name two towers that were trained together"
            )
        self._frozen = [images.to(device).eval().requires_grad_(False)]

    @classmethod
    def load(
        cls,
        source: str | Path,
        ref: EncoderRef | None = None,
        *,
        device: str | torch.device = "cpu",
        encode_tokens: int = 8192,
        precision: str = "float32",
        download: bool = False,
    ) -> Self:
        """Load a CLIP, MetaCLIP 2, SigLIP, SigLIP 2 or BLIP-2 checkpoint, or two towers.

        Args:
            source: A folder or hub id with both towers, or two joined by `+`: a text encoder, such
                as `M-CLIP/XLM-Roberta-Large-Vit-B-32`, and the checkpoint whose image tower it was
                trained for, such as `openai/clip-vit-base-patch32`.
            ref: Overrides the defaults that files and name of the text tower give.
            device: Where both towers compute.
            encode_tokens: Padded tokens in one forward pass of `encode_*`.
            precision: `float32`, or `bfloat16` autocast of both towers.
            download: Whether the hub may be asked for what the cache lacks.

        Raises:
            UserError: No such checkpoint, one that cannot be read, or one without an image tower.
        """
        folders = parts_of(source, download=download)
        text = TextEncoder.load(folders[0])
        images = load_image_tower(folders[-1])
        return cls(
            text.model,
            text.tokenizer,
            ref or pair_ref(folders, None if os.path.isdir(source) else str(source)),
            images=images,
            layers=text.layers,
            dimensions=text.dimensions,
            padded=text.padded,
            device=device,
            encode_tokens=encode_tokens,
            precision=precision,
        )

    @property
    def images(self) -> ImageTower:
        """The image tower, frozen or live."""
        return self._frozen[0] if self._frozen else self.vision

    @property
    def similarity(self) -> Literal["dot", "max_dot"]:
        """How the score of a text and a picture comes from their vectors (`scores`)."""
        return self.images.similarity

    @property
    def is_live(self) -> bool:
        """Whether the image tower is trained too."""
        return not self._frozen

    def train_images(self) -> None:
        """Make the image tower a part of what is trained, for `embed_pixels` with a gradient."""
        if self._frozen:
            self.vision = self._frozen.pop().requires_grad_(True).train(self.training)

    def freeze_images(self, digest: str | None = None) -> None:
        """Freeze the image tower.

        Args:
            digest: Of its weights, if they have been trained; else nothing is kept of its vectors.
        """
        if not self._frozen:
            tower = self.vision
            del self.vision
            tower.digest = digest or ""
            self._frozen = [tower.eval().requires_grad_(False)]

    @property
    def picture_digest(self) -> str | None:
        """What decides the vectors of pictures; None where training moves them."""
        if self.is_live or not self.images.digest:
            return None
        threads = torch.get_num_threads()  # may move a last digit, like device and precision
        execution = f"{self.device.type} {self.precision} {threads} {PICTURES_AT_ONCE}"
        text = f"{self.images.digest} {self.images.processor_digest} {execution}"
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def pixel_digest(self) -> str:
        """What decides the arrays that `pixels` gives."""
        return self.images.processor_digest

    def pixels(self, pictures: Sequence[Picture]) -> Pixels:
        """Decode and preprocess pictures: arrays of n rows by name.

        Raises:
            UserError: A picture that cannot be decoded.
        """
        return self.images.prepare(pictures)

    def embed_pixels(self, pixels: Pixels) -> Tensor:
        """Vectors of preprocessed pictures, with a gradient where the image tower is live.

        Args:
            pixels: Arrays of n rows, as `pixels` gives them.

        Returns:
            (n, d) float32 vectors of length 1, or (n, k, d).
        """
        held = {name: torch.from_numpy(np.array(value)) for name, value in pixels.items()}
        with torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=self.precision == "bfloat16",
            cache_enabled=False,
        ):
            vectors: Tensor = self.images({k: v.to(self.device) for k, v in held.items()})
        return vectors.float()

    def encode_pixels(self, pixels: Pixels) -> Embeddings:
        """As `embed_pixels`, without gradient or dropout and some pictures at a time."""
        size = len(next(iter(pixels.values())))
        tower, training = self.images, self.images.training
        tower.eval()
        try:
            with torch.inference_mode():
                parts = [
                    self.embed_pixels(
                        {k: v[begin : begin + PICTURES_AT_ONCE] for k, v in pixels.items()}
                    )
                    for begin in range(0, size, PICTURES_AT_ONCE)
                ]
        finally:
            tower.train(training)
        return torch.cat(parts).cpu().numpy()

    def encode_images(self, pictures: Sequence[Picture]) -> Embeddings:
        """Return (len(pictures), d) float32 vectors of length 1, in order; of BLIP-2 (…, k, d).

        Raises:
            UserError: A picture that cannot be decoded.
        """
        parts = [
            self.encode_pixels(self.pixels(pictures[begin : begin + PICTURES_AT_ONCE]))
            for begin in range(0, len(pictures), PICTURES_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.images.width()), np.float32)

    def save(self, folder: str | Path) -> None:
        """Write the text tower as `TextEncoder` does, and the image tower in a folder inside."""
        super().save(folder)
        self.images.save(Path(folder) / IMAGES)

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Self:
        """Move the frozen tower too, with `to` and its like."""
        for tower in self._frozen:
            tower._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def scores(texts: Tensor, pictures: Tensor) -> Tensor:
    """Scores of every text with every picture: the dot product, or the largest of several.

    Args:
        texts: (m, d).
        pictures: (n, d), or (n, k, d).

    Returns:
        (m, n), with gradients.
    """
    if pictures.ndim == 2:
        return texts @ pictures.T
    return torch.einsum("md,nkd->mnk", texts, pictures).amax(-1)

"""Texts and pictures in one vector space: a text encoder that also has an image tower."""

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
"""Pictures per forward pass of evaluation; fixed, because it can change a last digit."""


class ImageTextEncoder(TextEncoder):
    """Text encoder whose vectors are compared with those of pictures.

    The image tower is frozen unless `train_images` is called. While frozen, it is not a submodule:
    optimizers and checkpoints do not see it, and its vectors can be computed once.

    Attributes:
        images: Image tower.
        drawn: Whether the layer after the text tower's pooling was drawn at random.
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
        """Assemble an encoder from its parts; `load` reads them from checkpoints.

        Args:
            model: As for `TextEncoder`, like all that follow but `images`.
            tokenizer: A fast tokenizer.
            ref: Prefixes, limits and pooling.
            images: Image tower, with vectors as long as the text tower's; if these are of another
                length and no layer follows pooling, one is added, drawn from a fixed seed.
            layers: Modules after pooling.
            dimensions: Number of leading components of a text's vector to keep; None for all.
            padded: Pad every text to its limit.
            device: Device of both towers.
            encode_tokens: Padded tokens in one forward pass.
            precision: `float32`, or `bfloat16` autocast of both towers.

        Raises:
            UserError: Vectors of texts and pictures differ in length.
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
            source: Folder or hub id with both towers, or two joined by `+`: a text encoder, such as
                `M-CLIP/XLM-Roberta-Large-Vit-B-32`, and the checkpoint whose image tower it was
                trained for, such as `openai/clip-vit-base-patch32`.
            ref: Overrides the defaults from files and name of the text tower.
            device: Device of both towers.
            encode_tokens: Padded tokens in one forward pass of `encode_*`.
            precision: `float32`, or `bfloat16` autocast of both towers.
            download: Whether to ask the hub for what the cache lacks.

        Raises:
            UserError: No such checkpoint, it cannot be read, or it has no image tower.
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
        """Image tower, frozen or live."""
        return self._frozen[0] if self._frozen else self.vision

    @property
    def similarity(self) -> Literal["dot", "max_dot"]:
        """How a text and a picture are scored from their vectors (`scores`)."""
        return self.images.similarity

    @property
    def is_live(self) -> bool:
        """Whether the image tower is trained too."""
        return not self._frozen

    def train_images(self) -> None:
        """Make the image tower trainable, so that `embed_pixels` has a gradient."""
        if self._frozen:
            self.vision = self._frozen.pop().requires_grad_(True).train(self.training)

    def freeze_images(self, digest: str | None = None) -> None:
        """Freeze the image tower.

        Args:
            digest: Digest of its trained weights; without one, its vectors are not cached.
        """
        if not self._frozen:
            tower = self.vision
            del self.vision
            tower.digest = digest or ""
            self._frozen = [tower.eval().requires_grad_(False)]

    @property
    def picture_digest(self) -> str | None:
        """Digest of all that decides the vectors of pictures; None if training changes them."""
        if self.is_live or not self.images.digest:
            return None
        threads = torch.get_num_threads()  # can change a last digit, like device and precision
        execution = f"{self.device.type} {self.precision} {threads} {PICTURES_AT_ONCE}"
        text = f"{self.images.digest} {self.images.processor_digest} {execution}"
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def pixel_digest(self) -> str:
        """Digest of all that decides the arrays from `pixels`."""
        return self.images.processor_digest

    def pixels(self, pictures: Sequence[Picture]) -> Pixels:
        """Decode and preprocess pictures into named arrays of n rows.

        Raises:
            UserError: A picture cannot be decoded.
        """
        return self.images.prepare(pictures)

    def embed_pixels(self, pixels: Pixels) -> Tensor:
        """Embed preprocessed pictures, with a gradient if the image tower is live.

        Args:
            pixels: Arrays of n rows, as returned by `pixels`.

        Returns:
            (n, d) float32 vectors of length 1, or (n, k, d).
        """
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in pixels.items()}
        with torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=self.precision == "bfloat16",
            cache_enabled=False,
        ):
            vectors: Tensor = self.images({k: v.to(self.device) for k, v in tensors.items()})
        return vectors.float()

    def encode_pixels(self, pixels: Pixels) -> Embeddings:
        """Embed like `embed_pixels`, in parts and without gradient or dropout."""
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
        """Return (len(pictures), d) float32 vectors of length 1, in order; (…, k, d) for BLIP-2.

        Raises:
            UserError: A picture cannot be decoded.
        """
        parts = [
            self.encode_pixels(self.pixels(pictures[begin : begin + PICTURES_AT_ONCE]))
            for begin in range(0, len(pictures), PICTURES_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.images.width()), np.float32)

    def save(self, folder: str | Path) -> None:
        """Write the text tower as `TextEncoder` does, and the image tower in a subfolder."""
        super().save(folder)
        self.images.save(Path(folder) / IMAGES)

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Self:
        """Apply `to` and similar calls to the frozen tower too."""
        for tower in self._frozen:
            tower._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def scores(texts: Tensor, pictures: Tensor) -> Tensor:
    """Score every text with every picture: the dot product, or the largest of k.

    Args:
        texts: (m, d) vectors.
        pictures: (n, d) vectors, or (n, k, d).

    Returns:
        (m, n), with gradients.
    """
    if pictures.ndim == 2:
        return texts @ pictures.T
    return torch.einsum("md,nkd->mnk", texts, pictures).amax(-1)

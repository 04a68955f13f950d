"""What one row of a contrastive batch can be, told by itself: a text, a picture, or a vector.

Texts and the pictures of a live image tower are embedded with a gradient; the vectors of a frozen
tower are constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BatchItem = NDArray[Any] | Mapping[str, NDArray[Any]]
"""Token ids (int32), a frozen vector (float32, of shape (d,) or (k, d)), or a preprocessed
picture: its arrays by name, as `ImageTextEncoder.pixels` gives them, without the first axis."""

BatchItems = Sequence[BatchItem]

Kind = Literal["tokens", "picture", "vector"]


def kind_of(row: BatchItem) -> Kind:
    """What a row is."""
    if isinstance(row, Mapping):
        return "picture"
    return "vector" if row.dtype == np.float32 else "tokens"


def tokens_in(row: BatchItem) -> int:
    """Tokens of a text, special ones included; pictures and vectors have none."""
    return len(row) if kind_of(row) == "tokens" else 0


def embed(encoder: Any, rows: BatchItems) -> Tensor:
    """Vectors of rows of one kind.

    Args:
        encoder: Maps token arrays to (n, d) vectors; for pictures it has `embed_pixels`.
        rows: At least one.

    Returns:
        (n, d), or (n, k, d) where a picture has k vectors; without a gradient if they are given.
    """
    kind = kind_of(rows[0])
    if kind == "tokens":
        vectors_of: Tensor = encoder(rows)
    elif kind == "picture":
        names = list(rows[0])
        held: Sequence[Any] = rows
        vectors_of = encoder.embed_pixels(
            {name: np.stack([row[name] for row in held]) for name in names}
        )
    else:
        vectors: Sequence[Any] = rows
        vectors_of = torch.from_numpy(np.stack(vectors)).to(next(encoder.parameters()).device)
    return vectors_of


def picture_tokens(encoder: Any) -> int:
    """Tokens of text whose activations are as large as those of one picture, at least 1.

    Patches times layers times width of the image tower, over layers times width of the text tower;
    a tower that is no transformer counts as 1.
    """
    tower = getattr(getattr(encoder, "images", None), "model", None)
    if tower is None:
        return 1
    vision = getattr(tower.config, "vision_config", tower.config)
    if (patches := getattr(vision, "num_patches", None)) is None:
        patches = (vision.image_size // vision.patch_size) ** 2 + 1
    text = encoder.model.config
    units = patches * vision.num_hidden_layers * vision.hidden_size
    return max(1, round(float(units / (text.num_hidden_layers * text.hidden_size))))


def alike(outs: Sequence[Tensor]) -> list[Tensor]:
    """Vectors of one shape: beside pictures of k vectors each, one vector is k equal ones.

    The largest of k equal scores is the score, so this changes nothing.
    """
    several = max(out.ndim for out in outs)
    if several == 2:
        return list(outs)
    k = next(out.shape[1] for out in outs if out.ndim == 3)
    return [out if out.ndim == 3 else out[:, None].expand(-1, k, -1) for out in outs]


def unlike(gradient: Tensor, out: Tensor) -> Tensor:
    """The gradient at an output, from that at what `alike` made of it."""
    return gradient if gradient.ndim == out.ndim else gradient.sum(1)

"""Items of a contrastive batch, told apart by type: texts, pictures and vectors.

Texts and the pictures of a live image tower are embedded with a gradient; vectors of a frozen
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
picture: arrays by name from `ImageTextEncoder.pixels`, without the batch axis."""

BatchItems = Sequence[BatchItem]

Kind = Literal["tokens", "picture", "vector"]


def kind_of(row: BatchItem) -> Kind:
    """Return the kind of a row."""
    if isinstance(row, Mapping):
        return "picture"
    return "vector" if row.dtype == np.float32 else "tokens"


def tokens_in(row: BatchItem) -> int:
    """Count the tokens of a text, special ones included; 0 for pictures and vectors."""
    return len(row) if kind_of(row) == "tokens" else 0


def embed(encoder: Any, rows: BatchItems) -> Tensor:
    """Embed rows of one kind.

    Args:
        encoder: Maps n token arrays to (n, d) vectors; for pictures it has `embed_pixels`.
        rows: At least one row.

    Returns:
        (n, d), or (n, k, d) for pictures with k vectors; frozen vectors carry no gradient.
    """
    kind = kind_of(rows[0])
    if kind == "tokens":
        embeddings: Tensor = encoder(rows)
    elif kind == "picture":
        names = list(rows[0])
        pictures: Sequence[Any] = rows
        embeddings = encoder.embed_pixels(
            {name: np.stack([row[name] for row in pictures]) for name in names}
        )
    else:
        vectors: Sequence[Any] = rows
        embeddings = torch.from_numpy(np.stack(vectors)).to(next(encoder.parameters()).device)
    return embeddings


def picture_tokens(encoder: Any) -> int:
    """Number of text tokens that take as much activation memory as one picture, at least 1.

    As `tokens_of_picture` says; 1 for an encoder without a transformer image tower.
    """
    tower = getattr(getattr(encoder, "images", None), "model", None)
    if tower is None:
        return 1
    vision = getattr(tower.config, "vision_config", tower.config)
    return tokens_of_picture(vision, encoder.model.config)


def tokens_of_picture(vision: Any, text: Any) -> int:
    """Number of text tokens that take as much activation memory as one picture, at least 1.

    Ratio of patches times layers times width of the image tower to layers times width of the text
    tower.

    Args:
        vision: Configuration of the image tower.
        text: Configuration of the text tower.
    """
    if (patches := getattr(vision, "num_patches", None)) is None:
        patches = (vision.image_size // vision.patch_size) ** 2 + 1
    units = patches * vision.num_hidden_layers * vision.hidden_size
    return max(1, round(float(units / (text.num_hidden_layers * text.hidden_size))))


def alike(outs: Sequence[Tensor]) -> list[Tensor]:
    """Bring embeddings to one shape, repeating single vectors k times beside those of pictures.

    The score is the largest of the k, so repetition does not change it.
    """
    dims = max(out.ndim for out in outs)
    if dims == 2:
        return list(outs)
    k = next(out.shape[1] for out in outs if out.ndim == 3)
    return [out if out.ndim == 3 else out[:, None].expand(-1, k, -1) for out in outs]


def unlike(gradient: Tensor, out: Tensor) -> Tensor:
    """Map a gradient at the output of `alike` back to the shape of its input `out`."""
    return gradient if gradient.ndim == out.ndim else gradient.sum(1)

"""Operations (FLOPs) and activation memory of a transformer, counted by torch on its own class.

Fake tensors, which have shapes but no values, pass through the model at three input sizes; a
polynomial in the size is fitted to the counts. That takes neither weights nor time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers.initialization import no_init_weights

from trainables.encoders.architectures import Architecture
from trainables.encoders.files.formats import quiet
from trainables.encoders.files.modules import positions_for_text
from trainables.encoders.text import BYTES_PER_UNIT, padded_width
from trainables.errors import UserError
from trainables.spec import Execution
from trainables.training.batch_items import tokens_of_picture

FLOAT = 4
"""Bytes per number: weights, gradients and AdamW's two moments are float32."""

SIZES = 8, 16, 32
"""Input sizes at which a model is counted: tokens of one text, or pictures in a batch."""

Polynomial = tuple[float, float, float]
"""Coefficients of the squared size, of the size, and the constant."""


@dataclass(frozen=True)
class Counts:
    """Size of a text or image tower; a picture counts as a text of `picture` tokens.

    Attributes:
        layers: Number of transformer layers.
        hidden: Length of a token's vector.
        parameters: Number of parameters, layers after pooling included.
        operations: Operations of a forward pass over one text, by its tokens; a multiplication
            and an addition count as two.
        activations: Bytes that this pass keeps for the backward pass, by tokens; the constant is
            per pass, not per text.
        vector: Length of a text's vector; 0 for an image tower.
        words: Rows of the token embedding table, which trials trim to the tokens they train on.
        word: Length of a row of that table.
        positions: Maximum number of tokens by the position table; 0 if unlimited.
        picture: Tokens of text whose activations are as large as those of a picture.
        is_counted: Whether operations and activations were counted; otherwise they are assumed.
    """

    layers: int
    hidden: int
    parameters: int
    operations: Polynomial
    activations: Polynomial
    vector: int = 0
    words: int = 0
    word: int = 0
    positions: int = 0
    picture: int = 0
    is_counted: bool = True

    def forward(self, rows: int, width: int) -> float:
        """Return the operations to embed `rows` texts padded to `width` tokens."""
        return rows * float(np.polyval(self.operations, width))

    def activation_bytes(self, rows: int, width: int, *, recomputed: bool = False) -> float:
        """Return the bytes kept for the backward pass over `rows` texts of `width` tokens.

        With `recomputed` layers (gradient checkpointing), these are the inputs of all layers and
        the activations of one.
        """
        square, linear, constant = self.activations
        total = constant + rows * (square * width + linear) * width
        inputs = FLOAT * self.layers * self.hidden * rows * width
        return min(total, inputs + total / self.layers) if recomputed else total

    def trainable(self, words: int) -> int:
        """Return the number of trained parameters if the embedding table has `words` rows."""
        return self.parameters - (self.words - words) * self.word

    def width(self, longest: int, device: str) -> int:
        """Return the width in tokens to which `TextEncoder` pads texts of up to `longest`."""
        return padded_width(longest, device, self.positions)


def count_text(architecture: Architecture, execution: Execution) -> Counts:
    """Count a text tower.

    Args:
        architecture: Configuration of the encoder.
        execution: Precision and device; fused attention on `cuda` keeps no scores.

    Raises:
        UserError: transformers cannot build it.
    """

    def texts(tokens: int) -> dict[str, Tensor]:
        return {"input_ids": torch.zeros(1, tokens, dtype=torch.long)}

    tower, after, parameters, passes = _count(architecture.build_text, texts, execution.precision)
    model: Any = tower
    config, table = architecture.text, model.get_input_embeddings()
    layers, hidden = config.num_hidden_layers, config.hidden_size
    assumed = 2.0 * (parameters - table.weight.numel()), float(BYTES_PER_UNIT * layers * hidden)
    operations, activations = passes or tuple((0.0, per_token, 0.0) for per_token in assumed)
    if execution.device == "cuda" and getattr(model, "_supports_sdpa", False):
        activations = 0.0, *activations[1:]
    rows = getattr(config, "max_position_embeddings", None) or 0
    padding = int(config.pad_token_id or 0)
    return Counts(
        layers=layers,
        hidden=hidden,
        parameters=parameters,
        operations=operations,
        activations=activations,
        vector=int([hidden, *(x.outputs for x in after if hasattr(x, "outputs"))][-1]),
        words=table.num_embeddings,
        word=table.embedding_dim,
        positions=positions_for_text(config.model_type, rows, padding) if rows > 0 else 0,
        is_counted=passes is not None,
    )


def count_images(architecture: Architecture, execution: Execution) -> Counts | None:
    """Count an image tower; None if its size is unknown or it cannot run on pixels alone.

    Args:
        architecture: Configuration of the encoder, its text tower included.
        execution: Precision.

    Raises:
        UserError: transformers cannot build it.
    """
    config = architecture.vision
    if config is None or not hasattr(config, "image_size"):
        return None

    def pictures(count: int) -> dict[str, Tensor]:
        return {"pixel_values": torch.zeros(count, 3, config.image_size, config.image_size)}

    *_, parameters, passes = _count(architecture.build_images, pictures, execution.precision)
    if passes is None:
        return None
    tokens = tokens_of_picture(config, architecture.text)
    operations, activations = (
        (0.0, per_picture / tokens, constant) for _, per_picture, constant in passes
    )
    layers, hidden = config.num_hidden_layers, config.hidden_size
    return Counts(layers, hidden, parameters, operations, activations, picture=tokens)


def _count(
    build: Callable[[], tuple[nn.Module, nn.Sequential]],
    inputs: Callable[[int], dict[str, Tensor]],
    precision: str,
) -> tuple[nn.Module, nn.Sequential, int, tuple[Polynomial, Polynomial] | None]:
    """Build a model and count it.

    Returns:
        Model, layers after pooling, number of parameters, and operations with activations; the
        last is None if the model cannot run on fake tensors.
    """
    with quiet(), no_init_weights(), FakeTensorMode():
        try:
            model, after = build()
            getattr(model, "tie_weights", lambda: None)()  # normally done when initialising
        except Exception as error:  # an arbitrary configuration can raise anything
            raise UserError(
                f"transformers cannot build this encoder, so its cost is not known: {error}"
            ) from None
        parameters = sum(x.numel() for x in {*model.parameters(), *after.parameters()})
        try:
            runs = [_run(model.train(), inputs(size), precision) for size in SIZES]
        except Exception:  # a model that reads values, which fake tensors do not have
            return model, after, parameters, None
    fits = [np.polyfit(SIZES, values, 2).round(3) for values in zip(*runs, strict=True)]
    operations, activations = (tuple(np.maximum(0.0, fit).tolist()) for fit in fits)
    return model, after, parameters, (operations, activations)


def _run(model: nn.Module, inputs: dict[str, Tensor], precision: str) -> tuple[int, int]:
    """Return the operations of a forward pass and the bytes it keeps for the backward pass.

    Attention runs unfused, because torch's counter does not know the fused CPU kernels.
    """
    weights = {x.untyped_storage()._cdata for x in (*model.parameters(), *model.buffers())}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        return saved.setdefault(tensor.untyped_storage()._cdata, tensor)

    autocast = torch.autocast("cpu", torch.bfloat16, precision == "bfloat16", cache_enabled=False)
    counter, unfused = FlopCounterMode(display=False), sdpa_kernel(SDPBackend.MATH)
    with counter, autocast, unfused, saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**inputs)
    sizes = [x.untyped_storage().nbytes() for key, x in saved.items() if key not in weights]
    return counter.get_total_flops(), sum(sizes)

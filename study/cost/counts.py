"""What a transformer computes and what it keeps for the pass back, counted on its own class.

Passes of fake tensors, which have sizes and no numbers, over three sizes of input give polynomials
of the size: that takes neither weights nor time.
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
"""Bytes of a number; weights, gradients and AdamW's two moments are float32."""

SIZES = 8, 16, 32
"""Tokens of the texts that are counted, and numbers of pictures."""

Polynomial = tuple[float, float, float]
"""Factors of the squared size, of the size, and of neither."""


@dataclass(frozen=True)
class Counts:
    """The size of a tower that reads or sees; a picture counts as a text of `picture` tokens.

    Attributes:
        layers: Transformer layers.
        hidden: Length of a token's vector.
        parameters: All of them, layers after pooling included.
        operations: Of a pass forward over a text, by its tokens; an addition and a multiplication
            are two.
        activations: Bytes that it leaves for the pass back, by its tokens; the last factor is of
            the whole pass, whatever texts it has.
        vector: Length of a text's vector.
        words: Rows of the table of words, which trials trim to the words they train on.
        word: Numbers of a row of it.
        positions: Tokens that there are positions for; 0 for any number.
        picture: Tokens of text whose activations are as large as those of a picture.
        is_counted: Whether operations and activations are; else they are assumed.
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
        """Operations of embedding `rows` texts padded to `width` tokens."""
        return rows * float(np.polyval(self.operations, width))

    def activation_bytes(self, rows: int, width: int, *, recomputed: bool = False) -> float:
        """Bytes kept for the pass back; if `recomputed`, what goes into layers, and one layer's."""
        square, linear, whole = self.activations
        every = whole + rows * (square * width + linear) * width
        inputs = FLOAT * self.layers * self.hidden * rows * width
        return min(every, inputs + every / self.layers) if recomputed else every

    def trainable(self, words: int) -> int:
        """Parameters that training moves, `words` rows of the table of words among them."""
        return self.parameters - (self.words - words) * self.word

    def width(self, longest: int, device: str) -> int:
        """Tokens to which texts are padded, as `TextEncoder` pads them."""
        return padded_width(longest, device, self.positions)


def count_text(architecture: Architecture, execution: Execution) -> Counts:
    """The size of a text tower.

    Args:
        architecture: How it is built.
        execution: Precision, and the device: fused attention of `cuda` keeps no scores.

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
    operations, activations = passes or tuple((0.0, each, 0.0) for each in assumed)
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
    """The size of an image tower; None where it is not known, or takes more than pixels.

    Args:
        architecture: How the encoder is built, its text tower too.
        execution: Its precision.

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
    operations, activations = ((0.0, one / tokens, whole) for _, one, whole in passes)
    layers, hidden = config.num_hidden_layers, config.hidden_size
    return Counts(layers, hidden, parameters, operations, activations, picture=tokens)


def _count(
    build: Callable[[], tuple[nn.Module, nn.Sequential]],
    inputs: Callable[[int], dict[str, Tensor]],
    precision: str,
) -> tuple[nn.Module, nn.Sequential, int, tuple[Polynomial, Polynomial] | None]:
    """What `build` gives, its parameters, operations and activations; None if it cannot run."""
    with quiet(), no_init_weights(), FakeTensorMode():
        try:
            model, after = build()
            getattr(model, "tie_weights", lambda: None)()  # which is part of initialising
        except Exception as error:  # whatever a stranger's configuration leads to
            raise UserError(
                f"transformers cannot build this encoder, so its cost is not known: {error}"
            ) from None
        parameters = sum(x.numel() for x in {*model.parameters(), *after.parameters()})
        try:
            runs = [_run(model.train(), inputs(size), precision) for size in SIZES]
        except Exception:  # a model that asks for numbers, of which fake tensors have none
            return model, after, parameters, None
    fits = [np.polyfit(SIZES, each, 2).round(3) for each in zip(*runs, strict=True)]
    operations, activations = (tuple(np.maximum(0.0, fit).tolist()) for fit in fits)
    return model, after, parameters, (operations, activations)


def _run(model: nn.Module, inputs: dict[str, Tensor], precision: str) -> tuple[int, int]:
    """Operations of a pass forward, and bytes of what it leaves for the pass back.

    Attention is computed by its formula: fused kernels on the CPU are not known to torch's counter.
    """
    weights = {x.untyped_storage()._cdata for x in (*model.parameters(), *model.buffers())}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        return saved.setdefault(tensor.untyped_storage()._cdata, tensor)

    half = torch.autocast("cpu", torch.bfloat16, precision == "bfloat16", cache_enabled=False)
    counter, plain = FlopCounterMode(display=False), sdpa_kernel(SDPBackend.MATH)
    with counter, half, plain, saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**inputs)
    sizes = [x.untyped_storage().nbytes() for key, x in saved.items() if key not in weights]
    return counter.get_total_flops(), sum(sizes)

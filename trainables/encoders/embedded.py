"""Tiny encoders of the embedded world: three sizes, and one BPE tokenizer per world.

They have the XLM-R architecture (Conneau et al. 2020, https://arxiv.org/abs/1911.02116) and random
initial weights. Importing this module imports neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from trainables.data.worlds.synthetic import tokenizer_text
from trainables.data.worlds.worlds import CONSONANTS, VOWELS, World, world_digest
from trainables.errors import UserError
from trainables.spec import EncoderRef

if TYPE_CHECKING:
    from torch import nn
    from transformers import XLMRobertaConfig

    from trainables.encoders.text import TextEncoder

INITIAL = 1
"""Version of this file's output: raise it when a tokenizer or initial weights change."""

CELLS = "cells 1"
"""Image tower (`images.cells`) and its version, repeated here as that module imports torch."""

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""Special tokens with ids 0 to 4; as in XLM-R, positions start after the padding id."""

BLANK = "▁"


@dataclass(frozen=True)
class EncoderSize:
    """One size of embedded encoder.

    Attributes:
        layers: Number of transformer layers.
        width: Hidden size, the length of a token's and of a text's vector.
        heads: Number of attention heads; divides `width`.
        inner: Intermediate size of the feed-forward blocks.
        tokens: Maximum length of a text, including special tokens.
        deviation: Standard deviation of the initial weights.
        dropout: Dropout rate. These encoders underfit, and without dropout no number depends on
            how a batch is split into micro-batches.
        seed: Seed of the initial weights, which all trials share like those of a checkpoint.
    """

    layers: int
    width: int
    heads: int
    inner: int
    tokens: int = 96
    deviation: float = 0.02
    dropout: float = 0.0
    seed: int = 0


SIZES: dict[str, EncoderSize] = {
    "embedded/small": EncoderSize(layers=1, width=64, heads=2, inner=128),
    "embedded/base": EncoderSize(layers=2, width=96, heads=3, inner=192),
    "embedded/large": EncoderSize(layers=3, width=128, heads=4, inner=256),
}
"""Sizes by encoder name, smallest first."""

PICTURED: dict[str, str] = {
    "embedded/clip-small": "embedded/small",
    "embedded/clip-base": "embedded/base",
    "embedded/clip-large": "embedded/large",
}
"""Encoders of texts and images, with the size of their text tower; the image tower is `CELLS`."""

VOCABULARY = 2000
"""Vocabulary size: words of high-resource languages are whole, those of low-resource languages
have 1.5 subwords on average."""

MAX_QUERY_TOKENS = 48


def is_embedded(name: str) -> bool:
    """Return whether the name is that of an encoder of the embedded world."""
    return name.startswith("embedded/")


def embedded_size(name: str) -> EncoderSize:
    """Return the size of an embedded encoder, or of its text tower if it has two.

    Raises:
        UserError: An unknown name.
    """
    if name not in SIZES and name not in PICTURED:
        known = ", ".join([*SIZES, *PICTURED])
        raise UserError(f"unknown embedded encoder {name!r}; there is {known}")
    return SIZES[PICTURED.get(name, name)]


def embedded_ref(name: str, world: World) -> EncoderRef:
    """Make the reference of an embedded encoder; its digest covers all that determines it.

    Raises:
        UserError: An unknown name.
    """
    size = embedded_size(name)
    parts = [asdict(size), world_digest(world), VOCABULARY, SPECIAL_TOKENS, INITIAL]
    if name in PICTURED:
        parts.append(CELLS)
    return EncoderRef(
        name=name,
        digest=hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(),
        pooling="mean",
        max_query_tokens=MAX_QUERY_TOKENS,
        max_passage_tokens=size.tokens,
    )


@lru_cache(maxsize=4)
def tokenizer_json(world: World) -> str:
    """Train the tokenizer of `world`, and return it in the `tokenizer.json` format.

    It is BPE, whose training counts and sorts, so that every process gets the same vocabulary. The
    Unigram training of XLM-R sums floats in an order that depends on threads.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=[*CONSONANTS, *VOWELS, BLANK],
        show_progress=False,
    )
    texts = (text for _, texts in sorted(tokenizer_text(world).items()) for text in texts)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return str(tokenizer.to_str())


def check_limits(ref: EncoderRef) -> None:
    """Check that an embedded encoder has position embeddings for its token limits.

    Raises:
        UserError: A limit exceeds them.
    """
    limit = embedded_size(ref.name).tokens
    if max(ref.max_query_tokens, ref.max_passage_tokens) > limit:
        raise UserError(
            f"encoder {ref.name}: max_query_tokens {ref.max_query_tokens} and max_passage_tokens "
            f"{ref.max_passage_tokens} may not exceed {limit}; lower them"
        )


def build_embedded(encoder: EncoderRef | str, world: World) -> TextEncoder:
    """Build an untrained encoder, with an image tower if its name is in `PICTURED`.

    Every call returns equal weights.

    Args:
        encoder: Name, or a reference, whose pooling, prefixes and limits are kept.
        world: World with whose texts the tokenizer is trained.

    Raises:
        UserError: An unknown name, a limit above the number of position embeddings, or a reference
            to another size or world.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from trainables.encoders.text import TextEncoder

    ref = embedded_ref(encoder, world) if isinstance(encoder, str) else encoder
    size, current = embedded_size(ref.name), embedded_ref(ref.name, world)
    if ref.digest != current.digest:
        raise UserError(
            f"encoder {ref.name}: in world {world.name} it now is {current.digest[:20]}, but the "
            f"study was planned with {ref.digest[:20]}; start a new study with another --name"
        )
    check_limits(ref)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(tokenizer_json(world)),
        model_max_length=size.tokens,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        cls_token="<s>",
        sep_token="</s>",
    )
    model = _model(size, len(tokenizer))
    if ref.name not in PICTURED:
        return TextEncoder(model, tokenizer, ref)
    from trainables.encoders.images.cells import PatchTower
    from trainables.encoders.images.image_text import ImageTextEncoder

    return ImageTextEncoder(model, tokenizer, ref, images=PatchTower(size.width))


def _model(size: EncoderSize, vocabulary: int) -> nn.Module:
    """Build an XLM-R model of this size with its initial weights."""
    import torch
    from transformers import XLMRobertaModel

    with torch.random.fork_rng(devices=[]):
        model = XLMRobertaModel(embedded_config(size, vocabulary), add_pooling_layer=False)
    _initialise(model, size)
    return model


def embedded_config(size: EncoderSize, vocabulary: int = VOCABULARY) -> XLMRobertaConfig:
    """Return the transformers configuration of an encoder of this size."""
    from transformers import XLMRobertaConfig

    return XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.inner,
        max_position_embeddings=size.tokens + SPECIAL_TOKENS.index("<pad>") + 1,
        type_vocab_size=1,
        hidden_dropout_prob=size.dropout,
        attention_probs_dropout_prob=size.dropout,
        initializer_range=size.deviation,
        bos_token_id=SPECIAL_TOKENS.index("<s>"),
        pad_token_id=SPECIAL_TOKENS.index("<pad>"),
        eos_token_id=SPECIAL_TOKENS.index("</s>"),
    )


def _initialise(model: nn.Module, size: EncoderSize) -> None:
    """Draw the initial weights from numpy, so that they do not depend on torch's version or device.

    As in transformers: normal matrices with a zero row for padding, zero biases, and ones as
    weights of layer norms.
    """
    import torch

    rng = np.random.default_rng(size.seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                values = rng.normal(0.0, size.deviation, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(values.astype(np.float32)))
                if "word_embeddings" in name or "position_embeddings" in name:
                    parameter[SPECIAL_TOKENS.index("<pad>")] = 0.0
            else:
                parameter.fill_(1.0 if "LayerNorm.weight" in name else 0.0)

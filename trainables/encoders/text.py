"""Text encoder: a transformer from Hugging Face, for training and evaluation."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from trainables.encoders.encoder import Embeddings
from trainables.encoders.families import encoder_ref, family_defaults, find_checkpoint
from trainables.encoders.files.formats import (
    interchange,
    load_layers,
    load_tokenizer,
    load_transformer,
    lowers,
    quiet,
    save_layers,
)
from trainables.encoders.files.modules import check_weights, positions_for_text
from trainables.encoders.padding import Tokens, micro_batches
from trainables.encoders.text_tower import load_text_tower
from trainables.encoders.vocabulary import whole_vocabulary
from trainables.errors import DataError, UserError
from trainables.spec import EncoderRef

TEXTS_AT_ONCE = 4096
"""Texts per call of the tokenizer, which bounds its memory."""

HELD_BYTES = {"cpu": 6e9, "cuda": 16e9}
"""Bytes of activations that a training step keeps by default; the rest is computed twice."""

BYTES_PER_UNIT = 128
"""Bytes of activations per token, layer and hidden unit, measured on all-MiniLM-L6-v2, float32."""

MULTIPLES = {"cpu": 1, "cuda": 8}
"""Divisor of padded lengths, which keeps matrix shapes on GPUs few and fast."""


class TextEncoder(nn.Module):
    """Transformer with pooling and normalisation, its tokenizer, prefixes and limits.

    Attributes:
        model: Transformer that maps token ids to one vector per token.
        tokenizer: Its fast tokenizer.
        ref: Prefixes, limits and pooling, by content.
        layers: Modules applied in sequence after pooling.
        dimensions: Number of leading components of a vector that are kept; None for all.
        padded: Whether every text is padded to its limit, and the padding read (SigLIP).
        words: Number of word embeddings; None if the model has no table of them.
        truncated: Number of texts cut so far, by role (`query`, `passage`).
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        ref: EncoderRef,
        *,
        layers: nn.Sequential | None = None,
        dimensions: int | None = None,
        padded: bool = False,
        device: str | torch.device = "cpu",
        encode_tokens: int = 8192,
        precision: str = "float32",
    ) -> None:
        """Assemble an encoder from its parts; `load` reads them from a checkpoint.

        Args:
            model: Called with input_ids and attention_mask, returns `.last_hidden_state`.
            tokenizer: A fast tokenizer of transformers, with a padding token.
            ref: Prefixes, limits and pooling.
            layers: Modules after pooling, such as LaBSE's.
            dimensions: Number of leading components of a vector to keep; None for all.
            padded: Pad every text to its limit and read the padding like text, as SigLIP does.
            device: Device of the model.
            encode_tokens: Padded tokens in one forward pass of `encode_*`.
            precision: `float32`, or `bfloat16` autocast of the transformer; pooling,
                normalisation and vectors are float32 either way.

        Raises:
            UserError: The tokenizer has no padding token.
        """
        super().__init__()
        if tokenizer.pad_token_id is None:
            raise UserError(
                f"encoder {ref.name!r}: its tokenizer has no padding token; "
                "set one in tokenizer_config.json (pad_token)"
            )
        self.model, self.layers = model.to(device), (layers or nn.Sequential()).to(device)
        self.tokenizer, self.ref, self.padded = tokenizer, ref, padded
        self.dimensions = dimensions
        table: Any = getattr(model, "get_input_embeddings", lambda: None)()
        self.words = None if table is None else int(table.num_embeddings)
        self.encode_tokens, self.precision = encode_tokens, precision
        self.truncated = {"query": 0, "passage": 0}

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
    ) -> TextEncoder:
        """Load a checkpoint, with weights in float32 whatever type they are stored in.

        Args:
            source: Folder, packaged name, or hub id in the hub's local cache.
            ref: Overrides the defaults from the checkpoint's files and name.
            device: Device of the model.
            encode_tokens: Padded tokens in one forward pass of `encode_*`.
            precision: `float32`, or `bfloat16` autocast of the transformer.
            download: Whether to ask the hub for what the cache lacks.

        Raises:
            UserError: No such checkpoint, or it cannot be read.
        """
        folder = find_checkpoint(source, download=download)
        name = str(source) if not os.path.isdir(source) else None
        ref = ref or encoder_ref(folder, name)
        defaults = family_defaults(folder, ref.name, ref.model_dump(exclude={"name", "digest"}))
        check_weights(folder)
        layout = defaults.layout
        try:
            if defaults.projected:
                model, layers = load_text_tower(folder, layout)
            else:
                model = load_transformer(folder)
                config: Any = model.config
                modes = len(ref.pooling.split("+"))
                layers = load_layers(layout, modes * int(config.hidden_size))
            tokenizer = load_tokenizer(folder)
            encoder = cls(
                model,
                tokenizer,
                ref,
                layers=layers,
                dimensions=layout.dimensions,
                padded=defaults.padded,
                encode_tokens=encode_tokens,
                precision=precision,
            )
            # wrong sizes or weights show at the latest when a vector is computed
            if not np.isfinite(
                encoder.encode([np.array([tokenizer.pad_token_id], np.int32)])
            ).all():
                raise ValueError("the vectors of its weights are no numbers")
        except (UserError, torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # foreign files can raise anything
            raise DataError(
                f"encoder {str(source)!r}: cannot be loaded from {folder}: {error}\n"
                "Give a folder with config.json, weights (model.safetensors) and tokenizer.json",
                layout.transformer,
            ) from None
        return encoder.to(device)

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device

    @property
    def held_tokens(self) -> int:
        """Padded tokens whose activations fit in `HELD_BYTES`, by the transformer's shape."""
        config: Any = self.model.config
        return held_tokens(config.num_hidden_layers, config.hidden_size, self.device.type)

    def recompute_layers(self) -> None:
        """Save memory in training at the cost of one more forward pass; numbers do not change.

        Gradient checkpointing (Chen et al. 2016, https://arxiv.org/abs/1604.06174): only the input
        of each layer is kept, and the layer is computed again, with the same dropout, for its
        gradient.
        """
        model: Any = self.model
        model.config.use_cache = False  # decoders would turn it off with a warning
        if getattr(model, "supports_gradient_checkpointing", True):  # else activations are kept
            model.activation_checkpointing_enable()

    def tokenize_queries(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return token ids of each query, with prefix and special tokens, cut to the limit."""
        return self._tokenize(texts, "query", self.ref.query_prefix, self.ref.max_query_tokens)

    def tokenize_passages(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return token ids of each passage, with prefix and special tokens, cut to the limit."""
        limit = self.ref.max_passage_tokens
        return self._tokenize(texts, "passage", self.ref.passage_prefix, limit)

    def tokenizer_digest(self) -> str:
        """Hash all that turns a text into token ids."""
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        state = json.loads(fast.to_str()) if fast else self.tokenizer.get_vocab()
        rules = {key: state[key] for key in state if key not in ("truncation", "padding")}
        prefixes = [self.ref.query_prefix, self.ref.passage_prefix]
        limits = [self.ref.max_query_tokens, self.ref.max_passage_tokens]
        side = getattr(self.tokenizer, "truncation_side", "right")
        text = json.dumps([rules, prefixes, limits, side], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def forward(self, tokens: Tokens) -> Tensor:
        """Embed token arrays, in the order given.

        Args:
            tokens: n arrays of token ids, which are padded here to the longest.

        Returns:
            (n, d) float32 vectors of length 1.
        """
        ids, mask = self._pad(tokens)
        device = ids.device.type
        # no cache of cast weights: one made without a graph would cut off later gradients
        with torch.autocast(
            device, torch.bfloat16, enabled=self.precision == "bfloat16", cache_enabled=False
        ):
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        with torch.autocast(device, enabled=False):
            pooled = pool(states.float(), mask, self.ref.pooling)
            vectors: Tensor = self.layers(pooled)
            return F.normalize(vectors[:, : self.dimensions], dim=-1)

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        """Return (len(texts), d) float32 vectors of length 1; the language is ignored."""
        return self.encode(self.tokenize_queries(texts))

    def encode_passages(self, texts: Sequence[str], language: str) -> Embeddings:
        """Return (len(texts), d) float32 vectors of length 1; the language is ignored."""
        return self.encode(self.tokenize_passages(texts))

    def encode(self, tokens: Tokens) -> Embeddings:
        """Embed token arrays without dropout; equal arrays get bitwise equal vectors.

        Args:
            tokens: n arrays of token ids.

        Returns:
            (n, d) float32 vectors of length 1, in the order of `tokens`.
        """
        first: dict[bytes, int] = {}
        which = [first.setdefault(row.tobytes(), len(first)) for row in tokens]
        distinct = [np.frombuffer(key, dtype=np.int32) for key in first]
        training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                runs = micro_batches([len(row) for row in distinct], self.encode_tokens)
                parts = [self([distinct[row] for row in run]).cpu().numpy() for run in runs]
        finally:
            self.train(training)
        if not parts:
            return np.empty((0, self._width()), dtype=np.float32)
        order = np.argsort(np.concatenate(runs), kind="stable")
        vectors: Embeddings = np.concatenate(parts)[order][which]
        return vectors

    def passage_reach(self, texts: Sequence[str]) -> list[int]:
        """Count the code points of each passage that are read before the limit cuts it.

        Raises:
            UserError: The tokenizer cuts texts at the beginning.
        """
        if getattr(self.tokenizer, "truncation_side", "right") != "right":
            raise UserError(
                f"encoder {self.ref.name!r}: its tokenizer cuts texts on the left, so how far an "
                "answer is read cannot be said; set truncation_side to right in "
                "tokenizer_config.json"
            )
        prefix, limit = self.ref.passage_prefix, self.ref.max_passage_tokens
        reach = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = [prefix + text for text in texts[start : start + TEXTS_AT_ONCE]]
            encoded = self.tokenizer(part, truncation=True, max_length=limit)
            if encoded.encodings is None:  # SentencePiece has no offsets, so decode what it read
                read = [
                    self.tokenizer.decode(x, skip_special_tokens=True) for x in encoded["input_ids"]
                ]
                reach += [max(0, len(text) - len(prefix)) for text in read]
                continue
            for encoding in encoded.encodings:
                last = max((end for _, end in encoding.offsets), default=0)
                reach.append(max(0, last - len(prefix)))
        return reach

    def save(self, folder: str | Path) -> None:
        """Write a folder that transformers, sentence-transformers and `load` can read."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if fast := getattr(self.tokenizer, "backend_tokenizer", None):
            fast.no_truncation()
            fast.no_padding()
        with quiet(), whole_vocabulary(self.model):
            self.model.save_pretrained(folder)  # type: ignore[operator]
        self.tokenizer.save_pretrained(folder)
        kinds = save_layers(self.layers, folder)
        files = interchange(
            self.ref, self._hidden(), kinds, self.dimensions, lowers(self.tokenizer)
        )
        for path, content in files.items():
            target = folder / path
            target.parent.mkdir(exist_ok=True)
            target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _tokenize(
        self, texts: Sequence[str], role: str, prefix: str, limit: int
    ) -> list[NDArray[np.int32]]:
        rows: list[NDArray[np.int32]] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = [prefix + text for text in texts[start : start + TEXTS_AT_ONCE]]
            padding = "max_length" if self.padded else False
            encoded = self.tokenizer(part, truncation=True, max_length=limit, padding=padding)
            rows += [np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]]
            self._check_known(rows[start:])
            if encoded.encodings is not None:
                cut_short = sum(bool(encoding.overflowing) for encoding in encoded.encodings)
            else:  # SentencePiece (SigLIP) does not report what it cut
                cut_short = sum(len(ids) > limit for ids in self.tokenizer(part)["input_ids"])
            self.truncated[role] += cut_short
        return rows

    def _check_known(self, rows: Tokens) -> None:
        """Refuse ids without a word embedding, which come from a tokenizer of another model."""
        largest = int(np.concatenate([np.zeros(1, np.int32), *rows]).max())
        if self.words is not None and largest >= self.words:
            raise UserError(
                f"encoder {self.ref.name!r}: its tokenizer gives the id {largest}, and the model "
                f"has {self.words} word embeddings; restore the tokenizer's files"
            )

    def _pad(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Pad token arrays to (n, width) ids and mask, on the model's device."""
        lengths = np.array([len(row) for row in tokens])
        longest = max(1, int(lengths.max()))  # a text may have no token at all
        width = padded_width(longest, self.device.type, self._positions())
        mask = np.arange(width) < lengths[:, None]
        ids = np.full(mask.shape, self.tokenizer.pad_token_id, dtype=np.int64)
        ids[mask] = np.concatenate(list(tokens))
        both = torch.from_numpy(np.stack([ids, mask])).to(self.device, non_blocking=True)
        return both[0], both[1]

    def _positions(self) -> int:
        """Return the number of tokens with positions in the model; 0 if it has no table of them."""
        config: Any = self.model.config
        table = getattr(config, "max_position_embeddings", None)
        if not isinstance(table, int) or table < 1:
            return 0
        return positions_for_text(config.model_type, table, int(self.tokenizer.pad_token_id))

    def _width(self) -> int:
        """Length of a vector."""
        width = self._hidden() * len(self.ref.pooling.split("+"))
        for layer in self.layers:
            width = int(getattr(layer, "outputs", width))
        return min(width, self.dimensions or width)

    def _hidden(self) -> int:
        """Length of a token's vector."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]


def held_tokens(layers: int, hidden: int, device: str) -> int:
    """Return the padded tokens whose activations fit in `HELD_BYTES`, by transformer shape."""
    return int(HELD_BYTES.get(device, HELD_BYTES["cpu"]) // (BYTES_PER_UNIT * layers * hidden))


def padded_width(longest: int, device: str, positions: int = 0) -> int:
    """Return the number of tokens to which texts are padded.

    Args:
        longest: Tokens of the longest text.
        device: Device type on which the texts are embedded.
        positions: Number of positions of the model, which padding does not exceed (77 in CLIP); 0
            without a limit.
    """
    multiple = MULTIPLES.get(device, 1)
    width = -(-longest // multiple) * multiple
    return max(longest, min(width, positions)) if positions else width


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Pool token vectors like sentence-transformers; a text without tokens becomes zeros.

    Args:
        states: (n, tokens, d) token vectors.
        mask: (n, tokens), 1 for real tokens, which come first.
        pooling: A mode, or several joined by `+`.

    Returns:
        (n, d), or (n, modes * d).
    """
    weights = mask.unsqueeze(-1).to(states.dtype)
    pooled = torch.cat([_pool(states, weights, mode) for mode in pooling.split("+")], dim=-1)
    return torch.where(mask.any(1, keepdim=True), pooled, 0.0)


def _pool(states: Tensor, weights: Tensor, mode: str) -> Tensor:
    """Pool (n, tokens, d) with weights (n, tokens, 1) of 1 and 0 into (n, d)."""
    if mode == "cls":
        return states[:, 0]
    lengths = weights.sum(1).clamp(min=1)
    if mode == "last":
        rows = torch.arange(len(states), device=states.device)
        return states[rows, lengths[:, 0].long() - 1]
    if mode == "max":
        return states.masked_fill(weights == 0, -torch.inf).amax(1)
    if mode == "weightedmean":  # later tokens count more (Muennighoff 2022, SGPT)
        weights = weights * torch.arange(1, states.shape[1] + 1, device=states.device)[:, None]
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    total = (states * weights).sum(1)
    return total / (lengths.sqrt() if mode == "mean_sqrt_len_tokens" else lengths)

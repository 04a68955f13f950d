"""Texts to vectors by a transformer from Hugging Face, for training and evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from trainables.contrastive import Tokens, cut
from trainables.encoders.encoder import Embeddings
from trainables.encoders.families import (
    encoder_ref,
    family_defaults,
    find_checkpoint,
    positions_for_text,
)
from trainables.encoders.formats import (
    Dense,
    interchange,
    load_tokenizer,
    load_transformer,
    quiet,
)
from trainables.encoders.text_tower import load_text_tower
from trainables.encoders.vocabulary import whole_vocabulary
from trainables.errors import UserError
from trainables.spec import EncoderRef

TEXTS_AT_ONCE = 4096
"""Texts given to the tokenizer in one call, which bounds its memory."""

HELD_BYTES = {"cpu": 6e9, "cuda": 16e9}
"""Activations that a training step keeps by default; what does not fit is computed twice."""

BYTES_PER_UNIT = 128
"""Of activations for each token, layer and hidden unit: measured on all-MiniLM-L6-v2, float32."""

MULTIPLES = {"cpu": 1, "cuda": 8}
"""Padded lengths are multiples of this, which keeps matrix shapes on GPUs few and fast."""


class TextEncoder(nn.Module):
    """A transformer, pooled and normalised, with its tokenizer, prefixes and limits.

    Attributes:
        model: The transformer; maps token ids to one vector a token.
        tokenizer: Its fast tokenizer.
        ref: Prefixes, limits and pooling, by content.
        dense: Applied after pooling (LaBSE), or None.
        padded: Whether every text is padded to its limit, and the padding read (SigLIP).
        truncated: Role (`query`, `passage`) to texts cut so far.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        ref: EncoderRef,
        *,
        dense: Dense | None = None,
        padded: bool = False,
        device: str | torch.device = "cpu",
        encode_tokens: int = 8192,
        precision: str = "float32",
    ) -> None:
        """Put the parts together; `load` reads them from a checkpoint.

        Args:
            model: Called with input_ids and attention_mask, returns `.last_hidden_state`.
            tokenizer: A fast tokenizer of transformers, with a padding token.
            ref: Prefixes, limits and pooling.
            dense: A module after pooling, as LaBSE has it.
            padded: Pad every text to its limit and read the padding like text, as SigLIP does.
            device: Where the model computes.
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
        self.model, self.dense = model.to(device), dense.to(device) if dense else None
        self.tokenizer, self.ref, self.padded = tokenizer, ref, padded
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
        """Load a checkpoint, with weights in float32 whatever they are stored in.

        Args:
            source: A folder, or a hub id in the hub's local cache.
            ref: Overrides the defaults that the checkpoint's files and name give.
            device: Where the model computes.
            encode_tokens: Padded tokens in one forward pass of `encode_*`.
            precision: `float32`, or `bfloat16` autocast of the transformer.
            download: Whether the hub may be asked for what the cache lacks.

        Raises:
            UserError: No such checkpoint, or one that cannot be read.
        """
        folder = find_checkpoint(source, download=download)
        name = str(source) if not Path(source).is_dir() else None
        ref = ref or encoder_ref(folder, name)
        defaults = family_defaults(folder, ref.name)
        try:
            dense: Dense | None
            layer = folder / defaults.dense if defaults.dense else None
            if defaults.projected:
                model, dense = load_text_tower(folder, layer)
            else:
                model, dense = load_transformer(folder), Dense.load(layer) if layer else None
            tokenizer = load_tokenizer(folder)
        except ImportError as error:  # of SigLIP's tokenizer, which is no fast one
            raise UserError(
                f"encoder {str(source)!r}: its tokenizer needs a package that is not installed "
                f"({str(error).strip().splitlines()[0]}). Try `pip install sentencepiece`"
            ) from None
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise UserError(
                f"encoder {str(source)!r}: cannot be loaded from {folder}: {error}\n"
                "Give a folder with config.json, weights (model.safetensors) and tokenizer.json"
            ) from None
        return cls(
            model,
            tokenizer,
            ref,
            dense=dense,
            padded=defaults.padded,
            device=device,
            encode_tokens=encode_tokens,
            precision=precision,
        )

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def held_tokens(self) -> int:
        """Padded tokens whose activations fit in `HELD_BYTES`, by the shape of the transformer."""
        config: Any = self.model.config
        return held_tokens(config.num_hidden_layers, config.hidden_size, self.device.type)

    def recompute_layers(self) -> None:
        """Train with less memory for one more forward pass; numbers stay as they are.

        Gradient checkpointing (Chen et al. 2016, https://arxiv.org/abs/1604.06174): only the input
        of each layer is kept, and the layer is computed again, with the same dropout, when its
        gradient is.
        """
        model: Any = self.model
        model.config.use_cache = False  # of decoders; otherwise it is turned off with a warning
        model.activation_checkpointing_enable()

    def tokenize_queries(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Token ids of each query: prefix put before, special tokens added, cut to the limit."""
        return self._tokenize(texts, "query", self.ref.query_prefix, self.ref.max_query_tokens)

    def tokenize_passages(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Token ids of each passage: prefix put before, special tokens added, cut to the limit."""
        limit = self.ref.max_passage_tokens
        return self._tokenize(texts, "passage", self.ref.passage_prefix, limit)

    def tokenizer_digest(self) -> str:
        """Hash of everything that turns a text into token ids."""
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        state = json.loads(fast.to_str()) if fast else self.tokenizer.get_vocab()
        rules = {key: state[key] for key in state if key not in ("truncation", "padding")}
        prefixes = [self.ref.query_prefix, self.ref.passage_prefix]
        limits = [self.ref.max_query_tokens, self.ref.max_passage_tokens]
        text = json.dumps([rules, prefixes, limits], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def forward(self, tokens: Tokens) -> Tensor:
        """Embed token arrays, in the order given.

        Args:
            tokens: n arrays of token ids; padded to the longest here.

        Returns:
            (n, d) float32 vectors of length 1.
        """
        ids, mask = self._pad(tokens)
        device = ids.device.type
        # No cache of cast weights: one made without a graph would cut off later gradients
        with torch.autocast(
            device, torch.bfloat16, enabled=self.precision == "bfloat16", cache_enabled=False
        ):
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        with torch.autocast(device, enabled=False):
            pooled = pool(states.float(), mask, self.ref.pooling)
            pooled = pooled if self.dense is None else self.dense(pooled)
            return F.normalize(pooled, dim=-1)

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        """Return (len(texts), d) float32 vectors of length 1; the language changes nothing."""
        return self.encode(self.tokenize_queries(texts))

    def encode_passages(self, texts: Sequence[str], language: str) -> Embeddings:
        """Return (len(texts), d) float32 vectors of length 1; the language changes nothing."""
        return self.encode(self.tokenize_passages(texts))

    def encode(self, tokens: Tokens) -> Embeddings:
        """Embed token arrays without dropout; equal arrays get equal vectors, to the bit.

        Args:
            tokens: n arrays of token ids.

        Returns:
            (n, d) float32 vectors of length 1, in order.
        """
        first: dict[bytes, int] = {}
        which = [first.setdefault(row.tobytes(), len(first)) for row in tokens]
        distinct = [np.frombuffer(key, dtype=np.int32) for key in first]
        training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                runs = cut([len(row) for row in distinct], self.encode_tokens)
                parts = [self([distinct[row] for row in run]).cpu().numpy() for run in runs]
        finally:
            self.train(training)
        if not parts:
            return np.empty((0, self._width()), dtype=np.float32)
        order = np.argsort(np.concatenate(runs), kind="stable")
        vectors: Embeddings = np.concatenate(parts)[order][which]
        return vectors

    def passage_reach(self, texts: Sequence[str]) -> list[int]:
        """Code points of each passage that are read before the limit cuts it."""
        prefix, limit = self.ref.passage_prefix, self.ref.max_passage_tokens
        found = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = [prefix + text for text in texts[start : start + TEXTS_AT_ONCE]]
            made = self.tokenizer(part, truncation=True, max_length=limit)
            if made.encodings is None:  # of SentencePiece: what it read, as far as it can be said
                read = [
                    self.tokenizer.decode(x, skip_special_tokens=True) for x in made["input_ids"]
                ]
                found += [max(0, len(text) - len(prefix)) for text in read]
                continue
            for encoding in made.encodings:
                last = max((end for _, end in encoding.offsets), default=0)
                found.append(max(0, last - len(prefix)))
        return found

    def save(self, folder: str | Path) -> None:
        """Write a folder that transformers, sentence-transformers and `load` read."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if fast := getattr(self.tokenizer, "backend_tokenizer", None):
            fast.no_truncation()
            fast.no_padding()
        with quiet(), whole_vocabulary(self.model):
            self.model.save_pretrained(folder)  # type: ignore[operator]
        self.tokenizer.save_pretrained(folder)
        if self.dense is not None:
            self.dense.save(folder / "2_Dense")
        for path, content in interchange(self.ref, self._hidden(), self.dense is not None).items():
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
            made = self.tokenizer(part, truncation=True, max_length=limit, padding=padding)
            rows += [np.array(ids, dtype=np.int32) for ids in made["input_ids"]]
            if made.encodings is not None:
                cut_short = sum(bool(encoding.overflowing) for encoding in made.encodings)
            else:  # of SentencePiece, as SigLIP's: it does not say what it cut
                cut_short = sum(len(ids) > limit for ids in self.tokenizer(part)["input_ids"])
            self.truncated[role] += cut_short
        return rows

    def _pad(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """(n, width) ids and mask, on the model's device."""
        lengths = np.array([len(row) for row in tokens])
        width = padded_width(int(lengths.max()), self.device.type, self._positions())
        mask = np.arange(width) < lengths[:, None]
        ids = np.full(mask.shape, self.tokenizer.pad_token_id, dtype=np.int64)
        ids[mask] = np.concatenate(list(tokens))
        both = torch.from_numpy(np.stack([ids, mask])).to(self.device, non_blocking=True)
        return both[0], both[1]

    def _positions(self) -> int:
        """Tokens that the model has positions for; 0 without a table of them."""
        config: Any = self.model.config
        table = getattr(config, "max_position_embeddings", None)
        if not isinstance(table, int) or table < 1:
            return 0
        return positions_for_text(config.model_type, table, int(self.tokenizer.pad_token_id))

    def _width(self) -> int:
        """Length of a vector."""
        return self._hidden() if self.dense is None else self.dense.linear.out_features

    def _hidden(self) -> int:
        """Length of a token's vector."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]


def held_tokens(layers: int, hidden: int, device: str) -> int:
    """Padded tokens whose activations fit in `HELD_BYTES`, of a transformer of this shape."""
    return int(HELD_BYTES.get(device, HELD_BYTES["cpu"]) // (BYTES_PER_UNIT * layers * hidden))


def padded_width(longest: int, device: str, positions: int = 0) -> int:
    """Tokens to which texts are padded.

    Args:
        longest: Tokens of the longest of them.
        device: Where they are embedded.
        positions: Tokens that the model has positions for, which padding does not exceed (CLIP has
            77); 0 without a limit.
    """
    multiple = MULTIPLES.get(device, 1)
    width = -(-longest // multiple) * multiple
    return max(longest, min(width, positions)) if positions else width


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """(n, d) from (n, tokens, d): the first or last real token's vector, or the mean over them."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)

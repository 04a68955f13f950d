"""How large transformers are: enough to count memory and operations without their weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.encoders.embedded import SPECIAL_TOKENS, VOCABULARY, embedded_size, is_embedded
from trainables.encoders.families import SEEING
from trainables.encoders.files.checkpoints import parts_of
from trainables.encoders.files.modules import load_config, read_config, read_layout
from trainables.encoders.files.packaged import PACKAGED
from trainables.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class Shape:
    """The size of a transformer that reads text.

    Attributes:
        kind: `model_type` of transformers.
        hidden: Length of a token's vector.
        layers: Transformer layers.
        heads: Of attention.
        inner: Width between the two matrices of a layer's feed-forward block.
        words: Rows of the table of word embeddings.
        positions: Rows of the table of positions.
        types: Rows of the table of token types.
        outputs: Length of a text's vector where a dense layer follows pooling, with a bias except
            in CLIP; 0 without one.
    """

    kind: str
    hidden: int
    layers: int
    heads: int
    inner: int
    words: int
    positions: int
    types: int = 0
    outputs: int = 0

    @property
    def word_embeddings(self) -> int:
        """Parameters of the table of words, which trials trim to the words they train on."""
        return self.words * self.hidden

    @property
    def embeddings(self) -> int:
        """Parameters of all tables that are looked up: no arithmetic is done with them."""
        return self.word_embeddings + (self.positions + self.types) * self.hidden

    @property
    def layer(self) -> int:
        """Parameters of a layer: four square matrices, two of the block, biases, two norms."""
        square = 4 * self.hidden * (self.hidden + 1)
        return square + 2 * self.hidden * self.inner + self.inner + 5 * self.hidden

    @property
    def without_embeddings(self) -> int:
        """Parameters of layers, of the norm that precedes or follows them, and of the dense one."""
        bias = self.kind != "clip_text_model"
        return self.layers * self.layer + 2 * self.hidden + (self.hidden + bias) * self.outputs

    @property
    def parameters(self) -> int:
        """All of them, without the pooler that nothing here reads."""
        return self.embeddings + self.without_embeddings

    @property
    def vector(self) -> int:
        """Length of a text's vector."""
        return self.outputs or self.hidden

    def config(self, **changes: Any) -> PretrainedConfig:
        """The configuration of such a transformer; `changes` replace values of it."""
        from transformers import AutoConfig

        sizes: dict[str, Any] = {
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.inner,
            "vocab_size": self.words,
            "max_position_embeddings": self.positions,
            "type_vocab_size": self.types,
        }
        names = NAMES.get(self.kind, {})
        values = {names.get(key, key): value for key, value in (sizes | changes).items()}
        padding = 1 if self.kind == "xlm-roberta" else 0
        return AutoConfig.for_model(self.kind, pad_token_id=padding, **values)


NAMES = {
    "distilbert": {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
    },
    **{key: {"intermediate_size": "d_ff"} for key in ("t5", "mt5", "umt5", "longt5")},
}
"""What configurations of a kind call their sizes, where they have names of their own."""

COUNTED = {"bert", "camembert", "clip_text_model", "distilbert", "roberta", "xlm-roberta"}
"""Kinds whose parameters are those of `Shape`; others are counted as a BERT of their size."""

_LARGE = Shape("xlm-roberta", 1024, 24, 16, 4096, 250_002, 514, 1)
_BASE = Shape("xlm-roberta", 768, 12, 12, 3072, 250_002, 514, 1)
_MINI = Shape("bert", 384, 12, 12, 1536, 250_037, 512, 2)
_LABSE = Shape("bert", 768, 12, 12, 3072, 501_153, 512, 2, outputs=768)
_CLIP = Shape("clip_text_model", 512, 12, 8, 2048, 49_408, 77, outputs=512)

KNOWN = {
    "FacebookAI/xlm-roberta-base": _BASE,
    "FacebookAI/xlm-roberta-large": _LARGE,
    "nreimers/mMiniLMv2-L6-H384-distilled-from-XLMR-Large": Shape(
        "xlm-roberta", 384, 6, 12, 1536, 250_002, 514, 1
    ),
    "nreimers/mMiniLMv2-L12-H384-distilled-from-XLMR-Large": Shape(
        "xlm-roberta", 384, 12, 12, 1536, 250_002, 514, 1
    ),
    "microsoft/Multilingual-MiniLM-L12-H384": _MINI,
    "intfloat/multilingual-e5-small": _MINI,
    "intfloat/multilingual-e5-base": _BASE,
    "intfloat/multilingual-e5-large": _LARGE,
    "BAAI/bge-m3": Shape("xlm-roberta", 1024, 24, 16, 4096, 250_002, 8194, 1),
    "google-bert/bert-base-multilingual-cased": Shape("bert", 768, 12, 12, 3072, 119_547, 512, 2),
    "sentence-transformers/LaBSE": _LABSE,
    "sentence-transformers/all-MiniLM-L6-v2": Shape("bert", 384, 6, 12, 1536, 30_522, 512, 2),
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": _MINI,
    "sentence-transformers/paraphrase-multilingual-mpnet-base-v2": _BASE,
    "openai/clip-vit-base-patch32": _CLIP,
    "openai/clip-vit-base-patch16": _CLIP,
    "openai/clip-vit-large-patch14": Shape(
        "clip_text_model", 768, 12, 12, 3072, 49_408, 77, outputs=768
    ),
    "sentence-transformers/clip-ViT-B-32-multilingual-v1": Shape(
        "distilbert", 768, 6, 12, 3072, 119_547, 512, outputs=512
    ),
    "M-CLIP/XLM-Roberta-Large-Vit-B-32": Shape(
        "xlm-roberta", 1024, 24, 16, 4096, 250_002, 514, 1, outputs=512
    ),
    "M-CLIP/XLM-Roberta-Large-Vit-L-14": Shape(
        "xlm-roberta", 1024, 24, 16, 4096, 250_002, 514, 1, outputs=768
    ),
    "M-CLIP/LABSE-Vit-L-14": _LABSE,
    # counted as a BERT of their size, which they are but for a norm
    "google/siglip2-base-patch16-224": Shape(
        "bert", 768, 12, 12, 3072, 256_000, 64, 2, outputs=768
    ),
    "Salesforce/blip2-itm-vit-g": Shape("bert", 768, 12, 12, 3072, 30_523, 512, 2, outputs=256),
}
"""Text encoders of the hub by id: of CLIP's checkpoints the text tower and its projection."""


def shape_of(name: str, folder: str | None) -> Shape:
    """The shape of the text encoder of this name.

    Args:
        name: Hub id, folder or `embedded/<rung>`, or two of them joined by `+`.
        folder: Its files, or two folders joined by `+`; None where they are not at hand.

    Raises:
        UserError: Nothing says how large it is.
    """
    if is_embedded(name):
        return embedded_shape(name)
    return known_shape(name) if folder is None else folder_shape(parts_of(folder)[0], name)


def embedded_shape(name: str) -> Shape:
    """The shape of an embedded encoder.

    Raises:
        UserError: An unknown name.
    """
    rung = embedded_size(name)
    positions = rung.tokens + SPECIAL_TOKENS.index("<pad>") + 1
    sizes = rung.width, rung.layers, rung.heads, rung.inner
    return Shape("xlm-roberta", *sizes, VOCABULARY, positions, 1)


def known_shape(name: str) -> Shape:
    """The shape of a checkpoint that is not at hand.

    Raises:
        UserError: It is not in the table.
    """
    name = name.split("+")[0]  # of two towers the one that reads
    if name in PACKAGED:
        name = PACKAGED[name].hub_id
    if name not in KNOWN:
        raise UserError(
            f"encoder {name!r} is not at hand, and its size is not known; fetch it once with "
            f"`hf download {name}`, or choose one of {', '.join(KNOWN)}"
        )
    return KNOWN[name]


def folder_shape(folder: Path, name: str) -> Shape:
    """The shape that a checkpoint's `config.json` gives: of CLIP, its text tower's.

    Raises:
        UserError: No checkpoint, or an architecture whose sizes have other names.
    """
    if read_config(folder, name)["model_type"] == "M-CLIP":
        return known_shape(name)  # its file names a transformer and does not describe it
    whole = load_config(folder)
    part = "qformer_config" if whole.model_type == "blip-2" else "text_config"
    config = getattr(whole, part, whole)
    names = NAMES.get(config.model_type, {})

    def size(key: str, default: int | None = None) -> int:
        value = getattr(config, names.get(key, key), default)
        if not isinstance(value, int):
            raise UserError(
                f"encoder {name!r}: config.json of a {config.model_type} says no {key}, so its "
                "cost is not known; run without --dry-run"
            )
        return value

    return Shape(
        kind=str(config.model_type),
        hidden=size("hidden_size"),
        layers=size("num_hidden_layers"),
        heads=size("num_attention_heads"),
        inner=size("intermediate_size"),
        words=size("vocab_size"),
        positions=size("max_position_embeddings", 0),
        types=size("type_vocab_size", 0),
        outputs=_outputs(folder) or (_projection(whole) if whole.model_type in SEEING else 0),
    )


def _projection(config: Any) -> int:
    """Length of a text's vector where pictures have vectors of the same length."""
    text = getattr(config, "text_config", config)
    said = (
        getattr(config, "image_text_hidden_size", None),
        getattr(config, "projection_dim", None),
        getattr(text, "projection_size", None),
    )
    return next((int(size) for size in said if isinstance(size, int)), 0)


def _outputs(folder: Path) -> int:
    """Length of a text's vector where layers after pooling change it; 0 elsewhere."""
    layout = read_layout(folder)
    sizes = [layer.settings["outputs"] for layer in layout.layers if layer.kind == "Dense"]
    return min([*sizes[-1:], layout.dimensions or sizes[-1]]) if sizes else 0

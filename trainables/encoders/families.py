"""How a checkpoint turns a text into a vector, read from its files and its name.

Knows no torch and no transformers, so a plan can be made without either.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from trainables import storage
from trainables.errors import UserError
from trainables.spec import EncoderRef, Pooling

OWN_FILE = "encoder.json"
"""Where a saved encoder keeps its pooling, prefixes and limits."""

OFFSET_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "xmod", "mpnet"}
"""Model types whose positions start after the padding id, which costs their tables two rows."""

IGNORED = re.compile(r"(^|/)(\.[^/]*|onnx|openvino|README\.md|.*\.h5|.*\.msgpack|.*\.ot)(/|$)")
"""Files of a checkpoint folder that cannot change a vector made with torch."""

WEB_QUESTION = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
)


@dataclass(frozen=True)
class Family:
    """What checkpoints of a family were trained with and do not say in their files.

    Attributes:
        marks: The name contains all of these.
        query_prefix: Put before queries.
        passage_prefix: Put before passages.
        pooling: How token vectors become one.
        tokens: Longest text in training, special tokens counted.
    """

    marks: tuple[str, ...]
    query_prefix: str = ""
    passage_prefix: str = ""
    pooling: Pooling = "mean"
    tokens: int = 512


FAMILIES = (
    Family(("e5", "instruct"), WEB_QUESTION),
    Family(("e5",), "query: ", "passage: "),
    Family(("labse",), pooling="cls", tokens=256),
    Family(("bge-m3",), pooling="cls", tokens=8192),
    Family(("arctic-embed",), "query: ", pooling="cls"),
    Family(("granite-embedding",), pooling="cls"),
    Family(("all-minilm",), tokens=256),
    Family(("paraphrase-multilingual",), tokens=128),
    Family(("clip", "multilingual"), tokens=128),
)
"""The first whose marks all stand in the name is taken; model cards are the source."""

CLIP = Family((), pooling="last", tokens=77)
"""CLIP's own text tower (Radford et al. 2021): the vector of the end of the text, projected."""

SIGLIP = Family((), pooling="last", tokens=64)
"""SigLIP's text tower (Zhai et al. 2023): the last of 64 tokens, padding read like text."""

BLIP2 = Family((), pooling="cls", tokens=32)
"""BLIP-2's querying transformer (Li et al. 2023) as it reads text, in training 32 tokens of it."""

M_CLIP = Family((), pooling="mean", tokens=512)
"""A multilingual transformer taught to say what CLIP's text tower says (Carlsson et al. 2022)."""

SEEING = {
    "clip": CLIP,
    "clip_text_model": CLIP,
    "metaclip_2": CLIP,
    "metaclip_2_text_model": CLIP,
    "siglip": SIGLIP,
    "siglip_text_model": SIGLIP,
    "siglip2": SIGLIP,
    "siglip2_text_model": SIGLIP,
    "blip-2": BLIP2,
    "M-CLIP": M_CLIP,
}
"""Model types whose text tower was trained with pictures, its projection in the same weights."""

IMAGES = "image_tower"
"""Where a saved encoder keeps its image tower."""

WITH_IMAGES = {
    "clip": "CLIPVisionModelWithProjection",
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "metaclip_2": "MetaClip2VisionModelWithProjection",
    "metaclip_2_vision_model": "MetaClip2VisionModelWithProjection",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
    "siglip2": "Siglip2VisionModel",
    "siglip2_vision_model": "Siglip2VisionModel",
    "blip-2": "Blip2VisionModelWithProjection",
}
"""Model types of checkpoints with an image tower, to the class of transformers that is it."""

RAW = Family((), "Query: ", "Passage: ")
"""A language model never trained to retrieve: mean pooling and the prefixes of the paper
(Elmahdy et al. 2024, https://arxiv.org/abs/2408.10536; it writes no blank and no pooling)."""


@dataclass(frozen=True)
class EncoderDefaults:
    """Everything between a text and its vector that is not in the weights of the transformer.

    Attributes:
        pooling: How token vectors become one.
        query_prefix: Put before queries, trailing blank included.
        passage_prefix: Put before passages, trailing blank included.
        max_query_tokens: Longer queries are cut, special tokens counted.
        max_passage_tokens: Longer passages are cut, special tokens counted.
        dense: Sub-folder of a dense layer after pooling, as LaBSE has it.
        projected: Whether the transformer was trained with pictures (`SEEING`).
        padded: Whether every text is padded to the limit, and the padding read like text.
    """

    pooling: Pooling
    query_prefix: str
    passage_prefix: str
    max_query_tokens: int
    max_passage_tokens: int
    dense: str | None = None
    projected: bool = False
    padded: bool = False


def family_defaults(folder: Path, name: str) -> EncoderDefaults:
    """Read defaults from what says it best: our own file, sentence-transformers', the name.

    Args:
        folder: The checkpoint, with `config.json`.
        name: Hub id or folder name, looked up in `FAMILIES`.

    Raises:
        UserError: No checkpoint in `folder`, or modules that this project cannot compute.
    """
    config = read_config(folder, name)
    modules = _modules(folder)
    family = _family(name)
    seeing = SEEING.get(config["model_type"])
    known = seeing if seeing and not modules else family or (Family(()) if modules else RAW)
    prompts = _read(folder / "config_sentence_transformers.json").get("prompts") or {}
    limit = _token_limit(folder, config, known)
    own = _read(folder / OWN_FILE)
    return EncoderDefaults(
        pooling=own.get("pooling") or _pooling(folder, modules) or known.pooling,
        query_prefix=own.get("query_prefix", prompts.get("query") or known.query_prefix),
        passage_prefix=own.get(
            "passage_prefix",
            prompts.get("passage") or prompts.get("document") or known.passage_prefix,
        ),
        max_query_tokens=own.get("max_query_tokens", limit),
        max_passage_tokens=own.get("max_passage_tokens", limit),
        dense=next((path for kind, path in modules if kind == "Dense"), None),
        projected=seeing is not None,
        padded=seeing is SIGLIP,
    )


def named_defaults(name: str) -> Family:
    """What the name alone says, for planning with a checkpoint that is not at hand."""
    text = name.split("+")[0]  # of two towers the one that reads
    lowered = text.lower()
    seeing = (("m-clip", M_CLIP), ("siglip", SIGLIP), ("blip", BLIP2), ("clip", CLIP))
    found = next((family for mark, family in seeing if mark in lowered), None)
    return M_CLIP if found is M_CLIP else _family(text) or found or RAW


def _family(name: str) -> Family | None:
    lowered = name.lower().replace("_", "-")
    return next((f for f in FAMILIES if all(mark in lowered for mark in f.marks)), None)


def encoder_ref(folder: Path, name: str | None = None) -> EncoderRef:
    """The encoder in `folder` with its defaults and the hash of its content.

    Args:
        folder: The checkpoint.
        name: Hub id; the folder's own name where None.
    """
    name = name or folder.resolve().name
    defaults = family_defaults(folder, name)
    return EncoderRef(
        name=name,
        digest=checkpoint_digest(folder),
        pooling=defaults.pooling,
        query_prefix=defaults.query_prefix,
        passage_prefix=defaults.passage_prefix,
        max_query_tokens=defaults.max_query_tokens,
        max_passage_tokens=defaults.max_passage_tokens,
    )


def checkpoint_digest(folder: Path) -> str:
    """20 hexadecimal digits that name the files that decide the vectors, by content."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return storage.tree_digest(
        {name: path for name, path in files.items() if path.is_file() and not IGNORED.search(name)}
    )


def find_checkpoint(source: str | Path, *, download: bool = False) -> Path:
    """The folder of a checkpoint: `source` itself, or the hub's local cache of it.

    Args:
        source: A folder or a hub id, such as `intfloat/multilingual-e5-small`.
        download: Whether the hub may be asked for what the cache lacks.

    Raises:
        UserError: Neither a checkpoint folder nor in the cache nor, if allowed, on the hub.
    """
    folder = Path(source)
    if folder.is_dir():
        read_config(folder, str(source))
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(source), local_files_only=not download))
    except Exception as error:
        tried = "could not be downloaded" if download else "is not in the local cache of the hub"
        raise UserError(
            f"encoder {str(source)!r}: no such folder, and as a hub id it {tried} "
            f"({type(error).__name__}). Give a folder with config.json and weights, or fetch it "
            f"once with `hf download {source}` and run again; nothing is downloaded silently"
        ) from None


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """`config.json` of a checkpoint.

    Raises:
        UserError: The folder lacks it.
    """
    config = _read(folder / "config.json")
    if "model_type" not in config:
        raise UserError(
            f"encoder {name!r}: {folder} has no config.json with a model_type; "
            "give the folder of a Hugging Face checkpoint (config.json, weights, tokenizer)"
        )
    return config


def sees(folder: Path) -> bool:
    """Whether a checkpoint has an image tower."""
    kind = read_config(folder, str(folder))["model_type"]
    return (folder / IMAGES).is_dir() or kind in WITH_IMAGES


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the file is missing."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); restore the file") from None
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _modules(folder: Path) -> list[tuple[str, str]]:
    """(kind, sub-folder) of each sentence-transformers module, in order."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    modules = [(m["type"].rsplit(".", 1)[-1], m["path"]) for m in json.loads(path.read_text())]
    kinds = [kind for kind, _ in modules]
    plain = [kind for kind in kinds if kind != "Normalize"]
    if plain not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Dense"]):
        raise UserError(
            f"{path}: modules {', '.join(kinds)} are not supported; allowed are Transformer, "
            "Pooling, at most one Dense, and Normalize. Choose another checkpoint"
        )
    return modules


def _pooling(folder: Path, modules: list[tuple[str, str]]) -> Pooling | None:
    """The pooling that the files name; None where there are no such files."""
    path = next((path for kind, path in modules if kind == "Pooling"), None)
    if path is None:
        return None
    config = _read(folder / path / "config.json")
    on = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    mode = config.get("pooling_mode", on[0] if len(on) == 1 else " and ".join(on) or "mean")
    pooling = POOLINGS.get(mode if isinstance(mode, str) else "")
    if pooling is None or not config.get("include_prompt", True):
        prompt = "" if config.get("include_prompt", True) else " without the prompt's tokens"
        raise UserError(
            f"{folder / path / 'config.json'}: pooling {mode}{prompt} is not supported; "
            "allowed are mean, cls and lasttoken over all tokens. Choose another checkpoint"
        )
    return pooling


POOLINGS: dict[str, Pooling] = {
    "mean": "mean",
    "cls": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "lasttoken": "last",
    "pooling_mode_lasttoken": "last",
}
"""Names of pooling in the files of sentence-transformers, before and since version 5.4."""


def _token_limit(folder: Path, config: dict[str, Any], family: Family) -> int:
    """Longest text in training, never above the table of positions."""
    trained = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    if trained is None:
        said = _read(folder / "tokenizer_config.json").get("model_max_length", family.tokens)
        trained = min(family.tokens, said)
    part = "qformer_config" if config["model_type"] == "blip-2" else "text_config"
    table = (config.get(part) or config).get("max_position_embeddings")
    if not isinstance(table, int) or table < 1:
        return int(trained)
    padding = int(config.get("pad_token_id", 1))
    return min(int(trained), positions_for_text(config["model_type"], table, padding))


def positions_for_text(kind: str, table: int, padding: int = 1) -> int:
    """Tokens that a table of positions has room for.

    Args:
        kind: `model_type` of transformers.
        table: Rows of it.
        padding: Id of the padding token.
    """
    return table - (padding + 1 if kind in OFFSET_POSITIONS else 0)

"""Pooling, prefixes and limits of a checkpoint: defaults from its files and its name.

Imports neither torch nor transformers; only checks of a checkpoint's configuration load them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from trainables.encoders.files.modules import (
    IGNORED,
    SETTINGS,
    Layout,
    check_weights,
    declared_positions,
    get,
    load_config,
    load_encoder_config,
    positions,
    read_config,
    read_layout,
    read_object,
    token_limit,
)
from trainables.encoders.files.packaged import packaged_folder
from trainables.errors import DataError, UserError
from trainables.spec import EncoderRef, Pooling, format_validation_error
from trainables.storage import atomic as storage
from trainables.storage.paths import files_under

OWN_FILE = "encoder.json"
"""File of a saved encoder with its pooling, prefixes and limits."""

WEB_QUESTION = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
)


@dataclass(frozen=True)
class Family:
    """How a family of checkpoints was trained, which their files do not say.

    Attributes:
        marks: Substrings that the name must all contain.
        query_prefix: Prefix of queries.
        passage_prefix: Prefix of passages.
        pooling: How token vectors become one.
        tokens: Maximum length of a text in training, special tokens included.
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
"""Families from model cards; the first whose marks are all in the name applies."""

CLIP = Family((), pooling="last", tokens=77)
"""CLIP's own text tower (Radford et al. 2021): the projected vector of the end token."""

SIGLIP = Family((), pooling="last", tokens=64)
"""SigLIP's text tower (Zhai et al. 2023): the last of 64 tokens, with padding read like text."""

BLIP2 = Family((), pooling="cls", tokens=32)
"""BLIP-2's querying transformer (Li et al. 2023) on texts, of which training read 32 tokens."""

M_CLIP = Family((), pooling="mean", tokens=512)
"""Multilingual transformer distilled from CLIP's text tower (Carlsson et al. 2022)."""

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
"""Model types with a text tower that was trained with pictures, projection in the same weights."""

IMAGES = "image_tower"
"""Folder of a saved encoder that holds its image tower."""

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
"""Model types of checkpoints with an image tower, and its class in transformers."""

RAW = Family((), "Query: ", "Passage: ")
"""Language model never trained to retrieve: mean pooling and the prefixes of the paper (Elmahdy et
al. 2024, https://arxiv.org/abs/2408.10536, which gives neither trailing blank nor pooling)."""


@dataclass(frozen=True)
class EncoderDefaults:
    """All that turns a text into its vector besides the transformer's weights.

    Attributes:
        pooling: How token vectors become one.
        query_prefix: Prefix of queries, trailing blank included.
        passage_prefix: Prefix of passages, trailing blank included.
        max_query_tokens: Length at which queries are cut, special tokens included.
        max_passage_tokens: Length at which passages are cut, special tokens included.
        layout: Structure of the checkpoint.
        projected: Whether the transformer was trained with pictures (`SEEING`).
        padded: Whether every text is padded to the limit, and the padding read like text.
    """

    pooling: Pooling
    query_prefix: str
    passage_prefix: str
    max_query_tokens: int
    max_passage_tokens: int
    layout: Layout
    projected: bool = False
    padded: bool = False


def family_defaults(
    folder: Path, name: str, given: Mapping[str, Any] = MappingProxyType({})
) -> EncoderDefaults:
    """Read defaults by precedence: `given`, this project's file, sentence-transformers', the name.

    Args:
        folder: Checkpoint folder, with `config.json`.
        name: Hub id or folder name, looked up in `FAMILIES`.
        given: Fields of `EncoderRef` that replace the checkpoint's own.

    Raises:
        DataError: No checkpoint in `folder`, a broken file, or settings that this project cannot
            compute.
    """
    config, layout = read_config(folder, name), read_layout(folder)
    family = _family(name)
    seeing = SEEING.get(config["model_type"])
    saved = layout.pooling is not None
    known = (
        seeing
        if seeing and not saved
        else family or (Family(()) if saved else _raw(folder, config))
    )
    limit = token_limit(layout, config, None if saved else known.tokens)
    chosen = {**_saved_settings(folder), **given}
    pooling = chosen.get("pooling", layout.pooling or known.pooling)
    prompts = layout.prompts  # if a file has any, those of the family do not apply
    query = chosen.get("query_prefix", prompts.get("query", "" if prompts else known.query_prefix))
    passage = chosen.get("passage_prefix")
    if passage is None:
        passage = _passage_prefix(folder / SETTINGS, prompts, known)
    if layout.pools_no_prompt is not None and (query or passage):
        file = layout.pools_no_prompt
        raise DataError(
            f"{file}: pooling without the tokens of the prompt (include_prompt false) is not "
            f"supported where there is one ({query or passage!r}); choose another checkpoint, or "
            "set query_prefix and passage_prefix to nothing",
            file,
            None,
            "include_prompt",
        )
    limits = {
        "max_query_tokens": layout.limits.get("query_length", limit),
        "max_passage_tokens": layout.limits.get("document_length", limit),
    }
    most = positions(folder / "config.json", config)
    declared = most or declared_positions(folder / "config.json", config)
    for key, value in limits.items():
        limits[key] = chosen.get(key, value if most is None else min(value, most))
        if declared and key in chosen and chosen[key] > max(declared, value if most is None else 0):
            where = f"encoder {name!r}" if key in given else str(folder / OWN_FILE)
            raise DataError(
                f"{where}: {key} is {chosen[key]}, but this encoder has positions for {declared} "
                f"tokens; allowed are 3 to {declared}",
                folder if key in given else folder / OWN_FILE,
                None,
                key,
            )
    return EncoderDefaults(
        pooling=pooling,
        query_prefix=query,
        passage_prefix=passage,
        **limits,
        layout=layout,
        projected=seeing is not None,
        padded=seeing is SIGLIP,
    )


def _raw(folder: Path, config: Mapping[str, Any]) -> Family:
    """Return the family of models never trained to retrieve; a causal one pools the last token."""
    names = get(folder / "config.json", config, "architectures", list, [])
    forward = str(names[:1]).endswith("ForCausalLM']") and config.get("is_causal", True)
    return replace(RAW, pooling="last") if forward else RAW


def _saved_settings(folder: Path) -> dict[str, Any]:
    """Read the settings that this project wrote when it saved the encoder."""
    file = folder / OWN_FILE
    content = read_object(file)
    kinds: dict[str, type] = dict.fromkeys(("query_prefix", "passage_prefix", "pooling"), str)
    kinds |= dict.fromkeys(("max_query_tokens", "max_passage_tokens"), int)
    values = {key: get(file, content, key, kind, None) for key, kind in kinds.items()}
    return {key: value for key, value in values.items() if value is not None}


def _passage_prefix(file: Path, prompts: Mapping[str, str], known: Family) -> str:
    """Return the `document` prompt; refuse others, which sentence-transformers ignores."""
    if "document" in prompts:
        return prompts["document"]
    for name in ("passage", "corpus"):
        if name in prompts and prompts[name] == known.passage_prefix:
            return known.passage_prefix
        if prompts.get(name):
            raise DataError(
                f"{file}: prompts has {name!r} ({prompts[name]!r}) and no 'document'; "
                "sentence-transformers documents it as the prompt of documents and does not use "
                "it. Say which is meant: rename it to 'document', or set passage_prefix",
                file,
                None,
                f"prompts.{name}",
            )
    return "" if prompts else known.passage_prefix


def named_defaults(name: str) -> Family:
    """Look up a family by name alone, to plan with a checkpoint that is not on this machine."""
    text = name.split("+")[0]  # of two towers, the one for text
    lowered = text.lower()
    seeing = (("m-clip", M_CLIP), ("siglip", SIGLIP), ("blip", BLIP2), ("clip", CLIP))
    family_of = next((family for mark, family in seeing if mark in lowered), None)
    return M_CLIP if family_of is M_CLIP else _family(text) or family_of or RAW


def _family(name: str) -> Family | None:
    lowered = name.lower().replace("_", "-")
    return next((f for f in FAMILIES if all(mark in lowered for mark in f.marks)), None)


def encoder_ref(
    folder: Path, name: str | None = None, given: Mapping[str, Any] = MappingProxyType({})
) -> EncoderRef:
    """Return the reference of the encoder in `folder`: its defaults and the hash of its content.

    Args:
        folder: Checkpoint folder.
        name: Hub id; None for the folder's own name.
        given: Fields of `EncoderRef` that replace the checkpoint's own.
    """
    name = name or folder.resolve().name
    defaults = family_defaults(folder, name, given)
    check_weights(folder)
    if not defaults.projected:
        load_encoder_config(folder)
    elif read_config(folder, name)["model_type"] != "M-CLIP":  # unknown to transformers
        load_config(folder)
    try:
        return EncoderRef(
            name=name,
            digest=checkpoint_digest(folder),
            pooling=defaults.pooling,
            query_prefix=defaults.query_prefix,
            passage_prefix=defaults.passage_prefix,
            max_query_tokens=defaults.max_query_tokens,
            max_passage_tokens=defaults.max_passage_tokens,
        )
    except ValidationError as error:
        raise DataError(f"{folder}: {format_validation_error(error)}", folder) from None


def checkpoint_digest(folder: Path) -> str:
    """Return 20 hexadecimal digits that identify by content the files that decide vectors."""
    names = [name for name in files_under(folder) if not IGNORED.search(name)]
    return storage.tree_digest({name: folder / name for name in names})


def find_checkpoint(source: str | Path, *, download: bool = False) -> Path:
    """Return a checkpoint's folder: `source` itself, an installed package's, or the hub cache's.

    Args:
        source: Folder, packaged name or hub id, such as `intfloat/multilingual-e5-small`.
        download: Whether to ask the hub for what the cache lacks.

    Raises:
        UserError: No checkpoint folder, nor in the cache, nor on the hub if that may be asked.
    """
    folder = Path(source)
    if os.path.isdir(folder):
        read_config(folder, str(source))
        return folder
    if packaged := packaged_folder(str(source)):
        return packaged
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


def sees(folder: Path) -> bool:
    """Whether a checkpoint has an image tower."""
    kind = read_config(folder, str(folder))["model_type"]
    return (folder / IMAGES).is_dir() or kind in WITH_IMAGES

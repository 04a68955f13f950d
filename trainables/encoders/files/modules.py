"""Configuration files of a checkpoint folder, read as sentence-transformers 6 reads them.

Settings that this project cannot compute are refused by file, key and value. This module
does not import torch, and transformers only where that checks its own configuration.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from trainables.errors import DataError
from trainables.spec import POOLING_MODES, Pooling

T = TypeVar("T")

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"

IGNORED = re.compile(r"(^|/)(\.[^/]*|onnx|openvino|README\.md|.*\.h5|.*\.msgpack|.*\.ot)(/|$)")
"""Files of a checkpoint folder that decide no vector in torch; none of them is loaded."""

INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")

TRANSFORMER_SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Candidate files, of which the first that is not empty is read."""

LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Keys from before version 5.4, in the order in which their vectors are concatenated."""

AFTER_POOLING = ("Dense", "LayerNorm", "Dropout", "Normalize")

VECTOR = "sentence_embedding"

ENCODERS = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
}
"""Model types of which only the encoder is loaded, and its class in transformers."""

READS_PADDING = {"convbert", "fnet", "mobilebert", "nystromformer", "reformer", "yoso"}
"""Model types where a text's vectors depend on its padding, and so on the texts beside it."""

OFFSET_POSITIONS = {
    "camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "markuplm", "mpnet",
    "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
"""Model types whose positions start after the padding id, so two rows of the table are unused."""

LARGEST_TEXT = 2**27
"""Maximum bytes of a file beside the weights; the largest tokenizers take a third of it."""

MOST_PARTS = 1_024
"""Maximum number of parts, beyond any model: building more might never end."""

_PARTS = re.compile(r"(num|n)_(\w+_)?(layers?|experts?|blocks?|groups?)|inner_group_num")
"""Keys of a configuration that say how many parts of a kind a model has."""

WITHOUT_EFFECT = {
    "model": {
        "add_pooling_layer", "attn_implementation", "device_map", "dtype", "low_cpu_mem_usage",
        "torch_dtype", "trust_remote_code", "use_cache", "use_safetensors",
    },
    "processor": {"padding_side", "trust_remote_code", "use_fast"},
    "config": {"trust_remote_code", "use_cache"},
}  # fmt: skip
"""Options of transformers in checkpoint files that change no vector computed in float32."""

TOKENIZER_OPTIONS = {"clean_up_tokenization_spaces", "model_max_length", "truncation_side"}

ANOTHER = "Choose another checkpoint"

WORDS = {
    int: "a whole number",
    bool: "true or false",
    str: "a text",
    list: "a list",
    dict: "an object",
}


@dataclass(frozen=True)
class Layer:
    """Module after pooling.

    Attributes:
        kind: One of `AFTER_POOLING`.
        folder: Folder of its files.
        settings: Checked configuration.
    """

    kind: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """Structure of a checkpoint folder.

    Attributes:
        transformer: Folder of `config.json`, weights and tokenizer.
        pooling: How token vectors become one; None if no file says.
        pools_no_prompt: File that excludes a prompt's tokens from pooling; None if none does.
        layers: Modules after pooling, without a final Normalize, as every vector is normalised.
        prompts: Prompts by name, without null ones.
        dimensions: Leading components to keep of a vector (Matryoshka, `truncate_dim`); None: all.
        limits: `max_seq_length`, `query_length` and `document_length`, as far as they are given.
        lower_case: Whether texts are lower-cased before they are tokenised.
        tokenizer: Options for opening the tokenizer.
    """

    transformer: Path
    pooling: Pooling | None = None
    pools_no_prompt: Path | None = None
    layers: tuple[Layer, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    dimensions: int | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    lower_case: bool = False
    tokenizer: Mapping[str, Any] = field(default_factory=dict)


def read_layout(folder: Path) -> Layout:
    """Read the structure of a folder; without `modules.json` it is a bare transformer.

    Raises:
        DataError: A file is broken, or has modules or settings that this project cannot compute.
    """
    modules = _modules(folder)
    if not modules:
        return Layout(folder)
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= set(AFTER_POOLING):
        raise _refused(
            folder / MODULES,
            "type",
            f"modules {', '.join(kinds)} are not supported; allowed are Transformer, Pooling and "
            f"then any of {', '.join(AFTER_POOLING)}. {ANOTHER}",
        )
    (_, transformer), (_, pooling), *after = modules
    layers = [_layer(kind, path) for kind, path in after]
    modes, pools_no_prompt = _pooling(pooling / "config.json")
    prompts, dimensions = _settings(folder / SETTINGS, kinds[-1] == "Normalize")
    limits, lower_case, tokenizer = _transformer_settings(transformer)
    if layers and layers[-1].kind == "Normalize":
        layers.pop()
    return Layout(
        transformer,
        modes,
        pools_no_prompt,
        tuple(layers),
        prompts,
        dimensions,
        limits,
        lower_case,
        tokenizer,
    )


def transformer_folder(folder: Path) -> Path:
    """Return the folder of a checkpoint's `config.json`, weights and tokenizer."""
    modules = _modules(folder)
    return modules[0][1] if modules and modules[0][0] == "Transformer" else folder


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Read `config.json` of a checkpoint's transformer.

    Raises:
        DataError: The file is missing or unreadable, or there is an adapter.
    """
    inside = transformer_folder(folder)
    for file in {folder / "adapter_config.json", inside / "adapter_config.json"}:
        if file.is_file():
            raise _refused(
                file,
                None,
                "an adapter (PEFT) is not supported; load model and adapter with peft, call "
                "merge_and_unload() and save_pretrained(), and name that folder",
            )
    file = inside / "config.json"
    config = read_object(file)
    if not get(file, config, "model_type", str, ""):
        raise DataError(
            f"encoder {name!r}: {folder} has no config.json with a model_type; "
            "give the folder of a Hugging Face checkpoint (config.json, weights, tokenizer)",
            file,
            None,
            "model_type",
        )
    return config


def load_config(folder: Path) -> Any:
    """Load a transformer's configuration with transformers.

    Raises:
        DataError: A broken value, or a model type that needs code from the checkpoint.
    """
    from transformers import AutoConfig

    file = transformer_folder(folder) / "config.json"
    _refuse_too_many_parts(file, read_object(file))
    try:
        return AutoConfig.from_pretrained(
            file.parent, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # foreign values can raise anything in transformers
        content = read_object(file)
        if "auto_map" in content:
            raise _refused(
                file,
                "auto_map",
                f"a {content.get('model_type')} needs code that comes with the checkpoint, and no "
                f"such code is run. {ANOTHER}",
            ) from None
        raise _refused(
            file, None, f"transformers cannot read it: {brief(error)}; restore the file"
        ) from None


def _refuse_too_many_parts(file: Path, config: Mapping[str, Any]) -> None:
    """Refuse a configuration, nested ones included, with more parts than can be built."""
    waiting = [*config.items()]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, int) and value > MOST_PARTS and _PARTS.fullmatch(key):
            raise _wrong(file, key, value, f"a number up to {MOST_PARTS}")


def load_encoder_config(folder: Path) -> Any:
    """Load a configuration like `load_config`, and require a text encoder.

    Raises:
        DataError: Another type of model.
    """
    from transformers import MODEL_MAPPING

    config, file = load_config(folder), transformer_folder(folder) / "config.json"
    if type(config) not in MODEL_MAPPING or (
        config.is_encoder_decoder and config.model_type not in ENCODERS
    ):
        reason = "an encoder with a decoder" if config.is_encoder_decoder else "no text encoder"
        raise _refused(
            file,
            "model_type",
            f"{config.model_type} is not supported: it is {reason}. {ANOTHER}",
        )
    if config.model_type in READS_PADDING:
        raise _refused(
            transformer_folder(folder) / "config.json",
            "model_type",
            f"{config.model_type} is not supported: it reads padding too, so the vector of a text "
            f"depends on the texts beside it. {ANOTHER}",
        )
    return config


def check_weights(folder: Path) -> None:
    """Refuse weights that cannot be read or lie outside the folder, and other unsupported files.

    Raises:
        DataError: Quantised weights, code from the hub, an index that names missing or outside
            files, or a file that is too large.
    """
    inside = transformer_folder(folder)
    for file in sorted(inside.glob("*")):
        if file.suffix in (".json", ".txt", ".model"):
            _refuse_large(file)
    config = inside / "config.json"
    content = read_object(config)
    if content.get("quantization_config"):
        raise _refused(
            config, "quantization_config", f"quantised weights are not supported. {ANOTHER}"
        )
    for key in ("attn_implementation", "_attn_implementation"):
        if "/" in str(content.get(key)):
            raise _refused(
                config, key, f"{content[key]!r} is code from the hub, which is not run. {ANOTHER}"
            )
    if weights := get(config, content, "transformers_weights", str, ""):
        _inside(config, "transformers_weights", weights)
    for index in (inside / name for name in INDICES):
        shards = get(index, read_object(index), "weight_map", dict, {})
        for shard in sorted(map(str, shards.values())):
            _inside(index, "weight_map", shard)
            if not (inside / shard).is_file():
                raise _refused(
                    index, "weight_map", f"names {shard!r}, which is not there; restore the file"
                )
    tokenizer = inside / "tokenizer_config.json"
    for name in get(tokenizer, read_object(tokenizer), "fast_tokenizer_files", list, []):
        _inside(tokenizer, "fast_tokenizer_files", name)


def token_limit(layout: Layout, config: Mapping[str, Any], trained: int | None) -> int:
    """Return the maximum length of a text in tokens, special ones included.

    Args:
        layout: Structure of the checkpoint.
        config: Its `config.json`.
        trained: Length in training for families without settings; None if the files of
            sentence-transformers decide.
    """
    of_model, file = (layout.transformer / f"{x}config.json" for x in ("", "tokenizer_"))
    limit = layout.limits.get("max_seq_length")
    if limit is None:
        most = read_object(file).get("model_max_length")
        if most is not None and (isinstance(most, bool) or not isinstance(most, int | float)):
            raise _wrong(file, "model_max_length", most, "a number")
        rows = declared_positions(of_model, config)
        limit = int(min(most or UNBOUNDED, rows or UNBOUNDED, trained or UNBOUNDED))
    table = positions(of_model, config)
    return limit if table is None else min(limit, table)


UNBOUNDED = 1_000_000
"""Maximum tokens of a text where no file gives a limit."""


def positions(file: Path, config: Mapping[str, Any]) -> int | None:
    """Return the number of tokens with trained positions; None if any number can be read.

    Args:
        file: File of the configuration, for messages.
        config: Configuration of the transformer.
    """
    declared, kind = declared_positions(file, config), config["model_type"]
    if kind == "M-CLIP":  # its file does not say
        return 512
    relative = any("rope" in key or "rotary" in key for key in config) or kind == "llama"
    relative |= config.get("position_embedding_type") == "rotary"
    if declared is None or relative or config.get("position_biased_input") is False:
        return None
    return positions_for_text(kind, declared, get(file, config, "pad_token_id", int, 1))


def declared_positions(file: Path, config: Mapping[str, Any]) -> int | None:
    """Return `max_position_embeddings` of the part that reads text; None if it has none."""
    part = "qformer_config" if config["model_type"] == "blip-2" else "text_config"
    text = get(file, config, part, dict, {}) or config
    rows = text.get("max_position_embeddings", text.get("n_positions"))
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int)):
        raise _wrong(file, "max_position_embeddings", rows, WORDS[int])
    return rows if rows is not None and rows > 0 else None


def positions_for_text(kind: str, table: int, padding: int = 1) -> int:
    """Return the number of tokens for which a table of positions has room.

    Args:
        kind: `model_type` of transformers.
        table: Number of rows of the table.
        padding: Id of the padding token.
    """
    return table - (padding + 1 if kind in OFFSET_POSITIONS else 0)


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing.

    Raises:
        DataError: The file is unreadable or holds something else.
    """
    value = _read_json(path, {})
    if not isinstance(value, dict):
        raise _refused(path, None, "is no JSON object; restore the file")
    return value


def get(file: Path, content: Mapping[str, Any], key: str, kind: type[T], default: T) -> T:
    """Return a value of the right type; null counts as missing.

    Raises:
        DataError: A value of another type.
    """
    value = content.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(file, key, value, WORDS[kind])
    return value


def brief(error: Exception) -> str:
    """Return the first line of a library's error message, or the error's type."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _refuse_large(file: Path) -> None:
    """Refuse a file that would take many times its large size in memory once read.

    Raises:
        DataError: It is larger than any such file should be.
    """
    if file.exists() and file.stat().st_size > LARGEST_TEXT:
        raise _refused(file, None, f"is larger than {LARGEST_TEXT >> 20} MB. {ANOTHER}")


def _read_json(path: Path, default: Any) -> Any:
    if not os.path.isfile(path):
        return default
    _refuse_large(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise _refused(path, None, f"not JSON ({error}); restore the file") from None


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """List (kind, folder) of each module, in order; empty without `modules.json`."""
    file = folder / MODULES
    entries = _read_json(file, None)
    if entries is None:
        if (folder / SETTINGS).is_file():
            raise _refused(
                file, None, f"is missing, though there is a {SETTINGS}; restore the file"
            )
        return []
    if not isinstance(entries, list) or not entries:
        raise _refused(file, None, "is no list of modules; restore the file")
    modules, names = [], set()
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise _wrong(file, str(number), entry, "an object with type and path")
        kind, path = entry.get("type"), entry.get("path")
        if not isinstance(kind, str) or not isinstance(path, str):
            key = "path" if isinstance(kind, str) else "type"
            raise _wrong(file, key, entry.get(key), "a text")
        if not kind.startswith("sentence_transformers."):
            raise _refused(
                file, "type", f"module {kind} is code of its own, which is not run. {ANOTHER}"
            )
        if (name := get(file, entry, "name", str, str(number))) in names:
            raise _refused(file, "name", f"two modules are called {name!r}; restore the file")
        names.add(name)
        modules.append((kind.rsplit(".", 1)[-1], folder / _inside(file, "path", path)))
    return modules


def _inside(file: Path, key: str, path: object) -> str:
    """Return a path named in a file, if it leads to what the folder's digest covers."""
    windows = PureWindowsPath(path if isinstance(path, str) else "..")
    plain = "" if str(windows) == "." else windows.as_posix()  # normalises `./x` to `x`
    if windows.anchor or ".." in windows.parts or "\0" in plain or IGNORED.search(plain):
        raise _refused(
            file, key, f"{path!r} leads out of the folder, from which nothing is read. {ANOTHER}"
        )
    return str(path)


def _layer(kind: str, folder: Path) -> Layer:
    file = folder / "config.json"
    config = read_object(file)
    if kind in ("Dense", "LayerNorm") and not config:
        raise _refused(file, None, "is missing; restore the file")
    for key in ("module_input_name", "module_output_name"):
        if (name := get(file, config, key, str, VECTOR)) != VECTOR:
            raise _refused(file, key, f"{name!r} is not supported; allowed is {VECTOR}. {ANOTHER}")
    if kind == "Dense":
        settings: dict[str, Any] = {
            "inputs": _size(file, config, "in_features"),
            "outputs": _size(file, config, "out_features"),
            "bias": get(file, config, "bias", bool, True),
            "residual": get(file, config, "use_residual", bool, False),
            "activation": get(
                file, config, "activation_function", str, "torch.nn.modules.activation.Tanh"
            ),
        }
        if not re.fullmatch(r"torch\.nn\.(modules\.\w+\.)?\w+", settings["activation"]):
            raise _refused(
                file,
                "activation_function",
                f"{settings['activation']} is not supported; allowed are modules of torch.nn. "
                f"{ANOTHER}",
            )
        return Layer(kind, folder, settings)
    if kind == "LayerNorm":
        return Layer(kind, folder, {"inputs": _size(file, config, "dimension")})
    if kind == "Dropout":
        rate = config.get("dropout", 0.2)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise _wrong(file, "dropout", rate, "a number from 0 to 1")
        return Layer(kind, folder, {"rate": float(rate)})
    return Layer(kind, folder)


def _size(file: Path, config: Mapping[str, Any], key: str) -> int:
    if (size := get(file, config, key, int, 0)) < 1:
        raise _wrong(file, key, config.get(key), "a whole number above 0")
    return size


def _pooling(file: Path) -> tuple[Pooling, Path | None]:
    """Return the modes joined by `+`, and the file if it excludes the prompt's tokens."""
    config = read_object(file)
    if not config:
        raise _refused(file, None, "is missing; restore the file")
    known = {*LEGACY_POOLING, "pooling_mode", "include_prompt"}
    known |= {"word_embedding_dimension", "embedding_dimension"}
    if unknown := sorted(set(config) - known):
        raise _refused(file, unknown[0], f"{unknown[0]} is not supported. {ANOTHER}")
    given = config.get("pooling_mode")
    if given is None:
        given = [m for k, m in LEGACY_POOLING.items() if get(file, config, k, bool, False)]
    modes = [given] if isinstance(given, str) else given if isinstance(given, list) else [None]
    modes = ["last" if mode == "lasttoken" else mode for mode in modes] or ["mean"]
    if not all(mode in POOLING_MODES for mode in modes):
        allowed = ", ".join(LEGACY_POOLING.values())
        raise _wrong(file, "pooling_mode", given, f"{allowed}, or a list of them")
    whole = get(file, config, "include_prompt", bool, True)
    return "+".join(modes), None if whole else file


def _settings(file: Path, normalised: bool) -> tuple[dict[str, str], int | None]:
    """Return the prompts, and the number of vector components to keep."""
    config = read_object(file)
    kind = get(file, config, "model_type", str, "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise _refused(file, "model_type", f"a {kind} has no single vector a text. {ANOTHER}")
    similarity = get(file, config, "similarity_fn_name", str, "cosine")
    if similarity != "cosine" and not (normalised and similarity in ("dot", "euclidean")):
        raise _refused(
            file,
            "similarity_fn_name",
            f"{similarity!r} is not supported without a Normalize at the end of the modules: "
            f"vectors have length 1 here, and their score is the cosine. {ANOTHER}",
        )
    prompts = get(file, config, "prompts", dict, {})
    for name, prompt in prompts.items():
        if not isinstance(prompt, str | None):
            raise _wrong(file, f"prompts.{name}", prompt, "a text")
    default = get(file, config, "default_prompt_name", str, "query")
    if default not in {"query", "document", *prompts}:
        raise _wrong(file, "default_prompt_name", default, "the name of one of the prompts")
    cut = config.get("truncate_dim") is not None
    dimensions = _size(file, config, "truncate_dim") if cut else None
    return {name: text for name, text in prompts.items() if text is not None}, dimensions


def _transformer_settings(folder: Path) -> tuple[dict[str, int], bool, dict[str, Any]]:
    """Return limits, whether texts are lower-cased, and options of the tokenizer."""
    files = [folder / name for name in TRANSFORMER_SETTINGS]
    file = next((path for path in files if read_object(path)), files[0])
    config = read_object(file)
    lengths = ("max_seq_length", "query_length", "document_length")
    limits = {key: _size(file, config, key) for key in lengths if config.get(key) is not None}
    expected: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "module_output_name": "token_embeddings",
        "modality_config": {
            "text": {"method": "forward", "method_output_name": "last_hidden_state"}
        },
    }
    for key, value in expected.items():
        if config.get(key) not in (None, value):
            raise _refused(
                file, key, f"{config[key]!r} is not supported; allowed is {value!r}. {ANOTHER}"
            )
    options: dict[str, Any] = {}
    for part, old in (("model", "model"), ("processor", "tokenizer"), ("config", "config")):
        for key in (f"{old}_args", f"{part}_kwargs"):
            given = get(file, config, key, dict, {})
            allowed = WITHOUT_EFFECT[part] | (TOKENIZER_OPTIONS if part == "processor" else set())
            if unknown := sorted(set(given) - allowed):
                raise _refused(
                    file, key, f"option {unknown[0]} of {part} is not supported. {ANOTHER}"
                )
            options |= {k: v for k, v in given.items() if k in TOKENIZER_OPTIONS}
    if "model_max_length" in options:  # takes precedence over max_seq_length
        limits["max_seq_length"] = _size(file, options, "model_max_length")
    plain = {*lengths, *expected, "do_lower_case", "unpad_inputs"}
    plain |= {f"{part}_{end}" for part in ("model", "config") for end in ("args", "kwargs")}
    plain |= {"tokenizer_args", "processor_kwargs"}
    if unknown := sorted(key for key, value in config.items() if value and key not in plain):
        raise _refused(file, unknown[0], f"{unknown[0]} is not supported. {ANOTHER}")
    return limits, get(file, config, "do_lower_case", bool, False), options


def _wrong(file: Path, key: str, value: object, allowed: str) -> DataError:
    return _refused(file, key, f"{key} is {value!r}; allowed is {allowed}. Restore the file")


def _refused(file: Path, key: str | None, message: str) -> DataError:
    return DataError(f"{file}: {message}", file, None, key)

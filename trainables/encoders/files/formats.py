"""Files of a checkpoint: loading those of transformers, and writing those of sentence-transformers.

Also the modules after pooling, with the names that sentence-transformers gives them.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import normalizers
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from trainables.encoders.families import OWN_FILE
from trainables.encoders.files.modules import (
    ENCODERS,
    LEGACY_POOLING,
    Layer,
    Layout,
    brief,
    check_weights,
    load_config,
    load_encoder_config,
    read_layout,
    transformer_folder,
)
from trainables.errors import DataError, UserError
from trainables.spec import EncoderRef
from trainables.storage import paths as places


class Dense(nn.Module):
    """Linear layer and activation after pooling, as in sentence-transformers.

    Attributes:
        outputs: Length of the output vectors.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        activation: nn.Module | None = None,
        residual: bool = False,
    ) -> None:
        """Make an untrained layer.

        Args:
            inputs: Length of the input vectors.
            outputs: Length of the output vectors.
            bias: Whether the linear layer has a bias.
            activation: Activation after the linear layer; None for the identity.
            residual: Whether to add the input, through a linear layer if the lengths differ.
        """
        super().__init__()
        self.outputs = outputs
        self.linear = nn.Linear(inputs, outputs, bias)
        self.activation_function = activation or nn.Identity()
        self.residual: nn.Module | None = None
        if residual:
            same = inputs == outputs
            self.residual = nn.Identity() if same else nn.Linear(inputs, outputs, bias=False)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (n, inputs) to (n, outputs)."""
        projected: Tensor = self.activation_function(self.linear(pooled))
        return projected if self.residual is None else projected + self.residual(pooled)

    @classmethod
    def build(cls, file: Path, settings: Mapping[str, Any]) -> Dense:
        """Make the untrained layer of a `Layer.settings` read from sentence-transformers' config.

        Args:
            file: The config, for error messages.
            settings: Values of `inputs`, `outputs`, `bias`, `activation` and `residual`.

        Raises:
            DataError: The activation is not a module of torch.nn, or needs arguments.
        """
        name = settings["activation"]
        kind = getattr(nn, name.rpartition(".")[2], None)
        try:
            if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
                raise TypeError("no module of torch.nn")
            activation = kind()
        except TypeError as error:
            raise DataError(
                f"{file}: activation_function {name} is not supported ({error}); allowed are "
                "modules of torch.nn that need no settings. Choose another checkpoint",
                file,
                None,
                "activation_function",
            ) from None
        sizes = settings["inputs"], settings["outputs"]
        return cls(*sizes, settings["bias"], activation, settings["residual"])

    def config(self) -> dict[str, Any]:
        """Return its `config.json` as in sentence-transformers."""
        kind = type(self.activation_function)
        config = {
            "in_features": self.linear.in_features,
            "out_features": self.outputs,
            "bias": self.linear.bias is not None,
            "activation_function": f"{kind.__module__}.{kind.__name__}",
        }
        return config if self.residual is None else config | {"use_residual": True}


class LayerNorm(nn.Module):
    """Layer norm of pooled vectors, as in sentence-transformers.

    Attributes:
        outputs: Length of the vectors.
    """

    def __init__(self, size: int) -> None:
        """Make an untrained norm of vectors of this length."""
        super().__init__()
        self.outputs = size
        self.norm = nn.LayerNorm(size)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (n, size) to (n, size)."""
        normed: Tensor = self.norm(pooled)
        return normed

    def config(self) -> dict[str, Any]:
        """Return its `config.json` as in sentence-transformers."""
        return {"dimension": self.outputs}


class Dropout(nn.Dropout):
    """Dropout of pooled vectors in training, as in sentence-transformers."""

    def config(self) -> dict[str, Any]:
        """Return its `config.json` as in sentence-transformers."""
        return {"dropout": self.p}


class Normalize(nn.Module):
    """L2 normalization of pooled vectors before another layer."""

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (n, d) to (n, d), with rows of length 1."""
        return F.normalize(pooled, dim=-1)

    def config(self) -> dict[str, Any]:
        """Return its `config.json` as in sentence-transformers, which is empty."""
        return {}


def load_layers(layout: Layout, pooled: int) -> nn.Sequential:
    """Load the layers after pooling, in float32 and evaluation mode.

    Args:
        layout: Layout of the checkpoint.
        pooled: Length of a pooled vector.

    Raises:
        DataError: A layer does not fit its weights or the vectors before it.
    """
    layers, width = nn.Sequential(), pooled
    for entry in layout.layers:
        if entry.kind in ("Dense", "LayerNorm"):
            layers.append(_load_layer(entry, width))
            width = entry.settings.get("outputs", width)
        else:
            dropout = entry.kind == "Dropout"
            layers.append(Dropout(entry.settings["rate"]) if dropout else Normalize())
    return layers.float().eval()


def _load_layer(entry: Layer, width: int) -> nn.Module:
    """Load a layer with weights, whose inputs must have length `width`."""
    file = entry.folder / "config.json"
    if (inputs := entry.settings["inputs"]) != width:
        key = "in_features" if entry.kind == "Dense" else "dimension"
        raise DataError(
            f"{file}: {key} is {inputs}, but the vectors before it have {width} numbers; "
            "restore the file",
            file,
            None,
            key,
        )
    layer = Dense.build(file, entry.settings) if entry.kind == "Dense" else LayerNorm(width)
    try:
        layer.load_state_dict(read_weights(entry.folder))
    except (RuntimeError, OSError, SafetensorError, UnpicklingError, EOFError) as error:
        raise DataError(
            f"{entry.folder}: weights do not fit config.json: {brief(error)}; restore them",
            entry.folder,
        ) from None
    return layer


def save_layers(layers: nn.Sequential, folder: Path) -> list[str]:
    """Write the layers after pooling as sentence-transformers reads them: `2_Dense`, `3_...`.

    Returns:
        The class names of the layers.
    """
    from safetensors.torch import save_file

    for number, layer in enumerate(layers, start=2):
        path = folder / f"{number}_{type(layer).__name__}"
        path.mkdir(parents=True, exist_ok=True)
        config = layer.config()  # type: ignore[operator]
        (path / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if state := {key: value.contiguous() for key, value in layer.state_dict().items()}:
            save_file(state, path / "model.safetensors")
    return [type(layer).__name__ for layer in layers]


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights in a folder, as tensors by name; a pickle is loaded with `weights_only`.

    Raises:
        DataError: The folder has no file of weights.
    """
    from safetensors.torch import load_file

    if (folder / "model.safetensors").is_file():
        return load_file(folder / "model.safetensors")
    path = folder / "pytorch_model.bin"
    if not path.is_file():
        raise DataError(
            f"{folder}: no model.safetensors and no pytorch_model.bin; restore them", folder
        )
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def load_transformer(folder: Path) -> nn.Module:
    """Load the bare transformer in float32, without its unused pooler.

    Raises:
        DataError: An unsupported model type, weights that lack a parameter, which would be random,
            or weights with an unmerged LoRA adapter.
    """
    config, inside = load_encoder_config(folder), transformer_folder(folder)
    config.use_cache = False  # decoders would keep keys and values, which are not used
    kind, options = transformer_class(config)
    _refuse_larger(inside, kind, config, options)
    with quiet():
        model, report = kind.from_pretrained(
            inside,
            config=config,
            output_loading_info=True,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            **options,
        )
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise DataError(
            f"{folder}: the weights lack {missing[0]!r} and {len(missing) - 1} more that "
            f"{config.model_type} needs; restore the checkpoint's files",
            inside,
            None,
            missing[0],
        )
    if adapter := sorted(name for name in report["unexpected_keys"] if ".lora_" in name):
        raise DataError(
            f"{folder}: the weights hold an adapter ({adapter[0]}); merge it with peft "
            "(merge_and_unload), save and name that folder",
            inside,
            None,
            adapter[0],
        )
    if "input_ids" not in inspect.signature(model.forward).parameters:
        raise DataError(
            f"{folder}: a {config.model_type} reads no text; choose another checkpoint",
            inside / "config.json",
            None,
            "model_type",
        )
    loaded: nn.Module = model.eval()
    return loaded


def transformer_class(config: Any) -> tuple[Any, dict[str, Any]]:
    """Return the class of a configuration's bare transformer, and options that omit the pooler.

    Raises:
        KeyError: A model type without such a class.
    """
    import transformers

    encoder = ENCODERS.get(config.model_type)
    kind: Any = (
        getattr(transformers, encoder) if encoder else transformers.MODEL_MAPPING[type(config)]
    )
    pooled = "add_pooling_layer" in inspect.signature(kind).parameters
    return kind, {"add_pooling_layer": False} if pooled else {}


def part_of(whole: Any, part: str) -> Any:
    """Return the configuration that the transformers class of one tower takes.

    Args:
        whole: Configuration of a checkpoint; returned itself for BLIP-2, and if it has no `part`.
        part: `text_config` or `vision_config`.
    """
    config = whole if whole.model_type == "blip-2" else getattr(whole, part, whole)
    if hasattr(whole, "projection_dim"):
        config.projection_dim = whole.projection_dim
    return config


def load_part(folder: Path, kind: str, part: str) -> Any:
    """Load one tower in float32, from weights that may contain another tower too.

    Args:
        folder: Folder of the checkpoint.
        kind: Name of a transformers class.
        part: As for `part_of`.

    Raises:
        UserError: The weights lack a parameter of the tower, which would be random.
    """
    import transformers

    check_weights(folder)
    config = part_of(load_config(folder), part)
    _refuse_larger(folder, getattr(transformers, kind), config, {})
    with quiet():
        model, report = getattr(transformers, kind).from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
        )
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{folder}: the weights lack {missing[0]!r} and {len(missing) - 1} more of a {kind}; "
            "restore the checkpoint's files"
        )
    return model.eval()


def _refuse_larger(folder: Path, kind: Any, config: Any, options: Mapping[str, Any]) -> None:
    """Refuse a configuration larger than the weights, before allocating memory for the model.

    Raises:
        DataError: The model has more parameters than its folder has bytes.
    """
    with quiet(), torch.device("meta"):
        count = sum(value.numel() for value in kind(config, **options).parameters())
    if count > (size := places.size(folder)):
        file = folder / "config.json"
        raise DataError(
            f"{file}: it describes a model of {count} parameters, but all files beside it have "
            f"{size} bytes; restore the checkpoint's files",
            file,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the loading reports and progress bars of transformers off the screen."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a checkpoint; it lowercases texts if the checkpoint's files say so.

    Raises:
        DataError: The tokenizer cannot be opened, has no padding token, or gives the tokens of one
            text a token type other than 0.
        UserError: The tokenizer needs a package that is not installed.
    """
    from transformers import AutoTokenizer

    layout = read_layout(folder)
    inside = layout.transformer
    try:
        with quiet():  # warnings about model types unknown to transformers, such as M-CLIP
            tokenizer = AutoTokenizer.from_pretrained(
                inside, local_files_only=True, trust_remote_code=False, **layout.tokenizer
            )
        if layout.lower_case:
            _add_lowercase(tokenizer)
        parts = tokenizer("a").get("token_type_ids", [])
    except ImportError as error:  # such as SigLIP's slow tokenizer, which needs sentencepiece
        raise UserError(
            f"{inside}: its tokenizer needs a package that is not installed ({brief(error)}). "
            "Try `pip install sentencepiece`"
        ) from None
    except (
        BaseException
    ) as error:  # untrusted files raise anything; a panic of Rust is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        reason = brief(error) if isinstance(error, Exception) else str(error)
        raise DataError(
            f"{inside}: its tokenizer cannot be opened: {reason}; restore the files",
            inside,
        ) from None
    if tokenizer.pad_token_id is None:
        raise DataError(
            f"{inside}: its tokenizer has no padding token; set one in tokenizer_config.json",
            inside / "tokenizer_config.json",
            None,
            "pad_token",
        )
    if any(parts):
        raise DataError(
            f"{inside}: its tokenizer gives tokens of one text several types, which is not "
            "supported; choose another checkpoint",
            inside,
            None,
            "token_type_ids",
        )
    return tokenizer


def lowers(tokenizer: Any) -> bool:
    """Return whether a fast tokenizer has a `Lowercase` normalizer, as `do_lower_case` adds one."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    return any(isinstance(step, normalizers.Lowercase) for step in _normalizers(fast))


def _normalizers(fast: Any) -> list[Any]:
    """Return the normalizers of a fast tokenizer, in order."""
    step = getattr(fast, "normalizer", None)
    if step is None:
        return []
    return list(step) if isinstance(step, normalizers.Sequence) else [step]  # type: ignore[call-overload]


def _add_lowercase(tokenizer: Any) -> None:
    """Lowercase texts before all other normalizers, as sentence-transformers does."""
    if lowers(tokenizer):
        return
    fast = tokenizer.backend_tokenizer
    fast.normalizer = normalizers.Sequence([normalizers.Lowercase(), *_normalizers(fast)])


def interchange(
    ref: EncoderRef,
    hidden: int,
    layers: Sequence[str] = (),
    dimensions: int | None = None,
    lower_case: bool = False,
) -> dict[str, Any]:
    """Return the JSON files that sentence-transformers and our loader need beside the weights.

    Args:
        ref: Reference with pooling, prefixes and limits.
        hidden: Length of a token's vector.
        layers: Class names of the layers after pooling, as `save_layers` returns them.
        dimensions: Length to which vectors are truncated; None for no truncation.
        lower_case: Whether texts are lowercased before the tokenizer.

    Returns:
        JSON values by path inside the checkpoint folder.
    """
    names = ["Transformer", "Pooling", *layers, "Normalize"]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": "" if number == 0 else f"{number}_{name}",
            "type": f"sentence_transformers.models.{name}",
        }
        for number, name in enumerate(names)
    ]
    modes = ["lasttoken" if mode == "last" else mode for mode in ref.pooling.split("+")]
    pooling: dict[str, Any] = {"word_embedding_dimension": hidden}
    if len(modes) == 1:  # the legacy keys, which every version reads
        pooling |= {key: mode == modes[0] for key, mode in LEGACY_POOLING.items()}
    else:
        pooling["pooling_mode"] = modes
    limits = {"query_length": ref.max_query_tokens, "document_length": ref.max_passage_tokens}
    longest = max(limits.values())
    settings: dict[str, Any] = {
        "prompts": {"query": ref.query_prefix, "document": ref.passage_prefix},
        "default_prompt_name": None,
    }
    if dimensions is not None:
        settings["truncate_dim"] = dimensions
    return {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {
            "max_seq_length": longest,
            "do_lower_case": lower_case,
            **(limits if len(set(limits.values())) > 1 else {}),  # since version 6
        },
        "config_sentence_transformers.json": settings,
        OWN_FILE: ref.model_dump(exclude={"digest"}),
    }

"""The files of a checkpoint: those of transformers, those of sentence-transformers, and ours."""

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
    """A linear layer and an activation after pooling, as sentence-transformers has them.

    Attributes:
        outputs: Length of its vectors.
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
            inputs: Length of the vectors before it.
            outputs: Length of the vectors after it.
            bias: Whether the linear layer has one.
            activation: After the linear layer; None for none.
            residual: Add what goes in, through a linear layer where its length is another.
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
        """Make the layer that a file of sentence-transformers describes.

        Raises:
            DataError: An activation that is no module of torch.nn, or one that needs settings.
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
        """What sentence-transformers writes of it."""
        kind = type(self.activation_function)
        config = {
            "in_features": self.linear.in_features,
            "out_features": self.outputs,
            "bias": self.linear.bias is not None,
            "activation_function": f"{kind.__module__}.{kind.__name__}",
        }
        return config if self.residual is None else config | {"use_residual": True}


class LayerNorm(nn.Module):
    """A norm of pooled vectors, as sentence-transformers has it.

    Attributes:
        outputs: Length of its vectors.
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
        """What sentence-transformers writes of it."""
        return {"dimension": self.outputs}


class Dropout(nn.Dropout):
    """Without effect but in training."""

    def config(self) -> dict[str, Any]:
        """What sentence-transformers writes of it."""
        return {"dropout": self.p}


class Normalize(nn.Module):
    """Vectors of length 1 before another layer."""

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (n, d) to (n, d)."""
        return F.normalize(pooled, dim=-1)

    def config(self) -> dict[str, Any]:
        """What sentence-transformers writes of it: nothing."""
        return {}


def load_layers(layout: Layout, pooled: int) -> nn.Sequential:
    """What follows pooling, in float32.

    Args:
        layout: Of the checkpoint.
        pooled: Length of a pooled vector.

    Raises:
        DataError: A layer that does not fit its weights or what is before it.
    """
    layers, width = nn.Sequential(), pooled
    for one in layout.layers:
        if one.kind in ("Dense", "LayerNorm"):
            layers.append(_with_weights(one, width))
            width = one.settings.get("outputs", width)
        else:
            dropout = one.kind == "Dropout"
            layers.append(Dropout(one.settings["rate"]) if dropout else Normalize())
    return layers.float().eval()


def _with_weights(one: Layer, width: int) -> nn.Module:
    """A layer of trained weights after vectors of `width` numbers."""
    file = one.folder / "config.json"
    if (inputs := one.settings["inputs"]) != width:
        key = "in_features" if one.kind == "Dense" else "dimension"
        raise DataError(
            f"{file}: {key} is {inputs}, but the vectors before it have {width} numbers; "
            "restore the file",
            file,
            None,
            key,
        )
    layer = Dense.build(file, one.settings) if one.kind == "Dense" else LayerNorm(width)
    try:
        layer.load_state_dict(read_weights(one.folder))
    except (RuntimeError, OSError, SafetensorError, UnpicklingError, EOFError) as error:
        raise DataError(
            f"{one.folder}: weights do not fit config.json: {brief(error)}; restore them",
            one.folder,
        ) from None
    return layer


def save_layers(layers: nn.Sequential, folder: Path) -> list[str]:
    """Write layers after pooling where sentence-transformers looks for them.

    Returns:
        Their kinds.
    """
    from safetensors.torch import save_file

    for number, layer in enumerate(layers, start=2):
        place = folder / f"{number}_{type(layer).__name__}"
        place.mkdir(parents=True, exist_ok=True)
        config = layer.config()  # type: ignore[operator]
        (place / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if state := {key: value.contiguous() for key, value in layer.state_dict().items()}:
            save_file(state, place / "model.safetensors")
    return [type(layer).__name__ for layer in layers]


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors by name.

    Raises:
        DataError: There is no file of them.
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
    """The bare transformer in float32, without the pooler that nothing here reads.

    Raises:
        DataError: A kind that is not supported, or weights that lack a part of the model, which
            would be random, or hold an adapter beside it.
    """
    config, inside = load_encoder_config(folder), transformer_folder(folder)
    config.use_cache = False  # of decoders, which keep what nothing here reads again
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
    """The class of the bare transformer of a configuration, and options that leave out its pooler.

    Raises:
        KeyError: A kind without such a class.
    """
    import transformers

    encoder = ENCODERS.get(config.model_type)
    kind: Any = (
        getattr(transformers, encoder) if encoder else transformers.MODEL_MAPPING[type(config)]
    )
    pooled = "add_pooling_layer" in inspect.signature(kind).parameters
    return kind, {"add_pooling_layer": False} if pooled else {}


def part_of(whole: Any, part: str) -> Any:
    """The configuration of one tower, as its class of transformers takes it.

    Args:
        whole: Of a checkpoint that may have two towers; taken as it is for models that want that,
            and where there is no such part.
        part: `text_config` or `vision_config`.
    """
    config = whole if whole.model_type == "blip-2" else getattr(whole, part, whole)
    if hasattr(whole, "projection_dim"):
        config.projection_dim = whole.projection_dim
    return config


def load_part(folder: Path, kind: str, part: str) -> Any:
    """One tower in float32, from weights that may hold another too.

    Args:
        folder: The checkpoint.
        kind: Class of transformers.
        part: Where its configuration stands in that of a model with two towers (`part_of`).

    Raises:
        UserError: The weights lack a part of the tower, which would be random.
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
    """Refuse weights that cannot be those of such a model, before memory is taken for it.

    Raises:
        DataError: It has more parameters than its folder has bytes.
    """
    with quiet(), torch.device("meta"):
        numbers = sum(value.numel() for value in kind(config, **options).parameters())
    if numbers > (held := places.size(folder)):
        file = folder / "config.json"
        raise DataError(
            f"{file}: it describes a model of {numbers} parameters, but all files beside it have "
            f"{held} bytes; restore the checkpoint's files",
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
    """The tokenizer of a checkpoint, which lowers texts first where its files say so.

    Raises:
        DataError: One that cannot be opened, pads with no token, or reads a text in two parts.
        UserError: One that needs a package that is not installed.
    """
    from transformers import AutoTokenizer

    layout = read_layout(folder)
    inside = layout.transformer
    try:
        with quiet():  # of model types that transformers does not know, such as M-CLIP
            tokenizer = AutoTokenizer.from_pretrained(
                inside, local_files_only=True, trust_remote_code=False, **layout.tokenizer
            )
        if layout.lower_case:
            _lower(tokenizer)
        parts = tokenizer("a").get("token_type_ids", [])
    except ImportError as error:  # of SigLIP's tokenizer, which is no fast one
        raise UserError(
            f"{inside}: its tokenizer needs a package that is not installed ({brief(error)}). "
            "Try `pip install sentencepiece`"
        ) from None
    except BaseException as error:  # whatever comes of a stranger's file; Rust panics beside it
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        said = brief(error) if isinstance(error, Exception) else str(error)
        raise DataError(
            f"{inside}: its tokenizer cannot be opened: {said}; restore the files",
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
    """Whether a tokenizer lowers texts by a step of its own, as `do_lower_case` adds it."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    return any(isinstance(step, normalizers.Lowercase) for step in _steps(fast))


def _steps(fast: Any) -> list[Any]:
    """What a fast tokenizer does to a text first."""
    step = getattr(fast, "normalizer", None)
    if step is None:
        return []
    return list(step) if isinstance(step, normalizers.Sequence) else [step]  # type: ignore[call-overload]


def _lower(tokenizer: Any) -> None:
    """Lower texts before everything else, as sentence-transformers does."""
    if lowers(tokenizer):
        return
    fast = tokenizer.backend_tokenizer
    fast.normalizer = normalizers.Sequence([normalizers.Lowercase(), *_steps(fast)])


def interchange(
    ref: EncoderRef,
    hidden: int,
    layers: Sequence[str] = (),
    dimensions: int | None = None,
    lower_case: bool = False,
) -> dict[str, Any]:
    """The files that tell sentence-transformers, and our own loader, what the weights need.

    Args:
        ref: Pooling, prefixes and limits.
        hidden: Length of a token's vector.
        layers: Kinds of what follows pooling, as `save_layers` wrote them.
        dimensions: Numbers of a vector that stay; None for all.
        lower_case: Whether the tokenizer lowers texts.
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
    if len(modes) == 1:  # as every version reads it
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

"""The files of a checkpoint: those of transformers, those of sentence-transformers, and ours."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.encoders.families import OWN_FILE
from trainables.errors import UserError
from trainables.spec import EncoderRef


class Dense(nn.Module):
    """A linear layer and tanh after pooling, in the format of sentence-transformers."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, tanh: bool = True) -> None:
        """Make an untrained layer from (n, inputs) to (n, outputs)."""
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias)
        self.tanh = tanh

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (n, inputs) to (n, outputs)."""
        projected: Tensor = self.linear(pooled)
        return projected.tanh() if self.tanh else projected

    @classmethod
    def load(cls, folder: Path) -> Dense:
        """Read the layer that sentence-transformers wrote.

        Raises:
            UserError: Another activation than tanh or none, or no weights.
        """
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
        kind = activation.rsplit(".", 1)[-1]
        if kind not in ("Tanh", "Identity"):
            raise UserError(
                f"{folder / 'config.json'}: activation {activation} is not supported; allowed are "
                "Tanh and Identity. Choose another checkpoint"
            )
        sizes = config["in_features"], config["out_features"]
        layer = cls(*sizes, bias=config.get("bias", True), tanh=kind == "Tanh")
        layer.load_state_dict(read_weights(folder))
        return layer.float()

    def save(self, folder: Path) -> None:
        """Write config and weights where sentence-transformers looks for them."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        kind = "activation.Tanh" if self.tanh else "linear.Identity"
        config = {
            "in_features": self.linear.in_features,
            "out_features": self.linear.out_features,
            "bias": self.linear.bias is not None,
            "activation_function": f"torch.nn.modules.{kind}",
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        state = {key: value.contiguous() for key, value in self.state_dict().items()}
        save_file(state, folder / "model.safetensors")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors by name.

    Raises:
        UserError: There is no file of them.
    """
    from safetensors.torch import load_file

    if (folder / "model.safetensors").is_file():
        return load_file(folder / "model.safetensors")
    path = folder / "pytorch_model.bin"
    if not path.is_file():
        raise UserError(f"{folder}: no model.safetensors and no pytorch_model.bin; restore them")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def load_transformer(folder: Path) -> nn.Module:
    """The bare transformer in float32, without the pooler that nothing here reads.

    Raises:
        UserError: The weights lack a part of the model, which would be random.
    """
    from transformers import MODEL_MAPPING, AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    kind: Any = MODEL_MAPPING[type(config)]
    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True}
    if "add_pooling_layer" in inspect.signature(kind).parameters:
        options["add_pooling_layer"] = False
    with quiet():
        model, found = AutoModel.from_pretrained(
            folder, config=config, output_loading_info=True, **options
        )
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise UserError(
            f"{folder}: the weights lack {missing[0]!r} and {len(missing) - 1} more that "
            f"{config.model_type} needs; restore the checkpoint's files"
        )
    loaded: nn.Module = model.eval()
    return loaded


def load_part(folder: Path, kind: str, part: str) -> Any:
    """One tower in float32, from weights that may hold another too.

    Args:
        folder: The checkpoint.
        kind: Class of transformers.
        part: Where its configuration stands in that of a model with two towers; the configuration
            as a whole is taken for models that want that, and where there is no such part.

    Raises:
        UserError: The weights lack a part of the tower, which would be random.
    """
    import transformers

    whole: Any = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    config = whole if whole.model_type == "blip-2" else getattr(whole, part, whole)
    if hasattr(whole, "projection_dim"):
        config.projection_dim = whole.projection_dim
    with quiet():
        model, found = getattr(transformers, kind).from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            dtype=torch.float32,
            local_files_only=True,
        )
    if missing := sorted(found["missing_keys"]):
        raise UserError(
            f"{folder}: the weights lack {missing[0]!r} and {len(missing) - 1} more of a {kind}; "
            "restore the checkpoint's files"
        )
    return model.eval()


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
    """The fast tokenizer of a checkpoint."""
    from transformers import AutoTokenizer

    with quiet():  # of model types that transformers does not know, such as M-CLIP
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def interchange(ref: EncoderRef, hidden: int, dense: bool) -> dict[str, Any]:
    """The files that tell sentence-transformers, and our own loader, what the weights need."""
    names = ["Transformer", "Pooling", *(["Dense"] if dense else []), "Normalize"]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": "" if number == 0 else f"{number}_{name}",
            "type": f"sentence_transformers.models.{name}",
        }
        for number, name in enumerate(names)
    ]
    pooling = {
        "word_embedding_dimension": hidden,
        "pooling_mode_cls_token": ref.pooling == "cls",
        "pooling_mode_mean_tokens": ref.pooling == "mean",
        "pooling_mode_lasttoken": ref.pooling == "last",
    }
    prompts = {"query": ref.query_prefix, "document": ref.passage_prefix}
    longest = max(ref.max_query_tokens, ref.max_passage_tokens)
    return {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": prompts, "default_prompt_name": None},
        OWN_FILE: ref.model_dump(exclude={"digest"}),
    }

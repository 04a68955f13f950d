"""Text towers of CLIP, SigLIP, BLIP-2 and M-CLIP: a transformer, and a projection after pooling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.encoders.files.formats import Dense, load_layers, load_part, read_weights
from trainables.encoders.files.modules import Layout, read_config
from trainables.errors import UserError

PROJECTED = {
    "clip": "CLIPTextModelWithProjection",
    "clip_text_model": "CLIPTextModelWithProjection",
    "metaclip_2": "MetaClip2TextModelWithProjection",
    "siglip": "SiglipTextModel",
    "siglip2": "Siglip2TextModel",
    "blip-2": "Blip2TextModelWithProjection",
}
"""Transformers classes with projection, by model type of a published checkpoint."""

BARE = {
    "clip_text_model": "CLIPTextModel",
    "metaclip_2_text_model": "MetaClip2TextModel",
    "siglip_text_model": "SiglipTextModel",
    "siglip2_text_model": "Siglip2TextModel",
    "blip-2": "Blip2TextModelWithProjection",
}
"""Transformers classes without projection, by model type of a checkpoint saved by this project,
which keeps the projection in a file of its own; BLIP-2 has no such class."""


def load_text_tower(folder: Path, layout: Layout) -> tuple[nn.Module, nn.Sequential]:
    """Load the text transformer in float32, and the layers after its pooling.

    Args:
        folder: Checkpoint whose model type is in `families.SEEING`.
        layout: Its layout; layers after pooling mean that this project saved it.

    Raises:
        UserError: The weights lack a parameter, which would be random.
    """
    kind = read_config(folder, str(folder))["model_type"]
    if kind == "M-CLIP":
        return _load_m_clip(folder)
    saved = bool(layout.layers)
    model: Any = load_part(folder, (BARE if saved else PROJECTED)[kind], "text_config")
    if saved:
        text = QueryText(model) if kind == "blip-2" else model
        return text, load_layers(layout, int(text.config.hidden_size))
    return split(kind, model)


def split(kind: str, model: Any) -> tuple[nn.Module, nn.Sequential]:
    """Split a text tower into its transformer and its projection.

    Args:
        kind: Model type of its checkpoint.
        model: Instance of the class of that type in `PROJECTED`.
    """
    if kind in ("siglip", "siglip2"):
        return model, nn.Sequential(_dense(model.head))
    inner = QueryText(model) if kind == "blip-2" else model.text_model.eval()
    return inner, nn.Sequential(_dense(model.text_projection))


class QueryText(nn.Module):
    """BLIP-2's Q-Former as a text encoder: its word embeddings and layers, without an image."""

    def __init__(self, model: Any) -> None:
        """Wrap a `Blip2TextModelWithProjection`."""
        super().__init__()
        self.inner = model
        self.config = model.config.qformer_config

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        """Encode (n, tokens) ids; `.last_hidden_state` of the output is (n, tokens, hidden)."""
        words = self.inner.embeddings(input_ids=input_ids)
        mask = None if attention_mask is None else attention_mask.long()
        return self.inner.qformer(query_embeds=words, query_length=0, attention_mask=mask)

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embeddings."""
        table: nn.Module = self.inner.get_input_embeddings()
        return table

    def set_input_embeddings(self, table: nn.Module) -> None:
        """Replace the word embeddings."""
        self.inner.set_input_embeddings(table)

    def activation_checkpointing_enable(self) -> None:
        """Do nothing: this transformer has no gradient checkpointing."""

    def save_pretrained(self, folder: Path) -> None:
        """Write config and weights in the format of transformers."""
        self.inner.save_pretrained(folder)


def _dense(linear: nn.Linear) -> Dense:
    """Wrap a model's projection as the layer after pooling, sharing its weights."""
    outputs, inputs = linear.weight.shape
    dense = Dense(inputs, outputs, bias=linear.bias is not None)
    dense.linear = linear
    return dense


def drawn_dense(inputs: int, outputs: int) -> Dense:
    """Make an untrained projection, with weights drawn from a fixed seed."""
    dense = Dense(inputs, outputs, bias=False)
    values = np.random.default_rng(0).normal(0, inputs**-0.5, (outputs, inputs))
    with torch.no_grad():
        dense.linear.weight.copy_(torch.from_numpy(values.astype(np.float32)))
    return dense


def _load_m_clip(folder: Path) -> tuple[nn.Module, nn.Sequential]:
    """Load M-CLIP: mean pooling over XLM-R or BERT and a linear layer (Carlsson et al. 2022).

    Its files name their transformer without its configuration, which the weights' shapes give.

    Raises:
        UserError: Weights of another model.
    """
    weights = read_weights(folder)
    state = {
        name.removeprefix("transformer."): value.float()
        for name, value in weights.items()
        if name.startswith("transformer.")
    }
    model = _build_from_shapes(state, str(read_config(folder, str(folder)).get("modelBase", "")))
    missing, unknown = model.load_state_dict(state, strict=False)
    wrong = [name for name in missing if "position_ids" not in name and "token_type" not in name]
    wrong += [name for name in unknown if not name.startswith(("pooler.", "embeddings.position"))]
    after = {
        name.partition(".")[2]: value.float()
        for name, value in weights.items()
        if name.startswith("LinearTransformation.")
    }
    if wrong or "weight" not in after:
        raise UserError(
            f"{folder}: not the weights of an M-CLIP text tower "
            f"({wrong[0] if wrong else 'no LinearTransformation'}); restore the checkpoint's files"
        )
    outputs, inputs = after["weight"].shape
    dense = Dense(inputs, outputs, bias="bias" in after)
    dense.linear.load_state_dict(after)
    return model.eval(), nn.Sequential(dense)


def _build_from_shapes(state: Mapping[str, Tensor], base: str) -> nn.Module:
    """Build an XLM-R or BERT with the shapes of `state`; heads are 64 wide in all M-CLIP models.

    Args:
        state: Weights of the transformer by name.
        base: Name of its base model, which contains "xlm" for XLM-R.
    """
    import transformers as hf

    words, hidden = state["embeddings.word_embeddings.weight"].shape
    positions = len(state["embeddings.position_embeddings.weight"])
    sizes: dict[str, Any] = {
        "vocab_size": words,
        "hidden_size": hidden,
        "num_hidden_layers": len({n.split(".")[2] for n in state if n.startswith("encoder.layer")}),
        "num_attention_heads": max(1, hidden // 64),
        "intermediate_size": len(state["encoder.layer.0.intermediate.dense.weight"]),
        "max_position_embeddings": positions,
        "type_vocab_size": len(state["embeddings.token_type_embeddings.weight"]),
    }
    if "xlm" in base.lower():
        config = hf.XLMRobertaConfig(**sizes, layer_norm_eps=1e-5)
        return hf.XLMRobertaModel(config, add_pooling_layer=False)
    return hf.BertModel(hf.BertConfig(**sizes), add_pooling_layer=False)

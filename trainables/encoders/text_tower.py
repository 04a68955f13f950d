"""Text towers of checkpoints that see pictures too: what is before and after the transformer."""

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
"""Model types as their makers save them, to a class that has the projection too."""

BARE = {
    "clip_text_model": "CLIPTextModel",
    "metaclip_2_text_model": "MetaClip2TextModel",
    "siglip_text_model": "SiglipTextModel",
    "siglip2_text_model": "Siglip2TextModel",
    "blip-2": "Blip2TextModelWithProjection",
}
"""Model types as this project saves them, with the projection in a file of its own."""


def load_text_tower(folder: Path, layout: Layout) -> tuple[nn.Module, nn.Sequential]:
    """The transformer that reads text, in float32, and what follows its pooling.

    Args:
        folder: A checkpoint whose model type is in `families.SEEING`.
        layout: Of it; where this project saved the layer after pooling.

    Raises:
        UserError: The weights lack a part of either, which would be random.
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
    """A text tower of one of the classes in `PROJECTED` in two: transformer and projection.

    Args:
        kind: Model type of its checkpoint.
        model: Of that class.
    """
    if kind in ("siglip", "siglip2"):
        return model, nn.Sequential(_dense(model.head))
    inner = QueryText(model) if kind == "blip-2" else model.text_model.eval()
    return inner, nn.Sequential(_dense(model.text_projection))


class QueryText(nn.Module):
    """BLIP-2's querying transformer as it reads text: its words and layers without an image."""

    def __init__(self, model: Any) -> None:
        """Wrap a `Blip2TextModelWithProjection`."""
        super().__init__()
        self.inner = model
        self.config = model.config.qformer_config

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        """As other transformers: `.last_hidden_state` (n, tokens, hidden)."""
        words = self.inner.embeddings(input_ids=input_ids)
        mask = None if attention_mask is None else attention_mask.long()
        return self.inner.qformer(query_embeds=words, query_length=0, attention_mask=mask)

    def get_input_embeddings(self) -> nn.Module:
        """The table of words."""
        table: nn.Module = self.inner.get_input_embeddings()
        return table

    def set_input_embeddings(self, table: nn.Module) -> None:
        """Replace the table of words."""
        self.inner.set_input_embeddings(table)

    def activation_checkpointing_enable(self) -> None:
        """Not known of this transformer: its activations are kept."""

    def save_pretrained(self, folder: Path) -> None:
        """Write config and weights as transformers does."""
        self.inner.save_pretrained(folder)


def _dense(linear: nn.Linear) -> Dense:
    """A projection that a model has already, as the layer after pooling."""
    outputs, inputs = linear.weight.shape
    dense = Dense(inputs, outputs, bias=linear.bias is not None)
    dense.linear = linear
    return dense


def drawn_dense(inputs: int, outputs: int) -> Dense:
    """A projection drawn from a fixed seed: it means nothing before it is trained."""
    dense = Dense(inputs, outputs, bias=False)
    values = np.random.default_rng(0).normal(0, inputs**-0.5, (outputs, inputs))
    with torch.no_grad():
        dense.linear.weight.copy_(torch.from_numpy(values.astype(np.float32)))
    return dense


def _load_m_clip(folder: Path) -> tuple[nn.Module, nn.Sequential]:
    """The mean over an XLM-R's or BERT's tokens and a linear layer (Carlsson et al. 2022).

    M-CLIP's files name their transformer but do not describe it; the weights do.
    """
    weights = read_weights(folder)
    state = {
        name.removeprefix("transformer."): value.float()
        for name, value in weights.items()
        if name.startswith("transformer.")
    }
    model = _described_by(state, str(read_config(folder, str(folder)).get("modelBase", "")))
    lacking, unknown = model.load_state_dict(state, strict=False)
    wrong = [name for name in lacking if "position_ids" not in name and "token_type" not in name]
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


def _described_by(state: Mapping[str, Tensor], base: str) -> nn.Module:
    """An empty transformer of the sizes of these weights; heads are 64 wide in all such models."""
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

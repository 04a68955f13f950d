"""The table of shapes against transformers' own classes, built without memory for weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainables.data.worlds.synthetic import WORLDS
from trainables.encoders.embedded import RUNGS, build_embedded
from trainables.encoders.shapes import KNOWN, Shape, embedded_shape, folder_shape, known_shape
from trainables.errors import UserError


def on_meta(shape: Shape) -> nn.Module:
    """The model of such a configuration as encoders here load it: no pooler, CLIP's projection."""
    from transformers import AutoModel, CLIPTextModelWithProjection

    with torch.device("meta"):
        if shape.kind == "clip_text_model":
            config: Any = shape.config(projection_dim=shape.outputs)
            return CLIPTextModelWithProjection(config)
        bare = {} if shape.kind == "distilbert" else {"add_pooling_layer": False}
        model: nn.Module = AutoModel.from_config(shape.config(), **bare)  # type: ignore[no-untyped-call]
        if shape.outputs:
            return nn.ModuleList([model, nn.Linear(shape.hidden, shape.outputs)])
    return model


@pytest.mark.parametrize("shape", sorted(set(KNOWN.values()), key=str), ids=str)
def test_parameters_are_those_of_transformers(shape: Shape) -> None:
    model = on_meta(shape)
    tables = [m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding)]
    total = sum(parameter.numel() for parameter in model.parameters())
    assert shape.embeddings == sum(tables)
    assert shape.word_embeddings == max(tables)
    assert shape.without_embeddings == total - sum(tables)
    assert shape.parameters == total


@pytest.mark.parametrize(
    ("name", "total", "rest"),
    [
        ("FacebookAI/xlm-roberta-base", 277_453_056, 85_056_000),
        ("FacebookAI/xlm-roberta-large", 558_840_832, 302_311_424),
        ("intfloat/multilingual-e5-small", 117_505_920, 21_294_336),
    ],
)
def test_published_sizes(name: str, total: int, rest: int) -> None:
    """The hub's counts (278, 560 and 118 million) less the pooler of hidden x (hidden + 1)."""
    shape = known_shape(name)
    assert (shape.parameters, shape.without_embeddings) == (total, rest)


@pytest.mark.parametrize("name", RUNGS)
def test_embedded_shapes_are_those_of_the_built_encoders(name: str) -> None:
    encoder = build_embedded(name, WORLDS["standard"])
    assert embedded_shape(name).parameters == sum(p.numel() for p in encoder.parameters())


def test_a_folder_says_what_it_is(tmp_path: Path) -> None:
    shape = KNOWN["sentence-transformers/LaBSE"]
    (tmp_path / "config.json").write_text(json.dumps(shape.config().to_dict()))
    for folder, config in {
        "1_Pooling": {"pooling_mode": "mean"},
        "2_Dense": {"in_features": 384, "out_features": 768},
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps(config))
    modules = [
        {"type": f"sentence_transformers.models.{path[2:] or 'Transformer'}", "path": path}
        for path in ("", "1_Pooling", "2_Dense")
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert folder_shape(tmp_path, "labse") == shape


def test_unknown_encoders_are_named() -> None:
    with pytest.raises(UserError, match="nobody/nothing"):
        known_shape("nobody/nothing")
    with pytest.raises(UserError, match="embedded/huge"):
        embedded_shape("embedded/huge")

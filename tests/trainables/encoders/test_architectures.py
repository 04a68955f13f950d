"""Encoders that are built without weights against published sizes and against loaded ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.checkpoints import DENSE_WIDTH, KINDS, SEEING, make_checkpoint, make_m_clip, make_seeing
from trainables.data.worlds.synthetic import WORLDS
from trainables.encoders.architectures import KNOWN, Architecture, architecture
from trainables.encoders.embedded import SIZES, build_embedded
from trainables.encoders.images.image_text import ImageTextEncoder
from trainables.encoders.text import TextEncoder
from trainables.errors import UserError


def sizes(built: Architecture) -> tuple[int, int, int]:
    """Parameters of the text tower, those of its table of words, and those after pooling."""
    with torch.device("meta"):
        model, after = built.build_text()
    words = model.get_input_embeddings().weight.numel()  # type: ignore[operator]
    each = (sum(p.numel() for p in part.parameters()) for part in (model, after))
    return next(each), words, next(each)


@pytest.mark.parametrize(
    ("name", "total", "words"),
    [
        ("FacebookAI/xlm-roberta-base", 277_453_056, 250_002 * 768),
        ("FacebookAI/xlm-roberta-large", 558_840_832, 250_002 * 1024),
        ("intfloat/multilingual-e5-small", 117_505_920, 250_037 * 384),
        ("openai/clip-vit-base-patch32+openai/clip-vit-base-patch16", 63_165_952, 49_408 * 512),
    ],
)
def test_published_sizes(name: str, total: int, words: int) -> None:
    """The hub's counts (278, 560, 118 and 63 million) less a pooler that nothing here reads."""
    assert sizes(architecture(name, None))[:2] == (total, words)


@pytest.mark.parametrize("name", KNOWN)
def test_everything_in_the_table_can_be_built(name: str) -> None:
    built = architecture(name, None)
    parameters, words, after = sizes(built)
    assert 0 < words < parameters
    assert (after > 0) == ("dense" in KNOWN[name] or built.images is not None)


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("openai/clip-vit-base-patch32", 87_849_216),
        ("M-CLIP/XLM-Roberta-Large-Vit-L-14+openai/clip-vit-large-patch14", 303_966_208),
        ("google/siglip2-base-patch16-224", 92_884_224),
    ],
)
def test_published_sizes_of_image_towers(name: str, total: int) -> None:
    with torch.device("meta"):
        tower, _ = architecture(name, None).build_images()
    assert sum(p.numel() for p in tower.parameters()) == total


@pytest.mark.parametrize("name", SIZES)
def test_embedded_sizes_are_those_of_the_built_encoders(name: str) -> None:
    encoder = build_embedded(name, WORLDS["standard"])
    assert sizes(architecture(name, None))[0] == sum(p.numel() for p in encoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_built_as_it_is_loaded(kind: str, tmp_path: Path) -> None:
    folder = make_checkpoint(kind, tmp_path / kind)
    total, _, after = sizes(architecture(kind, str(folder)))
    loaded = TextEncoder.load(folder)
    assert total == sum(p.numel() for p in loaded.model.parameters())
    assert after == sum(p.numel() for p in loaded.layers.parameters())


@pytest.mark.parametrize("kind", SEEING)
def test_towers_are_built_as_they_are_loaded_and_as_they_are_saved(
    kind: str, tmp_path: Path
) -> None:
    made, saved = make_seeing(kind, tmp_path / "made"), tmp_path / "saved"
    loaded = ImageTextEncoder.load(made)
    loaded.save(saved)
    for folder in (made, saved):  # the saved layer is counted with a bias, which it may lack
        built = architecture(kind, str(folder))
        total, _, after = sizes(built)
        with torch.device("meta"):
            tower, _ = built.build_images()
        assert total == sum(p.numel() for p in loaded.model.parameters())
        assert after - sum(p.numel() for p in loaded.layers.parameters()) in (0, DENSE_WIDTH)
        seeing = sum(p.numel() for p in loaded.images.parameters())
        assert sum(p.numel() for p in tower.parameters()) == seeing


def test_m_clip_is_built_as_the_table_says(tmp_path: Path) -> None:
    folder = make_m_clip(tmp_path / "m-clip")
    name = "M-CLIP/XLM-Roberta-Large-Vit-B-32"
    assert sizes(architecture(name, str(folder))) == sizes(architecture(name, None))


def test_unknown_encoders_are_named() -> None:
    with pytest.raises(UserError, match="nobody/nothing"):
        architecture("nobody/nothing", None)
    with pytest.raises(UserError, match="embedded/huge"):
        architecture("embedded/huge", None)

"""The embedded world's image tower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.data.pictures import Picture
from trainables.data.worlds.scenes import concepts_of, png, scene, scenes_benchmark, scenes_training
from trainables.data.worlds.worlds import WORLDS
from trainables.encoders.embedded import PICTURED, build_embedded, embedded_ref
from trainables.encoders.images.cells import CELL, SIDE
from trainables.encoders.images.image_text import ImageTextEncoder, scores
from trainables.evaluation.evaluate import evaluate
from trainables.evaluation.picture_store import PictureStore

WORLD = WORLDS["standard"]


def seeing(name: str = "embedded/clip-small") -> ImageTextEncoder:
    made = build_embedded(name, WORLD)
    assert isinstance(made, ImageTextEncoder)
    return made


def shown(*grids: np.ndarray) -> list[Picture]:
    return [Picture(f"{i}", png(scene(grid)), f"{i}") for i, grid in enumerate(grids)]


def test_scenes_are_told_apart_by_what_they_show_and_not_by_where() -> None:
    grids = concepts_of(WORLD, "validation")[:40]
    moved = np.random.default_rng(0).permuted(grids, axis=1)
    vectors = seeing().encode_images(shown(*grids))
    again = seeing().encode_images(shown(*moved))
    np.testing.assert_allclose(vectors, again, atol=1e-5)
    products = vectors @ vectors.T
    shared = np.array([[len(set(a) & set(b)) for b in grids.tolist()] for a in grids.tolist()])
    apart = ~np.eye(len(grids), dtype=bool)
    assert products[apart].max() < 0.8
    assert np.corrcoef(products[apart], shared[apart])[0, 1] > 0.3


def test_any_picture_becomes_sixteen_cells() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 91, 3), dtype=np.uint8)
    vectors = seeing().encode_images([Picture("odd", png(pixels), "odd")])
    assert vectors.shape == (1, 64)
    assert SIDE * CELL == 48


@pytest.mark.parametrize("name", PICTURED)
def test_every_size_is_the_same_each_time_and_differs_from_its_text_tower(name: str) -> None:
    one, other = seeing(name), seeing(name)
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key])
    pictures = scenes_benchmark(WORLD, "validation").pictures[:3]
    assert np.array_equal(one.encode_images(pictures), other.encode_images(pictures))
    assert one.picture_digest == other.picture_digest is not None
    digests = {embedded_ref(n, WORLD).digest for n in (name, PICTURED[name])}
    assert len(digests) == 2


def learnt(steps: int, live: bool = False, shuffled: bool = False) -> ImageTextEncoder:
    """Captions of all languages mixed, some steps against the scenes' vectors."""
    data, encoder = scenes_training(WORLD), seeing()
    if live:
        encoder.train_images()
    rows = np.arange(0, len(data.questions), 2)
    pixels = encoder.pixels([data.pictures[row] for row in rows.tolist()])["features"]
    fixed = torch.from_numpy(encoder.encode_pixels({"features": pixels}))
    tokens = {la: encoder.tokenize_queries(list(data.queries[la])) for la in data.languages}  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    dealt = rng.permutation(len(rows)) if shuffled else np.arange(len(rows))
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=3e-3, weight_decay=0)
    for _ in range(steps):
        batch = rng.choice(len(rows), 48, replace=False)
        spoken = rng.choice(data.languages, len(batch))
        texts = encoder(
            [tokens[la][rows[b] + rng.integers(2)] for la, b in zip(spoken, batch, strict=True)]
        )
        at = dealt[batch]
        images = encoder.embed_pixels({"features": pixels[at]}) if live else fixed[at]
        loss = torch.nn.functional.cross_entropy(
            scores(texts, images) / 0.1, torch.arange(len(batch))
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return encoder


@pytest.mark.parametrize(("live", "shuffled"), [(False, False), (True, False), (False, True)])
def test_words_are_learnt_from_scenes_and_nothing_from_shuffled_ones(
    live: bool, shuffled: bool
) -> None:
    made = scenes_benchmark(WORLD, "validation")
    found = evaluate(made, learnt(60, live, shuffled)).metrics["hit_at_10/t2i"]
    chance = 10 / len(made.pictures)
    assert found < 2 * chance if shuffled else found > 4 * chance


def test_a_saved_encoder_of_scenes_is_the_same(tmp_path: Path) -> None:
    encoder = seeing()
    encoder.train_images()
    with torch.no_grad():
        encoder.images.projection.weight.add_(0.1)  # type: ignore[union-attr, operator]
    encoder.save(tmp_path)
    again, made = ImageTextEncoder.load(tmp_path), scenes_benchmark(WORLD, "validation")
    assert evaluate(made, again).metrics == evaluate(made, encoder).metrics
    assert again.picture_digest != seeing().picture_digest


def test_decoded_pictures_of_a_live_tower_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.encoders.images import cells
    from trainables.storage.cache import Cache

    made, encoder = scenes_benchmark(WORLD, "validation"), seeing()
    encoder.train_images()
    expected = evaluate(made, encoder).metrics
    store = PictureStore(Cache(tmp_path), "scenes")
    assert evaluate(made, encoder, pictures=store).metrics == expected
    monkeypatch.setattr(cells, "open_picture", None)
    with torch.no_grad():
        encoder.images.projection.weight.neg_()  # type: ignore[union-attr, operator]
    other = evaluate(made, encoder, pictures=store).metrics
    assert other["map/t2i"] != expected["map/t2i"]
    kept = store.pixels(encoder, made.pictures)["features"]
    assert isinstance(kept, np.memmap)
    assert kept.shape == (150, 256)

"""The embedded world in pictures: what scenes show, and that they are the same everywhere."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from trainables.data.catalog import (
    load_benchmark,
    load_training,
    open_benchmark,
    reference,
)
from trainables.data.formats.images import check_pictures, open_picture
from trainables.data.pictures import Picture
from trainables.data.worlds.scenes import (
    concepts_of,
    glyph,
    png,
    scene,
    scenes_benchmark,
    scenes_digest,
    scenes_training,
)
from trainables.data.worlds.worlds import WORLDS, World, lexicon
from trainables.errors import UserError

STANDARD = WORLDS["standard"]
SMALL = World("small", concepts=60, train=40, validation=10, test=20)

GOLDEN = {
    "standard": "27eb94fd4dcace7a80d8",
    "null": "f8c80d79d5a5d5634f1c",
    "unrelated": "5eaf3b9c55ac3a256f5f",
}
"""If a change of pixels or captions is meant, raise GENERATOR and put the new values here."""


class Caption(NamedTuple):
    """As hashed."""

    id: str
    text: str
    picture: str
    parallel: str


def everything(world: World) -> str:
    """Hash of every pixel, caption and id of a world."""
    digest = hashlib.sha256()
    training = scenes_training(world)
    _hash(digest, training.pictures, training.queries)
    for benchmark in (scenes_benchmark(world, "validation"), scenes_benchmark(world, "test")):
        captions = {
            language: [
                Caption(query.id, query.text, picture, query.question)
                for query in queries
                for picture in benchmark.qrels[query.id]
            ]
            for language, queries in benchmark.queries.items()
        }
        _hash(digest, benchmark.pictures, captions)
    return digest.hexdigest()[:20]


def _hash(
    digest: hashlib._Hash, pictures: Sequence[Picture], captions: Mapping[str, Sequence[object]]
) -> None:
    for picture in pictures:
        assert isinstance(picture.source, bytes)
        digest.update(picture.id.encode() + picture.source)
    for language, texts in captions.items():
        digest.update(repr((language, list(texts))).encode())


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_scenes_never_change_unnoticed(name: str) -> None:
    assert everything(WORLDS[name]) == GOLDEN[name]


def test_a_scene_is_its_concepts() -> None:
    found = scenes_benchmark(STANDARD, "test")
    grids = concepts_of(STANDARD, "test")
    assert not check_pictures(found.pictures, "scenes")[len(found.pictures) :]
    for picture, grid in list(zip(found.pictures, grids, strict=True))[::50]:
        pixels = np.asarray(open_picture(picture))
        assert (pixels == scene(grid)).all()
        for place, concept in enumerate(grid):
            y, x = divmod(place, 4)
            cell = pixels[12 * y : 12 * y + 12, 12 * x : 12 * x + 12]
            assert (cell == glyph(int(concept))).all()


def test_all_glyphs_differ_clearly() -> None:
    glyphs = np.stack([glyph(concept) for concept in range(200)]).reshape(200, -1).astype(int)
    for row in range(200):
        apart = (np.abs(glyphs - glyphs[row]).reshape(200, -1, 3).sum(axis=2) > 40).sum(axis=1)
        assert (np.delete(apart, row) >= 20).all()  # of 144 pixels


def test_captions_name_half_of_a_scene_in_every_language() -> None:
    words = lexicon(STANDARD)
    meaning = {
        language: {form: entry % 200 for entry, form in enumerate(forms)}
        for language, forms in words.items()
    }
    grids = concepts_of(STANDARD, "test")
    found = scenes_benchmark(STANDARD, "test")
    for language, captions in found.queries.items():
        for caption, grid in zip(captions, grids, strict=True):
            said = [meaning[language][word] for word in caption.text.split()]
            assert len(set(said)) == 8
            assert set(said) < set(grid.tolist())
    rows = scenes_training(STANDARD)
    trained = concepts_of(STANDARD, "train")
    for language in rows.languages:
        texts = rows.queries[language]
        for row in range(0, len(texts), 200):
            both = f"{texts[row]} {texts[row + 1]}".split()
            said = sorted(meaning[language][word] for word in both)
            assert said == sorted(trained[row // 2].tolist())


def test_one_scene_alone_has_all_that_a_caption_names() -> None:
    grids = [set(grid.tolist()) for grid in concepts_of(STANDARD, "test")]
    forms = lexicon(STANDARD)["qaa"]
    meaning = {form: entry % 200 for entry, form in enumerate(forms)}
    for row, caption in enumerate(scenes_benchmark(STANDARD, "test").queries["qaa"]):
        said = {meaning[word] for word in caption.text.split()}
        assert [n for n, grid in enumerate(grids) if said <= grid] == [row]


def test_parts_share_no_scene() -> None:
    parts = [load_training("scenes").pictures]
    parts += [load_benchmark("scenes", part=p).pictures for p in ("validation", "test")]
    assert [len(set(part)) for part in parts] == [1500, 150, 300]
    shown = [{picture.source for picture in part} for part in parts]
    for one, other in pairwise([*shown, shown[0]]):
        assert not one & other


def test_scenes_by_name() -> None:
    found = load_benchmark("scenes", languages=["qab", "qaa"])
    assert tuple(found.queries) == ("qaa", "qab")
    assert found.reversed().judged_in_all_languages
    null = load_benchmark("scenes:null").queries
    assert [c.text for c in null["qaa"]] == [c.text for c in null["qaf"]]
    assert len(load_benchmark("scenes").queries["qaa"]) == 300
    ref = reference("scenes", languages=["qaa"], part="validation")
    assert ref.digest == scenes_digest(STANDARD) != scenes_digest(WORLDS["null"])
    assert len(open_benchmark(ref, {}).pictures) == 150
    with pytest.raises(UserError, match="scenes has no language 'de'; it has qaa"):
        load_benchmark("scenes", languages=["de"])
    with pytest.raises(UserError, match="part train is trained on; evaluate test"):
        load_benchmark("scenes", part="train")
    with pytest.raises(UserError, match="part test is evaluated and not trained on"):
        load_training("scenes", part="test")


def test_worlds_that_are_no_scenes_are_refused() -> None:
    with pytest.raises(UserError, match="16 concepts of up to 200; this world has 8"):
        scenes_training(World("short", passage_concepts=8))
    with pytest.raises(UserError, match=r"this world has 16 in a passage, of 300"):
        scenes_training(World("rich", concepts=300))
    assert len(scenes_training(SMALL).questions) == 80


def test_png_files_are_read_as_written() -> None:
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    assert (np.asarray(Image.open(io.BytesIO(png(pixels)))) == pixels).all()
    with pytest.raises(UserError, match="too large"):
        png(np.zeros((200, 200, 3), dtype=np.uint8))

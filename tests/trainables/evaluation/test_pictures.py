"""Pictures and captions in both directions, against the naive way to rank them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.trainables.evaluation.toys import order
from trainables.data.benchmark import Benchmark, Candidate, Query
from trainables.data.pictures import IMAGE, Picture
from trainables.encoders.encoder import Embeddings
from trainables.errors import UserError
from trainables.evaluation import picture_store as module
from trainables.evaluation import scoring
from trainables.evaluation.evaluate import evaluate
from trainables.evaluation.metrics import PICTURE_MEASURES, by_query, metrics_from_ranks, settings
from trainables.evaluation.picture_store import PictureStore
from trainables.evaluation.ranks import load_ranks, save_ranks
from trainables.storage.cache import Cache

LANGUAGES = ("de", "en", "sw")


def gallery(pictures: int = 9, captions: int = 1) -> Benchmark:
    """Pictures `p0`, …, each with some captions in every language, whose text names them."""
    numbers = list(itertools.product(range(pictures), range(captions)))
    return Benchmark(
        name="toy",
        queries={
            la: [
                Query(f"{la}:{i}.{j}", f"{la} {i} {j}", f"{i}.{j}", f"family {i // 2}")
                for i, j in numbers
            ]
            for la in LANGUAGES
        },
        corpus={IMAGE: [Candidate(f"p{i}", f"p{i}") for i in range(pictures)]},
        qrels={f"{la}:{i}.{j}": {f"p{i}": 1.0} for la in LANGUAGES for i, j in numbers},
        judged_in_all_languages=False,
        pictures=[Picture(f"p{i}", b"", f"family {i // 2}") for i in range(pictures)],
    )


def picture_of(made: Benchmark, caption: Query) -> str:
    """Id of the one picture that a caption is of."""
    [picture] = made.qrels[caption.id]
    return picture


@dataclass
class Seeing:
    """Vectors of small whole numbers, so that many scores tie, `several` of them a picture."""

    several: int = 0
    levels: int = 3
    images: list[int] = field(default_factory=list)
    planted: Mapping[str, Embeddings] = field(default_factory=dict)
    picture_digest: str | None = "tower"

    def vector(self, text: str, rows: int = 0) -> Embeddings:
        rng = np.random.default_rng(list(text.encode()))
        shape = (rows, 4) if rows else (4,)
        drawn = rng.integers(-self.levels, self.levels + 1, shape).astype(np.float32)
        drawn[..., 0] += (drawn == 0).all(-1)
        return self.planted.get(text, drawn)

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        return np.stack([self.vector(text) for text in texts])

    def encode_passages(self, texts: Sequence[str], language: str) -> Embeddings:
        raise AssertionError("captions are queries in both directions")

    def encode_images(self, pictures: Sequence[Picture]) -> Embeddings:
        self.images.append(len(pictures))
        return np.stack([self.vector(picture.id, self.several) for picture in pictures])


def naive(made: Benchmark, encoder: Seeing) -> dict[str, float]:
    """Mean average precision, shares and hits by sorting every list and walking down it."""
    found: dict[str, list[float]] = {}
    shown = np.stack([encoder.vector(p.id, max(1, encoder.several)) for p in made.pictures])
    if not encoder.several:
        shown = np.stack([encoder.vector(p.id)[None] for p in made.pictures])
    ids = [picture.id for picture in made.pictures]
    owners: list[str] = []
    tables: list[NDArray[np.float32]] = []
    for language, captions in made.queries.items():
        asked = np.stack([encoder.vector(caption.text) for caption in captions])
        scores = np.einsum("cd,pkd->cpk", asked, shown).max(2)
        for row, caption in zip(scores, captions, strict=True):
            note(found, f"t2i/{language}", row, np.array(ids) == picture_of(made, caption))
        own = np.array([picture_of(made, caption) for caption in captions])
        for column, name in enumerate(ids):
            note(found, f"i2t/{language}", scores[:, column], own == name)
        owners += list(own)
        tables.append(scores)
    pool = np.concatenate(tables)
    for column, name in enumerate(ids):
        note(found, "i2t_multi", pool[:, column], np.array(owners) == name)
    return {name: float(np.mean(values)) for name, values in found.items()}


def note(
    found: dict[str, list[float]],
    setting: str,
    scores: NDArray[np.float32],
    wanted: NDArray[np.bool],
) -> None:
    at = np.flatnonzero(wanted[order(scores)]) + 1
    if len(at):
        values = {
            "map": float(np.mean(np.arange(1, len(at) + 1) / at)),
            "recall_at_1": float(np.mean(at <= 1)),
            "hit_at_1": float(at[0] <= 1),
            "hit_at_5": float(at[0] <= 5),
        }
        for measure, value in values.items():
            found.setdefault(f"{measure}/{setting}", []).append(value)


@pytest.mark.parametrize("several", [0, 3])
@pytest.mark.parametrize("captions", [1, 3])
def test_both_directions_equal_sorting_every_list(
    several: int, captions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_BLOCK", 90)  # several products and several blocks
    made, encoder = gallery(captions=captions), Seeing(several)
    result = evaluate(made, encoder)
    expected = naive(made, encoder)
    assert result.counts["ties/own/t2i"] > 0
    assert result.counts["ties/pool/i2t"] > 0
    for name, value in expected.items():
        assert result.metrics[name] == pytest.approx(value, abs=1e-12), name
    for measure, kind in itertools.product(PICTURE_MEASURES, ("t2i", "i2t")):
        mean = np.mean([result.metrics[f"{measure}/{kind}/{la}"] for la in LANGUAGES])
        assert result.metrics[f"{measure}/{kind}"] == pytest.approx(mean)


def test_names_are_those_of_pictures_alone() -> None:
    result = evaluate(gallery(), Seeing())
    kinds = {name.split("/")[1] for name in result.metrics if name.startswith("map/")}
    assert kinds == {"t2i", "i2t", "i2t_multi"}
    assert not [name for name in result.metrics if IMAGE in name.split("/")]
    assert "map/i2t_multi/image" not in result.metrics
    assert result.counts["queries/t2i/de"] == result.counts["queries/i2t_multi"] == 9
    assert result.counts["encoded/queries"] == 27
    assert result.counts["encoded/pictures"] == 9


def test_several_captions_tell_a_share_from_a_hit() -> None:
    """Of a picture's three captions one is first, two are last."""
    made = gallery(pictures=4, captions=3)
    vectors = {f"p{i}": row for i, row in enumerate(np.eye(4, dtype=np.float32))}
    for i, language in itertools.product(range(4), LANGUAGES):
        vectors[f"{language} {i} 0"] = vectors[f"p{i}"]
        vectors[f"{language} {i} 1"] = vectors[f"{language} {i} 2"] = -vectors[f"p{i}"]
    metrics = evaluate(made, Seeing(planted=vectors)).metrics
    assert metrics["hit_at_1/i2t/de"] == 1
    assert metrics["recall_at_1/i2t/de"] == pytest.approx(1 / 3)
    assert metrics["hit_at_1/t2i/de"] == metrics["recall_at_1/t2i/de"] == pytest.approx(1 / 3)


def test_bias_over_languages_only_of_parallel_captions() -> None:
    parallel = evaluate(gallery(), Seeing())
    assert parallel.metrics["rank_distance"] > 0
    assert {"share_at_10/de", "kendall_w"} <= parallel.metrics.keys()
    other = evaluate(gallery(captions=2), Seeing()).metrics
    assert "map/i2t_multi" in other
    assert not [name for name in other if name.startswith(("rank_distance", "share", "kendall"))]


def test_stored_ranks_give_every_metric_of_their_direction(tmp_path: Path) -> None:
    result = evaluate(gallery(), Seeing())
    assert result.i2t is not None
    found: dict[str, float] = {}
    for ranks in (result.ranks, result.i2t):
        save_ranks(ranks, tmp_path / "ranks.npz")
        again = load_ranks(tmp_path / "ranks.npz")
        assert again.direction == ranks.direction
        found |= metrics_from_ranks(again)
        assert set(by_query(again, "hit_at_5")) == set(settings(again))
    assert found == result.metrics


def test_a_picture_without_caption_is_searched_among_but_asks_nothing() -> None:
    made = gallery()
    more = replace(
        made,
        pictures=[*made.pictures, Picture("lonely", b"", "family 9")],
        corpus={IMAGE: [*made.corpus[IMAGE], Candidate("lonely", "lonely")]},
    )
    result = evaluate(more, Seeing())
    assert result.ranks.corpus_sizes.tolist() == [10]
    assert result.counts["dropped/no relevant candidate/i2t"] == 1
    assert result.counts["queries/i2t/de"] == 9


def test_frozen_towers_see_each_picture_once(tmp_path: Path) -> None:
    made, encoder = gallery(), Seeing(several=2)
    expected = evaluate(made, Seeing(several=2)).metrics
    store = PictureStore(Cache(tmp_path), "data")
    first = evaluate(made, encoder, pictures=store)
    again = evaluate(made, encoder, pictures=store)
    assert first.metrics == again.metrics == expected
    assert encoder.images == [9]
    assert (first.counts["encoded/pictures"], again.counts["encoded/pictures"]) == (9, 0)
    for store_, digest in ((PictureStore(Cache(tmp_path), "other"), "tower"), (store, "trained")):
        other = Seeing(several=2, picture_digest=digest)
        evaluate(made, other, pictures=store_)
        assert other.images == [9]
    moving = Seeing(several=2, picture_digest=None)
    evaluate(made, moving, pictures=store)
    evaluate(made, moving, pictures=store)
    assert moving.images == [9, 9]


def test_pictures_are_encoded_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 4)
    encoder, told = Seeing(), []
    evaluate(gallery(), encoder, progress=lambda *what: told.append(what))
    assert encoder.images == [4, 4, 1]
    assert ("pictures", 8, 9) in told


@pytest.mark.parametrize("several", [0, 2])
@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_useless_vectors_are_refused_with_the_picture(several: int, value: float) -> None:
    rows = np.ones((several, 4) if several else 4, np.float32)
    rows[-1:] = value
    encoder = Seeing(several, planted={"p3": rows if several else rows * value})
    with pytest.raises(UserError, match="'p3'"):
        evaluate(gallery(), encoder)


def test_an_encoder_of_texts_alone_is_told_so() -> None:
    class Blind:
        encode_queries = encode_passages = staticmethod(lambda texts, language: texts)

    with pytest.raises(UserError, match="reads only text"):
        evaluate(gallery(), Blind())

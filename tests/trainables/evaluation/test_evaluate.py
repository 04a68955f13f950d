from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.evaluation.toys import TableEncoder, benchmark, parallel
from trainables.data.benchmark import Benchmark, Candidate, Query
from trainables.data.catalog import load_benchmark
from trainables.encoders.encoder import Embeddings
from trainables.errors import UserError
from trainables.evaluation import encode
from trainables.evaluation import ranks as module
from trainables.evaluation.evaluate import evaluate, evaluate_embeddings
from trainables.evaluation.metrics import metrics_from_ranks
from trainables.evaluation.ranks import Ranks, load_ranks, save_ranks


def with_repeats() -> Benchmark:
    """Equal texts within a language, and one shared by two languages."""
    return Benchmark(
        name="toy",
        queries={
            "de": [Query("de:a", "wo", "a", "x"), Query("de:b", "wo", "b", "x")],
            "en": [Query("en:a", "where", "a", "x"), Query("en:b", "when", "b", "x")],
        },
        corpus={
            "de": [Candidate("de_0", "hier"), Candidate("de_1", "hier"), Candidate("de_2", "OK")],
            "en": [Candidate("en_0", "here"), Candidate("en_1", "OK")],
        },
        qrels={q: {"de_1": 1, "en_0": 1} for q in ("de:a", "de:b", "en:a", "en:b")},
    )


def test_each_text_is_encoded_once_per_role_and_language() -> None:
    toy = with_repeats()
    encoder = TableEncoder.of(toy)
    found = evaluate(toy, encoder)
    assert encoder.asked == [
        ("queries", "de", 1),
        ("queries", "en", 2),
        ("passages", "de", 2),
        ("passages", "en", 2),
    ]
    assert found.counts["encoded/queries"] == 3
    assert found.counts["encoded/passages"] == 4
    assert found.ranks.own_ties.reshape(4, 2).tolist() == [[1, 0]] * 4
    assert found.ranks.own_before.reshape(4, 2).tolist() == [[1, 0]] * 4


def test_encoding_work_is_a_tenth_of_encoding_by_pairs_on_eleven_languages() -> None:
    toy = parallel([f"l{i:02d}" for i in range(11)], questions=6, candidates=9)
    encoder = TableEncoder.of(toy)
    evaluate(toy, encoder)
    by_pairs = 121 * (6 + 9)
    assert sum(number for *_, number in encoder.asked) <= by_pairs / 10


def test_from_an_encoder_and_from_its_vectors_alike() -> None:
    toy = with_repeats()
    encoder = TableEncoder.of(toy)
    queries = {
        la: encoder.encode_queries([q.text for q in items], la) for la, items in toy.queries.items()
    }
    passages = {
        la: encoder.encode_passages([c.text for c in items], la) for la, items in toy.corpus.items()
    }
    assert evaluate(toy, encoder).metrics == evaluate_embeddings(toy, queries, passages).metrics


def test_ranks_come_back_from_disk_with_the_same_metrics(tmp_path: Path) -> None:
    toy = parallel(["de", "en", "tr"], questions=7, candidates=12, relevant=2)
    found = evaluate(toy, TableEncoder.of(toy))
    save_ranks(found.ranks, tmp_path / "ranks.npz")
    save_ranks(found.ranks, tmp_path / "again.npz")
    back = load_ranks(tmp_path / "ranks.npz")
    assert metrics_from_ranks(back) == found.metrics
    for item in dataclasses.fields(Ranks):
        before, after = getattr(found.ranks, item.name), getattr(back, item.name)
        assert type(before) is type(after)
        np.testing.assert_array_equal(before, after)
        assert getattr(before, "dtype", None) == getattr(after, "dtype", None)
    assert (tmp_path / "ranks.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (0, 255, "uint8"),
        (0, 256, "int16"),
        (-1, 0, "int16"),
        (-32768, 32767, "int16"),
        (0, 65535, "uint16"),
        (0, 65536, "int32"),
        (-1, 32768, "int32"),
    ],
)
def test_ranks_of_any_size_come_back(tmp_path: Path, low: int, high: int, kind: str) -> None:
    ranks = evaluate(toy := parallel(["de"], 3, 5), TableEncoder.of(toy)).ranks
    wide = np.full(len(ranks.pool_rank), high, dtype=np.int32)
    wide[0] = low
    save_ranks(dataclasses.replace(ranks, pool_rank=wide), tmp_path / "ranks.npz")
    back = load_ranks(tmp_path / "ranks.npz").pool_rank
    np.testing.assert_array_equal(back, wide)
    assert back.dtype == np.int32
    with np.load(tmp_path / "ranks.npz") as columns:
        assert columns["pool_rank"].dtype == kind, "no larger than it must be"


def test_metrics_are_plain_finite_numbers_with_names_that_mlflow_takes() -> None:
    toy = parallel(["de", "en", "zh-Hans"], questions=7, candidates=12)
    found = evaluate(toy, TableEncoder.of(toy))
    assert all(type(value) is float and np.isfinite(value) for value in found.metrics.values())
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-. :/")
    assert set("".join(found.metrics)) <= allowed
    assert "map/cross/zh-Hans-en" in found.metrics
    json.dumps([found.metrics, found.counts, found.timing], allow_nan=False)


def test_ids_of_the_first_candidates_are_kept() -> None:
    toy = with_repeats()
    encoder = TableEncoder.of(toy)
    ranks = evaluate(toy, encoder).ranks
    query = encoder.queries["when"]
    pool = ["de_0", "de_1", "de_2", "en_0", "en_1"]
    scores = [query @ encoder.passages[c.text] for items in toy.corpus.values() for c in items]
    expected = [pool[i] for i in sorted(range(5), key=lambda i: (-scores[i], i))]
    row = ranks.query_ids.tolist().index("en:b")
    assert [str(ranks.candidate_ids[i]) for i in ranks.top[row] if i >= 0] == expected
    assert (ranks.top[row, 5:] == -1).all()


def test_ranks_of_another_format_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = evaluate(toy := parallel(["de"], 3, 5), TableEncoder.of(toy)).ranks
    with monkeypatch.context() as patched:
        patched.setattr(module, "_FORMAT", 99)
        save_ranks(ranks, tmp_path / "ranks.npz")
    with pytest.raises(UserError, match="ranks of format 99; this version reads"):
        load_ranks(tmp_path / "ranks.npz")


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "other"])
def test_damaged_ranks_are_one_clear_error(tmp_path: Path, damage: str) -> None:
    toy = parallel(["de"], questions=3, candidates=5)
    path = tmp_path / "ranks.npz"
    save_ranks(evaluate(toy, TableEncoder.of(toy)).ranks, path)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:300])
    elif damage == "text":
        path.write_text("not ranks")
    else:
        np.savez(path, something=np.ones(3))
    with pytest.raises(UserError, match=r"ranks\.npz"):
        load_ranks(path)


class Broken(TableEncoder):
    """Returns passages in English after `spoil`."""

    def encode_passages(self, texts: Sequence[str], language: str) -> Embeddings:
        vectors = super().encode_passages(texts, language)
        return self.spoil(vectors) if language == "en" else vectors

    def spoil(self, vectors: Embeddings) -> Embeddings:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: np.where(np.arange(len(x))[:, None] == 1, np.nan, x), "NaN or infinity"),
        (lambda x: np.where(np.arange(len(x))[:, None] == 1, np.inf, x), "NaN or infinity"),
        (lambda x: np.where(np.arange(len(x))[:, None] == 1, 0, x), "zero vector"),
        (lambda x: x[:-1], "shape"),
        (lambda x: x[0], "shape"),
        (lambda x: x[:, :0], "shape"),
        (lambda x: x.astype(np.float16), "float16"),
        (lambda x: x.astype(np.float64), "float64"),
        (lambda x: x.tolist(), "list"),
        (lambda x: x[:, :4], "dimension 4"),
    ],
)
def test_vectors_that_would_give_silent_nonsense_are_refused(
    spoil: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = with_repeats()
    encoder = Broken(**vars(TableEncoder.of(toy)))
    monkeypatch.setattr(encoder, "spoil", spoil)
    with pytest.raises(UserError, match=f"passages in en.*{message}"):
        evaluate(toy, encoder)


def test_the_message_names_the_text() -> None:
    with pytest.raises(UserError, match=r"1 of 2 texts, first for text 1: 'b'"):
        encode.check_vectors(np.array([[1], [0]], np.float32), ["a", "b"], "de", "queries")


def test_a_language_without_queries_has_a_corpus_all_the_same() -> None:
    toy = benchmark(
        {"de": 2, "en": 0}, {"de": 3, "en": 3}, {"de:q0": {"de_0": 1, "en_0": 1}, "de:q1": {}}
    )
    found = evaluate(toy, TableEncoder.of(toy))
    assert {name for name in found.metrics if name.startswith("map/") and name.count("/") == 2} == {
        "map/mono/de",
        "map/cross/de-en",
        "map/multi/de",
    }
    assert found.counts["queries/mono/de"] == 1
    assert found.counts["dropped/mono/de"] == 1
    assert found.counts["dropped/no relevant candidate"] == 1


def test_an_empty_corpus_takes_no_part() -> None:
    toy = benchmark({"de": 2}, {"de": 3, "en": 0}, {f"de:q{i}": {"de_0": 1} for i in range(2)})
    found = evaluate(toy, TableEncoder.of(toy))
    assert not [name for name in found.metrics if "multi" in name or "rank_distance" in name]


def test_queries_without_a_relevant_candidate_in_a_language_are_dropped_and_counted() -> None:
    toy = benchmark(
        {"de": 3, "en": 3},
        {"de": 4, "en": 4},
        {f"{la}:q{i}": {"de_0": 1} | ({"en_1": 1} if i else {}) for la in ("de", "en")
         for i in range(3)},
    )  # fmt: skip
    counts = evaluate(toy, TableEncoder.of(toy)).counts
    assert counts["queries/cross/de-en"] == 2
    assert counts["dropped/cross/de-en"] == 1
    assert counts["queries/multi/de"] == 3
    assert "dropped/multi/de" not in counts


def test_nothing_to_measure_is_an_error() -> None:
    toy = benchmark({"de": 2}, {"de": 3}, {"someone else's": {"de_0": 1}})
    with pytest.raises(UserError, match="no query has a relevant candidate"):
        evaluate(toy, TableEncoder.of(toy))


def test_qrels_naming_missing_documents_are_refused() -> None:
    with pytest.raises(UserError, match="de_9"):
        benchmark({"de": 1}, {"de": 3}, {"de:q0": {"de_9": 1}})


def test_progress_and_texts_cut() -> None:
    toy = with_repeats()

    class Counting(TableEncoder):
        truncated = {"query": 0, "passage": 5}  # noqa: RUF012

        def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
            self.truncated["query"] += len(texts)
            return super().encode_queries(texts, language)

    told: list[tuple[str, int, int]] = []
    encoder = Counting(**vars(TableEncoder.of(toy)))
    found = evaluate(toy, encoder, progress=lambda *step: told.append(step))
    assert told == [
        ("queries de", 1, 1),
        ("queries en", 2, 2),
        ("passages de", 2, 2),
        ("passages en", 2, 2),
        ("rank", 4, 4),
    ]
    assert found.counts["truncated/queries/en"] == 2
    assert found.counts["truncated/passages/en"] == 0
    assert set(found.timing) == {"encode queries", "encode passages", "rank", "measure"}


def test_many_texts_go_to_the_encoder_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "CHUNK", 4)
    toy = parallel(["de", "en"], questions=9, candidates=10)
    chunked = TableEncoder.of(toy)
    whole = evaluate(toy, chunked)
    assert [number for role, la, number in chunked.asked if la == "de"] == [4, 4, 1, 4, 4, 2]
    monkeypatch.undo()
    assert evaluate(toy, TableEncoder.of(toy)).metrics == whole.metrics


def test_ids_of_pictures_are_not_encoded_as_passages() -> None:
    with pytest.raises(UserError, match="ids of its pictures"):
        evaluate(load_benchmark("scenes").reversed(), TableEncoder({}, {}))

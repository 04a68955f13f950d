from __future__ import annotations

import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.evaluation.toys import TableEncoder, benchmark, order, parallel
from trainables.encoders.encoder import Embeddings
from trainables.errors import UserError
from trainables.evaluation import index as module
from trainables.evaluation.evaluate import evaluate, evaluate_top
from trainables.evaluation.index import Index, measured_recall, search
from trainables.evaluation.metrics import CUT_OFFS


def vectors(size: int, dimension: int = 16, seed: int = 0) -> Embeddings:
    return np.random.default_rng(seed).standard_normal((size, dimension)).astype(np.float32)


def naive(queries: Embeddings, corpus: Embeddings, k: int) -> np.ndarray:
    scores = (queries.astype(np.float64) @ corpus.T.astype(np.float64)).astype(np.float32)
    return np.stack([order(row)[:k] for row in scores])


@given(
    size=st.integers(1, 90),
    different=st.integers(1, 90),
    k=st.integers(1, 100),
    rows=st.integers(1, 50),
    seed=st.integers(0, 1000),
)
def test_exact_search_is_a_full_sort_whatever_ties(
    size: int, different: int, k: int, rows: int, seed: int
) -> None:
    """Few different vectors make ties of any length, few rows many blocks."""
    rng = np.random.default_rng(seed)
    corpus = vectors(different, 8, seed)[rng.integers(0, different, size)]
    queries = vectors(5, 8, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", rows * 4 * 8)
        found, scores = search(queries, corpus, k)
    np.testing.assert_array_equal(found, naive(queries, corpus, k))
    assert scores.dtype == np.float32
    assert (np.diff(scores, axis=1) <= 0).all()


def test_nothing_to_search() -> None:
    for queries, corpus in ((0, 5), (3, 0)):
        found, scores = search(vectors(queries), vectors(corpus), 4)
        assert found.shape == scores.shape == (queries, min(4, corpus))


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_approximate_index_finds_more_with_more_effort(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, corpus = vectors(60, 64), vectors(6000, 64, seed=1)
    monkeypatch.setattr(module, "_SHARD", 3000 * 4 * 64)
    recalls = []
    for effort in (1, 4000):
        found, scores = search(queries, corpus, 10, Index(kind, effort))  # type: ignore[arg-type]
        true = naive(queries, corpus, 10)
        shared = [len({*a} & {*b}) for a, b in zip(found.tolist(), true.tolist(), strict=True)]
        recalls.append(measured_recall(queries, corpus, 10, scores, sample=60))
        assert recalls[-1] == pytest.approx(np.mean(shared) / 10)
        assert (found[scores > -np.inf] >= 0).all()
    assert recalls[0] < 0.98 < 0.995 < recalls[1]


def test_few_vectors_make_a_small_index() -> None:
    queries, corpus = vectors(3), vectors(5)
    for kind in ("hnsw", "ivf"):
        found, _ = search(queries, corpus, 10, Index(kind))
        np.testing.assert_array_equal(np.sort(found), [range(5)] * 3)


def test_the_first_candidates_give_the_same_figures() -> None:
    toy = parallel(["de", "en", "vi"], questions=40, candidates=150, relevant=2)
    encoder = TableEncoder.of(toy)
    whole, first = evaluate(toy, encoder), evaluate_top(toy, encoder)
    assert set(first.metrics) == {
        name for name in whole.metrics if name.split("/")[0] in CUT_OFFS and "gap" not in name
    } - {name for name in whole.metrics if name.split("/")[-1] in ("spread", "worst")}
    for name, value in first.metrics.items():
        assert value == pytest.approx(whole.metrics[name], abs=1e-12), name
    assert 0 < first.metrics["recall_at_100/multi"] < 1
    assert not [name for name in first.metrics if name.startswith(("map", "rank_distance"))]
    assert first.counts == {k: v for k, v in whole.counts.items() if not k.startswith("ties/")}


def test_the_recall_of_an_approximate_index_stands_beside_its_figures() -> None:
    toy = parallel(["de", "en"], questions=30, candidates=2000)
    encoder = TableEncoder.of(toy, dimension=32)
    exact = evaluate_top(toy, encoder).metrics
    assert not [name for name in exact if name.startswith("index/")]
    found = evaluate_top(toy, encoder, index=Index("ivf", 4)).metrics
    recalls = [found[f"index/recall_at_100/{language}"] for language in ("de", "en")]
    assert found["index/recall_at_100"] == pytest.approx(np.mean(recalls))
    assert 0 < found["index/recall_at_100"] < 0.9
    assert found["recall_at_100/mono"] != exact["recall_at_100/mono"]
    assert set(exact) == {name for name in found if not name.startswith("index/")}


def test_a_corpus_smaller_than_the_depth_and_an_empty_one() -> None:
    qrels = {f"de:q{i}": {"de_0": 1} for i in range(2)}
    toy = benchmark({"de": 2}, {"de": 3, "en": 0}, qrels)
    encoder = TableEncoder.of(toy)
    assert evaluate_top(toy, encoder).metrics["recall_at_10/mono/de"] == 1
    shallow = evaluate_top(toy, encoder, depth=1).metrics
    assert {name.split("/")[0] for name in shallow} == {"recall_at_1"}
    assert shallow["recall_at_1/mono"] == evaluate(toy, encoder).metrics["recall_at_1/mono"]


def test_what_faiss_would_take_without_complaint() -> None:
    with pytest.raises(UserError, match="choose flat, hnsw or ivf"):
        Index("pq")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="effort 0"):
        Index("hnsw", 0)
    toy = parallel(["de"], questions=2, candidates=3)
    with pytest.raises(UserError, match="depth 0"):
        evaluate_top(toy, TableEncoder.of(toy), depth=0)


def test_two_openmps_in_one_process_agree() -> None:
    """Torch and FAISS each bring one; threads are torch's, and FAISS's own setting comes back."""
    queries, corpus = vectors(50), vectors(4000, seed=1)
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    found = []
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        expected = torch.topk(torch.from_numpy(queries) @ torch.from_numpy(corpus).T, 5).indices
        found.append(search(queries, corpus, 5)[0])
        np.testing.assert_array_equal(found[-1], expected.numpy())
    torch.set_num_threads(before[0])
    np.testing.assert_array_equal(found[0], found[1])
    assert faiss.omp_get_max_threads() == before[1]


def test_memory_does_not_grow_with_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 MB of memory-mapped vectors are searched in blocks of 4 MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("anonymous memory is read from /proc")
    monkeypatch.setattr(module, "_BLOCK", 1 << 22)
    made = np.lib.format.open_memmap(tmp_path / "corpus.npy", "w+", np.float32, (400_000, 64))
    made[:] = vectors(400_000, 64)
    made.flush()
    corpus, queries = np.load(tmp_path / "corpus.npy", mmap_mode="r"), vectors(20, 64, 5)
    search(queries, corpus[:1000], 10)
    seen, done = [], threading.Event()

    def anonymous() -> int:
        line = next(x for x in status.read_text().splitlines() if x.startswith("RssAnon"))
        return int(line.split()[1])

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(anonymous())

    before, watcher = anonymous(), threading.Thread(target=watch)
    watcher.start()
    found, _ = search(queries, corpus, 10)
    done.set()
    watcher.join()
    np.testing.assert_array_equal(found[:2], naive(queries[:2], corpus, 10))
    assert max(seen) - before < 40_000

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.evaluation.toys import TableEncoder, parallel
from trainables.data.benchmark import Benchmark, Candidate
from trainables.encoders.encoder import Embeddings
from trainables.errors import UserError
from trainables.evaluation import vector_store as module
from trainables.evaluation.evaluate import evaluate
from trainables.evaluation.vector_store import VectorStore
from trainables.storage.cache import Cache


def toy() -> Benchmark:
    """Three texts of English repeat."""
    made = parallel(["de", "en"], questions=6, candidates=10)
    english = list(made.corpus["en"])
    english[7:] = [Candidate(c.id, english[1].text) for c in english[7:]]
    return Benchmark("toy", made.queries, {**made.corpus, "en": english}, made.qrels)


def test_stored_vectors_give_the_same_and_are_encoded_once(tmp_path: Path) -> None:
    made, store = toy(), VectorStore(Cache(tmp_path), "encoder")
    encoder = TableEncoder.of(made)
    expected = evaluate(made, TableEncoder.of(made)).metrics
    first = evaluate(made, encoder, store=store)
    assert first.metrics == expected
    assert first.counts["encoded/passages"] == 10 + 7
    asked = len(encoder.asked)
    again = evaluate(made, encoder, store=store)
    assert again.metrics == expected
    assert again.counts["encoded/passages"] == 0
    assert [role for role, *_ in encoder.asked[asked:]] == ["queries", "queries"]
    assert {path.name for path in tmp_path.glob("*/*")} == {"vectors.npy", "name"}


def test_another_encoder_or_text_has_its_own_vectors(tmp_path: Path) -> None:
    encoder = TableEncoder({}, {t: np.ones(3, np.float32) for t in ("a", "b", "c")})
    for digest, texts in (("x", ["a", "b"]), ("y", ["a", "b"]), ("x", ["a", "c"])):
        _, encoded = VectorStore(Cache(tmp_path), digest).vectors(encoder, texts, "de", "passages")
        assert encoded == 2


class Interrupted(TableEncoder):
    calls = 0

    def encode_passages(self, texts: Sequence[str], language: str) -> Embeddings:
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().encode_passages(texts, language)


def test_an_interrupted_encoding_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    made = toy()
    table = TableEncoder.of(made)
    encoder = Interrupted(table.queries, table.passages)
    store = VectorStore(Cache(tmp_path), "encoder")
    texts = [c.text for c in made.corpus["en"]]
    with pytest.raises(KeyboardInterrupt):
        store.vectors(encoder, texts, "en", "passages")
    vectors, encoded = store.vectors(table, texts, "en", "passages")
    assert encoded == 7 - 4
    assert isinstance(vectors, np.memmap)
    np.testing.assert_array_equal(vectors, np.stack([table.passages[text] for text in texts]))


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    encoder = TableEncoder({}, {"a": np.ones(3, np.float32)})
    with pytest.raises(UserError, match="file: vectors cannot be stored"):
        VectorStore(Cache(tmp_path / "file"), "x").vectors(encoder, ["a"], "de", "passages")

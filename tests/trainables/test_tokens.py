"""The tokenised store: same rows, written once, named by content."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.storage.cache import Cache
from trainables.training.tokens import Columns, Row, store_digest, tokenised


def letters(texts: Sequence[str]) -> list[Row]:
    return [np.array([ord(letter) for letter in text], dtype=np.int32) for text in texts]


def refuse(texts: Sequence[str]) -> list[Row]:
    raise AssertionError(f"{len(texts)} texts were tokenised a second time")


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    texts = ["abc", "", "d", "ßж"]
    store = tokenised(texts, letters, "t", "query", Cache(tmp_path))
    for row, expected in zip(store, letters(texts), strict=True):
        assert row.dtype == np.int32
        assert np.array_equal(row, expected)
    assert store.lengths.tolist() == [3, 0, 1, 2]
    assert np.array_equal(store[-1], letters(texts)[-1])
    assert [len(row) for row in store[1:3]] == [0, 1]
    with pytest.raises(IndexError):
        store[4]


def test_the_second_call_reads_what_the_first_wrote(tmp_path: Path) -> None:
    tokenised(["abc"], letters, "t", "query", Cache(tmp_path))
    again = tokenised(["abc"], refuse, "t", "query", Cache(tmp_path))
    assert again[0].tolist() == [97, 98, 99]
    for other in ({"t": "u"}, {"query": "passage"}, {"abc": "abd"}):
        with pytest.raises(AssertionError, match="second time"):
            tokenised(
                [other.get("abc", "abc")],
                refuse,
                other.get("t", "t"),
                other.get("query", "query"),
                Cache(tmp_path),
            )


def test_no_texts_is_an_empty_store(tmp_path: Path) -> None:
    assert len(tokenised([], letters, "t", "query", Cache(tmp_path))) == 0


def test_a_failed_attempt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        tokenised(["abc"], refuse, "t", "query", Cache(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_many_at_once_end_with_one_store(tmp_path: Path) -> None:
    texts = [str(number) * 50 for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        stores = list(
            pool.map(lambda _: tokenised(texts, letters, "t", "query", Cache(tmp_path)), range(16))
        )
    assert len(list(tmp_path.glob("*/"))) == 1
    assert all(np.array_equal(store.ids, stores[0].ids) for store in stores)


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_different_texts_have_different_names(one: list[str], other: list[str]) -> None:
    assert (store_digest(one, "t", "query") == store_digest(other, "t", "query")) == (one == other)


@pytest.mark.parametrize("kept", [True, False])
def test_columns_read_each_row_in_its_language(tmp_path: Path, kept: bool) -> None:
    columns = [["ab", "c", "ab"], ["c", "dd", "e"]]
    cache = Cache(tmp_path) if kept else None
    side = Columns(columns, letters, "t", "passage", cache)
    languages, rows = np.array([0, 1, 1, 0]), np.array([2, 1, 0, 1])
    expected = letters(["ab", "dd", "c", "c"])
    for row, wanted in zip(side.pick(languages, rows), expected, strict=True):
        assert np.array_equal(row, wanted)
    assert side.texts[0, 0] == side.texts[0, 2]
    assert side.texts[0, 1] == side.texts[1, 0]
    assert len(np.unique(side.texts)) == 4
    assert [len(store) for store in side] == [2, 3]

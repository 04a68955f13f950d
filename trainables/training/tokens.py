"""Token ids on disk: computed once per tokenizer and texts, then memory-mapped by every trial."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from trainables.storage.arrays import save_array
from trainables.storage.cache import Cache

Row = NDArray[np.int32]
Tokenizer = Callable[[Sequence[str]], Sequence[Row]]


class TokenStore(Sequence[Row]):
    """Token arrays of n texts in a folder, memory-mapped and so shared by a machine's processes.

    Attributes:
        ids: (total,) int32, all arrays concatenated.
        ends: (n + 1,) int64, where each array begins and the last ends.
    """

    def __init__(self, folder: Path) -> None:
        """Map the files of a folder."""
        self.ids: Row = np.load(folder / "ids.npy", mmap_mode="r")
        self.ends: NDArray[np.int64] = np.load(folder / "ends.npy", mmap_mode="r")

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.ends) - 1

    @overload
    def __getitem__(self, row: int) -> Row: ...
    @overload
    def __getitem__(self, row: slice) -> list[Row]: ...
    def __getitem__(self, row: int | slice) -> Row | list[Row]:
        """Return the token ids of one text, or of a slice of texts."""
        if isinstance(row, slice):
            return [self[index] for index in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"text {row} of {len(self)}")
        row %= len(self)
        return np.asarray(self.ids[self.ends[row] : self.ends[row + 1]])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) number of tokens of each text."""
        return np.diff(self.ends)


class Columns:
    """Texts of one role in every language, with each distinct text tokenised once per language.

    Attributes:
        texts: (languages, n) int64 text numbers, equal for equal texts in all languages; -1 if
            missing.
    """

    def __init__(
        self,
        columns: Sequence[Sequence[str | None]],
        tokenize: Tokenizer,
        tokenizer_digest: str,
        role: str,
        cache: Cache | None,
    ) -> None:
        """Number all texts, and tokenise what no other trial on this machine has tokenised yet.

        Args:
            columns: n texts in each language, None if missing.
            tokenize: As for `tokenised`.
            tokenizer_digest: Digest of all that decides token ids besides the texts.
            role: `query` or `passage`.
            cache: Cache for token ids; None keeps them in memory.
        """
        numbers: dict[str, int] = {}
        self.texts: NDArray[np.int64] = np.array(
            [
                [-1 if text is None else numbers.setdefault(text, len(numbers)) for text in column]
                for column in columns
            ],
            dtype=np.int64,
        )
        self._stores: list[Sequence[Row]] = []
        self._places: list[NDArray[np.int64]] = []
        all_texts = list(numbers)
        for row in self.texts:
            _, first, place = np.unique(row, return_index=True, return_inverse=True)
            distinct = [all_texts[number] for number in row[first] if number >= 0]
            # a missing text is numbered -1, so it sorts before all others
            place = place - int((row < 0).any())
            self._stores.append(
                tokenize(distinct)
                if cache is None
                else tokenised(distinct, tokenize, tokenizer_digest, role, cache)
            )
            self._places.append(place)

    def pick(self, languages: NDArray[np.int64], rows: NDArray[np.int64]) -> list[Row]:
        """Return the token ids of each row in its language.

        Raises:
            IndexError: A row has no text in its language.
        """
        if (self.texts[languages, rows] < 0).any():
            raise IndexError("a row is read in a language that it lacks")
        return [
            self._stores[language][self._places[language][row]]
            for language, row in zip(languages.tolist(), rows.tolist(), strict=True)
        ]

    def __iter__(self) -> Iterator[Sequence[Row]]:
        """Iterate over languages, yielding the token arrays of their distinct texts."""
        return iter(self._stores)


def tokenised(
    texts: Sequence[str],
    tokenize: Tokenizer,
    tokenizer_digest: str,
    role: str,
    cache: Cache,
) -> TokenStore:
    """Return the token arrays of `texts`, from the cache if another trial has put them there.

    Args:
        texts: Texts in order.
        tokenize: `TextEncoder.tokenize_queries` or `tokenize_passages`.
        tokenizer_digest: Digest of tokenizer, prefix and limit: all that decides ids but texts.
        role: `query` or `passage`, whose prefix and limit apply.
        cache: Cache for the store; one of several processes writes it while the others wait.
    """
    name = f"tokens-{store_digest(texts, tokenizer_digest, role)}"
    return TokenStore(cache.take(name, lambda folder: _write(folder, tokenize(texts))))


def store_digest(texts: Sequence[str], tokenizer_digest: str, role: str) -> str:
    """Return 20 hexadecimal digits that identify texts, tokenizer and role by content."""
    digest = hashlib.sha256(f"{tokenizer_digest} {role} {len(texts)}\n".encode())
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(f"{len(content)} ".encode() + content)
    return digest.hexdigest()[:20]


def _write(folder: Path, rows: Sequence[Row]) -> None:
    lengths = [len(row) for row in rows]
    ids = np.concatenate([np.empty(0, dtype=np.int32), *rows])
    save_array(folder / "ids.npy", ids.astype(np.int32, copy=False))
    save_array(folder / "ends.npy", np.cumsum([0, *lengths], dtype=np.int64))

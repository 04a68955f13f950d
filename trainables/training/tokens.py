"""Token ids kept on disk: tokenised once per tokenizer and texts, then mapped by every trial."""

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
    """The token arrays of n texts, in a folder that processes of a machine share by mapping it.

    Attributes:
        ids: (total,) int32, the arrays one after the other.
        ends: (n + 1,) int64, where each begins and the last ends.
    """

    def __init__(self, folder: Path) -> None:
        """Map the files of `folder`."""
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
        """Token ids of one text, or of some."""
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"text {row} of {len(self)}")
        row %= len(self)
        return np.asarray(self.ids[self.ends[row] : self.ends[row + 1]])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) tokens of each text."""
        return np.diff(self.ends)


class Columns:
    """The texts of one role in every language, tokenised: each different text once.

    Attributes:
        texts: (languages, n) int64, equal where two texts are equal, whatever their languages; -1
            where there is none.
    """

    def __init__(
        self,
        columns: Sequence[Sequence[str | None]],
        tokenize: Tokenizer,
        tokenizer_digest: str,
        role: str,
        cache: Cache | None,
    ) -> None:
        """Tokenise what no other trial on this machine has tokenised before.

        Args:
            columns: n texts in each language, None where one is missing.
            tokenize: As for `tokenised`, with the three that follow.
            tokenizer_digest: What decides the token ids, but for the texts.
            role: `query` or `passage`.
            cache: None tokenises in memory.
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
        every = list(numbers)
        for row in self.texts:
            _, first, place = np.unique(row, return_index=True, return_inverse=True)
            distinct = [every[number] for number in row[first] if number >= 0]
            # what is missing is numbered -1, so it sorts before all texts
            place = place - int((row < 0).any())
            self._stores.append(
                tokenize(distinct)
                if cache is None
                else tokenised(distinct, tokenize, tokenizer_digest, role, cache)
            )
            self._places.append(place)

    def pick(self, languages: NDArray[np.int64], rows: NDArray[np.int64]) -> list[Row]:
        """Token ids of each row in its language.

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
        """The token arrays of every language, each different text once."""
        return iter(self._stores)


def tokenised(
    texts: Sequence[str],
    tokenize: Tokenizer,
    tokenizer_digest: str,
    role: str,
    cache: Cache,
) -> TokenStore:
    """The token arrays of `texts`, from the cache where another trial was there before.

    Args:
        texts: In order.
        tokenize: `TextEncoder.tokenize_queries` or `tokenize_passages`.
        tokenizer_digest: What decides the token ids beside texts: tokenizer, prefix, limit.
        role: `query` or `passage`, whose prefix and limit apply.
        cache: Where the store is kept; one of several processes makes it, the others wait.
    """
    name = f"tokens-{store_digest(texts, tokenizer_digest, role)}"
    return TokenStore(cache.take(name, lambda folder: _write(folder, tokenize(texts))))


def store_digest(texts: Sequence[str], tokenizer_digest: str, role: str) -> str:
    """20 hexadecimal digits that name these texts, read so, by content."""
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

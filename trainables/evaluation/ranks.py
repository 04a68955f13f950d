"""Exact ranks as stored after an evaluation; every metric is computed from them later."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.data.formats.reading import LARGEST_RATIO
from trainables.data.pictures import IMAGE
from trainables.errors import UserError

Ints = NDArray[np.int32]
Texts = NDArray[np.str_]

TOP = 10
"""Candidates of the pool whose ids are stored for each query."""
DEPTHS = (10, 100)
"""Depths of the pool's ranking at which languages are counted."""

_FORMAT = 1
_PAIR_COLUMNS = (
    *("candidate", "language", "gain", "own_rank", "own_ties", "own_before"),
    *("pool_rank", "pool_ties", "pool_before"),
)
_DAMAGE = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, OSError, EOFError,
           MemoryError, NotImplementedError, RuntimeError)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks of the relevant candidates of n queries, m (query, relevant) pairs in all.

    Pairs are grouped by query: those of query q are `starts[q]:starts[q + 1]`. Ranks count from 1
    and follow law 7 of docs/principles.md: score descending, then candidate index ascending.
    `*_ties` counts the other candidates of exactly equal score, `*_before` those of them with a
    lower index. *Own* is the corpus of the candidate's language, *pool* the union of all.

    Attributes:
        name: Name of the benchmark.
        judged_in_all_languages: Whether the pool is the setting `multi` rather than
            `pool_same_language`.
        query_languages: Query languages by code, ascending.
        corpus_languages: Corpus languages by code, in pool order.
        corpus_sizes: (L,) candidates of each corpus language.
        query_ids: (n,) as in the benchmark.
        questions: (n,) ids shared by translations.
        clusters: (n,) largest known units of dependence.
        query_language: (n,) codes.
        starts: (n + 1,) offsets of the pairs.
        candidate_ids: Ids of the candidates that are relevant or among a query's first.
        candidate: (m,) codes into `candidate_ids`.
        language: (m,) corpus language codes.
        gain: (m,) positive judgements.
        own_rank: (m,) rank in the corpus of the candidate's language.
        own_ties: (m,) others of equal score there.
        own_before: (m,) those of `own_ties` with a lower index.
        pool_rank: (m,) rank in the union of all corpora.
        pool_ties: (m,) others of equal score there.
        pool_before: (m,) those of `pool_ties` with a lower index.
        top: (n, 10) first candidates of the pool, codes into `candidate_ids`; -1 past its end.
        above: (n, 2, L) for each depth of `DEPTHS`, candidates of each language with a score
            above that of the candidate at this depth of the pool.
        tied: (n, 2, L) candidates with exactly that score.
        no_relevant: (Q,) queries of each query language left out: no relevant candidate.
    """

    name: str
    judged_in_all_languages: bool
    query_languages: tuple[str, ...]
    corpus_languages: tuple[str, ...]
    corpus_sizes: Ints
    query_ids: Texts
    questions: Texts
    clusters: Texts
    query_language: Ints
    starts: Ints
    candidate_ids: Texts
    candidate: Ints
    language: Ints
    gain: NDArray[np.float64]
    own_rank: Ints
    own_ties: Ints
    own_before: Ints
    pool_rank: Ints
    pool_ties: Ints
    pool_before: Ints
    top: Ints
    above: Ints
    tied: Ints
    no_relevant: Ints

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.query_ids)

    @property
    def pair_query(self) -> NDArray[np.int64]:
        """Query index of each pair, (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def pool_midrank(self) -> NDArray[np.float64]:
        """Mean pool rank over all orders of tied candidates, (m,); favours no language."""
        return self.pool_rank - self.pool_before + self.pool_ties / 2

    @property
    def direction(self) -> Literal["t2i", "i2t", ""]:
        """`t2i` if captions search images, `i2t` if images search captions, else empty."""
        if self.corpus_languages == (IMAGE,):
            return "t2i"
        return "i2t" if self.query_languages == (IMAGE,) else ""

    @property
    def pool_is_several(self) -> bool:
        """Whether the pool unites more than one non-empty corpus."""
        return int(np.count_nonzero(self.corpus_sizes)) > 1

    def language_counts(self, depth: int, fair: bool = False) -> NDArray[np.float64]:
        """Count candidates of each language among the first `depth` of the pool, (n, L).

        Args:
            depth: One of `DEPTHS`.
            fair: Share the last places evenly among candidates tied for them, instead of giving
                them to the lowest indices (law 7), which favours the first languages.
        """
        index = DEPTHS.index(depth)
        above, tied = self.above[:, index], self.tied[:, index]
        places = min(depth, int(self.corpus_sizes.sum())) - above.sum(1, keepdims=True)
        if fair:
            return np.asarray(above + tied * (places / tied.sum(1, keepdims=True)))
        earlier = tied.cumsum(1) - tied
        return np.asarray(above + np.clip(places - earlier, 0, tied), dtype=np.float64)


def refuse_unparallel(ranks: Ranks) -> None:
    """Refuse ranks judged only in the query's language, where rank distance means nothing.

    Raises:
        UserError: Relevance is judged only in the query's own language.
    """
    if not ranks.judged_in_all_languages:
        raise UserError(
            f"{ranks.name}: relevance is judged only in the query's own language, so language bias "
            "is not defined on its pool. Use map/pool_same_language, or a benchmark that is "
            "judged in every language"
        )


def ranks_file(role: str, direction: str = "") -> str:
    """Return the file name of the ranks of `test`, `validation` or a further benchmark in a trial.

    Images have two files: `ranks-test.npz` for `t2i` and `ranks-test-i2t.npz` for `i2t`.
    """
    return f"ranks-{role}-i2t.npz" if direction == "i2t" else f"ranks-{role}.npz"


def save_ranks(ranks: Ranks, path: Path) -> None:
    """Write one compressed `.npz`; equal ranks give equal bytes."""
    columns: dict[str, Any] = {"format": np.asarray(_FORMAT)}
    for item in fields(Ranks):
        value = np.asarray(getattr(ranks, item.name))
        columns[item.name] = _narrow(value) if value.dtype == np.int32 else value
    # Like np.savez_compressed, but three times as fast for a tenth more space.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, column in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(column), allow_pickle=False)


def load_ranks(path: Path) -> Ranks:
    """Read ranks written by `save_ranks`.

    Raises:
        UserError: The file is missing, damaged, or of another format version.
    """
    try:
        _refuse_zip_bomb(path)
        with np.load(path, allow_pickle=False) as columns:
            version = int(columns["format"])
            if version != _FORMAT:
                raise UserError(
                    f"{path}: ranks of format {version}; this version reads {_FORMAT}. "
                    "Evaluate the trial again"
                )
            ranks = Ranks(**{item.name: _restore(item.name, columns) for item in fields(Ranks)})
        _refuse_inconsistent(ranks)
        return ranks
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; name the ranks of a finished trial") from None
    except _DAMAGE as error:
        raise UserError(
            f"{path}: not a complete file of ranks ({error}). Evaluate the trial again"
        ) from error


def _refuse_zip_bomb(path: Path) -> None:
    """Refuse a zip bomb: one that unpacks further than zlib's fastest level can pack (229:1)."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > LARGEST_RATIO * path.stat().st_size:
        raise ValueError(f"it unpacks to {unpacked} bytes")


def _refuse_inconsistent(ranks: Ranks) -> None:
    """Refuse columns whose shapes, types or codes do not fit together."""
    if not all(isinstance(x, tuple) for x in (ranks.query_languages, ranks.corpus_languages)):
        raise ValueError("its languages are no list")
    texts, corpora = len(ranks.query_languages), len(ranks.corpus_languages)
    queries, pairs, ids = len(ranks), len(ranks.candidate), len(ranks.candidate_ids)
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("query_ids", "questions", "clusters", "query_language"), (queries,)),
        **dict.fromkeys(("above", "tied"), (queries, len(DEPTHS), corpora)),
        **dict.fromkeys(_PAIR_COLUMNS, (pairs,)),
        "starts": (queries + 1,),
        "top": (queries, TOP),
        "corpus_sizes": (corpora,),
        "no_relevant": (texts,),
    }
    below = {"query_language": texts, "candidate": ids, "language": corpora, "top": ids}
    for name, shape in shapes.items():
        value = np.asarray(getattr(ranks, name))
        kind = "U" if name in ("query_ids", "questions", "clusters") else "if"
        if value.shape != shape or value.dtype.kind not in kind:
            raise ValueError(f"{name} is {value.dtype} of shape {value.shape}, not {shape}")
        if name in below and value.size and not -1 <= value.min() <= value.max() < below[name]:
            raise ValueError(f"{name} names what is not there")
    if ranks.starts[0] != 0 or ranks.starts[-1] != pairs or (np.diff(ranks.starts) < 0).any():
        raise ValueError("starts are not those of its pairs")


def _narrow(value: Ints) -> NDArray[Any]:
    """Convert to the smallest integer type that holds the values, to save space and time."""
    low, high = (int(value.min()), int(value.max())) if value.size else (0, 0)
    for kind in (np.uint8, np.int16, np.uint16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return value.astype(kind)
    return value


def _restore(name: str, columns: Mapping[str, NDArray[Any]]) -> Any:
    value = columns[name]
    if value.ndim == 0:
        return value.item()
    if name.endswith("_languages"):
        return tuple(map(str, value))
    return value.astype(np.int32) if value.dtype.kind in "iu" else value

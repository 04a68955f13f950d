"""Encode a benchmark's texts, each unique text once per role and language; check the vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from trainables.data.benchmark import Benchmark, Candidate
from trainables.encoders.encoder import Embeddings, Encoder
from trainables.errors import UserError

if TYPE_CHECKING:
    from trainables.evaluation.vector_store import VectorStore


from collections import Counter
from typing import Any

Role = Literal["queries", "passages", "pictures"]
Progress = Callable[[str, int, int], None]
"""Called with the stage, such as `passages de`, the number done and the total."""

CHUNK = 16_384
"""Texts passed to the encoder in one call: enough to sort by length, and to show progress."""


class Texts(Sequence[str]):
    """View of the texts of candidates, without a copy of the list."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        """Keep a reference to the candidates."""
        self.candidates = candidates

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.candidates)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one text, or a list of them for a slice."""
        if isinstance(index, slice):
            return [candidate.text for candidate in self.candidates[index]]
        return self.candidates[index].text


def encode_benchmark(
    benchmark: Benchmark,
    encoder: Encoder,
    progress: Progress | None,
    store: VectorStore | None,
) -> tuple[dict[str, Embeddings], dict[str, Embeddings], dict[str, int], dict[str, float]]:
    """Encode the queries that have a relevant candidate, and all passages.

    Returns:
        Vectors of queries and of passages by language; counts of texts encoded and truncated;
        seconds for each role.

    Raises:
        UserError: As `encode_unique`.
    """
    start = time.perf_counter()
    judged = {
        language: [query.text for query in queries]
        for language, queries in benchmark.judged_queries.items()
    }
    queries, query_counts = encode_texts(encoder, judged, "queries", progress, None)
    middle = time.perf_counter()
    candidates = {language: Texts(corpus) for language, corpus in benchmark.corpus.items()}
    passages, passage_counts = encode_texts(encoder, candidates, "passages", progress, store)
    end = time.perf_counter()
    timing = {"encode queries": middle - start, "encode passages": end - middle}
    return queries, passages, query_counts | passage_counts, timing


def encode_texts(
    encoder: Encoder,
    texts: Mapping[str, Sequence[str]],
    role: Role,
    progress: Progress | None,
    store: VectorStore | None,
) -> tuple[dict[str, Embeddings], dict[str, int]]:
    """Encode texts by language; also count those encoded and those truncated."""
    vectors: dict[str, Embeddings] = {}
    counts = {f"encoded/{role}": 0}
    for language, items in texts.items():
        if not items:
            continue
        truncated_before = _truncated(encoder, role)
        if store:
            vectors[language], unique = store.vectors(encoder, items, language, role, progress)
        else:
            vectors[language], unique = encode_unique(encoder, items, language, role, progress)
        counts[f"encoded/{role}"] += unique
        counts[f"encoded/{role}/{language}"] = unique
        if truncated_before is not None:
            counts[f"truncated/{role}/{language}"] = (
                _truncated(encoder, role) or 0
            ) - truncated_before
    return vectors, counts


def _truncated(encoder: Encoder, role: Role) -> int | None:
    """Return the number of texts truncated so far, or None if the encoder does not count them."""
    counted = getattr(encoder, "truncated", None)
    name = "query" if role == "queries" else "passage"
    return int(counted[name]) if isinstance(counted, Mapping) and name in counted else None


def encode_unique(
    encoder: Encoder,
    texts: Sequence[str],
    language: str,
    role: Role,
    progress: Progress | None = None,
) -> tuple[Embeddings, int]:
    """Return vectors of `texts`, (len(texts), d), and the number of unique texts encoded.

    Raises:
        UserError: The encoder returned anything but finite, non-zero float32 vectors.
    """
    rows: dict[str, int] = {}
    inverse = np.array([rows.setdefault(text, len(rows)) for text in texts], dtype=np.int64)
    unique = list(rows)
    encode = encoding(encoder, role)
    parts = []
    for begin in range(0, len(unique), CHUNK):
        chunk = unique[begin : begin + CHUNK]
        part = encode(chunk, language)
        check_vectors(part, chunk, language, role)
        parts.append(part)
        if progress:
            progress(f"{role} {language}", begin + len(chunk), len(unique))
    if len({part.shape[1] for part in parts}) > 1:
        raise UserError(f"{role} in {language}: the encoder changed its dimension between calls")
    vectors = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return (vectors if len(unique) == len(texts) else vectors[inverse]), len(unique)


def encoding(encoder: Encoder, role: Role) -> Callable[[Sequence[str], str], Embeddings]:
    """Return the encoder's method for this role."""
    return encoder.encode_queries if role == "queries" else encoder.encode_passages


def check_vectors(vectors: object, texts: Sequence[str], language: str, role: Role) -> None:
    """Refuse vectors that would silently give wrong scores.

    Raises:
        UserError: Not a float32 array; not of shape (len(texts), d), or (len(texts), k, d) for
            several vectors per text; or a vector is zero, infinite or NaN, of which the message
            names the first text.
    """
    where = f"{role} in {language}"
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        kind = getattr(vectors, "dtype", type(vectors).__name__)
        raise UserError(
            f"{where}: the encoder returned {kind}; a numpy array of float32 is needed, because "
            "coarser scores tie by the thousand. Convert with .float().cpu().numpy()"
        )
    if vectors.ndim not in (2, 3) or len(vectors) != len(texts) or not all(vectors.shape[1:]):
        raise UserError(
            f"{where}: the encoder returned shape {vectors.shape} for {len(texts)} texts; "
            f"({len(texts)}, d) is needed"
        )
    # A sum of squares is finite only if every component is, and zero only if all are: one pass.
    norms = np.einsum("...j,...j->...", vectors, vectors).reshape(len(vectors), -1)
    for bad, what in (
        (~np.isfinite(norms).all(1), "a vector with NaN or infinity (or too long to square)"),
        ((norms == 0).any(1), "a zero vector"),
    ):
        if bad.any():
            first = int(np.argmax(bad))
            raise UserError(
                f"{where}: the encoder returned {what} for {int(bad.sum())} of {len(texts)} "
                f"texts, first for text {first}: {texts[first][:80]!r}. "
                "Check the checkpoint, precision and empty texts"
            )


def truncated_answers(benchmark: Benchmark, encoder: Encoder) -> dict[str, int]:
    """Count answers that lie beyond the encoder's limit, by query language.

    An encoder states its limit by `passage_reach(texts)`: the code points that it reads of each
    text. CLIP's text towers stop after 77 tokens, fewer than most paragraphs have.

    Returns:
        `answers/de`, the queries whose source says where the answer is, and `answers/cut/de`,
        those whose answer is not read to its end; empty if the source or the encoder does not say.
    """
    reach: Any = getattr(encoder, "passage_reach", None)
    if reach is None or not benchmark.answers:
        return {}
    texts = {c.id: c.text for corpus in benchmark.corpus.values() for c in corpus}
    golds = sorted({gold for gold, _ in benchmark.answers.values()} & texts.keys())
    read = dict(zip(golds, reach([texts[gold] for gold in golds]), strict=True))
    counts: Counter[str] = Counter()
    for language, queries in benchmark.queries.items():
        known = [benchmark.answers[q.id] for q in queries if q.id in benchmark.answers]
        known = [(gold, end) for gold, end in known if gold in read]
        if known:
            counts[f"answers/{language}"] = len(known)
            counts[f"answers/cut/{language}"] = sum(end > read[gold] for gold, end in known)
    return dict(counts)

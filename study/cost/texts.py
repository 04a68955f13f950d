"""Number of texts in each data set and their tokens: read if on this machine, else assumed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from study.cost.inputs_needed import local_folder
from study.cost.work import Lengths
from trainables.data import catalog
from trainables.data.contamination import contamination
from trainables.data.formats.reading import metadata
from trainables.encoders.embedded import build_embedded, is_embedded
from trainables.encoders.files.checkpoints import parts_of
from trainables.encoders.files.formats import load_tokenizer
from trainables.encoders.text import TextEncoder
from trainables.spec import DataRef, EncoderRef, Spec

T = TypeVar("T")
Tokens = list[NDArray[np.int32]]

SAMPLE = 3000
"""Number of texts of a role that are tokenised, spread evenly over languages."""

CHARACTERS_A_TOKEN, SPECIAL = 3.5, 2
"""Characters per token and special tokens per text, assumed where there is no tokenizer."""

OBJECT_BYTES = 300
"""Bytes of a text's record beside its characters: ids, references and judgements."""

TYPICAL: Mapping[str, Sequence[int]] = metadata("typical.yaml")
UNKNOWN = 50, 500, 0, 0, 0
"""Sizes of each source in the order of `typical.yaml`, and those of sources missing there."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts, or pictures, of one role: query, passage or hard negative.

    Attributes:
        count: Number of texts.
        tokens: Tokens of each text of a random sample; empty for pictures.
        size: Bytes of all texts in memory.
        seconds: Seconds to tokenise one text; 0 if not measured.
    """

    count: int = 0
    tokens: Lengths = field(default_factory=lambda: np.empty(0, np.int64))
    size: int = 0
    seconds: float = 0.0

    @classmethod
    def typical(cls, count: int, characters: int, limit: int = 0) -> Texts:
        """Assume `count` texts of `characters` each, at most `limit` tokens; 0 means pictures."""
        tokens = min(limit, round(characters / CHARACTERS_A_TOKEN) + SPECIAL)
        sample = np.full(min(max(count, 1), SAMPLE) if characters else 0, tokens)
        return cls(count, sample, count * (2 * characters + OBJECT_BYTES))


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts of a benchmark or of training data.

    Attributes:
        basis: Source of these sizes, as printed.
        queries: Queries in all languages; for pictures, their captions.
        passages: Passages in all languages; for a benchmark of pictures, the pictures.
        negatives: Hard negatives in all languages; empty if none are read.
        words: Number of different tokens in training data; None if not counted.
        pictures: Number of different pictures.
    """

    basis: str
    queries: Texts
    passages: Texts
    negatives: Texts = field(default_factory=Texts)
    words: int | None = None
    pictures: int = 0

    @property
    def roles(self) -> tuple[Texts, Texts, Texts]:
        """Queries, passages and hard negatives."""
        return self.queries, self.passages, self.negatives

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of queries and of passages."""
        return self.queries.count, self.passages.count


@dataclass
class Library:
    """Cache of the data of trials: each source is opened and tokenised once.

    Attributes:
        places: Local folders of data and checkpoints, by digest.
        opening: Seconds spent opening data; each worker takes as long.
    """

    places: Mapping[str, str]
    opening: float = 0.0
    _known: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, make: Callable[[], T], *, opens: bool = False) -> T:
        """Return the cached result of `make`; if `opens`, add the time it took to `opening`."""
        if key not in self._known:
            start = time.perf_counter()
            self._known[key] = make()
            self.opening += opens * (time.perf_counter() - start)
        known: T = self._known[key]
        return known

    def of_benchmark(self, spec: Spec, ref: DataRef) -> Corpus:
        """Measure a benchmark's judged queries and candidates; equal texts of a language once."""
        if not self._is_available(ref):
            return self._typical(spec.encoder, ref)
        data = self._benchmark(ref)

        def read() -> Corpus:
            reader, candidates = self._reader(spec), data.corpus.values()
            judged = data.judged_queries.values()
            queries, _ = reader.read(
                [list(dict.fromkeys(x.text for x in language)) for language in judged], "query"
            )
            if catalog.has_pictures(ref.name):
                count = sum(map(len, candidates))
                return Corpus(reader.basis, queries, Texts.typical(count, 0), pictures=count)
            columns = [list(dict.fromkeys(x.text for x in language)) for language in candidates]
            return Corpus(reader.basis, queries, reader.read(columns, "passage")[0])

        return self.once((spec.encoder, ref), read)

    def of_training(self, spec: Spec, ref: DataRef) -> Corpus:
        """Measure the training data of a spec, in its languages."""
        languages, hard = spec.languages or (), spec.negatives is not None
        if not self._is_available(ref):
            return self._typical(spec.encoder, ref, len(languages), negatives=hard)
        options = {"aligned": spec.rows is None, "negatives": hard}
        key = ref, *options.values()
        data = self.once(
            key, lambda: catalog.open_training(ref, self.places, **options), opens=True
        )

        def read() -> Corpus:
            queries, passages = (
                [[text for text in table[language] if text is not None] for language in languages]
                for table in (data.queries, data.passages)
            )
            lists = [data.negatives.get(language, []) for language in languages]
            extra = [[x.text for candidates in rows for x in candidates] for rows in lists]
            query_texts, query_ids = reader.read(queries, "query")
            passage_texts, passage_ids = reader.read([] if data.pictures else passages, "passage")
            negative_texts, negative_ids = reader.read(extra, "passage")
            words, count = None, query_texts.count + passage_texts.count + negative_texts.count
            if reader.encoder is not None:
                words = _vocabulary([*query_ids, *passage_ids, *negative_ids], count)
            pictures = len({picture.id for picture in data.pictures})
            return Corpus(reader.basis, query_texts, passage_texts, negative_texts, words, pictures)

        if self._is_available(spec.test):  # a trial checks its training data for contamination
            tested = self._benchmark(spec.test)
            self.once((ref, spec.test), lambda: contamination(data, tested), opens=True)
        reader = self._reader(spec)
        return self.once((spec.encoder, languages, *key), read, opens=True)

    def _benchmark(self, ref: DataRef) -> Any:
        return self.once(ref, lambda: catalog.open_benchmark(ref, self.places), opens=True)

    def _is_available(self, ref: DataRef) -> bool:
        return catalog.is_embedded(ref.name) or local_folder(ref.digest, self.places) is not None

    def _reader(self, spec: Spec) -> Reader:
        key = spec.encoder, spec.test.name
        return self.once(key, lambda: Reader.open(*key, self.places))

    def _typical(
        self, encoder: EncoderRef, ref: DataRef, languages: int = 0, *, negatives: bool = False
    ) -> Corpus:
        """Assume the sizes of data that are not on this machine.

        Args:
            encoder: Encoder that limits the tokens of a text.
            ref: Reference to the data; part `first-N` of training data has N rows.
            languages: Number of training languages; 0 for a benchmark, in the languages of `ref`.
            negatives: Whether there are hard negatives.
        """
        query, passage, queries, passages, rows = TYPICAL.get(ref.name, UNKNOWN)
        source, pictures = catalog.source(ref.name), passages
        if languages:
            first = (ref.part or "").removeprefix("first-")
            pictures = int(first) if first.isdecimal() else rows
            queries = passages = pictures * (languages if source.parallel else 1)
        elif ref.languages and source.languages:
            share = len(ref.languages) / len(source.languages)
            queries, passages = round(share * queries), round(share * passages)
        known = languages or passages
        basis = "not at hand, sizes assumed" if known else "size unknown, not counted"
        captions = Texts.typical(queries, query, encoder.max_query_tokens)
        if not passage:
            return Corpus(basis, captions, Texts.typical(pictures, 0), pictures=pictures)
        texts = Texts.typical(passages, passage, encoder.max_passage_tokens)
        return Corpus(basis, captions, texts, texts if negatives else Texts())


@dataclass(frozen=True)
class Reader:
    """Counter of texts and tokens as one encoder reads them.

    Attributes:
        ref: Reference to the encoder, with its prefixes and limits.
        encoder: Encoder with a tokenizer and perhaps no layers; None if not on this machine.
    """

    ref: EncoderRef
    encoder: TextEncoder | None

    @classmethod
    def open(cls, ref: EncoderRef, data: str, places: Mapping[str, str]) -> Reader:
        """Open a local tokenizer; benchmark `data` gives the world of an embedded encoder."""
        if is_embedded(ref.name):
            return cls(ref, build_embedded(ref, catalog.world(data)))
        if (folder := local_folder(ref.digest, places)) is None:
            return cls(ref, None)
        return cls(ref, TextEncoder(nn.Identity(), load_tokenizer(parts_of(folder)[0]), ref))

    @property
    def basis(self) -> str:
        """How tokens are counted, as printed."""
        return "tokenised" if self.encoder else f"characters / {CHARACTERS_A_TOKEN}, assumed"

    def read(self, columns: Sequence[Sequence[str]], role: str) -> tuple[Texts, Tokens]:
        """Measure texts, one column per language.

        Returns:
            Their sizes, and token ids of a random sample: zeros without a tokenizer.
        """
        count, rng = sum(map(len, columns)), np.random.default_rng(0)
        share = -(-SAMPLE // max(1, len(columns)))
        sample = [column[i] for column in columns for i in rng.permutation(len(column))[:share]]
        sample = [sample[i] for i in rng.permutation(len(sample))]
        if not sample:
            return Texts(), []
        size = round(count * (np.mean([sys.getsizeof(text) for text in sample]) + OBJECT_BYTES))
        query, ref, start = role == "query", self.ref, time.perf_counter()
        if self.encoder is not None:
            tokenize = self.encoder.tokenize_queries if query else self.encoder.tokenize_passages
            rows = tokenize(sample)
        else:
            prefix = ref.query_prefix if query else ref.passage_prefix
            limit = ref.max_query_tokens if query else ref.max_passage_tokens
            tokens = [round(len(prefix + x) / CHARACTERS_A_TOKEN) + SPECIAL for x in sample]
            rows = [np.zeros(min(limit, length), np.int32) for length in tokens]
        seconds = (time.perf_counter() - start) / len(sample)
        return Texts(count, np.array([len(row) for row in rows]), size, seconds), rows


def _vocabulary(rows: Tokens, count: int) -> int:
    """Estimate the number of different tokens in `count` texts from the sample `rows`.

    It grows as a power of the number of texts (Heaps' law), fitted at the sample and half of it.
    """
    if not rows:
        return 0
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    whole = len(np.unique(np.concatenate(rows)))
    half = len(np.unique(np.concatenate(rows[: -(-len(rows) // 2)])))
    return int(whole * (max(count, len(rows)) / len(rows)) ** float(np.log2(whole / half)))

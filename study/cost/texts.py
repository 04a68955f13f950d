"""How many texts there are and how many tokens they have: read where they are at hand."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from study.cost.inputs_needed import found_in
from study.cost.work import Lengths
from trainables.data import catalog
from trainables.data.benchmark import Benchmark, TrainingSet
from trainables.encoders.embedded import build_embedded, is_embedded
from trainables.encoders.files.checkpoints import parts_of
from trainables.encoders.files.formats import load_tokenizer
from trainables.encoders.text import TextEncoder
from trainables.spec import DataRef, EncoderRef

SAMPLE = 3000
"""Texts of a role that are tokenised, spread evenly over languages."""

CHARACTERS_A_TOKEN = 3.5
"""Of multilingual tokenizers, where the encoder's own is not at hand: assumed."""

SPECIAL = 2
"""Tokens before and after a text."""

OBJECT_BYTES = 300
"""Of a text's record beside its characters: ids, references and judgements."""


@dataclass(frozen=True)
class Typical:
    """Facts of a source for when its files are not at hand.

    Attributes:
        query: Characters of a query.
        passage: Characters of a passage.
        queries: Evaluated by default, over all languages; 0 where not known.
        passages: Searched by default, over all languages; 0 where not known.
        rows: Trained on by default; 0 where it is evaluated only.
    """

    query: int
    passage: int
    queries: int = 0
    passages: int = 0
    rows: int = 0


PICTURE = 0
"""Characters of a picture: its vector comes from the cache, and computing it is not counted."""

TYPICAL: Mapping[str, Typical] = {
    "xquad_r": Typical(58, 1043, 13_090, 13_014),
    "xquad": Typical(58, 780, 13_090, 2_640),
    "mlqa": Typical(55, 850, 4_199, 4_000),
    "mlqa_r": Typical(55, 850, 4_199, 20_534),
    "xor_tydi": Typical(45, 600, 2_110, 2_110),
    "tydiqa": Typical(36, 472, 5_077, 4_488, 49_881),
    "mr_tydi": Typical(40, 500, 12_317, 58_000_000, 48_700),
    "miracl": Typical(40, 500, 13_071, 90_000_000),
    "belebele": Typical(80, 480, 109_800, 59_536),
    "mkqa": Typical(45, 20, 260_000, 260_000),
    "afriqa": Typical(46, 666, 1_928, 1_767, 2_171),
    "amqa": Typical(44, 894, 600, 57, 1_723),
    "mmarco": Typical(35, 340, rows=500_000),
    "squad_translated": Typical(60, 780, rows=87_599),
    "multi30k": Typical(62, PICTURE, 4_056, 1_014, 29_000),
    "xflickrco": Typical(55, PICTURE, 16_000, 2_000, 700),
    "xm3600": Typical(50, PICTURE, 261_375, 3_600),
    "xtd10": Typical(50, PICTURE, 11_000, 1_000),
    "xmmmu": Typical(180, PICTURE, 2_000, 290),
    "mmmu": Typical(180, PICTURE, 850, 850),
}
"""Characters are measured on the files here for xquad_r, tydiqa, afriqa and amqa; the others, and
counts beyond those of `data show`, are assumed and marked so wherever they are used."""

UNKNOWN = Typical(50, 500)


@dataclass(frozen=True, eq=False)
class Texts:
    """The texts of one role.

    Attributes:
        count: All of them.
        tokens: Of a sample, in random order.
        seconds: To tokenise one.
        size: Bytes of all in memory.
    """

    count: int
    tokens: Lengths
    seconds: float = 0.0
    size: int = 0

    @classmethod
    def assumed(cls, count: int, characters: int, limit: int) -> Texts:
        """As many texts of so many characters."""
        tokens = min(limit, round(characters / CHARACTERS_A_TOKEN) + SPECIAL)
        size = count * (2 * characters + OBJECT_BYTES)
        return cls(count, np.full(min(max(count, 1), SAMPLE), tokens), 0.0, size)


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The texts of a benchmark, and whence they are known."""

    queries: Texts
    passages: Texts
    basis: str


@dataclass(frozen=True, eq=False)
class Trained:
    """The texts of training data.

    Attributes:
        queries: Of all rows and languages.
        passages: Likewise.
        negatives: Likewise; none where no hard negatives are read.
        words: Different tokens of all of them; None where no tokenizer is at hand.
        basis: Whence all this is known.
    """

    queries: Texts
    passages: Texts
    negatives: Texts
    words: int | None
    basis: str


class Reader:
    """Counts texts as one encoder reads them."""

    def __init__(self, ref: EncoderRef, data: str, places: Mapping[str, str]) -> None:
        """Open the tokenizer, if it is at hand.

        Args:
            ref: The encoder, with its prefixes and limits.
            data: Name of the benchmark, whose world an embedded encoder is of.
            places: Digest to folder.
        """
        self.ref, self.tokenizer = ref, None
        if is_embedded(ref.name):
            self.tokenizer = build_embedded(ref, catalog.world(data))
        elif (folder := found_in(ref.digest, places)) is not None:
            tokenizer = load_tokenizer(parts_of(folder)[0])
            self.tokenizer = TextEncoder(nn.Identity(), tokenizer, ref)

    @property
    def basis(self) -> str:
        """How tokens are counted."""
        return "tokenised" if self.tokenizer else f"characters / {CHARACTERS_A_TOKEN}, assumed"

    def benchmark(self, benchmark: Benchmark) -> Evaluated:
        """Texts of a benchmark at hand: the queries that have a relevant candidate."""
        queries = [[query.text for query in items] for items in benchmark.judged_queries.values()]
        passages = [[item.text for item in items] for items in benchmark.corpus.values()]
        roles = (self._texts(queries, "query")[0], self._texts(passages, "passage")[0])
        return Evaluated(*roles, basis=self.basis)

    def typical(self, ref: DataRef) -> Evaluated:
        """Texts of a benchmark that is not at hand, in the languages that are asked for."""
        facts, known = TYPICAL.get(ref.name, UNKNOWN), catalog.source(ref.name).languages
        share = len(ref.languages) / len(known) if ref.languages and known else 1.0
        queries, passages = (round(share * count) for count in (facts.queries, facts.passages))
        return Evaluated(
            Texts.assumed(queries, facts.query, self.ref.max_query_tokens),
            Texts.assumed(passages, facts.passage, self.ref.max_passage_tokens),
            basis="not at hand, sizes assumed" if passages else "size unknown, not counted",
        )

    def training(self, data: TrainingSet, languages: Sequence[str]) -> Trained:
        """Texts of training data at hand."""
        columns = [
            [[text for text in table[language] if text is not None] for language in languages]
            for table in (data.queries, data.passages)
        ]
        lists = [data.negatives.get(language, []) for language in languages]
        extra = [[item.text for candidates in rows for item in candidates] for rows in lists]
        queries, query_tokens = self._texts(columns[0], "query", each=True)
        shown = [] if data.pictures else columns[1]
        passages, read = self._texts(shown, "passage", each=True)
        negatives, other = self._texts(extra, "passage", each=True)
        count = queries.count + passages.count + negatives.count
        words = _vocabulary([*query_tokens, *read, *other], count) if self.tokenizer else None
        return Trained(queries, passages, negatives, words, self.basis)

    def typical_training(self, ref: DataRef, languages: int, *, negatives: bool) -> Trained:
        """Texts of training data that are not at hand; part `first-N` has N rows."""
        facts = TYPICAL.get(ref.name, UNKNOWN)
        first = (ref.part or "").removeprefix("first-")
        rows = int(first) if first.isdecimal() else facts.rows
        count = rows * (languages if catalog.source(ref.name).parallel else 1)
        passages = Texts.assumed(count, facts.passage, self.ref.max_passage_tokens)
        queries = Texts.assumed(count, facts.query, self.ref.max_query_tokens)
        none = Texts(0, np.empty(0, np.int64))
        basis = "not at hand, sizes assumed"
        return Trained(queries, passages, passages if negatives else none, None, basis)

    def _texts(
        self, columns: Sequence[Sequence[str]], role: str, *, each: bool = False
    ) -> tuple[Texts, list[NDArray[np.int32]]]:
        """The texts of some languages, and the token ids of the sample.

        Equal ones of a language count once, as they are encoded, or `each` as it is trained on.
        """
        every = [column if each else list(dict.fromkeys(column)) for column in columns]
        count, rng = sum(map(len, every)), np.random.default_rng(0)
        share = -(-SAMPLE // max(1, len(every)))
        sample = [column[i] for column in every for i in rng.permutation(len(column))[:share]]
        sample = [sample[i] for i in rng.permutation(len(sample))]
        if not sample:
            return Texts(0, np.empty(0, np.int64)), []
        size = round(count * (np.mean([sys.getsizeof(text) for text in sample]) + OBJECT_BYTES))
        query = role == "query"
        if self.tokenizer is None:
            prefix = self.ref.query_prefix if query else self.ref.passage_prefix
            limit = self.ref.max_query_tokens if query else self.ref.max_passage_tokens
            tokens = [round(len(prefix + x) / CHARACTERS_A_TOKEN) + SPECIAL for x in sample]
            return Texts(count, np.minimum(tokens, limit), 0.0, size), []
        start = time.perf_counter()
        encoder = self.tokenizer
        rows = (encoder.tokenize_queries if query else encoder.tokenize_passages)(sample)
        seconds = (time.perf_counter() - start) / len(sample)
        return Texts(count, np.array([len(row) for row in rows]), seconds, size), rows


def _vocabulary(rows: Sequence[NDArray[np.int32]], count: int) -> int:
    """Different tokens of `count` texts, of which `rows` are a sample.

    They grow as a power of the number of texts (Heaps' law), fitted at the sample and its half.
    """
    if not rows:
        return 0
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    here = len(np.unique(np.concatenate(rows)))
    half = len(np.unique(np.concatenate(rows[: -(-len(rows) // 2)])))
    growth = float(np.log2(here / half))
    return int(here * (max(count, len(rows)) / len(rows)) ** growth)

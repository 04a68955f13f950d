"""Data types of all sources: a `Benchmark` to evaluate on, a `TrainingSet` to train on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from trainables.data.pictures import IMAGE, Picture
from trainables.errors import UserError


@dataclass(frozen=True, slots=True)
class Query:
    """One query in one language.

    Attributes:
        id: Unique in its benchmark, such as `de:56beb434`.
        text: Input of the encoder, before any prefix.
        question: The id shared by all translations of this query (the unit of pairing).
        cluster: The largest known unit of dependence (article, else paragraph, else question).
    """

    id: str
    text: str
    question: str
    cluster: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One retrievable text in one language; `id` is unique in its benchmark."""

    id: str
    text: str


@dataclass(frozen=True)
class Benchmark:
    """Queries, corpora and relevance judgements in one or more languages.

    Languages are BCP-47 codes in ascending order; the multilingual pool is the concatenation of
    the corpora in that order, which fixes the candidate index that breaks ties.

    An image benchmark is stored in the direction in which captions search images (`t2i`):
    captions are the queries, and the only corpus is that of the language `image`, whose texts are
    the images' ids. `reversed()` returns the other direction (`i2t`).

    Attributes:
        name: As in the catalog.
        queries: Language to its queries, in file order.
        corpus: Language to its candidates, in file order.
        qrels: Query id to {candidate id: gain}, gains positive.
        judged_in_all_languages: Whether a query's relevant candidates are judged in every corpus
            language, which makes the union pool the setting `multi`. Otherwise the pool is
            `pool_same_language`, and language bias on it is refused.
        dropped: Reason to number of items of the source that were left out.
        refusal: Why this can be counted but not evaluated, for example because passages are not
            available; empty if it can be evaluated.
        answers: Query id to the id of its gold candidate and the end of the answer in its text,
            in code points; only if the source gives it.
        pictures: Images of the corpus `image`, in its order; empty for a text benchmark.
    """

    name: str
    queries: Mapping[str, Sequence[Query]]
    corpus: Mapping[str, Sequence[Candidate]]
    qrels: Mapping[str, Mapping[str, float]]
    judged_in_all_languages: bool = True
    dropped: Mapping[str, int] = field(default_factory=dict)
    refusal: str = ""
    answers: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()

    def __post_init__(self) -> None:
        """Check the invariants that all later steps rely on.

        Raises:
            UserError: Languages are out of order, an id is used twice, a judgement names a
                candidate that no corpus holds, or the images differ from the corpus `image`.
        """
        for role, table in (("queries", self.queries), ("corpus", self.corpus)):
            if list(table) != sorted(table):
                raise UserError(f"{self.name}: languages of {role} must be in ascending order")
            total = sum(map(len, table.values()))
            if len({item.id for items in table.values() for item in items}) != total:
                raise UserError(f"{self.name}: an id is used twice in {role}; make ids unique")
        known = {candidate.id for items in self.corpus.values() for candidate in items}
        for query, gains in self.qrels.items() if not self.refusal else ():
            missing = gains.keys() - known
            if missing:
                raise UserError(
                    f"{self.name}: qrels of query {query!r} name {min(missing)!r}, "
                    "which no corpus holds; mend the qrels or add the candidate"
                )
        images = self.corpus.get(IMAGE, ())
        if self.pictures and [p.id for p in self.pictures] != [c.id for c in images]:
            raise UserError(f"{self.name}: pictures are not those of the corpus `{IMAGE}`")

    def refuse_if_incomplete(self) -> None:
        """Refuse a benchmark that cannot be evaluated.

        Raises:
            UserError: `refusal` is not empty.
        """
        if self.refusal:
            raise UserError(f"{self.name} cannot be evaluated: {self.refusal}")

    @cached_property
    def judged_queries(self) -> Mapping[str, Sequence[Query]]:
        """Queries that have a relevant candidate, by language; only these are evaluated."""
        return {
            language: [query for query in items if self.qrels.get(query.id)]
            for language, items in self.queries.items()
        }

    @property
    def repeated(self) -> Mapping[str, int]:
        """Number of queries of each language whose text another query there shares.

        Each is ranked against its own judgements alone, as if the other's were not relevant.
        Equal captions of one image do not count: they have the same relevant candidate.
        """
        counts = {}
        for language, queries in self.queries.items():
            targets: dict[str, set[object]] = defaultdict(set)
            for query in queries:
                target = frozenset(self.qrels.get(query.id, ())) if self.pictures else query.id
                targets[query.text].add(target)
            counts[language] = sum(len(targets[query.text]) > 1 for query in queries)
        return counts

    def reversed(self) -> Benchmark:
        """Return the direction in which images search captions (`i2t`).

        `judged_in_all_languages`, which allows language bias over the captions of all languages, is
        set only if each image has exactly one caption in every language.
        """
        qrels: dict[str, dict[str, float]] = defaultdict(dict)
        captions: Counter[tuple[str, str]] = Counter()
        for language, queries in self.queries.items():
            for query in queries:
                for picture, gain in self.qrels.get(query.id, {}).items():
                    qrels[picture][query.id] = gain
                    captions[language, picture] += 1
        return replace(
            self,
            queries={IMAGE: [Query(p.id, p.id, p.id, p.cluster) for p in self.pictures]},
            corpus={la: [Candidate(q.id, q.text) for q in qs] for la, qs in self.queries.items()},
            qrels=dict(qrels),
            judged_in_all_languages=(
                len(captions) == len(self.pictures) * len(self.queries)
                and set(captions.values()) <= {1}
            ),
            pictures=(),
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of the corpora, in pool order."""
        return tuple(self.corpus)


@dataclass(frozen=True)
class TrainingSet:
    """Question-passage pairs, aligned across languages: row r is the same pair in each.

    Attributes:
        name: As in the catalog.
        questions: (n,) question ids, shared by all translations, and by rows that pair one
            question with different passages.
        golds: (n,) ids of the gold candidate, shared by all translations; rows with equal golds
            are false negatives of each other.
        clusters: (n,) articles, or units of dependence of images, for contamination checks.
        queries: Language to n query texts; None if a row lacks the language.
        passages: Language to n passage texts; None if a row lacks the language.
        negatives: Language to n lists of hard negatives, the hardest first: candidates that do
            not answer the row's question. Their ids are in the namespace of `golds`, so that a
            negative that is another row's gold is recognised. A list may be empty; the mapping is
            empty if the source has none or none were requested.
        other_golds: (n,) ids of further passages that answer each row's question; empty if the
            source names none.
        pictures: (n,) image of each row, which is also its gold, so that all rows of an image are
            false negatives of each other; `queries` and `passages` both hold its captions. Empty
            for text data.
    """

    name: str
    questions: Sequence[str]
    golds: Sequence[str]
    clusters: Sequence[str]
    queries: Mapping[str, Sequence[str | None]]
    passages: Mapping[str, Sequence[str | None]]
    negatives: Mapping[str, Sequence[Sequence[Candidate]]] = field(default_factory=dict)
    other_golds: Sequence[Sequence[str]] = ()
    pictures: Sequence[Picture] = ()

    def __post_init__(self) -> None:
        """Check that all columns have the same length and languages.

        Raises:
            UserError: They differ.
        """
        n = len(self.questions)
        texts = [*self.queries.values(), *self.passages.values(), *self.negatives.values()]
        lengths = [len(column) for column in (self.golds, self.clusters, *texts)]
        lengths += [len(column) for column in (self.other_golds, self.pictures) if column]
        if any(length != n for length in lengths):
            raise UserError(f"{self.name}: columns differ in length")
        if self.queries.keys() != self.passages.keys():
            raise UserError(f"{self.name}: queries and passages must have the same languages")
        if self.negatives and self.negatives.keys() != self.passages.keys():
            raise UserError(f"{self.name}: negatives and passages must have the same languages")

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages in ascending order."""
        return tuple(sorted(self.queries))

    def restrict(self, languages: Sequence[str], *, aligned: bool = True) -> TrainingSet:
        """Keep these languages, and the rows that exist in all of them.

        All arms of a study then see the same questions, whatever languages they sample. Without
        `aligned` all rows stay, with gaps where they lack a language.

        Raises:
            UserError: The set lacks a language, or no row is left.
        """
        if not self.questions:
            raise UserError(f"training data {self.name}: there is no row; look at its files")
        unknown = sorted(set(languages) - set(self.languages))
        if unknown:
            raise UserError(
                f"training data {self.name}: no language {unknown[0]!r}; "
                f"it has {', '.join(self.languages)}"
            )
        keep = [
            row
            for row in range(len(self.questions))
            if not aligned
            or all(
                self.queries[language][row] is not None and self.passages[language][row] is not None
                for language in languages
            )
        ]
        if not keep:
            raise UserError(f"training data {self.name}: no row exists in all of {languages}")

        def pick(column: Sequence[str | None]) -> list[str | None]:
            return [column[row] for row in keep]

        return TrainingSet(
            name=self.name,
            questions=[self.questions[row] for row in keep],
            golds=[self.golds[row] for row in keep],
            clusters=[self.clusters[row] for row in keep],
            queries={language: pick(self.queries[language]) for language in sorted(languages)},
            passages={language: pick(self.passages[language]) for language in sorted(languages)},
            negatives={
                language: [self.negatives[language][row] for row in keep]
                for language in sorted(languages)
                if self.negatives
            },
            other_golds=[self.other_golds[row] for row in keep] if self.other_golds else (),
            pictures=[self.pictures[row] for row in keep] if self.pictures else (),
        )

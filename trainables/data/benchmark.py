"""The two shapes that all data take: a `Benchmark` to evaluate on, a `TrainingSet` to train on."""

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
        text: What the encoder is given, before any prefix.
        question: The id shared by all translations of this query (the unit of pairing).
        cluster: The highest unit of dependence known (article, else paragraph, else question).
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

    Of pictures this is the direction in which captions search them (`t2i`): captions are the
    queries, and the one corpus is that of the language `image`, whose texts are the pictures' ids.
    `reversed()` is the other direction (`i2t`).

    Attributes:
        name: As in the catalog.
        queries: Language to its queries, in file order.
        corpus: Language to its candidates, in file order.
        qrels: Query id to {candidate id: gain}, gains positive.
        judged_in_all_languages: True where a query's relevant candidates are judged in every
            corpus language, so that the union pool is the `multi` setting. Where False, the pool
            is `pool_same_language` and language bias is refused on it.
        dropped: Why items of the source are not here, to how many.
        refusal: Why this can be counted but not evaluated, such as passages that are not at
            hand; empty where it can be.
        answers: Query id to the gold candidate and where the answer ends in its text, in code
            points; only where the source says.
        pictures: Those of the corpus `image`, in its order; empty for texts alone.
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
        """Check what every later step relies on.

        Raises:
            UserError: Languages out of order, an id used twice, a judgement of a candidate
                that no corpus holds, or pictures that are not those of the corpus.
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
        shown = self.corpus.get(IMAGE, ())
        if self.pictures and [p.id for p in self.pictures] != [c.id for c in shown]:
            raise UserError(f"{self.name}: pictures are not those of the corpus `{IMAGE}`")

    def refuse_if_incomplete(self) -> None:
        """Stop where nothing can be evaluated.

        Raises:
            UserError: `refusal` says why.
        """
        if self.refusal:
            raise UserError(f"{self.name} cannot be evaluated: {self.refusal}")

    @cached_property
    def judged_queries(self) -> Mapping[str, Sequence[Query]]:
        """Language to its queries that have a relevant candidate: the ones that are evaluated."""
        return {
            language: [query for query in items if self.qrels.get(query.id)]
            for language, items in self.queries.items()
        }

    @property
    def repeated(self) -> Mapping[str, int]:
        """Language to how many of its queries have the text of another one there.

        Each is ranked against its own judgements alone, as if the other's were not relevant. Of
        captions, those of one picture do not count: they seek the same one.
        """
        counts = {}
        for language, queries in self.queries.items():
            sought: dict[str, set[object]] = defaultdict(set)
            for query in queries:
                own = frozenset(self.qrels.get(query.id, ())) if self.pictures else query.id
                sought[query.text].add(own)
            counts[language] = sum(len(sought[query.text]) > 1 for query in queries)
        return counts

    def reversed(self) -> Benchmark:
        """Pictures search the captions of each language, and those of all languages together.

        They do so in the setting `i2t_multi` where each picture has one caption in every language.
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
    """Question-passage pairs, aligned over languages: row r is the same pair everywhere.

    Attributes:
        name: As in the catalog.
        questions: (n,) question ids, shared by all translations, and by rows that have other
            passages of one question.
        golds: (n,) ids of the gold candidate, shared by all translations; rows with equal golds
            are false negatives of each other.
        clusters: (n,) articles, or units of dependence of pictures, for checks of contamination.
        queries: Language to n query texts; None where a row lacks the language.
        passages: Language to n passage texts; None where a row lacks the language.
        negatives: Language to n lists of hard negatives, the hardest first: candidates that do
            not answer the row's question, with ids as golds have them, so that a negative that is
            the gold of another row is known to be. A list may be empty; without any language the
            source has none, or none were asked for.
        other_golds: (n,) ids of further passages that answer each row's question; without any row
            the source names none.
        pictures: (n,) the picture of each row, which is then its gold, so that all rows of a
            picture are false negatives of each other; `queries` and `passages` are both its
            captions. Empty for data of texts alone.
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
        """Check that all columns have the same length and languages."""
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

        Every arm of a study then sees the same questions whatever languages it draws. Not
        `aligned`, all rows stay, with what they have in these languages.

        Raises:
            UserError: A language the set lacks, or no row left.
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

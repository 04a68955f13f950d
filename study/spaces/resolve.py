"""Resolve settings into specs: names become content digests, rules become steps and rates."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from study.spaces.ranges import Choice, Range
from study.spaces.settings import Settings
from trainables.data import catalog
from trainables.data.contamination import shared_questions
from trainables.data.formats.reading import AbsentLanguageError
from trainables.encoders import registry as encoders
from trainables.encoders.embedded import is_embedded
from trainables.errors import DataError, UserError
from trainables.spec import DataRef, EncoderRef, Spec, build_spec


@dataclass
class Resolver:
    """Factory of specs from settings, which records where the files behind each digest lie.

    Attributes:
        data_dir: Folder of the benchmark's own files.
        primary: The space's primary metric; the default metric for selecting encoders.
        tolerant: Whether to go on without files that are not at hand, to see what a plan needs.
        trained_on: Values of `train` in the whole study; no cell is tested on their questions.
        places: Digest to folder, filled as references are made.
        missing: Name to why it could not be read and where to get it; filled only if tolerant.
    """

    data_dir: Path | None
    primary: str = "map/multi"
    tolerant: bool = False
    trained_on: tuple[str, ...] = ()
    places: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    _known: dict[str, Any] = field(default_factory=dict)

    def spec(self, settings: Settings, seed: int, *, held_out: bool) -> Spec:
        """Build the spec of one trial.

        Args:
            settings: Settings of the cell.
            seed: Seed of the trial.
            held_out: Whether to evaluate only the part that training leaves out.
        """
        benchmark, part = catalog.split_name(settings.benchmark)
        part = part or ("held-out" if held_out else None)
        values = settings.model_dump(include=set(Spec.model_fields) - {"encoder", "train"})
        values |= {
            "seed": seed,
            "steps": _steps(settings),
            "learning_rate": _learning_rate(settings),
            "select_metric": settings.select_metric or self.primary,
            "test": self.without_trained(self.test(benchmark, settings, part), settings),
            "validation": self.validation(settings),
            "also": self.also(settings),
            "encoder": self.encoder(settings),
        }
        if settings.steps > 0:
            name, train_part = training_source(settings)
            with needed_as("training data", "train", "" if settings.train == "own" else "own"):
                values["train"] = self.data(name, settings, train_part, training=True)
            pictured = catalog.has_pictures(name)
            values["pairs"] = (settings.pairs or "image") if pictured else None
            values["image_tower"] = settings.image_tower if pictured else None
            if pictured and not catalog.has_pictures(benchmark):
                raise UserError(
                    f"train {settings.train}: it has pictures, and {benchmark} has none to be "
                    "tested on; choose another --benchmark, or texts to train on"
                )
            languages = settings.languages or values["train"].languages
            values["languages"] = nested(settings, languages)
            if settings.language_count == 1:
                # one language allows no other: the reference for larger counts
                values["sampling"] = "X-X"
            values["max_rows"] = _max_rows(settings, len(values["languages"]))
        return build_spec(values)

    def encoder(self, settings: Settings) -> EncoderRef:
        """Return the reference of the encoder, made once per distinct choice."""
        chosen = {
            key: value
            for key in EncoderRef.model_fields.keys() & Settings.model_fields.keys()
            if (value := getattr(settings, key)) is not None
        }

        def make() -> tuple[EncoderRef, str | None]:
            try:
                tested, _ = catalog.split_name(settings.benchmark)
                return encoders.reference(settings.encoder, tested, chosen)
            except UserError as error:
                refused = isinstance(error, DataError)  # the encoder is at hand but unusable
                if refused or not self.tolerant or is_embedded(settings.encoder):
                    raise
                self.missing[settings.encoder] = str(error)
                return encoders.absent(settings.encoder, chosen), None

        ref: EncoderRef
        ref, folder = self._once(("encoder", settings.encoder, settings.benchmark, chosen), make)
        if folder is not None:
            self.places[ref.digest] = folder
        return ref

    def validation(self, settings: Settings) -> DataRef | None:
        """Return the reference of the validation benchmark, or None if there is none.

        `own` is None for a benchmark from files: only embedded ones have a validation part.
        """
        if settings.validation is None:
            return None
        if settings.validation == "own":
            if not catalog.is_embedded(settings.benchmark):
                return None
            return self.data(settings.benchmark, settings, "validation")
        name, part = catalog.split_name(settings.validation)
        with needed_as("the validation benchmark", "validation", "none"):
            return self.data(name, settings, part)

    def test(self, name: str, settings: Settings, part: str | None) -> DataRef:
        """Return the reference of the test benchmark, or of its public substitute if absent."""
        if name in catalog.SUBSTITUTES:
            try:
                return self.data(name, settings, part)
            except UserError:
                if self.data_dir is not None and os.path.isdir(self.data_dir / name):
                    raise
            substitute, substitute_part = catalog.split_name(catalog.SUBSTITUTES[name])
            ref = self.data(substitute, settings, substitute_part)
            return ref.model_copy(update={"instead_of": name})
        return self.data(name, settings, part)

    def also(self, settings: Settings) -> tuple[DataRef, ...]:
        """Return the references of the further benchmarks, in those `eval_languages` they have."""
        named = [catalog.split_name(text) for text in settings.also or ()]
        tested = catalog.split_name(settings.benchmark)[0]
        names = [tested, *(name for name, _ in named)]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(
                f"also: {repeated[0]} is evaluated already, and its metrics would have the same "
                "names; name each source once, in benchmark or in also"
            )
        refs = []
        for name, part in named:
            has = catalog.source(name).languages
            evaluated = [x for x in settings.eval_languages or () if x in has]
            if has and settings.eval_languages and not evaluated:
                raise UserError(
                    f"also {name}: it has none of eval_languages "
                    f"({', '.join(settings.eval_languages)}); it has {', '.join(has)}"
                )
            limited = settings.model_copy(update={"eval_languages": tuple(evaluated) or None})
            with needed_as("a further benchmark", "also", "none"):
                refs.append(self.data(name, limited if has else settings, part))
        return tuple(self.without_trained(ref, settings) for ref in refs)

    def without_trained(self, test: DataRef, settings: Settings) -> DataRef:
        """Leave out of a benchmark the questions that the study's training data contain.

        All training data count, whatever languages or rows a cell trains on, so that every cell is
        tested on the same questions. Embedded worlds and pictures are not changed.
        """
        if not _in_files(test):
            return test
        shared: dict[DataRef, frozenset[str]] = {}
        for name in self.trained_on:
            unlimited = settings.model_copy(update={"train": name, "languages": None})
            source, part = training_source(unlimited)
            if catalog.is_embedded(source) or catalog.has_pictures(source):
                continue
            with needed_as("training data", "train", "" if name == "own" else "own"):
                train = self.data(source, unlimited, part, training=True)
            if _in_files(train):
                key = ("shared", train, test)
                if questions := self._once(key, partial(self._shared, train, test)):
                    shared[train] = questions
        if not shared:
            return test
        queries: Counter[str] = self._once(("queries", test), partial(self._queries, test))
        left_out = sum(queries[question] for question in frozenset().union(*shared.values()))
        changes = {"without": tuple(shared), "left_out": (left_out, queries.total())}
        return test.model_copy(update=changes)

    def _shared(self, train: DataRef, test: DataRef) -> frozenset[str]:
        """Find the questions of the benchmark that the training data contain."""
        trained = catalog.open_training(train, self.places, aligned=False)
        return shared_questions(trained, catalog.open_benchmark(test, self.places))

    def _queries(self, test: DataRef) -> Counter[str]:
        """Count the queries of each question."""
        benchmark = catalog.open_benchmark(test, self.places)
        return Counter(query.question for items in benchmark.queries.values() for query in items)

    def data(
        self, name: str, settings: Settings, part: str | None, *, training: bool = False
    ) -> DataRef:
        """Return the reference of a source's data, made once per distinct choice.

        Parallel training data keep all languages, because their rows are aligned over all of them.
        """
        languages = settings.eval_languages
        if training:
            languages = None if catalog.source(name).parallel else settings.languages

        def make() -> DataRef:
            try:
                return catalog.reference(
                    name,
                    self.data_dir,
                    languages,
                    part=part,
                    text=settings.candidate_text,
                    skip_malformed=bool(settings.skip_malformed),
                    training=training,
                    convert_offsets=bool(settings.convert_offsets),
                )
            except UserError as error:
                by_name = isinstance(error, AbsentLanguageError) and languages is not None
                if by_name or not self.tolerant:
                    raise
                self.missing[name] = str(error)
                try:
                    return catalog.absent(name, languages, part)
                except UserError:
                    if self.data_dir is not None:  # the folder's own problem is more informative
                        raise error from None
                    raise

        reading = (settings.candidate_text, settings.skip_malformed, settings.convert_offsets)
        chosen = (name, part, languages, *reading, training)
        ref: DataRef = self._once(("data", *chosen), make)
        if self.data_dir is not None and not catalog.is_embedded(name):
            self.places[ref.digest] = os.path.realpath(os.path.expanduser(self.data_dir))
        return ref

    def _once(self, key: Any, make: Any) -> Any:
        text = repr(key)
        if text not in self._known:
            self._known[text] = make()
        return self._known[text]


@contextmanager
def needed_as(role: str, key: str, alternative: str) -> Iterator[None]:
    """Add to errors about missing data their role in the study, and what could replace them.

    Args:
        role: What the study uses the data for.
        key: Setting that names them.
        alternative: Another value of the setting that would do; may be empty.
    """
    try:
        yield
    except DataError:
        raise  # the data are at hand, but a row of them is faulty
    except UserError as error:
        more = f", or --set {key}={alternative}" if alternative else ""
        raise UserError(
            f"{error}\nIt is {role} of this study; choose other data with --set {key}=NAME{more}"
        ) from None


def _in_files(ref: DataRef) -> bool:
    """Return whether a reference is to texts from files that are at hand."""
    excluded = catalog.is_embedded(ref.name) or catalog.has_pictures(ref.name)
    return not excluded and ref.digest != catalog.ABSENT


def trained_on(
    train: str, ranges: Mapping[str, Range], beside: Iterable[Mapping[str, Any]] = ()
) -> tuple[str, ...]:
    """List all values of `train` in a study: searched ones or its own, and cells beside."""
    searched = ranges.get("train")
    names = searched.values() if isinstance(searched, Choice) else [train]
    return tuple(sorted({*names, *(cell["train"] for cell in beside if "train" in cell)}))


def training_source(settings: Settings) -> tuple[str, str | None]:
    """Return name and part of the training data.

    `own` means the benchmark's own: the articles outside of `held-out` where a source is divided
    so, else its training part.
    """
    if settings.train == "own":
        name, _ = catalog.split_name(settings.benchmark)
        return name, catalog.own_part(name)
    name, part = catalog.split_name(settings.train)
    return name, "train" if catalog.is_embedded(name) else part


def nested(settings: Settings, languages: Sequence[str]) -> tuple[str, ...]:
    """Choose `language_count` of the languages, or all if None; sorted.

    Anchors come first, the others in an order drawn by `subset_seed`: a larger subset of the same
    seed contains a smaller one, so differences between counts are due to the added languages.

    Args:
        settings: Settings of the cell.
        languages: Languages of the training data.

    Raises:
        UserError: An anchor is absent or also unseen, or `language_count` cannot be met.
    """
    anchors, unseen = settings.anchor_languages or (), settings.unseen_languages or ()
    for key, named in (("anchor_languages", anchors), ("unseen_languages", unseen)):
        if key == "anchor_languages" and (lost := sorted(set(named) - set(languages))):
            raise UserError(
                f"{key} {lost[0]}: the training data have {', '.join(languages)}; "
                f"choose among them with --set {key}=..."
            )
    if both := sorted(set(anchors) & set(unseen)):
        raise UserError(
            f"anchor_languages and unseen_languages both name {both[0]}; leave it out of one"
        )
    pool = sorted(set(languages) - set(unseen))
    count = len(pool) if settings.language_count is None else settings.language_count
    if not len(anchors) <= count <= len(pool):
        raise UserError(
            f"language_count {count}: there are {len(anchors)} anchor_languages, and {len(pool)} "
            f"languages to train on ({', '.join(pool)}); choose a number from "
            f"{max(1, len(anchors))} to {len(pool)}, or other languages"
        )
    rest = [language for language in pool if language not in anchors]
    drawn = np.random.default_rng((settings.subset_seed, 0x1A)).permutation(len(rest))
    chosen = [*sorted(anchors), *(rest[number] for number in drawn)][:count]
    return tuple(sorted(chosen))


def _max_rows(settings: Settings, languages: int) -> int | None:
    """Convert `max_examples` to rows; a row is an example in every training language."""
    if settings.max_examples is None or settings.volume == "equal_per_language":
        return settings.max_examples
    return max(1, settings.max_examples // languages)


def _steps(settings: Settings) -> int:
    """Return the number of steps at this batch size under the comparison's control."""
    if settings.control == "equal_steps" or settings.steps == 0:
        return settings.steps
    assert settings.batch_size is not None
    examples = settings.steps * settings.reference_batch_size
    return max(1, round(examples / settings.batch_size))


def _learning_rate(settings: Settings) -> float:
    """Return the peak learning rate at this batch size under the comparison's rule."""
    assert settings.batch_size is not None
    assert settings.learning_rate is not None
    ratio = settings.batch_size / settings.reference_batch_size
    factor = {"fixed": 1.0, "sqrt": math.sqrt(ratio), "linear": ratio}
    return settings.learning_rate * factor[settings.learning_rate_rule]

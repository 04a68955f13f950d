"""Check that the data of a plan can be read and suffice, before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from study.state.plan import Plan
from trainables.data import catalog
from trainables.data.benchmark import Benchmark, TrainingSet
from trainables.data.contamination import equal_ids, equal_pictures
from trainables.errors import UserError
from trainables.evaluation.metric_names import MEANS
from trainables.spec import Spec
from trainables.training.batching import select_rows

SHARED_BY_CHANCE = 0.01
"""Largest fraction of a validation benchmark's questions or pictures that may match the test's."""

ROW_NUMBER = re.compile(r"[A-Za-z_:-]*\d{0,5}")
"""Ids that unrelated files can share by accident: `17`, `sw:17`, `query-00017`."""


def check_data(plan: Plan, places: Mapping[str, str], further: Iterable[Spec] = ()) -> None:
    """Read all data that the plan names, each once.

    Args:
        plan: The plan to be run.
        places: Digest to folder, for data that lie in files.
        further: Specs of trials that a search may propose.

    Raises:
        UserError: A file cannot be read, or its data cannot provide what a spec needs.
    """
    benchmarks: dict[str, Benchmark] = {}
    selecting: set[tuple[str, str]] = set()
    specs = [*plan.specs.values(), *further]
    for spec in specs:
        for ref in (spec.test, spec.validation, *(spec.also or ())):
            if ref is not None and repr(ref) not in benchmarks:
                benchmarks[repr(ref)] = catalog.open_benchmark(ref, places)
                benchmarks[repr(ref)].refuse_if_incomplete()
        if spec.validation is not None:
            tested = (spec.test, *(spec.also or ()))
            selecting |= {(repr(spec.validation), repr(ref)) for ref in tested}
        if spec.select_metric is not None:
            _check_metric(spec.select_metric, benchmarks[repr(spec.validation)])
    for validation, test in sorted(selecting):
        refuse_shared(benchmarks[validation], benchmarks[test])
    trained = {_reading(spec): spec for spec in specs if spec.train is not None}
    opened: dict[str, TrainingSet] = {}
    for spec in trained.values():
        assert spec.train is not None
        how = {"aligned": spec.rows is None, "negatives": spec.negatives is not None}
        key = repr((spec.train, how))
        if key not in opened:
            opened[key] = catalog.open_training(spec.train, places, **how)
        select_rows(spec, opened[key])


def _questions(benchmark: Benchmark) -> frozenset[tuple[str, str]]:
    """Return (language, text) of every query, ignoring case and whitespace."""
    return frozenset(
        (language, " ".join(query.text.casefold().split()))
        for language, queries in benchmark.queries.items()
        for query in queries
    )


def _ids(benchmark: Benchmark) -> list[str]:
    """List the question ids that translations share, without those that are mere row numbers."""
    ids = {query.question for queries in benchmark.queries.values() for query in queries}
    return sorted(name for name in ids if not ROW_NUMBER.fullmatch(name))


def refuse_shared(validation: Benchmark, test: Benchmark) -> None:
    """Refuse a validation benchmark that shares pictures or questions with the test (law 5).

    Pictures are compared by name and by content, questions by text and by id. Articles are not
    compared: which articles the published parts of a source share is not known here.

    Raises:
        UserError: More than `SHARED_BY_CHANCE` of the validation benchmark is in the test.
    """
    # a photograph has the same name in all sources
    names = [[picture.id for picture in benchmark.pictures] for benchmark in (test, validation)]
    overlaps = equal_ids("names", *names), equal_pictures(test.pictures, validation.pictures)
    for overlap in overlaps:
        _refuse(validation.name, test.name, overlap.matches, overlap.of, "pictures")
    questions = _questions(validation)
    shared = len(questions & _questions(test))
    _refuse(validation.name, test.name, shared, len(questions), "questions")
    ids = equal_ids("question ids", _ids(test), _ids(validation))
    _refuse(validation.name, test.name, ids.matches, ids.of, "question ids")


def _refuse(validation: str, test: str, shared: int, total: int, unit: str) -> None:
    """Refuse an overlap larger than chance explains."""
    if shared > SHARED_BY_CHANCE * total:
        raise UserError(
            f"validation {validation}: {shared} of its {total} {unit} are those of {test}, which "
            "judges the hypotheses; name another with --set validation=NAME:PART"
        )


def _reading(spec: Spec) -> str:
    """Return a key of the settings that decide which training rows a trial reads."""
    fields = {"train", "negatives", "batch_size", "sampling", "alpha", "languages", "rows"}
    fields |= {"max_rows", "language_law", "pair_law", "languages_per_batch"}
    return spec.model_dump_json(include=fields)


def _check_metric(metric: str, validation: Benchmark) -> None:
    """Refuse a selection metric whose retrieval setting the validation benchmark lacks."""
    kinds = _kinds(validation)
    mean = MEANS.get(metric.split("/")[1])
    if mean is None or mean.kind not in kinds:
        raise UserError(
            f"select_metric {metric}: the validation benchmark {validation.name} has the settings "
            f"{', '.join(kinds)}; choose one with --set select_metric=map/{kinds[0]}"
        )


def _kinds(benchmark: Benchmark) -> list[str]:
    """List the retrieval settings that a benchmark has; of pictures, in both directions."""
    if benchmark.pictures:
        return ["t2i", "i2t", *(["i2t_multi"] if len(benchmark.queries) > 1 else [])]
    pool = "multi" if benchmark.judged_in_all_languages else "pool_same_language"
    return ["mono", *(["cross", pool] if len(benchmark.languages) > 1 else [])]

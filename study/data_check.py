"""Whether the data can give what a plan asks of them; read once, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from study.plan import Plan
from trainables.data import catalog
from trainables.data.corpus import Benchmark, TrainingSet
from trainables.data.picture_training import open_rows
from trainables.errors import UserError
from trainables.readable import readable
from trainables.spec import Spec

SHARED_BY_CHANCE = 0.01
"""Share of a validation benchmark's questions that may read like one of the test's."""


def check_data(plan: Plan, places: Mapping[str, str], further: Iterable[Spec] = ()) -> None:
    """Read everything that the plan names once, before anything is written.

    Args:
        plan: What is to run.
        places: Digest to folder of what lies in files.
        further: Specs of trials that a search may ask for.

    Raises:
        UserError: A file that cannot be read, or data that cannot give what a spec asks of them.
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
            judging = (spec.test, *(spec.also or ()))
            selecting |= {(repr(spec.validation), repr(ref)) for ref in judging}
        if spec.select_metric is not None:
            _check_metric(spec.select_metric, benchmarks[repr(spec.validation)])
    for validation, test in selecting:
        _refuse_shared(benchmarks[validation], benchmarks[test])
    trained = {_reading(spec): spec for spec in specs if spec.train is not None}
    opened: dict[str, TrainingSet] = {}
    for spec in trained.values():
        assert spec.train is not None
        aligned, negatives = spec.rows is None, spec.negatives is not None
        key = repr((spec.train, aligned, negatives))
        if key not in opened:
            opened[key] = open_rows(spec.train, places, aligned=aligned, negatives=negatives)
        readable(spec, opened[key])


def _questions(benchmark: Benchmark) -> frozenset[tuple[str, str]]:
    """Language and text of every query, case and blanks aside."""
    return frozenset(
        (language, " ".join(query.text.casefold().split()))
        for language, queries in benchmark.queries.items()
        for query in queries
    )


def _refuse_shared(validation: Benchmark, test: Benchmark) -> None:
    """Selection must not read the test (law 5), nor the same questions under another name."""
    asked = _questions(validation)
    shared = len(asked & _questions(test))
    if shared > SHARED_BY_CHANCE * len(asked):
        raise UserError(
            f"validation {validation.name}: {shared} of its {len(asked)} questions are those of "
            f"{test.name}, which judges the hypotheses; name another with --set "
            "validation=NAME:PART"
        )


def _reading(spec: Spec) -> str:
    """What decides whether the training data suffice: all of the spec but what leaves them be."""
    kept = {"train", "negatives", "batch_size", "sampling", "alpha", "languages", "rows"}
    kept |= {"max_rows", "language_law", "pair_law", "languages_per_batch"}
    return spec.model_dump_json(include=kept)


def _check_metric(metric: str, validation: Benchmark) -> None:
    """Refuse to select by what the validation benchmark does not have."""
    kinds = _kinds(validation)
    if metric.split("/")[1].removesuffix("_micro") not in kinds:
        raise UserError(
            f"select_metric {metric}: the validation benchmark {validation.name} has the settings "
            f"{', '.join(kinds)}; choose one with --set select_metric=map/{kinds[0]}"
        )


def _kinds(benchmark: Benchmark) -> list[str]:
    """Kinds of settings that a benchmark has, its first one always; of pictures in both ways."""
    if catalog.has_pictures(benchmark.name):
        return ["t2i", "i2t", *(["i2t_multi"] if len(benchmark.queries) > 1 else [])]
    pool = "multi" if benchmark.judged_in_all_languages else "pool_same_language"
    return ["mono", *(["cross", pool] if len(benchmark.languages) > 1 else [])]

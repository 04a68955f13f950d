"""A space becomes cells times seeds: complete specs, known before anything runs."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.resolve import Resolver, training_source
from study.search.asked import Asked, AskedTrial, Phase
from study.search.planning import search_of
from study.search.points import Points
from study.spaces.optimize import Optimize, SearchPlan
from study.spaces.schema import Settings, Space, Tier, build_settings
from trainables.data import catalog
from trainables.data.corpus import Benchmark, TrainingSet
from trainables.data.picture_training import open_rows
from trainables.errors import UserError
from trainables.readable import readable
from trainables.spec import Frozen, Spec

ENCODING_FIELDS = (
    "benchmark",
    "also",
    "encoder",
    "eval_languages",
    "candidate_text",
    "pooling",
    "query_prefix",
    "passage_prefix",
    "max_query_tokens",
    "max_passage_tokens",
)
"""Settings that change an evaluation without training."""


SHARED_BY_CHANCE = 0.01
"""Share of a validation benchmark's questions that may read like one of the test's."""

DATA_FIELDS = ("also", "languages", "train", "validation")
"""Settings of a tier that were chosen to go with its benchmark."""


class PlannedTrial(Frozen):
    """A cell with a seed; the untrained cell has none. `phase` is why a search asked for it."""

    digest: str
    seed: int | None = None
    phase: Phase | None = None


class Cell(Frozen):
    """One point of the space and its trials, one a seed.

    `beside` says that it is no point of the grid, but a reference line or a control beside it;
    `asked`, that a search asked for it.
    """

    params: dict[str, Any]
    trials: tuple[PlannedTrial, ...]
    beside: bool = False
    asked: Asked | None = None

    @property
    def label(self) -> str:
        """As `label_of` says its parameters."""
        return label_of(self.params)

    @property
    def is_arm(self) -> bool:
        """Whether it answers the question: a point of the grid that is trained."""
        return self.params.get("steps") != 0 and not self.beside


def label_of(params: Mapping[str, Any]) -> str:
    """`alpha=0.5 batch_size=32`, or `untrained`."""
    words = [f"{k}={v}" for k, v in params.items() if (k, v) != ("steps", 0)]
    return " ".join(["untrained", *words] if params.get("steps") == 0 else words) or "all"


class Plan(Frozen):
    """Everything a study is going to run; written before anything does.

    `tuned` names the parameters that are no question of the study: of the cells that differ only
    in them, each arm's best on the validation benchmark answers for it. With a `search`, the cells
    that it asked for so far stand behind the planned ones.
    """

    format: int = 1
    name: str
    space: str
    tier: Tier
    question: str
    primary: str
    settings: dict[str, Any]
    cells: tuple[Cell, ...]
    specs: dict[str, Spec]
    hypotheses: tuple[dict[str, Any], ...]
    tuned: tuple[str, ...] = ()
    search: SearchPlan | None = None

    @property
    def frozen(self) -> str:
        """Hash of what must not change once results exist: hypotheses, primary metric, seeds.

        Of a search instead of its seeds what it is, but not when it ends.
        """
        planned = [cell for cell in self.cells if cell.asked is None]
        content: dict[str, Any] = {
            "hypotheses": self.hypotheses,
            "primary": self.primary,
            "seeds": {cell.label: [trial.seed for trial in cell.trials] for cell in planned},
        }
        if self.search is not None:
            content["search"] = self.search.lasting
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def also(self) -> tuple[str, ...]:
        """Names of the further benchmarks."""
        first = next(iter(self.specs.values()), None)
        return tuple(ref.name for ref in (first.also if first else None) or ())

    @property
    def planned(self) -> Plan:
        """Without what a search asked for."""
        if self.search is None:
            return self
        cells = tuple(cell for cell in self.cells if cell.asked is None)
        held = {trial.digest for cell in cells for trial in cell.trials}
        specs = {digest: spec for digest, spec in self.specs.items() if digest in held}
        return self.model_copy(update={"cells": cells, "specs": specs})

    def joined(self, trials: Sequence[AskedTrial]) -> Plan:
        """With these trials, behind those that it has, in the cells that they are of."""
        cells = {(cell.label, cell.asked is None): cell for cell in self.cells}
        specs = dict(self.specs)
        for trial in trials:
            specs[trial.digest] = trial.spec
            key = label_of(trial.params), False
            cell = cells.get(key) or Cell(params=trial.params, trials=(), asked=trial.asked)
            planned = PlannedTrial(digest=trial.digest, seed=trial.seed, phase=trial.phase)
            if planned not in cell.trials:
                cell = cell.model_copy(update={"trials": (*cell.trials, planned)})
            cells[key] = cell
        return self.model_copy(update={"cells": tuple(cells.values()), "specs": specs})

    def differences(self, other: Plan) -> list[str]:
        """What differs in `other`, a line each; empty for the same plan."""
        if other is self:
            return []
        parts = ("space", "tier", "question", "primary", "settings", "hypotheses")
        mine, theirs = (_flat(p.model_dump(mode="json", include=set(parts))) for p in (self, other))
        lines = _changes(mine, theirs)
        searches = [plan.search.lasting if plan.search else {} for plan in (self, other)]
        lines += _changes(*(_flat({"search": search}) for search in searches))
        ours = {cell.label: cell for cell in self.planned.cells}
        others = {cell.label: cell for cell in other.planned.cells}
        lines += [f"cell {label}: no longer planned" for label in ours if label not in others]
        lines += [f"cell {label}: new" for label in others if label not in ours]
        fields: dict[str, list[str]] = {}
        for label in ours.keys() & others.keys():
            for change in self._spec_changes(ours[label], other, others[label]):
                fields.setdefault(change, []).append(label)
        lines += [
            f"{change} ({len(labels)} of {len(ours)} cells)" for change, labels in fields.items()
        ]
        return lines

    def _spec_changes(self, cell: Cell, other: Plan, theirs: Cell) -> list[str]:
        """What differs between the trials of the same cell in two plans."""
        seeds, new = [t.seed for t in cell.trials], [t.seed for t in theirs.trials]
        changes = [] if seeds == new else [f"seeds: {len(seeds)} → {len(new)}"]
        for before, after in zip(cell.trials, theirs.trials, strict=False):
            if before.digest != after.digest:
                specs = self.specs[before.digest], other.specs[after.digest]
                changes += _changes(*(_flat(json.loads(spec.canonical())) for spec in specs))
                break
        return changes


def make_plan(
    space: Space,
    space_name: str,
    tier: Tier,
    overrides: Mapping[str, Any],
    *,
    data_dir: Path | None = None,
    seeds: int | None = None,
    name: str | None = None,
    missing: dict[str, str] | None = None,
    optimize: Optimize | None = None,
) -> tuple[Plan, dict[str, str]]:
    """Enumerate the cells and seeds of a space, or say how they are searched for.

    Args:
        space: The research question.
        space_name: Its name.
        tier: `demo` or `full`.
        overrides: Settings that replace the space's, fixed or searched.
        data_dir: Folder with the source's own files, where the data are not embedded.
        seeds: Instead of the space's number of seeds.
        name: Instead of the default name.
        missing: Filled with data and checkpoints that are not at hand, and where to get them; the
            plan then cannot be run. None refuses to plan without them.
        optimize: How the space is searched; None for all combinations. No hypothesis is tested
            on cells that were chosen by their results, so none is declared then.

    Returns:
        The plan, and digest to folder for data and checkpoints that lie in files.

    Raises:
        UserError: A setting or file that is not as it should be.
    """
    base = space.settings(tier) | dict(overrides)
    if "benchmark" in overrides:
        # a tier's data go together: beside another benchmark, its own serve unless others are named
        base = {k: v for k, v in base.items() if k not in DATA_FIELDS or k in overrides}
    tuned = space.tuned(tier)
    if "benchmark" in overrides and not _selects(build_settings(base, where="--set")):
        tuned = {}
    factors = {k: v for k, v in (space.factors(tier) | tuned).items() if k not in overrides}
    settings = build_settings(base, where="--set")
    ranges = {k: r for k, r in space.ranges(tier).items() if k not in overrides}
    if optimize is not None:
        _refuse_unselected(settings, list(ranges))
        factors = {k: v for k, v in factors.items() if k in ENCODING_FIELDS}
        tuned = {}
    elif (asked := [key for key in tuned if key in factors]) and settings.steps > 0:
        _refuse_unselected(settings, asked)
    resolver = Resolver(data_dir, space.primary_of(tier), tolerant=missing is not None)
    source, part = training_source(settings)
    held_out = settings.steps > 0 and source == catalog.split_name(settings.benchmark)[0]
    held_out = held_out and catalog.is_divided(source, part)
    count = seeds or space.tiers[tier].seeds or space.seeds
    points = [
        dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())
    ]
    specs: dict[str, Spec] = {}
    cells: dict[str, Cell] = {}

    def add(
        params: dict[str, Any], values: dict[str, Any], seeds: int, *, beside: bool = False
    ) -> None:
        label = label_of(params)
        if label in cells:
            return
        chosen = build_settings(base | values, where=f"space {space_name}")
        first = resolver.spec(chosen, 0, held_out=held_out)
        drawn = range(1, seeds) if first.seed is not None else ()
        trials = []
        for spec in (first, *(first.model_copy(update={"seed": seed}) for seed in drawn)):
            digest = spec.digest
            specs[digest] = spec
            trials.append(PlannedTrial(digest=digest, seed=spec.seed))
        cells[label] = Cell(params=params, trials=tuple(trials), beside=beside)

    for point in points:
        encoding = {k: v for k, v in point.items() if k in ENCODING_FIELDS}
        add(encoding | {"steps": 0}, point | {"steps": 0}, 1)
    if settings.steps > 0 and optimize is None:
        for point in points:
            add(point, point, count)
    for point in space.besides(tier):
        kept = {k: v for k, v in point.items() if k not in overrides or k == "steps"}
        if settings.steps > 0 or kept.get("steps") == 0:
            add(kept, kept, 1 if kept.get("steps") == 0 else count, beside=True)
    primary = space.primary_of(tier)
    search = None
    if optimize is not None:
        search = search_of(optimize, ranges, settings, primary, held_out=held_out)
        for spec in Points(search, resolver).probes():  # what is missing or wrong is found now
            assert spec.digest
    own = space.optimized(tier)
    differs = optimize is not None and (own is None or own.sampler != optimize.sampler)
    changed = dict(overrides) | ({"sampler": optimize.sampler} if optimize and differs else {})
    plan = Plan(
        name=name or default_name(space_name, tier, changed, seeds),
        space=space_name,
        tier=tier,
        question=" ".join(space.question.split()),
        primary=primary,
        settings=settings.model_dump(
            mode="json", exclude={"encoder", *factors, *(ranges if search else ())}
        ),
        cells=tuple(cells.values()),
        specs=specs,
        hypotheses=() if search else tuple(space.hypotheses_of(tier)),
        tuned=tuple(key for key in tuned if key in factors),
        search=search,
    )
    if missing is not None:
        missing.update(resolver.missing)
    return plan, resolver.places


def _selects(settings: Settings) -> bool:
    """Whether there is a validation benchmark to select by (law 5)."""
    if settings.validation == "own":
        return catalog.is_embedded(settings.benchmark)
    return settings.validation is not None


def _refuse_unselected(settings: Settings, tuned: Sequence[str]) -> None:
    if not _selects(settings):
        given = " ".join(f"--set {key}=VALUE" for key in tuned)
        raise UserError(
            f"validation {settings.validation}: {', '.join(tuned)} is tuned for each arm by a "
            f"validation benchmark, and the test must not be read; name one with --set "
            f"validation=NAME:PART, or fix what is tuned: {given}"
        )


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


def default_name(
    space: str, tier: Tier, overrides: Mapping[str, Any], seeds: int | None = None
) -> str:
    """Space, tier and whatever differs from the space, in characters that fit a folder's name."""
    changes = dict(overrides) | ({"seeds": seeds} if seeds else {})
    words = [Path(space).stem, tier]
    for key in sorted(changes):
        value = changes[key]
        text = str(value)
        if key == "encoder":
            text = "-".join(Path(text).parts[-2:])
        if isinstance(value, (list, tuple)):
            text = "+".join(map(str, value))
        words.append(text if key in ("benchmark", "encoder") else f"{key}={text}")
    name = re.sub(r"[^A-Za-z0-9.=+_-]+", "-", "-".join(words))
    if len(name) > 100:
        name = f"{name[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return name


def _changes(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [
        f"{key}: {mine.get(key, 'absent')} → {theirs.get(key, 'absent')}"
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key)
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts and lists as one dict of dotted keys."""
    if isinstance(value, dict):
        pairs = ((f"{prefix}{key}", item) for key, item in value.items())
    elif isinstance(value, list):
        pairs = ((f"{prefix}{number}", item) for number, item in enumerate(value))
    else:
        return {prefix.rstrip("."): value}
    flat: dict[str, Any] = {}
    for key, item in pairs:
        flat |= _flat(item, f"{key}.")
    return flat

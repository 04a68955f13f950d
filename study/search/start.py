"""Everything that a search needs, put together for a launch."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from study.asked import Asked, AskedTrial
from study.plan import Plan
from study.resolve import Resolver, trained_on
from study.search.points import Points, asks_cost
from study.search.search import Search
from study.search.suggest import suggest
from study.search.warm import warm_trials
from study.spaces.optimize import SearchPlan
from trainables.places import Place
from trainables.spec import Execution

PREVIEWED = 100
"""Cells of a preview; a search of more is said to cost as much a trial."""


def points_of(
    search: SearchPlan,
    primary: str,
    data_dir: Path | None,
    places: dict[str, str],
    execution: Execution,
    *,
    tolerant: bool = False,
) -> Points:
    """What makes specs of a search's points.

    Args:
        search: What is searched.
        primary: The study's primary metric.
        data_dir: Folder of the source's own files.
        places: Digest to folder; what specs name is added.
        execution: Of every trial.
        tolerant: As of `Resolver`.
    """
    estimator = None
    if asks_cost(search):
        from study.cost.trial import Estimator  # imports transformers

        estimator = Estimator(places, execution, None)
    names = trained_on(search.base["train"], search.ranges)
    return Points(search, Resolver(data_dir, primary, tolerant, names, places), estimator)


def start(points: Points, root: Place) -> Search:
    """A search that warms up on other studies of the root."""
    return Search(points.search, points, lru_cache(maxsize=1)(lambda: warm_trials(points, root)))


def preview(plan: Plan, points: Points) -> Plan:
    """The plan with trials like those that the search will ask for, to estimate what they take."""
    assert plan.search is not None
    search = plan.search.model_copy(update={"sampler": "qmc"})
    seeds, confirm = search.seeds, search.confirm
    cells = min(PREVIEWED, max(1, search.trials // seeds.first))
    trials: list[AskedTrial] = []
    for number in range(cells):
        found = suggest(search, [], number, lambda point: bool(points.why_not(point)))
        if found is None:
            break
        fresh = range(seeds.most, seeds.most + confirm.seeds) if number < confirm.top else ()
        for seed in (*range(seeds.first), *fresh):
            spec = points.spec(found.params, seed)
            trials.append(
                AskedTrial(
                    number=len(trials),
                    phase="search",
                    params=found.params,
                    asked=Asked(number=number),
                    seed=spec.seed,
                    digest=spec.digest,
                    spec=spec,
                )
            )
    return plan.joined(trials)

"""Optuna's samplers (TPE, GP, NSGA-II, NSGA-III) on a study in memory, new for each suggestion."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from study.search.history import STARTUP, EvaluatedCell
from study.spaces.optimize import GENETIC, SearchPlan
from study.spaces.ranges import Choice, Point, Range, active, strip

optuna.logging.set_verbosity(optuna.logging.WARNING)

STATES = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "failed": TrialState.FAIL,
    "pruned": TrialState.PRUNED,
}


class SamplerSession:
    """A history that can be asked for several points with different seeds.

    TPE suggests a setting only where it has an effect. The other samplers need the same settings in
    every cell: where one has no effect it takes a filler value, the middle of its range or, for
    genetic samplers, a value drawn by the cell's number, so that a child may inherit it.
    """

    def __init__(
        self, search: SearchPlan, history: Sequence[EvaluatedCell], generation: int
    ) -> None:
        """Fill an in-memory study with the cells, in order.

        Args:
            search: The search.
            history: Cells proposed so far.
            generation: Generation of the next cell; only genetic samplers use it.
        """
        self.search, self.generation = search, generation
        self.dense = search.sampler != "tpe"
        self.study = optuna.create_study(directions=[o.direction for o in search.objectives])
        cells = enumerate(history)
        self.study.add_trials([self._trial(number, cell) for number, cell in cells])
        if search.sampler in GENETIC:
            self._select()

    def point(self, seed: int) -> Point:
        """Return the sampler's suggestion with this seed; it does not influence later ones."""
        self.study.sampler = self._sampler(seed)
        trial = self.study.ask()
        values: Point = {}
        for key, searched in self.search.ranges.items():
            if self.dense or active(self.search.ranges, values, key):
                values[key] = decoded(searched, _asked(trial, key, distribution(searched)))
        self.study.tell(trial, state=TrialState.FAIL)
        return strip(self.search.ranges, values)

    def _sampler(self, seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            # Optuna marks some of these samplers as experimental
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._build_sampler(seed)

    def _build_sampler(self, seed: int) -> BaseSampler:
        size = self.search.population
        if self.search.sampler == "nsga2":
            return NSGAIISampler(seed=seed, population_size=size)
        if self.search.sampler == "nsga3":
            return NSGAIIISampler(seed=seed, population_size=size)
        if self.search.sampler == "gp":
            return GPSampler(seed=seed, n_startup_trials=STARTUP, warn_independent_sampling=False)
        # Optuna's defaults: a quasi-random start and more candidates did better on smooth
        # surrogates but worse on the mixed and noisy one (benchmarks/search.py)
        return TPESampler(seed=seed, n_startup_trials=STARTUP)

    def _select(self) -> None:
        """Choose the parents of each generation once, with a seed of that generation.

        NSGA-III breaks ties at random; this gives all children of a generation the same parents.
        """
        for generation in range(1, self.generation + 1):
            rng = np.random.default_rng([self.search.seed, generation])
            sampler = self._sampler(int(rng.integers(2**31)))
            assert isinstance(sampler, (NSGAIISampler, NSGAIIISampler))
            sampler.get_parent_population(self.study, generation)

    def _trial(self, number: int, cell: EvaluatedCell) -> FrozenTrial:
        """Convert a cell to a trial of Optuna."""
        ranges = self.search.ranges
        params = dict(cell.params)
        if self.dense:
            params = self._fillers(number) | params
        distributions = {key: distribution(ranges[key]) for key in ranges if key in params}
        complete = cell.state == "complete"
        pruned = cell.state == "pruned" and cell.reached and len(self.search.objectives) == 1
        state = STATES[cell.state] if cell.state != "pruned" or pruned else TrialState.FAIL
        attrs = {}
        if self.search.sampler in GENETIC:
            name = {"nsga2": NSGAIISampler, "nsga3": NSGAIIISampler}[self.search.sampler].__name__
            attrs[f"{name}:generation"] = cell.generation or 0
        names = [f"{index} {c}" for index, c in enumerate(self.search.constraints)]
        return create_trial(
            state=state,
            params={key: encoded(ranges[key], params[key]) for key in distributions},
            distributions=distributions,
            values=list(cell.values) if complete else None,
            system_attrs=attrs,
            intermediate_values=dict(cell.reached) if pruned else None,
            constraints=dict(zip(names, cell.violations, strict=True)) if complete else None,
        )

    def _fillers(self, number: int) -> Point:
        """Return filler values for settings without an effect."""
        if self.search.sampler in GENETIC:
            shares = np.random.default_rng([self.search.seed, number]).random(
                len(self.search.ranges)
            )
        else:
            shares = np.full(len(self.search.ranges), 0.5)
        pairs = zip(self.search.ranges.items(), shares, strict=True)
        return {key: searched.at(float(share)) for (key, searched), share in pairs}


def distribution(searched: Range) -> BaseDistribution:
    """Convert a range to Optuna's distribution; a choice is coded by the index of its value."""
    if isinstance(searched, Choice):
        last = searched.count - 1
        if searched.ordered:
            return IntDistribution(0, last)
        return CategoricalDistribution(range(last + 1))
    if searched.whole:
        step = int(searched.step or 1)
        return IntDistribution(int(searched.low), int(searched.high), searched.log, step)
    return FloatDistribution(searched.low, searched.high, searched.log, searched.step)


def encoded(searched: Range, value: Any) -> int | float:
    """Encode a value for the distribution of its range."""
    if isinstance(searched, Choice):
        return searched.index(value)
    return int(value) if searched.whole else float(value)


def decoded(searched: Range, value: Any) -> Any:
    """Decode a value of the distribution of its range."""
    return searched.choices[int(value)] if isinstance(searched, Choice) else searched.tidy(value)


def _asked(trial: Trial, key: str, distribution: BaseDistribution) -> Any:
    """Let Optuna suggest the value of a setting."""
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            key, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            key, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(key, distribution.choices)

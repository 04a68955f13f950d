"""Write a study's trials as rows of an Optuna storage, for Optuna's dashboard and plots."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.state.databases import ensure_there, sqlite_path
from study.tracking.values import StudyInfo, TrialView, Value
from trainables import faults

STATES = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

WIDE = FloatDistribution(-1e12, 1e12)
"""Distribution of every number, so that all rows agree."""

OWNER = "root"
"""Study attribute that names the owner."""

PAUSES = (0.2, 1.0, 3.0)
"""Seconds between attempts to open a database that another study may be creating."""

LOST = "lost: its driver ended"
"""Reason of a row that was left running."""


Content = tuple[TrialState, list[float] | None, str | None]


class ForeignStudyError(ValueError):
    """The storage has a study of this name that belongs to another owner."""


class OptunaStore:
    """One study's rows in an Optuna storage; of several rows for a trial, the latest counts."""

    def __init__(self, url: str, study: StudyInfo, owner: str) -> None:
        """Open or create the storage and the study; mark rows left running as failed.

        Args:
            url: URL of the storage, as Optuna takes it.
            study: Name of the study and directions of its objectives.
            owner: ID of the owner, since many roots may share a storage.

        Raises:
            ForeignStudyError: The study in it belongs to another owner.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = study
        file = sqlite_path(url)
        if file is not None:
            ensure_there(file)
        self._storage = _open_storage(url, {} if file is not None else {"pool_pre_ping": True})
        self._id = self._study_id(owner)
        self._running: dict[str, int] = {}
        self._latest: dict[str, Content] = {}
        for row in self._storage.get_all_trials(self._id, deepcopy=False):
            if row.state is TrialState.RUNNING:
                number = self._storage.get_trial_id_from_study_id_trial_number(self._id, row.number)
                self._end(number, TrialState.FAIL, {"reason": LOST}, None)
            else:
                self._latest[str(row.user_attrs.get("digest"))] = _content(row)
        faults.at("storage.opened")

    def write(self, trial: TrialView) -> None:
        """Add a row, or end the trial's running one."""
        row, digest = _row(trial), trial.digest
        if row.state is TrialState.RUNNING:
            if digest not in self._running:
                self._running[digest] = self._storage.create_new_trial(self._id, row)
        elif digest in self._running:
            number = self._running[digest]
            # the row has ended already if only the storage's answer was lost
            with suppress(UpdateFinishedTrialError):
                for step, value in row.intermediate_values.items():
                    self._storage.set_trial_intermediate_value(number, step, value)
                self._end(number, row.state, row.user_attrs, row.values)
            del self._running[digest]
        elif self._latest.get(digest) != _content(row):
            self._storage.create_new_trial(self._id, row)
        self._latest[digest] = _content(row)
        faults.at("storage.written", digest=digest)

    def summarize(self, metrics: Mapping[str, float], artifacts: Mapping[str, str]) -> None:
        """Ignore numbers about the whole study."""

    def finish(self) -> None:
        """Fail all running rows."""
        for number in self._running.values():
            self._end(number, TrialState.FAIL, {"reason": LOST}, None)
        self._running.clear()

    def _study_id(self, owner: str) -> int:
        name = self.study.name
        directions = [StudyDirection[d.upper()] for d in self.study.directions]
        try:
            number = self._storage.create_new_study(directions, name)
        except optuna.exceptions.DuplicatedStudyError:
            number = self._storage.get_study_id_from_name(name)
        current = self._storage.get_study_user_attrs(number).setdefault(OWNER, owner)
        if current != owner:
            raise ForeignStudyError(f"study {name} in it belongs to another --root ({current})")
        self._storage.set_study_user_attr(number, OWNER, owner)
        return number

    def _end(
        self, number: int, state: TrialState, attrs: Mapping[str, Any], values: list[float] | None
    ) -> None:
        for key, value in attrs.items():
            self._storage.set_trial_user_attr(number, key, value)
        self._storage.set_trial_state_values(number, state, values)


def _content(row: FrozenTrial) -> Content:
    """Extract what distinguishes two rows of a trial."""
    return row.state, row.values, row.user_attrs.get("reason")


def _open_storage(url: str, settings: dict[str, Any]) -> RDBStorage:
    """Open the storage; retry, since another study may be creating its tables."""
    for pause in PAUSES:
        try:
            return RDBStorage(url, engine_kwargs=settings)
        except Exception:  # every database driver has errors of its own
            time.sleep(pause)
    return RDBStorage(url, engine_kwargs=settings)


def _row(trial: TrialView) -> FrozenTrial:
    """Convert a trial to Optuna's: numbers and booleans become parameters, all else attributes."""
    candidates = {name: _distribution(value) for name, value in trial.cell.items()}
    distributions = {name: kind for name, kind in candidates.items() if kind is not None}
    attrs: dict[str, Any] = {
        "digest": trial.digest,
        "seed": trial.seed,
        "cell": json.dumps(dict(trial.cell), default=str),
    }
    if trial.reason:
        attrs["reason"] = trial.reason
    values = None
    if trial.state == "complete":
        if None in trial.values:
            attrs["objective"] = "none: no validation benchmark"
        values = [0.0 if value is None else value for value in trial.values]
    return create_trial(
        state=STATES[trial.state],
        values=values,
        params={name: trial.cell[name] for name in distributions},
        distributions=distributions,
        user_attrs=attrs,
        intermediate_values=dict(trial.reached),
    )


def _distribution(value: Value) -> BaseDistribution | None:
    if isinstance(value, bool):
        return CategoricalDistribution([False, True])
    return WIDE if isinstance(value, int | float) else None

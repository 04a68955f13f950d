"""A trial as a row of Optuna's tables; adding and reading ten thousand of them in seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    distribution_to_json,
)
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import func, insert, select

State = Literal["planned", "running", "complete", "pruned", "failed"]

STATES: dict[TrialState, State] = {
    TrialState.WAITING: "planned",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class Row:
    """One trial as the ledger sees it.

    Attributes:
        id: The storage's own number of the row; 0 before it has one.
        digest: The trial's name.
        state: Where it stands.
        reason: Why it failed or was pruned; empty otherwise.
        seed: None for an untrained trial.
        params: Its cell.
    """

    id: int
    digest: str
    state: State
    reason: str
    seed: int | None
    params: dict[str, Any]


NewRow = tuple[TrialState, Mapping[str, Any], Mapping[str, Any], float | None]
"""State, parameters, user attributes, and the objective of a complete row."""


def insert_rows(storage: RDBStorage, study_id: int, rows: Sequence[NewRow]) -> list[int]:
    """Do what `storage.create_new_trial` does for each row, at once or not at all; their ids."""
    now = datetime.now()
    with storage.engine.begin() as connection:
        trials = models.TrialModel.__table__
        latest = select(func.max(trials.c.number)).where(trials.c.study_id == study_id)
        last = connection.execute(latest).scalar()
        first = 0 if last is None else last + 1
        connection.execute(
            insert(trials),
            [
                {
                    "number": first + place,
                    "study_id": study_id,
                    "state": state.name,
                    "datetime_start": None if state is TrialState.WAITING else now,
                    "datetime_complete": now if state.is_finished() else None,
                }
                for place, (state, *_) in enumerate(rows)
            ],
        )
        ids = list(
            connection.execute(
                select(trials.c.trial_id)
                .where(trials.c.study_id == study_id, trials.c.number >= first)
                .order_by(trials.c.number)
            ).scalars()
        )
        attributes: list[dict[str, Any]] = []
        params: list[dict[str, Any]] = []
        values: list[dict[str, Any]] = []
        for trial_id, (state, cell, attrs, objective) in zip(ids, rows, strict=True):
            attrs = dict(attrs)
            if state is TrialState.COMPLETE:
                values.append(
                    {
                        "trial_id": trial_id,
                        "objective": 0,
                        "value": objective or 0.0,
                        "value_type": "FINITE",
                    }
                )
                if objective is None:
                    attrs["objective"] = "none: no validation benchmark"
            params += [{"trial_id": trial_id} | param for param in _params(cell)]
            attributes += [
                {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
                for key, value in attrs.items()
            ]
        for model, content in (
            (models.TrialUserAttributeModel, attributes),
            (models.TrialParamModel, params),
            (models.TrialValueModel, values),
        ):
            if content:
                connection.execute(insert(model.__table__), content)
    return ids


def read_rows(storage: RDBStorage, study_id: int) -> list[Row]:
    """One row a digest, the latest of each, in the order in which they were planned."""
    trial, attribute = models.TrialModel, models.TrialUserAttributeModel
    query = (
        select(trial.trial_id, trial.state, attribute.key, attribute.value_json)
        .join(attribute, attribute.trial_id == trial.trial_id)
        .where(trial.study_id == study_id)
        .order_by(trial.trial_id)
    )
    found: dict[int, dict[str, Any]] = {}
    with storage.engine.connect() as connection:
        for number, state, key, text in connection.execute(query):
            found.setdefault(number, {"state": STATES[state]})[key] = json.loads(text)
    latest: dict[str, Row] = {}
    for number, facts in found.items():
        if "digest" in facts:
            latest[facts["digest"]] = Row(
                id=number,
                digest=facts["digest"],
                state=facts["state"],
                reason=facts.get("reason", ""),
                seed=facts["seed"],
                params=json.loads(facts["cell"]),
            )
    return list(latest.values())


def attributes(row: Row) -> dict[str, Any]:
    """What Optuna keeps of a row beside its state and parameters."""
    attributes: dict[str, Any] = {
        "digest": row.digest,
        "seed": row.seed,
        "cell": json.dumps(row.params),
    }
    return attributes | ({"reason": row.reason} if row.reason else {})


def _params(cell: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in cell.items():
        if (distribution := _distribution(value)) is not None:
            yield {
                "param_name": name,
                "param_value": distribution.to_internal_repr(value),
                "distribution_json": distribution_to_json(distribution),
            }


def _distribution(value: Any) -> BaseDistribution | None:
    """What Optuna's own tools need to show a parameter; wide enough to be the same in all rows."""
    if isinstance(value, bool):
        return CategoricalDistribution([False, True])
    if isinstance(value, (int, float)):
        return FloatDistribution(-1e12, 1e12)
    return None

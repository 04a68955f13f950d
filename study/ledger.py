"""Which trials of a study are planned, running, complete or failed: rows of an Optuna storage.

The ledger knows states, never figures: those come from trial folders. Only the driver that holds
the study's lease writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from trainables.errors import UserError

optuna.logging.set_verbosity(optuna.logging.WARNING)

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
        id: The storage's own number of the row.
        digest: The trial's name.
        state: Where it stands.
        reason: Why it failed; empty otherwise.
        seed: None for an untrained trial.
        params: Its cell.
    """

    id: int
    digest: str
    state: State
    reason: str
    seed: int | None
    params: dict[str, Any]


class Ledger:
    """The rows of one study."""

    def __init__(self, url: str, study: str) -> None:
        """Open the study in the storage at `url`, creating both where they are missing.

        Raises:
            UserError: The storage cannot be opened.
        """
        try:
            self.storage: BaseStorage = RDBStorage(url)
        except Exception as error:  # every database driver has errors of its own
            raise UserError(
                f"--storage {_redacted(url)}: cannot be opened ({type(error).__name__}); "
                "check the URL, the server and its password"
            ) from None
        known = {s.study_name: s._study_id for s in self.storage.get_all_studies()}
        self.study_id = known.get(study) or self.storage.create_new_study(
            [StudyDirection.MAXIMIZE], study
        )

    def rows(self) -> list[Row]:
        """One row a digest, the latest of each, in the order in which they were planned."""
        latest: dict[str, Row] = {}
        for trial in self.storage.get_all_trials(self.study_id, deepcopy=False):
            if "digest" in trial.user_attrs:
                row = _row(trial)
                latest[row.digest] = row
        return list(latest.values())

    def add(self, digest: str, seed: int | None, params: Mapping[str, Any]) -> None:
        """Plan a trial."""
        distributions = {key: d for key, value in params.items() if (d := _distribution(value))}
        self.storage.create_new_trial(
            self.study_id,
            create_trial(
                state=TrialState.WAITING,
                params={key: params[key] for key in distributions},
                distributions=distributions,
                user_attrs={"digest": digest, "seed": seed, "cell": json.dumps(dict(params))},
            ),
        )

    def requeue_stale(self) -> int:
        """Return rows left running by a dead driver to planned; say how many."""
        stale = [row for row in self.rows() if row.state == "running"]
        for row in stale:
            self.requeue(row)
        return len(stale)

    def requeue(self, row: Row) -> None:
        """Return a running row to planned."""
        self.storage.set_trial_state_values(row.id, TrialState.WAITING)

    def claim(self, row: Row) -> None:
        """Mark a planned row as running."""
        self.storage.set_trial_state_values(row.id, TrialState.RUNNING)

    def complete(self, row: Row, objective: float | None) -> None:
        """Mark a row as complete.

        Args:
            row: A planned or running row.
            objective: The primary metric on the validation benchmark; None where the study has
                none, and then 0 is stored, since Optuna wants a number.
        """
        if row.state == "planned":
            self.claim(row)
        if objective is None:
            self.storage.set_trial_user_attr(row.id, "objective", "none: no validation benchmark")
        self.storage.set_trial_state_values(row.id, TrialState.COMPLETE, [objective or 0.0])

    def fail(self, row: Row, reason: str) -> None:
        """Mark a running row as failed, with its reason (written first: a finished row is shut)."""
        self.storage.set_trial_user_attr(row.id, "reason", reason)
        self.storage.set_trial_state_values(row.id, TrialState.FAIL)

    def retry(self, rows: Iterable[Row]) -> None:
        """Plan failed trials again; their old rows stay as they are."""
        for row in rows:
            self.add(row.digest, row.seed, row.params)


def _row(trial: FrozenTrial) -> Row:
    attrs = trial.user_attrs
    return Row(
        id=trial._trial_id,
        digest=attrs["digest"],
        state=STATES[trial.state],
        reason=attrs.get("reason", ""),
        seed=attrs["seed"],
        params=json.loads(attrs["cell"]),
    )


def _distribution(value: Any) -> BaseDistribution | None:
    """What Optuna's own tools need to show a parameter; wide enough to be the same in all rows."""
    if isinstance(value, bool):
        return CategoricalDistribution([False, True])
    if isinstance(value, (int, float)):
        return FloatDistribution(-1e12, 1e12)
    return None


def _redacted(url: str) -> str:
    """A URL without its password."""
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://…@{tail}" if at else url

"""Which trials of a study are planned, running, complete or failed: rows of an Optuna storage.

The ledger knows states, never figures: those come from trial folders. Only the driver that holds
the study's lease writes it, and it can be rebuilt from plan, events and folders: a SQLite file
that is damaged, or of another version of Optuna, is set aside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from study import ledger_file, ledger_server
from study.ledger_rows import STATES, Row, attributes, insert_rows, read_rows
from study.ledger_server import outlast
from study.rungs import Rung
from trainables import faults
from trainables.errors import NotNowError, UserError, redacted

optuna.logging.set_verbosity(optuna.logging.WARNING)

ADDED_AT_ONCE = 500
"""Rows in one transaction; a driver killed in between adds the others later."""

OWNER = "root"
"""The study's attribute that says whose it is."""

PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds between tries to open a database that another study may be making."""

Result = TypeVar("Result")


class Ledger:
    """The rows of one study.

    Attributes:
        notes: What a person should know of how the ledger was opened; empty if all was well.
    """

    def __init__(self, url: str, study: str, owner: str | None = None) -> None:
        """Open the study in the storage at `url`, creating both where they are missing.

        Args:
            url: Any that Optuna takes.
            study: Its name there.
            owner: Who may drive it, kept in a storage that many roots may share; None for a reader.

        Raises:
            UserError: The storage cannot be opened, or the study in it is another owner's.
        """
        self.url, self.study = url, study
        self.notes: list[str] = []
        self._gone: NotNowError | None = None
        file = ledger_file.sqlite_path(url)
        if damage := ledger_file.damage(url):
            self._set_aside(damage)
        if file is not None:
            ledger_file.ensure_there(file)
        problem = None
        try:
            self._open_patiently()
        except Exception as error:  # every database driver has errors of its own
            if file is None:
                kind = NotNowError if isinstance(error, OperationalError) else UserError
                problem = kind(
                    f"--storage {redacted(url)}: cannot be opened ({type(error).__name__}); "
                    "check the URL, the server and its password, and run the same command again"
                )
            elif _is_unusable(error):
                self._set_aside(f"{type(error).__name__}: {error}")
                self._open()
            else:
                problem = ledger_file.refusal(url, error)
        if problem is not None:
            raise problem
        self._own(owner)
        faults.at("ledger.opened")

    def rows(self) -> list[Row]:
        """One row a digest, the latest of each, in the order in which they were planned."""
        return self._believed(lambda: read_rows(self.storage, self.study_id), [])

    def add(self, digest: str, seed: int | None, params: Mapping[str, Any]) -> Row:
        """Plan a trial; its row."""
        row = Row(0, digest, "planned", "", seed, dict(params))
        (added,) = self.add_all([row])
        return replace(row, id=added)

    def add_all(
        self, rows: Sequence[Row], objectives: Mapping[str, float | None] | None = None
    ) -> list[int]:
        """Add rows in the states that they have; their ids, which replace those that they have.

        Args:
            rows: What to add.
            objectives: Of complete rows by digest, as for `complete`.
        """
        states = {state: theirs for theirs, state in STATES.items()}
        known = objectives or {}
        ids: list[int] = []
        for start in range(0, len(rows), ADDED_AT_ONCE):
            faults.at("ledger.adding")
            part = rows[start : start + ADDED_AT_ONCE]
            values = [
                (
                    states[row.state],
                    row.params,
                    attributes(row),
                    known.get(row.digest),
                )
                for row in part
            ]
            ids += self._change(partial(insert_rows, self.storage, self.study_id, values)) or ()
        return ids

    def requeue_stale(self) -> list[Row]:
        """Return rows left running by a dead driver to planned; all rows as they are then."""
        rows = self.rows()
        for row in rows:
            if row.state == "running":
                self.requeue(row)
        return [replace(r, state="planned") if r.state == "running" else r for r in rows]

    def requeue(self, row: Row) -> None:
        """Return a running row to planned."""
        self._set(row, TrialState.WAITING)

    def claim(self, row: Row) -> None:
        """Mark a planned row as running."""
        self._set(row, TrialState.RUNNING)

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
            self._note(row, "objective", "none: no validation benchmark")
        self._set(row, TrialState.COMPLETE, [objective or 0.0])

    def fail(self, row: Row, reason: str) -> None:
        """Mark a running row as failed, with its reason (written first: a finished row is shut)."""
        self._note(row, "reason", reason)
        self._set(row, TrialState.FAIL)

    def prune(self, row: Row, rung: Rung) -> None:
        """Mark a row as pruned.

        Args:
            row: A planned or running row, with its reason.
            rung: Where it was stopped, which Optuna's tools show.
        """
        if row.state == "planned":
            self.claim(row)
        self._note(row, "reason", row.reason)
        reached = row.id, rung.examples, rung.value
        self._change(partial(self.storage.set_trial_intermediate_value, *reached))
        self._set(row, TrialState.PRUNED)

    def retry(self, rows: Iterable[Row]) -> None:
        """Plan failed or pruned trials again; their old rows stay as they are."""
        self.add_all([replace(row, state="planned", reason="") for row in rows])

    def forget(self) -> None:
        """Empty the study, to be filled again: finished rows of Optuna cannot be changed."""
        self._change(partial(self.storage.delete_study, self.study_id))
        self._change(self._open)

    def _own(self, owner: str | None) -> None:
        """Refuse a study of the same name that another root keeps in the same storage."""
        if owner is None:
            return
        known = self._change(partial(self.storage.get_study_user_attrs, self.study_id)) or {}
        found = known.get(OWNER)
        if found is None:
            self._change(partial(self.storage.set_study_user_attr, self.study_id, OWNER, owner))
        elif found != owner:
            raise UserError(
                f"--storage {redacted(self.url)}: study {self.study} in it belongs to another "
                f"--root ({found}); go on there, or choose another --name"
            )

    def _change(self, change: Callable[[], Result]) -> Result | None:
        """Change the storage; a server that is away is waited for, and a file that is locked.

        Raises:
            UserError: The file cannot be written, or the server stays away.
        """
        if not ledger_file.sqlite_path(self.url):
            return self._outlast(change)
        try:
            return outlast(change, lambda error: ledger_file.code_of(error) in ledger_file.BUSY)
        except (DatabaseError, StorageInternalError) as error:
            problem = ledger_file.refusal(self.url, error)
        raise problem

    def _outlast(self, change: Callable[[], Result]) -> Result | None:
        """Do it on a server, which is waited for once.

        Raises:
            NotNowError: It stays away, or no longer holds this study.
        """
        if self._gone is None:
            try:
                return outlast(change, ledger_server.is_away)
            except (SQLAlchemyError, StorageInternalError, KeyError) as error:
                self._gone = ledger_server.refusal(self.url, self.study, error)
        raise self._gone from None

    def _set(self, row: Row, state: TrialState, values: list[float] | None = None) -> None:
        self._change(partial(self.storage.set_trial_state_values, row.id, state, values))

    def _note(self, row: Row, key: str, value: str) -> None:
        self._change(partial(self.storage.set_trial_user_attr, row.id, key, value))

    def _open_patiently(self) -> None:
        """Open, again where another study may be making the tables of a new database just now."""
        for pause in PAUSES:
            try:
                return self._open()
            except Exception as error:
                away = isinstance(error, OperationalError) and "already exists" not in str(error)
                if away or ledger_file.code_of(error) not in ledger_file.RACES:
                    raise
            time.sleep(pause)
        self._open()

    def _open(self) -> None:
        self.storage = RDBStorage(self.url, engine_kwargs=ledger_file.engine_settings(self.url))
        if ledger_file.sqlite_path(self.url):
            # Every change is safe from a killed process as it is; a power cut may damage the
            # file, and then it is rebuilt. Waiting for the disk would cost 20 ms a change.
            event.listen(self.storage.engine, "connect", _without_waiting)
            self.storage.engine.dispose()
        known = {s.study_name: s._study_id for s in self.storage.get_all_studies()}
        self.study_id = known.get(self.study) or self.storage.create_new_study(
            [StudyDirection.MAXIMIZE], self.study
        )

    def _believed(self, read: Callable[[], Result], otherwise: Result) -> Result:
        """What `read` finds; if the file turns out to be damaged, an empty ledger.

        Raises:
            UserError: It cannot be read now.
        """
        if not ledger_file.sqlite_path(self.url):
            return self._outlast(read) or otherwise
        try:
            return read()
        except (DatabaseError, LookupError, TypeError, ValueError, AttributeError) as error:
            if _is_unusable(error):
                self._set_aside(f"{type(error).__name__}: {error}")
                self._open()
                return otherwise
            problem = ledger_file.refusal(self.url, error)
        raise problem

    def _set_aside(self, damage: str) -> None:
        if hasattr(self, "storage"):
            self.storage.engine.dispose()
        where = ledger_file.set_aside(self.url)
        reason = damage.splitlines()[0][:300]
        self.notes.append(
            f"the ledger could not be read ({reason}); it was set aside as {where} and is rebuilt "
            "from plan, events and trial folders: no result is lost"
        )


def _is_unusable(error: Exception) -> bool:
    """Whether a file is damaged, or holds what this version of Optuna cannot read."""
    code = ledger_file.code_of(error)
    return code in ledger_file.DAMAGED or (code == 0 and not isinstance(error, DatabaseError))


def _without_waiting(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")

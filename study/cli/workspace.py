"""Workspace of a command: its root, its state folder, and the observers of a study."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from study.state.committed import committed_results
from study.state.databases import OPTUNA_FILE, sqlite_url
from study.state.plan import Plan
from study.state.record import Record
from study.state.study_folder import StudyFolder, study_names
from trainables.errors import UserError
from trainables.storage.cache import Cache
from trainables.storage.paths import AnyPath, local_state, open_place

if TYPE_CHECKING:
    from study.tracking.observer import Observer

Root = Annotated[
    str, typer.Option(help="Where everything lies: a folder or s3://…", envvar="STUDY_ROOT")
]

State = Annotated[
    Path | None,
    typer.Option(help="Local folder of databases and locks, if not --root.", envvar="STUDY_STATE"),
]

Storage = Annotated[
    str | None, typer.Option("--storage", help="Any Optuna URL.", envvar="STUDY_STORAGE")
]

TrackingUri = Annotated[
    str | None, typer.Option(help="Any MLflow URI.", envvar="STUDY_TRACKING_URI")
]

StudyName = Annotated[str, typer.Argument(help="Name of a study.")]

ROOT = "runs"


@dataclass(frozen=True)
class Workspace:
    """Folders of a command.

    Attributes:
        root: Folder or object store for trial folders, plans and journals: all that must outlive
            a machine.
        state: Local folder for the rest, which can be rebuilt or is useless elsewhere: both
            databases, cache, locks and temporary files.
    """

    root: AnyPath
    state: Path

    @classmethod
    def open(cls, root: str, state: Path | None = None) -> Workspace:
        """Open both as absolute paths.

        Raises:
            UserError: A remote root cannot be used.
        """
        place = open_place(root)
        place = Path(os.path.realpath(place)) if isinstance(place, Path) else place
        return cls(place, local_state(place, state))

    @property
    def cache(self) -> Cache:
        """Cache that trials on this machine share; its entries can be made again."""
        return Cache(self.state / "cache")

    def study(self, name: str) -> StudyFolder:
        """Return the folder of a study."""
        return StudyFolder.of(self.root, name, self.state)

    def observers(
        self, plan: Plan, record: Record, tracking_uri: str | None, storage_url: str | None
    ) -> list[Observer]:
        """Create the observers of a study's events without connecting; add new ones here."""
        from study.tracking import default_uri
        from study.tracking.view import MlflowView, OptunaView

        study = (plan, self.study(plan.name), self.root, self.state)
        return [
            MlflowView(*study, tracking_uri or default_uri(self.state), record.marks),
            OptunaView(*study, storage_url or sqlite_url(self.state / OPTUNA_FILE), record.marks),
        ]

    def load(self, name: str) -> tuple[Plan, Record, dict[str, dict[str, Any]]]:
        """Read the plan and record of a study, and its committed results by digest.

        Raises:
            UserError: There is no such study under the root.
        """
        plan = self.plan(name)
        return plan, self.study(name).record(), committed_results(self.root, plan.specs)

    def plan(self, name: str) -> Plan:
        """Read the plan of a study.

        Raises:
            UserError: There is no such study under the root.
        """
        plan = self.study(name).plan()
        if plan is None:
            names = study_names(self.root)
            near = difflib.get_close_matches(name, names, 1)
            guess = f"did you mean {near[0]}? " if near else ""
            known = ", ".join(names) or "none yet"
            raise UserError(
                f"no study {name!r} under {self.root}; {guess}there is {known} (--root chooses)"
            )
        return plan

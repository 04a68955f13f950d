"""The folder of a study: its plan, its journal and the lease of its one driver."""

from __future__ import annotations

import fcntl
import os
import socket
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from study.state.journal import Reading, generations
from study.state.plan import Plan
from study.state.record import Journal, Record
from trainables import faults
from trainables.errors import NotNowError, UserError
from trainables.storage import atomic as storage
from trainables.storage import paths as places
from trainables.storage.paths import AnyPath, local_state, name_of_folder, own
from trainables.trial.trial_folder import NotCommittedError, UnreadableError, read_json

LOCK = "driver.lock"

TAKEN_OVER_SECONDS = 120.0
"""Silence after which a driver on another machine counts as dead."""


class DamagedPlanError(UserError):
    """A `plan.json` that is not valid.

    Attributes:
        damage: The path and what is wrong with its content.
    """

    def __init__(self, message: str, damage: str = "") -> None:
        super().__init__(message)
        self.damage = damage


@dataclass(frozen=True)
class StudyFolder:
    """`studies/<name>/` under a root.

    `plan.json` holds the plan, the journal the events, and `driver.lock` the current driver. For a
    remote root the lock is in the local folder.
    """

    path: AnyPath
    local: Path

    @classmethod
    def of(cls, root: AnyPath, name: str, state: Path | None = None) -> StudyFolder:
        """Return the folder of the study with this name, whether it exists or not.

        Args:
            root: Root of all studies and trials.
            name: Name of the study.
            state: Local state folder, as for `local_state`.

        Raises:
            UserError: The name is not valid for a study.
        """
        name_of_folder(name, "study")
        local = local_state(root, state) / "studies" / name
        return cls(own(root / "studies" / name), Path(str(own(local))))

    @property
    def plan_path(self) -> AnyPath:
        """Path of the plan."""
        return self.path / "plan.json"

    def plan(self) -> Plan | None:
        """Read the plan, with its search's proposals added; None if there is none.

        Raises:
            DamagedPlanError: The file exists but is not valid.
            UserError: It cannot be read now, or a newer version wrote it.
        """
        try:
            if not self.plan_path.exists():
                return None
            plan = Plan.model_validate(read_json(self.plan_path)).named(self.path.name)
            return self._joined(plan)
        except (UnreadableError, PermissionError) as error:
            raise UserError(f"{error}; mend that, or choose another --root or --name") from error
        except (NotCommittedError, ValueError) as error:
            damage = f"{self.plan_path} is damaged ({str(error).splitlines()[0]})"
            raise DamagedPlanError(
                f"{damage}; run the command that planned the study again: it is planned anew and "
                "finished trials are found by their digest",
                damage,
            ) from None

    def plan_or_aside(self, planned: Plan) -> tuple[Plan | None, str]:
        """Read the plan; move a damaged one out of the way.

        Args:
            planned: Returned without parsing if the file holds exactly this plan.

        Returns:
            The plan, or None if there is none or it was damaged; a note for people, or empty.
        """
        with suppress(OSError):
            if storage.read(self.plan_path) == _written(planned):
                return self._joined(planned), ""
        try:
            return self.plan(), ""
        except DamagedPlanError as error:
            aside = storage.set_aside(self.plan_path)
            return None, f"{error.damage}; set aside as {aside}, and the study is planned anew"

    def _joined(self, plan: Plan) -> Plan:
        """Add the search's proposals to a plan."""
        return plan if plan.search is None else plan.joined(self.record().proposals)

    def written(self) -> bytes | None:
        """Return the bytes of `plan.json`; None if there is none."""
        return storage.read(self.plan_path) if self.plan_path.exists() else None

    def save_plan(self, plan: Plan) -> None:
        """Write the plan atomically, without its search's proposals."""
        storage.write(self.plan_path, _written(plan.planned))
        faults.at("plan.written")

    def record(self) -> Record:
        """Read the journal as it is now."""
        return Record.read(Reading(self.path))

    def identity(self) -> str:
        """Return the ID that distinguishes studies of one name in a shared storage.

        It is stored in the study folder and moves with it.

        Raises:
            UserError: The file of the ID is damaged.
        """
        storage.create_json(self.path / "identity.json", {"id": uuid.uuid4().hex})
        path = self.path / "identity.json"
        try:
            return str(storage.unseal(storage.read(path))["id"])
        except (KeyError, ValueError):
            raise UserError(
                f"{path}: holds no id; restore the file, or remove it to begin this study anew in "
                "its --storage"
            ) from None

    @contextmanager
    def lease(self, *, take_over: bool = False) -> Iterator[Journal]:
        """Hold the lock of this study's one driver; it ends with the process, however that ends.

        The kernel releases the lock when the process is gone, so no heartbeat can be late; on NFS,
        Linux turns it into a lock of the server. The folder is locked too, so that removing the
        file does not let a second driver in. A remote root has one such lock per state folder;
        drivers elsewhere are detected by what they write.

        Args:
            take_over: Whether to go on although a driver elsewhere may still live.

        Yields:
            The journal, open for writing.

        Raises:
            UserError: Another driver holds the lock, or this user may not take it.
            NotNowError: A driver elsewhere has written within `TAKEN_OVER_SECONDS`.
        """
        locked = self._locked
        with ExitStack() as stack:
            try:
                locked.mkdir(parents=True, exist_ok=True)
                self.local.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(_locked(locked / LOCK))
                folder = os.open(locked, os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, folder)
                _lock_folder(folder)
                file.truncate(0)
                since = time.strftime("%Y-%m-%d %H:%M:%S")
                file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}\n")
                file.flush()
                storage.remove_leftovers(self.path)
            except BlockingIOError as error:
                raise UserError(
                    f"study {self.path.name} is being driven by {error.filename or 'another'}; "
                    "wait for it, end it, or start another study with --name"
                ) from None
            except OSError as error:
                raise UserError(
                    f"{error.filename or locked}: this user cannot drive study {self.path.name} "
                    f"({error.strerror}); mend the permissions, start another study with --name, "
                    "or choose another --root"
                ) from None
            faults.at("study.leased")
            holder = {"process": os.getpid(), "host": socket.gethostname(), "state": self._here()}
            journal = Journal(self.path, holder)
            if not take_over and self._is_driven_elsewhere(journal.reading):
                raise NotNowError(
                    f"study {self.path.name} is being driven on {journal.reading.holder}; end that "
                    "command, wait two minutes after its end, or add --take-over to go on from it"
                )
            stack.callback(journal.close)
            yield journal

    def is_driven(self) -> bool:
        """Return whether the latest launch's driver lives, as far as this machine can tell."""
        path = self._locked / LOCK
        with suppress(OSError), open(path, "rb", opener=storage.plain) as file:
            try:
                # shared and short: `lease` retries for longer than this takes
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        if isinstance(self.path, Path):
            return False
        reading = Reading(self.path)
        deque(reading, maxlen=0)
        return self._is_driven_elsewhere(reading)

    @property
    def _locked(self) -> Path:
        return self.path if isinstance(self.path, Path) else self.local

    def _here(self) -> str:
        """Identify the local folder of this machine among all machines."""
        with suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            status = self.local.stat()
            return f"{boot}-{status.st_dev}-{status.st_ino}"
        return f"{socket.gethostname()}:{self.local}"

    def _is_driven_elsewhere(self, reading: Reading) -> bool:
        """Return whether a driver that shares no lock with this machine has written recently."""
        if isinstance(self.path, Path) or reading.last.get("event") in (None, "closed"):
            return False
        if reading.opened.get("state") in (None, self._here()):
            return False  # this machine's lock covers it
        newest = generations(self.path)[reading.newest][-1]
        assert not isinstance(newest, Path)
        return places.age(newest) < TAKEN_OVER_SECONDS


@contextmanager
def _locked(path: Path) -> Iterator[TextIO]:
    """Open and lock the file, and check that the path still names it.

    Raises:
        BlockingIOError: Another process has the lock; `filename` holds what it wrote in the file.
        OSError: The file cannot be opened, or is not a regular file.
    """
    while True:
        with open(path, "a+", encoding="utf-8", opener=storage.unlinked) as file:
            try:
                _lock_exclusively(file.fileno())
            except BlockingIOError as error:
                file.seek(0)
                error.filename = file.read().strip()
                raise
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return


def _lock_exclusively(file: int) -> None:
    """Lock an open file; retry, since `is_driven` holds a shared lock for a moment."""
    for pause in (0.02, 0.1, None):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if pause is None:
                raise
            time.sleep(pause)


def _lock_folder(folder: int) -> None:
    """Lock an open folder if its filesystem supports that.

    Raises:
        BlockingIOError: Another process has the lock.
    """
    try:
        _lock_exclusively(folder)
    except BlockingIOError:
        raise
    except OSError:
        pass  # NFS cannot lock folders: the lock on the file must do


def _written(plan: Plan) -> bytes:
    """Serialize a plan to the bytes of `plan.json`."""
    return storage.seal_lines(plan.model_dump_json(exclude_none=True, indent=1).encode())


def study_names(root: AnyPath) -> list[str]:
    """List the studies under a root, sorted; skip folders whose name is not valid."""
    names = []
    for path in root.glob("studies/*/plan.json"):
        with suppress(UserError):
            names.append(name_of_folder(path.parent.name, "study"))
    return sorted(names)

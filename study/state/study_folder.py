"""What a study keeps on disk: its plan, its events, and who is driving it."""

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
"""How long a driver on another machine may be silent before it counts as dead."""


class DamagedPlanError(UserError):
    """A `plan.json` that cannot be believed.

    Attributes:
        damage: The path, and what is wrong with what it holds.
    """

    def __init__(self, message: str, damage: str = "") -> None:
        super().__init__(message)
        self.damage = damage


@dataclass(frozen=True)
class StudyFolder:
    """`studies/<name>/` under a root.

    `plan.json` says what is to run, the journal what happened, and `driver.lock` who drives the
    study; that of a remote root lies in the local folder.
    """

    path: AnyPath
    local: Path

    @classmethod
    def of(cls, root: AnyPath, name: str, state: Path | None = None) -> StudyFolder:
        """The folder of the study with this name, whether it exists or not.

        Args:
            root: Of everything.
            name: Of the study.
            state: As for `places.local_state`.

        Raises:
            UserError: No study can have this name.
        """
        name_of_folder(name, "study")
        local = local_state(root, state) / "studies" / name
        return cls(own(root / "studies" / name), Path(str(own(local))))

    @property
    def plan_path(self) -> AnyPath:
        """The file with the plan."""
        return self.path / "plan.json"

    def plan(self) -> Plan | None:
        """The plan as it was written, with what its search proposed; None before there is one.

        Raises:
            DamagedPlanError: The file is there but cannot be believed.
            UserError: It cannot be read now, or was written by a newer version.
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
        """The plan, or None after one that cannot be believed was moved out of the way.

        Args:
            planned: Given back itself, unparsed, where the file holds just that.

        Returns:
            The plan, and what a person should know; empty where all was well.
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
        """The plan with what its search proposed."""
        return plan if plan.search is None else plan.joined(self.record().proposals)

    def written(self) -> bytes | None:
        """`plan.json` as it is now; None before there is one."""
        return storage.read(self.plan_path) if self.plan_path.exists() else None

    def save_plan(self, plan: Plan) -> None:
        """Write the plan in one step, without what its search proposed."""
        storage.write(self.plan_path, _written(plan.planned))
        faults.at("plan.written")

    def record(self) -> Record:
        """What the journal says now."""
        return Record.read(Reading(self.path))

    def identity(self) -> str:
        """What tells this study from another of its name in a shared storage; it moves along."""
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
        """Be the only driver of this study; the lock goes with the process, however it ends.

        The kernel gives the lock up in the moment the process is gone, so there is no heartbeat
        that could be late. On NFS, Linux turns it into a lock of the server. The folder is locked
        too: whoever removes the file does not let a second driver in. A remote root has one such
        lock a state folder; there a driver elsewhere is known by what it writes.

        Args:
            take_over: Whether to go on from a driver elsewhere that may still live.

        Yields:
            The journal, to be added to.

        Raises:
            UserError: Another driver holds it, or this user may not.
        """
        place = self._locked
        with ExitStack() as held:
            try:
                place.mkdir(parents=True, exist_ok=True)
                self.local.mkdir(parents=True, exist_ok=True)
                file = held.enter_context(_locked(place / LOCK))
                folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
                held.callback(os.close, folder)
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
                    f"{error.filename or place}: this user cannot drive study {self.path.name} "
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
            held.callback(journal.close)
            yield journal

    def is_driven(self) -> bool:
        """Whether the driver of the latest launch lives, as far as can be known from here."""
        path = self._locked / LOCK
        with suppress(OSError), open(path, "rb", opener=storage.plain) as file:
            try:
                # for less than the time for which `lease` tries again
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
        """What tells the local folder of this machine from that of any other."""
        with suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            status = self.local.stat()
            return f"{boot}-{status.st_dev}-{status.st_ino}"
        return f"{socket.gethostname()}:{self.local}"

    def _is_driven_elsewhere(self, reading: Reading) -> bool:
        """Whether a driver that shares no lock with this machine has written just now."""
        if isinstance(self.path, Path) or reading.last.get("event") in (None, "closed"):
            return False
        if reading.opened.get("state") in (None, self._here()):
            return False  # its lock was had
        newest = generations(self.path)[reading.newest][-1]
        assert not isinstance(newest, Path)
        return places.age(newest) < TAKEN_OVER_SECONDS


@contextmanager
def _locked(path: Path) -> Iterator[TextIO]:
    """The file, opened and locked, once it is the one that lies there.

    Raises:
        BlockingIOError: Another process has it; what it wrote in it is the error's file name.
        OSError: It cannot be opened, or is no plain file.
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
    """Lock an opened file; who only looks whether it is locked has it for a moment."""
    for pause in (0.02, 0.1, None):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if pause is None:
                raise
            time.sleep(pause)


def _lock_folder(folder: int) -> None:
    """Lock an opened folder, where its filesystem can.

    Raises:
        BlockingIOError: Another process has it.
    """
    try:
        _lock_exclusively(folder)
    except BlockingIOError:
        raise
    except OSError:
        pass  # NFS has no such locks: the file's must do


def _written(plan: Plan) -> bytes:
    """The bytes of `plan.json`."""
    return storage.seal_lines(plan.model_dump_json(exclude_none=True, indent=1).encode())


def study_names(root: AnyPath) -> list[str]:
    """Names of the studies under a root; a folder that no study can be called by is none."""
    names = []
    for path in root.glob("studies/*/plan.json"):
        with suppress(UserError):
            names.append(name_of_folder(path.parent.name, "study"))
    return sorted(names)

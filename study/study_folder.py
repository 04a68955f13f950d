"""What a study keeps on disk: its plan, its events, and who is driving it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from study.asked import AskedTrial
from study.journal import FileJournal, Journal, journal
from study.plan import Plan
from study.rungs import Rung, pruned
from trainables import faults, storage
from trainables.errors import UserError
from trainables.places import Place, local_state, name_of_folder, own
from trainables.trial_folder import NotCommittedError, UnreadableError, read_json


class DamagedPlanError(UserError):
    """A `plan.json` that cannot be believed."""


@dataclass(frozen=True)
class StudyFolder:
    """`studies/<name>/` under a root.

    `plan.json` says what is to run, `events.jsonl` what happened, a line each, `rungs.jsonl` what
    was decided of trials on the way, `asked.jsonl` which trials a search asked for, and
    `driver.lock` who drives the study. `tracked.jsonl`, which
    trials MLflow has been told of, lies in the local folder, for a local root the same; so does the
    lock of a remote root.
    """

    path: Place
    local: Path

    @classmethod
    def of(cls, root: Place, name: str, state: Path | None = None) -> StudyFolder:
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
    def plan_path(self) -> Place:
        """The file with the plan."""
        return self.path / "plan.json"

    def plan(self) -> Plan | None:
        """The plan as it was written, with what its search asked for; None before there is one.

        Raises:
            DamagedPlanError: The file is there but cannot be believed.
            UserError: It cannot be read now, or was written by a newer version.
        """
        try:
            if not self.plan_path.exists():
                return None
            plan = Plan.model_validate(read_json(self.plan_path)).named(self.path.name)
            return plan if plan.search is None else plan.joined(self.asked())
        except (UnreadableError, PermissionError) as error:
            raise UserError(f"{error}; mend that, or choose another --root or --name") from error
        except (NotCommittedError, ValueError) as error:
            raise DamagedPlanError(
                f"{self.plan_path} is damaged ({str(error).splitlines()[0]}); run the command "
                "that planned the study again: it is planned anew and finished trials are found "
                "by their digest"
            ) from None

    def plan_or_aside(self, wanted: Plan) -> tuple[Plan | None, str]:
        """The plan, or None after one that cannot be believed was moved out of the way.

        Args:
            wanted: Given back itself, unparsed, where the file holds just that.

        Returns:
            The plan, and what a person should know; empty where all was well.
        """
        with suppress(OSError):
            if storage.read(self.plan_path) == _written(wanted):
                return wanted if wanted.search is None else wanted.joined(self.asked()), ""
        try:
            return self.plan(), ""
        except DamagedPlanError as error:
            where = storage.set_aside(self.plan_path)
            reason = str(error).partition(";")[0]
            return None, f"{reason}; it was set aside as {where} and the study is planned anew"

    def written(self) -> bytes | None:
        """`plan.json` as it is now; None before there is one."""
        return storage.read(self.plan_path) if self.plan_path.exists() else None

    def save_plan(self, plan: Plan) -> None:
        """Write the plan in one step, without what its search asked for."""
        storage.write(self.plan_path, _written(plan.planned))
        faults.at("plan.written")

    def ask(self, trial: AskedTrial) -> None:
        """Keep that a search asked for a trial; nothing of it runs before."""
        self._asked.append(trial.line())
        faults.at("asked.written", digest=trial.digest)

    def asked(self) -> list[AskedTrial]:
        """What a search asked for, in that order; lines that cannot be believed are passed over."""
        return [trial for line in self._asked.lines() if (trial := AskedTrial.read(line))]

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

    def note(self, event: str, **facts: Any) -> None:
        """Add one event, with its time of day, and with one that goes on evenly, for durations."""
        now = {"time": round(time.time(), 3), "monotonic": round(time.monotonic(), 3)}
        self._journal.append(now | {"event": event} | facts)

    def events(self, having: str = "") -> Iterator[dict[str, Any]]:
        """What happened so far, or what of it has this text; broken lines are passed over."""
        return filter(_is_event, self._journal.lines(having))

    def failures(self) -> dict[str, str]:
        """Why each trial failed that has not been started since, by digest."""
        found: dict[str, str] = {}
        for event in self.events():
            trial = event.get("trial", "")
            if event.get("event") == "failed":
                reason, detail = event.get("reason", "error"), event.get("detail", "")
                found[trial] = f"{reason}: {detail}" if detail else reason
            else:
                found.pop(trial, None)
        return found

    def note_rung(self, rung: Rung) -> None:
        """Keep what was decided of a trial at a rung."""
        self._rungs.append(rung.to_json())

    def rungs(self) -> list[Rung]:
        """What was decided at rungs so far, in that order; torn lines are passed over."""
        lines = self._rungs.lines('"examples"')
        return [rung for line in lines if (rung := Rung.read(line))]

    def pruned(self) -> dict[str, Rung]:
        """Where each trial that is not to be completed was stopped, by digest."""
        exempt = self.exempt()
        return {digest: r for digest, r in pruned(self.rungs()).items() if digest not in exempt}

    def exempt_all(self, digests: Iterable[str]) -> None:
        """Keep that these pruned trials are to be completed after all."""
        for digest in digests:
            self._rungs.append({"complete": digest})

    def exempt(self) -> frozenset[str]:
        """Trials that are to be completed whatever is decided of them."""
        lines = self._rungs.lines('"complete"')
        return frozenset(d for line in lines if isinstance(d := line.get("complete"), str))

    def marks(self) -> list[str]:
        """What was changed after results existed (law 6), in words, without repetition."""
        marks = (event.get("mark", "") for event in self.events('"mark"'))
        return list(dict.fromkeys(filter(None, marks)))

    def declared_late(self) -> list[str]:
        """Names of the hypotheses that were added or changed after results existed (law 6)."""
        late = (name for e in self.events('"late"') for name in e.get("late", ()))
        return list(dict.fromkeys(late))

    def frozen(self) -> str | None:
        """Hash of what was frozen when the study was last planned; None if it never was."""
        planned = [e["frozen"] for e in self.events('"frozen"') if "frozen" in e]
        return planned[-1] if planned else None

    def note_tracked(self, place: str, digest: str, state: str) -> None:
        """Keep that MLflow at `place` has been told how a trial ended."""
        self._tracked.append({"at": place, "trial": digest, "state": state})

    def tracked(self, place: str) -> dict[str, str]:
        """Digest to state, of the trials that MLflow at `place` has been told of."""
        return {
            line["trial"]: line["state"]
            for line in self._tracked.lines()
            if line.get("at") == place
            and isinstance(line.get("trial"), str)
            and isinstance(line.get("state"), str)
        }

    def forget_tracked(self) -> None:
        """MLflow's database is gone: it has been told nothing."""
        self._tracked.path.unlink(missing_ok=True)

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Be the only driver of this study; the lock goes with the process, however it ends.

        The kernel gives the lock up in the moment the process is gone, so there is no heartbeat
        that could be late. On NFS, Linux turns it into a lock of the server. A remote root has
        one lease a state folder: drivers on two machines would do work twice, and lose none. The
        folder is locked too: whoever removes the file does not let a second driver in.

        Raises:
            UserError: Another driver holds it, or this user may not.
        """
        place = self.path if isinstance(self.path, Path) else self.local
        with ExitStack() as held:
            try:
                place.mkdir(parents=True, exist_ok=True)
                self.local.mkdir(parents=True, exist_ok=True)
                file = held.enter_context(_locked(place / "driver.lock"))
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
            yield

    @cached_property
    def _journal(self) -> Journal:
        return journal(self.path, "events")

    @cached_property
    def _asked(self) -> Journal:
        return journal(self.path, "asked")

    @cached_property
    def _rungs(self) -> Journal:
        return journal(self.path, "rungs")

    @cached_property
    def _tracked(self) -> FileJournal:
        return FileJournal(self.local / "tracked.jsonl")


def _is_event(line: Mapping[str, Any]) -> bool:
    """Whether a line's facts are of the types that `note` writes."""
    return all(
        isinstance(line[key], kind) and not isinstance(line[key], bool)
        for key, kind in _EVENT.items()
        if key in line
    ) and all(isinstance(name, str) for name in line.get("late", ()))


_EVENT: dict[str, tuple[type, ...]] = {
    "time": (int, float),
    "monotonic": (int, float),
    "late": (list,),
    "versions": (dict,),
    **dict.fromkeys(("event", "trial", "reason", "detail", "mark", "frozen", "keep"), (str,)),
}


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
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                error.filename = file.read().strip()
                raise
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return


def _lock_folder(folder: int) -> None:
    """Lock an opened folder, where its filesystem can.

    Raises:
        BlockingIOError: Another process has it.
    """
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # NFS has no such locks: the file's must do


def _written(plan: Plan) -> bytes:
    """The bytes of `plan.json`."""
    return storage.seal_lines(plan.model_dump_json(exclude_none=True, indent=1).encode())


def study_names(root: Place) -> list[str]:
    """Names of the studies under a root; a folder that no study can be called by is none."""
    found = []
    for path in root.glob("studies/*/plan.json"):
        with suppress(UserError):
            found.append(name_of_folder(path.parent.name, "study"))
    return sorted(found)

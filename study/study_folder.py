"""What a study keeps on disk: its plan, its events, and who is driving it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.plan import Plan
from trainables import storage
from trainables.errors import UserError
from trainables.trial_folder import NotCommittedError, read_json


@dataclass(frozen=True)
class StudyFolder:
    """`studies/<name>/` under a root."""

    path: Path

    @classmethod
    def of(cls, root: Path, name: str) -> StudyFolder:
        """The folder of the study with this name, whether it exists or not."""
        return cls(root / "studies" / name)

    def plan(self) -> Plan | None:
        """The plan as it was written; None before the study was first planned.

        Raises:
            UserError: The file is there but cannot be believed.
        """
        path = self.path / "plan.json"
        if not path.exists():
            return None
        try:
            return Plan.model_validate(read_json(path))
        except (NotCommittedError, ValueError) as error:
            raise UserError(
                f"{path} is damaged ({str(error).splitlines()[0]}); move it away and run the same "
                "command again: it is planned anew and finished trials are found by their digest"
            ) from None

    def save_plan(self, plan: Plan) -> None:
        """Write the plan in one step."""
        storage.write_json(self.path / "plan.json", plan.model_dump(mode="json", exclude_none=True))

    def note(self, event: str, **facts: Any) -> None:
        """Append one line to `events.jsonl`, in one write."""
        line = json.dumps({"time": round(time.time(), 3), "event": event} | facts) + "\n"
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Be the only driver of this study; the lock goes with the process, however it ends.

        Raises:
            UserError: Another driver holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "driver.lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise UserError(
                    f"study {self.path.name} is being driven by {file.read().strip() or 'another'}"
                    "; wait for it, end it, or start another study with --name"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield


def study_names(root: Path) -> list[str]:
    """Names of the studies under a root."""
    return sorted(path.parent.name for path in root.glob("studies/*/plan.json"))

"""What the doctor says of one thing on one machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at.

    Attributes:
        check: What was looked at.
        where: On which machine; `all` where it is about several.
        state: `problem` where a study would fail or be unsafe.
        says: What was found.
        remedy: What to do; empty where nothing is to be done.
    """

    check: str
    where: str
    state: State
    says: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)


def ok(check: str, where: str, says: str) -> Diagnosis:
    """Nothing to do."""
    return Diagnosis(check, where, "ok", says)


def warning(check: str, where: str, says: str, remedy: str) -> Diagnosis:
    """Studies run, but not as well as they could."""
    return Diagnosis(check, where, "warning", says, remedy)


def problem(check: str, where: str, says: str, remedy: str) -> Diagnosis:
    """Studies fail or are unsafe."""
    return Diagnosis(check, where, "problem", says, remedy)

"""Observers receive the events of a study; nothing depends on them.

To add one (a CSV logger, say), override the events that it needs and create it in
`study.cli.workspace.Workspace.observers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from study.state.plan import Plan, trial_label
from study.state.record import Record, TrialState
from study.state.rungs import Rung

ENDED = ("complete", "failed", "pruned")

Numbers = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class EndedTrial:
    """A trial that is complete, failed or pruned.

    Attributes:
        digest: Digest of the trial.
        label: Label for people.
        state: Final state, and its reason.
        result: Committed result; None if it failed or was pruned.
        rungs: Rungs that a pruned trial reached.
        note: Remark for people.
    """

    digest: str
    label: str
    state: TrialState
    result: Mapping[str, Any] | None = None
    rungs: tuple[Rung, ...] = ()
    note: str = ""


class Observer:
    """Base class that ignores every event."""

    def planned(self, plan: Plan) -> None:
        """Receive the current plan."""

    def queued(self, digest: str, work: float) -> None:
        """Handle another trial to run; `work` is its cost in any unit."""

    def started(self, digest: str) -> None:
        """Handle a trial that was handed to Ray."""

    def stepped(self, digest: str, step: int, steps: int, evaluating: bool) -> None:
        """Handle a trial's progress."""

    def rung(self, rung: Rung) -> None:
        """Handle a trial at a rung."""

    def ended(self, trial: EndedTrial) -> None:
        """Handle the end of a trial; the same end may be delivered twice."""

    def states(self) -> Mapping[str, str] | None:
        """Return the final states that it holds, by digest; the others are delivered at each start.

        None if it follows events only as they happen.
        """
        return None

    def close(self, console: Console, numbers: Numbers, *, wait: bool = False) -> set[str]:
        """Finish at the end of a command.

        Args:
            console: Console for errors.
            numbers: Computes numbers about the whole study.
            wait: Whether to wait without limit for pending trials.

        Returns:
            Digests of the trials that it could not write.
        """
        return set()


def trial_labels(plan: Plan) -> dict[str, str]:
    """Return each trial's label by digest; the first cell's if several share the trial."""
    return {
        trial.digest: trial_label(cell.label, trial.seed)
        for cell in reversed(plan.cells)
        for trial in cell.trials
    }


def ended_trial(
    digest: str, label: str, record: Record, results: Mapping[str, Mapping[str, Any]]
) -> EndedTrial:
    """Describe an ended trial from record and results."""
    state = record.state(digest, results)
    rungs = tuple(r for r in record.rungs if r.trial == digest) if state.state == "pruned" else ()
    return EndedTrial(digest, label, state, results.get(digest), rungs)


def catch_up(
    observers: Iterable[Observer],
    plan: Plan,
    record: Record,
    results: Mapping[str, Mapping[str, Any]],
    *,
    again: bool = False,
) -> None:
    """Deliver every ended trial that an observer does not hold yet.

    Args:
        observers: Observers of the study.
        plan: Plan of the study.
        record: Record of the study.
        results: Committed results by digest.
        again: Whether to deliver trials that an observer holds, too.
    """
    states = {digest: record.state(digest, results).state for digest in plan.specs}
    labels = trial_labels(plan)
    for observer in observers:
        if (delivered := observer.states()) is None:
            continue
        for digest, state in states.items():
            if state in ENDED and (again or delivered.get(digest) != state):
                observer.ended(ended_trial(digest, labels[digest], record, results))

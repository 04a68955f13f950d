"""Observers of a study: each is told of its events, and nothing depends on one.

A further observer (a CSV logger, say) overrides the events that it writes down, and is made in
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
        digest: Its name.
        label: How a person recognises it.
        state: How it ended, and why.
        result: Committed; None of one that failed or was pruned.
        rungs: Those that it came to.
        note: Words about it for a person.
    """

    digest: str
    label: str
    state: TrialState
    result: Mapping[str, Any] | None = None
    rungs: tuple[Rung, ...] = ()
    note: str = ""


class Observer:
    """Does nothing at any event."""

    def planned(self, plan: Plan) -> None:
        """The study has this plan from now on."""

    def queued(self, digest: str, work: float) -> None:
        """Another trial is going to run; `work` is its length, in any unit."""

    def started(self, digest: str) -> None:
        """A trial was handed to Ray."""

    def stepped(self, digest: str, step: int, steps: int, evaluating: bool) -> None:
        """A trial reported where it stands."""

    def rung(self, rung: Rung) -> None:
        """A trial came to a rung."""

    def ended(self, trial: EndedTrial) -> None:
        """A trial ended; may be told twice of the same end."""

    def states(self) -> Mapping[str, str] | None:
        """Digest to state of the ends that it holds, to be told of the others at each start.

        None of one that follows events only while they happen.
        """
        return None

    def close(self, console: Console, numbers: Numbers, *, wait: bool = False) -> set[str]:
        """The command ends.

        Args:
            console: Where to say what could not be written.
            numbers: Computes numbers about the whole study.
            wait: Whether to take as long as it takes.

        Returns:
            Digests of the trials that it could not write.
        """
        return set()


def trial_labels(plan: Plan) -> dict[str, str]:
    """Digest to how a person recognises a trial; of a trial that several cells have, the first."""
    return {
        trial.digest: trial_label(cell.label, trial.seed)
        for cell in reversed(plan.cells)
        for trial in cell.trials
    }


def ended_trial(
    digest: str, label: str, record: Record, results: Mapping[str, Mapping[str, Any]]
) -> EndedTrial:
    """A trial that has ended, as record and results have it."""
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
    """Tell observers of every trial that has ended, but for the ends that they hold.

    Args:
        observers: Of the study.
        plan: Of the study.
        record: Of the study.
        results: Committed ones, by digest.
        again: Whether they are told of what they hold, too.
    """
    states = {digest: record.state(digest, results).state for digest in plan.specs}
    labels = trial_labels(plan)
    for observer in observers:
        if (held := observer.states()) is None:
            continue
        for digest, state in states.items():
            if state in ENDED and (again or held.get(digest) != state):
                observer.ended(ended_trial(digest, labels[digest], record, results))

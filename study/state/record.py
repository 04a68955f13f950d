"""The state of a study, from its journal and the committed folders of its trials."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from study.state.journal import Line, Reading, Writer
from study.state.proposals import ProposedTrial
from study.state.rungs import Rung
from trainables.storage.paths import AnyPath

State = Literal["planned", "running", "complete", "pruned", "failed"]

STATES: tuple[State, ...] = ("planned", "running", "complete", "pruned", "failed")

INCOMPLETE = "history incomplete"
"""Start of the mark on a study whose journal is incomplete."""


@dataclass(frozen=True)
class TrialState:
    """State of a trial.

    Attributes:
        state: State within the study; `complete` holds for the whole root.
        reason: Why it failed or was pruned; empty otherwise.
    """

    state: State
    reason: str = ""


class Moment(NamedTuple):
    """An event with its time in seconds of a clock that is monotonic while its driver lives."""

    event: str
    trial: str
    at: float | None


@dataclass
class Record:
    """Content of a study's journal, accumulated line by line.

    Attributes:
        failures: Failure reasons by digest, of trials not started or planned again since.
        started: Trials that the latest launch has started and that have not ended.
        complete: Trials recorded as having a result.
        rungs: Decisions at rungs, in order.
        stops: Rung at which each trial was pruned, by digest; includes exempt trials.
        exempt: Trials to complete in spite of a decision to prune them.
        proposals: Trials proposed by a search, in order.
        marks: Deviations after results existed (law 6), and gaps in the history.
        late: Names of hypotheses added or changed after results existed.
        frozen: `Plan.frozen` when the study was last planned; None if it never was.
        keep: Encoders that the latest launch keeps (`LaunchConfig.keep`).
        versions: Library versions of the latest launch.
        best_kept: Trials whose latest launch had `--keep best`.
        times: Event, trial and clock seconds of each line; `study.search.budget.spent` sums them
            up.
    """

    failures: dict[str, str] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    complete: set[str] = field(default_factory=set)
    rungs: list[Rung] = field(default_factory=list)
    stops: dict[str, Rung] = field(default_factory=dict)
    exempt: set[str] = field(default_factory=set)
    proposals: list[ProposedTrial] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    frozen: str | None = None
    keep: str = ""
    versions: dict[str, Any] = field(default_factory=dict)
    best_kept: set[str] = field(default_factory=set)
    times: list[Moment] = field(default_factory=list)

    @classmethod
    def read(cls, reading: Reading) -> Record:
        """Accumulate the lines of a journal."""
        record = cls()
        for line in reading:
            record.add(line)
        record._mark_incomplete(reading.faults)
        return record

    @property
    def pruned(self) -> dict[str, Rung]:
        """Rung at which each pruned trial was stopped, by digest, without exempt trials."""
        return {digest: rung for digest, rung in self.stops.items() if digest not in self.exempt}

    def state(self, digest: str, results: Collection[str], *, driven: bool = True) -> TrialState:
        """Return the state of a trial.

        Args:
            digest: Planned trial.
            results: Digests of trials with a valid result, which overrides the journal.
            driven: Whether the driver of the latest launch lives.
        """
        if digest in results:
            return TrialState("complete")
        if digest in self.failures:
            return TrialState("failed", self.failures[digest])
        if digest in self.started and driven:
            return TrialState("running")
        if digest in self.stops and digest not in self.exempt:
            return TrialState("pruned", self.stops[digest].why)
        return TrialState("planned")

    def add(self, line: Line) -> None:
        """Process one more line; skip one whose fields have the wrong types."""
        if not _is_event(line):
            if "generation" in line:
                self._mark_incomplete(["a line of the journal cannot be understood"])
            return
        event, trial = line.get("event", ""), line.get("trial", "")
        self.times.append(Moment(event, trial, line.get("monotonic", line.get("time"))))
        match event:
            case "opened":
                self.started.clear()
                self._mark_incomplete(line.get("faults", ()))
            case "launch" | "end":
                self.started.clear()
                self.keep = line.get("keep", self.keep)
                self.versions = line.get("versions", self.versions)
            case "started":
                self.started.add(trial)
                (self.best_kept.add if self.keep == "best" else self.best_kept.discard)(trial)
            case "complete":
                self.complete.add(trial)
            case "exempt":
                self.exempt.add(trial)
            case "rung":
                self._add_rung(Rung.read(line["rung"]))
            case "proposal":
                if (proposal := ProposedTrial.read(line["proposal"])) is not None:
                    self.proposals.append(proposal)
            case "planning":
                self._mark(line.get("mark", ""))
                self.late += [name for name in line.get("late", ()) if name not in self.late]
            case "planned":
                self.frozen = line.get("frozen", self.frozen)
        if event in ("complete", "failed", "pruned"):
            self.started.discard(trial)
        if event == "failed":
            reason, detail = line.get("reason", "error"), line.get("detail", "")
            self.failures[trial] = f"{reason}: {detail}" if detail else reason
        elif trial:
            self.failures.pop(trial, None)

    def _add_rung(self, rung: Rung | None) -> None:
        if rung is not None:
            self.rungs.append(rung)
            if rung.stop:
                self.stops[rung.trial] = rung

    def _mark(self, mark: str) -> None:
        if mark and mark not in self.marks:
            self.marks.append(mark)

    def _mark_incomplete(self, faults: Iterable[str]) -> None:
        for fault in faults:
            self._mark(f"{INCOMPLETE}: {fault}")


class Journal:
    """Journal of a study, open for writing by its driver.

    Attributes:
        reading: The journal as read at the start.
        record: Its content, including the driver's own lines.
    """

    def __init__(self, folder: AnyPath, holder: Line) -> None:
        """Read the journal; the first added line claims a generation.

        Args:
            folder: Study folder.
            holder: Description of this driver, for people.
        """
        self.reading = Reading(folder)
        self.record = Record.read(self.reading)
        self.record.started.clear()  # the driver that started them is dead
        self._writer = Writer(self.reading, holder)

    def note(self, event: str, *, durable: bool = False, **facts: Any) -> None:
        """Append one line.

        Args:
            event: Kind of event.
            durable: Whether something depends on the line, so that it must be on disk before this
                returns.
            facts: Fields of the line.
        """
        self.note_all(event, [facts], durable=durable)

    def note_all(self, event: str, facts: Iterable[Line], *, durable: bool = False) -> None:
        """Append one line per element of `facts`, in one write."""
        if facts := list(facts):
            for line in self._writer.add(event, facts, durable=durable):
                self.record.add(line)

    def refuse_superseded(self) -> None:
        """Stop if another driver has claimed a later generation (`Writer.refuse_superseded`)."""
        self._writer.refuse_superseded()

    def close(self) -> None:
        """Note the end of this driver, if it has written anything."""
        self._writer.close()


def _is_event(line: Line) -> bool:
    """Return whether a line's fields have the types that drivers write."""
    return all(
        isinstance(line[key], kind) and not isinstance(line[key], bool)
        for key, kind in _TYPES.items()
        if key in line
    ) and all(isinstance(name, str) for key in ("late", "faults") for name in line.get(key, ()))


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("time", "monotonic"), (int, float)),
    **dict.fromkeys(("late", "faults"), (list,)),
    **dict.fromkeys(("rung", "proposal", "versions"), (dict,)),
    **dict.fromkeys(("event", "trial", "reason", "detail", "mark", "frozen", "keep"), (str,)),
}

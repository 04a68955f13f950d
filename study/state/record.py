"""The state of a study: what its journal and the committed folders of its trials say together."""

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
"""How a study is marked whose journal does not say all that happened."""


@dataclass(frozen=True)
class TrialState:
    """Where a trial stands.

    Attributes:
        state: Of a study; `complete` is of the whole root.
        reason: Why it failed or was pruned; empty otherwise.
    """

    state: State
    reason: str = ""


class Moment(NamedTuple):
    """When something happened, by a clock that goes on evenly while its driver lives."""

    event: str
    trial: str
    at: float | None


@dataclass
class Record:
    """What the journal of a study says, line by line.

    Attributes:
        failures: Why each trial failed that was not started or planned again since, by digest.
        started: Trials that the latest launch has started and not seen the end of.
        complete: Trials that were noted to have a result.
        rungs: What was decided at rungs, in that order.
        stops: Where each trial was stopped, by digest, those that are exempt included.
        exempt: Trials that are to be completed whatever is decided of them.
        proposals: Trials that a search proposed, in that order.
        marks: What was changed after results existed (law 6), and why the history is not whole.
        late: Names of the hypotheses that were added or changed after results existed.
        frozen: Hash of what was frozen when the study was last planned; None if it never was.
        keep: Which encoders the latest launch leaves.
        versions: Of the libraries of the latest launch.
        best_kept: Trials that launches with `--keep best` ran.
        times: Event, trial and a clock's seconds of each line, from which `spent` sums up.
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
        """What the lines of a journal add up to."""
        record = cls()
        for line in reading:
            record.add(line)
        record._mark_incomplete(reading.faults)
        return record

    @property
    def pruned(self) -> dict[str, Rung]:
        """Where each trial that is not to be completed was stopped, by digest."""
        return {digest: at for digest, at in self.stops.items() if digest not in self.exempt}

    def state(self, digest: str, results: Collection[str], *, driven: bool = True) -> TrialState:
        """Where a trial stands.

        Args:
            digest: Of a planned trial.
            results: Digests of the trials with a result that may be believed, which beats all.
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
        """Take one more line into account; one whose facts are of other types is passed over."""
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
    """The journal of a study in the hands of its driver.

    Attributes:
        record: What it says, the driver's own lines included.
    """

    def __init__(self, folder: AnyPath, holder: Line) -> None:
        """Read it; a generation is claimed with the first line that is added.

        Args:
            folder: Of the study.
            holder: Who writes, for people.
        """
        self.reading = Reading(folder)
        self.record = Record.read(self.reading)
        self.record.started.clear()  # the driver that started them is dead
        self._writer = Writer(self.reading, holder)

    def note(self, event: str, *, durable: bool = False, **facts: Any) -> None:
        """Add a line.

        Args:
            event: What happened.
            durable: Whether something follows from it, so that it must outlive the machine before
                this returns.
            facts: Of it.
        """
        self.note_all(event, [facts], durable=durable)

    def note_all(self, event: str, facts: Iterable[Line], *, durable: bool = False) -> None:
        """Add a line for each of these facts, at once."""
        if facts := list(facts):
            for line in self._writer.add(event, facts, durable=durable):
                self.record.add(line)

    def refuse_superseded(self) -> None:
        """Stop where another driver has claimed a later generation (`Writer`)."""
        self._writer.refuse_superseded()

    def close(self) -> None:
        """Say that this driver has ended, if it said anything."""
        self._writer.close()


def _is_event(line: Line) -> bool:
    """Whether a line's facts are of the types that drivers write."""
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

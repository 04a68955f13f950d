"""Drive one study: launch its plan, read committed trials, write the journal, tell observers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from rich.console import Console

from study.console import marked
from study.driver.progress import StudyProgress
from study.driver.weights import drop_beaten
from study.launch import launch as launcher
from study.launch.config import PRUNED, Job, Jobs, LaunchConfig, Progress, Wait
from study.search.budget import Clock
from study.search.pruning import pruning_of
from study.search.search import Observations, Over, Search, Waiting
from study.state.committed import committed_results
from study.state.plan import Plan, trial_label
from study.state.proposals import ProposedTrial
from study.state.record import STATES, Journal, State, TrialState
from study.state.rungs import Rung
from study.tracking.observer import Observer, ended_trial, trial_labels
from trainables import faults
from trainables.errors import NotNowError
from trainables.spec import LIBRARIES, Spec
from trainables.storage.paths import AnyPath, map_parallel
from trainables.trial.result import NEEDED
from trainables.trial.trial_folder import TrialFolder


@dataclass
class Driver:
    """Runs the trials of one study and keeps its journal.

    The state of a trial follows from the journal and the committed folders. Observers are told last
    and nothing depends on them: an event that one misses is delivered at the next start.

    Attributes:
        plan: Plan of the study, with the proposals of its search.
        root: Root of all trial folders.
        journal: Journal of the study, whose lease this process holds.
        observers: Receivers of the study's events; `run` adds the progress bar.
        console: Console for notes and progress.
        results: Results of committed trials by digest, as far as read.
        search: Source of further trials; None if the plan is complete.
        over: Why the search has ended; empty while it may propose.
        keep: Encoders that this launch keeps (`LaunchConfig.keep`).
        left: Digests of this launch's trials whose encoders are still in their folders.
    """

    plan: Plan
    root: AnyPath
    journal: Journal
    observers: list[Observer]
    console: Console
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    search: Search | None = None
    over: str = ""
    keep: str = ""
    left: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Start the clock at the time that earlier launches spent."""
        self.record = self.journal.record
        self.clock = Clock.after(self.record.times)
        self.labels = trial_labels(self.plan)

    def reconcile(self) -> int:
        """Read committed results; set damaged ones aside, so that their trials run again.

        Returns:
            Number of committed trials that the journal had not recorded.
        """
        self.results = committed_results(self.root, self.plan.specs)
        self._quarantine(self.plan.specs)
        map_parallel(self.root, self._ensure_spec, self.results)
        unknown = [digest for digest in self.results if digest not in self.record.complete]
        for digest in unknown:
            # tidy up first: a trial that the journal calls complete is never looked at again
            TrialFolder.of(self.root, digest).forget_unfinished()
            self._complete(digest)
            faults.at("reconcile.completed")
        return len(unknown)

    def retry_failed(self) -> None:
        """Plan every failed trial again."""
        self._again("retry", "failed")

    def complete_pruned(self) -> None:
        """Plan every pruned trial again, exempt from further pruning."""
        self._again("exempt", "pruned")

    def _again(self, event: str, state: State) -> None:
        digests = [d for d in self.plan.specs if self.state(d).state == state]
        self.journal.note_all(event, [{"trial": digest} for digest in digests], durable=True)

    def state(self, digest: str) -> TrialState:
        """Return the state of a trial."""
        return self.record.state(digest, self.results)

    def jobs(self) -> list[Job]:
        """List the trials left to run, longest first, so that no worker idles at the end."""
        waiting = [
            self._job(digest) for digest in self.plan.specs if self.state(digest).state == "planned"
        ]
        if not waiting and self.search and isinstance(job := self.further(), Job):
            waiting = [job]
        return sorted(waiting, key=lambda job: -work(job.spec))

    def further(self) -> Job | Wait | None:
        """Return the search's next trial without a result; None once the search has ended."""
        assert self.search is not None
        while isinstance(
            proposal := self.search.next(self.plan, self.observations()), ProposedTrial
        ):
            if (job := self._propose(proposal)) is not None:
                return job
        if isinstance(proposal, Over):
            self.over = proposal.reason
        return Wait() if isinstance(proposal, Waiting) else None

    def observations(self) -> Observations:
        """Collect all that the search may see: results, states, rungs and spent time."""
        record, specs = self.record, self.plan.specs
        states = {d: self.state(d).state for d in {*record.failures, *record.stops} & specs.keys()}
        ended = {d: state for d, state in states.items() if state in ("failed", "pruned")}
        reached: dict[str, dict[int, float]] = {}
        objective = self.plan.search.objectives[0].metric if self.plan.search else ""
        for rung in record.rungs:
            if rung.metric == objective:  # not an earlier objective of this search
                reached.setdefault(rung.trial, {})[rung.examples] = rung.value
        return Observations(self.results, ended, reached, self.clock.spent())

    def _propose(self, proposal: ProposedTrial) -> Job | None:
        """Journal and plan a proposed trial; return its job, or None if it already has a result."""
        digest = proposal.digest
        faults.at("asked.writing", digest=digest)
        self.journal.refuse_superseded()
        self.journal.note("proposal", durable=True, proposal=proposal.line())
        faults.at("asked.written", digest=digest)
        self.plan = self.plan.joined([proposal])
        self.labels = trial_labels(self.plan)
        for observer in self.observers:
            observer.planned(self.plan)
        result = committed_results(self.root, [digest]).get(digest)
        if result is None:
            self._quarantine([digest])
            for observer in self.observers:
                observer.queued(digest, work(proposal.spec))
            return self._job(digest)
        self._ensure_spec(digest)
        TrialFolder.of(self.root, digest).forget_unfinished()
        self.results[digest] = result
        self._complete(digest)
        self._tell_end(digest)
        return None

    @property
    def lone(self) -> tuple[str, str] | None:
        """Digest and label of the one trial whose encoder `--keep best` keeps.

        Without a validation benchmark no trial may be called the best, so it is the first trained
        trial of the plan. None if there is a validation benchmark.
        """
        if any(spec.validation for spec in self.plan.specs.values()):
            return None
        trained = (
            (trial.digest, trial_label(cell.label, trial.seed))
            for cell in self.plan.cells
            for trial in cell.trials
            if self.plan.specs[trial.digest].steps
        )
        return next(trained, None)

    def _job(self, digest: str) -> Job:
        """Make the job of a trial; in a search only a cell's first seed may be pruned."""
        if self.plan.search is None:
            candidate = self.lone is None or self.lone[0] == digest
            return Job(digest, self.plan.specs[digest], candidate=candidate)
        trials = (t for cell in self.plan.cells for t in cell.trials if t.digest == digest)
        first = any(trial.phase == "search" and trial.seed == 0 for trial in trials)
        return Job(digest, self.plan.specs[digest], whole=not first)

    def run(self, jobs: list[Job], config: LaunchConfig) -> None:
        """Run the jobs; an interrupt returns early and leaves running trials planned."""
        self.keep = config.keep
        self._note_launch(len(jobs), config)
        self.clock.begin(config.workers or 1)
        if (pruning := pruning_of(self.plan)) is not None:
            recorded = tuple(rung for rung in self.record.rungs if rung.metric == pruning.metric)
            pruning = replace(pruning, recorded=recorded, exempt=frozenset(self.record.exempt))
            config = replace(config, pruning=pruning)
        faults.at("launch.noted")
        amounts = {job.digest: work(job.spec) for job in jobs}
        progress = StudyProgress(self.console, amounts)
        self.observers.append(progress)
        try:
            with progress:
                launcher.launch(Jobs(jobs, self.further) if self.search else jobs, self, config)
            faults.at("launch.ended")
        finally:
            self.observers.remove(progress)
            self.record.started.clear()
            self.journal.note_all("end", [self.counts()])

    def _note_launch(self, trials: int, config: LaunchConfig) -> None:
        """Journal the launch, and report libraries whose version changed since the last one."""
        now = {name: version(name) for name in LIBRARIES}
        before = self.record.versions or now
        changed = [f"{n} {before.get(n)} → {v}" for n, v in now.items() if before.get(n) != v]
        if changed:
            self._say(
                f"libraries changed since the last launch ({', '.join(changed)}); what is computed "
                "from here on may differ in last digits, and the answer says which trials"
            )
        self.journal.note(
            "launch", trials=trials, workers=config.workers, keep=config.keep, versions=now
        )

    def counts(self) -> dict[str, int]:
        """Count the trials of the plan by state."""
        states = [self.state(digest).state for digest in self.plan.specs]
        return {state: states.count(state) for state in STATES}

    def started(self, digest: str) -> None:
        """Record that a trial was handed to Ray."""
        self.journal.refuse_superseded()
        self.journal.note("started", trial=digest)
        for observer in self.observers:
            observer.started(digest)
        faults.at("start.noted", digest=digest)

    def running(self, digest: str) -> None:
        """Record that a trial has its resources and runs."""
        self.journal.note("running", trial=digest)
        self.clock.started(digest)

    def progressed(self, progress: Progress) -> None:
        """Pass a trial's progress on to the observers."""
        for observer in self.observers:
            observer.stepped(progress.digest, progress.step, progress.steps, progress.evaluating)

    def reached(self, rung: Rung) -> None:
        """Journal the decision at a rung before anything acts on it."""
        self.journal.note("rung", durable=True, rung=rung.to_json())
        faults.at("rung.noted", digest=rung.trial)
        for observer in self.observers:
            observer.rung(rung)

    def lost(self, digest: str, reason: str, detail: str, launch: str) -> None:
        """Record the loss of a trial's worker, also in its attempt, since the worker cannot.

        The worker may have died before it claimed an attempt; an attempt of another launch is left
        as it is.
        """
        self.journal.note("lost", trial=digest, reason=reason, detail=detail)
        for attempt in TrialFolder.of(self.root, digest).attempts()[:1]:
            if attempt.is_live and attempt.claimed_by().get("launch") == launch:
                attempt.fail({"reason": reason, "detail": detail, "trace": []})

    def finished(self, digest: str, reason: str, detail: str) -> None:
        """Record the end of a trial; its folder, not Ray, decides whether it has a result.

        Raises:
            NotNowError: The trial cannot go on now.
        """
        faults.at("trial.ended", digest=digest)
        self.clock.ended(digest)
        result = committed_results(self.root, [digest]).get(digest)
        if result is not None:
            self.results[digest] = result
            self._complete(digest)
            note = self._objective(result)
            note += " (layout changed)" if result.get("layout_changed") else ""
        elif reason == PRUNED:
            self.journal.note("pruned", trial=digest, reason=detail)
            faults.at("pruning.noted", digest=digest)
            note = detail
        elif reason == "not now":
            raise NotNowError(f"trial {digest} cannot go on now: {detail}; what is done is kept")
        else:
            reason = reason or "not committed"
            self.journal.note("failed", trial=digest, reason=reason, detail=detail)
            note = self.record.failures[digest]
        self._tell_end(digest, note)
        if result is not None:
            drop_beaten(self, digest)

    def _complete(self, digest: str) -> None:
        self.journal.note("complete", trial=digest)
        faults.at("completion.noted", digest=digest)

    def _tell_end(self, digest: str, note: str = "") -> None:
        trial = ended_trial(digest, self.labels[digest], self.record, self.results)
        for observer in self.observers:
            observer.ended(replace(trial, note=note))

    def _quarantine(self, digests: Iterable[str]) -> None:
        """Set damaged commits of these trials aside, and say why."""
        missing = [TrialFolder.of(self.root, d) for d in digests if d not in self.results]
        reasons = map_parallel(self.root, lambda folder: folder.quarantine(NEEDED), missing)
        for folder, why in zip(missing, reasons, strict=True):
            if why:
                self.journal.note("damaged", trial=folder.digest, why=why)
                self._say(
                    f"trial {folder.digest} is run again: {why}; what is left of it was set aside "
                    f"in {folder.path / 'damaged'}"
                )

    def _ensure_spec(self, digest: str) -> None:
        TrialFolder.of(self.root, digest).ensure_spec(self.plan.specs[digest])

    def _objective(self, result: Mapping[str, Any]) -> str:
        """Format the metric shown for a trial: the primary one, or the search's objective."""
        metric, part = self.plan.primary, "metrics"
        if self.plan.search is not None:
            metric, part = self.plan.search.objectives[0].metric, "validation"
        value = result[part].get(metric)
        prefix = "" if part == "metrics" else "validation "
        return "" if value is None else f"{prefix}{metric} {value:.4f}"

    def _say(self, *lines: str) -> None:
        for line in lines:
            self.console.print(marked("note:", f" {line}"))


def work(spec: Spec) -> float:
    """Estimate the relative cost of a trial, to order trials and predict the time left."""
    return 1000.0 + spec.steps * (spec.batch_size or 0)

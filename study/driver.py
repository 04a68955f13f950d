"""Drive one study: plan → ledger → launch → committed folders → ledger, then MLflow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from rich.console import Console

from study.asked import AskedTrial
from study.committed import committed_results
from study.launch import launch as launcher
from study.launch.orders import PRUNED, Job, Jobs, Orders, Progress, Wait
from study.ledger import Ledger
from study.ledger_rows import STATES, Row
from study.plan import Plan, trial_label
from study.progress import StudyProgress
from study.rungs import Rung
from study.search.budget import RESUMED, Clock, died
from study.search.pruning import last_rungs, pruning_of
from study.search.search import Over, Search, Seen, Waiting
from study.shown import marked
from study.study_folder import StudyFolder
from study.view import View
from study.weights import drop_beaten
from trainables import faults
from trainables.errors import NotNowError
from trainables.execution import LIBRARIES
from trainables.places import Place, at_once
from trainables.result import NEEDED
from trainables.spec import Spec
from trainables.trial_folder import TrialFolder


@dataclass
class Driver:
    """Keeps plan, ledger, events and view of one study in step while trials run.

    The ledger is told after the folder is committed, and MLflow after the ledger: whatever is
    lost in between is found again at the next start.

    Attributes:
        plan: What is to run.
        root: Where everything lies.
        ledger: States of the trials.
        folder: The study's own folder; its lease is held.
        view: What MLflow is told.
        console: Where a person looks.
        results: Committed results by digest, as far as they are known.
        rungs: What was decided of trials on the way, by this driver and those before.
        search: What asks for further trials; None where all are planned.
        over: Why the search asks for no more; empty while it may.
        keep: Which encoders the launch leaves, as `Orders.keep`.
        left: Trials of the launch whose encoders lie in their folders.
    """

    plan: Plan
    root: Place
    ledger: Ledger
    folder: StudyFolder
    view: View
    console: Console
    rows: dict[str, Row] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    rungs: list[Rung] = field(default_factory=list)
    progress: StudyProgress | None = None
    search: Search | None = None
    over: str = ""
    keep: str = ""
    left: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Count what earlier launches spent."""
        self.clock = Clock.after(self.folder.events())

    def reconcile(self) -> int:
        """Make the ledger agree with plan, events and folders.

        Damaged commits are set aside and run again, rows of dead drivers are planned again, and
        what the ledger does not know is added in the state that events and folders tell.

        Returns:
            How many trials were already committed but not known to the ledger.
        """
        if died(self.folder.events()):
            self.folder.note(RESUMED)
        self.results = committed_results(self.root, self.plan.specs)
        self.rungs = self.folder.rungs()
        self._quarantine(self.plan.specs)
        at_once(self.root, self._ensure_spec, self.results)
        rows = {row.digest: row for row in self.ledger.requeue_stale()}
        self._say(*self.ledger.notes)
        unknown = self.plan.specs.keys() - self.results.keys()
        if any(rows[d].state == "complete" for d in rows.keys() & unknown):
            # A finished row of Optuna stays finished: the study's rows are written anew
            self.folder.note("rebuild")
            self.ledger.forget()
            known = rows
            rows = {}
        else:
            known = {}
        new = self._missing(rows, known)
        for row in new:
            if row.state == "complete":
                TrialFolder.of(self.root, row.digest).forget_unfinished()
        self.ledger.add_all(new, {d: self._objective(r) for d, r in self.results.items()})
        faults.at("ledger.added")
        self.rows = {row.digest: row for row in self.ledger.rows()} if new else rows
        found = [d for d in self.results if self.rows[d].state != "complete"]
        for digest in found:
            # Tidied up first: what the ledger calls complete is not looked at again
            TrialFolder.of(self.root, digest).forget_unfinished()
            self._complete(digest, self.results[digest])
            faults.at("reconcile.completed")
        for digest, rung in self.folder.pruned().items():
            # stopped, and the driver ended before the ledger was told; or the ledger is new
            if digest in self.rows and self.rows[digest].state == "planned":
                self._prune(digest, rung.why)
        self._complete_after_all(self.folder.exempt())
        added = [row.digest for row in new if row.state == "complete" and row.digest not in known]
        return len(found) + len(added)

    def retry_failed(self) -> None:
        """Plan every failed trial again."""
        failed = [row for row in self.rows.values() if row.state == "failed"]
        for row in failed:
            self.folder.note("retry", trial=row.digest)
        self._plan_again(failed)

    def tell_view(self) -> None:
        """Tell MLflow of every ended trial that it has not been told of."""
        told = self.view.told()
        self._say(*self.view.notes)
        for digest in self.plan.specs:
            row = self.rows[digest]
            if row.state in ("complete", "failed", "pruned") and told.get(digest) != row.state:
                if digest in self.results:
                    self.view.completed(row, self.results[digest])
                elif row.state == "pruned":
                    self.view.pruned(row, self.rungs)
                else:
                    self.view.failed(row)

    def jobs(self) -> list[Job]:
        """What is left to run, the longest first, so that no worker idles at the end."""
        waiting = [
            self._job(digest)
            for digest, row in self.rows.items()
            if row.state == "planned" and digest in self.plan.specs
        ]
        if not waiting and self.search and isinstance(asked := self.further(), Job):
            waiting = [asked]
        return sorted(waiting, key=lambda job: -work(job.spec))

    def further(self) -> Job | Wait | None:
        """The next trial that the search asks for and that has no result yet; None at its end."""
        assert self.search is not None
        while isinstance(asked := self.search.next(self.plan, self.seen()), AskedTrial):
            if (job := self._ask(asked)) is not None:
                return job
        if isinstance(asked, Over):
            self.over = asked.reason
        return Wait() if isinstance(asked, Waiting) else None

    def seen(self) -> Seen:
        """What the search may see: no more than plan, results, states and what was spent."""
        ended = {d: row.state for d, row in self.rows.items() if row.state in ("failed", "pruned")}
        reached: dict[str, dict[int, float]] = {}
        objective = self.plan.search.objectives[0].metric if self.plan.search else ""
        for rung in self.rungs:
            if rung.metric == objective:  # not of one that the search had before
                reached.setdefault(rung.trial, {})[rung.examples] = rung.value
        return Seen(self.results, ended, reached, self.clock.spent())

    def _ask(self, asked: AskedTrial) -> Job | None:
        """Keep and plan a trial; None where it needs no run."""
        digest = asked.digest
        faults.at("asked.writing", digest=digest)
        self.folder.ask(asked)
        self.plan = self.plan.joined([asked])
        self.view.learn(self.plan)
        result = committed_results(self.root, [digest]).get(digest)
        if result is None:
            self._quarantine([digest])
        self.rows[digest] = self.ledger.add(digest, asked.seed, asked.params)
        faults.at("asked.planned", digest=digest)
        if result is None:
            if self.progress:
                self.progress.added(digest, work(asked.spec))
            return self._job(digest)
        self._ensure_spec(digest)
        TrialFolder.of(self.root, digest).forget_unfinished()
        self.results[digest] = result
        self._complete(digest, result)
        self.view.completed(self.rows[digest], result)
        return None

    @property
    def lone(self) -> tuple[str, str] | None:
        """Digest and label of the one trial whose encoder `--keep best` keeps.

        It is the plan's first. None where a validation benchmark says which is best.
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
        """A trial to run; of a search only a cell's first one may be stopped early."""
        if self.plan.search is None:
            candidate = self.lone is None or self.lone[0] == digest
            return Job(digest, self.plan.specs[digest], candidate=candidate)
        trials = (t for cell in self.plan.cells for t in cell.trials if t.digest == digest)
        first = any(trial.phase == "search" and trial.seed == 0 for trial in trials)
        return Job(digest, self.plan.specs[digest], whole=not first)

    def run(self, jobs: list[Job], orders: Orders) -> None:
        """Run the jobs; an interrupt returns early with their rows back in the plan."""
        self.keep = orders.keep
        self._note_launch(len(jobs), orders)
        self.clock.begin(orders.workers or 1)
        if (pruning := pruning_of(self.plan)) is not None:
            recorded = tuple(rung for rung in self.rungs if rung.metric == pruning.metric)
            pruning = replace(pruning, recorded=recorded, exempt=self.folder.exempt())
            orders = replace(orders, pruning=pruning)
        faults.at("launch.noted")
        amounts = {job.digest: work(job.spec) for job in jobs}
        try:
            with StudyProgress(self.console, amounts) as self.progress:
                launcher.launch(Jobs(jobs, self.further) if self.search else jobs, self, orders)
            faults.at("launch.ended")
        finally:
            try:
                self.rows = {row.digest: row for row in self.ledger.requeue_stale()}
            finally:
                self.folder.note("end", **self.counts())

    def _note_launch(self, trials: int, orders: Orders) -> None:
        """Note it, and say which libraries are not those of the launch before."""
        now = {name: version(name) for name in LIBRARIES}
        launches = [e["versions"] for e in self.folder.events('"versions"') if "versions" in e]
        before = launches[-1] if launches else now
        changed = [f"{n} {before.get(n)} → {v}" for n, v in now.items() if before.get(n) != v]
        if changed:
            self._say(
                f"libraries changed since the last launch ({', '.join(changed)}); what is computed "
                "from here on may differ in last digits, and the answer says which trials"
            )
        self.folder.note(
            "launch", trials=trials, workers=orders.workers, keep=orders.keep, versions=now
        )

    def counts(self) -> dict[str, int]:
        """Trials of this plan by state."""
        states = [row.state for digest, row in self.rows.items() if digest in self.plan.specs]
        return {state: states.count(state) for state in STATES.values()}

    def started(self, digest: str) -> None:
        """A trial was handed to Ray."""
        self.ledger.claim(self.rows[digest])
        self.rows[digest] = replace(self.rows[digest], state="running")
        faults.at("ledger.claimed", digest=digest)
        self.folder.note("started", trial=digest)
        faults.at("start.noted", digest=digest)

    def running(self, digest: str) -> None:
        """A trial has its place and runs."""
        self.folder.note("running", trial=digest)
        self.clock.started(digest)

    def progressed(self, progress: Progress) -> None:
        """A trial reported."""
        if self.progress:
            p = progress
            self.progress.stepped(p.digest, p.step, p.steps, p.evaluating)

    def reached(self, rung: Rung) -> None:
        """A trial came to a rung: what was decided is kept before anything follows from it."""
        self.folder.note_rung(rung)
        self.rungs.append(rung)
        faults.at("rung.noted", digest=rung.trial)

    def lost(self, digest: str, reason: str, detail: str, launch: str) -> None:
        """A trial's worker was lost: say so in the folder of its attempt, since it cannot.

        It may have been lost before it claimed one: another launch's is not its own.
        """
        self.folder.note("lost", trial=digest, reason=reason, detail=detail)
        for attempt in TrialFolder.of(self.root, digest).attempts()[:1]:
            if attempt.is_live and attempt.claimed_by().get("launch") == launch:
                attempt.fail({"reason": reason, "detail": detail, "trace": []})

    def finished(self, digest: str, reason: str, detail: str) -> None:
        """A trial ended; its folder, not Ray, says whether it has a result."""
        faults.at("trial.ended", digest=digest)
        self.clock.ended(digest)
        result = committed_results(self.root, [digest]).get(digest)
        if result is not None:
            self.results[digest] = result
            self._complete(digest, result)
            self.view.completed(self.rows[digest], result)
            drop_beaten(self, digest)
            note = self._told(result)
            note += " (layout changed)" if result.get("layout_changed") else ""
        elif reason == PRUNED:
            self._prune(digest, detail)
            self.view.pruned(self.rows[digest], self.rungs)
            note = detail
        elif reason == "not now":
            raise NotNowError(f"trial {digest} cannot go on now: {detail}; what is done is kept")
        else:
            reason = reason or "not committed"
            row = replace(self.rows[digest], reason=f"{reason}: {detail}" if detail else reason)
            self.folder.note("failed", trial=digest, reason=reason, detail=detail)
            self.ledger.fail(row, row.reason)
            self.view.failed(row)
            note = row.reason
        if self.progress:
            end = "done" if result else PRUNED if reason == PRUNED else "failed"
            self.progress.ended(digest, self._label(digest), note, end)

    def _complete(self, digest: str, result: dict[str, Any]) -> None:
        row = self.rows[digest]
        if row.state in ("failed", "pruned"):  # of a trial stopped here and completed elsewhere
            self.ledger.add_all(
                [replace(row, state="complete", reason="")], {digest: self._objective(result)}
            )
        else:
            self.ledger.complete(row, self._objective(result))
        self.rows[digest] = replace(row, state="complete", reason="")
        faults.at("ledger.completed", digest=digest)
        self.folder.note("complete", trial=digest)
        faults.at("completion.noted", digest=digest)

    def _complete_after_all(self, digests: Collection[str]) -> None:
        """Plan pruned trials again that were said to be wanted."""
        rows = self.rows.values()
        self._plan_again([r for r in rows if r.state == "pruned" and r.digest in digests])

    def _plan_again(self, rows: Sequence[Row]) -> None:
        if rows:
            self.ledger.retry(rows)
            self.rows = {row.digest: row for row in self.ledger.rows()}

    def _prune(self, digest: str, why: str) -> None:
        row = replace(self.rows[digest], reason=why)
        self.ledger.prune(row, last_rungs(self.rungs)[digest])
        self.rows[digest] = replace(row, state="pruned")
        faults.at("ledger.pruned", digest=digest)
        self.folder.note("pruned", trial=digest, reason=why)
        faults.at("pruning.noted", digest=digest)

    def _quarantine(self, digests: Iterable[str]) -> None:
        """Set aside every commit that cannot be believed, and say why."""
        missing = [TrialFolder.of(self.root, d) for d in digests if d not in self.results]
        reasons = at_once(self.root, lambda folder: folder.quarantine(NEEDED), missing)
        for folder, why in zip(missing, reasons, strict=True):
            if why:
                self.folder.note("damaged", trial=folder.digest, why=why)
                self._say(
                    f"trial {folder.digest} is run again: {why}; what is left of it was set aside "
                    f"in {folder.path / 'damaged'}"
                )

    def _ensure_spec(self, digest: str) -> None:
        TrialFolder.of(self.root, digest).ensure_spec(self.plan.specs[digest])

    def _missing(self, rows: Mapping[str, Row], known: Mapping[str, Row]) -> list[Row]:
        """Rows for the trials that the ledger lacks, in the states that can be told."""
        failures = self.folder.failures() if rows.keys() != self.plan.specs.keys() else {}
        new: dict[str, Row] = {}
        for cell in self.plan.cells:
            for trial in cell.trials:
                digest = trial.digest
                if digest in rows or digest in new:
                    continue
                before = known.get(digest)
                reason = before.reason if before else failures.get(digest, "")
                failed = before.state == "failed" if before else bool(reason)
                row = Row(
                    0, digest, "failed" if failed else "planned", reason, trial.seed, cell.params
                )
                if digest in self.results:
                    row = replace(row, state="complete", reason="")
                new[digest] = row
        return list(new.values())

    def _objective(self, result: Mapping[str, Any]) -> float | None:
        value: float | None = result["validation"].get(self.plan.primary)
        return value

    def _told(self, result: Mapping[str, Any]) -> str:
        """The number that a person sees of a trial; of a search the one that it goes by."""
        metric, of = self.plan.primary, "metrics"
        if self.plan.search is not None:
            metric, of = self.plan.search.objectives[0].metric, "validation"
        value = result[of].get(metric)
        prefix = "" if of == "metrics" else "validation "
        return "" if value is None else f"{prefix}{metric} {value:.4f}"

    def _say(self, *lines: str) -> None:
        for line in lines:
            self.console.print(marked("note:", f" {line}"))

    def _label(self, digest: str) -> str:
        return trial_label(self.view.labels[digest], self.rows[digest].seed)


def work(spec: Spec) -> float:
    """A guess of a trial's cost, to order trials and to foretell the time left."""
    return 1000.0 + spec.steps * (spec.batch_size or 0)

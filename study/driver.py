"""Drive one study: plan → ledger → launch → committed folders → ledger, then MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from study.answer.results import committed_results
from study.launch.launch import Job, Progress, launch
from study.ledger import STATES, Ledger, Row
from study.plan import Plan
from study.progress import StudyProgress
from study.study_folder import StudyFolder
from study.view import View
from trainables.spec import Execution, Spec


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
    """

    plan: Plan
    root: Path
    ledger: Ledger
    folder: StudyFolder
    view: View
    console: Console
    rows: dict[str, Row] = field(default_factory=dict)
    progress: StudyProgress | None = None

    def reconcile(self) -> tuple[int, int]:
        """Make the ledger agree with plan and folders.

        Returns:
            How many trials were already committed but not known to the ledger, and how many were
            left running by a driver that is gone.
        """
        stale = self.ledger.requeue_stale()
        known = {row.digest for row in self.ledger.rows()}
        for cell in self.plan.cells:
            for trial in cell.trials:
                if trial.digest not in known:
                    known.add(trial.digest)
                    self.ledger.add(trial.digest, trial.seed, cell.params)
        self.rows = {row.digest: row for row in self.ledger.rows()}
        open_rows = [d for d, row in self.rows.items() if row.state == "planned"]
        found = committed_results(self.root, (d for d in open_rows if d in self.plan.specs))
        for digest, result in found.items():
            self._complete(digest, result)
        return len(found), stale

    def jobs(self) -> list[Job]:
        """What is left to run, the longest first, so that no worker idles at the end."""
        waiting = [
            Job(digest, self.plan.specs[digest])
            for digest, row in self.rows.items()
            if row.state == "planned" and digest in self.plan.specs
        ]
        return sorted(waiting, key=lambda job: -work(job.spec))

    def run(
        self,
        jobs: list[Job],
        *,
        places: Mapping[str, str],
        execution: Execution,
        workers: int,
        address: str | None,
    ) -> None:
        """Run the jobs; an interrupt returns early with their rows back in the plan."""
        self.folder.note("launch", trials=len(jobs), workers=workers)
        amounts = {job.digest: work(job.spec) for job in jobs}
        with StudyProgress(self.console, amounts) as self.progress:
            launch(
                jobs,
                self,
                root=self.root,
                places=places,
                execution=execution,
                workers=workers,
                address=address,
            )
        self.ledger.requeue_stale()
        self.rows = {row.digest: row for row in self.ledger.rows()}
        self.folder.note("end", **self.counts())

    def counts(self) -> dict[str, int]:
        """Trials of this plan by state."""
        states = [row.state for digest, row in self.rows.items() if digest in self.plan.specs]
        return {state: states.count(state) for state in STATES.values()}

    def started(self, digest: str) -> None:
        """A trial was handed to Ray."""
        self.ledger.claim(self.rows[digest])
        self.folder.note("started", trial=digest)
        if self.progress:
            self.progress.started(digest)

    def progressed(self, progress: Progress) -> None:
        """A trial reported."""
        if self.progress:
            p = progress
            self.progress.stepped(p.digest, p.step, p.steps, p.evaluating)

    def finished(self, digest: str, reason: str, detail: str) -> None:
        """A trial ended; its folder, not Ray, says whether it has a result."""
        result = committed_results(self.root, [digest]).get(digest)
        if result is not None:
            self._complete(digest, result)
            primary = result["metrics"].get(self.plan.primary)
            note = "" if primary is None else f"{self.plan.primary} {primary:.4f}"
        else:
            reason = reason or "not committed"
            self.ledger.fail(self.rows[digest], f"{reason}: {detail}" if detail else reason)
            self.folder.note("failed", trial=digest, reason=reason, detail=detail)
            note = f"{reason}: {detail}"
            self.view.failed(self.rows[digest], reason, detail)
        if self.progress:
            self.progress.ended(digest, self._label(digest), note, result is None)

    def _complete(self, digest: str, result: dict[str, Any]) -> None:
        row = self.rows[digest]
        self.ledger.complete(row, result["validation"].get(self.plan.primary))
        self.folder.note("complete", trial=digest)
        self.view.completed(row, result)

    def _label(self, digest: str) -> str:
        row = self.rows[digest]
        label = next(
            cell.label
            for cell in self.plan.cells
            if digest in {trial.digest for trial in cell.trials}
        )
        return label if row.seed is None else f"{label} seed={row.seed}"


def work(spec: Spec) -> float:
    """A guess of a trial's cost, to order trials and to foretell the time left."""
    return 1000.0 + spec.steps * (spec.batch_size or 0)

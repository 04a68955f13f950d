"""Compare a study's new plan with the one on disk: what may be run, what changed, its writing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.planning.check_data import check_data
from study.planning.extend import declared_late, extended, mark
from study.search import search as start
from study.search.points import Points
from study.search.search import refuse_impossible
from study.search.warm_start import transferred
from study.state.plan import Plan
from study.state.record import Journal
from study.state.study_folder import StudyFolder
from trainables import faults
from trainables.errors import UserError
from trainables.spec import Execution
from trainables.storage.paths import AnyPath, map_parallel
from trainables.trial.trial_folder import TrialFolder


@dataclass(frozen=True)
class PlanUpdate:
    """A plan that may be run, beside the one on disk.

    Attributes:
        plan: The new plan, with the cells and seeds that the study had before.
        before: The plan on disk, with the trials that its search proposed.
        written: The bytes of `plan.json`, which show whether another command planned meanwhile.
        changed: Whether the plan differs from the one on disk, or is the first.
        points: Makes specs of a search's points; None for a grid.
    """

    plan: Plan
    before: Plan | None
    written: bytes | None
    changed: bool
    points: Points | None

    def with_expected_trials(self) -> Plan:
        """The plan, with trials like those that a search will propose."""
        return start.preview(self.plan, self.points) if self.points else self.plan

    def save(self, folder: StudyFolder, journal: Journal, root: AnyPath) -> Plan:
        """Write the plan where it is new; the caller holds the folder's lease.

        Returns:
            The plan to run.

        Raises:
            UserError: Another command planned this study in between.
        """
        if folder.written() != self.written:
            raise UserError(
                f"another command planned study {self.plan.name} while this one did; run it again"
            )
        # another driver may have proposed trials since the folder was read
        record = journal.record
        plan = self.plan.joined(record.proposals) if self.points else self.plan
        if not self.changed and record.frozen == plan.frozen:
            return plan
        facts: dict[str, Any] = {}
        # where the plan is on disk already, a driver was killed after it had noted the mark
        if self.changed and (text := self._mark(plan, record.frozen, root)):
            facts = {"mark": text, "late": declared_late(self.before, plan)}
        # the mark first: a plan that was changed must never be seen without it
        journal.refuse_superseded()
        journal.note("planning", durable=True, **facts)
        folder.save_plan(plan)
        journal.note("planned", durable=True, trials=len(plan.specs), frozen=plan.frozen)
        faults.at("plan.noted")
        return plan

    def _mark(self, plan: Plan, frozen: str | None, root: AnyPath) -> str:
        specs = plan.specs | (self.before.specs if self.before else {})
        folders = [TrialFolder.of(root, digest) for digest in specs]
        results = any(map_parallel(root, lambda trial: trial.is_committed, folders))
        return mark(self.before, frozen, plan, results)


def update_plan(
    requested: Plan,
    before: Plan | None,
    written: bytes | None,
    places: dict[str, str],
    root: AnyPath,
    execution: Execution,
    *,
    data_dir: Path | None = None,
    extend: bool = False,
    dry_run: bool = False,
    runnable: bool = True,
) -> PlanUpdate:
    """Compare a plan with the one on disk, and check the data of what is new.

    Args:
        requested: The plan of the command line.
        before: The plan on disk, with the trials that its search proposed.
        written: The bytes of `plan.json`.
        places: Digest to folder of data and checkpoints; those of a search's specs are added.
        root: Where trial folders lie, of other studies too.
        execution: Of every trial.
        data_dir: Folder of the source's own files.
        extend: Whether a plan that differs is added to.
        dry_run: Read no other study's results, and pass over missing files.
        runnable: Whether data and checkpoints are at hand, so that they can be checked.

    Raises:
        UserError: The study was planned differently, or its data cannot give what it needs.
    """
    differences = before.differences(requested) if before else []
    plan = _resumed(before, requested, differences, extend=extend)
    fresh = before is None or extend
    if fresh and not dry_run:
        plan = _with_transferred(before, plan, root)
    points = None
    if plan.search is not None:
        points = start.points_of(
            plan.search, plan.primary, data_dir, places, execution, tolerant=dry_run
        )
    if fresh and runnable:
        check_data(plan, places, points.probes() if points else ())
        if points:
            refuse_impossible(points)
    changed = before is None or (bool(differences) and bool(before.differences(plan)))
    return PlanUpdate(plan, before, written, changed, points)


def _resumed(before: Plan | None, requested: Plan, differences: list[str], *, extend: bool) -> Plan:
    """The requested plan as it may be run after the one before."""
    if before is None:
        return requested
    if differences:
        if extend:
            return extended(before, requested)
        shown = "\n  ".join(differences[:20])
        try:
            extended(before, requested)
        except UserError:
            way = "--extend cannot add this: cells are other experiments now; use --name to start"
        else:
            way = "use --extend to add what is new, or --name to start"
        raise UserError(
            f"study {requested.name} was planned differently:\n  {shown}\n{way} another study"
        )
    if before.search is not None and requested.search is not None:
        search = before.search.with_budget(dict(requested.search))
        return before.model_copy(update={"search": search})
    return requested.model_copy(update={"space": before.space})


def _with_transferred(before: Plan | None, plan: Plan, root: AnyPath) -> Plan:
    """The plan of a search, with the best cells of the studies that it newly starts from."""
    search = plan.search
    known = before.search.warm_start if before and before.search else ()
    if search is None or search.warm_start == known:
        return plan
    first = transferred(search, root)
    return plan.model_copy(update={"search": search.model_copy(update={"transferred": first})})

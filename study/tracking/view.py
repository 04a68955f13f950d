"""Convert a study's trials to the plain values of its views in MLflow and Optuna."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from study.console import count_of, marked, typed
from study.report.charts.heatmap import heatmap_page
from study.spaces.ranges import fits
from study.state.plan import Plan, trial_label
from study.state.record import STATES, Record, TrialState
from study.state.study_folder import StudyFolder
from study.tracking import Delivered, MlflowStore, Store, StudyInfo, Tracker, TrialView
from study.tracking.observer import EndedTrial, Numbers, Observer
from study.tracking.values import Value
from trainables import faults
from trainables.evaluation.metric_names import lower_is_better
from trainables.spec import Spec
from trainables.storage import atomic as storage
from trainables.storage.paths import AnyPath
from trainables.trial.trial_folder import NotCommittedError, TrialFolder, read_json

SPEC_PARAMS = (
    "sampling",
    "alpha",
    "batch_size",
    "steps",
    "learning_rate",
    "temperature",
    "warmup",
    "schedule",
    "mask_false_negatives",
    "shuffle_pairs",
)
"""Spec fields that MLflow shows as parameters; the artifact `spec.json` holds all."""

REPORTS = ("report.html", "report.md", "report.csv", "answer.md", "answer.json")
"""Report files that become artifacts of the study's run."""

MOST_RANKS_BYTES = 20_000_000
"""Largest file of ranks that becomes an artifact."""

CLOSE_SECONDS = 10.0
"""Seconds without progress after which the end of a study stops waiting for a view."""


class View(Observer):
    """Observer that writes a study to a store, which is opened with the first trial."""

    name: str
    """Name of the store in messages."""

    def __init__(
        self,
        plan: Plan,
        folder: StudyFolder,
        root: AnyPath,
        state: Path,
        url: str,
        marks: Sequence[str] = (),
    ) -> None:
        """Describe the view; nothing is imported or opened yet.

        Args:
            plan: Plan of the study.
            folder: Folder of the study.
            root: Root of the trial folders.
            state: Local state folder.
            url: URL of the store.
            marks: Deviations after results existed.
        """
        self.root, self.state, self.url, self.marks = root, state, url, marks
        self.planned(plan)
        self._folder = folder
        self._delivered = Delivered(folder.local / "tracked.jsonl", url)
        self._tracker: Tracker | None = None

    def planned(self, plan: Plan) -> None:
        """Use the trials of this plan."""
        self.plan, self._labels = plan, plan.labels
        self._trials = {
            trial.digest: (trial, cell) for cell in reversed(plan.cells) for trial in cell.trials
        }

    def states(self) -> Mapping[str, str]:
        """Return the final states that the store holds, by digest."""
        return self._delivered.read()

    def connect(self) -> Store:
        """Open the store (called in a thread)."""
        raise NotImplementedError

    def close(self, console: Console, numbers: Numbers, *, wait: bool = False) -> set[str]:
        """Wait briefly for pending trials, and report those that were not written."""
        if self._tracker is None:
            return set()
        missing = self._tracker.close(None if wait else CLOSE_SECONDS)
        if missing:
            why = f" ({self._tracker.problem[:200]})" if self._tracker.problem else ""
            hint = f"{why}; the study itself is whole. Fill it with: python -m study track "
            lacks = f"{self.name} lacks {count_of(len(missing), 'trial')}"
            command = typed([self.plan.name, "--root", str(self.root)])
            console.print(marked(lacks, hint + command))
        return set(missing)

    def tracker(self) -> Tracker:
        """Return the tracker; start it on first use."""
        if self._tracker is None:
            self._tracker = Tracker(self.connect, self._note)
        return self._tracker

    def _note(self, trial: TrialView) -> None:
        """Remember that the store holds all of a trial (called in the tracker's thread)."""
        if trial.state != "running":
            self._delivered.add(trial.digest, trial.state)
        faults.at("view.noted", digest=trial.digest)

    def _trial_view(self, digest: str, state: TrialState) -> TrialView:
        spec, label = self.plan.specs[digest], self._labels[digest]
        planned, cell = self._trials[digest]
        plain = {k: v for k, v in cell.params.items() if isinstance(v, (str, float, int, bool))}
        params: dict[str, Value] = {
            "cell": label,
            "encoder": spec.encoder.name,
            "test": spec.test.name,
        }
        params |= {key: value for key, value in plain.items() if key not in ("seed", "steps")}
        params |= {name: getattr(spec, name) for name in SPEC_PARAMS}
        params["seed"] = planned.seed
        params["alpha"] = {"X-X": 1.0, "X-Y": 0.0}.get(spec.sampling or "", spec.alpha)
        return TrialView(
            digest=digest,
            name=trial_label(label, planned.seed),
            state=state.state,
            reason=state.reason,
            params=params,
            cell=cell.params,
            seed=planned.seed,
            metrics={},
            tags={"arm": label, "seed": "" if planned.seed is None else str(planned.seed)},
            artifacts={"spec.json": spec.model_dump_json(indent=1, exclude_none=True)},
            datasets=_datasets(spec),
        )

    def _info(self) -> StudyInfo:
        return StudyInfo(
            name=self.plan.name,
            space=self.plan.space,
            tier=self.plan.tier,
            question=self.plan.question,
            params={"primary": self.plan.primary, "trials": len(self.plan.specs)},
            tags={"frozen": self.plan.frozen, "marks": "; ".join(self.marks)},
            artifacts=self.state / "mlartifacts",
            directions=tuple(direction for _, direction in self._directions),
        )

    @property
    def _directions(self) -> list[tuple[str, str]]:
        """The study's objectives, each with the direction that is better."""
        if self.plan.search is not None:
            return [(o.metric, o.direction) for o in self.plan.search.objectives]
        is_lower_better = lower_is_better(self.plan.primary)
        return [(self.plan.primary, "minimize" if is_lower_better else "maximize")]


class OptunaView(View):
    """View in an Optuna storage; it reads no file of a trial."""

    name = "Optuna's storage"

    def connect(self) -> Store:
        """Open the storage."""
        from study.tracking.optuna_storage import OptunaStore

        return OptunaStore(self.url, self._info(), self._folder.identity())

    def started(self, digest: str) -> None:
        """Add a running row."""
        self.tracker().record(self._trial_view(digest, TrialState("running")))

    def ended(self, trial: EndedTrial) -> None:
        """End the trial's row, or add one."""
        cell, result = self._trials[trial.digest][1], trial.result
        values: tuple[float | None, ...] = ()
        if result is not None:
            by_metric = {**result["validation"], **(cell.proposal.known if cell.proposal else {})}
            values = tuple(by_metric.get(metric) for metric, _ in self._directions)
        reached = {rung.examples: rung.value for rung in trial.rungs}
        view = self._trial_view(trial.digest, trial.state)
        self.tracker().record(replace(view, values=values, reached=reached))


class MlflowView(View):
    """View in MLflow: one run for the study and one for each ended trial."""

    name = "MLflow"

    def connect(self) -> Store:
        """Open the store."""
        return MlflowStore(self.url, self._info())

    def ended(self, trial: EndedTrial) -> None:
        """Write the trial's run."""
        if trial.result is not None:
            view = self._complete(trial.digest, trial.result)
        elif trial.state.state == "pruned":
            view = self._pruned(trial)
        else:
            view = self._trial_view(trial.digest, trial.state)
        self.tracker().record(view)

    def close(self, console: Console, numbers: Numbers, *, wait: bool = False) -> set[str]:
        """Add the study's numbers and report to its run, then close."""
        if self._tracker is not None:
            self._tracker.summarize(numbers(), self._reports())
        return super().close(console, numbers, wait=wait)

    def _complete(self, digest: str, result: Mapping[str, Any]) -> TrialView:
        """View a trial that has a committed result."""
        folder = TrialFolder.of(self.root, digest).committed()
        seed = self._trials[digest][0].seed
        metrics = dict(result["metrics"])
        metrics |= {f"validation/{name}": value for name, value in result["validation"].items()}
        trial = self._trial_view(digest, TrialState("complete"))
        page = heatmap_page(trial.name, metrics)
        return replace(
            trial,
            metrics=metrics,
            tags={
                **trial.tags,
                "zero_shot": result["zero_shot"]["verdict"],
                "layout_changed": "yes" if result.get("layout_changed") else "",
            },
            artifacts=dict(trial.artifacts) | ({} if page is None else {"heatmap.html": page}),
            files=_ranks(folder),
            **_history_and_times(folder, seed is not None),
        )

    def _pruned(self, trial: EndedTrial) -> TrialView:
        """View a pruned trial with the values at its rungs.

        Metrics are named `pruned/...`, so that no chart or column mixes them with complete trials.
        """
        rungs = sorted(trial.rungs, key=lambda rung: rung.examples)
        view = self._trial_view(trial.digest, trial.state)
        if not rungs:
            return view
        last = rungs[-1].examples
        return replace(
            view,
            history=[(rung.step, {"pruned/value": rung.value}) for rung in rungs],
            metrics={"pruned/examples": float(last)},
            tags={**view.tags, "fidelity": str(last)},
        )

    def _reports(self) -> dict[str, str]:
        """Read the answer and the report files that exist."""
        folder = self.root / "reports" / self.plan.name
        files = {name: folder / name for name in REPORTS if (folder / name).exists()}
        return {name: storage.read(path).decode() for name, path in files.items()}


def study_numbers(
    plan: Plan, record: Record, results: Mapping[str, dict[str, Any]]
) -> dict[str, float]:
    """Compute numbers about a study: trials by state; for a search, best value and importances."""
    states = [record.state(digest, results).state for digest in plan.specs]
    numbers = {f"trials/{state}": float(states.count(state)) for state in STATES}
    if (search := plan.search) is None:
        return numbers
    # import optuna only for a search
    from study.search.importance import importance
    from study.search.summary import cells_of, course, outcomes_of, tried

    outcomes = outcomes_of(search, record.proposals, results, record.failures, record.pruned)
    best = [point.value for point in course(search, outcomes) if point.value is not None]
    numbers |= {"search/best": best[-1]} if best else {}
    cells = [cell for cell in cells_of(search, outcomes) if fits(search.ranges, cell.params)]
    for number, objective in enumerate(search.objectives):
        for setting, share in importance(search, tried(cells), number).shares:
            name = re.sub(r"[^A-Za-z0-9_. -]", "-", setting)
            numbers[f"importance/{objective.metric}/{name}"] = share
    return numbers


def _datasets(spec: Spec) -> dict[str, tuple[str, str]]:
    """List the data sets that a trial reads, by their use."""
    refs = {"train": spec.train, "validation": spec.validation, "test": spec.test}
    refs |= {f"test of {ref.name}": ref for ref in spec.also or ()}
    return {
        use: (f"{ref.name}:{ref.part}" if ref.part else ref.name, ref.digest)
        for use, ref in refs.items()
        if ref is not None
    }


def _history_and_times(folder: AnyPath, trained: bool) -> dict[str, Any]:
    """Read a trial's history and times; empty if the files do not hold them."""
    try:
        points = read_json(folder / "history.json")["points"] if trained else []
        history = [(p["step"], {k: v for k, v in p.items() if k != "step"}) for p in points]
        times = read_json(folder / "environment.json")
        began, ended = times["began"], times["began"] + times["seconds"]
        return {
            "history": history,
            "started_ms": round(1000 * began),
            "ended_ms": round(1000 * ended),
        }
    except _UNEXPECTED:
        return {}


_UNEXPECTED = (NotCommittedError, LookupError, TypeError, ValueError, AttributeError, OverflowError)
"""Errors from reading a valid file with unexpected content."""


def _ranks(folder: AnyPath) -> tuple[Path, ...]:
    """List local files of ranks that are small enough to become artifacts."""
    if not isinstance(folder, Path):
        return ()
    files = sorted(folder.glob("ranks-*.npz"))
    return tuple(file for file in files if file.stat().st_size <= MOST_RANKS_BYTES)

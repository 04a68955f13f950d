"""What views of a study show: its trials as plain values, in MLflow and in an Optuna storage."""

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
"""Fields of the spec that MLflow shows as parameters; the rest is in the artifact."""

REPORTS = ("report.html", "report.md", "report.csv", "answer.md", "answer.json")
"""Files of a study's report that its parent run keeps as artifacts."""

MOST_RANKS_BYTES = 20_000_000
"""Larger files of ranks stay in the trial folder alone."""

CLOSE_SECONDS = 10.0
"""How long the end of a study waits for a view in which nothing more arrives."""


class View(Observer):
    """What is shown of a study in a store, which is opened with the first trial."""

    name: str
    """What a person calls the store."""

    def __init__(
        self,
        plan: Plan,
        folder: StudyFolder,
        root: AnyPath,
        state: Path,
        url: str,
        marks: Sequence[str] = (),
    ) -> None:
        """Keep what the view is of; nothing is imported or opened yet.

        Args:
            plan: Of the study.
            folder: Of the study.
            root: Where the trial folders lie.
            state: A local folder.
            url: Of the store.
            marks: What was changed after results existed.
        """
        self.root, self.state, self.url, self.marks = root, state, url, marks
        self.planned(plan)
        self._folder = folder
        self._delivered = Delivered(folder.local / "tracked.jsonl", url)
        self._tracker: Tracker | None = None

    def planned(self, plan: Plan) -> None:
        """Show the trials of this plan."""
        self.plan, self._labels = plan, plan.labels
        self._trials = {
            trial.digest: (trial, cell) for cell in reversed(plan.cells) for trial in cell.trials
        }

    def states(self) -> Mapping[str, str]:
        """Ends that the store holds, by digest."""
        return self._delivered.read()

    def connect(self) -> Store:
        """Open the store."""
        raise NotImplementedError

    def close(self, console: Console, numbers: Numbers, *, wait: bool = False) -> set[str]:
        """Wait a little for what is still on its way, and say what did not arrive."""
        if self._tracker is None:
            return set()
        missing = self._tracker.close(None if wait else CLOSE_SECONDS)
        if missing:
            why = f" ({self._tracker.problem[:200]})" if self._tracker.problem else ""
            said = f"{why}; the study itself is whole. Fill it with: python -m study track "
            lacks = f"{self.name} lacks {count_of(len(missing), 'trial')}"
            command = typed([self.plan.name, "--root", str(self.root)])
            console.print(marked(lacks, said + command))
        return set(missing)

    def tracker(self) -> Tracker:
        """The thread that fills the store."""
        if self._tracker is None:
            self._tracker = Tracker(self.connect, self._note)
        return self._tracker

    def _note(self, trial: TrialView) -> None:
        """The store has all of a trial (called from the tracker's thread)."""
        if trial.state != "running":
            self._delivered.add(trial.digest, trial.state)
        faults.at("view.noted", digest=trial.digest)

    def _shown(self, digest: str, state: TrialState) -> TrialView:
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
        """The study's objectives, and which direction of each is better."""
        if self.plan.search is not None:
            return [(o.metric, o.direction) for o in self.plan.search.objectives]
        less = lower_is_better(self.plan.primary)
        return [(self.plan.primary, "minimize" if less else "maximize")]


class OptunaView(View):
    """Rows of an Optuna storage; no file of a trial is read for one."""

    name = "Optuna's storage"

    def connect(self) -> Store:
        """Open the store."""
        from study.tracking.optuna_storage import OptunaStore

        return OptunaStore(self.url, self._info(), self._folder.identity())

    def started(self, digest: str) -> None:
        """Add a row that runs."""
        self.tracker().record(self._shown(digest, TrialState("running")))

    def ended(self, trial: EndedTrial) -> None:
        """End its row, or add one."""
        cell, result = self._trials[trial.digest][1], trial.result
        values: tuple[float | None, ...] = ()
        if result is not None:
            known = {**result["validation"], **(cell.proposal.known if cell.proposal else {})}
            values = tuple(known.get(metric) for metric, _ in self._directions)
        reached = {rung.examples: rung.value for rung in trial.rungs}
        shown = self._shown(trial.digest, trial.state)
        self.tracker().record(replace(shown, values=values, reached=reached))


class MlflowView(View):
    """Runs of MLflow: one of the study, and one of each trial that ended."""

    name = "MLflow"

    def connect(self) -> Store:
        """Open the store."""
        return MlflowStore(self.url, self._info())

    def ended(self, trial: EndedTrial) -> None:
        """Write its run."""
        if trial.result is not None:
            shown = self._complete(trial.digest, trial.result)
        elif trial.state.state == "pruned":
            shown = self._pruned(trial)
        else:
            shown = self._shown(trial.digest, trial.state)
        self.tracker().record(shown)

    def close(self, console: Console, numbers: Numbers, *, wait: bool = False) -> set[str]:
        """Add the numbers and the report to the study's run first."""
        if self._tracker is not None:
            self._tracker.summarize(numbers(), self._reports())
        return super().close(console, numbers, wait=wait)

    def _complete(self, digest: str, result: Mapping[str, Any]) -> TrialView:
        """A trial that has a committed result."""
        folder = TrialFolder.of(self.root, digest).committed()
        seed = self._trials[digest][0].seed
        metrics = dict(result["metrics"])
        metrics |= {f"validation/{name}": value for name, value in result["validation"].items()}
        trial = self._shown(digest, TrialState("complete"))
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
            **_course(folder, seed is not None),
        )

    def _pruned(self, trial: EndedTrial) -> TrialView:
        """A trial that was stopped early, with the values of its rungs.

        `pruned/...` so that no chart or column mixes it with what complete trials have.
        """
        rungs = sorted(trial.rungs, key=lambda rung: rung.examples)
        shown = self._shown(trial.digest, trial.state)
        if not rungs:
            return shown
        last = rungs[-1].examples
        return replace(
            shown,
            history=[(rung.step, {"pruned/value": rung.value}) for rung in rungs],
            metrics={"pruned/examples": float(last)},
            tags={**shown.tags, "fidelity": str(last)},
        )

    def _reports(self) -> dict[str, str]:
        """The answer and the report, as far as they have been written."""
        folder = self.root / "reports" / self.plan.name
        files = {name: folder / name for name in REPORTS if (folder / name).exists()}
        return {name: storage.read(path).decode() for name, path in files.items()}


def study_numbers(
    plan: Plan, record: Record, results: Mapping[str, dict[str, Any]]
) -> dict[str, float]:
    """Numbers about a whole study: trials by state; of a search the best and importances."""
    states = [record.state(digest, results).state for digest in plan.specs]
    numbers = {f"trials/{state}": float(states.count(state)) for state in STATES}
    if (search := plan.search) is None:
        return numbers
    # optuna is imported for a search alone
    from study.search.importance import importance
    from study.search.summary import cells_of, course, outcomes_of, tried

    visits = outcomes_of(search, record.proposals, results, record.failures, record.pruned)
    best = [point.value for point in course(search, visits) if point.value is not None]
    numbers |= {"search/best": best[-1]} if best else {}
    cells = [cell for cell in cells_of(search, visits) if fits(search.ranges, cell.params)]
    for number, objective in enumerate(search.objectives):
        for setting, share in importance(search, tried(cells), number).shares:
            name = re.sub(r"[^A-Za-z0-9_. -]", "-", setting)
            numbers[f"importance/{objective.metric}/{name}"] = share
    return numbers


def _datasets(spec: Spec) -> dict[str, tuple[str, str]]:
    """What a trial reads, by what it reads it for."""
    read = {"train": spec.train, "validation": spec.validation, "test": spec.test}
    read |= {f"test of {ref.name}": ref for ref in spec.also or ()}
    return {
        use: (f"{ref.name}:{ref.part}" if ref.part else ref.name, ref.digest)
        for use, ref in read.items()
        if ref is not None
    }


def _course(folder: AnyPath, trained: bool) -> dict[str, Any]:
    """What a trial came by, and when: a view does without where the files say something else."""
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
    except _MISSHAPEN:
        return {}


_MISSHAPEN = (NotCommittedError, LookupError, TypeError, ValueError, AttributeError, OverflowError)
"""What comes of reading a file that is whole but was written by nobody here."""


def _ranks(folder: AnyPath) -> tuple[Path, ...]:
    """Ranks that lie on this machine and are small enough to be kept twice."""
    if not isinstance(folder, Path):
        return ()
    files = sorted(folder.glob("ranks-*.npz"))
    return tuple(file for file in files if file.stat().st_size <= MOST_RANKS_BYTES)

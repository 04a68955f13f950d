"""What MLflow is told of a study: rows and committed results, as plain values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from study.ledger import Row
from study.plan import Plan
from study.tracking import StudyInfo, Tracker, TrialView
from study.tracking.values import Value
from trainables.trial_folder import TrialFolder, read_json

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

CLOSE_SECONDS = 60.0
"""How long the end of a study waits for MLflow."""


class View:
    """The MLflow side of one study; started only once there is something to tell."""

    def __init__(self, plan: Plan, root: Path, uri: str | None) -> None:
        """Keep what the view is of; nothing is imported or opened yet."""
        self.plan = plan
        self.root = root.resolve()
        self.uri = uri or f"sqlite:///{self.root}/mlflow.db"
        self._tracker: Tracker | None = None

    def completed(self, row: Row, result: dict[str, Any]) -> None:
        """A trial has a committed result."""
        folder = TrialFolder.of(self.root, row.digest).committed()
        points = read_json(folder / "history.json")["points"] if row.seed is not None else []
        times = read_json(folder / "environment.json")
        history = [(p["step"], {k: v for k, v in p.items() if k != "step"}) for p in points]
        metrics = dict(result["metrics"])
        metrics |= {f"validation/{name}": value for name, value in result["validation"].items()}
        trial = self._trial(row, "complete", "", metrics)
        self._open().record(
            replace(
                trial,
                history=history,
                tags={"zero_shot": result["zero_shot"]["verdict"]},
                started_ms=round(1000 * times["began"]),
                ended_ms=round(1000 * (times["began"] + times["seconds"])),
            )
        )

    def failed(self, row: Row, reason: str, detail: str) -> None:
        """A trial ended without a result."""
        self._open().record(self._trial(row, "failed", f"{reason}: {detail}", {}))

    def close(self, console: Console, counts: dict[str, int]) -> None:
        """Wait a little for what is still on its way, and say what did not arrive."""
        if self._tracker is None:
            return
        self._tracker.summarize({f"trials/{state}": n for state, n in counts.items()}, {})
        if missing := self._tracker.close(CLOSE_SECONDS):
            console.print(
                f"[yellow]MLflow lacks {len(missing)} trials[/]; the study itself is whole. "
                f"Fill the view with: python -m study track {self.plan.name}"
            )

    def _trial(self, row: Row, state: str, reason: str, metrics: dict[str, float]) -> TrialView:
        spec = self.plan.specs[row.digest]
        cell = next(c for c in self.plan.cells if row.digest in {t.digest for t in c.trials})
        shown = {name: getattr(spec, name) for name in SPEC_PARAMS}
        params: dict[str, Value] = {
            "cell": cell.label,
            "encoder": spec.encoder.name,
            "test": spec.test.name,
        }
        params |= shown
        params["seed"] = row.seed
        params["alpha"] = {"X-X": 1.0, "X-Y": 0.0}.get(spec.sampling or "", spec.alpha)
        return TrialView(
            digest=row.digest,
            name=cell.label if row.seed is None else f"{cell.label} seed={row.seed}",
            state=state,
            reason=reason,
            params=params,
            seed=row.seed,
            metrics=metrics,
            artifacts={"spec.json": spec.model_dump_json(indent=1, exclude_none=True)},
        )

    def _open(self) -> Tracker:
        if self._tracker is None:
            self._tracker = Tracker(
                self.uri,
                StudyInfo(
                    name=self.plan.name,
                    space=self.plan.space,
                    tier=self.plan.tier,
                    question=self.plan.question,
                    params={"primary": self.plan.primary, "trials": len(self.plan.specs)},
                    tags={"frozen": self.plan.frozen},
                ),
            )
        return self._tracker

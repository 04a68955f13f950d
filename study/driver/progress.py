"""Show the progress of a study on the console."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from study.console import visible
from study.tracking.observer import EndedTrial, Observer

EVALUATION_WORK = 0.15
"""Assumed share of evaluation in a trial's work; affects only the progress bar."""


class StudyProgress(Observer):
    """Live progress bar with the time left on a terminal; elsewhere one line per finished trial.

    The time left is the remaining work over the work done per second so far. The caller gives the
    work of a trial in any unit.
    """

    def __init__(self, console: Console, work: Mapping[str, float]) -> None:
        """Prepare the bar for trials of this work, by digest."""
        self.console = console
        self.work = dict(work)
        self.share: dict[str, float] = dict.fromkeys(work, 0.0)
        self.finished = self.failed = 0
        self.began = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("", total=sum(work.values()) or 1, left="")

    def __enter__(self) -> Self:
        """Show the bar if the console is a terminal."""
        if self.console.is_terminal:
            self.bar.start()
        self._refresh()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        if self.console.is_terminal:
            self.bar.stop()

    def queued(self, digest: str, work: float) -> None:
        """Add a trial to the total."""
        self.work[digest] = work
        self.bar.update(self.task, total=sum(self.work.values()))

    def stepped(self, digest: str, step: int, steps: int, evaluating: bool) -> None:
        """Move the bar to where a trial stands."""
        trained = 1.0 if evaluating or steps == 0 else step / steps
        self.share[digest] = trained * (1 - EVALUATION_WORK)
        self._refresh()

    def ended(self, trial: EndedTrial) -> None:
        """Print one line about the end of a trial."""
        if trial.digest not in self.work:
            return
        end = "done" if trial.state.state == "complete" else trial.state.state
        self.share[trial.digest] = 1.0
        self.finished += 1
        self.failed += end == "failed"
        self._refresh()
        count = f"{self.finished}/{len(self.work)}"
        line = Text(f"  {count:>7}  ").append(end, "red" if end == "failed" else "")
        self.console.print(line.append(visible(f"  {trial.label}  {trial.note}{self._left(', ')}")))

    def _refresh(self) -> None:
        running = f"{self.finished} of {len(self.work)} trials"
        if self.failed:
            running += f", {self.failed} failed"
        self.bar.update(self.task, completed=self._done(), description=running, left=self._left(""))

    def _done(self) -> float:
        return sum(self.work.get(digest, 0) * share for digest, share in self.share.items())

    def _left(self, before: str) -> str:
        """Format the estimated time left; empty until it can be estimated."""
        total = sum(self.work.values())
        done = self._done()
        elapsed = time.monotonic() - self.began
        if done <= 0 or done >= total or elapsed < 2:
            return ""
        seconds = (total - done) / done * elapsed
        text = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        return f"{before}about {text} left"

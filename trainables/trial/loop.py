"""Training loop: optimizer steps, evaluations on the validation benchmark and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from trainables import faults
from trainables.data.benchmark import Benchmark
from trainables.evaluation.evaluate import Evaluation, evaluate
from trainables.storage import atomic as storage
from trainables.training.trainer import Trainer
from trainables.trial.checkpoint import Clock, save_checkpoint
from trainables.trial.intermediate import IntermediateEvaluation, IntermediateEvaluations
from trainables.trial.trial_folder import Attempt

LOOK_SECONDS = 1.0
"""Seconds between checks for another attempt's commit, each a request to an object store."""

LAST_SAVE_SECONDS = 5.0
"""Seconds since the last save after which training is saved at rungs and before evaluation."""


@dataclass(frozen=True)
class Event:
    """Progress of a trial.

    Attributes:
        kind: `claimed` before anything is loaded, `started` once everything is, `stepped` after an
            optimizer step, `rung` at a rung that this or an earlier attempt reached, `evaluating`
            before the benchmarks are evaluated, `committed` at the end.
        step: Optimizer steps taken.
        steps: Optimizer steps of the whole training.
        loss: Loss of the step, with `stepped`; else None.
        attempt: Number of the attempt, with `claimed`.
        rung: Evaluation on the validation benchmark, with `rung`.
    """

    kind: Literal["claimed", "started", "stepped", "rung", "evaluating", "committed"]
    step: int
    steps: int
    loss: float | None = None
    attempt: int | None = None
    rung: IntermediateEvaluation | None = None


def train(
    trainer: Trainer,
    attempt: Attempt,
    validation: Benchmark | None,
    looks: Mapping[int, int] = MappingProxyType({}),
) -> Iterator[Event]:
    """Take all remaining steps, saving checkpoints at intervals and when closed.

    Args:
        trainer: State of the training.
        attempt: Attempt that receives checkpoints, rungs and history.
        validation: Benchmark for selection and rungs.
        looks: Rungs by step, as returned by `milestones`.
    """
    steps, clock, saved, checked_at = trainer.steps, Clock(), trainer.step, 0.0
    rungs = IntermediateEvaluations(looks, attempt)
    facts: dict[str, str | int] = {"digest": attempt.trial.digest, "attempt": attempt.number}

    def overtaken() -> bool:
        nonlocal checked_at
        if time.monotonic() - checked_at < LOOK_SECONDS:
            return False
        checked_at = time.monotonic()
        return attempt.trial.is_committed

    def save() -> None:
        nonlocal saved
        if saved != trainer.step and attempt.is_live:
            # a disk too full for a checkpoint may still have room for the result
            with suppress(storage.NoRoomError):
                clock.saved(save_checkpoint(attempt, trainer.state()))
                saved = trainer.step

    def save_late() -> None:
        if clock.elapsed() > LAST_SAVE_SECONDS:
            save()

    def evaluate_if_due() -> None:
        if validation is not None and trainer.selection.due(trainer.step):
            trainer.check_finite()
            metrics = evaluate(validation, trainer.encoder).metrics
            trainer.selection.note(trainer.step, metrics, trainer.encoder)

    def evaluate_rung() -> Evaluation:
        assert validation is not None
        trainer.check_finite()
        return evaluate(validation, trainer.encoder)

    yield Event("started", trainer.step, steps)
    try:
        evaluate_if_due()  # a resumed state may not have been evaluated yet
        rungs.look(trainer.step, evaluate_rung)
        for reached in rungs.behind(trainer.step):
            yield Event("rung", reached.step, steps, rung=reached)
        while trainer.step < steps and not trainer.selection.stopped and not overtaken():
            loss = trainer.take_step()
            planted = faults.at("step", step=trainer.step, **facts)
            if planted == "nan":
                trainer.poison()
            if clock.due() or planted == "save":
                save()
            evaluate_if_due()
            yield Event("stepped", trainer.step, steps, loss)
            if (evaluation := rungs.look(trainer.step, evaluate_rung)) is not None:
                save_late()  # a driver that prunes the trial here may kill it at once
                yield Event("rung", trainer.step, steps, rung=evaluation)
        trainer.check_finite()
        save_late()
        trainer.selection.restore(trainer.encoder)
        attempt.write_json("history.json", {"points": trainer.curve()})
        faults.at("history.written", **facts)
        yield Event("evaluating", trainer.step, steps)
    except GeneratorExit:
        save()
        raise

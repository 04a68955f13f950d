"""Training between two checkpoints: steps, looks at the validation benchmark, saves."""

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
"""How often training looks whether another attempt was faster: in a store that is a request."""

LAST_SAVE_SECONDS = 5.0
"""Training that took longer since the last save is saved at rungs and before the evaluation."""


@dataclass(frozen=True)
class Event:
    """Where a trial stands.

    Attributes:
        kind: `claimed` before anything is loaded, `started` once everything is, `stepped` after an
            optimizer step, `rung` at a rung that this or an earlier attempt reached, `evaluating`
            before the benchmarks are read, `committed` at the end.
        step: Optimizer steps taken.
        steps: Optimizer steps to take.
        loss: Of the last step; None before the first.
        attempt: The number of the attempt, with `claimed`.
        rung: What the validation benchmark says there, with `rung`.
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
    """Take all steps that are left, saving now and then, and when closed.

    Args:
        trainer: What moves.
        attempt: Where it is saved.
        validation: What is looked at on the way.
        looks: Step to rung, as `milestones` gives them.
    """
    steps, clock, saved, looked = trainer.steps, Clock(), trainer.step, 0.0
    rungs = IntermediateEvaluations(looks, attempt)
    facts: dict[str, str | int] = {"digest": attempt.trial.digest, "attempt": attempt.number}

    def overtaken() -> bool:
        nonlocal looked
        if time.monotonic() - looked < LOOK_SECONDS:
            return False
        looked = time.monotonic()
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

    def look() -> None:
        if validation is not None and trainer.selection.due(trainer.step):
            trainer.check_finite()
            metrics = evaluate(validation, trainer.encoder).metrics
            trainer.selection.note(trainer.step, metrics, trainer.encoder)

    def judge() -> Evaluation:
        assert validation is not None
        trainer.check_finite()
        return evaluate(validation, trainer.encoder)

    yield Event("started", trainer.step, steps)
    try:
        look()  # what was saved may not have been evaluated yet
        rungs.look(trainer.step, judge)
        for reached in rungs.behind(trainer.step):
            yield Event("rung", reached.step, steps, rung=reached)
        while trainer.step < steps and not trainer.selection.stopped and not overtaken():
            loss = trainer.take_step()
            planted = faults.at("step", step=trainer.step, **facts)
            if planted == "nan":
                trainer.poison()
            if clock.due() or planted == "save":
                save()
            look()
            yield Event("stepped", trainer.step, steps, loss)
            if (at := rungs.look(trainer.step, judge)) is not None:
                save_late()  # whoever stops it here may be killed before the attempt is closed
                yield Event("rung", trainer.step, steps, rung=at)
        trainer.check_finite()
        save_late()
        trainer.selection.restore(trainer.encoder)
        attempt.write_json("history.json", {"points": trainer.curve()})
        faults.at("history.written", **facts)
        yield Event("evaluating", trainer.step, steps)
    except GeneratorExit:
        save()
        raise

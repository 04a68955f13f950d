"""The Ray Tune trainable that steps through the events of one trial."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import tune

from trainables.errors import UserError
from trainables.spec import Execution, Spec
from trainables.trial_folder import TrialFolder

REPORT_SECONDS = 1.0
"""How long a trial runs between two reports to the driver."""


class TrialActor(tune.Trainable):
    """One Ray actor that runs trials, one after the other; it knows nothing of the study.

    `config` holds plain values: `spec` (canonical JSON with its labels), `root`, `places` and
    `execution`. A trial that fails of itself reports so and leaves the actor whole; only a lost
    worker or node is an error to Ray.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Start a trial (called by Ray)."""
        from trainables.finetune import finetune  # imports torch, in the worker only

        spec = Spec.model_validate_json(config["spec"])
        self.digest = spec.digest
        self.events: Iterator[Any] = finetune(
            spec,
            TrialFolder.of(Path(config["root"]), spec.digest),
            places=config["places"],
            execution=Execution(**config["execution"]),
            holder={"host": socket.gethostname(), "process": os.getpid()},
        )

    def step(self) -> dict[str, Any]:
        """Run for about a second and report where the trial stands (called by Ray)."""
        from trainables.finetune import TrialFailedError

        report: dict[str, Any] = {"digest": self.digest, "done": False, "reason": ""}
        until = time.monotonic() + REPORT_SECONDS
        try:
            while time.monotonic() < until:
                event = next(self.events, None)
                if event is None:
                    return report | {"done": True}
                report |= {"kind": event.kind, "at": event.step, "of": event.steps}
                report |= {"done": event.kind == "committed"}
                if event.kind in ("committed", "evaluating"):
                    break
        except TrialFailedError as failure:
            return report | {"done": True, "reason": failure.reason, "detail": str(failure)}
        except UserError as error:
            return report | {"done": True, "reason": "input", "detail": str(error)}
        except Exception as error:  # one bad cell must not end the study
            detail = f"{type(error).__name__}: {error}"
            return report | {"done": True, "reason": "error", "detail": detail}
        return report

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial in the same process (called by Ray)."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Let the trial save where it stands (called by Ray at the end and on interrupts)."""
        close = getattr(self.events, "close", None)
        if close is not None:
            close()

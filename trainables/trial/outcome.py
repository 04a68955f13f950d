"""Files that a trial writes after its evaluation: result, ranks, environment, peak memory."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from trainables import faults
from trainables.evaluation.evaluate import Evaluation
from trainables.evaluation.ranks import ranks_file, save_ranks
from trainables.spec import Execution, Spec, library_versions
from trainables.storage.paths import staging_folder
from trainables.trial.trial_folder import Attempt


def write_result(
    attempt: Attempt,
    spec: Spec,
    execution: Execution,
    results: Mapping[str, Evaluation],
    training: Mapping[str, Any],
    zero_shot: Mapping[str, Any],
    *,
    earlier: Sequence[Mapping[str, str]],
    layout_changed: bool,
) -> None:
    """Write `result.json`, and the ranks from which all its metrics were computed.

    `results` is keyed by `test`, `validation` and the names of further benchmarks, whose metrics
    are prefixed: `tydiqa:map/mono`.

    `earlier` are library versions, other than the current ones, that trained the encoder before.
    `layout_changed` says that micro-batches differ from the plan: numbers may differ in the last
    digits, and by more with dropout.
    """
    with staging_folder(attempt.path) as folder:
        for role, result in results.items():
            for ranks in (result.ranks, result.i2t):
                if ranks is not None:
                    save_ranks(ranks, folder / ranks_file(role, ranks.direction))
    faults.at("ranks.written", digest=spec.digest, attempt=attempt.number)
    attempt.write_json(
        "result.json",
        {
            "digest": spec.digest,
            "metrics": results["test"].metrics
            | {
                f"{role}:{name}": value
                for role, result in results.items()
                if role not in ("test", "validation")
                for name, value in result.metrics.items()
            },
            "validation": results["validation"].metrics if "validation" in results else {},
            "counts": {role: result.counts for role, result in results.items()},
            "zero_shot": dict(zero_shot),
            "training": dict(training),
            "execution": execution.to_json(),
            "versions": [*earlier, library_versions()],
            "layout_changed": layout_changed,
        },
    )
    faults.at("result.written", digest=spec.digest, attempt=attempt.number)


def write_environment(
    attempt: Attempt,
    execution: Execution,
    began: float,
    seconds: float,
    results: Mapping[str, Evaluation],
    resumed_at: int,
) -> None:
    """Write environment and timing of the result: an allow-list of facts, without secrets."""
    attempt.write_json(
        "environment.json",
        {
            "python": platform.python_version(),
            "platform": platform.platform(terse=True),
            "processor": platform.machine(),
            "versions": library_versions(),
            "threads": execution.threads,
            "began": round(began, 3),
            "seconds": round(seconds, 3),
            "attempt": attempt.number,
            "resumed_at": resumed_at,
            **peak(),
            "timing": {role: result.timing for role, result in results.items()},
        },
    )
    faults.at("environment.written", digest=attempt.trial.digest, attempt=attempt.number)


STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Reset the peak memory, if the system allows it, since a process runs many trials."""
    with suppress(OSError):
        CLEAR.write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak() -> dict[str, float]:
    """Return the peak main and device memory in megabytes (10^6 bytes), as far as known."""
    peaks = {}
    with suppress(OSError):
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        if "VmHWM" in lines:
            peaks["peak_memory_mb"] = int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    if torch.cuda.is_available():
        peaks["peak_device_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return peaks

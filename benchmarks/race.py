"""Two trainers in separate processes that take steps in turn, so that other load affects both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

Steps = list[dict[str, float]]
"""Measurements per step: seconds, CPU seconds (`cpu`), loss and peak memory in MB; for our
side also useful FLOPs (`flops`)."""


@dataclass(frozen=True)
class Job:
    """Training job of one side.

    Attributes:
        model: Checkpoint folder.
        queries: Query texts, batch after batch.
        passages: Passage texts, batch after batch.
        batch_size: Number of pairs in a batch.
        cap: Maximum length of a text in tokens.
        threads: Threads of torch.
        mini_batch: Mini-batch of the peer's CachedMultipleNegativesRankingLoss (GradCache); None
            for MultipleNegativesRankingLoss.
        micro_batch_tokens: Our padded tokens per micro-batch; None for a trial's default.
        temperature: Temperature of the loss, which divides cosines.
        learning_rate: Constant learning rate of AdamW.
        seed: Seed of dropout.
        save: Folder for the trained encoder; empty for none.
    """

    model: str
    queries: list[str]
    passages: list[str]
    batch_size: int
    cap: int = 256
    threads: int = 2
    mini_batch: int | None = None
    micro_batch_tokens: int | None = None
    temperature: float = 0.05
    learning_rate: float = 2e-5
    seed: int = 1
    save: str = ""

    @property
    def steps(self) -> int:
        """Number of batches."""
        return len(self.queries) // self.batch_size


class Side:
    """One of the two trainers, loaded and waiting for `step`."""

    def __init__(self, job: Job, folder: Path, python: Path, script: str) -> None:
        """Start the trainer.

        Args:
            job: Training job.
            folder: Folder for the job's file.
            python: Python of its environment.
            script: Script in this folder, which reads the job and answers each line of its stdin.
        """
        path = folder / f"job-{time.monotonic_ns()}.json"
        path.write_text(json.dumps(asdict(job)), encoding="utf-8")
        environment = os.environ | {
            "OMP_NUM_THREADS": str(job.threads),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TOKENIZERS_PARALLELISM": "true",
        }
        self.process = subprocess.Popen(
            [python, HERE / script, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def step(self) -> dict[str, float]:
        """Have it take a step, and return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                answer: dict[str, float] = json.loads(line)
                return answer
        code = self.process.wait()
        raise SystemExit(f"a side of the race ended with {code}; its errors stand above")

    def finish(self) -> None:
        """Close its input, and wait for it to end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def ours(job: Job, folder: Path) -> Side:
    """Start this project's side."""
    return Side(job, folder, Path(sys.executable), "train_ours.py")


def race(mine: Job, theirs: Job, folder: Path, peer_python: Path) -> tuple[Steps, Steps]:
    """Take the steps of both sides in turn."""
    sides = ours(mine, folder), Side(theirs, folder, peer_python, "train_peer.py")
    found: tuple[Steps, Steps] = ([], [])
    for _ in range(mine.steps):
        for side, answers in zip(sides, found, strict=True):
            answers.append(side.step())
    for side in sides:
        side.finish()
    return found

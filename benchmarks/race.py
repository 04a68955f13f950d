"""Two trainers in processes of their own that take their steps in turn.

So whatever else the machine does falls on both.
"""

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
"""What a side says of each step: seconds, processor seconds (cpu), loss and peak memory in MB; ours
also the useful floating-point operations (flops)."""


@dataclass(frozen=True)
class Job:
    """What one side trains on.

    Attributes:
        model: Checkpoint folder.
        queries: Texts, batch after batch.
        passages: Texts, batch after batch.
        batch_size: Pairs in a batch.
        cap: Longest text in tokens.
        threads: Of torch.
        mini_batch: Rows in one pass of the peer's cached loss; None for the plain one.
        micro_batch_tokens: Our budget; None for what a trial would take.
        temperature: Cosines are divided by it.
        learning_rate: Of AdamW, constant.
        seed: Of dropout.
        save: Where a side leaves its encoder; empty for nowhere.
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
        """How many batches there are."""
        return len(self.queries) // self.batch_size


class Side:
    """One of the two, loaded and waiting for `step`."""

    def __init__(self, job: Job, folder: Path, python: Path, script: str) -> None:
        """Start it.

        Args:
            job: What it trains on.
            folder: For the file that tells it.
            python: Of its environment.
            script: In this folder; reads the job and answers every line of its input.
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
        """Let it take a step, and read what it says."""
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
        """Tell it that there is no more to do, and wait for it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def ours(job: Job, folder: Path) -> Side:
    """This project's side."""
    return Side(job, folder, Path(sys.executable), "train_ours.py")


def race(mine: Job, theirs: Job, folder: Path, peer_python: Path) -> tuple[Steps, Steps]:
    """Both sides' steps, taken in turn."""
    sides = ours(mine, folder), Side(theirs, folder, peer_python, "train_peer.py")
    found: tuple[Steps, Steps] = ([], [])
    for _ in range(mine.steps):
        for side, answers in zip(sides, found, strict=True):
            answers.append(side.step())
    for side in sides:
        side.finish()
    return found

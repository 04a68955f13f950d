"""The peer's side of `benchmarks/train.py`: sentence-transformers, one step per line of stdin.

Runs in the peers' environment and imports nothing of this project. Reads a job (JSON), trains with
`SentenceTransformerTrainer` at its defaults and answers each line with one JSON object a step.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch


def main() -> None:
    """Train as the job (JSON) says."""
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    from datasets import Dataset
    from sentence_transformers import (  # type: ignore[import-not-found]
        SentenceTransformer,
        SentenceTransformerTrainer,
    )
    from sentence_transformers.sentence_transformer import losses  # type: ignore[import-not-found]
    from sentence_transformers.sentence_transformer.training_args import (  # type: ignore[import-not-found]
        SentenceTransformerTrainingArguments,
    )
    from torch.utils.data import BatchSampler, SequentialSampler
    from transformers import TrainerCallback

    model = SentenceTransformer(job["model"], device="cpu")
    model.max_seq_length = job["cap"]
    loss_type = losses.MultipleNegativesRankingLoss
    options: dict[str, Any] = {"scale": 1 / job["temperature"]}
    if job["mini_batch"]:
        loss_type = losses.CachedMultipleNegativesRankingLoss
        options["mini_batch_size"] = job["mini_batch"]
    values: list[float] = []

    class Recorded(loss_type):  # type: ignore[misc, valid-type]
        """Loss that keeps the unrounded value of each step."""

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            """Compute the loss, and keep its value."""
            value = super().forward(*args, **kwargs)
            values.append(value.item())
            return value

    class Gate(TrainerCallback):
        """Callback that runs a step on request, and times it including tokenising and collating."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            """Wait for the first step."""
            self.wait()

        def on_step_end(self, *given: Any, **_: Any) -> None:
            """Answer, and wait for the next step if there is one."""
            seconds, cpu = time.perf_counter() - self.start, time.process_time() - self.cpu
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            answer({"seconds": seconds, "cpu": cpu, "loss": values[-1], "peak": peak})
            if given[1].global_step < given[1].max_steps:
                self.wait()

        def wait(self) -> None:
            """Sleep until the driver writes a line."""
            if not sys.stdin.readline():
                os._exit(0)
            self.start, self.cpu = time.perf_counter(), time.process_time()

    size = job["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=size,
            max_steps=len(job["queries"]) // size,
            learning_rate=job["learning_rate"],
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            seed=job["seed"],
            batch_sampler=lambda dataset, *_, **__: BatchSampler(
                SequentialSampler(dataset), size, drop_last=True
            ),
        )
        SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(
                {"anchor": job["queries"], "positive": job["passages"]}
            ),
            loss=Recorded(model, **options),
            callbacks=[Gate()],
        ).train()
        if job["save"]:
            model.save(job["save"])


def answer(content: dict[str, float]) -> None:
    """Write one line to the stream that the driver reads."""
    os.write(1, (json.dumps(content) + "\n").encode())


if __name__ == "__main__":
    main()

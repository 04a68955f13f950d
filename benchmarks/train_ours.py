"""Our side of `benchmarks/train.py`: one step per line of stdin, one JSON object per step."""

from __future__ import annotations

import json
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.race import Job  # noqa: E402
from trainables.encoders.padding import Tokens  # noqa: E402
from trainables.encoders.text import TextEncoder  # noqa: E402
from trainables.encoders.vocabulary import trim_vocabulary  # noqa: E402
from trainables.training.gradcache import backward  # noqa: E402
from trainables.training.info_nce import info_nce  # noqa: E402


def main() -> None:
    """Train as the job (JSON) says."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    encoder = TextEncoder.load(job.model)
    limits = {"max_query_tokens": job.cap, "max_passage_tokens": job.cap}
    encoder.ref = encoder.ref.model_copy(update=limits)
    start = time.perf_counter()
    queries = encoder.tokenize_queries(job.queries)
    passages = encoder.tokenize_passages(job.passages)
    tokenising = (time.perf_counter() - start) / job.steps
    trim_vocabulary(encoder, [queries, passages])
    optimizer = torch.optim.AdamW(
        encoder.parameters(), lr=job.learning_rate, weight_decay=0.0, fused=True
    )
    budget = job.micro_batch_tokens or encoder.held_tokens
    objective = partial(
        info_nce,
        temperature=job.temperature,
        symmetric=False,
    )
    encoder.train()
    for number in range(job.steps):
        if not sys.stdin.readline():
            return
        begin, cpu = time.perf_counter(), time.process_time()
        rows = slice(number * job.batch_size, (number + 1) * job.batch_size)
        optimizer.zero_grad(set_to_none=True)
        loss = backward(encoder, queries[rows], passages[rows], objective, budget)
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        answer = {
            "seconds": time.perf_counter() - begin + tokenising,
            "cpu": time.process_time() - cpu + tokenising,
            "loss": loss.value.item(),
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "flops": useful_flops(encoder, [*queries[rows], *passages[rows]]),
        }
        print(json.dumps(answer), flush=True)
    if job.save:
        encoder.save(job.save)


def useful_flops(encoder: TextEncoder, tokens: Tokens) -> float:
    """Count the FLOPs of forward and backward passes, without padding tokens."""
    config: Any = encoder.model.config
    tables = {id(m.weight) for m in encoder.modules() if isinstance(m, torch.nn.Embedding)}
    parameters = sum(p.numel() for p in encoder.parameters() if id(p) not in tables)
    lengths = np.array([len(row) for row in tokens], dtype=np.float64)
    attention = 12 * config.num_hidden_layers * config.hidden_size * (lengths**2).sum()
    return float(6 * parameters * lengths.sum() + attention)


if __name__ == "__main__":
    main()

"""Gradients of a batch on one rank or on several; as a program, the other rank of a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.trainables.test_gradcache import random_tokens, sharing, tiny
from trainables.distributed import rank_worker as follower
from trainables.distributed.group import Group
from trainables.spec import Negatives
from trainables.training import gradcache
from trainables.training.batch_items import BatchItem
from trainables.training.gradcache import backward
from trainables.training.info_nce import info_nce

ROWS, HARD = 24, 12


@dataclass(frozen=True)
class Case:
    """What is computed.

    Attributes:
        budget: Tokens whose activations are held; None for all, without a gradient cache.
        rows: `texts`, or `pictures`: the passages are one picture, texts and constant vectors.
        seed: Of dropout, to which the rank is added.
    """

    budget: int | None = None
    symmetric: bool = False
    negatives: Negatives = "in_batch"
    rows: str = "texts"
    dropout: float = 0.0
    precision: str = "float32"
    seed: int = 7


class Seeing(nn.Module):
    """The tiny text encoder, and pictures that are three vectors each."""

    def __init__(self, text: nn.Module) -> None:
        super().__init__()
        self.text, self.image = text, nn.Linear(4, 16 * 3, bias=False)
        self.unused = nn.Linear(2, 2)

    def forward(self, tokens: Any) -> Tensor:
        found: Tensor = self.text(tokens)
        return found

    def embed_pixels(self, pixels: Mapping[str, np.ndarray]) -> Tensor:
        found: Tensor = self.image(torch.from_numpy(pixels["pixels"]))
        return found.view(len(found), 3, 16)


def passages_of(case: Case) -> list[BatchItem]:
    tokens: list[BatchItem] = [*random_tokens(ROWS + HARD, 60, 2)]
    if case.rows == "pictures":
        random = np.random.default_rng(3)
        tokens[4] = {"pixels": random.normal(size=4).astype(np.float32)}
        for row in (7, 8):
            tokens[row] = random.normal(size=(3, 16)).astype(np.float32)
    return tokens if case.negatives != "in_batch" else tokens[:ROWS]


def golds_of(passages: int) -> Tensor:
    """Rows share a gold by threes, and hard negatives are the golds of some rows."""
    return torch.cat([torch.arange(ROWS) // 3, torch.arange(passages - ROWS) % 20])


def gradients(case: Case, group: Group | None) -> tuple[float, float, Tensor, list[str]]:
    """Loss, share masked, gradient of encoder and temperature, and names of what has none."""
    torch.manual_seed(1)
    encoder = Seeing(tiny(dropout=case.dropout))
    encoder.text.precision = case.precision  # type: ignore[assignment]
    encoder.train()
    log_scale = nn.Parameter(torch.tensor(2.0))
    queries, passages = random_tokens(ROWS, 12, 1), passages_of(case)
    gradcache.FORWARD_TOKENS = {"cpu": 64}
    torch.manual_seed(case.seed + (0 if group is None else group.rank))
    objective = partial(
        info_nce,
        temperature=torch.exp(-log_scale),
        symmetric=case.symmetric,
        false_negatives=sharing(ROWS, golds_of(len(passages))),
        negatives=case.negatives,
        owners=torch.arange(len(passages) - ROWS) * 2,
    )
    loss = backward(encoder, queries, passages, objective, case.budget, group)
    if group is not None:
        group.sum_gradients(encoder.parameters(), alike=[log_scale])
    named = [*encoder.named_parameters(), ("temperature", log_scale)]
    parts = [p.grad.flatten() for _, p in named if p.grad is not None]
    silent = [name for name, p in named if p.grad is None]
    return loss.value.item(), loss.masked_fraction, torch.cat(parts), silent


def ask(group: Group, case: Case) -> tuple[float, float, Tensor, list[str]]:
    """The same on all ranks of a group."""
    group.announce(f"case {json.dumps(asdict(case))}")
    return gradients(case, group)


def work(order: Mapping[str, Any], group: Group) -> None:
    """Do what rank 0 says."""
    torch.set_num_threads(1)
    group.note("ready", "")
    for word in group.words():
        verb, _, rest = word.partition(" ")
        if verb == "form":
            group.form()
        elif verb == "case":
            gradients(Case(**json.loads(rest)), group)
        elif verb == "gather":
            group.gather(torch.ones(2, 5) if int(rest) == 3 else None, int(rest))
        elif verb == "share":
            group.note("shared", str(len(group.share(b"of no interest"))))
        elif verb == "apart":
            group.unequal_processes([torch.tensor([int(rest)])])


if __name__ == "__main__":
    follower.main(work)

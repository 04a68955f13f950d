"""Training with a trimmed vocabulary equals training without."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trainables.encoders.text import TextEncoder
from trainables.encoders.vocabulary import TrimmedEmbedding, restore_vocabulary, trim_vocabulary
from trainables.training.gradcache import backward
from trainables.training.info_nce import info_nce

QUERIES = ["A man is eating.", "the river", "the quick fox", "lazy dog"]
PASSAGES = ["A man is eating food.", "it ends in the sea", "fox jumps", "over the lazy dog"]
UNSEEN = ["Человек ест хлеб.", "A man is eating food."]


def groups(encoder: TextEncoder) -> list[dict[str, object]]:
    """Matrices decay; embeddings, biases and norms do not."""
    spared = {id(m.weight) for m in encoder.modules() if isinstance(m, nn.Embedding)}
    decayed = [p for p in encoder.parameters() if p.ndim > 1 and id(p) not in spared]
    kept = {id(p) for p in decayed}
    others = [p for p in encoder.parameters() if id(p) not in kept]
    return [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]


def train(encoder: TextEncoder, steps: int = 6) -> list[float]:
    queries, passages = encoder.tokenize_queries(QUERIES), encoder.tokenize_passages(PASSAGES)
    objective = partial(
        info_nce,
        temperature=0.1,
        symmetric=True,
    )
    optimizer = torch.optim.AdamW(groups(encoder), lr=1e-3, fused=True)
    encoder.train()
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        losses.append(backward(encoder, queries, passages, objective).value.item())
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
    encoder.eval()
    return losses


@pytest.fixture(params=["bert", "xlm-roberta"])
def folder(request: pytest.FixtureRequest, checkpoints: Callable[[str], Path]) -> Path:
    return checkpoints(request.param)


def trimmed(folder: Path) -> TextEncoder:
    encoder = TextEncoder.load(folder)
    texts = [encoder.tokenize_queries(QUERIES), encoder.tokenize_passages(PASSAGES)]
    rows = trim_vocabulary(encoder, texts)
    table = encoder.model.get_input_embeddings()  # type: ignore[operator]
    assert table.weight.shape[0] == rows < len(encoder.tokenizer)
    return encoder


def test_trimming_changes_no_vector_even_of_unseen_texts(folder: Path) -> None:
    plain, small = TextEncoder.load(folder), trimmed(folder)
    for texts in (QUERIES, UNSEEN):
        assert np.array_equal(plain.encode_queries(texts, "x"), small.encode_queries(texts, "x"))


def test_trained_and_exported_weights_equal_untrimmed_training(
    folder: Path, tmp_path: Path
) -> None:
    plain, small = TextEncoder.load(folder), trimmed(folder)
    before = plain.model.get_input_embeddings().weight.clone()  # type: ignore[operator]
    np.testing.assert_allclose(train(small), train(plain), rtol=1e-6)
    moved = plain.model.get_input_embeddings().weight - before  # type: ignore[operator]
    assert moved.abs().max() > 1e-4
    small.save(tmp_path)
    exported = TextEncoder.load(tmp_path).state_dict()
    assert exported.keys() == plain.state_dict().keys()
    for name, expected in plain.state_dict().items():
        assert torch.allclose(exported[name], expected, rtol=0, atol=1e-6), name
    vectors = small.encode_queries(UNSEEN, "x")
    np.testing.assert_allclose(vectors, plain.encode_queries(UNSEEN, "x"), atol=1e-6)


def test_saving_leaves_the_encoder_trimmed(folder: Path, tmp_path: Path) -> None:
    small = trimmed(folder)
    optimizer = torch.optim.AdamW(small.parameters())
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    small.save(tmp_path)
    assert {id(p) for p in small.parameters()} == held


def test_restoring_and_trimming_again_keep_what_was_trained(folder: Path) -> None:
    small = trimmed(folder)
    train(small)
    vectors = small.encode_queries(UNSEEN, "x")
    trim_vocabulary(small, [small.tokenize_queries(UNSEEN)])
    assert np.array_equal(small.encode_queries(UNSEEN, "x"), vectors)
    restore_vocabulary(small)
    table = small.model.get_input_embeddings()  # type: ignore[operator]
    assert not isinstance(table, TrimmedEmbedding)
    assert np.array_equal(small.encode_queries(UNSEEN, "x"), vectors)


def test_a_trimmed_state_is_small_and_loads_again(folder: Path) -> None:
    small, other = trimmed(folder), trimmed(folder)
    train(small)
    state = small.state_dict()
    assert max(len(value) for name, value in state.items() if "word_emb" in name) < len(
        small.tokenizer
    )
    other.load_state_dict(state)
    vectors = small.encode_queries(UNSEEN, "x")
    assert np.array_equal(other.encode_queries(UNSEEN, "x"), vectors)

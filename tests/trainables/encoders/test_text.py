"""Encoders of real architectures: order, padding, limits, saving and loading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from tests.checkpoints import DENSE_WIDTH, KINDS, WIDTH
from trainables.encoders.files.formats import Dense
from trainables.encoders.text import TextEncoder, pool
from trainables.errors import UserError

Checkpoints = Callable[[str], Path]
TEXTS = [
    "A man is eating food.",
    "",
    "The river ends in the sea. " * 3,
    "Человек ест хлеб.",
    "fox",
    "A man is eating food.",
]


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, checkpoints: Checkpoints) -> Path:
    return checkpoints(request.param)


def test_vectors_have_length_one_and_keep_the_order_of_texts(folder: Path) -> None:
    encoder = TextEncoder.load(folder, encode_tokens=40)
    vectors = encoder.encode_passages(TEXTS, "en")
    width = DENSE_WIDTH if encoder.layers else WIDTH
    assert vectors.shape == (len(TEXTS), width)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    alone = np.concatenate([encoder.encode_passages([text], "en") for text in TEXTS])
    np.testing.assert_allclose(vectors, alone, atol=1e-6)
    assert encoder.encode_passages([], "en").shape == (0, width)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_equal_texts_get_equal_vectors_wherever_they_stand(
    checkpoints: Checkpoints, data: st.DataObject
) -> None:
    encoder = loaded(checkpoints("bert"))
    texts = data.draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12))
    encoder.encode_tokens = data.draw(st.integers(8, 200))
    vectors = encoder.encode_queries(texts, "en")
    for one, text in zip(vectors, texts, strict=True):
        assert np.array_equal(one, vectors[texts.index(text)])


def loaded(folder: Path, cache: dict[Path, TextEncoder] = {}) -> TextEncoder:  # noqa: B006
    """Load a folder once for all examples of a property."""
    return cache.setdefault(folder, TextEncoder.load(folder))


def test_encoding_twice_is_bit_equal_and_leaves_training_mode_alone(folder: Path) -> None:
    encoder = TextEncoder.load(folder).train()
    first = encoder.encode_queries(TEXTS, "en")
    assert encoder.training
    assert encoder.model.training
    assert np.array_equal(first, encoder.encode_queries(TEXTS, "de"))


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_vectors_equal_those_of_transformers_by_the_book(
    kind: str, checkpoints: Checkpoints
) -> None:
    folder = checkpoints(kind)
    encoder = TextEncoder.load(folder)
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(
        ["Query: " + text for text in TEXTS],
        padding=True,
        truncation=True,
        max_length=40,
        return_tensors="pt",
        return_token_type_ids=False,
    )
    with torch.no_grad():
        states = model(**inputs).last_hidden_state
    weights = inputs["attention_mask"].unsqueeze(-1)
    means = (states * weights).sum(1) / weights.sum(1)
    expected = torch.nn.functional.normalize(means).numpy()
    np.testing.assert_allclose(encoder.encode_queries(TEXTS, "en"), expected, atol=1e-6)


def test_prefix_limit_and_count_of_cut_texts_by_role(folder: Path) -> None:
    encoder = TextEncoder.load(folder)
    limits = {"max_query_tokens": 8, "max_passage_tokens": 12, "query_prefix": "fox "}
    encoder.ref = encoder.ref.model_copy(update=limits)
    queries = encoder.tokenize_queries(TEXTS)
    passages = encoder.tokenize_passages(TEXTS)
    assert [row.dtype for row in queries] == [np.int32] * len(TEXTS)
    assert max(map(len, queries)) == 8
    assert max(map(len, passages)) == 12
    whole = encoder.tokenizer(["fox " + text for text in TEXTS])["input_ids"]
    assert encoder.truncated["query"] == sum(len(ids) > 8 for ids in whole) > 0
    assert encoder.truncated["passage"] > 0
    last = encoder.tokenizer.sep_token_id
    assert all(row[-1] == last for row in queries)
    short = next(ids for ids in whole if len(ids) <= 8)
    assert queries[whole.index(short)].tolist() == short


def test_pooling_reads_only_real_tokens() -> None:
    states = torch.arange(12.0).reshape(1, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0]])
    assert pool(states, mask, "mean").tolist() == [[1.5, 2.5, 3.5]]
    assert pool(states, mask, "cls").tolist() == [[0.0, 1.0, 2.0]]
    assert pool(states, mask, "last").tolist() == [[3.0, 4.0, 5.0]]


def test_a_saved_encoder_loads_with_its_prefixes_and_limits(folder: Path, tmp_path: Path) -> None:
    encoder = TextEncoder.load(folder)
    update = {"query_prefix": "q ", "max_query_tokens": 10, "pooling": "cls"}
    encoder.ref = encoder.ref.model_copy(update=update)
    vectors = encoder.encode_queries(TEXTS, "en")
    encoder.save(tmp_path / "saved")
    again = TextEncoder.load(tmp_path / "saved")
    same = {"name", "digest"}
    assert again.ref.model_dump(exclude=same) == encoder.ref.model_dump(exclude=same)
    assert again.tokenizer_digest() == encoder.tokenizer_digest()
    assert np.array_equal(again.encode_queries(TEXTS, "en"), vectors)
    saved = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())
    assert saved["truncation"] is None


def test_a_dense_layer_is_kept_with_the_encoder(checkpoints: Checkpoints, tmp_path: Path) -> None:
    plain = TextEncoder.load(checkpoints("bert"))
    torch.manual_seed(0)
    layers = torch.nn.Sequential(Dense(16, 5))
    encoder = TextEncoder(plain.model, plain.tokenizer, plain.ref, layers=layers)
    vectors = encoder.encode_passages(TEXTS, "en")
    assert vectors.shape == (len(TEXTS), 5)
    encoder.save(tmp_path)
    assert np.array_equal(TextEncoder.load(tmp_path).encode_passages(TEXTS, "en"), vectors)


def test_a_text_of_clip_is_the_projected_end_as_clip_itself_has_it(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    from transformers import CLIPModel

    folder = checkpoints("clip")
    encoder = TextEncoder.load(folder)
    ref = encoder.ref
    assert (ref.pooling, ref.query_prefix, ref.max_passage_tokens) == ("last", "", 77)
    texts = [*TEXTS, "The river ends in the sea. " * 30]
    inputs = AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, truncation=True, max_length=77, return_tensors="pt"
    )
    with torch.inference_mode():
        wanted = CLIPModel.from_pretrained(folder).get_text_features(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        )
    wanted = getattr(wanted, "pooler_output", wanted).numpy()
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    vectors = encoder.encode_passages(texts, "en")
    np.testing.assert_allclose(vectors, wanted, atol=1e-6)
    encoder.save(tmp_path)
    assert np.array_equal(TextEncoder.load(tmp_path).encode_passages(texts, "en"), vectors)


def test_half_precision_weights_load_as_float32(checkpoints: Checkpoints, tmp_path: Path) -> None:
    encoder = TextEncoder.load(checkpoints("bert"))
    encoder.model.half()
    encoder.save(tmp_path)
    again = TextEncoder.load(tmp_path)
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}


def test_loading_says_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    TextEncoder.load(folder)
    assert capfd.readouterr() == ("", "")


def test_broken_checkpoints_are_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    encoder = TextEncoder.load(checkpoints("bert"))
    encoder.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    kept = weights.read_bytes()
    weights.unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        TextEncoder.load(tmp_path)
    weights.write_bytes(kept[:100])
    with pytest.raises(UserError, match="cannot be loaded"):
        TextEncoder.load(tmp_path)
    model: Any = encoder.model
    model.encoder.layer = model.encoder.layer[:1]
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(UserError, match="weights lack"):
        TextEncoder.load(tmp_path)


def test_real_weights_rank_like_people_do(minilm: Path) -> None:
    encoder = TextEncoder.load(minilm)
    assert (encoder.ref.pooling, encoder.ref.max_query_tokens) == ("mean", 256)
    assert encoder.ref.query_prefix == encoder.ref.passage_prefix == ""
    texts = ["A man is eating food.", "A man is eating a piece of bread.", "Quantum physics"]
    vectors = encoder.encode_queries(texts, "en")
    # The first figure is the one on the model's card for these sentences
    assert vectors[0] @ vectors[1] == pytest.approx(0.7553, abs=1e-3)
    assert vectors[0] @ vectors[2] < 0.1

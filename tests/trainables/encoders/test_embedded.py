"""Embedded encoders: the same tokenizer and weights everywhere, nothing known before training."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from trainables.data.worlds.synthetic import synthetic_benchmark, synthetic_training
from trainables.data.worlds.worlds import WORLDS, World
from trainables.encoders import embedded
from trainables.encoders.embedded import (
    SIZES,
    SPECIAL_TOKENS,
    VOCABULARY,
    build_embedded,
    embedded_ref,
    embedded_size,
    tokenizer_json,
)
from trainables.encoders.images import cells
from trainables.encoders.text import TextEncoder
from trainables.errors import UserError
from trainables.evaluation.evaluate import evaluate
from trainables.spec import DataRef, Execution, Sampling, build_spec
from trainables.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[3]
STANDARD = WORLDS["standard"]
SMALL = World("small", concepts=60, train=100, validation=20, test=60)

GOLDEN_TOKENIZER = "cdbf8e50d2d2d4cd0604"
GOLDEN_WEIGHTS = "3428b4c01c33b9f199b4"
"""If a change of either is meant, raise INITIAL and put the new values here."""


def test_the_digest_names_the_image_tower_that_is_there() -> None:
    assert f"cells {cells.INITIAL}" == embedded.CELLS


@pytest.fixture(scope="module")
def small() -> TextEncoder:
    return build_embedded("embedded/small", STANDARD)


def python(code: str, **environment: str) -> str:
    """What another process prints."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def weights_hash(encoder: TextEncoder) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:20]


def test_a_reference_costs_no_torch() -> None:
    code = (
        "import sys; from trainables.encoders.embedded import embedded_ref; "
        "from trainables.data.worlds.synthetic import WORLDS; "
        "print(embedded_ref('embedded/small', WORLDS['standard']).digest, "
        "{'torch', 'transformers', 'tokenizers'} & set(sys.modules))"
    )
    assert python(code) == f"{embedded_ref('embedded/small', STANDARD).digest} set()"


def test_digest_names_size_and_world() -> None:
    refs = [embedded_ref(name, world) for name in SIZES for world in WORLDS.values()]
    assert len({ref.digest for ref in refs}) == len(SIZES) * len(WORLDS)


def test_unknown_rung_says_what_there_is() -> None:
    with pytest.raises(UserError, match="'embedded/tiny'; there is embedded/small, embedded/base"):
        embedded_size("embedded/tiny")


def test_rungs_grow() -> None:
    sizes = [
        sum(p.numel() for key, p in encoder.named_parameters() if "embeddings" not in key)
        for encoder in (build_embedded(name, STANDARD) for name in SIZES)
    ]
    assert sizes[1] > 3 * sizes[0]
    assert sizes[2] > 2 * sizes[1]


def test_tokenizer_never_changes_unnoticed() -> None:
    digest = hashlib.sha256(tokenizer_json(STANDARD).encode()).hexdigest()[:20]
    assert digest == GOLDEN_TOKENIZER


@pytest.mark.parametrize("threads", ["1", "4"])
def test_another_process_trains_the_same_tokenizer(threads: str) -> None:
    code = (
        "from trainables.encoders.embedded import tokenizer_json; import hashlib; "
        "from trainables.data.worlds.synthetic import WORLDS; "
        "print(hashlib.sha256(tokenizer_json(WORLDS['standard']).encode()).hexdigest()[:20])"
    )
    found = python(
        code, RAYON_NUM_THREADS=threads, TOKENIZERS_PARALLELISM="true", PYTHONHASHSEED=threads
    )
    assert found == GOLDEN_TOKENIZER


def test_every_text_is_known_and_fits(small: TextEncoder) -> None:
    unknown = SPECIAL_TOKENS.index("<unk>")
    for part in ("validation", "test"):
        benchmark = synthetic_benchmark(STANDARD, part)
        for language in benchmark.languages:
            queries = small.tokenize_queries([q.text for q in benchmark.queries[language]])
            passages = small.tokenize_passages([c.text for c in benchmark.corpus[language]])
            assert not any(unknown in row for row in [*queries, *passages])
    assert small.truncated == {"query": 0, "passage": 0}


def test_words_of_low_resource_languages_fall_into_more_pieces(small: TextEncoder) -> None:
    corpus = synthetic_benchmark(STANDARD, "test").corpus
    pieces = {
        language: np.mean([len(x) - 2 for x in small.tokenize_passages([c.text for c in items])])
        for language, items in corpus.items()
    }
    for family in STANDARD.families:
        high, middle, low = (pieces[language] for language in family)
        assert STANDARD.passage_concepts <= high <= middle < low / 1.2
        assert high < 1.05 * STANDARD.passage_concepts


def test_text_survives_the_tokenizer(small: TextEncoder) -> None:
    text = synthetic_benchmark(STANDARD, "test").corpus["qac"][0].text
    ids = small.tokenize_passages([text])[0]
    assert small.tokenizer.decode(ids, skip_special_tokens=True) == text
    assert [ids[0], ids[-1]] == [SPECIAL_TOKENS.index("<s>"), SPECIAL_TOKENS.index("</s>")]
    assert len(small.tokenizer) == VOCABULARY


@pytest.mark.parametrize("name", list(SIZES))
def test_initial_weights_are_the_same_each_time(name: str) -> None:
    torch.manual_seed(1)
    one = build_embedded(name, STANDARD)
    torch.manual_seed(2)
    assert weights_hash(one) == weights_hash(build_embedded(name, STANDARD))


def test_initial_weights_never_change_unnoticed(small: TextEncoder) -> None:
    assert weights_hash(build_embedded("embedded/small", STANDARD)) == GOLDEN_WEIGHTS
    table = small.state_dict()["model.embeddings.word_embeddings.weight"]
    assert table[SPECIAL_TOKENS.index("<pad>")].abs().sum() == 0
    assert table.std().item() == pytest.approx(SIZES["embedded/small"].deviation, rel=0.02)


def test_global_randomness_is_untouched() -> None:
    before, legacy = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    build_embedded("embedded/base", SMALL)
    assert torch.equal(before, torch.get_rng_state())
    assert legacy == str(np.random.get_state())  # noqa: NPY002


def test_training_mode_changes_no_vector(small: TextEncoder) -> None:
    tokens = small.tokenize_passages(
        [c.text for c in synthetic_benchmark(STANDARD, "test").corpus["qaa"][:8]]
    )
    with torch.inference_mode():
        evaluating, training = small.eval()(tokens), small.train()(tokens)
    assert torch.equal(evaluating, training)


def test_saved_encoder_is_read_back(small: TextEncoder, tmp_path: Path) -> None:
    texts = [c.text for c in synthetic_benchmark(STANDARD, "test").corpus["qaf"][:8]]
    small.save(tmp_path)
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    assert reloaded(texts)["input_ids"] == [x.tolist() for x in small.tokenize_passages(texts)]
    again = TextEncoder.load(tmp_path)
    assert np.array_equal(small.encode_passages(texts, "qaf"), again.encode_passages(texts, "qaf"))
    assert again.ref.pooling == small.ref.pooling


def test_a_reference_keeps_its_own_pooling_and_limits() -> None:
    ref = embedded_ref("embedded/small", SMALL).model_copy(
        update={"pooling": "cls", "max_passage_tokens": 10}
    )
    encoder = build_embedded(ref, SMALL)
    texts = [c.text for c in synthetic_benchmark(SMALL, "test").corpus["qaa"][:4]]
    assert all(len(row) == 10 for row in encoder.tokenize_passages(texts))
    assert encoder.ref == ref


def test_another_world_is_refused() -> None:
    ref = embedded_ref("embedded/small", SMALL)
    with pytest.raises(UserError, match=r"embedded/small: in world other .* another --name"):
        build_embedded(ref, replace(SMALL, name="other"))


def test_limits_above_the_table_of_positions_are_refused() -> None:
    ref = embedded_ref("embedded/small", SMALL)
    with pytest.raises(UserError, match="may not exceed 96"):
        build_embedded(ref.model_copy(update={"max_query_tokens": 97}), SMALL)


def trained(
    world: World, sampling: Sampling, steps: int, name: str = "embedded/small"
) -> dict[str, float]:
    """Test metrics after training with the documented settings."""
    data = DataRef(name="synthetic", digest="of this world")
    encoder = build_embedded(name, world)
    if steps:
        spec = build_spec(
            {
                "encoder": encoder.ref,
                "test": data,
                "train": data,
                "languages": world.languages,
                "seed": 0,
                "sampling": sampling,
                "shuffle_pairs": False,
                "batch_size": 64,
                "steps": steps,
                "learning_rate": 5e-3,
                "warmup": 0.1,
                "schedule": "linear",
                "weight_decay": 0.01,
                "max_grad_norm": 1.0,
                "temperature": 0.05,
                "symmetric": False,
                "mask_false_negatives": True,
            }
        )
        trainer = Trainer(spec, encoder, synthetic_training(world), Execution())
        for _ in range(steps):
            trainer.take_step()
    return evaluate(synthetic_benchmark(world, "test"), encoder).metrics


@pytest.mark.parametrize(
    ("name", "world"),
    [("embedded/small", STANDARD), ("embedded/base", SMALL), ("embedded/large", SMALL)],
)
def test_untrained_encoders_are_at_chance(name: str, world: World) -> None:
    chance = np.mean(1 / np.arange(1, world.test + 1))
    metrics = trained(world, "X-X", 0, name)
    assert metrics["map/mono"] == pytest.approx(chance, rel=0.35)
    assert metrics["map/cross"] == pytest.approx(chance, rel=0.2)


def test_training_is_learning() -> None:
    before, after = (trained(SMALL, "X-Y", steps)["map/cross"] for steps in (0, 30))
    assert after > 1.5 * before


@pytest.mark.slow
def test_the_standard_world_shows_what_the_paper_shows() -> None:
    same, other = trained(STANDARD, "X-X", 250), trained(STANDARD, "X-Y", 250)
    assert same["map/mono"] > other["map/mono"] + 0.05
    assert other["map/cross"] > same["map/cross"] + 0.05
    assert other["rank_distance"] < same["rank_distance"] / 1.5


@pytest.mark.slow
def test_in_the_null_world_samplings_are_the_same() -> None:
    same, other = (trained(WORLDS["null"], sampling, 60) for sampling in ("X-X", "X-Y"))
    assert same["map/mono"] == pytest.approx(other["map/mono"], abs=1e-6)
    assert same["map/mono"] == pytest.approx(same["map/cross"], abs=1e-6)

"""How a trial is laid out after it ran out of memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.checkpoints import make_checkpoint
from tests.samples import embedded_spec
from trainables.encoders.families import encoder_ref
from trainables.encoders.text import TextEncoder
from trainables.spec import EncoderRef, Execution
from trainables.trial.memory_layout import SMALLER_LAYOUT, layout
from trainables.trial.trial_folder import TrialFolder

CPU, GPU = Execution(), Execution(device="cuda")


@pytest.fixture
def failed(tmp_path: Path) -> TrialFolder:
    """A trial whose first attempt ran out of memory."""
    spec = embedded_spec()
    folder = TrialFolder.of(tmp_path, spec.digest)
    folder.claim(spec, {}).fail({"reason": "out of memory"})
    return folder


def named(name: str) -> EncoderRef:
    """An encoder whose files are not at hand."""
    return EncoderRef(
        name=name, digest="0", pooling="mean", max_query_tokens=64, max_passage_tokens=64
    )


@pytest.mark.parametrize(
    ("name", "execution", "held"),
    [
        ("FacebookAI/xlm-roberta-large", GPU, 16e9 / (128 * 24 * 1024)),  # fewer than 8192
        ("FacebookAI/xlm-roberta-large", CPU, 6e9 / (128 * 24 * 1024)),
        ("BAAI/bge-m3", replace(GPU, micro_batch_tokens=20_000), 20_000),
        ("BAAI/bge-m3", replace(GPU, micro_batch_tokens=3), 4),
        ("BAAI/bge-m3", replace(CPU, micro_batch_tokens=100_000), 4 * 512),
        ("embedded/small", CPU, 4 * 512),
        ("my-own-model", GPU, 4 * 8192),
    ],
)
def test_out_of_memory_every_budget_is_a_quarter_at_most(
    failed: TrialFolder, name: str, execution: Execution, held: float
) -> None:
    found = layout(failed, execution, named(name), {})
    assert found.micro_batch_tokens == int(held) // 4
    assert found.micro_batch_tokens <= SMALLER_LAYOUT[execution.device]
    assert found.encode_tokens == execution.encode_tokens // 4
    assert found.recompute_layers == (execution.device == "cuda")


def test_a_checkpoint_is_as_large_as_its_files_say(failed: TrialFolder, tmp_path: Path) -> None:
    ref = encoder_ref(make_checkpoint("xlm-roberta", tmp_path / "tiny"))
    places = {ref.digest: str(tmp_path / "tiny")}
    own = TextEncoder.load(tmp_path / "tiny").held_tokens
    assert own > 4 * 512
    assert layout(failed, CPU, ref, places).micro_batch_tokens == 512
    (tmp_path / "tiny" / "config.json").write_text("{")
    assert layout(failed, CPU, ref, places).micro_batch_tokens == 512


def test_without_such_a_failure_the_layout_is_as_planned(tmp_path: Path) -> None:
    folder = TrialFolder.of(tmp_path, "0" * 20)
    assert layout(folder, GPU, named("BAAI/bge-m3"), {}) == GPU

"""The cost estimate: its arithmetic against torch's own counts, its sums, and how it scales."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from study.cost.accelerators import ACCELERATORS, UTILISATION
from study.cost.forecast import Forecast, describe, estimate
from study.cost.groups import rungs
from study.cost.inputs_needed import needs
from study.cost.speed import assumed, measured
from study.cost.trial import STEP_SECONDS, drawn, evaluations, step_seconds
from study.cost.work import encoding, forward, trained, training_memory, training_step
from study.planning.build import make_plan
from study.spaces.schema import load_space
from study.spaces.settings import parse_assignments
from study.state.plan import Plan
from trainables.data import catalog
from trainables.data.worlds.synthetic import WORLDS
from trainables.encoders.embedded import build_embedded
from trainables.encoders.shapes import KNOWN, embedded_shape
from trainables.encoders.vocabulary import trim_vocabulary
from trainables.errors import UserError
from trainables.spec import Execution
from trainables.training.gradcache import backward
from trainables.training.info_nce import Loss

CPU, GPU = Execution(), Execution(device="cuda")
LARGE = "embedded/large"


def plan_of(space: str, *assignments: str) -> tuple[Plan, dict[str, str]]:
    return make_plan(load_space(space), space, "demo", parse_assignments(list(assignments)))


def on_a100(space: str, *assignments: str) -> Forecast:
    plan, places = plan_of(space, *assignments)
    return estimate(plan, places, CPU, 4, accelerator="a100")


def test_operations_of_a_step_are_those_that_torch_counts() -> None:
    encoder, shape = build_embedded(LARGE, WORLDS["standard"]), embedded_shape(LARGE)
    encoder.model.set_attn_implementation("eager")  # type: ignore[operator]
    encoder.train()
    lengths = np.array([7, 12, 30, 9, 48, 33, 20, 41] * 4)
    rows = [np.arange(5, 5 + length, dtype=np.int32) for length in lengths]

    def total(queries: torch.Tensor, passages: torch.Tensor) -> Loss:
        return Loss((queries * passages).sum(), 0.0)

    for held in (None, 200):
        with FlopCounterMode(display=False) as counted:
            backward(encoder, rows[:16], rows[16:], total, held)
        layout = replace(CPU, micro_batch_tokens=held)
        ours = training_step(shape, lengths, 16, layout).operations
        # biases, norms and the loss are not counted by torch
        assert ours == pytest.approx(counted.get_total_flops(), rel=0.03), held
    with FlopCounterMode(display=False) as counted:
        encoder.encode(rows[:5])
    ours = encoding(shape, lengths[:5], CPU)
    assert ours == pytest.approx(counted.get_total_flops(), rel=0.02)


def test_memory_is_that_of_the_optimizer_and_its_checkpoint() -> None:
    encoder, shape = build_embedded(LARGE, WORLDS["standard"]), embedded_shape(LARGE)
    data = catalog.load_training("synthetic")
    texts = [text for column in data.queries.values() for text in column if text is not None]
    words = trim_vocabulary(encoder, [encoder.tokenize_queries(texts)])
    assert words < shape.words
    optimizer = torch.optim.AdamW(encoder.parameters(), fused=True)
    encoder.train()
    encoder(encoder.tokenize_queries(texts[:4])).sum().backward()
    optimizer.step()
    moved = list(encoder.parameters())
    moments = [s[name] for s in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    found = training_memory(shape, words, 100, CPU)
    assert trained(shape, words) == sum(p.numel() for p in moved)
    assert found.gradients == sum(p.grad.nbytes for p in moved if p.grad is not None)
    assert found.optimizer == sum(moment.nbytes for moment in moments)
    buffer = io.BytesIO()
    torch.save({"encoder": encoder.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    assert found.checkpoint == pytest.approx(buffer.getbuffer().nbytes, rel=0.02)


def test_operations_scale_as_they_should() -> None:
    shape = KNOWN["FacebookAI/xlm-roberta-base"]
    deeper = replace(shape, layers=2 * shape.layers)
    assert forward(deeper, 8, 64) == pytest.approx(2 * forward(shape, 8, 64), rel=1e-3)
    assert forward(shape, 16, 64) == 2 * forward(shape, 8, 64)
    attention = forward(shape, 8, 128) - 2 * forward(shape, 8, 64)
    assert attention == 8 * 4 * shape.layers * shape.hidden * (128**2 - 2 * 64**2)
    lengths = np.full(64, 32)
    one, two = (training_step(shape, np.tile(lengths, n), 32 * n, CPU) for n in (1, 2))
    assert (two.tokens, two.padded) == (2 * one.tokens, 2 * one.padded)
    assert two.operations == pytest.approx(2 * one.operations, rel=1e-3)


def test_what_does_not_fit_is_computed_a_second_time() -> None:
    shape, lengths = KNOWN["FacebookAI/xlm-roberta-base"], np.full(64, 32)
    whole = training_step(shape, lengths, 32, CPU)
    none = training_step(shape, lengths, 32, replace(CPU, micro_batch_tokens=1))
    again = training_step(shape, lengths, 32, replace(CPU, recompute_layers=True))
    assert whole.held == 64 * 32
    assert none.held == 32
    assert none.operations == pytest.approx(whole.operations * 8 / 6, rel=1e-3)
    assert again.operations == pytest.approx(whole.operations * 8 / 6, rel=1e-3)
    kept, dropped = (
        training_memory(shape, 1000, whole.held, layout).activations
        for layout in (CPU, replace(CPU, recompute_layers=True))
    )
    assert dropped < kept / 6


def test_an_accelerators_rate_is_its_share_of_the_peak() -> None:
    shape = KNOWN["FacebookAI/xlm-roberta-large"]
    speed = assumed("A100", ACCELERATORS["A100"], "bfloat16", shape.vector)
    roomy = replace(GPU, micro_batch_tokens=100_000)
    step = training_step(shape, np.full(200, 100), 100, roomy)
    seconds = step_seconds(shape, step, shape.words, replace(speed, update=0.0, lookup=0.0))
    rate = 312e12 * UTILISATION["bfloat16"]
    assert seconds - STEP_SECONDS == pytest.approx(step.operations / rate)
    # 302 M parameters, 200 texts padded to 104 tokens, 6 operations each, and attention
    assert step.operations == pytest.approx(6 * 302.3e6 * 200 * 104, rel=0.05)
    with pytest.raises(UserError, match="bfloat16"):
        assumed("T4", ACCELERATORS["T4"], "bfloat16", 768)


def test_texts_are_padded_as_the_encoder_pads_them() -> None:
    clip, roberta = KNOWN["openai/clip-vit-base-patch32"], KNOWN["FacebookAI/xlm-roberta-base"]
    for shape, longest, width in ((clip, 77, 77), (clip, 60, 64), (roberta, 509, 512)):
        padded = training_step(shape, np.full(2, longest), 1, GPU).padded
        assert padded == 2 * width, (shape.kind, longest)


def test_every_trial_is_in_one_rung_and_totals_are_sums() -> None:
    plan, _ = plan_of("batch_size")
    found = on_a100("batch_size")
    assert found.trials == len(plan.specs)
    assert sum(rung.cells for rung in found.rungs) >= len(plan.cells)
    each = zip(found.rungs, found.costs, strict=True)
    alone = sum(rung.trials * (c.load + c.train + c.evaluate) for rung, c in each)
    assert found.seconds == pytest.approx(alone + found.workers * found.start)
    assert found.wall * found.workers == pytest.approx(found.seconds)
    labels = [rung.label for rung in found.rungs]
    assert len(set(labels)) == len(labels)


def test_steps_and_batches_cost_what_they_should() -> None:
    def training(*assignments: str) -> float:
        found = on_a100("mixing_ratio", *assignments)
        return max(cost.train for cost in found.costs)

    base = training("steps=100", "batch_size=64")
    assert training("steps=200", "batch_size=64") == pytest.approx(2 * base)
    work = [
        max(cost.step.operations for cost in on_a100("mixing_ratio", f"batch_size={n}").costs)
        for n in (64, 128)
    ]
    assert work[1] / work[0] == pytest.approx(2, rel=0.1)


def test_seeds_are_counted_and_samplings_cost_the_same() -> None:
    plan, _ = plan_of("mixing_ratio")
    untrained, trained_ = rungs(plan)
    assert (untrained.cells, untrained.trials) == (1, 1)
    assert (trained_.cells, trained_.trials) == (5, 25)
    assert trained_.seeds == 5


def test_the_cpus_rate_is_measured_and_the_estimate_is_said() -> None:
    plan, places = plan_of("mixing_ratio", "steps=10")
    found = estimate(plan, places, CPU, 2)
    cost = found.costs[-1]
    assert 0.01 < cost.train < 10
    assert 0 < cost.evaluate < 60
    assert found.peak(cost) > cost.memory.state
    text = "\n".join(describe(found))
    assert "this CPU with 1 thread(s) a trial, measured" in text
    assert "synthetic: tokenised" in text
    assert "data synthetic (train): made here" in text
    assert f"all {len(plan.specs)} trials" in text


def test_a_rate_is_measured_where_there_is_nothing_to_encode() -> None:
    shape = embedded_shape("embedded/small")
    config = shape.config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    speed = measured(shape, config, None, np.array([], dtype=np.int64), CPU)
    assert speed.encode > 0


def absent(plan: Plan, encoder: str) -> Plan:
    """The plan with an encoder and a benchmark that are not at hand."""
    specs = {}
    for digest, spec in plan.specs.items():
        ref = spec.encoder.model_copy(update={"name": encoder, "digest": f"absent {encoder}"})
        test = spec.test.model_copy(
            update={"name": "miracl", "digest": "absent", "languages": ("sw", "te")}
        )
        specs[digest] = spec.model_copy(update={"encoder": ref, "test": test})
    return plan.model_copy(update={"specs": specs})


def test_what_is_missing_is_named_and_assumed() -> None:
    plan = absent(plan_of("mixing_ratio")[0], "FacebookAI/xlm-roberta-large")
    # a folder that others need does not make what is absent present
    places = {"absent": "elsewhere"}
    missing = [need for need in needs(plan, places) if need.place is None]
    assert [need.name for need in missing] == ["FacebookAI/xlm-roberta-large", "miracl (test)"]
    found = estimate(plan, places, CPU, 1, accelerator="T4")
    text = "\n".join(describe(found))
    assert "MISSING; `hf download FacebookAI/xlm-roberta-large`" in text
    assert "miracl: not at hand, sizes assumed" in text
    assert found.costs[-1].memory.parameters > 4 * 558_840_832
    with pytest.raises(UserError, match="nobody/knows"):
        estimate(absent(plan, "nobody/knows"), places, CPU, 1, accelerator="T4")
    with pytest.raises(UserError, match="Abacus"):
        estimate(plan, places, CPU, 1, accelerator="Abacus")


def test_what_does_not_fit_an_accelerator_is_said() -> None:
    plan = absent(plan_of("mixing_ratio")[0], "FacebookAI/xlm-roberta-large")
    said = [
        "\n".join(describe(estimate(plan, {}, CPU, 1, accelerator=name))) for name in ("T4", "H100")
    ]
    # 16 GB of activations alone fill the one
    assert ["DOES NOT FIT" in text for text in said] == [True, False]


def test_evaluations_on_validation_data_are_counted() -> None:
    settings = ["steps=100", "evaluate_every=10", "validation=own", "select=best"]
    plan, _ = plan_of("mixing_ratio", *settings)
    spec = next(spec for spec in plan.specs.values() if spec.steps)
    assert [(ref.part, times) for ref, times in evaluations(spec)] == [
        ("test", 1),
        ("validation", 11),
    ]


def test_batches_hold_queries_passages_and_negatives() -> None:
    plan, places = plan_of("mixing_ratio", "negatives=both", "hard_negatives=2")
    spec = next(spec for spec in plan.specs.values() if spec.steps)
    from study.cost.trial import Estimator

    training: Any = Estimator(places, CPU, "A100")._trained(spec)
    (size,) = {len(batch) for batch in drawn(training, spec)}
    assert size == (spec.batch_size or 0) * 4

"""The cost estimate: its arithmetic against torch's own counts, its sums, and how it scales."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from study.cost.counts import Counts, count_images, count_text
from study.cost.forecast import Forecast, describe, estimate, gpu_bytes
from study.cost.groups import cost_key, groups
from study.cost.inputs_needed import needs
from study.cost.speed import ACCELERATORS, UTILISATION, data_sheet_speed, measure_speed
from study.cost.texts import Library
from study.cost.trial import STEP_SECONDS, Estimator, draw_batches, evaluations, step_seconds
from study.cost.work import encoding, training_step
from study.planning.build import make_plan
from study.spaces.schema import load_space
from study.spaces.settings import parse_assignments
from study.state.plan import Plan
from tests.checkpoints import make_seeing
from tests.sentence_folders import make
from trainables.data import catalog
from trainables.data.worlds.synthetic import WORLDS
from trainables.encoders.architectures import Architecture, architecture
from trainables.encoders.embedded import build_embedded
from trainables.encoders.images.image_text import ImageTextEncoder
from trainables.encoders.text import TextEncoder
from trainables.encoders.vocabulary import trim_vocabulary
from trainables.errors import UserError
from trainables.spec import Execution
from trainables.training.gradcache import backward
from trainables.training.info_nce import Loss

CPU, GPU = Execution(), Execution(device="cuda")
LARGE = "embedded/large"
XLM_R, CLIP = "FacebookAI/xlm-roberta-base", "openai/clip-vit-base-patch32"


@cache
def counts_of(name: str, execution: Execution = CPU) -> Counts:
    return count_text(architecture(name, None), execution)


def plan_of(space: str, *assignments: str) -> tuple[Plan, dict[str, str]]:
    return make_plan(load_space(space), space, "demo", parse_assignments(list(assignments)))


def on_a100(space: str, *assignments: str) -> Forecast:
    plan, places = plan_of(space, *assignments)
    return estimate(plan, places, CPU, 4, accelerator="a100")


def total(queries: torch.Tensor, passages: torch.Tensor) -> Loss:
    return Loss((queries * passages).sum(), 0.0)


def trained_layers(name: str) -> tuple[int, int, int]:
    """Parameters of one layer's matrices, layers, and the width, by the published architecture."""
    layers, hidden = {XLM_R: (12, 768), CLIP: (12, 512)}[name]
    return 12 * hidden * hidden, layers, hidden


@pytest.mark.parametrize("name", [XLM_R, CLIP])
def test_operations_are_those_of_the_closed_form(name: str) -> None:
    """Kaplan et al. 2020: 2 a parameter and token, and 4 x width x hidden for attention."""
    matrices, layers, hidden = trained_layers(name)
    for rows, width in ((1, 8), (3, 40), (64, 77)):
        token = 2 * layers * matrices + 4 * layers * hidden * width
        assert counts_of(name).forward(rows, width) == pytest.approx(rows * width * token, rel=1e-6)


def test_operations_of_pictures_are_those_of_the_closed_form() -> None:
    """ViT-B/32: 49 patches of 32 x 32 x 3 numbers and a token of their class, through 12 layers."""
    images = count_images(architecture(CLIP, None), CPU)
    assert images is not None
    layers = 50 * (12 * 2 * 12 * 768**2 + 4 * 12 * 768 * 50)
    patches, projection = 2 * 49 * 32 * 32 * 3 * 768, 2 * 768 * 512
    for rows in (1, 7):
        expected = rows * (layers + patches + projection)
        assert images.forward(rows, images.picture) == pytest.approx(expected, rel=1e-6)
    assert images.parameters == 87_849_216
    assert images.picture == round(50 * 768 / 512)


def test_bytes_for_the_pass_back_are_those_that_torch_keeps() -> None:
    """Of each token and layer, in float32: what goes into six matrices, the block's middle twice,
    two norms' inputs, and dropout's masks, which are bytes; of scores, three tables."""
    text = counts_of(XLM_R)
    square, linear, whole = text.activations
    assert square == pytest.approx(3 * 4 * 12 * 12, rel=0.01)
    per_unit = linear / (12 * 768)
    assert 60 < per_unit < 90
    assert whole < 10_000
    assert counts_of(XLM_R, GPU).activations == (0.0, linear, whole)


def test_bfloat16_halves_activations_and_copies_weights() -> None:
    single, half = (
        counts_of(XLM_R, replace(CPU, precision=name)) for name in ("float32", "bfloat16")
    )
    assert half.parameters == single.parameters
    assert half.operations == single.operations
    # norms and what is added to stay float32
    assert 0.5 < half.activations[1] / single.activations[1] < 0.8
    # autocast casts the weights of each pass, without a cache
    weights = single.parameters - single.words * single.word - 514 * 768 - 768
    assert half.activations[2] == pytest.approx(2 * weights, rel=0.01)
    images = [
        count_images(architecture(CLIP, None), replace(CPU, precision=name))
        for name in ("float32", "bfloat16")
    ]
    first, second = (x.activation_bytes(100, x.picture) for x in images if x)
    assert 0.5 < second / first < 0.8


def test_operations_of_a_step_are_those_that_torch_counts() -> None:
    encoder, counts = build_embedded(LARGE, WORLDS["standard"]), counts_of(LARGE)
    encoder.model.set_attn_implementation("eager")  # type: ignore[operator]
    encoder.train()
    lengths = np.array([7, 12, 30, 9, 48, 33, 20, 41] * 4)
    rows = [np.arange(5, 5 + length, dtype=np.int32) for length in lengths]
    for held in (None, 200):
        with FlopCounterMode(display=False) as counter:
            backward(encoder, rows[:16], rows[16:], total, held)
        ours = training_step(counts, lengths, 16, replace(CPU, micro_batch_tokens=held)).operations
        # the loss is another here
        assert ours == pytest.approx(counter.get_total_flops(), rel=0.01), held
    with FlopCounterMode(display=False) as counter:
        encoder.encode(rows[:5])
    ours = encoding(counts, lengths[:5], CPU)
    assert ours == pytest.approx(counter.get_total_flops(), rel=1e-6)


def test_operations_of_a_step_with_pictures_are_those_that_torch_counts(tmp_path: Path) -> None:
    folder = make_seeing("clip", tmp_path / "clip")
    encoder = ImageTextEncoder.load(folder)
    encoder.train_images()
    encoder.model.set_attn_implementation("eager")  # type: ignore[operator]
    encoder.images.model.set_attn_implementation("eager")  # type: ignore[union-attr, operator]
    encoder.train()
    built = architecture("clip", str(folder))
    counts, images = count_text(built, CPU), count_images(built, CPU)
    lengths = np.array([7, 12, 30, 9])
    rows = [np.arange(4, 4 + length, dtype=np.int32) for length in lengths]
    shown = [{"pixel_values": np.zeros((3, 8, 8), np.uint8)}] * 4
    with FlopCounterMode(display=False) as counter:
        backward(encoder, rows, shown, total, None)
    ours = training_step(counts, lengths, 4, CPU, images).operations
    # pixels need no gradient, and the projection of texts is left out
    assert ours == pytest.approx(counter.get_total_flops(), rel=0.1)


@pytest.mark.parametrize("kind", ["t5", "modernbert", "qwen3", "albert", "deberta-v2", "mpnet"])
def test_any_architecture_is_counted(kind: str, tmp_path: Path) -> None:
    folder = make(tmp_path / kind, kind)
    encoder, counts = TextEncoder.load(folder), count_text(architecture(kind, str(folder)), CPU)
    assert counts.is_counted
    assert counts.parameters == sum(p.numel() for p in encoder.parameters())
    encoder.model.set_attn_implementation("eager")  # type: ignore[operator]
    row = np.arange(4, 20, dtype=np.int32)
    with FlopCounterMode(display=False) as counter:
        encoder([row])
    assert counts.forward(1, 16) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_model_that_cannot_be_counted_is_assumed() -> None:
    from transformers import LongformerConfig

    built = Architecture(LongformerConfig(num_hidden_layers=2, attention_window=8))
    counts = count_text(built, CPU)
    assert not counts.is_counted
    table = counts.words * counts.word
    assert counts.forward(1, 10) == 2 * 10 * (counts.parameters - table)
    with pytest.raises(UserError, match="build"):
        count_text(Architecture(LongformerConfig(hidden_size=7)), CPU)


def test_memory_is_that_of_the_optimizer_and_its_checkpoint() -> None:
    plan, places = plan_of("mixing_ratio", f"encoder={LARGE}")
    spec = next(spec for spec in plan.specs.values() if spec.steps)
    encoder = build_embedded(LARGE, WORLDS["standard"])
    data = catalog.load_training("synthetic")
    languages = spec.languages or ()
    columns = [table[code] for table in (data.queries, data.passages) for code in languages]
    texts = [text for column in columns for text in column if text is not None]
    trim_vocabulary(encoder, [encoder.tokenize_queries(texts)])
    optimizer = torch.optim.AdamW(encoder.parameters(), fused=True)
    encoder.train()
    encoder(encoder.tokenize_queries(texts[:4])).sum().backward()
    optimizer.step()
    moved = list(encoder.parameters())
    memory = Estimator(places, CPU, None).cost(spec, with_seconds=False).memory
    gradients = sum(p.grad.nbytes for p in moved if p.grad is not None)
    assert memory.checkpoint == pytest.approx(3 * gradients, rel=0.02)
    buffer = io.BytesIO()
    torch.save({"encoder": encoder.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    assert memory.checkpoint == pytest.approx(buffer.getbuffer().nbytes, rel=0.04)
    other = spec.model_copy(update={"select": "best"})
    best = Estimator(places, CPU, None).cost(other, with_seconds=False).memory
    assert 3 * (best.checkpoint - memory.checkpoint) == memory.checkpoint
    assert best.compute > memory.compute > gradients * 4


def test_what_does_not_fit_is_computed_a_second_time() -> None:
    counts, lengths = counts_of(XLM_R), np.full(64, 32)
    whole = training_step(counts, lengths, 32, CPU)
    none = training_step(counts, lengths, 32, replace(CPU, micro_batch_tokens=1))
    again = training_step(counts, lengths, 32, replace(CPU, recompute_layers=True))
    assert whole.activations == pytest.approx(64 * none.activations, rel=1e-3)
    assert none.operations == pytest.approx(whole.operations * 8 / 6, rel=1e-3)
    assert again.operations == pytest.approx(whole.operations * 8 / 6, rel=1e-3)
    assert again.activations < whole.activations / 6
    double = training_step(counts, np.tile(lengths, 2), 64, CPU)
    assert double.tokens == 2 * whole.tokens
    assert double.operations == pytest.approx(2 * whole.operations, rel=1e-3)


def test_an_accelerators_rate_is_its_share_of_the_peak() -> None:
    counts = counts_of("FacebookAI/xlm-roberta-large", GPU)
    speed = data_sheet_speed("A100", "bfloat16", counts.vector)
    step = training_step(counts, np.full(200, 100), 100, replace(GPU, micro_batch_tokens=100_000))
    rate = 312e12 * UTILISATION["bfloat16"]
    seconds = step_seconds(step, 10**9, speed)
    assert seconds == pytest.approx(STEP_SECONDS + step.operations / rate + 1e9 * speed.update)
    # 302 M parameters, 200 texts padded to 104 tokens, 6 operations each, and attention
    assert step.operations == pytest.approx(6 * 302.3e6 * 200 * 104, rel=0.05)
    with pytest.raises(UserError, match="bfloat16"):
        data_sheet_speed("T4", "bfloat16", 768)


@pytest.mark.parametrize(
    ("name", "longest", "width"), [(CLIP, 77, 77), (CLIP, 60, 64), (XLM_R, 509, 512)]
)
def test_texts_are_padded_as_the_encoder_pads_them(name: str, longest: int, width: int) -> None:
    assert counts_of(name, GPU).width(longest, "cuda") == width


def test_pictures_are_computed_once_unless_their_tower_is_trained(tmp_path: Path) -> None:
    folder, both = str(make_seeing("clip", tmp_path / "clip")), {}
    for tower in ("frozen", "live"):
        settings = [f"encoder={folder}", "sampling=hybrid", f"image_tower={tower}"]
        plan, places = plan_of("backbone", *settings)
        both[tower] = estimate(plan, places, CPU, 1, accelerator="A100")
    frozen, live = (
        next(cost for _, cost in both[tower].costs if cost.step.operations) for tower in both
    )
    images = count_images(architecture(folder, folder), GPU)
    assert images is not None
    spec = next(spec for spec in plan.specs.values() if spec.steps)
    shown = 3 * (spec.batch_size or 0) * images.forward(1, images.picture)
    assert live.step.operations - frozen.step.operations == pytest.approx(shown, rel=0.01)
    moved = live.memory.checkpoint - frozen.memory.checkpoint
    assert moved == 3 * 4 * images.parameters
    rate = ACCELERATORS["A100"].float32 * UTILISATION["float32"]
    pictures = both["frozen"].pictures * rate / images.forward(1, images.picture)
    assert pictures == pytest.approx(round(pictures), rel=1e-6)
    assert pictures > 100
    # each evaluation embeds the pictures again
    evaluating = live.operations - frozen.operations - spec.steps * shown
    embedded = evaluating / images.forward(1, images.picture)
    assert embedded == pytest.approx(round(embedded), abs=0.01)
    assert embedded > 100


def test_memory_on_a_gpu_is_by_what_decides_cost() -> None:
    plan, places = plan_of("batch_size")
    half = gpu_bytes(plan, places, replace(GPU, precision="bfloat16"))
    single = gpu_bytes(plan, places, GPU)
    assert set(single) == {cost_key(spec) for spec in plan.specs.values()} == set(half)
    assert all(1e9 < size < 3e9 for size in (*single.values(), *half.values()))


def test_every_trial_is_in_one_group_and_totals_are_sums() -> None:
    plan, _ = plan_of("batch_size")
    found = on_a100("batch_size")
    assert found.trials == len(plan.specs)
    assert sum(group.cells for group, _ in found.costs) >= len(plan.cells)
    assert found.pictures == 0
    alone = sum(group.trials * (c.load + c.train + c.evaluate) for group, c in found.costs)
    assert found.seconds == pytest.approx(alone + found.workers * found.start)
    assert found.wall * found.workers == pytest.approx(found.seconds)
    labels = [group.label for group, _ in found.costs]
    assert len(set(labels)) == len(labels)


def test_steps_and_batches_cost_what_they_should() -> None:
    def training(*assignments: str) -> float:
        found = on_a100("mixing_ratio", *assignments)
        return max(cost.train for _, cost in found.costs)

    base = training("steps=100", "batch_size=64")
    assert training("steps=200", "batch_size=64") == pytest.approx(2 * base)
    work = [
        max(cost.step.operations for _, cost in on_a100("mixing_ratio", f"batch_size={n}").costs)
        for n in (64, 128)
    ]
    assert work[1] / work[0] == pytest.approx(2, rel=0.1)


def test_seeds_are_counted_and_samplings_cost_the_same() -> None:
    plan, _ = plan_of("mixing_ratio")
    untrained, trained_ = groups(plan)
    assert (untrained.cells, untrained.trials) == (1, 1)
    assert (trained_.cells, trained_.trials) == (5, 25)
    assert trained_.seeds == 5


def test_the_cpus_rate_is_measured_and_the_estimate_is_said() -> None:
    plan, places = plan_of("mixing_ratio", "steps=10")
    found = estimate(plan, places, CPU, 2)
    _, cost = found.costs[-1]
    assert 0.01 < cost.train < 10
    assert 0 < cost.evaluate < 60
    assert cost.memory.compute > cost.memory.host > cost.memory.checkpoint > 0
    text = "\n".join(describe(found))
    assert "this CPU with 1 thread(s) a trial, measured" in text
    assert "synthetic: tokenised" in text
    assert "data synthetic (train): made here" in text
    assert f"all {len(plan.specs)} trials" in text


def test_a_rate_is_measured_where_there_is_nothing_to_encode() -> None:
    built = architecture("embedded/small", None)
    speed = measure_speed(built, count_text(built, CPU), np.array([], dtype=np.int64), CPU)
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
    assert found.costs[-1][1].memory.compute > 4 * 4 * 558_840_832
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
    assert spec.train is not None
    training = Library(places).of_training(spec, spec.train)
    (size,) = {len(batch) for batch in draw_batches(training, spec)}
    assert size == (spec.batch_size or 0) * 4

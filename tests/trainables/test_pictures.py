"""Training on pictures: gradients of every kind of row, batches, specs, and whole trials."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.checkpoints import make_seeing
from tests.samples import embedded_spec, values
from tests.trainables.test_gradcache import sharing
from trainables.data.catalog import load_benchmark, load_training
from trainables.data.contamination import contamination
from trainables.encoders.images.image_text import ImageTextEncoder
from trainables.finetune import finetune
from trainables.spec import Execution, Spec, build_spec
from trainables.storage.cache import Cache
from trainables.training.batch_items import BatchItem
from trainables.training.batching import Batches
from trainables.training.gradcache import backward
from trainables.training.info_nce import Loss, info_nce
from trainables.training.negatives import PICTURE, shown
from trainables.trial.trial_folder import TrialFolder

ROWS = 6
SETTINGS: dict[str, Any] = {
    "learning_rate": 5e-3,
    "symmetric": True,
    "pairs": "image",
    "sampling": "X-X",
    "encoder": "embedded/clip-small",
    "benchmark": "scenes",
    "steps": 6,
    "batch_size": 8,
    "languages": ["qaa", "qad"],
    "eval_languages": ["qaa", "qad", "qaf"],
}


def spec_of(**changes: Any) -> Spec:
    return embedded_spec(**SETTINGS | changes)


def trained(spec: Spec, folder: Path, stops: tuple[int, ...] = ()) -> TrialFolder:
    """The trial, closed after each step of `stops` and gone on with."""
    trial, cache = TrialFolder.of(folder, spec.digest), Cache(folder / "cache")
    for stop in stops:
        events = finetune(spec, trial, places={}, cache=cache)
        while (event := next(events)).kind != "stepped" or event.step < stop:
            pass
        events.close()  # type: ignore[attr-defined]
    for _ in finetune(spec, trial, places={}, cache=cache):
        pass
    return trial


def seeing(kind: str, folder: Path, dropout: float = 0.0) -> ImageTextEncoder:
    """An encoder of a tiny checkpoint whose towers drop some of their attention."""
    encoder = ImageTextEncoder.load(make_seeing(kind, folder / kind))
    encoder.train_images()
    for module in encoder.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            setattr(module, "dropout", dropout)  # noqa: B010 - of whatever class
    return encoder


def rows_of(encoder: ImageTextEncoder, live: bool) -> tuple[list[BatchItem], list[BatchItem]]:
    """Captions of several lengths, and of most of them a picture, of the others a caption."""
    texts = ["A man.", "The quick brown fox jumps.", "Der Fluss.", "Хлеб ест", "food", "the sea"]
    pictures = load_training("scenes").pictures[: 2 * ROWS : 2]
    queries: list[BatchItem] = list(encoder.tokenize_queries(texts))
    made = encoder.pixels(pictures)
    vectors = encoder.encode_pixels(made)
    shown_rows: list[BatchItem] = [
        {name: value[i] for name, value in made.items()} if live else vectors[i]
        for i in range(ROWS)
    ]
    shown_rows[2] = encoder.tokenize_queries(["where does the river end?"])[0]
    return queries, shown_rows


def objective() -> partial[Loss]:
    pairs = sharing(ROWS, torch.arange(ROWS) // 2)
    return partial(info_nce, temperature=0.1, symmetric=True, false_negatives=pairs)


def gradients(encoder: ImageTextEncoder) -> dict[str, Tensor]:
    named = encoder.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def in_one_pass(
    encoder: ImageTextEncoder, queries: list[BatchItem], passages: list[BatchItem]
) -> Tensor:
    """The loss by autograd alone: every row embedded by itself, nothing cut or cached."""

    def one(row: BatchItem) -> Tensor:
        if isinstance(row, dict):
            return encoder.embed_pixels({name: value[None] for name, value in row.items()})[0]
        assert isinstance(row, np.ndarray)
        return torch.from_numpy(row) if row.dtype == np.float32 else encoder([row])[0]

    asked = torch.stack([one(row) for row in queries])
    found = [one(row) for row in passages]
    k = max(v.shape[0] if v.ndim == 2 else 0 for v in found)
    found = [v if v.ndim == 2 or not k else v.expand(k, -1) for v in found]
    loss: Tensor = objective()(asked, torch.stack(found)).value
    return loss


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip-2", "metaclip-2", "blip-2"])
@pytest.mark.parametrize("live", [True, False], ids=["live", "frozen"])
@pytest.mark.parametrize("budget", [None, 1, 30])
def test_the_gradient_of_pictures_is_that_of_one_pass(
    kind: str, live: bool, budget: int | None, tmp_path: Path
) -> None:
    encoder = seeing(kind, tmp_path)
    queries, passages = rows_of(encoder, live)
    encoder.eval()  # without dropout, some of which has no name in common
    expected = in_one_pass(encoder, queries, passages)
    expected.backward()  # type: ignore[no-untyped-call]
    one = gradients(encoder)
    encoder.zero_grad()
    loss = backward(encoder, queries, passages, objective(), budget)
    assert loss.value.item() == pytest.approx(expected.item(), abs=1e-5)
    found = gradients(encoder)
    assert found.keys() == one.keys()
    assert any(name.startswith("vision") for name in found) == live
    scale = max(float(g.abs().max()) for g in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("live", [True, False], ids=["live", "frozen"])
def test_with_dropout_cached_micro_batches_have_the_gradient_of_kept_ones(
    live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.training.gradcache.FORWARD_TOKENS", {"cpu": 24})
    encoder = seeing("clip", tmp_path, dropout=0.4)
    queries, passages = rows_of(encoder, live)
    encoder.train()
    found = []
    for budget in (24, 10_000):
        encoder.zero_grad()
        torch.manual_seed(3)
        loss = backward(encoder, queries, passages, objective(), budget)
        found.append((loss.value.item(), gradients(encoder), torch.rand(1).item()))
    assert found[0][0] == found[1][0]
    assert found[0][2] == found[1][2]
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], atol=1e-6, rtol=1e-5)
    encoder.zero_grad()
    torch.manual_seed(4)
    assert backward(encoder, queries, passages, objective(), 24).value.item() != found[0][0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"sampling": "X-X-mixed", "pairs": "image"}, {"sampling": "X-Y", "pairs": "image"}),
        ({"sampling": "X-X-mixed", "pairs": "caption"}, {"sampling": "X-Y", "pairs": "image"}),
        ({"sampling": "row-hybrid", "pairs": "image"}, {"sampling": "X-Y", "pairs": "image"}),
        ({"sampling": "X-Y-fixed", "pairs": "image"}, {"sampling": "X-X"}),
        ({"sampling": "X-X", "pairs": "caption"}, {"sampling": "X-X"}),
        ({"sampling": "hybrid", "alpha": 1, "pairs": "caption"}, {"sampling": "X-X"}),
        ({"alpha": 0, "pairs": "image"}, {"sampling": "X-Y", "pairs": "image"}),
        ({"image_tower": "frozen", "pairs": "image"}, {"pairs": "image"}),
        ({"steps": 0, "pairs": "image", "image_tower": "live"}, {"steps": 0}),
    ],
)  # fmt: skip
def test_equal_experiments_on_pictures_are_equal_specs(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert build_spec(values(**first)).digest == build_spec(values(**second)).digest


def test_different_experiments_on_pictures_are_different_specs() -> None:
    changes: list[dict[str, Any]] = [
        {"pairs": "image"},
        {"pairs": "caption"},
        {"pairs": "image", "image_tower": "live"},
        {"sampling": "X-Y", "pairs": "image"},
        {"sampling": "X-Y", "pairs": "caption"},
        {"sampling": "row-hybrid", "pairs": "caption"},
        {"sampling": "X-X"},
    ]
    assert len({build_spec(values(**each)).digest for each in changes}) == len(changes)


def test_a_batch_shows_captions_of_one_language_with_pictures_or_as_pairs_says() -> None:
    def batches(sampling: Any) -> list[Any]:
        held = Batches(64, 3, sampling=sampling, alpha=0.5, batch_size=8, seed=3)
        return [held[t] for t in range(40)]

    for batch in batches("hybrid"):
        image, caption = shown(batch, "image"), shown(batch, "caption")
        assert (image == PICTURE).all()
        if batch.kind == "X-X":
            assert len(set(batch.query_languages)) == 1
            assert (caption == PICTURE).all()
        else:
            assert (caption == batch.passage_languages).all()
            assert (caption != batch.query_languages).all()
    mixed = [len(set(batch.query_languages)) for batch in batches("X-Y")]
    assert max(mixed) == 3
    kinds = np.array([shown(batch, "caption") == PICTURE for batch in batches("row-hybrid")])
    assert 0.35 < kinds.mean() < 0.65


def test_rows_of_one_picture_share_their_gold_and_hold_its_captions() -> None:
    data = load_training("scenes", languages=["qaa", "qad"])
    assert len(data.pictures) == len(data.questions) == 2 * len(set(data.golds))
    assert [picture.id for picture in data.pictures] == list(data.golds)
    assert data.queries["qaa"] == data.passages["qaa"]
    fewer = data.restrict(["qad"])
    assert fewer.pictures == data.pictures


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": "hybrid"},
        {"sampling": "hybrid", "pairs": "caption"},
        {"sampling": "hybrid", "image_tower": "live"},
        {"sampling": "X-Y", "image_tower": "live", "evaluate_every": 2, "select": "best"},
    ],
    ids=["frozen", "captions", "live", "live-best"],
)
def test_a_trial_of_pictures_goes_on_after_a_stop_as_if_there_had_been_none(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    spec = spec_of(**changes)
    whole, resumed = (
        trained(spec, tmp_path / name, stops) for name, stops in (("a", ()), ("b", (2, 5)))
    )
    for name in ("result.json", "history.json", "ranks-test.npz", "ranks-test-i2t.npz"):
        one, other = ((trial.committed() / name).read_bytes() for trial in (whole, resumed))
        assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest(), name


def test_a_live_tower_moves_and_a_frozen_one_stays(tmp_path: Path) -> None:
    for live in (None, "live"):
        spec = spec_of(sampling="X-X", image_tower=live)
        trial = TrialFolder.of(tmp_path / str(live), spec.digest)
        for _ in finetune(spec, trial, places={}, execution=Execution(), keep_weights=True):
            pass
        kept = ImageTextEncoder.load(str(trial.committed() / "encoder")).images.state_dict()
        first = ImageTextEncoder.load(_untrained(tmp_path)).images.state_dict()
        same = all(torch.equal(kept[name], first[name]) for name in first)
        assert same == (live is None)


def _untrained(folder: Path) -> Path:
    from trainables.data.worlds.worlds import WORLDS
    from trainables.encoders.embedded import build_embedded

    target = folder / "untrained"
    if not target.exists():
        build_embedded("embedded/clip-small", WORLDS["standard"]).save(target)
    return target


def test_pictures_that_are_trained_on_and_tested_are_found_by_id_bytes_and_caption() -> None:
    benchmark = load_benchmark("scenes", languages=["qaa"])
    training = load_training("scenes")
    assert contamination(training, benchmark).verdict == "none found by these methods"
    own = training.restrict(["qad"])
    held: Any = own.__dict__ | {"pictures": [benchmark.pictures[0], *own.pictures[1:]]}
    found = contamination(type(own)(**held), benchmark)
    assert found.verdict == "overlap"
    by_method = {finding.method: finding.matches for finding in found.findings}
    assert by_method["picture ids"] == by_method["equal pictures"] == 1
    assert by_method["equal captions"] == 0

"""Trials of no steps on pictures, from a spec to scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints import make_m_clip, make_seeing
from trainables.data import catalog
from trainables.data.formats import images
from trainables.data.pictures import IMAGE, Picture
from trainables.encoders import registry as encoders
from trainables.encoders.images import cells, vision_tower
from trainables.encoders.images.image_text import ImageTextEncoder
from trainables.errors import UserError
from trainables.evaluation.metrics import metrics_from_ranks
from trainables.evaluation.ranks import load_ranks, ranks_file
from trainables.finetune import finetune
from trainables.spec import Execution, Spec, build_spec
from trainables.storage.cache import Cache
from trainables.trial.trial_folder import TrialFolder

CHANCE = 1 / 150
"""Of finding one of the validation part's pictures first."""


def spec_of(encoder: str) -> tuple[Spec, dict[str, str]]:
    """An encoder as it is, on scenes and captions in two languages."""
    ref, folder = encoders.reference(encoder, "scenes", {})
    test = catalog.reference("scenes", languages=["qaa", "qad"], part="validation")
    spec = build_spec({"encoder": ref, "test": test, "steps": 0})
    return spec, {} if folder is None else {ref.digest: folder}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the pictures decoded, in order."""
    found: list[str] = []

    def spy(picture: Picture) -> object:
        found.append(picture.id)
        return images.open_picture(picture)

    for place in (cells, vision_tower):
        monkeypatch.setattr(place, "open_picture", spy)
    return found


@pytest.mark.parametrize("kind", ["embedded/clip-small", "clip", "blip-2"])
def test_a_reference_line_has_scores_in_both_directions(
    kind: str, tmp_path: Path, decoded: list[str]
) -> None:
    embedded = kind.startswith("embedded/")
    name = kind if embedded else str(make_seeing(kind, tmp_path / kind))
    spec, places = spec_of(name)
    for root in ("first", "second"):
        folder = TrialFolder.of(tmp_path / root, spec.digest)
        for _ in finetune(spec, folder, places=places, cache=Cache(tmp_path / "cache")):
            pass
    assert len(decoded) == len(set(decoded)) == 150
    results = [
        TrialFolder.of(tmp_path / root, spec.digest).result() for root in ("first", "second")
    ]
    assert results[0]["metrics"] == results[1]["metrics"]
    metrics = results[0]["metrics"]
    assert 0 < metrics["hit_at_1/t2i"] < 8 * CHANCE
    path = TrialFolder.of(tmp_path / "first", spec.digest).committed()
    assert {file.name for file in path.glob("ranks-*")} == {"ranks-test.npz", "ranks-test-i2t.npz"}
    names = ranks_file("test"), ranks_file("test", "i2t")
    again = [metrics_from_ranks(load_ranks(Path(f"{path}/{name}"))) for name in names]
    assert again[0] | again[1] == metrics


def test_two_checkpoints_are_one_encoder(tmp_path: Path) -> None:
    text, clip = make_m_clip(tmp_path / "m-clip"), make_seeing("clip", tmp_path / "clip")
    spec, places = spec_of(f"{text}+{clip}")
    assert spec.encoder.pooling == "mean"
    assert spec.encoder.name.endswith("/clip")
    opened = encoders.open_encoder(spec.encoder, "scenes", places, Execution())
    assert isinstance(opened, ImageTextEncoder)
    config = text / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(UserError, match="now has content"):
        encoders.open_encoder(spec.encoder, "scenes", places, Execution())


def test_pictures_need_an_encoder_that_sees(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'embedded/small' reads only text.*embedded/clip-small"):
        spec_of("embedded/small")
    with pytest.raises(UserError, match=r"m-clip' reads only text.*m-clip\+openai/clip"):
        spec_of(str(make_m_clip(tmp_path / "m-clip")))


def test_texts_read_by_a_seeing_encoder_need_no_image_tower(tmp_path: Path) -> None:
    name = str(make_seeing("clip", tmp_path / "clip"))
    ref, folder = encoders.reference(name, "synthetic", {})
    assert folder is not None
    opened = encoders.open_encoder(ref, "synthetic", {ref.digest: folder}, Execution())
    assert not isinstance(opened, ImageTextEncoder)


def test_pictures_are_opened_with_their_benchmark() -> None:
    spec, places = spec_of("embedded/clip-small")
    found = catalog.open_benchmark(spec.test, places)
    assert len(found.pictures) == len(found.corpus[IMAGE])
    assert tuple(found.queries) == ("qaa", "qad")

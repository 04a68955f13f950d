"""Image-text encoders of real architectures, against transformers itself."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from tests.checkpoints import (
    DENSE_WIDTH,
    M_CLIP_WIDTH,
    SEEING,
    WIDTH,
    make_m_clip,
    make_seeing,
)
from trainables.data.pictures import Picture
from trainables.encoders.families import named_defaults
from trainables.encoders.images.image_text import ImageTextEncoder, scores
from trainables.encoders.text import MULTIPLES, TextEncoder
from trainables.encoders.vocabulary import trim_vocabulary
from trainables.errors import UserError

Seeing = Callable[[str], Path]
TEXTS = ["A man is eating food.", "fox", "Человек ест хлеб. " * 9, "The river ends in the sea.", ""]


def pictures(count: int = 5, seed: int = 0) -> list[Picture]:
    """Noise of different sizes and shapes, as PNG files in memory."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        height, width = rng.integers(6, 40, 2)
        content = io.BytesIO()
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(content, format="PNG")
        made.append(Picture(f"p{number}", content.getvalue(), f"p{number}"))
    return made


def opened(many: list[Picture]) -> list[Image.Image]:
    return [Image.open(io.BytesIO(p.source)) for p in many]  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Seeing:
    """Kind of checkpoint (`tests.checkpoints.SEEING`) to a folder as its makers save it."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = make_seeing(kind, tmp_path_factory.mktemp("seeing") / f"tiny-{kind}")
        return made[kind]

    return make


def their_scores(kind: str, folder: Path, limit: int) -> np.ndarray:
    """Cosines of every text with every picture as transformers computes them, tokens included."""
    classes: dict[str, Any] = {
        "clip": (hf.CLIPModel, hf.CLIPImageProcessorPil),
        "metaclip-2": (hf.MetaClip2Model, hf.CLIPImageProcessorPil),
        "siglip": (hf.SiglipModel, hf.SiglipImageProcessorPil),
        "siglip-2": (hf.Siglip2Model, hf.Siglip2ImageProcessorPil),
        "blip-2": (hf.Blip2ForImageTextRetrieval, hf.BlipImageProcessorPil),
    }
    model_class, processor_class = classes[kind]
    model = model_class.from_pretrained(folder).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    images = processor_class.from_pretrained(folder)(images=opened(pictures()), return_tensors="pt")
    padding = "max_length" if kind.startswith("siglip") else True
    texts = tokenizer(
        TEXTS, padding=padding, truncation=True, max_length=limit, return_tensors="pt"
    )
    texts.pop("token_type_ids", None)
    if kind.startswith("siglip"):
        texts.pop("attention_mask")  # its processor makes none
    with torch.no_grad():
        if kind == "blip-2":
            pairs = [
                model(
                    pixel_values=images["pixel_values"],
                    input_ids=texts["input_ids"][[row]].expand(len(pictures()), -1),
                    attention_mask=texts["attention_mask"][[row]].expand(len(pictures()), -1),
                    use_image_text_matching_head=False,
                ).logits_per_image[:, 0]
                for row in range(len(TEXTS))
            ]
            return torch.stack(pairs).numpy()
        found = model(**texts, **images)
    product = found.text_embeds @ found.image_embeds.T
    return np.asarray(product)


@pytest.mark.parametrize("kind", SEEING)
def test_scores_equal_those_of_transformers(kind: str, seeing: Seeing) -> None:
    encoder = ImageTextEncoder.load(seeing(kind))
    ours = scores(
        torch.from_numpy(encoder.encode_queries(TEXTS, "en")),
        torch.from_numpy(encoder.encode_images(pictures())),
    )
    theirs = their_scores(kind, seeing(kind), encoder.ref.max_query_tokens)
    assert theirs.std(1).min() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    limits = {"siglip": 64, "siglip-2": 64, "blip-2": 32}
    assert encoder.ref.max_query_tokens == limits.get(kind, 77)
    assert encoder.similarity == ("max_dot" if kind == "blip-2" else "dot")
    assert encoder.encode_images(pictures()).shape[1:] == {
        "siglip": (WIDTH,), "siglip-2": (WIDTH,), "blip-2": (4, DENSE_WIDTH)
    }.get(kind, (DENSE_WIDTH,))  # fmt: skip


@pytest.mark.parametrize("kind", SEEING)
def test_saved_and_loaded_it_is_the_same(kind: str, seeing: Seeing, tmp_path: Path) -> None:
    encoder = ImageTextEncoder.load(seeing(kind))
    with torch.no_grad():  # as training would: both towers are written, not copied from the source
        for parameter in encoder.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    encoder.save(tmp_path / "saved")
    again = ImageTextEncoder.load(tmp_path / "saved")
    np.testing.assert_allclose(
        again.encode_queries(TEXTS, "en"), encoder.encode_queries(TEXTS, "en"), atol=1e-6
    )
    assert np.array_equal(again.encode_images(pictures()), encoder.encode_images(pictures()))
    assert again.ref.model_dump(exclude={"name", "digest"}) == encoder.ref.model_dump(
        exclude={"name", "digest"}
    )
    assert again.padded == encoder.padded
    text = TextEncoder.load(tmp_path / "saved")
    assert np.array_equal(text.encode_queries(TEXTS, "en"), again.encode_queries(TEXTS, "en"))


@pytest.mark.parametrize("kind", SEEING)
def test_texts_learn_and_frozen_pictures_stay(kind: str, seeing: Seeing) -> None:
    encoder = ImageTextEncoder.load(seeing(kind))
    before = encoder.encode_images(pictures())
    images = torch.from_numpy(before)
    named = dict(encoder.named_parameters())
    assert not any("vision" in name for name in encoder.state_dict())
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-2)
    first = loss_of(encoder, images)
    for _ in range(8):
        optimizer.zero_grad()
        loss = loss_of(encoder, images)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss.item() < first.item() - 0.05
    table = encoder.model.get_input_embeddings().weight  # type: ignore[operator]
    assert any(parameter is table for parameter in named.values())
    assert table.grad is not None
    assert table.grad.abs().sum() > 0
    assert np.array_equal(encoder.encode_images(pictures()), before)


def loss_of(encoder: ImageTextEncoder, images: torch.Tensor) -> torch.Tensor:
    product = scores(encoder(encoder.tokenize_queries(TEXTS)), images) / 0.1
    return torch.nn.functional.cross_entropy(product, torch.arange(len(TEXTS)))


def test_a_live_image_tower_is_trained_and_frozen_again(seeing: Seeing, tmp_path: Path) -> None:
    encoder = ImageTextEncoder.load(seeing("clip"))
    digest, before = encoder.picture_digest, encoder.encode_images(pictures())
    held = len(encoder.state_dict())
    encoder.train_images()
    assert encoder.is_live
    assert encoder.picture_digest is None
    assert len(encoder.state_dict()) > held
    vectors = encoder.embed_pixels(encoder.pixels(pictures()))
    vectors[:, 0].sum().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in encoder.images.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad)
    after = encoder.encode_images(pictures())
    assert not np.allclose(after, before)
    encoder.save(tmp_path / "saved")
    encoder.freeze_images()
    assert len(encoder.state_dict()) == held
    assert encoder.picture_digest is None  # weights that nobody has named
    again = ImageTextEncoder.load(tmp_path / "saved")
    np.testing.assert_allclose(again.encode_images(pictures()), after, atol=1e-6)
    assert again.picture_digest not in (None, digest)


def test_pixels_are_bytes_and_equal_the_processor_after_scaling(seeing: Seeing) -> None:
    encoder = ImageTextEncoder.load(seeing("clip"))
    pixels = encoder.pixels(pictures())
    assert pixels["pixel_values"].dtype == np.uint8
    processor = hf.CLIPImageProcessorPil.from_pretrained(seeing("clip"))
    theirs = processor(images=opened(pictures()), return_tensors="np")["pixel_values"]
    mean, std = (np.array(x)[:, None, None] for x in (processor.image_mean, processor.image_std))
    np.testing.assert_allclose((pixels["pixel_values"] / 255 - mean) / std, theirs, atol=1e-5)


@pytest.mark.parametrize("base", ["xlm-roberta-large", "sentence-transformers/LaBSE"])
def test_m_clip_is_a_masked_mean_and_a_layer_beside_clips_pictures(
    base: str, seeing: Seeing, tmp_path: Path
) -> None:
    made = make_m_clip(tmp_path / "m-clip", base=base)
    encoder = ImageTextEncoder.load(f"{made}+{seeing('clip')}")
    kind = hf.XLMRobertaModel if base.startswith("xlm") else hf.BertModel
    state = torch.load(made / "pytorch_model.bin")
    tower = kind(encoder.model.config).eval()  # type: ignore[arg-type, no-untyped-call]
    tower.load_state_dict(
        {k.removeprefix("transformer."): v for k, v in state.items() if k.startswith("trans")}
    )
    layer = {k.partition(".")[2]: v for k, v in state.items() if k.startswith("Linear")}
    tokens = hf.AutoTokenizer.from_pretrained(made)(TEXTS, padding=True, return_tensors="pt")
    mask = tokens["attention_mask"]
    with torch.no_grad():
        states = tower(input_ids=tokens["input_ids"], attention_mask=mask).last_hidden_state
    mean = (states * mask.unsqueeze(2)).sum(1) / mask.sum(1)[:, None]
    expected = torch.nn.functional.normalize(mean @ layer["weight"].T + layer["bias"], dim=-1)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS, "en"), expected, atol=1e-5)
    theirs = ImageTextEncoder.load(seeing("clip")).encode_images(pictures())
    assert np.array_equal(encoder.encode_images(pictures()), theirs)
    encoder.save(tmp_path / "saved")
    again = ImageTextEncoder.load(tmp_path / "saved")
    np.testing.assert_allclose(again.encode_queries(TEXTS, "en"), expected, atol=1e-5)
    assert again.ref.pooling == "mean"
    assert M_CLIP_WIDTH != DENSE_WIDTH


def test_any_text_tower_gets_a_drawn_layer_to_fit(
    checkpoints: Callable[[str], Path], seeing: Seeing
) -> None:
    name = f"{checkpoints('xlm-roberta')}+{seeing('clip')}"
    encoder, again = ImageTextEncoder.load(name), ImageTextEncoder.load(name)
    assert encoder.drawn
    assert encoder.encode_queries(TEXTS, "en").shape == (len(TEXTS), DENSE_WIDTH)
    assert np.array_equal(encoder.encode_queries(TEXTS, "en"), again.encode_queries(TEXTS, "en"))
    assert encoder.ref.digest not in (
        TextEncoder.load(checkpoints("xlm-roberta")).ref.digest,
        ImageTextEncoder.load(seeing("clip")).ref.digest,
    )
    with pytest.raises(UserError, match=f"texts have vectors of {DENSE_WIDTH}.*of {WIDTH}"):
        ImageTextEncoder.load(f"{checkpoints('labse')}+{seeing('siglip')}")


def test_what_cannot_see_is_refused(checkpoints: Callable[[str], Path], seeing: Seeing) -> None:
    with pytest.raises(UserError, match="a bert has no image tower"):
        ImageTextEncoder.load(checkpoints("bert"))
    with pytest.raises(UserError, match=r"TEXT\+IMAGES"):
        ImageTextEncoder.load("one+two+three")


def test_another_processor_of_the_same_weights_has_vectors_of_its_own(
    seeing: Seeing, tmp_path: Path
) -> None:
    encoder = ImageTextEncoder.load(make_seeing("siglip", tmp_path / "a"))
    settings = json.loads((tmp_path / "a" / "preprocessor_config.json").read_text())
    settings["resample"] = 0
    (tmp_path / "a" / "preprocessor_config.json").write_text(json.dumps(settings))
    other = ImageTextEncoder.load(tmp_path / "a")
    assert other.pixel_digest != encoder.pixel_digest
    assert other.picture_digest != encoder.picture_digest
    settings["image_processor_type"] = "SomeoneElse"
    (tmp_path / "a" / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="names the image processor SomeoneElse"):
        ImageTextEncoder.load(tmp_path / "a")


def test_processors_are_those_without_torchvision(seeing: Seeing) -> None:
    for kind in SEEING:
        images: Any = ImageTextEncoder.load(seeing(kind)).images
        assert type(images.processor).__name__.endswith("Pil")


def test_no_pictures_have_no_vectors(seeing: Seeing) -> None:
    assert ImageTextEncoder.load(seeing("clip")).encode_images([]).shape == (0, DENSE_WIDTH)


def test_order_of_pictures_is_kept_however_many_at_once(seeing: Seeing) -> None:
    encoder = ImageTextEncoder.load(seeing("clip"))
    many = pictures(70)
    alone = np.concatenate([encoder.encode_images([picture]) for picture in many])
    np.testing.assert_allclose(encoder.encode_images(many), alone, atol=1e-6)


@pytest.mark.parametrize("kind", SEEING)
def test_the_text_tower_alone_is_a_text_encoder(kind: str, seeing: Seeing) -> None:
    assert np.array_equal(
        TextEncoder.load(seeing(kind)).encode_queries(TEXTS, "en"),
        ImageTextEncoder.load(seeing(kind)).encode_queries(TEXTS, "en"),
    )


@pytest.mark.parametrize("kind", SEEING)
def test_padding_as_on_a_gpu_stays_within_the_table_of_positions(
    kind: str, seeing: Seeing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLIP's is of 77 positions, which is no multiple of 8."""
    encoder = TextEncoder.load(seeing(kind))
    limit = encoder.ref.max_query_tokens
    rows = [np.full(length, 5, np.int32) for length in (limit, limit - 4)]
    expected = encoder.encode(rows)
    monkeypatch.setitem(MULTIPLES, "cpu", 8)
    for part in (rows, rows[:1], rows[1:]):
        assert encoder.encode(part).shape[1] == expected.shape[1]
    if encoder.ref.pooling == "last":  # of causal attention, which padding does not reach
        np.testing.assert_allclose(encoder.encode(rows), expected, atol=1e-5)


@pytest.mark.parametrize("kind", SEEING)
def test_a_trimmed_vocabulary_and_recomputed_layers_change_no_vector(
    kind: str, seeing: Seeing, tmp_path: Path
) -> None:
    encoder, plain = (ImageTextEncoder.load(seeing(kind)) for _ in range(2))
    tokens = encoder.tokenize_queries(TEXTS[:2])
    table = plain.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    assert trim_vocabulary(encoder, [tokens]) < table
    assert encoder.held_tokens > 1000
    encoder.recompute_layers()
    vectors = encoder.train()(tokens)
    (vectors[0] * vectors[1]).sum().backward()
    words = encoder.model.get_input_embeddings().weight  # type: ignore[operator]
    assert words.grad.abs().sum() > 0
    expected = plain.encode_queries(TEXTS, "en")
    np.testing.assert_allclose(encoder.encode_queries(TEXTS, "en"), expected, atol=1e-6)
    encoder.save(tmp_path / "saved")
    again = ImageTextEncoder.load(tmp_path / "saved")
    np.testing.assert_allclose(again.encode_queries(TEXTS, "en"), expected, atol=1e-6)


class Slow:
    """A tokenizer that says nothing but ids, as SentencePiece's of SigLIP."""

    def __init__(self, fast: Any) -> None:
        self.fast, self.pad_token_id = fast, fast.pad_token_id

    def __call__(self, texts: list[str], **settings: Any) -> hf.BatchEncoding:
        return hf.BatchEncoding({"input_ids": self.fast(texts, **settings)["input_ids"]})

    def decode(self, ids: list[int], **settings: Any) -> str:
        return str(self.fast.decode(ids, **settings))

    def get_vocab(self) -> dict[str, int]:
        return dict(self.fast.get_vocab())


def test_a_tokenizer_that_is_not_fast_gives_the_same(
    seeing: Seeing, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, slow = (ImageTextEncoder.load(seeing("siglip")) for _ in range(2))
    slow.tokenizer = Slow(fast.tokenizer)
    assert np.array_equal(fast.encode_queries(TEXTS, "en"), slow.encode_queries(TEXTS, "en"))
    assert fast.truncated == slow.truncated == {"query": 1, "passage": 0}
    assert slow.tokenizer_digest() != fast.tokenizer_digest()
    whole, cut = slow.passage_reach([TEXTS[0], TEXTS[2] * 3])
    assert whole >= len(TEXTS[0])
    assert 0 < cut < len(TEXTS[2] * 3)

    def lacking(*_: object, **__: object) -> None:
        raise ImportError("\nSiglipTokenizer requires the SentencePiece library")

    monkeypatch.setattr(hf.AutoTokenizer, "from_pretrained", lacking)
    with pytest.raises(UserError, match=r"SentencePiece library.*pip install sentencepiece"):
        ImageTextEncoder.load(seeing("siglip"))


@pytest.mark.parametrize(
    ("name", "pooling", "tokens"),
    [
        ("M-CLIP/LABSE-Vit-L-14+openai/clip-vit-large-patch14", "mean", 512),
        ("google/siglip-base-patch16-256-multilingual", "last", 64),
        ("facebook/metaclip-2-worldwide-s16", "last", 77),
        ("Salesforce/blip2-itm-vit-g", "cls", 32),
        ("intfloat/multilingual-e5-base+openai/clip-vit-base-patch32", "mean", 512),
        ("sentence-transformers/clip-ViT-B-32-multilingual-v1", "mean", 128),
    ],
)
def test_a_plan_knows_encoders_that_are_not_at_hand(name: str, pooling: str, tokens: int) -> None:
    found = named_defaults(name)
    assert (found.pooling, found.tokens) == (pooling, tokens)

"""Every source of pictures: real files as their READMEs count them, and files of their format."""

from __future__ import annotations

import io
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from tests.trainables.data.samples import write_lines, write_text
from trainables.data import catalog
from trainables.data.benchmark import Benchmark, Query
from trainables.data.catalog import (
    load_benchmark,
    load_training,
    open_benchmark,
    open_training,
    reference,
)
from trainables.data.formats.images import open_picture
from trainables.data.pictures import IMAGE
from trainables.data.sources.emoji import GENDER_WORDS, JOINER, families_of
from trainables.data.sources.mmmu import question_text
from trainables.errors import UserError


def counted(found: Benchmark) -> dict[str, tuple[int, int]]:
    """Language to captions and pictures with one."""
    return {
        la: (len(cs), len({picture_of(found, c) for c in cs})) for la, cs in found.queries.items()
    }


def picture_of(found: Benchmark, caption: Query) -> str:
    """Id of the one picture that a caption is of."""
    [picture] = found.qrels[caption.id]
    return picture


def image(shade: int, kind: str = "JPEG") -> bytes:
    """The bytes of an image file that differs from every other shade's."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, kind)
    return buffer.getvalue()


def put(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image(shade, "PNG" if path.suffix == ".png" else "JPEG"))


# ---- the real files


def test_emoji_are_the_published_ones(shared: Path) -> None:
    folder = shared / "data" / "emoji-cldr"
    languages = ["ar", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "vi", "zh"]
    found = load_benchmark("emoji", folder, part="all")
    assert counted(found) == dict.fromkeys(languages, (1576, 1576))
    assert {la: len({c.text for c in cs}) for la, cs in found.queries.items()} == (
        dict.fromkeys(languages, 1576)
    )
    assert found.reversed().judged_in_all_languages
    assert not found.dropped
    assert not any(found.repeated.values())
    joined = [p for p in found.pictures if f"_{JOINER:x}_" in p.id]
    assert len(joined) == 187
    assert all(open_picture(picture).size == (72, 72) for picture in found.pictures[::100])


def test_no_family_of_emoji_is_in_two_parts(shared: Path) -> None:
    folder = shared / "data" / "emoji-cldr"
    parts = {
        part: load_benchmark("emoji", folder, ["de", "en"], part=part)
        for part in ("train", "validation", "test")
    }
    assert {part: len(found.pictures) for part, found in parts.items()} == {
        "train": 1062,
        "validation": 154,
        "test": 360,
    }
    families = {part: {p.cluster for p in found.pictures} for part, found in parts.items()}
    for one, other in itertools.combinations(families.values(), 2):
        assert not one & other
    # the two ways of leaking that the split is there for, counted without the split's own code
    named: dict[str, set[str]] = {}
    composed: dict[str, set[str]] = {}
    for part, found in parts.items():
        for caption in found.queries["en"]:
            words = [w for w in caption.text.lower().split() if w not in ("man", "woman", "person")]
            named.setdefault(" ".join(words), set()).add(part)
            points = picture_of(found, caption).removeprefix("emoji_u").split("_")
            if "200d" in points:
                for point in set(points) - {"200d", "1f468", "1f469", "1f9d1", "2640", "2642",
                                            "27a1", "1f466", "1f467", "1f9d2"}:  # fmt: skip
                    composed.setdefault(point, set()).add(part)
    assert {len(found) for found in named.values()} == {1}
    assert {len(found) for found in composed.values()} == {1}
    rows = load_training("emoji", folder, ["de", "sw"])
    assert set(rows.clusters) == families["train"]
    assert len(rows.questions) == 1062


def test_xflickrco_few_shot_is_the_published_one(shared: Path) -> None:
    folder = shared / "data" / "xflickrco-fewshot"
    several = ["de", "es", "id", "ja", "ru", "tr", "zh"]
    published = {
        "train_10": dict.fromkeys(["es", "id", "ru", "tr", "zh"], (10, 10)),
        "train_100": dict.fromkeys(several, (100, 100)),
        "train_500": dict.fromkeys(["de", "ja"], (500, 500)),
        "train_1000": dict.fromkeys(["de", "ja"], (1000, 1000)),
        "train_100x5": dict.fromkeys(["de", "ja"], (500, 100)),
        "train_200x5": dict.fromkeys(["de", "ja"], (1000, 200)),
    }
    for part, numbers in published.items():
        found = load_benchmark("xflickrco", folder, part=part)
        assert counted(found) == numbers
        assert found.reversed().judged_in_all_languages == ("x5" not in part)
        assert "none of the" in found.refusal
    with pytest.raises(UserError, match=r"xflickrco cannot be trained on: .*none of the 100"):
        load_training("xflickrco", folder, ["de", "ja"], part="train_100x5")
    with pytest.raises(UserError, match=r"xflickrco cannot be trained on: .*none of the 100"):
        reference("xflickrco", folder, ["de"], part="train_100", training=True)
    with pytest.raises(UserError, match="xflickrco cannot be evaluated: there are captions"):
        load_benchmark("xflickrco", folder, part="train_100").refuse_if_incomplete()


def test_multi30k_is_the_published_one(shared: Path) -> None:
    folder = shared / "data" / "multi30k"
    published = {
        "train": dict.fromkeys(["cs", "de", "en", "fr"], (29000, 29000)),
        "val": dict.fromkeys(["cs", "de", "en", "fr"], (1014, 1014)),
        "test_2017_flickr": dict.fromkeys(["de", "en", "fr"], (1000, 1000)),
        "val_x5": dict.fromkeys(["de", "en"], (5070, 1014)),
    }
    for part, numbers in published.items():
        found = load_benchmark("multi30k", folder, part=part)
        assert counted(found) == numbers
        assert found.reversed().judged_in_all_languages == (part != "val_x5")
    few_shot = shared / "data" / "xflickrco-fewshot"
    shown = load_benchmark("xflickrco", few_shot, part="train_1000").pictures
    trained = load_benchmark("multi30k", folder, ["de"], part="train").pictures
    assert {p.cluster for p in shown} <= {p.cluster for p in trained}


def test_the_sample_of_mmmu_pro_is_the_published_one(shared: Path) -> None:
    folder = shared / "data" / "mmmu-pro-sample"
    found = load_benchmark("mmmu", folder)
    assert counted(found) == {"en": (20, 20)}
    assert found.dropped == {"questions with several pictures": 1}
    assert not found.refusal
    assert Counter(picture.cluster for picture in found.pictures) == {
        "ai2d": 10,
        "Clinical_Medicine": 4,
        "Energy_and_Power": 4,
        "Biology": 1,
        "Music": 1,
    }
    assert all(open_picture(picture).mode == "RGB" for picture in found.pictures)
    assert not any("<image" in caption.text for caption in found.queries["en"])
    longer = load_benchmark("mmmu", folder, part="questions+options").queries["en"]
    assert all("(A)" in caption.text for caption in longer)


# ---- files of the same format


def write_xflickrco(folder: Path) -> None:
    rows = [("1007129816", "1007129816.jpg"), ("10287332", "10287332.jpg"),
            (184386, "COCO_val2014_000000184386.jpg")]  # fmt: skip
    for language in ("de", "en"):
        for part, chosen in (("test", rows), ("train_1", rows[:1])):
            write_lines(
                folder / "annotations" / language / f"{part}.jsonl",
                [
                    {"sentences": [f"{language} {name}"], "id": identity, "img_path": name}
                    for identity, name in chosen
                ],
            )
    for shade, (_, name) in enumerate(rows):
        put(folder / ("coco" if "COCO" in name else "flickr30k-images") / name, 80 * shade)


def test_xflickrco_and_its_halves(tmp_path: Path) -> None:
    write_xflickrco(tmp_path)
    found = load_benchmark("xflickrco", tmp_path)
    assert counted(found) == dict.fromkeys(["de", "en"], (3, 3))
    assert found.queries["de"][2].id == "de:184386"
    assert [p.cluster for p in found.pictures][1:] == ["flickr:10287332", "coco:184386"]
    assert found.queries["de"][2].text == "de COCO_val2014_000000184386.jpg"
    assert [open_picture(p).getpixel((0, 0)) for p in found.pictures] == [
        (0, 0, 0), (80, 80, 80), (160, 160, 160)
    ]  # fmt: skip
    for half, ids in (("flickr30k", ["1007129816", "10287332"]), ("coco", ["184386"])):
        part = load_benchmark("xflickrco", tmp_path, ["de"], part=half)
        assert [p.id for p in part.pictures] == ids
        assert tuple(part.queries) == ("de",)
    text_to_image = load_benchmark("xflickrco", tmp_path)
    assert text_to_image.qrels["de:184386"] == {"184386": 1.0}
    assert [c.id for c in text_to_image.corpus[IMAGE]] == ["1007129816", "10287332", "184386"]
    with pytest.raises(UserError, match="part coco is evaluated and not trained on; choose train"):
        load_training("xflickrco", tmp_path, part="coco")


def table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)


def test_xflickrco_of_the_hub(tmp_path: Path) -> None:
    names = ["1007129816.jpg", "10287332.jpg", "COCO_val2014_000000184386.jpg"]
    for language in ("de", "en"):
        rows = [
            {
                "id": str(number),
                "sentences": [f"{language} {number}"],
                "image": {"bytes": image(80 * number), "path": name},
            }
            for number, name in enumerate(names)
        ]
        table(tmp_path / "data" / f"{language}-00000-of-00001.parquet", rows)
    found = load_benchmark("xflickrco", tmp_path)
    assert counted(found) == dict.fromkeys(["de", "en"], (3, 3))
    assert [open_picture(p).getpixel((0, 0)) for p in found.pictures] == [
        (0, 0, 0), (80, 80, 80), (160, 160, 160)
    ]  # fmt: skip
    coco = load_benchmark("xflickrco", tmp_path, part="coco")
    assert [p.id for p in coco.pictures] == ["2"]


def write_multi30k(folder: Path, *, blank: bool = False) -> None:
    names = ["1.jpg", "2.jpg", "3.jpg"]
    for language in ("de", "en"):
        lines = [f"{language} {name}" for name in names]
        write_text(folder / "task1" / "raw" / f"train.{language}.gz", *lines[: 2 if blank else 3])
        for number in "12":
            path = folder / "task2" / "raw" / f"val.{number}.{language}"
            write_text(path, *(f"{line} {number}" for line in lines))
    write_text(folder / "task1" / "image_splits" / "train.txt", *names)
    write_text(folder / "task2" / "image_splits" / "val_images.txt", *names)
    for shade, name in enumerate(names):
        put(folder / "images" / name, shade)


def test_multi30k_in_both_tasks(tmp_path: Path) -> None:
    write_multi30k(tmp_path / "multi30k")
    rows = load_training("multi30k", tmp_path)
    assert rows.queries == {
        "de": ["de 1.jpg", "de 2.jpg", "de 3.jpg"],
        "en": ["en 1.jpg", "en 2.jpg", "en 3.jpg"],
    }
    assert [open_picture(p).getpixel((0, 0)) for p in rows.pictures] == [
        (shade,) * 3 for shade in range(3)
    ]
    five = load_benchmark("multi30k", tmp_path, part="val_x5")
    assert not five.reversed().judged_in_all_languages
    assert [c.text for c in five.queries["de"][:2]] == ["de 1.jpg 1", "de 1.jpg 2"]
    assert five.queries["de"][1].question != five.queries["en"][1].question


def test_captions_that_are_not_as_many_as_images_are_refused(tmp_path: Path) -> None:
    write_multi30k(tmp_path, blank=True)
    with pytest.raises(UserError, match="has 2 captions for 3 images"):
        load_training("multi30k", tmp_path)


def test_pictures_may_lie_beside_the_folders_of_several_sources(tmp_path: Path) -> None:
    write_multi30k(tmp_path / "multi30k")
    (tmp_path / "multi30k" / "images").rename(tmp_path / "images")
    assert len(load_training("multi30k", tmp_path).pictures) == 3


def test_the_folder_of_a_source_may_be_a_link(tmp_path: Path) -> None:
    write_xflickrco(tmp_path / "disk")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "xflickrco").symlink_to(tmp_path / "disk")
    found = load_benchmark("xflickrco", tmp_path / "data", part="flickr30k")
    assert not found.refusal
    for language in ("de", "en"):
        path = tmp_path / "disk" / "annotations" / language / "test.jsonl"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('h": "1', 'h": "flickr30k-images/1'), encoding="utf-8")
    assert not load_benchmark("xflickrco", tmp_path / "data", part="flickr30k").refusal


def test_crossmodal_3600(tmp_path: Path) -> None:
    keys = ["0068deb3", "0b1d3a9a"]
    rows = [
        {"image/key": key, "image/locale": "cs"}
        | {la: {"caption": [f"{la} a {key}", f"{la} b"][:n], "caption/tokenized": []}
           for la, n in (("cs", 2), ("quz", 1), ("fil", 2))}
        for key in keys
    ]  # fmt: skip
    write_lines(tmp_path / "lines" / "captions.jsonl", rows)
    for language, number in (("cs", 2), ("quz", 1)):
        held = [
            {
                "image_id": key,
                "captions": [f"{language} a {key}", f"{language} b"][:number],
                "image": {"bytes": image(shade), "path": None},
            }
            for shade, key in enumerate(keys)
        ]
        table(tmp_path / "tables" / f"{language}-00000-of-00002-0a1b.parquet", held)
    for shade, key in enumerate(keys):
        put(tmp_path / "lines" / "images" / f"{key}.jpg", shade)
    for kind in ("lines", "tables"):
        found = load_benchmark("xm3600", tmp_path / kind, ["cs", "quz"])
        assert counted(found) == {"cs": (4, 2), "quz": (2, 2)}
        assert not found.reversed().judged_in_all_languages
        first = load_benchmark("xm3600", tmp_path / kind, ["cs", "quz"], part="first")
        assert first.reversed().judged_in_all_languages
        assert [c.text for c in first.queries["cs"]] == [f"cs a {key}" for key in keys]
        assert [open_picture(p).getpixel((0, 0)) for p in first.pictures] == [(0,) * 3, (1,) * 3]


def test_xtd10(tmp_path: Path) -> None:
    names = ["COCO_train2014_000000061844.jpg", "COCO_train2014_000000061849.jpg"]
    write_text(tmp_path / "XTD10" / "test_image_names.txt", *names)
    for folder, code in (("XTD10", "ko"), ("MIC", "de"), ("STAIR", "jp")):
        path = tmp_path / folder / f"test_1kcaptions_{code}.txt"
        write_text(path, f"{code} one", f"{code} two")
    for shade, name in enumerate(names):
        put(tmp_path / "train2014" / name, shade)
    found = load_benchmark("xtd10", tmp_path)
    assert counted(found) == dict.fromkeys(["de", "ja", "ko"], (2, 2))
    assert found.queries["ja"][1].text == "jp two"
    assert found.pictures[1].cluster == "coco:61849"
    assert found.reversed().judged_in_all_languages
    with pytest.raises(UserError, match="cannot be trained on: it is evaluated whole"):
        load_training("xtd10", tmp_path)


def exam(identity: str, question: str, options: str = "['a', 'b']", images: int = 1) -> Any:
    held = {
        f"image_{n}": {"bytes": image(n), "path": f"{n}.png"} if n <= images else None
        for n in (1, 2, 3)
    }
    return {"id": identity, "question": question, "options": options, "answer": "A"} | held


def test_mmmu_keeps_questions_about_one_picture(tmp_path: Path) -> None:
    rows = [
        exam("validation_Art_1", "Who painted <image 1>?"),
        exam("validation_Art_2", "Compare <image 1> and <image 2>.", images=2),
        exam("validation_Art_3", "Which? <image 1>", "['<image 2>', 'b']"),
        exam("validation_Art_4", "<image 1>"),
        exam("validation_Art_5", "None", images=0),
    ]
    table(tmp_path / "Art" / "validation-00000-of-00001.parquet", rows)
    music = [exam("validation_Music_1", "Who painted <image 1>?", "[]")]
    table(tmp_path / "Music" / "validation-00000-of-00001.parquet", music)
    found = load_benchmark("mmmu", tmp_path, part="questions+options")
    assert [(c.id, c.text) for c in found.queries["en"]] == [
        ("en:validation_Art_1", "Who painted? (A) a (B) b"),
        ("en:validation_Music_1", "Who painted?"),
    ]
    assert found.dropped == {
        "questions with several pictures": 1,
        "questions whose options are pictures": 1,
        "questions without words": 1,
        "questions without a picture": 1,
    }
    assert [p.cluster for p in found.pictures] == ["Art", "Music"]
    assert load_benchmark("mmmu", tmp_path).repeated == {"en": 2}
    assert open_picture(found.pictures[1]).getpixel((0, 0)) == (1, 1, 1)


def test_the_mark_of_a_picture_goes_from_its_question() -> None:
    assert question_text("<image 1> As  in <image 1> , what?", ()) == "As in, what?"


@pytest.mark.parametrize("options", ["__import__('os').abort()", "{'a': 1}", "['a'"])
def test_options_that_are_no_list_are_named_and_never_run(tmp_path: Path, options: str) -> None:
    path = tmp_path / "Art" / "validation-00000-of-00001.parquet"
    table(path, [exam("validation_Art_1", "Who? <image 1>", options), exam("v_2", "W <image 1>")])
    with pytest.raises(UserError, match=r"validation-0.*row 1: 'options' is "):
        load_benchmark("mmmu", tmp_path)
    found = load_benchmark("mmmu", tmp_path, skip_malformed=True)
    assert len(found.pictures) == 1


def test_xmmmu_is_parallel_in_its_languages(tmp_path: Path) -> None:
    for language in ("ar", "en", "hi"):
        rows = [exam(f"validation_Art_{n}", f"{language} {n} <image 1>") for n in (1, 2)]
        table(tmp_path / "data" / f"{language}-00000-of-00001.parquet", rows)
    found = load_benchmark("xmmmu", tmp_path)
    assert counted(found) == dict.fromkeys(["ar", "en", "hi"], (2, 2))
    assert found.reversed().judged_in_all_languages
    assert {c.question for c in found.queries["hi"]} == {"validation_Art_1", "validation_Art_2"}


def test_variants_of_an_emoji_are_one_family() -> None:
    named = {
        (0x1F3C3,): "person running",
        (0x1F3C3, JOINER, 0x2640): "woman running",
        (0x1F468, JOINER, 0x1F680): "man astronaut",
        (0x1F9D1, JOINER, 0x1F680): "astronaut",
        (0x1F680,): "rocket",
        (0x1F468,): "man",
        (0x1F408,): "cat",
        (0x1F408, JOINER, 0x2B1B): "black cat",
        (0x1F426, JOINER, 0x2B1B): "black bird",
        (0x1F415,): "dog",
    }
    found = families_of(named)
    assert sorted(Counter(found.values()).items()) == [
        ("astronaut", 3), ("black bird", 3), ("dog", 1), ("man", 1), ("person running", 2)
    ]  # fmt: skip
    assert families_of(dict(reversed(named.items()))) == found
    assert "woman" in GENDER_WORDS


def test_emoji_of_a_clone_of_their_repositories(tmp_path: Path) -> None:
    names = {"😀": "grinning face", "👩‍🚀": "woman astronaut", "🚀": "rocket", "☠️": "skull"}
    for language in ("en", "sw"):
        held = {e: {"default": ["x"], "tts": [f"{language} {n}"]} for e, n in names.items()}
        held["→"] = {"default": ["arrow"], "tts": [f"{language} arrow"]}
        write_lines(
            tmp_path / "annotations" / language / "annotations.json.gz",
            [{"annotations": {"annotations": held}}],
        )
    for size, shade in (("32", 1), ("72", 2), ("128", 3)):
        for code in ("1f600", "1f469_200d_1f680", "1f680", "2620", "1f9ff"):
            put(tmp_path / "png" / size / f"emoji_u{code}.png", shade)
    found = load_benchmark("emoji", tmp_path, ["sw"], part="all")
    assert {(picture_of(found, c), c.text) for c in found.queries["sw"]} == {
        ("emoji_u1f600", "sw grinning face"),
        ("emoji_u1f469_200d_1f680", "sw woman astronaut"),
        ("emoji_u1f680", "sw rocket"),
        ("emoji_u2620", "sw skull"),
    }
    assert {open_picture(p).getpixel((0, 0)) for p in found.pictures} == {(2, 2, 2)}
    assert found.dropped == {"pictures without a name": 1}
    assert len({p.cluster for p in found.pictures}) == 3
    write_lines(tmp_path / "annotations" / "sw" / "annotations.json.gz", [{"annotations": {}}])
    with pytest.raises(UserError, match=r"annotations.json.gz has no annotations.annotations"):
        load_benchmark("emoji", tmp_path, ["sw"])
    (tmp_path / "annotations" / "en" / "annotations.json.gz").unlink()
    with pytest.raises(UserError, match=r"no annotations\.json of language 'en'"):
        load_benchmark("emoji", tmp_path, ["sw"])


# ---- people's own pictures


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Three pictures with captions in two languages."""
    folder = tmp_path / "own"
    rows = [
        {
            "id": f"p{number}",
            "image": f"photos/{number}.png",
            "captions": {"de": f"Bild {number}", "en": [f"picture {number}"]},
            "family": f"f{number % 2}",
        }
        for number in range(3)
    ]
    write_lines(folder / "captions.jsonl", rows)
    for number in range(3):
        put(folder / "photos" / f"{number}.png", number)
    return folder


def changed(folder: Path, number: int, **values: Any) -> None:
    """Change a row of the captions."""
    path = folder / "captions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[number] |= values
    write_lines(path, rows)


@pytest.mark.parametrize("name", ["captions", "flickr30k_x"])
def test_own_captions(own: Path, name: str) -> None:
    found = load_benchmark(name, own)
    assert counted(found) == dict.fromkeys(["de", "en"], (3, 3))
    assert found.reversed().judged_in_all_languages
    assert [p.cluster for p in found.pictures] == ["f0", "f1", "f0"]
    assert found.reversed().qrels["p1"] == {"de:p1": 1.0, "en:p1": 1.0}
    rows = load_training(name, own)
    assert rows.questions == ["p0", "p1", "p2"]
    assert rows.clusters == ["f0", "f1", "f0"]


def test_captions_may_be_several_or_missing_in_a_language(own: Path) -> None:
    changed(own, 0, captions={"de": ["eins", "zwei"], "en": "one"})
    changed(own, 2, captions={"de": "nur deutsch"})
    found = load_benchmark("captions", own)
    assert not found.reversed().judged_in_all_languages
    assert [c.id for c in found.queries["de"]] == ["de:p0#0", "de:p0#1", "de:p1", "de:p2"]
    rows = load_training("captions", own, aligned=False)
    assert list(rows.questions) == ["p0#0", "p0#1", "p1", "p2"]
    assert rows.queries["en"] == ["one", None, "picture 1", None]
    assert load_training("captions", own).questions == ["p0#0", "p1"]
    english = load_benchmark("captions", own, ["en"])
    assert [p.id for p in english.pictures] == ["p0", "p1"]
    assert english.dropped == {"pictures without a caption in these languages": 1}


def test_a_picture_that_no_row_names_is_counted(own: Path) -> None:
    put(own / "photos" / "extra.JPG", 9)
    found = load_benchmark("captions", own)
    assert found.dropped == {"image files that no row names": 1}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image": "../../etc/passwd"}, "'../../etc/passwd' is not the name of a file inside"),
        ({"image": "/etc/passwd"}, "is not the name of a file inside"),
        ({"image": "c:\\photos\\1.png"}, "is not the name of a file inside"),
        ({"image": "photos/0.png"}, "image 'photos/0.png' is used twice"),
        ({"captions": {}}, "'captions' must map languages.*a picture without a caption"),
        ({"captions": {"de": " "}}, "captions of 'de' must be texts that are not blank"),
        ({"captions": {"de": []}}, "captions of 'de' must be texts that are not blank"),
        ({"id": "p0"}, "id 'p0' is used twice"),
        ({"image": None}, "'image' is NoneType, not str"),
    ],
)
def test_malformed_captions_are_named_or_left_out(
    own: Path, values: dict[str, Any], words: str
) -> None:
    changed(own, 1, **values)
    with pytest.raises(UserError, match=rf"captions.jsonl, row 2: .*{words}"):
        load_benchmark("captions", own)
    found = load_benchmark("captions", own, skip_malformed=True)
    assert [p.id for p in found.pictures] == ["p0", "p2"]
    assert found.dropped["malformed rows of captions.jsonl"] == 1


def test_a_caption_without_its_picture_is_named_or_left_out(own: Path) -> None:
    (own / "photos" / "1.png").unlink()
    with pytest.raises(UserError, match=r"1 of 3 pictures are not in .*photos/1.png of 'p1'"):
        load_benchmark("captions", own)
    with pytest.raises(UserError, match="1 of 3 pictures are not in"):
        reference("captions", own)
    found = load_benchmark("captions", own, skip_malformed=True)
    assert [p.id for p in found.pictures] == ["p0", "p2"]
    assert found.dropped == {"pictures that are not there": 1}


def test_a_damaged_picture_is_named_or_left_out(own: Path) -> None:
    path = own / "photos" / "1.png"
    path.write_bytes(path.read_bytes()[:-20])
    for load in (load_benchmark, load_training, reference):
        with pytest.raises(UserError, match=rf"picture 'p1' \({path}\): it cannot be decoded"):
            load("captions", own)
    ref = reference("captions", own, skip_malformed=True)
    found = open_benchmark(ref, {ref.digest: str(own)})
    assert [p.id for p in found.pictures] == ["p0", "p2"]
    assert found.dropped == {"pictures that cannot be read": 1}


def test_a_link_that_leads_elsewhere_is_refused(own: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere.png", 7)
    (own / "photos" / "1.png").unlink()
    (own / "photos" / "1.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(UserError, match=r"leads to .*elsewhere.png, outside of"):
        load_benchmark("captions", own)


def test_a_name_of_two_files_is_refused(own: Path) -> None:
    changed(own, 1, image="1.png")
    assert load_benchmark("captions", own).pictures[1].source == own / "photos" / "1.png"
    put(own / "copies" / "1.png", 9)
    with pytest.raises(UserError, match=r"image 1.png lies in .*copies/1.png and in .*photos"):
        load_benchmark("captions", own)


def test_parts_are_folders(own: Path) -> None:
    own.rename(own.parent / "train")
    found = load_training("captions", own.parent, part="train")
    assert len(found.questions) == 3
    with pytest.raises(UserError, match=r"no file captions\.jsonl in"):
        load_benchmark("captions", own.parent, part="test")


# ---- names and contents


def test_pictures_and_captions_are_named_by_content(own: Path) -> None:
    ref = reference("captions", own, training=True)
    places = {ref.digest: str(own)}
    assert open_training(ref, places).questions == ["p0", "p1", "p2"]
    put(own / "photos" / "1.png", 200)
    assert reference("captions", own, training=True).digest != ref.digest
    with pytest.raises(UserError, match="now has content"):
        open_training(ref, places)
    put(own / "photos" / "1.png", 1)
    assert reference("captions", own, training=True) == ref
    changed(own, 1, family="other")
    with pytest.raises(UserError, match="now has content"):
        open_training(ref, places)


def test_what_the_table_says_of_pictures() -> None:
    assert {name for name, source in catalog.table().items() if source.modality == "image"} == {
        "captions", "emoji", "flickr30k_x", "mmmu", "multi30k", "scenes", "scenes:null",
        "scenes:unrelated", "xflickrco", "xm3600", "xmmmu", "xtd10",
    }  # fmt: skip
    assert catalog.has_pictures("emoji")
    assert not catalog.has_pictures("tydiqa")
    assert catalog.source("multi30k").kind == "both"
    assert catalog.own_part("xflickrco") == "train_100"
    with pytest.raises(UserError, match="no language 'fr'"):
        load_training("scenes").restrict(["fr"])

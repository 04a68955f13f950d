"""The `data` command on pictures, and what stands in for a benchmark that nobody knows."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from study.cli.app import main
from study.spaces.resolve import Resolver
from study.spaces.settings import Settings
from tests.trainables.data.samples import write_lines


def write_photographs(folder: Path) -> None:
    """xFlickr&CO's test part of one photograph a half, in two languages."""
    names = ["1007129816.jpg", "COCO_val2014_000000184386.jpg"]
    for language in ("de", "en"):
        write_lines(
            folder / "annotations" / language / "test.jsonl",
            [{"sentences": [f"{language} {n}"], "id": n[:9], "img_path": n} for n in names],
        )
    for name in names:
        buffer = io.BytesIO()
        Image.new("RGB", (9, 9)).save(buffer, "JPEG")
        (folder / name).write_bytes(buffer.getvalue())


def test_pictures_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photographs(tmp_path)
    assert main(["data", "check", str(tmp_path)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "part coco: differs: 1 pictures, captions/pictures: de 1/1, en 1/1" in said
    assert "de should have 1000 captions" in said
    (tmp_path / "1007129816.jpg").write_bytes(b"<html>")
    assert main(["data", "check", str(tmp_path)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "part flickr30k: malformed: xflickrco: picture '100712981' " in said
    assert "part coco: differs" in said


def test_captions_without_any_picture_are_counted(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(shared / "data" / "xflickrco-fewshot")
    assert main(["data", "check", folder, "--name", "xflickrco"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "part train_10: whole: 10 pictures, captions/pictures: es 10/10" in said
    assert "none of the 10 pictures, such as 3497238310.jpg, is in" in said


def test_flickr30k_x_is_own_files_or_the_half_of_xflickrco(tmp_path: Path) -> None:
    write_photographs(tmp_path / "xflickrco")
    settings = Settings.model_validate({"benchmark": "flickr30k_x"})
    ref = Resolver(tmp_path).test("flickr30k_x", settings, None)
    assert (ref.name, ref.part, ref.instead_of) == ("xflickrco", "flickr30k", "flickr30k_x")
    rows = [{"id": "1", "image": "1007129816.jpg", "captions": {"fr": "un", "de": "eins"}}]
    write_lines(tmp_path / "flickr30k_x" / "captions.jsonl", rows)
    photograph = tmp_path / "xflickrco" / "1007129816.jpg"
    photograph.rename(tmp_path / "flickr30k_x" / photograph.name)
    ref = Resolver(tmp_path).test("flickr30k_x", settings, None)
    assert (ref.name, ref.languages, ref.instead_of) == ("flickr30k_x", ("de", "fr"), None)

"""Pictures of every mode become RGB; what cannot be decoded is named, and never hurts."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from trainables.data.formats.images import MAX_PIXELS, UNREADABLE, check_pictures, open_picture
from trainables.data.formats.tables import filled, rows_of
from trainables.data.pictures import Picture, TableImage
from trainables.errors import UserError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(source: bytes | Path | TableImage) -> tuple[int, ...]:
    """The first pixel, once decoded."""
    image = open_picture(Picture("p", source, "p"))
    assert image.mode == "RGB"
    found = image.getpixel((0, 0))
    assert isinstance(found, tuple)
    return found


def claims(width: int, height: int) -> bytes:
    """A PNG file of some bytes that claims a size."""
    chunks = b""
    for name, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ):
        chunks += struct.pack(">I", len(body)) + name + body
        chunks += struct.pack(">I", zlib.crc32(name + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def half_clear(mode: str) -> bytes:
    """Black, wholly transparent."""
    return encoded(Image.new(mode, (4, 4), (0,) * len(mode)))


def palette() -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    return encoded(image, transparency=1)


MODES = {
    "RGB": (encoded(Image.new("RGB", (4, 4), (1, 2, 3))), (1, 2, 3)),
    "greyscale": (encoded(Image.new("L", (4, 4), 77)), (77, 77, 77)),
    "one bit": (encoded(Image.new("1", (4, 4), 1)), (255, 255, 255)),
    "RGBA": (half_clear("RGBA"), (255, 255, 255)),
    "LA": (half_clear("LA"), (255, 255, 255)),
    "palette": (palette(), (255, 255, 255)),
    "16 bits": (
        encoded(Image.fromarray(np.full((4, 4), 0x8080, dtype=np.uint16))),
        (128, 128, 128),
    ),
    "CMYK": (encoded(Image.new("CMYK", (4, 4), (0, 0, 0, 255)), "TIFF"), (0, 0, 0)),
    "GIF": (encoded(Image.new("P", (4, 4), 0), "GIF"), (0, 0, 0)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(mode: str) -> None:
    content, colour = MODES[mode]
    assert pixel(content) == colour


def test_cmyk_jpeg_becomes_rgb() -> None:
    found = pixel(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert found[0] > 240
    assert max(found[1:]) < 15


def test_orientation_is_applied() -> None:
    image = Image.new("RGB", (6, 2))
    exif = image.getexif()
    exif[0x0112] = 6
    content = encoded(image, "JPEG", exif=exif)
    assert open_picture(Picture("p", content, "p")).size == (2, 6)


BROKEN = {
    "empty": (b"", "there are no bytes"),
    "text": (b"<html>not found</html>", "no image of a known format"),
    "cut PNG": (encoded(Image.radial_gradient("L"))[:-900], "cannot be decoded"),
    "cut JPEG": (encoded(Image.radial_gradient("L"), "JPEG")[:-900], "cannot be decoded"),
    "bomb": (claims(20_000, 20_000), "20000 by 20000 pixels|far more pixels"),
    "just too large": (claims(8_000, 8_001), "8000 by 8001 pixels, and up to 64 million"),
    "program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a known"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_named_with_its_file(kind: str, tmp_path: Path) -> None:
    content, words = BROKEN[kind]
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    picture = Picture("cat-7", path, "cats")
    with pytest.raises(UserError, match=rf"'cat-7' \({path}\): .*({words})"):
        open_picture(picture)
    with pytest.raises(UserError, match=rf"album: picture 'cat-7' .*({words}).*skip_malformed"):
        check_pictures([picture], "album")


def test_a_size_is_refused_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(UserError, match="make it smaller"):
        open_picture(Picture("p", claims(side, side), "p"))


def test_a_damaged_byte_of_a_png_is_found_by_its_checksum(tmp_path: Path) -> None:
    content = bytearray(encoded(Image.radial_gradient("L")))
    content[len(content) // 2] ^= 1
    with pytest.raises(UserError, match="cannot be decoded"):
        check_pictures([Picture("p", bytes(content), "p")], "album")


def test_missing_pictures_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.jpg", tmp_path):
        with pytest.raises(UserError, match=r"picture 'p' .*(No such file|cannot be|no image)"):
            open_picture(Picture("p", path, "p"))


def test_what_cannot_be_read_is_left_out_and_counted_where_asked(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(encoded(Image.new("RGB", (2, 2))))
    pictures = [Picture("a", b"", "a"), Picture("b", good, "b"), Picture("c", tmp_path / "x", "c")]
    skipped: Counter[str] = Counter()
    assert [p.id for p in check_pictures(pictures, "album", skipped)] == ["b"]
    assert skipped == {UNREADABLE: 2}


def test_a_file_that_is_replaced_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"no image")
    pictures = [Picture("p", path, "p")]
    with pytest.raises(UserError):
        check_pictures(pictures, "album")
    path.write_bytes(encoded(Image.new("RGB", (2, 2))))
    assert check_pictures(pictures, "album") == pictures


def test_other_ends_of_jpeg_files_are_no_damage() -> None:
    content = encoded(Image.new("RGB", (8, 8)), "JPEG") + bytes(5000)
    assert check_pictures([Picture("p", content, "p")], "album")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Five rows in groups of two: the hub's images, bare bytes, and rows without one."""
    images = [encoded(Image.new("RGB", (2, 2), (row, 0, 0))) for row in range(5)]
    columns = pyarrow.table(
        {
            "id": [f"q{row}" for row in range(5)],
            "image_1": [{"bytes": content, "path": None} for content in images],
            "image_2": pyarrow.array(
                [None, {"bytes": None, "path": "/etc/passwd"}, None, None, None],
                pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
            ),
            "raw": [content if row else None for row, content in enumerate(images)],
        }
    )
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(columns, path, row_group_size=2)
    return path


def test_cells_of_tables_are_read_by_row_group(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = []
    read = pyarrow.parquet.ParquetFile.read_row_group

    def noted(self: object, group: int, **options: object) -> object:
        groups.append(group)
        return read(self, group, **options)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read_row_group", noted)
    for row in range(5):
        assert pixel(TableImage(table, "image_1", row)) == (row, 0, 0)
    assert groups == [0, 1, 2]
    assert pixel(TableImage(table, "raw", 3)) == (3, 0, 0)


@pytest.mark.parametrize(
    ("column", "row", "words"),
    [
        ("image_1", 9, "the table has 5 rows"),
        ("image_2", 0, "there are no bytes"),
        ("image_2", 1, "the path '/etc/passwd' instead of the image"),
        ("gone", 1, "the table cannot be read"),
    ],
)
def test_cells_without_an_image_are_named(table: Path, column: str, row: int, words: str) -> None:
    picture = Picture("q", TableImage(table, column, row), "q")
    with pytest.raises(UserError, match=rf"column {column}, row {row + 1}\): .*{words}"):
        open_picture(picture)
    skipped: Counter[str] = Counter()
    assert not check_pictures([picture], "mmmu", skipped)


def test_which_rows_have_images_is_known_without_reading_them(table: Path) -> None:
    found = filled(table, "mmmu", ["image_1", "image_2", "image_3", "raw"])
    assert found[:3] == [("image_1",), ("image_1", "image_2", "raw"), ("image_1", "raw")]
    rows = rows_of(table, "mmmu", ["id"], lambda n, row: (n, row), None, ["x", "image_1.path"])
    assert list(rows)[4] == (4, {"id": "q4", "image_1": {"path": None}})
    with pytest.raises(UserError, match=r"has no column 'question'; it has id, image_1"):
        list(rows_of(table, "mmmu", ["question"], lambda _, row: row))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_files_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(encoded(Image.new("RGB", (2, 2))))
    path.chmod(0)
    with pytest.raises(UserError, match="Permission denied"):
        open_picture(Picture("p", path, "p"))

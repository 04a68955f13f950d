"""Small files that claim to be large, or become it: refused by name, soon, in little memory."""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from tests.checkpoints import make_checkpoint
from trainables.data import catalog, fetch
from trainables.data.catalog import load_benchmark
from trainables.data.formats import reading
from trainables.data.formats.images import check_pictures, open_picture
from trainables.data.pictures import Picture
from trainables.encoders import registry as encoders
from trainables.errors import DataError, UserError
from trainables.evaluation.ranks import load_ranks
from trainables.spec import Execution
from trainables.storage.cache import Cache
from trainables.training.tokens import tokenised

BLOCK = 1 << 24


def gzipped(path: Path, block: bytes) -> None:
    with gzip.open(path, "wb", 6) as file:
        for _ in range(5):
            file.write(block)


def zipped(path: Path, name: str, block: bytes) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as file,
    ):
        for _ in range(5):
            file.write(block)


@pytest.mark.parametrize("block", [b"\0" * BLOCK, b'{"a": "%s"}\n' % (b"a" * 4086) * (BLOCK >> 12)])
def test_archives_that_unpack_without_end_are_refused(tmp_path: Path, block: bytes) -> None:
    gzipped(tmp_path / "eng_Latn.jsonl.gz", block)
    with pytest.raises(DataError) as refused:
        load_benchmark("belebele", tmp_path, ["en"], skip_malformed=True)
    assert refused.value.file == str(tmp_path / "eng_Latn.jsonl.gz")
    zipped(tmp_path / "mkqa_dev.zip", "mkqa-en.jsonl", block)
    with pytest.raises(DataError) as refused:
        load_benchmark("mkqa", tmp_path, ["en"], skip_malformed=True)
    assert refused.value.file.startswith(str(tmp_path / "mkqa_dev.zip"))


def test_lines_that_are_blank_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_bytes(b"\n" * (reading.MOST_BLANK + 2))
    with pytest.raises(DataError) as refused:
        list(reading.lines(tmp_path / "queries.jsonl", "jsonl"))
    assert refused.value.row == reading.MOST_BLANK + 1


def test_a_text_of_json_with_too_many_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "xquad.en.json"
    path.write_bytes(b"[" + b"0," * reading.MOST_VALUES + b"0,0]")
    with pytest.raises(DataError):
        reading.json_document(path, "xquad")


def parquet(folder: Path, text: str, rows: int) -> Path:
    """A table in mteb's layout whose one text stands once in the file and in every row."""
    tables = {
        "queries": pyarrow.table({"_id": ["q1"], "text": ["which"]}),
        "qrels": pyarrow.table({"query-id": ["q1"], "corpus-id": ["d0"], "score": [1]}),
        "corpus": pyarrow.table({"_id": [f"d{n}" for n in range(rows)], "text": [text] * rows}),
    }
    for name, table in tables.items():
        path = folder / f"sw-{name}" / "test-00000-of-00001.parquet"
        path.parent.mkdir()
        pyarrow.parquet.write_table(
            table, path, dictionary_pagesize_limit=1 << 30, compression="zstd"
        )
    return folder / "sw-corpus" / "test-00000-of-00001.parquet"


@pytest.mark.parametrize(("text", "rows"), [("a" * 1000, 100_000), ("a" * (1 << 26), 4)])
def test_a_table_whose_values_explode_is_refused(tmp_path: Path, text: str, rows: int) -> None:
    path = parquet(tmp_path, text, rows)
    with pytest.raises(DataError) as refused:
        load_benchmark("mteb", tmp_path, ["sw"])
    assert refused.value.file == str(path)


def test_a_fetched_archive_is_looked_at_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for content in (None, b"no archive", b"PK\x05\x06" + b"\xff" * 18):
        if content is None:
            zipped(path, "a.txt", b"\0" * BLOCK)
        else:
            path.write_bytes(content)
        with pytest.raises(DataError) as refused:
            fetch.unpack(catalog.source("mlqa"), path)
        assert refused.value.file == str(path)
        assert list(tmp_path.iterdir()) == [path]


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width: int, height: int, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 + width // 8) * min(height, 100))
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


BOMB = zlib.compress(b"a" * (1 << 26), 9)
PICTURES = {
    "60,000 by 60,000": png(60_000, 60_000),
    "2**31 wide": png(2**31 - 1, 1),
    "a long text": png(8, 8, chunk(b"zTXt", b"k\0\0" + BOMB)),
    "a long profile": png(8, 8, chunk(b"iCCP", b"k\0\0" + BOMB)),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    "torn": png(800, 800)[:60],
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_that_are_none_or_too_large_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(PICTURES[name])
    for source in (path, PICTURES[name]):
        picture = Picture("1", source, "1.png")
        with pytest.raises(UserError):
            check_pictures([picture], "x")
        with pytest.raises(UserError):
            open_picture(picture)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_of_thousands_of_frames_one_is_decoded(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("L", (8, 8), number % 200) for number in range(300)]
    path = tmp_path / f"1.{kind.lower()}"
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    picture = Picture("1", path, str(path))
    assert check_pictures([picture], "x") == [picture]
    assert open_picture(picture).size == (8, 8)


def test_deep_and_transparent_pixels_become_the_nearest_eight_bits() -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    clear = np.random.default_rng(0).integers(0, 256, (600, 40, 4), dtype=np.uint8)
    white = Image.alpha_composite(Image.new("RGBA", (40, 600), "white"), Image.fromarray(clear))
    expected = {
        "deep": np.rint(deep * (255 / 65535)).astype(np.uint8)[..., None].repeat(3, -1),
        "clear": np.asarray(white.convert("RGB")),
    }
    for name, drawn in {"deep": Image.fromarray(deep), "clear": Image.fromarray(clear)}.items():
        content = io.BytesIO()
        drawn.save(content, "PNG")
        shown = open_picture(Picture("1", content.getvalue(), "1.png"))
        assert np.array_equal(np.asarray(shown), expected[name])


def headed(shape: tuple[int, ...]) -> bytes:
    content = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue()


@pytest.mark.parametrize("content", [headed((10**12,)), headed((0,)) + b"\0" * (1 << 26)])
def test_ranks_that_claim_or_become_too_much_are_refused(tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "ranks.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("format.npy", content)
    with pytest.raises(UserError):
        load_ranks(tmp_path / "ranks.npz")


def changed(folder: Path, key: str, value: int) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))


def claiming(folder: Path, header: bytes, size: int) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + header)


HUGE = json.dumps({"a": {"dtype": "F32", "shape": [10**9, 10**3], "data_offsets": [0, 4 * 10**12]}})
CHECKPOINTS: dict[str, Callable[[Path], object]] = {
    "words": lambda folder: changed(folder, "vocab_size", 10**9),
    "width": lambda folder: changed(folder, "hidden_size", 1_200_000),
    "layers": lambda folder: changed(folder, "num_hidden_layers", 10**9),
    "positions": lambda folder: changed(folder, "max_position_embeddings", 10**9),
    "header": lambda folder: claiming(folder, b"{}", 8 << 30),
    "tensors": lambda folder: claiming(folder, HUGE.encode(), len(HUGE)),
    "deep": lambda folder: (folder / "tokenizer.json").write_text("[" * 10**5 + "]" * 10**5),
    "long": lambda folder: (folder / "tokenizer.json").open("ab").truncate(500_000_000),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_that_claim_too_much_are_refused(tmp_path: Path, name: str) -> None:
    make_checkpoint("bert", tmp_path)
    CHECKPOINTS[name](tmp_path)

    def opened() -> None:
        ref, place = encoders.reference(str(tmp_path), "xquad", {})
        encoders.open_encoder(ref, "xquad", {ref.digest: str(place)}, Execution())

    with pytest.raises(DataError) as refused:
        opened()
    assert refused.value.file.startswith(str(tmp_path))


@pytest.mark.parametrize("file", ["ids.npy", "ends.npy"])
@pytest.mark.parametrize("content", [None, headed((10**12,)), b""])
def test_a_damaged_entry_of_the_cache_is_made_anew(
    tmp_path: Path, file: str, content: bytes | None
) -> None:
    def take() -> list[list[int]]:
        rows = tokenised(["ab", "c"], tokenize, "t", "query", Cache(tmp_path))
        return [list(row) for row in rows]

    def tokenize(texts: object) -> list[np.ndarray[tuple[int], np.dtype[np.int32]]]:
        return [np.array([ord(letter) for letter in text], np.int32) for text in list(texts)]  # type: ignore[call-overload]

    before = take()
    [path] = tmp_path.glob(f"*/{file}")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\7" if content is None else content)
    assert take() == before
    assert path.read_bytes() == whole


LARGE = """
import re, sys
from pathlib import Path
from trainables.data.formats.images import check_pictures, open_picture
from trainables.data.pictures import Picture
path = Path(sys.argv[1])
check_pictures([Picture("1", path, "1")], "x")
open_picture(Picture("1", path, "1"))
# a process begins with its parent's ru_maxrss
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGBA", "I;16"])
def test_the_largest_picture_takes_less_than_a_gigabyte(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (8000, 8000)).save(tmp_path / "1.png")
    command = [sys.executable, "-c", LARGE, str(tmp_path / "1.png")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 1_000_000

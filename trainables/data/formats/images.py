"""Decode image files to RGB, or report which one cannot be decoded and why.

The files come from strangers: only formats that PIL decodes itself are opened, sizes are checked
before anything is decoded, and no name leads out of the data folder.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from trainables.data.formats.reading import SKIP, BadRowError, Skipped
from trainables.data.formats.tables import cell_bytes
from trainables.data.pictures import Picture
from trainables.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats that are opened. PIL knows more, of which EPS starts another program."""

MAX_PIXELS = 64_000_000
"""Most pixels that are decoded (8,000 by 8,000); a file of a few kilobytes can claim far more."""

UNREADABLE = "pictures that cannot be read"
"""Key in `Benchmark.dropped` of images left out because of `skip_malformed`."""

_BAND = 256
_TAIL_BYTES = 1024
_FAULTS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError,
           OverflowError, struct.error, zlib.error)  # fmt: skip
"""Errors that PIL's decoders are known to raise on damaged files."""


def open_picture(picture: Picture) -> Image.Image:
    """Decode an image.

    EXIF orientation is applied; transparent parts become white; greyscale, palette and CMYK
    become RGB; 16 bits per channel become 8; only the first frame of an animation is decoded.

    Returns:
        Mode RGB, 8 bits per channel.

    Raises:
        UserError: The file is missing, empty, damaged, of an unknown format, or has more than
            `MAX_PIXELS`; the message names image and file.
    """
    try:
        with _opened(picture) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
    except BadRowError as error:
        raise UserError(_message(picture, str(error))) from None
    except _FAULTS as error:
        raise UserError(_message(picture, f"it cannot be decoded ({_first_line(error)})")) from None


def check_pictures(
    pictures: Sequence[Picture], name: str, skipped: Skipped = None
) -> list[Picture]:
    """Check the header and end of every image, long before all of them are decoded.

    Sizes are read, PNG checksums compared, JPEG end markers looked for; other formats, and JPEG
    files without an end marker, are decoded.

    Args:
        pictures: Images to be opened later.
        name: Name of the source, for messages.
        skipped: Counts unreadable images, which are left out; None refuses them.

    Returns:
        The readable images, in their order.

    Raises:
        UserError: An image is unreadable and `skipped` is None.
    """
    readable = []
    for picture in pictures:
        if not (problem := _problem(picture)):
            readable.append(picture)
        elif skipped is None:
            raise UserError(f"{name}: {_message(picture, problem)}, {SKIP}")
        else:
            skipped[UNREADABLE] += 1
    return readable


def _problem(picture: Picture) -> str:
    """Return what is wrong with an image; empty if nothing is."""
    if not isinstance(picture.source, Path):
        return _inspect(picture)
    try:
        stat = picture.source.stat()
    except OSError as error:
        return error.strerror or str(error)
    return _inspect_cached(picture.source, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1 << 17)
def _inspect_cached(path: Path, size: int, changed: int) -> str:
    """Inspect a file once per process; size and modification time identify its content."""
    return _inspect(Picture(path.name, path, path.name))


def _inspect(picture: Picture) -> str:
    try:
        with _opened(picture) as image:
            if image.format == "PNG":
                image.verify()  # EXIF data are not read, since PIL decodes a PNG for them
            else:
                image.getexif()
                if image.format != "JPEG" or not _is_ended(picture):
                    image.load()
    except BadRowError as error:
        return str(error)
    except _FAULTS as error:
        return f"it cannot be decoded ({_first_line(error)})"
    return ""


def _is_ended(picture: Picture) -> bool:
    """Tell whether a JPEG file has its end marker near its end."""
    content = _content(picture)
    if isinstance(content, bytes):
        return b"\xff\xd9" in content[-_TAIL_BYTES:]
    with content.open("rb") as file:
        file.seek(max(0, content.stat().st_size - _TAIL_BYTES))
        return b"\xff\xd9" in file.read()


@contextmanager
def _opened(picture: Picture) -> Iterator[Image.Image]:
    """Open an image, with its header read and its size checked."""
    content = _content(picture)
    if isinstance(content, bytes) and not content:
        raise BadRowError("there are no bytes")
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        with warnings.catch_warnings():
            # MAX_PIXELS is lower than the size that PIL warns about.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(source, formats=FORMATS)
    except FileNotFoundError:
        raise BadRowError("there is no such file") from None
    except Image.DecompressionBombError:
        raise BadRowError(_too_large("far more")) from None
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise BadRowError(f"it is no image of a known format ({known})") from None
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise BadRowError(_too_large(f"{image.width} by {image.height}"))
        yield image


def _content(picture: Picture) -> bytes | Path:
    """Return the bytes of an image, or the path of its file."""
    source = picture.source
    if isinstance(source, bytes):
        return source
    if isinstance(source, Path):
        try:
            empty = source.stat().st_size == 0
        except OSError as error:
            raise BadRowError(error.strerror or str(error)) from None
        return b"" if empty else source
    return cell_bytes(source)


def _rgb(image: Image.Image) -> Image.Image:
    """Convert any mode of a known format to RGB."""
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image), 0, 65535, dtype=np.int32)
        values += 128  # rounded to nearest: 65535 is 255 times 257, which is odd
        values //= 257
        image = Image.fromarray(values.astype(np.uint8))
    elif image.mode == "F":
        raise BadRowError("its pixels are fractions, whose range it does not say")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return _on_white(image)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Composite on white, in bands of rows, because an RGBA copy of the whole image is large."""
    opaque = Image.new("RGB", image.size)
    for top in range(0, image.height, _BAND):
        box = (0, top, image.width, min(top + _BAND, image.height))
        band = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", band.size, "white")
        opaque.paste(Image.alpha_composite(white, band).convert("RGB"), box)
    return opaque


def _too_large(size: str) -> str:
    limit = f"{MAX_PIXELS // 1_000_000} million pixels"
    return f"it has {size} pixels, and up to {limit} are decoded; make it smaller"


def _message(picture: Picture, problem: str) -> str:
    source = picture.source
    if isinstance(source, bytes):
        where = f"{len(source)} bytes in memory"
    elif isinstance(source, Path):
        where = str(source)
    else:
        where = f"{source.file}, column {source.column}, row {source.row + 1}"
    return (
        f"picture {picture.id!r} ({where}): {problem}. Get the file again from its source, or "
        "leave the picture and its captions out"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    return text[:120] or type(error).__name__

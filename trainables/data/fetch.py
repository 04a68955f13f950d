"""Download a source's files from the Hugging Face hub or web, only on request (`data fetch`)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from trainables.data.formats.reading import refuse_trap
from trainables.data.source import Hub, Source, Web
from trainables.errors import DataError, UserError

NOTE = "fetched.json"
"""Note beside the files: their origins and commits."""

TIMEOUT = 60.0
"""Seconds without an answer after which an address counts as unreachable."""


def fetch(
    source: Source, folder: Path, languages: Sequence[str] | None, endpoint: str | None = None
) -> list[str]:
    """Download the files of a source into `folder` and note their origin.

    Args:
        source: Source with at least one origin.
        folder: Created if missing; existing files are not fetched again.
        languages: BCP-47 codes; by default all that the source has.
        endpoint: Address of the hub, if not the usual one.

    Returns:
        One line per origin or address fetched.

    Raises:
        UserError: The source has no origins or lacks a language, or an address is unreachable.
    """
    if not source.origins:
        raise UserError(
            f"{source.name}: there is nothing to fetch; put your own files in a folder and name it "
            "with --data-dir (docs/data.md shows their format)"
        )
    chosen = source.check_languages(tuple(languages or ()) or None)
    chosen = chosen or source.languages or tuple(source.codes)
    codes = [source.codes.get(language, language) for language in chosen]
    folder.mkdir(parents=True, exist_ok=True)
    origins: list[str] = []
    try:
        for origin in source.origins:
            if isinstance(origin, Hub):
                origins.append(_from_hub(source, origin, folder, codes, endpoint))
            else:
                origins += _from_web(source, origin, folder, codes)
    finally:
        # An empty folder of this name would hide files that lie beside it.
        if not any(folder.iterdir()):
            folder.rmdir()
    if not folder.is_dir():
        raise UserError(f"{source.name}: no file is there under these names: {'; '.join(origins)}")
    (folder / NOTE).write_text(
        json.dumps({"source": source.name, "from": origins}, indent=2) + "\n"
    )
    return origins


def expanded(patterns: Sequence[str], codes: Sequence[str]) -> list[str]:
    """Replace `{}` in each pattern by each language code."""
    return [
        pattern.replace("{}", code)
        for pattern in patterns
        for code in (codes if "{}" in pattern else [""])
    ]


def _from_hub(
    source: Source, origin: Hub, folder: Path, codes: Sequence[str], endpoint: str | None
) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    api = HfApi(endpoint=endpoint)
    try:
        commit = api.dataset_info(origin.id, revision=origin.revision).sha
        api.snapshot_download(
            origin.id,
            repo_type="dataset",
            revision=commit,
            local_dir=folder,
            allow_patterns=expanded(origin.files, codes),
        )
    except OfflineModeIsEnabled:
        raise UserError(
            f"{source.name}: HF_HUB_OFFLINE is set, so {origin.id} is not fetched; unset it, or "
            f"fetch the files elsewhere and put them in {folder}"
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(_fetch_failure(source, f"data set {origin.id}", folder, error)) from None
    except Exception as error:
        # The hub's client raises its transport's errors, of a package that is not imported here.
        if not type(error).__module__.startswith(("httpx", "httpcore")):
            raise
        raise UserError(_fetch_failure(source, f"data set {origin.id}", folder, error)) from None
    return f"{origin.id}@{commit}: {', '.join(expanded(origin.files, codes))}"


def _from_web(source: Source, origin: Web, folder: Path, codes: Sequence[str]) -> list[str]:
    urls = []
    for url in expanded(origin.urls, codes):
        path = folder / url.rsplit("/", 1)[1]
        if not path.exists():
            _download(source, url, path)
        if path.name.endswith(".zip") and not any("zip" in layout for layout in source.layout):
            unpack(source, path)
        urls.append(url)
    return urls


def unpack(source: Source, path: Path) -> None:
    """Unpack an archive into its folder; `zipfile` keeps every member inside.

    Raises:
        DataError: The archive is damaged, or a zip bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            refuse_trap(size, path.stat().st_size, path, source.name)
            archive.extractall(path.parent)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{source.name}: {path} is a broken archive ({error}); remove it and fetch it again",
            path,
        ) from None


def _download(source: Source, url: str, path: Path) -> None:
    """Download one file, which gets its name only once it is complete."""
    partial = path.with_name(f"{path.name}.part")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, partial.open("wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
    except (urllib.error.URLError, OSError) as error:
        partial.unlink(missing_ok=True)
        raise UserError(_fetch_failure(source, url, path.parent, error)) from None
    partial.replace(path)


def _fetch_failure(source: Source, where: str, folder: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"{source.name}: {where} cannot be fetched ({reason}). Try again, or fetch the files on "
        f"another machine and put them in {folder}: {'; '.join(source.layout)}"
    )

"""Data and checkpoints reach machines that do not have them, each once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trainables.errors import UserError
from trainables.storage import atomic as storage
from trainables.storage import inputs
from trainables.storage.cache import NAME, Cache
from trainables.storage.paths import AnyPath

DIGEST, OTHER = "a" * 20, "b" * 20


def folder(path: Path, text: str) -> Path:
    (path / "deep").mkdir(parents=True)
    (path / "config.json").write_text(text)
    (path / "deep" / "weights").write_bytes(text.encode() * 1000)
    return path


def content(path: Path) -> dict[str, bytes]:
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_what_is_not_here_is_fetched_once(place: AnyPath, tmp_path: Path) -> None:
    source = folder(tmp_path / "far/encoder", "x")
    before = content(source)
    assert inputs.publish(place, DIGEST, str(source))
    assert not inputs.publish(place, DIGEST, str(source)), "it is there already"
    places = {DIGEST: str(source), OTHER: "/nowhere"}
    cache, spec = Cache(tmp_path / "cache"), f'{{"digest": "{DIGEST}"}}'
    assert inputs.at_hand(places, spec, place, cache) == places, "this machine has it"
    shutil.rmtree(tmp_path / "far")
    assert inputs.absent(places) == [DIGEST, OTHER]
    found = inputs.at_hand(places, spec, place, cache)
    assert content(Path(found[DIGEST])) == before
    assert found[OTHER] == "/nowhere", "the trial does not read it"
    storage.write(place / "inputs" / DIGEST / "0" / "config.json", b"changed")
    assert inputs.at_hand(places, spec, place, Cache(tmp_path / "cache")) == found
    assert content(Path(found[DIGEST])) == before, "not fetched again"


def test_two_folders_that_are_joined(tmp_path: Path) -> None:
    texts, images = folder(tmp_path / "t", "t"), folder(tmp_path / "i", "i")
    root = tmp_path / "root"
    inputs.publish(root, DIGEST, f"{texts}+{images}")
    found = inputs.fetched(root, DIGEST, Cache(tmp_path / "cache")).split("+")
    assert [content(Path(part)) for part in found] == [content(texts), content(images)]


def test_a_fetch_that_was_cut_short_goes_on(tmp_path: Path) -> None:
    root, source = tmp_path / "root", folder(tmp_path / "s", "x")
    inputs.publish(root, DIGEST, str(source))
    draft = tmp_path / f"cache/.input-{DIGEST}/0"
    draft.mkdir(parents=True)
    (draft / "config.json").write_text("")
    (draft.parent / NAME).write_text(f"input-{DIGEST}")
    found = inputs.fetched(root, DIGEST, Cache(tmp_path / "cache"))
    assert content(Path(found)) == content(source)


def test_what_was_never_put_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inputs" / DIGEST / "0").mkdir(parents=True)  # a driver was killed meanwhile
    with pytest.raises(UserError, match="is not on this machine and not in"):
        inputs.fetched(tmp_path, DIGEST, Cache(tmp_path / "cache"))
